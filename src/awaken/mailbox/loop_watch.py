"""Notices that the event loop is blocked or closed, and that the whole process stood still.

Above: `engine` opens one for each life. Below: a thread that looks at the loop twice a second.
Holds: a loop that answers nothing for `BLOCKED_S` is logged while it is blocked, with where and for how long; the same
place again after `SAME_PLACE_S` at the earliest. After the process stood still, because its machine slept or it was
stopped, `woke` is called on the loop: timers know nothing of such time, and what falls due by it is looked for at once.

Source: docs/howto/operate.md.
"""

from __future__ import annotations

import asyncio
import logging
import sys
import threading
import traceback
from collections.abc import Callable
from types import TracebackType
from typing import Final, Self

from awaken.domain.clock import SystemClock, lasting

LOOK_S: Final = 0.5
BLOCKED_S: Final = 1.0
"""Streams and requests of everybody wait for so long."""
SAME_PLACE_S: Final = 60.0
_AGAIN_AFTER: Final = 10
"""A block is logged again when it has become so many times as long."""
_FRAMES: Final = 4
_MAX_PLACES: Final = 100

_log = logging.getLogger("awaken.loop")


class LoopWatch:
    """Entered on the event loop that it watches."""

    def __init__(self, woke: Callable[[], None], *, seconds: Callable[[], float] = SystemClock.monotonic) -> None:
        """`seconds`: a clock that goes on while the machine sleeps."""
        self._woke = woke
        self._seconds = seconds
        self._ended = threading.Event()
        self._looked_s = seconds()
        self._asked_s: float | None = None
        """When the loop was asked for a sign of life that it has not given."""
        self._due_s = BLOCKED_S
        """How long it has to be blocked to be logged, or logged again."""
        self._is_logged = False
        self._places: dict[str, float] = {}
        """Until when a place is not logged again."""

    def __enter__(self) -> Self:
        self._loop = asyncio.get_running_loop()
        self._thread_id = threading.get_ident()
        threading.Thread(target=self._run, name="awaken-loop-watch", daemon=True).start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._ended.set()

    def _run(self) -> None:
        while not self._ended.wait(LOOK_S):
            try:
                self.look()
            except RuntimeError:
                if not self._ended.is_set():
                    _log.error(
                        "an event loop was closed while the mailbox ran on it: nothing of it was stopped, and the store"
                        " is held until this process ends. Leave `async with`, or await `stop()`, before the loop ends"
                    )
                return

    def look(self) -> None:
        """Called in the thread, every `LOOK_S` seconds.

        Raises:
            RuntimeError: The loop is closed.
        """
        now_s = self._seconds()
        stood_s, self._looked_s = now_s - self._looked_s - LOOK_S, now_s
        if stood_s >= BLOCKED_S:  # nobody looked: it is not the loop alone that stood still
            _log.warning(
                "this process stood still for %s: its machine slept, it was stopped, or one call kept Python"
                " from doing anything else",
                lasting(stood_s),
            )
            self._loop.call_soon_threadsafe(self._woke)
            self._asked_s = None
        if self._asked_s is None:
            self._asked_s = now_s
            self._loop.call_soon_threadsafe(self._answer)
        elif now_s - self._asked_s >= self._due_s:
            self._note_blocked(now_s - self._asked_s, now_s)

    def _answer(self) -> None:
        """On the loop."""
        asked_s, self._asked_s = self._asked_s, None
        if self._is_logged and asked_s is not None:
            _log.warning("the event loop goes on, after %s", lasting(self._seconds() - asked_s))
        self._is_logged, self._due_s = False, BLOCKED_S

    def _note_blocked(self, blocked_s: float, now_s: float) -> None:
        self._due_s = blocked_s * _AGAIN_AFTER
        frame = sys._current_frames().get(self._thread_id)  # pyright: ignore[reportPrivateUsage]
        stack = traceback.extract_stack(frame, limit=_FRAMES)[::-1] if frame is not None else []
        if self._asked_s is None:
            return  # it has gone on meanwhile
        where = ", called from ".join([f"{each.name} ({each.filename}:{each.lineno})" for each in stack])
        if not self._is_logged and self._places.get(where, now_s) > now_s:
            return
        if len(self._places) >= _MAX_PLACES:
            self._places.clear()
        self._places[where] = now_s + SAME_PLACE_S
        self._is_logged = True
        _log.warning(
            "the event loop has been blocked for %s in %s: nothing else of this process goes on meanwhile. What"
            " blocks belongs into `asyncio.to_thread`",
            lasting(blocked_s),
            where or "an unknown place",
        )
