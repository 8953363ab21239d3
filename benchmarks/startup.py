"""How soon does a server go on where the last one stopped, with much in its file?

A file in which runs have ended, others are queued and some wait for an approval. A real `awaken serve` process is
started on a copy of it: the time until `/health/ready` says 200, then until the first queued run executes. It is killed
at once, in the middle of its work, and another one is started on what it leaves: the same times, and until the last run
has ended. Other programs have read the file before, so it is in memory as far as there is room.
"""

from __future__ import annotations

import os
import shutil
import signal
import statistics
import time
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import msgspec

from awaken.client import Client
from awaken.process import tune_process
from awaken.store.sqlite import SqliteStore
from benchmarks.desk import Desk
from benchmarks.process import MeasurementFailed, alone, scratch
from benchmarks.serving import Served, awaken_served
from benchmarks.table import Findings

_FILL_LIMIT_S: Final = 900.0
_LONGEST_S: Final = 120.0
_LOOK_AGAIN_S: Final = 0.01
_COUNT_AGAIN_S: Final = 0.1


class Held(msgspec.Struct, frozen=True):
    """How many runs a file has of each kind."""

    ended: int
    queued: int
    waiting: int

    def __str__(self) -> str:
        return f"{self.ended:,} runs that have ended, {self.queued:,} queued, {self.waiting:,} waiting"


FULL: Final = Held(ended=100_000, queued=10_000, waiting=1_000)
QUICK: Final = Held(ended=1_000, queued=2_000, waiting=50)


class Start(msgspec.Struct):
    """Of one server, in seconds."""

    serving_s: float
    """From starting its process until it was seen to serve."""
    executing_s: float
    """From there to the first execution; less than 0 when that came first."""


class Starts(msgspec.Struct):
    first: Start
    after_kill: Start
    done_s: float
    """From the second server's first execution to the end of the last run, and how many those were."""
    left: int


def answer(*, quick: bool) -> Findings:
    held, turns = (QUICK, 1) if quick else (FULL, 3)
    findings = Findings(f"startup: `awaken serve` on a file with {held}")
    with scratch() as folder:
        filled = fill_apart(folder / "filled.db", held)
        starts = [_start(filled, folder / f"turn-{turn}") for turn in range(turns)]
    for after, found in (
        ("", [each.first for each in starts]),
        (" after kill -9", [each.after_kill for each in starts]),
    ):
        serving_s = statistics.median([each.serving_s for each in found])
        executing_s = statistics.median([each.executing_s for each in found])
        findings.gate(f"start to serving{after}", serving_s, "at most", 2, "s")
        findings.gate(f"serving to the first queued run executing{after}", executing_s, "at most", 1, "s")
    done_s, left = statistics.median([each.done_s for each in starts]), starts[0].left
    findings.row("from there to the end of the last run", done_s, "s", f"{left / done_s:,.0f} runs a second")
    return findings


def fill_apart(path: Path, held: Held) -> Path:
    """A new file with so many runs, made by a process of its own."""
    alone(type(None), "benchmarks.startup:fill", timeout_s=_FILL_LIMIT_S, path=str(path), held=held)
    return path


def _start(filled: Path, folder: Path) -> Starts:
    folder.mkdir()
    path = folder / "runs.db"
    shutil.copyfile(filled, path)
    with _started(folder, path, "first") as (server, first):
        os.kill(server.pid, signal.SIGKILL)
    with _started(folder, path, "second") as (server, second), Client(f"http://127.0.0.1:{server.port}") as client:
        executing_s, left = time.monotonic(), _open_runs(client)
        while _open_runs(client):
            if time.monotonic() > executing_s + _LONGEST_S:
                raise MeasurementFailed(f"runs were still queued {_LONGEST_S:.0f} s after the first was executed")
            time.sleep(_COUNT_AGAIN_S)
        return Starts(first, second, time.monotonic() - executing_s, left)


@contextmanager
def _started(folder: Path, path: Path, name: str) -> Generator[tuple[Served, Start]]:
    """A server on the file, that executes."""
    executed = folder / name
    with awaken_served(folder, "benchmarks.apps:desk", store=path, executed=executed) as server:
        ready_s = time.monotonic()
        yield server, Start(server.start_s, _first_execution(executed, ready_s) - ready_s)


def _first_execution(executed: Path, ready_s: float) -> float:
    """When an agent was called first, on the clock that processes share."""
    while time.monotonic() < ready_s + _LONGEST_S:
        if executed.exists() and (noted := executed.read_text()):
            return float(noted)
        time.sleep(_LOOK_AGAIN_S)
    raise MeasurementFailed(f"no queued run was executed within {_LONGEST_S:.0f} s")


def _open_runs(client: Client) -> int:
    """How many are queued or executed."""
    return sum([each.count for each in client.run_summary().counts if each.phase in ("queued", "running")])


# --- in a process of its own ------------------------------------------------------------------------------------------


async def fill(*, path: str, held: dict[str, int]) -> None:
    runs = msgspec.convert(held, Held)
    async with SqliteStore(Path(path), durability="process") as store:
        tune_process()
        ended = Desk(store, runs.ended, seed=1)
        await ended.make_threads()
        await ended.fill(runs.ended)
        await Desk(store, runs.waiting, seed=2).wait_on_each()
        await ended.queue_now(runs.queued)
