"""The streaming protocol by itself: numbers, channels, and commands."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest

from awaken import Context
from awaken.protocols.langgraph.routes import OPERATIONS
from awaken.testing.behaviour import behaviour
from awaken.testing.scripted import SHAPES
from tests.http.asgi import Client
from tests.protocols.langgraph.server import GO, said
from tests.protocols.live import IMPATIENT
from tests.protocols.site import ProtocolSite, protocol_site

CHANNELS = ["values", "updates", "messages", "tools", "lifecycle", "input", "checkpoints", "tasks", "custom"]


async def carried_out(http: Client, method: str, thread_id: str = "t", **params: Any) -> dict[str, Any]:
    answer = await http.post(f"/threads/{thread_id}/commands", {"id": 1, "method": method, "params": params})
    told = answer.json()
    assert told["type"] == "success", told
    return told


async def events(
    http: Client, *channels: str, thread_id: str = "t", ends: int = 1, **more: Any
) -> list[dict[str, Any]]:
    """What a client is told of the thread, up to so many ends of turns."""
    found: list[dict[str, Any]] = []
    body = {"channels": [*channels], **more}
    async with http.open("POST", f"/threads/{thread_id}/stream/events", body) as stream:
        async for each in stream.frames():
            if each.event != "event":
                continue
            told = json.loads(each.data)
            found.append(told)
            is_end = told["method"] == "lifecycle" and told["params"]["data"]["event"] != "running"
            ends -= is_end
            if not ends:
                break
    return found


async def ended(site: ProtocolSite, agent: str, thread_id: str = "t") -> None:
    begun = await carried_out(site.http, "run.start", thread_id, assistant_id=agent, input=GO)
    await site.http.get(f"/threads/{thread_id}/runs/{begun['result']['run_id']}/join")


@behaviour("LG-005")
@pytest.mark.parametrize("agent", ["parallel", "mixed", "state", "artifacts", "progress", "child", "retried"])
async def test_an_event_has_one_number_whatever_is_followed_and_a_client_goes_on_behind_it(agent: str) -> None:
    async with asyncio.timeout(60), protocol_site(OPERATIONS) as site:
        await ended(site, agent)
        whole = await events(site.http, *CHANNELS)
        numbers = [each["seq"] for each in whole]
        assert numbers == sorted(set(numbers))
        assert len({each["event_id"] for each in whole}) == len(whole)
        for channel in ("values", "messages", "tools"):
            some = await events(site.http, channel, "lifecycle")
            assert some == [each for each in whole if each["method"] in (channel, "lifecycle")]
        for place in range(0, len(whole) - 1, 5):
            site.served.service.streams.cache.clear()
            rest = await events(site.http, *CHANNELS, since=numbers[place])
            assert rest == whole[place + 1 :], place


@behaviour("LG-005")
async def test_every_shape_comes_to_its_end() -> None:
    asking = {"approval", "question", "mixed", "ask"}
    async with asyncio.timeout(60), protocol_site(OPERATIONS, mailbox=IMPATIENT) as site:
        for agent in SHAPES:
            await ended(site, agent, agent)
            [*_, end] = await events(site.http, "lifecycle", thread_id=agent)
            expected = "interrupted" if agent in asking else "failed" if agent in ("failing", "dead") else "completed"
            assert end["params"]["data"]["event"] == expected, agent


@behaviour("LG-005")
async def test_a_client_that_started_a_run_is_told_what_it_has_no_need_of() -> None:
    async with asyncio.timeout(60), protocol_site(OPERATIONS) as site:
        await ended(site, "text")
        begun = await carried_out(site.http, "run.start", assistant_id="approval", input=said("Pay."))
        applied = begun["meta"]["applied_through_seq"]
        told = await events(site.http, "lifecycle", "input", since=applied)
        assert [each["method"] for each in told] == ["lifecycle", "input.requested", "lifecycle"]
        asked = told[1]["params"]["data"]
        answered = await carried_out(
            site.http, "input.respond", interrupt_id=asked["interrupt_id"], namespace=[], response=True
        )
        assert answered["result"]["run_id"] == begun["result"]["run_id"]
        rest = await events(site.http, "lifecycle", "input", since=answered["meta"]["applied_through_seq"])
        assert [each["method"] for each in rest] == ["input.answered", "lifecycle", "lifecycle"]
        assert rest[0]["params"]["data"]["interrupt_ids"] == [asked["interrupt_id"]]
        assert rest[1]["event_id"].split(":")[:2] == ["synth", begun["result"]["run_id"]]


@behaviour("LG-005")
async def test_a_message_is_put_into_the_run_that_executes() -> None:
    there, gate = asyncio.Event(), asyncio.Event()

    async def listener(context: Context) -> str:
        there.set()
        await gate.wait()
        heard = await context.inbox()
        return f"I heard: {', '.join([each.text for each in heard])}"

    async with asyncio.timeout(60), protocol_site(OPERATIONS, listener=listener) as site:
        begun = await carried_out(site.http, "run.start", assistant_id="listener", input=GO)
        await there.wait()
        injected = await carried_out(
            site.http, "input.inject", namespace=[], message={"role": "user", "content": "Hurry."}
        )
        assert injected["result"]["run_id"] == begun["result"]["run_id"]
        gate.set()
        joined = await site.http.get(f"/threads/t/runs/{begun['result']['run_id']}/join")
        assert joined.json()["messages"][-1]["content"] == "I heard: Hurry."


@behaviour("LG-005")
async def test_state_is_read_listed_and_forked() -> None:
    async with asyncio.timeout(60), protocol_site(OPERATIONS) as site:
        await ended(site, "text")
        await ended(site, "state")
        state = (await carried_out(site.http, "state.get", keys=["colour"]))["result"]
        assert state["values"] == {"colour": "blue"}
        listed = (await carried_out(site.http, "state.listCheckpoints", limit=5))["result"]["checkpoints"]
        assert [each["node_name"] for each in listed] == ["state", "text"]
        assert state["checkpoint"]["id"] == listed[0]["id"]
        before = (await carried_out(site.http, "state.listCheckpoints", before=listed[0]["id"]))["result"]
        assert before["checkpoints"] == listed[1:]
        forked = (await carried_out(site.http, "state.fork", checkpoint_id=listed[1]["id"], input=said("Else?")))[
            "result"
        ]
        joined = await site.http.get(f"/threads/{forked['thread_id']}/runs/{forked['run_id']}/join")
        texts = [each["content"] for each in joined.json()["messages"]]
        assert texts == ["Go on.", "Hello there. All is well.", "Else?", "Hello there. All is well."]
