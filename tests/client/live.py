"""A real server for clients and commands: the application behind a socket, in a thread of its own."""

from __future__ import annotations

import asyncio
import socket
import threading
from collections.abc import AsyncIterator, Mapping
from typing import Any

import uvicorn
from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Receive, Scope, Send

from awaken import Awaken, Context
from awaken.domain.errors import PermanentFailure
from awaken.domain.event import ToolCallDone, ToolCallReady
from awaken.mailbox.settings import MailboxSettings
from awaken.store.memory import MemoryStore

WORDS = 40


async def talk(context: Context) -> AsyncIterator[str]:
    """Says what it was told, many times."""
    text = await context.input()
    for number in range(WORDS):
        yield f"{text} {number} "


async def clerk(context: Context) -> str:
    """Uses a tool, or so it says."""
    turn, answer = context.message_id, context.new_message_id()
    await context.emit(ToolCallReady(turn, "c1", "look_up", {"order": 7}))
    await context.emit(ToolCallDone(turn, "c1", "look_up", answer, "succeeded", "found\x1b[2J"))
    return "It left today.\x1b[31m"


async def broken(context: Context) -> str:
    """Fails for good."""
    raise PermanentFailure("the model is gone")


async def structured(context: Context) -> dict[str, Any]:
    """Answers with data."""
    return {"given": await context.data()}


async def asking(context: Context) -> str:
    """Wants to know a name."""
    return f"for {await context.ask('which name?')}"


async def approving(context: Context) -> str:
    """Wants a permission."""
    said = await context.approve("book it?")
    return f"{'approved' if said.approved else 'denied'}: {said.reason}"


async def shopping(context: Context) -> str:
    """Wants to use a tool with more arguments than fit a line."""
    said = await context.approve("buy it?", arguments={"item": "a lamp", "note": "x" * 80})
    return f"bought {said.arguments}" if said.approved else f"left: {said.reason}"


async def pondering(context: Context) -> AsyncIterator[str]:
    """Says something, and then works until it is stopped."""
    yield "Let me think."
    await asyncio.Event().wait()


async def carrier(context: Context) -> str:
    """Says in a step with which version its run began."""
    return await context.step("look", lambda: f"carried by {context.identity.agent_version}")


class Stuck:
    """An agent that works until it is stopped."""

    async def __call__(self, context: Context) -> str:
        await asyncio.Event().wait()
        return "never"


def add_agents(app: Awaken) -> None:
    """All of the above."""
    app.agent("talk", talk)
    app.agent("stuck", Stuck())
    app.agent("clerk", clerk)
    app.agent("broken", broken)
    app.agent("structured", structured)
    app.agent("asking", asking)
    app.agent("approving", approving)
    app.agent("shopping", shopping)
    app.agent("pondering", pondering)
    app.agent("lost", "no_such_module:agent")
    app.agent("carrier", carrier, version="1")
    app.agent("carrier", carrier, version="2", fallback="latest")


class LiveServer:
    """Serves in a thread while it is entered, which gives its address. Without `required` headers it answers 401.
    `on_loopback`: what it says of where it listens.
    """

    def __init__(self, *, required: Mapping[str, str] | None = None, on_loopback: bool | None = None) -> None:
        self._on_loopback = on_loopback
        self._required = {(name.encode(), value.encode()) for name, value in (required or {}).items()}
        self._socket = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self._socket.getsockname()[1]}"
        self._ready = threading.Event()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._main()), name="server")
        self._server: uvicorn.Server | None = None

    def __enter__(self) -> str:
        self._thread.start()
        assert self._ready.wait(20)
        return self.url

    def __exit__(self, *_: object) -> None:
        assert self._server is not None
        self._server.should_exit = True
        self._thread.join(20)
        assert not self._thread.is_alive()

    async def _main(self) -> None:
        app = Awaken(store=MemoryStore(), settings=MailboxSettings(drain_s=0))
        add_agents(app)
        served = app.asgi()
        served.service.on_loopback = self._on_loopback
        async with app:
            config = uvicorn.Config(self._guarded(served), log_config=None, lifespan="off", ws="none", access_log=False)
            self._server = uvicorn.Server(config)
            self._ready.set()
            await self._server.serve(sockets=[self._socket])

    def _guarded(self, app: ASGIApp) -> ASGIApp:
        async def guarded(scope: Scope, receive: Receive, send: Send) -> None:
            is_known = self._required <= set(scope["headers"])
            await (app if is_known else PlainTextResponse("who are you?", 401))(scope, receive, send)

        return guarded
