"""Every test of the mailbox runs on each store of this package."""

from __future__ import annotations

from pathlib import Path

import pytest

from awaken.store.contract import Store
from awaken.store.memory import MemoryStore
from awaken.store.sqlite import SqliteStore
from awaken.testing.clock import ManualClock
from awaken.testing.mailboxes import WatchedStore
from tests.sqlite import new_file


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture(params=("memory", "sqlite"))
def store(request: pytest.FixtureRequest, tmp_path: Path, clock: ManualClock) -> WatchedStore:
    """A store that is empty and not entered yet."""
    found: Store
    match request.param:
        case "memory":
            found = MemoryStore(clock)
        case "sqlite":
            found = SqliteStore(new_file(tmp_path / "awaken.db"), clock=clock)
        case other:
            raise AssertionError(f"no store is called {other}")
    return WatchedStore(found)
