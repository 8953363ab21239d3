"""Retention: which runs, which events and which threads are no longer kept.

Above: the stores, for `Purge`. Below: `manage`, for threads whose time is over.
Holds: a run goes as a whole, with its dispatches and its journal. Nothing that an unfinished run needs goes: of events,
none from the first one of the thread's oldest unfinished run on, and a log loses its beginning only. Messages, and the
thread's row with its epoch, stay.

Source: ADR 0025, 0038.
"""

from __future__ import annotations

from awaken.domain.clock import Instant
from awaken.store.rules.asks import EventRowsBefore, OldRuns, RowsOfDeleted, Rule, Write, ask
from awaken.store.rules.facts import Changes, ThreadKey
from awaken.store.rules.manage import delete_ephemeral
from awaken.store.transitions import Purge, Purged


def purge_some(t: Purge, changes: Changes, now: Instant) -> Rule[Purged]:
    """The rule of `Purge`."""
    runs = yield from ask(OldRuns(now - t.run_retention_ms, t.limit))
    changes.purged_runs += runs
    rows = yield from ask(EventRowsBefore(now - t.event_retention_ms, t.after_row, t.limit))
    events = 0
    first_kept: dict[ThreadKey, int] = {}
    for old in rows:
        # A row that an earlier slice had to leave may lie before this one, of a run that has ended since.
        follows = old.first_seq <= first_kept.get(old.key, old.first_kept)
        if follows and (old.floor is None or old.last_seq < old.floor):
            changes.purged_events.append((old.key, old.thread_no, old.first_seq, old.last_seq, old.row))
            first_kept[old.key] = old.last_seq + 1
            events += old.last_seq - old.first_seq + 1
    yield from ask(Write(changes))
    deleted = yield from delete_ephemeral(t.limit, changes, now)
    yield from ask(Write(changes))
    removed = yield from ask(RowsOfDeleted(t.limit))
    changes.removed += removed
    yield from ask(Write(changes))
    gone = sum([len(each.rows) for each in removed])
    more = t.limit in (len(runs), len(rows), deleted) or gone >= t.limit
    return Purged(len(runs), events, more, rows[-1].row if rows else t.after_row, gone, deleted)
