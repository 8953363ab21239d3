"""The rows of a thread's log: what a transition appends, and what a reader is handed.

A `LoggedEvent` is one entry: a kind and a JSON payload, fixed when it is appended, so that a reader never needs to know
every type to pass it on. Entries are appended as `Appended` and read as `EventRow`: most of what is written has no
reader at that moment. A row of the log refers to a message instead of holding it again; `completed` joins the two,
once, before anybody reads the row.

Source: ADR 0016.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Final

import msgspec

from awaken.domain.clock import Instant
from awaken.domain.errors import DataIntegrity
from awaken.domain.ids import DispatchId, MessageId, RunId, Scope, ThreadId
from awaken.domain.message import Block, Message, MessageState, Role, ToolCall, ToolStatus, Visibility
from awaken.domain.outbox import OutboxRow
from awaken.domain.pending import Boundary

ALL: Final = Visibility.ALL


class LoggedEvent(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """A kind and its payload, already JSON: what a transition carries and a log row holds."""

    kind: str
    payload: msgspec.Raw


class ReadEvent(msgspec.Struct, frozen=True, gc=False):
    """An entry as a reader finds it: its payload complete, and who may see it."""

    kind: str
    payload: msgspec.Raw
    visibility: Visibility = ALL


class EventRow(msgspec.Struct, frozen=True, gc=False):
    """What one transition appended to one thread for one run. Event number i has the seq `first_seq + i`.

    A live reader and a paging reader see the same bytes.
    """

    scope: Scope
    thread_id: ThreadId
    run_id: RunId | None
    dispatch_id: DispatchId | None
    first_seq: int
    created_at: Instant
    events: tuple[ReadEvent, ...]

    @property
    def last_seq(self) -> int:
        return self.first_seq + len(self.events) - 1

    @property
    def payload_bytes(self) -> int:
        """The size of its payloads, without what frames them."""
        return sum([len(memoryview(event.payload)) for event in self.events])

    def starting_after(self, seq: int) -> EventRow:
        """The row without the events up to and including `seq`; itself when it holds none of them."""
        if seq < self.first_seq:
            return self
        return EventRow(
            self.scope,
            self.thread_id,
            self.run_id,
            self.dispatch_id,
            seq + 1,
            self.created_at,
            self.events[seq + 1 - self.first_seq :],
        )


class ServerEvent(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """What the queue itself logs, before it is JSON. It has the JSON of a `LoggedEvent`."""

    kind: str
    payload: Any

    def logged(self) -> LoggedEvent:
        return LoggedEvent(self.kind, msgspec.Raw(_encoder.encode(self.payload)))


class Appended(msgspec.Struct, frozen=True, gc=False):
    """An `EventRow` as it is written, its events in their stored form: most rows are never read."""

    scope: Scope
    thread_id: ThreadId
    run_id: RunId | None
    dispatch_id: DispatchId | None
    first_seq: int
    created_at: Instant
    count: int
    body: bytes
    messages: tuple[tuple[int, Message], ...] = ()
    """Those that its events refer to, by their seq: for live readers, as a reader of the store looks them up."""
    posted: tuple[OutboxRow, ...] = ()
    """What the same transition wrote into the outbox, for whoever delivers it."""

    @property
    def last_seq(self) -> int:
        return self.first_seq + self.count - 1

    def row(self) -> EventRow:
        """As a reader finds it."""
        events = completed(_decoder.decode(self.body), dict(self.messages), self.dispatch_id)
        return EventRow(
            self.scope, self.thread_id, self.run_id, self.dispatch_id, self.first_seq, self.created_at, events
        )


class MessageRef(msgspec.Struct, frozen=True, omit_defaults=True, gc=False):
    """What a stored `MessageCommitted` holds: the body stands once, with the message."""

    message_seq: int
    step_index: int | None = None
    """Of a message that came to its run while that was under way: how many steps were closed then."""
    boundary: Boundary | None = None
    """Where its run took it, if it had waited for that."""


class MessagePayload(msgspec.Struct, frozen=True, omit_defaults=True, kw_only=True, gc=False):
    """A message that became part of the conversation, as readers see it. What is absent is left out."""

    message_id: MessageId
    message_seq: int
    role: Role
    message_kind: str
    content_blocks: tuple[Block, ...]
    tool_calls: tuple[ToolCall, ...] = ()
    tool_call_id: str | None = None
    tool_status: ToolStatus | None = None
    state: MessageState = MessageState.COMMITTED
    run_id: RunId | None = None
    """The run that produced it, where it names one."""
    step_index: int | None = None
    """The step that produced it; of what came to the run while that was under way, the step it is read in."""
    boundary: Boundary | None = None
    """Where the run took it, if it had waited for that."""
    sender: str | None = None
    """The agent that sent it, where it names one."""


MESSAGE_COMMITTED: Final = "MessageCommitted"
_ABOUT_THE_DISPATCH: Final = frozenset(
    {
        "RunQueued", "RunSubmitted", "RunStarted", "RunResumed", "RunRescheduled", "RunDeadLettered", "RunInterrupted",
        "CancelRequested", "CancelAcknowledged",
    }
)  # fmt: skip
"""Kinds whose payload begins with the dispatch of their row: it is stored with the row alone."""
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


def _with_dispatch(payload: msgspec.Raw, dispatch_id: DispatchId) -> msgspec.Raw:
    """The payload, an object, with the dispatch in front."""
    head = b'{"dispatch_id":' + _encoder.encode(dispatch_id)
    rest = bytes(payload)[1:]
    return msgspec.Raw(head + (b"}" if rest == b"}" else b"," + rest))


def message_committed(seq: int, step_index: int | None = None, boundary: Boundary | None = None) -> ServerEvent:
    """The entry for a message that got its seq; the rest as in `MessageRef`."""
    return ServerEvent(MESSAGE_COMMITTED, MessageRef(seq, step_index, boundary))


def referred(events: Iterable[LoggedEvent]) -> list[int]:
    """The seqs of the messages that stored events refer to, in order."""
    return [_ref_of(event).message_seq for event in events if event.kind == MESSAGE_COMMITTED]


def _ref_of(event: LoggedEvent) -> MessageRef:
    try:
        return _ref.decode(event.payload)
    except msgspec.MsgspecError as error:
        raise DataIntegrity(f"a {MESSAGE_COMMITTED} of the log refers to no message: {error}") from error


def completed(
    events: Iterable[LoggedEvent], messages: Mapping[int, Message], dispatch_id: DispatchId | None
) -> tuple[ReadEvent, ...]:
    """Stored events as readers see them, given the messages they refer to by seq, and the dispatch of their row.

    Raises:
        DataIntegrity: One of these is gone, or it is not known which it is.
    """
    return tuple([_completed(event, messages, dispatch_id) for event in events])


def _completed(event: LoggedEvent, messages: Mapping[int, Message], dispatch_id: DispatchId | None) -> ReadEvent:
    if event.kind in _ABOUT_THE_DISPATCH and dispatch_id is not None:
        return ReadEvent(event.kind, _with_dispatch(event.payload, dispatch_id))
    if event.kind != MESSAGE_COMMITTED:
        return ReadEvent(event.kind, event.payload)
    ref = _ref_of(event)
    seq = ref.message_seq
    message = messages.get(seq)
    if message is None:
        raise DataIntegrity(f"the log refers to message {seq}, which is gone")
    known = message.metadata
    payload = MessagePayload(
        message_id=message.id,
        message_seq=seq,
        role=message.role,
        message_kind=_MESSAGE_KINDS[message.role, message.visibility],
        content_blocks=message.content,
        tool_calls=message.tool_calls,
        tool_call_id=message.tool_call_id,
        tool_status=message.tool_status,
        state=message.state,
        run_id=known.run_id,
        step_index=ref.step_index if known.step_index is None else known.step_index,
        boundary=ref.boundary,
        sender=known.sender_agent_id,
    )
    return ReadEvent(event.kind, msgspec.Raw(_encoder.encode(payload)), message.visibility)


_encoder: Final = msgspec.json.Encoder()
_decoder: Final = msgspec.json.Decoder(tuple[LoggedEvent, ...])
_ref: Final = msgspec.json.Decoder(MessageRef)
