"""What this process has done in the last hour, minute by minute, for whoever has no Prometheus.

Above: `Awaken.stats` and `GET /v1/stats` show it, and of each agent `Awaken.agent_stats`. Below: `tally.py` for
quantiles.
Holds: sixty minutes and no more are kept, each of a fixed size for every agent that did something in it. The clock is
read once per batch of the store: what happens between two batches belongs to the minute of the first.

Source: docs/howto/observe.md.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Collection, Sequence
from typing import Any, Final

import msgspec

from awaken.domain.checking import HOUR_S
from awaken.domain.clock import Clock, Instant
from awaken.domain.dispatch import ACKED, DispatchStatus
from awaken.domain.event import Event, InferenceComplete
from awaken.domain.ids import AgentId
from awaken.mailbox.observer import Observer, OutcomeLabel
from awaken.store.transitions import (
    Claimed,
    ClaimedSome,
    Closed,
    GaveUp,
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


class Counted(msgspec.Struct, frozen=True, kw_only=True):
    """What was done in a time."""

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


class Minute(Counted, frozen=True, kw_only=True):
    """What was done in the minute that began at `at`."""

    at: Instant


class OfAgent(Counted, frozen=True, kw_only=True):
    """What was done since then for one agent."""

    agent_id: AgentId
    since: Instant


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
        known = {bucket.no: bucket for bucket in self._ring}
        return [
            Minute(at=no * MINUTE_MS, **_totals(known[no].by_agent.values() if no in known else ()))
            for no in self._window(MINUTES)
        ]

    def of_agent(self, agent_id: AgentId, window_s: float = HOUR_S) -> OfAgent:
        """The same for one agent, of the last so many seconds together; parts of a minute count as one."""
        window = self._window(math.ceil(window_s * 1000 / MINUTE_MS))
        counts = [
            bucket.by_agent[agent_id] for bucket in self._ring if bucket.no in window and agent_id in bucket.by_agent
        ]
        return OfAgent(agent_id=agent_id, since=max(window[0] * MINUTE_MS, self.since), **_totals(counts))

    def _window(self, minutes: int) -> range:
        """The numbers of the last so many minutes, without those before counting began."""
        self._turn()
        newest = self._now.no
        return range(max(newest - minutes + 1, min(self.since // MINUTE_MS, newest)), newest + 1)

    def _turn(self) -> None:
        no = self._clock.now() // MINUTE_MS
        if no > self._now.no:  # a clock that was set back stays in its minute
            self._now = _Bucket(no)
            self._ring.append(self._now)

    # --- reported by the mailbox --------------------------------------------------------------------------------------

    def applied(self, transitions: Sequence[Transition], outcomes: Sequence[Outcome], took_s: float) -> None:
        self._turn()
        for transition, outcome in zip(transitions, outcomes, strict=True):
            if type(outcome) is Submitted:
                self._of(outcome.run.agent_id).submitted += 1
            elif type(outcome) is Settled:
                if outcome.dispatch.status is not ACKED:
                    self._not_acked(transition, outcome)
            elif isinstance(outcome, ClaimedSome | GaveUp):
                self._given_up(outcome.closed)
            elif type(outcome) is Reclaimed:
                self._given_up(outcome.items)

    def _not_acked(self, settle: Any, settled: Settled) -> None:
        if settled.dispatch.status is DispatchStatus.DEAD_LETTER:
            self._of(settled.run.agent_id).failed += 1
        elif type(settle.ending) is Retry:
            self._of(settled.run.agent_id).retried += 1

    def _given_up(self, closed: Sequence[Closed]) -> None:
        for item in closed:
            if item.dispatch.status is DispatchStatus.DEAD_LETTER:
                self._of(AgentId(item.dispatch.route) if item.run is None else item.run.agent_id).failed += 1

    def started(self, claimed: Claimed, since_claim_s: float) -> None:
        counts, dispatch = self._of(claimed.run.agent_id), claimed.dispatch
        counts.started += 1
        counts.waits_s.append((dispatch.updated_at - dispatch.available_at) / 1000 + since_claim_s)

    def said(self, claimed: Claimed, events: Sequence[Event]) -> None:
        counts = self._of(claimed.run.agent_id)
        for event in events:
            if type(event) is InferenceComplete:
                counts.model_calls += 1
                counts.input_tokens += event.usage.input_tokens
                counts.output_tokens += event.usage.output_tokens

    def ended(self, claimed: Claimed, label: OutcomeLabel, runtime_s: float) -> None:
        counts = self._of(claimed.run.agent_id)
        counts.runs_s.append(runtime_s)
        if len(counts.runs_s) >= MAX_UNFOLDED:
            counts.fold()
        if label == "completed":
            counts.completed += 1
        elif label == "cancelled":
            counts.cancelled += 1
        elif label == "suspended":
            counts.suspended += 1

    def _of(self, agent_id: AgentId) -> _Counts:
        counts = self._now.by_agent.get(agent_id)
        if counts is None:
            counts = self._now.by_agent[agent_id] = _Counts()
        return counts


class _Bucket:
    """A minute that is being counted."""

    __slots__ = ("by_agent", "no")

    def __init__(self, no: int) -> None:
        self.no = no
        self.by_agent: dict[AgentId, _Counts] = {}


_SUMMED: Final = (
    "submitted", "started", "completed", "failed", "retried", "cancelled", "suspended", "model_calls", "input_tokens",
    "output_tokens",
)  # fmt: skip


class _Counts:
    """Of one agent in one minute."""

    __slots__ = (
        "cancelled", "completed", "failed", "input_tokens", "model_calls", "output_tokens", "retried", "runs", "runs_s",
        "started", "submitted", "suspended", "waits", "waits_s",
    )  # fmt: skip

    def __init__(self) -> None:
        self.submitted = self.started = self.completed = self.failed = self.retried = 0
        self.cancelled = self.suspended = 0
        self.model_calls = self.input_tokens = self.output_tokens = 0
        self.waits_s: list[float] = []
        self.runs_s: list[float] = []
        self.waits: Spread | None = None
        self.runs: Spread | None = None

    def fold(self) -> None:
        self.waits = _folded(self.waits, self.waits_s)
        self.runs = _folded(self.runs, self.runs_s)


def _folded(spread: Spread | None, durations_s: list[float]) -> Spread | None:
    """With these, which are sorted into it and forgotten."""
    if durations_s:
        spread = spread or Spread(BOUNDS_S)
        spread.observe_all(durations_s)
        durations_s.clear()
    return spread


def _totals(parts: Collection[_Counts]) -> dict[str, Any]:
    """What they come to together, by the names of `Counted`."""
    waits, runs = Spread(BOUNDS_S), Spread(BOUNDS_S)
    for counts in parts:
        counts.fold()
        for whole, part in ((waits, counts.waits), (runs, counts.runs)):
            if part is not None:
                whole.join(part)
    return {
        **{name: sum([getattr(counts, name) for counts in parts]) for name in _SUMMED},
        "wait": Quantiles(waits.quantile(0.5), waits.quantile(0.99)),
        "run": Quantiles(runs.quantile(0.5), runs.quantile(0.99)),
    }
