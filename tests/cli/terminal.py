"""A terminal of one's own, from the side of whoever sits there."""

from __future__ import annotations

import codecs
import fcntl
import os
import pty
import select
import signal
import struct
import subprocess
import sys
import termios
import time
from collections.abc import Generator
from contextlib import contextmanager

import psutil

PATIENCE_S = 30
AGAIN_S = 4.0
"""After which a press of Ctrl-C was not heard."""


class Terminal:
    """A process that has a terminal, from the side of whoever sits there."""

    def __init__(self, *arguments: str, columns: int = 200, rows: int = 50, colours: bool = False) -> None:
        self._ours, theirs = pty.openpty()
        fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))
        self._decoder = codecs.getincrementaldecoder("utf-8")()
        self.settings_before = self.settings()
        of_terminal = {"TERM": "xterm-256color"} if colours else {"TERM": "dumb", "NO_COLOR": "1"}
        self.process = subprocess.Popen(
            [sys.executable, "-m", "awaken", *arguments],
            stdin=theirs,
            stdout=theirs,
            stderr=theirs,
            env={**os.environ, **of_terminal, "COLUMNS": str(columns), "LINES": str(rows)},
            start_new_session=True,
        )
        os.close(theirs)
        self.shown = ""
        self._seen = 0

    def settings(self) -> object:
        """How the terminal is set: whether it echoes, waits for whole lines, and so on."""
        return termios.tcgetattr(self._ours)

    def until(self, text: str) -> None:
        """Read what is shown until that is there, behind what was waited for before."""
        ends_s = time.monotonic() + PATIENCE_S
        while text not in self.shown[self._seen :]:
            ready, _, _ = select.select([self._ours], [], [], max(ends_s - time.monotonic(), 0))
            assert ready, f"no {text!r} in: {self.shown[self._seen :]} after: {self.shown[: self._seen]}"
            self.shown += self._more()
        self._seen = self.shown.index(text, self._seen) + len(text)

    def interrupt_until(self, text: str) -> None:
        """Press Ctrl-C until that is shown. A press between the question and the wait for its answer is heard with the
        next one; who is busy with the first, or has had no time to answer it, is left alone: two mean something else.
        """
        ends_s = time.monotonic() + PATIENCE_S
        next_s = 0.0
        while text not in self.shown:
            if time.monotonic() >= next_s and psutil.Process(self.process.pid).status() == psutil.STATUS_SLEEPING:
                self.process.send_signal(signal.SIGINT)
                next_s = time.monotonic() + AGAIN_S
            ready, _, _ = select.select([self._ours], [], [], 0.2)
            assert time.monotonic() < ends_s, f"no {text!r} in: {self.shown}"
            if ready:
                self.shown += self._more()

    def to_the_end(self) -> int:
        """Read what is shown until the process has ended; its exit code."""
        ends_s = time.monotonic() + PATIENCE_S
        while True:
            ready, _, _ = select.select([self._ours], [], [], max(ends_s - time.monotonic(), 0))
            assert ready, f"no end after: {self.shown}"
            more = self._more()
            if not more:
                return self.process.wait(PATIENCE_S)
            self.shown += more

    def _more(self) -> str:
        try:
            return self._decoder.decode(os.read(self._ours, 65_536))
        except OSError:  # nobody has the other side open any more
            return ""

    def type(self, line: str) -> None:
        self.press(f"{line}\n")

    def press(self, keys: str) -> None:
        os.write(self._ours, keys.encode())

    def close(self) -> None:
        self.process.kill()
        self.process.wait()
        os.close(self._ours)


@contextmanager
def at_a_terminal(*arguments: str, columns: int = 200, rows: int = 50, colours: bool = False) -> Generator[Terminal]:
    terminal = Terminal(*arguments, columns=columns, rows=rows, colours=colours)
    try:
        yield terminal
    finally:
        terminal.close()
