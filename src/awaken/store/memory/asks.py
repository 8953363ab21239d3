"""Answers what rules over many threads ask.

Above: `store` drives such a rule with `answer`. Below: the tables, `facts` and `writing`.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from awaken.domain.clock import Instant
from awaken.domain.dispatch import CLAIMED, SUSPECT_MARK
from awaken.domain.ids import ConsumerId, Route, Scope
from awaken.domain.run import Run
from awaken.domain.schedule import Schedule
from awaken.store.memory import mending
from awaken.store.memory.facts import FactLoader
from awaken.store.memory.tables import EVENTS, MESSAGES, RUNS, Tables
from awaken.store.memory.writing import write
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
from awaken.store.rules.facts import ReadyKey, Removed, ThreadKey, ThreadRow
from awaken.store.rules.mend_asks import MendAsk
from awaken.store.transitions import MAX_ROWS, LeaseRef


class Answers:
    """One store's answers."""

    def __init__(self, tables: Tables, loader: FactLoader) -> None:
        self._tables = tables
        self._loader = loader

    def answer(self, ask: Ask[Any]) -> Any:
        match ask:
            case Load():
                return [self._loader.load(each, ask.now) for each in ask.needs]
            case Write():
                write(self._tables, ask.changes)
                return None
            case Due():
                return self._due(ask)
            case Suspects():
                routes = {route + SUSPECT_MARK for route in ask.routes}
                found = [(key.no, row) for key, row in self._ready(routes) if key.at <= ask.now]
                return [_key(row) for _, row in sorted(found, key=lambda item: item[0])][: ask.limit]
            case DueLeft():
                return min(len([key for key, _ in self._ready(ask.routes) if key.at <= ask.now]), ask.limit)
            case TakenOf(totals=totals):
                claimed = [each.route for each in self._tables.dispatches.values() if each.status is CLAIMED]
                return {
                    name: len([route for route in claimed if route in each.routes]) for name, each in totals.items()
                }
            case NextDue():
                return self.next_due(ask.routes, after=ask.now)
            case Expired():
                return self._expired(ask)
            case SuspectsHeld():
                return self._suspects_held(ask.consumers)
            case Leases():
                return [self._lease(ref) for ref in ask.refs]
            case Errands():
                found = self._tables.outbox
                return [found[no] for no in ask.numbers if no in found]
            case SchedulesOf():
                return self._schedules_of(ask)
            case DueSchedules():
                return self._due_schedules(ask)
            case NextTick():
                return self._next_tick(ask.after)
            case OldRuns():
                return self._old_runs(ask)
            case EventRowsBefore():
                return self._old_events(ask)
            case DueDeletions():
                due = [(row.delete_at, row) for row in self._tables.threads.values() if row.delete_at is not None]
                found = sorted([(at, row.no, _key(row)) for at, row in due if at <= ask.now])
                return [key for _, _, key in found][: ask.limit]
            case RowsOfDeleted():
                return self._rows_of_deleted(ask.limit)
            case MendAsk():
                return mending.answer(self._tables, ask)
            case _:
                raise AssertionError(f"no answer to {type(ask).__name__}")

    def next_due(self, routes: Iterable[Route], *, after: Instant | None) -> Instant | None:
        """When, later than `after`, something of the routes falls due, a ticket expires, or the end of a lease has
        passed.
        """
        wanted = [*routes, *[route + SUSPECT_MARK for route in routes]]
        ready = [key.at for key, _ in self._ready(wanted)]
        leases = [each.lease_until + 1 for each in self._tables.dispatches.values() if each.lease_until is not None]
        tickets = [
            each.expires_at
            for (scope, _), each in self._tables.tickets.items()
            if each.is_open and self._tables.is_shown((scope, each.thread_id))
        ]
        instants = (*ready, *leases, *[at for at in tickets if at is not None])
        tick = self._next_tick(after)
        instants = (*instants, *([] if tick is None else [tick]))
        return min([at for at in instants if after is None or at > after], default=None)

    def _next_tick(self, after: Instant | None) -> Instant | None:
        instants = [each.next_at for each in self._tables.schedules.values() if each.next_at is not None]
        return min([at for at in instants if after is None or at > after], default=None)

    def _schedules_of(self, ask: SchedulesOf) -> list[Schedule]:
        items = self._tables.schedules.items()
        return [each for (scope, name), each in items if scope == ask.scope and ask.name in (None, name)]

    def _due_schedules(self, ask: DueSchedules) -> list[tuple[Scope, Schedule]]:
        found: list[tuple[Instant, int, Scope, Schedule]] = []
        for (scope, _), each in self._tables.schedules.items():
            if each.next_at is not None and each.next_at <= ask.now:
                found.append((each.next_at, each.no, scope, each))
        found.sort(key=lambda item: item[:2])
        return [(scope, each) for _, _, scope, each in found[: ask.limit]]

    def _ready(self, routes: Iterable[str]) -> list[tuple[ReadyKey, ThreadRow]]:
        wanted = set(routes)
        rows = self._tables.threads.values()
        return [(row.ready, row) for row in rows if row.ready is not None and row.ready.route in wanted]

    def _due(self, ask: Due) -> list[ThreadKey]:
        ready = self._ready(ask.routes)
        at_once = [(key, row) for key, row in ready if key.at == 0]
        fallen = [(key, row) for key, row in ready if 0 < key.at <= ask.now]
        fallen.sort(key=lambda item: (item[0].at, item[0].no))
        found = at_once + fallen[:MAX_ROWS]
        found.sort(key=lambda item: (0 if ask.by_age else item[0].priority, item[0].no))
        return [_key(row) for _, row in found[: ask.limit]]

    def _expired(self, ask: Expired) -> list[tuple[ThreadKey, ConsumerId]]:
        found: list[tuple[tuple[bool, int, int], ThreadKey, ConsumerId]] = []
        for (scope, _), each in self._tables.dispatches.items():
            if each.status is not CLAIMED or each.claimed_by is None:
                continue
            ended = each.lease_until is not None and each.lease_until < ask.now
            if ask.abandoned or ended if ask.consumer is None else each.claimed_by == ask.consumer:
                order = (not each.is_suspect, each.lease_until or 0, each.no)
                found.append((order, (scope, each.thread_id), each.claimed_by))
        found.sort(key=lambda item: item[0])
        return [(key, consumer) for _, key, consumer in found[: ask.limit]]

    def _suspects_held(self, consumers: Iterable[ConsumerId]) -> dict[ConsumerId, int]:
        held = dict.fromkeys(consumers, 0)
        for each in self._tables.dispatches.values():
            holder = each.claimed_by
            if each.is_suspect and holder is not None and holder in held:
                held[holder] += 1
        return held

    def _lease(self, ref: LeaseRef) -> Lease | None:
        dispatch = self._tables.dispatches.get((ref.scope, ref.dispatch_id))
        if dispatch is None:
            return None
        run = self._tables.runs.get((ref.scope, dispatch.run_id))
        epoch = self._tables.threads[ref.scope, dispatch.thread_id].epoch
        return Lease(dispatch, epoch, run is not None and run.cancel_requested_at is not None)

    def _old_runs(self, ask: OldRuns) -> list[tuple[ThreadKey, int, Run]]:
        old: list[tuple[Instant, int, ThreadKey, Run]] = []
        owing = {(row.scope, row.run_id) for row in self._tables.outbox.values()}
        for (scope, _), run in self._tables.runs.items():
            kept = run.dead_lettered or run.open_turn is not None or run.open_tickets or (scope, run.run_id) in owing
            if run.finished_at is not None and run.finished_at < ask.before and not kept:
                old.append((run.finished_at, run.no, (scope, run.thread_id), run))
        old.sort(key=lambda item: item[:2])
        return [(key, self._tables.threads[key].no, run) for _, _, key, run in old[: ask.limit]]

    def _rows_of_deleted(self, limit: int) -> list[Removed]:
        """Messages are named by their place in the thread, as there is nothing shorter here."""
        found: list[Removed] = []
        for key, row in self._tables.threads.items():
            if row.deleted_at is None or self._tables.claimed(key) is not None or limit <= 0:
                continue
            data = self._tables.data[key]
            rows = [(MESSAGES, place, place) for place in range(len(data.messages))]
            rows += [(RUNS, run.no, run.no) for run in self._tables.runs_of(key)]
            rows += [(EVENTS, no, no) for no, (owner, _) in self._tables.event_rows.items() if owner == key]
            part = tuple(rows[:limit])
            limit -= len(part)
            if part or data.spans or data.state.version:
                found.append(Removed(key, row.no, part, is_last=len(part) == len(rows)))
        return found

    def _old_events(self, ask: EventRowsBefore) -> list[OldEvents]:
        found: list[OldEvents] = []
        for row, (key, appended) in self._tables.event_rows.items():
            if row <= ask.after:
                continue
            if len(found) == ask.limit or appended.created_at >= ask.before:
                break
            floor = min([run.first_event_seq for run in self._tables.unfinished(key)], default=None)
            thread = self._tables.threads[key]
            seqs = (appended.first_seq, appended.last_seq, thread.first_event_seq)
            found.append(OldEvents(key, thread.no, row, *seqs, floor))
        return found


def _key(row: ThreadRow) -> ThreadKey:
    return row.scope, row.thread_id
