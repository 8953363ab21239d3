"""A process that executes nothing beside one that does: what it shows of a run is what happens to it."""

from __future__ import annotations

import asyncio

import pytest

from awaken.domain.errors import StoreUnavailable, Unavailable
from awaken.domain.event import TERMINAL_KINDS
from awaken.domain.ids import DEFAULT_SCOPE
from awaken.domain.run import RunStatus
from awaken.executors.function import Context
from awaken.mailbox.settings import WRITE_BUFFER_WAIT_S, MailboxSettings
from awaken.store.transitions import Claim
from awaken.testing.behaviour import behaviour
from awaken.testing.clock import ManualClock
from awaken.testing.mailboxes import WatchedStore, World

POLL_S = 7.0
SETTINGS = MailboxSettings(drain_s=0, handover_s=0, poll_interval_s=POLL_S)


@behaviour("WU-001", "WU-002")
@pytest.mark.parametrize("is_silent", [False, True])
async def test_a_stream_and_a_wait_beside_the_executing_process_go_on_to_the_end(
    store: WatchedStore, clock: ManualClock, is_silent: bool
) -> None:
    """With signals at once; without them within one interval of the poll."""
    shared = WatchedStore(store, exclusive=False)
    shared.loses_signals = is_silent
    async with (
        World(shared, clock, settings=SETTINGS) as works,
        World(shared, clock, settings=SETTINGS, executes=False, seed=2) as beside,
    ):
        submission = await works.submit()
        call = await works.agent.next_call()
        run = submission.run
        kinds: list[str] = []

        async def stream() -> None:
            async with beside.mailbox.read_run(DEFAULT_SCOPE, run) as reader:
                async for row in reader:
                    kinds.extend(event.kind for event in row.events)

        streaming = asyncio.create_task(stream())
        waiting = asyncio.create_task(beside.mailbox.wait(DEFAULT_SCOPE, run.run_id))
        knowing = asyncio.create_task(beside.mailbox.wait(DEFAULT_SCOPE, run.run_id, known=run))
        await beside.quiet()
        assert kinds and kinds[-1] not in TERMINAL_KINDS
        assert not waiting.done()

        call.release("the end")
        await beside.quiet()
        if is_silent:
            assert not waiting.done(), "nobody has told it"
            await beside.advance(POLL_S)

        assert [(await each).final_output for each in (waiting, knowing)] == ["the end", "the end"]
        await streaming
        assert kinds == await beside.kinds(run.run_id)


async def test_work_accepted_beside_the_executing_process_is_claimed_when_it_is_signalled(
    store: WatchedStore, clock: ManualClock
) -> None:
    shared = WatchedStore(store, exclusive=False)
    async with (
        World(shared, clock, settings=SETTINGS) as works,
        World(shared, clock, settings=SETTINGS, executes=False, seed=2) as beside,
    ):
        submission = await beside.submit()
        (await works.agent.next_call()).release("done there")
        assert (await beside.done(submission)).final_output == "done there"


async def test_a_reader_whose_look_is_cut_short_looks_again(store: WatchedStore, clock: ManualClock) -> None:
    """Its caller was cancelled, or the store could not answer. A store of one process has no poll to make up for it."""
    async with (
        World(store, clock, settings=SETTINGS) as works,
        World(store, clock, settings=SETTINGS, executes=False, seed=2) as beside,
    ):
        submission = await works.submit()
        call = await works.agent.next_call()
        async with beside.mailbox.read_run(DEFAULT_SCOPE, submission.run) as reader:
            while await reader.next_rows(0.0):
                pass
            await beside.quiet()
            for breaks in ("cancelled", "refused"):
                store.hold_reads()
                reading = asyncio.create_task(reader.next_rows())
                await call.context.emit(breaks)
                await beside.advance(WRITE_BUFFER_WAIT_S)
                if breaks == "cancelled":
                    reading.cancel()
                else:
                    store.refuse_read = StoreUnavailable("busy")
                store.let_go()
                await asyncio.wait((reading,))
                store.refuse_read = None
                rows = await reader.next_rows(5.0) if reading.cancelled() or reading.exception() else reading.result()
                assert [event.kind for row in rows for event in row.events][-1:] == ["TextDeltaObserved"], breaks


async def test_what_a_process_commits_in_a_run_of_its_own_makes_nobody_look_for_work_there(
    store: WatchedStore, clock: ManualClock
) -> None:
    """With another mailbox on its store a process hears of its own commits; a claim for each would double its cost."""
    async with (
        World(store, clock, settings=SETTINGS) as works,
        World(store, clock, settings=SETTINGS, executes=False, seed=2),
    ):
        await works.submit()
        call = await works.agent.next_call()
        await works.quiet()
        claims = sum(isinstance(each, Claim) for each in store.transitions)
        for number in range(5):
            await call.context.emit(str(number))
            await works.quiet()
        assert sum(isinstance(each, Claim) for each in store.transitions) == claims


@behaviour("LF-003")
async def test_a_wait_that_is_called_off_by_the_shutdown_never_returns_the_run_as_it_is(
    store: WatchedStore, clock: ManualClock
) -> None:
    async def dawdle(context: Context) -> str:
        await asyncio.Event().wait()
        return "never"

    async with World(store, clock, agents={"dawdle": dawdle}) as world:
        submission = await world.submit(agent_id="dawdle")
        waiting = [
            asyncio.create_task(world.mailbox.wait(DEFAULT_SCOPE, submission.run.run_id, timeout_s=timeout_s))
            for timeout_s in (None, 1e9)
        ]
        await world.quiet()
        await world.leave()
        for each in waiting:
            with pytest.raises(Unavailable) as refused:
                await each
            assert refused.value.code == "stopping"
        await world.mailbox.start()
        assert (await world.run(submission)).status is not RunStatus.DONE
