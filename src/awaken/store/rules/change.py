"""Changing a message that nobody has taken yet: edited, retracted, put into another order.

Above: `apply`. Below: `pending`; `ending`, where a queued run is left without any message.
Holds: a message can be changed while it is pending, or until the dispatch that brings it is first claimed. A change
that names a revision changes that one alone; one that is asked again, because its answer was lost, answers as before.

Source: ADR 0033.
"""

from __future__ import annotations

from msgspec.structs import replace

from awaken.domain import dispatch as moves
from awaken.domain import message_event
from awaken.domain.clock import Instant
from awaken.domain.dispatch import QUEUED
from awaken.domain.ids import DispatchId, MessageId, RunId
from awaken.domain.pending import Pending, queue_revision
from awaken.domain.run import WAITING, Run
from awaken.store.contract import StoredMessage
from awaken.store.rules.accept import digest_of
from awaken.store.rules.ending import close_queued
from awaken.store.rules.facts import Changes, Facts
from awaken.store.rules.pending import give_up
from awaken.store.rules.writing import Log, set_ready, touch
from awaken.store.transitions import (
    Conflict,
    Consumed,
    Edit,
    Edited,
    Incomplete,
    Missing,
    Reorder,
    Reordered,
    Retract,
    Retracted,
    Stale,
)


def edit(t: Edit, facts: Facts, changes: Changes, now: Instant) -> Edited | Missing | Stale | Consumed | Conflict:
    found = _found(t.message_id, facts)
    if not isinstance(found, StoredMessage):
        return found
    entry = _entry(t.message_id, facts)
    if entry is None and (t.boundary is not None or t.barrier is not None):
        return Conflict("message", t.message_id)
    changed = _edited(t, found)
    moved = None if entry is None else _moved(t, entry)
    if t.revision is not None and t.revision != found.revision:
        if t.revision == found.revision - 1 and changed.message == found.message and moved == entry:
            return Edited(found.message, found.revision, entry)
        return Stale(found.revision)
    thread = facts.thread
    assert thread is not None, "a message has its thread"
    touch(thread, changes, now)
    revision = found.revision + 1
    changed = replace(changed, revision=revision)
    changes.edited.append((thread, changed))
    if moved is not None:
        moved = replace(moved, revision=revision)
        changes.moved.append((thread, moved))
    log = Log(thread, *_whose(entry, facts), now)
    log.add(message_event.edited(t.message_id, revision))
    return Edited(changed.message, revision, moved, log.write(changes))


def retract(t: Retract, facts: Facts, changes: Changes, now: Instant) -> Retracted | Missing | Stale | Consumed:
    found = _found(t.message_id, facts)
    if not isinstance(found, StoredMessage):
        known = facts.known[0] if facts.known else None
        again = known is not None and known.fate == "retracted" and t.revision in (None, known.revision)
        return Retracted(t.message_id) if again else found
    if t.revision is not None and t.revision != found.revision:
        return Stale(found.revision)
    thread, entry = facts.thread, _entry(t.message_id, facts)
    assert thread is not None, "a message has its thread"
    touch(thread, changes, now)
    log = Log(thread, *_whose(entry, facts), now)
    cancelled: Run | None = None
    if entry is not None:
        give_up(entry, "retracted", None, thread, changes, log)
        return Retracted(t.message_id, None, log.write(changes))
    changes.fates.append((thread, t.message_id, "retracted", now))
    log.add(message_event.retracted(t.message_id, "retracted"))
    run, dispatch = facts.known_run, facts.known_dispatch
    others = [each for each in facts.siblings if each.message.id != t.message_id and each.fate is None]
    is_last = run is not None and dispatch is not None and not others
    if run is not None and dispatch is not None and not others:
        if run.status is WAITING:  # it has no input any more, and waits as before
            thread.queued -= 1
            changes.dispatches.append((thread, dispatch, moves.cancel(dispatch, now)))
        else:
            cancelled = close_queued(dispatch, run, thread, facts, changes, log).run
    appended = log.write(changes)
    if is_last and facts.claimed is None:
        set_ready(thread, facts, now)
    return Retracted(t.message_id, cancelled, appended)


def reorder(
    t: Reorder, facts: Facts, changes: Changes, now: Instant
) -> Reordered | Missing | Stale | Consumed | Incomplete:
    thread = facts.thread
    if thread is None:
        return Missing("thread", t.thread_id)
    by_id = {entry.message_id: entry for entry in facts.pending}
    if t.message_ids == tuple(by_id):
        return Reordered(facts.pending)
    if t.revision is not None and t.revision != queue_revision(facts.pending):
        return Stale(queue_revision(facts.pending))
    for message_id in t.message_ids:
        if message_id not in by_id:
            return _gone(message_id, facts)
    if sorted(t.message_ids) != sorted(by_id):
        return Incomplete(tuple([each for each in by_id if each not in t.message_ids]))
    touch(thread, changes, now)
    places = [entry.position for entry in facts.pending]
    moved = [
        replace(by_id[message_id], position=place, revision=by_id[message_id].revision + 1)
        for message_id, place in zip(t.message_ids, places, strict=True)
    ]
    logs: dict[RunId, Log] = {}
    for entry in moved:
        changes.moved.append((thread, entry))
        log = logs.setdefault(entry.run_id, Log(thread, entry.run_id, None, now))
        log.add(message_event.edited(entry.message_id, entry.revision))
    return Reordered(tuple(moved), tuple([row for log in logs.values() for row in log.write(changes)]))


def _found(message_id: MessageId, facts: Facts) -> StoredMessage | Missing | Consumed:
    """The message, if it can be changed."""
    known = facts.known[0] if facts.known else None
    if known is None:
        return Missing("message", message_id)
    if known.seq is not None or known.fate is not None:
        return Consumed(message_id, known.fate or "consumed")
    dispatch = facts.known_dispatch
    waits = dispatch is not None and dispatch.status is QUEUED and dispatch.tried_at is None
    return known if waits or _entry(message_id, facts) is not None else Consumed(message_id, "consumed")


def _gone(message_id: MessageId, facts: Facts) -> Missing | Consumed:
    known = next((each for each in facts.known if each.message.id == message_id), None)
    return Missing("message", message_id) if known is None else Consumed(message_id, known.fate or "consumed")


def _entry(message_id: MessageId, facts: Facts) -> Pending | None:
    return next((entry for entry in facts.pending if entry.message_id == message_id), None)


def _edited(t: Edit, found: StoredMessage) -> StoredMessage:
    if t.message is None:
        return found
    return replace(found, message=t.message, digest=found.digest or digest_of(found.message))


def _moved(t: Edit, entry: Pending) -> Pending:
    return replace(
        entry,
        boundary=entry.boundary if t.boundary is None else t.boundary,
        barrier=entry.barrier if t.barrier is None else t.barrier,
    )


def _whose(entry: Pending | None, facts: Facts) -> tuple[RunId | None, DispatchId | None]:
    """The run and the dispatch that the message is for."""
    if entry is not None:
        return entry.run_id, None
    run = facts.known_run
    return (None, None) if run is None else (run.run_id, run.dispatch_id)
