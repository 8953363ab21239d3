"""LangGraph's streaming protocol: its stock clients, and what they send."""

from __future__ import annotations

import asyncio
from typing import Any

from awaken.testing.behaviour import behaviour
from tests.protocols.langgraph.server import GO, live


@behaviour("LG-005")
async def test_the_python_client_follows_a_run() -> None:
    async with asyncio.timeout(30), live() as site:
        async with site.client.threads.stream(assistant_id="tool") as thread:
            started = await thread.run.start(input=GO)
            assert started["run_id"]
            messages = [message async for message in thread.messages]
            texts = [await message.text for message in messages]
            values = await thread.output
        assert texts == ["Let me see.", "Otter means something."]
        assert [each["type"] for each in values["messages"]] == ["human", "ai", "tool", "ai"]


@behaviour("LG-005")
async def test_the_python_client_responds_to_an_interrupt() -> None:
    async with asyncio.timeout(30), live() as site:
        async with site.client.threads.stream(assistant_id="approval") as thread:
            await thread.run.start(input=GO)
            async for _ in thread.values:
                pass
            assert thread.interrupted
            [asked] = thread.interrupts
            assert asked["value"]["action_requests"][0]["name"] == "pay"
            await thread.run.respond({"decisions": [{"type": "approve"}]})
            values: Any = await thread.output
        assert values["messages"][-1]["content"] == "That is settled."
