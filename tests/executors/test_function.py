"""Functions as agents: what they may return and yield, what a step keeps, how they stop."""

from __future__ import annotations

import asyncio
import math
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import msgspec
import pydantic
import pytest

from awaken.domain.errors import LeaseLost, PermanentFailure, TransientFailure, ValidationError
from awaken.domain.event import (
    ActivitySnapshot,
    StepStarted,
    TextDelta,
    ToolCallDone,
    ToolCallReady,
    ToolCallStarted,
)
from awaken.domain.ids import MessageId
from awaken.domain.message import (
    Message,
    MessageState,
    Role,
    Text,
    ToolCall,
    ToolStatus,
    assistant_message,
    user_message,
)
from awaken.domain.run import Termination
from awaken.executors.contract import Finished, Stopped
from awaken.executors.function import MAX_STEPS, Context, FunctionDriver
from awaken.testing.behaviour import behaviour
from awaken.testing.executors import Fault, Killed, RecordedRun, driving
from tests.executors.published import kinds, payloads, published


async def finished(agent: Any, *said: str) -> tuple[Finished, RecordedRun]:
    run = RecordedRun(*(said or ("hello",)))
    return await run.drive(FunctionDriver(agent)), run


# --- what an agent may be ---------------------------------------------------------------------------------------------


async def test_a_function_that_does_nothing_costs_nothing() -> None:
    async def agent(ctx: Context) -> None: ...

    outcome, run = await finished(agent)

    assert outcome == Finished()
    assert (run.events, run.commits, run.conversations_read) == ([], [], 0)


def blocking(ctx: Context) -> None: ...


@pytest.mark.parametrize("agent", [blocking, print], ids=["function", "builtin"])
def test_a_sync_function_is_refused_when_it_is_registered(agent: Any) -> None:
    with pytest.raises(ValidationError, match="must be `async def`"):
        FunctionDriver(agent)


def test_an_agent_that_cannot_take_the_context_is_refused() -> None:
    async def agent() -> None: ...

    with pytest.raises(ValidationError, match="exactly one argument"):
        FunctionDriver(agent)  # pyright: ignore[reportArgumentType]


async def test_methods_partials_and_callable_objects_are_agents() -> None:
    class Greeter:
        async def __call__(self, ctx: Context) -> str:
            return "called"

        async def greet(self, ctx: Context) -> str:
            return "greeted"

    async def repeat(times: int, ctx: Context) -> str:
        return "x" * times

    agents: list[Any] = [Greeter(), Greeter().greet, partial(repeat, 3)]
    assert [(await finished(agent))[0].messages[0].text for agent in agents] == ["called", "greeted", "xxx"]


# --- what it returns --------------------------------------------------------------------------------------------------


async def test_a_returned_text_is_the_answer() -> None:
    async def agent(ctx: Context) -> str:
        return f"you said {await ctx.input()}"

    outcome, run = await finished(agent, "hello")

    assert run.texts == ["user: hello", "assistant: you said hello"]
    assert outcome.final_output is None, "the mailbox takes the text of the last message"


async def test_returned_messages_are_committed_in_order() -> None:
    async def agent(ctx: Context) -> list[Any]:
        return [assistant_message(ctx.new_message_id(), text) for text in ("one", "two")]

    _, run = await finished(agent)

    assert run.texts[1:] == ["assistant: one", "assistant: two"]


@pytest.mark.parametrize("value", [{"a": [1, 2.5, None]}, 7, [], [1], True])
async def test_any_other_json_value_is_the_output_of_the_run(value: Any) -> None:
    async def agent(ctx: Context) -> Any:
        return value

    outcome, run = await finished(agent)

    assert msgspec.json.decode(outcome.final_output or "") == value
    assert run.texts == ["user: hello"]


async def test_a_returned_value_that_is_not_json_says_so() -> None:
    async def agent(ctx: Context) -> object:
        return object()

    with pytest.raises(PermanentFailure, match="no JSON form"):
        await finished(agent)


async def test_an_agent_may_say_itself_how_it_ended() -> None:
    ended = Finished(termination=Termination("blocked", detail="not today"))

    async def agent(ctx: Context) -> Finished:
        return ended

    assert (await finished(agent))[0] is ended


# --- streaming --------------------------------------------------------------------------------------------------------


async def test_yielded_text_streams_and_becomes_one_message_under_the_id_of_its_deltas() -> None:
    async def agent(ctx: Context) -> AsyncIterator[Any]:
        yield "Hel"
        yield ActivitySnapshot("a", "progress", {"at": 1})
        yield ""
        yield "lo"

    outcome, run = await finished(agent)

    assert published(run) == [
        ("StepStarted", {"message_id": "m1", "index": 0}),
        ("TextDeltaObserved", {"message_id": "m1", "part": 0, "delta": "Hel"}),
        ("ActivitySnapshotObserved", {"id": "a", "type": "progress", "content": {"at": 1}}),
        ("TextDeltaObserved", {"message_id": "m1", "part": 0, "delta": "lo"}),
        ("MessageCommitted", {"message_id": "m1", "role": "assistant", "text": "Hello"}),
        ("StepEnded", {"index": 0}),
    ]
    assert outcome.messages[0].content == (Text("Hello"),)


async def test_a_text_that_was_not_streamed_is_shown_when_its_message_is_committed() -> None:
    async def agent(ctx: Context) -> str:
        return "all at once"

    _, run = await finished(agent)

    assert published(run) == [
        ("StepStarted", {"message_id": "m1", "index": 0}),
        ("MessageCommitted", {"message_id": "m1", "role": "assistant", "text": "all at once"}),
        ("StepEnded", {"index": 0}),
    ]


async def test_a_yielded_message_keeps_its_place_between_texts() -> None:
    async def agent(ctx: Context) -> AsyncIterator[Any]:
        yield "first"
        yield user_message(MessageId("own"), "second")
        yield "third"

    _, run = await finished(agent)

    assert published(run) == [
        ("StepStarted", {"message_id": "m1", "index": 0}),
        ("TextDeltaObserved", {"message_id": "m1", "part": 0, "delta": "first"}),
        ("TextDeltaObserved", {"message_id": "m2", "part": 0, "delta": "third"}),
        ("MessageCommitted", {"message_id": "m1", "role": "assistant", "text": "first"}),
        ("MessageCommitted", {"message_id": "m3", "role": "user", "text": "second"}),
        ("MessageCommitted", {"message_id": "m2", "role": "assistant", "text": "third"}),
        ("StepEnded", {"index": 0}),
    ]


@pytest.mark.parametrize(("text", "resets"), [("the answer", 0), ("another", 1)])
async def test_a_yielded_message_may_be_the_one_that_was_streamed(text: str, resets: int) -> None:
    async def agent(ctx: Context) -> AsyncIterator[Any]:
        message_id = ctx.message_id
        yield "the "
        yield "answer"
        yield assistant_message(message_id, text)
        yield "more"

    _, run = await finished(agent)

    assert run.texts[1:] == [f"assistant: {text}", "assistant: more"]
    assert kinds(run).count("StreamReset") == resets
    assert [delta["message_id"] for delta in payloads(run, "TextDeltaObserved")] == ["m1", "m1", "m2"]


async def test_emitted_text_is_the_answer_of_a_function_that_returns_none() -> None:
    async def agent(ctx: Context) -> None:
        await ctx.emit("a")
        await ctx.emit("b")

    assert (await finished(agent))[1].texts[1:] == ["assistant: ab"]


async def test_a_returned_text_that_differs_from_the_streamed_one_withdraws_it_first() -> None:
    async def agent(ctx: Context) -> str:
        await ctx.emit("dra")
        return "final"

    _, run = await finished(agent)

    assert published(run)[1:] == [
        ("TextDeltaObserved", {"message_id": "m1", "part": 0, "delta": "dra"}),
        ("StreamReset", {"reason": "the agent returned another answer than it streamed", "message_id": "m1"}),
        ("MessageCommitted", {"message_id": "m1", "role": "assistant", "text": "final"}),
        ("StepEnded", {"index": 0}),
    ]


async def streamed_and_returned(returned: Callable[[Context], Any]) -> RecordedRun:
    async def agent(ctx: Context) -> Any:
        await ctx.emit("the ")
        await ctx.emit("answer")
        return returned(ctx)

    return (await finished(agent))[1]


SAME: dict[str, Callable[[Context], Any]] = {
    "nothing": lambda ctx: None,
    "same text": lambda ctx: "the answer",
    "another output": lambda ctx: {"output": 1},
    "same message": lambda ctx: assistant_message(ctx.message_id, "the answer"),
    "same outcome": lambda ctx: Finished(messages=(assistant_message(ctx.message_id, "the answer"),)),
}
OTHER: dict[str, Callable[[Context], Any]] = {
    "no text": lambda ctx: "",
    "another message": lambda ctx: assistant_message(ctx.new_message_id(), "the answer"),
    "no message": lambda ctx: Finished(termination=Termination("blocked", detail="not today")),
}


@pytest.mark.parametrize("returned", SAME.values(), ids=SAME.keys())
async def test_streamed_text_that_is_the_answer_is_not_withdrawn(returned: Callable[[Context], Any]) -> None:
    run = await streamed_and_returned(returned)

    assert kinds(run) == ["StepStarted", "TextDeltaObserved", "TextDeltaObserved", "MessageCommitted", "StepEnded"]
    assert {payload["message_id"] for payload in payloads(run, "MessageCommitted")} == {"m1"}


@pytest.mark.parametrize("returned", OTHER.values(), ids=OTHER.keys())
async def test_streamed_text_that_becomes_no_message_is_withdrawn(returned: Callable[[Context], Any]) -> None:
    run = await streamed_and_returned(returned)

    assert [reset["message_id"] for reset in payloads(run, "StreamReset")] == ["m1"]
    assert not run.is_stream_open


async def test_yielding_anything_else_is_an_error() -> None:
    async def agent(ctx: Context) -> AsyncIterator[Any]:
        yield 7

    with pytest.raises(PermanentFailure, match="not a int"):
        await finished(agent)


async def test_an_agent_cannot_publish_steps_of_its_own() -> None:
    async def agent(ctx: Context) -> AsyncIterator[Any]:
        yield StepStarted(ctx.message_id, 7)

    with pytest.raises(PermanentFailure, match="published for it"):
        await finished(agent)


async def test_an_agent_that_calls_tools_itself_publishes_what_their_readers_need() -> None:
    async def agent(ctx: Context) -> AsyncIterator[Any]:
        turn, answer = ctx.message_id, ctx.new_message_id()
        yield "Let me look."
        yield ToolCallStarted(turn, "c1", "look_up", "server", title="Look up an order", tool_kind="search")
        yield ToolCallReady(turn, "c1", "look_up", {"order": 7})
        yield ToolCallDone(turn, "c1", "look_up", answer, "succeeded", {"left": "today"})
        call = ToolCall("c1", "look_up", {"order": 7})
        yield Message(id=turn, role=Role.ASSISTANT, content=(Text("Let me look."),), tool_calls=(call,))
        yield Message(id=answer, role=Role.TOOL, tool_call_id="c1", tool_status=ToolStatus.SUCCESS)
        yield "It left today."

    _, run = await finished(agent)

    assert published(run) == [
        ("StepStarted", {"message_id": "m1", "index": 0}),
        ("TextDeltaObserved", {"message_id": "m1", "part": 0, "delta": "Let me look."}),
        (
            "ToolCallStarted",
            {
                "message_id": "m1",
                "id": "c1",
                "name": "look_up",
                "runs_on": "server",
                "title": "Look up an order",
                "tool_kind": "search",
            },
        ),
        ("ToolCallReady", {"message_id": "m1", "id": "c1", "name": "look_up", "arguments": {"order": 7}}),
        (
            "ToolCallDone",
            {
                "message_id": "m1",
                "id": "c1",
                "name": "look_up",
                "result_message_id": "m2",
                "status": "succeeded",
                "result": {"left": "today"},
            },
        ),
        ("TextDeltaObserved", {"message_id": "m3", "part": 0, "delta": "It left today."}),
        ("MessageCommitted", {"message_id": "m1", "role": "assistant", "text": "Let me look.", "calls": ["c1"]}),
        ("MessageCommitted", {"message_id": "m2", "role": "tool", "text": "", "answers": "c1"}),
        ("MessageCommitted", {"message_id": "m3", "role": "assistant", "text": "It left today."}),
        ("StepEnded", {"index": 0}),
    ]


# --- what it can ask for ----------------------------------------------------------------------------------------------


async def test_the_conversation_is_read_once_and_ends_with_the_own_input() -> None:
    async def agent(ctx: Context) -> str:
        assert [m.text for m in await ctx.messages()] == [m.text for m in await ctx.messages()]
        return " | ".join([m.text for m in await ctx.messages()])

    run = RecordedRun("one")
    await run.drive(FunctionDriver(agent))
    run.begin("two")
    await run.drive(FunctionDriver(agent))

    assert run.texts[-1] == "assistant: one | one | two"
    assert run.conversations_read == 2


async def test_the_input_is_what_this_run_was_submitted_with() -> None:
    async def agent(ctx: Context) -> str:
        return f"{ctx.identity.run_id}: {await ctx.input()}"

    run = RecordedRun("one")
    await run.drive(FunctionDriver(agent))
    run.begin("two", "three")
    await run.drive(FunctionDriver(agent))

    assert run.texts[-1] == "assistant: run-2: two\nthree"


# --- steps ------------------------------------------------------------------------------------------------------------


class Effects:
    """Counts what was really done."""

    def __init__(self) -> None:
        self.done: list[str] = []

    def do(self, name: str, value: Any = None) -> Callable[[], Any]:
        async def effect() -> Any:
            self.done.append(name)
            return value

        return effect


@pytest.mark.parametrize("nth", [1, 2, 3])
@pytest.mark.parametrize("when", ["before", "after"])
async def test_a_recorded_step_is_not_repeated_after_a_crash(nth: int, when: Any) -> None:
    effects = Effects()

    async def agent(ctx: Context) -> str:
        parts = [await ctx.step("get", effects.do(f"get{i}", i)) for i in range(2)]
        return f"{parts} {await ctx.step('put', effects.do('put', 'ok'))}"

    run = RecordedRun("go")
    with pytest.raises(Killed):
        await run.drive(FunctionDriver(agent), Fault("kill", nth, when))
    await run.drive(FunctionDriver(agent))

    assert run.texts[-1] == "assistant: [0, 1] ok"
    assert list(run.journal) == ["get#1", "get#2", "put#1"]
    in_flight = ["get0", "get1", "put"][nth - 1]
    assert sorted(effects.done) == sorted(["get0", "get1", "put"] + ([in_flight] if when == "before" else []))


async def test_parallel_steps_of_one_name_are_told_apart_by_the_order_they_were_asked_for() -> None:
    effects = Effects()

    async def agent(ctx: Context) -> str:
        return str(await asyncio.gather(*[ctx.step("s", effects.do(f"s{i}", i)) for i in range(3)]))

    run = RecordedRun("go")
    with pytest.raises(Killed):
        await run.drive(FunctionDriver(agent), Fault("kill", 2, "after"))
    await run.drive(FunctionDriver(agent))

    assert run.texts[-1] == "assistant: [0, 1, 2]"


class Point(msgspec.Struct):
    x: int


class Model(pydantic.BaseModel):
    x: int


@dataclass
class Plain:
    x: int


@pytest.mark.parametrize("type", [Point, Model, Plain])
async def test_a_step_value_has_its_type_the_first_time_and_after_a_crash(type: Any) -> None:
    seen: list[Any] = []

    async def agent(ctx: Context) -> None:
        seen.append(await ctx.step("point", lambda: type(x=1), type=type))
        seen.append(await ctx.step("raw", lambda: type(x=2)))
        await ctx.step("end", lambda: None)

    run = RecordedRun("go")
    with pytest.raises(Killed):
        await run.drive(FunctionDriver(agent), Fault("kill", 3))
    await run.drive(FunctionDriver(agent))

    assert seen == [type(x=1), {"x": 2}] * 2


async def test_a_step_value_that_is_not_json_is_refused_and_not_recorded() -> None:
    async def agent(ctx: Context) -> None:
        await ctx.step("bad", object)

    run = RecordedRun("go")
    with pytest.raises(PermanentFailure, match=r"step 'bad#1' returned a value that has no JSON form"):
        await run.drive(FunctionDriver(agent))
    assert run.journal == {}


async def test_a_step_value_that_does_not_fit_its_type_is_refused_and_not_recorded() -> None:
    async def agent(ctx: Context) -> None:
        await ctx.step("bad", lambda: {"x": "one"}, type=Point)

    run = RecordedRun("go")
    with pytest.raises(PermanentFailure, match="does not fit its type"):
        await run.drive(FunctionDriver(agent))
    assert run.journal == {}


@behaviour("KD-007")
async def test_the_events_of_a_step_end_when_the_step_is_recorded() -> None:
    async def agent(ctx: Context) -> AsyncIterator[Any]:
        yield "one "
        await ctx.step("a", lambda: 1)
        await ctx.step("b", lambda: 2)
        yield "two"

    _, run = await finished(agent)

    assert published(run) == [
        ("StepStarted", {"message_id": "m1", "index": 0}),
        ("TextDeltaObserved", {"message_id": "m1", "part": 0, "delta": "one "}),
        ("StepEnded", {"index": 0, "name": "a"}),
        ("StepStarted", {"message_id": "m1", "index": 1, "name": "b"}),
        ("StepEnded", {"index": 1}),
        ("StepStarted", {"message_id": "m1", "index": 2}),
        ("TextDeltaObserved", {"message_id": "m1", "part": 0, "delta": "two"}),
        ("MessageCommitted", {"message_id": "m1", "role": "assistant", "text": "one two"}),
        ("StepEnded", {"index": 2}),
    ]


async def test_steps_side_by_side_follow_one_another_in_the_log() -> None:
    async def agent(ctx: Context) -> None:
        def last(i: int) -> Callable[[], Awaitable[int]]:
            async def wait() -> int:
                for _ in range(9 - 3 * i):
                    await asyncio.sleep(0)
                return i

            return wait

        await asyncio.gather(*[ctx.step(f"s{i}", last(i)) for i in range(3)])

    _, run = await finished(agent)

    assert [(kind, payload["index"], payload.get("name")) for kind, payload in published(run)] == [
        *(("StepStarted", 0, "s0"), ("StepEnded", 0, "s2"), ("StepStarted", 1, "s1"), ("StepEnded", 1, None)),
        *(("StepStarted", 2, "s0"), ("StepEnded", 2, None)),
    ]
    assert run.steps == 3


async def test_a_recorded_step_publishes_nothing_when_the_function_runs_again() -> None:
    async def agent(ctx: Context) -> str:
        await ctx.step("a", lambda: 1)
        await ctx.step("b", lambda: 2)
        return "done"

    run = RecordedRun("go")
    with pytest.raises(Killed):
        await run.drive(FunctionDriver(agent), Fault("kill", 1))
    await run.drive(FunctionDriver(agent))

    assert [step["index"] for step in payloads(run, "StepStarted")] == [0, 1, 2]
    assert [step["index"] for step in payloads(run, "StepEnded")] == [0, 1, 2]


async def test_a_step_that_fails_is_not_recorded_and_its_error_is_the_functions() -> None:
    async def agent(ctx: Context) -> str:
        def fail() -> None:
            raise OSError("disk")

        try:
            await ctx.step("s", fail)
        except OSError as error:
            return f"caught {error}"
        return "no"

    _, run = await finished(agent)

    assert (run.texts[-1], run.journal) == ("assistant: caught disk", {})


async def test_a_lost_lease_passes_through() -> None:
    async def agent(ctx: Context) -> None:
        await ctx.step("s", lambda: 1)

    with pytest.raises(LeaseLost):
        await RecordedRun("go").drive(FunctionDriver(agent), Fault("lose", 1, "before"))


# --- stopping ---------------------------------------------------------------------------------------------------------


async def test_a_stopped_generator_tidies_up_and_leaves_its_partial_text() -> None:
    tidied: list[str] = []

    async def agent(ctx: Context) -> AsyncIterator[str]:
        try:
            yield "half a "
            yield "sentence"
            await asyncio.Event().wait()
        finally:
            tidied.append("yes")

    run = RecordedRun("go")
    with pytest.raises(Stopped) as stopped:
        await driving(run, FunctionDriver(agent), Fault("cancel", 2, on="emit"))

    [message] = stopped.value.messages
    assert (message.text, message.state) == ("half a sentence", MessageState.INTERRUPTED)
    assert {event.message_id for event in run.events if isinstance(event, TextDelta)} == {message.id}
    assert kinds(run)[-1] == "TextDeltaObserved", "a step that was cut short has no end"
    assert tidied == ["yes"]


async def test_a_stopped_function_without_output_lets_the_cancellation_pass() -> None:
    async def agent(ctx: Context) -> None:
        await ctx.step("s", lambda: 1)
        await asyncio.Event().wait()

    task = driving(RecordedRun("go"), FunctionDriver(agent), Fault("cancel", 1))
    with pytest.raises(asyncio.CancelledError):
        await task


async def test_a_cancellation_of_the_agents_own_making_is_not_a_stop() -> None:
    async def agent(ctx: Context) -> AsyncIterator[str]:
        yield "text"
        raise asyncio.CancelledError

    with pytest.raises(asyncio.CancelledError):
        await finished(agent)


# --- steps that cannot be kept ----------------------------------------------------------------------------------------


class Undefined(pydantic.BaseModel):
    it: Nowhere  # pyright: ignore[reportUndefinedVariable, reportUnknownVariableType]  # noqa: F821


@dataclass
class Refers:
    it: Nowhere  # pyright: ignore[reportUndefinedVariable, reportUnknownVariableType]  # noqa: F821


class Bare:
    """No JSON can be decoded into it."""


@behaviour("UC-012")
@pytest.mark.parametrize(
    ("name", "type"),
    [
        ("a", Refers),
        ("a", list[Refers]),
        ("a", Undefined),
        ("a", Bare),
        ("a", dict[str, Bare | None]),
        ("a", "Order"),
        ("half \ud83d", None),
        ("nul \0", None),
        (("a", 1), None),
        ("", None),
        ("a" * 1_001, None),
    ],
    ids=["unresolved", "inside", "model", "class", "class inside", "text", "half", "nul", "no text", "empty", "long"],
)
async def test_what_can_be_known_to_fail_is_found_before_the_effect(name: Any, type: Any) -> None:
    effects: list[int] = []

    async def agent(ctx: Context) -> None:
        await ctx.step(name, lambda: effects.append(1), type=type)

    with pytest.raises(PermanentFailure):
        await finished(agent)
    assert effects == []


class Unwilling(pydantic.BaseModel):
    def model_dump(self, **_: Any) -> Any:
        raise OSError("secret")


@behaviour("UC-013")
@pytest.mark.parametrize(
    "value",
    [
        math.nan,
        [math.inf],
        {1: "a", "1": "b"},
        2**64,
        object(),
        Unwilling(),
        {"inside": Unwilling()},
    ],
    ids=["nan", "infinity", "one key twice", "integer", "object", "raises", "raises inside"],
)
async def test_a_result_that_is_not_json_as_it_is_is_refused_and_never_changed(value: Any) -> None:
    async def agent(ctx: Context) -> None:
        await ctx.step("a", lambda: value)

    run = RecordedRun("hello")
    with pytest.raises(PermanentFailure, match="step 'a#1' returned a value that has no JSON form") as refused:
        await run.drive(FunctionDriver(agent))
    assert run.journal == {} and "secret" not in str(refused.value)


async def test_half_characters_of_a_result_are_mended_and_recorded() -> None:
    seen: list[str] = []

    async def agent(ctx: Context) -> None:
        seen.append(await ctx.step("a", lambda: "caf\udce9"))

    _, run = await finished(agent)
    assert seen == ["caf\ufffd"] and [bytes(value) for value in run.journal.values()] == ['"caf\ufffd"'.encode()]


@behaviour("UC-014")
async def test_a_step_is_progress_once_every_step_recorded_before_was_asked_for() -> None:
    names = [["a", "b"], ["x", "a", "b", "y"]]

    async def agent(ctx: Context) -> None:
        for name in names.pop(0):
            await ctx.step(name, lambda: None)
        if names:
            raise TransientFailure("busy")

    run = RecordedRun("hello")
    driver = FunctionDriver(agent)
    with pytest.raises(TransientFailure):
        await run.drive(driver)
    await run.drive(driver)

    assert [*run.journal] == ["a#1", "b#1", "x#1", "y#1"]
    assert run.progress == [True, True, False, True]


async def test_steps_side_by_side_are_progress_when_all_of_the_recorded_ones_are_asked_for_together() -> None:
    lives = [0]

    async def agent(ctx: Context) -> None:
        lives[0] += 1
        async with asyncio.TaskGroup() as group:
            for name in ("a", "b", "c")[: lives[0] + 1]:
                group.create_task(ctx.step(name, lambda: None))
        if lives[0] == 1:
            raise TransientFailure("busy")

    run = RecordedRun("hello")
    driver = FunctionDriver(agent)
    with pytest.raises(TransientFailure):
        await run.drive(driver)
    await run.drive(driver)
    assert (run.progress, sorted(run.journal)) == ([True] * 3, ["a#1", "b#1", "c#1"])


async def test_a_run_records_a_bounded_number_of_steps() -> None:
    effects: list[int] = []

    async def agent(ctx: Context) -> None:
        await ctx.step("one too many", lambda: effects.append(1))

    run = RecordedRun("hello")
    run.journal = {f"step {n}#1": msgspec.Raw(b"null") for n in range(MAX_STEPS)}
    run.executions = 1
    with pytest.raises(PermanentFailure, match="10000 steps"):
        await run.drive(FunctionDriver(agent))
    assert effects == []


async def test_a_number_that_is_none_in_the_output_has_its_name() -> None:
    async def agent(ctx: Context) -> dict[str, float]:
        return {"ratio": math.nan}

    assert (await finished(agent))[0].final_output == '{"ratio":"NaN"}'
