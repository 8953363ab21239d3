"""Tools of a Pydantic AI agent that wait: for an approval, for a result from outside, for an answer."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic_ai import Agent, ApprovalRequired, CallDeferred, RunContext
from pydantic_ai.messages import ToolReturnPart
from pydantic_ai.tools import DeferredToolRequests

from awaken.domain.errors import PermanentFailure
from awaken.domain.event import ToolCallDone
from awaken.domain.run import ClientTool, RunOptions
from awaken.domain.ticket import TicketRequest
from awaken.executors.function import Context
from awaken.executors.pydantic_ai import PydanticAIDriver
from awaken.testing.behaviour import behaviour
from awaken.testing.executors import Call, Fault, Killed, RecordedRun, Script, Turn

BOOKING = Turn("A moment.", (Call("book", {"seats": 2}),))


class Desk:
    """An agent with tools that wait, and what they have done."""

    def __init__(self, *turns: Turn | str, output_type: Any = str) -> None:
        self.script = Script(*turns)
        self.done: list[Any] = []
        self.context: Context | None = None
        self.agent = agent = Agent(self.script.model(), output_type=output_type)

        @agent.tool_plain(requires_approval=True, metadata={"message": "Book it?", "expires_in_s": 60})
        def book(seats: int) -> str:
            self.done.append(seats)
            return f"booked {seats}"

        @agent.tool
        def pay(ctx: RunContext[object], amount: int) -> str:
            if not ctx.tool_call_approved:
                self.done.append("asked")
                raise ApprovalRequired(metadata={"message": f"Pay {amount}?"})
            self.done.append(amount)
            return "paid"

        @agent.tool_plain
        def fetch(what: str) -> str:
            self.done.append(what)
            raise CallDeferred(metadata={"job": what})

        @agent.tool_plain
        def name() -> str:
            raise CallDeferred(kind="question", metadata={"message": "Under which name?"})

        @agent.tool_plain
        def look(n: int) -> int:
            self.done.append(f"look {n}")
            return n

        @agent.tool_plain
        async def quiz() -> str:
            assert self.context is not None
            self.done.append("quiz")
            first = await self.context.ask("first?")
            second = await self.context.ask("second?", type=int)
            return f"{first} {second}"

        self.driver = PydanticAIDriver(agent)

    def answers(self) -> list[tuple[Any, str]]:
        """What the model was told at last, with how it came."""
        parts = [
            part for message in self.script.heard[-1] for part in message.parts if isinstance(part, ToolReturnPart)
        ]
        return [(part.content, part.outcome) for part in parts]


def done(run: RecordedRun) -> list[tuple[str, str]]:
    return [(event.id, event.status) for event in run.events if isinstance(event, ToolCallDone)]


@behaviour("TK-040")
async def test_a_tool_that_needs_an_approval_waits_and_is_called_once() -> None:
    desk, run = Desk(BOOKING, "Booked."), RecordedRun("a table for two")

    waits = await run.wait(desk.driver)

    assert waits.tickets == (
        TicketRequest(
            key="call_0",
            kind="approval",
            tool_call_id="call_0",
            tool_name="book",
            arguments={"seats": 2},
            message="Book it?",
            expires_in_ms=60_000,
        ),
    )
    assert (desk.done, desk.script.asked) == ([], [0])
    assert run.texts == ["user: a table for two", "assistant: A moment."], "the turn is open"
    run.decide("call_0", "approve")

    await run.drive(desk.driver)

    assert (desk.done, desk.script.asked) == ([2], [0, 1]), "nothing is asked or done twice"
    assert run.texts[2:] == ["tool: booked 2", "assistant: Booked."]
    [event] = [event for event in run.events if isinstance(event, ToolCallDone)]
    assert (event.status, event.ticket_id) == ("succeeded", run.tickets["call_0"].ticket_id)
    assert run.usage.model_calls == 2, "over both executions"


@pytest.mark.parametrize("expires_in_s", [-1, float("nan"), float("inf"), 1e300])
async def test_a_ticket_that_expires_in_no_length_of_time_fails_the_run_in_words(expires_in_s: float) -> None:
    desk, run = Desk(Turn("A moment.", (Call("book_late", {}),))), RecordedRun("go")

    @desk.agent.tool_plain(name="book_late", requires_approval=True, metadata={"expires_in_s": expires_in_s})
    def book_late() -> None: ...

    with pytest.raises(PermanentFailure, match="expires_in_s is"):
        await run.wait(desk.driver)


@behaviour("TK-041", "DS-009", "MBX-291")
async def test_a_denial_is_told_with_its_reason() -> None:
    desk, run = Desk(BOOKING, "Then not."), RecordedRun("go")
    await run.wait(desk.driver)
    run.decide("call_0", "deny", reason="too expensive")
    await run.drive(desk.driver)
    assert desk.answers() == [("too expensive", "denied")]
    assert (desk.done, done(run)) == ([], [("call_0", "denied")])


@behaviour("TK-041")
async def test_an_approval_that_nobody_gives_is_a_denial() -> None:
    desk, run = Desk(BOOKING, "Then not."), RecordedRun("go")
    await run.wait(desk.driver)
    run.expire("call_0")
    await run.drive(desk.driver)
    assert desk.answers() == [("nobody decided in time", "denied")]


@behaviour("TK-042")
async def test_edited_arguments_are_those_of_the_call() -> None:
    desk, run = Desk(BOOKING, "Booked."), RecordedRun("go")
    await run.wait(desk.driver)
    run.decide("call_0", "edit", arguments={"seats": 3})
    await run.drive(desk.driver)
    assert desk.done == [3]
    assert desk.answers() == [("booked 3", "success")]


@behaviour("TK-043", "OS-007")
async def test_a_tool_that_asks_for_an_approval_itself_is_not_run_again_before_it_has_one() -> None:
    desk, run = Desk(Turn("", (Call("pay", {"amount": 5}),)), "Paid."), RecordedRun("go")
    [asked] = (await run.wait(desk.driver)).tickets
    assert (asked.kind, asked.message, desk.done) == ("approval", "Pay 5?", ["asked"])
    assert "open_tickets" in run.commits, "it can be seen before the turn is over"
    await run.wait(desk.driver)
    assert desk.done == ["asked"]
    run.decide("call_0", "approve")
    await run.drive(desk.driver)
    assert desk.done == ["asked", 5]


@behaviour("TK-044")
async def test_a_result_from_outside_is_the_result_of_the_call() -> None:
    desk, run = Desk(Turn("", (Call("fetch", {"what": "news"}),)), "Read."), RecordedRun("go")
    [asked] = (await run.wait(desk.driver)).tickets
    assert (asked.kind, asked.metadata, asked.actions) == ("external", {"job": "news"}, ("answer", "fail"))
    await run.wait(desk.driver)
    run.decide(asked.key, "answer", {"headline": "x"})
    await run.drive(desk.driver)
    assert desk.done == ["news"], "the tool starts its work once"
    assert desk.answers() == [({"headline": "x"}, "success")]
    assert done(run) == [("call_0", "succeeded")]


@behaviour("TK-044")
async def test_a_failure_outside_is_told_to_the_model() -> None:
    for has_failed in (True, False):
        desk, run = Desk(Turn("", (Call("fetch", {"what": "news"}),)), "Sorry."), RecordedRun("go")
        await run.wait(desk.driver)
        if has_failed:
            run.decide("call_0:result", "fail", reason="down")
        else:
            run.expire("call_0:result")
        await run.drive(desk.driver)
        assert [outcome for _, outcome in desk.answers()] == ["failed"]
        assert done(run) == [("call_0", "failed")]


async def test_a_question_of_the_framework_is_a_ticket_for_input() -> None:
    desk, run = Desk(Turn("", (Call("name"),)), "Hello Ann."), RecordedRun("go")
    [asked] = (await run.wait(desk.driver)).tickets
    assert (asked.kind, asked.message, asked.tool_name) == ("input", "Under which name?", "name")
    run.decide(asked.key, "answer", "Ann")
    await run.drive(desk.driver)
    assert desk.answers() == [("Ann", "success")]


@behaviour("TK-045", "OS-007")
async def test_some_of_several_calls_can_go_on_while_others_wait() -> None:
    calls = (
        Call("book", {"seats": 2}, "one"),
        Call("look", {"n": 1}, "two"),
        Call("book", {"seats": 4}, "three"),
        Call("fetch", {"what": "news"}, "four"),
    )
    desk, run = Desk(Turn("", calls), "All done."), RecordedRun("go")
    waits = await run.wait(desk.driver)
    assert sorted(asked.key for asked in waits.tickets) == ["four:result", "one", "three"]
    assert (waits.mode, done(run)) == ("any", [("two", "succeeded")])
    run.decide("three", "approve")

    waits = await run.wait(desk.driver)

    assert sorted(asked.key for asked in waits.tickets) == ["four:result", "one"]
    assert done(run)[1:] == [("three", "succeeded")]
    run.decide("one", "deny", reason="no")
    run.decide("four:result", "answer", "x")
    await run.drive(desk.driver)
    assert sorted(desk.done[:2]) == ["look 1", "news"], "each was done once; the two ran at the same time"
    assert desk.done[2:] == [4]
    assert dict(done(run)) == {"two": "succeeded", "three": "succeeded", "one": "denied", "four": "succeeded"}
    assert desk.script.asked == [0, 1]


@behaviour("TK-046")
async def test_a_crash_at_any_commit_repeats_nothing_that_was_decided_or_done() -> None:
    for nth in range(1, 7):
        calls = (Call("book", {"seats": 2}, "one"), Call("pay", {"amount": 5}, "two"), Call("look", {"n": 1}, "three"))
        desk, run = Desk(Turn("", calls), "All done."), RecordedRun("go")
        try:
            await run.wait(desk.driver, Fault("kill", nth))
        except Killed:
            await run.wait(desk.driver)
        run.decide("one", "approve")
        run.decide("two", "approve")
        try:
            await run.drive(desk.driver, Fault("kill", nth))
        except Killed:
            await run.drive(desk.driver)
        assert sorted(text for text in run.texts if text.startswith("tool")) == [
            "tool: ",
            "tool: booked 2",
            "tool: paid",
        ]
        assert len(done(run)) == 3
        assert desk.script.asked.count(0) <= 2, "once more only when the answer itself was not committed"


@behaviour("TK-047")
async def test_a_question_inside_a_tool_runs_the_tool_again_and_nothing_else() -> None:
    calls = (Call("quiz", {}, "one"), Call("look", {"n": 1}, "two"))
    desk, run = Desk(Turn("", calls), "Thanks."), RecordedRun("go")
    port = run.port()
    desk.context = Context(port, port)
    [asked] = (await run.wait(desk.driver)).tickets
    assert (asked.key, asked.kind, asked.tool_call_id) == ("one/ask#1", "input", "one")
    run.decide("one/ask#1", "answer", "a")
    [asked] = (await run.wait(desk.driver)).tickets
    assert asked.key == "one/ask#2"
    run.decide("one/ask#2", "answer", 2)
    await run.drive(desk.driver)
    assert desk.done == ["quiz", "look 1", "quiz", "quiz"]
    assert desk.answers() == [("a 2", "success"), (1, "success")]


async def test_an_agent_that_declares_deferred_calls_as_output_waits_just_so() -> None:
    desk, run = Desk(BOOKING, "Booked.", output_type=[str, DeferredToolRequests]), RecordedRun("go")
    await run.wait(desk.driver)
    run.decide("call_0", "approve")
    await run.drive(desk.driver)
    assert desk.done == [2]


async def test_an_agent_with_validators_of_its_output_waits_just_so() -> None:
    desk, run = Desk(BOOKING, "Booked."), RecordedRun("go")

    @desk.agent.output_validator
    def check(output: str) -> str:
        return output

    await run.wait(desk.driver)
    run.decide("call_0", "approve")
    assert (await run.drive(desk.driver)).final_output == "Booked."


async def test_a_tool_that_asks_for_ever_fails() -> None:
    script = Script(Turn("", (Call("greedy"),)))
    agent = Agent(script.model())

    @agent.tool_plain
    def greedy() -> str:
        raise ApprovalRequired

    run, driver = RecordedRun("go"), PydanticAIDriver(agent)
    await run.wait(driver)
    run.decide("call_0", "approve")
    with pytest.raises(PermanentFailure, match="again when it has one"):
        await run.drive(driver)


@behaviour("TK-065", "MBX-038")
async def test_a_tool_of_the_caller_is_called_by_a_ticket() -> None:
    desk, run = Desk(Turn("", (Call("scan", {"page": 1}), Call("look", {"n": 1}))), "Scanned."), RecordedRun("go")
    run.options = RunOptions(
        client_tools=(
            ClientTool("scan", "Scan a page", {"type": "object", "properties": {"page": {"type": "integer"}}}),
        )
    )
    [asked] = (await run.wait(desk.driver)).tickets
    assert (asked.kind, asked.tool_name, asked.arguments) == ("client_tool", "scan", {"page": 1})
    assert asked.actions == ("answer", "fail")
    run.decide(asked.key, "answer", {"text": "hello"})
    await run.drive(desk.driver)
    assert sorted(desk.answers(), key=str) == sorted([({"text": "hello"}, "success"), (1, "success")], key=str)


async def test_a_tool_of_the_caller_does_not_have_the_name_of_one_of_the_agent() -> None:
    desk, run = Desk("never"), RecordedRun("go")
    run.options = RunOptions(client_tools=(ClientTool("look", "Look elsewhere", {"type": "object"}),))
    with pytest.raises(PermanentFailure, match="'look' has the name of a tool of the agent"):
        await run.drive(desk.driver)
