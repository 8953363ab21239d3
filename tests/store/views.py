"""What readers see of a store, as values, and what must be true of it whatever was asked.

Above: the random tests of the stores and of `Awaken`, which look after every step, and audit the store besides. Below:
the reads of a store.
Holds: nothing here knows what was asked. What is read of one moment has to agree with itself.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Coroutine, Sequence
from typing import Any, Final, TypeVar

import msgspec

from awaken.domain.dispatch import Dispatch, DispatchStatus
from awaken.domain.event import TERMINAL_KINDS, opened
from awaken.domain.ids import DEFAULT_SCOPE, AgentId, ConsumerId, DispatchId, MessageId, RunId, Scope, ThreadId
from awaken.domain.log import EventRow
from awaken.domain.outbox import OutboxRow
from awaken.domain.receipt import Receipt
from awaken.domain.run import Run, RunMode, RunStatus
from awaken.domain.schedule import Schedule
from awaken.domain.span import Span
from awaken.domain.state import ThreadState, Values
from awaken.domain.thread import Thread
from awaken.domain.ticket import Ticket
from awaken.store.contract import (
    DispatchQuery,
    Held,
    MessageQuery,
    OpenCount,
    Page,
    PendingMessage,
    Reads,
    RunQuery,
    StoredMessage,
    ThreadQuery,
    TicketQuery,
)
from awaken.store.transitions import JournalEntry

RecordT = TypeVar("RecordT")
ALL: Final = 10_000
NEWS: Final = frozenset({"ChildFinished", "ChildSuspended", "MessageUndeliverable"})
"""What is told of a run after its end, too."""


# --- what is read -----------------------------------------------------------------------------------------------------


class ThreadView(msgspec.Struct):
    """Everything a reader sees of one thread."""

    scope: Scope
    thread_id: ThreadId
    thread: Thread | None
    runs: list[Run]
    dispatches: list[Dispatch]
    queue: list[Dispatch]
    log: list[StoredMessage]
    effective: list[StoredMessage]
    spans: list[Span]
    state: ThreadState
    pending: list[PendingMessage]
    receipts: list[Receipt]
    events: list[EventRow]
    bounds: tuple[int, int]

    def having(self, *statuses: DispatchStatus) -> list[Dispatch]:
        return [dispatch for dispatch in self.dispatches if dispatch.status in statuses]


class View(msgspec.Struct):
    """Everything a reader sees."""

    counts: dict[DispatchStatus, int]
    outbox: list[OutboxRow]
    threads: list[ThreadView] = []
    open_runs: list[list[OpenCount]] = []
    claims: list[Held] = []
    tickets: list[tuple[Scope, Ticket]] = []
    journals: list[list[JournalEntry]] = []
    schedules: list[tuple[Scope, Schedule]] = []

    def runs(self, scope: Scope) -> list[Run]:
        return [run for view in self.threads if view.scope == scope for run in view.runs]

    @property
    def all_runs(self) -> list[Run]:
        return [run for view in self.threads for run in view.runs]

    @property
    def receipts(self) -> dict[tuple[ThreadId, MessageId], Receipt]:
        return {(view.thread_id, each.message_id): each for view in self.threads for each in view.receipts}

    def thread(self, thread_id: str, scope: Scope = DEFAULT_SCOPE) -> ThreadView | None:
        return next((view for view in self.threads if (view.scope, view.thread_id) == (scope, thread_id)), None)

    def has_dispatch(self, scope: Scope, thread_id: ThreadId, run_id: RunId, dispatch_id: DispatchId) -> bool:
        """Of that thread and run: once retention has removed them, a caller may use their ids again elsewhere."""
        place = (scope, thread_id, run_id, dispatch_id)
        return any(
            (view.scope, view.thread_id, each.run_id, each.dispatch_id) == place
            for view in self.threads
            for each in view.dispatches
        )

    def left_open(self, scope: Scope, thread_id: ThreadId) -> set[RunId]:
        """The ended runs of a thread whose last calls nobody has answered."""
        runs = [run for run in self.runs(scope) if run.thread_id == thread_id]
        return {run.run_id for run in runs if run.status is RunStatus.DONE and run.open_turn is not None}

    def waits_for_time(self) -> bool:
        """Something is queued in a free thread, or held for as long as a lease."""
        free = any(not each.having(DispatchStatus.CLAIMED) and each.queue for each in self.threads)
        expiring = any(ticket.is_open and ticket.expires_at is not None for _, ticket in self.tickets)
        falling_due = any(schedule.next_at is not None for _, schedule in self.schedules)
        return free or expiring or falling_due or any(held.dispatch.lease_until is not None for held in self.claims)


def check_thread(view: ThreadView) -> None:
    thread = view.thread
    if thread is None:
        assert (view.runs, view.dispatches, view.queue, view.log, view.events) == ([], [], [], [], [])
        assert (view.bounds, view.spans, view.state) == ((1, 0), [], ThreadState())
        return
    queued, claimed = view.having(DispatchStatus.QUEUED), view.having(DispatchStatus.CLAIMED)
    assert len(claimed) <= 1, "one claimed dispatch per thread"
    assert thread.queued_count == len(queued)
    assert view.queue == sorted(queued, key=lambda dispatch: (dispatch.priority, dispatch.position))
    assert [dispatch.no for dispatch in view.dispatches] == sorted({dispatch.no for dispatch in view.dispatches})
    assert thread.active_run_id == (claimed[0].run_id if claimed else None)
    waiting = sorted([run for run in view.runs if run.status is RunStatus.WAITING], key=lambda run: run.updated_seq)
    opened = [*[each.run_id for each in (*claimed, *view.queue)], *[run.run_id for run in reversed(waiting)], None]
    assert thread.open_run_id == opened[0]
    assert thread.latest_run_id == (view.runs[-1].run_id if view.runs else None)
    assert all(dispatch.epoch == thread.epoch for dispatch in queued), "an interrupt leaves nothing older queued"
    assert [stored.seq for stored in view.log] == list(range(1, thread.message_count + 1))
    assert len({stored.message.id for stored in view.log}) == thread.message_count
    seqs = [row.first_seq + n for row in view.events for n in range(len(row.events))]
    assert view.bounds[1] == thread.event_count
    assert seqs == list(range(view.bounds[0], thread.event_count + 1)), "the log loses its beginning and nothing else"
    for dispatch in view.dispatches:
        dispatch.check()
    _check_runs(view, {dispatch.run_id: dispatch for dispatch in (*queued, *claimed)})
    _check_messages(view)
    _check_effective(view)
    _check_state(view)
    _check_wakes(view)


def _check_messages(view: ThreadView) -> None:
    """What waits does so for an open run; every message has one fate, and what has none waits, or is brought."""
    assert view.thread is not None
    assert view.thread.pending_count == len(view.pending)
    entries = [each.entry for each in view.pending]
    assert [entry.position for entry in entries] == sorted({entry.position for entry in entries})
    unfinished = {run.run_id: run for run in view.runs if run.status is not RunStatus.DONE}
    for entry in entries:
        run = unfinished[entry.run_id]
        is_wake = run.status is RunStatus.CREATED and run.request.trace.mode is RunMode.INTERNAL_WAKE
        assert (entry.boundary == "resume_input") <= (run.status in (RunStatus.WAITING, RunStatus.RUNNING) or is_wake)
    in_log = {stored.message.id: stored.seq for stored in view.log}
    assert not in_log.keys() & {entry.message_id for entry in entries}
    waits = {entry.message_id for entry in entries}
    for dispatch in view.queue:
        runs = [run for run in view.runs if run.run_id == dispatch.run_id]
        waits |= {each for run in runs for each in dispatch.message_ids or run.request.input_message_ids}
    for receipt in view.receipts:
        assert (receipt.fate == "consumed") == (receipt.message_id in in_log)
        assert receipt.seq == in_log.get(receipt.message_id)
        assert (receipt.settled_at is None) == (receipt.fate == "pending")
        if receipt.fate == "pending":
            assert receipt.message_id in waits, f"{receipt} waits for nothing"


def _check_effective(view: ThreadView) -> None:
    """What is read is the log without what a span hides; each span is reported by an event of its own."""
    hidden = {seq for span in view.spans for seq in range(span.first_seq, span.last_seq + 1)}
    if all(span.replacement_seq is None for span in view.spans):
        assert view.effective == [stored for stored in view.log if stored.seq not in hidden]
    assert hidden <= {stored.seq for stored in view.log}
    reported = [span.event_seq for span in view.spans if span.event_seq >= view.bounds[0]]
    assert sorted(reported) == [seq for seq, kind, _ in _events_of(view) if kind == "MessagesHidden"]


def _check_state(view: ThreadView) -> None:
    """The state is what its changes come to, one after the other; each made one version."""
    changes = [payload for _, kind, payload in _events_of(view) if kind == "StateDeltaObserved"]
    kept = range(view.state.version - len(changes) + 1, view.state.version + 1)
    assert [change.version for change in changes] == [*kept]
    if view.bounds[0] == 1:
        values: Values = {}
        for change in changes:
            for operation in change.patch:
                *path, key = operation["path"].removeprefix("/").split("/")
                place = values
                for name in path:
                    place = place[name]
                assert (key in place) == (operation["op"] != "add")
                if operation["op"] == "remove":
                    del place[key]
                else:
                    place[key] = operation["value"]
        assert (len(changes), values) == (view.state.version, view.state.values)


def _check_wakes(view: ThreadView) -> None:
    """However many children of a run that has ended tell of their ends: until it is claimed there is one wake."""
    queued = {dispatch.run_id for dispatch in view.queue if dispatch.tried_at is None}
    traces = [run.request.trace for run in view.runs if run.run_id in queued and run.status is RunStatus.CREATED]
    woken = [trace.correlation_id for trace in traces if trace.mode is RunMode.INTERNAL_WAKE]
    assert len(woken) == len(set(woken)), f"several wakes for one run: {woken}"


def _events_of(view: ThreadView) -> list[tuple[int, str, Any]]:
    """The events with their places; the payload of those that say something that is checked."""
    told = ("StateDeltaObserved",)
    return [
        (row.first_seq + n, event.kind, opened(event) if event.kind in told else None)
        for row in view.events
        for n, event in enumerate(row.events)
    ]


def _check_runs(view: ThreadView, open_dispatches: dict[RunId, Dispatch]) -> None:
    events = {
        run.run_id: [
            event.kind
            for row in view.events
            if row.run_id == run.run_id and row.first_seq >= run.first_event_seq  # not of one before it with its id
            for event in row.events
        ]
        for run in view.runs
    }
    for run in view.runs:
        run.check()
        dispatch = open_dispatches.pop(run.run_id, None)
        if run.status in (RunStatus.CREATED, RunStatus.RUNNING):
            assert dispatch is not None and dispatch.dispatch_id == run.dispatch_id, "an unfinished run is due or held"
        elif run.status is RunStatus.WAITING and dispatch is not None:
            assert (dispatch.dispatch_id, dispatch.status) == (run.dispatch_id, "queued")
            assert dispatch.why in ("input", "decided", "children")
        else:
            assert dispatch is None, "a run that ended or waits holds nothing"
        if dispatch is not None and dispatch.status is DispatchStatus.CLAIMED:
            assert run.status is RunStatus.RUNNING
        if run.open_turn is not None:
            turn = view.log[run.open_turn - 1]
            assert turn.run_id == run.run_id and turn.message.tool_calls, "an open turn is a message of the run's own"
        if run.status is not RunStatus.DONE:
            assert view.bounds[0] <= run.first_event_seq, "nothing of an unfinished run is purged"
        if view.bounds[0] <= run.first_event_seq:
            _check_events(run, events[run.run_id])
    assert not open_dispatches, "every open dispatch has its run"


def _check_events(run: Run, kinds: list[str]) -> None:
    """Of a run whose events are all kept."""
    assert (run.started_at is None) == (run.status is RunStatus.CREATED or "RunStarted" not in kinds)
    own = [kind for kind in kinds if kind not in NEWS]
    ends = [n for n, kind in enumerate(own) if kind in TERMINAL_KINDS]
    assert ends == ([len(own) - 1] if run.status is RunStatus.DONE else []), f"one end, and the last: {kinds}"


def check_tickets(view: View) -> None:
    """A run counts its open tickets, and one that waits for a ticket waits for an open one."""
    for scope in {each.scope for each in view.threads}:
        mine = [ticket for owner, ticket in view.tickets if owner == scope]
        for run in view.runs(scope):
            own = {ticket.ticket_id: ticket for ticket in mine if ticket.run_id == run.run_id}
            still = [ticket for ticket in own.values() if ticket.is_open]
            assert (run.open_tickets, run.tickets) == (len(still), len(own))
            if run.status is RunStatus.DONE:
                assert {ticket.asked.kind for ticket in still} <= {"child"}
            if run.waiting is not None:
                assert all(own[each].is_open for each in run.waiting.tickets)
        for each in view.threads:
            if each.scope == scope and each.thread is not None:
                in_thread = [ticket for ticket in mine if ticket.thread_id == each.thread_id and ticket.is_open]
                assert each.thread.open_ticket_count == len(in_thread)
                for run in each.runs:
                    _check_waits_for_something(run, each, [t for t in mine if t.run_id == run.run_id])


def _check_waits_for_something(run: Run, view: ThreadView, tickets: list[Ticket]) -> None:
    if run.waiting is not None and tickets and not any(each.run_id == run.run_id for each in view.queue):
        named = run.waiting.next_dispatch_id
        assert run.waiting.tickets or named not in {each.dispatch_id for each in view.dispatches}


def check_counts(view: View) -> None:
    counted = Counter(dispatch.status for each in view.threads for dispatch in each.dispatches)
    assert view.counts == {status: counted[status] for status in DispatchStatus}
    unfinished = Counter(
        (run.agent_id, run.status) for each in view.threads for run in each.runs if run.status is not RunStatus.DONE
    )
    assert sum((Counter({(each.agent_id, each.status): each.count}) for found in view.open_runs for each in found),
               Counter[tuple[AgentId, RunStatus]]()) == unfinished  # fmt: skip
    held = [dispatch.no for each in view.threads for dispatch in each.having(DispatchStatus.CLAIMED)]
    assert sorted(each.dispatch.no for each in view.claims) == sorted(held)


# --- reading ----------------------------------------------------------------------------------------------------------


def looking(
    places: Sequence[tuple[Scope, ThreadId]] | None = None, consumers: Sequence[ConsumerId] = ()
) -> Callable[[Reads], Coroutine[Any, Any, View]]:
    """Everything, of these threads; None: of the default scope, and of the threads that it lists."""

    async def read(store: Reads) -> View:
        there = await _places(store) if places is None else places
        runs: dict[Scope, list[Run]] = {}
        view = View(counts=await store.count_dispatches(), outbox=await store.list_outbox(limit=ALL))
        for scope in dict.fromkeys([DEFAULT_SCOPE, *[scope for scope, _ in there]]):
            runs[scope] = await items_of(store.list_runs(scope, RunQuery(limit=ALL)))
            view.open_runs.append(await store.count_open_runs(scope))
            view.tickets += [
                (scope, each) for each in await items_of(store.list_tickets(scope, TicketQuery(limit=ALL)))
            ]
            view.schedules += [(scope, each) for each in await items_of(store.list_schedules(scope, limit=ALL))]
            for run in runs[scope][-4:]:
                view.journals.append(await store.list_journal(scope, run.run_id))
        for scope, thread_id in there:
            view.threads.append(await _thread(store, scope, thread_id, runs[scope]))
        for consumer in consumers:
            view.claims += await store.list_claims(consumer, limit=ALL)
        return view

    return read


async def _places(store: Reads) -> list[tuple[Scope, ThreadId]]:
    threads = await items_of(store.list_threads(DEFAULT_SCOPE, ThreadQuery(limit=ALL)))
    return [(DEFAULT_SCOPE, thread_id) for thread_id in sorted([each.thread_id for each in threads])]


async def _thread(store: Reads, scope: Scope, thread_id: ThreadId, runs: list[Run]) -> ThreadView:
    """`runs`: those that lists name."""
    dispatches = await items_of(store.list_dispatches(scope, DispatchQuery(thread_id=thread_id, limit=ALL)))
    mine = {run.run_id: run for run in runs if run.thread_id == thread_id}
    for run_id in {dispatch.run_id for dispatch in dispatches} - mine.keys():
        hidden = await store.load_run(scope, run_id)
        assert hidden is not None and hidden.hidden, f"no list has run {run_id}"
        mine[run_id] = hidden
    known = sorted(mine.values(), key=lambda run: run.no)
    log = await store.list_messages(scope, thread_id, MessageQuery(limit=ALL))
    events = await store.list_events(scope, thread_id, after=0, limit=100_000)
    named = [each.message.id for each in log]
    named += [each for run in known for each in run.request.input_message_ids]
    named += [each for dispatch in dispatches for each in dispatch.message_ids or ()]
    named += [opened(each).message_id for row in events for each in row.events if each.kind == "MessagePended"]
    receipts = [await store.load_receipt(scope, thread_id, each) for each in dict.fromkeys(named)]
    return ThreadView(
        scope=scope,
        thread_id=thread_id,
        thread=await store.load_thread(scope, thread_id),
        runs=known,
        dispatches=dispatches,
        queue=await store.list_queue(scope, thread_id, limit=ALL),
        log=log,
        effective=await store.list_messages(scope, thread_id, MessageQuery(view="effective", limit=ALL)),
        spans=await store.list_spans(scope, thread_id),
        state=await store.load_state(scope, thread_id),
        pending=await store.list_pending(scope, thread_id),
        receipts=[each for each in receipts if each is not None],
        events=events,
        bounds=await store.event_bounds(scope, thread_id),
    )


async def items_of(reading: Coroutine[Any, Any, Page[RecordT]]) -> list[RecordT]:
    """A list that fits into one page."""
    page = await reading
    assert (page.next, page.unreadable) == (None, ())
    return [*page.items]
