"""A process that executes nothing beside one that does: what it shows of a run is what happens to it."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import Any

import pytest

from awaken.domain.delivery import Delivery
from awaken.domain.errors import StoreUnavailable, ThreadBusy, Unavailable
from awaken.domain.event import TERMINAL_KINDS
from awaken.domain.ids import DEFAULT_SCOPE, MessageId, RunId, ThreadId
from awaken.domain.message import user_message
from awaken.domain.run import CANCELLED, RunStatus
from awaken.executors.function import Context
from awaken.mailbox.settings import WRITE_BUFFER_WAIT_S, MailboxSettings
from awaken.mailbox.submission import RunSubmission
from awaken.store.contract import RunQuery
from awaken.store.transitions import Claim, Commit
from awaken.testing.behaviour import behaviour
from awaken.testing.clock import ManualClock
from awaken.testing.mailboxes import Call, WatchedStore, World

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


# --- what is asked beside the executing process -----------------------------------------------------------------------

LEASE_S = 12.0
"""The usual one: what no signal tells a process of, it learns when it renews, within a third of that."""


@pytest.fixture(params=("heard", "silent"))
def shared(store: WatchedStore, request: pytest.FixtureRequest) -> WatchedStore:
    """A store of several processes, whose signals arrive or are lost."""
    found = WatchedStore(store, exclusive=False)
    found.loses_signals = request.param == "silent"
    return found


def steering(text: str, message_id: str = "", **wishes: Any) -> RunSubmission:
    message = user_message(MessageId(message_id), text)
    return RunSubmission(messages=(message,), thread_id="t", delivery=Delivery(mode="steer", **wishes))


async def inbox(call: Call) -> list[str]:
    """What the agent gets behind a step: a process that heard of nothing has learnt of it then."""
    await call.context.step("step", lambda: 1)
    return [message.text for message in await call.context.inbox()]


async def runs_in(world: World, thread_id: str = "t") -> int:
    query = RunQuery(thread_id=ThreadId(thread_id), limit=200)
    return len((await world.store.list_runs(DEFAULT_SCOPE, query)).items)


@behaviour("MBX-147", "LV-016", "MBX-148", "MBX-198", "SV-040", "LV-012", "SRV-014")
async def test_a_message_reaches_the_run_that_executes_elsewhere_and_opens_none(
    shared: WatchedStore, clock: ManualClock
) -> None:
    async with World(shared, clock) as works, World(shared, clock, executes=False, seed=2) as beside:
        run = await works.submit()
        call = await works.agent.next_call()
        asked = steering("look here", target_run_id=run.run.run_id, fallback_to_new_run=False)

        sent = await beside.mailbox.messages.send(asked)

        [receipt] = sent.receipts
        assert (receipt.path, receipt.run_id) == ("steered", run.run.run_id)
        [entry] = [each.entry for each in await shared.list_pending(DEFAULT_SCOPE, ThreadId("t"))]
        assert (entry.boundary, entry.run_id, entry.fallback_to_new_run) == ("next_step", run.run.run_id, False)
        assert await inbox(call) == ["look here"]
        call.release("done")
        assert (await works.done(run)).final_output == "done"
        assert await beside.texts() == ["hello", "look here", "done"]
        assert await runs_in(beside) == 1


@behaviour("MBX-149", "MBX-152", "LV-017")
async def test_a_message_that_the_run_elsewhere_does_not_take_opens_exactly_one(
    shared: WatchedStore, clock: ManualClock
) -> None:
    async with World(shared, clock) as works, World(shared, clock, executes=False, seed=2) as beside:
        run = await works.submit()
        call = await works.agent.next_call()
        sent = await beside.mailbox.messages.send(steering("look here"))
        call.release("did not look")
        await works.advance(LEASE_S)

        again = await works.agent.next_call()
        again.release("now it did")
        await works.quiet()

        assert (await beside.run(run)).final_output == "did not look"
        assert again.run_id != run.run.run_id
        assert await beside.texts() == ["hello", "did not look", "look here", "now it did"]
        [receipt] = sent.receipts
        found = await beside.mailbox.messages.receipt(DEFAULT_SCOPE, receipt.message_id, thread_id="t")
        assert (found.fate, found.run_id) == ("consumed", again.run_id)
        assert await runs_in(beside) == 2


@behaviour("MBX-150", "LV-018")
async def test_a_message_whose_taking_was_not_heard_of_is_taken_once(shared: WatchedStore, clock: ManualClock) -> None:
    """Neither by the run, to which the store's answer was lost, nor by its sender, who sends it again."""
    async with World(shared, clock) as works, World(shared, clock, executes=False, seed=2) as beside:
        run = await works.submit()
        call = await works.agent.next_call()
        await beside.mailbox.messages.send(steering("look here", "m1"))
        await call.context.step("first", lambda: 1)
        shared.lose_answer(Commit)
        taking = asyncio.ensure_future(call.context.inbox())
        await works.advance(5)
        assert [message.text for message in await taking] == ["look here"]

        [receipt] = (await beside.mailbox.messages.send(steering("look here", "m1"))).receipts

        assert (receipt.fate, receipt.run_id) == ("consumed", run.run.run_id)
        assert await inbox(call) == []
        call.release("done")
        await works.done(run)
        await works.quiet()
        assert await beside.texts() == ["hello", "look here", "done"]
        assert await runs_in(beside) == 1


@behaviour("MBX-151", "LV-022")
async def test_a_message_for_another_run_does_not_reach_the_one_that_executes_elsewhere(
    shared: WatchedStore, clock: ManualClock
) -> None:
    async with World(shared, clock) as works, World(shared, clock, executes=False, seed=2) as beside:
        await works.submit("first")
        call = await works.agent.next_call()
        queued = await beside.submit("second")
        await beside.mailbox.messages.send(steering("for the second", target_run_id=queued.run.run_id))

        assert await inbox(call) == []
        call.release("first done")
        second = await works.agent.next_call()
        assert (second.run_id, await inbox(second)) == (queued.run.run_id, ["for the second"])


@behaviour("MBX-104", "LV-019", "LV-012", "SRV-014")
async def test_a_submit_that_interrupts_stops_the_run_elsewhere_and_starts_when_that_has_let_go(
    shared: WatchedStore, clock: ManualClock
) -> None:
    async with World(shared, clock) as works, World(shared, clock, executes=False, seed=2) as beside:
        first = await works.submit("first")
        call = await works.agent.next_call()
        queued = await beside.submit("queued")

        instead = await beside.submit("instead", mode="interrupt")

        assert (await beside.run(queued)).termination == CANCELLED
        assert instead.stops == first.run.run_id
        await works.advance(LEASE_S / 3)
        assert call.is_over
        assert (await beside.run(first)).termination == CANCELLED
        again = await works.agent.next_call()
        again.release("instead of it")
        assert (await works.done(instead)).final_output == "instead of it"
        assert works.agent.most_running == 1


@pytest.mark.parametrize("how", ["cancel", "interrupt"])
async def test_a_run_that_executes_elsewhere_stops_at_once_where_the_signal_arrives(
    shared: WatchedStore, clock: ManualClock, how: str
) -> None:
    """And where it is lost, with the next renewal."""
    async with World(shared, clock) as works, World(shared, clock, executes=False, seed=2) as beside:
        run = await works.submit()
        call = await works.agent.next_call()

        if how == "cancel":
            await beside.mailbox.cancel(DEFAULT_SCOPE, run.run.run_id)
        else:
            await beside.mailbox.interrupt(DEFAULT_SCOPE, ThreadId("t"))
        await beside.quiet()

        assert call.is_over is not shared.loses_signals
        await works.advance(LEASE_S / 3)
        assert call.is_over
        assert (await beside.run(run)).termination == CANCELLED


@behaviour("MBX-105", "LV-020")
async def test_a_caller_gives_up_when_the_run_elsewhere_does_not_let_go_and_leaves_nothing(
    shared: WatchedStore, clock: ManualClock
) -> None:
    may_end = asyncio.Event()

    async def deaf(ctx: Context) -> None:
        while not may_end.is_set():
            with suppress(asyncio.CancelledError):
                await may_end.wait()

    agents = {"deaf": deaf}
    async with (
        World(shared, clock, agents=agents) as works,
        World(shared, clock, agents=agents, executes=False, seed=2) as beside,
    ):
        first = await works.submit(agent_id="deaf")
        await works.quiet()

        asking = asyncio.ensure_future(beside.submit("instead", mode="interrupt", release_wait_s=8, run_id="late"))
        await works.advance(8)

        with pytest.raises(ThreadBusy) as busy:
            await asking
        assert busy.value.active_run_id == first.run.run_id
        assert (await beside.run(RunId("late"))).termination == CANCELLED
        may_end.set()
        await works.advance(2 * LEASE_S)
        assert works.agent.calls == []
        assert "instead" not in await beside.texts()
