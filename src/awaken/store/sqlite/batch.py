"""Applies a batch in one transaction: read, decide, write; and if that meets a surprise, item by item.

Above: `writer` calls `apply` in its thread. Below: `facts`, the rules, `writing`, and `sets` for many threads.
Holds: all of a batch is committed or none of it is. One item's surprise (a taken id, a damaged row, a bug) costs the
others only time: the batch is rolled back and each item is replayed in a savepoint of its own, looking carefully.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final, cast

from awaken.domain.clock import Clock, Instant
from awaken.domain.errors import DataIntegrity
from awaken.store import rules
from awaken.store.rules import Changes, ThreadRow
from awaken.store.sqlite.cache import ThreadCache
from awaken.store.sqlite.facts import FactLoader
from awaken.store.sqlite.faults import translated
from awaken.store.sqlite.queries import SQL
from awaken.store.sqlite.sets import ThreadSets
from awaken.store.sqlite.writing import Overtaken, write, write_infos
from awaken.store.transitions import (
    Claim,
    Failed,
    Outcome,
    Purge,
    Reclaim,
    Renew,
    Submit,
    ThreadSaved,
    ThreadTransition,
    Transition,
)

_SETS: Final = (Renew, Reclaim, Claim, Purge)
_DATA_VERSION: Final = SQL["data_version"]


class Transactor:
    """Owns the writing connection and what is remembered of it. Used by one thread."""

    def __init__(self, db: sqlite3.Connection, path: Path, clock: Clock) -> None:
        self._db = db
        self._path = path
        self._clock = clock
        self._cache = ThreadCache()
        self._loader = FactLoader(db, self._cache)
        self._sets = ThreadSets(db, self._loader, self._cache)
        self._data_version = 0

    def open(self) -> None:
        """Called once, in the thread that will call `apply`, before the store counts as open."""
        [self._data_version] = self._db.execute(_DATA_VERSION).fetchone()

    def apply(self, batch: Sequence[Transition], before_commit: Callable[[], None]) -> list[Outcome]:
        """One outcome per item, committed. `before_commit` is called when nothing but the commit is left.

        Raises:
            StoreUnavailable, DataIntegrity: The database could not do it, and nothing changed.
        """
        now = self._clock.now()
        try:
            outcomes = self._in_transaction(batch, now)
            before_commit()
            self._db.execute("COMMIT")
        except sqlite3.Error as error:
            self._undo()
            raise translated(error, self._path) from error
        except BaseException:
            self._undo()
            raise
        self._cache.trim()
        return outcomes

    def _in_transaction(self, batch: Sequence[Transition], now: Instant) -> list[Outcome]:
        self._begin()
        try:
            outcomes = self._together(batch, now)
        except sqlite3.Error:
            raise
        except Exception:  # whatever it was, the replay finds whose it is
            self._undo()
            self._begin()
            outcomes = [self._alone(t, now) for t in batch]
        return outcomes

    def _begin(self) -> None:
        self._db.execute("BEGIN IMMEDIATE")
        [version] = self._db.execute(_DATA_VERSION).fetchone()
        if version != self._data_version:  # somebody has written to the file from outside
            self._data_version = version
            self._cache.clear()

    def _undo(self) -> None:
        self._cache.clear()
        if self._db.in_transaction:
            self._db.execute("ROLLBACK")

    def _together(self, batch: Sequence[Transition], now: Instant) -> list[Outcome]:
        count = len(batch)
        while count and isinstance(batch[count - 1], _SETS):
            count -= 1  # those over many threads come last
        singles = cast("Sequence[ThreadTransition]", batch[:count])
        _check_ids(singles)
        outcomes = self._decide_all(singles, now, careful=False)
        for t in batch[count:]:
            outcomes.append(self._one(t, now, careful=False))
        return outcomes

    def _alone(self, t: Transition, now: Instant) -> Outcome:
        self._db.execute("SAVEPOINT item")
        try:
            outcome = self._one(t, now, careful=True)
        except sqlite3.Error:
            raise
        except Exception as error:  # the item's own failure: its caller hears it, its neighbours do not
            self._cache.clear()
            self._db.execute("ROLLBACK TO item")
            outcome = Failed(_explained(error))
        self._db.execute("RELEASE item")
        return outcome

    def _one(self, t: Transition, now: Instant, *, careful: bool) -> Outcome:
        if isinstance(t, _SETS):
            return self._sets.apply(t, now)
        return self._decide_all([t], now, careful=careful)[0]

    def _decide_all(self, items: Sequence[ThreadTransition], now: Instant, *, careful: bool) -> list[Outcome]:
        held = self._loader.held([(t.scope, t.thread_id) for t in items])
        changes = Changes()
        replaced: list[ThreadRow] = []
        outcomes: list[Outcome] = []
        for t, known in zip(items, held, strict=True):
            facts = self._loader.load(t, known, now, careful=careful)
            outcome = rules.decide(t, facts, changes, now)
            if type(outcome) is ThreadSaved and outcome.appended and facts.thread is not None:
                replaced.append(facts.thread)
            outcomes.append(outcome)
        write(self._db, changes)
        write_infos(self._db, replaced)
        self._cache.follow(changes)
        return outcomes


def _check_ids(items: Sequence[ThreadTransition]) -> None:
    """Raises Overtaken when two submits of one batch bring the same id: the second must see what the first did."""
    brought = [t for t in items if type(t) is Submit and not t.fresh_ids]
    if len(brought) > 1:
        runs = {(t.scope, t.run_id) for t in brought}
        dispatches = {(t.scope, t.dispatch_id) for t in brought}
        if len(runs) < len(brought) or len(dispatches) < len(brought):
            raise Overtaken("an id appears twice in the batch")


def _explained(error: Exception) -> Exception:
    """A write that is refused although every fact was looked at means that rows contradict each other."""
    return DataIntegrity(f"the stored rows contradict each other: {error}") if isinstance(error, Overtaken) else error
