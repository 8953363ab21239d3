"""Reads, on connections of their own that cannot write.

Above: `SqliteStore` runs each of these in a reader thread. Below: `rows`.
Holds: one read sees one state of the database, the newest committed before it began. A hole in a log is reported, not
read over. A list is served by an index; what no index knows is looked for in at most `MAX_SCANNED` rows per page. A row
of a list that cannot be read is named and left out.
"""

from __future__ import annotations

import heapq
import sqlite3
from collections import Counter
from collections.abc import Callable, Generator, Iterable, Iterator
from contextlib import contextmanager, suppress
from typing import Any, Final, TypeVar, get_args

from msgspec.structs import replace

from awaken.domain.clock import Instant
from awaken.domain.dead_letter import DeadLetter, DeadLetterQuery
from awaken.domain.dispatch import SUSPECT_MARK, Dispatch, DispatchStatus
from awaken.domain.errors import DataIntegrity
from awaken.domain.ids import AgentId, ConsumerId, DispatchId, MessageId, Route, RunId, Scope, ThreadId, TicketId
from awaken.domain.log import EventRow
from awaken.domain.message import Message, Visibility
from awaken.domain.outbox import Lane, OutboxRow
from awaken.domain.phase import Phase, open_phase, phase_of
from awaken.domain.receipt import Receipt
from awaken.domain.run import Run, RunStatus
from awaken.domain.schedule import Schedule
from awaken.domain.span import Span
from awaken.domain.state import NO_STATE, ThreadState
from awaken.domain.thread import Thread
from awaken.domain.ticket import Ticket, TicketState
from awaken.store.contract import (
    MAX_COUNTED,
    MAX_PAGE,
    MAX_SCANNED,
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
    Snapshot,
    StoredMessage,
    ThreadQuery,
    TicketQuery,
    tails,
)
from awaken.store.invariants import AuditPlace, AuditSlice
from awaken.store.pages import LAST, completed_row, scanned_window, start_of, whole, window_page
from awaken.store.rows import (
    DISPATCH_TEXT,
    RUN_TEXT,
    Row,
    StoredEvents,
    dispatch_from,
    errand_from,
    events_from,
    journal_from,
    message_from,
    pack,
    pending_from,
    run_from,
    schedule_from,
    span_from,
    state_from,
    thread_from,
    ticket_from,
    unpack,
)
from awaken.store.rules.facts import ThreadRow
from awaken.store.rules.receipt import receipt_of
from awaken.store.rules.thread import derive_thread
from awaken.store.sqlite.asks import next_due
from awaken.store.sqlite.facts import with_output
from awaken.store.sqlite.invariants import find_breaches
from awaken.store.sqlite.queries import SQL
from awaken.store.transitions import JournalEntry
from awaken.store.view import page_of_view

_OF_PENDING: Final = 11
"""How many columns an entry has that waits."""
_OPEN: Final = tuple([status for status in RunStatus if status is not RunStatus.DONE])
_TICKET_STATES: Final = get_args(TicketState)
_TICKET_COLUMNS: Final = {"tool": "tool_name", "kind": "kind", "agent": "agent_id"}
RecordT = TypeVar("RecordT")


class Reading:
    """One state of the database, for as long as it is open."""

    def __init__(self, db: sqlite3.Connection) -> None:
        self._db = db

    # --- threads ------------------------------------------------------------------------------------------------------

    def load_thread(self, scope: Scope, thread_id: ThreadId) -> Thread | None:
        row = self._thread_row(scope, thread_id)
        return None if row is None else self._thread(row)

    def _thread_row(self, scope: Scope, thread_id: ThreadId) -> ThreadRow | None:
        """None also for a deleted one."""
        row = self._row("thread", {"scope": scope, "thread_id": pack(thread_id)})
        thread = None if row is None else thread_from(row)
        return thread if thread is not None and thread.deleted_at is None else None

    def _thread(self, row: ThreadRow) -> Thread:
        """The thread with what is derived from its runs and dispatches, as far as those can be read."""
        place = {"thread": row.no, "limit": 1}
        claimed = self._row("claimed", place)
        head = self._row("head_of_queue", place) if row.queued else None
        waits = self._row("waiting_runs", place) if row.waiting else None
        latest = row.latest_run_no
        lost: list[str] = []

        def found(load: Callable[[], Run | None]) -> Run | None:
            try:
                return load()
            except DataIntegrity as error:
                lost.append(str(error))
                return None

        thread = derive_thread(
            row,
            active=None if claimed is None else found(lambda: self.load_run(row.scope, dispatch_from(claimed).run_id)),
            head=None if head is None else found(lambda: self.load_run(row.scope, RunId(unpack(head[0])))),
            waits=None if waits is None else found(lambda: run_from(waits)),
            latest=None if latest is None else found(lambda: self._run_by_no(latest)),
            open_tickets=self._rows("count_open_tickets", place)[0][0],
        )
        return replace(thread, unreadable=tuple(dict.fromkeys(lost))) if lost else thread

    def list_threads(self, scope: Scope, query: ThreadQuery) -> Page[Thread]:
        """Threads that have run something, through their newest run; and those that have not, by their own number."""
        start = start_of(query.after, descending=not query.ascending)
        few: list[tuple[int, int | None]] | None = None
        if query.resource_id is not None:
            few = self._few_threads("threads_of_resource", start, query, scope=scope, resource_id=query.resource_id)
        elif query.parent_thread_id is not None:
            few = self._few_threads("threads_of_parent", start, query, scope=scope, parent=query.parent_thread_id)
        numbered = self._all_threads(scope, start, query) if few is None else few

        def load(no: int, thread_no: int | None) -> Thread | None:
            if thread_no is None:
                found = self._row("is_newest_run", {"no": no})
                if found is None:
                    return None
                [thread_no] = found
            row = self._row("thread_by_no", {"no": thread_no})
            if row is None:
                return None
            found = thread_from(row)
            if found.deleted_at is not None or not query.fits_info(found.thread_id, found.info):
                return None
            thread = self._thread(found)
            return thread if query.status in (None, thread.status) else None

        return _page(numbered, load, query.limit)

    def _all_threads(self, scope: Scope, start: int, query: ThreadQuery) -> Iterator[tuple[int, int | None]]:
        way, descending = _way(descending=not query.ascending)
        unused = self._walk(f"unused_threads_{way}", {"scope": scope, "after": start})
        return heapq.merge(
            ((no, None) for no in self._all_runs(scope, start, descending=descending)),
            ((no, no) for no in unused),
            key=lambda each: -each[0] if descending else each[0],
        )

    def _few_threads(
        self, name: str, start: int, query: ThreadQuery, **place: str
    ) -> list[tuple[int, int | None]] | None:
        """In order; None when they are too many to be put in order: then this is a filter without an index."""
        rows = self._rows(name, {**place, "limit": MAX_SCANNED + 1})
        found: list[tuple[int, int | None]] = [(order, no) for no, order in rows]
        if len(found) > MAX_SCANNED:
            return None
        found.sort(reverse=not query.ascending)
        return [each for each in found if (each[0] > start if query.ascending else each[0] < start)]

    # --- runs ---------------------------------------------------------------------------------------------------------

    def load_run(self, scope: Scope, run_id: RunId) -> Run | None:
        row = self._row("shown_run", {"scope": scope, "run_id": pack(run_id)})
        return None if row is None else self._run(row)

    def _run_by_no(self, no: int) -> Run | None:
        row = self._row("run_by_no", {"no": no})
        return None if row is None else self._run(row)

    def _run(self, row: Row) -> Run:
        """With its output, where that can be read: a run says itself what of it cannot (`Run.unreadable`)."""
        run = run_from(row)
        with suppress(DataIntegrity):
            run = with_output(self._db, run)
        return run

    def latest_run(self, scope: Scope, thread_id: ThreadId) -> Run | None:
        row = self._thread_row(scope, thread_id)
        return None if row is None or row.latest_run_no is None else self._run_by_no(row.latest_run_no)

    def list_runs(self, scope: Scope, query: RunQuery) -> Page[Run]:
        numbers = self._run_numbers(scope, query)

        def load(no: int, _: None) -> Run | None:
            run = self._run_by_no(no)
            if run is None or not query.fits(run):
                return None
            if query.phase is not None and phase_of(run, self.load_dispatch(scope, run.dispatch_id)) != query.phase:
                return None
            return run

        return _page(((no, None) for no in numbers), load, query.limit)

    def _run_numbers(self, scope: Scope, query: RunQuery) -> Iterator[int]:
        """The runs that may fit, in order, by the index that leaves out most of the others."""
        start = start_of(query.after, descending=query.descending)
        way, descending = _way(descending=query.descending)
        if query.thread_id is not None:
            thread = self._thread_row(scope, query.thread_id)
            place = {"thread": 0 if thread is None else thread.no, "after": start}
            return self._walk(f"runs_of_thread_{way}", place)
        if query.status is None or query.status is RunStatus.DONE:
            return self._all_runs(scope, start, agent_id=query.agent_id, descending=descending)
        place = {"scope": scope, "status": RUN_TEXT[query.status], "after": start}
        agents = self._agents("open_agents", place) if query.agent_id is None else [query.agent_id]
        walks = [self._walk(f"open_runs_{way}", {**place, "agent_id": agent}) for agent in agents]
        return heapq.merge(*walks, reverse=descending)

    def _all_runs(
        self, scope: Scope, start: int, *, agent_id: AgentId | None = None, descending: bool
    ) -> Iterator[int]:
        """The runs of a scope, merged from those of each of its agents, which are a handful."""
        way, _ = _way(descending=descending)
        agents = self._agents("agents", {"scope": scope}) if agent_id is None else [agent_id]
        place = {"scope": scope, "after": start}
        walks = [self._walk(f"runs_of_agent_{way}", {**place, "agent_id": agent}) for agent in agents]
        return heapq.merge(*walks, reverse=descending)

    def _agents(self, name: str, place: dict[str, Any]) -> list[AgentId]:
        return [agent for (agent,) in self._rows(name, place)]

    def list_dead_letters(self, scope: Scope, query: DeadLetterQuery) -> Page[DeadLetter]:
        start = start_of(query.after, descending=True)
        if query.thread_id is None:
            numbers = self._walk("dead_runs", {"scope": scope, "after": start})
        else:
            thread = self._thread_row(scope, query.thread_id)
            numbers = self._walk("runs_of_thread_down", {"thread": 0 if thread is None else thread.no, "after": start})

        def load(no: int, _: None) -> DeadLetter | None:
            run = self._run_by_no(no)
            if run is None or not run.dead_lettered:
                return None
            dispatch = self.load_dispatch(scope, run.dispatch_id)
            if dispatch is None:
                raise DataIntegrity(f"dispatch {run.dispatch_id!r} of run {run.run_id!r} is gone")
            letter = DeadLetter(run, dispatch)
            return letter if query.fits(letter) else None

        return _page(((no, None) for no in numbers), load, query.limit)

    def count_open_runs(self, scope: Scope) -> list[OpenCount]:
        found: list[OpenCount] = []
        for status in _OPEN:
            place: dict[str, Any] = {"scope": scope, "status": RUN_TEXT[status], "limit": MAX_COUNTED}
            for agent in self._agents("open_agents", place):
                [(count,)] = self._rows("count_open_runs", {**place, "agent_id": agent})
                found.append(OpenCount(agent, status, count))
        return sorted(found, key=lambda each: (each.agent_id, each.status))

    def summarize_runs(self, scope: Scope, now: Instant) -> RunSummary:
        counts: Counter[tuple[AgentId, Phase]] = Counter()
        due: list[Instant] = []
        for status in _OPEN:
            place = {"scope": scope, "status": RUN_TEXT[status], "now": now, "limit": MAX_COUNTED}
            for agent, started, dispatch_status, count, due_at in self._rows("summarize_runs", place):
                is_queued = dispatch_status == DISPATCH_TEXT[DispatchStatus.QUEUED]
                counts[agent, open_phase(status, has_started=bool(started), is_queued=is_queued)] += count
                if is_queued and due_at is not None:
                    due.append(due_at)
        found = [PhaseCount(agent, phase, count) for (agent, phase), count in sorted(counts.items())]
        return RunSummary(tuple(found), min(due, default=None))

    # --- dispatches ---------------------------------------------------------------------------------------------------

    def load_dispatch(self, scope: Scope, dispatch_id: DispatchId) -> Dispatch | None:
        row = self._row("dispatch", {"scope": scope, "dispatch_id": pack(dispatch_id)})
        return None if row is None else dispatch_from(row)

    def load_dispatches(self, scope: Scope, ids: Iterable[DispatchId]) -> dict[DispatchId, Dispatch]:
        found: dict[DispatchId, Dispatch] = {}
        for dispatch_id in ids:
            with suppress(DataIntegrity):  # the list that it is for names it
                dispatch = self.load_dispatch(scope, dispatch_id)
                if dispatch is not None:
                    found[dispatch_id] = dispatch
        return found

    def active_dispatch(self, scope: Scope, thread_id: ThreadId) -> Dispatch | None:
        thread = self._thread_row(scope, thread_id)
        row = None if thread is None else self._row("claimed", {"thread": thread.no})
        return None if row is None else dispatch_from(row)

    def list_dispatches(self, scope: Scope, query: DispatchQuery) -> Page[Dispatch]:
        if query.thread_id is None:
            return self._newest_dispatches(scope, query)
        thread = self._thread_row(scope, query.thread_id)
        run = None if query.run_id is None else self.load_run(scope, query.run_id)
        if thread is None or (query.run_id is not None and (run is None or run.thread_id != query.thread_id)):
            return Page(())
        after = query.after or 0
        place = {"thread": thread.no, "after": after}
        # The first dispatch of a run has the run's number.
        firsts = self._walk("runs_of_thread_up", place) if run is None else iter([run.no] if run.no > after else [])

        def load(no: int, _: None) -> Dispatch | None:
            row = self._row("dispatch_by_no", {"no": no})
            dispatch = None if row is None else dispatch_from(row)
            return dispatch if dispatch is not None and query.fits(dispatch) else None

        numbers = heapq.merge(firsts, self._walk("later_dispatches", place))
        return _page(((no, None) for no in numbers), load, query.limit)

    def _newest_dispatches(self, scope: Scope, query: DispatchQuery) -> Page[Dispatch]:
        """Through their runs, by the index that leaves out most of the others."""
        asked = tuple(DispatchStatus) if query.statuses is None else query.statuses
        phases: tuple[RunStatus | None, ...] = (None,)
        if all(status is DispatchStatus.CLAIMED for status in asked):
            phases = (RunStatus.RUNNING,)
        elif not any(status.is_terminal for status in asked):
            phases = _OPEN
        of_runs = [RunQuery(status=phase, agent_id=query.agent_id, after=query.after) for phase in phases]

        def load(no: int, _: None) -> Dispatch | None:
            row = self._row("newest_dispatch", {"no": no})
            dispatch = None if row is None else dispatch_from(row)
            return dispatch if dispatch is not None and query.fits(dispatch) else None

        numbers = heapq.merge(*[self._run_numbers(scope, each) for each in of_runs])
        return _page(((no, None) for no in numbers), load, query.limit)

    def list_queue(self, scope: Scope, thread_id: ThreadId, limit: int) -> list[Dispatch]:
        thread = self._thread_row(scope, thread_id)
        rows = [] if thread is None else self._rows("queue", {"thread": thread.no, "limit": limit})
        found: list[Dispatch] = []
        for row in rows:
            with suppress(DataIntegrity):
                found.append(dispatch_from(row))
        return found

    def list_claims(self, consumer: ConsumerId, after: int, limit: int) -> list[Held]:
        found: list[Held] = []
        place = {"consumer": pack(consumer), "after": after}
        for scope, *columns in self._db.execute(SQL["claims_of_consumer"], place):
            if len(found) == limit:
                break
            with suppress(DataIntegrity):  # it stands still until it is repaired, and no other does because of it
                found.append(Held(scope, dispatch_from(tuple(columns))))
        return found

    def count_dispatches(self) -> dict[DispatchStatus, int]:
        names = {DispatchStatus.QUEUED: "count_queued", DispatchStatus.CLAIMED: "count_claimed"}
        counts = dict.fromkeys(DispatchStatus, 0)
        for status in DispatchStatus:
            if status is not DispatchStatus.ACKED:
                place = {"limit": MAX_COUNTED, "status": DISPATCH_TEXT[status]}
                [(counts[status],)] = self._rows(names.get(status, "count_closed"), place)
        # Whoever is acked has no index, which every run would have to be written to.
        place = {"limit": MAX_COUNTED, "rows": MAX_COUNTED + sum(counts.values())}
        [(counts[DispatchStatus.ACKED],)] = self._rows("count_acked", place)
        return counts

    def list_ready_routes(self) -> list[Route]:
        found = [route for name in ("due_routes", "delayed_routes") for (route,) in self._rows(name, {})]
        return sorted({Route(route.removesuffix(SUSPECT_MARK)) for route in found})

    def next_due_at(self, routes: frozenset[Route]) -> int | None:
        return next_due(self._db, routes)

    # --- tickets ------------------------------------------------------------------------------------------------------

    def load_ticket(self, scope: Scope, ticket_id: TicketId) -> Ticket | None:
        row = self._row("shown_ticket", {"scope": scope, "ticket_id": pack(ticket_id)})
        return None if row is None else ticket_from(row)

    def list_tickets(self, scope: Scope, query: TicketQuery) -> Page[Ticket]:
        numbers = self._ticket_numbers(scope, query)

        def load(no: int, _: None) -> Ticket | None:
            row = self._row("ticket_by_no", {"no": no})
            ticket = None if row is None else ticket_from(row)
            return ticket if ticket is not None and query.fits(ticket) else None

        return _page(((no, None) for no in numbers), load, query.limit)

    def _ticket_numbers(self, scope: Scope, query: TicketQuery) -> Iterator[int]:
        """The tickets that may fit, in order, by the index that leaves out most of the others."""
        start = start_of(query.after, descending=query.descending)
        way, descending = _way(descending=query.descending)
        place: dict[str, Any] = {"scope": scope, "after": start}
        if query.run_id is not None:
            run = self._row("run", {"scope": scope, "run_id": pack(query.run_id)})
            return self._walk(f"tickets_of_run_{way}", {"run": 0 if run is None else run[0], "after": start})
        of_thread = query.thread_id is not None
        if query.thread_id is not None:
            thread = self._thread_row(scope, query.thread_id)
            place["thread"] = 0 if thread is None else thread.no
        elif query.expires_before is not None:
            expiring = self._expiring(scope, query.expires_before)
            if expiring is not None:
                ordered = sorted(expiring, reverse=descending)
                return iter([no for no in ordered if (no < start if descending else no > start)])
        elif query.state == "open":
            for name, value in (("tool", query.tool_name), ("kind", query.kind), ("agent", query.agent_id)):
                if value is not None:
                    return self._walk(f"open_tickets_of_{name}_{way}", {**place, _TICKET_COLUMNS[name]: value})
        statement = f"tickets_of_thread_{way}" if of_thread else f"tickets_{way}"
        states = ("open",) if query.expires_before is not None else _TICKET_STATES
        walks = [self._walk(statement, {**place, "state": state}) for state in states if query.state in (None, state)]
        return heapq.merge(*walks, reverse=descending)

    def _expiring(self, scope: Scope, before: int) -> list[int] | None:
        """None when they are too many to be put in order: then this is a filter without an index."""
        found = [*self._walk("tickets_expiring", {"scope": scope, "before": before, "limit": MAX_SCANNED + 1})]
        return found if len(found) <= MAX_SCANNED else None

    def count_open_tickets(self, now: Instant) -> list[OpenTickets]:
        rows = self._rows("count_waiting_tickets", {"limit": MAX_COUNTED})
        return [OpenTickets(kind, count, max(now - created_at, 0)) for kind, count, created_at in rows]

    def list_overdue_tickets(self, now: int, limit: int) -> list[OverdueTicket]:
        found: list[OverdueTicket] = []
        for no in self._walk("tickets_expiring", {"scope": None, "before": now + 1, "limit": limit}):
            with suppress(DataIntegrity):
                row = self._row("overdue_ticket", {"no": no})
                if row is not None:
                    scope, *columns = row
                    ticket = ticket_from(tuple(columns))
                    found.append(OverdueTicket(scope, ticket.thread_id, ticket.run_id, ticket.ticket_id))
        return found

    # --- messages and journal -----------------------------------------------------------------------------------------

    def load_message(self, scope: Scope, thread_id: ThreadId, message_id: MessageId) -> StoredMessage | None:
        thread = self._thread_row(scope, thread_id)
        if thread is None:
            return None
        row = self._row("message", {"thread": thread.no, "message_id": pack(message_id)})
        return None if row is None else message_from(row)

    def lost_messages(self, scope: Scope, thread_id: ThreadId, ids: Iterable[MessageId]) -> list[MessageId]:
        lost: list[MessageId] = []
        for message_id in ids:
            try:
                stored = self.load_message(scope, thread_id, message_id)
            except DataIntegrity:
                stored = None
            if stored is None:
                lost.append(message_id)
        return lost

    def list_pending(self, scope: Scope, thread_id: ThreadId) -> list[PendingMessage]:
        thread = self._thread_row(scope, thread_id)
        if thread is None or not thread.pending:
            return []
        found: list[PendingMessage] = []
        for row in self._rows("pending_messages", {"thread": thread.no}):
            found.append(PendingMessage(pending_from(row[:_OF_PENDING]), message_from(row[_OF_PENDING:]).message))
        return found

    def find_breaches(self, place: AuditPlace, now: Instant) -> AuditSlice:
        return find_breaches(self._db, place, now)

    def load_receipt(self, scope: Scope, thread_id: ThreadId, message_id: MessageId) -> Receipt | None:
        thread = self._thread_row(scope, thread_id)
        row = None if thread is None else self._row("receipt", {"thread": thread.no, "message_id": pack(message_id)})
        if row is None:
            return None
        is_steered, settled_at, *columns = row
        return receipt_of(thread_id, message_from(tuple(columns)), is_steered=bool(is_steered), settled_at=settled_at)

    def threads_of_message(self, scope: Scope, message_id: MessageId, limit: int) -> list[ThreadId]:
        place = {"scope": scope, "message_id": pack(message_id), "limit": limit}
        return [ThreadId(unpack(packed)) for (packed,) in self._rows("threads_of_message", place)]

    def list_messages(self, scope: Scope, thread_id: ThreadId, query: MessageQuery) -> list[StoredMessage]:
        found: list[StoredMessage] = []
        while True:
            page = self.page_messages(scope, thread_id, replace(query, limit=query.limit - len(found)))
            found += whole(page)
            if page.next is None or len(found) >= query.limit:
                return found
            query = replace(query, **{"before" if query.descending else "after": page.next})

    def page_messages(self, scope: Scope, thread_id: ThreadId, query: MessageQuery) -> Page[StoredMessage]:
        thread = self._thread_row(scope, thread_id)
        if thread is None:
            return Page(())
        if query.view == "effective" and thread.spans:
            spans = self._spans(thread)
            return page_of_view(spans, thread.message_seq, query, lambda window: self._window(thread, window))
        return self._window(thread, query)

    def _window(self, thread: ThreadRow, query: MessageQuery) -> Page[StoredMessage]:
        """As `page_messages`, of the log."""
        is_whole = query.visibility is None and query.run_id is None
        first, last, further = scanned_window(thread, query)
        values = {
            "thread": thread.no,
            "after": query.after if is_whole else first - 1,
            "before": LAST if is_whole and query.before is None else last + 1,
            "internal": None if query.visibility is None else query.visibility is Visibility.INTERNAL,
            "run_id": None if query.run_id is None else pack(query.run_id),
            "limit": query.limit if is_whole else query.limit + 1,
        }
        rows = self._rows("log_backward" if query.descending else "log_forward", values)
        found: dict[int, StoredMessage] = {}
        damaged: dict[int, str] = {}
        for row in rows[: query.limit]:
            seq: int = row[1] or 0
            try:
                found[seq] = message_from(row)
            except DataIntegrity as error:
                damaged[seq] = str(error)
        if is_whole:
            return window_page(thread, query, found, damaged)
        if len(rows) > query.limit > 0:
            further = (min if query.descending else max)([*found, *damaged])
        return Page(tuple(found.values()), further, tuple(damaged.values()))

    def list_spans(self, scope: Scope, thread_id: ThreadId) -> list[Span]:
        thread = self._thread_row(scope, thread_id)
        return [] if thread is None or not thread.spans else self._spans(thread)

    def _spans(self, thread: ThreadRow) -> list[Span]:
        return [span_from(row) for row in self._rows("spans", {"thread": thread.no})]

    def load_state(self, scope: Scope, thread_id: ThreadId) -> ThreadState:
        thread = self._thread_row(scope, thread_id)
        row = None if thread is None else self._row("state", {"thread": thread.no})
        return NO_STATE if row is None else state_from(thread_id, row)

    def load_snapshot(self, scope: Scope, thread_id: ThreadId) -> Snapshot | None:
        thread = self.load_thread(scope, thread_id)
        if thread is None:
            return None
        queue = self.list_queue(scope, thread_id, MAX_PAGE)
        tickets: tuple[Ticket, ...] = ()
        if thread.open_ticket_count:
            tickets = self.list_tickets(scope, TicketQuery(thread_id=thread_id, state="open", limit=MAX_PAGE)).items
        pending = tuple(self.list_pending(scope, thread_id)) if thread.pending_count else ()
        waiting = tuple([each.run_id for each in queue])
        return Snapshot(thread, self.load_state(scope, thread_id), waiting, tickets, pending)

    def list_journal(self, scope: Scope, run_id: RunId) -> list[JournalEntry]:
        return [journal_from(row) for row in self._rows("journal", {"scope": scope, "run_id": pack(run_id)})]

    # --- events -------------------------------------------------------------------------------------------------------

    def list_events(
        self, scope: Scope, thread_id: ThreadId, after: int, limit: int, run_id: RunId | None
    ) -> list[EventRow]:
        found: list[EventRow] = []
        while True:
            page = self.page_events(scope, thread_id, after, limit - sum([len(row.events) for row in found]), run_id)
            found += whole(page)
            if page.next is None or sum([len(row.events) for row in found]) >= limit:
                return found
            after = page.next

    def page_events(
        self, scope: Scope, thread_id: ThreadId, after: int, limit: int, run_id: RunId | None
    ) -> Page[EventRow]:
        thread = self._thread_row(scope, thread_id)
        if thread is None or limit < 1:
            return Page(())
        place: dict[str, Any] = {"thread": thread.no, "first": after + 1}
        further: int | None = None
        if run_id is not None:
            row = self._row("run", {"scope": scope, "run_id": pack(run_id)})
            run = None if row is None else run_from(row)
            if run is None or run.thread_id != thread_id:
                return Page(())
            # Between the events of a run lie those of others, which no index leaves out.
            scanned = max(after, run.first_event_seq - 1) + MAX_SCANNED
            end = run.updated_seq if run.status is RunStatus.DONE else thread.event_seq
            further = scanned if scanned < end else None
            place |= {"scope": scope, "run_id": pack(run_id), "last": scanned}
        found: list[EventRow] = []
        unreadable: list[str] = []
        reached, count = max(after, thread.first_event_seq - 1), 0
        for raw in self._db.execute(SQL["events_from" if run_id is None else "events_of_run"], place):
            if count >= limit:
                return Page(tuple(found), reached, tuple(unreadable))
            first_seq, last_seq = raw[0], raw[0] + raw[1] - 1
            if last_seq <= after:
                continue
            if run_id is None and first_seq > reached + 1:
                unreadable.append(f"thread {thread_id!r}: the event log has a hole before {first_seq}")
            try:
                found.append(self._completed(thread, events_from(thread_id, raw)).starting_after(after))
            except DataIntegrity as error:
                unreadable.append(str(error))
            count += last_seq - max(first_seq - 1, reached)
            reached = max(reached, last_seq)
        if further is not None:
            further = max(further, reached)  # the last row may reach further
        return Page(tuple(found), further, tuple(unreadable))

    def _completed(self, thread: ThreadRow, stored: StoredEvents) -> EventRow:
        def message_of(seq: int) -> Message | None:
            row = self._row("message_by_seq", {"thread": thread.no, "seq": seq})
            return None if row is None else message_from(row).message

        return completed_row(thread, stored, message_of)

    def last_events(self, scope: Scope, runs: Iterable[Run]) -> dict[RunId, EventRow]:
        found: dict[RunId, EventRow] = {}
        for run in runs:
            with suppress(DataIntegrity):
                row = self._last_event(scope, run)
                if row is not None:
                    found[run.run_id] = row
        return found

    def _last_event(self, scope: Scope, run: Run) -> EventRow | None:
        thread = self._thread_row(scope, run.thread_id)
        if thread is None:
            return None
        for first, last in tails(run, thread.event_seq):
            place = {"thread": thread.no, "run_id": pack(run.run_id), "first": first, "last": last}
            raw = self._row("last_events_of_run", place)
            if raw is not None:
                return self._completed(thread, events_from(run.thread_id, raw).last())
        return None

    def event_bounds(self, scope: Scope, thread_id: ThreadId) -> tuple[int, int]:
        thread = self._thread_row(scope, thread_id)
        return (1, 0) if thread is None else (thread.first_event_seq, thread.event_seq)

    # --- rows ---------------------------------------------------------------------------------------------------------

    # --- errands and schedules ----------------------------------------------------------------------------------------

    def list_outbox(self, after: int, lane: Lane | None, limit: int) -> list[OutboxRow]:
        found: list[OutboxRow] = []
        place: dict[str, Any] = {"after": after, "limit": limit}
        if lane is not None:
            place |= {"scope": lane[0], "sender": pack(lane[1]), "thread_id": pack(lane[2])}
        for row in self._rows("outbox" if lane is None else "outbox_of_lane", place):
            with suppress(DataIntegrity):  # it stays where it is until it is repaired
                found.append(errand_from(row))
        return found

    def load_schedule(self, scope: Scope, name: str) -> Schedule | None:
        row = self._row("schedule", {"scope": scope, "name": name})
        return None if row is None else schedule_from(row)[1]

    def list_schedules(self, scope: Scope, after: int | None, limit: int) -> Page[Schedule]:
        def load(no: int, row: Row) -> Schedule:
            return schedule_from(row)[1]

        place = {"scope": scope, "after": after or 0, "limit": limit + 1}
        return _page([(row[0], row) for row in self._rows("schedules", place)], load, limit)

    def _row(self, name: str, values: dict[str, Any]) -> Row | None:
        row: Row | None = self._db.execute(SQL[name], values).fetchone()
        return row

    def _rows(self, name: str, values: dict[str, Any]) -> list[Row]:
        return self._db.execute(SQL[name], values).fetchall()

    def _walk(self, name: str, values: dict[str, Any]) -> Iterator[int]:
        """The numbers that a statement finds, read as far as they are asked for."""
        return (no for (no,) in self._db.execute(SQL[name], values))


_ThreadNo = TypeVar("_ThreadNo")


def _page(
    numbered: Iterable[tuple[int, _ThreadNo]], load: Callable[[int, _ThreadNo], RecordT | None], limit: int
) -> Page[RecordT]:
    """The first `limit` records that `load` finds, in the order of the numbers; it is None for what does not fit."""
    if limit < 1:
        return Page(())
    items: list[RecordT] = []
    unreadable: list[str] = []
    last = 0
    for scanned, (no, other) in enumerate(numbered):
        if len(items) == limit or scanned == MAX_SCANNED:
            return Page(tuple(items), last, tuple(unreadable))
        last = no
        try:
            record = load(no, other)
        except DataIntegrity as error:
            unreadable.append(str(error))
            continue
        if record is not None:
            items.append(record)
    return Page(tuple(items), None, tuple(unreadable))


def _way(*, descending: bool) -> tuple[str, bool]:
    return ("down" if descending else "up"), descending


@contextmanager
def reading(db: sqlite3.Connection) -> Generator[Reading]:
    """All reads inside see the same state."""
    db.execute("BEGIN")
    try:
        yield Reading(db)
    finally:
        if db.in_transaction:
            db.execute("ROLLBACK")
