"""Writes what the rules decided, one statement per table.

Above: `batch` collects the changes of its items. Below: `rows` for the values.
Holds: a write whose guard held, or that met a constraint, raises `Overtaken`, and the caller undoes all of them.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence

from awaken.store.rules import Changes
from awaken.store.sqlite import rows
from awaken.store.sqlite.rows import Row
from awaken.store.sqlite.text import SQL


class Overtaken(Exception):  # noqa: N818 - a reason to look more carefully, not a failure
    """A row was not in the state the decision was made from, or an id is taken."""


def write(connection: sqlite3.Connection, changes: Changes) -> None:
    """Requires: an open transaction.

    Raises:
        Overtaken: Something written before may be in the transaction: undo it.
    """
    put = _Put(connection)
    if changes.new_threads:
        put(_INSERT_THREAD, [rows.new_thread_values(thread) for thread in changes.new_threads])
    if changes.threads:
        put(_UPDATE_THREAD, [rows.thread_values(thread) for thread in changes.threads])
    if changes.new_messages:
        put(_INSERT_MESSAGE, [rows.new_message_values(each) for each in changes.new_messages])
    if changes.appended_messages:
        put(_APPEND_MESSAGE, [(seq, scope, id, thread) for scope, thread, id, seq in changes.appended_messages])
    if changes.new_runs:
        put(_INSERT_RUN, [rows.new_run_values(scope, run) for scope, run in changes.new_runs])
    if changes.runs:
        put(_UPDATE_RUN, [rows.run_values(scope, run) for scope, run in changes.runs])
    if changes.new_dispatches:
        put(_INSERT_DISPATCH, [rows.new_dispatch_values(scope, each) for scope, each in changes.new_dispatches])
    if changes.dispatches:
        put(_UPDATE_DISPATCH, [rows.dispatch_values(*each) for each in changes.dispatches])
    if changes.events:
        put(_INSERT_EVENTS, [rows.new_events_values(row) for row in changes.events])
    if changes.journal:
        put(_PUT_JOURNAL, [rows.journal_values(*each) for each in changes.journal])


def write_infos(connection: sqlite3.Connection, changes: Changes) -> None:
    """What the owner says about a thread, which only a `SaveThread` of an existing one rewrites."""
    if changes.threads:
        _Put(connection)(_UPDATE_INFO, [rows.thread_info_values(thread) for thread in changes.threads])


class _Put:
    """Runs one statement for many rows; each must change exactly one."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection

    def __call__(self, statement: str, values: Sequence[Row]) -> None:
        try:
            written = self._connection.executemany(statement, values).rowcount
        except sqlite3.IntegrityError as error:
            raise Overtaken(str(error)) from error
        if written != len(values):
            raise Overtaken(f"{len(values) - written} of {len(values)} rows are not as they were read: {statement}")


_INSERT_THREAD = SQL["insert_thread"]
_UPDATE_THREAD = SQL["update_thread"]
_UPDATE_INFO = SQL["update_thread_info"]
_INSERT_MESSAGE = SQL["insert_message"]
_APPEND_MESSAGE = SQL["append_message"]
_INSERT_RUN = SQL["insert_run"]
_UPDATE_RUN = SQL["update_run"]
_INSERT_DISPATCH = SQL["insert_dispatch"]
_UPDATE_DISPATCH = SQL["update_dispatch"]
_INSERT_EVENTS = SQL["insert_events"]
_PUT_JOURNAL = SQL["put_journal"]
