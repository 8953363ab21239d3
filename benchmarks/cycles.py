"""How many durable runs a second, and how soon does one start?

A closed loop: 1 000 conversations, each submitting its next run when the last one has ended, an agent that does
nothing, every step on disk (`synchronous=FULL`) before the next begins. The product is measured through `Awaken`, as a
program uses it. Beside it, in the same rounds: the seeds' statement sequence (`naive`), what SQLite can take at most
(`raw`) and DBOS (`peers`). Gates are medians of ratios inside a round. A round takes several pairs of the product and
SQLite alone, one right after the other: they are quick, and a shared machine changes its mood within seconds.
"""

from __future__ import annotations

import asyncio
import statistics
import time
from pathlib import Path
from typing import Any, Final

import msgspec

from awaken.executors.function import Context
from awaken.mailbox.settings import MailboxSettings
from awaken.process import tune_process
from awaken.wiring import Awaken
from benchmarks import naive, peers, raw
from benchmarks.desk import TEXT
from benchmarks.heartbeat import heartbeat
from benchmarks.machine import fsync_us, percentile
from benchmarks.process import Unavailable, alone, scratch
from benchmarks.table import Findings

_IDLE_GAP_S: Final = 0.002
_SETTLE_S: Final = 0.1
"""For what a start-up looks through before it is idle."""


class Cycles(msgspec.Struct):
    """One closed loop of the product, then single runs on the idle system."""

    cycles_s: float
    lag_p50_ms: float
    lag_p99_ms: float
    idle_start_ms: float = 0.0
    idle_result_ms: float = 0.0
    fsync_ms: float = 0.0


class Size(msgspec.Struct, frozen=True):
    rounds: int
    pairs: int
    """Of the product and SQLite alone, in each round."""
    threads: int
    turns: int
    naive_turns: int
    dbos_runs: int
    idle: int


FULL: Final = Size(rounds=5, pairs=3, threads=1_000, turns=20, naive_turns=1, dbos_runs=1_000, idle=200)
QUICK: Final = Size(rounds=1, pairs=1, threads=200, turns=5, naive_turns=1, dbos_runs=200, idle=50)


def answer(*, quick: bool) -> Findings:
    """Run the rounds and judge them."""
    size = QUICK if quick else FULL
    findings = Findings("cycles: durable runs in a closed loop (submit, claim, execute, settle)")
    found: dict[str, list[float]] = {}
    products: list[Cycles] = []
    with scratch() as folder:
        tape = folder / "written.tape"
        _product(size, size.threads, tape=str(tape))
        for _ in range(size.rounds):
            pairs = _pairs(size, tape)
            products += [product for product, _ in pairs]
            for name, values in (_ratios(pairs) | _others(size, pairs)).items():
                found.setdefault(name, []).extend(values)
    middle = {name: statistics.median(values) for name, values in found.items()}
    _judge(findings, middle, products)
    for name in ("product", "product_100", "raw", "naive", "dbos"):
        if name in middle:
            findings.row(_NAMES[name], middle[name], "cycles/s", _spread(found[name]))
    findings.row("event loop late, p50 of a 2 ms heartbeat", _median(products, "lag_p50_ms"), "ms")
    findings.row("idle submit → result p50", _median(products, "idle_result_ms"), "ms")
    if "dbos" not in middle:
        findings.skipped(_NAMES["dbos"], "dbos is not installed (extra bench-dbos)")
    return findings


_NAMES: Final = {
    "product": "this, max_concurrent_runs=1000",
    "product_100": "this, max_concurrent_runs=100 (the default)",
    "raw": "SQLite alone, the same rows",
    "naive": "the seeds' statement sequence, aiosqlite",
    "dbos": "DBOS on SQLite, in process",
}


_Pair = tuple[Cycles, raw.Ceiling]


def _pairs(size: Size, tape: Path) -> list[_Pair]:
    """The product and what it could be at most, where the machine was in one mood."""
    pairs: list[_Pair] = []
    for _ in range(size.pairs):
        ceiling = alone(raw.Ceiling, "benchmarks.raw:replay", tape=str(tape))
        pairs.append((_product(size, size.threads, idle=size.idle), ceiling))
    return pairs


def _ratios(pairs: list[_Pair]) -> dict[str, list[float]]:
    return {
        "product": [product.cycles_s for product, _ in pairs],
        "raw": [ceiling.cycles_s for _, ceiling in pairs],
        "of_raw": [100 * product.cycles_s / ceiling.cycles_s for product, ceiling in pairs],
    }


def _others(size: Size, pairs: list[_Pair]) -> dict[str, list[float]]:
    """Every other system once, and the product's latest runs over it."""
    product_s = statistics.median(product.cycles_s for product, _ in pairs)
    default = _product(size, 100)
    plain = alone(
        naive.NaiveResult, "benchmarks.naive:measure", threads=size.threads, turns=size.naive_turns, text=TEXT
    )
    found = {
        "product_100": [default.cycles_s],
        "of_1000_slots": [100 * default.cycles_s / product_s],
        "naive": [plain.cycles_s],
        "over_naive": [product_s / plain.cycles_s],
    }
    try:
        dbos = alone(peers.DbosResult, "benchmarks.peers:dbos", runs=size.dbos_runs)
        found |= {"dbos": [dbos.cycles_s], "over_dbos": [product_s / dbos.cycles_s]}
    except Unavailable:
        pass
    return found


def _product(size: Size, max_concurrent_runs: int, **options: Any) -> Cycles:
    return alone(
        Cycles,
        "benchmarks.cycles:measure",
        threads=size.threads,
        turns=size.turns,
        max_concurrent_runs=max_concurrent_runs,
        **options,
    )


def _judge(findings: Findings, middle: dict[str, float], products: list[Cycles]) -> None:
    findings.gate("cycles/s over the seeds' sequence", middle["over_naive"], "at least", 30, "x")
    findings.gate("cycles/s of what SQLite can take", middle["of_raw"], "at least", 45, "%")
    findings.gate("cycles/s with 100 slots, of 1,000", middle["of_1000_slots"], "at least", 65, "%")
    if "over_dbos" in middle:
        findings.gate("cycles/s over DBOS on SQLite", middle["over_dbos"], "at least", 20, "x")
    findings.gate("event loop late at full load, p99", _median(products, "lag_p99_ms"), "at most", 5, "ms")
    fsync_ms = _median(products, "fsync_ms")
    target_ms = 2.0 if fsync_ms <= 0.2 else 2.0 + 2 * fsync_ms
    findings.gate("idle submit → start p50", _median(products, "idle_start_ms"), "at most", target_ms, "ms")


def _median(products: list[Cycles], field: str) -> float:
    return statistics.median(getattr(product, field) for product in products)


def _spread(values: list[float]) -> str:
    return f"{min(values):,.0f} to {max(values):,.0f} in {len(values)} runs"


# --- in a process of its own ------------------------------------------------------------------------------------------


async def noop(context: Context) -> None:
    """The agent that does nothing."""


async def measure(
    *,
    threads: int,
    turns: int,
    max_concurrent_runs: int,
    idle: int = 0,
    tape: str | None = None,
    url: str | None = None,
) -> Cycles:
    """The product's closed loop. With `tape`, every row it writes is recorded there, which makes it slower."""
    with scratch() as folder:
        if tape is not None:
            raw.record_sqlite()
        settings = MailboxSettings(max_concurrent_runs=max_concurrent_runs)
        app = Awaken(f"sqlite:///{folder}/bench.db", settings=settings)
        app.agent("noop", noop)
        async with app:
            tune_process()  # as `awaken serve` does once it has started
            if tape is not None:
                raw.start_tape(app.store)
            cycles = await closed_loop(app, threads, turns)
            if idle:
                await idle_runs(app, idle, cycles)
        if tape is not None:
            raw.save_tape(Path(tape), cycles=threads * turns)
        cycles.fsync_ms = fsync_us(folder) / 1000
        return cycles


async def closed_loop(app: Awaken, threads: int, turns: int, *, prefix: str = "thread") -> Cycles:
    """Conversations side by side, each with its next run when the last one has ended. `prefix`: of their ids."""

    async def converse(index: int) -> None:
        for _ in range(turns):
            await app.run(f"{prefix}-{index:06d}", TEXT, agent="noop")

    await asyncio.sleep(_SETTLE_S)
    async with heartbeat() as late_ms:
        started = time.perf_counter()
        await asyncio.gather(*[converse(index) for index in range(threads)])
        elapsed_s = time.perf_counter() - started
    cycles_s = threads * turns / elapsed_s
    return Cycles(cycles_s, percentile(late_ms, 50), percentile(late_ms, 99))


async def idle_runs(app: Awaken, count: int, cycles: Cycles) -> None:
    """Runs one after the other, when nothing else is done; how soon one begins, and has ended, is put into `cycles`."""
    started_at: list[float] = []

    async def stamp(context: Context) -> None:
        started_at.append(time.perf_counter())

    app.agent("stamp", stamp)
    waits: list[float] = []
    results: list[float] = []
    for _ in range(count):
        asked = time.perf_counter()
        handle = await app.submit("idle", TEXT, agent="stamp")
        await handle.result()
        results.append((time.perf_counter() - asked) * 1000)
        waits.append((started_at[-1] - asked) * 1000)
        await asyncio.sleep(_IDLE_GAP_S)
    cycles.idle_start_ms = statistics.median(waits)
    cycles.idle_result_ms = statistics.median(results)
