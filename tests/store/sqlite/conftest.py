"""A store on a file of its own, and a hand that reaches into that file from outside."""

from __future__ import annotations

import sqlite3
from collections.abc import AsyncIterator, Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from awaken.store.sqlite import SqliteStore
from awaken.testing.clock import ManualClock

Hand = Callable[..., list[tuple[Any, ...]]]
"""Runs one statement on the file, over a connection of its own, and returns the rows."""


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "awaken.db"


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
async def store(path: Path, clock: ManualClock) -> AsyncIterator[SqliteStore]:
    async with SqliteStore(path, clock=clock) as opened:
        yield opened


@pytest.fixture
def by_hand(path: Path) -> Hand:
    def run(statement: str, *values: object) -> list[tuple[Any, ...]]:
        with closing(sqlite3.connect(path, isolation_level=None)) as db:
            return db.execute(statement, values).fetchall()

    return run


@pytest.fixture
def writer_connections(monkeypatch: pytest.MonkeyPatch) -> list[sqlite3.Connection]:
    """Filled with the writing connection of every store opened afterwards."""
    found: list[sqlite3.Connection] = []
    connect = sqlite3.connect

    def remembering(database: str, **settings: Any) -> sqlite3.Connection:
        connection = connect(database, **settings)
        if database.endswith("mode=rwc"):
            found.append(connection)
        return connection

    monkeypatch.setattr(sqlite3, "connect", remembering)
    return found
