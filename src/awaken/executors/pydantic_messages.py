"""Translate between the neutral messages of a thread and those of Pydantic AI, without loss.

Above: `pydantic_ai` reads history through `to_native` and commits what the other functions make.
Below: the framework's own JSON form of its messages.
Holds: what the framework wrote comes back equal, JSON for JSON, except for `instructions`, which it renders anew for
each request. The neutral blocks alone rebuild a message a model accepts; the sidecar holds only where that differs
from the original, as patches on what the blocks rebuild, so nothing is stored twice. A call has the thread's id in the
neutral form and the framework's own in the native one, where its answers have it too, whoever wrote them.

Source: ADR 0015; `docs/howto/use-pydantic-ai.md`.
"""

from __future__ import annotations

import base64
from collections.abc import Callable, Iterable, Sequence
from datetime import UTC, datetime
from typing import Any, Final, cast

import msgspec
import pydantic
import pydantic_core
from pydantic_ai.messages import (
    AudioUrl,
    BinaryContent,
    DocumentUrl,
    FilePart,
    FileUrl,
    ImageUrl,
    ModelMessage,
    ModelMessagesTypeAdapter,
    ModelRequest,
    ModelRequestPart,
    ModelResponse,
    ModelResponsePart,
    SystemPromptPart,
    TextContent,
    TextPart,
    ThinkingPart,
    ToolCallPart,
    ToolReturn,
    ToolReturnPart,
    UserContent,
    UserPromptPart,
    VideoUrl,
)

from awaken.domain.ids import MessageId
from awaken.domain.message import (
    Audio,
    Base64Source,
    Block,
    Document,
    Image,
    Json,
    Message,
    MessageState,
    Native,
    Opaque,
    Role,
    Text,
    Thinking,
    ToolCall,
    ToolStatus,
    UrlSource,
    Video,
    Visibility,
)
from awaken.executors.mending import mend, plain

FORMAT: Final = "pydantic_ai"
VERSION: Final = 1
PART: Final = "pydantic_ai.part"
"""The kind of an opaque block that holds a whole part the neutral form has no block for."""
USER_CONTENT: Final = "pydantic_ai.user_content"
"""The kind of an opaque block that holds one item of a user prompt."""

_NO_TIME: Final = datetime.fromtimestamp(0, UTC)
"""Stands where a message was rebuilt from its blocks: the framework asks for a time, no model sees it."""
_UNKNOWN_TOOL: Final = "unknown_tool"
_NO_JSON: Final = object()
_STATUS: Final = {
    "success": ToolStatus.SUCCESS,
    "failed": ToolStatus.ERROR,
    "retried": ToolStatus.ERROR,
    "denied": ToolStatus.ERROR,
    "interrupted": ToolStatus.CANCELLED,
}
_OUTCOME: Final = {
    ToolStatus.SUCCESS: "success",
    ToolStatus.ERROR: "failed",
    ToolStatus.CANCELLED: "interrupted",
}
_MEDIA: Final = {"image": Image, "audio": Audio, "video": Video}
_URLS: Final[dict[str, type[FileUrl]]] = {
    "image": ImageUrl, "audio": AudioUrl, "video": VideoUrl, "document": DocumentUrl,
}  # fmt: skip

_user_content: Final = pydantic.TypeAdapter[Any](
    list[UserContent], config=pydantic.ConfigDict(ser_json_bytes="base64", val_json_bytes="base64")
)
Dump = dict[str, Any]
"""The JSON form of one message or part."""
_Calls = dict[str, ToolCallPart]
"""The calls of the turn that is answered, by the ids they have in the thread."""


# --- from the framework -----------------------------------------------------------------------------------------------


def from_response(
    response: ModelResponse, message_id: MessageId, name_call: Callable[[str], str] = lambda call_id: call_id
) -> Message:
    """The assistant message for a model's response. `name_call` gives the thread's id for a call of the framework's."""
    blocks: list[Block] = []
    calls: list[ToolCall] = []
    dump = dump_message(response)
    for part, part_dump in zip(response.parts, dump["parts"], strict=True):
        if isinstance(part, ToolCallPart):
            calls.append(ToolCall(name_call(part.tool_call_id), named_tool(part.tool_name), _arguments(part)))
        else:
            blocks.append(_response_block(part, part_dump))
    bare = Message(
        id=message_id,
        role=Role.ASSISTANT,
        content=tuple(blocks),
        tool_calls=tuple(calls),
        state=MessageState.INTERRUPTED if response.state == "interrupted" else MessageState.COMMITTED,
    )
    return _with_sidecar([bare], dump, None)[0]


def named_tool(name: str) -> str:
    """How a tool is called in a thread. Small models call tools without a name; the framework answers that."""
    return name if name.strip() else _UNKNOWN_TOOL


def mend_response(response: ModelResponse) -> None:
    """Mend half characters in the framework's own message, so that its model goes on with what the log has."""
    dump = mend(dump_message(response))
    response.parts = cast(ModelResponse, ModelMessagesTypeAdapter.validate_python([dump])[0]).parts


def mend_part(part: ModelRequestPart) -> None:
    """The same for a part of a request, where it is text."""
    content: Any = getattr(part, "content", None)
    if isinstance(content, str | list) and mend(content) != content:
        cast(Any, part).content = mend(content)


def jsonable(value: Any) -> Any:
    """The plain JSON of whatever it is: bytes in base64, numbers that are none by name, a placeholder for the rest."""
    form = _jsonable(value)
    if form is _NO_JSON and type(value) is dict:
        items = {mend(str(key)): (item, _jsonable(item)) for key, item in cast("dict[Any, Any]", value).items()}
        return {key: _placeholder(item) if form is _NO_JSON else form for key, (item, form) in items.items()}
    return _placeholder(value) if form is _NO_JSON else form


def _jsonable(value: Any) -> Any:
    try:
        form: Any = pydantic_core.to_jsonable_python(value, fallback=str, bytes_mode="base64", inf_nan_mode="strings")
        return plain(form)
    except Exception:  # the value's own methods may raise whatever they like
        return _NO_JSON


def _placeholder(value: Any) -> str:
    return f"<a {type(value).__qualname__} that has no JSON form>"


def from_request(request: ModelRequest, new_id: Callable[[], MessageId]) -> list[Message]:
    """The messages for a request: a tool message for each answer, one message for each other part."""
    dump = dump_message(request)
    bare = [_request_message(part, d, new_id()) for part, d in zip(request.parts, dump["parts"], strict=True)]
    return _with_sidecar(bare, dump, bare[0].id if len(bare) > 1 else None) if bare else []


def from_parts(parts: Sequence[ModelRequestPart], new_id: Callable[[], MessageId], *, group: str) -> list[Message]:
    """The messages for parts that the agent itself adds to a request already begun: internal, tied by `group`."""
    if not parts:
        return []
    dump = dump_message(ModelRequest(parts=parts))
    bare = [
        msgspec.structs.replace(_request_message(part, d, new_id()), visibility=Visibility.INTERNAL)
        for part, d in zip(parts, dump["parts"], strict=True)
    ]
    return _with_sidecar(bare, {"parts": dump["parts"]}, group)


def from_return(
    part: ToolReturnPart,
    message_id: MessageId,
    *,
    group: str,
    call_id: str | None = None,
    content: str | Sequence[UserContent] | None = None,
    tools: Sequence[str] | None = None,
) -> Message:
    """The tool message for one answer of the turn `group`.

    `call_id` is the thread's id of the call, None where it is the framework's. `content` and `tools` are what the tool
    wants the model to read beside its answer; they are kept for `to_tool_return` and are not part of the history until
    their own messages are.

    Raises:
        ValueError: The answer has no JSON form.
    """
    parts: list[ModelRequestPart] = [part]
    if content:
        parts.append(UserPromptPart(content, timestamp=_NO_TIME))
    dumps: list[Dump] = dump_message(ModelRequest(parts=parts))["parts"]
    dumps[0]["content"] = plain(dumps[0]["content"])
    bare = _request_message(part, dumps[0], message_id)
    bare = msgspec.structs.replace(bare, tool_call_id=call_id or part.tool_call_id)
    [message] = _with_sidecar([bare], {"parts": dumps[:1]}, group)
    beside: Dump = {"content": dumps[1]["content"]} if content else {}
    if tools:
        beside["tools"] = list(tools)
    if beside and message.native is not None:
        native = msgspec.structs.replace(message.native, envelope={"beside": beside})
        message = msgspec.structs.replace(message, native=native)
    return message


def dump_message(message: ModelMessage) -> Dump:
    """The framework's JSON form, without `instructions`.

    Raises:
        ValueError: Something in it has no JSON form.
    """
    dump: Dump = ModelMessagesTypeAdapter.dump_python([message], mode="json", warnings=False)[0]
    dump.pop("instructions", None)
    return dump


def _response_block(part: ModelResponsePart, dump: Dump) -> Block:
    match part:
        case TextPart():
            return Text(part.content)
        case ThinkingPart():
            return Thinking(part.content, part.signature, part.provider_name)
        case FilePart():
            return _media(part.content)
        case _:
            return Opaque(PART, dump)


def _request_message(part: ModelRequestPart, dump: Dump, message_id: MessageId) -> Message:
    match part:
        case SystemPromptPart():
            content: tuple[Block, ...] = (Text(part.content),)
            return Message(id=message_id, role=Role.SYSTEM, content=content, visibility=Visibility.INTERNAL)
        case UserPromptPart():
            items = [part.content] if isinstance(part.content, str) else part.content
            content = tuple([_user_block(item) for item in items])
            return Message(id=message_id, role=Role.USER, content=content)
        case ToolReturnPart():
            value = dump["content"]
            return Message(
                id=message_id,
                role=Role.TOOL,
                content=(Text(value) if isinstance(value, str) else Json(value),),
                tool_call_id=part.tool_call_id,
                tool_status=_STATUS.get(part.outcome, ToolStatus.ERROR),
            )
        case _:
            content = (Opaque(PART, dump),)
            return Message(id=message_id, role=Role.USER, content=content, visibility=Visibility.INTERNAL)


def _user_block(item: UserContent) -> Block:
    match item:
        case str():
            return Text(item)
        case BinaryContent():
            return _media(item)
        case FileUrl() if type(item) in _URLS.values():
            kind = item.kind.removesuffix("-url")
            return _MEDIA.get(kind, Document)(UrlSource(item.url, getattr(item, "_media_type", None)))
        case TextContent() if type(item) is TextContent:
            return Text(item.content)
        case _:
            return Opaque(USER_CONTENT, _user_content.dump_python([item], mode="json")[0])


def _media(content: BinaryContent) -> Block:
    source = Base64Source(content.media_type, base64.b64encode(content.data).decode())
    return _MEDIA.get(content.media_type.partition("/")[0], Document)(source)


def _arguments(part: ToolCallPart) -> Any:
    """The arguments as an object; as the text the model wrote where that is none."""
    try:
        return plain(part.args_as_dict(raise_if_invalid=True))
    except (ValueError, AssertionError):
        return part.args


# --- the sidecar ------------------------------------------------------------------------------------------------------


def _with_sidecar(bare: list[Message], dump: Dump, group: str | None) -> list[Message]:
    """The messages of one framework message, each with what its blocks do not hold."""
    rebuilt = dump_message(_rebuilt(bare, {}))
    envelope = {
        key: value
        for key, value in dump.items()
        if key not in ("kind", "parts") and value is not None and value != rebuilt.get(key)
    }
    if isinstance(envelope.get("usage"), dict):
        usage: Dump = envelope["usage"]
        envelope["usage"] = {key: value for key, value in usage.items() if value}
    parts: list[Dump] = dump["parts"]
    found: list[Message] = []
    for index, message in enumerate(bare):
        whole = message.role is Role.ASSISTANT
        patches = _patches(parts if whole else parts[index : index + 1], _parts_of(rebuilt, index, whole=whole))
        first = {"message": envelope} if index == 0 and envelope else None
        if patches or first or group is not None:
            native = Native(FORMAT, VERSION, group, first, patches)
            message = msgspec.structs.replace(message, native=native)
        found.append(message)
    return found


def _parts_of(rebuilt: Dump, index: int, *, whole: bool) -> list[Dump]:
    return rebuilt["parts"] if whole else rebuilt["parts"][index : index + 1]


def _patches(parts: list[Dump], rebuilt: list[Dump]) -> tuple[Any, ...]:
    """How to get `parts` from `rebuilt`: for each the index of its like and what differs; none when they are equal."""
    if parts == rebuilt:
        return ()
    free = dict(enumerate(rebuilt))
    found: list[Dump] = []
    for part in parts:
        kind, keys = part.get("part_kind"), part.keys()
        at = next((i for i, like in free.items() if like["part_kind"] == kind and like.keys() == keys), None)
        if at is None:
            found.append({"whole": part})
            continue
        like = free.pop(at)
        changed = {key: value for key, value in part.items() if value != like[key]}
        found.append({"at": at, "set": changed} if changed else {"at": at})
    return tuple(found)


def _patched(patches: Iterable[Any], rebuilt: list[Dump]) -> list[Dump]:
    return [p["whole"] if "whole" in p else {**rebuilt[p["at"]], **p.get("set", {})} for p in patches]


# --- to the framework -------------------------------------------------------------------------------------------------


def to_native(messages: Sequence[Message]) -> list[ModelMessage]:
    """The history as the framework takes it. Every tool message must answer the turn before it.

    The answers of a turn come in the order of its calls, however they finished. A sidecar this version cannot read
    is ignored: the blocks are enough.
    """
    found: list[ModelMessage] = []
    calls: _Calls = {}
    for group in _groups(messages):
        native = _readable_native(group, calls)
        if isinstance(native, ModelResponse):
            calls = calls_of(group[0], native)
        found.append(native)
    return found


def calls_of(message: Message, response: ModelResponse) -> _Calls:
    """The calls of a turn as the framework has them, by the ids they have in the thread."""
    return {call.id: native for call, native in zip(message.tool_calls, response.tool_calls, strict=False)}


def to_response(message: Message) -> ModelResponse:
    """One assistant turn as the framework takes it."""
    [response] = to_native([message])
    return cast(ModelResponse, response)


def to_tool_return(message: Message, call: ToolCallPart) -> tuple[ToolReturnPart, ToolReturn[Any]]:
    """The answer to a call twice: the part that goes to the model, and what the tool returned, if it returned well."""
    request = _readable_native([message], {message.tool_call_id or "": call})
    part = cast(ToolReturnPart, request.parts[0])
    beside = _envelope(message.native, "beside")
    content: Any = beside.get("content")
    if content is not None and not isinstance(content, str):
        content = _user_content.validate_python(content)
    return part, ToolReturn(part.content, content=content, metadata=part.metadata, tools=beside.get("tools"))


def _readable_native(group: list[Message], calls: _Calls) -> ModelMessage:
    try:
        return _native(group, calls)
    except (pydantic.ValidationError, LookupError, TypeError):
        return _rebuilt(group, calls)


def _envelope(sidecar: Native | None, key: str) -> Dump:
    if sidecar is None or sidecar.format != FORMAT or sidecar.envelope is None:
        return {}
    return cast("dict[str, Dump]", sidecar.envelope).get(key, {})


def _groups(messages: Sequence[Message]) -> Iterable[list[Message]]:
    """The neutral messages of each framework message."""
    group: list[Message] = []
    order: dict[str, int] = {}
    for message in messages:
        if group and not _belongs(message, group[-1]):
            yield _in_call_order(group, order)
            group = []
        if message.role is Role.ASSISTANT:
            order = {call.id: index for index, call in enumerate(message.tool_calls)}
        group.append(message)
    if group:
        yield _in_call_order(group, order)


def _belongs(message: Message, last: Message) -> bool:
    tie, other = _tie(message), _tie(last)
    return message.role is not Role.ASSISTANT and last.role is not Role.ASSISTANT and tie is not None and tie == other


def _tie(message: Message) -> str | None:
    return message.native.group if message.native is not None and message.native.format == FORMAT else None


def _in_call_order(group: list[Message], order: dict[str, int]) -> list[Message]:
    if any(message.role is not Role.TOOL for message in group[:1]):
        return group
    answers = [message for message in group if message.role is Role.TOOL]
    rest = [message for message in group if message.role is not Role.TOOL]
    return sorted(answers, key=lambda message: order.get(message.tool_call_id or "", len(order))) + rest


def _native(group: list[Message], calls: _Calls) -> ModelMessage:
    """The framework message with its sidecar applied; the rebuilt one when there is none."""
    rebuilt = _rebuilt(group, calls)
    sidecars = [message.native for message in group]
    known = [s if s is not None and s.format == FORMAT and s.version == VERSION else None for s in sidecars]
    if not any(known):
        return rebuilt
    dump = dump_message(rebuilt)
    parts: list[Dump] = []
    for index, (message, sidecar) in enumerate(zip(group, known, strict=True)):
        own = _parts_of(dump, index, whole=message.role is Role.ASSISTANT)
        own = _patched(sidecar.parts, own) if sidecar is not None and sidecar.parts else own
        call = calls.get(message.tool_call_id or "")
        if call is not None:
            own[0] = {**own[0], "tool_call_id": call.tool_call_id}  # as the turn has it, whatever its own sidecar holds
        parts += own
        dump.update(_envelope(sidecar, "message"))
    dump["parts"] = parts
    return ModelMessagesTypeAdapter.validate_python([dump])[0]


def _rebuilt(group: list[Message], calls: _Calls) -> ModelMessage:
    """The framework message that the blocks alone amount to; one part for each message of a request."""
    first = group[0]
    if first.role is Role.ASSISTANT:
        parts = [part for block in first.content for part in _response_parts(block)]
        made = [ToolCallPart(call.name, call.arguments, call.id) for call in first.tool_calls]
        state = "interrupted" if first.state is MessageState.INTERRUPTED else "complete"
        return ModelResponse(parts=[*parts, *made], timestamp=_NO_TIME, state=state)
    return ModelRequest(parts=[_request_part(message, calls) for message in group])


def _response_parts(block: Block) -> list[ModelResponsePart]:
    match block:
        case Text(text):
            return [TextPart(text)]
        case Thinking(text, signature, provider):
            return [ThinkingPart(text, signature=signature, provider_name=provider)]
        case Image(source) | Audio(source) | Video(source) | Document(source):
            if isinstance(source, UrlSource):
                return [TextPart(source.url)]
            return [FilePart(BinaryContent(base64.b64decode(source.data), media_type=source.media_type))]
        case Json(value):
            return [TextPart(_json_text(value))]
        case Opaque(kind, value):
            return _opaque_response_part(value) if kind == PART else []


def _opaque_response_part(value: Any) -> list[ModelResponsePart]:
    dump = {"kind": "response", "parts": [value], "timestamp": _NO_TIME}
    try:
        response = cast(ModelResponse, ModelMessagesTypeAdapter.validate_python([dump])[0])
    except pydantic.ValidationError:
        return []
    return list(response.parts)


def _request_part(message: Message, calls: _Calls) -> ModelRequestPart:
    if message.role is Role.SYSTEM:
        return SystemPromptPart(message.text, timestamp=_NO_TIME)
    if message.role is Role.TOOL:
        return _return_part(message, calls)
    if len(message.content) == 1:
        [block] = message.content
        if isinstance(block, Opaque) and block.kind == PART:
            return _opaque_request_part(block.value)
        if isinstance(block, Text):
            return UserPromptPart(block.text, timestamp=_NO_TIME)
    return UserPromptPart([item for block in message.content for item in _user_items(block)], timestamp=_NO_TIME)


def _opaque_request_part(value: Any) -> ModelRequestPart:
    dump = {"kind": "request", "parts": [value]}
    try:
        request = cast(ModelRequest, ModelMessagesTypeAdapter.validate_python([dump])[0])
    except pydantic.ValidationError:
        return UserPromptPart(_json_text(value), timestamp=_NO_TIME)
    return request.parts[0]


def _return_part(message: Message, calls: _Calls) -> ToolReturnPart:
    call_id = message.tool_call_id or ""
    call = calls.get(call_id)
    content: Any = message.text
    if len(message.content) == 1 and isinstance(message.content[0], Json):
        content = message.content[0].value
    return ToolReturnPart(
        tool_name=_UNKNOWN_TOOL if call is None else call.tool_name,
        content=content,
        tool_call_id=call_id if call is None else call.tool_call_id,
        timestamp=_NO_TIME,
        outcome=cast(Any, _OUTCOME[message.tool_status or ToolStatus.SUCCESS]),
    )


def _user_items(block: Block) -> list[UserContent]:
    match block:
        case Text(text):
            return [text]
        case Image(source) | Audio(source) | Video(source) | Document(source):
            if isinstance(source, UrlSource):
                url = _URLS[type(block).__name__.lower()]
                return [cast(Any, url(source.url, media_type=source.media_type))]
            return [BinaryContent(base64.b64decode(source.data), media_type=source.media_type)]
        case Thinking(text):
            return [text]
        case Json(value):
            return [_json_text(value)]
        case Opaque(kind, value):
            return _opaque_user_item(value) if kind == USER_CONTENT else []


def _opaque_user_item(value: Any) -> list[UserContent]:
    try:
        return _user_content.validate_python([value])
    except pydantic.ValidationError:
        return []


def _json_text(value: Any) -> str:
    return pydantic.TypeAdapter[Any](Any).dump_json(value).decode()
