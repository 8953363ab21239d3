"""The rules of the queue: what each transition of one thread does, given the rows it touches.

Above: every store loads the facts a transition names, calls its rule, and writes the changes; a store decides nothing
itself, so memory, SQLite and Postgres cannot disagree. Below: the tables of `domain`.
Holds: a rule reads nothing and waits for nothing. It changes the facts' thread row in place and records every other
write in `Changes`; a refusal records nothing.

Source: spec/stores.md 2; the design decisions named in `transitions`.
"""

from __future__ import annotations

from typing import Any, assert_never

import msgspec
from msgspec.structs import replace

from awaken.domain import dispatch as moves
from awaken.domain import server_event as say
from awaken.domain.clock import Instant
from awaken.domain.dispatch import Dispatch, DispatchStatus
from awaken.domain.event import EventRow, LoggedEvent
from awaken.domain.ids import MessageId, RunId, Scope, ThreadId
from awaken.domain.message import Message, Role, cancelled_tool_message, unanswered_calls
from awaken.domain.run import CANCELLED, Run, RunMove, RunStatus, SeqRange, Termination, Waiting, moved
from awaken.domain.thread import ThreadInfo
from awaken.store.contract import StoredMessage
from awaken.store.transitions import (
    Ack,
    Cancel,
    CancelResult,
    Claimed,
    Closed,
    Commit,
    Committed,
    Conflict,
    DeadLetter,
    Full,
    Interrupt,
    Interrupted,
    JournalEntry,
    LeaseLost,
    Missing,
    Offer,
    Outcome,
    Release,
    Renewal,
    Replayed,
    Retry,
    SaveThread,
    Settle,
    Settled,
    StepClosed,
    Submit,
    Submitted,
    ThreadSaved,
    ThreadTransition,
)


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


class Queued(msgspec.Struct, frozen=True):
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


class Facts(msgspec.Struct, kw_only=True):
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
    new_runs: list[tuple[Scope, Run]] = []
    runs: list[tuple[Scope, Run]] = []
    new_dispatches: list[tuple[Scope, Dispatch]] = []
    dispatches: list[tuple[Scope, Dispatch, Dispatch]] = []
    """Before and after; the state before is the guard of the write."""
    events: list[EventRow] = []
    journal: list[tuple[Scope, RunId, JournalEntry, Instant]] = []


def ready_key(priority: int, available_at: Instant, now: Instant) -> tuple[int, int, int]:
    """Orders queued dispatches by which should be the thread's scheduling key: due ones first, by priority; then the
    one that will be due first.

    A key written for a dispatch that was not due yet is not rewritten when a more urgent one falls due behind it:
    the thread is then found a little late among other threads, but `Claim` still takes its best dispatch.
    """
    return (0, priority, available_at) if available_at <= now else (1, available_at, priority)


def decide(t: ThreadTransition, facts: Facts, changes: Changes, now: Instant) -> Outcome:
    """What the transition does, by the rule for its kind."""
    match t:
        case Submit():
            return submit(t, facts, changes, now)
        case Settle():
            return settle(t, facts, changes, now)
        case Commit():
            return commit(t, facts, changes, now)
        case SaveThread():
            return save_thread(t, facts, changes, now)
        case Cancel():
            return cancel(t, facts, changes, now)
        case Interrupt():
            return interrupt(t, facts, changes, now)
        case _:
            assert_never(t)


# --- saving a thread --------------------------------------------------------------------------------------------------


def save_thread(t: SaveThread, facts: Facts, changes: Changes, now: Instant) -> ThreadSaved | Conflict:
    """Needs: thread, known."""
    thread = facts.thread
    if thread is not None and t.if_exists == "raise":
        return Conflict("thread", t.thread_id)
    if thread is not None and t.if_exists == "keep":
        return ThreadSaved(created=False)
    if facts.known:
        return Conflict("message", facts.known[0].message.id)
    created = thread is None
    if thread is None:
        thread = _new_thread(t.scope, t.thread_id, changes, now)
    else:
        _touch(thread, changes, now)
    thread.info = t.info
    log = _Log(thread, None, now)
    log.add(say.thread_saved(t.thread_id, t.info, created=created))
    for message in t.messages:
        _append(message, thread, None, changes, log, now)
    return ThreadSaved(created=created, appended=log.write(changes))


# --- submitting -------------------------------------------------------------------------------------------------------


def submit(t: Submit, facts: Facts, changes: Changes, now: Instant) -> Submitted | Replayed | Conflict | Missing | Full:
    """Needs: thread, claimed; unless `fresh_ids` run, dispatch, known, known_run; with a dedupe key deduped; with an
    offer tail where a turn is open and, on a free thread with a queue, next and ready.
    """
    refusal = _replay_of(t, facts)
    if refusal is not None:
        return refusal
    thread = facts.thread
    if thread is None:
        if not t.create_thread:
            return Missing("thread", t.thread_id)
        thread = _new_thread(t.scope, t.thread_id, changes, now)
    elif thread.queued >= t.max_queued:
        return Full(t.max_queued)
    else:
        _touch(thread, changes, now)
    known = {stored.message.id for stored in facts.known}
    messages = tuple(m for m in t.messages if m.id not in known) if known else t.messages
    thread.position += 1
    dispatch = Dispatch(
        dispatch_id=t.dispatch_id,
        thread_id=t.thread_id,
        run_id=t.run_id,
        status=DispatchStatus.QUEUED,
        priority=t.priority,
        position=thread.position,
        epoch=thread.epoch,
        available_at=now + t.delay_ms if t.available_at is None else t.available_at,
        created_at=now,
        updated_at=now,
        max_attempts=t.max_attempts,
        dedupe_key=t.dedupe_key,
    )
    log = _Log(thread, t.run_id, now)
    run = Run(
        run_id=t.run_id,
        thread_id=t.thread_id,
        agent_id=t.request.intent.agent_id,
        dispatch_id=t.dispatch_id,
        status=RunStatus.CREATED,
        request=t.request if not known else replace(t.request, input_message_ids=tuple(m.id for m in messages)),
        request_digest=t.digest,
        metadata=t.metadata,
        created_at=now,
        updated_at=now,
        first_event_seq=thread.event_seq + 1,
        updated_seq=thread.event_seq + 1,
    )
    log.add(say.queued(dispatch))
    free = facts.claimed is None
    own_key = ready_key(dispatch.priority, dispatch.available_at, now)
    rival = facts.next
    takes_own = free and own_key[0] == 0 and (rival is None or dispatch.priority < rival.dispatch.priority)
    if t.offer is not None and takes_own:
        own = Queued(dispatch, run, messages)
        claimed = _claim(t.scope, own, run, t.offer, thread, facts, changes, log, now, new=True)
        return Submitted(claimed.run, claimed.dispatch, claimed, None, log.write(changes))
    changes.new_runs.append((t.scope, run))
    changes.new_dispatches.append((t.scope, dispatch))
    for message in messages:
        changes.new_messages.append(MessageWrite(t.scope, t.thread_id, message, None, t.run_id, now))
    thread.queued += 1
    appended = log.write(changes)
    if t.offer is not None and free and rival is not None and rival.run is not None and _may_run(rival, thread):
        log = _Log(thread, rival.run.run_id, now)
        claimed = _claim(t.scope, rival, rival.run, t.offer, thread, facts, changes, log, now)
        return Submitted(run, dispatch, claimed, None, appended + log.write(changes))
    if free:
        present = (thread.ready_priority, thread.ready_at)
        if present[0] is None or present[1] is None or own_key < ready_key(present[0], present[1], now):
            thread.ready_priority, thread.ready_at = dispatch.priority, dispatch.available_at
    return Submitted(run, dispatch, None, thread.ready_at, appended)


def _replay_of(t: Submit, facts: Facts) -> Replayed | Conflict | None:
    earlier = facts.run
    if earlier is not None:
        if earlier.thread_id == t.thread_id and earlier.request_digest == t.digest:
            return Replayed(earlier, facts.dispatch)
        return Conflict("run", t.run_id)
    if facts.deduped is not None:
        return Replayed(facts.deduped, facts.deduped_dispatch)
    if facts.dispatch is not None:
        return Conflict("dispatch", t.dispatch_id)
    if facts.known and len(facts.known) == len(t.messages):
        if facts.known_run is None:
            return Conflict("message", facts.known[0].message.id)
        return Replayed(facts.known_run, None)
    return None


# --- claiming ---------------------------------------------------------------------------------------------------------


def claim_next(
    scope: Scope, offer: Offer, facts: Facts, changes: Changes, now: Instant
) -> tuple[Claimed | Closed, tuple[EventRow, ...]]:
    """Take `facts.next` of a free thread, or close it if it may not run any more (MB-062, cancel requested).

    Needs: thread, next, ready, tail.
    """
    thread, entry = facts.thread, facts.next
    assert thread is not None and entry is not None, "a claim starts from a thread with a due dispatch"
    _touch(thread, changes, now, active=False)
    log = _Log(thread, entry.dispatch.run_id, now)
    run = entry.run
    if run is not None and _may_run(entry, thread):
        claimed = _claim(scope, entry, run, offer, thread, facts, changes, log, now)
        return claimed, log.write(changes)
    if run is None or entry.lacks is not None or entry.damage is not None:
        closed = _bury_queued(scope, entry, thread, changes, log, now)
    elif run.cancel_requested_at is not None:
        closed = _close_queued(scope, entry.dispatch, run, thread, changes, log, now)
    else:
        closed = _supersede_queued(scope, entry.dispatch, run, thread, changes, log, now)
    _set_ready(thread, facts.ready)
    return closed, log.write(changes)


def _may_run(entry: Queued, thread: ThreadRow) -> bool:
    """False for what `claim_next` closes instead of handing it out."""
    return (
        entry.run is not None
        and entry.run.cancel_requested_at is None
        and entry.lacks is None
        and entry.damage is None
        and entry.dispatch.epoch >= thread.epoch
    )


def _claim(
    scope: Scope,
    entry: Queued,
    run: Run,
    offer: Offer,
    thread: ThreadRow,
    facts: Facts,
    changes: Changes,
    log: _Log,
    now: Instant,
    *,
    new: bool = False,
) -> Claimed:
    dispatch = moves.claim(
        entry.dispatch,
        consumer=offer.consumer,
        token=offer.token,
        instance_id=offer.instance_id,
        lease_until=now + offer.lease_ms,
        now=now,
    )
    resumed = run.started_at is not None
    span = run.input
    if not resumed:
        _close_open_turn(thread, facts.tail, changes, log, now)
        first = thread.message_seq + 1
        for message in entry.messages:
            if new:
                _append(message, thread, run.run_id, changes, log, now)
            else:
                thread.message_seq += 1
                changes.appended_messages.append((scope, thread.thread_id, message.id, thread.message_seq))
                log.add(say.message_committed(message, thread.thread_id, run.run_id, thread.message_seq))
        span = SeqRange(first, thread.message_seq) if thread.message_seq >= first else None
    log.add(say.submitted(dispatch))
    log.add(say.started(run, resumed=resumed))
    log.reset_stream(run)
    run = replace(
        run,
        status=moved(run, RunMove.START),
        started_at=run.started_at if resumed else now,
        input=span,
        stream_open=False,
        updated_at=now,
        updated_seq=log.next_seq - 1,
    )
    if new:
        changes.new_runs.append((scope, run))
        changes.new_dispatches.append((scope, dispatch))
    else:
        thread.queued -= 1
        changes.runs.append((scope, run))
        changes.dispatches.append((scope, entry.dispatch, dispatch))
    _set_ready(thread, None)
    return Claimed(scope, dispatch, run, resumed)


# --- the owner's writes -----------------------------------------------------------------------------------------------


def commit(t: Commit, facts: Facts, changes: Changes, now: Instant) -> Committed | LeaseLost | Conflict:
    """Needs: thread, dispatch, run; known when it brings messages."""
    thread, dispatch, run = facts.thread, facts.dispatch, facts.run
    lost = _lost(t, facts)
    if lost is not None:
        return lost
    assert thread is not None and dispatch is not None and run is not None
    if dispatch.epoch < thread.epoch:
        return LeaseLost("interrupted")
    if facts.known:
        return Conflict("message", facts.known[0].message.id)
    _touch(thread, changes, now, active=False)
    log = _Log(thread, run.run_id, now)
    run = _write_progress(t, run, thread, changes, log, now)
    if t.closes is not None and dispatch.attempt_count:
        changes.dispatches.append((t.scope, dispatch, replace(dispatch, attempt_count=0, updated_at=now)))
    if run is not facts.run:
        changes.runs.append((t.scope, replace(run, updated_at=now, updated_seq=log.next_seq - 1)))
    return Committed(run.cancel_requested_at is not None, thread.message_seq, log.write(changes))


def settle(t: Settle, facts: Facts, changes: Changes, now: Instant) -> Settled | LeaseLost | Conflict:
    """Needs: thread, dispatch, run; known when it brings messages; ready when something is queued; with an offer also
    next and, when the thread has an open turn, tail.
    """
    thread, dispatch, run = facts.thread, facts.dispatch, facts.run
    lost = _lost(t, facts)
    if lost is not None:
        return lost
    assert thread is not None and dispatch is not None and run is not None
    if facts.known:
        return Conflict("message", facts.known[0].message.id)
    _touch(thread, changes, now)
    log = _Log(thread, run.run_id, now)
    run = _write_progress(t, run, thread, changes, log, now)
    if t.closes is not None:
        dispatch = replace(dispatch, attempt_count=0)
    settled, run = _ended(t, dispatch, run, thread, log, now)
    run = replace(run, updated_at=now, updated_seq=log.next_seq - 1)
    changes.runs.append((t.scope, run))
    changes.dispatches.append((t.scope, facts.dispatch or dispatch, settled))
    appended = log.write(changes)
    claimed = None
    head = facts.next
    if settled.status is DispatchStatus.QUEUED:
        thread.queued += 1
        _requeue_ready(thread, settled, facts, now)
    elif t.offer is not None and head is not None and head.run is not None and _may_run(head, thread):
        log = _Log(thread, head.run.run_id, now)
        facts.tail += t.messages
        claimed = _claim(t.scope, head, head.run, t.offer, thread, facts, changes, log, now)
        appended += log.write(changes)
    else:
        _set_ready(thread, _with_next(facts))
    return Settled(run, settled, claimed, thread.ready_at, appended)


def _lost(t: Commit | Settle, facts: Facts) -> LeaseLost | None:
    dispatch = facts.dispatch
    if dispatch is None or facts.thread is None or facts.run is None or dispatch.thread_id != t.thread_id:
        return LeaseLost("missing")
    if dispatch.status is not DispatchStatus.CLAIMED:
        return LeaseLost("not_claimed")
    if dispatch.claim_token != t.token or dispatch.run_id != t.run_id:
        return LeaseLost("other_owner")
    return None


def _ended(t: Settle, dispatch: Dispatch, run: Run, thread: ThreadRow, log: _Log, now: Instant) -> tuple[Dispatch, Run]:
    """The dispatch and run after the ending, with the events that say so."""
    ending = t.ending
    log.reset_stream(run)
    if dispatch.epoch < thread.epoch:
        log.add(say.finished(run, CANCELLED))
        return moves.supersede(dispatch, now, "interrupted"), _finish(run, CANCELLED, now, _output(ending))
    if run.cancel_requested_at is not None and not isinstance(ending, Ack):
        log.add(say.finished(run, CANCELLED))
        return moves.cancel(dispatch, now), _finish(run, CANCELLED, now)
    match ending:
        case Ack(termination=termination, final_output=output):
            log.add(say.finished(run, termination))
            return moves.ack(dispatch, now), _finish(run, termination, now, output)
        case Retry(error=error, policy=policy, retry_after_ms=retry_after_ms):
            settled = moves.nack(dispatch, now, error, policy, retry_after_ms)
            return settled, _after_failure(settled, run, error, "retry_backoff", log, now)
        case DeadLetter(error=error):
            settled = moves.dead_letter(dispatch, now, error)
            return settled, _after_failure(settled, run, error, "", log, now)
        case Release(reason=reason):
            settled = moves.release(dispatch, now)
            log.add(say.rescheduled(settled, reason))
            return settled, replace(run, stream_open=False)


def _after_failure(settled: Dispatch, run: Run, error: str, reason: str, log: _Log, now: Instant) -> Run:
    if settled.status is DispatchStatus.QUEUED:
        log.add(say.rescheduled(settled, reason))
        return replace(run, stream_open=False)
    termination = Termination("error", detail=error)
    log.add(say.dead_lettered(settled))
    log.add(say.finished(run, termination))
    return _finish(run, termination, now)


def _write_progress(t: Commit | Settle, run: Run, thread: ThreadRow, changes: Changes, log: _Log, now: Instant) -> Run:
    """Append messages, events and journal; the run with its new totals, or the same object when nothing changed."""
    for entry in t.entries:
        if isinstance(entry, Message):
            _append(entry, thread, t.run_id, changes, log, now)
        else:
            log.add(entry)
    for step in t.journal:
        changes.journal.append((t.scope, t.run_id, step, now))
    if t.stream_open is not None and t.stream_open != run.stream_open:
        run = replace(run, stream_open=t.stream_open)
    if t.closes is not None:
        if t.closes.turn is not None:
            thread.open_turn = None
        run = _closed_step(run, t.closes)
    return run


def _closed_step(run: Run, closes: StepClosed) -> Run:
    return replace(run, steps=closes.steps, usage=closes.usage, closed_turn=closes.turn or run.closed_turn)


# --- stopping ---------------------------------------------------------------------------------------------------------


def cancel(t: Cancel, facts: Facts, changes: Changes, now: Instant) -> CancelResult | Missing:
    """Needs: thread, run, dispatch; for a queued dispatch, ready without it."""
    thread, run, dispatch = facts.thread, facts.run, facts.dispatch
    if run is None or thread is None or run.thread_id != t.thread_id:
        return Missing("run", t.run_id)
    if run.status is RunStatus.DONE:
        return CancelResult("stopped", run)
    if dispatch is not None and dispatch.status is DispatchStatus.CLAIMED:
        if run.cancel_requested_at is not None:
            return CancelResult("requested", run)
        _touch(thread, changes, now)
        log = _Log(thread, run.run_id, now)
        run = _request_cancel(t.scope, dispatch, run, changes, log, now)
        return CancelResult("requested", run, log.write(changes))
    _touch(thread, changes, now)
    log = _Log(thread, run.run_id, now)
    if dispatch is not None and dispatch.status is DispatchStatus.QUEUED:
        closed = _close_queued(t.scope, dispatch, run, thread, changes, log, now)
        if facts.claimed is None:
            _set_ready(thread, facts.ready)
        assert closed.run is not None
        return CancelResult("stopped", closed.run, log.write(changes))
    # An unfinished run without an open dispatch: a waiting run, or a restored backup. Nothing executes it.
    log.add(say.finished(run, CANCELLED))
    run = replace(_finish(run, CANCELLED, now), updated_at=now, updated_seq=log.next_seq - 1)
    changes.runs.append((t.scope, run))
    return CancelResult("stopped", run, log.write(changes))


def interrupt(t: Interrupt, facts: Facts, changes: Changes, now: Instant) -> Interrupted:
    """Needs: thread, claimed with run, queue."""
    thread = facts.thread
    if thread is None:
        thread = _new_thread(t.scope, t.thread_id, changes, now)
    else:
        _touch(thread, changes, now)
    thread.epoch += 1
    appended: tuple[EventRow, ...] = ()
    superseded: list[Dispatch] = []
    for dispatch, run in facts.queue:
        log = _Log(thread, run.run_id, now)
        superseded.append(_supersede_queued(t.scope, dispatch, run, thread, changes, log, now).dispatch)
        appended += log.write(changes)
    _set_ready(thread, None)
    active = facts.claimed
    if active is not None and facts.run is not None:
        log = _Log(thread, facts.run.run_id, now)
        log.add(say.interrupted(active))
        if facts.run.cancel_requested_at is None:
            _request_cancel(t.scope, active, facts.run, changes, log, now)
        appended += log.write(changes)
    return Interrupted(thread.epoch, active, tuple(superseded), appended)


def _request_cancel(scope: Scope, dispatch: Dispatch, run: Run, changes: Changes, log: _Log, now: Instant) -> Run:
    log.add(say.cancel_requested(dispatch))
    run = replace(run, cancel_requested_at=now, updated_at=now, updated_seq=log.next_seq - 1)
    changes.runs.append((scope, run))
    return run


def _close_queued(
    scope: Scope, dispatch: Dispatch, run: Run, thread: ThreadRow, changes: Changes, log: _Log, now: Instant
) -> Closed:
    """Cancel queued work: dispatch and run in one piece."""
    cancelled = moves.cancel(dispatch, now)
    log.reset_stream(run)
    log.add(say.cancelled(cancelled))
    run = replace(_finish(run, CANCELLED, now), updated_at=now, updated_seq=log.next_seq - 1)
    thread.queued -= 1
    changes.dispatches.append((scope, dispatch, cancelled))
    changes.runs.append((scope, run))
    return Closed(scope, cancelled, run)


def _supersede_queued(
    scope: Scope, dispatch: Dispatch, run: Run, thread: ThreadRow, changes: Changes, log: _Log, now: Instant
) -> Closed:
    superseded = moves.supersede(dispatch, now, "interrupted")
    log.reset_stream(run)
    log.add(say.superseded(superseded))
    run = replace(_finish(run, CANCELLED, now), updated_at=now, updated_seq=log.next_seq - 1)
    thread.queued -= 1
    changes.dispatches.append((scope, dispatch, superseded))
    changes.runs.append((scope, run))
    return Closed(scope, superseded, run)


def _bury_queued(scope: Scope, entry: Queued, thread: ThreadRow, changes: Changes, log: _Log, now: Instant) -> Closed:
    """Dead-letter a dispatch that can never run because a row it needs is gone (MBX-068, MBX-069)."""
    dispatch, run = entry.dispatch, entry.run
    if entry.damage is not None:
        error = entry.damage
    elif run is None:
        error = f"run {dispatch.run_id!r} not found for dispatch {dispatch.dispatch_id!r}"
    else:
        error = f"message {entry.lacks!r} not found for run {run.run_id!r}"
    buried = moves.dead_letter(dispatch, now, error)
    if run is not None:
        run = _after_failure(buried, run, error, "", log, now)
        run = replace(run, updated_at=now, updated_seq=log.next_seq - 1)
        changes.runs.append((scope, run))
    else:
        log.add(say.dead_lettered(buried))
    thread.queued -= 1
    changes.dispatches.append((scope, dispatch, buried))
    return Closed(scope, buried, run)


# --- leases -----------------------------------------------------------------------------------------------------------


def reclaim(scope: Scope, facts: Facts, changes: Changes, now: Instant) -> tuple[Closed, tuple[EventRow, ...]]:
    """Take back `facts.claimed`, whose lease has ended.

    Needs: thread, claimed, run, ready.
    """
    thread, dispatch, run = facts.thread, facts.claimed, facts.run
    assert thread is not None and dispatch is not None, "a reclaim starts from a claimed dispatch"
    _touch(thread, changes, now)
    log = _Log(thread, dispatch.run_id, now)
    if dispatch.epoch < thread.epoch:
        taken = moves.supersede(dispatch, now, "interrupted")
    elif run is None or run.cancel_requested_at is not None:
        taken = moves.cancel(dispatch, now)
    else:
        taken = moves.expire(dispatch, now)
    if run is not None and run.status is not RunStatus.DONE:
        log.reset_stream(run)
        if taken.status in (DispatchStatus.SUPERSEDED, DispatchStatus.CANCELLED):
            log.add(say.finished(run, CANCELLED))
            run = _finish(run, CANCELLED, now)
        else:
            error = taken.last_error or moves.LEASE_EXPIRED
            run = _after_failure(taken, run, error, "expired_lease_reclaimed", log, now)
        run = replace(run, updated_at=now, updated_seq=log.next_seq - 1)
        changes.runs.append((scope, run))
    changes.dispatches.append((scope, dispatch, taken))
    if taken.status is DispatchStatus.QUEUED:
        thread.queued += 1
        _requeue_ready(thread, taken, facts, now)
    else:
        _set_ready(thread, facts.ready)
    return Closed(scope, taken, run), log.write(changes)


def renew(
    dispatch: Dispatch | None, epoch: int, stop: bool, token: str, lease_ms: int, now: Instant
) -> tuple[Renewal | None, Dispatch | None]:
    """The answer for one lease (None: lost), and the dispatch to write when it was extended."""
    if dispatch is None or dispatch.status is not DispatchStatus.CLAIMED or dispatch.claim_token != token:
        return None, None
    if dispatch.epoch < epoch:
        return Renewal(dispatch.dispatch_id, dispatch.lease_until, stop=True), None
    extended = replace(dispatch, lease_until=now + lease_ms, updated_at=now)
    return Renewal(dispatch.dispatch_id, extended.lease_until, stop=stop), extended


# --- parts ------------------------------------------------------------------------------------------------------------


class _Log:
    """Collects the events one transition appends to one thread for one run, and gives them their seqs."""

    def __init__(self, thread: ThreadRow, run_id: RunId | None, now: Instant) -> None:
        self._thread = thread
        self._run_id = run_id
        self._now = now
        self._events: list[LoggedEvent] = []

    @property
    def next_seq(self) -> int:
        return self._thread.event_seq + len(self._events) + 1

    def add(self, event: LoggedEvent) -> None:
        self._events.append(event)

    def reset_stream(self, run: Run) -> None:
        """Void the text of a turn that will not be committed, before anything else is said about its run."""
        if run.stream_open:
            self.add(say.stream_reset("the turn was not completed; text after the last committed message is void"))

    def write(self, changes: Changes) -> tuple[EventRow, ...]:
        if not self._events:
            return ()
        thread = self._thread
        row = EventRow(
            thread.scope, thread.thread_id, self._run_id, thread.event_seq + 1, self._now, tuple(self._events)
        )
        thread.event_seq += len(self._events)
        changes.events.append(row)
        return (row,)


def _new_thread(scope: Scope, thread_id: ThreadId, changes: Changes, now: Instant) -> ThreadRow:
    thread = ThreadRow(scope=scope, thread_id=thread_id, info=ThreadInfo(), created_at=now, updated_at=now)
    changes.new_threads.append(thread)
    return thread


def _touch(thread: ThreadRow, changes: Changes, now: Instant, *, active: bool = True) -> None:
    """Have the thread row written; `active` moves it up in the list of recently used threads."""
    if active:
        thread.updated_at = now
    changes.threads.append(thread)


def _append(
    message: Message, thread: ThreadRow, run_id: RunId | None, changes: Changes, log: _Log, now: Instant
) -> None:
    """Append a new message to the conversation."""
    thread.message_seq += 1
    changes.new_messages.append(MessageWrite(thread.scope, thread.thread_id, message, thread.message_seq, run_id, now))
    if message.role is Role.ASSISTANT:
        thread.open_turn = thread.message_seq if message.tool_calls else None
    log.add(say.message_committed(message, thread.thread_id, run_id, thread.message_seq))


def _close_open_turn(thread: ThreadRow, tail: tuple[Message, ...], changes: Changes, log: _Log, now: Instant) -> None:
    """Answer the calls an earlier run left open, so that no unanswered call is ever sent to a model."""
    for call in unanswered_calls(tail):
        message_id = MessageId(f"cancelled.{thread.message_seq + 1}.{thread.event_seq + 1}")
        message = cancelled_tool_message(message_id, call, "cancelled: the run ended before this call was answered")
        _append(message, thread, None, changes, log, now)
    thread.open_turn = None


def _finish(run: Run, termination: Termination, now: Instant, output: str | None = None) -> Run:
    if termination.type == "suspended":
        return replace(run, status=moved(run, RunMove.WAIT), waiting=Waiting("external_event"))
    return replace(
        run,
        status=moved(run, RunMove.FINISH),
        termination=termination,
        final_output=output,
        finished_at=now,
        stream_open=False,
    )


def _output(ending: Any) -> str | None:
    return ending.final_output if isinstance(ending, Ack) else None


def _set_ready(thread: ThreadRow, key: tuple[int, Instant] | None) -> None:
    thread.ready_priority, thread.ready_at = key if key is not None else (None, None)


def _with_next(facts: Facts) -> tuple[int, Instant] | None:
    """The scheduling key of the queue including `facts.next`, which was not taken."""
    if facts.next is None:
        return facts.ready
    dispatch = facts.next.dispatch
    return dispatch.priority, dispatch.available_at


def _requeue_ready(thread: ThreadRow, dispatch: Dispatch, facts: Facts, now: Instant) -> None:
    """Set the key after a dispatch came back to the queue of a thread that is now free."""
    keys = [(dispatch.priority, dispatch.available_at)]
    if facts.next is not None:
        keys.append((facts.next.dispatch.priority, facts.next.dispatch.available_at))
    if facts.ready is not None:
        keys.append(facts.ready)
    _set_ready(thread, min(keys, key=lambda key: ready_key(key[0], key[1], now)))
