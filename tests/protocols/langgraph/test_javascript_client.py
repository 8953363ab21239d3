"""LangGraph's JavaScript client against a real server."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

from awaken.testing.behaviour import behaviour
from tests.protocols.langgraph.server import live
from tests.protocols.stock.clients import Module

CLIENTS = Path(__file__).with_name("clients.mjs")


@behaviour("SRV-037")
async def test_a_run_is_streamed_listed_and_read() -> None:
    async with asyncio.timeout(60), live() as site, Module(CLIENTS) as js:
        thread_id = await js.call("makeThread", site.url)
        seen = await js.call("streamed", site.url, thread_id, "tool", {"streamMode": ["values", "updates"]})
        assert (seen[0]["event"], seen[-1]["event"]) == ("metadata", "end")
        assert [each["type"] for each in seen[-2]["data"]["messages"]] == ["human", "ai", "tool", "ai"]
        state = await js.call("called", site.url, "threads", "getState", thread_id)
        assert state["values"] == seen[-2]["data"]
        [run] = await js.call("called", site.url, "runs", "list", thread_id, {"status": "success"})
        assert run["run_id"] == seen[0]["data"]["run_id"]
        joined = await js.call("joined", site.url, thread_id, run["run_id"], {"streamMode": ["values", "updates"]})
        assert [each["data"] for each in joined] == [each["data"] for each in seen]
        found = await js.call("called", site.url, "threads", "search", {"metadata": {"graph_id": "tool"}})
        assert [each["thread_id"] for each in found] == [thread_id]
        assert await js.call("called", site.url, "threads", "count") == 1
        assert len(await js.call("called", site.url, "threads", "getHistory", thread_id)) == 1
        batch = await js.call(
            "called", site.url, "runs", "createBatch", [{"assistantId": "text", "input": {"messages": "Hi"}}]
        )
        assert len(batch) == 1
        assert (
            await js.call("failed", site.url, "runs", "wait", thread_id, "nobody", {"input": {"messages": "Hi"}}) == 422
        )
        assert await js.call("failed", site.url, "threads", "get", "none") == 404


@behaviour("LG-002")
@pytest.mark.parametrize("agent", ["text", "reasoning", "parallel", "retried", "tool-whole"])
async def test_pieces_are_put_together_to_what_was_said(agent: str) -> None:
    async with asyncio.timeout(60), live() as site, Module(CLIENTS) as js:
        thread_id = await js.call("makeThread", site.url)
        pieces = await js.call("assembled", site.url, thread_id, agent)
        values: Any = (await site.client.threads.get_state(thread_id))["values"]
        said = {each["id"]: each for each in values["messages"] if each["type"] == "ai"}
        assert {id for id, each in pieces.items() if each["type"] == "ai"} == set(said)
        for id, message in said.items():
            assert text_in(pieces[id]["content"]) == text_in(message["content"])
            made = [(each["name"], each["args"]) for each in pieces[id]["calls"]]
            assert made == [(each["name"], each["args"]) for each in message["tool_calls"]]


def text_in(content: str | list[dict[str, Any]]) -> str:
    if isinstance(content, str):
        return content
    return "".join([each.get("text", each.get("reasoning", "")) for each in content])


@behaviour("LG-005")
async def test_the_streaming_protocol_is_followed() -> None:
    async with asyncio.timeout(60), live() as site, Module(CLIENTS) as js:
        seen = await js.call("followed", site.url, "tool")
        assert seen["messages"] == ["Let me see.", "Otter means something."]
        assert seen["texts"] == ["Go on.", "Let me see.", "otter means something", "Otter means something."]
        assert seen["methods"].count("lifecycle:completed") == 1


@behaviour("LG-005")
async def test_an_interrupt_is_answered_in_the_streaming_protocol() -> None:
    async with asyncio.timeout(60), live() as site, Module(CLIENTS) as js:
        seen = await js.call("responded", site.url, "approval", {"decisions": [{"type": "approve"}]})
        assert seen["asked"]["action_requests"][0]["name"] == "pay"
        assert seen["ends"] == ["interrupted", "completed"]
        assert seen["values"]["messages"][-1]["content"] == "That is settled."
