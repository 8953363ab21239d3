"""What does it cost a server that twenty people look at it, and how long do they wait for what they see?

A server on the large file of `stock` is asked for the pages that the console begins with: a hundred runs with their
last events, and what needs attention. Then twenty consoles are open at it, each as the page is: it hears hints, and
reads what needs attention when there was one, at most once a second, else now and then. Meanwhile nothing happens, and
then two runs a second do. What the server does anyway, such as looking through its rows after a start, is measured
before and after with no console open, and taken off.
"""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any, Final

import msgspec

from benchmarks.clients import Connection, a_run, connect, request
from benchmarks.machine import percentile
from benchmarks.process import alone, scratch
from benchmarks.serving import awaken_served
from benchmarks.stock import Stock, size
from benchmarks.table import Findings

_HOST: Final = "127.0.0.1"
_PAUSE_S: Final = 1.0
_IDLE_S: Final = 15.0
_PATIENT: Final = {"Prefer": "wait=2"}
"""As in the console's `link.js`."""
_RUN_EVERY_S: Final = 0.5
_PATIENCE_S: Final = 240.0
_TICKS: Final = os.sysconf("SC_CLK_TCK")


class Effort(msgspec.Struct, frozen=True):
    consoles: int
    times: int
    """How often each page is asked for."""
    window_s: float


FULL: Final = Effort(consoles=20, times=60, window_s=16.0)
QUICK: Final = Effort(consoles=2, times=3, window_s=0.5)


class Usage(msgspec.Struct):
    """Of a core, in percent: with the consoles open, and the mean of before and after."""

    open: float
    alone: float

    @property
    def of_consoles(self) -> float:
        return max(self.open - self.alone, 0.0)


class Consoles(msgspec.Struct):
    runs_p99_ms: float
    attention_p99_ms: float
    quiet: Usage
    """With nothing going on."""
    busy: Usage
    """While runs are made."""


def answer(*, quick: bool, stock: Stock) -> Findings:
    held, effort = size(quick=quick), QUICK if quick else FULL
    findings = Findings(f"consoles: {effort.consoles} open, {held.many:,} runs stored")
    file = stock.filled(held.many, held).path
    with scratch() as folder, awaken_served(folder, "benchmarks.apps:app", store=file) as server:
        found = alone(Consoles, "benchmarks.consoles:measure", port=server.port, pid=server.pid, effort=effort)
    findings.gate("a page of 100 runs with their last events, p99", found.runs_p99_ms, "at most", 100, "ms")
    findings.gate("what needs attention, p99", found.attention_p99_ms, "at most", 100, "ms")
    for usage, when in ((found.quiet, "nothing going on"), (found.busy, "two runs a second")):
        findings.gate(f"processor time of the consoles, {when}", usage.of_consoles, "at most", 5, "%")
        findings.row(f"processor time, {when}", usage.open, "%", "of one core")
        findings.row(f"the same, and nobody looks, {when}", usage.alone, "%", "of one core")
    return findings


# --- in a process of its own ------------------------------------------------------------------------------------------


async def measure(*, port: int, pid: int, effort: dict[str, Any]) -> Consoles:
    asked = msgspec.convert(effort, Effort)
    async with asyncio.timeout(_PATIENCE_S):
        line = await connect(port)
        runs_ms = await _timed(line, "/v1/runs?limit=100&include=last_event", asked.times)
        attention_ms = await _timed(line, "/v1/attention", asked.times)
        before = await _quiet_and_busy(port, pid, asked.window_s)
        async with asyncio.TaskGroup() as group:
            consoles = [group.create_task(_look(port)) for _ in range(asked.consoles)]
            await asyncio.sleep(min(2 * _PAUSE_S, asked.window_s))  # all are open, and have read for the first time
            seen = await _quiet_and_busy(port, pid, asked.window_s)
            for console in consoles:
                console.cancel()
        after = await _quiet_and_busy(port, pid, asked.window_s)
        line.close()
    quiet, busy = [Usage(of[1], (of[0] + of[2]) / 2) for of in zip(before, seen, after, strict=True)]
    return Consoles(percentile(runs_ms, 99), percentile(attention_ms, 99), quiet, busy)


async def _quiet_and_busy(port: int, pid: int, window_s: float) -> tuple[float, float]:
    """Processor time while nothing happens, and while runs are made."""
    quiet = await _percent(pid, window_s)
    async with _runs_made(port):
        return quiet, await _percent(pid, window_s)


async def _timed(line: Connection, path: str, times: int) -> list[float]:
    took: list[float] = []
    for _ in range(times):
        began = time.perf_counter()
        await line.call("GET", path)
        took.append((time.perf_counter() - began) * 1000)
    return took


async def _percent(pid: int, seconds: float) -> float:
    """Processor time of a process, of one core, in the next seconds."""
    before, began = _used_s(pid), time.perf_counter()
    await asyncio.sleep(seconds)
    return 100 * (_used_s(pid) - before) / (time.perf_counter() - began)


def _used_s(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / _TICKS


@asynccontextmanager
async def _runs_made(port: int) -> AsyncGenerator[None]:
    line = await connect(port)

    async def make() -> None:
        number = 0
        while True:
            await line.call("POST", "/v1/runs", a_run("noop", f"seen-{number}"))
            number += 1
            await asyncio.sleep(_RUN_EVERY_S)

    making = asyncio.create_task(make())
    yield
    making.cancel()
    with suppress(asyncio.CancelledError):
        await making
    line.close()


async def _look(port: int) -> None:
    """One console, for as long as it is open."""
    reader, writer = await asyncio.open_connection(_HOST, port)
    writer.write(request("GET", "/v1/watch?hints=true"))
    hinted = asyncio.Event()

    async def hear() -> None:
        while content := await reader.read(1 << 16):
            if b"stream.hint" in content:
                hinted.set()

    hearing = asyncio.create_task(hear())
    line = await connect(port)
    try:
        while True:
            hinted.clear()
            await line.call("GET", "/v1/attention", headers=_PATIENT)
            await asyncio.sleep(_PAUSE_S)
            with suppress(TimeoutError):
                async with asyncio.timeout(_IDLE_S - _PAUSE_S):
                    await hinted.wait()
    finally:
        hearing.cancel()
        writer.close()
        line.close()
