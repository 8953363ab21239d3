"""A server is killed in the middle of an answer: the page joins again, and shows it whole and once."""

from __future__ import annotations

import asyncio
from pathlib import Path

import httpx

from awaken.testing.behaviour import behaviour
from tests.protocols.ag_ui.judges import check_stream
from tests.protocols.mortal import FIRST, LAST, MortalServer
from tests.protocols.site import frames_in, without_beginning
from tests.protocols.stock.clients import Module

AGENTS = Path(__file__).with_name("agents.mjs")


@behaviour("SRV-033", "SRV-020")
async def test_an_answer_goes_on_after_a_kill_for_the_client_and_for_whoever_knows_his_place(tmp_path: Path) -> None:
    async with asyncio.timeout(90), Module(AGENTS) as page, MortalServer(tmp_path) as server:
        await page.call("open", "t", server.url, {"agent": "halting"})
        await page.call("begin", "t", "hello", len(FIRST))
        seen = await read(server.url, until=FIRST)
        await server.kill()
        assert [each["code"] for each in (await page.call("over", "t"))["errors"]] == ["thrown"]
        await server.live()
        await page.call("beginConnect", "t", 0)
        server.let_go()
        view = await page.call("over", "t")
        assert [each["code"] for each in view["errors"]] == ["thrown"], "there is no second one"
        assert [each["role"] for each in view["messages"]] == ["user", "assistant"]
        assert view["messages"][1]["content"] == FIRST + LAST
        check_stream(view["events"])
        first, last = frames_in(seen)[0].id or "", frames_in(seen)[-1].id or ""
        rest, whole = await read(server.url, after=last), await read(server.url, after=first)
        assert seen.split(b"\n\n", 1)[1] + rest == whole, "byte for byte"


async def read(url: str, *, after: str = "", until: str = "") -> bytes:
    """The stream of another thread, from a place on, to the end or so many words; without a place it begins a run."""
    body = b""
    path = f"{url}/v1/ag-ui/threads/u/stream"
    said = {"threadId": "u", "runId": "r", "messages": [{"id": "m", "role": "user", "content": "hello"}]}
    async with httpx.AsyncClient(timeout=60) as client:
        asking = (
            client.stream("GET", path, headers={"last-event-id": after})
            if after
            else client.stream("POST", f"{url}/v1/ag-ui/agents/halting/run", json=said)
        )
        async with asking as answer:
            async for piece in answer.aiter_bytes():
                body += piece
                if until and until.encode() in body and body.endswith(b"\n\n"):
                    break
    return without_beginning(body)
