"""`awaken db` on a real file, served and not."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Final

import pytest

from awaken.cli.failure import Exit
from awaken.cli.main import main
from awaken.store.sqlite import SqliteStore
from awaken.store.transitions import DeadLetter
from awaken.testing.clock import ManualClock
from awaken.testing.conformance.steps import finished, said, thread_id

LONG_AGO: Final = 1_000_000_000_000


async def filled(path: Path) -> None:
    """A file with three runs that ended long ago, one of them given up."""
    async with SqliteStore(path, clock=ManualClock(LONG_AGO)) as store:
        await finished(store, "d1")
        await finished(store, "d2", thread=thread_id("t2"), messages=[said("m"), said("n")])
        await finished(store, "d3", ending=DeadLetter("hopeless"))


async def test_it_shows_what_is_in_a_file_and_what_retention_would_remove(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    await filled(tmp_path / "a.db")

    assert main(["db", str(tmp_path / "a.db"), "--json"]) == Exit.OK
    found = json.loads(capsys.readouterr().out)
    rows = {part["name"]: part["rows"] for part in found["parts"]}
    assert (rows["threads"], rows["runs"], rows["dispatches"], rows["messages"]) == (2, 3, 3, 4)
    assert (found["old_runs"], found["dead_letters"]) == (2, 1)
    assert found["old_events"] == rows["events"] > 0

    assert main(["db", str(tmp_path / "a.db"), "--run-retention-days", "100000", "--json"]) == Exit.OK
    assert json.loads(capsys.readouterr().out)["old_runs"] == 0


async def test_a_file_that_is_served_can_be_looked_at(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    async with SqliteStore(tmp_path / "a.db", clock=ManualClock()) as store:
        await finished(store, "d1")

        assert main(["db", str(tmp_path / "a.db")]) == Exit.OK
        await finished(store, "d2")

    shown = capsys.readouterr().out
    assert "retention would remove" in shown
    assert all(len(line) <= 120 for line in shown.splitlines())


@pytest.mark.parametrize("what", ["missing", "folder", "text"])
def test_what_is_no_database_is_named_in_one_sentence(
    what: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / what
    if what == "folder":
        path.mkdir()
    elif what == "text":
        path.write_text("not a database, and long enough to be read as one" * 20)

    assert main(["db", str(path)]) != Exit.OK
    error = capsys.readouterr().err
    assert error.startswith("awaken: ") and str(path) in error and error.count("\n") == 1


def test_a_retention_is_not_negative(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["db", "x.db", "--event-retention-days", "-1"]) == Exit.USAGE
    assert "retention" in capsys.readouterr().err


def test_a_folder_is_called_a_folder(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["db", str(tmp_path)]) != Exit.OK
    assert f"database {tmp_path} is a folder. Name the file in it" in " ".join(capsys.readouterr().err.split())


async def test_a_file_that_is_served_is_copied(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    source, target = str(tmp_path / "a.db"), str(tmp_path / "b.db")
    async with SqliteStore(tmp_path / "a.db", clock=ManualClock()) as store:
        await finished(store, "d1")

        assert main(["db", "backup", source, target]) == Exit.OK
        assert (
            capsys.readouterr().out.replace(target, "b.db").rpartition(":")[2]
            == " 0.1 MiB, 1 threads, 1 runs; checked\n"
        )
        assert main(["db", "backup", source, target]) == Exit.CONFLICT
        assert "choose another name" in capsys.readouterr().err
        assert main(["db", "backup", source, str(tmp_path / "c.db"), "--json"]) == Exit.OK

    made = json.loads(capsys.readouterr().out)
    assert (made["target"], made["runs"]) == (str(tmp_path / "c.db"), 1)
