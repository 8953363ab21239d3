"""Taking the next dispatch of a free thread, or closing it when it may not run any more.

Above: `accept` and `owner`, whose offers take one dispatch; the stores, for `Claim`, which visits many threads. Below:
the table of moves.
Holds: what a dispatch brings joins the conversation with its first claim, behind the answers to calls that ended runs
left open. The order inside a thread wins: a head that nobody here can run holds what is behind it.

Source: ADR 0006, 0008, 0023, 0033.
"""

from __future__ import annotations

from collections.abc import Mapping

from msgspec.structs import replace

from awaken.domain import dispatch as moves
from awaken.domain import server_event
from awaken.domain.clock import Instant
from awaken.domain.dispatch import SUSPECT_MARK, Dispatch
from awaken.domain.errors import DataIntegrity
from awaken.domain.ids import Route
from awaken.domain.log import Appended
from awaken.domain.message import Message, Role
from awaken.domain.run import DONE, WAITING, Run, SeqRange, moved
from awaken.store.rules.asks import Due, DueLeft, Load, NextDue, Rule, Suspects, TakenOf, Write, ask
from awaken.store.rules.ending import after_failure, close_queued, supersede_queued
from awaken.store.rules.facts import Changes, Facts, Queued, ReadyKey, ThreadKey, ThreadRow, Waiter, best_of
from awaken.store.rules.needs import of_claim
from awaken.store.rules.pending import end_brought, takeable
from awaken.store.rules.pending import take as take_pending
from awaken.store.rules.span import hide_behind
from awaken.store.rules.state import bring_state
from awaken.store.rules.writing import Log, close_calls, close_left_open, set_ready, touch
from awaken.store.transitions import MAX_ROWS, Claim, Claimed, ClaimedSome, Closed, Offer, Total


def is_taken_by(dispatch: Dispatch, offer: Offer) -> bool:
    """Whether an offer for one dispatch may take this one: its process serves the route, and it is no suspect."""
    return dispatch.route in offer.routes and not dispatch.is_suspect


def may_run(entry: Queued, thread: ThreadRow) -> bool:
    """Everything it takes is there, and nothing has stopped it."""
    return (
        entry.run is not None
        and entry.run.status is not DONE
        and entry.run.cancel_requested_at is None
        and entry.lacks is None
        and entry.damage is None
        and entry.dispatch.epoch >= thread.epoch
    )


def claim_queued(
    entry: Queued, offer: Offer, thread: ThreadRow, facts: Facts, changes: Changes, now: Instant
) -> tuple[Claimed, tuple[Appended, ...]] | None:
    """Take a queued dispatch for an offer, if that may have it and it may run."""
    if entry.run is None or not may_run(entry, thread) or not is_taken_by(entry.dispatch, offer):
        return None
    return _claim(entry, entry.run, offer, thread, facts, changes, now)


def _claim(
    entry: Queued, run: Run, offer: Offer, thread: ThreadRow, facts: Facts, changes: Changes, now: Instant
) -> tuple[Claimed, tuple[Appended, ...]]:
    """A run that starts, or goes on with input, appends the messages that wait for it."""
    log = Log(thread, run.run_id, entry.dispatch.dispatch_id, now)
    new = [stored.message for stored in entry.messages if stored.seq is None]
    step_index = None
    if entry.dispatch.why == "input":
        run = go_on_with_input(run, entry.tail, len(new), thread, changes, log, offer.token)
        step_index = run.steps
    if run.started_at is None or new:
        close_left_open(thread, facts, changes, log, offer.token)
    for message in new:
        changes.appended_messages.append((thread, message.id, log.add_message(message, step_index), step_index, now))
    came: tuple[Message, ...] = ()
    if thread.pending and run.open_turn is None and (run.status is WAITING or entry.dispatch.why == "start"):
        # Where calls of its turn are still open, their answers come first: the input waits for the step after them.
        came = take_pending("resume_input", run, thread, facts, changes, log)
        if run.input is None and came:
            run = replace(run, input=_span(entry, run, thread, came))
        run = replace(run, taken=run.taken + len(came))
    bring_state(run, thread, facts, changes, log)
    hide_behind(run, entry.messages, thread, changes, log)
    thread.queued -= 1
    claimed = take(entry, run, offer, thread, log)
    if thread.pending or came:
        pending = takeable(claimed.run, facts, thread, but=len(came))
        claimed = replace(claimed, messages=claimed.messages + came, pending=pending)
    changes.runs.append((thread, claimed.run))
    changes.dispatches.append((thread, entry.dispatch, claimed.dispatch))
    return claimed, log.write(changes)


def go_on_with_input(
    run: Run, tail: tuple[Message, ...], count: int, thread: ThreadRow, changes: Changes, log: Log, seed: str
) -> Run:
    """A run that waited goes on with so many messages, which it takes, instead of an answer to its calls: those are
    closed, as by `close_calls`.
    """
    if run.open_turn is not None:
        close_calls(tail, thread, run.run_id, changes, log, seed)
    return replace(run, open_turn=None, taken=run.taken + count)


def take(entry: Queued, run: Run, offer: Offer, thread: ThreadRow, log: Log) -> Claimed:
    """The dispatch in its new owner's hands and its run under way, with the events that report it.

    Written by the caller, who has added the messages that the dispatch brings to the log.
    """
    now = log.now
    dispatch = moves.claim(
        entry.dispatch,
        consumer=offer.consumer,
        token=offer.token,
        instance_id=offer.instance_id,
        lease_until=None if offer.lease_ms is None else now + offer.lease_ms,
        now=now,
    )
    resumed = run.started_at is not None
    finished = tuple([each.tool_call_id or "" for each in entry.tail if each.role is Role.TOOL])
    log.add(server_event.claimed(dispatch))
    log.add(
        server_event.started(
            dispatch,
            run,
            resumed=resumed,
            previous=entry.dispatch.tried_by,
            finished_calls=finished,
            stand_in=offer.stand_ins.get(dispatch.route),
            process=offer.process,
        )
    )
    log.reset_stream(run)
    if run.status is WAITING:
        thread.waiting -= 1
    thread.ready = None
    run = replace(
        run,
        status=moved(run, "start"),
        started_at=run.started_at if resumed else now,
        input=run.input or _span(entry, run, thread, ()),
        waiting=None,
        stream_open=False,
        updated_at=now,
        updated_seq=log.last_seq,
    )
    return Claimed(
        thread.scope,
        dispatch,
        run,
        entry.bodies,
        resumed,
        thread.queued,
        thread.commit_no,
        thread.no,
        thread.info.resource_id,
        thread.spans,
    )


def _span(entry: Queued, run: Run, thread: ThreadRow, joined: tuple[Message, ...]) -> SeqRange | None:
    """The seqs of what the run was given: the last ones of the log, when they have just been appended. What it was
    given by reference may begin earlier; the end is that of the log all the same, behind which only its own is read.
    """
    known = [stored.seq for stored in entry.messages if stored.seq is not None]
    if known and run.request.reference is not None:
        return SeqRange(min(known), thread.message_seq)
    count = (len([stored for stored in entry.messages if stored.seq is None]) or len(entry.messages)) + len(joined)
    return SeqRange(thread.message_seq - count + 1, thread.message_seq) if count else None


# --- over many threads ------------------------------------------------------------------------------------------------


def claim_some(t: Claim, changes: Changes, now: Instant) -> Rule[ClaimedSome]:
    """The rule of `Claim`."""
    round_ = _Round(t, now)
    if t.rooms.totals and t.offers:
        yield from _look_at_totals(round_)
    if t.rooms.suspects and t.offers:
        keys = yield from ask(Suspects(tuple(t.rooms.routes), now, MAX_ROWS))
        yield from _visit(keys, round_, changes, suspects=True)
    seen: dict[ThreadKey, None] = {}
    while not round_.is_over:
        # What stays due after a visit, because it is damaged or its route is full, is asked for again beside the rest.
        keys = yield from ask(Due(round_.routes_left(), now, round_.offers_left + len(seen), t.by_age))
        fresh = [key for key in keys if key not in seen]
        if not fresh:
            break
        seen.update(dict.fromkeys(fresh))
        yield from _visit(fresh, round_, changes, suspects=False)
    due_left = 0
    if round_.is_over:
        due_left = yield from ask(DueLeft(round_.ready_routes_left(), now, MAX_ROWS))
    next_due_at = None
    if not due_left:
        next_due_at = yield from ask(NextDue(frozenset(t.rooms.routes), now))
    next_due_in_ms = None if next_due_at is None else max(next_due_at - now, 0)
    return ClaimedSome(
        tuple(round_.claims),
        tuple(round_.closed),
        due_left,
        next_due_in_ms,
        round_.is_held_up,
        tuple(round_.appended),
    )


def _look_at_totals(round_: _Round) -> Rule[None]:
    """Learn how much room the totals leave for which something is due: the others are not kept from anybody."""
    wanted: dict[Route, Total] = {}
    for name, total in round_.t.rooms.totals.items():
        keys = (*total.routes, *[route + SUSPECT_MARK for route in total.routes])
        if (yield from ask(DueLeft(keys, round_.now, 1))):
            wanted[name] = total
    if wanted:
        round_.share((yield from ask(TakenOf(wanted))))


def _visit(keys: list[ThreadKey], round_: _Round, changes: Changes, *, suspects: bool) -> Rule[None]:
    """Take one dispatch of each thread, as long as there are offers and room; what may not run is closed on the way."""
    while keys and not round_.is_over:
        found = yield from ask(Load(tuple([of_claim(key) for key in keys]), round_.now))
        sound = [(key, each) for key, each in zip(keys, found, strict=True) if isinstance(each, Facts)]
        if suspects:
            sound.sort(key=lambda item: _suspicion(item[1]))
        before = round_.taken()
        keys = [key for key, facts in sound if round_.visit(key, facts, changes, suspects=suspects)]
        about = tuple([key for key, _ in sound])
        refused = yield from ask(Write(changes, about))
        if refused is not None:
            round_.give_back(before)
            for key in about if len(about) > 1 else ():
                yield from _visit([key], round_, changes, suspects=suspects)
            return


def _suspicion(facts: Facts) -> tuple[int, int, int, int]:
    """Suspects are tried by fewest attempts, then most crashes, then longest not tried."""
    if facts.next is None:
        return 0, 0, 0, 0
    dispatch = facts.next.dispatch
    return dispatch.attempt_count, -dispatch.crash_count, dispatch.tried_at or 0, dispatch.no


_Taken = tuple[tuple[int, int, int], dict[Route, int], dict[Route, int], int]


class _Round:
    """What one `Claim` has taken so far, and the room it has left."""

    def __init__(self, t: Claim, now: Instant) -> None:
        self.t = t
        self.now = now
        self.claims: list[Claimed] = []
        self.closed: list[Closed] = []
        self.appended: list[Appended] = []
        self._left = {t.rooms.room_of(route): room for route, room in t.rooms.routes.items()}
        self._suspects_left = t.rooms.suspects
        self._total_left = dict.fromkeys(t.rooms.totals, 0)
        """By name; nothing where nothing is due."""
        self._counts_in: dict[Route, list[Route]] = {}
        """The totals that a route counts in."""
        for name, total in t.rooms.totals.items():
            for route in total.routes:
                self._counts_in.setdefault(route, []).append(name)
        self.is_held_up = False

    def share(self, taken: Mapping[Route, int | None]) -> None:
        """So many are taken of totals; None: somebody else takes of it at this moment."""
        for name, count in taken.items():
            if count is None:
                self.is_held_up = True
            else:
                self._total_left[name] = max(self.t.rooms.totals[name].limit - count, 0)

    def taken(self) -> _Taken:
        """How far it is."""
        counts = len(self.claims), len(self.closed), len(self.appended)
        return counts, dict(self._left), dict(self._total_left), self._suspects_left

    def give_back(self, taken: _Taken) -> None:
        """Be as far again as it was then: what it took since could not be written."""
        (claims, closed, appended), self._left, self._total_left, self._suspects_left = taken
        del self.claims[claims:], self.closed[closed:], self.appended[appended:]

    @property
    def offers_left(self) -> int:
        return len(self.t.offers) - len(self.claims)

    @property
    def is_over(self) -> bool:
        return not self.offers_left

    def routes_left(self) -> tuple[Route, ...]:
        """Those with room."""
        return tuple([route for route in self.t.rooms.routes if self._is_free(route)])

    def _is_free(self, route: Route) -> bool:
        """Whether one more of it may be taken."""
        has_room = self._left[self.t.rooms.room_of(route)] > 0
        return has_room and all(self._total_left[name] > 0 for name in self._counts_in.get(route, ()))

    def ready_routes_left(self) -> tuple[str, ...]:
        """The same as scheduling keys have them: suspects too, where there is room for one."""
        routes = self.routes_left()
        return (*routes, *[route + SUSPECT_MARK for route in routes]) if self._suspects_left > 0 else routes

    def visit(self, key: ThreadKey, facts: Facts, changes: Changes, *, suspects: bool) -> bool:
        """Take the thread's next dispatch, or close it; True when the thread has to be looked at again."""
        thread, entry = facts.thread, facts.next
        if thread is None:
            raise DataIntegrity(f"thread {key[1]!r} has a dispatch and no row")
        if self.is_over or facts.claimed is not None:
            return False
        if entry is not None and not may_run(entry, thread):
            self.closed.append(self._close(entry, facts, thread, changes))
            return True
        if entry is None or entry.run is None or not self._has_room(entry.dispatch, suspects=suspects):
            # Its key stands for another dispatch: one that fell due later goes first, or a file was edited.
            self._rekey(thread, facts, changes)
            return False
        touch(thread, changes, self.now, active=False)
        offer = self.t.offers[len(self.claims)]
        claimed, rows = _claim(entry, entry.run, offer, thread, facts, changes, self.now)
        self.claims.append(claimed)
        self.appended += rows
        self._left[self.t.rooms.room_of(entry.dispatch.route)] -= 1
        for name in self._counts_in.get(entry.dispatch.route, ()):
            self._total_left[name] -= 1
        self._suspects_left -= entry.dispatch.is_suspect
        return False

    def _has_room(self, dispatch: Dispatch, *, suspects: bool) -> bool:
        """A suspect may also turn up where none was looked for: it fell due behind the back of its thread's key."""
        if self._suspects_left <= 0 if dispatch.is_suspect else suspects:
            return False
        return dispatch.route in self.t.rooms.routes and self._is_free(dispatch.route)

    def _rekey(self, thread: ThreadRow, facts: Facts, changes: Changes) -> None:
        before = thread.ready
        set_ready(thread, facts, self.now)
        if thread.ready != before:
            touch(thread, changes, self.now, active=False)

    def _close(self, entry: Queued, facts: Facts, thread: ThreadRow, changes: Changes) -> Closed:
        touch(thread, changes, self.now, active=False)
        closed, rows = close_unfit(entry, facts, thread, changes, self.now)
        self.appended += rows
        thread.ready = ready_behind(facts, self.now)
        return closed


def ready_behind(facts: Facts, now: Instant) -> ReadyKey | None:
    """The scheduling key of a thread whose head has been closed."""
    left = [Waiter.of(dispatch) for dispatch in facts.left]
    return best_of(left if facts.ready is None else [facts.ready, *left], now)


def close_unfit(
    entry: Queued, facts: Facts, thread: ThreadRow, changes: Changes, now: Instant
) -> tuple[Closed, tuple[Appended, ...]]:
    """Close what may not run: its run has ended or is to stop, it is of an older epoch, or a row it needs is gone."""
    run, dispatch = entry.run, entry.dispatch
    log = Log(thread, dispatch.run_id, dispatch.dispatch_id, now)
    if run is not None and run.status is DONE:
        closed = supersede_queued(dispatch, run, thread, facts, changes, log, "its run has ended")
    elif run is None or entry.lacks is not None or entry.damage is not None:
        closed = _bury_queued(entry, thread, facts, changes, log)
    elif run.cancel_requested_at is not None:
        closed = close_queued(dispatch, run, thread, facts, changes, log)
    else:
        closed = supersede_queued(dispatch, run, thread, facts, changes, log)
    return closed, log.write(changes)


def _bury_queued(entry: Queued, thread: ThreadRow, facts: Facts, changes: Changes, log: Log) -> Closed:
    """Dead-letter a dispatch that can never run because a row it needs is gone (MBX-068, MBX-069)."""
    dispatch, run = entry.dispatch, entry.run
    if entry.damage is not None:
        error = entry.damage
    elif run is None:
        error = f"run {dispatch.run_id!r} not found for dispatch {dispatch.dispatch_id!r}"
    else:
        error = f"message {entry.lacks!r} not found for run {run.run_id!r}"
    return bury(entry, thread, facts, changes, log, error, DataIntegrity.__name__)


def bury(
    entry: Queued, thread: ThreadRow, facts: Facts, changes: Changes, log: Log, error: str, failure: str
) -> Closed:
    """Dead-letter a queued dispatch with its run. `failure`: the class of the error."""
    dispatch, run = entry.dispatch, entry.run
    buried = moves.dead_letter(dispatch, log.now, error)
    if run is not None:
        log.reset_stream(run)
        end_brought(dispatch, run, "dead_lettered", thread, changes, log.now)
        run = after_failure(buried, run, "", thread, facts, changes, log, failure)
        changes.runs.append((thread, run))
    else:
        log.add(server_event.dead_lettered(buried, DataIntegrity.__name__))
    thread.queued -= 1
    changes.dispatches.append((thread, dispatch, buried))
    return Closed(thread.scope, buried, run)
