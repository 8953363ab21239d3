"""Cancelling asks, interrupting asks and clears: in every state a run can be in, and by every kind of agent."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from typing import Any

import pytest

from awaken.domain.clock import sleep
from awaken.domain.dispatch import DispatchStatus
from awaken.domain.errors import RunNotFound, RunNotOpen, StoreUnavailable, ThreadBusy, ThreadNotFound, TransientFailure
from awaken.domain.ids import DEFAULT_SCOPE, RunId, ThreadId
from awaken.domain.message import MessageState
from awaken.domain.run import RunStatus, Termination
from awaken.executors.function import Context
from awaken.mailbox.service import Cancellation, Interruption
from awaken.mailbox.submission import Submission
from awaken.store.transitions import Cancel, Claim, DeleteThread, Interrupt, Settle, Submit, Transition
from awaken.testing.behaviour import behaviour
from awaken.testing.clock import ManualClock
from awaken.testing.mailboxes import WatchedStore, World

CANCELLED = Termination("cancelled")


async def cancel(world: World, submission: Submission, wait_s: float = 0.0) -> Cancellation:
    return await world.mailbox.cancel(DEFAULT_SCOPE, submission.run.run_id, wait_s=wait_s)


async def interrupt(world: World, wait_s: float = 0.0, thread_id: str = "t") -> Interruption:
    return await world.mailbox.interrupt(DEFAULT_SCOPE, ThreadId(thread_id), wait_s=wait_s)


def no_settlement(batch: Sequence[Transition]) -> Exception | None:
    """A store that takes everything but the end of a run."""
    return StoreUnavailable("not now") if any(isinstance(each, Settle) for each in batch) else None


# --- cancel, state by state -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("how", ["cancel", "interrupt", "submit interrupt", "submit rollback", "delete"])
async def test_a_stop_whose_answer_is_lost_stops_whoever_executes_when_it_is_asked_again(
    store: WatchedStore, clock: ManualClock, how: str
) -> None:
    """Nothing else would tell an agent that writes nothing: on a store of one process, nobody renews its lease."""
    kinds = {"cancel": Cancel, "interrupt": Interrupt, "delete": DeleteThread}
    async with World(store, clock) as world:
        running = await world.submit("first")
        call = await world.agent.next_call()
        queued = await world.submit("second")
        waits = [asyncio.create_task(world.done(each)) for each in (running, queued)]

        async def ask() -> object:
            match how:
                case "cancel":
                    return await cancel(world, running)
                case "interrupt":
                    return await interrupt(world)
                case "delete":
                    return await world.mailbox.threads.delete(DEFAULT_SCOPE, ThreadId("t"), force=True)
                case _:
                    mode = how.removeprefix("submit ")
                    return await world.submit("third", run_id=RunId("r3"), mode=mode)

        store.lose_answer(kinds.get(how, Submit))
        with pytest.raises(StoreUnavailable):
            await ask()
        await ask()
        async with asyncio.timeout(10):
            await call.over()
            await asyncio.wait(waits[: 1 if how == "cancel" else 2])
        waits[1].cancel()
        await asyncio.gather(*waits, return_exceptions=True)  # of a deleted thread nobody finds a run


@behaviour("MBX-100", "D-010")
async def test_cancelling_a_queued_run_closes_dispatch_and_run_together(
    store: WatchedStore, clock: ManualClock
) -> None:
    async with World(store, clock) as world:
        await world.submit("first")
        submission = await world.submit("second")

        outcome = await cancel(world, submission)

        run, dispatch = await world.run(submission), await world.dispatch(submission)
        assert (outcome.state, run.status, run.termination) == ("stopped", RunStatus.DONE, CANCELLED)
        assert (dispatch.status, run.dispatch_id) == (DispatchStatus.CANCELLED, dispatch.dispatch_id)
        rows = await store.list_events(DEFAULT_SCOPE, ThreadId("t"), after=0, limit=100, run_id=run.run_id)
        assert (rows[-1].events[-1].kind, rows[-1].dispatch_id) == ("RunCancelled", dispatch.dispatch_id)
        (await world.agent.next_call()).release("answer")
        await world.quiet()
        assert await world.texts() == ["first", "answer"], "what never ran leaves nothing in the conversation"


@behaviour("MBX-107")
async def test_a_run_that_has_ended_holds_its_thread_until_its_settlement_is_stored(
    store: WatchedStore, clock: ManualClock
) -> None:
    """Its slot may be free by then; the next one has to wait for what is stored, and gives up when that takes long."""
    async with World(store, clock) as world:
        first = await world.submit("first")
        call = await world.agent.next_call()
        store.refuse = no_settlement
        call.release("done")
        await call.over()
        await world.quiet()

        instead = asyncio.ensure_future(world.submit("instead", mode="interrupt", release_wait_s=2, run_id="late"))
        await world.advance(3)

        with pytest.raises(ThreadBusy) as busy:
            await instead
        assert busy.value.active_run_id == first.run.run_id
        assert (await world.run(RunId("late"))).termination == CANCELLED
        store.come_back()
        await world.advance(5)
        await world.done(first)
        assert "instead" not in await world.texts()
        assert len(world.agent.calls) == 1


async def test_cancelling_a_delayed_run_means_it_never_runs(store: WatchedStore, clock: ManualClock) -> None:
    async with World(store, clock) as world:
        submission = await world.submit(delay_s=5)
        assert (await cancel(world, submission)).state == "stopped"

        await world.advance(60)
        assert world.agent.calls == []


async def test_cancelling_a_run_that_waits_for_its_retry_ends_it(store: WatchedStore, clock: ManualClock) -> None:
    async with World(store, clock) as world:
        submission = await world.submit()
        (await world.agent.next_call()).fail(TransientFailure("busy"))
        await world.quiet()
        assert (await cancel(world, submission)).state == "stopped"

        await world.advance(60)
        assert (await world.run(submission)).termination == CANCELLED
        assert len(world.agent.calls) == 1


@behaviour("MBX-286", "D-010", "OS-006", "P-004")
async def test_cancelling_a_running_run_is_requested_acknowledged_and_stopped(
    store: WatchedStore, clock: ManualClock
) -> None:
    async with World(store, clock) as world:
        submission = await world.submit()
        call = await world.agent.next_call()

        outcome = await cancel(world, submission, wait_s=5)

        assert (outcome.state, call.is_over) == ("stopped", True)
        assert outcome.run is not None and outcome.run.termination == CANCELLED
        kinds = await world.kinds(submission)
        assert [kind for kind in kinds if "ancel" in kind] == ["CancelRequested", "CancelAcknowledged", "RunCancelled"]
        await world.quiet()
        assert (world.ledger.labels, world.free_slots) == (["cancelled"], 100)


async def test_cancelling_twice_is_the_same_as_once(store: WatchedStore, clock: ManualClock) -> None:
    async with World(store, clock) as world:
        submission = await world.submit()
        await world.agent.next_call()

        outcomes = await asyncio.gather(*[cancel(world, submission, wait_s=5) for _ in range(3)])
        again = await cancel(world, submission)

        assert [outcome.state for outcome in (*outcomes, again)] == ["stopped"] * 4
        assert (await world.kinds(submission)).count("CancelRequested") == 1
        assert (await world.kinds(submission)).count("CancelAcknowledged") == 1


@behaviour("D-002", "OS-006")
async def test_a_run_cancelled_right_behind_its_claim_is_acknowledged_too(
    store: WatchedStore, clock: ManualClock
) -> None:
    async with World(store, clock) as world:
        submission = await world.submit(delay_s=1)
        store.hold(Claim)
        await world.advance(1)
        cancelling = asyncio.create_task(cancel(world, submission, wait_s=5))
        await world.quiet()
        store.let_go()

        assert (await cancelling).state == "stopped"
        kinds = await world.kinds(submission)
        assert [kind for kind in kinds if "ancel" in kind] == ["CancelRequested", "CancelAcknowledged", "RunCancelled"]
        await world.quiet()
        assert world.free_slots == 100


async def test_a_run_that_finishes_at_the_same_moment_keeps_its_answer(store: WatchedStore, clock: ManualClock) -> None:
    async with World(store, clock) as world:
        submission = await world.submit()
        call = await world.agent.next_call()
        store.hold()
        call.release("done already")
        await world.quiet()
        cancelling = asyncio.create_task(cancel(world, submission, wait_s=5))
        await world.quiet()
        store.let_go()

        with pytest.raises(RunNotOpen):
            await cancelling
        assert (await world.run(submission)).final_output == "done already"


async def test_a_cancel_that_is_stored_before_the_settlement_does_not_undo_a_finished_answer(
    store: WatchedStore, clock: ManualClock
) -> None:
    async with World(store, clock) as world:
        submission = await world.submit()
        call = await world.agent.next_call()
        store.hold()
        cancelling = asyncio.create_task(cancel(world, submission, wait_s=5))
        await world.quiet()
        call.release("done already")
        await world.quiet()
        store.let_go()

        assert (await cancelling).state == "stopped"
        run = await world.run(submission)
        assert (run.termination, run.final_output) == (Termination("natural_end"), "done already")


async def test_cancelling_what_does_not_exist_or_ended_otherwise_says_so(
    store: WatchedStore, clock: ManualClock
) -> None:
    async with World(store, clock) as world:
        submission = await world.submit()
        (await world.agent.next_call()).release()
        await world.done(submission)

        with pytest.raises(RunNotOpen):
            await cancel(world, submission)
        with pytest.raises(RunNotFound):
            await world.mailbox.cancel(DEFAULT_SCOPE, RunId("nothing"))
        with pytest.raises(ThreadNotFound):
            await interrupt(world, thread_id="nowhere")


@behaviour("MBX-285")
async def test_an_agent_that_ignores_the_request_is_reported_and_asked_again_only_by_another_one(
    store: WatchedStore, clock: ManualClock
) -> None:
    """Neither by asking for the same once more nor by what renewals answer."""
    asked: list[float] = []

    async def deaf(context: Context) -> None:
        while len(asked) < 2:
            try:
                await asyncio.Event().wait()
            except asyncio.CancelledError:
                asked.append(clock.monotonic())
        raise asyncio.CancelledError

    async with World(store, clock, agents={"deaf": deaf}) as world:
        submission = await world.submit(agent_id="deaf")
        await world.quiet()

        waiting = asyncio.create_task(cancel(world, submission, wait_s=5))
        await world.advance(5)
        outcome = await waiting
        assert outcome.state == "acknowledged" and outcome.run is not None
        assert (outcome.run.status, outcome.run.cancel_requested_at) == (RunStatus.RUNNING, clock.now() - 5_000)
        await world.advance(20)
        assert (await cancel(world, submission)).state == "acknowledged"
        assert asked == [0.0]

        assert (await interrupt(world, wait_s=5)).cancel == "stopped"
        assert (asked, (await world.run(submission)).termination) == ([0.0, 25.0], CANCELLED)


async def test_one_request_to_stop_is_one_cancellation_however_long_the_agent_tidies_up(
    store: WatchedStore, clock: ManualClock
) -> None:
    """It commits meanwhile, and its lease is renewed: both answers repeat the request."""
    tidied: list[float] = []

    async def tidy(context: Context) -> None:
        try:
            await asyncio.Event().wait()
        finally:
            for number in range(6):
                await sleep(clock, 1)
                await context.step(f"tidy {number}", lambda: None)
            tidied.append(clock.monotonic())

    async with World(store, clock, agents={"tidy": tidy}) as world:
        submission = await world.submit(agent_id="tidy")
        await world.quiet()
        await cancel(world, submission)
        await world.advance(6)

        assert tidied == [6.0]
        assert (await world.run(submission)).termination == CANCELLED


@behaviour("UC-015")
@pytest.mark.parametrize("further", ["cancel", "interrupt", "shutdown"])
async def test_an_agent_that_tidies_up_within_its_grace_is_not_cancelled_again(
    store: WatchedStore, clock: ManualClock, further: str
) -> None:
    """Neither by the same request nor by one that means more."""
    tidied: list[float] = []

    async def tidy(context: Context) -> None:
        try:
            await asyncio.Event().wait()
        finally:
            await sleep(clock, 2.5)
            tidied.append(clock.monotonic())

    async with store, World(store, clock, agents={"tidy": tidy}) as world:
        submission = await world.submit(agent_id="tidy")
        await world.quiet()
        await cancel(world, submission)
        await world.advance(1)
        match further:
            case "cancel":
                await cancel(world, submission)
            case "interrupt":
                await interrupt(world)
            case _:
                await world.leave()
        await world.advance(2)

        assert tidied == [2.5]
        run = await store.load_run(DEFAULT_SCOPE, submission.run.run_id)
        assert run is not None and run.termination == CANCELLED


async def test_a_request_that_the_agent_took_back_is_made_again_by_the_next_one(
    store: WatchedStore, clock: ManualClock
) -> None:
    """Code that catches a cancellation and takes it back (`Task.uncancel`) goes on as if there had been none."""
    asked: list[float] = []

    async def forgetful(context: Context) -> None:
        while True:
            try:
                await asyncio.Event().wait()
            except asyncio.CancelledError:
                asked.append(clock.monotonic())
                task = asyncio.current_task()
                assert task is not None
                if len(asked) > 1:
                    raise
                task.uncancel()

    async with World(store, clock, agents={"forgetful": forgetful}) as world:
        submission = await world.submit(agent_id="forgetful")
        await world.quiet()
        await cancel(world, submission)
        await world.advance(1)
        assert (await interrupt(world, wait_s=5)).cancel == "stopped"
        assert asked == [0.0, 1.0]


async def test_tidying_up_is_not_cancelled_by_the_commits_it_makes(store: WatchedStore, clock: ManualClock) -> None:
    async def tidy(context: Context) -> str:
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            await context.step("close the file", lambda: "closed")
            await context.step("say so", lambda: "said")
            raise
        return ""

    async with World(store, clock, agents={"tidy": tidy}) as world:
        submission = await world.submit(agent_id="tidy")
        await world.quiet()
        await cancel(world, submission, wait_s=5)

        journal = await store.list_journal(DEFAULT_SCOPE, submission.run.run_id)
        assert [entry.key for entry in journal] == ["close the file#1", "say so#1"]
        assert (await world.run(submission)).steps == 2


@behaviour("OS-006")
async def test_a_cancelled_run_keeps_what_its_reader_has_seen(store: WatchedStore, clock: ManualClock) -> None:
    async def talker(context: Context) -> AsyncIterator[str]:
        yield "half an "
        yield "answer"
        await asyncio.Event().wait()

    async with World(store, clock, agents={"talker": talker}) as world:
        submission = await world.submit(agent_id="talker")
        await world.quiet()
        await cancel(world, submission, wait_s=5)

        [_, partial] = await world.messages()
        assert (partial.text, partial.state) == ("half an answer", MessageState.INTERRUPTED)


@behaviour("OS-001")
async def test_the_cancel_of_a_dead_owner_is_carried_out_when_its_lease_ends(
    store: WatchedStore, clock: ManualClock
) -> None:
    store.exclusive = False
    async with store:
        async with World(store, clock) as first:
            submission = await first.submit()
            await first.agent.next_call()
            store.go_down()  # the owner can neither renew nor settle from here on
            await first.advance(11)
        store.come_back()
        async with World(store, clock, seed=2) as second:
            assert (await second.mailbox.cancel(DEFAULT_SCOPE, submission.run.run_id)).state == "requested"
            await second.advance(2)

            run, dispatch = await second.run(submission), await second.dispatch(submission)
            assert (run.termination, dispatch.status) == (CANCELLED, DispatchStatus.CANCELLED)
            assert second.agent.calls == []


async def test_a_cancel_made_by_another_process_arrives_with_the_next_renewal(
    store: WatchedStore, clock: ManualClock
) -> None:
    """Where its signal is lost."""
    store.exclusive, store.loses_signals = False, True
    async with World(store, clock) as owner, World(store, clock, seed=2) as other:
        submission = await owner.submit()
        call = await owner.agent.next_call()
        assert (await other.mailbox.cancel(DEFAULT_SCOPE, submission.run.run_id)).state == "requested"
        assert not call.is_over

        await owner.advance(4)
        assert call.is_over
        assert (await other.run(submission)).termination == CANCELLED


@behaviour("D-009")
async def test_cancelling_a_thread_stops_its_active_run_and_leaves_the_queue(
    store: WatchedStore, clock: ManualClock
) -> None:
    async with World(store, clock) as world:
        first, second = await world.submit("first"), await world.submit("second")
        outcome = await world.mailbox.cancel_thread(DEFAULT_SCOPE, ThreadId("t"), wait_s=5)
        assert outcome.run is not None
        assert (outcome.state, outcome.run.run_id) == ("stopped", first.run.run_id)

        await world.quiet()
        assert (await world.run(second)).status is RunStatus.RUNNING


# --- interrupt --------------------------------------------------------------------------------------------------------


@behaviour("MBX-101")
async def test_an_interrupt_raises_the_epoch(store: WatchedStore, clock: ManualClock) -> None:
    async with World(store, clock) as world:
        await world.submit()
        (await world.agent.next_call()).release()
        await world.quiet()

        outcomes = [await interrupt(world), await interrupt(world)]
        assert [(outcome.epoch, outcome.cancel) for outcome in outcomes] == [(1, "stopped"), (2, "stopped")]
        assert (await world.mailbox.get_thread(DEFAULT_SCOPE, ThreadId("t"))).epoch == 2


@behaviour("MBX-102")
async def test_an_interrupt_supersedes_the_queue_with_its_runs(store: WatchedStore, clock: ManualClock) -> None:
    async with World(store, clock) as world:
        submissions = [await world.submit(str(n)) for n in range(3)]
        outcome = await interrupt(world, wait_s=5)

        assert outcome.superseded == tuple(each.run.run_id for each in submissions[1:])
        assert (outcome.active_run_id, outcome.cancel) == (submissions[0].run.run_id, "stopped")
        runs = [await world.run(each) for each in submissions]
        assert [(run.status, run.termination) for run in runs] == [(RunStatus.DONE, CANCELLED)] * 3
        dispatches = [await world.dispatch(each) for each in submissions]
        assert [each.status for each in dispatches] == [DispatchStatus.SUPERSEDED] * 3
        kinds = await world.kinds(submissions[0])
        assert kinds[-4:] == ["RunInterrupted", "CancelRequested", "CancelAcknowledged", "RunCancelled"]


async def test_after_an_interrupt_the_next_submit_runs_and_the_old_text_is_kept(
    store: WatchedStore, clock: ManualClock
) -> None:
    async def talker(context: Context) -> AsyncIterator[str]:
        yield "half"
        await asyncio.Event().wait()

    async with World(store, clock, agents={"talker": talker}) as world:
        await world.submit("one", agent_id="talker")
        await world.quiet()
        await interrupt(world, wait_s=5)
        submission = await world.submit("two")

        (await world.agent.next_call()).release("whole")
        await world.done(submission)
        assert await world.texts() == ["one", "half", "two", "whole"]


async def test_an_interrupt_of_a_run_already_being_cancelled_acknowledges_once(
    store: WatchedStore, clock: ManualClock
) -> None:
    async def slow_to_stop(context: Context) -> None:
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            await asyncio.Event().wait()

    async with World(store, clock, agents={"slow": slow_to_stop}) as world:
        submission = await world.submit(agent_id="slow")
        await world.quiet()
        await cancel(world, submission)
        await world.advance(3)  # its grace
        await interrupt(world, wait_s=5)

        kinds = await world.kinds(submission)
        assert (kinds.count("CancelRequested"), kinds.count("CancelAcknowledged"), kinds[-1]) == (1, 1, "RunCancelled")


async def test_an_interrupt_before_the_agent_got_anywhere_ends_the_run_without_it(
    store: WatchedStore, clock: ManualClock
) -> None:
    """The claim is made, the conversation is still being loaded; another process raises the epoch."""
    entered: list[RunId] = []

    async def reader(context: Context) -> None:
        await context.messages()
        entered.append(context.identity.run_id)

    store.exclusive = False
    mine, agents = WatchedStore(store), {"reader": reader}
    async with World(mine, clock, agents=agents) as world, World(store, clock, agents=agents, seed=2) as other:
        mine.hold_reads()
        submission = await world.submit(agent_id="reader")
        await world.quiet()
        await interrupt(other)
        await world.advance(4)
        mine.let_go()

        run, dispatch = await world.run(submission), await world.dispatch(submission)
        assert (entered, run.termination, dispatch.status) == ([], CANCELLED, DispatchStatus.SUPERSEDED)
        assert (dispatch.claim_token, dispatch.lease_until) == (None, None)


async def test_an_interrupted_owner_that_ignores_it_keeps_the_thread_until_it_is_stopped_for_its_lease(
    store: WatchedStore, clock: ManualClock
) -> None:
    """Never two runs of one thread: renewals no longer extend the lease, and the thread is free when its owner is at
    rest, which is before the lease could end.
    """
    store.exclusive = False
    stopped_at: list[float] = []

    async def deaf(context: Context) -> None:
        while True:
            try:
                await asyncio.Event().wait()
            except asyncio.CancelledError:
                stopped_at.append(clock.monotonic())
                if len(stopped_at) == 2:
                    raise

    async with World(store, clock, agents={"deaf": deaf}) as world:
        first = await world.submit(agent_id="deaf")
        await world.quiet()
        outcome = await interrupt(world)
        assert outcome.cancel in ("requested", "acknowledged")
        second = await world.submit("next")
        assert second.status == "queued"

        await world.advance(9.9)
        assert (await world.run(second)).status is RunStatus.CREATED
        await world.advance(0.1)
        assert stopped_at == [0.0, 10.0], "asked once, and stopped before the lease ends"
        assert (await world.run(second)).status is RunStatus.RUNNING
        assert (await world.dispatch(first)).status is DispatchStatus.SUPERSEDED


@behaviour("OS-006")
async def test_nothing_of_an_interrupted_run_is_committed_after_the_interrupt(
    store: WatchedStore, clock: ManualClock
) -> None:
    errors: list[Any] = []

    async def busy(context: Context) -> None:
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            try:
                await context.step("too late", lambda: 1)
            except Exception as error:
                errors.append(error)
            raise

    async with World(store, clock, agents={"busy": busy}) as world:
        submission = await world.submit(agent_id="busy")
        await world.quiet()
        await interrupt(world, wait_s=5)

        assert [type(error).__name__ for error in errors] == ["LeaseLost"]
        assert await store.list_journal(DEFAULT_SCOPE, submission.run.run_id) == []
        assert (await world.run(submission)).termination == CANCELLED
