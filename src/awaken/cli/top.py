"""`awaken top`: a live screen of a server, from its public API.

Above: whoever watches. Below: `screen`, an event loop, and the terminal.
Holds: the terminal is left as it was found, however the command ends. A server that goes away is asked again, with what
it said last and how old that is on the screen meanwhile; what a request takes stops no key.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import sys
from collections.abc import Generator
from typing import Annotated, Final

import msgspec
from cyclopts import Parameter
from rich.live import Live

from awaken.cli.failure import Exit, usage
from awaken.cli.options import URL, AsJson, Headers, Url
from awaken.cli.palette import console_on
from awaken.cli.remote import connected, sent_headers
from awaken.cli.screen import View, screen
from awaken.cli.terminal import print_json
from awaken.client import AsyncClient, Client
from awaken.domain.clock import Alarm, Clock, SystemClock, sleep
from awaken.domain.errors import AwakenError

_QUIT: Final = frozenset(b"qQ\x03\x04")
_LEAST_S, _MOST_S = 0.2, 60.0
_TICK_S: Final = 1.0
"""Ages are shown anew so often."""
_PIPE_WIDTH: Final = 160


def top(
    *,
    every: float = 2.0,
    url: Url = URL,
    header: Headers = (),
    as_json: Annotated[AsJson, Parameter(help="Print what wants attention once, as one JSON document.")] = False,
) -> int:
    """See live what a server does: what waits for people, what does not go on, what runs.

    q or Ctrl-C leaves. Where the output is no terminal, it is printed once.

    Example: awaken top --every 5

    Parameters
    ----------
    every
        Ask the server every so many seconds, 0.2 to 60.
    """
    if not _LEAST_S <= every <= _MOST_S:
        usage(f"--every is {_LEAST_S:g} to {_MOST_S:g} seconds, not {every:g}")
    with connected(url, header) as client:
        first = _asked(client, url, as_json)
    if first is None:
        return Exit.OK
    console = console_on()
    if not (console.is_terminal and sys.stdin.isatty()):
        console_on(width=_PIPE_WIDTH).print(screen(first, _PIPE_WIDTH, None))
        return Exit.OK
    if console.is_dumb_terminal:
        usage("this terminal cannot move its cursor (TERM=dumb); awaken top | cat prints the screen once")
    with _keys_at_once(), Live(console=console, screen=True, auto_refresh=False) as live:
        asyncio.run(_Top(live, first, every, SystemClock()).run(url, sent_headers(url, header)))
    return Exit.OK


def _asked(client: Client, url: str, as_json: bool) -> View | None:
    """What the server says first; None where that is printed already."""
    attention = client.attention()
    if as_json:
        print_json(attention)
        return None
    return View(url=url, attention=attention, summary=client.run_summary(), stats=client.stats())


class _Top:
    """The screen, while it is there."""

    def __init__(self, live: Live, first: View, every_s: float, clock: Clock) -> None:
        self._live = live
        self._view = first
        self._every_s = every_s
        self._clock = clock
        self._said_s = clock.monotonic()
        self._changed = Alarm(clock)
        self._has_quit = False

    async def run(self, url: str, headers: dict[str, str]) -> None:
        """Return when somebody has quit."""
        loop = asyncio.get_running_loop()
        loop.add_reader(sys.stdin.fileno(), self._key)
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            loop.add_signal_handler(number, self._quit)
        loop.add_signal_handler(signal.SIGWINCH, self._changed.set)
        async with AsyncClient(url, headers=headers) as client, asyncio.TaskGroup() as group:
            asking = group.create_task(self._ask(client))
            while not self._has_quit:
                self._draw()
                await self._changed.wait(_TICK_S)
            asking.cancel()
        loop.remove_reader(sys.stdin.fileno())

    def _key(self) -> None:
        pressed = os.read(sys.stdin.fileno(), 1024)
        if not pressed or _QUIT & {*pressed}:
            self._quit()

    def _quit(self) -> None:
        self._has_quit = True
        self._changed.set()

    async def _ask(self, client: AsyncClient) -> None:
        """Ask again and again, whatever comes."""
        while True:
            await sleep(self._clock, self._every_s)
            try:
                attention, summary, stats = await client.attention(), await client.run_summary(), await client.stats()
            except AwakenError as error:
                self._view = msgspec.structs.replace(self._view, problem=str(error))
            else:
                self._view = View(url=self._view.url, attention=attention, summary=summary, stats=stats)
                self._said_s = self._clock.monotonic()
            self._changed.set()

    def _draw(self) -> None:
        size = self._live.console.size
        view = msgspec.structs.replace(self._view, age_s=self._clock.monotonic() - self._said_s)
        self._live.update(screen(view, size.width, size.height), refresh=True)


@contextlib.contextmanager
def _keys_at_once() -> Generator[None]:
    """Each key is heard when pressed, and none is shown; afterwards the terminal is as it was. Ctrl-Z, which would
    leave it otherwise in the hands of a shell, is a key like others.
    """
    import termios  # POSIX systems have it; the other commands do not need it
    import tty

    fd = sys.stdin.fileno()
    before = termios.tcgetattr(fd)
    try:
        tty.setcbreak(fd)
        settings = termios.tcgetattr(fd)
        settings[6][termios.VSUSP] = b"\0"
        termios.tcsetattr(fd, termios.TCSANOW, settings)
        yield
    finally:
        termios.tcsetattr(fd, termios.TCSAFLUSH, before)
