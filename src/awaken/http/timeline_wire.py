"""What the API says about how a run went: its timeline.

Above: the route of it, and `Awaken`, which shows the same. Below: `mailbox.timeline`.

Source: docs/reference/http.md.
"""

from __future__ import annotations

from typing import Any

import msgspec

from awaken.domain.clock import to_rfc3339
from awaken.domain.cursor import event_cursor
from awaken.domain.ids import Scope
from awaken.domain.run import Run
from awaken.mailbox.timeline import DrawnRun, SpanKind, SpanStatus, TimeSpan


class TimeSpanResource(msgspec.Struct, frozen=True, kw_only=True):
    """A part of a run. `parent`: the id of the span that it lies within. `cursor`: of the event that shows it first."""

    id: int
    kind: SpanKind
    name: str
    status: SpanStatus
    """`cut`: it did not come to its end, because its attempt ended before."""
    started_at: str
    ended_at: str | None
    parent: int | None
    cursor: str
    facts: dict[str, Any]
    """What is known of it, by its kind."""

    @classmethod
    def of(cls, scope: Scope, run: Run, span: TimeSpan) -> TimeSpanResource:
        return cls(
            id=span.id,
            kind=span.kind,
            name=span.name,
            status=span.status,
            started_at=to_rfc3339(span.started_at),
            ended_at=None if span.ended_at is None else to_rfc3339(span.ended_at),
            parent=span.parent,
            cursor=event_cursor(scope, run.thread_id, span.seq),
            facts=span.facts,
        )


class TimelineResource(msgspec.Struct, frozen=True, kw_only=True):
    """A run as spans, in the order in which they began; each lies within its parent, which stands before it."""

    run_id: str
    thread_id: str
    cursor: str
    """Nothing newer than this was known of its thread: as long as that is so, the timeline is the same."""
    spans: tuple[TimeSpanResource, ...]
    has_more: bool
    """The log goes on behind what was read."""
    unreadable: tuple[str, ...] = ()

    @classmethod
    def of(cls, scope: Scope, run: Run, seq: int, drawn: DrawnRun) -> TimelineResource:
        return cls(
            run_id=run.run_id,
            thread_id=run.thread_id,
            cursor=event_cursor(scope, run.thread_id, seq),
            spans=tuple([TimeSpanResource.of(scope, run, span) for span in drawn.spans]),
            has_more=drawn.has_more,
            unreadable=drawn.unreadable,
        )
