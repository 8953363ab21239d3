"""Taking the next dispatch of a free thread, or closing it when it may not run any more.

Above: `accept`, `owner` and the stores' set claim. Below: the table of moves.
Source: "claim offers"; spec/stores.md 2.4.
"""

from __future__ import annotations

from msgspec.structs import replace

from awaken.domain import dispatch as moves
from awaken.domain import server_event as say
from awaken.domain.clock import Instant
from awaken.domain.dispatch import Dispatch
from awaken.domain.ids import Scope
from awaken.domain.log import Appended
from awaken.domain.run import CANCELLED, DONE, Run, SeqRange, moved
from awaken.store.rules.facts import Changes, Facts, Queued, ThreadRow
from awaken.store.rules.writing import Log, after_failure, close_open_turn, finish, set_ready, touch
from awaken.store.transitions import Claimed, Closed, Offer


def claim_next(
    scope: Scope, offer: Offer, facts: Facts, changes: Changes, now: Instant
) -> tuple[Claimed | Closed, tuple[Appended, ...]]:
    """Take `facts.next` of a free thread, or close it if it may not run any more.

    Its cancel was requested, or a row it needs is gone; or, which only a restore or a hand edit can bring about, it is
    of an older epoch (MB-062) or its run has ended.

    Needs: thread, next, ready, tail.
    """
    thread, entry = facts.thread, facts.next
    assert thread is not None and entry is not None, "a claim starts from a thread with a due dispatch"
    touch(thread, changes, now, active=False)
    log = Log(thread, entry.dispatch.run_id, now)
    run = entry.run
    if run is not None and may_run(entry, thread):
        claimed = claim(scope, entry, run, offer, thread, facts, changes, log, now)
        return claimed, log.write(changes)
    if run is not None and run.status is DONE:
        closed = supersede_queued(scope, entry.dispatch, run, thread, changes, log, now, "its run has ended")
    elif run is None or entry.lacks is not None or entry.damage is not None:
        closed = _bury_queued(scope, entry, thread, changes, log, now)
    elif run.cancel_requested_at is not None:
        closed = close_queued(scope, entry.dispatch, run, thread, changes, log, now)
    else:
        closed = supersede_queued(scope, entry.dispatch, run, thread, changes, log, now)
    set_ready(thread, facts.ready)
    return closed, log.write(changes)


def may_run(entry: Queued, thread: ThreadRow) -> bool:
    """False for what `claim_next` closes instead of handing it out."""
    return (
        entry.run is not None
        and entry.run.status is not DONE
        and entry.run.cancel_requested_at is None
        and entry.lacks is None
        and entry.damage is None
        and entry.dispatch.epoch >= thread.epoch
    )


def claim(
    scope: Scope,
    entry: Queued,
    run: Run,
    offer: Offer,
    thread: ThreadRow,
    facts: Facts,
    changes: Changes,
    log: Log,
    now: Instant,
) -> Claimed:
    """Take a queued dispatch. A run that starts appends the messages that wait for it; one taken over has done so."""
    span = run.input
    if run.started_at is None:
        close_open_turn(thread, facts.tail, changes, log, now)
        first = thread.message_seq + 1
        for message in entry.messages:
            thread.message_seq += 1
            changes.appended_messages.append((scope, thread.thread_id, message.id, thread.message_seq))
            log.add(say.message_committed(message, thread.thread_id, run.run_id, thread.message_seq))
        span = SeqRange(first, thread.message_seq) if thread.message_seq >= first else None
    thread.queued -= 1
    claimed = take(scope, entry.dispatch, run, span, offer, thread, log, now)
    changes.runs.append((scope, claimed.run))
    changes.dispatches.append((scope, entry.dispatch, claimed.dispatch))
    return claimed


def take(
    scope: Scope,
    dispatch: Dispatch,
    run: Run,
    span: SeqRange | None,
    offer: Offer,
    thread: ThreadRow,
    log: Log,
    now: Instant,
) -> Claimed:
    """The dispatch in its new owner's hands and its run under way, with what is said of that; written by the caller."""
    dispatch = moves.claim(
        dispatch,
        consumer=offer.consumer,
        token=offer.token,
        instance_id=offer.instance_id,
        lease_until=now + offer.lease_ms,
        now=now,
    )
    resumed = run.started_at is not None
    log.add(say.submitted(dispatch))
    log.add(say.started(run, resumed=resumed))
    log.reset_stream(run)
    run = replace(
        run,
        status=moved(run, "start"),
        started_at=run.started_at if resumed else now,
        input=span,
        stream_open=False,
        updated_at=now,
        updated_seq=log.mark(run),
    )
    set_ready(thread, None)
    return Claimed(scope, dispatch, run, resumed, thread.queued)


def close_queued(
    scope: Scope, dispatch: Dispatch, run: Run, thread: ThreadRow, changes: Changes, log: Log, now: Instant
) -> Closed:
    """Cancel queued work: dispatch and run in one piece."""
    cancelled = moves.cancel(dispatch, now)
    log.reset_stream(run)
    log.add(say.cancelled(cancelled))
    run = finish(run, CANCELLED, log)
    thread.queued -= 1
    changes.dispatches.append((scope, dispatch, cancelled))
    changes.runs.append((scope, run))
    return Closed(scope, cancelled, run)


def supersede_queued(
    scope: Scope,
    dispatch: Dispatch,
    run: Run,
    thread: ThreadRow,
    changes: Changes,
    log: Log,
    now: Instant,
    reason: str = "interrupted",
) -> Closed:
    """Close queued work with its run. A run that has ended already (a restore, a hand edit) stays as it is."""
    superseded = moves.supersede(dispatch, now, reason)
    thread.queued -= 1
    changes.dispatches.append((scope, dispatch, superseded))
    if run.status is not DONE:
        log.reset_stream(run)
        log.add(say.superseded(superseded))
        run = finish(run, CANCELLED, log)
        changes.runs.append((scope, run))
    return Closed(scope, superseded, run)


def _bury_queued(scope: Scope, entry: Queued, thread: ThreadRow, changes: Changes, log: Log, now: Instant) -> Closed:
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
        run = after_failure(buried, run, error, "", log)
        changes.runs.append((scope, run))
    else:
        log.add(say.dead_lettered(buried))
    thread.queued -= 1
    changes.dispatches.append((scope, dispatch, buried))
    return Closed(scope, buried, run)
