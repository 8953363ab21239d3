"""A run's log, projected into another protocol: what a stream sends of an encoder's frames.

Above: `http.sse`, which asks it for bytes as it asks this API's own encoder. Below: a `TurnEncoder`.
Holds: an encoder is fed every event of its run from the first one on, in order, and each of them once, however many
readers there are: who finds that a row was encoded before goes on with the encoder that did it. Only a reader who finds
nothing and is not level, because he resumes, or was too slow, has the log read again, silently. A stream is one turn:
it ends with the turn's last frame.

Source: ADR 0039; SRV-020, SRV-027.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Callable, Hashable, Sequence
from itertools import pairwise
from typing import Final

import msgspec

from awaken.domain.cursor import cursor_prefix
from awaken.domain.errors import DataIntegrity, RunNotFound
from awaken.domain.ids import RunId, Scope, ThreadId
from awaken.domain.log import EventRow
from awaken.domain.message import Visibility
from awaken.domain.run import Run
from awaken.domain.span import effective
from awaken.domain.state import ThreadState
from awaken.http.frames import Encoded, Encoder, EndReason, FrameCache, Opening
from awaken.http.problems import Problem
from awaken.protocols.contract import Frames, Opened, TurnEncoder, events_of
from awaken.protocols.turns import ENDING_KINDS
from awaken.store.contract import MAX_PAGE, MessageQuery, Reads, StoredMessage

_PAGE_EVENTS: Final = 256
MAX_RUNS_FOLLOWED: Final = 64
"""On one stream of a thread; of one that was left out the log is read again."""
_DAMAGED: Final = -1
_END: Final = b"\n\n"
Making = Callable[[Opened], TurnEncoder]


class Place(msgspec.Struct, frozen=True):
    """Where a stream begins: behind the event `after`, and behind so many frames of the next one."""

    after: int
    frames: int = 0


class _Fed:
    """An encoder and how far it was fed. Whoever holds one at his own place may feed it on."""

    __slots__ = ("encoder", "knows_history", "seq")

    def __init__(self, encoder: TurnEncoder, seq: int) -> None:
        self.encoder = encoder
        self.seq = seq
        self.knows_history = not encoder.wants_history


class Projection(Encoder):
    """One stream of one run, from a place in it to the end of the turn that it finds there."""

    def __init__(self, make: Making, run: Run, opened: Opened, place: Place, reads: Reads, cache: FrameCache) -> None:
        first = make(opened)
        self.dialect = first.dialect
        self.breaks_off = first.breaks_off
        self._has_ids = first.has_ids
        version = None if opened.state is None else opened.state.version
        self.shared_as = (self.dialect, first.shared_as, run.run_id, version, opened.knows_version)
        self._make = make
        self._run = run
        self._opened = opened
        self._reads = reads
        self._cache = cache
        self._seq = place.after
        """Of the last event that this stream has passed."""
        self._skips = place.frames
        self._is_over = False
        self._prelude: Frames = ()
        starts_at = run.first_event_seq - 1
        self._fed: _Fed | None = _Fed(first, starts_at) if place.after == starts_at else None

    async def join(self) -> TurnEncoder:
        """Have the stream begin with what a client has to be shown that joins here. The encoder as it is here."""
        encoder = await self.encoder()
        self._prelude = encoder.prelude()
        return encoder

    async def encoder(self) -> TurnEncoder:
        """One of its own, that was fed everything up to this stream's place."""
        await self._rebuild()
        assert self._fed is not None, "it was rebuilt"
        return self._fed.encoder

    # --- as a stream asks ---------------------------------------------------------------------------------------------

    def open(self, opening: Opening) -> bytes:
        # Who has no ids to come back with needs no time to do so after, and may take that line for an event.
        retry = f"retry: {opening.retry_ms}\n" if self._has_ids else ""
        return f"{retry}: connected\n\n".encode() + written(self._prelude)

    def parts(self, row: EventRow) -> Sequence[EventRow]:
        """Cut behind each event with which a turn may end, and where some frames of an event are not sent."""
        return _cut(row, first_alone=self._skips > 0 and row.first_seq == self._seq + 1)

    def is_level_with(self, row: EventRow) -> bool:
        fed = self._fed
        return fed is not None and fed.seq == self._seq and (fed.knows_history or not _starts(row))

    async def catch_up(self, row: EventRow) -> None:
        """Of many who lack the same row at once, one reads the log, and the others find what he has made."""
        async with self._cache.turn_of(self.shared_as):
            if self._cache.find(row, self) is not None:
                return
            if self._fed is None or self._fed.seq != self._seq:
                await self._rebuild()
            fed = self._fed
            if fed is not None and not fed.knows_history and _starts(row):
                await self._tell_history(fed, row)

    def feed(self, row: EventRow) -> Encoded:
        fed = self._fed
        assert fed is not None and fed.seq == self._seq, "the stream looks whether it is level first"
        encoder, prefix = fed.encoder, cursor_prefix(row.scope, row.thread_id) if fed.encoder.has_ids else None
        parts: list[bytes] = []
        count = 0
        fed.seq = _DAMAGED  # until all of it was fed: an encoder that raised half-way is nobody's any more
        for seq, event in events_of(row):
            frames = encoder.feed(seq, event, row)
            if frames:
                count += 1
                _write(parts, frames, prefix, seq)
        fed.seq = row.last_seq
        return Encoded(b"".join(parts), count, encoder.is_over, fed)

    def taken(self, row: EventRow, made: Encoded) -> Encoded:
        self._fed, self._seq = made.after, row.last_seq
        self._is_over = made.is_last
        if self._skips:
            kept = made.frames.split(_END)[self._skips :]
            self._skips = 0
            return made._replace(frames=_END.join(kept))
        return made

    def close(self, reason: EndReason) -> bytes:
        match reason:
            case "done" if not self._is_over:
                problem = Problem(
                    "run_not_found", "the run is gone; its log was removed", facts={"id": self._run.run_id}
                )
                return self.fail(problem, "")
            case "restarting":
                return b": restarting\n\n"
            case _:
                return b""

    def fail(self, problem: Problem, request_id: str) -> bytes:
        return written(self._make(self._opened).failed(problem, request_id))

    # --- from the log -------------------------------------------------------------------------------------------------

    async def _rebuild(self) -> None:
        """Feed a new encoder everything up to this stream's place, and show nothing of it."""
        run, encoder = self._run, self._make(self._opened)
        fed = _Fed(encoder, run.first_event_seq - 1)
        after: int | None = fed.seq
        while after is not None and fed.seq < self._seq:
            page = await self._reads.page_events(
                self._opened.scope, run.thread_id, after=after, limit=_PAGE_EVENTS, run_id=run.run_id
            )
            if page.unreadable:
                raise DataIntegrity(page.unreadable[0])
            for row in page.items:
                if row.first_seq <= self._seq:
                    await self._feed_silently(fed, _piece(row, 0, self._seq + 1 - row.first_seq))
            after = page.next
            await asyncio.sleep(0)  # others have their turn between two pages, whatever the store
        fed.seq = self._seq
        self._fed = fed

    async def _feed_silently(self, fed: _Fed, row: EventRow) -> None:
        if not fed.knows_history and _starts(row):
            await self._tell_history(fed, row)
        for seq, event in events_of(row):
            fed.encoder.feed(seq, event, row)

    async def _tell_history(self, fed: _Fed, row: EventRow) -> None:
        """Tell the encoder what the agent read when the run started, in this row, but for what the run was given."""
        scope, run = self._opened.scope, await self._reads.load_run(self._opened.scope, self._run.run_id)
        if run is None:
            raise RunNotFound(self._run.run_id)
        if run.input is not None:
            spans = [
                each for each in await self._reads.list_spans(scope, run.thread_id) if each.event_seq <= row.last_seq
            ]
            # What is brought by reference is in no event of this run.
            end = run.input.to_seq if run.request.reference is not None else run.input.from_seq - 1
            log = await _log_up_to(self._reads, scope, run.thread_id, end)
            read = [stored.message for stored in effective(log, spans)]
            fed.encoder.history = tuple([each for each in read if each.visibility is Visibility.ALL])
        fed.knows_history = True


class ThreadProjection(Encoder):
    """A stream of everything that is done on a thread, without end: the frames of each run, as its encoder makes them,
    in the order of the log.
    """

    def __init__(
        self,
        make: Making,
        failed: Callable[[Problem, str], Frames],
        opening: Opening,
        place: Place,
        reads: Reads,
        cache: FrameCache,
        *,
        dialect: str,
    ) -> None:
        """`failed` is the protocol's error, as of its encoders."""
        self.dialect = dialect
        self.breaks_off = _says(make, "breaks_off")
        self._make = make
        self._failed = failed
        self._opening = opening
        self._seq = place.after
        self._skips = place.frames
        self._reads = reads
        self._cache = cache
        self._runs: OrderedDict[RunId, Projection] = OrderedDict()
        self._run: Projection | None = None
        """Of the run that the row is about which is at hand; None where it is not known yet, or about no run."""

    @property
    def shared_as(self) -> Hashable | None:  # pyright: ignore[reportIncompatibleVariableOverride]
        return None if self._run is None else self._run.shared_as

    def open(self, opening: Opening) -> bytes:
        return f"retry: {opening.retry_ms}\n: connected\n\n".encode()

    def parts(self, row: EventRow) -> Sequence[EventRow]:
        self._run = None if row.run_id is None else self._runs.get(row.run_id)
        return _cut(row, first_alone=self._skips > 0 and row.first_seq == self._seq + 1)

    def is_level_with(self, row: EventRow) -> bool:
        return row.run_id is None or (self._run is not None and self._run.is_level_with(row))

    async def catch_up(self, row: EventRow) -> None:
        if self._run is None and row.run_id is not None:
            run = await self._reads.load_run(row.scope, row.run_id)
            if run is None:
                raise RunNotFound(row.run_id)
            place = Place(max(row.first_seq - 1, run.first_event_seq - 1), self._skips)
            state = await self._reads.load_state(row.scope, row.thread_id) if wants_state(self._make) else None
            self._run = Projection(self._make, run, opened_of(row.scope, run, state), place, self._reads, self._cache)
            self._runs[run.run_id] = self._run
            while len(self._runs) > MAX_RUNS_FOLLOWED:
                self._runs.popitem(last=False)
        if self._run is not None and not self._run.is_level_with(row):
            await self._run.catch_up(row)

    def feed(self, row: EventRow) -> Encoded:
        return Encoded(b"", 0) if self._run is None else self._run.feed(row)

    def taken(self, row: EventRow, made: Encoded) -> Encoded:
        self._seq, self._skips = row.last_seq, 0
        return made if self._run is None else self._run.taken(row, made)._replace(is_last=False)

    def close(self, reason: EndReason) -> bytes:
        return b": restarting\n\n" if reason == "restarting" else b""

    def fail(self, problem: Problem, request_id: str) -> bytes:
        return written(self._failed(problem, request_id))


def wants_state(make: Making) -> bool:
    """Whether what it makes is opened with the state of the thread."""
    return _says(make, "wants_state")


def _says(make: Making, name: str) -> bool:
    """What is said of the class that it makes; also of one in a `partial`."""
    return getattr(getattr(make, "func", make), name, False)


def opened_of(scope: Scope, run: Run, state: ThreadState | None = None, *, resumes: bool = False) -> Opened:
    """What an encoder of the run is opened with."""
    return Opened(
        scope=scope,
        thread_id=run.thread_id,
        run_id=run.run_id,
        agent_id=run.agent_id,
        request=run.request,
        metadata=run.metadata,
        created_at=run.created_at,
        state=state,
        knows_version=-1 if state is None or resumes else state.version,
    )


async def fed_with(make: Making, run: Run, opened: Opened, reads: Reads, cache: FrameCache) -> TurnEncoder:
    """An encoder that was fed everything of a run so far, for an answer that is no stream.

    Raises:
        DataIntegrity: The run's log cannot be read.
    """
    _, last = await reads.event_bounds(opened.scope, run.thread_id)
    projection = Projection(make, run, opened, Place(max(last, run.first_event_seq - 1)), reads, cache)
    return await projection.encoder()


async def _log_up_to(reads: Reads, scope: Scope, thread_id: ThreadId, end: int) -> list[StoredMessage]:
    found: list[StoredMessage] = []
    while len(found) < end:
        query = MessageQuery(after=len(found), before=end + 1, limit=MAX_PAGE)
        page = await reads.list_messages(scope, thread_id, query)
        if not page:
            break
        found += page
    return found


def _cut(row: EventRow, *, first_alone: bool) -> Sequence[EventRow]:
    count = len(row.events)
    cuts = [place for place, event in enumerate(row.events[:-1], 1) if event.kind in ENDING_KINDS]
    if first_alone and count > 1:
        cuts = sorted({1, *cuts})
    if not cuts:
        return (row,)
    return [_piece(row, start, end) for start, end in pairwise([0, *cuts, count])]


def _starts(row: EventRow) -> bool:
    return any([event.kind == "RunStarted" for event in row.events])


def _piece(row: EventRow, start: int, end: int) -> EventRow:
    """Some of the row's events, by their places in it."""
    if start <= 0 and end >= len(row.events):
        return row
    return EventRow(
        row.scope,
        row.thread_id,
        row.run_id,
        row.dispatch_id,
        row.first_seq + start,
        row.created_at,
        row.events[start:end],
    )


def _write(parts: list[bytes], frames: Frames, prefix: str | None, seq: int) -> None:
    """Append the frames of one event: the last one has its cursor, those before the place among them besides."""
    last = len(frames)
    for number, (data, event) in enumerate(frames, 1):
        if prefix is not None:
            parts.append(
                f"id: {prefix}{seq}\n".encode() if number == last else f"id: {prefix}{seq}.{number}\n".encode()
            )
        if event is not None:
            parts.append(f"event: {event}\n".encode())
        parts += (b"data: ", data, _END)


def written(frames: Frames) -> bytes:
    """Frames that are in no log."""
    parts: list[bytes] = []
    _write(parts, frames, None, 0)
    return b"".join(parts)
