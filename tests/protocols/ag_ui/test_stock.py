"""AG-UI's own client against a real server: it verifies each event itself, and nothing of it is replaced."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from awaken.testing.behaviour import behaviour
from tests.protocols.ag_ui.judges import check_stream
from tests.protocols.live import LiveSite, live_site
from tests.protocols.stock.clients import Module

AGENTS = Path(__file__).with_name("agents.mjs")
View = dict[str, Any]
LOOK_AROUND = [{"name": "look_around", "description": "Look around on the page.", "parameters": {"type": "object"}}]


class Page:
    """A page with one agent."""

    def __init__(self, module: Module, site: LiveSite, name: str) -> None:
        self._module = module
        self._site = site
        self.name = name

    async def __call__(self, function: str, *args: Any) -> View:
        """What it shows then; what came is held against the judges, and nothing was thrown or warned of."""
        view = await self._module.call(function, self.name, *args)
        assert [each for each in view["errors"] if each["code"] == "thrown"] == []
        assert view["warnings"] == []
        if view["events"]:
            check_stream(view["events"])
        return view

    async def opened(self, agent: str, name: str | None = None, **options: Any) -> Page:
        page = Page(self._module, self._site, name or f"{agent}-thread")
        await self._module.call("open", page.name, self._site.url, {"agent": agent} | options)
        return page


@asynccontextmanager
async def pages(**agents: Any) -> AsyncGenerator[Page]:
    async with asyncio.timeout(60), Module(AGENTS) as module, live_site(**agents) as site:
        yield Page(module, site, "")


def text(view: View) -> str:
    return view["messages"][-1].get("content", "")


def roles(view: View) -> list[str]:
    return [each["role"] for each in view["messages"]]


@behaviour("SRV-033")
async def test_a_thread_goes_on_over_runs_and_each_has_the_clients_name() -> None:
    async with pages() as first:
        page = await first.opened("text")
        view = await page("send", "hello", {"runId": "run-1"})
        assert (roles(view), text(view)) == (["user", "assistant"], "Hello there. All is well.")
        ends = [view["events"][0], view["events"][-1]]
        assert [each["runId"] for each in ends] == ["run-1", "run-1"]
        view = await page("send", "and again", {"runId": "run-2"})
        assert roles(view) == ["user", "assistant", "user", "assistant"]
        assert view["finishes"] == [{"outcome": "success", "result": None}] * 2


@behaviour("SRV-033")
async def test_tools_are_shown_with_their_results() -> None:
    async with pages() as first:
        page = await first.opened("parallel")
        view = await page("send", "hello")
        assert roles(view) == ["user", "assistant", "tool", "tool", "tool", "assistant"]
        assert text(view) == "All three came back."
        assert sorted([each["toolCallId"] for each in view["messages"] if each["role"] == "tool"]) == [
            "call_a",
            "call_b",
            "call_c",
        ]


@behaviour("SRV-033")
async def test_all_interrupts_are_resumed_at_once() -> None:
    async with pages() as first:
        page = await first.opened("mixed")
        view = await page("send", "hello")
        assert sorted([each["reason"] for each in view["interrupts"]]) == ["input_required", "tool_call"]
        answers = {
            each["id"]: {
                "status": "resolved",
                "payload": "blue" if each["reason"] != "tool_call" else {"approved": True},
            }
            for each in view["interrupts"]
        }
        view = await page("resume", answers)
        assert view["interrupts"] == []
        assert text(view) == "All is settled."
        results = {each["toolCallId"]: each["content"] for each in view["messages"] if each["role"] == "tool"}
        assert results == {"call_a": "one means something", "call_b": "paid 7", "call_c": "the colour is blue"}


@behaviour("SRV-033")
async def test_a_question_without_a_call_is_asked_and_answered() -> None:
    async with pages() as first:
        page = await first.opened("ask")
        view = await page("send", "hello")
        assert [each["message"] for each in view["interrupts"]] == ["Who are you?"]
        view = await page("resume", {}, {"status": "resolved", "payload": "Ann"})
        assert text(view) == "Hello Ann."


@behaviour("SRV-033")
async def test_a_tool_of_the_page_is_carried_out_by_it() -> None:
    async with pages() as first:
        page = await first.opened("client-tool", tools=LOOK_AROUND)
        view = await page("send", "hello")
        assert (view["interrupts"], view["pending"]) == ([], ["call_0"]) or len(view["pending"]) == 1
        view = await page("answer", view["pending"][0], "all is quiet")
        assert text(view) == "The page has answered."
        assert [each["content"] for each in view["messages"] if each["role"] == "tool"] == ["all is quiet"]
