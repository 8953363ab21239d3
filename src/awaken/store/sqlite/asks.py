"""Answers what rules over many threads ask.

Above: `batch` drives such a rule with `answer`. Below: `facts` and `writing`, and statements that name their index.
Holds: what cannot be read hurts its own thread alone; it is named in the log, once.
"""

from __future__ import annotations

import heapq
import logging
import sqlite3
from collections.abc import Callable, Hashable
from typing import Any, Final

from awaken.domain.clock import Instant
from awaken.domain.dispatch import SUSPECT_MARK
from awaken.domain.errors import DataIntegrity
from awaken.domain.ids import ConsumerId, Scope, ThreadId
from awaken.domain.outbox import OutboxRow
from awaken.domain.run import Run
from awaken.domain.schedule import Schedule
from awaken.store.rows import (
    MESSAGES,
    NO_PLACE,
    Row,
    dispatch_from,
    errand_from,
    pack,
    run_from,
    schedule_from,
    unpack,
)
from awaken.store.rules.asks import (
    Ask,
    Due,
    DueDeletions,
    DueLeft,
    DueSchedules,
    Errands,
    EventRowsBefore,
    Expired,
    Lease,
    Leases,
    Load,
    NextDue,
    NextTick,
    OldEvents,
    OldRuns,
    RowsOfDeleted,
    SchedulesOf,
    Suspects,
    SuspectsHeld,
    TakenOf,
    Write,
)
from awaken.store.rules.facts import Changes, Facts, Removed, ThreadKey
from awaken.store.rules.mend_asks import MendAsk
from awaken.store.rules.needs import Needs
from awaken.store.sqlite import mending
from awaken.store.sqlite.facts import FactLoader
from awaken.store.sqlite.queries import SQL
from awaken.store.transitions import MAX_ROWS, LeaseRef

_LONG_AGO: Final = -(1 << 63)
_log = logging.getLogger("awaken.store")


class Answers:
    """Works on the writer's connection, inside its transaction."""

    def __init__(
        self, db: sqlite3.Connection, loader: FactLoader, write: Callable[[Changes], DataIntegrity | None]
    ) -> None:
        self._db = db
        self._loader = loader
        self._write = write
        self._reported: set[Hashable] = set()

    def answer(self, ask: Ask[Any]) -> Any:
        match ask:
            case Load():
                return [self._load(each, ask.now) for each in ask.needs]
            case Write():
                refused = self._write(ask.changes)
                if refused is not None and len(ask.about) == 1:
                    self._stands_still(ask.about[0], refused)
                return refused
            case Due():
                return self._due(ask)
            case Suspects():
                return self._suspects(ask)
            case DueLeft():
                return self._count_due(ask)
            case TakenOf(totals=totals):
                claimed = dict(self._rows("claimed_by_route", {}))
                return {name: sum([claimed.get(route, 0) for route in each.routes]) for name, each in totals.items()}
            case NextDue():
                return next_due(self._db, ask.routes, after=ask.now)
            case Expired():
                return self._expired(ask)
            case SuspectsHeld():
                held = {unpack(who): count for who, count in self._rows("suspects_held", {}) if who is not None}
                return {consumer: held.get(consumer, 0) for consumer in ask.consumers}
            case Leases():
                return [self._lease(ref) for ref in ask.refs]
            case Errands():
                return self._errands(ask)
            case SchedulesOf():
                return [schedule for _, schedule in self._schedules_of(ask)]
            case DueSchedules():
                return self._schedules("due_schedules", {"now": ask.now, "limit": ask.limit})
            case NextTick():
                return self._rows("next_tick", {"after": ask.after})[0][0]
            case OldRuns():
                return self._old_runs(ask)
            case EventRowsBefore():
                return self._old_events(ask)
            case DueDeletions():
                rows = self._rows("expiring_threads", {"now": ask.now, "limit": ask.limit})
                return [_key(scope, packed) for scope, packed in rows]
            case RowsOfDeleted():
                return self._rows_of_deleted(ask.limit)
            case MendAsk():
                return mending.answer(self._db, self._loader, ask)
            case _:
                raise AssertionError(f"no answer to {type(ask).__name__}")

    def _load(self, needs: Needs, now: Instant) -> Facts | DataIntegrity:
        try:
            return self._loader.load(needs, now)
        except DataIntegrity as error:
            self._stands_still(needs.key, error)
            return error

    def _stands_still(self, key: ThreadKey, error: DataIntegrity) -> None:
        self._report(key, f"thread {key[1]!r} stands still until it is repaired: {error}")

    def _report(self, what: Hashable, message: str) -> None:
        if what not in self._reported:
            self._reported.add(what)
            _log.error("%s", message)

    # --- what is due --------------------------------------------------------------------------------------------------

    def _due(self, ask: Due) -> list[ThreadKey]:
        """The first of each route and priority, merged: priorities are a handful, so little more is read than asked."""
        found: list[tuple[int, int, ThreadKey]] = []
        for route in ask.routes:
            for (priority,) in self._rows("priorities", {"route": route}):
                place = {"route": route, "priority": priority, "limit": ask.limit}
                found += [(priority, no, _key(scope, packed)) for _, no, scope, packed in self._rows("due", place)]
        found += self._fallen(ask)
        best = heapq.nsmallest(ask.limit, found, key=lambda each: (0 if ask.by_age else each[0], each[1]))
        return [key for _, _, key in best]

    def _fallen(self, ask: Due) -> list[tuple[int, int, ThreadKey]]:
        rows: list[Row] = []
        for route in ask.routes:
            rows += self._rows("fallen_due", {"route": route, "now": ask.now, "limit": MAX_ROWS})
        first = heapq.nsmallest(MAX_ROWS, rows, key=lambda row: (row[4], row[1]))
        return [(priority, no, _key(scope, packed)) for priority, no, scope, packed, _ in first]

    def _suspects(self, ask: Suspects) -> list[ThreadKey]:
        routes = tuple([route + SUSPECT_MARK for route in ask.routes])
        found: list[tuple[int, ThreadKey]] = []
        for route in routes:
            for (priority,) in self._rows("priorities", {"route": route}):
                rows = self._rows("due", {"route": route, "priority": priority, "limit": ask.limit})
                found += [(no, _key(scope, packed)) for _, no, scope, packed in rows]
            rows = self._rows("fallen_due", {"route": route, "now": ask.now, "limit": ask.limit})
            found += [(no, _key(scope, packed)) for _, no, scope, packed, _ in rows]
        return [key for _, key in heapq.nsmallest(ask.limit, found)]

    def _count_due(self, ask: DueLeft) -> int:
        count = 0
        for route in ask.routes:
            place = {"route": route, "now": ask.now, "limit": ask.limit - count}
            [(due,)] = self._rows("count_due", place)
            count += due
            count += len(self._rows("fallen_due", {**place, "limit": ask.limit - count}))
        return count

    # --- leases -------------------------------------------------------------------------------------------------------

    def _expired(self, ask: Expired) -> list[tuple[ThreadKey, ConsumerId]]:
        values = {"abandoned": ask.abandoned, "now": ask.now, "limit": ask.limit, "consumer": pack(ask.consumer)}
        rows = self._rows("expired", values)
        # A claim that names no consumer is damaged: loading it shows that, and costs nobody else.
        return [(_key(scope, packed), ConsumerId(unpack(consumer or ""))) for scope, packed, consumer in rows]

    def _lease(self, ref: LeaseRef) -> Lease | None:
        rows = self._rows("lease", {"scope": ref.scope, "dispatch_id": pack(ref.dispatch_id)})
        if not rows:
            return None
        *columns, epoch, cancel_requested_at = rows[0]
        try:
            return Lease(dispatch_from(tuple(columns)), epoch, cancel_requested_at is not None)
        except DataIntegrity as error:
            self._report((ref.scope, ref.dispatch_id), f"a lease cannot be renewed: {error}")
            return None

    # --- errands and schedules ----------------------------------------------------------------------------------------

    def _errands(self, ask: Errands) -> list[OutboxRow]:
        found: list[OutboxRow] = []
        for no in ask.numbers:
            found += [errand_from(row) for row in self._rows("errand", {"no": no})]
        return found

    def _schedules_of(self, ask: SchedulesOf) -> list[tuple[Scope, Schedule]]:
        if ask.name is not None:
            return self._schedules("schedule", {"scope": ask.scope, "name": ask.name})
        return self._schedules("schedules", {"scope": ask.scope, "after": 0, "limit": -1})

    def _schedules(self, name: str, values: dict[str, Any]) -> list[tuple[Scope, Schedule]]:
        found: list[tuple[Scope, Schedule]] = []
        for row in self._rows(name, values):
            try:
                found.append(schedule_from(row))
            except DataIntegrity as error:
                self._report((row[1], row[2]), f"a schedule stands still until it is repaired: {error}")
        return found

    # --- retention ----------------------------------------------------------------------------------------------------

    def _old_runs(self, ask: OldRuns) -> list[tuple[ThreadKey, int, Run]]:
        found: list[tuple[ThreadKey, int, Run]] = []
        for scope, thread, *columns in self._db.execute(SQL["old_runs"], {"before": ask.before}):
            if len(found) == ask.limit:
                break
            try:
                found.append((_key(scope, columns[2]), thread, run_from(tuple(columns))))
            except DataIntegrity as error:
                self._report((scope, columns[1]), f"a run is kept until it is repaired: {error}")
        return found

    def _old_events(self, ask: EventRowsBefore) -> list[OldEvents]:
        found: list[OldEvents] = []
        for row in self._rows("oldest_events", {"after": ask.after, "limit": ask.limit}):
            no, thread, first_seq, count, created_at, scope, packed, first_kept = row
            if created_at >= ask.before:
                break  # what comes behind it stays too, so that no log gets a hole
            [(floor,)] = self._rows("first_event_of_open_runs", {"thread": thread})
            seqs = (first_seq, first_seq + count - 1, first_kept)
            found.append(OldEvents(_key(scope, packed), thread, no, *seqs, floor))
        return found

    def _rows_of_deleted(self, limit: int) -> list[Removed]:
        found: list[Removed] = []
        for no, scope, packed in self._rows("deleted_threads", {"limit": limit}):
            if limit <= 0:
                break
            place = {"thread": no, "limit": limit}
            rows = tuple(self._rows("entries_of_thread", place))
            unplaced = self._rows("unplaced_messages", {**place, "limit": limit - len(rows)})
            rows += tuple([(MESSAGES, NO_PLACE, message) for (message,) in unplaced])
            limit -= len(rows)
            found.append(Removed(_key(scope, packed), no, rows, is_last=limit > 0))
        return found

    def _rows(self, name: str, values: dict[str, Any]) -> list[Row]:
        return self._db.execute(SQL[name], values).fetchall()


def _key(scope: Any, packed_thread_id: Any) -> ThreadKey:
    return scope, ThreadId(unpack(packed_thread_id))


def next_due(db: sqlite3.Connection, routes: frozenset[Any], *, after: Instant = _LONG_AGO) -> Instant | None:
    """When, later than `after`, something of the routes or a schedule falls due, a ticket expires, or a lease ended."""
    due: list[Instant | None] = []
    for route in routes:
        for each in (route, route + SUSPECT_MARK):
            due += db.execute(SQL["first_due_at"], {"route": each, "after": after}).fetchone()
            if after < 0 and db.execute(SQL["count_due"], {"route": each, "limit": 1}).fetchone()[0]:
                due.append(0)
    [lease_until] = db.execute(SQL["first_lease_end"], {"after": after}).fetchone()
    due.append(None if lease_until is None else lease_until + 1)
    due += db.execute(SQL["first_expiry"], {"after": after + 1}).fetchone()
    due += db.execute(SQL["next_tick"], {"after": after}).fetchone()
    return min([each for each in due if each is not None], default=None)
