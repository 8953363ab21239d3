"""One process under load: hundreds of conversations at once, each noting what it was told, until it is killed.

Above: `test_kill_under_load` starts it, counts the notes on its standard output, and kills it. Below: the public API.
Holds: a run id is printed when its submit has returned, so whoever reads the line knows that the run was accepted.
"""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import AsyncIterator
from typing import Final

from awaken.executors.function import Context
from awaken.mailbox.settings import MailboxSettings
from awaken.process import tune_process
from awaken.wiring import Awaken

CONVERSATIONS: Final = 300
ANSWER: Final = "hello world"
_STDOUT: Final = 1


def app_on(database: str) -> Awaken:
    app = Awaken(f"sqlite:///{database}", settings=MailboxSettings(max_concurrent_runs=CONVERSATIONS))
    app.agent("speaker", speaker)
    return app


async def speaker(context: Context) -> AsyncIterator[str]:
    await context.step("think", lambda: 1)
    for word in ANSWER.partition(" "):
        yield word


async def _converse(app: Awaken, number: int) -> None:
    while True:
        run = await app.submit(f"thread-{number}", "hello", agent="speaker")
        os.write(_STDOUT, f"{run.run_id}\n".encode())
        await run.result()


async def _main(database: str) -> None:
    async with app_on(database) as app:
        tune_process()
        await asyncio.gather(*[_converse(app, number) for number in range(CONVERSATIONS)])


if __name__ == "__main__":
    asyncio.run(_main(sys.argv[1]))
