"""Opens the database file: checks before anything is written, then settings, then the schema.

Above: `writer`, `readers` and `checkpoint` get their connections here. Below: `migrate`.
Holds: what cannot be served is refused with the file's name and the remedy, and left as it was.
"""

from __future__ import annotations

import os
import sqlite3
import sys
from collections.abc import Generator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Final, Literal, get_args

from awaken.domain.checking import shown
from awaken.domain.errors import StoreUnavailable, ValidationError
from awaken.store.sqlite.faults import translated
from awaken.store.sqlite.migrate import check_schema, check_whole, migrate

OLDEST_SQLITE: Final = (3, 40, 0)
"""The oldest library the tests run with."""

Durability = Literal["full", "process"]
DURABILITIES: Final = get_args(Durability)
_SYNCHRONOUS: Final[dict[Durability, str]] = {"full": "FULL", "process": "NORMAL"}

PAGE_BYTES: Final = 2_048
"""A transition dirties two pages of its thread's own, so half the page is half of what is written (ADR 0027)."""
WRITER_CACHE_KIB: Final = 32_768
READER_CACHE_KIB: Final = 8_192
BUSY_TIMEOUT_MS: Final = 5_000
"""Readers and the one writer never wait for each other; this is for a program that looks into the file from outside."""
_STATEMENT_CACHE: Final = 256
_AS_EFFECTIVE_USER: Final = os.access in os.supports_effective_ids


def check_library(version: tuple[int, ...] = sqlite3.sqlite_version_info) -> None:
    """Raises StoreUnavailable when this Python is linked with an SQLite that the store was never tested with."""
    if version < OLDEST_SQLITE:
        have, need = ".".join(map(str, version)), ".".join(map(str, OLDEST_SQLITE))
        raise StoreUnavailable(
            f"this Python uses SQLite {have}, and awaken needs {need} or newer. Use a newer Python build"
        )


def absolute(path: object) -> Path:
    """The place of a database, which a later change of the working directory does not move.

    Raises:
        ValidationError: It is no path, or none that a file can have.
    """
    if not isinstance(path, str | Path) or not str(path) or not str(path).isprintable():
        raise ValidationError(
            f"{shown(path)} is not the path of a database file; a path is a text without control characters"
        )
    if str(path) == ":memory:":
        raise ValidationError("an SQLite store is a file; for one in memory use memory://")
    return Path(path).absolute()


def check_place(path: Path) -> None:
    """What SQLite reports late, or not clearly.

    Raises:
        StoreUnavailable: There is no place for a database that this user may write.
    """
    if not path.parent.is_dir():
        raise StoreUnavailable(f"database {path}: the folder {path.parent} does not exist. Create it first")
    if path.is_dir():
        raise StoreUnavailable(f"database {path} is a folder. Choose a file name in it")
    # Only asked, not opened: closing a handle of our own would drop the locks of an SQLite in this process (`lock`).
    for place in (path.parent, path):
        if place.exists() and not os.access(place, os.R_OK | os.W_OK, effective_ids=_AS_EFFECTIVE_USER):
            raise StoreUnavailable(
                f"database {path}: {place} is read-only. Make the file and its folder writable for this user"
            )


def open_writer(path: Path, durability: Durability) -> sqlite3.Connection:
    """The one connection that writes, with the schema brought up to date.

    Its log is copied into the file by SQLite itself, in the middle of a commit, until a `Checkpointer` takes that over.

    Raises:
        StoreUnavailable, DataIntegrity: The file cannot be served; the message says why and what to do.
    """
    with _opened(path, "rwc") as connection:
        version = check_schema(connection, path)
        connection.execute(f"PRAGMA page_size = {PAGE_BYTES}")
        _use_wal(connection, path)
        _make_durable(connection, durability)
        connection.execute(f"PRAGMA cache_size = -{WRITER_CACHE_KIB}")
        migrate(connection, version)
        check_whole(connection, path)
    return connection


def open_reader(path: Path) -> sqlite3.Connection:
    """A connection that sees every commit made before a statement starts, and cannot write."""
    with _opened(path, "ro") as connection:
        connection.execute("PRAGMA query_only = 1")
        connection.execute(f"PRAGMA cache_size = -{READER_CACHE_KIB}")
    return connection


def open_checkpointer(path: Path, durability: Durability) -> sqlite3.Connection:
    """A connection that copies the write-ahead log into the database file, and neither reads rows nor writes any."""
    with _opened(path, "rw") as connection:
        _make_durable(connection, durability)
        # SQLite finds out that there is a log when it first reads; a checkpoint before that would do nothing.
        connection.execute("PRAGMA schema_version").fetchone()
    return connection


def _make_durable(connection: sqlite3.Connection, durability: Durability) -> None:
    """How far a commit goes before it has happened. A checkpoint reaches the disk with either."""
    connection.execute(f"PRAGMA synchronous = {_SYNCHRONOUS[durability]}")
    if sys.platform == "darwin" and durability == "full":
        connection.execute("PRAGMA fullfsync = 1")  # a plain fsync leaves the data in the drive's cache there


@contextmanager
def _opened(path: Path, mode: str) -> Generator[sqlite3.Connection]:
    """A new connection. Where something fails before it is handed out it is closed, and an error of SQLite's is
    translated.
    """
    with ExitStack() as failed:
        try:
            connection = sqlite3.connect(
                f"{path.absolute().as_uri()}?mode={mode}",
                uri=True,
                isolation_level=None,
                check_same_thread=False,
                cached_statements=_STATEMENT_CACHE,
            )
            failed.callback(connection.close)
            connection.execute(f"PRAGMA busy_timeout = {BUSY_TIMEOUT_MS}")
            yield connection
        except sqlite3.Error as error:
            raise translated(error, path) from error
        failed.pop_all()


def _use_wal(connection: sqlite3.Connection, path: Path) -> None:
    [mode] = connection.execute("PRAGMA journal_mode = WAL").fetchone()
    if mode != "wal":
        raise StoreUnavailable(
            f"database {path}: SQLite cannot keep a write-ahead log there (journal mode {mode!r}). Use a local disk,"
            " not a network share"
        )
