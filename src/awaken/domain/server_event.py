"""Events the queue itself writes: what became of a dispatch, a run, a message or a thread.

A payload repeats nothing that its row says (thread, run, instant), and leaves out what is absent. The dispatch, which
belongs to the payloads about one, is put in front of them when the row is read (`log.completed`).

Source: ADR 0016; docs/reference/events.md.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec

from awaken.domain.agent_event import FINISHED_KINDS, ErrorRecorded, StateDelta, StreamReset, ToolCallDone
from awaken.domain.child import ChildEnd, ChildTicket
from awaken.domain.clock import Instant
from awaken.domain.dead_letter import OTHER
from awaken.domain.dispatch import Dispatch
from awaken.domain.ids import AgentId, ConsumerId, MessageId, Route, RunId, ThreadId, TicketId
from awaken.domain.log import ServerEvent
from awaken.domain.message import Message, ToolCall
from awaken.domain.outbox import Begin, ChildWaits, Errand
from awaken.domain.run import (
    NO_USAGE,
    Adapter,
    Origin,
    Run,
    RunRequest,
    Termination,
    Trace,
    Usage,
    Waiting,
    WaitMode,
    WaitReason,
    output_value,
)
from awaken.domain.span import Span, Why
from awaken.domain.state import JsonPatch
from awaken.domain.thread import ThreadInfo
from awaken.domain.ticket import Action, Decision, OnExpiry, ResumeMode, Ticket, TicketKind
from awaken.domain.worker import ProcessName


class _Payload(msgspec.Struct, frozen=True, omit_defaults=True, gc=False):
    pass


class RunQueuedPayload(_Payload, frozen=True):
    """A dispatch was accepted. `why`: start, or what a run that waited goes on with: input, decided, children.

    `origin`, `adapter` and `wire_run_id` are those of the request that asked for it; of a decision only the last is
    known. `client_tools`: by name, the tools of the run that whoever asked for it carries out.
    """

    agent_id: AgentId
    route: Route
    why: str
    message_ids: tuple[MessageId, ...]
    origin: Origin
    adapter: Adapter
    available_at: Instant
    client_tools: tuple[str, ...] = ()
    wire_run_id: str | None = None


class RunClaimedPayload(_Payload, frozen=True):
    """A worker has taken the dispatch (the kind is `RunSubmitted`)."""

    attempt: int


class RunStartedPayload(_Payload, frozen=True):
    """The execution begins, `why` as in `Dispatch`. `finished_calls`: tool calls that will not be made again."""

    agent_id: AgentId
    attempt: int
    why: str
    worker: ConsumerId | None = None
    previous_worker: ConsumerId | None = None
    finished_calls: tuple[str, ...] = ()
    agent_version: str | None = None
    """That of the run, where its agent has versions."""
    stand_in: Route | None = None
    """Who executes it, where that is not the version it has: the newest one, see `fallback` of an agent."""
    process: ProcessName | None = None
    """How a person finds `worker`. None in a log of an earlier version."""


class DispatchPayload(_Payload, frozen=True):
    """The state of a dispatch right after the move the event names. Instants in milliseconds."""

    attempt_count: int
    crash_count: int = 0
    available_at: Instant | None = None
    reason: str | None = None
    error: str | None = None


class DeadLetterPayload(DispatchPayload, frozen=True):
    """The same, with the class of the last failure, by which dead letters are listed and counted."""

    error_class: str | None = None


class MailboxTimeoutPayload(_Payload, frozen=True):
    """Whoever asked for the run has waited this long for its thread, which that other run still holds, and gives up."""

    timeout_ms: int
    active_run_id: RunId | None = None


class RunEndedPayload(_Payload, frozen=True):
    """How a run ended, and what it took. `cause`: who or what ended it, where that was not the agent.

    What it came to is the text of the messages named, or else `output`.
    """

    termination: Termination
    output_message_ids: tuple[MessageId, ...] = ()
    output: Any = None
    usage: Usage | None = None
    usage_by_model: dict[str, Usage] = {}
    steps: int = 0
    cause: str | None = None


class ThreadPayload(_Payload, frozen=True):
    info: ThreadInfo


class RunSuspendedPayload(_Payload, frozen=True):
    """The run waits for one of these tickets to close, or for all (`mode`). `until`: when the first of them expires, in
    milliseconds.
    """

    reason: WaitReason
    ticket_ids: tuple[TicketId, ...] = ()
    child_run_ids: tuple[RunId, ...] = ()
    mode: WaitMode = "any"
    until: Instant | None = None
    usage: Usage | None = None
    steps: int = 0


class TicketOpenedPayload(_Payload, frozen=True):
    """The whole ticket. `expires_at` in milliseconds."""

    ticket_id: TicketId
    kind: TicketKind
    allowed_actions: tuple[Action, ...]
    resume_mode: ResumeMode
    agent_id: AgentId
    tool_call_id: str | None = None
    tool_name: str | None = None
    arguments: Any = None
    message: str | None = None
    response_schema: dict[str, Any] | None = None
    expires_at: Instant | None = None
    on_expiry: OnExpiry | None = None


class TicketDecidedPayload(_Payload, frozen=True):
    ticket_id: TicketId
    decision_id: str
    action: Action
    tool_call_id: str | None = None
    result: Any = None
    arguments: Any = None
    reason: str | None = None
    decided_by: str | None = None


class TicketExpiredPayload(_Payload, frozen=True):
    """Nobody decided in time; `on_expiry` says what that means."""

    ticket_id: TicketId
    on_expiry: OnExpiry
    tool_call_id: str | None = None


class TicketWithdrawnPayload(_Payload, frozen=True):
    """`why`: the run ended, or went on with input."""

    ticket_id: TicketId
    why: str
    tool_call_id: str | None = None


class ChildStartedPayload(_Payload, frozen=True):
    """The run has started another one, on a thread of its own."""

    run_id: RunId
    thread_id: ThreadId
    agent_id: AgentId
    tool_call_id: str | None = None


class ChildSuspendedPayload(_Payload, frozen=True):
    """A run that it started waits for these tickets, which are of that run."""

    run_id: RunId
    ticket_ids: tuple[TicketId, ...] = ()


class ChildFinishedPayload(_Payload, frozen=True):
    """A run that it started has ended. The output is left out where it is too large."""

    run_id: RunId
    termination: Termination
    output: Any = None
    tool_call_id: str | None = None


class MessageSentPayload(_Payload, frozen=True):
    """A run has sent something to an agent on another thread, where it opens the run of this id. `error`: why it never
    will.
    """

    to_thread_id: ThreadId
    to_run_id: RunId
    to_agent_id: AgentId | None = None
    message_ids: tuple[MessageId, ...] = ()
    error: str | None = None


class ThreadDeletedPayload(_Payload, frozen=True):
    """The last event of a thread, but for those of a run that is being stopped."""


class MessagesHiddenPayload(_Payload, frozen=True):
    """Messages of the log are read no more, or another one in their place. Seqs are those of messages."""

    first_seq: int
    last_seq: int
    why: Why
    replacement_message_id: MessageId | None = None


def queued(dispatch: Dispatch, agent_id: AgentId, request: RunRequest, asked: Trace) -> ServerEvent:
    """A dispatch of the run of that request was accepted. `asked`: where that which queued it has come from."""
    brought = dispatch.brings(request.input_message_ids)
    if dispatch.why not in ("start", "input"):
        brought = ()  # it goes on with what was brought before
    payload = RunQueuedPayload(
        agent_id,
        dispatch.route,
        dispatch.why,
        brought,
        asked.origin,
        asked.adapter,
        dispatch.available_at,
        tuple([tool.name for tool in request.options.client_tools]),
        asked.wire_run_id,
    )
    return ServerEvent("RunQueued", payload)


def claimed(dispatch: Dispatch) -> ServerEvent:
    """A worker has taken the dispatch."""
    return ServerEvent("RunSubmitted", RunClaimedPayload(dispatch.attempt_count + 1))


def started(
    dispatch: Dispatch,
    run: Run,
    *,
    resumed: bool,
    previous: ConsumerId | None,
    finished_calls: tuple[str, ...],
    stand_in: Route | None = None,
    process: ProcessName | None = None,
) -> ServerEvent:
    """The execution begins. `stand_in`: who executes it, where that is another than it names. `process`: where."""
    payload = RunStartedPayload(
        run.agent_id,
        dispatch.attempt_count + 1,
        dispatch.why,
        dispatch.claimed_by,
        previous,
        finished_calls,
        run.agent_version,
        stand_in,
        process,
    )
    return ServerEvent("RunResumed" if resumed else "RunStarted", payload)


def stream_reset(reason: str) -> ServerEvent:
    return ServerEvent("StreamReset", StreamReset(reason))


def call_cancelled(turn: Message, call: ToolCall, answer: Message) -> ServerEvent:
    """A call of `turn` that nobody will answer any more was closed by `answer`."""
    done = ToolCallDone(turn.id, call.id, call.name, answer.id, "cancelled", error_text=answer.text)
    return ServerEvent("ToolCallDone", done)


def rescheduled(dispatch: Dispatch, reason: str) -> ServerEvent:
    return _about(dispatch, "RunRescheduled", reason=reason, available_at=dispatch.available_at)


def interrupted(dispatch: Dispatch) -> ServerEvent:
    return _about(dispatch, "RunInterrupted")


def cancel_requested(dispatch: Dispatch) -> ServerEvent:
    return _about(dispatch, "CancelRequested")


def cancel_acknowledged(dispatch: Dispatch) -> ServerEvent:
    """The owner has asked the agent to stop."""
    return _about(dispatch, "CancelAcknowledged")


def timed_out(active: Dispatch | None, after_ms: int) -> ServerEvent:
    """The caller of a queued run gave up waiting for its thread; the run's own end follows."""
    return ServerEvent("MailboxTimeout", MailboxTimeoutPayload(after_ms, None if active is None else active.run_id))


def dead_lettered(dispatch: Dispatch, error_class: str | None) -> ServerEvent:
    """The queue has given up; the run's own end follows."""
    return ServerEvent(
        "RunDeadLettered",
        DeadLetterPayload(
            dispatch.attempt_count,
            dispatch.crash_count,
            error=dispatch.last_error,
            error_class=error_class or OTHER,
        ),
    )


def superseded(run: Run, termination: Termination, cause: str) -> ServerEvent:
    """Queued or waiting work was cleared away."""
    return ServerEvent("RunSuperseded", _ended(run, termination, cause=cause))


def ended(
    run: Run,
    termination: Termination,
    *,
    output: str | None = None,
    output_message_ids: Sequence[MessageId] = (),
    cause: str | None = None,
) -> ServerEvent:
    """The last event of a run. `output` as in `Run.final_output`."""
    value = None if output is None or output_message_ids else output_value(output)
    payload = _ended(run, termination, value, output_message_ids, cause=cause)
    return ServerEvent(FINISHED_KINDS[termination.type], payload)


def _ended(
    run: Run,
    termination: Termination,
    output: Any = None,
    output_message_ids: Sequence[MessageId] = (),
    *,
    cause: str | None,
) -> RunEndedPayload:
    return RunEndedPayload(
        termination, tuple(output_message_ids), output, _usage(run), run.usage_by_model, run.steps, cause
    )


def _usage(run: Run) -> Usage | None:
    return None if run.usage == NO_USAGE else run.usage


def suspended(run: Run, waiting: Waiting, child_run_ids: tuple[RunId, ...], until: Instant | None) -> ServerEvent:
    """The last event of an execution whose run waits."""
    payload = RunSuspendedPayload(
        waiting.reason, waiting.tickets, child_run_ids, waiting.mode, until, _usage(run), run.steps
    )
    return ServerEvent("RunSuspended", payload)


def ticket_opened(ticket: Ticket) -> ServerEvent:
    asked = ticket.asked
    payload = TicketOpenedPayload(
        ticket.ticket_id,
        asked.kind,
        asked.actions,
        asked.mode,
        ticket.agent_id,
        asked.tool_call_id,
        asked.tool_name,
        asked.arguments,
        asked.message,
        asked.response_schema,
        ticket.expires_at,
        None if ticket.expires_at is None else asked.on_expiry,
    )
    return ServerEvent("TicketOpened", payload)


def ticket_decided(ticket: Ticket, decision: Decision) -> ServerEvent:
    payload = TicketDecidedPayload(
        ticket.ticket_id,
        decision.decision_id,
        decision.action,
        ticket.asked.tool_call_id,
        decision.result,
        decision.arguments,
        decision.reason,
        decision.decided_by,
    )
    return ServerEvent("TicketDecided", payload)


def ticket_expired(ticket: Ticket) -> ServerEvent:
    asked = ticket.asked
    return ServerEvent("TicketExpired", TicketExpiredPayload(ticket.ticket_id, asked.on_expiry, asked.tool_call_id))


def ticket_withdrawn(ticket: Ticket, why: str) -> ServerEvent:
    return ServerEvent("TicketWithdrawn", TicketWithdrawnPayload(ticket.ticket_id, why, ticket.asked.tool_call_id))


def thread_saved(info: ThreadInfo, *, created: bool) -> ServerEvent:
    return ServerEvent("ThreadCreated" if created else "ThreadUpdated", ThreadPayload(info))


def posted(thread_id: ThreadId, errand: Errand) -> ServerEvent:
    """The run does something to another thread."""
    child = errand.request.trace.child if isinstance(errand, Begin) else None
    if isinstance(errand, Begin) and child is not None:
        agent_id = errand.request.intent.agent_id
        return ServerEvent("ChildStarted", ChildStartedPayload(errand.run_id, thread_id, agent_id, child.tool_call_id))
    return ServerEvent("MessageSent", _sent(thread_id, errand))


def refused(thread_id: ThreadId, errand: Errand, error: str) -> ServerEvent:
    """The other thread can never take it."""
    return ServerEvent("MessageUndeliverable", _sent(thread_id, errand, error))


def child_suspended(told: ChildWaits) -> ServerEvent:
    """A run that the run has started waits."""
    return ServerEvent("ChildSuspended", ChildSuspendedPayload(told.child_run_id, told.ticket_ids))


def child_finished(child: ChildTicket, end: ChildEnd, tool_call_id: str | None) -> ServerEvent:
    """A run that the run has started has ended."""
    return ServerEvent("ChildFinished", ChildFinishedPayload(child.run_id, end.termination, end.output, tool_call_id))


def _sent(thread_id: ThreadId, errand: Errand, error: str | None = None) -> MessageSentPayload:
    if isinstance(errand, Begin):
        agent_id, message_ids = errand.request.intent.agent_id, errand.request.input_message_ids
        return MessageSentPayload(thread_id, errand.run_id, agent_id, message_ids, error)
    return MessageSentPayload(thread_id, errand.run_id, error=error)


def messages_hidden(span: Span) -> ServerEvent:
    payload = MessagesHiddenPayload(span.first_seq, span.last_seq, span.why, span.replacement_id)
    return ServerEvent("MessagesHidden", payload)


def state_changed(patch: JsonPatch, version: int) -> ServerEvent:
    return ServerEvent("StateDeltaObserved", StateDelta(patch, version))


def error_recorded(message: str, code: str) -> ServerEvent:
    """Something went wrong that did not end the run."""
    return ServerEvent("ErrorRecorded", ErrorRecorded(message, code))


def thread_deleted() -> ServerEvent:
    return ServerEvent("ThreadDeleted", ThreadDeletedPayload())


def _about(
    dispatch: Dispatch,
    kind: str,
    *,
    reason: str | None = None,
    error: str | None = None,
    available_at: Instant | None = None,
) -> ServerEvent:
    payload: Any = DispatchPayload(
        dispatch.attempt_count,
        dispatch.crash_count,
        available_at,
        reason,
        dispatch.last_error if error is None else error,
    )
    return ServerEvent(kind, payload)
