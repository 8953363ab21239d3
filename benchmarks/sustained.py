"""Is the last of a minute's load as quick as the first, and how long does anybody wait for one commit?

Conversations that go on: 1 000 callers in a closed loop share 10 000 threads, ten each, and draw the next of theirs at
random, so that the pages a commit touches are many and old. The first seconds of a new file flatter every store, so a
warm-up goes before. A commit is measured where the product asks for it, at `apply`: from when the one before it is
answered, if that is later, so waiting for a checkpoint is included and queueing behind another commit is not.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections import Counter
from collections.abc import Sequence
from typing import Any, Final

import msgspec

from awaken.executors.function import Context
from awaken.mailbox.settings import MailboxSettings
from awaken.process import tune_process
from awaken.store.sqlite import SqliteStore
from awaken.store.transitions import Outcome, Transition
from awaken.testing.forwarding import ForwardingStore
from awaken.wiring import Awaken
from benchmarks.desk import TEXT, thread_name
from benchmarks.heartbeat import heartbeat
from benchmarks.machine import percentile, written_bytes
from benchmarks.process import Unavailable, alone, scratch
from benchmarks.table import Findings

COMMIT_LIMIT_MS: Final = 50.0


class Load(msgspec.Struct, frozen=True):
    callers: int
    threads: int
    warm_up: int
    seconds: int
    edge: int
    """How many of the first and of the last seconds are compared."""


FULL: Final = Load(callers=1_000, threads=10_000, warm_up=20_000, seconds=60, edge=10)
QUICK: Final = Load(callers=50, threads=500, warm_up=100, seconds=2, edge=1)


class Sustained(msgspec.Struct):
    per_second: list[int]
    """Runs that ended, by the second."""
    commit_p50_ms: float
    commit_p99_ms: float
    commit_most_ms: float
    commits: int
    long_commits: int
    """How many took longer than they may."""
    result_p99_ms: float
    """Of a caller's whole wait, from its submit to the end of its run."""
    loop_most_ms: float
    """How late the event loop came at worst: where this is long too, no commit is to blame."""
    kb_per_run: float | None


def answer(*, quick: bool) -> Findings:
    load = QUICK if quick else FULL
    findings = Findings(f"sustained: {load.seconds} s of conversations that go on, {load.threads:,} threads")
    found = alone(Sustained, "benchmarks.sustained:measure", load=load)
    first, last = sum(found.per_second[: load.edge]), sum(found.per_second[-load.edge :])
    findings.gate(f"runs in the last {load.edge} s, of the first", 100 * last / first, "at least", 85, "%")
    findings.gate("the longest commit", found.commit_most_ms, "at most", COMMIT_LIMIT_MS, "ms")
    findings.row("runs", sum(found.per_second) / load.seconds, "/s", _by_the_second(found.per_second))
    findings.row("first seconds", first / load.edge, "/s")
    findings.row("last seconds", last / load.edge, "/s")
    findings.row("a commit, p50", found.commit_p50_ms, "ms", f"{found.commits:,} commits")
    findings.row("a commit, p99", found.commit_p99_ms, "ms", f"{found.long_commits} over {COMMIT_LIMIT_MS:g} ms")
    findings.row("submit → result, p99", found.result_p99_ms, "ms")
    findings.row("event loop late, longest", found.loop_most_ms, "ms")
    if found.kb_per_run is not None:
        findings.row("written for a run", found.kb_per_run, "KB")
    return findings


def _by_the_second(per_second: list[int]) -> str:
    return f"slowest second {min(per_second):,}, fastest {max(per_second):,}"


# --- in a process of its own ------------------------------------------------------------------------------------------


class _TimedStore(ForwardingStore):
    """Notes how long each `apply` took, in milliseconds."""

    def __init__(self, store: SqliteStore) -> None:
        super().__init__(store)
        self.taken_ms: list[float] = []
        self._answered = 0.0
        """When the last one was."""

    async def apply(self, batch: Sequence[Transition]) -> list[Outcome]:
        asked = time.perf_counter()
        outcomes = await self._store.apply(batch)
        begun, self._answered = max(asked, self._answered), time.perf_counter()
        self.taken_ms.append((self._answered - begun) * 1000)
        return outcomes


async def noop(context: Context) -> None:
    """The agent that does nothing."""


async def measure(*, load: dict[str, Any]) -> Sustained:
    asked = msgspec.convert(load, Load)
    with scratch() as folder:
        store = _TimedStore(SqliteStore(folder / "sustained.db"))
        app = Awaken(store=store, settings=MailboxSettings(max_concurrent_runs=asked.callers))
        app.agent("noop", noop)
        async with app:
            tune_process()  # as `awaken serve` does once it has started
            conversations = _Conversations(app, asked)
            await conversations.warm_up()
            store.taken_ms.clear()
            before = _written()
            async with heartbeat() as late_ms:
                await conversations.go_on()
            after = _written()
    commits = store.taken_ms
    ended = sum(conversations.per_second)
    return Sustained(
        per_second=conversations.per_second,
        commit_p50_ms=percentile(commits, 50),
        commit_p99_ms=percentile(commits, 99),
        commit_most_ms=max(commits),
        commits=len(commits),
        long_commits=sum(taken_ms > COMMIT_LIMIT_MS for taken_ms in commits),
        result_p99_ms=percentile(conversations.taken_ms, 99),
        loop_most_ms=max(late_ms),
        kb_per_run=None if before is None or after is None else (after - before) / ended / 1024,
    )


class _Conversations:
    """The callers, each with threads of its own."""

    def __init__(self, app: Awaken, load: Load) -> None:
        self._app = app
        self._load = load
        self._ended: Counter[int] = Counter()
        self.taken_ms: list[float] = []

    @property
    def per_second(self) -> list[int]:
        return [self._ended[second] for second in range(self._load.seconds)]

    async def warm_up(self) -> None:
        numbers = iter(range(self._load.warm_up))

        async def converse(caller: int) -> None:
            chance = random.Random(caller)
            for _ in numbers:
                await self._turn(caller, chance)

        await asyncio.gather(*[converse(caller) for caller in range(self._load.callers)])

    async def go_on(self) -> None:
        started = time.perf_counter()

        async def converse(caller: int) -> None:
            chance = random.Random(-1 - caller)
            while (asked := time.perf_counter()) - started < self._load.seconds:
                await self._turn(caller, chance)
                ended = time.perf_counter()
                self._ended[int(ended - started)] += 1
                self.taken_ms.append((ended - asked) * 1000)

        await asyncio.gather(*[converse(caller) for caller in range(self._load.callers)])

    async def _turn(self, caller: int, chance: random.Random) -> None:
        own = self._load.threads // self._load.callers
        run = await self._app.submit(thread_name(caller * own + chance.randrange(own)), TEXT, agent="noop")
        await run.result()


def _written() -> int | None:
    try:
        return written_bytes()
    except Unavailable:
        return None
