"""The thread that owns the writing connection.

Above: `SqliteStore.apply` hands over a batch and waits. Below: `lock`, `opening`, then `batch.Transactor`.
Holds: one batch at a time, in the order handed over; one that was begun is finished, whether or not its caller still
waits. The event loop is woken once per batch, and under load at the moment when it can work: the interpreter runs one
thread at a time, so an answer that is ready while the next batch waits is given when that batch commits, which this
thread does without the interpreter. The file is owned from before it is opened until after it is closed.
"""

from __future__ import annotations

import asyncio
import queue
import threading
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import TypeVar

from awaken.domain.clock import Clock
from awaken.domain.errors import StoreUnavailable
from awaken.store.sqlite.batch import Transactor
from awaken.store.sqlite.lock import FileLock
from awaken.store.sqlite.opening import Durability, check_library, check_place, open_writer
from awaken.store.transitions import Outcome, Transition

_T = TypeVar("_T")
_Job = tuple[Sequence[Transition], "asyncio.Future[list[Outcome]]", asyncio.AbstractEventLoop]


class Writer:
    """`open` starts the thread, `close` ends it after what was handed over before."""

    def __init__(self, path: Path, durability: Durability, clock: Clock) -> None:
        self._path = path
        self._durability: Durability = durability
        self._clock = clock
        self._lock = FileLock(path)
        self._jobs: queue.SimpleQueue[_Job | None] = queue.SimpleQueue()
        self._thread: threading.Thread | None = None
        self._untold: Callable[[], None] | None = None
        """Tells the last batch's caller, as soon as the event loop can make use of it."""

    async def open(self) -> None:
        """Become the owner of the file and open it.

        Raises:
            StoreUnavailable, DataIntegrity: It cannot be served; the message says why and what to do.
        """
        loop = asyncio.get_running_loop()
        opened: asyncio.Future[None] = loop.create_future()
        self._jobs = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._run, args=(loop, opened), name="awaken-sqlite-writer", daemon=True)
        self._thread.start()
        await opened

    async def apply(self, batch: Sequence[Transition]) -> list[Outcome]:
        if self._thread is None:
            raise StoreUnavailable(f"database {self._path} is not open")
        loop = asyncio.get_running_loop()
        applied: asyncio.Future[list[Outcome]] = loop.create_future()
        self._jobs.put((batch, applied, loop))
        return await applied

    async def close(self) -> None:
        if self._thread is not None:
            thread, self._thread = self._thread, None
            self._jobs.put(None)
            await asyncio.to_thread(thread.join)

    def _run(self, loop: asyncio.AbstractEventLoop, opened: asyncio.Future[None]) -> None:
        try:
            check_library()
            check_place(self._path)
            self._lock.take(self._clock)
            db = open_writer(self._path, self._durability)
            transactor = Transactor(db, self._path, self._clock)
            transactor.open()
        except Exception as error:  # a supervisor: whoever opens the store hears it
            self._lock.release()
            _answer(loop, opened, error)
            return
        try:
            _answer(loop, opened, None)
            self._serve(transactor)
        finally:
            db.close()
            self._lock.release()

    def _serve(self, transactor: Transactor) -> None:
        while (job := self._jobs.get()) is not None:
            batch, applied, caller = job
            try:
                outcome: list[Outcome] | Exception = transactor.apply(batch, self._tell)
            except Exception as error:  # a supervisor: this batch's caller hears it, the next batch is tried
                outcome = error
            self._tell()
            self._untold = partial(_answer, caller, applied, outcome)
            if self._jobs.empty():
                self._tell()
            del job, batch, applied, outcome  # hold no batch while waiting for the next
        self._tell()

    def _tell(self) -> None:
        if self._untold is not None:
            tell, self._untold = self._untold, None
            tell()


def _answer(loop: asyncio.AbstractEventLoop, future: asyncio.Future[_T], result: _T | Exception) -> None:
    if not loop.is_closed():
        loop.call_soon_threadsafe(_resolve, future, result)


def _resolve(future: asyncio.Future[_T], result: _T | Exception) -> None:
    if future.done():
        return  # its caller went away
    if isinstance(result, Exception):
        future.set_exception(result)
    else:
        future.set_result(result)
