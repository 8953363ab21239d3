"""What a client of AG-UI sends and shows: the request of a run, messages, and the answers to interrupts.

Above: `encoder`, `routes`. Below: domain messages and tickets.
Holds: parts and roles that are not known are passed over; files are taken as `attachments` takes them, and nothing is
fetched. What is absent is left out, and never null.

Source: docs/howto/use-ag-ui.md; SRV-033.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Annotated, Any, ClassVar, Final, Literal, cast

import msgspec
from msgspec import Meta

from awaken.domain.clock import to_rfc3339
from awaken.domain.delivery import Strategy
from awaken.domain.errors import ValidationError
from awaken.domain.ids import MessageId
from awaken.domain.message import (
    Audio,
    Base64Source,
    Block,
    Document,
    Image,
    Json,
    Message,
    Role,
    Text,
    Thinking,
    ToolCall,
    ToolStatus,
    Video,
)
from awaken.domain.run import ClientTool, OnDisconnect, Usage
from awaken.domain.server_event import TicketOpenedPayload
from awaken.domain.state import Values
from awaken.domain.ticket import Ticket, Verdict, plain_answer
from awaken.protocols.attachments import attachment
from awaken.protocols.body import DialectBody

PROTOCOL_VERSION: Final = "1.0"
MAX_SENT_MESSAGES: Final = 10_000
"""A client sends its whole conversation."""
MAX_PARTS: Final = 10_000
MAX_CLIENT_TOOLS: Final = 128
MAX_CONTEXTS: Final = 1_000
MAX_RESUMES: Final = 1_000
ASK: Final = "ask"
"""The call as which a question is shown that belongs to none."""
_json: Final = msgspec.json.Encoder(order="deterministic")

Shown = dict[str, Any]
"""A message, an interrupt or another object as a client has it."""


class Function(msgspec.Struct, frozen=True, kw_only=True):
    name: str
    arguments: str = ""


class SentCall(msgspec.Struct, frozen=True, kw_only=True):
    id: str
    function: Function


class Sent(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """A message as a client of AG-UI has it."""

    role: str
    id: str = ""
    content: Any = None
    tool_calls: Annotated[tuple[SentCall, ...], Meta(max_length=MAX_PARTS)] | None = None
    tool_call_id: str | None = None
    error: str | None = None


class Tool(msgspec.Struct, frozen=True, kw_only=True):
    """A tool that the client carries out."""

    name: str
    description: str = ""
    parameters: dict[str, Any] | None = None


class Resume(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """An answer to an interrupt."""

    interrupt_id: str
    status: Literal["resolved", "cancelled"]
    payload: Any = msgspec.UNSET


class Forwarded(msgspec.Struct, frozen=True, kw_only=True):
    """What is known of `forwardedProps`; all of them are kept with the run."""

    agent_id: str | None = msgspec.field(name="agentId", default=None)
    multitask_strategy: Strategy | None = None
    on_disconnect: OnDisconnect | None = None


class RunInput(DialectBody, frozen=True, kw_only=True, rename="camel"):
    """`RunAgentInput`."""

    when_too_large: ClassVar[str] = (
        "the page sends the whole conversation with every run; let requestInit of its HttpAgent leave out the files of"
        " all messages but the last, which are known here"
    )
    thread_id: str
    run_id: str
    """What the client calls the run, and the events of it as well."""
    messages: Annotated[list[Sent], Meta(max_length=MAX_SENT_MESSAGES)]
    protocol_version: str | None = None
    parent_run_id: str | None = None
    state: Any = None
    """What the client has as the thread's state: it becomes that, unless it is empty."""
    tools: Annotated[list[Tool], Meta(max_length=MAX_CLIENT_TOOLS)] | None = None
    """Those that the client carries out itself."""
    context: Annotated[list[dict[str, Any]], Meta(max_length=MAX_CONTEXTS)] | None = None
    """Told to the agent beside the messages, and shown to nobody else."""
    forwarded_props: Any = None
    """`agentId`, `multitask_strategy` and `on_disconnect` are understood; all of it is kept with the run."""
    resume: Annotated[list[Resume], Meta(max_length=MAX_RESUMES)] | None = None
    """Answers to all interrupts that are open."""

    @property
    def forwarded(self) -> Forwarded:
        """Raises ValidationError for one that is understood and has a wrong shape."""
        given: Any = self.forwarded_props
        if not isinstance(given, dict):
            return Forwarded()
        try:
            return msgspec.convert(cast(Shown, given), Forwarded)
        except msgspec.ValidationError as error:
            raise ValidationError(f"forwardedProps: {error}", loc=("body", "forwardedProps")) from error

    @property
    def client_tools(self) -> tuple[ClientTool, ...]:
        return tuple([ClientTool(tool.name, tool.description, tool.parameters or {}) for tool in self.tools or ()])

    @property
    def metadata(self) -> dict[str, Any]:
        """Of the run."""
        found: dict[str, Any] = {}
        if self.parent_run_id is not None:
            found["parent_run_id"] = self.parent_run_id
        if self.forwarded_props not in (None, {}):
            found["forwarded_props"] = self.forwarded_props
        return found

    @property
    def values(self) -> Values | None:
        """The state, where it says something. Raises ValidationError for one that is no object."""
        given: Any = self.state
        if given is None or given == {}:
            return None
        if not isinstance(given, dict):
            raise ValidationError("the state of a thread is an object", loc=("body", "state"))
        return cast(Values, given)


# --- from the client --------------------------------------------------------------------------------------------------


def replacing(before: Values, after: Values) -> Values | None:
    """The merge patch that makes one object of the other; None where they are the same."""
    patch: Values = {key: None for key in before if key not in after}
    for key, value in after.items():
        known = before.get(key)
        if isinstance(known, dict) and isinstance(value, dict):
            change = replacing(cast(Values, known), cast(Values, value))
            if change is not None:
                patch[key] = change
        elif key not in before or _json.encode(known) != _json.encode(value):
            patch[key] = value
    return patch or None


def messages_of(sent: Sequence[Sent]) -> tuple[Message, ...]:
    """The conversation as the client has it, old and new; activities and reasoning are left out.

    Raises:
        ValidationError: A file of a user cannot be taken.
    """
    found: list[Message] = []
    for index, message in enumerate(sent):
        id = MessageId(message.id)
        match message.role:
            case "user":
                found.append(Message(id=id, role=Role.USER, content=_said(message, index)))
            case "system" | "developer":
                found.append(Message(id=id, role=Role.SYSTEM, content=_texts(message.content)))
            case "assistant":
                calls = tuple([_call_of(each) for each in message.tool_calls or () if each.id.strip()])
                content = _texts(message.content)
                if calls or content:
                    found.append(Message(id=id, role=Role.ASSISTANT, content=content, tool_calls=calls))
            case "tool" if message.tool_call_id:
                status = ToolStatus.SUCCESS if message.error is None else ToolStatus.ERROR
                text = Text(text_of(message.content) or message.error or "")
                found.append(
                    Message(
                        id=id, role=Role.TOOL, content=(text,), tool_call_id=message.tool_call_id, tool_status=status
                    )
                )
            case _:
                pass
    return tuple(found)


def _call_of(call: SentCall) -> ToolCall:
    try:
        arguments = msgspec.json.decode(call.function.arguments or "{}")
    except msgspec.DecodeError:
        arguments = call.function.arguments
    return ToolCall(call.id, call.function.name, arguments)


def _said(message: Sent, index: int) -> tuple[Block, ...]:
    loc = ("body", "messages", index, "content")
    content = message.content
    if isinstance(content, str):
        if content:
            return (Text(content),)
    elif isinstance(content, list):
        blocks = [
            block
            for place, part in enumerate(cast(list[Any], content)[:MAX_PARTS])
            if isinstance(part, dict) and (block := _block_of(cast(Shown, part), (*loc, place))) is not None
        ]
        return tuple(blocks)
    return ()


def _block_of(part: Shown, loc: tuple[str | int, ...]) -> Block | None:
    """None for a part that cannot be used here, such as a handle that only another provider knows."""
    match part.get("type"):
        case "text":
            text = part.get("text")
            return Text(text) if isinstance(text, str) and text else None
        case "image" | "audio" | "video" | "document":
            source: Any = part.get("source")
            return _file_of(cast(Shown, source), loc) if isinstance(source, dict) else None
        case "binary":
            return _file_of(
                {
                    "type": "data" if isinstance(part.get("data"), str) else "url",
                    "value": part.get("data") or part.get("url"),
                    "mimeType": part.get("mimeType"),
                },
                loc,
                part.get("filename"),
            )
        case _:
            return None


def _file_of(source: Shown, loc: tuple[str | int, ...], title: Any = None) -> Block | None:
    value, media_type = source.get("value"), source.get("mimeType")
    if not isinstance(value, str) or not (media_type is None or isinstance(media_type, str)):
        return None
    named = title if isinstance(title, str) else None
    match source.get("type"):
        case "data" if media_type is not None:
            return attachment(f"data:{media_type.partition(';')[0].strip()};base64,{value}", None, named, *loc)
        case "url":
            return attachment(value, media_type, named, *loc)
        case _:
            return None


def text_of(content: Any) -> str:
    """The text of a message's content, which is one, or a list of parts."""
    if isinstance(content, str):
        return content
    if not isinstance(content, list):
        return ""
    parts = [cast(Shown, part) for part in cast(list[Any], content) if isinstance(part, dict)]
    return "".join([part["text"] for part in parts if part.get("type") == "text" and isinstance(part.get("text"), str)])


def _texts(content: Any) -> tuple[Block, ...]:
    text = text_of(content)
    return (Text(text),) if text else ()


def answers_in(sent: Sequence[Sent], tickets: Iterable[Ticket]) -> list[Verdict]:
    """Decisions about those of the open tickets for the client's tools for which it has sent a result."""
    results = {each.tool_call_id: each for each in sent if each.role == "tool" and each.tool_call_id}
    found: list[Verdict] = []
    for ticket in tickets:
        message = results.get(ticket.asked.tool_call_id or ticket.ticket_id)
        if ticket.asked.kind != "client_tool" or message is None:
            continue
        if message.error is None:
            verdict = Verdict(action="answer", ticket_id=ticket.ticket_id, result=_result(text_of(message.content)))
        elif "fail" in ticket.asked.actions:
            verdict = Verdict(action="fail", ticket_id=ticket.ticket_id, reason=message.error)
        else:
            verdict = Verdict(action="answer", ticket_id=ticket.ticket_id, result={"error": message.error})
        found.append(verdict)
    return found


def _result(text: str) -> Any:
    """What a tool returned: an object or a list, which stands in text as JSON, or else the text."""
    if text[:1] in ("{", "["):
        try:
            return msgspec.json.decode(text)
        except msgspec.DecodeError:
            pass
    return text


def verdict_of(entry: Resume, ticket: Ticket) -> Verdict:
    """The decision that an answer to an interrupt is. An approval is given by a plain yes, by other arguments, or by
    `resolved` alone; a payload that could be read in another way is refused.

    Raises:
        ValidationError: The payload is nothing that the ticket could be answered with.
    """
    id, payload = ticket.ticket_id, None if entry.payload is msgspec.UNSET else entry.payload
    told: Shown = cast(Shown, payload) if isinstance(payload, dict) else {}
    reason = next((told[name] for name in _REASONS if isinstance(told.get(name), str)), None)
    if entry.status == "cancelled":
        return Verdict(action="cancel", ticket_id=id, reason=reason)
    if ticket.asked.kind != "approval":
        return Verdict(action="answer", ticket_id=id, result=payload)
    is_approved = True if entry.payload is msgspec.UNSET else plain_answer(payload)
    if is_approved is False:
        return Verdict(action="deny", ticket_id=id, reason=reason)
    if isinstance(told.get("editedArgs"), dict) and (is_approved or told.keys() <= {"editedArgs", *_REASONS}):
        return Verdict(action="edit", ticket_id=id, arguments=told["editedArgs"], reason=reason)
    if not is_approved or "editedArgs" in told:
        raise ValidationError(
            f"interrupt {id!r} is about an approval: its payload is"
            ' {"approved": true}, {"approved": false, "reason": …} or {"editedArgs": {…}}'
        )
    return Verdict(action="approve", ticket_id=id, reason=reason)


_REASONS: Final = ("reason", "message")
"""Where the payload of an answer may say why."""


# --- for the client ---------------------------------------------------------------------------------------------------


def reasoning_id(message_id: str, part: int) -> str:
    """Of the message in which a part of the assistant's message is shown that is reasoning."""
    return f"{message_id}.r{part}"


def shown(message: Message) -> list[Shown]:
    """A message of the log as the client has it: the assistant's reasoning is a message of its own before it."""
    found: list[Shown] = []
    match message.role:
        case Role.USER:
            found.append({"id": message.id, "role": "user", "content": content_of(message.content)})
        case Role.SYSTEM:
            found.append({"id": message.id, "role": "system", "content": message.text})
        case Role.TOOL:
            told: Shown = {"id": message.id, "role": "tool", "toolCallId": message.tool_call_id or ""}
            told["content"] = content_of(message.content)
            if message.tool_status not in (None, ToolStatus.SUCCESS):
                told["error"] = message.text or "it failed"
            found.append(told)
        case Role.ASSISTANT:
            for part, block in enumerate(message.content):
                if isinstance(block, Thinking) and (block.text or block.signature):
                    thought: Shown = {"role": "reasoning", "content": block.text}
                    thought["id"] = reasoning_id(message.id, part)
                    if block.signature:
                        thought["encryptedValue"] = block.signature
                    found.append(thought)
            said: Shown = {"id": message.id, "role": "assistant"}
            text = content_of([block for block in message.content if not isinstance(block, Thinking)])
            said["content"] = text if isinstance(text, str) else text_of(text)
            if message.tool_calls:
                said["toolCalls"] = [call_of(call.id, call.name, call.arguments) for call in message.tool_calls]
            found.append(said)
    return found


def call_of(id: str, name: str, arguments: Any) -> Shown:
    """A tool call of an assistant's message."""
    return {"id": id, "type": "function", "function": {"name": name, "arguments": written(arguments)}}


def written(value: Any) -> str:
    """A value as text: a text as it is, nothing as an empty one, all else as JSON."""
    if isinstance(value, str):
        return value
    return "" if value is None else _json.encode(value).decode()


def ending_of(text: str) -> str:
    """What is missing for a text to be JSON that was cut somewhere; nothing for one that is whole, or is none."""
    open_ones: list[str] = []
    is_text = is_escaped = False
    for char in text:
        if is_text:
            is_text = is_escaped or char != '"'
            is_escaped = char == "\\" and not is_escaped
        elif char == '"':
            is_text = True
        elif char in "{[":
            open_ones.append("}" if char == "{" else "]")
        elif char in "}]" and open_ones:
            open_ones.pop()
    closing = "".join(reversed(open_ones))
    for word in _CUT_WORDS:
        for after in _CUT_PLACES:
            try:
                msgspec.json.decode(text + word + after + closing)
            except msgspec.DecodeError:
                continue
            return word + after + closing
    return ""


_CUT_PLACES: Final = ("", '"', '":null', ":null", "null", '"":null')
_CUT_WORDS: Final = ("", "0", "00", "000", "0000", "\\", "e", "ue", "rue", "se", "lse", "alse", "l", "ll", "ull")
"""What may be missing of an escape, a number or a literal."""


def content_of(blocks: Iterable[Block]) -> str | list[Shown]:
    """The text, or parts where there are files."""
    parts: list[Shown] = []
    for block in blocks:
        match block:
            case Text():
                parts.append({"type": "text", "text": block.text})
            case Json():
                parts.append({"type": "text", "text": _json.encode(block.value).decode()})
            case Image() | Audio() | Video() | Document():
                parts.append(_part_of(block))
            case _:
                pass
    if all([part["type"] == "text" for part in parts]):
        return "".join([part["text"] for part in parts])
    return parts


def _part_of(block: Image | Audio | Video | Document) -> Shown:
    source = block.source
    if isinstance(source, Base64Source):
        told: Shown = {"type": "data", "value": source.data, "mimeType": source.media_type}
    else:
        told = {"type": "url", "value": source.url}
        if source.media_type is not None:
            told["mimeType"] = source.media_type
    part: Shown = {"type": type(block).__name__.lower(), "source": told}
    return part if block.title is None else part | {"metadata": {"title": block.title}}


def interrupt_of(ticket: TicketOpenedPayload) -> Shown:
    """What somebody is asked."""
    is_approval = ticket.kind == "approval"
    told: Shown = {"id": ticket.ticket_id}
    told["reason"] = "input_required" if not is_approval else "tool_call" if ticket.tool_call_id else "confirmation"
    if ticket.message is not None:
        told["message"] = ticket.message
    told["toolCallId"] = ticket.tool_call_id or ticket.ticket_id
    if ticket.response_schema is not None:
        told["responseSchema"] = ticket.response_schema
    if ticket.expires_at is not None:
        told["expiresAt"] = to_rfc3339(ticket.expires_at)
    about: Shown = {"allowedActions": ticket.allowed_actions}
    if ticket.tool_name is not None:
        about["toolName"] = ticket.tool_name
    if ticket.arguments is not None:
        about["arguments"] = ticket.arguments
    told["metadata"] = {"awaken": about}
    return told


def is_interrupt(kind: str) -> bool:
    """Whether tickets of this kind are interrupts: what a person answers, and no program."""
    return kind in ("approval", "input")


def usage_of(total: Usage | None, by_model: dict[str, Usage]) -> list[Shown]:
    """Tokens, by model where that is known."""
    if by_model:
        return [{"model": model} | _tokens(usage) for model, usage in by_model.items()]
    return [] if total is None else [_tokens(total)]


def _tokens(usage: Usage) -> Shown:
    told = {
        "inputTokens": usage.input_tokens,
        "outputTokens": usage.output_tokens,
        "totalTokens": usage.input_tokens + usage.output_tokens,
        "reasoningTokens": usage.reasoning_tokens,
        "cachedInputTokens": usage.cache_read_tokens,
        "cacheWriteInputTokens": usage.cache_write_tokens,
    }
    return {name: value for name, value in told.items() if value}
