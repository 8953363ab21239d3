"""A server made of prepared answers, and both clients in one shape, so that one test speaks for both."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any, Literal

import httpx
import msgspec

from awaken.client import AsyncClient, Client, ResumeSettings, StreamItem
from awaken.client.connection import Reconnect
from awaken.domain.clock import Timer
from awaken.domain.ids import seeded_chance
from awaken.testing.clock import ManualClock

Kind = Literal["sync", "async"]
KINDS: tuple[Kind, ...] = ("sync", "async")
Do = Callable[[Callable[[Any], Any]], Any]
"""Calls a method of a client, whichever it is."""

_seeds = itertools.count()


class Answer(msgspec.Struct):
    """One answer. `end`: how the body ends after its chunks; `refused`: there is no answer at all."""

    status: int = 200
    chunks: tuple[bytes, ...] = ()
    headers: dict[str, str] = {}
    end: Literal["closed", "cut", "refused"] = "closed"


class _Body(httpx.SyncByteStream, httpx.AsyncByteStream):
    def __init__(self, answer: Answer) -> None:
        self._answer = answer

    def __iter__(self) -> Iterator[bytes]:
        yield from self._answer.chunks
        if self._answer.end == "cut":
            raise httpx.ReadError("connection reset")

    async def __aiter__(self) -> AsyncIterator[bytes]:
        for chunk in self:
            yield chunk

    def close(self) -> None:
        return None

    async def aclose(self) -> None:
        return None


class Script(httpx.BaseTransport, httpx.AsyncBaseTransport):
    """Gives the answers one after another, and remembers what it was asked."""

    def __init__(self, *answers: Answer) -> None:
        self._answers = list(answers)
        self.requests: list[httpx.Request] = []

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        self.requests.append(request)
        answer = self._answers.pop(0)
        if answer.end == "refused":
            raise httpx.ConnectError("connection refused")
        return httpx.Response(answer.status, headers=answer.headers, stream=_Body(answer))

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        request.read() if isinstance(request.stream, httpx.SyncByteStream) else await request.aread()
        return self.handle_request(request)

    def sent(self) -> list[tuple[str, str, str | None]]:
        """Method, path with query, and `Last-Event-ID` of each request."""
        return [(r.method, r.url.raw_path.decode(), r.headers.get("last-event-id")) for r in self.requests]

    def bodies(self) -> list[Any]:
        return [msgspec.json.decode(r.content) for r in self.requests if r.content]


class RushingClock(ManualClock):
    """A clock that does not let anybody wait: it jumps to whatever is waited for."""

    def __init__(self) -> None:
        super().__init__()
        self.waits: list[float] = []

    def call_later(self, delay_s: float, callback: Callable[[], None]) -> Timer:
        self.pause(delay_s)
        return asyncio.get_running_loop().call_soon(callback)

    def pause(self, delay_s: float) -> None:
        self.waits.append(delay_s)
        self.tick(delay_s)


class Outcome(msgspec.Struct):
    """What a stream gave until it ended or failed."""

    items: list[StreamItem]
    error: Exception | None
    reconnects: list[Reconnect]
    progress: Any


def collect(
    kind: Kind,
    transport: Any,
    open_stream: Callable[[Any, Callable[[Reconnect], None]], Any],
    *,
    resume: ResumeSettings | None = None,
    clock: RushingClock | None = None,
    url: str = "http://server",
) -> Outcome:
    """Everything a stream of either client gives."""
    clock = clock or RushingClock()
    outcome = Outcome([], None, [], None)
    options: dict[str, Any] = {
        "resume": resume,
        "clock": clock,
        "chance": seeded_chance(next(_seeds)),
        "transport": transport,
    }

    async def in_loop() -> None:
        async with (
            AsyncClient(url, **options) as client,
            open_stream(client, outcome.reconnects.append) as stream,
        ):
            outcome.progress = stream.progress
            async for item in stream:
                outcome.items.append(item)

    def in_thread() -> None:
        with (
            Client(url, **options, pause=clock.pause) as client,
            open_stream(client, outcome.reconnects.append) as stream,
        ):
            outcome.progress = stream.progress
            outcome.items.extend(stream)

    try:
        asyncio.run(in_loop()) if kind == "async" else in_thread()
    except Exception as error:
        outcome.error = error
    return outcome


def call(kind: Kind, transport: Any, do: Callable[[Any], Any], *, url: str = "http://server") -> Any:
    """The result of one method of either client; a list for one that iterates."""

    async def in_loop() -> Any:
        async with AsyncClient(url, transport=transport) as client:
            result = do(client)
            return [item async for item in result] if hasattr(result, "__aiter__") else await result

    def in_thread() -> Any:
        with Client(url, transport=transport) as client:
            result = do(client)
            return list(result) if hasattr(result, "__next__") else result

    return asyncio.run(in_loop()) if kind == "async" else in_thread()


# --- frames -----------------------------------------------------------------------------------------------------------


def stream(*frames: bytes, end: Literal["closed", "cut", "refused"] = "closed") -> Answer:
    """An event stream of these frames."""
    return Answer(200, (b": connected\n\n", *frames), {"content-type": "text/event-stream; charset=utf-8"}, end)


def problem(status: int, code: str, **facts: Any) -> Answer:
    body = {"status": status, "code": code, "detail": f"about {code}", "request_id": "q1", **facts}
    return Answer(status, (msgspec.json.encode(body),), {"content-type": "application/problem+json"})


def document(value: Any, status: int = 200) -> Answer:
    return Answer(status, (msgspec.json.encode(value),), {"content-type": "application/json"})


def opened(run_id: str = "r1") -> bytes:
    return control("stream.open", {"scope": "run", "thread_id": "t1", "run_id": run_id, "cursor": "0"})


def delta(seq: int, text: str = "x") -> bytes:
    return event(seq, "TextDeltaObserved", {"delta": text})


def event(seq: int, kind: str, payload: dict[str, Any]) -> bytes:
    whole = {
        "cursor": str(seq),
        "kind": kind,
        "thread_id": "t1",
        "run_id": "r1",
        "created_at": "2026-01-01T00:00:00.000Z",
        "payload": payload,
    }
    return f"id: {seq}\nevent: {kind}\ndata: ".encode() + msgspec.json.encode(whole) + b"\n\n"


def control(kind: str, content: dict[str, Any]) -> bytes:
    return f"event: {kind}\ndata: ".encode() + msgspec.json.encode(content) + b"\n\n"


END = control("stream.end", {"reason": "done"})
