"""What only the owner of a claim may write: commits, and the settlement that ends it.

Above: `decide`. Below: `claim`, where a settlement's offer takes the thread's next dispatch.
Holds: the claim token is the fence; an interrupt since the claim refuses commits and closes what is settled.
Source: spec/stores.md 2.5 to 2.8.
"""

from __future__ import annotations

from msgspec.structs import replace

from awaken.domain import dispatch as moves
from awaken.domain import server_event as say
from awaken.domain.clock import Instant
from awaken.domain.dispatch import CLAIMED, QUEUED, Dispatch
from awaken.domain.message import Message
from awaken.domain.run import CANCELLED, Run
from awaken.store.rules.claim import claim, may_run
from awaken.store.rules.facts import Changes, Facts, ThreadRow
from awaken.store.rules.writing import (
    Log,
    after_failure,
    append,
    finish,
    output_of,
    requeue_ready,
    set_ready,
    touch,
    with_next,
)
from awaken.store.transitions import (
    Ack,
    Commit,
    Committed,
    Conflict,
    DeadLetter,
    LeaseLost,
    Release,
    Retry,
    Settle,
    Settled,
    StepClosed,
)


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
    touch(thread, changes, now, active=False)
    log = Log(thread, run.run_id, now)
    run = _write_progress(t, run, thread, changes, log, now)
    if t.closes is not None and dispatch.attempt_count:
        changes.dispatches.append((t.scope, dispatch, replace(dispatch, attempt_count=0, updated_at=now)))
    if run is not facts.run:
        changes.runs.append((t.scope, replace(run, updated_at=now, updated_seq=log.mark(run))))
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
    touch(thread, changes, now)
    log = Log(thread, run.run_id, now)
    run = _write_progress(t, run, thread, changes, log, now)
    if t.closes is not None:
        dispatch = replace(dispatch, attempt_count=0)
    settled, run = _ended(t, dispatch, run, thread, log, now)
    changes.runs.append((t.scope, run))
    changes.dispatches.append((t.scope, facts.dispatch or dispatch, settled))
    appended = log.write(changes)
    claimed = None
    head = facts.next
    if settled.status is QUEUED:
        thread.queued += 1
        requeue_ready(thread, settled, facts, now)
    elif t.offer is not None and head is not None and head.run is not None and may_run(head, thread):
        log = Log(thread, head.run.run_id, now)
        facts.tail += t.messages
        claimed = claim(t.scope, head, head.run, t.offer, thread, facts, changes, log, now)
        appended += log.write(changes)
    else:
        set_ready(thread, with_next(facts))
    return Settled(run, settled, claimed, thread.ready_at, appended)


def _lost(t: Commit | Settle, facts: Facts) -> LeaseLost | None:
    dispatch = facts.dispatch
    if dispatch is None or facts.thread is None or facts.run is None or dispatch.thread_id != t.thread_id:
        return LeaseLost("missing")
    if dispatch.status is not CLAIMED:
        return LeaseLost("not_claimed")
    if dispatch.claim_token != t.token or dispatch.run_id != t.run_id:
        return LeaseLost("other_owner")
    return None


def _ended(t: Settle, dispatch: Dispatch, run: Run, thread: ThreadRow, log: Log, now: Instant) -> tuple[Dispatch, Run]:
    """The dispatch and run after the ending, with the events that say so."""
    ending = t.ending
    log.reset_stream(run)
    if dispatch.epoch < thread.epoch:
        log.add(say.finished(run, CANCELLED))
        return moves.supersede(dispatch, now, "interrupted"), finish(run, CANCELLED, log, output_of(ending))
    if run.cancel_requested_at is not None and not isinstance(ending, Ack):
        log.add(say.finished(run, CANCELLED))
        return moves.cancel(dispatch, now), finish(run, CANCELLED, log)
    match ending:
        case Ack(termination=termination, final_output=output):
            log.add(say.finished(run, termination))
            return moves.ack(dispatch, now), finish(run, termination, log, output)
        case Retry(error=error, policy=policy, retry_after_ms=retry_after_ms):
            settled = moves.nack(dispatch, now, error, policy, retry_after_ms)
            return settled, after_failure(settled, run, error, "retry_backoff", log)
        case DeadLetter(error=error):
            settled = moves.dead_letter(dispatch, now, error)
            return settled, after_failure(settled, run, error, "", log)
        case Release(reason=reason):
            settled = moves.release(dispatch, now)
            log.add(say.rescheduled(settled, reason))
            return settled, replace(run, stream_open=False, updated_at=now, updated_seq=log.mark(run))


def _write_progress(t: Commit | Settle, run: Run, thread: ThreadRow, changes: Changes, log: Log, now: Instant) -> Run:
    """Append messages, events and journal; the run with its new totals, or the same object when nothing changed."""
    for entry in t.entries:
        if type(entry) is Message:
            append(entry, thread, t.run_id, changes, log, now)
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
