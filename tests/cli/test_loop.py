"""A server's loop goes on whatever is handed to it, and ends when the server does."""

from __future__ import annotations

import asyncio
import logging
import signal
import sys
from collections.abc import Callable
from functools import partial

import pytest

from awaken.cli import loop as served
from awaken.cli.loop import run_to_the_end


@pytest.fixture(params=["uvloop", "asyncio"], autouse=True)
def kind(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    if request.param == "asyncio":
        monkeypatch.setattr(served, "_factory", lambda: None)


def interrupt() -> None:
    raise KeyboardInterrupt


HANDED = [
    (lambda: sys.exit(3), "SystemExit"),
    (interrupt, "KeyboardInterrupt"),
    (lambda: asyncio.get_running_loop().stop(), "stop()"),
]


@pytest.mark.parametrize(("handed", "name"), HANDED)
def test_what_is_handed_to_the_loop_does_not_end_it_and_is_logged(
    handed: Callable[[], None], name: str, caplog: pytest.LogCaptureFixture
) -> None:
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)  # as a server that listens to signals
    ended: list[str] = []

    async def main() -> None:
        loop = asyncio.get_running_loop()
        for schedule in (loop.call_soon, partial(loop.call_later, 0), loop.call_soon_threadsafe):
            schedule(handed)
            reached = loop.create_future()
            schedule(partial(reached.set_result, None))  # it comes behind the other
            await reached
        ended.append("by itself")

    try:
        with caplog.at_level(logging.ERROR, "awaken.loop"):
            run_to_the_end(main())
    finally:
        signal.signal(signal.SIGINT, before)
    assert ended == ["by itself"]
    told = [record for record in caplog.records if record.name == "awaken.loop"]
    assert len(told) == 3 or (name == "stop()" and told), "a loop that is stopped may have come to the end of its work"
    assert all(f"with {name};" in record.getMessage() and record.exc_info for record in told)


def test_an_exception_that_is_handed_to_the_loop_is_an_error_in_the_log(caplog: pytest.LogCaptureFixture) -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        loop.call_soon(lambda: 1 / 0)
        reached = loop.create_future()
        loop.call_later(0.001, reached.set_result, None)
        await reached

    run_to_the_end(main())
    [record] = [record for record in caplog.records if record.name == "asyncio"]
    assert record.levelname == "ERROR" and record.exc_info is not None


@pytest.mark.parametrize("error", [SystemExit(3), KeyboardInterrupt(), RuntimeError("mine"), ValueError("mine")])
def test_what_the_server_itself_raises_ends_it(error: BaseException) -> None:
    async def main() -> None:
        raise error

    with pytest.raises(type(error)) as raised:
        run_to_the_end(main())
    assert raised.value is error


def test_ctrl_c_that_nobody_has_taken_ends_it_in_good_order() -> None:
    ended: list[str] = []

    async def main() -> None:
        asyncio.get_running_loop().call_soon(interrupt)
        try:
            await asyncio.Event().wait()
        finally:
            ended.append("tidied up")

    with pytest.raises(KeyboardInterrupt):
        run_to_the_end(main())
    assert ended == ["tidied up"]
