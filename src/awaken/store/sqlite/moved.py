"""The mark in a database file whose data goes to another database, or has gone there.

Above: `migrate.check_schema` refuses a file that has moved, whoever opens it; `leaving` writes the mark. Below: a table
that only such a file has.
Holds: a file with an end in its mark is opened by nobody any more. A mark without an end says which copy of it is under
way, and is gone as soon as the file is served again: that copy is then one of an older state.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from awaken.domain.clock import Instant, to_rfc3339
from awaken.domain.errors import StoreUnavailable
from awaken.store.moving import Mark
from awaken.store.statements import load_statements

SQL: Final[Mapping[str, str]] = load_statements("awaken.store.sqlite", "moving.sql")
APPLICATION_ID: Final = 0x4157_414B
"""Marks the file as ours: `AWAK`, where the `file` command and SQLite look for it."""
MOVED_ID: Final = 0x4157_4D56
"""The application id of a file that has moved, `AWMV`: a version that knows nothing of moves refuses it, too."""


def load_mark(connection: sqlite3.Connection) -> Mark | None:
    [application_id] = connection.execute("PRAGMA application_id").fetchone()
    if application_id not in (APPLICATION_ID, MOVED_ID):
        return None  # another program's, or nobody's yet
    [marked] = connection.execute(SQL["is_marked"]).fetchone()
    row = connection.execute(SQL["mark"]).fetchone() if marked else None
    return None if row is None else Mark(*row)


def begin_mark(connection: sqlite3.Connection, mark: Mark) -> None:
    """Instead of an earlier one."""
    connection.execute("BEGIN IMMEDIATE")
    connection.execute(SQL["forget_mark"])
    connection.execute(SQL["begin_mark"])
    values = {"move_id": mark.move_id, "target": mark.target, "began_at": mark.began_at}
    connection.execute(SQL["keep_mark"], values)
    connection.execute("COMMIT")


def end_mark(connection: sqlite3.Connection, now: Instant) -> None:
    """From here on nobody opens the file."""
    connection.execute("BEGIN IMMEDIATE")
    connection.execute(SQL["end_mark"], {"now": now})
    connection.execute(f"PRAGMA application_id = {MOVED_ID}")
    connection.execute("COMMIT")


def forget_mark(connection: sqlite3.Connection) -> None:
    """The file is served again: a copy that was begun is none of what it will hold."""
    if load_mark(connection) is not None:
        connection.execute(SQL["forget_mark"])


def check_not_moved(connection: sqlite3.Connection, path: Path) -> None:
    """Raises StoreUnavailable where the file's data has moved; it says where to."""
    mark = load_mark(connection)
    if mark is not None and mark.ended_at is not None:
        raise moved_away(path, mark)


def moved_away(path: Path, mark: Mark) -> StoreUnavailable:
    at = "" if mark.ended_at is None else f" at {to_rfc3339(mark.ended_at)}"
    return StoreUnavailable(f"database {path} has moved to {mark.target}{at}. Use that one; this file may be put away")
