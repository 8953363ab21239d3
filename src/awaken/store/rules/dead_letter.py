"""What is made of a run that was given up: it is done again, or discarded.

Above: `accept`, for a submit that does a run again; `apply`. Below: nothing.
Holds: seeing to a dead letter is a write of its run alone. With a retry that is part of the transaction that accepts
the new run, so no crash leaves a letter that was answered in the list, or one that was not out of it.

Source: docs/howto/see-to-dead-letters.md.
"""

from __future__ import annotations

from msgspec.structs import replace

from awaken.domain.clock import Instant
from awaken.domain.run import SeenTo
from awaken.store.rules.facts import Changes, Facts, ThreadRow
from awaken.store.transitions import Discard, Discarded, Missing, NotDead, Submit


def see_to_retried(t: Submit, facts: Facts, changes: Changes, thread: ThreadRow, now: Instant) -> None:
    """The run that an accepted submit does again is a dead letter no more."""
    run = facts.again
    if run is not None and run.dead_lettered and run.thread_id == t.thread_id:
        seen_to = SeenTo(at=now, retried_as=t.run_id, by=t.request.trace.caller)
        changes.runs.append((thread, replace(run, dead_lettered=False, seen_to=seen_to)))


def discard(t: Discard, facts: Facts, changes: Changes, now: Instant) -> Discarded | NotDead | Missing:
    thread, run = facts.thread, facts.run
    if thread is None or run is None or run.thread_id != t.thread_id:
        return Missing("run", t.run_id)
    if run.dead_lettered:
        run = replace(run, dead_lettered=False, seen_to=SeenTo(at=now, reason=t.reason, by=t.by))
        changes.runs.append((thread, run))
        return Discarded(run)
    is_discarded = run.seen_to is not None and run.seen_to.retried_as is None
    return Discarded(run, repeated=True) if is_discarded else NotDead(run)
