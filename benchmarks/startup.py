"""How soon does a server go on where the last one stopped, with much in its file?

A file in which runs have ended, others are queued and some wait for an approval. A real `awaken serve` process is
started on a copy of it: the time until `/health/ready` says 200, then until the first queued run executes, then until
the last of them has ended. Other programs have read the file before, so it is in memory as far as there is room.
"""

from __future__ import annotations

import shutil
import statistics
import time
from pathlib import Path
from typing import Final

import msgspec

from awaken.client import Client
from awaken.process import tune_process
from awaken.store.sqlite import SqliteStore
from benchmarks.desk import Desk
from benchmarks.process import MeasurementFailed, alone, scratch
from benchmarks.serving import awaken_served
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
QUICK: Final = Held(ended=1_000, queued=200, waiting=50)


class Start(msgspec.Struct):
    """Of one server, in seconds: each since what stands before it."""

    serving_s: float
    executing_s: float
    """Less than 0 when it was seen to execute before it was seen to serve."""
    done_s: float


def answer(*, quick: bool) -> Findings:
    held, turns = (QUICK, 1) if quick else (FULL, 3)
    findings = Findings(f"startup: `awaken serve` on a file with {held}")
    with scratch() as folder:
        filled = fill_apart(folder / "filled.db", held)
        starts = [_start(filled, folder / f"turn-{turn}", held) for turn in range(turns)]
    serving_s, executing_s, done_s = (
        statistics.median(getattr(start, name) for start in starts) for name in Start.__struct_fields__
    )
    findings.gate("start to serving", serving_s, "at most", 2, "s")
    findings.gate("serving to the first queued run executing", executing_s, "at most", 1, "s")
    findings.row(
        "from there to the end of the last queued run", done_s, "s", f"{held.queued / done_s:,.0f} runs a second"
    )
    return findings


def fill_apart(path: Path, held: Held) -> Path:
    """A new file with so many runs, made by a process of its own."""
    alone(type(None), "benchmarks.startup:fill", timeout_s=_FILL_LIMIT_S, path=str(path), held=held)
    return path


def _start(filled: Path, folder: Path, held: Held) -> Start:
    folder.mkdir()
    path, executed = folder / "runs.db", folder / "executed"
    shutil.copyfile(filled, path)
    with awaken_served(folder, "benchmarks.apps:desk", store=path, executed=executed) as server:
        ready_s = time.monotonic()
        executing_s = _first_execution(executed, ready_s)
        with Client(f"http://127.0.0.1:{server.port}") as client:
            while _goes_on(client):
                if time.monotonic() > ready_s + _LONGEST_S:
                    raise MeasurementFailed(f"runs were still queued {_LONGEST_S:.0f} s after the server was ready")
                time.sleep(_COUNT_AGAIN_S)
        return Start(server.start_s, executing_s - ready_s, time.monotonic() - executing_s)


def _first_execution(executed: Path, ready_s: float) -> float:
    """When an agent was called first, on the clock that processes share."""
    while time.monotonic() < ready_s + _LONGEST_S:
        if executed.exists() and (noted := executed.read_text()):
            return float(noted)
        time.sleep(_LOOK_AGAIN_S)
    raise MeasurementFailed(f"no queued run was executed within {_LONGEST_S:.0f} s")


def _goes_on(client: Client) -> bool:
    return any(each.phase in ("queued", "running") for each in client.run_summary().counts)


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
