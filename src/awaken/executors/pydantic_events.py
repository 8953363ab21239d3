"""What readers are told while a Pydantic AI model answers, and what the answer cost.

Above: `pydantic_ai` emits what these functions return. Below: the stream events of the framework.
Holds: the deltas of a response, joined, are the text of its message; kinds without a reader are left out.

Source: research/agent-runtimes.md 8.
"""

from __future__ import annotations

import json
from typing import Any, cast

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
from pydantic_ai.models.function import FunctionModel
from pydantic_ai.models.wrapper import WrapperModel
from pydantic_ai.usage import RequestUsage, RunUsage

from awaken.domain.event import Event, ReasoningDelta, ReasoningEncryptedValue, TextDelta, ToolCallDelta, ToolCallStart
from awaken.domain.run import Usage


class Shown:
    """Turns the stream of one response into events."""

    def __init__(self) -> None:
        self._call_ids: dict[int, str] = {}

    def events(self, event: object) -> list[Event]:
        """What readers are told about one event of the stream; nothing for the kinds they have no use for."""
        match event:
            case PartStartEvent(index=index, part=ToolCallPart() as call):
                self._call_ids[index] = call.tool_call_id
                return [ToolCallStart(call.tool_call_id, call.tool_name), *self._arguments(index, cast(Any, call.args))]
            case PartStartEvent(part=TextPart(content)) | PartDeltaEvent(delta=TextPartDelta(content)):
                return [TextDelta(content)] if content else []
            case PartStartEvent(part=ThinkingPart(content)):
                return [ReasoningDelta(content)] if content else []
            case PartDeltaEvent(delta=ThinkingPartDelta(content_delta=content)):
                return [ReasoningDelta(content)] if content else []
            case PartDeltaEvent(index=index, delta=ToolCallPartDelta(args_delta=args)):
                return self._arguments(index, args)
            case PartEndEvent(part=ThinkingPart(signature=signature)):
                return [ReasoningEncryptedValue(signature)] if signature else []
            case _:
                return []

    def _arguments(self, index: int, args: str | dict[str, Any] | None) -> list[Event]:
        call_id = self._call_ids.get(index)
        if not args or call_id is None:
            return []
        text = args if isinstance(args, str) else json.dumps(args, separators=(",", ":"))
        return [ToolCallDelta(call_id, text)]


def whole(response: ModelResponse) -> list[Event]:
    """A response that did not stream, as if it had come in one piece."""
    shown = Shown()
    found: list[Event] = []
    for index, part in enumerate(response.parts):
        found += shown.events(PartStartEvent(index=index, part=part))
        found += shown.events(PartEndEvent(index=index, part=part))
    return found


def streams(model: Model) -> bool:
    while isinstance(model, WrapperModel):
        model = model.wrapped
    if isinstance(model, FunctionModel):
        return model.stream_function is not None
    return type(model).request_stream is not Model.request_stream


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


def to_run_usage(usage: Usage) -> RunUsage:
    return RunUsage(
        input_tokens=usage.input_tokens,
        output_tokens=usage.output_tokens,
        cache_read_tokens=usage.cache_read_tokens,
        cache_write_tokens=usage.cache_write_tokens,
        output_reasoning_tokens=usage.reasoning_tokens,
        requests=usage.model_calls,
    )
