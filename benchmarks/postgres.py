"""What does a durable run cost on Postgres, and do two processes on one database do more than one?

The closed loop of `cycles`, over a server of its own from a wheel, on the same machine: so server and processes share
its processors, and what is measured is the whole. Beside it one row written and committed, again and again over one
connection, which is what every figure here is made of: with a server on a network that takes longer, and everything
with it. No gates: rows for comparison.
"""

# pyright: basic, reportMissingImports=false
# (the driver has no types, and the server need not be installed)

from __future__ import annotations

import asyncio
import statistics
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Final

import msgspec

from awaken.executors.function import Context
from awaken.mailbox.settings import MailboxSettings
from awaken.process import tune_process
from awaken.wiring import Awaken
from benchmarks.cycles import Cycles, closed_loop, idle_runs, noop
from benchmarks.desk import TEXT
from benchmarks.pgserver import server
from benchmarks.process import Unavailable, alone, scratch
from benchmarks.table import Findings

_LEAD_S: Final = 5.0
"""Two processes are told when to begin together: so much later, when both have started."""


class Size(msgspec.Struct, frozen=True):
    threads: int
    turns: int
    idle: int
    commits: int
    transactions: int


FULL: Final = Size(threads=1_000, turns=5, idle=200, commits=2_000, transactions=200)
QUICK: Final = Size(threads=50, turns=2, idle=10, commits=50, transactions=10)


class Transactions(msgspec.Struct):
    """Transactions of a caller's, one after the other: without a submit; with one; and from its commit to the start."""

    plain_ms: float
    with_submit_ms: float
    start_ms: float


def answer(*, quick: bool) -> Findings:
    size = QUICK if quick else FULL
    findings = Findings("postgres: durable runs over a server on this machine")
    with scratch() as folder:
        try:
            with server(folder) as url:
                _measure(findings, url, size)
        except Unavailable as error:
            findings.skipped("this, on Postgres", error)
    return findings


def _measure(findings: Findings, url: str, size: Size) -> None:
    commit_ms = alone(float, "benchmarks.postgres:commit", url=url, count=size.commits)
    one = alone(Cycles, "benchmarks.postgres:loop", url=url, name="one", size=size)
    two = _together(url, size, 2)
    mine = alone(Transactions, "benchmarks.postgres:transactions", url=url, count=size.transactions)
    findings.row("one row and its commit, one connection, p50", commit_ms, "ms")
    findings.row("this, one process", one.cycles_s, "cycles/s")
    findings.row("this, two processes together", sum(each.cycles_s for each in two), "cycles/s")
    findings.row("event loop late, p99 of a 2 ms heartbeat", one.lag_p99_ms, "ms")
    findings.row("idle submit → start p50", one.idle_start_ms, "ms", f"{one.idle_start_ms / commit_ms:.1f} commits")
    findings.row("idle submit → result p50", one.idle_result_ms, "ms", f"{one.idle_result_ms / commit_ms:.1f} commits")
    findings.row("a transaction of the caller's, p50", mine.plain_ms, "ms")
    findings.row("the same with a submit in it, p50", mine.with_submit_ms, "ms")
    findings.row("its commit → start p50", mine.start_ms, "ms")


def _together(url: str, size: Size, count: int) -> list[Cycles]:
    """Processes that begin at one instant, each with threads of its own."""
    begin_at = time.time() + _LEAD_S
    with ThreadPoolExecutor(count) as pool:
        asked = [
            pool.submit(
                alone, Cycles, "benchmarks.postgres:loop", url=url, name=f"p{number}", size=size, begin_at=begin_at
            )
            for number in range(count)
        ]
        return [each.result() for each in asked]


# --- in a process of its own ------------------------------------------------------------------------------------------


async def commit(*, url: str, count: int) -> float:
    """The middle time of a row and its commit, in milliseconds."""
    import asyncpg

    connection = await asyncpg.connect(url)
    await connection.execute("CREATE TABLE rows (no bigint PRIMARY KEY, body text)")
    took: list[float] = []
    for number in range(count):
        asked = time.perf_counter()
        await connection.execute("INSERT INTO rows (no, body) VALUES ($1, $2)", number, TEXT)
        took.append((time.perf_counter() - asked) * 1000)
    await connection.close()
    return statistics.median(took)


async def loop(*, url: str, name: str, size: dict[str, int], begin_at: float | None = None) -> Cycles:
    """The closed loop. `begin_at`: by the clock of the machine; then nothing is measured but that."""
    asked = msgspec.convert(size, Size)
    app = Awaken(url, settings=MailboxSettings(max_concurrent_runs=100))
    app.agent("noop", noop)
    async with app:
        tune_process()
        if begin_at is not None:
            await asyncio.sleep(max(begin_at - time.time(), 0.0))
        cycles = await closed_loop(app, asked.threads, asked.turns, prefix=name)
        if begin_at is None:
            await idle_runs(app, asked.idle, cycles)
    return cycles


async def transactions(*, url: str, count: int) -> Transactions:
    import asyncpg

    begun_at: dict[str, float] = {}

    async def stamp(context: Context) -> None:
        begun_at[context.identity.run_id] = time.perf_counter()

    app = Awaken(url)
    app.agent("stamp", stamp)
    plain: list[float] = []
    with_submit: list[float] = []
    waits: list[float] = []
    async with app:
        connection = await asyncpg.connect(url)
        await connection.execute("CREATE TABLE orders (no bigint PRIMARY KEY)")
        for number in range(count):
            asked = time.perf_counter()
            async with connection.transaction():
                await connection.execute("INSERT INTO orders (no) VALUES ($1)", 2 * number)
            plain.append((time.perf_counter() - asked) * 1000)
            asked = time.perf_counter()
            async with connection.transaction():
                await connection.execute("INSERT INTO orders (no) VALUES ($1)", 2 * number + 1)
                run = await app.submit(f"order-{number}", TEXT, agent="stamp", connection=connection)
            committed = time.perf_counter()
            with_submit.append((committed - asked) * 1000)
            await run.result()
            waits.append((begun_at[run.run_id] - committed) * 1000)
        await connection.close()
    return Transactions(statistics.median(plain), statistics.median(with_submit), statistics.median(waits))
