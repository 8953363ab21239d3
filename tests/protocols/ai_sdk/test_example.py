"""The queue of the example: what is said while the agent answers is kept by the server, and changed there."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

from awaken import Context
from awaken.testing.behaviour import behaviour
from examples.ai_sdk_chat.main import HERE
from tests.protocols.live import live_site
from tests.protocols.stock.clients import Module


@behaviour("SRV-031")
async def test_messages_wait_on_the_server_and_are_edited_ordered_and_removed_from_any_page() -> None:
    gates: dict[str, asyncio.Event] = {}

    async def slow(context: Context) -> AsyncIterator[str]:
        text = await context.input()
        yield f"{text}: "
        if text == "one":
            await gates.setdefault(context.identity.thread_id, asyncio.Event()).wait()
        yield "done"

    module = Path(__file__).with_name("example.mjs")
    async with asyncio.timeout(60), Module(module) as page, live_site(slow=slow) as site:
        for version in (6, 7):
            name = f"chat-{version}"
            await page.call("open", name, str(HERE / "chat.js"), version, site.url, "slow", name)
            await page.call("begin", name, "one")
            for text in ("two", "three", "four"):
                await page.call("act", name, "say", text)

            other = f"other-{version}"
            seen = await page.call("open", other, str(HERE / "chat.js"), version, site.url, "slow", name)
            two, three, four = [each["id"] for each in seen["queue"]]
            assert [each["text"] for each in seen["queue"]] == ["two", "three", "four"], "a reload shows it"
            assert (await page.call("act", other, "edit", three, "THREE"))["ok"]
            assert (await page.call("act", other, "order", [four, three, two]))["ok"]
            assert (await page.call("act", other, "remove", two))["ok"]
            seen = await page.call("act", name, "edit", three, "too late")
            assert not seen["ok"], "this page has not seen the newest"
            assert [each["text"] for each in seen["queue"]] == ["four", "THREE"]

            gates[name].set()
            seen = await page.call("shows", name, 6, "THREE: done")
            assert seen["messages"] == [
                ["user", "one"], ["assistant", "one: done"], ["user", "four"], ["assistant", "four: done"],
                ["user", "THREE"], ["assistant", "THREE: done"],
            ]  # fmt: skip


@behaviour("SRV-031")
async def test_what_is_said_in_another_window_comes_behind_the_answer_and_throws_nothing_away() -> None:
    gate = asyncio.Event()

    async def slow(context: Context) -> AsyncIterator[str]:
        text = await context.input()
        yield f"{text}: "
        if text == "one":
            await gate.wait()
        yield "done"

    module = Path(__file__).with_name("example.mjs")
    async with asyncio.timeout(40), Module(module) as page, live_site(slow=slow) as site:
        await page.call("open", "a", str(HERE / "chat.js"), 6, site.url, "slow", "chat")
        await page.call("begin", "a", "one")
        await page.call("act", "a", "say", "two")
        await page.call("open", "b", str(HERE / "chat.js"), 6, site.url, "slow", "chat")
        await page.call("taken", "b", "from B")
        gate.set()
        seen = await page.call("shows", "a", 6, "from B: done")
        assert [text for role, text in seen["messages"] if role == "assistant"] == [
            "one: done", "two: done", "from B: done",
        ]  # fmt: skip
