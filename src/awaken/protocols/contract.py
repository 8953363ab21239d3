"""What a protocol is made of here: the encoder of a run's log, and what it is given.

Above: `protocols/<name>/encoder.py` subclasses `TurnEncoder`. Below: events of the log, typed.
Holds: an encoder is a function of what it was opened with and of the events it was fed: it reads no store, no clock and
no chance, and awaits nothing. So a stream may be made again from the log at any time, by any server, with the same
bytes, and one encoder serves all readers of a run.

Frames that an event turned into carry its cursor; a prelude, which depends on the moment of attaching, carries none.

Source: ADR 0039; docs/concepts/protocols.md.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Hashable, Sequence
from typing import Any, ClassVar, Final, NamedTuple, TypeVar, cast

import msgspec

from awaken.domain.agent_event import (
    CallStatus,
    ReasoningDelta,
    ReasoningEncryptedValue,
    TextDelta,
    ToolCallDone,
    ToolCallReady,
    ToolCallStarted,
)
from awaken.domain.clock import Instant
from awaken.domain.errors import DataIntegrity
from awaken.domain.event import TABLE, decoder_of
from awaken.domain.ids import AgentId, DispatchId, MessageId, RunId, Scope, ThreadId
from awaken.domain.log import EventRow, MessagePayload, ReadEvent
from awaken.domain.message import Json, Message, Role, Text, Thinking, ToolCall, ToolStatus, Visibility
from awaken.domain.message_event import MessageConsumedPayload, MessagePendedPayload, PendingRetractedPayload
from awaken.domain.run import RunRequest
from awaken.domain.server_event import TicketOpenedPayload
from awaken.domain.state import ThreadState
from awaken.http.frames import one_line
from awaken.http.problems import Problem
from awaken.protocols.turns import TURN_KINDS, Ending, Turns

_json: Final = msgspec.json.Encoder().encode


class Frame(NamedTuple):
    """One server-sent event: a line of data, and its name where the protocol names its events."""

    data: bytes
    event: str | None = None


Frames = Sequence[Frame]
NOTHING: Final[Frames] = ()


def frame(value: Any, event: str | None = None) -> Frame:
    """A frame with this value as JSON. What is None in a dict is written as null: leave it out."""
    return Frame(one_line(_json(value)), event)


class Opened(msgspec.Struct, frozen=True, kw_only=True):
    """What an encoder is opened with: all it ever knows beside the log."""

    scope: Scope
    thread_id: ThreadId
    run_id: RunId
    agent_id: AgentId
    request: RunRequest
    metadata: dict[str, Any] = {}
    created_at: Instant = 0
    state: ThreadState | None = None
    """The thread's state when the stream was opened, where the protocol shows it."""
    knows_version: int = -1
    """Changes of the state up to this version are in that state, and are not said any more. To whoever resumes all of
    them are, because it is not known what he was shown."""


class LogEvent(NamedTuple):
    """An event of the log, typed, with what its row says."""

    seq: int
    kind: str
    payload: Any
    dispatch_id: DispatchId | None
    created_at: Instant


def events_of(row: EventRow) -> list[tuple[int, ReadEvent]]:
    """The events of a row that a client may see, each with its seq."""
    return [(seq, each) for seq, each in enumerate(row.events, row.first_seq) if each.visibility is Visibility.ALL]


Handler = Callable[[Any, LogEvent, Any], Frames]


class _Plan(NamedTuple):
    decode: Callable[[msgspec.Raw], Any]
    handler: Handler | None
    treated: str


_TREATED: Final[dict[str, str]] = {
    **dict.fromkeys(TURN_KINDS, "turn"),
    "TextDeltaObserved": "delta",
    "ReasoningDeltaObserved": "delta",
    "MessageCommitted": "message",
    "ToolCallStarted": "call",
    "ToolCallReady": "call",
    "StreamReset": "reset",
    "StateDeltaObserved": "state",
}
"""What an encoder itself does with events, whether or not a protocol handles them."""
HandlerT = TypeVar("HandlerT", bound=Callable[..., Frames])
_KINDS: Final = "_kinds_of_event"


def on(*kinds: str) -> Callable[[HandlerT], HandlerT]:
    """Have a method of an encoder called with every event of these kinds, and its payload."""

    def mark(method: HandlerT) -> HandlerT:
        setattr(method, _KINDS, kinds)
        return method

    return mark


class TurnEncoder(ABC):
    """A run's log in the frames of one protocol, turn by turn.

    A subclass says how a turn opens (`opens`), how it ends (`ends`), and handles the kinds it knows in methods marked
    with `on`; all others are passed over. What it returns outside of a turn is dropped, so that nothing follows a
    terminal frame before the next turn opens. It has to be fed from the run's first event, and may be fed silently:
    whoever resumes is sent only what comes after his place.

    What holds of every log is seen to here: a message that was never streamed reaches the handlers of text and
    reasoning as one piece, right before its `MessageCommitted`, and a call that was never published reaches those of
    calls with its answer; a `RunQueued` or `RunSuspended` that neither opens nor
    ends a turn reaches its handler, if it has one; internal events, and unknown ones, reach nobody.
    """

    dialect: ClassVar[str]
    """Its name in metrics."""
    has_ids: ClassVar[bool] = True
    """Whether frames carry the cursor of their event. False: the protocol has a place of its own for numbers."""
    breaks_off: ClassVar[bool] = False
    """Whether a stream that is closed although there is more to come is broken off: where clients take its end for that
    of everything."""
    wants_history: ClassVar[bool] = False
    """Whether it is told the conversation before the run: `self.history`, complete before `RunStarted`."""
    wants_state: ClassVar[bool] = False
    """Whether it is opened with the thread's state."""
    _plans: ClassVar[dict[str, _Plan]] = {}
    """What to do with an event, by kind; nothing with a kind that is not here."""

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        handlers: dict[str, Handler] = {kind: plan.handler for kind, plan in cls._plans.items() if plan.handler}
        for method in vars(cls).values():
            for kind in getattr(method, _KINDS, ()):
                handlers[kind] = method
        cls._plans = {
            kind: _Plan(decoder_of(TABLE[kind].payload).decode, handlers.get(kind), _TREATED.get(kind, ""))
            for kind in {*handlers, *_TREATED}
        }

    def __init__(self, opened: Opened) -> None:
        self.opened = opened
        self.turns = Turns()
        self.history: tuple[Message, ...] = ()
        self._streamed: set[MessageId] = set()
        """Messages that are not committed, and of which something was shown."""
        self._published: set[str] = set()
        """Calls that were published."""
        self._unpublished: dict[str, tuple[MessageId, ToolCall]] = {}
        """Calls of committed messages that were not, with their message."""

    @property
    def shared_as(self) -> Hashable:
        """What its bytes depend on besides the run: options of the client that change them, such as a dialect's
        version. Streams of a run with the same value share one encoding.
        """
        return None

    # --- what a protocol says -----------------------------------------------------------------------------------------

    @abstractmethod
    def opens(self, event: LogEvent) -> Frames:
        """A turn has begun: its input is accepted. `self.turns` has its number, `event.dispatch_id` its dispatch."""

    @abstractmethod
    def ends(self, event: LogEvent, ending: Ending) -> Frames:
        """The turn has ended: close what is open, and end with the terminal frames, `[DONE]` where there is one."""

    @abstractmethod
    def failed(self, problem: Problem, request_id: str) -> Frames:
        """The stream cannot go on, whatever becomes of the run: the protocol's error. Depends on nothing fed."""

    def prelude(self) -> Frames:
        """What a client has to be shown that joins now, in the middle of a turn, without any of its frames."""
        return NOTHING

    # --- being fed ----------------------------------------------------------------------------------------------------

    @classmethod
    def handler_of(cls, kind: str) -> Handler | None:
        """The method that handles a kind of event, for a subclass that does so besides."""
        plan = cls._plans.get(kind)
        return None if plan is None else plan.handler

    @property
    def is_over(self) -> bool:
        """The turn that was opened last has ended."""
        return not self.turns.is_open and self.turns.number > 0

    def feed(self, seq: int, event: ReadEvent, row: EventRow) -> Frames:
        """The next event of the run, which is one that clients may see.

        Raises:
            DataIntegrity: Its payload does not fit its kind.
        """
        plan = self._plans.get(event.kind)
        if plan is None:
            return NOTHING
        decode, handler, treated = plan
        try:
            payload = decode(event.payload)
        except msgspec.DecodeError as error:
            raise DataIntegrity(f"an event of kind {event.kind!r} cannot be read: {error}") from error
        told = LogEvent(seq, event.kind, payload, row.dispatch_id, row.created_at)
        was_open = self.turns.is_open
        match treated:
            case "delta":
                self._streamed.add(payload.message_id)
            case "turn":
                moved = self.turns.feed(event.kind, payload)
                if moved == "opens":
                    return self.opens(told)
                if moved == "ends":
                    assert self.turns.ending is not None, "it has just ended"
                    return self.ends(told, self.turns.ending)
            case "call":
                self._unpublished.pop(payload.id, None)
                self._published.add(payload.id)
            case "message":
                whole = self._whole(told, payload)
                if whole and was_open:
                    return (*whole, *(NOTHING if handler is None else handler(self, told, payload)))
            case "reset":
                self._streamed.clear() if payload.message_id is None else self._streamed.discard(payload.message_id)
            case "state" if payload.version <= self.opened.knows_version:
                return NOTHING
            case _:
                pass
        if handler is None:
            return NOTHING
        frames = handler(self, told, payload)
        return frames if was_open else NOTHING

    def _whole(self, event: LogEvent, message: MessagePayload) -> list[Frame]:
        """Text and reasoning of a message that was not streamed, as if it had come in one piece; and, with the answer
        to a call, that call, where an agent publishes whole messages and no more.
        """
        if message.role is Role.TOOL:
            return self._with_call(event, message)
        if message.role is not Role.ASSISTANT:
            return []
        for call in message.tool_calls:
            if call.id not in self._published:
                self._unpublished[call.id] = message.message_id, call
        if message.message_id in self._streamed:
            self._streamed.discard(message.message_id)
            return []
        frames: list[Frame] = []
        for part, block in enumerate(message.content_blocks):
            if isinstance(block, Text) and block.text:
                frames += self._as_if(event, "TextDeltaObserved", TextDelta(message.message_id, part, block.text))
            elif isinstance(block, Thinking):
                id, value = message.message_id, block.signature
                if block.text:
                    frames += self._as_if(event, "ReasoningDeltaObserved", ReasoningDelta(id, part, block.text))
                if value:
                    told = ReasoningEncryptedValue(id, part, value)
                    frames += self._as_if(event, "ReasoningEncryptedValueObserved", told)
        return frames

    def _with_call(self, event: LogEvent, answer: MessagePayload) -> list[Frame]:
        made = self._unpublished.pop(answer.tool_call_id or "", None)
        if made is None:
            return []
        message_id, call = made
        self._published.add(call.id)
        given: object = call.arguments
        arguments = cast(dict[str, Any], given) if isinstance(given, dict) else None
        started = ToolCallStarted(message_id, call.id, call.name, "server")
        ready = ToolCallReady(message_id, call.id, call.name, arguments)
        return [
            *self._as_if(event, "ToolCallStarted", started),
            *self._as_if(event, "ToolCallReady", ready),
            *self._as_if(event, "ToolCallDone", done_by(message_id, call, answer)),
        ]

    def _as_if(self, event: LogEvent, kind: str, payload: Any) -> Frames:
        """What comes of an event that is not in the log."""
        plan = self._plans.get(kind)
        handler = None if plan is None else plan.handler
        return NOTHING if handler is None else handler(self, event._replace(kind=kind, payload=payload), payload)


def done_by(message_id: MessageId, call: ToolCall, answer: MessagePayload) -> ToolCallDone:
    """What the message that answers a call says of its end."""
    text = "".join([block.text for block in answer.content_blocks if isinstance(block, Text)])
    values = [block.value for block in answer.content_blocks if isinstance(block, Json)]
    status = _STATUSES[answer.tool_status or ToolStatus.SUCCESS]
    result, error = (values[0] if len(values) == 1 else text, None) if status == "succeeded" else (None, text)
    return ToolCallDone(message_id, call.id, call.name, answer.message_id, status, result, error)


_STATUSES: Final[dict[ToolStatus, CallStatus]] = {
    ToolStatus.SUCCESS: "succeeded",
    ToolStatus.ERROR: "failed",
    ToolStatus.CANCELLED: "cancelled",
}


RECEIPTS: Final = ("MessagePended", "MessageConsumed", "PendingRetracted")
"""The kinds that say how it stands with a message that was sent to a run under way, all with payloads of `Receipt`."""
Receipt = MessagePendedPayload | MessageConsumedPayload | PendingRetractedPayload


def fate_in(payload: Receipt) -> dict[str, str]:
    """`fate`: that of the message's receipt from here on; and `cause`, where nobody asked for it. What is left behind
    by a run is `pending` until a run of its own takes it, whose turn opens with its id.
    """
    match payload:
        case MessagePendedPayload():
            return {"fate": "pending"}
        case MessageConsumedPayload():
            return {"fate": "consumed"}
        case PendingRetractedPayload():
            return {"fate": payload.fate, **({} if payload.cause is None else {"cause": payload.cause})}


def shown_call(ticket: TicketOpenedPayload) -> tuple[str, str, Any]:
    """Id, name and arguments of the call that a ticket is about. One without a call is shown as a call of its own."""
    if ticket.tool_call_id is not None:
        return ticket.tool_call_id, ticket.tool_name or "tool", ticket.arguments
    asked: dict[str, Any] = {"message": ticket.message or ""}
    if ticket.response_schema is not None:
        asked["schema"] = ticket.response_schema
    if ticket.arguments is not None:
        asked["arguments"] = ticket.arguments
    return ticket.ticket_id, "ask", asked
