"""A real server for the protocols' own clients: an app with an agent of every shape, on a socket of this process."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncGenerator, Generator
from contextlib import asynccontextmanager, contextmanager
from typing import Any, NamedTuple

import uvicorn

from awaken.domain.retry import RetryPolicy
from awaken.mailbox.settings import MailboxSettings
from awaken.testing.agents import memory_app
from awaken.testing.scripted import add_scripted
from awaken.wiring import Awaken

IMPATIENT = MailboxSettings(drain_s=0, handover_s=0, retry=RetryPolicy(0, 0), max_attempts=2)
"""What fails is tried again at once, and given up soon."""


class LiveSite(NamedTuple):
    app: Awaken
    url: str


class _Server(uvicorn.Server):
    """One that leaves the signals of this process alone."""

    @contextmanager
    def capture_signals(self) -> Generator[None]:
        yield


@asynccontextmanager
async def live_site(*, settings: MailboxSettings | None = None, **agents: Any) -> AsyncGenerator[LiveSite]:
    """It serves while it is entered, with all protocols there are."""
    listening = socket.create_server(("127.0.0.1", 0))
    async with memory_app(settings=settings or IMPATIENT, **agents) as app:
        add_scripted(app)
        config = uvicorn.Config(app.asgi(), log_config=None, lifespan="off", ws="none", access_log=False)
        server = _Server(config)
        serving = asyncio.create_task(server.serve([listening]))
        try:
            yield LiveSite(app, f"http://127.0.0.1:{listening.getsockname()[1]}")
        finally:
            server.should_exit = server.force_exit = True
            await serving
