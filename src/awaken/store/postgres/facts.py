"""Loads the rows that needs name, for a whole batch.

Above: `batch` and `asks` hand the facts to the rules. Below: `session`.
Holds: a thread is held before anything of it is read. What is read for one thread is written down as a generator that
yields the lookups it needs next; `load` drives those of a whole batch side by side and asks for what they want
together, in one statement, so a batch takes as many round trips as the item that needs most. What most items need comes
with the threads themselves.

Source: ADR 0003.
"""

from __future__ import annotations

from collections.abc import Generator, Sequence
from typing import Any, Final, TypeVar

import msgspec
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
from awaken.store.postgres.session import Lookup, Row, Session, lookup_of
from awaken.store.rows import (
    dispatch_from,
    message_from,
    pending_from,
    run_from,
    span_from,
    state_from,
    thread_from,
    ticket_from,
    waiter_from,
)
from awaken.store.rules.facts import (
    MAX_LINEAGE,
    Facts,
    LeftOpen,
    Lineage,
    Queued,
    ThreadKey,
    ThreadRow,
    Waiting,
)
from awaken.store.rules.needs import Needs, first_of_runs

_T = TypeVar("_T")
Reading = Generator[Sequence[Lookup], None, _T]
"""Something that is read: it yields what it has to be told, and goes on when `Known` has it."""
Known = dict[Lookup, list[Row]]

_ALL: Final = None
"""As a limit: none."""
_OF_CLAIM: Final = 3 + 28
"""Where, in a row of `start_batch`, the columns of the thread end and those of its claim begin."""
_DISPATCH_COLUMNS: Final = 26


class Busy(msgspec.Struct, frozen=True):
    """Somebody else holds the thread."""


BUSY: Final = Busy()


async def drive(db: Session, readings: Sequence[Reading[_T]], known: Known) -> list[_T | DataIntegrity]:
    """The results of all of them, in order."""
    results: list[Any] = [None] * len(readings)
    waiting = dict(enumerate(readings))
    while waiting:
        wanted: list[Lookup] = []
        for place, reading in list(waiting.items()):
            try:
                wanted += next(reading)
            except StopIteration as end:
                results[place] = end.value
                del waiting[place]
            except DataIntegrity as error:
                results[place] = error
                del waiting[place]
        unknown = [lookup for lookup in wanted if lookup not in known]
        if unknown:
            known.update(await db.look_up(unknown))
    return results


class Held(msgspec.Struct, frozen=True):
    """What is held of the threads that were named, until the transaction ends. `threads`: None for one that does not
    exist, BUSY for one that somebody else holds. `known`: what was read with them.
    """

    threads: Sequence[ThreadRow | Busy | DataIntegrity | None]
    known: Known


def named(keys: Sequence[ThreadKey]) -> dict[str, list[str]]:
    return {"scopes": [scope for scope, _ in keys], "thread_ids": [thread_id for _, thread_id in keys]}


async def hold(db: Session, keys: Sequence[ThreadKey], *, wait: bool = False) -> Held:
    """The threads; `wait`: for whoever holds one."""
    rows = await db.rows("wait_for_threads" if wait else "lock_threads", named(keys))
    return Held([_thread(no, columns) for no, *columns in rows], {})


def held_at_start(rows: Sequence[Row]) -> Held:
    """What `start_batch` says of the threads. What it says of claims is as it was when that began; it holds where the
    row of the thread was the same then as it is held now, because whoever changes a claimed dispatch or its run writes
    that row, too, but for a renewal, which holds nothing of the thread in any case.
    """
    held = Held([_thread(row[1], row[3:_OF_CLAIM]) for row in rows if row[0] is not None], {})
    for _, no, is_as_it_was, *columns in rows:
        if is_as_it_was:
            claim = tuple(columns[_OF_CLAIM - 3 :])
            held.known["claimed_with_run", (no,)] = [] if claim[0] is None else [claim]
    return held


def _thread(no: int | None, columns: Sequence[Any]) -> ThreadRow | Busy | DataIntegrity | None:
    if no is None:
        return None
    if columns[0] is None:
        return BUSY
    try:
        return thread_from(tuple(columns))
    except DataIntegrity as error:
        return error


async def load(db: Session, wanted: Sequence[Needs], held: Held, now: Instant) -> list[Facts | Busy | DataIntegrity]:
    """The facts that each of the needs names, of its thread."""
    found: list[Any] = [each if isinstance(each, Busy | DataIntegrity) else None for each in held.threads]
    places = [place for place, each in enumerate(found) if each is None]
    readings: list[Reading[Facts]] = []
    for place in places:
        thread = held.threads[place]
        assert not isinstance(thread, Busy | DataIntegrity), "those are answered already"
        readings.append(Loader(held.known).load(wanted[place], thread, now))
    for place, facts in zip(places, await drive(db, readings, held.known), strict=True):
        found[place] = facts
    return found


class Loader:
    """Reads what belongs to one thread."""

    def __init__(self, known: Known) -> None:
        self._known = known
        self._claimed_run: Run | None = None

    def load(self, needs: Needs, thread: ThreadRow | None, now: Instant) -> Reading[Facts]:
        yield from self._look_ahead(needs, thread, now)
        if thread is None:
            facts = Facts()
            yield from self._find_run(facts, needs)
            return facts
        facts = Facts(thread=thread, claimed=(yield from self._claimed(thread)))
        claimed = facts.claimed
        yield from self._find_run(facts, needs)
        if needs.active and claimed is not None:
            facts.active = yield from self._run_of_claimed(needs.scope, claimed)
        if needs.target is not None:
            facts.target = yield from self._target(needs.target, thread)
        if needs.decides is not None:
            facts.decided = yield from self._target(needs.decides, thread)
        if needs.messages:
            yield from self._find_known(facts, needs, thread)
        if needs.siblings and facts.known_dispatch is not None and facts.known_run is not None:
            facts.siblings = (yield from self._with_messages(thread, facts.known_dispatch, facts.known_run)).messages
        if needs.referred:
            facts.referred = yield from self._messages(thread, needs.referred)
        if needs.again is not None:
            facts.again = yield from self.run(needs.scope, needs.again)
        if needs.dedupe_key is not None:
            yield from self._find_holder(facts, needs, thread)
        if needs.tail and facts.run is not None:
            facts.tail = yield from self._tail(thread, facts.run)
        if needs.queue == "always" or (needs.queue == "if_free" and claimed is None):
            yield from self._look_at_queue(facts, needs, thread, now)
        if needs.whole_queue and thread.queued:
            yield from self._find_queue(facts, needs.scope, thread)
        if needs.whole_queue:
            yield from self._find_left_open(facts, thread)
        if needs.crowd is not None and thread.queued + thread.waiting >= needs.crowd:
            [counts] = yield from self._rows("count_queue", thread=thread.no, now=now)
            facts.later, facts.wakes = counts
        if needs.won is not None and claimed is not None and claimed.claim_token == needs.won:
            facts.won = yield from self._queued(thread, claimed)
        if needs.pending and thread.pending:
            yield from self._find_pending(facts, needs, thread)
        if needs.taken is not None and thread.commit_no == needs.taken:
            rows = yield from self._rows("taken", thread=thread.no, commit_no=needs.taken)
            facts.taken = tuple([message_from(row).message for row in rows])
        if needs.waiting and thread.waiting:
            limit = 1 if needs.waiting == "last" else _ALL
            runs = yield from self._rows("waiting_runs", thread=thread.no, limit=limit)
            waiting: list[Waiting] = []
            for row in runs:
                waiting.append((yield from self._waiting(thread, run_from(row))))
            facts.waiting = tuple(waiting)
        if needs.tickets:
            yield [lookup_of("ticket", scope=needs.scope, ticket_id=each) for each in needs.tickets]
        for ticket_id in needs.tickets:
            row = yield from self._row("ticket", scope=needs.scope, ticket_id=ticket_id)
            if row is not None:
                facts.tickets[ticket_id] = ticket_from(row)
        yield from self._find_what_runs_have(facts, needs, thread)
        if needs.state or facts.brings_state:
            row = yield from self._row("state", thread=thread.no)
            facts.state = NO_STATE if row is None else state_from(thread.thread_id, row)
        if needs.hide is not None:
            yield from self._look_at_view(facts, thread)
        if needs.parent is not None:
            facts.lineage = yield from self._lineage(needs.scope, needs.parent)
        if needs.child:
            [(child,)] = yield from self._rows("child", scope=needs.scope, thread_id=needs.thread_id)
            facts.child = None if child is None else ThreadId(child)
        return facts

    def _look_ahead(self, needs: Needs, thread: ThreadRow | None, now: Instant) -> Reading[None]:
        """Everything that does not depend on what is found, in one round."""
        wanted: list[Lookup] = []
        if thread is None or thread.ready is not None:  # else it is most often the claimed one, which comes anyway
            if needs.run is not None:
                wanted.append(lookup_of("run", scope=needs.scope, run_id=needs.run))
            if needs.dispatch is not None and not needs.newest:
                wanted.append(lookup_of("dispatch", scope=needs.scope, dispatch_id=needs.dispatch))
        if thread is not None:
            wanted.append(lookup_of("claimed_with_run", thread=thread.no))
            for message_id in (*needs.messages, *needs.referred):
                wanted.append(lookup_of("message", thread=thread.no, message_id=message_id))
            if needs.head and thread.queued and (needs.queue == "always" or thread.ready is not None):
                wanted.append(lookup_of("next_due_with_run", thread=thread.no, now=now))
            if needs.pending and thread.pending:
                wanted.append(lookup_of("pending", thread=thread.no))
            if needs.state:
                wanted.append(lookup_of("state", thread=thread.no))
        if wanted:
            yield wanted

    # --- parts of facts -----------------------------------------------------------------------------------------------

    def _claimed(self, thread: ThreadRow) -> Reading[Dispatch | None]:
        row = yield from self._row("claimed_with_run", thread=thread.no)
        return None if row is None else self._with_run(thread, row)

    def _with_run(self, thread: ThreadRow, row: Row) -> Dispatch:
        """The dispatch, whose run is known from now on."""
        dispatch, of_run = dispatch_from(tuple(row[:_DISPATCH_COLUMNS])), tuple(row[_DISPATCH_COLUMNS:])
        lookup = lookup_of("run", scope=thread.scope, run_id=dispatch.run_id)
        self._known.setdefault(lookup, [] if of_run[0] is None else [of_run])
        return dispatch

    def _find_run(self, facts: Facts, needs: Needs) -> Reading[None]:
        """The run and the dispatch that are named."""
        scope, claimed = needs.scope, facts.claimed
        wanted = claimed.run_id if needs.of_claim and claimed is not None else needs.run
        if wanted is not None:
            facts.run = yield from self.run(scope, wanted)
        dispatch_id = facts.run.dispatch_id if needs.newest and facts.run is not None else needs.dispatch
        if claimed is not None and claimed.dispatch_id == dispatch_id:
            facts.dispatch = claimed
        elif dispatch_id is not None:
            facts.dispatch = yield from self._dispatch(scope, dispatch_id)

    def _target(self, run_id: RunId, thread: ThreadRow) -> Reading[Waiting | None]:
        run = yield from self.run(thread.scope, run_id)
        if run is None or run.thread_id != thread.thread_id:
            return None
        return (yield from self._waiting(thread, run))

    def _find_pending(self, facts: Facts, needs: Needs, thread: ThreadRow) -> Reading[None]:
        rows = yield from self._rows("pending", thread=thread.no)
        facts.pending = tuple(map(pending_from, rows))
        if needs.bodies:
            found = yield from self._messages(thread, first_of_runs(facts, needs))
            facts.bodies = tuple([stored.message for stored in found])

    def _find_known(self, facts: Facts, needs: Needs, thread: ThreadRow) -> Reading[None]:
        facts.known = yield from self._messages(thread, needs.messages)
        if facts.known and facts.known[0].run_id is not None:
            facts.known_run = yield from self.run(needs.scope, facts.known[0].run_id)
        if facts.known_run is not None:
            facts.known_dispatch = yield from self._dispatch(needs.scope, facts.known_run.dispatch_id)

    def _find_holder(self, facts: Facts, needs: Needs, thread: ThreadRow) -> Reading[None]:
        row = yield from self._row("holder_of_dedupe_key", thread=thread.no, dedupe_key=needs.dedupe_key)
        if row is not None:
            facts.deduped = run_from(row)
            facts.deduped_dispatch = yield from self._dispatch(needs.scope, facts.deduped.dispatch_id)

    def _look_at_queue(self, facts: Facts, needs: Needs, thread: ThreadRow, now: Instant) -> Reading[None]:
        """What waits in the thread: the dispatch to run next, and the best of the rest."""
        if needs.head:
            yield from self._find_left_open(facts, thread)
        if not thread.queued:
            return
        named = facts.run if needs.run is not None else facts.known_run
        without = named.dispatch_id if needs.newest and named is not None else ""
        head: Dispatch | None = None
        if needs.head:
            row = yield from self._row("next_due_with_run", thread=thread.no, now=now)
            try:
                head = None if row is None else self._with_run(thread, row)
            except DataIntegrity:
                if needs.head == "always":
                    raise
        place = {"thread": thread.no, "next": 0 if head is None else head.no, "without": without}
        beside = [] if thread.queued == 1 else [lookup_of("best_due", **place, now=now)]
        if head is not None:
            facts.next = yield from self._queued(thread, head, beside)
            if not beside:
                return
        row = yield from self._row("best_due", **place, now=now)
        if row is None:
            row = yield from self._row("best_later", **place)
        facts.ready = None if row is None else waiter_from(row)

    def _find_queue(self, facts: Facts, scope: Scope, thread: ThreadRow) -> Reading[None]:
        rows = yield from self._rows("queue", thread=thread.no, limit=_ALL)
        dispatches = [dispatch_from(row) for row in rows]
        yield [lookup_of("run", scope=scope, run_id=each.run_id) for each in dispatches]
        found: list[tuple[Dispatch, Run]] = []
        for each in dispatches:
            run = yield from self.run(scope, each.run_id)
            if run is None:
                raise DataIntegrity(f"dispatch {each.dispatch_id!r}: its run {each.run_id!r} does not exist")
            found.append((each, run))
        facts.queue = tuple(found)

    def _find_left_open(self, facts: Facts, thread: ThreadRow) -> Reading[None]:
        if thread.left_open:
            rows = yield from self._rows("left_open_runs", thread=thread.no)
            left: list[LeftOpen] = []
            for run in map(run_from, rows):
                left.append(LeftOpen(run, (yield from self._tail(thread, run))))
            facts.left_open = tuple(left)

    def _queued(self, thread: ThreadRow, dispatch: Dispatch, beside: Sequence[Lookup] = ()) -> Reading[Queued]:
        """The dispatch with what it takes to run it; `beside`: to be looked up with that. Damage to it is a fact like
        any other: the rule buries the dispatch with the reason, where an error would keep every other thread from being
        claimed.
        """
        run: Run | None = None
        try:
            run = yield from self.run(thread.scope, dispatch.run_id)
            if run is None:
                return Queued(dispatch, None)
            return (yield from self._with_messages(thread, dispatch, run, beside))
        except DataIntegrity as error:
            return Queued(dispatch, run, damage=str(error))

    def _with_messages(
        self, thread: ThreadRow, dispatch: Dispatch, run: Run, beside: Sequence[Lookup] = ()
    ) -> Reading[Queued]:
        ids = dispatch.brings(run.request.input_message_ids)
        yield [*beside, *[lookup_of("message", thread=thread.no, message_id=each) for each in ids]]
        brought: list[StoredMessage] = []
        lacks: MessageId | None = None
        for message_id in ids:
            row = yield from self._row("message", thread=thread.no, message_id=message_id)
            if row is None:
                lacks = lacks or message_id
                continue
            stored = message_from(row)
            if stored.fate is None:
                brought.append(stored)
        return Queued(dispatch, run, tuple(brought), lacks, (yield from self._tail(thread, run)))

    def _waiting(self, thread: ThreadRow, run: Run) -> Reading[Waiting]:
        dispatch = yield from self._dispatch(thread.scope, run.dispatch_id)
        if dispatch is None:
            raise DataIntegrity(f"run {run.run_id!r}: its dispatch {run.dispatch_id!r} does not exist")
        return Waiting(run, dispatch, (yield from self._tail(thread, run)))

    def _tail(self, thread: ThreadRow, run: Run) -> Reading[tuple[Message, ...]]:
        if run.open_turn is None:
            return ()
        rows = yield from self._rows("tail", thread=thread.no, from_seq=run.open_turn, run_id=run.run_id)
        return tuple([message_from(row).message for row in rows])

    def _find_what_runs_have(self, facts: Facts, needs: Needs, thread: ThreadRow) -> Reading[None]:
        for run in facts.runs():
            if run.open_tickets and needs.open_tickets:
                rows = yield from self._rows("open_tickets_of_run", run=run.no)
                facts.open_tickets[run.run_id] = tuple(map(ticket_from, rows))
            if needs.hides or run.hide_requested_at is not None:
                first = 1 if run.input is None else run.input.from_seq
                rows = yield from self._rows("own_seqs", thread=thread.no, from_seq=first, run_id=run.run_id)
                facts.own[run.run_id] = tuple(stretches(seq for (seq,) in rows))

    def _lineage(self, scope: Scope, thread_id: ThreadId) -> Reading[Lineage]:
        ids: list[ThreadId] = []
        following: ThreadId | None = thread_id
        while following is not None:
            row = yield from self._row("ancestor", scope=scope, thread_id=following)
            if row is None or row[0] is not None:
                return Lineage(tuple(ids), lacks=following)
            ids.append(following)
            following = None if row[1] is None else ThreadId(row[1])
            if following in ids or len(ids) > MAX_LINEAGE:
                return Lineage(tuple(ids), is_too_deep=True)
        return Lineage(tuple(ids))

    def _look_at_view(self, facts: Facts, thread: ThreadRow) -> Reading[None]:
        if thread.spans:
            rows = yield from self._rows("spans", thread=thread.no)
            facts.spans = tuple(map(span_from, rows))
        if facts.known and (facts.known[0].message.tool_calls or facts.known[0].message.role is TOOL):
            rows = yield from self._rows("own_messages", thread=thread.no, run_id=facts.known[0].run_id)
            facts.turn = tuple(map(message_from, rows))

    def _run_of_claimed(self, scope: Scope, claimed: Dispatch) -> Reading[Run | None]:
        return self.run(scope, claimed.run_id)

    # --- rows ---------------------------------------------------------------------------------------------------------

    def run(self, scope: Scope, run_id: RunId) -> Reading[Run | None]:
        """With its output, where that is stored as messages."""
        row = yield from self._row("run", scope=scope, run_id=run_id)
        if row is None:
            return None
        run = run_from(row)
        if not run.output_message_ids:
            return run
        yield [lookup_of("output_message", run=run.no, message_id=each) for each in run.output_message_ids]
        texts: list[str] = []
        for message_id in run.output_message_ids:
            row = yield from self._row("output_message", run=run.no, message_id=message_id)
            if row is None:
                raise DataIntegrity(f"run {run.run_id!r}: its output, message {message_id!r}, does not exist")
            texts.append(message_from(row).message.text)
        return replace(run, final_output="".join(texts))

    def _dispatch(self, scope: Scope, dispatch_id: DispatchId) -> Reading[Dispatch | None]:
        row = yield from self._row("dispatch", scope=scope, dispatch_id=dispatch_id)
        return None if row is None else dispatch_from(row)

    def _messages(self, thread: ThreadRow, ids: Sequence[MessageId]) -> Reading[tuple[StoredMessage, ...]]:
        """Those of them that the thread has."""
        yield [lookup_of("message", thread=thread.no, message_id=each) for each in ids]
        found: list[StoredMessage] = []
        for message_id in ids:
            row = yield from self._row("message", thread=thread.no, message_id=message_id)
            if row is not None:
                found.append(message_from(row))
        return tuple(found)

    def _row(self, name: str, **values: Any) -> Reading[Row | None]:
        rows = yield from self._rows(name, **values)
        return rows[0] if rows else None

    def _rows(self, name: str, **values: Any) -> Reading[list[Row]]:
        lookup = lookup_of(name, **values)
        if lookup not in self._known:
            yield [lookup]
        return self._known[lookup]
