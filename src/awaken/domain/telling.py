"""What an event of a log says, in words: one sentence for each kind.

Above: lists that show the last event of a run, timelines, the command line and the console. Below: the table of kinds.
Holds: a sentence is one line of a bounded length, whatever a model or a tool has written, and telling never raises: an
event that cannot be read, or is of a kind that this version does not know, is told by its kind.

Source: docs/reference/events.md.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from awaken.domain.agent_event import (
    ActivityDelta,
    ActivitySnapshot,
    ArtifactWritten,
    ErrorRecorded,
    InferenceComplete,
    StepEnded,
    StepStarted,
    StreamReset,
    ToolCallDone,
    ToolCallReady,
    ToolCallStarted,
)
from awaken.domain.errors import DataIntegrity
from awaken.domain.event import opened
from awaken.domain.ids import ConsumerId
from awaken.domain.log import LoggedEvent, MessagePayload, ReadEvent
from awaken.domain.message import Role
from awaken.domain.server_event import (
    ChildFinishedPayload,
    ChildStartedPayload,
    ChildSuspendedPayload,
    DeadLetterPayload,
    DispatchPayload,
    MailboxTimeoutPayload,
    MessageSentPayload,
    MessagesHiddenPayload,
    RunClaimedPayload,
    RunEndedPayload,
    RunQueuedPayload,
    RunStartedPayload,
    RunSuspendedPayload,
    ThreadPayload,
    TicketDecidedPayload,
    TicketExpiredPayload,
    TicketOpenedPayload,
    TicketWithdrawnPayload,
)
from awaken.domain.worker import ProcessName

MAX_TOLD_CHARS: Final = 240
"""Of a sentence."""
_MAX_NAME_CHARS: Final = 80
_SHORT_CHARS: Final = 22
"""An id that is no longer is shown whole."""
_QUEUED: Final = {
    "input": "Queued again, with input",
    "decided": "Queued again: what it waited for is decided",
    "children": "Queued again: a run that it started has ended",
}
_RESUMED: Final = {
    "retry": "Tries again",
    "takeover": "Taken over{by}, because its process died",
    "handover": "Taken over{by} from a process that handed it back",
    "input": "Goes on with input",
    "decided": "Goes on with a decision",
    "children": "Goes on, now that a run it started has ended",
}
_WAITS: Final = {
    "tool_permission": "Waits for an approval",
    "user_input": "Waits for an answer",
    "background_tasks": "Waits for runs that it started",
    "external_event": "Waits for something from outside",
    "rate_limit": "Waits, because a rate is reached",
    "manual_pause": "Waits, because somebody has paused it",
}
_ASKED: Final = {
    "approval": "Asks whether {} may run",
    "input": "Asks for {}",
    "client_tool": "Asks the caller to carry out {}",
    "external": "Waits for {} from outside",
    "child": "Waits for run {}",
}
_DECIDED: Final = {"approve": "approved", "deny": "denied", "edit": "approved with changes", "answer": "answered",
                   "fail": "answered with a failure"}  # fmt: skip
_CALL_ENDED: Final = {
    "succeeded": "succeeded", "failed": "failed", "invalid_arguments": "was not made: its arguments are invalid",
    "denied": "was denied", "timed_out": "timed out", "cancelled": "was cancelled",
    "unknown": "ended, nobody knows how",
}  # fmt: skip
_SAID_BY: Final = {
    Role.USER: "A message was taken",
    Role.ASSISTANT: "The answer was stored",
    Role.TOOL: "The result of a call was stored",
    Role.SYSTEM: "An instruction was stored",
}


def told(entry: LoggedEvent | ReadEvent) -> str:
    """An event in words: one line, without a full stop."""
    sentence = SENTENCES.get(entry.kind)
    if sentence is None:
        return _line(entry.kind)
    try:
        return _line(sentence(opened(entry)))
    except DataIntegrity:
        return f"{entry.kind}, which cannot be read"


def named(text: str | None, most: int = _MAX_NAME_CHARS) -> str:
    """A text of somebody else's on one line, in short."""
    words = " ".join((text or "").split())
    return words if len(words) <= most else words[: most - 1] + "…"


def named_process(consumer: ConsumerId | None, process: ProcessName | None) -> str:
    """How a person finds the process of this id; where that is not known, its id in short. Empty where neither is."""
    if process is not None:
        return named(str(process))
    if consumer is None or len(consumer) <= _SHORT_CHARS:
        return named(consumer)
    return f"process {consumer[:10]}…{consumer[-8:]}"


def counted(count: int, what: str) -> str:
    return f"{count} {what}" if count == 1 else f"{count} {what}s"


def _line(text: str) -> str:
    return named(text, MAX_TOLD_CHARS)


def _because(reason: str | None) -> str:
    return f": {reason}" if reason else ""


def _queued(it: RunQueuedPayload) -> str:
    return _QUEUED.get(it.why, f"Queued for agent {named(it.route)}")


def _began(it: RunStartedPayload) -> str:
    return f"Began{f', attempt {it.attempt}' if it.attempt > 1 else ''}"


def _went_on(it: RunStartedPayload) -> str:
    kept = f"; {counted(len(it.finished_calls), 'finished call')} not repeated" if it.finished_calls else ""
    by = f" by {named_process(it.worker, it.process)}" if it.worker else ""
    return f"{_RESUMED.get(it.why, 'Goes on').format(by=by)}{kept}"


def _suspended(it: RunSuspendedPayload) -> str:
    more = f", {len(it.ticket_ids)} of them" if len(it.ticket_ids) > 1 else ""
    return _WAITS.get(it.reason, "Waits") + more


def _ended(how: str) -> Callable[[RunEndedPayload], str]:
    def sentence(it: RunEndedPayload) -> str:
        return how + _because(it.termination.detail or it.termination.code)

    return sentence


def _rescheduled(it: DispatchPayload) -> str:
    if it.error is None:
        return f"Back in the queue{_because(it.reason)}"
    return f"Failed, and is tried again: {it.error}"


def _of_message(it: MessagePayload) -> str:
    calls = f", with {counted(len(it.tool_calls), 'call')}" if it.tool_calls else ""
    return _SAID_BY[it.role] + calls


def _called(it: ToolCallReady) -> str:
    return f"Calls {named(it.name)}"


def _call_done(it: ToolCallDone) -> str:
    return f"{named(it.name)} {_CALL_ENDED.get(it.status, it.status)}{_because(it.error_text)}"


def _asked(it: TicketOpenedPayload) -> str:
    what = named(it.tool_name) or "it"
    return _ASKED[it.kind].format(what) + _because(it.message)


def _decided(it: TicketDecidedPayload) -> str:
    by = f" by {named(it.decided_by)}" if it.decided_by else ""
    return f"A ticket was {_DECIDED[it.action]}{by}{_because(it.reason)}"


def _child_ended(it: ChildFinishedPayload) -> str:
    return f"Run {named(it.run_id)}, which it started, has ended: {it.termination.type}"


def _activity(it: ActivitySnapshot | ActivityDelta) -> str:
    return f"Is at: {named(it.type)}"


def _model_call(it: InferenceComplete) -> str:
    tokens = f"{it.usage.input_tokens} + {it.usage.output_tokens} tokens"
    return f"{named(it.model) or 'The model'} answered, {tokens} in {it.duration_ms / 1000:.1f} s"


def _always(text: str) -> Callable[[Any], str]:
    return lambda _: text


def _thread(what: str) -> Callable[[ThreadPayload], str]:
    def sentence(it: ThreadPayload) -> str:
        return what + _because(named(it.info.title))

    return sentence


def _child(it: ChildStartedPayload) -> str:
    return f"Started run {named(it.run_id)} of agent {named(it.agent_id)}"


def _child_waits(it: ChildSuspendedPayload) -> str:
    return f"Run {named(it.run_id)}, which it started, waits"


def _error(it: ErrorRecorded) -> str:
    return f"Noted an error{_because(it.message)}"


def _claimed(it: RunClaimedPayload) -> str:
    return f"Was claimed{f', attempt {it.attempt}' if it.attempt > 1 else ''}"


def _given_up(it: DeadLetterPayload) -> str:
    return f"Was given up{_because(it.error)}"


def _of_dispatch(what: str) -> Callable[[DispatchPayload], str]:
    def sentence(it: DispatchPayload) -> str:
        return what + _because(it.reason)

    return sentence


def _gave_up_waiting(it: MailboxTimeoutPayload) -> str:
    return f"Gave up waiting for its thread after {it.timeout_ms / 1000:g} s"


def _hidden(it: MessagesHiddenPayload) -> str:
    return f"{counted(it.last_seq - it.first_seq + 1, 'message')} hidden: {it.why}"


def _sent(what: str) -> Callable[[MessageSentPayload], str]:
    def sentence(it: MessageSentPayload) -> str:
        return f"{what} to thread {named(it.to_thread_id)}{_because(it.error)}"

    return sentence


def _artifact(it: ArtifactWritten) -> str:
    return f"Wrote {named(it.name) or 'an artifact'}"


def _reset(it: StreamReset) -> str:
    return f"What it had written of its answer is void{_because(it.reason)}"


def _call_begun(it: ToolCallStarted) -> str:
    return f"Begins a call of {named(it.name)}"


def _expired(it: TicketExpiredPayload) -> str:
    return f"Nobody decided a ticket in time: {it.on_expiry}"


def _withdrawn(it: TicketWithdrawnPayload) -> str:
    return f"A ticket was withdrawn{_because(it.why)}"


def _step(what: str) -> Callable[[StepStarted | StepEnded], str]:
    def sentence(it: StepStarted | StepEnded) -> str:
        return what.format(it.index + 1) + _because(named(it.name))

    return sentence


SENTENCES: Final[dict[str, Callable[[Any], str]]] = {
    "ThreadCreated": _thread("The thread was created"),
    "ThreadUpdated": _thread("The thread was changed"),
    "ThreadDeleted": _always("The thread was deleted"),
    "RunStarted": _began,
    "RunResumed": _went_on,
    "RunSuspended": _suspended,
    "RunFinished": _always("Finished"),
    "RunTerminated": _ended("Was stopped"),
    "RunCancelled": _ended("Was cancelled"),
    "RunErrored": _ended("Failed"),
    "ChildStarted": _child,
    "ChildSuspended": _child_waits,
    "ChildFinished": _child_ended,
    "ErrorRecorded": _error,
    "RunQueued": _queued,
    "RunSubmitted": _claimed,
    "RunRescheduled": _rescheduled,
    "RunDeadLettered": _given_up,
    "RunInterrupted": _of_dispatch("Was interrupted"),
    "RunSuperseded": _ended("Was cleared away"),
    "CancelRequested": _of_dispatch("Was asked to stop"),
    "CancelAcknowledged": _of_dispatch("Its agent was told to stop"),
    "MailboxTimeout": _gave_up_waiting,
    "MessageCommitted": _of_message,
    "MessagePended": _always("A message came, and waits to be taken"),
    "PendingEdited": _always("A message that waits was changed"),
    "PendingRetracted": _always("A message that waited was taken back"),
    "MessageConsumed": _always("Took a message that came to it"),
    "MessagesHidden": _hidden,
    "MessageSent": _sent("Sent a message"),
    "MessageUndeliverable": _sent("Could not deliver a message"),
    "ArtifactWritten": _artifact,
    "TextDeltaObserved": _always("Writes"),
    "ReasoningDeltaObserved": _always("Thinks"),
    "ReasoningEncryptedValueObserved": _always("Thinks"),
    "StreamReset": _reset,
    "ToolCallStarted": _call_begun,
    "ToolCallDeltaObserved": _always("Writes the arguments of a call"),
    "ToolCallReady": _called,
    "ToolCallStreamDeltaObserved": _always("A tool is at work"),
    "ToolCallDone": _call_done,
    "TicketOpened": _asked,
    "TicketDecided": _decided,
    "TicketExpired": _expired,
    "TicketWithdrawn": _withdrawn,
    "StateSnapshotObserved": _always("The thread's state was set"),
    "StateDeltaObserved": _always("The thread's state was changed"),
    "ActivitySnapshotObserved": _activity,
    "ActivityDeltaObserved": _activity,
    "InferenceComplete": _model_call,
    "StepStarted": _step("Step {} began"),
    "StepEnded": _step("Step {} is closed"),
}
"""By kind, from the payload as `opened` gives it."""
