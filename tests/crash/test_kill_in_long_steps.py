"""Kill a process whose runs are in the middle of long steps: no run pays for the death of the process it was in.

Here deaths come faster than steps end, so that runs meet several before they make any progress.
"""

from __future__ import annotations

import random
from pathlib import Path

from awaken.domain.dispatch import DEFAULT_MAX_ATTEMPTS
from awaken.testing.behaviour import behaviour
from tests.crash.long_steps import POISON
from tests.crash.siege import besiege, poisoned

KILLS = 10
CONVERSATIONS = 40
APART_S = (0.05, 0.85)
LONG_S = 1.0
"""Longer than a process lives: what a step takes."""
INNOCENTS = 20
STEP_S = 0.8
FUSE_S = 0.2


@behaviour("OS-012")
def test_no_run_is_given_up_lost_or_done_twice_for_ten_deaths_of_its_process(tmp_path: Path) -> None:
    seed = random.SystemRandom().getrandbits(32)
    print(f"random.Random({seed}) chose when to kill")

    verdict = besiege(
        tmp_path, kills=KILLS, conversations=CONVERSATIONS, apart_s=APART_S, chance=random.Random(seed), step_s=LONG_S
    )

    assert verdict.faults == {}
    assert len(verdict.accepted) >= CONVERSATIONS


def test_a_run_that_kills_its_process_each_time_is_given_up_and_none_of_those_beside_it(tmp_path: Path) -> None:
    verdict, deaths = poisoned(tmp_path, innocents=INNOCENTS, step_s=STEP_S, fuse_s=FUSE_S)

    assert verdict.faults == {"given_up": [POISON]}
    assert len(verdict.accepted) == INNOCENTS + 1
    assert deaths >= DEFAULT_MAX_ATTEMPTS
