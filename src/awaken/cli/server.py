"""One server process: the app, uvicorn around it, and how both stop.

Above: `serve`. Below: `Awaken`, and uvicorn with its own handling of signals taken out.
Holds: on the first signal open streams are closed without an end event, so that clients resume, and running agents get
the app's drain time before their work is handed back; on the second the process ends at once. Nothing accepted depends
on either.

Source: spec/server.md 1.2 (settings), 1.3 (life cycle).
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import logging
import os
import signal
import socket
import sys
from collections.abc import Callable, Generator, Sequence
from typing import Final

import msgspec
import uvicorn

from awaken.cli.failure import Failure
from awaken.cli.protocol import BoundedProtocol
from awaken.process import tune_process
from awaken.wiring import Awaken

_log = logging.getLogger("awaken.server")

KEEP_ALIVE_S: Final = 75
LAST_ANSWERS_S: Final = 5
"""After the mailbox has drained, answers that are still being written get this long."""
BACKLOG: Final = 2048
LOOPBACK: Final = ("127.0.0.1", "localhost", "::1")
_SIGNALS: Final = (signal.SIGINT, signal.SIGTERM)


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
    app: Awaken, bound: socket.socket, on_ready: Callable[[], None], *, allowed_hosts: Sequence[str] | None = None
) -> None:
    """Run the app and serve it, until a signal has stopped both.

    Raises:
        AwakenError: The app could not start; nothing was served.
    """
    stop = asyncio.Event()
    async with contextlib.AsyncExitStack() as life:
        life.enter_context(_signals(stop))
        running = await life.enter_async_context(contextlib.AsyncExitStack())
        await running.enter_async_context(app)
        server = _Server(_config(app, allowed_hosts), on_ready)
        async with asyncio.TaskGroup() as group:
            serving = group.create_task(server.serve(sockets=[bound]))
            stopping = group.create_task(stop.wait())
            await asyncio.wait((serving, stopping), return_when=asyncio.FIRST_COMPLETED)
            stopping.cancel()
            _log.info("stopping: streams are closed, running agents may finish")
            server.should_exit = True
            app.mailbox.close_streams()
            await running.aclose()  # agents drain while uvicorn lets go of its listeners: one deadline, not two


class _Server(uvicorn.Server):
    """Leaves signals alone and says when it accepts connections."""

    def __init__(self, config: uvicorn.Config, on_ready: Callable[[], None]) -> None:
        super().__init__(config)
        self._on_ready = on_ready

    @contextlib.contextmanager
    def capture_signals(self) -> Generator[None]:
        yield

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        tune_process()  # everything a server needs is loaded now, and stays
        self._on_ready()


def _config(app: Awaken, allowed_hosts: Sequence[str] | None) -> uvicorn.Config:
    return uvicorn.Config(
        app.asgi(allowed_hosts=allowed_hosts),
        http=BoundedProtocol,
        ws="none",
        lifespan="off",
        log_config=None,
        access_log=False,
        proxy_headers=False,
        server_header=False,
        backlog=BACKLOG,
        timeout_keep_alive=KEEP_ALIVE_S,
        timeout_graceful_shutdown=round(app.mailbox.settings.drain_s) + LAST_ANSWERS_S,
    )


@contextlib.contextmanager
def _signals(stop: asyncio.Event) -> Generator[None]:
    """The first signal sets `stop`; the second ends the process."""

    def received(number: int) -> None:
        if stop.is_set():
            print("awaken: stopped at once; what was running goes on at the next start", file=sys.stderr, flush=True)
            os._exit(128 + number)
        stop.set()

    loop = asyncio.get_running_loop()
    for number in _SIGNALS:
        loop.add_signal_handler(number, received, int(number))
    try:
        yield
    finally:
        for number in _SIGNALS:
            loop.remove_signal_handler(number)


def _why_not(address: Address, error: OSError) -> str:
    if error.errno == errno.EADDRINUSE:
        return f"port {address.port} on {address.host} is in use; stop what runs there, or choose another with --port"
    if error.errno == errno.EACCES:
        return f"port {address.port} needs more rights than this user has; choose one above 1023 with --port"
    return f"cannot listen on {address.host}:{address.port}: {error.strerror or error}"
