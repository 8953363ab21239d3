"""What this machine can do, so that a reader can tell a slow program from a slow machine.

Holds: a probe takes less than half a second and is repeated at the end of a run; two that differ much mean that the
machine was busy with something else in between.
"""

from __future__ import annotations

import os
import platform
import sqlite3
import statistics
import time
from pathlib import Path
from typing import Final

import msgspec
import psutil

from benchmarks.process import Unavailable

_PROBE_S: Final = 0.15
_BLOCK: Final = b"\0" * 4096


class Machine(msgspec.Struct, frozen=True):
    python: str
    sqlite: str
    system: str
    processor: str
    cores: int
    memory_gb: float
    fsync_us: float
    """The median time of writing 4 KiB at the end of a file and having the disk confirm it."""
    loop_millions_s: float
    """Turns of an empty Python loop in a second, in millions."""


def probe(folder: Path) -> Machine:
    """Measure the machine, with the disk that holds `folder`."""
    return Machine(
        platform.python_version(),
        sqlite3.sqlite_version,
        f"{platform.system()} {platform.release()} {platform.machine()}",
        _processor(),
        _cores(),
        round(psutil.virtual_memory().total / 2**30, 1),
        round(fsync_us(folder), 1),
        round(_loop_millions_s(), 1),
    )


def fsync_us(folder: Path, *, count: int = 200) -> float:
    """The median of at most `count` flushes of a growing file; bounded in time for a slow disk."""
    flush = getattr(os, "fdatasync", os.fsync)
    path = folder / "fsync.probe"
    taken: list[float] = []
    with path.open("wb", buffering=0) as file:
        end = time.perf_counter() + 3 * _PROBE_S
        while len(taken) < count and (not taken or time.perf_counter() < end):
            file.write(_BLOCK)
            started = time.perf_counter()
            flush(file.fileno())
            taken.append(time.perf_counter() - started)
    path.unlink()
    return statistics.median(taken) * 1e6


def written_bytes() -> int:
    """What this process has had written to a disk so far, by the kernel's count; a file system in memory counts as 0.

    Raises:
        Unavailable: The system does not count.
    """
    for line in _of_the_kernel(Path("/proc/self/io")):
        if line.startswith("write_bytes:"):
            return int(line.split()[1])
    raise Unavailable("this system does not count what a process writes (/proc/self/io)")


def percentile(values: list[float], percent: float) -> float:
    """The smallest of the values that `percent` of them do not exceed."""
    ordered = sorted(values)
    return ordered[max(0, -(-len(ordered) * percent // 100).__trunc__() - 1)]


def _processor() -> str:
    for line in _of_the_kernel(Path("/proc/cpuinfo")):
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def _of_the_kernel(path: Path) -> list[str]:
    """The lines of a file that Linux has and other systems lack."""
    try:
        return path.read_text().splitlines()
    except OSError:
        return []


def _cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _loop_millions_s() -> float:
    turns, started = 0, time.perf_counter()
    while time.perf_counter() - started < _PROBE_S:
        for _ in range(10_000):
            pass
        turns += 10_000
    return turns / (time.perf_counter() - started) / 1e6
