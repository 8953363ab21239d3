"""What somebody writes with sse-starlette: a queue per client, an event per item. Frames as large as ours."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Final

from sse_starlette import EventSourceResponse, ServerSentEvent
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse
from starlette.routing import Route

from benchmarks.apps import DELTA

_CURSOR: Final = "1.t.01234567.12345"
_DATA: Final = (
    f'{{"cursor":"{_CURSOR}","kind":"TextDeltaObserved","thread_id":"fan",'
    '"run_id":"01a1fbc0-8c5f-74d4-addf-19259c7fce26","created_at":"2030-01-01T00:00:00.000Z",'
    f'"payload":{{"message_id":"01a229d9-c46c-7001-a46d-d6122265b1f5","part":0,"delta":"{DELTA}"}}}}'
)
_queues: list[asyncio.Queue[str]] = []


async def stream(request: Request) -> EventSourceResponse:
    queue: asyncio.Queue[str] = asyncio.Queue()
    _queues.append(queue)
    return EventSourceResponse(_frames(queue))


async def _frames(queue: asyncio.Queue[str]) -> AsyncIterator[ServerSentEvent]:
    yield ServerSentEvent(data="{}", event="stream.open")
    while True:
        kind = await queue.get()
        yield ServerSentEvent(data=_DATA, event=kind, id=_CURSOR)


async def start(request: Request) -> PlainTextResponse:
    """Give every client the same events, letting others run after every ten."""
    for number in range(int(request.query_params["events"])):
        for queue in _queues:
            queue.put_nowait("TextDeltaObserved")
        if number % 10 == 9:
            await asyncio.sleep(0)
    for queue in _queues:
        queue.put_nowait("RunFinished")
    return PlainTextResponse("started")


async def ready(request: Request) -> PlainTextResponse:
    return PlainTextResponse("ok")


app = Starlette(routes=[Route("/stream", stream), Route("/start", start, methods=["POST"]), Route("/ready", ready)])
