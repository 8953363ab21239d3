"""Why a run is where it is: the true reason is named, and another one when that is gone."""

from __future__ import annotations

import asyncio
import inspect
import re
import sqlite3
from collections.abc import AsyncGenerator, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any, get_args

import pytest
from msgspec.structs import replace

from awaken.domain.dispatch import Dispatch
from awaken.domain.errors import AgentNotLoadable, PermanentFailure, RunNotFound, StoreUnavailable, TransientFailure
from awaken.domain.ids import DEFAULT_SCOPE, AgentId, ConsumerId, DispatchId, MessageId, Route, RunId, Scope
from awaken.domain.message import user_message
from awaken.domain.phase import phase_of
from awaken.domain.run import Run, RunStatus, Termination
from awaken.domain.schedule import ScheduleSpec
from awaken.domain.ticket import Verdict
from awaken.executors.contract import RunEnds
from awaken.executors.function import Context
from awaken.executors.registry import LazyAgent
from awaken.mailbox.settings import MailboxSettings
from awaken.mailbox.submission import Submission
from awaken.mailbox.why import Explanation, WhyCode
from awaken.store.contract import RunQuery, TicketQuery
from awaken.store.invariants import BY_NAME
from awaken.store.sqlite import SqliteStore
from awaken.store.transitions import Claim, Outcome, Reclaim, Settle, Submit, Suspend, Transition
from awaken.testing.behaviour import behaviour
from awaken.testing.clock import ManualClock, settle
from awaken.testing.mailboxes import WatchedStore, World, claim_for

ROUND_S = 30 * 40
"""More than a round of the audit takes in a small file."""
PATIENT = MailboxSettings(drain_s=0, handover_s=0, tidy_s=3)


def one_slot() -> MailboxSettings:
    return MailboxSettings(drain_s=0, handover_s=0, max_concurrent_runs=1)


async def why(
    world: World, run: Submission | Run, code: WhyCode, *says: str, behind: Sequence[str] = (), next_in_s: float | None
) -> Explanation:
    """The explanation of a run, which has that code, says all that, and names what is in the way and when it goes."""
    run_id = run.run.run_id if isinstance(run, Submission) else run.run_id
    found = await world.mailbox.explain(DEFAULT_SCOPE, run_id)
    assert found.code == code, found.summary
    text = f"{found.summary} {found.next_action}"
    assert [each for each in says if each not in text] == [], text
    assert [each.id for each in found.blocked_by] == [*behind], text
    left = None if found.next_at is None else (found.next_at - world.clock.now()) / 1000
    assert left == next_in_s, text
    run = await world.run(run_id)
    assert found.facts["run_id"] == run_id and found.facts["thread_id"] == run.thread_id
    assert found.facts["phase"] == phase_of(run, await world.store.load_dispatch(DEFAULT_SCOPE, run.dispatch_id))
    return found


class Deaf:
    """An agent that ignores being asked to stop until it may end."""

    def __init__(self) -> None:
        self.may_end = asyncio.Event()

    async def __call__(self, ctx: Context) -> None:
        while not self.may_end.is_set():
            try:
                await self.may_end.wait()
            except asyncio.CancelledError:
                continue


def test_what_is_to_be_done_names_nothing_that_is_still_to_be_looked_up() -> None:
    """It is a command that can be copied."""
    source = Path(inspect.getfile(Explanation)).read_text(encoding="utf-8")
    assert re.findall(r"`awaken (?:retry|decide|send|tail|cancel|agents resume|dead \w+)`", source) == []
    placeholders = [each for each in re.findall(r"`awaken [^`]*`", source) if re.search(r" [A-Z]+`", each)]
    assert placeholders == ["`awaken dead discard {run.dispatch_id} --reason TEXT`", "`awaken send {run_id} TEXT`"]


@behaviour("SRV-047")
def test_every_code_is_met_where_it_is_true() -> None:
    source = Path(__file__).read_text(encoding="utf-8")
    met = re.findall(r'why\(\s*world,\s*[^,]+,\s*"(\w+)"', source)
    assert {*get_args(WhyCode)} - {*met} == set()


@pytest.fixture
async def deaf() -> AsyncGenerator[Deaf]:
    """It ends with the test, however that goes."""
    agent = Deaf()
    yield agent
    agent.may_end.set()
    await settle()


async def crashed(store: WatchedStore, clock: ManualClock, count: int) -> list[Submission]:
    """So many runs, each of a thread of its own, that were executing in two deaths of one process."""
    async with World(store, clock, executes=False, seed=9) as world:
        runs = [await world.submit(thread_id=f"suspect-{number}") for number in range(count)]
        for _ in range(2):
            await claim_for(store, "dying", lease_ms=1, limit=count)
            clock.tick(1)
            await store.apply([Reclaim()])
    return runs


# --- queued -----------------------------------------------------------------------------------------------------------


async def test_behind_a_run_that_executes(store: WatchedStore, clock: ManualClock) -> None:
    async with World(store, clock) as world:
        first, second = await world.submit(), await world.submit()
        await world.advance(90)
        ahead = first.run.run_id
        says = (
            f"It has waited 1 min 30 s behind run {ahead}, which its thread executes.",
            "That run: It has been executing here",
        )
        found = await why(world, second, "behind_run", *says, behind=[ahead], next_in_s=None)
        assert (found.facts["ahead_code"], found.facts["queue_position"], found.facts["for_s"]) == ("executing", 1, 90)

        (await world.agent.next_call()).release()
        await world.agent.next_call()
        await why(world, second, "executing", "agent 'gated' is at work", next_in_s=None)
        await why(world, first, "completed", "It was completed 0 s ago", next_in_s=None)


async def test_behind_a_run_and_others_that_are_queued(store: WatchedStore, clock: ManualClock) -> None:
    async with World(store, clock) as world:
        runs = [await world.submit() for _ in range(3)]
        urgent = await world.submit(priority=1)
        behind = [each.run.run_id for each in (runs[0], urgent, runs[1])]
        found = await why(world, runs[2], "behind_run", ", and 2 queued runs", behind=behind, next_in_s=None)
        assert found.facts["queue_position"] == 3


async def test_behind_a_queued_run_whose_own_reason_is_told(store: WatchedStore, clock: ManualClock) -> None:
    async with World(store, clock) as world:
        first = await world.submit(delay_s=5)
        second = await world.submit(priority=200)
        await world.agent.next_call()
        assert (await world.run(second)).status is RunStatus.RUNNING, "what is not due holds back nobody"
        await why(
            world,
            first,
            "delayed",
            "in 5 s",
            f"starts when run {second.run.run_id}, which its thread executes, has ended",
            behind=[second.run.run_id],
            next_in_s=5,
        )
        third = await world.submit(priority=255)
        await world.advance(5)
        await why(world, first, "behind_run", behind=[second.run.run_id], next_in_s=None)
        behind = [second.run.run_id, first.run.run_id]
        await why(world, third, "behind_run", ", and 1 queued run.", behind=behind, next_in_s=None)


async def test_behind_the_head_of_a_thread_that_nobody_here_can_run(store: WatchedStore, clock: ManualClock) -> None:
    async with store:
        async with World(store, clock, agents={"gone": Deaf()}, executes=False, seed=9) as other:
            head = await other.submit(agent_id="gone")
        async with World(store, clock) as world:
            behind = await world.submit()
            ahead = head.run.run_id
            says = (
                f"behind run {ahead}, which is queued ahead of it",
                "That run: It has been due for 0 s, and nobody here",
            )
            await why(world, behind, "behind_queued", *says, behind=[ahead], next_in_s=None)
            await why(
                world,
                head,
                "unserved",
                "no agent 'gone' is registered",
                "register an agent of that name",
                behind=["gone"],
                next_in_s=None,
            )
            await world.mailbox.cancel(DEFAULT_SCOPE, head.run.run_id)
            await world.agent.next_call()
            await why(world, behind, "executing", next_in_s=None)


@behaviour("WHY-002")
@pytest.mark.parametrize("barrier", [False, True])
async def test_a_message_for_the_run_ahead_goes_first_where_that_does_not_take_it(
    store: WatchedStore, clock: ManualClock, barrier: bool
) -> None:
    """Nothing that waits for another run holds up a queued one, and no barrier does, until it is left by that run."""
    async with World(store, clock) as world:
        first = await world.submit()
        call = await world.agent.next_call()
        told = await world.submit("by the way", mode="steer", barrier=barrier)
        assert told.run.run_id == first.run.run_id
        second = await world.submit()
        await world.submit("later than that", mode="steer", barrier=barrier)
        says = "1 message that came before it", "will go first where that run does not take them"
        found = await why(world, second, "behind_run", *says, behind=[first.run.run_id], next_in_s=None)
        assert (found.facts["pending_ahead"], found.facts["ahead"]) == (1, 0)

        call.release()
        left = await world.agent.next_call()
        assert left.run_id not in (first.run.run_id, second.run.run_id)
        found = await why(world, second, "behind_run", behind=[left.run_id], next_in_s=None)
        assert "pending_ahead" not in found.facts
        left.release()
        await world.agent.next_call()
        await why(world, second, "executing", next_in_s=None)


async def test_paused(store: WatchedStore, clock: ManualClock) -> None:
    async with World(store, clock) as world:
        [agent] = world.mailbox.agents.ids()
        world.mailbox.agents.pause(agent)
        run = await world.submit()
        await why(world, run, "agent_paused", "is paused here", "resume the agent", behind=[agent], next_in_s=None)
        world.mailbox.agents.resume(agent)
        await world.agent.next_call()
        await why(world, run, "executing", next_in_s=None)


async def test_drained(store: WatchedStore, clock: ManualClock) -> None:
    async with World(store, clock) as world:
        world.mailbox.drain()
        run = await world.submit()
        await world.advance(60)
        await why(world, run, "drained", "this process is drained", "`awaken undrain`", next_in_s=None)
        world.mailbox.undrain()
        await world.agent.next_call()
        await why(world, run, "executing", next_in_s=None)


async def test_delayed(store: WatchedStore, clock: ManualClock) -> None:
    async with World(store, clock) as world:
        run = await world.submit(delay_s=7_200)
        await why(world, run, "delayed", "It was asked for not before", "in 2 h", next_in_s=7_200)
        await world.advance(7_200)
        await why(world, run, "executing", next_in_s=None)


async def test_in_back_off(store: WatchedStore, clock: ManualClock) -> None:
    async with World(store, clock) as world:
        run = await world.submit()
        (await world.agent.next_call()).fail(TransientFailure("the model is busy"))
        await world.quiet()
        left = ((await world.dispatch(run)).available_at - clock.now()) / 1000
        assert left > 0
        await why(world, run, "in_back_off", "Attempt 1 of 5 failed", "the model is busy", next_in_s=left)
        await world.advance(left)
        await why(world, run, "executing", next_in_s=None)


async def test_an_agent_that_cannot_be_loaded(store: WatchedStore, clock: ManualClock) -> None:
    def missing() -> Any:
        raise AgentNotLoadable("no module named 'lost'")

    withdrawn = asyncio.Event()
    async with World(store, clock, agents={"lazy": LazyAgent(missing)}) as world:
        world.agents.on_change(withdrawn.set)
        run = await world.submit(agent_id="lazy")
        await withdrawn.wait()
        await world.quiet()
        says = "agent 'lazy' cannot be loaded here", "no module named 'lost'"
        await why(world, run, "not_loadable", *says, behind=["lazy"], next_in_s=None)
        world.agents.add("lazy", world.agent)
        await world.agent.next_call()
        await why(world, run, "executing", next_in_s=None)


async def test_its_agent_is_at_its_limit(store: WatchedStore, clock: ManualClock) -> None:
    async with World(store, clock) as world:
        world.agents.add("scarce", world.agent, max_concurrent=1)
        first = await world.submit(agent_id="scarce", thread_id="one")
        second = await world.submit(agent_id="scarce", thread_id="two")
        await world.submit(thread_id="three")
        says = "agent 'scarce' executes 1 of the 1 run that", "raise max_concurrent of the agent"
        await why(world, second, "agent_at_limit", *says, behind=[first.run.run_id], next_in_s=None)
        (await world.agent.next_call()).release()
        await world.done(first)
        await world.quiet()
        await why(world, second, "executing", next_in_s=None)


async def test_all_slots_are_taken(store: WatchedStore, clock: ManualClock) -> None:
    async with World(store, clock, settings=one_slot()) as world:
        first, second = await world.submit(thread_id="one"), await world.submit(thread_id="two")
        says = "executes as many runs as it may at once, 1", "raise max_concurrent_runs"
        await why(world, second, "no_free_slot", *says, behind=[first.run.run_id], next_in_s=None)
        (await world.agent.next_call()).release()
        await world.agent.next_call()
        await why(world, second, "executing", next_in_s=None)


async def test_a_suspect_waits_for_the_room_of_suspects_and_not_for_a_slot(
    store: WatchedStore, clock: ManualClock
) -> None:
    async with store:
        runs = await crashed(store, clock, 2)
        async with World(store, clock) as world:
            call = await world.agent.next_call()
            [waits] = [run for run in runs if run.run.run_id != call.run_id]
            says = "its process died 2 times", "1 suspect of at most 1 execute"
            await why(world, waits, "suspect", *says, behind=[call.run_id], next_in_s=None)
            call.release()
            await world.agent.next_call()
            await why(world, waits, "executing", next_in_s=None)


async def test_a_process_that_executes_nothing(store: WatchedStore, clock: ManualClock) -> None:
    async with World(store, clock, executes=False) as world:
        await why(world, await world.submit(), "not_executing_here", "accepts runs and executes none", next_in_s=None)


async def test_who_executes_nothing_says_whether_anybody_who_lives_could(
    store: WatchedStore, clock: ManualClock
) -> None:
    shared = WatchedStore(store, exclusive=False)
    async with World(shared, clock, executes=False) as world:
        run = await world.submit()
        await why(
            world,
            run,
            "unserved",
            "no process that is known to live can run agent 'gated'",
            behind=["gated"],
            next_in_s=None,
        )

        minted = world.mailbox.ids.consumer_id()
        worker = replace(world.mailbox.worker(), consumer_id=minted, role="worker", paused=(Route("gated"),))
        await shared.beat(worker)
        await world.advance(5)
        said = "agent 'gated' is paused in every process that has it"
        await why(world, run, "agent_paused", said, behind=["gated"], next_in_s=None)

        await shared.beat(replace(worker, routes=(Route("gated"),), paused=()))
        await world.advance(5)
        await why(world, run, "not_executing_here", "1 other worker can run it", next_in_s=None)


async def test_who_has_no_such_agent_says_that_others_have_it(store: WatchedStore, clock: ManualClock) -> None:
    shared = WatchedStore(store, exclusive=False)
    async with shared, World(shared, clock, executes=False, agents={"theirs": Deaf()}) as front:
        run = await front.submit(agent_id="theirs")
        worker = replace(front.mailbox.worker(), consumer_id=front.mailbox.ids.consumer_id(), role="worker")
        await shared.beat(replace(worker, routes=(Route("theirs"),)))
        async with World(shared, clock, seed=2) as world:
            await why(world, run, "not_executing_here", "executes no runs of agent 'theirs'", next_in_s=None)


async def test_a_mailbox_that_is_leaving_takes_nothing(store: WatchedStore, clock: ManualClock) -> None:
    async with store, World(store, clock, settings=replace(one_slot(), drain_s=60)) as world:
        await world.submit(thread_id="one")
        waits = await world.submit(thread_id="two")
        stopping = asyncio.create_task(world.mailbox.stop())
        await world.quiet()
        await why(world, waits, "not_ready", "awaken is stopping here", next_in_s=None)
        (await world.agent.next_call()).release()
        await stopping


async def test_due_and_nothing_in_its_way(store: WatchedStore, clock: ManualClock) -> None:
    async with World(store, clock, settings=one_slot()) as world:
        await world.submit(thread_id="one")
        second = await world.submit(thread_id="two")
        store.hold(Claim)
        (await world.agent.next_call()).release()
        await world.quiet()
        await why(world, second, "due", "nothing is in its way", next_in_s=0)
        store.let_go()
        await world.agent.next_call()
        await why(world, second, "executing", next_in_s=None)


async def test_queued_by_a_schedule_behind_its_last_run(store: WatchedStore, clock: ManualClock) -> None:
    spec = ScheduleSpec(
        name="tidy",
        agent_id=AgentId("gated"),
        messages=(user_message(MessageId(""), "tidy up"),),
        every_s=60,
        overlap="queue",
    )
    world = World(store, clock)
    world.mailbox.schedules.declared[DEFAULT_SCOPE] = (spec,)
    async with world:
        await world.advance(120)
        first, second = (await store.list_runs(DEFAULT_SCOPE, RunQuery(thread_id=spec.thread))).items
        found = await why(world, second, "behind_run", behind=[first.run_id], next_in_s=None)
        assert found.facts["origin"] == "schedule"


# --- waiting ----------------------------------------------------------------------------------------------------------


async def tickets(world: World, run: Submission) -> list[str]:
    page = await world.store.list_tickets(DEFAULT_SCOPE, TicketQuery(run_id=run.run.run_id, state="open"))
    return [each.ticket_id for each in page.items]


async def test_waiting_for_two_tickets_of_which_one_is_decided(store: WatchedStore, clock: ManualClock) -> None:
    async def asker(ctx: Context) -> Any:
        return await asyncio.gather(ctx.ask("who?", name="who"), ctx.ask("where?", name="where"))

    async with World(store, clock, agents={"asker": asker}) as world:
        run = await world.submit(agent_id="asker")
        await world.advance(30)
        first, second = await tickets(world, run)
        says = (
            "It has waited 30 s for all of 2 tickets",
            f"input 'who' (ticket {first})",
            f"input 'where' (ticket {second})",
        )
        commands = f"decide: `awaken decide {first}`, `awaken decide {second}`; or `app.decide`"
        await why(world, run, "waits_for_tickets", *says, commands, behind=[first, second], next_in_s=None)
        await world.mailbox.decisions.decide_ticket(DEFAULT_SCOPE, first, Verdict(action="answer", result="me"))
        await why(world, run, "waits_for_tickets", "for 1 ticket", "'where'", behind=[second], next_in_s=None)
        await world.mailbox.decisions.decide_ticket(DEFAULT_SCOPE, second, Verdict(action="answer", result="here"))
        await world.done(run)
        await why(world, run, "completed", next_in_s=None)


async def test_waiting_for_a_ticket_that_expires(store: WatchedStore, clock: ManualClock) -> None:
    async def asker(ctx: Context) -> Any:
        return await ctx.ask("who?", name="who", expires_in_s=300, default="nobody")

    async with World(store, clock, agents={"asker": asker}) as world:
        run = await world.submit(agent_id="asker")
        await world.quiet()
        [ticket] = await tickets(world, run)
        says = "It has waited 0 s for 1 ticket", "'who' expires in 5 min, and then its default answer counts"
        await why(world, run, "waits_for_tickets", *says, behind=[ticket], next_in_s=300)
        await world.advance(300)
        await why(world, run, "completed", next_in_s=None)


async def test_waiting_for_input(store: WatchedStore, clock: ManualClock) -> None:
    """As a run does that suspended and asked nobody."""
    async with World(store, clock) as world:
        world.agents.add("other", world.agent)
        world.agents.pause(AgentId("other"))
        run = await world.submit(agent_id="other")
        [claimed] = await claim_for(store, "another process", routes=["other"])
        suspend = Settle(
            scope=DEFAULT_SCOPE,
            thread_id=run.run.thread_id,
            run_id=run.run.run_id,
            dispatch_id=run.run.dispatch_id,
            token=claimed.token,
            number=claimed.commit_no + 1,
            ending=Suspend(next_dispatch_id=DispatchId("next")),
        )
        await store.apply([suspend])
        await world.advance(90)
        says = "It has waited 1 min 30 s for input", f"`awaken send {run.run.run_id} TEXT`"
        await why(world, run, "waits_for_input", *says, next_in_s=None)
        world.agents.resume(AgentId("other"))
        await world.submit("here it is", agent_id=None)
        await world.agent.next_call()
        await why(world, run, "executing", next_in_s=None)


async def test_waiting_for_children(store: WatchedStore, clock: ManualClock) -> None:
    async def boss(ctx: Context) -> Any:
        children = [await ctx.start("gated", text) for text in ("one", "two")]
        return await ctx.gather(*children)

    async with World(store, clock, agents={"boss": boss}) as world:
        run = await world.submit(agent_id="boss")
        calls = [await world.agent.next_call() for _ in range(2)]
        await world.quiet()
        behind = [call.run_id for call in calls]
        found = await world.mailbox.explain(DEFAULT_SCOPE, run.run.run_id)
        says = "all of 2 runs that it has started", *[f"{each} of agent 'gated'" for each in behind]
        await why(
            world, run, "waits_for_children", *says, behind=[each.id for each in found.blocked_by], next_in_s=None
        )
        assert {each.id for each in found.blocked_by} == {*behind}
        calls[0].release()
        await world.quiet()
        await why(world, run, "waits_for_children", "for 1 run", behind=[behind[1]], next_in_s=None)


async def test_decided_and_behind_a_run_of_its_thread(store: WatchedStore, clock: ManualClock) -> None:
    async def asker(ctx: Context) -> Any:
        return await ctx.ask("who?", name="who")

    async with World(store, clock, agents={"asker": asker}) as world:
        run = await world.submit(agent_id="asker")
        await world.quiet()
        [ticket] = await tickets(world, run)
        other = await world.submit(target_run_id=None, agent_id="gated")
        call = await world.agent.next_call()
        await world.mailbox.decisions.decide_ticket(DEFAULT_SCOPE, ticket, Verdict(action="answer", result="me"))
        await world.quiet()
        await why(world, run, "behind_run", behind=[other.run.run_id], next_in_s=None)
        call.release()
        await world.done(run)


# --- claimed ----------------------------------------------------------------------------------------------------------


async def test_asked_to_stop_and_tidying_up_and_then_ignoring_it(
    store: WatchedStore, clock: ManualClock, deaf: Deaf
) -> None:
    async with World(store, clock, agents={"deaf": deaf}, settings=PATIENT) as world:
        run = await world.submit(agent_id="deaf")
        behind = await world.submit()
        await world.quiet()
        await why(world, run, "executing", next_in_s=None)
        await world.mailbox.cancel(DEFAULT_SCOPE, run.run.run_id)
        await world.advance(1)
        await why(world, run, "stopping", "It was asked to stop, 1 s ago", "tidies up", next_in_s=None)
        await world.advance(60)
        says = "asked to stop, 1 min 1 s ago", "agent 'deaf' goes on all the same", "it must let CancelledError pass"
        await why(world, run, "ignores_stop", *says, behind=["deaf"], next_in_s=None)
        await why(world, behind, "behind_run", *says, behind=[run.run.run_id], next_in_s=None)
        deaf.may_end.set()
        await world.done(run)
        await world.agent.next_call()
        await why(world, behind, "executing", next_in_s=None)


async def test_an_agent_that_was_abandoned_holds_its_thread(
    store: WatchedStore, clock: ManualClock, deaf: Deaf
) -> None:
    """A next life of the mailbox has claimed the run anew, and lets it wait."""
    async with World(store, clock, agents={"deaf": deaf}, settings=PATIENT) as world:
        run = await world.submit(agent_id="deaf")
        await world.quiet()
        await world.leave()
        await world.mailbox.start()
        await world.quiet()
        says = (
            "has been claimed for 0 s, and has not begun",
            "the agent of an earlier claim",
            "still at work in its thread",
        )
        await why(world, run, "behind_agent_at_work", *says, behind=[run.run.run_id], next_in_s=None)
        behind = await world.submit()
        await why(world, behind, "behind_run", says[2], behind=[run.run.run_id], next_in_s=None)
        deaf.may_end.set()
        await world.done(run)
        await world.agent.next_call()
        await why(world, behind, "executing", next_in_s=None)


async def test_an_agent_that_was_abandoned_and_whose_claim_is_kept(
    store: WatchedStore, clock: ManualClock, deaf: Deaf
) -> None:
    async with store, World(store, clock, agents={"deaf": deaf}, settings=PATIENT) as world:
        run = await world.submit(agent_id="deaf")
        await world.quiet()
        await world.leave()
        await world.mailbox.start()
        await why(world, run, "ignores_stop", "agent 'deaf' goes on all the same", behind=["deaf"], next_in_s=None)
        deaf.may_end.set()
        await world.quiet()


async def test_executing_in_another_process_which_then_dies(store: WatchedStore, clock: ManualClock) -> None:
    store.exclusive = False
    async with store, World(store, clock, executes=False, seed=9) as world:
        run = await world.submit()
        await claim_for(store, "other", lease_ms=30_000)
        await why(world, run, "executing_elsewhere", "executing in process other for 0 s", next_in_s=30)
        other = replace(world.mailbox.worker(), consumer_id=ConsumerId("other"), host="web-1", pid=7, role="worker")
        await store.beat(other)
        await world.mailbox.cancel(DEFAULT_SCOPE, run.run.run_id)
        await world.advance(10)
        says = "It was asked to stop 10 s ago", "process 7 on web-1, which executes it, has not stopped"
        await why(world, run, "cancel_requested", *says, next_in_s=20)
        await world.advance(25)
        says = (
            "The process that executed it, 7 on web-1,",
            "its lease, which ended 5 s ago",
            "the next sweep takes it back",
        )
        await why(world, run, "lease_ended", *says, next_in_s=0)


async def test_a_claim_that_nobody_holds(store: WatchedStore, clock: ManualClock) -> None:
    async with World(store, clock) as world:
        store.lose_answer(Submit)
        with pytest.raises(StoreUnavailable):
            await world.submit(run_id="r")
        run = await world.run(RunId("r"))
        await why(world, run, "claim_left", "nothing here executes it", "at no cost to the run", next_in_s=None)
        await world.advance(MailboxSettings().store_retry_s)
        await why(world, run, "executing", next_in_s=None)


class Late(WatchedStore):
    """A store whose answers come when they may."""

    may_answer: asyncio.Event | None = None

    async def apply(self, batch: Sequence[Transition]) -> list[Outcome]:
        outcomes = await super().apply(batch)
        if self.may_answer is not None:
            await self.may_answer.wait()
        return outcomes


async def test_a_claim_whose_answer_is_on_its_way_is_nobodys_loss(store: WatchedStore, clock: ManualClock) -> None:
    late = Late(store)
    async with World(late, clock) as world:
        late.may_answer = asyncio.Event()
        submitting = asyncio.create_task(world.submit(run_id="r"))
        await world.quiet()
        await why(world, await world.run(RunId("r")), "starting", "has just been claimed", next_in_s=None)
        late.may_answer.set()
        await submitting
        await world.quiet()
        await why(world, await world.run(RunId("r")), "executing", next_in_s=None)


async def test_what_it_came_to_is_being_stored(store: WatchedStore, clock: ManualClock) -> None:
    async with World(store, clock) as world:
        run = await world.submit()
        call = await world.agent.next_call()
        store.hold(Settle)
        call.release()
        await call.over()
        await world.quiet()
        await why(world, run, "settling", "what it came to is being stored", "look at the store", next_in_s=None)
        store.let_go()
        await world.done(run)


# --- ended ------------------------------------------------------------------------------------------------------------


async def test_ended(store: WatchedStore, clock: ManualClock) -> None:
    async with World(store, clock) as world:
        failed = await world.submit(thread_id="failed", max_attempts=1)
        (await world.agent.next_call()).fail(TransientFailure("the model is busy"))
        broken = await world.submit(thread_id="broken")
        (await world.agent.next_call()).fail(PermanentFailure("no such order"))
        refused = await world.submit(thread_id="refused")
        (await world.agent.next_call()).fail(RunEnds(Termination("blocked", detail="the filter of contents")))
        gave_up = await world.submit(thread_id="gave-up")
        (await world.agent.next_call()).fail(RunEnds(Termination("error", detail="the answer cannot be used")))
        first, cleared = await world.submit(), await world.submit()
        await world.mailbox.interrupt(DEFAULT_SCOPE, first.run.thread_id)
        cancelled = await world.submit(thread_id="cancelled", delay_s=60)
        await world.mailbox.cancel(DEFAULT_SCOPE, cancelled.run.run_id)
        limited = await world.submit(thread_id="limited", limits={"timeout_s": 10})
        await world.advance(10)
        await world.quiet()

        says = (
            "The queue gave it up after 1 attempt, 10 s ago: ",
            "the model is busy",
            f"mend what failed; then `awaken dead retry {failed.run.dispatch_id}`",
        )
        await why(world, failed, "dead_letter", *says, next_in_s=None)
        await why(world, broken, "dead_letter", "gave it up at once, 10 s ago", "no such order", next_in_s=None)
        letters = world.mailbox.dead_letters
        await letters.discard(DEFAULT_SCOPE, broken.run.dispatch_id, "a typing error")
        says = "It was discarded: a typing error.", "somebody has seen to it"
        await why(world, broken, "dead_letter", *says, next_in_s=None)
        again = await letters.retry(DEFAULT_SCOPE, failed.run.dispatch_id)
        says = f"It is done again as run {again.run.run_id}.", "somebody has seen to it"
        await why(world, failed, "dead_letter", *says, next_in_s=None)
        await why(world, cleared, "superseded", "cleared away 10 s ago by an interrupt", next_in_s=None)
        await why(world, cancelled, "cancelled", "It was cancelled 10 s ago", next_in_s=None)
        await why(world, limited, "stopped", "stopped by a limit", next_in_s=None)
        says = "It was blocked 10 s ago: the filter of contents.", f"again: `awaken retry {refused.run.run_id}`"
        await why(world, refused, "blocked", *says, next_in_s=None)
        says = "It failed 10 s ago: the answer cannot be used.", f"again: `awaken retry {gave_up.run.run_id}`"
        await why(world, gave_up, "failed", *says, next_in_s=None)
        with pytest.raises(RunNotFound):
            await world.mailbox.explain(DEFAULT_SCOPE, RunId("nothing"))


# --- damaged ----------------------------------------------------------------------------------------------------------


class Damaged(WatchedStore):
    """A store in which the queue entries are gone."""

    is_damaged = False

    async def load_dispatches(self, scope: Scope, ids: Sequence[DispatchId]) -> dict[DispatchId, Dispatch]:
        return {} if self.is_damaged else await super().load_dispatches(scope, ids)


async def test_a_run_whose_queue_entry_is_gone(store: WatchedStore, clock: ManualClock) -> None:
    damaged = Damaged(store)
    async with World(damaged, clock) as world:
        run = await world.submit(delay_s=60)
        await why(world, run, "delayed", next_in_s=60)
        damaged.is_damaged = True
        found = await world.mailbox.explain(DEFAULT_SCOPE, run.run.run_id)
        assert found.code == "damaged" and run.run.dispatch_id in found.summary


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "damaged.db"


def by_hand(path: Path, statement: str) -> None:
    with closing(sqlite3.connect(path, isolation_level=None)) as db:
        assert db.execute(statement).rowcount == 1, "the damage is done"


LAST = "no = (SELECT max(no) FROM dispatches)"


@behaviour("WHY-001")
async def test_behind_what_the_audit_cannot_mend(path: Path, clock: ManualClock) -> None:
    async with World(SqliteStore(path, clock=clock), clock, audits=False) as world:
        first, broken = await world.submit(), await world.submit()
        by_hand(path, f"UPDATE dispatches SET attempt_count = 99 WHERE {LAST}")
        behind = await world.submit()
        (await world.agent.next_call()).release()
        await world.done(first)
        await world.advance(ROUND_S)
        says = (
            "cannot be mended: record_is_readable: thread 't'",
            broken.run.dispatch_id,
            BY_NAME["record_is_readable"].refused,
            "`awaken doctor`",
        )
        found = await why(world, behind, "damaged", *says, next_in_s=None)
        assert [broken.run.dispatch_id in each for each in found.facts["refused"]] == [True]
        found = await world.mailbox.explain(DEFAULT_SCOPE, broken.run.run_id)
        assert found.code == "damaged" and broken.run.dispatch_id in found.summary
        elsewhere = await world.submit(thread_id="elsewhere")
        await world.agent.next_call()
        await why(world, elsewhere, "executing", next_in_s=None)

        by_hand(path, "UPDATE dispatches SET attempt_count = 0 WHERE attempt_count = 99")
        await world.advance(ROUND_S)
        assert (await world.agent.next_call()).run_id == broken.run.run_id
        await why(world, behind, "behind_run", behind=[broken.run.run_id], next_in_s=None)


@behaviour("AUD-002")
@pytest.mark.parametrize("damage", ["DELETE FROM messages", "UPDATE messages SET body = x'7b'"])
async def test_a_queued_run_whose_message_is_lost(path: Path, clock: ManualClock, damage: str) -> None:
    async with World(SqliteStore(path, clock=clock), clock, audits=False) as world:
        run = await world.submit(delay_s=3600)
        [lost] = run.run.request.input_message_ids
        await why(world, run, "delayed", next_in_s=3600)
        by_hand(path, damage)
        says = (f"message {lost!r}, which it is to be given, is gone or cannot be read", "it will be given up")
        await why(world, run, "damaged", *says, next_in_s=None)
        behind = await world.submit(delay_s=3601)
        await world.advance(3602)
        assert (await world.run(run)).dead_lettered, "as was said"
        await why(world, behind, "executing", next_in_s=None)


async def test_a_hole_in_a_log_keeps_nothing_from_going_on(path: Path, clock: ManualClock) -> None:
    async with World(SqliteStore(path, clock=clock), clock, settings=one_slot(), audits=False) as world:
        done = await world.submit()
        (await world.agent.next_call()).release()
        await world.done(done)
        by_hand(path, "DELETE FROM events WHERE first_seq = 1")
        await world.advance(ROUND_S)
        assert len(world.mailbox.health().audit.refused) == 1
        busy = await world.submit(thread_id="busy")
        await world.agent.next_call()
        waits = await world.submit()
        world.store.hold(Claim)
        await world.mailbox.cancel(DEFAULT_SCOPE, busy.run.run_id)
        await world.quiet()
        await why(world, waits, "due", next_in_s=0)


@pytest.mark.parametrize(
    "damage",
    [
        "UPDATE dispatches SET attempt_count = 99 WHERE status = 'claimed'",
        "UPDATE runs SET status = 'bogus' WHERE status = 'running'",
    ],
)
async def test_behind_an_execution_that_cannot_be_read(path: Path, clock: ManualClock, damage: str) -> None:
    async with World(SqliteStore(path, clock=clock), clock, audits=False) as world:
        await world.submit()
        await world.agent.next_call()
        behind = await world.submit()
        by_hand(path, damage)
        says = ("what is ahead of it in its thread cannot be read: ",)
        await why(world, behind, "damaged", *says, next_in_s=None)


async def test_it_says_so_when_the_store_is_not_reached(store: WatchedStore, clock: ManualClock) -> None:
    async with World(store, clock) as world:
        run = await world.submit()
        store.refuse_read = StoreUnavailable("gone")
        with pytest.raises(StoreUnavailable):
            await world.mailbox.explain(DEFAULT_SCOPE, run.run.run_id)
        store.refuse_read = None
