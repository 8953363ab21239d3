"""What do runs that wait cost, and how soon is somebody heard?

Two files: in one, runs have ended, in the other as many wait for an approval. The same program is started on both, in
turns: the times until it serves, its memory, and the processor time that it takes while nothing happens are compared.
Then runs that wait are decided, one after another, until each goes on; and a running agent that looks into its inbox
is sent messages.
"""

from __future__ import annotations

import asyncio
import statistics
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Final

import msgspec
import psutil

from awaken.executors.function import Context
from awaken.process import tune_process
from awaken.store.sqlite import SqliteStore
from awaken.wiring import Awaken
from benchmarks.desk import ALL_AGENTS, APPROVAL, RARE_AGENT, TEXT, Desk
from benchmarks.machine import percentile
from benchmarks.process import alone, scratch
from benchmarks.table import Findings

_IDLE_S: Final = 3.0
_LONGEST_AUDIT_S: Final = 180
_FILL_LIMIT_S: Final = 900.0
_LOOK_AGAIN_S: Final = 0.001


class Size(msgspec.Struct, frozen=True):
    runs: int
    turns: int
    """How often each file is started on."""
    decisions: int
    messages: int


FULL: Final = Size(runs=100_000, turns=1, decisions=300, messages=300)
QUICK: Final = Size(runs=500, turns=1, decisions=20, messages=20)


class Idle(msgspec.Struct):
    """A program on a file, after it has started and while nothing happens."""

    start_ms: float
    rss_mb: float
    cpu_percent: float


class Heard(msgspec.Struct):
    p50_ms: float
    p99_ms: float


def answer(*, quick: bool) -> Findings:
    size = QUICK if quick else FULL
    findings = Findings(f"waiting: {size.runs:,} runs that wait for a person, and a run that is talked to")
    with scratch() as folder:
        ended, waiting = folder / "ended.db", folder / "waiting.db"
        for path, suspended in ((ended, False), (waiting, True)):
            alone(
                type(None),
                "benchmarks.waiting:fill",
                timeout_s=_FILL_LIMIT_S,
                path=str(path),
                runs=size.runs,
                suspended=suspended,
            )
        found: dict[Path, list[Idle]] = {ended: [], waiting: []}
        for _ in range(size.turns):
            for path, idles in found.items():
                idles.append(alone(Idle, "benchmarks.waiting:idle", path=str(path)))
        decided = alone(Heard, "benchmarks.waiting:decide", path=str(waiting), count=size.decisions)
        steered = alone(Heard, "benchmarks.waiting:steer", path=str(folder / "steered.db"), count=size.messages)
    more = {name: _middle(found[waiting], name) - _middle(found[ended], name) for name in Idle.__struct_fields__}
    findings.gate("memory, more than with runs that have ended", more["rss_mb"], "at most", 5, "MB")
    findings.gate("start-up, longer than with runs that have ended", more["start_ms"], "at most", 50, "ms")
    findings.gate("processor time of an idle program", _middle(found[waiting], "cpu_percent"), "at most", 1, "%")
    findings.gate("decision → the run goes on p50", decided.p50_ms, "at most", 10, "ms")
    findings.gate("steered → returned by inbox() p50", steered.p50_ms, "at most", 5, "ms")
    for name, idles in (("runs have ended", found[ended]), ("runs wait", found[waiting])):
        findings.row(f"start-up where {name}", _middle(idles, "start_ms"), "ms")
        findings.row(f"memory where {name}", _middle(idles, "rss_mb"), "MB")
        findings.row(f"processor time where {name}", _middle(idles, "cpu_percent"), "%")
    findings.row("decision → the run goes on p99", decided.p99_ms, "ms")
    findings.row("steered → returned by inbox() p99", steered.p99_ms, "ms")
    return findings


def _middle(idles: list[Idle], field: str) -> float:
    return statistics.median(getattr(idle, field) for idle in idles)


# --- in a process of its own ------------------------------------------------------------------------------------------


async def fill(*, path: str, runs: int, suspended: bool) -> None:
    """A file with so many runs, each on a thread of its own: they wait for an approval, or have ended."""
    async with SqliteStore(Path(path), durability="process") as store:
        tune_process()
        desk = Desk(store, runs, seed=1)
        await (desk.wait_on_each() if suspended else desk.run_on_each())


async def nothing(context: Context) -> None:
    """What no run of these files comes to."""


async def idle(*, path: str) -> Idle:
    """Start a program on the file, and let it be."""
    started_s = time.perf_counter()
    async with _app(path, nothing) as app:
        start_ms = (time.perf_counter() - started_s) * 1000
        tune_process()
        await _audited(app)
        process, used_s = psutil.Process(), time.process_time()
        await asyncio.sleep(_IDLE_S)
        cpu_percent = 100 * (time.process_time() - used_s) / _IDLE_S
        return Idle(start_ms, process.memory_info().rss / 2**20, cpu_percent)


async def _audited(app: Awaken) -> None:
    """All rows are looked through once after a start, which is no idleness."""
    for _ in range(_LONGEST_AUDIT_S):
        if app.mailbox.health().audit.rounds:
            break
        await asyncio.sleep(1)


async def decide(*, path: str, count: int) -> Heard:
    """Approve runs one after another, and wait until each goes on."""
    went_on: asyncio.Queue[float] = asyncio.Queue()
    took_ms: list[float] = []

    async def asker(context: Context) -> None:
        assert (await context.approve(TEXT, name=APPROVAL)).approved
        went_on.put_nowait(time.perf_counter())

    async with _app(path, asker) as app:
        tune_process()
        tickets = [ticket async for ticket in app.list_tickets(state="open", limit=count)]
        for ticket in tickets:
            asked = time.perf_counter()
            await app.decide(ticket.ticket_id, "approve")
            took_ms.append((await went_on.get() - asked) * 1000)
            await app.wait(ticket.run_id)
    return Heard(percentile(took_ms, 50), percentile(took_ms, 99))


async def steer(*, path: str, count: int) -> Heard:
    """Send messages to an agent that looks into its inbox a thousand times a second."""
    taken: asyncio.Queue[float] = asyncio.Queue()
    took_ms: list[float] = []

    async def listener(context: Context) -> None:
        left = count
        while left:
            for _ in await context.inbox():
                taken.put_nowait(time.perf_counter())
                left -= 1
            await asyncio.sleep(_LOOK_AGAIN_S)

    async with _app(path, listener) as app:
        tune_process()
        run = await app.submit("talked-to", TEXT, agent=RARE_AGENT)
        for _ in range(count):
            await run.steer(TEXT)
            accepted = time.perf_counter()
            took_ms.append((await taken.get() - accepted) * 1000)
        await run.result()
    return Heard(percentile(took_ms, 50), percentile(took_ms, 99))


def _app(path: str, agent: Callable[[Context], Awaitable[None]]) -> Awaken:
    app = Awaken(f"sqlite:///{path}")
    for agent_id in ALL_AGENTS:
        app.agent(agent_id, agent)
    return app
