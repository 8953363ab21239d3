"""Events: what executors yield, what the log stores, and the names both have on the wire.

`Event` is what an agent's execution reports. `LoggedEvent` is one entry of a thread's log: a kind and a JSON payload,
fixed when it is appended, so that a reader never needs to know every type to pass it on. Entries are appended as
`Appended` and read as `EventRow`: most of what is written has no reader at that moment.

Source: research/agent-runtimes.md 8 (events), spec/mailbox.md 4 (kinds), spec/server.md 6.7 (names on the wire).
"""

from __future__ import annotations

from typing import Any, Final, Literal

import msgspec

from awaken.domain.ids import MessageId, RunId, ThreadId
from awaken.domain.log import LoggedEvent
from awaken.domain.run import Termination, Usage


class _Event(msgspec.Struct, frozen=True, omit_defaults=True, tag_field="event_type", gc=False):
    pass


class RunStart(_Event, frozen=True, tag="run_start"):
    thread_id: ThreadId
    run_id: RunId
    parent_run_id: RunId | None = None


class RunFinish(_Event, frozen=True, tag="run_finish"):
    """A run's end. `result` is present when the run ended well and has something to say."""

    thread_id: ThreadId
    run_id: RunId
    termination: Termination
    result: Any = None


class StepStart(_Event, frozen=True, tag="step_start"):
    message_id: MessageId | None = None


class StepEnd(_Event, frozen=True, tag="step_end"):
    pass


class TextDelta(_Event, frozen=True, tag="text_delta"):
    delta: str


class ReasoningDelta(_Event, frozen=True, tag="reasoning_delta"):
    delta: str


class ReasoningEncryptedValue(_Event, frozen=True, tag="reasoning_encrypted_value"):
    encrypted_value: str


class ToolCallStart(_Event, frozen=True, tag="tool_call_start"):
    id: str
    name: str


class ToolCallDelta(_Event, frozen=True, tag="tool_call_delta"):
    id: str
    args_delta: str


class ToolCallReady(_Event, frozen=True, tag="tool_call_ready"):
    id: str
    name: str
    arguments: Any = None


class ToolCallStreamDelta(_Event, frozen=True, tag="tool_call_stream_delta"):
    """Output from inside a running tool."""

    id: str
    name: str
    delta: Any = None


class ToolCallDone(_Event, frozen=True, tag="tool_call_done"):
    id: str
    message_id: MessageId
    result: Any = None
    outcome: Literal["succeeded", "failed", "suspended"] = "succeeded"


class ToolCallCancel(_Event, frozen=True, tag="tool_call_cancel"):
    id: str
    name: str
    reason: str


class StreamReset(_Event, frozen=True, tag="stream_reset"):
    """Text newer than the last committed message is void; it will be produced again."""

    reason: str


class InferenceComplete(_Event, frozen=True, tag="inference_complete"):
    model: str
    usage: Usage
    duration_ms: int


class StateSnapshot(_Event, frozen=True, tag="state_snapshot"):
    snapshot: Any


class StateDelta(_Event, frozen=True, tag="state_delta"):
    delta: Any


class ActivitySnapshot(_Event, frozen=True, tag="activity_snapshot"):
    id: str
    content: Any


class ActivityDelta(_Event, frozen=True, tag="activity_delta"):
    id: str
    delta: Any


class ErrorRecorded(_Event, frozen=True, tag="error"):
    message: str
    error_code: str | None = None


Event = (
    RunStart
    | RunFinish
    | StepStart
    | StepEnd
    | TextDelta
    | ReasoningDelta
    | ReasoningEncryptedValue
    | ToolCallStart
    | ToolCallDelta
    | ToolCallReady
    | ToolCallStreamDelta
    | ToolCallDone
    | ToolCallCancel
    | StreamReset
    | InferenceComplete
    | StateSnapshot
    | StateDelta
    | ActivitySnapshot
    | ActivityDelta
    | ErrorRecorded
)

KINDS: Final[dict[type[Any], str]] = {
    RunStart: "RunStarted",
    RunFinish: "RunFinished",
    StepStart: "StepStarted",
    StepEnd: "StepEnded",
    TextDelta: "TextDeltaObserved",
    ReasoningDelta: "ReasoningDeltaObserved",
    ReasoningEncryptedValue: "ReasoningEncryptedValueObserved",
    ToolCallStart: "ToolCallStarted",
    ToolCallDelta: "ToolCallDeltaObserved",
    ToolCallReady: "ToolCallReady",
    ToolCallStreamDelta: "ToolCallStreamDeltaObserved",
    ToolCallDone: "ToolCallDone",
    ToolCallCancel: "ToolCallCancelled",
    StreamReset: "StreamReset",
    InferenceComplete: "InferenceComplete",
    StateSnapshot: "StateSnapshotObserved",
    StateDelta: "StateDeltaObserved",
    ActivitySnapshot: "ActivitySnapshotObserved",
    ActivityDelta: "ActivityDeltaObserved",
    ErrorRecorded: "ErrorRecorded",
}
"""The kind under which each executor event enters the log. `RunFinish` gets its kind from its termination."""

FINISHED_KINDS: Final = {
    "natural_end": "RunFinished",
    "behavior_requested": "RunFinished",
    "stopped": "RunTerminated",
    "blocked": "RunTerminated",
    "cancelled": "RunCancelled",
    "error": "RunErrored",
    "suspended": "RunSuspended",
}
TERMINAL_KINDS: Final = frozenset({"RunFinished", "RunTerminated", "RunCancelled", "RunErrored", "RunSuperseded"})
"""After one of these a run's events are over; only a `RunResumed` could follow."""

CHANNELS: Final[dict[str, str]] = {
    **dict.fromkeys(
        (
            "RunStarted", "RunResumed", "RunSuspended", "RunFinished", "RunCancelled", "RunErrored", "RunTerminated",
            "ThreadCreated", "ThreadUpdated",
        ),
        "lifecycle",
    ),
    **dict.fromkeys(
        (
            "RunQueued", "RunSubmitted", "RunRescheduled", "RunInterrupted", "RunSuperseded", "RunDeadLettered",
            "CancelRequested", "CancelAcknowledged",
        ),
        "mailbox",
    ),
    **dict.fromkeys(
        (
            "MessageCommitted", "TextDeltaObserved", "ReasoningDeltaObserved", "ReasoningEncryptedValueObserved",
            "StreamReset",
        ),
        "messages",
    ),
    **dict.fromkeys(
        (
            "ToolCallStarted", "ToolCallDeltaObserved", "ToolCallReady", "ToolCallStreamDeltaObserved", "ToolCallDone",
            "ToolCallCancelled",
        ),
        "tools",
    ),
    "StateSnapshotObserved": "state",
    "StateDeltaObserved": "state",
    "ActivitySnapshotObserved": "activity",
    "ActivityDeltaObserved": "activity",
    "InferenceComplete": "usage",
    "StepStarted": "debug",
    "StepEnded": "debug",
    "ErrorRecorded": "lifecycle",
}  # fmt: skip
"""The channel of every kind this version writes; a kind it does not know belongs to `other`."""

DELTA_KINDS: Final = frozenset(
    {
        "TextDeltaObserved", "ReasoningDeltaObserved", "ReasoningEncryptedValueObserved", "ToolCallStarted",
        "ToolCallDeltaObserved", "ToolCallStreamDeltaObserved",
    }
)  # fmt: skip
"""Observed while a turn is being produced; what they amount to is committed later as a message."""


_encoder: Final = msgspec.json.Encoder()


def logged(event: Event) -> LoggedEvent:
    """The log entry for an executor event."""
    if type(event) is RunFinish:
        return LoggedEvent(FINISHED_KINDS[event.termination.type], msgspec.Raw(_encoder.encode(event)))
    return LoggedEvent(KINDS[type(event)], msgspec.Raw(_encoder.encode(event)))
