"""Any number of readers, each at his own place and pace, over one cache that forgets when it likes: each has the bytes
that an uncut stream has.
"""

from __future__ import annotations

import asyncio
from functools import cache
from typing import Any, NamedTuple

from hypothesis import given
from hypothesis import strategies as st

from awaken.domain.cursor import cursor_prefix
from awaken.domain.ids import MessageId, RunId, Scope, ThreadId
from awaken.domain.log import EventRow
from awaken.domain.message import Message, user_message
from awaken.domain.span import Span
from awaken.http.frames import FrameCache, Opening
from awaken.protocols.projection import Place, Projection, ThreadProjection
from awaken.store.contract import MessageQuery, Page, StoredMessage
from awaken.testing.agents import memory_app
from awaken.testing.behaviour import behaviour
from awaken.testing.protocols import SeenRun, approve_all, seen_run, turn_bounds
from awaken.testing.scripted import add_scripted
from tests.protocols.plain import PlainEncoder
from tests.protocols.site import frames_in

SHAPES = ("text", "parallel", "mixed", "reasoning-whole")


@cache
def recorded() -> dict[str, SeenRun]:
    """A run of each shape, the second of its thread."""

    async def record() -> dict[str, SeenRun]:
        async with asyncio.timeout(60), memory_app() as app:
            add_scripted(app)
            found: dict[str, SeenRun] = {}
            for shape in SHAPES:
                await seen_run(app, "text", thread_id=f"of-{shape}")
                found[shape] = await seen_run(app, shape, answer=approve_all, thread_id=f"of-{shape}")
            return found

    return asyncio.run(record())


class Log:
    """The reads that a projection makes, over one run; pages end after `limit` events, and within rows."""

    def __init__(self, seen: SeenRun, page: int) -> None:
        self._seen = seen
        self._page = page

    async def page_events(
        self, scope: Scope, thread_id: ThreadId, *, after: int, limit: int, run_id: RunId | None = None
    ) -> Page[EventRow]:
        rows = [row.starting_after(after) for row in self._seen.rows if row.last_seq > after]
        found: list[EventRow] = []
        for row in rows:
            found.append(row)
            if sum([len(each.events) for each in found]) >= self._page:
                break
        return Page(tuple(found), found[-1].last_seq if len(found) < len(rows) else None)

    async def load_run(self, scope: Scope, run_id: RunId) -> Any:
        return self._seen.run

    async def list_spans(self, scope: Scope, thread_id: ThreadId) -> list[Span]:
        return []

    async def list_messages(self, scope: Scope, thread_id: ThreadId, query: MessageQuery) -> list[StoredMessage]:
        assert query.before is not None
        seqs = range(query.after + 1, query.before)
        return [StoredMessage(_said(seq), seq, None, 0) for seq in seqs]


def _said(seq: int) -> Message:
    return user_message(MessageId(f"before-{seq}"), "before")


class Reader:
    """A stream as `http.sse` runs it, a row at a time."""

    def __init__(self, encoder: Projection | ThreadProjection, seen: SeenRun, after: int, cache: FrameCache) -> None:
        self.encoder = encoder
        self.rows = [row.starting_after(after) for row in seen.rows if row.last_seq > after]
        self.cache = cache
        self.sent = b""
        self.is_over = False

    async def step(self) -> None:
        if self.is_over or not self.rows:
            return
        for part in self.encoder.parts(self.rows.pop(0)):
            made = self.cache.find(part, self.encoder)
            if made is None and not self.encoder.is_level_with(part):
                await self.encoder.catch_up(part)
                made = self.cache.find(part, self.encoder)
            if made is None:
                made = self.cache.make(part, self.encoder)
            taken = self.encoder.taken(part, made)
            self.sent += taken.frames
            self.is_over = taken.is_last
            if self.is_over:
                return


class Start(NamedTuple):
    """Where a reader begins: the number of the turn, and how many of its frames he has."""

    turn: int
    frames: int


starts = st.lists(st.builds(Start, st.integers(0, 3), st.integers(0, 400)), min_size=1, max_size=5)
deeds = st.lists(st.one_of(st.integers(0, 4), st.just("forget"), st.just("split")), max_size=120)


def whole_turns(seen: SeenRun) -> list[bytes]:
    """The bytes of each turn, uncut, of a reader who is alone."""

    async def read(after: int) -> bytes:
        cache = FrameCache(0)
        projection = Projection(PlainEncoder, seen.run, seen.opened, Place(after), _log(seen, 10), cache)
        reader = Reader(projection, seen, after, cache)
        while reader.rows and not reader.is_over:
            await reader.step()
        return reader.sent

    return [asyncio.run(read(opens - 1)) for opens, _ in turn_bounds(seen.rows)]


def _log(seen: SeenRun, page: int) -> Any:
    return Log(seen, page)


@behaviour("SRV-020", "SRV-027")
@given(
    shape=st.sampled_from(SHAPES),
    starts=starts,
    deeds=deeds,
    page=st.integers(1, 12),
    size=st.sampled_from([0, 2_000, 10**6]),
)
def test_each_reader_has_the_rest_of_the_uncut_stream(
    shape: str, starts: list[Start], deeds: list[Any], page: int, size: int
) -> None:
    seen = recorded()[shape]
    uncut, bounds = whole_turns(seen), turn_bounds(seen.rows)
    prefix = cursor_prefix(seen.opened.scope, seen.opened.thread_id)

    async def play() -> None:
        cache = FrameCache(size)
        readers: list[tuple[Reader, bytes]] = []
        for start in starts:
            turn = start.turn % len(uncut)
            frames = frames_in(uncut[turn])
            has = frames[: start.frames % len(frames)]
            place = Place(bounds[turn][0] - 1)
            if has:
                seq, _, number = (has[-1].id or "").removeprefix(prefix).partition(".")
                place = Place(int(seq) - 1, int(number)) if number else Place(int(seq))
            rest = uncut[turn][sum([len(each.raw) for each in has]) :]
            projection = Projection(PlainEncoder, seen.run, seen.opened, place, _log(seen, page), cache)
            readers.append((Reader(projection, seen, place.after, cache), rest))
        for deed in [*deeds, *[*range(len(readers))] * len(seen.rows) * 2]:
            if deed == "forget":
                cache.clear()
            elif deed == "split":
                for reader, _ in readers[:1]:
                    if reader.rows and len(reader.rows[0].events) > 1:
                        row = reader.rows[0]
                        first = beginning_of(row, 1)
                        reader.rows[:1] = [first, row.starting_after(first.last_seq)]
            else:
                await readers[deed % len(readers)][0].step()
        for reader, rest in readers:
            assert reader.sent == rest

    asyncio.run(play())


def beginning_of(row: EventRow, count: int) -> EventRow:
    """The first events of a row, as a reader may be handed them."""
    return EventRow(
        row.scope, row.thread_id, row.run_id, row.dispatch_id, row.first_seq, row.created_at, row.events[:count]
    )


@given(deeds=deeds, size=st.sampled_from([0, 2_000, 10**6]))
def test_who_follows_a_thread_and_who_follows_its_run_share_what_they_can(deeds: list[Any], size: int) -> None:
    seen = recorded()["mixed"]
    uncut = whole_turns(seen)

    async def play() -> None:
        frames = FrameCache(size)
        opening = Opening(scope=seen.opened.scope, thread_id=seen.opened.thread_id, run_id=None, after=0, retry_ms=1)
        after = seen.run.first_event_seq - 1
        log = _log(seen, 7)
        followed = ThreadProjection(
            PlainEncoder, lambda problem, request_id: (), opening, Place(after), log, frames, dialect="plain"
        )
        run = Projection(PlainEncoder, seen.run, seen.opened, Place(after), log, frames)
        readers = [Reader(followed, seen, after, frames), Reader(run, seen, after, frames)]
        for deed in [*deeds, *[0, 1] * len(seen.rows)]:
            if isinstance(deed, int):
                await readers[deed % 2].step()
            else:
                frames.clear()
        assert readers[0].sent == b"".join(uncut)
        assert readers[1].sent == uncut[0]

    asyncio.run(play())
