"""What the servers before this one get wrong, or lose: each test here fails on the behaviour that was reported there.

The ledger (`tests/behaviour/areas/faults.py`) says what each of them is, and names the tests elsewhere that show more.
"""

from __future__ import annotations

import asyncio
import gc
import types
from collections.abc import Sequence
from typing import Any

import pytest
from msgspec import json

from awaken.domain.delivery import Delivery
from awaken.domain.dispatch import DispatchStatus
from awaken.domain.errors import PermanentFailure, StoreUnavailable, TransientFailure
from awaken.domain.ids import DEFAULT_SCOPE, MessageId, ThreadId
from awaken.domain.message import user_message
from awaken.domain.run import NATURAL_END, Origin, Run, RunMode, RunStatus
from awaken.domain.thread import ThreadStatus
from awaken.domain.ticket import Ticket, TicketRequest, Verdict
from awaken.executors.contract import Entry, Finished, RunPort, Suspended
from awaken.executors.function import Context
from awaken.mailbox.messages import Sent
from awaken.mailbox.settings import MailboxSettings
from awaken.mailbox.submission import RunSubmission, Submission
from awaken.store.contract import DispatchQuery, RunQuery, TicketQuery
from awaken.store.memory import MemoryStore
from awaken.store.transitions import Decide, Settle, Submit
from awaken.testing.audit import check_sound
from awaken.testing.behaviour import behaviour
from awaken.testing.clock import ManualClock
from awaken.testing.executors import Call, Script, Turn
from awaken.testing.mailboxes import WatchedStore, World, claim_for

DAY_S = 86_400.0


async def asking(ctx: Context) -> str:
    return f"the answer was {await ctx.ask('how many?')}"


async def boss(ctx: Context) -> Any:
    return await ctx.call("gated", "take your time")


class Impatient:
    """Waits for leave to call its tool, and goes on with whatever comes."""

    async def drive(self, entry: Entry, port: RunPort) -> Finished | Suspended:
        conversation = await entry.conversation()
        if conversation.history[-1].text == "go" and not await entry.decisions():
            return Suspended(tickets=(TicketRequest(key="c1", kind="approval", tool_call_id="c1", tool_name="tool"),))
        return Finished(final_output="went on")


AGENTS: dict[str, Any] = {"asking": asking, "boss": boss, "impatient": Impatient()}


async def tickets(world: World, run: Submission) -> list[Ticket]:
    page = await world.store.list_tickets(DEFAULT_SCOPE, TicketQuery(run_id=run.run.run_id))
    return [*page.items]


async def answer(world: World, run: Submission, result: Any = "four") -> None:
    ticket = (await tickets(world, run))[-1]
    verdict = Verdict(action="answer", result=result)
    await world.mailbox.decisions.decide_ticket(DEFAULT_SCOPE, ticket.ticket_id, verdict)


async def dispatches(world: World, thread_id: str = "t") -> list[tuple[str, DispatchStatus]]:
    page = await world.store.list_dispatches(DEFAULT_SCOPE, DispatchQuery(thread_id=ThreadId(thread_id)))
    return [(dispatch.run_id, dispatch.status) for dispatch in page.items]


async def runs_in(world: World, thread_id: str = "t") -> list[Run]:
    found = await world.store.list_runs(DEFAULT_SCOPE, RunQuery(thread_id=ThreadId(thread_id), limit=200))
    return [*found.items]


async def send(world: World, text: str, message_id: str = "") -> Sent:
    """Steer the run of the thread `t`."""
    messages = (user_message(MessageId(message_id), text),)
    request = RunSubmission(messages=messages, thread_id="t", agent_id="gated", delivery=Delivery(mode="steer"))
    return await world.mailbox.messages.send(request)


# --- runs that go on --------------------------------------------------------------------------------------------------


@behaviour("D-001")
@pytest.mark.parametrize("by", ["decision", "input", "child"])
async def test_a_run_that_has_waited_ends_like_any_other(store: WatchedStore, clock: ManualClock, by: str) -> None:
    """It is a dead letter where what continues a run is rebuilt into something that its executor refuses."""
    agent_id = {"decision": "asking", "input": "impatient", "child": "boss"}[by]
    async with World(store, clock, agents=AGENTS) as world:
        run = await world.submit("go", agent_id=agent_id)
        await world.quiet()
        assert (await world.run(run)).status is RunStatus.WAITING

        if by == "decision":
            await answer(world, run)
        elif by == "input":
            await world.submit("never mind", agent_id=None)
        else:
            (await world.agent.next_call()).release("done")

        ended = await world.done(run)
        assert (ended.termination, ended.dead_lettered) == (NATURAL_END, False)
        assert await dispatches(world) == [(ended.run_id, DispatchStatus.ACKED)] * 2


@behaviour("D-002")
async def test_a_failure_after_a_run_has_waited_is_tried_again_from_there(
    store: WatchedStore, clock: ManualClock
) -> None:
    made: list[str] = []

    def make(name: str) -> str:
        made.append(name)
        return name

    async def steps(ctx: Context) -> str:
        first = await ctx.step("first", lambda: make("first"))
        answered = await ctx.ask("how many?")
        second = await ctx.step("second", lambda: make("second"))
        if made.count("failed") < 2:
            made.append("failed")
            raise TransientFailure("busy")
        return f"{first} {answered} {second}"

    async with World(store, clock, agents={"steps": steps}) as world:
        run = await world.submit(agent_id="steps")
        await world.quiet()
        await answer(world, run)
        await world.advance(10)

        ended = await world.done(run)
        assert (ended.final_output, ended.termination) == ("first four second", NATURAL_END)
        assert made == ["first", "second", "failed", "failed"], "nothing that was finished is done again"
        assert len(await tickets(world, run)) == 1, "nor asked again"
        assert [status for _, status in await dispatches(world)] == [DispatchStatus.ACKED] * 2


@behaviour("D-006")
async def test_a_run_that_has_waited_for_longer_than_anything_is_kept_goes_on_waiting(
    store: WatchedStore, clock: ManualClock
) -> None:
    """It is woken without an answer where its old dispatch, gone with the retention, is taken for one that was lost."""
    settings = MailboxSettings(drain_s=0, handover_s=0, run_retention_s=DAY_S, event_retention_s=DAY_S)
    async with store:
        async with World(store, clock, agents=AGENTS, settings=settings) as world:
            run = await world.submit(agent_id="asking")
            other = await world.submit(thread_id="other")
            (await world.agent.next_call()).release()
            await world.done(other)
        clock.tick(40 * DAY_S)
        for seed in (2, 3):
            async with World(store, clock, agents=AGENTS, settings=settings, seed=seed) as world:
                await world.advance(2 * 3600)
                assert await store.load_run(DEFAULT_SCOPE, other.run.run_id) is None, "the retention is at work"
                assert (await world.run(run)).status is RunStatus.WAITING
                assert (world.ledger.begun, [ticket.state for ticket in await tickets(world, run)]) == (0, ["open"])
        async with World(store, clock, agents=AGENTS, settings=settings, seed=4) as world:
            await answer(world, run)
            assert (await world.done(run)).final_output == "the answer was four"


@behaviour("D-003")
async def test_what_falls_due_later_is_found_by_the_process_that_comes_next(
    store: WatchedStore, clock: ManualClock
) -> None:
    """A retry that waits, and a run with a delay, of which only the rows are left."""
    async with store:
        async with World(store, clock) as world:
            failed = await world.submit()
            (await world.agent.next_call()).fail(TransientFailure("busy", retry_after_s=30))
            await world.quiet()
            delayed = await world.submit(thread_id="other", delay_s=45)
        async with World(store, clock, seed=2) as world:
            for run, at_s in ((failed, 30), (delayed, 15)):
                await world.advance(at_s - 0.001)
                begun = len(world.agent.calls)
                await world.advance(0.001)
                assert [call.run_id for call in world.agent.calls[begun:]] == [run.run.run_id]
                world.agent.calls[-1].release("done")
                assert (await world.done(run)).termination == NATURAL_END


@behaviour("D-017")
async def test_a_run_whose_suspension_could_not_be_stored_at_first_waits_and_is_not_executed_again(
    store: WatchedStore, clock: ManualClock
) -> None:
    executions: list[int] = []

    async def patient(ctx: Context) -> str:
        executions.append(1)
        return await ctx.ask("how many?")

    async with World(store, clock, agents={"patient": patient}) as world:
        store.fail_once(Settle)
        run = await world.submit(agent_id="patient")
        await world.advance(60)

        waits = await world.run(run)
        assert (waits.status, len(executions)) == (RunStatus.WAITING, 1)
        assert waits.waiting is not None and waits.waiting.suspended_by == waits.dispatch_id
        await answer(world, run)
        assert (await world.done(run)).final_output == "four"
        assert len(executions) == 2


# --- what is told -----------------------------------------------------------------------------------------------------


@behaviour("D-005", "P-018")
async def test_each_message_is_reported_once_by_the_run_that_brought_or_produced_it(
    store: WatchedStore, clock: ManualClock
) -> None:
    """Also where the next run, a start, or an audit comes after it, and where some of it is read no more."""

    async def add(a: int) -> int:
        return a + 1

    def agents() -> dict[str, Any]:
        script = Script(Turn("", (Call("add", {"a": 1}),)), "two", "nothing", "three")
        return {"model": script.agent(tools=[add])}

    async with store:
        async with World(store, clock, agents=agents()) as world:
            first = await world.done(await world.submit("one", agent_id="model"))
            await world.mailbox.threads.hide(DEFAULT_SCOPE, ThreadId("t"), (await world.messages())[-1].id)
        runs = [first]
        for seed in (2, 3):
            async with World(store, clock, agents=agents(), seed=seed) as world:
                await world.advance(2 * 3600)
                runs.append(await world.done(await world.submit("more", agent_id="model")))
                await check_sound(store)

        rows = await store.list_events(DEFAULT_SCOPE, ThreadId("t"), after=0, limit=1_000)
        reported = [
            (row.run_id, json.decode(event.payload)["message_seq"])
            for row in rows
            for event in row.events
            if event.kind == "MessageCommitted"
        ]
        count = len(await world.messages())
        assert count >= 4 + 2 + 2
        assert [seq for _, seq in reported] == [*range(1, count + 1)]
        by_run = [run.run_id for run in runs]
        places = [by_run.index(run_id) for run_id, _ in reported if run_id is not None]
        assert places == sorted(places) and len(places) == count


# --- which run is meant -----------------------------------------------------------------------------------------------


@behaviour("D-009")
async def test_what_is_for_the_run_that_executes_does_not_meet_the_one_queued_behind_it(
    store: WatchedStore, clock: ManualClock
) -> None:
    """The queued one is the newest that was written."""
    async with World(store, clock, agents=AGENTS) as world:
        first = await world.submit("first")
        call = await world.agent.next_call()
        queued = await world.submit("second", agent_id=None)
        thread = await store.load_thread(DEFAULT_SCOPE, ThreadId("t"))
        assert thread is not None
        assert (thread.active_run_id, thread.latest_run_id) == (first.run.run_id, queued.run.run_id)
        assert queued.run.agent_id == first.run.agent_id, "nor is another agent asked"

        sent = await send(world, "look here")
        assert (sent.receipts[0].path, sent.receipts[0].run_id) == ("steered", first.run.run_id)
        assert [message.text for message in await call.context.inbox()] == ["look here"]
        stopped = await world.mailbox.cancel_thread(DEFAULT_SCOPE, ThreadId("t"))

        assert stopped.run is not None and stopped.run.run_id == first.run.run_id
        await call.over()
        second = await world.agent.next_call()
        assert (second.run_id, await second.context.input()) == (queued.run.run_id, "second")


@behaviour("D-011")
async def test_input_for_a_run_that_waits_stops_no_other_one(store: WatchedStore, clock: ManualClock) -> None:
    async with World(store, clock, agents=AGENTS) as world:
        waits = await world.submit("go", agent_id="impatient")
        await world.quiet()
        other = await world.submit("mine", metadata={"own": True})
        call = await world.agent.next_call()

        await world.submit("never mind", mode="resume", target_run_id=waits.run.run_id, agent_id=None)

        await world.quiet()
        assert not call.is_over
        call.release("undisturbed")
        assert (await world.done(other)).final_output == "undisturbed"
        assert (await world.done(waits)).final_output == "went on"


@behaviour("D-011")
async def test_a_store_that_fails_while_it_interrupts_is_what_the_caller_hears_of(
    store: WatchedStore, clock: ManualClock
) -> None:
    async with World(store, clock) as world:
        first = await world.submit("first")
        call = await world.agent.next_call()
        queued = await world.submit("queued")
        store.fail_once(Submit)

        with pytest.raises(StoreUnavailable):
            await world.submit("instead", mode="interrupt")

        await world.quiet()
        assert not call.is_over
        assert (await world.run(queued)).status is RunStatus.CREATED
        call.release()
        (await world.agent.next_call()).release()
        assert (await world.done(queued)).termination == (await world.done(first)).termination == NATURAL_END


@behaviour("D-011")
@pytest.mark.parametrize("expired", [False, True])
async def test_a_submit_that_interrupts_a_dead_owner_starts_when_its_lease_has_ended(
    store: WatchedStore, clock: ManualClock, expired: bool
) -> None:
    """It is accepted at once, and needs nobody who lets go."""
    store.exclusive = False
    async with store:
        async with World(store, clock, executes=False) as world:
            first = await world.submit("first")
            await claim_for(store, "dead", lease_ms=5_000)
        clock.tick(6 if expired else 1)
        async with World(store, clock, seed=2) as world:
            instead = await world.submit("instead", mode="interrupt")
            await world.advance(60)
            while (call := await world.agent.next_call()).run_id != instead.run.run_id:
                assert (call.run_id, expired) == (first.run.run_id, True), "it was taken over before"
                await call.over()
            assert await call.context.input() == "instead"
            assert (await world.run(first)).status is RunStatus.DONE


# --- background work --------------------------------------------------------------------------------------------------


@behaviour("D-012")
async def test_a_start_tells_of_each_end_once_however_often_it_is_begun(
    store: WatchedStore, clock: ManualClock
) -> None:
    """What was not told when the process ended is told by the next one, in the mode of a wake."""
    heard: list[str] = []

    async def worker(ctx: Context) -> str:
        return f"did {await ctx.input()}"

    async def chief(ctx: Context) -> None:
        if ctx.sender is not None:
            heard.append(await ctx.input())
            return
        for number in range(5):
            await ctx.start("worker", str(number), name=f"n{number}")

    agents = {"chief": chief, "worker": worker}
    async with store:
        store.refuse = lambda batch: (
            StoreUnavailable("not now") if any(isinstance(each, Decide) for each in batch) else None
        )
        async with World(store, clock, agents=agents) as world:
            await world.submit(agent_id="chief")
            await world.advance(5)
            assert heard == []
        store.come_back()
        for seed in (2, 3):
            async with World(store, clock, agents=agents, seed=seed) as world:
                await world.advance(60)
                told = "\n".join(heard)
                assert [told.count(f"did {number}") for number in range(5)] == [1] * 5
                first, *wakes = await runs_in(world)
                assert first.request.trace.origin is not Origin.INTERNAL
                assert {wake.request.trace.mode for wake in wakes} == {RunMode.INTERNAL_WAKE}
                assert {wake.termination for wake in wakes} == {NATURAL_END}
                assert len(wakes) == len(heard) <= 5


# --- what is sent twice -----------------------------------------------------------------------------------------------


@behaviour("D-013")
@pytest.mark.parametrize("taken", [False, True])
async def test_a_message_whose_acceptance_was_not_heard_of_is_sent_again_and_said_once(
    store: WatchedStore, clock: ManualClock, taken: bool
) -> None:
    """Whether or not the run has taken it meanwhile."""
    async with World(store, clock) as world:
        run = await world.submit("hello")
        call = await world.agent.next_call()
        store.lose_answer(Submit)
        first = asyncio.ensure_future(send(world, "look here", "m1"))
        await world.advance(10)
        [outcome] = await asyncio.gather(first, return_exceptions=True)
        assert isinstance(outcome, Sent | StoreUnavailable)
        if taken:
            assert [message.text for message in await call.context.inbox()] == ["look here"]

        again = await send(world, "look here", "m1")

        assert (again.receipts[0].run_id, again.receipts[0].path) == (run.run.run_id, "steered")
        if not taken:
            assert [message.text for message in await call.context.inbox()] == ["look here"]
        call.release("done")
        await world.done(run)
        await world.quiet()
        assert await world.texts() == ["hello", "look here", "done"]
        assert len(await runs_in(world)) == 1


# --- threads that others leave stuck ----------------------------------------------------------------------------------


@behaviour("OS-001")
@pytest.mark.parametrize("how", ["dead letter", "attempts", "stopped", "owner died"])
async def test_whatever_becomes_of_a_run_its_thread_is_free_for_the_next(
    store: WatchedStore, clock: ManualClock, how: str
) -> None:
    """What a thread is doing is read from its runs, so it cannot stay busy with one that is gone."""
    store.exclusive = False
    async with store:
        async with World(store, clock, executes=False) as world:
            first = await world.submit(max_attempts=2)
            if how == "owner died":
                await claim_for(store, "dead", lease_ms=5_000)
        async with World(store, clock, seed=2) as world:
            if how == "stopped":
                await world.agent.next_call()
            if how in ("stopped", "owner died"):
                asked = await world.mailbox.cancel(DEFAULT_SCOPE, first.run.run_id)
                assert asked.state == "requested" or how == "stopped", "an agent that listens may have stopped by now"
            for _ in range({"dead letter": 1, "attempts": 2}.get(how, 0)):
                hopeless = how == "dead letter"
                (await world.agent.next_call()).fail((PermanentFailure if hopeless else TransientFailure)("no"))
                await world.advance(2)
            await world.advance(60)
            await world.done(first)

            thread = await store.load_thread(DEFAULT_SCOPE, ThreadId("t"))
            assert thread is not None
            assert (thread.active_run_id, thread.open_run_id) == (None, None)
            assert thread.status not in (ThreadStatus.BUSY, ThreadStatus.QUEUED, ThreadStatus.WAITING)
            second = await world.submit("next")
            while (call := await world.agent.next_call()).run_id != second.run.run_id:
                pass
            call.release("fine")
            assert (await world.done(second)).final_output == "fine"


# --- stops and messages -----------------------------------------------------------------------------------------------


@behaviour("OS-009")
@pytest.mark.parametrize("stop_first", [True, False])
@pytest.mark.parametrize("dies", [False, True])
async def test_a_stop_and_a_message_are_both_heard_once_in_either_order_and_over_a_takeover(
    store: WatchedStore, clock: ManualClock, stop_first: bool, dies: bool
) -> None:
    """Each has its own place: the stop is a column of the run, the message a row. One place for both loses the one that
    came first, or hands out the other again, when an owner goes on where another was.
    """
    store.exclusive = False
    async with store:
        async with World(store, clock, executes=not dies) as world:
            run = await world.submit("hello")
            if dies:
                await claim_for(store, "dead", lease_ms=5_000)
                call = None
            else:
                call = await world.agent.next_call()
            if stop_first:
                await world.mailbox.cancel(DEFAULT_SCOPE, run.run.run_id)
                await send(world, "look here", "m1")
            else:
                await send(world, "look here", "m1")
                await world.mailbox.cancel(DEFAULT_SCOPE, run.run.run_id)
            if call is not None:
                await call.over()
                await world.done(run)
                (await world.agent.next_call()).release("heard")
                await world.quiet()
        if dies:
            async with World(store, clock, seed=2) as world:
                await world.advance(60)
                (await world.agent.next_call()).release("heard")
                await world.quiet()
        found = await store.load_receipt(DEFAULT_SCOPE, ThreadId("t"), MessageId("m1"))
        assert found is not None and found.fate == "consumed"
        stopped, taking = (await store.list_runs(DEFAULT_SCOPE, RunQuery(thread_id=ThreadId("t")))).items
        assert (stopped.run_id, stopped.termination and stopped.termination.type) == (run.run.run_id, "cancelled")
        assert (taking.run_id, taking.final_output) == (found.run_id, "heard")


@behaviour("OS-009")
async def test_a_message_after_a_stop_is_not_swallowed_by_an_end_that_nobody_reads(
    store: WatchedStore, clock: ManualClock
) -> None:
    async with World(store, clock, agents=AGENTS) as world:
        waits = await world.submit("go", agent_id="impatient")
        await world.quiet()
        await world.mailbox.cancel(DEFAULT_SCOPE, waits.run.run_id)

        more = await world.submit("and now this", agent_id="gated")

        assert more.run.run_id != waits.run.run_id
        call = await world.agent.next_call()
        assert await call.context.input() == "and now this"


# --- results ----------------------------------------------------------------------------------------------------------


@behaviour("OS-010")
async def test_a_result_is_that_of_the_run_that_was_asked_for_whatever_ended_before_or_after(
    store: WatchedStore, clock: ManualClock
) -> None:
    async with World(store, clock) as world:
        runs = [await world.submit(f"m{number}") for number in range(3)]
        waits = [asyncio.ensure_future(world.done(run)) for run in runs]
        for number in range(3):
            (await world.agent.next_call()).release(f"result {number}")
            await world.quiet()
            assert [task.done() for task in waits] == [other <= number for other in range(3)]
        assert [(await task).final_output for task in waits] == ["result 0", "result 1", "result 2"]
        assert [(await world.done(run)).final_output for run in runs] == ["result 0", "result 1", "result 2"]


@behaviour("OS-010")
async def test_a_wait_after_a_decision_is_not_answered_with_the_wait_before_it(
    store: WatchedStore, clock: ManualClock
) -> None:
    """Also while the run that goes on is still queued."""

    async def twice(ctx: Context) -> str:
        return f"{await ctx.ask('first?')} {await ctx.ask('second?')}"

    settings = MailboxSettings(drain_s=0, handover_s=0, max_concurrent_runs=1)
    async with World(store, clock, agents={"twice": twice}, settings=settings) as world:
        run = await world.submit(agent_id="twice")
        await world.quiet()
        await world.submit("busy", thread_id="other")
        busy = await world.agent.next_call()
        await answer(world, run, "one")

        waiting = asyncio.ensure_future(
            world.mailbox.wait(DEFAULT_SCOPE, run.run.run_id, timeout_s=1e9, until_parked=True)
        )
        await world.quiet()
        assert not waiting.done()
        busy.release()

        parked = await waiting
        assert parked.status is RunStatus.WAITING
        first, second = await tickets(world, run)
        assert (first.state, second.state, parked.waiting and parked.waiting.tickets) == (
            "decided",
            "open",
            (second.ticket_id,),
        )
        await answer(world, run, "two")
        assert (await world.done(run)).final_output == "one two"


# --- deploys ----------------------------------------------------------------------------------------------------------


@behaviour("OS-012")
@pytest.mark.parametrize("lets_go", [True, False])
async def test_ten_deploys_in_a_row_use_up_nothing_of_a_run(
    store: WatchedStore, clock: ManualClock, lets_go: bool
) -> None:
    """A run that is handed over has not failed, also where its agent has to be cancelled for it."""
    executions: list[int] = []

    async def long(ctx: Context) -> str:
        executions.append(1)
        if len(executions) <= 10:
            try:
                await asyncio.Event().wait()
            except asyncio.CancelledError:
                if lets_go:
                    raise
                raise RuntimeError("the connection was torn down") from None
        return "done after all"

    agents = {"long": long}
    async with store:
        async with World(store, clock, agents=agents, executes=False) as world:
            run = await world.submit(agent_id="long", max_attempts=1)
        for seed in range(1, 11):
            async with World(store, clock, agents=agents, seed=seed + 1) as world:
                await world.quiet()
                assert len(executions) == seed
        async with World(store, clock, agents=agents, seed=12) as world:
            dispatch = await world.dispatch(run)
            assert (dispatch.attempt_count, dispatch.crash_count) == (0, 0)
            ended = await world.done(run)
            assert (ended.final_output, ended.dead_lettered) == ("done after all", False)


# --- what it costs ----------------------------------------------------------------------------------------------------


@behaviour("P-002", "P-003", "P-005", "P-020")
async def test_a_plain_run_is_two_transitions_and_no_read(store: WatchedStore, clock: ManualClock) -> None:
    """Neither accepting, claiming and starting it, nor looking for what comes next, asks for anything more."""
    async with World(store, clock) as world:
        before = len(store.transitions)
        store.refuse_read = StoreUnavailable("nothing is to be read")
        for number in range(3):
            await world.submit(f"m{number}", agent_id="gated")
            (await world.agent.next_call()).release("done")
            await world.quiet()
        store.refuse_read = None

        assert [type(each) for each in store.transitions[before:]] == [Submit, Settle] * 3
        assert {run.termination for run in await runs_in(world)} == {NATURAL_END}


@behaviour("P-009")
async def test_however_many_were_running_when_their_process_died_all_are_taken_over_at_once(
    store: WatchedStore, clock: ManualClock
) -> None:
    """A page of them at each sweep would take minutes."""
    count = 450
    store.exclusive = False
    async with store:
        async with World(store, clock, executes=False) as world:
            for number in range(count):
                await world.submit(thread_id=f"t{number}", agent_id="gated")
            assert len(await claim_for(store, "dead", lease_ms=5_000, limit=200)) == 200
            await claim_for(store, "dead", lease_ms=5_000, limit=200)
            await claim_for(store, "dead", lease_ms=5_000, limit=200)
        clock.tick(6)
        settings = MailboxSettings(drain_s=0, handover_s=0, max_concurrent_runs=count)
        async with World(store, clock, settings=settings, seed=2) as world:
            await world.quiet()
            assert len(world.agent.calls) == count


@behaviour("P-011", "P-012", "P-013")
@pytest.mark.parametrize("what", ["done", "waiting"])
async def test_a_start_reads_no_more_where_much_has_ended_or_waits(
    store: WatchedStore, clock: ManualClock, what: str
) -> None:
    """Neither is a run looked for that was never queued, nor a dispatch that is gone, nor an end that was not told."""

    async def quick(ctx: Context) -> str:
        return "done" if what == "done" else await ctx.ask("and then?")

    async def operations() -> int:
        before = store.ended_count - store.audit_count
        async with World(store, clock, agents={"quick": quick}, seed=next(seeds)):
            return store.ended_count - store.audit_count - before  # the audit comes behind the start, in slices

    seeds = iter(range(2, 10))
    async with store:
        few = await operations()
        async with World(store, clock, agents={"quick": quick}, patience_s=60) as world:
            for number in range(210):
                await world.submit(thread_id=f"t{number}", agent_id="quick")
            await world.quiet()
            query = RunQuery(status=RunStatus(what), limit=200)
            assert len((await store.list_runs(DEFAULT_SCOPE, query)).items) == 200
        assert await operations() == few


_NOT_HELD = (
    type,
    types.ModuleType,
    types.FunctionType,
    types.FrameType,
    types.CodeType,
    types.CoroutineType,
    types.GeneratorType,
    asyncio.AbstractEventLoop,
    asyncio.Task,
)
"""What leads from everything to everything."""


def held_by(root: object, *, but: Sequence[object]) -> int:
    """How many objects are reached from there, and not through these."""
    gc.collect()
    seen, left, count = {id(each) for each in but}, [root], 0
    while left:
        found = left.pop()
        if id(found) in seen or isinstance(found, _NOT_HELD):
            continue
        seen.add(id(found))
        count += 1
        left += gc.get_referents(found)
    return count


@behaviour("P-019")
async def test_a_mailbox_keeps_nothing_of_runs_that_are_over(clock: ManualClock) -> None:
    """Of each thread here a run was answered, one was cancelled, and somebody has watched and sent something."""
    async with World(MemoryStore(clock), clock, agents=AGENTS, patience_s=120) as world:

        async def busy(thread_id: str) -> None:
            run = await world.submit(agent_id="asking", thread_id=thread_id)
            async with world.mailbox.read_thread(DEFAULT_SCOPE, ThreadId(thread_id)) as reader:
                await reader.next_rows()
                await world.quiet()
                await answer(world, run)
                await world.done(run)
            other = await world.submit(thread_id=thread_id)
            await world.agent.next_call()
            message = user_message(MessageId(""), "look here")
            await world.mailbox.messages.send(
                RunSubmission(messages=(message,), thread_id=thread_id, delivery=Delivery(mode="steer"))
            )
            await world.mailbox.interrupt(DEFAULT_SCOPE, ThreadId(thread_id), wait_s=5)
            await world.done(other)

        async def after(name: str) -> int:
            for number in range(30):
                await busy(f"{name}-{number}")
            await world.quiet()
            await world.advance(100)
            return held_by(world.mailbox, but=(world.store, clock, world.ledger, world.agent))

        counts = [await after(name) for name in ("first", "second", "third", "fourth")]
        assert counts[3] - counts[0] < 90, "less than an object for each thread"
