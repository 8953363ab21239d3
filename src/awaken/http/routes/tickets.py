"""Tickets: what runs wait for, across threads, and the decisions about them.

Source: docs/reference/http.md; SRV-017.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any, Final, Literal

import msgspec
from msgspec import Meta
from msgspec.structs import replace
from starlette.responses import Response

from awaken.domain.checking import shown
from awaken.domain.clock import from_rfc3339
from awaken.domain.errors import ValidationError
from awaken.domain.ids import AgentId, RunId, ThreadId
from awaken.domain.run import Adapter
from awaken.domain.ticket import Action, TicketKind, TicketState, Verdict
from awaken.http.operation import Call, Operation, json_response
from awaken.http.query import Order, Paging
from awaken.http.routes.lists import next_cursor, start_of_page
from awaken.http.submission import Body, Id
from awaken.http.ticket_wire import DecidedTickets, NamedDecisions, TicketDecisionList, TicketList, TicketResource
from awaken.http.wire import RunResource
from awaken.mailbox.decisions import Verdicts
from awaken.store.contract import TicketQuery


class TicketFilters(Paging, frozen=True, kw_only=True):
    order: Order = "desc"
    state: TicketState | None = None
    kind: TicketKind | None = None
    agent_id: Id | None = None
    thread_id: Id | None = None
    run_id: Id | None = None
    tool_name: str | None = None
    action: Action | None = None
    """Of the decision."""
    expires_before: str | None = None
    """RFC 3339; open tickets only."""


class DecisionCreate(Body, frozen=True, kw_only=True):
    """`resume` and `cancel` are other words for yes and no."""

    action: Action | Literal["resume", "cancel"]
    result: Any = None
    """Of an `answer`."""
    arguments: dict[str, Any] | None = None
    """Of an `edit`: all of them, in place of those that were asked for."""
    reason: str | None = None
    decision_id: Id | None = None

    def verdict(self) -> Verdict:
        return Verdict(
            action=self.action,
            result=self.result,
            arguments=self.arguments,
            reason=self.reason,
            decision_id=self.decision_id or "",
        )


class DecisionsCreate(Body, frozen=True, kw_only=True):
    decisions: NamedDecisions

    def verdicts(self) -> list[Verdict]:
        return [each.verdict() for each in self.decisions]


class OldDecision(Body, frozen=True, kw_only=True):
    """One decision about a call: `resume` or `cancel`, with what the call results in."""

    tool_call_id: Annotated[str, Meta(min_length=1, max_length=512)]
    action: Action | Literal["resume", "cancel"]
    payload: Any = None
    reason: str | None = None

    @classmethod
    def renamed(cls, raw: dict[str, Any]) -> dict[str, Any]:
        return super().renamed({"tool_call_id" if name == "toolCallId" else name: raw[name] for name in raw})


class TicketDecisions(Body, frozen=True, kw_only=True):
    decisions: TicketDecisionList


class DecidedResource(msgspec.Struct, frozen=True, kw_only=True):
    """`duplicate`: it had been decided so before."""

    ticket: TicketResource
    run: RunResource
    duplicate: bool


class DecidedRunResource(msgspec.Struct, frozen=True, kw_only=True):
    """The tickets in the order of the decisions, and of each whether it had been decided so before."""

    tickets: tuple[TicketResource, ...]
    duplicates: tuple[bool, ...]
    run: RunResource


# --- reading ----------------------------------------------------------------------------------------------------------


async def list_tickets(call: Call) -> Response:
    asked = call.query(TicketFilters)
    names = ("order", "state", "kind", "agent_id", "thread_id", "run_id", "tool_name", "action", "expires_before")
    filters = tuple([getattr(asked, name) for name in names])
    query = TicketQuery(
        after=start_of_page(asked.cursor, "tickets", filters),
        limit=asked.limit,
        descending=asked.order == "desc",
        state=asked.state,
        kind=asked.kind,
        agent_id=None if asked.agent_id is None else AgentId(asked.agent_id),
        thread_id=None if asked.thread_id is None else ThreadId(asked.thread_id),
        run_id=None if asked.run_id is None else RunId(asked.run_id),
        tool_name=asked.tool_name,
        action=asked.action,
        expires_before=_instant_of(asked.expires_before),
    )
    page = await call.mailbox.decisions.list_tickets(call.scope, query)
    cursor = next_cursor(page, "tickets", filters)
    items = tuple([TicketResource.of(ticket) for ticket in page.items])
    answer = TicketList(items=items, has_more=cursor is not None, next_cursor=cursor, unreadable=page.unreadable)
    return json_response(answer)


def _instant_of(text: str | None) -> int | None:
    if text is None:
        return None
    try:
        return from_rfc3339(text)
    except (ValueError, OverflowError) as error:
        raise ValidationError(f"{shown(text)} is no instant: {error}", loc=("query", "expires_before")) from None


async def get_ticket(call: Call) -> Response:
    ticket = await call.mailbox.decisions.get_ticket(call.scope, call.path_id("ticket_id"))
    return json_response(TicketResource.of(ticket))


# --- deciding ---------------------------------------------------------------------------------------------------------


async def decide_ticket(call: Call) -> Response:
    verdict = _by(call, call.body(DecisionCreate).verdict())
    made = await call.mailbox.decisions.decide_ticket(call.scope, call.path_id("ticket_id"), verdict)
    answer = DecidedResource(
        ticket=TicketResource.of(made.tickets[0]), run=await _run_of(call, made), duplicate=made.duplicates[0]
    )
    return json_response(answer, 202)


async def decide_tickets(call: Call) -> Response:
    verdicts = _all_by(call, [each.verdict() for each in call.body(TicketDecisions).decisions])
    return json_response(DecidedTickets.of(await call.mailbox.decisions.decide_each(call.scope, verdicts)))


async def decide_run(call: Call) -> Response:
    verdicts = _all_by(call, call.body(DecisionsCreate).verdicts())
    return await _answer(call, await call.mailbox.decisions.decide(call.scope, call.run_id, verdicts))


async def decide_thread(call: Call) -> Response:
    verdicts = _all_by(call, call.body(DecisionsCreate).verdicts())
    return await _answer(call, await call.mailbox.decisions.decide_thread(call.scope, call.thread_id, verdicts))


async def decide_call(call: Call) -> Response:
    asked = call.body(OldDecision)
    verdict = Verdict(action=asked.action, tool_call_id=asked.tool_call_id, result=asked.payload, reason=asked.reason)
    return await _answer(
        call, await call.mailbox.decisions.decide_thread(call.scope, call.thread_id, [_by(call, verdict)])
    )


def _by(call: Call, verdict: Verdict) -> Verdict:
    return replace(verdict, decided_by=call.caller.id, adapter=Adapter.HTTP)


def _all_by(call: Call, verdicts: Sequence[Verdict]) -> list[Verdict]:
    return [_by(call, each) for each in verdicts]


async def _run_of(call: Call, made: Verdicts) -> RunResource:
    dispatch = made.dispatch or await call.reads.load_dispatch(call.scope, made.run.dispatch_id)
    return RunResource.of(call.scope, made.run, dispatch, agents=call.mailbox.agents)


async def _answer(call: Call, made: Verdicts) -> Response:
    tickets = tuple([TicketResource.of(ticket) for ticket in made.tickets])
    answer = DecidedRunResource(tickets=tickets, duplicates=made.duplicates, run=await _run_of(call, made))
    return json_response(answer, 202)


_PROBLEMS: Final = (
    "ticket_not_found", "decision_conflict", "ticket_expired", "ticket_withdrawn", "decision_rejected_by_schema",
    "action_not_allowed", "invalid_id",
)  # fmt: skip
_OF_RUN: Final = (*_PROBLEMS, "run_not_found", "unknown_tool_call")
_OF_THREAD: Final = (*_OF_RUN, "thread_not_found", "thread_deleted")

TICKET_OPERATIONS: Final = (
    Operation(
        method="GET",
        path="/v1/tickets",
        id="list_tickets",
        summary="List what runs wait for, across threads, newest first",
        handler=list_tickets,
        query=TicketFilters,
        answers={200: TicketList},
        problems=("cursor_mismatch", "invalid_id"),
    ),
    Operation(
        method="GET",
        path="/v1/tickets/{ticket_id}",
        id="get_ticket",
        summary="Read a ticket",
        handler=get_ticket,
        answers={200: TicketResource},
        problems=("ticket_not_found", "invalid_id"),
    ),
    Operation(
        method="POST",
        path="/v1/tickets/{ticket_id}/decision",
        id="decide_ticket",
        summary="Decide a ticket",
        handler=decide_ticket,
        body=DecisionCreate,
        answers={202: DecidedResource},
        problems=_PROBLEMS,
    ),
    Operation(
        method="POST",
        path="/v1/tickets/decide",
        id="decide_tickets",
        summary="Decide tickets of any runs, each by itself",
        handler=decide_tickets,
        body=TicketDecisions,
        answers={200: DecidedTickets},
    ),
    Operation(
        method="POST",
        path="/v1/runs/{run_id}/decisions",
        id="decide_run",
        summary="Decide tickets of a run, all or none",
        handler=decide_run,
        body=DecisionsCreate,
        answers={202: DecidedRunResource},
        problems=_OF_RUN,
    ),
    Operation(
        method="POST",
        path="/v1/threads/{thread_id}/decisions",
        id="decide_thread",
        summary="Decide tickets of the run of a thread that asked, all or none",
        handler=decide_thread,
        body=DecisionsCreate,
        answers={202: DecidedRunResource},
        problems=_OF_THREAD,
    ),
    Operation(
        method="POST",
        path="/v1/threads/{thread_id}/decision",
        id="decide_call",
        summary="Decide one call of a thread",
        handler=decide_call,
        body=OldDecision,
        answers={202: DecidedRunResource},
        problems=_OF_THREAD,
    ),
)
