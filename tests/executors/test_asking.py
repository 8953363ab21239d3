"""What a function asks of somebody: it suspends, is executed again from the top, and finds the answer."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any, cast

import msgspec
import pytest

from awaken.domain.errors import PermanentFailure, TicketExpired
from awaken.domain.event import StepEnded, StepStarted, TextDelta
from awaken.domain.message import MessageState
from awaken.executors.asking import Approval
from awaken.executors.contract import Stopped
from awaken.executors.function import Context, FunctionDriver
from awaken.testing.behaviour import behaviour
from awaken.testing.executors import DRIVING, Fault, Killed, RecordedRun, driving


class Table(msgspec.Struct):
    seats: int
    name: str = "Ann"


async def say(ctx: Context, what: str) -> str:
    return f"{what}: {await ctx.ask('how many?')}"


@behaviour("TK-030")
async def test_a_question_suspends_and_its_answer_is_returned() -> None:
    async def agent(ctx: Context) -> str:
        return await say(ctx, "seats")

    run, driver = RecordedRun("book"), FunctionDriver(agent)

    waits = await run.wait(driver)

    [asked] = waits.tickets
    assert (asked.key, asked.kind, asked.message) == ("ask#1", "input", "how many?")
    assert (asked.response_schema, asked.actions) == ({"type": "string"}, ("answer",))
    assert waits.mode == "all"
    run.decide("ask#1", "answer", "four")
    assert (await run.drive(driver)).messages[0].text == "seats: four"


async def test_a_question_that_is_not_answered_yet_is_asked_again() -> None:
    async def agent(ctx: Context) -> str:
        return await say(ctx, "seats")

    run, driver = RecordedRun("book"), FunctionDriver(agent)
    first = await run.wait(driver)

    assert await run.wait(driver) == first
    assert len(run.tickets) == 1


async def test_an_answer_has_the_type_that_is_asked_for() -> None:
    async def agent(ctx: Context) -> Any:
        table = await ctx.ask("which table?", type=Table, name="table")
        return {"seats": table.seats, "name": table.name}

    run, driver = RecordedRun("book"), FunctionDriver(agent)
    [asked] = (await run.wait(driver)).tickets
    assert asked.response_schema is not None and "$ref" in asked.response_schema
    assert asked.tool_name == "table"
    run.decide("table#1", "answer", {"seats": 4})

    assert (await run.drive(driver)).final_output == '{"seats":4,"name":"Ann"}'


async def test_an_answer_of_another_type_is_a_permanent_failure() -> None:
    async def agent(ctx: Context) -> int:
        return await ctx.ask("how many?", type=int)

    run, driver = RecordedRun("book"), FunctionDriver(agent)
    await run.wait(driver)
    run.decide("ask#1", "answer", "four")
    with pytest.raises(PermanentFailure, match="does not fit its type"):
        await run.drive(driver)


@behaviour("TK-031")
async def test_questions_side_by_side_are_all_asked_and_waited_for_together() -> None:
    async def agent(ctx: Context) -> str:
        return " ".join(await asyncio.gather(ctx.ask("a?"), ctx.ask("b?"), ctx.ask("c?", name="other")))

    run, driver = RecordedRun("go"), FunctionDriver(agent)
    waits = await run.wait(driver)
    assert [asked.key for asked in waits.tickets] == ["ask#1", "ask#2", "other#1"]
    run.decide("ask#2", "answer", "two")

    again = await run.wait(driver)
    assert [asked.key for asked in again.tickets] == ["ask#1", "other#1"]
    run.decide("ask#1", "answer", "one")
    run.decide("other#1", "answer", "three")
    assert (await run.drive(driver)).messages[0].text == "one two three"


async def test_tasks_of_a_group_ask_together_too() -> None:
    async def agent(ctx: Context) -> str:
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(ctx.ask(f"{number}?")) for number in range(3)]
        return "".join([task.result() for task in tasks])

    run, driver = RecordedRun("go"), FunctionDriver(agent)
    assert len((await run.wait(driver)).tickets) == 3
    for number in (1, 2, 3):
        run.decide(f"ask#{number}", "answer", str(number))
    assert (await run.drive(driver)).messages[0].text == "123"


@behaviour("TK-032")
async def test_finally_runs_before_the_run_waits() -> None:
    closed: list[str] = []

    async def agent(ctx: Context) -> str:
        try:
            return await say(ctx, "said")
        finally:
            await asyncio.sleep(0)
            closed.append("closed")

    run, driver = RecordedRun("go"), FunctionDriver(agent)
    await run.wait(driver)
    assert closed == ["closed"]


@behaviour("TK-033")
async def test_steps_before_a_question_are_not_repeated() -> None:
    done: list[str] = []

    async def agent(ctx: Context) -> str:
        first = await ctx.step("first", lambda: done.append("first") or 1)
        answer = await ctx.ask("well?")
        second = await ctx.step("second", lambda: done.append("second") or 2)
        return f"{first} {answer} {second}"

    run, driver = RecordedRun("go"), FunctionDriver(agent)
    await run.wait(driver)
    run.decide("ask#1", "answer", "yes")
    assert (await run.drive(driver)).messages[0].text == "1 yes 2"
    assert done == ["first", "second"]
    assert run.progress == [True, True]


@behaviour("TK-034")
async def test_what_was_said_before_a_question_is_said_once() -> None:
    """It becomes a message when the run waits; said again on the way to the question, it is dropped."""

    async def agent(ctx: Context) -> AsyncIterator[str]:
        yield "Let me "
        yield "see. "
        answer = await ctx.ask("which?")
        yield f"So {answer}. "
        other = await ctx.ask("and?")
        yield f"And {other}."

    run, driver = RecordedRun("go"), FunctionDriver(agent)
    first = await run.wait(driver)
    assert [message.text for message in first.messages] == ["Let me see. "]
    assert first.messages[0].state is MessageState.COMMITTED
    run.decide("ask#1", "answer", "tea")
    assert [message.text for message in (await run.wait(driver)).messages] == ["So tea. "]
    run.decide("ask#2", "answer", "milk")
    done = await run.drive(driver)

    assert [message.text for message in done.messages] == ["And milk."]
    said = "".join([event.delta for event in run.events if isinstance(event, TextDelta)])
    assert said == "Let me see. So tea. And milk."
    starts = [event for event in run.events if isinstance(event, StepStarted)]
    assert len(starts) == len([event for event in run.events if isinstance(event, StepEnded)]) == 3
    assert [start.message_id for start in starts] == [message.id for message, _ in run.log[1:]]


async def test_a_crash_before_the_answer_is_reached_says_nothing_twice() -> None:
    async def agent(ctx: Context) -> AsyncIterator[str]:
        yield "Hello. "
        answer = await ctx.ask("which?")
        yield answer
        await ctx.step("pay", lambda: 1)
        yield "Paid."

    run, driver = RecordedRun("go"), FunctionDriver(agent)
    await run.wait(driver)
    run.decide("ask#1", "answer", "tea")
    with pytest.raises(Killed):
        await run.drive(driver, Fault("kill", 1, on="commit_step"))
    done = await run.drive(driver)
    assert [message.text for message in done.messages] == ["teaPaid."]
    assert run.texts == ["user: go", "assistant: Hello. ", "assistant: teaPaid."]


@behaviour("TK-035")
async def test_an_approval_says_yes_no_and_with_which_arguments() -> None:
    async def agent(ctx: Context) -> Any:
        said = await ctx.approve("refund?", arguments={"amount": 5})
        return [said.approved, said.reason, said.arguments]

    for action, details, expected in (
        ("approve", {}, '[true,null,{"amount":5}]'),
        ("deny", {"reason": "no"}, '[false,"no",{"amount":5}]'),
        ("edit", {"arguments": {"amount": 4}}, '[true,null,{"amount":4}]'),
    ):
        run, driver = RecordedRun("go"), FunctionDriver(agent)
        [asked] = (await run.wait(driver)).tickets
        assert (asked.kind, asked.key, asked.arguments) == ("approval", "approve#1", {"amount": 5})
        run.decide("approve#1", action, **details)  # pyright: ignore[reportArgumentType]
        assert (await run.drive(driver)).final_output == expected


@behaviour("TK-036")
async def test_a_question_that_nobody_answers_raises_or_has_a_default() -> None:
    async def agent(ctx: Context) -> str:
        hurried = await ctx.ask("quick?", expires_in_s=1, default="never mind")
        approval = await ctx.approve("may I?", expires_in_s=2)
        assert approval == Approval(False, "nobody decided in time", None)
        try:
            return hurried + await ctx.ask("well?", expires_in_s=3)
        except TicketExpired:
            return f"{hurried}, nobody"

    run, driver = RecordedRun("go"), FunctionDriver(agent)
    [asked] = (await run.wait(driver)).tickets
    assert (asked.expires_in_ms, asked.on_expiry, asked.default) == (1_000, "answer", "never mind")
    run.expire("ask#1")
    [asked] = (await run.wait(driver)).tickets
    assert (asked.expires_in_ms, asked.on_expiry) == (2_000, "deny")
    run.expire("approve#1")
    await run.wait(driver)
    run.expire("ask#2")
    assert (await run.drive(driver)).messages[0].text == "never mind, nobody"


@behaviour("TK-037")
async def test_a_function_that_swallows_the_question_fails() -> None:
    async def agent(ctx: Context) -> str:
        try:
            return await ctx.ask("well?")
        except asyncio.CancelledError:
            return "never mind"

    with pytest.raises(PermanentFailure, match="without waiting for 'ask#1'"):
        await RecordedRun("go").drive(FunctionDriver(agent))


@behaviour("TK-037")
async def test_a_function_that_asks_and_does_not_wait_fails() -> None:
    async def agent(ctx: Context) -> str:
        task = asyncio.get_running_loop().create_task(ctx.ask("well?"))
        await asyncio.sleep(0)
        task.cancel()
        return "never mind"

    with pytest.raises(PermanentFailure, match="without waiting"):
        await RecordedRun("go").drive(FunctionDriver(agent))


@behaviour("TK-037")
async def test_a_function_that_ends_before_it_comes_to_its_question_again_fails() -> None:
    times: list[int] = []

    async def agent(ctx: Context) -> str:
        times.append(1)
        return await ctx.ask("well?") if len(times) == 1 else "something else"

    run, driver = RecordedRun("go"), FunctionDriver(agent)
    await run.wait(driver)
    run.decide("ask#1", "answer", "yes")
    with pytest.raises(PermanentFailure, match="'ask#1', and ended without coming to it again"):
        await run.drive(driver)


async def test_a_question_inside_a_step_fails_before_it_is_asked() -> None:
    async def agent(ctx: Context) -> str:
        return await ctx.step("inner", lambda: ctx.ask("well?"))

    run = RecordedRun("go")
    with pytest.raises(PermanentFailure, match="inside of a step"):
        await run.drive(FunctionDriver(agent))
    assert run.tickets == {}


UNASKABLE: list[tuple[Callable[[Context], Awaitable[Any]], str]] = [
    (lambda ctx: ctx.ask(""), "is a text"),
    (lambda ctx: ctx.ask("well?", name=""), "the name"),
    (lambda ctx: ctx.ask("well?", name="\n"), "the name"),
    (lambda ctx: ctx.ask("well?", default="x"), "give expires_in_s"),
    (lambda ctx: ctx.ask("well?", expires_in_s=float("nan")), "expires_in_s"),
    (lambda ctx: ctx.ask("well?", expires_in_s=1e9), "at most 31536000 seconds"),
    (lambda ctx: ctx.ask("x" * 300_000), "bytes"),
    (lambda ctx: ctx.ask("well?", type=asyncio.Event), "cannot be used"),
    (lambda ctx: ctx.approve("may I?", arguments=object()), "no JSON form"),
    (lambda ctx: ctx.approve("may I?", arguments=[1]), "are an object"),
    (lambda ctx: ctx.gather(cast(Any, "x")), "gather takes what start has returned"),
    (lambda ctx: ctx.state.patch(cast(Any, [1])), "changed by an object"),
]


@pytest.mark.parametrize(("asking", "why"), UNASKABLE, ids=[why for _, why in UNASKABLE])
async def test_what_cannot_be_asked_fails_the_run_at_once(asking: Any, why: str) -> None:
    async def agent(ctx: Context) -> Any:
        return await asking(ctx)

    run = RecordedRun("go")
    with pytest.raises(PermanentFailure, match=why):
        await run.drive(FunctionDriver(agent))
    assert run.tickets == {}


async def test_a_stop_while_the_run_is_about_to_wait_is_a_stop() -> None:
    async def agent(ctx: Context) -> AsyncIterator[str]:
        yield "so far"
        try:
            yield await ctx.ask("well?")
        finally:
            for task in asyncio.all_tasks():
                if task.get_name() == DRIVING:
                    task.cancel()
            await asyncio.sleep(0)

    run = RecordedRun("go")
    with pytest.raises(Stopped):
        await driving(run, FunctionDriver(agent))
    assert run.tickets == {}


async def test_what_an_agent_raises_while_it_is_about_to_wait_is_its_failure() -> None:
    async def agent(ctx: Context) -> str:
        try:
            return await ctx.ask("well?")
        finally:
            raise ValueError("in finally")

    run = RecordedRun("go")
    with pytest.raises(ValueError, match="in finally"):
        await run.drive(FunctionDriver(agent))
    assert run.tickets == {}
