"""OpenAI's JavaScript client, as it comes, against a real server."""

from __future__ import annotations

import asyncio
from pathlib import Path

from awaken.testing.behaviour import behaviour
from tests.protocols.live import live_site
from tests.protocols.stock.clients import Module

CLIENTS = Path(__file__).with_name("clients.mjs")
TEXT = "Hello there. All is well."


@behaviour("OR-001", "OR-002", "OR-003", "OR-005", "OR-006", "OR-007")
async def test_the_javascript_client_does_what_the_other_one_does() -> None:
    async with asyncio.timeout(60), Module(CLIENTS) as page, live_site() as site:
        url = site.url
        waited = await page.call("called", url, "responses.create", {"model": "text", "input": "Go on."})
        assert (waited["status"], waited["output_text"]) == ("completed", TEXT)

        helped = await page.call("helped", url, {"model": "mixed", "input": "Go on."})
        assert helped["numbers"] == [*range(len(helped["numbers"]))]
        kinds = [item["type"] for item in helped["final"]["output"]]
        assert sorted(kinds) == ["mcp_approval_request", "mcp_call", "mcp_call", "mcp_call", "message"]

        seen = await page.call("cut", url, {"model": "tool", "input": "Go on."}, 7)
        assert [event["sequence_number"] for event in seen] == [*range(len(seen))]
        assert seen[-1]["type"] == "response.completed"

        asked = await page.call("called", url, "responses.create", {"model": "approval", "input": "Go on."})
        [approval] = [item for item in asked["output"] if item["type"] == "mcp_approval_request"]
        answer = {"type": "mcp_approval_response", "approval_request_id": approval["id"], "approve": True}
        more = {"model": "approval", "input": [answer], "previous_response_id": asked["id"]}
        settled = await page.call("called", url, "responses.create", more)
        assert settled["output_text"] == "That is settled."
        [item] = await page.call("called", url, "responses.inputItems.list", settled["id"])
        assert item["approve"] is True
        assert (await page.call("called", url, "responses.cancel", settled["id"]))["status"] == "completed"
        await page.call("called", url, "responses.delete", settled["id"])
        assert await page.call("called", url, "responses.retrieve", settled["id"]) == {
            "refused": 404,
            "code": "not_found",
        }

        chatted = await page.call("chatted", url, {"model": "text", "messages": [{"role": "user", "content": "hi"}]})
        assert chatted["content"] == TEXT
        tools = [{"type": "function", "function": {"name": "look_around", "parameters": {"type": "object"}}}]
        calling = {"model": "client-tool", "messages": [{"role": "user", "content": "hi"}], "tools": tools}
        called = (await page.call("chatted", url, calling))["completion"]["choices"][0]
        assert called["finish_reason"] == "tool_calls"
        assert called["message"]["tool_calls"][0]["function"]["name"] == "look_around"
        assert "text" in [each["id"] for each in await page.call("called", url, "models.list")]
