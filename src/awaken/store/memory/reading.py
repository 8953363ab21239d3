"""Reads of the memory store: what its tables hold, in the order and the pages of the contract.

Above: `store`. Below: the tables.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Iterable
from typing import TypeVar

from msgspec.structs import replace

from awaken.domain.clock import Instant
from awaken.domain.dead_letter import DeadLetter, DeadLetterQuery
from awaken.domain.dispatch import CLAIMED, QUEUED, SUSPECT_MARK, Dispatch, DispatchStatus
from awaken.domain.errors import DataIntegrity
from awaken.domain.ids import AgentId, ConsumerId, MessageId, Route, RunId, Scope, ThreadId, TicketId
from awaken.domain.log import EventRow
from awaken.domain.outbox import Lane, OutboxRow
from awaken.domain.phase import Phase, open_phase, phase_of
from awaken.domain.receipt import Receipt
from awaken.domain.run import DONE, Run
from awaken.domain.schedule import Schedule
from awaken.domain.span import Span
from awaken.domain.state import ThreadState
from awaken.domain.thread import Thread
from awaken.domain.ticket import Ticket, TicketKind
from awaken.store.contract import (
    MAX_COUNTED,
    DispatchQuery,
    Held,
    MessageQuery,
    OpenCount,
    OpenTickets,
    OverdueTicket,
    Page,
    PendingMessage,
    PhaseCount,
    RunQuery,
    RunSummary,
    StoredMessage,
    ThreadQuery,
    TicketQuery,
    tails,
)
from awaken.store.memory.tables import MessageFacts, Tables, ThreadData
from awaken.store.rules.facts import ThreadKey, ThreadRow
from awaken.store.rules.receipt import receipt_of
from awaken.store.rules.thread import derive_thread
from awaken.store.transitions import JournalEntry
from awaken.store.view import page_of_view

RecordT = TypeVar("RecordT")


class Reading:
    """What can be asked of one store's tables."""

    def __init__(self, tables: Tables) -> None:
        self._tables = tables

    # --- threads ------------------------------------------------------------------------------------------------------

    def load_thread(self, scope: Scope, thread_id: ThreadId) -> Thread | None:
        row = self._tables.threads.get((scope, thread_id))
        return None if row is None or row.deleted_at is not None else self._thread(row)

    def _thread(self, row: ThreadRow) -> Thread:
        tables, key = self._tables, (row.scope, row.thread_id)
        claimed = tables.claimed(key)
        queue, waiting = tables.queue(key), tables.waiting(key)
        return derive_thread(
            row,
            active=None if claimed is None else tables.runs[key[0], claimed.run_id],
            head=tables.runs[key[0], queue[0].run_id] if queue else None,
            waits=waiting[0] if waiting else None,
            latest=self.latest_run(*key),
            open_tickets=len([each for run in tables.runs_of(key) for each in tables.open_tickets(key[0], run.run_id)]),
        )

    def list_threads(self, scope: Scope, query: ThreadQuery) -> Page[Thread]:
        rows = [
            row
            for row in self._tables.threads.values()
            if row.scope == scope
            and row.deleted_at is None
            and query.fits_info(row.thread_id, row.info)
            and query.status in (None, self._thread(row).status)
        ]
        page = _page(rows, lambda row: row.latest_run_no or row.no, query.after, query.limit, not query.ascending)
        return Page(tuple([self._thread(row) for row in page.items]), page.next)

    # --- runs ---------------------------------------------------------------------------------------------------------

    def load_run(self, scope: Scope, run_id: RunId) -> Run | None:
        run = self._tables.runs.get((scope, run_id))
        return run if run is not None and self._tables.is_shown((scope, run.thread_id)) else None

    def latest_run(self, scope: Scope, thread_id: ThreadId) -> Run | None:
        row = self._tables.threads.get((scope, thread_id)) if self._tables.is_shown((scope, thread_id)) else None
        runs = self._tables.runs_of((scope, thread_id))
        return next((run for run in reversed(runs) if row is not None and run.no == row.latest_run_no), None)

    def list_runs(self, scope: Scope, query: RunQuery) -> Page[Run]:
        runs = [
            run
            for (owner, _), run in self._tables.runs.items()
            if owner == scope
            and query.fits(run)
            and query.phase in (None, phase_of(run, self._tables.dispatches.get((scope, run.dispatch_id))))
            and self._tables.is_shown((scope, run.thread_id))
        ]
        return _page(runs, lambda run: run.no, query.after, query.limit, query.descending)

    def list_dead_letters(self, scope: Scope, query: DeadLetterQuery) -> Page[DeadLetter]:
        runs = [run for (owner, _), run in self._tables.runs.items() if owner == scope and run.dead_lettered]
        letters = [
            DeadLetter(run, self._tables.dispatches[scope, run.dispatch_id])
            for run in runs
            if self._tables.is_shown((scope, run.thread_id))
        ]
        found = [letter for letter in letters if query.fits(letter)]
        return _page(found, lambda letter: letter.run.no, query.after, query.limit, descending=True)

    def count_open_runs(self, scope: Scope) -> list[OpenCount]:
        found = Counter(
            (run.agent_id, run.status)
            for (owner, _), run in self._tables.runs.items()
            if owner == scope and run.status is not DONE
        )
        return [OpenCount(agent, status, min(count, MAX_COUNTED)) for (agent, status), count in sorted(found.items())]

    def summarize_runs(self, scope: Scope, now: Instant) -> RunSummary:
        counts: Counter[tuple[AgentId, Phase]] = Counter()
        due: list[Instant] = []
        for (owner, _), run in self._tables.runs.items():
            if owner != scope or run.status is DONE or not self._tables.is_shown((scope, run.thread_id)):
                continue
            dispatch = self._tables.dispatches.get((scope, run.dispatch_id))
            is_queued = dispatch is not None and dispatch.status is QUEUED
            phase = open_phase(run.status, has_started=run.started_at is not None, is_queued=is_queued)
            counts[run.agent_id, phase] += 1
            if dispatch is not None and dispatch.status is QUEUED and dispatch.available_at <= now:
                due.append(dispatch.available_at)
        found = [PhaseCount(agent, phase, count) for (agent, phase), count in sorted(counts.items())]
        return RunSummary(tuple(found), min(due, default=None))

    # --- dispatches ---------------------------------------------------------------------------------------------------

    def list_dispatches(self, scope: Scope, query: DispatchQuery) -> Page[Dispatch]:
        tables = self._tables
        if query.thread_id is None:
            runs = [run for (owner, _), run in tables.runs.items() if owner == scope]
            newest = [(run, tables.dispatches.get((scope, run.dispatch_id))) for run in runs]
            numbered = [(run.no, each) for run, each in newest if each is not None and each.run_id == run.run_id]
        else:
            numbered = [(each.no, each) for (owner, _), each in tables.dispatches.items() if owner == scope]
        found = [(no, each) for no, each in numbered if query.fits(each) and tables.is_shown((scope, each.thread_id))]
        page = _page(found, lambda item: item[0], query.after, query.limit, descending=False)
        return Page(tuple([dispatch for _, dispatch in page.items]), page.next)

    def list_claims(self, consumer: ConsumerId, after: int, limit: int) -> list[Held]:
        found = [
            Held(scope, dispatch)
            for (scope, _), dispatch in self._tables.dispatches.items()
            if dispatch.status is CLAIMED and dispatch.claimed_by == consumer and dispatch.no > after
        ]
        return sorted(found, key=lambda held: held.dispatch.no)[:limit]

    def count_dispatches(self) -> dict[DispatchStatus, int]:
        counts = Counter(dispatch.status for dispatch in self._tables.dispatches.values())
        return {status: min(counts[status], MAX_COUNTED) for status in DispatchStatus}

    def list_ready_routes(self) -> list[Route]:
        ready = [row.ready.route for row in self._tables.threads.values() if row.ready is not None]
        return sorted({Route(route.removesuffix(SUSPECT_MARK)) for route in ready})

    # --- tickets ------------------------------------------------------------------------------------------------------

    def load_ticket(self, scope: Scope, ticket_id: TicketId) -> Ticket | None:
        ticket = self._tables.tickets.get((scope, ticket_id))
        return ticket if ticket is not None and self._tables.is_shown((scope, ticket.thread_id)) else None

    def list_tickets(self, scope: Scope, query: TicketQuery) -> Page[Ticket]:
        tickets = [
            ticket
            for (owner, _), ticket in self._tables.tickets.items()
            if owner == scope and query.fits(ticket) and self._tables.is_shown((scope, ticket.thread_id))
        ]
        return _page(tickets, lambda ticket: ticket.no, query.after, query.limit, query.descending)

    def count_open_tickets(self, now: Instant) -> list[OpenTickets]:
        ages: defaultdict[TicketKind, list[int]] = defaultdict(list)
        is_open = [ticket for ticket in self._tables.tickets.values() if ticket.is_open]
        for ticket in is_open[:MAX_COUNTED]:
            ages[ticket.asked.kind].append(max(now - ticket.created_at, 0))
        return [OpenTickets(kind, len(found), found[0]) for kind, found in sorted(ages.items())]

    def list_overdue_tickets(self, now: Instant, limit: int) -> list[OverdueTicket]:
        found = [
            (scope, each)
            for (scope, _), each in self._tables.tickets.items()
            if each.is_overdue(now) and self._tables.is_shown((scope, each.thread_id))
        ]
        found.sort(key=lambda item: (item[1].expires_at or 0, item[1].no))
        return [OverdueTicket(scope, each.thread_id, each.run_id, each.ticket_id) for scope, each in found[:limit]]

    # --- messages, journal and events ---------------------------------------------------------------------------------

    def _data(self, key: ThreadKey) -> ThreadData:
        """Nothing of a thread that is deleted."""
        return self._tables.data[key] if self._tables.is_shown(key) else ThreadData()

    def load_message(self, key: ThreadKey, message_id: MessageId) -> StoredMessage | None:
        return self._data(key).messages.get(message_id)

    def list_pending(self, key: ThreadKey) -> list[PendingMessage]:
        messages = self._tables.data[key].messages
        return [PendingMessage(entry, messages[entry.message_id].message) for entry in self._tables.pending(key)]

    def load_receipt(self, key: ThreadKey, message_id: MessageId) -> Receipt | None:
        data = self._data(key)
        stored = data.messages.get(message_id)
        if stored is None:
            return None
        known = data.facts.get(message_id) or MessageFacts()
        return receipt_of(key[1], stored, is_steered=known.steered, settled_at=known.settled_at)

    def threads_of_message(self, scope: Scope, message_id: MessageId, limit: int) -> list[ThreadId]:
        keys = [key for key, data in self._tables.data.items() if key[0] == scope and message_id in data.messages]
        return [key[1] for key in keys if self._tables.is_shown(key)][:limit]

    def list_messages(self, key: ThreadKey, query: MessageQuery) -> list[StoredMessage]:
        data = self._data(key)
        if query.view == "effective" and data.spans:
            return [*self.page_messages(key, query).items]
        first, last = query.after + 1, len(data.log) if query.before is None else min(query.before - 1, len(data.log))
        found: list[StoredMessage] = []
        for seq in reversed(range(first, last + 1)) if query.descending else range(first, last + 1):
            if len(found) == query.limit:
                break
            stored = data.messages[data.log[seq - 1]]
            if query.visibility not in (None, stored.message.visibility) or query.run_id not in (None, stored.run_id):
                continue
            found.append(stored)
        return found

    def page_messages(self, key: ThreadKey, query: MessageQuery) -> Page[StoredMessage]:
        data = self._data(key)
        if query.view == "effective" and data.spans:
            return page_of_view(data.spans, len(data.log), query, lambda window: self.page_messages(key, window))
        found = self.list_messages(key, replace(query, limit=query.limit + 1))
        page = found[: query.limit]
        return Page(tuple(page), page[-1].seq if page and len(found) > len(page) else None)

    def list_spans(self, key: ThreadKey) -> list[Span]:
        return [*self._data(key).spans]

    def load_state(self, key: ThreadKey) -> ThreadState:
        return self._data(key).state

    def list_journal(self, scope: Scope, run_id: RunId) -> list[JournalEntry]:
        run = self._tables.runs.get((scope, run_id))
        entries = {} if run is None else self._tables.journal.get(run.no, {})
        return [entries[key] for key in sorted(entries)]

    def list_events(self, key: ThreadKey, after: int, limit: int, run_id: RunId | None) -> list[EventRow]:
        rows: list[EventRow] = []
        count = 0
        if run_id is not None:
            run = self._tables.runs.get((key[0], run_id))
            if run is None:
                return rows
            after = max(after, run.first_event_seq - 1)  # an earlier run, which is gone, may have had its id
        for appended in self._data(key).events:
            if count >= limit:
                break
            if appended.last_seq > after and (run_id is None or appended.run_id == run_id):
                row = appended.row().starting_after(after)
                rows.append(row)
                count += len(row.events)
        if rows and run_id is None and rows[0].first_seq > max(after + 1, self.event_bounds(key)[0]):
            raise DataIntegrity(f"thread {key[1]!r}: the event log has a hole before {rows[0].first_seq}")
        return rows

    def page_events(self, key: ThreadKey, after: int, limit: int, run_id: RunId | None) -> Page[EventRow]:
        rows = self.list_events(key, after, limit, run_id)
        last = rows[-1].last_seq if rows else after
        more = bool(rows) and any(
            each.last_seq > last and run_id in (None, each.run_id) for each in self._data(key).events
        )
        return Page(tuple(rows), last if more else None)

    def last_events(self, scope: Scope, runs: Iterable[Run]) -> dict[RunId, EventRow]:
        found = [(run.run_id, self._last_event((scope, run.thread_id), run)) for run in runs]
        return {run_id: row for run_id, row in found if row is not None}

    def _last_event(self, key: ThreadKey, run: Run) -> EventRow | None:
        events = self._data(key).events
        for first, last in tails(run, self.event_bounds(key)[1]):
            for appended in reversed(events):
                if appended.run_id == run.run_id and first <= appended.first_seq <= last:
                    return appended.row().starting_after(appended.last_seq - 1)
        return None

    def event_bounds(self, key: ThreadKey) -> tuple[int, int]:
        row = self._tables.threads.get(key)
        return (1, 0) if row is None or row.deleted_at is not None else (row.first_event_seq, row.event_seq)

    # --- errands and schedules ----------------------------------------------------------------------------------------

    def list_outbox(self, after: int, lane: Lane | None, limit: int) -> list[OutboxRow]:
        rows = self._tables.outbox.values()
        return [row for row in rows if row.no > after and lane in (None, row.lane)][:limit]

    def load_schedule(self, scope: Scope, name: str) -> Schedule | None:
        return self._tables.schedules.get((scope, name))

    def list_schedules(self, scope: Scope, after: int | None, limit: int) -> Page[Schedule]:
        found = [each for (owner, _), each in self._tables.schedules.items() if owner == scope]
        return _page(found, lambda each: each.no, after, limit, descending=False)


def _page(
    records: Iterable[RecordT], no: Callable[[RecordT], int], after: int | None, limit: int, descending: bool
) -> Page[RecordT]:
    """One page of the records by their numbers."""
    if limit < 1:
        return Page(())
    ordered = sorted(records, key=no, reverse=descending)
    if after is not None:
        ordered = [each for each in ordered if (no(each) < after if descending else no(each) > after)]
    page = ordered[:limit]
    return Page(tuple(page), no(page[-1]) if len(ordered) > limit else None)
