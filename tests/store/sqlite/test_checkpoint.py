"""The write-ahead log: copied beside the writer, begun anew, and how large it gets when something is in the way."""

from __future__ import annotations

import asyncio
import logging
import os
import sqlite3
import subprocess
import sys
import threading
from collections.abc import Callable, Generator, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any, Final

import pytest

from awaken.domain.errors import ValidationError
from awaken.domain.ids import MessageId, ThreadId
from awaken.domain.message import user_message
from awaken.store.sqlite import SqliteStore
from awaken.store.sqlite.checkpoint import MIN_WAL_LIMIT_BYTES, Checkpointer, open_handle
from awaken.testing.conformance.steps import apply, asked

MIB: Final = 1024 * 1024
LIMIT: Final = 4 * MIB
START: Final = LIMIT * 5 // 8
STEP: Final = LIMIT // 16
PATIENCE_S: Final = 20


class Work(Future[Any]):
    """What was handed to a thread, and has not begun. Waiting for it begins it."""

    def __init__(self, call: Callable[[], Any]) -> None:
        super().__init__()
        self._call = call

    def run(self) -> None:
        self.set_result(self._call())

    def result(self, timeout: float | None = None) -> Any:
        if not self.done():
            self.run()
        return super().result(timeout)


class ByHand:
    """In place of a thread: what is handed to it waits until the test runs it, or somebody waits for it."""

    handed: Final[list[Work]] = []

    def __init__(self, count: int, *, thread_name_prefix: str) -> None:
        assert count == 1

    def submit(self, call: Callable[..., Any], *args: Any) -> Work:
        work = Work(lambda: call(*args))
        self.handed.append(work)
        return work

    def shutdown(self) -> None:
        for work in self.handed:
            work.result()


class Log:
    """A database whose commits are made by the test, and the checkpointer that looks after its log."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.db = sqlite3.connect(path, isolation_level=None)
        self.db.execute("PRAGMA journal_mode = WAL")
        self.db.execute("PRAGMA synchronous = OFF")  # quick; what reaches the disk is not what these tests are about
        self.db.execute("CREATE TABLE t (content)")
        self.handle = open_handle(self.db, path)
        self.checkpointer = Checkpointer(self.db, path, "process", self.handle, LIMIT)
        ByHand.handed.clear()  # the opening of its connection
        self.waits = 0
        self.flush_count = 0
        self.after_pass: Callable[[], object] = lambda: None

    def commit(self, size_bytes: int = 1) -> None:
        self.insert(size_bytes)
        self.look()

    def insert(self, size_bytes: int) -> None:
        """The commit alone."""
        self.db.execute("INSERT INTO t VALUES (zeroblob(?))", (size_bytes,))

    def look(self) -> None:
        self.checkpointer.after_commit(self._waits)

    def grow(self, to_bytes: int) -> None:
        """Commit in small portions until the log is longer than that."""
        while self.size_bytes <= to_bytes:
            self.commit(STEP // 4)

    def _waits(self) -> None:
        self.waits += 1

    @property
    def copying(self) -> list[Work]:
        """What has been started, and has not run."""
        return [work for work in ByHand.handed if not work.done()]

    def copy(self, *meanwhile: int) -> int:
        """Run what was started, with commits of these sizes in its passes, one in each. How many passes it took."""
        with self.commits_while_copying(*meanwhile):
            before = self.flush_count
            for work in self.copying:
                work.run()
            return self.flush_count - before

    @contextmanager
    def commits_while_copying(self, *sizes: int) -> Generator[None]:
        """A commit that comes when all has been copied begins the log anew. A reader of the newest state, which is in
        nobody's way otherwise, keeps it from that: so it is as if the commit had come earlier in the pass.
        """
        left = list(sizes)
        with closing(sqlite3.connect(self.path, isolation_level=None)) as reader:

            def read() -> None:
                reader.execute("BEGIN")
                reader.execute("SELECT count(*) FROM t").fetchone()

            def after_pass() -> None:
                if left:
                    self.insert(left.pop(0))
                    reader.execute("COMMIT")
                    read()

            if left:
                read()
            self.after_pass = after_pass
            yield
            self.after_pass = lambda: None

    @property
    def size_bytes(self) -> int:
        return os.stat(f"{self.path}-wal").st_size

    @property
    def row_count(self) -> int:
        return self.db.execute("SELECT count(*) FROM t").fetchone()[0]


@pytest.fixture
def log(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Log]:
    ByHand.handed.clear()
    monkeypatch.setattr("awaken.store.sqlite.checkpoint.ThreadPoolExecutor", ByHand)
    log = Log(tmp_path / "log.db")

    def flushed(handle: int) -> None:
        assert handle == log.handle
        log.flush_count += 1
        log.after_pass()

    monkeypatch.setattr(os, "fdatasync", flushed, raising=False)
    monkeypatch.setattr(os, "fsync", flushed)
    yield log
    log.checkpointer.close()
    log.db.close()
    os.close(log.handle)


def test_a_short_log_is_left_alone(log: Log) -> None:
    log.grow(START - STEP)
    assert log.copying == []


def test_a_long_log_is_copied_beside_the_writer_finished_by_it_and_begun_anew(log: Log) -> None:
    log.grow(START)
    for _ in range(5):
        log.commit()
    assert (len(log.copying), log.waits) == (1, 0), "commits go on beside it"
    log.copy(1, 1)
    flushed = log.flush_count
    log.commit()
    assert log.waits == 1, "the writer copies what came in the last pass"
    assert log.flush_count == flushed, "and SQLite flushes it"
    longest, count = log.size_bytes, log.row_count
    log.commit()
    assert log.size_bytes == START < longest, "begun anew: the file is cut back, the rest of it is overwritten"
    assert log.row_count == count + 1
    log.grow(START)
    assert len(log.copying) == 1


def test_what_is_committed_while_the_log_is_copied_is_copied_by_further_passes(log: Log) -> None:
    log.grow(START)
    assert log.copy(2 * STEP, 1, 1) == 3
    log.commit()
    assert log.waits == 1


def test_copying_that_never_catches_up_ends_and_is_tried_again_later(log: Log) -> None:
    """The writer does not finish what is not nearly done, as long as the log is within its limit."""
    log.grow(START)
    assert log.copy(*[STEP // 2] * 9) == 4
    log.commit()
    assert (log.waits, log.copying) == (0, [])
    log.grow(log.size_bytes + STEP)
    assert len(log.copying) == 1


def test_a_log_that_is_all_copied_while_nobody_commits_begins_anew_by_itself(log: Log) -> None:
    log.grow(START)
    assert log.copy() == 2
    log.commit()
    assert (log.waits, log.size_bytes) == (0, START)


def test_above_its_limit_the_writer_waits_for_what_is_being_copied_and_finishes(log: Log) -> None:
    log.grow(LIMIT)
    assert log.copying == []
    assert log.waits == 2, "for the copying under way, and for the rest"
    log.commit()
    assert log.size_bytes == START


def test_above_its_limit_the_writer_finishes_also_what_could_not_be_caught_up_with(log: Log) -> None:
    log.grow(LIMIT - STEP)
    log.insert(2 * STEP)
    with log.commits_while_copying(*[STEP // 2] * 9):
        log.look()
    assert (log.flush_count, log.waits) == (4, 2)
    log.commit()
    assert log.size_bytes == START


def test_a_log_that_a_reader_holds_outgrows_its_limit_with_one_warning_and_recovers(
    log: Log, caplog: pytest.LogCaptureFixture
) -> None:
    with closing(sqlite3.connect(log.path, isolation_level=None)) as reader:
        reader.execute("BEGIN")
        reader.execute("SELECT count(*) FROM t").fetchone()
        log.commit()
        while log.size_bytes <= LIMIT + 6 * STEP:
            log.commit(STEP // 4)
            assert log.copy() <= 1, "what is held is not tried again and again"
    [record] = caplog.records
    assert (record.name, record.levelno) == ("awaken.store", logging.WARNING)
    assert f"{log.path} has grown to" in record.getMessage()
    assert "over its limit of 4 MiB" in record.getMessage()
    assert "reading an old state" in record.getMessage()
    waits = log.waits
    while not log.copying:  # the reader has gone, and with the next step all is copied beside the writer
        log.commit(STEP // 4)
    log.copy(1, 1)
    log.commit()
    assert log.waits == waits + 1
    log.commit()
    assert log.size_bytes == START


def test_a_writer_does_not_wait_for_a_log_that_is_too_long_already(log: Log) -> None:
    """Once a reader has made it long, copying it takes long as well: that is done beside the writer."""
    with closing(sqlite3.connect(log.path, isolation_level=None)) as reader:
        reader.execute("BEGIN")
        reader.execute("SELECT count(*) FROM t").fetchone()
        log.grow(LIMIT + STEP)
    while not log.copying:
        log.commit(STEP // 4)
    waits = log.waits
    for _ in range(3):
        log.commit()
    assert (log.waits, len(log.copying)) == (waits, 1)


def test_what_was_copied_of_a_log_that_is_over_does_not_finish_the_next_one(log: Log) -> None:
    """The next log is barely copied, and finishing it would hold the writer up for all of it."""
    log.grow(START)
    log.copy()
    log.commit()  # begins the next
    log.grow(START)
    assert log.waits == 0
    assert len(log.copying) == 1


def test_a_pass_is_no_change_from_outside_for_the_writer(log: Log) -> None:
    """What it remembers of the file, in SQLite's cache and in our own, would be dropped with each of them."""
    version = "PRAGMA data_version"
    log.grow(START)
    before = log.db.execute(version).fetchone()
    log.copy(1, 1)
    log.commit()
    log.commit()
    assert (log.waits, log.size_bytes) == (1, START)
    assert log.db.execute(version).fetchone() == before


def test_a_log_that_cannot_be_copied_is_logged_and_tried_again(log: Log, caplog: pytest.LogCaptureFixture) -> None:
    def fail() -> None:
        raise OSError("the disk failed")

    log.grow(START)
    [work] = log.copying
    log.after_pass = fail
    work.run()
    log.after_pass = lambda: None
    log.commit()
    [record] = caplog.records
    assert "could not be copied into it: the disk failed" in record.getMessage()
    assert log.waits == 0
    log.grow(log.size_bytes + STEP)
    log.copy(1, 1)
    log.commit()
    log.commit()
    assert (log.waits, log.size_bytes) == (1, START)


# --- in a store -------------------------------------------------------------------------------------------------------


def large(name: str) -> Any:
    """A submit of half a megabyte."""
    content = user_message(MessageId(name), "x" * (MIB // 2))
    return asked(name, thread=ThreadId(f"thread of {name}"), messages=[content])


def files_beside(path: Path) -> list[str]:
    return sorted(file.name for file in path.parent.iterdir())


async def test_a_store_keeps_its_log_within_bounds_and_leaves_none_behind(path: Path) -> None:
    longest = 0
    async with SqliteStore(path, wal_limit_bytes=MIN_WAL_LIMIT_BYTES) as store:
        for number in range(80):
            await apply(store, large(f"d{number}"))
            longest = max(longest, os.stat(f"{path}-wal").st_size)
        assert MIN_WAL_LIMIT_BYTES / 2 < longest < MIN_WAL_LIMIT_BYTES + 2 * MIB
    assert files_beside(path) == ["awaken.db", "awaken.db.lock"]
    assert os.stat(path).st_size > 40 * MIB


async def test_a_store_that_closes_waits_for_what_is_being_copied(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    flush, inside, let_go = os.fdatasync, threading.Event(), threading.Event()
    flushed: list[int] = []

    class Thread(ThreadPoolExecutor):
        def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
            let_go.set()
            super().shutdown(wait, cancel_futures=cancel_futures)

    def held(handle: int) -> None:
        inside.set()
        assert let_go.wait(PATIENCE_S)
        flush(handle)
        flushed.append(handle)

    monkeypatch.setattr(os, "fdatasync", held)
    monkeypatch.setattr("awaken.store.sqlite.checkpoint.ThreadPoolExecutor", Thread)
    async with SqliteStore(path, wal_limit_bytes=MIN_WAL_LIMIT_BYTES) as store:
        for number in range(22):
            await apply(store, large(f"d{number}"))
        assert inside.wait(PATIENCE_S)
        assert not flushed
    assert flushed
    assert files_beside(path) == ["awaken.db", "awaken.db.lock"]


async def test_the_handle_that_flushes_is_closed_after_the_last_connection(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Closing it earlier would drop SQLite's locks. The log goes with the last connection."""
    close = os.close
    seen: list[bool] = []

    def watched(handle: int) -> None:
        if path.exists() and os.path.samestat(os.fstat(handle), path.stat()):
            seen.append(Path(f"{path}-wal").exists())
        close(handle)

    monkeypatch.setattr(os, "close", watched)
    async with SqliteStore(path) as store:
        await apply(store, asked("d1"))
        assert seen == []
    assert seen == [False]


async def test_another_program_that_looks_into_the_file_finds_sqlites_locks_and_leaves_the_log(path: Path) -> None:
    """The last connection to close removes the log; that program must see that it is not the last."""
    look = "import sqlite3, sys; print(sqlite3.connect(sys.argv[1]).execute('SELECT count(*) FROM runs').fetchone())"
    async with SqliteStore(path) as store:
        await apply(store, asked("d1"))
        command = [sys.executable, "-c", look, str(path)]
        shown = await asyncio.to_thread(subprocess.run, command, capture_output=True, check=True, timeout=60)
        assert shown.stdout.strip() == b"(1,)"
        assert os.stat(f"{path}-wal").st_size > 0
        await apply(store, asked("d2"))


def test_a_limit_that_one_commit_could_exceed_is_refused(path: Path) -> None:
    with pytest.raises(ValidationError, match="wal_limit_bytes"):
        SqliteStore(path, wal_limit_bytes=MIN_WAL_LIMIT_BYTES - 1)
