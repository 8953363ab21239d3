"""Bears processes quickly: one interpreter imports everything once, then forks a child for each life asked of it.

Above: the crash test, which writes a line per life and reads how it ended. Below: `life`.
Holds: each life is a real process with a file, a lock and threads of its own; the interpreter it is forked from has
one thread and no event loop. A life that does not end is ended by SIGALRM and reported so.
"""

from __future__ import annotations

import gc
import os
import signal
import subprocess
import sys
import threading
import traceback
from pathlib import Path
from tempfile import TemporaryDirectory
from types import TracebackType
from typing import Final, Self

import msgspec

from awaken.testing.crash import CRASH_AT, CrashPoint
from tests.crash.life import live
from tests.crash.scenarios import SCENARIOS
from tests.crash.upgrade import Upgrade

LIFE_LIMIT_S: Final = 10
"""A life takes less than a second. Shorter than a lease, so that nobody can finish by waiting for one to end."""
REHEARSAL_LIMIT_S: Final = 60
"""The first life imports what a framework brings along, which on a busy machine takes its time."""
PID: Final = "pid"
"""The file that names the process that lives, in the folder of its series."""
ROOT: Final = Path(__file__).resolve().parents[2]


class Order(msgspec.Struct, frozen=True):
    """A life to live, and when it ends."""

    folder: str
    scenario: str
    life: int
    crash_at: str | None = None
    upgrade: Upgrade | None = None


class Nursery:
    """The test's end of one such interpreter. Not for two threads at once."""

    def __enter__(self) -> Self:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.crash.nursery"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, cwd=ROOT
        )
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._process.communicate(timeout=LIFE_LIMIT_S)

    def live(
        self,
        folder: Path,
        scenario: str,
        life: int,
        crash_at: CrashPoint | None = None,
        *,
        upgrade: Upgrade | None = None,
    ) -> int:
        """Have a life lived. Its exit code; the number of the signal, negative, if one ended it."""
        order = Order(str(folder), scenario, life, None if crash_at is None else str(crash_at), upgrade)
        assert self._process.stdin is not None and self._process.stdout is not None
        self._process.stdin.write(msgspec.json.encode(order) + b"\n")
        self._process.stdin.flush()
        answer = self._process.stdout.readline()
        assert answer, "the nursery ended"
        return int(answer)


def main() -> None:
    """Live what each line on standard input asks for, one after the other, and say how it ended."""
    _rehearse()
    for line in sys.stdin.buffer:
        order = msgspec.json.decode(line, type=Order)
        child = os.fork()
        if child == 0:
            _be_born(order)
        _, status = os.waitpid(child, 0)
        print(os.waitstatus_to_exitcode(status), flush=True)


def _rehearse() -> None:
    """Live each scenario once here, so that what a framework builds at its first use is there for every child."""
    for scenario in SCENARIOS:
        signal.alarm(REHEARSAL_LIMIT_S)
        with TemporaryDirectory() as folder:
            live(Path(folder), scenario, 0)
    for thread in threading.enumerate():  # a process with threads must not be forked, and one that ends takes its time
        if thread is not threading.main_thread():
            thread.join()
    signal.alarm(0)
    gc.collect()
    gc.freeze()  # a child whose collector leaves the parent's objects alone need not copy them


def _be_born(order: Order) -> None:
    """Live in this process, and end it without the parent's exit hooks."""
    signal.alarm(LIFE_LIMIT_S)
    folder = Path(order.folder)
    (folder / PID).write_text(str(os.getpid()))
    complaints = os.open(folder / f"stderr.{order.life}", os.O_WRONLY | os.O_CREAT)
    os.dup2(complaints, 1)
    os.dup2(complaints, 2)
    os.environ.pop(CRASH_AT, None)
    if order.crash_at is not None:
        os.environ[CRASH_AT] = order.crash_at
    if order.upgrade is not None:
        order.upgrade.install()
    try:
        live(folder, order.scenario, order.life)
    except BaseException:
        traceback.print_exc()
        sys.stderr.flush()
        os._exit(1)
    os._exit(0)


if __name__ == "__main__":
    main()
