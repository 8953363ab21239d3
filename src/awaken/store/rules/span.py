"""Hiding: what belongs to a run that is rolled back, and a message that somebody does not want to be read any more.

Above: `apply` for `Hide`; `finish`, for a run that is to be hidden; the first claim of one that answers anew. Below:
the spans of `domain.span`.
Holds: the log stays as it is. One span is made for each stretch of neighbouring messages, each with its event. A call
is never hidden without its answers, nor an answer without its call.

Source: ADR 0037.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from msgspec.structs import replace

from awaken.domain import server_event
from awaken.domain.clock import Instant
from awaken.domain.message import TOOL
from awaken.domain.run import DONE, Run, RunStatus
from awaken.domain.span import Span, View, Why, joined, stretches
from awaken.store.contract import StoredMessage
from awaken.store.rules.facts import Changes, Facts, ThreadRow
from awaken.store.rules.writing import Log, touch
from awaken.store.transitions import Busy, Hidden, Hide, Missing


def hide_message(t: Hide, facts: Facts, changes: Changes, now: Instant) -> Hidden | Missing | Busy:
    thread = facts.thread
    if thread is None:
        return Missing("thread", t.thread_id)
    if not facts.known or facts.known[0].seq is None:
        return Missing("message", t.message_id)
    target, run = facts.known[0], facts.known_run
    turn = _turn_of(target, facts.turn)
    seqs = [each.seq for each in turn if each.seq is not None]
    if not View(facts.spans).reads(facts.known[0].seq):
        return Hidden(())
    is_open = run is not None and run.open_turn is not None and run.open_turn in seqs
    if run is not None and is_open:
        executes = facts.claimed is not None and facts.claimed.run_id == run.run_id
        if executes or run.status is RunStatus.WAITING:
            return Busy(run.run_id)
        changes.runs.append((thread, replace(run, open_turn=None)))
        if run.status is DONE:
            thread.left_open -= 1
    touch(thread, changes, now)
    log = Log(thread, None, None, now)
    spans = _hide(stretches(seqs), "hidden", thread, changes, log)
    return Hidden(spans, log.write(changes))


def hide_own(run: Run, thread: ThreadRow, facts: Facts, changes: Changes, log: Log) -> Run:
    """Hide what belongs to a run that ends, what this very transition appends included; the run, with no call of it
    left to be answered.
    """
    new = [
        (write.seq, write.seq)
        for write in changes.new_messages
        if write.seq is not None and write.thread is thread and write.run_id == run.run_id
    ]
    _hide(joined([*facts.own.get(run.run_id, ()), *new]), "rolled_back", thread, changes, log)
    return replace(run, open_turn=None)


def hide_behind(run: Run, brought: Iterable[StoredMessage], thread: ThreadRow, changes: Changes, log: Log) -> None:
    """A run starts that is to answer anew: what was answered before is hidden, and all behind it."""
    reference = run.request.reference
    if reference is None or not reference.hides or run.started_at is not None:
        return
    last = max([stored.seq for stored in brought if stored.seq is not None])
    if last < thread.message_seq:
        _hide([(last + 1, thread.message_seq)], "regenerated", thread, changes, log)


def _hide(
    ranges: Iterable[tuple[int, int]], why: Why, thread: ThreadRow, changes: Changes, log: Log
) -> tuple[Span, ...]:
    spans: list[Span] = []
    for first, last in ranges:
        span = Span(first, last, why, log.last_seq + 1)
        log.add(server_event.messages_hidden(span))
        changes.spans.append((thread, span))
        thread.spans += 1
        spans.append(span)
    return tuple(spans)


def _turn_of(target: StoredMessage, own: Sequence[StoredMessage]) -> list[StoredMessage]:
    """The message alone; or, where it makes calls or answers one, the turn with all its answers, in order."""
    place = next((index for index, each in enumerate(own) if each.seq == target.seq), None)
    if place is None:
        return [target]
    turn = target
    if target.message.role is TOOL:
        answered = target.message.tool_call_id
        earlier = reversed(own[:place])
        made = next((each for each in earlier if answered in {call.id for call in each.message.tool_calls}), None)
        if made is None:
            return [target]
        turn = made
    calls = {call.id for call in turn.message.tool_calls}
    found = [turn]
    for each in own[own.index(turn) + 1 :]:
        if any(call.id in calls for call in each.message.tool_calls):
            break  # a later turn, which names its calls alike
        if each.message.role is TOOL and each.message.tool_call_id in calls:
            found.append(each)
    return found
