"""Cases that exist where state is copied, cached or written in steps; each test tries it, and it does not happen."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import msgspec
import pytest

from awaken.domain.dispatch import DispatchStatus
from awaken.domain.ids import ThreadId
from awaken.domain.run import NATURAL_END, RunStatus, Usage
from awaken.domain.thread import ThreadInfo
from awaken.store.contract import Signal, Store
from awaken.store.memory import MemoryStore
from awaken.store.postgres import PostgresStore
from awaken.store.sqlite import SqliteStore
from awaken.store.transitions import (
    Ack,
    Busy,
    Cancel,
    Claim,
    ClaimedSome,
    Conflict,
    Full,
    Interrupt,
    Interrupted,
    JournalEntry,
    LeaseLost,
    Outcome,
    Purge,
    Purged,
    Reclaim,
    Reclaimed,
    Release,
    Replayed,
    Retry,
    SaveThread,
    Settled,
    StepClosed,
    Submitted,
    ThreadSaved,
    Transition,
)
from awaken.testing.behaviour import behaviour
from awaken.testing.clock import ManualClock
from awaken.testing.conformance.steering import staged
from awaken.testing.conformance.steps import (
    AT_ONCE,
    OTHER_WORKER,
    PLENTY,
    SCOPE,
    THREAD,
    answered,
    apply,
    asked,
    calling,
    cancelled,
    claim,
    claim_name,
    claimed,
    commit,
    committed,
    committing,
    delta,
    dispatch_of,
    events_of,
    finished,
    interrupt,
    kinds,
    log_of,
    message_id,
    message_ids,
    names,
    offer,
    purge,
    reclaim,
    result_of,
    run_id,
    run_of,
    said,
    settle,
    settled,
    settling,
    snapshot,
    submitted,
    suspended,
    together,
    want,
)
from tests.sqlite import new_file
from tests.store.backups import copy_content

OTHER_THREAD = ThreadId("thread-2")


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture(params=("memory", "sqlite", "postgres"))
def made(request: pytest.FixtureRequest, tmp_path: Path, clock: ManualClock) -> Store:
    match request.param:
        case "memory":
            return MemoryStore(clock)
        case "sqlite":
            return SqliteStore(new_file(tmp_path / "awaken.db"), clock=clock)
        case _:
            return PostgresStore(request.getfixturevalue("emptied_postgres_url"), clock=clock)


@pytest.fixture
async def store(made: Store) -> AsyncIterator[Store]:
    async with made:
        yield made


# --- one account of the queue -----------------------------------------------------------------------------------------


@behaviour("MB-014", "MB-015", "MB-016")
async def test_an_interrupt_has_one_answer_and_a_result_one_place(store: Store) -> None:
    """There is no summary beside the details, and a run's result stands on the run alone."""
    assert (await interrupt(store)).superseded == ()
    await submitted(store, "d1")
    await submitted(store, "d2")

    answer = await interrupt(store)

    assert [await dispatch_of(store, each.dispatch_id) for each in answer.superseded] == list(answer.superseded)
    assert [each.dispatch_id for each in answer.superseded] == await names(store, DispatchStatus.SUPERSEDED)

    await finished(store, "d3", ending=Ack(NATURAL_END, "the only copy"))
    assert (await run_of(store, "d3")).final_output == "the only copy"
    assert b"the only copy" not in msgspec.json.encode(await dispatch_of(store, "d3"))


@behaviour("MB-051", "MB-052", "MB-053", "MB-054", "MB-055")
async def test_whoever_has_a_slot_gets_what_is_next_and_never_what_it_names(store: Store, clock: ManualClock) -> None:
    """A submit offers a slot in its own transaction, so no dispatch is stored first and claimed by name afterwards."""
    early = await submitted(store, "early", delay_ms=1_000, offered=offer())
    assert (early.claimed, await claim_name(store)) == (None, None)
    await submitted(store, "first", priority=1)

    own = await submitted(store, "own", offered=offer())

    assert own.claimed is not None
    assert own.claimed.dispatch.dispatch_id == "first"
    assert (await submitted(store, "urgent", priority=0, offered=offer())).claimed is None
    await settled(store, own.claimed)
    clock.tick(1)
    assert await claim_name(store) == "urgent"


@behaviour("MB-164", "MB-165", "MB-166", "MB-167")
async def test_a_dedupe_key_is_held_by_the_rows_of_its_holder_alone(store: Store, clock: ManualClock) -> None:
    """Nothing is left by who failed, and nothing is freed by who comes late."""
    await submitted(store, "other")
    assert isinstance(await apply(store, asked("failed", dedupe_key="k", max_queued=1)), Full)

    outcomes = await together(store, [asked(f"d{number}", dedupe_key="k") for number in range(5)])

    [holder] = [outcome for outcome in outcomes if isinstance(outcome, Submitted)]
    assert [type(outcome) for outcome in outcomes].count(Replayed) == 4
    await apply(store, Cancel(scope=SCOPE, thread_id=THREAD, run_id=holder.run.run_id))
    await cancelled(store, "other")
    clock.tick(1)
    assert (await purge(store, runs_ms=0)).runs == 2

    owner = await claimed(store, "again", dedupe_key="k")
    await settled(store, owner)
    successor = await submitted(store, "successor", dedupe_key="k")
    await settle(store, owner)  # by somebody who does not know that it is over
    assert want(Replayed, await apply(store, asked("late", dedupe_key="k"))).run == successor.run


@behaviour("MB-168", "MB-169", "MB-170", "MB-171", "MBX-127", "MBX-128", "MBX-129")
async def test_a_store_that_has_only_the_rows_answers_as_the_one_that_wrote_them(
    tmp_path: Path, clock: ManualClock
) -> None:
    """All that a store knows is in its rows: no marker, lock or index stands beside them that could be lost or late.

    The stranger is given the other's file before each transition, and what it has seen is another life of the thread.
    """
    mine, other = tmp_path / "mine.db", tmp_path / "other.db"
    async with SqliteStore(mine, clock=clock) as store, SqliteStore(other, clock=clock) as stranger:

        async def both(transition: Transition) -> Outcome:
            await claimed(stranger, f"other-{clock.now()}", thread=OTHER_THREAD)
            await interrupt(stranger)
            copy_content(mine, other)
            [outcome] = await store.apply([transition])
            assert await stranger.apply([transition]) == [outcome]
            clock.tick(0.5)
            return outcome

        first = want(Submitted, await both(asked("d1", offered=offer(), dedupe_key="k"))).claimed
        assert first is not None
        await both(asked("d2"))
        assert isinstance(await both(asked("d3", dedupe_key="k")), Replayed)
        assert want(ClaimedSome, await both(Claim(offers=(offer(OTHER_WORKER),), rooms=PLENTY))).claims == ()
        await both(committing(first, delta("a"), calling("turn", "c1"), stream_open=False))
        await both(committing(first, result_of("c1"), closes=StepClosed(1, turn=message_id("turn"))))
        assert want(Settled, await both(settling(first, Retry("busy", AT_ONCE)))).claimed is None
        assert isinstance(await both(settling(first)), LeaseLost)
        again = want(ClaimedSome, await both(Claim(offers=(offer(), offer()), rooms=PLENTY))).claims
        assert [each.dispatch.dispatch_id for each in again] == ["d1"]
        await both(Cancel(scope=SCOPE, thread_id=THREAD, run_id=run_id("d2")))
        await both(asked("d4", priority=1))
        following = want(Settled, await both(settling(again[0], offered=offer()))).claimed
        assert following is not None
        await both(Interrupt(scope=SCOPE, thread_id=THREAD, id="i1"))
        assert isinstance(await both(committing(following, delta("b"))), LeaseLost)
        await both(settling(following, Ack(NATURAL_END)))
        await both(asked("d5", dedupe_key="k", offered=offer()))
        taken_back = want(Reclaimed, await both(Reclaim(abandoned=True))).items
        assert [each.dispatch.dispatch_id for each in taken_back] == ["d5"]
        assert len(want(ClaimedSome, await both(Claim(offers=(offer(),), rooms=PLENTY))).claims) == 1
        clock.tick(1)
        purged = want(Purged, await both(Purge(run_retention_ms=0, event_retention_ms=0)))
        assert (purged.runs, purged.events > 0) == (3, True)


# --- one log ----------------------------------------------------------------------------------------------------------


@behaviour("TR-043", "TR-101", "TR-103", "TR-104", "TR-105")
async def test_whatever_is_written_the_log_only_grows(store: Store, clock: ManualClock) -> None:
    """No write replaces the log or counts on its length: what was read once is read again, in its place."""
    seen: list[str] = []

    async def grown() -> int:
        stored = await log_of(store)
        assert [each.seq for each in stored] == list(range(1, len(stored) + 1))
        now = [each.message.id for each in stored]
        assert now[: len(seen)] == seen
        seen[:] = now
        return len(now)

    def saved(name: str) -> SaveThread:
        info, messages = ThreadInfo(title=name), (said(name),)
        return SaveThread(scope=SCOPE, thread_id=THREAD, info=info, messages=messages, if_exists="replace")

    assert isinstance(await apply(store, saved("s1")), ThreadSaved)
    assert await grown() == 1
    owner = await claimed(store, "d1")
    await submitted(store, "d2")
    assert await grown() == 2
    await committed(store, owner, answered("a1"))
    assert isinstance(await apply(store, saved("s2")), Busy)
    assert await grown() == 3
    await committed(store, owner, answered("a2"))
    assert await commit(store, owner, answered("a1", "changed")) == Conflict("message", "a1")
    assert await grown() == 4
    await settled(store, owner, Ack(NATURAL_END), answered("a3"), offered=offer())
    assert await grown() == 6
    await interrupt(store)
    await reclaim(store, abandoned=True)
    assert isinstance(await apply(store, saved("s2")), ThreadSaved)
    assert await grown() == 7
    clock.tick(1)
    await purge(store, runs_ms=0)
    assert await grown() == 7


@behaviour("EV-001", "EV-002", "EV-003", "EV-004", "EV-005", "EV-006", "EV-015")
async def test_the_log_is_what_the_accepted_transitions_wrote(store: Store, clock: ManualClock) -> None:
    """Each event once, in their order, at the end, where the transition belongs; what is refused wrote none."""
    accepted = await submitted(store, "d1", offered=offer())
    assert accepted.claimed is not None
    owner, wrote = accepted.claimed, list(accepted.appended)
    wrote += (await committed(store, owner, delta("a"), answered("m"))).appended
    wrote += (await submitted(store, "d2")).appended
    for refused in (
        await commit(store, owner, delta("b"), token="guessed"),
        await commit(store, owner, delta("b"), answered("m")),
        await apply(store, asked("d3", create_thread=False, max_queued=1)),
    ):
        assert isinstance(refused, LeaseLost | Conflict | Full)
    wrote += (await settled(store, owner)).appended
    assert isinstance(await commit(store, owner, delta("late")), LeaseLost)
    assert isinstance(await settle(store, owner), LeaseLost)
    wrote += (await cancelled(store, "d2")).appended

    rows = await events_of(store)

    assert rows == [each.row() for each in wrote]
    assert {(row.thread_id, row.run_id) for row in rows} == {(THREAD, run_id("d1")), (THREAD, run_id("d2"))}
    assert (await events_of(store, run=run_id("d1")))[-1].first_seq < rows[-1].first_seq


@behaviour("DS-006", "DS-007", "DS-008", "D-004")
async def test_a_run_starts_once_is_resumed_after_that_and_ends_once(store: Store, clock: ManualClock) -> None:
    """Start and end are parts of the claim and the settlement, which do not happen twice."""
    first = await claimed(store, "d1")
    await settled(store, first, Release("handed over"))
    seen = len(await kinds(store))

    second = await claim(store)

    assert second is not None
    assert (await kinds(store, after=seen)) == ["RunSubmitted", "RunResumed"]
    await settled(store, second)
    for owner in (first, second):
        assert isinstance(await settle(store, owner), LeaseLost)
    assert await claim(store) is None
    found = await kinds(store)
    assert [found.count(kind) for kind in ("RunStarted", "RunResumed", "RunFinished")] == [1, 1, 1]


@behaviour("MBX-189", "SV-038", "PM-012")
@pytest.mark.parametrize("how", ["settled", "suspended", "cancelled", "interrupted", "reclaimed"])
async def test_nothing_waits_in_a_thread_for_a_run_that_may_come(store: Store, clock: ManualClock, how: str) -> None:
    """What a run leaves is a queued run when that ends, so no later submit could take it along, and no list of threads
    in which something waits has to be gone through.
    """
    owner = await claimed(store, "d1", lease_ms=1_000)
    await staged(store, "m1")
    await staged(store, "m2", "follow_up", granularity="one")
    if how == "suspended":
        await settled(store, owner, suspended())
    elif how == "interrupted":
        await interrupt(store)
        await settled(store, owner)
    elif how == "reclaimed":
        await cancelled(store, "d1")
        clock.tick(2)
        await reclaim(store)
    else:
        if how == "cancelled":
            await cancelled(store, "d1")
        await settled(store, owner)

    assert await store.list_pending(SCOPE, THREAD) == []

    await submitted(store, "d2", metadata={"own": True})
    assert await store.list_pending(SCOPE, THREAD) == []
    taken: list[list[str]] = []
    while (run := await claim(store)) is not None:
        taken.append([message.id for message in run.messages])
        await settled(store, run)
    left = [] if how == "interrupted" else [["msg-m1"], ["msg-m2"]]
    assert taken == [*left, ["msg-d2"]]


# --- one step ---------------------------------------------------------------------------------------------------------


@behaviour("CC-001", "CC-002", "CC-003", "CC-004", "CC-005", "CC-006", "CC-007", "CC-008", "CC-009", "CC-010")
@behaviour("CC-011", "CC-012", "CC-013", "CC-024", "MBX-178")
async def test_a_step_is_stored_whole_or_not_at_all(store: Store, clock: ManualClock) -> None:
    """Messages, events, journal and totals are one transition: there is no plan of it, and no part that is staged."""
    owner = await claimed(store, "d1")
    journal = [JournalEntry("fetch#1", msgspec.Raw(b"1"))]
    closes = StepClosed(1, Usage(input_tokens=7))
    before = await snapshot(store)

    for refused in (
        await commit(store, owner, delta("x"), answered("a"), said("msg-d1"), journal=journal, closes=closes),
        await commit(store, owner, delta("x"), answered("a"), journal=journal, closes=closes, token="guessed"),
    ):
        assert isinstance(refused, Conflict | LeaseLost)
        assert await snapshot(store) == before
        assert await store.list_journal(SCOPE, run_id("d1")) == []

    stored = await committed(store, owner, delta("x"), answered("a"), journal=journal, closes=closes)

    assert await message_ids(store) == ["msg-d1", "a"]
    assert (await kinds(store))[-2:] == ["TextDeltaObserved", "MessageCommitted"]
    assert (await events_of(store))[-1] == stored.appended[-1].row()
    assert await store.list_journal(SCOPE, run_id("d1")) == journal
    assert ((await run_of(store, "d1")).steps, (await run_of(store, "d1")).usage) == (1, Usage(input_tokens=7))


@behaviour("MB-076", "MB-077")
async def test_a_result_is_recorded_by_the_settlement_that_ends_the_claim(store: Store, clock: ManualClock) -> None:
    """No commit records one, and none is there before the ack that would have to keep it."""
    owner = await claimed(store, "d1")
    await committed(store, owner, answered("the answer"), closes=StepClosed(1))
    await committed(store, owner, delta("more"), stream_open=True)

    run = await run_of(store, "d1")
    assert await dispatch_of(store, "d1") == owner.dispatch
    assert (run.status, run.termination, run.final_output, run.finished_at) == (RunStatus.RUNNING, None, None, None)

    done = await settled(store, owner, Ack(NATURAL_END, "out"))

    assert (done.dispatch, done.run) == (await dispatch_of(store, "d1"), await run_of(store, "d1"))
    assert (done.dispatch.status, done.dispatch.completed_at) == (DispatchStatus.ACKED, done.run.finished_at)
    assert (done.run.termination, done.run.final_output) == (NATURAL_END, "out")
    assert isinstance(await settle(store, owner, Ack(NATURAL_END, "another")), LeaseLost)
    assert await run_of(store, "d1") == done.run


@behaviour("SP-001", "SP-002", "SP-003")
async def test_what_was_streamed_of_an_unfinished_turn_is_in_the_log_and_nowhere_else(
    store: Store, clock: ManualClock
) -> None:
    """It is void when the run goes on; no copy of it is kept, replaced or deleted."""
    owner = await claimed(store, "d1")
    await committed(store, owner, delta("half a sen"), stream_open=True)
    assert (await message_ids(store), await store.list_journal(SCOPE, run_id("d1"))) == (["msg-d1"], [])

    await reclaim(store, abandoned=True)
    again = await claim(store)

    assert again is not None
    assert (again.run.stream_open, again.run.final_output) == (False, None)
    await settled(store, again, Ack(NATURAL_END), answered("a", "a whole sentence"))
    assert [each.message.text for each in await log_of(store)] == ["the text of msg-d1", "a whole sentence"]
    told = [kind for kind in await kinds(store) if kind in ("TextDeltaObserved", "StreamReset", "RunFinished")]
    assert told == ["TextDeltaObserved", "StreamReset", "RunFinished"]


@behaviour("MBX-081")
@pytest.mark.parametrize("interrupt_first", [True, False])
async def test_an_interrupt_comes_before_claim_and_start_or_after_both(store: Store, interrupt_first: bool) -> None:
    """They are one transaction, so nothing is claimed that has not started."""
    await submitted(store, "d1")
    stop, take = Interrupt(scope=SCOPE, thread_id=THREAD, id="i1"), Claim(offers=(offer(),), rooms=PLENTY)

    if interrupt_first:
        answer, taken = await store.apply([stop, take])
        assert want(ClaimedSome, taken).claims == ()
        assert (await dispatch_of(store, "d1")).status is DispatchStatus.SUPERSEDED
        assert "RunStarted" not in await kinds(store)
    else:
        [taken] = await store.apply([take])
        [owner] = want(ClaimedSome, taken).claims
        assert (owner.run.status, owner.run.started_at) == (RunStatus.RUNNING, owner.dispatch.updated_at)
        assert "RunStarted" in await kinds(store)
        [answer] = await store.apply([stop])
        assert isinstance(await commit(store, owner, answered("late")), LeaseLost)
    assert (want(Interrupted, answer).active is None) is interrupt_first


# --- signals ----------------------------------------------------------------------------------------------------------


@behaviour("SG-001")
async def test_a_store_that_is_alone_on_its_data_has_nothing_to_signal(store: Store, clock: ManualClock) -> None:
    """All there is to know is in its answers."""
    heard: list[Signal] = []
    store.listen(heard.append)

    await finished(store, "d1")
    await submitted(store, "d2")

    assert heard == []
    store.unlisten(heard.append)
