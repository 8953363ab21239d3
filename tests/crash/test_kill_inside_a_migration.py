"""Kill a process before and after each statement with which it brings a file up to date: the file stays whole.

The killed process is of a version that has one migration more than the package. It meets a file that the present
version left in the middle of its work, or none. Afterwards the file says what it said at one of the versions, and
another process of the newer version serves it.
"""

from __future__ import annotations

import asyncio
import shutil
import signal
import sqlite3
from contextlib import closing
from itertools import count
from pathlib import Path

import pytest

from awaken.store.sqlite import migrate
from awaken.store.sqlite.migrate import migrations
from awaken.testing.crash import CrashPoint
from tests.crash.evidence import Evidence, judge_end, judge_life, look
from tests.crash.life import database
from tests.crash.nursery import Nursery
from tests.crash.scenarios import SCENARIOS
from tests.crash.upgrade import Upgrade, next_migrations

NAME = "queue"
SCENARIO = SCENARIOS[NAME]

SERVED_EVERY = 8
"""Each file is looked at; each eighth, and the first at each version, is served afterwards."""

Content = tuple[int, tuple[str, ...]]
"""The schema version of a file, and everything in it as SQL."""


def test_a_file_whose_migration_is_killed_is_wholly_old_or_wholly_new_and_is_served(
    nurseries: list[Nursery], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, before = unfinished(nurseries[0], tmp_path / "older")
    monkeypatch.setattr(migrate, "migrations", next_migrations)

    deaths = kill_at_every_statement(nurseries[0], folder, tmp_path, before)

    assert sorted(deaths) == deaths
    assert set(deaths) == {0, 1}
    assert deaths.count(0) > statements_of(len(migrations()) + 1)


def test_a_new_file_whose_making_is_killed_is_at_a_whole_version_and_is_served(
    nurseries: list[Nursery], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "none").mkdir()
    monkeypatch.setattr(migrate, "migrations", next_migrations)

    deaths = kill_at_every_statement(nurseries[0], tmp_path / "none", tmp_path, None)

    assert sorted(deaths) == deaths
    for version in range(len(next_migrations())):
        assert deaths.count(version) > statements_of(version + 1)


def unfinished(nursery: Nursery, folder: Path) -> tuple[Path, Evidence]:
    """A folder in which a process of the present version died as soon as it had finished a call, and what it left."""
    folder.mkdir()
    for number in count(1):
        place = folder / str(number)
        place.mkdir()
        assert nursery.live(place, NAME, 1, CrashPoint("after", number)) == -signal.SIGKILL
        left = asyncio.run(look(place, SCENARIO))
        if left.finished:
            assert left.open_dispatches
            return place, left
    raise AssertionError


def kill_at_every_statement(nursery: Nursery, origin: Path, tmp_path: Path, before: Evidence | None) -> list[int]:
    """Upgrade copies of a folder with one kill each, up to the statement after the last commit, look at each, and serve
    some. How many migrations each killed process had made.
    """
    versions = contents(copied(origin, tmp_path / "undisturbed"))
    deaths: list[int] = []
    while not deaths or deaths[-1] < len(versions) - 1:
        folder = copied(origin, tmp_path / f"killed.{len(deaths) + 1}")
        assert nursery.live(folder, NAME, 2, upgrade=Upgrade(die_before=len(deaths) + 1)) == -signal.SIGKILL
        left = content(copied(folder, tmp_path / f"looked_at.{len(deaths) + 1}"))
        assert left in versions, f"the file is at no whole version: {left}"
        deaths.append(versions.index(left))
        is_served = len(deaths) % SERVED_EVERY == 0 or len(set(deaths[-2:])) == 2 or len(deaths) == 1
        if not is_served:
            continue
        code = nursery.live(folder, NAME, 3, upgrade=Upgrade())
        assert code == 0, (folder / "stderr.3").read_text()
        end = asyncio.run(look(folder, SCENARIO))
        judge_life(before, end, SCENARIO, 3)
        judge_end(end, SCENARIO)
    return deaths


def copied(folder: Path, place: Path) -> Path:
    """The folder again, so that looking at the file, which empties its log into it, changes nothing for the next."""
    return Path(shutil.copytree(folder, place))


def contents(folder: Path) -> list[Content]:
    """What the file in the folder says now, and after each migration it lacks."""
    found = [content(folder)]
    with closing(sqlite3.connect(database(folder), isolation_level=None)) as db:
        for version in range(found[0][0], len(next_migrations())):
            migrate.migrate(db, version, target=version + 1)
            found.append(content(folder))
    return found


def content(folder: Path) -> Content:
    with closing(sqlite3.connect(database(folder))) as db:
        [version] = db.execute("PRAGMA user_version").fetchone()
        return version, tuple(db.iterdump())


def statements_of(number: int) -> int:
    """How many statements a migration has, at least."""
    return next_migrations()[number - 1][1].count(";\n")
