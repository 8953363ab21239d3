"""Each invariant is broken by hand: the breach is named, mended or refused, and nothing else is touched."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import AsyncIterator, Callable
from contextlib import closing
from pathlib import Path
from typing import Any, Final

import msgspec
import pytest

from awaken.domain.dispatch import DispatchStatus
from awaken.domain.errors import DataIntegrity
from awaken.domain.ids import MessageId, ThreadId
from awaken.domain.outbox import Tell
from awaken.domain.run import RunStatus
from awaken.store.contract import Store, ThreadQuery
from awaken.store.invariants import BY_NAME, INVARIANTS, Breach
from awaken.store.sqlite import SqliteStore
from awaken.store.transitions import DeadLetter, JournalEntry, Mend, MendedSome, Mending
from awaken.testing.audit import breaches_of, check_sound, mend_all
from awaken.testing.behaviour import behaviour
from awaken.testing.clock import ManualClock
from awaken.testing.conformance.children import child_ends, delivered, parent_of, tell, ticket_of
from awaken.testing.conformance.steering import aimed
from awaken.testing.conformance.steps import DONE as ENDS
from awaken.testing.conformance.steps import (
    SCOPE,
    answered,
    apply,
    calling,
    cancelled,
    claim_some,
    claimed,
    committed,
    dispatch_of,
    events_of,
    names,
    run_of,
    settled,
    submitted,
    thread_of,
    want,
)
from awaken.testing.conformance.tickets import answer, decided, id_of, payloads, question, waits_for

Hand = Callable[[str], None]

DONE: Final = ThreadId("done")
QUEUE: Final = ThreadId("queue")
STOPPED: Final = ThreadId("stopped")
ALONE: Final = ThreadId("alone")
WAITS: Final = ThreadId("waits")
STEERED: Final = ThreadId("steered")
INPUT: Final = ThreadId("input")
FAMILY: Final = ThreadId("thread-1")
CHILD: Final = ThreadId("thread-of-kid")


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "awaken.db"


@pytest.fixture
async def store(path: Path, clock: ManualClock) -> AsyncIterator[SqliteStore]:
    async with SqliteStore(path, clock=clock, durability="process") as opened:
        await fill(opened)
        yield opened


async def fill(store: Store) -> None:
    """One thread for each thing that can go on in one."""
    await settled(store, await claimed(store, "done", thread=DONE), ENDS, answered("an-answer"))
    await settled(store, await claimed(store, "lost", thread=DONE), DeadLetter("hopeless"))
    await submitted(store, "stopped", thread=STOPPED)
    await cancelled(store, "stopped", thread=STOPPED)
    owner = await claimed(store, "owner", thread=QUEUE)
    step = JournalEntry("step#1", msgspec.Raw(b"1"))
    await committed(store, owner, calling("turn", "call-1"), journal=[step])
    await submitted(store, "first", thread=QUEUE)
    await submitted(store, "second", thread=QUEUE)
    await submitted(store, "alone", thread=ALONE)
    await waits_for(store, "waits", question(), thread=WAITS)
    await claimed(store, "busy", thread=STEERED)
    await apply(store, aimed("said", thread=STEERED))
    await waits_for(store, "asks", question("call-9", tool_call_id="call-9"), thread=INPUT)
    await submitted(store, "told", thread=INPUT)
    await parent_of(store, "kid")
    await delivered(store)
    await check_sound(store)


@pytest.fixture
def by_hand(path: Path) -> Hand:
    def run(statements: str) -> None:
        with closing(sqlite3.connect(path)) as db:
            before = db.total_changes
            db.executescript(statements)
            assert db.total_changes > before, "something was changed"

    return run


async def mend(store: Store, *breaches: Breach) -> list[Mending]:
    outcome = want(MendedSome, await apply(store, Mend(breaches=breaches)))
    return [*outcome.mendings]


def others(path: Path, *threads: ThreadId) -> dict[str, list[Any]]:
    """Every row that belongs to none of the threads."""
    named = ", ".join(f"'{each}'" for each in threads)
    mine = f"(SELECT no FROM threads WHERE thread_id IN ({named}))"
    tables = ("messages", "runs", "dispatches", "events", "tickets", "spans", "thread_entries")
    with closing(sqlite3.connect(path)) as db:
        found = {
            each: db.execute(f"SELECT * FROM {each} WHERE thread NOT IN {mine} ORDER BY 1, 2, 3").fetchall()
            for each in tables
        }
        found["threads"] = db.execute(f"SELECT * FROM threads WHERE no NOT IN {mine}").fetchall()
    return found


class Damage(msgspec.Struct, frozen=True):
    """What a hand does to a thread, and the breach that it makes, besides others of the same threads."""

    invariant: str
    sql: str
    thread: ThreadId | None
    subject: str = ""
    touches: tuple[ThreadId, ...] = ()

    def breach(self) -> Breach:
        scope = SCOPE if self.invariant not in _SCOPELESS else type(SCOPE)("")
        return Breach(invariant=self.invariant, scope=scope, thread_id=self.thread, subject=self.subject)


_SCOPELESS: Final = {"journal_has_run"}


def put(table: str, key: str, value: str, changes: str) -> str:
    return f"UPDATE {table} SET {changes} WHERE {key} = '{value}';"


def of(thread: ThreadId) -> str:
    return f"(SELECT no FROM threads WHERE thread_id = '{thread}')"


MENDED: Final = (
    Damage("open_run_has_dispatch", "DELETE FROM dispatches WHERE dispatch_id = 'alone'", ALONE, "run-alone"),
    Damage("open_run_has_dispatch", "DELETE FROM dispatches WHERE dispatch_id = 'told'", INPUT, "run-asks"),
    Damage("open_run_has_dispatch", "DELETE FROM dispatches WHERE dispatch_id = 'waits'", WAITS, "run-waits"),
    Damage("open_run_has_dispatch", "DELETE FROM dispatches WHERE dispatch_id = 'owner'", QUEUE, "run-owner"),
    *[
        Damage(
            "run_ends_with_dispatch",
            f"UPDATE dispatches SET status = '{status}', completed_at = 1 WHERE dispatch_id = 'alone'",
            ALONE,
            "run-alone",
        )
        for status in ("cancelled", "superseded", "dead_letter", "acked")
    ],
    Damage(
        "wait_is_for_open_tickets",
        "UPDATE tickets SET state = 'withdrawn', closed_at = 1 WHERE thread = " + of(WAITS),
        WAITS,
        "run-waits",
    ),
    Damage(
        "wait_is_for_open_tickets",
        "DELETE FROM tickets WHERE thread = " + of(WAITS),
        WAITS,
        "run-waits",
    ),
    Damage(
        "one_open_dispatch",
        "UPDATE dispatches SET status = 'queued', completed_at = NULL WHERE dispatch_id = 'asks'",
        INPUT,
        "run-asks",
    ),
    Damage(
        "one_open_dispatch",
        "UPDATE runs SET dispatch_id = 'nothing' WHERE run_id = 'run-first'",
        QUEUE,
        "run-first",
    ),
    Damage("dispatch_has_run", "DELETE FROM runs WHERE run_id = 'run-alone'", ALONE, "alone"),
    Damage("dispatch_has_run", "DELETE FROM runs WHERE run_id = 'run-done'", DONE, "done"),
    Damage(
        "dispatch_has_run",
        "DELETE FROM runs WHERE run_id = 'run-owner'",
        QUEUE,
        "owner",
    ),
    Damage(
        "claim_is_of_open_run",
        "UPDATE runs SET status = 'done', finished_at = 1, open_turn = NULL WHERE run_id = 'run-owner'",
        QUEUE,
        "owner",
    ),
    Damage(
        "queued_is_of_open_run",
        "UPDATE runs SET status = 'done', finished_at = 1 WHERE run_id = 'run-second'",
        QUEUE,
        "second",
    ),
    Damage("queued_has_messages", "DELETE FROM messages WHERE message_id = 'msg-second'", QUEUE, "second"),
    Damage("queued_has_messages", "DELETE FROM messages WHERE message_id = 'msg-told'", INPUT, "told"),
    Damage("queued_is_of_this_epoch", "UPDATE threads SET epoch = 1 WHERE thread_id = 'alone'", ALONE, "alone"),
    *[
        Damage("counters_agree", f"UPDATE threads SET {each} WHERE thread_id = '{QUEUE}'", QUEUE)
        for each in (
            "queued = 7",
            "queued = -1",
            "waiting = 1",
            "left_open = 1",
            "pending = 3",
            "spans = 1",
            "message_seq = 0",
        )
    ],
    Damage("counters_agree", f"UPDATE threads SET event_seq = event_seq - 1 WHERE thread_id = '{QUEUE}'", QUEUE),
    Damage("newest_run_is_newest", f"UPDATE threads SET latest_run_no = 77777 WHERE thread_id = '{DONE}'", DONE),
    Damage("newest_run_is_newest", f"UPDATE threads SET latest_run_no = NULL WHERE thread_id = '{DONE}'", DONE),
    *[
        Damage("ready_key_is_of_queue", f"UPDATE threads SET {each} WHERE thread_id = '{ALONE}'", ALONE)
        for each in (
            "ready_route = NULL, ready_priority = NULL, ready_at = NULL, ready_no = NULL",
            "ready_route = NULL",
            "ready_no = 77777",
            "ready_route = 'agent-7'",
            "ready_priority = 1",
            "ready_at = 99999999999999",
        )
    ],
    Damage(
        "ready_key_is_of_queue",
        f"UPDATE threads SET ready_route = 'agent-1', ready_priority = 128, ready_at = 0, ready_no = 1"
        f" WHERE thread_id = '{QUEUE}'",
        QUEUE,
    ),
    Damage("open_tickets_agree", "UPDATE runs SET open_tickets = 5 WHERE run_id = 'run-waits'", WAITS, "run-waits"),
    Damage("open_tickets_agree", "UPDATE runs SET open_tickets = 0 WHERE run_id = 'run-waits'", WAITS, "run-waits"),
    Damage("open_turn_is_own", "UPDATE runs SET open_turn = 99 WHERE run_id = 'run-waits'", WAITS, "run-waits"),
    Damage(
        "message_has_fate",
        "UPDATE messages SET fate = NULL, settled_at = NULL WHERE message_id = 'msg-stopped'",
        STOPPED,
        "msg-stopped",
    ),
    Damage(
        "pending_is_for_open_run",
        "UPDATE messages SET run_id = 'run-nobody' WHERE message_id = 'msg-said'",
        STEERED,
        "msg-said",
    ),
    Damage(
        "message_is_reported",
        "UPDATE events SET body = CAST(replace(CAST(body AS TEXT), 'MessageCommitted', 'SomethingElse') AS BLOB)"
        f" WHERE thread = {of(DONE)} AND first_seq = 1",
        DONE,
        "msg-done",
    ),
    Damage(
        "ticket_is_of_open_run",
        "UPDATE runs SET status = 'done', finished_at = 1, state = CAST(json_remove(CAST(state AS TEXT), '$.waiting')"
        " AS BLOB) WHERE run_id = 'run-waits'",
        WAITS,
        str(id_of("ask#1", "waits")),
    ),
    Damage("child_was_begun", "DELETE FROM runs WHERE run_id = 'run-kid'", FAMILY, ticket_of("kid"), touches=(CHILD,)),
    Damage("entry_leads_to_row", "DELETE FROM thread_entries WHERE kind = 3 AND thread = " + of(ALONE), ALONE, "RUN"),
    Damage("entry_leads_to_row", "DELETE FROM thread_entries WHERE kind = 2 AND thread = " + of(DONE), DONE, "MESSAGE"),
    Damage("entry_leads_to_row", "DELETE FROM thread_entries WHERE kind = 1 AND thread = " + of(DONE), DONE, "EVENTS"),
    Damage("entry_leads_to_row", "DELETE FROM runs WHERE run_id = 'run-done'", DONE, "RUN"),
    Damage("journal_has_run", "INSERT INTO journal VALUES (77777, 'step#1', 1, 1, CAST('1' AS BLOB))", None, "77777"),
)


@pytest.mark.parametrize("damage", MENDED, ids=lambda each: f"{each.invariant}: {each.sql}"[:90])
async def test_a_breach_is_named_and_mended_and_nothing_else_is_touched(
    store: SqliteStore, path: Path, by_hand: Hand, damage: Damage
) -> None:
    healthy = others(path, *damage.touches, *([damage.thread] if damage.thread else []))
    by_hand(damage.sql)

    found = await breaches_of(store)

    named = [each for each in found if each.invariant == damage.invariant]
    assert damage.thread in [each.thread_id for each in named]
    if not damage.subject.isupper():
        assert damage.breach() in found
    assert {each.thread_id for each in found} <= {damage.thread, *damage.touches, None}
    mended = await mend_all(store)
    assert [each for each in mended if each.result == "refused"] == []
    assert "mended" in [each.result for each in mended]
    await check_sound(store)
    assert others(path, *damage.touches, *([damage.thread] if damage.thread else [])) == healthy

    now_is = others(path)
    assert "mended" not in [each.result for each in await mend(store, *found)]
    assert others(path) == now_is, "mending again changes nothing"


REFUSED: Final = (
    Damage(
        "report_has_message",
        "DELETE FROM messages WHERE message_id = 'an-answer';"
        f" DELETE FROM thread_entries WHERE kind = 2 AND no = 2 AND thread = {of(DONE)}",
        DONE,
        "2",
    ),
    Damage("messages_have_no_hole", "DELETE FROM messages WHERE message_id = 'an-answer'", DONE, "2"),
    Damage("messages_have_no_hole", f"UPDATE threads SET message_seq = 9 WHERE thread_id = '{DONE}'", DONE, "9"),
    Damage("events_have_no_hole", f"DELETE FROM events WHERE thread = {of(DONE)} AND first_seq = 1", DONE, "1"),
    Damage("events_have_no_hole", f"UPDATE threads SET event_seq = 99 WHERE thread_id = '{DONE}'", DONE, "99"),
    Damage("row_has_thread", f"DELETE FROM threads WHERE thread_id = '{ALONE}'", None, "run-alone"),
    *[
        Damage("record_is_readable", sql, thread, subject)
        for sql, thread, subject in (
            ("UPDATE runs SET request = x'7b' WHERE run_id = 'run-done'", DONE, "run-done"),
            ("UPDATE runs SET state = x'7b' WHERE run_id = 'run-waits'", WAITS, "run-waits"),
            ("UPDATE runs SET v = 99 WHERE run_id = 'run-done'", DONE, "run-done"),
            ("UPDATE runs SET finished_at = NULL WHERE run_id = 'run-done'", DONE, "run-done"),
            ("UPDATE dispatches SET attempt_count = 99 WHERE dispatch_id = 'alone'", ALONE, "alone"),
            ("UPDATE dispatches SET claim_token = NULL WHERE dispatch_id = 'busy'", STEERED, "busy"),
            ("UPDATE messages SET body = x'7b' WHERE message_id = 'msg-done'", DONE, "msg-done"),
            ("UPDATE messages SET fate = 'cancelled' WHERE message_id = 'msg-done'", DONE, "msg-done"),
            (f"UPDATE events SET body = x'5b' WHERE thread = {of(DONE)} AND first_seq = 1", DONE, "1"),
            (f"UPDATE events SET body = x'5b5d' WHERE thread = {of(DONE)} AND first_seq = 1", DONE, "1"),
            (f"UPDATE tickets SET asked = x'7b' WHERE thread = {of(WAITS)}", WAITS, str(id_of("ask#1", "waits"))),
            (f"UPDATE threads SET v = 99 WHERE thread_id = '{DONE}'", DONE, "thread"),
        )
    ],
)


@pytest.mark.parametrize("damage", REFUSED, ids=lambda each: f"{each.invariant}: {each.sql}"[:90])
@behaviour("MBX-176", "MBX-177")
async def test_what_cannot_be_known_any_more_is_refused_with_the_reason_and_found_again(
    store: SqliteStore, path: Path, by_hand: Hand, damage: Damage
) -> None:
    healthy = others(path, *([damage.thread] if damage.thread else [ALONE]))
    by_hand(damage.sql)

    mended = await mend_all(store)

    about = [each for each in mended if each.breach.invariant == damage.invariant]
    assert about, "it is named"
    assert {(each.result, each.note) for each in about} == {("refused", BY_NAME[damage.invariant].refused)}
    if damage.subject:
        assert damage.subject in [each.breach.subject for each in about]
    assert damage.invariant in [each.invariant for each in await breaches_of(store)], "it stays to be mended"
    if damage.thread is not None:
        assert others(path, damage.thread) == healthy


@pytest.mark.parametrize("index", ["dispatches_claimed", "runs_dedupe"])
async def test_a_file_without_an_index_that_forbids_a_breach_is_not_opened(
    path: Path, clock: ManualClock, index: str
) -> None:
    async with SqliteStore(path, clock=clock):
        pass
    with closing(sqlite3.connect(path)) as db:
        db.execute(f"DROP INDEX {index}")

    with pytest.raises(DataIntegrity, match=f"it lacks index {index}"):
        async with SqliteStore(path, clock=clock):
            pass


async def test_a_child_whose_end_nobody_was_told_of_tells_it_again(
    store: SqliteStore, path: Path, by_hand: Hand
) -> None:
    row = await child_ends(store, "kid")
    by_hand(f"DELETE FROM outbox WHERE no = {row.no}")
    [found] = await breaches_of(store)
    assert (found.invariant, found.thread_id, found.subject) == ("child_is_told", FAMILY, ticket_of("kid"))

    assert [each.result for each in await mend_all(store)] == ["mended"]

    [again] = await store.list_outbox()
    assert isinstance(again.errand, Tell)
    assert again.errand == row.errand
    await check_sound(store)
    await tell(store, again)
    assert [each.run_id for each in await payloads(store, "ChildFinished")] == ["run-kid"]
    assert (await run_of(store, "parent")).open_tickets == 0
    await check_sound(store)


# --- what becomes of what was said ------------------------------------------------------------------------------------


@behaviour("MBX-108", "MBX-110", "SV-003")
@pytest.mark.parametrize(
    ("status", "event", "fate", "error"),
    [
        ("cancelled", "RunCancelled", "cancelled", None),
        ("superseded", "RunSuperseded", "superseded", None),
        ("dead_letter", "RunErrored", "dead_lettered", "hopeless"),
    ],
)
async def test_a_run_whose_dispatch_has_ended_ends_as_that_did(
    store: SqliteStore, by_hand: Hand, status: str, event: str, fate: str, error: str | None
) -> None:
    by_hand(
        f"UPDATE dispatches SET status = '{status}', completed_at = 1, last_error = 'hopeless'"
        " WHERE dispatch_id = 'alone'"
    )

    await mend_all(store)

    run = await run_of(store, "alone")
    assert run.status is RunStatus.DONE and run.termination is not None
    assert (run.termination.type, run.termination.detail) == ("error" if error else "cancelled", error)
    assert run.dead_lettered == (error is not None)
    events = [each.kind for row in await events_of(store, ALONE) for each in row.events]
    why = ["ErrorRecorded", *(["RunDeadLettered"] if error else [])]
    assert events[-1 - len(why) :] == [*why, event], "the log says why"
    receipt = await store.load_receipt(SCOPE, ALONE, MessageId("msg-alone"))
    assert receipt is not None and receipt.fate == fate


@behaviour("AUD-002")
async def test_a_queued_run_whose_message_is_gone_is_given_up_before_it_is_due(
    store: SqliteStore, by_hand: Hand, clock: ManualClock
) -> None:
    later = ThreadId("later")
    await submitted(store, "later", thread=later, available_at=clock.now() + 86_400_000)
    by_hand("DELETE FROM messages WHERE message_id = 'msg-later'")

    await mend_all(store)

    run, dispatch = await run_of(store, "later"), await dispatch_of(store, "later")
    assert (run.status, run.dead_lettered, dispatch.status) == (RunStatus.DONE, True, DispatchStatus.DEAD_LETTER)
    assert dispatch.last_error == "message 'msg-later' not found for run 'run-later'"
    kinds = [each.kind for row in await events_of(store, later) for each in row.events]
    assert kinds[-3:] == ["ErrorRecorded", "RunDeadLettered", "RunErrored"], "the log says why"
    await check_sound(store)


@behaviour("MBX-132", "SV-013")
async def test_a_run_that_lost_its_dispatch_is_executed_under_the_same_id(store: SqliteStore, by_hand: Hand) -> None:
    by_hand("DELETE FROM dispatches WHERE dispatch_id = 'alone'")
    await mend_all(store)

    assert (await dispatch_of(store, "alone")).status is DispatchStatus.QUEUED
    taken = await claim_some(store, limit=9)
    [mine] = [each for each in taken.claims if each.run.run_id == "run-alone"]
    assert (mine.dispatch.dispatch_id, [each.id for each in mine.messages]) == ("alone", ["msg-alone"])
    await settled(store, mine)
    await check_sound(store)


@behaviour("MBX-133", "SV-015")
async def test_a_run_that_was_to_go_on_goes_on_with_what_was_said(store: SqliteStore, by_hand: Hand) -> None:
    by_hand("DELETE FROM dispatches WHERE dispatch_id = 'told'")
    await mend_all(store)

    taken = await claim_some(store, limit=9)
    [mine] = [each for each in taken.claims if each.run.run_id == "run-asks"]
    assert (mine.dispatch.dispatch_id, mine.dispatch.why) == ("told", "input")
    assert [each.id for each in mine.messages] == ["msg-told"]
    await settled(store, mine)
    await check_sound(store)


async def test_a_run_that_waits_can_still_be_answered_after_its_last_dispatch_is_made_again(
    store: SqliteStore, by_hand: Hand
) -> None:
    by_hand("DELETE FROM dispatches WHERE dispatch_id = 'waits'")
    await mend_all(store)

    assert (await dispatch_of(store, "waits")).status is DispatchStatus.ACKED
    outcome = await decided(store, {"ask#1": answer(3)}, name="waits", thread=WAITS)
    assert outcome.dispatch is not None and outcome.dispatch.status is DispatchStatus.QUEUED


@behaviour("MBX-134", "SV-016")
async def test_however_many_runs_lack_their_dispatch_each_gets_one(path: Path, clock: ManualClock) -> None:
    async with SqliteStore(path, clock=clock, durability="process") as store:
        for number in range(250):
            await submitted(store, f"run{number}", thread=ThreadId(f"t{number}"))
        with closing(sqlite3.connect(path)) as db:
            db.execute("DELETE FROM dispatches")
            db.commit()
        results = [each.result for each in await mend_all(store)]
        assert results.count("mended") >= 250
        assert (await store.count_dispatches())[DispatchStatus.QUEUED] == 250
        assert await mend_all(store) == []


@behaviour("MBX-135", "SV-014")
async def test_two_that_mend_at_once_make_one_dispatch(store: SqliteStore, by_hand: Hand) -> None:
    """Both have found the same, and whoever comes second finds that it is well."""
    by_hand("DELETE FROM dispatches WHERE dispatch_id = 'alone'")
    found = [await breaches_of(store) for _ in range(2)]
    results = [each.result for each in await mend(store, *found[0])]
    assert "mended" in results

    again = [each.result for each in await mend(store, *found[1])]

    assert "mended" not in again
    assert await names(store, thread=ALONE) == ["alone"]
    await asyncio.gather(mend_all(store), mend_all(store))
    assert await names(store, thread=ALONE) == ["alone"]
    await check_sound(store)


@behaviour("MBX-195", "SV-028")
async def test_a_pending_message_that_no_run_will_take_becomes_a_run(store: SqliteStore, by_hand: Hand) -> None:
    by_hand("UPDATE messages SET run_id = 'run-nobody' WHERE message_id = 'msg-said'")
    await mend_all(store)

    assert await store.list_pending(SCOPE, STEERED) == []
    [queued] = await store.list_queue(SCOPE, STEERED)
    run = await store.load_run(SCOPE, queued.run_id)
    assert run is not None and run.request.input_message_ids == ("msg-said",)


@behaviour("MBX-196")
async def test_however_many_threads_have_such_messages_each_is_found(path: Path, clock: ManualClock) -> None:
    async with SqliteStore(path, clock=clock, durability="process") as store:
        for number in range(205):
            thread = ThreadId(f"t{number}")
            await claimed(store, f"busy{number}", thread=thread)
            await apply(store, aimed(f"said{number}", thread=thread))
        with closing(sqlite3.connect(path)) as db:
            db.execute("UPDATE messages SET run_id = 'run-nobody' WHERE position IS NOT NULL")
            db.commit()
        while await mend_all(store):
            pass
        assert (await store.count_dispatches())[DispatchStatus.QUEUED] == 205
        await check_sound(store)


@behaviour("MBX-174", "MBX-175", "SV-027")
async def test_a_message_without_its_event_gets_one_and_only_one(store: SqliteStore, by_hand: Hand) -> None:
    by_hand(
        "UPDATE events SET body = CAST(replace(CAST(body AS TEXT), 'MessageCommitted', 'SomethingElse') AS BLOB)"
        f" WHERE thread = {of(DONE)}"
    )
    found = await breaches_of(store)
    assert {each.subject for each in found} == {"msg-done", "an-answer", "msg-lost"}

    await mend(store, *found, *found)
    await mend(store, *found)

    told = [each for row in await events_of(store, DONE) for each in row.events if each.kind == "MessageCommitted"]
    assert len(told) == 3
    await check_sound(store)


async def test_a_thread_that_named_a_run_that_is_gone_is_in_lists_again(store: SqliteStore, by_hand: Hand) -> None:
    by_hand("DELETE FROM runs WHERE run_id = 'run-alone'")
    await mend_all(store)

    assert ALONE in [each.thread_id for each in (await store.list_threads(SCOPE, ThreadQuery(limit=99))).items]
    assert (await thread_of(store, ALONE)).latest_run_id is None


MANY: Final = "; ".join(
    [
        "DELETE FROM dispatches WHERE dispatch_id IN ('alone', 'told')",
        f"UPDATE threads SET queued = 7, latest_run_no = 77777 WHERE thread_id = '{QUEUE}'",
        "UPDATE messages SET run_id = 'run-nobody' WHERE message_id = 'msg-said'",
        f"UPDATE tickets SET state = 'withdrawn', closed_at = 1 WHERE thread = {of(WAITS)}",
        "UPDATE messages SET fate = NULL, settled_at = NULL WHERE message_id = 'msg-stopped'",
    ]
)


@pytest.mark.parametrize("done", range(8))
async def test_a_repair_that_is_cut_off_is_finished_by_the_next_one_and_nothing_is_said_twice(
    store: SqliteStore, path: Path, by_hand: Hand, done: int, clock: ManualClock
) -> None:
    by_hand(MANY)
    found = await breaches_of(store)
    assert len(found) >= 7
    await mend(store, *found[:done])

    await store.__aexit__(None, None, None)  # whoever was at it has died, and the next process opens the file
    await store.__aenter__()
    await mend_all(store)

    await check_sound(store)
    for thread, repairs in ((ALONE, 1), (INPUT, 1), (STOPPED, 1), (STEERED, 1), (WAITS, 2)):
        kinds = [each.kind for row in await events_of(store, thread) for each in row.events]
        assert kinds.count("ErrorRecorded") <= repairs, thread


def test_every_invariant_that_is_mended_is_broken_here() -> None:
    broken = {each.invariant for each in MENDED} | {"child_is_told"}
    assert broken == {each.name for each in INVARIANTS if each.mended}
    assert len(BY_NAME) == len(INVARIANTS)
    assert all(bool(each.mended) != bool(each.refused) for each in INVARIANTS), "each is either mended or refused"
