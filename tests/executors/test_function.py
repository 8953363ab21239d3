"""Functions as agents: what they may return and yield, what a step keeps, how they stop."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import msgspec
import pydantic
import pytest

from awaken.domain.errors import LeaseLost, PermanentFailure, ValidationError
from awaken.domain.event import ActivitySnapshot, TextDelta
from awaken.domain.ids import MessageId
from awaken.domain.message import MessageState, assistant_message, user_message
from awaken.domain.run import Termination
from awaken.executors.contract import Finished, Stopped
from awaken.executors.function import Context, FunctionDriver
from awaken.testing.executors import Fault, Killed, RecordedRun, driving


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


async def test_yielded_text_streams_and_becomes_one_message() -> None:
    async def agent(ctx: Context) -> AsyncIterator[Any]:
        yield "Hel"
        yield ActivitySnapshot("a", {"at": 1})
        yield ""
        yield "lo"

    _, run = await finished(agent)

    assert run.events == [TextDelta("Hel"), ActivitySnapshot("a", {"at": 1}), TextDelta("lo")]
    assert run.texts == ["user: hello", "assistant: Hello"]


async def test_a_yielded_message_keeps_its_place_between_texts() -> None:
    async def agent(ctx: Context) -> AsyncIterator[Any]:
        yield "first"
        yield user_message(MessageId("m"), "second")
        yield "third"

    _, run = await finished(agent)

    assert run.texts[1:] == ["assistant: first", "user: second", "assistant: third"]


async def test_emitted_text_is_the_answer_of_a_function_that_returns_none() -> None:
    async def agent(ctx: Context) -> None:
        await ctx.emit("a")
        await ctx.emit("b")

    assert (await finished(agent))[1].texts[1:] == ["assistant: ab"]


async def test_a_returned_text_replaces_the_streamed_preview() -> None:
    async def agent(ctx: Context) -> str:
        await ctx.emit("dra")
        return "final"

    assert (await finished(agent))[1].texts[1:] == ["assistant: final"]


async def test_yielding_anything_else_is_an_error() -> None:
    async def agent(ctx: Context) -> AsyncIterator[Any]:
        yield 7

    with pytest.raises(PermanentFailure, match="not a int"):
        await finished(agent)


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
    assert tidied == ["yes"]


async def test_a_stopped_function_that_said_nothing_lets_the_cancellation_pass() -> None:
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
