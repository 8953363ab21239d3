"""What an owner does to a thread as a whole: change what is said about it, delete it.

Above: `apply`; `purge`, for threads whose time is over. Below: `stop`, which clears a thread that is deleted while it
works.
Holds: a thread is no ancestor of its own, and its ancestors exist. A deleted thread is a mark on its row: nothing is
accepted for it any more, what executes ends as if it were interrupted, and its rows are removed by and by. The row
itself stays, with its epoch, so that the id is never used again.

Source: ADR 0038; TR-014 to TR-026.
"""

from __future__ import annotations

from msgspec import UNSET
from msgspec.structs import replace

from awaken.domain import server_event
from awaken.domain.clock import Instant
from awaken.domain.run import DONE, Run
from awaken.domain.state import merged
from awaken.domain.thread import ThreadInfo, ThreadPatch
from awaken.store.rules.asks import DueDeletions, Load, Rule, ask
from awaken.store.rules.ending import expect_deletion
from awaken.store.rules.facts import Changes, Facts, ThreadRow
from awaken.store.rules.needs import of_deletion
from awaken.store.rules.stop import clear
from awaken.store.rules.writing import Log, touch
from awaken.store.transitions import (
    Busy,
    Conflict,
    DeleteThread,
    EditThread,
    HasChildren,
    HideRun,
    Missing,
    RunHidden,
    Stale,
    ThreadDeleted,
    ThreadEdited,
)


def edit_thread(
    t: EditThread, facts: Facts, changes: Changes, now: Instant
) -> ThreadEdited | Stale | Missing | Conflict:
    thread = facts.thread
    if thread is None:
        return Missing("thread", t.thread_id)
    after = _patched(thread.info, t.patch)
    if t.if_version is not None and t.if_version != thread.info_version:
        is_repeated = t.if_version == thread.info_version - 1 and after == thread.info
        return ThreadEdited(thread.info_version) if is_repeated else Stale(thread.info_version)
    if after == thread.info:
        return ThreadEdited(thread.info_version)
    lineage = facts.lineage
    if after.parent_thread_id not in (None, thread.info.parent_thread_id) and lineage is not None:
        if t.thread_id in lineage.ids or lineage.is_too_deep:
            return Conflict("lineage", t.thread_id)
        if lineage.lacks is not None:
            return Missing("thread", lineage.lacks)
    thread.info = after
    thread.info_version += 1
    touch(thread, changes, now)
    changes.infos.append(thread)
    log = Log(thread, None, None, now)
    log.add(server_event.thread_saved(after, created=False))
    return ThreadEdited(thread.info_version, log.write(changes))


def _patched(info: ThreadInfo, patch: ThreadPatch) -> ThreadInfo:
    return ThreadInfo(
        title=info.title if patch.title is UNSET else patch.title,
        metadata=info.metadata if patch.metadata is UNSET else merged(info.metadata, patch.metadata),
        resource_id=info.resource_id if patch.resource_id is UNSET else patch.resource_id,
        parent_thread_id=info.parent_thread_id if patch.parent_thread_id is UNSET else patch.parent_thread_id,
    )


def delete_thread(
    t: DeleteThread, facts: Facts, changes: Changes, now: Instant
) -> ThreadDeleted | HasChildren | Busy | Missing:
    thread = facts.thread
    if thread is None:
        return Missing("thread", t.thread_id)
    if thread.deleted_at is not None:
        return ThreadDeleted(repeated=True)
    if facts.child is not None and not t.keeps_children:
        return HasChildren(facts.child)
    busy = _unfinished(facts)
    if busy is not None and not t.force:
        return Busy(busy.run_id)
    touch(thread, changes, now)
    cleared = None if busy is None else clear(thread, facts, changes, now, None)
    _mark_deleted(thread, changes, now)
    log = Log(thread, None, None, now)
    log.add(server_event.thread_deleted())
    rows = log.write(changes)
    return ThreadDeleted(cleared, appended=rows if cleared is None else cleared.appended + rows)


def _mark_deleted(thread: ThreadRow, changes: Changes, now: Instant) -> None:
    thread.deleted_at, thread.delete_at = now, None
    changes.marks.append(thread)


def _unfinished(facts: Facts) -> Run | None:
    """A run of the thread that is not done: the one that executes, else the next of the queue, else one that waits."""
    if facts.claimed is not None and facts.active is not None:
        return facts.active
    if facts.queue:
        return facts.queue[0][1]
    return facts.waiting[0].run if facts.waiting else None


def hide_run(t: HideRun, facts: Facts, changes: Changes, now: Instant) -> RunHidden | Busy | Missing:
    thread, run = facts.thread, facts.run
    if thread is None or run is None or run.thread_id != t.thread_id:
        return Missing("run", t.run_id)
    if run.status is not DONE:
        return Busy(run.run_id)
    if run.hidden:
        return RunHidden(run)
    run = replace(run, hidden=True)
    changes.runs.append((thread, run))
    return RunHidden(run)


def delete_ephemeral(limit: int, changes: Changes, now: Instant) -> Rule[int]:
    """Mark the threads whose time is over as deleted; how many. One with unfinished work has another while."""
    keys = yield from ask(DueDeletions(now, limit))
    found = yield from ask(Load(tuple([of_deletion(key) for key in keys]), now))
    count = 0
    for key, facts in zip(keys, found, strict=True):
        if not isinstance(facts, Facts) or facts.thread is None:
            continue  # damaged: it stands still until it is repaired
        deletion = DeleteThread(scope=key[0], thread_id=key[1], keeps_children=True)
        if isinstance(delete_thread(deletion, facts, changes, now), Busy):
            expect_deletion(facts.thread, changes, now)
        else:
            count += 1
    return count
