"""What this process has done in the last hour, minute by minute, for whoever has no Prometheus.

Above: `Awaken.stats` and `GET /v1/stats` show it. Below: `tally.py` for quantiles.
Holds: sixty minutes and no more are kept, each of a fixed size, whatever passes through. The clock is read once per
batch of the store: what happens between two batches belongs to the minute of the first.

Source: docs/howto/observe.md.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from typing import Any, Final

import msgspec

from awaken.domain.clock import Clock, Instant
from awaken.domain.dispatch import ACKED, DispatchStatus
from awaken.domain.event import Event, InferenceComplete
from awaken.mailbox.observer import Observer, OutcomeLabel
from awaken.store.transitions import (
    Claimed,
    ClaimedSome,
    Closed,
    Outcome,
    Reclaimed,
    Retry,
    Settled,
    Submitted,
    Transition,
)
from awaken.telemetry.tally import Spread

MINUTES: Final = 60
MINUTE_MS: Final = 60_000
MAX_UNFOLDED: Final = 512
"""Executions whose durations are noted before they are sorted; few more begin than end."""
_FINEST_S: Final = 0.0005
_RATIO: Final = 1.1
_LONGEST_S: Final = 86_400


def _fine_bounds() -> tuple[float, ...]:
    bounds = [_FINEST_S]
    while bounds[-1] < _LONGEST_S:
        bounds.append(bounds[-1] * _RATIO)
    return tuple(bounds)


BOUNDS_S: Final = _fine_bounds()
"""Of a tenth of difference: so exact are quantiles."""


class Quantiles(msgspec.Struct, frozen=True):
    """In seconds; None where nothing was measured. At most a tenth too long, and a day at most."""

    p50_s: float | None
    p99_s: float | None


class Minute(msgspec.Struct, frozen=True, kw_only=True):
    """What was done in the minute that began at `at`."""

    at: Instant
    submitted: int
    """Runs accepted."""
    started: int
    """Executions begun; a run has several when it is tried again, or waits."""
    completed: int
    """Executions that ended by themselves."""
    failed: int
    """Runs given up."""
    retried: int
    """Executions that failed and are tried again."""
    cancelled: int
    suspended: int
    wait: Quantiles
    """From when a run was due until it was executed."""
    run: Quantiles
    """How long executions took."""
    model_calls: int
    input_tokens: int
    output_tokens: int


class Stats(Observer):
    """One per mailbox."""

    hears = frozenset({InferenceComplete})

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._now = _Bucket(clock.now() // MINUTE_MS)
        self._ring: deque[_Bucket] = deque((self._now,), maxlen=MINUTES)
        """The newest last. Minutes in which nothing happened are not in it."""
        self.since: Final = clock.now()
        """When counting began."""

    def minutes(self) -> list[Minute]:
        """Every minute of the last hour, or since counting began, oldest first; the last one is not over."""
        self._turn()
        newest = self._now.no
        oldest = max(newest - MINUTES + 1, min(self.since // MINUTE_MS, newest))
        known = {bucket.no: bucket for bucket in self._ring}
        return [(known.get(no) or _Bucket(no)).minute() for no in range(oldest, newest + 1)]

    def _turn(self) -> None:
        no = self._clock.now() // MINUTE_MS
        if no > self._now.no:  # a clock that was set back stays in its minute
            self._now = _Bucket(no)
            self._ring.append(self._now)

    # --- reported by the mailbox --------------------------------------------------------------------------------------

    def applied(self, transitions: Sequence[Transition], outcomes: Sequence[Outcome], took_s: float) -> None:
        self._turn()
        now = self._now
        for transition, outcome in zip(transitions, outcomes, strict=True):
            if type(outcome) is Submitted:
                now.submitted += 1
            elif type(outcome) is Settled:
                if outcome.dispatch.status is not ACKED:
                    self._not_acked(transition, outcome.dispatch.status)
            elif type(outcome) is ClaimedSome:
                now.failed += _given_up(outcome.closed)
            elif type(outcome) is Reclaimed:
                now.failed += _given_up(outcome.items)

    def _not_acked(self, settle: Any, status: DispatchStatus) -> None:
        if status is DispatchStatus.DEAD_LETTER:
            self._now.failed += 1
        elif type(settle.ending) is Retry:
            self._now.retried += 1

    def started(self, claimed: Claimed, since_claim_s: float) -> None:
        now, dispatch = self._now, claimed.dispatch
        now.started += 1
        now.waits_s.append((dispatch.updated_at - dispatch.available_at) / 1000 + since_claim_s)

    def said(self, claimed: Claimed, events: Sequence[Event]) -> None:
        for event in events:
            if type(event) is InferenceComplete:
                self._now.model_calls += 1
                self._now.input_tokens += event.usage.input_tokens
                self._now.output_tokens += event.usage.output_tokens

    def ended(self, claimed: Claimed, label: OutcomeLabel, runtime_s: float) -> None:
        now = self._now
        now.runs_s.append(runtime_s)
        if len(now.runs_s) >= MAX_UNFOLDED:
            now.fold()
        if label == "completed":
            now.completed += 1
        elif label == "cancelled":
            now.cancelled += 1
        elif label == "suspended":
            now.suspended += 1


class _Bucket:
    """A minute that is being counted."""

    __slots__ = (
        "_runs", "_waits", "cancelled", "completed", "failed", "input_tokens", "model_calls", "no", "output_tokens",
        "retried", "runs_s", "started", "submitted", "suspended", "waits_s",
    )  # fmt: skip

    def __init__(self, no: int) -> None:
        self.no = no
        self.submitted = self.started = self.completed = self.failed = self.retried = 0
        self.cancelled = self.suspended = 0
        self.model_calls = self.input_tokens = self.output_tokens = 0
        self.waits_s: list[float] = []
        self.runs_s: list[float] = []
        self._waits = Spread(BOUNDS_S)
        self._runs = Spread(BOUNDS_S)

    def fold(self) -> None:
        for durations_s, spread in ((self.waits_s, self._waits), (self.runs_s, self._runs)):
            spread.observe_all(durations_s)
            durations_s.clear()

    def minute(self) -> Minute:
        self.fold()
        return Minute(
            at=self.no * MINUTE_MS,
            submitted=self.submitted,
            started=self.started,
            completed=self.completed,
            failed=self.failed,
            retried=self.retried,
            cancelled=self.cancelled,
            suspended=self.suspended,
            wait=Quantiles(self._waits.quantile(0.5), self._waits.quantile(0.99)),
            run=Quantiles(self._runs.quantile(0.5), self._runs.quantile(0.99)),
            model_calls=self.model_calls,
            input_tokens=self.input_tokens,
            output_tokens=self.output_tokens,
        )


def _given_up(closed: Sequence[Closed]) -> int:
    return sum([item.dispatch.status is DispatchStatus.DEAD_LETTER for item in closed])
