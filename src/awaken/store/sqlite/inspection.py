"""How large a database file is, and what retention would remove from it, seen without owning it.

Above: `awaken db`, `awaken serve --check`. Below: a read-only connection, which a serving process does not notice.
Holds: nothing is written and no lock is taken. Sizes by part are there where this build of SQLite can tell them.
"""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import msgspec

from awaken.domain.clock import Instant
from awaken.domain.errors import DataIntegrity, StoreUnavailable
from awaken.store.inspection import Part
from awaken.store.invariants import FIRST_PLACE, AuditPlace, AuditSlice
from awaken.store.sqlite.faults import translated
from awaken.store.sqlite.lock import check_free
from awaken.store.sqlite.migrate import check_schema, check_whole, migrations
from awaken.store.sqlite.opening import check_library, check_place, open_reader
from awaken.store.sqlite.queries import SQL
from awaken.store.sqlite.reading import reading

_PARTS: Final = ("threads", "messages", "runs", "dispatches", "events", "journal", "tickets", "thread_entries")


class Inspection(msgspec.Struct, frozen=True):
    """What was found in a file. `old_runs` and `old_events` are what a retention would remove now."""

    path: str
    file_bytes: int
    log_bytes: int
    free_bytes: int
    parts: tuple[Part, ...]
    old_runs: int
    old_events: int
    dead_letters: int
    """Runs that were given up; retention leaves them alone."""


def inspect(path: Path, now: Instant, *, run_retention_ms: int, event_retention_ms: int) -> Inspection:
    """Look at a database file, served or not.

    Raises:
        StoreUnavailable, DataIntegrity: It is not there, cannot be read, or is not a database of this version.
    """
    check_file(path)
    db = open_reader(path)
    try:
        if check_schema(db, path) == 0:
            raise DataIntegrity(f"database {path} is empty: no server has opened it yet")
        sizes = _sizes(db)
        values: dict[str, Any] = {"runs_before": now - run_retention_ms, "events_before": now - event_retention_ms}
        [page_bytes] = db.execute("PRAGMA page_size").fetchone()
        [free_pages] = db.execute("PRAGMA freelist_count").fetchone()
        old_runs, old_events, dead_letters = db.execute(SQL["old"], values).fetchone()
        return Inspection(
            path=str(path),
            file_bytes=path.stat().st_size,
            log_bytes=_size(Path(f"{path}-wal")),
            free_bytes=free_pages * page_bytes,
            parts=tuple([Part(name, _count(db, name), sizes.get(name)) for name in _PARTS]),
            old_runs=old_runs,
            old_events=old_events,
            dead_letters=dead_letters,
        )
    except sqlite3.Error as error:
        raise translated(error, path) from error
    finally:
        db.close()


def audit(path: Path, now: Instant) -> Iterator[AuditSlice]:
    """What breaks an invariant in a database file, served or not, slice by slice.

    Raises:
        StoreUnavailable, DataIntegrity: As `inspect`; or the file lacks an index that forbids breaches.
    """
    check_file(path)
    db = open_reader(path)
    try:
        if check_schema(db, path) == 0:
            raise DataIntegrity(f"database {path} is empty: no server has opened it yet")
        check_whole(db, path)
        place: AuditPlace | None = FIRST_PLACE
        while place is not None:
            with reading(db) as state:
                part = state.find_breaches(place, now)
            yield part
            place = part.next
    except sqlite3.Error as error:
        raise translated(error, path) from error
    finally:
        db.close()


def check_openable(path: Path, *, may_be_served: bool = False) -> None:
    """Refuse what opening would refuse, as far as that can be seen without owning the file. Nothing is made or written.
    `may_be_served`: it is to be opened when whoever has it now has gone.

    Raises:
        StoreUnavailable, DataIntegrity: The file cannot be served; the message says why and what to do.
    """
    check_library()
    check_place(path)
    if not may_be_served:
        check_free(path)
    if not path.exists():
        return
    db = open_reader(path)
    try:
        if check_schema(db, path) == len(migrations()):
            check_whole(db, path)
    except sqlite3.Error as error:
        raise translated(error, path) from error
    finally:
        db.close()


def check_file(path: Path) -> None:
    """Raises StoreUnavailable when there is no file that could be a database."""
    try:
        if path.is_dir():
            raise StoreUnavailable(f"database {path} is a folder. Name the file in it")
        if not path.is_file():
            raise StoreUnavailable(f"database {path}: there is no such file")
    except OSError as error:  # a name too long, a folder that may not be entered
        raise StoreUnavailable(f"database {path} cannot be looked at: {error.strerror}") from error


def _count(db: sqlite3.Connection, part: str) -> int:
    [count] = db.execute(SQL[f"count_{part}"]).fetchone()
    return count


def _sizes(db: sqlite3.Connection) -> dict[str, int]:
    """Bytes by table, its indexes included. Empty where SQLite was built without this table of its own."""
    try:
        return dict(db.execute(SQL["sizes"]).fetchall())
    except sqlite3.OperationalError:
        return {}


def _size(path: Path) -> int:
    return os.path.getsize(path) if path.exists() else 0
