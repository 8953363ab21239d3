"""Finds what breaks an invariant, a slice of rows at a time.

Above: `reading`, for whoever audits. Below: `invariants.sql`, one query per invariant and table.
Holds: a slice looks at `AUDIT_ROWS` rows of one table, so no query takes longer because the database is larger; only a
thread's log is looked at whole. Rows first, logs after them. What the schema itself rules out, no query asks for: two
claims of one thread, and a row that its thread does not lead to.

Source: ADR 0019.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from typing import Any, Final

import msgspec

from awaken.domain.child import ChildTicket
from awaken.domain.clock import Instant
from awaken.domain.errors import DataIntegrity
from awaken.domain.ids import Scope, ThreadId
from awaken.domain.record import CURRENT, decode_run_request, decode_run_state, decode_ticket
from awaken.store.invariants import AUDIT_ROWS, AuditPlace, AuditSlice, Breach
from awaken.store.postgres.queries import statement
from awaken.store.postgres.session import Row, Session
from awaken.store.rows import decoded_ids
from awaken.store.statements import load_statements

SQL: Final = {
    name: statement(text) for name, text in load_statements("awaken.store.postgres", "invariants.sql").items()
}

Values = dict[str, Any]


class _Part(msgspec.Struct, frozen=True):
    """Rows of one table, and what is asked of them: each query with the invariant that its rows break."""

    table: str
    queries: dict[str, str]
    looks: tuple[Callable[[Session, Values], AsyncIterator[Breach]], ...] = ()
    """What takes more than a query."""
    last: str | None = None
    """The number of its last row, where it is long enough to tell how far an audit is."""
    rows: int = AUDIT_ROWS


async def find_breaches(db: Session, place: AuditPlace, now: Instant) -> AuditSlice:
    """What breaks an invariant in the slice that begins behind `place`, in one state of the database."""
    if place.part >= len(PARTS):
        return AuditSlice((), None, 1.0)
    part = PARTS[place.part]
    after = place.after
    [until] = await db.row(f"end_of_{part.table}", {"after": after, "limit": part.rows}, SQL)
    if until is None:
        following = place.part + 1
        share = following / len(PARTS)
        return AuditSlice((), AuditPlace(following) if following < len(PARTS) else None, share)
    values: Values = {"after": after, "until": until, "now": now, **_VERSIONS}
    found: list[Breach] = []
    for query, invariant in part.queries.items():
        for row in await db.rows(query, values, SQL):
            found.append(_breach(invariant, row))
    for look in part.looks:
        found += [breach async for breach in look(db, values)]
    within = 0.0
    if part.last is not None:
        [last] = await db.row(f"last_{part.last}", {}, SQL)
        within = min(until / max(last, 1), 1.0)
    return AuditSlice(tuple(found), AuditPlace(place.part, until), (place.part + within) / len(PARTS))


def _breach(invariant: str, row: Row) -> Breach:
    scope, thread_id, subject = row[:3]
    return Breach(
        invariant=invariant,
        scope=Scope(scope),
        thread_id=None if thread_id is None else ThreadId(thread_id),
        subject="" if subject is None else str(subject),
    )


# --- what takes more than a query -------------------------------------------------------------------------------------


async def _waits(db: Session, values: Values) -> AsyncIterator[Breach]:
    """Runs that wait for a ticket that is closed, or gone."""
    for row in await db.rows("waiting_runs", values, SQL):
        try:
            waiting = decode_run_state(row[3], row[4], "").waiting
        except DataIntegrity:
            continue  # reported as a record
        tickets = () if waiting is None else waiting.tickets
        found = await db.rows("open_among", {"ids": list(tickets), "scope": row[0]}, SQL) if tickets else []
        if len(found) < len(set(tickets)):
            yield _breach("wait_is_for_open_tickets", row)


async def _brought(db: Session, values: Values) -> AsyncIterator[Breach]:
    """What is queued and brings a message that is gone."""
    for row in await db.rows("queued_with_messages", values, SQL):
        thread, named, asked, version = row[3:]
        try:
            ids = decode_run_request(asked, version, "").request.input_message_ids
            ids = ids if named is None else decoded_ids(named, "")
        except DataIntegrity:
            continue  # reported as a record
        found = await db.rows("messages_among", {"ids": list(ids), "thread": thread}, SQL) if ids else []
        if len(found) < len(set(ids)):
            yield _breach("queued_has_messages", row)


async def _children(db: Session, values: Values) -> AsyncIterator[Breach]:
    """Open tickets of children that have ended, or do not exist, with nothing on its way."""
    for row in await db.rows("open_child_tickets", values, SQL):
        scope, asked, version, parent = row[0], row[3], row[4], row[5]
        try:
            child = msgspec.convert(decode_ticket(asked, version, "").arguments, ChildTicket)
        except (DataIntegrity, msgspec.ValidationError):
            continue  # reported as a record
        place = {"scope": scope, "run_id": child.run_id, "sender": child.run_id}
        status, tells = await db.row("run_with_errands", place, SQL)
        if status == "done" and not tells:
            yield _breach("child_is_told", row)
        elif status is None:
            _, begins = await db.row("run_with_errands", {**place, "sender": parent}, SQL)
            if not begins:
                yield _breach("child_was_begun", row)


_VERSIONS: Final = {f"{kind}_v": version for kind, version in CURRENT.items()}

PARTS: Final = (
    _Part(
        "runs",
        {
            "thread_of_runs": "row_has_thread",
            "readable_runs": "record_is_readable",
            "open_run_has_dispatch": "open_run_has_dispatch",
            "run_ends_with_dispatch": "run_ends_with_dispatch",
            "open_tickets_agree": "open_tickets_agree",
            "open_turn_is_own": "open_turn_is_own",
        },
        (_waits,),
        "runs",
    ),
    _Part(
        "dispatches",
        {
            "thread_of_dispatches": "row_has_thread",
            "readable_dispatches": "record_is_readable",
            "dispatch_has_run": "dispatch_has_run",
            "claim_is_of_open_run": "claim_is_of_open_run",
            "queued_is_of_open_run": "queued_is_of_open_run",
            "queued_is_of_this_epoch": "queued_is_of_this_epoch",
            "one_open_dispatch": "one_open_dispatch",
        },
        (_brought,),
        "dispatches",
    ),
    _Part(
        "tickets",
        {"readable_tickets": "record_is_readable", "ticket_is_of_open_run": "ticket_is_of_open_run"},
        (_children,),
    ),
    _Part("outbox", {"readable_outbox": "record_is_readable"}),
    _Part("schedules", {"readable_schedules": "record_is_readable"}),
    _Part("journal", {"journal_has_run": "journal_has_run"}),
    _Part(
        "messages",
        {
            "thread_of_messages": "row_has_thread",
            "readable_messages": "record_is_readable",
            "pending_is_for_open_run": "pending_is_for_open_run",
            "message_has_fate": "message_has_fate",
        },
        (),
        "messages",
    ),
    _Part("events", {"thread_of_events": "row_has_thread", "readable_events": "record_is_readable"}, (), "events"),
    _Part(
        "threads",
        {
            "readable_threads": "record_is_readable",
            "counters_agree": "counters_agree",
            "newest_run_is_newest": "newest_run_is_newest",
            "ready_key_is_of_queue": "ready_key_is_of_queue",
        },
        (),
        "threads",
    ),
    _Part(
        "logs",
        {
            "messages_have_no_hole": "messages_have_no_hole",
            "events_have_no_hole": "events_have_no_hole",
            "report_has_message": "report_has_message",
            "message_is_reported": "message_is_reported",
        },
        (),
        "threads",
        AUDIT_ROWS // 2,
    ),
)
"""In the order in which they are looked at."""
