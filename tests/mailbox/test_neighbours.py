"""Processes that work on one store: who they are, and what becomes of the runs of one that has died."""

from __future__ import annotations

import pytest
from msgspec.structs import replace

from awaken.domain.errors import StoreUnavailable
from awaken.domain.ids import Route
from awaken.domain.worker import WorkerRecord
from awaken.store.transitions import Claim, ClaimedSome, Offer, Reclaim, Rooms
from awaken.testing.clock import ManualClock
from awaken.testing.mailboxes import GatedAgent, PretendedSigns, WatchedStore, World

CHECK_S, BEAT_S = 1.0, 5.0
"""The usual ones."""


@pytest.fixture
def shared(store: WatchedStore) -> WatchedStore:
    return WatchedStore(store, exclusive=False)


async def died(world: World, signs: PretendedSigns) -> WorkerRecord:
    """A process that has claimed the run of thread `t` for ten minutes, said that it lives, and died."""
    own = world.mailbox.worker()
    minted = world.mailbox.ids
    record = replace(own, consumer_id=minted.consumer_id(), pid=own.pid + 1)
    record = replace(record, life_sign=signs.show(record.consumer_id))
    offer = Offer(
        record.consumer_id, minted.claim_token(), minted.instance_id(), frozenset([Route("gated")]), lease_ms=600_000
    )
    [claimed] = await world.store.apply([Claim(offers=(offer,), rooms=Rooms({Route("gated"): 1}))])
    assert isinstance(claimed, ClaimedSome) and len(claimed.claims) == 1
    await world.store.beat(record)
    signs.dead.add(record.consumer_id)
    return record


@pytest.mark.parametrize("loses_signals", [False, True], ids=["signals", "no signals"])
async def test_a_neighbour_goes_on_with_the_runs_of_a_process_that_died(
    shared: WatchedStore, clock: ManualClock, loses_signals: bool
) -> None:
    """At once, also where nobody is told of what it took back itself."""
    shared.loses_signals = loses_signals
    signs = PretendedSigns()
    async with World(shared, clock, executes=False) as front:
        run = await front.submit()
        dead = await died(front, signs)
        async with World(shared, clock, seed=2, signs=signs) as works:
            assert works.agent.calls == []
            await works.advance(CHECK_S)

            call = await works.agent.next_call()
            assert call.run_id == run.run.run_id
            call.release("done after all")
            assert (await works.done(run)).final_output == "done after all"
            assert signs.buried == [dead.consumer_id]
            assert dead.consumer_id not in {each.consumer_id for each in await works.mailbox.workers()}


async def test_the_runs_of_a_process_that_may_live_are_left_to_their_leases(
    shared: WatchedStore, clock: ManualClock
) -> None:
    signs = PretendedSigns()
    async with World(shared, clock, executes=False) as front:
        await front.submit()
        record = await died(front, signs)
        signs.dead.clear()
        async with World(shared, clock, seed=2, signs=signs) as works:
            await works.advance(599)
            assert works.agent.calls == [] and signs.buried == []
            await works.advance(2)
            (await works.agent.next_call()).release("done")
            await works.quiet()
            assert record.consumer_id not in {each.consumer_id for each in await works.mailbox.workers()}


async def test_what_a_dead_process_held_is_asked_for_until_the_store_answers(
    shared: WatchedStore, clock: ManualClock
) -> None:
    signs = PretendedSigns()
    async with World(shared, clock, executes=False) as front:
        await front.submit()
        await died(front, signs)
        async with World(shared, clock, seed=2, signs=signs) as works:
            shared.fail_once(Reclaim)
            await works.advance(CHECK_S)
            assert works.agent.calls == [] and signs.buried == []
            await works.advance(2 * CHECK_S + 1)
            (await works.agent.next_call()).release("done")


async def test_everybody_knows_who_works_on_the_store(shared: WatchedStore, clock: ManualClock) -> None:
    async with World(shared, clock) as works, World(shared, clock, executes=False, seed=2) as front:
        await works.submit()
        call = await works.agent.next_call()
        await front.advance(BEAT_S)

        [itself, other] = await front.mailbox.workers()

        assert (itself.role, itself.routes, itself.executing) == ("api", (), 0)
        assert (other.role, other.routes, other.executing) == ("all", ("gated",), 1)
        assert other.consumer_id == works.mailbox.worker().consumer_id
        call.release("done")


async def test_who_is_left_well_is_known_no_more(shared: WatchedStore, clock: ManualClock) -> None:
    async with World(shared, clock) as works:
        async with World(shared, clock, executes=False, seed=2) as front:
            await front.advance(BEAT_S)
            assert len(await works.mailbox.workers()) == 2
        assert len(await works.mailbox.workers()) == 1


async def test_a_beat_that_fails_is_followed_by_the_next(
    shared: WatchedStore, clock: ManualClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with World(shared, clock) as works:
        beat = shared.beat

        async def fails(worker: WorkerRecord) -> tuple[WorkerRecord, ...]:
            raise StoreUnavailable("away")

        monkeypatch.setattr(shared, "beat", fails)
        await works.advance(2 * BEAT_S)
        monkeypatch.setattr(shared, "beat", beat)
        await works.advance(BEAT_S)
        [known] = await shared.list_workers()
        assert clock.now() - known.seen_at < BEAT_S * 1000


async def test_a_store_that_one_process_owns_is_told_nothing(store: WatchedStore, clock: ManualClock) -> None:
    signs = PretendedSigns()
    async with World(store, clock, signs=signs) as works:
        await works.advance(2 * BEAT_S)
        assert await store.list_workers() == () and signs.shown == []
        [itself] = await works.mailbox.workers()
        assert itself.consumer_id == works.mailbox.worker().consumer_id


async def test_a_process_that_died_as_soon_as_it_had_said_that_it_lives_is_found_at_the_next_look(
    shared: WatchedStore, clock: ManualClock
) -> None:
    """And not when its neighbours say the next time that they live themselves."""
    signs = PretendedSigns()
    async with (
        World(shared, clock, executes=False) as front,
        World(shared, clock, agents={"other": GatedAgent()}, seed=2, signs=signs) as works,
    ):
        works.agents.serve_only(["other"])
        await front.submit()
        await died(front, signs)
        works.agents.serve_only(["gated", "other"])

        await works.advance(CHECK_S)

        (await works.agent.next_call()).release("done")


async def test_a_process_executes_only_what_it_is_meant_to_and_complains_of_nothing_else(
    shared: WatchedStore, clock: ManualClock, caplog: pytest.LogCaptureFixture
) -> None:
    agents = {"other": GatedAgent()}
    async with World(shared, clock, agents=agents) as works:
        works.agents.serve_only(["other"])
        run = await works.submit()
        await works.advance(BEAT_S)

        assert works.agent.calls == []
        assert works.mailbox.worker().routes == ("other",)
        assert works.mailbox.health().unserved == ()
        assert "wait" not in caplog.text
        async with World(shared, clock, seed=2) as another:
            (await another.agent.next_call()).release("done")
            assert (await works.done(run)).final_output == "done"
