"""Finds the rows that needs name.

Above: `store` for one transition, `asks` for the threads a rule visits. Below: the tables.
Holds: the thread row is a copy, so that a rule that fails leaves no trace.
"""

from __future__ import annotations

import copy
from collections.abc import Iterable

from awaken.domain.clock import Instant
from awaken.domain.dispatch import WAKES, Dispatch
from awaken.domain.ids import MessageId, RunId, Scope, ThreadId
from awaken.domain.message import Message
from awaken.domain.run import DONE, Run
from awaken.domain.span import stretches
from awaken.store.memory.tables import Tables
from awaken.store.rules.facts import MAX_LINEAGE, Facts, LeftOpen, Lineage, Queued, ThreadKey, Waiter, Waiting
from awaken.store.rules.needs import Needs, first_of_runs


class FactLoader:
    """Looks things up in one store's tables."""

    def __init__(self, tables: Tables) -> None:
        self._tables = tables

    def load(self, needs: Needs, now: Instant) -> Facts:
        tables, key, scope = self._tables, needs.key, needs.scope
        claimed = tables.claimed(key)
        facts = Facts(thread=copy.copy(tables.threads.get(key)), claimed=claimed)
        if needs.run is not None:
            facts.run = tables.runs.get((scope, needs.run))
        elif needs.of_claim and claimed is not None:
            facts.run = tables.runs.get((scope, claimed.run_id))
        if needs.active and claimed is not None:
            facts.active = tables.runs.get((scope, claimed.run_id))
        if needs.target is not None:
            facts.target = self._target(scope, needs.target)
        if needs.decides is not None:
            facts.decided = self._target(scope, needs.decides)
        if needs.newest and facts.run is not None:
            facts.dispatch = tables.dispatches.get((scope, facts.run.dispatch_id))
        elif needs.dispatch is not None:
            facts.dispatch = tables.dispatches.get((scope, needs.dispatch))
        if needs.messages:
            self._find_known(facts, key, needs.messages)
        if needs.siblings and facts.known_dispatch is not None:
            brought = self._queued(key, facts.known_dispatch)
            facts.siblings = brought.messages
        if needs.referred:
            stored = tables.data[key].messages
            facts.referred = tuple([stored[each] for each in needs.referred if each in stored])
        if needs.again is not None:
            facts.again = tables.runs.get((scope, needs.again))
        if needs.dedupe_key is not None:
            self._find_holder(facts, key, needs.dedupe_key)
        if needs.tail and facts.run is not None:
            facts.tail = self._tail(key, facts.run)
        if needs.queue == "always" or (needs.queue == "if_free" and claimed is None):
            self._look_at_queue(facts, needs, now)
        if needs.whole_queue:
            facts.queue = tuple([(each, tables.runs[scope, each.run_id]) for each in tables.queue(key)])
            self._find_left_open(facts, key)
        thread = facts.thread
        if needs.crowd is not None and thread is not None and thread.queued + thread.waiting >= needs.crowd:
            facts.later = len([each for each in tables.queue(key) if each.available_at > now])
            facts.wakes = len([each for each in tables.queue(key) if each.why in WAKES])
        if needs.won is not None and claimed is not None and claimed.claim_token == needs.won:
            facts.won = self._queued(key, claimed)
        if needs.pending:
            self._find_pending(facts, needs)
        if needs.taken is not None and thread is not None and thread.commit_no == needs.taken:
            ids = tables.data[key].taken.get(needs.taken, [])
            facts.taken = tuple([tables.data[key].messages[each].message for each in ids])
        if needs.waiting:
            waiting = tables.waiting(key)[: 1 if needs.waiting == "last" else None]
            facts.waiting = tuple(
                [Waiting(run, tables.dispatches[scope, run.dispatch_id], self._tail(key, run)) for run in waiting]
            )
        if needs.tickets:
            named = [tables.tickets.get((scope, each)) for each in needs.tickets]
            facts.tickets = {each.ticket_id: each for each in named if each is not None}
        for run in facts.runs():
            if run.open_tickets and needs.open_tickets:
                facts.open_tickets[run.run_id] = tables.open_tickets(scope, run.run_id)
            if needs.hides or run.hide_requested_at is not None:
                facts.own[run.run_id] = self._own(key, run)
        if needs.state or facts.brings_state:
            facts.state = tables.data[key].state
        if needs.hide is not None:
            self._look_at_view(facts, key)
        if needs.parent is not None:
            facts.lineage = self._lineage(scope, needs.parent)
        if needs.child:
            facts.child = next(iter((*tables.children(key), *tables.children_to_come(key))), None)
        return facts

    def _lineage(self, scope: Scope, thread_id: ThreadId) -> Lineage:
        ids: list[ThreadId] = []
        following: ThreadId | None = thread_id
        while following is not None:
            row = self._tables.threads.get((scope, following))
            if row is None or row.deleted_at is not None:
                return Lineage(tuple(ids), lacks=following)
            ids.append(following)
            following = row.info.parent_thread_id
            if following in ids or len(ids) > MAX_LINEAGE:
                return Lineage(tuple(ids), is_too_deep=True)
        return Lineage(tuple(ids))

    def _own(self, key: ThreadKey, run: Run) -> tuple[tuple[int, int], ...]:
        data = self._tables.data[key]
        own = [seq for seq, each in enumerate(data.log, 1) if data.messages[each].run_id == run.run_id]
        return tuple(stretches(own))

    def _look_at_view(self, facts: Facts, key: ThreadKey) -> None:
        data = self._tables.data[key]
        facts.spans = tuple(data.spans)
        if facts.known:
            run_id = facts.known[0].run_id
            facts.turn = tuple([data.messages[each] for each in data.log if data.messages[each].run_id == run_id])

    def _target(self, scope: Scope, run_id: RunId) -> Waiting | None:
        run = self._tables.runs.get((scope, run_id))
        if run is None:
            return None
        key = (scope, run.thread_id)
        return Waiting(run, self._tables.dispatches[scope, run.dispatch_id], self._tail(key, run))

    def _find_pending(self, facts: Facts, needs: Needs) -> None:
        facts.pending = self._tables.pending(needs.key)
        if needs.bodies:
            mine = first_of_runs(facts, needs)
            facts.bodies = tuple([self._tables.data[needs.key].messages[each].message for each in mine])

    def _find_known(self, facts: Facts, key: ThreadKey, ids: Iterable[MessageId]) -> None:
        stored = self._tables.data[key].messages
        facts.known = tuple([stored[each] for each in ids if each in stored])
        run_id = facts.known[0].run_id if facts.known else None
        facts.known_run = None if run_id is None else self._tables.runs.get((key[0], run_id))
        if facts.known_run is not None:
            facts.known_dispatch = self._tables.dispatches.get((key[0], facts.known_run.dispatch_id))

    def _find_holder(self, facts: Facts, key: ThreadKey, dedupe_key: str) -> None:
        for run in self._tables.unfinished(key):
            if run.dedupe_key == dedupe_key:
                facts.deduped = run
                facts.deduped_dispatch = self._tables.dispatches.get((key[0], run.dispatch_id))

    def _look_at_queue(self, facts: Facts, needs: Needs, now: Instant) -> None:
        key = needs.key
        named = facts.run if needs.run is not None else facts.known_run
        without = named.dispatch_id if needs.newest and named is not None else None
        queue = [each for each in self._tables.queue(key) if each.dispatch_id != without]
        due = [each for each in queue if each.available_at <= now]
        if needs.head and due:
            queue.remove(due[0])
            facts.next = self._queued(key, due[0])
        if queue:
            facts.ready = min([Waiter.of(each) for each in queue], key=lambda waiter: waiter.order(now))
        if needs.head:
            self._find_left_open(facts, key)

    def _find_left_open(self, facts: Facts, key: ThreadKey) -> None:
        ended = [run for run in self._tables.runs_of(key) if run.status is DONE and run.open_turn is not None]
        facts.left_open = tuple([LeftOpen(run, self._tail(key, run)) for run in ended])

    def _queued(self, key: ThreadKey, dispatch: Dispatch) -> Queued:
        run = self._tables.runs.get((key[0], dispatch.run_id))
        if run is None:
            return Queued(dispatch, None)
        messages = self._tables.data[key].messages
        ids = dispatch.brings(run.request.input_message_ids)
        found = tuple([messages[each] for each in ids if each in messages and messages[each].fate is None])
        lacks = next((each for each in ids if each not in messages), None)
        return Queued(dispatch, run, found, lacks, self._tail(key, run))

    def _tail(self, key: ThreadKey, run: Run) -> tuple[Message, ...]:
        if run.open_turn is None:
            return ()
        data = self._tables.data[key]
        stored = [data.messages[each] for each in data.log[run.open_turn - 1 :]]
        return tuple([each.message for each in stored if each.run_id == run.run_id])
