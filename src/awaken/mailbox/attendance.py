"""Runs that are to be stopped when nobody watches them any more.

Above: the server's streams and waits, which say for how long they watch. Below: a `Cancel`, `DISCONNECT_S` seconds
after the last watcher of such a run has gone.
Holds: who comes back in time, over another connection, keeps the run going. Only what this process serves is counted: a
restart of the server ends no run, and starts no count.

Source: `docs/reference/http.md` (`on_disconnect`).
"""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from collections.abc import Callable, Generator
from contextlib import contextmanager
from typing import Any, Final

from awaken.domain.clock import Clock, Timer
from awaken.domain.ids import RunId, Scope
from awaken.domain.run import DONE, Run
from awaken.store.transitions import Cancel, Outcome

DISCONNECT_S: Final = 10.0
_log = logging.getLogger("awaken.mailbox")
_Key = tuple[Scope, RunId]


class Watcher:
    """Somebody who watches a run. `has_seen_all`: it was told all there is for now, and goes because of that."""

    has_seen_all = False


class Attendance:
    """One per mailbox."""

    def __init__(self, ask: Callable[[Cancel], asyncio.Future[Outcome]], clock: Clock) -> None:
        self._ask = ask
        self._clock = clock
        self._watchers: Counter[_Key] = Counter()
        self._timers: dict[_Key, Timer] = {}

    @contextmanager
    def watching(self, scope: Scope, run: Run) -> Generator[Watcher]:
        """Somebody watches the run for as long as the block lasts."""
        watcher = Watcher()
        if run.request.options.on_disconnect != "cancel" or run.status is DONE:
            yield watcher
            return
        key = (scope, run.run_id)
        self._watchers[key] += 1
        timer = self._timers.pop(key, None)
        if timer is not None:
            timer.cancel()
        try:
            yield watcher
        finally:
            self._watchers[key] -= 1
            if not self._watchers[key]:
                del self._watchers[key]
                if not watcher.has_seen_all:
                    self._timers[key] = self._clock.call_later(DISCONNECT_S, lambda: self._stop(key, run))

    def close(self) -> None:
        """Stop counting."""
        for timer in self._timers.values():
            timer.cancel()
        self._timers.clear()

    def _stop(self, key: _Key, run: Run) -> None:
        """Nobody has come back. A run that has ended meanwhile is not changed by it."""
        del self._timers[key]
        self._ask(Cancel(scope=key[0], thread_id=run.thread_id, run_id=run.run_id)).add_done_callback(_look)


def _look(answer: asyncio.Future[Any]) -> None:
    if not answer.cancelled() and answer.exception() is not None:
        _log.warning("a run that nobody watches could not be stopped: %s", answer.exception())
