"""Runs that wait for somebody: what they hold meanwhile, who may decide, and how they go on."""

from __future__ import annotations

import asyncio
from typing import Any

import msgspec
import pytest

from awaken.domain.dispatch import DispatchStatus
from awaken.domain.errors import (
    DecisionConflict,
    RunNotFound,
    StoreUnavailable,
    ThreadGone,
    ThreadNotFound,
    TicketExpired,
    TicketNotFound,
    TicketWithdrawn,
    UnknownToolCall,
    ValidationError,
)
from awaken.domain.event import opened
from awaken.domain.ids import DEFAULT_SCOPE, RunId, Scope, ThreadId, TicketId
from awaken.domain.run import CANCELLED, Run, RunStatus, Termination
from awaken.domain.ticket import MAX_DECISION_BYTES, Ticket, TicketRequest, Verdict
from awaken.executors.contract import Entry, Finished, RunPort, Suspended
from awaken.executors.demo.concierge import make_concierge
from awaken.executors.function import Context
from awaken.mailbox.submission import Submission
from awaken.store.contract import TicketQuery
from awaken.store.transitions import Commit, Decide, Settle, Submit
from awaken.testing.behaviour import behaviour
from awaken.testing.clock import ManualClock
from awaken.testing.mailboxes import WatchedStore, World


async def asking(ctx: Context) -> str:
    first = await ctx.step("first", lambda: 1)
    answer = await ctx.ask("how many?", expires_in_s=60)
    return f"{first} and {answer}"


async def patient(ctx: Context) -> Any:
    return (await ctx.approve("may I?", arguments={"n": 1})).arguments


async def picky(ctx: Context) -> int:
    return await ctx.ask("how many?", type=int)


AGENTS: dict[str, Any] = {"asking": asking, "patient": patient, "picky": picky}


class Tools:
    """A driver whose run waits for calls, each with a ticket, and then tells what was decided."""

    def __init__(self, *requests: TicketRequest, mode: Any = "any") -> None:
        self.requests = requests
        self.mode = mode
        self.goes_on = asyncio.Event()
        """Before it suspends."""
        self.goes_on.set()

    async def drive(self, entry: Entry, port: RunPort) -> Finished | Suspended:
        known = await entry.decisions()
        if not known:
            await port.open_tickets(*self.requests)
        waiting = [asked for asked in self.requests if asked.key not in known or known[asked.key].is_open]
        await self.goes_on.wait()
        if waiting and (self.mode == "all" or len(waiting) == len(self.requests)):
            return Suspended(tickets=tuple(waiting), mode=self.mode)
        said = {key: [ticket.state, ticket.decision and ticket.decision.action] for key, ticket in known.items()}
        return Finished(final_output=msgspec.json.encode(said).decode(), is_structured=True)


def call(call_id: str, **details: Any) -> TicketRequest:
    return TicketRequest(key=call_id, kind="approval", tool_call_id=call_id, tool_name="tool", **details)


async def waiting(world: World, agent_id: str = "asking", **options: Any) -> tuple[Submission, Ticket]:
    """A run that waits, and its first open ticket."""
    submission = await world.submit(agent_id=agent_id, **options)
    await world.quiet()
    return submission, (await tickets(world, submission))[0]


async def tickets(world: World, run: Submission) -> list[Ticket]:
    page = await world.store.list_tickets(DEFAULT_SCOPE, TicketQuery(run_id=run.run.run_id))
    return [*page.items]


def answer(result: Any = "four", **details: Any) -> Verdict:
    return Verdict(action="answer", result=result, **details)


# --- waiting ----------------------------------------------------------------------------------------------------------


@behaviour("TK-050")
async def test_a_run_that_waits_holds_no_slot_and_goes_on_when_somebody_decides(
    store: WatchedStore, clock: ManualClock
) -> None:
    async with World(store, clock, agents=AGENTS) as world:
        free = world.free_slots
        run, ticket = await waiting(world)

        assert (world.free_slots, world.ledger.labels) == (free, ["suspended"])
        assert ticket.asked.message == "how many?"
        assert (await world.run(run)).status is RunStatus.WAITING

        decided = await world.mailbox.decisions.decide_ticket(DEFAULT_SCOPE, ticket.ticket_id, answer(decided_by="ann"))

        assert decided.dispatch is not None and decided.dispatch.why == "decided"
        assert (await world.done(run)).final_output == "1 and four"
        await world.quiet()
        assert world.ledger.labels == ["suspended", "completed"]
        kinds = await world.kinds(run)
        assert kinds[kinds.index("TicketOpened") :][:6] == [
            "TicketOpened",
            "RunSuspended",
            "TicketDecided",
            "RunQueued",
            "RunSubmitted",
            "RunResumed",
        ]


@behaviour("TK-050")
async def test_a_run_that_waits_for_nobody_costs_two_transitions(store: WatchedStore, clock: ManualClock) -> None:
    async with World(store, clock, agents=AGENTS) as world:
        before = len(store.transitions)
        run = await world.submit()
        (await world.agent.next_call()).release("done")
        await world.done(run)
        assert [type(each) for each in store.transitions[before:]] == [Submit, Settle]


@behaviour("TK-051", "OS-007")
async def test_a_waiting_run_survives_a_restart(store: WatchedStore, clock: ManualClock) -> None:
    async with World(store, clock, agents=AGENTS) as world:
        run, ticket = await waiting(world)
        await world.mailbox.stop()
        await world.mailbox.start()
        assert (await world.run(run)).status is RunStatus.WAITING

        await world.mailbox.decisions.decide_ticket(DEFAULT_SCOPE, ticket.ticket_id, answer())

        assert (await world.done(run)).final_output == "1 and four"


@behaviour("TK-052")
async def test_who_waits_for_a_run_may_be_content_when_it_waits_itself(store: WatchedStore, clock: ManualClock) -> None:
    async with World(store, clock, agents=AGENTS) as world:
        run = await world.submit(agent_id="asking")
        until = await world.mailbox.wait(DEFAULT_SCOPE, run.run.run_id, timeout_s=1e6, until_parked=True)
        assert until.status is RunStatus.WAITING
        assert await world.mailbox.wait(DEFAULT_SCOPE, run.run.run_id, timeout_s=1e6, until_parked=True) == until
        end = asyncio.ensure_future(world.done(run))
        await world.quiet()
        assert not end.done()

        [ticket] = await tickets(world, run)
        await world.mailbox.decisions.decide_ticket(DEFAULT_SCOPE, ticket.ticket_id, answer())

        assert (await end).status is RunStatus.DONE


@behaviour("TK-053", "MBX-274", "D-010")
async def test_a_stop_ends_a_run_that_waits(store: WatchedStore, clock: ManualClock) -> None:
    async with World(store, clock, agents=AGENTS) as world:
        run, ticket = await waiting(world)
        end = asyncio.ensure_future(world.done(run))
        await world.quiet()

        stopped = await world.mailbox.cancel(DEFAULT_SCOPE, run.run.run_id)

        assert (stopped.state, (await end).termination) == ("stopped", CANCELLED)
        with pytest.raises(TicketWithdrawn, match="is done"):
            await world.mailbox.decisions.decide_ticket(DEFAULT_SCOPE, ticket.ticket_id, answer())


# --- deciding ---------------------------------------------------------------------------------------------------------


@behaviour("TK-054")
async def test_decisions_can_be_doubled_but_not_contradicted(store: WatchedStore, clock: ManualClock) -> None:
    async with World(store, clock, agents=AGENTS) as world:
        run, ticket = await waiting(world)
        decide = world.mailbox.decisions.decide_ticket
        first = await decide(DEFAULT_SCOPE, ticket.ticket_id, answer(decision_id="one", decided_by="ann"))
        again = await decide(DEFAULT_SCOPE, ticket.ticket_id, answer(decision_id="two"))

        assert (first.duplicates, again.duplicates) == ((False,), (True,))
        assert again.tickets == first.tickets
        with pytest.raises(DecisionConflict, match="was decided before by 'ann'") as refused:
            await decide(DEFAULT_SCOPE, ticket.ticket_id, answer("five"))
        assert (refused.value.decision_id, refused.value.action) == ("one", "answer")
        await world.done(run)
        assert (await decide(DEFAULT_SCOPE, ticket.ticket_id, answer())).duplicates == (True,)


@behaviour("MBX-168")
async def test_a_decision_that_cannot_be_stored_is_refused_to_whoever_makes_it(
    store: WatchedStore, clock: ManualClock
) -> None:
    async with World(store, clock, agents=AGENTS) as world:
        run, ticket = await waiting(world, "patient")
        before = await world.kinds(run)
        decide = world.mailbox.decisions.decide_ticket
        yes = Verdict(action="approve")
        store.fail_once(Decide)
        with pytest.raises(StoreUnavailable):
            await decide(DEFAULT_SCOPE, ticket.ticket_id, yes)

        assert (await tickets(world, run))[0].is_open
        assert await world.kinds(run) == before, "nothing of it was reported either"
        assert (await decide(DEFAULT_SCOPE, ticket.ticket_id, yes)).duplicates == (False,)
        assert (await world.done(run)).output == {"n": 1}


@behaviour("DS-010", "MBX-288", "MBX-289")
async def test_a_call_that_waits_is_followed_by_its_ticket(store: WatchedStore, clock: ManualClock) -> None:
    async with World(store, clock, agents={"concierge": make_concierge(clock, token_delay_s=0)}) as world:
        run = await world.submit("book a table for two", agent_id="concierge")
        await world.mailbox.wait(DEFAULT_SCOPE, run.run.run_id, timeout_s=1e6, until_parked=True)

        kinds = await world.kinds(run)
        assert kinds[kinds.index("ToolCallReady") :] == [
            "ToolCallReady",
            "InferenceComplete",
            "TicketOpened",
            "RunSuspended",
        ]
        rows = await store.list_events(DEFAULT_SCOPE, ThreadId("t"), after=0, limit=100)
        told: dict[str, Any] = {event.kind: opened(event) for row in rows for event in row.events}
        ticket = told["TicketOpened"]
        assert (ticket.tool_call_id, ticket.kind) == (told["ToolCallReady"].id, "approval")
        assert told["RunSuspended"].ticket_ids == (ticket.ticket_id,)


@behaviour("TK-055")
async def test_an_answer_is_held_to_what_the_ticket_asks_for(store: WatchedStore, clock: ManualClock) -> None:
    async with World(store, clock, agents=AGENTS) as world:
        run, ticket = await waiting(world, "picky")
        before = len(store.transitions)
        decide = world.mailbox.decisions.decide_ticket
        wrong: list[tuple[Verdict, str, str]] = [
            (answer("four"), "decision_rejected_by_schema", "is not of type"),
            (answer(None), "decision_rejected_by_schema", "is not of type"),
            (Verdict(action="approve"), "action_not_allowed", "decided by answer"),
            (Verdict(action="cancel"), "action_not_allowed", "decided by answer"),
            (answer(4, arguments={"n": 1}), "invalid_request", "belong to edit"),
            (answer(4, decision_id="a b"), "invalid_id", "decision_id"),
            (answer(4, reason="x" * MAX_DECISION_BYTES), "invalid_request", "at most"),
            (answer(float("nan")), "invalid_request", "result"),
        ]
        for verdict, code, text in wrong:
            with pytest.raises(ValidationError, match=text) as refused:
                await decide(DEFAULT_SCOPE, ticket.ticket_id, verdict)
            assert refused.value.code == code
        assert len(store.transitions) == before, "nothing of it reached the store"

        await decide(DEFAULT_SCOPE, ticket.ticket_id, answer(4))
        assert (await world.done(run)).output == 4


@behaviour("TK-056")
async def test_an_approval_can_bring_other_arguments_all_of_them(store: WatchedStore, clock: ManualClock) -> None:
    async with World(store, clock, agents=AGENTS) as world:
        run, ticket = await waiting(world, "patient")
        decide = world.mailbox.decisions.decide_ticket
        for arguments in (None, [1], "x"):
            with pytest.raises(ValidationError, match="as an object"):
                await decide(DEFAULT_SCOPE, ticket.ticket_id, Verdict(action="edit", arguments=arguments))
        await decide(DEFAULT_SCOPE, ticket.ticket_id, Verdict(action="edit", arguments={"m": 2}))
        assert (await world.done(run)).output == {"m": 2}


@behaviour("TK-057", "MBX-272", "MBX-153")
async def test_a_decision_is_found_by_its_run_and_its_call(store: WatchedStore, clock: ManualClock) -> None:
    agents = {"tools": Tools(call("c1"), call("c2"))}
    async with World(store, clock, agents=agents) as world:
        run = await world.submit(agent_id="tools")
        await world.quiet()
        decide = world.mailbox.decisions.decide
        with pytest.raises(UnknownToolCall):
            await decide(DEFAULT_SCOPE, run.run.run_id, [Verdict(action="approve", tool_call_id="c3")])
        with pytest.raises(TicketNotFound):
            await decide(DEFAULT_SCOPE, run.run.run_id, [Verdict(action="approve", ticket_id="nothing")])
        with pytest.raises(ValidationError, match="names its ticket_id"):
            await decide(DEFAULT_SCOPE, run.run.run_id, [Verdict(action="approve")])
        for verdicts in ([], [Verdict(action="approve", tool_call_id="c1")] * 300):
            with pytest.raises(ValidationError, match="1 to 256"):
                await decide(DEFAULT_SCOPE, run.run.run_id, verdicts)

        made = await decide(
            DEFAULT_SCOPE,
            run.run.run_id,
            [
                Verdict(action="resume", tool_call_id="c1", result={"approved": True}),
                Verdict(action="cancel", tool_call_id="c2", reason="no", result={"approved": False}),
            ],
        )

        assert [ticket.asked.key for ticket in made.tickets] == ["c1", "c2"]
        assert (await world.done(run)).output == {"c1": ["decided", "approve"], "c2": ["decided", "deny"]}


@behaviour("TK-058", "MBX-273", "MBX-278")
async def test_a_decision_is_never_taken_for_another_run_or_tenant(store: WatchedStore, clock: ManualClock) -> None:
    async with World(store, clock, agents=AGENTS) as world:
        _, ticket = await waiting(world)
        other, _ = await waiting(world, thread_id="u")
        decisions = world.mailbox.decisions
        with pytest.raises(TicketNotFound):
            await decisions.decide_ticket(Scope("other"), ticket.ticket_id, answer())
        with pytest.raises(TicketNotFound):
            await decisions.decide(DEFAULT_SCOPE, other.run.run_id, [answer(ticket_id=ticket.ticket_id)])
        with pytest.raises(RunNotFound):
            await decisions.decide(Scope("other"), ticket.run_id, [answer(ticket_id=ticket.ticket_id)])
        with pytest.raises(RunNotFound):
            await decisions.decide(DEFAULT_SCOPE, RunId("nobody"), [answer(ticket_id=ticket.ticket_id)])
        with pytest.raises(ThreadNotFound):
            await decisions.decide_thread(DEFAULT_SCOPE, ThreadId("nobody"), [answer(ticket_id=ticket.ticket_id)])
        with pytest.raises(ValidationError, match="not a valid id"):
            await decisions.decide_ticket(DEFAULT_SCOPE, "a b", answer())
        assert (await decisions.get_ticket(DEFAULT_SCOPE, ticket.ticket_id)).is_open


@behaviour("TK-059")
async def test_a_decision_about_a_thread_is_for_its_open_run(store: WatchedStore, clock: ManualClock) -> None:
    async with World(store, clock, agents={"tools": Tools(call("c1"))}) as world:
        run = await world.submit(agent_id="tools")
        await world.quiet()
        made = await world.mailbox.decisions.decide_thread(
            DEFAULT_SCOPE, ThreadId("t"), [Verdict(action="approve", tool_call_id="c1")]
        )
        assert made.run.run_id == run.run.run_id
        await world.done(run)
        late = world.mailbox.decisions.decide_thread(
            DEFAULT_SCOPE, ThreadId("t"), [Verdict(action="deny", tool_call_id="c1")]
        )
        with pytest.raises(DecisionConflict):
            await late


@behaviour("MBX-154")
async def test_a_decision_that_is_made_in_another_process_reaches_the_run_that_waits(
    store: WatchedStore, clock: ManualClock
) -> None:
    store.exclusive = False
    async with World(store, clock, agents={"tools": Tools(call("c1"))}) as world:
        run = await world.submit(agent_id="tools")
        await world.quiet()
        async with World(store, clock, agents={}, seed=2, executes=False) as other:
            made = await other.mailbox.decisions.decide_thread(
                DEFAULT_SCOPE, ThreadId("t"), [Verdict(action="approve", tool_call_id="c1")]
            )
            assert made.run.run_id == run.run.run_id
            await world.advance(5)

        assert (await world.done(run)).output == {"c1": ["decided", "approve"]}


@behaviour("D-009")
@pytest.mark.parametrize("by", ["ticket_id", "tool_call_id"])
async def test_a_decision_about_a_thread_finds_the_run_that_asked_whatever_came_behind_it(
    store: WatchedStore, clock: ManualClock, by: str
) -> None:
    """Queued, executing and finished runs that are newer are not meant; and a repetition means the same run."""
    async with World(store, clock, agents={"tools": Tools(call("c1"))}) as world:
        run = await world.submit(agent_id="tools")
        await world.quiet()
        [ticket] = await tickets(world, run)
        await world.submit("mine", metadata={"own": True})
        await world.submit("queued", metadata={"own": True})
        by_ticket = Verdict(action="approve", ticket_id=ticket.ticket_id)
        verdict = by_ticket if by == "ticket_id" else Verdict(action="approve", tool_call_id="c1")
        decide = world.mailbox.decisions.decide_thread

        first = await decide(DEFAULT_SCOPE, ThreadId("t"), [verdict])

        assert (first.run.run_id, first.duplicates) == (run.run.run_id, (False,))
        for _ in range(2):
            (await world.agent.next_call()).release()
        await world.done(run)
        await world.quiet()
        again = await decide(DEFAULT_SCOPE, ThreadId("t"), [verdict])
        assert (again.run.run_id, again.duplicates) == (run.run.run_id, (True,))
        with pytest.raises(UnknownToolCall):
            await decide(DEFAULT_SCOPE, ThreadId("t"), [Verdict(action="approve", tool_call_id="c9")])
        with pytest.raises(ValidationError, match="names its ticket_id"):
            await decide(DEFAULT_SCOPE, ThreadId("t"), [Verdict(action="approve")])


@behaviour("TK-060")
async def test_some_of_several_tickets_let_a_run_go_on_that_waits_for_any(
    store: WatchedStore, clock: ManualClock
) -> None:
    agents = {"any": Tools(call("c1"), call("c2")), "all": Tools(call("c1"), call("c2"), mode="all")}
    async with World(store, clock, agents=agents) as world:
        either = await world.submit(agent_id="any")
        both = await world.submit(agent_id="all", thread_id="u")
        await world.quiet()
        yes = [Verdict(action="approve", tool_call_id="c1")]
        await world.mailbox.decisions.decide(DEFAULT_SCOPE, either.run.run_id, yes)
        await world.mailbox.decisions.decide(DEFAULT_SCOPE, both.run.run_id, yes)
        assert (await world.done(either)).output == {"c1": ["decided", "approve"], "c2": ["open", None]}
        assert (await tickets(world, either))[1].state == "withdrawn", "it ended without it"
        await world.quiet()
        assert (await world.run(both)).status is RunStatus.WAITING
        await world.mailbox.decisions.decide(
            DEFAULT_SCOPE, both.run.run_id, [Verdict(action="deny", tool_call_id="c2")]
        )
        assert (await world.done(both)).output == {"c1": ["decided", "approve"], "c2": ["decided", "deny"]}


# --- races ------------------------------------------------------------------------------------------------------------


@behaviour("TK-061")
@pytest.mark.parametrize("decides_first", [True, False])
async def test_a_decision_and_the_suspension_may_come_in_either_order(
    store: WatchedStore, clock: ManualClock, decides_first: bool
) -> None:
    """A ticket is seen before its run has suspended; whoever comes second finds what the first has done."""
    tools = Tools(call("c1"))
    async with World(store, clock, agents={"tools": tools}) as world:
        tools.goes_on.clear()
        run = await world.submit(agent_id="tools")
        await world.quiet()
        assert (await world.run(run)).status is RunStatus.RUNNING
        verdict = [Verdict(action="approve", tool_call_id="c1")]
        if not decides_first:
            tools.goes_on.set()
            await world.quiet()
        made = await world.mailbox.decisions.decide(DEFAULT_SCOPE, run.run.run_id, verdict)
        assert (made.dispatch is None) == decides_first
        decision = made.tickets[0].decision
        assert decision is not None and decision.path == ("live" if decides_first else "durable")
        tools.goes_on.set()
        assert (await world.done(run)).output == {"c1": ["decided", "approve"]}
        await world.quiet()
        assert world.ledger.labels == ["suspended", "completed"]


async def test_a_decision_that_meets_the_deletion_of_its_thread_is_told_so(
    store: WatchedStore, clock: ManualClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with World(store, clock, agents=AGENTS) as world:
        run, ticket = await waiting(world)
        load, decisions = store.load_ticket, world.mailbox.decisions

        async def load_and_delete(scope: Scope, ticket_id: TicketId) -> Ticket | None:
            found = await load(scope, ticket_id)
            await world.mailbox.threads.delete(DEFAULT_SCOPE, ticket.thread_id, force=True)
            return found

        monkeypatch.setattr(store, "load_ticket", load_and_delete)
        with pytest.raises(ThreadGone):
            await decisions.decide_ticket(DEFAULT_SCOPE, ticket.ticket_id, answer())

        monkeypatch.undo()
        with pytest.raises(TicketNotFound):
            await decisions.decide_ticket(DEFAULT_SCOPE, ticket.ticket_id, answer())
        with pytest.raises(RunNotFound):
            await decisions.decide(DEFAULT_SCOPE, run.run.run_id, [answer(ticket_id=ticket.ticket_id)])


async def test_two_answers_to_one_question_in_one_request_are_refused(store: WatchedStore, clock: ManualClock) -> None:
    async with World(store, clock, agents=AGENTS) as world:
        run, ticket = await waiting(world)
        decide, named = world.mailbox.decisions.decide, {"ticket_id": ticket.ticket_id}
        with pytest.raises(ValidationError, match="decided twice in this request"):
            await decide(DEFAULT_SCOPE, run.run.run_id, [answer("four", **named), answer("five", **named)])

        made = await decide(DEFAULT_SCOPE, run.run.run_id, [answer("four", **named), answer("four", **named)])

        assert [each.state for each in made.tickets] == ["decided", "decided"]
        assert (await world.done(run)).final_output == "1 and four"


async def test_a_withdrawn_question_is_said_to_be_that_whatever_the_answer(
    store: WatchedStore, clock: ManualClock
) -> None:
    async with World(store, clock, agents=AGENTS) as world:
        run, ticket = await waiting(world, "picky")
        await world.mailbox.cancel(DEFAULT_SCOPE, run.run.run_id)
        with pytest.raises(TicketWithdrawn):
            await world.mailbox.decisions.decide_ticket(DEFAULT_SCOPE, ticket.ticket_id, answer("no number"))


@behaviour("TK-061")
@pytest.mark.parametrize("stops_first", [True, False])
async def test_a_stop_and_a_decision_may_come_in_either_order(
    store: WatchedStore, clock: ManualClock, stops_first: bool
) -> None:
    async with World(store, clock, agents={"tools": Tools(call("c1"))}) as world:
        run = await world.submit(agent_id="tools")
        await world.quiet()
        stop = world.mailbox.cancel(DEFAULT_SCOPE, run.run.run_id)
        decide = world.mailbox.decisions.decide(
            DEFAULT_SCOPE, run.run.run_id, [Verdict(action="approve", tool_call_id="c1")]
        )
        if stops_first:
            assert (await stop).state == "stopped"
            with pytest.raises(TicketWithdrawn):
                await decide
        else:
            await decide
            await stop
        end = await world.done(run)
        assert end.status is RunStatus.DONE
        assert end.open_tickets == 0


@behaviour("TK-061")
@pytest.mark.parametrize("decides_first", [True, False])
async def test_a_decision_and_the_expiry_may_come_in_either_order(
    store: WatchedStore, clock: ManualClock, decides_first: bool
) -> None:
    async with World(store, clock, agents={"tools": Tools(call("c1", expires_in_ms=10_000))}) as world:
        run = await world.submit(agent_id="tools")
        await world.quiet()
        verdict = [Verdict(action="approve", tool_call_id="c1")]
        if decides_first:
            await world.advance(9)
            await world.mailbox.decisions.decide(DEFAULT_SCOPE, run.run.run_id, verdict)
        await world.advance(10)
        if not decides_first:
            with pytest.raises(TicketExpired):
                await world.mailbox.decisions.decide(DEFAULT_SCOPE, run.run.run_id, verdict)
        expected = ["decided", "approve"] if decides_first else ["expired", None]
        assert (await world.done(run)).output == {"c1": expected}


# --- time -------------------------------------------------------------------------------------------------------------


@behaviour("TK-062")
async def test_what_nobody_decides_expires_by_itself(store: WatchedStore, clock: ManualClock) -> None:
    async with World(store, clock, agents=AGENTS) as world:
        run, ticket = await waiting(world)
        await world.advance(59)
        assert (await tickets(world, run))[0].is_open
        await world.advance(1.01)
        end = await world.done(run)
        assert end.termination is not None and "nobody decided in time" in (end.termination.detail or "")
        assert (await world.dispatch(run)).status is DispatchStatus.DEAD_LETTER, "the agent did not catch it"
        with pytest.raises(TicketExpired):
            await world.mailbox.decisions.decide_ticket(DEFAULT_SCOPE, ticket.ticket_id, answer())


@behaviour("TK-062")
async def test_what_expired_while_nobody_was_there_expires_at_the_start(
    store: WatchedStore, clock: ManualClock
) -> None:
    async with World(store, clock, agents={"tools": Tools(call("c1", expires_in_ms=10_000))}) as world:
        run = await world.submit(agent_id="tools")
        await world.quiet()
        await world.mailbox.stop()
        clock.tick(60)
        await world.mailbox.start()
        assert (await world.done(run)).output == {"c1": ["expired", None]}


@behaviour("TK-062")
async def test_a_run_whose_time_is_over_may_end_because_of_it(store: WatchedStore, clock: ManualClock) -> None:
    asked = call("c1", expires_in_ms=10_000, on_expiry="fail", message="pay?")
    async with World(store, clock, agents={"tools": Tools(asked)}) as world:
        run = await world.submit(agent_id="tools")
        await world.quiet()
        end = asyncio.ensure_future(world.done(run))
        await world.advance(11)
        ended = (await end).termination
        assert ended == Termination("error", code="ticket_expired", detail="nobody decided in time: pay?")
        with pytest.raises(TicketExpired, match="its run has ended"):
            await world.mailbox.decisions.decide(
                DEFAULT_SCOPE, run.run.run_id, [Verdict(action="approve", tool_call_id="c1")]
            )


# --- faults -----------------------------------------------------------------------------------------------------------


@behaviour("TK-063")
@pytest.mark.parametrize("kind", [Commit, Settle, Decide])
async def test_a_lost_answer_is_asked_for_again_and_does_nothing_twice(
    store: WatchedStore, clock: ManualClock, kind: type[Any]
) -> None:
    async with World(store, clock, agents={"tools": Tools(call("c1"))}) as world:
        if kind is not Decide:
            store.lose_answer(kind)
        run = await world.submit(agent_id="tools")
        await world.advance(5)
        verdict = [Verdict(action="approve", tool_call_id="c1")]
        if kind is Decide:
            store.lose_answer(Decide)
            with pytest.raises(Exception, match="connection broke"):
                await world.mailbox.decisions.decide(DEFAULT_SCOPE, run.run.run_id, verdict)
        again = await world.mailbox.decisions.decide(DEFAULT_SCOPE, run.run.run_id, verdict)
        assert again.duplicates == (kind is Decide,)
        await world.advance(5)
        assert (await world.done(run)).output == {"c1": ["decided", "approve"]}
        assert (await world.kinds(run)).count("TicketDecided") == 1
        assert (await world.kinds(run)).count("TicketOpened") == 1


@behaviour("TK-064")
async def test_an_agent_that_waits_for_nothing_or_for_too_much_fails(store: WatchedStore, clock: ManualClock) -> None:
    class Odd:
        def __init__(self, outcome: Any) -> None:
            self.outcome = outcome

        async def drive(self, entry: Entry, port: RunPort) -> Any:
            return self.outcome

    odd = {
        "nothing": Suspended(tickets=()),
        "much": Suspended(tickets=tuple(call(f"c{n}") for n in range(1_001))),
        "large": Suspended(tickets=(call("c1", message="x" * 300_000),)),
        "blank": Suspended(tickets=(call(" "),)),
    }
    async with World(store, clock, agents={name: Odd(outcome) for name, outcome in odd.items()}) as world:
        for name in odd:
            run = await world.submit(agent_id=name, thread_id=name)
            end: Run = await world.done(run)
            assert end.dead_lettered, name
            assert end.tickets == 0


# --- what is asked again ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("first", "second", "why"),
    [
        (("approve", "Pay?", {"eur": 5}), ("approve", "Pay?", {"eur": 5000}), "the arguments of 'approve#1' were"),
        (("approve", "Pay 5?", None), ("approve", "Pay 5000?", None), "'approve#1' was 'Pay 5?' before"),
        (("ask", "How much?", None), ("ask", "Which colour?", None), "'ask#1' was 'How much?' before"),
    ],
)
async def test_an_answer_is_given_to_nothing_else_than_what_was_asked(
    store: WatchedStore, clock: ManualClock, first: Any, second: Any, why: str
) -> None:
    """Changed code, or something that is computed anew each time, must not have what nobody approved."""
    asked: list[Any] = [first]

    async def changing(ctx: Context) -> Any:
        kind, question, arguments = asked[-1]
        if kind == "ask":
            return await ctx.ask(question)
        return (await ctx.approve(question, arguments=arguments)).arguments

    async with World(store, clock, agents={"changing": changing}) as world:
        run, ticket = await waiting(world, "changing")
        asked.append(second)
        verdict = Verdict(action="approve") if first[0] == "approve" else answer()
        await world.mailbox.decisions.decide_ticket(DEFAULT_SCOPE, ticket.ticket_id, verdict)

        done = await world.done(run)
        assert done.dead_lettered and done.termination is not None
        assert why in str(done.termination.detail)


async def test_a_question_with_a_name_of_its_own_may_be_put_in_other_words(
    store: WatchedStore, clock: ManualClock
) -> None:
    words = ["how many?"]

    async def named(ctx: Context) -> str:
        return await ctx.ask(words[-1], name="count")

    async with World(store, clock, agents={"named": named}) as world:
        run, ticket = await waiting(world, "named")
        words.append("How many are there?")
        await world.mailbox.decisions.decide_ticket(DEFAULT_SCOPE, ticket.ticket_id, answer())

        assert (await world.done(run)).final_output == "four"


async def test_a_default_that_does_not_fit_is_found_when_it_is_asked(store: WatchedStore, clock: ManualClock) -> None:
    async def careless(ctx: Context) -> int:
        return await ctx.ask("how many?", type=int, expires_in_s=60, default="x")

    async with World(store, clock, agents={"careless": careless}) as world:
        done = await world.done(await world.submit(agent_id="careless"))
        assert "the default of 'ask#1' does not fit its type" in str(done.termination and done.termination.detail)


async def test_an_agent_that_goes_on_asking_when_it_is_cancelled_for_a_question_is_named_in_the_log(
    store: WatchedStore, clock: ManualClock, caplog: pytest.LogCaptureFixture
) -> None:
    refused: list[BaseException] = []

    async def stubborn(ctx: Context) -> str:
        for _ in range(3):
            try:
                return await ctx.ask("who?")
            except BaseException as error:
                refused.append(error)
        return "gave up"

    async with World(store, clock, agents={"stubborn": stubborn}) as world:
        done = await world.done(await world.submit(agent_id="stubborn"))

    assert done.dead_lettered
    assert [type(each).__name__ for each in refused] == ["CancelledError", "PermanentFailure", "PermanentFailure"]
    assert caplog.text.count("an agent that waits for ask#1 was cancelled for it, and goes on") == 1


@pytest.mark.parametrize("mode", ["queue", "resume", "steer"])
async def test_what_is_sent_to_a_function_that_waits_comes_by_its_inbox_and_leaves_its_input(
    store: WatchedStore, clock: ManualClock, mode: str
) -> None:
    """Twice, so that the second does not take the place of the first, and again with the answer."""
    seen: list[tuple[str, list[str]]] = []

    async def form(ctx: Context) -> str:
        taken = [message.text for message in await ctx.inbox()]
        seen.append((await ctx.input(), taken))
        return await ctx.ask("who?")

    async with World(store, clock, agents={"form": form}) as world:
        run, ticket = await waiting(world, "form")
        for text in ("more", "still more"):
            await world.submit(text, agent_id=None, mode=mode)
            await world.quiet()
        await world.mailbox.decisions.decide_ticket(DEFAULT_SCOPE, ticket.ticket_id, answer("ann"))

        assert (await world.done(run)).final_output == "ann"
        assert {given for given, _ in seen} == {"hello"}
        assert seen[0] == ("hello", [])
        assert seen[-1] == ("hello", ["more", "still more"])
