"""Does a list stay quick when a million runs are stored, and does anybody else notice that it is asked for?

A server on the large file of `stock`, with some runs executing and some waiting, is asked over HTTP for every kind of
list it offers, by a process of its own: by status, agent, thread and time, threads by recency and by resource, the
messages of a thread and the dispatches of a run. Filters that match nearly nothing are among them, because those are
what a scan pays for. Then another user waits for runs and reads conversations, by turns alone and beside two
dashboards that ask for all the lists, twenty a second each.
"""

from __future__ import annotations

import asyncio
import random
import statistics
import time
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Any, Final

import msgspec

from benchmarks.clients import Connection, a_run, connect
from benchmarks.desk import RARE_AGENT, RESOURCES, agent_name, resource_name, thread_name
from benchmarks.machine import percentile
from benchmarks.process import alone, scratch
from benchmarks.serving import awaken_served
from benchmarks.stock import Stock, size
from benchmarks.table import Findings

_DASHBOARDS: Final = 2
_DASHBOARD_GAP_S: Final = 0.05
_SAMPLES: Final = 50
"""Threads, and runs of theirs, that are asked for by turns."""
_PATIENCE_S: Final = 200.0
_ASK_AGAIN_S: Final = 0.05


class Effort(msgspec.Struct, frozen=True):
    held: int
    """Runs that are executing meanwhile."""
    times: int
    """How often each list is asked for."""
    at_most_s: float
    """For all of that."""
    windows: int
    """Of the other user, alone and with dashboards."""
    window_s: float


FULL: Final = Effort(held=50, times=400, at_most_s=40.0, windows=6, window_s=2.0)
QUICK: Final = Effort(held=5, times=5, at_most_s=2.0, windows=1, window_s=0.3)


class Taken(msgspec.Struct):
    """How long something took, in milliseconds."""

    p50_ms: float
    p99_ms: float
    times: int


class Neighbour(msgspec.Struct):
    """What the other user met in one window: the p99 in milliseconds."""

    wait_ms: float
    messages_ms: float


class Lists(msgspec.Struct):
    lists: dict[str, Taken]
    alone: list[Neighbour]
    beside: list[Neighbour]


def answer(*, quick: bool, stock: Stock) -> Findings:
    held, effort = size(quick=quick), QUICK if quick else FULL
    findings = Findings(f"lists: over HTTP, {held.many:,} runs stored on {held.threads:,} threads")
    file = stock.filled(held.many, held).path
    with scratch() as folder, awaken_served(folder, "benchmarks.apps:app", store=file) as server:
        found = alone(Lists, "benchmarks.lists:measure", port=server.port, threads=held.threads, effort=effort)
    slowest = max(found.lists, key=lambda name: found.lists[name].p99_ms)
    findings.gate("the slowest list, p99", found.lists[slowest].p99_ms, "at most", 5, "ms")
    _judge_neighbour(findings, "a run and its wait", "wait_ms", found)
    _judge_neighbour(findings, "reading a conversation", "messages_ms", found)
    for name, taken in found.lists.items():
        findings.row(f"{name}: p99", taken.p99_ms, "ms", f"p50 {taken.p50_ms:.2f} ms, asked {taken.times} times")
    return findings


def _judge_neighbour(findings: Findings, what: str, field: str, found: Lists) -> None:
    undisturbed = [getattr(window, field) for window in found.alone]
    disturbed = [getattr(window, field) for window in found.beside]
    ratio = statistics.median([with_ / without for with_, without in zip(disturbed, undisturbed, strict=True)])
    name = f"another user's p99, {what}"
    findings.gate(f"{name}: with {_DASHBOARDS} dashboards over without", ratio, "at most", 2, "x")
    findings.row(f"{name}, without dashboards", statistics.median(undisturbed), "ms")
    findings.row(f"{name}, with {_DASHBOARDS} dashboards", statistics.median(disturbed), "ms")


# --- in a process of its own ------------------------------------------------------------------------------------------

Paths = dict[str, list[str]]
"""What to ask for, by the name of the list."""


async def measure(*, port: int, threads: int, effort: dict[str, Any]) -> Lists:
    asked = msgspec.convert(effort, Effort)
    async with asyncio.timeout(_PATIENCE_S):
        line = await connect(port)
        async with _executing(line, asked.held):
            paths = await _paths(line, random.Random(1), threads)
            taken = await _ask_for_all(line, paths, asked)
            undisturbed: list[Neighbour] = []
            disturbed: list[Neighbour] = []
            for window in range(asked.windows):
                undisturbed.append(await _meet(line, paths, f"alone-{window}", asked.window_s))
                async with _dashboards(port, paths):
                    disturbed.append(await _meet(line, paths, f"beside-{window}", asked.window_s))
        line.close()
    return Lists(taken, undisturbed, disturbed)


@asynccontextmanager
async def _executing(line: Connection, count: int) -> AsyncGenerator[None]:
    """Have so many runs executing. They are stopped when left, so that the server need not wait for them."""
    runs: list[str] = []
    for number in range(count):
        answer = await line.call("POST", "/v1/runs", a_run("holder", f"held-{number}"))
        runs.append(msgspec.json.decode(answer)["run_id"])
    for run_id in runs:
        while msgspec.json.decode(await line.call("GET", f"/v1/runs/{run_id}"))["status"] != "running":  # noqa: ASYNC110 - asks a server
            await asyncio.sleep(_ASK_AGAIN_S)
    yield
    for run_id in runs:
        await line.call("POST", f"/v1/runs/{run_id}/cancel")


async def _paths(line: Connection, chance: random.Random, threads: int) -> Paths:
    drawn = [thread_name(number) for number in chance.sample(range(threads), min(_SAMPLES, threads))]
    pages = [await line.call("GET", f"/v1/threads/{thread}/runs?limit=1") for thread in drawn]
    runs = [run["run_id"] for page in pages for run in msgspec.json.decode(page)["items"]]
    agents = [agent_name(number) for number in range(10)]
    resources = [resource_name(chance.randrange(min(RESOURCES, threads))) for _ in range(_SAMPLES)]
    return {
        "runs, newest first": ["/v1/runs"],
        "runs, oldest first": ["/v1/runs?order=asc"],
        "runs, a later page": [await _next_page(line, "/v1/runs?limit=200")],
        "runs that are executing": ["/v1/runs?status=running"],
        "runs that have not begun": ["/v1/runs?status=created"],
        "runs that wait for somebody, none": ["/v1/runs?status=waiting"],
        "runs that are done": ["/v1/runs?status=done"],
        "runs of an agent": [f"/v1/runs?agent_id={agent}" for agent in agents],
        "runs of a rare agent": [f"/v1/runs?agent_id={RARE_AGENT}"],
        "runs of an agent that never ran": ["/v1/runs?agent_id=agent-unused"],
        "runs of an agent that are executing": ["/v1/runs?agent_id=holder&status=running"],
        "runs of a rare agent that have not begun": [f"/v1/runs?agent_id={RARE_AGENT}&status=created"],
        "runs of a thread": [f"/v1/threads/{thread}/runs" for thread in drawn],
        "runs of a thread that are executing": [f"/v1/runs?thread_id={thread}&status=running" for thread in drawn],
        "threads, most recently active first": ["/v1/threads"],
        "threads, a later page": [await _next_page(line, "/v1/threads?limit=200")],
        "threads of a resource": [f"/v1/threads?resource_id={resource}" for resource in resources],
        "messages of a thread": [f"/v1/threads/{thread}/messages" for thread in drawn],
        "dispatches of a run": [f"/v1/runs/{run_id}/dispatches" for run_id in runs],
    }


async def _next_page(line: Connection, path: str) -> str:
    cursor = msgspec.json.decode(await line.call("GET", path))["next_cursor"]
    return path if cursor is None else f"{path.partition('?')[0]}?cursor={cursor}"


async def _ask_for_all(line: Connection, paths: Paths, effort: Effort) -> dict[str, Taken]:
    """Every list by turns, so that none has the caches to itself."""
    taken_ms: dict[str, list[float]] = {name: [] for name in paths}
    end = time.perf_counter() + effort.at_most_s
    for turn in range(effort.times):
        for name, choices in paths.items():
            asked = time.perf_counter()
            await line.call("GET", choices[turn % len(choices)])
            taken_ms[name].append((time.perf_counter() - asked) * 1000)
        if time.perf_counter() > end:
            break
    return {name: Taken(statistics.median(ms), percentile(ms, 99), len(ms)) for name, ms in taken_ms.items()}


async def _meet(line: Connection, paths: Paths, name: str, seconds: float) -> Neighbour:
    """Be somebody who has runs done and waits for them, and reads conversations."""
    waits_ms: list[float] = []
    reads_ms: list[float] = []
    conversations = paths["messages of a thread"]
    end = time.perf_counter() + seconds
    while not waits_ms or time.perf_counter() < end:
        asked = time.perf_counter()
        await line.call("POST", "/v1/runs/wait", a_run("noop", f"{name}-{len(waits_ms)}"))
        answered = time.perf_counter()
        await line.call("GET", conversations[len(reads_ms) % len(conversations)])
        waits_ms.append((answered - asked) * 1000)
        reads_ms.append((time.perf_counter() - answered) * 1000)
    return Neighbour(percentile(waits_ms, 99), percentile(reads_ms, 99))


@asynccontextmanager
async def _dashboards(port: int, paths: Paths) -> AsyncGenerator[None]:
    lines = [await connect(port) for _ in range(_DASHBOARDS)]
    asking = [asyncio.create_task(_poll(line, paths, number)) for number, line in enumerate(lines)]
    try:
        yield
    finally:
        for task in asking:
            task.cancel()
        await asyncio.gather(*asking, return_exceptions=True)
        for line in lines:
            line.close()


async def _poll(line: Connection, paths: Paths, seed: int) -> None:
    chance = random.Random(seed)
    choices = [path for several in paths.values() for path in several[:1]]
    while True:
        await line.call("GET", chance.choice(choices))
        await asyncio.sleep(_DASHBOARD_GAP_S)
