"""What the API says about the last hour of a process.

Source: docs/reference/http.md.
"""

from __future__ import annotations

from typing import Any

import msgspec

from awaken.domain.clock import to_rfc3339
from awaken.telemetry.stats import Counted, Minute, OfAgent, Stats


class CountedResource(msgspec.Struct, frozen=True, kw_only=True):
    """Seconds are null where nothing was measured."""

    submitted: int
    started: int
    completed: int
    failed: int
    retried: int
    cancelled: int
    suspended: int
    wait_p50_s: float | None
    wait_p99_s: float | None
    run_p50_s: float | None
    run_p99_s: float | None
    model_calls: int
    input_tokens: int
    output_tokens: int


class MinuteResource(CountedResource, frozen=True, kw_only=True):
    """A minute, from the instant `at`."""

    at: str

    @classmethod
    def of(cls, minute: Minute) -> MinuteResource:
        return cls(at=to_rfc3339(minute.at), **_counted(minute))


class AgentStatsResource(CountedResource, frozen=True, kw_only=True):
    """What was done `since` then for one agent."""

    agent_id: str
    since: str

    @classmethod
    def of(cls, found: OfAgent) -> AgentStatsResource:
        return cls(agent_id=found.agent_id, since=to_rfc3339(found.since), **_counted(found))


def _counted(found: Counted) -> dict[str, Any]:
    return {
        "submitted": found.submitted,
        "started": found.started,
        "completed": found.completed,
        "failed": found.failed,
        "retried": found.retried,
        "cancelled": found.cancelled,
        "suspended": found.suspended,
        "wait_p50_s": found.wait.p50_s,
        "wait_p99_s": found.wait.p99_s,
        "run_p50_s": found.run.p50_s,
        "run_p99_s": found.run.p99_s,
        "model_calls": found.model_calls,
        "input_tokens": found.input_tokens,
        "output_tokens": found.output_tokens,
    }


class StatsResource(msgspec.Struct, frozen=True, kw_only=True):
    """The last hour of this process, oldest minute first, or what there is since counting began."""

    since: str
    minutes: tuple[MinuteResource, ...]

    @classmethod
    def of(cls, stats: Stats) -> StatsResource:
        minutes = tuple([MinuteResource.of(minute) for minute in stats.minutes()])
        return cls(since=to_rfc3339(stats.since), minutes=minutes)
