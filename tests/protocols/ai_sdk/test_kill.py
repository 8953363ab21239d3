"""A server is killed in the middle of an answer: the page comes back to it, and shows it whole and once."""

from __future__ import annotations

import asyncio
from pathlib import Path

import httpx

from awaken.testing.behaviour import behaviour
from tests.http.asgi import parsed
from tests.protocols.ai_sdk.test_stock import CHAT, is_void
from tests.protocols.mortal import FIRST, LAST, MortalServer
from tests.protocols.site import frames_in, without_beginning
from tests.protocols.stock.clients import Module


@behaviour("SRV-031", "SRV-020")
async def test_an_answer_goes_on_after_a_kill_for_both_clients_and_for_whoever_knows_his_place(tmp_path: Path) -> None:
    async with asyncio.timeout(90), Module(CHAT) as page, MortalServer(tmp_path) as server:
        for version in (6, 7):
            await page.call("open", f"chat-{version}", version, server.url, {"agent": "halting", "asks": version})
            await page.call("begin", f"chat-{version}", "hello", len(FIRST))
        seen = await read(server.url, until=FIRST)
        await server.kill()
        for version in (6, 7):
            assert (await page.call("over", f"chat-{version}"))["status"] == "error"
        await server.live()
        for version in (6, 7):
            await page.call("rejoin", f"chat-{version}")
        server.let_go()
        for version in (6, 7):
            view = await page.call("over", f"chat-{version}")
            assert (view["status"], view["statuses"]) == ("ready", [200, 200])
            assert [each["role"] for each in view["messages"]] == ["user", "assistant"]
            shown = [
                part["text"] for part in view["messages"][1]["parts"] if part["type"] == "text" and not is_void(part)
            ]
            assert "".join(shown) == FIRST + LAST
            history = await page.call("history", f"chat-{version}")
            assert history[1]["id"] == view["messages"][1]["id"]
            assert [part["text"] for part in history[1]["parts"] if part["type"] == "text"] == [FIRST + LAST]
            assert (await page.call("chunks", f"chat-{version}"))["bad"] == []
        rest, whole = await read(server.url, after=last_id(seen)), await read(server.url, after=first_id(seen))
        assert without_first(seen) + rest == whole, "byte for byte"


async def read(url: str, *, after: str = "", until: str = "") -> bytes:
    """The stream of the first chat, from a place on, up to the end or so many words."""
    async with httpx.AsyncClient(timeout=60) as client:
        stream = f"{url}/v1/ai-sdk/chat/chat-6/stream"
        async with client.stream("GET", stream, headers={"last-event-id": after} if after else {}) as answer:
            body = b""
            async for piece in answer.aiter_bytes():
                body += piece
                if until and until.encode() in body and body.endswith(b"\n\n"):
                    break
    return without_beginning(body)


def last_id(body: bytes) -> str:
    return frames_in(body)[-1].id or ""


def first_id(body: bytes) -> str:
    return frames_in(body)[0].id or ""


def without_first(body: bytes) -> bytes:
    first, _, rest = body.partition(b"\n\n")
    assert parsed(first + b"\n\n").id == first_id(body)
    return rest
