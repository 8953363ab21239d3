"""Loads the rows that needs name, for a whole batch.

Above: `batch` and `asks` hand the facts to the rules. Below: the cache, then the writer's connection.
Holds: a thread and its claimed dispatch come from the cache, where a batch brings those it lacks first. The counters of
a thread's row say what there is none of.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from typing import Any, Final

from msgspec.structs import replace

from awaken.domain.clock import Instant
from awaken.domain.dispatch import Dispatch
from awaken.domain.errors import DataIntegrity
from awaken.domain.ids import DispatchId, MessageId, RunId, Scope, ThreadId
from awaken.domain.message import TOOL, Message
from awaken.domain.run import Run
from awaken.domain.span import stretches
from awaken.domain.state import NO_STATE
from awaken.store.contract import StoredMessage
from awaken.store.rows import (
    Row,
    dispatch_from,
    message_from,
    pack,
    pending_from,
    run_from,
    span_from,
    state_from,
    thread_from,
    ticket_from,
    unpack,
    waiter_from,
)
from awaken.store.rules.facts import MAX_LINEAGE, Facts, LeftOpen, Lineage, Queued, ThreadKey, Waiter, Waiting
from awaken.store.rules.needs import Needs, first_of_runs
from awaken.store.sqlite.cache import Held, ThreadCache
from awaken.store.sqlite.queries import SQL

_ALL: Final = -1
"""As a limit: none."""


def with_output(db: sqlite3.Connection, run: Run) -> Run:
    """A run that was read, with the output that is stored as messages."""
    if not run.output_message_ids:
        return run
    texts: list[str] = []
    for message_id in run.output_message_ids:
        row = db.execute(_OUTPUT, {"run": run.no, "message_id": pack(message_id)}).fetchone()
        if row is None:
            raise DataIntegrity(f"run {run.run_id!r}: its output, message {message_id!r}, does not exist")
        texts.append(message_from(row).message.text)
    return replace(run, final_output="".join(texts))


class FactLoader:
    """Reads on the writer's connection, inside its transaction."""

    def __init__(self, db: sqlite3.Connection, cache: ThreadCache) -> None:
        self._db = db
        self._cache = cache

    def load(self, needs: Needs, now: Instant) -> Facts:
        held = self.held(needs.key)
        facts = Facts() if held is None else Facts(thread=held.thread, claimed=held.claimed)
        self._find_run(facts, needs, held)
        if held is None:
            return facts
        if needs.active:
            facts.active = self._run_of_claimed(needs.scope, held)
        if needs.target is not None:
            facts.target = self._target(needs.scope, needs.target, held)
        if needs.decides is not None:
            facts.decided = self._target(needs.scope, needs.decides, held)
        if needs.messages:
            self._find_known(facts, needs, held)
        if needs.siblings and facts.known_dispatch is not None and facts.known_run is not None:
            facts.siblings = self._with_messages(held, facts.known_dispatch, facts.known_run).messages
        if needs.referred:
            found = [self._message(held, message_id) for message_id in needs.referred]
            facts.referred = tuple([stored for stored in found if stored is not None])
        if needs.again is not None:
            facts.again = self.run(needs.scope, needs.again)
        if needs.dedupe_key is not None:
            self._find_holder(facts, needs, held)
        if needs.tail and facts.run is not None:
            facts.tail = self._tail(held, facts.run)
        if needs.queue == "always" or (needs.queue == "if_free" and held.claimed is None):
            self._look_at_queue(facts, needs, held, now)
        if needs.whole_queue and held.thread.queued:
            rows = self._db.execute(_QUEUE, {"thread": held.thread.no, "limit": _ALL}).fetchall()
            facts.queue = tuple([(each, self._get_run(needs.scope, each)) for each in map(dispatch_from, rows)])
        if needs.whole_queue:
            self._find_left_open(facts, held)
        thread = held.thread
        if needs.crowd is not None and thread.queued + thread.waiting >= needs.crowd:
            facts.later, facts.wakes = self._db.execute(_COUNT_QUEUE, {"thread": thread.no, "now": now}).fetchone()
        if needs.won is not None and held.claimed is not None and held.claimed.claim_token == needs.won:
            facts.won = self._queued(held, held.claimed, held.run)
        if needs.pending and thread.pending:
            self._find_pending(facts, needs, held)
        if needs.taken is not None and thread.commit_no == needs.taken:
            place = {"thread": thread.no, "commit_no": needs.taken}
            facts.taken = tuple([message_from(row).message for row in self._db.execute(_TAKEN, place).fetchall()])
        if needs.waiting and held.thread.waiting:
            limit = 1 if needs.waiting == "last" else _ALL
            facts.waiting = tuple([self._waiting(held, run) for run in self._runs(_WAITING_RUNS, held, limit=limit)])
        for ticket_id in needs.tickets:
            row = self._row(_TICKET, {"scope": needs.scope, "ticket_id": pack(ticket_id)})
            if row is not None:
                facts.tickets[ticket_id] = ticket_from(row)
        for run in facts.runs():
            if run.open_tickets and needs.open_tickets:
                rows = self._db.execute(_OPEN_TICKETS, {"run": run.no}).fetchall()
                facts.open_tickets[run.run_id] = tuple([ticket_from(row) for row in rows])
            if needs.hides or run.hide_requested_at is not None:
                facts.own[run.run_id] = self._own(held, run)
        if needs.state or facts.brings_state:
            row = self._row(_STATE, {"thread": thread.no})
            facts.state = NO_STATE if row is None else state_from(thread.thread_id, row)
        if needs.hide is not None:
            self._look_at_view(facts, held)
        if needs.parent is not None:
            facts.lineage = self._lineage(needs.scope, needs.parent)
        if needs.child:
            place = {"scope": needs.scope, "parent": needs.thread_id, "sender": pack(needs.thread_id)}
            [child] = self._db.execute(_CHILD, place).fetchone()
            facts.child = None if child is None else ThreadId(unpack(child))
        return facts

    def held(self, key: ThreadKey) -> Held | None:
        """What is known of a thread, None when it does not exist. What the cache lacks is read into it."""
        held = self._cache.get(key)
        if held is None:
            row = self._row(_THREAD, {"scope": key[0], "thread_id": pack(key[1])})
            if row is not None:
                claimed = row[_THREAD_COLUMNS:]
                thread = thread_from(row[:_THREAD_COLUMNS])
                held = self._cache[key] = Held(thread, None if claimed[0] is None else dispatch_from(claimed))
        return held

    def forget(self, key: ThreadKey) -> None:
        """Read the thread anew next time: its rows were changed behind what is remembered."""
        self._cache.pop(key, None)

    # --- parts of facts -----------------------------------------------------------------------------------------------

    def _find_run(self, facts: Facts, needs: Needs, held: Held | None) -> None:
        """The run and the dispatch that are named; those of the thread's claim are remembered."""
        scope, claimed = needs.scope, None if held is None else held.claimed
        wanted = claimed.run_id if needs.of_claim and claimed is not None else needs.run
        if wanted is not None:
            mine = claimed is not None and claimed.run_id == wanted
            facts.run = self._run_of_claimed(scope, held) if held is not None and mine else self.run(scope, wanted)
        dispatch_id = facts.run.dispatch_id if needs.newest and facts.run is not None else needs.dispatch
        if claimed is not None and claimed.dispatch_id == dispatch_id:
            facts.dispatch = claimed
        elif dispatch_id is not None:
            facts.dispatch = self._dispatch(scope, dispatch_id)

    def _target(self, scope: Scope, run_id: RunId, held: Held) -> Waiting | None:
        run = self.run(scope, run_id)
        if run is None or run.thread_id != held.thread.thread_id:
            return None
        return self._waiting(held, run)

    def _find_pending(self, facts: Facts, needs: Needs, held: Held) -> None:
        rows = self._db.execute(_PENDING, {"thread": held.thread.no}).fetchall()
        facts.pending = tuple(map(pending_from, rows))
        if needs.bodies:
            found = [self._message(held, message_id) for message_id in first_of_runs(facts, needs)]
            facts.bodies = tuple([stored.message for stored in found if stored is not None])

    def _find_known(self, facts: Facts, needs: Needs, held: Held) -> None:
        found = [self._message(held, message_id) for message_id in needs.messages]
        facts.known = tuple([stored for stored in found if stored is not None])
        if facts.known and facts.known[0].run_id is not None:
            facts.known_run = self.run(needs.scope, facts.known[0].run_id)
        if facts.known_run is not None:
            facts.known_dispatch = self._dispatch(needs.scope, facts.known_run.dispatch_id)

    def _find_holder(self, facts: Facts, needs: Needs, held: Held) -> None:
        row = self._row(_HOLDER, {"thread": held.thread.no, "dedupe_key": needs.dedupe_key})
        if row is not None:
            facts.deduped = run_from(row)
            facts.deduped_dispatch = self._dispatch(needs.scope, facts.deduped.dispatch_id)

    def _look_at_queue(self, facts: Facts, needs: Needs, held: Held, now: Instant) -> None:
        """What waits in the thread: the dispatch to run next, and the best of the rest."""
        thread = held.thread
        if needs.head:
            self._find_left_open(facts, held)
        if not thread.queued:
            return
        named = facts.run if needs.run is not None else facts.known_run
        without = named.dispatch_id if needs.newest and named is not None else None
        head: Dispatch | None = None
        only = held.only_queued
        if only is not None:
            dispatch, run = only
            if needs.head and dispatch.available_at <= now:
                facts.next = self._queued(held, dispatch, run)
                return
            if dispatch.dispatch_id != without:
                facts.ready = Waiter.of(dispatch)
            return
        place: dict[str, Any] = {"thread": thread.no, "now": now}
        if needs.head:
            head = self._head(needs, place)
            if head is not None:
                facts.next = self._queued(held, head)
        place |= {"next": 0 if head is None else head.no, "without": b"" if without is None else pack(without)}
        row = self._row(_BEST_DUE, place) or self._row(_BEST_LATER, place)
        facts.ready = None if row is None else waiter_from(row)

    def _head(self, needs: Needs, place: dict[str, Any]) -> Dispatch | None:
        try:
            return self._one_dispatch(_NEXT_DUE, place)
        except DataIntegrity:
            if needs.head == "always":
                raise
            return None

    def _find_left_open(self, facts: Facts, held: Held) -> None:
        if held.thread.left_open:
            runs = self._runs(_LEFT_OPEN_RUNS, held)
            facts.left_open = tuple([LeftOpen(run, self._tail(held, run)) for run in runs])

    def _queued(self, held: Held, dispatch: Dispatch, run: Run | None = None) -> Queued:
        """The dispatch with what it takes to run it. Damage to that is a fact like any other: the rule buries the
        dispatch with the reason, where an error would keep every other thread from being claimed.
        """
        try:
            if run is None:
                run = self.run(held.thread.scope, dispatch.run_id)
            return Queued(dispatch, None) if run is None else self._with_messages(held, dispatch, run)
        except DataIntegrity as error:
            return Queued(dispatch, run, damage=str(error))

    def _with_messages(self, held: Held, dispatch: Dispatch, run: Run) -> Queued:
        brought: list[StoredMessage] = []
        lacks: MessageId | None = None
        for message_id in dispatch.brings(run.request.input_message_ids):
            stored = self._message(held, message_id)
            if stored is None:
                lacks = lacks or message_id
            elif stored.fate is None:
                brought.append(stored)
        return Queued(dispatch, run, tuple(brought), lacks, self._tail(held, run))

    def _waiting(self, held: Held, run: Run) -> Waiting:
        dispatch = self._dispatch(held.thread.scope, run.dispatch_id)
        if dispatch is None:
            raise DataIntegrity(f"run {run.run_id!r}: its dispatch {run.dispatch_id!r} does not exist")
        return Waiting(run, dispatch, self._tail(held, run))

    def _tail(self, held: Held, run: Run) -> tuple[Message, ...]:
        if run.open_turn is None:
            return ()
        place = {"thread": held.thread.no, "from_seq": run.open_turn, "run_id": pack(run.run_id)}
        return tuple([message_from(row).message for row in self._db.execute(_TAIL, place).fetchall()])

    def _lineage(self, scope: Scope, thread_id: ThreadId) -> Lineage:
        """From rows that are remembered, so that what the same batch has changed before counts."""
        ids: list[ThreadId] = []
        following: ThreadId | None = thread_id
        while following is not None:
            held = self.held((scope, following))
            if held is None or held.thread.deleted_at is not None:
                return Lineage(tuple(ids), lacks=following)
            ids.append(following)
            following = held.thread.info.parent_thread_id
            if following in ids or len(ids) > MAX_LINEAGE:
                return Lineage(tuple(ids), is_too_deep=True)
        return Lineage(tuple(ids))

    def _own(self, held: Held, run: Run) -> tuple[tuple[int, int], ...]:
        first = 1 if run.input is None else run.input.from_seq
        place = {"thread": held.thread.no, "from_seq": first, "run_id": pack(run.run_id)}
        return tuple(stretches(seq for (seq,) in self._db.execute(_OWN_SEQS, place)))

    def _look_at_view(self, facts: Facts, held: Held) -> None:
        place: dict[str, Any] = {"thread": held.thread.no}
        if held.thread.spans:
            facts.spans = tuple([span_from(row) for row in self._db.execute(_SPANS, place)])
        if facts.known and (facts.known[0].message.tool_calls or facts.known[0].message.role is TOOL):
            place["run_id"] = pack(facts.known[0].run_id)
            facts.turn = tuple([message_from(row) for row in self._db.execute(_OWN_MESSAGES, place)])

    def _run_of_claimed(self, scope: Scope, held: Held) -> Run | None:
        if held.run is None and held.claimed is not None:
            held.run = self.run(scope, held.claimed.run_id)
        return held.run

    # --- single rows --------------------------------------------------------------------------------------------------

    def run(self, scope: Scope, run_id: RunId) -> Run | None:
        row = self._row(_RUN, {"scope": scope, "run_id": pack(run_id)})
        return None if row is None else with_output(self._db, run_from(row))

    def _get_run(self, scope: Scope, dispatch: Dispatch) -> Run:
        run = self.run(scope, dispatch.run_id)
        if run is None:
            raise DataIntegrity(f"dispatch {dispatch.dispatch_id!r}: its run {dispatch.run_id!r} does not exist")
        return run

    def _runs(self, statement: str, held: Held, *, limit: int = _ALL) -> list[Run]:
        rows: Sequence[Row] = self._db.execute(statement, {"thread": held.thread.no, "limit": limit}).fetchall()
        return [run_from(row) for row in rows]

    def _dispatch(self, scope: Scope, dispatch_id: DispatchId) -> Dispatch | None:
        return self._one_dispatch(_DISPATCH, {"scope": scope, "dispatch_id": pack(dispatch_id)})

    def _one_dispatch(self, statement: str, values: dict[str, Any]) -> Dispatch | None:
        row = self._row(statement, values)
        return None if row is None else dispatch_from(row)

    def _message(self, held: Held, message_id: MessageId) -> StoredMessage | None:
        row = self._row(_MESSAGE, {"thread": held.thread.no, "message_id": pack(message_id)})
        return None if row is None else message_from(row)

    def _row(self, statement: str, values: dict[str, Any]) -> Row | None:
        row: Row | None = self._db.execute(statement, values).fetchone()
        return row


_OUTPUT = SQL["output_message"]
_THREAD = SQL["thread_and_claimed"]
_THREAD_COLUMNS = 28
_RUN = SQL["run"]
_DISPATCH = SQL["dispatch"]
_MESSAGE = SQL["message"]
_HOLDER = SQL["holder_of_dedupe_key"]
_NEXT_DUE = SQL["next_due"]
_BEST_DUE = SQL["best_due"]
_BEST_LATER = SQL["best_later"]
_QUEUE = SQL["queue"]
_COUNT_QUEUE = SQL["count_queue"]
_WAITING_RUNS = SQL["waiting_runs"]
_LEFT_OPEN_RUNS = SQL["left_open_runs"]
_TAIL = SQL["tail"]
_TICKET = SQL["ticket"]
_OPEN_TICKETS = SQL["open_tickets_of_run"]
_OWN_SEQS = SQL["own_seqs"]
_OWN_MESSAGES = SQL["own_messages"]
_SPANS = SQL["spans"]
_STATE = SQL["state"]
_PENDING = SQL["pending"]
_TAKEN = SQL["taken"]
_CHILD = SQL["child"]
