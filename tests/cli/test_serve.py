"""What `awaken serve` refuses, and how it says so: one sentence with a way out, and no traceback."""

from __future__ import annotations

import asyncio
import os
import socket
import sqlite3
import subprocess
import sys
from collections.abc import Generator
from pathlib import Path
from typing import Any

import pytest

from awaken.cli import serve as serving
from awaken.cli.failure import Exit
from awaken.cli.loading import DemoOptions, demo_app, load_app
from awaken.cli.server import Address
from awaken.domain.clock import SystemClock
from awaken.domain.guard import UNGUARDED
from awaken.store.sqlite import SqliteStore
from awaken.wiring import DEFAULT_URL, open_store
from tests.cli.conftest import Awaken, Result


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Generator[Path]:
    """An empty folder to run in; what is imported from it is forgotten afterwards."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", sys.path[:])
    before = set(sys.modules)
    yield tmp_path
    for name in set(sys.modules) - before:
        if getattr(sys.modules[name], "__file__", None) is not None and str(tmp_path) in str(
            sys.modules[name].__file__
        ):
            del sys.modules[name]


def refused(result: Result, code: Exit, *words: str) -> None:
    assert result.code == code, result
    assert result.err.startswith("awaken: ")
    assert result.err.count("\n") == 1, result.err
    for word in words:
        assert word in result.err
    assert result.out == ""


# --- where ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("address", ["0.0.0.0:0", "[::]:0", "192.0.2.7:8000"])
def test_an_address_beyond_this_machine_is_refused_without_authentication(awaken: Awaken, address: str) -> None:
    refused(awaken("serve", "--bind", address), Exit.USAGE, "no authentication", "--insecure-no-auth")
    refused(awaken("serve", "--host", address.rpartition(":")[0]), Exit.USAGE, "no authentication")


def test_an_app_that_finds_out_who_asks_may_be_reached_from_elsewhere(here: Path, awaken: Awaken) -> None:
    (here / "guarded.py").write_text(
        "from awaken import Awaken\nfrom awaken.http.settings import HttpSettings\n"
        "app = Awaken('memory://', http=HttpSettings(authorize=lambda request: 'ann'))\n"
    )
    refused(awaken("serve", "guarded:app", "--bind", "192.0.2.7:0"), Exit.FAILED, "192.0.2.7")


def test_a_protocol_that_is_not_there_is_refused_by_name(awaken: Awaken, monkeypatch: pytest.MonkeyPatch) -> None:
    refused(awaken("serve", "--protocols", "ai-sdk,telex"), Exit.USAGE, "--protocols", "telex", "ai_sdk")
    monkeypatch.setenv("AWAKEN_PROTOCOLS", "telex")
    refused(awaken("serve"), Exit.USAGE, "telex")


@pytest.mark.parametrize(
    ("flags", "environment", "served"),
    [
        (["--protocols", "ai-sdk, ag_ui"], None, {"ai_sdk", "ag_ui"}),
        (["--protocols", "none"], None, set[str]()),
        (["--protocols", "langgraph"], "ag-ui", {"langgraph"}),
        ([], "open-responses", {"open_responses"}),
        ([], "", {"ag_ui", "langgraph"}),
        ([], None, {"ag_ui", "langgraph"}),
    ],
)
def test_only_the_protocols_that_are_chosen_are_served_and_loaded(
    here: Path, flags: list[str], environment: str | None, served: set[str]
) -> None:
    """By the command, its environment, or else the app."""
    (here / "mine.py").write_text(
        "from awaken import Awaken\nfrom awaken.http.settings import HttpSettings\n"
        "app = Awaken('memory://', http=HttpSettings(protocols=('ag_ui', 'langgraph')))\n"
    )
    told = (
        "import sys\nfrom awaken.cli import serve, server\n"
        "def serve_until_stopped(app, *args, settings, **more):\n"
        "    app.asgi(settings=settings)\n"
        "    async def nothing(): print(*{n.split('.')[2] for n in sys.modules if n.startswith('awaken.protocols.') "
        "and n.endswith('.routes')})\n"
        "    return nothing()\n"
        "serve.serve_until_stopped = serve_until_stopped\n"
        "from awaken.cli.main import main\n"
        "sys.argv = ['awaken', 'serve', 'mine:app', '--port', '0', *sys.argv[1:]]\nsys.exit(main())\n"
    )
    environ = {name: value for name, value in os.environ.items() if name != "AWAKEN_PROTOCOLS"}
    environ["PYTHONPATH"] = str(Path(serving.__file__).parents[2])  # this package, whatever folder it runs in
    if environment is not None:
        environ["AWAKEN_PROTOCOLS"] = environment
    done = subprocess.run(
        [sys.executable, "-c", told, *flags], capture_output=True, text=True, timeout=60, check=False, env=environ
    )
    assert done.returncode == 0, done.stderr
    assert set(done.stdout.split()) == served


@pytest.mark.parametrize(
    ("flags", "environment", "expected"),
    [
        ([], {}, {"http.allowed_hosts": "command", "http.console": "command"}),
        (
            ["--no-console", "--allowed-host", "a.example", "--max-concurrent-runs", "7", "--protocols", "ag-ui"],
            {"AWAKEN_PROTOCOLS": "none"},
            {
                "http.allowed_hosts": "flag",
                "http.console": "flag",
                "http.protocols": "flag",
                "mailbox.max_concurrent_runs": "flag",
            },
        ),
        (
            ["--host", "0.0.0.0", "--insecure-no-auth"],
            {"AWAKEN_PROTOCOLS": "none"},
            {"http.console": "command", "http.protocols": "environment"},
        ),
    ],
)
def test_who_chose_a_setting_is_known(
    awaken: Awaken,
    monkeypatch: pytest.MonkeyPatch,
    flags: list[str],
    environment: dict[str, str],
    expected: dict[str, str],
) -> None:
    """What the command decides by the address is no flag that anybody has given."""
    seen: list[object] = []

    async def served(*given: object, sources: object, **options: object) -> None:
        seen.append(sources)

    monkeypatch.setattr(serving, "serve_until_stopped", served)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    assert awaken("serve", "--port", "0", "--store", "memory://", *flags).code == Exit.OK
    assert seen == [expected]


def test_a_port_in_use_is_named_with_the_flag_that_helps(awaken: Awaken) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        refused(awaken("serve", "--port", str(port)), Exit.FAILED, f"port {port}", "in use", "--port")


def test_an_address_of_another_machine_cannot_be_listened_on(awaken: Awaken) -> None:
    refused(awaken("serve", "--bind", "192.0.2.7:0", "--insecure-no-auth"), Exit.FAILED, "192.0.2.7")


@pytest.mark.parametrize(
    "arguments",
    [
        ("--bind", "8000"),
        ("--bind", "127.0.0.1:http"),
        ("--bind", "127.0.0.1:1", "--port", "2"),
        ("--port", "65536"),
        ("--port", "-1"),
    ],
)
def test_an_address_that_makes_no_sense_is_a_usage_error(awaken: Awaken, arguments: tuple[str, ...]) -> None:
    refused(awaken("serve", *arguments), Exit.USAGE)


@pytest.mark.parametrize(
    ("address", "is_loopback", "url"),
    [
        (Address("127.0.0.1", 8000), True, "http://127.0.0.1:8000"),
        (Address("127.0.0.5", 1), True, "http://127.0.0.5:1"),
        (Address("localhost", 1), True, "http://localhost:1"),
        (Address("::1", 1), True, "http://[::1]:1"),
        (Address("0.0.0.0", 1), False, "http://127.0.0.1:1"),
        (Address("::", 1), False, "http://[::1]:1"),
        (Address("10.0.0.1", 1), False, "http://10.0.0.1:1"),
    ],
)
def test_an_address_knows_who_reaches_it(address: Address, is_loopback: bool, url: str) -> None:
    assert (address.is_loopback, address.to_url()) == (is_loopback, url)


@pytest.mark.parametrize("seconds", ["-1", "inf", "nan", "1e+300", "86401"])
def test_a_time_to_answer_after_sigterm_that_is_none_is_a_usage_error(awaken: Awaken, seconds: str) -> None:
    refused(awaken("serve", f"--shutdown-drain-s={seconds}"), Exit.USAGE, "--shutdown-drain-s", seconds)


@pytest.mark.parametrize(
    ("flag", "value"),
    [
        ("--public-url", "agents.example"),
        ("--allowed-host", "https://agents.example"),
        ("--allowed-origin", "shop.example"),
        ("--forwarded-allow-ips", "127.0.0.1,nginx"),
    ],
)
def test_a_name_behind_a_proxy_that_is_none_is_a_usage_error(awaken: Awaken, flag: str, value: str) -> None:
    shown = awaken("serve", "--port", "0", "--store", "memory://", flag, value)
    refused(shown, Exit.USAGE, flag.strip("-").replace("-", "_"))


# --- what -------------------------------------------------------------------------------------------------------------


def test_an_app_is_found_in_the_folder_the_command_runs_in(here: Path) -> None:
    (here / "mine.py").write_text("from awaken import Awaken\nclass inner:\n    app = Awaken('memory://')\n")
    assert load_app("mine:inner.app").store.capabilities.kind == "memory"


@pytest.mark.parametrize(
    ("source", "target", "code", "words"),
    [
        ("", "mine", Exit.USAGE, ("module:app",)),
        ("", "mine:", Exit.USAGE, ("module:app",)),
        ("", "theirs:app", Exit.USAGE, ("no module 'theirs'",)),
        ("", "mine.sub:app", Exit.USAGE, ("no module 'mine.sub'",)),
        ("", "mine:app", Exit.USAGE, ("no 'app'", "app = Awaken(")),
        ("app = 3", "mine:app", Exit.USAGE, ("is a int",)),
        ("import nothing_like_it", "mine:app", Exit.FAILED, ("nothing_like_it",)),
        ("\n1 / 0", "mine:app", Exit.FAILED, ("ZeroDivisionError", "mine.py:2")),
        ("def (", "mine:app", Exit.FAILED, ("SyntaxError",)),
    ],
)
def test_an_app_that_cannot_be_loaded_is_explained(
    awaken: Awaken, here: Path, source: str, target: str, code: Exit, words: tuple[str, ...]
) -> None:
    (here / "mine.py").write_text(source)
    refused(awaken("serve", target, "--port", "0"), code, *words)


def test_what_an_app_decides_itself_cannot_be_given_as_a_flag(awaken: Awaken, here: Path) -> None:
    shown = awaken("serve", "mine:app", "--db", "x.db", "--max-concurrent-runs", "3")
    refused(shown, Exit.USAGE, "--db, --max-concurrent-runs", "mine:app")


# --- on what ----------------------------------------------------------------------------------------------------------


def test_the_demo_agents_take_their_store_from_the_flags(here: Path) -> None:
    def store(**options: Any) -> tuple[str, str, str]:
        given: dict[str, Any] = {"db": None, "store": None, "durability": None, "max_concurrent_runs": None}
        store = demo_app(DemoOptions(**{**given, **options})).store
        return store.capabilities.kind, store.capabilities.durability, str(getattr(store, "path", ""))

    own = store()
    assert own == ("sqlite", "full", str(here / "awaken-demo.db"))
    assert own[2] != str(getattr(open_store(DEFAULT_URL), "path", "")), "a file of its own, not that of an application"
    assert store(db="a b#1?.db", durability="process") == ("sqlite", "process", str(here / "a b#1?.db"))
    assert store(db=str(here / "x.db")) == ("sqlite", "full", str(here / "x.db"))
    assert store(store="sqlite:///y.db?durability=process") == ("sqlite", "process", str(here / "y.db"))
    assert store(store="memory://") == ("memory", "volatile", "")


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--db", "x.db", "--store", "memory://"), ("--db or --store",)),
        (("--store", "memory://", "--durability", "full"), ("--durability",)),
        (("--store", "sqlite:///x.db?durability=full", "--durability", "process"), ("--durability",)),
        (("--store", "mysql://x"), ("names no store",)),
        (("--max-concurrent-runs", "0"), ("max_concurrent_runs",)),
    ],
)
def test_a_store_that_makes_no_sense_is_a_usage_error(
    awaken: Awaken, arguments: tuple[str, ...], words: tuple[str, ...]
) -> None:
    refused(awaken("serve", "--port", "0", *arguments), Exit.USAGE, *words)


@pytest.mark.parametrize("role", ["api", "worker"])
def test_a_file_has_one_process_that_does_everything(awaken: Awaken, role: str) -> None:
    shown = awaken("serve", "--port", "0", "--role", role)
    refused(shown, Exit.USAGE, "'sqlite' belongs to one process", "postgresql://host/database")


@pytest.mark.parametrize("arguments", [(), ("--processes", "2"), ("--store", "sqlite:///x.db")])
def test_a_file_has_no_workers(awaken: Awaken, arguments: tuple[str, ...]) -> None:
    refused(awaken("worker", *arguments), Exit.USAGE, "'sqlite' belongs to one process", "postgresql://host/database")


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--processes", "0"), ("--processes", "not 0")),
        (("--processes", "3", "--port", "65534"), ("3 ports", "65534")),
        (("--agents", "echo, nobody"), ("--agents", "'nobody'", "echo, assistant")),
        (("--agents", " ,"), ("--agents names none",)),
        (("--store", "mysql://x"), ("names no store",)),
    ],
)
def test_workers_that_make_no_sense_are_a_usage_error(
    awaken: Awaken, arguments: tuple[str, ...], words: tuple[str, ...]
) -> None:
    where = () if "--store" in arguments else ("--store", "postgresql://127.0.0.1:1/y")
    refused(awaken("worker", *where, *arguments), Exit.USAGE, *words)


def test_a_database_that_is_not_reached_is_named(awaken: Awaken) -> None:
    url = "postgresql://somebody:secret@127.0.0.1:1/y"
    refused(awaken("serve", "--port", "0", "--store", url), Exit.UNREACHABLE, "127.0.0.1:1/y", "not reached")


def test_a_file_that_is_no_database_is_refused(awaken: Awaken, here: Path) -> None:
    (here / "notes.db").write_text("dear diary, " * 500)
    refused(awaken("serve", "--port", "0", "--db", "notes.db"), Exit.FAILED, "notes.db")
    assert (here / "notes.db").read_text().startswith("dear diary")


def test_a_database_of_another_program_is_refused(awaken: Awaken, here: Path) -> None:
    with sqlite3.connect(here / "other.db") as other:
        other.execute("CREATE TABLE accounts (id)")
    other.close()
    refused(awaken("serve", "--port", "0", "--db", "other.db"), Exit.FAILED, "other.db", "another program")


def test_a_folder_that_does_not_exist_is_named(awaken: Awaken) -> None:
    refused(awaken("serve", "--port", "0", "--db", "no/where.db"), Exit.FAILED, "no/where.db")


def test_a_database_that_another_server_holds_is_refused(awaken: Awaken, here: Path) -> None:
    async def refuse() -> None:
        async with SqliteStore(here / "busy.db", clock=SystemClock()):
            shown = await asyncio.to_thread(_in_another_process, here)
            assert shown.code == Exit.FAILED
            assert "already served by process" in shown.err
            assert shown.err.count("\n") == 1

    asyncio.run(refuse())


def _in_another_process(folder: Path) -> Result:
    command = [sys.executable, "-m", "awaken.cli.main", "serve", "--port", "0", "--db", "busy.db"]
    done = subprocess.run(command, capture_output=True, timeout=60, cwd=folder, text=True)
    return Result(done.returncode, done.stdout, done.stderr)


@pytest.mark.parametrize(
    ("source", "words"),
    [
        ("app.agent('x', agent)\napp.agent('x', agent)", "AlreadyExists: the agent 'x' is registered already"),
        ("app.agent('a b', agent)", "ValidationError: agent_id 'a b' is not a valid id"),
        ("app.agent('x', 5)", "ValidationError: 5 is not an agent"),
        ("import json\njson.loads('{')", "JSONDecodeError"),
        ("raise SystemExit('no key')", "SystemExit: no key"),
        ("def broken(:", "SyntaxError"),
        ("import no_such_module", "No module named 'no_such_module'"),
    ],
)
def test_a_mistake_in_an_app_is_placed_in_its_own_file(here: Path, awaken: Awaken, source: str, words: str) -> None:
    before = "from awaken import Awaken\n\napp = Awaken('memory://')\nasync def agent(ctx): pass\n"
    (here / "mistaken.py").write_text(f"{before}{source}\n")
    line = before.count("\n") + source.count("\n") + 1
    refused(awaken("serve", "mistaken:app"), Exit.FAILED, words, f"mistaken.py:{line})")


# --- whether it could be ----------------------------------------------------------------------------------------------

APP = "from awaken import Awaken\napp = Awaken('sqlite:///shop.db')\napp.agent('a', 'bots:answer')\n"


def test_a_check_starts_nothing_and_says_that_it_could_be_served(here: Path, awaken: Awaken) -> None:
    (here / "shop.py").write_text(APP)
    (here / "bots.py").write_text("async def answer(ctx): ...\n")
    before = sorted(path.name for path in here.iterdir())

    result = awaken("serve", "shop:app", "--check", "--port", "0")

    assert (result.code, result.err) == (Exit.OK, "")
    assert result.out.startswith("could be served: a on http://127.0.0.1:0, ") and "durability full" in result.out
    assert [name for name in sorted(path.name for path in here.iterdir()) if name != "__pycache__"] == before
    result = awaken("serve", "shop:app", "--check", "--bind", "0.0.0.0:0", "--insecure-no-auth")
    assert result.out.endswith(f"warning: {UNGUARDED}\n")


def test_a_check_finds_an_agent_that_cannot_be_imported(here: Path, awaken: Awaken) -> None:
    (here / "shop.py").write_text(APP)
    (here / "bots.py").write_text("import nowhere_to_be_found\n")

    refused(awaken("serve", "shop:app", "--check"), Exit.FAILED, "bots:answer", "nowhere_to_be_found")


async def test_a_check_finds_a_store_that_cannot_be_served(here: Path, awaken: Awaken) -> None:
    (here / "shop.py").write_text(APP)
    (here / "bots.py").write_text("async def answer(ctx): ...\n")
    async with SqliteStore(here / "shop.db"):
        refused(await asyncio.to_thread(awaken, "serve", "shop:app", "--check"), Exit.FAILED, "is already served by")
    with sqlite3.connect(here / "shop.db") as connection:
        connection.execute("DROP TABLE events")
    connection.close()
    refused(await asyncio.to_thread(awaken, "serve", "shop:app", "--check"), Exit.FAILED, "lacks table events")


def test_a_check_finds_an_address_that_is_taken(here: Path, awaken: Awaken) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        refused(awaken("serve", "--store", "memory://", "--check", "--port", port), Exit.FAILED, port, "in use")
