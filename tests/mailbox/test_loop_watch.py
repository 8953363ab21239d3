"""An event loop that is blocked is logged, with where and how long; a sleep of the machine is told from that."""

from __future__ import annotations

import asyncio
import logging
import re
import threading
from collections.abc import Callable

import pytest

from awaken.mailbox.loop_watch import BLOCKED_S, LOOK_S, SAME_PLACE_S, LoopWatch
from awaken.testing.clock import settle
from awaken.wiring import Awaken

PATIENCE_S = 10


class Looks:
    """A watch whose thread is the test's: it looks when it is asked to, on a clock that stands still."""

    def __init__(self) -> None:
        self.now_s = 100.0
        self.woken = 0
        self.watch = LoopWatch(self._woke, seconds=lambda: self.now_s)

    def _woke(self) -> None:
        self.woken += 1

    def look(self, times: int = 1, *, after_s: float = LOOK_S) -> None:
        for _ in range(times):
            self.now_s += after_s
            self.watch.look()

    async def while_blocked(self, looking: Callable[[], None], blocked: Callable[[threading.Event], object]) -> None:
        """Look from another thread while the loop is in `blocked`, a function that waits for the event it is given."""
        is_blocked, done = threading.Event(), threading.Event()
        failures: list[BaseException] = []

        def other_thread() -> None:
            try:
                assert is_blocked.wait(PATIENCE_S)
                looking()
            except BaseException as error:
                failures.append(error)
            finally:
                done.set()

        thread = threading.Thread(target=other_thread)
        thread.start()
        is_blocked.set()
        blocked(done)
        thread.join(PATIENCE_S)
        assert failures == []
        await settle()


def _not_at_all(watch: LoopWatch) -> None:
    """Instead of the thread."""


@pytest.fixture
def looks(monkeypatch: pytest.MonkeyPatch) -> Looks:
    looks = Looks()
    monkeypatch.setattr(LoopWatch, "_run", _not_at_all)
    return looks


def here(done: threading.Event) -> None:
    assert done.wait(PATIENCE_S)


def elsewhere(done: threading.Event) -> None:
    assert done.wait(PATIENCE_S)


async def test_a_blocked_loop_is_logged_once_while_it_is_blocked_and_once_when_it_goes_on(
    looks: Looks, caplog: pytest.LogCaptureFixture
) -> None:
    with looks.watch, caplog.at_level(logging.INFO):
        await looks.while_blocked(lambda: looks.look(6), here)
    blocked, goes_on = [record.getMessage() for record in caplog.records]
    assert blocked.startswith(f"the event loop has been blocked for {BLOCKED_S:g} s in ")
    assert f"here ({__file__}:" in blocked
    assert goes_on == "the event loop goes on, after 2.5 s"


async def test_a_loop_that_answers_is_not_logged(looks: Looks, caplog: pytest.LogCaptureFixture) -> None:
    with looks.watch, caplog.at_level(logging.INFO):
        for _ in range(20):
            looks.look()
            await settle()
        await looks.while_blocked(lambda: looks.look(2), here)  # for less than counts
    assert (caplog.records, looks.woken) == ([], 0)


async def test_a_place_that_blocks_again_and_again_is_logged_once_a_minute(
    looks: Looks, caplog: pytest.LogCaptureFixture
) -> None:
    with looks.watch, caplog.at_level(logging.INFO):
        for _ in range(5):
            await looks.while_blocked(lambda: looks.look(4), here)
        assert len(caplog.records) == 2
        await looks.while_blocked(lambda: looks.look(4), elsewhere)
        assert len(caplog.records) == 4
        looks.look(round(SAME_PLACE_S / LOOK_S), after_s=0)
        for _ in range(round(SAME_PLACE_S / LOOK_S)):
            looks.look()
            await settle()
        await looks.while_blocked(lambda: looks.look(4), here)
    assert len(caplog.records) == 6


async def test_a_long_block_is_logged_again_when_it_has_become_ten_times_as_long(
    looks: Looks, caplog: pytest.LogCaptureFixture
) -> None:
    with looks.watch, caplog.at_level(logging.INFO):
        await looks.while_blocked(lambda: looks.look(round(120 / LOOK_S)), here)
    assert [re.findall(r"[0-9.]+ (?:min|s)\b", record.getMessage()) for record in caplog.records] == [
        ["1 s"],
        ["10 s"],
        ["1 min", "40 s"],
        ["2 min"],
    ]


async def test_a_process_that_stood_still_as_a_whole_has_not_blocked_its_loop(
    looks: Looks, caplog: pytest.LogCaptureFixture
) -> None:
    with looks.watch, caplog.at_level(logging.INFO):
        looks.look()
        looks.look(after_s=3600)
        await settle()
    assert [record.getMessage().split(":")[0] for record in caplog.records] == ["this process stood still for 1 h"]
    assert looks.woken == 1


def _watchers() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name == "awaken-loop-watch"]


async def test_an_app_that_runs_is_watched_and_one_that_was_left_is_not() -> None:
    before = _watchers()
    async with Awaken("memory://"):
        [watcher] = [thread for thread in _watchers() if thread not in before]
    async with asyncio.timeout(PATIENCE_S):
        await asyncio.to_thread(watcher.join, PATIENCE_S)
    assert not watcher.is_alive()
