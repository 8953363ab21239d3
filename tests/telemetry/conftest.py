"""What is counted is counted the same way over every store."""

from __future__ import annotations

from pathlib import Path

import pytest

from awaken.store.contract import Store
from awaken.store.memory import MemoryStore
from awaken.store.sqlite import SqliteStore
from awaken.testing.clock import ManualClock
from tests.sqlite import new_file


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture(params=("memory", "sqlite"))
def store(request: pytest.FixtureRequest, tmp_path: Path, clock: ManualClock) -> Store:
    """An empty store, not entered yet."""
    if request.param == "memory":
        return MemoryStore(clock)
    return SqliteStore(new_file(tmp_path / "awaken.db"), clock=clock, durability="process")
