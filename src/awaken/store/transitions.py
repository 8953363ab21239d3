"""Transitions: the values a store applies, and the values it answers with.

A store has one write operation, `apply(batch) -> outcomes`, in one database transaction. A transition says what is
asked; its outcome says what happened. A refusal (lease lost, conflict, missing) is an outcome, never an exception,
so that one caller's bad luck costs its neighbours nothing. Callers mint ids and tokens; the store stamps time.

`appended` on an outcome holds the event rows the transition wrote, in seq order.

Source: design decisions "a store is apply and reads", "accepted first, part of the conversation when consumed",
"claim offers", "cancel asks, interrupt asks and clears"; cases in spec/stores.md 2 and 4.1.
"""

from __future__ import annotations

from typing import Any, Final, Literal, final

import msgspec

from awaken.domain.clock import Instant
from awaken.domain.delivery import Delivery
from awaken.domain.dispatch import Dispatch
from awaken.domain.ids import (
    ClaimToken,
    ConsumerId,
    DispatchId,
    InstanceId,
    MessageId,
    RunId,
    Scope,
    ThreadId,
)
from awaken.domain.log import Appended, LoggedEvent
from awaken.domain.message import Message
from awaken.domain.retry import RetryPolicy
from awaken.domain.run import Run, RunRequest, Termination, Usage
from awaken.domain.thread import ThreadInfo

MAX_ROWS: Final = 200
"""The most rows a set transition (`Renew`, `Reclaim`, `Claim`, `Purge`) may touch."""
MAX_QUEUED_PER_THREAD: Final = 1_000


class Offer(msgspec.Struct, frozen=True, gc=False):
    """A free worker slot: take this dispatch, or the thread's next one, if the thread is free."""

    consumer: ConsumerId
    token: ClaimToken
    instance_id: InstanceId
    lease_ms: int


class Claimed(msgspec.Struct, frozen=True, gc=False):
    """A dispatch in its new owner's hands, with the run to execute.

    `resumed`: the run had started before. `queued`: how many dispatches wait behind it in its thread.
    """

    scope: Scope
    dispatch: Dispatch
    run: Run
    resumed: bool
    queued: int

    @property
    def token(self) -> ClaimToken:
        """The proof of this claim."""
        assert self.dispatch.claim_token is not None, "a claimed dispatch has its token"
        return self.dispatch.claim_token


# --- transitions of one thread ----------------------------------------------------------------------------------------


@final
class SaveThread(msgspec.Struct, frozen=True, kw_only=True):
    """Create a thread, with messages that belong to no run; `if_exists` decides what an existing one means.

    `raise`: a `Conflict`. `keep`: the existing thread, nothing written. `replace`: its info is replaced.
    Outcome: `ThreadSaved` or `Conflict`.
    """

    scope: Scope
    thread_id: ThreadId
    info: ThreadInfo = ThreadInfo()
    messages: tuple[Message, ...] = ()
    if_exists: Literal["raise", "keep", "replace"] = "raise"


@final
class Submit(msgspec.Struct, frozen=True, gc=False):
    """Accept a run: its messages, run and dispatch become durable together, and are claimed at once where possible.

    Requires: valid messages (`check_messages`), at least one.
    Guarantees: nothing of it is in the conversation until the run is first claimed; that transaction appends the
    messages. With an offer and a free thread the best due dispatch of the thread (usually this one) is claimed.
    A `dedupe_key` held by an open dispatch of the thread, a `run_id` with the same digest, or messages that are all
    known already, change nothing and answer `Replayed`. Known messages among new ones are not stored again.
    Outcome: `Submitted`, `Replayed`, `Conflict`, `Missing` (the thread, unless `create_thread`), `Full`.
    """

    scope: Scope
    thread_id: ThreadId
    run_id: RunId
    dispatch_id: DispatchId
    request: RunRequest
    messages: tuple[Message, ...]
    digest: str = ""
    """Of what the caller sent, for comparing a repeated `run_id`."""
    metadata: dict[str, Any] = {}
    delivery: Delivery = Delivery()
    create_thread: bool = True
    fresh_ids: bool = False
    """The caller minted every id itself, so the store need not look for earlier uses first."""
    max_queued: int = MAX_QUEUED_PER_THREAD
    offer: Offer | None = None


class JournalEntry(msgspec.Struct, frozen=True, gc=False):
    """A finished step of a function: `key` is `name#n`, `value` its JSON result."""

    key: str
    value: msgspec.Raw


class StepClosed(msgspec.Struct, frozen=True, gc=False):
    """A step of a run is complete: from now on a crash repeats nothing before it, and its failures start from zero.

    Carries the run's new totals.
    """

    steps: int
    usage: Usage = Usage()
    turn: MessageId | None = None
    """The assistant message whose tool calls are all answered, where the step has one."""


@final
class Commit(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """Make a part of a running run durable: messages, events and journal entries, in one piece.

    `entries` is what the log gains, in order; a message is appended to the conversation and said by a
    `MessageCommitted` in its place. Requires: the token of the present claim, and no interrupt since it was taken.
    Outcome: `Committed` or `LeaseLost`; `Conflict` when a message id is in the thread already.
    """

    scope: Scope
    thread_id: ThreadId
    run_id: RunId
    dispatch_id: DispatchId
    token: ClaimToken
    entries: tuple[LoggedEvent | Message, ...] = ()
    journal: tuple[JournalEntry, ...] = ()
    closes: StepClosed | None = None
    stream_open: bool | None = None
    """Whether the log then ends with deltas of an uncommitted turn; None leaves it as it is."""

    @property
    def messages(self) -> tuple[Message, ...]:
        return tuple([entry for entry in self.entries if type(entry) is Message])


class Ack(msgspec.Struct, frozen=True, gc=False):
    """The execution returned. Its termination says how; a failed answer is still an answer."""

    termination: Termination
    final_output: str | None = None


class Retry(msgspec.Struct, frozen=True):
    """The execution failed and may be tried again; spends an attempt, and dead-letters the last one."""

    error: str
    policy: RetryPolicy = RetryPolicy()
    retry_after_ms: int = 0


class DeadLetter(msgspec.Struct, frozen=True):
    """The execution failed for good."""

    error: str


class Release(msgspec.Struct, frozen=True):
    """Not executed, or handed over at a shutdown: due again at once, no attempt spent."""

    reason: str


Ending = Ack | Retry | DeadLetter | Release


@final
class Settle(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """End a claim: result, settlement, messages, events, and the thread's next dispatch, in one piece.

    Requires: the token of the present claim.
    Guarantees: a run whose cancel was requested ends cancelled unless it was acked; after an interrupt dispatch and
    run are closed as superseded and cancelled whatever the ending says. With an offer the thread's best due
    dispatch is claimed in the same transaction.
    Outcome: `Settled` or `LeaseLost`; `Conflict` when a message id is in the thread already.
    """

    scope: Scope
    thread_id: ThreadId
    run_id: RunId
    dispatch_id: DispatchId
    token: ClaimToken
    ending: Ending
    entries: tuple[LoggedEvent | Message, ...] = ()
    journal: tuple[JournalEntry, ...] = ()
    closes: StepClosed | None = None
    stream_open: bool | None = None
    offer: Offer | None = None

    @property
    def messages(self) -> tuple[Message, ...]:
        return tuple([entry for entry in self.entries if type(entry) is Message])


@final
class Cancel(msgspec.Struct, frozen=True, kw_only=True):
    """Stop one run. Queued work is closed here; claimed work gets a durable request its owner must heed.

    Outcome: `CancelResult` or `Missing`.
    """

    scope: Scope
    thread_id: ThreadId
    run_id: RunId


@final
class Interrupt(msgspec.Struct, frozen=True, kw_only=True):
    """Raise the thread's epoch: everything queued is superseded, and a running run is asked to stop.

    The running run keeps the thread busy until its owner settles it or its lease ends, but commits nothing more.
    An unknown thread gets a row that holds the new epoch. Outcome: `Interrupted`.
    """

    scope: Scope
    thread_id: ThreadId


# --- transitions over many threads ------------------------------------------------------------------------------------


class LeaseRef(msgspec.Struct, frozen=True, gc=False):
    """One claim, as its owner names it."""

    scope: Scope
    dispatch_id: DispatchId
    token: ClaimToken


@final
class Renew(msgspec.Struct, frozen=True, kw_only=True):
    """Extend leases to `lease_ms` from now, each judged by its token; at most `MAX_ROWS`.

    A claim whose thread was interrupted holds until its lease ends but is not extended. Outcome: `Renewed`.
    """

    leases: tuple[LeaseRef, ...]
    lease_ms: int


@final
class Reclaim(msgspec.Struct, frozen=True, kw_only=True):
    """Take back claims whose lease has ended, longest expired first, at most `limit`.

    A lease ending exactly now still holds. `abandoned` takes every claim there is, whatever its lease says: for a
    store that only one process may own, when that process has just opened it. Outcome: `Reclaimed`.
    """

    limit: int = MAX_ROWS
    abandoned: bool = False


@final
class Claim(msgspec.Struct, frozen=True, kw_only=True):
    """Take the next dispatch of up to `len(offers)` free threads, at most one each; earlier offers are taken first.

    Threads come by the priority of their best due dispatch, then by how long it has been due, then by id; inside a
    thread the order is priority, then position. Instead of being handed out, a run whose cancel is requested is
    closed, a dispatch of an older epoch is superseded, and one whose run or messages are gone is dead-lettered.
    Outcome: `ClaimedSome`.
    """

    offers: tuple[Offer, ...]


@final
class Purge(msgspec.Struct, frozen=True, kw_only=True):
    """Remove finished dispatches last changed more than `retention_ms` ago, with their runs' journals; at most `limit`.

    Runs, messages and events stay, and so does the thread's epoch. Outcome: `Purged`.
    """

    retention_ms: int
    limit: int = MAX_ROWS


ThreadTransition = SaveThread | Submit | Commit | Settle | Cancel | Interrupt
SetTransition = Renew | Reclaim | Claim | Purge
Transition = ThreadTransition | SetTransition


# --- outcomes ---------------------------------------------------------------------------------------------------------


class Missing(msgspec.Struct, frozen=True):
    """Nothing has that id; nothing was written."""

    what: Literal["thread", "run", "dispatch"]
    id: str
    appended: tuple[Appended, ...] = ()


class Conflict(msgspec.Struct, frozen=True):
    """The id is taken by something that differs; nothing was written."""

    what: Literal["thread", "run", "dispatch", "message"]
    id: str
    appended: tuple[Appended, ...] = ()


class Full(msgspec.Struct, frozen=True):
    """The thread's queue is at its bound; nothing was written."""

    limit: int
    appended: tuple[Appended, ...] = ()


class LeaseLost(msgspec.Struct, frozen=True):
    """The token no longer proves a claim, or the thread was interrupted; nothing was written."""

    reason: Literal["not_claimed", "other_owner", "interrupted", "missing"]
    appended: tuple[Appended, ...] = ()


class Failed(msgspec.Struct, frozen=True):
    """This item alone could not be applied, through damage or a bug; nothing of it was written."""

    error: Exception
    appended: tuple[Appended, ...] = ()


class ThreadSaved(msgspec.Struct, frozen=True):
    created: bool
    appended: tuple[Appended, ...] = ()


class Submitted(msgspec.Struct, frozen=True, gc=False):
    """Stored. `claimed` is what the offer won: this run, or an older one of the thread, or None.

    `ready_at`: when the thread has something to claim; None while it is claimed or its queue is empty.
    """

    run: Run
    dispatch: Dispatch
    claimed: Claimed | None
    ready_at: Instant | None
    appended: tuple[Appended, ...] = ()


class Replayed(msgspec.Struct, frozen=True):
    """The same was accepted before: its run, and its dispatch while it is still kept."""

    run: Run
    dispatch: Dispatch | None
    appended: tuple[Appended, ...] = ()


class Committed(msgspec.Struct, frozen=True, gc=False):
    """Durable. `cancel_requested`: somebody asked this run to stop."""

    cancel_requested: bool
    last_message_seq: int
    appended: tuple[Appended, ...] = ()


class Settled(msgspec.Struct, frozen=True, gc=False):
    """The claim is over: the records as they now are, the claim the offer won, and `ready_at` as in `Submitted`."""

    run: Run
    dispatch: Dispatch
    claimed: Claimed | None
    ready_at: Instant | None
    appended: tuple[Appended, ...] = ()


class CancelResult(msgspec.Struct, frozen=True):
    """`stopped`: it was queued or had ended. `requested`: its owner has been asked, now or earlier."""

    state: Literal["stopped", "requested"]
    run: Run
    appended: tuple[Appended, ...] = ()


class Interrupted(msgspec.Struct, frozen=True):
    """The epoch in force, the claim that must still end, and what was superseded, in claim order."""

    epoch: int
    active: Dispatch | None
    superseded: tuple[Dispatch, ...]
    appended: tuple[Appended, ...] = ()


class Renewal(msgspec.Struct, frozen=True):
    """What holds for one claim. `lease_until` None: it is lost. `stop`: its run was asked to stop."""

    dispatch_id: DispatchId
    lease_until: Instant | None
    stop: bool


class Renewed(msgspec.Struct, frozen=True):
    """One answer per lease asked for, in that order."""

    renewals: tuple[Renewal, ...]
    appended: tuple[Appended, ...] = ()


class Closed(msgspec.Struct, frozen=True):
    """A dispatch that a set transition moved, with its run."""

    scope: Scope
    dispatch: Dispatch
    run: Run | None


class Reclaimed(msgspec.Struct, frozen=True):
    """Every claim taken back: requeued, dead-lettered, or closed because its run was to stop. `more` may remain."""

    items: tuple[Closed, ...]
    more: bool
    appended: tuple[Appended, ...] = ()


class ClaimedSome(msgspec.Struct, frozen=True):
    """The claims, in claim order, and what was closed on the way.

    `due_left`: when every slot is taken, how many more threads have something due, counted up to `MAX_ROWS`. With a
    slot left it is 0: what is due and was not claimed is damaged.
    `next_due_at`: with nothing due left, when the next thing could be claimed or reclaimed; None when nothing waits for
    time.
    """

    claims: tuple[Claimed, ...]
    closed: tuple[Closed, ...]
    due_left: int
    next_due_at: Instant | None
    appended: tuple[Appended, ...] = ()


class Purged(msgspec.Struct, frozen=True):
    count: int
    appended: tuple[Appended, ...] = ()


Outcome = (
    Missing
    | Conflict
    | Full
    | LeaseLost
    | Failed
    | ThreadSaved
    | Submitted
    | Replayed
    | Committed
    | Settled
    | CancelResult
    | Interrupted
    | Renewed
    | Reclaimed
    | ClaimedSome
    | Purged
)
