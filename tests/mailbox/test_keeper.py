"""Leases: kept while a run executes, judged by the store, and never outlived by the run."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext

import pytest

from awaken.domain.dispatch import DispatchStatus
from awaken.domain.errors import StoreUnavailable
from awaken.domain.ids import DEFAULT_SCOPE, ClaimToken, DispatchId, RunId
from awaken.domain.run import RunStatus
from awaken.executors.function import Context
from awaken.mailbox import engine
from awaken.mailbox.keeper import Keeper
from awaken.mailbox.settings import MailboxSettings
from awaken.mailbox.stopping import StopReason
from awaken.store.combiner import Combiner
from awaken.store.transitions import Commit, Reclaim, Renew, Settle, Transition
from awaken.testing.behaviour import behaviour
from awaken.testing.clock import ManualClock
from awaken.testing.mailboxes import WatchedStore, World


@pytest.fixture(autouse=True)
def _store_is_shared(store: WatchedStore) -> None:
    """On a store that only one process may own there are no leases."""
    store.exclusive = False


def refuse_renewals(batch: Sequence[Transition]) -> Exception | None:
    return StoreUnavailable("no") if any(isinstance(each, Renew) for each in batch) else None


@behaviour("MBX-066", "OS-002")
async def test_a_lease_grows_while_its_run_executes_and_is_never_reclaimed(
    store: WatchedStore, clock: ManualClock
) -> None:
    settings = MailboxSettings(lease_ms=80, renew_interval_s=0.02, stop_margin_s=0.01, drain_s=0)
    async with World(store, clock, settings=settings) as world:
        submission = await world.submit()
        call = await world.agent.next_call()
        granted = (await world.dispatch(submission)).lease_until
        assert granted is not None

        await world.advance(1)

        dispatch = await world.dispatch(submission)
        assert dispatch.lease_until is not None and dispatch.lease_until >= granted + 900
        assert (dispatch.status, dispatch.attempt_count, call.is_over) == (DispatchStatus.CLAIMED, 0, False)
        call.release()
        await world.quiet()
        assert (await world.dispatch(submission)).status is DispatchStatus.ACKED
        assert len(world.agent.calls) == 1


@behaviour("P-016")
async def test_all_leases_of_a_process_are_renewed_in_one_transition(store: WatchedStore, clock: ManualClock) -> None:
    async with World(store, clock) as world:
        for number in range(50):
            await world.submit(thread_id=f"t{number}")
        await world.advance(4)

        renewals = [each for each in store.transitions if isinstance(each, Renew)]
        assert [len(renewal.leases) for renewal in renewals] == [50]


@behaviour("D-007")
async def test_a_renewal_that_fails_is_tried_again_before_the_lease_is_in_danger(
    store: WatchedStore, clock: ManualClock
) -> None:
    async with World(store, clock) as world:
        submission = await world.submit()
        call = await world.agent.next_call()
        await world.advance(3)
        store.refuse = refuse_renewals
        await world.advance(5.5)
        store.come_back()
        await world.advance(100)

        assert not call.is_over
        call.release("still mine")
        assert (await world.done(submission)).final_output == "still mine"
        assert (await world.dispatch(submission)).attempt_count == 0


async def test_a_run_whose_lease_cannot_be_confirmed_is_stopped_two_seconds_before_it_ends(
    store: WatchedStore, clock: ManualClock
) -> None:
    async with World(store, clock) as world:
        submission = await world.submit()
        call = await world.agent.next_call()
        store.refuse = refuse_renewals

        await world.advance(9.99)
        assert not call.is_over
        await world.advance(0.01)
        assert call.is_over
        assert world.ledger.labels == ["lost"]
        assert [each.run_id for each in world.agent.calls] == [submission.run.run_id] * 2, "its claim was handed back"
        assert world.free_slots == 99


@pytest.mark.parametrize("stopped_s", [11, 13, 60])
async def test_after_a_stop_of_the_process_a_run_goes_on_at_once(
    store: WatchedStore, clock: ManualClock, stopped_s: float
) -> None:
    """All timers are due at once, the renewal among them: what it renews would be nobody's for another lease."""
    async with World(store, clock) as world:
        submission = await world.submit()
        call = await world.agent.next_call()
        await world.advance(33)  # no sweep is due soon
        clock.tick(stopped_s)
        await world.quiet()

        assert call.is_over
        again = await world.agent.next_call()
        again.release("goes on")
        assert (await world.done(submission)).final_output == "goes on"
        assert (await world.dispatch(submission)).attempt_count == 0
        assert world.agent.most_running == 1


@pytest.mark.parametrize("slept_s", [11, 13, 60])
async def test_after_a_sleep_of_the_machine_a_run_goes_on_at_once(
    store: WatchedStore, clock: ManualClock, monkeypatch: pytest.MonkeyPatch, slept_s: float
) -> None:
    """No timer is due; what notices the sleep is `LoopWatch`, which a clock of a test does without."""
    wakers: list[Callable[[], None]] = []

    def watch(woke: Callable[[], None]) -> AbstractContextManager[None]:
        wakers.append(woke)
        return nullcontext()

    monkeypatch.setattr(engine, "SystemClock", ManualClock)
    monkeypatch.setattr(engine, "LoopWatch", watch)
    async with World(store, clock) as world:
        submission = await world.submit()
        call = await world.agent.next_call()
        await world.advance(33)
        delayed = await world.submit(thread_id="delayed", delay_s=10)
        clock.suspend(slept_s)
        await world.quiet()
        assert not call.is_over

        [woke] = wakers
        woke()
        await world.quiet()

        assert call.is_over
        assert [each.run_id for each in world.agent.calls[1:]].count(submission.run.run_id) == 1
        assert [each.run_id for each in world.agent.calls[1:]].count(delayed.run.run_id) == 1
        for each in world.agent.calls[1:]:
            each.release("goes on")
        assert (await world.done(submission)).final_output == "goes on"


async def test_a_lease_is_counted_from_when_it_was_asked_for_not_from_the_answer(
    store: WatchedStore, clock: ManualClock
) -> None:
    async with World(store, clock) as world:
        store.hold()
        submitting = asyncio.create_task(world.submit())
        await world.advance(5)
        store.let_go()
        await submitting
        call = await world.agent.next_call()
        store.refuse = refuse_renewals

        await world.advance(4.99)
        assert not call.is_over
        await world.advance(0.01)
        assert call.is_over


@behaviour("OS-002")
async def test_a_run_that_lost_its_lease_is_stopped_and_writes_nothing(store: WatchedStore, clock: ManualClock) -> None:
    """Another process reclaimed it and runs it again: the old owner hears so from its renewal."""
    async with World(store, clock) as old, World(store, clock, seed=2) as new:
        submission = await old.submit()
        call = await old.agent.next_call()
        await store.apply([Reclaim(abandoned=True)])
        await new.advance(30)

        winner = new if new.agent.calls else old
        successor = await winner.agent.next_call()
        assert (call.is_over, successor.run_id, successor.is_over) == (True, submission.run.run_id, False)
        successor.release("the successor's")
        assert (await winner.done(submission)).final_output == "the successor's"
        assert (await new.texts(), await new.kinds(submission)) == (
            ["hello", "the successor's"],
            [
                *("RunQueued", "MessageCommitted", "RunSubmitted", "RunStarted", "RunRescheduled"),
                *("RunSubmitted", "RunResumed", "StepStarted", "MessageCommitted", "StepEnded", "RunFinished"),
            ],
        )
        for each in (old, new):
            await each.quiet()
        assert old.free_slots == new.free_slots == 100


@behaviour("D-007")
async def test_a_claim_reclaimed_in_its_own_process_is_stopped_before_its_successor_starts(
    store: WatchedStore, clock: ManualClock
) -> None:
    """A wall clock that jumps ends leases early by the store's judgement; the thread still runs one run at a time."""
    async with World(store, clock) as world:
        submission = await world.submit()
        await world.submit(thread_id="elsewhere", delay_s=1)
        first = await world.agent.next_call()
        clock.set(clock.now() + 3_600_000)
        await world.advance(1)

        assert (first.is_over, (await world.dispatch(submission)).crash_count) == (True, 1)
        assert [call.run_id for call in world.agent.calls].count(submission.run.run_id) == 2
        assert world.agent.most_running == 1

        [_, successor] = [call for call in world.agent.calls if call.run_id == submission.run.run_id]
        await world.advance(30)
        assert not successor.is_over, "the loss of the claim before it is not its own"
        successor.release("to the end")
        assert (await world.done(submission)).final_output == "to the end"


@behaviour("OS-002")
async def test_a_failing_store_stops_runs_in_time_and_each_is_run_again_exactly_once(
    store: WatchedStore, clock: ManualClock
) -> None:
    async with World(store, clock) as world:
        submissions = [await world.submit(str(n), thread_id=f"t{n}") for n in range(5)]
        waiting = await world.submit("waiting", thread_id="t0")
        calls = [await world.agent.next_call() for _ in submissions]
        store.go_down()
        calls[0].release("cannot be settled")
        await world.advance(9.99)
        assert [call.is_over for call in calls] == [True, False, False, False, False]
        await world.advance(0.01)
        assert all(call.is_over for call in calls)
        await world.advance(60)
        assert len(world.agent.calls) == 5

        store.come_back()
        await world.advance(2)

        assert len(world.agent.calls) == 10
        for call in world.agent.calls[5:]:
            call.release("again")
        for submission in submissions:
            assert (await world.done(submission)).final_output == "again"
            assert (await world.dispatch(submission)).crash_count == 1
        await world.quiet()
        world.agent.calls[-1].release("its turn")
        assert (await world.done(waiting)).final_output == "its turn"
        await world.quiet()
        assert (world.free_slots, world.agent.most_running) == (100, 1)


@behaviour("D-007")
async def test_a_short_outage_costs_a_running_run_nothing(store: WatchedStore, clock: ManualClock) -> None:
    async def steps(context: Context) -> str:
        return await context.step("one", lambda: "1") + await context.step("two", lambda: "2")

    async with World(store, clock, agents={"steps": steps}) as world:
        store.fail_once(Commit)
        submission = await world.submit(agent_id="steps")
        await world.advance(1)

        assert (await world.run(submission)).final_output == "12"
        assert (await world.dispatch(submission)).attempt_count == 0
        journal = await store.list_journal(DEFAULT_SCOPE, submission.run.run_id)
        assert [entry.key for entry in journal] == ["one#1", "two#1"]


async def test_an_outage_during_a_step_stops_the_run_in_time_although_the_step_survives_cancellation(
    store: WatchedStore, clock: ManualClock
) -> None:
    over: list[float] = []

    async def steps(context: Context) -> None:
        try:
            await context.step("one", lambda: "1")
        finally:
            over.append(clock.monotonic())

    async with World(store, clock, agents={"steps": steps}) as world:
        store.refuse = lambda batch: (
            StoreUnavailable("full") if any(isinstance(each, Commit | Settle | Renew) for each in batch) else None
        )
        submission = await world.submit(agent_id="steps")
        await world.advance(10)
        assert over == [10.0]

        store.come_back()
        await world.advance(3)
        assert (await world.run(submission)).status is RunStatus.DONE
        assert (await world.dispatch(submission)).attempt_count == 0, "closing a step forgives the failure before it"


@pytest.mark.parametrize("held_s", [3.0, 11.0])
async def test_a_store_that_answers_late_never_makes_two_owners(
    store: WatchedStore, clock: ManualClock, held_s: float
) -> None:
    async with World(store, clock) as world:
        submission = await world.submit()
        await world.agent.next_call()
        store.hold()
        await world.advance(held_s)
        store.let_go()
        await world.advance(20)

        live = [call for call in world.agent.calls if not call.is_over]
        assert [call.run_id for call in live] == [RunId(submission.run.run_id)]
        assert world.agent.most_running == 1


async def test_a_claim_reclaimed_in_its_own_process_for_good_is_stopped_at_once(
    store: WatchedStore, clock: ManualClock
) -> None:
    async with World(store, clock) as world:
        submission = await world.submit(max_attempts=1)
        for number in range(3):  # the third time it is a suspect, and the only one
            call = next(call for call in world.agent.calls if call.run_id == submission.run.run_id and not call.is_over)
            await world.submit(thread_id=f"elsewhere-{number}", delay_s=1)
            clock.set(clock.now() + 3_600_000)
            await world.advance(1)
            assert call.is_over

        assert (await world.dispatch(submission)).status is DispatchStatus.DEAD_LETTER
        assert (await world.kinds(submission))[-1] == "RunErrored"


class Holder:
    """A lease without a run."""

    def __init__(self, name: str, clock: ManualClock) -> None:
        self.scope = DEFAULT_SCOPE
        self.dispatch_id = DispatchId(name)
        self.token = ClaimToken(name)
        self.stopped: list[tuple[str, float]] = []
        self._clock = clock

    def stop(self, reason: StopReason) -> None:
        self.stopped.append((reason, self._clock.monotonic()))


async def test_of_several_leases_each_is_watched_from_its_own_asking(store: WatchedStore, clock: ManualClock) -> None:
    """Also one that was asked for earlier than those already held, because its answer took longer."""
    combiner = Combiner(
        store,
        clock,
        lambda transition, outcome, asked_s: None,
        lambda transition: None,
        lambda transitions, outcomes, took_s: None,
    )
    keeper = Keeper(combiner, clock, MailboxSettings())
    later, sooner = Holder("later", clock), Holder("sooner", clock)
    store.go_down()
    watching = [asyncio.create_task(loop()) for loop in (combiner.run, keeper.watch_forever, keeper.renew_forever)]
    await clock.advance(3)
    keeper.hold(later, asked_s=3.0)
    await clock.advance(1)
    keeper.hold(sooner, asked_s=0.0)
    await clock.advance(20)

    assert (sooner.stopped, later.stopped) == ([("unconfirmed", 10.0)], [("unconfirmed", 13.0)])
    for task in watching:
        task.cancel()
    await asyncio.wait(watching)


async def test_what_is_given_up_is_not_renewed(store: WatchedStore, clock: ManualClock) -> None:
    """After a sleep the renewal may come first: it would go on for a claim that nobody carries any more."""
    combiner = Combiner(
        store,
        clock,
        lambda transition, outcome, asked_s: None,
        lambda transition: None,
        lambda transitions, outcomes, took_s: None,
    )
    keeper = Keeper(combiner, clock, MailboxSettings())
    combining = asyncio.create_task(combiner.run())
    async with asyncio.timeout(10), store:
        late, fresh = Holder("late", clock), Holder("fresh", clock)
        keeper.hold(late, asked_s=0.0)
        clock.suspend(60)
        keeper.hold(fresh, asked_s=60.0)
        await keeper.renew()
    combining.cancel()
    await asyncio.wait([combining])

    assert late.stopped == [("unconfirmed", 60.0)]
    [renew] = [each for each in store.transitions if isinstance(each, Renew)]
    assert [ref.token for ref in renew.leases] == [fresh.token]
