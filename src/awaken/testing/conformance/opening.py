"""Opening a store: what is claimed where only one process may be belongs to the dead; what several share is left
alone.
"""

from __future__ import annotations

from awaken.domain.dispatch import DispatchStatus
from awaken.domain.ids import ThreadId
from awaken.domain.run import RunStatus
from awaken.store.contract import Store
from awaken.store.transitions import LeaseLost
from awaken.testing.behaviour import behaviour, on_stores
from awaken.testing.clock import ManualClock
from awaken.testing.conformance.steps import (
    SCOPE,
    THREAD,
    answered,
    cancelled,
    claim,
    claim_some,
    claimed,
    commit,
    committed,
    delta,
    dispatch_of,
    interrupt,
    kinds,
    run_of,
    settled,
    submitted,
)


async def reopened(store: Store) -> None:
    """Its process ends, and another one opens the store."""
    await store.__aexit__(None, None, None)
    await store.__aenter__()


@on_stores(exclusive=True)
@behaviour("EX-001")
async def test_a_store_takes_every_claim_back_when_it_is_opened(store: Store, clock: ManualClock) -> None:
    """With a lease or without: an instant later the dispatch is due again, and its old owner writes nothing more."""
    owner = await claimed(store, "d1", lease_ms=None)
    await committed(store, owner, delta("half a sen"), stream_open=True)
    await claimed(store, "d2", thread=ThreadId("thread-2"), lease_ms=3_600_000)
    await submitted(store, "d3", thread=ThreadId("thread-3"))
    clock.tick(1)
    seen = len(await kinds(store))

    await reopened(store)

    for name in ("d1", "d2"):
        stored = await dispatch_of(store, name)
        assert (stored.status, stored.attempt_count, stored.crash_count) == (DispatchStatus.QUEUED, 0, 1)
        assert (stored.why, stored.instance_id, stored.available_at) == ("takeover", None, clock.now())
    assert (await dispatch_of(store, "d3")).crash_count == 0
    assert (await kinds(store, after=seen)) == ["StreamReset", "RunRescheduled"]
    assert await commit(store, owner, answered("late")) == LeaseLost("not_claimed")
    assert [each.dispatch.dispatch_id for each in (await claim_some(store, limit=9)).claims] == ["d1", "d2", "d3"]


@behaviour("EX-001")
async def test_a_claim_without_a_lease_holds_until_then(store: Store, clock: ManualClock) -> None:
    owner = await claimed(store, "d1", lease_ms=None)
    assert (owner.dispatch.lease_until, await store.next_due_in_ms(frozenset())) == (None, None)
    clock.tick(1_000_000)

    assert await store.active_dispatch(SCOPE, THREAD) == owner.dispatch
    assert await claim(store) is None
    await committed(store, owner, answered("turn"))
    await settled(store, owner)


@on_stores(exclusive=True)
@behaviour("EX-001", "BL-002")
async def test_opening_closes_what_was_to_stop_and_charges_a_lone_suspect(store: Store, clock: ManualClock) -> None:
    await claimed(store, "cancelled", thread=ThreadId("a"))
    await cancelled(store, "cancelled", thread=ThreadId("a"))
    await claimed(store, "interrupted", thread=ThreadId("b"))
    await interrupt(store, ThreadId("b"))
    await submitted(store, "poison", max_attempts=2)
    for _ in range(2):
        await claim_some(store, lease_ms=None)
        await reopened(store)

    assert (await dispatch_of(store, "cancelled")).status is DispatchStatus.CANCELLED
    assert (await dispatch_of(store, "interrupted")).status is DispatchStatus.SUPERSEDED
    assert (await run_of(store, "interrupted")).status is RunStatus.DONE
    poison = await dispatch_of(store, "poison")
    assert (poison.attempt_count, poison.crash_count, poison.is_suspect) == (0, 2, True)

    for attempts in (1, 2):
        await claim_some(store, lease_ms=None)
        await reopened(store)
        assert (await dispatch_of(store, "poison")).attempt_count == attempts
    assert (await dispatch_of(store, "poison")).status is DispatchStatus.DEAD_LETTER


@on_stores(exclusive=False)
@behaviour("EX-001")
async def test_a_store_that_others_share_takes_nothing_back_when_it_is_opened(store: Store, clock: ManualClock) -> None:
    """They may be alive: only the end of a lease says otherwise."""
    owner = await claimed(store, "d1")

    await reopened(store)

    assert await store.active_dispatch(SCOPE, THREAD) == owner.dispatch
    await committed(store, owner, answered("turn"))
    await settled(store, owner)


@behaviour("ST-037")
async def test_a_store_that_is_open_is_entered_without_any_of_it(store: Store, clock: ManualClock) -> None:
    """Several parts of one process share it: the last one that leaves closes it."""
    owner = await claimed(store, "d1", lease_ms=None)

    async with store:
        assert await store.active_dispatch(SCOPE, THREAD) == owner.dispatch

    assert await store.active_dispatch(SCOPE, THREAD) == owner.dispatch
    await settled(store, owner)
