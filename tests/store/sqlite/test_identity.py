"""A file is known by what it is, not by its name: what was put in its place is never written."""

from __future__ import annotations

import logging
import os
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest

from awaken.domain.errors import StoreUnavailable
from awaken.store.sqlite import SqliteStore
from awaken.store.sqlite.identity import LOOK_INTERVAL_S
from awaken.testing.clock import ManualClock
from awaken.testing.conformance.steps import SCOPE, run_id, submitted

WITHIN_S = 30
READ_AND_CLOSE = "import sqlite3, sys; db = sqlite3.connect(sys.argv[1]); db.execute('SELECT * FROM runs'); db.close()"


def beside(path: Path, ending: str) -> Path:
    return path.with_name(path.name + ending)


def moved(path: Path) -> None:
    path.rename(beside(path, ".old"))


def removed(path: Path) -> None:
    path.unlink()


def replaced(path: Path) -> None:
    content = path.read_bytes()  # before the rename: the store's own handles do not matter here
    moved(path)
    path.write_bytes(content)


def read_and_close(path: Path) -> None:
    with path.open("rb") as file:
        file.read()


def printed_by(program: str, *arguments: str) -> str:
    """What a process prints that has none of our handles."""
    command = [sys.executable, "-c", program, *arguments]
    return subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True, timeout=WITHIN_S).stdout


def look_from_another_process(path: Path) -> None:
    printed_by(READ_AND_CLOSE, str(path))


@pytest.mark.parametrize("ending", ["", "-wal", "-shm", ".lock"])
@pytest.mark.parametrize("harm", [moved, removed, replaced])
async def test_nothing_is_written_once_a_file_is_not_the_one_that_was_opened(
    path: Path, clock: ManualClock, ending: str, harm: Callable[[Path], None]
) -> None:
    async with SqliteStore(path, clock=clock) as store:
        await submitted(store, "d1")
        await store.check_writes()

        harm(beside(path, ending))
        clock.tick(LOOK_INTERVAL_S)

        for _ in range(2):
            with pytest.raises(StoreUnavailable, match="nothing was written") as refused:
                await submitted(store, "d2")
            assert str(beside(path, ending)) in str(refused.value)
            with pytest.raises(StoreUnavailable, match="while it was served"):
                await store.check_writes()
        assert await store.load_run(SCOPE, run_id("d2")) is None


async def test_the_database_itself_is_looked_at_before_every_batch(path: Path, clock: ManualClock) -> None:
    """The clock stands still: not one accepted run is lost with the file."""
    async with SqliteStore(path, clock=clock) as store:
        await submitted(store, "d1")
        moved(path)
        with pytest.raises(StoreUnavailable, match="moved or removed"):
            await submitted(store, "d2")


async def test_a_file_that_is_put_back_is_taken_up_again_and_both_are_logged_once(
    path: Path, clock: ManualClock, caplog: pytest.LogCaptureFixture
) -> None:
    async with SqliteStore(path, clock=clock) as store:
        await submitted(store, "d1")
        moved(path)
        with caplog.at_level(logging.WARNING):
            for _ in range(3):
                with pytest.raises(StoreUnavailable):
                    await submitted(store, "d2")
            beside(path, ".old").rename(path)
            await submitted(store, "d2")
        assert await store.load_run(SCOPE, run_id("d2")) is not None
    assert [record.levelname for record in caplog.records] == ["ERROR", "WARNING"]
    assert "moved or removed" in caplog.text
    assert "writing works again" in caplog.text


async def test_a_folder_that_is_changed_moves_no_database(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The path is made absolute once, when the store is made."""
    monkeypatch.chdir(tmp_path)
    early = SqliteStore("one.db")
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    async with early:
        await submitted(early, "d1")
        with pytest.raises(StoreUnavailable, match="already served"):
            async with SqliteStore(tmp_path / "one.db"):
                pass
    assert list((tmp_path / "elsewhere").iterdir()) == []


# --- one owner --------------------------------------------------------------------------------------------------------


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere only the lock file is locked")
@pytest.mark.parametrize("in_this_process", [True, False])
async def test_a_file_whose_lock_file_was_removed_still_has_one_owner(path: Path, in_this_process: bool) -> None:
    async with SqliteStore(path):
        removed(beside(path, ".lock"))
        assert "already served" in await why_not(path, in_this_process)


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere only the lock file is locked")
@pytest.mark.parametrize("in_this_process", [True, False])
async def test_a_second_name_of_a_file_is_the_same_file(path: Path, in_this_process: bool) -> None:
    async with SqliteStore(path) as store:
        other = beside(path, ".linked")
        os.link(path, other)
        assert "already served" in await why_not(other, in_this_process)
        look_from_another_process(path)
        await submitted(store, "d1")


OPEN = """
import asyncio, sys
from awaken.domain.errors import StoreUnavailable
from awaken.store.sqlite import SqliteStore

async def main():
    try:
        async with SqliteStore(sys.argv[1]):
            print("opened")
    except StoreUnavailable as error:
        print(error)

asyncio.run(main())
"""


async def why_not(path: Path, in_this_process: bool) -> str:
    if not in_this_process:
        return printed_by(OPEN, str(path))
    with pytest.raises(StoreUnavailable) as refused:
        async with SqliteStore(path):
            pass
    return str(refused.value)


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere a log that is removed is only noticed")
@pytest.mark.parametrize("endings", [("",), ("", "-wal", "-shm", ".lock")])
async def test_reading_and_closing_the_files_in_this_process_disarms_no_lock(
    path: Path, clock: ManualClock, endings: tuple[str, ...]
) -> None:
    """As a backup does that copies them. POSIX then drops every lock that SQLite holds; the next program to look into
    the database would take itself for the last one, and remove the log under the server.
    """
    async with SqliteStore(path, clock=clock) as store:
        await submitted(store, "d1")
        for ending in endings:
            read_and_close(beside(path, ending))
        look_from_another_process(path)
        clock.tick(LOOK_INTERVAL_S)

        await submitted(store, "d2")
        assert "already served" in await why_not(path, in_this_process=False)
    assert not beside(path, "-wal").exists(), "the last to close it empties the log, as always"
    with closing(sqlite3.connect(path)) as db:
        assert db.execute("SELECT count(*) FROM runs").fetchone() == (2,)


LOCK = """
import fcntl, sys
with open(sys.argv[1], "r+b") as file:
    try:
        fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB, 1, int(sys.argv[2]))
    except OSError:
        print("in use")
"""


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere SQLite's own locks are all there is")
@pytest.mark.parametrize(("ending", "byte"), [("", (1 << 30) + 2), ("-shm", 128)])
async def test_what_sqlite_shows_others_is_shown_also_after_its_own_locks_are_gone(
    path: Path, ending: str, byte: int
) -> None:
    """At 128 of its index: whoever finds that free cuts the index to nothing, under the server that has it mapped."""
    async with SqliteStore(path):
        read_and_close(beside(path, ending))
        assert printed_by(LOCK, str(beside(path, ending)), str(byte)) == "in use\n"


# --- a full disk ------------------------------------------------------------------------------------------------------


async def submit_until_refused(store: SqliteStore) -> None:
    """What there is room for in the pages that are there is written."""
    for number in range(10_000):
        await submitted(store, f"d{number}")


async def test_a_full_disk_is_logged_once_and_again_when_there_is_room(
    path: Path, clock: ManualClock, writer_connections: list[sqlite3.Connection], caplog: pytest.LogCaptureFixture
) -> None:
    async with SqliteStore(path, clock=clock) as store:
        [writer] = writer_connections
        [pages] = writer.execute("PRAGMA page_count").fetchone()
        writer.execute(f"PRAGMA max_page_count = {pages}")
        with caplog.at_level(logging.WARNING):
            with pytest.raises(StoreUnavailable, match="the disk is full"):
                await submit_until_refused(store)
            for _ in range(3):
                with pytest.raises(StoreUnavailable, match="the disk is full"):
                    await store.check_writes()
            assert [record.levelname for record in caplog.records] == ["ERROR"]

            writer.execute(f"PRAGMA max_page_count = {pages + 10_000}")
            await store.check_writes()
            await submitted(store, "there is room")
        assert [record.levelname for record in caplog.records] == ["ERROR", "WARNING"]
        assert "Free some space" in caplog.records[0].getMessage()
        assert writer.execute("SELECT count(*) FROM sqlite_schema WHERE name = 'room'").fetchone() == (0,)
