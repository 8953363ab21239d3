"""What the API says about tickets and decisions, and how callers send them.

Above: `wire`, for the run that waits; the routes of tickets. Below: `domain.ticket`.

Source: docs/reference/http.md.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta

from awaken.domain.clock import Instant, to_rfc3339
from awaken.domain.run import Adapter
from awaken.domain.ticket import (
    MAX_KEY_CHARS,
    Action,
    Decision,
    OnExpiry,
    ResumeMode,
    Ticket,
    TicketKind,
    TicketState,
    Verdict,
)
from awaken.mailbox.decisions import DecidedEach


class _Resource(msgspec.Struct, frozen=True, kw_only=True):
    pass


class DecisionResource(_Resource, frozen=True, kw_only=True):
    decision_id: str
    action: Action
    result: Any
    arguments: Any
    reason: str | None
    decided_by: str | None
    """Who asked, as whoever authorised the request names them; `expiry` where nobody decided."""
    adapter: Adapter | None
    """Over which protocol it came; `http` is this API, `internal` the program itself. Null: nobody asked for it, or an
    older version was asked."""
    decided_at: str
    path: Literal["live", "durable"]
    """Whether the run was being executed then, or waited."""

    @classmethod
    def of(cls, decision: Decision) -> DecisionResource:
        return cls(
            decision_id=decision.decision_id,
            action=decision.action,
            result=decision.result,
            arguments=decision.arguments,
            reason=decision.reason,
            decided_by=decision.decided_by,
            adapter=decision.adapter,
            decided_at=to_rfc3339(decision.decided_at),
            path=decision.path,
        )


class TicketResource(_Resource, frozen=True, kw_only=True):
    ticket_id: str
    thread_id: str
    run_id: str
    agent_id: str
    kind: TicketKind
    state: TicketState
    tool_call_id: str | None
    tool_name: str | None
    """The tool, or the name of what is asked."""
    arguments: Any
    message: str | None
    response_schema: dict[str, Any] | None
    """What the result of an `answer` has to be."""
    allowed_actions: tuple[Action, ...]
    resume_mode: ResumeMode
    on_expiry: OnExpiry
    expires_at: str | None
    created_at: str
    closed_at: str | None
    decision: DecisionResource | None

    @classmethod
    def of(cls, ticket: Ticket) -> TicketResource:
        asked = ticket.asked
        return cls(
            ticket_id=ticket.ticket_id,
            thread_id=ticket.thread_id,
            run_id=ticket.run_id,
            agent_id=ticket.agent_id,
            kind=asked.kind,
            state=ticket.state,
            tool_call_id=asked.tool_call_id,
            tool_name=asked.tool_name,
            arguments=asked.arguments,
            message=asked.message,
            response_schema=asked.response_schema,
            allowed_actions=asked.actions,
            resume_mode=asked.mode,
            on_expiry=asked.on_expiry,
            expires_at=_instant(ticket.expires_at),
            created_at=to_rfc3339(ticket.created_at),
            closed_at=_instant(ticket.closed_at),
            decision=None if ticket.decision is None else DecisionResource.of(ticket.decision),
        )


class NamedDecision(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A decision about a ticket, or the tool call that waits; one of the two is required. `resume` and `cancel` are
    other words for yes and no.
    """

    action: Action | Literal["resume", "cancel"]
    ticket_id: str | None = None
    tool_call_id: Annotated[str, Meta(min_length=1, max_length=MAX_KEY_CHARS)] | None = None
    result: Any = None
    """Of an `answer`."""
    arguments: dict[str, Any] | None = None
    """Of an `edit`: all of them, in place of those that were asked for."""
    reason: str | None = None
    decision_id: str | None = None

    def verdict(self) -> Verdict:
        return Verdict(
            action=self.action,
            ticket_id=self.ticket_id or "",
            tool_call_id=self.tool_call_id or "",
            result=self.result,
            arguments=self.arguments,
            reason=self.reason,
            decision_id=self.decision_id or "",
        )


NamedDecisions = Annotated[list[NamedDecision], Meta(min_length=1, max_length=256)]
"""All of them are made, or none."""


class TicketDecision(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A decision about a ticket, as a `NamedDecision`."""

    ticket_id: str
    action: Action | Literal["resume", "cancel"]
    result: Any = None
    arguments: dict[str, Any] | None = None
    reason: str | None = None
    decision_id: str | None = None

    def verdict(self) -> Verdict:
        return Verdict(
            action=self.action,
            ticket_id=self.ticket_id,
            result=self.result,
            arguments=self.arguments,
            reason=self.reason,
            decision_id=self.decision_id or "",
        )


TicketDecisionList = Annotated[list[TicketDecision], Meta(min_length=1, max_length=256)]
"""Each is made by itself."""


class SkippedTicketResource(_Resource, frozen=True, kw_only=True):
    """One that could not be decided; `code` as in a problem, `why` in words."""

    ticket_id: str
    code: str
    why: str


class DecidedTickets(_Resource, frozen=True, kw_only=True):
    """Which are decided as was asked, now or before, in the order of the request; and which not."""

    decided: tuple[str, ...]
    skipped: tuple[SkippedTicketResource, ...]

    @classmethod
    def of(cls, made: DecidedEach) -> DecidedTickets:
        skipped = [
            SkippedTicketResource(ticket_id=each.ticket_id, code=each.code, why=each.why) for each in made.skipped
        ]
        return cls(decided=made.decided, skipped=tuple(skipped))


class TicketList(_Resource, frozen=True, kw_only=True):
    """A filter that no index serves may make a page shorter than asked for, and not the last."""

    items: tuple[TicketResource, ...]
    has_more: bool
    next_cursor: str | None
    unreadable: tuple[str, ...] = ()


def _instant(instant: Instant | None) -> str | None:
    return None if instant is None else to_rfc3339(instant)
