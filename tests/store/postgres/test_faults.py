"""What is said where the database does not do as it is asked, and whether the same may be asked again."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator
from typing import Any

import pytest

from awaken import Awaken
from awaken.domain.errors import StoreError, StoreRefused, StoreUnavailable, StoreUnreachable, ValidationError
from awaken.mailbox.settings import MailboxSettings
from awaken.store.postgres import PostgresStore
from awaken.store.postgres.driver import errors
from awaken.store.postgres.faults import reason, translated
from awaken.store.postgres.opening import connect, disconnect, place_of
from awaken.wiring import file_at, migrate_store, move_data, open_store
from tests.cutting import Relay


def _of_server(kind: type[Exception], text: str) -> Exception:
    error = kind(text)
    error.__dict__.update(severity="ERROR", hint="set statement_cache_size to 0", detail="(id)=(7)")
    return error


@pytest.mark.parametrize(
    ("error", "becomes", "says"),
    [
        (errors.InternalClientError("cannot switch to state 15; another"), StoreUnreachable, "connection was lost"),
        (errors.InterfaceError("cannot perform operation: another"), StoreUnreachable, "connection was lost"),
        (errors.ConnectionDoesNotExistError("connection was closed in the"), StoreUnreachable, "connection was lost"),
        (ConnectionError("unexpected connection_lost() call"), StoreUnreachable, "connection was lost"),
        (TimeoutError(), StoreUnreachable, "no answer in time"),
        (ConnectionRefusedError(111, "Connect call failed"), StoreUnreachable, "Connect call failed"),
        (_of_server(errors.AdminShutdownError, "terminating connection"), StoreUnreachable, "(terminating connection)"),
        (_of_server(errors.CannotConnectNowError, "starting up"), StoreUnreachable, "(starting up)"),
        (_of_server(errors.TooManyConnectionsError, "too many"), StoreUnreachable, "no more connections"),
        (_of_server(errors.InvalidPasswordError, "no"), StoreRefused, "the password"),
        (_of_server(errors.InsufficientPrivilegeError, "no"), StoreRefused, "may not do that"),
        (_of_server(errors.DuplicatePreparedStatementError, "exists"), StoreRefused, "pool_mode = session"),
        (_of_server(errors.DiskFullError, "full"), StoreUnavailable, "its disk is full"),
        (_of_server(errors.UniqueViolationError, "twice"), StoreUnavailable, "refused (twice)"),
    ],
)
def test_the_driver_says_nothing_about_itself(error: Exception, becomes: type[StoreError], says: str) -> None:
    found = translated(error, "database d")
    assert type(found) is becomes and says in str(found)
    for words in (
        "state 15",
        "perform operation",
        "connection_lost",
        "closed in the",
        "statement_cache",
        "(id)=",
        "\n",
    ):
        assert words not in str(found) + reason(error)


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ("schema=a&schema=b", "'schema' is twice"),
        ("pool_size=1&durability=full&pool_size=1", "'pool_size' is twice"),
        ("application_name=a&application_name=b", "'application_name' is twice"),
        ("sslmode=banana", "sslmode is one of disable, allow, prefer, require, verify-ca, verify-full"),
        ("schema=information_schema", "schema is"),
        ("schema=pg_x", "schema is"),
    ],
)
def test_a_url_says_one_thing_that_can_be(options: str, says: str) -> None:
    with pytest.raises(ValidationError, match=says):
        place_of(f"postgresql://me@db/app?{options}")


async def test_a_url_of_sqlalchemy_is_told_what_to_leave_out() -> None:
    url = "postgresql+asyncpg://me:hunter2@db/app"
    with pytest.raises(ValidationError) as opened:
        open_store(url)
    with pytest.raises(ValidationError) as looked_at:
        file_at(url)
    with pytest.raises(ValidationError) as migrated:
        await migrate_store(url)
    with pytest.raises(ValidationError) as moved:
        await move_data("sqlite:///a.db", url, _ignored)
    for said in {str(each.value) for each in (opened, looked_at, migrated, moved)}:
        assert "leave out +asyncpg" in said and "hunter2" not in said and said.isascii()


def _ignored(what: str, done: int, total: int) -> None:
    pass


async def _serve_without_tls(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await reader.readexactly(8)
    writer.write(b"N")
    await reader.read()
    writer.close()


@pytest.fixture
async def without_tls() -> AsyncIterator[str]:
    async with await asyncio.start_server(_serve_without_tls, "127.0.0.1", 0) as server:
        yield f"postgresql://me@127.0.0.1:{server.sockets[0].getsockname()[1]}/app"


async def test_tls_that_cannot_be_had_is_not_a_server_that_is_away(without_tls: str) -> None:
    with pytest.raises(StoreUnavailable, match="did not agree to TLS, which sslmode=require") as asked:
        await connect(place_of(f"{without_tls}?sslmode=require"))
    with pytest.raises(StoreRefused, match=r"sslrootcert, '/none\.pem'") as named:
        await connect(place_of(f"{without_tls}?sslmode=verify-full&sslrootcert=/none.pem"))
    assert not isinstance(asked.value, StoreUnreachable) and "not reached" not in f"{asked.value} {named.value}"


async def test_a_server_that_is_not_as_the_url_asks_is_told_in_our_words(postgres_url: str) -> None:
    with pytest.raises(StoreUnreachable, match="target_session_attrs"):
        await connect(place_of(f"{postgres_url}&target_session_attrs=standby"))


@pytest.mark.parametrize("url", ["postgresql://me@127.0.0.1:abc/app", "postgresql://me@/app?port=abc"])
async def test_a_url_that_the_driver_does_not_understand_is_not_a_connection_that_was_lost(url: str) -> None:
    with pytest.raises(StoreRefused, match="is not understood; write postgresql://"):
        await connect(place_of(url))


async def test_a_connection_whose_end_cannot_be_told_is_cut(postgres_url: str) -> None:
    """As one is on which a statement is being answered when the server goes away."""
    connection = await connect(place_of(postgres_url))

    class InTheMiddle:
        def __getattr__(self, name: str) -> Any:
            return getattr(connection, name)

        async def close(self, *, timeout: float) -> None:
            raise errors.InternalClientError("cannot switch to state 15; another operation (2) is in progress")

    await disconnect(InTheMiddle())

    assert connection.is_closed()


class Lines(logging.Handler):
    """What the package and its driver write, and a way to wait for it."""

    def __init__(self) -> None:
        super().__init__()
        self.said: list[str] = []
        self._more = asyncio.Event()

    def emit(self, record: logging.LogRecord) -> None:
        if record.levelno >= logging.INFO:
            self.said.append(record.getMessage())
            self._more.set()

    async def wait_for(self, words: str) -> None:
        while not any(words in each for each in self.said):
            self._more.clear()
            await self._more.wait()


@pytest.fixture
async def lines() -> AsyncIterator[Lines]:
    handler = Lines()
    for name in ("awaken", "asyncpg"):
        logging.getLogger(name).addHandler(handler)
    yield handler
    for name in ("awaken", "asyncpg"):
        logging.getLogger(name).removeHandler(handler)


async def test_a_database_that_goes_away_and_comes_back_is_two_lines_of_the_log(
    postgres_url: str, lines: Lines
) -> None:
    """Whatever of the process needs it meanwhile, and however often."""
    settings = MailboxSettings(beat_interval_s=0.01, store_retry_s=0.01, audit_interval_s=0.01)
    async with asyncio.timeout(60), Relay(postgres_url) as relay, Awaken(relay.url, settings=settings) as app:
        lines.said.clear()
        relay.takes_connections = False
        relay.cut_all()
        await lines.wait_for("the database is away: ")
        for _ in range(3):
            with pytest.raises(StoreUnreachable):
                await app.run_summary()
            with pytest.raises(StoreUnreachable):
                await app.create_thread(thread_id="t")
        relay.takes_connections = True
        await lines.wait_for("the database is back after ")
        await app.create_thread(thread_id="t")

    assert len(lines.said) == 2, lines.said


async def test_a_listening_connection_that_is_made_again_at_once_is_not_worth_a_line(
    postgres_url: str, lines: Lines
) -> None:
    async with asyncio.timeout(60), Relay(postgres_url) as relay, PostgresStore(relay.url) as store:
        lines.said.clear()
        woken = asyncio.Event()
        store.listen(lambda _: woken.set())
        assert relay.cut_listeners() == 1
        await woken.wait()

    assert lines.said == []
