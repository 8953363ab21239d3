"""One SQLite file as a store: durable, and served by this process alone.

Above: `store.contract`. Below: `writer` (one thread that owns the file and writes), `reading` (in a small pool).
Holds: no SQL runs on the event loop. A read that starts after `apply` has returned sees what it wrote.

Source: design decisions "SQLite is one process" and "one database, one transaction".
"""

from __future__ import annotations

import asyncio
import os
import queue
import sqlite3
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import TracebackType
from typing import Final, Self, TypeVar

from awaken.domain.clock import Clock, Instant, SystemClock
from awaken.domain.dispatch import Dispatch, DispatchStatus
from awaken.domain.errors import StoreUnavailable
from awaken.domain.ids import ConsumerId, DispatchId, MessageId, Route, RunId, Scope, ThreadId
from awaken.domain.log import EventRow
from awaken.domain.run import Run
from awaken.domain.thread import Thread
from awaken.store.contract import (
    MAX_PAGE,
    Capabilities,
    DispatchQuery,
    Held,
    Listener,
    MessageQuery,
    OpenCount,
    Page,
    RunQuery,
    StoredMessage,
    ThreadQuery,
)
from awaken.store.signals import Listeners
from awaken.store.sqlite.faults import translated
from awaken.store.sqlite.opening import Durability, open_reader
from awaken.store.sqlite.reading import Reading, reading
from awaken.store.sqlite.writer import Writer
from awaken.store.transitions import JournalEntry, Outcome, Transition

MAX_BATCH: Final = 200
"""Larger batches gain little and make everybody wait for their commit (measured)."""
READERS: Final = 2

_T = TypeVar("_T")


class SqliteStore:
    """Entered means open, migrated and owned; see `opening` for what is refused, and how."""

    def __init__(self, path: str | Path, *, clock: Clock | None = None, durability: Durability = "full") -> None:
        self.path: Final = Path(path)
        self.capabilities: Final = Capabilities(
            kind="sqlite", durability=durability, exclusive=True, max_batch=MAX_BATCH
        )
        self._clock = clock or SystemClock()
        self._writer = Writer(self.path, durability, self._clock)
        self._listeners = Listeners()
        self._readers: queue.SimpleQueue[sqlite3.Connection] = queue.SimpleQueue()
        self._pool: ThreadPoolExecutor | None = None
        self._owner_pid = 0

    async def __aenter__(self) -> Self:
        try:
            await self._writer.open()
            self._pool = ThreadPoolExecutor(READERS, thread_name_prefix="awaken-sqlite-reader")
            for _ in range(READERS):
                self._readers.put(open_reader(self.path))
        except BaseException:
            await self._close()
            raise
        self._owner_pid = os.getpid()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._close()

    async def _close(self) -> None:
        """Readers first: the last connection to close is the writer, which then empties its log into the file."""
        if self._pool is not None:
            pool, self._pool = self._pool, None
            await asyncio.to_thread(pool.shutdown)
        while not self._readers.empty():
            self._readers.get().close()
        await self._writer.close()

    async def apply(self, batch: Sequence[Transition]) -> list[Outcome]:
        self._check_process()
        outcomes = await self._writer.apply(batch)
        self._listeners.publish(outcomes)
        return outcomes

    def listen(self, listener: Listener) -> None:
        self._listeners.add(listener)

    def unlisten(self, listener: Listener) -> None:
        self._listeners.remove(listener)

    def _check_process(self) -> None:
        if self._owner_pid and os.getpid() != self._owner_pid:
            raise StoreUnavailable(
                f"database {self.path} belongs to process {self._owner_pid}, from which this one was forked;"
                " talk to it over HTTP, or use a Postgres database for several processes"
            )

    async def _read(self, read: Callable[[Reading], _T]) -> _T:
        self._check_process()
        if self._pool is None:
            raise StoreUnavailable(f"database {self.path} is not open")
        return await asyncio.get_running_loop().run_in_executor(self._pool, self._read_in_thread, read)

    def _read_in_thread(self, read: Callable[[Reading], _T]) -> _T:
        db = self._readers.get()
        try:
            with reading(db) as state:
                return read(state)
        except sqlite3.Error as error:
            raise translated(error, self.path) from error
        finally:
            self._readers.put(db)

    # --- reads --------------------------------------------------------------------------------------------------------

    async def now(self) -> Instant:
        return self._clock.now()

    async def load_thread(self, scope: Scope, thread_id: ThreadId) -> Thread | None:
        return await self._read(lambda state: state.load_thread(scope, thread_id))

    async def list_threads(self, scope: Scope, query: ThreadQuery) -> Page[Thread]:
        return await self._read(lambda state: state.list_threads(scope, query))

    async def load_run(self, scope: Scope, run_id: RunId) -> Run | None:
        return await self._read(lambda state: state.load_run(scope, run_id))

    async def latest_run(self, scope: Scope, thread_id: ThreadId) -> Run | None:
        return await self._read(lambda state: state.latest_run(scope, thread_id))

    async def list_runs(self, scope: Scope, query: RunQuery) -> Page[Run]:
        return await self._read(lambda state: state.list_runs(scope, query))

    async def count_open_runs(self, scope: Scope) -> list[OpenCount]:
        return await self._read(lambda state: state.count_open_runs(scope))

    async def load_dispatch(self, scope: Scope, dispatch_id: DispatchId) -> Dispatch | None:
        return await self._read(lambda state: state.load_dispatch(scope, dispatch_id))

    async def load_dispatches(self, scope: Scope, ids: Sequence[DispatchId]) -> dict[DispatchId, Dispatch]:
        return await self._read(lambda state: state.load_dispatches(scope, ids))

    async def active_dispatch(self, scope: Scope, thread_id: ThreadId) -> Dispatch | None:
        return await self._read(lambda state: state.active_dispatch(scope, thread_id))

    async def list_dispatches(self, scope: Scope, query: DispatchQuery) -> Page[Dispatch]:
        return await self._read(lambda state: state.list_dispatches(scope, query))

    async def list_queue(self, scope: Scope, thread_id: ThreadId, *, limit: int = MAX_PAGE) -> list[Dispatch]:
        return await self._read(lambda state: state.list_queue(scope, thread_id, limit))

    async def list_claims(self, consumer: ConsumerId, *, after: int = 0, limit: int = MAX_PAGE) -> list[Held]:
        return await self._read(lambda state: state.list_claims(consumer, after, limit))

    async def count_dispatches(self) -> dict[DispatchStatus, int]:
        return await self._read(lambda state: state.count_dispatches())

    async def list_ready_routes(self) -> list[Route]:
        return await self._read(lambda state: state.list_ready_routes())

    async def next_due_in_ms(self, routes: frozenset[Route]) -> int | None:
        due_at = await self._read(lambda state: state.next_due_at(routes))
        return None if due_at is None else max(due_at - self._clock.now(), 0)

    async def load_message(self, scope: Scope, thread_id: ThreadId, message_id: MessageId) -> StoredMessage | None:
        return await self._read(lambda state: state.load_message(scope, thread_id, message_id))

    async def list_messages(self, scope: Scope, thread_id: ThreadId, query: MessageQuery) -> list[StoredMessage]:
        return await self._read(lambda state: state.list_messages(scope, thread_id, query))

    async def list_journal(self, scope: Scope, run_id: RunId) -> list[JournalEntry]:
        return await self._read(lambda state: state.list_journal(scope, run_id))

    async def list_events(
        self, scope: Scope, thread_id: ThreadId, *, after: int, limit: int, run_id: RunId | None = None
    ) -> list[EventRow]:
        return await self._read(lambda state: state.list_events(scope, thread_id, after, limit, run_id))

    async def event_bounds(self, scope: Scope, thread_id: ThreadId) -> tuple[int, int]:
        return await self._read(lambda state: state.event_bounds(scope, thread_id))
