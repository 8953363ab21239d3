"""The rows of the memory store, and how they hang together.

Above: `facts` and `asks` look rows up, `writing` changes them, `reading` lists them. Below: the records themselves.
"""

from __future__ import annotations

from collections import defaultdict
from typing import Final

import msgspec

from awaken.domain.clock import Instant
from awaken.domain.dispatch import Dispatch
from awaken.domain.ids import DispatchId, MessageId, RunId, Scope, ThreadId, TicketId
from awaken.domain.log import Appended
from awaken.domain.outbox import Begin, OutboxRow
from awaken.domain.pending import Pending
from awaken.domain.run import DONE, WAITING, Run
from awaken.domain.schedule import Schedule
from awaken.domain.span import Span
from awaken.domain.state import NO_STATE, ThreadState
from awaken.domain.ticket import Ticket
from awaken.store.contract import StoredMessage
from awaken.store.rules.facts import Numbers, ThreadKey, ThreadRow
from awaken.store.transitions import JournalEntry

# Kinds of rows of a thread.
EVENTS: Final = 1
MESSAGES: Final = 2
RUNS: Final = 3


class MessageFacts(msgspec.Struct):
    """What a receipt says besides what is stored with the message."""

    steered: bool = False
    settled_at: Instant | None = None


class ThreadData:
    """Everything that hangs on one thread."""

    def __init__(self) -> None:
        self.messages: dict[MessageId, StoredMessage] = {}
        self.facts: dict[MessageId, MessageFacts] = {}
        self.pending: dict[MessageId, Pending] = {}
        self.taken: dict[int, list[MessageId]] = {}
        """By the number of the commit that took them."""
        self.log: list[MessageId] = []
        self.runs: dict[RunId, None] = {}
        self.queued: dict[DispatchId, None] = {}
        self.claimed: DispatchId | None = None
        self.events: list[Appended] = []
        self.state: ThreadState = NO_STATE
        self.spans: list[Span] = []


class Tables:
    """One store's rows. Runs and dispatches stand in the order of their arrival."""

    def __init__(self) -> None:
        self.numbers: Final = Numbers()
        self.threads: dict[ThreadKey, ThreadRow] = {}
        self.data: defaultdict[ThreadKey, ThreadData] = defaultdict(ThreadData)
        self.runs: dict[tuple[Scope, RunId], Run] = {}
        self.dispatches: dict[tuple[Scope, DispatchId], Dispatch] = {}
        self.event_rows: dict[int, tuple[ThreadKey, Appended]] = {}
        """By the order in which they were appended."""
        self.event_row = 0
        self.journal: dict[int, dict[str, JournalEntry]] = {}
        """By the number of the run."""
        self.tickets: dict[tuple[Scope, TicketId], Ticket] = {}
        self.tickets_of: defaultdict[tuple[Scope, RunId], dict[TicketId, None]] = defaultdict(dict)
        self.outbox: dict[int, OutboxRow] = {}
        """By number, in that order."""
        self.schedules: dict[tuple[Scope, str], Schedule] = {}
        """By name, in the order in which they were made."""

    def queue(self, key: ThreadKey) -> list[Dispatch]:
        """What waits in a thread, in claim order."""
        waiting = [self.dispatches[key[0], each] for each in self.data[key].queued]
        return sorted(waiting, key=lambda dispatch: (dispatch.priority, dispatch.position))

    def open_tickets(self, scope: Scope, run_id: RunId) -> tuple[Ticket, ...]:
        found = [self.tickets[scope, each] for each in self.tickets_of.get((scope, run_id), ())]
        return tuple([ticket for ticket in found if ticket.is_open])

    def claimed(self, key: ThreadKey) -> Dispatch | None:
        claimed = self.data[key].claimed
        return None if claimed is None else self.dispatches[key[0], claimed]

    def runs_of(self, key: ThreadKey) -> list[Run]:
        return [self.runs[key[0], each] for each in self.data[key].runs]

    def waiting(self, key: ThreadKey) -> list[Run]:
        """The runs that are suspended, the one that suspended last first."""
        found = [run for run in self.runs_of(key) if run.status is WAITING]
        return sorted(found, key=lambda run: -run.updated_seq)

    def pending(self, key: ThreadKey) -> tuple[Pending, ...]:
        """What waits for a run of the thread, in order."""
        return tuple(sorted(self.data[key].pending.values(), key=lambda entry: entry.position))

    def children(self, key: ThreadKey) -> list[ThreadId]:
        """The threads whose parent it is, in the order of their arrival."""
        rows = [row for row in self.threads.values() if row.scope == key[0] and row.deleted_at is None]
        found = [row for row in rows if row.info.parent_thread_id == key[1]]
        return [row.thread_id for row in sorted(found, key=lambda row: row.no)]

    def children_to_come(self, key: ThreadKey) -> list[ThreadId]:
        """The threads that errands of its own are still to make as its children."""
        own = [row for row in self.outbox.values() if (row.scope, row.sender) == key]
        return [
            row.thread_id
            for row in own
            if isinstance(row.errand, Begin)
            and row.errand.info is not None
            and row.errand.info.parent_thread_id == key[1]
        ]

    def is_shown(self, key: ThreadKey) -> bool:
        """The thread exists, and is not deleted."""
        row = self.threads.get(key)
        return row is not None and row.deleted_at is None

    def unfinished(self, key: ThreadKey) -> list[Run]:
        return [run for run in self.runs_of(key) if run.status is not DONE]
