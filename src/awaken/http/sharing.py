"""Answers that several callers share: one read for many who look at the same thing.

Above: `app`, for a GET whose client says by `Prefer: wait=N` that its answer may take N seconds longer. Below: the
handlers.
Holds: a shared answer was read after the request for it had come, so that it shows whatever that client has done
before. The same question of the same caller is read again only when reading it has been left alone for a while: what
readers cost together stays below `SHARE` of the time, however many they are, as far as their patience allows.

Source: docs/reference/http.md; ADR 0045.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Awaitable, Callable, Hashable, Mapping
from typing import Final

from starlette.responses import Response

from awaken.domain.clock import Clock, sleep

SHARE: Final = 0.04
"""Of the time, which reading one thing for the patient takes."""
MAX_PATIENCE_S: Final = 10
_MOST_KEPT: Final = 256
"""Questions of which it is remembered how long they took."""
_WAIT: Final = re.compile(rb"(?:^|[,;])\s*wait\s*=\s*\"?(\d{1,9})\"?\s*(?=[,;]|$)", re.IGNORECASE)
"""RFC 7240."""

Read = Callable[[], Awaitable[Response]]


def patience_of(headers: Mapping[bytes, bytes]) -> int:
    """For how many seconds a client will wait for others who ask the same; 0 where it says nothing of it."""
    found = _WAIT.search(headers.get(b"prefer", b""))
    return 0 if found is None else min(int(found[1]), MAX_PATIENCE_S)


class SharedAnswers:
    """Of one application. What the first of them asked with, its `read`, answers all."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._questions: dict[Hashable, _Question] = {}

    async def answer(self, key: Hashable, patience_s: float, read: Read) -> Response:
        """What `read` comes to, of a call that begins after this one. Raises what it raises."""
        question = self._questions.pop(key, None) or _Question(self._clock)
        self._questions[key] = question  # as the latest
        self._forget()
        found = await question.answer(patience_s, read)
        answer = Response(found.body, found.status_code)
        answer.raw_headers = [*found.raw_headers]
        return answer

    def _forget(self) -> None:
        """The questions that nobody has asked for longest."""
        for key in [*self._questions][:-_MOST_KEPT]:
            if not self._questions[key].is_asked:
                del self._questions[key]


class _Question:
    """How long one thing took to read, and who waits for the next time."""

    __slots__ = ("_clock", "_coming", "_ended_s", "_took_s", "_turn")

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._turn = asyncio.Lock()
        self._coming: asyncio.Task[Response] | None = None
        """The read that has not begun; whoever asks now waits for it."""
        self._ended_s = clock.monotonic()
        self._took_s = 0.0

    @property
    def is_asked(self) -> bool:
        return self._coming is not None or self._turn.locked()

    async def answer(self, patience_s: float, read: Read) -> Response:
        if self._coming is None:
            self._coming = asyncio.create_task(self._read(patience_s, read))
            self._coming.add_done_callback(_look_at)
        coming = self._coming
        return await asyncio.shield(coming)

    async def _read(self, patience_s: float, read: Read) -> Response:
        due_s = self._clock.monotonic() + patience_s
        async with self._turn:
            await self._rest(due_s)
            self._coming = None
            started_s = self._clock.monotonic()
            try:
                return await read()
            finally:
                self._ended_s = self._clock.monotonic()
                self._took_s = self._ended_s - started_s

    async def _rest(self, due_s: float) -> None:
        """Until it has been left alone for long enough, and not beyond `due_s`."""
        rest_s = min(self._ended_s + self._took_s / SHARE, due_s) - self._clock.monotonic()
        if rest_s > 0:
            await sleep(self._clock, rest_s)


def _look_at(task: asyncio.Task[Response]) -> None:
    """Its failure is told to those who wait; where they all have left, it is nobody's."""
    if not task.cancelled():
        task.exception()
