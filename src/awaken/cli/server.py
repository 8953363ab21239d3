"""One server process: the app, uvicorn around it, and how both start and stop.

Above: `serve`. Below: `Awaken`, and uvicorn with its own handling of signals taken out.
Holds: it listens before the app starts, so that health is answered however long that takes. A start that fails ends it,
and so does a signal in the middle of one, which calls the start off. On the first signal the server is no longer ready,
and open streams are closed without an end event, so that clients resume. After SIGTERM it goes on answering for a
while, submits too, until whoever balances its load has noticed; after SIGINT, which comes from a person, it does not.
Then the listeners close, and running agents get the app's drain time before their work is handed back. On the second
signal, or when all that takes longer than it may, the process ends at once (`ending`). Nothing accepted depends on any
of this.

Source: `docs/howto/operate.md`, `docs/reference/settings.md`.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import logging
import signal
import socket
from collections.abc import Callable, Generator, Mapping
from typing import Final

import msgspec
import uvicorn

from awaken.cli.ending import stop_signals
from awaken.cli.failure import Failure
from awaken.cli.protocol import BoundedProtocol
from awaken.domain.clock import lasting, sleep
from awaken.http.app import HttpApp
from awaken.http.settings import HttpSettings, Source
from awaken.process import tune_process
from awaken.wiring import Awaken

_log = logging.getLogger("awaken.server")

KEEP_ALIVE_S: Final = 75
SHUTDOWN_DRAIN_S: Final = 5.0
"""After SIGTERM: a balancer that asks every few seconds whether this server is ready finds out within this."""
LAST_ANSWERS_S: Final = 5
"""After the mailbox has drained, answers that are still being written get this long."""
LATE_S: Final = LAST_ANSWERS_S + 1
"""All the parts of stopping have their bounds; so long after them the process is ended, whatever hangs."""
BACKLOG: Final = 2048
LOOPBACK: Final = ("127.0.0.1", "localhost", "::1")


class Address(msgspec.Struct, frozen=True):
    host: str
    port: int

    @property
    def is_loopback(self) -> bool:
        return self.host in LOOPBACK or self.host.startswith("127.")

    def to_url(self) -> str:
        """Where a program on this machine finds the server."""
        host = {"0.0.0.0": "127.0.0.1", "::": "::1", "": "127.0.0.1"}.get(self.host, self.host)
        return f"http://[{host}]:{self.port}" if ":" in host else f"http://{host}:{self.port}"


def bind(address: Address) -> socket.socket:
    """A socket bound there, not listening yet.

    Raises:
        Failure: The port is taken, or the address is not this machine's.
    """
    family = socket.AF_INET6 if ":" in address.host else socket.AF_INET
    bound = socket.socket(family, socket.SOCK_STREAM)
    try:
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # a server started again finds its port free
        bound.bind((address.host, address.port))
        bound.setblocking(False)
    except OSError as error:
        bound.close()
        raise Failure(_why_not(address, error)) from error
    return bound


async def serve_until_stopped(
    app: Awaken,
    bound: socket.socket,
    on_listening: Callable[[], None],
    on_ready: Callable[[], None],
    *,
    settings: HttpSettings | None = None,
    sources: Mapping[str, Source] | None = None,
    on_loopback: bool | None = None,
    shutdown_drain_s: float = SHUTDOWN_DRAIN_S,
) -> None:
    """Run the app and serve it, until a signal has stopped both. After SIGTERM it serves for `shutdown_drain_s` more.

    `sources`: of the settings that the command has chosen. `on_loopback`: whether only this machine reaches it, where
    that is known.
    Between `on_listening` and `on_ready`, while the app starts, only health is answered.

    Raises:
        AwakenError: The app could not start.
    """
    async with contextlib.AsyncExitStack() as life:
        stop = life.enter_context(
            stop_signals(
                lambda number: (
                    (shutdown_drain_s if number == signal.SIGTERM else 0.0) + app.mailbox.settings.leave_s + LATE_S
                )
            )
        )
        running = await life.enter_async_context(contextlib.AsyncExitStack())
        http = app.asgi(settings=settings)
        http.service.sources = sources or {}
        http.service.on_loopback = on_loopback
        server = _Server(_config(app, http))
        async with asyncio.TaskGroup() as group:
            starting = group.create_task(_start(app, running))
            serving = group.create_task(server.serve(sockets=[bound]))
            await asyncio.wait((serving, server.listening), return_when=asyncio.FIRST_COMPLETED)
            on_listening()
            await asyncio.wait((serving, starting, stop), return_when=asyncio.FIRST_COMPLETED)
            has_started = starting.done() and starting.result() is None
            if has_started:
                tune_process()  # everything a server needs is loaded now, and stays
                on_ready()
                await asyncio.wait((serving, stop), return_when=asyncio.FIRST_COMPLETED)
            http.prepare_to_stop()
            if has_started and stop.done() and stop.result() == signal.SIGTERM:
                _log.info("stopping: streams are closed, requests are answered for %s", lasting(shutdown_drain_s))
                await sleep(app.mailbox.clock, shutdown_drain_s)
            if has_started:
                _log.info("stopping: no more requests are taken, running agents may finish")
            elif not starting.done():
                _log.info("stopping: the start is called off")
                starting.cancel()
            server.stop_listening()
            await asyncio.wait((starting,))
            await running.aclose()  # agents drain while uvicorn lets go of its connections: one deadline, not two
    if not starting.cancelled() and (failure := starting.result()) is not None:
        raise failure


async def _start(app: Awaken, running: contextlib.AsyncExitStack) -> Exception | None:
    """Why it could not start, given back because a group would wrap what is raised in it."""
    try:
        await running.enter_async_context(app)
    except Exception as error:
        return error
    return None


class _Server(uvicorn.Server):
    """Leaves signals alone, says when it accepts connections, and stops doing so at once when it is asked to."""

    def __init__(self, config: uvicorn.Config) -> None:
        super().__init__(config)
        self.servers = []  # a signal may come before there is any
        self.listening: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    @contextlib.contextmanager
    def capture_signals(self) -> Generator[None]:
        yield

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        self.listening.set_result(None)

    def stop_listening(self) -> None:
        """Accept no more connections. Those there are get their answers, and are closed."""
        for listener in self.servers:
            listener.close()
        self.should_exit = True


def _config(app: Awaken, http: HttpApp) -> uvicorn.Config:
    return uvicorn.Config(
        http,
        http=BoundedProtocol,
        ws="none",
        lifespan="off",
        log_config=None,
        access_log=False,
        proxy_headers=False,
        server_header=False,
        backlog=BACKLOG,
        timeout_keep_alive=KEEP_ALIVE_S,
        timeout_graceful_shutdown=round(app.mailbox.settings.leave_s) + LAST_ANSWERS_S,
    )


def _why_not(address: Address, error: OSError) -> str:
    if error.errno == errno.EADDRINUSE:
        return f"port {address.port} on {address.host} is in use; stop what runs there, or choose another with --port"
    if error.errno == errno.EACCES:
        return f"port {address.port} needs more rights than this user has; choose one above 1023 with --port"
    return f"cannot listen on {address.host}:{address.port}: {error.strerror or error}"
