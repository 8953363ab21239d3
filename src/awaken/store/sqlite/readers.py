"""Threads that read, each with a connection of its own.

Above: `SqliteStore` hands over one read at a time. Below: `opening` for the connections, `reading` for what one sees.
Holds: a read never waits for the writer, and a slow one holds up at most other reads. More than `READERS` at once wait
their turn.
"""

from __future__ import annotations

import asyncio
import queue
import sqlite3
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Final, TypeVar

from awaken.store.sqlite.faults import translated
from awaken.store.sqlite.opening import open_reader
from awaken.store.sqlite.reading import Reading, reading

READERS: Final = 2

_T = TypeVar("_T")


class Readers:
    """`open` and `close` may wait for the disk, so they are not for the event loop."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._idle: queue.SimpleQueue[sqlite3.Connection] = queue.SimpleQueue()
        self._pool: ThreadPoolExecutor | None = None

    def open(self) -> None:
        try:
            for _ in range(READERS):
                self._idle.put(open_reader(self._path))
        except BaseException:
            self._close_connections()
            raise
        self._pool = ThreadPoolExecutor(READERS, thread_name_prefix="awaken-sqlite-reader")

    def close(self) -> None:
        """After the reads that were asked for before."""
        if self._pool is not None:
            pool, self._pool = self._pool, None
            pool.shutdown()
        self._close_connections()

    async def read(self, read: Callable[[Reading], _T]) -> _T:
        """Run it in one of the threads, on one state of the database. Only between `open` and `close`."""
        assert self._pool is not None, "open; with None, asyncio would take its own executor"
        return await asyncio.get_running_loop().run_in_executor(self._pool, self._read, read)

    def _read(self, read: Callable[[Reading], _T]) -> _T:
        db = self._idle.get()
        try:
            with reading(db) as state:
                return read(state)
        except sqlite3.Error as error:
            raise translated(error, self._path) from error
        finally:
            self._idle.put(db)

    def _close_connections(self) -> None:
        while not self._idle.empty():
            self._idle.get().close()
