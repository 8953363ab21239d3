"""What does it cost that an agent reads its input, in conversations of some length?

Background runs over HTTP on threads that hold 80 messages each, by an agent that looks at nothing and by one that reads
what it was asked, as every agent of use does. Both take turns on the same server and the same threads; the gate is the
median of the ratios.
"""

from __future__ import annotations

import statistics
from pathlib import Path
from typing import Final

import msgspec

from awaken.store.sqlite import SqliteStore
from benchmarks.clients import HttpRuns
from benchmarks.desk import Desk
from benchmarks.process import alone, scratch
from benchmarks.serving import awaken_served
from benchmarks.table import Findings

MESSAGES: Final = 80
_CONNECTIONS: Final = 64


class Load(msgspec.Struct, frozen=True):
    threads: int
    runs: int
    """Of each agent in a round."""
    rounds: int


FULL: Final = Load(threads=2_000, runs=4_000, rounds=3)
QUICK: Final = Load(threads=20, runs=100, rounds=1)


def answer(*, quick: bool) -> Findings:
    load = QUICK if quick else FULL
    findings = Findings(f"reading: background runs over HTTP, {MESSAGES} messages in the thread")
    looks_at_nothing: list[float] = []
    reads: list[float] = []
    with scratch() as folder:
        file = folder / "reading.db"
        alone(type(None), "benchmarks.reading:fill", path=str(file), threads=load.threads)
        with awaken_served(folder, "benchmarks.apps:app", store=file) as server:
            for _ in range(load.rounds):
                looks_at_nothing.append(_runs_s(server.port, load, "noop"))
                reads.append(_runs_s(server.port, load, "reader"))
    ratios = [100 * reading / other for reading, other in zip(reads, looks_at_nothing, strict=True)]
    findings.gate("runs/s of an agent that reads its input", statistics.median(ratios), "at least", 75, "%")
    findings.row("an agent that reads its input", statistics.median(reads), "runs/s")
    findings.row("an agent that looks at nothing", statistics.median(looks_at_nothing), "runs/s")
    return findings


def _runs_s(port: int, load: Load, agent_id: str) -> float:
    return alone(
        HttpRuns,
        "benchmarks.clients:submit_runs",
        port=port,
        runs=load.runs,
        connections=_CONNECTIONS,
        threads=load.threads,
        agent_id=agent_id,
    ).runs_s


# --- in a process of its own ------------------------------------------------------------------------------------------


async def fill(*, path: str, threads: int) -> None:
    """A file with conversations of that length."""
    async with SqliteStore(Path(path), durability="process") as store:
        await Desk(store, threads, seed=1).make_threads(messages=MESSAGES)
