"""The AI SDK's own chat class and transport, 6 and 7, against a real server: nothing of theirs is replaced."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from awaken.domain.ids import ThreadId
from awaken.executors.function import Context
from awaken.protocols.ai_sdk.encoder import DONE, AiSdkEncoder
from awaken.testing.agents import memory_app
from awaken.testing.behaviour import behaviour
from awaken.testing.protocols import approve_all, deny_all, encode, seen_run
from awaken.testing.scripted import SHAPES, add_scripted
from tests.protocols.live import IMPATIENT, LiveSite, live_site
from tests.protocols.stock.clients import Module

CHAT = Path(__file__).with_name("chat.mjs")
View = dict[str, Any]
LOOK_AROUND = [{"name": "look_around", "description": "Look around on the page."}]


class Page:
    """A page with a chat, of one version of the SDK."""

    def __init__(self, module: Module, site: LiveSite, name: str, version: int) -> None:
        self.module = module
        self.site = site
        self.name = name
        self.version = version

    async def __call__(self, function: str, *args: Any) -> View:
        return await self.module.call(function, self.name, *args)

    async def beside(self, agent: str, **options: Any) -> Page:
        """Another page, with a chat of its own unless it has the `id` of this one."""
        return await opened(self.module, self.site, self.version, agent, f"{agent}-{self.name}", **options)

    async def is_valid(self) -> None:
        """Everything that came passes the client's own schema, and the history its validation; it is what is shown."""
        seen = await self("chunks")
        assert seen["bad"] == []
        shown = (await self("view"))["messages"]
        history = await self("history")
        assert await self.module.call("validate", self.version, history) == ""
        assert await self.module.call("validate", self.version, shown) == ""
        assert [plain(each) for each in history] == [plain(each) for each in shown]


def plain(message: Any) -> Any:
    """What is said and done in a message, without what only a stream or only a history says."""
    parts: list[Any] = []
    for part in message["parts"]:
        if part["type"] in ("text", "reasoning", "step-start"):
            parts.append((part["type"], part.get("text")))
        elif part["type"].startswith("tool-"):
            approval: Any = part.get("approval") or {}
            said = (approval.get("approved"), approval.get("reason"))
            parts.append((part["type"], part["state"], part["input"], part.get("output"), part.get("errorText"), said))
    return message["id"], message["role"], parts


@asynccontextmanager
async def pages(agent: str, *, agents: dict[str, Any] | None = None, **options: Any) -> AsyncGenerator[list[Page]]:
    """One of `ai` 6 and one of 7, each with a chat of its own."""
    async with asyncio.timeout(60), Module(CHAT) as module, live_site(**(agents or {})) as site:
        yield [await opened(module, site, version, agent, f"chat-{version}", **options) for version in (6, 7)]


async def opened(module: Module, site: LiveSite, version: int, agent: str, name: str, **options: Any) -> Page:
    await module.call("open", name, version, site.url, {"agent": agent, "asks": version} | options)
    return Page(module, site, name, version)


def text(view: View) -> str:
    return "".join([part["text"] for part in view["messages"][-1]["parts"] if part["type"] == "text"])


def is_void(part: dict[str, Any]) -> bool:
    metadata: Any = part.get("providerMetadata") or {"awaken": {}}
    return "void" in metadata["awaken"]


def tools(view: View) -> dict[str, Any]:
    return {part["type"][5:]: part for part in view["messages"][-1]["parts"] if part["type"].startswith("tool-")}


def roles(view: View) -> list[str]:
    return [each["role"] for each in view["messages"]]


@behaviour("SRV-031")
async def test_a_chat_of_several_turns_is_one_thread() -> None:
    async with pages("reasoning") as chats:
        for chat in chats:
            first, view = await chat("send", "hello"), await chat("send", "hello again")
            for each in (first, view):
                assert (each["status"], each["errors"], text(each)) == ("ready", [], "The answer is four.")
            assert roles(view) == ["user", "assistant", "user", "assistant"]
            assert view["finishes"][-1]["finishReason"] == "stop"
            assert view["messages"][1]["metadata"]["threadId"] == chat.name
            thread = await chat.site.app.store.load_thread(chat.site.app.scope, ThreadId(chat.name))
            assert thread is not None and thread.message_count == 4
            await chat.is_valid()


@behaviour("SRV-031")
async def test_tools_run_on_the_server_and_are_never_sent_back() -> None:
    async with pages("parallel", auto="both") as chats:
        for chat in chats:
            view = await chat("send", "hello")
            assert len(view["requests"]) == 1, "nothing is sent again by itself"
            states = [part["state"] for part in view["messages"][-1]["parts"] if part["type"].startswith("tool-")]
            assert sorted(states) == ["output-available", "output-available", "output-error"]
            assert text(view) == "Three at once.All three came back."
            await chat.is_valid()


@behaviour("SRV-031")
@pytest.mark.parametrize("approved", [True, False])
async def test_an_approval_goes_on_by_itself_in_the_same_message(approved: bool) -> None:
    async with pages("approval", auto="approvals") as chats:
        for chat in chats:
            view = await chat("send", "hello")
            assert tools(view)["pay"]["state"] == "approval-requested"
            assert tools(view)["pay"]["approval"]["descriptor"] == {"message": "Pay this?"}
            await chat.is_valid()
            view = await chat("approve", approved, "as you say")
            assert roles(view) == ["user", "assistant"] and len(view["requests"]) == 2
            assert (view["status"], text(view)) == ("ready", "I have to pay.That is settled.")
            assert tools(view)["pay"]["state"] == ("output-available" if approved else "output-denied")
            await chat.is_valid()


@behaviour("SRV-031")
async def test_a_page_that_decides_second_is_told_and_goes_on() -> None:
    async with pages("approval", auto="approvals") as chats:
        for chat in chats:
            view = await chat("send", "hello")
            other = await chat.beside("approval", id=chat.name, messages=view["messages"], auto="approvals")
            await chat("approve", True)
            view = await other("approve", False, "no!")
            assert view["status"] == "error" and "approve" in view["errors"][-1]
            pay = tools(view)["pay"]
            assert (pay["state"], pay["output"], pay["approval"].get("approved")) == (
                "output-available",
                "paid 5",
                None if chat.version == 6 else True,
            )
            assert text(view) == "I have to pay.That is settled.", "and what followed"
            view = await other("send", "and now?")
            assert (view["status"], roles(view)) == ("ready", ["user", "assistant", "user", "assistant"])


@behaviour("SRV-031")
async def test_a_page_whose_answer_does_not_fit_is_asked_again() -> None:
    async def quiz(context: Context) -> str:
        return f"you are {await context.ask('Your age?', type=int)}"

    async with pages("quiz", agents={"quiz": quiz}, auto="tools") as chats:
        for chat in chats:
            await chat("send", "hello")
            view = await chat("answer", "ask", "abc")
            assert view["status"] == "error" and "integer" in view["errors"][-1]
            assert (tools(view)["ask"]["state"], tools(view)["ask"]["providerExecuted"]) == ("input-available", False)
            view = await chat("answer", "ask", 7)
            assert (view["status"], tools(view)["ask"]["output"]) == ("ready", 7)


@behaviour("SRV-031")
@pytest.mark.parametrize("answer", [{"output": {"seen": "a cat"}}, {"state": "output-error", "errorText": "dark"}])
async def test_a_tool_of_the_page_is_carried_out_by_the_page(answer: Any) -> None:
    tool = {"name": "look_around", "answer": answer}
    async with pages("client-tool", auto="tools", client=tool, body={"clientTools": LOOK_AROUND}) as chats:
        for chat in chats:
            view = await chat("send", "look")
            assert (view["status"], text(view)) == ("ready", "The page has answered.")
            assert len(view["requests"]) == 2
            state = tools(view)["look_around"]["state"]
            assert state == ("output-available" if "output" in answer else "output-error")
            await chat.is_valid()


@behaviour("SRV-031")
async def test_questions_and_approvals_are_answered_together() -> None:
    async with pages("mixed", auto="both") as chats:
        for chat in chats:
            view = await chat("send", "hello")
            asked = tools(view)["ask_colour"]
            assert (asked["state"], asked["providerExecuted"]) == ("input-available", False)
            assert asked["toolMetadata"]["asked"] == {"message": "Which colour?", "schema": {"type": "string"}}
            await chat("answer", "ask_colour", "green")
            view = await chat("approve", True)
            assert text(view) == "All is settled."
            assert tools(view)["ask_colour"]["output"] == "the colour is green"
            await chat.is_valid()


@behaviour("SRV-031")
async def test_a_question_of_a_function_is_a_call_of_the_page() -> None:
    async with pages("ask", auto="tools") as chats:
        for chat in chats:
            view = await chat("send", "hello")
            assert tools(view)["ask"]["input"]["message"] == "Who are you?"
            view = await chat("answer", "ask", "Ann")
            assert (view["status"], text(view)) == ("ready", "Welcome. Hello Ann.")


@behaviour("SRV-031")
async def test_an_agent_that_fails_is_an_error_and_one_that_is_tried_again_is_not() -> None:
    async with pages("failing") as chats:
        for chat in chats:
            view = await chat("send", "hello")
            assert (view["status"], view["errors"]) == ("error", ["it cannot be done"])
            other = await chat.beside("retried")
            view = await other("send", "hello")
            assert (view["status"], view["errors"]) == ("ready", [])
            shown = [part for part in view["messages"][-1]["parts"] if part["type"] == "text"]
            void = [part for part in shown if is_void(part)]
            assert len(void) == (1 if chat.version == 6 else 0), "7 takes it back, 6 is told that it is void"
            assert "".join([part["text"] for part in shown if part not in void]) == "At last it worked."
            nobody = await chat.beside("nobody")
            view = await nobody("send", "hello")
            assert view["status"] == "error" and "nobody" in view["errors"][0]


@behaviour("SRV-031")
async def test_an_answer_is_made_anew() -> None:
    async with pages("tool") as chats:
        for chat in chats:
            await chat("send", "one")
            before = (await chat("send", "two"))["messages"]
            view = await chat("regenerate")
            assert [each["id"] for each in view["messages"][:3]] == [each["id"] for each in before[:3]]
            assert view["messages"][3]["id"] != before[3]["id"] and text(view) == "Let me see.Otter means something."
            await chat.is_valid()
            view = await chat("regenerate", before[1]["id"])
            assert len(view["messages"]) == 2
            await chat.is_valid()


@behaviour("SRV-031")
async def test_a_message_that_was_sent_is_edited() -> None:
    async with pages("text") as chats:
        for chat in chats:
            await chat("send", "one")
            first = (await chat("send", "two"))["messages"]
            view = await chat("edit", first[0]["id"], "ONE")
            assert (view["errors"], roles(view), text(view)) == ([], ["user", "assistant"], "Hello there. All is well.")
            view = await chat("send", "three")
            assert len(view["messages"]) == 4
            history: Any = await chat("history")
            said = [each["parts"][0]["text"] for each in history if each["role"] == "user"]
            assert said == ["ONE", "three"], "a reload shows what was said at last"


@behaviour("SRV-031")
async def test_leaving_and_coming_back_shows_the_whole_message() -> None:
    """What the client stops is its own stream. The run goes on, and another page joins it."""
    gate = asyncio.Event()

    async def slow(context: Any) -> Any:
        yield "It begins, "
        await gate.wait()
        yield "and ends."

    async with pages("slow", agents={"slow": slow}) as chats:
        for chat in chats:
            gate.clear()
            await chat("begin", "hello", 5)
            view = await chat("stop")
            assert view["status"] == "ready" and text(view) == "It begins, "
            again = await chat.beside("slow", id=chat.name, messages=view["messages"])
            await again("rejoin")
            gate.set()
            view = await again("over")
            assert (view["status"], text(view), roles(view)) == ("ready", "It begins, and ends.", ["user", "assistant"])
            assert view["statuses"] == [200]
            view = await again("resume")
            assert view["statuses"] == [200, 204] and view["status"] == "ready"
            await again.is_valid()


@behaviour("SRV-031")
async def test_stop_on_the_server_ends_the_stream_of_every_page() -> None:
    async def stuck(context: Any) -> Any:
        yield "It begins, "
        await asyncio.Event().wait()

    async with pages("stuck", agents={"stuck": stuck}, auto="both") as chats:
        for chat in chats:
            await chat("begin", "hello", 5)
            await chat("halt")
            view = await chat("over")
            assert (view["status"], view["errors"], len(view["requests"])) == ("ready", [], 1)
            seen = await chat("chunks")
            assert "abort" in [each["type"] for each in seen["chunks"] if each != "[DONE]"] and seen["bad"] == []


@behaviour("SRV-031")
async def test_two_pages_answer_and_the_later_one_does_not_go_round_in_circles() -> None:
    async with pages("approval", auto="approvals") as chats:
        for chat in chats:
            first = await chat("send", "hello")
            late = await chat.beside("approval", id=chat.name, messages=first["messages"], auto="approvals")
            await chat("approve", True)
            view = await late("approve", False)
            assert (view["status"], len(view["errors"]), len(view["requests"])) == ("error", 1, 1)
            assert tools(view)["pay"]["output"] == "paid 5", "it is shown what counts"


@behaviour("SRV-031")
async def test_chunks_of_6_pass_in_both_clients() -> None:
    async with pages("retried", asks=None) as chats:
        for chat in chats:
            await chat("send", "hello")
            for each in (6, 7):
                assert (await chat("chunks", each))["bad"] == []


@behaviour("SRV-031")
async def test_a_queue_of_7_sends_the_answer_of_an_approval_before_its_next_message() -> None:
    async with pages("approval", auto="approvals", queue=True) as [_, chat]:
        await chat("send", "one")
        await chat("begin", "two", 0)
        view = await chat("approve", True)
        await chat("over")
        view = await chat("settle")
        assert roles(view) == ["user", "assistant", "user", "assistant"]
        assert view["errors"] == [] and view["messages"][1]["parts"][-1]["text"] == "That is settled."


@behaviour("SRV-031", "SRV-038")
async def test_the_clients_own_reducer_makes_of_every_shape_of_run_what_the_log_says() -> None:
    async with asyncio.timeout(100), Module(CHAT) as module, memory_app(settings=IMPATIENT) as app:
        add_scripted(app)
        for shape in [*SHAPES, "reasoning-whole", "parallel-whole"]:
            waits = shape in ("mixed", "approval", "question", "client-tool", "ask")
            for answer in (approve_all, deny_all, None) if waits else (approve_all,):
                seen = await seen_run(app, shape, answer=answer)
                for version in (6, 7):
                    frames = encode(partial(AiSdkEncoder, version=version), seen)
                    turns: dict[int, list[Any]] = {}
                    for each in frames:
                        if each.frame != DONE:
                            turns.setdefault(each.turn, []).append(each.json())
                    made = await module.call("reduced", version, [*turns.values()], answer is not deny_all)
                    assert made["faults"] == [], (shape, version)
                    parts: list[Any] = made["message"]["parts"]
                    said = "".join([part["text"] for part in parts if part["type"] == "text" and not is_void(part)])
                    assert said == seen.final.text, (shape, version)
                    calls = {part["toolCallId"]: part for part in parts if part.get("toolCallId")}
                    for id, call in seen.final.calls.items():
                        assert calls[id]["input"] == call.arguments
                        assert (calls[id].get("output"), STATES.get(call.status, calls[id]["state"])) == (
                            call.result,
                            calls[id]["state"],
                        ), (shape, version, id)


STATES = {"succeeded": "output-available", "failed": "output-error", "denied": "output-denied"}
