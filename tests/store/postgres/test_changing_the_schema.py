"""Changes of the schema in two halves: expanded by a start, contracted when somebody says so.

The pair of changes is made up: there is one schema so far.
"""

from __future__ import annotations

import asyncio
from typing import Any, Final

import pytest

from awaken.domain.errors import StoreUnavailable
from awaken.store.postgres.contracting import contract, contractions
from awaken.store.postgres.opening import Place, check_schema, connect, migrate, migrations, place_of

EXPAND: Final = "ALTER TABLE threads ADD COLUMN other_name text"
CONTRACT: Final = "ALTER TABLE threads DROP COLUMN other_name"


@pytest.fixture
def place(postgres_url: str) -> Place:
    return place_of(postgres_url)


def expanded() -> list[tuple[int, str]]:
    """The scripts of the next version."""
    known = migrations()
    return [*known, (len(known) + 1, EXPAND)]


async def columns(connection: Any) -> list[str]:
    rows = await connection.fetch(
        "SELECT column_name FROM information_schema.columns WHERE table_name = 'threads' AND table_schema = $1",
        await connection.fetchval("SELECT current_schema()"),
    )
    return [row[0] for row in rows]


async def test_a_version_works_on_a_schema_that_a_newer_one_has_expanded_and_is_refused_once_it_is_contracted(
    place: Place,
) -> None:
    connection = await connect(place)
    await migrate(connection, place)
    await migrate(connection, place, expanded())  # a process of the next version starts
    newer = len(expanded())
    assert "other_name" in await columns(connection)

    await migrate(connection, place)  # one of this version starts beside it, and changes nothing
    assert await check_schema(connection, place) == newer
    assert "other_name" in await columns(connection)

    assert await contract(connection, place, [(newer, CONTRACT)]) == newer
    assert "other_name" not in await columns(connection)
    assert await contract(connection, place, [(newer, CONTRACT)]) == newer  # again it does nothing
    await migrate(connection, place, expanded())  # the next version starts as before
    for start in (migrate(connection, place), check_schema(connection, place)):
        with pytest.raises(StoreUnavailable, match="Upgrade awaken"):
            await start
    await connection.close()


async def test_what_was_not_expanded_is_not_contracted(place: Place) -> None:
    connection = await connect(place)
    await migrate(connection, place)

    assert await contract(connection, place, [(len(migrations()) + 1, "DROP TABLE threads")]) == 1

    assert await columns(connection)
    await connection.close()


async def test_processes_that_start_together_expand_once(place: Place) -> None:
    connections = await asyncio.gather(*[connect(place) for _ in range(4)])

    await asyncio.gather(*[migrate(each, place, expanded()) for each in connections])

    assert await check_schema(connections[0], place) == len(expanded())
    for each in connections:
        await each.close()


def test_a_contraction_belongs_to_a_schema_that_there_is() -> None:
    assert [number for number, _ in contractions() if not 1 < number <= len(migrations())] == []
