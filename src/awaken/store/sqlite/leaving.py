"""A database file whose data goes to another database: owned, read in slices, and closed for good at the end.

Above: `store.moving`. Below: `lock`, `checkpoint` and `batch` open the file as for serving; `moved` has its mark.
Holds: the file is this process's from before it is looked at until it is left, so nothing changes in it meanwhile.
Claims that its last owner left are taken back first.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Generator
from contextlib import ExitStack, closing
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self

from awaken.domain.clock import Clock, Instant
from awaken.store.moving import TABLES, Key, Mark, Numbers
from awaken.store.rows import Row
from awaken.store.sqlite import moved
from awaken.store.sqlite.batch import Transactor
from awaken.store.sqlite.checkpoint import WAL_LIMIT_BYTES, checkpointed
from awaken.store.sqlite.faults import translated
from awaken.store.sqlite.inspection import check_file, check_openable
from awaken.store.sqlite.lock import FileLock
from awaken.store.sqlite.moved import SQL, moved_away
from awaken.store.sqlite.opening import absolute, check_library, check_place, open_reader
from awaken.store.sqlite.queries import SQL as QUERIES

_KEYS: Final[dict[str, tuple[str, ...]]] = {
    "journal": ("run", "key"), "spans": ("thread", "event_seq"), "states": ("thread",),
}  # fmt: skip
_KEY: Final = ("no",)


class Leaving:
    """Entered means owned, at the present schema, and without claims; or, where it has moved already, only owned."""

    def __init__(self, path: str | Path, clock: Clock, *, looks_only: bool = False) -> None:
        """`looks_only`: take, make and change nothing, and refuse what opening it would refuse; it may be served.

        Raises:
            ValidationError: It is no path.
        """
        self._path = absolute(path)
        self.name = str(self._path)
        self._clock = clock
        self._looks_only = looks_only
        self._opened = ExitStack()
        self._db: sqlite3.Connection | None = None
        self._mark: Mark | None = None

    @property
    def mark(self) -> Mark | None:
        return self._mark

    def __enter__(self) -> Self:
        """Raises StoreUnavailable or DataIntegrity where the file cannot be moved; the message says why."""
        check_library()
        check_file(self._path)
        with ExitStack() as opening:
            try:
                self._look(opening) if self._looks_only else self._own(opening)
            except sqlite3.Error as error:
                raise translated(error, self._path) from error
            self._opened = opening.pop_all()
        return self

    def _look(self, opening: ExitStack) -> None:
        check_openable(self._path, may_be_served=True)
        self._db = opening.enter_context(closing(open_reader(self._path)))
        self._mark = moved.load_mark(self._db)

    def _own(self, opening: ExitStack) -> None:
        check_place(self._path)
        lock = FileLock(self._path)
        lock.take(self._clock, moves=True)
        opening.callback(lock.release)
        with closing(open_reader(self._path)) as reader:
            self._mark = moved.load_mark(reader)
        if self._mark is not None and self._mark.ended_at is not None:
            return
        db, _ = opening.enter_context(checkpointed(self._path, "full", WAL_LIMIT_BYTES, lock))
        Transactor(db, self._path, self._clock).open()
        self._db = db

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._db = None
        self._opened.close()

    @property
    def _open(self) -> sqlite3.Connection:
        assert self._db is not None, "entered, and not moved before"
        return self._db

    def refusal(self, mark: Mark) -> Exception:
        return moved_away(self._path, mark)

    def begin(self, mark: Mark) -> None:
        moved.begin_mark(self._open, mark)
        self._mark = mark

    def end(self, now: Instant) -> None:
        moved.end_mark(self._open, now)

    def counts(self) -> dict[str, int]:
        found: dict[str, int] = {}
        for name in TABLES:
            [found[name]] = self._one(SQL[f"count_{name}"])
        return found

    def numbers(self) -> Numbers:
        return Numbers(*self._one(QUERIES["last_numbers"]))

    def rows(self, table: str, after: Key) -> Generator[Row]:
        names = _KEYS.get(table, _KEY)
        try:
            yield from self._open.execute(SQL[table], dict(zip(names, after, strict=True)))
        except sqlite3.Error as error:
            raise translated(error, self._path) from error

    def _one(self, statement: str) -> Any:
        try:
            return self._open.execute(statement).fetchone()
        except sqlite3.Error as error:
            raise translated(error, self._path) from error
