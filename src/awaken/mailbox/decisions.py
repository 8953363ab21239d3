"""Decide what runs wait for.

Above: HTTP, `Awaken`. Below: the `Decide` transition; the store, for tickets.
Holds: what a decision may be is checked here against its ticket, which never changes: once it is with the store,
nothing but another decision, the end of the run, or the time of the ticket can be in its way. Several decisions about
one run are made together, or none is.

Source: ADR 0034; SRV-017.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

import msgspec

from awaken.domain.checking import measured
from awaken.domain.clock import to_rfc3339
from awaken.domain.dispatch import Dispatch
from awaken.domain.errors import (
    Conflict,
    DecisionConflict,
    NotFound,
    RunNotFound,
    StoreError,
    ThreadGone,
    ThreadNotFound,
    TicketExpired,
    TicketNotFound,
    TicketWithdrawn,
    Unavailable,
    UnknownToolCall,
    ValidationError,
)
from awaken.domain.ids import Ids, RunId, Scope, ThreadId, TicketId, checked_id
from awaken.domain.run import DONE, Run, check_wire_run_id
from awaken.domain.ticket import MAX_DECISION_BYTES, Decision, Ticket, Verdict, plain_answer
from awaken.executors.schema import SchemaCheck
from awaken.mailbox.engine import Engine
from awaken.store.contract import MAX_PAGE, Page, Store, TicketQuery
from awaken.store.transitions import Decide, Decided, Gone, Missing, Outcome, Ruling, Rulings, Undecided

MAX_VERDICTS = 256
"""In one request."""


class Verdicts(msgspec.Struct, frozen=True):
    """What came of decisions: the run, its dispatch if they queued one, and each ticket with its decision, in order.

    `duplicates` says of each whether it had been decided so before.
    """

    run: Run
    dispatch: Dispatch | None
    tickets: tuple[Ticket, ...]
    duplicates: tuple[bool, ...]


class SkippedTicket(msgspec.Struct, frozen=True):
    """One that could not be decided as was asked, and why."""

    ticket_id: str
    code: str
    why: str


class DecidedEach(msgspec.Struct, frozen=True):
    """What became of several decisions, each made by itself: the tickets decided so, now or before, and the others."""

    decided: tuple[str, ...]
    skipped: tuple[SkippedTicket, ...]


class Decisions:
    """A part of the mailbox."""

    def __init__(self, engine: Engine, store: Store, ids: Ids) -> None:
        self._engine = engine
        self._store = store
        self._ids = ids

    # --- reading ------------------------------------------------------------------------------------------------------

    async def get_ticket(self, scope: Scope, ticket_id: str) -> Ticket:
        """Raises TicketNotFound; ValidationError for what is no id."""
        self._engine.check_loop()
        checked_id(ticket_id, what="ticket_id")
        ticket = await self._store.load_ticket(scope, TicketId(ticket_id))
        if ticket is None:
            raise TicketNotFound(ticket_id)
        return ticket

    async def list_tickets(self, scope: Scope, query: TicketQuery) -> Page[Ticket]:
        self._engine.check_loop()
        return await self._store.list_tickets(scope, query)

    # --- deciding -----------------------------------------------------------------------------------------------------

    async def decide_ticket(self, scope: Scope, ticket_id: str, verdict: Verdict) -> Verdicts:
        """Decide one ticket. Raises as `decide`, and TicketNotFound."""
        ticket = await self.get_ticket(scope, ticket_id)
        return await self._decide(scope, ticket.thread_id, Rulings(ticket.run_id, self._rulings([(ticket, verdict)])))

    async def decide_each(self, scope: Scope, verdicts: Sequence[Verdict]) -> DecidedEach:
        """Decide tickets of any runs, each by itself: what cannot be decided costs the others nothing. Made again after
        an answer that was lost, the same are decided. Decisions about one ticket are made in the order given.

        Raises:
            ValidationError: There are none, or too many.
            Unavailable, StoreUnavailable: Some may be decided; ask again.
        """
        self._engine.require_ready()
        if not 1 <= len(verdicts) <= MAX_VERDICTS:
            raise ValidationError(f"give 1 to {MAX_VERDICTS} decisions", loc=("body", "decisions"))
        refused: dict[int, SkippedTicket] = {}
        of_ticket: dict[str, list[int]] = {}
        for place, verdict in enumerate(verdicts):
            of_ticket.setdefault(verdict.ticket_id, []).append(place)

        async def decide(places: Sequence[int]) -> None:
            for place in places:
                try:
                    await self.decide_ticket(scope, verdicts[place].ticket_id, verdicts[place])
                except (ValidationError, NotFound, Conflict, TicketExpired) as error:
                    refused[place] = SkippedTicket(verdicts[place].ticket_id, error.code, str(error))

        try:
            async with asyncio.TaskGroup() as group:  # side by side, so that they share transactions
                for places in of_ticket.values():
                    group.create_task(decide(places))
        except* (Unavailable, StoreError) as unavailable:
            raise unavailable.exceptions[0] from None
        decided = [verdict.ticket_id for place, verdict in enumerate(verdicts) if place not in refused]
        return DecidedEach(tuple(dict.fromkeys(decided)), tuple([refused[place] for place in sorted(refused)]))

    async def decide_thread(
        self, scope: Scope, thread_id: ThreadId, verdicts: Sequence[Verdict], *, wire_run_id: str | None = None
    ) -> Verdicts:
        """Decide tickets of one run of the thread: the one that the first decision is about, whatever else the thread
        is doing by now. Raises as `decide`, and ThreadNotFound.
        """
        self._engine.check_loop()
        checked_id(thread_id, what="thread_id")
        return await self._decide(scope, thread_id, await self.beside(scope, thread_id, verdicts), wire_run_id)

    async def beside(self, scope: Scope, thread_id: ThreadId, verdicts: Sequence[Verdict]) -> Rulings:
        """The same for a submit to the thread, with which they are made. Raises as `decide_thread`."""
        thread = await self._store.load_thread(scope, thread_id)
        if thread is None:
            raise ThreadNotFound(thread_id)
        ticket = await self._ticket_in(scope, thread_id, verdicts[0]) if verdicts else None
        run_id = ticket.run_id if ticket is not None else thread.open_run_id or thread.latest_run_id
        if run_id is None:
            raise UnknownToolCall(_named(verdicts))
        _, found = await self._found(scope, run_id, verdicts)
        return Rulings(run_id, self._rulings(found))

    async def _ticket_in(self, scope: Scope, thread_id: ThreadId, verdict: Verdict) -> Ticket | None:
        """The ticket of the thread that is meant: of those for a call the open one, or else the newest."""
        if verdict.ticket_id:
            ticket = await self.get_ticket(scope, verdict.ticket_id)
            if ticket.thread_id != thread_id:
                raise TicketNotFound(verdict.ticket_id)
            return ticket
        for state in ("open", None):
            query = TicketQuery(thread_id=thread_id, state=state, descending=True, limit=MAX_PAGE)
            for ticket in (await self._store.list_tickets(scope, query)).items:
                if verdict.tool_call_id and ticket.asked.tool_call_id == verdict.tool_call_id:
                    return ticket
        return None

    async def decide(
        self, scope: Scope, run_id: RunId, verdicts: Sequence[Verdict], *, wire_run_id: str | None = None
    ) -> Verdicts:
        """Decide tickets of one run, all of them or none. Durable when this returns, wherever the run is.

        `wire_run_id`: what the client of a protocol calls the run from now on; told when it goes on.

        Raises:
            RunNotFound: There is no such run.
            TicketNotFound, UnknownToolCall: The run has no such ticket; it has none of that call.
            ValidationError: What a ticket asks for cannot be answered so.
            DecisionConflict: A ticket was decided otherwise before.
            TicketExpired: The time of a ticket was over.
            TicketWithdrawn: The run has ended, or gone on without it.
            ThreadGone: The thread was deleted meanwhile.
            Unavailable: The mailbox is not running.
        """
        self._engine.check_loop()
        checked_id(run_id, what="run_id")
        run, found = await self._found(scope, run_id, verdicts)
        return await self._decide(scope, run.thread_id, Rulings(run_id, self._rulings(found)), wire_run_id)

    async def _found(
        self, scope: Scope, run_id: RunId, verdicts: Sequence[Verdict]
    ) -> tuple[Run, list[tuple[Ticket, Verdict]]]:
        """The run, and the ticket that each of them is about. Raises as `decide`."""
        if not 1 <= len(verdicts) <= MAX_VERDICTS:
            raise ValidationError(f"give 1 to {MAX_VERDICTS} decisions", loc=("body", "decisions"))
        run = await self._store.load_run(scope, run_id)
        if run is None:
            raise RunNotFound(run_id)
        tickets = await self._tickets_of(scope, run)
        return run, [(_ticket_meant(each, tickets, run), each) for each in verdicts]

    async def _tickets_of(self, scope: Scope, run: Run) -> list[Ticket]:
        found: list[Ticket] = []
        after: int | None = None
        while run.tickets:
            query = TicketQuery(run_id=run.run_id, after=after, limit=MAX_PAGE)
            page = await self._store.list_tickets(scope, query)
            found += page.items
            after = page.next
            if after is None:
                break
        return found

    async def _decide(
        self, scope: Scope, thread_id: ThreadId, made: Rulings, wire_run_id: str | None = None
    ) -> Verdicts:
        self._engine.require_ready()
        check_wire_run_id(wire_run_id)
        decide = Decide(
            scope=scope, thread_id=thread_id, run_id=made.run_id, rulings=made.rulings, wire_run_id=wire_run_id
        )
        return _answered(await self._engine.combiner.ask(decide))

    def _rulings(self, found: Sequence[tuple[Ticket, Verdict]]) -> tuple[Ruling, ...]:
        """Raises ValidationError for what a ticket does not allow, and for two answers to one question."""
        made: dict[TicketId, Decision] = {}
        rulings: list[Ruling] = []
        for ticket, verdict in found:
            decision = self._decision(ticket, verdict)
            if not decision.says_the_same(made.setdefault(ticket.ticket_id, decision)):
                why = f"ticket {ticket.ticket_id!r} is decided twice in this request, and not in the same way"
                raise ValidationError(why, loc=("body", "decisions"))
            rulings.append(Ruling(ticket.ticket_id, decision))
        return tuple(rulings)

    def _decision(self, ticket: Ticket, verdict: Verdict) -> Decision:
        """What was asked for, as a decision about this ticket.

        Raises:
            ValidationError: The ticket does not allow it.
        """
        verdict, size = measured(verdict, Verdict, what="a decision")
        asked = ticket.asked
        action = verdict.action_on(asked.kind)
        if asked.kind == "child" or action not in asked.actions:
            allowed = "its end" if asked.kind == "child" else ", ".join(asked.actions)
            raise ValidationError(
                f"ticket {ticket.ticket_id!r} is decided by {allowed}, and not by {verdict.action!r}",
                code="action_not_allowed",
                loc=("body", "action"),
            )
        if size > MAX_DECISION_BYTES:
            raise ValidationError(f"a decision has at most {MAX_DECISION_BYTES} bytes of JSON", loc=("body",))
        _check_parts(action, verdict)
        if action == "answer" and asked.response_schema is not None and ticket.is_open:  # or the store says why not
            _check_schema(ticket, asked.response_schema, verdict.result)
        if verdict.decision_id:
            checked_id(verdict.decision_id, what="decision_id", loc=("body", "decision_id"))
        return Decision(
            decision_id=verdict.decision_id or self._ids.mint(),
            action=action,
            result=verdict.result if action == "answer" else None,
            arguments=verdict.arguments if action == "edit" else None,
            reason=verdict.reason,
            decided_by=verdict.decided_by,
            adapter=verdict.adapter,
        )


def _check_parts(action: str, verdict: Verdict) -> None:
    arguments: object = verdict.arguments
    if action == "edit" and not isinstance(arguments, dict):
        raise ValidationError("edit brings the arguments, all of them, as an object", loc=("body", "arguments"))
    if action != "edit" and arguments is not None:
        raise ValidationError(f"arguments belong to edit, and not to {verdict.action}", loc=("body", "arguments"))
    if action == "answer" or verdict.result is None:
        return
    if verdict.action not in ("resume", "cancel"):  # which bring {"approved": …} along
        raise ValidationError(f"a result belongs to answer, and not to {verdict.action}", loc=("body", "result"))
    said = plain_answer(verdict.result)
    if (action == "approve" and said is not True) or (action == "deny" and said is True):
        raise ValidationError(
            f"{verdict.action} is another word for {action}, and its result says otherwise:"
            ' decide with "approve" or "deny"',
            loc=("body", "result"),
        )


def _check_schema(ticket: Ticket, schema: dict[str, Any], result: Any) -> None:
    check = SchemaCheck(schema, f"the response_schema of ticket {ticket.ticket_id!r}")
    faults = check.faults(result)
    if faults:
        raise ValidationError(
            f"the result is not what ticket {ticket.ticket_id!r} asks for: {faults}",
            code="decision_rejected_by_schema",
            loc=("body", "result", *check.place_of_fault(result)),
        )


def _ticket_meant(verdict: Verdict, tickets: Sequence[Ticket], run: Run) -> Ticket:
    """The ticket of the run that is named, by itself or by its call."""
    if verdict.ticket_id:
        for ticket in tickets:
            if ticket.ticket_id == verdict.ticket_id:
                return ticket
        raise TicketNotFound(verdict.ticket_id)
    if not verdict.tool_call_id:
        raise ValidationError("a decision names its ticket_id or tool_call_id", loc=("body", "ticket_id"))
    of_call = [ticket for ticket in tickets if ticket.asked.tool_call_id == verdict.tool_call_id]
    still = [ticket for ticket in of_call if ticket.is_open]
    if len(still) > 1:
        names = ", ".join([ticket.ticket_id for ticket in still])
        raise ValidationError(
            f"call {verdict.tool_call_id!r} has several open tickets; name one: {names}", loc=("body", "tool_call_id")
        )
    if not of_call:
        raise UnknownToolCall(verdict.tool_call_id)
    return still[0] if still else of_call[-1]


def _named(verdicts: Sequence[Verdict]) -> str:
    return verdicts[0].tool_call_id or verdicts[0].ticket_id if verdicts else ""


def _answered(outcome: Outcome) -> Verdicts:
    """What a decision came to, as its caller is answered. Raises as `Decisions.decide`."""
    match outcome:
        case Decided(run=run, dispatch=dispatch, tickets=tickets, duplicates=duplicates):
            return Verdicts(run, dispatch, tickets, duplicates)
        case Undecided(ticket=ticket, run=run):
            raise refusal_of(ticket, run)
        case Missing(what="run", id=id):
            raise RunNotFound(id)
        case Missing(id=id):
            raise TicketNotFound(id)
        case Gone(thread_id=thread_id):
            raise ThreadGone(thread_id)
        case _:
            raise AssertionError(f"a decision cannot end in {type(outcome).__name__}")


def refusal_of(ticket: Ticket, run: Run) -> Exception:
    """Why a ticket that is closed was not decided."""
    decision = ticket.decision
    if ticket.state == "decided" and decision is not None:
        at = to_rfc3339(decision.decided_at)
        return DecisionConflict(ticket.ticket_id, decision.decision_id, decision.action, decision.decided_by, at)
    if ticket.state == "expired":
        follows = {"deny": "nobody had decided", "answer": "its default answer counts"}
        ended = "its run has ended because of that" if run.status is DONE else "its run will end because of that"
        return TicketExpired(ticket.ticket_id, follows.get(ticket.asked.on_expiry, ended))
    return TicketWithdrawn(run.run_id, run.status, ticket.ticket_id)
