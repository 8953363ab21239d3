"""How commands are found, and how they end when they are called wrongly."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from awaken.cli import main as main_module
from awaken.cli.failure import Exit, Failure, failure_of
from awaken.client import ApiError, Unreachable
from awaken.domain.errors import (
    AlreadyExists,
    AwakenError,
    QueueFull,
    RunNotFound,
    StoreRefused,
    StoreUnavailable,
    StoreUnreachable,
    Unauthorized,
    Unavailable,
    UnknownAgent,
    ValidationError,
)
from tests.cli.conftest import Awaken


def test_the_version_is_printed(awaken: Awaken) -> None:
    assert awaken("version").out.strip() == awaken("--version").out.strip() != ""


@pytest.mark.parametrize(
    "arguments",
    [
        ("fly",),
        ("run",),
        ("run", "echo"),
        ("run", "echo", "hi", "--colour"),
        ("runs", "--limit", "many"),
        ("runs", "--limit", "0"),
        ("serve", "--log-format", "xml"),
    ],
)
def test_a_wrong_call_is_a_usage_error_in_one_line(awaken: Awaken, arguments: tuple[str, ...]) -> None:
    shown = awaken(*arguments)
    assert shown.code == Exit.USAGE
    assert shown.err.startswith("awaken: ")
    assert shown.err.count("\n") == 1


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (RunNotFound("r"), Exit.NOT_FOUND),
        (AlreadyExists("run", "r"), Exit.CONFLICT),
        (QueueFull("t", 3), Exit.CONFLICT),
        (ValidationError("no"), Exit.USAGE),
        (Unreachable("http://x", "refused"), Exit.UNREACHABLE),
        (Unavailable("starting", code="starting"), Exit.UNREACHABLE),
        (StoreUnavailable("the disk is full"), Exit.FAILED),
        (StoreRefused("a grant is missing"), Exit.FAILED),
        (StoreUnreachable("the database is away"), Exit.UNREACHABLE),
        (UnknownAgent("a", ()), Exit.NOT_FOUND),
        (UnknownAgent(None, ()), Exit.USAGE),
        (Unauthorized(), Exit.FAILED),
        (ApiError(500, "internal", "?", request_id=None, problem={}), Exit.FAILED),
    ],
)
def test_every_error_has_its_exit_code(error: AwakenError, code: Exit) -> None:
    failure = failure_of(error)
    assert failure.code is code
    assert str(error) in str(failure)


@pytest.mark.parametrize("argument", ["version", "--help"])
def test_a_pipe_that_closes_early_is_no_failure(argument: str) -> None:
    """`awaken version | true`: whoever reads has left before anything was written."""
    command = [sys.executable, "-c", _WRITES_TO_NOBODY, argument]
    done = subprocess.run(command, capture_output=True, timeout=60, env={"PYTHONPATH": _source_folder()})
    assert (done.returncode, done.stderr) == (0, b"")


_WRITES_TO_NOBODY = """
import os, sys
reading, writing = os.pipe()
os.close(reading)
os.dup2(writing, 1)
from awaken.cli.main import main
sys.exit(main(sys.argv[1:]))
"""


def _source_folder() -> str:
    return str(Path(main_module.__file__).parents[2])


def test_ctrl_c_ends_a_command_quietly(awaken: Awaken, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(*arguments: object, **options: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(main_module, "app", interrupted)
    shown = awaken("version")
    assert (shown.code, shown.err) == (130, "")


def test_a_failure_is_its_sentence() -> None:
    assert str(Failure("it did not work")) == "it did not work"
    assert Failure("it did not work").code is Exit.FAILED
