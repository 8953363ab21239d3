"""Moves everything that a file holds into a database with room for many processes.

Above: `awaken move`. Below: a file that is left (`sqlite.leaving`) and a database that is arrived at
(`postgres.arriving`).
Holds: every row arrives once and unchanged, with its ids, numbers and counters, however often the move is killed and
begun again. Nobody works on either side meanwhile, and never on both: the file is closed for good before the database
is opened for anybody. Before that, both are read once more and compared.

How it works. The rows of each table are copied in the order of the table's key, slice by slice; where the next slice
begins is written in the transaction of the last one. Both sides carry the id of the move, so that a copy is only gone
on with while the file still is what it was: serving the file removes its mark.

Source: ADR 0044.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping
from contextlib import AbstractAsyncContextManager, AbstractContextManager, closing
from typing import Any, Final, Protocol

import msgspec

from awaken.domain.clock import Instant
from awaken.domain.errors import Conflict, DataIntegrity, StoreUnavailable

Row = tuple[Any, ...]
Key = tuple[Any, ...]

TABLES: Final[Mapping[str, Key]] = {
    "journal": (-1, ""),
    "spans": (-1, -1),
    "states": (-1,),
    "events": (-1,),
    "messages": (-1,),
    "tickets": (-1,),
    "runs": (-1,),
    "dispatches": (-1,),
    "outbox": (-1,),
    "schedules": (-1,),
    "threads": (-1,),
}
"""In the order in which they are copied, each with a key that lies before every other. The key of a row is what the row
begins with. Threads, by which work is found, come last."""
SLICE_ROWS: Final = 500
SLICE_BYTES: Final = 4 * 1024 * 1024
_SUM_BITS: Final = 64


class Mark(msgspec.Struct, frozen=True):
    """What a file says about its move. `ended_at` None: it is under way, or was broken off."""

    move_id: str
    target: str
    began_at: Instant
    ended_at: Instant | None = None


class Place(msgspec.Struct, frozen=True, array_like=True):
    """Behind which row of which table the next slice begins."""

    table: str
    key: Key


class Arrival(msgspec.Struct, frozen=True):
    """What a database says about a move into it. `place` None: nothing is copied yet."""

    move_id: str
    source: str
    ended_at: Instant | None
    place: Place | None


class Numbers(msgspec.Struct, frozen=True):
    """The highest numbers that were given: to what arrived, to messages, to rows of events."""

    arrivals: int
    messages: int
    events: int


class Sum(msgspec.Struct, frozen=True):
    """What rows are compared by: how many, and a sum of their digests, whatever their order."""

    rows: int = 0
    digests: int = 0

    def plus(self, rows: Iterable[Row]) -> Sum:
        count, digests = self.rows, self.digests
        for row in rows:
            digest = hashlib.blake2b(msgspec.msgpack.encode(row), digest_size=_SUM_BITS // 8)
            count, digests = count + 1, digests + int.from_bytes(digest.digest(), "big")
        return Sum(count, digests % 2**_SUM_BITS)


class Source(AbstractContextManager["Source"], Protocol):
    """A file that nobody else has open while this is entered. Its methods block."""

    name: str

    @property
    def mark(self) -> Mark | None: ...

    def refusal(self, mark: Mark) -> Exception:
        """What is said to whoever wants a file that has moved."""
        ...

    def begin(self, mark: Mark) -> None: ...

    def end(self, now: Instant) -> None: ...

    def counts(self) -> dict[str, int]:
        """How many rows each table has."""
        ...

    def numbers(self) -> Numbers: ...

    def rows(self, table: str, after: Key) -> Generator[Row]:
        """The rows of a table behind a key, in the order of their keys."""
        ...


class Target(AbstractAsyncContextManager["Target"], Protocol):
    """A database in which nobody works while this is entered; where something is, that is checked at the start."""

    name: str

    @property
    def arrival(self) -> Arrival | None: ...

    async def begin(self, mark: Mark, source: str) -> None: ...

    async def put(self, table: str, rows: list[Row], before: Place | None, place: Place) -> None:
        """Write a slice and where the next one begins, in one transaction."""
        ...

    def as_kept(self, table: str, rows: Iterable[Row]) -> Iterator[Row]:
        """Rows of a file as this keeps them."""
        ...

    async def sum(self, table: str, told: Callable[[int], None]) -> Sum: ...

    async def end(self, numbers: Numbers) -> None: ...

    async def open_up(self) -> None:
        """From here on it may be worked on."""
        ...


class Moved(msgspec.Struct, frozen=True):
    """What a move came to. `rows`: how many of each table; `resumed`: it went on with one that was broken off."""

    source: str
    target: str
    rows: dict[str, int]
    resumed: bool
    dry_run: bool = False

    @property
    def total(self) -> int:
        return sum(self.rows.values())


Progress = Callable[[str, int, int], None]
"""Told what is being done, how many rows that is through, and of how many."""


async def move(
    source: Source,
    target: Target,
    *,
    move_id: str,
    now: Callable[[], Instant],
    told: Progress,
    slice_rows: int = SLICE_ROWS,
) -> Moved:
    """Both are entered. `move_id` is used where the move begins.

    Raises:
        Conflict: The database holds something else.
        StoreUnavailable: The file has moved already, or one of both was not reached; what is copied stays.
        DataIntegrity: What arrived is not what left.
    """
    mark, arrival = source.mark, target.arrival
    if mark is not None and mark.ended_at is not None:
        if arrival is None or arrival.ended_at is not None or arrival.move_id != mark.move_id:
            raise source.refusal(mark)
        await target.open_up()
        return Moved(source.name, target.name, {}, resumed=True)
    _check_goes_on(mark, arrival, target.name)
    counts = await asyncio.to_thread(source.counts)
    if arrival is None:
        if mark is None or mark.target != target.name:
            mark = Mark(move_id, target.name, now())
            await asyncio.to_thread(source.begin, mark)
        await target.begin(mark, source.name)
    try:
        await _copy(source, target, counts, None if arrival is None else arrival.place, told, slice_rows)
        await _compare(source, target, counts, told)
        await target.end(await asyncio.to_thread(source.numbers))
        await asyncio.to_thread(source.end, now())
        await target.open_up()
    except StoreUnavailable as error:
        error.add_note("nothing is lost: begin the same move again, and it goes on where it was")
        raise
    return Moved(source.name, target.name, counts, resumed=arrival is not None)


async def would_move(source: Source, target: Target) -> Moved:
    """What `move` would do, refused as that would be. Both are entered only to look."""
    _check_goes_on(source.mark, target.arrival, target.name)
    counts = await asyncio.to_thread(source.counts)
    return Moved(source.name, target.name, counts, resumed=target.arrival is not None, dry_run=True)


def _check_goes_on(mark: Mark | None, arrival: Arrival | None, target: str) -> None:
    """Raises Conflict where the database has the copy of something else."""
    if arrival is None or (mark is not None and mark.move_id == arrival.move_id and arrival.ended_at is None):
        return
    what = "was begun from another file, or before this one was served again" if arrival.ended_at is None else "ended"
    raise Conflict(
        f"{target} holds a move from {arrival.source} that {what}. Drop the schema, or choose another with ?schema="
    )


async def _copy(
    source: Source, target: Target, counts: dict[str, int], place: Place | None, told: Progress, slice_rows: int
) -> None:
    total, done = sum(counts.values()), 0
    names = list(TABLES)
    start = 0 if place is None else names.index(place.table)
    done = sum(counts[name] for name in names[:start])
    for name in names[start:]:
        key = place.key if place is not None and place.table == name else TABLES[name]
        with closing(source.rows(name, key)) as rows:
            while some := await asyncio.to_thread(_slice, rows, slice_rows):
                before, place = place, Place(name, some[-1][: len(TABLES[name])])
                await target.put(name, some, before, place)
                done = min(done + len(some), total)
                told("copying", done, total)


def _slice(rows: Iterator[Row], most: int) -> list[Row]:
    some: list[Row] = []
    room = SLICE_BYTES
    for row in rows:
        some.append(row)
        room -= sum(len(value) for value in row if isinstance(value, str | bytes))
        if len(some) >= most or room <= 0:
            break
    return some


async def _compare(source: Source, target: Target, counts: dict[str, int], told: Progress) -> None:
    total, done = sum(counts.values()), 0

    def left(name: str) -> Sum:
        return Sum().plus(target.as_kept(name, source.rows(name, TABLES[name])))

    for name in TABLES:
        found = await target.sum(name, lambda rows, base=done: told("comparing", min(base + rows, total), total))
        wanted = await asyncio.to_thread(left, name)
        if found != wanted:
            what = f"{found.rows:,} of {wanted.rows:,} rows" if found.rows != wanted.rows else "rows with other content"
            raise DataIntegrity(
                f"{target.name} has {what} in {name}: somebody else wrote to it, or to {source.name}, while it was"
                " copied. Nothing was removed from the file. Drop the schema and move again"
            )
        done += counts[name]
