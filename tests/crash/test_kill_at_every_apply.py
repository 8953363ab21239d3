"""Kill a process before and after each of its applies, and again while the next one recovers: nothing is lost.

Every case is a series of processes on one file. The first is killed at apply number n, the second and third at apply
number 1, 2 or 3 of their own: while they take back what their predecessor held, while they claim it, and at the first
commit of what goes on. The fourth is left alone and has to finish. Every n of an undisturbed run is tried three times.
"""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import product
from pathlib import Path
from queue import SimpleQueue

import pytest

from awaken.testing.behaviour import behaviour
from awaken.testing.crash import CrashPoint, Moment
from tests.crash.evidence import Evidence, judge_end, judge_life, look
from tests.crash.nursery import Nursery
from tests.crash.scenarios import SCENARIOS

NURSERIES = 2
REPETITIONS = (1, 2, 3)


@pytest.fixture(scope="module")
def nurseries() -> Iterator[list[Nursery]]:
    with Nursery() as one, Nursery() as two:
        yield [one, two]


@behaviour("MB-125", "EV-017")
@pytest.mark.parametrize("moment", ["before", "after"])
@pytest.mark.parametrize("scenario", SCENARIOS)
def test_a_run_whose_process_is_killed_at_any_apply_finishes_without_loss_or_repetition(
    scenario: str, moment: Moment, nurseries: list[Nursery], tmp_path: Path
) -> None:
    """The log says afterwards what it would have said, and each stream that was resumed is the whole stream."""
    last = apply_count(nurseries[0], scenario, tmp_path / "reference")
    free: SimpleQueue[Nursery] = SimpleQueue()
    for nursery in nurseries:
        free.put(nursery)

    def series(case: tuple[int, int]) -> tuple[int, list[int]]:
        number, repetition = case
        nursery = free.get()
        try:
            first, later = CrashPoint(moment, number), CrashPoint(moment, repetition)
            folder = tmp_path / f"{number}.{repetition}"
            return number, lives(nursery, scenario, folder, [first, later, later])
        finally:
            free.put(nursery)

    with ThreadPoolExecutor(NURSERIES) as threads:
        codes = list(threads.map(series, product(range(1, last + 1), REPETITIONS)))
    killed = [number for number, ended in codes if ended[0] == -signal.SIGKILL]
    assert set(killed) == set(range(1, last + 1)), "some applies were never the last thing that happened"


def apply_count(nursery: Nursery, scenario: str, folder: Path) -> int:
    """How many applies an undisturbed process takes, each call made once."""
    lives(nursery, scenario, folder, [])
    calls = asyncio.run(look(folder, SCENARIOS[scenario])).calls
    assert sorted(call.name for call in calls) == sorted(
        f"{run_id} {name}" for run_id, names in SCENARIOS[scenario].calls.items() for name in names
    )
    return int((folder / "apply_count").read_text())


def lives(nursery: Nursery, scenario: str, folder: Path, ends: list[CrashPoint]) -> list[int]:
    """Live one life per crash and one more to the end, judging after each. The exit codes of those to be killed."""
    folder.mkdir()
    codes: list[int] = []
    before: Evidence | None = None
    for life, crash_at in enumerate([*ends, None], start=1):
        code = nursery.live(folder, scenario, life, crash_at)
        complaints = (folder / f"stderr.{life}").read_text()
        assert code == 0 or (crash_at is not None and code == -signal.SIGKILL), (
            f"life {life} ended {code}: {complaints}"
        )
        after = asyncio.run(look(folder, SCENARIOS[scenario]))
        judge_life(before, after, life)
        before = after
        codes.append(code)
    assert before is not None
    judge_end(before, SCENARIOS[scenario])
    return codes[:-1]
