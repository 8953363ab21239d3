"""Children: runs that a run starts in the background, and what they tell it when they end.

A child runs on a thread of its own. Its parent has a ticket for it, of kind `child`, which the child's end decides.

Above: the rules that end runs and decide tickets; the port, which starts children. Below: values.
Holds: what a child tells is the same however often it is told.

Source: ADR 0035; docs/howto/work-in-the-background.md.
"""

from __future__ import annotations

from typing import Any, Final

import msgspec

from awaken.domain.dispatch import DEFAULT_MAX_ATTEMPTS, DEFAULT_PRIORITY
from awaken.domain.ids import AgentId, DispatchId, MessageId, RunId, ThreadId, TicketId, derived_id
from awaken.domain.message import Message, Role, Text, Visibility
from awaken.domain.outbox import Tell
from awaken.domain.pending import Opens
from awaken.domain.run import Intent, Origin, Run, RunMode, RunRequest, Sender, Termination, Trace
from awaken.domain.ticket import Decision, Ticket, TicketRequest

MAX_DEPTH: Final = 8
"""So many runs may be above a child."""
MAX_OPEN_CHILDREN: Final = 100
"""Of one run."""
MAX_TOLD_BYTES: Final = 128 * 1024
"""Of an output as JSON; a larger one is left with the child."""
_MAX_TOLD_CHARS: Final = 4_000
_encode: Final = msgspec.json.Encoder().encode
_WELL: Final = frozenset({"natural_end", "behavior_requested"})


class ChildTicket(msgspec.Struct, frozen=True, kw_only=True):
    """What the ticket of a child says about it: `TicketRequest.arguments`."""

    run_id: RunId
    thread_id: ThreadId
    agent_id: AgentId
    detached: bool = False
    """It goes on when its parent is stopped."""


class ChildEnd(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """How a child ended: the `result` of the decision of its ticket."""

    run_id: RunId
    termination: Termination
    output: Any = None
    is_cut: bool = False
    """The output is too large to be told, and stands with the child."""

    @property
    def is_well(self) -> bool:
        return self.termination.type in _WELL


def child_of(ticket: Ticket) -> ChildTicket:
    """The child that a ticket of that kind follows."""
    return msgspec.convert(ticket.asked.arguments, ChildTicket)


def child_run_id(asked: TicketRequest) -> RunId:
    """The child that such a ticket is to follow."""
    return msgspec.convert(asked.arguments, ChildTicket).run_id


def end_of(decision: Decision) -> ChildEnd:
    """What a child has told. One that could not be started has ended in an error."""
    return msgspec.convert(decision.result, ChildEnd)


def telling(run: Run) -> tuple[ThreadId, Tell] | None:
    """What a run that has just ended tells the run that started it; None where none did."""
    trace = run.request.trace
    child, termination = trace.child, run.termination
    if child is None or termination is None or trace.parent_run_id is None or trace.parent_thread_id is None:
        return None
    output = run.output
    is_cut = len(_encode(output)) > MAX_TOLD_BYTES
    end = ChildEnd(run_id=run.run_id, termination=termination, output=None if is_cut else output, is_cut=is_cut)
    sender = Sender(run.agent_id, run.thread_id, run.run_id)
    return trace.parent_thread_id, tell(trace, end, sender)


def tell(trace: Trace, end: ChildEnd, sender: Sender) -> Tell:
    """What is told of a child with that trace. A run that it opens is one hop further: one that starts something each
    time it is told of something comes to an end.
    """
    child, parent_run_id = trace.child, trace.parent_run_id
    assert child is not None and parent_run_id is not None, "it is that of a child"
    ticket_id, parent_agent_id, name = child.ticket_id, child.agent_id, child.name
    message_id = told_message_id(ticket_id)
    return Tell(
        run_id=parent_run_id,
        ticket_id=ticket_id,
        decision=Decision(
            decision_id=f"child:{end.run_id}",
            action="answer" if end.is_well else "fail",
            result=msgspec.to_builtins(end),
            reason=None if end.is_well else end.termination.detail or end.termination.type,
            decided_by=sender.agent_id,
        ),
        message=Message(
            id=message_id,
            role=Role.USER,
            content=(Text(_said(name, end)),),
            visibility=Visibility.INTERNAL,
            metadata=msgspec.structs.replace(_NO_METADATA, sender_agent_id=sender.agent_id),
        ),
        opens=Opens(
            run_id=RunId(derived_id(ticket_id, "wake", "run")),
            dispatch_id=DispatchId(derived_id(ticket_id, "wake", "dispatch")),
            request=RunRequest(
                intent=Intent(parent_agent_id),
                input_message_ids=(message_id,),
                trace=Trace(
                    origin=Origin.INTERNAL,
                    mode=RunMode.INTERNAL_WAKE,
                    correlation_id=parent_run_id,
                    sender=sender,
                    hops=trace.hops + 1,
                    depth=trace.depth,
                    traceparent=trace.traceparent,
                ),
            ),
            priority=DEFAULT_PRIORITY,
            max_attempts=DEFAULT_MAX_ATTEMPTS,
        ),
    )


def told_message_id(ticket_id: TicketId) -> MessageId:
    """The message that tells a run of a child that it does not wait for."""
    return MessageId(derived_id(ticket_id, "told"))


def _said(name: str, end: ChildEnd) -> str:
    if end.is_well:
        text = end.output if isinstance(end.output, str) else _encode(end.output).decode()
        what = "is done"
    else:
        text = end.termination.detail or end.termination.type
        what = "has failed" if end.termination.type == "error" else "was stopped"
    if len(text) > _MAX_TOLD_CHARS:
        text = text[:_MAX_TOLD_CHARS] + "…"
    return f"The background run {name!r} {what}: {text}"


_NO_METADATA: Final = Message(id=MessageId(""), role=Role.USER).metadata
