"""A run that is submitted in a transaction of the caller's shares its fate, and is delivered with the commit."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, aclosing, asynccontextmanager, suppress
from typing import Any, cast

import pytest

from awaken.domain.errors import AlreadyExists, RunNeverBegun, RunNotFound, Unavailable, Unsupported, ValidationError
from awaken.domain.given import messages_of
from awaken.domain.ids import DEFAULT_SCOPE, RunId, ThreadId
from awaken.domain.shown import Event, Run
from awaken.executors.function import Context
from awaken.mailbox.settings import MailboxSettings
from awaken.mailbox.submission import RunSubmission
from awaken.store.memory import MemoryStore
from awaken.store.postgres import PostgresStore
from awaken.store.postgres.driver import connect
from awaken.store.postgres.opening import place_of
from awaken.store.transitions import Delivered, Submit
from awaken.testing.behaviour import behaviour
from awaken.testing.mailboxes import GatedAgent, WatchedStore
from awaken.wiring import Awaken, PromisedRun, RunHandle

BOUND_S = 25
"""Less than the default `poll_interval_s`: what is delivered within it was heard of."""


async def echo(ctx: Context) -> str:
    return f"got {await ctx.input()}"


def app_on(url: str) -> Awaken:
    app = Awaken(url)
    app.agent("echo", echo)
    return app


@pytest.fixture
async def app(emptied_postgres_url: str) -> AsyncIterator[Awaken]:
    """Started, so the schema is there."""
    async with app_on(emptied_postgres_url) as started:
        yield started


@pytest.fixture
async def mine(emptied_postgres_url: str, app: Awaken) -> AsyncIterator[Any]:
    """The caller's connection, with a table of his: nothing in it says where the store is."""
    connection = await connect(place_of(emptied_postgres_url).dsn)
    await connection.execute("CREATE TEMPORARY TABLE orders (id text)")
    yield connection
    await connection.close()


async def submitted(
    app: Awaken, connection: object, thread_id: str = "t", text: str = "hello", **more: Any
) -> PromisedRun:
    handle = await app.submit(thread_id, text, connection=connection, **more)
    assert isinstance(handle, PromisedRun)
    return handle


async def ended(handle: RunHandle) -> Run:
    async with asyncio.timeout(BOUND_S):
        return await handle.result()


async def said(app: Awaken) -> list[str]:
    """What the user has said on the thread."""
    return [message.text async for message in app.messages("t", order="asc") if message.role == "user"]


async def kinds(app: Awaken) -> list[str]:
    rows = await app.store.list_events(DEFAULT_SCOPE, ThreadId("t"), after=0, limit=200)
    return [event.kind for row in rows for event in row.events]


async def all_delivered(app: Awaken) -> None:
    """Return when nothing is on its way: whoever delivers removes what he has delivered after the run is there."""
    while await app.store.list_outbox():
        pass


class WatchedJoining(WatchedStore):
    """A store on Postgres, made to fail or to wait on request."""

    def __init__(self, store: PostgresStore) -> None:
        super().__init__(store)
        self.post = store.post
        self.fate_of = store.fate_of


# --- the three libraries ----------------------------------------------------------------------------------------------

Open = Callable[[str], AbstractAsyncContextManager[Any]]


@asynccontextmanager
async def by_asyncpg(dsn: str) -> AsyncGenerator[Any]:
    connection = await connect(dsn)
    try:
        async with connection.transaction():
            yield connection
    finally:
        await connection.close()


@asynccontextmanager
async def by_a_pool_of_asyncpg(dsn: str) -> AsyncGenerator[Any]:
    import asyncpg  # pyright: ignore[reportMissingTypeStubs]

    library: Any = asyncpg
    async with (
        library.create_pool(dsn, min_size=1, max_size=1) as pool,
        pool.acquire() as connection,
        connection.transaction(),
    ):
        yield connection


@asynccontextmanager
async def by_psycopg(dsn: str) -> AsyncGenerator[Any]:
    from psycopg import AsyncConnection
    from psycopg.rows import dict_row

    async with await AsyncConnection[Any].connect(dsn, row_factory=dict_row) as connection:
        yield connection


@asynccontextmanager
async def _engine(dsn: str, driver: str) -> AsyncGenerator[Any]:
    from sqlalchemy.ext.asyncio import create_async_engine

    engine = create_async_engine(dsn.replace("postgresql://", f"postgresql+{driver}://"))
    try:
        yield engine
    finally:
        await engine.dispose()
        await asyncio.sleep(0)  # which lets go of the sockets


@asynccontextmanager
async def by_sqlalchemy_over_asyncpg(dsn: str) -> AsyncGenerator[Any]:
    async with _engine(dsn, "asyncpg") as engine, engine.begin() as connection:
        yield connection


@asynccontextmanager
async def by_sqlalchemy_over_psycopg(dsn: str) -> AsyncGenerator[Any]:
    async with _engine(dsn, "psycopg") as engine, engine.begin() as connection:
        yield connection


@asynccontextmanager
async def by_a_session_of_sqlalchemy(dsn: str) -> AsyncGenerator[Any]:
    from sqlalchemy.ext.asyncio import AsyncSession

    async with _engine(dsn, "asyncpg") as engine, AsyncSession(engine) as session, session.begin():
        yield session


class RolledBack(Exception):
    """What the caller's own code fails of."""


@behaviour("OB-016")
@pytest.mark.parametrize(
    "opened",
    [
        by_asyncpg,
        by_a_pool_of_asyncpg,
        by_psycopg,
        by_sqlalchemy_over_asyncpg,
        by_sqlalchemy_over_psycopg,
        by_a_session_of_sqlalchemy,
    ],
)
async def test_a_run_goes_on_with_the_commit_and_is_never_there_after_a_rollback(
    app: Awaken, emptied_postgres_url: str, opened: Open
) -> None:
    dsn = place_of(emptied_postgres_url).dsn
    async with opened(dsn) as connection:
        kept = await submitted(app, connection)
        with pytest.raises(RunNotFound):
            await kept.refresh()
    assert (await ended(kept)).output == "got hello"
    assert kept.record.run_id == kept.run_id

    lost: PromisedRun | None = None
    with suppress(RolledBack):
        async with opened(dsn) as connection:
            lost = await submitted(app, connection)
            raise RolledBack
    assert lost is not None
    with pytest.raises(RunNeverBegun, match="rolled back"):
        await ended(lost)
    await all_delivered(app)


@pytest.mark.parametrize("given", [object(), "postgresql://db", 7])
async def test_what_is_no_connection_is_refused(app: Awaken, given: object) -> None:
    with pytest.raises(ValidationError, match="AsyncConnection of psycopg"):
        await app.submit("t", "hello", connection=given)


async def test_a_connection_without_a_transaction_is_refused(app: Awaken, mine: Any, emptied_postgres_url: str) -> None:
    from psycopg import AsyncConnection

    with pytest.raises(ValidationError, match="no transaction is open"):
        await app.submit("t", "hello", connection=mine)
    async with await AsyncConnection.connect(place_of(emptied_postgres_url).dsn, autocommit=True) as connection:
        with pytest.raises(ValidationError, match="no transaction is open"):
            await app.submit("t", "hello", connection=connection)


@pytest.mark.parametrize("driver", ["asyncpg", "psycopg"])
@pytest.mark.parametrize("where", ["engine", "connection"])
async def test_a_connection_whose_every_statement_is_committed_is_refused(
    app: Awaken, emptied_postgres_url: str, driver: str, where: str
) -> None:
    from sqlalchemy.ext.asyncio import AsyncSession

    async with _engine(place_of(emptied_postgres_url).dsn, driver) as engine:
        if where == "engine":
            engine = engine.execution_options(isolation_level="AUTOCOMMIT")
        async with engine.connect() as connection, AsyncSession(engine) as session:
            if where == "connection":
                await connection.execution_options(isolation_level="AUTOCOMMIT")
                await session.connection(execution_options={"isolation_level": "AUTOCOMMIT"})
            for given in (connection, session):
                with pytest.raises(ValidationError, match="leave out the isolation level AUTOCOMMIT"):
                    await app.submit("t", "hello", connection=given)
    assert await app.store.list_outbox() == []


async def test_a_connection_to_another_kind_of_database_is_refused(app: Awaken) -> None:
    from sqlalchemy.ext.asyncio import create_async_engine

    engine = create_async_engine("sqlite+aiosqlite://")
    async with engine.connect() as connection:
        with pytest.raises(ValidationError, match="one to Postgres, and not to sqlite"):
            await app.submit("t", "hello", connection=connection)
    await engine.dispose()


async def test_a_store_elsewhere_says_that_it_takes_postgres() -> None:
    app = Awaken(store=MemoryStore())
    app.agent("echo", echo)
    with pytest.raises(Unsupported, match=r"a store on Postgres joins a transaction of yours, and this is memory"):
        await app.submit("t", "hello", connection=object())


# --- what the transaction does ----------------------------------------------------------------------------------------


async def test_nobody_waits_for_a_transaction_that_is_open(app: Awaken, mine: Any) -> None:
    async with mine.transaction():
        promised = await submitted(app, mine)

        assert (await app.run("t", "meanwhile")).output == "got meanwhile"
        assert await app.store.load_run(DEFAULT_SCOPE, RunId(promised.run_id)) is None
    assert (await ended(promised)).output == "got hello"


async def test_a_savepoint_takes_back_what_was_submitted_behind_it(app: Awaken, mine: Any) -> None:
    async with mine.transaction():
        kept = await submitted(app, mine, text="kept")
        lost: PromisedRun | None = None
        with suppress(RolledBack):
            async with mine.transaction():
                lost = await submitted(app, mine, text="lost")
                raise RolledBack
    assert (await ended(kept)).output == "got kept"
    assert lost is not None
    with pytest.raises(RunNeverBegun, match="savepoint"):
        await ended(lost)


async def test_several_of_one_transaction_run_in_their_order(app: Awaken, mine: Any) -> None:
    async with mine.transaction():
        handles = [await submitted(app, mine, text=f"m{number}") for number in range(5)]
    for handle in handles:
        await ended(handle)
    assert await said(app) == [f"m{number}" for number in range(5)]


async def test_events_come_from_the_run_s_first_one(app: Awaken, mine: Any) -> None:
    async with mine.transaction():
        handle = await submitted(app, mine)
    async with asyncio.timeout(BOUND_S):
        kinds = [event.kind async for event in handle.events()]
    assert (kinds[0], kinds[-1]) == ("RunQueued", "RunFinished")


async def test_the_patience_of_whoever_waits_ends_before_the_transaction(app: Awaken, mine: Any) -> None:
    async with mine.transaction():
        handle = await submitted(app, mine)
        with pytest.raises(RunNotFound):
            await handle.result(timeout_s=0.01)
    assert (await ended(handle)).output == "got hello"


async def test_whoever_waits_when_the_app_stops_is_told(app: Awaken, mine: Any) -> None:
    async with mine.transaction():
        handle = await submitted(app, mine)
        waiting = asyncio.create_task(ended(handle))
        with pytest.raises(RunNotFound):
            await handle.result(timeout_s=0.05)
        await app.stop()
        with pytest.raises(Unavailable, match="not lost"):
            await waiting


async def test_a_run_that_waits_is_not_gone_on_with(app: Awaken, mine: Any) -> None:
    """The id that the caller has been told is that of his own run."""

    async def asks(ctx: Context) -> str:
        return await ctx.ask("Which?")

    app.agent("asks", asks)
    waiting = await app.submit("t", "begin", agent="asks")
    await app.mailbox.wait(DEFAULT_SCOPE, RunId(waiting.run_id), until_parked=True)
    async with mine.transaction():
        handle = await submitted(app, mine, agent="asks")
    async with aclosing(cast("AsyncGenerator[Event]", handle.events())) as events:
        assert (await anext(events)).kind == "RunQueued"
    assert (await handle.refresh()).run_id == handle.run_id != waiting.run_id


# --- the same twice, and what can never be taken ----------------------------------------------------------------------


async def test_the_same_under_the_same_id_is_one_run_however_it_comes(app: Awaken, mine: Any) -> None:
    async with mine.transaction():
        first = await submitted(app, mine, run_id="order-1")
        again = await submitted(app, mine, run_id="order-1")
    assert await ended(first) == await ended(again)

    directly = await app.submit("t", "hello", run_id="order-1")
    assert directly.replayed
    async with mine.transaction():
        late = await submitted(app, mine, run_id="order-1")
    assert (await ended(late)).run_id == "order-1"
    assert await said(app) == ["hello"]
    await all_delivered(app)


async def test_an_id_that_is_taken_is_found_at_the_delivery_and_told(
    app: Awaken, mine: Any, caplog: pytest.LogCaptureFixture
) -> None:
    await app.run("t", "hello", run_id="order-1")
    async with mine.transaction():
        other = await submitted(app, mine, text="something else", run_id="order-1")
        next_one = await submitted(app, mine, text="next")

    assert (await ended(next_one)).output == "got next"
    await all_delivered(app)
    with pytest.raises(AlreadyExists, match="order-1"):
        await ended(other)
    assert "run id 'order-1' is taken" in caplog.text
    assert "MessageUndeliverable" in await kinds(app)
    assert await said(app) == ["hello", "next"]


@pytest.mark.parametrize("thread", ["deleted", "missing"])
async def test_a_thread_that_takes_nothing_is_told_of_in_the_log(
    app: Awaken, mine: Any, thread: str, caplog: pytest.LogCaptureFixture
) -> None:
    if thread == "deleted":
        await app.run("t", "hello")
        await app.delete_thread("t")
    async with mine.transaction():
        handle = await submitted(app, mine, create_thread=False)
    with pytest.raises(RunNeverBegun, match="refused"):
        await ended(handle)
    assert "is given up: " in caplog.text
    await all_delivered(app)


async def test_a_full_queue_holds_it_until_there_is_room(emptied_postgres_url: str) -> None:
    settings = MailboxSettings(max_queued_per_thread=1)
    gated = GatedAgent()
    async with asyncio.timeout(BOUND_S), Awaken(emptied_postgres_url, settings=settings) as app:
        app.agent("gated", gated)
        app.agent("echo", echo)
        await app.submit("t", "begin", agent="gated")
        first = await gated.next_call()
        await app.submit("t", "queued", agent="echo")
        connection = await connect(place_of(emptied_postgres_url).dsn)
        async with connection.transaction():
            held = await submitted(app, connection, text="held", agent="echo")
        await connection.close()
        with pytest.raises(RunNotFound):
            await held.result(timeout_s=0.05)

        first.release()
        assert (await ended(held)).output == "got held"
        assert await said(app) == ["begin", "queued", "held"]


async def test_what_an_unfinished_run_stands_for_already_begins_nothing(app: Awaken, mine: Any) -> None:
    gated = GatedAgent()
    app.agent("gated", gated)
    await app.submit("t", "begin", agent="gated", dedupe_key="once")
    await gated.next_call()
    async with mine.transaction():
        handle = await submitted(app, mine, agent="gated", dedupe_key="once")
    with pytest.raises(RunNeverBegun, match="there already"):
        await ended(handle)


async def test_the_user_of_the_connection_needs_what_the_page_says(
    app: Awaken, mine: Any, emptied_postgres_url: str
) -> None:
    schema, role = place_of(emptied_postgres_url).schema, f"clerk_of_{place_of(emptied_postgres_url).schema}"
    await mine.execute(f"CREATE ROLE {role}")
    try:
        for granted in (
            f"USAGE ON SCHEMA {schema}",
            f"INSERT, SELECT ON {schema}.outbox",
            f"USAGE ON SEQUENCE {schema}.arrivals",
        ):
            await mine.execute(f"GRANT {granted} TO {role}")
        async with mine.transaction():
            await mine.execute(f"SET LOCAL ROLE {role}")
            handle = await submitted(app, mine)
        assert (await ended(handle)).output == "got hello"
    finally:
        await mine.execute(f"DROP OWNED BY {role}; DROP ROLE {role}")


async def test_what_only_an_answer_could_tell_is_refused(app: Awaken, mine: Any) -> None:
    async with mine.transaction():
        refused: tuple[tuple[dict[str, Any], str], ...] = (
            ({"multitask_strategy": "reject"}, "nobody is there to be refused"),
            ({"multitask_strategy": "interrupt", "release_wait_s": 1.0}, "leave it out"),
            ({"decisions": [{"ticket_id": "x", "action": "approve"}]}, "make them outside"),
            ({"agent": "nobody"}, "nobody"),
        )
        for options, words in refused:
            with pytest.raises(ValidationError, match=words):
                await submitted(app, mine, **options)
        handle = await submitted(app, mine)
    assert (await ended(handle)).output == "got hello"


async def test_an_interrupt_clears_the_thread_once_it_is_delivered(app: Awaken, mine: Any) -> None:
    gated = GatedAgent()
    app.agent("gated", gated)
    running = await app.submit("t", "begin", agent="gated")
    await gated.next_call()
    async with mine.transaction():
        handle = await submitted(app, mine, multitask_strategy="interrupt", agent="echo")
        assert (await running.refresh()).status == "running"
    assert (await ended(handle)).output == "got hello"
    assert (await ended(running)).phase == "superseded"


# --- who delivers -----------------------------------------------------------------------------------------------------


def asked(run_id: str | None = None) -> RunSubmission:
    return RunSubmission(
        messages=messages_of("hello"), thread_id="t", agent_id="echo", run_id=run_id, scope=DEFAULT_SCOPE
    )


async def test_a_process_that_has_started_nothing_may_submit(app: Awaken, mine: Any, emptied_postgres_url: str) -> None:
    """It has no connection of its own; whoever has started delivers."""
    async with mine.transaction():
        promised = await app_on(emptied_postgres_url).mailbox.post(asked(), mine)
    assert await app.mailbox.appeared(promised, timeout_s=BOUND_S) is not None
    assert (await app.wait(promised.run_id)).output == "got hello"


async def test_what_was_committed_before_its_process_died_is_delivered_by_the_next(emptied_postgres_url: str) -> None:
    async with asyncio.timeout(BOUND_S):
        async with app_on(emptied_postgres_url):
            pass
        script = f"""
import asyncio, os
from awaken import Awaken
from awaken.store.postgres.driver import connect

async def echo(ctx):
    return "never"

async def main():
    app = Awaken({emptied_postgres_url!r})
    app.agent("echo", echo)
    connection = await connect({place_of(emptied_postgres_url).dsn!r})
    async with connection.transaction():
        await app.submit("t", "hello", run_id="order-1", connection=connection)
    os._exit(9)

asyncio.run(main())
"""
        died = await asyncio.create_subprocess_exec(sys.executable, "-c", script)
        assert await died.wait() == 9
        async with app_on(emptied_postgres_url) as heir:
            async with heir.mailbox.read_thread(DEFAULT_SCOPE, ThreadId("t")) as reader:
                await reader.next_rows()
            assert (await heir.wait("order-1")).output == "got hello"
            await all_delivered(heir)


async def test_two_that_deliver_at_once_begin_one_run(mine: Any, app: Awaken, emptied_postgres_url: str) -> None:
    """The one holds its submit until the other has delivered, and the run has ended."""
    store = WatchedJoining(PostgresStore(emptied_postgres_url))
    late = Awaken(store=store)
    late.agent("echo", echo)
    async with late:
        store.hold(Submit)
        async with mine.transaction():
            promised = await late.mailbox.post(asked(), mine)
        assert await app.mailbox.appeared(promised, timeout_s=BOUND_S) is not None
        assert (await app.wait(promised.run_id)).output == "got hello"
        await all_delivered(app)
        store.let_go()
        assert (await late.wait(promised.run_id)).output == "got hello"
        await late.mailbox.stop()
    assert await said(app) == ["hello"]
    assert [kind for kind in await kinds(app) if kind == "RunQueued"] == ["RunQueued"]


async def test_a_delivery_whose_record_was_lost_is_repeated_and_changes_nothing(
    mine: Any, app: Awaken, emptied_postgres_url: str
) -> None:
    await app.stop()
    store = WatchedJoining(PostgresStore(emptied_postgres_url))
    other = Awaken(store=store, settings=MailboxSettings(store_retry_s=0.01))
    other.agent("echo", echo)
    async with other:
        store.fail_once(Delivered)
        async with mine.transaction():
            promised = await other.mailbox.post(asked(), mine)
        assert await other.mailbox.appeared(promised, timeout_s=BOUND_S) is not None
        await all_delivered(other)
        assert (await other.wait(promised.run_id)).output == "got hello"
        assert len([each for each in store.transitions if isinstance(each, Submit)]) == 2
        assert await said(other) == ["hello"]
