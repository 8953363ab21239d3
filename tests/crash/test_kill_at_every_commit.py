"""Kill a process on Postgres when its COMMIT is on its way, and when it is done and not answered: nothing is lost.

What `test_kill_at_every_apply` does on a file, with the database on the other side of a connection: a transaction may
be open when its process dies, and who holds what is in the rows and nowhere else. The next process takes over what the
last one held, because the lock of its sign of life is free: none of these lives is as long as a lease.

Every day some of the points are tried; `make siege` tries all of them.
"""

from __future__ import annotations

import asyncio
import os
import signal
from pathlib import Path
from typing import Final

import pytest

from awaken.testing.behaviour import behaviour
from tests.crash.evidence import Evidence, judge_end, judge_life, look
from tests.crash.life import url_file
from tests.crash.nursery import PID, Nursery
from tests.crash.scenarios import SCENARIOS
from tests.cutting import Moment, Relay
from tests.postgres import Kept

SIEGE: Final = "AWAKEN_SIEGE"
MOST: Final = 60


class Series:
    """Processes that live one after the other on one store, with a relay between."""

    def __init__(self, nursery: Nursery, relay: Relay, scenario: str, folder: Path) -> None:
        self._nursery = nursery
        self._relay = relay
        self._name, self._scenario = scenario, SCENARIOS[scenario]
        self._folder = folder
        self._life = 0
        self._before: Evidence | None = None
        folder.mkdir()
        url_file(folder).write_text(relay.url)

    async def live(self, moment: Moment | None = None, number: int = 1) -> bool:
        """The next life, which ends at that commit of its own, if it comes to it: whether it did. Then it is judged."""
        self._life += 1
        if moment is not None:
            self._relay.cut_at(moment, number, then=self._kill)
        code = await asyncio.to_thread(self._nursery.live, self._folder, self._name, self._life)
        killed = moment is not None and not self._relay.is_armed
        self._relay.disarm()
        complaints = (self._folder / f"stderr.{self._life}").read_text()
        assert code == (-signal.SIGKILL if killed else 0), f"life {self._life} ended with {code}: {complaints}"
        after = await look(self._folder, self._scenario)
        judge_life(self._before, after, self._scenario, self._life)
        self._before = after
        return killed

    def judge_end(self) -> None:
        assert self._before is not None
        judge_end(self._before, self._scenario)

    def _kill(self) -> None:
        os.kill(int((self._folder / PID).read_text()), signal.SIGKILL)


@behaviour("TR-117")
@pytest.mark.parametrize("moment", ["commit", "committed"])
@pytest.mark.parametrize("scenario", SCENARIOS)
async def test_a_run_whose_process_is_killed_at_any_commit_finishes_in_the_next_without_loss_or_repetition(
    scenario: str, moment: Moment, nurseries: list[Nursery], kept_postgres: Kept, tmp_path: Path
) -> None:
    every = SIEGE in os.environ
    turn = 2 * [*SCENARIOS].index(scenario) + (moment == "commit")
    died = 0
    async with Relay(kept_postgres.url) as relay:
        for number in range(1, MOST) if every else (2 + turn % 4, 6 + turn % 3):
            kept_postgres.empty()
            series = Series(nurseries[number % len(nurseries)], relay, scenario, tmp_path / str(number))
            if not await series.live(moment, number):
                series.judge_end()
                break
            died += 1
            if every:
                await series.live(moment, 1 + number % 3)
            await series.live()
            series.judge_end()
    assert died >= (len(SCENARIOS[scenario].plan) if every else 1)
