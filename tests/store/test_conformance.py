"""Every conformance case, on every store of this package."""

from __future__ import annotations

from pathlib import Path

import pytest

from awaken.store.memory import MemoryStore
from awaken.store.postgres import PostgresStore
from awaken.store.sqlite import SqliteStore
from awaken.testing.plugin import Case, StoreMaker, conformance, run_case
from tests.sqlite import new_file

STORES = ("memory", "sqlite", "postgres")


@pytest.fixture(params=STORES)
def make_store(request: pytest.FixtureRequest, tmp_path: Path) -> StoreMaker:
    match request.param:
        case "memory":
            return MemoryStore
        case "sqlite":
            return lambda clock: SqliteStore(new_file(tmp_path / "awaken.db"), clock=clock)
        case "postgres":
            url: str = request.getfixturevalue("emptied_postgres_url")
            return lambda clock: PostgresStore(url, clock=clock)
        case other:
            raise AssertionError(f"no store is called {other}")


@conformance
async def test_the_store_does_what_every_store_does(case: Case, make_store: StoreMaker) -> None:
    await run_case(case, make_store)
