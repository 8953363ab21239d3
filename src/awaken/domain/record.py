"""Records as JSON: the version each stored one carries, and how it is read back.

Above: the SQL stores keep the parts of a record that no query looks into as JSON, beside the version they were written
in. Below: the domain types and msgspec.
Holds: what this version wrote, it reads. An older record is lifted version by version through `UPCASTERS`; a newer or a
damaged one is a `DataIntegrity` that names it, never a guess.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Any, Final, Literal, TypeVar

import msgspec

from awaken.domain.clock import Instant
from awaken.domain.errors import DataIntegrity, ValidationError
from awaken.domain.ids import MessageId, RunId
from awaken.domain.log import LoggedEvent, ServerEvent
from awaken.domain.message import (
    Block,
    Message,
    MessageMetadata,
    MessageState,
    Native,
    Role,
    ToolCall,
    ToolStatus,
    Visibility,
    known_blocks,
)
from awaken.domain.outbox import Errand
from awaken.domain.run import NO_USAGE, Run, RunRequest, SeenTo, SeqRange, Termination, Usage, Waiting
from awaken.domain.schedule import Schedule
from awaken.domain.state import Values
from awaken.domain.thread import ThreadInfo
from awaken.domain.ticket import Decision, TicketRequest

RecordKind = Literal[
    "thread",
    "run_request",
    "run_state",
    "dispatch",
    "message",
    "events",
    "journal",
    "ticket",
    "errand",
    "schedule",
    "state",
]

CURRENT: Final[dict[RecordKind, int]] = {
    "thread": 1,
    "run_request": 1,
    "run_state": 1,
    "dispatch": 1,
    "message": 1,
    "events": 1,
    "journal": 1,
    "ticket": 1,
    "errand": 1,
    "schedule": 1,
    "state": 1,
}
"""The version each kind of record is written in."""

UPCASTERS: Final[dict[tuple[RecordKind, int], Callable[[Any], Any]]] = {}
"""(kind, version): what lifts the decoded JSON of that version by one."""

RecordT = TypeVar("RecordT")


class RunAsked(msgspec.Struct, frozen=True, omit_defaults=True, gc=False):
    """The part of a run that never changes."""

    request: RunRequest
    digest: str = ""
    metadata: dict[str, Any] = {}


_NO_METADATA: Final = MessageMetadata()


class MessageBody(msgspec.Struct, frozen=True, omit_defaults=True, gc=False):
    """A message without what its row says: its id, and, for its `own` run, the run that produced it."""

    role: Role
    content: tuple[Block, ...] = ()
    tool_calls: tuple[ToolCall, ...] = ()
    tool_call_id: str | None = None
    tool_status: ToolStatus | None = None
    visibility: Visibility = Visibility.ALL
    state: MessageState = MessageState.COMMITTED
    metadata: MessageMetadata = _NO_METADATA
    own: bool = False
    native: Native | None = None


class RunState(msgspec.Struct, frozen=True, omit_defaults=True, gc=False):
    """The part of a run that its execution changes and no query asks for.

    `final_output` only where it is not the text of messages.
    """

    input: SeqRange | None = None
    termination: Termination | None = None
    final_output: str | None = None
    output_message_ids: tuple[MessageId, ...] = ()
    waiting: Waiting | None = None
    steps: int = 0
    usage: Usage | None = None
    closed_turn: MessageId | None = None
    stream_open: bool = False
    tickets: int = 0
    hide_requested_at: Instant | None = None
    hidden: bool = False
    taken: int = 0
    seen_to: SeenTo | None = None
    failed_at: Instant | None = None
    usage_by_model: dict[str, Usage] = {}
    error_class: str | None = None


_encode: Final = msgspec.json.Encoder().encode
_run_asked: Final = msgspec.json.Decoder(RunAsked)
_run_state: Final = msgspec.json.Decoder(RunState)
_thread_info: Final = msgspec.json.Decoder(ThreadInfo)
_body: Final = msgspec.json.Decoder(MessageBody)
_events: Final = msgspec.json.Decoder(tuple[LoggedEvent, ...])
_json: Final = msgspec.json.Decoder(msgspec.Raw)
_ticket: Final = msgspec.json.Decoder(TicketRequest)
_decision: Final = msgspec.json.Decoder(Decision)
_errand: Final = msgspec.json.Decoder(Errand)
_schedule: Final = msgspec.json.Decoder(Schedule)
_values: Final = msgspec.json.Decoder(dict[str, Any])
_DAMAGE: Final = (msgspec.MsgspecError, ValidationError)


def encode_run_request(run: Run) -> bytes:
    return _encode(RunAsked(run.request, run.request_digest, run.metadata))


def decode_run_request(data: bytes, version: int, name: str) -> RunAsked:
    return _decoded("run_request", version, data, _run_asked, name)


def encode_run_state(run: Run) -> bytes:
    return _encode(
        RunState(
            run.input,
            run.termination,
            None if run.output_message_ids else run.final_output,
            run.output_message_ids,
            run.waiting,
            run.steps,
            None if run.usage == NO_USAGE else run.usage,
            run.closed_turn,
            run.stream_open,
            run.tickets,
            run.hide_requested_at,
            run.hidden,
            run.taken,
            run.seen_to,
            run.failed_at,
            run.usage_by_model,
            run.error_class,
        )
    )


def decode_run_state(data: bytes, version: int, name: str) -> RunState:
    return _decoded("run_state", version, data, _run_state, name)


def encode_thread_info(info: ThreadInfo) -> bytes:
    return _encode(info)


def decode_thread_info(data: bytes, version: int, name: str) -> ThreadInfo:
    return _decoded("thread", version, data, _thread_info, name)


def encode_message(message: Message, run_id: RunId | None) -> bytes:
    """As it is stored in a row that names `message.id` and `run_id`."""
    metadata = message.metadata
    own = metadata.run_id is not None and metadata.run_id == run_id
    if own:
        metadata = MessageMetadata(None, metadata.step_index, metadata.sender_agent_id)
    return _encode(
        MessageBody(
            message.role,
            message.content,
            message.tool_calls,
            message.tool_call_id,
            message.tool_status,
            message.visibility,
            message.state,
            _NO_METADATA if metadata == _NO_METADATA else metadata,
            own,
            message.native,
        )
    )


def decode_message(data: bytes, version: int, name: str, message_id: MessageId, run_id: RunId | None) -> Message:
    """A block of a type this version does not know is kept whole."""
    body: MessageBody | None = None
    if version == CURRENT["message"]:
        with suppress(msgspec.MsgspecError):  # an unknown block, or damage: the slower way below tells them apart
            body = _body.decode(data)
    if body is None:
        raw = _raw("message", version, data, name)
        try:
            body = msgspec.convert(known_blocks(msgspec.convert(raw, dict[str, Any])), MessageBody)
        except _DAMAGE as error:
            raise DataIntegrity(f"{name} is damaged: {error}") from error
    metadata = body.metadata
    if body.own:
        metadata = MessageMetadata(run_id, metadata.step_index, metadata.sender_agent_id)
    return Message(
        id=message_id,
        role=body.role,
        content=body.content,
        tool_calls=body.tool_calls,
        tool_call_id=body.tool_call_id,
        tool_status=body.tool_status,
        visibility=body.visibility,
        state=body.state,
        metadata=metadata,
        native=body.native,
    )


def encode_events(events: Sequence[LoggedEvent | ServerEvent]) -> bytes:
    return _encode(events)


def decode_events(data: bytes, version: int, name: str) -> tuple[LoggedEvent, ...]:
    """The payloads keep the bytes they were written with."""
    return _decoded("events", version, data, _events, name)


def decode_journal_value(data: bytes, version: int, name: str) -> msgspec.Raw:
    """A value that only its function understands."""
    return _decoded("journal", version, data, _json, name)


def encode_ticket(asked: TicketRequest) -> bytes:
    return _encode(asked)


def decode_ticket(data: bytes, version: int, name: str) -> TicketRequest:
    return _decoded("ticket", version, data, _ticket, name)


def encode_decision(decision: Decision) -> bytes:
    return _encode(decision)


def decode_decision(data: bytes, version: int, name: str) -> Decision:
    return _decoded("ticket", version, data, _decision, name)


def encode_errand(errand: Errand) -> bytes:
    return _encode(errand)


def decode_errand(data: bytes, version: int, name: str) -> Errand:
    return _decoded("errand", version, data, _errand, name)


def encode_schedule(schedule: Schedule) -> bytes:
    return _encode(schedule)


def decode_schedule(data: bytes, version: int, name: str) -> Schedule:
    return _decoded("schedule", version, data, _schedule, name)


def encode_state(values: Values) -> bytes:
    return _encode(values)


def decode_state(data: bytes, version: int, name: str) -> Values:
    return _decoded("state", version, data, _values, name)


def check_version(kind: RecordKind, version: int, name: str) -> None:
    """For a record without JSON, whose columns migrations keep current.

    Raises:
        DataIntegrity: A newer version of this package wrote it.
    """
    if version > CURRENT[kind]:
        raise _too_new(kind, version, name)


def _decoded(kind: RecordKind, version: int, data: bytes, decoder: msgspec.json.Decoder[RecordT], name: str) -> RecordT:
    if version != CURRENT[kind]:
        data = _encode(_raw(kind, version, data, name))
    try:
        return decoder.decode(data)
    except _DAMAGE as error:
        raise DataIntegrity(f"{name} is damaged: {error}") from error


def _raw(kind: RecordKind, version: int, data: bytes, name: str) -> Any:
    """The JSON of a record of any known version, lifted to the present one."""
    if version > CURRENT[kind]:
        raise _too_new(kind, version, name)
    try:
        raw: Any = msgspec.json.decode(data)
    except msgspec.MsgspecError as error:
        raise DataIntegrity(f"{name} is damaged: {error}") from error
    for known in range(version, CURRENT[kind]):
        upcaster = UPCASTERS.get((kind, known))
        if upcaster is None:
            raise DataIntegrity(f"{name}: nothing reads version {known} of a {kind} record any more")
        raw = upcaster(raw)
    return raw


def _too_new(kind: RecordKind, version: int, name: str) -> DataIntegrity:
    return DataIntegrity(
        f"{name} was written by a newer version of awaken ({kind} record {version}, this one knows up to"
        f" {CURRENT[kind]}); upgrade awaken"
    )
