"""The parts rules are made of: the log of one transition, a thread's row, the end of a run.

Above: the rules of this folder. Below: `domain`.
Holds: every part records what it does in `Changes`, and events get their seqs in the order they are said.
"""

from __future__ import annotations

from typing import Any, Final

from msgspec.structs import replace

from awaken.domain import server_event as say
from awaken.domain.clock import Instant
from awaken.domain.dispatch import QUEUED, Dispatch
from awaken.domain.ids import MessageId, RunId, Scope, ThreadId
from awaken.domain.log import Appended, LoggedEvent, ServerEvent
from awaken.domain.message import ASSISTANT, Message, cancelled_tool_message, unanswered_calls
from awaken.domain.record import encode_events
from awaken.domain.run import Run, Termination, Waiting, moved
from awaken.domain.thread import ThreadInfo
from awaken.store.rules.facts import Changes, Facts, MessageWrite, ThreadRow, ready_key
from awaken.store.transitions import Ack


def after_failure(settled: Dispatch, run: Run, error: str, reason: str, log: Log) -> Run:
    if settled.status is QUEUED:
        log.add(say.rescheduled(settled, reason))
        return replace(run, stream_open=False, updated_at=log.now, updated_seq=log.mark(run))
    termination = Termination("error", detail=error)
    log.add(say.dead_lettered(settled))
    log.add(say.finished(run, termination))
    return finish(run, termination, log)


class Log:
    """Collects the events one transition appends to one thread for one run, and gives them their seqs."""

    __slots__ = ("_events", "_run_id", "_thread", "add", "now")

    def __init__(self, thread: ThreadRow, run_id: RunId | None, now: Instant) -> None:
        self._thread = thread
        self._run_id = run_id
        self.now: Final = now
        self._events: list[LoggedEvent | ServerEvent] = []
        self.add: Final = self._events.append

    def mark(self, run: Run) -> int:
        """The run is written as it is after what has been said so far: the seq of that, for its `updated_seq`."""
        thread = self._thread
        thread.latest_run_id = run.run_id
        return thread.event_seq + len(self._events)

    def reset_stream(self, run: Run) -> None:
        """Void the text of a turn that will not be committed, before anything else is said about its run."""
        if run.stream_open:
            self.add(say.stream_reset("the turn was not completed; text after the last committed message is void"))

    def write(self, changes: Changes) -> tuple[Appended, ...]:
        events = self._events
        if not events:
            return ()
        thread, first_seq, count = self._thread, self._thread.event_seq + 1, len(events)
        row = Appended(thread.scope, thread.thread_id, self._run_id, first_seq, self.now, count, encode_events(events))
        thread.event_seq += count
        changes.events.append(row)
        return (row,)


def new_thread(scope: Scope, thread_id: ThreadId, changes: Changes, now: Instant) -> ThreadRow:
    thread = ThreadRow(scope=scope, thread_id=thread_id, info=ThreadInfo(), created_at=now, updated_at=now)
    changes.new_threads.append(thread)
    return thread


def touch(thread: ThreadRow, changes: Changes, now: Instant, *, active: bool = True) -> None:
    """Have the thread row written; `active` moves it up in the list of recently used threads."""
    if active:
        thread.updated_at = now
    changes.threads.append(thread)


def append(message: Message, thread: ThreadRow, run_id: RunId | None, changes: Changes, log: Log, now: Instant) -> None:
    """Append a new message to the conversation."""
    thread.message_seq += 1
    changes.new_messages.append(MessageWrite(thread.scope, thread.thread_id, message, thread.message_seq, run_id, now))
    if message.role is ASSISTANT:
        thread.open_turn = thread.message_seq if message.tool_calls else None
    log.add(say.message_committed(message, thread.thread_id, run_id, thread.message_seq))


def close_open_turn(thread: ThreadRow, tail: tuple[Message, ...], changes: Changes, log: Log, now: Instant) -> None:
    """Answer the calls an earlier run left open, so that no unanswered call is ever sent to a model."""
    if thread.open_turn is None:
        return
    for call in unanswered_calls(tail):
        message_id = MessageId(f"cancelled.{thread.message_seq + 1}.{thread.event_seq + 1}")
        message = cancelled_tool_message(message_id, call, "cancelled: the run ended before this call was answered")
        append(message, thread, None, changes, log, now)
    thread.open_turn = None


def finish(run: Run, termination: Termination, log: Log, output: str | None = None) -> Run:
    """The run as it is written when everything about its end has been said."""
    if termination.type == "suspended":
        return replace(
            run,
            status=moved(run, "wait"),
            waiting=Waiting("external_event"),
            updated_at=log.now,
            updated_seq=log.mark(run),
        )
    return replace(
        run,
        status=moved(run, "finish"),
        termination=termination,
        final_output=output,
        finished_at=log.now,
        stream_open=False,
        updated_at=log.now,
        updated_seq=log.mark(run),
    )


def output_of(ending: Any) -> str | None:
    return ending.final_output if isinstance(ending, Ack) else None


def set_ready(thread: ThreadRow, key: tuple[int, Instant] | None) -> None:
    thread.ready_priority, thread.ready_at = key if key is not None else (None, None)


def with_next(facts: Facts) -> tuple[int, Instant] | None:
    """The scheduling key of the queue including `facts.next`, which was not taken."""
    if facts.next is None:
        return facts.ready
    dispatch = facts.next.dispatch
    return dispatch.priority, dispatch.available_at


def requeue_ready(thread: ThreadRow, dispatch: Dispatch, facts: Facts, now: Instant) -> None:
    """Set the key after a dispatch came back to the queue of a thread that is now free."""
    keys = [(dispatch.priority, dispatch.available_at)]
    if facts.next is not None:
        keys.append((facts.next.dispatch.priority, facts.next.dispatch.available_at))
    if facts.ready is not None:
        keys.append(facts.ready)
    set_ready(thread, min(keys, key=lambda key: ready_key(key[0], key[1], now)))
