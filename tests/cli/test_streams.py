"""Standard streams that are closed, full, or not in UTF-8: one sentence, no traceback, and a server that serves."""

from __future__ import annotations

import asyncio
import json
import signal
import subprocess
import sys
from pathlib import Path

import httpx
import pytest

from awaken.cli.failure import Exit
from awaken.client import Client
from awaken.store.sqlite import SqliteStore

WITHIN_S = 60
AWAKEN = f"{sys.executable} -m awaken.cli.main"

needs_shell = pytest.mark.skipif(sys.platform == "win32", reason="these redirections are those of a POSIX shell")


def shell(command: str, *, given: bytes = b"", folder: Path | None = None) -> tuple[int, str]:
    """The exit code of a command, and what it wrote to its standard error."""
    done = subprocess.run(command, shell=True, input=given, stderr=subprocess.PIPE, timeout=WITHIN_S, cwd=folder)
    return done.returncode, done.stderr.decode()


@needs_shell
@pytest.mark.parametrize(("redirection", "why"), [(">&-", "it is closed"), (">/dev/full", "No space left on device")])
@pytest.mark.parametrize("command", ["version", "--help", "db runs.db"])
def test_an_output_that_cannot_be_written_is_a_failure_in_one_sentence(
    tmp_path: Path, command: str, redirection: str, why: str
) -> None:
    async def create() -> None:
        async with SqliteStore(tmp_path / "runs.db"):
            pass

    asyncio.run(create())
    code, err = shell(f"{AWAKEN} {command} {redirection}", folder=tmp_path)
    assert (code, err.count("\n")) == (Exit.FAILED, 1), err
    assert err.startswith("awaken: the standard output does not take what was to be printed")
    assert why in err


@needs_shell
@pytest.mark.parametrize(
    ("command", "given", "words"),
    [
        ("run echo -", b"caf\xe9", "the standard input is not in UTF-8"),
        ("run echo - <&-", b"", "the standard input is closed"),
        ("run echo $(printf '\\351')", b"", "the text is not in UTF-8"),
    ],
)
@pytest.mark.parametrize("locale", ["C", "C.UTF-8"])
def test_a_text_that_is_not_utf8_is_a_usage_error_in_one_sentence(
    command: str, given: bytes, words: str, locale: str
) -> None:
    code, err = shell(f"LC_ALL={locale} {AWAKEN} {command}", given=given)
    assert (code, err.count("\n")) == (Exit.USAGE, 1), err
    assert words in err


@needs_shell
@pytest.mark.parametrize("redirection", [">&-", ">/dev/full"])
def test_a_server_whose_banner_cannot_be_printed_serves(tmp_path: Path, redirection: str) -> None:
    command = f"exec {AWAKEN} serve --port 0 --store memory:// --log-format json {redirection}"
    with subprocess.Popen(command, shell=True, stderr=subprocess.PIPE, text=True, cwd=tmp_path) as server:
        assert server.stderr is not None
        serving, warned = json.loads(server.stderr.readline()), json.loads(server.stderr.readline())
        assert httpx.get(f"{serving['url']}/health/ready").status_code == 200
        server.send_signal(signal.SIGINT)
        _, err = server.communicate(timeout=WITHIN_S)
    assert "the banner could not be printed" in warned["event"]
    assert "Traceback" not in err
    assert server.returncode == 0


@needs_shell
def test_no_database_becomes_the_standard_output(tmp_path: Path) -> None:
    """The lowest free number is given to the next file that is opened: what is printed would be written into it."""
    program = "import os, sys; from awaken.cli import streams; streams.prepare(); sys.exit(os.open('x', os.O_CREAT))"
    code, _ = shell(f'{sys.executable} -c "{program}" <&- >&- 2>&-', folder=tmp_path)
    assert code > 2


@needs_shell
def test_following_a_thread_ends_when_whoever_reads_has_left(server: str) -> None:
    """As `grep -m1` does, which finds what it waits for; nothing more need happen in the thread."""
    with Client(server) as client:
        thread = client.run(None, "hi", agent="talk").thread_id
    following = f"{AWAKEN} tail {thread} --start --url {server} | grep -m1 RunStarted"
    assert shell(f"bash -o pipefail -c '{following}'")[0] == Exit.OK
