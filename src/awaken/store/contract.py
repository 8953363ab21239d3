"""The contract of a store: `apply(batch) -> outcomes`, and reads.

Above: the combiner forms batches; everything else only reads. Below: memory, SQLite, later Postgres, all held to the
cases in `awaken.testing.conformance`.
Holds: when `apply` has returned, its outcomes are as durable as `capabilities.durability` says, and every read that
starts afterwards sees them. A store owns its clock; no operation takes the time.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from types import TracebackType
from typing import Any, Final, Generic, Literal, Protocol, Self, TypeVar, runtime_checkable

import msgspec

from awaken.domain.clock import Instant
from awaken.domain.dead_letter import DeadLetter, DeadLetterQuery
from awaken.domain.dispatch import Dispatch, DispatchStatus
from awaken.domain.ids import AgentId, ConsumerId, DispatchId, MessageId, Route, RunId, Scope, ThreadId, TicketId
from awaken.domain.log import EventRow
from awaken.domain.message import Message, Visibility
from awaken.domain.outbox import Begin, Lane, OutboxRow
from awaken.domain.pending import Pending
from awaken.domain.phase import Phase
from awaken.domain.receipt import FinalFate, Receipt
from awaken.domain.run import Run, RunStatus, TerminationType
from awaken.domain.schedule import Schedule
from awaken.domain.span import Span
from awaken.domain.state import ThreadState
from awaken.domain.thread import Thread, ThreadInfo, ThreadStatus
from awaken.domain.ticket import Action, Ticket, TicketKind, TicketState
from awaken.domain.worker import WorkerRecord
from awaken.store.invariants import FIRST_PLACE, AuditPlace, AuditSlice
from awaken.store.transitions import JournalEntry, Outcome, Transition

MAX_PAGE: Final = 200
MAX_SCANNED: Final = 10_000
"""Rows that one request for a page looks at, at the most."""
MAX_COUNTED: Final = 10_000
"""Up to here counts are exact."""
MAX_TAIL: Final = 1_000
"""Events of a log that are looked at from its end for the last one of a run."""

RecordT = TypeVar("RecordT")


class Capabilities(msgspec.Struct, frozen=True):
    """What a store declares about itself."""

    kind: Literal["memory", "sqlite", "postgres"]
    durability: Literal["full", "process", "volatile"]
    """`full` survives power loss, `process` survives a killed process, `volatile` neither."""
    exclusive: bool
    """Only this process uses the data, so every claim found when it was opened belonged to the dead, and no claim needs
    a lease."""
    max_batch: int
    """The most transitions worth giving to one `apply`."""


class StoredMessage(msgspec.Struct, frozen=True):
    """A message with its place. `seq` None: accepted, not yet part of the conversation, and, with a `fate`, never."""

    message: Message
    seq: int | None
    run_id: RunId | None
    """The run it was submitted with, or waits for, or the run that produced it."""
    created_at: Instant
    fate: FinalFate | None = None
    step_index: int | None = None
    """How many steps its run had closed when it took it, where it was taken between two."""
    revision: int = 1
    digest: bytes | None = None
    """Of what was first sent, where that is not its content any more."""


class PendingMessage(msgspec.Struct, frozen=True):
    """A message that waits for a run, with its content."""

    entry: Pending
    message: Message


class Held(msgspec.Struct, frozen=True):
    """A claimed dispatch with its scope."""

    scope: Scope
    dispatch: Dispatch


MetadataFilter = tuple[tuple[str, str], ...]
"""Keys of metadata and what their values are, as texts: a value that is no text is compared as JSON."""


def has_metadata(metadata: dict[str, Any], wanted: MetadataFilter) -> bool:
    """Whether every key has its value."""
    return all(key in metadata and value in _texts_of(metadata[key]) for key, value in wanted)


def _texts_of(value: Any) -> tuple[str, ...]:
    return (value,) if isinstance(value, str) else (msgspec.json.encode(value).decode(),)


class MessageQuery(msgspec.Struct, frozen=True, kw_only=True):
    """A window of a thread's log. `after` and `before` are seqs, exclusive."""

    after: int = 0
    before: int | None = None
    limit: int = 50
    descending: bool = False
    view: Literal["log", "effective"] = "log"
    """`effective`: without what is hidden, and with what stands in its place there. `after` and `before` are places."""
    visibility: Visibility | None = None
    run_id: RunId | None = None


class ThreadQuery(msgspec.Struct, frozen=True, kw_only=True):
    """Threads by what happened last: the arrival of their newest run, or else their own; newest first."""

    after: int | None = None
    """The `next` of the page before."""
    limit: int = 50
    ascending: bool = False
    resource_id: str | None = None
    id_prefix: str = ""
    parent_thread_id: ThreadId | None = None
    is_root: bool = False
    """Only those without a parent."""
    status: ThreadStatus | None = None
    title: str = ""
    """Only those whose title holds this text, in capitals or not."""
    metadata: MetadataFilter = ()

    def fits_info(self, thread_id: ThreadId, info: ThreadInfo) -> bool:
        """All of it but the status."""
        return (
            thread_id.startswith(self.id_prefix)
            and self.resource_id in (None, info.resource_id)
            and self.parent_thread_id in (None, info.parent_thread_id)
            and (not self.is_root or info.parent_thread_id is None)
            and (not self.title or self.title.casefold() in (info.title or "").casefold())
            and has_metadata(info.metadata, self.metadata)
        )


class RunQuery(msgspec.Struct, frozen=True, kw_only=True):
    """Runs in the order of their arrival, oldest first unless `descending`."""

    after: int | None = None
    """The `next` of the page before."""
    limit: int = 50
    descending: bool = False
    thread_id: ThreadId | None = None
    status: RunStatus | None = None
    agent_id: AgentId | None = None
    id_prefix: str = ""
    thread_id_prefix: str = ""
    termination: TerminationType | None = None
    phase: Phase | None = None
    failed: bool = False
    """Only those that ended in an error, or were given up."""
    created_after: Instant | None = None
    created_before: Instant | None = None
    """Exclusive, both of them."""
    metadata: MetadataFilter = ()

    def fits(self, run: Run) -> bool:
        """All of it but the phase, for which the dispatch has to be known."""
        ended = None if run.termination is None else run.termination.type
        return (
            not run.hidden
            and self.thread_id in (None, run.thread_id)
            and self.status in (None, run.status)
            and self.agent_id in (None, run.agent_id)
            and run.run_id.startswith(self.id_prefix)
            and run.thread_id.startswith(self.thread_id_prefix)
            and self.termination in (None, ended)
            and (not self.failed or ended == "error")
            and (self.created_after is None or run.created_at > self.created_after)
            and (self.created_before is None or run.created_at < self.created_before)
            and has_metadata(run.metadata, self.metadata)
        )


class DispatchQuery(msgspec.Struct, frozen=True, kw_only=True):
    """Dispatches of one thread, or of one of its runs, in the order of their arrival. Without a thread: of every run
    the newest one, which is the only one that can be open, in the order in which the runs arrived.

    `statuses` None: all; empty: none.
    """

    thread_id: ThreadId | None = None
    run_id: RunId | None = None
    """With the thread only."""
    statuses: tuple[DispatchStatus, ...] | None = None
    agent_id: AgentId | None = None
    claimed_by: ConsumerId | None = None
    created_before: Instant | None = None
    lease_before: Instant | None = None
    """Only those with a lease that ends before this. Exclusive, both of them."""
    after: int | None = None
    """The `next` of the page before."""
    limit: int = 50

    def fits(self, dispatch: Dispatch) -> bool:
        lease = dispatch.lease_until
        return (
            self.thread_id in (None, dispatch.thread_id)
            and self.run_id in (None, dispatch.run_id)
            and (self.statuses is None or dispatch.status in self.statuses)
            and self.agent_id in (None, dispatch.route)
            and self.claimed_by in (None, dispatch.claimed_by)
            and (self.created_before is None or dispatch.created_at < self.created_before)
            and (self.lease_before is None or (lease is not None and lease < self.lease_before))
        )


class TicketQuery(msgspec.Struct, frozen=True, kw_only=True):
    """Tickets in the order of their arrival, oldest first unless `descending`."""

    after: int | None = None
    """The `next` of the page before."""
    limit: int = 50
    descending: bool = False
    thread_id: ThreadId | None = None
    run_id: RunId | None = None
    state: TicketState | None = None
    kind: TicketKind | None = None
    agent_id: AgentId | None = None
    tool_name: str | None = None
    action: Action | None = None
    """Of the decision: only those that were decided so."""
    expires_before: Instant | None = None
    """Open ones only."""

    def fits(self, ticket: Ticket) -> bool:
        asked = ticket.asked
        return (
            self.thread_id in (None, ticket.thread_id)
            and self.run_id in (None, ticket.run_id)
            and self.state in (None, ticket.state)
            and self.kind in (None, asked.kind)
            and self.agent_id in (None, ticket.agent_id)
            and self.tool_name in (None, asked.tool_name)
            and (self.action is None or (ticket.decision is not None and ticket.decision.action == self.action))
            and (self.expires_before is None or self._expires_in_time(ticket, self.expires_before))
        )

    def _expires_in_time(self, ticket: Ticket, before: Instant) -> bool:
        return ticket.is_open and ticket.expires_at is not None and ticket.expires_at < before


class OpenTickets(msgspec.Struct, frozen=True):
    """The open tickets of one kind, of every scope: how many, and how old the first of them is by the store's clock."""

    kind: TicketKind
    count: int
    oldest_ms: int


class OverdueTicket(msgspec.Struct, frozen=True):
    """An open ticket whose time is over, and where it is."""

    scope: Scope
    thread_id: ThreadId
    run_id: RunId
    ticket_id: TicketId


class Snapshot(msgspec.Struct, frozen=True):
    """A thread as it is at one moment: what somebody who shows it needs, and from which event on to follow it."""

    thread: Thread
    state: ThreadState
    queue: tuple[RunId, ...]
    """The runs that wait, in claim order; at most `MAX_PAGE`."""
    tickets: tuple[Ticket, ...] = ()
    """The open ones, in the order of their arrival; at most `MAX_PAGE`."""
    pending: tuple[PendingMessage, ...] = ()


class Page(msgspec.Struct, Generic[RecordT], frozen=True):
    """A part of a list. `next` is where the list goes on, None at its end.

    A filter that no index serves looks at no more than `MAX_SCANNED` rows for a page, so a page may hold fewer items
    than asked for, or none, and yet not be the last. `unreadable` names rows that are damaged; they are left out.
    """

    items: tuple[RecordT, ...]
    next: int | None = None
    unreadable: tuple[str, ...] = ()


class PhaseCount(msgspec.Struct, frozen=True):
    """How many unfinished runs of an agent are in one phase."""

    agent_id: AgentId
    phase: Phase
    count: int


class RunSummary(msgspec.Struct, frozen=True):
    """The unfinished runs, by agent and phase, in that order; exact below `MAX_COUNTED` of each status.

    `oldest_due_at`: since when the one that is due longest waits for its turn; None when none is due.
    """

    counts: tuple[PhaseCount, ...]
    oldest_due_at: Instant | None


class OpenCount(msgspec.Struct, frozen=True):
    """How many unfinished runs of an agent are in one phase; exact below `MAX_COUNTED`, which means that or more."""

    agent_id: AgentId
    status: RunStatus
    count: int


def tails(run: Run, event_seq: int) -> list[tuple[int, int]]:
    """Where the newest event of a run is looked for: the first and the last seq of parts of the log, in this order.
    `event_seq`: the newest of its thread. What is not under way has had no event since it was written.
    """
    ends = (event_seq, run.updated_seq) if run.status is RunStatus.RUNNING else (run.updated_seq,)
    return [(max(end - MAX_TAIL + 1, run.first_event_seq), end) for end in ends]


class Signal(msgspec.Struct, frozen=True):
    """Something was committed, perhaps elsewhere. It may come late, twice or not at all: whoever must not miss a change
    also looks from time to time.
    """

    threads: frozenset[tuple[Scope, ThreadId]] | None
    """Threads whose log has grown; None when it is not known which."""
    errands: bool = False
    """Errands were written that no outcome has told of."""


Listener = Callable[[Signal], None]
"""Called on the event loop that entered the store, after the commit. It neither waits nor raises."""


class Reads(Protocol):
    """What may be asked of a store by whoever cannot change anything: each read sees one state of the database.

    Raises, from every read:
        StoreUnavailable: The store was not reached.
        DataIntegrity: A stored record is damaged.
    """

    @property
    def capabilities(self) -> Capabilities: ...

    async def now(self) -> Instant:
        """The clock that stamps what is stored: what stored instants are compared with."""
        ...

    async def check_writes(self) -> None:
        """Whether the store can be written now, asked behind the batches on their way; nothing is changed by it.

        Raises:
            StoreUnavailable: It cannot, and why.
        """
        ...

    async def load_thread(self, scope: Scope, thread_id: ThreadId) -> Thread | None: ...

    async def list_threads(self, scope: Scope, query: ThreadQuery) -> Page[Thread]: ...

    async def load_run(self, scope: Scope, run_id: RunId) -> Run | None: ...

    async def latest_run(self, scope: Scope, thread_id: ThreadId) -> Run | None:
        """The newest run of the thread."""
        ...

    async def list_runs(self, scope: Scope, query: RunQuery) -> Page[Run]: ...

    async def list_dead_letters(self, scope: Scope, query: DeadLetterQuery) -> Page[DeadLetter]:
        """Those that nobody has seen to."""
        ...

    async def count_open_runs(self, scope: Scope) -> list[OpenCount]:
        """The unfinished runs by agent and phase, in that order; what there is none of is left out."""
        ...

    async def summarize_runs(self, scope: Scope) -> RunSummary: ...

    async def load_dispatch(self, scope: Scope, dispatch_id: DispatchId) -> Dispatch | None: ...

    async def load_dispatches(self, scope: Scope, ids: Sequence[DispatchId]) -> dict[DispatchId, Dispatch]:
        """Those of them that exist and can be read, for a page of runs: one read for all."""
        ...

    async def active_dispatch(self, scope: Scope, thread_id: ThreadId) -> Dispatch | None:
        """The claimed dispatch of the thread."""
        ...

    async def list_dispatches(self, scope: Scope, query: DispatchQuery) -> Page[Dispatch]: ...

    async def list_queue(self, scope: Scope, thread_id: ThreadId, *, limit: int = MAX_PAGE) -> list[Dispatch]:
        """What waits in the thread, in claim order: priority, then position. What is damaged is left out."""
        ...

    async def list_claims(self, consumer: ConsumerId, *, after: int = 0, limit: int = MAX_PAGE) -> list[Held]:
        """The claims that a consumer holds, in any scope, by arrival; `after` is the last arrival number seen. What is
        damaged is left out.
        """
        ...

    async def count_dispatches(self) -> dict[DispatchStatus, int]:
        """How many there are, over all scopes, up to `MAX_COUNTED` of each; every status is a key.

        Where there are more than that of another status, there may be more acked ones than are counted.
        """
        ...

    async def list_ready_routes(self) -> list[Route]:
        """The routes for which a thread is free and something is queued, due or not, in any scope; in order."""
        ...

    async def next_due_in_ms(self, routes: frozenset[Route]) -> int | None:
        """In how long something of these routes can be claimed, a schedule falls due, a ticket expires or a lease ends;
        0 when it is due already.
        """
        ...

    async def load_ticket(self, scope: Scope, ticket_id: TicketId) -> Ticket | None: ...

    async def list_tickets(self, scope: Scope, query: TicketQuery) -> Page[Ticket]: ...

    async def count_open_tickets(self) -> list[OpenTickets]:
        """By kind, in that order; what there is none of is left out. At most `MAX_COUNTED` tickets are looked at."""
        ...

    async def list_overdue_tickets(self, *, limit: int = MAX_PAGE) -> list[OverdueTicket]:
        """Open tickets whose time is over, of every scope; those first that expired first. What is damaged is left
        out.
        """
        ...

    async def load_message(self, scope: Scope, thread_id: ThreadId, message_id: MessageId) -> StoredMessage | None:
        """Any message the thread has accepted, in the log or not."""
        ...

    async def lost_messages(self, scope: Scope, thread_id: ThreadId, ids: Sequence[MessageId]) -> list[MessageId]:
        """Those of them that the thread does not have, or that cannot be read, in the order given: one read for all."""
        ...

    async def list_pending(self, scope: Scope, thread_id: ThreadId) -> list[PendingMessage]:
        """Everything that waits for a run of the thread, in order."""
        ...

    async def find_breaches(self, place: AuditPlace = FIRST_PLACE) -> AuditSlice:
        """What breaks an invariant in a slice of the rows, of every scope: the one that begins behind `place`."""
        ...

    async def load_receipt(self, scope: Scope, thread_id: ThreadId, message_id: MessageId) -> Receipt | None:
        """What has become of any message that the thread has accepted."""
        ...

    async def threads_of_message(self, scope: Scope, message_id: MessageId, *, limit: int) -> list[ThreadId]:
        """The threads that have accepted a message with this id."""
        ...

    async def list_messages(self, scope: Scope, thread_id: ThreadId, query: MessageQuery) -> list[StoredMessage]:
        """The log, by seq, for who must not read over damage: an agent that is to go on from it. With a filter it looks
        at all of the log, if need be; who answers others asks for pages.
        """
        ...

    async def page_messages(self, scope: Scope, thread_id: ThreadId, query: MessageQuery) -> Page[StoredMessage]:
        """As `list_messages`, for who wants to see what there is: a message that is damaged or gone is named.

        `next` is the `after` of the page behind, or, descending, its `before`.
        """
        ...

    async def list_spans(self, scope: Scope, thread_id: ThreadId) -> list[Span]:
        """What is hidden of the thread's log, in the order in which that was decided."""
        ...

    async def load_state(self, scope: Scope, thread_id: ThreadId) -> ThreadState:
        """The thread's state; version 0 where nothing ever changed it, or there is no such thread."""
        ...

    async def load_snapshot(self, scope: Scope, thread_id: ThreadId) -> Snapshot | None: ...

    async def list_journal(self, scope: Scope, run_id: RunId) -> list[JournalEntry]:
        """The run's finished steps, by key."""
        ...

    async def list_events(
        self, scope: Scope, thread_id: ThreadId, *, after: int, limit: int, run_id: RunId | None = None
    ) -> list[EventRow]:
        """Whole rows holding events with a seq greater than `after`, oldest first, until `limit` events are reached.

        The first row is cut so that it starts after `after`; the last row is never cut, so a page may exceed the limit.
        For who must not read over damage: a stream promises to have no gap. As `list_messages` for those of one run.
        """
        ...

    async def page_events(
        self, scope: Scope, thread_id: ThreadId, *, after: int, limit: int, run_id: RunId | None = None
    ) -> Page[EventRow]:
        """As `list_events`, for who wants to see what there is: rows that are damaged or gone are named.

        `next` is the `after` of the page behind.
        """
        ...

    async def last_events(self, scope: Scope, runs: Sequence[Run]) -> dict[RunId, EventRow]:
        """The newest event of each run, alone in its row, for a page of runs: one read for all.

        Left out are runs of which no event is kept, and those whose newest one cannot be read. Of a run that is under
        way it is the one with which it was last written, where its thread has more than `MAX_TAIL` events behind that.
        """
        ...

    async def event_bounds(self, scope: Scope, thread_id: ThreadId) -> tuple[int, int]:
        """The seqs of the first event that is still kept, and of the newest; (1, 0) when there was never one."""
        ...

    async def list_outbox(self, *, after: int = 0, lane: Lane | None = None, limit: int = MAX_PAGE) -> list[OutboxRow]:
        """Errands that are not known to be delivered, by number: of one lane, or all. What is damaged is left out."""
        ...

    async def list_workers(self) -> tuple[WorkerRecord, ...]:
        """The processes that said that they live."""
        ...

    async def load_schedule(self, scope: Scope, name: str) -> Schedule | None: ...

    async def list_schedules(self, scope: Scope, *, after: int | None = None, limit: int = MAX_PAGE) -> Page[Schedule]:
        """Schedules in the order in which they were made; `after` is the `next` of the page before."""
        ...


class Store(Reads, Protocol):
    """Where everything lives. Entered means open and migrated; left means closed and quiet.

    A store that only one process may own takes back every claim it finds when it is opened, and at no other time. It
    may be entered several times: the first entering opens it, the last leaving closes it.

    Raises, from every operation:
        StoreUnavailable: It was not reached or could not write (a full disk), and nothing changed.
        DataIntegrity: A stored record is damaged.
    """

    async def __aenter__(self) -> Self: ...

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...

    async def apply(self, batch: Sequence[Transition]) -> list[Outcome]:
        """Apply the batch in one transaction and answer each item in its place.

        Requires: at most one transition per thread; transitions over many threads come after those of one thread.
        Guarantees: batches handed over while another is being applied follow it, in that order.
        Not cancellable: a caller that goes away leaves the transaction to finish.
        """
        ...

    async def beat(self, worker: WorkerRecord) -> tuple[WorkerRecord, ...]:
        """The process lives: this replaces the record it had, with the store's time as `seen_at`. Answered with every
        record, its own too. One that was not renewed for `FORGOTTEN_MS` is dropped.
        """
        ...

    async def leave(self, consumer_id: ConsumerId) -> None:
        """Drop the record of a process that has ended, if there is one."""
        ...

    def listen(self, listener: Listener) -> None:
        """Have `listener` called for what others commit. One that is alone on its store is called for nothing: all that
        is committed is in the outcomes that it was answered with.
        """
        ...

    def unlisten(self, listener: Listener) -> None:
        """Call it no more. Harmless for one that is not listening."""
        ...


class Posted(msgspec.Struct, frozen=True):
    """An errand that was written in somebody else's transaction: its number, and which transaction that is."""

    no: int
    transaction: str


Fate = Literal["open", "rolled_back", "stored", "gone"]
"""Of an errand in somebody else's transaction: that has not ended yet; it was rolled back; the errand is stored and not
known to be delivered; or it was committed and the errand is not there: it is delivered, was refused, or is behind a
savepoint to which the transaction went back."""


@runtime_checkable
class JoinsTransactions(Protocol):
    """What a store offers beside its contract where callers have transactions of their own in the same database."""

    async def post(self, connection: object, scope: Scope, thread_id: ThreadId, errand: Begin) -> Posted:
        """Write an errand over the caller's connection, in the transaction that is open on it: it is there from that
        transaction's commit on, and everybody who delivers is told then. No row of a thread is touched. The store need
        not be open.

        Raises:
            ValidationError: That is no connection of a kind that is known, or has no open transaction.
            Exception: What its library raises where the database refuses.
        """
        ...

    async def fate_of(self, posted: Posted) -> Fate: ...
