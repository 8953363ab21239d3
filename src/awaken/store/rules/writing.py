"""The parts rules are made of: the log of one transition, a thread's row, the messages that join the conversation.

Above: the rules of this folder. Below: `domain`.
Holds: every part records what it does in `Changes`, and events get their seqs in the order they are added.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from msgspec.structs import replace

from awaken.domain import server_event
from awaken.domain.clock import Instant
from awaken.domain.dispatch import Dispatch
from awaken.domain.ids import DispatchId, MessageId, RunId, Scope, ThreadId, derived_id
from awaken.domain.log import Appended, LoggedEvent, ServerEvent, message_committed
from awaken.domain.message import ASSISTANT, Message, cancelled_tool_message, unanswered_calls
from awaken.domain.outbox import Errand, OutboxRow
from awaken.domain.pending import Boundary
from awaken.domain.record import encode_events
from awaken.domain.run import Run
from awaken.domain.thread import ThreadInfo
from awaken.store.rules.facts import Changes, Facts, MessageWrite, ThreadRow, Waiter, best_of

UNANSWERED: Final = "cancelled: nobody answers this call any more"


class Log:
    """Collects the events one transition appends to one thread for one run, and gives them their seqs.

    They become one row for each dispatch that they are about.
    """

    __slots__ = (
        "_dispatch_id",
        "_events",
        "_follow",
        "_messages",
        "_next",
        "_posts",
        "_run_id",
        "_thread",
        "add",
        "now",
    )

    def __init__(self, thread: ThreadRow, run_id: RunId | None, dispatch_id: DispatchId | None, now: Instant) -> None:
        self._thread = thread
        self._run_id = run_id
        self._dispatch_id = dispatch_id
        self.now: Final = now
        self._events: list[LoggedEvent | ServerEvent] = []
        self._messages: list[tuple[int, Message]] = []
        self._posts: list[tuple[ThreadId, Errand]] | None = None
        self._next: tuple[int, DispatchId] | None = None
        """The dispatch that events are about from the place on at which it was queued."""
        self._follow: list[Callable[[], tuple[Appended, ...]]] = []
        self.add: Final = self._events.append

    def add_message(self, message: Message, step_index: int | None = None, boundary: Boundary | None = None) -> int:
        """The message is part of the conversation from now on: its seq. The rest as in `MessageRef`."""
        thread = self._thread
        thread.message_seq += 1
        self._messages.append((thread.message_seq, message))
        self.add(message_committed(thread.message_seq, step_index, boundary))
        return thread.message_seq

    def post(self, thread_id: ThreadId, errand: Errand) -> None:
        """Have something done to another thread. An event that says so belongs in the same log."""
        if self._posts is None:
            self._posts = []
        self._posts.append((thread_id, errand))

    def go_on_with(self, dispatch_id: DispatchId) -> None:
        """What is added from now on is about the run's next dispatch."""
        assert self._next is None, "a transition queues one dispatch of a run at most"
        self._next = len(self._events), dispatch_id

    def follow(self, write: Callable[[], tuple[Appended, ...]]) -> None:
        """Have `write` called when this log has been written: for what the same transition does to other runs."""
        self._follow.append(write)

    @property
    def last_seq(self) -> int:
        """The seq of what was added last."""
        return self._thread.event_seq + len(self._events)

    def reset_stream(self, run: Run) -> None:
        """Void the text of a turn that will not be committed, before anything else is logged about its run."""
        if run.stream_open:
            reason = "the turn was not completed; text after the last committed message is void"
            self.add(server_event.stream_reset(reason))

    def write(self, changes: Changes) -> tuple[Appended, ...]:
        if not self._events:
            return self._followed()
        posted = () if self._posts is None else self._posted(self._posts, changes)
        if self._next is None:
            row = self._row(self._dispatch_id, self._events, changes, posted)
            return (row, *self._followed()) if self._follow else (row,)
        place, dispatch_id = self._next
        first, rest = self._events[:place], self._events[place:]
        rows = [self._row(self._dispatch_id, first, changes, posted)] if first else []
        return (*rows, self._row(dispatch_id, rest, changes, () if rows else posted), *self._followed())

    def _row(
        self,
        dispatch_id: DispatchId | None,
        events: list[LoggedEvent | ServerEvent],
        changes: Changes,
        posted: tuple[OutboxRow, ...],
    ) -> Appended:
        thread, count = self._thread, len(events)
        row = Appended(
            thread.scope,
            thread.thread_id,
            self._run_id,
            dispatch_id,
            thread.event_seq + 1,
            self.now,
            count,
            encode_events(events),
            tuple(self._messages),
            posted,
        )
        thread.event_seq += count
        changes.events.append((thread, row))
        return row

    def _followed(self) -> tuple[Appended, ...]:
        return tuple([row for write in self._follow for row in write()])

    def _posted(self, posts: list[tuple[ThreadId, Errand]], changes: Changes) -> tuple[OutboxRow, ...]:
        thread = self._thread
        rows = [
            OutboxRow(
                no=changes.numbers.next(),
                scope=thread.scope,
                sender=thread.thread_id,
                run_id=self._run_id,
                thread_id=thread_id,
                errand=errand,
                created_at=self.now,
            )
            for thread_id, errand in posts
        ]
        changes.outbox += rows
        return tuple(rows)


def new_thread(scope: Scope, thread_id: ThreadId, changes: Changes, now: Instant) -> ThreadRow:
    thread = ThreadRow(
        no=changes.numbers.next(),
        scope=scope,
        thread_id=thread_id,
        info=ThreadInfo(),
        created_at=now,
        updated_at=now,
    )
    changes.new_threads.append(thread)
    return thread


def touch(thread: ThreadRow, changes: Changes, now: Instant, *, active: bool = True) -> None:
    """Have the thread row written; `active` says that somebody has used it."""
    if active:
        thread.updated_at = now
    changes.threads.append(thread)


def append(
    message: Message,
    thread: ThreadRow,
    run_id: RunId | None,
    changes: Changes,
    log: Log,
    *,
    step_index: int | None = None,
) -> int:
    """Append a new message to the conversation; its seq. `step_index` as in `MessageWrite`."""
    seq = log.add_message(message, step_index)
    changes.new_messages.append(MessageWrite(thread, message, seq, run_id, log.now, step_index))
    return seq


def close_left_open(thread: ThreadRow, facts: Facts, changes: Changes, log: Log, seed: str) -> None:
    """Answer the calls that runs left open when they ended, so that no unanswered call is ever sent to a model."""
    for left in facts.left_open:
        close_calls(left.tail, thread, left.run.run_id, changes, log, seed)
        changes.runs.append((thread, replace(left.run, open_turn=None)))
        thread.left_open -= 1


def close_calls(
    tail: tuple[Message, ...], thread: ThreadRow, run_id: RunId | None, changes: Changes, log: Log, seed: str
) -> None:
    """Answer the calls of the last turn in `tail` that nobody will answer any more.

    The ids of the answers are derived from `seed`, which nobody outside knows beforehand, such as the token of the
    claim that closes them: an id that a caller brings can never be in their way.
    """
    calls = unanswered_calls(tail)
    if not calls:
        return
    turn = next(message for message in reversed(tail) if message.role is ASSISTANT)
    for call in calls:
        answer = cancelled_tool_message(MessageId(derived_id(seed, turn.id, call.id)), call, UNANSWERED)
        append(answer, thread, run_id, changes, log)
        log.add(server_event.call_cancelled(turn, call, answer))


def set_ready(thread: ThreadRow, facts: Facts, now: Instant, *queued: Dispatch) -> None:
    """The scheduling key of a free thread: the best of what its facts know of the queue, and of `queued`."""
    waiters = [Waiter.of(dispatch) for dispatch in (*queued, *facts.left)]
    if facts.next is not None:
        waiters.append(Waiter.of(facts.next.dispatch))
    if facts.ready is not None:
        waiters.append(facts.ready)
    thread.ready = best_of(waiters, now)


def ready_in_ms(thread: ThreadRow, now: Instant) -> int | None:
    return None if thread.ready is None else thread.ready.in_ms(now)
