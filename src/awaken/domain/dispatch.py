"""Dispatches: the queue entries that ask for a run to be executed, and the only table by which they change.

A record-level move checks the table and returns the new record; stores write it, they do not decide it.

Source: spec/stores.md 1.3 and 2; MB-001 to MB-017.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Final, Literal

import msgspec
from msgspec.structs import replace

from awaken.domain.clock import Instant
from awaken.domain.errors import DataIntegrity, ValidationError
from awaken.domain.ids import ClaimToken, ConsumerId, DispatchId, InstanceId, RunId, ThreadId
from awaken.domain.retry import RetryPolicy

DEFAULT_PRIORITY: Final = 128
DEFAULT_MAX_ATTEMPTS: Final = 5
LEASE_EXPIRED: Final = "lease expired; max attempts reached"


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

DISPATCH_MOVES: Final[dict[tuple[DispatchStatus, Move], DispatchStatus]] = {
    (QUEUED, "claim"): CLAIMED,
    (QUEUED, "cancel"): DispatchStatus.CANCELLED,
    (QUEUED, "supersede"): DispatchStatus.SUPERSEDED,
    (QUEUED, "dead_letter"): DispatchStatus.DEAD_LETTER,  # only when its run or a message of it is gone
    (CLAIMED, "ack"): ACKED,
    (CLAIMED, "nack"): QUEUED,  # or dead letter, when the attempts are spent
    (CLAIMED, "expire"): QUEUED,  # likewise
    (CLAIMED, "release"): QUEUED,
    (CLAIMED, "dead_letter"): DispatchStatus.DEAD_LETTER,
    (CLAIMED, "cancel"): DispatchStatus.CANCELLED,
    (CLAIMED, "supersede"): DispatchStatus.SUPERSEDED,
}
"""Every change of status a dispatch can make. A claimed one is cancelled only by its owner or by a reclaim."""


class Dispatch(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """One delivery order. Claim fields are all set while claimed and all absent otherwise."""

    dispatch_id: DispatchId
    thread_id: ThreadId
    run_id: RunId
    status: DispatchStatus
    priority: int
    position: int
    """Place in the thread's order of submission; given once, so order never depends on a clock."""
    epoch: int
    available_at: Instant
    created_at: Instant
    updated_at: Instant
    max_attempts: int = DEFAULT_MAX_ATTEMPTS
    attempt_count: int = 0
    """Failures since the last progress."""
    dedupe_key: str | None = None
    last_error: str | None = None
    claim_token: ClaimToken | None = None
    claimed_by: ConsumerId | None = None
    lease_until: Instant | None = None
    instance_id: InstanceId | None = None
    """The execution that last held it; kept after the end for diagnosis."""
    completed_at: Instant | None = None

    def check(self) -> None:
        """The shape a stored dispatch has.

        Raises:
            DataIntegrity: The record contradicts itself.
        """
        claim = (self.claim_token, self.claimed_by, self.lease_until)
        claimed = self.status is CLAIMED
        if claimed != all(field is not None for field in claim) or (not claimed and any(f is not None for f in claim)):
            raise DataIntegrity(f"dispatch {self.dispatch_id!r}: {self.status} and its claim fields disagree")
        if self.status.is_terminal != (self.completed_at is not None):
            raise DataIntegrity(f"dispatch {self.dispatch_id!r}: {self.status} and completed_at disagree")
        if not (self.dispatch_id.strip() and self.thread_id.strip() and self.run_id.strip()):
            raise DataIntegrity(f"dispatch {self.dispatch_id!r}: an id is blank")
        if not 0 <= self.attempt_count <= self.max_attempts or self.max_attempts < 1:
            raise DataIntegrity(f"dispatch {self.dispatch_id!r}: {self.attempt_count} of {self.max_attempts} attempts")


def claim(
    dispatch: Dispatch,
    *,
    consumer: ConsumerId,
    token: ClaimToken,
    instance_id: InstanceId,
    lease_until: Instant,
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
    delay_ms = policy.delay_ms(attempts, retry_after_ms)
    return replace(_requeued(dispatch, "nack", now, now + delay_ms), attempt_count=attempts, last_error=error)


def expire(dispatch: Dispatch, now: Instant) -> Dispatch:
    """The lease ended. A run that kills its own process leaves no nack behind, so this spends an attempt too."""
    attempts = dispatch.attempt_count + 1
    if attempts >= dispatch.max_attempts:
        closed = _closed(dispatch, "dead_letter", now, error=LEASE_EXPIRED)
        return replace(closed, attempt_count=dispatch.max_attempts)
    return replace(_requeued(dispatch, "expire", now, now), attempt_count=attempts)


def release(dispatch: Dispatch, now: Instant) -> Dispatch:
    """Handed back unharmed: due at once, no attempt spent."""
    return _requeued(dispatch, "release", now, now)


def _requeued(dispatch: Dispatch, move: Move, now: Instant, available_at: Instant) -> Dispatch:
    return replace(
        dispatch,
        status=_moved(dispatch, move),
        available_at=available_at,
        claim_token=None,
        claimed_by=None,
        lease_until=None,
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
