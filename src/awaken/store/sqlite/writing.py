"""Writes what a batch has decided, one statement per kind of row, run for all of its rows.

Above: `batch` and `asks`. Below: `rows` for the values.
Holds: every statement says how many rows it must change. A guard that held, or a value that the row does not take, is
`Overtaken`: the decision was made from something that is not so.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from itertools import chain, count
from typing import Final

import msgspec

from awaken.store import rows
from awaken.store.batches import Overtaken
from awaken.store.rows import EVENTS, MESSAGES, RUNS, Row, pack
from awaken.store.rules.facts import Changes
from awaken.store.sqlite.queries import SQL

_INSERT_THREAD: Final = SQL["insert_thread"]
_UPDATE_THREAD: Final = SQL["update_thread"]
_UPDATE_INFO: Final = SQL["update_thread_info"]
_MARK_THREAD: Final = SQL["mark_thread"]
_INSERT_ENTRY: Final = SQL["insert_entry"]
_INSERT_MESSAGE: Final = SQL["insert_message"]
_APPEND_MESSAGE: Final = SQL["append_message"]
_INSERT_ENTRY_OF_MESSAGE: Final = SQL["insert_entry_of_message"]
_INSERT_RUN: Final = SQL["insert_run"]
_UPDATE_RUN: Final = SQL["update_run"]
_INSERT_DISPATCH: Final = SQL["insert_dispatch"]
_UPDATE_DISPATCH: Final = SQL["update_dispatch"]
_INSERT_EVENTS: Final = SQL["insert_events"]
_PUT_JOURNAL: Final = SQL["put_journal"]
_INSERT_TICKET: Final = SQL["insert_ticket"]
_UPDATE_TICKET: Final = SQL["update_ticket"]
_INSERT_ERRAND: Final = SQL["insert_errand"]
_DELETE_ERRAND: Final = SQL["delete_errand"]
_PUT_STATE: Final = SQL["put_state"]
_INSERT_SPAN: Final = SQL["insert_span"]

VALUES_AT_ONCE: Final = 999
"""New rows go many in one statement, where there are so many: for each statement the interpreter is given up and taken
back (measured: 5 to 9 % more runs a second than with one row each). Some builds of SQLite take no more values."""
_ROWS_AT_ONCE: Final = (32, 8)


def _several(statement: str) -> list[tuple[int, str]]:
    """The statement for one row as statements for more of them, the largest first."""
    values = statement[statement.index("(?") :]
    return [
        (count, f"{statement}{f', {values}' * (count - 1)}")
        for count in (VALUES_AT_ONCE // statement.count("?"), *_ROWS_AT_ONCE)
    ]


_AT_ONCE: Final = {
    statement: _several(statement)
    for statement in (_INSERT_ENTRY, _INSERT_MESSAGE, _INSERT_RUN, _INSERT_DISPATCH, _INSERT_EVENTS)
}

_ABOUT_A_ROW: Final = (sqlite3.IntegrityError, sqlite3.DataError, sqlite3.InterfaceError, OverflowError)
"""What SQLite raises because of the values of one row, not because of the database."""


class RowNumbers(msgspec.Struct):
    """The last numbers given to rows of messages and of events, which nobody outside this store knows."""

    message: int = 0
    events: int = 0


def write(db: sqlite3.Connection, changes: Changes, numbers: RowNumbers) -> None:
    """Requires: an open transaction.

    Raises:
        Overtaken: What was written before it may be in the transaction: undo that.
    """
    put(db, _INSERT_THREAD, [rows.new_thread_values(each) for each in changes.new_threads])
    put(db, _UPDATE_THREAD, [rows.thread_values(each) for each in changes.threads])
    put(db, _UPDATE_INFO, [rows.thread_info_values(each) for each in changes.infos])
    put(db, _MARK_THREAD, [rows.thread_mark_values(each) for each in changes.marks])
    entries: list[Row] = [(thread.no, RUNS, run.no, run.no) for thread, run in changes.new_runs]
    _write_messages(db, changes, numbers, entries)
    insert(db, _INSERT_RUN, [rows.new_run_values(*each) for each in changes.new_runs])
    insert(db, _INSERT_DISPATCH, [rows.new_dispatch_values(*each) for each in changes.new_dispatches])
    put(db, _UPDATE_RUN, [rows.run_values(run) for _, run in changes.runs])
    put(db, _UPDATE_DISPATCH, [rows.dispatch_values(before, after) for _, before, after in changes.dispatches])
    put(db, _UPDATE_DISPATCH, [rows.dispatch_values(before, after) for _, before, after in changes.leases])
    _write_events(db, changes, numbers, entries)
    insert(db, _INSERT_ENTRY, entries)
    put(db, _INSERT_TICKET, [rows.new_ticket_values(*each) for each in changes.new_tickets])
    put(db, _UPDATE_TICKET, [rows.ticket_values(ticket) for _, ticket in changes.tickets])
    put(db, _PUT_JOURNAL, [rows.journal_values(*each) for each in changes.journal])
    put(db, _INSERT_ERRAND, [rows.new_errand_values(row) for row in changes.outbox])
    put(db, _DELETE_ERRAND, [(row.no,) for row in changes.delivered])
    _write_schedules(db, changes)
    put(db, _PUT_STATE, [rows.state_values(*each) for each in changes.states])
    put(db, _INSERT_SPAN, [rows.span_values(*each) for each in changes.spans])
    if _takes_rows_away(changes):
        db.execute(SQL["keep_numbers"], (changes.numbers.last, numbers.events))
    _purge(db, changes)
    _remove(db, changes)


def _takes_rows_away(changes: Changes) -> bool:
    """They may be those with the highest numbers, which nothing else would show to have been given."""
    return bool(
        changes.delivered
        or changes.removed_schedules
        or changes.purged_runs
        or changes.purged_events
        or changes.removed
    )


def _write_schedules(db: sqlite3.Connection, changes: Changes) -> None:
    put(db, SQL["insert_schedule"], [rows.new_schedule_values(*each) for each in changes.new_schedules])
    put(db, SQL["update_schedule"], [rows.schedule_values(schedule) for _, schedule in changes.schedules])
    put(db, SQL["delete_schedule"], [(schedule.no,) for _, schedule in changes.removed_schedules])


def _write_messages(db: sqlite3.Connection, changes: Changes, numbers: RowNumbers, entries: list[Row]) -> None:
    new = [*zip(count(numbers.message + 1), changes.new_messages)]
    numbers.message += len(new)
    insert(db, _INSERT_MESSAGE, [rows.new_message_values(no, each) for no, each in new])
    entries += [(each.thread.no, MESSAGES, each.seq, no) for no, each in new if each.seq is not None]
    joined = changes.appended_messages
    put(db, _APPEND_MESSAGE, [(seq, now, step, pack(each), thread.no) for thread, each, seq, step, now in joined])
    put(db, _INSERT_ENTRY_OF_MESSAGE, [(pack(message_id), thread.no) for thread, message_id, _, _, _ in joined])
    if changes.touches_pending:
        _write_pending(db, changes, numbers)


def _write_pending(db: sqlite3.Connection, changes: Changes, numbers: RowNumbers) -> None:
    new = [*zip(count(numbers.message + 1), changes.pended)]
    numbers.message += len(new)
    put(db, SQL["insert_pending"], [rows.new_pending_values(no, *each) for no, each in new])
    put(db, SQL["edit_message"], [rows.edited_values(*each) for each in changes.edited])
    put(db, SQL["move_pending"], [rows.moved_values(*each) for each in changes.moved])
    put(db, SQL["take_message"], [rows.taken_values(*each) for each in changes.taken])
    put(db, _INSERT_ENTRY_OF_MESSAGE, [(pack(taken.message_id), taken.thread.no) for taken, _ in changes.taken])
    requeued = [(pack(run_id), pack(message_id), thread.no) for thread, message_id, run_id in changes.requeued]
    put(db, SQL["requeue_message"], requeued)
    fates = [(fate, now, pack(message_id), thread.no) for thread, message_id, fate, now in changes.fates]
    db.executemany(SQL["mark_fate"], fates)


def _write_events(db: sqlite3.Connection, changes: Changes, numbers: RowNumbers, entries: list[Row]) -> None:
    new = [*zip(count(numbers.events + 1), changes.events)]
    numbers.events += len(new)
    insert(db, _INSERT_EVENTS, [rows.new_events_values(no, *each) for no, each in new])
    entries += [(thread.no, EVENTS, row.first_seq, no) for no, (thread, row) in new]


def _purge(db: sqlite3.Connection, changes: Changes) -> None:
    """Rows that are kept no longer; that some are gone already is no harm."""
    runs, events = changes.purged_runs, changes.purged_events
    if runs:
        db.executemany(SQL["delete_run"], [(run.no,) for _, _, run in runs])
        db.executemany(SQL["delete_first_dispatch"], [(run.no,) for _, _, run in runs])
        db.executemany(SQL["delete_later_dispatches"], [(thread, pack(run.run_id)) for _, thread, run in runs])
        db.executemany(SQL["delete_journal"], [(run.no,) for _, _, run in runs])
        db.executemany(SQL["delete_tickets"], [(run.no,) for _, _, run in runs if run.tickets])
        db.executemany(SQL["delete_entry"], [(thread, RUNS, run.no) for _, thread, run in runs])
        db.executemany(SQL["forget_newest_run"], [(thread, run.no) for _, thread, run in runs])
    if events:
        db.executemany(SQL["delete_events"], [(row,) for *_, row in events])
        db.executemany(SQL["delete_entry"], [(thread, EVENTS, first) for _, thread, first, _, _ in events])
        db.executemany(SQL["keep_events_from"], [(last + 1, thread) for _, thread, _, last, _ in events])


def _remove(db: sqlite3.Connection, changes: Changes) -> None:
    """Rows of deleted threads."""
    if not changes.removed:
        return
    rows_of = [(each.thread_no, *row) for each in changes.removed for row in each.rows]
    by_kind = {kind: [(row,) for _, of, _, row in rows_of if of == kind] for kind in (EVENTS, MESSAGES, RUNS)}
    db.executemany(SQL["delete_events"], by_kind[EVENTS])
    db.executemany(SQL["delete_message"], by_kind[MESSAGES])
    for name in ("delete_run", "delete_first_dispatch", "delete_journal", "delete_tickets"):
        db.executemany(SQL[name], by_kind[RUNS])
    db.executemany(SQL["delete_entry"], [(thread, kind, no) for thread, kind, no, _ in rows_of])
    emptied = [(each.thread_no,) for each in changes.removed if each.is_last]
    for name in ("delete_all_later_dispatches", "delete_spans", "delete_state", "empty_thread"):
        db.executemany(SQL[name], emptied)


def insert(db: sqlite3.Connection, statement: str, values: Sequence[Row]) -> None:
    """`put` for new rows, as many in one statement as it holds."""
    done = 0
    try:
        for at_once, several in _AT_ONCE[statement]:
            for _ in range((len(values) - done) // at_once):
                db.execute(several, [*chain.from_iterable(values[done : done + at_once])])
                done += at_once
    except _ABOUT_A_ROW as error:
        raise Overtaken(str(error)) from error
    put(db, statement, values[done:])


def put(db: sqlite3.Connection, statement: str, values: Sequence[Row]) -> None:
    """Run one statement for many rows; each must change exactly one."""
    if not values:
        return
    try:
        written = db.executemany(statement, values).rowcount
    except _ABOUT_A_ROW as error:
        raise Overtaken(str(error)) from error
    if written != len(values):
        raise Overtaken(f"{len(values) - written} of {len(values)} rows are not as they were read: {statement}")
