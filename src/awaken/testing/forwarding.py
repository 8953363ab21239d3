"""A store that hands everything on to another one: what stores with an addition of their own are made from.

Above: `mailboxes.WatchedStore`, `crash.CrashingStore`, and whoever wants to count, delay or refuse in a test.
Below: any store. Holds: a read of the contract that is missing here fails the type check, so no wrapper misses one.
"""

from __future__ import annotations

from collections.abc import Coroutine, Sequence
from types import TracebackType
from typing import Any, Self, TypeVar

from awaken.domain.clock import Instant
from awaken.domain.dead_letter import DeadLetter, DeadLetterQuery
from awaken.domain.dispatch import Dispatch, DispatchStatus
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
    Store,
    StoredMessage,
    ThreadQuery,
    TicketQuery,
)
from awaken.store.invariants import FIRST_PLACE, AuditPlace, AuditSlice
from awaken.store.transitions import JournalEntry, Outcome, Transition

T = TypeVar("T")


class ForwardingStore:
    """Override `apply`, or `_read`, through which every read passes."""

    def __init__(self, store: Store) -> None:
        self._store = store

    @property
    def capabilities(self) -> Capabilities:
        return self._store.capabilities

    async def __aenter__(self) -> Self:
        await self._store.__aenter__()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._store.__aexit__(kind, error, trace)

    async def apply(self, batch: Sequence[Transition]) -> list[Outcome]:
        return await self._store.apply(batch)

    async def beat(self, worker: WorkerRecord) -> tuple[WorkerRecord, ...]:
        return await self._store.beat(worker)

    async def leave(self, consumer_id: ConsumerId) -> None:
        await self._store.leave(consumer_id)

    def listen(self, listener: Listener) -> None:
        self._store.listen(listener)

    def unlisten(self, listener: Listener) -> None:
        self._store.unlisten(listener)

    async def _read(self, operation: Coroutine[Any, Any, T]) -> T:
        """Await a read that has not begun. One that is not awaited must be closed."""
        return await operation

    async def now(self) -> Instant:
        return await self._read(self._store.now())

    async def list_workers(self) -> tuple[WorkerRecord, ...]:
        return await self._read(self._store.list_workers())

    async def check_writes(self) -> None:
        await self._read(self._store.check_writes())

    async def load_thread(self, scope: Scope, thread_id: ThreadId) -> Thread | None:
        return await self._read(self._store.load_thread(scope, thread_id))

    async def list_threads(self, scope: Scope, query: ThreadQuery) -> Page[Thread]:
        return await self._read(self._store.list_threads(scope, query))

    async def load_run(self, scope: Scope, run_id: RunId) -> Run | None:
        return await self._read(self._store.load_run(scope, run_id))

    async def latest_run(self, scope: Scope, thread_id: ThreadId) -> Run | None:
        return await self._read(self._store.latest_run(scope, thread_id))

    async def list_runs(self, scope: Scope, query: RunQuery) -> Page[Run]:
        return await self._read(self._store.list_runs(scope, query))

    async def list_dead_letters(self, scope: Scope, query: DeadLetterQuery) -> Page[DeadLetter]:
        return await self._read(self._store.list_dead_letters(scope, query))

    async def count_open_runs(self, scope: Scope) -> list[OpenCount]:
        return await self._read(self._store.count_open_runs(scope))

    async def summarize_runs(self, scope: Scope) -> RunSummary:
        return await self._read(self._store.summarize_runs(scope))

    async def load_dispatch(self, scope: Scope, dispatch_id: DispatchId) -> Dispatch | None:
        return await self._read(self._store.load_dispatch(scope, dispatch_id))

    async def load_dispatches(self, scope: Scope, ids: Sequence[DispatchId]) -> dict[DispatchId, Dispatch]:
        return await self._read(self._store.load_dispatches(scope, ids))

    async def active_dispatch(self, scope: Scope, thread_id: ThreadId) -> Dispatch | None:
        return await self._read(self._store.active_dispatch(scope, thread_id))

    async def list_dispatches(self, scope: Scope, query: DispatchQuery) -> Page[Dispatch]:
        return await self._read(self._store.list_dispatches(scope, query))

    async def list_queue(self, scope: Scope, thread_id: ThreadId, *, limit: int = MAX_PAGE) -> list[Dispatch]:
        return await self._read(self._store.list_queue(scope, thread_id, limit=limit))

    async def list_claims(self, consumer: ConsumerId, *, after: int = 0, limit: int = MAX_PAGE) -> list[Held]:
        return await self._read(self._store.list_claims(consumer, after=after, limit=limit))

    async def count_dispatches(self) -> dict[DispatchStatus, int]:
        return await self._read(self._store.count_dispatches())

    async def list_ready_routes(self) -> list[Route]:
        return await self._read(self._store.list_ready_routes())

    async def next_due_in_ms(self, routes: frozenset[Route]) -> int | None:
        return await self._read(self._store.next_due_in_ms(routes))

    async def load_ticket(self, scope: Scope, ticket_id: TicketId) -> Ticket | None:
        return await self._read(self._store.load_ticket(scope, ticket_id))

    async def list_tickets(self, scope: Scope, query: TicketQuery) -> Page[Ticket]:
        return await self._read(self._store.list_tickets(scope, query))

    async def count_open_tickets(self) -> list[OpenTickets]:
        return await self._read(self._store.count_open_tickets())

    async def list_overdue_tickets(self, *, limit: int = MAX_PAGE) -> list[OverdueTicket]:
        return await self._read(self._store.list_overdue_tickets(limit=limit))

    async def load_message(self, scope: Scope, thread_id: ThreadId, message_id: MessageId) -> StoredMessage | None:
        return await self._read(self._store.load_message(scope, thread_id, message_id))

    async def lost_messages(self, scope: Scope, thread_id: ThreadId, ids: Sequence[MessageId]) -> list[MessageId]:
        return await self._read(self._store.lost_messages(scope, thread_id, ids))

    async def list_pending(self, scope: Scope, thread_id: ThreadId) -> list[PendingMessage]:
        return await self._read(self._store.list_pending(scope, thread_id))

    async def find_breaches(self, place: AuditPlace = FIRST_PLACE) -> AuditSlice:
        return await self._read(self._store.find_breaches(place))

    async def load_receipt(self, scope: Scope, thread_id: ThreadId, message_id: MessageId) -> Receipt | None:
        return await self._read(self._store.load_receipt(scope, thread_id, message_id))

    async def threads_of_message(self, scope: Scope, message_id: MessageId, *, limit: int) -> list[ThreadId]:
        return await self._read(self._store.threads_of_message(scope, message_id, limit=limit))

    async def list_messages(self, scope: Scope, thread_id: ThreadId, query: MessageQuery) -> list[StoredMessage]:
        return await self._read(self._store.list_messages(scope, thread_id, query))

    async def page_messages(self, scope: Scope, thread_id: ThreadId, query: MessageQuery) -> Page[StoredMessage]:
        return await self._read(self._store.page_messages(scope, thread_id, query))

    async def list_spans(self, scope: Scope, thread_id: ThreadId) -> list[Span]:
        return await self._read(self._store.list_spans(scope, thread_id))

    async def load_state(self, scope: Scope, thread_id: ThreadId) -> ThreadState:
        return await self._read(self._store.load_state(scope, thread_id))

    async def load_snapshot(self, scope: Scope, thread_id: ThreadId) -> Snapshot | None:
        return await self._read(self._store.load_snapshot(scope, thread_id))

    async def list_journal(self, scope: Scope, run_id: RunId) -> list[JournalEntry]:
        return await self._read(self._store.list_journal(scope, run_id))

    async def list_events(
        self, scope: Scope, thread_id: ThreadId, *, after: int, limit: int, run_id: RunId | None = None
    ) -> list[EventRow]:
        return await self._read(self._store.list_events(scope, thread_id, after=after, limit=limit, run_id=run_id))

    async def page_events(
        self, scope: Scope, thread_id: ThreadId, *, after: int, limit: int, run_id: RunId | None = None
    ) -> Page[EventRow]:
        return await self._read(self._store.page_events(scope, thread_id, after=after, limit=limit, run_id=run_id))

    async def last_events(self, scope: Scope, runs: Sequence[Run]) -> dict[RunId, EventRow]:
        return await self._read(self._store.last_events(scope, runs))

    async def event_bounds(self, scope: Scope, thread_id: ThreadId) -> tuple[int, int]:
        return await self._read(self._store.event_bounds(scope, thread_id))

    async def list_outbox(self, *, after: int = 0, lane: Lane | None = None, limit: int = MAX_PAGE) -> list[OutboxRow]:
        return await self._read(self._store.list_outbox(after=after, lane=lane, limit=limit))

    async def load_schedule(self, scope: Scope, name: str) -> Schedule | None:
        return await self._read(self._store.load_schedule(scope, name))

    async def list_schedules(self, scope: Scope, *, after: int | None = None, limit: int = MAX_PAGE) -> Page[Schedule]:
        return await self._read(self._store.list_schedules(scope, after=after, limit=limit))
