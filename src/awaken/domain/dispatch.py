"""Dispatches: the queue entries that ask for a run to be executed, and the only table by which they change.

A record-level move checks the table and returns the new record; stores write it, they do not decide it.

Two counts say what went wrong since the run last made progress. `attempt_count` counts failures of the run itself.
`crash_count` counts deaths of the process that executed it, which may have been anybody's fault: with two of those the
dispatch is a *suspect*, and only a suspect that was executing as the only one is charged an attempt for one more.

Source: ADR 0023; MB-001 to MB-017.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Final, Literal

import msgspec
from msgspec.structs import replace

from awaken.domain.clock import Instant
from awaken.domain.errors import DataIntegrity, ValidationError
from awaken.domain.ids import ClaimToken, ConsumerId, DispatchId, InstanceId, MessageId, Route, RunId, ThreadId
from awaken.domain.retry import RetryPolicy

DEFAULT_PRIORITY: Final = 128
DEFAULT_MAX_ATTEMPTS: Final = 5
LEASE_EXPIRED: Final = "its process died, or lost its lease, each time it was executed"
RECLAIMED: Final = "expired_lease_reclaimed"
"""Why a dispatch is back in the queue whose process died, or was cut off; in its events."""
SUSPECT_CRASHES: Final = 2
"""Deaths of its process since the last closed step that make a suspect."""
SUSPECT_MARK: Final = "!"
"""Behind the route in the scheduling key of a thread whose head is a suspect. Agent names cannot contain it."""


class DispatchStatus(StrEnum):
    QUEUED = "queued"
    CLAIMED = "claimed"
    ACKED = "acked"
    CANCELLED = "cancelled"
    SUPERSEDED = "superseded"
    DEAD_LETTER = "dead_letter"

    @property
    def is_terminal(self) -> bool:
        return self not in (QUEUED, CLAIMED)


# Named here because Python 3.11 takes as long to find a member of an enum as to make a small record.
QUEUED: Final = DispatchStatus.QUEUED
CLAIMED: Final = DispatchStatus.CLAIMED
ACKED: Final = DispatchStatus.ACKED

Move = Literal["claim", "ack", "nack", "release", "dead_letter", "expire", "cancel", "supersede"]
Why = Literal["start", "input", "decided", "children", "retry", "takeover", "handover"]
"""Why a dispatch is in the queue: a new run; input for a waiting one, a decision, or the end of a run that it started;
or the end of an earlier claim."""
WAKES: Final = frozenset({"input", "decided", "children"})
"""Why one is queued with which a waiting run goes on; until it is claimed, that run waits."""

DISPATCH_MOVES: Final[dict[tuple[DispatchStatus, Move], DispatchStatus]] = {
    (QUEUED, "claim"): CLAIMED,
    (QUEUED, "cancel"): DispatchStatus.CANCELLED,
    (QUEUED, "supersede"): DispatchStatus.SUPERSEDED,
    (QUEUED, "dead_letter"): DispatchStatus.DEAD_LETTER,  # its run or a message of it is gone, or nobody serves it
    (CLAIMED, "ack"): ACKED,
    (CLAIMED, "nack"): QUEUED,  # or dead letter, when the attempts are spent
    (CLAIMED, "expire"): QUEUED,  # or dead letter, for a lone suspect whose attempts are spent
    (CLAIMED, "release"): QUEUED,
    (CLAIMED, "dead_letter"): DispatchStatus.DEAD_LETTER,
    (CLAIMED, "cancel"): DispatchStatus.CANCELLED,
    (CLAIMED, "supersede"): DispatchStatus.SUPERSEDED,
}
"""Every change of status a dispatch can make. A claimed one is cancelled only by its owner or by a reclaim."""


class Dispatch(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """One delivery order. Token and consumer are set while claimed and absent otherwise; `lease_until` only on a store
    that several processes share.
    """

    no: int
    """Its arrival number in the store: its age, which orders threads among each other."""
    dispatch_id: DispatchId
    thread_id: ThreadId
    run_id: RunId
    route: Route
    status: DispatchStatus
    why: Why
    priority: int
    position: int
    """Place in the thread's order of submission, that of the run's first dispatch: order never depends on a clock."""
    epoch: int
    available_at: Instant
    created_at: Instant
    updated_at: Instant
    max_attempts: int = DEFAULT_MAX_ATTEMPTS
    attempt_count: int = 0
    """Failures since the last progress."""
    crash_count: int = 0
    """Deaths of its process since the last progress."""
    message_ids: tuple[MessageId, ...] | None = None
    """The messages it brings, which its first claim appends to the log; None: those of its run's request (`brings`)."""
    last_error: str | None = None
    claim_token: ClaimToken | None = None
    claimed_by: ConsumerId | None = None
    lease_until: Instant | None = None
    instance_id: InstanceId | None = None
    """The execution that holds it, or that ended it; a dispatch that is queued has none."""
    tried_at: Instant | None = None
    """When it was last claimed."""
    tried_by: ConsumerId | None = None
    """Who claimed it last."""
    completed_at: Instant | None = None

    def brings(self, asked: tuple[MessageId, ...]) -> tuple[MessageId, ...]:
        """The messages it brings; `asked`: those that the request of its run names."""
        return asked if self.message_ids is None else self.message_ids

    @property
    def is_suspect(self) -> bool:
        """Its process died as often as makes it one that may be to blame."""
        return self.crash_count >= SUSPECT_CRASHES

    @property
    def ready_route(self) -> str:
        """The route as it stands in the scheduling key of its thread."""
        return ready_route(self.route, self.crash_count)

    @property
    def due_since(self) -> Instant:
        """From when on it could be claimed, where it is queued."""
        return max(self.available_at, self.created_at)

    def check(self) -> None:
        """The shape a stored dispatch has.

        Raises:
            DataIntegrity: The record contradicts itself.
        """
        claim = (self.claim_token, self.claimed_by)
        claimed = self.status is CLAIMED
        if any((field is not None) != claimed for field in claim) or (self.lease_until is not None and not claimed):
            raise DataIntegrity(f"dispatch {self.dispatch_id!r}: {self.status} and its claim fields disagree")
        if self.status.is_terminal != (self.completed_at is not None):
            raise DataIntegrity(f"dispatch {self.dispatch_id!r}: {self.status} and completed_at disagree")
        if not (self.dispatch_id.strip() and self.thread_id.strip() and self.run_id.strip()):
            raise DataIntegrity(f"dispatch {self.dispatch_id!r}: an id is blank")
        if not 0 <= self.attempt_count <= self.max_attempts or self.max_attempts < 1 or self.crash_count < 0:
            raise DataIntegrity(f"dispatch {self.dispatch_id!r}: {self.attempt_count} of {self.max_attempts} attempts")


def ready_route(route: Route, crash_count: int) -> str:
    """A route as it stands in the scheduling key of a thread whose head crashed so often."""
    return route + SUSPECT_MARK if crash_count >= SUSPECT_CRASHES else route


def claim(
    dispatch: Dispatch,
    *,
    consumer: ConsumerId,
    token: ClaimToken,
    instance_id: InstanceId,
    lease_until: Instant | None,
    now: Instant,
) -> Dispatch:
    """Take it. A claim is not an attempt: only failures are counted."""
    _moved(dispatch, "claim")
    return replace(
        dispatch,
        status=CLAIMED,
        claim_token=token,
        claimed_by=consumer,
        lease_until=lease_until,
        instance_id=instance_id,
        tried_at=now,
        tried_by=consumer,
        updated_at=now,
    )


def ack(dispatch: Dispatch, now: Instant) -> Dispatch:
    """Consumed; says nothing about the run's success."""
    return _closed(dispatch, "ack", now)


def cancel(dispatch: Dispatch, now: Instant) -> Dispatch:
    return _closed(dispatch, "cancel", now)


def supersede(dispatch: Dispatch, now: Instant, reason: str | None = None) -> Dispatch:
    """Cleared by an interrupt. The epoch stays the one it was queued under."""
    return _closed(dispatch, "supersede", now, error=reason)


def dead_letter(dispatch: Dispatch, now: Instant, error: str) -> Dispatch:
    """Given up at once; the attempts so far stay as they are."""
    return _closed(dispatch, "dead_letter", now, error=error)


def nack(dispatch: Dispatch, now: Instant, error: str, policy: RetryPolicy, retry_after_ms: int = 0) -> Dispatch:
    """Failed: back to the queue after the policy's delay, or to dead letter once the attempts are spent."""
    attempts = dispatch.attempt_count + 1
    if attempts >= dispatch.max_attempts:
        return replace(_closed(dispatch, "dead_letter", now, error=error), attempt_count=dispatch.max_attempts)
    delay_ms = policy.delay_ms(attempts, retry_after_ms, seed=dispatch.claim_token or "")
    requeued = _requeued(dispatch, "nack", now, now + delay_ms, "retry")
    return replace(requeued, attempt_count=attempts, last_error=error)


def expire(dispatch: Dispatch, now: Instant, *, charged: bool) -> Dispatch:
    """Its process died, or did not renew the lease in time: due at once.

    A run that kills its own process leaves no nack behind. `charged`: it was the only suspect that was executing, so
    this death spends one of its attempts; otherwise it only counts as a crash.
    """
    crashed = replace(dispatch, crash_count=dispatch.crash_count + 1)
    attempts = dispatch.attempt_count + charged
    if charged and attempts >= dispatch.max_attempts:
        closed = _closed(crashed, "dead_letter", now, error=LEASE_EXPIRED)
        return replace(closed, attempt_count=dispatch.max_attempts)
    return replace(_requeued(crashed, "expire", now, now, "takeover"), attempt_count=attempts)


def release(dispatch: Dispatch, now: Instant) -> Dispatch:
    """Handed back unharmed: due at once, no attempt spent."""
    return _requeued(dispatch, "release", now, now, "handover")


def placed(dispatch: Dispatch, now: Instant, priority: int, available_at: Instant) -> Dispatch:
    """Queued as before, in another place."""
    if dispatch.status is not QUEUED:
        raise ValidationError(f"dispatch {dispatch.dispatch_id!r} is {dispatch.status}, and its place is final")
    return replace(dispatch, priority=priority, available_at=available_at, updated_at=now)


def progressed(dispatch: Dispatch, now: Instant) -> Dispatch:
    """A step was closed: what failed before it counts no more. The same object where nothing did."""
    if not dispatch.attempt_count and not dispatch.crash_count:
        return dispatch
    return replace(dispatch, attempt_count=0, crash_count=0, updated_at=now)


def _requeued(dispatch: Dispatch, move: Move, now: Instant, available_at: Instant, why: Why) -> Dispatch:
    return replace(
        dispatch,
        status=_moved(dispatch, move),
        why=why,
        available_at=available_at,
        claim_token=None,
        claimed_by=None,
        lease_until=None,
        instance_id=None,
        updated_at=now,
    )


def _closed(dispatch: Dispatch, move: Move, now: Instant, error: str | None = None) -> Dispatch:
    return replace(
        dispatch,
        status=_moved(dispatch, move),
        last_error=dispatch.last_error if error is None else error,
        claim_token=None,
        claimed_by=None,
        lease_until=None,
        completed_at=now,
        updated_at=now,
    )


def _moved(dispatch: Dispatch, move: Move) -> DispatchStatus:
    status = DISPATCH_MOVES.get((dispatch.status, move))
    if status is None:
        raise ValidationError(f"dispatch {dispatch.dispatch_id!r} is {dispatch.status} and cannot {move}")
    return status
