"""A request is sent again under its `Idempotency-Key`: there is one response, and the client is given it. Without a key
it is not sent again by a client that obeys.
"""

from __future__ import annotations

import asyncio
from typing import Any

import openai
import pytest

from awaken import Context
from awaken.domain.ids import MessageId
from awaken.domain.message import Message, Role, Text
from awaken.domain.thread import ThreadInfo
from awaken.protocols.gateway import MAX_CALLED_RUNS
from awaken.protocols.open_responses.routes import OPERATIONS
from awaken.store.contract import RunQuery, ThreadQuery
from awaken.testing.behaviour import behaviour
from tests.protocols.live import IMPATIENT, live_site
from tests.protocols.open_responses.test_hostile import stored
from tests.protocols.site import ProtocolSite, frames_in, protocol_served, protocol_site

BROUGHT = [(Role.USER, "one"), (Role.ASSISTANT, "1")]
KEY = {"Idempotency-Key": "k-1"}


async def runs(site: ProtocolSite) -> int:
    return len((await site.app.store.list_runs(site.app.scope, RunQuery(limit=50))).items)


async def create(site: ProtocolSite, body: dict[str, Any], key: str = "k-1") -> dict[str, Any]:
    answer = await site.http.post("/v1/responses", body, headers={"Idempotency-Key": key})
    assert answer.status == 200, answer
    return answer.json()


WAYS: dict[str, dict[str, Any]] = {
    "text": {"input": "Go on."},
    "items": {"input": [{"role": "user", "content": "Go on."}]},
    "named": {"input": [{"role": "user", "content": "Go on.", "id": "m"}]},
    "conversation": {"input": "Go on.", "conversation": "t"},
    "brought": {
        "input": [
            {"role": "user", "content": "one"},
            {"role": "assistant", "content": "1"},
            {"role": "user", "content": "two"},
        ]
    },
    "leaving": {"input": "Go on.", "store": False},
    "background": {"input": "Go on.", "background": True},
}


@behaviour("OR-010")
@pytest.mark.parametrize("way", WAYS)
async def test_a_response_that_is_asked_for_again_is_the_same_one(way: str) -> None:
    body = {"model": "text", **WAYS[way]}
    async with asyncio.timeout(60), protocol_site(OPERATIONS) as site:
        first = await create(site, body)
        second = await protocol_served(site).post("/v1/responses", body, headers=KEY)  # any server knows
        assert (second.json()["id"], await runs(site)) == (first["id"], 1)
        streamed = await site.http.post("/v1/responses", {**body, "stream": True}, headers=KEY)
        assert frames_in(streamed.body)[-2].json()["response"]["id"] == first["id"]
        assert await runs(site) == 1
        other = await create(site, body, "k-2")
        assert other["id"] != first["id"] and await runs(site) == 2


@behaviour("OR-010")
async def test_a_key_is_known_however_much_was_said_since() -> None:
    async with asyncio.timeout(60), protocol_site(OPERATIONS) as site:
        for thread_id, given in (("t", "Go on."), ("u", [{"role": "user", "content": "Go on.", "id": "m"}])):
            asked = {"model": "silent", "conversation": thread_id, "input": given}
            first = await create(site, asked, thread_id)
            for number in range(MAX_CALLED_RUNS + 1):
                await create(site, {**asked, "input": "More."}, f"{thread_id}-{number}")
            assert (await create(site, asked, thread_id))["id"] == first["id"]


@behaviour("OR-010")
async def test_of_many_that_are_sent_at_once_one_is_accepted() -> None:
    async with asyncio.timeout(60), protocol_site(OPERATIONS) as site:
        for way, body in WAYS.items():
            before = await runs(site)
            asked = [create(site, {"model": "text", **body}, way) for _ in range(8)]
            assert len({each["id"] for each in await asyncio.gather(*asked)}) == 1, way
            assert await runs(site) == before + 1, way


@behaviour("OR-010")
async def test_an_answer_is_given_once_also_where_it_is_said_as_text() -> None:
    async with asyncio.timeout(60), protocol_site(OPERATIONS) as site:
        asked = await create(site, {"model": "ask", "input": "Go on."})
        body = {"model": "ask", "input": "Ada", "previous_response_id": asked["id"]}
        several = await asyncio.gather(*[create(site, body, "k-2") for _ in range(8)])
        several.append(await create(site, body, "k-2"))
        assert {each["id"] for each in several} == {several[0]["id"]} and several[0]["id"] != asked["id"]
        assert await runs(site) == 1
        approval = await create(site, {"model": "approval", "input": "Go on."}, "k-3")
        [request] = [item for item in approval["output"] if item["type"] == "mcp_approval_request"]
        yes = {"type": "mcp_approval_response", "approval_request_id": request["id"], "approve": True}
        body = {"model": "approval", "input": [yes], "previous_response_id": approval["id"]}
        assert await create(site, body, "k-4") == await create(site, body, "k-4")


@behaviour("OR-010")
async def test_a_key_stands_for_one_request() -> None:
    async with asyncio.timeout(60), protocol_site(OPERATIONS) as site:
        await create(site, {"model": "text", "input": "Go on."})
        other = await site.http.post("/v1/responses", {"model": "text", "input": "Stop."}, headers=KEY)
        assert (other.status, await runs(site)) == (422, 1)
        assert other.json()["error"]["param"] == "idempotency-key"


@behaviour("OR-010")
async def test_of_two_requests_at_once_under_one_key_the_other_one_is_refused_for_what_it_is() -> None:
    async with asyncio.timeout(60), protocol_site(OPERATIONS) as site:
        bodies = [{"model": "text", "input": f"Go on, {number}."} for number in range(8)]
        answers = await asyncio.gather(*[site.http.post("/v1/responses", body, headers=KEY) for body in bodies])
        assert sorted([each.status for each in answers]) == [200, *[422] * 7]
        assert {each.json()["error"]["param"] for each in answers if each.status == 422} == {"idempotency-key"}
        assert await runs(site) == 1


@behaviour("OR-010")
async def test_a_key_does_not_bring_a_response_back_that_was_deleted() -> None:
    async with asyncio.timeout(60), protocol_site(OPERATIONS) as site:
        made = await create(site, {"model": "text", "input": "Go on."})
        assert (await site.http.request("DELETE", f"/v1/responses/{made['id']}")).status == 200
        again = await site.http.post("/v1/responses", {"model": "text", "input": "Go on."}, headers=KEY)
        assert (again.status, again.json()["error"]["code"]) == (404, "not_found")


@behaviour("OR-010")
async def test_a_text_that_has_answered_is_found_again_where_it_could_not_answer_now() -> None:
    async def more(context: Context) -> str:
        name = await context.ask("Who?", name="who")
        rest = await asyncio.gather(context.ask("Where?", name="where"), context.ask("When?", name="when"))
        return f"{name} {rest}"

    async with asyncio.timeout(60), protocol_site(OPERATIONS, more=more) as site:
        asked = await create(site, {"model": "more", "input": "Go on."})
        body = {"model": "more", "input": "Ada", "previous_response_id": asked["id"]}
        second = await create(site, body, "k-2")
        assert len(second["output"]) == 2
        assert await create(site, body, "k-2") == second


@behaviour("OR-008", "OR-010")
async def test_what_is_no_key_is_refused_and_nothing_is_stored() -> None:
    async with asyncio.timeout(60), protocol_site(OPERATIONS) as site:
        for key in ("x" * 256, "a\x01b"):
            for path, body in (
                ("/v1/responses", {"model": "text", "input": "Go on."}),
                ("/v1/chat/completions", {"model": "text", "messages": [{"role": "user", "content": "Go on."}]}),
            ):
                answer = await site.http.post(path, body, headers={"Idempotency-Key": key})
                assert (answer.status, await stored(site)) == (422, 0)
        empty = await site.http.post("/v1/responses", {"model": "text", "input": "x"}, headers={"Idempotency-Key": " "})
        assert empty.status == 200, "none"


@behaviour("OR-010")
async def test_a_key_is_known_in_its_tenant_and_on_its_route_alone() -> None:
    said = [{"role": "user", "content": "Go on."}]
    async with asyncio.timeout(60), protocol_site(OPERATIONS) as site:
        await create(site, {"model": "text", "input": "Go on."})
        body = {"model": "text", "messages": said}
        first = await site.http.post("/v1/chat/completions", body, headers=KEY)
        second = await site.http.post("/v1/chat/completions", body, headers=KEY)
        assert (first.status, first.json()) == (200, second.json())
        assert await runs(site) == 2


@behaviour("OR-010")
async def test_a_server_that_died_with_half_of_a_request_does_the_rest_when_it_is_sent_again() -> None:
    """The conversation that a request brings is stored before its run."""
    body = {"model": "text", **WAYS["brought"]}
    async with asyncio.timeout(60), protocol_site(OPERATIONS) as site:
        first = await create(site, body)
        [thread] = (await site.app.store.list_threads(site.app.scope, ThreadQuery(limit=10))).items
    async with asyncio.timeout(60), protocol_site(OPERATIONS) as site:
        brought = [Message(id=MessageId(""), role=role, content=(Text(text),)) for role, text in BROUGHT]
        await site.app.mailbox.save_thread(site.app.scope, thread.thread_id, ThreadInfo(), messages=brought)
        again = await create(site, body)
        assert again["conversation"] == first["conversation"] == {"id": thread.thread_id}
        listed = await site.http.get(f"/v1/threads/{thread.thread_id}/messages")
        assert [each["content"][0]["text"] for each in listed.json()["items"]][:3] == ["one", "1", "two"]


SAID = [{"role": "user", "content": "Go on."}]


@behaviour("OR-012")
async def test_a_chat_completion_that_failed_is_not_asked_again_by_the_client_as_it_comes() -> None:
    async with asyncio.timeout(30), live_site() as site:
        client = openai.AsyncOpenAI(base_url=f"{site.url}/v1", api_key="none")
        assert client.max_retries == 2
        async with client:
            for number, agent_id in enumerate(("failing", "dead"), 1):
                with pytest.raises(openai.InternalServerError) as failed:
                    await client.chat.completions.create(model=agent_id, messages=SAID, user="t")  # type: ignore[arg-type]
                assert failed.value.code == "run_failed"
                runs = await site.app.store.list_runs(site.app.scope, RunQuery(limit=50))
                assert len(runs.items) == number


@behaviour("OR-012")
@pytest.mark.parametrize("key", [None, "k-1"])
@pytest.mark.parametrize("path", ["/v1/responses", "/v1/chat/completions"])
async def test_what_goes_on_behind_a_server_that_stops_is_asked_again_under_a_key_alone(
    path: str, key: str | None
) -> None:
    began = asyncio.Event()

    async def slow(context: Context) -> None:
        began.set()
        await asyncio.Event().wait()

    body = {"model": "slow"} | ({"messages": SAID} if "chat" in path else {"input": "Go on."})
    headers = {} if key is None else {"Idempotency-Key": key}
    async with asyncio.timeout(30), protocol_site(OPERATIONS, mailbox=IMPATIENT, slow=slow) as site:
        asking = asyncio.create_task(site.http.post(path, body, headers=headers))
        await began.wait()
        await site.app.stop()
        answer = await asking
        assert (answer.status, answer.json()["error"]["code"]) == (503, "stopping")
        assert answer.headers["x-should-retry"] == ("false" if key is None else "true")
        refused = await site.http.post(path, body)
        assert (refused.status, refused.headers["x-should-retry"]) == (503, "true"), "nothing was begun"


@behaviour("OR-012")
async def test_what_was_refused_is_not_asked_again_where_that_cannot_help() -> None:
    async with asyncio.timeout(30), protocol_site(OPERATIONS) as site:
        unknown = await site.http.post("/v1/responses", {"model": "text", "input": "x", "previous_response_id": "y"})
        assert (unknown.status, unknown.headers["x-should-retry"]) == (404, "false")
