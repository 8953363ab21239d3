"""The demo agents: pleasant to talk to, and honest about what they did twice."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from pydantic_ai import Agent

from awaken.domain.event import TextDelta
from awaken.domain.message import Role
from awaken.executors.demo import add_demo_agents
from awaken.executors.demo.assistant import calculate, make_assistant
from awaken.executors.demo.slow import DELTAS_PER_STEP, STEPS, make_slow, read_notes
from awaken.executors.pydantic_ai import PydanticAIDriver
from awaken.executors.registry import Agents
from awaken.testing.clock import ManualClock
from awaken.testing.executors import Fault, Killed, RecordedRun, driving


def demo(clock: ManualClock, **environment: str) -> Agents:
    agents = Agents(clock)
    add_demo_agents(agents, clock=clock, environment=environment)
    return agents


def texts(run: RecordedRun) -> list[str]:
    return [event.delta for event in run.events if isinstance(event, TextDelta)]


async def answer(said: str) -> str:
    clock = ManualClock()
    run = RecordedRun(said)
    await run.drive(PydanticAIDriver(make_assistant(clock, token_delay_s=0), clock=clock))
    return run.messages[-1].text


def test_three_agents_are_added() -> None:
    agents = demo(ManualClock())
    assert agents.ids() == ("echo", "assistant", "slow")
    assert all(info.description for info in agents.describe())


async def test_echo_says_the_same_word_by_word() -> None:
    run = RecordedRun("to be  or not")
    await run.drive(demo(ManualClock()).driver("echo"))

    assert texts(run) == ["to", " be", " ", " or", " not"]
    assert run.texts[-1] == "assistant: to be  or not"


@pytest.mark.parametrize(
    ("said", "says"),
    [
        ("what is 12 * (3 + 4)?", "That makes 84."),
        ("2^10", "That makes 1024."),
        ("-3 - 4", "That makes -7."),
        ("count the words: to be or not to be", "I count 6 words."),
        ("How many words are in this: hello", "I count 1 word."),
        ("1 / 0", "That did not work: '1 / 0' cannot be worked out: division by zero"),
        ("good morning", 'You said: "good morning". I am a scripted model'),
        ("it is 2027", 'You said: "it is 2027". I am a scripted model'),
    ],
)
async def test_the_assistant_uses_its_tools(said: str, says: str) -> None:
    assert (await answer(said)).startswith(says)


async def test_the_assistant_streams_token_by_token_at_a_readable_pace() -> None:
    clock = ManualClock()
    run = RecordedRun("hello")
    task = driving(run, PydanticAIDriver(make_assistant(clock), clock=clock))
    await clock.advance(0.5)
    early = len(texts(run))
    await clock.advance(10)
    await task

    assert 0 < early < len(texts(run))
    assert "".join(texts(run)) == run.messages[-1].text


@pytest.mark.parametrize(
    "expression", ["__import__('os')", "'a' * 9", "9 ** 9 ** 9", "10 ** 1000 * 10 ** 1000", "", "(1"]
)
async def test_the_calculator_takes_nothing_but_arithmetic(expression: str) -> None:
    with pytest.raises(Exception, match="cannot be worked out"):
        await calculate(expression)


def test_a_real_model_is_used_when_one_is_named() -> None:
    agent: Agent[Any, str] = make_assistant(ManualClock(), model="test")
    assert type(agent.model).__name__ == "TestModel"


async def test_slow_takes_two_seconds_a_step_and_notes_what_it_does(tmp_path: Path) -> None:
    clock, log = ManualClock(), tmp_path / "notes"
    run = RecordedRun("go")
    agents = demo(clock, AWAKEN_SLOW_LOG=str(log))
    driver = PydanticAIDriver(make_slow(clock, log=log), clock=clock)
    assert agents.driver("slow") is not None

    task = driving(run, driver)
    await clock.advance(2.01)
    assert len(texts(run)) == DELTAS_PER_STEP
    await clock.advance(20)
    await task

    assert len(texts(run)) == STEPS * DELTAS_PER_STEP
    assert [m.role for m in run.messages].count(Role.TOOL) == STEPS - 1
    done = [note.what for note in read_notes(log) if note.state == "done"]
    assert (done.count("model"), done.count("tool")) == (STEPS, STEPS - 1)


async def test_the_notes_of_slow_show_that_nothing_finished_is_repeated(tmp_path: Path) -> None:
    log = tmp_path / "notes"
    clock = ManualClock()
    driver = PydanticAIDriver(make_slow(clock, log=log, steps=3, deltas_per_step=4, delta_delay_s=0), clock=clock)
    run = RecordedRun("go")
    with pytest.raises(Killed):
        await run.drive(driver, Fault("kill", 10, "after", on="emit"))
    with log.open("ab") as file:
        file.write(b'{"what":"mo')  # what a kill leaves of a line

    await run.drive(driver)

    notes = read_notes(log)
    done = [(note.what, note.call) for note in notes if note.state == "done"]
    assert len(done) == len(set(done))
    assert len([note for note in notes if note.state == "started"]) > len(done), "what was cut off began again"


async def test_a_second_run_of_slow_on_the_same_thread_starts_over() -> None:
    clock = ManualClock()
    driver = PydanticAIDriver(make_slow(clock, steps=2, deltas_per_step=1, delta_delay_s=0), clock=clock)
    run = RecordedRun("go")
    await run.drive(driver)
    run.begin("again")
    await run.drive(driver)

    steps = [m.text for m in run.messages if m.role is Role.ASSISTANT]
    assert steps == ["[1/2] ", "[2/2] ", "[1/2] ", "[2/2] "]
