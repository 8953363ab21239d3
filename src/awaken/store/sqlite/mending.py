"""Answers what mending asks.

Above: `asks`, for a rule that mends. Below: the statements of `invariants.sql`, in the writer's transaction.
Holds: what is counted is counted in the rows; nothing that is remembered is asked.

Source: ADR 0019.
"""

from __future__ import annotations

import sqlite3
from typing import Any, Final

from awaken.domain.errors import DataIntegrity
from awaken.domain.ids import MessageId, RunId, Scope
from awaken.store.rows import EVENTS, MESSAGES, RUNS, Row, dispatch_from, pack, ticket_from, unpack, waiter_from
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
from awaken.store.sqlite.facts import FactLoader
from awaken.store.sqlite.invariants import SQL
from awaken.store.sqlite.queries import SQL as QUERIES

_ENTERS: Final = {EVENTS: "enter_events", MESSAGES: "enter_message", RUNS: "enter_run"}


def answer(db: sqlite3.Connection, loader: FactLoader, ask: MendAsk[Any]) -> Any:
    match ask:
        case CountThread():
            loader.forget(ask.key)
            return _count_thread(db, ask.key)
        case CountRun():
            try:
                return _count_run(db, ask.scope, ask.run_id)
            except DataIntegrity as error:
                return error
        case Recount():
            loader.forget(ask.key)
            return _recount(db, ask)
        case IsReported():
            place = {**_place(ask.key), "seq": ask.seq}
            return bool(db.execute(SQL["is_reported"], place).fetchone()[0])
        case Enter():
            return _enter(db, {**_place(ask.key), "kind": ask.kind, "no": ask.no})
        case RemoveRow():
            return _remove_row(db, ask)
        case _:
            raise AssertionError(f"no answer to {type(ask).__name__}")


def _place(key: ThreadKey) -> dict[str, Any]:
    return {"scope": key[0], "thread_id": pack(key[1])}


def _count_thread(db: sqlite3.Connection, key: ThreadKey) -> RowsOfThread | None:
    row: Row | None = db.execute(SQL["count_rows"], _place(key)).fetchone()
    if row is None:
        return None
    queue = db.execute(SQL["whole_queue"], {"thread": row[0]}).fetchall()
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
        queue=tuple(map(waiter_from, queue)),
    )


def _count_run(db: sqlite3.Connection, scope: Scope, run_id: RunId) -> RowsOfRun:
    place = {"scope": scope, "run_id": pack(run_id)}
    run = db.execute(QUERIES["run"], place).fetchone()
    tickets = [] if run is None else db.execute(QUERIES["open_tickets_of_run"], {"run": run[0]}).fetchall()
    dispatches = [
        db.execute(QUERIES["dispatch"], {"scope": scope, "dispatch_id": packed}).fetchone()
        for (packed,) in db.execute(SQL["dispatches_of_run"], place).fetchall()
    ]
    unplaced = db.execute(SQL["unplaced_of_run"], place).fetchall()
    [has_first] = db.execute(SQL["has_first_dispatch"], place).fetchone()
    return RowsOfRun(
        tuple(map(ticket_from, tickets)),
        tuple(map(dispatch_from, dispatches)),
        tuple([MessageId(unpack(packed)) for (packed,) in unplaced]),
        bool(has_first),
    )


def _recount(db: sqlite3.Connection, ask: Recount) -> bool:
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
    return db.execute(SQL["recount_thread"], values).rowcount == 1


def _enter(db: sqlite3.Connection, place: dict[str, Any]) -> str:
    kind = place["kind"]
    if db.execute(SQL[_ENTERS[kind]], place).rowcount or (
        kind == RUNS and db.execute(SQL["leave_run"], place).rowcount
    ):
        return "entered"
    [there] = db.execute(SQL["is_entered"], place).fetchone()
    return "there" if there or kind == RUNS else "taken"


def _remove_row(db: sqlite3.Connection, ask: RemoveRow) -> bool:
    db.execute(SQL["keep_arrivals"])
    values = {"no": int(ask.subject)} if ask.what == "journal" else {"subject": pack(ask.subject), "scope": ask.scope}
    return db.execute(SQL[f"remove_{ask.what}"], values).rowcount > 0
