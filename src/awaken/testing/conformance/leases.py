"""Leases: extending them, losing them, and taking back what a dead worker held."""

from __future__ import annotations

from msgspec.structs import replace

from awaken.domain.dispatch import LEASE_EXPIRED, DispatchStatus
from awaken.domain.ids import ThreadId
from awaken.domain.run import RunStatus, Termination
from awaken.store.contract import Store
from awaken.store.transitions import Closed, LeaseLost, LeaseRef, Reclaim, Reclaimed, Release, Renew, Renewed, Retry
from awaken.testing.behaviour import behaviour
from awaken.testing.clock import ManualClock
from awaken.testing.conformance.steps import (
    AT_ONCE,
    LEASE_MS,
    OTHER_SCOPE,
    OTHER_WORKER,
    ROUTES,
    SCOPE,
    answered,
    cancelled,
    claim,
    claim_name,
    claim_some,
    claimed,
    commit,
    dispatch_id,
    dispatch_of,
    every_ending,
    interrupt,
    kinds,
    message_ids,
    reclaim,
    reclaimed,
    renew,
    run_of,
    settle,
    settled,
    snapshot,
    submitted,
    together,
    want,
)


@behaviour("MB-089")
async def test_a_renewal_counts_from_now_and_not_from_the_old_end(store: Store, clock: ManualClock) -> None:
    owner = await claimed(store, "d1")
    clock.tick(5)

    [renewal] = await renew(store, owner, lease_ms=60_000)
    assert (renewal.dispatch_id, renewal.lease_in_ms, renewal.stop) == ("d1", 60_000, False)
    assert (await dispatch_of(store, "d1")).lease_until == clock.now() + 60_000

    [shorter] = await renew(store, owner, lease_ms=1_000)
    assert shorter.lease_in_ms == 1_000
    assert (await dispatch_of(store, "d1")).lease_until == clock.now() + 1_000


@behaviour("MB-090")
async def test_a_wrong_token_renews_nothing(store: Store, clock: ManualClock) -> None:
    owner = await claimed(store, "d1")
    clock.tick(5)

    [renewal] = await renew(store, owner, token="guessed")

    assert renewal.lease_in_ms is None
    assert await dispatch_of(store, "d1") == owner.dispatch


@behaviour("MB-091")
async def test_only_a_claimed_dispatch_has_a_lease_to_renew(store: Store, clock: ManualClock) -> None:
    ended = await claimed(store, "ended")
    await settled(store, ended)
    returned = await claimed(store, "returned")
    await settled(store, returned, Release("draining"))
    unknown = replace(ended, dispatch=replace(ended.dispatch, dispatch_id=dispatch_id("unknown")))

    renewals = await renew(store, ended, returned, unknown)

    assert [(renewal.dispatch_id, renewal.lease_in_ms) for renewal in renewals] == [
        ("ended", None),
        ("returned", None),
        ("unknown", None),
    ]


async def test_one_renewal_judges_every_lease_by_itself_and_answers_in_order(store: Store, clock: ManualClock) -> None:
    owners = [await claimed(store, f"d{n}", thread=ThreadId(f"thread-{n}")) for n in range(5)]
    await settled(store, owners[1])
    await interrupt(store, ThreadId("thread-2"))
    await cancelled(store, "d3", thread=ThreadId("thread-3"))
    clock.tick(1)

    renewals = await renew(store, *owners, lease_ms=9_000)

    assert [(each.dispatch_id, each.lease_in_ms, each.stop, each.extended) for each in renewals] == [
        ("d0", 9_000, False, True),
        ("d1", None, False, False),
        ("d2", LEASE_MS - 1_000, True, False),
        ("d3", 9_000, True, True),
        ("d4", 9_000, False, True),
    ]


async def test_a_lease_is_renewed_in_its_own_scope(store: Store, clock: ManualClock) -> None:
    owner = await claimed(store, "d1")

    [renewal] = await renew(store, replace(owner, scope=OTHER_SCOPE))

    assert renewal.lease_in_ms is None


# --- taking back ------------------------------------------------------------------------------------------------------


async def died(store: Store, clock: ManualClock) -> tuple[Closed, ...]:
    """Two seconds pass without a renewal; what a sweep then takes back."""
    clock.tick(2)
    return (await reclaim(store)).items


@behaviour("MB-120", "MB-011", "MB-132")
async def test_an_expired_lease_returns_the_dispatch_and_counts_as_a_crash(store: Store, clock: ManualClock) -> None:
    """Whose fault the death of a process was is not known, so it costs no attempt."""
    await claimed(store, "d1", lease_ms=1_000)
    clock.tick(2)

    outcome = await reclaim(store)

    [item] = outcome.items
    stored = await dispatch_of(store, "d1")
    assert (item.scope, item.dispatch, outcome.more) == (SCOPE, stored, False)
    assert (stored.status, stored.attempt_count, stored.crash_count) == (DispatchStatus.QUEUED, 0, 1)
    assert (stored.available_at, stored.why, stored.instance_id) == (clock.now(), "takeover", None)
    assert (stored.claim_token, stored.claimed_by, stored.lease_until, stored.completed_at) == (None, None, None, None)
    assert item.run == await run_of(store, "d1")
    assert (await run_of(store, "d1")).status is RunStatus.RUNNING
    assert (await kinds(store))[-1] == "RunRescheduled"


@behaviour("MB-121")
async def test_a_lease_ending_now_still_holds(store: Store, clock: ManualClock) -> None:
    await claimed(store, "d1", lease_ms=1_000)

    for milliseconds, expected in ((999, []), (1, []), (1, ["d1"])):
        clock.tick(milliseconds / 1_000)
        assert await reclaimed(store) == expected


@behaviour("MB-122", "MB-012", "D-017")
async def test_the_last_attempt_of_a_lone_suspect_that_expires_ends_in_the_dead_letters(
    store: Store, clock: ManualClock
) -> None:
    await claimed(store, "d1", lease_ms=1_000, max_attempts=1)
    for crashes in (1, 2):
        [back] = await died(store, clock)
        assert (back.dispatch.status, back.dispatch.crash_count) == (DispatchStatus.QUEUED, crashes)
        await claim(store, lease_ms=1_000)

    [item] = await died(store, clock)

    assert (item.dispatch.status, item.dispatch.attempt_count) == (DispatchStatus.DEAD_LETTER, 1)
    assert (item.dispatch.last_error, item.dispatch.completed_at) == (LEASE_EXPIRED, clock.now())
    run = await run_of(store, "d1")
    assert (run.status, run.termination) == (RunStatus.DONE, Termination("error", detail=LEASE_EXPIRED))
    assert (await kinds(store))[-2:] == ["RunDeadLettered", "RunErrored"]
    assert await reclaimed(store) == []
    assert await claim(store) is None


@behaviour("MB-123")
async def test_two_sweeps_at_once_never_report_the_same_claim(store: Store, clock: ManualClock) -> None:
    await claimed(store, "d1", lease_ms=1_000, max_attempts=1)
    clock.tick(2)

    outcomes = [want(Reclaimed, outcome) for outcome in await together(store, [Reclaim(), Reclaim()])]

    assert sorted(len(outcome.items) for outcome in outcomes) == [0, 1]


@behaviour("OS-002")
async def test_a_worker_of_the_same_name_is_another_owner(store: Store, clock: ManualClock) -> None:
    """One that is started again under its name does not pass for the one before it, nor does that pass for it."""
    before = await claimed(store, "d1", lease_ms=1_000)
    clock.tick(2)
    await reclaim(store)
    after = await claim(store)
    assert after is not None and after.dispatch.claimed_by == before.dispatch.claimed_by

    assert await commit(store, before, answered("late")) == LeaseLost("other_owner")
    assert await settle(store, before) == LeaseLost("other_owner")
    assert [renewal.lease_in_ms for renewal in await renew(store, before)] == [None]

    await settled(store, after)
    assert await message_ids(store) == ["msg-d1"]


@behaviour("OS-002")
async def test_a_claim_that_was_just_renewed_is_not_taken_back(store: Store, clock: ManualClock) -> None:
    """Whoever looks for ended leases decides by what is stored when it writes."""
    owner = await claimed(store, "d1", lease_ms=1_000)
    clock.tick(2)
    lease = LeaseRef(owner.scope, owner.dispatch.dispatch_id, owner.token)

    renewed, taken = await store.apply([Renew(leases=(lease,), lease_ms=LEASE_MS), Reclaim(limit=200)])

    assert [each.lease_in_ms for each in want(Renewed, renewed).renewals] == [LEASE_MS]
    assert want(Reclaimed, taken).items == ()
    await settled(store, owner)


@behaviour("MB-124", "OS-002")
async def test_a_reclaimed_dispatch_ignores_its_old_owner(store: Store, clock: ManualClock) -> None:
    owner = await claimed(store, "d1", lease_ms=1_000)
    clock.tick(2)
    await reclaim(store)
    assert await settle(store, owner) == LeaseLost("not_claimed")
    successor = await claim(store, consumer=OTHER_WORKER)
    assert successor is not None
    before = await snapshot(store)

    for ending in every_ending():
        assert await settle(store, owner, ending, answered("late")) == LeaseLost("other_owner")
    assert await commit(store, owner, answered("late")) == LeaseLost("other_owner")
    assert [renewal.lease_in_ms for renewal in await renew(store, owner)] == [None]

    assert await snapshot(store) == before
    assert await message_ids(store) == ["msg-d1"]


@behaviour("MB-125")
async def test_a_successor_claims_with_a_token_and_instance_of_its_own(store: Store, clock: ManualClock) -> None:
    owner = await claimed(store, "d1", lease_ms=1_000)
    clock.tick(2)
    await reclaim(store)

    successor = await claim(store, consumer=OTHER_WORKER)

    assert successor is not None
    assert successor.token != owner.token
    assert successor.dispatch.instance_id != owner.dispatch.instance_id
    assert (successor.dispatch.claimed_by, successor.dispatch.epoch) == (OTHER_WORKER, owner.dispatch.epoch)
    await settled(store, successor)


@behaviour("MB-126")
async def test_a_sweep_takes_no_more_than_its_limit_and_says_that_more_remain(store: Store, clock: ManualClock) -> None:
    for n in range(3):
        await claimed(store, f"d{n}", thread=ThreadId(f"thread-{n}"), lease_ms=1_000)
    clock.tick(2)

    sizes: list[tuple[int, bool]] = []
    for _ in range(3):
        outcome = await reclaim(store, limit=1)
        sizes.append((len(outcome.items), outcome.more))

    assert sizes == [(1, True), (1, True), (1, False)]


@behaviour("MB-128")
async def test_reclaimed_work_is_claimable_at_the_same_instant(store: Store, clock: ManualClock) -> None:
    await claimed(store, "d1", lease_ms=1_000)
    clock.tick(2)

    await reclaim(store)

    assert await claim_name(store) == "d1"


@behaviour("MB-129")
async def test_a_clock_that_goes_back_takes_nothing_away(store: Store, clock: ManualClock) -> None:
    await claimed(store, "d1", lease_ms=1_000)

    clock.set(clock.now() - 3_600_000)

    assert await reclaimed(store) == []


@behaviour("MB-130")
async def test_a_requeue_by_expiry_keeps_the_error_before_it(store: Store, clock: ManualClock) -> None:
    owner = await claimed(store, "d1")
    await settled(store, owner, Retry("no answer", AT_ONCE))
    await claim(store, lease_ms=1_000)
    clock.tick(2)

    await reclaim(store)

    stored = await dispatch_of(store, "d1")
    assert (stored.last_error, stored.attempt_count, stored.crash_count) == ("no answer", 1, 1)


@behaviour("MB-131")
async def test_retry_time_is_the_first_instant_at_which_anybody_may_claim(store: Store, clock: ManualClock) -> None:
    owner = await claimed(store, "d1")
    await settled(store, owner, Retry("failed", retry_after_ms=2_000))

    clock.tick(1.999)
    assert await claim(store, consumer=OTHER_WORKER) is None
    clock.tick(0.001)
    assert await claim_name(store, consumer=OTHER_WORKER) == "d1"


@behaviour("MB-133")
async def test_the_longest_expired_lease_comes_first_then_the_oldest_dispatch(store: Store, clock: ManualClock) -> None:
    await claimed(store, "short", thread=ThreadId("a"), lease_ms=2_000)
    await claimed(store, "shorter", thread=ThreadId("b"), lease_ms=1_000)
    await claimed(store, "equal", thread=ThreadId("c"), lease_ms=1_000)
    clock.tick(5)

    assert await reclaimed(store) == ["shorter", "equal", "short"]


async def test_a_store_of_one_process_takes_back_every_claim_when_asked_to(store: Store, clock: ManualClock) -> None:
    await claimed(store, "d1", lease_ms=3_600_000)
    await claimed(store, "d2", thread=ThreadId("thread-2"), lease_ms=3_600_000)

    outcome = await reclaim(store, abandoned=True)

    assert [item.dispatch.dispatch_id for item in outcome.items] == ["d1", "d2"]
    assert [(item.dispatch.attempt_count, item.dispatch.crash_count) for item in outcome.items] == [(0, 1), (0, 1)]
    assert await claim_name(store) == "d1"


@behaviour("D-003")
async def test_what_is_due_next_covers_queues_and_leases(store: Store, clock: ManualClock) -> None:
    assert await store.next_due_in_ms(ROUTES) is None

    await claimed(store, "d1", lease_ms=5_000)
    assert await store.next_due_in_ms(ROUTES) == 5_001

    await submitted(store, "d2", delay_ms=1)
    assert await store.next_due_in_ms(ROUTES) == 5_001

    await submitted(store, "d3", thread=ThreadId("thread-2"), delay_ms=3_000)
    assert await store.next_due_in_ms(ROUTES) == 3_000
    assert (await claim_some(store)).next_due_in_ms == 3_000
    clock.tick(4)
    assert await store.next_due_in_ms(ROUTES) == 0
