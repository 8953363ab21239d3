"""LangGraph's streaming protocol: its stock clients, and what they send."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

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


@behaviour("LG-005")
async def test_the_python_client_is_told_of_tools_and_of_what_an_agent_does() -> None:
    async with asyncio.timeout(30), live() as site:
        async with site.client.threads.stream(assistant_id="parallel") as thread:
            await thread.run.start(input=GO)
            calls = [call async for call in thread.tool_calls]
            assert [call.name for call in calls] == ["look_up", "break_down", "look_up"]
            assert await calls[0].output == "one means something"
            with pytest.raises(RuntimeError, match="broken"):
                await calls[1].output
        async with site.client.threads.stream(assistant_id="activity") as thread:
            await thread.run.start(input=GO)
            told = [each["payload"] async for each in thread.extensions["activity"]]
            assert told[0]["content"] == {"steps": ["look"], "done": 0}
        async with site.client.threads.stream(assistant_id="failing") as thread:
            await thread.run.start(input=GO)
            with pytest.raises(RuntimeError, match="it cannot be done"):
                await thread.output
