"""Pydantic AI agents: what is committed when, and what a crash or a stop at any point leaves."""

from __future__ import annotations

import asyncio
import itertools
import logging
import math
import sys
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Generator, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from typing import Any

import msgspec
import pytest
from msgspec.structs import replace
from pydantic import BaseModel
from pydantic_ai import Agent, BinaryContent, CustomEvent, ModelRetry, RunContext, Tool, ToolReturn
from pydantic_ai.capabilities import AbstractCapability
from pydantic_ai.exceptions import ModelHTTPError, ModelRateLimitError, SkipToolExecution, ToolFailed
from pydantic_ai.messages import (
    ModelMessage,
    ModelRequest,
    ModelResponse,
    SystemPromptPart,
    TextPart,
    ToolCallPart,
    ToolReturnPart,
)
from pydantic_ai.models.fallback import FallbackModel
from pydantic_ai.models.function import AgentInfo, FunctionModel
from pydantic_ai.models.wrapper import WrapperModel
from pydantic_ai.tools import ToolDefinition, ToolDenied
from pydantic_ai.usage import UsageLimits

from awaken.domain.errors import LeaseLost, PermanentFailure, TransientFailure
from awaken.domain.event import (
    InferenceComplete,
    StepEnded,
    StreamReset,
    TextDelta,
    ToolCallDone,
    ToolCallStarted,
    ToolCallStreamDelta,
)
from awaken.domain.message import Json, Message, MessageState, Role, ToolStatus, Visibility, assistant_message
from awaken.domain.run import Usage
from awaken.executors.classify import verdict_on
from awaken.executors.containment import Exited, contain, contained
from awaken.executors.contract import Finished, RunIdentity, Stopped
from awaken.executors.pydantic_ai import PydanticAIDriver
from awaken.executors.tool_call import tool_call_key
from awaken.testing.behaviour import behaviour
from awaken.testing.clock import ManualClock
from awaken.testing.executors import (
    MAX_RESULT_BYTES,
    Call,
    Fault,
    Killed,
    RecordedRun,
    RecordingPort,
    Script,
    Turn,
    driving,
)


class Tools:
    """Two tools that note each call they really serve, by the key they are given."""

    def __init__(self) -> None:
        self.served: list[str] = []

    async def add(self, a: int, b: int) -> int:
        self.served.append(tool_call_key())
        return a + b

    async def find(self, what: str) -> dict[str, str]:
        self.served.append(tool_call_key())
        return {"found": what}


def scripted(*turns: Turn | str, tools: Tools | None = None, **options: Any) -> tuple[Script, PydanticAIDriver]:
    script = Script(*turns)
    given = [tools.add, tools.find] if tools is not None else []
    return script, PydanticAIDriver(script.agent(tools=given, **options), clock=ManualClock())


ADD = Call("add", {"a": 1, "b": 2}, "call_0")
FIND = Call("find", {"what": "it"}, "call_1")
TWO_STEPS = (
    Turn("let me see", (ADD, FIND), thinking="hmm", signature="sig"),
    Turn("", (Call("add", {"a": 3, "b": 4}, "call_0"),)),
    "seven in all",
)
"""Two calls side by side, then a call that has the id of an earlier one, then the answer."""


def own_id(call_id: str | None) -> str | None:
    """The framework's own id of a call that the thread knows by another one."""
    return call_id and call_id.rpartition(".")[2]


def contents(messages: list[Message]) -> list[tuple[Any, ...]]:
    """What a conversation holds, without ids of messages and times."""
    answers = {Role.TOOL: 0}
    shape = [
        (
            m.role,
            m.content,
            [(own_id(call.id), call.name, call.arguments) for call in m.tool_calls],
            own_id(m.tool_call_id),
            m.tool_status,
            m.state,
        )
        for m in messages
    ]
    return sorted(shape, key=lambda row: (answers.get(row[0], 1), repr(row)))


def as_seen(run: RecordedRun) -> str:
    """The text a client shows that heeds `StreamReset`."""
    committed, fresh = "", ""
    for event in run.events:
        match event:
            case TextDelta(delta=delta):
                fresh += delta
            case StreamReset():
                fresh = ""
            case InferenceComplete():
                committed, fresh = committed + fresh, ""
            case _:
                pass
    return committed + fresh


# --- one run without trouble ------------------------------------------------------------------------------------------


async def test_a_run_commits_and_finishes_in_this_order() -> None:
    _, driver = scripted(Turn("look here", (ADD,), thinking="hmm", signature="sig"), "three", tools=Tools())
    run = RecordedRun("1 + 2?")

    outcome = await run.drive(driver)

    inference = [event.usage for event in run.events if isinstance(event, InferenceComplete)]
    assert run.commits == ["commit_assistant", "commit_tool", "close_step", "commit_assistant"]
    assert run.texts == ["user: 1 + 2?", "assistant: look here", "tool: ", "assistant: three"]
    assert (outcome.final_output, outcome.messages, outcome.steps) == ("three", (), 2)
    assert outcome.usage == inference[0].plus(inference[1])


async def test_an_inference_carries_how_long_it_took() -> None:
    clock = ManualClock()

    async def stream(messages: list[ModelMessage], info: AgentInfo) -> AsyncIterator[str]:
        clock.tick(1.5)
        yield "late"

    driver = PydanticAIDriver(Agent(FunctionModel(stream_function=stream)), clock=clock)
    run = RecordedRun("hi")
    await run.drive(driver)

    assert [event.duration_ms for event in run.events if isinstance(event, InferenceComplete)] == [1500]


async def test_the_next_run_continues_the_conversation() -> None:
    script, driver = scripted(Turn("", (ADD,)), "three", "yes", tools=Tools(), system_prompt="Be kind.")
    run = RecordedRun("1 + 2?")
    await run.drive(driver)
    run.begin("sure?")
    await run.drive(driver)

    assert run.texts[-2:] == ["user: sure?", "assistant: yes"]
    heard = script.heard[-1]
    assert [type(message).__name__ for message in heard] == ["ModelRequest", "ModelResponse"] * 2 + ["ModelRequest"]
    prompts = [part.content for message in heard for part in message.parts if isinstance(part, SystemPromptPart)]
    assert prompts == ["Be kind."], "a system prompt is not stored and must not get lost for that"


async def test_dependencies_are_made_for_each_execution() -> None:
    async def whose(ctx: RunContext[str]) -> str:
        return ctx.deps

    agent = Script(Turn("", (Call("whose"),)), "ok").agent(deps_type=str, tools=[whose])
    driver = PydanticAIDriver(agent, clock=ManualClock(), deps=lambda identity: f"deps of {identity.run_id}")
    run = RecordedRun("hi")
    await run.drive(driver)

    assert run.texts[2] == "tool: deps of run-1"


async def test_tools_see_for_whom_they_work() -> None:
    async def whose(ctx: RunContext[None]) -> str:
        shown = (ctx.metadata or {})["awaken"]
        return f"{shown['metadata']} {shown['resource_id']} {shown['caller']}"

    run = RecordedRun("hi")
    agent = Script(Turn("", (Call("whose"),)), "ok").agent(tools=[whose])
    port = RecordingPort(run)
    port.identity = replace(port.identity, metadata={"order": 7}, resource_id="customer-7", caller="ann")
    await PydanticAIDriver(agent, clock=ManualClock()).drive(port, port)

    assert run.texts[2] == "tool: {'order': 7} customer-7 ann"


async def test_a_providers_own_retries_are_off() -> None:
    settings: list[Any] = []

    async def stream(messages: list[ModelMessage], info: AgentInfo) -> AsyncIterator[str]:
        settings.append(info.model_settings)
        yield "ok"

    await RecordedRun("hi").drive(PydanticAIDriver(Agent(FunctionModel(stream_function=stream)), clock=ManualClock()))

    assert settings[0]["max_retries"] == 0


# --- crashes ----------------------------------------------------------------------------------------------------------


async def uninterrupted(turns: tuple[Turn | str, ...]) -> RecordedRun:
    run = RecordedRun("go")
    await run.drive(scripted(*turns, tools=Tools())[1])
    return run


async def killed_and_started_again(turns: tuple[Turn | str, ...], fault: Fault, *, times: int = 1) -> RecordedRun:
    """Drive with the fault, then without, and check everything that must hold wherever the fault struck."""
    tools = Tools()
    script, driver = scripted(*turns, tools=tools)
    run = RecordedRun("go")
    for _ in range(times):
        with pytest.raises(Killed):
            await run.drive(driver, fault)
    turn_ids = [m.id for m in run.messages if m.role is Role.ASSISTANT]
    recorded = {f"{run.run_id}/{answer_to(run, m)}" for m in run.messages if m.role is Role.TOOL}
    script.asked.clear()
    tools.served.clear()

    outcome = await run.drive(driver)

    whole = await uninterrupted(turns)
    assert contents(run.messages) == contents(whole.messages)
    assert script.asked == list(range(len(turn_ids), len(turns))), "a committed response is not asked for again"
    assert not recorded & set(tools.served), "a recorded call is not run again"
    assert (outcome.usage, outcome.steps) == (whole.usage, whole.steps)
    assert outcome.final_output == (whole.finished.final_output if whole.finished else None)
    assert as_seen(run) == as_seen(whole)
    done = [event.result_message_id for event in run.events if isinstance(event, ToolCallDone)]
    assert sorted(done) == sorted(m.id for m in run.messages if m.role is Role.TOOL), "each answer is published once"
    return run


def answer_to(run: RecordedRun, answer: Message) -> str:
    """`turn/call` of a tool message."""
    turn = None
    for message in run.messages:
        turn = message if message.role is Role.ASSISTANT else turn
        if message is answer:
            break
    assert turn is not None
    return f"{turn.id}/{answer.tool_call_id}"


@pytest.mark.parametrize("when", ["before", "after"])
@pytest.mark.parametrize("nth", range(1, 9))
async def test_a_kill_at_any_commit_repeats_nothing_that_was_recorded(nth: int, when: Any) -> None:
    """C1, C2 twice side by side, C3; C1, C2, C3; C1."""
    await killed_and_started_again(TWO_STEPS, Fault("kill", nth, when))


@pytest.mark.parametrize("when", ["before", "after"])
@pytest.mark.parametrize("nth", range(1, 17, 2))
async def test_a_kill_at_any_event_repeats_nothing_that_was_recorded(nth: int, when: Any) -> None:
    await killed_and_started_again(TWO_STEPS, Fault("kill", nth, when, on="emit"))


@pytest.mark.parametrize("nth", [1, 2, 3])
async def test_the_same_place_may_kill_again_and_again(nth: int) -> None:
    await killed_and_started_again(TWO_STEPS, Fault("kill", nth, "before"), times=3)


async def test_a_half_answered_batch_runs_only_the_calls_without_an_answer() -> None:
    tools = Tools()
    _, driver = scripted(*TWO_STEPS, tools=tools)
    run = RecordedRun("go")
    with pytest.raises(Killed):
        await run.drive(driver, Fault("kill", 1, "after", on="commit_tool"))
    [answered] = [m.tool_call_id for m in run.messages if m.role is Role.TOOL]
    tools.served.clear()

    await run.drive(driver)

    [missing] = {"call_0", "call_1"} - {answered}
    assert [own_id(key.split("/")[-1]) for key in tools.served] == [missing, "call_0"]


@behaviour("OS-008")
async def test_a_call_in_flight_runs_again_with_the_same_key() -> None:
    tools = Tools()
    _, driver = scripted(Turn("", (ADD,)), "ok", tools=tools)
    run = RecordedRun("go")
    with pytest.raises(Killed):
        await run.drive(driver, Fault("kill", 1, "before", on="commit_tool"))
    await run.drive(driver)

    assert len(tools.served) == 2
    assert tools.served[0] == tools.served[1] == f"run-1/{run.messages[1].id}/call_0"


@pytest.mark.parametrize("options", [{}, {"instructions": "Be brief."}, {"system_prompt": "Be brief."}])
async def test_a_committed_final_answer_costs_no_model_call(options: Any) -> None:
    script, driver = scripted("the answer", **options)
    run = RecordedRun("go")
    with pytest.raises(Killed):
        await run.drive(driver, Fault("kill", 1, "after"))
    events, usage = len(run.events), None
    script.asked.clear()

    outcome = await run.drive(driver)

    usage = next(event.usage for event in run.events if isinstance(event, InferenceComplete))
    assert (script.asked, outcome.final_output, outcome.usage) == ([], "the answer", usage)
    assert run.events[events:] == [StepEnded(0)]


async def test_text_of_a_turn_that_was_not_committed_is_streamed_again_after_a_reset() -> None:
    run = await killed_and_started_again(("one two three",), Fault("kill", 3, "after", on="emit"))

    texts = [event.delta if isinstance(event, TextDelta) else "RESET" for event in run.events if is_text(event)]
    assert texts == ["one", " two", "RESET", "one", " two", " three"]


def is_text(event: object) -> bool:
    return isinstance(event, (TextDelta, StreamReset))


async def test_a_lost_lease_passes_through_from_everywhere() -> None:
    for method in ("emit", "commit_assistant", "commit_tool", "close_step"):
        _, driver = scripted(*TWO_STEPS, tools=Tools())
        with pytest.raises(LeaseLost):
            await RecordedRun("go").drive(driver, Fault("lose", 1, "before", on=method))


async def test_answers_that_are_recorded_are_not_judged_by_rules_that_changed_since() -> None:
    async def find(what: str) -> str:
        return f"found {what}"

    async def stricter(number: int) -> str:
        raise AssertionError("must not run")

    stricter.__name__ = "find"
    script = Script(Turn("", (FIND,)), "ok")
    run = RecordedRun("go")
    with pytest.raises(Killed):
        await run.drive(PydanticAIDriver(script.agent(tools=[find])), Fault("kill", 1, "after", on="commit_tool"))
    await run.drive(PydanticAIDriver(script.agent(tools=[stricter])))

    assert run.texts == ["user: go", "assistant: ", "tool: found it", "assistant: ok"]
    assert [part.content for part in script.heard[-1][-1].parts if isinstance(part, ToolReturnPart)] == ["found it"]


# --- stopping ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["cancel", "cancel_often"])
@pytest.mark.parametrize("when", ["before", "after"])
@pytest.mark.parametrize("nth", range(1, 9))
async def test_a_stop_at_any_commit_leaves_a_conversation_that_goes_on(nth: int, when: Any, kind: Any) -> None:
    """Once or again and again: what was begun is committed once, and the next run's model accepts the history."""
    script, driver = scripted(*TWO_STEPS, tools=Tools())
    run = RecordedRun("go")
    outcome = await ended(driving(run, driver, Fault(kind, nth, when)))
    if isinstance(outcome, Stopped):
        for message in outcome.messages:
            run.append(message)

    run.begin("still there?")
    await run.drive(driver)

    assert run.texts[-1].startswith("assistant: ")
    for heard in script.heard:
        assert_answered(heard)


@pytest.mark.parametrize("kind", ["cancel", "cancel_often"])
async def test_a_stop_in_the_middle_of_an_answer_keeps_what_was_shown(kind: Any) -> None:
    script, driver = scripted("one two three", "more")
    run = RecordedRun("go")
    task = driving(run, driver, Fault(kind, 3, on="emit"))

    with pytest.raises(Stopped) as stopped:
        await task

    [message] = stopped.value.messages
    assert (message.text, message.state, message.tool_calls) == ("one two", MessageState.INTERRUPTED, ())
    assert as_seen(run) == "one two"

    run.append(message)
    run.begin("go on")
    await run.drive(driver)
    assert [type(m).__name__ for m in script.heard[-1]] == ["ModelRequest", "ModelResponse", "ModelRequest"]


async def test_a_stop_while_tools_run_keeps_the_answers_that_came() -> None:
    served = asyncio.Event()

    async def quick() -> str:
        return "done"

    async def hangs() -> str:
        served.set()
        await asyncio.Event().wait()
        return "never"

    script = Script(Turn("", (Call("quick", id="q"), Call("hangs", id="h"))), "more")
    driver = PydanticAIDriver(script.agent(tools=[quick, hangs]), clock=ManualClock())
    run, answered = RecordedRun("go"), asyncio.Event()
    run.on_event = lambda event: answered.set() if isinstance(event, ToolCallDone) else None
    task = driving(run, driver)
    async with asyncio.timeout(5):
        await served.wait()
        await answered.wait()
        task.cancel()
        with pytest.raises(Stopped) as stopped:
            await task

    assert (run.texts, stopped.value.messages) == (["user: go", "assistant: ", "tool: done"], ())
    assert stopped.value.usage is not None and stopped.value.usage.model_calls == 1
    run.begin("and?")
    await run.drive(driver)
    answers = [part for part in script.heard[-1][2].parts if isinstance(part, ToolReturnPart)]
    assert [(part.tool_name, part.outcome) for part in answers] == [("quick", "success"), ("hangs", "interrupted")]


async def ended(task: asyncio.Task[Finished]) -> Finished | Stopped | None:
    async with asyncio.timeout(5):
        try:
            return await task
        except Stopped as stopped:
            return stopped
        except asyncio.CancelledError:
            return None


def assert_answered(messages: list[ModelMessage]) -> None:
    """Every call is answered in the very next message."""
    for message, following in zip(messages, [*messages[1:], None], strict=True):
        if isinstance(message, ModelResponse) and message.tool_calls:
            assert isinstance(following, ModelRequest)
            answers = {part.tool_call_id for part in following.parts if isinstance(part, ToolReturnPart)}
            assert answers == {call.tool_call_id for call in message.tool_calls}


# --- tools that fail --------------------------------------------------------------------------------------------------


@dataclass
class Unspeakable:
    """A value with no JSON form."""

    what: Any = object


async def broken() -> str:
    raise ZeroDivisionError("by nothing")


async def refuses() -> str:
    raise ToolFailed("no such thing")


async def unsure() -> str:
    raise ModelRetry("say it differently")


async def unspeakable() -> Any:
    return {"it": object()}


async def typed(number: int) -> int:
    return number


@pytest.mark.parametrize(
    ("call", "text"),
    [
        (Call("broken"), "ZeroDivisionError"),
        (Call("refuses"), "no such thing"),
        (Call("unsure"), "say it differently"),
        (Call("unspeakable"), "has no JSON form"),
        (Call("typed", {"number": "many"}), "int_parsing"),
        (Call("unheard_of"), "unheard_of"),
    ],
    ids=lambda value: getattr(value, "tool", None),
)
@pytest.mark.parametrize("killed", [None, "before", "after"])
async def test_a_failing_tools_answer_reaches_the_model_and_is_recorded_once(
    call: Call, text: str, killed: Any
) -> None:
    script = Script(Turn("", (call,)), "I see")
    agent = script.agent(tools=[broken, refuses, unsure, unspeakable, typed])
    driver = PydanticAIDriver(agent, clock=ManualClock())
    run = RecordedRun("go")
    if killed is not None:
        with pytest.raises(Killed):
            await run.drive(driver, Fault("kill", 1, killed, on="commit_tool"))
    await run.drive(driver)

    [answer] = [m for m in run.messages if m.role is Role.TOOL]
    assert answer.tool_status is ToolStatus.ERROR
    assert text in str(msgspec.to_builtins(answer.content))
    [done] = [event for event in run.events if isinstance(event, ToolCallDone)]
    assert done.status == ("invalid_arguments" if call.tool == "typed" else "failed")
    assert done.result is None and text in (done.error_text or "")
    [heard] = [part for part in script.heard[-1][-1].parts if isinstance(part, ToolReturnPart)]
    assert text in str(heard.content)
    assert run.texts[-1] == "assistant: I see"


async def test_a_tool_that_asks_for_too_many_retries_ends_the_run_for_good() -> None:
    call = Turn("", (Call("unsure"),))
    driver = PydanticAIDriver(Script(call, call, call).agent(tools=[unsure]), clock=ManualClock())
    with pytest.raises(PermanentFailure, match="'unsure' asked for a retry once too often"):
        await RecordedRun("go").drive(driver)


async def test_a_tool_may_fail_the_run_itself() -> None:
    async def busy() -> str:
        raise TransientFailure("the line is busy", retry_after_s=3)

    driver = PydanticAIDriver(Script(Turn("", (Call("busy"),))).agent(tools=[busy]), clock=ManualClock())
    run = RecordedRun("go")
    with pytest.raises(TransientFailure, match="the line is busy"):
        await run.drive(driver)
    assert [m.role for m in run.messages] == [Role.USER, Role.ASSISTANT], "the call has no answer and is made again"


async def test_an_agent_inside_a_tool_is_the_tools_own_business() -> None:
    inner = Script(Turn("", (ADD,)), "inner").agent(tools=[Tools().add], name="inner")

    async def delegate(ctx: RunContext[Any]) -> str:
        return (await inner.run("sub", usage=ctx.usage)).output

    run = RecordedRun("go")
    driver = PydanticAIDriver(Script(Turn("", (Call("delegate"),)), "outer").agent(tools=[delegate]))
    outcome = await run.drive(driver)

    assert run.texts == ["user: go", "assistant: ", "tool: inner", "assistant: outer"]
    assert outcome.usage is not None and outcome.usage.model_calls == 4
    assert len([event for event in run.events if isinstance(event, ToolCallDone)]) == 1


def test_a_tool_key_is_known_only_inside_a_tool() -> None:
    with pytest.raises(LookupError, match="inside a tool"):
        tool_call_key()


# --- what tools say beside their results ------------------------------------------------------------------------------


@pytest.mark.parametrize("nth", [0, 1, 2, 3, 4])
async def test_content_beside_a_result_reaches_the_model_once_wherever_a_kill_strikes(nth: int) -> None:
    async def look() -> ToolReturn[str]:
        return ToolReturn("seen", content="what it looks like", metadata={"opaque": object()})

    script = Script(Turn("", (Call("look"),)), "nice")
    driver = PydanticAIDriver(script.agent(tools=[look]), clock=ManualClock())
    run = RecordedRun("go")
    if nth:
        with pytest.raises(Killed):
            await run.drive(driver, Fault("kill", nth))
    await run.drive(driver)

    assert run.texts == ["user: go", "assistant: ", "tool: seen", "user: what it looks like", "assistant: nice"]
    assert run.messages[3].visibility is Visibility.INTERNAL
    contents = [getattr(part, "content", None) for part in script.heard[-1][-1].parts]
    assert contents == ["seen", "what it looks like"]
    run.begin("again")
    await run.drive(driver)
    assert [getattr(part, "content", None) for part in script.heard[-1][2].parts] == contents


@dataclass(kw_only=True)
class Halfway(CustomEvent):
    """Progress of a tool."""

    done: int


async def test_progress_of_a_tool_is_streamed_while_it_runs() -> None:
    progress = ToolCallStreamDelta("w", value={"done": 50}, name="halfway")
    run, seen = RecordedRun("go"), asyncio.Event()
    run.on_event = lambda event: seen.set() if event == progress else None

    async def work(ctx: RunContext[Any]) -> str:
        await ctx.emit(Halfway(done=50))
        await seen.wait()
        return "done"

    async with asyncio.timeout(5):
        await run.drive(PydanticAIDriver(Script(Turn("", (Call("work", id="w"),)), "ok").agent(tools=[work])))

    assert isinstance(run.events[run.events.index(progress) + 1], ToolCallDone)


@pytest.mark.parametrize("killed", [None, Fault("kill", 1, on="commit_extra"), Fault("kill", 2, on="commit_assistant")])
async def test_a_message_a_tool_adds_is_part_of_the_conversation(killed: Fault | None) -> None:
    async def notify(ctx: RunContext[Any]) -> str:
        ctx.enqueue("the mail has come")
        return "ok"

    script = Script(Turn("", (Call("notify"),)), "thanks")
    run = RecordedRun("go")
    if killed is not None:
        with pytest.raises(Killed):
            await run.drive(PydanticAIDriver(script.agent(tools=[notify])), killed)
    outcome = await run.drive(PydanticAIDriver(script.agent(tools=[notify])))

    assert outcome.usage is not None and (outcome.usage.model_calls, outcome.steps) == (2, 2)
    assert run.texts == ["user: go", "assistant: ", "tool: ok", "user: the mail has come", "assistant: thanks"]


async def test_a_message_that_keeps_the_run_going_is_committed_once() -> None:
    async def remind(ctx: RunContext[Any]) -> str:
        ctx.enqueue("one more thing", priority="when_idle")
        return "ok"

    run = RecordedRun("go")
    await run.drive(PydanticAIDriver(Script(Turn("", (Call("remind"),)), "done?", "done!").agent(tools=[remind])))

    assert run.texts[3:] == ["assistant: done?", "user: one more thing", "assistant: done!"]


async def test_a_call_that_a_tool_makes_itself_is_not_the_models() -> None:
    tools = Tools()

    async def outer(ctx: RunContext[Any]) -> str:
        assert ctx.tool_manager is not None
        return str(await ctx.tool_manager.handle_call(ToolCallPart("add", {"a": 1, "b": 2}, "inner")))

    run = RecordedRun("go")
    await run.drive(PydanticAIDriver(Script(Turn("", (Call("outer", id="o"),)), "ok").agent(tools=[outer, tools.add])))

    assert run.texts == ["user: go", "assistant: ", "tool: 3", "assistant: ok"]
    assert tools.served == [f"run-1/{run.messages[1].id}/o"]


# --- other kinds of output --------------------------------------------------------------------------------------------


class City(BaseModel):
    name: str


@pytest.mark.parametrize("nth", range(7))
async def test_structured_output_answers_its_call_wherever_a_kill_strikes(nth: int) -> None:
    """A wrong output is refused, the right one ends the run; both calls get their answers."""
    wrong, right = Call("final_result", {"nom": "Bern"}), Call("final_result", {"name": "Bern"})
    script = Script(Turn("", (wrong,)), Turn("", (right,)))
    driver = PydanticAIDriver(script.agent(output_type=City), clock=ManualClock())
    run = RecordedRun("go")
    if nth:
        with pytest.raises(Killed):
            await run.drive(driver, Fault("kill", nth if nth < 6 else 5, "after" if nth < 6 else "before"))
    outcome = await run.drive(driver)

    assert outcome.final_output == '{"name":"Bern"}'
    assert [m.role for m in run.messages[1:]] == [Role.ASSISTANT, Role.TOOL] * 2
    assert [m.tool_status for m in run.messages if m.role is Role.TOOL] == [ToolStatus.ERROR, ToolStatus.SUCCESS]
    assert outcome.usage is not None and outcome.usage.model_calls == 2


@pytest.mark.parametrize("nth", range(4))
async def test_an_answer_the_agent_rejects_is_kept_and_asked_for_again(nth: int) -> None:
    script = Script("bad", "good")
    agent = script.agent()

    @agent.output_validator
    async def check(text: str) -> str:  # pyright: ignore[reportUnusedFunction]
        if text == "bad":
            raise ModelRetry("not that")
        return text.upper()

    driver = PydanticAIDriver(agent, clock=ManualClock())
    run = RecordedRun("go")
    if nth:
        with pytest.raises(Killed):
            await run.drive(driver, Fault("kill", nth))
    outcome = await run.drive(driver)

    assert outcome.final_output == "GOOD"
    assert [m.role for m in run.messages] == [Role.USER, Role.ASSISTANT, Role.USER, Role.ASSISTANT]
    assert run.messages[2].visibility is Visibility.INTERNAL
    assert sorted(set(script.asked)) == [0, 1] and script.asked.count(0) == 1


# --- limits and failures ----------------------------------------------------------------------------------------------


async def test_a_usage_limit_stops_the_run_and_holds_across_a_crash() -> None:
    call = Turn("", (ADD,))
    script = Script(call, call, call, "never")
    agent = script.agent(tools=[Tools().add])
    driver = PydanticAIDriver(agent, clock=ManualClock(), usage_limits=UsageLimits(request_limit=2))
    run = RecordedRun("go")
    with pytest.raises(Killed):
        await run.drive(driver, Fault("kill", 1, "after", on="close_step"))
    outcome = await run.drive(driver)

    assert (outcome.termination.type, outcome.termination.code) == ("stopped", "usage_limit")
    assert script.asked == [0, 1]
    assert outcome.usage is not None and outcome.usage.model_calls == 2


async def test_what_was_shown_of_an_answer_that_crosses_a_limit_is_kept() -> None:
    script = Script("far too long an answer")
    driver = PydanticAIDriver(script.agent(), clock=ManualClock(), usage_limits=UsageLimits(output_tokens_limit=1))
    run = RecordedRun("go")
    outcome = await run.drive(driver)

    assert outcome.termination.type == "stopped"
    assert (run.messages[-1].text, run.messages[-1].state) == (as_seen(run), MessageState.INTERRUPTED)
    assert "far too long an answer".startswith(as_seen(run)) and as_seen(run)


@pytest.mark.parametrize(
    ("error", "failure"),
    [
        (lambda: ModelHTTPError.for_category(ModelRateLimitError, status_code=429, model_name="m"), TransientFailure),
        (lambda: ModelHTTPError(401, "m"), PermanentFailure),
        (lambda: ModelHTTPError(500, "m"), TransientFailure),
        (lambda: ConnectionResetError("gone"), TransientFailure),
        (lambda: TypeError("a mistake"), PermanentFailure),
    ],
    ids=["429", "401", "500", "reset", "mistake"],
)
@pytest.mark.parametrize("after_words", [0, 2])
async def test_a_failing_model_fails_the_execution_and_the_next_one_goes_on(
    error: Callable[[], Exception], failure: type[Exception], after_words: int
) -> None:
    failing = [True]

    async def stream(messages: list[ModelMessage], info: AgentInfo) -> AsyncIterator[str]:
        for word in ("one ", "two ")[:after_words]:
            yield word
        if failing.pop():
            raise error()
        yield "three"

    run = RecordedRun("go")
    driver = PydanticAIDriver(Agent(FunctionModel(stream_function=stream)), clock=ManualClock())
    with pytest.raises(failure):
        await run.drive(driver)
    assert [m.role for m in run.messages] == [Role.USER]

    failing.append(False)
    await run.drive(driver)
    assert as_seen(run) == run.messages[-1].text == ("one two three" if after_words else "three")


async def test_an_agent_that_cancels_itself_ends_the_run() -> None:
    async def give_up(ctx: RunContext[Any]) -> str:
        ctx.cancel()
        return "never mind"

    run = RecordedRun("go")
    outcome = await run.drive(PydanticAIDriver(Script(Turn("", (Call("give_up"),))).agent(tools=[give_up])))

    assert (outcome.termination.type, outcome.termination.code) == ("stopped", "cancelled_by_agent")


# --- odd histories ----------------------------------------------------------------------------------------------------


async def test_half_an_answer_at_the_end_is_not_taken_for_the_answer() -> None:
    script, driver = scripted("whole")
    run = RecordedRun("go")
    half = assistant_message(run.ids.message_id(), "ha", state=MessageState.INTERRUPTED)
    run.append(half)
    await run.drive(driver)

    assert (run.texts[-1], len(script.heard[0])) == ("assistant: whole", 1)


async def test_a_conversation_that_ends_with_an_answer_has_nothing_to_answer() -> None:
    run = RecordedRun()
    run.begin(assistant_message(run.ids.message_id(), "done"))
    run.log = [(message, None) for message, _ in run.log]
    with pytest.raises(PermanentFailure, match="nothing to answer"):
        await run.drive(scripted("x")[1])


async def test_usage_starts_from_the_totals_of_the_run() -> None:
    run = RecordedRun("go")
    run.usage, run.steps = Usage(100, 50, 3, 4, 5, 2), 1
    outcome = await run.drive(scripted("ok")[1])

    used = next(event.usage for event in run.events if isinstance(event, InferenceComplete))
    assert (outcome.usage, outcome.steps) == (Usage(100, 50, 3, 4, 5, 2).plus(used), 2)


async def test_a_response_of_text_only_is_stored_with_its_provider_details() -> None:
    async def respond(messages: list[ModelMessage], info: AgentInfo) -> ModelResponse:
        return ModelResponse(parts=[TextPart("hi", id="item", provider_name="p")], provider_response_id="r")

    run = RecordedRun("go")
    await run.drive(PydanticAIDriver(Agent(FunctionModel(respond)), clock=ManualClock()))

    assert "item" in str(run.messages[-1].native)


# --- what comes by chance ---------------------------------------------------------------------------------------------


def told(script: Script) -> list[tuple[str, str]]:
    """How each call was answered to the model, when it was last asked."""
    parts = [part for message in script.heard[-1] for part in message.parts if isinstance(part, ToolReturnPart)]
    return [(part.outcome, part.model_response_str(wrap_if_error=False)) for part in parts]


def answers(run: RecordedRun) -> list[Any]:
    """The same in the log."""
    blocks = [message.content[0] for message in run.messages if message.role is Role.TOOL]
    return [block.value if isinstance(block, Json) else getattr(block, "text", None) for block in blocks]


async def answered(tool: Callable[..., Any], **options: Any) -> tuple[Script, RecordedRun]:
    """A run whose model calls the tool once, killed at the answer and started again, and as it is without that."""
    found: list[tuple[Script, RecordedRun]] = []
    for fault in (None, Fault("kill", 1, on="commit_tool")):
        script, run = Script(Turn("", (Call("tool"),)), "I see"), RecordedRun("go")
        driver = PydanticAIDriver(script.agent(tools=[Tool(tool, name="tool", **options)]), clock=ManualClock())
        if fault is not None:
            with pytest.raises(Killed):
                await run.drive(driver, fault)
        await run.drive(driver)
        found.append((script, run))
    (script, run), (again, restarted) = found
    assert told(script) == told(again) and answers(run) == answers(restarted), "a crash changes nothing of it"
    return script, run


@behaviour("UC-006")
@pytest.mark.parametrize(
    ("returned", "value", "text"),
    [
        (lambda: map(str, (1, 2)), ["1", "2"], '["1","2"]'),
        (lambda: {"all": (n for n in (1, 2))}, {"all": [1, 2]}, '{"all":[1,2]}'),
        (lambda: "caf\udce9.txt", "caf\ufffd.txt", "caf\ufffd.txt"),
        (lambda: ["caf\udce9.txt"], ["caf\ufffd.txt"], '["caf\ufffd.txt"]'),
        (lambda: {"ratio": math.nan}, {"ratio": "NaN"}, '{"ratio":"NaN"}'),
        (lambda: math.inf, "Infinity", "Infinity"),
        (lambda: b"\xff\xfe", "__4=", "__4="),
        (lambda: City(name="Bern"), {"name": "Bern"}, '{"name":"Bern"}'),
        (lambda: None, None, ""),
    ],
    ids=[
        "iterator",
        "iterator inside",
        "half",
        "half inside",
        "no number inside",
        "no number",
        "bytes",
        "model",
        "nothing",
    ],
)
async def test_what_the_log_has_of_a_result_is_what_the_model_is_told(
    returned: Callable[[], Any], value: Any, text: str
) -> None:
    async def tool() -> Any:
        return returned()

    script, run = await answered(tool)
    assert (answers(run), told(script)) == ([value], [("success", text)])


async def test_a_file_that_a_tool_returns_stays_one() -> None:
    async def tool() -> Any:
        return ["look", BinaryContent(b"\x89PNG", media_type="image/png")]

    script, _ = await answered(tool)
    [part] = [part for part in script.heard[-1][-1].parts if isinstance(part, ToolReturnPart)]
    assert [file.media_type for file in part.files if isinstance(file, BinaryContent)] == ["image/png"]


def raising(error: BaseException) -> Iterator[int]:
    yield 1
    raise error


@pytest.mark.parametrize(
    ("returned", "text"),
    [
        (lambda: object(), "has no JSON form"),
        (lambda: itertools.count(), "an iterator may have 100000 items"),
        (lambda: raising(ZeroDivisionError()), "ZeroDivisionError"),
        (lambda: {"in": raising(SystemExit(1))}, "has no JSON form"),
        (lambda: "x" * (MAX_RESULT_BYTES + 1), f"of at most {MAX_RESULT_BYTES}"),
    ],
    ids=["object", "endless", "raises", "leaves", "large"],
)
async def test_a_result_that_cannot_be_kept_is_a_failed_answer(returned: Callable[[], Any], text: str) -> None:
    async def tool() -> Any:
        return returned()

    script, run = await answered(tool)
    [(outcome, heard)] = told(script)
    assert outcome == "failed" and text in heard
    assert answers(run) == [heard]
    assert run.texts[-1] == "assistant: I see"


class OnlyBase(BaseException):
    """Nothing that `except Exception` would catch."""


@behaviour("UC-007")
@pytest.mark.parametrize(
    "error", [SystemExit(2), KeyboardInterrupt(), GeneratorExit(), OnlyBase("secret")], ids=lambda e: type(e).__name__
)
@pytest.mark.parametrize("place", ["task", "thread", "child"])
async def test_a_tool_that_raises_what_no_except_catches_has_a_failed_answer(error: BaseException, place: str) -> None:
    contain(asyncio.get_running_loop())

    async def child() -> None:
        raise error

    async def in_task() -> None:
        raise error

    async def in_child() -> None:
        await asyncio.gather(asyncio.create_task(child()))

    def in_thread() -> None:
        raise error

    with contained():
        script, run = await answered({"task": in_task, "thread": in_thread, "child": in_child}[place])
    assert answers(run) == [type(error).__name__]
    assert told(script) == [("failed", type(error).__name__)]


@pytest.mark.parametrize("place", ["model", "validator", "instructions"])
async def test_what_leaves_the_process_elsewhere_in_an_agent_ends_the_execution_alone(place: str) -> None:
    contain(asyncio.get_running_loop())

    async def stream(messages: list[ModelMessage], info: AgentInfo) -> AsyncIterator[str]:
        if place == "model":
            sys.exit(1)
        yield "ok"

    agent = Agent(FunctionModel(stream_function=stream))

    @agent.instructions
    async def instruct() -> str:  # pyright: ignore[reportUnusedFunction]
        return sys.exit(1) if place == "instructions" else ""

    @agent.output_validator
    async def check(text: str) -> str:  # pyright: ignore[reportUnusedFunction]
        return sys.exit(1) if place == "validator" else text

    with contained(), pytest.raises((PermanentFailure, Exited)) as ended:
        await asyncio.create_task(RecordedRun("go").drive(PydanticAIDriver(agent, clock=ManualClock())))
    assert verdict_on(ended.value) == "permanent"


@behaviour("UC-007")
async def test_a_cancellation_that_a_tool_made_itself_is_a_failed_answer_once() -> None:
    calls: list[int] = []

    async def tool() -> str:
        calls.append(1)
        task = asyncio.create_task(asyncio.Event().wait())
        task.cancel()
        return str(await task)

    script, run = await answered(tool)
    assert (answers(run), len(calls)) == (["the tool waited for something that was cancelled"], 2), "once for each run"
    assert told(script) == [("failed", answers(run)[0])]


@pytest.mark.parametrize("exposes", [False, True])
async def test_what_a_tool_raises_is_logged_whole_and_its_text_told_only_where_that_is_wanted(
    exposes: bool, caplog: pytest.LogCaptureFixture
) -> None:
    async def tool() -> str:
        raise OSError("password=hunter2")

    script, run = Script(Turn("", (Call("tool"),)), "I see"), RecordedRun("go")
    run.exposes_errors = exposes
    with caplog.at_level(logging.WARNING):
        await run.drive(PydanticAIDriver(script.agent(tools=[tool]), clock=ManualClock()))

    text = "OSError: password=hunter2" if exposes else "OSError"
    assert (answers(run), told(script)) == ([text], [("failed", text)])
    assert ("hunter2" in str(run.events)) is exposes
    [record] = caplog.records
    assert record.levelname == "WARNING" and "the tool 'tool' of run run-1 failed" in record.getMessage()
    assert "hunter2" in caplog.text, "with its traceback"


async def test_a_value_that_a_tool_refuses_inside_is_its_own_failure_without_the_value() -> None:
    async def tool() -> str:
        return City.model_validate({"name": ["secret"]}).name

    script, run = await answered(tool)
    assert (answers(run), told(script)) == (["ValidationError"], [("failed", "ValidationError")])


@behaviour("UC-009")
async def test_half_characters_of_a_model_are_mended_in_the_log_and_for_the_model() -> None:
    script, run = Script(Turn("smile \ud83d", (Call("nothing", {}, "c"),)), "end \ude00"), RecordedRun("go")
    outcome = await run.drive(PydanticAIDriver(script.agent(), clock=ManualClock()))

    assert run.texts[1] == "assistant: smile \ufffd" and outcome.final_output == "end \ufffd"
    [heard] = [part for part in script.heard[-1][1].parts if isinstance(part, TextPart)]
    assert heard.content == "smile \ufffd"


@behaviour("UC-008")
@pytest.mark.parametrize(
    ("calls", "named", "ids"),
    [
        ([Call("", {}, "c1")], ["unknown_tool"], ["c1"]),
        ([Call(" ", {}, "c1")], ["unknown_tool"], ["c1"]),
        ([Call("tool", {}, " ")], ["tool"], ["TURN.call"]),
        ([Call("tool", {}, ""), Call("tool", {}, "")], ["tool", "tool"], None),
        ([Call("tool", {}, "c"), Call("tool", {}, "c")], ["tool", "tool"], ["c", "c.1"]),
        (
            [Call("tool", {}, "c"), Call("tool", {}, "c.1"), Call("tool", {}, "c")],
            ["tool"] * 3,
            ["c", "c.1", "TURN.c.1"],
        ),
    ],
    ids=["no name", "blank name", "blank id", "two without id", "twice one id", "twice and a third like it"],
)
@pytest.mark.parametrize("streams", [True, False])
@pytest.mark.parametrize("killed", [False, True])
async def test_calls_without_a_name_or_an_id_of_their_own_are_told_apart(
    calls: list[Call], named: list[str], ids: list[str] | None, streams: bool, killed: bool
) -> None:
    served: list[str] = []

    async def tool() -> str:
        served.append(tool_call_key())
        return "served"

    script, run = Script(Turn("", tuple(calls)), "I see"), RecordedRun("go")
    driver = PydanticAIDriver(script.agent(streams=streams, tools=[tool]), clock=ManualClock())
    if killed:
        with pytest.raises(Killed):
            await run.drive(driver, Fault("kill", 1, on="commit_tool"))
    await run.drive(driver)

    turn = run.messages[1]
    if ids is not None:
        assert [call.id for call in turn.tool_calls] == [each.replace("TURN", turn.id) for each in ids]
    assert [call.name for call in turn.tool_calls] == named
    found = {message.tool_call_id for message in run.messages if message.role is Role.TOOL}
    assert found == {call.id for call in turn.tool_calls}
    started = [event.id for event in run.events if isinstance(event, ToolCallStarted)]
    assert sorted(started) == sorted(call.id for call in turn.tool_calls)
    assert len(set(served)) == len([call for call in calls if call.tool.strip()]), "each has a key of its own"
    assert run.texts[-1] == "assistant: I see"
    assert_answered(script.heard[-1])


class LikeBedrock(FunctionModel):
    unsupported_settings = frozenset({"max_retries"})


@pytest.mark.parametrize("kind", ["alone", "wrapped", "behind"])
async def test_a_model_that_does_not_know_a_setting_of_ours_is_not_given_it(kind: str) -> None:
    """It would warn, and fail where warnings are errors, as they are here."""
    settings: list[Any] = []

    async def stream(messages: list[ModelMessage], info: AgentInfo) -> AsyncIterator[str]:
        settings.append(info.model_settings)
        yield "ok"

    unaware = LikeBedrock(stream_function=stream)
    model = {"alone": unaware, "wrapped": WrapperModel(unaware), "behind": FallbackModel(unaware, unaware)}[kind]
    outcome = await RecordedRun("hi").drive(PydanticAIDriver(Agent(model), clock=ManualClock()))

    assert outcome.final_output == "ok"
    assert not settings[0] or "max_retries" not in settings[0]


@dataclass
class Odd:
    ratio: float
    data: bytes
    name: str


async def test_output_that_is_no_json_by_chance_is_kept_in_another_form() -> None:
    agent = Script(Turn("", (Call("final_result", {"ratio": 1.5, "data": "x", "name": "n"}),))).agent(output_type=Odd)

    @agent.output_validator
    async def change(found: Odd) -> Odd:  # pyright: ignore[reportUnusedFunction]
        return Odd(math.nan, b"\xff", "caf\udce9")

    outcome = await RecordedRun("go").drive(PydanticAIDriver(agent, clock=ManualClock()))
    assert outcome.final_output == '{"ratio":"NaN","data":"_w==","name":"caf\ufffd"}'


@dataclass(kw_only=True)
class Raw(CustomEvent):
    """Progress that holds what JSON does not have."""

    value: Any


@dataclass(kw_only=True)
class Broken(CustomEvent):
    def to_payload(self) -> Any:
        raise ZeroDivisionError


class Unprintable:
    def __str__(self) -> str:
        raise RuntimeError("no text either")


async def test_progress_that_is_no_json_by_chance_is_published_in_another_form() -> None:
    endless: list[Any] = []
    endless.append(endless)

    async def tool(ctx: RunContext[Any]) -> str:
        for value in (b"\xff", math.nan, "caf\udce9", Unprintable(), endless):
            await ctx.emit(Raw(value=value))
        await ctx.emit(Broken())
        return "done"

    run = RecordedRun("go")
    await run.drive(PydanticAIDriver(Script(Turn("", (Call("tool"),)), "ok").agent(tools=[tool]), clock=ManualClock()))

    shown = [event.value or event.text for event in run.events if isinstance(event, ToolCallStreamDelta)]
    assert shown[:3] == [{"value": "_w=="}, {"value": "NaN"}, {"value": "caf\ufffd"}]
    assert shown[3:] == [
        {"value": "<a Unprintable that has no JSON form>"},
        {"value": "<a list that has no JSON form>"},
        "<Broken failed: ZeroDivisionError>",
    ]
    assert run.texts[-1] == "assistant: ok"


# --- what a failed execution has spent --------------------------------------------------------------------------------


async def test_the_model_calls_of_a_failed_execution_are_counted_once_however_it_goes_on() -> None:
    failing = [True]

    async def tool() -> str:
        if failing.pop():
            raise TransientFailure("busy")
        return "done"

    driver = PydanticAIDriver(Script(Turn("", (Call("tool"),)), "ok").agent(tools=[tool]), clock=ManualClock())
    run = RecordedRun("go")
    with pytest.raises(TransientFailure):
        await run.drive(driver)
    first = [event.usage for event in run.events if isinstance(event, InferenceComplete)]
    assert (run.usage, run.usage.model_calls) == (first[0], 1)

    failing.append(False)
    outcome = await run.drive(driver)
    [one, two] = [event.usage for event in run.events if isinstance(event, InferenceComplete)]
    assert outcome.usage == one.plus(two)


# --- dependencies -----------------------------------------------------------------------------------------------------


class Session:
    """Something that is opened and closed."""

    def __init__(self) -> None:
        self.states = ["made"]

    async def __aenter__(self) -> str:
        self.states.append("entered by name")
        return "wrong"

    async def __aexit__(self, *_: object) -> None:
        self.states.append("left by name")


SESSIONS: list[Session] = []


def session() -> Session:
    SESSIONS.append(Session())
    return SESSIONS[-1]


def as_function(identity: RunIdentity) -> Session:
    return session()


async def as_async_function(identity: RunIdentity) -> Session:
    return session()


@asynccontextmanager
async def as_async_manager(identity: RunIdentity) -> AsyncGenerator[Session]:
    found = session()
    try:
        yield found
    finally:
        found.states.append("closed")


@contextmanager
def as_manager(identity: RunIdentity) -> Generator[Session]:
    found = session()
    try:
        yield found
    finally:
        found.states.append("closed")


async def as_async_generator(identity: RunIdentity) -> AsyncGenerator[Session]:
    found = session()
    try:
        yield found
    finally:
        found.states.append("closed")


def as_generator(identity: RunIdentity) -> Generator[Session]:
    found = session()
    try:
        yield found
    finally:
        found.states.append("closed")


async def as_function_of_a_manager(identity: RunIdentity) -> Any:
    return as_async_manager(identity)


OPENED = [as_async_manager, as_manager, as_async_generator, as_generator, as_function_of_a_manager]


@pytest.mark.parametrize("deps", [as_function, as_async_function, *OPENED], ids=lambda deps: deps.__name__)
@pytest.mark.parametrize("fails", [False, True])
async def test_dependencies_may_be_awaited_and_are_closed_when_the_execution_ends(deps: Any, fails: bool) -> None:
    """A client that can be entered, too, is handed over as it is: it may be everybody's."""
    seen: list[list[str]] = []

    async def look(ctx: RunContext[Session]) -> str:
        seen.append([*ctx.deps.states])
        if fails:
            raise PermanentFailure("no")
        return "ok"

    agent = Script(Turn("", (Call("look"),)), "ok").agent(deps_type=Session, tools=[look])
    driver = PydanticAIDriver(agent, clock=ManualClock(), deps=deps)
    try:
        await RecordedRun("hi").drive(driver)
    except PermanentFailure:
        assert fails

    assert seen == [["made"]]
    assert SESSIONS[-1].states == (["made", "closed"] if deps in OPENED else ["made"])


async def test_dependencies_that_cannot_be_made_fail_the_execution_as_anything_else() -> None:
    async def deps(identity: RunIdentity) -> None:
        raise ConnectionResetError("secret")

    driver = PydanticAIDriver(Script("ok").agent(), clock=ManualClock(), deps=deps)
    with pytest.raises(TransientFailure, match=r"^ConnectionResetError$"):
        await RecordedRun("hi").drive(driver)


# --- what capabilities make of calls ----------------------------------------------------------------------------------


class Instead(AbstractCapability[Any]):
    """Answers calls itself."""

    def __init__(self, answer: Callable[[], Any]) -> None:
        self._answer = answer

    async def before_tool_execute(
        self, ctx: RunContext[Any], *, call: ToolCallPart, tool_def: ToolDefinition, args: dict[str, Any]
    ) -> dict[str, Any]:
        raise SkipToolExecution(self._answer())

    async def wrap_tool_execute(
        self, ctx: RunContext[Any], *, call: ToolCallPart, tool_def: ToolDefinition, args: Any, handler: Any
    ) -> Any:
        found = self._answer()
        return found if isinstance(found, ToolDenied) else await handler(args)


@pytest.mark.parametrize(
    ("answer", "outcome", "text", "status"),
    [
        (lambda: map(str, (1, 2)), "success", '["1","2"]', "succeeded"),
        (lambda: ToolDenied("not today"), "denied", "not today", "denied"),
    ],
    ids=["skipped", "denied"],
)
async def test_what_a_capability_answers_in_the_place_of_a_tool_is_what_the_log_has(
    answer: Callable[[], Any], outcome: str, text: str, status: str
) -> None:
    async def tool() -> str:
        raise AssertionError("must not run")

    script, run = Script(Turn("", (Call("tool"),)), "I see"), RecordedRun("go")
    agent = script.agent(tools=[tool], capabilities=[Instead(answer)])
    await run.drive(PydanticAIDriver(agent, clock=ManualClock()))

    assert told(script) == [(outcome, text)]
    assert [event.status for event in run.events if isinstance(event, ToolCallDone)] == [status]
    assert str(answers(run)[0]).replace("'", '"').replace(", ", ",") == text


async def test_half_characters_beside_a_result_are_mended_for_the_model_and_in_the_log() -> None:
    async def look() -> ToolReturn[str]:
        return ToolReturn("seen", content="caf\udce9")

    script, run = Script(Turn("", (Call("look"),)), "nice"), RecordedRun("go")
    await run.drive(PydanticAIDriver(script.agent(tools=[look]), clock=ManualClock()))

    assert run.texts[3] == "user: caf\ufffd"
    assert [getattr(part, "content", None) for part in script.heard[-1][-1].parts] == ["seen", "caf\ufffd"]
