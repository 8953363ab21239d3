"""Messages: the neutral form of a conversation, and the sidecar of the framework that wrote it.

Neutral blocks are for everyone; `native` is for the driver whose `format` it names, so that nothing a framework
needs to continue its own turn (signatures, provider details) is lost.

Source: docs/concepts/executors.md; TR-047 to TR-069.
"""

from __future__ import annotations

from collections.abc import Iterable
from enum import StrEnum
from typing import Any, Final, cast, final

import msgspec

from awaken.domain.errors import ValidationError
from awaken.domain.ids import MessageId, RunId


class Role(StrEnum):
    SYSTEM = "system"
    USER = "user"
    ASSISTANT = "assistant"
    TOOL = "tool"


# Named here because Python 3.11 takes as long to find a member of an enum as to make a small record.
USER: Final = Role.USER
ASSISTANT: Final = Role.ASSISTANT
TOOL: Final = Role.TOOL


class Visibility(StrEnum):
    ALL = "all"
    INTERNAL = "internal"


class ToolStatus(StrEnum):
    """How a tool call ended, on the message that answers it."""

    SUCCESS = "success"
    ERROR = "error"
    CANCELLED = "cancelled"


class MessageState(StrEnum):
    COMMITTED = "committed"
    INTERRUPTED = "interrupted"
    """Output cut short by a stop; the text is what the user saw."""


class Text(msgspec.Struct, frozen=True, tag="text", gc=False):
    text: str


class Base64Source(msgspec.Struct, frozen=True, tag="base64"):
    media_type: str
    data: str


class UrlSource(msgspec.Struct, frozen=True, tag="url", omit_defaults=True):
    url: str
    media_type: str | None = None


Source = Base64Source | UrlSource


class Image(msgspec.Struct, frozen=True, tag="image", omit_defaults=True):
    source: Source
    title: str | None = None


class Audio(msgspec.Struct, frozen=True, tag="audio", omit_defaults=True):
    source: Source
    title: str | None = None


class Video(msgspec.Struct, frozen=True, tag="video", omit_defaults=True):
    source: Source
    title: str | None = None


class Document(msgspec.Struct, frozen=True, tag="document", omit_defaults=True):
    source: Source
    title: str | None = None


class Thinking(msgspec.Struct, frozen=True, tag="thinking", omit_defaults=True):
    """Reasoning text; the signature goes back only to the provider that made it."""

    text: str
    signature: str | None = None
    provider: str | None = None


class Json(msgspec.Struct, frozen=True, tag="json"):
    value: Any


class Opaque(msgspec.Struct, frozen=True, tag="opaque"):
    """A block of a kind this version does not know, kept whole."""

    kind: str
    value: Any


Block = Text | Image | Audio | Video | Document | Thinking | Json | Opaque
BLOCK_TYPES: Final = frozenset({"text", "image", "audio", "video", "document", "thinking", "json", "opaque"})


class ToolCall(msgspec.Struct, frozen=True):
    """A call the assistant asked for. `id` is unique inside one assistant message only."""

    id: str
    name: str
    arguments: Any = None


class Native(msgspec.Struct, frozen=True, omit_defaults=True):
    """What the framework named by `format` needs to rebuild its own message exactly.

    `group` ties the neutral messages that came from one framework message; `envelope` stands on the first of them.
    """

    format: str
    version: int
    group: str | None = None
    envelope: Any = None
    parts: tuple[Any, ...] = ()


class MessageMetadata(msgspec.Struct, frozen=True, omit_defaults=True):
    run_id: RunId | None = None
    step_index: int | None = None
    sender_agent_id: str | None = None


@final
class Message(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, gc=False):
    """One entry of a conversation. Equal in memory, in the store and on the wire."""

    id: MessageId
    role: Role
    content: tuple[Block, ...] = ()
    tool_calls: tuple[ToolCall, ...] = ()
    tool_call_id: str | None = None
    tool_status: ToolStatus | None = None
    visibility: Visibility = Visibility.ALL
    state: MessageState = MessageState.COMMITTED
    metadata: MessageMetadata = MessageMetadata()
    native: Native | None = None

    @property
    def text(self) -> str:
        """The visible text, blocks joined without a separator; empty when there is none."""
        return "".join([block.text for block in self.content if type(block) is Text])

    def produced_by(self, run_id: RunId, step_index: int | None) -> Message:
        """The same message with its producer filled in where it is missing (TR-069)."""
        known = self.metadata
        filled = MessageMetadata(
            run_id=known.run_id or run_id,
            step_index=step_index if known.step_index is None else known.step_index,
            sender_agent_id=known.sender_agent_id,
        )
        return msgspec.structs.replace(self, metadata=filled)


def user_message(message_id: MessageId, text: str) -> Message:
    return Message(id=message_id, role=USER, content=(Text(text),))


PAGE_OPENS: Final = "<context>\n"
"""How a message begins that says what a client's page shows."""


def page_text(text: str) -> str:
    """What a client's page tells an agent, as the text of an internal system message; the next one replaces it."""
    return f"{PAGE_OPENS}{text}\n</context>"


def is_page(message: Message) -> bool:
    """The message says what a client's page shows."""
    return (
        message.role is Role.SYSTEM
        and message.visibility is Visibility.INTERNAL
        and message.text.startswith(PAGE_OPENS)
    )


def data_of(messages: Iterable[Message]) -> Any:
    """The value of their one `Json` block; None where they hold none, or several."""
    found = [block.value for message in messages for block in message.content if isinstance(block, Json)]
    return found[0] if len(found) == 1 else None


def assistant_message(message_id: MessageId, text: str, *, state: MessageState = MessageState.COMMITTED) -> Message:
    return Message(id=message_id, role=ASSISTANT, content=(Text(text),), state=state)


def cancelled_tool_message(message_id: MessageId, call: ToolCall, reason: str) -> Message:
    """What stands in the log for a call nobody will answer any more, so that every call has an answer."""
    return Message(
        id=message_id,
        role=TOOL,
        content=(Text(reason),),
        tool_call_id=call.id,
        tool_status=ToolStatus.CANCELLED,
    )


def unanswered_calls(tail: tuple[Message, ...]) -> tuple[ToolCall, ...]:
    """The calls of the last assistant message in `tail` that no later tool message answers, in call order."""
    for index in range(len(tail) - 1, -1, -1):
        if tail[index].role is ASSISTANT:
            answered = {message.tool_call_id for message in tail[index + 1 :]}
            return tuple(call for call in tail[index].tool_calls if call.id not in answered)
    return ()


def check_message(message: Message) -> None:
    """The shape every stored message has (TR-047 to TR-050).

    Raises:
        ValidationError: naming the message and the rule it breaks.
    """
    if not message.id.strip() or "\0" in message.id:
        raise ValidationError("a message needs an id, without NUL", code="invalid_id")
    if (message.role is TOOL) != (message.tool_call_id is not None):
        raise ValidationError(f"message {message.id!r}: tool_call_id belongs on tool messages, and on all of them")
    if message.tool_call_id is not None and not message.tool_call_id.strip():
        raise ValidationError(f"message {message.id!r}: tool_call_id is blank")
    if message.tool_calls and message.role is not ASSISTANT:
        raise ValidationError(f"message {message.id!r}: only an assistant message may carry tool_calls")
    if message.tool_calls:
        _check_calls(message)


def _check_calls(message: Message) -> None:
    seen: set[str] = set()
    for call in message.tool_calls:
        if not call.id.strip() or not call.name.strip():
            raise ValidationError(f"message {message.id!r}: every tool call needs an id and a name")
        if call.id in seen:
            raise ValidationError(f"message {message.id!r}: tool call id {call.id!r} appears twice")
        seen.add(call.id)


def check_messages(messages: tuple[Message, ...]) -> None:
    """`check_message` for each, and no id twice.

    Raises:
        ValidationError: as `check_message`.
    """
    for message in messages:
        check_message(message)
    if len(messages) > 1 and len({message.id for message in messages}) != len(messages):
        raise ValidationError("two messages that go together have one message id")


def known_blocks(raw: Any) -> Any:
    """A decoded message object in which blocks of unknown type became `opaque`, so that decoding keeps them.

    What is no message object passes as it is; the decoder says what is wrong with it.
    """
    if not isinstance(raw, dict):
        return raw
    message = cast(dict[str, Any], raw)
    content: object = message.get("content")
    if not isinstance(content, list):
        return message
    return {**message, "content": [_known_block(block) for block in cast(list[Any], content)]}


def _known_block(block: Any) -> Any:
    if isinstance(block, dict):
        fields = cast(dict[str, Any], block)
        kind: object = fields.get("type")
        if isinstance(kind, str) and kind not in BLOCK_TYPES:
            return {"type": "opaque", "kind": kind, "value": fields}
        return fields
    return block
