"""Transitions: the values a store applies, and the values it answers with.

A store has one write operation, `apply(batch) -> outcomes`, in one database transaction. A transition says what is
asked; its outcome says what happened. A refusal (lease lost, conflict, missing) is an outcome, never an exception,
so that one caller's bad luck costs its neighbours nothing. Callers mint ids and tokens; the store stamps time, and
answers with delays from its own now, so that nobody compares its instants with another clock.

`appended` on an outcome holds the event rows the transition wrote, in seq order.

Source: ADR 0002, 0006, 0008, 0012, 0014, 0023, 0025, 0026, 0033, 0035, 0036, 0037.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final, Literal, final

import msgspec

from awaken.domain.clock import Instant
from awaken.domain.dead_letter import OTHER
from awaken.domain.delivery import Delivery
from awaken.domain.dispatch import Dispatch
from awaken.domain.ids import (
    ClaimToken,
    ConsumerId,
    DispatchId,
    InstanceId,
    MessageId,
    Route,
    RunId,
    Scope,
    ThreadId,
    TicketId,
)
from awaken.domain.log import Appended, LoggedEvent
from awaken.domain.message import Message
from awaken.domain.outbox import ChildWaits, OutboxRow, Posting, Tell
from awaken.domain.pending import Boundary, Pending
from awaken.domain.receipt import FinalFate
from awaken.domain.retry import RetryPolicy
from awaken.domain.run import INSIDE, NO_OPTIONS, Run, RunRequest, Termination, Usage, WaitMode
from awaken.domain.schedule import Schedule, ScheduleSpec
from awaken.domain.span import Span
from awaken.domain.state import ThreadState, Values
from awaken.domain.thread import ThreadInfo, ThreadPatch
from awaken.domain.ticket import Decision, Ticket, TicketRequest
from awaken.domain.worker import ProcessName
from awaken.store.invariants import Breach

MAX_ROWS: Final = 200
"""The most rows a set transition may touch."""
MAX_QUEUED_PER_THREAD: Final = 1_000
MAX_PENDING_PER_THREAD: Final = 1_000


class Offer(msgspec.Struct, frozen=True, gc=False):
    """A free worker slot: take this dispatch, or the thread's next one, if the thread is free.

    `routes`: what its process can run and has room for; another head of the thread is not taken. A suspect never is:
    those are taken by a `Claim`. `lease_ms` None: the claim holds until its process ends, on a store that no other
    process shares. `stand_ins`: of those routes, the ones that another agent runs here than they name, each with that
    one's route: its start tells who executes it, and in which `process`.
    """

    consumer: ConsumerId
    token: ClaimToken
    instance_id: InstanceId
    routes: frozenset[Route]
    lease_ms: int | None = None
    stand_ins: Mapping[Route, Route] = {}
    process: ProcessName | None = None


class Claimed(msgspec.Struct, frozen=True, gc=False):
    """A dispatch in its new owner's hands, with the run to execute.

    `messages`: those that the dispatch brings, in order. `resumed`: the run had started before. `queued`: how many
    dispatches wait behind it in its thread. `commit_no`: the number of the thread's last commit; the owner's next one
    is one higher. `thread_no`: the thread's key inside the store, never used for another thread. `resource_id`: whom
    the thread belongs to. `spans`: how many ranges of its log are hidden. `pending`: how many messages the run would
    take at its next step.
    """

    scope: Scope
    dispatch: Dispatch
    run: Run
    messages: tuple[Message, ...]
    resumed: bool
    queued: int
    commit_no: int
    thread_no: int
    resource_id: str | None = None
    spans: int = 0
    pending: int = 0

    @property
    def token(self) -> ClaimToken:
        """The proof of this claim."""
        assert self.dispatch.claim_token is not None, "a claimed dispatch has its token"
        return self.dispatch.claim_token


# --- transitions of one thread ----------------------------------------------------------------------------------------


@final
class SaveThread(msgspec.Struct, frozen=True, kw_only=True):
    """Create a thread, with messages that belong to no run; `if_exists` decides what an existing one means.

    `raise`: a `Conflict`. `keep`: the existing thread, nothing written. `fill`: the messages begin its conversation
    where nothing has been said on it yet; else as `keep`, and its info stays in either case. `replace`: its info is
    replaced, and the messages join its conversation, which while a run executes is for that run's owner alone to write.
    Outcome: `ThreadSaved`, `Conflict`, or `Busy`.
    """

    scope: Scope
    thread_id: ThreadId
    info: ThreadInfo = ThreadInfo()
    messages: tuple[Message, ...] = ()
    if_exists: Literal["raise", "keep", "fill", "replace"] = "raise"


class Ruling(msgspec.Struct, frozen=True, gc=False):
    """A decision, and the ticket that it is about."""

    ticket_id: TicketId
    decision: Decision


class Rulings(msgspec.Struct, frozen=True, gc=False):
    """About tickets of one run."""

    run_id: RunId
    rulings: tuple[Ruling, ...]


@final
class Submit(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """Accept messages, and a run for them: durable together, and claimed at once where possible.

    Requires: valid messages (`check_messages`), at least one, or a reference to some that the thread has. Such a
    submit opens a run of its own, and is recognised by its run id.
    Guarantees: nothing of it is in the conversation until its dispatch is first claimed; that transaction appends the
    messages. A thread with nothing running or queued whose run waits goes on with that run, when the submit names no
    other agent, none of the options that make a run of its own (`is_own_run`) and no delay; otherwise the submit opens
    the run that it names. With an offer and a free thread the best due dispatch of the thread (usually this one) is
    claimed. A `dedupe_key` held by an unfinished run of the thread, a `run_id` with the same digest, or messages that
    are all known already, change nothing and answer `Replayed`; messages outlive their run, and where that is kept no
    longer the answer is `Known`. Known messages among new ones are not stored again; one whose content differs from
    what is stored is a `Conflict`.
    That is what the mode `queue` does. `rules.modes` has what each other one does, in the same transaction: it
    interrupts the thread, has the messages wait for a run that is there (`Staged`), or refuses.
    With `decides` tickets of a run of the thread are decided first, as by `Decide`: with the rest of it, or not at all.
    Outcome: `Submitted`, `Staged`, `Replayed`, `Known`, `Conflict`, `Missing` (the thread, unless `create_thread`; the
    run that it is for; what it would repeat, or refers to; a ticket), `Full`, `Busy`, `NotOpen`, `NotWaiting`,
    `Blocked`, `Undecided`.
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
    info: ThreadInfo | None = None
    """Of the thread, where this makes it."""
    fresh_ids: bool = False
    """The caller minted every id itself, so the store need not look for earlier uses first."""
    max_queued: int = MAX_QUEUED_PER_THREAD
    max_pending: int = MAX_PENDING_PER_THREAD
    offer: Offer | None = None
    only_if_repeated: bool = False
    """It cannot be accepted any more, and is asked only because it may have been: if it was not, it is `Missing`."""
    names_version: bool = False
    """The version of the agent was asked for, and did not follow from the name: a run of another one that waits is not
    what it is for."""
    decides: Rulings | None = None
    """In mode `queue`, and without an offer."""
    own_run: bool = False
    """It opens the run that it names, whatever else the thread's open run might take."""

    @property
    def run_count(self) -> int:
        """How many runs it opens, where it opens any."""
        return len(self.messages) if self.delivery.granularity == "one" else 1

    @property
    def is_own_run(self) -> bool:
        """It asks for something that only a run of its own can have."""
        delivery = self.delivery
        if self.own_run or self.request.trace.origin in INSIDE or self.request.reference is not None:
            return True
        return bool(self.metadata or self.request.options != NO_OPTIONS or delivery.is_delayed or delivery.dedupe_key)


class JournalEntry(msgspec.Struct, frozen=True, gc=False):
    """A finished step of a function: `key` is `name#n`, `value` its JSON result."""

    key: str
    value: msgspec.Raw


class StepClosed(msgspec.Struct, frozen=True, gc=False):
    """A step of a run is complete: from now on a crash repeats nothing before it, and its failures start from zero,
    if it is progress.

    Carries the run's new totals.
    """

    steps: int
    usage: Usage = Usage()
    turn: MessageId | None = None
    """The assistant message whose tool calls are all answered, where the step has one."""
    is_progress: bool = True
    """False where the run has not come as far as it was before; its failures go on counting."""


@final
class Commit(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """Make a part of a running run durable: messages, events and journal entries, in one piece.

    `entries` is what the log gains, in order; a message is appended to the conversation and reported by a
    `MessageCommitted` in its place. Requires: the token of the present claim, and no interrupt since it was taken.
    `number` is one higher than that of the owner's commit before; asked again with the same number and token, it
    writes nothing and answers as before.
    `takes` names a boundary that the run has reached: what waits for it joins the conversation behind the entries, as
    much as a run takes at once, unless the run was asked to stop.
    Outcome: `Committed` or `LeaseLost`; `Conflict` when a message id is in the thread already.
    """

    scope: Scope
    thread_id: ThreadId
    run_id: RunId
    dispatch_id: DispatchId
    token: ClaimToken
    number: int
    entries: tuple[LoggedEvent | Message, ...] = ()
    journal: tuple[JournalEntry, ...] = ()
    closes: StepClosed | None = None
    usage: Usage | None = None
    """What the run has spent, where a model call was made since the last closed step; None leaves it to `closes`."""
    stream_open: bool | None = None
    """Whether the log then ends with deltas of an uncommitted turn; None leaves it as it is."""
    opens: tuple[TicketRequest, ...] = ()
    """Tickets of the run; one that it has already stays as it is."""
    posts: tuple[Posting, ...] = ()
    """What the run does to other threads; reported behind `entries`."""
    awaits: tuple[TicketId, ...] = ()
    """Tickets of children that it goes on with: what tells it of them otherwise is retracted."""
    state: tuple[Values, ...] = ()
    """Merge patches of the thread's state, in order."""
    takes: Boundary | None = None

    @property
    def messages(self) -> tuple[Message, ...]:
        return tuple([entry for entry in self.entries if type(entry) is Message])


class Ack(msgspec.Struct, frozen=True, gc=False):
    """The execution returned. Its termination says how; a failed answer is still an answer."""

    termination: Termination
    final_output: str | None = None
    output_message_ids: tuple[MessageId, ...] = ()
    """The messages of the log whose text, joined, `final_output` is: then it is stored with them alone. Where it is
    not, the output is kept as it was given, and they are not named with it.
    """


class Retry(msgspec.Struct, frozen=True):
    """The execution failed and may be tried again; spends an attempt, and dead-letters the last one."""

    error: str
    policy: RetryPolicy = RetryPolicy()
    retry_after_ms: int = 0
    error_class: str = OTHER
    """What classified the failure."""


class DeadLetter(msgspec.Struct, frozen=True):
    """The execution failed for good. `error_class` as in `Retry`."""

    error: str
    error_class: str = OTHER


class Release(msgspec.Struct, frozen=True):
    """Not executed, or handed over at a shutdown: due again at once, no attempt spent."""

    reason: str


class Suspend(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """The run waits until one of these tickets has closed, or all have; then it goes on with the dispatch named. Those
    that are `together` count, with `any`, when all of them have closed.

    Where that is so already, the dispatch is queued in the same transaction. `opens` are opened first, where the run
    does not have them yet. A run that waits for no ticket goes on with input only.
    """

    next_dispatch_id: DispatchId
    opens: tuple[TicketRequest, ...] = ()
    waits_for: tuple[TicketId, ...] = ()
    mode: WaitMode = "any"
    together: tuple[tuple[TicketId, ...], ...] = ()


Ending = Ack | Retry | DeadLetter | Release | Suspend


@final
class Settle(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """End a claim: result, settlement, messages, events, and the thread's next dispatch, in one piece.

    Requires: the token of the present claim. `number` as in `Commit`; a repetition answers with the claim that its
    offer won, while that holds.
    Guarantees: a run whose cancel was requested ends cancelled unless it was acked, and cannot suspend; after an
    interrupt dispatch and run are closed as superseded and cancelled whatever the ending says. With an offer the
    thread's best due dispatch is claimed in the same transaction. `unless_pending`: a natural end that finds something
    waiting for it is none; the run takes that as a `Commit` would, and goes on under the same claim.
    Outcome: `Settled`, `Continued` or `LeaseLost`; `Conflict` when a message id is in the thread already.
    """

    scope: Scope
    thread_id: ThreadId
    run_id: RunId
    dispatch_id: DispatchId
    token: ClaimToken
    number: int
    ending: Ending
    entries: tuple[LoggedEvent | Message, ...] = ()
    journal: tuple[JournalEntry, ...] = ()
    closes: StepClosed | None = None
    usage: Usage | None = None
    """As in `Commit`."""
    stream_open: bool | None = None
    posts: tuple[Posting, ...] = ()
    awaits: tuple[TicketId, ...] = ()
    """As in `Commit`."""
    state: tuple[Values, ...] = ()
    """Merge patches of the thread's state, in order. They are made when the run ends by an `Ack`, and dropped when it
    suspends or goes back to the queue."""
    offer: Offer | None = None
    unless_pending: bool = False

    @property
    def messages(self) -> tuple[Message, ...]:
        return tuple([entry for entry in self.entries if type(entry) is Message])


@final
class Decide(msgspec.Struct, frozen=True, kw_only=True):
    """Decide tickets of one run, all of them or none; and close those of `expires` whose time is over.

    Requires: what is decided is allowed by its ticket. Guarantees: a ticket is decided once. Where that is what its run
    waits for, the run's next dispatch is queued. A ticket whose time is over expires instead, whether anybody looked
    after it or not.
    Outcome: `Decided`, `Undecided`, or `Missing`.
    """

    scope: Scope
    thread_id: ThreadId
    run_id: RunId
    rulings: tuple[Ruling, ...] = ()
    expires: tuple[TicketId, ...] = ()
    told: Tell | None = None
    """A child says so: where its run does not wait for it, that is told with a message, or a run of its own."""
    wire_run_id: str | None = None
    """What the client of a protocol that decides calls the run from now on; told with what this queues."""


@final
class Cancel(msgspec.Struct, frozen=True, kw_only=True):
    """Stop one run. Queued or waiting work is closed here; claimed work gets a durable request its owner must heed.

    `hide`: what belongs to the run is hidden from the view when it ends, however it ends. A run that is done already is
    not rolled back. Outcome: `CancelResult`, `Missing`, or `DispatchMoved`.
    """

    scope: Scope
    thread_id: ThreadId
    run_id: RunId
    cause: str | None = None
    """Why, where nobody asked for it: of queued and waiting work, for its last event."""
    gave_up_after_ms: int | None = None
    """How long its caller has waited for the thread to be free, where that is why; told right before the last event."""
    hide: bool = False
    dispatch_id: DispatchId | None = None
    """Only while this dispatch of it is open."""


@final
class EditDispatch(msgspec.Struct, frozen=True, kw_only=True):
    """Give what is queued another place: its priority, the instant before which it does not start, or both; None leaves
    them as they are. Its run keeps its place among those of the same priority.

    Outcome: `DispatchEdited`, `DispatchMoved`, or `Missing`.
    """

    scope: Scope
    thread_id: ThreadId
    run_id: RunId
    dispatch_id: DispatchId
    priority: int | None = None
    delay_ms: int | None = None
    """From now on; 0: due at once."""
    available_at: Instant | None = None
    """A caller's explicit instant; wins over `delay_ms`."""


@final
class Interrupt(msgspec.Struct, frozen=True, kw_only=True):
    """Raise the thread's epoch: what is queued is superseded, what waits ends, a running run is asked to stop.

    The running run keeps the thread busy until its owner settles it or its lease ends, but commits nothing more.
    An unknown thread gets a row that holds the new epoch. Asked again with the `id` of the thread's last interrupt it
    changes nothing. Outcome: `Interrupted`.
    """

    scope: Scope
    thread_id: ThreadId
    id: str


@final
class Edit(msgspec.Struct, frozen=True, kw_only=True):
    """Change a message that nobody has taken yet: its content, or, where it is pending, when it may be taken.

    Until its dispatch is first claimed this may also be a message of a queued run. `revision`: that of the message as
    the caller knows it; None changes it as it is. The new content has the id of the old one.
    Outcome: `Edited`, `Missing`, `Stale`, `Consumed`, or `Conflict` (a boundary for what is not pending).
    """

    scope: Scope
    thread_id: ThreadId
    message_id: MessageId
    revision: int | None = None
    message: Message | None = None
    boundary: Boundary | None = None
    barrier: bool | None = None


@final
class Retract(msgspec.Struct, frozen=True, kw_only=True):
    """Take back a message that nobody has taken yet. With the last message of a queued run that run is cancelled.

    `revision` as in `Edit`. Outcome: `Retracted`, `Missing`, `Stale`, `Consumed`.
    """

    scope: Scope
    thread_id: ThreadId
    message_id: MessageId
    revision: int | None = None


@final
class Reorder(msgspec.Struct, frozen=True, kw_only=True):
    """Put everything that is pending in a thread into another order. Each message gets a new revision.

    `revision`: that of the whole (`queue_revision`), as the caller knows it.
    Outcome: `Reordered`, `Missing` (the thread, or a message that is unknown), `Stale`, `Consumed`, `Incomplete`.
    """

    scope: Scope
    thread_id: ThreadId
    message_ids: tuple[MessageId, ...]
    revision: str | None = None


@final
class PatchState(msgspec.Struct, frozen=True, kw_only=True):
    """Change a thread's state by a merge patch; where `if_version` is given, only that version of it.

    A repetition is known by the version that it made and by that the patch changes nothing any more. A patch that
    changes nothing makes no version. Outcome: `StatePatched`, `Stale`, `Oversize`, or `Missing`.
    """

    scope: Scope
    thread_id: ThreadId
    patch: Values
    if_version: int | None = None


@final
class Hide(msgspec.Struct, frozen=True, kw_only=True):
    """Hide a message of the log from the thread's view; a call and its answers go together.

    One that is not read already stays as it is. Outcome: `Hidden`; `Missing` where the log has no such message; `Busy`
    while the run that made its calls is executing or waits for their answers.
    """

    scope: Scope
    thread_id: ThreadId
    message_id: MessageId


@final
class EditThread(msgspec.Struct, frozen=True, kw_only=True):
    """Change what is said about a thread; where `if_version` is given, only that version of it.

    A parent has to exist, with all its ancestors, and not to descend from the thread. A repetition is known by the
    version that it made. Outcome: `ThreadEdited`, `Stale`; `Missing` (the thread, or an ancestor); `Conflict` for a
    lineage that would be a circle.
    """

    scope: Scope
    thread_id: ThreadId
    patch: ThreadPatch
    if_version: int | None = None


@final
class DeleteThread(msgspec.Struct, frozen=True, kw_only=True):
    """Mark a thread as deleted: nobody reads it any more, and nothing is accepted for it. Its rows go by `Purge`.

    `force`: what is unfinished is cleared as by `Interrupt`; otherwise it refuses. `keeps_children`: threads that name
    it as their parent, or are about to, do not refuse it. Outcome: `ThreadDeleted`, `Busy`, `HasChildren`, or
    `Missing`.
    """

    scope: Scope
    thread_id: ThreadId
    force: bool = False
    keeps_children: bool = False


@final
class HideRun(msgspec.Struct, frozen=True, kw_only=True):
    """Leave a run that is done out of lists; its messages stay. Outcome: `RunHidden`, `Busy`, or `Missing`."""

    scope: Scope
    thread_id: ThreadId
    run_id: RunId


@final
class Discard(msgspec.Struct, frozen=True, kw_only=True):
    """Leave a run that was given up out of the dead letters, with a reason; it stays readable.

    Guarantees: what was discarded, or done again, stays as it is. Outcome: `Discarded`, `NotDead`, or `Missing`.
    """

    scope: Scope
    thread_id: ThreadId
    run_id: RunId
    reason: str
    by: str | None = None


@final
class NoteChild(msgspec.Struct, frozen=True, kw_only=True):
    """Log for a run that a child of it waits, if the child has not ended and this is not known.

    Outcome: `ChildNoted`; `Missing` where the run or its ticket is gone.
    """

    scope: Scope
    thread_id: ThreadId
    told: ChildWaits


# --- transitions over many threads ------------------------------------------------------------------------------------


class LeaseRef(msgspec.Struct, frozen=True, gc=False):
    """One claim, as its owner names it."""

    scope: Scope
    dispatch_id: DispatchId
    token: ClaimToken


@final
class Renew(msgspec.Struct, frozen=True, kw_only=True):
    """Extend leases to `lease_ms` from now, each judged by its token; at most `MAX_ROWS`. For shared stores.

    A claim whose thread was interrupted holds until its lease ends but is not extended. Outcome: `Renewed`.
    """

    leases: tuple[LeaseRef, ...]
    lease_ms: int


@final
class Reclaim(msgspec.Struct, frozen=True, kw_only=True):
    """Take back claims whose lease has ended, at most `limit`: suspects first, then longest expired first.

    A lease ending exactly now still holds. `abandoned` takes every claim there is, for a store that only one process
    may own, when that process has just opened it. Each counts as a crash; the only suspect of its consumer is charged
    an attempt, except in a `continued` reclaim, where an earlier slice has taken suspects back already. With a
    `consumer`, take back what that one holds and nothing else, whatever its leases say: its process is known to be
    dead.
    Outcome: `Reclaimed`.
    """

    limit: int = MAX_ROWS
    abandoned: bool = False
    consumer: ConsumerId | None = None
    continued: bool = False


class Total(msgspec.Struct, frozen=True, gc=False):
    """At most `limit` dispatches of these routes may be claimed at once, by whichever processes."""

    limit: int
    routes: tuple[Route, ...]


class Rooms(msgspec.Struct, frozen=True, gc=False):
    """How much of what a process can take: `routes` by name, and of suspects at most `suspects` in all. Routes that
    `shared` names have no room of their own: what is taken of them fills that of the other route. `totals`: limits that
    hold for all processes together, each under the name that they all have for it.
    """

    routes: dict[Route, int]
    suspects: int = 0
    shared: Mapping[Route, Route] = {}
    totals: Mapping[Route, Total] = {}

    def room_of(self, route: Route) -> Route:
        """The route whose room something of this one takes."""
        return self.shared.get(route, route)


@final
class Claim(msgspec.Struct, frozen=True, kw_only=True):
    """Take the next dispatch of up to `len(offers)` free threads, at most one each; earlier offers are taken first.

    Threads come by the priority of their best due dispatch, then by its age, over all routes with room; `by_age` looks
    at age alone. Suspects come first, as many as there is room for: those with the fewest attempts, then the most
    crashes, then longest not tried. Inside a thread the order is priority, then position. What a total of the rooms
    leaves no room for is not taken; who claims of a total while another one does takes nothing of it. Instead of being
    handed out, a run whose cancel is requested is closed, a dispatch of an older epoch is superseded, and one whose run
    or messages are gone is dead-lettered. Outcome: `ClaimedSome`.
    """

    offers: tuple[Offer, ...]
    rooms: Rooms
    by_age: bool = False


@final
class GiveUp(msgspec.Struct, frozen=True, kw_only=True):
    """Dead-letter what is next in its thread, free and queued on one of the routes, and has been due for longer than
    `after_ms`, of at most `MAX_ROWS` threads; what may not run at all is closed as a `Claim` does. Outcome: `GaveUp`.
    """

    routes: tuple[Route, ...]
    after_ms: int


@final
class Purge(msgspec.Struct, frozen=True, kw_only=True):
    """Remove what retention no longer keeps, at most `limit` runs and `limit` event rows.

    Runs go, with their dispatches and journals, when they have been done for longer than `run_retention_ms`; dead
    letters stay. Events go when they are older than `event_retention_ms`, but none from the first event of the
    thread's oldest unfinished run on; the thread remembers its first remaining event. Messages stay with their thread.
    `after_row` skips event rows that an earlier `Purge` of the same sweep had to leave. Threads that were to go some
    time after the end of their run are marked as deleted; of deleted threads at most `limit` rows go. Outcome:
    `Purged`.
    """

    run_retention_ms: int
    event_retention_ms: int
    limit: int = MAX_ROWS
    after_row: int = 0


class Handled(msgspec.Struct, frozen=True):
    """What became of a row of the outbox: it is delivered, or `refused` for good and why; one of a schedule may be
    `skipped`, because an earlier run was not done.
    """

    no: int
    refused: str | None = None
    skipped: bool = False


@final
class Delivered(msgspec.Struct, frozen=True, kw_only=True):
    """Remove rows of the outbox, at most `MAX_ROWS`. Where one was refused for good, the log of the thread it came from
    says so; a schedule remembers what became of its last instant.

    Rows that are gone already are passed over, so it may be asked again. Outcome: `DeliveredSome`.
    """

    rows: tuple[Handled, ...]


@final
class Tick(msgspec.Struct, frozen=True, kw_only=True):
    """Move on the schedules that are due, at most `limit`, and write an errand for each instant they are to serve.

    `max_attempts`: of the runs that are begun. Outcome: `Ticked`.
    """

    max_attempts: int
    limit: int = MAX_ROWS


class MakeSchedule(msgspec.Struct, frozen=True, tag="make"):
    """One that is there already with the same spec is the answer; another one of that name is a refusal."""

    spec: ScheduleSpec


class ChangeSchedule(msgspec.Struct, frozen=True, tag="change"):
    """Have it be otherwise, if it still is as it `was`. Its next instant is counted anew where its timing changes."""

    spec: ScheduleSpec
    was: ScheduleSpec


class PauseSchedule(msgspec.Struct, frozen=True, tag="pause"):
    name: str


class ResumeSchedule(msgspec.Struct, frozen=True, tag="resume"):
    """What fell due meanwhile is not made up for."""

    name: str


class RemoveSchedule(msgspec.Struct, frozen=True, tag="remove"):
    """What it has begun goes on."""

    name: str


class DeclareSchedules(msgspec.Struct, frozen=True, tag="declare"):
    """These are all that the program declares: they are made, changed or resumed; one that it declared before and does
    no more is paused.
    """

    specs: tuple[ScheduleSpec, ...]


ScheduleEdit = MakeSchedule | ChangeSchedule | PauseSchedule | ResumeSchedule | RemoveSchedule | DeclareSchedules


@final
class EditSchedules(msgspec.Struct, frozen=True, kw_only=True):
    """Change the schedules of a scope. One that the program declares may be paused and resumed; the rest of it only the
    program changes.

    Outcome: `SchedulesEdited`.
    """

    scope: Scope
    edit: ScheduleEdit


@final
class Mend(msgspec.Struct, frozen=True, kw_only=True):
    """Mend what breaks invariants, at most `MAX_ROWS` of it, each alone: what cannot be mended costs nothing else.

    Guarantees: every breach is looked for again before anything is changed, so that what is healthy, or was mended
    before, stays as it is. Outcome: `MendedSome`.
    """

    breaches: tuple[Breach, ...]


ThreadTransition = (
    SaveThread
    | Submit
    | Commit
    | Settle
    | Decide
    | Cancel
    | EditDispatch
    | Interrupt
    | Edit
    | Retract
    | Reorder
    | PatchState
    | Hide
    | EditThread
    | DeleteThread
    | HideRun
    | Discard
    | NoteChild
)
SetTransition = Renew | Reclaim | Claim | GiveUp | Delivered | EditSchedules | Tick | Purge | Mend
Transition = ThreadTransition | SetTransition

SET_ORDER: Final[dict[type[object], int]] = {
    Renew: 1, Reclaim: 2, Claim: 3, GiveUp: 4, Delivered: 5, EditSchedules: 6, Tick: 7, Purge: 8, Mend: 9,
}  # fmt: skip
"""The transitions over many threads, and their order behind those of one thread in a batch."""


# --- outcomes ---------------------------------------------------------------------------------------------------------


class Missing(msgspec.Struct, frozen=True):
    """Nothing has that id; nothing was written."""

    what: Literal["thread", "run", "dispatch", "message", "ticket"]
    id: str
    appended: tuple[Appended, ...] = ()


class Conflict(msgspec.Struct, frozen=True):
    """The id is taken by something that differs; nothing was written."""

    what: Literal["thread", "run", "dispatch", "message", "lineage"]
    id: str
    appended: tuple[Appended, ...] = ()


class Known(msgspec.Struct, frozen=True):
    """The same messages were accepted before, and no run of theirs is kept; nothing was written.

    `run_id`: the run that the first of them came with, None where they came with none.
    """

    message_id: MessageId
    run_id: RunId | None
    appended: tuple[Appended, ...] = ()


class Full(msgspec.Struct, frozen=True):
    """The thread's queue, or what is `pending` in it, is at its bound; nothing was written."""

    limit: int
    pending: bool = False
    appended: tuple[Appended, ...] = ()


class Busy(msgspec.Struct, frozen=True):
    """The thread is in the hands of this run, or has work that is not due yet; nothing was written."""

    run_id: RunId | None
    appended: tuple[Appended, ...] = ()


class NotOpen(msgspec.Struct, frozen=True):
    """The run that a message is for has ended, or is to stop; without one, none executes. Nothing was written."""

    run: Run | None
    appended: tuple[Appended, ...] = ()


class NotWaiting(msgspec.Struct, frozen=True):
    """The run that a message is to resume does not wait for anybody; without one, none does. Nothing was written."""

    run: Run | None
    appended: tuple[Appended, ...] = ()


class Blocked(msgspec.Struct, frozen=True):
    """A pending message that is a barrier would be passed over; nothing was written."""

    message_id: MessageId
    appended: tuple[Appended, ...] = ()


class Consumed(msgspec.Struct, frozen=True):
    """The message's fate is decided; nothing was written."""

    message_id: MessageId
    fate: Literal["consumed"] | FinalFate
    appended: tuple[Appended, ...] = ()


class Incomplete(msgspec.Struct, frozen=True):
    """An order names some messages twice, or not all that are pending; nothing was written."""

    missing: tuple[MessageId, ...]
    appended: tuple[Appended, ...] = ()


class Gone(msgspec.Struct, frozen=True):
    """The thread was deleted, and its id is not used again; nothing was written."""

    thread_id: ThreadId
    appended: tuple[Appended, ...] = ()


class HasChildren(msgspec.Struct, frozen=True):
    """A thread names it as its parent, or is to be made so by an errand that is on its way: one of those; nothing was
    written.
    """

    child: ThreadId
    appended: tuple[Appended, ...] = ()


class Stale(msgspec.Struct, frozen=True):
    """It was asked of another version than the one there is; nothing was written."""

    version: int | str
    appended: tuple[Appended, ...] = ()


class Oversize(msgspec.Struct, frozen=True):
    """The state would be larger than a state may be; nothing was written."""

    size: int
    appended: tuple[Appended, ...] = ()


class LeaseLost(msgspec.Struct, frozen=True):
    """The token no longer proves a claim, or the thread was interrupted; nothing was written."""

    reason: Literal["not_claimed", "other_owner", "interrupted", "missing"]
    appended: tuple[Appended, ...] = ()


class Failed(msgspec.Struct, frozen=True):
    """This item alone could not be applied, through damage or a bug; nothing of it was written."""

    error: Exception
    appended: tuple[Appended, ...] = ()


class Deferred(msgspec.Struct, frozen=True):
    """Another process is writing this thread; nothing was written. To be asked again shortly, which the combiner does:
    nobody else sees this outcome. Only a store that several processes share answers with it.
    """

    appended: tuple[Appended, ...] = ()


class ThreadSaved(msgspec.Struct, frozen=True):
    created: bool
    appended: tuple[Appended, ...] = ()


class Submitted(msgspec.Struct, frozen=True, gc=False):
    """Stored. `run` took the messages: the one that the submit names, or the waiting one that goes on with them.

    `claimed` is what the offer won: this run, or an older one of the thread, or None. `ready_in_ms`: in how long the
    thread has something to claim, 0 for now; None while it is claimed or its queue is empty.
    """

    run: Run
    dispatch: Dispatch
    claimed: Claimed | None
    ready_in_ms: int | None
    appended: tuple[Appended, ...] = ()
    interrupted: Interrupted | None = None
    """What it cleared away, in mode `interrupt`."""


class Staged(msgspec.Struct, frozen=True, gc=False):
    """The messages are stored and wait for this run, which is executed by this dispatch, or will be."""

    run: Run
    dispatch: Dispatch
    entries: tuple[Pending, ...]
    appended: tuple[Appended, ...] = ()


class Replayed(msgspec.Struct, frozen=True):
    """The same was accepted before: its run, and its dispatch while it is still kept."""

    run: Run
    dispatch: Dispatch | None
    appended: tuple[Appended, ...] = ()


class Committed(msgspec.Struct, frozen=True, gc=False):
    """Durable. `cancel_requested`: somebody asked this run to stop. `taken`: messages that came to the run with it.
    `pending`: how many it would take at its next step.
    """

    cancel_requested: bool
    last_message_seq: int
    taken: tuple[Message, ...] = ()
    repeated: bool = False
    """It had been committed before; whoever reads the thread may not have been given its events."""
    appended: tuple[Appended, ...] = ()
    pending: int = 0


class Continued(msgspec.Struct, frozen=True, gc=False):
    """It is no end: the run, as it now is, has taken these messages and goes on under its claim."""

    run: Run
    taken: tuple[Message, ...]
    pending: int = 0
    repeated: bool = False
    """As in `Committed`."""
    appended: tuple[Appended, ...] = ()


class Settled(msgspec.Struct, frozen=True, gc=False):
    """The claim is over: the records as they now are, the claim the offer won, and `ready_in_ms` as in `Submitted`."""

    run: Run
    dispatch: Dispatch
    claimed: Claimed | None
    ready_in_ms: int | None
    repeated: bool = False
    """As in `Committed`."""
    appended: tuple[Appended, ...] = ()


class Decided(msgspec.Struct, frozen=True):
    """Each ticket as it is now, in the order of the rulings; `duplicates` says of each whether it had been decided so
    before. `dispatch`: that with which the run goes on, if this queued it; `ready_in_ms` as in `Submitted`.
    """

    run: Run
    tickets: tuple[Ticket, ...]
    duplicates: tuple[bool, ...]
    dispatch: Dispatch | None
    ready_in_ms: int | None
    pended: bool = False
    """A message about it waits for the run."""
    appended: tuple[Appended, ...] = ()


class Undecided(msgspec.Struct, frozen=True):
    """A ticket was closed before, in another way, or its time is over: none was decided. `run` as it is now, which the
    expiry of the ticket may have moved.
    """

    ticket: Ticket
    run: Run
    ready_in_ms: int | None
    appended: tuple[Appended, ...] = ()


class StatePatched(msgspec.Struct, frozen=True):
    """The state as it is now."""

    state: ThreadState
    appended: tuple[Appended, ...] = ()


class Hidden(msgspec.Struct, frozen=True):
    """The spans that were made, in the order of the log; none where the message was not read already."""

    spans: tuple[Span, ...]
    appended: tuple[Appended, ...] = ()


class ThreadEdited(msgspec.Struct, frozen=True):
    """The version of what is said about the thread now."""

    version: int
    appended: tuple[Appended, ...] = ()


class ThreadDeleted(msgspec.Struct, frozen=True):
    """Marked. `cleared`: what was unfinished, where there was something. `repeated`: it had been deleted before."""

    cleared: Interrupted | None = None
    repeated: bool = False
    appended: tuple[Appended, ...] = ()


class RunHidden(msgspec.Struct, frozen=True):
    run: Run
    appended: tuple[Appended, ...] = ()


class Discarded(msgspec.Struct, frozen=True):
    """The run as it is now. `repeated`: it had been discarded before, perhaps for another reason."""

    run: Run
    repeated: bool = False
    appended: tuple[Appended, ...] = ()


class NotDead(msgspec.Struct, frozen=True):
    """The run was not given up, or is done again already; nothing was written."""

    run: Run
    appended: tuple[Appended, ...] = ()


class ChildNoted(msgspec.Struct, frozen=True):
    appended: tuple[Appended, ...] = ()


class CancelResult(msgspec.Struct, frozen=True):
    """`stopped`: it was queued or waiting, or had ended. `requested`: its owner has been asked, now or earlier."""

    state: Literal["stopped", "requested"]
    run: Run
    appended: tuple[Appended, ...] = ()


class DispatchEdited(msgspec.Struct, frozen=True):
    """As it is now, with its run; `ready_in_ms` as in `Submitted`."""

    run: Run
    dispatch: Dispatch
    ready_in_ms: int | None
    appended: tuple[Appended, ...] = ()


class DispatchMoved(msgspec.Struct, frozen=True):
    """The dispatch is not, or no more, where it would have to be for that; nothing was written."""

    dispatch_id: DispatchId
    appended: tuple[Appended, ...] = ()


class Interrupted(msgspec.Struct, frozen=True):
    """The epoch in force, the claim that must still end, what was superseded, in claim order, and what had waited."""

    epoch: int
    active: Dispatch | None
    superseded: tuple[Dispatch, ...]
    ended: tuple[Run, ...] = ()
    appended: tuple[Appended, ...] = ()


class Edited(msgspec.Struct, frozen=True):
    """The message as it is now. `pending` None: it belongs to a queued run."""

    message: Message
    revision: int
    pending: Pending | None
    appended: tuple[Appended, ...] = ()


class Retracted(msgspec.Struct, frozen=True):
    """It will not be taken. `cancelled`: its run, where it was the last message of that."""

    message_id: MessageId
    cancelled: Run | None = None
    appended: tuple[Appended, ...] = ()


class Reordered(msgspec.Struct, frozen=True):
    """Everything pending, in its order."""

    entries: tuple[Pending, ...]
    appended: tuple[Appended, ...] = ()


class Renewal(msgspec.Struct, frozen=True):
    """What holds for one claim. `lease_in_ms` None: it is lost. `stop`: its run was asked to stop.

    `extended`: False for the claim of an interrupted thread, which ends when its lease does.
    """

    dispatch_id: DispatchId
    lease_in_ms: int | None
    stop: bool
    extended: bool = False


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

    `due_left`: when every slot is taken, how many more threads have something due on routes that still have room,
    counted up to `MAX_ROWS`. With a slot left it is 0: what is due and was not claimed is damaged, or has no room.
    `next_due_in_ms`: with nothing due left, in how long the next thing of these routes could be claimed, or a lease
    ends; None when nothing waits for time. `is_held_up`: something was left for another claim that was under way, and
    may have left it too: it is to be looked at again soon.
    """

    claims: tuple[Claimed, ...]
    closed: tuple[Closed, ...]
    due_left: int
    next_due_in_ms: int | None
    is_held_up: bool = False
    appended: tuple[Appended, ...] = ()


class GaveUp(msgspec.Struct, frozen=True):
    """What was given up, or closed on the way; `more` may be overdue. `next_in_ms`: when the next one will be, as far
    as is known.
    """

    closed: tuple[Closed, ...]
    more: bool
    next_in_ms: int | None = None
    appended: tuple[Appended, ...] = ()


class Purged(msgspec.Struct, frozen=True):
    """How many runs and events were removed, and rows of deleted threads; `more` may remain, behind `last_row` where
    event rows were left. `deleted`: threads whose time was over.
    """

    runs: int
    events: int
    more: bool
    last_row: int = 0
    rows: int = 0
    deleted: int = 0
    appended: tuple[Appended, ...] = ()


class DeliveredSome(msgspec.Struct, frozen=True):
    """How many rows were removed."""

    count: int
    appended: tuple[Appended, ...] = ()


class Ticked(msgspec.Struct, frozen=True):
    """What was written into the outbox; `more` may be due, or else the next is in `next_due_in_ms`."""

    posted: tuple[OutboxRow, ...]
    more: bool
    next_due_in_ms: int | None
    appended: tuple[Appended, ...] = ()


class SchedulesEdited(msgspec.Struct, frozen=True):
    """The schedule as it is now, or as it was before it was removed; or why nothing was changed. `made`: it is new.

    `next_due_in_ms`: when the next one of all falls due.
    """

    schedule: Schedule | None
    refused: Literal["missing", "exists", "declared", "changed", "too_many"] | None = None
    made: bool = False
    next_due_in_ms: int | None = None
    appended: tuple[Appended, ...] = ()


class Mending(msgspec.Struct, frozen=True):
    """What became of one breach. `note`: what was done, or why nothing could be. `healthy`: it is none any more."""

    breach: Breach
    result: Literal["mended", "refused", "healthy"]
    note: str = ""


class MendedSome(msgspec.Struct, frozen=True):
    """One answer for each breach, in that order; the dispatches that were closed on the way, with their runs."""

    mendings: tuple[Mending, ...]
    closed: tuple[Closed, ...] = ()
    appended: tuple[Appended, ...] = ()


Outcome = (
    Missing
    | Conflict
    | Known
    | Full
    | Busy
    | Gone
    | HasChildren
    | Stale
    | Oversize
    | NotOpen
    | NotWaiting
    | Blocked
    | Consumed
    | Incomplete
    | LeaseLost
    | Failed
    | Deferred
    | ThreadSaved
    | Submitted
    | Staged
    | Replayed
    | Committed
    | Continued
    | Settled
    | Decided
    | Undecided
    | StatePatched
    | Hidden
    | ThreadEdited
    | ThreadDeleted
    | RunHidden
    | Discarded
    | NotDead
    | ChildNoted
    | CancelResult
    | DispatchEdited
    | DispatchMoved
    | Interrupted
    | Edited
    | Retracted
    | Reordered
    | Renewed
    | Reclaimed
    | ClaimedSome
    | GaveUp
    | DeliveredSome
    | SchedulesEdited
    | Ticked
    | Purged
    | MendedSome
)
