"""What does the server cost before it does anything, and how many runs does it take over HTTP?

A real `awaken serve` process on an empty SQLite file: the time from starting the process until `/health/ready` says
200, the memory it then occupies, and background runs end to end, submitted one by one over keep-alive connections by a
process of its own, until the last of them is done.
"""

from __future__ import annotations

import statistics
import time
from typing import Final

import psutil

from benchmarks.clients import HttpRuns
from benchmarks.process import alone, scratch
from benchmarks.serving import awaken_served
from benchmarks.table import Findings

_SETTLED_S: Final = 1.0
_CONNECTIONS: Final = 64
_THREADS: Final = 1_000


def answer(*, quick: bool) -> Findings:
    starts, rounds, runs = (1, 1, 1_000) if quick else (5, 3, 8_000)
    findings = Findings("server: `awaken serve`, a process of its own")
    start_s, rss_mb = _start(starts)
    findings.gate("start to serving", start_s, "at most", 1.0, "s")
    findings.gate("memory of an idle server (RSS)", rss_mb, "at most", 70, "MB")
    found = [_http_runs(runs) for _ in range(rounds)]
    runs_s = statistics.median(each.runs_s for each in found)
    findings.gate("background runs over HTTP, end to end", runs_s, "at least", 2_000, "/s")
    submits_s = statistics.median(each.submits_s for each in found)
    findings.row("HTTP submits", submits_s, "/s", f"{_CONNECTIONS} connections")
    findings.row("HTTP submit p50, at that load", statistics.median(each.submit_p50_ms for each in found), "ms")
    return findings


def _start(times: int) -> tuple[float, float]:
    starts: list[float] = []
    memory: list[float] = []
    for _ in range(times):
        with scratch() as folder, awaken_served(folder, "--store", f"sqlite:///{folder}/idle.db") as server:
            starts.append(server.start_s)
            time.sleep(_SETTLED_S)
            memory.append(psutil.Process(server.pid).memory_info().rss / 2**20)
    return statistics.median(starts), statistics.median(memory)


def _http_runs(runs: int) -> HttpRuns:
    with scratch() as folder, awaken_served(folder, "benchmarks.apps:app", store=folder / "http.db") as server:
        return alone(
            HttpRuns,
            "benchmarks.clients:submit_runs",
            port=server.port,
            runs=runs,
            connections=_CONNECTIONS,
            threads=_THREADS,
        )
