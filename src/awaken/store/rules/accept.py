"""Accepting: a thread that is saved, a run that is submitted.

Above: `decide`. Below: `claim`, where a submit's offer finds the thread free.
Source: "accepted first, part of the conversation when consumed"; spec/stores.md 2.2, 2.3.
"""

from __future__ import annotations

from msgspec.structs import replace

from awaken.domain import server_event as say
from awaken.domain.clock import Instant
from awaken.domain.dispatch import DEFAULT_MAX_ATTEMPTS, QUEUED, Dispatch
from awaken.domain.run import CREATED, Run, SeqRange
from awaken.store.rules.claim import claim, may_run, take
from awaken.store.rules.facts import Changes, Facts, MessageWrite, ready_key
from awaken.store.rules.writing import Log, append, close_open_turn, new_thread, touch
from awaken.store.transitions import Conflict, Full, Missing, Replayed, SaveThread, Submit, Submitted, ThreadSaved


def save_thread(t: SaveThread, facts: Facts, changes: Changes, now: Instant) -> ThreadSaved | Conflict:
    """Needs: thread, known."""
    thread = facts.thread
    if thread is not None and t.if_exists == "raise":
        return Conflict("thread", t.thread_id)
    if thread is not None and t.if_exists == "keep":
        return ThreadSaved(created=False)
    if facts.known:
        return Conflict("message", facts.known[0].message.id)
    created = thread is None
    if thread is None:
        thread = new_thread(t.scope, t.thread_id, changes, now)
    else:
        touch(thread, changes, now)
    thread.info = t.info
    log = Log(thread, None, now)
    log.add(say.thread_saved(t.thread_id, t.info, created=created))
    for message in t.messages:
        append(message, thread, None, changes, log, now)
    return ThreadSaved(created=created, appended=log.write(changes))


def submit(t: Submit, facts: Facts, changes: Changes, now: Instant) -> Submitted | Replayed | Conflict | Missing | Full:
    """Needs: thread, claimed; unless `fresh_ids` run, dispatch, known, known_run; with a dedupe key deduped; with an
    offer tail where a turn is open and, on a free thread with a queue, next and ready.
    """
    refusal = _replay_of(t, facts)
    if refusal is not None:
        return refusal
    thread = facts.thread
    if thread is None:
        if not t.create_thread:
            return Missing("thread", t.thread_id)
        thread = new_thread(t.scope, t.thread_id, changes, now)
    elif thread.queued >= t.max_queued:
        return Full(t.max_queued)
    else:
        touch(thread, changes, now)
    messages, request = t.messages, t.request
    if facts.known:
        known = {stored.message.id for stored in facts.known}
        messages = tuple([message for message in messages if message.id not in known])
        request = replace(request, input_message_ids=tuple([message.id for message in messages]))
    delivery = t.delivery
    thread.position += 1
    dispatch = Dispatch(
        dispatch_id=t.dispatch_id,
        thread_id=t.thread_id,
        run_id=t.run_id,
        status=QUEUED,
        priority=delivery.priority,
        position=thread.position,
        epoch=thread.epoch,
        available_at=now + delivery.delay_ms if delivery.available_at is None else delivery.available_at,
        created_at=now,
        updated_at=now,
        max_attempts=DEFAULT_MAX_ATTEMPTS if delivery.max_attempts is None else delivery.max_attempts,
        dedupe_key=delivery.dedupe_key,
    )
    log = Log(thread, t.run_id, now)
    run = Run(
        run_id=t.run_id,
        thread_id=t.thread_id,
        agent_id=t.request.intent.agent_id,
        dispatch_id=t.dispatch_id,
        status=CREATED,
        request=request,
        request_digest=t.digest,
        metadata=t.metadata,
        created_at=now,
        updated_at=now,
        first_event_seq=thread.event_seq + 1,
        updated_seq=thread.event_seq + 1,
    )
    log.add(say.queued(dispatch))
    free = facts.claimed is None
    rival = facts.next
    goes_first = rival is None or dispatch.priority < rival.dispatch.priority
    takes_own = free and dispatch.available_at <= now and goes_first
    if t.offer is not None and takes_own:
        close_open_turn(thread, facts.tail, changes, log, now)
        first = thread.message_seq + 1
        for message in messages:
            append(message, thread, run.run_id, changes, log, now)
        span = SeqRange(first, thread.message_seq) if messages else None
        claimed = take(t.scope, dispatch, run, span, t.offer, thread, log, now)
        changes.accepted.append((t.scope, claimed.run, claimed.dispatch))
        return Submitted(claimed.run, claimed.dispatch, claimed, None, log.write(changes))
    thread.latest_run_id = run.run_id
    changes.accepted.append((t.scope, run, dispatch))
    for message in messages:
        changes.new_messages.append(MessageWrite(t.scope, t.thread_id, message, None, t.run_id, now))
    thread.queued += 1
    appended = log.write(changes)
    if t.offer is not None and free and rival is not None and rival.run is not None and may_run(rival, thread):
        log = Log(thread, rival.run.run_id, now)
        claimed = claim(t.scope, rival, rival.run, t.offer, thread, facts, changes, log, now)
        return Submitted(run, dispatch, claimed, None, appended + log.write(changes))
    if free:
        present = (thread.ready_priority, thread.ready_at)
        own_key = ready_key(dispatch.priority, dispatch.available_at, now)
        if present[0] is None or present[1] is None or own_key < ready_key(present[0], present[1], now):
            thread.ready_priority, thread.ready_at = dispatch.priority, dispatch.available_at
    return Submitted(run, dispatch, None, thread.ready_at, appended)


def _replay_of(t: Submit, facts: Facts) -> Replayed | Conflict | None:
    earlier = facts.run
    if earlier is not None:
        if earlier.thread_id == t.thread_id and earlier.request_digest == t.digest:
            return Replayed(earlier, facts.dispatch_of_run)
        return Conflict("run", t.run_id)
    if facts.deduped is not None:
        return Replayed(facts.deduped, facts.deduped_dispatch)
    if facts.dispatch is not None:
        return Conflict("dispatch", t.dispatch_id)
    if facts.known and len(facts.known) == len(t.messages):
        if facts.known_run is None:
            return Conflict("message", facts.known[0].message.id)
        return Replayed(facts.known_run, None)
    return None
