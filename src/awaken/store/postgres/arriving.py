"""A schema that takes in everything that a file holds, before anybody works on it.

Above: `store.moving`; `PostgresStore` asks `check_arrived` when it is opened. Below: a connection of its own, and the
statements for what moves.
Holds: a slice and the place of the next one are one transaction. Until the move has ended no store is opened on the
schema, and a move begins only where nothing is and no process works.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterable, Iterator, Sequence
from contextlib import asynccontextmanager
from types import TracebackType
from typing import Any, Final, Self

import msgspec

from awaken.domain.errors import Conflict, DataIntegrity, StoreRefused
from awaken.domain.worker import FORGOTTEN_MS
from awaken.store.moving import TABLES, Arrival, Mark, Numbers, Place, Row, Sum
from awaken.store.postgres.driver import errors
from awaken.store.postgres.faults import LOST, translated
from awaken.store.postgres.opening import (
    check_owner,
    check_schema,
    check_server,
    connect,
    disconnect,
    migrate,
    place_of,
)
from awaken.store.postgres.queries import SQL, WRITES
from awaken.store.postgres.session import Overtaken, Put, Session, as_text

_READ_ROWS: Final = 200
_ANALYZE_TIMEOUT_S: Final = 600.0
_decode_place: Final = msgspec.json.Decoder(Place).decode


class Arriving:
    """Entered means reached, at the present schema, and empty or with the beginning of a move."""

    def __init__(self, url: str, *, looks_only: bool = False) -> None:
        """`url` as in `opening.place_of`. `looks_only`: make and change nothing.

        Raises:
            ValidationError: The URL is not understood.
        """
        self._place = place_of(url)
        self.name = self._place.shown
        self._looks_only = looks_only
        self._connection: Any = None
        self._session: Session
        self._arrival: Arrival | None = None

    @property
    def arrival(self) -> Arrival | None:
        return self._arrival

    async def __aenter__(self) -> Self:
        """Raises StoreUnavailable or Conflict where nothing can be moved there; the message says why."""
        self._connection = await connect(self._place, writes=not self._looks_only)
        self._session = Session(self._connection)
        try:
            async with self._translated():
                await self._look()
        except BaseException:
            await disconnect(self._connection)
            raise
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await disconnect(self._connection)

    async def _look(self) -> None:
        await check_server(self._connection, self._place)
        if not self._looks_only:
            await migrate(self._connection, self._place)
        elif await check_schema(self._connection, self._place, may_be_new=True) == 0:
            return
        await check_owner(self._connection, self._place)
        await self._connection.execute("SET statement_timeout = 0")
        self._arrival = await load_arrival(self._session)
        if self._arrival is None:
            await self._check_unused()

    async def _check_unused(self) -> None:
        [something] = await self._session.row("holds_something")
        if something:
            raise Conflict(
                f"{self.name} is in use already: something is stored there. Choose another schema with ?schema="
            )
        await self._check_idle()

    async def _check_idle(self) -> None:
        [is_served] = await self._session.row("is_served", {"after": FORGOTTEN_MS})
        if is_served:
            raise Conflict(f"{self.name} is served by a process. Stop it, and move again a minute later")

    async def begin(self, mark: Mark, source: str) -> None:
        async with self._translated():
            await self._session.rows("begin_arrival", {"move_id": mark.move_id, "source": source})

    async def put(self, table: str, rows: list[Row], before: Place | None, place: Place) -> None:
        values = {"body": msgspec.json.encode(place), "seen": None if before is None else msgspec.json.encode(before)}
        async with self._translated(), self._connection.transaction():
            if await self._session.row("keep_place", values) is None:
                raise Conflict(f"{self.name} is moved into by another process")
            try:
                await self._session.put([Put(f"move_{table}", rows)])
            except Overtaken as error:
                raise DataIntegrity(f"{self.name} does not take what the file has in {table}: {error}") from error

    def as_kept(self, table: str, rows: Iterable[Row]) -> Iterator[Row]:
        texts = WRITES[f"move_{table}"].texts
        for row in rows:
            yield tuple([as_text(value) if place in texts else value for place, value in enumerate(row)])

    async def sum(self, table: str, told: Callable[[int], None]) -> Sum:
        found = Sum()
        async with self._translated(), self._connection.transaction(readonly=True):
            async for some in self._slices(f"moved_{table}"):
                found = found.plus(some)
                told(found.rows)
        return found

    async def _slices(self, name: str) -> AsyncIterator[Sequence[Row]]:
        cursor = await self._connection.cursor(SQL[name].text)
        while some := await cursor.fetch(_READ_ROWS):
            yield [tuple(row) for row in some]

    async def end(self, numbers: Numbers) -> None:
        values = {"first": numbers.arrivals, "next": numbers.messages, "last": numbers.events}
        async with self._translated():
            await self._check_idle()
            await self._session.row("give_numbers", values)
            for name in TABLES:
                await self._connection.execute(f"ANALYZE {name}", timeout=_ANALYZE_TIMEOUT_S)

    async def open_up(self) -> None:
        async with self._translated():
            await self._session.rows("end_arrival")

    @asynccontextmanager
    async def _translated(self) -> AsyncGenerator[None]:
        try:
            yield
        except (errors.PostgresError, *LOST) as error:
            raise translated(error, self.name) from error


async def load_arrival(session: Session) -> Arrival | None:
    row = await session.row("arrival")
    if row is None:
        return None
    move_id, source, ended_at, place = row
    return Arrival(move_id, source, ended_at, None if place is None else _decode_place(place))


async def check_arrived(connection: Any, shown: str) -> None:
    """Raises StoreRefused where a move into the schema is under way, or was broken off."""
    arrival = await load_arrival(Session(connection))
    if arrival is not None and arrival.ended_at is None:
        raise StoreRefused(
            f"{shown} has only a part of what is in {arrival.source}: a move from there has not ended. Begin `awaken"
            " move` once more, with the same two names: it goes on where it was"
        )
