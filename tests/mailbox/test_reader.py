"""Readers: attached at any moment, fast or slow, cut or cancelled, they see the log and nothing else."""

from __future__ import annotations

import asyncio
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Literal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from awaken.domain.errors import StoreUnavailable, Unavailable
from awaken.domain.event import logged
from awaken.domain.ids import (
    DEFAULT_SCOPE,
    AgentId,
    ClaimToken,
    ConsumerId,
    DispatchId,
    InstanceId,
    MessageId,
    Route,
    RunId,
    ThreadId,
)
from awaken.domain.log import EventRow
from awaken.domain.message import user_message
from awaken.domain.run import NATURAL_END, Intent, RunRequest
from awaken.mailbox.reader import Hub, Reader
from awaken.mailbox.settings import READER_BUFFER_EVENTS, READER_PAGE_EVENTS
from awaken.store.contract import Store
from awaken.store.memory import MemoryStore
from awaken.store.sqlite import SqliteStore
from awaken.store.transitions import Ack, Commit, Offer, Settle, Submit, Transition
from awaken.testing.behaviour import behaviour
from awaken.testing.clock import ManualClock, settle
from awaken.testing.events import text_delta
from awaken.testing.mailboxes import WatchedStore, World

THREAD = ThreadId("t")
RUN = RunId("r")


class Log:
    """One thread with one running run, whose rows are published as an engine would."""

    def __init__(self, store: WatchedStore, clock: ManualClock) -> None:
        self.store = store
        self.clock = clock
        self.hub = Hub(store, clock)
        self._queued = 0
        self._commits = 0

    async def start(self) -> None:
        offer = Offer(ConsumerId("c"), ClaimToken("token"), InstanceId("i"), frozenset({Route("a")}))
        await self._apply(_submit(RUN, offer))

    async def say(self, count: int, size: int = 1) -> None:
        """One row of so many events of the run."""
        self._commits += 1
        await self._apply(
            Commit(
                number=self._commits,
                scope=DEFAULT_SCOPE,
                thread_id=THREAD,
                run_id=RUN,
                dispatch_id=DispatchId("d-r"),
                token=ClaimToken("token"),
                entries=(logged(text_delta("x" * size)),) * count,
            )
        )

    async def queue(self) -> None:
        """One event of another run."""
        self._queued += 1
        await self._apply(_submit(RunId(f"other-{self._queued}"), None))

    async def end(self) -> None:
        await self._apply(
            Settle(
                number=self._commits + 1,
                scope=DEFAULT_SCOPE,
                thread_id=THREAD,
                run_id=RUN,
                dispatch_id=DispatchId("d-r"),
                token=ClaimToken("token"),
                ending=Ack(NATURAL_END),
            )
        )

    async def rows(self, after: int, run_id: RunId | None) -> list[EventRow]:
        return await self.store.list_events(DEFAULT_SCOPE, THREAD, after=after, limit=1_000_000, run_id=run_id)

    def reader(self, after: int = 0, run_id: RunId | None = None) -> Reader:
        return self.hub.reader(DEFAULT_SCOPE, THREAD, after=after, run_id=run_id)

    async def _apply(self, transition: Transition) -> None:
        [outcome] = await self.store.apply([transition])
        self.hub.publish(outcome.appended)


def _submit(run_id: RunId, offer: Offer | None) -> Submit:
    message = user_message(MessageId(f"m-{run_id}"), "hello")
    return Submit(
        scope=DEFAULT_SCOPE,
        thread_id=THREAD,
        run_id=run_id,
        dispatch_id=DispatchId(f"d-{run_id}"),
        request=RunRequest(Intent(AgentId("a")), (message.id,)),
        messages=(message,),
        offer=offer,
    )


def seen(rows: list[EventRow]) -> list[tuple[int, str, bytes]]:
    """Every event with its seq, as a client receives it."""
    return [
        (row.first_seq + index, event.kind, bytes(event.payload))
        for row in rows
        for index, event in enumerate(row.events)
    ]


Step = tuple[Literal["say", "queue", "read", "say while reading", "cancel a read"], int]
steps = st.lists(
    st.tuples(
        st.sampled_from(["say", "queue", "read", "say while reading", "cancel a read"]),
        st.integers(min_value=1, max_value=READER_BUFFER_EVENTS + 20),
    ),
    max_size=12,
)


async def play(store: Store, before: int, after: int, filtered: bool, script: list[Step]) -> None:
    """Attach after some rows, follow the script, read to the end, and compare with the log."""
    clock = ManualClock()
    watched = WatchedStore(store)
    async with asyncio.timeout(20), watched:
        log = Log(watched, clock)
        await log.start()
        for _ in range(before):
            await log.say(7)
        run_id = RUN if filtered else None
        got: list[EventRow] = []
        async with log.reader(after, run_id) as reader:
            for kind, count in script:
                got += await step(log, reader, kind, count)
            await log.end()
            last = (await log.rows(0, run_id))[-1].last_seq
            while not (reader.ended if filtered else got and got[-1].last_seq == last):
                got += await reader.next_rows()
        assert seen(got) == seen(await log.rows(after, run_id))


async def step(log: Log, reader: Reader, kind: str, count: int) -> list[EventRow]:
    match kind:
        case "say":
            await log.say(count)
        case "queue":
            await log.queue()
        case "read":
            return list(await reader.next_rows(0.0))
        case _:
            log.store.hold_reads()
            reading = asyncio.create_task(reader.next_rows(0.0))
            await settle(5)
            await log.say(count)
            if kind == "cancel a read":
                reading.cancel()
            log.store.let_go()
            await asyncio.wait((reading,))
            return [] if reading.cancelled() else list(reading.result())
    return []


@behaviour("EV-019")
@given(before=st.integers(0, 90), after=st.integers(0, 4), filtered=st.booleans(), script=steps)
@settings(max_examples=2 * settings().max_examples)
async def test_a_reader_attached_at_any_moment_of_a_burst_loses_and_doubles_nothing(
    before: int, after: int, filtered: bool, script: list[Step]
) -> None:
    await play(MemoryStore(ManualClock()), before, after, filtered, script)


@given(before=st.integers(0, 90), after=st.integers(0, 4), filtered=st.booleans(), script=steps)
@settings(max_examples=max(settings().max_examples // 4, 1))
async def test_the_same_holds_for_a_store_on_disk(before: int, after: int, filtered: bool, script: list[Step]) -> None:
    with TemporaryDirectory() as folder:
        await play(SqliteStore(Path(folder) / "awaken.db", clock=ManualClock()), before, after, filtered, script)


@behaviour("EV-020")
async def test_a_slow_reader_forgets_its_buffer_pages_the_log_and_comes_level_again(
    store: WatchedStore, clock: ManualClock
) -> None:
    async with store:
        log = Log(store, clock)
        await log.start()
        async with log.reader() as reader:
            assert [row.first_seq for row in await reader.next_rows()] == [1]
            for _ in range(READER_PAGE_EVENTS // 4):
                await log.say(20)
            got: list[EventRow] = []
            while not got or got[-1].last_seq < (await store.event_bounds(DEFAULT_SCOPE, THREAD))[1]:
                got += await reader.next_rows()
            assert reader.catchups >= 1
            assert seen(got) == seen(await log.rows(4, None))

            catchups = reader.catchups
            await log.say(1)
            assert len(await reader.next_rows()) == 1
            assert reader.catchups == catchups


@behaviour("EV-018")
async def test_a_reader_that_starts_from_now_gets_only_what_is_newer(store: WatchedStore, clock: ManualClock) -> None:
    async with store:
        log = Log(store, clock)
        await log.start()
        await log.say(3)
        _, now = await store.event_bounds(DEFAULT_SCOPE, THREAD)
        async with log.reader(after=now) as reader:
            assert reader.position == now
            await log.say(2)
            assert seen([*await reader.next_rows()]) == seen(await log.rows(now, None))


async def test_a_reader_is_bounded_in_bytes_too(store: WatchedStore, clock: ManualClock) -> None:
    async with store:
        log = Log(store, clock)
        await log.start()
        async with log.reader() as reader:
            await reader.next_rows()
            for _ in range(12):
                await log.say(1, size=100_000)
            assert reader.catchups == 1
            got: list[EventRow] = []
            while len(got) < 12:
                got += await reader.next_rows()


@behaviour("D-015")
async def test_a_run_never_waits_for_its_readers(store: WatchedStore, clock: ManualClock) -> None:
    async with store:
        log = Log(store, clock)
        await log.start()
        async with log.reader(), log.reader():
            for _ in range(1_000):
                await log.say(1)
        assert (await store.event_bounds(DEFAULT_SCOPE, THREAD))[1] == 1_004


@behaviour("MBX-082", "MBX-083", "MBX-084")
@pytest.mark.parametrize("state", ["unknown", "idle", "running"])
async def test_there_is_no_sink_to_reconnect_a_reader_attaches_to_a_thread_in_any_state(
    store: WatchedStore, clock: ManualClock, state: str
) -> None:
    async with World(store, clock) as world:
        if state != "unknown":
            await world.submit("before")
            call = await world.agent.next_call()
            if state == "idle":
                call.release()
                await world.quiet()
        async with world.mailbox.read_thread(DEFAULT_SCOPE, THREAD) as reader:
            await world.submit("after")
            got: list[EventRow] = []
            while not any(event.kind == "RunQueued" and row.run_id for row in got[-1:] for event in row.events):
                got += await reader.next_rows()
            await world.quiet()
            while rows := await reader.next_rows(0.0):
                got += rows
            assert seen(got) == seen(await store.list_events(DEFAULT_SCOPE, THREAD, after=0, limit=10_000))


async def test_a_reader_of_a_run_ends_after_its_last_event_also_when_that_lies_before_the_start(
    store: WatchedStore, clock: ManualClock
) -> None:
    async with store:
        log = Log(store, clock)
        await log.start()
        await log.end()
        async with log.reader(0, RUN) as reader:
            assert [row.last_seq for row in await reader.next_rows()][-1] == 5
            assert (reader.ended, await reader.next_rows()) == (True, ())
        async with log.reader(5, RUN) as reader:
            assert await reader.next_rows() == ()
            assert reader.ended


async def test_a_reader_of_a_thread_has_no_end(store: WatchedStore, clock: ManualClock) -> None:
    async with store:
        log = Log(store, clock)
        await log.start()
        await log.end()
        async with log.reader() as reader:
            await reader.next_rows()
            waiting = asyncio.create_task(reader.next_rows())
            await settle()
            assert not waiting.done()
            await log.queue()
            assert len(await waiting) == 1
            assert not reader.ended


async def test_a_reader_that_is_cut_hears_of_no_end_and_resumes_elsewhere(
    store: WatchedStore, clock: ManualClock
) -> None:
    async with store:
        log = Log(store, clock)
        await log.start()
        async with log.reader(0, RUN) as reader:
            await reader.next_rows()
            waiting = asyncio.create_task(reader.next_rows())
            await settle()
            log.hub.close()
            assert await waiting == ()
            assert (reader.is_cut, reader.ended) == (True, False)
            position = reader.position
        await log.end()
        async with log.reader(position, RUN) as late:
            assert late.is_cut, "nothing stays attached to what is closing"
        log.hub.open()
        async with log.reader(position, RUN) as reader:
            assert seen(list(await reader.next_rows())) == seen(await log.rows(position, RUN))
        assert log.hub.reader_count == 0


async def test_whoever_waits_for_an_end_is_told_that_the_hub_closes(clock: ManualClock) -> None:
    hub = Hub(MemoryStore(clock), clock)
    before = hub.end_of(DEFAULT_SCOPE, RUN, THREAD)
    hub.close()
    with pytest.raises(Unavailable):
        await before
    with pytest.raises(Unavailable):
        hub.end_of(DEFAULT_SCOPE, RUN, THREAD)
    hub.forget(DEFAULT_SCOPE, RUN, before)

    hub.open()
    later = hub.end_of(DEFAULT_SCOPE, RUN, None)
    hub.forget(DEFAULT_SCOPE, RUN, later)
    hub.ended(DEFAULT_SCOPE, RUN, None)
    assert not later.done(), "it was forgotten"


async def test_the_patience_of_a_reader_is_not_renewed_by_events_of_others(
    store: WatchedStore, clock: ManualClock
) -> None:
    async with store:
        log = Log(store, clock)
        await log.start()
        async with log.reader(0, RUN) as reader:
            await reader.next_rows()
            waiting = asyncio.create_task(reader.next_rows(5.0))
            for _ in range(5):
                await clock.advance(0.9)
                await log.queue()
                await settle()
            assert not waiting.done()
            await clock.advance(0.5)
            assert await waiting == ()


async def test_a_read_the_store_refuses_is_repeated_by_the_next_call(store: WatchedStore, clock: ManualClock) -> None:
    async with store:
        log = Log(store, clock)
        await log.start()
        async with log.reader() as reader:
            store.refuse_read = StoreUnavailable("busy")
            with pytest.raises(StoreUnavailable):
                await reader.next_rows()
            store.refuse_read = None
            assert [row.first_seq for row in await reader.next_rows()] == [1]
