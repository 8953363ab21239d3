"""Rounds of a user's own, beside those of the mailbox.

Above: `engine` runs it for as long as the mailbox is open. Below: whatever the user hands in.
Holds: the first round is made `purge_interval_s` after the start, and each next one so long after the end of the last.
A round that fails is logged, and the next one is made as if nothing had happened. When the mailbox has been left none
is made any more; a round that is under way then is cancelled when the agents are asked to hand over, and has `tidy_s`
to end.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from typing import Any

from awaken.domain.clock import Alarm, Clock, lasting, sleep
from awaken.executors.containment import contained, kept
from awaken.mailbox.settings import MailboxSettings

_log = logging.getLogger("awaken.mailbox")

Rounds = Callable[[], Awaitable[Any]]


class Maintenance:
    def __init__(self, rounds: Rounds, clock: Clock, settings: MailboxSettings) -> None:
        self._rounds = rounds
        self._clock = clock
        self._settings = settings
        self._task: asyncio.Task[None] | None = None

    async def run_forever(self) -> None:
        while True:
            await sleep(self._clock, self._settings.purge_interval_s)
            if self._task is None or self._task.done():  # one that was abandoned may still be at it
                await self._make()

    async def _make(self) -> None:
        self._task = task = asyncio.get_running_loop().create_task(kept(self._contained()), name="awaken maintenance")
        ended = Alarm(self._clock)
        task.add_done_callback(lambda _: ended.set())
        try:
            await ended.wait()
        except asyncio.CancelledError:
            task.cancel()
            if not await ended.wait(self._settings.tidy_s):
                _log.error("maintenance ignored the request to stop, and is abandoned")
            raise
        finally:
            self._report(task)

    async def _contained(self) -> None:
        with contained():
            await self._rounds()

    def _report(self, task: asyncio.Task[None]) -> None:
        if task.done() and not task.cancelled() and (error := task.exception()) is not None:
            again_s = self._settings.purge_interval_s
            _log.error("maintenance failed; its next round is %s later", lasting(again_s), exc_info=error)
