"""What agents read and change of their thread's state, and the run they find around themselves."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic_ai import Agent

from awaken import Context, current_run
from awaken.domain.errors import PermanentFailure
from awaken.domain.event import ArtifactWritten
from awaken.domain.message import Json, Text
from awaken.domain.run import ClientTool, Limits, RunOptions
from awaken.domain.state import MAX_STATE_BYTES, ThreadState
from awaken.executors.contract import RunEnds, RunIdentity
from awaken.executors.function import FunctionDriver
from awaken.executors.pydantic_ai import PydanticAIDriver
from awaken.testing.executors import Call, Fault, Killed, RecordedRun, Script, Turn


async def test_a_function_reads_its_own_changes_and_they_leave_when_it_ends() -> None:
    seen: list[Any] = []

    async def agent(ctx: Context) -> None:
        seen.append(await ctx.state.get("n", 0))
        await ctx.state.set("n", 1)
        await ctx.state.patch({"a": {"b": 1}, "old": None})
        await ctx.state.set("a", {"c": 2})
        await ctx.state.remove("n")
        seen.append(await ctx.state.values())
        await ctx.step("one", lambda: 1)
        seen.append(run.state)

    run = RecordedRun("hello")
    run.state = ThreadState({"n": 5, "old": True}, 7)
    before = run.state

    await run.drive(FunctionDriver(agent))

    assert seen == [5, {"a": {"c": 2}}, before]
    assert run.state.values == {"a": {"c": 2}}


async def test_what_an_agent_is_given_of_the_state_is_its_own() -> None:
    async def agent(ctx: Context) -> str:
        (await ctx.state.values())["a"]["b"] = 2
        return str(await ctx.state.values())

    run = RecordedRun("hello")
    run.state = ThreadState({"a": {"b": 1}}, 1)

    outcome = await run.drive(FunctionDriver(agent))

    assert outcome.messages[0].text == "{'a': {'b': 1}}"


async def test_changes_of_an_execution_that_failed_are_dropped() -> None:
    async def agent(ctx: Context) -> None:
        await ctx.state.set("tries", await ctx.state.get("tries", 0) + 1)
        await ctx.step("one", lambda: 1)

    run = RecordedRun("hello")
    with pytest.raises(Killed):
        await run.drive(FunctionDriver(agent), Fault("kill", 1, on="commit_step"))

    await run.drive(FunctionDriver(agent))

    assert run.state.values == {"tries": 1}


@pytest.mark.parametrize(
    ("patch", "words"),
    [
        ({"a": float("nan")}, "cannot be changed so"),
        ({"a": object()}, "cannot be changed so"),
        ({1: 2}, "cannot be changed so"),
        ({"a": "x" * MAX_STATE_BYTES}, "262144"),
    ],
)
async def test_a_change_that_cannot_be_is_the_agents_error_and_changes_nothing(patch: Any, words: str) -> None:
    async def agent(ctx: Context) -> str:
        with pytest.raises(PermanentFailure, match=words):
            await ctx.state.patch(patch)
        return str(await ctx.state.values())

    run = RecordedRun("hello")

    outcome = await run.drive(FunctionDriver(agent))

    assert (outcome.messages[0].text, run.state) == ("{}", ThreadState())


async def test_a_function_finds_itself_as_the_current_run() -> None:
    async def agent(ctx: Context) -> bool:
        return current_run() is ctx

    outcome = await RecordedRun("hello").drive(FunctionDriver(agent))

    assert outcome.final_output == "true"
    with pytest.raises(LookupError, match="where a run is executed"):
        current_run()


async def test_tools_and_deps_find_the_run_around_them() -> None:
    seen: list[Any] = []

    def deps(identity: RunIdentity) -> str:
        seen.append((current_run().identity.run_id, current_run().metadata))
        return "deps"

    script = Script(Turn(calls=(Call("look"),)), "done")
    agent: Agent[Any, Any] = script.agent(deps_type=str)

    @agent.tool_plain
    async def look() -> str:  # pyright: ignore[reportUnusedFunction]
        run = current_run()
        seen.append((run.request.options.overrides, run.request.options.client_tools))
        await run.state.set("seen", await run.state.get("seen", 0) + 1)
        return "found"

    run = RecordedRun("hello")
    run.metadata = {"tenant": "t1"}
    run.options = RunOptions({"temperature": 0}, client_tools=(ClientTool("beep"),))

    await run.drive(PydanticAIDriver(agent, deps=deps))

    assert seen == [
        (run.run_id, {"tenant": "t1"}),
        ({"temperature": 0}, (ClientTool("beep"),)),
    ]
    assert run.state == ThreadState({"seen": 1}, 1)


async def test_a_tool_changes_the_state_with_its_answer() -> None:
    script = Script(Turn(calls=(Call("bump", id="c1"),)), Turn(calls=(Call("bump", id="c2"),)), "done")
    agent = script.agent()

    @agent.tool_plain
    async def bump() -> str:  # pyright: ignore[reportUnusedFunction]
        await current_run().state.set("n", await current_run().state.get("n", 0) + 1)
        return "ok"

    run = RecordedRun("hello")
    with pytest.raises(Killed):
        await run.drive(PydanticAIDriver(agent), Fault("kill", 2, "before", on="commit_tool"))
    assert run.state.values == {"n": 1}

    await run.drive(PydanticAIDriver(agent))

    assert run.state.values == {"n": 2}


async def test_a_step_inside_a_tool_is_known_by_its_call_and_never_repeated() -> None:
    made: list[str] = []
    script = Script(Turn(calls=(Call("pay", {"to": "a"}, id="c1"), Call("pay", {"to": "b"}, id="c2"))), "done")
    agent = script.agent()

    @agent.tool_plain(sequential=True)
    async def pay(to: str) -> str:  # pyright: ignore[reportUnusedFunction]
        return await current_run().step("pay", lambda: made.append(to) or f"paid {to}", str)

    run = RecordedRun("hello")
    with pytest.raises(Killed):
        await run.drive(PydanticAIDriver(agent), Fault("kill", 2, on="commit_step"))
    assert made == ["a", "b"]

    await run.drive(PydanticAIDriver(agent))

    assert made == ["a", "b"]
    assert run.texts[-3:-1] == ["tool: paid a", "tool: paid b"]
    assert run.steps == 2


async def test_a_function_that_has_closed_its_steps_begins_no_other() -> None:
    done: list[int] = []

    async def agent(ctx: Context) -> None:
        for number in range(5):
            await ctx.step("n", lambda number=number: done.append(number))
            await ctx.emit(f"{number} ")

    run = RecordedRun("hello")
    run.options = RunOptions(limits=Limits(max_steps=2))

    with pytest.raises(RunEnds) as ends:
        await run.drive(FunctionDriver(agent))

    assert (done, ends.value.termination.code) == ([0, 1], "max_steps")
    assert [message.text for message in ends.value.messages] == ["0 1 "]


async def test_a_function_that_closes_just_as_many_steps_as_it_may_ends_well() -> None:
    async def agent(ctx: Context) -> str:
        await ctx.step("a", lambda: 1)
        await ctx.step("b", lambda: 1)
        return "done"

    run = RecordedRun("hello")
    run.options = RunOptions(limits=Limits(max_steps=2))

    assert (await run.drive(FunctionDriver(agent))).messages[0].text == "done"


async def test_an_agent_that_has_spent_its_tokens_is_not_asked_again() -> None:
    script = Script(*[Turn(calls=(Call("look", id=f"c{number}"),)) for number in range(9)])
    agent = script.agent(streams=False)

    @agent.tool_plain
    async def look() -> str:  # pyright: ignore[reportUnusedFunction]
        return "found"

    run = RecordedRun("hello")
    run.options = RunOptions(limits=Limits(max_total_tokens=30))

    with pytest.raises(RunEnds) as ends:
        await run.drive(PydanticAIDriver(agent))

    assert (ends.value.termination.type, ends.value.termination.code) == ("stopped", "budget")
    assert script.asked == [0, 1]
    with pytest.raises(RunEnds):
        await run.drive(PydanticAIDriver(agent))
    assert script.asked == [0, 1]


async def test_an_artifact_is_published_under_the_same_id_however_often_the_run_is_executed() -> None:
    async def agent(ctx: Context) -> None:
        report = await ctx.artifact("report.md", "# Report", last=False)
        await ctx.artifact("report.md", [Text("the end")], artifact_id=report, append=True)
        await ctx.artifact("report.md", "another")
        await ctx.step("one", lambda: 1)

    run = RecordedRun("hello")
    with pytest.raises(Killed):
        await run.drive(FunctionDriver(agent), Fault("kill", 1, on="commit_step"))
    await run.drive(FunctionDriver(agent))

    written = [event for event in run.events if isinstance(event, ArtifactWritten)]
    first, more, other = written[:3]
    assert written[3:] == [first, more, other]
    assert (first.name, first.blocks, first.append, first.last) == ("report.md", (Text("# Report"),), False, False)
    assert (more.artifact_id, more.append, more.last) == (first.artifact_id, True, True)
    assert other.artifact_id != first.artifact_id


@pytest.mark.parametrize(
    ("name", "content", "artifact_id"),
    [
        ("", 5, None),
        (5, "x", None),
        ("a\n", "x", None),
        ("a", Json(float("nan")), None),
        ("a", "x", "\n"),
        ("a", [5], None),
    ],
)
async def test_an_artifact_that_cannot_be_published_is_the_agents_error(
    name: Any, content: Any, artifact_id: Any
) -> None:
    async def agent(ctx: Context) -> None:
        await ctx.artifact(name, content, artifact_id=artifact_id)

    with pytest.raises(PermanentFailure):
        await RecordedRun("hello").drive(FunctionDriver(agent))
