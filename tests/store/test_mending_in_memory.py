"""The memory store finds and mends what its tables can contradict, as the SQL stores do."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

import msgspec
import pytest
from msgspec.structs import replace

from awaken.domain.dispatch import DispatchStatus
from awaken.domain.ids import DispatchId, MessageId, RunId, ThreadId
from awaken.domain.record import CURRENT, decode_events, encode_events
from awaken.domain.run import RunStatus
from awaken.store.invariants import BY_NAME, INVARIANTS
from awaken.store.memory import MemoryStore
from awaken.store.memory.tables import Tables
from awaken.store.transitions import JournalEntry
from awaken.testing.audit import breaches_of, check_sound, mend_all
from awaken.testing.clock import ManualClock
from awaken.testing.conformance.children import child_ends, delivered, parent_of
from awaken.testing.conformance.steering import aimed
from awaken.testing.conformance.steps import SCOPE, answered, apply, claimed, committed, finished, submitted
from awaken.testing.conformance.tickets import id_of, question, waits_for

Hand = Callable[[Tables], object]

BUSY: Final = ThreadId("busy")
WAITS: Final = ThreadId("waits")
DONE: Final = ThreadId("done")
FAMILY: Final = ThreadId("thread-1")


async def scene(clock: ManualClock) -> tuple[MemoryStore, Tables]:
    tables = Tables()
    store = MemoryStore(clock, tables=tables)
    await finished(store, "done", thread=DONE)
    owner = await claimed(store, "owner", thread=BUSY)
    await committed(store, owner, answered("turn"), journal=[JournalEntry("step#1", msgspec.Raw(b"1"))])
    await submitted(store, "next", thread=BUSY)
    await apply(store, aimed("said", thread=BUSY))
    await waits_for(store, "waits", question(), thread=WAITS)
    await parent_of(store, "kid")
    await delivered(store)
    await check_sound(store)
    return store, tables


def run(name: str, **changes: Any) -> Hand:
    def change(tables: Tables) -> None:
        key = SCOPE, RunId(f"run-{name}")
        tables.runs[key] = replace(tables.runs[key], **changes)

    return change


def dispatch(name: str, **changes: Any) -> Hand:
    def change(tables: Tables) -> None:
        key = SCOPE, DispatchId(name)
        tables.dispatches[key] = replace(tables.dispatches[key], **changes)
        data = tables.data[SCOPE, tables.dispatches[key].thread_id]
        if tables.dispatches[key].status.is_terminal:
            data.queued.pop(key[1], None)

    return change


def without_dispatch(name: str) -> Hand:
    def change(tables: Tables) -> None:
        gone = tables.dispatches.pop((SCOPE, DispatchId(name)))
        data = tables.data[SCOPE, gone.thread_id]
        data.queued.pop(gone.dispatch_id, None)
        data.claimed = None if data.claimed == gone.dispatch_id else data.claimed

    return change


def without_run(name: str) -> Hand:
    def change(tables: Tables) -> None:
        gone = tables.runs.pop((SCOPE, RunId(f"run-{name}")))
        del tables.data[SCOPE, gone.thread_id].runs[gone.run_id]

    return change


def thread(name: ThreadId, **changes: Any) -> Hand:
    def change(tables: Tables) -> None:
        for field, value in changes.items():
            setattr(tables.threads[SCOPE, name], field, value)

    return change


def aimed_at_nobody(tables: Tables) -> None:
    data, name, nobody = tables.data[SCOPE, BUSY], MessageId("msg-said"), RunId("run-nobody")
    data.messages[name] = replace(data.messages[name], run_id=nobody)
    data.pending[name] = replace(data.pending[name], run_id=nobody)


def without_message(tables: Tables) -> None:
    del tables.data[SCOPE, BUSY].messages[MessageId("msg-next")]


def closed_ticket(tables: Tables) -> None:
    key = SCOPE, id_of("ask#1", "waits")
    tables.tickets[key] = replace(tables.tickets[key], state="withdrawn")


def without_ticket(tables: Tables) -> None:
    del tables.tickets[SCOPE, id_of("ask#1", "waits")]
    tables.tickets_of.pop((SCOPE, RunId("run-waits")))


def silent_event(tables: Tables) -> None:
    events = tables.data[SCOPE, DONE].events
    for place, row in enumerate(events):
        kept = [each for each in decode_events(row.body, CURRENT["events"], "") if each.kind != "MessageCommitted"]
        others = [each for each in kept if each.kind == "RunQueued"] * (row.count - len(kept))
        events[place] = msgspec.structs.replace(row, body=encode_events([*kept, *others]))


def without_log(tables: Tables) -> None:
    tables.data[SCOPE, DONE].log.clear()


def ended_run(name: str) -> Hand:
    return run(name, status=RunStatus.DONE, finished_at=1, waiting=None)


MENDED: Final[tuple[tuple[str, Hand], ...]] = (
    ("open_run_has_dispatch", without_dispatch("next")),
    ("open_run_has_dispatch", without_dispatch("waits")),
    ("open_run_has_dispatch", without_dispatch("owner")),
    ("run_ends_with_dispatch", dispatch("next", status=DispatchStatus.CANCELLED, completed_at=1)),
    ("run_ends_with_dispatch", dispatch("next", status=DispatchStatus.DEAD_LETTER, completed_at=1)),
    ("wait_is_for_open_tickets", closed_ticket),
    ("wait_is_for_open_tickets", without_ticket),
    ("one_open_dispatch", run("next", dispatch_id=DispatchId("done"))),
    ("dispatch_has_run", without_run("next")),
    ("dispatch_has_run", without_run("owner")),
    ("claim_is_of_open_run", ended_run("owner")),
    ("queued_is_of_open_run", ended_run("next")),
    ("queued_has_messages", without_message),
    ("queued_is_of_this_epoch", dispatch("next", epoch=-1)),
    ("counters_agree", thread(BUSY, queued=5)),
    ("counters_agree", thread(BUSY, pending=0)),
    ("newest_run_is_newest", thread(DONE, latest_run_no=77_777)),
    ("ready_key_is_of_queue", thread(ThreadId("thread-of-kid"), ready=None)),
    ("open_tickets_agree", run("waits", open_tickets=0)),
    ("open_turn_is_own", run("owner", open_turn=99)),
    ("pending_is_for_open_run", aimed_at_nobody),
    ("message_is_reported", silent_event),
    ("ticket_is_of_open_run", ended_run("waits")),
    ("child_was_begun", without_run("kid")),
    ("journal_has_run", without_run("owner")),
)


@pytest.mark.parametrize(("invariant", "hand"), MENDED, ids=[f"{no}-{name}" for no, (name, _) in enumerate(MENDED)])
async def test_a_breach_is_named_and_mended(invariant: str, hand: Hand) -> None:
    store, tables = await scene(ManualClock())
    hand(tables)
    assert invariant in {each.invariant for each in await breaches_of(store)}

    mended = await mend_all(store)

    assert "mended" in {each.result for each in mended if each.breach.invariant == invariant}
    assert [each for each in mended if each.result == "refused"] == []
    await check_sound(store)


async def test_a_child_whose_end_nobody_was_told_of_tells_it_again() -> None:
    store, tables = await scene(ManualClock())
    row = await child_ends(store, "kid")
    del tables.outbox[row.no]
    assert [each.invariant for each in await breaches_of(store)] == ["child_is_told"]

    await mend_all(store)

    assert [each.errand for each in await store.list_outbox()] == [row.errand]
    await check_sound(store)


async def test_a_message_that_nobody_will_take_gets_its_fate() -> None:
    store, tables = await scene(ManualClock())
    ended_run("next")(tables)
    without_dispatch("next")(tables)
    assert "message_has_fate" in {each.invariant for each in await breaches_of(store)}

    await mend_all(store)

    receipt = await store.load_receipt(SCOPE, BUSY, MessageId("msg-next"))
    assert receipt is not None and receipt.fate == "dead_lettered"
    await check_sound(store)


@pytest.mark.parametrize(
    ("invariant", "hand"),
    [
        ("messages_have_no_hole", thread(DONE, message_seq=9)),
        ("events_have_no_hole", thread(DONE, event_seq=99)),
        ("report_has_message", without_log),
    ],
)
async def test_what_is_lost_is_refused(invariant: str, hand: Hand) -> None:
    store, tables = await scene(ManualClock())
    hand(tables)

    about = [each for each in await mend_all(store) if each.breach.invariant == invariant]

    assert {(each.result, each.note) for each in about} == {("refused", BY_NAME[invariant].refused)}


def test_what_the_tables_can_contradict_is_contradicted_here() -> None:
    """The rest cannot be in dictionaries: an entry that leads nowhere, a second claim, a record that is not JSON."""
    broken = {name for name, _ in MENDED} | {"child_is_told", "message_has_fate"}
    assert {each.name for each in INVARIANTS if each.mended} - broken == {"entry_leads_to_row"}
