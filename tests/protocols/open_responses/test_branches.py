"""A response is gone on from that is not the newest: the conversation is branched, and stays as it is."""

from __future__ import annotations

import asyncio
from typing import Any

from awaken import Context
from awaken.protocols.open_responses.routes import OPERATIONS
from awaken.testing.behaviour import behaviour
from tests.protocols.open_responses.test_repeats import create, runs
from tests.protocols.site import protocol_site


@behaviour("OR-011")
async def test_going_on_from_an_older_response_branches_the_conversation() -> None:
    async def heard(context: Context) -> str:
        return " ".join([each.text for each in await context.messages() if each.role == "user"])

    async with asyncio.timeout(60), protocol_site(OPERATIONS, heard=heard) as site:

        async def say(text: str, previous: dict[str, Any] | None = None, key: str = "", **more: Any) -> dict[str, Any]:
            named = {} if previous is None else {"previous_response_id": previous["id"]}
            headers = {"Idempotency-Key": key} if key else {}
            body = {"model": "heard", "input": text, **named, **more}
            answer = await site.http.post("/v1/responses", body, headers=headers)
            assert answer.status == 200, answer
            return answer.json()

        def words(response: dict[str, Any]) -> str:
            return response["output"][-1]["content"][0]["text"]

        one = await say("one")
        two = await say("two", one)
        three = await say("three", two)
        assert {each["conversation"]["id"] for each in (one, two, three)} == {one["conversation"]["id"]}
        assert words(three) == "one two three"

        branch = await say("four", one)
        assert words(branch) == "one four"
        assert branch["conversation"] != one["conversation"]
        assert words(await say("five", branch)) == "one four five", "and it goes on there"
        assert words(await say("six", three)) == "one two three six", "what was branched stays as it is"
        behind = await say("seven", one, conversation=one["conversation"]["id"])
        assert words(behind) == "one two three six seven", "whoever names the conversation goes on behind all of it"

        first, *others = await asyncio.gather(*[say("eight", two, "k") for _ in range(4)])
        assert words(first) == "one two eight"
        assert {each["id"] for each in others} == {first["id"]}
        assert await say("eight", two, "k") == first


@behaviour("OR-011")
async def test_a_response_that_was_answered_is_branched_by_what_is_said_to_it_later() -> None:
    async with asyncio.timeout(60), protocol_site(OPERATIONS) as site:
        asked = await create(site, {"model": "approval", "input": "Go on."})
        [request] = [item for item in asked["output"] if item["type"] == "mcp_approval_request"]
        yes = {"type": "mcp_approval_response", "approval_request_id": request["id"], "approve": True}
        answer = {"model": "approval", "input": [yes], "previous_response_id": asked["id"]}
        settled = await create(site, answer, "k-2")
        later = await create(site, {"model": "text", "input": "Hm.", "previous_response_id": asked["id"]}, "k-3")
        assert later["conversation"] != asked["conversation"] == settled["conversation"]
        assert await create(site, answer, "k-4") == settled, "an answer belongs to what it answers"


@behaviour("OR-011")
async def test_what_agents_do_by_themselves_is_no_reason_to_branch() -> None:
    woken: asyncio.Queue[str] = asyncio.Queue()

    async def starting(context: Context) -> str:
        if await context.input() == "start":
            await context.start("text", "Say something", name="helper")
        else:
            woken.put_nowait(context.identity.run_id)
        return str(len([each for each in await context.messages() if each.role == "user"]))

    async with asyncio.timeout(60), protocol_site(OPERATIONS, starting=starting) as site:
        first = await create(site, {"model": "starting", "input": "start"})
        thread_id = first["conversation"]["id"]
        await site.app.wait(await woken.get())  # the child has reported its end
        body = {"model": "starting", "input": "go on", "previous_response_id": first["id"]}
        assert (await create(site, body, "k-2"))["conversation"]["id"] == thread_id


@behaviour("OR-011", "OR-008")
async def test_a_response_that_is_not_over_is_not_branched() -> None:
    gate = asyncio.Event()

    async def slow(context: Context) -> str:
        await gate.wait()
        return "done"

    async with asyncio.timeout(60), protocol_site(OPERATIONS, slow=slow) as site:
        first = await create(site, {"model": "slow", "input": "one", "background": True})
        body = {"model": "slow", "input": "two", "background": True, "previous_response_id": first["id"]}
        second = await create(site, body, "k-2")
        assert second["conversation"] == first["conversation"], "it goes on behind it"
        refused = await site.http.post("/v1/responses", {**body, "input": "three"})
        assert (refused.status, refused.json()["error"]["code"]) == (409, "run_not_finished")
        assert await runs(site) == 2
        gate.set()
