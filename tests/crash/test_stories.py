"""At whichever apply a process dies or its store fails, a run that is talked to, asked or stopped ends as it would.

Each case plays a story once undisturbed, then once for each apply at which it can be disturbed. A process that died is
followed by one that dies at one of its first applies, and that by one which is left alone.
"""

from __future__ import annotations

import gc
from collections.abc import Callable
from pathlib import Path
from typing import get_args

import pytest

from awaken.store.contract import Store
from awaken.store.memory import MemoryStore
from awaken.store.sqlite import SqliteStore
from tests.crash.stories import STORIES
from tests.crash.theatre import End, Failure, Fault, SharedClock, Theatre, check, check_end
from tests.sqlite import new_file

FAILURES = get_args(Failure)
MOST = 80
REPETITIONS = 3

Make = Callable[[SharedClock], Store]


@pytest.mark.parametrize("failure", FAILURES)
@pytest.mark.parametrize("name", STORIES)
def test_a_story_ends_as_it_would_wherever_it_is_disturbed(name: str, failure: Failure) -> None:
    disturb(name, lambda _: MemoryStore, lambda _: failure)


@pytest.mark.parametrize("name", STORIES)
def test_over_sqlite_too(name: str, tmp_path: Path) -> None:
    """One failure for each apply, another for the next: a file takes its time."""

    def make(number: int) -> Make:
        return lambda clock: SqliteStore(new_file(tmp_path / f"{number}.db"), clock=clock, durability="process")

    disturb(name, make, lambda number: FAILURES[number % len(FAILURES)])


def disturb(name: str, make: Callable[[int], Make], choose: Callable[[int], Failure]) -> None:
    """`make` gives the store of each attempt, `choose` what happens at the apply of that number."""
    undisturbed = played(make(0), name, [])
    for number in range(1, MOST):
        failure = choose(number)
        faults = [Fault(failure, number)]
        if failure.startswith("dies"):
            faults.append(Fault(failure, 1 + number % REPETITIONS))
        end = played(make(number), name, faults)
        if end is None:
            assert number > len(STORIES[name].plan)
            gc.collect()  # what was thrown away may not complain, and here it would be heard
            return
        assert undisturbed is not None
        assert end.summary() == undisturbed.summary(), f"apply {number} {failure}"
    pytest.fail("it never went through undisturbed")


def played(make: Make, name: str, faults: list[Fault]) -> End | None:
    """The end of the story; None where the first fault did not occur."""
    theatre = Theatre(make, STORIES[name])
    for fault in faults:
        occurred = theatre.play(fault)
        if fault is faults[0] and not occurred:
            return None
        if theatre.end is not None:
            break
    if theatre.end is None:
        theatre.play()
    assert theatre.end is not None
    check(theatre.end, theatre.diary)
    check_end(theatre.end, STORIES[name])
    return theatre.end
