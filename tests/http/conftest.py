"""Every store a site can be served from, and a site on each."""

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


@pytest.fixture(params=["memory", "sqlite"])
def store(request: pytest.FixtureRequest, tmp_path: Path, clock: ManualClock) -> Store:
    """An empty store, not yet entered: the test runs once on each kind."""
    if request.param == "memory":
        return MemoryStore(clock)
    return SqliteStore(new_file(tmp_path / "test.db"), clock=clock, durability="process")


@pytest.fixture
def memory(clock: ManualClock) -> Store:
    """For what does not depend on the store."""
    return MemoryStore(clock)
