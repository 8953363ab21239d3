"""Reads, on connections of their own that cannot write.

Above: `SqliteStore` runs each of these in a reader thread. Below: `rows`.
Holds: one read sees one state of the database, the newest committed before it began. A hole in a log is reported, not
read over.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Generator
from contextlib import contextmanager
from typing import Any, Final

import msgspec

from awaken.domain.clock import Instant
from awaken.domain.dispatch import Dispatch, DispatchStatus
from awaken.domain.errors import DataIntegrity
from awaken.domain.ids import DispatchId, MessageId, RunId, Scope, ThreadId
from awaken.domain.log import EventRow
from awaken.domain.run import Run, RunStatus
from awaken.domain.thread import Thread, derive_status
from awaken.store.contract import DispatchQuery, MessageQuery, RunQuery, StoredMessage, ThreadQuery
from awaken.store.rules import ThreadRow
from awaken.store.sqlite import sets
from awaken.store.sqlite.queries import SQL
from awaken.store.sqlite.rows import (
    DISPATCH_TEXT,
    RUN_TEXT,
    VISIBILITY_TEXT,
    Row,
    dispatch_from,
    events_from,
    journal_from,
    message_from,
    run_from,
    status_from,
    thread_from,
)
from awaken.store.transitions import JournalEntry

_FIRST: Final = -(1 << 63)
_LAST: Final = (1 << 63) - 1


class Reading:
    """One state of the database, for as long as it is open."""

    def __init__(self, db: sqlite3.Connection) -> None:
        self._db = db

    # --- threads ------------------------------------------------------------------------------------------------------

    def load_thread(self, scope: Scope, thread_id: ThreadId) -> Thread | None:
        row = self._row("thread", {"scope": scope, "thread_id": thread_id})
        return None if row is None else self._thread(thread_from(row))

    def list_threads(self, scope: Scope, query: ThreadQuery) -> list[Thread]:
        after_at, after_id = query.after or (None, "")
        values = {
            "scope": scope,
            "after_at": after_at,
            "after_id": after_id,
            "id_prefix": query.id_prefix,
            "resource_id": query.resource_id,
            "limit": query.limit,
        }
        rows = self._rows("threads_recent_last" if query.ascending else "threads_recent_first", values)
        return [self._thread(thread_from(row)) for row in rows]

    def _thread(self, row: ThreadRow) -> Thread:
        """The thread with what is derived from its runs and dispatches."""
        place = {"scope": row.scope, "thread_id": row.thread_id}
        active = self.active_dispatch(row.scope, row.thread_id)
        latest = self.latest_run(row.scope, row.thread_id)
        open_id = None if active is None else active.run_id
        if open_id is None and row.queued:
            head = self._row("head_of_queue", place)
            open_id = None if head is None else head[0]
        if open_id is None and latest is not None and latest.status is not RunStatus.DONE:
            open_id = latest.run_id
        same = latest is not None and latest.run_id == open_id
        open_run = latest if same or open_id is None else self.load_run(row.scope, open_id)
        return Thread(
            thread_id=row.thread_id,
            info=row.info,
            epoch=row.epoch,
            message_count=row.message_seq,
            event_count=row.event_seq,
            queued_count=row.queued,
            created_at=row.created_at,
            updated_at=row.updated_at,
            active_run_id=None if active is None else active.run_id,
            open_run_id=open_id,
            latest_run_id=None if latest is None else latest.run_id,
            status=derive_status(
                active_run_id=None if active is None else active.run_id,
                queued_count=row.queued,
                open_run=None if open_id is None else open_run,
                latest=latest,
            ),
        )

    # --- runs ---------------------------------------------------------------------------------------------------------

    def load_run(self, scope: Scope, run_id: RunId) -> Run | None:
        row = self._row("run", {"scope": scope, "run_id": run_id})
        return None if row is None else run_from(row)

    def latest_run(self, scope: Scope, thread_id: ThreadId) -> Run | None:
        row = self._row("latest_run", {"scope": scope, "thread_id": thread_id})
        return None if row is None else run_from(row)

    def list_runs(self, scope: Scope, query: RunQuery) -> list[Run]:
        after_at, after_id = query.after or ((_LAST if query.descending else _FIRST), "")
        values = {
            "scope": scope,
            "thread_id": query.thread_id,
            "after_at": after_at,
            "after_id": after_id,
            "status": None if query.status is None else RUN_TEXT[query.status],
            "agent_id": query.agent_id,
            "thread_id_prefix": query.thread_id_prefix,
            "limit": query.limit,
        }
        name = "runs_newest_first" if query.descending else "runs_oldest_first"
        if query.thread_id is not None:
            name = name.replace("runs_", "runs_of_thread_")
        return [run_from(row) for row in self._rows(name, values)]

    # --- dispatches ---------------------------------------------------------------------------------------------------

    def load_dispatch(self, scope: Scope, dispatch_id: DispatchId) -> Dispatch | None:
        row = self._row("dispatch", {"scope": scope, "dispatch_id": dispatch_id})
        return None if row is None else dispatch_from(row)

    def active_dispatch(self, scope: Scope, thread_id: ThreadId) -> Dispatch | None:
        row = self._row("active_of_thread", {"scope": scope, "thread_id": thread_id})
        return None if row is None else dispatch_from(row)

    def list_dispatches(self, scope: Scope, query: DispatchQuery) -> list[Dispatch]:
        statuses = None if query.statuses is None else [DISPATCH_TEXT[status] for status in query.statuses]
        values = {
            "scope": scope,
            "thread_id": query.thread_id,
            "run_id": query.run_id,
            "statuses": None if statuses is None else msgspec.json.encode(statuses).decode(),
            "limit": query.limit,
            "offset": query.offset,
        }
        return [dispatch_from(row) for row in self._rows("dispatches_of_thread", values)]

    def count_dispatches(self) -> dict[DispatchStatus, int]:
        counts = dict.fromkeys(DispatchStatus, 0)
        counts.update({status_from(text): count for text, count in self._rows("count_dispatches", {})})
        return counts

    def next_due_at(self) -> Instant | None:
        return sets.next_due_at(self._db)

    # --- messages and journal -----------------------------------------------------------------------------------------

    def load_message(self, scope: Scope, thread_id: ThreadId, message_id: MessageId) -> StoredMessage | None:
        row = self._row("message", {"scope": scope, "thread_id": thread_id, "message_id": message_id})
        return None if row is None else message_from(row)

    def list_messages(self, scope: Scope, thread_id: ThreadId, query: MessageQuery) -> list[StoredMessage]:
        values = {
            "scope": scope,
            "thread_id": thread_id,
            "after": query.after,
            "before": _LAST if query.before is None else query.before,
            "visibility": None if query.visibility is None else VISIBILITY_TEXT[query.visibility],
            "run_id": query.run_id,
            "limit": query.limit,
        }
        rows = self._rows("log_backward" if query.descending else "log_forward", values)
        found = [message_from(row) for row in rows]
        if query.visibility is None and query.run_id is None:
            self._check_log(scope, thread_id, query, [stored.seq or 0 for stored in found])
        return found

    def _check_log(self, scope: Scope, thread_id: ThreadId, query: MessageQuery, seqs: list[int]) -> None:
        """An unfiltered window has every seq that the thread has counted."""
        row = self._row("message_seq", {"scope": scope, "thread_id": thread_id})
        length: int = 0 if row is None else row[0]
        first = query.after + 1
        last = length if query.before is None else min(query.before - 1, length)
        window = range(last, first - 1, -1) if query.descending else range(first, last + 1)
        if seqs != list(window[: query.limit]):
            raise DataIntegrity(f"thread {thread_id!r}: the log from {first} to {last} has the messages {seqs[:20]}")

    def list_journal(self, scope: Scope, run_id: RunId) -> list[JournalEntry]:
        return [journal_from(row) for row in self._rows("journal", {"scope": scope, "run_id": run_id})]

    # --- events -------------------------------------------------------------------------------------------------------

    def list_events(
        self, scope: Scope, thread_id: ThreadId, after: int, limit: int, run_id: RunId | None
    ) -> list[EventRow]:
        values = {"scope": scope, "thread_id": thread_id, "first": after + 1, "run_id": run_id}
        found: list[EventRow] = []
        count = 0
        for raw in self._db.execute(SQL["events_from" if run_id is None else "events_of_run"], values):
            if count >= limit:
                break
            row = events_from(scope, thread_id, raw)
            if row.last_seq <= after:
                continue
            if run_id is None and row.first_seq > (found[-1].last_seq if found else after) + 1:
                raise DataIntegrity(f"thread {thread_id!r}: the event log has a hole before {row.first_seq}")
            row = row.starting_after(after)
            found.append(row)
            count += len(row.events)
        return found

    def last_event_seq(self, scope: Scope, thread_id: ThreadId) -> int:
        row = self._row("event_seq", {"scope": scope, "thread_id": thread_id})
        return 0 if row is None else row[0]

    # --- rows ---------------------------------------------------------------------------------------------------------

    def _row(self, name: str, values: dict[str, Any]) -> Row | None:
        row: Row | None = self._db.execute(SQL[name], values).fetchone()
        return row

    def _rows(self, name: str, values: dict[str, Any]) -> list[Row]:
        return self._db.execute(SQL[name], values).fetchall()


@contextmanager
def reading(db: sqlite3.Connection) -> Generator[Reading]:
    """All reads inside see the same state."""
    db.execute("BEGIN")
    try:
        yield Reading(db)
    finally:
        if db.in_transaction:
            db.execute("ROLLBACK")
