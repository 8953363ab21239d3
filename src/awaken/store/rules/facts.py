"""What a rule is given and what it gives back: the rows a transition touches, and the rows it writes.

Above: a store fills `Facts` with what `needs` names, and writes `Changes`. Below: the records of `domain`.
Holds: nothing here decides or reads anything. A rule changes the thread row of its facts in place, since that row is a
copy made for it, and leaves everything else in the facts as it is.
"""

from __future__ import annotations

from typing import Final

import msgspec

from awaken.domain.clock import Instant
from awaken.domain.dispatch import Dispatch
from awaken.domain.ids import ClaimToken, MessageId, RunId, Scope, ThreadId, TicketId
from awaken.domain.log import Appended
from awaken.domain.message import Message
from awaken.domain.outbox import OutboxRow
from awaken.domain.pending import Pending
from awaken.domain.receipt import FinalFate
from awaken.domain.run import Run
from awaken.domain.schedule import Schedule
from awaken.domain.span import Span
from awaken.domain.state import NO_STATE, ThreadState
from awaken.domain.thread import ThreadInfo
from awaken.domain.ticket import Ticket
from awaken.store.contract import StoredMessage
from awaken.store.transitions import JournalEntry

ThreadKey = tuple[Scope, ThreadId]


class ReadyKey(msgspec.Struct, frozen=True, gc=False):
    """The scheduling key of a thread: that of the dispatch it would run next.

    `at` 0: due at once, and then `no`, its arrival number, is its age. Otherwise the instant at which it falls due.
    """

    route: str
    """With `SUSPECT_MARK` behind it for a suspect."""
    priority: int
    at: Instant
    no: int

    def in_ms(self, now: Instant) -> int:
        return max(self.at - now, 0)


class ThreadRow(msgspec.Struct, kw_only=True):
    """A thread as stored: its counters and its place in the order of threads that may be claimed.

    `ready` is None while a dispatch is claimed or nothing is queued.
    """

    no: int
    """Its key inside the store, given once: an arrival number, as runs have it."""
    scope: Scope
    thread_id: ThreadId
    info: ThreadInfo
    created_at: Instant
    updated_at: Instant
    epoch: int = 0
    message_seq: int = 0
    event_seq: int = 0
    first_event_seq: int = 1
    """The first event that is still kept."""
    position: int = 0
    queued: int = 0
    waiting: int = 0
    """Runs that are suspended."""
    left_open: int = 0
    """Runs that have ended and whose last calls nobody answered yet."""
    spans: int = 0
    """Ranges of its log that are hidden."""
    pending: int = 0
    """Messages that wait for a run."""
    interrupt_id: str | None = None
    """Of its last interrupt, where that had one."""
    info_version: int = 1
    deleted_at: Instant | None = None
    delete_at: Instant | None = None
    """When it goes by itself, if nothing of it is unfinished then."""
    commit_no: int = 0
    commit_token: ClaimToken | None = None
    """The claim that made the commit with that number."""
    latest_run_no: int | None = None
    ready: ReadyKey | None = None

    def become(self, other: ThreadRow) -> None:
        """Be as that one, which was copied from it before something was tried."""
        for name in self.__struct_fields__:
            setattr(self, name, getattr(other, name))


class Waiter(msgspec.Struct, frozen=True, gc=False):
    """A queued dispatch, as far as the order of a queue depends on it."""

    route: str
    priority: int
    position: int
    available_at: Instant
    no: int

    @classmethod
    def of(cls, dispatch: Dispatch) -> Waiter:
        return cls(dispatch.ready_route, dispatch.priority, dispatch.position, dispatch.available_at, dispatch.no)

    def order(self, now: Instant) -> tuple[int, ...]:
        """What is due comes first, by priority, then position; then what will be due first."""
        if self.available_at <= now:
            return 0, self.priority, self.position
        return 1, self.available_at, self.priority, self.position

    def key(self, now: Instant) -> ReadyKey:
        return ReadyKey(self.route, self.priority, 0 if self.available_at <= now else self.available_at, self.no)


class Queued(msgspec.Struct, frozen=True, gc=False):
    """A dispatch with what executing it takes."""

    dispatch: Dispatch
    run: Run | None
    """None: the row is gone, by hand or through damage."""
    messages: tuple[StoredMessage, ...] = ()
    """Those that the dispatch brings, in its order, without those that were retracted; the ones without a seq are not
    in the log yet."""
    lacks: MessageId | None = None
    """A message it brings and the thread does not have."""
    tail: tuple[Message, ...] = ()
    """The run's own messages from its open turn on."""
    damage: str | None = None
    """Why a row that is there cannot be read."""

    @property
    def bodies(self) -> tuple[Message, ...]:
        return tuple([stored.message for stored in self.messages])


class Waiting(msgspec.Struct, frozen=True, gc=False):
    """A suspended run, the dispatch that executed it last, and its own messages from its open turn on."""

    run: Run
    dispatch: Dispatch
    tail: tuple[Message, ...] = ()


class LeftOpen(msgspec.Struct, frozen=True, gc=False):
    """A run that has ended, and its own messages from its open turn on."""

    run: Run
    tail: tuple[Message, ...]


class Lineage(msgspec.Struct, frozen=True, gc=False):
    """A thread and its ancestors, in that order; `lacks`: the first that does not exist."""

    ids: tuple[ThreadId, ...]
    lacks: ThreadId | None = None
    is_too_deep: bool = False
    """It goes on behind these."""


MAX_LINEAGE: Final = 100
"""Ancestors of a thread."""


class Facts(msgspec.Struct, kw_only=True, gc=False):
    """The rows a transition touches: `thread` and `claimed` always, the rest as far as its `Needs` name it."""

    thread: ThreadRow | None = None
    claimed: Dispatch | None = None
    """The thread's claimed dispatch."""
    run: Run | None = None
    dispatch: Dispatch | None = None
    active: Run | None = None
    target: Waiting | None = None
    """Whatever its status is."""
    decided: Waiting | None = None
    """The run that a submit decides about, whatever its status is."""
    siblings: tuple[StoredMessage, ...] = ()
    pending: tuple[Pending, ...] = ()
    bodies: tuple[Message, ...] = ()
    taken: tuple[Message, ...] = ()
    deduped: Run | None = None
    deduped_dispatch: Dispatch | None = None
    known: tuple[StoredMessage, ...] = ()
    known_run: Run | None = None
    known_dispatch: Dispatch | None = None
    next: Queued | None = None
    ready: Waiter | None = None
    won: Queued | None = None
    referred: tuple[StoredMessage, ...] = ()
    again: Run | None = None
    """The run that a submit does again."""
    tail: tuple[Message, ...] = ()
    left_open: tuple[LeftOpen, ...] = ()
    queue: tuple[tuple[Dispatch, Run], ...] = ()
    waiting: tuple[Waiting, ...] = ()
    later: int = 0
    """Queued dispatches that are not due yet."""
    wakes: int = 0
    """Queued dispatches with which runs go on that the thread's row counts as waiting."""
    tickets: dict[TicketId, Ticket] = {}
    open_tickets: dict[RunId, tuple[Ticket, ...]] = {}
    """Of every run in these facts that has some."""
    state: ThreadState = NO_STATE
    """What a rule puts in its place is what the next one changes."""
    own: dict[RunId, tuple[tuple[int, int], ...]] = {}
    """The stretches of the log whose messages belong to a run: it brought, took or produced them."""
    spans: tuple[Span, ...] = ()
    lineage: Lineage | None = None
    child: ThreadId | None = None
    """A thread whose parent it is, or will be when an errand of its own has been delivered."""
    turn: tuple[StoredMessage, ...] = ()
    """The messages of the log that belong to the same run as the one to hide."""
    left: list[Dispatch] = []
    """What the rule itself has queued for a run that ended, for the scheduling key: nothing at first."""

    @property
    def brings_state(self) -> bool:
        """Claiming `next` would change the state."""
        run = None if self.next is None else self.next.run
        return run is not None and run.started_at is None and run.request.options.state is not None

    @property
    def dispatch_of_run(self) -> Dispatch | None:
        """The dispatch of `run`, also where another run has brought its id again."""
        owned = self.run is not None and self.dispatch is not None and self.dispatch.run_id == self.run.run_id
        return self.dispatch if owned else None

    def runs(self) -> list[Run]:
        """Every run that is given because it may end, or be claimed."""
        found = [waits.run for waits in self.waiting] if self.waiting else []
        if self.queue:
            found += [run for _, run in self.queue]
        if self.run is not None:
            found.append(self.run)
        if self.target is not None:
            found.append(self.target.run)
        if self.decided is not None:
            found.append(self.decided.run)
        if self.next is not None and self.next.run is not None:
            found.append(self.next.run)
        return found


class MessageWrite(msgspec.Struct, frozen=True, gc=False):
    """A new message row."""

    thread: ThreadRow
    message: Message
    seq: int | None
    run_id: RunId | None
    created_at: Instant
    step_index: int | None = None
    """Of one that a waiting run goes on with: how many steps of it were closed then."""


class Taken(msgspec.Struct, frozen=True, gc=False):
    """A message that has waited and now gets its seq, with the commit or the claim that took it."""

    thread: ThreadRow
    message_id: MessageId
    seq: int
    step_index: int
    commit_no: int | None


class Numbers(msgspec.Struct):
    """Arrival numbers of threads, runs and dispatches: one count for all three, never used twice in a store."""

    last: int = 0

    def next(self) -> int:
        self.last += 1
        return self.last


class Removed(msgspec.Struct, frozen=True, gc=False):
    """Rows of a deleted thread that go. `is_last`: then nothing of it is left but its own row."""

    key: ThreadKey
    thread_no: int
    rows: tuple[tuple[int, int, int], ...]
    """Kind of the row as the store names it, its place in the thread, and the number of the row."""
    is_last: bool


class Changes(msgspec.Struct, kw_only=True):
    """Everything a batch will write, in the order it was decided."""

    numbers: Numbers
    new_threads: list[ThreadRow] = []
    threads: list[ThreadRow] = []
    infos: list[ThreadRow] = []
    """Existing threads whose info is replaced."""
    marks: list[ThreadRow] = []
    """Threads that are deleted, or will be."""
    new_messages: list[MessageWrite] = []
    appended_messages: list[tuple[ThreadRow, MessageId, int, int | None, Instant]] = []
    """Stored messages that now get their seq, and the step index of `MessageWrite`."""
    pended: list[tuple[ThreadRow, Pending, Message]] = []
    """New messages that wait for a run."""
    taken: list[tuple[Taken, Instant]] = []
    moved: list[tuple[ThreadRow, Pending]] = []
    """Pending messages with another boundary or place."""
    edited: list[tuple[ThreadRow, StoredMessage]] = []
    requeued: list[tuple[ThreadRow, MessageId, RunId]] = []
    """Messages that are pending no more, but brought by this run."""
    fates: list[tuple[ThreadRow, MessageId, FinalFate, Instant]] = []
    """Of messages that have neither a seq nor a fate; of others nothing is changed."""
    new_runs: list[tuple[ThreadRow, Run]] = []
    runs: list[tuple[ThreadRow, Run]] = []
    new_dispatches: list[tuple[ThreadRow, Dispatch]] = []
    dispatches: list[tuple[ThreadRow, Dispatch, Dispatch]] = []
    """Before and after; the state before is the guard of the write."""
    leases: list[tuple[Scope, Dispatch, Dispatch]] = []
    """As `dispatches`, for a renewal, which touches no thread."""
    events: list[tuple[ThreadRow, Appended]] = []
    journal: list[tuple[Run, JournalEntry, Instant]] = []
    new_tickets: list[tuple[ThreadRow, Run, Ticket]] = []
    tickets: list[tuple[ThreadRow, Ticket]] = []
    """That were open, and are not any more."""
    outbox: list[OutboxRow] = []
    delivered: list[OutboxRow] = []
    """Rows of the outbox that go."""
    new_schedules: list[tuple[Scope, Schedule]] = []
    schedules: list[tuple[Scope, Schedule]] = []
    removed_schedules: list[tuple[Scope, Schedule]] = []
    states: list[tuple[ThreadRow, ThreadState, Instant]] = []
    spans: list[tuple[ThreadRow, Span]] = []
    purged_runs: list[tuple[ThreadKey, int, Run]] = []
    """With the number of its thread, which forgets that it was its newest one."""
    purged_events: list[tuple[ThreadKey, int, int, int, int]] = []
    """Thread, its number, first and last seq, and row, of each event row; the thread's `first_event_seq` follows."""
    removed: list[Removed] = []

    @property
    def touches_pending(self) -> bool:
        """Whether anything of what waits for a run, or waited, changes."""
        lists = (self.pended, self.taken, self.moved, self.edited, self.requeued, self.fates)
        return any(lists)

    def join(self, others: Changes) -> None:
        """Write these, too."""
        for name in self.__struct_fields__:
            if name != "numbers":
                getattr(self, name).extend(getattr(others, name))

    def clear(self) -> None:
        """They have been written."""
        for name in self.__struct_fields__:
            if name != "numbers":
                getattr(self, name).clear()


def best_of(waiters: list[Waiter], now: Instant) -> ReadyKey | None:
    """The scheduling key of a queue that consists of these, or whose best is among them.

    A key written for a dispatch that was not due yet is not rewritten when a more urgent one falls due behind it: the
    thread is then found a little late among other threads, but a claim still takes its best dispatch.
    """
    if not waiters:
        return None
    return min(waiters, key=lambda each: each.order(now)).key(now)
