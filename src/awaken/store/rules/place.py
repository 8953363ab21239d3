"""Giving what is queued another place: a priority, an instant.

Above: `apply`. Below: `writing`, for the thread's scheduling key.
Holds: only what is queued is changed, so nothing that executes is ever put elsewhere. The order of the thread, and its
place among others, follow in the same transaction.

Source: docs/howto/operate.md.
"""

from __future__ import annotations

from msgspec.structs import replace

from awaken.domain import dispatch as moves
from awaken.domain import server_event
from awaken.domain.clock import Instant
from awaken.domain.dispatch import QUEUED, Dispatch
from awaken.store.rules.facts import Changes, Facts
from awaken.store.rules.writing import Log, ready_in_ms, set_ready, touch
from awaken.store.transitions import DispatchEdited, DispatchMoved, EditDispatch, Missing

REASON = "place_changed"
"""What the event says."""


def edit_dispatch(
    t: EditDispatch, facts: Facts, changes: Changes, now: Instant
) -> DispatchEdited | DispatchMoved | Missing:
    thread, run, dispatch = facts.thread, facts.run, facts.dispatch_of_run
    if run is None or thread is None or run.thread_id != t.thread_id:
        return Missing("dispatch", t.dispatch_id)
    if dispatch is None or dispatch.dispatch_id != t.dispatch_id or dispatch.status is not QUEUED:
        return DispatchMoved(t.dispatch_id)
    placed = moves.placed(
        dispatch, now, dispatch.priority if t.priority is None else t.priority, _due_at(t, dispatch, now)
    )
    if (placed.priority, placed.available_at) == (dispatch.priority, dispatch.available_at):
        return DispatchEdited(run, dispatch, ready_in_ms(thread, now))
    touch(thread, changes, now)
    log = Log(thread, run.run_id, dispatch.dispatch_id, now)
    log.add(server_event.rescheduled(placed, REASON))
    run = replace(run, updated_at=now, updated_seq=log.last_seq)
    changes.dispatches.append((thread, dispatch, placed))
    changes.runs.append((thread, run))
    appended = log.write(changes)
    if facts.claimed is None:
        set_ready(thread, facts, now, placed)
    return DispatchEdited(run, placed, ready_in_ms(thread, now), appended)


def _due_at(t: EditDispatch, dispatch: Dispatch, now: Instant) -> Instant:
    if t.available_at is not None:
        return t.available_at
    return dispatch.available_at if t.delay_ms is None else now + t.delay_ms
