"""The events an executor publishes while it runs an agent.

Above: drivers and agent functions make them; `event` has the kind of each in the log. Below: ids and totals.
Holds: an event repeats nothing that its row has (thread, run, dispatch, instant) and no body of a message. What there
is nothing to report about is left out: no null, and no zero that stands for "unknown". Deltas name the message they
will be part of, which is committed under that id. Ids of tool calls are unique in a thread.

`RunStart` and `RunFinish` are not an executor's to publish: the queue writes them.

Source: `docs/reference/events.md`.
"""

from __future__ import annotations

from typing import Any, Final, Literal

import msgspec

from awaken.domain.ids import MessageId
from awaken.domain.message import Block
from awaken.domain.run import TerminationType, Usage
from awaken.domain.state import JsonPatch

RunsOn = Literal["server", "client", "person"]
"""Who carries a tool call out: this process, the program that asked for the run, or somebody."""
ToolKind = Literal["read", "edit", "delete", "move", "search", "execute", "think", "fetch", "other"]
"""What a tool does to the world, for the sign a user interface puts beside its calls."""
CallStatus = Literal["succeeded", "failed", "invalid_arguments", "denied", "timed_out", "cancelled", "unknown"]
"""How a tool call ended. `invalid_arguments`: it was never made. `unknown`: begun, and nobody knows how it ended."""
FinishReason = Literal["stop", "length", "content_filter", "tool_call", "error"]
"""Why a model ended its answer."""


class _Event(msgspec.Struct, frozen=True, omit_defaults=True, gc=False):
    pass


# --- steps ------------------------------------------------------------------------------------------------------------


class StepStarted(_Event, frozen=True):
    """A step begins: a model call with its tools, or what a function does until its next `ctx.step` is recorded.

    `message_id` is the id of the assistant message it will produce, if it produces one. `index` counts the closed
    steps of the run, and is the `step_index` of the step's messages. Steps of a run do not overlap. `name`: that of
    the `ctx.step` which begins it.
    """

    message_id: MessageId
    index: int
    name: str | None = None


class StepEnded(_Event, frozen=True):
    """The step is complete. One that was cut short has none: the run's end, or its next `StepStarted`, ends it.

    `name`: that of the `ctx.step` which closed it, where its `StepStarted` has another one or none.
    """

    index: int
    name: str | None = None


# --- what the assistant message will hold -----------------------------------------------------------------------------


class TextDelta(_Event, frozen=True):
    """A piece of text. `part` is the place of its block in the content of the message."""

    message_id: MessageId
    part: int
    delta: str


class ReasoningDelta(_Event, frozen=True):
    """A piece of reasoning, as `TextDelta`."""

    message_id: MessageId
    part: int
    delta: str


class ReasoningEncryptedValue(_Event, frozen=True):
    """What the provider wants back with the reasoning of that part."""

    message_id: MessageId
    part: int
    encrypted_value: str


class StreamReset(_Event, frozen=True):
    """What was streamed of a message is void: text, reasoning, and calls that had begun.

    Without a `message_id`: of every message of the run that is not committed. What follows is either the same again,
    or the message as it was committed.
    """

    reason: str
    message_id: MessageId | None = None


# --- tool calls -------------------------------------------------------------------------------------------------------


class ToolCallStarted(_Event, frozen=True):
    """The model begins a call. Published for each call before its `ToolCallReady`, and again after a `StreamReset`."""

    message_id: MessageId
    id: str
    name: str
    runs_on: RunsOn
    title: str | None = None
    tool_kind: ToolKind | None = None


class ToolCallDelta(_Event, frozen=True):
    """A piece of the call's arguments, as the model writes them."""

    id: str
    args_delta: str


class ToolCallReady(_Event, frozen=True):
    """The arguments are complete, and the message that makes the call is committed.

    `raw` stands in the place of `arguments` where the model wrote no JSON object.
    """

    message_id: MessageId
    id: str
    name: str
    arguments: dict[str, Any] | None = None
    raw: str | None = None


class ToolCallStreamDelta(_Event, frozen=True):
    """Output from inside a running tool: `text` continues what came before, `value` replaces it.

    `name` distinguishes several outputs of one call, where the tool names them.

    Raises:
        ValueError: It has both or neither.
    """

    id: str
    text: str | None = None
    value: Any = None
    name: str | None = None

    def __post_init__(self) -> None:
        if (self.text is None) == (self.value is None):
            raise ValueError("output of a running tool is either a text or a value")


class ToolCallDone(_Event, frozen=True):
    """The call has ended, and its answer is committed as the message `result_message_id`.

    `result` is what the tool returned, absent for nothing; `error_text` what the model reads about a call that did
    not succeed. `ticket_id` names what the call had waited for.
    """

    message_id: MessageId
    id: str
    name: str
    result_message_id: MessageId
    status: CallStatus
    result: Any = None
    error_text: str | None = None
    ticket_id: str | None = None


# --- beside the conversation ------------------------------------------------------------------------------------------


class InferenceComplete(_Event, frozen=True):
    """A model call has ended, whose answer is the message. `duration_ms` is how long it took."""

    message_id: MessageId
    usage: Usage
    duration_ms: int
    model: str | None = None
    provider: str | None = None
    finish_reason: FinishReason | None = None


class StateSnapshot(_Event, frozen=True):
    """The whole state of the thread, and its version."""

    state: Any
    version: int


class StateDelta(_Event, frozen=True):
    """A change of the thread's state, and the version it leads to."""

    patch: JsonPatch
    version: int


class ActivitySnapshot(_Event, frozen=True):
    """What the agent is doing, of the agent's own `type`. The same `id` again is the same activity, further on.

    `replace=False`: a reader that shows this activity already keeps what it shows.
    """

    id: str
    type: str
    content: dict[str, Any]
    replace: bool = True


class ActivityDelta(_Event, frozen=True):
    """A change of an activity's content."""

    id: str
    type: str
    patch: JsonPatch


class ArtifactWritten(_Event, frozen=True):
    """A document that the agent has made, or a piece of one: `blocks` are the whole of it, or follow what there is.

    `last`: nothing more is coming.
    """

    artifact_id: str
    name: str
    blocks: tuple[Block, ...]
    append: bool = False
    last: bool = True


class ErrorRecorded(_Event, frozen=True):
    """An error that did not end the run."""

    message: str
    error_code: str | None = None


Event = (
    StepStarted
    | StepEnded
    | TextDelta
    | ReasoningDelta
    | ReasoningEncryptedValue
    | StreamReset
    | ToolCallStarted
    | ToolCallDelta
    | ToolCallReady
    | ToolCallStreamDelta
    | ToolCallDone
    | InferenceComplete
    | StateSnapshot
    | StateDelta
    | ActivitySnapshot
    | ActivityDelta
    | ArtifactWritten
    | ErrorRecorded
)


# --- a run's start and end, which the queue writes --------------------------------------------------------------------


FINISHED_KINDS: Final[dict[TerminationType, str]] = {
    "natural_end": "RunFinished",
    "behavior_requested": "RunFinished",
    "stopped": "RunTerminated",
    "blocked": "RunTerminated",
    "cancelled": "RunCancelled",
    "error": "RunErrored",
}
"""The kind of a run's end, by its termination."""
