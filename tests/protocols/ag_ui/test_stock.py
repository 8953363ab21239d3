"""AG-UI's own client against a real server: it verifies each event itself, and nothing of it is replaced."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from awaken.executors.function import Context
from awaken.testing.behaviour import behaviour
from awaken.testing.scripted import SHAPES
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
        if view["events"] and view["events"][-1]["type"] in ("RUN_FINISHED", "RUN_ERROR"):
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


def told(view: View) -> list[Any]:
    """What is said and done, but for what only those see who were there: activities, and questions outside of calls."""
    calls = {each["id"]: each.get("toolCalls", ()) for each in view["messages"]}
    asked = [call["id"] for made in calls.values() for call in made if call["function"]["name"] == "ask"]
    return [
        (each["role"], each.get("content") or "", [(call["id"], call["function"]) for call in calls[each["id"]]])
        for each in view["messages"]
        if each["role"] != "activity" and each["id"] not in asked and each.get("toolCallId") not in asked
    ]


@behaviour("SRV-033", "AGUI-001")
async def test_every_shape_is_shown_by_the_page_that_runs_it_as_by_one_that_comes_later() -> None:
    expected = {"failing": ["it cannot be done"], "dead": ["nobody answers there"]}
    async with pages() as first:
        for shape in SHAPES:
            page = await first.opened(shape, tools=LOOK_AROUND)
            view = await page("send", "Go on.")
            while view["interrupts"]:
                view = await page("resume", {each["id"]: _yes(each) for each in view["interrupts"]})
            if view["pending"]:
                view = await page("answer", view["pending"][0], "blue")
            errors = [each["message"] for each in view["errors"]]
            assert len(errors) == len(expected.get(shape, [])) and view["state"] == STATES.get(shape, {}), shape
            later = await first.opened(shape, f"{shape}-later", threadId=page.name)
            seen = await later("connect")
            if shape not in expected:
                assert told(seen) == told(view), shape
                assert seen["state"] == view["state"]


def _yes(interrupt: View) -> View:
    return {"status": "resolved", "payload": "blue" if interrupt["reason"] == "input_required" else True}


STATES = {"state": {"colour": "blue", "size": {"w": 1}}}


@behaviour("SRV-033", "AGUI-001")
async def test_a_page_that_opens_while_somebody_answers_is_shown_the_rest_and_stop_ends_both() -> None:
    gate = asyncio.Event()

    async def slow(context: Context) -> AsyncIterator[str]:
        yield "It begins. "
        await gate.wait()
        yield "It ends."

    async with pages(slow=slow) as first:
        for is_stopped in (False, True):
            gate.clear()
            page = await first.opened("slow", f"slow-{is_stopped}")
            other = await first.opened("slow", f"other-{is_stopped}", threadId=page.name)
            await page("begin", "hello", 5)
            assert told(await other("beginConnect", 5)) == [("user", "hello", []), ("assistant", "It begins. ", [])]
            if is_stopped:
                await page("stop")
            gate.set()
            for each in (page, other):
                view = await each("over")
                assert [end["outcome"] for end in view["finishes"]] == ["cancelled" if is_stopped else "success"]
                said = "It begins. " if is_stopped else "It begins. It ends."
                assert told(view) == [("user", "hello", []), ("assistant", said, [])]


@behaviour("SRV-033", "AGUI-003")
async def test_the_client_is_told_why_an_answer_is_refused() -> None:
    async with pages() as first:
        page = await first.opened("approval")
        [asked] = (await page("send", "hello"))["interrupts"]
        other = await first.opened("approval", "other", threadId=page.name)
        view = await other("send", "and me?")
        assert [each["code"] for each in view["errors"]] == ["interrupts_pending"]
        assert [each["id"] for each in view["interrupts"]] == [asked["id"]], "now it can answer"
        assert "and me?" in [each.get("content") for each in view["messages"]], "and has not lost what was said"
        view = await page("resume", {asked["id"]: {"status": "resolved", "payload": {"approved": "perhaps"}}})
        assert [each["code"] for each in view["errors"]] == ["invalid_resume_payload"]
        view = await page("resume", {asked["id"]: {"status": "cancelled"}})
        assert (text(view), view["interrupts"]) == ("That is settled.", [])
        view = await other("resume", {asked["id"]: {"status": "resolved", "payload": True}})
        assert [each["code"] for each in view["errors"]][1:] == ["interrupt_conflict"]
        assert view["interrupts"] == [], "it is not asked for the same for ever"
        assert sorted(roles(view)) == ["assistant", "assistant", "tool", "user", "user"], (
            "what counts, and what is unsent"
        )
        view = await other("again")
        assert view["interrupts"] != [], "its message was taken: it is asked anew"
