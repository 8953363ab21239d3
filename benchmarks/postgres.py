"""What does a durable run cost on Postgres, and do two processes on one database do more than one?

The closed loop of `cycles`, over a server of its own from a wheel, on the same machine: so server and processes share
its processors, and what is measured is the whole. Beside it one row written and committed, again and again over one
connection, which is what every figure here is made of: with a server on a network that takes longer, and everything
with it. What a run costs in statements, commits and flushes of the disk is counted, and is the same on every machine
but for how many callers meet in a batch.
"""

# pyright: basic, reportMissingImports=false
# (the driver has no types, and the server need not be installed)

from __future__ import annotations

import asyncio
import statistics
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Final

import msgspec

from awaken.domain.clock import from_rfc3339
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
    counted: int
    """Runs of each caller."""
    steps: int
    """Of a run that another process watches."""
    processes: tuple[int, ...]
    """Together, each with its part of the threads."""


FULL: Final = Size(
    threads=1_000, turns=5, idle=200, commits=2_000, transactions=200, counted=50, steps=200, processes=(2, 4, 8)
)
QUICK: Final = Size(threads=50, turns=2, idle=10, commits=50, transactions=10, counted=5, steps=10, processes=(2,))
CALLERS: Final = 64


class Counts(msgspec.Struct):
    """For each background run of `CALLERS`, whose results are read."""

    statements: float
    commits: float
    flushes: float


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
    several = {count: sum(each.cycles_s for each in _together(url, size, count)) for count in size.processes}
    hop_ms = _hop(url, size.steps)
    mine = alone(Transactions, "benchmarks.postgres:transactions", url=url, count=size.transactions)
    counts = alone(Counts, "benchmarks.postgres:counts", url=url, runs=size.counted)
    findings.gate(f"statements for a background run, {CALLERS} callers", counts.statements, "at most", 3, "")
    findings.row("commits for it, those that read included", counts.commits, "")
    findings.row("flushes of the disk for it", counts.flushes, "")
    findings.row("one row and its commit, one connection, p50", commit_ms, "ms")
    findings.row("this, one process", one.cycles_s, "cycles/s")
    for count, cycles_s in several.items():
        findings.row(f"this, {count} processes together", cycles_s, "cycles/s")
    findings.gate("from a step in one process to a stream of another, p50", hop_ms, "at most", 5, "ms")
    findings.row("event loop late, p99 of a 2 ms heartbeat", one.lag_p99_ms, "ms")
    findings.row("idle submit → start p50", one.idle_start_ms, "ms", f"{one.idle_start_ms / commit_ms:.1f} commits")
    findings.row("idle submit → result p50", one.idle_result_ms, "ms", f"{one.idle_result_ms / commit_ms:.1f} commits")
    findings.row("a transaction of the caller's, p50", mine.plain_ms, "ms")
    findings.row("the same with a submit in it, p50", mine.with_submit_ms, "ms")
    findings.row("its commit → start p50", mine.start_ms, "ms")


def _together(url: str, size: Size, count: int) -> list[Cycles]:
    """Processes that begin at one instant, each with threads of its own."""
    size = msgspec.structs.replace(size, threads=max(size.threads * 2 // count, 1))
    begin_at = time.time() + _LEAD_S * max(count / 2, 1)
    with ThreadPoolExecutor(count) as pool:
        asked = [
            pool.submit(
                alone, Cycles, "benchmarks.postgres:loop", url=url, name=f"p{number}", size=size, begin_at=begin_at
            )
            for number in range(count)
        ]
        return [each.result() for each in asked]


def _hop(url: str, steps: int) -> float:
    with ThreadPoolExecutor(1) as pool:
        executing = pool.submit(alone, float, "benchmarks.postgres:execute", url=url)
        hop_ms = alone(float, "benchmarks.postgres:follow", url=url, steps=steps)
        executing.result()
    return hop_ms


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


_STEP_EVERY_S: Final = 0.02
_ENOUGH: Final = "enough"


async def execute(*, url: str) -> float:
    """A process that executes what another one watches, until it is told that it was enough."""
    enough = asyncio.Event()

    async def steps(context: Context) -> None:
        asked = await context.input()
        if asked == _ENOUGH:
            enough.set()
            return
        for number in range(int(asked)):
            await context.step(f"step {number}", lambda: 1)
            await asyncio.sleep(_STEP_EVERY_S)

    app = Awaken(url)
    app.agent("steps", steps)
    async with app:
        await enough.wait()
    return 0.0


async def follow(*, url: str, steps: int) -> float:
    """How long after a step was stored its events come here, in the middle, in milliseconds by the machine's clock."""
    app = Awaken(url, role="api")
    app.agent("steps", noop)
    late: list[float] = []
    async with app:
        handle = await app.submit("watched", str(steps), agent="steps")
        async for event in handle.events(channels=["lifecycle", "debug", "messages"]):
            if event.kind == "StepEnded":
                late.append(time.time() * 1000 - from_rfc3339(event.created_at))
        await (await app.submit("told", _ENOUGH, agent="steps")).result()
    return statistics.median(late)


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


_FLUSHES: Final = {
    False: "SELECT wal_sync::bigint FROM pg_stat_wal",
    True: "SELECT sum(fsyncs)::bigint FROM pg_stat_io WHERE object = 'wal'",  # from Postgres 18 on
}
_COMMITS: Final = "SELECT xact_commit FROM pg_stat_database WHERE datname = current_database()"
_REPORTED_S: Final = 1.5
"""Sessions say what they have done once a second."""


async def counts(*, url: str, runs: int) -> Counts:
    import asyncpg

    from awaken.store.postgres import driver

    statements = 0
    connect, create_pool = driver.connect, driver.create_pool

    def note(_: object) -> None:
        nonlocal statements
        statements += 1

    async def attach(connection: Any) -> None:
        connection.add_query_logger(note)

    async def connected(*arguments: Any, **options: Any) -> Any:
        connection = await connect(*arguments, **options)
        await attach(connection)
        return connection

    def pooled(*arguments: Any, init: Any, **options: Any) -> Any:
        async def both(connection: Any) -> None:
            await init(connection)
            await attach(connection)

        return create_pool(*arguments, init=both, **options)

    driver.connect, driver.create_pool = connected, pooled
    app = Awaken(url, settings=MailboxSettings(max_concurrent_runs=1_000))
    app.agent("noop", noop)

    async def call(caller: int, count: int) -> None:
        for _ in range(count):
            handle = await app.submit(f"counted-{caller:03d}", TEXT, agent="noop")
            await handle.result()

    async def told() -> tuple[int, int]:
        await asyncio.sleep(_REPORTED_S)
        await watching.execute("SELECT pg_stat_clear_snapshot()")
        return await watching.fetchval(_COMMITS), await watching.fetchval(_FLUSHES[is_new])

    watching = await asyncpg.connect(url)
    is_new = watching.get_server_version().major >= 18
    async with app:
        await asyncio.gather(*[call(caller, 1) for caller in range(CALLERS)])
        commits, flushes = await told()
        statements = 0
        await asyncio.gather(*[call(caller, runs) for caller in range(CALLERS)])
        asked = statements
        more_commits, more_flushes = await told()
    await watching.close()
    count = CALLERS * runs
    return Counts(asked / count, (more_commits - commits) / count, (more_flushes - flushes) / count)
