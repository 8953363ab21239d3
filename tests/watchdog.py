"""A test that hangs fails, with the stack of everything that waits.

Above: pytest, for which `tests/conftest.py` names this module. Below: an alarm of the operating system.
Holds: after `hangs_after_s` (pyproject.toml) the test fails where it is, and the next one begins. The alarm is heard
between two steps of Python only; for a test that makes none, pytest's own `faulthandler_timeout` comes later, and ends
the process with the stacks of its threads: pytest-xdist then names the test, and goes on in another process.
"""

from __future__ import annotations

import asyncio
import signal
import sys
import threading
import traceback
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any, Final

import pytest

HANGS_AFTER_S: Final = "hangs_after_s"


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addini(HANGS_AFTER_S, "a test that takes longer than so many seconds fails (0: none does)", default="0")


@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol(item: pytest.Item) -> Generator[None, object, object]:
    with failing_after(float(item.config.getini(HANGS_AFTER_S))):
        return (yield)


def pytest_enter_pdb() -> None:
    signal.setitimer(signal.ITIMER_REAL, 0)


@contextmanager
def failing_after(seconds: float) -> Generator[None]:
    """Have the main thread fail if it is in here for longer; 0 is for ever."""

    def fail(number: int, frame: FrameType | None) -> None:
        pytest.fail(f"it hangs: {seconds:g} s have passed\n\n{stacks()}")

    before = signal.signal(signal.SIGALRM, fail)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def stacks() -> str:
    """What each task of the running loop awaits, and where each thread but this one is."""
    try:
        tasks = asyncio.all_tasks()
    except RuntimeError:  # no loop runs
        tasks = set[asyncio.Task[Any]]()
    said = [f"task {task.get_name()}:\n{''.join(_awaited(task.get_coro()))}" for task in tasks]
    frames = sys._current_frames()  # pyright: ignore[reportPrivateUsage]
    for thread in threading.enumerate():
        if thread is not threading.current_thread() and thread.ident in frames:
            said.append(f"thread {thread.name}:\n{''.join(traceback.format_stack(frames[thread.ident]))}")
    return "\n".join(said)


def _awaited(waiting: Any) -> Iterator[str]:
    """A line for each coroutine or generator, from the outermost in to what none of them has made."""
    while waiting is not None:
        kind = next((kind for kind in ("cr", "gi", "ag") if hasattr(waiting, f"{kind}_frame")), None)
        if kind is None:
            yield f"  {waiting!r}\n"
            return
        frame = getattr(waiting, f"{kind}_frame")
        if frame is not None:
            yield f'  File "{frame.f_code.co_filename}", line {frame.f_lineno}, in {frame.f_code.co_name}\n'
        waiting = getattr(waiting, "gi_yieldfrom" if kind == "gi" else f"{kind}_await")
