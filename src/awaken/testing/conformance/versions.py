"""Agents in several versions: what a run keeps of its own, who stands in for it, and what nobody can run for long."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from msgspec.structs import replace

from awaken.domain.dead_letter import UNSERVED
from awaken.domain.dispatch import DispatchStatus
from awaken.domain.ids import AgentId, Route, ThreadId
from awaken.domain.run import RunStatus
from awaken.store.contract import Store
from awaken.store.transitions import ClaimedSome, GaveUp, GiveUp, Retry, Rooms, Submitted
from awaken.testing.behaviour import behaviour
from awaken.testing.clock import ManualClock
from awaken.testing.conformance.queue_events import told_in
from awaken.testing.conformance.steering import fate
from awaken.testing.conformance.steps import (
    AT_ONCE,
    THREAD,
    apply,
    asked,
    cancelled,
    claim_some,
    claimed,
    dispatch_of,
    events_of,
    interrupt,
    queue_of,
    reclaim,
    run_id,
    run_of,
    settled,
    submitted,
    suspended,
    thread_of,
    want,
)
from awaken.testing.conformance.tickets import approval, decided, yes

OLD, NEW = AgentId("agent-1@1"), AgentId("agent-1@2")
OLD_ROUTE, NEW_ROUTE = Route(OLD), Route(NEW)
BOTH = Rooms({OLD_ROUTE: 9, NEW_ROUTE: 9}, 9)
AFTER_S = 10


async def give_up(store: Store, *routes: str) -> GaveUp:
    """Give up what has been due for longer than `AFTER_S`."""
    return want(
        GaveUp, await apply(store, GiveUp(routes=tuple(map(Route, routes or (OLD,))), after_ms=1_000 * AFTER_S))
    )


def names(outcome: GaveUp | ClaimedSome) -> list[str]:
    found = outcome.closed if isinstance(outcome, GaveUp) else outcome.claims
    return [each.dispatch.dispatch_id for each in found]


async def start_of(store: Store, name: str, thread: ThreadId = THREAD) -> Mapping[str, Any]:
    """What the log of a run says of its start."""
    rows = await events_of(store, thread, run=run_id(name))
    [found] = [payload for row in rows for _, kind, payload in told_in(row) if kind == "RunStarted"]
    return found


# --- the version of a run ---------------------------------------------------------------------------------------------


@behaviour("RT-012")
async def test_a_run_keeps_its_version_through_failures_deaths_and_waits(store: Store, clock: ManualClock) -> None:
    owner = await claimed(store, "d1", agent=OLD, routes=frozenset([OLD_ROUTE]))
    assert (owner.run.agent_id, owner.run.agent_version, owner.dispatch.route) == ("agent-1", "1", OLD)

    await settled(store, owner, Retry("busy", AT_ONCE))
    assert names(await claim_some(store, rooms=Rooms({NEW_ROUTE: 9}, 9))) == []
    [again] = (await claim_some(store, rooms=BOTH)).claims
    await reclaim(store, abandoned=True)
    [taken] = (await claim_some(store, rooms=BOTH)).claims
    assert (again.dispatch.route, taken.dispatch.route) == (OLD, OLD)

    await settled(store, taken, suspended(approval(), then="d2"))
    await decided(store, {"call-1": yes()})
    assert (await dispatch_of(store, "d2")).route == OLD
    assert names(await claim_some(store, rooms=Rooms({NEW_ROUTE: 9}, 9))) == []
    [gone_on] = (await claim_some(store, rooms=BOTH)).claims
    assert (gone_on.run.run_id, gone_on.run.agent_version) == (owner.run.run_id, "1")


@behaviour("RT-012")
async def test_input_goes_on_with_the_version_that_waits_unless_another_is_named(
    store: Store, clock: ManualClock
) -> None:
    waits = await claimed(store, "d1", agent=OLD, routes=frozenset([OLD_ROUTE]))
    await settled(store, waits, suspended(approval()))

    named = want(Submitted, await apply(store, replace(asked("d2", agent=NEW), names_version=True)))
    assert (named.run.run_id, named.dispatch.route) == (run_id("d2"), NEW)
    await cancelled(store, "d2")

    followed = want(Submitted, await apply(store, asked("d3", agent=NEW)))
    assert (followed.run.run_id, followed.dispatch.route) == (run_id("d1"), OLD)


@behaviour("RT-014")
async def test_the_start_of_a_run_tells_its_version_and_who_stands_in_for_it(store: Store, clock: ManualClock) -> None:
    await submitted(store, "d1", agent=OLD)
    other = ThreadId("other")
    await submitted(store, "d2", agent=NEW, thread=other)

    await claim_some(store, limit=2, rooms=BOTH, stand_ins={OLD_ROUTE: NEW_ROUTE})

    old, new = await start_of(store, "d1"), await start_of(store, "d2", other)
    assert (old["agent_version"], old["stand_in"]) == ("1", NEW)
    assert (new["agent_version"], "stand_in" in new) == ("2", False)


@behaviour("RT-015")
async def test_routes_that_share_a_room_are_taken_as_often_as_it_allows_together(
    store: Store, clock: ManualClock
) -> None:
    for n in range(6):
        await submitted(store, f"d{n}", thread=ThreadId(f"thread-{n}"), agent=OLD if n % 2 else NEW)
    shared = Rooms({OLD_ROUTE: 3, NEW_ROUTE: 3}, 0, {OLD_ROUTE: NEW_ROUTE})

    first = await claim_some(store, limit=6, rooms=shared)

    assert (names(first), first.due_left) == (["d0", "d1", "d2"], 0)
    assert names(await claim_some(store, limit=6, rooms=BOTH)) == ["d3", "d4", "d5"]


# --- what nobody can run ----------------------------------------------------------------------------------------------


@behaviour("RT-016")
async def test_what_has_been_due_for_too_long_on_a_route_becomes_a_dead_letter(
    store: Store, clock: ManualClock
) -> None:
    await submitted(store, "d1", agent=OLD)
    await submitted(store, "d2", agent=NEW, thread=ThreadId("other"))
    clock.tick(AFTER_S - 1)
    early = await give_up(store)
    assert (early.closed, early.next_in_ms, early.more) == ((), 1_000, False)

    clock.tick(1)
    assert names(await give_up(store)) == ["d1"]

    run, dispatch = await run_of(store, "d1"), await dispatch_of(store, "d1")
    assert (dispatch.status, dispatch.last_error) == (
        DispatchStatus.DEAD_LETTER,
        "nobody could run agent 'agent-1@1' for 10 s",
    )
    assert (run.status, run.dead_lettered, run.error_class) == (RunStatus.DONE, True, UNSERVED)
    assert (await fate(store, "msg-d1"))[0] == "dead_lettered"
    assert (await dispatch_of(store, "d2")).status is DispatchStatus.QUEUED
    assert (await thread_of(store)).queued_count == 0
    assert names(await give_up(store)) == []


@behaviour("RT-016")
async def test_a_delay_counts_from_its_end_and_a_run_that_went_on_from_when_it_did(
    store: Store, clock: ManualClock
) -> None:
    await submitted(store, "d1", agent=OLD, delay_ms=5_000)
    waits = await claimed(store, "d2", agent=OLD, thread=ThreadId("waits"), routes=frozenset([OLD_ROUTE]))
    await settled(store, waits, suspended(approval(), then="d3"))
    clock.tick(AFTER_S)
    await decided(store, {"call-1": yes()}, name="d2", thread=ThreadId("waits"))
    assert names(await give_up(store)) == []

    clock.tick(5)
    assert names(await give_up(store)) == ["d1"]
    clock.tick(5)
    assert names(await give_up(store)) == ["d3"]
    assert (await run_of(store, "d2")).dead_lettered
    assert (await thread_of(store, ThreadId("waits"))).open_run_id is None


@behaviour("RT-016")
async def test_giving_up_goes_from_head_to_head_and_frees_what_is_behind(store: Store, clock: ManualClock) -> None:
    """The order inside a thread wins: what is behind a head that nobody serves has its turn when that is given up."""
    for name, agent in {"d1": OLD, "d2": OLD, "d3": NEW, "d4": OLD}.items():
        await submitted(store, name, agent=agent)
    clock.tick(AFTER_S)

    assert names(await give_up(store)) == ["d1", "d2"]

    assert await queue_of(store) == ["d3", "d4"]
    [third] = (await claim_some(store, rooms=BOTH)).claims
    assert third.dispatch.dispatch_id == "d3"
    assert names(await give_up(store)) == [], "its thread is not free"
    await settled(store, third)
    assert names(await give_up(store)) == ["d4"]


@behaviour("RT-016")
async def test_a_suspect_that_nobody_can_run_is_given_up_too_and_what_was_stopped_is_not_called_so(
    store: Store, clock: ManualClock
) -> None:
    for _ in range(2):
        if not await queue_of(store):
            await submitted(store, "d1", agent=OLD)
        await claim_some(store, rooms=BOTH)
        await reclaim(store, abandoned=True)
    assert (await dispatch_of(store, "d1")).is_suspect
    clock.tick(AFTER_S)

    outcome = await give_up(store)

    assert (names(outcome), outcome.closed[0].run) == (["d1"], await run_of(store, "d1"))
    await interrupt(store, THREAD)
    assert names(await give_up(store)) == []
