"""A server in a process of its own, which is killed in the middle of an answer and started again on the same file.

`halting` hangs after its first words: for ever in the first life, until `let_go` in the second.
"""

from __future__ import annotations

import asyncio
import signal
import socket
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Self

import uvicorn

from awaken import Awaken, Context
from awaken.mailbox.settings import MailboxSettings

ROOT = Path(__file__).resolve().parents[2]
FIRST = "It begins, "
LAST = "and ends."


class MortalServer:
    """Each `live` is a process; `kill` ends it with SIGKILL. All lives have one address."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        with socket.create_server(("127.0.0.1", 0)) as bound:
            self._port: int = bound.getsockname()[1]
        self.url = f"http://127.0.0.1:{self._port}"
        self._life = 0
        self._process: asyncio.subprocess.Process | None = None

    async def __aenter__(self) -> Self:
        await self.live()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.kill()

    async def live(self) -> None:
        """Come back when it serves."""
        self._life += 1
        self._process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            "tests.protocols.mortal",
            str(self._folder / "awaken.db"),
            str(self._port),
            str(self._life),
            cwd=ROOT,
            stdout=asyncio.subprocess.PIPE,
        )
        assert self._process.stdout is not None
        assert await self._process.stdout.readline() == b"ready\n"

    def let_go(self) -> None:
        """The agent may end."""
        assert self._process is not None
        self._process.send_signal(signal.SIGUSR1)

    async def kill(self) -> None:
        process, self._process = self._process, None
        if process is not None:
            process.send_signal(signal.SIGKILL)
            await process.wait()


class _Server(uvicorn.Server):
    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        print("ready", flush=True)


async def _serve(database: str, port: int, life: int) -> None:
    gate = asyncio.Event()
    if life > 1:
        asyncio.get_running_loop().add_signal_handler(signal.SIGUSR1, gate.set)

    async def halting(context: Context) -> AsyncIterator[str]:
        yield FIRST
        await gate.wait()
        yield LAST

    app = Awaken(f"sqlite:///{database}", settings=MailboxSettings(drain_s=0))
    app.agent("halting", halting)
    async with app:
        config = uvicorn.Config(app.asgi(), "127.0.0.1", port, log_config=None, lifespan="off", ws="none")
        await _Server(config).serve()


if __name__ == "__main__":
    asyncio.run(_serve(sys.argv[1], int(sys.argv[2]), int(sys.argv[3])))
