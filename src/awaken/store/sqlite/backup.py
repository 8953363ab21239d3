"""A copy of a database file as it was at one moment, made while the file is served or not.

Above: `awaken db backup`. Below: SQLite's own copying of pages, from a read-only connection.
Holds: the copy is one state of the file, however long copying takes and whatever is committed meanwhile. Under its name
it appears whole, checked and on the disk, or not at all; what has that name already is left alone. Nothing is written
to the file and no lock of its server is touched.

How it works. A read transaction is begun before the first page is copied and ended after the last one, so that SQLite
hands out that one state and never has to begin again. Meanwhile the write-ahead log of a served file cannot begin anew
(ADR 0024): it grows by what is committed. The copy is made under another name beside its place, turned into a single
file without a log, read through once, flushed, and then given its name.
"""

from __future__ import annotations

import os
import shutil
import sqlite3
import tempfile
from collections.abc import Callable
from contextlib import closing, suppress
from pathlib import Path
from typing import Final

import msgspec

from awaken.domain.errors import AlreadyExists, DataIntegrity, StoreUnavailable
from awaken.store.sqlite.faults import translated
from awaken.store.sqlite.inspection import check_file
from awaken.store.sqlite.migrate import check_schema
from awaken.store.sqlite.opening import open_reader
from awaken.store.sqlite.queries import SQL

_PAGES_AT_ONCE: Final = 1_024
"""2 MiB: progress is told this often, and an interrupt is heard."""
_COMPANIONS: Final = ("", "-wal", "-shm", "-journal")

Progress = Callable[[int, int], None]
"""Called with how many pages are copied, and how many there are."""


class Backup(msgspec.Struct, frozen=True):
    """What was copied: the file, the copy, its size, and how many runs and threads are in it."""

    path: str
    target: str
    bytes: int
    threads: int
    runs: int


def back_up(path: Path, target: Path, progress: Progress, *, pages_at_once: int = _PAGES_AT_ONCE) -> Backup:
    """Copy a database file, served or not, to a file that does not exist yet.

    Raises:
        AlreadyExists: There is a file of that name, or one that SQLite would take for its log.
        StoreUnavailable: The file or the place of the copy cannot be read or written.
        DataIntegrity: It is not a database of this version, or what was copied is damaged.
    """
    check_file(path)
    target = target.absolute()
    _check_free(target)
    if not target.parent.is_dir():
        raise StoreUnavailable(f"backup {target}: the folder {target.parent} does not exist. Create it first")
    try:
        handle, name = tempfile.mkstemp(prefix=f"{target.name}.", suffix=".part", dir=target.parent)
    except OSError as error:
        raise StoreUnavailable(f"backup {target} cannot be written: {error.strerror}") from error
    os.close(handle)
    part = Path(name)
    try:
        threads, runs = _copy(path, part, target, progress, pages_at_once)
        shutil.copymode(path, part)
        _flush(part)
        size = part.stat().st_size
        _name(part, target)
        _flush(target.parent)
    except OSError as error:
        raise StoreUnavailable(f"backup {target} cannot be written: {error.strerror}") from error
    finally:
        with suppress(OSError):
            part.unlink(missing_ok=True)
    return Backup(str(path), str(target), size, threads, runs)


def _copy(path: Path, part: Path, target: Path, progress: Progress, pages_at_once: int) -> tuple[int, int]:
    with closing(open_reader(path)) as source:
        try:
            if check_schema(source, path) == 0:
                raise DataIntegrity(f"database {path} is empty: no server has opened it yet")
            source.execute("BEGIN")
            source.execute("PRAGMA schema_version").fetchone()  # from here on it is one state
        except sqlite3.Error as error:
            raise translated(error, path) from error
        try:
            with closing(sqlite3.connect(part, isolation_level=None)) as copy:
                copy.execute("PRAGMA synchronous = OFF")  # it is flushed once, when it is whole
                source.backup(
                    copy, pages=pages_at_once, progress=lambda _, left, pages: progress(pages - left, pages), sleep=0
                )
                copy.execute("PRAGMA journal_mode = DELETE").fetchone()
                return _checked(copy, path)
        except sqlite3.Error as error:
            raise translated(error, target) from error


def _checked(copy: sqlite3.Connection, path: Path) -> tuple[int, int]:
    """How many threads and runs the copy holds."""
    [found] = copy.execute("PRAGMA quick_check(1)").fetchone()
    if found != "ok":
        raise DataIntegrity(f"database {path} is damaged, and so would be its backup: {found}")
    [threads] = copy.execute(SQL["count_threads"]).fetchone()
    [runs] = copy.execute(SQL["count_runs"]).fetchone()
    return threads, runs


def _check_free(target: Path) -> None:
    for suffix in _COMPANIONS:
        taken = Path(f"{target}{suffix}")
        if os.path.lexists(taken):
            raise AlreadyExists("backup", str(taken))


def _name(part: Path, target: Path) -> None:
    """Give the copy its name, unless somebody else has taken it meanwhile."""
    try:
        os.link(part, target)
    except FileExistsError as error:
        raise AlreadyExists("backup", str(target)) from error
    except OSError:  # a file system without hard links
        _check_free(target)
        part.rename(target)


def _flush(path: Path) -> None:
    if os.name == "nt" and path.is_dir():
        return  # a folder cannot be flushed there
    handle = os.open(path, os.O_RDONLY if path.is_dir() else os.O_RDWR)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
