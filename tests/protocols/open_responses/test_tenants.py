"""What belongs to others is not there, whatever is asked for; and what is attached goes to the agent, not fetched."""

from __future__ import annotations

import asyncio
from typing import Any, Final

from awaken import Context
from awaken.domain.errors import Unauthorized
from awaken.http.settings import HttpSettings
from awaken.protocols.open_responses.routes import OPERATIONS
from awaken.testing.behaviour import behaviour
from awaken.testing.scripted import PIXEL
from tests.protocols.site import protocol_site

SECRET: Final = "the secret of another"


def whose(request: Any) -> str:
    if "x-who" not in request.headers:
        raise Unauthorized("say who you are")
    return request.headers["x-who"]


@behaviour("OR-009")
async def test_no_route_shows_or_changes_what_belongs_to_others() -> None:
    me, them = {"x-who": "me"}, {"x-who": "them"}
    async with asyncio.timeout(60), protocol_site(OPERATIONS, settings=HttpSettings(authorize=whose)) as site:
        http = site.http
        asked = {"model": "approval", "input": SECRET, "conversation": "mine"}
        mine = (await http.post("/v1/responses", asked, headers=me)).json()
        [approval] = [item for item in mine["output"] if item["type"] == "mcp_approval_request"]

        for operation in OPERATIONS:
            if "{response_id}" in operation.path:
                path = operation.path.replace("{response_id}", mine["id"])
                answer = await http.request(operation.method, path, headers=them)
                assert (answer.status, answer.json()["error"]["code"]) == (404, "not_found"), operation.id
        yes = {"type": "mcp_approval_response", "approval_request_id": approval["id"], "approve": True}
        for body in ({"previous_response_id": mine["id"]}, {"conversation": "mine"}, {}):
            answer = await http.post("/v1/responses", {"model": "approval", "input": [yes], **body}, headers=them)
            assert answer.status in (404, 422) and SECRET.encode() not in answer.body, body
        said = [{"role": "user", "content": "hi"}, {"role": "tool", "tool_call_id": approval["id"], "content": "yes"}]
        answer = await http.post("/v1/chat/completions", {"model": "text", "messages": said}, headers=them)
        assert answer.status == 422

        assert (await http.get(f"/v1/responses/{mine['id']}", headers=me)).json() == mine
        nobody = await http.get("/v1/models")
        assert (nobody.status, nobody.json()["error"]["type"]) == (401, "authentication_error")


@behaviour("OR-004")
async def test_what_is_attached_reaches_the_agent_and_is_shown_as_it_was_sent() -> None:
    async def seeing(context: Context) -> str:
        [message] = [each for each in await context.messages() if each.role == "user"]
        return ", ".join([type(block).__name__ for block in message.content])

    image, link = f"data:image/png;base64,{PIXEL}", "https://files.example/report.pdf"
    content = [
        {"type": "input_text", "text": "Look:"},
        {"type": "input_image", "image_url": image},
        {"type": "input_file", "file_url": link, "filename": "report.pdf"},
    ]
    async with asyncio.timeout(60), protocol_site(OPERATIONS, seeing=seeing) as site:
        body = {"model": "seeing", "input": [{"role": "user", "content": content}]}
        response = (await site.http.post("/v1/responses", body)).json()
        assert response["output"][0]["content"][0]["text"] == "Text, Image, Document"
        [item] = (await site.http.get(f"/v1/responses/{response['id']}/input_items")).json()["data"]
        assert [part["type"] for part in item["content"]] == ["input_text", "input_image", "input_file"]
        assert (item["content"][1]["image_url"], item["content"][2]["file_url"]) == (image, link)

        chat = [
            {"type": "text", "text": "Look:"},
            {"type": "image_url", "image_url": {"url": image}},
            {"type": "file", "file": {"file_data": f"data:application/pdf;base64,{PIXEL}", "filename": "a.pdf"}},
        ]
        said = {"model": "seeing", "messages": [{"role": "user", "content": chat}]}
        completion = (await site.http.post("/v1/chat/completions", said)).json()
        assert completion["choices"][0]["message"]["content"] == "Text, Image, Document"
