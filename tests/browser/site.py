"""A server for pages: in a thread of its own, with an agent that says what the test tells it to."""

from __future__ import annotations

import asyncio
import socket
import threading
from collections.abc import Callable, Mapping
from typing import Annotated, Any, Final, Literal, Self

import msgspec
import uvicorn
from msgspec import Meta
from starlette.types import ASGIApp

from awaken import Awaken, Context
from awaken.domain.errors import PermanentFailure, TransientFailure
from awaken.http.settings import HttpSettings
from awaken.mailbox.settings import MailboxSettings

_WITHIN_S = 20


class Seat(msgspec.Struct):
    row: int
    window: bool = False


class Booking(msgspec.Struct):
    """How somebody wants to travel."""

    name: Annotated[str, Meta(min_length=2, description="As it stands in the passport.")]
    travels_in: Literal["first", "second"]
    seats: list[Seat]
    price: Annotated[float, Meta(multiple_of=0.5)] | None = None
    extra: dict[str, int] = {}


class Wanted(msgspec.Struct, kw_only=True):
    """What `clerk` asks: whether a tool may run, or a question whose answer is of a type."""

    tool: str | None = None
    arguments: dict[str, Any] | None = None
    question: str = "May I?"
    type: Literal["text", "whole", "yes", "booking"] = "text"
    expires_in_s: float | None = None


_TYPES: Final[dict[str, Any]] = {"text": str, "whole": int, "yes": bool, "booking": Booking}


class Site:
    """Serves while it is entered.

    Its agents: `speaker`; `stuck`, which works until it is stopped; `asker`, which asks for an approval and says what
    it was told; `broken`, whose runs are given up at once; `clerk`, which asks what its input says, a `Wanted` in JSON,
    and says what it got; `flaky`, which fails and is tried again, in ten minutes unless somebody helps; and those that
    a test brings.
    """

    def __init__(
        self,
        *,
        http: HttpSettings | None = None,
        port: int = 0,
        around: Callable[[ASGIApp], ASGIApp] | None = None,
        agents: Mapping[str, Any] | None = None,
    ) -> None:
        self._http = http
        self._agents = agents or {}
        self._around = around
        self._socket = socket.create_server(("127.0.0.1", port))
        self.port: int = self._socket.getsockname()[1]
        self.url = f"http://127.0.0.1:{self.port}"
        self._ready = threading.Event()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._main()), name="site")
        self._said: asyncio.Queue[str | None] = asyncio.Queue()

    def say(self, *texts: str) -> None:
        """Have the agent say something, now or as soon as it is asked."""
        for text in texts:
            self._loop.call_soon_threadsafe(self._said.put_nowait, text)

    def end(self) -> None:
        """Have the agent end its answer."""
        self._loop.call_soon_threadsafe(self._said.put_nowait, None)

    def __enter__(self) -> Self:
        self._thread.start()
        assert self._ready.wait(_WITHIN_S)
        return self

    def __exit__(self, *_: object) -> None:
        self._server.should_exit = self._server.force_exit = True
        self._thread.join(_WITHIN_S)
        assert not self._thread.is_alive()

    async def _main(self) -> None:
        self._loop = asyncio.get_running_loop()
        app = Awaken("memory://", settings=MailboxSettings(drain_s=0, handover_s=0, tidy_s=0.1), http=self._http)
        app.agent("speaker", self._speak)
        app.agent("stuck", _stuck)
        app.agent("asker", _ask)
        app.agent("broken", _fail)
        app.agent("clerk", _clerk)
        app.agent("flaky", _fail_for_now)
        for name, agent in self._agents.items():
            app.agent(name, agent)
        async with app:
            asgi = app.asgi()
            served = asgi if self._around is None else self._around(asgi)
            config = uvicorn.Config(served, log_config=None, lifespan="off", ws="none", access_log=False)
            self._server = uvicorn.Server(config)
            self._ready.set()
            await self._server.serve(sockets=[self._socket])

    async def _speak(self, context: Context) -> None:
        while (text := await self._said.get()) is not None:
            await context.emit(text)


async def _stuck(context: Context) -> None:
    await asyncio.Event().wait()


async def _fail(context: Context) -> None:
    raise PermanentFailure(f"cannot do {await context.input()}")


async def _ask(context: Context) -> str:
    answer = await context.approve("May I?")
    return f"{answer.approved}: {answer.reason}"


async def _fail_for_now(context: Context) -> None:
    raise TransientFailure("the mail server hangs up", retry_after_s=600)


async def _clerk(context: Context) -> str:
    wanted = msgspec.json.decode(await context.input(), type=Wanted)
    said: Any
    if wanted.tool is None:
        asked = context.ask(wanted.question, type=_TYPES[wanted.type], expires_in_s=wanted.expires_in_s)
        said = await asked
    else:
        answer = await context.approve(
            wanted.question, name=wanted.tool, arguments=wanted.arguments, expires_in_s=wanted.expires_in_s
        )
        said = [answer.approved, answer.reason, answer.arguments]
    return msgspec.json.encode(said).decode()
