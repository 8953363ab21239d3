"""Writes what a batch has decided, one statement per kind of row.

Above: `batch` and `asks`. Below: `session`, and the values of `sqlite.rows`, whose ids become texts.
Holds: every statement says how many rows it must change. A guard that held, or a value that a row does not take, is
`Overtaken`: the decision was made from something that is not so. A statement changes a row once, so what is decided
twice about a row is written as it was decided last.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, TypeVar

from awaken.domain.dispatch import CLAIMED, Dispatch
from awaken.store import rows
from awaken.store.postgres.session import Row, Session
from awaken.store.rows import EVENTS, MESSAGES, RUNS
from awaken.store.rules.facts import Changes, ThreadRow

_T = TypeVar("_T")


async def write(db: Session, changes: Changes) -> None:
    """Requires: an open transaction.

    Raises:
        Overtaken: What was written before it may be in the transaction: undo that.
    """
    put = db.put
    made = sorted(changes.new_threads, key=lambda each: (each.scope, each.thread_id))  # as everybody who makes the same
    await put("insert_thread", [(*rows.new_thread_values(each), *_names(each)) for each in made])
    touched = {each.no: each for each in changes.threads}
    await put("update_thread", [rows.thread_values(touched[no]) for no in sorted(touched)])
    infos = {each.no: each for each in changes.infos}.values()
    await put("update_thread_info", [(*rows.thread_info_values(each)[:3], *_names(each), each.no) for each in infos])
    marks = {each.no: each for each in changes.marks}.values()
    await put("mark_thread", [rows.thread_mark_values(each) for each in marks])
    await _write_messages(db, changes)
    await put("insert_run", [rows.new_run_values(*each) for each in changes.new_runs])
    await put("insert_dispatch", [rows.new_dispatch_values(*each) for each in changes.new_dispatches])
    runs = {run.no: run for _, run in changes.runs}
    await put("update_run", [rows.run_values(runs[no]) for no in sorted(runs)])
    await _write_dispatches(db, [(before, after) for _, before, after in changes.dispatches])
    await _write_dispatches(db, [(before, after) for _, before, after in changes.leases])
    await put("insert_events", [rows.new_events_values(0, *each)[1:] for each in changes.events])
    await put("insert_ticket", [rows.new_ticket_values(*each) for each in changes.new_tickets])
    await put("update_ticket", [rows.ticket_values(ticket) for _, ticket in changes.tickets])
    journal = {(run.no, entry.key): (run, entry, now) for run, entry, now in changes.journal}
    await put("put_journal", [rows.journal_values(*each) for each in journal.values()])
    await put("insert_errand", [rows.new_errand_values(row) for row in changes.outbox])
    await put("delete_errand", [(row.no,) for row in changes.delivered])
    await put("insert_schedule", [rows.new_schedule_values(*each) for each in changes.new_schedules])
    schedules = {schedule.no: schedule for _, schedule in changes.schedules}
    await put("update_schedule", [rows.schedule_values(each) for each in schedules.values()])
    await put("delete_schedule", [(schedule.no,) for _, schedule in changes.removed_schedules])
    states = {thread.no: (thread, state, now) for thread, state, now in changes.states}
    await put("put_state", [rows.state_values(*each) for each in states.values()])
    await put("insert_span", [rows.span_values(*each) for each in changes.spans])
    await _purge(db, changes)
    await _remove(db, changes)


def _names(thread: ThreadRow) -> Row:
    return thread.info.resource_id, thread.info.parent_thread_id


async def _write_messages(db: Session, changes: Changes) -> None:
    await db.put("insert_message", [rows.new_message_values(0, each)[1:] for each in changes.new_messages])
    joined = [(seq, now, step, each, thread.no) for thread, each, seq, step, now in changes.appended_messages]
    await db.put("append_message", joined)
    if not changes.touches_pending:
        return
    await db.put("insert_pending", [rows.new_pending_values(0, *each)[1:] for each in changes.pended])
    edited = _last(((thread.no, stored.message.id), (thread, stored)) for thread, stored in changes.edited)
    await db.put("edit_message", [rows.edited_values(*each) for each in edited])
    moved = _last(((thread.no, entry.message_id), (thread, entry)) for thread, entry in changes.moved)
    await db.put("move_pending", [rows.moved_values(*each) for each in moved])
    await db.put("take_message", [rows.taken_values(*each) for each in changes.taken])
    requeued = [(run_id, message_id, thread.no) for thread, message_id, run_id in changes.requeued]
    await db.put("requeue_message", requeued)
    fates = [(fate, now, message_id, thread.no) for thread, message_id, fate, now in changes.fates]
    await db.write("mark_fate", _last((each[2:], each) for each in reversed(fates)))


def _last(items: Iterable[tuple[Any, _T]]) -> list[_T]:
    return list(dict(items).values())


async def _write_dispatches(db: Session, decided: list[tuple[Dispatch, Dispatch]]) -> None:
    """Claims come last: a thread has one at a time, and the one before has to be over."""
    chained: dict[int, tuple[Dispatch, Dispatch]] = {}
    for before, after in decided:
        first, _ = chained.get(before.no, (before, after))
        chained[before.no] = first, after
    values = [(after, rows.dispatch_values(before, after)) for before, after in chained.values()]
    await db.put("update_dispatch", [each for after, each in values if after.status is not CLAIMED])
    await db.put("update_dispatch", [each for after, each in values if after.status is CLAIMED])


async def _purge(db: Session, changes: Changes) -> None:
    """Rows that are kept no longer; that some are gone already is no harm."""
    runs, events = changes.purged_runs, changes.purged_events
    if runs:
        await db.write("delete_run", [(run.no,) for _, _, run in runs])
        await db.write("delete_dispatches_of_run", [(thread, run.run_id) for _, thread, run in runs])
        await db.write("delete_journal", [(run.no,) for _, _, run in runs])
        await db.write("delete_tickets", [(run.no,) for _, _, run in runs if run.tickets])
        await db.write("forget_newest_run", [(thread, run.no) for _, thread, run in runs])
    if events:
        await db.write("delete_events", [(row,) for *_, row in events])
        await db.write("keep_events_from", [(last + 1, thread) for _, thread, _, last, _ in events])


async def _remove(db: Session, changes: Changes) -> None:
    """Rows of deleted threads."""
    if not changes.removed:
        return
    rows_of = [(each.thread_no, *row) for each in changes.removed for row in each.rows]
    by_kind = {kind: [(row,) for _, of, _, row in rows_of if of == kind] for kind in (EVENTS, MESSAGES, RUNS)}
    await db.write("delete_events", by_kind[EVENTS])
    await db.write("delete_message", by_kind[MESSAGES])
    for name in ("delete_run", "delete_journal", "delete_tickets"):
        await db.write(name, by_kind[RUNS])
    emptied = [(each.thread_no,) for each in changes.removed if each.is_last]
    for name in ("delete_dispatches_of_thread", "delete_spans", "delete_state", "empty_thread"):
        await db.write(name, emptied)
