"""Writes what a batch has decided, in one statement: a part of it for each kind of row.

Above: `batch` and `asks`. Below: `session`, and the values of `store.rows`, whose ids become texts.
Holds: every part says how many rows it must change. A guard that held, or a value that a row does not take, is
`Overtaken`: the decision was made from something that is not so. A statement changes a row once, so what is decided
twice about a row is written as it was decided last; where two parts change one row, the second waits for the next
statement.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any, TypeVar

from awaken.domain.dispatch import CLAIMED, Dispatch
from awaken.store import rows
from awaken.store.postgres.session import Put, Row, Session
from awaken.store.rows import EVENTS, MESSAGES, RUNS
from awaken.store.rules.facts import Changes, ThreadRow

_T = TypeVar("_T")


async def write(db: Session, changes: Changes) -> None:
    """Requires: an open transaction.

    Raises:
        Overtaken: What was written before it may be in the transaction: undo that.
    """
    await db.put([*_puts(changes)])
    await _purge(db, changes)
    await _remove(db, changes)


def _puts(changes: Changes) -> Iterator[Put]:
    made = sorted(changes.new_threads, key=lambda each: (each.scope, each.thread_id))  # as everybody who makes the same
    yield Put("insert_thread", [(*rows.new_thread_values(each), *_names(each)) for each in made])
    new = {each.no for each in made}  # written as they are by now
    # Whoever reads what is claimed together with the row of its thread relies on this (`facts.held_at_start`).
    with_others = (thread for thread, *_ in (*changes.runs, *changes.dispatches))
    touched = {each.no: each for each in (*with_others, *changes.threads) if each.no not in new}
    yield Put("update_thread", [rows.thread_values(touched[no]) for no in sorted(touched)])
    infos = {each.no: each for each in changes.infos}.values()
    yield Put("update_thread_info", [(*rows.thread_info_values(each)[:3], *_names(each), each.no) for each in infos])
    marks = {each.no: each for each in changes.marks}.values()
    yield Put("mark_thread", [rows.thread_mark_values(each) for each in marks])
    yield from _puts_of_messages(changes)
    yield Put("insert_run", [rows.new_run_values(*each) for each in changes.new_runs])
    yield Put("insert_dispatch", [rows.new_dispatch_values(*each) for each in changes.new_dispatches])
    runs = {run.no: run for _, run in changes.runs}
    yield Put("update_run", [rows.run_values(runs[no]) for no in sorted(runs)])
    yield from _puts_of_dispatches([(before, after) for _, before, after in changes.dispatches])
    yield from _puts_of_dispatches([(before, after) for _, before, after in changes.leases])
    yield Put("insert_events", [rows.new_events_values(0, *each)[1:] for each in changes.events])
    yield Put("insert_ticket", [rows.new_ticket_values(*each) for each in changes.new_tickets])
    yield Put("update_ticket", [rows.ticket_values(ticket) for _, ticket in changes.tickets])
    journal = {(run.no, entry.key): (run, entry, now) for run, entry, now in changes.journal}
    yield Put("put_journal", [rows.journal_values(*each) for each in journal.values()])
    yield Put("insert_errand", [rows.new_errand_values(row) for row in changes.outbox])
    yield Put("delete_errand", [(row.no,) for row in changes.delivered])
    yield Put("insert_schedule", [rows.new_schedule_values(*each) for each in changes.new_schedules])
    schedules = {schedule.no: schedule for _, schedule in changes.schedules}
    yield Put("update_schedule", [rows.schedule_values(each) for each in schedules.values()])
    yield Put("delete_schedule", [(schedule.no,) for _, schedule in changes.removed_schedules])
    states = {thread.no: (thread, state, now) for thread, state, now in changes.states}
    yield Put("put_state", [rows.state_values(*each) for each in states.values()])
    yield Put("insert_span", [rows.span_values(*each) for each in changes.spans])


def _names(thread: ThreadRow) -> Row:
    return thread.info.resource_id, thread.info.parent_thread_id


def _puts_of_messages(changes: Changes) -> Iterator[Put]:
    yield Put("insert_message", [rows.new_message_values(0, each)[1:] for each in changes.new_messages])
    joined = [(seq, now, step, each, thread.no) for thread, each, seq, step, now in changes.appended_messages]
    yield Put("append_message", joined)
    if not changes.touches_pending:
        return
    yield Put("insert_pending", [rows.new_pending_values(0, *each)[1:] for each in changes.pended])
    edited = _last(((thread.no, stored.message.id), (thread, stored)) for thread, stored in changes.edited)
    yield Put("edit_message", [rows.edited_values(*each) for each in edited])
    moved = _last(((thread.no, entry.message_id), (thread, entry)) for thread, entry in changes.moved)
    yield Put("move_pending", [rows.moved_values(*each) for each in moved])
    yield Put("take_message", [rows.taken_values(*each) for each in changes.taken])
    requeued = [(run_id, message_id, thread.no) for thread, message_id, run_id in changes.requeued]
    yield Put("requeue_message", requeued)
    fates = [(fate, now, message_id, thread.no) for thread, message_id, fate, now in changes.fates]
    yield Put("mark_fate", _last((each[2:], each) for each in reversed(fates)), each_row=False)


def _last(items: Iterable[tuple[Any, _T]]) -> list[_T]:
    return list(dict(items).values())


def _puts_of_dispatches(decided: list[tuple[Dispatch, Dispatch]]) -> Iterator[Put]:
    """Claims come last: a thread has one at a time, and the one before has to be over."""
    chained: dict[int, tuple[Dispatch, Dispatch]] = {}
    for before, after in decided:
        first, _ = chained.get(before.no, (before, after))
        chained[before.no] = first, after
    values = [(after, rows.dispatch_values(before, after)) for before, after in chained.values()]
    yield Put("update_dispatch", [each for after, each in values if after.status is not CLAIMED])
    yield Put("update_dispatch", [each for after, each in values if after.status is CLAIMED])


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
