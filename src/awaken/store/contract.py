"""The contract of a store: `apply(batch) -> outcomes`, and reads.

Above: the combiner forms batches; everything else only reads. Below: memory, SQLite, later Postgres, all held to the
cases in `awaken.testing.conformance`.
Holds: when `apply` has returned, its outcomes are as durable as `capabilities.durability` says, and every read that
starts afterwards sees them. A store owns its clock; no operation takes the time.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from types import TracebackType
from typing import Literal, Protocol, Self

import msgspec

from awaken.domain.clock import Instant
from awaken.domain.dispatch import Dispatch, DispatchStatus
from awaken.domain.ids import AgentId, DispatchId, MessageId, RunId, Scope, ThreadId
from awaken.domain.log import EventRow
from awaken.domain.message import Message, Visibility
from awaken.domain.run import Run, RunStatus
from awaken.domain.thread import Thread
from awaken.store.transitions import JournalEntry, Outcome, Transition

MAX_PAGE = 200


class Capabilities(msgspec.Struct, frozen=True):
    """What a store declares about itself."""

    kind: Literal["memory", "sqlite", "postgres"]
    durability: Literal["full", "process", "volatile"]
    """`full` survives power loss, `process` survives a killed process, `volatile` neither."""
    exclusive: bool
    """Only this process uses the data, so every claim found when opening it belongs to the dead."""
    max_batch: int
    """The most transitions worth giving to one `apply`."""


class StoredMessage(msgspec.Struct, frozen=True):
    """A message with its place. `seq` None: accepted, not yet part of the conversation."""

    message: Message
    seq: int | None
    run_id: RunId | None
    """The run it was submitted with, or the run that produced it."""
    created_at: Instant


class MessageQuery(msgspec.Struct, frozen=True, kw_only=True):
    """A window of a thread's log. `after` and `before` are seqs, exclusive."""

    after: int = 0
    before: int | None = None
    limit: int = 50
    descending: bool = False
    visibility: Visibility | None = None
    run_id: RunId | None = None


class ThreadQuery(msgspec.Struct, frozen=True, kw_only=True):
    """Threads, most recently active first, then by id; `after` is the key of the last one seen."""

    after: tuple[Instant, ThreadId] | None = None
    limit: int = 50
    ascending: bool = False
    resource_id: str | None = None
    id_prefix: str = ""


class RunQuery(msgspec.Struct, frozen=True, kw_only=True):
    """Runs by creation, oldest first unless `descending`, then by id; `after` is the key of the last one seen."""

    after: tuple[Instant, RunId] | None = None
    limit: int = 50
    descending: bool = False
    thread_id: ThreadId | None = None
    status: RunStatus | None = None
    agent_id: AgentId | None = None
    thread_id_prefix: str = ""


class DispatchQuery(msgspec.Struct, frozen=True, kw_only=True):
    """Dispatches of one thread in claim order: priority, then position. `statuses` None: all; empty: none."""

    thread_id: ThreadId
    statuses: tuple[DispatchStatus, ...] | None = None
    run_id: RunId | None = None
    limit: int = 50
    offset: int = 0


class Signal(msgspec.Struct, frozen=True):
    """Something was committed, perhaps elsewhere. It may come late, twice or not at all: whoever must not miss a change
    also looks from time to time.
    """

    threads: frozenset[tuple[Scope, ThreadId]] | None
    """Threads whose log has grown; None when it is not known which."""


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

    async def load_thread(self, scope: Scope, thread_id: ThreadId) -> Thread | None: ...

    async def list_threads(self, scope: Scope, query: ThreadQuery) -> list[Thread]: ...

    async def load_run(self, scope: Scope, run_id: RunId) -> Run | None: ...

    async def latest_run(self, scope: Scope, thread_id: ThreadId) -> Run | None:
        """The run of the thread that was written last."""
        ...

    async def list_runs(self, scope: Scope, query: RunQuery) -> list[Run]: ...

    async def load_dispatch(self, scope: Scope, dispatch_id: DispatchId) -> Dispatch | None: ...

    async def active_dispatch(self, scope: Scope, thread_id: ThreadId) -> Dispatch | None:
        """The claimed dispatch of the thread."""
        ...

    async def list_dispatches(self, scope: Scope, query: DispatchQuery) -> list[Dispatch]: ...

    async def count_dispatches(self) -> dict[DispatchStatus, int]:
        """How many there are, over all scopes; every status is a key."""
        ...

    async def next_due_at(self) -> Instant | None:
        """The earliest instant at which something can be claimed or reclaimed; may lie in the past."""
        ...

    async def load_message(self, scope: Scope, thread_id: ThreadId, message_id: MessageId) -> StoredMessage | None:
        """Any message the thread has accepted, in the log or not."""
        ...

    async def list_messages(self, scope: Scope, thread_id: ThreadId, query: MessageQuery) -> list[StoredMessage]:
        """The log, by seq."""
        ...

    async def list_journal(self, scope: Scope, run_id: RunId) -> list[JournalEntry]:
        """The run's finished steps, by key."""
        ...

    async def list_events(
        self, scope: Scope, thread_id: ThreadId, *, after: int, limit: int, run_id: RunId | None = None
    ) -> list[EventRow]:
        """Whole rows holding events with a seq greater than `after`, oldest first, until `limit` events are reached.

        The first row is cut so that it starts after `after`; the last row is never cut, so a page may exceed the limit.
        """
        ...

    async def last_event_seq(self, scope: Scope, thread_id: ThreadId) -> int:
        """The seq of the newest event of the thread; 0 when there is none."""
        ...


class Store(Reads, Protocol):
    """Where everything lives. Entered means open and migrated; left means closed and quiet.

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

    def listen(self, listener: Listener) -> None:
        """Have `listener` called for what others commit. One that is alone on its store hears nothing: all that is
        committed is in the outcomes that it was answered with.
        """
        ...

    def unlisten(self, listener: Listener) -> None:
        """Call it no more. Harmless for one that is not listening."""
        ...
