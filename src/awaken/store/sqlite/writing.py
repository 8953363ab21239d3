"""Writes what the rules decided, table by table.

Above: `batch` collects the changes of its items. Below: `rows` for the values.
Holds: a write whose guard held, or that met a constraint, raises `Overtaken`, and the caller undoes all of them.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from itertools import chain
from typing import Final

from awaken.store.rules import Changes, ThreadRow
from awaken.store.sqlite import rows
from awaken.store.sqlite.queries import SQL
from awaken.store.sqlite.rows import Row

_INSERT_THREAD: Final = SQL["insert_thread"]
_UPDATE_THREAD: Final = SQL["update_thread"]
_UPDATE_INFO: Final = SQL["update_thread_info"]
_INSERT_MESSAGE: Final = SQL["insert_message"]
_APPEND_MESSAGE: Final = SQL["append_message"]
_INSERT_RUN: Final = SQL["insert_run"]
_UPDATE_RUN: Final = SQL["update_run"]
_INSERT_DISPATCH: Final = SQL["insert_dispatch"]
_UPDATE_DISPATCH: Final = SQL["update_dispatch"]
_INSERT_EVENTS: Final = SQL["insert_events"]
_PUT_JOURNAL: Final = SQL["put_journal"]


ROWS_AT_ONCE: Final = 45
"""New rows in one statement, where there are so many: for each statement the interpreter is given up and taken back
(measured: 5 to 9 % more runs a second than with one row each). Some builds of SQLite take 999 values at most."""
_AT_ONCE: Final = {
    statement: statement + (", " + statement[statement.index("(?") :]) * (ROWS_AT_ONCE - 1)
    for statement in (_INSERT_MESSAGE, _INSERT_RUN, _INSERT_DISPATCH, _INSERT_EVENTS)
}

_ABOUT_A_ROW: Final = (sqlite3.IntegrityError, sqlite3.DataError, sqlite3.InterfaceError)
"""What SQLite raises because of the values of one row, not because of the database."""


class Overtaken(Exception):
    """A row was not in the state the decision was made from, an id is taken, or a value cannot be stored."""


def write(db: sqlite3.Connection, changes: Changes) -> None:
    """Requires: an open transaction.

    Raises:
        Overtaken: What was written before it may be in the transaction: undo that.
    """
    if changes.new_threads:
        put(db, _INSERT_THREAD, [rows.new_thread_values(each) for each in changes.new_threads])
    if changes.threads:
        put(db, _UPDATE_THREAD, [rows.thread_values(each) for each in changes.threads])
    if changes.new_messages:
        insert(db, _INSERT_MESSAGE, [rows.new_message_values(each) for each in changes.new_messages])
    if changes.appended_messages:
        put(db, _APPEND_MESSAGE, [(seq, scope, id, thread) for scope, thread, id, seq in changes.appended_messages])
    if changes.accepted:
        insert(db, _INSERT_RUN, [rows.new_run_values(scope, run) for scope, run, _ in changes.accepted])
        insert(db, _INSERT_DISPATCH, [rows.new_dispatch_values(scope, each) for scope, _, each in changes.accepted])
    if changes.runs:
        put(db, _UPDATE_RUN, [rows.run_values(scope, run) for scope, run in changes.runs])
    if changes.dispatches:
        moves = [rows.dispatch_values(scope, before, after) for scope, before, after in changes.dispatches]
        put(db, _UPDATE_DISPATCH, moves)
    if changes.events:
        insert(db, _INSERT_EVENTS, [rows.new_events_values(row) for row in changes.events])
    if changes.journal:
        put(db, _PUT_JOURNAL, [rows.journal_values(*each) for each in changes.journal])


def write_infos(db: sqlite3.Connection, threads: Sequence[ThreadRow]) -> None:
    """What the owner says about a thread; apart, because only a `SaveThread` of an existing one rewrites it."""
    if threads:
        put(db, _UPDATE_INFO, [rows.thread_info_values(thread) for thread in threads])


def insert(db: sqlite3.Connection, statement: str, values: Sequence[Row]) -> None:
    """`put` for new rows, as many in one statement as it holds."""
    whole = len(values) - len(values) % ROWS_AT_ONCE
    try:
        for at in range(0, whole, ROWS_AT_ONCE):
            db.execute(_AT_ONCE[statement], [*chain.from_iterable(values[at : at + ROWS_AT_ONCE])])
    except _ABOUT_A_ROW as error:
        raise Overtaken(str(error)) from error
    if whole < len(values):
        put(db, statement, values[whole:])


def put(db: sqlite3.Connection, statement: str, values: Sequence[Row]) -> None:
    """Run one statement for many rows; each must change exactly one."""
    try:
        written = db.executemany(statement, values).rowcount
    except _ABOUT_A_ROW as error:
        raise Overtaken(str(error)) from error
    if written != len(values):
        raise Overtaken(f"{len(values) - written} of {len(values)} rows are not as they were read: {statement}")
