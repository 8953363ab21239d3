"""One SQLite file as a store: durable, and served by this process alone.

Above: `store.contract`. Below: `writer` (one thread that owns the file and writes), `readers` (a few that read), and
`shared` for being entered by several.
Holds: no SQL runs on the event loop, and nothing in asyncio's default executor. A read that starts after `apply` has
returned sees what it wrote.

Source: ADR 0001 (one database, one transaction), ADR 0009 (one process), ADR 0024 (the write-ahead log), ADR 0030
(which file it is).
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from pathlib import Path
from types import TracebackType
from typing import Final, Self, TypeVar

from awaken.domain.checking import shown
from awaken.domain.clock import Clock, Instant, SystemClock
from awaken.domain.dead_letter import DeadLetter, DeadLetterQuery
from awaken.domain.dispatch import Dispatch, DispatchStatus
from awaken.domain.errors import StoreUnavailable, ValidationError
from awaken.domain.ids import ConsumerId, DispatchId, MessageId, Route, RunId, Scope, ThreadId, TicketId
from awaken.domain.log import EventRow
from awaken.domain.outbox import Lane, OutboxRow
from awaken.domain.receipt import Receipt
from awaken.domain.run import Run
from awaken.domain.schedule import Schedule
from awaken.domain.span import Span
from awaken.domain.state import ThreadState
from awaken.domain.thread import Thread
from awaken.domain.ticket import Ticket
from awaken.domain.worker import WorkerRecord
from awaken.store.contract import (
    MAX_PAGE,
    Capabilities,
    DispatchQuery,
    Held,
    Listener,
    MessageQuery,
    OpenCount,
    OpenTickets,
    OverdueTicket,
    Page,
    PendingMessage,
    RunQuery,
    RunSummary,
    Snapshot,
    StoredMessage,
    ThreadQuery,
    TicketQuery,
)
from awaken.store.invariants import FIRST_PLACE, AuditPlace, AuditSlice
from awaken.store.register import Register
from awaken.store.signals import Listeners
from awaken.store.sqlite.checkpoint import MAX_WAL_LIMIT_BYTES, MIN_WAL_LIMIT_BYTES, WAL_LIMIT_BYTES
from awaken.store.sqlite.opening import DURABILITIES, Durability, absolute
from awaken.store.sqlite.readers import Readers
from awaken.store.sqlite.reading import Reading
from awaken.store.sqlite.shared import Shared
from awaken.store.sqlite.writer import Writer
from awaken.store.transitions import JournalEntry, Outcome, Transition

MAX_BATCH: Final = 200
"""Larger batches gain little and make everybody wait for their commit (measured)."""

_T = TypeVar("_T")


class SqliteStore:
    """Entered means open, migrated and owned; see `opening` for what is refused, and how.

    May be entered by several mailboxes of one event loop: the first opens the file, the last to leave closes it, and
    waits until it is closed and free, also when its task is cancelled meanwhile.
    """

    def __init__(
        self,
        path: str | Path,
        *,
        clock: Clock | None = None,
        durability: Durability = "full",
        wal_limit_bytes: int = WAL_LIMIT_BYTES,
    ) -> None:
        """`path` is the same file from now on, wherever the process goes. `wal_limit_bytes`: the size of the
        write-ahead log, at least 16 MiB, at which writing waits for it.

        Raises:
            ValidationError: An argument is not what it should be; the message names what it can be.
        """
        if type(wal_limit_bytes) is not int or not MIN_WAL_LIMIT_BYTES <= wal_limit_bytes <= MAX_WAL_LIMIT_BYTES:
            raise ValidationError(
                f"wal_limit_bytes is a whole number from {MIN_WAL_LIMIT_BYTES} to {MAX_WAL_LIMIT_BYTES}, and not"
                f" {shown(wal_limit_bytes)}"
            )
        if durability not in DURABILITIES:
            raise ValidationError(f"durability is one of {', '.join(DURABILITIES)}, and not {shown(durability)}")
        self.path: Final = absolute(path)
        self.capabilities: Final = Capabilities(
            kind="sqlite", durability=durability, exclusive=True, max_batch=MAX_BATCH
        )
        self._clock = clock or SystemClock()
        self._register = Register(self._clock)
        self._writer = Writer(self.path, durability, self._clock, wal_limit_bytes)
        self._readers = Readers(self.path)
        self._shared = Shared(self._open, self._close, name="awaken-sqlite-life")
        self._listeners = Listeners()
        self._owner_pid = 0

    async def __aenter__(self) -> Self:
        await self._shared.enter()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._shared.leave()

    def _open(self) -> None:
        """In a thread, as `_close`."""
        self._writer.open()
        try:
            self._readers.open()
        except BaseException:
            self._writer.close()
            raise
        self._owner_pid = os.getpid()

    def _close(self) -> None:
        """Readers first: the last connection to close is the writer, which then empties its log into the file."""
        try:
            self._readers.close()
        finally:
            self._writer.close()

    async def apply(self, batch: Sequence[Transition]) -> list[Outcome]:
        self._check_open()
        outcomes = await self._writer.apply(batch)
        self._listeners.publish(outcomes)
        return outcomes

    async def beat(self, worker: WorkerRecord) -> tuple[WorkerRecord, ...]:
        return self._register.beat(worker)

    async def leave(self, consumer_id: ConsumerId) -> None:
        self._register.leave(consumer_id)

    def listen(self, listener: Listener) -> None:
        self._listeners.add(listener)

    def unlisten(self, listener: Listener) -> None:
        self._listeners.remove(listener)

    def _check_open(self) -> None:
        if self._owner_pid and os.getpid() != self._owner_pid:
            raise StoreUnavailable(
                f"database {self.path} belongs to process {self._owner_pid}, from which this one was forked;"
                " talk to it over HTTP, with awaken.client"
            )
        if not self._shared.is_open:
            raise StoreUnavailable(f"database {self.path} is not open")

    async def check_writes(self) -> None:
        self._check_open()
        await self._writer.check()

    async def _read(self, read: Callable[[Reading], _T], *, many: bool = False) -> _T:
        """`many`: it may look at thousands of rows."""
        self._check_open()
        return await self._readers.read(read, many=many)

    # --- reads --------------------------------------------------------------------------------------------------------

    async def list_workers(self) -> tuple[WorkerRecord, ...]:
        return self._register.everybody()

    async def now(self) -> Instant:
        return self._clock.now()

    async def load_thread(self, scope: Scope, thread_id: ThreadId) -> Thread | None:
        return await self._read(lambda state: state.load_thread(scope, thread_id))

    async def list_threads(self, scope: Scope, query: ThreadQuery) -> Page[Thread]:
        return await self._read(lambda state: state.list_threads(scope, query), many=True)

    async def load_run(self, scope: Scope, run_id: RunId) -> Run | None:
        return await self._read(lambda state: state.load_run(scope, run_id))

    async def latest_run(self, scope: Scope, thread_id: ThreadId) -> Run | None:
        return await self._read(lambda state: state.latest_run(scope, thread_id))

    async def list_runs(self, scope: Scope, query: RunQuery) -> Page[Run]:
        return await self._read(lambda state: state.list_runs(scope, query), many=True)

    async def list_dead_letters(self, scope: Scope, query: DeadLetterQuery) -> Page[DeadLetter]:
        return await self._read(lambda state: state.list_dead_letters(scope, query), many=True)

    async def count_open_runs(self, scope: Scope) -> list[OpenCount]:
        return await self._read(lambda state: state.count_open_runs(scope), many=True)

    async def summarize_runs(self, scope: Scope) -> RunSummary:
        now = self._clock.now()
        return await self._read(lambda state: state.summarize_runs(scope, now), many=True)

    async def load_dispatch(self, scope: Scope, dispatch_id: DispatchId) -> Dispatch | None:
        return await self._read(lambda state: state.load_dispatch(scope, dispatch_id))

    async def load_dispatches(self, scope: Scope, ids: Sequence[DispatchId]) -> dict[DispatchId, Dispatch]:
        return await self._read(lambda state: state.load_dispatches(scope, ids))

    async def active_dispatch(self, scope: Scope, thread_id: ThreadId) -> Dispatch | None:
        return await self._read(lambda state: state.active_dispatch(scope, thread_id))

    async def list_dispatches(self, scope: Scope, query: DispatchQuery) -> Page[Dispatch]:
        return await self._read(lambda state: state.list_dispatches(scope, query), many=True)

    async def list_queue(self, scope: Scope, thread_id: ThreadId, *, limit: int = MAX_PAGE) -> list[Dispatch]:
        return await self._read(lambda state: state.list_queue(scope, thread_id, limit))

    async def list_claims(self, consumer: ConsumerId, *, after: int = 0, limit: int = MAX_PAGE) -> list[Held]:
        return await self._read(lambda state: state.list_claims(consumer, after, limit))

    async def count_dispatches(self) -> dict[DispatchStatus, int]:
        return await self._read(lambda state: state.count_dispatches(), many=True)

    async def list_ready_routes(self) -> list[Route]:
        return await self._read(lambda state: state.list_ready_routes())

    async def next_due_in_ms(self, routes: frozenset[Route]) -> int | None:
        due_at = await self._read(lambda state: state.next_due_at(routes))
        return None if due_at is None else max(due_at - self._clock.now(), 0)

    async def load_ticket(self, scope: Scope, ticket_id: TicketId) -> Ticket | None:
        return await self._read(lambda state: state.load_ticket(scope, ticket_id))

    async def list_tickets(self, scope: Scope, query: TicketQuery) -> Page[Ticket]:
        return await self._read(lambda state: state.list_tickets(scope, query), many=True)

    async def count_open_tickets(self) -> list[OpenTickets]:
        return await self._read(lambda state: state.count_open_tickets(self._clock.now()), many=True)

    async def list_overdue_tickets(self, *, limit: int = MAX_PAGE) -> list[OverdueTicket]:
        now = self._clock.now()
        return await self._read(lambda state: state.list_overdue_tickets(now, limit))

    async def load_message(self, scope: Scope, thread_id: ThreadId, message_id: MessageId) -> StoredMessage | None:
        return await self._read(lambda state: state.load_message(scope, thread_id, message_id))

    async def lost_messages(self, scope: Scope, thread_id: ThreadId, ids: Sequence[MessageId]) -> list[MessageId]:
        return await self._read(lambda state: state.lost_messages(scope, thread_id, ids), many=True)

    async def list_pending(self, scope: Scope, thread_id: ThreadId) -> list[PendingMessage]:
        return await self._read(lambda state: state.list_pending(scope, thread_id), many=True)

    async def find_breaches(self, place: AuditPlace = FIRST_PLACE) -> AuditSlice:
        now = self._clock.now()
        self._check_open()
        return await self._readers.audit(lambda state: state.find_breaches(place, now))

    async def load_receipt(self, scope: Scope, thread_id: ThreadId, message_id: MessageId) -> Receipt | None:
        return await self._read(lambda state: state.load_receipt(scope, thread_id, message_id))

    async def threads_of_message(self, scope: Scope, message_id: MessageId, *, limit: int) -> list[ThreadId]:
        return await self._read(lambda state: state.threads_of_message(scope, message_id, limit))

    async def list_messages(self, scope: Scope, thread_id: ThreadId, query: MessageQuery) -> list[StoredMessage]:
        is_filtered = query.visibility is not None or query.run_id is not None
        return await self._read(lambda state: state.list_messages(scope, thread_id, query), many=is_filtered)

    async def page_messages(self, scope: Scope, thread_id: ThreadId, query: MessageQuery) -> Page[StoredMessage]:
        is_filtered = query.visibility is not None or query.run_id is not None
        return await self._read(lambda state: state.page_messages(scope, thread_id, query), many=is_filtered)

    async def list_spans(self, scope: Scope, thread_id: ThreadId) -> list[Span]:
        return await self._read(lambda state: state.list_spans(scope, thread_id))

    async def load_state(self, scope: Scope, thread_id: ThreadId) -> ThreadState:
        return await self._read(lambda state: state.load_state(scope, thread_id))

    async def load_snapshot(self, scope: Scope, thread_id: ThreadId) -> Snapshot | None:
        return await self._read(lambda state: state.load_snapshot(scope, thread_id))

    async def list_journal(self, scope: Scope, run_id: RunId) -> list[JournalEntry]:
        return await self._read(lambda state: state.list_journal(scope, run_id))

    async def list_events(
        self, scope: Scope, thread_id: ThreadId, *, after: int, limit: int, run_id: RunId | None = None
    ) -> list[EventRow]:
        return await self._read(lambda state: state.list_events(scope, thread_id, after, limit, run_id))

    async def page_events(
        self, scope: Scope, thread_id: ThreadId, *, after: int, limit: int, run_id: RunId | None = None
    ) -> Page[EventRow]:
        return await self._read(lambda state: state.page_events(scope, thread_id, after, limit, run_id))

    async def last_events(self, scope: Scope, runs: Sequence[Run]) -> dict[RunId, EventRow]:
        return await self._read(lambda state: state.last_events(scope, runs), many=True)

    async def event_bounds(self, scope: Scope, thread_id: ThreadId) -> tuple[int, int]:
        return await self._read(lambda state: state.event_bounds(scope, thread_id))

    async def list_outbox(self, *, after: int = 0, lane: Lane | None = None, limit: int = MAX_PAGE) -> list[OutboxRow]:
        return await self._read(lambda state: state.list_outbox(after, lane, limit))

    async def load_schedule(self, scope: Scope, name: str) -> Schedule | None:
        return await self._read(lambda state: state.load_schedule(scope, name))

    async def list_schedules(self, scope: Scope, *, after: int | None = None, limit: int = MAX_PAGE) -> Page[Schedule]:
        return await self._read(lambda state: state.list_schedules(scope, after, limit))
