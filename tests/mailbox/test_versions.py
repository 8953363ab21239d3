"""Agents in several versions: which one is meant, which one executes, and what becomes of what nobody executes."""

from __future__ import annotations

import asyncio
from typing import Any

import msgspec
import pytest

from awaken.domain.errors import UnknownAgent, ValidationError
from awaken.domain.ids import DEFAULT_SCOPE, AgentId, MessageId, RunId
from awaken.domain.message import user_message
from awaken.domain.run import Run, RunStatus
from awaken.domain.schedule import ScheduleSpec
from awaken.domain.ticket import Verdict
from awaken.executors.function import Context
from awaken.mailbox.settings import MailboxSettings
from awaken.mailbox.submission import Submission
from awaken.store.contract import RunQuery, TicketQuery
from awaken.testing.behaviour import behaviour
from awaken.testing.clock import ManualClock
from awaken.testing.mailboxes import GatedAgent, WatchedStore, World

HOUR_S = 3_600.0


def says(version: str) -> Any:
    """An agent that says which one it is, and with which version its run began."""

    async def agent(ctx: Context) -> str:
        return f"{version} for {ctx.identity.agent_version}"

    return agent


def asks(version: str) -> Any:
    async def agent(ctx: Context) -> str:
        answer = await ctx.ask("how many?")
        return f"{version} got {answer}"

    return agent


def world_of(store: WatchedStore, clock: ManualClock, *versions: str | None, make: Any = says, **details: Any) -> World:
    """Not entered yet; with an agent `support` in these versions, the last of which falls back if that is wanted."""
    fallback = details.pop("fallback", None)
    limit = details.pop("max_concurrent", None)
    world = World(store, clock, **details)
    for version in versions:
        last = version == versions[-1]
        world.agents.add(
            "support",
            make(version or "none"),
            version=version,
            fallback=fallback if last else None,
            max_concurrent=limit if last else None,
        )
    return world


async def output(world: World, run: Submission) -> str | None:
    return (await world.done(run)).final_output


async def answer(world: World, run: Submission) -> None:
    [ticket] = (await world.store.list_tickets(DEFAULT_SCOPE, TicketQuery(run_id=run.run.run_id))).items
    await world.mailbox.decisions.decide_ticket(
        DEFAULT_SCOPE, ticket.ticket_id, Verdict(action="answer", result="three")
    )


async def starts(world: World, run: Submission) -> list[dict[str, Any]]:
    """What the log says of each time that an execution of the run began."""
    rows = await world.store.list_events(DEFAULT_SCOPE, run.run.thread_id, after=0, limit=1_000, run_id=run.run.run_id)
    kinds = ("RunStarted", "RunResumed")
    return [msgspec.json.decode(event.payload) for row in rows for event in row.events if event.kind in kinds]


# --- which one is meant -----------------------------------------------------------------------------------------------


@behaviour("RT-010", "MBX-036")
async def test_the_name_means_the_version_registered_last_and_another_may_be_named(
    store: WatchedStore, clock: ManualClock
) -> None:
    async with world_of(store, clock, "3", "1", "2") as world:
        newest, named = await world.submit(agent_id="support"), await world.submit(agent_id="support@3")

        assert (newest.run.agent_id, newest.run.agent_version, newest.run.route) == ("support", "2", "support@2")
        assert (named.run.agent_id, named.run.agent_version) == ("support", "3")
        assert [await output(world, newest), await output(world, named)] == ["2 for 2", "3 for 3"]
        unnamed = await world.submit(agent_id=None)
        assert unnamed.run.agent_version == "2", "the last agent of the thread, in its newest version"
        assert [each["agent_version"] for each in await starts(world, named)] == ["3"]


@behaviour("RT-010")
async def test_an_agent_without_versions_is_what_it_was(store: WatchedStore, clock: ManualClock) -> None:
    async with world_of(store, clock, None) as world:
        run = await world.submit(agent_id="support")
        assert (run.run.route, await output(world, run)) == ("support", "none for None")
        [start] = await starts(world, run)
        assert not start.keys() & {"agent_version", "stand_in"}


@behaviour("RT-011", "MBX-045")
async def test_a_version_that_is_not_here_is_refused_naming_those_that_are(
    store: WatchedStore, clock: ManualClock
) -> None:
    async with world_of(store, clock, "1", "2", fallback="latest") as world:
        for asked in ("support@3", "support@", "support@2@1", "other@1"):
            with pytest.raises(UnknownAgent) as refused:
                await world.submit(agent_id=asked)
            known = ("gated", "support") if asked == "other@1" else ("support@1", "support@2")
            assert refused.value.known == known


@behaviour("RT-010", "MBX-035")
async def test_what_is_asked_again_is_recognised_whatever_is_the_newest_by_then(
    store: WatchedStore, clock: ManualClock
) -> None:
    async with world_of(store, clock, "1") as world:
        first = await world.submit("hello", agent_id="support", run_id="r")
        world.agents.add("support", says("2"), version="2")
        again = await world.submit("hello", agent_id="support", run_id="r")
        assert (again.run.run_id, again.replayed, again.run.agent_version) == (first.run.run_id, True, "1")


# --- which one executes -----------------------------------------------------------------------------------------------


@behaviour("RT-012")
async def test_a_run_that_waits_goes_on_with_its_version_beside_a_newer_one(
    store: WatchedStore, clock: ManualClock
) -> None:
    async with store:
        async with world_of(store, clock, "1", make=asks) as world:
            old = await world.submit(agent_id="support")
            await world.quiet()
            assert (await world.run(old)).status is RunStatus.WAITING
        async with world_of(store, clock, "1", "2", make=asks, seed=2) as world:
            new = await world.submit(agent_id="support", thread_id="new")
            await world.quiet()
            await answer(world, old)
            await answer(world, new)
            assert [await output(world, old), await output(world, new)] == ["1 got three", "2 got three"]


@behaviour("RT-013")
async def test_a_run_whose_version_has_gone_waits_and_everybody_says_so(
    store: WatchedStore, clock: ManualClock, caplog: pytest.LogCaptureFixture
) -> None:
    async with store:
        async with world_of(store, clock, "1", make=asks) as world:
            run = await world.submit(agent_id="support")
            await world.quiet()
        async with world_of(store, clock, "2", make=asks, seed=2) as world:
            await answer(world, run)
            await world.advance(60)

            found = await world.mailbox.explain(DEFAULT_SCOPE, run.run.run_id)
            assert (found.code, found.next_at) == ("unserved", None)
            assert "no agent 'support@1' is registered" in found.summary and "fallback" in found.next_action
            assert world.mailbox.health().unserved == ("support@1",)
            assert "runs of agent 'support@1' wait" in caplog.text

            world.agents.add("support", asks("1"), version="1")
            assert await output(world, run) == "1 got three"
            await world.advance(60)
            assert world.mailbox.health().unserved == ()


@behaviour("RT-014")
async def test_the_newest_executes_older_versions_where_it_falls_back_and_the_log_says_so(
    store: WatchedStore, clock: ManualClock
) -> None:
    async with store:
        async with world_of(store, clock, "1", make=asks) as world:
            run = await world.submit(agent_id="support")
            await world.quiet()
            behind = await world.submit("next", agent_id="support", delay_s=1)
        async with world_of(store, clock, "2", make=asks, fallback="latest", seed=2) as world:
            await answer(world, run)
            await world.advance(1)

            done = await world.run(run)
            assert (done.final_output, done.agent_version) == ("2 got three", "1")
            assert [each.get("stand_in") for each in await starts(world, run)] == [None, "support@2"]
            assert [each["agent_version"] for each in await starts(world, run)] == ["1", "1"]
            assert [each.get("stand_in") for each in await starts(world, behind)] == ["support@2"]
            assert world.mailbox.health().unserved == ()


@behaviour("RT-014")
@pytest.mark.parametrize(("stored", "newest"), [("2", "1"), ("v1.10", "v1.9"), ("2026-05-02", "2026-05-01")])
async def test_a_version_that_is_plainly_newer_is_left_to_who_has_it(
    store: WatchedStore, clock: ManualClock, stored: str, newest: str
) -> None:
    """While a new version is rolled out, or after it was rolled back."""
    async with store:
        async with world_of(store, clock, stored, executes=False) as world:
            run = await world.submit(agent_id="support")
        async with world_of(store, clock, newest, fallback="latest", seed=2) as world:
            await world.advance(60)
            assert (await world.run(run)).status is RunStatus.CREATED
            assert world.mailbox.health().unserved == (f"support@{stored}",)


@behaviour("RT-014")
async def test_versions_that_are_no_numbers_count_as_older(store: WatchedStore, clock: ManualClock) -> None:
    async with store:
        async with world_of(store, clock, "c0ffee", executes=False) as world:
            run = await world.submit(agent_id="support")
        async with world_of(store, clock, "beef", fallback="latest", seed=2) as world:
            await world.quiet()
            assert await output(world, run) == "beef for c0ffee"


@behaviour("RT-014")
async def test_an_old_version_behind_others_of_its_thread_is_found_without_waiting_for_a_poll(
    store: WatchedStore, clock: ManualClock
) -> None:
    async with store:
        async with world_of(store, clock, "1", executes=False) as asking:
            await asking.submit("first", agent_id="gated")
            behind = await asking.submit("second", agent_id="support")
        async with world_of(store, clock, "2", fallback="latest", seed=2) as world:
            await world.advance(45)
            (await world.agent.next_call()).release()
            await world.advance(1)
            assert (await world.run(behind)).final_output == "2 for 1"


@behaviour("RT-012")
async def test_runs_from_before_there_were_versions_go_on_with_the_newest(
    store: WatchedStore, clock: ManualClock
) -> None:
    async with store:
        async with world_of(store, clock, None, make=asks) as world:
            run = await world.submit(agent_id="support")
            await world.quiet()
        async with world_of(store, clock, "1", "2", make=asks, seed=2) as world:
            await answer(world, run)
            assert await output(world, run) == "2 got three"
            assert (await starts(world, run))[-1]["stand_in"] == "support@2"


@behaviour("RT-012")
async def test_input_for_a_run_is_held_to_the_schema_of_its_version(store: WatchedStore, clock: ManualClock) -> None:
    async with World(store, clock) as world:
        world.agents.add("support", asks("1"), version="1")
        run = await world.submit("hello", agent_id="support")
        await world.quiet()
        world.agents.add("support", asks("2"), version="2", input_schema={"type": "object"})
        with pytest.raises(ValidationError):
            await world.submit("in words", agent_id="support", thread_id="other")

        more = await world.submit("in words", agent_id=None, target_run_id=run.run.run_id)

        assert more.run.run_id == run.run.run_id


# --- whatever else begins runs ----------------------------------------------------------------------------------------


@behaviour("RT-010")
async def test_a_schedule_means_the_newest_when_it_begins_unless_it_names_another(
    store: WatchedStore, clock: ManualClock
) -> None:
    async with world_of(store, clock, "1") as world:
        for name, agent in {"any": "support", "one": "support@1"}.items():
            spec = ScheduleSpec(
                name=name, agent_id=AgentId(agent), every_s=60, messages=(user_message(MessageId(""), "tidy"),)
            )
            await world.mailbox.schedules.make(DEFAULT_SCOPE, spec)
        world.agents.add("support", says("2"), version="2")
        await world.advance(61)

        found = {}
        for name in ("any", "one"):
            schedule = await world.mailbox.schedules.get(DEFAULT_SCOPE, name)
            assert schedule.last_run_id is not None
            found[name] = (await world.run(RunId(schedule.last_run_id))).final_output
        assert found == {"any": "2 for 2", "one": "1 for 1"}


@behaviour("RT-010")
async def test_what_agents_start_and_how_they_are_told_of_it_mean_the_newest(
    store: WatchedStore, clock: ManualClock
) -> None:
    async def lead(ctx: Context) -> str:
        if (await ctx.input()).startswith("go"):
            await ctx.start("gated", "look")
            await ctx.start("support@1", "help", name="help")
        return f"led by {ctx.identity.agent_version}"

    async with world_of(store, clock, "1", "2") as world:
        world.agents.add("lead", lead, version="a")
        run = await world.submit("go", agent_id="lead")
        await world.done(run)
        call = await world.agent.next_call()
        world.agents.add("lead", lead, version="b")
        call.release("seen")
        await world.quiet()

        found = (await world.store.list_runs(DEFAULT_SCOPE, RunQuery(limit=200))).items
        runs: dict[str, Run] = {each.agent_id: each for each in found}
        assert runs["support"].final_output == "1 for 1"
        assert (runs["lead"].final_output, runs["lead"].run_id != run.run.run_id) == ("led by b", True)


# --- rooms and pauses -------------------------------------------------------------------------------------------------


@behaviour("RT-015")
async def test_versions_have_limits_of_their_own_and_those_that_one_executes_share_its(
    store: WatchedStore, clock: ManualClock
) -> None:
    gated = GatedAgent()
    async with store:
        async with world_of(store, clock, "1", executes=False) as asking:
            old = [await asking.submit(agent_id="support", thread_id=f"old-{n}") for n in range(2)]

        def make(version: str) -> GatedAgent:
            return gated

        world = world_of(store, clock, "2", make=make, fallback="latest", max_concurrent=2, seed=2)
        world.agents.pause("support")
        async with world:
            new = [await world.submit(agent_id="support", thread_id=f"new-{n}") for n in range(2)]
            await world.advance(60)
            assert gated.calls == []
            world.agents.resume("support")
            await world.advance(60)

            assert len(gated.calls) == 2
            found = await world.mailbox.explain(DEFAULT_SCOPE, new[0].run.run_id)
            assert (found.code, len(found.blocked_by)) == ("agent_at_limit", 2)
            for _ in range(4):
                (await gated.next_call()).release()
                await world.quiet()
                assert len([call for call in gated.calls if not call.is_over]) <= 2
            for run in (*old, *new):
                await world.done(run)


@behaviour("RT-015", "AP-001")
async def test_a_pause_of_the_name_is_of_all_versions_and_one_of_a_version_of_that_alone(
    store: WatchedStore, clock: ManualClock
) -> None:
    async with world_of(store, clock, "1", "2") as world:
        agents = world.mailbox.agents
        agents.pause("support@1")
        one, two = [await world.submit(agent_id=f"support@{n}", thread_id=f"{n}") for n in (1, 2)]
        assert await output(world, two) == "2 for 2"
        assert (await world.mailbox.explain(DEFAULT_SCOPE, one.run.run_id)).code == "agent_paused"
        info = agents.described("support")
        assert (info.paused, [each.paused for each in info.versions]) == (False, [True, False])

        agents.pause("support")
        three = await world.submit(agent_id="support", thread_id="3")
        await world.advance(60)
        assert world.mailbox.health().paused == ("support", "support@1")
        assert (await world.run(three)).status is RunStatus.CREATED and world.mailbox.health().unserved == ()

        agents.resume("support")
        assert [await output(world, one), await output(world, three)] == ["1 for 1", "2 for 2"]


@behaviour("RT-007")
async def test_a_version_that_cannot_be_loaded_holds_up_no_other(store: WatchedStore, clock: ManualClock) -> None:
    async with World(store, clock) as world:
        world.agents.add("support", says("1"), version="1")
        world.agents.add("support", "no.such.module:agent", version="2")
        withdrawn = asyncio.Event()
        world.agents.on_change(withdrawn.set)
        broken = await world.submit(agent_id="support", thread_id="a")
        await withdrawn.wait()  # it is imported in a thread
        await world.advance(31)
        assert await output(world, await world.submit(agent_id="support@1", thread_id="b")) == "1 for 1"
        assert world.mailbox.health().not_loadable == ("support@2",)
        assert (await world.mailbox.explain(DEFAULT_SCOPE, broken.run.run_id)).code == "not_loadable"

        world.agents.add("support", says("mended"), version="2")
        assert await output(world, broken) == "mended for 2"


# --- what nobody executes for long ------------------------------------------------------------------------------------


GIVES_UP = MailboxSettings(drain_s=0, handover_s=0, unserved_after_s=HOUR_S)


async def left_over(store: WatchedStore, clock: ManualClock, **details: Any) -> Submission:
    """A run of a version that nobody will have."""
    async with world_of(store, clock, "1", executes=False) as world:
        return await world.submit(agent_id="support", **details)


@behaviour("RT-016")
async def test_what_nobody_serves_for_so_long_becomes_a_dead_letter_and_why_says_when(
    store: WatchedStore, clock: ManualClock, caplog: pytest.LogCaptureFixture
) -> None:
    async with store:
        run = await left_over(store, clock)
        async with world_of(store, clock, "2", settings=GIVES_UP, seed=2) as world:
            behind = await world.submit("next", agent_id="support")
            await world.advance(HOUR_S - 1)
            found = await world.mailbox.explain(DEFAULT_SCOPE, run.run.run_id)
            assert (found.code, found.next_at) == ("unserved", clock.now() + 1_000)
            assert "given up in 1 s" in found.summary

            await world.advance(1)

            given_up = await world.run(run)
            assert (given_up.dead_lettered, given_up.error_class) == (True, "Unserved")
            assert (await world.dispatch(run)).last_error == "nobody could run agent 'support@1' for 3600 s"
            assert "is given up: nobody could run agent 'support@1'" in caplog.text
            assert (await world.run(behind)).final_output == "2 for 2"

            again = await world.mailbox.again.retry(DEFAULT_SCOPE, run.run.run_id)
            assert (again.run.agent_version, await output(world, again)) == ("2", "2 for 2")


@behaviour("RT-016")
async def test_what_was_overdue_when_a_process_starts_is_left_alone_for_a_minute(
    store: WatchedStore, clock: ManualClock
) -> None:
    """An agent that is missing by mistake can be registered."""
    async with store:
        run = await left_over(store, clock)
        clock.tick(100 * HOUR_S)
        async with world_of(store, clock, "2", settings=GIVES_UP, seed=2) as world:
            await world.advance(59)
            found = await world.mailbox.explain(DEFAULT_SCOPE, run.run.run_id)
            assert "given up soon" in found.summary and (await world.run(run)).status is RunStatus.CREATED
            await world.advance(1)
            assert (await world.run(run)).dead_lettered


@behaviour("RT-016")
async def test_nothing_is_given_up_unasked_nor_while_it_is_paused_or_served(
    store: WatchedStore, clock: ManualClock
) -> None:
    async with store:
        run = await left_over(store, clock)
        async with world_of(store, clock, "2", seed=2) as world:
            await world.advance(1_000)
            assert (await world.run(run)).status is RunStatus.CREATED
        async with world_of(store, clock, "1", settings=GIVES_UP, seed=3) as world:
            world.agents.pause("support")
            paused = await world.submit(agent_id="support", thread_id="paused")
            await world.advance(2 * HOUR_S)
            assert (await world.run(paused)).status is RunStatus.CREATED
            world.agents.resume("support")
            assert await output(world, paused) == "1 for 1"


def test_how_long_is_a_length_of_time() -> None:
    for given in (0, -1, "1", float("nan")):
        with pytest.raises(ValidationError):
            MailboxSettings(unserved_after_s=given)  # type: ignore[arg-type]


# --- several processes ------------------------------------------------------------------------------------------------


@behaviour("RT-014", "RT-016")
@pytest.mark.parametrize("fallback", [None, "latest"])
async def test_what_another_process_has_is_left_to_it_while_it_lives(
    store: WatchedStore, clock: ManualClock, fallback: Any
) -> None:
    shared = WatchedStore(store, exclusive=False)
    gives_up = MailboxSettings(drain_s=0, handover_s=0, unserved_after_s=60)
    one_slot = MailboxSettings(drain_s=0, handover_s=0, max_concurrent_runs=1)
    async with (
        shared,
        world_of(shared, clock, "beef", settings=gives_up, fallback=fallback, seed=2) as old,
        world_of(shared, clock, "c0ffee", settings=one_slot, seed=3) as new,
    ):
        await old.advance(10)
        await new.submit(thread_id="full")
        run = await new.submit(agent_id="support")
        await old.advance(300)
        assert (await old.run(run)).status is RunStatus.CREATED, "who has it is busy"

        await new.leave()
        await old.advance(60)

        ended = await old.run(run)
        assert (ended.final_output, ended.dead_lettered) == (("beef for c0ffee", False) if fallback else (None, True))


@behaviour("RT-016")
async def test_what_another_process_has_paused_is_not_given_up(store: WatchedStore, clock: ManualClock) -> None:
    """It has the agent, and was told to wait; nor does anybody stand in for it."""
    shared = WatchedStore(store, exclusive=False)
    gives_up = MailboxSettings(drain_s=0, handover_s=0, unserved_after_s=60)
    async with (
        shared,
        world_of(shared, clock, "beef", settings=gives_up, fallback="latest", seed=2) as old,
        world_of(shared, clock, "c0ffee", seed=3) as new,
    ):
        new.agents.pause("support")
        await old.advance(10)
        run = await new.submit(agent_id="support")
        await old.advance(300)
        assert (await old.run(run)).status is RunStatus.CREATED

        new.agents.resume("support")
        assert (await new.done(run)).final_output == "c0ffee for c0ffee"
