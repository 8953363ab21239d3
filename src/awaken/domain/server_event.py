"""Events the queue itself writes: what became of a dispatch, a run, a message or a thread.

Source: spec/mailbox.md 4.1 (kinds and payloads), spec/server.md 6.7 (the additional kinds).
"""

from __future__ import annotations

from typing import Any, Final

import msgspec

from awaken.domain.agent_event import FINISHED_KINDS, RunFinish, RunStart, StreamReset
from awaken.domain.dispatch import Dispatch, DispatchStatus
from awaken.domain.ids import MessageId, RunId, ThreadId
from awaken.domain.log import ServerEvent
from awaken.domain.message import Block, Message, MessageState, Role, ToolCall, ToolStatus, Visibility
from awaken.domain.run import Run, Termination
from awaken.domain.thread import ThreadInfo


class DispatchPayload(msgspec.Struct, frozen=True, omit_defaults=True, gc=False):
    """The state of a dispatch right after the move the event names. Instants in milliseconds."""

    thread_id: ThreadId
    run_id: RunId
    dispatch_id: str
    dispatch_epoch: int
    attempt_count: int
    status: DispatchStatus
    available_at: int
    created_at: int
    updated_at: int
    reason: str | None = None
    error: str | None = None


class MessagePayload(msgspec.Struct, frozen=True, gc=False):
    """A message that became part of the conversation."""

    thread_id: ThreadId
    run_id: RunId | None
    message_id: MessageId
    message_seq: int
    role: Role
    message_kind: str
    content_blocks: tuple[Block, ...]
    tool_calls: tuple[ToolCall, ...]
    tool_call_id: str | None
    tool_status: ToolStatus | None
    state: MessageState


class ThreadPayload(msgspec.Struct, frozen=True):
    thread_id: ThreadId
    info: ThreadInfo


_MESSAGE_KINDS: Final[dict[tuple[Role, Visibility], str]] = {
    (Role.USER, Visibility.ALL): "user_input",
    (Role.USER, Visibility.INTERNAL): "internal_user_input",
    (Role.ASSISTANT, Visibility.ALL): "assistant_output",
    (Role.ASSISTANT, Visibility.INTERNAL): "assistant_output",
    (Role.TOOL, Visibility.ALL): "tool_result",
    (Role.TOOL, Visibility.INTERNAL): "tool_result",
    (Role.SYSTEM, Visibility.ALL): "system",
    (Role.SYSTEM, Visibility.INTERNAL): "internal_system",
}


def queued(dispatch: Dispatch) -> ServerEvent:
    return _about(dispatch, "RunQueued")


def submitted(dispatch: Dispatch) -> ServerEvent:
    """A worker has taken the dispatch."""
    return _about(dispatch, "RunSubmitted")


def started(run: Run, *, resumed: bool) -> ServerEvent:
    start = RunStart(run.thread_id, run.run_id, run.request.trace.parent_run_id)
    return ServerEvent("RunResumed" if resumed else "RunStarted", start)


def stream_reset(reason: str) -> ServerEvent:
    return ServerEvent("StreamReset", StreamReset(reason))


def rescheduled(dispatch: Dispatch, reason: str) -> ServerEvent:
    return _about(dispatch, "RunRescheduled", reason=reason, error=dispatch.last_error)


def dead_lettered(dispatch: Dispatch) -> ServerEvent:
    return _about(dispatch, "RunDeadLettered", error=dispatch.last_error)


def cancelled(dispatch: Dispatch) -> ServerEvent:
    """A run that never started was cancelled with its dispatch."""
    return _about(dispatch, "RunCancelled")


def superseded(dispatch: Dispatch) -> ServerEvent:
    return _about(dispatch, "RunSuperseded")


def interrupted(dispatch: Dispatch) -> ServerEvent:
    return _about(dispatch, "RunInterrupted")


def cancel_requested(dispatch: Dispatch) -> ServerEvent:
    return _about(dispatch, "CancelRequested")


def cancel_acknowledged(dispatch: Dispatch) -> ServerEvent:
    """The owner has told the agent to stop."""
    return _about(dispatch, "CancelAcknowledged")


def finished(run: Run, termination: Termination) -> ServerEvent:
    """The last event of an execution."""
    return ServerEvent(FINISHED_KINDS[termination.type], RunFinish(run.thread_id, run.run_id, termination))


def message_committed(message: Message, thread_id: ThreadId, run_id: RunId | None, seq: int) -> ServerEvent:
    payload = MessagePayload(
        thread_id,
        run_id,
        message.id,
        seq,
        message.role,
        _MESSAGE_KINDS[message.role, message.visibility],
        message.content,
        message.tool_calls,
        message.tool_call_id,
        message.tool_status,
        message.state,
    )
    return ServerEvent("MessageCommitted", payload)


def thread_saved(thread_id: ThreadId, info: ThreadInfo, *, created: bool) -> ServerEvent:
    return ServerEvent("ThreadCreated" if created else "ThreadUpdated", ThreadPayload(thread_id, info))


def _about(dispatch: Dispatch, kind: str, *, reason: str | None = None, error: str | None = None) -> ServerEvent:
    payload: Any = DispatchPayload(
        dispatch.thread_id,
        dispatch.run_id,
        dispatch.dispatch_id,
        dispatch.epoch,
        dispatch.attempt_count,
        dispatch.status,
        dispatch.available_at,
        dispatch.created_at,
        dispatch.updated_at,
        reason,
        error,
    )
    return ServerEvent(kind, payload)
