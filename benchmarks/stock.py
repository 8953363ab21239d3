"""Database files that hold a long past, filled at most once in a run of the benchmarks.

Above: the questions about growth and lists. Below: `desk`.
Holds: every file has the same threads and the same few runs that wait for tomorrow; what differs is how many runs have
ended on them, drawn at random. A file is complete, closed and without a write-ahead log when it is handed out.
"""

from __future__ import annotations

import time
from pathlib import Path
from typing import Final

import msgspec

from awaken.process import tune_process
from awaken.store.sqlite import SqliteStore
from benchmarks.desk import Desk
from benchmarks.process import alone

_FILL_LIMIT_S: Final = 900.0
_SEED: Final = 1


class Size(msgspec.Struct, frozen=True):
    """How much the files of a run of the benchmarks hold."""

    threads: int
    waiting: int
    """Runs that are not done: they wait for tomorrow."""
    few: int
    """Finished runs in the small file."""
    many: int
    """Finished runs in the large file."""


_FULL: Final = Size(threads=100_000, waiting=1_000, few=1_000, many=1_000_000)
_QUICK: Final = Size(threads=500, waiting=20, few=100, many=1_000)


def size(*, quick: bool) -> Size:
    return _QUICK if quick else _FULL


class Filled(msgspec.Struct):
    """A file, how large it was when it was full, and how long that took."""

    path: Path
    bytes: int
    seconds: float


class Stock:
    """Whoever measures on a file adds its own few runs to it; the bytes are those of before."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._filled: dict[tuple[int, Size], Filled] = {}

    def filled(self, runs: int, held: Size) -> Filled:
        """The file that holds so many finished runs. Raises MeasurementFailed."""
        if (runs, held) not in self._filled:
            path = self._folder / f"filled-{len(self._filled)}.db"
            seconds = alone(
                float,
                "benchmarks.stock:fill",
                timeout_s=_FILL_LIMIT_S,
                path=str(path),
                runs=runs,
                threads=held.threads,
                waiting=held.waiting,
            )
            self._filled[runs, held] = Filled(path, path.stat().st_size, seconds)
        return self._filled[runs, held]


# --- in a process of its own ------------------------------------------------------------------------------------------


async def fill(*, path: str, runs: int, threads: int, waiting: int) -> float:
    """Fill a new file through `apply`, in large batches that need not survive power loss. How long it took."""
    started = time.perf_counter()
    async with SqliteStore(Path(path), durability="process") as store:
        tune_process()
        desk = Desk(store, threads, _SEED)
        await desk.make_threads()
        await desk.queue_far(waiting)
        await desk.fill(runs)
    return time.perf_counter() - started
