"""A process that dies at any apply of a run with children loses none of them, and begins none twice."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

import pytest

from awaken.store.sqlite import SqliteStore
from awaken.testing.crash import CRASH_AT
from awaken.wiring import Awaken
from tests.docs.repository import ROOT, environment

LIMIT_S = 90
MOST = 60


def live(folder: Path, crash_at: str | None) -> int:
    """One process, from its start to its end; how it ended."""
    extra = {} if crash_at is None else {CRASH_AT: crash_at}
    done = subprocess.run(
        [sys.executable, "-m", "tests.crash.family", str(folder / "family.db"), str(folder / "notes")],
        cwd=ROOT,
        env=environment(**extra),
        capture_output=True,
        text=True,
        timeout=LIMIT_S,
    )
    assert done.returncode in (0, -signal.SIGKILL), done.stderr
    return done.returncode


async def judge(folder: Path) -> None:
    async with Awaken(store=SqliteStore(folder / "family.db")) as app:
        runs = await app.list_runs(order="asc")
        assert sorted(run.agent_id for run in runs) == ["clerk", "parent", "worker", "worker"]
        assert {run.agent_id: run.output for run in runs if run.agent_id != "worker"} == {
            "parent": "did one and did two", "clerk": "filed the report",
        }  # fmt: skip
        assert [run.phase for run in runs] == ["completed"] * 4
        assert await app.store.list_outbox() == []
        kinds = [event.kind for event in await app.list_events("home")]
        counts = [kinds.count(kind) for kind in ("ChildStarted", "ChildFinished", "MessageSent", "RunFinished")]
        assert counts == [2, 2, 1, 1]


@pytest.mark.parametrize("moment", ["before", "after"])
async def test_a_family_of_runs_survives_a_kill_at_any_apply(moment: str, tmp_path: Path) -> None:
    for number in range(1, MOST):
        folder = tmp_path / str(number)
        folder.mkdir()
        was_killed = live(folder, f"{moment}:{number}") == -signal.SIGKILL
        if was_killed:
            assert live(folder, None) == 0
        await judge(folder)
        if not was_killed:
            assert number > 8, "it lived through the applies of the whole family"
            return
    pytest.fail("it never lived to its end")
