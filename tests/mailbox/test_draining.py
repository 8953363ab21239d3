"""A drained process: what it accepts, what it does not begin, and how it goes on."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from awaken.domain.errors import TransientFailure
from awaken.domain.ids import DEFAULT_SCOPE, AgentId, MessageId
from awaken.domain.message import user_message
from awaken.domain.run import Run, RunStatus
from awaken.domain.schedule import ScheduleSpec
from awaken.domain.ticket import Verdict
from awaken.executors.function import Context
from awaken.mailbox.engine import Draining
from awaken.mailbox.settings import MailboxSettings
from awaken.store.contract import RunQuery, TicketQuery
from awaken.store.transitions import Claim, Settle, Submit, Transition
from awaken.testing.behaviour import behaviour
from awaken.testing.clock import ManualClock
from awaken.testing.mailboxes import WatchedStore, World, claim_for


async def asking(ctx: Context) -> str:
    return await ctx.ask("how many?")


async def quick(ctx: Context) -> str:
    return "well"


def starting(gate: asyncio.Event) -> Any:
    async def parent(ctx: Context) -> str:
        await gate.wait()
        await ctx.start("quick", "a child")
        return "started"

    return parent


def offers(transitions: list[Transition]) -> list[Transition]:
    """Those of them with which something could have begun here."""
    return [
        each
        for each in transitions
        if isinstance(each, Claim) or (isinstance(each, Submit | Settle) and each.offer is not None)
    ]


async def runs(world: World) -> list[Run]:
    return [*(await world.store.list_runs(DEFAULT_SCOPE, RunQuery(limit=200))).items]


@behaviour("OPS-001")
async def test_a_drained_process_offers_no_slot_whatever_happens(store: WatchedStore, clock: ManualClock) -> None:
    gate = asyncio.Event()
    agents = {"asking": asking, "quick": quick, "parent": starting(gate)}
    world = World(store, clock, agents=agents)
    nightly = ScheduleSpec(
        name="n", agent_id=AgentId("quick"), messages=(user_message(MessageId(""), "tidy"),), every_s=90
    )
    world.mailbox.schedules.declared[DEFAULT_SCOPE] = (nightly,)
    async with world:
        ends = await world.submit(thread_id="ends")
        ending = await world.agent.next_call()
        fails = await world.submit(thread_id="fails")
        failing = await world.agent.next_call()
        parent = await world.submit(agent_id="parent", thread_id="parent")
        waits = await world.submit(agent_id="asking", thread_id="waits")
        behind = await world.submit(agent_id="quick", thread_id="ends")
        later = await world.submit(agent_id="quick", thread_id="later", delay_s=60)
        await world.quiet()

        assert world.mailbox.drain() == Draining(True, 3)
        before = len(store.transitions)
        fresh = await world.submit(agent_id="quick", thread_id="fresh")
        ending.release("done")
        failing.fail(TransientFailure("busy"))
        gate.set()
        assert (await world.done(ends)).final_output == "done"
        assert (await world.done(parent)).final_output == "started"
        [ticket] = (await store.list_tickets(DEFAULT_SCOPE, TicketQuery(run_id=waits.run.run_id))).items
        await world.mailbox.decisions.decide_ticket(
            DEFAULT_SCOPE, ticket.ticket_id, Verdict(action="answer", result="5")
        )
        head = await world.submit(agent_id="quick", thread_id="cleared")
        behind_head = await world.submit(agent_id="quick", thread_id="cleared")
        await world.mailbox.cancel(DEFAULT_SCOPE, head.run.run_id)
        await world.advance(200)

        assert offers(store.transitions[before:]) == []
        waiting = [run for run in await runs(world) if run.status is not RunStatus.DONE]
        named = {run.thread_id for run in waiting}
        assert {"ends", "fails", "waits", "later", "fresh", "cleared", "schedule:n"} <= named
        assert len(named) == 8, "and the child"
        assert world.mailbox.undrain() == Draining(False, 0)
        for each in (behind, later, fresh, behind_head):
            assert (await world.done(each)).final_output == "well"
        assert (await world.done(waits)).final_output == "5"
        again = await world.agent.next_call()
        again.release("at last")
        assert (await world.done(fails)).final_output == "at last"
        await world.quiet()
        assert {run.status for run in await runs(world)} == {RunStatus.DONE}


@behaviour("OPS-001")
async def test_a_claim_that_another_process_lost_is_taken_back_and_left_alone(
    store: WatchedStore, clock: ManualClock
) -> None:
    store.exclusive = False
    async with World(store, clock) as world:
        world.mailbox.drain()
        run = await world.submit()
        [_] = await claim_for(store, "dead", lease_ms=1_000)
        before = len(store.transitions)
        await world.advance(60)
        assert (await world.dispatch(run)).why == "takeover"
        assert offers(store.transitions[before:]) == []
        world.mailbox.undrain()
        (await world.agent.next_call()).release("well")
        assert (await world.done(run)).final_output == "well"


@behaviour("OPS-001")
async def test_what_has_waited_goes_before_what_comes_when_it_is_undrained(
    store: WatchedStore, clock: ManualClock
) -> None:
    settings = MailboxSettings(drain_s=0, handover_s=0, max_concurrent_runs=1)
    async with World(store, clock, settings=settings) as world:
        world.mailbox.drain()
        old = await world.submit(thread_id="old")
        world.mailbox.undrain()
        new = await world.submit(thread_id="new")
        for run in (old, new):
            call = await world.agent.next_call()
            assert call.run_id == run.run.run_id
            call.release()


@behaviour("OPS-001")
async def test_what_was_offered_before_may_still_begin_and_is_counted(store: WatchedStore, clock: ManualClock) -> None:
    async with World(store, clock) as world:
        store.hold(Submit)
        asked = asyncio.ensure_future(world.submit())
        await world.quiet()
        assert world.mailbox.drain() == Draining(True, 1), "it may win"
        store.let_go()
        run = await asked
        (await world.agent.next_call()).release("well")
        assert (await world.done(run)).final_output == "well"
        await world.quiet()
        assert world.mailbox.drain() == Draining(True, 0)


@behaviour("OPS-001")
async def test_a_run_that_is_settled_slowly_is_counted_until_it_is(store: WatchedStore, clock: ManualClock) -> None:
    async with World(store, clock) as world:
        run = await world.submit()
        call = await world.agent.next_call()
        world.mailbox.drain()
        store.hold(Settle)
        call.release("well")
        await world.quiet()
        assert world.mailbox.drain() == Draining(True, 1)
        store.let_go()
        await world.done(run)
        await world.quiet()
        assert world.mailbox.drain() == Draining(True, 0)


@behaviour("OPS-002")
async def test_a_drain_before_the_start_holds_over_a_stop_and_a_start(store: WatchedStore, clock: ManualClock) -> None:
    world = World(store, clock, agents={"quick": quick})
    assert world.mailbox.drain() == world.mailbox.drain() == Draining(True, 0)
    async with world:
        run = await world.submit(agent_id="quick")
        await world.advance(60)
        assert (await world.run(run)).status is RunStatus.CREATED
        await world.leave()
        await world.mailbox.start()
        await world.advance(60)
        assert (await world.run(run)).status is RunStatus.CREATED
        world.mailbox.undrain()
        world.mailbox.undrain()
        assert (await world.done(run)).final_output == "well"
        assert (await world.done(await world.submit(agent_id="quick"))).final_output == "well"


@behaviour("OPS-002")
async def test_a_process_that_starts_anew_knows_of_no_drain(store: WatchedStore, clock: ManualClock) -> None:
    async with World(store, clock, agents={"quick": quick}) as first:
        first.mailbox.drain()
        run = await first.submit(agent_id="quick")
        await first.leave()
        async with World(store, clock, agents={"quick": quick}, seed=2) as second:
            assert (await second.done(run)).final_output == "well"


@behaviour("OPS-002")
async def test_a_drained_process_is_stopped_as_any_other(store: WatchedStore, clock: ManualClock) -> None:
    async with World(store, clock) as world:
        run = await world.submit()
        await world.agent.next_call()
        world.mailbox.drain()
        await world.leave()
        await world.mailbox.start()
        dispatch = await world.dispatch(run)
        assert (dispatch.status, dispatch.why, dispatch.attempt_count) == ("queued", "handover", 0)


@behaviour("OPS-003")
async def test_who_looks_is_told_that_the_process_is_drained(store: WatchedStore, clock: ManualClock) -> None:
    async with World(store, clock) as world:
        assert not world.mailbox.health().is_drained
        world.mailbox.drain()
        health = world.mailbox.health()
        assert (health.is_drained, health.state) == (True, "ready")


@behaviour("OPS-002")
@pytest.mark.parametrize("last", ["drain", "undrain"])
async def test_of_a_drain_and_an_undrain_at_once_the_later_holds(
    store: WatchedStore, clock: ManualClock, last: str
) -> None:
    async with World(store, clock, agents={"quick": quick}) as world:
        for verb in ("drain", "undrain", "drain", "undrain", last):
            getattr(world.mailbox, verb)()
        run = await world.submit(agent_id="quick")
        await world.quiet()
        assert (await world.run(run)).status is (RunStatus.CREATED if last == "drain" else RunStatus.DONE)
        world.mailbox.undrain()
        await world.done(run)
