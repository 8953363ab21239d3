"""How a run ends, wherever it ends: one `finish`, and what leads to it.

Above: the rules that settle, cancel, interrupt, reclaim or bury. Below: the tables of `domain`.
Holds: the run's last event and its record are written together. What a run leaves behind when it ends is counted on its
thread here, and nowhere else: a turn whose calls nobody answered is closed by the next claim that starts a run, and
messages that still wait for the run are queued as runs. What a run brought and nobody ever took gets its fate.

Source: ADR 0011, 0012, 0014, 0033, 0037.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from msgspec.structs import replace

from awaken.domain import dispatch as moves
from awaken.domain import server_event
from awaken.domain.clock import Instant
from awaken.domain.dispatch import QUEUED, Dispatch
from awaken.domain.ids import MessageId
from awaken.domain.run import CANCELLED, DONE, WAITING, Run, Termination, moved
from awaken.store.rules.child import stop_children, tell_parent
from awaken.store.rules.facts import Changes, Facts, ThreadRow
from awaken.store.rules.pending import end_brought, leave
from awaken.store.rules.span import hide_own
from awaken.store.rules.ticket import withdraw_at_end
from awaken.store.rules.writing import Log
from awaken.store.transitions import Closed

EPHEMERAL_MS: Final = 60_000
"""How long a thread that is not to be kept stays after the end of its run, so that who waited for that can read it."""


def finish(
    run: Run,
    termination: Termination,
    thread: ThreadRow,
    facts: Facts,
    changes: Changes,
    log: Log,
    *,
    output: str | None = None,
    output_message_ids: Sequence[MessageId] = (),
    cause: str | None = None,
    superseded: bool = False,
) -> Run:
    """Log the end of the run; the run as it is to be written then."""
    if run.open_tickets:
        stop_children(run, termination, facts, log)
        run = withdraw_at_end(run, termination, thread, facts, changes, log)
    if run.hide_requested_at is not None:
        run = hide_own(run, thread, facts, changes, log)
    leave(run, thread, facts, changes, log)
    if superseded:
        log.add(server_event.superseded(run, termination, cause or "interrupted"))
    else:
        log.add(server_event.ended(run, termination, output=output, output_message_ids=output_message_ids, cause=cause))
    if run.status is WAITING:
        thread.waiting -= 1
    if run.open_turn is not None:
        thread.left_open += 1
    if run.request.options.on_completion == "delete":
        expect_deletion(thread, changes, log.now)
    ended = replace(
        run,
        status=moved(run, "finish"),
        termination=termination,
        final_output=output,
        output_message_ids=tuple(output_message_ids),
        waiting=None,
        finished_at=log.now,
        stream_open=False,
        updated_at=log.now,
        updated_seq=log.last_seq,
    )
    if ended.request.trace.child is not None:
        tell_parent(ended, log)
    return ended


def expect_deletion(thread: ThreadRow, changes: Changes, now: Instant) -> None:
    """The thread goes some time later, unless it has unfinished work then."""
    thread.delete_at = now + EPHEMERAL_MS
    changes.marks.append(thread)


def executed(run: Run, dispatch: Dispatch, log: Log) -> Run:
    """The run with the time for which the dispatch, whose claim ends now, was claimed."""
    started_at = log.now if dispatch.tried_at is None else dispatch.tried_at
    return replace(run, executing_ms=run.executing_ms + max(log.now - started_at, 0))


def after_failure(
    settled: Dispatch,
    run: Run,
    reason: str,
    thread: ThreadRow,
    facts: Facts,
    changes: Changes,
    log: Log,
    failure: str | None = None,
) -> Run:
    """The run of a dispatch that did not come to its end: back in the queue with it, or ended because it was given up.
    `failure`: the class of what it failed with; None where it did not fail now.
    """
    if failure is not None:
        run = replace(run, failed_at=run.failed_at or log.now, error_class=failure)
    if settled.status is QUEUED:
        log.add(server_event.rescheduled(settled, reason))
        return replace(run, stream_open=False, updated_at=log.now, updated_seq=log.last_seq)
    log.add(server_event.dead_lettered(settled, run.error_class))
    termination = Termination("error", detail=settled.last_error)
    return replace(finish(run, termination, thread, facts, changes, log, cause="dead_letter"), dead_lettered=True)


def close_queued(
    dispatch: Dispatch,
    run: Run,
    thread: ThreadRow,
    facts: Facts,
    changes: Changes,
    log: Log,
    cause: str | None = None,
) -> Closed:
    """Cancel queued work: dispatch and run in one piece."""
    cancelled = moves.cancel(dispatch, log.now)
    end_brought(dispatch, run, "cancelled", thread, changes, log.now)
    log.reset_stream(run)
    run = finish(run, CANCELLED, thread, facts, changes, log, cause=cause)
    thread.queued -= 1
    changes.dispatches.append((thread, dispatch, cancelled))
    changes.runs.append((thread, run))
    return Closed(thread.scope, cancelled, run)


def supersede_queued(
    dispatch: Dispatch,
    run: Run,
    thread: ThreadRow,
    facts: Facts,
    changes: Changes,
    log: Log,
    cause: str = "interrupted",
) -> Closed:
    """Close queued work with its run. A run that has ended already (a restore, a hand edit) stays as it is."""
    superseded = moves.supersede(dispatch, log.now, cause)
    thread.queued -= 1
    changes.dispatches.append((thread, dispatch, superseded))
    end_brought(dispatch, run, "superseded", thread, changes, log.now)
    if run.status is not DONE:
        log.reset_stream(run)
        run = finish(run, CANCELLED, thread, facts, changes, log, superseded=True, cause=cause)
        changes.runs.append((thread, run))
    return Closed(thread.scope, superseded, run)
