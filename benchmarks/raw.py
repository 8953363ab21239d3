"""The ceiling: SQLite alone, writing exactly the rows the product wrote.

While the product runs its closed loop, its write connection is recorded: every writing statement with its rows, in the
batches of its transactions. Replayed in one thread, without asyncio, ids, encoding or decisions, into a database that
is opened as the product's is, this is what no program over this schema can exceed.
Holds: the process is tuned as the product's is. Small batches are joined until a commit covers 200 transitions, so a
product that batches badly does not lower its own ceiling. Reads are left out.
"""

from __future__ import annotations

import pickle
import sqlite3
import time
from collections.abc import Callable, Generator, Iterable, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final, cast

import msgspec

from awaken.domain.clock import SystemClock
from awaken.process import tune_process
from awaken.store.contract import Store
from awaken.store.sqlite.checkpoint import WAL_LIMIT_BYTES, Checkpointer, checkpointed
from awaken.store.sqlite.lock import FileLock
from awaken.store.transitions import Transition
from benchmarks.process import scratch

PER_COMMIT: Final = 200
_WRITES: Final = ("INSERT", "UPDATE", "DELETE", "REPLACE")


class Ceiling(msgspec.Struct):
    cycles_s: float
    rows: int
    commits: int


_Statement = tuple[str, bool, list[Any]]
"""The text, whether it ran as an executemany, and the values it ran with, each time."""
_Batch = tuple[int, list[_Statement]]
"""How many transitions it covers, and what they wrote."""


# --- recording --------------------------------------------------------------------------------------------------------

_tape: list[_Batch] = []


def _note(sql: str, many: bool, values: list[Any]) -> None:
    if _tape and sql.lstrip()[:7].upper().startswith(_WRITES):
        _tape[-1][1].append((sql, many, values))


class _RecordingCursor(sqlite3.Cursor):
    def execute(self, sql: str, parameters: Any = (), /) -> sqlite3.Cursor:
        _note(sql, False, [parameters])
        return super().execute(sql, parameters)

    def executemany(self, sql: str, seq_of_parameters: Iterable[Any], /) -> sqlite3.Cursor:
        values = list(seq_of_parameters)
        _note(sql, True, values)
        return super().executemany(sql, values)


class _RecordingConnection(sqlite3.Connection):
    def cursor(self, factory: Any = _RecordingCursor) -> Any:
        return super().cursor(factory)

    def execute(self, sql: str, parameters: Any = (), /) -> sqlite3.Cursor:
        return self.cursor().execute(sql, parameters)

    def executemany(self, sql: str, parameters: Iterable[Any], /) -> sqlite3.Cursor:
        return self.cursor().executemany(sql, parameters)


def record_sqlite() -> None:
    """Have every connection that this process opens from now on report what it writes."""
    connect = sqlite3.connect

    def recording(*args: Any, **options: Any) -> sqlite3.Connection:
        return connect(*args, factory=_RecordingConnection, **options)

    sqlite3.connect = cast("Callable[..., sqlite3.Connection]", recording)  # pyright: ignore[reportAttributeAccessIssue]


def start_tape(store: Store) -> None:
    """Begin a new entry with each `apply` from now on; batches never overlap."""
    apply = store.apply

    async def noted(batch: Sequence[Transition]) -> Any:
        _tape.append((len(batch), []))
        return await apply(batch)

    store.apply = noted  # pyright: ignore[reportAttributeAccessIssue]


def save_tape(path: Path, *, cycles: int) -> None:
    written = [batch for batch in _tape if batch[1]]
    with path.open("wb") as file:
        pickle.dump((cycles, written), file, protocol=pickle.HIGHEST_PROTOCOL)


# --- replaying --------------------------------------------------------------------------------------------------------


def replay(*, tape: str) -> Ceiling:
    """Write a recorded run again as fast as SQLite takes it."""
    with Path(tape).open("rb") as file:
        cycles, batches = pickle.load(file)
    with (
        scratch() as folder,
        locked(folder / "raw.db") as lock,
        checkpointed(folder / "raw.db", "full", WAL_LIMIT_BYTES, lock) as (db, checkpointer),
    ):
        tune_process()
        started = time.perf_counter()
        commits = _write(db, checkpointer, batches)
        elapsed_s = time.perf_counter() - started
        rows = db.total_changes
    return Ceiling(cycles / elapsed_s, rows, commits)


@contextmanager
def locked(path: Path) -> Generator[FileLock]:
    lock = FileLock(path)
    lock.take(SystemClock())
    try:
        yield lock
    finally:
        lock.release()


def _write(db: sqlite3.Connection, checkpointer: Checkpointer, batches: list[_Batch]) -> int:
    """In how many transactions it was written."""
    commits, waiting = 0, 0
    for transitions, statements in batches:
        if not waiting:
            db.execute("BEGIN IMMEDIATE")
        for sql, many, values in statements:
            if many:
                db.executemany(sql, values)
            else:
                db.execute(sql, values[0])
        waiting += transitions
        if waiting >= PER_COMMIT:
            db.execute("COMMIT")
            checkpointer.after_commit(lambda: None)
            commits, waiting = commits + 1, 0
    if waiting:
        db.execute("COMMIT")
        commits += 1
    return commits
