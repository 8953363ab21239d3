"""Empties the write-ahead log beside the writer.

Above: `writer` calls `after_commit` in its thread, between two transactions. Below: SQLite's checkpoint, on a second
connection and in a thread of its own, and on the writer's connection for the last bit.
Holds: a commit waits a few milliseconds for this at most, as long as the log stays within its limit. An idle store
looks at nothing. That the log outgrows its limit is logged.

How it works. SQLite appends each commit's changed pages to the log (`<file>-wal`) and reads them from there; a
*checkpoint* copies the newest version of each page from the log into the database file. When all of the log has been
copied at some moment, and nobody is reading it any more, the next commit begins it anew from its start, overwriting.
Otherwise it grows. Left to itself, SQLite makes a checkpoint inside whichever commit takes the log past a size, and
that commit waits until tens of megabytes are written and on the disk: 50 to 100 ms (ADR 0024).

Here a commit that takes the log past five eighths of its limit only wakes a thread, which makes the same checkpoint
while commits go on. Two things have to be got right:

1. *It never catches up.* While it copies, commits append, so there is always a rest, and the log would never begin
   anew. The thread therefore copies again, until a pass has found little to copy. Then the writer itself makes the last
   checkpoint, between two transactions: nothing can be appended meanwhile, and there is little to copy.
2. *SQLite flushes the database file to the disk only in a checkpoint that has copied everything*, so that flush, with
   all that the passes before have copied, would fall to the writer's last one. The thread therefore flushes the file
   after each of its passes, through a handle of its own (see `checkpointed`).

Above the limit the writer waits for the pass that is under way and finishes, however much is left: who writes faster
than the disk can copy is slowed down. What a connection that reads an old state of the file still needs cannot be
overwritten. The writer does not wait for that: the log grows, with one line in the program's log, until that reader
ends.
"""

from __future__ import annotations

import logging
import os
import sqlite3
import sys
from collections.abc import Callable, Generator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path
from typing import Final

from awaken.store.sqlite.lock import FileLock
from awaken.store.sqlite.opening import Durability, open_checkpointer, open_writer

WAL_LIMIT_BYTES: Final = 128 * 1024 * 1024
"""The size of the log at which writing waits for it, unless the store is given another. A larger log is copied more
rarely, so that a page changed by many commits is written less often; a smaller one is read sooner after a crash."""
MAX_WAL_LIMIT_BYTES: Final = 2**40
MIN_WAL_LIMIT_BYTES: Final = 16 * 1024 * 1024
"""One large batch is a few MB; the sizes derived from the limit mean nothing when one commit exceeds them."""

_MAX_PASSES: Final = 4
"""Each copies what came during the one before, so three are enough unless the disk is slower than the writer."""
_FRAME_HEADER_BYTES: Final = 24

_log = logging.getLogger("awaken.store")


class Checkpointer:
    """Of one open file. All methods belong to the thread that owns the writing connection."""

    def __init__(
        self, writer: sqlite3.Connection, path: Path, durability: Durability, handle: int, limit_bytes: int
    ) -> None:
        """Takes over from SQLite what `writer`, the connection that commits, has appended to the log and will append.

        Raises:
            StoreUnavailable: The second connection cannot be opened.
        """
        self._writer = writer
        self._path = path
        self._handle = handle
        self._limit_bytes = limit_bytes
        self._start_bytes = limit_bytes * 5 // 8
        """Leaves room for what is appended until the log begins anew: a tenth of this, at full load (measured)."""
        self._step_bytes = limit_bytes // 16
        """How much the log grows before the next attempt, when one has not led to a new beginning."""
        [page_bytes] = writer.execute("PRAGMA page_size").fetchone()
        self._rest_frames = limit_bytes // 64 // (page_bytes + _FRAME_HEADER_BYTES)
        """Little enough to be copied while commits wait."""
        self._log_file = f"{file_of(writer)}-wal"
        self._copying: Future[bool] | None = None
        self._begin_anew()
        writer.execute("PRAGMA wal_autocheckpoint = 0")
        # The first commit of a log that begins anew cuts its file back to this size; up to here the old content stays
        # and is overwritten, much faster than a file grows. So the file is larger than this exactly if the log is.
        writer.execute(f"PRAGMA journal_size_limit = {self._start_bytes}")
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="awaken-sqlite-checkpoint")
        try:
            self._beside = self._thread.submit(open_checkpointer, path, durability).result()
        except BaseException:
            self._thread.shutdown()
            raise

    def after_commit(self, before_waiting: Callable[[], None]) -> None:
        """Start copying when the log is long enough; finish when what is left is short enough, or the log too long.

        `before_waiting` is called first when the next transaction has to wait.
        """
        size_bytes = self._size_bytes()
        if size_bytes < self._seen_bytes:
            self._begin_anew()
        self._seen_bytes = size_bytes
        if size_bytes <= self._due_bytes:
            return
        if self._copying is None or (self._is_outdated and self._copying.done()):
            self._copying, self._is_outdated = self._thread.submit(self._catch_up), False
            return
        is_over_limit = size_bytes > self._limit_bytes
        if not self._copying.done():
            if not is_over_limit or self._is_outgrown:
                return
            before_waiting()
        has_caught_up, self._copying = self._copying.result(), None
        self._due_bytes = size_bytes + self._step_bytes
        if is_over_limit:
            self._note_outgrown(size_bytes)
        if has_caught_up or is_over_limit:
            before_waiting()
            self._copy(self._writer)

    def close(self) -> None:
        """Wait for what is being copied, then close the second connection."""
        self._thread.shutdown()
        self._beside.close()

    def _begin_anew(self) -> None:
        self._seen_bytes = 0
        self._due_bytes = self._start_bytes
        self._is_outdated = True
        """What is being copied, or has been, belongs to a log that is over: it is no reason to finish this one."""
        self._is_outgrown = False
        self._is_logged = False

    def _size_bytes(self) -> int:
        try:
            return os.stat(self._log_file).st_size
        except OSError:
            return 0

    def _note_outgrown(self, size_bytes: int) -> None:
        """Over the limit for the second time since the log began: finishing did not help, and somebody should know."""
        if self._is_outgrown and not self._is_logged:
            self._is_logged = True
            _log.warning(
                "the write-ahead log of database %s has grown to %d MiB, over its limit of %d MiB: something has been"
                " reading an old state of the file for long, a backup or another program perhaps. It grows until that"
                " ends",
                self._path,
                size_bytes >> 20,
                self._limit_bytes >> 20,
            )
        self._is_outgrown = True

    def _catch_up(self) -> bool:
        """In a thread of its own: copy beside the writer, until little was left. False when that was not reached."""
        copied = 0
        for _ in range(_MAX_PASSES):
            passed = self._copy(self._beside)
            if passed is None:
                return False
            found, left = passed[0] - copied, passed[0] - passed[1]
            if left:
                return False  # somebody reads an older state
            if found <= self._rest_frames:
                return True
            copied = passed[1]
        return False

    def _copy(self, connection: sqlite3.Connection) -> tuple[int, int] | None:
        """One pass: how many frames were in the log when it began, and how many of all are copied now.

        None when it could not be done: somebody else is copying, or the disk fails.
        """
        try:
            # PASSIVE waits for nobody, neither readers nor the writer.
            [is_busy, found, copied] = connection.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchone()
            if connection is self._beside:
                _flush(self._handle)
        except (sqlite3.Error, OSError) as error:
            # The log is whole and commits go on, as far as they can; the next attempt may do better.
            _log.warning("the write-ahead log of database %s could not be copied into it: %s", self._path, error)
            return None
        return None if is_busy else (found, copied)


@contextmanager
def checkpointed(
    path: Path, durability: Durability, limit_bytes: int, lock: FileLock
) -> Generator[tuple[sqlite3.Connection, Checkpointer]]:
    """The connection that writes, with the checkpointer that looks after its log; closed when this is left.

    Raises:
        StoreUnavailable, DataIntegrity: The file cannot be served; the message says why and what to do.
    """
    with closing(open_writer(path, durability)) as writer, ExitStack() as before_closing:
        before_closing.callback(lock.unguard)
        lock.guard()
        # The file is flushed through the handle of the lock, which is closed after all connections. It is none of
        # SQLite's, because a failed flush is reported once for each handle: SQLite must get it on its own one.
        with closing(Checkpointer(writer, path, durability, lock.handle, limit_bytes)) as checkpointer:
            yield writer, checkpointer


def file_of(connection: sqlite3.Connection) -> str:
    """Where SQLite found the database file; its log lies beside that, wherever a link to it may be."""
    [_, _, file] = connection.execute("PRAGMA database_list").fetchone()
    return str(file)


def _flush(handle: int) -> None:
    """Only to spare the writer's checkpoint the work: what has to be on the disk, SQLite flushes itself."""
    if sys.platform == "linux":
        os.fdatasync(handle)
    else:
        os.fsync(handle)
