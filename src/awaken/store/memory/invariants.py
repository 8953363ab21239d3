"""Finds what breaks an invariant in the tables, some threads at a time.

Above: `store`. Below: the tables.
Holds: what the shape of the tables excludes (a row without its thread, a record that cannot be read, a second claim) is
not looked for.

Source: ADR 0019.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import islice, pairwise
from typing import Final

from awaken.domain.child import child_of
from awaken.domain.clock import Instant
from awaken.domain.dispatch import ACKED, CLAIMED, QUEUED, Dispatch
from awaken.domain.ids import RunId, Scope
from awaken.domain.run import DONE, WAITING, Run
from awaken.domain.ticket import Ticket
from awaken.store.invariants import AUDIT_ROWS, AuditPlace, AuditSlice, Breach
from awaken.store.memory.mending import count_thread, reported
from awaken.store.memory.tables import Tables
from awaken.store.rules.facts import ThreadKey, ThreadRow

_Found = Iterator[tuple[str, str]]
"""The name of an invariant, and what breaks it."""
_THREADS: Final = AUDIT_ROWS // 20
"""Threads of a slice, which runs on the event loop."""


def find_breaches(tables: Tables, place: AuditPlace, now: Instant) -> AuditSlice:
    """What breaks an invariant in the threads behind `place`; behind the last one, what belongs to no thread."""
    keys = [*islice(tables.threads, place.after, place.after + _THREADS)]
    if not keys:
        gone = [no for no in tables.journal if no not in {run.no for run in tables.runs.values()}]
        left = [Breach(invariant="journal_has_run", scope=Scope(""), thread_id=None, subject=str(no)) for no in gone]
        return AuditSlice(tuple(left), None, 1.0)
    found: list[Breach] = []
    for key in keys:
        row = tables.threads[key]
        if row.deleted_at is None:
            for look in _LOOKS:
                found += [
                    Breach(invariant=name, scope=key[0], thread_id=key[1], subject=subject)
                    for name, subject in look(tables, key, row, now)
                ]
    following = place.after + len(keys)
    return AuditSlice(tuple(found), AuditPlace(0, following), following / (len(tables.threads) + 1))


def _of_runs(tables: Tables, key: ThreadKey, row: ThreadRow, now: Instant) -> _Found:
    for run in tables.runs_of(key):
        tickets = tables.open_tickets(key[0], run.run_id)
        if run.open_tickets != len(tickets):
            yield "open_tickets_agree", run.run_id
        if run.open_turn is not None and not _is_own(tables, key, run, run.open_turn):
            yield "open_turn_is_own", run.run_id
        if run.status is not DONE:
            yield from _of_open_run(tables, key[0], run)
        yield from [("ticket_is_of_open_run", each.ticket_id) for each in tickets if _is_left(each, run)]
        for ticket in tickets:
            if ticket.asked.kind == "child":
                yield from _of_child(tables, key[0], ticket)


def _is_own(tables: Tables, key: ThreadKey, run: Run, seq: int) -> bool:
    data = tables.data[key]
    return 1 <= seq <= len(data.log) and data.messages[data.log[seq - 1]].run_id == run.run_id


def _is_left(ticket: Ticket, run: Run) -> bool:
    return run.status is DONE and ticket.asked.kind != "child"


def _of_open_run(tables: Tables, scope: Scope, run: Run) -> _Found:
    newest = tables.dispatches.get((scope, run.dispatch_id))
    if newest is None:
        yield "open_run_has_dispatch", run.run_id
        return
    is_open = any(each.run_id == run.run_id for each in _open_dispatches(tables, (scope, run.thread_id)))
    if newest.status.is_terminal and not is_open and not (run.status is WAITING and newest.status is ACKED):
        yield "run_ends_with_dispatch", run.run_id
    if run.waiting is not None and newest.status is ACKED:
        found = [tables.tickets.get((scope, each)) for each in run.waiting.tickets]
        if any(each is None or not each.is_open for each in found):
            yield "wait_is_for_open_tickets", run.run_id


def _of_child(tables: Tables, scope: Scope, ticket: Ticket) -> _Found:
    child = child_of(ticket)
    run = tables.runs.get((scope, child.run_id))
    if run is None and not _has_errands(tables, scope, ticket.run_id):
        yield "child_was_begun", ticket.ticket_id
    elif run is not None and run.status is DONE and not _has_errands(tables, scope, run.run_id):
        yield "child_is_told", ticket.ticket_id


def _has_errands(tables: Tables, scope: Scope, run_id: RunId) -> bool:
    return any((each.scope, each.run_id) == (scope, run_id) for each in tables.outbox.values())


def _open_dispatches(tables: Tables, key: ThreadKey) -> list[Dispatch]:
    claimed = tables.claimed(key)
    return tables.queue(key) if claimed is None else [claimed, *tables.queue(key)]


def _of_dispatches(tables: Tables, key: ThreadKey, row: ThreadRow, now: Instant) -> _Found:
    for each in _open_dispatches(tables, key):
        run = tables.runs.get((key[0], each.run_id))
        if run is None:
            yield "dispatch_has_run", each.dispatch_id
        elif run.status is DONE:
            yield "claim_is_of_open_run" if each.status is CLAIMED else "queued_is_of_open_run", each.dispatch_id
        elif run.dispatch_id != each.dispatch_id:
            yield "one_open_dispatch", run.run_id
        if each.status is QUEUED and each.epoch < row.epoch:
            yield "queued_is_of_this_epoch", each.dispatch_id
        if each.status is QUEUED and run is not None:
            brought, stored = each.brings(run.request.input_message_ids), tables.data[key].messages
            if not all([message_id in stored for message_id in brought]):
                yield "queued_has_messages", each.dispatch_id


def _of_messages(tables: Tables, key: ThreadKey, row: ThreadRow, now: Instant) -> _Found:
    data = tables.data[key]
    is_open = {run.run_id for run in tables.unfinished(key)}
    for message_id, stored in data.messages.items():
        if stored.seq is None and stored.fate is None and stored.run_id not in is_open:
            yield "pending_is_for_open_run" if message_id in data.pending else "message_has_fate", message_id
    seqs = [data.messages[each].seq for each in data.log]
    if seqs != [*range(1, len(seqs) + 1)] or row.message_seq > len(seqs):
        yield "messages_have_no_hole", str(row.message_seq)


def _of_logs(tables: Tables, key: ThreadKey, row: ThreadRow, now: Instant) -> _Found:
    data = tables.data[key]
    for before, after in pairwise(data.events):
        if after.first_seq != before.last_seq + 1:
            yield "events_have_no_hole", str(before.last_seq + 1)
    if row.event_seq >= row.first_event_seq and (not data.events or row.event_seq > data.events[-1].last_seq):
        yield "events_have_no_hole", str(row.event_seq)
    reports = reported(tables, key)
    yield from [("report_has_message", str(seq)) for seq in sorted(reports) if not 1 <= seq <= len(data.log)]
    first = 1 if row.first_event_seq == 1 else min(reports, default=len(data.log) + 1)
    for seq in range(first, len(data.log) + 1):
        if seq not in reports:
            yield "message_is_reported", data.log[seq - 1]


def _of_counters(tables: Tables, key: ThreadKey, row: ThreadRow, now: Instant) -> _Found:
    rows = count_thread(tables, key)
    assert rows is not None, "the thread is there"
    counts = (row.queued, row.waiting, row.left_open, row.pending, row.spans)
    behind = row.message_seq < rows.message_seq or row.event_seq < rows.event_seq
    if behind or counts != (len(rows.queue), rows.waiting, rows.left_open, rows.pending, rows.spans):
        yield "counters_agree", ""
    if row.latest_run_no != rows.latest_run_no:
        yield "newest_run_is_newest", ""
    ready = row.ready
    if (ready is not None) != (bool(rows.queue) and not rows.is_claimed):
        yield "ready_key_is_of_queue", ""
    elif ready is not None:
        stands_for = [each for each in rows.queue if each.no == ready.no]
        keys = [(each.route, each.priority, at) for each in stands_for for at in (0, each.available_at)]
        sooner = [each for each in rows.queue if each.available_at < ready.at]
        if (ready.route, ready.priority, ready.at) not in keys or (ready.at > now and sooner):
            yield "ready_key_is_of_queue", ""


_LOOKS: Final[tuple[Callable[[Tables, ThreadKey, ThreadRow, Instant], _Found], ...]] = (
    _of_runs,
    _of_dispatches,
    _of_messages,
    _of_logs,
    _of_counters,
)
