"""Threads that read, each with a connection of its own.

Above: `SqliteStore` hands over one read at a time. Below: `opening` for the connections, `reading` for what one sees.
Holds: a read never waits for the writer. What may look at thousands of rows has a thread of its own and waits for its
like there, so that however many lists are asked for at once, what reads one run or one thread waits for none of them.

Source: PB-003.
"""

from __future__ import annotations

import asyncio
import os
import queue
import sqlite3
import sys
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Final, TypeVar

from awaken.store.sqlite.faults import translated
from awaken.store.sqlite.opening import open_reader
from awaken.store.sqlite.reading import Reading, reading

READERS: Final = 2
"""Threads for reads of few rows."""
LISTERS: Final = 1
"""Threads for reads of many."""
AUDITORS: Final = 1
"""Threads for the audit, which reads everything, and which nobody waits behind."""

_LOWEST_PRIORITY: Final = 19

_T = TypeVar("_T")


class Readers:
    """`open` and `close` may wait for the disk, so they are not for the event loop."""

    def __init__(self, path: Path) -> None:
        self._few = _Pool(path, READERS, "awaken-sqlite-reader")
        self._many = _Pool(path, LISTERS, "awaken-sqlite-lister")
        self._all = _Pool(path, AUDITORS, "awaken-sqlite-auditor", begins=_stand_back)

    def open(self) -> None:
        with ExitStack() as failed:
            for pool in (self._few, self._many, self._all):
                pool.open()
                failed.callback(pool.close)
            failed.pop_all()

    def close(self) -> None:
        """After the reads that were asked for before."""
        with ExitStack() as closing:
            for pool in (self._few, self._many, self._all):
                closing.callback(pool.close)

    async def read(self, read: Callable[[Reading], _T], *, many: bool = False) -> _T:
        """Run it in one of the threads, on one state of the database. Only between `open` and `close`.

        `many`: it may look at thousands of rows.
        """
        return await (self._many if many else self._few).read(read)

    async def audit(self, read: Callable[[Reading], _T]) -> _T:
        """As `read`, in a thread that nobody else waits for."""
        return await self._all.read(read)


class _Pool:
    """Some threads, and a connection for each."""

    def __init__(self, path: Path, size: int, name: str, *, begins: Callable[[], None] | None = None) -> None:
        """`begins` is called first, in each thread."""
        self._path = path
        self._size = size
        self._name = name
        self._begins = begins
        self._idle: queue.SimpleQueue[sqlite3.Connection] = queue.SimpleQueue()
        self._pool: ThreadPoolExecutor | None = None

    def open(self) -> None:
        try:
            for _ in range(self._size):
                self._idle.put(open_reader(self._path))
        except BaseException:
            self._close_connections()
            raise
        self._pool = ThreadPoolExecutor(self._size, self._name, self._begins)

    def close(self) -> None:
        if self._pool is not None:
            pool, self._pool = self._pool, None
            pool.shutdown()
        self._close_connections()

    async def read(self, read: Callable[[Reading], _T]) -> _T:
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


def _stand_back() -> None:
    """Have this thread keep nobody from a processor, where the system can tell threads apart: on Linux. Woken up, it
    would otherwise go before whoever runs there, for the whole of a slice.
    """
    if sys.platform == "linux":
        with suppress(OSError):  # a sandbox may forbid it
            os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), _LOWEST_PRIORITY)
