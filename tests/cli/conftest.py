"""Commands in this process, against a server in a thread; and logging as it was, afterwards."""

from __future__ import annotations

import logging
from collections.abc import Callable, Generator

import msgspec
import pytest

from awaken.cli.main import main
from tests.client.live import LiveServer


class Result(msgspec.Struct, frozen=True):
    code: int
    out: str
    err: str


Awaken = Callable[..., Result]
"""`awaken("runs", "--json")` runs one command."""


@pytest.fixture(scope="package")
def server() -> Generator[str]:
    """The address of a server."""
    with LiveServer() as url:
        yield url


@pytest.fixture
def awaken(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Awaken:
    monkeypatch.setenv("COLUMNS", "160")

    def run(*arguments: str) -> Result:
        code = main(arguments)
        captured = capsys.readouterr()
        return Result(code, captured.out, captured.err)

    return run


@pytest.fixture(autouse=True)
def logging_restored() -> Generator[None]:
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    named = [logging.getLogger(name) for name in ("awaken", "awaken.http", "uvicorn")]
    levels = [logger.level for logger in named]
    yield
    root.handlers[:] = handlers
    root.setLevel(level)
    for logger, before in zip(named, levels, strict=True):
        logger.setLevel(before)
