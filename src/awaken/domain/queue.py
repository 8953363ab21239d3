"""Looking at what is queued and executed, and giving what is queued another place.

Above: `Awaken`, HTTP, the clients: all of them check what they are asked here. Below: nothing but checks.

Source: docs/howto/operate.md.
"""

from __future__ import annotations

from datetime import datetime
from typing import cast

import msgspec

from awaken.domain.checking import checked_seconds, shown
from awaken.domain.clock import Instant
from awaken.domain.delivery import Delivery, delay_ms, due_at
from awaken.domain.dispatch import DispatchStatus
from awaken.domain.errors import ValidationError
from awaken.domain.ids import AgentId, ConsumerId, RunId, ThreadId, checked_id


class QueueFilter(msgspec.Struct, frozen=True, kw_only=True):
    """Which dispatches. With a run: all that served it."""

    run_id: RunId | None = None
    thread_id: ThreadId | None = None
    status: DispatchStatus | None = None
    agent_id: AgentId | None = None
    claimed_by: ConsumerId | None = None
    older_than_s: float | None = None
    """Only those that have been there for longer."""
    stale: bool = False
    """Only those whose lease has ended."""


class Place(msgspec.Struct, frozen=True, kw_only=True):
    """What is changed of a place in the queue; None stays."""

    priority: int | None
    delay_ms: int | None
    available_at: Instant | None


def queue_filter(
    *,
    run_id: str | None = None,
    thread_id: str | None = None,
    status: str | None = None,
    agent: str | None = None,
    claimed_by: str | None = None,
    older_than_s: float | None = None,
    stale: bool = False,
) -> QueueFilter:
    """The filter that somebody has asked for. Raises ValidationError for what is none."""
    if not isinstance(cast(object, stale), bool):
        raise ValidationError(f"stale is true or false, not {shown(stale)}", loc=("stale",))
    found = QueueFilter(
        run_id=None if run_id is None else RunId(checked_id(run_id, what="run_id")),
        thread_id=None if thread_id is None else ThreadId(checked_id(thread_id, what="thread_id")),
        status=None if status is None else _status(status),
        agent_id=None if agent is None else AgentId(checked_id(agent, what="agent", loc=("body", "agent_id"))),
        claimed_by=None
        if claimed_by is None
        else ConsumerId(checked_id(claimed_by, what="claimed_by", loc=("body", "claimed_by"))),
        older_than_s=None if older_than_s is None else checked_seconds(older_than_s, what="older_than_s"),
        stale=stale,
    )
    if run_id is not None and found != QueueFilter(run_id=found.run_id):
        raise ValidationError("the dispatches of a run are listed without another filter", loc=("run_id",))
    return found


def place_of(
    *, priority: int | None = None, delay_s: float | None = None, available_at: datetime | str | None = None
) -> Place:
    """The place that somebody has asked for. `delay_s` 0: due at once. Raises ValidationError for what is none."""
    if priority is None and delay_s is None and available_at is None:
        raise ValidationError(
            "say what is to change: the priority, a delay, or the instant before which it does not start",
            loc=("body",),
        )
    if delay_s is not None and available_at is not None:
        raise ValidationError("give either a delay or an instant, not both", loc=("body", "available_at"))
    place = Place(
        priority=priority,
        delay_ms=None if delay_s is None else delay_ms(delay_s),
        available_at=due_at(available_at),
    )
    asked = Delivery(available_at=place.available_at)
    (asked if priority is None else msgspec.structs.replace(asked, priority=priority)).check()
    return place


def _status(status: str) -> DispatchStatus:
    try:
        return DispatchStatus(status)
    except ValueError:
        known = ", ".join(DispatchStatus)
        raise ValidationError(f"status is one of {known}, and not {shown(status)}", loc=("status",)) from None
