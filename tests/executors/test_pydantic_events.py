"""What readers get of a Pydantic AI run: every payload as a whole, and the order of events. Encoders rely on it."""

from __future__ import annotations

import asyncio
import json
from dataclasses import dataclass
from typing import Any

import pytest
from pydantic import BaseModel
from pydantic_ai import Agent, CustomEvent, ModelRetry, RunContext, Tool
from pydantic_ai.capabilities import AbstractCapability
from pydantic_ai.messages import (
    BinaryContent,
    FilePart,
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
from pydantic_ai.models.function import FunctionModel
from pydantic_ai.tools import ToolDefinition

from awaken.domain.agent_event import RunsOn
from awaken.domain.event import ReasoningDelta, TextDelta, ToolCallDelta, ToolCallReady, ToolCallStarted
from awaken.domain.ids import MessageId
from awaken.domain.message import Message, MessageState, Role, Text, Thinking, ToolCall
from awaken.executors.call_ids import CallIds
from awaken.executors.contract import Stopped
from awaken.executors.pydantic_ai import PydanticAIDriver
from awaken.executors.pydantic_events import Shown, ready
from awaken.executors.pydantic_messages import from_response
from awaken.testing.behaviour import behaviour
from awaken.testing.clock import ManualClock
from awaken.testing.executors import Call, Fault, RecordedRun, Script, Turn, driving
from tests.executors.published import kinds, payloads, published


async def add(a: int, b: int) -> int:
    return a + b


async def broken() -> str:
    raise ZeroDivisionError("by nothing")


async def unsure() -> str:
    raise ModelRetry("say it differently")


async def ran(*turns: Turn | str, streams: bool = True, **options: Any) -> RecordedRun:
    run = RecordedRun("go")
    await run.drive(PydanticAIDriver(Script(*turns).agent(streams=streams, **options), clock=ManualClock()))
    return run


ADD = Call("add", {"a": 1, "b": 2}, "c1")


# --- whole runs -------------------------------------------------------------------------------------------------------


async def test_a_run_with_reasoning_text_and_tools_side_by_side() -> None:
    """Each block is a part of its own; both calls are there before either is answered; steps follow one another."""
    run = await ran(
        Turn("look here", (ADD, Call("broken", {}, "c2")), thinking="hmm", signature="sig"),
        "three",
        tools=[add, broken],
    )

    assert published(run) == [
        ("StepStarted", {"message_id": "m1", "index": 0}),
        ("ReasoningDeltaObserved", {"message_id": "m1", "part": 0, "delta": "hmm"}),
        ("ReasoningEncryptedValueObserved", {"message_id": "m1", "part": 0, "encrypted_value": "sig"}),
        ("TextDeltaObserved", {"message_id": "m1", "part": 1, "delta": "look"}),
        ("TextDeltaObserved", {"message_id": "m1", "part": 1, "delta": " here"}),
        ("ToolCallStarted", {"message_id": "m1", "id": "c1", "name": "add", "runs_on": "server"}),
        ("ToolCallDeltaObserved", {"id": "c1", "args_delta": '{"a":1,"b":2}'}),
        ("ToolCallStarted", {"message_id": "m1", "id": "c2", "name": "broken", "runs_on": "server"}),
        ("ToolCallDeltaObserved", {"id": "c2", "args_delta": "{}"}),
        ("MessageCommitted", {"message_id": "m1", "role": "assistant", "text": "look here", "calls": ["c1", "c2"]}),
        ("ToolCallReady", {"message_id": "m1", "id": "c1", "name": "add", "arguments": {"a": 1, "b": 2}}),
        ("ToolCallReady", {"message_id": "m1", "id": "c2", "name": "broken", "arguments": {}}),
        ("InferenceComplete", {"message_id": "m1", "usage": used(50, 9), "duration_ms": 0, "model": "scripted"}),
        ("MessageCommitted", {"message_id": "m2", "role": "tool", "text": "", "answers": "c1"}),
        (
            "ToolCallDone",
            {
                "message_id": "m1",
                "id": "c1",
                "name": "add",
                "result_message_id": "m2",
                "status": "succeeded",
                "result": 3,
            },
        ),
        (
            "MessageCommitted",
            {"message_id": "m3", "role": "tool", "text": "ZeroDivisionError", "answers": "c2"},
        ),
        (
            "ToolCallDone",
            {
                "message_id": "m1",
                "id": "c2",
                "name": "broken",
                "result_message_id": "m3",
                "status": "failed",
                "error_text": "ZeroDivisionError",
            },
        ),
        ("StepEnded", {"index": 0}),
        ("StepStarted", {"message_id": "m4", "index": 1}),
        ("TextDeltaObserved", {"message_id": "m4", "part": 0, "delta": "three"}),
        ("MessageCommitted", {"message_id": "m4", "role": "assistant", "text": "three"}),
        ("InferenceComplete", {"message_id": "m4", "usage": used(50, 1), "duration_ms": 0, "model": "scripted"}),
        ("StepEnded", {"index": 1}),
    ]


def used(input_tokens: int, output_tokens: int) -> dict[str, int]:
    return {"input_tokens": input_tokens, "output_tokens": output_tokens, "model_calls": 1}


async def test_a_model_that_cannot_stream_is_shown_when_its_message_is_committed() -> None:
    """No delta repeats what the message holds; its calls begin all the same, since who runs them is said only there."""
    run = await ran(Turn("all at once", (ADD,)), "end", streams=False, tools=[add])

    assert published(run)[:5] == [
        ("StepStarted", {"message_id": "m1", "index": 0}),
        ("ToolCallStarted", {"message_id": "m1", "id": "c1", "name": "add", "runs_on": "server"}),
        ("MessageCommitted", {"message_id": "m1", "role": "assistant", "text": "all at once", "calls": ["c1"]}),
        ("ToolCallReady", {"message_id": "m1", "id": "c1", "name": "add", "arguments": {"a": 1, "b": 2}}),
        ("InferenceComplete", {"message_id": "m1", "usage": used(10, 5), "duration_ms": 0, "model": "scripted"}),
    ]
    assert kinds(run)[8:] == ["StepStarted", "MessageCommitted", "InferenceComplete", "StepEnded"]


async def test_an_inference_names_its_provider_and_why_it_ended() -> None:
    async def respond(messages: Any, info: Any) -> ModelResponse:
        return ModelResponse([TextPart("cut off")], provider_name="acme", finish_reason="length")

    run = RecordedRun("go")
    await run.drive(PydanticAIDriver(Agent(FunctionModel(respond, model_name="m")), clock=ManualClock()))

    [done] = payloads(run, "InferenceComplete")
    assert (done["model"], done["provider"], done["finish_reason"]) == ("m", "acme", "length")


# --- how calls end ----------------------------------------------------------------------------------------------------


class City(BaseModel):
    name: str


def endings(run: RecordedRun) -> list[tuple[str, str | None]]:
    return [(done["status"], done.get("error_text")) for done in payloads(run, "ToolCallDone")]


@behaviour("DS-009")
async def test_arguments_that_do_not_fit_are_told_apart_from_a_tool_that_failed() -> None:
    calls = (Call("add", {"a": "x", "b": 2}, "c1"), Call("unsure", {}, "c2"), Call("unheard_of", {}, "c3"))
    run = await ran(Turn("", calls), "I see", tools=[add, unsure])

    by_call = {done["id"]: done for done in payloads(run, "ToolCallDone")}
    assert {call_id: done["status"] for call_id, done in by_call.items()} == {
        "c1": "invalid_arguments",
        "c2": "failed",
        "c3": "failed",
    }
    assert json.loads(by_call["c1"]["error_text"])[0]["type"] == "int_parsing", "the text that the model reads"
    assert by_call["c2"]["error_text"] == "say it differently"
    assert "unheard_of" in by_call["c3"]["error_text"]
    assert ("ToolCallReady", {"message_id": "m1", "id": "c1", "name": "add", "arguments": {"a": "x", "b": 2}}) in (
        published(run)
    )


async def test_a_validator_that_refuses_arguments_makes_them_invalid() -> None:
    async def positive(ctx: RunContext[Any], a: int, b: int) -> None:
        if a < 0:
            raise ModelRetry("a must not be negative")

    run = await ran(Turn("", (Call("add", {"a": -1, "b": 2}),)), "I see", tools=[Tool(add, args_validator=positive)])

    assert endings(run) == [("invalid_arguments", "a must not be negative")]


async def test_a_wrong_output_is_refused_and_the_right_one_ends_the_run() -> None:
    wrong, right = Call("final_result", {"nom": "Bern"}, "c1"), Call("final_result", {"name": "Bern"}, "c2")
    run = await ran(Turn("", (wrong,)), Turn("", (right,)), output_type=City)

    assert [status for status, _ in endings(run)] == ["invalid_arguments", "succeeded"]
    assert kinds(run)[-3:] == ["MessageCommitted", "ToolCallDone", "StepEnded"]


@behaviour("DS-009", "MBX-292")
async def test_a_tool_that_the_framework_cuts_off_has_timed_out() -> None:
    async def hangs() -> None:
        await asyncio.Event().wait()

    run = await ran(Turn("", (Call("hangs"),)), "I see", tools=[Tool(hangs, timeout=1e-9)])

    assert endings(run) == [("timed_out", "Timed out after 1e-09 seconds.")]


async def test_a_tool_that_asks_for_a_retry_because_of_a_timeout_has_failed() -> None:
    async def asks() -> None:
        try:
            raise TimeoutError
        except TimeoutError as error:
            raise ModelRetry("the other side is slow") from error

    run = await ran(Turn("", (Call("asks"),)), "I see", tools=[asks])

    assert endings(run) == [("failed", "the other side is slow")]


async def test_a_tool_that_returns_nothing_has_no_result() -> None:
    async def nothing() -> None: ...

    run = await ran(Turn("", (Call("nothing", {}, "c1"),)), "ok", tools=[nothing])

    [done] = payloads(run, "ToolCallDone")
    assert done == {"message_id": "m1", "id": "c1", "name": "nothing", "result_message_id": "m2", "status": "succeeded"}


async def test_arguments_that_are_no_object_are_handed_on_as_the_model_wrote_them() -> None:
    async def respond(messages: Any, info: Any) -> ModelResponse:
        return ModelResponse([ToolCallPart("add", '{"a": 1,', "c1")] if len(messages) == 1 else [TextPart("ok")])

    run = RecordedRun("go")
    await run.drive(PydanticAIDriver(Agent(FunctionModel(respond), tools=[add]), clock=ManualClock()))

    assert payloads(run, "ToolCallReady") == [{"message_id": "m1", "id": "c1", "name": "add", "raw": '{"a": 1,'}]
    assert [status for status, _ in endings(run)] == ["invalid_arguments"]


# --- what a call is called --------------------------------------------------------------------------------------------


async def test_a_tools_metadata_give_its_calls_a_title_and_a_kind() -> None:
    tool = Tool(add, metadata={"title": "Add two numbers", "kind": "think"})
    odd = Tool(unsure, metadata={"title": 7, "kind": ["search"]})
    run = await ran(Turn("", (ADD, Call("unsure", {}, "c2"))), "ok", tools=[tool, odd])

    first, second = payloads(run, "ToolCallStarted")
    assert first == {
        "message_id": "m1",
        "id": "c1",
        "name": "add",
        "runs_on": "server",
        "title": "Add two numbers",
        "tool_kind": "think",
    }
    assert second == {"message_id": "m1", "id": "c2", "name": "unsure", "runs_on": "server"}


@pytest.mark.parametrize(("brought", "place"), [(["pick"], "client"), (["look"], "person"), ([], "person")])
def test_a_tool_whose_result_comes_from_outside_runs_on_the_client_that_brought_it(
    brought: list[str], place: RunsOn
) -> None:
    shown = Shown(MessageId("m"), call_ids(), {"pick": ToolDefinition(name="pick", kind="external")}, brought)

    [started] = shown.events(PartStartEvent(index=0, part=ToolCallPart("pick", None, "c")))

    assert started == ToolCallStarted(MessageId("m"), "c", "pick", place)


# --- agents inside tools ----------------------------------------------------------------------------------------------


@dataclass(kw_only=True)
class Note(CustomEvent):
    """Output of a tool."""

    line: str

    def to_payload(self) -> str:
        return self.line


async def test_what_happens_inside_a_tool_is_not_the_runs() -> None:
    """Neither an agent that a tool runs nor a call that a tool makes publishes anything of its own."""
    inner = Script(Turn("inside", (ADD,), thinking="hmm"), "inner").agent(tools=[add], name="inner")

    async def noted(ctx: RunContext[Any]) -> str:
        await ctx.emit(Note(line="not the model's call"))
        return "noted"

    async def delegate(ctx: RunContext[Any]) -> str:
        assert ctx.tool_manager is not None
        await ctx.tool_manager.handle_call(ToolCallPart("noted", {}, "own"))
        return (await inner.run("sub", usage=ctx.usage)).output

    run = await ran(Turn("", (Call("delegate", {}, "c1"),)), "outer", tools=[delegate, noted])

    assert kinds(run) == [
        *("StepStarted", "ToolCallStarted", "ToolCallDeltaObserved", "MessageCommitted", "ToolCallReady"),
        *("InferenceComplete", "MessageCommitted", "ToolCallDone", "StepEnded"),
        *("StepStarted", "TextDeltaObserved", "MessageCommitted", "InferenceComplete", "StepEnded"),
    ]
    [done] = payloads(run, "ToolCallDone")
    assert (done["name"], done["result"]) == ("delegate", "inner")


async def test_a_text_from_inside_a_tool_continues_its_output() -> None:
    async def work(ctx: RunContext[Any]) -> str:
        await ctx.emit(Note(line="halfway"))
        return "done"

    run = await ran(Turn("", (Call("work", {}, "c1"),)), "ok", tools=[work])

    assert payloads(run, "ToolCallStreamDeltaObserved") == [{"id": "c1", "text": "halfway", "name": "note"}]


async def test_a_message_that_comes_in_does_not_close_the_step() -> None:
    async def notify(ctx: RunContext[Any]) -> str:
        ctx.enqueue("the mail has come")
        return "ok"

    run = await ran(Turn("", (Call("notify"),)), "thanks", tools=[notify])

    assert [step["index"] for step in payloads(run, "StepStarted")] == [0, 1]
    assert [step["index"] for step in payloads(run, "StepEnded")] == [0, 1]
    assert run.steps == 2


# --- when the message is not what was streamed ------------------------------------------------------------------------


class Censor(AbstractCapability[Any]):
    """Changes an answer after it was streamed."""

    async def after_model_request(self, ctx: Any, *, request_context: Any, response: ModelResponse) -> ModelResponse:
        parts = [TextPart("***") if isinstance(part, TextPart) else part for part in response.parts]
        return ModelResponse(parts, usage=response.usage, model_name=response.model_name)


async def test_text_that_differs_from_what_was_streamed_is_withdrawn_before_the_message() -> None:
    run = await ran(Turn("a secret", (ADD,)), Turn("", (ADD,)), Turn("***"), tools=[add], capabilities=[Censor()])

    started = {"message_id": "m1", "id": "c1", "name": "add", "runs_on": "server"}
    assert published(run)[:9] == [
        ("StepStarted", {"message_id": "m1", "index": 0}),
        ("TextDeltaObserved", {"message_id": "m1", "part": 0, "delta": "a"}),
        ("TextDeltaObserved", {"message_id": "m1", "part": 0, "delta": " secret"}),
        ("ToolCallStarted", started),
        ("ToolCallDeltaObserved", {"id": "c1", "args_delta": '{"a":1,"b":2}'}),
        ("StreamReset", {"reason": "the message differs from what was streamed", "message_id": "m1"}),
        ("ToolCallStarted", started),
        ("MessageCommitted", {"message_id": "m1", "role": "assistant", "text": "***", "calls": ["c1"]}),
        ("ToolCallReady", {"message_id": "m1", "id": "c1", "name": "add", "arguments": {"a": 1, "b": 2}}),
    ]
    assert kinds(run).count("StreamReset") == 1, "where nothing differs, nothing is withdrawn"


class Refuser(AbstractCapability[Any]):
    """Asks for the first answer again: after it came, or before it was asked for."""

    def __init__(self, *, before: bool) -> None:
        self._before = before
        self._is_first = True

    async def wrap_model_request(self, ctx: Any, *, request_context: Any, handler: Any) -> ModelResponse:
        is_first, self._is_first = self._is_first, False
        if is_first and self._before:
            raise ModelRetry("not yet")
        response = await handler(request_context)
        if is_first:
            raise ModelRetry("not that")
        return response


async def test_an_answer_that_is_refused_after_it_was_shown_is_part_of_the_conversation() -> None:
    run = await ran("bad", "good", capabilities=[Refuser(before=False)])

    assert kinds(run).count("StreamReset") == 0
    assert run.texts == ["user: go", "assistant: bad", "user: ", "assistant: good"]
    assert kinds(run)[:6] == [
        *("StepStarted", "TextDeltaObserved", "MessageCommitted", "InferenceComplete", "StepEnded", "MessageCommitted")
    ]


async def test_a_request_that_is_refused_before_it_is_made_is_a_step_without_a_message() -> None:
    run = await ran("good", capabilities=[Refuser(before=True)])

    assert published(run)[:4] == [
        ("StepStarted", {"message_id": "m1", "index": 0}),
        ("StepEnded", {"index": 0}),
        ("MessageCommitted", {"message_id": "m2", "role": "user", "text": ""}),
        ("StepStarted", {"message_id": "m3", "index": 1}),
    ]


# --- when the run is stopped ------------------------------------------------------------------------------------------


async def test_a_stopped_answer_is_kept_under_the_id_and_with_the_parts_of_its_deltas() -> None:
    run = RecordedRun("go")
    driver = PydanticAIDriver(Script(Turn("one two three", thinking="hmm")).agent(), clock=ManualClock())
    with pytest.raises(Stopped) as stopped:
        await driving(run, driver, Fault("cancel", 4, on="emit"))

    [message] = stopped.value.messages
    assert message.content == (Thinking("hmm"), Text("one two"))
    assert message.state is MessageState.INTERRUPTED
    assert {event.message_id for event in run.events if isinstance(event, (TextDelta, ReasoningDelta))} == {message.id}
    assert kinds(run)[-1] == "TextDeltaObserved", "a step that was cut short has no end"


# --- parts and blocks -------------------------------------------------------------------------------------------------


def call_ids() -> CallIds:
    ids = CallIds([])
    ids.open_turn(MessageId("m"))
    return ids


def shown_of(*stream: Any) -> tuple[Shown, list[Any]]:
    shown = Shown(MessageId("m"), call_ids(), {})
    return shown, [event for item in stream for event in shown.events(item)]


FILE = FilePart(BinaryContent(b"png", media_type="image/png"))


def test_a_part_is_the_place_of_its_block_in_the_message() -> None:
    """Calls are no blocks; parts may be written side by side, and a block without deltas has its place too."""
    parts = [ThinkingPart("th"), TextPart("one"), ToolCallPart("t", "{}", "c"), FILE, TextPart("two"), TextPart("")]
    shown, events = shown_of(
        PartStartEvent(index=0, part=ThinkingPart("t")),
        PartStartEvent(index=1, part=TextPart("o")),
        PartDeltaEvent(index=0, delta=ThinkingPartDelta(content_delta="h")),
        PartStartEvent(index=2, part=ToolCallPart("t", None, "c")),
        PartDeltaEvent(index=2, delta=ToolCallPartDelta(args_delta="{}")),
        PartStartEvent(index=3, part=FILE),
        PartDeltaEvent(index=1, delta=TextPartDelta("ne")),
        PartStartEvent(index=4, part=TextPart("")),
        PartDeltaEvent(index=4, delta=TextPartDelta("two")),
        PartStartEvent(index=5, part=TextPart("")),
    )

    m = MessageId("m")
    assert events == [
        ReasoningDelta(m, 0, "t"),
        TextDelta(m, 1, "o"),
        ReasoningDelta(m, 0, "h"),
        ToolCallStarted(m, "c", "t", "server"),
        ToolCallDelta("c", "{}"),
        TextDelta(m, 1, "ne"),
        TextDelta(m, 3, "two"),
    ]
    message = from_response(ModelResponse(parts), m)
    assert message.content[1] == Text("one") and message.content[3] == Text("two")
    assert shown.agrees_with(message)
    assert shown.missing_calls(message) == []
    assert shown.blocks() == (Thinking("th"), Text("one"), Text(""), Text("two")), "places are kept in a cut-off answer"


@pytest.mark.parametrize(
    "parts",
    [
        [TextPart("one")],
        [TextPart("one"), TextPart("more")],
        [TextPart("more"), TextPart("one"), TextPart("two")],
        [ThinkingPart("one"), TextPart("two")],
        [],
    ],
)
def test_a_message_of_other_text_disagrees(parts: list[Any]) -> None:
    shown, _ = shown_of(PartStartEvent(index=0, part=TextPart("one")), PartStartEvent(index=1, part=TextPart("two")))
    assert not shown.agrees_with(from_response(ModelResponse(parts), MessageId("m")))
    shown.forget()
    assert shown.agrees_with(from_response(ModelResponse(parts), MessageId("m"))), (
        "nothing shown disagrees with nothing"
    )
    assert not shown.has_deltas and shown.blocks() == ()


def test_a_part_that_turns_out_to_be_reasoning_disagrees() -> None:
    shown, _ = shown_of(
        PartStartEvent(index=0, part=TextPart("<thi")),
        PartStartEvent(index=0, part=ThinkingPart("hmm")),
    )
    assert not shown.agrees_with(from_response(ModelResponse([ThinkingPart("<thihmm")]), MessageId("m")))


def test_the_signature_of_reasoning_is_published_when_its_part_ends() -> None:
    _, events = shown_of(
        PartStartEvent(index=0, part=ThinkingPart("", signature="s")),
        PartEndEvent(index=0, part=ThinkingPart("", signature="s")),
        PartEndEvent(index=1, part=ThinkingPart("x")),
    )
    assert [type(event).__name__ for event in events] == ["ReasoningEncryptedValue"]


def test_the_calls_of_a_message_that_have_not_begun_begin_with_it() -> None:
    shown, _ = shown_of(PartStartEvent(index=0, part=ToolCallPart("t", None, "c1")))
    calls = (ToolCall("c1", "t", {}), ToolCall("c2", "u", {}))
    message = Message(id=MessageId("m"), role=Role.ASSISTANT, tool_calls=calls)
    assert shown.missing_calls(message) == [ToolCallStarted(MessageId("m"), "c2", "u", "server")]


def test_a_ready_call_has_its_arguments_or_what_the_model_wrote() -> None:
    m = MessageId("m")
    assert ready(m, ToolCall("c", "t", {})) == ToolCallReady(m, "c", "t", {})
    assert ready(m, ToolCall("c", "t", "[1]")) == ToolCallReady(m, "c", "t", raw="[1]")
