"""Messages between LangChain's form, which its clients send and show, and the domain's.

Above: `encoder` and `events` for what is shown, `wire` for what is sent. Below: domain messages, and attachments.
Holds: what is shown of a message depends on the message alone. What a client sends is refused where it cannot be
read, and never passed over.

Source: docs/concepts/protocols.md; SRV-037.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final, cast

import msgspec

from awaken.domain.errors import ValidationError
from awaken.domain.ids import MessageId
from awaken.domain.log import MessagePayload
from awaken.domain.message import (
    Audio,
    Base64Source,
    Block,
    Document,
    Image,
    Json,
    Message,
    Opaque,
    Role,
    Text,
    Thinking,
    ToolCall,
    ToolStatus,
    Video,
)
from awaken.protocols.attachments import MAX_BROUGHT, attachment, inline

_ROLES: Final[dict[str, Role]] = {
    "user": Role.USER,
    "human": Role.USER,
    "assistant": Role.ASSISTANT,
    "ai": Role.ASSISTANT,
    "tool": Role.TOOL,
    "system": Role.SYSTEM,
    "developer": Role.SYSTEM,
}
_TYPES: Final[dict[Role, str]] = {
    Role.USER: "human",
    Role.ASSISTANT: "ai",
    Role.TOOL: "tool",
    Role.SYSTEM: "system",
}
_FILES: Final = frozenset({"image", "audio", "video", "file"})
_encode: Final = msgspec.json.Encoder().encode


# --- shown ------------------------------------------------------------------------------------------------------------


def shown_message(message: Message | MessagePayload, tool_name: str | None = None) -> dict[str, Any]:
    """A message as LangChain writes one."""
    if isinstance(message, Message):
        id, blocks = message.id, message.content
    else:
        id, blocks = message.message_id, message.content_blocks
    shown: dict[str, Any] = {
        "content": shown_content(blocks, message.role),
        "additional_kwargs": {},
        "response_metadata": {},
        "type": _TYPES[message.role],
        "name": None,
        "id": id,
    }
    match message.role:
        case Role.ASSISTANT:
            shown["tool_calls"] = [shown_call(call.id, call.name, call.arguments) for call in message.tool_calls]
            shown["invalid_tool_calls"] = []
        case Role.TOOL:
            shown["name"] = tool_name
            shown["tool_call_id"] = message.tool_call_id
            shown["status"] = "success" if message.tool_status is ToolStatus.SUCCESS else "error"
        case _:
            pass
    return shown


def shown_call(id: str, name: str, arguments: Any) -> dict[str, Any]:
    args: Any = {} if arguments is None else arguments
    if not isinstance(args, dict):
        args = {"value": args}
    return {"name": name, "args": args, "id": id, "type": "tool_call"}


def shown_messages(messages: Iterable[Message]) -> list[dict[str, Any]]:
    """A conversation; an answer has the name of the tool that was called."""
    names: dict[str, str] = {}
    found: list[dict[str, Any]] = []
    for message in messages:
        names |= {call.id: call.name for call in message.tool_calls}
        found.append(shown_message(message, names.get(message.tool_call_id or "")))
    return found


def shown_content(blocks: Sequence[Block], role: Role) -> str | list[dict[str, Any]]:
    """Text where there is nothing else; else a block for each."""
    if all([isinstance(block, Text) for block in blocks]):
        return "".join([block.text for block in blocks if isinstance(block, Text)])
    if role is Role.TOOL and len(blocks) == 1 and isinstance(blocks[0], Json):
        return _encode(blocks[0].value).decode()
    return [shown_block(block) for block in blocks]


def shown_block(block: Block) -> dict[str, Any]:
    match block:
        case Text(text=text):
            return {"type": "text", "text": text}
        case Thinking(text=text):
            return {"type": "reasoning", "reasoning": text}
        case Json(value=value):
            return {"type": "non_standard", "value": value}
        case Opaque(kind=kind, value=value):
            return {"type": "non_standard", "value": {"kind": kind, "value": value}}
        case Image():
            return _file("image", block)
        case Audio():
            return _file("audio", block)
        case Video():
            return _file("video", block)
        case Document():
            return _file("file", block)


def _file(type: str, block: Image | Audio | Video | Document) -> dict[str, Any]:
    source = block.source
    shown: dict[str, Any] = {"type": type}
    if isinstance(source, Base64Source):
        shown |= {"base64": source.data, "mime_type": source.media_type}
    else:
        shown |= {"url": source.url} | ({} if source.media_type is None else {"mime_type": source.media_type})
    return shown if block.title is None else shown | {"metadata": {"filename": block.title}}


def removal(id: MessageId) -> dict[str, Any]:
    """What has a client forget the pieces of a message that it was shown."""
    return {"content": "", "additional_kwargs": {}, "response_metadata": {}, "type": "remove", "name": None, "id": id}


# --- sent -------------------------------------------------------------------------------------------------------------


def sent_messages(sent: Any, *loc: str | int) -> tuple[Message, ...]:
    """What a client sends as `messages`: one or a list; each an object with a role or a type, a pair, or text.

    Raises:
        ValidationError: It cannot be read, or there are too many.
    """
    entries = cast(list[Any], sent) if isinstance(sent, list) else [sent]
    if len(entries) > MAX_BROUGHT:
        raise ValidationError(f"a request has at most {MAX_BROUGHT} messages", loc=loc)
    return tuple([sent_message(entry, *loc, number) for number, entry in enumerate(entries)])


def sent_message(sent: Any, *loc: str | int) -> Message:
    """One message that a client sends. Raises ValidationError."""
    if isinstance(sent, str):
        return Message(id=MessageId(""), role=Role.USER, content=(Text(sent),))
    if isinstance(sent, list):
        pair = cast(list[Any], sent)
        if len(pair) != 2:
            raise ValidationError("a message that is a list is a pair of role and content", loc=loc)
        return sent_message({"role": pair[0], "content": pair[1]}, *loc)
    if not isinstance(sent, dict):
        raise ValidationError("a message is an object with a role, or a type, and content", loc=loc)
    fields = cast(dict[str, Any], sent)
    named: Any = fields.get("role") or fields.get("type")
    role = _ROLES.get(named) if isinstance(named, str) else None
    if role is None:
        raise ValidationError(f"the role of a message is one of {', '.join(_ROLES)}, and not {named!a:.80}", loc=loc)
    id: Any = fields.get("id") or ""
    if not isinstance(id, str):
        raise ValidationError("the id of a message is text", loc=(*loc, "id"))
    call_id: Any = fields.get("tool_call_id")
    if role is Role.TOOL and not isinstance(call_id, str):
        raise ValidationError("a message of a tool names its tool_call_id", loc=(*loc, "tool_call_id"))
    return Message(
        id=MessageId(id),
        role=role,
        content=sent_content(fields.get("content"), *loc, "content"),
        tool_calls=_sent_calls(fields.get("tool_calls"), *loc) if role is Role.ASSISTANT else (),
        tool_call_id=call_id if role is Role.TOOL else None,
        tool_status=_sent_status(fields) if role is Role.TOOL else None,
    )


def _sent_status(fields: Mapping[str, Any]) -> ToolStatus:
    return ToolStatus.ERROR if fields.get("status") == "error" else ToolStatus.SUCCESS


def _sent_calls(sent: Any, *loc: str | int) -> tuple[ToolCall, ...]:
    if sent is None:
        return ()
    found: list[ToolCall] = []
    for entry in cast(list[Any], sent) if isinstance(sent, list) else [None]:
        fields = cast(dict[str, Any], entry) if isinstance(entry, dict) else {}
        id: Any = fields.get("id")
        name: Any = fields.get("name")
        if not isinstance(id, str) or not isinstance(name, str):
            raise ValidationError("a tool call has an id and a name", loc=(*loc, "tool_calls"))
        found.append(ToolCall(id, name, fields.get("args")))
    return tuple(found)


def sent_content(sent: Any, *loc: str | int) -> tuple[Block, ...]:
    """What a client sends as the content of a message. Raises ValidationError."""
    if sent is None or sent == "":
        return ()
    if isinstance(sent, str):
        return (Text(sent),)
    if not isinstance(sent, list):
        raise ValidationError("the content of a message is text, or a list of blocks", loc=loc)
    found: list[Block] = []
    for number, entry in enumerate(cast(list[Any], sent)):
        block = _sent_block(entry, *loc, number)
        if block is not None:
            found.append(block)
    return tuple(found)


def _sent_block(sent: Any, *loc: str | int) -> Block | None:
    """None for what belongs to a message in another way: a call, or reasoning."""
    if isinstance(sent, str):
        return Text(sent)
    fields = cast(dict[str, Any], sent) if isinstance(sent, dict) else {}
    type: Any = fields.get("type")
    match type:
        case "text" if isinstance(fields.get("text"), str):
            return Text(fields["text"])
        case "image_url":
            named: Any = fields.get("image_url")
            url: Any = cast(dict[str, Any], named).get("url") if isinstance(named, dict) else named
            if isinstance(url, str):
                return attachment(url, "image/*", None, *loc)
        case "input_audio":
            audio: Any = fields.get("input_audio")
            if isinstance(audio, dict):
                held = cast(dict[str, Any], audio)
                return inline(str(held.get("data", "")), f"audio/{held.get('format', 'wav')}", None, *loc)
        case "image" | "audio" | "video" | "file":
            return _sent_file(cast(str, type), fields, *loc)
        case "non_standard":
            return Json(fields.get("value"))
        case "reasoning" | "thinking" | "tool_call" | "tool_use":
            return None
        case _:
            pass
    raise ValidationError(
        f"a block of a message is text, image_url, input_audio, image, audio, video or file, not {type!a:.80}", loc=loc
    )


def _sent_file(type: str, fields: Mapping[str, Any], *loc: str | int) -> Block:
    """`{url}`, or `{base64 | data, mime_type}`; also as OpenAI writes a file."""
    held: Any = fields.get("file")
    if isinstance(held, dict):
        file = cast(dict[str, Any], held)
        data: Any = file.get("file_data")
        if isinstance(data, str):
            return attachment(data, None, _title(file), *loc)
    media_type: Any = fields.get("mime_type")
    given = media_type if isinstance(media_type, str) else None
    url: Any = fields.get("url")
    if isinstance(url, str):
        usual = f"{type}/*" if type != "file" else None
        return attachment(url, given or usual, _title(fields), *loc)
    encoded: Any = fields.get("base64") or fields.get("data")
    if isinstance(encoded, str) and given is not None:
        return inline(encoded, given, _title(fields), *loc)
    raise ValidationError("a file has a url, or base64 and its mime_type", loc=loc)


def _title(fields: Mapping[str, Any]) -> str | None:
    held: Any = fields.get("metadata")
    named: Any = fields.get("filename") or (
        cast(dict[str, Any], held).get("filename") if isinstance(held, dict) else None
    )
    return named if isinstance(named, str) else None
