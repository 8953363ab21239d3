"""The contract in plain Python: the model the SQL stores are compared with, and `memory://`.

Above: `rules` decides; `facts` finds the rows a transition touches, `writing` keeps what it changed.
Holds: one `apply` at a time and without an await, so a batch is atomic; facts are copies, so an error leaves no trace.
"""

from __future__ import annotations

from collections.abc import Sequence
from types import TracebackType
from typing import Final, Self, cast, get_args

from awaken.domain.clock import Clock, Instant, SystemClock
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
from awaken.store import rules
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
from awaken.store.given_up import report_given_up
from awaken.store.invariants import FIRST_PLACE, AuditPlace, AuditSlice
from awaken.store.memory.asks import Answers
from awaken.store.memory.facts import FactLoader
from awaken.store.memory.invariants import find_breaches
from awaken.store.memory.reading import Reading
from awaken.store.memory.tables import Tables
from awaken.store.memory.writing import write
from awaken.store.register import Register
from awaken.store.rules import asks
from awaken.store.rules.facts import Changes
from awaken.store.rules.needs import needs
from awaken.store.signals import Listeners
from awaken.store.transitions import (
    Failed,
    JournalEntry,
    Outcome,
    Reclaim,
    Reclaimed,
    SetTransition,
    ThreadTransition,
    Transition,
)

_SETS: Final = get_args(SetTransition)


class MemoryStore:
    """Volatile, and exclusive to the process that made it."""

    def __init__(self, clock: Clock | None = None, *, tables: Tables | None = None) -> None:
        """`tables`: rows to begin with."""
        self.capabilities: Final = Capabilities(kind="memory", durability="volatile", exclusive=True, max_batch=200)
        self._clock = clock or SystemClock()
        self._register = Register(self._clock)
        self._listeners = Listeners()
        self._tables = Tables() if tables is None else tables
        self._loader = FactLoader(self._tables)
        self._answers = Answers(self._tables, self._loader)
        self._reading = Reading(self._tables)
        self._entered = 0

    async def __aenter__(self) -> Self:
        self._entered += 1
        if self._entered == 1:
            self._take_back_everything()
        return self

    def _take_back_everything(self) -> None:
        """Whoever held a claim when the store was left is gone."""
        continued = False
        while True:
            taken = self._apply_alone(Reclaim(abandoned=True, continued=continued), self._clock.now())
            if not isinstance(taken, Reclaimed):
                return
            for item in taken.items:
                report_given_up(item.dispatch)
            if not taken.more:
                return
            continued = True

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._entered -= 1

    async def apply(self, batch: Sequence[Transition]) -> list[Outcome]:
        now = self._clock.now()
        outcomes = [self._apply_alone(transition, now) for transition in batch]
        self._listeners.publish(outcomes)
        return outcomes

    def _apply_alone(self, t: Transition, now: Instant) -> Outcome:
        numbers = self._tables.numbers
        last = numbers.last
        changes = Changes(numbers=numbers)
        try:
            if isinstance(t, _SETS):
                return asks.run(rules.apply_to_many(cast(SetTransition, t), changes, now), self._answers.answer)
            one = cast(ThreadTransition, t)
            outcome = rules.apply(one, self._loader.load(needs(one), now), changes, now)
            write(self._tables, changes)
            return outcome
        except Exception as error:  # the item's own failure: its caller is answered with it, its neighbours are not
            numbers.last = last
            return Failed(error)

    async def beat(self, worker: WorkerRecord) -> tuple[WorkerRecord, ...]:
        return self._register.beat(worker)

    async def leave(self, consumer_id: ConsumerId) -> None:
        self._register.leave(consumer_id)

    def listen(self, listener: Listener) -> None:
        self._listeners.add(listener)

    def unlisten(self, listener: Listener) -> None:
        self._listeners.remove(listener)

    # --- reads --------------------------------------------------------------------------------------------------------

    async def list_workers(self) -> tuple[WorkerRecord, ...]:
        return self._register.everybody()

    async def now(self) -> Instant:
        return self._clock.now()

    async def check_writes(self) -> None:
        """Memory can always be written."""

    async def load_thread(self, scope: Scope, thread_id: ThreadId) -> Thread | None:
        return self._reading.load_thread(scope, thread_id)

    async def list_threads(self, scope: Scope, query: ThreadQuery) -> Page[Thread]:
        return self._reading.list_threads(scope, query)

    async def load_run(self, scope: Scope, run_id: RunId) -> Run | None:
        return self._reading.load_run(scope, run_id)

    async def latest_run(self, scope: Scope, thread_id: ThreadId) -> Run | None:
        return self._reading.latest_run(scope, thread_id)

    async def list_runs(self, scope: Scope, query: RunQuery) -> Page[Run]:
        return self._reading.list_runs(scope, query)

    async def list_dead_letters(self, scope: Scope, query: DeadLetterQuery) -> Page[DeadLetter]:
        return self._reading.list_dead_letters(scope, query)

    async def count_open_runs(self, scope: Scope) -> list[OpenCount]:
        return self._reading.count_open_runs(scope)

    async def summarize_runs(self, scope: Scope) -> RunSummary:
        return self._reading.summarize_runs(scope, self._clock.now())

    async def load_dispatch(self, scope: Scope, dispatch_id: DispatchId) -> Dispatch | None:
        return self._tables.dispatches.get((scope, dispatch_id))

    async def load_dispatches(self, scope: Scope, ids: Sequence[DispatchId]) -> dict[DispatchId, Dispatch]:
        found = [self._tables.dispatches.get((scope, each)) for each in ids]
        return {each.dispatch_id: each for each in found if each is not None}

    async def active_dispatch(self, scope: Scope, thread_id: ThreadId) -> Dispatch | None:
        key = (scope, thread_id)
        return self._tables.claimed(key) if self._tables.is_shown(key) else None

    async def list_dispatches(self, scope: Scope, query: DispatchQuery) -> Page[Dispatch]:
        return self._reading.list_dispatches(scope, query)

    async def list_queue(self, scope: Scope, thread_id: ThreadId, *, limit: int = MAX_PAGE) -> list[Dispatch]:
        return self._tables.queue((scope, thread_id))[:limit]

    async def list_claims(self, consumer: ConsumerId, *, after: int = 0, limit: int = MAX_PAGE) -> list[Held]:
        return self._reading.list_claims(consumer, after, limit)

    async def count_dispatches(self) -> dict[DispatchStatus, int]:
        return self._reading.count_dispatches()

    async def list_ready_routes(self) -> list[Route]:
        return self._reading.list_ready_routes()

    async def next_due_in_ms(self, routes: frozenset[Route]) -> int | None:
        due_at = self._answers.next_due(routes, after=None)
        return None if due_at is None else max(due_at - self._clock.now(), 0)

    async def load_ticket(self, scope: Scope, ticket_id: TicketId) -> Ticket | None:
        return self._reading.load_ticket(scope, ticket_id)

    async def list_tickets(self, scope: Scope, query: TicketQuery) -> Page[Ticket]:
        return self._reading.list_tickets(scope, query)

    async def count_open_tickets(self) -> list[OpenTickets]:
        return self._reading.count_open_tickets(self._clock.now())

    async def list_overdue_tickets(self, *, limit: int = MAX_PAGE) -> list[OverdueTicket]:
        return self._reading.list_overdue_tickets(self._clock.now(), limit)

    async def load_message(self, scope: Scope, thread_id: ThreadId, message_id: MessageId) -> StoredMessage | None:
        return self._reading.load_message((scope, thread_id), message_id)

    async def lost_messages(self, scope: Scope, thread_id: ThreadId, ids: Sequence[MessageId]) -> list[MessageId]:
        return [each for each in ids if self._reading.load_message((scope, thread_id), each) is None]

    async def list_pending(self, scope: Scope, thread_id: ThreadId) -> list[PendingMessage]:
        return self._reading.list_pending((scope, thread_id))

    async def find_breaches(self, place: AuditPlace = FIRST_PLACE) -> AuditSlice:
        return find_breaches(self._tables, place, self._clock.now())

    async def load_receipt(self, scope: Scope, thread_id: ThreadId, message_id: MessageId) -> Receipt | None:
        return self._reading.load_receipt((scope, thread_id), message_id)

    async def threads_of_message(self, scope: Scope, message_id: MessageId, *, limit: int) -> list[ThreadId]:
        return self._reading.threads_of_message(scope, message_id, limit)

    async def list_messages(self, scope: Scope, thread_id: ThreadId, query: MessageQuery) -> list[StoredMessage]:
        return self._reading.list_messages((scope, thread_id), query)

    async def page_messages(self, scope: Scope, thread_id: ThreadId, query: MessageQuery) -> Page[StoredMessage]:
        return self._reading.page_messages((scope, thread_id), query)

    async def list_spans(self, scope: Scope, thread_id: ThreadId) -> list[Span]:
        return self._reading.list_spans((scope, thread_id))

    async def load_state(self, scope: Scope, thread_id: ThreadId) -> ThreadState:
        return self._reading.load_state((scope, thread_id))

    async def load_snapshot(self, scope: Scope, thread_id: ThreadId) -> Snapshot | None:
        thread = self._reading.load_thread(scope, thread_id)
        if thread is None:
            return None
        queue = tuple([dispatch.run_id for dispatch in self._tables.queue((scope, thread_id))[:MAX_PAGE]])
        state = self._reading.load_state((scope, thread_id))
        tickets = self._reading.list_tickets(scope, TicketQuery(thread_id=thread_id, state="open", limit=MAX_PAGE))
        pending = self._reading.list_pending((scope, thread_id))
        return Snapshot(thread, state, queue, tickets.items, tuple(pending))

    async def list_journal(self, scope: Scope, run_id: RunId) -> list[JournalEntry]:
        return self._reading.list_journal(scope, run_id)

    async def list_events(
        self, scope: Scope, thread_id: ThreadId, *, after: int, limit: int, run_id: RunId | None = None
    ) -> list[EventRow]:
        return self._reading.list_events((scope, thread_id), after, limit, run_id)

    async def page_events(
        self, scope: Scope, thread_id: ThreadId, *, after: int, limit: int, run_id: RunId | None = None
    ) -> Page[EventRow]:
        return self._reading.page_events((scope, thread_id), after, limit, run_id)

    async def last_events(self, scope: Scope, runs: Sequence[Run]) -> dict[RunId, EventRow]:
        return self._reading.last_events(scope, runs)

    async def event_bounds(self, scope: Scope, thread_id: ThreadId) -> tuple[int, int]:
        return self._reading.event_bounds((scope, thread_id))

    async def list_outbox(self, *, after: int = 0, lane: Lane | None = None, limit: int = MAX_PAGE) -> list[OutboxRow]:
        return self._reading.list_outbox(after, lane, limit)

    async def load_schedule(self, scope: Scope, name: str) -> Schedule | None:
        return self._reading.load_schedule(scope, name)

    async def list_schedules(self, scope: Scope, *, after: int | None = None, limit: int = MAX_PAGE) -> Page[Schedule]:
        return self._reading.list_schedules(scope, after, limit)
