"""Ids of tool calls: in the thread each is used once, and the framework has its own back."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic_ai.messages import ModelRequest, ModelResponse, ToolReturnPart

from awaken.domain.event import ToolCallDelta, ToolCallDone, ToolCallReady, ToolCallStarted
from awaken.domain.ids import MessageId
from awaken.domain.message import Message, Role, ToolCall
from awaken.executors.call_ids import CallIds
from awaken.executors.pydantic_ai import PydanticAIDriver
from awaken.testing.clock import ManualClock
from awaken.testing.executors import Call, Fault, Killed, RecordedRun, Script, Turn

FIRST, SECOND = MessageId("first"), MessageId("second")


def test_an_id_of_a_models_own_is_kept_while_it_is_new() -> None:
    ids = CallIds([])
    ids.open_turn(FIRST)
    assert (ids.unique("a"), ids.unique("b"), ids.unique("a")) == ("a", "b", "a")


def test_calls_that_share_an_id_or_have_none_are_told_apart() -> None:
    ids = CallIds([])
    ids.open_turn(MessageId("turn"))

    assert [ids.unique("c", nth) for nth in range(3)] == ["c", "c.1", "c.2"]
    assert [ids.unique(" ", nth) for nth in range(2)] == ["turn.call", "turn.call.1"]
    assert [ids.unique("c", 1), ids.unique("c.1"), ids.unique("turn.call")] == ["c.1", "c.1", "turn.call"]
    ids.open_turn(MessageId("next"))
    assert [ids.unique("c.1"), ids.unique(""), ids.unique("half \ud83d")] == ["next.c.1", "next.call", "half \ufffd"]


def test_a_repeated_id_gets_the_turn_in_front() -> None:
    ids = CallIds([Message(id=FIRST, role=Role.ASSISTANT, tool_calls=(ToolCall("a", "tool"),))])
    ids.open_turn(SECOND)
    assert (ids.unique("a"), ids.unique("a"), ids.unique("b")) == ("second.a", "second.a", "b")
    ids.open_turn(MessageId("third"))
    assert (ids.unique("a"), ids.unique("b")) == ("third.a", "third.b")


# --- in a conversation ------------------------------------------------------------------------------------------------

ALWAYS_THE_SAME = (Turn("", (Call("look", {}, "call_0"),)), Turn("", (Call("look", {}, "call_0"),)), "done")


async def look() -> str:
    return "seen"


def looking(script: Script) -> PydanticAIDriver:
    return PydanticAIDriver(script.agent(tools=[look]), clock=ManualClock())


def ids_of(run: RecordedRun, kind: type[Any]) -> list[str]:
    found: list[Any] = [event for event in run.events if isinstance(event, kind)]
    return [event.id for event in found]


@pytest.mark.parametrize("nth", range(7))
async def test_no_two_calls_of_a_thread_share_an_id_wherever_a_kill_strikes(nth: int) -> None:
    driver = looking(Script(*ALWAYS_THE_SAME, *ALWAYS_THE_SAME))
    run = RecordedRun("go")
    if nth:
        with pytest.raises(Killed):
            await run.drive(driver, Fault("kill", nth))
    await run.drive(driver)
    run.begin("again")
    await run.drive(driver)

    made = [call.id for message in run.messages for call in message.tool_calls]
    assert len(made) == len(set(made)) == 4
    assert [message.tool_call_id for message in run.messages if message.role is Role.TOOL] == made
    assert ids_of(run, ToolCallReady) == ids_of(run, ToolCallDone) == made
    assert set(made) <= set(ids_of(run, ToolCallStarted)) == set(ids_of(run, ToolCallDelta))


async def test_the_model_hears_its_own_ids() -> None:
    script = Script(*ALWAYS_THE_SAME)
    await RecordedRun("go").drive(looking(script))

    heard = script.heard[-1]
    called = [
        part.tool_call_id for message in heard if isinstance(message, ModelResponse) for part in message.tool_calls
    ]
    assert called == answered(heard) == ["call_0", "call_0"]


async def test_an_answer_that_the_queue_wrote_for_a_renamed_call_has_the_models_id_too() -> None:
    """It has no sidecar: a run was stopped before its call was answered."""
    script = Script(*ALWAYS_THE_SAME, "hello")
    run = RecordedRun("go")
    with pytest.raises(Killed):
        await run.drive(looking(script), Fault("kill", 2, "before", on="commit_tool"))

    run.begin("again")
    await run.drive(looking(script))

    assert run.messages[3].tool_calls[0].id == f"{run.messages[3].id}.call_0"
    assert answered(script.heard[-1]) == ["call_0", "call_0"]


def answered(messages: list[Any]) -> list[str]:
    requests = [message for message in messages if isinstance(message, ModelRequest)]
    return [part.tool_call_id for request in requests for part in request.parts if isinstance(part, ToolReturnPart)]
