"""Messages that wait for a run: how they come to wait, are taken, and what becomes of them where nobody takes them.

Above: `accept`, which has messages wait; `owner` and `claim`, which take them at a boundary; `ending`, which leaves
none behind; `stop` and `change`. Below: `domain.pending`, which says what a boundary takes.
Holds: a message waits for one run, which is open, and the thread's row counts it. What a run leaves when it ends or
suspends is queued as runs in the same transaction, or retracted where it may open none; so nothing waits in a thread
whose runs have all ended.

Source: ADR 0033.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import msgspec
from msgspec.structs import replace

from awaken.domain import message_event, server_event
from awaken.domain.clock import Instant
from awaken.domain.dispatch import DEFAULT_MAX_ATTEMPTS, QUEUED, Dispatch
from awaken.domain.ids import DispatchId, MessageId, RunId, derived_id
from awaken.domain.log import Appended
from awaken.domain.message import Message
from awaken.domain.pending import MAX_TAKEN, MAX_TAKEN_BYTES, Boundary, Opens, Pending, selected
from awaken.domain.receipt import FinalFate
from awaken.domain.run import CREATED, Run
from awaken.store.rules.facts import Changes, Facts, Taken, ThreadRow
from awaken.store.rules.writing import Log
from awaken.store.transitions import Submit

_encode: Final = msgspec.json.Encoder().encode


# --- coming to wait ---------------------------------------------------------------------------------------------------


def stage(
    t: Submit, messages: Sequence[Message], run: Run, boundary: Boundary, thread: ThreadRow, changes: Changes, log: Log
) -> tuple[Pending, ...]:
    """Store the messages of a submit to wait for the run."""
    entries: list[Pending] = []
    for message in messages:
        thread.position += 1
        entry = Pending(
            message_id=message.id,
            run_id=run.run_id,
            position=thread.position,
            boundary=boundary,
            granularity=t.delivery.granularity,
            barrier=t.delivery.barrier,
            fallback_to_new_run=t.delivery.fallback_to_new_run,
            target_run_id=t.delivery.target_run_id,
            created_at=log.now,
            opens=opens(t, message.id),
        )
        entries.append(entry)
        changes.pended.append((thread, entry, message))
        log.add(message_event.pended(entry))
    thread.pending += len(entries)
    return tuple(entries)


def opens(t: Submit, message_id: MessageId) -> Opens:
    """The run that one message of a submit opens by itself.

    Its ids are derived from the dispatch's, which nobody outside chooses: they can never be taken by something else.
    """
    delivery = t.delivery
    return Opens(
        run_id=RunId(derived_id(t.dispatch_id, "run", message_id)),
        dispatch_id=DispatchId(derived_id(t.dispatch_id, "dispatch", message_id)),
        request=replace(t.request, input_message_ids=(message_id,)),
        metadata=t.metadata,
        priority=delivery.priority,
        max_attempts=DEFAULT_MAX_ATTEMPTS if delivery.max_attempts is None else delivery.max_attempts,
    )


# --- being taken ------------------------------------------------------------------------------------------------------


def takeable(run: Run, facts: Facts, thread: ThreadRow, *, but: int = 0) -> int:
    """How many messages the run would take at its next step, after the first `but` of those that wait for it."""
    if not thread.pending or run.cancel_requested_at is not None:
        return 0
    return len(selected(_waiting_for(run, "next_step", facts)[but:], "next_step", run.run_id))


def _waiting_for(run: Run, boundary: Boundary, facts: Facts) -> list[Pending]:
    """What waits for the run, as its boundary finds it: input that its claim has left is for its next step."""
    mine = [entry for entry in facts.pending if entry.run_id == run.run_id]
    if boundary == "resume_input":
        return mine
    return [replace(entry, boundary="next_step") if entry.boundary == "resume_input" else entry for entry in mine]


def take(
    boundary: Boundary,
    run: Run,
    thread: ThreadRow,
    facts: Facts,
    changes: Changes,
    log: Log,
    *,
    commit_no: int | None = None,
) -> tuple[Message, ...]:
    """Append what waits for a boundary of the run, as much as is taken at once, to the conversation."""
    mine = _waiting_for(run, boundary, facts)
    bodies = {message.id: message for message in facts.bodies}
    found: list[Message] = []
    size = 0
    for index in selected(mine, boundary, run.run_id)[:MAX_TAKEN]:
        message = bodies.get(mine[index].message_id)
        if message is None:
            break
        size += len(_encode(message))
        if found and size > MAX_TAKEN_BYTES:
            break
        seq = log.add_message(message, run.steps, boundary)
        log.add(message_event.consumed(message.id, seq, run.steps, boundary))
        changes.taken.append((Taken(thread, message.id, seq, run.steps, commit_no), log.now))
        found.append(message)
    thread.pending -= len(found)
    return tuple(found)


# --- being left -------------------------------------------------------------------------------------------------------


def leave(run: Run, thread: ThreadRow, facts: Facts, changes: Changes, log: Log, *, suspends: bool = False) -> None:
    """What waits for a run that ends, or suspends, does so no more: but for the input of one that waits then, and for
    what tells it of its children, which it may yet come to wait for.
    """
    if not thread.pending:
        return
    mine = [
        entry
        for entry in facts.pending
        if entry.run_id == run.run_id and not (suspends and (entry.boundary == "resume_input" or _is_news(entry)))
    ]
    leave_all(mine, thread, facts, changes, log)


def leave_all(mine: Sequence[Pending], thread: ThreadRow, facts: Facts, changes: Changes, log: Log) -> None:
    """Nobody takes these any more: they are queued as runs, or retracted where they may open none."""
    for entry in mine:
        if not entry.fallback_to_new_run:
            give_up(entry, "retracted", "its run has ended", thread, changes, log)
    left = [replace(entry, boundary="new_run", target_run_id=None) for entry in mine if entry.fallback_to_new_run]
    thread.pending -= len(left)
    if left:
        log.follow(lambda: open_runs(left, thread, facts, changes, log.now))


def _is_news(entry: Pending) -> bool:
    """Whether it tells its run of the end of a child (`domain.child.telling`)."""
    return entry.opens.request.trace.correlation_id == entry.run_id


def give_up(entry: Pending, fate: FinalFate, cause: str | None, thread: ThreadRow, changes: Changes, log: Log) -> None:
    """Nobody will take the message."""
    thread.pending -= 1
    changes.fates.append((thread, entry.message_id, fate, log.now))
    log.add(message_event.retracted(entry.message_id, fate, cause))


def open_runs(
    entries: Sequence[Pending],
    thread: ThreadRow,
    facts: Facts,
    changes: Changes,
    now: Instant,
    *,
    due_at: Instant | None = None,
) -> tuple[Appended, ...]:
    """Queue messages as runs: neighbours share one where they may and ask for the same, and it has the ids and the
    place of its first message. None starts before `due_at`.
    """
    rows: tuple[Appended, ...] = ()
    while entries:
        count = len(selected(entries, "new_run", None))
        first = entries[0]
        shared = next((n for n in range(1, count) if not entries[n].opens.is_like(first.opens)), count)
        rows += _open_run(entries[:shared], thread, facts, changes, now, now if due_at is None else due_at)
        entries = entries[shared:]
    return rows


def _open_run(
    entries: Sequence[Pending], thread: ThreadRow, facts: Facts, changes: Changes, now: Instant, due_at: Instant
) -> tuple[Appended, ...]:
    asked = entries[0].opens
    no = changes.numbers.next()
    thread.latest_run_no = no
    thread.queued += 1
    request = replace(asked.request, input_message_ids=tuple([entry.message_id for entry in entries]))
    run = Run(
        no=no,
        run_id=asked.run_id,
        thread_id=thread.thread_id,
        agent_id=request.intent.agent_id,
        dispatch_id=asked.dispatch_id,
        status=CREATED,
        request=request,
        request_digest="",
        metadata=asked.metadata,
        created_at=now,
        updated_at=now,
        first_event_seq=thread.event_seq + 1,
        updated_seq=thread.event_seq + 1,
    )
    dispatch = Dispatch(
        no=no,
        dispatch_id=asked.dispatch_id,
        thread_id=thread.thread_id,
        run_id=run.run_id,
        route=run.route,
        status=QUEUED,
        why="start",
        priority=asked.priority,
        position=entries[0].position,
        epoch=thread.epoch,
        available_at=due_at,
        created_at=now,
        updated_at=now,
        max_attempts=asked.max_attempts,
    )
    changes.new_runs.append((thread, run))
    changes.new_dispatches.append((thread, dispatch))
    changes.requeued += [(thread, entry.message_id, run.run_id) for entry in entries]
    facts.left.append(dispatch)
    log = Log(thread, run.run_id, dispatch.dispatch_id, now)
    log.add(server_event.queued(dispatch, run.agent_id, request, request.trace))
    return log.write(changes)


# --- fates of what a queued run brought -------------------------------------------------------------------------------


def end_brought(
    dispatch: Dispatch, run: Run, fate: FinalFate, thread: ThreadRow, changes: Changes, now: Instant
) -> None:
    """What a dispatch brought that was never claimed is taken by nobody."""
    if dispatch.tried_at is not None:
        return
    for message_id in dispatch.brings(run.request.input_message_ids):
        changes.fates.append((thread, message_id, fate, now))
