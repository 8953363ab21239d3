"""Several processes on one database: who is in whose way, who hears what, and what a lost connection costs."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from typing import Any

import pytest

from awaken.domain.dispatch import DispatchStatus
from awaken.domain.errors import StoreUnavailable
from awaken.domain.ids import AgentId, ThreadId
from awaken.store.contract import Signal
from awaken.store.postgres import PostgresStore, driver
from awaken.store.postgres.session import Session
from awaken.store.transitions import (
    Claimed,
    ClaimedSome,
    Deferred,
    Delivered,
    DeliveredSome,
    Handled,
    Replayed,
    Rooms,
    Submitted,
)
from awaken.testing.behaviour import behaviour
from awaken.testing.clock import ManualClock
from awaken.testing.conformance.children import delivering, parent_of
from awaken.testing.conformance.rooms import shared
from awaken.testing.conformance.steps import (
    OTHER_WORKER,
    SCOPE,
    THREAD,
    WORKER,
    apply,
    asked,
    claim_some,
    claimed,
    dispatch_of,
    interrupt,
    kinds,
    run_of,
    runs_in,
    settled,
    submitted,
    want,
)

OTHER = ThreadId("thread-2")


def _names(outcome: ClaimedSome) -> list[str]:
    return [each.dispatch.dispatch_id for each in outcome.claims]


@asynccontextmanager
async def _claiming(store: PostgresStore, limited: Rooms) -> AsyncGenerator[None]:
    """Meanwhile another process has begun to claim of these limits, and has not committed."""
    connection = await driver.connect(store.place.dsn, server_settings={"search_path": store.place.schema})
    try:
        transaction = connection.transaction()
        await transaction.start()
        held = await Session(connection).rows("hold_totals", {"routes": list(limited.totals)})
        assert len(held) == len(limited.totals)
        yield
        await transaction.rollback()
    finally:
        await connection.close()


async def test_what_another_process_holds_is_deferred_and_costs_its_neighbours_nothing(
    store: PostgresStore, hand: Any
) -> None:
    await submitted(store, "d1")
    async with hand.transaction():
        await hand.execute("SELECT 1 FROM threads WHERE thread_id = $1 FOR UPDATE", THREAD)

        held, free = await store.apply([asked("d2"), asked("d3", thread=OTHER)])

        assert held == Deferred()
        assert isinstance(free, Submitted)
    assert isinstance(await apply(store, asked("d2")), Submitted)


async def test_a_claim_passes_over_what_another_process_holds(store: PostgresStore, hand: Any) -> None:
    await submitted(store, "d1")
    await submitted(store, "d2", thread=OTHER)
    async with hand.transaction():
        await hand.execute("SELECT 1 FROM threads WHERE thread_id = $1 FOR UPDATE", THREAD)

        first = await claim_some(store, limit=9)

    assert [each.dispatch.dispatch_id for each in first.claims] == ["d2"]
    assert [each.dispatch.dispatch_id for each in (await claim_some(store, limit=9)).claims] == ["d1"]


async def test_two_processes_that_claim_at_once_take_each_dispatch_once(
    store: PostgresStore, postgres_url: str, clock: ManualClock
) -> None:
    for number in range(20):
        await submitted(store, f"d{number}", thread=ThreadId(f"t{number}"))
    async with PostgresStore(postgres_url, clock=clock) as other:
        rounds = [claim_some(store, limit=3, consumer=WORKER), claim_some(other, limit=3, consumer=OTHER_WORKER)]
        found = [claim for each in await asyncio.gather(*rounds) for claim in each.claims]
        for _ in range(8):
            rounds = [claim_some(store, limit=3, consumer=WORKER), claim_some(other, limit=3, consumer=OTHER_WORKER)]
            found += [claim for each in await asyncio.gather(*rounds) for claim in each.claims]

    taken = [claim.dispatch.dispatch_id for claim in found]
    assert sorted(taken) == sorted({f"d{number}" for number in range(20)})


@behaviour("RT-017")
async def test_a_claim_takes_nothing_of_a_limit_of_which_another_one_takes_at_this_moment(
    store: PostgresStore, clock: ManualClock
) -> None:
    """It waits for nobody, takes what else there is, and says that it is to look again."""
    await submitted(store, "d1")
    await submitted(store, "d2", thread=OTHER, agent=AgentId("agent-2"))
    limited = shared(1)
    async with _claiming(store, limited):
        while_held = await claim_some(store, limit=9, rooms=limited)
        assert (_names(while_held), while_held.is_held_up) == (["d2"], True)
        again = await claim_some(store, limit=9, rooms=limited)
        assert (_names(again), again.is_held_up) == ([], True)
    freed = await claim_some(store, limit=9, rooms=limited)
    assert (_names(freed), freed.is_held_up) == (["d1"], False)


@behaviour("RT-017")
async def test_processes_that_claim_at_once_never_take_more_than_they_may_have_together(
    store: PostgresStore, postgres_url: str, clock: ManualClock
) -> None:
    for number in range(30):
        await submitted(store, f"d{number}", thread=ThreadId(f"t{number}"))
    open_claims: list[Claimed] = []
    done = 0
    async with PostgresStore(postgres_url, clock=clock) as other, PostgresStore(postgres_url, clock=clock) as third:
        while done < 30:
            rounds = [claim_some(each, limit=9, rooms=shared(3)) for each in (store, other, third)]
            open_claims += [claim for each in await asyncio.gather(*rounds) for claim in each.claims]
            assert len(open_claims) <= 3
            for claim in [open_claims.pop() for _ in open_claims[:2]]:
                await settled(other, claim)
                done += 1


async def test_two_processes_may_make_the_same_thread_at_once(
    store: PostgresStore, postgres_url: str, clock: ManualClock
) -> None:
    async with PostgresStore(postgres_url, clock=clock) as other:
        outcomes = await asyncio.gather(store.apply([asked("d1")]), other.apply([asked("d2")]))
        assert {type(outcome) for [outcome] in outcomes} <= {Submitted, Deferred}
        for name in ("d1", "d2"):
            await apply(store, asked(name))
            assert (await dispatch_of(other, name)).status is DispatchStatus.QUEUED


async def test_what_another_process_accepts_at_any_moment_is_recognised(
    postgres_url: str, clock: ManualClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Before its thread is there nobody can hold it, and what is read by two statements is of two states."""
    connect: Callable[..., Any] = driver.connect
    async with PostgresStore(postgres_url, clock=clock) as other:
        meanwhile = Meanwhile()
        monkeypatch.setattr(driver, "connect", meanwhile.wrapping(connect))
        async with PostgresStore(postgres_url, clock=clock) as store:
            for moment in range(1, 9):
                submit = asked(f"d{moment}", thread=ThreadId(f"t{moment}"))
                meanwhile.do(lambda submit=submit: other.apply([submit]), before=moment)

                [outcome] = await store.apply([submit])

                assert isinstance(outcome, Submitted | Replayed | Deferred), moment


class Meanwhile:
    """Does something before one of the statements that are asked over connections."""

    def __init__(self) -> None:
        self._what: Callable[[], Awaitable[object]] | None = None
        self._statements = 0

    def do(self, what: Callable[[], Awaitable[object]], *, before: int) -> None:
        """Do this right before the statement with this number, counted from 1."""
        self._what, self._statements = what, before

    def wrapping(self, connect: Callable[..., Any]) -> Callable[..., Any]:
        async def connecting(*values: Any, **settings: Any) -> Any:
            return Hooked(await connect(*values, **settings), self)

        return connecting

    async def next(self) -> None:
        self._statements -= 1
        if self._statements == 0 and self._what is not None:
            with suppress(StoreUnavailable):  # it would have waited for this very transaction
                await self._what()


class Hooked:
    """A connection that tells of each statement before it is asked."""

    def __init__(self, connection: Any, meanwhile: Meanwhile) -> None:
        self._connection = connection
        self._meanwhile = meanwhile

    def __getattr__(self, name: str) -> Any:
        return getattr(self._connection, name)

    async def execute(self, *values: Any) -> Any:
        await self._meanwhile.next()
        return await self._connection.execute(*values)

    async def fetch(self, *values: Any) -> Any:
        await self._meanwhile.next()
        return await self._connection.fetch(*values)

    async def fetchrow(self, *values: Any) -> Any:
        await self._meanwhile.next()
        return await self._connection.fetchrow(*values)


@behaviour("OB-014", "OB-015")
async def test_what_two_processes_deliver_at_once_is_begun_and_removed_once(
    store: PostgresStore, postgres_url: str, clock: ManualClock
) -> None:
    await parent_of(store, "kid")
    [errand] = await store.list_outbox()
    async with PostgresStore(postgres_url, clock=clock) as other:
        begun = await asyncio.gather(store.apply([delivering(errand)]), other.apply([delivering(errand)]))
        assert len([each for [each] in begun if isinstance(each, Submitted)]) == 1

        removing = Delivered(rows=(Handled(errand.no),))
        removed = await asyncio.gather(store.apply([removing]), other.apply([removing]))

    assert sorted(want(DeliveredSome, outcome).count for [outcome] in removed) == [0, 1]
    assert await store.list_outbox() == []
    assert [run.run_id for run in await runs_in(store)] == ["run-parent", "run-kid"]


@behaviour("MB-028", "MB-131", "MB-146", "MB-162")
async def test_what_one_process_writes_another_reads_at_once(
    store: PostgresStore, postgres_url: str, clock: ManualClock
) -> None:
    async with PostgresStore(postgres_url, clock=clock) as other:
        await submitted(store, "d1")
        assert (await dispatch_of(other, "d1")).status is DispatchStatus.QUEUED
        owner = await claimed(other, "d2", thread=OTHER)
        assert (await store.active_dispatch(SCOPE, OTHER)) == owner.dispatch
        await interrupt(other)
        assert (await dispatch_of(store, "d1")).status is DispatchStatus.SUPERSEDED


async def test_others_hear_what_is_committed_and_one_that_is_alone_hears_nothing(
    store: PostgresStore, postgres_url: str, clock: ManualClock
) -> None:
    heard: asyncio.Queue[Signal] = asyncio.Queue()
    own: list[Signal] = []
    store.listen(own.append)
    async with asyncio.timeout(10), PostgresStore(postgres_url, clock=clock) as other:
        other.listen(heard.put_nowait)
        await submitted(store, "d1")
        assert await heard.get() == Signal(frozenset([(SCOPE, THREAD)]))

        await submitted(store, "d2", thread=ThreadId("t" * 128))
        for number in range(100):
            await submitted(store, f"e{number}", thread=ThreadId(f"{number:0128}"))
        await heard.get()
    assert own == []


async def test_a_listener_whose_connection_was_lost_looks_at_everything(store: PostgresStore, hand: Any) -> None:
    heard: asyncio.Queue[Signal] = asyncio.Queue()
    store.listen(heard.put_nowait)
    async with asyncio.timeout(10):
        await _cut_all(hand)
        assert await heard.get() == Signal(None)


async def test_connections_that_were_lost_are_made_again(store: PostgresStore, hand: Any) -> None:
    await submitted(store, "d1")
    await _cut_all(hand)

    await submitted(store, "d2")
    assert (await dispatch_of(store, "d1")).status is DispatchStatus.QUEUED


async def _cut_all(hand: Any) -> None:
    await hand.execute(
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
        " WHERE application_name = 'awaken' AND query LIKE '%' AND pid <> pg_backend_pid()"
    )


class _Cut:
    """A connection that is cut at a COMMIT, once: before the server hears of it, or when it is done."""

    def __init__(self, connection: Any, cuts: list[str]) -> None:
        self._connection = connection
        self._cuts = cuts

    def __getattr__(self, name: str) -> Any:
        return getattr(self._connection, name)

    async def execute(self, text: str, *values: Any) -> str:
        if text != "COMMIT" or not self._cuts:
            return await self._connection.execute(text, *values)
        if self._cuts.pop() == "after":
            await self._connection.execute(text)
        self._connection.terminate()
        raise ConnectionResetError("cut")


@pytest.fixture
def cuts(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """How the next commits fail, of stores that are opened from now on."""
    found: list[str] = []
    connect: Callable[..., Any] = driver.connect

    async def connecting(*values: Any, **settings: Any) -> Any:
        return _Cut(await connect(*values, **settings), found)

    monkeypatch.setattr(driver, "connect", connecting)
    return found


@pytest.mark.parametrize("when", ["before", "after"])
async def test_a_batch_whose_commit_was_not_answered_is_applied_once(
    cuts: list[str], store: PostgresStore, when: str
) -> None:
    await submitted(store, "d1")
    cuts.append(when)

    outcome = await apply(store, asked("d2", thread=OTHER))

    assert isinstance(outcome, Submitted if when == "before" else Replayed)
    assert await kinds(store, thread=OTHER) == ["RunQueued"]
    owner = await claimed(store, "d3", thread=ThreadId("thread-3"))
    assert (await run_of(store, "d3")).run_id == owner.run.run_id


@pytest.fixture
def pooled(monkeypatch: pytest.MonkeyPatch) -> None:
    """Something between hands out sessions for one transaction."""
    connect: Callable[..., Any] = driver.connect

    class Pooled:
        def __init__(self, connection: Any) -> None:
            self._connection = connection

        def __getattr__(self, name: str) -> Any:
            return getattr(self._connection, name)

        async def execute(self, text: str, *values: Any) -> str:
            told = await self._connection.execute(text, *values)
            if not self._connection.is_in_transaction():
                await self._connection.execute("RESET ALL")
            return told

    async def connecting(*values: Any, **settings: Any) -> Any:
        return Pooled(await connect(*values, **settings))

    monkeypatch.setattr(driver, "connect", connecting)


async def test_a_pooler_that_does_not_keep_sessions_is_refused(pooled: None, postgres_url: str) -> None:
    with pytest.raises(StoreUnavailable, match="pool_mode = session"):
        async with PostgresStore(postgres_url):
            pass


async def test_a_pooler_whose_one_session_is_at_leisure_shows_when_two_ask(
    postgres_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    connect: Callable[..., Any] = driver.connect
    asked: list[dict[str, str]] = []

    class OfOneSession(Hooked):
        async def fetchval(self, text: str, *values: Any) -> Any:
            told = await self._connection.fetchval(text, *values)
            return 7 if text == "SELECT pg_backend_pid()" else told

    async def connecting(*values: Any, server_settings: dict[str, str], **settings: Any) -> Any:
        asked.append(server_settings)
        opened = await connect(*values, server_settings=server_settings, **settings)
        return OfOneSession(opened, Meanwhile())

    monkeypatch.setattr(driver, "connect", connecting)

    with pytest.raises(StoreUnavailable, match="pool_mode = session"):
        async with PostgresStore(postgres_url):
            pass

    assert {name for each in asked for name in each} == {"application_name", "client_encoding"}  # poolers pass these on


async def test_leases_are_judged_by_the_clock_of_the_database(postgres_url: str, hand: Any) -> None:
    async with PostgresStore(postgres_url) as store:
        before = await hand.fetchval("SELECT (extract(epoch FROM clock_timestamp()) * 1000)::bigint")
        now = await store.now()
        owner = await claimed(store, "d1")
        after = await hand.fetchval("SELECT (extract(epoch FROM clock_timestamp()) * 1000)::bigint")

    assert before <= now <= after
    assert owner.dispatch.lease_until is not None
    assert before <= owner.dispatch.lease_until - 10_000 <= after
