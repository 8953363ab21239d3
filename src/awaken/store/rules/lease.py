"""Leases: taking back what has expired, extending what is held.

Above: the stores' set transitions. Below: the table of moves.
Source: spec/stores.md 2.7; the strict boundary: a lease ending exactly now still holds.
"""

from __future__ import annotations

from msgspec.structs import replace

from awaken.domain import dispatch as moves
from awaken.domain import server_event as say
from awaken.domain.clock import Instant
from awaken.domain.dispatch import CLAIMED, QUEUED, Dispatch, DispatchStatus
from awaken.domain.ids import Scope
from awaken.domain.log import Appended
from awaken.domain.run import CANCELLED, DONE
from awaken.store.rules.facts import Changes, Facts
from awaken.store.rules.writing import Log, after_failure, finish, requeue_ready, set_ready, touch
from awaken.store.transitions import Closed, Renewal


def reclaim(scope: Scope, facts: Facts, changes: Changes, now: Instant) -> tuple[Closed, tuple[Appended, ...]]:
    """Take back `facts.claimed`, whose lease has ended.

    Needs: thread, claimed, run, ready.
    """
    thread, dispatch, run = facts.thread, facts.claimed, facts.run
    assert thread is not None and dispatch is not None, "a reclaim starts from a claimed dispatch"
    touch(thread, changes, now)
    log = Log(thread, dispatch.run_id, now)
    if dispatch.epoch < thread.epoch:
        taken = moves.supersede(dispatch, now, "interrupted")
    elif run is not None and run.status is DONE:
        taken = moves.ack(dispatch, now)  # it was executed; whoever restored the file brought its claim back
    elif run is None or run.cancel_requested_at is not None:
        taken = moves.cancel(dispatch, now)
    else:
        taken = moves.expire(dispatch, now)
    if run is not None and run.status is not DONE:
        log.reset_stream(run)
        if taken.status in (DispatchStatus.SUPERSEDED, DispatchStatus.CANCELLED):
            log.add(say.finished(run, CANCELLED))
            run = finish(run, CANCELLED, log)
        else:
            error = taken.last_error or moves.LEASE_EXPIRED
            run = after_failure(taken, run, error, "expired_lease_reclaimed", log)
        changes.runs.append((scope, run))
    changes.dispatches.append((scope, dispatch, taken))
    if taken.status is QUEUED:
        thread.queued += 1
        requeue_ready(thread, taken, facts, now)
    else:
        set_ready(thread, facts.ready)
    return Closed(scope, taken, run), log.write(changes)


def renew(
    dispatch: Dispatch | None, epoch: int, stop: bool, token: str, lease_ms: int, now: Instant
) -> tuple[Renewal | None, Dispatch | None]:
    """The answer for one lease (None: lost), and the dispatch to write when it was extended."""
    if dispatch is None or dispatch.status is not CLAIMED or dispatch.claim_token != token:
        return None, None
    if dispatch.epoch < epoch:
        return Renewal(dispatch.dispatch_id, dispatch.lease_until, stop=True), None
    extended = replace(dispatch, lease_until=now + lease_ms, updated_at=now)
    return Renewal(dispatch.dispatch_id, extended.lease_until, stop=stop), extended
