"""One Postgres schema as a store: durable, and served by any number of processes on any number of machines.

Above: `store.contract`. Below: `writer` (one connection that writes, in the order in which batches come), a pool of
connections that read, and `signals` for what other processes commit.
Holds: a read that starts after `apply` has returned sees what it wrote. Leases are judged by the database's clock.

Source: ADR 0001 (one database, one transaction), ADR 0010 (the fence), ADR 0026 (commits are numbered), ADR 0041 (many
processes on one database).
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Sequence
from contextlib import AsyncExitStack
from functools import partial
from types import TracebackType
from typing import Any, Final, Self, TypeVar

from awaken.domain.clock import Clock, Instant, SystemClock
from awaken.domain.dead_letter import DeadLetter, DeadLetterQuery
from awaken.domain.dispatch import Dispatch, DispatchStatus
from awaken.domain.errors import StoreUnavailable
from awaken.domain.ids import (
    ConsumerId,
    DispatchId,
    Ids,
    MessageId,
    Route,
    RunId,
    Scope,
    ThreadId,
    TicketId,
    system_chance,
)
from awaken.domain.log import EventRow
from awaken.domain.outbox import Begin, Lane, OutboxRow
from awaken.domain.receipt import Receipt
from awaken.domain.run import Run
from awaken.domain.schedule import Schedule
from awaken.domain.span import Span
from awaken.domain.state import ThreadState
from awaken.domain.thread import Thread
from awaken.domain.ticket import Ticket
from awaken.domain.worker import FORGOTTEN_MS, WorkerRecord
from awaken.store.contract import (
    MAX_PAGE,
    Capabilities,
    DispatchQuery,
    Fate,
    Held,
    Listener,
    MessageQuery,
    OpenCount,
    OpenTickets,
    OverdueTicket,
    Page,
    PendingMessage,
    Posted,
    RunQuery,
    RunSummary,
    Snapshot,
    StoredMessage,
    ThreadQuery,
    TicketQuery,
)
from awaken.store.invariants import FIRST_PLACE, AuditPlace, AuditSlice
from awaken.store.postgres import driver, joining
from awaken.store.postgres.arriving import check_arrived
from awaken.store.postgres.driver import errors
from awaken.store.postgres.faults import LOST, translated
from awaken.store.postgres.opening import (
    AS_WHOM,
    COMMAND_TIMEOUT_S,
    CONNECT_TIMEOUT_S,
    Durability,
    Place,
    check_server,
    connect,
    migrate,
    place_of,
    prepare,
    settings_of,
)
from awaken.store.postgres.reading import Reading, encode_worker
from awaken.store.postgres.session import Session
from awaken.store.postgres.signals import Signals
from awaken.store.postgres.writer import Writer
from awaken.store.signals import Listeners
from awaken.store.transitions import JournalEntry, Outcome, Transition

MAX_BATCH: Final = 500
"""Larger batches gain little and make everybody wait for their commit (measured)."""

_T = TypeVar("_T")
_log = logging.getLogger("awaken.store")


class PostgresStore:
    """Entered means reached and migrated; see `opening` for what is refused, and how.

    May be entered by several mailboxes of one event loop: the first opens it, the last to leave closes it.
    """

    def __init__(self, url: str, *, clock: Clock | None = None) -> None:
        """`url` as in `opening.place_of`. `clock`: instead of the database's own, for tests.

        Raises:
            ValidationError: The URL is not understood.
        """
        self.place: Final[Place] = place_of(url)
        self._clock = clock
        self._durability: Durability = self.place.durability
        ids = Ids(clock or SystemClock(), system_chance())
        self._writer = Writer(self.place, clock, ids)
        self._listeners = Listeners()
        self._signals = Signals(self.place, ids.mint(), self._listeners.pass_on)
        self._pool: Any = None
        self._stack = AsyncExitStack()
        self._entering = asyncio.Lock()
        self._entered = 0
        self._applying: set[asyncio.Task[list[Outcome]]] = set()
        self.was_made = False
        """Whether nothing was there when it was opened."""

    @property
    def capabilities(self) -> Capabilities:
        """`durability` is what the server is found to keep, once it is open."""
        return Capabilities(kind="postgres", durability=self._durability, exclusive=False, max_batch=MAX_BATCH)

    async def __aenter__(self) -> Self:
        async with self._entering:
            if not self._entered:
                await self._open()
            self._entered += 1
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        async with self._entering:
            self._entered -= 1
            if not self._entered:
                await self._stack.aclose()

    async def _open(self) -> None:
        async with AsyncExitStack() as stack:
            connection = await connect(self.place)
            stack.push_async_callback(self._writer.close)
            await self._writer.open(connection)
            try:
                survives = await check_server(connection, self.place)
                self.was_made = await migrate(connection, self.place)
                await check_arrived(connection, self.place.shown)
                pool = await driver.create_pool(
                    self.place.dsn,
                    min_size=0,  # with any other, the pool logs what becomes of its connections by itself
                    max_size=self.place.pool_size,
                    timeout=CONNECT_TIMEOUT_S,
                    command_timeout=COMMAND_TIMEOUT_S,
                    init=partial(prepare, settings=settings_of(self.place, writes=False)),
                    reset=_as_it_is,
                    server_settings=AS_WHOM,
                )
            except (errors.PostgresError, *LOST) as error:
                raise translated(error, self.place.shown) from error
            stack.push_async_callback(_close_pool, pool)
            self._pool = pool
            await self._check_pool()
            stack.push_async_callback(self._signals.close)
            await self._signals.open()
            stack.push_async_callback(self._finish)
            if self.place.durability == "full" and not survives:
                _log.warning("%s does not wait for its disk: commits do not survive power loss", self.place.shown)
            self._durability = self.place.durability if survives else "process"
            self._stack = stack.pop_all()

    async def _check_pool(self) -> None:
        """Raises as opening does, where there is no connection left to read over."""
        try:
            async with self._pool.acquire():
                pass
        except (errors.PostgresError, *LOST) as error:
            raise translated(error, self.place.shown) from error

    async def _finish(self) -> None:
        """What was begun is finished, whether or not its caller still waits."""
        if self._applying:
            await asyncio.wait(self._applying)

    async def apply(self, batch: Sequence[Transition]) -> list[Outcome]:
        self._check_open()
        applying = asyncio.ensure_future(self._apply(batch))
        self._applying.add(applying)
        applying.add_done_callback(self._applying.discard)
        return await asyncio.shield(applying)

    async def _apply(self, batch: Sequence[Transition]) -> list[Outcome]:
        outcomes = await self._writer.apply(batch)
        self._listeners.publish(outcomes)
        self._signals.tell((row.scope, row.thread_id) for each in outcomes for row in each.appended)
        return outcomes

    async def beat(self, worker: WorkerRecord) -> tuple[WorkerRecord, ...]:
        self._check_open()
        now = await self._now()

        async def keep(session: Session) -> tuple[WorkerRecord, ...]:
            await session.rows("forget_workers", {"before": now - FORGOTTEN_MS})
            body = encode_worker(worker)
            await session.rows("keep_worker", {"consumer": worker.consumer_id, "now": now, "body": body})
            return await Reading(session).list_workers(now - FORGOTTEN_MS)

        return await self._writer.use(keep)

    async def leave(self, consumer_id: ConsumerId) -> None:
        self._check_open()
        await self._writer.use(lambda session: session.rows("drop_worker", {"consumer": consumer_id}))

    async def post(self, connection: object, scope: Scope, thread_id: ThreadId, errand: Begin) -> Posted:
        return await joining.post(connection, self.place, scope, thread_id, errand)

    async def fate_of(self, posted: Posted) -> Fate:
        """Whether it is there is asked after the transaction is seen to be over, in a later state of the database."""
        status = await self._read(lambda state: state.status_of(posted.transaction), at_once=True)
        if status == "in progress":
            return "open"
        if status == "aborted":
            return "rolled_back"
        return "stored" if await self._read(lambda state: state.has_errand(posted.no), at_once=True) else "gone"

    def listen(self, listener: Listener) -> None:
        self._listeners.add(listener)

    def unlisten(self, listener: Listener) -> None:
        self._listeners.remove(listener)

    def _check_open(self) -> None:
        if not self._entered:
            raise StoreUnavailable(f"{self.place.shown} is not open")

    async def check_writes(self) -> None:
        self._check_open()
        await self._writer.check()

    async def _read(self, read: Callable[[Reading], Awaitable[_T]], *, at_once: bool = False) -> _T:
        """In one state of the database; `at_once`: it is one statement, which sees one state by itself. A connection
        that was lost unnoticed is made again, once.
        """
        self._check_open()
        for last in (False, True):
            try:
                async with self._pool.acquire() as connection:
                    if at_once:
                        return await read(Reading(Session(connection)))
                    async with connection.transaction(isolation="repeatable_read", readonly=True):
                        return await read(Reading(Session(connection)))
            except LOST as error:
                if last:
                    raise translated(error, self.place.shown) from error
            except errors.PostgresError as error:
                raise translated(error, self.place.shown) from error
        raise AssertionError("the last try returns or raises")

    async def _now(self) -> Instant:
        if self._clock is not None:
            return self._clock.now()
        return await self._read(lambda state: state.now(), at_once=True)

    # --- reads --------------------------------------------------------------------------------------------------------

    async def now(self) -> Instant:
        return await self._now()

    async def load_thread(self, scope: Scope, thread_id: ThreadId) -> Thread | None:
        return await self._read(lambda state: state.load_thread(scope, thread_id))

    async def list_threads(self, scope: Scope, query: ThreadQuery) -> Page[Thread]:
        return await self._read(lambda state: state.list_threads(scope, query))

    async def load_run(self, scope: Scope, run_id: RunId) -> Run | None:
        return await self._read(lambda state: state.load_run(scope, run_id), at_once=True)

    async def latest_run(self, scope: Scope, thread_id: ThreadId) -> Run | None:
        return await self._read(lambda state: state.latest_run(scope, thread_id))

    async def list_runs(self, scope: Scope, query: RunQuery) -> Page[Run]:
        return await self._read(lambda state: state.list_runs(scope, query))

    async def list_dead_letters(self, scope: Scope, query: DeadLetterQuery) -> Page[DeadLetter]:
        return await self._read(lambda state: state.list_dead_letters(scope, query))

    async def count_open_runs(self, scope: Scope) -> list[OpenCount]:
        return await self._read(lambda state: state.count_open_runs(scope))

    async def summarize_runs(self, scope: Scope) -> RunSummary:
        now = await self._now()
        return await self._read(lambda state: state.summarize_runs(scope, now))

    async def load_dispatch(self, scope: Scope, dispatch_id: DispatchId) -> Dispatch | None:
        return await self._read(lambda state: state.load_dispatch(scope, dispatch_id), at_once=True)

    async def load_dispatches(self, scope: Scope, ids: Sequence[DispatchId]) -> dict[DispatchId, Dispatch]:
        return await self._read(lambda state: state.load_dispatches(scope, ids), at_once=True)

    async def active_dispatch(self, scope: Scope, thread_id: ThreadId) -> Dispatch | None:
        return await self._read(lambda state: state.active_dispatch(scope, thread_id))

    async def list_dispatches(self, scope: Scope, query: DispatchQuery) -> Page[Dispatch]:
        return await self._read(lambda state: state.list_dispatches(scope, query))

    async def list_queue(self, scope: Scope, thread_id: ThreadId, *, limit: int = MAX_PAGE) -> list[Dispatch]:
        return await self._read(lambda state: state.list_queue(scope, thread_id, limit))

    async def list_claims(self, consumer: ConsumerId, *, after: int = 0, limit: int = MAX_PAGE) -> list[Held]:
        return await self._read(lambda state: state.list_claims(consumer, after, limit), at_once=True)

    async def count_dispatches(self) -> dict[DispatchStatus, int]:
        return await self._read(lambda state: state.count_dispatches())

    async def list_ready_routes(self) -> list[Route]:
        return await self._read(lambda state: state.list_ready_routes(), at_once=True)

    async def next_due_in_ms(self, routes: frozenset[Route]) -> int | None:
        due_at = await self._read(lambda state: state.next_due_at(routes), at_once=True)
        return None if due_at is None else max(due_at - await self._now(), 0)

    async def load_ticket(self, scope: Scope, ticket_id: TicketId) -> Ticket | None:
        return await self._read(lambda state: state.load_ticket(scope, ticket_id), at_once=True)

    async def list_tickets(self, scope: Scope, query: TicketQuery) -> Page[Ticket]:
        return await self._read(lambda state: state.list_tickets(scope, query))

    async def count_open_tickets(self) -> list[OpenTickets]:
        now = await self._now()
        return await self._read(lambda state: state.count_open_tickets(now), at_once=True)

    async def list_overdue_tickets(self, *, limit: int = MAX_PAGE) -> list[OverdueTicket]:
        now = await self._now()
        return await self._read(lambda state: state.list_overdue_tickets(now, limit), at_once=True)

    async def load_message(self, scope: Scope, thread_id: ThreadId, message_id: MessageId) -> StoredMessage | None:
        return await self._read(lambda state: state.load_message(scope, thread_id, message_id))

    async def lost_messages(self, scope: Scope, thread_id: ThreadId, ids: Sequence[MessageId]) -> list[MessageId]:
        return await self._read(lambda state: state.lost_messages(scope, thread_id, ids))

    async def list_pending(self, scope: Scope, thread_id: ThreadId) -> list[PendingMessage]:
        return await self._read(lambda state: state.list_pending(scope, thread_id))

    async def find_breaches(self, place: AuditPlace = FIRST_PLACE) -> AuditSlice:
        now = await self._now()
        return await self._read(lambda state: state.find_breaches(place, now))

    async def load_receipt(self, scope: Scope, thread_id: ThreadId, message_id: MessageId) -> Receipt | None:
        return await self._read(lambda state: state.load_receipt(scope, thread_id, message_id))

    async def threads_of_message(self, scope: Scope, message_id: MessageId, *, limit: int) -> list[ThreadId]:
        return await self._read(lambda state: state.threads_of_message(scope, message_id, limit), at_once=True)

    async def list_messages(self, scope: Scope, thread_id: ThreadId, query: MessageQuery) -> list[StoredMessage]:
        return await self._read(lambda state: state.list_messages(scope, thread_id, query))

    async def page_messages(self, scope: Scope, thread_id: ThreadId, query: MessageQuery) -> Page[StoredMessage]:
        return await self._read(lambda state: state.page_messages(scope, thread_id, query))

    async def list_spans(self, scope: Scope, thread_id: ThreadId) -> list[Span]:
        return await self._read(lambda state: state.list_spans(scope, thread_id))

    async def load_state(self, scope: Scope, thread_id: ThreadId) -> ThreadState:
        return await self._read(lambda state: state.load_state(scope, thread_id))

    async def load_snapshot(self, scope: Scope, thread_id: ThreadId) -> Snapshot | None:
        return await self._read(lambda state: state.load_snapshot(scope, thread_id))

    async def list_journal(self, scope: Scope, run_id: RunId) -> list[JournalEntry]:
        return await self._read(lambda state: state.list_journal(scope, run_id), at_once=True)

    async def list_events(
        self, scope: Scope, thread_id: ThreadId, *, after: int, limit: int, run_id: RunId | None = None
    ) -> list[EventRow]:
        return await self._read(lambda state: state.list_events(scope, thread_id, after, limit, run_id))

    async def page_events(
        self, scope: Scope, thread_id: ThreadId, *, after: int, limit: int, run_id: RunId | None = None
    ) -> Page[EventRow]:
        return await self._read(lambda state: state.page_events(scope, thread_id, after, limit, run_id))

    async def last_events(self, scope: Scope, runs: Sequence[Run]) -> dict[RunId, EventRow]:
        return await self._read(lambda state: state.last_events(scope, runs))

    async def event_bounds(self, scope: Scope, thread_id: ThreadId) -> tuple[int, int]:
        return await self._read(lambda state: state.event_bounds(scope, thread_id))

    async def list_outbox(self, *, after: int = 0, lane: Lane | None = None, limit: int = MAX_PAGE) -> list[OutboxRow]:
        return await self._read(lambda state: state.list_outbox(after, lane, limit), at_once=True)

    async def list_workers(self) -> tuple[WorkerRecord, ...]:
        oldest = await self._now() - FORGOTTEN_MS
        return await self._read(lambda state: state.list_workers(oldest), at_once=True)

    async def load_schedule(self, scope: Scope, name: str) -> Schedule | None:
        return await self._read(lambda state: state.load_schedule(scope, name), at_once=True)

    async def list_schedules(self, scope: Scope, *, after: int | None = None, limit: int = MAX_PAGE) -> Page[Schedule]:
        return await self._read(lambda state: state.list_schedules(scope, after, limit), at_once=True)


async def _as_it_is(connection: Any) -> None:
    """A connection goes back to the pool as it is: nothing was set in it."""


async def _close_pool(pool: Any) -> None:
    try:
        async with asyncio.timeout(CONNECT_TIMEOUT_S):
            await pool.close()
    except (errors.PostgresError, *LOST):
        pool.terminate()
        await asyncio.sleep(0)  # which lets go of the sockets
