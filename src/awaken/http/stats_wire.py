"""What the API says about the last hour of a process.

Source: docs/reference/http.md.
"""

from __future__ import annotations

import msgspec

from awaken.domain.clock import to_rfc3339
from awaken.telemetry.stats import Minute, Stats


class MinuteResource(msgspec.Struct, frozen=True, kw_only=True):
    """A minute, from the instant `at`. Seconds are null where nothing was measured."""

    at: str
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

    @classmethod
    def of(cls, minute: Minute) -> MinuteResource:
        return cls(
            at=to_rfc3339(minute.at),
            submitted=minute.submitted,
            started=minute.started,
            completed=minute.completed,
            failed=minute.failed,
            retried=minute.retried,
            cancelled=minute.cancelled,
            suspended=minute.suspended,
            wait_p50_s=minute.wait.p50_s,
            wait_p99_s=minute.wait.p99_s,
            run_p50_s=minute.run.p50_s,
            run_p99_s=minute.run.p99_s,
            model_calls=minute.model_calls,
            input_tokens=minute.input_tokens,
            output_tokens=minute.output_tokens,
        )


class StatsResource(msgspec.Struct, frozen=True, kw_only=True):
    """The last hour of this process, oldest minute first, or what there is since counting began."""

    since: str
    minutes: tuple[MinuteResource, ...]

    @classmethod
    def of(cls, stats: Stats) -> StatsResource:
        minutes = tuple([MinuteResource.of(minute) for minute in stats.minutes()])
        return cls(since=to_rfc3339(stats.since), minutes=minutes)
