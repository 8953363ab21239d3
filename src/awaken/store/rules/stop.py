"""Stopping: cancel asks, interrupt asks and clears.

Above: `apply`. Below: `ending`, which closes queued work.

Source: ADR 0012.
"""

from __future__ import annotations

from msgspec.structs import replace

from awaken.domain import server_event
from awaken.domain.clock import Instant
from awaken.domain.dispatch import CLAIMED, QUEUED, Dispatch
from awaken.domain.ids import DispatchId
from awaken.domain.log import Appended
from awaken.domain.run import CANCELLED, DONE, Run
from awaken.store.rules.ending import close_queued, finish, supersede_queued
from awaken.store.rules.facts import Changes, Facts, ThreadRow
from awaken.store.rules.pending import give_up
from awaken.store.rules.writing import Log, new_thread, set_ready, touch
from awaken.store.transitions import Cancel, CancelResult, DispatchMoved, Interrupt, Interrupted, Missing


def cancel(t: Cancel, facts: Facts, changes: Changes, now: Instant) -> CancelResult | Missing | DispatchMoved:
    thread, run, dispatch = facts.thread, facts.run, facts.dispatch_of_run
    if run is None or thread is None or run.thread_id != t.thread_id:
        return Missing("run", t.run_id)
    if t.dispatch_id is not None and not _is_open(t.dispatch_id, dispatch):
        return DispatchMoved(t.dispatch_id)
    if run.status is DONE:
        return CancelResult("stopped", run)
    claimed = dispatch is not None and dispatch.status is CLAIMED
    hides = t.hide and run.hide_requested_at is None
    if claimed and run.cancel_requested_at is not None and not hides:
        return CancelResult("requested", run)
    touch(thread, changes, now)
    if hides:
        run = replace(run, hide_requested_at=now)
    if claimed and run.cancel_requested_at is not None:
        changes.runs.append((thread, run))
        return CancelResult("requested", run)
    log = Log(thread, run.run_id, run.dispatch_id, now)
    if dispatch is not None and claimed:
        run = _request_cancel(dispatch, run, thread, changes, log)
        return CancelResult("requested", run, log.write(changes))
    if t.gave_up_after_ms is not None:
        log.add(server_event.timed_out(facts.claimed, t.gave_up_after_ms))
    if dispatch is not None and dispatch.status is QUEUED:
        closed = close_queued(dispatch, run, thread, facts, changes, log, t.cause)
        appended = log.write(changes)
        if facts.claimed is None:
            set_ready(thread, facts, now)
        assert closed.run is not None, "it was given"
        return CancelResult("stopped", closed.run, appended)
    # It waits, so that nothing executes it; or its dispatch is gone, in a restored or edited file.
    run = finish(run, CANCELLED, thread, facts, changes, log, cause=t.cause)
    changes.runs.append((thread, run))
    appended = log.write(changes)
    if facts.claimed is None and facts.left:
        set_ready(thread, facts, now)
    return CancelResult("stopped", run, appended)


def _is_open(dispatch_id: DispatchId, newest: Dispatch | None) -> bool:
    return newest is not None and newest.dispatch_id == dispatch_id and not newest.status.is_terminal


def interrupt(t: Interrupt, facts: Facts, changes: Changes, now: Instant) -> Interrupted:
    thread = facts.thread
    if thread is None:
        thread = new_thread(t.scope, t.thread_id, changes, now)
    elif t.id == thread.interrupt_id:
        active = facts.claimed
        return Interrupted(thread.epoch, active if active is not None and active.epoch < thread.epoch else None, ())
    else:
        touch(thread, changes, now)
    return clear(thread, facts, changes, now, t.id)


def clear(
    thread: ThreadRow, facts: Facts, changes: Changes, now: Instant, id: str | None, *, hides: bool = False
) -> Interrupted:
    """End everything that a thread has, but for the run that executes, which is asked to stop. `hides`: the messages of
    that run are hidden when it ends, or, where none executes, those of the one that waits.
    """
    thread.epoch += 1
    thread.interrupt_id = id
    appended = _clear_pending(thread, facts, changes, now)
    superseded: list[Dispatch] = []
    for dispatch, run in facts.queue:
        log = Log(thread, run.run_id, dispatch.dispatch_id, now)
        superseded.append(supersede_queued(dispatch, run, thread, facts, changes, log).dispatch)
        appended += log.write(changes)
    ended: list[Run] = []
    in_queue = {run.run_id for _, run in facts.queue}
    for waits in facts.waiting:
        if waits.run.run_id not in in_queue:
            log = Log(thread, waits.run.run_id, waits.run.dispatch_id, now)
            hidden = hides and facts.claimed is None and waits is facts.waiting[0]
            run = replace(waits.run, hide_requested_at=now) if hidden else waits.run
            ended.append(finish(run, CANCELLED, thread, facts, changes, log, cause="interrupted"))
            changes.runs.append((thread, ended[-1]))
            appended += log.write(changes)
    thread.ready = None
    active = facts.claimed
    if active is not None and facts.active is not None:
        log = Log(thread, facts.active.run_id, active.dispatch_id, now)
        log.add(server_event.interrupted(active))
        run = replace(facts.active, hide_requested_at=now) if hides else facts.active
        if run.cancel_requested_at is None:
            _request_cancel(active, run, thread, changes, log)
        elif hides:
            changes.runs.append((thread, run))
        appended += log.write(changes)
    return Interrupted(thread.epoch, active, tuple(superseded), tuple(ended), appended)


def _clear_pending(thread: ThreadRow, facts: Facts, changes: Changes, now: Instant) -> tuple[Appended, ...]:
    """Nobody takes any more what waits for a run, whichever that is."""
    rows: tuple[Appended, ...] = ()
    for run_id in dict.fromkeys([entry.run_id for entry in facts.pending]):
        log = Log(thread, run_id, None, now)
        for entry in facts.pending:
            if entry.run_id == run_id:
                give_up(entry, "superseded", "interrupted", thread, changes, log)
        rows += log.write(changes)
    return rows


def _request_cancel(dispatch: Dispatch, run: Run, thread: ThreadRow, changes: Changes, log: Log) -> Run:
    log.add(server_event.cancel_requested(dispatch))
    run = replace(run, cancel_requested_at=log.now, updated_at=log.now, updated_seq=log.last_seq)
    changes.runs.append((thread, run))
    return run
