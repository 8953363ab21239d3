"""Calls that block have threads of their own: whoever hangs in asyncio's executor holds nobody up."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Callable, Coroutine
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from awaken.executors.registry import Agents
from awaken.store.sqlite import SqliteStore
from awaken.testing.conformance.steps import dispatch_of, finished
from awaken.testing.executors import RecordedRun
from awaken.threads import ended, in_thread, post, result_of
from awaken.threads import finished as finished_call

_PATIENCE_S = 10


@pytest.fixture
async def hanging_agents() -> AsyncIterator[None]:
    """As many calls as asyncio's executor has threads, none of which ends before the test does."""
    let_go = threading.Event()
    loop = asyncio.get_running_loop()
    loop.set_default_executor(ThreadPoolExecutor(1))
    hanging = loop.run_in_executor(None, let_go.wait)
    async with asyncio.timeout(_PATIENCE_S):
        yield
    let_go.set()
    await hanging


class Gate:
    """A call that waits inside until the test lets it go."""

    def __init__(self) -> None:
        self._open = threading.Event()

    def __call__(self) -> str:
        assert self._open.wait(_PATIENCE_S)
        return "through"

    def let_go(self) -> None:
        self._open.set()


async def cancelled_while(
    waiting: Callable[[Future[str]], Coroutine[Any, Any, str]], work: Future[str], *, times: int
) -> asyncio.Task[str]:
    """A task that waits for the work, and was cancelled that often."""
    task = asyncio.create_task(waiting(work))
    for _ in range(times):
        await asyncio.sleep(0)
        task.cancel()
    await asyncio.sleep(0)
    return task


# --- the threads ------------------------------------------------------------------------------------------------------


async def test_a_call_runs_in_a_thread_of_its_own_and_its_result_comes_back() -> None:
    assert await result_of(in_thread(lambda: threading.current_thread().name, name="mine")) == "mine"


@pytest.mark.parametrize("error", [ValueError("wrong"), SystemExit(3)])
async def test_what_a_call_raises_comes_back(error: BaseException) -> None:
    def fail() -> None:
        raise error

    failing = in_thread(fail, name="mine")
    await ended(failing)
    with pytest.raises(type(error)) as raised:
        await result_of(failing)
    assert raised.value is error


async def test_a_call_that_raises_stop_iteration_does_not_hang_who_waits() -> None:
    """asyncio's futures refuse that exception; one that is never resolved would be waited for without end."""
    async with asyncio.timeout(_PATIENCE_S):
        with pytest.raises(RuntimeError, match="StopIteration"):
            await result_of(in_thread(lambda: next(iter(())), name="mine"))


async def test_cancelling_the_wait_leaves_the_call_alone() -> None:
    gate = Gate()
    work = in_thread(gate, name="mine")
    waiting = await cancelled_while(result_of, work, times=1)
    assert waiting.cancelled()
    assert not work.done()
    gate.let_go()
    assert await result_of(work) == "through"


async def test_who_waits_to_the_end_is_cancelled_only_after_it() -> None:
    gate = Gate()
    waiting = await cancelled_while(finished_call, in_thread(gate, name="mine"), times=3)
    assert not waiting.done()
    gate.let_go()
    with pytest.raises(asyncio.CancelledError):
        await waiting


async def test_a_failure_at_the_end_wins_over_the_cancellation() -> None:
    gate = Gate()

    def fail() -> str:
        raise ValueError(gate())

    waiting = await cancelled_while(finished_call, in_thread(fail, name="mine"), times=2)
    gate.let_go()
    with pytest.raises(ValueError, match="through"):
        await waiting


def test_a_loop_that_is_closed_is_left_alone() -> None:
    loop = asyncio.new_event_loop()
    loop.close()
    post(loop, pytest.fail, "nobody is there")


# --- who uses them ----------------------------------------------------------------------------------------------------


async def test_a_store_opens_writes_reads_and_closes_while_every_shared_thread_hangs(
    hanging_agents: None, tmp_path: Path
) -> None:
    for name in ("d1", "d2"):  # the second time shows that the first has closed
        async with SqliteStore(tmp_path / "awaken.db") as store:
            await finished(store, name)
            assert (await dispatch_of(store, name)).run_id == f"run-{name}"


async def test_an_agent_is_imported_while_every_shared_thread_hangs(
    hanging_agents: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "agents_of_a_busy_server.py").write_text("async def agent(context):\n    return 'imported'\n")
    monkeypatch.syspath_prepend(tmp_path)  # pyright: ignore[reportUnknownMemberType]
    agents = Agents()
    agents.add("late", "agents_of_a_busy_server:agent")
    run = RecordedRun("hi")
    await run.drive(agents.driver("late"))
    assert run.texts[-1] == "assistant: imported"
