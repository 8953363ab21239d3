"""The applications that the server benchmarks serve.

`app` and `desk` are `Awaken` objects for `awaken serve benchmarks.apps:app`; the environment says where they store and
how many runs they execute at once.
"""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from awaken.executors.function import Context
from awaken.mailbox.settings import MailboxSettings
from awaken.wiring import Awaken
from benchmarks.desk import ALL_AGENTS
from benchmarks.serving import EXECUTED_VARIABLE, SLOTS_VARIABLE, STORE_VARIABLE

DELTA: Final = "hello world, some tokens"
_BURST: Final = 10


async def noop(context: Context) -> None:
    """Does nothing."""


async def reader(context: Context) -> None:
    """Reads what it was asked, as every agent of use does, and does nothing."""
    assert await context.input()


async def holder(context: Context) -> None:
    """Runs until it is stopped."""
    await asyncio.Event().wait()


async def talker(context: Context) -> None:
    """Says as many pieces of text as its input asks for, letting others run after every ten."""
    for number in range(int(await context.input())):
        await context.emit(DELTA)
        if number % _BURST == _BURST - 1:
            await asyncio.sleep(0)


async def pacer(context: Context) -> None:
    """As a model streams: "50 500" is 50 pieces of text a second, 500 in all. Each says when it was made."""
    per_second, pieces = [int(word) for word in (await context.input()).split()]
    started_s = time.monotonic()
    for number in range(pieces):
        await asyncio.sleep(started_s + number / per_second - time.monotonic())
        await context.emit(f"@{time.monotonic_ns() // 1000}@ tokens ")


async def clerk(context: Context) -> None:
    """Does nothing; the first one notes when that was."""
    noted = os.environ.pop(EXECUTED_VARIABLE, None)
    if noted is not None:
        _note_now(Path(noted))


def _note_now(path: Path) -> None:
    path.write_text(str(time.monotonic()))


_AGENTS: Final = {"noop": noop, "reader": reader, "holder": holder, "talker": talker, "pacer": pacer}


def _app(agents: Mapping[str, Any]) -> Awaken:
    slots = os.environ.get(SLOTS_VARIABLE)
    settings = MailboxSettings() if slots is None else MailboxSettings(max_concurrent_runs=int(slots))
    app = Awaken(os.environ.get(STORE_VARIABLE, "memory://"), settings=settings)
    for name, agent in agents.items():
        app.agent(name, agent)
    return app


app = _app(_AGENTS)
desk = _app(dict.fromkeys(ALL_AGENTS, clerk))
"""Knows the agents of the files that `benchmarks.desk` fills."""
