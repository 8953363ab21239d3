"""A server that is killed in the middle of an answer: its clients go on by themselves when it is back."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack
from functools import partial
from pathlib import Path
from typing import Any

import httpx
import pytest
from langgraph_sdk import get_client
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from awaken.http.settings import HttpSettings
from awaken.testing.behaviour import behaviour
from tests.docs.uvicorn_process import Uvicorn
from tests.protocols.langgraph.server import GO, live
from tests.protocols.langgraph.test_javascript_client import CLIENTS
from tests.protocols.stock.clients import Module

APPLICATION = """
import asyncio
import os
from contextlib import asynccontextmanager

from awaken import Awaken
from starlette.applications import Starlette
from starlette.routing import Mount

awaken = Awaken("sqlite:///chat.db")


async def speaker(context):
    for word in ("one ", "two ", "three "):
        yield word
    if os.environ["STOPS"] == "yes":
        await asyncio.Event().wait()
    yield "four"


awaken.agent("speaker", speaker)


@asynccontextmanager
async def lifespan(_):
    async with awaken:
        yield


app = Starlette(lifespan=lifespan, routes=[Mount("/", awaken.asgi(protocols=["langgraph"]))])
"""


def shown(parts: list[tuple[str, Any]]) -> str:
    """The text of the answer, put together of its pieces."""
    texts: dict[str, str] = {}
    for event, data in parts:
        if event == "messages":
            piece = data[0]
            texts[piece["id"]] = "" if piece["type"] == "remove" else texts.get(piece["id"], "") + piece["content"]
    return "".join(texts.values())


@pytest.mark.filterwarnings("ignore:Request failed, attempting reconnect")  # as the client says
@behaviour("SRV-037", "LG-002")
async def test_streams_and_waits_go_on_after_a_kill(tmp_path: Path) -> None:
    (tmp_path / "chat.py").write_text(APPLICATION)
    async with asyncio.timeout(60), Module(CLIENTS) as js, AsyncExitStack() as stack:
        first = Uvicorn("chat:app", tmp_path, STOPS="yes")
        await asyncio.to_thread(first.__enter__)
        try:
            client: Any = get_client(url=first.url, api_key=None)
            stack.push_async_callback(client.aclose)
            await client.threads.create(thread_id="t")
            await js.call("begin", first.url, "t", "speaker", "three ")
            [run] = await client.runs.list("t")
            reading, waits = asyncio.Event(), asyncio.Event()
            client.http.client.event_hooks = {"response": [partial(tell, waits)]}
            streamed = asyncio.create_task(joined(client, run["run_id"], reading))
            waited = asyncio.create_task(client.runs.join("t", run["run_id"]))
            await reading.wait()
            await waits.wait()
        finally:
            await asyncio.to_thread(first.__exit__, None, None, None)  # SIGKILL
        second = Uvicorn("chat:app", tmp_path, port=first.port, STOPS="no")
        await asyncio.to_thread(second.__enter__)
        try:
            own = [(each["event"], each["data"]) for each in await js.call("finish")]
            other, values = await streamed, await waited
        finally:
            await asyncio.to_thread(second.__exit__, None, None, None)
    assert shown(own) == shown(other) == "one two three four"
    for parts in (own, other):
        assert parts[-1][0] == "end"
        assert [data for event, data in parts if event == "values"][-1] == values
    assert [each["content"] for each in values["messages"]] == ["Go on.", "one two three four"]


async def tell(waits: asyncio.Event, response: Any) -> None:
    """The answer to a wait has begun: before that a client does not know where it would go on."""
    if response.url.path.endswith("/join"):
        waits.set()


async def joined(client: Any, run_id: str, reading: asyncio.Event) -> list[tuple[str, Any]]:
    found: list[tuple[str, Any]] = []
    async for part in client.runs.join_stream("t", run_id, stream_mode=["messages-tuple", "values"]):
        found.append((part.event, part.data))
        if part.event == "messages" and part.data[0]["content"] == "three ":
            reading.set()
    return found


def cutting(app: ASGIApp, after: int, times: int) -> ASGIApp:
    """Breaks so many answers of streams off, each after so many pieces."""
    left = times

    async def cut(scope: Scope, receive: Receive, send: Send) -> None:
        nonlocal left
        if not scope["path"].endswith("/stream") or not left:
            await app(scope, receive, send)
            return
        left -= 1
        sent = 0

        async def some(message: Message) -> None:
            nonlocal sent
            sent += message["type"] == "http.response.body"
            if sent > after:
                raise ConnectionResetError
            await send(message)

        await app(scope, receive, some)

    return cut


@behaviour("SRV-037", "LG-002")
async def test_a_stream_whose_connection_breaks_goes_on_by_itself() -> None:
    async with asyncio.timeout(60), live(partial(cutting, after=2, times=2)) as site:
        thread_id = (await site.client.threads.create())["thread_id"]
        modes = ["messages-tuple", "values"]
        parts: list[tuple[str, Any]] = []
        async for part in site.client.runs.stream(thread_id, "gated", input=GO, stream_mode=modes):
            parts.append((part.event, part.data))
            if part.event == "messages":
                site.gates[thread_id].set()
        assert shown(parts) == "one two three"
        assert parts[-1][0] == "end"
        assert [event for event, _ in parts].count("metadata") == 1


def away(app: ASGIApp, after: int, refused: int, broken: list[str]) -> ASGIApp:
    """As a server is that is killed and comes back soon: each stream of events that is open breaks behind so many
    pieces, and the next so many are not begun.
    """
    opened = left = 0

    async def gone(scope: Scope, receive: Receive, send: Send) -> None:
        nonlocal opened, left
        if not scope["path"].endswith("/stream/events"):
            await app(scope, receive, send)
            return
        if left:
            left -= 1
            raise ConnectionResetError
        breaks, sent = opened < STREAMS, 0
        opened += 1

        async def some(message: Message) -> None:
            nonlocal sent, left
            sent += message["type"] == "http.response.body"
            if breaks and sent > after:
                left = refused
                broken.append(scope["path"])
                raise ConnectionResetError
            await send(message)

        await app(scope, receive, some)

    return gone


STREAMS = 2
"""Of events, that the Python client opens for one thread: of its lifecycle, and of all else."""


@pytest.mark.parametrize("after", [1, 2])
@behaviour("SRV-037", "LG-002", "LG-005")
async def test_the_python_client_follows_a_thread_over_a_server_that_is_away_for_a_moment(after: int) -> None:
    broken: list[str] = []
    async with asyncio.timeout(20), live(partial(away, after=after, refused=2, broken=broken)) as site:
        async with site.client.threads.stream(assistant_id="gated") as thread:
            started = await thread.run.start(input=GO)
            messages: list[Any] = []
            async for message in thread.messages:
                messages.append(message)
                site.gates.setdefault(thread.thread_id, asyncio.Event()).set()
            texts = [await message.text for message in messages]
            values: Any = await thread.output
        assert broken and texts == ["one two three"]
        assert [each["content"] for each in values["messages"]] == ["Go on.", "one two three"]
        assert len(await site.client.runs.list(thread.thread_id)) == 1 and started["run_id"]


@behaviour("SRV-037", "SRV-029")
async def test_a_server_that_stops_breaks_a_wait_off_and_ends_no_stream() -> None:
    """A wait that was cut short would be taken for the answer, an end for the run's."""
    async with asyncio.timeout(30), live() as site, httpx.AsyncClient(base_url=site.url) as http:
        await http.post("/threads", json={"thread_id": "t"})
        run = (await http.post("/threads/t/runs", json={"assistant_id": "gated", "input": GO})).json()
        where = f"/threads/t/runs/{run['run_id']}"
        async with (
            http.stream("GET", f"{where}/join") as wait,
            http.stream("GET", f"{where}/stream") as stream,
            http.stream("POST", "/threads/t/stream/events", json={"channels": ["lifecycle"]}) as events,
        ):
            assert wait.status_code == stream.status_code == events.status_code == 200
            stopping = asyncio.create_task(site.app.mailbox.stop())
            with pytest.raises(httpx.RemoteProtocolError):
                await wait.aread()
            with pytest.raises(httpx.RemoteProtocolError):  # its Python client takes an end for that of the run
                await events.aread()
            assert b"event: end" not in await stream.aread()
            await stopping


@behaviour("SRV-037", "LG-005")
async def test_the_python_client_outlives_streams_that_have_lived_long_enough() -> None:
    opened = 0

    def counted(app: ASGIApp) -> ASGIApp:
        async def counting(scope: Scope, receive: Receive, send: Send) -> None:
            nonlocal opened
            if scope["path"].endswith("/stream/events"):
                opened += 1
                if opened > 2 * STREAMS:  # both were opened again
                    [gate] = site.gates.values()
                    gate.set()
            await app(scope, receive, send)

        return counting

    async with (
        asyncio.timeout(20),
        live(counted, HttpSettings(max_stream_life_s=0.2)) as site,
        site.client.threads.stream(assistant_id="gated") as thread,
    ):
        await thread.run.start(input=GO)
        texts = [await each.text for each in [message async for message in thread.messages]]
        values: Any = await thread.output
    assert (texts, values["messages"][-1]["content"]) == (["one two three"], "one two three")
