"""Kill a process before and after each of its applies, and again while the next one recovers: nothing is lost.

Every case is a series of processes on one file. The first is killed at apply number n, the second and third at apply
number 1, 2 or 3 of their own: while they take back what their predecessor held, while they claim it, and at the first
commit of what goes on. The fourth is left alone and has to finish. Each n has two such series, up to the n that no
process reaches, and of three neighbours each has another two of those numbers.
"""

from __future__ import annotations

import asyncio
import signal
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from queue import SimpleQueue

import pytest

from awaken.testing.behaviour import behaviour
from awaken.testing.crash import CrashPoint, Moment
from tests.crash.evidence import Evidence, judge_end, judge_life, look
from tests.crash.nursery import Nursery
from tests.crash.scenarios import SCENARIOS

REPETITIONS = 2
ATTEMPTS = 9
"""How often to try for two kills at one apply: what shares a commit differs a little from process to process."""
LATER = 3


@behaviour("MB-125", "EV-017", "D-004")
@pytest.mark.parametrize("moment", ["before", "after"])
@pytest.mark.parametrize("scenario", SCENARIOS)
def test_a_run_whose_process_is_killed_at_any_apply_finishes_without_loss_or_repetition(
    scenario: str, moment: Moment, nurseries: list[Nursery], tmp_path: Path
) -> None:
    """The log says afterwards what it would have said, and each stream that was resumed is the whole stream.

    Finishing is being stopped, for a run whose cancel or whose thread's interrupt was accepted: no crash revives it.
    """
    judge_undisturbed(nurseries[0], scenario, tmp_path / "undisturbed")
    free: SimpleQueue[Nursery] = SimpleQueue()
    for nursery in nurseries:
        free.put(nursery)

    def kills(number: int) -> int:
        """Have two processes die at apply `number`, or find out that none gets that far; how many died."""
        nursery = free.get()
        try:
            died = 0
            for attempt in range(ATTEMPTS):
                later = CrashPoint(moment, 1 + (number + attempt) % LATER)
                folder = tmp_path / f"{number}.{attempt}"
                died += lives(nursery, scenario, folder, [CrashPoint(moment, number), later, later]) == -signal.SIGKILL
                if died == REPETITIONS or (attempt + 1 == REPETITIONS and died == 0):
                    break
            return died
        finally:
            free.put(nursery)

    died: list[int] = []
    with ThreadPoolExecutor(len(nurseries)) as threads:
        while 0 not in died:
            died += threads.map(kills, range(len(died) + 1, len(died) + 1 + len(nurseries)))
    least = 1 + len(SCENARIOS[scenario].plan)  # what was asked for, and the end of a run
    assert died[:least] == [REPETITIONS] * least


def judge_undisturbed(nursery: Nursery, scenario: str, folder: Path) -> None:
    """Left alone, a process makes each call once."""
    lives(nursery, scenario, folder, [])
    calls = asyncio.run(look(folder, SCENARIOS[scenario])).calls
    assert sorted(call.name for call in calls) == sorted(
        f"{run_id} {name}" for run_id, names in SCENARIOS[scenario].calls.items() for name in names
    )


def lives(nursery: Nursery, scenario: str, folder: Path, ends: list[CrashPoint]) -> int:
    """Live one life per crash and one more to the end, judging after each. The exit code of the first."""
    folder.mkdir()
    codes: list[int] = []
    before: Evidence | None = None
    for life, crash_at in enumerate([*ends, None], start=1):
        code = nursery.live(folder, scenario, life, crash_at)
        complaints = (folder / f"stderr.{life}").read_text()
        was_killed = crash_at is not None and code == -signal.SIGKILL
        assert was_killed or code == 0, f"life {life} ended with {code}: {complaints}"
        after = asyncio.run(look(folder, SCENARIOS[scenario]))
        judge_life(before, after, SCENARIOS[scenario], life)
        before = after
        codes.append(code)
    assert before is not None
    judge_end(before, SCENARIOS[scenario])
    return codes[0]
