"""A copy of a file that is being written: one state of it, whole under its name or not there."""

from __future__ import annotations

import asyncio
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from awaken.domain.errors import AlreadyExists, DataIntegrity, StoreUnavailable
from awaken.domain.run import RunStatus
from awaken.store.sqlite import SqliteStore
from awaken.store.sqlite.backup import back_up
from awaken.testing.clock import ManualClock
from awaken.testing.conformance.steps import claimed, finished, run_of, snapshot, thread_id


def quiet(done: int, pages: int) -> None:
    """Tells nobody."""


def files(folder: Path, pattern: str = "*") -> list[str]:
    return sorted(path.name for path in folder.glob(pattern))


async def test_it_is_one_state_of_a_file_that_is_written_meanwhile(tmp_path: Path) -> None:
    loop = asyncio.get_running_loop()
    told: list[tuple[int, int]] = []

    async with SqliteStore(tmp_path / "a.db", clock=ManualClock()) as store:
        for number in range(20):
            await finished(store, f"d{number}", thread=thread_id(f"t{number}"))
        before = await snapshot(store)

        def commit_another(done: int, pages: int) -> None:
            told.append((done, pages))
            number = len(told)
            asyncio.run_coroutine_threadsafe(
                finished(store, f"e{number}", thread=thread_id(f"t{number % 20}")), loop
            ).result()

        made = await asyncio.to_thread(back_up, store.path, tmp_path / "b.db", commit_another, pages_at_once=4)

    assert len(told) > 10, "many commits came in between"
    assert all(done <= pages for done, pages in told) and told[-1][0] == told[-1][1] == told[0][1]
    assert (made.threads, made.runs, made.bytes) == (20, 20, (tmp_path / "b.db").stat().st_size)
    assert files(tmp_path) == ["a.db", "a.db.lock", "b.db"]
    async with SqliteStore(tmp_path / "b.db", clock=ManualClock()) as copy:
        assert await snapshot(copy) == before
        assert (await finished(copy, "f1")).run.status is RunStatus.DONE


async def test_a_run_that_was_executing_goes_on_from_the_copy(tmp_path: Path) -> None:
    async with SqliteStore(tmp_path / "a.db", clock=ManualClock()) as store:
        await claimed(store, "d1")
        await asyncio.to_thread(back_up, store.path, tmp_path / "b.db", quiet)

    async with SqliteStore(tmp_path / "b.db", clock=ManualClock()) as copy:
        assert (await run_of(copy, "d1")).status is RunStatus.RUNNING


@pytest.mark.parametrize("suffix", ["", "-wal", "-shm", "-journal"])
async def test_what_has_the_name_already_is_left_alone(suffix: str, tmp_path: Path) -> None:
    """Also a log without its database: SQLite would take it for that of the copy."""
    taken = tmp_path / f"b.db{suffix}"
    taken.write_bytes(b"mine")
    async with SqliteStore(tmp_path / "a.db", clock=ManualClock()) as store:
        await finished(store, "d1")

        with pytest.raises(AlreadyExists, match=f"{taken}.*choose another name"):
            back_up(store.path, tmp_path / "b.db", quiet)

    assert taken.read_bytes() == b"mine"


async def test_a_name_that_is_taken_meanwhile_is_left_alone(tmp_path: Path) -> None:
    async with SqliteStore(tmp_path / "a.db", clock=ManualClock()) as store:
        await finished(store, "d1")

        with pytest.raises(AlreadyExists):
            back_up(store.path, tmp_path / "b.db", lambda done, pages: (tmp_path / "b.db").touch())

    assert (tmp_path / "b.db").read_bytes() == b""
    assert files(tmp_path) == ["a.db", "a.db.lock", "b.db"]


async def test_a_copy_that_is_broken_off_leaves_nothing(tmp_path: Path) -> None:
    def interrupt(done: int, pages: int) -> None:
        assert [*tmp_path.glob("b.db.*.part")], "it has another name until it is whole"
        raise KeyboardInterrupt

    async with SqliteStore(tmp_path / "a.db", clock=ManualClock()) as store:
        await finished(store, "d1")

        with pytest.raises(KeyboardInterrupt):
            back_up(store.path, tmp_path / "b.db", interrupt, pages_at_once=4)
        assert files(tmp_path, "b.db*") == []
        await finished(store, "d2")


async def test_a_damaged_file_makes_no_copy(tmp_path: Path) -> None:
    path = tmp_path / "a.db"
    async with SqliteStore(path, clock=ManualClock()) as store:
        for number in range(20):
            await finished(store, f"d{number}")
    with closing(sqlite3.connect(path)) as connection:
        [root] = connection.execute("SELECT rootpage FROM sqlite_schema WHERE name = 'events'").fetchone()
    with path.open("r+b") as file:
        file.seek((root - 1) * 2048)
        file.write(b"\xff" * 2048)

    with pytest.raises(DataIntegrity, match="damaged"):
        back_up(path, tmp_path / "b.db", quiet)

    assert files(tmp_path, "b.db*") == []


async def test_what_cannot_be_copied_is_named_in_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(StoreUnavailable, match="no such file"):
        back_up(tmp_path / "a.db", tmp_path / "b.db", quiet)
    async with SqliteStore(tmp_path / "a.db", clock=ManualClock()) as store:
        with pytest.raises(StoreUnavailable, match=r"folder .*gone does not exist\. Create it first"):
            back_up(store.path, tmp_path / "gone" / "b.db", quiet)
    sqlite3.connect(tmp_path / "c.db").execute("CREATE TABLE other (a)").connection.close()
    with pytest.raises(DataIntegrity, match="another program"):
        back_up(tmp_path / "c.db", tmp_path / "b.db", quiet)
    assert files(tmp_path, "b.db*") == []
