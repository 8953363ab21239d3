"""What `--help` says: for every command, and in the words of a call that works."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
import sys

import pytest

from awaken.cli import main as main_module
from awaken.cli.failure import Exit
from tests.cli.conftest import Awaken
from tests.cli.test_options import commands

COMMANDS = ["demo", "version", *[name for name, _ in commands()]]


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_has_an_example_that_can_be_called(
    awaken: Awaken, command: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "200")
    shown = awaken(*command.split(), "--help")
    assert shown.code == Exit.OK
    [example] = re.findall(r"^Example: awaken (.+)$", shown.out, re.MULTILINE)
    assert len(f"Example: awaken {example}") <= 80, "it is pasted in one piece"
    parsed = shlex.split(example)
    assert parsed[: len(command.split())] == command.split()
    called, bound, ignored = main_module.app.parse_args(parsed, exit_on_error=False, print_error=False)
    expected = main_module.app
    for name in command.split():
        expected = expected[name]
    assert (called, ignored) == (expected.default_command, {}), example
    assert bound is not None


def test_the_overview_has_every_command_below_a_heading_and_says_what_it_does(
    awaken: Awaken, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "200")
    lines = awaken("--help").out.splitlines()
    for command in COMMANDS:
        if " " not in command:
            [line] = [line for line in lines if re.match(rf"│ {command} ", line)]
            assert len(line.strip("│ ").removeprefix(command).split()) >= 3, line


def test_help_fits_80_columns() -> None:
    """In a process of its own: what prints help keeps the first width that it has met."""
    calls = [["--help"], *[[*name.split(), "--help"] for name in COMMANDS]]
    program = f"from awaken.cli.main import main\nfor call in {calls}: main(call)"
    environment = {**os.environ, "COLUMNS": "80"}
    done = subprocess.run([sys.executable, "-c", program], env=environment, text=True, capture_output=True, timeout=60)
    assert (done.returncode, done.stderr) == (0, "")
    assert max(map(len, done.stdout.splitlines())) <= 80


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_a_shell_can_read_its_completions(awaken: Awaken, shell: str) -> None:
    shown = awaken("completion", shell)
    assert shown.code == Exit.OK
    for word in ("schedules", "older-than"):
        assert word in shown.out
    if (found := shutil.which(shell)) is not None:
        checked = subprocess.run([found, "-n"], input=shown.out, text=True, capture_output=True, timeout=60)
        assert (checked.returncode, checked.stderr) == (0, "")


def test_bash_completes_commands_and_options(awaken: Awaken) -> None:
    script = awaken("completion", "bash").out
    for words, wanted in ((["awaken", "sched"], "schedules"), (["awaken", "queue", "--old"], "--older-than")):
        ask = (
            f"{script}\nCOMP_WORDS=({shlex.join(words)}); COMP_CWORD={len(words) - 1}\n_awaken 2>/dev/null"
            '\nprintf "%s\\n" "${COMPREPLY[@]}"'
        )
        done = subprocess.run(["bash", "-c", ask], text=True, capture_output=True, timeout=60)
        assert wanted in done.stdout.split(), (done.stdout, done.stderr)
