"""What a user must be allowed to, and what is said of what is missing, before anything is made."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from urllib.parse import urlsplit, urlunsplit
from uuid import uuid4

import pytest

from awaken import Awaken
from awaken.domain.errors import StoreRefused
from awaken.mailbox.settings import MailboxSettings
from awaken.store.postgres import PostgresStore, driver
from awaken.store.postgres.arriving import Arriving
from awaken.store.postgres.inspection import check_openable, inspect
from awaken.store.postgres.opening import connect, disconnect, migrations, place_of
from awaken.store.postgres.permitting import WRITES, standing
from awaken.testing.conformance.steps import claimed, settled
from tests.postgres import url_of_schema

Owner = Callable[[str], Awaitable[object]]


@pytest.fixture
async def owner(postgres_database: str) -> AsyncIterator[Owner]:
    """Runs a statement in a database of its own, as whoever owns that."""
    connection = await driver.connect(postgres_database)
    yield connection.execute
    await connection.close()


@pytest.fixture
async def role(owner: Owner, postgres_database: str) -> AsyncIterator[str]:
    """A user who may connect, and nothing else."""
    name = f"role_{uuid4().hex[:12]}"
    await owner(f"CREATE ROLE {name} LOGIN")
    yield name
    await owner(f"DROP OWNED BY {name} CASCADE")
    await owner(f"DROP ROLE {name}")


def url_as(role: str, database: str, schema: str = "awaken") -> str:
    parts = urlsplit(database)
    server = parts.netloc.rpartition("@")[2]
    return url_of_schema(urlunsplit(parts._replace(netloc=f"{role}@{server}")), schema)


async def refusals(url: str) -> set[str]:
    """What a start, a look before it, and a look before a move say."""

    async def start() -> None:
        async with PostgresStore(url):
            pass

    async def would_move() -> None:
        async with Arriving(url, looks_only=True):
            pass

    said: set[str] = set()
    for ask in (start, lambda: check_openable(place_of(url)), would_move):
        with pytest.raises(StoreRefused) as caught:
            await ask()
        said.add(str(caught.value))
    return said


async def test_who_may_not_make_the_schema_is_told_the_statement_that_helps(
    owner: Owner, role: str, postgres_database: str
) -> None:
    url = url_as(role, postgres_database)
    database = urlsplit(postgres_database).path[1:]

    [said] = await refusals(url)
    assert f"GRANT CREATE ON DATABASE {database} TO {role}" in said

    await owner(f"GRANT CREATE ON DATABASE {database} TO {role}")
    await check_openable(place_of(url))
    async with PostgresStore(url) as store:
        assert store.was_made
    async with PostgresStore(url) as store:
        assert not store.was_made


async def test_a_schema_that_is_there_must_take_tables(owner: Owner, role: str, postgres_database: str) -> None:
    url = url_as(role, postgres_database)
    await owner("CREATE SCHEMA awaken")

    [said] = await refusals(url)
    assert f"GRANT USAGE, CREATE ON SCHEMA awaken TO {role}" in said

    await owner(f"GRANT USAGE, CREATE ON SCHEMA awaken TO {role}")  # and no right to make schemas
    async with PostgresStore(url) as store:
        assert store.was_made


async def test_the_tables_of_another_program_are_named(owner: Owner, postgres_database: str) -> None:
    url = url_of_schema(postgres_database, "public")
    await owner("CREATE TABLE public.customers (id text)")
    await check_openable(place_of(url))
    await owner("CREATE TABLE public.threads (id text); CREATE TABLE public.schema_version (installed_rank text)")

    [said] = await refusals(url)
    assert "has schema_version, threads of another program" in said and "?schema=" in said


async def test_a_user_who_serves_need_not_own_what_it_serves(owner: Owner, role: str, postgres_database: str) -> None:
    url = url_as(role, postgres_database)
    async with PostgresStore(url_of_schema(postgres_database, "awaken")):
        pass

    [said] = await refusals(url)
    assert f"user {role} may not use" in said
    for grant in said.split(" can let it: ")[1].split("; "):
        await owner(grant)

    await check_openable(place_of(url))
    async with PostgresStore(url) as store:
        await settled(store, await claimed(store, "d1"))
    await inspect(url, run_retention_ms=0, event_retention_ms=0)
    with pytest.raises(StoreRefused, match=f"user {role} is not"):
        async with Arriving(url, looks_only=True):
            pass


async def test_only_the_owner_brings_an_older_store_to_this_version(
    owner: Owner, role: str, postgres_database: str
) -> None:
    async with PostgresStore(url_of_schema(postgres_database, "awaken")):
        pass
    await owner("UPDATE awaken.schema_version SET version = 0")
    await owner(f"GRANT USAGE, CREATE ON SCHEMA awaken TO {role}; GRANT ALL ON ALL TABLES IN SCHEMA awaken TO {role}")

    [said] = await refusals(url_as(role, postgres_database))
    assert "Begin `awaken migrate` as postgres first" in said


async def test_everything_that_a_store_makes_is_looked_for(postgres_url: str) -> None:
    """So that nothing of another program's can be in its way unseen."""
    async with PostgresStore(postgres_url) as store:
        connection = await connect(store.place)
        try:
            found = await standing(connection, store.place.schema, migrations(), WRITES)
            made = await connection.fetch(
                "SELECT relname::text FROM pg_class WHERE relnamespace = to_regnamespace($1)"
                " AND relname !~ '_(pkey|seq)$' AND relkind IN ('r', 'S', 'i', 'v')",
                store.place.schema,
            )
        finally:
            await disconnect(connection)
    assert sorted(found.found) == sorted([name for (name,) in made])


async def test_a_store_that_cannot_be_served_is_not_waited_for(postgres_url: str) -> None:
    """A start that waits for a database does not wait for a grant."""
    app = Awaken(f"{postgres_url}&of_no_server=1", settings=MailboxSettings(startup_retry_s=600.0))
    with pytest.raises(StoreRefused, match="Check what follows its"):
        async with asyncio.timeout(20), app:
            pass
