"""What is queued and executed, listed over all threads; and what is queued given another place."""

from __future__ import annotations

from typing import Any

from awaken.domain.dispatch import DispatchStatus
from awaken.domain.ids import AgentId, ThreadId
from awaken.domain.retry import RetryPolicy
from awaken.store.contract import DispatchQuery, Store
from awaken.store.transitions import (
    Cancel,
    CancelResult,
    Claimed,
    DeleteThread,
    DispatchEdited,
    DispatchMoved,
    EditDispatch,
    Gone,
    Missing,
    Outcome,
    Retry,
    ThreadDeleted,
)
from awaken.testing.behaviour import behaviour
from awaken.testing.clock import ManualClock
from awaken.testing.conformance.steps import (
    OTHER_SCOPE,
    OTHER_WORKER,
    ROUTES,
    SCOPE,
    THREAD,
    WORKER,
    apply,
    cancelled,
    claim,
    claim_name,
    claimed,
    dispatch_id,
    dispatch_of,
    events_of,
    finished,
    offer,
    queue_of,
    run_id,
    run_of,
    settled,
    snapshot,
    submitted,
    suspended,
    thread_id,
    want,
)

QUEUED, CLAIMED, ACKED = DispatchStatus.QUEUED, DispatchStatus.CLAIMED, DispatchStatus.ACKED


async def listed(store: Store, *statuses: DispatchStatus, **filters: Any) -> list[str]:
    """What a list holds, page by page."""
    found: list[str] = []
    after: int | None = None
    while True:
        query = DispatchQuery(statuses=statuses or None, limit=2, after=after, **filters)
        page = await store.list_dispatches(SCOPE, query)
        found += [dispatch.dispatch_id for dispatch in page.items]
        if page.next is None:
            return found
        after = page.next


async def place(store: Store, name: str, thread: ThreadId = THREAD, **changes: Any) -> Outcome:
    return await apply(
        store,
        EditDispatch(scope=SCOPE, thread_id=thread, run_id=run_id(name), dispatch_id=dispatch_id(name), **changes),
    )


async def placed(store: Store, name: str, **changes: Any) -> DispatchEdited:
    return want(DispatchEdited, await place(store, name, **changes))


@behaviour("OPS-010")
async def test_what_is_open_is_listed_over_all_threads_by_what_it_is_about(store: Store, clock: ManualClock) -> None:
    await finished(store, "done", thread=thread_id("a"))
    await submitted(store, "later", thread=thread_id("a"), delay_ms=60_000)
    await claimed(store, "busy", thread=thread_id("b"), lease_ms=1_000)
    await submitted(store, "behind", thread=thread_id("b"), agent=AgentId("agent-2"))
    await submitted(store, "away", thread=thread_id("a"), scope=OTHER_SCOPE)
    failed = await claimed(store, "failed", thread=thread_id("c"))
    await settled(store, failed, Retry("busy", RetryPolicy(base_delay_ms=60_000)))
    clock.tick(5)
    since = clock.now()
    await submitted(store, "young", thread=thread_id("d"), offered=offer(OTHER_WORKER))

    assert await listed(store) == ["done", "later", "busy", "behind", "failed", "young"], "as their runs arrived"
    assert await listed(store, QUEUED) == ["later", "behind", "failed"]
    assert await listed(store, CLAIMED) == ["busy", "young"]
    assert await listed(store, QUEUED, CLAIMED) == ["later", "busy", "behind", "failed", "young"]
    assert await listed(store, ACKED) == ["done"]
    assert await listed(store, agent_id=AgentId("agent-2")) == ["behind"]
    assert await listed(store, QUEUED, agent_id=AgentId("agent-2")) == ["behind"]
    assert await listed(store, agent_id=AgentId("nobody")) == []
    assert await listed(store, claimed_by=OTHER_WORKER) == ["young"]
    assert await listed(store, CLAIMED, claimed_by=WORKER) == ["busy"]
    assert await listed(store, CLAIMED, created_before=since) == ["busy"]
    assert (await listed(store, created_before=since + 1))[-1] == "young"
    assert await listed(store, lease_before=since) == ["busy"], "its lease has ended"
    assert await listed(store, QUEUED, thread_id=thread_id("b")) == ["behind"]
    assert await listed(store, thread_id=thread_id("nowhere")) == []
    query = DispatchQuery(statuses=())
    assert (await store.list_dispatches(SCOPE, query)).items == ()


@behaviour("OPS-010")
async def test_of_a_run_that_went_on_the_list_over_all_threads_has_the_dispatch_it_has_now(
    store: Store, clock: ManualClock
) -> None:
    await settled(store, await claimed(store, "first"), suspended())
    await submitted(store, "other", thread=thread_id("other"))
    assert await listed(store, QUEUED, CLAIMED) == ["other"], "one that waits is in no queue"
    await submitted(store, "second")

    assert await listed(store) == await listed(store, QUEUED) == ["second", "other"]
    assert await listed(store, thread_id=THREAD) == ["first", "second"], "that of a thread has all of them"


@behaviour("OPS-011")
async def test_a_priority_puts_it_before_or_behind_others_of_its_thread_and_of_all(
    store: Store, clock: ManualClock
) -> None:
    for name in ("d1", "d2", "d3"):
        await submitted(store, name)
    await submitted(store, "e1", thread=thread_id("e"), priority=100)

    done = await placed(store, "d3", priority=50)
    assert (done.dispatch.priority, done.ready_in_ms) == (50, 0)
    assert done.dispatch == await dispatch_of(store, "d3")
    assert await queue_of(store) == ["d3", "d1", "d2"]
    await placed(store, "d1", priority=200)
    assert await queue_of(store) == ["d3", "d2", "d1"]

    first = want(Claimed, await claim(store))
    assert first.dispatch.dispatch_id == "d3"
    assert await claim_name(store) == "e1", "behind it in its thread are 128 and 200"
    moved = await placed(store, "d1", priority=0)
    assert moved.ready_in_ms is None, "its thread is busy"
    await settled(store, first)
    assert await claim_name(store) == "d1"


@behaviour("OPS-011")
async def test_an_instant_has_it_wait_longer_or_be_due_at_once(store: Store, clock: ManualClock) -> None:
    await submitted(store, "d1", delay_ms=60_000)
    await submitted(store, "d2", delay_ms=30_000)
    assert await store.next_due_in_ms(ROUTES) == 30_000

    sooner = await placed(store, "d1", delay_ms=10_000)
    assert sooner.ready_in_ms == await store.next_due_in_ms(ROUTES) == 10_000
    exactly = await placed(store, "d1", available_at=clock.now() + 40_000, delay_ms=0)
    assert (exactly.dispatch.available_at, exactly.ready_in_ms) == (clock.now() + 40_000, 30_000)
    assert await claim(store) is None
    at_once = await placed(store, "d1", delay_ms=0)
    assert (at_once.dispatch.available_at, at_once.ready_in_ms) == (clock.now(), 0)
    assert await claim_name(store) == "d1"
    past = await placed(store, "d2", available_at=1)
    assert (past.dispatch.available_at, past.ready_in_ms) == (1, None)


@behaviour("OPS-011")
async def test_a_failed_run_is_tried_again_sooner(store: Store, clock: ManualClock) -> None:
    owner = await claimed(store, "d1")
    await settled(store, owner, Retry("busy", RetryPolicy(base_delay_ms=60_000)))

    done = await placed(store, "d1", delay_ms=0)

    assert (done.dispatch.why, done.dispatch.attempt_count, done.dispatch.last_error) == ("retry", 1, "busy")
    assert await claim_name(store) == "d1"


@behaviour("OPS-011")
async def test_a_change_of_place_is_in_the_log_and_nothing_is_where_nothing_changes(
    store: Store, clock: ManualClock
) -> None:
    await submitted(store, "d1", priority=7)
    _, seen = await store.event_bounds(SCOPE, THREAD)
    clock.tick(1)

    done = await placed(store, "d1", priority=5, delay_ms=1_000)

    [row] = await events_of(store, after=seen)
    [event] = row.events
    assert (event.kind, row.run_id, row.dispatch_id) == ("RunRescheduled", "run-d1", "d1")
    assert done.appended[0].last_seq == row.first_seq == done.run.updated_seq
    assert done.run == await run_of(store, "d1") and done.run.updated_at == clock.now()
    before = await snapshot(store)
    again = await placed(store, "d1", priority=5, available_at=done.dispatch.available_at)
    assert (again.dispatch, again.ready_in_ms, again.appended) == (done.dispatch, 1_000, ())
    assert await placed(store, "d1") == again
    assert await snapshot(store) == before


@behaviour("OPS-012")
async def test_only_what_is_queued_has_a_place(store: Store, clock: ManualClock) -> None:
    await finished(store, "done", thread=thread_id("a"))
    await claimed(store, "busy", thread=thread_id("b"))
    await settled(store, await claimed(store, "first"), suspended())
    await submitted(store, "second")
    await submitted(store, "gone", thread=thread_id("c"))
    await cancelled(store, "gone", thread=thread_id("c"))
    before = await snapshot(store)

    for name, thread in (("done", "a"), ("busy", "b"), ("gone", "c"), ("first", THREAD)):
        moved = want(DispatchMoved, await place(store, name, thread_id(thread), priority=1))
        assert moved.dispatch_id == name
    for name, thread in (("busy", "a"), ("nothing", THREAD), ("busy", "nowhere")):
        assert await place(store, name, thread_id(thread), priority=1) == Missing("dispatch", dispatch_id(name))
    elsewhere = EditDispatch(
        scope=OTHER_SCOPE, thread_id=THREAD, run_id=run_id("first"), dispatch_id=dispatch_id("second"), priority=1
    )
    assert await apply(store, elsewhere) == Missing("dispatch", dispatch_id("second"))
    assert await snapshot(store) == before


@behaviour("OPS-012")
async def test_a_deleted_thread_has_no_places(store: Store, clock: ManualClock) -> None:
    await submitted(store, "d1")
    want(ThreadDeleted, await apply(store, DeleteThread(scope=SCOPE, thread_id=THREAD, force=True)))
    assert await place(store, "d1", priority=1) == Gone(THREAD)
    assert await listed(store) == []


@behaviour("OPS-013")
async def test_a_run_is_cancelled_by_the_dispatch_that_it_has_now_only(store: Store, clock: ManualClock) -> None:
    def cancelling(name: str, dispatch: str) -> Cancel:
        return Cancel(scope=SCOPE, thread_id=THREAD, run_id=run_id(name), dispatch_id=dispatch_id(dispatch))

    await settled(store, await claimed(store, "first"), suspended())
    before = await snapshot(store)
    assert await apply(store, cancelling("first", "first")) == DispatchMoved(dispatch_id("first")), "it is acked"
    await submitted(store, "second")
    assert await apply(store, cancelling("first", "first")) == DispatchMoved(dispatch_id("first"))
    assert before != await snapshot(store)

    stopped = want(CancelResult, await apply(store, cancelling("first", "second")))
    assert (stopped.state, stopped.run.status) == ("stopped", "done")
    assert await apply(store, cancelling("first", "second")) == DispatchMoved(dispatch_id("second"))
    busy = await claimed(store, "busy")
    asked_to = want(CancelResult, await apply(store, cancelling("busy", "busy")))
    assert asked_to.state == "requested"
    await settled(store, busy)
    assert await apply(store, cancelling("busy", "busy")) == DispatchMoved(dispatch_id("busy"))
