"""The timeline of a run: spans folded from its events.

Above: `Mailbox.timeline`. Below: the kinds of events; `telling`, for words.
Holds: folding is pure and never raises, whatever part of a log it is given: an event that cannot be read is left out,
and what began before the part is drawn from where the part shows it. Spans are in the order in which they began; one
lies within its parent, and stands behind it; one that has not ended has no end, and neither has its parent.

What a span is:

- `queued`, `retry`, `waiting`, `takeover`: why nothing of the run is executed then, between two attempts. A `takeover`
  is the break behind an attempt whose process died: who died, who took over, and which calls were not repeated.
- `attempt`: one execution; within it its `step`s, and within those the `model_call`s and `tool` calls.
- `ticket`, `child`: what the run waits for, or has started. They outlive attempts, so they lie within none; where they
  belong to a call, `tool_call_id` says to which.
- `message`, `stop`, `error`, `end`: instants.

Source: docs/reference/http.md.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, Final, Literal

import msgspec

from awaken.domain.agent_event import StepEnded, StepStarted
from awaken.domain.clock import Instant, to_rfc3339
from awaken.domain.dispatch import RECLAIMED
from awaken.domain.errors import DataIntegrity
from awaken.domain.event import DELTA_KINDS, TERMINAL_KINDS, opened
from awaken.domain.ids import ConsumerId, Scope
from awaken.domain.log import EventRow, ReadEvent
from awaken.domain.message import Role
from awaken.domain.run import DONE, Run, Usage
from awaken.domain.telling import counted, named, named_process, told
from awaken.domain.worker import ProcessName
from awaken.store.contract import Reads

SpanKind = Literal[
    "queued", "retry", "waiting", "takeover", "attempt", "step", "model_call", "tool", "ticket", "child", "message",
    "stop", "error", "end",
]  # fmt: skip
SpanStatus = Literal["open", "done", "failed", "cut"]
"""`cut`: it did not come to its end; its attempt ended before."""

MAX_READ: Final = 50_000
"""Events that a timeline is made of, the pieces of text among them that are passed over."""
MAX_SPANS: Final = 10_000
_AT_ONCE: Final = 500
"""Events of a page; the loop goes on with something else between two."""
_ENDED_WELL: Final = frozenset({"RunFinished", "RunTerminated", "RunCancelled", "RunSuperseded"})
_CALL_FAILED: Final = frozenset({"failed", "invalid_arguments", "timed_out", "unknown"})


class TimeSpan(msgspec.Struct, kw_only=True):
    """A part of a run. `seq`: of the event that shows it first. `parent`: the span that it lies within."""

    id: int
    """Its number in its timeline, from 1, which stays the same however far the log has gone on."""
    kind: SpanKind
    name: str
    started_at: Instant
    ended_at: Instant | None = None
    status: SpanStatus = "open"
    seq: int
    parent: int | None = None
    facts: dict[str, Any] = {}


class Timeline:
    """What has been folded so far."""

    def __init__(self) -> None:
        self._spans: list[TimeSpan] = []
        self._now: Instant = 0
        """That of the last event; it never goes back, as the clocks of several processes may."""
        self._heard: Instant = 0
        """That of the row before the last one."""
        self._reached: Instant = 0
        """The latest end of a span within another one."""
        self._gap: TimeSpan | None = None
        self._attempt: TimeSpan | None = None
        self._step: TimeSpan | None = None
        self._processes: dict[ConsumerId, ProcessName] = {}
        """Those that have executed it, by their ids."""
        self._calls: dict[str, TimeSpan] = {}
        """Tool calls that are under way in the attempt."""
        self._outside: dict[str, TimeSpan] = {}
        """Tickets and children that are open."""
        self.is_full = False
        """There was more than a timeline holds."""

    @property
    def spans(self) -> list[TimeSpan]:
        """In the order in which they began."""
        return sorted(self._spans, key=lambda span: (span.started_at, span.id))

    def add(self, row: EventRow) -> None:
        """Fold the next row of the run's log."""
        self._heard, self._now = self._now, max(self._now, row.created_at)
        for place, event in enumerate(row.events):
            folding = _FOLDINGS.get(event.kind)
            if folding is None or event.kind in DELTA_KINDS:
                continue
            if len(self._spans) >= MAX_SPANS:
                self.is_full = True
                return
            try:
                payload = opened(event)
            except DataIntegrity:
                continue
            folding(self, row.first_seq + place, event, payload)

    # --- what is open -------------------------------------------------------------------------------------------------

    def _begin(
        self,
        kind: SpanKind,
        name: str,
        seq: int,
        facts: dict[str, Any],
        *,
        parent: TimeSpan | None = None,
        since: Instant | None = None,
    ) -> TimeSpan:
        started_at = self._now if since is None else since
        if parent is not None:
            started_at = max(started_at, parent.started_at)
        span = TimeSpan(
            id=len(self._spans) + 1,
            kind=kind,
            name=name,
            started_at=started_at,
            seq=seq,
            parent=None if parent is None else parent.id,
            facts=_said(facts),
        )
        self._spans.append(span)
        return span

    def _point(self, kind: SpanKind, name: str, seq: int, facts: dict[str, Any], status: SpanStatus = "done") -> None:
        self._end(self._begin(kind, name, seq, facts), status)

    def _end(self, span: TimeSpan | None, status: SpanStatus, at: Instant | None = None, /, **facts: Any) -> None:
        if span is not None:
            span.ended_at = max(self._now if at is None else at, span.started_at)
            span.status = status
            span.facts = span.facts | _said(facts)
            if span.parent is not None:
                self._reached = max(self._reached, span.ended_at)

    def _open_gap(self, kind: SpanKind, name: str, seq: int, facts: dict[str, Any]) -> None:
        self._close_gap()
        self._gap = self._begin(kind, name, seq, facts)

    def _close_gap(self) -> None:
        self._end(self._gap, "done")
        self._gap = None

    def _close_step(self, status: SpanStatus, at: Instant | None = None) -> None:
        for call in self._calls.values():
            if self._step is not None and call.parent == self._step.id:
                self._end(call, "cut", at)
        self._calls = {id: call for id, call in self._calls.items() if call.status == "open"}
        self._end(self._step, status, at)
        self._step = None

    def _close_attempt(self, status: SpanStatus, at: Instant | None = None) -> None:
        """`at`: when it is known to have ended, where that is before the event which says so."""
        if at is not None:
            at = max(at, self._reached)
        self._close_step("cut", at)
        for call in self._calls.values():
            self._end(call, "cut", at)
        self._calls = {}
        self._end(self._attempt, status, at)
        self._attempt = None

    # --- events -------------------------------------------------------------------------------------------------------

    def queued(self, seq: int, event: ReadEvent, payload: Any) -> None:
        facts = {"why": payload.why, "agent_id": payload.agent_id, "available_at": _instant(payload.available_at)}
        if self._attempt is None:
            self._open_gap("queued", told(event), seq, facts)

    def began(self, seq: int, event: ReadEvent, payload: Any) -> None:
        if payload.process is not None and payload.worker is not None:
            self._processes[payload.worker] = payload.process
        if payload.why == "takeover":
            self._taken_over(seq, payload)
        self._close_gap()
        self._close_attempt("cut")
        facts = {
            "attempt": payload.attempt,
            "why": payload.why,
            "agent_id": payload.agent_id,
            "worker": payload.worker,
            "process": self._process(payload.worker),
            "agent_version": payload.agent_version,
            "stand_in": payload.stand_in,
            "finished_calls": payload.finished_calls,
        }
        self._attempt = self._begin("attempt", told(event), seq, facts)

    def _taken_over(self, seq: int, payload: Any) -> None:
        """The gap behind an attempt that its process did not survive is a break, however it was queued meanwhile."""
        facts = {
            "previous_worker": payload.previous_worker,
            "previous_process": self._process(payload.previous_worker),
            "worker": payload.worker,
            "process": self._process(payload.worker),
            "finished_calls": payload.finished_calls,
        }
        died, took = self._died(payload.previous_worker), self._named(payload.worker) or "another one"
        kept = counted(len(payload.finished_calls), "finished call") if payload.finished_calls else ""
        name = f"{died} died, {took} took over" + (f"; {kept} not repeated" if kept else "")
        if self._gap is None:
            self._close_attempt("cut")
            self._gap = self._begin("takeover", name, seq, facts)
            return
        self._gap.kind, self._gap.name = "takeover", name
        self._gap.facts = self._gap.facts | _said(facts)

    def _process(self, consumer: ConsumerId | None) -> dict[str, Any] | None:
        known = None if consumer is None else self._processes.get(consumer)
        return None if known is None else msgspec.to_builtins(known)

    def _named(self, consumer: ConsumerId | None) -> str:
        return named_process(consumer, None if consumer is None else self._processes.get(consumer))

    def _died(self, consumer: ConsumerId | None) -> str:
        """The same as the beginning of a sentence."""
        name = self._named(consumer) or "its process"
        return name[0].upper() + name[1:] if name.startswith(("process ", "its ")) else name

    def suspended(self, seq: int, event: ReadEvent, payload: Any) -> None:
        self._close_attempt("done")
        facts = {"reason": payload.reason, "ticket_ids": payload.ticket_ids, "child_run_ids": payload.child_run_ids}
        self._open_gap("waiting", told(event), seq, facts)

    def rescheduled(self, seq: int, event: ReadEvent, payload: Any) -> None:
        facts = {
            "reason": payload.reason,
            "error": payload.error,
            "attempt_count": payload.attempt_count,
            "crash_count": payload.crash_count,
            "available_at": _instant(payload.available_at),
        }
        if payload.reason == RECLAIMED:  # it was heard last before its process died, or was cut off
            worker = None if self._attempt is None else self._attempt.facts.get("worker")
            facts |= {"previous_worker": worker, "previous_process": self._process(worker)}
            self._close_attempt("cut", self._heard)
            self._close_gap()
            since = max(self._heard, self._reached)
            name = f"{self._died(worker)} died; it waits to be taken over"
            self._gap = self._begin("takeover", name, seq, facts, since=since)
            return
        self._close_attempt("cut" if payload.error is None else "failed")
        self._open_gap("queued" if payload.error is None else "retry", told(event), seq, facts)

    def ended(self, seq: int, event: ReadEvent, payload: Any) -> None:
        status: SpanStatus = "done" if event.kind in _ENDED_WELL else "failed"
        self._close_gap()
        self._close_attempt(status)
        for span in self._outside.values():
            self._end(span, "cut")
        self._outside = {}
        facts = {
            "kind": event.kind,
            "termination": msgspec.to_builtins(payload.termination),
            "cause": payload.cause,
            "usage": _usage(payload.usage),
            "steps": payload.steps,
        }
        self._point("end", told(event), seq, facts, status)

    def given_up(self, seq: int, event: ReadEvent, payload: Any) -> None:
        self._close_attempt("failed")
        self._point("error", told(event), seq, {"error": payload.error, "error_class": payload.error_class}, "failed")

    def step_began(self, seq: int, event: ReadEvent, payload: Any) -> None:
        self._close_step("cut")
        facts = {"index": payload.index, "message_id": payload.message_id, "name": payload.name}
        self._step = self._begin("step", _step_name(payload), seq, facts, parent=self._attempt)

    def step_ended(self, seq: int, event: ReadEvent, payload: Any) -> None:
        if self._step is not None and payload.name is not None:
            self._step.name, self._step.facts = _step_name(payload), self._step.facts | {"name": payload.name}
        self._close_step("done")

    def model_answered(self, seq: int, event: ReadEvent, payload: Any) -> None:
        usage: Usage = payload.usage
        facts = {
            "model": payload.model,
            "provider": payload.provider,
            "finish_reason": payload.finish_reason,
            "message_id": payload.message_id,
            "duration_ms": payload.duration_ms,
            "usage": _usage(usage),
            "cached_share": _share(usage),
        }
        name = named(payload.model) or "Model call"
        since = self._now - max(payload.duration_ms, 0)
        parent = self._step or self._attempt
        self._end(self._begin("model_call", name, seq, facts, parent=parent, since=max(since, 0)), "done")

    def called(self, seq: int, event: ReadEvent, payload: Any) -> None:
        facts = {"tool_call_id": payload.id, "tool_name": payload.name, "message_id": payload.message_id}
        self._end(self._calls.pop(payload.id, None), "cut")
        parent = self._step or self._attempt
        self._calls[payload.id] = self._begin("tool", named(payload.name), seq, facts, parent=parent)

    def call_ended(self, seq: int, event: ReadEvent, payload: Any) -> None:
        call = self._calls.pop(payload.id, None)
        if call is None:  # it was begun in an earlier attempt, or before what there is of the log
            facts = {"tool_call_id": payload.id, "tool_name": payload.name, "message_id": payload.message_id}
            parent = self._step or self._attempt
            since = self._now if parent is None else parent.started_at
            call = self._begin("tool", named(payload.name), seq, facts, parent=parent, since=since)
        status: SpanStatus = "failed" if payload.status in _CALL_FAILED else "done"
        self._end(call, status, status=payload.status, error=payload.error_text, ticket_id=payload.ticket_id)
        call.facts["ms"] = (call.ended_at or call.started_at) - call.started_at

    def ticket_opened(self, seq: int, event: ReadEvent, payload: Any) -> None:
        if payload.kind == "child":  # that run has a span of its own
            return
        facts = {
            "ticket_id": payload.ticket_id,
            "ticket_kind": payload.kind,
            "tool_name": payload.tool_name,
            "tool_call_id": payload.tool_call_id,
            "expires_at": _instant(payload.expires_at),
        }
        self._open_outside(payload.ticket_id, self._begin("ticket", told(event), seq, facts))

    def ticket_closed(self, seq: int, event: ReadEvent, payload: Any) -> None:
        given = msgspec.to_builtins(payload)
        facts = {name: given.get(name) for name in ("action", "reason", "decided_by", "on_expiry")}
        self._end(
            self._outside.pop(payload.ticket_id, None), "done", closed_by=event.kind, outcome=told(event), **facts
        )

    def child_began(self, seq: int, event: ReadEvent, payload: Any) -> None:
        facts = {
            "run_id": payload.run_id,
            "thread_id": payload.thread_id,
            "agent_id": payload.agent_id,
            "tool_call_id": payload.tool_call_id,
        }
        self._open_outside(payload.run_id, self._begin("child", named(payload.agent_id), seq, facts))

    def child_ended(self, seq: int, event: ReadEvent, payload: Any) -> None:
        status: SpanStatus = "failed" if payload.termination.type == "error" else "done"
        termination = msgspec.to_builtins(payload.termination)
        self._end(self._outside.pop(payload.run_id, None), status, termination=termination)

    def _open_outside(self, id: str, span: TimeSpan) -> None:
        self._end(self._outside.pop(id, None), "cut")
        self._outside[id] = span

    def said(self, seq: int, event: ReadEvent, payload: Any) -> None:
        if payload.role is Role.USER:
            facts = {
                "message_id": payload.message_id,
                "message_seq": payload.message_seq,
                "step_index": payload.step_index,
                "boundary": payload.boundary,
                "sender": payload.sender,
            }
            self._point("message", told(event), seq, facts)

    def stop_asked(self, seq: int, event: ReadEvent, payload: Any) -> None:
        self._point("stop", told(event), seq, {"kind": event.kind, "reason": payload.reason})

    def went_wrong(self, seq: int, event: ReadEvent, payload: Any) -> None:
        facts = {"error": payload.message, "error_code": payload.error_code}
        self._point("error", told(event), seq, facts, "failed")


class DrawnRun(msgspec.Struct, frozen=True):
    """A run's timeline. `has_more`: its log goes on behind what was read."""

    spans: list[TimeSpan]
    has_more: bool
    unreadable: tuple[str, ...]


async def newest_seq(reads: Reads, scope: Scope, run: Run) -> int:
    """That of the newest event which its timeline may be made of: what a run is drawn from grows with its thread."""
    return run.updated_seq if run.status is DONE else (await reads.event_bounds(scope, run.thread_id))[1]


async def draw(reads: Reads, scope: Scope, run: Run) -> DrawnRun:
    """The timeline of a run, read page by page."""
    timeline, unreadable = Timeline(), list[str]()
    after: int | None = run.first_event_seq - 1
    oldest, _ = await reads.event_bounds(scope, run.thread_id)
    if oldest > run.first_event_seq:
        unreadable.append("the first events of the run, which are not kept any more")
    read = 0
    while after is not None and read < MAX_READ and not timeline.is_full:
        page = await reads.page_events(scope, run.thread_id, after=after, limit=_AT_ONCE, run_id=run.run_id)
        for row in page.items:
            timeline.add(row)
            read += len(row.events)
        unreadable += page.unreadable
        after = page.next
    return DrawnRun(timeline.spans, after is not None or timeline.is_full, tuple(unreadable))


def fold(rows: Iterable[EventRow]) -> list[TimeSpan]:
    """The spans of a run, from the rows of its log or a part of them, in order."""
    timeline = Timeline()
    for row in rows:
        timeline.add(row)
    return timeline.spans


_Folding = Callable[[Timeline, int, ReadEvent, Any], None]
_FOLDINGS: Final[dict[str, _Folding]] = {
    "RunQueued": Timeline.queued,
    "RunStarted": Timeline.began,
    "RunResumed": Timeline.began,
    "RunSuspended": Timeline.suspended,
    "RunRescheduled": Timeline.rescheduled,
    "RunDeadLettered": Timeline.given_up,
    **dict.fromkeys(sorted(TERMINAL_KINDS), Timeline.ended),
    "StepStarted": Timeline.step_began,
    "StepEnded": Timeline.step_ended,
    "InferenceComplete": Timeline.model_answered,
    "ToolCallReady": Timeline.called,
    "ToolCallDone": Timeline.call_ended,
    "TicketOpened": Timeline.ticket_opened,
    "TicketDecided": Timeline.ticket_closed,
    "TicketExpired": Timeline.ticket_closed,
    "TicketWithdrawn": Timeline.ticket_closed,
    "ChildStarted": Timeline.child_began,
    "ChildFinished": Timeline.child_ended,
    "MessageCommitted": Timeline.said,
    "CancelRequested": Timeline.stop_asked,
    "CancelAcknowledged": Timeline.stop_asked,
    "RunInterrupted": Timeline.stop_asked,
    "ErrorRecorded": Timeline.went_wrong,
}


def _step_name(step: StepStarted | StepEnded) -> str:
    return f"Step {step.index + 1}" + (f": {named(step.name)}" if step.name else "")


def _usage(usage: Usage | None) -> dict[str, int] | None:
    return None if usage is None else msgspec.to_builtins(usage)


def _share(usage: Usage) -> float | None:
    """How much of the input came from the provider's cache."""
    return round(min(usage.cache_read_tokens / usage.input_tokens, 1.0), 4) if usage.input_tokens > 0 else None


def _instant(instant: Instant | None) -> str | None:
    """None also for one that no calendar has."""
    if instant is None:
        return None
    try:
        return to_rfc3339(instant)
    except (ValueError, OverflowError):
        return None


def _said(facts: dict[str, Any]) -> dict[str, Any]:
    """Without what says nothing."""
    return {name: value for name, value in facts.items() if value not in (None, (), {}, "", [])}
