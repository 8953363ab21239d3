"""The events of a Pydantic AI model's answer while it comes, and what the answer cost.

Above: `pydantic_ai` publishes what `Shown` makes. Below: the stream events of the framework.
Holds: the deltas of a part, joined, are the text of the block with that place in the committed message; where they
turn out not to be, `Shown.agrees_with` finds it. Kinds without a reader are left out.

Source: `docs/reference/events.md`.
"""

from __future__ import annotations

import json
from collections.abc import Container, Mapping
from typing import Any, Final, Literal, cast, get_args

import msgspec
from pydantic_ai.messages import (
    ModelResponse,
    PartDeltaEvent,
    PartEndEvent,
    PartStartEvent,
    TextPart,
    TextPartDelta,
    ThinkingPart,
    ThinkingPartDelta,
    ToolCallPart,
    ToolCallPartDelta,
)
from pydantic_ai.models import Model
from pydantic_ai.models.fallback import FallbackModel
from pydantic_ai.models.function import FunctionModel
from pydantic_ai.models.wrapper import WrapperModel
from pydantic_ai.tools import ToolDefinition
from pydantic_ai.usage import RequestUsage, RunUsage

from awaken.domain.agent_event import RunsOn, ToolKind
from awaken.domain.event import (
    Event,
    InferenceComplete,
    ReasoningDelta,
    ReasoningEncryptedValue,
    TextDelta,
    ToolCallDelta,
    ToolCallReady,
    ToolCallStarted,
)
from awaken.domain.ids import MessageId
from awaken.domain.message import Block, Message, Text, Thinking, ToolCall
from awaken.domain.run import Usage
from awaken.executors.call_ids import CallIds
from awaken.executors.mending import mended
from awaken.executors.pydantic_messages import named_tool

_TOOL_KINDS: Final = frozenset(get_args(ToolKind))
_BlockKind = Literal["text", "thinking"]


class _Part(msgspec.Struct):
    """A part of the answer that will be a block of the message. `kinds` has two members where the framework changed
    its mind about what the part is."""

    place: int
    kinds: set[_BlockKind] = msgspec.field(default_factory=set[_BlockKind])
    deltas: list[str] = []

    def block(self) -> Block:
        text = "".join(self.deltas)
        return Thinking(text) if self.kinds == {"thinking"} else Text(text)


class Shown:
    """What has been published of one answer: its message, part by part, and the calls that have begun.

    `tools` are the definitions the model was given, by name; `client_tools` those that the caller has brought.
    """

    def __init__(
        self,
        message_id: MessageId,
        calls: CallIds,
        tools: Mapping[str, ToolDefinition],
        client_tools: Container[str] = (),
    ) -> None:
        self._message_id = message_id
        self._ids = calls
        self._tools = tools
        self._client_tools = client_tools
        self._parts: dict[int, _Part] = {}
        self._calls: dict[int, str] = {}
        """The thread's ids of the calls that have begun, by the framework's index."""
        self._own_ids: dict[int, str] = {}
        """The framework's ids of the same."""

    def events(self, event: object) -> list[Event]:
        """What readers get for one event of the framework's stream; nothing for the kinds they have no use for."""
        match event:
            case PartStartEvent(index=index, part=ToolCallPart() as call):
                started = self._call_begins(index, call)
                return [started, *self._arguments(index, cast(Any, call.args))]
            case PartStartEvent(index=index, part=TextPart(content)):
                return self._text(index, content)
            case PartDeltaEvent(index=index, delta=TextPartDelta(content)):
                return self._text(index, content)
            case PartStartEvent(index=index, part=ThinkingPart(content)):
                return self._reasoning(index, content)
            case PartDeltaEvent(index=index, delta=ThinkingPartDelta(content_delta=content)):
                return self._reasoning(index, content)
            case PartStartEvent(index=index):
                self._part(index)  # it has a place among the blocks, and no deltas
                return []
            case PartDeltaEvent(index=index, delta=ToolCallPartDelta(args_delta=args)):
                return self._arguments(index, args)
            case PartEndEvent(index=index, part=ThinkingPart(signature=str(signature))) if signature:
                return [ReasoningEncryptedValue(self._message_id, self._part(index).place, signature)]
            case _:
                return []

    @property
    def has_deltas(self) -> bool:
        return bool(self._calls) or any(part.deltas for part in self._parts.values())

    def blocks(self) -> tuple[Block, ...]:
        """The text and reasoning published so far, as the content of a message."""
        parts = list(self._parts.values())
        while parts and not parts[-1].deltas:
            parts.pop()
        return tuple([part.block() for part in parts])  # one without deltas keeps the places of those behind it

    def agrees_with(self, message: Message) -> bool:
        """Whether the deltas amount to the text and reasoning of the message. Those of no deltas agree with any:
        a message that was not streamed is shown when it is committed.
        """
        shown = {part.place: part for part in self._parts.values() if part.deltas}
        if not shown:
            return True
        held = {
            place: (block.text, {"text" if type(block) is Text else "thinking"})
            for place, block in enumerate(message.content)
            if isinstance(block, (Text, Thinking)) and block.text
        }
        return held == {place: (mended("".join(part.deltas)), part.kinds) for place, part in shown.items()}

    def forget(self) -> None:
        """What was published has been withdrawn."""
        self._parts.clear()
        self._calls.clear()
        self._own_ids.clear()

    def missing_calls(self, message: Message) -> list[Event]:
        """The beginnings of the message's calls that have not been published."""
        begun = set(self._calls.values())
        return [self._started(call.id, call.name) for call in message.tool_calls if call.id not in begun]

    def _part(self, index: int) -> _Part:
        part = self._parts.get(index)
        if part is None:
            part = self._parts[index] = _Part(len(self._parts))
        return part

    def _text(self, index: int, content: str) -> list[Event]:
        part = self._part(index)
        part.kinds.add("text")
        if not content:
            return []
        part.deltas.append(content)
        return [TextDelta(self._message_id, part.place, content)]

    def _reasoning(self, index: int, content: str | None) -> list[Event]:
        part = self._part(index)
        part.kinds.add("thinking")
        if not content:
            return []
        part.deltas.append(content)
        return [ReasoningDelta(self._message_id, part.place, content)]

    def _call_begins(self, index: int, call: ToolCallPart) -> ToolCallStarted:
        alike = [own for at, own in self._own_ids.items() if at != index and own == call.tool_call_id]
        self._own_ids[index] = call.tool_call_id
        call_id = self._calls[index] = self._ids.unique(call.tool_call_id, len(alike))
        return self._started(call_id, named_tool(call.tool_name))

    def _started(self, call_id: str, name: str) -> ToolCallStarted:
        tool = self._tools.get(name)
        about = (tool.metadata if tool is not None else None) or {}
        title, kind = about.get("title"), about.get("kind")
        return ToolCallStarted(
            self._message_id,
            call_id,
            name,
            runs_on=self._place_of(tool),
            title=title if isinstance(title, str) else None,
            tool_kind=cast(ToolKind, kind) if isinstance(kind, str) and kind in _TOOL_KINDS else None,
        )

    def _place_of(self, tool: ToolDefinition | None) -> RunsOn:
        if tool is None or tool.kind != "external":
            return "server"
        return "client" if tool.name in self._client_tools else "person"

    def _arguments(self, index: int, args: str | dict[str, Any] | None) -> list[Event]:
        call_id = self._calls.get(index)
        if not args or call_id is None:
            return []
        text = args if isinstance(args, str) else json.dumps(args, separators=(",", ":"))
        return [ToolCallDelta(call_id, text)]


def ready(message_id: MessageId, call: ToolCall) -> ToolCallReady:
    """The event for a call of a committed message."""
    arguments: Any = call.arguments
    if isinstance(arguments, dict):
        return ToolCallReady(message_id, call.id, call.name, cast("dict[str, Any]", arguments))
    return ToolCallReady(message_id, call.id, call.name, raw=arguments)


def inference(message_id: MessageId, response: ModelResponse, took_ms: int) -> InferenceComplete:
    return InferenceComplete(
        message_id,
        usage_of_request(response.usage),
        took_ms,
        model=response.model_name,
        provider=response.provider_name,
        finish_reason=response.finish_reason,
    )


def streams(model: Model) -> bool:
    while isinstance(model, WrapperModel):
        model = model.wrapped
    if isinstance(model, FunctionModel):
        return model.stream_function is not None
    return type(model).request_stream is not Model.request_stream


def knows_retries(model: Model) -> bool:
    """Whether the model, and every one behind it, has the setting `max_retries`; others warn of it."""
    while isinstance(model, WrapperModel):
        model = model.wrapped
    if isinstance(model, FallbackModel):
        return all(knows_retries(member) for member in model.models)
    return "max_retries" not in model.unsupported_settings


def usage_of_run(usage: RunUsage) -> Usage:
    return Usage(
        usage.input_tokens,
        usage.output_tokens,
        usage.cache_read_tokens,
        usage.cache_write_tokens,
        usage.output_reasoning_tokens,
        usage.requests,
    )


def usage_of_request(usage: RequestUsage) -> Usage:
    return Usage(
        usage.input_tokens,
        usage.output_tokens,
        usage.cache_read_tokens,
        usage.cache_write_tokens,
        usage.output_reasoning_tokens,
        1,
    )


def usage_before(usage: Usage, reply: ModelResponse | None) -> Usage:
    """What was spent before the answer that the framework is about to be handed, and to count, again."""
    if reply is None:
        return usage
    again = usage_of_request(reply.usage)
    left = [getattr(usage, name) - getattr(again, name) for name in Usage.__struct_fields__]
    return Usage(*[max(each, 0) for each in left])


def to_run_usage(usage: Usage) -> RunUsage:
    return RunUsage(
        input_tokens=usage.input_tokens,
        output_tokens=usage.output_tokens,
        cache_read_tokens=usage.cache_read_tokens,
        cache_write_tokens=usage.cache_write_tokens,
        output_reasoning_tokens=usage.reasoning_tokens,
        requests=usage.model_calls,
    )
