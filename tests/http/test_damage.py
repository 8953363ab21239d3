"""Lists of a store with damage: what can be read is shown, and the rest is named."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from awaken import Awaken
from awaken.store.sqlite import SqliteStore
from awaken.testing.clock import ManualClock
from tests.http.site import Site, served, talk

Hand = Callable[[str], None]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "damaged.db"


@pytest.fixture
def store(path: Path, clock: ManualClock) -> SqliteStore:
    return SqliteStore(path, clock=clock, durability="process")


@pytest.fixture
def by_hand(path: Path) -> Hand:
    """Runs one statement on the file, over a connection of its own."""

    def run(statement: str) -> None:
        with closing(sqlite3.connect(path, isolation_level=None)) as db:
            assert db.execute(statement).rowcount > 0, "the damage is done"

    return run


async def _two_runs(site: Site) -> tuple[Any, Any]:
    site.world.audits = False  # rows are edited by hand
    first, second = await site.submit("talk", "t"), await site.submit("talk", "t")
    await site.finished(first)
    await site.finished(second)
    return first, second


async def _page(site: Site, path: str) -> Any:
    answer = await site.http.get(path)
    assert answer.status == 200, answer
    return answer.json()


RUN = "UPDATE runs SET request = x'7b' WHERE no = (SELECT min(no) FROM runs)"
DISPATCH = "UPDATE dispatches SET attempt_count = 99 WHERE no = (SELECT min(no) FROM dispatches)"
MESSAGE = "UPDATE messages SET body = x'7b' WHERE seq = 2"
GONE = "DELETE FROM messages WHERE seq = 2"


async def test_a_damaged_run_is_named_and_the_others_are_shown(
    store: SqliteStore, clock: ManualClock, by_hand: Hand
) -> None:
    async with served(store, clock) as site:
        first, second = await _two_runs(site)
        by_hand(RUN)
        for path in ("/v1/runs", "/v1/threads/t/runs"):
            page = await _page(site, path)
            assert [run["run_id"] for run in page["items"]] == [second["run_id"]]
            assert [first["run_id"] in name for name in page["unreadable"]] == [True]
        threads = await _page(site, "/v1/threads")
        assert ([each["thread_id"] for each in threads["items"]], threads["unreadable"]) == (["t"], [])


async def test_a_run_whose_dispatch_is_damaged_is_shown_without_it(
    store: SqliteStore, clock: ManualClock, by_hand: Hand
) -> None:
    async with served(store, clock) as site:
        first, second = await _two_runs(site)
        by_hand(DISPATCH)
        page = await _page(site, "/v1/runs?order=asc")
        assert [(run["run_id"], run["attempt"]) for run in page["items"]] == [
            (first["run_id"], None),
            (second["run_id"], 1),
        ]
        assert page["unreadable"] == [f"dispatch {first['dispatch_id']!r} of run {first['run_id']!r}"]
        dispatches = await _page(site, f"/v1/runs/{first['run_id']}/dispatches")
        assert (dispatches["items"], len(dispatches["unreadable"])) == ([], 1)
        assert first["dispatch_id"] in dispatches["unreadable"][0]


@pytest.mark.parametrize("limit", [1, 2, 200])
@pytest.mark.parametrize("order", ["asc", "desc"])
@pytest.mark.parametrize("filters", ["", "&visibility=all"])
@pytest.mark.parametrize("damage", [MESSAGE, GONE])
async def test_a_damaged_message_is_named_and_the_others_are_shown(
    store: SqliteStore, clock: ManualClock, by_hand: Hand, limit: int, order: str, filters: str, damage: str
) -> None:
    async with served(store, clock) as site:
        await _two_runs(site)
        by_hand(damage)
        seqs: list[int] = []
        unreadable: list[str] = []
        cursor = ""
        while True:
            page = await _page(site, f"/v1/threads/t/messages?limit={limit}&order={order}{filters}{cursor}")
            seqs += [message["seq"] for message in page["items"]]
            unreadable += page["unreadable"]
            assert page["version"] == 4
            if not page["has_more"]:
                break
            cursor = f"&cursor={page['next_cursor']}"
        assert seqs == ([1, 3, 4] if order == "asc" else [4, 3, 1])
        assert len(unreadable) == (0 if damage == GONE and not filters else 1)  # a filter may leave out what is gone


@pytest.mark.parametrize(
    ("damage", "named"),
    [
        ("UPDATE events SET body = x'5b' WHERE first_seq = 1", "events from 1 of thread"),
        ("DELETE FROM events WHERE first_seq = 1", "hole before"),
        ("UPDATE messages SET body = x'7b' WHERE seq = 1", "events from"),
    ],
)
@pytest.mark.parametrize("of", ["threads/t", "run"])
async def test_damaged_events_are_named_and_the_others_are_shown(
    store: SqliteStore, clock: ManualClock, by_hand: Hand, damage: str, named: str, of: str
) -> None:
    async with served(store, clock) as site:
        first, _ = await _two_runs(site)
        path = f"/v1/{'runs/' + first['run_id'] if of == 'run' else of}/events?channels=lifecycle,messages,mailbox"
        before = (await _page(site, path + "&limit=200"))["items"]
        by_hand(damage)
        items: list[Any] = []
        unreadable: set[str] = set()
        cursor = ""
        while True:
            page = await _page(site, f"{path}&limit=3{cursor}")
            items += page["items"]
            unreadable |= set(page["unreadable"])
            if not page["has_more"]:
                break
            cursor = f"&cursor={page['next_cursor']}"
        assert 0 < len(items) < len(before)
        assert all(item in before for item in items)
        assert len({item["cursor"] for item in items}) == len(items)
        if named == "hole before" and of == "run":
            return  # between the events of a run lie those of others
        assert len(unreadable) == 1 and named in unreadable.pop()


async def test_the_list_of_events_ends_behind_a_damaged_row_at_the_end(
    store: SqliteStore, clock: ManualClock, by_hand: Hand
) -> None:
    async with served(store, clock) as site:
        await _two_runs(site)
        by_hand("UPDATE events SET body = x'5b' WHERE first_seq = (SELECT max(first_seq) FROM events)")
        page = await _page(site, "/v1/threads/t/events?limit=200")
        assert (page["has_more"], len(page["unreadable"])) == (False, 1)


async def test_a_run_is_read_whatever_is_damaged_in_the_queue_before_it(
    store: SqliteStore, clock: ManualClock, by_hand: Hand
) -> None:
    async with served(store, clock) as site:
        site.world.audits = False
        await site.submit("gated", "t")
        await site.submit("gated", "t")
        last = await site.submit("gated", "t")
        by_hand("UPDATE dispatches SET attempt_count = 99 WHERE no = (SELECT max(no) - 1 FROM dispatches)")
        run = await _page(site, f"/v1/runs/{last['run_id']}")
        assert run["phase"] == "queued" and run["queue_position"] is not None


@pytest.mark.parametrize("instant", [9_467_000_000_000_000, -(2**62), 2**62])
async def test_an_absurd_instant_fails_no_list(
    store: SqliteStore, clock: ManualClock, by_hand: Hand, instant: int
) -> None:
    async with served(store, clock) as site:
        first, _ = await _two_runs(site)
        for table in ("runs", "dispatches", "threads", "messages", "events"):
            by_hand(f"UPDATE {table} SET created_at = {instant}")
        by_hand(f"UPDATE dispatches SET available_at = {instant}")
        by_hand(f"UPDATE runs SET started_at = {instant}, finished_at = {instant}")
        for path in (
            "/v1/runs",
            "/v1/threads",
            "/v1/threads/t/runs",
            "/v1/threads/t/messages",
            "/v1/threads/t/events",
            f"/v1/runs/{first['run_id']}",
            f"/v1/runs/{first['run_id']}/dispatches",
        ):
            page = await _page(site, path)
            created = page["created_at"] if "created_at" in page else page["items"][0]["created_at"]
            assert created == ("0001-01-01T00:00:00.000Z" if instant < 0 else "9999-12-31T23:59:59.999Z")


LAST_RUN = "(SELECT max(no) FROM runs)"
OUTPUT = "UPDATE messages SET body = x'fffe00' WHERE seq = 4"
NO_OUTPUT = "DELETE FROM messages WHERE seq = 4"
LAST_DISPATCH = "UPDATE dispatches SET attempt_count = 99 WHERE no = (SELECT max(no) FROM dispatches)"


@pytest.mark.parametrize("damage", [OUTPUT, NO_OUTPUT])
async def test_a_run_whose_output_is_damaged_is_shown_with_the_damage_named(
    store: SqliteStore, clock: ManualClock, by_hand: Hand, damage: str
) -> None:
    """And so is everything that begins with reading the run, or the thread whose newest run it is."""
    async with served(store, clock) as site:
        first, last = await _two_runs(site)
        before = await _page(site, f"/v1/runs/{last['run_id']}")
        by_hand(damage)

        run = await _page(site, f"/v1/runs/{last['run_id']}")
        assert (run["output"], run["final_output"], run["status"], run["phase"]) == (None, None, "done", "completed")
        assert len(run["unreadable"]) == 1 and last["run_id"] in run["unreadable"][0]
        assert before["unreadable"] == []
        for path in ("/v1/runs", "/v1/threads/t/runs"):
            page = await _page(site, path)
            assert [each["run_id"] for each in page["items"]] == [last["run_id"], first["run_id"]]
            assert page["unreadable"] == run["unreadable"] == page["items"][0]["unreadable"]
        result = await _page(site, f"/v1/runs/{last['run_id']}/wait")
        assert (result["output"], result["messages"]) == (None, [])
        assert len(result["unreadable"]) == (damage == OUTPUT)  # what is gone a filter cannot miss
        dispatches = await _page(site, f"/v1/runs/{last['run_id']}/dispatches")
        assert (len(dispatches["items"]), dispatches["unreadable"]) == (1, [])
        events = await _page(site, f"/v1/runs/{last['run_id']}/events")
        assert len(events["items"]) > 0 and len(events["unreadable"]) == 1
        thread = await _page(site, "/v1/threads/t")
        assert (thread["status"], thread["latest_run_id"], thread["unreadable"]) == ("idle", last["run_id"], [])
        messages = await _page(site, "/v1/threads/t/messages?visibility=all")
        assert [each["seq"] for each in messages["items"]] == [1, 2, 3] and len(messages["unreadable"]) == 1
        assert (await site.finished(await site.submit("talk", "t")))["output"] == "The order left today."


async def test_a_run_whose_dispatch_is_damaged_says_so_by_itself_too(
    store: SqliteStore, clock: ManualClock, by_hand: Hand
) -> None:
    async with served(store, clock) as site:
        _, last = await _two_runs(site)
        by_hand(LAST_DISPATCH)

        run = await _page(site, f"/v1/runs/{last['run_id']}")
        assert (run["attempt"], run["output"]) == (None, "The order left today.")
        assert run["unreadable"] == [f"dispatch {last['dispatch_id']!r} of run {last['run_id']!r}"]
        assert (await _page(site, f"/v1/runs/{last['run_id']}/wait"))["run"]["unreadable"] == run["unreadable"]


@pytest.mark.parametrize("damage", ["status = 'bogus'", "request = x'7b'"])
async def test_a_thread_whose_newest_run_is_damaged_is_shown_with_its_log(
    store: SqliteStore, clock: ManualClock, by_hand: Hand, damage: str
) -> None:
    async with served(store, clock) as site:
        _, last = await _two_runs(site)
        by_hand(f"UPDATE runs SET {damage} WHERE no = {LAST_RUN}")

        thread = await _page(site, "/v1/threads/t")
        assert (thread["latest_run_id"], thread["message_count"]) == (None, 4)
        assert len(thread["unreadable"]) == 1 and last["run_id"] in thread["unreadable"][0]
        threads = await _page(site, "/v1/threads")
        assert [each["thread_id"] for each in threads["items"]] == ["t"]
        assert threads["unreadable"] == thread["unreadable"]
        for path in ("messages", "events", "runs"):
            assert len((await _page(site, f"/v1/threads/t/{path}"))["items"]) > 0
        assert (await site.http.get(f"/v1/runs/{last['run_id']}")).code == "data_integrity"


async def test_lists_of_a_program_name_what_is_damaged_too(path: Path, by_hand: Hand) -> None:
    app = Awaken(f"sqlite:///{path}?durability=process")
    app.agent("talk", talk)
    async with asyncio.timeout(20), app:
        done = [await app.run("t", "Where?") for _ in range(2)]
        by_hand(OUTPUT)

        runs = app.list_runs()
        assert [run.run_id for run in await runs] == [done[1].run_id, done[0].run_id]
        assert len(runs.unreadable) == 1 and done[1].run_id in runs.unreadable[0]
        assert (await app.get_run(done[1].run_id)).unreadable == tuple(runs.unreadable)
        messages = app.messages("t")
        assert (len(await messages), len(messages.unreadable)) == (3, 1)
        for events in (app.list_events("t"), app.list_run_events(done[1].run_id)):
            assert len(await events) > 0 and len(events.unreadable) == 1
        by_hand(LAST_DISPATCH)
        dispatches, threads = app.list_dispatches(done[1].run_id), app.list_threads()
        assert (await dispatches, len(dispatches.unreadable)) == ([], 1)
        of_all = app.list_dispatches()
        assert ([each.run_id for each in await of_all], len(of_all.unreadable)) == ([done[0].run_id], 1)
        assert (len(await threads), threads.unreadable) == (1, [])
        assert (len(await runs), len(runs.unreadable)) == (2, 2), "each use reads anew"
