"""Turns: the stretches of a run's log that a client of a chat protocol takes for one answer.

A turn begins when a dispatch is queued, and ends with the run, or when the run waits for somebody. A run that waits for
its children, for something outside, or for its next attempt, is still at work: its turn goes on.

Above: encoders, which open and close a protocol's stream by it; the gateway, which finds where a turn began. Below: the
events of one run, from its first one.
Holds: what is said here follows from the events fed so far, and from nothing else.

Source: ADR 0039; docs/concepts/protocols.md.
"""

from __future__ import annotations

from typing import Any, Final, Literal

import msgspec

from awaken.domain.event import TERMINAL_KINDS
from awaken.domain.ids import MessageId, TicketId
from awaken.domain.run import Termination, Usage
from awaken.domain.server_event import RunEndedPayload, RunQueuedPayload, RunSuspendedPayload, TicketOpenedPayload

Waits = Literal["input", "approval", "working"]
"""What a waiting run is called. `input`: somebody answers a question, or carries out a tool. `approval`: somebody says
yes or no, and nothing else is asked. `working`: nobody here can do anything about it."""
Outcome = Literal["finished", "stopped", "blocked", "cancelled", "superseded", "failed", "waiting"]
"""How a turn ended. `stopped`: at a limit, or by the agent's own code, which is the termination's `code`. `failed`:
an error, or given up by the queue."""
Moved = Literal["opens", "ends", ""]

TURN_KINDS: Final = frozenset(
    {"RunQueued", "RunSuspended", "TicketOpened", "TicketDecided", "TicketExpired", "TicketWithdrawn", *TERMINAL_KINDS}
)
"""The kinds on which turns depend."""
ENDING_KINDS: Final = frozenset({"RunSuspended", *TERMINAL_KINDS})
"""Those with which a turn may end."""
_OUTCOMES: Final[dict[str, Outcome]] = {
    "natural_end": "finished",
    "behavior_requested": "finished",
    "stopped": "stopped",
    "blocked": "blocked",
    "cancelled": "cancelled",
    "error": "failed",
}


class Ending(msgspec.Struct, frozen=True, kw_only=True):
    """How a turn ended, whatever the protocol calls it."""

    outcome: Outcome
    waits: Waits | None = None
    """Of one that waits."""
    tickets: tuple[TicketOpenedPayload, ...] = ()
    """The open ones that it waits for, in the order in which they were opened."""
    termination: Termination | None = None
    """Of one that has ended. `detail` may be shown to its user."""
    output_message_ids: tuple[MessageId, ...] = ()
    usage: Usage | None = None
    usage_by_model: dict[str, Usage] = {}
    cause: str | None = None
    output: Any = None
    """What the agent returned, where that is not the text of messages."""

    @property
    def text(self) -> str:
        """In a few words, for whoever is told that it did not finish."""
        ended = self.termination
        if ended is not None and (ended.detail or ended.code):
            return ended.detail or ended.code or ""
        return {"failed": "the run has failed", "superseded": "the run was superseded"}.get(
            self.outcome, f"the run was {self.outcome}"
        )


class Turns:
    """Feed it every event of `TURN_KINDS` of a run, in order."""

    def __init__(self) -> None:
        self.number = 0
        """Of the turn that is open, or was last: 1 for the first."""
        self.is_open = False
        self.queued: RunQueuedPayload | None = None
        """How that turn began."""
        self.tickets: dict[TicketId, TicketOpenedPayload] = {}
        """The open ones."""
        self.ending: Ending | None = None
        """How the turn ended that was last; None while one is open."""

    def feed(self, kind: str, payload: Any) -> Moved:
        match payload:
            case TicketOpenedPayload():
                self.tickets[payload.ticket_id] = payload
            case RunQueuedPayload():
                if self.is_open:
                    return ""
                self.number += 1
                self.is_open, self.ending, self.queued = True, None, payload
                return "opens"
            case RunSuspendedPayload():
                return self._suspended(payload)
            case RunEndedPayload():
                return self._ended(kind, payload)
            case _:
                self.tickets.pop(payload.ticket_id, None)
        return ""

    def _suspended(self, payload: RunSuspendedPayload) -> Moved:
        asked = tuple([self.tickets[each] for each in payload.ticket_ids if each in self.tickets])
        waits = called(asked, payload)
        if waits == "working" or not self.is_open:
            return ""
        self.is_open = False
        self.ending = Ending(outcome="waiting", waits=waits, tickets=asked, usage=payload.usage)
        return "ends"

    def _ended(self, kind: str, payload: RunEndedPayload) -> Moved:
        was_open, self.is_open = self.is_open, False
        ended = payload.termination
        self.ending = Ending(
            outcome="superseded" if kind == "RunSuperseded" else _OUTCOMES.get(ended.type, "failed"),
            termination=ended,
            output_message_ids=payload.output_message_ids,
            usage=payload.usage,
            cause=payload.cause,
            usage_by_model=payload.usage_by_model,
            output=payload.output,
        )
        return "ends" if was_open else ""


def called(asked: tuple[TicketOpenedPayload, ...], suspended: RunSuspendedPayload) -> Waits:
    """What the run is called that waits for these tickets, the open ones among those of its suspension."""
    kinds = {ticket.kind for ticket in asked}
    if kinds & {"input", "client_tool"}:
        return "input"
    if "approval" in kinds:
        return "approval"
    if not suspended.ticket_ids and not suspended.child_run_ids and suspended.reason in ("user_input", "manual_pause"):
        return "input"  # it goes on with a message, and with nothing else
    return "working"
