"""Claiming: who gets which dispatch, and what the claim says and starts."""

from __future__ import annotations

from awaken.domain.dispatch import DispatchStatus
from awaken.domain.ids import ConsumerId, ThreadId
from awaken.domain.message import Role, ToolStatus
from awaken.domain.retry import RetryPolicy
from awaken.domain.run import RunStatus
from awaken.store.contract import Store
from awaken.store.transitions import Claim, ClaimedSome, DeadLetter, Release, Retry
from awaken.testing.behaviour import behaviour
from awaken.testing.clock import ManualClock
from awaken.testing.conformance.steps import (
    AT_ONCE,
    LEASE_MS,
    OTHER_SCOPE,
    OTHER_WORKER,
    PLENTY,
    SCOPE,
    THREAD,
    WORKER,
    apply,
    asked,
    calling,
    claim,
    claim_name,
    claim_some,
    claimed,
    committed,
    delta,
    dispatch_of,
    drained,
    interrupt,
    kinds,
    log_of,
    message_ids,
    names,
    offer,
    reclaim,
    reclaimed,
    result_of,
    run_of,
    settled,
    submitted,
    thread_of,
    together,
    want,
)


@behaviour("MB-004", "MB-040")
async def test_a_claim_carries_token_consumer_and_lease(store: Store, clock: ManualClock) -> None:
    await submitted(store, "d1")
    clock.tick(5)

    room = offer(lease_ms=7_000)
    [taken] = want(ClaimedSome, await apply(store, Claim(offers=(room,), rooms=PLENTY))).claims

    stored = await dispatch_of(store, "d1")
    assert taken.dispatch == stored
    assert (stored.status, stored.claim_token, stored.claimed_by) == (DispatchStatus.CLAIMED, room.token, WORKER)
    assert (stored.instance_id, stored.lease_until) == (room.instance_id, clock.now() + 7_000)
    assert (stored.attempt_count, stored.updated_at) == (0, clock.now())
    assert await store.active_dispatch(SCOPE, THREAD) == stored


@behaviour("MB-037")
async def test_identity_priority_and_attempts_survive_the_way_through_the_queue(
    store: Store, clock: ManualClock
) -> None:
    sent = (await submitted(store, "d1", priority=7, max_attempts=3, dedupe_key="k")).dispatch

    taken = await claim(store)

    assert taken is not None
    fields = ("dispatch_id", "thread_id", "run_id", "priority", "position", "max_attempts", "attempt_count", "epoch")
    assert [getattr(taken.dispatch, each) for each in fields] == [getattr(sent, each) for each in fields]
    assert (taken.run.dedupe_key, taken.dispatch.created_at) == ("k", sent.created_at)


async def test_the_first_claim_starts_the_run(store: Store, clock: ManualClock) -> None:
    await submitted(store, "d1")
    clock.tick(5)

    taken = await claim(store)

    assert taken is not None
    assert taken.resumed is False
    assert taken.run == await run_of(store, "d1")
    assert (taken.run.status, taken.run.started_at) == (RunStatus.RUNNING, clock.now())
    assert await kinds(store) == ["RunQueued", "MessageCommitted", "RunSubmitted", "RunStarted"]


async def test_a_later_claim_resumes_the_run_and_appends_no_message_again(store: Store, clock: ManualClock) -> None:
    first = await claimed(store, "d1")
    await settled(store, first, Release("draining"))
    seen = (await thread_of(store)).event_count
    clock.tick(5)

    again = await claim(store)

    assert again is not None
    assert (again.resumed, again.run.started_at) == (True, first.run.started_at)
    assert again.dispatch.instance_id != first.dispatch.instance_id
    assert await message_ids(store) == ["msg-d1"]
    assert await kinds(store, after=seen) == ["RunSubmitted", "RunResumed"]


async def test_a_resumed_run_first_voids_the_text_it_left_open(store: Store, clock: ManualClock) -> None:
    first = await claimed(store, "d1", lease_ms=1_000)
    await committed(store, first, delta("half a sen"), stream_open=True)
    clock.tick(2)

    await reclaim(store)

    assert await kinds(store, after=5) == ["StreamReset", "RunRescheduled"]
    again = await claim(store)
    assert again is not None
    assert again.run.stream_open is False
    assert await kinds(store, after=7) == ["RunSubmitted", "RunResumed"]


@behaviour("MB-041")
async def test_work_is_claimable_from_its_instant_on(store: Store, clock: ManualClock) -> None:
    await submitted(store, "d1", delay_ms=5_000)

    clock.tick(4.999)
    early = await claim_some(store)
    assert (early.claims, early.next_due_in_ms) == ((), 1)

    clock.tick(0.001)
    assert await claim_name(store) == "d1"


@behaviour("MB-042")
async def test_urgent_work_overtakes_older_work(store: Store, clock: ManualClock) -> None:
    await submitted(store, "older", priority=200)
    clock.tick(1)
    await submitted(store, "newer", priority=10)

    assert await claim_name(store) == "newer"


@behaviour("MB-043")
async def test_equals_run_in_the_order_of_submission(store: Store, clock: ManualClock) -> None:
    await submitted(store, "d1")
    clock.tick(1)
    await submitted(store, "d2")

    first = await claim(store)
    assert first is not None
    await settled(store, first)

    assert (first.dispatch.dispatch_id, await claim_name(store)) == ("d1", "d2")


@behaviour("MB-044")
async def test_the_order_of_submission_needs_no_clock(store: Store, clock: ManualClock) -> None:
    await submitted(store, "zebra")
    await submitted(store, "apple")
    clock.set(clock.now() - 1_000)
    await submitted(store, "mango")
    clock.set(clock.now() + 1_000)

    assert await drained(store, workers=1) == ["zebra", "apple", "mango"]


@behaviour("MB-045")
async def test_a_busy_thread_gives_nothing_to_anybody(store: Store, clock: ManualClock) -> None:
    await claimed(store, "d1")
    await submitted(store, "d2")
    await submitted(store, "d3", priority=0)

    outcome = await claim_some(store, consumer=OTHER_WORKER, limit=200)

    assert (outcome.claims, outcome.closed, outcome.appended) == ((), (), ())
    assert await names(store, DispatchStatus.CLAIMED) == ["d1"]


@behaviour("MB-046")
async def test_settling_frees_the_thread_for_its_next_dispatch(store: Store, clock: ManualClock) -> None:
    owner = await claimed(store, "d1")
    await submitted(store, "d2")

    done = await settled(store, owner)

    assert done.ready_in_ms == 0
    assert await claim_name(store, consumer=OTHER_WORKER) == "d2"


@behaviour("MB-047", "MB-048")
async def test_a_free_thread_gives_one_dispatch_however_many_are_wanted(store: Store, clock: ManualClock) -> None:
    for name in ("d1", "d2", "d3"):
        await submitted(store, name)

    assert [taken.dispatch.dispatch_id for taken in (await claim_some(store, limit=2)).claims] == ["d1"]
    assert (await claim_some(store, limit=2)).claims == ()


@behaviour("MB-049")
async def test_claiming_without_a_free_slot_changes_nothing(store: Store, clock: ManualClock) -> None:
    sent = await submitted(store, "d1")

    outcome = await claim_some(store, limit=0)

    assert (outcome.claims, outcome.appended, outcome.due_left, outcome.next_due_in_ms) == ((), (), 1, None)
    assert await dispatch_of(store, "d1") == sent.dispatch


async def test_a_claim_says_what_it_had_no_room_for(store: Store, clock: ManualClock) -> None:
    """Threads, of every priority, that are due now; and what waits behind each claim in its own thread."""
    await submitted(store, "d1")
    await submitted(store, "d1-next")
    await submitted(store, "d2", thread=ThreadId("thread-2"), priority=1)
    await submitted(store, "d3", thread=ThreadId("thread-3"), priority=200)
    await submitted(store, "d4", thread=ThreadId("thread-4"), delay_ms=5_000)

    first = await claim_some(store)
    assert ([taken.dispatch.dispatch_id for taken in first.claims], first.due_left) == (["d2"], 2)
    assert first.next_due_in_ms is None, "something is due already"
    rest = await claim_some(store, limit=2)
    assert [(taken.dispatch.dispatch_id, taken.queued) for taken in rest.claims] == [("d1", 1), ("d3", 0)]
    assert (rest.due_left, rest.next_due_in_ms) == (0, 5_000)
    assert (await claim_some(store, limit=2)).due_left == 0


@behaviour("MB-050")
async def test_a_busy_thread_holds_up_no_other(store: Store, clock: ManualClock) -> None:
    await claimed(store, "d1")

    await submitted(store, "d2", thread=ThreadId("thread-2"))

    assert await claim_name(store) == "d2"


async def test_threads_come_by_priority_then_by_the_age_of_their_dispatch(store: Store, clock: ManualClock) -> None:
    """Its age is its arrival, which no clock can change."""
    await submitted(store, "b", thread=ThreadId("thread-b"))
    await submitted(store, "a", thread=ThreadId("thread-a"))
    clock.set(clock.now() - 60_000)
    await submitted(store, "late", thread=ThreadId("thread-0"))
    await submitted(store, "urgent", thread=ThreadId("thread-z"), priority=1)
    clock.set(clock.now() + 60_000)

    outcome = await claim_some(store, limit=3)

    assert [taken.dispatch.dispatch_id for taken in outcome.claims] == ["urgent", "b", "a"]
    assert await claim_name(store) == "late"


async def test_scopes_share_the_workers_but_no_ids(store: Store, clock: ManualClock) -> None:
    await submitted(store, "d1")
    await submitted(store, "d1", scope=OTHER_SCOPE)

    claims = (await claim_some(store, limit=5)).claims

    assert {taken.scope for taken in claims} == {SCOPE, OTHER_SCOPE}
    assert len({taken.token for taken in claims}) == 2


async def test_a_claim_of_many_threads_gives_each_its_own_token(store: Store, clock: ManualClock) -> None:
    for n in range(30):
        await submitted(store, f"d{n:02}", thread=ThreadId(f"thread-{n:02}"))

    claims = (await claim_some(store, limit=20)).claims

    assert [taken.dispatch.dispatch_id for taken in claims] == [f"d{n:02}" for n in range(20)]
    assert len({taken.token for taken in claims}) == 20
    assert len((await claim_some(store, limit=20)).claims) == 10


@behaviour("MB-056", "MB-057", "MB-058", "MB-059")
async def test_of_many_claimers_at_once_exactly_one_wins(store: Store, clock: ManualClock) -> None:
    for claimers in (2, 10, 19, 32):
        name = f"d{claimers}"
        await submitted(store, name)
        asking = [Claim(offers=(offer(ConsumerId(f"worker {number}")),), rooms=PLENTY) for number in range(claimers)]

        outcomes = [want(ClaimedSome, outcome) for outcome in await together(store, asking)]

        [winner] = [outcome.claims[0] for outcome in outcomes if outcome.claims]
        stored = await dispatch_of(store, name)
        assert winner.dispatch == stored
        [claim] = [each for each in asking if each.offers[0].token == stored.claim_token]
        assert stored.claimed_by == claim.offers[0].consumer
        await settled(store, winner)


@behaviour("MB-060")
async def test_of_two_dispatches_of_a_thread_only_one_is_taken_at_once(store: Store, clock: ManualClock) -> None:
    await submitted(store, "d1")
    await submitted(store, "d2")
    asking = [Claim(offers=(offer(worker),), rooms=PLENTY) for worker in (WORKER, OTHER_WORKER)]

    outcomes = [want(ClaimedSome, outcome) for outcome in await together(store, asking)]

    assert sorted(len(outcome.claims) for outcome in outcomes) == [0, 1]
    assert await names(store, DispatchStatus.CLAIMED) == ["d1"]


@behaviour("MB-061")
async def test_a_deep_queue_is_drained_once_by_many_workers(store: Store, clock: ManualClock) -> None:
    count = 250
    for start in range(0, count, 50):
        await together(store, [asked(f"d{n:03}") for n in range(start, start + 50)])

    taken = await drained(store, workers=8)

    assert sorted(taken) == [f"d{n:03}" for n in range(count)]


async def test_an_interrupt_leaves_no_older_work_in_the_queue(store: Store, clock: ManualClock) -> None:
    """So no queued dispatch can be of an older epoch than its thread, whichever way it came back into the queue."""
    owner = await claimed(store, "d1")
    await submitted(store, "d2")
    await submitted(store, "d3", delay_ms=5_000)
    await interrupt(store)
    await settled(store, owner, Retry("failed"))
    await submitted(store, "d4")

    assert await names(store, DispatchStatus.QUEUED) == ["d4"]
    assert (await dispatch_of(store, "d4")).epoch == (await thread_of(store)).epoch


@behaviour("MB-064")
async def test_a_failed_dispatch_comes_back_at_its_retry_time(store: Store, clock: ManualClock) -> None:
    owner = await claimed(store, "d1")
    await settled(store, owner, Retry("failed", RetryPolicy(base_delay_ms=3_000)))

    clock.tick(2.999)
    assert await claim(store) is None

    clock.tick(0.001)
    again = await claim(store)
    assert again is not None
    assert (again.dispatch.dispatch_id, again.dispatch.attempt_count) == ("d1", 1)


@behaviour("MB-065")
async def test_urgent_work_that_is_not_due_holds_up_nothing(store: Store, clock: ManualClock) -> None:
    await submitted(store, "urgent", priority=0, delay_ms=5_000)
    await submitted(store, "due", priority=200)

    assert await claim_name(store) == "due"


async def test_work_that_fell_due_since_is_taken_by_its_priority(store: Store, clock: ManualClock) -> None:
    await submitted(store, "due", priority=200)
    await submitted(store, "urgent", priority=0, delay_ms=5_000)

    clock.tick(5)

    assert await drained(store, workers=1) == ["urgent", "due"]


@behaviour("MB-066")
async def test_an_expired_claim_blocks_its_thread_until_it_is_reclaimed(store: Store, clock: ManualClock) -> None:
    await claimed(store, "d1", lease_ms=1_000)
    await submitted(store, "d2")
    clock.tick(60)

    assert await claim(store) is None

    assert await reclaimed(store) == ["d1"]
    again = await claim(store)
    assert again is not None
    assert (again.dispatch.dispatch_id, again.dispatch.attempt_count, again.dispatch.crash_count) == ("d1", 0, 1)


@behaviour("MB-067")
async def test_much_work_elsewhere_does_not_keep_a_small_thread_waiting(store: Store, clock: ManualClock) -> None:
    for start in range(0, 1_000, 100):
        later = [
            asked(f"later-{n}", thread=ThreadId(f"thread-{n}"), delay_ms=60_000) for n in range(start, start + 100)
        ]
        await store.apply(later)
    await submitted(store, "small", thread=ThreadId("zzz"))

    outcome = await claim_some(store, limit=10)

    assert [taken.dispatch.dispatch_id for taken in outcome.claims] == ["small"]
    assert outcome.next_due_in_ms == LEASE_MS + 1


@behaviour("MB-069")
async def test_a_deep_queue_behind_a_claim_is_not_lost(store: Store, clock: ManualClock) -> None:
    owner = await claimed(store, "d0")
    for start in range(1, 501, 100):
        await together(store, [asked(f"d{n}") for n in range(start, start + 100)])

    await settled(store, owner)

    assert (await thread_of(store)).queued_count == 500
    following = await claim(store)
    assert following is not None
    assert following.dispatch.position == 2


# --- the next dispatch, by offer --------------------------------------------------------------------------------------


async def test_a_settlement_with_an_offer_takes_the_threads_next_dispatch_in_the_same_step(
    store: Store, clock: ManualClock
) -> None:
    owner = await claimed(store, "d1")
    await submitted(store, "d2", priority=200)
    await submitted(store, "d3")

    done = await settled(store, owner, offered=offer(OTHER_WORKER, 3_000))

    assert done.claimed is not None
    assert done.claimed.dispatch == await dispatch_of(store, "d3")
    assert (done.claimed.dispatch.claimed_by, done.claimed.run.status) == (OTHER_WORKER, RunStatus.RUNNING)
    assert (done.claimed.dispatch.lease_until, done.ready_in_ms) == (clock.now() + 3_000, None)
    assert await message_ids(store) == ["msg-d1", "msg-d3"]


async def test_an_offer_finds_nothing_where_nothing_is_due(store: Store, clock: ManualClock) -> None:
    owner = await claimed(store, "d1")
    await submitted(store, "d2", delay_ms=1_000)

    done = await settled(store, owner, offered=offer())

    assert (done.claimed, done.ready_in_ms) == (None, 1_000)


async def test_a_failed_dispatch_is_not_taken_again_by_its_own_offer(store: Store, clock: ManualClock) -> None:
    owner = await claimed(store, "d1")
    await submitted(store, "d2")

    done = await settled(store, owner, Retry("failed", AT_ONCE), offered=offer())

    assert (done.claimed, done.dispatch.status, done.ready_in_ms) == (None, DispatchStatus.QUEUED, 0)


# --- what a claim finds in the conversation ---------------------------------------------------------------------------


async def test_the_next_run_finds_every_call_of_the_last_one_answered(store: Store, clock: ManualClock) -> None:
    owner = await claimed(store, "d1")
    await committed(store, owner, calling("turn", "call-1", "call-2", "call-3"))
    await committed(store, owner, result_of("call-2"))
    await settled(store, owner, DeadLetter("no"))

    await claimed(store, "d2")

    log = [stored.message for stored in await log_of(store)]
    assert [message.id for message in log[:3]] == ["msg-d1", "turn", "result-call-2"]
    assert [(message.role, message.tool_call_id, message.tool_status) for message in log[3:5]] == [
        (Role.TOOL, "call-1", ToolStatus.CANCELLED),
        (Role.TOOL, "call-3", ToolStatus.CANCELLED),
    ]
    assert [message.id for message in log[5:]] == ["msg-d2"]


async def test_calls_left_open_by_the_settlement_itself_are_answered_too(store: Store, clock: ManualClock) -> None:
    owner = await claimed(store, "d1")
    await submitted(store, "d2")

    await settled(store, owner, DeadLetter("no"), calling("turn", "call-1"), offered=offer())

    log = [stored.message for stored in await log_of(store)]
    assert [message.tool_call_id for message in log] == [None, None, "call-1", None]
    assert log[2].tool_status is ToolStatus.CANCELLED


async def test_a_resumed_run_finds_its_own_turn_as_it_left_it(store: Store, clock: ManualClock) -> None:
    owner = await claimed(store, "d1")
    await committed(store, owner, calling("turn", "call-1"))
    await settled(store, owner, Release("draining"))

    assert await claim_name(store) == "d1"

    assert await message_ids(store) == ["msg-d1", "turn"]


async def test_a_claim_beside_two_submits_that_bring_the_same_id_is_answered(store: Store, clock: ManualClock) -> None:
    """The batch is replayed item by item."""
    await submitted(store, "d1")
    twice = [asked("d2", thread=ThreadId(each)) for each in ("one", "other")]

    *submits, outcome = await store.apply([*twice, Claim(offers=(offer(),), rooms=PLENTY)])

    assert [type(each).__name__ for each in submits] == ["Submitted", "Conflict"]
    assert len(want(ClaimedSome, outcome).claims) == 1
