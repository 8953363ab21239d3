"""The processes that work on a store: what they say of themselves, and what one that is known to be dead has held."""

from __future__ import annotations

from msgspec.structs import replace

from awaken.domain.ids import ConsumerId, Route, ThreadId
from awaken.domain.worker import FORGOTTEN_MS, LifeSign, WorkerRecord
from awaken.store.contract import Store
from awaken.testing.clock import ManualClock
from awaken.testing.conformance.steps import (
    LEASE_MS,
    OTHER_WORKER,
    WORKER,
    claimed,
    dispatch_of,
    offer,
    reclaim,
    submitted,
)

ONE = WorkerRecord(
    consumer_id=WORKER,
    host="here",
    pid=7,
    version="1.2",
    role="all",
    routes=(Route("agent-1"), Route("agent-2")),
    is_drained=False,
    executing=3,
    started_at=5,
    life_sign=LifeSign("boot", "/run/one.life"),
    stand_ins=(Route("agent-2"),),
    totals={Route("agent-1"): 4},
)
OTHER = replace(ONE, consumer_id=OTHER_WORKER, role="api", routes=(), life_sign=None, started_at=None)


async def test_a_process_that_lives_is_known_with_the_time_of_the_store(store: Store, clock: ManualClock) -> None:
    assert await store.list_workers() == ()

    first = await store.beat(replace(ONE, seen_at=123))
    clock.tick(0.01)
    both = await store.beat(OTHER)

    assert first == (replace(ONE, seen_at=clock.now() - 10),)
    assert both == (*first, replace(OTHER, seen_at=clock.now()))
    assert await store.list_workers() == both


async def test_what_a_process_says_replaces_what_it_said(store: Store, clock: ManualClock) -> None:
    await store.beat(ONE)
    await store.beat(OTHER)
    clock.tick(0.01)

    said = await store.beat(replace(ONE, executing=0, is_drained=True))

    assert [(each.consumer_id, each.executing, each.is_drained) for each in said] == [
        (WORKER, 0, True),
        (OTHER_WORKER, 3, False),
    ]


async def test_who_says_nothing_for_long_is_forgotten_and_comes_back(store: Store, clock: ManualClock) -> None:
    await store.beat(ONE)
    clock.tick(FORGOTTEN_MS / 1000)
    assert [each.consumer_id for each in await store.beat(OTHER)] == [WORKER, OTHER_WORKER]
    clock.tick(0.001)

    assert [each.consumer_id for each in await store.list_workers()] == [OTHER_WORKER]
    assert {each.consumer_id for each in await store.beat(ONE)} == {WORKER, OTHER_WORKER}


async def test_who_has_ended_is_known_no_more(store: Store, clock: ManualClock) -> None:
    await store.beat(ONE)
    await store.beat(OTHER)

    await store.leave(WORKER)
    await store.leave(WORKER)
    await store.leave(ConsumerId("nobody"))

    assert [each.consumer_id for each in await store.list_workers()] == [OTHER_WORKER]


async def test_what_a_dead_process_held_is_taken_back_before_its_lease_ends(store: Store, clock: ManualClock) -> None:
    await claimed(store, "d1")
    await submitted(store, "d2", thread=ThreadId("other"), offered=offer(OTHER_WORKER, lease_ms=LEASE_MS))
    await submitted(store, "d3", thread=ThreadId("third"), offered=offer(OTHER_WORKER, lease_ms=1))
    clock.tick(5)

    taken = await reclaim(store, consumer=WORKER)

    assert [item.dispatch.dispatch_id for item in taken.items] == ["d1"], "and nothing of others, ended or not"
    dispatch = await dispatch_of(store, "d1")
    assert (dispatch.status.value, dispatch.crash_count, dispatch.attempt_count) == ("queued", 1, 0)
    assert (await reclaim(store, consumer=WORKER)).items == ()


async def test_what_a_dead_process_held_is_taken_back_in_slices(store: Store, clock: ManualClock) -> None:
    for number in range(3):
        await submitted(store, f"d{number}", thread=ThreadId(f"t{number}"), offered=offer())

    first = await reclaim(store, consumer=WORKER, limit=2)
    second = await reclaim(store, consumer=WORKER, limit=2, continued=True)

    assert (len(first.items), first.more, len(second.items), second.more) == (2, True, 1, False)
