"""Transitions over many threads: claim, reclaim, renew, purge.

Above: `batch`, after the transitions of single threads. Below: `facts`, the rules, `writing`.
Holds: a thread is decided from facts that show all that was done to it before. A thread whose rows are damaged is left
as it is, reported once, and keeps no other thread from being claimed or taken back.
"""

from __future__ import annotations

import logging
import sqlite3
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Final, assert_never

import msgspec

from awaken.domain.clock import Instant
from awaken.domain.dispatch import Dispatch
from awaken.domain.errors import DataIntegrity
from awaken.domain.ids import DispatchId, Scope
from awaken.domain.log import Appended
from awaken.store import rules
from awaken.store.rules import Changes, Facts
from awaken.store.sqlite.cache import ThreadCache, ThreadKey
from awaken.store.sqlite.facts import FactLoader
from awaken.store.sqlite.queries import SQL
from awaken.store.sqlite.rows import Row, dispatch_from
from awaken.store.sqlite.writing import put, write
from awaken.store.transitions import (
    MAX_ROWS,
    Claim,
    Claimed,
    ClaimedSome,
    Closed,
    LeaseRef,
    Outcome,
    Purge,
    Purged,
    Reclaim,
    Reclaimed,
    Renew,
    Renewal,
    Renewed,
    SetTransition,
)

_LONG_AGO: Final = -(1 << 63)
_log = logging.getLogger("awaken.store")
_Lease = tuple[Dispatch, int, bool]


class ThreadSets:
    """Works on the writer's connection, inside its transaction."""

    def __init__(self, db: sqlite3.Connection, loader: FactLoader, cache: ThreadCache) -> None:
        self._db = db
        self._loader = loader
        self._cache = cache
        self._reported: set[ThreadKey] = set()

    def apply(self, t: SetTransition, now: Instant) -> Outcome:
        match t:
            case Renew():
                return self._renew(t, now)
            case Claim():
                return self._claim(t, now)
            case Reclaim():
                return self._reclaim(t, now)
            case Purge():
                return self._purge(t, now)
            case _:
                assert_never(t)

    # --- claim --------------------------------------------------------------------------------------------------------

    def _claim(self, t: Claim, now: Instant) -> ClaimedSome:
        claims: list[Claimed] = []
        closed: list[Closed] = []
        appended: list[Appended] = []
        changes = Changes()
        if t.offers:
            for key in self._due_threads(len(t.offers), now):
                changes = self._claim_in(key, t, now, changes, claims, closed, appended)
                if len(claims) == len(t.offers):
                    break
        self._write(changes)
        # With an offer left everything due was looked at; what is due still is damaged, and nothing to wait for.
        due_left = 0 if len(claims) < len(t.offers) else self._count_due(now)
        next_at = None if due_left else next_due_at(self._db, now)
        return ClaimedSome(tuple(claims), tuple(closed), due_left, next_at, tuple(appended))

    def _count_due(self, now: Instant) -> int:
        """How many threads have something due, counted up to `MAX_ROWS`."""
        count = 0
        for (priority,) in self._db.execute(_PRIORITIES).fetchall():
            of_it = {"priority": priority, "now": now, "limit": MAX_ROWS - count}
            count += self._db.execute(_COUNT_DUE, of_it).fetchone()[0]
        return count

    def _claim_in(
        self,
        key: ThreadKey,
        t: Claim,
        now: Instant,
        changes: Changes,
        claims: list[Claimed],
        closed: list[Closed],
        appended: list[Appended],
    ) -> Changes:
        """Take the next dispatch of one thread; what may not run any more is closed on the way to it.

        Gives back what is still to be written: threads know nothing of each other, so their claims are written
        together; only before the same thread is read again must its changes be in the database.
        """
        offer = t.offers[len(claims)]
        while True:
            facts = self._sound_facts(key, now, self._loader.claim_facts)
            if facts is None or facts.next is None or facts.claimed is not None:
                return changes
            taken, rows = rules.claim_next(key[0], offer, facts, changes, now)
            appended += rows
            if isinstance(taken, Claimed):
                claims.append(taken)
                return changes
            closed.append(taken)
            self._write(changes)
            changes = Changes()

    def _due_threads(self, page: int, now: Instant) -> Iterator[ThreadKey]:
        """Threads with something due, by priority, then by how long, then by id; cached a page at a time."""
        for (priority,) in self._db.execute(_PRIORITIES).fetchall():
            place = {
                "priority": priority,
                "now": now,
                "limit": page,
                "after_ready_at": _LONG_AGO,
                "after_thread_id": "",
                "after_scope": "",
            }
            while True:
                rows: list[Row] = self._db.execute(_DUE_THREADS, place).fetchall()
                keys: list[ThreadKey] = [(scope, thread_id) for _, thread_id, scope in rows]
                yield from self._readable(keys)
                if len(rows) < page:
                    break
                place["after_ready_at"], place["after_thread_id"], place["after_scope"] = rows[-1]

    # --- leases -------------------------------------------------------------------------------------------------------

    def _reclaim(self, t: Reclaim, now: Instant) -> Reclaimed:
        wanted = {"abandoned": t.abandoned, "now": now, "limit": t.limit + 1}
        expired: list[ThreadKey] = self._db.execute(_EXPIRED, wanted).fetchall()
        items: list[Closed] = []
        appended: list[Appended] = []
        for key in self._readable(expired[: t.limit]):
            facts = self._sound_facts(key, now, self._loader.reclaim_facts)
            if facts is not None:
                changes = Changes()
                item, rows = rules.reclaim(key[0], facts, changes, now)
                self._write(changes)
                items.append(item)
                appended += rows
        return Reclaimed(tuple(items), bool(items) and len(expired) > t.limit, tuple(appended))

    def _renew(self, t: Renew, now: Instant) -> Renewed:
        leases = t.leases[:MAX_ROWS]
        found = self._leases(leases)
        changes = Changes()
        renewals: list[Renewal] = []
        for lease in leases:
            dispatch, epoch, stop = found.get((lease.scope, lease.dispatch_id), (None, 0, False))
            renewal, extended = rules.renew(dispatch, epoch, stop, lease.token, t.lease_ms, now)
            if dispatch is not None and extended is not None:
                changes.dispatches.append((lease.scope, dispatch, extended))
            renewals.append(renewal or Renewal(lease.dispatch_id, None, stop=False))
        self._write(changes)
        return Renewed(tuple(renewals))

    def _leases(self, leases: tuple[LeaseRef, ...]) -> dict[tuple[Scope, DispatchId], _Lease]:
        asked: dict[Scope, list[DispatchId]] = {}
        for lease in leases:
            asked.setdefault(lease.scope, []).append(lease.dispatch_id)
        found: dict[tuple[Scope, DispatchId], _Lease] = {}
        for scope, ids in asked.items():
            wanted = {"scope": scope, "dispatch_ids": msgspec.json.encode(ids).decode()}
            for row in self._db.execute(_LEASES, wanted):
                *columns, epoch, cancel_requested_at = row
                dispatch = dispatch_from(tuple(columns))
                found[scope, dispatch.dispatch_id] = (dispatch, epoch or 0, cancel_requested_at is not None)
        return found

    # --- retention ----------------------------------------------------------------------------------------------------

    def _purge(self, t: Purge, now: Instant) -> Purged:
        wanted = {"before": now - t.retention_ms, "limit": t.limit}
        old: list[tuple[Any, Any, Any]] = self._db.execute(_PURGEABLE, wanted).fetchall()
        if old:
            put(self._db, _DELETE_DISPATCH, [(scope, dispatch_id) for scope, dispatch_id, _ in old])
            self._db.executemany(_DELETE_JOURNAL, [(scope, run_id) for scope, _, run_id in old])
        return Purged(len(old))

    def _write(self, changes: Changes) -> None:
        write(self._db, changes)
        self._cache.follow(changes)

    # --- damage -------------------------------------------------------------------------------------------------------

    def _readable(self, keys: Sequence[ThreadKey]) -> list[ThreadKey]:
        """Those of the threads whose rows can be read, now in the cache."""
        try:
            self._loader.held(keys)
        except DataIntegrity:
            return [key for key in keys if self._is_sound(key)]
        return [*keys]

    def _is_sound(self, key: ThreadKey) -> bool:
        try:
            self._loader.held([key])
        except DataIntegrity as error:
            self._report(key, error)
            return False
        return True

    def _sound_facts(self, key: ThreadKey, now: Instant, load: Callable[[ThreadKey, Instant], Facts]) -> Facts | None:
        try:
            return load(key, now)
        except DataIntegrity as error:
            self._report(key, error)
            return None

    def _report(self, key: ThreadKey, error: DataIntegrity) -> None:
        if key not in self._reported:
            self._reported.add(key)
            _log.error("thread %r stands still until it is repaired: %s", key[1], error)


def next_due_at(db: sqlite3.Connection, after: Instant = _LONG_AGO) -> Instant | None:
    """When, later than `after`, the next thing can be claimed or, a millisecond after its lease, reclaimed."""
    priorities = db.execute(_PRIORITIES).fetchall()
    due: list[Instant | None] = [
        db.execute(_FIRST_READY, {"priority": each, "after": after}).fetchone()[0] for (each,) in priorities
    ]
    [lease_until] = db.execute(_FIRST_LEASE_END, {"after": after}).fetchone()
    due.append(None if lease_until is None else lease_until + 1)
    return min([each for each in due if each is not None], default=None)


_PRIORITIES = SQL["ready_priorities"]
_DUE_THREADS = SQL["due_threads"]
_COUNT_DUE = SQL["count_due"]
_FIRST_READY = SQL["first_ready_at"]
_FIRST_LEASE_END = SQL["first_lease_end"]
_EXPIRED = SQL["expired_claims"]
_LEASES = SQL["leases"]
_PURGEABLE = SQL["purgeable"]
_DELETE_DISPATCH = SQL["delete_dispatch"]
_DELETE_JOURNAL = SQL["delete_journal"]
