"""The next version of the program: it has one migration more, and may die at any statement of it.

Above: `nursery`, for a process that is to be of that version; the test of migrations. Below: the migration runner, and
the trace that SQLite gives of a connection.
Holds: SQLite announces a statement before it begins. Dying then is dying after the one before it: what lies between
two statements leaves no mark in the file.
"""

from __future__ import annotations

import itertools
import os
import signal
import sqlite3
from contextlib import closing
from typing import Any, Final

import msgspec

from awaken.store.sqlite import migrate
from awaken.store.sqlite.migrate import migrations as present_migrations

_MOVED: Final = "journal"
"""A table whose loss would have finished steps made again."""


def next_migrations() -> list[tuple[int, str]]:
    """The present ones and one more, as `migrate.migrations` gives them."""
    present = present_migrations()
    return [*present, (len(present) + 1, _script(present))]


def _script(present: list[tuple[int, str]]) -> str:
    """What a migration may do: change rows, and move a table, as it must to change what SQLite cannot alter."""
    with closing(sqlite3.connect(":memory:")) as db:
        for _, script in present:
            db.executescript(script)
        [made] = db.execute("SELECT sql FROM sqlite_schema WHERE type = 'table' AND name = ?", (_MOVED,)).fetchone()
        columns = ", ".join(name for _, name, *_ in db.execute(f"PRAGMA table_info({_MOVED})"))
    return f"""
ALTER TABLE runs ADD COLUMN remark TEXT;
UPDATE runs SET remark = 'of an older version';

{made.replace(_MOVED, f"{_MOVED}_moved", 1)};
INSERT INTO {_MOVED}_moved ({columns}) SELECT {columns} FROM {_MOVED};
DROP TABLE {_MOVED};
ALTER TABLE {_MOVED}_moved RENAME TO {_MOVED};
ALTER TABLE {_MOVED} ADD COLUMN remark TEXT;
CREATE INDEX {_MOVED}_remarks ON {_MOVED} (remark) WHERE remark IS NOT NULL;
"""


class Upgrade(msgspec.Struct, frozen=True):
    """That this process is of the next version, and before which statement it dies, counting from 1; None: it lives."""

    die_before: int | None = None

    def install(self) -> None:
        """For the rest of this process."""
        migrate.migrations = next_migrations
        if self.die_before is not None:
            _die_before(self.die_before)


def _die_before(number: int) -> None:
    statements = itertools.count(1)

    def announced(_: str) -> None:
        if next(statements) == number:
            os.kill(os.getpid(), signal.SIGKILL)

    def traced(*place: Any, **settings: Any) -> sqlite3.Connection:
        connection = connect(*place, **settings)
        connection.set_trace_callback(announced)
        return connection

    connect = sqlite3.connect
    sqlite3.connect = traced
