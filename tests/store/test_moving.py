"""What a file holds arrives on a server whole, once, and as it was, however often the move is killed."""

from __future__ import annotations

import asyncio
import re
import sqlite3
from collections.abc import AsyncIterator
from contextlib import closing
from inspect import iscoroutinefunction
from pathlib import Path
from typing import Any, Final
from uuid import UUID

import pytest
from msgspec import Raw

from awaken.domain.errors import Conflict, DataIntegrity, StoreUnavailable, StoreUnreachable
from awaken.domain.ids import ThreadId
from awaken.domain.run import RunStatus
from awaken.domain.thread import ThreadInfo
from awaken.domain.ticket import Decision, TicketRequest, ticket_id
from awaken.store.contract import Store
from awaken.store.moving import TABLES, Moved, move, would_move
from awaken.store.postgres import PostgresStore
from awaken.store.postgres.arriving import Arriving
from awaken.store.postgres.opening import connect, place_of
from awaken.store.postgres.queries import WRITES
from awaken.store.sqlite import SqliteStore
from awaken.store.sqlite.backup import back_up
from awaken.store.sqlite.inspection import audit, check_openable, inspect
from awaken.store.sqlite.leaving import Leaving
from awaken.store.transitions import (
    DeadLetter,
    Decide,
    DeleteThread,
    Hide,
    JournalEntry,
    Ruling,
    SaveThread,
    Settled,
    Submitted,
)
from awaken.testing.audit import check_sound
from awaken.testing.clock import ManualClock
from awaken.testing.conformance.outbox import begins, delivering
from awaken.testing.conformance.schedules import made
from awaken.testing.conformance.steering import staged
from awaken.testing.conformance.steps import (
    DONE,
    OTHER_SCOPE,
    SCOPE,
    apply,
    asked,
    claim_some,
    claimed,
    committed,
    dispatch_of,
    finished,
    message_id,
    run_id,
    run_of,
    said,
    settled,
    snapshot,
    submitted,
    suspended,
    thread_id,
    want,
)
from tests.cutting import Relay

MOVE_ID: Final = "move-1"
UUID_THREAD: Final = ThreadId(str(UUID(int=7)))


async def fill(store: Store) -> None:
    """One of everything that a store can hold."""
    await apply(store, SaveThread(scope=SCOPE, thread_id=ThreadId("home"), info=ThreadInfo(resource_id="owner")))
    child = ThreadInfo(parent_thread_id=ThreadId("home"), metadata={"a": "b\0c"})
    await apply(store, SaveThread(scope=SCOPE, thread_id=UUID_THREAD, info=child))
    await finished(store, "done", thread=UUID_THREAD)
    await apply(store, Hide(scope=SCOPE, thread_id=UUID_THREAD, message_id=message_id("msg-done")))
    await finished(store, "dead", thread=thread_id("dead"), ending=DeadLetter("hopeless"))
    await finished(store, "other", scope=OTHER_SCOPE)
    await apply(store, asked("key", thread=thread_id("key"), dedupe_key="only one"))
    await submitted(store, "late", thread=thread_id("late"), delay_ms=5_000)
    owner = await claimed(store, "asks", thread=thread_id("asks"))
    journal = [JournalEntry(f"step#{n}", Raw(b'{"n": 1}')) for n in range(3)]
    await committed(store, owner, journal=journal, posts=[begins("posted")], state=[{"a": {"b": 1}}])
    await settled(store, owner, suspended(TicketRequest(key="name#1", kind="input"), then="asks-on"))
    await made(store)
    await apply(store, SaveThread(scope=SCOPE, thread_id=ThreadId("gone"), messages=(said("m"),)))
    await apply(store, DeleteThread(scope=SCOPE, thread_id=ThreadId("gone")))
    await claimed(store, "busy", thread=thread_id("busy"))
    await staged(store, "steers", thread=thread_id("busy"))
    await submitted(store, "behind", thread=thread_id("busy"))


async def all_of(store: Store) -> list[object]:
    """Everything that can be read of it."""
    seen = await snapshot(store)
    seen += [await store.list_outbox(), await store.list_schedules(SCOPE), await store.list_ready_routes()]
    for name in ("busy", "asks", "dead", "late"):
        seen.append(await store.list_pending(SCOPE, thread_id(name)))
        seen.append(await store.list_queue(SCOPE, thread_id(name)))
    seen.append(await store.load_receipt(SCOPE, UUID_THREAD, message_id("msg-done")))
    seen.append(await store.load_thread(SCOPE, ThreadId("gone")))
    seen.append(await store.load_run(OTHER_SCOPE, run_id("other")))
    return seen


class Killed(BaseException):
    """Stands for what ends a process at once."""


class Deadly:
    """One side of a move, which ends behind the first thing that changes something here.

    `spared`: what is not deadly any more, because it is done again each time; grows.
    """

    def __init__(self, side: Any, spared: set[str]) -> None:
        self._side = side
        self._spared = spared

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._side, name)
        if name not in ("begin", "put", "end", "open_up") or name in self._spared:
            return found
        if iscoroutinefunction(found):

            async def last(*values: Any) -> None:
                await found(*values)
                self._spared |= {name} - {"put"}
                raise Killed

            return last

        def last_here(*values: Any) -> None:
            found(*values)
            raise Killed

        return last_here


async def carry(path: Path, url: str, clock: ManualClock, *, deadly: set[str] | None = None) -> Moved:
    with Leaving(path, clock) as source:
        async with Arriving(url) as target:
            sides: tuple[Any, Any] = (source, target)
            if deadly is not None:
                sides = (Deadly(source, set()), Deadly(target, deadly))
            return await move(*sides, move_id=MOVE_ID, now=clock.now, told=quiet, slice_rows=3)


def quiet(doing: str, done: int, total: int) -> None:
    assert done <= total


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
async def path(tmp_path: Path, clock: ManualClock) -> Path:
    """A file whose server has died, with a run executing."""
    async with SqliteStore(tmp_path / "a.db", clock=clock) as store:
        await fill(store)
    return tmp_path / "a.db"


@pytest.fixture
async def hand(postgres_url: str) -> AsyncIterator[Any]:
    connection = await connect(place_of(postgres_url))
    yield connection
    await connection.close()


async def test_all_that_can_be_read_is_the_same_afterwards(path: Path, postgres_url: str, clock: ManualClock) -> None:
    async with SqliteStore(path, clock=clock) as store:
        before = await all_of(store)

    moved = await carry(path, postgres_url, clock)

    assert all(moved.rows[name] for name in TABLES), f"the file has one of everything: {moved.rows}"
    async with PostgresStore(postgres_url, clock=clock) as store:
        assert await all_of(store) == before
        await check_sound(store)


async def test_runs_go_on_where_they_were(path: Path, postgres_url: str, clock: ManualClock) -> None:
    await carry(path, postgres_url, clock)

    async with PostgresStore(postgres_url, clock=clock) as store:
        clock.tick(10)
        [errand] = await store.list_outbox()
        await apply(store, delivering(errand))
        ruling = Ruling(ticket_id(run_id("asks"), "name#1"), Decision(decision_id="d1", action="answer", result="Ada"))
        await apply(store, Decide(scope=SCOPE, thread_id=thread_id("asks"), run_id=run_id("asks"), rulings=(ruling,)))
        ended: list[str] = []
        while claims := (await claim_some(store, limit=20)).claims:
            for claim in claims:
                assert isinstance(await settled(store, claim, DONE), Settled)
                ended.append(claim.run.run_id)

        named = {run_id(each) for each in ("key", "late", "asks", "busy", "behind", "posted")}
        assert named < set(ended), "each goes on"
        assert len(ended) == len(set(ended)) == len(named) + 1, "once; and one is what the message to `busy` became"
        assert ended.index(run_id("busy")) < ended.index(run_id("behind"))
        assert (await run_of(store, "dead")).status is RunStatus.DONE
        assert len(await store.list_journal(SCOPE, run_id("asks"))) == 3
        await check_sound(store)


async def test_what_arrives_later_is_numbered_behind_what_was_moved(
    path: Path, postgres_url: str, clock: ManualClock
) -> None:
    """Also behind what a purge has taken away before."""
    async with SqliteStore(path, clock=clock) as store:
        newest = (await submitted(store, "newest", thread=thread_id("newest"))).run.no
    await carry(path, postgres_url, clock)

    async with PostgresStore(postgres_url, clock=clock) as store:
        later = want(Submitted, await apply(store, asked("later", thread=thread_id("late"))))
        assert later.run.no > newest
        assert isinstance(await finished(store, "more", thread=thread_id("more")), Settled)


async def test_killed_at_every_step_it_goes_on_and_doubles_nothing(
    path: Path, postgres_url: str, clock: ManualClock
) -> None:
    async with SqliteStore(path, clock=clock) as store:
        before = await all_of(store)
    kills, spared = 0, set[str]()
    while True:
        try:
            await carry(path, postgres_url, clock, deadly=spared)
        except Killed:
            kills += 1
        except StoreUnavailable:  # the file is closed
            break
        if kills == 4:
            with pytest.raises(StoreUnavailable, match="a move from there has not ended"):
                async with PostgresStore(postgres_url, clock=clock):
                    pass

    assert kills > len(TABLES) + 4, "each table, and the beginnings and the ends"
    async with PostgresStore(postgres_url, clock=clock) as store:
        assert await all_of(store) == before


async def test_of_a_text_that_a_server_cannot_store_the_rest_arrives(
    path: Path, postgres_url: str, clock: ManualClock
) -> None:
    """Postgres has no character 0 in a text; one that writes there replaces it, too."""
    async with SqliteStore(path, clock=clock) as store:
        await finished(store, "nul", thread=thread_id("nul"), ending=DeadLetter("a\0b"))

    await carry(path, postgres_url, clock)

    async with PostgresStore(postgres_url, clock=clock) as store:
        assert (await dispatch_of(store, "nul")).last_error == "a\ufffdb"


async def test_a_file_that_has_moved_is_opened_by_nobody(path: Path, postgres_url: str, clock: ManualClock) -> None:
    await carry(path, postgres_url, clock)
    shown = place_of(postgres_url).schema

    with pytest.raises(StoreUnavailable, match=f"has moved to .*{shown}.* Use that one"):
        async with SqliteStore(path, clock=clock):
            pass
    for look in (
        lambda: list(audit(path, clock.now())),
        lambda: inspect(path, clock.now(), run_retention_ms=1, event_retention_ms=1),
        lambda: back_up(path, path.with_name("b.db"), lambda done, pages: None),
        lambda: check_openable(path),
    ):
        with pytest.raises(StoreUnavailable, match="has moved to"):
            look()
    with pytest.raises(StoreUnavailable, match="has moved to"):
        await carry(path, postgres_url, clock)


async def test_a_file_that_was_served_in_between_is_not_gone_on_with(
    path: Path, postgres_url: str, clock: ManualClock
) -> None:
    """What was copied before may be of another state than what comes then."""
    spared = set[str]()
    for _ in range(5):
        with pytest.raises(Killed):
            await carry(path, postgres_url, clock, deadly=spared)
    async with SqliteStore(path, clock=clock) as store:
        await finished(store, "more", thread=thread_id("more"))

    with pytest.raises(Conflict, match=r"before this one was served again\. Drop the schema"):
        await carry(path, postgres_url, clock)


async def test_a_file_that_is_served_is_not_moved(path: Path, postgres_url: str, clock: ManualClock) -> None:
    async with SqliteStore(path, clock=clock):
        with pytest.raises(StoreUnavailable, match="already served by process"):
            await carry(path, postgres_url, clock)
        assert (await look(path, postgres_url, clock)).total > 20  # before the server is stopped


async def test_two_moves_at_once_are_told_from_a_server(path: Path, postgres_url: str, clock: ManualClock) -> None:
    with Leaving(path, clock):
        with pytest.raises(
            StoreUnavailable, match=r"is being moved to another one by process .* it goes on where it was"
        ):
            await carry(path, postgres_url, clock)
        with pytest.raises(StoreUnavailable, match="is being moved to another one by process"):
            async with SqliteStore(path, clock=clock):
                pass


async def test_a_move_that_was_broken_off_would_go_on_and_says_so(
    path: Path, postgres_url: str, clock: ManualClock
) -> None:
    assert not (await look(path, postgres_url, clock)).resumed
    with pytest.raises(Killed):
        await carry(path, postgres_url, clock, deadly=set())
    with pytest.raises(Killed):
        await carry(path, postgres_url, clock, deadly=set())
    assert (await look(path, postgres_url, clock)).resumed


async def test_a_database_that_goes_away_in_a_move_leaves_it_to_be_gone_on_with(
    path: Path, postgres_url: str, clock: ManualClock
) -> None:
    async with asyncio.timeout(60), Relay(postgres_url) as relay:
        with Leaving(path, clock) as source:
            async with Arriving(relay.url) as target:
                relay.cut_at("commit", 3)
                with pytest.raises(StoreUnreachable) as caught:
                    await move(source, target, move_id=MOVE_ID, now=clock.now, told=quiet)
        assert "connection was lost" in str(caught.value)
        assert caught.value.__notes__ == ["nothing is lost: begin the same move again, and it goes on where it was"]
    await carry(path, postgres_url, clock)


async def test_a_target_in_use_is_refused(path: Path, postgres_url: str, clock: ManualClock) -> None:
    async with PostgresStore(postgres_url, clock=clock) as store:
        await submitted(store, "d1")

    for refused in (carry, look):
        with pytest.raises(Conflict, match="something is stored there"):
            await refused(path, postgres_url, clock)
    async with SqliteStore(path, clock=clock) as store:
        await finished(store, "more", thread=thread_id("more"))


async def test_a_target_that_a_process_works_on_is_refused(
    path: Path, postgres_url: str, clock: ManualClock, hand: Any
) -> None:
    async with PostgresStore(postgres_url, clock=clock):
        pass
    await hand.execute(
        "INSERT INTO workers (consumer_id, seen_at, body) VALUES ('w', extract(epoch FROM now()) * 1000, '')"
    )
    with pytest.raises(Conflict, match="served by a process"):
        await carry(path, postgres_url, clock)


async def test_what_somebody_else_changed_meanwhile_is_found_before_the_file_is_closed(
    path: Path, postgres_url: str, clock: ManualClock, hand: Any
) -> None:
    spared = set[str]()
    while True:
        with pytest.raises(Killed):
            await carry(path, postgres_url, clock, deadly=spared)
        if await hand.fetchval("SELECT count(*) FROM threads"):
            break
    await hand.execute("UPDATE runs SET agent_id = 'mallory' WHERE status = 'done'")

    with pytest.raises(DataIntegrity, match="rows with other content in runs"):
        await carry(path, postgres_url, clock)

    async with SqliteStore(path, clock=clock) as store:
        assert (await run_of(store, "done")).agent_id != "mallory"


async def test_looking_first_changes_nothing_on_either_side(
    path: Path, postgres_url: str, clock: ManualClock, hand: Any
) -> None:
    content = await asyncio.to_thread(path.read_bytes)

    found = await look(path, postgres_url, clock)

    assert found.dry_run and found.total > 20
    assert await asyncio.to_thread(path.read_bytes) == content
    schema = place_of(postgres_url).schema
    assert await hand.fetchval("SELECT count(*) FROM pg_namespace WHERE nspname = $1", schema) == 0


@pytest.mark.parametrize("what", ["nothing", "another program's"])
async def test_what_is_no_file_of_ours_is_not_moved(
    what: str, tmp_path: Path, postgres_url: str, clock: ManualClock
) -> None:
    if what != "nothing":
        with closing(sqlite3.connect(tmp_path / "a.db")) as db:
            db.execute("CREATE TABLE moves (a)")
    with pytest.raises((StoreUnavailable, DataIntegrity), match=r"no such file|another program"):
        await carry(tmp_path / "a.db", postgres_url, clock)


async def look(path: Path, url: str, clock: ManualClock) -> Moved:
    with Leaving(path, clock, looks_only=True) as source:
        async with Arriving(url, looks_only=True) as target:
            return await would_move(source, target)


STAYS: Final = {"messages": {"sender", "hop_count"}, "events": {"trace_id"}} | {
    "runs": {"parent_run_id", "depth", "detached", "hop_count", "retry_of_run_id", "result", "principal", "wire_run_id"}
}
"""Columns of a file in which nothing is yet."""


async def test_no_column_of_either_side_is_left_out(path: Path, postgres_url: str, hand: Any) -> None:
    """Whoever adds one to a schema has it moved, or says here why not."""
    async with Arriving(postgres_url):
        for table in TABLES:
            move_in = set(re.findall(r"\w+", re.findall(r"\((.*?)\)", WRITES[f"move_{table}"].text)[0]))
            there = await hand.fetch(
                "SELECT column_name FROM information_schema.columns WHERE table_schema = $1 AND table_name = $2",
                place_of(postgres_url).schema,
                table,
            )
            assert move_in == {name for (name,) in there}, table
            with closing(sqlite3.connect(path)) as db:
                here = {name for _, name, *_ in db.execute(f"PRAGMA table_info({table})")}
            assert here - STAYS.get(table, set()) <= move_in, table
