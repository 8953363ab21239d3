"""Answers what rules over many threads ask.

Above: `batch` drives such a rule with `answer`. Below: `session`, `facts` and `writing`.
Holds: what is found because it is due is held from then on, and what another process holds is passed over, so two
processes never take the same. Rows that cannot be read stand still, and are reported once.
"""

from __future__ import annotations

import heapq
import logging
from collections.abc import Awaitable, Callable, Hashable
from typing import Any, Final

from awaken.domain.clock import Instant
from awaken.domain.dispatch import SUSPECT_MARK
from awaken.domain.errors import DataIntegrity
from awaken.domain.ids import ConsumerId, Route, Scope, ThreadId
from awaken.domain.outbox import OutboxRow
from awaken.domain.run import Run
from awaken.domain.schedule import Schedule
from awaken.store.postgres import mending
from awaken.store.postgres.facts import hold, load
from awaken.store.postgres.session import Row, Session
from awaken.store.rows import dispatch_from, errand_from, run_from, schedule_from
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
from awaken.store.transitions import MAX_ROWS, LeaseRef

LONG_AGO: Final = -(1 << 62)
_log = logging.getLogger("awaken.store")


class Answers:
    """Of one store, for whatever transaction it is given."""

    def __init__(self, write: Callable[[Session, Changes, bool], Awaitable[DataIntegrity | None]]) -> None:
        self._write = write
        self._reported: set[Hashable] = set()

    async def answer(self, db: Session, ask: Ask[Any], *, careful: bool) -> Any:
        match ask:
            case Load():
                return await self._load(db, ask.needs, ask.now)
            case Write():
                refused = await self._write(db, ask.changes, careful)
                if refused is not None and len(ask.about) == 1:
                    self._stands_still(ask.about[0], refused)
                return refused
            case Due():
                return await self._due(db, ask)
            case Suspects():
                return await self._suspects(db, ask)
            case DueLeft():
                place = {"routes": list(ask.routes), "now": ask.now, "limit": ask.limit}
                return (await db.row("count_due", place))[0]
            case TakenOf():
                return await self._taken_of(db, ask)
            case NextDue():
                return await next_due(db, ask.routes, after=ask.now)
            case Expired():
                place = {
                    "abandoned": ask.abandoned,
                    "now": ask.now,
                    "limit": ask.limit,
                    "consumer": ask.consumer,
                }
                rows = await db.rows("expired", place)
                # A claim that names no consumer is damaged: loading it shows that, and costs nobody else.
                return [(_key(scope, thread), ConsumerId(consumer or "")) for scope, thread, consumer in rows]
            case SuspectsHeld():
                held = {who: count for who, count in await db.rows("suspects_held")}
                return {consumer: held.get(consumer, 0) for consumer in ask.consumers}
            case Leases():
                return await self._leases(db, ask.refs)
            case Errands():
                return await self._errands(db, ask)
            case SchedulesOf():
                found = await self._schedules(db, "held_schedules", {"scope": ask.scope, "name": ask.name})
                return [schedule for _, schedule in found]
            case DueSchedules():
                return await self._schedules(db, "due_schedules", {"now": ask.now, "limit": ask.limit})
            case NextTick():
                return (await db.row("next_tick", {"after": ask.after}))[0]
            case OldRuns():
                return await self._old_runs(db, ask)
            case EventRowsBefore():
                return await self._old_events(db, ask)
            case DueDeletions():
                rows = await db.rows("expiring_threads", {"now": ask.now, "limit": ask.limit})
                return [_key(scope, thread_id) for scope, thread_id in rows]
            case RowsOfDeleted():
                return await self._rows_of_deleted(db, ask.limit)
            case MendAsk():
                return await mending.answer(db, ask)
            case _:
                raise AssertionError(f"no answer to {type(ask).__name__}")

    async def _load(self, db: Session, needs: tuple[Needs, ...], now: Instant) -> list[Facts | DataIntegrity]:
        found: list[Facts | DataIntegrity] = []
        held = await hold(db, [each.key for each in needs], wait=True)
        for each, facts in zip(needs, await load(db, needs, held, now), strict=True):
            if isinstance(facts, DataIntegrity):
                self._stands_still(each.key, facts)
            assert isinstance(facts, Facts | DataIntegrity), "whoever waits for a thread holds it in the end"
            found.append(facts)
        return found

    def _stands_still(self, key: ThreadKey, error: DataIntegrity) -> None:
        self._report(key, f"thread {key[1]!r} stands still until it is repaired: {error}")

    def _report(self, what: Hashable, message: str) -> None:
        if what not in self._reported:
            self._reported.add(what)
            _log.error("%s", message)

    # --- what is due --------------------------------------------------------------------------------------------------

    async def _due(self, db: Session, ask: Due) -> list[ThreadKey]:
        place = {"routes": list(ask.routes), "now": ask.now, "limit": ask.limit, "rows": MAX_ROWS}
        rows = await db.rows("due_by_age" if ask.by_age else "due", place)
        fallen = heapq.nsmallest(MAX_ROWS, [row for row in rows if row[4]], key=lambda row: (row[4], row[1]))
        found = [*[row for row in rows if not row[4]], *fallen]
        best = heapq.nsmallest(ask.limit, found, key=lambda row: (0 if ask.by_age else row[0], row[1]))
        return [_key(scope, thread_id) for _, _, scope, thread_id, _ in best]

    async def _suspects(self, db: Session, ask: Suspects) -> list[ThreadKey]:
        routes = [route + SUSPECT_MARK for route in ask.routes]
        place = {"routes": routes, "now": ask.now, "limit": ask.limit, "rows": ask.limit}
        found = heapq.nsmallest(ask.limit, await db.rows("due_by_age", place), key=lambda row: row[1])
        return [_key(scope, thread_id) for _, _, scope, thread_id, _ in found]

    async def _taken_of(self, db: Session, ask: TakenOf) -> dict[Route, int | None]:
        """Counted by a statement of its own once they are held: what was claimed before is committed by then."""
        names = list(ask.totals)
        held = {name for (name,) in await db.rows("hold_totals", {"routes": names})}
        rows = await db.rows("claimed_by_route", {}) if held else []
        claimed: dict[Route, int] = dict(map(tuple, rows))
        return {
            name: sum([claimed.get(route, 0) for route in ask.totals[name].routes]) if name in held else None
            for name in names
        }

    # --- leases -------------------------------------------------------------------------------------------------------

    async def _leases(self, db: Session, refs: tuple[LeaseRef, ...]) -> list[Lease | None]:
        wanted = [("lease", (ref.dispatch_id, ref.scope)) for ref in refs]
        found = await db.look_up(wanted)
        return [self._lease(ref, found[lookup]) for ref, lookup in zip(refs, wanted, strict=True)]

    def _lease(self, ref: LeaseRef, rows: list[Row]) -> Lease | None:
        if not rows:
            return None
        *columns, epoch, cancel_requested_at = rows[0]
        try:
            return Lease(dispatch_from(tuple(columns)), epoch, cancel_requested_at is not None)
        except DataIntegrity as error:
            self._report((ref.scope, ref.dispatch_id), f"a lease cannot be renewed: {error}")
            return None

    # --- errands and schedules ----------------------------------------------------------------------------------------

    async def _errands(self, db: Session, ask: Errands) -> list[OutboxRow]:
        rows = {row[0]: row for row in await db.rows("errands", {"numbers": list(ask.numbers)})}
        return [errand_from(tuple(rows[no])) for no in ask.numbers if no in rows]

    async def _schedules(self, db: Session, name: str, values: dict[str, Any]) -> list[tuple[Scope, Schedule]]:
        found: list[tuple[Scope, Schedule]] = []
        for row in await db.rows(name, values):
            try:
                found.append(schedule_from(tuple(row)))
            except DataIntegrity as error:
                self._report((row[1], row[2]), f"a schedule stands still until it is repaired: {error}")
        return found

    # --- retention ----------------------------------------------------------------------------------------------------

    async def _old_runs(self, db: Session, ask: OldRuns) -> list[tuple[ThreadKey, int, Run]]:
        found: list[tuple[ThreadKey, int, Run]] = []
        offset = 0
        while len(found) < ask.limit:
            wanted = ask.limit - len(found)
            rows = await db.rows("old_runs", {"before": ask.before, "limit": wanted, "offset": offset})
            offset += len(rows)
            for scope, thread, *columns in rows:
                try:
                    found.append((_key(scope, columns[2]), thread, run_from(tuple(columns))))
                except DataIntegrity as error:
                    self._report((scope, columns[1]), f"a run is kept until it is repaired: {error}")
            if len(rows) < wanted:
                break
        return found

    async def _old_events(self, db: Session, ask: EventRowsBefore) -> list[OldEvents]:
        rows: list[Row] = []
        for row in await db.rows("oldest_events", {"after": ask.after, "limit": ask.limit}):
            if row[4] >= ask.before:
                break  # what comes behind it stays too, so that no log gets a hole
            rows.append(row)
        wanted = {row[1]: ("first_event_of_open_runs", (row[1],)) for row in rows}
        floors = await db.look_up(list(wanted.values()))
        found: list[OldEvents] = []
        for no, thread, first_seq, count, _, scope, thread_id, first_kept in rows:
            [(floor,)] = floors[wanted[thread]]
            seqs = (first_seq, first_seq + count - 1, first_kept)
            found.append(OldEvents(_key(scope, thread_id), thread, no, *seqs, floor))
        return found

    async def _rows_of_deleted(self, db: Session, limit: int) -> list[Removed]:
        found: list[Removed] = []
        for no, scope, thread_id in await db.rows("deleted_threads", {"limit": limit}):
            if limit <= 0:
                break
            rows = await db.rows("rows_of_thread", {"thread": no, "limit": limit})
            limit -= len(rows)
            found.append(Removed(_key(scope, thread_id), no, tuple(map(tuple, rows)), is_last=limit > 0))
        return found


def _key(scope: Any, thread_id: Any) -> ThreadKey:
    return Scope(scope), ThreadId(thread_id)


async def next_due(db: Session, routes: frozenset[Route], *, after: Instant = LONG_AGO) -> Instant | None:
    """When, later than `after`, something of the routes or a schedule falls due, a ticket expires, or a lease ended."""
    marked = [*routes, *[route + SUSPECT_MARK for route in routes]]
    row = await db.row("next_due_at", {"routes": marked, "after": after})
    return row[0]
