"""`awaken move`, from a real file to a real server."""

from __future__ import annotations

import asyncio
import json
import re
import socket
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from awaken import Awaken, Context
from awaken.cli.failure import Exit
from awaken.cli.main import main
from awaken.domain.errors import StoreUnavailable
from awaken.store.postgres.opening import connect, place_of

SECRET = "hunter2"


async def greet(ctx: Context) -> AsyncIterator[str]:
    name = await ctx.ask("What is your name?")
    yield f"Good day, {name}."


def application(url: str) -> Awaken:
    app = Awaken(url)
    app.agent("greeter", greet)
    return app


async def ask(app: Awaken) -> str:
    """A run that waits for an answer."""
    async with app, asyncio.timeout(30):
        run = await app.submit("thread-1", "hello", agent="greeter")
        async for event in run.events():
            if event.kind == "RunSuspended":
                break
        return run.run_id


async def test_a_run_that_waits_is_answered_on_the_server(
    tmp_path: Path, postgres_url: str, capsys: pytest.CaptureFixture[str]
) -> None:
    file = f"sqlite:///{tmp_path}/a.db"
    run_id = await ask(application(file))
    capsys.readouterr()

    assert await asyncio.to_thread(main, ["move", file, postgres_url, "--dry-run", "--json"]) == Exit.OK
    would = json.loads(capsys.readouterr().out)
    assert would["dry_run"] and would["rows"]["runs"] == 1
    assert await asyncio.to_thread(main, ["move", file, postgres_url]) == Exit.OK
    said = capsys.readouterr().out
    assert re.search(r"(?m)^runs +1$", said) and "compared, and the file is closed" in said

    app = application(postgres_url)
    async with app, asyncio.timeout(30):
        [ticket] = [each async for each in app.list_tickets()]
        await app.decide(ticket.ticket_id, "answer", result="Ada")
        done = await app.wait(run_id)
        assert done.output == "Good day, Ada."


async def test_everything_on_a_file_that_has_moved_says_where_to(
    tmp_path: Path, postgres_url: str, capsys: pytest.CaptureFixture[str]
) -> None:
    file = f"sqlite:///{tmp_path}/a.db"
    await ask(application(file))
    assert await asyncio.to_thread(main, ["move", file, postgres_url]) == Exit.OK
    capsys.readouterr()

    with pytest.raises(StoreUnavailable, match="has moved to database"):
        async with application(file):
            pass
    for command in (
        ["serve", "--store", file, "--check"],
        ["db", f"{tmp_path}/a.db"],
        ["db", "backup", f"{tmp_path}/a.db", f"{tmp_path}/b.db"],
        ["doctor", f"{tmp_path}/a.db"],
        ["doctor", file, "--repair"],
        ["move", file, postgres_url],
        ["move", file, postgres_url, "--dry-run"],
    ):
        assert await asyncio.to_thread(main, command) == Exit.FAILED
        assert "has moved to database" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("target", "why"),
    [
        (f"postgresql://me:{SECRET}@127.0.0.1:1/none", "was not reached"),
        (f"postgresql://me:{SECRET}@127.0.0.1:1/none?schema=1", "schema is"),
        (f"postgre://me:{SECRET}@127.0.0.1/none", "it goes from sqlite"),
        (f"postgresql://me:{SECRET}/2@127.0.0.1/none", "write %2F for /"),
        (f"postgresql://me:{SECRET}#2@127.0.0.1/none", "%23 for #"),
        (f"postgresql://me:{SECRET}?2@127.0.0.1/none", "%3F for ?"),
    ],
)
async def test_no_refusal_names_the_password(
    target: str, why: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = f"sqlite:///{tmp_path}/a.db"
    await ask(application(file))
    capsys.readouterr()

    for command in (
        ["move", file, target],
        ["serve", "--store", target, "--check"],
        ["doctor", target],
        ["db", target],
        ["db", "backup", target, f"{tmp_path}/b.db"],
        ["migrate", target],
        ["why", "run-1", "--url", target],
    ):
        assert await asyncio.to_thread(main, command) != Exit.OK
        said = capsys.readouterr()
        assert SECRET not in said.err + said.out, command
        assert command[0] != "move" or why in said.err


async def test_a_script_can_tell_a_database_that_is_away_from_a_typing_error(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = f"sqlite:///{tmp_path}/a.db"
    await ask(application(file))
    with socket.create_server(("127.0.0.1", 0)) as nobody:
        away = f"postgresql://me@127.0.0.1:{nobody.getsockname()[1]}/none?sslmode=disable"
    for command, code in (
        (["db", away], Exit.UNREACHABLE),
        (["doctor", away], Exit.UNREACHABLE),
        (["doctor", away, "--repair"], Exit.UNREACHABLE),
        (["migrate", away], Exit.UNREACHABLE),
        (["move", file, away], Exit.UNREACHABLE),
        (["move", file, away, "--dry-run"], Exit.UNREACHABLE),
        (["serve", "--store", away, "--check"], Exit.UNREACHABLE),
        (["worker", "--store", away, "--check"], Exit.UNREACHABLE),
        (["migrate", f"{away}&schema=1"], Exit.USAGE),
        (["migrate", file.replace("a.db", "a/b.db")], Exit.FAILED),
    ):
        assert await asyncio.to_thread(main, command) == code, command
    assert "it was not reached" in capsys.readouterr().err


async def test_a_store_on_postgres_is_contracted_and_a_file_is_not(
    tmp_path: Path, postgres_url: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert await asyncio.to_thread(main, ["migrate", postgres_url, "--contract"]) == Exit.OK
    assert "versions of awaken that know schema 1 can use it" in capsys.readouterr().out
    file = f"sqlite:///{tmp_path}/a.db"
    assert await asyncio.to_thread(main, ["migrate", file, "--contract"]) != Exit.OK
    assert "a file has nothing for processes of older versions" in capsys.readouterr().err
    assert not (tmp_path / "a.db").exists()


async def test_a_migration_names_what_it_has_brought_to_this_version_and_what_it_has_made(
    tmp_path: Path, postgres_url: str, capsys: pytest.CaptureFixture[str]
) -> None:
    for url, name in ((postgres_url, place_of(postgres_url).shown), (f"sqlite:///{tmp_path}/a.db", f"{tmp_path}/a.db")):
        for words in ("a new store was made", "its schema is that of this version"):
            assert await asyncio.to_thread(main, ["migrate", url]) == Exit.OK
            said = capsys.readouterr().out
            assert words in said and name in said


async def test_a_worker_is_checked_before_it_is_started(postgres_url: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert await asyncio.to_thread(main, ["worker", "--store", postgres_url, "--check"]) == Exit.OK
    assert "could be served: " in capsys.readouterr().out
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        command = ["worker", "--store", postgres_url, "--check", "--port", port]
        assert await asyncio.to_thread(main, command) == Exit.FAILED
        assert "in use" in capsys.readouterr().err
    connection = await connect(place_of(postgres_url))
    schema = place_of(postgres_url).schema
    try:
        assert await connection.fetchval("SELECT to_regnamespace($1) IS NULL", schema)
    finally:
        await connection.close()


async def test_a_server_is_looked_at_with_the_same_commands(
    tmp_path: Path, postgres_url: str, capsys: pytest.CaptureFixture[str]
) -> None:
    async def run(*command: str) -> tuple[int, str]:
        code = await asyncio.to_thread(main, command)
        said = capsys.readouterr()
        return code, said.out or said.err

    for command in ("db", "doctor"):
        code, said = await run(command, postgres_url)
        assert code == Exit.FAILED and "is empty. Begin `awaken migrate`" in said
    assert (await run("serve", "--store", postgres_url, "--check"))[0] == Exit.OK
    assert (await run("migrate", postgres_url))[0] == Exit.OK
    await ask(application(postgres_url))

    code, said = await run("db", postgres_url, "--json")
    rows = {part["name"]: part["rows"] for part in json.loads(said)["parts"]}
    assert code == Exit.OK and (rows["threads"], rows["runs"], rows["tickets"]) == (1, 1, 1)
    assert (await run("db", postgres_url))[1].count("MiB") > 5
    assert await run("doctor", postgres_url) == (Exit.OK, "nothing contradicts itself\n")

    connection = await connect(place_of(postgres_url))
    await connection.execute("UPDATE threads SET waiting = 7")
    await connection.close()
    code, said = await run("doctor", postgres_url)
    assert code == Exit.FAILED and "--repair mends" in said
    code, said = await run("doctor", postgres_url, "--repair")
    assert code == Exit.OK and "1 repaired, 0 left" in said
    assert (await run("db", "backup", postgres_url, f"{tmp_path}/b.db"))[0] == Exit.USAGE
