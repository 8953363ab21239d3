"""Reads: the same bytes as were written, and damage reported by name."""

from __future__ import annotations

from collections.abc import Callable

import msgspec
import pytest

from awaken.domain.errors import DataIntegrity
from awaken.domain.ids import DispatchId, MessageId, RunId
from awaken.domain.log import LoggedEvent
from awaken.domain.message import Opaque, Text
from awaken.store.contract import DispatchQuery, MessageQuery, RunQuery, ThreadQuery
from awaken.store.sqlite import SqliteStore
from awaken.store.transitions import JournalEntry
from awaken.testing.behaviour import behaviour
from awaken.testing.conformance.steps import (
    SCOPE,
    THREAD,
    answered,
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


@pytest.mark.parametrize("damage", ["count = count + 1", "body = x'5b'"])
async def test_a_damaged_event_row_is_named(store: SqliteStore, by_hand: Hand, damage: str) -> None:
    await finished(store, "d1")
    by_hand(f"UPDATE events SET {damage} WHERE first_seq = 1")
    with pytest.raises(DataIntegrity, match=f"events from 1 of thread '{THREAD}'"):
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
    await claimed(store, "d1")
    by_hand(f"UPDATE runs SET {damage}")
    with pytest.raises(DataIntegrity, match="run-d1"):
        await store.load_run(SCOPE, RunId("run-d1"))
    with pytest.raises(DataIntegrity, match="run-d1"):
        await store.list_runs(SCOPE, RunQuery())


@behaviour("TR-090")
@pytest.mark.parametrize(
    "damage",
    ["status = 'asleep'", "claim_token = NULL", "completed_at = 1", "attempt_count = -1", "max_attempts = 0", "v = 2"],
)
async def test_a_damaged_dispatch_is_named(store: SqliteStore, by_hand: Hand, damage: str) -> None:
    await claimed(store, "d1")
    by_hand(f"UPDATE dispatches SET {damage}")
    with pytest.raises(DataIntegrity, match="d1"):
        await store.load_dispatch(SCOPE, DispatchId("d1"))
    with pytest.raises(DataIntegrity, match="d1"):
        await store.list_dispatches(SCOPE, DispatchQuery(thread_id=THREAD))


async def test_an_unknown_status_is_not_counted_as_something_else(store: SqliteStore, by_hand: Hand) -> None:
    await claimed(store, "d1")
    by_hand("UPDATE dispatches SET status = 'asleep'")
    with pytest.raises(DataIntegrity, match="asleep"):
        await store.count_dispatches()


@pytest.mark.parametrize("damage", ["message_seq = -1", "ready_at = 1, ready_priority = NULL", "info = '{'", "v = 2"])
async def test_a_damaged_thread_is_named(store: SqliteStore, by_hand: Hand, damage: str) -> None:
    await claimed(store, "d1")
    by_hand(f"UPDATE threads SET {damage}")
    with pytest.raises(DataIntegrity, match=f"thread '{THREAD}'"):
        await store.load_thread(SCOPE, THREAD)
    with pytest.raises(DataIntegrity, match=f"thread '{THREAD}'"):
        await store.list_threads(SCOPE, ThreadQuery())


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
    assert [run.run_id for run in listed] == [run_id("d1"), run_id("d2")]
    assert await store.load_message(SCOPE, THREAD, MessageId("msg-d2")) is not None
