"""Reads, on connections of their own that cannot write.

Above: `PostgresStore` runs each of these in a transaction that only reads. Below: `session`.
Holds: one read sees one state of the database. A hole in a log is reported, not read over. A list is served by an
index; what no index knows is looked for in at most `MAX_SCANNED` rows per page. A row of a list that cannot be read is
named and left out.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncGenerator, Awaitable, Callable, Coroutine, Iterable, Mapping, Sequence
from contextlib import aclosing, suppress
from typing import Any, Final, TypeVar

import msgspec
from msgspec.structs import replace

from awaken.domain.clock import Instant
from awaken.domain.dead_letter import DeadLetter, DeadLetterQuery
from awaken.domain.dispatch import SUSPECT_MARK, Dispatch, DispatchStatus
from awaken.domain.errors import DataIntegrity
from awaken.domain.ids import AgentId, ConsumerId, DispatchId, MessageId, Route, RunId, Scope, ThreadId, TicketId
from awaken.domain.log import EventRow, referred
from awaken.domain.message import Message, Visibility
from awaken.domain.outbox import Lane, OutboxRow
from awaken.domain.phase import Phase, open_phase, phase_of
from awaken.domain.receipt import Receipt
from awaken.domain.run import Run, RunStatus
from awaken.domain.schedule import Schedule
from awaken.domain.span import Span, View
from awaken.domain.state import NO_STATE, ThreadState
from awaken.domain.thread import Thread
from awaken.domain.ticket import Ticket
from awaken.domain.worker import WorkerRecord
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
from awaken.store.postgres.asks import next_due
from awaken.store.postgres.invariants import find_breaches
from awaken.store.postgres.session import Lookup, Row, Session, lookup_of
from awaken.store.rows import (
    DISPATCH_TEXT,
    RUN_TEXT,
    dispatch_from,
    errand_from,
    events_from,
    journal_from,
    message_from,
    pending_from,
    run_from,
    schedule_from,
    span_from,
    state_from,
    thread_from,
    ticket_from,
)
from awaken.store.rules.facts import ThreadRow
from awaken.store.rules.receipt import receipt_of
from awaken.store.rules.thread import derive_thread
from awaken.store.transitions import JournalEntry

encode_worker: Final = msgspec.json.Encoder().encode
_decode_worker: Final = msgspec.json.Decoder(WorkerRecord).decode
_OF_PENDING: Final = 11
"""How many columns an entry has that waits."""
_OPEN: Final = tuple([status for status in RunStatus if status is not RunStatus.DONE])
_AT_ONCE: Final = 256
"""Rows that a walk reads at a time."""
_MOST_TAILS: Final = 2
"""In how many parts of a log the newest event of a run is looked for."""
RecordT = TypeVar("RecordT")
Walk = AsyncGenerator[tuple[int, Row], None]
"""Rows of a list with the numbers that order them, read as far as they are asked for."""


class Reading:
    """One state of the database, for as long as its transaction is open."""

    def __init__(self, db: Session) -> None:
        self._db = db
        self._known: dict[Lookup, list[Row]] = {}
        """What was looked up in this state. Pages look up what all their rows need in one statement, and ahead."""

    async def _look_up(self, wanted: Iterable[Lookup]) -> Mapping[Lookup, list[Row]]:
        """The rows of each, and of all that is known."""
        missing = [each for each in wanted if each not in self._known]
        self._known |= await self._db.look_up(missing)
        return self._known

    async def _found(self, name: str, **values: Any) -> Row | None:
        """The first row of one."""
        asked = lookup_of(name, **values)
        return next(iter((await self._look_up([asked]))[asked]), None)

    async def now(self) -> Instant:
        [now] = await self._one("now", {})
        return now

    async def find_breaches(self, place: AuditPlace, now: Instant) -> AuditSlice:
        return await find_breaches(self._db, place, now)

    # --- threads ------------------------------------------------------------------------------------------------------

    async def load_thread(self, scope: Scope, thread_id: ThreadId) -> Thread | None:
        row = await self._thread_row(scope, thread_id)
        return None if row is None else await self._thread(row)

    async def _thread_row(self, scope: Scope, thread_id: ThreadId) -> ThreadRow | None:
        """None also for a deleted one."""
        row = await self._db.row("thread", {"scope": scope, "thread_id": thread_id})
        thread = None if row is None else thread_from(tuple(row))
        return thread if thread is not None and thread.deleted_at is None else None

    async def _thread_rows(self, scope: Scope, ids: Iterable[ThreadId]) -> dict[ThreadId, ThreadRow]:
        """Of those that are there, and can be read."""
        wanted = [lookup_of("thread", scope=scope, thread_id=each) for each in ids]
        threads: dict[ThreadId, ThreadRow] = {}
        for rows in (await self._db.look_up(wanted)).values():
            for thread in _readable(rows, thread_from):
                if thread.deleted_at is None:
                    threads[thread.thread_id] = thread
        return threads

    async def _thread(self, row: ThreadRow) -> Thread:
        """The thread with what is derived from its runs and dispatches, as far as those can be read."""
        thread_no, latest = row.no, row.latest_run_no
        claimed = await self._found("claimed", thread=thread_no)
        head = await self._found("head_of_queue", thread=thread_no) if row.queued else None
        waits = await self._found("waiting_runs", thread=thread_no, limit=1) if row.waiting else None
        lost: list[str] = []

        async def found(loading: Coroutine[Any, Any, Run | None]) -> Run | None:
            try:
                return await loading
            except DataIntegrity as error:
                lost.append(str(error))
                return None

        async def of_claimed(columns: Row) -> Run | None:
            return await self._bare_run(row.scope, dispatch_from(tuple(columns)).run_id)

        async def of_waiting(columns: Row) -> Run | None:
            return run_from(tuple(columns))

        async def of_number(no: int) -> Run | None:
            found = await self._found("run_by_no", no=no)
            return None if found is None else run_from(tuple(found))

        [open_tickets] = await self._found("count_open_tickets", thread=thread_no) or (0,)
        thread = derive_thread(
            row,
            active=None if claimed is None else await found(of_claimed(claimed)),
            head=None if head is None else await found(self._bare_run(row.scope, RunId(head[0]))),
            waits=None if waits is None else await found(of_waiting(waits)),
            latest=None if latest is None else await found(of_number(latest)),
            open_tickets=open_tickets,
        )
        return replace(thread, unreadable=tuple(dict.fromkeys(lost))) if lost else thread

    async def _threads_ahead(self, rows: Iterable[ThreadRow]) -> None:
        """Look up what `_thread` asks of each."""
        wanted: list[Lookup] = []
        for row in rows:
            wanted += [lookup_of(name, thread=row.no) for name in ("claimed", "count_open_tickets")]
            wanted += [lookup_of("head_of_queue", thread=row.no)] if row.queued else []
            wanted += [lookup_of("waiting_runs", thread=row.no, limit=1)] if row.waiting else []
            wanted += [] if row.latest_run_no is None else [lookup_of("run_by_no", no=row.latest_run_no)]
        found = await self._look_up(wanted)
        runs: list[Lookup] = []
        for row in rows:
            for columns in found[lookup_of("claimed", thread=row.no)]:
                with suppress(DataIntegrity):  # whoever derives the thread says so
                    runs.append(lookup_of("shown_run", scope=row.scope, run_id=dispatch_from(tuple(columns)).run_id))
            for columns in found.get(lookup_of("head_of_queue", thread=row.no), ()):
                runs.append(lookup_of("shown_run", scope=row.scope, run_id=columns[0]))
        await self._look_up(runs)

    async def list_threads(self, scope: Scope, query: ThreadQuery) -> Page[Thread]:
        descending = not query.ascending
        name = f"listed_threads{'_down' if descending else ''}"

        async def ahead(rows: Sequence[Row]) -> None:
            threads = _readable(rows, thread_from)
            await self._threads_ahead([each for each in threads if query.fits_info(each.thread_id, each.info)])

        walk = self._walk(name, {"scope": scope}, query.after, descending, query.limit, ahead)
        few: list[Any] | None = None
        if query.resource_id is not None:
            few = await self._few("few_threads", {"scope": scope, "resource_id": query.resource_id})
        elif query.parent_thread_id is not None:
            few = await self._few("few_children", {"scope": scope, "parent": query.parent_thread_id})
        if few is not None:
            start = start_of(query.after, descending=descending)
            behind = [row for row in few if (row[0] < start if descending else row[0] > start)]
            walk = _given(sorted(behind, key=lambda row: row[0], reverse=descending))

        async def load(row: Row) -> Thread | None:
            found = thread_from(tuple(row))
            if not query.fits_info(found.thread_id, found.info):
                return None
            thread = await self._thread(found)
            return thread if query.status in (None, thread.status) else None

        return await _page(walk, load, query.limit)

    async def _few(self, name: str, values: dict[str, Any]) -> list[Any] | None:
        """None when they are too many to be put in order: then this is a filter without an index."""
        rows = await self._db.rows(name, {**values, "limit": MAX_SCANNED + 1})
        return rows if len(rows) <= MAX_SCANNED else None

    # --- runs ---------------------------------------------------------------------------------------------------------

    async def load_run(self, scope: Scope, run_id: RunId) -> Run | None:
        row = await self._found("shown_run", scope=scope, run_id=run_id)
        return None if row is None else await self._run(row)

    async def _bare_run(self, scope: Scope, run_id: RunId) -> Run | None:
        """Without its output."""
        row = await self._found("shown_run", scope=scope, run_id=run_id)
        return None if row is None else run_from(tuple(row))

    async def _run_by_no(self, no: int) -> Run | None:
        row = await self._found("run_by_no", no=no)
        return None if row is None else await self._run(row)

    async def _run(self, row: Row) -> Run:
        """With its output, where that can be read: a run says itself what of it cannot (`Run.unreadable`)."""
        run = run_from(tuple(row))
        if not run.output_message_ids:
            return run
        with suppress(DataIntegrity):
            wanted = _outputs(run)
            found = await self._look_up(wanted)
            if all(found[each] for each in wanted):
                texts = [message_from(tuple(found[each][0])).message.text for each in wanted]
                return replace(run, final_output="".join(texts))
        return run

    async def latest_run(self, scope: Scope, thread_id: ThreadId) -> Run | None:
        row = await self._thread_row(scope, thread_id)
        return None if row is None or row.latest_run_no is None else await self._run_by_no(row.latest_run_no)

    async def list_runs(self, scope: Scope, query: RunQuery) -> Page[Run]:
        way = _way(query.descending)
        if query.thread_id is not None:
            thread = await self._thread_row(scope, query.thread_id)
            name, place = f"runs_of_thread_{way}", {"thread": 0 if thread is None else thread.no}
        elif query.status is None or query.status is RunStatus.DONE:
            name, place = f"runs_{way}", {"scope": scope, "agent_id": query.agent_id}
        else:
            name = f"open_runs_{way}"
            place = {"scope": scope, "agent_id": query.agent_id, "statuses": [RUN_TEXT[query.status]]}

        async def ahead(rows: Sequence[Row]) -> None:
            runs = [run for run in _readable(rows, run_from) if query.fits(run)]
            await self._runs_ahead(scope, runs, dispatches=query.phase is not None)

        async def load(row: Row) -> Run | None:
            run = await self._run(row)
            if not query.fits(run):
                return None
            if query.phase is not None:
                dispatch = await self.load_dispatch(scope, run.dispatch_id)
                if phase_of(run, dispatch) != query.phase:
                    return None
            return run

        walk = self._walk(name, place, query.after, query.descending, query.limit, ahead)
        return await _page(walk, load, query.limit)

    async def _runs_ahead(self, scope: Scope, runs: Iterable[Run], *, dispatches: bool) -> None:
        """Look up what is shown with each."""
        wanted = [each for run in runs for each in _outputs(run)]
        if dispatches:
            wanted += [lookup_of("dispatch", scope=scope, dispatch_id=run.dispatch_id) for run in runs]
        await self._look_up(wanted)

    async def list_dead_letters(self, scope: Scope, query: DeadLetterQuery) -> Page[DeadLetter]:
        name, place = "dead_runs", {"scope": scope}
        if query.thread_id is not None:
            thread = await self._thread_row(scope, query.thread_id)
            name, place = "runs_of_thread_down", {"thread": 0 if thread is None else thread.no}

        async def ahead(rows: Sequence[Row]) -> None:
            runs = [run for run in _readable(rows, run_from) if run.dead_lettered]
            await self._runs_ahead(scope, runs, dispatches=True)

        async def load(row: Row) -> DeadLetter | None:
            run = await self._run(row)
            if not run.dead_lettered:
                return None
            dispatch = await self.load_dispatch(scope, run.dispatch_id)
            if dispatch is None:
                raise DataIntegrity(f"dispatch {run.dispatch_id!r} of run {run.run_id!r} is gone")
            letter = DeadLetter(run, dispatch)
            return letter if query.fits(letter) else None

        walk = self._walk(name, place, query.after, True, query.limit, ahead)
        return await _page(walk, load, query.limit)

    async def count_open_runs(self, scope: Scope) -> list[OpenCount]:
        found: list[OpenCount] = []
        for status in _OPEN:
            place = {"scope": scope, "status": RUN_TEXT[status], "limit": MAX_COUNTED}
            found += [OpenCount(agent, status, count) for agent, count in await self._db.rows("count_open_runs", place)]
        return sorted(found, key=lambda each: (each.agent_id, each.status))

    async def summarize_runs(self, scope: Scope, now: Instant) -> RunSummary:
        counts: Counter[tuple[AgentId, Phase]] = Counter()
        due: list[Instant] = []
        for status in _OPEN:
            place = {"scope": scope, "status": RUN_TEXT[status], "now": now, "limit": MAX_COUNTED}
            for agent, started, dispatch_status, count, due_at in await self._db.rows("summarize_runs", place):
                is_queued = dispatch_status == DISPATCH_TEXT[DispatchStatus.QUEUED]
                counts[agent, open_phase(status, has_started=bool(started), is_queued=is_queued)] += count
                if is_queued and due_at is not None:
                    due.append(due_at)
        found = [PhaseCount(agent, phase, count) for (agent, phase), count in sorted(counts.items())]
        return RunSummary(tuple(found), min(due, default=None))

    # --- dispatches ---------------------------------------------------------------------------------------------------

    async def load_dispatch(self, scope: Scope, dispatch_id: DispatchId) -> Dispatch | None:
        row = await self._found("dispatch", scope=scope, dispatch_id=dispatch_id)
        return None if row is None else dispatch_from(tuple(row))

    async def load_dispatches(self, scope: Scope, ids: Iterable[DispatchId]) -> dict[DispatchId, Dispatch]:
        wanted = {each: lookup_of("dispatch", scope=scope, dispatch_id=each) for each in ids}
        rows = await self._look_up(wanted.values())
        found: dict[DispatchId, Dispatch] = {}
        for dispatch_id, asked in wanted.items():
            for dispatch in _readable(rows[asked], dispatch_from):  # the list that it is for names the others
                found[dispatch_id] = dispatch
        return found

    async def active_dispatch(self, scope: Scope, thread_id: ThreadId) -> Dispatch | None:
        thread = await self._thread_row(scope, thread_id)
        row = None if thread is None else await self._db.row("claimed", {"thread": thread.no})
        return None if row is None else dispatch_from(tuple(row))

    async def list_dispatches(self, scope: Scope, query: DispatchQuery) -> Page[Dispatch]:
        if query.thread_id is None:
            asked = tuple(DispatchStatus) if query.statuses is None else query.statuses
            is_open = not any(status.is_terminal for status in asked)
            name = "newest_open_dispatches" if is_open else "newest_dispatches"
            walk = self._walk(name, {"scope": scope, "agent_id": query.agent_id}, query.after, False)
        else:
            thread = await self._thread_row(scope, query.thread_id)
            place = {"thread": 0 if thread is None else thread.no, "run_id": query.run_id}
            walk = self._walk("dispatches_of_thread", place, query.after, False)

        async def load(row: Row) -> Dispatch | None:
            dispatch = dispatch_from(tuple(row))
            return dispatch if query.fits(dispatch) else None

        return await _page(walk, load, query.limit)

    async def list_queue(self, scope: Scope, thread_id: ThreadId, limit: int) -> list[Dispatch]:
        thread = await self._thread_row(scope, thread_id)
        rows = [] if thread is None else await self._db.rows("queue", {"thread": thread.no, "limit": limit})
        return _readable(rows, dispatch_from)

    async def list_claims(self, consumer: ConsumerId, after: int, limit: int) -> list[Held]:
        found: list[Held] = []
        while len(found) < limit:
            wanted = limit - len(found)
            place = {"consumer": consumer, "after": after, "limit": wanted}
            rows = await self._db.rows("claims_of_consumer", place)
            for scope, *columns in rows:
                after = columns[0]
                with suppress(DataIntegrity):  # it stands still until it is repaired, and no other does because of it
                    found.append(Held(scope, dispatch_from(tuple(columns))))
            if len(rows) < wanted:
                break
        return found

    async def count_dispatches(self) -> dict[DispatchStatus, int]:
        queued, claimed, cancelled, superseded, dead = await self._one("count_dispatches", {"limit": MAX_COUNTED})
        # Whoever is acked has no index, which every run would have to be written to.
        place = {"limit": MAX_COUNTED, "rows": MAX_COUNTED + queued + claimed + cancelled + superseded + dead}
        [acked] = await self._one("count_acked", place)
        return {
            DispatchStatus.QUEUED: queued,
            DispatchStatus.CLAIMED: claimed,
            DispatchStatus.ACKED: acked,
            DispatchStatus.CANCELLED: cancelled,
            DispatchStatus.SUPERSEDED: superseded,
            DispatchStatus.DEAD_LETTER: dead,
        }

    async def list_ready_routes(self) -> list[Route]:
        rows = await self._db.rows("ready_routes")
        return sorted({Route(route.removesuffix(SUSPECT_MARK)) for (route,) in rows})

    async def next_due_at(self, routes: frozenset[Route]) -> int | None:
        return await next_due(self._db, routes)

    # --- tickets ------------------------------------------------------------------------------------------------------

    async def load_ticket(self, scope: Scope, ticket_id: TicketId) -> Ticket | None:
        row = await self._db.row("shown_ticket", {"scope": scope, "ticket_id": ticket_id})
        return None if row is None else ticket_from(tuple(row))

    async def list_tickets(self, scope: Scope, query: TicketQuery) -> Page[Ticket]:
        way = _way(query.descending)
        thread_id = query.thread_id
        if query.run_id is not None:
            run = await self._db.row("run", {"scope": scope, "run_id": query.run_id})
            thread_id = ThreadId("") if run is None else ThreadId(run[2])
        if thread_id is not None:
            thread = await self._thread_row(scope, thread_id)
            place: dict[str, Any] = {"thread": 0 if thread is None else thread.no, "state": query.state}
            name = f"tickets_of_thread_{way}"
        elif query.state == "open" or query.expires_before is not None:
            place = {
                "scope": scope,
                "agent_id": query.agent_id,
                "kind": query.kind,
                "tool_name": query.tool_name,
                "before": query.expires_before,
            }
            name = f"open_tickets_{way}"
        else:
            place, name = {"scope": scope}, f"tickets_{way}"

        async def load(row: Row) -> Ticket | None:
            ticket = ticket_from(tuple(row))
            return ticket if query.fits(ticket) else None

        return await _page(self._walk(name, place, query.after, query.descending), load, query.limit)

    async def count_open_tickets(self, now: Instant) -> list[OpenTickets]:
        rows = await self._db.rows("count_waiting_tickets", {"limit": MAX_COUNTED})
        return [OpenTickets(kind, count, max(now - created_at, 0)) for kind, count, created_at in rows]

    async def list_overdue_tickets(self, now: int, limit: int) -> list[OverdueTicket]:
        found: list[OverdueTicket] = []
        for scope, *columns in await self._db.rows("overdue_tickets", {"before": now + 1, "limit": limit}):
            with suppress(DataIntegrity):
                ticket = ticket_from(tuple(columns))
                found.append(OverdueTicket(scope, ticket.thread_id, ticket.run_id, ticket.ticket_id))
        return found

    # --- messages and journal -----------------------------------------------------------------------------------------

    async def load_message(self, scope: Scope, thread_id: ThreadId, message_id: MessageId) -> StoredMessage | None:
        thread = await self._thread_row(scope, thread_id)
        if thread is None:
            return None
        row = await self._db.row("message", {"thread": thread.no, "message_id": message_id})
        return None if row is None else message_from(tuple(row))

    async def lost_messages(self, scope: Scope, thread_id: ThreadId, ids: Sequence[MessageId]) -> list[MessageId]:
        thread = await self._thread_row(scope, thread_id)
        if thread is None:
            return list(ids)
        found = await self._db.look_up([("message", (each, thread.no)) for each in ids])
        return [each for each in ids if not _readable(found["message", (each, thread.no)], message_from)]

    async def list_pending(self, scope: Scope, thread_id: ThreadId) -> list[PendingMessage]:
        thread = await self._thread_row(scope, thread_id)
        if thread is None or not thread.pending:
            return []
        found: list[PendingMessage] = []
        for row in await self._db.rows("pending_messages", {"thread": thread.no}):
            entry, message = pending_from(tuple(row[:_OF_PENDING])), message_from(tuple(row[_OF_PENDING:]))
            found.append(PendingMessage(entry, message.message))
        return found

    async def load_receipt(self, scope: Scope, thread_id: ThreadId, message_id: MessageId) -> Receipt | None:
        thread = await self._thread_row(scope, thread_id)
        place = {"thread": 0 if thread is None else thread.no, "message_id": message_id}
        row = None if thread is None else await self._db.row("receipt", place)
        if row is None:
            return None
        is_steered, settled_at, *columns = row
        return receipt_of(thread_id, message_from(tuple(columns)), is_steered=bool(is_steered), settled_at=settled_at)

    async def threads_of_message(self, scope: Scope, message_id: MessageId, limit: int) -> list[ThreadId]:
        place = {"scope": scope, "message_id": message_id, "limit": limit}
        return [ThreadId(thread_id) for (thread_id,) in await self._db.rows("threads_of_message", place)]

    async def list_messages(self, scope: Scope, thread_id: ThreadId, query: MessageQuery) -> list[StoredMessage]:
        found: list[StoredMessage] = []
        while True:
            page = await self.page_messages(scope, thread_id, replace(query, limit=query.limit - len(found)))
            found += whole(page)
            if page.next is None or len(found) >= query.limit:
                return found
            query = replace(query, **{"before" if query.descending else "after": page.next})

    async def page_messages(self, scope: Scope, thread_id: ThreadId, query: MessageQuery) -> Page[StoredMessage]:
        thread = await self._thread_row(scope, thread_id)
        if thread is None:
            return Page(())
        if query.view == "effective" and thread.spans:
            return await self._page_of_view(thread, query)
        return await self._window(thread, query)

    async def _page_of_view(self, thread: ThreadRow, query: MessageQuery) -> Page[StoredMessage]:
        """As `store.view` puts it together."""
        last = thread.message_seq if query.before is None else min(query.before - 1, thread.message_seq)
        items: list[StoredMessage] = []
        unreadable: list[str] = []
        end: int | None = None
        for part in View(await self._spans(thread)).parts(query.after + 1, last, descending=query.descending):
            if len(items) >= query.limit:
                return Page(tuple(items), end, tuple(unreadable))
            window = replace(
                query,
                view="log",
                after=part.seq - 1,
                before=part.seq + part.last - part.first + 1,
                limit=query.limit - len(items),
            )
            page = await self._window(thread, window)
            items += page.items
            unreadable += page.unreadable
            if page.next is not None:
                return Page(tuple(items), page.next, tuple(unreadable))
            end = part.first if query.descending else part.last
        return Page(tuple(items), None, tuple(unreadable))

    async def _window(self, thread: ThreadRow, query: MessageQuery) -> Page[StoredMessage]:
        """As `page_messages`, of the log."""
        is_whole = query.visibility is None and query.run_id is None
        first, last, further = scanned_window(thread, query)
        values = {
            "thread": thread.no,
            "after": query.after if is_whole else first - 1,
            "before": LAST if is_whole and query.before is None else last + 1,
            "internal": None if query.visibility is None else int(query.visibility is Visibility.INTERNAL),
            "run_id": query.run_id,
            "limit": max(query.limit if is_whole else query.limit + 1, 0),
        }
        rows = await self._db.rows(f"log_{_way(query.descending)}", values)
        found: dict[int, StoredMessage] = {}
        damaged: dict[int, str] = {}
        for row in rows[: max(query.limit, 0)]:
            seq: int = row[1] or 0
            try:
                found[seq] = message_from(tuple(row))
            except DataIntegrity as error:
                damaged[seq] = str(error)
        if is_whole:
            return window_page(thread, query, found, damaged)
        if len(rows) > query.limit > 0:
            further = (min if query.descending else max)([*found, *damaged])
        return Page(tuple(found.values()), further, tuple(damaged.values()))

    async def list_spans(self, scope: Scope, thread_id: ThreadId) -> list[Span]:
        thread = await self._thread_row(scope, thread_id)
        return [] if thread is None or not thread.spans else await self._spans(thread)

    async def _spans(self, thread: ThreadRow) -> list[Span]:
        return [span_from(tuple(row)) for row in await self._db.rows("spans", {"thread": thread.no})]

    async def load_state(self, scope: Scope, thread_id: ThreadId) -> ThreadState:
        thread = await self._thread_row(scope, thread_id)
        row = None if thread is None else await self._db.row("state", {"thread": thread.no})
        return NO_STATE if row is None else state_from(thread_id, tuple(row))

    async def load_snapshot(self, scope: Scope, thread_id: ThreadId) -> Snapshot | None:
        thread = await self.load_thread(scope, thread_id)
        if thread is None:
            return None
        queue = await self.list_queue(scope, thread_id, MAX_PAGE)
        tickets: tuple[Ticket, ...] = ()
        if thread.open_ticket_count:
            query = TicketQuery(thread_id=thread_id, state="open", limit=MAX_PAGE)
            tickets = (await self.list_tickets(scope, query)).items
        pending = tuple(await self.list_pending(scope, thread_id)) if thread.pending_count else ()
        waiting = tuple([each.run_id for each in queue])
        return Snapshot(thread, await self.load_state(scope, thread_id), waiting, tickets, pending)

    async def list_journal(self, scope: Scope, run_id: RunId) -> list[JournalEntry]:
        return [journal_from(tuple(row)) for row in await self._db.rows("journal", {"scope": scope, "run_id": run_id})]

    # --- events -------------------------------------------------------------------------------------------------------

    async def list_events(
        self, scope: Scope, thread_id: ThreadId, after: int, limit: int, run_id: RunId | None
    ) -> list[EventRow]:
        found: list[EventRow] = []
        while True:
            left = limit - sum([len(row.events) for row in found])
            page = await self.page_events(scope, thread_id, after, left, run_id)
            found += whole(page)
            if page.next is None or sum([len(row.events) for row in found]) >= limit:
                return found
            after = page.next

    async def page_events(
        self, scope: Scope, thread_id: ThreadId, after: int, limit: int, run_id: RunId | None
    ) -> Page[EventRow]:
        thread = await self._thread_row(scope, thread_id)
        if thread is None or limit < 1:
            return Page(())
        # One row more than can be needed, and the one that begins before `after`: a row has one event at least.
        place: dict[str, Any] = {"thread": thread.no, "first": after + 1, "limit": limit + 2}
        further: int | None = None
        if run_id is not None:
            row = await self._db.row("run", {"scope": scope, "run_id": run_id})
            run = None if row is None else run_from(tuple(row))
            if run is None or run.thread_id != thread_id:
                return Page(())
            # Between the events of a run lie those of others, which no index leaves out.
            scanned = max(after, run.first_event_seq - 1) + MAX_SCANNED
            end = run.updated_seq if run.status is RunStatus.DONE else thread.event_seq
            further = scanned if scanned < end else None
            first = max(after + 1, run.first_event_seq)
            place |= {"run_id": run_id, "first": first, "last": min(scanned, end)}
        found: list[EventRow] = []
        unreadable: list[str] = []
        reached, count = max(after, thread.first_event_seq - 1), 0
        rows = await self._db.rows("events_from" if run_id is None else "events_of_run", place)
        shown = [row for row in rows if row[0] + row[1] - 1 > after]
        messages = await self._referred([(thread, row) for row in shown])
        for raw in shown:
            if count >= limit:
                return Page(tuple(found), reached, tuple(unreadable))
            first_seq, last_seq = raw[0], raw[0] + raw[1] - 1
            if run_id is None and first_seq > reached + 1:
                unreadable.append(f"thread {thread_id!r}: the event log has a hole before {first_seq}")
            try:
                row = completed_row(thread, events_from(thread_id, tuple(raw)), _of(thread, messages))
                found.append(row.starting_after(after))
            except DataIntegrity as error:
                unreadable.append(str(error))
            count += last_seq - max(first_seq - 1, reached)
            reached = max(reached, last_seq)
        if further is not None:
            further = max(further, reached)  # the last row may reach further
        return Page(tuple(found), further, tuple(unreadable))

    async def _referred(self, rows: Iterable[tuple[ThreadRow, Row]]) -> dict[tuple[int, int], Message | DataIntegrity]:
        """The messages that rows of events refer to, by the number of their thread and their seq."""
        places: set[tuple[int, int]] = set()
        for thread, row in rows:
            with suppress(DataIntegrity):  # whoever completes it says so
                seqs = referred(events_from(thread.thread_id, tuple(row)).events)
                places.update([(thread.no, seq) for seq in seqs])
        wanted = {place: lookup_of("message_at", thread=place[0], seq=place[1]) for place in sorted(places)}
        rows_of = await self._db.look_up([*wanted.values()])
        found: dict[tuple[int, int], Message | DataIntegrity] = {}
        for place, asked in wanted.items():
            for row in rows_of[asked]:
                try:
                    found[place] = message_from(tuple(row)).message
                except DataIntegrity as error:
                    found[place] = error
        return found

    async def last_events(self, scope: Scope, runs: Sequence[Run]) -> dict[RunId, EventRow]:
        threads = await self._thread_rows(scope, {run.thread_id for run in runs})
        ends = {run.run_id: (threads[run.thread_id], run) for run in runs if run.thread_id in threads}
        found: dict[RunId, tuple[ThreadRow, Row]] = {}
        for which in range(_MOST_TAILS):
            wanted: dict[RunId, Lookup] = {}
            for run_id, (thread, run) in ends.items():
                tail = tails(run, thread.event_seq)[which : which + 1]
                for first, last in tail if run_id not in found else ():
                    wanted[run_id] = lookup_of(
                        "last_events_of_run", thread=thread.no, run_id=run_id, first=first, last=last
                    )
            rows = await self._db.look_up([*wanted.values()])
            found |= {run_id: (ends[run_id][0], row) for run_id, asked in wanted.items() for row in rows[asked]}
        messages = await self._referred(found.values())
        completed: dict[RunId, EventRow] = {}
        for run_id, (thread, row) in found.items():
            with suppress(DataIntegrity):
                stored = events_from(thread.thread_id, tuple(row)).last()
                completed[run_id] = completed_row(thread, stored, _of(thread, messages))
        return completed

    async def event_bounds(self, scope: Scope, thread_id: ThreadId) -> tuple[int, int]:
        thread = await self._thread_row(scope, thread_id)
        return (1, 0) if thread is None else (thread.first_event_seq, thread.event_seq)

    # --- errands and schedules ----------------------------------------------------------------------------------------

    async def list_outbox(self, after: int, lane: Lane | None, limit: int) -> list[OutboxRow]:
        place: dict[str, Any] = {"after": after, "limit": limit}
        if lane is not None:
            place |= {"scope": lane[0], "sender": lane[1], "thread_id": lane[2]}
        rows = await self._db.rows("outbox" if lane is None else "outbox_of_lane", place)
        return _readable(rows, errand_from)  # what is damaged stays where it is until it is repaired

    async def status_of(self, transaction: str) -> str | None:
        """`in progress`, `committed` or `aborted`; None for a transaction of long ago."""
        [status] = await self._db.row("transaction", {"transaction": transaction})
        return status

    async def has_errand(self, no: int) -> bool:
        [found] = await self._db.row("errand_is_stored", {"no": no})
        return found

    async def list_workers(self, since: Instant) -> tuple[WorkerRecord, ...]:
        found: list[WorkerRecord] = []
        for seen_at, body in await self._db.rows("workers", {"after": since}):
            with suppress(msgspec.MsgspecError):  # of another version, which is known to others of that one
                found.append(replace(_decode_worker(body), seen_at=seen_at))
        return tuple(found)

    async def load_schedule(self, scope: Scope, name: str) -> Schedule | None:
        row = await self._db.row("schedule", {"scope": scope, "name": name})
        return None if row is None else schedule_from(tuple(row))[1]

    async def list_schedules(self, scope: Scope, after: int | None, limit: int) -> Page[Schedule]:
        async def load(row: Row) -> Schedule:
            return schedule_from(tuple(row))[1]

        rows = await self._db.rows("schedules", {"scope": scope, "after": after or 0, "limit": limit + 1})
        return await _page(_given([(row[0], *row) for row in rows]), load, limit)

    # --- rows ---------------------------------------------------------------------------------------------------------

    async def _one(self, name: str, values: dict[str, Any]) -> Row:
        row: Row = await self._db.row(name, values)
        return row

    async def _walk(
        self,
        name: str,
        values: dict[str, Any],
        after: int | None,
        descending: bool,
        limit: int = _AT_ONCE,
        ahead: Callable[[Sequence[Row]], Awaitable[None]] | None = None,
    ) -> Walk:
        """The rows of a statement that begins behind a number, in order. `limit`: so many of them may be enough;
        `ahead` sees them before they are walked through.
        """
        start = start_of(after, descending=descending)
        at_once = min(max(limit, 1) + 1, _AT_ONCE)
        while True:
            rows = await self._db.rows(name, {**values, "after": start, "limit": at_once})
            if ahead is not None:
                await ahead([row[1:] for row in rows])
            for row in rows:
                start = row[0]
                yield start, row[1:]
            if len(rows) < at_once:
                return
            at_once = _AT_ONCE


async def _given(rows: Sequence[Row]) -> Walk:
    for row in rows:
        yield row[0], row[1:]


async def _page(walk: Walk, load: Callable[[Row], Coroutine[Any, Any, RecordT | None]], limit: int) -> Page[RecordT]:
    """The first `limit` records that `load` finds, in the order of the walk; it is None for what does not fit."""
    if limit < 1:
        return Page(())
    items: list[RecordT] = []
    unreadable: list[str] = []
    last = scanned = 0
    async with aclosing(walk):
        async for no, row in walk:
            if len(items) == limit or scanned == MAX_SCANNED:
                return Page(tuple(items), last, tuple(unreadable))
            last = no
            scanned += 1
            try:
                record = await load(row)
            except DataIntegrity as error:
                unreadable.append(str(error))
                continue
            if record is not None:
                items.append(record)
    return Page(tuple(items), None, tuple(unreadable))


def _outputs(run: Run) -> list[Lookup]:
    """What it has said."""
    return [lookup_of("output_message", run=run.no, message_id=each) for each in run.output_message_ids]


def _of(
    thread: ThreadRow, messages: Mapping[tuple[int, int], Message | DataIntegrity]
) -> Callable[[int], Message | DataIntegrity | None]:
    """Those of a thread, by seq."""
    return lambda seq: messages.get((thread.no, seq))


def _readable(rows: Iterable[Row], record_from: Callable[[tuple[Any, ...]], RecordT]) -> list[RecordT]:
    found: list[RecordT] = []
    for row in rows:
        with suppress(DataIntegrity):
            found.append(record_from(tuple(row)))
    return found


def _way(descending: bool) -> str:
    return "down" if descending else "up"
