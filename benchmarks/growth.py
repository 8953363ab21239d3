"""Does a run cost more, in time and on disk, when a million have ended before it?

Two files hold the same threads; on one of them few runs have ended, on the other many. Batches of 20 transitions go to
threads drawn at random from all of them, which is where growth shows: threads that were used lately are at hand,
whatever else is stored. A round of time takes both files in turns in one process, the small one from a fresh copy each
time, so that it stays small. What is written is counted by the kernel, from opening a file to closing it, checkpoints
included.
"""

from __future__ import annotations

import shutil
import statistics
import time
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Final

import msgspec

from awaken.process import tune_process
from awaken.store.sqlite import SqliteStore
from benchmarks.desk import Desk
from benchmarks.machine import written_bytes
from benchmarks.process import Unavailable, alone, scratch
from benchmarks.stock import Size, Stock, size
from benchmarks.table import Findings

_BATCH: Final = 20
_WARM_BATCHES: Final = 20
_KB: Final = 1024


class Rounds(msgspec.Struct, frozen=True):
    passes: int
    batches: int
    """Of each file in a pass."""
    written: int
    """Batches over which bytes are counted."""


FULL: Final = Rounds(passes=5, batches=100, written=300)
QUICK: Final = Rounds(passes=1, batches=10, written=10)


def answer(*, quick: bool, stock: Stock) -> Findings:
    held, rounds = size(quick=quick), QUICK if quick else FULL
    findings = Findings(f"growth: a run on {held.threads:,} threads, after {held.few:,} and after {held.many:,} others")
    small, large = stock.filled(held.few, held), stock.filled(held.many, held)
    _judge_time(findings, held, rounds, small.path, large.path)
    _judge_written(findings, held, rounds, small.path, large.path)
    per_run = (large.bytes - small.bytes) / (held.many - held.few)
    findings.gate("stored for a short run", per_run / _KB, "at most", 2.5, "KB")
    findings.row("the large file", large.bytes / _KB**2, "MB", f"filled in {large.seconds:,.0f} s")
    return findings


def _judge_time(findings: Findings, held: Size, rounds: Rounds, small: Path, large: Path) -> None:
    passes: list[Costs] = []
    for number in range(rounds.passes):
        with scratch() as folder:
            copy = shutil.copy(small, folder)
            passes.append(
                alone(
                    Costs,
                    "benchmarks.growth:in_turns",
                    small=str(copy),
                    large=str(large),
                    threads=held.threads,
                    batches=rounds.batches,
                    seed=number + 2,
                )
            )
    ratios = [costs.large_us / costs.small_us for costs in passes]
    name = f"a transition after {held.many:,} runs, over after {held.few:,}"
    findings.gate(name, statistics.median(ratios), "at most", 1.4, "x")
    for runs, field in ((held.few, "small_us"), (held.many, "large_us")):
        taken = [getattr(costs, field) for costs in passes]
        findings.row(f"a transition after {runs:,} runs", statistics.median(taken), "µs", _spread(taken))


def _judge_written(findings: Findings, held: Size, rounds: Rounds, small: Path, large: Path) -> None:
    with scratch() as folder:
        copy = shutil.copy(small, folder)
        try:
            after_few, after_many = [
                alone(
                    float,
                    "benchmarks.growth:written_for_a_run",
                    path=str(path),
                    threads=held.threads,
                    batches=rounds.written,
                )
                for path in (copy, large)
            ]
        except Unavailable as error:
            findings.skipped("written for a run", error)
            return
    findings.gate(f"written for a run after {held.many:,}", after_many / _KB, "at most", 40, "KB")
    findings.row(f"written for a run after {held.few:,}", after_few / _KB, "KB")


def _spread(values: list[float]) -> str:
    return f"{min(values):,.0f} to {max(values):,.0f}, {len(values)} passes"


# --- in a process of its own ------------------------------------------------------------------------------------------


class Costs(msgspec.Struct):
    """Microseconds per transition, commit and waiting for checkpoints included."""

    small_us: float
    large_us: float


async def in_turns(*, small: str, large: str, threads: int, batches: int, seed: int) -> Costs:
    """A batch on one file, then one on the other, so that both meet the machine in the same moods."""
    paths = (small, large)
    async with AsyncExitStack() as stack:
        desks = [Desk(await stack.enter_async_context(SqliteStore(Path(path))), threads, seed) for path in paths]
        tune_process()
        for _ in range(_WARM_BATCHES):
            for desk in desks:
                await desk.run_some(_BATCH)
        taken_s = [0.0, 0.0]
        for _ in range(batches):
            for index, desk in enumerate(desks):
                started = time.perf_counter()
                await desk.run_some(_BATCH)
                taken_s[index] += time.perf_counter() - started
    small_us, large_us = [seconds / (2 * _BATCH * batches) * 1e6 for seconds in taken_s]
    return Costs(small_us, large_us)


async def written_for_a_run(*, path: str, threads: int, batches: int) -> float:
    """Bytes. Raises Unavailable where nobody counts them."""
    before = written_bytes()
    async with SqliteStore(Path(path)) as store:
        desk = Desk(store, threads, seed=0)
        for _ in range(batches):
            await desk.run_some(_BATCH)
    written = written_bytes() - before
    if not written:
        raise Unavailable("the folder for temporary files is not on a disk; set TMPDIR")
    return written / (batches * _BATCH)
