"""The demo agents: pleasant to talk to, and honest about what they did twice."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Literal

import pytest
from pydantic_ai import Agent

from awaken.domain.event import TextDelta
from awaken.domain.message import Role
from awaken.domain.shown import Ticket
from awaken.executors.demo import add_demo_agents
from awaken.executors.demo.assistant import calculate, make_assistant
from awaken.executors.demo.concierge import make_concierge
from awaken.executors.demo.slow import DELTAS_PER_STEP, STEPS, make_slow, read_notes
from awaken.executors.function import Context
from awaken.executors.pydantic_ai import PydanticAIDriver
from awaken.executors.registry import Agents
from awaken.testing.clock import ManualClock
from awaken.testing.executors import Fault, Killed, RecordedRun, driving
from awaken.wiring import Awaken


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


def test_the_agents_are_added() -> None:
    agents = demo(ManualClock())
    assert agents.ids() == ("echo", "assistant", "slow", "concierge", "researcher")
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


async def test_slow_notes_what_it_is_told_on_its_way_and_goes_on() -> None:
    clock = ManualClock()
    app = Awaken("memory://", clock=clock)
    app.agent("slow", make_slow(clock, steps=3, deltas_per_step=1, delta_delay_s=1))
    await app.agents.load_all()  # which otherwise goes on in a thread while the clock is moved
    async with app, asyncio.timeout(20):
        run = await app.submit("t", "go", agent="slow")
        await clock.advance(0.5)
        sent = await app.steer("t", "mind the gap")
        assert sent.run_id == run.run_id
        await clock.advance(10)
        said = [message.text async for message in app.messages("t") if message.role == "assistant"]
        assert said == ["[1/3] ", "noted: mind the gap\n[2/3] ", "[3/3] "]
        receipt = await app.receipt(sent.message_ids[0])
        assert (receipt.fate, receipt.run_id) == ("consumed", run.run_id)


# --- the concierge ----------------------------------------------------------------------------------------------------


@asynccontextmanager
async def hotel(found: asyncio.Event | None = None) -> AsyncGenerator[Awaken]:
    """A concierge, and a researcher who needs no time, or until `found`."""
    app = Awaken("memory://")

    async def researcher(ctx: Context) -> str:
        if found is not None:
            await found.wait()
        return f"{await ctx.input()} are worth knowing about"

    app.agent("concierge", make_concierge(ManualClock(), token_delay_s=0))
    app.agent("researcher", researcher)
    async with app, asyncio.timeout(20):
        yield app


async def waiting(app: Awaken, said: str) -> tuple[str, Ticket]:
    """Say it, and the run and its ticket once it waits."""
    run = await app.submit("t", said, agent="concierge")
    async for event in app.events("t", after=None):
        if event.kind == "RunSuspended":
            break
    [ticket] = await app.list_tickets(run_id=run.run_id, state="open")
    return run.run_id, ticket


@pytest.mark.parametrize(
    ("action", "says"), [("approve", "Done: a table for two is booked."), ("deny", "No: full house.")]
)
async def test_the_concierge_books_a_table_only_when_somebody_approves(
    action: Literal["approve", "deny"], says: str
) -> None:
    async with hotel() as app:
        run_id, ticket = await waiting(app, "book a table for two")
        assert (ticket.kind, ticket.tool_name, ticket.arguments) == ("approval", "book_table", {"people": "two"})
        await app.decide(ticket.ticket_id, action, reason=None if action == "approve" else "full house")
        assert (await app.wait(run_id, timeout_s=10)).output == says


async def test_the_concierge_asks_for_a_name() -> None:
    async with hotel() as app:
        run_id, ticket = await waiting(app, "book a table under my name")
        assert (ticket.kind, ticket.message) == ("input", "Under which name?")
        await app.decide(ticket.ticket_id, "answer", result="Ann")
        assert (await app.wait(run_id, timeout_s=10)).output == "Done: a table is booked under the name Ann."


async def test_the_concierge_has_something_researched_and_brings_the_news() -> None:
    found = asyncio.Event()
    async with hotel(found) as app:
        first = await app.run("t", "research otters", agent="concierge")
        assert first.output == "Done: somebody looks up otters, and you will hear of it."
        found.set()
        async for event in app.events("t", after=first.cursor):
            if event.kind == "RunFinished":
                break
        [news] = [run async for run in app.list_runs(thread_id="t") if run.run_id != first.run_id]
        assert news.output == "News: otters are worth knowing about"
