"""A real server with an agent of every shape, for the stock clients of LangGraph's API."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, Final, NamedTuple

import uvicorn
from langgraph_sdk import get_client
from starlette.types import ASGIApp

from awaken import Awaken, Context
from awaken.domain.retry import RetryPolicy
from awaken.http.settings import HttpSettings
from awaken.mailbox.settings import MailboxSettings
from awaken.store.memory import MemoryStore
from awaken.testing.scripted import add_scripted


def said(text: str) -> dict[str, Any]:
    """An input of one message."""
    return {"messages": [{"role": "user", "content": text}]}


GO: Final = said("Go on.")


class Live(NamedTuple):
    app: Awaken
    url: str
    client: Any
    """LangGraph's own, whose answers have no types that hold."""
    gates: dict[str, asyncio.Event]
    """An agent waits at the gate of its thread, if there is one."""


@asynccontextmanager
async def live(wrapped: Any = None, http: HttpSettings | None = None, **agents: Any) -> AsyncGenerator[Live]:
    """Serves on loopback, on the loop of the test. `wrapped` may put something in front of the application."""
    gates: dict[str, asyncio.Event] = {}

    async def gated(context: Context) -> AsyncIterator[str]:
        yield "one "
        yield "two "
        await gates.setdefault(context.identity.thread_id, asyncio.Event()).wait()
        yield "three"

    settings = MailboxSettings(drain_s=0, handover_s=0, retry=RetryPolicy(0, 0), max_attempts=2)
    app = Awaken(store=MemoryStore(), settings=settings)
    add_scripted(app)
    app.agent("gated", gated)
    for name, agent in agents.items():
        app.agent(name, agent)
    async with app:
        served: ASGIApp = app.asgi(settings=http, protocols=("langgraph",))
        async with serving(served if wrapped is None else wrapped(served)) as url:
            client = get_client(url=url, api_key=None)
            try:
                yield Live(app, url, client, gates)
            finally:
                await client.aclose()


@asynccontextmanager
async def serving(served: ASGIApp) -> AsyncGenerator[str]:
    """The address where the application is."""
    bound = socket.create_server(("127.0.0.1", 0))
    config = uvicorn.Config(served, log_config=None, lifespan="off", ws="none", access_log=False)
    server = uvicorn.Server(config)
    server.config.load()
    task = asyncio.create_task(server.serve(sockets=[bound]))
    try:
        yield f"http://127.0.0.1:{bound.getsockname()[1]}"
    finally:
        server.should_exit = True
        server.force_exit = True
        await task
