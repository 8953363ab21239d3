"""Agents that are paused: what waits meanwhile, and what does not."""

from __future__ import annotations

import pytest

from awaken.domain.errors import AgentNotFound
from awaken.domain.ids import DEFAULT_SCOPE
from awaken.domain.run import RunStatus
from awaken.executors.function import Context
from awaken.mailbox.settings import MailboxSettings
from awaken.testing.behaviour import behaviour
from awaken.testing.clock import ManualClock
from awaken.testing.mailboxes import GatedAgent, WatchedStore, World


async def other(ctx: Context) -> str:
    return "well"


@behaviour("AP-001")
async def test_runs_of_a_paused_agent_are_accepted_and_wait_and_others_do_not(
    store: WatchedStore, clock: ManualClock
) -> None:
    gated = GatedAgent()
    async with World(store, clock, agents={"gated": gated, "other": other}) as world:
        agents = world.mailbox.agents
        executing = await world.submit("first", agent_id="gated", thread_id="a")
        call = await gated.next_call()
        behind = await world.submit("second", agent_id="gated", thread_id="a")

        agents.pause("gated")
        agents.pause("gated")
        elsewhere = await world.submit("third", agent_id="gated", thread_id="b")
        assert (await world.done(await world.submit(agent_id="other", thread_id="c"))).final_output == "well"
        call.release("done")

        assert (await world.done(executing)).final_output == "done", "what executes goes on"
        await world.advance(120)
        for waits in (behind, elsewhere):
            assert (await world.run(waits)).status is RunStatus.CREATED
        assert len(gated.calls) == 1

        agents.resume("gated")
        agents.resume("gated")
        for _ in range(2):
            (await gated.next_call()).release("later")
        assert (await world.done(behind)).final_output == (await world.done(elsewhere)).final_output == "later"


@behaviour("AP-001")
async def test_what_has_waited_goes_before_what_comes_when_its_agent_is_resumed(
    store: WatchedStore, clock: ManualClock
) -> None:
    settings = MailboxSettings(drain_s=0, handover_s=0, max_concurrent_runs=1)
    async with World(store, clock, settings=settings) as world:
        world.mailbox.agents.pause("gated")
        old = await world.submit(thread_id="old")
        world.mailbox.agents.resume("gated")
        new = await world.submit(thread_id="new")
        for run in (old, new):
            call = await world.agent.next_call()
            assert call.run_id == run.run.run_id
            call.release()


@behaviour("AP-001")
async def test_a_paused_agent_holds_what_is_behind_its_run_in_the_thread(
    store: WatchedStore, clock: ManualClock
) -> None:
    async with World(store, clock, agents={"gated": GatedAgent(), "other": other}) as world:
        world.mailbox.agents.pause("gated")
        head = await world.submit("first", agent_id="gated")
        behind = await world.submit("second", agent_id="other")
        await world.advance(60)
        assert {(await world.run(each)).status for each in (head, behind)} == {RunStatus.CREATED}

        await world.mailbox.cancel(DEFAULT_SCOPE, head.run.run_id)
        assert (await world.done(behind)).final_output == "well"


@behaviour("AP-002")
async def test_who_looks_is_told_what_is_paused_and_not_that_nobody_serves_it(
    store: WatchedStore, clock: ManualClock
) -> None:
    async with World(store, clock, agents={"gated": GatedAgent(), "other": other}) as world:
        agents = world.mailbox.agents
        agents.pause("gated")
        await world.submit(agent_id="gated")
        await world.advance(60)

        health = world.mailbox.health()
        assert (health.paused, health.unserved, health.not_loadable) == (("gated",), (), ())
        assert [(info.agent_id, info.paused) for info in agents.describe()][-2:] == [("gated", True), ("other", False)]
        with pytest.raises(AgentNotFound):
            agents.pause("nobody")
        with pytest.raises(AgentNotFound):
            agents.resume("nobody")
