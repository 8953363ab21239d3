"""Is a large file looked through for breaches of invariants without anybody noticing?

The large file of `stock` is healthy: nothing may be found in it, and no slice may take long. Then another user reads
threads from the same store while it is not looked through, while it is as a mailbox does it after a start (three times
as long as a slice took is left to others), and while it is without rest.
"""

from __future__ import annotations

import asyncio
import random
import time
from pathlib import Path

import msgspec

from awaken.domain.ids import DEFAULT_SCOPE, ThreadId
from awaken.mailbox.auditor import PAUSES
from awaken.store.contract import MessageQuery
from awaken.store.invariants import FIRST_PLACE, AuditPlace
from awaken.store.sqlite import SqliteStore
from benchmarks.desk import thread_name
from benchmarks.machine import percentile
from benchmarks.process import alone
from benchmarks.stock import Stock, size
from benchmarks.table import Findings


class Audit(msgspec.Struct):
    """What looking through a file came to; milliseconds."""

    found: int
    slices: int
    seconds: float
    p50_ms: float
    p999_ms: float
    slowest_ms: float
    alone_p99_ms: float
    beside_p99_ms: float
    restless_p99_ms: float


def answer(*, quick: bool, stock: Stock) -> Findings:
    held = size(quick=quick)
    filled = stock.filled(held.many, held)
    taken = alone(
        Audit,
        "benchmarks.audit:look_through",
        timeout_s=900.0,
        path=str(filled.path),
        threads=held.threads,
        reads=200 if quick else 5_000,
    )
    findings = Findings(f"audit: looking through {held.many:,} runs")
    findings.gate("breaches in a healthy file", taken.found, "at most", 0, "")
    findings.gate("a slice, 99.9 %", taken.p999_ms, "at most", 50, "ms")
    findings.gate("another user's reads beside it, over alone (p99)", _ratio(taken), "at most", 2.0, "x")
    findings.row("a slice", taken.p50_ms, "ms", f"{taken.slices:,} slices, the slowest {taken.slowest_ms:.0f} ms")
    findings.row("everything, without rest", taken.seconds, "s")
    findings.row("another user's read alone (p99)", taken.alone_p99_ms, "ms")
    findings.row("another user's read beside it (p99)", taken.beside_p99_ms, "ms")
    findings.row("another user's read, everything looked through without rest (p99)", taken.restless_p99_ms, "ms")
    return findings


def _ratio(taken: Audit) -> float:
    return taken.beside_p99_ms / taken.alone_p99_ms


# --- in a process of its own ------------------------------------------------------------------------------------------


async def look_through(*, path: str, threads: int, reads: int) -> Audit:
    async with SqliteStore(Path(path), durability="process") as store:
        started = time.perf_counter()
        took: list[float] = []
        found = await _audit(store, took)
        seconds = time.perf_counter() - started
        quiet = await _reads(store, threads, reads)
        beside = await _beside(store, threads, reads, pauses=PAUSES)
        restless = await _beside(store, threads, reads, pauses=0)
    return Audit(
        found=found,
        slices=len(took),
        seconds=seconds,
        p50_ms=percentile(took, 50),
        p999_ms=percentile(took, 99.9),
        slowest_ms=max(took),
        alone_p99_ms=percentile(quiet, 99),
        beside_p99_ms=percentile(beside, 99),
        restless_p99_ms=percentile(restless, 99),
    )


async def _audit(store: SqliteStore, took: list[float], *, pauses: int = 0) -> int:
    found = 0
    place: AuditPlace | None = FIRST_PLACE
    while place is not None:
        started = time.perf_counter()
        part = await store.find_breaches(place)
        slice_s = time.perf_counter() - started
        took.append(slice_s * 1000)
        found += len(part.breaches)
        place = part.next
        await asyncio.sleep(pauses * slice_s)
    return found


async def _beside(store: SqliteStore, threads: int, count: int, *, pauses: int) -> list[float]:
    """As `_reads`, while the file is looked through, over and over."""

    async def audit_for_ever() -> None:
        while True:
            await _audit(store, [], pauses=pauses)

    auditing = asyncio.ensure_future(audit_for_ever())
    took = await _reads(store, threads, count)
    assert not auditing.done(), "it has gone on all the time"
    auditing.cancel()
    await asyncio.wait((auditing,))
    return took


async def _reads(store: SqliteStore, threads: int, count: int) -> list[float]:
    """How long each of so many reads took, of threads drawn at random."""
    chance = random.Random(1)
    took: list[float] = []
    for _ in range(count):
        thread_id = ThreadId(thread_name(chance.randrange(threads)))
        started = time.perf_counter()
        await store.load_thread(DEFAULT_SCOPE, thread_id)
        await store.list_messages(DEFAULT_SCOPE, thread_id, MessageQuery(limit=20, descending=True))
        took.append((time.perf_counter() - started) * 1000)
    return took
