"""What a client brings is taken alike through every protocol: a conversation from elsewhere, what systems say, and
messages that say nothing.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import Any, Final

import pytest

from awaken import Context
from awaken.http.operation import Operation
from awaken.testing.behaviour import behaviour
from tests.protocols.dialects import DIALECTS
from tests.protocols.site import ProtocolSite, protocol_site

Said = tuple[str, str]
"""A role, and a text."""
Asking = Callable[[str, str, Sequence[dict[str, Any]]], tuple[str, Any]]
"""Path and body of a request, given thread, agent, and messages in the protocol's form."""


def _replaced(name: str, *place: str) -> Asking:
    def ask(thread_id: str, agent_id: str, messages: Sequence[dict[str, Any]]) -> tuple[str, Any]:
        path, body = DIALECTS[name].ask(thread_id, agent_id)
        holder = body
        for each in place[:-1]:
            holder = holder[each]
        holder[place[-1]] = [*messages]
        if "runId" in body:
            body["runId"] = f"r-{len(messages)}-{messages[-1]['id']}"
        return path, body

    return ask


def _chat(thread_id: str, agent_id: str, messages: Sequence[dict[str, Any]]) -> tuple[str, Any]:
    return "/v1/chat/completions", {"model": agent_id, "user": thread_id, "messages": [*messages]}


def _content(role: str, text: str, id: str) -> dict[str, Any]:
    return {"role": role, "content": text, "id": id}


def _parts(role: str, text: str, id: str) -> dict[str, Any]:
    return {"role": role, "parts": [{"type": "text", "text": text}], "id": id}


def _plain(role: str, text: str, id: str) -> dict[str, Any]:
    return {"role": role, "text": text, "id": id}


PROTOCOLS: Final[dict[str, tuple[Sequence[Operation], Asking, Callable[[str, str, str], dict[str, Any]]]]] = {
    "plain": (DIALECTS["plain"].operations, _replaced("plain", "messages"), _plain),
    "ag_ui": (DIALECTS["ag_ui"].operations, _replaced("ag_ui", "messages"), _content),
    "ai_sdk": (DIALECTS["ai_sdk"].operations, _replaced("ai_sdk", "messages"), _parts),
    "langgraph": (DIALECTS["langgraph"].operations, _replaced("langgraph", "input", "messages"), _content),
    "open_responses": (DIALECTS["open_responses"].operations, _replaced("open_responses", "input"), _content),
    "chat": (DIALECTS["open_responses"].operations, _chat, _content),
}
each_protocol: Final = pytest.mark.parametrize("name", PROTOCOLS)


async def ask(site: ProtocolSite, name: str, thread_id: str, agent_id: str, *said: Said, with_ids: bool = True) -> Any:
    _, asking, form = PROTOCOLS[name]
    messages = [form(role, text, f"m{number}" if with_ids else "") for number, (role, text) in enumerate(said)]
    path, body = asking(thread_id, agent_id, messages)
    return await site.http.post(path, body)


async def texts(site: ProtocolSite, thread_id: str) -> list[str]:
    listed = await site.http.get(f"/v1/threads/{thread_id}/messages?limit=200")
    return ["".join([block["text"] for block in each["content"]]) for each in listed.json()["items"]]


async def hear(context: Context) -> str:
    """What a system has told it, and how many messages there are beside."""
    told = [each.text for each in await context.messages() if each.role == "system"]
    return f"{len(await context.messages()) - len(told)} {''.join(told)}"


BROUGHT: Final[Sequence[Said]] = (("user", "one"), ("assistant", "first"), ("user", "two"), ("user", "three"))


@behaviour("SRV-038")
@each_protocol
@pytest.mark.parametrize("with_ids", [True, False], ids=["named", "nameless"])
@pytest.mark.parametrize("is_there", [True, False], ids=["made", "new"])
async def test_a_conversation_begins_a_thread_on_which_nothing_was_said(
    name: str, is_there: bool, with_ids: bool
) -> None:
    async with asyncio.timeout(30), protocol_site(PROTOCOLS[name][0], hear=hear) as site:
        if is_there:
            await site.http.post("/v1/threads", {"thread_id": "t", "title": "made before"})
            await site.http.patch("/v1/threads/t/state", {"kept": True}, headers={"If-Match": "*"})
        answer = await ask(site, name, "t", "hear", *BROUGHT, with_ids=with_ids)
        assert answer.status == 200, answer
        assert await texts(site, "t") == ["one", "first", "two", "three", "4 "]
        if is_there:
            thread = (await site.http.get("/v1/threads/t")).json()
            assert thread["title"] == "made before"
        await ask(site, name, "t", "hear", *BROUGHT, ("assistant", "4"), ("user", "four"), with_ids=with_ids)
        assert (await texts(site, "t"))[5:] == ["four", "6 "], "what it has begun with is known"


@behaviour("SRV-038")
@each_protocol
@pytest.mark.parametrize("is_there", [True, False], ids=["made", "new"])
async def test_a_conversation_that_ends_without_a_word_of_its_user_is_refused(name: str, is_there: bool) -> None:
    async with asyncio.timeout(30), protocol_site(PROTOCOLS[name][0], hear=hear) as site:
        if is_there:
            await site.http.post("/v1/threads", {"thread_id": "t"})
        answer = await ask(site, name, "t", "hear", *BROUGHT, ("assistant", "second"))
        assert answer.status == 422, answer
        listed = await site.http.get("/v1/threads/t/messages")
        assert listed.status == (200 if is_there else 404)
        assert listed.json().get("items", []) == []


@behaviour("SRV-038")
@each_protocol
async def test_what_a_system_says_is_told_to_the_agent_and_replaced(name: str) -> None:
    first: list[Said] = [("system", "Be brief."), ("user", "one"), ("system", "Be kind.")]
    async with asyncio.timeout(30), protocol_site(PROTOCOLS[name][0], hear=hear) as site:
        assert (await ask(site, name, "t", "hear", *first)).status == 200
        heard = "<context>\nBe brief.\n\nBe kind.\n</context>"
        assert await texts(site, "t") == ["one", f"1 {heard}"]
        again: list[Said] = [("system", "Be long."), ("user", "one"), ("assistant", "1"), ("user", "two")]
        assert (await ask(site, name, "t", "hear", *again)).status == 200
        assert (await texts(site, "t"))[2:] == ["two", "3 <context>\nBe long.\n</context>"]


@behaviour("SRV-038")
@each_protocol
@pytest.mark.parametrize("is_there", [True, False], ids=["begun", "new"])
async def test_a_message_that_says_nothing_is_refused_and_is_in_the_way_of_no_later_one(
    name: str, is_there: bool
) -> None:
    said: list[Said] = [("user", "one"), ("assistant", "1 ")] if is_there else []
    async with asyncio.timeout(30), protocol_site(PROTOCOLS[name][0], hear=hear) as site:
        if is_there:
            await ask(site, name, "t", "hear", ("user", "one"))
        refused = await ask(site, name, "t", "hear", *said, ("user", ""))
        assert refused.status == 422, refused
        later = await ask(site, name, "t", "hear", *said, ("user", ""), ("user", "two"))
        assert later.status == 200, later
        begun = ["one", "1 "] if is_there else []
        assert await texts(site, "t") == [*begun, "two", f"{len(begun) + 1} "]


@behaviour("SRV-038")
@each_protocol
async def test_a_conversation_that_begins_a_thread_may_be_longer_than_what_is_new_in_a_request(name: str) -> None:
    long: list[Said] = [("user", "one"), ("assistant", "first")] * 150
    async with asyncio.timeout(30), protocol_site(PROTOCOLS[name][0], hear=hear) as site:
        answer = await ask(site, name, "t", "hear", *long, ("user", "two"))
        assert answer.status == 200, answer
        thread = (await site.http.get("/v1/threads/t")).json()
        assert thread["message_count"] == 302
        assert (await ask(site, name, "u", "hear", *[("user", "again")] * 300)).status == 422
