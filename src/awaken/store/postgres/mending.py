"""Answers what mending asks.

Above: `asks`, for a rule that mends. Below: the statements of `invariants.sql`, in the transaction of the batch.
Holds: what is counted is counted in the rows.

Source: ADR 0019.
"""

from __future__ import annotations

from typing import Any

from awaken.domain.errors import DataIntegrity
from awaken.domain.ids import MessageId, RunId, Scope
from awaken.store.postgres.facts import hold
from awaken.store.postgres.invariants import SQL
from awaken.store.postgres.session import Session
from awaken.store.rows import dispatch_from, ticket_from, waiter_from
from awaken.store.rules.facts import ThreadKey
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


async def answer(db: Session, ask: MendAsk[Any]) -> Any:
    match ask:
        case CountThread():
            return await _count_thread(db, ask.key)
        case CountRun():
            try:
                return await _count_run(db, ask.scope, ask.run_id)
            except DataIntegrity as error:
                return error
        case Recount():
            return await _recount(db, ask)
        case IsReported():
            place = {"scope": ask.key[0], "thread_id": ask.key[1], "seq": ask.seq}
            return bool((await db.row("is_reported", place, SQL))[0])
        case Enter():
            return "there"  # a row is found through its thread by what it says itself
        case RemoveRow():
            return await _remove_row(db, ask)
        case _:
            raise AssertionError(f"no answer to {type(ask).__name__}")


async def _count_thread(db: Session, key: ThreadKey) -> RowsOfThread | None:
    await hold(db, [key], wait=True)
    row = await db.row("count_rows", {"scope": key[0], "thread_id": key[1]}, SQL)
    if row is None:
        return None
    queue = await db.rows("whole_queue", {"thread": row[0]}, SQL)
    no, waiting, left_open, pending, spans, message_seq, event_seq, latest_run_no, is_claimed = row
    return RowsOfThread(
        thread_no=no,
        waiting=waiting,
        left_open=left_open,
        pending=pending,
        spans=spans,
        message_seq=message_seq,
        event_seq=event_seq,
        latest_run_no=latest_run_no,
        is_claimed=bool(is_claimed),
        queue=tuple([waiter_from(tuple(each)) for each in queue]),
    )


async def _count_run(db: Session, scope: Scope, run_id: RunId) -> RowsOfRun:
    place = {"scope": scope, "run_id": run_id}
    run = await db.row("run", place)
    tickets = [] if run is None else await db.rows("open_tickets_of_run", {"run": run[0]})
    dispatches = await db.rows("open_dispatches_of_run", place, SQL)
    unplaced = await db.rows("unplaced_of_run", place, SQL)
    [has_first] = await db.row("has_first_dispatch", place, SQL)
    return RowsOfRun(
        tuple([ticket_from(tuple(each)) for each in tickets]),
        tuple([dispatch_from(tuple(each)) for each in dispatches]),
        tuple([MessageId(message_id) for (message_id,) in unplaced]),
        bool(has_first),
    )


async def _recount(db: Session, ask: Recount) -> bool:
    rows, ready = ask.rows, ask.ready
    values: dict[str, Any] = {
        "no": rows.thread_no,
        "queued": len(rows.queue),
        "waiting": rows.waiting,
        "left_open": rows.left_open,
        "pending": rows.pending,
        "spans": rows.spans,
        "message_seq": rows.message_seq,
        "event_seq": rows.event_seq,
        "position": max([each.position for each in rows.queue], default=0),
        "latest_run_no": rows.latest_run_no,
        "ready_route": None if ready is None else ready.route,
        "ready_priority": None if ready is None else ready.priority,
        "ready_at": None if ready is None else ready.at,
        "ready_no": None if ready is None else ready.no,
    }
    return bool(await db.rows("recount_thread", values, SQL))


async def _remove_row(db: Session, ask: RemoveRow) -> bool:
    values = {"no": int(ask.subject)} if ask.what == "journal" else {"subject": ask.subject, "scope": ask.scope}
    return bool(await db.rows(f"remove_{ask.what}", values, SQL))
