"""What holds between processes: the store alone decides who owns a claim, and exactly when it ends."""

from __future__ import annotations

import asyncio

import pytest

from awaken.domain.dispatch import Dispatch, DispatchStatus
from awaken.domain.ids import (
    DEFAULT_SCOPE,
    AgentId,
    DispatchId,
    MessageId,
    RunId,
    ThreadId,
)
from awaken.domain.message import user_message
from awaken.domain.retry import RetryPolicy
from awaken.domain.run import NATURAL_END, Intent, RunRequest
from awaken.store.transitions import (
    Ack,
    Claimed,
    Ending,
    LeaseLost,
    Outcome,
    Reclaim,
    Reclaimed,
    Retry,
    Settle,
    Settled,
    Submit,
)
from awaken.testing.behaviour import behaviour
from awaken.testing.clock import ManualClock
from awaken.testing.mailboxes import WatchedStore, claim_for


async def submitted(store: WatchedStore) -> None:
    message = user_message(MessageId("m"), "hello")
    await store.apply(
        [
            Submit(
                scope=DEFAULT_SCOPE,
                thread_id=ThreadId("t"),
                run_id=RunId("r"),
                dispatch_id=DispatchId("d"),
                request=RunRequest(Intent(AgentId("a")), (message.id,)),
                messages=(message,),
            )
        ]
    )


async def claimed(store: WatchedStore, name: str, lease_ms: int = 1_000) -> Claimed | None:
    claims = await claim_for(store, name, routes=("a",), lease_ms=lease_ms)
    return claims[0] if claims else None


async def settled(store: WatchedStore, claim: Claimed, ending: Ending) -> Outcome:
    settle = Settle(
        scope=DEFAULT_SCOPE,
        thread_id=ThreadId("t"),
        run_id=RunId("r"),
        dispatch_id=DispatchId("d"),
        token=claim.token,
        number=claim.commit_no + 1,
        ending=ending,
    )
    return (await store.apply([settle]))[0]


async def reclaimed(store: WatchedStore) -> list[Dispatch]:
    [outcome] = await store.apply([Reclaim()])
    assert isinstance(outcome, Reclaimed)
    return [item.dispatch for item in outcome.items]


async def stored(store: WatchedStore) -> Dispatch:
    dispatch = await store.load_dispatch(DEFAULT_SCOPE, DispatchId("d"))
    assert dispatch is not None
    return dispatch


@behaviour("MBX-136")
async def test_of_32_claimers_one_wins_and_the_store_names_it(store: WatchedStore) -> None:
    async with asyncio.timeout(20), store:
        await submitted(store)
        claims = await asyncio.gather(*[claimed(store, f"c{number}") for number in range(32)])

        [winner] = [claim for claim in claims if claim is not None]
        dispatch = await stored(store)
        assert (dispatch.claimed_by, dispatch.claim_token) == (winner.dispatch.claimed_by, winner.token)


@behaviour("MBX-137")
async def test_a_late_owner_can_settle_nothing(store: WatchedStore, clock: ManualClock) -> None:
    async with asyncio.timeout(20), store:
        await submitted(store)
        late = await claimed(store, "A")
        clock.tick(1.001)
        [returned] = await reclaimed(store)
        assert (returned.status, returned.crash_count, returned.attempt_count) == (DispatchStatus.QUEUED, 1, 0)
        owner = await claimed(store, "B")
        assert late is not None and owner is not None

        assert isinstance(await settled(store, late, Ack(NATURAL_END)), LeaseLost)
        assert (await stored(store)).claimed_by == "B"
        assert isinstance(await settled(store, owner, Ack(NATURAL_END)), Settled)


@behaviour("MBX-138")
async def test_a_lease_that_ends_exactly_now_still_holds(store: WatchedStore, clock: ManualClock) -> None:
    async with asyncio.timeout(20), store:
        await submitted(store)
        await claimed(store, "A", lease_ms=1_100)
        found: list[int] = []
        for step_s in (0.999, 0.101, 0.001):
            clock.tick(step_s)
            found.append(len(await reclaimed(store)))
        assert found == [0, 0, 1]


@behaviour("MBX-139")
async def test_a_retry_is_due_exactly_at_its_instant(store: WatchedStore, clock: ManualClock) -> None:
    async with asyncio.timeout(20), store:
        await submitted(store)
        claim = await claimed(store, "A")
        assert claim is not None
        await settled(store, claim, Retry("busy", RetryPolicy(base_delay_ms=2_000)))

        clock.tick(1.999)
        assert await claimed(store, "B") is None
        clock.tick(0.001)
        assert await claimed(store, "C") is not None


@pytest.mark.parametrize("lease_ms", [1, 1_000])
async def test_two_sweepers_never_report_the_same_claim(store: WatchedStore, clock: ManualClock, lease_ms: int) -> None:
    async with asyncio.timeout(20), store:
        await submitted(store)
        await claimed(store, "A", lease_ms=lease_ms)
        clock.tick(2)
        found = await asyncio.gather(reclaimed(store), reclaimed(store))
        assert sorted(len(each) for each in found) == [0, 1]
