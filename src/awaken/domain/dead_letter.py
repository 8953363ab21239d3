"""Dead letters: runs that the queue has given up, until somebody sees to them by doing them again or discarding them.

Above: the store lists them, the mailbox has them done again or discarded. Below: the records of runs and dispatches.
Holds: a dead letter is a run with its newest dispatch and nothing besides, so there is none whose run is gone.

Source: docs/howto/see-to-dead-letters.md.
"""

from __future__ import annotations

from datetime import datetime
from typing import Final, Literal

import msgspec

from awaken.domain.checking import checked
from awaken.domain.clock import Instant
from awaken.domain.delivery import due_at
from awaken.domain.dispatch import Dispatch
from awaken.domain.errors import ValidationError
from awaken.domain.explaining import shown
from awaken.domain.ids import AgentId, ThreadId, checked_id
from awaken.domain.run import Run

MAX_REASON_CHARS: Final = 1_000
MAX_HANDLED: Final = 1_000
"""Dead letters that are seen to at once."""
PROCESS_DIED: Final = "ProcessDied"
UNSERVED: Final = "Unserved"
"""Of a run that was due for long and that nobody could execute."""
"""The class of what ends a run whose process died, or lost its lease."""
OTHER: Final = "other"
"""The class of what nobody classified."""

LetterState = Literal["open", "retried", "discarded"]


class DeadLetter(msgspec.Struct, frozen=True):
    """A run that was given up, with its newest dispatch, which says why."""

    run: Run
    dispatch: Dispatch

    @property
    def state(self) -> LetterState:
        if self.run.dead_lettered:
            return "open"
        seen = self.run.seen_to
        return "retried" if seen is not None and seen.retried_as is not None else "discarded"

    @property
    def error_class(self) -> str:
        """By what dead letters are grouped: what classified its last failure."""
        return self.run.error_class or OTHER


class DeadLetterQuery(msgspec.Struct, frozen=True, kw_only=True):
    """Dead letters that nobody has seen to, those first whose run arrived last."""

    after: int | None = None
    """The `next` of the page before."""
    limit: int = 50
    thread_id: ThreadId | None = None
    agent_id: AgentId | None = None
    error_class: str | None = None
    since: Instant | None = None
    """Only those that were given up then or later."""

    @property
    def is_empty(self) -> bool:
        """It leaves none out."""
        return (self.thread_id, self.agent_id, self.error_class, self.since) == (None, None, None, None)

    def fits(self, letter: DeadLetter) -> bool:
        run = letter.run
        return (
            run.dead_lettered
            and self.thread_id in (None, run.thread_id)
            and self.agent_id in (None, run.agent_id)
            and self.error_class in (None, letter.error_class)
            and (self.since is None or (run.finished_at or 0) >= self.since)
        )


def letters_of(
    *,
    agent: str | None = None,
    error_class: str | None = None,
    since: datetime | str | None = None,
    thread_id: str | None = None,
) -> DeadLetterQuery:
    """The filter that somebody has asked for. Raises ValidationError for what is none."""
    return DeadLetterQuery(
        thread_id=None if thread_id is None else ThreadId(checked_id(thread_id, what="thread_id")),
        agent_id=None if agent is None else AgentId(checked_id(agent, what="agent", loc=("body", "agent_id"))),
        error_class=None if error_class is None else checked(error_class, str, what="error_class"),
        since=due_at(since, what="since"),
    )


def checked_reason(reason: object) -> str:
    """Raises ValidationError for what is no text, or empty, or too long."""
    said = checked(reason, str, what="reason")
    if not said.strip() or len(said) > MAX_REASON_CHARS:
        raise ValidationError(f"a reason has 1 to {MAX_REASON_CHARS} characters", loc=("body", "reason"))
    return said


def check_handling(query: DeadLetterQuery, limit: object) -> None:
    """Raises ValidationError for a filter that leaves none out, or a limit that is none."""
    if query.is_empty:
        raise ValidationError(
            "say which dead letters: an agent, a class of error, a thread, or since when", loc=("body", "filter")
        )
    if type(limit) is not int or not 1 <= limit <= MAX_HANDLED:
        raise ValidationError(f"limit is 1 to {MAX_HANDLED}, and not {shown(limit)}", loc=("body", "limit"))
