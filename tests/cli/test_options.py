"""Every argument of every command, with nonsense: one sentence and an exit code, whatever it is."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Final

import pytest
from cyclopts import App, ArgumentCollection

from awaken.cli import main as main_module
from awaken.cli import serve as serve_module
from awaken.cli.failure import Exit
from tests.cli.conftest import Awaken

NONSENSE: Final = (
    "",
    " ",
    ".",
    "..",
    "a/b",
    "../agents",
    "\udcff\udcfe",
    "naïve",
    "-1",
    "0",
    "nan",
    "inf",
    "-inf",
    "1e300",
    "1e400",
    "99999999999999999999",
    "9" * 5000,
    "x" * 5000,
    "http://[::1",
    "http://here:99999",
    "sqlite:///\udcff",
    "no.such:thing",
    "{",
    "[" * 5000,
)
"""Of two neighbours, which are alike, an argument is tried with one."""
GOOD: Final = {
    "AGENT": "nobody",
    "TEXT": "hi",
    "THREAD_OR_RUN": "nobody",
    "NAME": "nothing",
    "THREAD": "nobody",
    "MESSAGE": "m",
}
"""What is required besides the one that is nonsense."""
BESIDES: Final = {"serve": ["--port=0"], "schedules add": ["--every=3600"]}
"""Without these a command has something else to complain about, or is not repeatable."""
IN_PLACE_OF: Final = {
    "--bind": "--port",
    "--port": "--port",
    "--cron": "--every",
    "--every": "--every",
    "--data": "TEXT",
}
UNTRIED: Final = {"demo", "version"}
"""They take nothing."""


def commands(app: App = main_module.app, chain: tuple[str, ...] = ()) -> Iterator[tuple[str, ArgumentCollection]]:
    """Every command there is, with what it takes."""
    for name in app:
        if not name.startswith("-") and name not in UNTRIED:
            yield " ".join((*chain, name)), app[name].assemble_argument_collection()
            yield from commands(app[name], (*chain, name))


COMMANDS: Final = dict(commands())
ARGUMENTS: Final = [
    (command, each.name) for command, arguments in COMMANDS.items() for each in arguments if each.hint is not bool
]


@pytest.fixture(autouse=True)
def elsewhere(tmp_path: Path, server: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """An empty folder, a server that answers, and a `serve` that does not wait for a signal."""

    async def served(*given: object, **options: object) -> None:
        return None

    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("AWAKEN_URL", server)
    monkeypatch.setattr(serve_module, "serve_until_stopped", served)


@pytest.mark.parametrize(("command", "argument"), ARGUMENTS)
def test_nonsense_is_answered_in_one_line(awaken: Awaken, command: str, argument: str) -> None:
    replaced = IN_PLACE_OF.get(argument, argument)
    besides = [each for each in BESIDES.get(command, ()) if not each.startswith(f"{replaced}=")]
    for nonsense in NONSENSE[len(command + argument) % 2 :: 2]:
        good = {**GOOD, argument: nonsense}
        given = [*command.split(), *besides]
        for each in COMMANDS[command]:
            if each.name == argument and argument.startswith("-"):
                given.append(f"{argument}={nonsense}")
            elif each.name in good and (each.name == argument or each.name != replaced):
                given.append(good[each.name])
        shown = awaken(*given)
        assert shown.code in (*Exit,), (given, shown)
        if shown.code != Exit.OK:
            assert (shown.err[:8], shown.err.count("\n"), shown.out) == ("awaken: ", 1, ""), (given, shown)


NEEDED: Final = {
    "decide": ["--approve"],
    "queue place": ["--priority=3"],
    "dead discard": ["--reason=x"],
    "schedules add": ["--every=3600"],
}
"""Without these a command asks no server."""
NAMES_NOTHING: Final = {"AGENT", "THREAD", "RUN", "THREAD_OR_RUN", "DISPATCH_OR_RUN", "TICKET", "NAME"}
"""What an argument is called that is the id, or the name, of something that has to be there."""


def called(command: str) -> list[str]:
    """A good call of a command, about what is not there."""
    taken = [GOOD.get(each.name, "nobody") for each in COMMANDS[command] if each.name[0] not in "-*"]
    return [*command.split(), *taken, *NEEDED.get(command, [])]


def test_a_server_that_is_not_there_is_named_by_every_command(awaken: Awaken, monkeypatch: pytest.MonkeyPatch) -> None:
    asking = [command for command, arguments in COMMANDS.items() if "--url" in [each.name for each in arguments]]
    assert len(asking) > 40
    for command in asking:
        call = called(command) if command != "doctor" else ["doctor"]
        monkeypatch.setenv("AWAKEN_URL", "http://127.0.0.1:9")
        by_environment = awaken(*call)
        monkeypatch.delenv("AWAKEN_URL")
        for shown in (by_environment, awaken(*call, "--url", "http://127.0.0.1:9")):
            assert (shown.code, shown.out, shown.err.count("\n")) == (Exit.UNREACHABLE, "", 1), (call, shown)
            assert "http://127.0.0.1:9" in shown.err, (call, shown)


def test_what_is_not_there_is_not_found_by_every_command(awaken: Awaken) -> None:
    asking = [name for name, taken in COMMANDS.items() if NAMES_NOTHING & {each.name for each in taken}]
    assert len(asking) > 25
    for command in asking:
        if command != "schedules add":  # it makes one
            shown = awaken(*called(command))
            assert (shown.code, shown.out, shown.err.count("\n")) == (Exit.NOT_FOUND, "", 1), (command, shown)


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (("show", ""), "thread or run '' is not a valid id"),
        (("show", "."), "thread or run '.' is not a valid id"),
        (("cancel", "a/b"), "thread or run 'a/b' is not a valid id"),
        (("tail", "\udcff\udcfe"), r"thread or run '\udcff\udcfe' is not a valid id"),
        (("run", "talk", "hi", "--thread", ""), "thread_id '' is not a valid id"),
        (("runs", "--limit", "99999999999999999999"), "--limit is 1 to 100000, not 99999999999999999999"),
        (("db", "a.db", "--run-retention-days", "1e300"), "a retention is 0 to 1000000 days, not 1e+300"),
        (("serve", "--db", "\udcff"), "--db is not in UTF-8"),
        (("frob",), "there is no command 'frob'; `awaken --help` lists what there is"),
        (("schedule",), "there is no command 'schedule', perhaps `awaken schedules` is meant; `awaken --help`"),
        (("events", "tail"), "there is no command 'events', perhaps `awaken tail` is meant"),
        (("runs", "list"), "'list' is one argument too many, perhaps `awaken runs` is meant"),
        (("runs", "explain"), "'explain' is one argument too many, perhaps `awaken why` is meant"),
        (("queue", "stats"), "'stats' is one argument too many, perhaps `awaken stats` is meant"),
        (("db", "check"), "there is no file 'check'; what is stored is seen to by `awaken doctor`"),
        (("doctor", "a.db", "--url", "http://127.0.0.1:9"), "give a file or a URL, or the address of a server with"),
        (("version", "x"), "'x' is one argument too many; `awaken version --help`"),
        (("run", "talk", "hi", "there"), "'there' is one argument too many; `awaken run --help`"),
        (("run", "talk"), "the text is empty; write what the agent is to answer"),
        (("run", "talk", "--data", "{"), "--data is not JSON"),
        (("run", "talk", "hi", "--data", "1"), "give either a text or --data, not both"),
    ],
)
def test_a_wrong_call_says_what_is_wrong(awaken: Awaken, call: tuple[str, ...], words: str) -> None:
    shown = awaken(*call)
    assert (shown.code, shown.out, shown.err.count("\n")) == (Exit.USAGE, "", 1)
    assert words in shown.err
