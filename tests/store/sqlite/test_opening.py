"""Opening a file: what is served, and how everything else is refused, untouched and with a way out."""

from __future__ import annotations

import os
import shutil
import sqlite3
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, cast

import pytest

from awaken.domain.dispatch import DispatchStatus
from awaken.domain.errors import DataIntegrity, StoreError, StoreUnavailable, ValidationError
from awaken.store.sqlite import SqliteStore
from awaken.store.sqlite.migrate import APPLICATION_ID, migrations
from awaken.store.sqlite.opening import OLDEST_SQLITE, PAGE_BYTES, Durability, check_library
from awaken.store.transitions import LeaseLost
from awaken.testing.behaviour import behaviour
from awaken.testing.clock import ManualClock
from awaken.testing.conformance.steps import (
    SCOPE,
    claim_some,
    claimed,
    dispatch_of,
    finished,
    run_id,
    run_of,
    settle,
    settled,
    submitted,
)

Hand = Callable[..., list[tuple[object, ...]]]
NOBODY = 65_534


async def refusal(path: Path) -> StoreError:
    """Why a store on this path cannot be opened."""
    with pytest.raises(StoreError) as refused:
        async with SqliteStore(path, clock=ManualClock()):
            pass
    assert str(path) in str(refused.value)
    return refused.value


def content_of(path: Path) -> bytes:
    return path.read_bytes()


def write_over(path: Path, content: bytes, *, at: int = 0) -> None:
    """Put bytes into the file, which is made if it is missing."""
    path.touch()
    with path.open("r+b") as file:
        file.seek(at)
        file.write(content)


# --- what is served ---------------------------------------------------------------------------------------------------


@behaviour("MB-161", "EV-021")
async def test_a_new_file_gets_its_schema_and_opening_it_again_changes_nothing(path: Path, by_hand: Hand) -> None:
    async with SqliteStore(path):
        pass
    schema = by_hand("SELECT type, name, sql FROM sqlite_schema ORDER BY name")
    assert {"threads", "messages", "runs", "dispatches", "events", "journal"} <= {name for _, name, _ in schema}
    before = content_of(path)
    async with SqliteStore(path):
        pass
    assert content_of(path) == before


@behaviour("MB-160")
async def test_everything_is_there_after_reopening_and_the_last_owners_claim_is_worth_nothing(
    path: Path, clock: ManualClock
) -> None:
    async with SqliteStore(path, clock=clock) as store:
        old = await claimed(store, "d1")
        await submitted(store, "d2")
        before = await dispatch_of(store, "d2"), await run_of(store, "d2")
    async with SqliteStore(path, clock=clock) as store:
        assert (await dispatch_of(store, "d1")).status is DispatchStatus.QUEUED
        assert (await dispatch_of(store, "d2"), await run_of(store, "d2")) == before
        assert await settle(store, old) == LeaseLost("not_claimed")
        [new] = (await claim_some(store)).claims
        assert new.dispatch.dispatch_id == old.dispatch.dispatch_id
        await settled(store, new)


async def test_what_the_store_says_about_itself(path: Path) -> None:
    async with SqliteStore(path) as full:
        assert (full.capabilities.kind, full.capabilities.durability, full.capabilities.exclusive) == (
            "sqlite",
            "full",
            True,
        )
    assert SqliteStore(path, durability="process").capabilities.durability == "process"


@pytest.mark.parametrize(("durability", "synchronous"), [("full", 2), ("process", 1)])
async def test_durability_is_what_the_database_is_told(
    path: Path, durability: Durability, synchronous: int, writer_connections: list[sqlite3.Connection]
) -> None:
    async with SqliteStore(path, durability=durability):
        [writer] = writer_connections
        assert writer.execute("PRAGMA synchronous").fetchone() == (synchronous,)
        assert writer.execute("PRAGMA journal_mode").fetchone() == ("wal",)


async def test_a_path_may_hold_any_characters(tmp_path: Path) -> None:
    path = tmp_path / "a folder?" / "runs #1 %41.db"
    path.parent.mkdir()
    async with SqliteStore(path) as store:
        await finished(store, "d1")
    assert path.stat().st_size > 0


# --- what is refused --------------------------------------------------------------------------------------------------


async def test_a_missing_folder_is_named(tmp_path: Path) -> None:
    path = tmp_path / "missing" / "awaken.db"
    assert "does not exist" in str(await refusal(path))
    assert not path.parent.exists()


async def test_a_folder_is_not_a_database(tmp_path: Path) -> None:
    assert "is a folder" in str(await refusal(tmp_path))


def test_memory_is_another_store() -> None:
    with pytest.raises(ValidationError, match="memory://"):
        SqliteStore(":memory:")


@pytest.mark.parametrize("path", ["", "a\0b", "a\tb", "\ud800", 5, None])
def test_what_is_no_path_is_refused_when_the_store_is_made(path: Any) -> None:
    with pytest.raises(ValidationError, match="not the path of a database file"):
        SqliteStore(path)


@pytest.mark.parametrize(
    ("option", "value"),
    [("durability", "none"), ("durability", 5), ("wal_limit_bytes", 1), ("wal_limit_bytes", 2.0**25)],
)
def test_an_option_that_there_is_not_is_refused_when_the_store_is_made(option: str, value: Any) -> None:
    with pytest.raises(ValidationError, match=option):
        SqliteStore("a.db", **{option: value})


async def test_a_store_stays_with_its_file_when_the_process_goes_elsewhere(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    home, elsewhere = tmp_path / "home", tmp_path / "elsewhere"
    home.mkdir()
    elsewhere.mkdir()
    monkeypatch.chdir(home)
    store = SqliteStore("a.db")
    monkeypatch.chdir(elsewhere)
    async with store:
        assert (home / "a.db").exists() and (home / "a.db.lock").exists()
    assert list(elsewhere.iterdir()) == []


@pytest.mark.parametrize("content", [b"hello", b"not a database, but long enough to be one " * 100])
async def test_a_file_that_is_no_database_is_left_alone(path: Path, content: bytes) -> None:
    write_over(path, content)
    assert isinstance(await refusal(path), DataIntegrity)
    assert content_of(path) == content


async def test_another_programs_database_is_left_alone(path: Path, by_hand: Hand) -> None:
    by_hand("CREATE TABLE theirs (x)")
    before = content_of(path)
    refused = await refusal(path)
    assert isinstance(refused, DataIntegrity)
    assert "another program" in str(refused)
    assert content_of(path) == before


async def test_a_newer_schema_asks_for_a_newer_program(path: Path, by_hand: Hand) -> None:
    async with SqliteStore(path):
        pass
    newer = len(migrations()) + 1
    by_hand(f"PRAGMA user_version = {newer}")
    before = content_of(path)
    refused = await refusal(path)
    assert isinstance(refused, StoreUnavailable)
    assert f"schema {newer}" in str(refused)
    assert "Upgrade awaken" in str(refused)
    assert content_of(path) == before


@pytest.mark.parametrize(
    ("damage", "lost"),
    [
        ("DROP TABLE journal", "table journal"),
        ("DROP INDEX runs_id", "index runs_id"),
        ("ALTER TABLE threads RENAME COLUMN epoch TO era", "column threads.epoch"),
    ],
)
async def test_a_file_that_lacks_a_part_of_its_schema_is_named_when_it_is_opened(
    path: Path, by_hand: Hand, damage: str, lost: str
) -> None:
    """It would be served otherwise, and fail later: at every run, or never, and slowly."""
    async with SqliteStore(path):
        pass
    by_hand("CREATE TABLE somebody_elses (note TEXT)")
    async with SqliteStore(path):
        pass  # what it has besides hurts nobody
    by_hand(damage)
    error = await refusal(path)
    assert isinstance(error, DataIntegrity) and lost in str(error) and "not whole" in str(error)


async def test_a_corrupt_file_is_named_when_it_is_opened(path: Path) -> None:
    async with SqliteStore(path):
        pass
    write_over(path, b"\xff" * 500, at=100)  # the first page's own header, behind the one of the file
    assert isinstance(await refusal(path), DataIntegrity)


async def test_a_page_that_is_corrupt_is_named_when_it_is_read(path: Path, by_hand: Hand) -> None:
    async with SqliteStore(path) as store:
        await finished(store, "d1")
    [(page,)] = cast("list[tuple[int]]", by_hand("SELECT rootpage FROM sqlite_schema WHERE name = 'journal'"))
    write_over(path, b"\xff" * PAGE_BYTES, at=(page - 1) * PAGE_BYTES)
    async with SqliteStore(path) as store:  # nothing at opening reads that page
        with pytest.raises(DataIntegrity, match="corrupt"):
            await store.list_journal(SCOPE, run_id("d1"))


def test_a_library_that_is_too_old_is_refused() -> None:
    check_library(OLDEST_SQLITE)
    with pytest.raises(StoreUnavailable, match=r"SQLite 3\.39\.4, and awaken needs 3\.40\.0"):
        check_library((3, 39, 4))


async def test_a_journal_that_is_no_write_ahead_log_is_refused(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    connect = sqlite3.connect

    class Reluctant(sqlite3.Connection):
        """As on a network share, where the pragma answers with the mode it stayed in."""

        def execute(self, sql: str, parameters: Any = ()) -> sqlite3.Cursor:
            return super().execute("SELECT 'delete'" if "journal_mode" in sql else sql, parameters)

    def reluctantly(database: str, **settings: Any) -> sqlite3.Connection:
        return connect(database, factory=Reluctant, **settings)

    monkeypatch.setattr(sqlite3, "connect", reluctantly)
    assert "write-ahead log" in str(await refusal(path))


# --- permissions ------------------------------------------------------------------------------------------------------


def permit(path: Path, mode: int) -> None:
    path.chmod(mode)


@pytest.fixture
def without_privileges() -> Iterator[Path]:
    """A folder of a user to whom permissions apply, which they do not for root."""
    folder = Path(tempfile.mkdtemp(prefix="awaken-test-"))
    permit(folder, 0o755)
    is_root = sys.platform != "win32" and os.geteuid() == 0
    if is_root:
        os.chown(folder, NOBODY, NOBODY)
        os.seteuid(NOBODY)
    try:
        yield folder
    finally:
        if is_root:
            os.seteuid(0)
        permit(folder, 0o755)
        shutil.rmtree(folder)


async def test_a_folder_that_cannot_be_written_is_named(without_privileges: Path) -> None:
    permit(without_privileges, 0o555)
    refused = await refusal(without_privileges / "awaken.db")
    assert isinstance(refused, StoreUnavailable)
    assert "writable for this user" in str(refused)


async def test_a_file_that_cannot_be_written_is_named(without_privileges: Path) -> None:
    path = without_privileges / "awaken.db"
    async with SqliteStore(path):
        pass
    permit(path, 0o444)
    refused = await refusal(path)
    assert isinstance(refused, StoreUnavailable)
    assert "read-only" in str(refused)


# --- migrations -------------------------------------------------------------------------------------------------------


def test_the_file_says_whose_it_is() -> None:
    assert APPLICATION_ID.to_bytes(4, "big") == b"AWAK"
