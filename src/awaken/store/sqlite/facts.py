"""Loads the rows that a transition touches.

Above: `batch` and `sets` hand the facts to the rules. Below: the cache, then the writer's connection.
Holds: the facts are what the rule's `needs` name. An optimistic load leaves out what could only show that an id is
already taken, because a constraint will say so; a careful one looks.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from typing import Any

import msgspec

from awaken.domain.clock import Instant
from awaken.domain.dispatch import Dispatch
from awaken.domain.errors import DataIntegrity
from awaken.domain.ids import DispatchId, MessageId, RunId, Scope, ThreadId
from awaken.domain.message import Message
from awaken.domain.run import Run
from awaken.store.contract import StoredMessage
from awaken.store.rules import Facts, Queued
from awaken.store.sqlite.cache import Held, ThreadCache, ThreadKey
from awaken.store.sqlite.queries import SQL
from awaken.store.sqlite.rows import Row, dispatch_from, message_from, run_from, thread_from
from awaken.store.transitions import Cancel, Commit, Interrupt, SaveThread, Settle, Submit, ThreadTransition

_NOBODY = DispatchId("")


class FactLoader:
    """Reads on the writer's connection, inside its transaction."""

    def __init__(self, db: sqlite3.Connection, cache: ThreadCache) -> None:
        self._db = db
        self._cache = cache

    def held(self, keys: Sequence[ThreadKey]) -> list[Held | None]:
        """What is known of each thread; None of one that does not exist. What the cache lacks is read into it."""
        held = [*map(self._cache.get, keys)]
        if not all(held):
            self._fetch([key for key, known in zip(keys, held, strict=True) if known is None])
            held = [*map(self._cache.get, keys)]
        return held

    def _fetch(self, keys: Sequence[ThreadKey]) -> None:
        """Bring the threads that exist, with their claimed dispatches, into the cache: two reads for each scope."""
        missing: dict[Scope, list[ThreadId]] = {}
        for scope, thread_id in keys:
            missing.setdefault(scope, []).append(thread_id)
        for scope, thread_ids in missing.items():
            wanted = {"scope": scope, "thread_ids": msgspec.json.encode(thread_ids).decode()}
            claimed = {each.thread_id: each for each in map(dispatch_from, self._db.execute(_CLAIMED, wanted))}
            for thread in map(thread_from, self._db.execute(_THREADS, wanted).fetchall()):
                key = (thread.scope, thread.thread_id)
                self._cache[key] = Held(thread, claimed.get(thread.thread_id))

    def load(self, t: ThreadTransition, held: Held | None, now: Instant, *, careful: bool) -> Facts:
        """The facts for one transition, `held` being what is known of its thread."""
        facts = Facts() if held is None else Facts(thread=held.thread, claimed=held.claimed)
        if type(t) is Submit:
            self._submit_facts(facts, t, held, now, careful=careful)
        elif type(t) is Settle or type(t) is Commit:
            self._owner_facts(facts, t, held, careful=careful)
            if type(t) is Settle and facts.thread is not None and facts.dispatch is not None:
                self._queue_facts(facts, held, t.scope, now, with_next=t.offer is not None)
        elif type(t) is SaveThread:
            facts.known = self._known(t, t.messages)
        elif type(t) is Cancel:
            self._cancel_facts(facts, t, held, now)
        elif type(t) is Interrupt:
            self._interrupt_facts(facts, t, held)
        return facts

    def claim_facts(self, key: ThreadKey, now: Instant) -> Facts:
        """For taking the next dispatch of a thread that was held."""
        facts, held = self._thread_facts(key)
        self._queue_facts(facts, held, key[0], now, with_next=True)
        return facts

    def reclaim_facts(self, key: ThreadKey, now: Instant) -> Facts:
        """For taking back the claimed dispatch of a thread that was held."""
        facts, held = self._thread_facts(key)
        if facts.claimed is not None:
            facts.run = self.run(key[0], facts.claimed.run_id)
        self._queue_facts(facts, held, key[0], now, with_next=False)
        return facts

    def _thread_facts(self, key: ThreadKey) -> tuple[Facts, Held]:
        held = self._cache.get(key)
        if held is None:
            raise DataIntegrity(f"thread {key[1]!r} has a dispatch and no row")
        return Facts(thread=held.thread, claimed=held.claimed), held

    # --- per transition -----------------------------------------------------------------------------------------------

    def _owner_facts(self, facts: Facts, t: Commit | Settle, held: Held | None, *, careful: bool) -> None:
        claimed = None if held is None else held.claimed
        if held is not None and claimed is not None and claimed.dispatch_id == t.dispatch_id:
            facts.dispatch = claimed
            facts.run = self._run_of_claimed(t.scope, held) if claimed.run_id == t.run_id else None
        else:
            facts.dispatch = self.dispatch(t.scope, t.dispatch_id)
        if facts.run is None:
            facts.run = self.run(t.scope, t.run_id)
        if careful:
            facts.known = self._known(t, t.messages)

    def _submit_facts(self, facts: Facts, t: Submit, held: Held | None, now: Instant, *, careful: bool) -> None:
        if careful or not t.fresh_ids:
            facts.run = self.run(t.scope, t.run_id)
            facts.dispatch = self.dispatch(t.scope, t.dispatch_id if facts.run is None else facts.run.dispatch_id)
            facts.known = self._known(t, t.messages)
            if facts.known and facts.known[0].run_id is not None:
                facts.known_run = self.run(t.scope, facts.known[0].run_id)
        if t.delivery.dedupe_key is not None:
            facts.deduped_dispatch = self._one_dispatch(
                _HOLDER, {"scope": t.scope, "thread_id": t.thread_id, "dedupe_key": t.delivery.dedupe_key}
            )
            if facts.deduped_dispatch is not None:
                facts.deduped = self._get_run(t.scope, facts.deduped_dispatch)
        if t.offer is not None and facts.claimed is None:
            self._queue_facts(facts, held, t.scope, now, with_next=True)

    def _cancel_facts(self, facts: Facts, t: Cancel, held: Held | None, now: Instant) -> None:
        facts.run = self.run(t.scope, t.run_id)
        if facts.run is not None:
            facts.dispatch = self.dispatch(t.scope, facts.run.dispatch_id)
            self._queue_facts(facts, held, t.scope, now, with_next=False, without=facts.run.dispatch_id)

    def _interrupt_facts(self, facts: Facts, t: Interrupt, held: Held | None) -> None:
        if held is None:
            return
        queue = [*map(dispatch_from, self._db.execute(_QUEUE, {"scope": t.scope, "thread_id": t.thread_id}))]
        facts.queue = tuple((dispatch, self._get_run(t.scope, dispatch)) for dispatch in queue)
        if held.claimed is not None:
            facts.run = self._run_of_claimed(t.scope, held)

    def _queue_facts(
        self,
        facts: Facts,
        held: Held | None,
        scope: Scope,
        now: Instant,
        *,
        with_next: bool,
        without: DispatchId = _NOBODY,
    ) -> None:
        """What waits in the thread: the dispatch to run next, and the scheduling key of the rest."""
        if held is None:
            return
        thread = held.thread
        if with_next and thread.open_turn is not None:
            tail = {"scope": scope, "thread_id": thread.thread_id, "from_seq": thread.open_turn}
            facts.tail = tuple([message_from(row).message for row in self._db.execute(_TAIL, tail)])
        if not thread.queued:
            return
        if held.only_queued is not None:
            dispatch, run = held.only_queued
            if with_next and dispatch.available_at <= now:
                facts.next = self._queued(scope, dispatch, run)
            elif dispatch.dispatch_id != without:
                facts.ready = (dispatch.priority, dispatch.available_at)
            return
        place = {"scope": scope, "thread_id": thread.thread_id, "now": now, "without": without}
        if with_next:
            head = self._one_dispatch(_NEXT_DUE, place)
            if head is not None:
                facts.next = self._queued(scope, head)
                place["without"] = head.dispatch_id
        facts.ready = self._row(_BEST_DUE, place) or self._row(_BEST_LATER, place)

    def _queued(self, scope: Scope, dispatch: Dispatch, run: Run | None = None) -> Queued:
        """The dispatch with what it takes to run it. Damage to that is a fact like any other: the rule buries the
        dispatch with the reason, where an error would keep every other thread from being claimed.
        """
        try:
            if run is None:
                run = self.run(scope, dispatch.run_id)
            return Queued(dispatch, None, ()) if run is None else self._with_messages(scope, dispatch, run)
        except DataIntegrity as error:
            return Queued(dispatch, run, (), damage=str(error))

    def _with_messages(self, scope: Scope, dispatch: Dispatch, run: Run) -> Queued:
        waiting: list[Message] = []
        lacks: MessageId | None = None
        for message_id in run.request.input_message_ids:
            stored = self._message(scope, dispatch.thread_id, message_id)
            if stored is None:
                lacks = lacks or message_id
            elif stored.seq is None:
                waiting.append(stored.message)
        return Queued(dispatch, run, tuple(waiting), lacks)

    def _run_of_claimed(self, scope: Scope, held: Held) -> Run | None:
        if held.run is None and held.claimed is not None:
            held.run = self.run(scope, held.claimed.run_id)
        return held.run

    # --- single rows --------------------------------------------------------------------------------------------------

    def run(self, scope: Scope, run_id: RunId) -> Run | None:
        row = self._row(_RUN, {"scope": scope, "run_id": run_id})
        return None if row is None else run_from(row)

    def _get_run(self, scope: Scope, dispatch: Dispatch) -> Run:
        run = self.run(scope, dispatch.run_id)
        if run is None:
            raise DataIntegrity(f"dispatch {dispatch.dispatch_id!r}: its run {dispatch.run_id!r} does not exist")
        return run

    def dispatch(self, scope: Scope, dispatch_id: DispatchId) -> Dispatch | None:
        return self._one_dispatch(_DISPATCH, {"scope": scope, "dispatch_id": dispatch_id})

    def _one_dispatch(self, statement: str, values: dict[str, Any]) -> Dispatch | None:
        row = self._row(statement, values)
        return None if row is None else dispatch_from(row)

    def _known(self, t: ThreadTransition, messages: tuple[Message, ...]) -> tuple[StoredMessage, ...]:
        found = (self._message(t.scope, t.thread_id, message.id) for message in messages)
        return tuple([stored for stored in found if stored is not None])

    def _message(self, scope: Scope, thread_id: ThreadId, message_id: MessageId) -> StoredMessage | None:
        row = self._row(_MESSAGE, {"scope": scope, "thread_id": thread_id, "message_id": message_id})
        return None if row is None else message_from(row)

    def _row(self, statement: str, values: dict[str, Any]) -> Row | None:
        row: Row | None = self._db.execute(statement, values).fetchone()
        return row


_THREADS = SQL["threads"]
_CLAIMED = SQL["claimed_of_threads"]
_RUN = SQL["run"]
_DISPATCH = SQL["dispatch"]
_MESSAGE = SQL["message"]
_HOLDER = SQL["holder_of_dedupe_key"]
_NEXT_DUE = SQL["next_due"]
_BEST_DUE = SQL["best_due"]
_BEST_LATER = SQL["best_later"]
_QUEUE = SQL["queue"]
_TAIL = SQL["log_tail"]
