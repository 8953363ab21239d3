"""Kill a busy process again and again, have the last one finish everything, and judge what became of the runs.

    python -m tests.crash.siege                              60 kills, two seconds apart, 100 open runs (`make siege`)
    python -m tests.crash.siege --kills 10 --open 20         fewer of both

Above: the tests of long steps, and whoever runs the command, which ends with 1 when a run fared badly.
Below: the processes of `long_steps`, and the store's reads on their file while nobody serves it.
"""

from __future__ import annotations

import argparse
import asyncio
import random
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final

import msgspec

from awaken.domain.ids import DEFAULT_SCOPE, RunId, ThreadId
from awaken.domain.run import NATURAL_END, RunStatus
from awaken.store.contract import MAX_PAGE, MessageQuery
from awaken.store.sqlite import SqliteStore
from tests.crash.life import entries
from tests.crash.long_steps import ANSWER, Note, Order, database, notebook

ROOT: Final = Path(__file__).resolve().parents[2]
STEP_S: Final = 2.0
FINISH_LIMIT_S: Final = 180.0
MOST_LIVES: Final = 60
"""Of a series that ends by itself."""


class Verdict(msgspec.Struct, frozen=True):
    """How the runs of a series fared, by their ids. Only `accepted`, and `given_up` for a run that deserves it, may
    hold any."""

    accepted: frozenset[str]
    given_up: frozenset[str]
    """Ended otherwise than by returning an answer."""
    lost: frozenset[str]
    """Accepted, and not there, or never ended."""
    doubled: frozenset[str]
    """The run's answer does not stand in the conversation exactly once."""
    overlapped: frozenset[str]
    """Executed while it, or another run of its thread, was still executing in the same process."""
    repeated: frozenset[str]
    """A step that had finished was called again, or one process called it twice."""

    @property
    def faults(self) -> dict[str, list[str]]:
        """Everything that should be empty and is not."""
        found = {name: getattr(self, name) for name in ("given_up", "lost", "doubled", "overlapped", "repeated")}
        return {name: sorted(run_ids) for name, run_ids in found.items() if run_ids}


def besiege(
    folder: Path,
    *,
    kills: int,
    conversations: int,
    apart_s: tuple[float, float],
    chance: random.Random,
    step_s: float = STEP_S,
) -> Verdict:
    """Kill so many processes on one file, each some time after it began to serve, then have one finish."""
    for life in range(1, kills + 1):
        order = Order(str(folder), life, conversations, "always", step_s)
        with _started(order) as process:
            _await_serving(process)
            time.sleep(chance.uniform(*apart_s))  # the steps take real time, and so does being in the middle of one
        assert process.returncode == -signal.SIGKILL, f"life {life} ended by itself: {_complaint(order)}"
    order = Order(str(folder), kills + 1, conversations, "never", step_s)
    with _started(order) as process:
        assert _ended(process) == 0, _complaint(order)
    return asyncio.run(judged(folder))


def poisoned(folder: Path, *, innocents: int, step_s: float, fuse_s: float) -> tuple[Verdict, int]:
    """Start processes on one file until one of them ends by itself, although a run of theirs kills them. And how many
    of them it killed."""
    for life in range(1, MOST_LIVES + 1):
        order = Order(str(folder), life, innocents, "once", step_s, fuse_s)
        with _started(order) as process:
            code = _ended(process)
        if code == 0:
            return asyncio.run(judged(folder)), life - 1
        assert code == -signal.SIGKILL, _complaint(order)
    raise AssertionError(f"{MOST_LIVES} processes were killed, and the runs have not ended")


@contextmanager
def _started(order: Order) -> Generator[subprocess.Popen[bytes]]:
    """The process of a life. It is over when this is left, and killed if it was not before."""
    command = [sys.executable, "-m", "tests.crash.long_steps", msgspec.json.encode(order).decode()]
    with (
        _stderr(order).open("wb") as complaints,
        subprocess.Popen(command, stdout=subprocess.PIPE, stderr=complaints, cwd=ROOT) as process,
    ):
        try:
            yield process
        finally:
            process.kill()


def _await_serving(process: subprocess.Popen[bytes]) -> None:
    assert process.stdout is not None
    process.stdout.readline()


def _ended(process: subprocess.Popen[bytes]) -> int:
    """The exit code; the number of the signal, negative, if one ended it."""
    try:
        return process.wait(FINISH_LIMIT_S)
    except subprocess.TimeoutExpired:
        raise AssertionError(f"the runs have not ended after {FINISH_LIMIT_S:.0f} s") from None


def _stderr(order: Order) -> Path:
    return Path(order.folder) / f"stderr.{order.life}"


def _complaint(order: Order) -> str:
    return _stderr(order).read_text()


# --- the judgement ----------------------------------------------------------------------------------------------------


async def judged(folder: Path) -> Verdict:
    """Judge by what the processes noted and what the file holds. Nobody serves the file meanwhile."""
    notes = entries(notebook(folder), Note)
    accepted = frozenset(note.run_id for note in notes if note.what == "accepted")
    given_up: set[str] = set()
    lost: set[str] = set()
    doubled: set[str] = set()
    async with SqliteStore(database(folder)) as store:
        for run_id in accepted | {note.run_id for note in notes}:
            run = await store.load_run(DEFAULT_SCOPE, RunId(run_id))
            if run is None or run.status is not RunStatus.DONE:
                lost.add(run_id)
            elif run.termination != NATURAL_END or run.final_output != ANSWER:
                given_up.add(run_id)
            elif await _answers(store, run.thread_id, run_id) != 1:
                doubled.add(run_id)
    return Verdict(
        accepted,
        frozenset(given_up),
        frozenset(lost),
        frozenset(doubled),
        frozenset(overlapped(notes)),
        frozenset(repeated(notes)),
    )


async def _answers(store: SqliteStore, thread_id: ThreadId, run_id: str) -> int:
    query = MessageQuery(limit=MAX_PAGE, run_id=RunId(run_id))
    stored = await store.list_messages(DEFAULT_SCOPE, thread_id, query)
    return sum(each.message.text == ANSWER for each in stored)


def overlapped(notes: list[Note]) -> set[str]:
    """A process dies as a whole, so only what one of them noted can overlap."""
    found: set[str] = set()
    executing: set[tuple[int, str]] = set()
    for note in notes:
        place = (note.life, note.run_id.rpartition("-")[0] or note.run_id)  # a conversation, in one process
        if note.what == "taken":
            if place in executing:
                found.add(note.run_id)
            executing.add(place)
        elif note.what == "left":
            executing.discard(place)
    return found


def repeated(notes: list[Note]) -> set[str]:
    """A step that had finished is called never again, and any other at most once by each process."""
    found: set[str] = set()
    finished: set[tuple[str, str]] = set()
    calls: Counter[tuple[int, str, str]] = Counter()
    for note in notes:
        if note.what == "finished":
            finished.add((note.run_id, note.step))
        elif note.what == "called":
            calls[note.life, note.run_id, note.step] += 1
            if (note.run_id, note.step) in finished or calls[note.life, note.run_id, note.step] > 1:
                found.add(note.run_id)
    return found


# --- on the command line ----------------------------------------------------------------------------------------------


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.crash.siege", description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--kills", type=int, default=60)
    parser.add_argument("--open", type=int, default=100, help="runs that are open at any time (100)")
    parser.add_argument("--apart", type=float, default=2.0, help="seconds from serving to being killed (2)")
    parser.add_argument("--folder", type=Path, help="an empty folder to keep the file in; else it is temporary")
    asked = parser.parse_args(arguments)
    with TemporaryDirectory(prefix="awaken-siege-") as temporary:
        verdict = besiege(
            asked.folder or Path(temporary),
            kills=asked.kills,
            conversations=asked.open,
            apart_s=(asked.apart, asked.apart),
            chance=random.Random(0),
        )
    print(f"{asked.kills} kills, {asked.apart:g} s apart; {asked.open} open runs with steps of {STEP_S:g} s")
    print(f"{len(verdict.accepted)} runs accepted; not one may be in a line below with more than 0")
    for name, what in _SENTENCES.items():
        print(f"{len(getattr(verdict, name)):6} {what}")
    return 1 if verdict.faults else 0


_SENTENCES: Final = {
    "given_up": "given up, or ended without their answer",
    "lost": "lost, or never ended",
    "doubled": "whose answer is not in the conversation exactly once",
    "overlapped": "executed while their thread was busy",
    "repeated": "with a finished step that was called again",
}

if __name__ == "__main__":
    sys.exit(main())
