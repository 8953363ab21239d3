"""Accepting: a thread that is saved, messages that are submitted.

Above: `apply`. Below: `modes`, which says what a submit does; `claim`, where its offer finds the thread free.
Holds: a submit is first compared with what was accepted before, then admitted, then becomes a dispatch of a new run or
of the run that waits in its thread, or waits for a run that is there; and only then may it be claimed. Nothing is
refused once something was cleared away for it, and nothing is decided with a submit that is refused.

Source: ADR 0006, 0008, 0014, 0033.
"""

from __future__ import annotations

import copy
import hashlib
from typing import Final

import msgspec
from msgspec.structs import replace

from awaken.domain import server_event
from awaken.domain.clock import Instant
from awaken.domain.delivery import CLEARING, Delivery
from awaken.domain.dispatch import DEFAULT_MAX_ATTEMPTS, QUEUED, Dispatch
from awaken.domain.message import Message
from awaken.domain.pending import Pending
from awaken.domain.record import encode_message
from awaken.domain.run import CREATED, Run
from awaken.store.contract import StoredMessage
from awaken.store.rules.claim import claim_queued, go_on_with_input, is_taken_by, take
from awaken.store.rules.dead_letter import see_to_retried
from awaken.store.rules.decide import decide
from awaken.store.rules.facts import Changes, Facts, MessageWrite, Queued, ThreadRow, Waiter, Waiting
from awaken.store.rules.modes import Refusal, Stages, Way, way_of, without_thread
from awaken.store.rules.pending import open_runs, opens, stage
from awaken.store.rules.span import hide_behind
from awaken.store.rules.state import bring_state
from awaken.store.rules.stop import clear
from awaken.store.rules.ticket import withdraw_calls
from awaken.store.rules.writing import (
    Log,
    append,
    close_calls,
    close_left_open,
    new_thread,
    ready_in_ms,
    set_ready,
    touch,
)
from awaken.store.transitions import (
    Busy,
    Conflict,
    Decide,
    Decided,
    Full,
    Interrupted,
    Known,
    Missing,
    Replayed,
    Rulings,
    SaveThread,
    Staged,
    Submit,
    Submitted,
    ThreadSaved,
    Undecided,
)

_encode: Final = msgspec.json.Encoder().encode
_decode: Final = msgspec.json.Decoder(Message).decode


def save_thread(t: SaveThread, facts: Facts, changes: Changes, now: Instant) -> ThreadSaved | Conflict | Busy:
    thread = facts.thread
    if thread is not None and t.if_exists == "raise":
        return Conflict("thread", t.thread_id)
    if thread is not None and (t.if_exists == "keep" or (t.if_exists == "fill" and has_begun(thread))):
        return ThreadSaved(created=False)
    if facts.known:
        return Conflict("message", facts.known[0].message.id)
    if t.messages and facts.claimed is not None:  # a message between a call and its answer would split a turn
        return Busy(facts.claimed.run_id)
    created = thread is None
    if thread is None:
        thread = new_thread(t.scope, t.thread_id, changes, now)
    else:
        touch(thread, changes, now)
    log = Log(thread, None, None, now)
    if created or t.if_exists == "replace":
        if not created:
            changes.infos.append(thread)
        thread.info = t.info
        log.add(server_event.thread_saved(t.info, created=created))
    for message in t.messages:
        append(message, thread, None, changes, log)
    close_calls(t.messages, thread, None, changes, log, seed="".join([message.id for message in t.messages]))
    return ThreadSaved(created=created, appended=log.write(changes))


def has_begun(thread: ThreadRow) -> bool:
    """Something has been said on it, or will be."""
    return bool(thread.message_seq or thread.pending or thread.latest_run_no is not None)


_Accepted = tuple[Run, Dispatch, Log]


_Accepting = Submitted | Staged | Replayed | Known | Conflict | Full | Refusal


def submit(t: Submit, facts: Facts, changes: Changes, now: Instant) -> _Accepting | Undecided:
    refusal = _replay_of(t, facts) or _differing(t, facts)
    if refusal is not None:
        return refusal
    if t.only_if_repeated:
        return Missing("run", t.run_id)
    if t.decides is not None:
        return _decide_first(t, t.decides, facts, changes, now)
    return _accept(t, facts, changes, now)


def _decide_first(t: Submit, asked: Rulings, facts: Facts, changes: Changes, now: Instant) -> _Accepting | Undecided:
    """Both are tried, and written where neither is refused."""
    thread, about = facts.thread, facts.decided
    if thread is None or about is None:
        return Missing("run", asked.run_id)
    before, tried = copy.copy(thread), Changes(numbers=changes.numbers)
    deciding = Decide(
        scope=t.scope,
        thread_id=t.thread_id,
        run_id=asked.run_id,
        rulings=asked.rulings,
        wire_run_id=t.request.trace.wire_run_id,
    )
    decided = decide(deciding, replace(facts, run=about.run, dispatch=about.dispatch), tried, now)
    outcome: _Accepting | Undecided = Missing("run", asked.run_id)
    if isinstance(decided, Decided):
        waiting = [
            replace(each, run=decided.run) if each.run.run_id == decided.run.run_id else each for each in facts.waiting
        ]
        outcome = _accept(t, replace(facts, waiting=tuple(waiting)), tried, now)
        if isinstance(outcome, Submitted):
            changes.join(tried)
            return replace(outcome, appended=decided.appended + outcome.appended)
    else:
        outcome = replace(decided, appended=())  # should its time be over, the sweep finds that, too
    thread.become(before)
    return outcome


def _accept(t: Submit, facts: Facts, changes: Changes, now: Instant) -> _Accepting:
    thread, referred = facts.thread, _referred(t, facts)
    if isinstance(referred, Missing):
        return referred
    if thread is None:
        if not t.create_thread:
            return Missing("thread", t.thread_id)
        way = without_thread(t)
        if not isinstance(way, Way):
            return way
        thread = new_thread(t.scope, t.thread_id, changes, now)
        if t.info is not None:
            thread.info = t.info
        if t.delivery.mode in CLEARING:
            thread.interrupt_id = t.delivery.interrupt_id  # there was nothing to clear; its repetition clears nothing
    else:
        way = way_of(t, facts)
        if not isinstance(way, Way | Waiting | Stages):
            return way
        full = _full(t, facts, way, thread, now)
        if full is not None:
            return full
        touch(thread, changes, now)
    see_to_retried(t, facts, changes, thread, now)
    if way is Way.OPENS and facts.thread is not None and t.delivery.mode in CLEARING:
        # An interrupt that is repeated clears nothing; and what is queued was looked up to be cleared, not to be
        # compared with, so this one is queued behind it, and the best of them is claimed then.
        t = replace(t, offer=None)
    messages = _new_messages(t, facts)
    if type(way) is Stages:
        log = Log(thread, way.run.run_id, way.dispatch.dispatch_id, now)
        entries = stage(t, messages, way.run, way.boundary, thread, changes, log)
        return Staged(way.run, way.dispatch, entries, log.write(changes))
    cleared: Interrupted | None = None
    if way is Way.CLEARS:
        hides = t.delivery.mode == "rollback"
        cleared = clear(thread, facts, changes, now, t.delivery.interrupt_id, hides=hides)
    together, apart = _split(t, messages)
    accepted = (
        _continued(t, messages, way, thread, facts, changes, now)
        if type(way) is Waiting
        else _opened(t, together, thread, changes, now)
    )
    run, dispatch, log = accepted
    brought = messages if type(way) is Waiting else together
    if apart and brought is together:
        _open_apart(t, apart, thread, facts, changes, log)
    takes = t.offer is not None and facts.claimed is None and is_taken_by(dispatch, t.offer)
    if takes and _is_next(dispatch, facts, now) and not (cleared is not None and _leaves_calls(cleared, facts)):
        tail = way.tail if type(way) is Waiting else ()
        submitted = _taken(t, accepted, referred, brought, tail, thread, facts, changes)
    else:
        submitted = _queued(t, run, dispatch, brought, thread, facts, changes, log)
    if cleared is None:
        return submitted
    return replace(submitted, interrupted=cleared, appended=cleared.appended + submitted.appended)


def _referred(t: Submit, facts: Facts) -> tuple[StoredMessage, ...] | Missing:
    """The messages of the conversation that it brings by reference."""
    if t.request.reference is None:
        return ()
    found = {stored.message.id: stored for stored in facts.referred if stored.seq is not None}
    for message_id in t.request.reference.message_ids:
        if message_id not in found:
            return Missing("message", message_id)
    return tuple(found.values())


def _full(t: Submit, facts: Facts, way: Way | Waiting | Stages, thread: ThreadRow, now: Instant) -> Full | None:
    if type(way) is Stages:
        return Full(t.max_pending, pending=True) if thread.pending + len(t.messages) > t.max_pending else None
    if way is Way.OPENS and _crowd(t, facts, thread, now) + t.run_count > t.max_queued:
        return Full(t.max_queued)
    return None


def _split(t: Submit, messages: tuple[Message, ...]) -> tuple[tuple[Message, ...], tuple[Message, ...]]:
    """What the submit's own run brings, and what gets runs of its own behind it."""
    return (messages[:1], messages[1:]) if t.delivery.granularity == "one" else (messages, ())


def _open_apart(
    t: Submit, messages: tuple[Message, ...], thread: ThreadRow, facts: Facts, changes: Changes, log: Log
) -> None:
    """Each of the messages opens a run of its own, due when the first one is."""
    entries: list[Pending] = []
    for message in messages:
        thread.position += 1
        own = opens(t, message.id)
        entries.append(
            Pending(
                message_id=message.id,
                run_id=own.run_id,
                position=thread.position,
                boundary="new_run",
                granularity="one",
                created_at=log.now,
                opens=own,
            )
        )
        changes.new_messages.append(MessageWrite(thread, message, None, own.run_id, log.now))
    due_at = _due_at(t.delivery, log.now)
    log.follow(lambda: open_runs(entries, thread, facts, changes, log.now, due_at=due_at))


def _leaves_calls(cleared: Interrupted, facts: Facts) -> bool:
    """Something that was cleared away has calls that nobody answered, which the claim that comes next closes."""
    ended = {run.run_id for run in cleared.ended} | {dispatch.run_id for dispatch in cleared.superseded}
    runs = [run for _, run in facts.queue] + [waits.run for waits in facts.waiting]
    return any(run.open_turn is not None and run.run_id in ended for run in runs)


def _replay_of(t: Submit, facts: Facts) -> Replayed | Known | Conflict | None:
    """What was accepted before under the same run id, dedupe key or message ids; or what has taken an id."""
    earlier = facts.run
    if earlier is not None:
        if earlier.thread_id == t.thread_id and earlier.request_digest == t.digest:
            return Replayed(earlier, facts.dispatch_of_run)
        return Conflict("run", t.run_id)
    if facts.deduped is not None:
        return Replayed(facts.deduped, facts.deduped_dispatch)
    if facts.known and len(facts.known) == len(t.messages):
        differs = _differing(t, facts)
        if differs is not None:
            return differs
        if facts.known_run is None:
            first = facts.known[0]
            return Known(first.message.id, first.run_id)
        return Replayed(facts.known_run, facts.known_dispatch)
    # Only now, because a submit that continued a run has left its dispatch and its messages, and no run of its own.
    return None if facts.dispatch is None else Conflict("dispatch", t.dispatch_id)


def _differing(t: Submit, facts: Facts) -> Conflict | None:
    """The first message whose id is known with other content."""
    if not facts.known:
        return None
    brought = {message.id: message for message in t.messages}
    for stored in facts.known:
        message = brought[stored.message.id]
        if stored.digest is not None:
            if stored.digest != digest_of(message):
                return Conflict("message", stored.message.id)
        elif stored.message != message and _as_read(stored.message) != _as_read(message):
            return Conflict("message", stored.message.id)
    return None


def digest_of(message: Message) -> bytes:
    """Of a message as it was first sent: what it is compared with after an edit."""
    return hashlib.sha256(encode_message(message, None)).digest()


def _as_read(message: Message) -> Message:
    """With lists where its sender had tuples: as it comes back from a store that keeps JSON."""
    return _decode(_encode(message))


def _new_messages(t: Submit, facts: Facts) -> tuple[Message, ...]:
    if not facts.known:
        return t.messages
    known = {stored.message.id for stored in facts.known}
    return tuple([message for message in t.messages if message.id not in known])


def _crowd(t: Submit, facts: Facts, thread: ThreadRow, now: Instant) -> int:
    """How many runs stand in the way of this one: of what is due, or, for one with a delay, of what is not due yet. So
    reminders for next week do not keep out today's work, and both have their bound.
    """
    if _due_at(t.delivery, now) > now:
        return facts.later
    return thread.queued - facts.later + thread.waiting - facts.wakes


def _due_at(delivery: Delivery, now: Instant) -> Instant:
    return now + delivery.delay_ms if delivery.available_at is None else delivery.available_at


def _opened(t: Submit, messages: tuple[Message, ...], thread: ThreadRow, changes: Changes, now: Instant) -> _Accepted:
    """A run of its own, with its first dispatch."""
    no = changes.numbers.next()
    thread.position += 1
    thread.latest_run_no = no
    request = t.request
    if messages is not t.messages:  # some of them were there before
        referred = () if request.reference is None else request.reference.message_ids
        request = replace(request, input_message_ids=referred + tuple([message.id for message in messages]))
    run = Run(
        no=no,
        run_id=t.run_id,
        thread_id=t.thread_id,
        agent_id=request.intent.agent_id,
        dispatch_id=t.dispatch_id,
        status=CREATED,
        request=request,
        request_digest=t.digest,
        metadata=t.metadata,
        created_at=now,
        updated_at=now,
        first_event_seq=thread.event_seq + 1,
        updated_seq=thread.event_seq + 1,
        dedupe_key=t.delivery.dedupe_key,
    )
    dispatch = _dispatch(t, run, no, thread, now)
    log = Log(thread, run.run_id, dispatch.dispatch_id, now)
    log.add(server_event.queued(dispatch, run.agent_id, request, request.trace))
    return run, dispatch, log


def _continued(
    t: Submit,
    messages: tuple[Message, ...],
    waits: Waiting,
    thread: ThreadRow,
    facts: Facts,
    changes: Changes,
    now: Instant,
) -> _Accepted:
    """The next dispatch of a run that waits, at the place of its first."""
    run = waits.run
    dispatch = replace(
        _dispatch(t, run, changes.numbers.next(), thread, now),
        why="input",
        position=waits.dispatch.position,
        message_ids=tuple([message.id for message in messages]),
    )
    log = Log(thread, run.run_id, dispatch.dispatch_id, now)
    if run.open_tickets:
        run = withdraw_calls(run, thread, facts, changes, log)
    log.add(server_event.queued(dispatch, run.agent_id, run.request, t.request.trace))
    return replace(run, dispatch_id=t.dispatch_id, updated_at=now, updated_seq=log.last_seq), dispatch, log


def _dispatch(t: Submit, run: Run, no: int, thread: ThreadRow, now: Instant) -> Dispatch:
    delivery = t.delivery
    return Dispatch(
        no=no,
        dispatch_id=t.dispatch_id,
        thread_id=t.thread_id,
        run_id=run.run_id,
        route=run.route,
        status=QUEUED,
        why="start",
        priority=delivery.priority,
        position=thread.position,
        epoch=thread.epoch,
        available_at=_due_at(delivery, now),
        created_at=now,
        updated_at=now,
        max_attempts=DEFAULT_MAX_ATTEMPTS if delivery.max_attempts is None else delivery.max_attempts,
    )


def _is_next(dispatch: Dispatch, facts: Facts, now: Instant) -> bool:
    """What a free thread runs next is this one."""
    rival = facts.ready if facts.next is None else Waiter.of(facts.next.dispatch)
    if dispatch.available_at > now:
        return False
    return rival is None or Waiter.of(dispatch).order(now) < rival.order(now)


def _taken(
    t: Submit,
    accepted: _Accepted,
    referred: tuple[StoredMessage, ...],
    messages: tuple[Message, ...],
    tail: tuple[Message, ...],
    thread: ThreadRow,
    facts: Facts,
    changes: Changes,
) -> Submitted:
    """Claimed as it is accepted: it is written once, as its owner has it, and its messages with their seqs."""
    run, dispatch, log = accepted
    assert t.offer is not None, "something was offered"
    close_left_open(thread, facts, changes, log, t.offer.token)
    is_new = run.status is CREATED
    if not is_new:
        run = go_on_with_input(run, tail, len(messages), thread, changes, log, t.offer.token)
    step_index = None if is_new else run.steps
    brought = [*referred]
    for message in messages:
        seq = append(message, thread, run.run_id, changes, log, step_index=step_index)
        brought.append(StoredMessage(message, seq, run.run_id, log.now))
    bring_state(run, thread, facts, changes, log)
    hide_behind(run, brought, thread, changes, log)
    claimed = take(Queued(dispatch, run, tuple(brought), tail=tail), run, t.offer, thread, log)
    (changes.new_runs if is_new else changes.runs).append((thread, claimed.run))
    changes.new_dispatches.append((thread, claimed.dispatch))
    return Submitted(claimed.run, claimed.dispatch, claimed, None, log.write(changes))


def _queued(
    t: Submit,
    run: Run,
    dispatch: Dispatch,
    messages: tuple[Message, ...],
    thread: ThreadRow,
    facts: Facts,
    changes: Changes,
    log: Log,
) -> Submitted:
    """Stored to wait; and what has waited in the thread, if that is free, may be claimed instead."""
    (changes.new_runs if run.status is CREATED else changes.runs).append((thread, run))
    changes.new_dispatches.append((thread, dispatch))
    for message in messages:
        changes.new_messages.append(MessageWrite(thread, message, None, run.run_id, log.now))
    thread.queued += 1
    appended = log.write(changes)
    if facts.claimed is not None:
        return Submitted(run, dispatch, None, None, appended)
    rival = facts.next
    if t.offer is not None and rival is not None and not _is_next(dispatch, facts, log.now):
        taken = claim_queued(rival, t.offer, thread, facts, changes, log.now)
        if taken is not None:
            claimed, rows = taken
            return Submitted(run, dispatch, claimed, None, appended + rows)
    if t.offer is not None:
        set_ready(thread, facts, log.now, dispatch)
    elif thread.ready is None or _outranks(dispatch, thread, log.now):
        thread.ready = Waiter.of(dispatch).key(log.now)
    return Submitted(run, dispatch, None, ready_in_ms(thread, log.now), appended)


def _outranks(dispatch: Dispatch, thread: ThreadRow, now: Instant) -> bool:
    """Whether what is queued last goes before what the thread's scheduling key stands for."""
    ready = thread.ready
    assert ready is not None, "something is queued"
    if ready.at <= now:
        return dispatch.available_at <= now and dispatch.priority < ready.priority
    return dispatch.available_at <= now or (dispatch.available_at, dispatch.priority) < (ready.at, ready.priority)
