"""Answers what mending asks.

Above: `asks`, for a rule that mends. Below: the tables.

Source: ADR 0019.
"""

from __future__ import annotations

from typing import Any

import msgspec

from awaken.domain.dispatch import CLAIMED, QUEUED
from awaken.domain.ids import DispatchId, RunId, Scope, TicketId
from awaken.domain.log import referred
from awaken.domain.record import CURRENT, decode_events
from awaken.domain.run import DONE, WAITING
from awaken.store.memory.tables import Tables
from awaken.store.rules.facts import ThreadKey, Waiter
from awaken.store.rules.mend_asks import (
    CountRun,
    CountThread,
    Enter,
    IsReported,
    MendAsk,
    Recount,
    RemoveRow,
    RowsOfRun,
    RowsOfThread,
)


def answer(tables: Tables, ask: MendAsk[Any]) -> Any:
    match ask:
        case CountThread():
            return count_thread(tables, ask.key)
        case CountRun():
            return _count_run(tables, ask.scope, ask.run_id)
        case Recount():
            return _recount(tables, ask)
        case IsReported():
            return ask.seq in reported(tables, ask.key)
        case Enter():
            return "there"  # rows are their own entries here
        case RemoveRow():
            return _remove_row(tables, ask)
        case _:
            raise AssertionError(f"no answer to {type(ask).__name__}")


def count_thread(tables: Tables, key: ThreadKey) -> RowsOfThread | None:
    row = tables.threads.get(key)
    if row is None or row.deleted_at is not None:
        return None
    data, runs = tables.data[key], tables.runs_of(key)
    return RowsOfThread(
        thread_no=row.no,
        waiting=len([run for run in runs if run.status is WAITING]),
        left_open=len([run for run in runs if run.status is DONE and run.open_turn is not None]),
        pending=len(data.pending),
        spans=len(data.spans),
        message_seq=len(data.log),
        event_seq=data.events[-1].last_seq if data.events else 0,
        latest_run_no=max([run.no for run in runs], default=None),
        is_claimed=data.claimed is not None,
        queue=tuple([Waiter.of(each) for each in tables.queue(key)]),
    )


def reported(tables: Tables, key: ThreadKey) -> set[int]:
    """The seqs of the messages that events of the thread report."""
    rows = [decode_events(each.body, CURRENT["events"], "events") for each in tables.data[key].events]
    return {seq for events in rows for seq in referred(events)}


def _count_run(tables: Tables, scope: Scope, run_id: RunId) -> RowsOfRun:
    mine = [each for (owner, _), each in tables.dispatches.items() if owner == scope and each.run_id == run_id]
    run = tables.runs.get((scope, run_id))
    data = None if run is None else tables.data[scope, run.thread_id]
    messages = [] if data is None else [each for each in data.messages.values() if each.run_id == run_id]
    pending = () if data is None else data.pending
    return RowsOfRun(
        open_tickets=tables.open_tickets(scope, run_id),
        open_dispatches=tuple([each for each in mine if each.status in (QUEUED, CLAIMED)]),
        unplaced=tuple(
            [
                each.message.id
                for each in messages
                if each.seq is None and not each.fate and each.message.id not in pending
            ]
        ),
        has_first_dispatch=run is not None and any(each.no == run.no for each in mine),
    )


def _recount(tables: Tables, ask: Recount) -> bool:
    row, rows = tables.threads[ask.key], ask.rows
    before = msgspec.structs.replace(row)
    row.queued, row.waiting, row.left_open = len(rows.queue), rows.waiting, rows.left_open
    row.pending, row.spans = rows.pending, rows.spans
    row.message_seq, row.event_seq = max(row.message_seq, rows.message_seq), max(row.event_seq, rows.event_seq)
    row.position = max([row.position, *[each.position for each in rows.queue]])
    row.latest_run_no, row.ready = rows.latest_run_no, ask.ready
    return row != before


def _remove_row(tables: Tables, ask: RemoveRow) -> bool:
    scope, subject = ask.scope, ask.subject
    match ask.what:
        case "dispatch":
            return tables.dispatches.pop((scope, DispatchId(subject)), None) is not None
        case "ticket":
            ticket = tables.tickets.pop((scope, TicketId(subject)), None)
            if ticket is not None:
                tables.tickets_of[scope, ticket.run_id].pop(ticket.ticket_id, None)
            return ticket is not None
        case "journal":
            return tables.journal.pop(int(subject), None) is not None
