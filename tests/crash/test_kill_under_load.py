"""Kill a process that is busy: whatever it had accepted is finished by the next one, once.

The series of single applies shows what every moment of one run survives. Here batches are full, two of them are on
their way, and hundreds of runs are in every stage at once.
"""

from __future__ import annotations

import asyncio
import random
import signal
import sqlite3
import subprocess
import sys
from collections import Counter
from contextlib import closing
from pathlib import Path
from typing import Any

import msgspec

from awaken.domain.event import TERMINAL_KINDS
from awaken.store.sqlite import SqliteStore
from awaken.testing.behaviour import behaviour
from tests.crash.load import ANSWER, CONVERSATIONS, app_on

ROOT = Path(__file__).resolve().parents[2]
KILLS = 3
MOST_ACCEPTED = 6 * CONVERSATIONS


@behaviour("TR-117")
def test_what_a_busy_process_had_accepted_when_it_was_killed_is_finished_once(tmp_path: Path) -> None:
    seed = random.SystemRandom().getrandbits(32)
    print(f"random.Random({seed}) chose after how many accepted runs to kill")
    chance = random.Random(seed)
    database = tmp_path / "runs.db"

    accepted: list[str] = []
    for _ in range(KILLS):
        accepted += killed_after(chance.randint(1, MOST_ACCEPTED), database)
    asyncio.run(drained(database))

    with closing(sqlite3.connect(database)) as db:
        runs: dict[str, str] = dict(db.execute("SELECT run_id, status FROM runs").fetchall())
        assert set(accepted) <= set(runs)
        assert set(runs.values()) == {"done"}
        assert ends_of(log_of(db)) == dict.fromkeys(runs, 1)
        assert answers_in(db) == dict.fromkeys(runs, 1)


def killed_after(count: int, database: Path) -> list[str]:
    """Have a process work until it has accepted so many runs, then kill it; the runs it said it had accepted."""
    command = [sys.executable, "-m", "tests.crash.load", str(database)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, cwd=ROOT) as process:
        assert process.stdout is not None
        told = [process.stdout.readline() for _ in range(count)]
        process.send_signal(signal.SIGKILL)
        told += process.stdout.readlines()
    assert process.returncode == -signal.SIGKILL, "it ended by itself"
    return [line.decode().strip() for line in told]


async def drained(database: Path) -> None:
    """Open the file as the next process would, and let it finish everything."""
    async with asyncio.timeout(60), app_on(str(database)) as app:
        store = app.store
        assert isinstance(store, SqliteStore)
        with closing(sqlite3.connect(database)) as db:
            unfinished = db.execute("SELECT run_id FROM runs WHERE status <> 'done'").fetchall()
        for (run_id,) in unfinished:
            await (await app.get_run(run_id)).result()
        depths = await store.count_dispatches()
        assert {status.value for status, depth in depths.items() if depth} == {"acked"}


def log_of(db: sqlite3.Connection) -> list[tuple[str, str]]:
    """(run, kind) of every event. Every thread's log is without a gap and without a double."""
    found: list[tuple[str, str]] = []
    ends: dict[str, int] = {}
    rows = db.execute("SELECT thread_id, first_seq, run_id, body FROM events ORDER BY thread_id, first_seq")
    for thread_id, first_seq, run_id, body in rows:
        events: list[tuple[str, Any]] = msgspec.json.decode(body)
        assert first_seq == ends.get(thread_id, 0) + 1
        ends[thread_id] = first_seq + len(events) - 1
        found += [(run_id, kind) for kind, _ in events]
    return found


def ends_of(log: list[tuple[str, str]]) -> dict[str, int]:
    """How often each run ended."""
    return Counter(run_id for run_id, kind in log if kind in TERMINAL_KINDS)


def answers_in(db: sqlite3.Connection) -> dict[str, int]:
    """How often each run's answer stands in the conversation."""
    rows = db.execute("SELECT run_id, body FROM messages WHERE seq IS NOT NULL").fetchall()
    return Counter(run_id for run_id, body in rows if ANSWER in body.decode())
