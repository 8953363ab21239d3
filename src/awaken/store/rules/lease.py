"""Claims of processes that are gone: taking them back, and extending what is held.

Above: the stores, for `Reclaim` and `Renew`, and an exclusive store when it is opened. Below: the table of moves.
Holds: a lease ending exactly now still holds. Who is to blame for the death of a process is not known, so a death costs
nobody an attempt but the one suspect that was executing when it was the only one.

Source: ADR 0010, 0023.
"""

from __future__ import annotations

from msgspec.structs import replace

from awaken.domain import dispatch as moves
from awaken.domain.clock import Instant
from awaken.domain.dead_letter import PROCESS_DIED
from awaken.domain.dispatch import CLAIMED, QUEUED, RECLAIMED, DispatchStatus
from awaken.domain.ids import ClaimToken
from awaken.domain.log import Appended
from awaken.domain.run import CANCELLED, DONE
from awaken.store.rules.asks import Expired, Lease, Leases, Load, Rule, SuspectsHeld, Write, ask
from awaken.store.rules.ending import after_failure, executed, finish
from awaken.store.rules.facts import Changes, Facts, ThreadKey
from awaken.store.rules.needs import of_reclaim
from awaken.store.rules.writing import Log, set_ready, touch
from awaken.store.transitions import MAX_ROWS, Closed, LeaseRef, Reclaim, Reclaimed, Renew, Renewal, Renewed


def reclaim_some(t: Reclaim, changes: Changes, now: Instant) -> Rule[Reclaimed]:
    """The rule of `Reclaim`."""
    expired = yield from ask(Expired(now, t.abandoned, t.limit + 1, t.consumer))
    taken = expired[: t.limit]
    alone: set[str] = set()
    if not t.continued and taken:
        held = yield from ask(SuspectsHeld(tuple(dict.fromkeys([consumer for _, consumer in taken]))))
        alone = {consumer for consumer, count in held.items() if count == 1}
    back = yield from _take_back(tuple([key for key, _ in taken]), changes, now, alone)
    appended = tuple([row for _, rows in back for row in rows])
    return Reclaimed(tuple([item for item, _ in back]), bool(back) and len(expired) > t.limit, appended)


_TakenBack = list[tuple[Closed, tuple[Appended, ...]]]


def _take_back(keys: tuple[ThreadKey, ...], changes: Changes, now: Instant, alone: set[str]) -> Rule[_TakenBack]:
    found = yield from ask(Load(tuple([of_reclaim(key) for key in keys]), now))
    back: _TakenBack = []
    for facts in found:
        if isinstance(facts, Facts) and facts.thread is not None and facts.claimed is not None:
            back.append(reclaim_one(facts, changes, now, alone))
    refused = yield from ask(Write(changes, keys))
    if refused is None:
        return back
    back = []
    for key in keys if len(keys) > 1 else ():
        back += yield from _take_back((key,), changes, now, alone)
    return back


def reclaim_one(facts: Facts, changes: Changes, now: Instant, alone: set[str]) -> tuple[Closed, tuple[Appended, ...]]:
    """End the claim of a thread. `alone`: consumers that held one suspect, who is to blame."""
    thread, dispatch, run = facts.thread, facts.claimed, facts.run
    assert thread is not None and dispatch is not None, "a reclaim starts from a claimed dispatch"
    touch(thread, changes, now)
    log = Log(thread, dispatch.run_id, dispatch.dispatch_id, now)
    if dispatch.epoch < thread.epoch:
        taken = moves.supersede(dispatch, now, "interrupted")
    elif run is not None and run.status is DONE:
        taken = moves.ack(dispatch, now)  # it was executed; whoever restored the file brought its claim back
    elif run is None or run.cancel_requested_at is not None:
        taken = moves.cancel(dispatch, now)
    else:
        taken = moves.expire(dispatch, now, charged=dispatch.is_suspect and dispatch.claimed_by in alone)
    if run is not None and run.status is not DONE:
        log.reset_stream(run)
        run = replace(executed(run, dispatch, log), stream_open=False)
        if taken.status in (DispatchStatus.SUPERSEDED, DispatchStatus.CANCELLED):
            run = finish(run, CANCELLED, thread, facts, changes, log, cause="owner_lost")
        else:
            reason = RECLAIMED
            run = after_failure(taken, run, reason, thread, facts, changes, log, PROCESS_DIED)
        changes.runs.append((thread, run))
    changes.dispatches.append((thread, dispatch, taken))
    appended = log.write(changes)
    if taken.status is QUEUED:
        thread.queued += 1
        set_ready(thread, facts, now, taken)
    else:
        set_ready(thread, facts, now)
    return Closed(thread.scope, taken, run), appended


def renew_some(t: Renew, changes: Changes, now: Instant) -> Rule[Renewed]:
    """The rule of `Renew`: it reads and writes dispatches alone, so that a thread's row is never in its way."""
    refs = t.leases[:MAX_ROWS]
    leases = yield from ask(Leases(refs))
    renewals = [_renew(ref, lease, t.lease_ms, changes, now) for ref, lease in zip(refs, leases, strict=True)]
    yield from ask(Write(changes))
    return Renewed(tuple(renewals))


def _renew(ref: LeaseRef, lease: Lease | None, lease_ms: int, changes: Changes, now: Instant) -> Renewal:
    dispatch = None if lease is None else lease.dispatch
    if lease is None or dispatch is None or not _holds(dispatch.claim_token, ref.token):
        return Renewal(ref.dispatch_id, None, stop=False)
    if dispatch.status is not CLAIMED or dispatch.lease_until is None:
        return Renewal(ref.dispatch_id, None, stop=False)
    if dispatch.epoch < lease.epoch:
        return Renewal(ref.dispatch_id, max(dispatch.lease_until - now, 0), stop=True)
    extended = replace(dispatch, lease_until=now + lease_ms, updated_at=now)
    changes.leases.append((ref.scope, dispatch, extended))
    return Renewal(ref.dispatch_id, lease_ms, stop=lease.stop, extended=True)


def _holds(token: ClaimToken | None, asked: ClaimToken) -> bool:
    return token is not None and token == asked
