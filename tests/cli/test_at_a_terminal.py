"""`awaken run` where somebody sits: on a real terminal it asks what its run waits for."""

from __future__ import annotations

import itertools
import os
import pty
import select
import signal
import subprocess
import sys
import time
from collections.abc import Generator
from contextlib import contextmanager

import psutil
import pytest

from awaken.cli.failure import Exit
from awaken.client import Client

PATIENCE_S = 30
_threads = (f"terminal-{number}" for number in itertools.count())


@pytest.fixture
def thread() -> str:
    return next(_threads)


class Terminal:
    """A process that has a terminal, from the side of whoever sits there."""

    def __init__(self, *arguments: str) -> None:
        self._ours, theirs = pty.openpty()
        self.process = subprocess.Popen(
            [sys.executable, "-m", "awaken", *arguments],
            stdin=theirs,
            stdout=theirs,
            stderr=theirs,
            env={**os.environ, "TERM": "dumb", "NO_COLOR": "1", "COLUMNS": "200"},
            start_new_session=True,
        )
        os.close(theirs)
        self.shown = ""

    def until(self, text: str) -> None:
        """Read what is shown until that is there."""
        ends_s = time.monotonic() + PATIENCE_S
        while text not in self.shown:
            ready, _, _ = select.select([self._ours], [], [], max(ends_s - time.monotonic(), 0))
            assert ready, f"no {text!r} in: {self.shown}"
            self.shown += self._more()

    def interrupt_until(self, text: str) -> None:
        """Press Ctrl-C until that is shown. A press between the question and the wait for its answer is heard with the
        next one; who is busy with the first is left alone.
        """
        ends_s = time.monotonic() + PATIENCE_S
        while text not in self.shown:
            if psutil.Process(self.process.pid).status() == psutil.STATUS_SLEEPING:
                self.process.send_signal(signal.SIGINT)
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
            return os.read(self._ours, 65_536).decode()
        except OSError:  # nobody has the other side open any more
            return ""

    def type(self, line: str) -> None:
        os.write(self._ours, line.encode() + b"\n")

    def close(self) -> None:
        self.process.kill()
        self.process.wait()
        os.close(self._ours)


@contextmanager
def at_a_terminal(*arguments: str) -> Generator[Terminal]:
    terminal = Terminal(*arguments)
    try:
        yield terminal
    finally:
        terminal.close()


def test_whoever_sits_there_is_asked_and_the_answer_goes_on(server: str, thread: str) -> None:
    with at_a_terminal("run", "asking", "a table", "--thread", thread, "--url", server) as terminal:
        terminal.until("? which name?")
        terminal.type("Ann")
        assert terminal.to_the_end() == 0
        assert "for Ann" in terminal.shown


def test_an_empty_line_leaves_the_question_open(server: str, thread: str) -> None:
    with at_a_terminal("run", "asking", "a table", "--thread", thread, "--url", server) as terminal:
        terminal.until("? which name?")
        terminal.type("")
        assert terminal.to_the_end() == Exit.WAITS
    with Client(server) as client:
        [ticket] = client.list_tickets(thread_id=thread)
        assert ticket.state == "open"
        client.decide(ticket.ticket_id, "answer", result="Bob")
        assert client.wait(ticket.run_id).output == "for Bob"


def test_an_approval_is_yes_or_no_with_the_reason_behind_it(server: str, thread: str) -> None:
    for typed, wanted in (("y", "approved: None"), ("n too dear", "denied: too dear")):
        with at_a_terminal("run", "approving", "a table", "--thread", thread, "--url", server) as terminal:
            terminal.until("[y/n, or n and why]")
            terminal.type(typed)
            assert terminal.to_the_end() == 0
            assert wanted in terminal.shown


def test_ctrl_c_at_the_question_ends_the_command_and_not_the_run(server: str, thread: str) -> None:
    with at_a_terminal("run", "asking", "a table", "--thread", thread, "--url", server) as terminal:
        terminal.until("? which name?")
        terminal.interrupt_until("the question stays open")
        assert terminal.to_the_end() == 130
    with Client(server) as client:
        [ticket] = client.list_tickets(thread_id=thread)
        assert ticket.state == "open"
