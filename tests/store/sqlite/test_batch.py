"""A batch is one transaction, and one item's bad luck is its own."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace

from awaken.domain.clock import Instant
from awaken.domain.dispatch import DispatchStatus
from awaken.domain.errors import DataIntegrity, StoreUnavailable
from awaken.domain.ids import MessageId, RunId
from awaken.domain.run import Run, RunStatus
from awaken.store import rules
from awaken.store.contract import MessageQuery, RunQuery, ThreadQuery
from awaken.store.rules import Changes, Facts
from awaken.store.sqlite import SqliteStore
from awaken.store.sqlite.writing import VALUES_AT_ONCE
from awaken.store.transitions import (
    Claim,
    ClaimedSome,
    Committed,
    Conflict,
    Failed,
    Interrupt,
    Interrupted,
    LeaseLost,
    Outcome,
    Reclaim,
    Reclaimed,
    Release,
    Replayed,
    Settled,
    Submit,
    Submitted,
    Transition,
)
from awaken.testing.behaviour import behaviour
from awaken.testing.clock import ManualClock
from awaken.testing.conformance.outbox import begins, removed
from awaken.testing.conformance.steps import (
    LEASE_MS,
    OTHER_SCOPE,
    PLENTY,
    SCOPE,
    THREAD,
    WORKER,
    answered,
    asked,
    claim_name,
    claim_some,
    claimed,
    committing,
    delta,
    dispatch_id,
    dispatch_of,
    finished,
    offer,
    purge,
    renew,
    run_of,
    said,
    settled,
    settling,
    submitted,
    thread_id,
    thread_of,
    want,
)

Hand = Callable[..., list[tuple[object, ...]]]

AROUND_A_STATEMENT = sorted({VALUES_AT_ONCE // columns + beside for columns in (27, 22, 9) for beside in (-1, 0, 1)})
"""Numbers of rows about as many as go into one statement, for dispatches, runs, and messages or events."""


def fresh(name: str, thread: str) -> Submit:
    """A submit whose caller minted every id itself, which the store takes at its word."""
    submit = asked(name, thread=thread_id(thread), digest=f"{name} in {thread}", offered=offer())
    return replace(submit, fresh_ids=True)


# --- collisions -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("count", [1, *AROUND_A_STATEMENT, 200])
async def test_a_batch_of_any_size_stores_what_its_items_store_one_by_one(tmp_path: Path, count: int) -> None:
    stored: list[list[object]] = []
    for name, sizes in (("together", [count]), ("one by one", [1] * count)):
        async with SqliteStore(tmp_path / f"{name}.db", clock=ManualClock()) as store:
            submits = iter([fresh(f"d{number}", f"t{number}") for number in range(count)])
            for size in sizes:
                await store.apply([next(submits) for _ in range(size)])
            names = [f"d{number}" for number in range(count)]
            threads = [thread_id(f"t{number}") for number in range(count)]
            stored.append(
                [
                    *[await run_of(store, name) for name in names],
                    *[replace(await dispatch_of(store, name), claim_token=None, instance_id=None) for name in names],
                    *[await store.list_messages(SCOPE, thread, MessageQuery()) for thread in threads],
                    *[await store.list_events(SCOPE, thread, after=0, limit=100) for thread in threads],
                ]
            )
    assert len(stored[0]) == 4 * count and stored[0] == stored[1]


async def test_a_batch_that_is_replayed_leaves_everything_in_the_order_it_would_have_had(tmp_path: Path) -> None:
    """Arrival numbers too, which order every list: those of the attempt that was rolled back are given again."""
    stored: list[list[object]] = []
    for name, culprits in (("replayed", [fresh("taken", "t5x")]), ("smooth", [])):
        async with SqliteStore(tmp_path / f"{name}.db", clock=ManualClock()) as store:
            await submitted(store, "taken", thread=thread_id("elsewhere"))
            submits = [asked(f"d{number}", thread=thread_id(f"t{number}")) for number in range(AROUND_A_STATEMENT[2])]
            await store.apply([*submits[:5], *culprits, *submits[5:]])
            stored.append(
                [
                    *(await store.list_runs(SCOPE, RunQuery(limit=200))).items,
                    *(await store.list_threads(SCOPE, ThreadQuery(limit=200))).items,
                    *(await claim_some(store, limit=200)).appended,
                ]
            )
    assert len(stored[0]) == 3 * (AROUND_A_STATEMENT[2] + 1) and stored[0] == stored[1]


async def test_a_taken_id_among_many_rows_of_one_statement_costs_only_the_one_who_brought_it(
    store: SqliteStore,
) -> None:
    await submitted(store, "d30", thread=thread_id("elsewhere"))
    outcomes = await store.apply([fresh(f"d{number}", f"t{number}") for number in range(2 * max(AROUND_A_STATEMENT))])
    assert outcomes.pop(30) == Conflict("run", "run-d30")
    assert all(want(Submitted, outcome).claimed is not None for outcome in outcomes)


async def test_a_taken_run_id_costs_only_the_one_who_brought_it(store: SqliteStore) -> None:
    await submitted(store, "d1", thread=thread_id("t0"))
    batch: list[Transition] = [fresh("d2", "t1"), fresh("d1", "t2"), fresh("d3", "t3")]
    first, culprit, last = await store.apply(batch)
    assert want(Submitted, first).claimed is not None
    assert culprit == Conflict("run", "run-d1")
    assert want(Submitted, last).claimed is not None
    assert await store.load_thread(SCOPE, thread_id("t2")) is None


async def test_of_two_in_one_batch_with_one_run_id_the_first_wins(store: SqliteStore) -> None:
    same = replace(fresh("d1", "t2"), dispatch_id=fresh("d9", "t2").dispatch_id)
    first, second = await store.apply([fresh("d1", "t1"), same])
    assert isinstance(first, Submitted)
    assert second == Conflict("run", "run-d1")


async def test_a_submit_that_is_refused_still_sees_the_same_run_id_before_it_in_the_batch(store: SqliteStore) -> None:
    other = asked("d1", dispatch=dispatch_id("d2"), thread=thread_id("t2"), digest="other", create_thread=False)
    first, second = await store.apply([asked("d1", thread=thread_id("t1")), other])
    assert isinstance(first, Submitted)
    assert second == Conflict("run", "run-d1")


async def test_a_fresh_submit_that_was_accepted_before_is_recognised_all_the_same(store: SqliteStore) -> None:
    await store.apply([fresh("d1", "t1")])
    again, other = await store.apply([fresh("d1", "t1"), fresh("d2", "t2")])
    assert want(Replayed, again).run == await run_of(store, "d1")
    assert isinstance(other, Submitted)


async def test_a_taken_message_id_costs_only_the_commit_that_brought_it(store: SqliteStore) -> None:
    mine = await claimed(store, "d1", thread=thread_id("t1"))
    other = await claimed(store, "d2", thread=thread_id("t2"))
    culprit, neighbour = await store.apply(
        [committing(mine, delta("lost"), said("msg-d1")), committing(other, answered("fine"))]
    )
    assert culprit == Conflict("message", "msg-d1")
    assert want(Committed, neighbour).last_message_seq == 2
    events = await store.list_events(SCOPE, thread_id("t1"), after=0, limit=100)
    assert "TextDeltaObserved" not in [event.kind for row in events for event in row.events]


async def test_the_same_message_twice_in_one_commit_is_nobody_elses_loss(store: SqliteStore) -> None:
    """The store checks what the mailbox promises: the rows themselves refuse it."""
    mine = await claimed(store, "d1", thread=thread_id("t1"))
    other = await claimed(store, "d2", thread=thread_id("t2"))
    culprit, neighbour = await store.apply([committing(mine, answered("twice"), answered("twice")), settling(other)])
    assert isinstance(want(Failed, culprit).error, DataIntegrity)
    assert isinstance(neighbour, Settled)
    assert (await thread_of(store, thread_id("t1"))).message_count == 1


async def test_a_set_after_a_collision_sees_what_the_others_did(store: SqliteStore) -> None:
    await submitted(store, "d1", thread=thread_id("t0"))
    batch: list[Transition] = [
        asked("d2", thread=thread_id("t1")),
        fresh("d1", "t2"),
        Claim(offers=(offer(), offer(), offer()), rooms=PLENTY),
    ]
    _, culprit, taken = await store.apply(batch)
    assert culprit == Conflict("run", "run-d1")
    assert [claim.dispatch.dispatch_id for claim in want(ClaimedSome, taken).claims] == ["d1", "d2"]


# --- surprises --------------------------------------------------------------------------------------------------------


async def test_a_rule_that_raises_fails_its_own_item(store: SqliteStore, monkeypatch: pytest.MonkeyPatch) -> None:
    decide = rules.submit

    def faulty(t: Submit, facts: Facts, changes: Changes, now: Instant) -> Outcome:
        if t.run_id == "run-d2":
            raise ZeroDivisionError("a bug")
        return decide(t, facts, changes, now)

    monkeypatch.setattr(rules, "submit", faulty)
    outcomes = await store.apply([fresh("d1", "t1"), fresh("d2", "t2"), fresh("d3", "t3")])
    assert [type(outcome) for outcome in outcomes] == [Submitted, Failed, Submitted]
    assert isinstance(want(Failed, outcomes[1]).error, ZeroDivisionError)
    assert await store.load_thread(SCOPE, thread_id("t2")) is None
    monkeypatch.undo()
    assert await claim_name(store) is None  # both were claimed, nothing of the third is left


async def test_a_damaged_row_fails_only_who_needs_it(store: SqliteStore, by_hand: Hand) -> None:
    mine = await claimed(store, "d1", thread=thread_id("t1"))
    other = await claimed(store, "d2", thread=thread_id("t2"))
    by_hand("UPDATE runs SET state = x'00' WHERE run_id = 'run-d1'")
    culprit, neighbour = await store.apply([settling(mine), settling(other)])
    assert "run-d1" in str(want(Failed, culprit).error)
    assert isinstance(neighbour, Settled)


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        ("UPDATE runs SET state = x'00' WHERE run_id = 'run-d1'", "run 'run-d1' is damaged"),
        ("UPDATE messages SET body = x'00' WHERE message_id = 'msg-d1'", "message 'msg-d1' is damaged"),
    ],
)
async def test_damage_keeps_no_other_thread_from_being_claimed(
    store: SqliteStore, by_hand: Hand, damage: str, said: str
) -> None:
    await submitted(store, "d1", thread=thread_id("t1"))
    await submitted(store, "d2", thread=thread_id("t2"))
    by_hand(damage)
    taken = await claim_some(store, limit=2)
    assert [claim.dispatch.dispatch_id for claim in taken.claims] == ["d2"]
    [buried] = taken.closed
    assert buried.dispatch.status is DispatchStatus.DEAD_LETTER
    assert said in (buried.dispatch.last_error or "")


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        ("UPDATE threads SET position = -1 WHERE thread_id = 't1'", "thread 't1': its counters contradict each other"),
        ("UPDATE dispatches SET attempt_count = 99 WHERE dispatch_id = 'd1'", "dispatch 'd1': 99 of"),
    ],
)
async def test_a_damaged_thread_stands_still_alone(
    store: SqliteStore, by_hand: Hand, caplog: pytest.LogCaptureFixture, damage: str, said: str
) -> None:
    """It is due for ever and can never be claimed: that must neither hide the others nor look like something to do."""
    await submitted(store, "d1", thread=thread_id("t1"))
    await submitted(store, "d2", thread=thread_id("t2"))
    by_hand(damage)
    taken = await claim_some(store, limit=3)
    assert [claim.dispatch.dispatch_id for claim in taken.claims] == ["d2"]
    assert (taken.due_left, taken.next_due_in_ms) == (0, LEASE_MS + 1)
    assert (await claim_some(store, limit=3)).claims == ()
    assert [said in record.getMessage() for record in caplog.records] == [True]


@behaviour("AUD-001")
async def test_what_is_queued_and_damaged_costs_neither_who_is_ahead_of_it_nor_who_comes(
    store: SqliteStore, by_hand: Hand
) -> None:
    """Nobody passes it: the order of a thread holds until it is repaired."""
    owner = await claimed(store, "d1")
    await submitted(store, "d2")
    by_hand("UPDATE dispatches SET attempt_count = 99 WHERE dispatch_id = 'd2'")

    ended = want(Settled, (await store.apply([settling(owner, offered=offer())]))[0])
    assert (ended.run.status, ended.claimed) == (RunStatus.DONE, None)
    [late] = await store.apply([asked("d3", offered=offer())])
    assert want(Submitted, late).claimed is None
    assert (await claim_some(store, limit=3)).claims == ()

    by_hand("UPDATE dispatches SET attempt_count = 0 WHERE dispatch_id = 'd2'")
    for name in ("d2", "d3"):
        [claim] = (await claim_some(store, limit=3)).claims
        assert claim.dispatch.dispatch_id == name
        await store.apply([settling(claim)])


async def test_a_damaged_claim_keeps_no_other_from_being_taken_back(
    store: SqliteStore, by_hand: Hand, clock: ManualClock
) -> None:
    await claimed(store, "d1", thread=thread_id("t1"))
    await claimed(store, "d2", thread=thread_id("t2"))
    by_hand("UPDATE dispatches SET attempt_count = 99 WHERE dispatch_id = 'd1'")
    clock.tick(LEASE_MS / 1000 + 1)
    [taken] = await store.apply([Reclaim()])
    assert [item.dispatch.dispatch_id for item in want(Reclaimed, taken).items] == ["d2"]
    assert want(Reclaimed, taken).more is False
    assert (await claim_some(store, limit=2)).claims[0].dispatch.dispatch_id == "d2"


async def test_a_queued_dispatch_of_a_run_that_has_ended_is_closed(store: SqliteStore, by_hand: Hand) -> None:
    """Only a restore or a hand edit brings one about. The run stays as it ended."""
    await store.apply([settling(await claimed(store, "d1"))])
    ended = await run_of(store, "d1")
    by_hand(
        "UPDATE dispatches SET status = 'queued', completed_at = NULL WHERE dispatch_id = 'd1'",
    )
    by_hand("UPDATE threads SET queued = 1, ready_route = 'agent-1', ready_priority = 128, ready_at = 0, ready_no = 2")
    taken = await claim_some(store)
    assert taken.claims == ()
    [closed] = taken.closed
    assert (closed.dispatch.status, closed.dispatch.last_error) == (DispatchStatus.SUPERSEDED, "its run has ended")
    assert await run_of(store, "d1") == ended


async def test_the_claim_of_a_run_that_has_ended_is_acked_when_it_is_taken_back(
    store: SqliteStore, by_hand: Hand, clock: ManualClock
) -> None:
    await store.apply([settling(await claimed(store, "d1"))])
    ended = await run_of(store, "d1")
    by_hand(
        "UPDATE dispatches SET status = 'claimed', completed_at = NULL, claim_token = 'token', claimed_by = 'worker',"
        " lease_until = 0 WHERE dispatch_id = 'd1'"
    )
    [taken] = await store.apply([Reclaim()])
    [item] = want(Reclaimed, taken).items
    assert item.dispatch.status is DispatchStatus.ACKED
    assert await run_of(store, "d1") == ended


@pytest.mark.parametrize("column", ["claim_token", "claimed_by"])
async def test_a_claim_that_lost_its_holder_keeps_nobody_from_opening_the_file(
    path: Path, clock: ManualClock, by_hand: Hand, caplog: pytest.LogCaptureFixture, column: str
) -> None:
    async with SqliteStore(path, clock=clock) as store:
        await claimed(store, "d1", thread=thread_id("t1"), lease_ms=None)
        await claimed(store, "d2", thread=thread_id("t2"), lease_ms=None)
    by_hand(f"UPDATE dispatches SET {column} = NULL WHERE dispatch_id = 'd1'")
    async with SqliteStore(path, clock=clock) as store:
        assert [claim.dispatch.dispatch_id for claim in (await claim_some(store, limit=2)).claims] == ["d2"]
    assert any("thread 't1' stands still until it is repaired" in record.getMessage() for record in caplog.records)


CONTRADICTIONS = [
    "UPDATE threads SET event_seq = 0 WHERE thread_id = 't1'",
    "INSERT INTO thread_entries SELECT no, 1, event_seq + 1, 1 FROM threads WHERE thread_id = 't1'",
]
"""Rows that can be read, and that do not let the next event of thread `t1` be written."""


@pytest.mark.parametrize("damage", CONTRADICTIONS)
async def test_a_thread_whose_rows_contradict_each_other_keeps_no_other_from_being_claimed(
    store: SqliteStore, by_hand: Hand, caplog: pytest.LogCaptureFixture, damage: str
) -> None:
    for number in range(1, 5):
        await submitted(store, f"d{number}", thread=thread_id(f"t{number}"))
    by_hand(damage)
    before = await dispatch_of(store, "d1")
    taken = await claim_some(store, limit=3)
    assert [claim.dispatch.dispatch_id for claim in taken.claims] == ["d2", "d3", "d4"]
    assert {row.thread_id for row in taken.appended} == {"t2", "t3", "t4"}
    assert (await claim_some(store, limit=3)).claims == ()
    assert await dispatch_of(store, "d1") == before
    [logged] = [record.getMessage() for record in caplog.records]
    assert logged.startswith("thread 't1' stands still until it is repaired: its rows contradict each other")
    await settled(store, taken.claims[0])


@pytest.mark.parametrize("damage", CONTRADICTIONS)
async def test_a_thread_whose_rows_contradict_each_other_keeps_nobody_from_opening_the_file(
    path: Path, clock: ManualClock, by_hand: Hand, damage: str
) -> None:
    async with SqliteStore(path, clock=clock) as store:
        for number in range(1, 4):
            await claimed(store, f"d{number}", thread=thread_id(f"t{number}"), lease_ms=None)
    by_hand(damage)
    async with SqliteStore(path, clock=clock) as store:
        assert (await dispatch_of(store, "d1")).status is DispatchStatus.CLAIMED
        assert [claim.dispatch.dispatch_id for claim in (await claim_some(store, limit=3)).claims] == ["d2", "d3"]


async def test_a_damaged_claim_costs_no_other_its_lease(store: SqliteStore, by_hand: Hand) -> None:
    mine = await claimed(store, "d1", thread=thread_id("t1"))
    other = await claimed(store, "d2", thread=thread_id("t2"))
    by_hand("UPDATE dispatches SET attempt_count = 99 WHERE dispatch_id = 'd1'")
    assert [renewal.lease_in_ms for renewal in await renew(store, mine, other)] == [None, LEASE_MS]
    assert [held.dispatch for held in await store.list_claims(WORKER)] == [await dispatch_of(store, "d2")]


async def test_a_damaged_run_is_kept_and_keeps_no_other(
    store: SqliteStore, clock: ManualClock, by_hand: Hand, caplog: pytest.LogCaptureFixture
) -> None:
    for name in ("d1", "d2", "d3"):
        await store.apply([settling(await claimed(store, name))])
    by_hand("UPDATE runs SET state = x'00' WHERE run_id = 'run-d1'")
    clock.tick(1)
    for left in (1, 0):
        outcome = await purge(store, runs_ms=0, limit=1)
        assert outcome.runs == 1
        assert by_hand("SELECT count(*) FROM runs") == [(1 + left,)]
    assert (await purge(store, runs_ms=0)).runs == 0
    assert ["run 'run-d1' is damaged" in record.getMessage() for record in caplog.records] == [True]


async def test_an_interrupt_of_a_damaged_queue_fails_alone(store: SqliteStore, by_hand: Hand) -> None:
    await submitted(store, "d1", thread=thread_id("t1"))
    await submitted(store, "d2", thread=thread_id("t2"))
    by_hand("DELETE FROM runs WHERE run_id = 'run-d1'")
    culprit, neighbour = await store.apply(
        [
            Interrupt(scope=SCOPE, thread_id=thread_id("t1"), id="i1"),
            Interrupt(scope=SCOPE, thread_id=thread_id("t2"), id="i2"),
        ]
    )
    assert "'run-d1' does not exist" in str(want(Failed, culprit).error)
    assert want(Interrupted, neighbour).epoch == 1
    assert (await thread_of(store, thread_id("t1"))).epoch == 0


async def test_no_number_is_given_again_after_what_had_it_is_purged(
    path: Path, clock: ManualClock, by_hand: Hand
) -> None:
    """Neither after the store was opened again, nor after a foreign write, nor after a replay."""
    async with SqliteStore(path, clock=clock) as store:
        numbers = [(await finished(store, "d1")).run.no]
        clock.tick(1)
        outcome = await purge(store, runs_ms=0, events_ms=0)
        assert (outcome.runs, outcome.events) == (1, 5)
    assert by_hand("SELECT (SELECT count(*) FROM runs), (SELECT count(*) FROM events)") == [(0, 0)]
    async with SqliteStore(path, clock=clock) as store:
        numbers.append((await finished(store, "d2")).run.no)
        clock.tick(1)
        await purge(store, runs_ms=0, events_ms=0)
        by_hand("UPDATE threads SET updated_at = updated_at + 1")
        await submitted(store, "taken", thread=thread_id("elsewhere"))
        numbers.append((await run_of(store, "taken")).no)
        outcomes = await store.apply([asked("d3"), fresh("taken", "other")])
        numbers.append(want(Submitted, outcomes[0]).run.no)
    assert numbers == sorted(set(numbers))
    [[first_row]] = by_hand("SELECT min(no) FROM events")
    assert isinstance(first_row, int) and first_row > outcome.last_row


async def test_no_number_is_given_again_after_the_errand_that_had_it_is_delivered(
    path: Path, clock: ManualClock
) -> None:
    seen: list[int] = []
    for name in ("d1", "d2"):
        async with SqliteStore(path, clock=clock) as store:
            owner = await claimed(store, name, thread=thread_id(name))
            await store.apply([committing(owner, posts=[begins(f"{name}-errand")])])
            [row] = await store.list_outbox()
            seen.append(row.no)
            assert await removed(store, row) == 1
        async with SqliteStore(path, clock=clock) as store:
            seen.append((await finished(store, f"{name}-next")).run.no)
    assert seen == sorted(set(seen))


async def test_a_file_whose_numbers_are_lost_goes_on_behind_its_rows(store: SqliteStore, by_hand: Hand) -> None:
    first = await submitted(store, "d1")
    by_hand("DELETE FROM numbers")
    assert (await submitted(store, "d2")).run.no > first.run.no


async def test_a_row_changed_from_outside_is_read_again(store: SqliteStore, by_hand: Hand) -> None:
    """What the writer remembers counts only while nobody else has written."""
    mine = await claimed(store, "d1")
    by_hand("UPDATE dispatches SET claim_token = 'a successor' WHERE dispatch_id = 'd1'")
    [outcome] = await store.apply([settling(mine)])
    assert outcome == LeaseLost("other_owner")
    assert (await dispatch_of(store, "d1")).claim_token == "a successor"


# --- one transaction --------------------------------------------------------------------------------------------------


@behaviour("TR-111", "TR-112")
async def test_a_full_disk_changes_nothing_and_work_goes_on_when_there_is_space(
    path: Path, clock: ManualClock, writer_connections: list[sqlite3.Connection]
) -> None:
    async with SqliteStore(path, clock=clock) as store:
        await submitted(store, "d1", thread=thread_id("t1"))
        [writer] = writer_connections
        [pages] = writer.execute("PRAGMA page_count").fetchone()
        writer.execute(f"PRAGMA max_page_count = {pages}")
        big = asked("d2", thread=thread_id("t2"), messages=[said("long", "x" * 100_000)])
        with pytest.raises(StoreUnavailable, match="the disk is full"):
            await store.apply([asked("d3", thread=thread_id("t3")), big])
        assert [run.run_id for run in await runs_of(store)] == ["run-d1"]
        assert await store.load_thread(SCOPE, thread_id("t3")) is None
        writer.execute("PRAGMA max_page_count = 1000000")
        outcomes = await store.apply([asked("d3", thread=thread_id("t3")), big])
        assert [type(outcome) for outcome in outcomes] == [Submitted, Submitted]


async def runs_of(store: SqliteStore) -> list[Run]:
    found = [await store.load_run(SCOPE, RunId(f"run-d{number}")) for number in range(1, 4)]
    return [run for run in found if run is not None]


async def test_a_caller_that_goes_away_leaves_the_transaction_to_finish(store: SqliteStore) -> None:
    applying = asyncio.ensure_future(store.apply([asked("d1")]))
    await asyncio.sleep(0)
    applying.cancel()
    with pytest.raises(asyncio.CancelledError):
        await applying
    await submitted(store, "d2")
    assert (await run_of(store, "d1")).status is RunStatus.CREATED


async def test_a_batch_over_several_scopes_keeps_them_apart(store: SqliteStore) -> None:
    elsewhere = replace(asked("d1"), scope=OTHER_SCOPE)
    outcomes = await store.apply([asked("d1"), elsewhere])
    assert [type(outcome) for outcome in outcomes] == [Submitted, Submitted]
    for scope in (SCOPE, OTHER_SCOPE):
        assert await store.load_message(scope, THREAD, MessageId("msg-d1")) is not None
        assert (await thread_of(store, scope=scope)).queued_count == 1


async def test_a_closed_store_says_so(path: Path) -> None:
    store = SqliteStore(path)
    with pytest.raises(StoreUnavailable, match="not open"):
        await store.apply([asked("d1")])
    async with store:
        await submitted(store, "d1")
    with pytest.raises(StoreUnavailable, match="not open"):
        await store.list_messages(SCOPE, THREAD, MessageQuery())


async def test_a_settlement_after_the_writer_forgot_the_thread_reads_it_again(
    store: SqliteStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("awaken.store.sqlite.cache.MAX_THREADS", 1)
    first = await claimed(store, "d1", thread=thread_id("t1"))
    await claimed(store, "d2", thread=thread_id("t2"))
    assert (await settled(store, first)).run.status is RunStatus.DONE


async def test_what_was_just_queued_is_claimed_without_looking_for_it(
    store: SqliteStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    await submitted(store, "d1")
    monkeypatch.delattr("awaken.store.sqlite.facts._NEXT_DUE")
    [taken] = (await claim_some(store)).claims
    assert taken.dispatch.dispatch_id == "d1"


async def test_of_two_that_wait_the_more_urgent_is_looked_for(store: SqliteStore) -> None:
    """Also when only one of them was seen, and when the other has come back to the queue since."""
    await submitted(store, "later", delay_ms=60_000)
    first = await claimed(store, "urgent", priority=1)
    await settled(store, first, Release("handed over"))
    [again] = (await claim_some(store)).claims
    assert again.dispatch.dispatch_id == "urgent"
    assert (await settled(store, again)).ready_in_ms == 60_000


async def test_a_value_that_cannot_be_stored_is_nobody_elses_loss(store: SqliteStore) -> None:
    endless = asked("d1", thread=thread_id("t1"), available_at=1 << 70)
    culprit, neighbour = await store.apply([endless, asked("d2", thread=thread_id("t2"))])
    assert isinstance(want(Failed, culprit).error, OverflowError)
    assert isinstance(neighbour, Submitted)


async def test_a_value_of_no_column_is_nobody_elses_loss(store: SqliteStore) -> None:
    key: Any = ["a"]
    odd = asked("d3", thread=thread_id("t1"), dedupe_key=key)
    culprit, neighbour = await store.apply([odd, asked("d4", thread=thread_id("t2"))])
    assert isinstance(want(Failed, culprit).error, sqlite3.Error)
    assert isinstance(neighbour, Submitted)
