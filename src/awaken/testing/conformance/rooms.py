"""Who takes what: the routes a process serves, the room it has for each, and the suspects it dares to try."""

from __future__ import annotations

from msgspec.structs import replace

from awaken.domain.dispatch import LEASE_EXPIRED, DispatchStatus
from awaken.domain.ids import AgentId, ConsumerId, Route, ThreadId
from awaken.domain.retry import RetryPolicy
from awaken.store.contract import Held, Store
from awaken.store.transitions import ClaimedSome, Closed, Release, Retry, Rooms, StepClosed, Total
from awaken.testing.behaviour import behaviour
from awaken.testing.clock import ManualClock
from awaken.testing.conformance.steps import (
    AGENT,
    AT_ONCE,
    OTHER_SCOPE,
    OTHER_WORKER,
    PLENTY,
    WORKER,
    claim_some,
    claimed,
    committed,
    dispatch_of,
    offer,
    queue_of,
    reclaim,
    run_of,
    settled,
    submitted,
    suspended,
    thread_of,
)

OTHER = AgentId("agent-2")
ONLY_FIRST = frozenset([Route(AGENT)])
ONLY_OTHER = frozenset([Route(OTHER)])


def taken(outcome: ClaimedSome) -> list[str]:
    """The names of what a claim took, in its order."""
    return [claim.dispatch.dispatch_id for claim in outcome.claims]


def rooms(*, suspects: int = 0, **places: int) -> Rooms:
    """Rooms of the routes `agent-1` and `agent-2`, written with an underscore."""
    return Rooms({Route(name.replace("_", "-")): room for name, room in places.items()}, suspects)


# --- routes -----------------------------------------------------------------------------------------------------------


@behaviour("ST-001")
async def test_an_offer_takes_what_its_process_can_run_and_nothing_else(store: Store, clock: ManualClock) -> None:
    refused = await submitted(store, "d1", agent=OTHER, offered=offer(routes=ONLY_FIRST))
    assert (refused.claimed, refused.ready_in_ms) == (None, 0)

    thread = ThreadId("thread-2")
    owner = await claimed(store, "d2", thread=thread)
    await submitted(store, "d3", thread=thread, agent=OTHER)
    done = await settled(store, owner, offered=offer(routes=ONLY_FIRST))
    assert (done.claimed, done.ready_in_ms) == (None, 0)

    served = await submitted(store, "d4", thread=ThreadId("thread-3"), agent=OTHER, offered=offer(routes=ONLY_OTHER))
    assert served.claimed is not None
    assert served.claimed.dispatch.route == OTHER


@behaviour("RT-003")
async def test_the_order_of_a_thread_wins_over_who_can_run_what(store: Store, clock: ManualClock) -> None:
    """A head that nobody serves here holds what is behind it."""
    await submitted(store, "d1", agent=OTHER)

    behind = await submitted(store, "d2", offered=offer(routes=ONLY_FIRST))

    assert behind.claimed is None
    assert taken(await claim_some(store, limit=5, rooms=rooms(agent_1=5))) == []
    assert taken(await claim_some(store, limit=5, rooms=rooms(agent_1=5, agent_2=5))) == ["d1"]
    assert await queue_of(store) == ["d2"]


@behaviour("ST-002")
async def test_a_claim_takes_no_more_of_a_route_than_it_has_room_for(store: Store, clock: ManualClock) -> None:
    for n in range(6):
        agent = OTHER if n % 2 else AGENT
        await submitted(store, f"d{n}", thread=ThreadId(f"thread-{n}"), agent=agent)

    first = await claim_some(store, limit=6, rooms=rooms(agent_1=2, agent_2=1))
    assert taken(first) == ["d0", "d1", "d2"]
    assert first.due_left == 0, "what is due has no room, and a slot more would not help it"

    second = await claim_some(store, limit=1, rooms=rooms(agent_1=0, agent_2=2))
    assert (taken(second), second.due_left) == (["d3"], 1)
    assert taken(await claim_some(store, limit=9)) == ["d4", "d5"]


@behaviour("RT-004")
async def test_routes_select_and_never_order(store: Store, clock: ManualClock) -> None:
    """Over all of them threads come by priority, then by age."""
    for n, (agent, priority) in enumerate([(OTHER, 128), (AGENT, 128), (OTHER, 10), (AGENT, 10), (AGENT, 200)]):
        await submitted(store, f"d{n}", thread=ThreadId(f"thread-{n}"), agent=agent, priority=priority)

    assert taken(await claim_some(store, limit=9)) == ["d2", "d3", "d0", "d1", "d4"]


@behaviour("ST-003")
async def test_a_claim_by_age_looks_at_age_alone(store: Store, clock: ManualClock) -> None:
    """So that urgent work, however much of it comes, keeps nothing waiting for ever. In a thread priority counts."""
    await submitted(store, "oldest", thread=ThreadId("a"), priority=255)
    await submitted(store, "urgent", thread=ThreadId("b"), agent=OTHER, priority=0)
    await submitted(store, "youngest", thread=ThreadId("c"), priority=100)
    await submitted(store, "first of a", thread=ThreadId("a"), priority=1)

    assert taken(await claim_some(store, limit=2, by_age=True)) == ["urgent", "youngest"]
    assert taken(await claim_some(store, limit=2, by_age=True)) == ["first of a"]


@behaviour("RT-001", "RT-008")
async def test_what_nobody_serves_waits_and_is_not_something_to_do(store: Store, clock: ManualClock) -> None:
    await submitted(store, "d1", agent=OTHER)
    await submitted(store, "d2", thread=ThreadId("thread-2"), agent=OTHER, delay_ms=5_000)
    await submitted(store, "d3", thread=ThreadId("thread-3"), delay_ms=9_000)

    outcome = await claim_some(store, limit=1, rooms=rooms(agent_1=1))
    assert (outcome.claims, outcome.due_left, outcome.next_due_in_ms) == ((), 0, 9_000)
    assert (await claim_some(store, limit=0, rooms=rooms(agent_1=1))).due_left == 0
    assert await store.next_due_in_ms(ONLY_FIRST) == 9_000
    assert await store.next_due_in_ms(ONLY_OTHER) == 0
    assert await store.next_due_in_ms(frozenset()) is None
    assert taken(await claim_some(store, limit=1)) == ["d1"], "somebody serves it now"


@behaviour("ST-040")
async def test_the_routes_that_something_waits_for_are_known(store: Store, clock: ManualClock) -> None:
    """Of free threads, due or not, in every scope; a suspect waits for the route of its agent."""
    assert await store.list_ready_routes() == []
    await submitted(store, "d1", thread=ThreadId("a"), agent=AgentId("agent-9"))
    await submitted(store, "d2", thread=ThreadId("b"), agent=AgentId("agent-3"), delay_ms=5, scope=OTHER_SCOPE)
    await claimed(store, "d3", thread=ThreadId("c"))
    await submitted(store, "d4", thread=ThreadId("c"), agent=AgentId("agent-4"))
    await make_suspects(store, clock, "d5", agent=OTHER)

    assert await store.list_ready_routes() == ["agent-2", "agent-3", "agent-9"]


# --- limits of all processes together ---------------------------------------------------------------------------------


def shared(limit: int, *routes: str, name: str = AGENT, **places: int) -> Rooms:
    """Plenty of room, and a limit that all processes share."""
    found = rooms(**(places or {"agent_1": 9, "agent_2": 9}), suspects=9)
    return replace(found, totals={Route(name): Total(limit, tuple(map(Route, routes or (name,))))})


@behaviour("RT-017")
async def test_no_more_of_a_route_are_claimed_than_all_processes_may_have_together(
    store: Store, clock: ManualClock
) -> None:
    for n in range(5):
        await submitted(store, f"d{n}", thread=ThreadId(f"thread-{n}"))
    await submitted(store, "other", thread=ThreadId("another"), agent=OTHER)

    first = await claim_some(store, limit=2, rooms=shared(3))
    assert (taken(first), first.due_left) == (["d0", "d1"], 4)
    second = await claim_some(store, limit=9, consumer=OTHER_WORKER, rooms=shared(3))
    assert (taken(second), second.due_left, second.is_held_up) == (["d2", "other"], 0, False)
    assert taken(await claim_some(store, limit=9, rooms=shared(3))) == []
    assert taken(await claim_some(store, limit=9, rooms=shared(2))) == [], "a lower limit takes nothing back"

    await settled(store, first.claims[0])
    assert taken(await claim_some(store, limit=9, rooms=shared(3))) == ["d3"]


@behaviour("RT-017")
async def test_routes_that_share_a_limit_are_counted_together_and_so_are_scopes(
    store: Store, clock: ManualClock
) -> None:
    await submitted(store, "d1", thread=ThreadId("a"), agent=OTHER)
    await submitted(store, "d2", thread=ThreadId("b"))
    await submitted(store, "d3", thread=ThreadId("c"), scope=OTHER_SCOPE)
    both = shared(2, AGENT, OTHER, name=AGENT)

    assert taken(await claim_some(store, limit=9, rooms=both)) == ["d1", "d2"]
    assert taken(await claim_some(store, limit=9, rooms=shared(2))) == ["d3"], "of its own only one is claimed"


@behaviour("RT-017")
async def test_suspects_count_in_a_limit_that_is_shared(store: Store, clock: ManualClock) -> None:
    await make_suspects(store, clock, "d1", "d2")
    await submitted(store, "innocent", thread=ThreadId("another"))

    assert len(taken(await claim_some(store, limit=9, rooms=shared(1)))) == 1
    assert taken(await claim_some(store, limit=9, rooms=shared(1))) == []


@behaviour("RT-017")
async def test_a_claim_with_several_limits_keeps_each(store: Store, clock: ManualClock) -> None:
    for n in range(3):
        await submitted(store, f"a{n}", thread=ThreadId(f"a{n}"))
        await submitted(store, f"b{n}", thread=ThreadId(f"b{n}"), agent=OTHER)
    totals = {Route(AGENT): Total(1, (Route(AGENT),)), Route(OTHER): Total(2, (Route(OTHER), Route(AGENT)))}

    found = await claim_some(store, limit=9, rooms=replace(PLENTY, totals=totals))

    assert taken(found) == ["a0", "b0"]


# --- blame ------------------------------------------------------------------------------------------------------------


async def died(store: Store, clock: ManualClock) -> tuple[Closed, ...]:
    """Two seconds pass without a renewal; what a sweep then takes back."""
    clock.tick(2)
    return (await reclaim(store)).items


async def make_suspects(store: Store, clock: ManualClock, *names: str, agent: AgentId = AGENT) -> None:
    """Each name becomes a suspect in a thread of its own, by two deaths of a process that executed nothing else."""
    for name in names:
        await submitted(store, name, thread=ThreadId(f"thread of {name}"), agent=agent)
    for _ in range(2):
        await claim_some(store, limit=len(names), lease_ms=1_000, rooms=rooms(agent_1=99, agent_2=99))
        await died(store, clock)


@behaviour("BL-001")
async def test_two_deaths_of_its_process_since_the_last_closed_step_make_a_suspect(
    store: Store, clock: ManualClock
) -> None:
    owner = await claimed(store, "d1", lease_ms=1_000, max_attempts=1)
    await died(store, clock)
    [again] = (await claim_some(store, lease_ms=1_000, rooms=rooms(agent_1=1))).claims
    await committed(store, again, closes=StepClosed(1))
    assert (again.dispatch.crash_count, (await dispatch_of(store, "d1")).crash_count) == (1, 0)

    for crashes in (1, 2):
        assert not (await dispatch_of(store, "d1")).is_suspect
        await died(store, clock)
        assert (await dispatch_of(store, "d1")).crash_count == crashes
        await claim_some(store, lease_ms=1_000, rooms=rooms(agent_1=1))

    stored = await dispatch_of(store, "d1")
    assert (stored.is_suspect, stored.status, stored.attempt_count) == (True, DispatchStatus.QUEUED, 0)
    assert stored.tried_by == owner.dispatch.claimed_by


@behaviour("ST-004")
async def test_a_suspect_waits_for_room_of_its_own(store: Store, clock: ManualClock) -> None:
    await make_suspects(store, clock, "d1", "d2", "d3")
    await submitted(store, "innocent", thread=ThreadId("another"))

    none = await claim_some(store, limit=9, rooms=rooms(agent_1=9))
    assert (taken(none), none.due_left) == (["innocent"], 0)

    for name in ("d1", "d2"):
        assert taken(await claim_some(store, limit=9, rooms=rooms(agent_1=9, suspects=1))) == [name]
    assert taken(await claim_some(store, limit=9, rooms=rooms(agent_2=9, suspects=9))) == [], "its route has none"
    assert taken(await claim_some(store, limit=9, rooms=rooms(agent_1=0, suspects=9))) == []


@behaviour("ST-004")
async def test_a_suspect_that_falls_due_ahead_of_what_its_thread_had_ready_is_taken_by_the_next_claim(
    store: Store, clock: ManualClock
) -> None:
    """That claim looks at the thread for the sake of the innocent one, and is the last for which anybody asks."""
    await make_suspects(store, clock, "d1")
    [suspect] = (await claim_some(store)).claims
    await submitted(store, "innocent", thread=ThreadId("thread of d1"))
    await settled(store, suspect, Retry("not yet", RetryPolicy(base_delay_ms=100)))
    clock.tick(1)

    assert taken(await claim_some(store, limit=9, rooms=rooms(agent_1=9, suspects=1))) == ["d1"]


@behaviour("BL-005", "ST-005")
async def test_no_offer_takes_a_suspect_and_its_thread_waits_with_it(store: Store, clock: ManualClock) -> None:
    await make_suspects(store, clock, "d1")
    thread = ThreadId("thread of d1")

    behind = await submitted(store, "d2", thread=thread, offered=offer())

    assert (behind.claimed, behind.ready_in_ms) == (None, 0)
    assert taken(await claim_some(store, limit=9, rooms=rooms(agent_1=9))) == []
    [suspect] = (await claim_some(store, limit=9, rooms=rooms(agent_1=9, suspects=9))).claims
    returned = await settled(store, suspect, Release("draining"), offered=offer())
    assert (returned.claimed, returned.dispatch.crash_count) == (None, 2)
    [suspect] = (await claim_some(store, limit=9, rooms=rooms(agent_1=9, suspects=9))).claims
    done = await settled(store, suspect, offered=offer())
    assert done.claimed is not None
    assert done.claimed.dispatch.dispatch_id == "d2"


@behaviour("BL-004")
async def test_suspects_are_tried_by_fewest_attempts_then_most_crashes_then_longest_not_tried(
    store: Store, clock: ManualClock
) -> None:
    await make_suspects(store, clock, "failed", "crashed")
    await claim_some(store, limit=2, lease_ms=1_000)
    await died(store, clock)
    failed, crashed = (await claim_some(store, limit=2)).claims
    await settled(store, failed, Retry("no answer", AT_ONCE))
    await settled(store, crashed, Release("draining"))
    await make_suspects(store, clock, "late", agent=OTHER)
    await make_suspects(store, clock, "early")
    [late] = (await claim_some(store, rooms=rooms(agent_2=1, suspects=1))).claims
    await settled(store, late, Release("draining"))
    await submitted(store, "innocent", thread=ThreadId("another"), priority=0)

    assert taken(await claim_some(store, limit=9)) == ["crashed", "early", "late", "failed", "innocent"]


@behaviour("BL-002")
async def test_only_a_suspect_that_was_executing_as_the_only_suspect_is_charged(
    store: Store, clock: ManualClock
) -> None:
    await make_suspects(store, clock, "d1", "d2")
    await submitted(store, "innocent", thread=ThreadId("another"))

    await claim_some(store, limit=9, lease_ms=1_000)
    together = {item.dispatch.dispatch_id: item.dispatch for item in await died(store, clock)}
    assert {name: (each.attempt_count, each.crash_count) for name, each in together.items()} == {
        "d1": (0, 3),
        "d2": (0, 3),
        "innocent": (0, 1),
    }

    await claim_some(store, limit=9, lease_ms=1_000, rooms=rooms(agent_1=9, suspects=1))
    [suspect, beside] = [item.dispatch for item in await died(store, clock)]
    assert (suspect.dispatch_id, suspect.attempt_count, suspect.crash_count) == ("d1", 1, 4)
    assert (beside.dispatch_id, beside.attempt_count, beside.crash_count) == ("innocent", 0, 2)


@behaviour("BL-002")
async def test_each_process_answers_for_its_own_suspects(store: Store, clock: ManualClock) -> None:
    await make_suspects(store, clock, "d1", "d2", "d3")
    await claim_some(store, limit=2, lease_ms=1_000)
    await claim_some(store, limit=1, lease_ms=1_000, consumer=OTHER_WORKER)

    items = await died(store, clock)

    assert [(item.dispatch.dispatch_id, item.dispatch.attempt_count) for item in items] == [
        ("d1", 0),
        ("d2", 0),
        ("d3", 1),
    ]


@behaviour("ST-006")
async def test_what_a_later_slice_of_a_reclaim_takes_back_is_charged_to_nobody(
    store: Store, clock: ManualClock
) -> None:
    """Suspects come first, so that the first slice knows how many there were."""
    await make_suspects(store, clock, "d1", "d2")
    await submitted(store, "innocent", thread=ThreadId("another"))
    await claim_some(store, limit=9, lease_ms=1_000)
    clock.tick(2)

    slices = [await reclaim(store, limit=1, continued=number > 0) for number in range(3)]

    items = [item.dispatch for each in slices for item in each.items]
    assert [(item.dispatch_id, item.attempt_count) for item in items] == [("d1", 0), ("d2", 0), ("innocent", 0)]
    assert [each.more for each in slices] == [True, True, False]


@behaviour("BL-006", "BL-007")
async def test_a_suspect_that_spent_its_attempts_alone_is_given_up(store: Store, clock: ManualClock) -> None:
    await submitted(store, "innocent", thread=ThreadId("another"))
    await submitted(store, "poison", max_attempts=2)
    for _ in range(2):
        await claim_some(store, limit=9, lease_ms=1_000)
        await died(store, clock)
    [tried] = (await claim_some(store, limit=9, rooms=rooms(agent_1=9, suspects=1))).claims
    assert tried.dispatch.dispatch_id == "innocent"
    await committed(store, tried, closes=StepClosed(1))
    await settled(store, tried, Release("draining"))
    for _ in range(2):
        both = await claim_some(store, limit=9, lease_ms=1_000, rooms=rooms(agent_1=9, suspects=1))
        assert taken(both) == ["poison", "innocent"]
        await died(store, clock)

    innocent = await dispatch_of(store, "innocent")
    assert (innocent.status, innocent.attempt_count) == (DispatchStatus.QUEUED, 0)
    poison = await dispatch_of(store, "poison")
    assert (poison.status, poison.attempt_count, poison.last_error) == (DispatchStatus.DEAD_LETTER, 2, LEASE_EXPIRED)
    assert (await run_of(store, "poison")).dead_lettered is True


@behaviour("BL-008")
async def test_a_suspect_that_closes_a_step_is_one_no_more(store: Store, clock: ManualClock) -> None:
    await make_suspects(store, clock, "d1")
    [tried] = (await claim_some(store)).claims
    assert tried.dispatch.is_suspect

    await committed(store, tried, closes=StepClosed(1))
    back = await settled(store, tried, Release("draining"))

    assert (back.dispatch.is_suspect, back.dispatch.crash_count) == (False, 0)
    assert taken(await claim_some(store, rooms=rooms(agent_1=1))) == ["d1"]


@behaviour("ST-007")
async def test_suspects_that_found_no_slot_are_left_due(store: Store, clock: ManualClock) -> None:
    """Otherwise nobody would look for them when a slot is free again."""
    await make_suspects(store, clock, "d1", "d2", "d3")

    first = await claim_some(store, limit=1, rooms=PLENTY)
    assert (taken(first), first.due_left) == (["d1"], 2)
    full = await claim_some(store, limit=1, rooms=rooms(agent_1=9, suspects=1))
    assert (taken(full), full.due_left) == (["d2"], 0)


@behaviour("ST-008")
async def test_a_suspect_that_suspends_or_ends_leaves_no_crash_to_what_follows(
    store: Store, clock: ManualClock
) -> None:
    """A run's next dispatch starts with a clean record, and so does the next run of its thread."""
    await make_suspects(store, clock, "d1")
    thread = ThreadId("thread of d1")
    [tried] = (await claim_some(store)).claims
    await settled(store, tried, suspended())

    following = await submitted(store, "d2", thread=thread, offered=offer())

    assert following.claimed is not None
    assert (following.run.run_id, following.dispatch.crash_count) == (tried.run.run_id, 0)
    assert (await thread_of(store, thread)).active_run_id == tried.run.run_id


@behaviour("ST-009")
async def test_claims_are_listed_by_whoever_holds_them(store: Store, clock: ManualClock) -> None:
    for n in range(5):
        await submitted(store, f"d{n}", thread=ThreadId(f"thread-{n}"))
    mine = (await claim_some(store, limit=3)).claims
    [other] = (await claim_some(store, consumer=OTHER_WORKER)).claims
    await settled(store, mine[1])

    held = await store.list_claims(WORKER)
    assert held == [Held(each.scope, each.dispatch) for each in (mine[0], mine[2])]
    assert [each.dispatch.dispatch_id for each in await store.list_claims(WORKER, limit=1)] == ["d0"]
    assert [each.dispatch.dispatch_id for each in await store.list_claims(WORKER, after=held[0].dispatch.no)] == ["d2"]
    assert [each.dispatch for each in await store.list_claims(OTHER_WORKER)] == [other.dispatch]
    assert await store.list_claims(ConsumerId("nobody")) == []
