"""A store on a schema of its own, and a hand that reaches into that schema from outside."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest

from awaken.store.postgres import PostgresStore
from awaken.store.postgres.driver import connect
from awaken.store.postgres.opening import place_of
from awaken.testing.clock import ManualClock


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
async def store(postgres_url: str, clock: ManualClock) -> AsyncIterator[PostgresStore]:
    async with PostgresStore(postgres_url, clock=clock) as opened:
        yield opened


@pytest.fixture
async def hand(store: PostgresStore) -> AsyncIterator[Any]:
    """A connection of its own to what the store is on."""
    place = store.place
    connection = await connect(place_of(place.dsn).dsn, server_settings={"search_path": place.schema})
    yield connection
    await connection.close()
