"""The schema: numbered scripts, each applied once and in one transaction.

Above: `opening` brings a file to the present schema before it is used. Below: `migrations/NNNN_what.sql`.
Holds: a file is at a whole version, whatever happens meanwhile; one of a newer version, or of another program, is
refused untouched.
"""

from __future__ import annotations

import sqlite3
from contextlib import closing
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Final

from awaken.domain.errors import DataIntegrity, StoreUnavailable
from awaken.store.sqlite.moved import APPLICATION_ID, check_not_moved

_NAMED_PARTS: Final = 5


def migrations() -> list[tuple[int, str]]:
    """Every migration's number and script, in order, numbered from 1 without a gap."""
    folder = files("awaken.store.sqlite").joinpath("migrations")
    found = sorted((entry.name, entry) for entry in folder.iterdir() if entry.name.endswith(".sql"))
    numbered = [(int(name[:4]), entry.read_text(encoding="utf-8")) for name, entry in found]
    assert [number for number, _ in numbered] == list(range(1, len(numbered) + 1)), "migrations are numbered 1, 2, 3 …"
    return numbered


def check_schema(connection: sqlite3.Connection, path: Path) -> int:
    """The schema version of the file; 0 for an empty one. Reads only.

    Raises:
        DataIntegrity: Another program made it.
        StoreUnavailable: A newer version of this package made it, or its data has moved elsewhere.
    """
    check_not_moved(connection, path)
    [application_id] = connection.execute("PRAGMA application_id").fetchone()
    [version] = connection.execute("PRAGMA user_version").fetchone()
    [objects] = connection.execute("SELECT count(*) FROM sqlite_schema").fetchone()
    if application_id != APPLICATION_ID and (application_id or version or objects):
        raise DataIntegrity(f"database {path} belongs to another program. Choose another path")
    known = len(migrations())
    if version > known:
        raise StoreUnavailable(
            f"database {path} has schema {version}, and this version of awaken knows schemas up to {known}."
            " Upgrade awaken, or restore the backup made before the upgrade"
        )
    return version


def check_whole(connection: sqlite3.Connection, path: Path) -> None:
    """Hold the file to the schema that it says it has. What it has besides hurts nobody.

    Raises:
        DataIntegrity: A table, a column or an index is missing.
    """
    gone = _parts_made_by(tuple(migrations())) - _parts(connection)
    # Of a table that is gone, its columns say nothing more.
    lost = sorted([part for part in gone if f"table {part.partition(' ')[2].partition('.')[0]}" not in gone - {part}])
    if lost:
        more = f" and {len(lost) - _NAMED_PARTS} more" if len(lost) > _NAMED_PARTS else ""
        named = ", ".join(lost[:_NAMED_PARTS]) + more
        raise DataIntegrity(f"database {path} is not whole: it lacks {named}. Restore a backup, or choose another path")


@cache
def _parts_made_by(scripts: tuple[tuple[int, str], ...]) -> frozenset[str]:
    with closing(sqlite3.connect(":memory:", isolation_level=None)) as fresh:
        for _, script in scripts:
            fresh.executescript(script)
        return _parts(fresh)


def _parts(connection: sqlite3.Connection) -> frozenset[str]:
    named = connection.execute("SELECT type, name FROM sqlite_schema WHERE name NOT LIKE 'sqlite_%'").fetchall()
    columns = connection.execute(
        "SELECT m.name, p.name FROM sqlite_schema m JOIN pragma_table_info(m.name) p WHERE m.type = 'table'"
    ).fetchall()
    return frozenset([f"{kind} {name}" for kind, name in named] + [f"column {table}.{name}" for table, name in columns])


def migrate(connection: sqlite3.Connection, version: int, *, target: int | None = None) -> None:
    """Apply what is missing from `version` to `target` (None: the newest)."""
    for number, script in migrations()[version:target]:
        try:
            connection.executescript(
                f"BEGIN EXCLUSIVE;\n{script}\n"
                f"PRAGMA application_id = {APPLICATION_ID};\nPRAGMA user_version = {number};\nCOMMIT;"
            )
        except sqlite3.Error:
            if connection.in_transaction:
                connection.execute("ROLLBACK")
            raise
