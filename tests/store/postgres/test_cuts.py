"""Connections that are cut at every moment of a transaction: what was asked happens once, and is answered so.

A conformance case is lived through by a memory store and by Postgres behind a relay, which cuts the connection at the
transition that the case is chosen for. Whoever has heard nothing asks again: so the answer has to be the one that the
memory store gives, to the first time where nothing had reached the database, and to a repetition where it had.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager
from typing import Any, Final, NamedTuple, get_args

import pytest
import pytest_asyncio

from awaken.domain.dispatch import DispatchStatus
from awaken.domain.errors import StoreUnavailable
from awaken.domain.ids import ThreadId
from awaken.domain.run import RunStatus
from awaken.store.batches import REFUSALS
from awaken.store.contract import Signal, Store
from awaken.store.memory import MemoryStore
from awaken.store.memory.tables import Tables
from awaken.store.postgres import PostgresStore
from awaken.store.postgres.opening import Place, connect
from awaken.store.transitions import (
    Claim,
    ClaimedSome,
    Mend,
    Outcome,
    Renew,
    Renewed,
    SetTransition,
    ThreadTransition,
    Transition,
)
from awaken.testing.audit import check_sound, mend_all
from awaken.testing.behaviour import behaviour, is_about
from awaken.testing.clock import ManualClock
from awaken.testing.conformance.steps import (
    PLENTY,
    SCOPE,
    THREAD,
    asked,
    claimed,
    dispatch_of,
    kinds,
    offer,
    run_of,
    settled,
    submitted,
)
from awaken.testing.forwarding import ForwardingStore
from awaken.testing.plugin import Case, cases
from tests.cutting import Moment, Relay
from tests.postgres import Kept
from tests.store.views import looking

KINDS: Final = tuple([each for each in (*get_args(ThreadTransition), *get_args(SetTransition)) if each is not Mend])
OTHER: Final = ThreadId("thread-2")


def is_taken(asked: Transition, outcome: Outcome, kind: type[Any]) -> bool:
    """Whether it is of that kind, and was not refused."""
    return isinstance(asked, kind) and type(outcome) not in REFUSALS


class Recording(ForwardingStore):
    """Notes how many transitions there were when the first of each kind was taken."""

    def __init__(self, store: Store) -> None:
        super().__init__(store)
        self.count = 0
        self.first: dict[type[Any], int] = {}

    async def apply(self, batch: Sequence[Transition]) -> list[Outcome]:
        outcomes = await self._store.apply(batch)
        for each, outcome in zip(batch, outcomes, strict=True):
            self.count += 1
            if is_taken(each, outcome, type(each)):
                self.first.setdefault(type(each), self.count)
        return outcomes


@pytest.fixture(scope="module")
def chosen() -> dict[type[Any], Case]:
    """For each kind of transition the case that soonest comes to one."""
    found: dict[type[Any], tuple[int, Case]] = {}

    async def record(case: Case) -> None:
        clock = ManualClock()
        async with MemoryStore(clock) as memory:
            store = Recording(memory)
            await case(store, clock)
        for kind, count in store.first.items():
            if kind not in found or count < found[kind][0]:
                found[kind] = count, case

    for _, case in cases():
        if is_about(case, exclusive=False) and is_about(case, exclusive=True):
            asyncio.run(record(case))
    return {kind: case for kind, (_, case) in found.items()}


@asynccontextmanager
async def reaching_into(place: Place) -> AsyncGenerator[Any]:
    """A connection that changes how arrival numbers are given, until this is left."""
    connection = await connect(place)
    try:
        yield connection
        await connection.execute("ALTER SEQUENCE arrivals MINVALUE 0 NO MAXVALUE START 0 RESTART 0 NO CYCLE")
    finally:
        await connection.close()


class Twins(ForwardingStore):
    """A store that is cut once, and a memory store that is asked the same. What they answer is compared."""

    def __init__(
        self, store: Store, tables: Tables, model: Store, hand: Any, relay: Relay, kind: type[Any], moment: Moment
    ) -> None:
        super().__init__(store)
        self._tables = tables
        self._model = model
        self._hand = hand
        self._relay = relay
        self._kind = kind
        self._moment: Moment = moment

    async def apply(self, batch: Sequence[Transition]) -> list[Outcome]:
        await self._count_alike()
        expected = await self._model.apply(batch)
        taken = any(is_taken(each, outcome, self._kind) for each, outcome in zip(batch, expected, strict=True))
        if self._relay.cuts or not taken:
            assert await self._store.apply(batch) == expected
            return expected
        self._relay.cut_at(self._moment)
        got = await self._store.apply(batch)
        assert self._relay.cuts == 1
        if self._kind is Claim and self._moment == "committed":
            assert got == [ClaimedSome((), (), due_left=0, next_due_in_ms=0)]
        else:
            assert got == (await self._model.apply(batch) if self._moment == "committed" else expected)
        return expected

    async def _count_alike(self) -> None:
        """However often it is tried, the next batch gets the numbers that the model gives."""
        last = self._tables.numbers.last
        await self._hand.execute(
            f"ALTER SEQUENCE arrivals MINVALUE {last} MAXVALUE {last + 1} START {last} RESTART {last} CYCLE;"
            f"SELECT setval('events_no_seq', greatest(last_value, {self._tables.event_row + 1}), false)"
            " FROM events_no_seq"
        )


class Behind(NamedTuple):
    """A store behind a relay. One for all of these tests, which find it empty: to open one takes longer than a case."""

    relay: Relay
    store: PostgresStore
    clock: ManualClock


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def opened(kept_postgres: Kept) -> AsyncGenerator[Behind]:
    clock = ManualClock()
    async with Relay(kept_postgres.url) as relay, PostgresStore(relay.url, clock=clock) as store:
        yield Behind(relay, store, clock)


@pytest.fixture
def behind(opened: Behind, emptied_postgres_url: str) -> Behind:
    opened.relay.cuts = 0
    return opened


@behaviour("ST-027")
@pytest.mark.asyncio(loop_scope="module")
@pytest.mark.parametrize("moment", ["commit", "committed"])
@pytest.mark.parametrize("kind", KINDS)
async def test_what_is_asked_over_a_connection_that_is_cut_at_its_commit_happens_once_and_is_answered(
    kind: type[Any], moment: Moment, chosen: dict[type[Any], Case], behind: Behind
) -> None:
    relay, store, clock = behind
    tables = Tables()
    async with MemoryStore(clock, tables=tables) as model, reaching_into(store.place) as hand:
        await chosen[kind](Twins(store, tables, model, hand, relay, kind, moment), clock)

        assert relay.cuts == 1
        assert await looking()(store) == await looking()(model)
        await check_sound(store)


async def test_a_claim_whose_answer_was_lost_takes_nothing_more(emptied_postgres_url: str) -> None:
    """Two threads would be held with one token, and the first of them by nobody, until its lease ends."""
    async with Relay(emptied_postgres_url) as relay, PostgresStore(relay.url, clock=ManualClock()) as store:
        await submitted(store, "d1")
        await submitted(store, "d2", thread=OTHER)
        relay.cut_at("committed")

        claim, renewal = Claim(offers=(offer(),), rooms=PLENTY), Renew(leases=(), lease_ms=1_000)
        renewed, unheard = await store.apply([renewal, claim])

        assert isinstance(renewed, Renewed)
        assert unheard == ClaimedSome((), (), due_left=0, next_due_in_ms=0)
        assert (await store.count_dispatches())[DispatchStatus.CLAIMED] == 1


@pytest.mark.parametrize("moment", get_args(Moment))
async def test_what_is_mended_over_a_connection_that_is_cut_is_mended(
    moment: Moment, emptied_postgres_url: str
) -> None:
    async with Relay(emptied_postgres_url) as relay, PostgresStore(relay.url, clock=ManualClock()) as store:
        await submitted(store, "d1")
        hand = await connect(store.place)
        await hand.execute("UPDATE threads SET queued = 7")
        await hand.close()
        relay.cut_at(moment)

        assert await mend_all(store)

        assert relay.cuts == 1
        await check_sound(store)


async def test_a_transaction_that_is_cut_after_any_of_its_round_trips_happens_once(emptied_postgres_url: str) -> None:
    async with Relay(emptied_postgres_url) as relay, PostgresStore(relay.url, clock=ManualClock()) as store:
        number = 0
        while relay.cuts == number:
            number += 1
            owner = await claimed(store, f"d{number}", thread=ThreadId(f"t{number}"))
            relay.cut_at("answer", number)
            await settled(store, owner)
        relay.disarm()
        assert number > 3
        await check_sound(store)
        for before in range(1, number + 1):
            assert (await run_of(store, f"d{before}")).status is RunStatus.DONE


@behaviour("MB-173")
async def test_a_store_whose_database_is_away_for_a_while_says_so_and_goes_on(emptied_postgres_url: str) -> None:
    """What was asked meanwhile has not happened; a listener hears that it has to look at everything."""
    heard: asyncio.Queue[Signal] = asyncio.Queue()
    async with (
        asyncio.timeout(20),
        Relay(emptied_postgres_url) as relay,
        PostgresStore(relay.url) as store,
        PostgresStore(emptied_postgres_url) as other,
    ):
        store.listen(heard.put_nowait)
        relay.takes_connections = False
        relay.cut_all()
        with pytest.raises(StoreUnavailable):
            await store.apply([asked("d1")])
        with pytest.raises(StoreUnavailable):
            await dispatch_of(store, "d1")
        await submitted(other, "d2", thread=OTHER)
        relay.takes_connections = True

        assert await heard.get() == Signal(None)
        await submitted(store, "d1")
        assert await kinds(store) == ["RunQueued"]
        await submitted(other, "d3", thread=OTHER)
        assert await heard.get() == Signal(frozenset([(SCOPE, OTHER)]))


async def test_a_listener_whose_connection_is_cut_looks_at_everything_and_hears_on(emptied_postgres_url: str) -> None:
    heard: asyncio.Queue[Signal] = asyncio.Queue()
    async with (
        asyncio.timeout(20),
        Relay(emptied_postgres_url) as relay,
        PostgresStore(relay.url) as store,
        PostgresStore(emptied_postgres_url) as other,
    ):
        store.listen(heard.put_nowait)
        for number in range(3):
            assert relay.cut_listeners() == 1
            assert await heard.get() == Signal(None)
            await submitted(other, f"d{number}")
            assert await heard.get() == Signal(frozenset([(SCOPE, THREAD)]))
