"""Does a run cost more when much has happened before it?

Stores are filled through `apply` in large batches, then the same two transitions (a submit that is claimed at once, and
its settlement with an answer) are applied to each of them in turns, in batches of 20, on the same number of active
threads. The gates compare the medians of one run: the cost per transition with more stored runs, longer threads or
more waiting threads, against that of the smallest store. What is linear by nature, reading a conversation, is reported
per message.
"""

from __future__ import annotations

import gc
import statistics
import time
from collections.abc import Sequence
from contextlib import AsyncExitStack
from typing import Final

import msgspec

from awaken.domain.clock import SystemClock
from awaken.domain.delivery import Delivery
from awaken.domain.ids import DEFAULT_SCOPE, AgentId, Ids, ThreadId, system_chance
from awaken.domain.message import assistant_message, user_message
from awaken.domain.run import NATURAL_END, Intent, RunRequest
from awaken.store.contract import MessageQuery
from awaken.store.sqlite import SqliteStore
from awaken.store.transitions import (
    Ack,
    Claim,
    Claimed,
    ClaimedSome,
    Offer,
    SaveThread,
    Settle,
    Settled,
    Submit,
    Submitted,
    ThreadSaved,
    Transition,
)
from benchmarks.cycles import TEXT
from benchmarks.process import alone, scratch
from benchmarks.table import Findings

_LEASE_MS: Final = 600_000
_FILL_BATCH: Final = 1_000
_BATCH: Final = 20
_ACTIVE: Final = 200
"""Threads the measured transitions go round on."""
_RUNS_PER_THREAD: Final = 10
_FAR_MS: Final = 86_400_000
FLAT: Final = 20.0

Costs = dict[str, float]


class Sizes(msgspec.Struct, frozen=True):
    runs: tuple[int, ...]
    messages: tuple[int, ...]
    waiting: tuple[int, ...]
    rounds: int


FULL: Final = Sizes(runs=(1_000, 10_000, 100_000), messages=(10, 100, 1_000), waiting=(1_000, 100_000), rounds=100)
QUICK: Final = Sizes(runs=(200, 1_000), messages=(10, 100), waiting=(100, 1_000), rounds=20)


def answer(*, quick: bool) -> Findings:
    sizes = QUICK if quick else FULL
    findings = Findings("history: the store's cost per transition, and what was stored before")
    stored = alone(Costs, "benchmarks.history:stored_runs", sizes=sizes.runs, rounds=sizes.rounds)
    _flat(findings, "stored runs", stored)
    waiting = alone(Costs, "benchmarks.history:waiting_threads", sizes=sizes.waiting, rounds=sizes.rounds)
    claims = {name: waiting.pop(name) for name in list(waiting) if name.startswith("claim")}
    _flat(findings, "threads that wait for a later time", waiting)
    for name, cost_us in claims.items():
        findings.row(name, cost_us, "µs")
    lengths = alone(dict[str, Costs], "benchmarks.history:long_threads", sizes=sizes.messages, rounds=sizes.rounds)
    _flat(findings, "messages in the thread", lengths["transition"])
    for size, cost_us in lengths["load"].items():
        findings.row(f"reading a conversation of {size} messages", cost_us, "µs per message")
    return findings


def _flat(findings: Findings, of_what: str, costs: Costs) -> None:
    """The largest deviation from the smallest store, in per cent, either way."""
    (least, base), *others = costs.items()
    worst = max((abs(cost / base - 1) * 100 for _, cost in others), default=0.0)
    most = list(costs)[-1]
    findings.gate(
        f"cost per transition from {int(least):,} to {int(most):,} {of_what}: change", worst, "at most", FLAT, "%"
    )
    for size, cost_us in costs.items():
        findings.row(f"a transition with {int(size):,} {of_what}", cost_us, "µs")


# --- in a process of its own ------------------------------------------------------------------------------------------


async def stored_runs(*, sizes: Sequence[int], rounds: int) -> Costs:
    with scratch() as folder:
        desks: dict[str, Desk] = {}
        async with AsyncExitStack() as stack:
            for size in sizes:
                path = folder / f"{size}.db"
                async with SqliteStore(path) as store:
                    await Desk(store).fill(size)
                desks[str(size)] = Desk(await stack.enter_async_context(SqliteStore(path)))
            return await _in_turns(desks, rounds)


async def waiting_threads(*, sizes: Sequence[int], rounds: int) -> Costs:
    with scratch() as folder:
        desks: dict[str, Desk] = {}
        async with AsyncExitStack() as stack:
            for size in sizes:
                path = folder / f"{size}.db"
                async with SqliteStore(path) as store:
                    await Desk(store).queue_far(size)
                desks[str(size)] = Desk(await stack.enter_async_context(SqliteStore(path)))
            costs = await _in_turns(desks, rounds)
            for size, desk in desks.items():
                costs[f"claim that finds nothing due, {int(size):,} threads wait"] = await desk.empty_claim_us(rounds)
            return costs


async def long_threads(*, sizes: Sequence[int], rounds: int) -> dict[str, Costs]:
    with scratch() as folder:
        async with AsyncExitStack() as stack:
            desks: dict[str, Desk] = {}
            for size in sizes:
                path = folder / f"{size}.db"
                async with SqliteStore(path) as store:
                    await Desk(store).fill_threads(size)
                desks[str(size)] = Desk(await stack.enter_async_context(SqliteStore(path)))
            load = {size: await desk.load_us(int(size)) for size, desk in desks.items()}
            return {"transition": await _in_turns(desks, rounds), "load": load}


async def _in_turns(desks: dict[str, Desk], rounds: int) -> Costs:
    """The median microseconds of a transition, each store measured once a round."""
    for desk in desks.values():
        await desk.settle_all(await desk.submit_some(_ACTIVE))
    taken: dict[str, list[float]] = {name: [] for name in desks}
    gc.collect()
    gc.freeze()
    for _ in range(rounds):
        for name, desk in desks.items():
            started = time.perf_counter()
            await desk.settle_all(await desk.submit_some(_BATCH))
            taken[name].append((time.perf_counter() - started) / (2 * _BATCH) * 1e6)
    return {name: statistics.median(values) for name, values in taken.items()}


class Desk:
    """Makes transitions for one store. `active-…` are the threads the measured ones go round on."""

    def __init__(self, store: SqliteStore) -> None:
        clock = SystemClock()
        self._store = store
        self._ids = Ids(clock, system_chance())
        self._consumer = self._ids.consumer_id()
        self._turn = 0

    async def fill(self, runs: int) -> None:
        """Finished runs, ten on each thread."""
        threads = [ThreadId(f"old-{number:07d}") for number in range(max(1, runs // _RUNS_PER_THREAD))]
        done = 0
        while done < runs:
            for start in range(0, len(threads), _FILL_BATCH):
                batch = threads[start : start + _FILL_BATCH][: runs - done]
                await self.settle_all(await self._submit(batch))
                done += len(batch)

    async def fill_threads(self, messages: int) -> None:
        """Active threads that hold so many messages each."""
        for number in range(_ACTIVE):
            content = tuple(user_message(self._ids.message_id(), TEXT) for _ in range(messages))
            save = SaveThread(scope=DEFAULT_SCOPE, thread_id=_active(number), messages=content)
            [saved] = await self._store.apply([save])
            assert isinstance(saved, ThreadSaved)

    async def queue_far(self, threads: int) -> None:
        """Threads with one queued dispatch each that is due tomorrow."""
        for start in range(0, threads, _FILL_BATCH):
            names = [ThreadId(f"later-{number:07d}") for number in range(start, min(start + _FILL_BATCH, threads))]
            outcomes = await self._store.apply([self._a_submit(name, delay_ms=_FAR_MS) for name in names])
            assert all(isinstance(outcome, Submitted) for outcome in outcomes)

    async def submit_some(self, count: int) -> list[Claimed]:
        """Submit on the next of the active threads; each is claimed at once."""
        threads = [_active((self._turn + number) % _ACTIVE) for number in range(count)]
        self._turn += count
        return await self._submit(threads)

    async def settle_all(self, claims: Sequence[Claimed]) -> None:
        outcomes = await self._store.apply([self._a_settle(claimed) for claimed in claims])
        assert all(isinstance(outcome, Settled) for outcome in outcomes)

    async def empty_claim_us(self, times: int) -> float:
        """The median microseconds of a claim that finds no thread due."""
        taken: list[float] = []
        for _ in range(times):
            offers = tuple([self._an_offer() for _ in range(_BATCH)])
            started = time.perf_counter()
            [found] = await self._store.apply([Claim(offers=offers)])
            taken.append((time.perf_counter() - started) * 1e6)
            assert isinstance(found, ClaimedSome) and not found.claims
        return statistics.median(taken)

    async def load_us(self, messages: int) -> float:
        """The median microseconds a message of a whole conversation takes to read."""
        taken: list[float] = []
        for number in range(20):
            started = time.perf_counter()
            found = await self._store.list_messages(DEFAULT_SCOPE, _active(number), MessageQuery(limit=messages))
            taken.append((time.perf_counter() - started) * 1e6 / messages)
            assert len(found) == messages
        return statistics.median(taken)

    async def _submit(self, threads: Sequence[ThreadId]) -> list[Claimed]:
        submits: list[Transition] = [self._a_submit(thread, offer=self._an_offer()) for thread in threads]
        outcomes = await self._store.apply(submits)
        claims: list[Claimed] = []
        for outcome in outcomes:
            assert isinstance(outcome, Submitted) and outcome.claimed is not None
            claims.append(outcome.claimed)
        return claims

    def _an_offer(self) -> Offer:
        return Offer(self._consumer, self._ids.claim_token(), self._ids.instance_id(), _LEASE_MS)

    def _a_submit(self, thread_id: ThreadId, *, delay_ms: int = 0, offer: Offer | None = None) -> Submit:
        message = user_message(self._ids.message_id(), TEXT)
        return Submit(
            scope=DEFAULT_SCOPE,
            thread_id=thread_id,
            run_id=self._ids.run_id(),
            dispatch_id=self._ids.dispatch_id(),
            request=RunRequest(intent=Intent(AgentId("noop")), input_message_ids=(message.id,)),
            messages=(message,),
            delivery=Delivery(delay_ms=delay_ms),
            fresh_ids=True,
            offer=offer,
        )

    def _a_settle(self, claimed: Claimed) -> Settle:
        answer = assistant_message(self._ids.message_id(), TEXT).produced_by(claimed.run.run_id, 0)
        return Settle(
            scope=claimed.scope,
            thread_id=claimed.run.thread_id,
            run_id=claimed.run.run_id,
            dispatch_id=claimed.dispatch.dispatch_id,
            token=claimed.token,
            ending=Ack(NATURAL_END, TEXT),
            entries=(answer,),
        )


def _active(number: int) -> ThreadId:
    return ThreadId(f"active-{number:03d}")
