"""The audit of a running mailbox: after the start, from time to time, and when somebody asks."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest

from awaken.domain.errors import StoreUnavailable, Unavailable
from awaken.domain.ids import DEFAULT_SCOPE, ThreadId
from awaken.domain.run import RunStatus
from awaken.mailbox.settings import MailboxSettings
from awaken.store.invariants import FIRST_PLACE, AuditPlace, AuditSlice
from awaken.store.sqlite import SqliteStore
from awaken.testing.audit import check_sound
from awaken.testing.behaviour import behaviour
from awaken.testing.clock import ManualClock
from awaken.testing.conformance.steps import asked, submitted
from awaken.testing.mailboxes import WatchedStore, World

Hand = Callable[[str], None]
ROUND_S = 30 * 40
"""More than a round takes in a small file."""


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "awaken.db"


@pytest.fixture
def by_hand(path: Path) -> Hand:
    def run(statements: str) -> None:
        with closing(sqlite3.connect(path)) as db:
            before = db.total_changes
            db.executescript(statements)
            assert db.total_changes > before, "something was changed"

    return run


class Gated(WatchedStore):
    """Lets a test hold the audit, or have it fail."""

    gate: asyncio.Event | None = None
    error: Exception | None = None
    looks = 0

    async def find_breaches(self, place: AuditPlace = FIRST_PLACE) -> AuditSlice:
        self.looks += 1
        if self.gate is not None:
            await self.gate.wait()
        if self.error is not None:
            raise self.error
        return await super().find_breaches(place)


async def test_a_run_that_lost_its_dispatch_is_executed_after_the_next_start(
    path: Path, clock: ManualClock, by_hand: Hand, caplog: pytest.LogCaptureFixture
) -> None:
    async with SqliteStore(path, clock=clock) as store:
        await submitted(store, "lost", agent="gated", thread=ThreadId("t"))
    by_hand("DELETE FROM dispatches")

    async with World(SqliteStore(path, clock=clock), clock) as world:
        call = await world.agent.next_call()
        assert call.run_id == "run-lost"
        call.release("done")
        await world.quiet()
        run = await world.mailbox.get_run(DEFAULT_SCOPE, call.run_id)
        assert (run.status, run.final_output) == (RunStatus.DONE, "done")
        report = world.mailbox.health().audit
        assert (report.rounds, report.mended >= 1, report.refused) == (1, True, ())
    assert "repaired: open_run_has_dispatch: thread 't', 'run-lost'" in caplog.text


async def test_what_is_edited_while_it_is_served_is_found_within_a_round(
    path: Path, clock: ManualClock, by_hand: Hand
) -> None:
    async with World(SqliteStore(path, clock=clock), clock) as world:
        busy = await world.agent.next_call() if await world.submit() else None
        waits = await world.submit()
        by_hand("UPDATE threads SET queued = 9")
        by_hand(f"DELETE FROM dispatches WHERE dispatch_id = x'{waits.run.dispatch_id.replace('-', '')}'")

        await world.advance(ROUND_S)

        assert busy is not None
        assert not busy.is_over, "what is healthy goes on"
        await check_sound(world.store)
        busy.release()
        (await world.agent.next_call()).release("second")
        assert (await world.done(waits)).final_output == "second"


async def test_an_execution_whose_run_was_ended_by_hand_is_stopped(
    path: Path, clock: ManualClock, by_hand: Hand
) -> None:
    async with World(SqliteStore(path, clock=clock), clock) as world:
        await world.submit()
        call = await world.agent.next_call()
        by_hand("UPDATE runs SET status = 'done', finished_at = updated_at")

        await world.advance(ROUND_S)

        assert call.is_over
        assert (world.free_slots, world.mailbox.health().audit.refused) == (100, ())
        again = await world.submit("more")
        (await world.agent.next_call()).release("well")
        assert (await world.done(again)).final_output == "well", "the thread is free"


async def test_what_cannot_be_mended_is_logged_once_and_stays_in_the_report(
    path: Path, clock: ManualClock, by_hand: Hand, caplog: pytest.LogCaptureFixture
) -> None:
    async with World(SqliteStore(path, clock=clock), clock, audits=False) as world:
        run = await world.submit(thread_id="broken")
        (await world.agent.next_call()).release("x")
        await world.done(run)
        by_hand("DELETE FROM events WHERE first_seq = 1")

        await world.advance(3 * ROUND_S)

        [named] = world.mailbox.health().audit.refused
        assert str(named.breach).startswith("events_have_no_hole: thread 'broken', '1': ")
        assert world.mailbox.health().audit.refused_in(DEFAULT_SCOPE, ThreadId("broken")) == (named,)
        assert world.mailbox.health().audit.refused_in(DEFAULT_SCOPE, ThreadId("other")) == ()
        assert caplog.text.count("cannot be repaired: events_have_no_hole") == 1
        other = await world.submit(thread_id="other")
        (await world.agent.next_call()).release("fine")
        assert (await world.done(other)).final_output == "fine"


async def test_a_start_is_ready_before_anything_was_audited(store: WatchedStore, clock: ManualClock) -> None:
    gated = Gated(store)
    gated.gate = asyncio.Event()
    async with World(gated, clock, audits=False) as world:
        assert (world.mailbox.health().state, world.mailbox.health().audit.rounds) == ("ready", 0)
        run = await world.submit()
        (await world.agent.next_call()).release("served")
        assert (await world.done(run)).final_output == "served"

        gated.gate.set()
        await world.quiet()
        assert world.mailbox.health().audit.rounds == 1


async def test_a_store_that_does_not_answer_makes_the_audit_wait(
    store: WatchedStore, clock: ManualClock, caplog: pytest.LogCaptureFixture
) -> None:
    gated = Gated(store)
    gated.error = StoreUnavailable("the disk is gone")
    async with World(gated, clock, audits=False) as world:
        assert "the audit waits: the disk is gone" in caplog.text
        gated.error = None
        await world.advance(MailboxSettings().audit_interval_s)
        assert world.mailbox.health().audit.rounds == 1


async def test_an_idle_mailbox_looks_at_one_slice_each_interval(store: WatchedStore, clock: ManualClock) -> None:
    gated = Gated(store)
    settings = MailboxSettings(audit_interval_s=10, drain_s=0, handover_s=0)
    async with World(gated, clock, settings=settings) as world:
        first = gated.looks
        await world.advance(100)
        assert gated.looks - first == 10
        gated.looks = -1_000


async def test_who_asks_looks_through_everything_and_changes_nothing_unless_it_is_to_repair(
    path: Path, clock: ManualClock, by_hand: Hand
) -> None:
    async with World(SqliteStore(path, clock=clock), clock) as world:
        await world.submit()
        await world.agent.next_call()
        by_hand("UPDATE threads SET waiting = 9")

        looked = await world.mailbox.auditor.look(FIRST_PLACE, repairs=False)
        assert ([each.invariant for each in looked.found], looked.mendings) == (["counters_agree"], ())
        mended = await world.mailbox.auditor.look(FIRST_PLACE, repairs=True)
        assert [each.result for each in mended.mendings] == ["mended"]
        again = await world.mailbox.auditor.look(FIRST_PLACE, repairs=True)
        assert (again.found, again.mendings) == ((), ())


async def test_nobody_is_audited_who_has_not_started(store: WatchedStore, clock: ManualClock) -> None:
    world = World(store, clock)
    with pytest.raises(Unavailable):
        await world.mailbox.auditor.look(FIRST_PLACE, repairs=False)


@behaviour("MBX-124")
async def test_a_start_runs_nothing_again_that_is_done(path: Path, clock: ManualClock, by_hand: Hand) -> None:
    """Nor does it end up with rows for a dispatch that is gone."""
    async with World(SqliteStore(path, clock=clock), clock) as world:
        run = await world.submit()
        (await world.agent.next_call()).release("once")
        await world.done(run)
    by_hand("DELETE FROM dispatches")

    async with World(SqliteStore(path, clock=clock), clock) as world:
        assert world.agent.calls == []
        assert await world.store.load_dispatch(DEFAULT_SCOPE, run.run.dispatch_id) is None
        assert asked("any").run_id
