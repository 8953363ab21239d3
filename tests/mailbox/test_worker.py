"""One claim, from execution to settlement: whatever the agent does, its run ends in one of the ways there are."""

from __future__ import annotations

import asyncio
import logging
import math
import sqlite3
import sys
from collections.abc import AsyncIterator
from contextlib import closing
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from awaken.domain.dispatch import DispatchStatus
from awaken.domain.errors import AgentNotFound, LeaseLost, PermanentFailure, TransientFailure
from awaken.domain.event import InferenceComplete
from awaken.domain.ids import DEFAULT_SCOPE, MessageId, RunId, ThreadId
from awaken.domain.message import Message, Role, assistant_message, user_message
from awaken.domain.run import NATURAL_END, RunStatus, Termination, Usage
from awaken.domain.thread import ThreadInfo
from awaken.executors.contract import Finished, RunEnds
from awaken.executors.function import Context
from awaken.executors.pydantic_ai import PydanticAIDriver
from awaken.mailbox.settings import MailboxSettings
from awaken.mailbox.submission import Submission
from awaken.store.contract import DispatchQuery
from awaken.store.sqlite import SqliteStore
from awaken.store.transitions import Ack, DeadLetter, Retry, Settle
from awaken.testing.behaviour import behaviour
from awaken.testing.clock import ManualClock
from awaken.testing.events import text_delta
from awaken.testing.executors import Call as ToolUse
from awaken.testing.executors import Script, Turn
from awaken.testing.mailboxes import WatchedStore, World


async def _quick(context: Context) -> None:
    return None


async def ended(world: World, submission: Submission) -> tuple[DispatchStatus, str | None, int]:
    """Where the dispatch stands once everything is at rest."""
    await world.quiet()
    dispatch = await world.dispatch(submission)
    return dispatch.status, dispatch.last_error, dispatch.attempt_count


@behaviour("MBX-015")
def test_an_ending_carries_what_it_says() -> None:
    assert (Retry("busy").error, DeadLetter("gone").error) == ("busy", "gone")
    assert "busy" in repr(Retry("busy")) and "gone" in repr(DeadLetter("gone"))
    assert Ack(Termination("natural_end"), "hi").final_output == "hi"


# --- success ----------------------------------------------------------------------------------------------------------


@behaviour("MBX-062")
async def test_a_run_that_succeeds_is_consumed_with_its_answer(store: WatchedStore, clock: ManualClock) -> None:
    async with World(store, clock) as world:
        submission = await world.submit()
        (await world.agent.next_call()).release("finished")
        run = await world.done(submission)
        dispatch = await world.dispatch(submission)

        assert (run.status, run.termination, run.final_output) == (
            RunStatus.DONE,
            Termination("natural_end"),
            "finished",
        )
        assert (dispatch.status, dispatch.last_error, dispatch.completed_at) == (
            DispatchStatus.ACKED,
            None,
            clock.now(),
        )
        assert dispatch.instance_id and dispatch.dispatch_id != run.run_id
        await world.quiet()
        assert world.ledger.labels == ["completed"]


@behaviour("MBX-063")
async def test_a_settlement_the_store_refuses_is_asked_for_again(store: WatchedStore, clock: ManualClock) -> None:
    """Result and settlement are one transaction, so there is no result without its settlement to recover."""
    async with World(store, clock) as world:
        submission = await world.submit()
        call = await world.agent.next_call()
        store.fail_once(Settle)
        call.release("finished")
        await world.quiet()
        assert (await world.run(submission)).status is RunStatus.RUNNING

        await world.advance(1)

        assert (await world.run(submission)).final_output == "finished"
        assert await ended(world, submission) == (DispatchStatus.ACKED, None, 0)
        assert len(world.agent.calls) == 1


# --- failure ----------------------------------------------------------------------------------------------------------


@behaviour("MBX-064", "MBX-119")
async def test_a_run_whose_agent_has_vanished_waits_until_it_is_there_again(
    store: WatchedStore, clock: ManualClock
) -> None:
    async with store:
        async with World(store, clock, agents={"gone": _quick}, executes=False) as world:
            submission = await world.submit(agent_id="gone")
        async with World(store, clock, seed=2) as world:
            await world.advance(3_600)
            assert await ended(world, submission) == (DispatchStatus.QUEUED, None, 0)
            assert world.ledger.begun == 0

            world.agents.add("gone", _quick)
            assert (await world.done(submission)).termination == NATURAL_END
            assert await ended(world, submission) == (DispatchStatus.ACKED, None, 0)


@behaviour("MBX-087")
async def test_an_agent_that_does_not_find_another_one_fails_and_goes_on_being_served(
    store: WatchedStore, clock: ManualClock
) -> None:
    """What it raises looks as if it were itself that is not here."""

    async def asking(context: Context) -> str:
        if await context.input() == "fail":
            raise AgentNotFound("another")
        return "done"

    async with World(store, clock, agents={"asking": asking}) as world:
        failed = await world.done(await world.submit("fail", agent_id="asking"))
        assert failed.termination is not None
        assert (failed.termination.type, failed.dead_lettered) == ("error", True)
        assert (await world.done(await world.submit("work", agent_id="asking"))).final_output == "done"


@behaviour("MBX-072")
async def test_a_permanent_failure_is_dead_lettered_after_one_execution(
    store: WatchedStore, clock: ManualClock
) -> None:
    async with World(store, clock) as world:
        submission = await world.submit()
        (await world.agent.next_call()).fail(PermanentFailure("unauthorized"))

        status, error, attempts = await ended(world, submission)
        assert (status, len(world.agent.calls)) == (DispatchStatus.DEAD_LETTER, 1)
        assert error is not None and "unauthorized" in error and attempts < 5
        assert world.ledger.labels == ["permanent_error"]


@behaviour("MBX-073")
async def test_a_transient_failure_goes_back_to_the_queue_for_as_long_as_the_provider_asks(
    store: WatchedStore, clock: ManualClock
) -> None:
    async with World(store, clock) as world:
        submission = await world.submit()
        (await world.agent.next_call()).fail(TransientFailure("rate limited", retry_after_s=3_600))

        assert await ended(world, submission) == (DispatchStatus.QUEUED, "rate limited", 1)
        await world.advance(3_599)
        assert len(world.agent.calls) == 1
        await world.advance(1)
        assert len(world.agent.calls) == 2
        assert world.ledger.labels == ["transient_error"]


async def test_five_failures_are_one_too_many(store: WatchedStore, clock: ManualClock) -> None:
    async with World(store, clock) as world:
        submission = await world.submit()
        begun: list[float] = []
        for _ in range(5):
            call = await world.agent.next_call()
            begun.append(clock.monotonic())
            call.fail(TransientFailure("busy"))
            await world.advance(10)

        assert [round(later - sooner, 3) for sooner, later in pairwise(begun)] == [10.0] * 4
        assert await ended(world, submission) == (DispatchStatus.DEAD_LETTER, "busy", 5)
        assert (await world.run(submission)).status is RunStatus.DONE
        await world.advance(100)
        assert len(world.agent.calls) == 5


@behaviour("D-003")
async def test_a_retry_runs_at_its_exact_instant_without_any_other_activity(
    store: WatchedStore, clock: ManualClock
) -> None:
    async with World(store, clock) as world:
        await world.submit()
        for delay_s in (0.25, 0.5, 1.0, 2.0):
            (await world.agent.next_call()).fail(TransientFailure("busy"))
            await world.quiet()
            calls = len(world.agent.calls)
            await world.advance(delay_s - 0.001)
            assert len(world.agent.calls) == calls
            await world.advance(0.001)
            assert len(world.agent.calls) == calls + 1


@behaviour("MBX-074")
async def test_a_storm_of_permanent_failures_costs_one_execution_each(store: WatchedStore, clock: ManualClock) -> None:
    begun: list[ThreadId] = []

    async def broke(context: Context) -> None:
        begun.append(context.identity.thread_id)
        raise PermanentFailure("quota exceeded")

    async with World(
        store, clock, agents={"broke": broke}, settings=MailboxSettings(drain_s=0, max_concurrent_runs=7)
    ) as world:
        submissions = await asyncio.gather(*[world.submit(thread_id=f"t{n}", agent_id="broke") for n in range(50)])
        for submission in submissions:
            await world.done(submission)

        counts = await store.count_dispatches()
        assert (counts[DispatchStatus.DEAD_LETTER], sum(counts.values())) == (50, 50)
        assert sorted(begun) == sorted(f"t{n}" for n in range(50))
        await world.quiet()
        assert world.free_slots == 7


@behaviour("MBX-075")
async def test_a_dead_letter_the_store_refuses_at_first_still_comes(store: WatchedStore, clock: ManualClock) -> None:
    settings = MailboxSettings(lease_ms=300, renew_interval_s=0.1, stop_margin_s=0.05, drain_s=0)
    async with World(store, clock, settings=settings) as world:
        submission = await world.submit()
        call = await world.agent.next_call()
        store.fail_once(Settle)
        call.fail(PermanentFailure("no"))

        await world.advance(5)

        assert (await ended(world, submission))[0] is DispatchStatus.DEAD_LETTER
        assert len(world.agent.calls) == 1, "the settlement is repeated, not the run"


class Unprintable(Exception):
    def __str__(self) -> str:
        raise RuntimeError("no text either")


class OnlyBase(BaseException):
    """Nothing that `except Exception` would catch."""


ODD_ERRORS: list[BaseException] = [
    Unprintable(),
    Exception(),
    Exception("\ud800 is half a character"),
    Exception("x" * 100_000),
    OnlyBase("base"),
    SystemExit(3),
    KeyboardInterrupt(),
    BaseExceptionGroup("group", [asyncio.CancelledError(), OnlyBase("inside")]),
    ExceptionGroup("group", [TransientFailure("busy")]),
    asyncio.CancelledError("by myself"),
    LeaseLost("d1", "says the agent"),
]


@behaviour("UC-001")
@pytest.mark.parametrize("error", ODD_ERRORS, ids=lambda error: type(error).__name__)
async def test_whatever_an_agent_raises_ends_its_run_and_touches_no_other(
    store: WatchedStore, clock: ManualClock, error: BaseException, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.CRITICAL, logger="awaken.worker")  # pytest-xdist cannot report half a character

    async def odd(context: Context) -> None:
        raise error

    async with World(store, clock, agents={"odd": odd}) as world:
        neighbour = await world.submit(thread_id="neighbour")
        submission = await world.submit(agent_id="odd", max_attempts=1)

        run = await world.done(submission)
        dispatch = await world.dispatch(submission)
        assert (dispatch.status, run.status) == (DispatchStatus.DEAD_LETTER, RunStatus.DONE)
        assert dispatch.last_error and len(dispatch.last_error) <= 4_000
        (await world.agent.next_call()).release("well")
        assert (await world.done(neighbour)).final_output == "well"
        await world.quiet()
        assert world.free_slots == 100


@behaviour("UC-002")
@pytest.mark.parametrize("asked", [SystemExit, KeyboardInterrupt])
@pytest.mark.parametrize("place", ["child", "group", "step", "thread"])
async def test_an_agent_that_asks_the_process_to_end_ends_its_own_run(
    store: WatchedStore, clock: ManualClock, place: str, asked: type[BaseException]
) -> None:
    def leave() -> None:
        raise asked

    async def child() -> None:
        leave()

    async def odd(context: Context) -> None:
        match place:
            case "child":
                await asyncio.gather(asyncio.create_task(child()), child())
            case "group":
                async with asyncio.TaskGroup() as group:
                    group.create_task(child())
            case "step":
                await context.step("leave", leave)
            case _:
                await asyncio.to_thread(leave)

    async with World(store, clock, agents={"odd": odd}) as world:
        neighbour = await world.submit(thread_id="neighbour")
        run = await world.done(await world.submit(agent_id="odd", max_attempts=1))
        (await world.agent.next_call()).release("well")

        assert run.termination is not None and asked.__name__ in (run.termination.detail or "")
        assert (await world.done(neighbour)).final_output == "well"


async def test_a_tool_that_calls_exit_has_a_failed_answer_and_its_neighbours_go_on(
    store: WatchedStore, clock: ManualClock
) -> None:
    """As a parser of arguments does, below a framework that runs tools in tasks of its own."""

    async def convert() -> str:
        return sys.exit(2)

    script = Script(Turn("", (ToolUse("convert"),)), "I could not convert it.")
    driver = PydanticAIDriver(script.agent(tools=[convert]), clock=clock)
    async with World(store, clock, agents={"converts": driver}) as world:
        neighbour = await world.submit(thread_id="neighbour")
        run = await world.done(await world.submit(agent_id="converts"))
        (await world.agent.next_call()).release("well")

        assert (run.termination, run.final_output) == (NATURAL_END, "I could not convert it.")
        assert await world.texts() == ["hello", "", "SystemExit", "I could not convert it."]
        assert (await world.done(neighbour)).final_output == "well"


@behaviour("UC-001")
@pytest.mark.parametrize("where", ["a function", "a generator", "a step", "a task"])
async def test_a_generator_exit_of_an_agents_own_ends_its_run_like_any_other_exception(
    store: WatchedStore, clock: ManualClock, where: str
) -> None:
    """It ends no coroutine of ours: one that is thrown away gets the like from outside its task."""

    def leave() -> None:
        raise GeneratorExit

    async def leave_later() -> None:
        raise GeneratorExit

    async def function(context: Context) -> None:
        if where == "a step":
            await context.step("leave", leave)
        if where == "a task":
            await asyncio.create_task(leave_later())
        raise GeneratorExit

    async def generator(context: Context) -> AsyncIterator[str]:
        yield "so "
        raise GeneratorExit

    agents: dict[str, Any] = {"leaves": generator if where == "a generator" else function}
    async with World(store, clock, agents=agents) as world:
        run = await world.submit(agent_id="leaves", max_attempts=2)
        await world.advance(10)

        dispatch = await world.dispatch(run)
        assert (dispatch.status, dispatch.attempt_count) == (DispatchStatus.DEAD_LETTER, 2)
        assert (await world.run(run)).termination == Termination("error", detail="GeneratorExit")
        assert world.free_slots == 100


@behaviour("UC-003")
async def test_what_an_agent_raises_is_logged_whole_and_published_by_its_class(
    store: WatchedStore, clock: ManualClock, caplog: pytest.LogCaptureFixture
) -> None:
    async def leaks(context: Context) -> None:
        raise OSError("password=hunter2")

    async with World(store, clock, agents={"leaks": leaks}) as world:
        submission = await world.submit(agent_id="leaks", max_attempts=2)
        with caplog.at_level(logging.WARNING):
            await world.advance(10)

        run, dispatch = await world.run(submission), await world.dispatch(submission)
        rows = await store.list_events(DEFAULT_SCOPE, ThreadId("t"), after=0, limit=1_000)
        shown = [str(run), str(dispatch), *[str(event) for row in rows for event in row.events]]
        assert run.termination == Termination("error", detail="OSError")
        assert not [each for each in shown if "hunter2" in each]

    told = [(record.levelname, record.exc_info is not None) for record in caplog.records]
    assert told == [("WARNING", True), ("WARNING", True), ("ERROR", False)]
    assert "is given up: OSError" in caplog.records[-1].getMessage()
    assert "hunter2" in caplog.text


async def test_of_an_agent_that_exposes_its_errors_everybody_gets_the_text(
    store: WatchedStore, clock: ManualClock
) -> None:
    async def leaks(context: Context) -> None:
        raise KeyError("no such order")

    async with World(store, clock) as world:
        world.agents.add("open", leaks, expose_tool_errors=True)
        run = await world.done(await world.submit(agent_id="open"))
        assert run.termination == Termination("error", detail="KeyError: 'no such order'")


@behaviour("UC-004")
@pytest.mark.parametrize("mistake", [AttributeError, NameError, TypeError, KeyError, ImportError, NotImplementedError])
async def test_a_typo_is_paid_for_once(store: WatchedStore, clock: ManualClock, mistake: type[Exception]) -> None:
    begun: list[int] = []

    async def wrong(context: Context) -> None:
        begun.append(1)
        raise mistake

    async with World(store, clock, agents={"wrong": wrong}) as world:
        submission = await world.submit(agent_id="wrong")
        await world.advance(60)
        assert (await world.dispatch(submission)).status is DispatchStatus.DEAD_LETTER
        assert begun == [1]


@behaviour("UC-005")
@pytest.mark.parametrize("ending", [PermanentFailure("no"), TransientFailure("busy")])
@pytest.mark.parametrize("then", ["given up", "cancelled"])
async def test_a_run_that_ends_in_error_reports_the_model_calls_in_its_log(
    store: WatchedStore, clock: ManualClock, ending: Exception, then: str
) -> None:
    """However it ends, a crash included: they are counted when they are logged."""
    one = Usage(input_tokens=7, output_tokens=3, model_calls=1)

    async def asks(context: Context) -> None:
        await context.emit(InferenceComplete(context.message_id, one, 5))
        await context.step(f"remember {len(context_ids)}", lambda: context_ids.append(1))
        await context.emit(InferenceComplete(context.message_id, one, 5))
        raise ending

    context_ids: list[int] = []
    async with World(store, clock, agents={"asks": asks}) as world:
        submission = await world.submit(agent_id="asks", max_attempts=2)
        await world.quiet()
        if then == "cancelled" and isinstance(ending, TransientFailure):
            await world.mailbox.cancel(DEFAULT_SCOPE, submission.run.run_id)
        await world.advance(60)

        run = await world.run(submission)
        calls = (await world.kinds(submission)).count("InferenceComplete")
        assert run.status is RunStatus.DONE
        assert run.usage == Usage(7 * calls, 3 * calls, model_calls=calls)


@behaviour("UC-014")
async def test_steps_whose_names_differ_each_time_do_not_keep_a_run_alive(
    store: WatchedStore, clock: ManualClock
) -> None:
    begun: list[int] = []

    async def drifts(context: Context) -> None:
        begun.append(1)
        await context.step(f"at {len(begun)}", lambda: None)
        raise TransientFailure("busy")

    async with World(store, clock, agents={"drifts": drifts}) as world:
        submission = await world.submit(agent_id="drifts", max_attempts=3)
        await world.advance(600)
        assert await ended(world, submission) == (DispatchStatus.DEAD_LETTER, "busy", 3)
        assert len(begun) == 3, "the first step is progress, the others are not"


@behaviour("UC-013")
async def test_a_result_beyond_the_bound_is_refused_after_one_effect(store: WatchedStore, clock: ManualClock) -> None:
    effects: list[int] = []

    def large() -> str:
        effects.append(1)
        return "x" * 100

    async def agent(context: Context) -> None:
        await context.step("fits", lambda: "x" * 98)
        await context.step("large", large)

    settings = MailboxSettings(drain_s=0, max_result_bytes=100)
    async with World(store, clock, agents={"agent": agent}, settings=settings) as world:
        submission = await world.submit(agent_id="agent")
        await world.advance(60)

        run = await world.run(submission)
        assert run.termination is not None and "102 bytes" in (run.termination.detail or "")
        assert "max_result_bytes" in (run.termination.detail or "")
        assert (len(effects), run.steps) == (1, 1)


async def test_an_agent_that_cancels_its_own_task_has_failed(store: WatchedStore, clock: ManualClock) -> None:
    async def suicidal(context: Context) -> None:
        task = asyncio.current_task()
        assert task is not None
        task.cancel()
        await asyncio.Event().wait()

    async with World(store, clock, agents={"suicidal": suicidal}) as world:
        submission = await world.submit(agent_id="suicidal", max_attempts=1)

        assert (await world.done(submission)).termination is not None
        assert (await ended(world, submission))[0] is DispatchStatus.DEAD_LETTER


@pytest.mark.parametrize(
    "returned",
    [
        assistant_message(MessageId(""), "no id"),
        Message(id=MessageId("m"), role=Role.TOOL),
        [assistant_message(MessageId("m"), "one"), assistant_message(MessageId("m"), "two")],
        Finished(termination=Termination("suspended")),
    ],
    ids=["blank id", "no call", "twice", "suspended"],
)
async def test_an_answer_that_cannot_be_stored_dead_letters_only_its_own_run(
    store: WatchedStore, clock: ManualClock, returned: Any
) -> None:
    async with World(store, clock) as world:
        submissions = [await world.submit(thread_id=f"t{n}") for n in range(3)]
        calls = [await world.agent.next_call() for _ in submissions]
        for call, answer in zip(calls, ("fine", returned, "fine too"), strict=True):
            call.release(answer)

        runs = [await world.done(submission) for submission in submissions]
        assert [run.termination and run.termination.type for run in runs] == ["natural_end", "error", "natural_end"]


@behaviour("UC-009")
@pytest.mark.parametrize(
    ("returned", "output", "detail"),
    [
        ("half \ud800", "half \ufffd", None),
        (Finished(final_output="half \ud800"), "half \ufffd", None),
        (Finished(termination=Termination("blocked", detail="half \ud800")), None, "half \ufffd"),
        ({"ratio": math.nan}, '{"ratio":"NaN"}', None),
    ],
    ids=["text", "output", "detail", "number"],
)
async def test_an_answer_with_something_that_is_no_json_by_chance_is_mended(
    store: WatchedStore, clock: ManualClock, returned: Any, output: str | None, detail: str | None
) -> None:
    async with World(store, clock) as world:
        submission = await world.submit()
        (await world.agent.next_call()).release(returned)
        run = await world.done(submission)
        assert run.termination is not None and run.termination.type != "error"
        assert (run.final_output, run.termination.detail) == (output, detail)


@pytest.mark.parametrize("at_the_end", [True, False])
async def test_a_message_id_that_is_taken_dead_letters_the_run_at_once(
    store: WatchedStore, clock: ManualClock, at_the_end: bool
) -> None:
    class Repeating:
        async def drive(self, entry: Any, port: Any) -> Finished:
            message = assistant_message(MessageId("taken"), "again")
            await port.emit(text_delta("aga"))
            if at_the_end:
                return Finished(messages=(message,))
            await port.commit_assistant(message)
            return Finished()

    async with World(store, clock, agents={"repeating": Repeating()}) as world:
        taken = user_message(MessageId("taken"), "mine")
        await world.mailbox.save_thread(DEFAULT_SCOPE, "t", ThreadInfo(), messages=(taken,))
        submission = await world.submit(agent_id="repeating")

        run = await world.done(submission)
        assert run.termination is not None and "taken" in (run.termination.detail or "")
        assert await ended(world, submission) == (DispatchStatus.DEAD_LETTER, run.termination.detail, 0)
        assert await world.texts() == ["mine", "hello"]


# --- what is missing --------------------------------------------------------------------------------------------------


async def left_without_its_message(path: Path, clock: ManualClock, *others: int) -> SqliteStore:
    """A file that was damaged: the run `bad` waits in it, and its message is gone. Others, of these priorities, wait
    behind it.
    """
    async with World(SqliteStore(path, clock=clock), clock, executes=False) as world:
        await world.submit(run_id="bad", priority=0)
        for priority in others:
            await world.submit(run_id="good", priority=priority)
    with closing(sqlite3.connect(path, isolation_level=None)) as database:
        gone = database.execute("DELETE FROM messages WHERE no = (SELECT min(no) FROM messages)")
        assert gone.rowcount == 1
    return SqliteStore(path, clock=clock)


@behaviour("MBX-068", "MBX-071", "D-008")
async def test_a_run_whose_message_is_gone_is_dead_lettered_once_and_never_executed(
    tmp_path: Path, clock: ManualClock
) -> None:
    store = await left_without_its_message(tmp_path / "awaken.db", clock)
    async with World(store, clock, seed=2) as world:
        before = await world.dispatch(RunId("bad"))
        assert before.status is DispatchStatus.DEAD_LETTER
        assert before.last_error is not None and "not found" in before.last_error
        await world.advance(60)
        assert await world.dispatch(RunId("bad")) == before
        assert (await world.kinds(RunId("bad")))[-2:] == ["RunDeadLettered", "RunErrored"], "readers hear of the end"
        assert (await world.kinds(RunId("bad"))).count("RunDeadLettered") == 1
        assert world.agent.calls == []
        assert world.free_slots == 100


@behaviour("MBX-070")
async def test_a_broken_dispatch_does_not_hold_up_the_good_one_behind_it(tmp_path: Path, clock: ManualClock) -> None:
    store = await left_without_its_message(tmp_path / "awaken.db", clock, 200)
    async with World(store, clock, seed=2) as world:
        call = await world.agent.next_call()
        assert call.run_id == "good"
        call.release()
        await world.quiet()
        listed = await world.store.list_dispatches(DEFAULT_SCOPE, DispatchQuery(thread_id=ThreadId("t")))
        assert [(each.run_id, each.status) for each in listed.items] == [
            ("bad", DispatchStatus.DEAD_LETTER),
            ("good", DispatchStatus.ACKED),
        ]


# --- an error that is an answer, and progress that is kept ------------------------------------------------------------


@behaviour("MBX-097", "MBX-098", "D-002")
@pytest.mark.parametrize("resumed", [False, True])
@pytest.mark.parametrize("is_raised", [False, True])
async def test_an_execution_that_ends_in_an_error_of_its_own_has_answered_and_is_not_repeated(
    store: WatchedStore, clock: ManualClock, resumed: bool, is_raised: bool
) -> None:
    """Whether it broke in a phase of its own or could not go on from what it found, nothing is left open."""
    failure = Termination("error", detail="the state does not fit")
    async with World(store, clock) as world:
        submission = await world.submit()
        if resumed:
            (await world.agent.next_call()).fail(TransientFailure("busy"))
            await world.advance(1)
        call = await world.agent.next_call()
        if is_raised:
            call.fail(RunEnds(failure))
        else:
            call.release(Finished(termination=failure))

        run = await world.done(submission)
        assert (run.status, run.termination) == (RunStatus.DONE, failure)
        assert (await ended(world, submission))[0] is DispatchStatus.ACKED
        assert world.ledger.labels[-1] == "completed"


@behaviour("D-002")
async def test_a_retry_after_progress_goes_on_from_there(store: WatchedStore, clock: ManualClock) -> None:
    made: list[str] = []

    def make(name: str) -> str:
        made.append(name)
        return name

    async def steps(context: Context) -> str:
        first = await context.step("first", lambda: make("first"))
        if len(made) == 1:
            made.append("failed")
            raise TransientFailure("busy")
        return first + await context.step("second", lambda: make("second"))

    async with World(store, clock, agents={"steps": steps}) as world:
        submission = await world.submit(agent_id="steps")
        await world.advance(1)

        assert (await world.run(submission)).final_output == "firstsecond"
        assert made == ["first", "failed", "second"]
        assert (await world.dispatch(submission)).attempt_count == 0
