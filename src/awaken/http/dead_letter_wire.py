"""What the API says about dead letters.

Source: docs/reference/http.md.
"""

from __future__ import annotations

from typing import Any

import msgspec

from awaken.domain.clock import Instant, to_rfc3339
from awaken.domain.dead_letter import DeadLetter, LetterState
from awaken.domain.ids import Scope
from awaken.http.wire import RunResource
from awaken.mailbox.dead_letters import Handled, LetterGroup


class DeadLetterResource(msgspec.Struct, frozen=True, kw_only=True):
    """A run that was given up, known by its newest dispatch."""

    dispatch_id: str
    run_id: str
    thread_id: str
    agent_id: str
    state: LetterState
    error_class: str
    """The class of exception that decided its last failure, `ProcessDied`, or `other`."""
    last_error: str | None
    attempts: int
    crash_count: int
    first_failed_at: str | None
    last_failed_at: str | None
    retried_as: str | None
    reason: str | None
    """Why it was discarded."""
    seen_to_at: str | None
    seen_to_by: str | None
    run: RunResource

    @classmethod
    def of(cls, scope: Scope, letter: DeadLetter) -> DeadLetterResource:
        run, dispatch, seen = letter.run, letter.dispatch, letter.run.seen_to
        return cls(
            dispatch_id=dispatch.dispatch_id,
            run_id=run.run_id,
            thread_id=run.thread_id,
            agent_id=run.agent_id,
            state=letter.state,
            error_class=letter.error_class,
            last_error=dispatch.last_error,
            attempts=min(dispatch.attempt_count + 1, dispatch.max_attempts),
            crash_count=dispatch.crash_count,
            first_failed_at=_instant(run.failed_at),
            last_failed_at=_instant(run.finished_at),
            retried_as=None if seen is None else seen.retried_as,
            reason=None if seen is None else seen.reason,
            seen_to_at=None if seen is None else to_rfc3339(seen.at),
            seen_to_by=None if seen is None else seen.by,
            run=RunResource.of(scope, run, dispatch),
        )


class DeadLetterList(msgspec.Struct, frozen=True, kw_only=True):
    """As a `ThreadList`."""

    items: tuple[DeadLetterResource, ...]
    has_more: bool
    next_cursor: str | None
    unreadable: tuple[str, ...] = ()


class GroupResource(msgspec.Struct, frozen=True, kw_only=True):
    """Dead letters of one agent with one class of error. `latest`: the one whose run arrived last."""

    agent_id: str
    error_class: str
    count: int
    first_at: str
    last_at: str
    latest: DeadLetterResource

    @classmethod
    def of(cls, scope: Scope, group: LetterGroup) -> GroupResource:
        return cls(
            agent_id=group.agent_id,
            error_class=group.error_class,
            count=group.count,
            first_at=to_rfc3339(group.first_at),
            last_at=to_rfc3339(group.last_at),
            latest=DeadLetterResource.of(scope, group.latest),
        )


class GroupList(msgspec.Struct, frozen=True, kw_only=True):
    """The largest first, of the newest 10 000 letters."""

    items: tuple[GroupResource, ...]


class SkippedResource(msgspec.Struct, frozen=True, kw_only=True):
    dispatch_id: str
    code: str
    reason: str


class HandledResource(msgspec.Struct, frozen=True, kw_only=True):
    """`matched`: how many were found, up to the limit; `more`: there are others behind them."""

    matched: int
    retried: int = 0
    discarded: int = 0
    skipped: tuple[SkippedResource, ...]
    more: bool

    @classmethod
    def of(cls, handled: Handled, **done: int) -> HandledResource:
        """`done`: which of the two counts it is."""
        counts: dict[str, Any] = done
        skipped = [
            SkippedResource(dispatch_id=each.dispatch_id, code=each.code, reason=each.reason)
            for each in handled.skipped
        ]
        return cls(matched=handled.matched, skipped=tuple(skipped), more=handled.more, **counts)


def _instant(instant: Instant | None) -> str | None:
    return None if instant is None else to_rfc3339(instant)
