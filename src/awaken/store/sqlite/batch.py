"""Applies a batch in one transaction: load, decide, write; and if that meets a surprise, item by item.

Above: `writer` calls `open` and `apply` in its thread. Below: `facts`, the rules, `writing`; `asks` for many threads.
Holds: all of a batch is committed or none of it is. One item's surprise (a taken id, a damaged row, a bug) costs the
others only time: the batch is rolled back and each item is replayed in a savepoint of its own, looking carefully.
"""

from __future__ import annotations

import logging
import sqlite3
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final, cast, get_args

from awaken.domain.clock import Clock, Instant
from awaken.domain.errors import DataIntegrity
from awaken.store import rules
from awaken.store.batches import REFUSALS, Overtaken, check_ids, check_lineage
from awaken.store.given_up import report_given_up
from awaken.store.rules import asks
from awaken.store.rules.facts import Changes, Numbers
from awaken.store.rules.needs import needs
from awaken.store.sqlite.asks import Answers
from awaken.store.sqlite.cache import ThreadCache
from awaken.store.sqlite.facts import FactLoader
from awaken.store.sqlite.faults import translated
from awaken.store.sqlite.queries import SQL
from awaken.store.sqlite.writing import RowNumbers, write
from awaken.store.transitions import (
    Failed,
    Outcome,
    Reclaim,
    Reclaimed,
    SetTransition,
    ThreadTransition,
    Transition,
)

_log = logging.getLogger("awaken.store")
_SETS: Final = get_args(SetTransition)
_OF_A_VALUE: Final = (sqlite3.InterfaceError, sqlite3.ProgrammingError)
"""What the library raises for a value that no column can hold: that is the item's own failure, not the database's."""
_DATA_VERSION: Final = SQL["data_version"]
_LAST_NUMBERS: Final = SQL["last_numbers"]
_TRIED_BYTES: Final = 256 * 1024
"""Room for what one batch usually takes."""


class Transactor:
    """Owns the writing connection and what is remembered of it. Used by one thread."""

    def __init__(self, db: sqlite3.Connection, path: Path, clock: Clock) -> None:
        self._db = db
        self._path = path
        self._clock = clock
        self._cache = ThreadCache()
        self._loader = FactLoader(db, self._cache)
        self._answers = Answers(db, self._loader, self._write_some)
        self._numbers = Numbers()
        self._rows = RowNumbers()
        self._data_version = -1
        self._careful = False

    def open(self) -> None:
        """Take back every claim: whoever made it is dead, since this process owns the file now.

        Raises:
            StoreUnavailable, DataIntegrity: The database could not do it.
        """
        count, more = 0, True
        while more:
            [taken] = self.apply([Reclaim(abandoned=True, continued=count > 0)], lambda: None)
            if isinstance(taken, Failed):
                raise taken.error
            assert isinstance(taken, Reclaimed), "a reclaim answers with what it took back"
            count, more = count + len(taken.items), taken.more
            for item in taken.items:
                report_given_up(item.dispatch)
        if count:
            _log.info("database %s: took over %d unfinished dispatches", self._path, count)

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

    def try_to_write(self) -> None:
        """Write what changes nothing: whether there is room for more, and whether a commit reaches the disk.

        Raises:
            StoreUnavailable, DataIntegrity: There is not, or it does not.
        """
        try:
            [version] = self._db.execute("PRAGMA user_version").fetchone()
            self._db.execute("BEGIN IMMEDIATE")
            self._db.execute("SAVEPOINT room")
            self._db.execute(f"CREATE TABLE room AS SELECT zeroblob({_TRIED_BYTES})")
            self._db.execute("ROLLBACK TO room")
            self._db.execute(f"PRAGMA user_version = {version}")
            self._db.execute("COMMIT")
        except sqlite3.Error as error:
            self._undo()
            raise translated(error, self._path) from error

    def _in_transaction(self, batch: Sequence[Transition], now: Instant) -> list[Outcome]:
        self._begin()
        try:
            outcomes = self._together(batch, now)
        except Exception as error:  # whatever it was, the replay finds whose it is
            if isinstance(error, sqlite3.Error) and not isinstance(error, _OF_A_VALUE):
                raise
            self._undo()
            self._begin()
            outcomes = [self._alone(t, now) for t in batch]
        return outcomes

    def _begin(self) -> None:
        self._db.execute("BEGIN IMMEDIATE")
        [version] = self._db.execute(_DATA_VERSION).fetchone()
        if version != self._data_version:  # somebody has written to the file from outside, or nothing is known yet
            self._data_version = version
            self._forget()

    def _undo(self) -> None:
        """Whatever has been remembered since the transaction began may not be so."""
        self._data_version = -1
        if self._db.in_transaction:
            self._db.execute("ROLLBACK")

    def _forget(self) -> None:
        """Inside a transaction: remember nothing but the numbers that have been given."""
        self._cache.clear()
        last, self._rows.message, self._rows.events = self._db.execute(_LAST_NUMBERS).fetchone()
        self._numbers.last = last

    def _together(self, batch: Sequence[Transition], now: Instant) -> list[Outcome]:
        count = len(batch)
        while count and isinstance(batch[count - 1], _SETS):
            count -= 1  # those over many threads come last
        singles = cast("Sequence[ThreadTransition]", batch[:count])
        check_ids(singles)
        check_lineage(singles)
        outcomes = self._decide_all(singles, now, careful=False)
        for t in batch[count:]:
            outcomes.append(self._one(t, now, careful=False))
        return outcomes

    def _alone(self, t: Transition, now: Instant) -> Outcome:
        self._db.execute("SAVEPOINT item")
        try:
            outcome = self._one(t, now, careful=True)
        except Exception as error:  # the item's own failure: its caller is answered with it, its neighbours are not
            if isinstance(error, sqlite3.Error) and not isinstance(error, _OF_A_VALUE):
                raise
            self._db.execute("ROLLBACK TO item")
            self._forget()
            outcome = Failed(_explained(error))
        self._db.execute("RELEASE item")
        return outcome

    def _one(self, t: Transition, now: Instant, *, careful: bool) -> Outcome:
        if isinstance(t, _SETS):
            self._careful = careful
            changes = Changes(numbers=self._numbers)
            return asks.run(rules.apply_to_many(cast("SetTransition", t), changes, now), self._answers.answer)
        return self._decide_all([cast("ThreadTransition", t)], now, careful=careful)[0]

    def _decide_all(self, items: Sequence[ThreadTransition], now: Instant, *, careful: bool) -> list[Outcome]:
        changes = Changes(numbers=self._numbers)
        outcomes: list[Outcome] = []
        for t in items:
            facts = self._loader.load(needs(t, careful=careful), now)
            outcome = rules.apply(t, facts, changes, now)
            if not careful and type(outcome) in REFUSALS:
                # Nothing of it meets a constraint, which would have shown that it had been accepted before.
                outcome = rules.apply(t, self._loader.load(needs(t), now), changes, now)
            outcomes.append(outcome)
        self._write(changes)
        return outcomes

    def _write_some(self, changes: Changes) -> DataIntegrity | None:
        """For a rule over many threads: in a replay, what cannot be written is an answer instead of an error."""
        if not self._careful:
            self._write(changes)
            return None
        self._db.execute("SAVEPOINT some")
        try:
            self._write(changes)
            refused = None
        except Overtaken as error:
            self._db.execute("ROLLBACK TO some")
            self._forget()
            changes.clear()
            refused = DataIntegrity(f"its rows contradict each other: {error}")
        self._db.execute("RELEASE some")
        return refused

    def _write(self, changes: Changes) -> None:
        write(self._db, changes, self._rows)
        self._cache.follow(changes)
        changes.clear()


def _explained(error: Exception) -> Exception:
    """A write that is refused although every fact was looked at means that rows contradict each other; unless it was
    refused for what it would have written.
    """
    if not isinstance(error, Overtaken):
        return error
    cause = error.__cause__
    if isinstance(cause, Exception) and not isinstance(cause, sqlite3.IntegrityError):
        return cause
    return DataIntegrity(f"the stored rows contradict each other: {error}")
