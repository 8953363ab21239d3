"""What does a server do while there is nothing to be done?

A server on the file of `startup` without queued runs, in a process that counts what it asks of SQLite. After a start
all rows are looked through once for what contradicts itself, with pauses; that is not idleness, and told apart. Then it
is left alone for longer than any of its intervals.
"""

from __future__ import annotations

import asyncio
import re
import sqlite3
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import msgspec

from awaken.cli.server import Address, bind, serve_until_stopped
from awaken.wiring import Awaken
from benchmarks.process import MeasurementFailed, alone, scratch
from benchmarks.startup import FULL, QUICK, fill_apart
from benchmarks.table import Findings

_IDLE_S: Final = 65.0
"""Everything that is done from time to time is done within a minute."""
_QUICK_S: Final = 2.0
_LONGEST_AUDIT_S: Final = 300.0
_LOOK_AGAIN_S: Final = 0.2
_LIMIT_S: Final = 600.0
_VALUE: Final = re.compile(r"x?'(?:[^']|'')*'|\b\d+\b")
"""What differs when one statement is given again: SQLite shows it with its values."""
_SHOWN: Final = 80


class Activity(msgspec.Struct):
    """In so many seconds: processor time, and statements given to SQLite."""

    seconds: float
    cpu_s: float
    statements: int
    most_frequent: str
    times: int
    """How often the most frequent one."""

    @property
    def cpu_percent(self) -> float:
        return 100 * self.cpu_s / self.seconds


class Idle(msgspec.Struct):
    audit: Activity
    idle: Activity


def answer(*, quick: bool) -> Findings:
    held, seconds = (QUICK, _QUICK_S) if quick else (FULL, _IDLE_S)
    held = msgspec.structs.replace(held, queued=0)
    findings = Findings(f"idle: `awaken serve` on a file with {held}")
    with scratch() as folder:
        path = fill_apart(folder / "filled.db", held)
        found = alone(Idle, "benchmarks.idle:measure", timeout_s=_LIMIT_S, path=str(path), seconds=seconds)
    idle, audit = found.idle, found.audit
    findings.gate("an idle server's most frequent statement", idle.times / idle.seconds, "at most", 1, "/s")
    findings.gate("processor time of an idle server", idle.cpu_percent, "at most", 1, "%")
    findings.row("statements of an idle server", idle.statements / idle.seconds, "/s", f"in {idle.seconds:.0f} s")
    findings.row("the most frequent", idle.times, "times", idle.most_frequent)
    findings.row("looking through all rows after a start", audit.seconds, "s")
    findings.row(
        "processor time meanwhile", audit.cpu_percent, "%", f"{audit.statements / audit.seconds:,.0f} statements/s"
    )
    return findings


# --- in a process of its own ------------------------------------------------------------------------------------------


async def measure(*, path: str, seconds: float) -> Idle:
    said: list[str] = []
    _count_statements(said.append)
    app = Awaken(f"sqlite:///{Path(path)}")
    ready = asyncio.Event()
    bound = bind(Address("127.0.0.1", 0))
    serving = asyncio.ensure_future(serve_until_stopped(app, bound, _nothing, ready.set, shutdown_drain_s=0))
    waiting = asyncio.ensure_future(ready.wait())
    await asyncio.wait((serving, waiting), return_when=asyncio.FIRST_COMPLETED)
    try:
        if serving.done():
            serving.result()
        audit = await _during(said, lambda: _audited(app))
        return Idle(audit, await _during(said, lambda: asyncio.sleep(seconds)))
    finally:
        for task in (serving, waiting):
            task.cancel()
        await asyncio.wait((serving, waiting))


def _nothing() -> None:
    pass


def _count_statements(note: Callable[[str], None]) -> None:
    """Have every connection that is opened from now on say what it is asked."""
    connect = sqlite3.connect

    def connected(*arguments: Any, **named: Any) -> sqlite3.Connection:
        connection = connect(*arguments, **named)
        connection.set_trace_callback(note)
        return connection

    sqlite3.connect = connected


async def _during(said: list[str], wait: Callable[[], Any]) -> Activity:
    said.clear()
    began_s, used_s = time.monotonic(), time.process_time()
    await wait()
    seconds, cpu_s = time.monotonic() - began_s, time.process_time() - used_s
    [(statement, times)] = Counter([_VALUE.sub("?", each) for each in said]).most_common(1) or [("", 0)]
    return Activity(seconds, cpu_s, len(said), " ".join(statement.split())[:_SHOWN], times)


async def _audited(app: Awaken) -> None:
    until_s = time.monotonic() + _LONGEST_AUDIT_S
    while not app.mailbox.health().audit.rounds:
        if time.monotonic() > until_s:
            raise MeasurementFailed(f"the rows were not looked through within {_LONGEST_AUDIT_S:.0f} s")
        await asyncio.sleep(_LOOK_AGAIN_S)
