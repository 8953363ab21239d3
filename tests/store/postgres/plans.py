"""What the server means to do with the statements of a store that holds very many rows.

    python -m tests.store.postgres.plans --rows 1000000      tells every statement whose plan is not what it says

Above: the test of plans, and whoever runs the command. Below: a store that is filled by multiplying some rows of its
own, and what asyncpg is asked while things are done with it: no statement is written down here.
Holds: a statement is planned for the values it was asked with, and for any values where the server would come to prefer
that.
"""

from __future__ import annotations

import argparse
import asyncio
import itertools
import json
import random
import re
import sys
import time
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import contextmanager
from importlib.resources import files
from typing import Any, Final

import msgspec
import pytest
from msgspec.structs import replace

from awaken.domain.dead_letter import DeadLetterQuery
from awaken.domain.dispatch import DispatchStatus
from awaken.domain.ids import AgentId, Route, ThreadId
from awaken.domain.run import RunStatus
from awaken.domain.ticket import TicketRequest
from awaken.store.contract import DispatchQuery, MessageQuery, RunQuery, ThreadQuery, TicketQuery
from awaken.store.postgres import PostgresStore, driver
from awaken.store.postgres.opening import connect, place_of
from awaken.store.postgres.queries import ARRAYS, SQL, WRITES
from awaken.store.transitions import GiveUp, Purge, Tick
from awaken.testing.conformance.steps import (
    AGENT,
    SCOPE,
    WORKER,
    asked,
    cancel,
    cancelled,
    claim_some,
    claimed,
    committed,
    delta,
    finished,
    offer,
    reclaim,
    renew,
    said,
    settled,
    submitted,
    suspended,
)
from tests.postgres import drop_schema, start_server, url_of_schema

BLOCK: Final = 65_536
LATER_MS: Final = 10**9
ROUNDS: Final = 2
PATIENCE_S: Final = 300
TABLES: Final = ("threads", "runs", "dispatches", "messages", "events", "tickets")
FAMILIES: Final = {"done": 60, "asked": 20, "due": 15, "later": 3, "waits": 2}
"""Threads that rows are multiplied of, and how much of a hundred each of them gets."""
ALIKE: Final = {"threads_due_by_age": "threads_due", "runs_waiting": "runs_open"}
"""Indexes that hold the same rows, or fewer, where the order does not matter."""


class Asked(msgspec.Struct, frozen=True):
    """A statement as it was asked once, over a connection that writes or one that reads."""

    text: str
    values: tuple[Any, ...]
    writes: bool


# --- very many rows ---------------------------------------------------------------------------------------------------


async def fill(url: str, rows: int) -> None:
    """About so many runs, each with a thread and a dispatch, a message and what was logged; their keys in no order."""
    async with PostgresStore(url) as store:
        await finished(store, "done", thread=ThreadId("done"))
        await submitted(store, "due", thread=ThreadId("due"))
        await submitted(store, "later", thread=ThreadId("later"), delay_ms=LATER_MS)
        wish = TicketRequest(key="k", kind="approval", tool_name="book", expires_in_ms=LATER_MS)
        for name in ("waits", "asked"):
            owner = await claimed(store, name, thread=ThreadId(name))
            await settled(store, owner, suspended(wish))
        await cancelled(store, "asked", thread=ThreadId("asked"))
    connection = await connect(place_of(url))
    try:
        await connection.execute("SET statement_timeout = 0; SET maintenance_work_mem = '256MB'; SELECT setseed(0.5)")
        indexes = await connection.fetch(
            "SELECT indexrelid::regclass::text, pg_get_indexdef(indexrelid) FROM pg_index"
            " WHERE indrelid = ANY ($1::regclass[]) AND NOT indisprimary",
            list(TABLES),
        )
        await connection.execute(f"DROP INDEX {', '.join(name for name, _ in indexes)}")  # made at last, in one go each
        for number, (family, share) in enumerate(FAMILIES.items(), 1):
            for table in TABLES:
                await _multiply(connection, table, family, number, rows * share // 100)
        await connection.execute(f"SELECT setval('arrivals', {100_000 * BLOCK}, false)")
        for _, index in indexes:
            await connection.execute(index, timeout=PATIENCE_S)
        for table in TABLES:
            await connection.execute(f"ANALYZE {table}", timeout=PATIENCE_S)
    finally:
        await connection.close()


async def _multiply(connection: Any, table: str, family: str, number: int, count: int) -> None:
    """Copy the rows of a thread, each time with keys of another one."""
    columns = [
        name
        for (name,) in await connection.fetch(
            "SELECT attname FROM pg_attribute WHERE attrelid = $1::regclass AND attnum > 0 AND NOT attisdropped"
            " AND attidentity = ''",
            table,
        )
    ]
    first = {"threads": 0, "runs": 1, "dispatches": 1, "tickets": 2}
    base = f"({number * 1_000 * BLOCK} + 4 * g)"
    key = f"md5({number} || '-' || g)"
    keys = {
        "thread_id": f"'t' || {key}",
        "run_id": f"'r' || {key}",
        "dispatch_id": f"'d' || {key}",
        "ticket_id": f"'k' || {key}",
        "message_id": f"CASE WHEN o.message_id = 'msg-{family}' THEN 'm' || {key} ELSE o.message_id || {key} END",
        "request": f"convert_to(replace(convert_from(o.request, 'UTF8'), 'msg-{family}', 'm' || {key}), 'UTF8')",
        "thread": base,
        "run": f"{base} + 1",
        "latest_run_no": f"{base} + 1",
        "ready_no": f"CASE WHEN o.ready_no IS NOT NULL THEN {base} + 1 END",
        "no": f"{base} + {first.get(table)}",
    }
    chosen = ", ".join([keys.get(name, f"o.{name}") for name in columns])
    which = "o.thread_id = $1" if table == "threads" else "o.thread = (SELECT no FROM threads WHERE thread_id = $1)"
    # In another order than that of the numbers, as threads are given work.
    mixed = f"(SELECT g FROM generate_series(1, {count}) g ORDER BY random()) g"
    await connection.execute(
        f"INSERT INTO {table} ({', '.join(columns)}) SELECT {chosen} FROM {table} o, {mixed} WHERE {which}",
        family,
        timeout=PATIENCE_S,
    )


# --- what is asked ----------------------------------------------------------------------------------------------------


@contextmanager
def recording() -> Generator[list[Asked]]:
    """What is asked over connections that are made from now on."""
    found: list[Asked] = []
    make: Callable[..., Any] = driver.connect
    make_pool: Callable[..., Any] = driver.create_pool

    def noting(*, writes: bool) -> Callable[[Any], None]:
        return lambda query: found.append(Asked(query.query, tuple(query.args or ()), writes))

    async def connecting(*values: Any, **settings: Any) -> Any:
        connection = await make(*values, **settings)
        connection.add_query_logger(noting(writes=True))
        return connection

    def pooling(*values: Any, init: Any = None, **settings: Any) -> Any:
        async def begin(connection: Any) -> None:
            if init is not None:
                await init(connection)
            connection.add_query_logger(noting(writes=False))

        return make_pool(*values, init=begin, **settings)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(driver, "connect", connecting)
        patch.setattr(driver, "create_pool", pooling)
        yield found


async def work(url: str) -> list[Asked]:
    """Have everything done that is done often, by one and in batches: what was asked for that."""
    chance = random.Random(3)
    connection = await connect(place_of(url))
    threads = [
        ThreadId(name)
        for (name,) in await connection.fetch("SELECT thread_id FROM threads TABLESAMPLE SYSTEM (1) LIMIT 1000")
    ]
    await connection.close()
    numbers = itertools.count()
    with recording() as found:
        async with PostgresStore(url) as store:
            for _ in range(ROUNDS):
                for thread in (ThreadId(f"new-{next(numbers)}"), *chance.sample(threads, 3)):
                    await submitted(store, f"n{next(numbers)}", thread=thread)
                owner = await claimed(store, f"n{next(numbers)}", thread=ThreadId(f"new-{next(numbers)}"))
                await committed(store, owner, delta("a"), said(f"s{next(numbers)}"))
                await renew(store, owner)
                await settled(store, owner)
                await store.apply(
                    [
                        asked(f"n{next(numbers)}", thread=thread, offered=offer())
                        for thread in chance.sample(threads, 50)
                    ]
                )
                for each in (1, 20):
                    taken = (await claim_some(store, limit=each)).claims
                    await renew(store, *taken)
                    await cancel(store, f"n{next(numbers)}", thread=chance.choice(threads))
                    for claim in taken:
                        await settled(store, claim, offered=offer())
                await claim_some(store, limit=2, by_age=True)
                await reclaim(store)
                await store.apply([GiveUp(routes=(Route("nobody"),), after_ms=1_000), Tick(max_attempts=1)])
                await store.apply([Purge(run_retention_ms=LATER_MS, event_retention_ms=LATER_MS)])
                await _read(store, chance.sample(threads, 3))
    return found


async def _read(store: PostgresStore, threads: Sequence[ThreadId]) -> None:
    """Every list that users page through, up and down, and what processes look for."""
    nobody, open_ = AgentId("nobody"), (DispatchStatus.QUEUED, DispatchStatus.CLAIMED)
    runs = (RunQuery(), RunQuery(agent_id=AGENT), RunQuery(agent_id=nobody), RunQuery(status=RunStatus.WAITING))
    tickets = (
        TicketQuery(),
        TicketQuery(state="open"),
        TicketQuery(state="open", agent_id=nobody),
        TicketQuery(thread_id=threads[0]),
    )
    for descending in (False, True):
        for after in (None, 200 * BLOCK):
            await store.list_threads(SCOPE, ThreadQuery(ascending=not descending, after=after))
            for query in runs:
                await store.list_runs(SCOPE, replace(query, descending=descending, after=after))
            for about in tickets:
                await store.list_tickets(SCOPE, replace(about, descending=descending, after=after))
        await store.list_runs(SCOPE, RunQuery(thread_id=threads[0], descending=descending))
        await store.page_messages(SCOPE, threads[1], MessageQuery(descending=descending))
    await store.list_threads(SCOPE, ThreadQuery(resource_id="nobody"))
    await store.list_threads(SCOPE, ThreadQuery(parent_thread_id=threads[0]))
    await store.list_dead_letters(SCOPE, DeadLetterQuery())
    await store.list_dispatches(SCOPE, DispatchQuery())
    await store.list_dispatches(SCOPE, DispatchQuery(thread_id=threads[0]))
    await store.list_dispatches(SCOPE, DispatchQuery(statuses=open_))
    await store.list_dispatches(SCOPE, DispatchQuery(agent_id=nobody))
    for thread in threads:
        await store.load_thread(SCOPE, thread)
        await store.load_snapshot(SCOPE, thread)
        await store.latest_run(SCOPE, thread)
        await store.active_dispatch(SCOPE, thread)
        await store.list_queue(SCOPE, thread)
        await store.list_pending(SCOPE, thread)
        for run in (await store.list_runs(SCOPE, RunQuery(thread_id=thread))).items:
            await store.load_run(SCOPE, run.run_id)
            await store.list_journal(SCOPE, run.run_id)
            await store.load_receipt(SCOPE, thread, run.request.input_message_ids[0])
            await store.page_events(SCOPE, thread, after=0, limit=50, run_id=run.run_id)
        await store.page_events(SCOPE, thread, after=0, limit=50)
    await store.list_claims(WORKER)
    await store.count_dispatches()
    await store.count_open_tickets()
    await store.count_open_runs(SCOPE)
    await store.summarize_runs(SCOPE)
    await store.list_ready_routes()
    await store.next_due_in_ms(frozenset([Route(AGENT)]))
    await store.list_overdue_tickets()
    await store.list_outbox()


# --- what the server means to do --------------------------------------------------------------------------------------


class Plan(msgspec.Struct, frozen=True):
    """`scans`: tables that are read from one end to the other. `indexes`: what is used."""

    cost: float
    scans: frozenset[str]
    indexes: frozenset[str]


def plan_of(explained: str) -> Plan:
    [found] = json.loads(explained)
    scans: set[str] = set()
    indexes: set[str] = set()

    def walk(node: dict[str, Any]) -> None:
        if node["Node Type"] == "Seq Scan":
            scans.add(node["Relation Name"])
        if "Index Name" in node:
            indexes.add(node["Index Name"])
        for each in node.get("Plans", ()):
            walk(each)

    walk(found["Plan"])
    return Plan(found["Plan"]["Total Cost"], frozenset(scans), frozenset(indexes))


def names_in(text: str) -> tuple[str, ...]:
    """The names of the statements that one consists of."""
    found = [name for name, statement in SQL.items() if statement.text == text]
    for name, of_many in (*((name, each.of_many) for name, each in SQL.items() if each.values), *_of_writes()):
        head, _, tail = of_many.partition(ARRAYS)
        if f"({head}" in text and f"{tail}" in text:
            found.append(name)
    return tuple(found)


def _of_writes() -> Iterator[tuple[str, str]]:
    return ((name, write.text) for name, write in WRITES.items())


def comments() -> dict[str, str]:
    """What stands between the name of each statement and the statement."""
    found: dict[str, str] = {}
    for file in ("queries.sql", "writes.sql"):
        text = files("awaken.store.postgres").joinpath(file).read_text(encoding="utf-8")
        for name, comment in re.findall(r"^-- name: (\w+)\n((?:--.*\n)*)", text, re.MULTILINE):
            found[name] = " ".join(line.removeprefix("--").strip() for line in comment.splitlines())
    return found


async def faults(url: str, found: Sequence[Asked]) -> tuple[list[str], set[str]]:
    """What is wrong with the plans of what was asked, and the statements that were looked at."""
    said_of = comments()
    place = place_of(url)
    complaints: dict[str, None] = {}
    looked_at: set[str] = set()
    for writes in (True, False):
        connection = await connect(place, writes=writes)
        try:
            large, indexes = await _objects(connection)
            for names, each in _some([each for each in found if each.writes is writes]):
                looked_at.update(names)
                promised = [said_of[name].partition("Index: ")[2] for name in names]
                wanted = set(re.findall(rf"\b(?:{'|'.join(large)})_\w+", " ".join(promised)))
                is_said = all("primary key" in each or set(re.findall(r"\w+", each)) & wanted for each in promised)
                name = ", ".join(names)
                for plan in await _plans(connection, each):
                    if plan.scans & large:
                        complaints[f"{name} reads {', '.join(sorted(plan.scans & large))} from end to end"] = None
                    used = plan.indexes & _of(large, indexes)
                    strange = {index for index in used if not {index, ALIKE.get(index)} & wanted}
                    if is_said and (strange or not (used or "primary key" in promised[0])):
                        told = f"{', '.join(sorted(wanted))} and uses {', '.join(sorted(used)) or 'none'}"
                        complaints[f"{name} says {told}"] = None
        finally:
            await connection.close()
    return list(complaints), looked_at


async def _objects(connection: Any) -> tuple[set[str], set[str]]:
    """The tables that hold much, and the indexes."""
    found = await connection.fetch(
        "SELECT relname, relkind, reltuples FROM pg_class WHERE relnamespace = to_regnamespace(current_schema)"
    )
    large = {name for name, kind, tuples in found if kind == b"r" and tuples > 1_000}
    return large, {name for name, kind, _ in found if kind == b"i"}


async def _plans(connection: Any, asked: Asked) -> list[Plan]:
    """Those that the server chooses among."""
    mode = await connection.fetchval("SHOW plan_cache_mode")
    if mode == "force_generic_plan" and asked.values:
        return [await _generic(connection, asked, mode)]
    custom = plan_of(await connection.fetchval(f"EXPLAIN (FORMAT JSON) {asked.text}", *asked.values))
    if mode != "auto" or not asked.values:
        return [custom]
    generic = await _generic(connection, asked, mode)
    return [custom, generic] if generic.cost <= 1.1 * custom.cost else [custom]


def _of(tables: set[str], indexes: set[str]) -> set[str]:
    """The indexes of these tables, but for their primary keys, by which rows are joined."""
    own = {index for index in indexes if any(index.startswith(f"{table}_") for table in tables)}
    return {index for index in own if not index.endswith("_pkey")}


def _some(found: Sequence[Asked]) -> list[tuple[tuple[str, ...], Asked]]:
    """The last times that each statement was asked, which is when there is most."""
    some: dict[tuple[str, ...], list[Asked]] = {}
    for each in reversed(found):
        names = names_in(each.text)
        if names and len(some.setdefault(names, [])) < ROUNDS:
            some[names].append(each)
    return [(names, each) for names, group in some.items() for each in group]


async def _generic(connection: Any, asked: Asked, mode: str) -> Plan:
    """For any values. `mode`: how the session plans otherwise."""
    await connection.execute(f"PREPARE planned AS {asked.text}; SET plan_cache_mode = force_generic_plan")
    try:
        nothing = ", ".join(["NULL"] * len(asked.values))
        return plan_of(await connection.fetchval(f"EXPLAIN (FORMAT JSON) EXECUTE planned ({nothing})"))
    finally:
        await connection.execute(f"SET plan_cache_mode = {mode}; DEALLOCATE planned")


async def _look(url: str, rows: int) -> int:
    began_s = time.monotonic()
    await fill(url, rows)
    filled_s = time.monotonic()
    complaints, looked_at = await faults(url, await work(url))
    print(f"{rows} runs were made in {filled_s - began_s:.0f} s, and {len(looked_at)} statements looked at in", end=" ")
    print(f"{time.monotonic() - filled_s:.0f} s", *complaints, sep="\n")
    return 1 if complaints else 0


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m tests.store.postgres.plans", description=(__doc__ or "").partition("\n")[0]
    )
    parser.add_argument("--rows", type=int, default=1_000_000)
    rows = parser.parse_args(arguments).rows
    url = url_of_schema(start_server("plans"), "plans")
    try:
        return asyncio.run(_look(url, rows))
    finally:
        asyncio.run(drop_schema(url))


if __name__ == "__main__":
    sys.exit(main())
