"""What a client of the AI SDK sends and shows: requests, `UIMessage`s, and the answers that stand in their parts.

Above: `encoder`, `history`, `routes`. Below: domain messages and tickets.
Holds: parts that are not known are passed over; files are taken as `attachments` takes them, and nothing is fetched.

Source: docs/howto/use-the-ai-sdk.md; SRV-031, SRV-032.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from typing import Annotated, Any, ClassVar, Final, Literal, Self, cast

import msgspec
from msgspec import Meta

from awaken.domain.delivery import Strategy
from awaken.domain.errors import ValidationError
from awaken.domain.ids import MessageId, RunId
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
from awaken.domain.run import ClientTool, OnDisconnect
from awaken.domain.ticket import Ticket, Verdict, plain_answer
from awaken.http.settings import MAX_METADATA_KEYS
from awaken.protocols.attachments import attachment
from awaken.protocols.body import DialectBody

MAX_SENT_MESSAGES: Final = 10_000
"""A client sends its whole conversation."""
MAX_PARTS: Final = 10_000
MAX_CLIENT_TOOLS: Final = 128
_NAMES: Final = {
    "agent_id": "agentId",
    "assistantId": "agentId",
    "assistant_id": "agentId",
    "thread_id": "threadId",
    "message_id": "messageId",
    "client_tools": "clientTools",
    "multitask_strategy": "multitaskStrategy",
    "on_disconnect": "onDisconnect",
}
"""As this API calls them, they are known as well."""
_json: Final = msgspec.json.Encoder(order="deterministic")

SHOWN_KINDS: Final = ("approval", "input", "client_tool")
"""Of tickets: what somebody who looks at a chat can answer."""

Part = dict[str, Any]
AnyFile = Image | Audio | Video | Document


class UIMessage(msgspec.Struct, frozen=True, kw_only=True):
    """A message as a client of the AI SDK has it."""

    role: Literal["system", "user", "assistant"]
    parts: Annotated[list[Part], Meta(max_length=MAX_PARTS)]
    id: str = ""


class Chat(DialectBody, frozen=True, kw_only=True, rename="camel"):
    """What `DefaultChatTransport` sends, and what a page may add to its `body`."""

    when_too_large: ClassVar[str] = (
        "the page sends the whole conversation with every message; let the transport's prepareSendMessagesRequest leave"
        " out the files of all messages but the last, which are known here"
    )
    messages: Annotated[list[UIMessage], Meta(max_length=MAX_SENT_MESSAGES)]
    id: str = ""
    """The chat, which is the thread."""
    thread_id: str = ""
    """The same; it counts where both are given."""
    trigger: Literal["submit-message", "regenerate-message"] = "submit-message"
    message_id: str | None = None
    """What is answered anew, or continued, or was edited."""
    agent_id: str | None = None
    state: dict[str, Any] | None = None
    """A merge patch of the thread's state."""
    context: Any = None
    """Told to the agent beside the messages, and shown to nobody else."""
    client_tools: Annotated[tuple[ClientTool, ...], Meta(max_length=MAX_CLIENT_TOOLS)] = ()
    """Tools that the page carries out itself."""
    metadata: Annotated[dict[str, Any], Meta(max_length=MAX_METADATA_KEYS)] | None = None
    """Of the run."""
    multitask_strategy: Strategy | None = None
    """What a thread does that is busy: `interrupt` when absent."""
    on_disconnect: OnDisconnect | None = None
    dialect: Literal[6, 7] | None = None
    """The version of `ai` that reads the stream: 6 when absent."""

    @classmethod
    def read(cls, raw: dict[str, Any]) -> Self:
        named: dict[str, Any] = {}
        for name, value in raw.items():
            name = _NAMES.get(name, name)
            if name in named and named[name] != value:
                raise ValidationError(f"{name} is given twice, with different values", loc=("body", name))
            named[name] = value
        return super().read({name: value for name, value in named.items() if value is not None})

    @property
    def chat_id(self) -> str:
        return self.thread_id.strip() or self.id.strip()

    @property
    def continued(self) -> UIMessage | None:
        """The assistant's message that the client goes on writing: the one that is named, or else the last of all."""
        if self.trigger == "regenerate-message" or not self.messages:
            return None
        named = next((each for each in reversed(self.messages) if self.message_id and each.id == self.message_id), None)
        found = named or self.messages[-1]
        return found if found.role == "assistant" else None

    @property
    def edited(self) -> UIMessage | None:
        """The message of the user that is said otherwise now, with nothing left behind it."""
        last = self.messages[-1] if self.messages else None
        is_edit = self.trigger == "submit-message" and last is not None and last.id == self.message_id
        return last if is_edit and last is not None and last.role == "user" and last.id else None

    @property
    def last_answer(self) -> UIMessage | None:
        """The last message of the assistant, in which the page has put its answers."""
        return next((each for each in reversed(self.messages) if each.role == "assistant"), None)


def answer_id(run_id: RunId, turn: int, message_ids: Sequence[MessageId]) -> str:
    """The id of the client's message in which a run answers: what it was started with, or, from this turn on, input
    that came later.
    """
    return run_id if turn == 1 or not message_ids else later_answer_id(run_id, message_ids[-1])


def later_answer_id(run_id: RunId, message_id: MessageId) -> str:
    """Of the message in which the run answers what came to it while it waited, with that message last."""
    return f"{run_id}.{message_id}"


# --- from the client --------------------------------------------------------------------------------------------------


def messages_of(sent: Sequence[UIMessage], *, known: Collection[str] = ()) -> tuple[Message, ...]:
    """The conversation as the client has it, old and new. What a user says in those that are `known` is not looked at.

    Raises:
        ValidationError: A file of a user cannot be taken.
    """
    found: list[Message] = []
    for index, message in enumerate(sent):
        match message.role:
            case "user" if message.id in known:
                found.append(Message(id=MessageId(message.id), role=Role.USER))
            case "user":
                found.append(_user_message(message, index))
            case "system":
                content = tuple([Text(text) for text in _texts_of(message.parts)])
                found.append(Message(id=MessageId(""), role=Role.SYSTEM, content=content))
            case "assistant":
                found += _steps_of(message)
    return tuple(found)


def _user_message(message: UIMessage, index: int) -> Message:
    content: list[Block] = []
    for place, part in enumerate(message.parts):
        loc = ("body", "messages", index, "parts", place)
        match part.get("type"):
            case "text" if isinstance(part.get("text"), str):
                content.append(Text(part["text"]))
            case "file" if isinstance(part.get("url"), str):
                name = part.get("filename")
                content.append(
                    attachment(part["url"], _text(part.get("mediaType")), name if isinstance(name, str) else None, *loc)
                )
            case "text" | "file":
                raise ValidationError(f"a {part['type']} part has no {_MISSING[part['type']]}", loc=loc)
            case _:
                pass
    return Message(id=MessageId(message.id), role=Role.USER, content=tuple(content))


_MISSING: Final = {"text": "text", "file": "url"}


def _text(value: Any) -> str | None:
    return value if isinstance(value, str) else None


def _texts_of(parts: Iterable[Part]) -> list[str]:
    return [part["text"] for part in parts if part.get("type") == "text" and isinstance(part.get("text"), str)]


def _steps_of(message: UIMessage) -> list[Message]:
    """What an assistant said elsewhere, step by step, with the answers to its calls."""
    steps: list[list[Part]] = [[]]
    for part in message.parts:
        if part.get("type") == "step-start":
            steps.append([])
        else:
            steps[-1].append(part)
    return [each for parts in steps for each in _step_of(parts)]


def _step_of(parts: list[Part]) -> list[Message]:
    calls: dict[str, ToolCall] = {}
    answers: list[Message] = []
    for part in parts:
        id, name = call_id(part), tool_name(part)
        if name is None or id is None or not id.strip() or id in calls:
            continue
        calls[id] = ToolCall(id, name, part.get("input"))
        answer = _answer_of(part)
        if answer is not None:
            block, status = answer
            answers.append(
                Message(id=MessageId(""), role=Role.TOOL, content=(block,), tool_call_id=id, tool_status=status)
            )
    content = tuple([Text(text) for text in _texts_of(parts)])
    if not content and not calls:
        return []
    said = Message(id=MessageId(""), role=Role.ASSISTANT, content=content, tool_calls=tuple(calls.values()))
    return [said, *answers]


def _answer_of(part: Part) -> tuple[Block, ToolStatus] | None:
    match part.get("state"):
        case "output-available":
            output = part.get("output")
            return (Text(output) if isinstance(output, str) else Json(output)), ToolStatus.SUCCESS
        case "output-error":
            return Text(_text(part.get("errorText")) or "it failed"), ToolStatus.ERROR
        case "output-denied":
            return Text("denied"), ToolStatus.ERROR
        case _:
            return None


def tool_name(part: Part) -> str | None:
    """The tool of a part that is a call."""
    kind = part.get("type")
    if kind == "dynamic-tool":
        return _text(part.get("toolName")) or None
    return kind[5:] or None if isinstance(kind, str) and kind.startswith("tool-") else None


def call_id(part: Part) -> str | None:
    """The call of a part that is one."""
    return _text(part.get("toolCallId"))


def is_answered(part: Part) -> bool:
    """Somebody has put an answer into this part of an assistant's message, or the server has, long ago."""
    state = part.get("state")
    if state == "approval-responded":
        return True
    is_done = state in ("output-available", "output-error", "output-denied") and part.get("preliminary") is not True
    return is_done and part.get("providerExecuted") is not True


def answered_parts(message: UIMessage) -> list[Part]:
    """The calls of the message in which there is an answer."""
    return [part for part in message.parts if tool_name(part) is not None and is_answered(part)]


def ticket_of(part: Part, tickets: Iterable[Ticket]) -> Ticket | None:
    """The ticket that a part with an answer is about; of several about one call the last one."""
    id = _text(_approval_of(part).get("id")) if part["state"] == "approval-responded" else call_id(part)
    is_response, found = part["state"] == "approval-responded", None
    for ticket in tickets:
        if id == (ticket.ticket_id if is_response else ticket.asked.tool_call_id or ticket.ticket_id):
            found = ticket
    return found


def verdict_of(part: Part, ticket: Ticket) -> Verdict | None:
    """The decision that the answer in a part is about its ticket; None: it is none about that.

    Raises:
        ValidationError: An answer to an approval is neither yes nor no.
    """
    return _verdict(part, _approval_of(part), ticket)


def agrees(verdict: Verdict, ticket: Ticket) -> bool:
    """Whether a closed ticket was decided like that, as far as a page can know: it is told yes or no of an approval,
    and no arguments. To want no answer is to agree that there will be none.
    """
    decision = ticket.decision
    if decision is None:
        return verdict.action in ("deny", "cancel", "fail")
    if ticket.asked.kind == "approval":
        return decision.is_yes == (verdict.action == "approve")
    return verdict.action == decision.action == "answer" and _json.encode(verdict.result) == _json.encode(
        decision.result
    )


def _approval_of(part: Part) -> dict[str, Any]:
    approval = part.get("approval")
    return cast(dict[str, Any], approval) if isinstance(approval, dict) else {}


def _verdict(part: Part, approval: dict[str, Any], ticket: Ticket) -> Verdict | None:
    id, reason = ticket.ticket_id, _text(approval.get("reason"))
    match part["state"]:
        case "approval-responded":
            is_approved = plain_answer(approval)
            if is_approved is None:
                raise ValidationError(f"the answer to approval {id!r} has no `approved`", loc=("body", "messages"))
            return Verdict(action="approve" if is_approved else "deny", ticket_id=id, reason=reason)
        case "output-denied":
            return Verdict(action="cancel", ticket_id=id, reason=reason)
        case _ if ticket.asked.kind == "approval":
            return None  # a result is no answer to whether the call may be made
        case "output-error":
            text = _text(part.get("errorText")) or "it failed"
            if "fail" in ticket.asked.actions:
                return Verdict(action="fail", ticket_id=id, reason=text)
            return Verdict(action="answer", ticket_id=id, result={"error": text})
        case _:
            return Verdict(action="answer", ticket_id=id, result=part.get("output"))


# --- for the client ---------------------------------------------------------------------------------------------------


def file_of(block: AnyFile) -> Part:
    """A file, as the part of a message and as a chunk."""
    source = block.source
    if isinstance(source, Base64Source):
        url, media_type = f"data:{source.media_type};base64,{source.data}", source.media_type
    else:
        url, media_type = source.url, source.media_type or "application/octet-stream"
    return {"type": "file", "url": url, "mediaType": media_type}


def parts_of(blocks: Iterable[Block]) -> list[Part]:
    """What a user said, or an artifact is made of, as parts of text and files."""
    parts: list[Part] = []
    for block in blocks:
        match block:
            case Text():
                parts.append({"type": "text", "text": block.text})
            case Image() | Audio() | Video() | Document():
                part = file_of(block)
                parts.append(part if block.title is None else part | {"filename": block.title})
            case Json():
                parts.append({"type": "text", "text": _json.encode(block.value).decode()})
            case Thinking():
                pass
            case _:
                pass
    return parts
