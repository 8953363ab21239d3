"""The contract in plain Python: the model the SQL stores are compared with, and `memory://`.

Above: `rules` decides; this file finds the rows a transition touches and keeps what it changed.
Holds: one `apply` at a time and without an await, so a batch is atomic; facts are copies, so an error leaves no trace.
"""

from __future__ import annotations

import copy
from collections import defaultdict
from collections.abc import Iterable, Sequence
from types import TracebackType
from typing import Final, Self, assert_never

from awaken.domain.clock import Clock, Instant, SystemClock
from awaken.domain.dispatch import CLAIMED, QUEUED, Dispatch, DispatchStatus
from awaken.domain.ids import DispatchId, MessageId, RunId, Scope, ThreadId
from awaken.domain.log import Appended, EventRow
from awaken.domain.message import Message
from awaken.domain.run import DONE, Run
from awaken.domain.thread import Thread, derive_status
from awaken.store import rules
from awaken.store.contract import (
    Capabilities,
    DispatchQuery,
    Listener,
    MessageQuery,
    RunQuery,
    StoredMessage,
    ThreadQuery,
)
from awaken.store.rules import Changes, Facts, Queued, ThreadRow
from awaken.store.signals import Listeners
from awaken.store.transitions import (
    MAX_ROWS,
    Cancel,
    Claim,
    Claimed,
    ClaimedSome,
    Closed,
    Commit,
    Failed,
    Interrupt,
    JournalEntry,
    Outcome,
    Purge,
    Purged,
    Reclaim,
    Reclaimed,
    Renew,
    Renewal,
    Renewed,
    SaveThread,
    Settle,
    Submit,
    ThreadTransition,
    Transition,
)

_Key = tuple[Scope, ThreadId]


class _ThreadData:
    """Everything that hangs on one thread."""

    def __init__(self) -> None:
        self.messages: dict[MessageId, StoredMessage] = {}
        self.log: list[MessageId] = []
        self.runs: list[RunId] = []
        self.dispatches: list[DispatchId] = []
        self.queued: set[DispatchId] = set()
        self.claimed: DispatchId | None = None
        self.events: list[Appended] = []


class MemoryStore:
    """Volatile, and exclusive to the process that made it."""

    def __init__(self, clock: Clock | None = None) -> None:
        self.capabilities: Final = Capabilities(kind="memory", durability="volatile", exclusive=True, max_batch=200)
        self._clock = clock or SystemClock()
        self._listeners = Listeners()
        self._threads: dict[_Key, ThreadRow] = {}
        self._data: defaultdict[_Key, _ThreadData] = defaultdict(_ThreadData)
        self._runs: dict[tuple[Scope, RunId], Run] = {}
        self._dispatches: dict[tuple[Scope, DispatchId], Dispatch] = {}
        self._journal: dict[tuple[Scope, RunId], dict[str, JournalEntry]] = {}

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        return None

    async def apply(self, batch: Sequence[Transition]) -> list[Outcome]:
        now = self._clock.now()
        outcomes = [self._apply_alone(transition, now) for transition in batch]
        self._listeners.publish(outcomes)
        return outcomes

    def listen(self, listener: Listener) -> None:
        self._listeners.add(listener)

    def unlisten(self, listener: Listener) -> None:
        self._listeners.remove(listener)

    def _apply_alone(self, t: Transition, now: Instant) -> Outcome:
        try:
            return self._apply(t, now)
        except Exception as error:  # the item's own failure: its caller hears it, its neighbours do not
            return Failed(error)

    def _apply(self, t: Transition, now: Instant) -> Outcome:
        match t:
            case Renew():
                return self._renew(t, now)
            case Reclaim():
                return self._reclaim(t, now)
            case Claim():
                return self._claim(t, now)
            case Purge():
                return self._purge(t, now)
            case _:
                changes = Changes()
                outcome = rules.decide(t, self._facts(t, now), changes, now)
                self._write(changes)
                return outcome

    # --- facts --------------------------------------------------------------------------------------------------------

    def _facts(self, t: ThreadTransition, now: Instant) -> Facts:
        key = (t.scope, t.thread_id)
        facts = self._thread_facts(key)
        match t:
            case SaveThread():
                facts.known, _ = self._known(key, t.messages)
            case Submit():
                facts.run = self._runs.get((t.scope, t.run_id))
                facts.dispatch = self._dispatches.get((t.scope, facts.run.dispatch_id if facts.run else t.dispatch_id))
                facts.known, facts.known_run = self._known(key, t.messages)
                if t.delivery.dedupe_key is not None:
                    facts.deduped_dispatch = self._holder(key, t.delivery.dedupe_key)
                    if facts.deduped_dispatch is not None:
                        facts.deduped = self._runs[t.scope, facts.deduped_dispatch.run_id]
                self._queue_facts(facts, key, now, with_next=t.offer is not None)
            case Commit():
                self._owner_facts(facts, t)
            case Settle():
                self._owner_facts(facts, t)
                self._queue_facts(facts, key, now, with_next=t.offer is not None)
            case Cancel():
                facts.run = self._runs.get((t.scope, t.run_id))
                if facts.run is not None:
                    facts.dispatch = self._dispatches.get((t.scope, facts.run.dispatch_id))
                    self._queue_facts(facts, key, now, with_next=False, without=facts.run.dispatch_id)
            case Interrupt():
                queue = [self._dispatches[t.scope, each] for each in self._data[key].queued]
                queue.sort(key=lambda dispatch: (dispatch.priority, dispatch.position))
                facts.queue = tuple((dispatch, self._runs[t.scope, dispatch.run_id]) for dispatch in queue)
                if facts.claimed is not None:
                    facts.run = self._runs[t.scope, facts.claimed.run_id]
            case _:
                assert_never(t)
        return facts

    def _thread_facts(self, key: _Key) -> Facts:
        claimed = self._data[key].claimed
        return Facts(
            thread=copy.copy(self._threads.get(key)),
            claimed=None if claimed is None else self._dispatches[key[0], claimed],
        )

    def _known(self, key: _Key, messages: Iterable[Message]) -> tuple[tuple[StoredMessage, ...], Run | None]:
        stored = self._data[key].messages
        known = tuple(stored[message.id] for message in messages if message.id in stored)
        run_id = known[0].run_id if known else None
        return known, None if run_id is None else self._runs[key[0], run_id]

    def _holder(self, key: _Key, dedupe_key: str) -> Dispatch | None:
        data = self._data[key]
        for dispatch_id in (*data.queued, *([] if data.claimed is None else [data.claimed])):
            dispatch = self._dispatches[key[0], dispatch_id]
            if dispatch.dedupe_key == dedupe_key:
                return dispatch
        return None

    def _owner_facts(self, facts: Facts, t: Commit | Settle) -> None:
        facts.dispatch = self._dispatches.get((t.scope, t.dispatch_id))
        facts.run = self._runs.get((t.scope, t.run_id))
        facts.known, _ = self._known((t.scope, t.thread_id), t.messages)

    def _queue_facts(
        self, facts: Facts, key: _Key, now: Instant, *, with_next: bool, without: DispatchId | None = None
    ) -> None:
        queue = [self._dispatches[key[0], each] for each in self._data[key].queued if each != without]
        due = [dispatch for dispatch in queue if dispatch.available_at <= now]
        if with_next:
            facts.tail = self._tail(key)
        if with_next and due:
            head = min(due, key=lambda dispatch: (dispatch.priority, dispatch.position))
            queue.remove(head)
            facts.next = self._queued(key, head)
        if queue:
            best = min(queue, key=lambda dispatch: rules.ready_key(dispatch.priority, dispatch.available_at, now))
            facts.ready = (best.priority, best.available_at)

    def _queued(self, key: _Key, dispatch: Dispatch) -> Queued:
        run = self._runs.get((key[0], dispatch.run_id))
        if run is None:
            return Queued(dispatch, None, ())
        messages = self._data[key].messages
        stored = [messages.get(message_id) for message_id in run.request.input_message_ids]
        waiting = tuple(each.message for each in stored if each is not None and each.seq is None)
        lacks = None if None not in stored else run.request.input_message_ids[stored.index(None)]
        return Queued(dispatch, run, waiting, lacks)

    def _tail(self, key: _Key) -> tuple[Message, ...]:
        thread = self._threads.get(key)
        if thread is None or thread.open_turn is None:
            return ()
        data = self._data[key]
        return tuple(data.messages[message_id].message for message_id in data.log[thread.open_turn - 1 :])

    # --- transitions over many threads --------------------------------------------------------------------------------

    def _claim(self, t: Claim, now: Instant) -> ClaimedSome:
        claims: list[Claimed] = []
        closed: list[Closed] = []
        appended: tuple[Appended, ...] = ()
        for key in self._ready_threads(now):
            while len(claims) < len(t.offers):
                facts = self._thread_facts(key)
                self._queue_facts(facts, key, now, with_next=True)
                if facts.next is None or facts.claimed is not None:
                    break
                changes = Changes()
                taken, rows = rules.claim_next(key[0], t.offers[len(claims)], facts, changes, now)
                self._write(changes)
                appended += rows
                if isinstance(taken, Claimed):
                    claims.append(taken)
                    break
                closed.append(taken)
        due_left = 0 if len(claims) < len(t.offers) else min(len(self._ready_threads(now)), MAX_ROWS)
        next_due_at = None if due_left else self._next_due_at(now)
        return ClaimedSome(tuple(claims), tuple(closed), due_left, next_due_at, appended)

    def _ready_threads(self, now: Instant) -> list[_Key]:
        ready = [
            (row.ready_priority or 0, row.ready_at, row.thread_id, row.scope)
            for row in self._threads.values()
            if row.ready_at is not None and row.ready_at <= now
        ]
        return [(scope, thread_id) for _, _, thread_id, scope in sorted(ready)]

    def _reclaim(self, t: Reclaim, now: Instant) -> Reclaimed:
        expired = sorted(
            (
                (dispatch.lease_until or 0, dispatch.dispatch_id, scope)
                for (scope, _), dispatch in self._dispatches.items()
                if dispatch.status is CLAIMED and (t.abandoned or (dispatch.lease_until or 0) < now)
            ),
        )
        items: list[Closed] = []
        appended: tuple[Appended, ...] = ()
        for _, dispatch_id, scope in expired[: t.limit]:
            dispatch = self._dispatches[scope, dispatch_id]
            key = (scope, dispatch.thread_id)
            facts = self._thread_facts(key)
            facts.run = self._runs.get((scope, dispatch.run_id))
            self._queue_facts(facts, key, now, with_next=False)
            changes = Changes()
            item, rows = rules.reclaim(scope, facts, changes, now)
            self._write(changes)
            items.append(item)
            appended += rows
        return Reclaimed(tuple(items), len(expired) > t.limit, appended)

    def _renew(self, t: Renew, now: Instant) -> Renewed:
        renewals: list[Renewal] = []
        for lease in t.leases[:MAX_ROWS]:
            dispatch = self._dispatches.get((lease.scope, lease.dispatch_id))
            epoch, stop = 0, False
            if dispatch is not None:
                epoch = self._threads[lease.scope, dispatch.thread_id].epoch
                run = self._runs.get((lease.scope, dispatch.run_id))
                stop = run is not None and run.cancel_requested_at is not None
            renewal, extended = rules.renew(dispatch, epoch, stop, lease.token, t.lease_ms, now)
            if extended is not None:
                self._dispatches[lease.scope, lease.dispatch_id] = extended
            renewals.append(renewal or Renewal(lease.dispatch_id, None, stop=False))
        return Renewed(tuple(renewals))

    def _purge(self, t: Purge, now: Instant) -> Purged:
        old = [
            (dispatch.updated_at, dispatch.dispatch_id, scope)
            for (scope, _), dispatch in self._dispatches.items()
            if dispatch.status.is_terminal and dispatch.updated_at < now - t.retention_ms
        ]
        old.sort()
        for _, dispatch_id, scope in old[: t.limit]:
            dispatch = self._dispatches.pop((scope, dispatch_id))
            self._data[scope, dispatch.thread_id].dispatches.remove(dispatch_id)
            self._journal.pop((scope, dispatch.run_id), None)
        return Purged(min(len(old), t.limit))

    # --- writing ------------------------------------------------------------------------------------------------------

    def _write(self, changes: Changes) -> None:
        for thread in (*changes.new_threads, *changes.threads):
            self._threads[thread.scope, thread.thread_id] = thread
        for write in changes.new_messages:
            data = self._data[write.scope, write.thread_id]
            data.messages[write.message.id] = StoredMessage(write.message, write.seq, write.run_id, write.created_at)
            if write.seq is not None:
                data.log.append(write.message.id)
        for scope, thread_id, message_id, seq in changes.appended_messages:
            data = self._data[scope, thread_id]
            stored = data.messages[message_id]
            data.messages[message_id] = StoredMessage(stored.message, seq, stored.run_id, stored.created_at)
            data.log.append(message_id)
        for scope, run, dispatch in changes.accepted:
            self._runs[scope, run.run_id] = run
            data = self._data[scope, run.thread_id]
            data.runs.append(run.run_id)
            data.dispatches.append(dispatch.dispatch_id)
            self._write_dispatch(scope, dispatch)
        for scope, run in changes.runs:
            self._runs[scope, run.run_id] = run
        for scope, _, dispatch in changes.dispatches:
            self._write_dispatch(scope, dispatch)
        for row in changes.events:
            self._data[row.scope, row.thread_id].events.append(row)
        for scope, run_id, entry, _ in changes.journal:
            self._journal.setdefault((scope, run_id), {})[entry.key] = entry

    def _write_dispatch(self, scope: Scope, dispatch: Dispatch) -> None:
        data = self._data[scope, dispatch.thread_id]
        data.queued.discard(dispatch.dispatch_id)
        if data.claimed == dispatch.dispatch_id:
            data.claimed = None
        if dispatch.status is QUEUED:
            data.queued.add(dispatch.dispatch_id)
        elif dispatch.status is CLAIMED:
            assert data.claimed is None, "one claimed dispatch per thread"
            data.claimed = dispatch.dispatch_id
        self._dispatches[scope, dispatch.dispatch_id] = dispatch

    # --- reads --------------------------------------------------------------------------------------------------------

    async def load_thread(self, scope: Scope, thread_id: ThreadId) -> Thread | None:
        row = self._threads.get((scope, thread_id))
        return None if row is None else self._thread(row)

    def _thread(self, row: ThreadRow) -> Thread:
        data = self._data[row.scope, row.thread_id]
        active = None if data.claimed is None else self._dispatches[row.scope, data.claimed].run_id
        latest = self._latest_run(row.scope, row.thread_id)
        queue = sorted(
            (self._dispatches[row.scope, each] for each in data.queued), key=lambda each: (each.priority, each.position)
        )
        open_id = active or (queue[0].run_id if queue else None)
        if open_id is None and latest is not None and latest.status is not DONE:
            open_id = latest.run_id
        return Thread(
            thread_id=row.thread_id,
            info=row.info,
            epoch=row.epoch,
            message_count=row.message_seq,
            event_count=row.event_seq,
            queued_count=row.queued,
            created_at=row.created_at,
            updated_at=row.updated_at,
            active_run_id=active,
            open_run_id=open_id,
            latest_run_id=None if latest is None else latest.run_id,
            status=derive_status(
                active_run_id=active,
                queued_count=row.queued,
                open_run=None if open_id is None else self._runs[row.scope, open_id],
                latest=latest,
            ),
        )

    async def list_threads(self, scope: Scope, query: ThreadQuery) -> list[Thread]:
        rows = [
            row
            for row in self._threads.values()
            if row.scope == scope
            and row.thread_id.startswith(query.id_prefix)
            and (query.resource_id is None or row.info.resource_id == query.resource_id)
        ]
        sign = 1 if query.ascending else -1
        rows.sort(key=lambda row: (sign * row.updated_at, row.thread_id))
        if query.after is not None:
            after = (sign * query.after[0], query.after[1])
            rows = [row for row in rows if (sign * row.updated_at, row.thread_id) > after]
        return [self._thread(row) for row in rows[: query.limit]]

    async def load_run(self, scope: Scope, run_id: RunId) -> Run | None:
        return self._runs.get((scope, run_id))

    async def latest_run(self, scope: Scope, thread_id: ThreadId) -> Run | None:
        return self._latest_run(scope, thread_id)

    def _latest_run(self, scope: Scope, thread_id: ThreadId) -> Run | None:
        row = self._threads.get((scope, thread_id))
        return None if row is None or row.latest_run_id is None else self._runs[scope, row.latest_run_id]

    async def list_runs(self, scope: Scope, query: RunQuery) -> list[Run]:
        runs = [
            run
            for (owner, _), run in self._runs.items()
            if owner == scope
            and (query.thread_id is None or run.thread_id == query.thread_id)
            and (query.status is None or run.status is query.status)
            and (query.agent_id is None or run.agent_id == query.agent_id)
            and run.thread_id.startswith(query.thread_id_prefix)
        ]
        sign = -1 if query.descending else 1
        runs.sort(key=lambda run: (sign * run.created_at, run.run_id))
        if query.after is not None:
            after = (sign * query.after[0], query.after[1])
            runs = [run for run in runs if (sign * run.created_at, run.run_id) > after]
        return runs[: query.limit]

    async def load_dispatch(self, scope: Scope, dispatch_id: DispatchId) -> Dispatch | None:
        return self._dispatches.get((scope, dispatch_id))

    async def active_dispatch(self, scope: Scope, thread_id: ThreadId) -> Dispatch | None:
        claimed = self._data[scope, thread_id].claimed
        return None if claimed is None else self._dispatches[scope, claimed]

    async def list_dispatches(self, scope: Scope, query: DispatchQuery) -> list[Dispatch]:
        dispatches = (self._dispatches[scope, each] for each in self._data[scope, query.thread_id].dispatches)
        wanted = [
            dispatch
            for dispatch in dispatches
            if (query.statuses is None or dispatch.status in query.statuses)
            and (query.run_id is None or dispatch.run_id == query.run_id)
        ]
        wanted.sort(key=lambda dispatch: (dispatch.priority, dispatch.position))
        return wanted[query.offset : query.offset + query.limit]

    async def count_dispatches(self) -> dict[DispatchStatus, int]:
        counts = dict.fromkeys(DispatchStatus, 0)
        for dispatch in self._dispatches.values():
            counts[dispatch.status] += 1
        return counts

    async def next_due_at(self) -> Instant | None:
        return self._next_due_at(None)

    def _next_due_at(self, after: Instant | None) -> Instant | None:
        ready = [row.ready_at for row in self._threads.values() if row.ready_at is not None]
        leases = [each.lease_until + 1 for each in self._dispatches.values() if each.lease_until is not None]
        return min([due_at for due_at in (*ready, *leases) if after is None or due_at > after], default=None)

    async def load_message(self, scope: Scope, thread_id: ThreadId, message_id: MessageId) -> StoredMessage | None:
        return self._data[scope, thread_id].messages.get(message_id)

    async def list_messages(self, scope: Scope, thread_id: ThreadId, query: MessageQuery) -> list[StoredMessage]:
        data = self._data[scope, thread_id]
        first, last = query.after + 1, len(data.log) if query.before is None else min(query.before - 1, len(data.log))
        found: list[StoredMessage] = []
        for seq in reversed(range(first, last + 1)) if query.descending else range(first, last + 1):
            if len(found) == query.limit:
                break
            stored = data.messages[data.log[seq - 1]]
            if query.visibility not in (None, stored.message.visibility) or query.run_id not in (None, stored.run_id):
                continue
            found.append(stored)
        return found

    async def list_journal(self, scope: Scope, run_id: RunId) -> list[JournalEntry]:
        entries = self._journal.get((scope, run_id), {})
        return [entries[key] for key in sorted(entries)]

    async def list_events(
        self, scope: Scope, thread_id: ThreadId, *, after: int, limit: int, run_id: RunId | None = None
    ) -> list[EventRow]:
        rows: list[EventRow] = []
        count = 0
        for appended in self._data[scope, thread_id].events:
            if count >= limit:
                break
            if appended.last_seq > after and (run_id is None or appended.run_id == run_id):
                row = appended.row().starting_after(after)
                rows.append(row)
                count += len(row.events)
        return rows

    async def last_event_seq(self, scope: Scope, thread_id: ThreadId) -> int:
        row = self._threads.get((scope, thread_id))
        return 0 if row is None else row.event_seq
