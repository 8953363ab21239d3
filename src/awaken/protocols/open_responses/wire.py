"""What clients of Open Responses and of chat completions send, and the form of an error.

Above: `encoder`, `chat`, `routes`. Below: `protocols.body`, domain messages and decisions.
Holds: fields that are not known are passed over; what cannot be meant is refused by name. Files are taken as
`attachments` takes them, and nothing is fetched.

Source: docs/howto/use-openai-clients.md; OR-001.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from contextlib import suppress
from typing import Annotated, Any, ClassVar, Final, Literal, cast

import msgspec
from msgspec import Meta
from starlette.responses import Response

from awaken.domain.errors import Unsupported, ValidationError
from awaken.domain.ids import DispatchId, MessageId, RunId, TicketId
from awaken.domain.message import Block, Message, Role, Text, ToolCall
from awaken.domain.run import ClientTool
from awaken.domain.ticket import Ticket, Verdict
from awaken.http.operation import ErrorRenderer
from awaken.http.problems import Problem
from awaken.http.query import Query
from awaken.http.settings import MAX_METADATA_KEYS
from awaken.protocols.attachments import attachment, inline
from awaken.protocols.body import DialectBody

SERVER: Final = "awaken"
"""Whose tools those are that the server carries out."""
MAX_ITEMS: Final = 10_000
"""A client may send its whole conversation."""
MAX_PARTS: Final = 1_000
MAX_TOOLS: Final = 128
MAX_ECHOED_CHARS: Final = 16 * 1024
"""Longer instructions are told to the agent, and not to whoever reads the response."""
LENGTH_CODES: Final = frozenset({"max_tokens", "budget", "usage_limit", "context_length"})
"""Codes of a run that stopped because there was no room for more."""
ASKED: Final = "ask_"
"""How the item begins that is a question; the id of its ticket follows."""
_QUESTION: Final = re.compile(rf"{ASKED}([0-9a-f]{{8}}(?:-[0-9a-f]{{4}}){{3}}-[0-9a-f]{{12}})")
_PREFIX: Final = "resp_"
_json: Final = msgspec.json.Encoder()

Item = dict[str, Any]
Loc = tuple[str | int, ...]


# --- errors -----------------------------------------------------------------------------------------------------------


class ErrorObject(msgspec.Struct, frozen=True):
    message: str
    type: str
    param: str | None
    code: str


class ErrorDocument(msgspec.Struct, frozen=True):
    error: ErrorObject


_KINDS: Final = {401: "authentication_error", 403: "permission_error", 404: "not_found_error", 429: "rate_limit_error"}


def error_of(problem: Problem) -> ErrorDocument:
    if problem.code == "model_not_found":  # as OpenAI says it
        return ErrorDocument(ErrorObject(problem.detail, "invalid_request_error", "model", problem.code))
    kind = _KINDS.get(problem.status, "server_error" if problem.status >= 500 else "invalid_request_error")
    where = problem.errors[0].loc if problem.errors else ()
    param = ".".join([str(each) for each in where[1:]]) or None
    return ErrorDocument(ErrorObject(problem.detail, kind, param, problem.code))


SHOULD_RETRY: Final = "x-should-retry"
"""What OpenAI's clients obey, which repeat every 408, 409, 429 and 5xx by themselves otherwise."""


def _render(problem: Problem, request_id: str) -> Response:
    headers = {SHOULD_RETRY: "true" if problem.is_retryable else "false", **problem.headers}
    return Response(_json.encode(error_of(problem)), problem.status, headers, media_type="application/json")


ERRORS: Final = ErrorRenderer(_render, "application/json", ErrorDocument)


# --- ids --------------------------------------------------------------------------------------------------------------


def response_id(dispatch_id: DispatchId | None) -> str:
    return f"{_PREFIX}{dispatch_id}"


def dispatch_named(id: str) -> DispatchId | None:
    """The dispatch of a response; None for what is the id of no response."""
    return DispatchId(id[len(_PREFIX) :]) if id.startswith(_PREFIX) and len(id) > len(_PREFIX) else None


# --- queries and bodies -----------------------------------------------------------------------------------------------


class DialectQuery(Query, frozen=True, kw_only=True):
    passes_over: ClassVar[bool] = True


class Asking(DialectQuery, frozen=True, kw_only=True):
    may_wait: ClassVar[bool] = True


class ReadQuery(DialectQuery, frozen=True, kw_only=True):
    stream: bool = False
    starting_after: Annotated[int, Meta(ge=-1)] = -1
    """The number of the last event that the client has."""
    may_wait: ClassVar[bool] = True

    @property
    def waits(self) -> bool:
        return self.stream


class ItemsQuery(DialectQuery, frozen=True, kw_only=True):
    order: Literal["asc", "desc"] = "desc"
    after: str | None = None
    limit: Annotated[int, Meta(ge=1, le=100)] = 20


Metadata = Annotated[dict[str, Any], Meta(max_length=MAX_METADATA_KEYS)]
Items = Annotated[list[Item], Meta(max_length=MAX_ITEMS)]
Amount = Annotated[int, Meta(ge=1)]
Temperature = Annotated[float, Meta(ge=0, le=2)]
Share = Annotated[float, Meta(ge=0, le=1)]
Penalty = Annotated[float, Meta(ge=-2, le=2)]
Tools = Annotated[list[dict[str, Any]], Meta(max_length=MAX_TOOLS)]
_ECHOED: Final = (
    "previous_response_id", "background", "max_output_tokens", "max_tool_calls", "temperature", "top_p", "tool_choice",
    "parallel_tool_calls", "presence_penalty", "frequency_penalty", "reasoning", "text",
)  # fmt: skip


class ResponseBody(DialectBody, frozen=True, kw_only=True):
    """A request for a response. `model` is an agent; `conversation` a thread."""

    model: str | None = None
    input: str | Items | None = None
    instructions: str | None = None
    previous_response_id: str | None = None
    conversation: str | dict[str, Any] | None = None
    stream: bool | None = None
    background: bool | None = None
    tools: Tools | None = None
    tool_choice: Any = None
    metadata: Metadata | None = None
    max_output_tokens: Amount | None = None
    max_tool_calls: Amount | None = None
    temperature: Temperature | None = None
    top_p: Share | None = None
    presence_penalty: Penalty | None = None
    frequency_penalty: Penalty | None = None
    prompt: Any = None
    parallel_tool_calls: bool | None = None
    reasoning: dict[str, Any] | None = None
    text: dict[str, Any] | None = None
    store: bool | None = None

    def check(self) -> None:
        """Raises Unsupported for what is asked for and could not be done."""
        if self.prompt is not None:
            raise Unsupported("prompt", "none are kept here; send its text as instructions")

    @property
    def items(self) -> list[Item]:
        if isinstance(self.input, str):
            return [{"type": "message", "role": "user", "content": self.input}] if self.input else []
        return self.input or []

    @property
    def conversation_id(self) -> str:
        """Raises ValidationError where it is named by something that is no id."""
        named = self.conversation.get("id") if isinstance(self.conversation, dict) else self.conversation
        if self.conversation is None:
            return ""
        if not isinstance(named, str) or not named.strip():
            raise ValidationError("a conversation is named by its id", loc=("body", "conversation"))
        return named.strip()

    def echoed(self) -> dict[str, Any] | None:
        """What an agent may look at, and the response repeats."""
        told = {name: getattr(self, name) for name in _ECHOED if getattr(self, name) is not None}
        if self.instructions is not None and len(self.instructions) <= MAX_ECHOED_CHARS:
            told["instructions"] = self.instructions
        return told or None


class ChatBody(DialectBody, frozen=True, kw_only=True):
    """A request for a chat completion. `user`, or `thread_id` in the metadata, names the thread."""

    messages: Items
    model: str | None = None
    stream: bool | None = None
    stream_options: dict[str, Any] | None = None
    tools: Tools | None = None
    tool_choice: Any = None
    metadata: Metadata | None = None
    user: str | None = None
    n: int | None = None
    max_tokens: Amount | None = None
    max_completion_tokens: Amount | None = None
    temperature: Temperature | None = None
    top_p: Share | None = None
    response_format: dict[str, Any] | None = None

    @property
    def thread_id(self) -> str:
        named = (self.metadata or {}).get("thread_id")
        return named.strip() if isinstance(named, str) else (self.user or "").strip()

    def echoed(self) -> dict[str, Any] | None:
        names = ("max_tokens", "max_completion_tokens", "temperature", "top_p", "tool_choice", "response_format")
        return {name: getattr(self, name) for name in names if getattr(self, name) is not None} or None


def client_tools(given: Sequence[dict[str, Any]] | None) -> tuple[ClientTool, ...]:
    """Functions, which the client carries out.

    Raises:
        ValidationError: A function has no name, or parameters that are no schema.
        Unsupported: It is another kind of tool: agents bring their own.
    """
    found: list[ClientTool] = []
    for place, tool in enumerate(given or ()):
        loc = ("body", "tools", place)
        if tool.get("type") != "function":
            raise Unsupported(
                f"tools of type {tool.get('type')!a:.40}", "the tools of a request are functions; agents have their own"
            )
        inner: object = tool.get("function")
        said = cast(dict[str, Any], inner) if isinstance(inner, dict) else tool
        name, description, parameters = said.get("name"), said.get("description"), said.get("parameters")
        if not isinstance(name, str):
            raise ValidationError("a function has a name", loc=(*loc, "name"))
        if parameters is not None and not isinstance(parameters, dict):
            raise ValidationError("the parameters of a function are a JSON schema", loc=(*loc, "parameters"))
        schema = cast(dict[str, Any], parameters or {})
        found.append(ClientTool(name, description if isinstance(description, str) else "", schema))
    return tuple(found)


# --- items of input ---------------------------------------------------------------------------------------------------


def messages_of(items: Sequence[Item]) -> tuple[Message, ...]:
    """A conversation in the words of this package: messages, calls and their answers. What only a server says, such as
    the calls of its own tools, is passed over.

    Raises:
        ValidationError: An item, or a part of one, cannot be read.
    """
    found: list[Message] = []
    for place, item in enumerate(items):
        loc: Loc = ("body", "input", place)
        match item.get("type", "message"):
            case "message":
                role = _role(item.get("role"), loc)
                content = blocks_of(item.get("content"), (*loc, "content"))
                id = item.get("id")
                found.append(Message(id=MessageId(id if isinstance(id, str) else ""), role=role, content=content))
            case "function_call":
                call = ToolCall(_named(item, "call_id", loc), _named(item, "name", loc), _json_of(item, loc))
                _add_call(found, call)
            case "function_call_output":
                text = output_of(item.get("output"), loc)
                found.append(answer_to(_named(item, "call_id", loc), text))
            case _:
                pass
    return tuple(found)


def chat_messages(items: Sequence[Item]) -> tuple[Message, ...]:
    """The messages of a chat completion, which have no ids. Raises ValidationError for one that cannot be read."""
    found: list[Message] = []
    for place, item in enumerate(items):
        loc: Loc = ("body", "messages", place)
        role = _role(item.get("role"), loc)
        if role is Role.TOOL:
            text = output_of(item.get("content"), loc)
            found.append(answer_to(_named(item, "tool_call_id", loc), text))
            continue
        content = blocks_of(item.get("content"), (*loc, "content"))
        calls: list[ToolCall] = []
        made: object = item.get("tool_calls")
        for each in cast(list[object], made) if isinstance(made, list) else ():
            function: object = cast(Item, each).get("function") if isinstance(each, dict) else None
            if not isinstance(function, dict):
                raise ValidationError("a tool call has a function", loc=(*loc, "tool_calls"))
            named = cast(Item, function)
            id = _named(cast(Item, each), "id", loc)
            calls.append(ToolCall(id, _named(named, "name", loc), _json_of(named, loc)))
        made_by = calls if role is Role.ASSISTANT else ()
        found.append(Message(id=MessageId(""), role=role, content=content, tool_calls=tuple(made_by)))
    return tuple(found)


def answer_to(call_id: str, text: str) -> Message:
    return Message(id=MessageId(""), role=Role.TOOL, content=(Text(text),), tool_call_id=call_id)


def _add_call(found: list[Message], call: ToolCall) -> None:
    """To the message of the assistant before it, which is where a conversation has it."""
    last = found[-1] if found else None
    if last is not None and last.role is Role.ASSISTANT:
        found[-1] = msgspec.structs.replace(last, tool_calls=(*last.tool_calls, call))
    else:
        found.append(Message(id=MessageId(""), role=Role.ASSISTANT, tool_calls=(call,)))


_ROLES: Final = {
    "user": Role.USER,
    "assistant": Role.ASSISTANT,
    "system": Role.SYSTEM,
    "developer": Role.SYSTEM,
    "tool": Role.TOOL,
}


def _role(given: object, loc: Loc) -> Role:
    role = _ROLES.get(given) if isinstance(given, str) else None
    if role is None:
        raise ValidationError(f"a role is one of {', '.join(_ROLES)}, and not {given!a:.40}", loc=(*loc, "role"))
    return role


def _named(item: Item, name: str, loc: Loc) -> str:
    value = item.get(name)
    if not isinstance(value, str) or not value.strip():
        raise ValidationError(f"{name} is a text, and not empty", loc=(*loc, name))
    return value


def _json_of(item: Item, loc: Loc) -> Any:
    try:
        return msgspec.json.decode(item.get("arguments") or "{}")
    except (msgspec.DecodeError, TypeError) as error:
        raise ValidationError("the arguments of a call are JSON, as a text", loc=(*loc, "arguments")) from error


def output_of(value: object, loc: Loc) -> str:
    """The text of an answer to a call: a text, or parts of text. Raises ValidationError."""
    if isinstance(value, str):
        return value
    blocks = blocks_of(value, (*loc, "output"))
    return "".join([block.text for block in blocks if isinstance(block, Text)])


def blocks_of(content: object, loc: Loc) -> tuple[Block, ...]:
    """Text, images and files of a message. Raises ValidationError for a part that cannot be read."""
    if content is None or content == "":
        return ()
    if isinstance(content, str):
        return (Text(content),)
    if not isinstance(content, list):
        raise ValidationError("content is a text, or a list of parts", loc=loc)
    parts = cast(list[object], content)
    if len(parts) > MAX_PARTS:
        raise ValidationError(f"content has at most {MAX_PARTS} parts", loc=loc)
    found: list[Block] = []
    for place, part in enumerate(parts):
        if not isinstance(part, dict):
            raise ValidationError("a part of content is an object", loc=(*loc, place))
        block = _block(cast(Item, part), (*loc, place))
        if block is not None:
            found.append(block)
    return tuple(found)


def _block(part: Item, loc: Loc) -> Block | None:
    match part.get("type"):
        case "input_text" | "output_text" | "text":
            text = part.get("text")
            if not isinstance(text, str):
                raise ValidationError("a part of text has a `text`", loc=loc)
            return Text(text) if text else None
        case "input_image" | "image_url":
            url: object = part.get("image_url")
            url = cast(Item, url).get("url") if isinstance(url, dict) else url
            if not isinstance(url, str):
                raise ValidationError("an image is named by `image_url`; files are not kept here", loc=loc)
            return attachment(url, "image/*", None, *loc)
        case "input_file" | "file":
            inner: object = part.get("file")
            said = cast(Item, inner) if isinstance(inner, dict) else part
            data, url, name = said.get("file_data"), said.get("file_url"), said.get("filename")
            title = name if isinstance(name, str) else None
            if isinstance(data, str) and not data.startswith("data:"):
                return inline(data, "application/pdf", title, *loc)
            given = data if isinstance(data, str) else url
            if not isinstance(given, str):
                raise ValidationError("a file has `file_data` or `file_url`; files are not kept here", loc=loc)
            return attachment(given, None, title, *loc)
        case "input_audio":
            audio: object = part.get("input_audio")
            said = cast(Item, audio) if isinstance(audio, dict) else {}
            data, format = said.get("data"), said.get("format")
            if not isinstance(data, str) or not isinstance(format, str):
                raise ValidationError("audio has `data` and a `format`", loc=loc)
            return inline(data, f"audio/{'mpeg' if format == 'mp3' else format}", None, *loc)
        case "refusal":
            text = part.get("refusal")
            return Text(text) if isinstance(text, str) and text else None
        case other:
            raise ValidationError(f"there are no parts of type {other!a:.40} here", loc=loc)


# --- answers ----------------------------------------------------------------------------------------------------------


def verdicts_of(items: Iterable[Item]) -> tuple[Verdict, ...]:
    """What the items say to what was asked. Raises ValidationError for an answer that cannot be read."""
    found: list[Verdict] = []
    for place, item in enumerate(items):
        loc: Loc = ("body", "input", place)
        match item.get("type"):
            case "function_call_output":
                text, call_id = output_of(item.get("output"), loc), _named(item, "call_id", loc)
                asked = question_named(call_id)
                found.append(Verdict(action="answer", ticket_id=asked or "", tool_call_id=call_id, result=text))
            case "mcp_approval_response":
                said, reason = item.get("approve"), item.get("reason")
                if not isinstance(said, bool):
                    raise ValidationError("`approve` is true or false", loc=(*loc, "approve"))
                id = _named(item, "approval_request_id", loc)
                because = reason if isinstance(reason, str) else None
                found.append(Verdict(action="approve" if said else "deny", ticket_id=id, reason=because))
            case _:
                pass
    return tuple(found)


def answered_at_end(items: Sequence[Item]) -> list[RunId | TicketId]:
    """Whom the items answer at their end, where a client names no response, because it sends the whole conversation:
    an approval is called as its ticket is, and the item of a call says of which run it is.
    """
    ids = {item.get("call_id"): item.get("id") for item in items if item.get("type") == "function_call"}
    found: list[RunId | TicketId] = []
    for item in reversed(items):
        match item.get("type"):
            case "function_call_output":
                call_id = item.get("call_id")
                named = question_named(call_id) or _run_in(ids.get(call_id), call_id)
                if named is not None:
                    found.append(named)
            case "mcp_approval_response":
                named = item.get("approval_request_id")
                if isinstance(named, str):
                    found.append(TicketId(named))
            case _:
                break
    return found


def call_item_id(run_id: RunId, call_id: str) -> str:
    """The id of the item that is a call of the run."""
    return f"fc_{run_id}_{call_id}"


def _run_in(item_id: object, call_id: object) -> RunId | None:
    if isinstance(item_id, str) and item_id.startswith("fc_") and item_id.endswith(f"_{call_id}"):
        return RunId(item_id[3 : -len(f"_{call_id}")])
    return None


def question_named(id: object) -> TicketId | None:
    """The ticket of a question that is named by the id of its item."""
    found = _QUESTION.fullmatch(id) if isinstance(id, str) else None
    return None if found is None else TicketId(found[1])


def answer_in(text: str, ticket: Ticket) -> Verdict:
    """A text, as the answer to a question: as the value it stands for, where the question asks for no text."""
    schema = ticket.asked.response_schema or {}
    value: Any = text
    if schema.get("type", "string") != "string":
        with suppress(msgspec.DecodeError):  # what is no JSON is refused for what it is
            value = msgspec.json.decode(text)
    return Verdict(action="answer", ticket_id=ticket.ticket_id, result=value)
