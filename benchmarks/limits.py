"""How much of what Postgres can take does a durable run use, and does a claim cost more behind many?

The ceiling: while the product runs its closed loop, the statements with which it writes are recorded with their arrays,
and then executed again over one connection, into a database made as the product's is, without reads, ids or decisions.
Small batches are joined until a commit covers 200 transitions, so a product that batches badly does not lower its own
ceiling.

Behind many: two schemas of one server hold runs that have ended and runs that wait, few and many. Claims of twenty are
taken in turns on both, on threads drawn at random, and each run is settled.
"""

# pyright: basic, reportMissingImports=false
# (the driver has no types, and the server need not be installed)

from __future__ import annotations

import pickle
import statistics
import time
from collections.abc import Sequence
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any, Final

import msgspec

from awaken.mailbox.settings import MailboxSettings
from awaken.process import tune_process
from awaken.store.postgres import PostgresStore
from awaken.store.postgres.queries import written_together
from awaken.store.postgres.session import Put, Session
from awaken.store.transitions import Transition
from awaken.wiring import Awaken
from benchmarks.cycles import Cycles, closed_loop, noop
from benchmarks.desk import Desk
from benchmarks.pgserver import server
from benchmarks.process import Unavailable, alone, scratch
from benchmarks.raw import PER_COMMIT
from benchmarks.table import Findings

_BATCH: Final = 20
_WARM: Final = 10
_AGAIN: Final = 10_000_000
"""The number of the first thread that is queued while claims are measured."""
_FILL_LIMIT_S: Final = 3_600.0


class Size(msgspec.Struct, frozen=True):
    rounds: int
    threads: int
    turns: int
    few: int
    """Runs that have ended, and as many that wait, in the small schema."""
    many: int
    claims: int
    """Batches that are claimed on each."""


FULL: Final = Size(rounds=3, threads=1_000, turns=5, few=1_000, many=100_000, claims=100)
QUICK: Final = Size(rounds=1, threads=50, turns=2, few=100, many=500, claims=2)


def answer(*, quick: bool, size: Size | None = None) -> Findings:
    size = size or (QUICK if quick else FULL)
    findings = Findings("limits: durable runs, and Postgres alone with the same statements")
    with scratch() as folder:
        try:
            with server(folder) as url:
                _ceiling(findings, url, size, folder / "written.tape")
                _behind_many(findings, url, size)
        except Unavailable as error:
            findings.skipped("this, on Postgres", error)
    return findings


def _ceiling(findings: Findings, url: str, size: Size, tape: Path) -> None:
    loop = {"threads": size.threads, "turns": size.turns}
    alone(Cycles, "benchmarks.limits:product", url=_in(url, "recorded"), tape=str(tape), **loop)
    of_raw: list[float] = []
    for number in range(size.rounds):
        raw_s = alone(float, "benchmarks.limits:replay", url=_in(url, f"raw_{number}"), tape=str(tape))
        product = alone(Cycles, "benchmarks.limits:product", url=_in(url, f"product_{number}"), tape=None, **loop)
        of_raw.append(100 * product.cycles_s / raw_s)
    findings.gate(
        "of what Postgres alone does with the same statements", statistics.median(of_raw), "at least", 35, "%"
    )


def _behind_many(findings: Findings, url: str, size: Size) -> None:
    urls = (_in(url, "few"), _in(url, "many"))
    for each, runs in zip(urls, (size.few, size.many), strict=True):
        seconds = alone(float, "benchmarks.limits:fill", timeout_s=_FILL_LIMIT_S, url=each, runs=runs)
    small_us, large_us = alone(list[float], "benchmarks.limits:claim_in_turns", urls=urls, size=size)
    name = f"a claim and its settlement behind {size.many:,} that ended and {size.many:,} that wait, over {size.few:,}"
    findings.gate(name, large_us / small_us, "at most", 1.4, "x")
    findings.row(f"a run behind {size.few:,}", small_us, "µs", f"{_BATCH} at a time")
    findings.row(f"a run behind {size.many:,}", large_us, "µs", f"filled in {seconds:,.0f} s")


def _in(url: str, schema: str) -> str:
    return f"{url}{'&' if '?' in url else '?'}schema={schema}"


# --- in a process of its own ------------------------------------------------------------------------------------------

_Statement = tuple[tuple[str, ...], list[Any]]
"""The names of writes that go together, and the arrays of their rows."""


async def product(*, url: str, tape: str | None, threads: int, turns: int) -> Cycles:
    """The closed loop. With `tape`, every statement that it writes with is recorded there."""
    app = Awaken(url, settings=MailboxSettings(max_concurrent_runs=100))
    app.agent("noop", noop)
    async with app:
        tune_process()
        batches: list[tuple[int, list[_Statement]]] = []
        if tape is not None:
            _record(app.store, batches)
        cycles = await closed_loop(app, threads, turns)
    if tape is not None:
        _save(Path(tape), threads * turns, batches)
    return cycles


def _save(tape: Path, cycles: int, batches: list[tuple[int, list[_Statement]]]) -> None:
    written = [batch for batch in batches if batch[1]]
    tape.write_bytes(pickle.dumps((cycles, written), protocol=pickle.HIGHEST_PROTOCOL))


def _load(tape: Path) -> tuple[int, list[tuple[int, list[_Statement]]]]:
    return pickle.loads(tape.read_bytes())


def _record(store: Any, batches: list[tuple[int, list[_Statement]]]) -> None:
    """Begin a new entry with each `apply`; batches of a process never overlap."""
    apply, put_together = store.apply, Session._put_together

    async def noted(batch: Sequence[Transition]) -> Any:
        batches.append((len(batch), []))
        return await apply(batch)

    async def put(self: Session, puts: Sequence[Put]) -> Sequence[int]:
        if batches:
            batches[-1][1].append(
                (tuple([each.name for each in puts]), [array for each in puts for array in each.arrays])
            )
        return await put_together(self, puts)

    store.apply = noted
    Session._put_together = put  # pyright: ignore[reportAttributeAccessIssue]


async def replay(*, url: str, tape: str) -> float:
    """Cycles a second, of one connection that only writes."""
    import asyncpg

    cycles, batches = _load(Path(tape))
    place, _, schema = url.rpartition("schema=")
    async with PostgresStore(url):
        pass
    connection = await asyncpg.connect(place.rstrip("?&"), server_settings={"search_path": schema})
    tune_process()
    began, waiting = time.perf_counter(), 0
    for transitions, statements in batches:
        if not waiting:
            await connection.execute("BEGIN")
        for names, arrays in statements:
            await connection.fetch(written_together(names), *arrays)
        waiting += transitions
        if waiting >= PER_COMMIT:
            await connection.execute("COMMIT")
            waiting = 0
    if waiting:
        await connection.execute("COMMIT")
    took_s = time.perf_counter() - began
    await connection.close()
    return cycles / took_s


async def fill(*, url: str, runs: int) -> float:
    began = time.perf_counter()
    async with PostgresStore(url) as store:
        tune_process()
        desk = Desk(store, min(runs, 100_000), seed=1, batch=200)  # a statement may take two seconds
        await desk.make_threads()
        await desk.fill(runs)
        await desk.queue_now(runs)
    return time.perf_counter() - began


async def claim_in_turns(*, urls: Sequence[str], size: dict[str, int]) -> list[float]:
    """Microseconds for a run, on each. As many as are claimed are queued again, so that the few stay as few."""
    asked = msgspec.convert(size, Size)
    async with AsyncExitStack() as stack:
        desks = [Desk(await stack.enter_async_context(PostgresStore(url)), 1_000, seed=2) for url in urls]
        tune_process()
        took_s: list[list[float]] = [[], []]
        for number in range(_WARM + asked.claims):
            for desk, took in zip(desks, took_s, strict=True):
                began = time.perf_counter()
                await desk.claim_some(_BATCH)
                if number >= _WARM:
                    took.append(time.perf_counter() - began)
                await desk.queue_now(_BATCH, first=_AGAIN + number * _BATCH)
    return [statistics.median(took) / _BATCH * 1e6 for took in took_s]
