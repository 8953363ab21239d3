"""Time as a port: the one module that reads a clock.

Above: every layer takes a `Clock`; nothing else asks the operating system what time it is, or waits for it.
Holds: stored instants are integer milliseconds since the Unix epoch; waiting is measured on a monotonic clock.
"""

from __future__ import annotations

import asyncio
import sys
import time
from collections.abc import Callable
from datetime import datetime, timedelta
from functools import partial
from itertools import pairwise
from typing import Final, Protocol

Instant = int
"""Milliseconds since the Unix epoch, UTC."""
_EPOCH: Final = datetime(1970, 1, 1)
FIRST_INSTANT: Final = -62_135_596_800_000
"""The beginning of the year 1."""
LAST_INSTANT: Final = 253_402_300_799_999
"""The end of the year 9999."""
_MINUTE_S: Final = 60
_UNITS: Final = ((86_400, "d"), (3_600, "h"), (_MINUTE_S, "min"), (1, "s"))


class Timer(Protocol):
    """A scheduled callback that has not fired yet."""

    def cancel(self) -> None: ...


class Clock(Protocol):
    """Where time comes from. `now` may jump with the wall clock; `monotonic` never goes back."""

    def now(self) -> Instant:
        """The wall clock in milliseconds. Safe to call from any thread."""
        ...

    def monotonic(self) -> float:
        """Seconds on a clock that only moves forward, also while the machine sleeps, so that a lease is not taken for
        younger than it is; only differences mean anything.
        """
        ...

    def call_later(self, delay_s: float, callback: Callable[[], None]) -> Timer:
        """Call back once on the running event loop after `delay_s` seconds of monotonic time."""
        ...


if sys.platform == "linux":
    _sleepless = partial(time.clock_gettime, time.CLOCK_BOOTTIME)
elif sys.platform == "darwin":
    _sleepless = partial(time.clock_gettime, time.CLOCK_MONOTONIC)  # `time.monotonic` reads another clock there
else:
    _sleepless = time.monotonic


class SystemClock:
    """The clock of this machine."""

    def now(self) -> Instant:
        return time.time_ns() // 1_000_000

    monotonic = staticmethod(_sleepless)

    def call_later(self, delay_s: float, callback: Callable[[], None]) -> Timer:
        return asyncio.get_running_loop().call_later(max(delay_s, 0.0), callback)


class Alarm:
    """An event with one waiter that waits on a clock. Setting it before the wait is not lost.

    A waiter whose event loop was closed is never woken: what is thrown away with a loop may set alarms on its way out.
    """

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._is_set = False
        self._waiter: asyncio.Future[None] | None = None

    def set(self) -> None:
        self._is_set = True
        self._wake()

    async def wait(self, timeout_s: float | None = None) -> bool:
        """Wait until it is set, at most `timeout_s` seconds. True when it was set; the alarm is clear afterwards.

        With nothing left to wait, it looks and returns at once.
        """
        if not self._is_set and (timeout_s is None or timeout_s > 0):
            self._waiter = asyncio.get_running_loop().create_future()
            timer = None if timeout_s is None else self._clock.call_later(timeout_s, self._wake)
            try:
                await self._waiter
            finally:
                self._waiter = None
                if timer is not None:
                    timer.cancel()
        was_set, self._is_set = self._is_set, False
        return was_set

    def _wake(self) -> None:
        waiter = self._waiter
        if waiter is not None and not waiter.done() and not waiter.get_loop().is_closed():
            waiter.set_result(None)


async def sleep(clock: Clock, delay_s: float) -> None:
    """Wait `delay_s` seconds of the clock's time."""
    await Alarm(clock).wait(delay_s)


def to_rfc3339(instant: Instant) -> str:
    """UTC with milliseconds and `Z`, the only form in which an instant leaves the package.

    An instant beyond the years 1 to 9999, which that form cannot write, is shown as the nearest one within.
    """
    stamp = _EPOCH + timedelta(milliseconds=min(max(instant, FIRST_INSTANT), LAST_INSTANT))
    return stamp.isoformat(timespec="milliseconds") + "Z"


def lasting(seconds: float) -> str:
    """A length of time for people: the two largest units that it fills, and below a minute three digits of seconds."""
    text = f"{max(round(seconds, 3), 0.0):.3g}"
    if float(text) < _MINUTE_S:
        return f"{text} s"
    whole = round(seconds)
    for (size, unit), (smaller, its) in pairwise(_UNITS):
        if whole >= size:
            first, rest = divmod(whole, size)
            return f"{first} {unit}" + (f" {rest // smaller} {its}" if rest >= smaller else "")
    raise AssertionError("a minute is filled")


def from_rfc3339(text: str) -> Instant:
    """The instant a client wrote. Raises ValueError for anything without a date, a time and an offset."""
    stamp = datetime.fromisoformat(text)
    if stamp.tzinfo is None:
        raise ValueError("the instant has no offset; end it with Z for UTC")
    return round(stamp.timestamp() * 1000)
