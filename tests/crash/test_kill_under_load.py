"""Kill a process that is busy: whatever it had accepted is finished by the next one, once.

The series of single applies shows what every moment of one run survives. Here batches are full, two of them are on
their way, and hundreds of runs are in every stage at once.
"""

from __future__ import annotations

import asyncio
import random
import signal
import subprocess
import sys
from collections import Counter
from itertools import accumulate
from pathlib import Path
from typing import NamedTuple

from awaken.domain.dispatch import DispatchStatus
from awaken.domain.event import TERMINAL_KINDS
from awaken.domain.ids import DEFAULT_SCOPE, RunId, ThreadId
from awaken.domain.run import Run, RunStatus
from awaken.store.contract import MAX_PAGE, MessageQuery, Reads, RunQuery, StoredMessage
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

    left = asyncio.run(look(database))
    assert set(accepted) <= {run.run_id for run in left.runs}
    assert {run.status for run in left.runs} == {RunStatus.DONE}
    assert left.ends == dict.fromkeys([run.run_id for run in left.runs], 1)
    assert left.answers == dict.fromkeys([run.run_id for run in left.runs], 1)


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
        for run in await all_runs(app.store):
            await app.wait(run.run_id)
        depths = await app.store.count_dispatches()
        assert {status for status, depth in depths.items() if depth} == {DispatchStatus.ACKED}


class Left(NamedTuple):
    """What the file holds in the end."""

    runs: list[Run]
    ends: Counter[RunId | None]
    """How often each run ended."""
    answers: Counter[RunId | None]
    """How often each run's answer stands in the conversation."""


async def look(database: Path) -> Left:
    """Read what is there. Every thread's log is without a gap and without a double."""
    async with SqliteStore(database) as store:
        left = Left(await all_runs(store), Counter(), Counter())
        for thread_id in {run.thread_id for run in left.runs}:
            rows = await store.list_events(DEFAULT_SCOPE, thread_id, after=0, limit=100_000)
            events = [(row.run_id, event.kind) for row in rows for event in row.events]
            starts = list(accumulate([len(row.events) for row in rows], initial=1))
            assert [row.first_seq for row in rows] == starts[:-1]
            left.ends.update(run_id for run_id, kind in events if kind in TERMINAL_KINDS)
            stored = await all_messages(store, thread_id)
            left.answers.update(each.run_id for each in stored if each.message.text == ANSWER)
        return left


async def all_runs(store: Reads) -> list[Run]:
    found: list[Run] = []
    after: int | None = None
    while True:
        page = await store.list_runs(DEFAULT_SCOPE, RunQuery(after=after, limit=MAX_PAGE))
        assert page.unreadable == ()
        found += page.items
        if page.next is None:
            return found
        after = page.next


async def all_messages(store: Reads, thread_id: ThreadId) -> list[StoredMessage]:
    found: list[StoredMessage] = []
    page: list[StoredMessage] | None = None
    while page is None or len(page) == MAX_PAGE:
        query = MessageQuery(after=found[-1].seq or 0 if found else 0, limit=MAX_PAGE)
        page = await store.list_messages(DEFAULT_SCOPE, thread_id, query)
        found += page
    return found
