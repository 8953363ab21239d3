"""Reads: the same bytes as were written, and damage reported by name."""

from __future__ import annotations

from collections.abc import Callable

import msgspec
import pytest

from awaken.domain.dispatch import DispatchStatus
from awaken.domain.errors import DataIntegrity
from awaken.domain.ids import ConsumerId, DispatchId, MessageId, RunId, ThreadId
from awaken.domain.log import EventRow, LoggedEvent
from awaken.domain.message import Opaque, Text
from awaken.domain.thread import ThreadInfo
from awaken.store.contract import DispatchQuery, MessageQuery, RunQuery, ThreadQuery
from awaken.store.rows import pack, unpack
from awaken.store.sqlite import SqliteStore
from awaken.store.transitions import DeadLetter, JournalEntry, SaveThread
from awaken.testing.behaviour import behaviour
from awaken.testing.conformance.steps import (
    DONE,
    SCOPE,
    THREAD,
    answered,
    apply,
    cancelled,
    claim_some,
    claimed,
    committed,
    delta,
    finished,
    run_id,
    settled,
    submitted,
)

Hand = Callable[..., list[tuple[object, ...]]]


# --- the same bytes ---------------------------------------------------------------------------------------------------


async def test_a_reader_gets_the_very_bytes_that_were_appended(store: SqliteStore) -> None:
    mine = await claimed(store, "d1")
    odd = LoggedEvent("Custom", msgspec.Raw(b'{"text":"\\u00fc \xc3\xbc \\/","n":1.50,"deep":[[],{}]}'))
    wrote = await committed(store, mine, delta("a"), answered("m1"), odd)
    ended = await settled(store, mine)
    rows = await store.list_events(SCOPE, THREAD, after=0, limit=100)
    assert rows[1:] == [each.row() for each in wrote.appended + ended.appended]
    assert bytes(rows[1].events[-1].payload) == bytes(odd.payload)


async def test_an_unknown_block_is_kept(store: SqliteStore, by_hand: Hand) -> None:
    await claimed(store, "d1")
    body = b'{"id":"msg-d1","role":"user","content":[{"type":"text","text":"see"},{"type":"hologram","w":[1]}]}'
    by_hand("UPDATE messages SET body = ? WHERE message_id = 'msg-d1'", body)
    [stored] = await store.list_messages(SCOPE, THREAD, MessageQuery())
    assert stored.message.content == (Text("see"), Opaque("hologram", {"type": "hologram", "w": [1]}))


# --- damage -----------------------------------------------------------------------------------------------------------


@behaviour("TR-068")
@pytest.mark.parametrize(
    "damage",
    [
        "DELETE FROM messages WHERE seq = 2",
        "UPDATE messages SET seq = 7 WHERE seq = 3",
        "UPDATE messages SET seq = -2 WHERE seq = 2",
        "DELETE FROM messages WHERE seq = 3",
        "UPDATE messages SET message_id = '' WHERE seq = 2",
        "UPDATE messages SET body = x'7b' WHERE seq = 2",
        "DELETE FROM thread_entries WHERE kind = 2 AND no = 2",
        "UPDATE thread_entries SET row = (SELECT no FROM messages WHERE seq = 1) WHERE kind = 2 AND no = 2",
    ],
)
@pytest.mark.parametrize("descending", [False, True])
async def test_a_damaged_log_is_reported_not_read_over(
    store: SqliteStore, by_hand: Hand, damage: str, descending: bool
) -> None:
    mine = await claimed(store, "d1")
    await committed(store, mine, answered("m2"), answered("m3"))
    by_hand(damage)
    with pytest.raises(DataIntegrity):
        await store.list_messages(SCOPE, THREAD, MessageQuery(descending=descending))


async def test_a_hole_in_the_event_log_is_reported(store: SqliteStore, by_hand: Hand) -> None:
    await finished(store, "d1")
    await finished(store, "d2")
    by_hand("DELETE FROM events WHERE first_seq = (SELECT min(first_seq) FROM events WHERE first_seq > 1)")
    with pytest.raises(DataIntegrity, match="hole"):
        await store.list_events(SCOPE, THREAD, after=0, limit=100)


@pytest.mark.parametrize(
    "damage",
    [
        "UPDATE events SET count = count + 1 WHERE first_seq = 1",
        "UPDATE events SET body = x'5b' WHERE first_seq = 1",
        """UPDATE events SET body = CAST('[["MessageCommitted",{"of":1}]]' AS BLOB), count = 1 WHERE first_seq = 1""",
        "DELETE FROM messages WHERE seq = 1",
        "UPDATE messages SET body = x'00' WHERE seq = 1",
    ],
)
async def test_a_damaged_event_row_is_named(store: SqliteStore, by_hand: Hand, damage: str) -> None:
    """Also where only a message that it refers to is damaged or gone."""
    await finished(store, "d1")
    by_hand(damage)
    with pytest.raises(DataIntegrity, match=f"events from 1 of thread '{THREAD}'"):
        await store.list_events(SCOPE, THREAD, after=0, limit=100)


async def test_events_whose_row_is_gone_from_the_index_of_its_thread_are_missed(
    store: SqliteStore, by_hand: Hand
) -> None:
    await finished(store, "d1")
    await finished(store, "d2")
    by_hand("DELETE FROM thread_entries WHERE kind = 1 AND no = 5")
    with pytest.raises(DataIntegrity, match="hole before 6"):
        await store.list_events(SCOPE, THREAD, after=0, limit=100)


@behaviour("TR-089", "TR-090")
@pytest.mark.parametrize(
    "damage",
    [
        "status = 'sleeping'",
        "status = 'done'",
        "status = 'waiting'",
        "state = CAST('{}}' AS BLOB)",
        """state = CAST('{"steps":"many"}' AS BLOB)""",
        """state = CAST('{"input":{"from_seq":0,"to_seq":0}}' AS BLOB)""",
        "request = CAST('{}' AS BLOB)",
        "agent_id = ' '",
        "state_v = 2",
        "v = 2",
    ],
)
async def test_a_damaged_run_is_named(store: SqliteStore, by_hand: Hand, damage: str) -> None:
    """In a list too, which then holds the others."""
    await claimed(store, "d1")
    other = await submitted(store, "d2", thread=ThreadId("thread-2"))
    by_hand(f"UPDATE runs SET {damage} WHERE run_id = 'run-d1'")
    with pytest.raises(DataIntegrity, match="run-d1"):
        await store.load_run(SCOPE, RunId("run-d1"))
    for query in (RunQuery(), RunQuery(descending=True)):
        page = await store.list_runs(SCOPE, query)
        assert (page.items, page.next) == ((other.run,), None)
        assert ["run-d1" in name for name in page.unreadable] == [True]
    page = await store.list_runs(SCOPE, RunQuery(thread_id=THREAD))
    assert (page.items, len(page.unreadable)) == ((), 1)


@behaviour("TR-090")
@pytest.mark.parametrize(
    "damage",
    ["status = 'asleep'", "claim_token = NULL", "completed_at = 1", "attempt_count = -1", "max_attempts = 0", "v = 2"],
)
async def test_a_damaged_dispatch_is_named(store: SqliteStore, by_hand: Hand, damage: str) -> None:
    await claimed(store, "d1")
    other = await submitted(store, "d2")
    by_hand(f"UPDATE dispatches SET {damage} WHERE dispatch_id = 'd1'")
    with pytest.raises(DataIntegrity, match="d1"):
        await store.load_dispatch(SCOPE, DispatchId("d1"))
    page = await store.list_dispatches(SCOPE, DispatchQuery(thread_id=THREAD))
    assert (page.items, page.next) == ((other.dispatch,), None)
    assert ["dispatch 'd1'" in name for name in page.unreadable] == [True]


async def test_an_unknown_status_is_counted_as_nothing(store: SqliteStore, by_hand: Hand) -> None:
    await claimed(store, "d1")
    by_hand("UPDATE dispatches SET status = 'asleep'")
    assert set((await store.count_dispatches()).values()) == {0}


@pytest.mark.parametrize(
    "damage",
    ["message_seq = -1", "waiting = -1", "ready_at = 1", """info = '{"title":1}'""", "v = 2"],
)
async def test_a_damaged_thread_is_named(store: SqliteStore, by_hand: Hand, damage: str) -> None:
    await claimed(store, "d1")
    await claimed(store, "d2", thread=ThreadId("thread-2"))
    by_hand(f"UPDATE threads SET {damage} WHERE thread_id = '{THREAD}'")
    with pytest.raises(DataIntegrity, match=f"thread '{THREAD}'"):
        await store.load_thread(SCOPE, THREAD)
    page = await store.list_threads(SCOPE, ThreadQuery())
    assert [thread.thread_id for thread in page.items] == ["thread-2"]
    assert [f"thread '{THREAD}'" in name for name in page.unreadable] == [True]


@pytest.mark.parametrize("table", ["runs", "dispatches"])
async def test_a_thread_whose_run_or_claim_is_damaged_is_shown_and_says_so(
    store: SqliteStore, by_hand: Hand, table: str
) -> None:
    await claimed(store, "d1")
    await claimed(store, "d2", thread=ThreadId("thread-2"))
    by_hand(f"UPDATE {table} SET v = 2 WHERE run_id = 'run-d1'")
    page = await store.list_threads(SCOPE, ThreadQuery(ascending=True))
    assert [thread.thread_id for thread in page.items] == [THREAD, "thread-2"]
    damaged, whole = page.items
    assert len(damaged.unreadable) > 0 and all("d1" in name for name in damaged.unreadable)
    assert (whole.unreadable, page.unreadable, damaged) == ((), (), await store.load_thread(SCOPE, THREAD))


async def test_a_filter_looks_at_so_many_messages_and_says_where_to_go_on(
    store: SqliteStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("awaken.store.pages.MAX_SCANNED", 4)
    for number in range(6):
        await settled(store, await claimed(store, f"d{number}"), DONE, answered(f"a{number}"))
    for descending in (False, True):
        found: list[str] = []
        pages, query = 0, MessageQuery(run_id=run_id("d5" if not descending else "d0"), descending=descending)
        while True:
            page = await store.page_messages(SCOPE, THREAD, query)
            found += [each.message.id for each in page.items]
            pages += 1
            if page.next is None:
                break
            query = msgspec.structs.replace(query, **{"before" if descending else "after": page.next})
        assert (found, pages) == ((["a0", "msg-d0"], 3) if descending else (["msg-d5", "a5"], 3))
        whole = await store.list_messages(SCOPE, THREAD, msgspec.structs.replace(query, after=0, before=None))
        assert [each.message.id for each in whole] == found


async def test_the_events_of_a_run_are_looked_for_among_so_many_and_the_page_says_where_to_go_on(
    store: SqliteStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One that was queued early and runs late has those of others between its own."""
    first = await claimed(store, "first")
    await submitted(store, "late", priority=255)
    for number in range(6):
        await submitted(store, f"d{number}", priority=0)
    await settled(store, first)
    for _ in range(7):
        claim = await claim_some(store)
        await settled(store, claim.claims[0])
    every = await store.list_events(SCOPE, THREAD, after=0, limit=1_000, run_id=run_id("late"))
    assert every[-1].events[-1].kind == "RunFinished"
    monkeypatch.setattr("awaken.store.sqlite.reading.MAX_SCANNED", 4)

    found: list[EventRow] = []
    pages, after = 0, 0
    while True:
        page = await store.page_events(SCOPE, THREAD, after=after, limit=100, run_id=run_id("late"))
        found += page.items
        pages += 1
        if page.next is None:
            break
        after = page.next
    assert found == every and pages > 3
    assert await store.list_events(SCOPE, THREAD, after=0, limit=1_000, run_id=run_id("late")) == every
    assert await store.list_events(SCOPE, THREAD, after=0, limit=2, run_id=run_id("late")) == every[:2]


async def test_a_damaged_journal_entry_is_named(store: SqliteStore, by_hand: Hand) -> None:
    mine = await claimed(store, "d1")
    await committed(store, mine, journal=[JournalEntry("fetch#1", msgspec.Raw(b"[1,2]"))])
    [entry] = await store.list_journal(SCOPE, run_id("d1"))
    assert bytes(entry.value) == b"[1,2]"
    by_hand("UPDATE journal SET value = x'5b'")
    with pytest.raises(DataIntegrity, match="fetch#1"):
        await store.list_journal(SCOPE, run_id("d1"))


async def test_a_run_that_brought_no_words_yet_is_listed_with_its_thread(store: SqliteStore) -> None:
    await claimed(store, "d1")
    await submitted(store, "d2")
    listed = await store.list_runs(SCOPE, RunQuery(thread_id=THREAD))
    assert [run.run_id for run in listed.items] == [run_id("d1"), run_id("d2")]
    assert await store.load_message(SCOPE, THREAD, MessageId("msg-d2")) is not None


# --- lists of any size ------------------------------------------------------------------------------------------------


@behaviour("PB-001")
async def test_a_filter_without_an_index_looks_at_so_many_rows_and_says_where_to_go_on(
    store: SqliteStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A page may then hold fewer items than asked for, or none, and yet not be the last."""
    monkeypatch.setattr("awaken.store.sqlite.reading.MAX_SCANNED", 4)
    for n in range(10):
        await submitted(store, f"d{n}", thread=ThreadId("odd" if n == 9 else f"even-{n}"))
    pages: list[list[str]] = []
    after: int | None = None
    while len(pages) < 3:
        page = await store.list_runs(SCOPE, RunQuery(thread_id_prefix="odd", after=after))
        pages.append([run.run_id for run in page.items])
        after = page.next
    assert (pages, after) == ([[], [], ["run-d9"]], None)
    threads = await store.list_threads(SCOPE, ThreadQuery(id_prefix="odd"))
    assert [thread.thread_id for thread in threads.items] == ["odd"]
    assert threads.next is not None, "it cannot know that nothing more fits"
    dispatches = await store.list_dispatches(SCOPE, DispatchQuery(thread_id=ThreadId("odd"), statuses=()))
    assert (dispatches.items, dispatches.next) == ((), None)


@behaviour("PB-001")
async def test_a_filter_of_the_whole_queue_looks_at_so_many_rows_and_its_pages_leave_out_nothing(
    store: SqliteStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("awaken.store.sqlite.reading.MAX_SCANNED", 4)
    for n in range(5):
        await claimed(store, f"mine-{n}", thread=ThreadId(f"mine-{n}"))
    for n in range(3):
        await submitted(store, f"other-{n}", thread=ThreadId(f"other-{n}"))
    taken = await claim_some(store, limit=3, consumer=ConsumerId("other"))
    pages: list[list[str]] = []
    query = DispatchQuery(statuses=(DispatchStatus.CLAIMED,), claimed_by=ConsumerId("other"), limit=2)
    while True:
        page = await store.list_dispatches(SCOPE, query)
        pages.append([dispatch.dispatch_id for dispatch in page.items])
        if page.next is None:
            break
        query = msgspec.structs.replace(query, after=page.next)
    assert pages == [[], ["other-0", "other-1"], ["other-2"]], "short, or empty, and yet not the last"
    assert [each.dispatch.dispatch_id for each in taken.claims] == ["other-0", "other-1", "other-2"]


@behaviour("PB-001")
@pytest.mark.parametrize("ascending", [False, True])
async def test_of_a_resource_with_many_threads_none_is_left_out(
    store: SqliteStore, monkeypatch: pytest.MonkeyPatch, ascending: bool
) -> None:
    """They are put in order up to the bound, and beyond it looked for among all; the pages go on either way."""
    monkeypatch.setattr("awaken.store.sqlite.reading.MAX_SCANNED", 4)
    mine = ThreadInfo(resource_id="mine")
    for n in range(6):
        await apply(store, SaveThread(scope=SCOPE, thread_id=ThreadId(f"mine-{n}"), info=mine))
        await apply(store, SaveThread(scope=SCOPE, thread_id=ThreadId(f"other-{n}")))
    await submitted(store, "d1", thread=ThreadId("mine-2"))
    found: list[str] = []
    query = ThreadQuery(resource_id="mine", ascending=ascending, limit=2)
    for _ in range(10):
        page = await store.list_threads(SCOPE, query)
        found += [thread.thread_id for thread in page.items]
        if page.next is None:
            break
        query = msgspec.structs.replace(query, after=page.next)
    wanted = ["mine-2", "mine-5", "mine-4", "mine-3", "mine-1", "mine-0"]
    assert found == (wanted[::-1] if ascending else wanted)


@behaviour("PB-002")
@pytest.mark.parametrize("order", [1, -1])
async def test_few_that_were_acked_are_found_among_many_that_were_not(
    store: SqliteStore, monkeypatch: pytest.MonkeyPatch, order: int
) -> None:
    monkeypatch.setattr("awaken.store.sqlite.reading.MAX_COUNTED", 4)
    for kind in "ad"[::order]:
        for n in range(3):
            ending = DONE if kind == "a" else DeadLetter("no")
            await finished(store, f"{kind}{n}", thread=ThreadId(f"{kind}{n}"), ending=ending)
    counts = await store.count_dispatches()
    assert (counts[DispatchStatus.ACKED], counts[DispatchStatus.DEAD_LETTER]) == (3, 3)


@behaviour("PB-002")
async def test_what_was_acked_is_looked_for_in_a_bounded_number_of_rows(
    store: SqliteStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Beside more of another status than are counted it is a lower bound."""
    monkeypatch.setattr("awaken.store.sqlite.reading.MAX_COUNTED", 2)
    await finished(store, "a", thread=ThreadId("a"))
    for n in range(9):
        await finished(store, f"d{n}", thread=ThreadId(f"d{n}"), ending=DeadLetter("no"))
    counts = await store.count_dispatches()
    assert (counts[DispatchStatus.ACKED], counts[DispatchStatus.DEAD_LETTER]) == (0, 2), "four rows were looked at"


@behaviour("PB-002")
async def test_counts_are_exact_up_to_their_bound(store: SqliteStore, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("awaken.store.sqlite.reading.MAX_COUNTED", 2)
    for n in range(4):
        await submitted(store, f"d{n}")
    await cancelled(store, "d3")
    counts = await store.count_dispatches()
    assert (counts[DispatchStatus.QUEUED], counts[DispatchStatus.CANCELLED]) == (2, 1)
    [counted] = await store.count_open_runs(SCOPE)
    assert counted.count == 2


def test_an_id_is_stored_small_where_it_is_a_uuid_and_comes_back_as_it_was() -> None:
    uuid = "0190b6c4-8a5e-7d11-9c3f-2f1a6b7c8d9e"
    assert pack(uuid) == bytes.fromhex(uuid.replace("-", ""))
    for other in ("", "d1", uuid.upper(), uuid.replace("-", ""), uuid[:-1], uuid + "0", uuid[:-1] + "g", "-" * 36):
        assert pack(other) == other
    for each in (uuid, "ü", uuid.upper()):
        assert unpack(pack(each)) == each
