"""Stands between a program and Postgres, passes on what they say to each other, and cuts where a test wants it.

Above: tests of what a lost connection, or a process that is killed, leaves behind. Below: the protocol of Postgres, of
which no more is understood than where a message ends and where a transaction is.
Holds: a moment is one of the protocol, whatever statements a store asks. What reached the server before the cut is done
there, and what did not reach it is not. Only transactions that may write have moments; those that read are passed on.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import suppress
from types import TracebackType
from typing import Final, Literal, Self
from urllib.parse import parse_qsl, urlencode, urlsplit, urlunsplit

import msgspec

Moment = Literal["answer", "commit", "committed"]
"""In a writing transaction: when the server has answered and the transaction is still open; when a COMMIT is on its way
to the server; when that has been done, and its answer is on its way back."""

_IN_TRANSACTION: Final = b"T"


class _Cut(Exception):
    """Nothing more is passed on."""


class _Trap(msgspec.Struct):
    moment: Moment
    left: int
    """How many such moments there are still to come."""
    then: Callable[[], object] | None


class _Line:
    """One connection through the relay. `writes`: its transaction may."""

    def __init__(self, client: asyncio.StreamWriter, server: asyncio.StreamWriter) -> None:
        self.writes = False
        self.listens = False
        self._ends = (client, server)

    def cut(self) -> None:
        for each in self._ends:
            each.transport.abort()


class Relay:
    """Takes connections for a server on a port of its own. Left, it has cut all of them."""

    def __init__(self, server: str) -> None:
        """`server`: a URL of Postgres, of which everything but the place is kept."""
        self._server = server
        self._lines: set[_Line] = set()
        self._trap: _Trap | None = None
        self._passing: set[asyncio.Task[None]] = set()
        self.cuts = 0
        """How many traps have sprung."""
        self.takes_connections = True
        """While it does not, whoever connects is cut at once."""

    async def __aenter__(self) -> Self:
        self._listening = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._listening.close()
        self.cut_all()
        if self._passing:
            await asyncio.wait(self._passing)

    @property
    def url(self) -> str:
        """As the server's, through here."""
        parts = urlsplit(self._server)
        user, at, _ = parts.netloc.rpartition("@")
        port = self._listening.sockets[0].getsockname()[1]
        options = [(name, value) for name, value in parse_qsl(parts.query) if name not in ("host", "port", "sslmode")]
        query = urlencode([*options, ("sslmode", "disable")])
        return urlunsplit(parts._replace(netloc=f"{user}{at}127.0.0.1:{port}", query=query))

    def cut_at(self, moment: Moment, number: int = 1, *, then: Callable[[], object] | None = None) -> None:
        """Cut the connection that comes to such a moment, at the so-manieth from now, after having called `then`."""
        self._trap = _Trap(moment, number, then)

    @property
    def is_armed(self) -> bool:
        return self._trap is not None

    def disarm(self) -> None:
        self._trap = None

    def cut_all(self) -> None:
        for line in list(self._lines):
            line.cut()

    def cut_listeners(self) -> int:
        """Cut the connections that hear notifications: how many there were."""
        found = [line for line in self._lines if line.listens]
        for line in found:
            line.cut()
        return len(found)

    # --- passing on ---------------------------------------------------------------------------------------------------

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._passing.add(task)
        try:
            if not self.takes_connections:
                writer.transport.abort()
                return
            with suppress(OSError):
                await self._connect(reader, writer)
        finally:
            self._passing.discard(task)

    async def _connect(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        parts = urlsplit(self._server)
        options = dict(parse_qsl(parts.query))
        if "host" in options:
            path = f"{options['host']}/.s.PGSQL.{options.get('port', 5432)}"
            server_reader, server = await asyncio.open_unix_connection(path)
        else:
            server_reader, server = await asyncio.open_connection(parts.hostname or "127.0.0.1", parts.port or 5432)
        line = _Line(writer, server)
        self._lines.add(line)
        try:
            with suppress(OSError, asyncio.IncompleteReadError, _Cut, ExceptionGroup):
                await self._greet(reader, server)
                async with asyncio.TaskGroup() as both:
                    both.create_task(self._ask(line, reader, server))
                    both.create_task(self._answer(line, server_reader, writer))
        finally:
            line.cut()
            self._lines.discard(line)

    async def _greet(self, reader: asyncio.StreamReader, server: asyncio.StreamWriter) -> None:
        """The first message has no kind."""
        length = await reader.readexactly(4)
        server.write(length + await reader.readexactly(int.from_bytes(length) - 4))

    async def _ask(self, line: _Line, reader: asyncio.StreamReader, server: asyncio.StreamWriter) -> None:
        while True:
            kind, whole = await _message(reader)
            if kind in b"QP":
                if b"UNLISTEN" in whole:
                    line.listens = False
                elif b"LISTEN" in whole:
                    line.listens = True
                elif b"BEGIN" in whole:
                    line.writes = b"READ ONLY" not in whole
                elif b"COMMIT" in whole:
                    self._comes(line, "commit")
            server.write(whole)
            await server.drain()

    async def _answer(self, line: _Line, reader: asyncio.StreamReader, client: asyncio.StreamWriter) -> None:
        while True:
            kind, whole = await _message(reader)
            if kind == b"C" and whole[5:] == b"COMMIT\0":
                self._comes(line, "committed")
            elif kind == b"Z" and whole[5:] == _IN_TRANSACTION:
                self._comes(line, "answer")
            client.write(whole)
            await client.drain()

    def _comes(self, line: _Line, moment: Moment) -> None:
        trap = self._trap
        if trap is None or trap.moment != moment or not line.writes:
            return
        trap.left -= 1
        if trap.left:
            return
        self._trap = None
        self.cuts += 1
        if trap.then is not None:
            trap.then()
        line.cut()
        raise _Cut


async def _message(reader: asyncio.StreamReader) -> tuple[bytes, bytes]:
    """The kind of the next message, and all of it."""
    head = await reader.readexactly(5)
    return head[:1], head + await reader.readexactly(int.from_bytes(head[1:]) - 4)
