"""The kinds of events in a log: one table, and the way from an event to its entry and back.

Above: whoever writes, filters, encodes or reads a log; agents import their events from here. Below: `agent_event`, what
executors publish, and `server_event`, what the queue writes.
Holds: whatever depends on a kind is a column of the table or follows from one. Names are never used again for
something else, so those of what later versions will write are in it already.

Source: `docs/reference/events.md`.
"""

from __future__ import annotations

from functools import cache
from typing import Any, Final, Literal, get_args

import msgspec

from awaken.domain.agent_event import FINISHED_KINDS as FINISHED_KINDS
from awaken.domain.agent_event import (
    ActivityDelta,
    ActivitySnapshot,
    ArtifactWritten,
    ErrorRecorded,
    Event,
    InferenceComplete,
    ReasoningDelta,
    ReasoningEncryptedValue,
    StateDelta,
    StateSnapshot,
    StepEnded,
    StepStarted,
    StreamReset,
    TextDelta,
    ToolCallDelta,
    ToolCallDone,
    ToolCallReady,
    ToolCallStarted,
    ToolCallStreamDelta,
)
from awaken.domain.checking import encoded, shown
from awaken.domain.errors import DataIntegrity, ValidationError
from awaken.domain.log import LoggedEvent, MessagePayload, ReadEvent
from awaken.domain.message import Visibility
from awaken.domain.message_event import (
    MessageConsumedPayload,
    MessagePendedPayload,
    PendingEditedPayload,
    PendingRetractedPayload,
)
from awaken.domain.run import Usage, with_model
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
    ThreadDeletedPayload,
    ThreadPayload,
    TicketDecidedPayload,
    TicketExpiredPayload,
    TicketOpenedPayload,
    TicketWithdrawnPayload,
)

Channel = Literal["lifecycle", "mailbox", "messages", "tools", "decisions", "state", "activity", "usage", "debug"]


class Kind(msgspec.Struct, frozen=True):
    """A row of the table."""

    name: str
    channel: Channel
    payload: type[msgspec.Struct]
    is_delta: bool = False
    """Observed while a turn is being produced; what it amounts to is committed later as a message."""
    opens_stream: bool = False
    """It shows part of a message that may never be committed: somebody then owes a `StreamReset`."""
    is_terminal: bool = False
    """A run has no further events after it; only a `RunResumed` could follow."""
    is_wait: bool = False
    """The run waits for somebody after it."""
    visibility: Visibility = Visibility.ALL
    """Of an event of this kind, unless the event itself is marked otherwise."""


_ROWS: Final = (
    Kind("ThreadCreated", "lifecycle", ThreadPayload),
    Kind("ThreadUpdated", "lifecycle", ThreadPayload),
    Kind("ThreadDeleted", "lifecycle", ThreadDeletedPayload),
    Kind("RunStarted", "lifecycle", RunStartedPayload),
    Kind("RunResumed", "lifecycle", RunStartedPayload),
    Kind("RunSuspended", "lifecycle", RunSuspendedPayload, is_wait=True),
    Kind("RunFinished", "lifecycle", RunEndedPayload, is_terminal=True),
    Kind("RunTerminated", "lifecycle", RunEndedPayload, is_terminal=True),
    Kind("RunCancelled", "lifecycle", RunEndedPayload, is_terminal=True),
    Kind("RunErrored", "lifecycle", RunEndedPayload, is_terminal=True),
    Kind("ChildStarted", "lifecycle", ChildStartedPayload),
    Kind("ChildSuspended", "lifecycle", ChildSuspendedPayload),
    Kind("ChildFinished", "lifecycle", ChildFinishedPayload),
    Kind("ErrorRecorded", "lifecycle", ErrorRecorded),
    # the queue
    Kind("RunQueued", "mailbox", RunQueuedPayload),
    Kind("RunSubmitted", "mailbox", RunClaimedPayload),
    Kind("RunRescheduled", "mailbox", DispatchPayload),
    Kind("RunDeadLettered", "mailbox", DeadLetterPayload),
    Kind("RunInterrupted", "mailbox", DispatchPayload),
    Kind("RunSuperseded", "mailbox", RunEndedPayload, is_terminal=True),
    Kind("CancelRequested", "mailbox", DispatchPayload),
    Kind("CancelAcknowledged", "mailbox", DispatchPayload),
    Kind("MailboxTimeout", "mailbox", MailboxTimeoutPayload),
    # the conversation
    Kind("MessageCommitted", "messages", MessagePayload),
    Kind("MessagePended", "messages", MessagePendedPayload),
    Kind("PendingEdited", "messages", PendingEditedPayload),
    Kind("PendingRetracted", "messages", PendingRetractedPayload),
    Kind("MessageConsumed", "messages", MessageConsumedPayload),
    Kind("MessagesHidden", "messages", MessagesHiddenPayload),
    Kind("MessageSent", "messages", MessageSentPayload),
    Kind("MessageUndeliverable", "messages", MessageSentPayload),
    Kind("ArtifactWritten", "messages", ArtifactWritten),
    Kind("TextDeltaObserved", "messages", TextDelta, is_delta=True, opens_stream=True),
    Kind("ReasoningDeltaObserved", "messages", ReasoningDelta, is_delta=True, opens_stream=True),
    Kind("ReasoningEncryptedValueObserved", "messages", ReasoningEncryptedValue, is_delta=True, opens_stream=True),
    Kind("StreamReset", "messages", StreamReset),
    # tool calls
    Kind("ToolCallStarted", "tools", ToolCallStarted, is_delta=True, opens_stream=True),
    Kind("ToolCallDeltaObserved", "tools", ToolCallDelta, is_delta=True, opens_stream=True),
    Kind("ToolCallReady", "tools", ToolCallReady),
    Kind("ToolCallStreamDeltaObserved", "tools", ToolCallStreamDelta, is_delta=True),
    Kind("ToolCallDone", "tools", ToolCallDone),
    # what a run waits for
    Kind("TicketOpened", "decisions", TicketOpenedPayload),
    Kind("TicketDecided", "decisions", TicketDecidedPayload),
    Kind("TicketExpired", "decisions", TicketExpiredPayload),
    Kind("TicketWithdrawn", "decisions", TicketWithdrawnPayload),
    # beside the conversation
    Kind("StateSnapshotObserved", "state", StateSnapshot),
    Kind("StateDeltaObserved", "state", StateDelta),
    Kind("ActivitySnapshotObserved", "activity", ActivitySnapshot),
    Kind("ActivityDeltaObserved", "activity", ActivityDelta),
    Kind("InferenceComplete", "usage", InferenceComplete),
    Kind("StepStarted", "debug", StepStarted),
    Kind("StepEnded", "debug", StepEnded),
)

TABLE: Final[dict[str, Kind]] = {kind.name: kind for kind in _ROWS}
"""Every kind by its name, which is `kind` in the log and on the wire."""

KINDS: Final[dict[type[Any], str]] = {kind.payload: kind.name for kind in _ROWS if kind.payload in get_args(Event)}
"""The kind under which each executor event enters the log."""
CHANNELS: Final[dict[str, Channel]] = {kind.name: kind.channel for kind in _ROWS}
"""The channel of every kind; a kind that this version does not know belongs to `other`."""
INFERENCE: Final = KINDS[InferenceComplete]
DELTA_KINDS: Final = frozenset(kind.name for kind in _ROWS if kind.is_delta)
OPENS_STREAM: Final = frozenset(kind.name for kind in _ROWS if kind.opens_stream)
TERMINAL_KINDS: Final = frozenset(kind.name for kind in _ROWS if kind.is_terminal)
WAIT_KINDS: Final = frozenset(kind.name for kind in _ROWS if kind.is_wait)


def logged(event: Event) -> LoggedEvent:
    """The log entry for an executor event.

    Raises:
        ValidationError: It is none, or could not be read back from the log.
    """
    kind = KINDS.get(type(event))
    if kind is None:
        raise ValidationError(f"{shown(event)} is not an event that an agent publishes")
    return LoggedEvent(kind, msgspec.Raw(encoded(event, type(event), what=type(event).__name__)))


def opened(entry: LoggedEvent | ReadEvent) -> Any:
    """The payload of a log entry, as the type that the table names; fields that it does not know are left out.

    Of a message it is complete only as a reader finds it, a `ReadEvent`.

    None for a kind whose payload this version has no type for.

    Raises:
        DataIntegrity: The payload does not fit its kind.
    """
    kind = TABLE.get(entry.kind)
    if kind is None:
        return None
    try:
        return decoder_of(kind.payload).decode(entry.payload)
    except msgspec.DecodeError as error:
        raise DataIntegrity(f"an event of kind {entry.kind!r} cannot be read: {error}") from error


def with_inference(spent: dict[str, Usage], entry: LoggedEvent) -> dict[str, Usage]:
    """What a run has spent with each model, that call included (`run.with_model`); the same object where the call
    names no model, or says nothing that can be read.
    """
    try:
        call: InferenceComplete = opened(entry)
    except DataIntegrity:
        return spent
    return spent if call.model is None else with_model(spent, call.model, call.usage)


@cache
def decoder_of(payload: type[msgspec.Struct]) -> msgspec.json.Decoder[Any]:
    """The decoder for payloads of a type of the table."""
    return msgspec.json.Decoder(payload)
