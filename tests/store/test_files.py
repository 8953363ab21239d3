"""What a file may be that no transition makes of it: restored, edited by hand, out of reach, or named in an odd way."""

from __future__ import annotations

import sqlite3
from collections.abc import AsyncIterator, Callable
from contextlib import closing
from pathlib import Path

import pytest

from awaken import Awaken, Context
from awaken.domain.dispatch import DispatchStatus
from awaken.domain.errors import StoreUnavailable, ValidationError
from awaken.domain.ids import DEFAULT_SCOPE, ThreadId
from awaken.domain.run import RunStatus
from awaken.store.contract import DispatchQuery
from awaken.store.sqlite import SqliteStore
from awaken.store.transitions import Retry
from awaken.testing.behaviour import behaviour
from awaken.testing.clock import ManualClock
from awaken.testing.conformance.steps import (
    AT_ONCE,
    SCOPE,
    claim,
    claim_name,
    claim_some,
    claimed,
    dispatch_id,
    dispatch_of,
    finished,
    interrupt,
    names,
    offer,
    purge,
    reclaim,
    run_of,
    settled,
    submitted,
)
from awaken.testing.mailboxes import World
from tests.store.backups import copy_content

Hand = Callable[[str], None]
"""Runs statements on the file, over a connection of its own."""


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "awaken.db"


@pytest.fixture
def backup(tmp_path: Path) -> Path:
    return tmp_path / "backup.db"


@pytest.fixture
async def store(path: Path, clock: ManualClock) -> AsyncIterator[SqliteStore]:
    async with SqliteStore(path, clock=clock) as opened:
        yield opened


@pytest.fixture
def by_hand(path: Path) -> Hand:
    def run(statements: str) -> None:
        with closing(sqlite3.connect(path)) as db:
            db.executescript(statements)

    return run


# --- restored under a running store -----------------------------------------------------------------------------------


@behaviour("MB-068")
async def test_after_a_restore_the_queue_is_as_the_rows_have_it(store: SqliteStore, path: Path, backup: Path) -> None:
    """The writer remembers a queue of one by then, and it is not the head of what was restored."""
    await submitted(store, "head", priority=1)
    await submitted(store, "behind")
    copy_content(path, backup)
    first = await claim(store)
    assert first is not None
    await settled(store, first)

    copy_content(backup, path)

    assert [await claim_name(store), await claim_name(store)] == ["head", None]
    assert await names(store, DispatchStatus.QUEUED) == ["behind"]


@behaviour("MB-110")
async def test_after_a_restore_an_interrupt_names_the_claim_that_was_restored(
    store: SqliteStore, path: Path, backup: Path
) -> None:
    owner = await claimed(store, "d1")
    copy_content(path, backup)
    await settled(store, owner)
    assert (await interrupt(store)).active is None

    copy_content(backup, path)

    assert (await interrupt(store)).active == owner.dispatch


@behaviour("MB-127")
async def test_after_a_restore_a_sweep_takes_back_the_claim_that_was_restored(
    store: SqliteStore, path: Path, backup: Path
) -> None:
    owner = await claimed(store, "d1")
    copy_content(path, backup)
    await settled(store, owner)
    assert (await reclaim(store, abandoned=True)).items == ()

    copy_content(backup, path)

    [item] = (await reclaim(store, abandoned=True)).items
    assert item.dispatch == await dispatch_of(store, "d1")
    assert (item.dispatch.status, item.dispatch.claim_token, item.dispatch.lease_until) == (
        DispatchStatus.QUEUED,
        None,
        None,
    )


@behaviour("MB-149")
async def test_after_a_restore_a_purge_removes_what_was_restored(
    store: SqliteStore, path: Path, backup: Path, clock: ManualClock
) -> None:
    await finished(store, "d1")
    copy_content(path, backup)
    clock.tick(1)
    assert [(await purge(store, runs_ms=0)).runs for _ in range(2)] == [1, 0]

    copy_content(backup, path)

    assert (await purge(store, runs_ms=0)).runs == 1
    assert await store.load_dispatch(SCOPE, dispatch_id("d1")) is None


# --- edited by hand ---------------------------------------------------------------------------------------------------


@behaviour("MB-062")
async def test_queued_work_of_an_older_epoch_is_superseded_and_what_is_behind_it_is_taken(
    store: SqliteStore, by_hand: Hand
) -> None:
    """An interrupt supersedes the whole queue, so that only a hand leaves something of an older epoch in it."""
    await submitted(store, "stale", priority=1)
    by_hand("UPDATE threads SET epoch = epoch + 1")
    await submitted(store, "fresh")

    taken = await claim_some(store)

    assert [each.dispatch.dispatch_id for each in taken.claims] == ["fresh"]
    assert [each.dispatch.dispatch_id for each in taken.closed] == ["stale"]
    assert (await dispatch_of(store, "stale")).status is DispatchStatus.SUPERSEDED
    assert (await run_of(store, "stale")).status is RunStatus.DONE


@behaviour("MB-063")
async def test_no_offer_hands_out_queued_work_of_an_older_epoch(store: SqliteStore, by_hand: Hand) -> None:
    owner = await claimed(store, "d1")
    await submitted(store, "stale", priority=1)
    by_hand("UPDATE threads SET epoch = epoch + 1")

    done = await settled(store, owner, offered=offer())
    later = await submitted(store, "fresh", offered=offer())

    assert (done.claimed, later.claimed) == (None, None)
    assert await claim_name(store) == "fresh"
    assert (await dispatch_of(store, "stale")).status is DispatchStatus.SUPERSEDED


@behaviour("SV-030")
async def test_queued_work_whose_run_has_ended_is_closed_and_not_executed(
    store: SqliteStore, path: Path, backup: Path, by_hand: Hand, tmp_path: Path
) -> None:
    """The queue of before, the run of after: a file put together from two backups. The run stays as it ended."""
    await settled(store, await claimed(store, "d1"), Retry("busy", AT_ONCE))
    copy_content(path, backup)
    again = await claim(store)
    assert again is not None
    ended = (await settled(store, again)).run
    copy_content(path, later := tmp_path / "later.db")

    copy_content(backup, path)
    by_hand(f"ATTACH '{later}' AS later; REPLACE INTO runs SELECT * FROM later.runs WHERE run_id = 'run-d1'")

    taken = await claim_some(store)
    assert taken.claims == ()
    assert [each.dispatch.status for each in taken.closed] == [DispatchStatus.SUPERSEDED]
    assert await run_of(store, "d1") == ended


@behaviour("MBX-124")
async def test_a_run_that_is_done_and_whose_dispatch_is_gone_gets_no_other(
    path: Path, clock: ManualClock, by_hand: Hand
) -> None:
    """What gives runs the dispatch they lack has to pass it over."""
    async with World(SqliteStore(path, clock=clock), clock) as world:
        submission = await world.submit()
        (await world.agent.next_call()).release("done")
        done = await world.done(submission)
    by_hand("DELETE FROM dispatches")

    async with World(SqliteStore(path, clock=clock), clock, seed=2) as world:
        await world.advance(120)

        assert world.agent.calls == []
        assert (await world.store.list_dispatches(DEFAULT_SCOPE, DispatchQuery(thread_id=ThreadId("t")))).items == ()
        assert await world.run(done) == done


@behaviour("MBX-069")
async def test_a_dispatch_whose_run_is_gone_is_dead_lettered_and_never_executed(
    path: Path, clock: ManualClock, by_hand: Hand
) -> None:
    async with World(SqliteStore(path, clock=clock), clock, audits=False) as world:
        broken = await world.submit(delay_s=5, priority=1)
        good = await world.submit(delay_s=5)
        by_hand(f"DELETE FROM runs WHERE run_id = x'{broken.run.run_id.replace('-', '')}'")
        await world.advance(5)

        assert [call.run_id for call in world.agent.calls] == [good.run.run_id]
        buried = await world.store.load_dispatch(DEFAULT_SCOPE, broken.run.dispatch_id)
        assert buried is not None and buried.status is DispatchStatus.DEAD_LETTER
        assert "not found" in (buried.last_error or "")
        await world.advance(60)
        assert await world.store.load_dispatch(DEFAULT_SCOPE, broken.run.dispatch_id) == buried


# --- out of reach, or named in an odd way -----------------------------------------------------------------------------


async def echo(context: Context) -> str:
    return await context.input()


@behaviour("MB-173")
async def test_a_store_out_of_reach_is_refused_by_name_and_opened_once_it_can_be_reached(tmp_path: Path) -> None:
    folder = tmp_path / "not there yet"
    app = Awaken(f"sqlite:///{folder}/awaken.db")
    app.agent("echo", echo)

    with pytest.raises(StoreUnavailable, match="not there yet"):
        async with app:
            pass
    assert not folder.exists()

    folder.mkdir()
    async with app:
        assert (await app.run("t", "hello")).final_output == "hello"


@behaviour("TR-119", "TR-121")
async def test_an_id_that_could_be_part_of_a_path_is_refused_and_no_file_is_made_of_one(tmp_path: Path) -> None:
    """Everything is in the one database: its file, its log and index, and the lock."""
    app = Awaken(f"sqlite:///{tmp_path}/awaken.db")
    app.agent("echo", echo)
    async with app:
        for bad in ("..", "a/b", "../a", "a\\b", "a\x00b", "a\nb", "a b", " "):
            with pytest.raises(ValidationError):
                await app.submit(bad, "hello")
            with pytest.raises(ValidationError):
                await app.submit("t", "hello", run_id=bad)
        await app.run("t", "hello")

        assert names_in(tmp_path) == {"awaken.db", "awaken.db-wal", "awaken.db-shm", "awaken.db.lock"}


def names_in(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


@behaviour("TR-120")
async def test_two_spellings_of_one_file_are_one_file_with_one_owner(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "folder").mkdir()
    async with Awaken("sqlite:///awaken.db"):
        for spelling in (f"{tmp_path}/awaken.db", "folder/../awaken.db", "./awaken.db"):
            with pytest.raises(StoreUnavailable, match="already served"):
                async with Awaken(f"sqlite:///{spelling}"):
                    pass


@behaviour("MB-173")
async def test_a_file_that_is_moved_away_takes_no_accepted_run_with_it(tmp_path: Path) -> None:
    """What is refused is refused at once; what was accepted is there when the file is back, in the next process too."""
    path, elsewhere = tmp_path / "runs.db", tmp_path / "elsewhere.db"
    app = Awaken(f"sqlite:///{path}")
    app.agent("echo", echo)
    async with app:
        accepted = await app.run("t", "hello")
        path.rename(elsewhere)
        with pytest.raises(StoreUnavailable, match="moved or removed while it was served"):
            await app.run("t", "accepted?")
    elsewhere.rename(path)

    again = Awaken(f"sqlite:///{path}")
    again.agent("echo", echo)
    async with again:
        assert (await again.get_run(accepted.run_id)).final_output == "hello"
        assert (await again.run("t", "again")).final_output == "again"
