"""Schedules as the API shows them, beside the resources of `wire`.

Above: the handlers of schedules, and `Awaken`, which shows the same. Below: domain records.

Source: docs/reference/http.md.
"""

from __future__ import annotations

from typing import Any

import msgspec

from awaken.domain.clock import to_rfc3339
from awaken.domain.message import Block, Role
from awaken.domain.schedule import Missed, Overlap, Schedule


class ScheduleMessage(msgspec.Struct, frozen=True, kw_only=True):
    role: Role
    content: tuple[Block, ...]


class ScheduleResource(msgspec.Struct, frozen=True, kw_only=True):
    name: str
    agent_id: str
    cron: str | None
    every_s: int | None
    zone: str
    overlap: Overlap
    missed: Missed
    thread_id: str
    messages: tuple[ScheduleMessage, ...]
    metadata: dict[str, Any]
    declared: bool
    """The program declares it, and only there it can be changed."""
    paused: bool
    paused_by: str | None
    """`caller`, or `undeclared` where the program declares it no more."""
    next_at: str | None
    last_at: str | None
    """The instant that it served last."""
    last_run_id: str | None
    """The run that it started last."""
    skipped: int
    """At how many instants nothing was started, because an earlier run was not done."""
    last_error: str | None
    created_at: str
    updated_at: str

    @classmethod
    def of(cls, schedule: Schedule) -> ScheduleResource:
        spec = schedule.spec
        return cls(
            name=spec.name,
            agent_id=spec.agent_id,
            cron=spec.cron,
            every_s=spec.every_s,
            zone=spec.zone,
            overlap=spec.overlap,
            missed=spec.missed,
            thread_id=spec.thread,
            messages=tuple([ScheduleMessage(role=each.role, content=each.content) for each in spec.messages]),
            metadata=spec.metadata,
            declared=schedule.declared,
            paused=schedule.paused_by is not None,
            paused_by=schedule.paused_by,
            next_at=None if schedule.next_at is None else to_rfc3339(schedule.next_at),
            last_at=None if schedule.last_at is None else to_rfc3339(schedule.last_at),
            last_run_id=schedule.last_run_id,
            skipped=schedule.skipped,
            last_error=schedule.last_error,
            created_at=to_rfc3339(schedule.created_at),
            updated_at=to_rfc3339(schedule.updated_at),
        )


class ScheduleList(msgspec.Struct, frozen=True, kw_only=True):
    """As a `ThreadList`."""

    items: tuple[ScheduleResource, ...]
    has_more: bool
    next_cursor: str | None
    unreadable: tuple[str, ...] = ()
