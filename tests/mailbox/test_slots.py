"""The account of rooms: how many at once, of which agents, and how many of those that may have killed their process."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence

import pytest

from awaken.domain.dispatch import DispatchStatus
from awaken.domain.errors import AgentNotLoadable
from awaken.domain.ids import DEFAULT_SCOPE, Ids, Route, RunId, seeded_chance
from awaken.domain.run import RunStatus
from awaken.executors.function import Context
from awaken.mailbox.settings import MailboxSettings
from awaken.mailbox.slots import Slots
from awaken.mailbox.submission import Submission
from awaken.store.transitions import Claim, Deferred, Outcome, Reclaim, Retry, Settle, Submit, Total, Transition
from awaken.testing.behaviour import behaviour
from awaken.testing.clock import ManualClock
from awaken.testing.mailboxes import Call, GatedAgent, WatchedStore, World, claim_for


def with_limited(store: WatchedStore, clock: ManualClock, *, limit: int, slots: int) -> tuple[World, GatedAgent]:
    """A world with an agent `few`, of which no more than `limit` may execute at once."""
    world, few = World(store, clock, settings=MailboxSettings(max_concurrent_runs=slots, drain_s=0)), GatedAgent()
    world.agents.add("few", few, max_concurrent=limit)
    return world, few


def at_work(agent: GatedAgent) -> list[Call]:
    return [call for call in agent.calls if not call.is_over]


# --- a room for each agent --------------------------------------------------------------------------------------------


@behaviour("RT-006")
@pytest.mark.parametrize("in_background", [False, True])
async def test_no_more_runs_of_an_agent_execute_at_once_than_its_limit_allows_and_others_are_not_held_up(
    store: WatchedStore, clock: ManualClock, in_background: bool
) -> None:
    """Whether they are claimed as they are submitted, or found in the store."""
    store.loses_signals = True
    async with store:
        world, few = with_limited(store, clock, limit=2, slots=10)
        async with World(store, clock, agents={"few": few}, executes=False, seed=2) as outsider:
            asking = outsider if in_background else world
            if not in_background:
                await world.mailbox.start()
            for number in range(6):
                await asking.submit(thread_id=f"few-{number}", agent_id="few", priority=0)
            for number in range(5):
                await asking.submit(thread_id=f"many-{number}", priority=200)
            async with world:
                assert (len(at_work(few)), len(at_work(world.agent)), world.free_slots) == (2, 5, 3)
                for done in range(6):
                    at_work(few)[0].release()
                    await world.quiet()
                    assert len(at_work(few)) == min(2, 5 - done), "a place that is free is taken at once"
                    assert clock.monotonic() == 0
                assert len(few.calls) == 6


async def test_a_place_that_a_settlement_hands_on_counts_once(store: WatchedStore, clock: ManualClock) -> None:
    world, few = with_limited(store, clock, limit=1, slots=2)
    async with world:
        first = await world.submit("one", thread_id="same", agent_id="few")
        await world.submit("two", thread_id="same", agent_id="few")
        waiting = await world.submit(thread_id="other", agent_id="few")
        store.hold(Settle)
        (await few.next_call()).release()
        await world.quiet()
        assert world.free_slots == 1
        asking = asyncio.create_task(world.submit(thread_id="third"))
        await world.quiet()
        store.let_go()
        assert (await asking).status == "running"

        await world.done(first)
        await world.quiet()
        assert len(at_work(few)) == 1
        assert (await world.dispatch(waiting)).status is DispatchStatus.QUEUED
        (await few.next_call()).release()
        assert (await few.next_call()).run_id == waiting.run.run_id


async def test_a_settlement_takes_up_what_waits_only_if_there_is_room_for_its_agent(
    store: WatchedStore, clock: ManualClock
) -> None:
    world, few = with_limited(store, clock, limit=1, slots=5)
    async with world:
        await world.submit(thread_id="elsewhere", agent_id="few")
        await world.submit("first", thread_id="same")
        second = await world.submit("second", thread_id="same", agent_id="few")
        (await world.agent.next_call()).release()
        await world.quiet()
        assert (len(few.calls), (await world.dispatch(second)).status) == (1, DispatchStatus.QUEUED)

        few.calls[0].release()
        await world.quiet()
        assert few.calls[1].run_id == second.run.run_id


async def test_room_that_was_promised_in_vain_while_a_claim_was_on_its_way_is_looked_after(
    store: WatchedStore, clock: ManualClock
) -> None:
    store.loses_signals = True
    async with store:
        world, few = with_limited(store, clock, limit=1, slots=5)
        async with world, World(store, clock, agents={"few": few}, executes=False, seed=2) as outsider:
            await world.submit(thread_id="busy")
            waits = await outsider.submit(thread_id="waits", agent_id="few")
            store.hold(Submit)
            asking = asyncio.create_task(world.submit(thread_id="busy", agent_id="few"))
            await world.quiet()
            world.agents.add("another", few)  # which is reason to look, with no room for `few` meanwhile
            await world.quiet()
            store.let_go()
            assert (await asking).status == "queued"
            await world.quiet()

            assert [call.run_id for call in few.calls] == [waits.run.run_id]
            rooms = [each.rooms.routes.get(Route("few")) for each in store.transitions if isinstance(each, Claim)]
            assert rooms[-2:] == [None, 1], "the room was promised, and then free again"


async def test_a_claim_and_a_submit_that_leave_together_do_not_take_the_same_room_twice(
    store: WatchedStore, clock: ManualClock
) -> None:
    store.loses_signals = True
    async with store:
        world, few = with_limited(store, clock, limit=1, slots=5)
        async with world, World(store, clock, agents={"few": few}, executes=False, seed=2) as outsider:
            await outsider.submit(thread_id="waits", agent_id="few")
            store.hold()
            world.agents.add("another", few)  # which is reason to look
            await world.quiet()
            asking = asyncio.create_task(world.submit(thread_id="new", agent_id="few"))
            await world.quiet()
            store.let_go()
            await asking
            await world.quiet()
            assert len(at_work(few)) == 1

            (await few.next_call()).release()
            await few.next_call()
            assert clock.monotonic() == 0


def test_an_offer_that_won_nothing_leaves_its_room_as_it_was(clock: ManualClock) -> None:
    served = {Route("few"): 1, Route("many"): None}
    slots = Slots(3, Ids(clock, seeded_chance(1)), lambda: served, dict, tuple, lease_ms=None)
    offer = slots.offer(Route("few"))
    assert offer is not None and offer.routes == {"few", "many"}
    assert (slots.free, slots.offer(Route("few")), slots.offer(Route("nobody's"))) == (2, None, None)
    assert Route("few") not in slots.rooms(0)[1].routes

    slots.answered(offer, None)
    assert (slots.free, slots.rooms(0)[1].routes[Route("few")], slots.may_have_won(offer.token)) == (3, 1, False)


# --- a limit of all processes together --------------------------------------------------------------------------------


@behaviour("RT-017")
async def test_a_limit_of_all_processes_counts_what_others_execute(store: WatchedStore, clock: ManualClock) -> None:
    """What is submitted waits for a claim, which is asked at once, by whoever hears of it."""
    shared = WatchedStore(store, exclusive=False)
    async with shared:
        worlds = [World(shared, clock, seed=seed) for seed in (1, 2)]
        agents = [GatedAgent(), GatedAgent()]
        for world, agent in zip(worlds, agents, strict=True):
            world.agents.add("few", agent, max_concurrent_total=2)
        async with worlds[0] as one, worlds[1] as other:
            for number in range(3):
                await one.submit(thread_id=f"one-{number}", agent_id="few")
                await other.submit(thread_id=f"other-{number}", agent_id="few")
            for done in range(6):
                await one.quiet()
                await other.quiet()
                calls = [call for agent in agents for call in at_work(agent)]
                assert len(calls) == min(2, 6 - done)
                calls[0].release()
            await one.quiet()


@behaviour("RT-017")
async def test_a_process_that_names_no_limit_keeps_to_the_lowest_of_the_others(
    store: WatchedStore, clock: ManualClock
) -> None:
    shared = WatchedStore(store, exclusive=False)
    async with shared:
        strict, lax = World(shared, clock), World(shared, clock, seed=2)
        few = GatedAgent()
        strict.agents.add("few", GatedAgent(), max_concurrent_total=1)
        lax.agents.add("few", few)
        async with strict as one:
            one.mailbox.drain()
            async with lax:
                for number in range(3):
                    await lax.submit(thread_id=f"t{number}", agent_id="few")
                await lax.quiet()
                assert len(at_work(few)) == 1

                await one.mailbox.stop()
                await lax.advance(5)
                assert len(at_work(few)) == 3, "who has ended limits nobody"


class Deferring(WatchedStore):
    """Puts the first settlements off, as if another process held their threads."""

    left = 2

    async def apply(self, batch: Sequence[Transition]) -> list[Outcome]:
        put_off = [isinstance(each, Settle) and self.left > 0 for each in batch]
        self.left -= sum(put_off)
        now = [each for each, later in zip(batch, put_off, strict=True) if not later]
        outcomes = iter(await super().apply(now) if now else [])
        return [Deferred() if later else next(outcomes) for later in put_off]


@behaviour("RT-017")
async def test_what_a_settlement_makes_room_for_is_claimed_although_a_claim_has_just_looked(
    store: WatchedStore, clock: ManualClock
) -> None:
    """The settlement was put off, and the claim of the slot that it left free was not."""
    world, few = World(Deferring(store), clock), GatedAgent()
    world.agents.add("few", few, max_concurrent_total=1)
    async with world:
        await world.submit(thread_id="one", agent_id="few")
        await world.submit(thread_id="two", agent_id="few")
        await world.submit(thread_id="two", agent_id="few")  # which a settlement would be offered
        for _ in range(2):
            (await few.next_call()).release()
            await world.advance(0.1)
        await few.next_call()


def test_what_all_processes_limit_is_offered_to_nobody(clock: ManualClock) -> None:
    served: dict[Route, int | None] = {Route("few"): None, Route("few@1"): None, Route("many"): None}
    said: list[dict[Route, int]] = [{Route("few"): 3}, {Route("few"): 2, Route("strange"): 1}]
    slots = Slots(
        9,
        Ids(clock, seeded_chance(1)),
        lambda: served,
        lambda: {Route("few@1"): Route("few")},
        lambda: tuple(said),
        lease_ms=None,
    )
    assert (slots.offer(Route("few")), slots.offer(Route("few@1"))) == (None, None)
    offer = slots.offer(Route("many"))
    assert offer is not None and offer.routes == {"many"}
    assert slots.rooms(1)[1].totals == {"few": Total(2, (Route("few"), Route("few@1")))}

    said.clear()
    assert slots.rooms(1)[1].totals == {}
    offer = slots.offer(Route("few"))
    assert offer is not None and offer.routes == {"few", "few@1", "many"}


# --- agents that cannot be loaded -------------------------------------------------------------------------------------


@behaviour("D-008")
async def test_the_runs_of_an_agent_that_cannot_be_loaded_wait_until_it_is_registered_again(
    store: WatchedStore, clock: ManualClock, caplog: pytest.LogCaptureFixture
) -> None:
    async def broken(context: Context) -> None:
        raise AgentNotLoadable("its file is gone")

    async def mended(context: Context) -> str:
        return "mended"

    async with World(store, clock, agents={"broken": broken}) as world:
        with caplog.at_level(logging.WARNING):
            runs = [await world.submit(thread_id=f"t{number}", agent_id="broken") for number in range(3)]
            await world.advance(120)
            runs.append(await world.submit(thread_id="t3", agent_id="broken"))
            await world.advance(120)
        for run in runs:
            dispatch = await world.dispatch(run)
            assert (dispatch.status, dispatch.attempt_count, dispatch.crash_count) == (DispatchStatus.QUEUED, 0, 0)
        logged = [record.getMessage() for record in caplog.records]
        assert len([text for text in logged if "cannot run here; its runs wait" in text]) == 1
        assert len([text for text in logged if "runs of agent 'broken' wait" in text]) == 1
        other = await world.submit(thread_id="other")
        (await world.agent.next_call()).release("not held up")
        assert (await world.done(other)).final_output == "not held up"

        world.agents.add("broken", mended)
        for run in runs:
            assert (await world.done(run)).final_output == "mended"
        await world.quiet()
        assert world.free_slots == 100


async def test_an_agent_that_is_withdrawn_holds_what_is_behind_it_in_its_thread_and_nothing_else(
    store: WatchedStore, clock: ManualClock
) -> None:
    async def broken(context: Context) -> None:
        raise AgentNotLoadable("its file is gone")

    async with World(store, clock, agents={"broken": broken}) as world:
        held = await world.submit("first", thread_id="t", agent_id="broken")
        await world.quiet()
        behind = await world.submit("second", thread_id="t")
        await world.submit("elsewhere", thread_id="elsewhere")
        await world.advance(60)

        assert [call.context.identity.thread_id for call in world.agent.calls] == ["elsewhere"]
        await world.mailbox.cancel(DEFAULT_SCOPE, held.run.run_id)
        await world.quiet()
        assert (await world.dispatch(behind)).status is DispatchStatus.CLAIMED


# --- the order among threads ------------------------------------------------------------------------------------------


@behaviour("RT-005")
async def test_every_eighth_claim_goes_by_age_so_that_urgent_work_does_not_hold_back_the_rest_for_ever(
    store: WatchedStore, clock: ManualClock
) -> None:
    async with World(store, clock, settings=MailboxSettings(max_concurrent_runs=1, drain_s=0)) as world:
        await world.submit(thread_id="running")
        oldest = await world.submit(thread_id="patient", priority=255)
        for number in range(20):
            await world.submit(thread_id=f"urgent-{number}", priority=0)
        order: list[RunId] = []
        while oldest.run.run_id not in order:
            call = await world.agent.next_call()
            order.append(call.run_id)
            call.release()

        claims = [each for each in store.transitions if isinstance(each, Claim)]
        assert [claim.by_age for claim in claims[:8]] == [False] * 7 + [True]
        assert 2 < len(order) <= 8 + 1


# --- suspects ---------------------------------------------------------------------------------------------------------


async def crashed(store: WatchedStore, clock: ManualClock, count: int, *, deaths: int = 2) -> list[Submission]:
    """So many runs, each of a thread of its own, that were executing in so many deaths of one process."""
    async with World(store, clock, executes=False, seed=9) as world:
        runs = [await world.submit(thread_id=f"suspect-{number}") for number in range(count)]
        for _ in range(deaths):
            assert len(await claim_for(store, "dying", lease_ms=1, limit=count)) == count
            clock.tick(1)
            await store.apply([Reclaim()])
        assert [(await world.dispatch(run)).crash_count for run in runs] == [deaths] * count
    return runs


@behaviour("BL-003")
@pytest.mark.parametrize("exclusive", [True, False])
async def test_suspects_begin_alone_and_each_that_ends_doubles_how_many_may_run_beside_each_other(
    store: WatchedStore, clock: ManualClock, exclusive: bool
) -> None:
    store.exclusive = exclusive
    async with store:
        await crashed(store, clock, 8)
        async with World(store, clock, settings=MailboxSettings(max_concurrent_runs=6, drain_s=0)) as world:
            innocent = await world.submit(thread_id="innocent")
            room = [1]
            assert len(at_work(world.agent)) == 1 + 1, "others run beside it"
            for _ in range(3):
                suspects = [call for call in at_work(world.agent) if call.run_id != innocent.run.run_id]
                suspects[0].release()
                await world.quiet()
                room.append(len(at_work(world.agent)) - 1)

            assert room == [1, 2, 4, 5], "never more than there are slots"
            assert world.free_slots == 0


async def test_a_suspect_that_closes_a_step_is_trusted_and_makes_room(store: WatchedStore, clock: ManualClock) -> None:
    async with store:
        runs = await crashed(store, clock, 4)
        async with World(store, clock) as world:
            call = await world.agent.next_call()
            assert len(at_work(world.agent)) == 1
            await call.context.step("one", lambda: 1)
            await call.context.step("two", lambda: 2)
            await world.quiet()

            assert len(at_work(world.agent)) == 2, "doubled once, however many steps it closes"
            dispatches = {run.run.run_id: await world.dispatch(run) for run in runs}
            assert dispatches[call.run_id].crash_count == 0


async def test_the_thread_of_a_suspect_waits_with_it_and_is_not_taken_up_by_a_submit(
    store: WatchedStore, clock: ManualClock
) -> None:
    async with store:
        runs = await crashed(store, clock, 2)
        async with World(store, clock) as world:
            await world.quiet()
            call = await world.agent.next_call()
            [waits] = [run for run in runs if run.run.run_id != call.run_id]
            behind = await world.submit("behind", thread_id=waits.run.thread_id)
            await world.advance(60)
            assert (behind.status, len(at_work(world.agent))) == ("queued", 1)

            call.release()
            await world.quiet()
            assert [each.run_id for each in at_work(world.agent)] == [waits.run.run_id]


async def test_a_suspect_that_falls_due_again_before_what_is_behind_it_began_is_found_at_once(
    store: WatchedStore, clock: ManualClock
) -> None:
    """Meanwhile its thread stood in line for the run behind it, which is no suspect."""
    async with store:
        [first] = await crashed(store, clock, 1)
        async with World(store, clock, executes=False, seed=8) as asking:
            [claimed] = await claim_for(store, "short-lived")
            await asking.submit(thread_id=first.run.thread_id)
            failed = Settle(
                scope=claimed.scope,
                thread_id=claimed.run.thread_id,
                run_id=claimed.run.run_id,
                dispatch_id=claimed.dispatch.dispatch_id,
                token=claimed.token,
                number=claimed.commit_no + 1,
                ending=Retry("busy", retry_after_ms=1_000),
            )
            await store.apply([failed])
        clock.tick(2)
        async with World(store, clock) as world:
            assert [call.run_id for call in world.agent.calls] == [first.run.run_id]


async def test_however_often_a_process_dies_no_innocent_run_is_given_up_and_a_killer_is_given_up_alone(
    store: WatchedStore, clock: ManualClock
) -> None:
    """Every process dies that executes the killer. The others are done, whatever it has cost them."""
    store.exclusive = False
    settings = MailboxSettings(
        lease_ms=1_000, renew_interval_s=0.3, stop_margin_s=0.1, drain_s=0, max_concurrent_runs=9
    )
    async with store, World(store, clock, executes=False, seed=99) as asking:
        innocents = [await asking.submit(thread_id=f"t{number}") for number in range(5)]
        killer = await asking.submit(thread_id="killer")
        deaths = 0
        while (await asking.run(killer)).status is not RunStatus.DONE:
            async with World(store, clock, settings=settings, seed=deaths) as world:
                while calls := at_work(world.agent):
                    if killer.run.run_id in [call.run_id for call in calls]:
                        store.go_down()  # nothing of this process is heard of again
                        deaths += 1
                        await world.leave()
                        break
                    for call in calls:
                        call.release()
                    await world.quiet()
            store.come_back()
            clock.tick(2)
        async with World(store, clock, settings=settings, seed=77) as world:
            while calls := at_work(world.agent):
                for call in calls:
                    call.release()
                await world.quiet()

        killed, spared = await asking.dispatch(killer), [await asking.dispatch(run) for run in innocents]
        assert (killed.status, killed.attempt_count) == (DispatchStatus.DEAD_LETTER, killed.max_attempts)
        assert {(each.status, each.attempt_count) for each in spared} <= {(DispatchStatus.ACKED, 0)}
        assert 2 + killed.max_attempts <= deaths <= 3 * killed.max_attempts
