"""Several processes under one: each is started again when it ends by itself, and all of them stop with the one above.

Above: `worker`. Below: the operating system.
Holds: a process that keeps ending is started again after pauses that grow, however often. A signal that asks this one
to stop is passed on, the second one too, and returns when everybody has ended; who does not within the time that a
process takes at most is killed. Children are of a session of their own, so that Ctrl-C reaches them once, through here.
When this process dies they notice by their standard input, and stop.
"""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import sys
import threading
from collections.abc import Sequence
from typing import Final

from awaken.cli.ending import SIGNALS
from awaken.domain.clock import Alarm, Clock, lasting
from awaken.domain.retry import RetryPolicy

_log = logging.getLogger("awaken.server")

PAUSES: Final = RetryPolicy(base_delay_ms=250, max_delay_ms=15_000)
STEADY_S: Final = 60.0
"""Who has lived for so long is started again as soon as if it had never ended before."""


async def keep_running(commands: Sequence[Sequence[str]], *, clock: Clock, patience_s: float) -> None:
    """Keep a process of each command running until SIGTERM or SIGINT, then return when all of them have ended, which
    each may take `patience_s` for.
    """
    loop = asyncio.get_running_loop()
    keepers = [_Keeper(command, clock, patience_s) for command in commands]

    def stop(number: signal.Signals) -> None:
        for keeper in keepers:
            keeper.stop(number)

    for number in SIGNALS:
        loop.add_signal_handler(number, stop, number)
    try:
        async with asyncio.TaskGroup() as group:
            for keeper in keepers:
                group.create_task(keeper.run())
    finally:
        for number in SIGNALS:
            loop.remove_signal_handler(number)


def end_with_stdin() -> None:
    """Have this process stop as by SIGTERM when its standard input ends: whoever holds the other end has died."""

    def wait() -> None:
        while os.read(sys.stdin.fileno(), 1024):
            pass
        os.kill(os.getpid(), signal.SIGTERM)

    threading.Thread(target=wait, name="awaken-parent", daemon=True).start()


class _Keeper:
    """Of one process."""

    def __init__(self, command: Sequence[str], clock: Clock, patience_s: float) -> None:
        self._command = command
        self._clock = clock
        self._patience_s = patience_s
        self._child: asyncio.subprocess.Process | None = None
        self._asked: signal.Signals | None = None
        self._pause = Alarm(clock)

    def stop(self, number: signal.Signals) -> None:
        """Pass the signal on, and start nothing any more."""
        if self._asked is None:
            self._clock.call_later(self._patience_s, self._kill)
        self._asked = number
        self._pause.set()
        self._signal(number)

    async def run(self) -> None:
        """Return when the process has ended after it was asked to."""
        failures = 0
        while self._asked is None:
            started_s = self._clock.monotonic()
            self._child = await asyncio.create_subprocess_exec(
                *self._command, stdin=asyncio.subprocess.PIPE, start_new_session=True
            )
            if self._asked is not None:  # it came while the process was being made
                self._signal(self._asked)
            code = await self._child.wait()
            if self._asked is not None:
                return
            failures = 1 if self._clock.monotonic() - started_s >= STEADY_S else failures + 1
            pause_s = PAUSES.delay_ms(failures) / 1000
            _log.warning(
                "worker process %d has ended with %s; it is started again in %s",
                self._child.pid,
                f"signal {-code}" if code < 0 else f"exit code {code}",
                lasting(pause_s),
            )
            await self._pause.wait(pause_s)

    def _signal(self, number: int) -> None:
        if self._child is not None and self._child.returncode is None:
            self._child.send_signal(number)

    def _kill(self) -> None:
        if self._child is not None and self._child.returncode is None:
            _log.error(
                "worker process %d has not stopped within %s, and is killed", self._child.pid, lasting(self._patience_s)
            )
            self._child.kill()
