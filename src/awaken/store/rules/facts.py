"""What a rule is given and what it gives back: the rows a transition touches, and the rows it writes.

Above: a store fills `Facts` and writes `Changes`. Below: the records of `domain`.
Holds: nothing here decides or reads anything.
"""

from __future__ import annotations

import msgspec

from awaken.domain.clock import Instant
from awaken.domain.dispatch import Dispatch
from awaken.domain.ids import MessageId, RunId, Scope, ThreadId
from awaken.domain.log import Appended
from awaken.domain.message import Message
from awaken.domain.run import Run
from awaken.domain.thread import ThreadInfo
from awaken.store.contract import StoredMessage
from awaken.store.transitions import JournalEntry


class ThreadRow(msgspec.Struct, kw_only=True):
    """A thread as stored: its counters and its place in the order of threads that may be claimed.

    `ready_priority` and `ready_at` are the scheduling key: both None while a dispatch is claimed or nothing is
    queued, otherwise those of the thread's best queued dispatch (see `ready_key`).
    """

    scope: Scope
    thread_id: ThreadId
    info: ThreadInfo
    created_at: Instant
    updated_at: Instant
    epoch: int = 0
    message_seq: int = 0
    event_seq: int = 0
    position: int = 0
    queued: int = 0
    ready_priority: int | None = None
    ready_at: Instant | None = None
    open_turn: int | None = None
    """Seq of the last assistant message whose calls may be unanswered."""
    latest_run_id: RunId | None = None
    """The run written last."""


class Queued(msgspec.Struct, frozen=True, gc=False):
    """A queued dispatch with what claiming it takes."""

    dispatch: Dispatch
    run: Run | None
    """None: the row is gone, by hand or through damage."""
    messages: tuple[Message, ...]
    """Those it was submitted with and that are not in the log yet, in the order of its request."""
    lacks: MessageId | None = None
    """A message its request names and the thread does not have."""
    damage: str | None = None
    """Why a row that is there cannot be read."""


class Facts(msgspec.Struct, kw_only=True, gc=False):
    """The rows a transition touches. A store fills what the transition's `needs` below name; the rest stays empty."""

    thread: ThreadRow | None = None
    claimed: Dispatch | None = None
    """The thread's claimed dispatch."""
    dispatch: Dispatch | None = None
    """The dispatch the transition names, or that of the run it names."""
    run: Run | None = None
    """The run the transition names; for `Submit`, an earlier run with that id."""
    deduped: Run | None = None
    """The run of the open dispatch that holds the submit's `dedupe_key`."""
    deduped_dispatch: Dispatch | None = None
    known: tuple[StoredMessage, ...] = ()
    """Messages of the thread that have an id the transition brings."""
    known_run: Run | None = None
    """The run of the first of them."""
    next: Queued | None = None
    """The thread's best due dispatch, when the transition carries an offer or claims."""
    ready: tuple[int, Instant] | None = None
    """The scheduling key of the queue as it will be without `next`, or without the dispatch being cancelled."""
    tail: tuple[Message, ...] = ()
    """The log from `thread.open_turn` on."""
    queue: tuple[tuple[Dispatch, Run], ...] = ()
    """The whole queue in claim order, for an interrupt."""

    @property
    def dispatch_of_run(self) -> Dispatch | None:
        """The dispatch of `run`; None once it is purged, also where another run has brought its id again."""
        owned = self.run is not None and self.dispatch is not None and self.dispatch.run_id == self.run.run_id
        return self.dispatch if owned else None


class MessageWrite(msgspec.Struct, frozen=True, gc=False):
    """A new message row."""

    scope: Scope
    thread_id: ThreadId
    message: Message
    seq: int | None
    run_id: RunId | None
    created_at: Instant


class Changes(msgspec.Struct):
    """Everything a batch will write, in the order it was decided."""

    new_threads: list[ThreadRow] = []
    threads: list[ThreadRow] = []
    new_messages: list[MessageWrite] = []
    appended_messages: list[tuple[Scope, ThreadId, MessageId, int]] = []
    """Stored messages that now get their seq."""
    runs: list[tuple[Scope, Run]] = []
    accepted: list[tuple[Scope, Run, Dispatch]] = []
    """New runs, each with its dispatch."""
    dispatches: list[tuple[Scope, Dispatch, Dispatch]] = []
    """Before and after; the state before is the guard of the write."""
    events: list[Appended] = []
    journal: list[tuple[Scope, RunId, JournalEntry, Instant]] = []


def ready_key(priority: int, available_at: Instant, now: Instant) -> tuple[int, int, int]:
    """Orders queued dispatches by which should be the thread's scheduling key: due ones first, by priority; then the
    one that will be due first.

    A key written for a dispatch that was not due yet is not rewritten when a more urgent one falls due behind it:
    the thread is then found a little late among other threads, but `Claim` still takes its best dispatch.
    """
    return (0, priority, available_at) if available_at <= now else (1, available_at, priority)
