"""Stopping: cancel asks, interrupt asks and clears.

Above: `decide`. Below: `claim`, which closes queued work.
Source: the decision of that name; spec/stores.md 2.8.
"""

from __future__ import annotations

from msgspec.structs import replace

from awaken.domain import server_event as say
from awaken.domain.clock import Instant
from awaken.domain.dispatch import CLAIMED, QUEUED, Dispatch
from awaken.domain.ids import Scope
from awaken.domain.log import Appended
from awaken.domain.run import CANCELLED, DONE, Run
from awaken.store.rules.claim import close_queued, supersede_queued
from awaken.store.rules.facts import Changes, Facts
from awaken.store.rules.writing import Log, finish, new_thread, set_ready, touch
from awaken.store.transitions import Cancel, CancelResult, Interrupt, Interrupted, Missing


def cancel(t: Cancel, facts: Facts, changes: Changes, now: Instant) -> CancelResult | Missing:
    """Needs: thread, run, dispatch; for a queued dispatch, ready without it."""
    thread, run, dispatch = facts.thread, facts.run, facts.dispatch_of_run
    if run is None or thread is None or run.thread_id != t.thread_id:
        return Missing("run", t.run_id)
    if run.status is DONE:
        return CancelResult("stopped", run)
    if dispatch is not None and dispatch.status is CLAIMED:
        if run.cancel_requested_at is not None:
            return CancelResult("requested", run)
        touch(thread, changes, now)
        log = Log(thread, run.run_id, now)
        run = _request_cancel(t.scope, dispatch, run, changes, log)
        return CancelResult("requested", run, log.write(changes))
    touch(thread, changes, now)
    log = Log(thread, run.run_id, now)
    if dispatch is not None and dispatch.status is QUEUED:
        closed = close_queued(t.scope, dispatch, run, thread, changes, log, now)
        if facts.claimed is None:
            set_ready(thread, facts.ready)
        assert closed.run is not None
        return CancelResult("stopped", closed.run, log.write(changes))
    # An unfinished run without an open dispatch: a waiting run, or a restored backup. Nothing executes it.
    log.add(say.finished(run, CANCELLED))
    run = finish(run, CANCELLED, log)
    changes.runs.append((t.scope, run))
    return CancelResult("stopped", run, log.write(changes))


def interrupt(t: Interrupt, facts: Facts, changes: Changes, now: Instant) -> Interrupted:
    """Needs: thread, claimed with run, queue."""
    thread = facts.thread
    if thread is None:
        thread = new_thread(t.scope, t.thread_id, changes, now)
    else:
        touch(thread, changes, now)
    thread.epoch += 1
    appended: tuple[Appended, ...] = ()
    superseded: list[Dispatch] = []
    for dispatch, run in facts.queue:
        log = Log(thread, run.run_id, now)
        superseded.append(supersede_queued(t.scope, dispatch, run, thread, changes, log, now).dispatch)
        appended += log.write(changes)
    set_ready(thread, None)
    active = facts.claimed
    if active is not None and facts.run is not None:
        log = Log(thread, facts.run.run_id, now)
        log.add(say.interrupted(active))
        if facts.run.cancel_requested_at is None:
            _request_cancel(t.scope, active, facts.run, changes, log)
        appended += log.write(changes)
    return Interrupted(thread.epoch, active, tuple(superseded), appended)


def _request_cancel(scope: Scope, dispatch: Dispatch, run: Run, changes: Changes, log: Log) -> Run:
    log.add(say.cancel_requested(dispatch))
    run = replace(run, cancel_requested_at=log.now, updated_at=log.now, updated_seq=log.mark(run))
    changes.runs.append((scope, run))
    return run
