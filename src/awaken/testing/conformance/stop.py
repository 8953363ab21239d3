"""Cancel and interrupt: queued work is closed on the spot, running work is asked, and epochs only rise."""

from __future__ import annotations

from awaken.domain.dispatch import DispatchStatus
from awaken.domain.ids import ThreadId
from awaken.domain.message import MessageState, assistant_message
from awaken.domain.run import CANCELLED, NATURAL_END, RunStatus
from awaken.store.contract import Store
from awaken.store.transitions import Ack, DeadLetter, Ending, LeaseLost, Missing, Release, Retry, StepClosed
from awaken.testing.behaviour import behaviour
from awaken.testing.clock import ManualClock
from awaken.testing.conformance.steps import (
    LEASE_MS,
    OTHER_SCOPE,
    OTHER_WORKER,
    ROUTES,
    SCOPE,
    THREAD,
    answered,
    cancel,
    cancelled,
    claim,
    claim_name,
    claimed,
    commit,
    committed,
    delta,
    dispatch_of,
    drained,
    every_ending,
    finished,
    interrupt,
    kinds,
    log_of,
    message_id,
    message_ids,
    names,
    offer,
    purge,
    reclaim,
    renew,
    run_id,
    run_of,
    settled,
    snapshot,
    submitted,
    suspended,
    thread_of,
)


@behaviour("MB-086")
async def test_cancelling_queued_work_closes_dispatch_and_run_at_once(store: Store, clock: ManualClock) -> None:
    await submitted(store, "d1")
    await submitted(store, "d2")
    clock.tick(1)

    answer = await cancelled(store, "d1")

    assert answer.state == "stopped"
    stored = await dispatch_of(store, "d1")
    assert (stored.status, stored.completed_at, stored.claim_token) == (DispatchStatus.CANCELLED, clock.now(), None)
    assert answer.run == await run_of(store, "d1")
    assert (answer.run.status, answer.run.termination) == (RunStatus.DONE, CANCELLED)
    assert (await kinds(store))[-1] == "RunCancelled"
    assert await claim_name(store) == "d2"


@behaviour("MB-087")
async def test_cancelling_claimed_work_asks_its_owner_and_leaves_it_claimed(store: Store, clock: ManualClock) -> None:
    owner = await claimed(store, "d1")
    clock.tick(1)

    answer = await cancelled(store, "d1")

    assert (answer.state, answer.run.status, answer.run.cancel_requested_at) == (
        "requested",
        RunStatus.RUNNING,
        clock.now(),
    )
    assert await dispatch_of(store, "d1") == owner.dispatch
    assert [event.kind for each in answer.appended for event in each.row().events] == ["CancelRequested"]
    assert (await committed(store, owner)).cancel_requested is True
    assert [renewal.stop for renewal in await renew(store, owner)] == [True]


async def test_a_second_cancel_of_running_work_adds_nothing(store: Store, clock: ManualClock) -> None:
    await claimed(store, "d1")
    first = await cancelled(store, "d1")
    clock.tick(1)

    again = await cancelled(store, "d1")

    assert (again.state, again.run, again.appended) == ("requested", first.run, ())


@behaviour("MB-088")
async def test_cancelling_what_ended_or_never_was_changes_nothing(store: Store, clock: ManualClock) -> None:
    done = await finished(store, "d1")
    before = await snapshot(store)

    answer = await cancelled(store, "d1")

    assert (answer.state, answer.run, answer.appended) == ("stopped", done.run, ())
    assert await cancel(store, "unknown") == Missing("run", run_id("unknown"))
    assert await cancel(store, "d1", scope=OTHER_SCOPE) == Missing("run", run_id("d1"))
    assert await snapshot(store) == before


async def test_a_run_is_cancelled_through_its_own_thread_only(store: Store, clock: ManualClock) -> None:
    elsewhere = ThreadId("thread-2")
    await submitted(store, "d1")
    await submitted(store, "d2", thread=elsewhere)

    assert await cancel(store, "d1", thread=elsewhere) == Missing("run", run_id("d1"))

    assert (await thread_of(store)).queued_count == (await thread_of(store, elsewhere)).queued_count == 1
    assert await drained(store) == ["d1", "d2"]


async def test_an_owner_that_was_asked_to_stop_ends_its_run_cancelled(store: Store, clock: ManualClock) -> None:
    for name, ending in (("d1", Retry("stopping")), ("d2", Release("stopping")), ("d3", DeadLetter("stopping"))):
        owner = await claimed(store, name)
        await cancelled(store, name)

        done = await settled(store, owner, ending)

        assert (done.dispatch.status, done.run.status) == (DispatchStatus.CANCELLED, RunStatus.DONE)
        assert done.run.termination == CANCELLED
        assert (await kinds(store))[-1] == "RunCancelled"


async def test_a_run_that_finished_before_it_heard_the_cancel_is_finished(store: Store, clock: ManualClock) -> None:
    owner = await claimed(store, "d1")
    await cancelled(store, "d1")

    done = await settled(store, owner, Ack(NATURAL_END, "done anyway"))

    assert (done.dispatch.status, done.run.termination) == (DispatchStatus.ACKED, NATURAL_END)


async def test_a_stopped_owner_may_leave_the_text_its_user_saw(store: Store, clock: ManualClock) -> None:
    owner = await claimed(store, "d1")
    await cancelled(store, "d1")
    partial = assistant_message(message_id("partial"), "I was ab", state=MessageState.INTERRUPTED)

    await settled(store, owner, Ack(CANCELLED), partial)

    assert [stored.message for stored in await log_of(store)][-1] == partial


async def test_a_reclaim_closes_a_run_that_was_to_stop(store: Store, clock: ManualClock) -> None:
    await claimed(store, "d1", lease_ms=1_000)
    await cancelled(store, "d1")
    clock.tick(2)

    [item] = (await reclaim(store)).items

    assert item.dispatch.status is DispatchStatus.CANCELLED
    assert item.run is not None
    assert (item.run.status, item.run.termination) == (RunStatus.DONE, CANCELLED)
    assert await claim(store) is None


async def test_a_waiting_run_is_cancelled_on_the_spot(store: Store, clock: ManualClock) -> None:
    await finished(store, "d1", ending=suspended())

    answer = await cancelled(store, "d1")

    assert (answer.state, answer.run.status, answer.run.termination) == ("stopped", RunStatus.DONE, CANCELLED)


async def test_a_cancelled_head_leaves_the_thread_to_what_is_behind_it(store: Store, clock: ManualClock) -> None:
    await submitted(store, "head")
    await submitted(store, "later", delay_ms=5_000)

    await cancelled(store, "head")

    assert await store.next_due_in_ms(ROUTES) == 5_000
    await cancelled(store, "later")
    assert await store.next_due_in_ms(ROUTES) is None


# --- interrupt --------------------------------------------------------------------------------------------------------


@behaviour("MB-100")
async def test_an_interrupt_supersedes_everything_queued(store: Store, clock: ManualClock) -> None:
    await submitted(store, "d1")
    await submitted(store, "d2", priority=1)

    outcome = await interrupt(store)

    assert (outcome.epoch, outcome.active) == (1, None)
    assert [dispatch.dispatch_id for dispatch in outcome.superseded] == ["d2", "d1"]
    for name in ("d1", "d2"):
        stored = await dispatch_of(store, name)
        assert stored in outcome.superseded
        assert (stored.status, stored.epoch, stored.completed_at) == (DispatchStatus.SUPERSEDED, 0, clock.now())
        assert ((await run_of(store, name)).status, (await run_of(store, name)).termination) == (
            RunStatus.DONE,
            CANCELLED,
        )
    assert await kinds(store, after=2) == ["RunSuperseded", "RunSuperseded"]
    assert (await thread_of(store)).queued_count == 0
    assert await store.next_due_in_ms(ROUTES) is None


@behaviour("MB-101")
async def test_an_interrupt_reports_the_claimed_dispatch_and_leaves_it_claimed(
    store: Store, clock: ManualClock
) -> None:
    owner = await claimed(store, "d1")
    await submitted(store, "d2")

    outcome = await interrupt(store)

    assert outcome.active == owner.dispatch == await dispatch_of(store, "d1")
    assert [dispatch.dispatch_id for dispatch in outcome.superseded] == ["d2"]
    assert (await run_of(store, "d1")).cancel_requested_at == clock.now()
    assert await kinds(store, after=5) == ["RunSuperseded", "RunInterrupted", "CancelRequested"]


@behaviour("MB-102")
async def test_a_thread_nobody_knew_starts_at_epoch_one_when_interrupted(store: Store, clock: ManualClock) -> None:
    assert await store.load_thread(SCOPE, THREAD) is None

    assert (await interrupt(store)).epoch == 1

    assert (await thread_of(store)).epoch == 1
    assert await store.load_thread(OTHER_SCOPE, THREAD) is None


@behaviour("MB-103")
async def test_an_interrupted_claim_is_not_extended_and_holds_until_its_lease_ends(
    store: Store, clock: ManualClock
) -> None:
    owner = await claimed(store, "d1")
    await interrupt(store)
    clock.tick(5)

    [renewal] = await renew(store, owner)

    assert (renewal.lease_in_ms, renewal.stop, renewal.extended) == (LEASE_MS - 5_000, True, False)
    assert await dispatch_of(store, "d1") == owner.dispatch


@behaviour("MB-104", "MB-113")
async def test_an_interrupted_owner_commits_nothing_more(store: Store, clock: ManualClock) -> None:
    owner = await claimed(store, "d1")
    await interrupt(store)
    before = await snapshot(store)

    refused = await commit(store, owner, delta("x"), answered("turn"), closes=StepClosed(1))

    assert refused == LeaseLost("interrupted")
    assert await snapshot(store) == before


@behaviour("MB-093", "MB-105")
async def test_whatever_an_interrupted_owner_settles_its_work_is_superseded(store: Store, clock: ManualClock) -> None:
    endings: tuple[Ending, ...] = (*every_ending(), Release("draining"))
    for number, ending in enumerate(endings):
        owner = await claimed(store, f"d{number}")
        await interrupt(store)
        clock.tick(1)

        done = await settled(store, owner, ending)

        assert (done.dispatch.status, done.dispatch.last_error) == (DispatchStatus.SUPERSEDED, "interrupted")
        assert (done.dispatch.claim_token, done.dispatch.completed_at) == (None, clock.now())
        assert (done.run.status, done.run.termination) == (RunStatus.DONE, CANCELLED)
        assert (await kinds(store))[-1] == "RunCancelled"
        assert await claim(store) is None


async def test_an_interrupted_owner_may_leave_the_text_its_user_saw(store: Store, clock: ManualClock) -> None:
    owner = await claimed(store, "d1")
    await committed(store, owner, delta("I was ab"), stream_open=True)
    await interrupt(store)
    seen = (await thread_of(store)).event_count
    partial = assistant_message(message_id("partial"), "I was ab", state=MessageState.INTERRUPTED)

    await settled(store, owner, Ack(CANCELLED), partial, stream_open=False)

    assert await message_ids(store) == ["msg-d1", "partial"]
    assert await kinds(store, after=seen) == ["MessageCommitted", "RunCancelled"]


@behaviour("MB-106")
async def test_a_reclaim_supersedes_an_interrupted_claim(store: Store, clock: ManualClock) -> None:
    await claimed(store, "d1", lease_ms=1_000)
    await interrupt(store)
    clock.tick(2)

    [item] = (await reclaim(store)).items

    assert (item.dispatch.status, item.dispatch.attempt_count) == (DispatchStatus.SUPERSEDED, 0)
    assert item.dispatch == await dispatch_of(store, "d1")
    assert (await run_of(store, "d1")).termination == CANCELLED
    assert await claim(store) is None


@behaviour("MB-107", "MB-108")
async def test_new_work_waits_until_the_interrupted_owner_lets_go(store: Store, clock: ManualClock) -> None:
    owner = await claimed(store, "d1")
    await interrupt(store)

    follower = await submitted(store, "d2", offered=offer(OTHER_WORKER))
    assert (follower.claimed, follower.dispatch.epoch) == (None, 1)
    assert await claim(store, consumer=OTHER_WORKER) is None

    done = await settled(store, owner, Ack(CANCELLED), offered=offer(OTHER_WORKER))
    assert done.claimed is not None
    assert done.claimed.dispatch.dispatch_id == "d2"


@behaviour("MB-109", "MB-162")
async def test_a_read_after_an_interrupt_sees_what_it_did(store: Store, clock: ManualClock) -> None:
    await submitted(store, "d1")
    await names(store)

    await interrupt(store)

    assert await names(store, DispatchStatus.SUPERSEDED) == ["d1"]
    assert await names(store, DispatchStatus.QUEUED) == []


@behaviour("MB-111")
async def test_an_interrupt_names_the_one_claim_there_can_be(store: Store, clock: ManualClock) -> None:
    """Its facts are read in the transaction that acts on them; a thread has one claimed dispatch at most."""
    owner = await claimed(store, "d1")
    await interrupt(store)
    await submitted(store, "d2")

    outcome = await interrupt(store)

    assert outcome.active == owner.dispatch
    assert await names(store, DispatchStatus.CLAIMED) == ["d1"]


@behaviour("MB-112")
async def test_epochs_only_rise_also_across_a_purge(store: Store, clock: ManualClock) -> None:
    epochs = [(await interrupt(store)).epoch]
    await submitted(store, "d1")
    epochs.append((await interrupt(store)).epoch)
    clock.tick(1)
    await purge(store)
    epochs.append((await interrupt(store)).epoch)

    assert epochs == [1, 2, 3]
    assert (await submitted(store, "d2")).dispatch.epoch == 3


async def test_threads_are_interrupted_one_by_one_and_in_their_own_scope(store: Store, clock: ManualClock) -> None:
    await submitted(store, "d1")
    await submitted(store, "d1", scope=OTHER_SCOPE)
    await submitted(store, "d2", thread=ThreadId("thread-2"))

    await interrupt(store)

    assert (await dispatch_of(store, "d1")).status is DispatchStatus.SUPERSEDED
    assert (await dispatch_of(store, "d1", OTHER_SCOPE)).status is DispatchStatus.QUEUED
    assert (await dispatch_of(store, "d2")).status is DispatchStatus.QUEUED
