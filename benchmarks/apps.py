"""The applications that the server benchmarks serve.

`app` is an `Awaken` object for `awaken serve benchmarks.apps:app`; the environment says where it stores.
"""

from __future__ import annotations

import asyncio
import os
from typing import Final

from awaken.executors.function import Context
from awaken.wiring import Awaken

STORE_VARIABLE: Final = "AWAKEN_BENCH_STORE"
DELTA: Final = "hello world, some tokens"
_BURST: Final = 10


async def noop(context: Context) -> None:
    """Does nothing."""


async def talker(context: Context) -> None:
    """Says as many pieces of text as its input asks for, letting others run after every ten."""
    for number in range(int(await context.input())):
        await context.emit(DELTA)
        if number % _BURST == _BURST - 1:
            await asyncio.sleep(0)


app = Awaken(os.environ.get(STORE_VARIABLE, "memory://"))
app.agent("noop", noop)
app.agent("talker", talker)
