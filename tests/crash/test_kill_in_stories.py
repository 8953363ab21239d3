"""Processes that tell a story are killed at each of their applies, and the story ends as it would.

What `test_stories` tries in one process, with real ones: what they had open is closed by the operating system alone.
"""

from __future__ import annotations

import asyncio
import signal
from pathlib import Path

import pytest

from awaken.store.sqlite import SqliteStore
from awaken.testing.audit import check_sound
from awaken.testing.behaviour import behaviour
from awaken.testing.crash import CrashPoint
from tests.crash.life import Call, database, entries
from tests.crash.nursery import Nursery
from tests.crash.stories import STORIES
from tests.crash.theatre import Diary, End, check, check_end, look

MOST = 80


async def read(folder: Path) -> End:
    async with SqliteStore(database(folder)) as store:
        await check_sound(store)
        return await look(store)


def lives(nursery: Nursery, story: str, folder: Path, *ends: CrashPoint) -> tuple[bool, End]:
    """One life for each end, and one that is left alone. Whether the first was killed, and what there is at last."""
    folder.mkdir()
    codes: list[int] = []
    diary = Diary()
    end = None
    for life, crash_at in enumerate([*ends, None], start=1):
        codes.append(nursery.live(folder, story, life, crash_at))
        assert codes[-1] in (0, -signal.SIGKILL), (folder / f"stderr.{life}").read_text()
        for call in entries(folder / "calls", Call):
            if call.life == life:
                diary.called(call.name)
        end = asyncio.run(read(folder))
        diary.recorded |= end.recorded
    assert end is not None
    check(end, diary)
    check_end(end, STORIES[story])
    return codes[0] == -signal.SIGKILL, end


@behaviour("MBX-125")
@pytest.mark.parametrize("story", ["steered", "asked", "deferred", "interrupted", "family"])
def test_a_story_whose_process_is_killed_at_any_apply_ends_as_it_would(
    story: str, nurseries: list[Nursery], tmp_path: Path
) -> None:
    _, undisturbed = lives(nurseries[0], story, tmp_path / "undisturbed")
    for number in range(1, MOST):
        moment = "before" if number % 2 else "after"
        died, end = lives(nurseries[0], story, tmp_path / str(number), CrashPoint(moment, number))
        assert end.summary() == undisturbed.summary(), f"killed {moment} apply {number}"
        if not died:
            assert number > len(STORIES[story].plan)
            return
    pytest.fail("no process reached its end")
