"""A clock that stands still until a test moves it."""

from __future__ import annotations

import asyncio
import heapq
import itertools
from collections.abc import Awaitable, Callable

from awaken.domain.clock import Instant, Timer

START: Instant = 1_800_000_000_000


class ManualClock:
    """Time as a variable. `advance` moves it and fires the timers that fall due, in order."""

    def __init__(self, now: Instant = START) -> None:
        self._now = now
        self._elapsed_s = 0.0
        self._order = itertools.count()
        self._timers: list[tuple[float, int, _ManualTimer]] = []

    def now(self) -> Instant:
        return self._now

    def monotonic(self) -> float:
        return self._elapsed_s

    def call_later(self, delay_s: float, callback: Callable[[], None]) -> Timer:
        timer = _ManualTimer(callback)
        heapq.heappush(self._timers, (self._elapsed_s + max(delay_s, 0.0), next(self._order), timer))
        return timer

    def set(self, now: Instant) -> None:
        """Put the wall clock elsewhere, backwards too; fires nothing."""
        self._now = now

    def tick(self, seconds: float) -> None:
        """Move time without letting anything run; timers that fall due fire, their callbacks only."""
        target = self._elapsed_s + seconds
        while self._timers and self._timers[0][0] <= target:
            due, _, timer = heapq.heappop(self._timers)
            self._move_to(due)
            timer.fire()
        self._move_to(target)

    def suspend(self, seconds: float) -> None:
        """Let the machine sleep: both clocks go on, and no timer knows of it."""
        self._timers = [(due + seconds, order, timer) for due, order, timer in self._timers]
        self._move_to(self._elapsed_s + seconds)

    async def advance(self, seconds: float, settled: Callable[[], Awaitable[None]] | None = None) -> None:
        """Move time step by step, letting the event loop settle after each timer and at the end.

        `settled` says when that is, where something works outside the loop, such as a store with a thread of its own.
        """
        target = self._elapsed_s + seconds
        settled = settle if settled is None else settled
        await settled()
        while self._timers and self._timers[0][0] <= target:
            due, _, timer = heapq.heappop(self._timers)
            self._move_to(due)
            timer.fire()
            await settled()
        self._move_to(target)
        await settled()

    def _move_to(self, elapsed_s: float) -> None:
        self._now += round((elapsed_s - self._elapsed_s) * 1000)
        self._elapsed_s = elapsed_s


class _ManualTimer:
    def __init__(self, callback: Callable[[], None]) -> None:
        self._callback: Callable[[], None] | None = callback

    def cancel(self) -> None:
        self._callback = None

    def fire(self) -> None:
        if self._callback is not None:
            self._callback()


async def settle(rounds: int = 50) -> None:
    """Let everything that can run on the event loop without waiting for time or a thread do so, for at most so many
    turns of the loop. On asyncio's own loops it ends as soon as nothing else is left to run."""
    ready = getattr(asyncio.get_running_loop(), "_ready", None)  # what runs in the next turn; nothing public says it
    idle = 0
    for _ in range(rounds):
        await asyncio.sleep(0)
        idle = idle + 1 if ready is not None and not ready else 0
        if idle == 2:  # a turn begins with what has come from outside: after the second one, nothing had
            return
