"""Clients that cost so little that the server is what is measured; they run in a process beside it.

Raw asyncio protocols on keep-alive connections: an HTTP library would be slower than the server it asks.
"""

from __future__ import annotations

import asyncio
import statistics
import time
from collections.abc import Mapping, Sequence
from typing import Any, Final, cast

import msgspec

from benchmarks.desk import thread_name

_HOST: Final = "127.0.0.1"
_PATIENCE_S: Final = 120.0
_READ_BYTES: Final = 1 << 18


class HttpRuns(msgspec.Struct):
    runs_s: float
    submits_s: float
    submit_p50_ms: float


class Watched(msgspec.Struct):
    events_s: float
    fewest: int
    """What the worst served client received."""


def request(method: str, path: str, body: Any = None, headers: Mapping[str, str] | None = None) -> bytes:
    content = b"" if body is None else msgspec.json.encode(body)
    head = f"{method} {path} HTTP/1.1\r\nHost: {_HOST}\r\nContent-Length: {len(content)}\r\n"
    head += "".join([f"{name}: {value}\r\n" for name, value in (headers or {}).items()])
    if content:
        head += "Content-Type: application/json\r\n"
    return f"{head}\r\n".encode() + content


class Connection(asyncio.Protocol):
    """One keep-alive connection, one request at a time."""

    def __init__(self) -> None:
        self._transport: asyncio.Transport | None = None
        self._received = bytearray()
        self._answer: asyncio.Future[tuple[int, bytes]] | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        transport = cast(asyncio.Transport, transport)  # uvloop has its own class
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        self._received += data
        end = self._received.find(b"\r\n\r\n")
        if end < 0 or self._answer is None:
            return
        head = bytes(self._received[:end]).lower()
        _, found, rest = head.partition(b"content-length:")
        size = int(rest.split(b"\r\n", 1)[0]) if found else 0
        if len(self._received) < end + 4 + size:
            return
        body = bytes(self._received[end + 4 : end + 4 + size])
        del self._received[: end + 4 + size]
        answer, self._answer = self._answer, None
        answer.set_result((int(head.split(b" ", 2)[1]), body))

    def connection_lost(self, exc: Exception | None) -> None:
        if self._answer is not None and not self._answer.done():
            self._answer.set_exception(ConnectionError("the server closed the connection"))

    async def ask(self, content: bytes) -> tuple[int, bytes]:
        """The status and body that answer a request."""
        assert self._transport is not None and self._answer is None
        self._answer = asyncio.get_running_loop().create_future()
        self._transport.write(content)
        return await self._answer

    async def call(self, method: str, path: str, body: Any = None, headers: Mapping[str, str] | None = None) -> bytes:
        """The body of an answer that is no refusal. Raises RuntimeError when it is one."""
        status, answer = await self.ask(request(method, path, body, headers))
        if status not in (200, 201, 202):
            raise RuntimeError(f"{method} {path} was answered with {status}: {answer[:500]!r}")
        return answer

    def close(self) -> None:
        if self._transport is not None:
            self._transport.close()


async def connect(port: int) -> Connection:
    _, connection = await asyncio.get_running_loop().create_connection(Connection, _HOST, port)
    return connection


# --- background runs --------------------------------------------------------------------------------------------------


def a_run(agent_id: str, thread_id: str, text: str = "now") -> dict[str, str]:
    """The body of a submit."""
    return {"agent_id": agent_id, "thread_id": thread_id, "input": text, "if_not_exists": "create"}


async def submit_runs(*, port: int, runs: int, connections: int, threads: int, agent_id: str = "noop") -> HttpRuns:
    """Submit background runs over several connections, and wait until none of them is open any more."""
    lines = [await connect(port) for _ in range(connections)]
    numbers = iter(range(runs))
    took_ms: list[float] = []

    async def submit(line: Connection) -> None:
        for number in numbers:
            body = a_run(agent_id, thread_name(number % threads))
            asked = time.perf_counter()
            await line.call("POST", "/v1/runs", body)
            took_ms.append((time.perf_counter() - asked) * 1000)

    started = time.perf_counter()
    async with asyncio.timeout(_PATIENCE_S):
        await asyncio.gather(*[submit(line) for line in lines])
        submitted_s = time.perf_counter() - started
        await _until_none_is_open(lines[0])
        elapsed_s = time.perf_counter() - started
    for line in lines:
        line.close()
    return HttpRuns(runs / elapsed_s, runs / submitted_s, statistics.median(took_ms))


async def _until_none_is_open(line: Connection) -> None:
    for status in ("created", "running"):
        while True:
            answer = await line.call("GET", f"/v1/runs?status={status}&limit=1")
            if not msgspec.json.decode(answer)["items"]:
                break


async def prepare_thread(*, port: int, thread_id: str) -> float:
    """Bring a thread into being with a run that does nothing, and wait for its end; seconds that took."""
    line = await connect(port)
    started = time.perf_counter()
    async with asyncio.timeout(_PATIENCE_S):
        await line.call("POST", "/v1/runs", a_run("noop", thread_id))
        await _until_none_is_open(line)
    line.close()
    return time.perf_counter() - started


# --- streams ----------------------------------------------------------------------------------------------------------


class Watcher(asyncio.BufferedProtocol):
    """Counts the frames of one event stream until a text has gone by."""

    def __init__(self, path: str, ready: bytes, last: bytes) -> None:
        self._ask = request("GET", path)
        self._ready, self._last = ready, last
        self._keep = max(len(ready), len(last), 8) - 1
        self._buffer = bytearray(_READ_BYTES)
        self._tail = b""
        self.events = 0
        loop = asyncio.get_running_loop()
        self.attached: asyncio.Future[None] = loop.create_future()
        self.ended: asyncio.Future[None] = loop.create_future()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        transport = cast(asyncio.Transport, transport)  # uvloop has its own class
        transport.write(self._ask)

    def get_buffer(self, sizehint: int) -> bytearray:
        return self._buffer

    def buffer_updated(self, nbytes: int) -> None:
        seen = self._tail + bytes(memoryview(self._buffer)[:nbytes])
        self.events += seen.count(b"\ndata: ") - self._tail.count(b"\ndata: ")
        if not self.attached.done() and self._ready in seen:
            self.attached.set_result(None)
        if not self.ended.done() and self._last in seen:
            self.ended.set_result(None)
        self._tail = seen[-self._keep :]

    def connection_lost(self, exc: Exception | None) -> None:
        for future in (self.attached, self.ended):
            if not future.done():
                future.set_exception(ConnectionError("the server closed the stream"))


async def watch(
    *, port: int, path: str, clients: int, ready: str, last: str, trigger: tuple[str, str, Any], events: int
) -> Watched:
    """Attach clients to a stream, set it off, and count until each of them has seen the text `last`."""
    loop = asyncio.get_running_loop()
    watchers: list[Watcher] = []
    async with asyncio.timeout(_PATIENCE_S):
        for _ in range(clients):
            _, watcher = await loop.create_connection(lambda: Watcher(path, ready.encode(), last.encode()), _HOST, port)
            watchers.append(watcher)
        await asyncio.gather(*[watcher.attached for watcher in watchers])
        line = await connect(port)
        method, target, body = trigger
        started = time.perf_counter()
        await line.call(method, target, body)
        await asyncio.gather(*[watcher.ended for watcher in watchers])
        elapsed_s = time.perf_counter() - started
    fewest = min(watcher.events for watcher in watchers)
    if fewest < events:
        raise RuntimeError(f"a client saw {fewest} of {events} events")
    return Watched(_delivered(watchers) / elapsed_s, fewest)


def _delivered(watchers: Sequence[Watcher]) -> int:
    return sum(watcher.events for watcher in watchers)
