"""`awaken doctor` on a real file, served and not, and on a server."""

from __future__ import annotations

import asyncio
import json
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest

from awaken.cli.failure import Exit
from awaken.cli.main import main
from awaken.domain.guard import UNGUARDED
from awaken.domain.ids import DEFAULT_SCOPE
from awaken.domain.ticket import TicketRequest
from awaken.store.sqlite import SqliteStore
from awaken.testing.audit import check_sound
from awaken.testing.clock import ManualClock
from awaken.testing.conformance.steps import claimed, finished, settled, submitted, suspended, thread_id
from tests.client.live import LiveServer

Hand = Callable[[str], None]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "a.db"


@pytest.fixture
async def by_hand(path: Path) -> Hand:
    """Edits a file that holds a run that is done and one that is queued."""
    async with SqliteStore(path, clock=ManualClock()) as store:
        await finished(store, "d1")
        await submitted(store, "d2", thread=thread_id("t2"))

    def run(statement: str) -> None:
        with closing(sqlite3.connect(path)) as db, db:
            assert db.execute(statement).rowcount > 0

    return run


BROKEN = "DELETE FROM dispatches WHERE dispatch_id = 'd2'"
LOST = "DELETE FROM events WHERE first_seq = 1 AND thread = (SELECT no FROM threads WHERE thread_id = 't2')"


async def test_a_sound_file_is_said_to_be_one(path: Path, by_hand: Hand, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["doctor", str(path)]) == Exit.OK
    assert capsys.readouterr().out == "nothing contradicts itself\n"
    assert main(["doctor", str(path), "--json"]) == Exit.OK
    assert json.loads(capsys.readouterr().out) == {"items": []}


async def test_what_contradicts_itself_is_named_and_left_as_it_is(
    path: Path, by_hand: Hand, capsys: pytest.CaptureFixture[str]
) -> None:
    by_hand(BROKEN)

    assert main(["doctor", str(path)]) == Exit.FAILED
    said = capsys.readouterr().out
    assert "found: open_run_has_dispatch: thread t2 run-d2\n" in said
    assert "An unfinished run has its newest dispatch. Not so here; repair: the dispatch is made again" in said
    assert said.endswith("found; --repair mends what can be mended\n")

    assert main(["doctor", str(path), "--json"]) == Exit.FAILED
    items = json.loads(capsys.readouterr().out)["items"]
    assert {"open_run_has_dispatch"} <= {each["invariant"] for each in items}
    assert {each["result"] for each in items} == {"found"}


async def test_it_is_mended_when_that_is_asked(path: Path, by_hand: Hand, capsys: pytest.CaptureFixture[str]) -> None:
    by_hand(BROKEN)

    assert await asyncio.to_thread(main, ["doctor", str(path), "--repair"]) == Exit.OK
    assert "mended: open_run_has_dispatch: thread t2 run-d2\n" in capsys.readouterr().out
    assert main(["doctor", str(path)]) == Exit.OK
    async with SqliteStore(path, clock=ManualClock()) as store:
        await check_sound(store)
        assert [each.dispatch_id for each in await store.list_queue(DEFAULT_SCOPE, thread_id("t2"))] == ["d2"]


async def test_what_a_repair_brings_to_light_is_mended_too(path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    async with SqliteStore(path, clock=ManualClock()) as store:
        await settled(store, await claimed(store, "d1"), suspended(TicketRequest(key="k", kind="input")))
    with closing(sqlite3.connect(path)) as db, db:
        db.execute("UPDATE tickets SET run = 99999")

    assert await asyncio.to_thread(main, ["doctor", str(path), "--repair"]) == Exit.OK
    assert capsys.readouterr().out.endswith("3 repaired, 0 left\n")
    assert main(["doctor", str(path)]) == Exit.OK


async def test_what_cannot_be_mended_is_said_with_the_reason(
    path: Path, by_hand: Hand, capsys: pytest.CaptureFixture[str]
) -> None:
    by_hand(LOST)

    assert await asyncio.to_thread(main, ["doctor", str(path), "--repair"]) == Exit.FAILED
    said = capsys.readouterr().out
    assert "refused: events_have_no_hole: thread t2 1\n" in said
    assert "what is lost cannot be made again" in said


async def test_a_file_that_is_served_is_looked_at_and_not_repaired(
    path: Path, by_hand: Hand, capsys: pytest.CaptureFixture[str]
) -> None:
    async with SqliteStore(path, clock=ManualClock()) as store:
        await claimed(store, "d3", thread=thread_id("t3"))
        assert main(["doctor", str(path)]) == Exit.OK, "what is claimed contradicts nothing"
        assert await asyncio.to_thread(main, ["doctor", str(path), "--repair"]) == Exit.FAILED
        assert "already served" in capsys.readouterr().err


@pytest.mark.parametrize("what", ["missing", "folder", "text"])
def test_what_is_no_database_is_named_in_one_sentence(
    what: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    place = tmp_path / "it"
    if what == "folder":
        place.mkdir()
    elif what == "text":
        place.write_text("not a database, whatever it is called")

    for more in ([], ["--repair"]):
        assert main(["doctor", str(place), *more]) == Exit.FAILED
        said = capsys.readouterr()
        assert (said.out, said.err.count("\n")) == ("", 1)
        assert str(place) in said.err


def test_a_server_looks_through_what_it_has_stored(server: str, capsys: pytest.CaptureFixture[str]) -> None:
    for more in ([], ["--repair"]):
        assert main(["doctor", server, *more]) == Exit.OK
        said = capsys.readouterr()
        assert (said.out, said.err) == ("nothing contradicts itself\n", "")


def test_of_a_server_that_anybody_may_use_it_says_that(capsys: pytest.CaptureFixture[str]) -> None:
    with LiveServer(on_loopback=False) as url:
        assert main(["doctor", url, "--json"]) == Exit.OK
    said = capsys.readouterr()
    assert json.loads(said.out) == {"items": []}
    assert said.err == f"warning: {UNGUARDED}\n"


def test_without_a_place_it_is_the_server_that_other_commands_talk_to(
    server: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, path: Path
) -> None:
    assert main(["doctor", "--url", server]) == Exit.OK
    monkeypatch.setenv("AWAKEN_URL", "http://127.0.0.1:9")
    capsys.readouterr()
    assert main(["doctor"]) == main(["doctor", "http://127.0.0.1:9"]) == Exit.UNREACHABLE
    assert capsys.readouterr().err.count("http://127.0.0.1:9") == 2
    assert main(["doctor", str(path)]) == Exit.FAILED, "a file that is named goes before the environment"
    assert str(path) in capsys.readouterr().err
