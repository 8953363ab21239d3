"""Migrations: a fresh schema is the migrated one, and a file is always at a whole version."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from awaken.store.sqlite import migrate as module
from awaken.store.sqlite.migrate import check_schema, migrate, migrations

SECOND = "CREATE TABLE later (x INTEGER) STRICT;"


@pytest.fixture
def db() -> Iterator[sqlite3.Connection]:
    with closing(sqlite3.connect(":memory:", isolation_level=None)) as connection:
        yield connection


def schema_of(db: sqlite3.Connection) -> list[tuple[str, str, str]]:
    return db.execute("SELECT type, name, sql FROM sqlite_schema ORDER BY type, name").fetchall()


def test_a_fresh_schema_is_the_one_reached_step_by_step(db: sqlite3.Connection) -> None:
    migrate(db, 0)
    with closing(sqlite3.connect(":memory:", isolation_level=None)) as other:
        for number, _ in migrations():
            migrate(other, number - 1, target=number)
            assert check_schema(other, Path("other")) == number
        assert schema_of(other) == schema_of(db)


def test_a_file_of_the_version_before_gets_only_what_is_missing(
    db: sqlite3.Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    present = migrations()
    migrate(db, 0)
    monkeypatch.setattr(module, "migrations", lambda: [*present, (len(present) + 1, SECOND)])
    migrate(db, check_schema(db, Path("file")))
    assert check_schema(db, Path("file")) == len(present) + 1
    assert ("table", "later") in {(kind, name) for kind, name, _ in schema_of(db)}


def test_a_migration_that_fails_leaves_the_version_before(
    db: sqlite3.Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    present = migrations()
    migrate(db, 0)
    before = schema_of(db)
    broken = f"{SECOND}\nCREATE TABLE threads (taken INTEGER);"
    monkeypatch.setattr(module, "migrations", lambda: [*present, (len(present) + 1, broken)])
    with pytest.raises(sqlite3.OperationalError, match="already exists"):
        migrate(db, len(present))
    assert not db.in_transaction
    assert (check_schema(db, Path("file")), schema_of(db)) == (len(present), before)
