"""How many events a second reach 100 clients that watch one conversation?

An agent streams text; every piece goes through the log on disk before anybody sees it; 100 raw clients in another
process count what arrives. Beside it, in the same rounds, the same clients and frames of the same size from a minimal
application on sse-starlette, which stores nothing.
"""

from __future__ import annotations

import statistics
import sys
from typing import Final

from benchmarks.clients import Watched
from benchmarks.process import alone, scratch
from benchmarks.serving import awaken_served, free_port, served
from benchmarks.table import Findings

CLIENTS: Final = 100
_WATCH: Final = "benchmarks.clients:watch"


def answer(*, quick: bool) -> Findings:
    rounds, events, fewer = (1, 500, 200) if quick else (3, 20_000, 3_000)
    findings = Findings(f"sse: one conversation, {CLIENTS} clients")
    ours: list[float] = []
    theirs: list[float] = []
    for _ in range(rounds):
        ours.append(through_the_log(events))
        theirs.append(through_sse_starlette(fewer))
    ratios = [own / other for own, other in zip(ours, theirs, strict=True)]
    findings.gate("events/s to 100 clients, through the log", statistics.median(ours), "at least", 400_000, "/s")
    findings.gate("events/s over sse-starlette", statistics.median(ratios), "at least", 4, "x")
    findings.row("this", statistics.median(ours), "events/s", f"{min(ours):,.0f} to {max(ours):,.0f}")
    findings.row("sse-starlette", statistics.median(theirs), "events/s", f"{min(theirs):,.0f} to {max(theirs):,.0f}")
    return findings


def through_the_log(events: int) -> float:
    """Events per second, all clients together."""
    with scratch() as folder, awaken_served(folder, "benchmarks.apps:app", store=folder / "sse.db") as server:
        alone(float, "benchmarks.clients:prepare_thread", port=server.port, thread_id="fan")
        watched = alone(
            Watched,
            _WATCH,
            port=server.port,
            path="/v1/threads/fan/events/stream?since=now",
            clients=CLIENTS,
            ready="event: stream.open",
            last="event: RunFinished",
            trigger=("POST", "/v1/runs", {"agent_id": "talker", "thread_id": "fan", "input": str(events)}),
            events=events,
        )
        return watched.events_s


def through_sse_starlette(events: int) -> float:
    """The same, from the other application."""
    port = free_port()
    command = (
        *(sys.executable, "-m", "uvicorn", "benchmarks.sse_starlette_app:app", "--port", str(port)),
        *("--loop", "uvloop", "--http", "httptools", "--log-level", "error", "--no-access-log"),
    )
    with scratch() as folder, served(command, folder, port=port, ready_path="/ready") as server:
        watched = alone(
            Watched,
            _WATCH,
            port=server.port,
            path="/stream",
            clients=CLIENTS,
            ready="event: stream.open",
            last="event: RunFinished",
            trigger=("POST", f"/start?events={events}", None),
            events=events,
        )
        return watched.events_s
