"""Finds what breaks an invariant in a database, a slice of rows at a time.

Above: `reading`, for whoever audits; `awaken doctor`, on a file that nobody serves. Below: `invariants.sql`, one query
per invariant and table, and `rows`.
Holds: a slice looks at `AUDIT_ROWS` rows of one table, so no query takes longer because the file is larger; only a
thread's log is looked at whole. Rows first, logs after them: an entry that is missing is mended before it makes a hole.

Source: ADR 0019.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator
from typing import Any, Final

import msgspec

from awaken.domain.child import ChildTicket
from awaken.domain.clock import Instant
from awaken.domain.errors import DataIntegrity
from awaken.domain.ids import Scope, ThreadId
from awaken.domain.record import CURRENT, decode_run_request, decode_run_state, decode_ticket
from awaken.store.invariants import AUDIT_ROWS, AuditPlace, AuditSlice, Breach
from awaken.store.rows import Row, decoded_ids, pack, unpack
from awaken.store.statements import load_statements

SQL: Final = load_statements("awaken.store.sqlite", "invariants.sql")

Values = dict[str, Any]


class _Part(msgspec.Struct, frozen=True):
    """Rows of one table, and what is asked of them: each query with the invariant that its rows break."""

    end: str
    queries: dict[str, str]
    looks: tuple[Callable[[sqlite3.Connection, Values], Iterator[Breach]], ...] = ()
    """What takes more than a query."""
    last: str | None = None
    """The number of its last row, where it is long enough to tell how far an audit is."""
    rows: int = AUDIT_ROWS


def find_breaches(db: sqlite3.Connection, place: AuditPlace, now: Instant) -> AuditSlice:
    """What breaks an invariant in the slice that begins behind `place`, in one state of the database."""
    if place.part >= len(PARTS):
        return AuditSlice((), None, 1.0)
    part = PARTS[place.part]
    [until] = db.execute(SQL[part.end], {"after": place.after, "limit": part.rows}).fetchone()
    if until is None:
        following = place.part + 1
        share = following / len(PARTS)
        return AuditSlice((), AuditPlace(following) if following < len(PARTS) else None, share)
    values: Values = {"after": place.after, "until": until, "now": now, **_VERSIONS}
    found: list[Breach] = []
    for query, invariant in part.queries.items():
        for row in db.execute(SQL[query], values).fetchall():
            found.append(_breach(invariant, row))
    for look in part.looks:
        found += look(db, values)
    return AuditSlice(tuple(found), AuditPlace(place.part, until), _share(db, place.part, until))


def _share(db: sqlite3.Connection, number: int, until: int) -> float:
    part, within = PARTS[number], 0.0
    if part.last is not None:
        [last] = db.execute(SQL[part.last]).fetchone()
        within = min(until / max(last, 1), 1.0)
    return (number + within) / len(PARTS)


def _breach(invariant: str, row: Row) -> Breach:
    scope, thread_id, subject = row[:3]
    return Breach(
        invariant=invariant,
        scope=Scope(scope),
        thread_id=None if thread_id is None else ThreadId(unpack(thread_id)),
        subject="" if subject is None else str(subject) if isinstance(subject, int) else unpack(subject),
    )


# --- what takes more than a query -------------------------------------------------------------------------------------


def _waits(db: sqlite3.Connection, values: Values) -> Iterator[Breach]:
    """Runs that wait for a ticket that is closed, or gone."""
    for row in db.execute(SQL["waiting_runs"], values).fetchall():
        try:
            waiting = decode_run_state(row[3], row[4], "").waiting
        except DataIntegrity:
            continue  # reported as a record
        for ticket_id in () if waiting is None else waiting.tickets:
            state = db.execute(SQL["state_of_ticket"], {"ticket_id": pack(ticket_id), "scope": row[0]}).fetchone()
            if state != ("open",):
                yield _breach("wait_is_for_open_tickets", row)
                break


def _brought(db: sqlite3.Connection, values: Values) -> Iterator[Breach]:
    """What is queued and brings a message that is gone."""
    for row in db.execute(SQL["queued_with_messages"], values).fetchall():
        thread, named, asked, version = row[3:]
        try:
            ids = decode_run_request(asked, version, "").request.input_message_ids
            ids = ids if named is None else decoded_ids(named, "")
        except DataIntegrity:
            continue  # reported as a record
        for message_id in ids:
            place = {"message_id": pack(message_id), "thread": thread}
            if db.execute(SQL["has_message"], place).fetchone() != (1,):
                yield _breach("queued_has_messages", row)
                break


def _children(db: sqlite3.Connection, values: Values) -> Iterator[Breach]:
    """Open tickets of children that have ended, or do not exist, with nothing on its way."""
    for row in db.execute(SQL["open_child_tickets"], values).fetchall():
        scope, asked, version, parent = row[0], row[3], row[4], row[5]
        try:
            child = msgspec.convert(decode_ticket(asked, version, "").arguments, ChildTicket)
        except (DataIntegrity, msgspec.ValidationError):
            continue  # reported as a record
        run_id = pack(child.run_id)
        place = {"scope": scope, "run_id": run_id, "sender": run_id}
        status, tells = db.execute(SQL["run_with_errands"], place).fetchone()
        if status == "done" and not tells:
            yield _breach("child_is_told", row)
        elif status is None:
            _, begins = db.execute(SQL["run_with_errands"], {**place, "sender": parent}).fetchone()
            if not begins:
                yield _breach("child_was_begun", row)


_VERSIONS: Final = {f"{kind}_v": version for kind, version in CURRENT.items()}

PARTS: Final = (
    _Part(
        "end_of_runs",
        {
            "thread_of_runs": "row_has_thread",
            "readable_runs": "record_is_readable",
            "entry_of_runs": "entry_leads_to_row",
            "open_run_has_dispatch": "open_run_has_dispatch",
            "run_ends_with_dispatch": "run_ends_with_dispatch",
            "open_tickets_agree": "open_tickets_agree",
            "open_turn_is_own": "open_turn_is_own",
        },
        (_waits,),
        "last_run",
    ),
    _Part(
        "end_of_dispatches",
        {
            "thread_of_dispatches": "row_has_thread",
            "readable_dispatches": "record_is_readable",
            "dispatch_has_run": "dispatch_has_run",
            "one_claim": "one_claim",
            "claim_is_of_open_run": "claim_is_of_open_run",
            "queued_is_of_open_run": "queued_is_of_open_run",
            "queued_is_of_this_epoch": "queued_is_of_this_epoch",
            "one_open_dispatch": "one_open_dispatch",
        },
        (_brought,),
        "last_dispatch",
    ),
    _Part(
        "end_of_tickets",
        {"readable_tickets": "record_is_readable", "ticket_is_of_open_run": "ticket_is_of_open_run"},
        (_children,),
    ),
    _Part("end_of_outbox", {"readable_outbox": "record_is_readable"}),
    _Part("end_of_schedules", {"readable_schedules": "record_is_readable"}),
    _Part("end_of_journal", {"journal_has_run": "journal_has_run"}),
    _Part(
        "end_of_messages",
        {
            "thread_of_messages": "row_has_thread",
            "readable_messages": "record_is_readable",
            "entry_of_messages": "entry_leads_to_row",
            "pending_is_for_open_run": "pending_is_for_open_run",
            "message_has_fate": "message_has_fate",
        },
        (),
        "last_message",
    ),
    _Part(
        "end_of_events",
        {
            "thread_of_events": "row_has_thread",
            "readable_events": "record_is_readable",
            "entry_of_events": "entry_leads_to_row",
        },
        (),
        "last_events",
    ),
    _Part(
        "end_of_threads",
        {
            "readable_threads": "record_is_readable",
            "counters_agree": "counters_agree",
            "newest_run_is_newest": "newest_run_is_newest",
            "ready_key_is_of_queue": "ready_key_is_of_queue",
        },
        (),
        "last_thread",
    ),
    _Part(
        "end_of_logs",
        {
            "entry_of_no_run": "entry_leads_to_row",
            "messages_have_no_hole": "messages_have_no_hole",
            "events_have_no_hole": "events_have_no_hole",
            "report_has_message": "report_has_message",
            "message_is_reported": "message_is_reported",
        },
        (),
        "last_thread",
        AUDIT_ROWS // 2,
    ),
)
"""In the order in which they are looked at."""
