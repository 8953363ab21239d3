"""What no client of OpenAI's sends, and what is too large: refused in the protocol's form, and nothing stored."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from awaken.protocols.open_responses.routes import OPERATIONS
from awaken.store.contract import ThreadQuery
from awaken.testing.behaviour import behaviour
from tests.protocols.site import ProtocolSite, protocol_site

USER = {"role": "user", "content": "hi"}
RESPONSES: list[tuple[Any, int]] = [
    ({}, 422),
    ({"input": []}, 422),
    ({"input": 7}, 422),
    ({"input": "", "model": "text"}, 422),
    ({"input": [7]}, 422),
    ({"input": [{"role": "king", "content": "hi"}]}, 422),
    ({"input": [{"role": ["user"], "content": "hi"}]}, 422),
    ({"input": [{"role": "user", "content": 7}]}, 422),
    ({"input": [{"role": "user", "content": [{"type": "magic"}]}]}, 422),
    ({"input": [{"role": "user", "content": [{"type": "input_text"}]}]}, 422),
    ({"input": [{"role": "user", "content": [{"type": "input_image", "file_id": "f"}]}]}, 422),
    ({"input": [{"role": "user", "content": [{"type": "input_image", "image_url": "file:///etc/passwd"}]}]}, 422),
    ({"input": [{"role": "user", "content": [{"type": "input_file", "file_data": "?"}]}]}, 422),
    ({"input": [{"type": "function_call", "call_id": "c", "name": "x", "arguments": "{"}, USER]}, 422),
    ({"input": [{"type": "function_call_output", "output": "x"}]}, 422),
    ({"input": [{"type": "mcp_approval_response", "approval_request_id": "k", "approve": "yes"}]}, 422),
    ({"input": "hi", "model": "nobody"}, 404),
    ({"input": "hi", "model": "text", "tools": [{"type": "web_search"}]}, 501),
    ({"input": "hi", "model": "text", "tools": [{"type": "function"}]}, 422),
    ({"input": "hi", "model": "text", "tools": [{"type": "function", "name": "a b"}]}, 422),
    ({"input": "hi", "model": "text", "tools": [{"type": "function", "name": "a", "parameters": []}]}, 422),
    ({"input": "hi", "model": "text", "previous_response_id": "resp_nobody"}, 404),
    ({"input": "hi", "model": "text", "previous_response_id": "nobody"}, 404),
    ({"input": "hi", "model": "text", "conversation": 7}, 422),
    ({"input": "hi", "model": "text", "conversation": {}}, 422),
    ({"input": "hi", "model": "text", "conversation": "a b/c"}, 422),
    ({"input": "hi", "model": "text", "instructions": "x" * 300_000}, 422),
    ({"input": "hi", "model": "text", "text": {"x": "x" * 70_000}}, 422),
    ({"input": "x" * 2_000_000, "model": "text"}, 422),
    ({"input": "hi", "model": "text", "max_output_tokens": -1}, 422),
    ({"input": "hi", "model": "text", "temperature": 5}, 422),
    ({"input": "hi", "model": "text", "top_p": -1}, 422),
    ({"input": "hi", "model": "text", "prompt": {"id": "pmpt_1"}}, 501),
    ({"input": [{"role": "user"}], "model": "text"}, 422),
]
CHATS: list[tuple[Any, int]] = [
    ({}, 422),
    ({"messages": []}, 422),
    ({"messages": [{"role": "assistant", "content": "hi"}]}, 422),
    ({"messages": [{"role": "tool", "tool_call_id": "k", "content": "x"}]}, 422),
    ({"messages": [{"role": "tool", "content": "x"}]}, 422),
    ({"messages": [{"role": "assistant", "tool_calls": [7]}, USER]}, 422),
    ({"messages": [USER], "model": "text", "n": 2}, 422),
    ({"messages": [USER], "model": "nobody"}, 404),
    ({"messages": [USER], "model": "text", "max_tokens": 0}, 422),
    ({"messages": [USER], "model": "text", "temperature": -1}, 422),
    ({"messages": [{"role": "user"}], "model": "text"}, 422),
    ({"messages": [USER], "model": "text", "metadata": {"thread_id": "a b"}}, 422),
]


async def stored(site: ProtocolSite) -> int:
    return len((await site.app.store.list_threads(site.app.scope, ThreadQuery(limit=10))).items)


@behaviour("OR-008")
@pytest.mark.parametrize(("path", "asked"), [("/v1/responses", RESPONSES), ("/v1/chat/completions", CHATS)])
async def test_what_cannot_be_meant_is_refused_and_nothing_is_stored(path: str, asked: list[tuple[Any, int]]) -> None:
    async with asyncio.timeout(60), protocol_site(OPERATIONS) as site:
        for body, status in asked:
            answer = await site.http.post(path, body)
            assert answer.status == status, (body, answer)
            error = answer.json()["error"]
            assert set(error) == {"message", "type", "param", "code"} and error["message"]
            assert await stored(site) == 0, body
        malformed = await site.http.post(path, b"{")
        assert (malformed.status, malformed.json()["error"]["code"]) == (400, "malformed_json")


@behaviour("OR-008")
async def test_a_response_that_is_not_there_is_nobodys() -> None:
    async with asyncio.timeout(60), protocol_site(OPERATIONS) as site:
        for id in ("nobody", "resp_", "resp_nobody", "resp_a%20b", "x" * 300):
            for method, path in (("GET", ""), ("DELETE", ""), ("GET", "/input_items"), ("POST", "/cancel")):
                answer = await site.http.request(method, f"/v1/responses/{id}{path}")
                assert (answer.status, answer.json()["error"]["code"]) == (404, "not_found"), (method, path, id)
        answer = await site.http.get("/v1/responses/resp_x?stream=true&starting_after=-7")
        assert answer.status == 422
