"""A run in LangGraph's frames, mode by mode, and what is left of a stream that is cut."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncGenerator
from itertools import pairwise
from typing import Any

import pytest
import pytest_asyncio

from awaken import Awaken
from awaken.domain.retry import RetryPolicy
from awaken.mailbox.settings import MailboxSettings
from awaken.protocols.langgraph.encoder import MODES, Mode, encoder_of
from awaken.protocols.langgraph.routes import OPERATIONS
from awaken.testing.agents import memory_app
from awaken.testing.behaviour import behaviour
from awaken.testing.protocols import approve_all, check_encoder, seen_run
from awaken.testing.scripted import SHAPES, add_scripted
from tests.protocols.langgraph.shown import ask
from tests.protocols.site import cuts, frames_in, protocol_site, without_beginning

QUICK = MailboxSettings(drain_s=0, handover_s=0, max_attempts=2, retry=RetryPolicy(0, 0))


@pytest_asyncio.fixture
async def app() -> AsyncGenerator[Awaken]:
    async with asyncio.timeout(60), memory_app(settings=QUICK) as app:
        add_scripted(app)
        yield app


async def frames(app: Awaken, shape: str, *modes: Mode) -> list[tuple[str | None, Any]]:
    seen = await seen_run(app, shape, answer=approve_all)
    found = check_encoder(encoder_of(frozenset(modes)), seen)
    return [(each.frame.event, json.loads(each.frame.data)) for each in found]


def of(frames: list[tuple[str | None, Any]], name: str) -> list[Any]:
    return [data for event, data in frames if event == name]


@behaviour("LG-001")
async def test_every_mode_is_made_of_every_shape(app: Awaken) -> None:
    for shape in SHAPES:
        found = await frames(app, shape, *MODES)
        assert found[0][0] == "metadata"
        assert found[-1][0] in ("end", "error"), shape


@behaviour("LG-001")
async def test_values_are_the_whole_state_after_each_message(app: Awaken) -> None:
    found = of(await frames(app, "state", "values"), "values")
    assert [len(each["messages"]) for each in found] == sorted([len(each["messages"]) for each in found])
    assert found[-1]["colour"] == "blue"
    assert found[-1]["size"] == {"w": 1}


@behaviour("LG-001")
async def test_messages_are_pieces_or_the_message_so_far(app: Awaken) -> None:
    pieces = of(await frames(app, "text", "messages-tuple"), "messages")
    assert "".join([piece["content"] for piece, _ in pieces]) == "Hello there. All is well."
    assert {about["langgraph_node"] for _, about in pieces} == {"text"}
    found = await frames(app, "text", "messages")
    assert found[1][0] == "messages/metadata"
    partial = [each["content"] for [each] in of(found, "messages/partial")]
    assert partial[-1] == "Hello there. All is well."
    assert all([later.startswith(earlier) for earlier, later in pairwise(partial)])
    assert [each["content"] for [each] in of(found, "messages/complete")] == ["Hello there. All is well."]


@behaviour("LG-001")
async def test_a_message_that_was_not_streamed_comes_whole_and_with_its_calls(app: Awaken) -> None:
    pieces = of(await frames(app, "tool-whole", "messages-tuple"), "messages")
    [call] = [chunk for piece, _ in pieces for chunk in piece.get("tool_call_chunks", []) if chunk["args"]]
    assert json.loads(call["args"]) == {"word": "otter"}
    assert [piece["content"] for piece, _ in pieces if piece["type"] == "tool"] == ["otter means something"]


@behaviour("LG-001")
async def test_updates_are_by_agent_and_say_what_is_asked(app: Awaken) -> None:
    found = of(await frames(app, "approval", "updates"), "updates")
    assert [*found[0]] == ["approval"]
    assert found[1]["__interrupt__"][0]["value"]["action_requests"][0]["args"] == {"amount": 5}
    assert [each["approval"]["messages"][0]["type"] for each in found[2:]] == ["tool", "ai"]


@behaviour("LG-001")
async def test_tools_steps_and_what_lies_beside_have_their_modes(app: Awaken) -> None:
    tools = of(await frames(app, "progress", "tools"), "tools")
    assert [each["event"] for each in tools] == ["on_tool_start", *["on_tool_event"] * 3, "on_tool_end"]
    assert [each["type"] for each in of(await frames(app, "activity", "custom"), "custom")] == [
        "activity",
        "activity_delta",
    ]
    artifacts = of(await frames(app, "artifacts", "custom"), "custom")
    assert [(each["id"], each["append"]) for each in artifacts][:2] == [("notes", False), ("notes", True)]
    tasks = of(await frames(app, "tool", "tasks"), "tasks")
    assert len(tasks) == 4
    assert len({each["id"] for each in tasks}) == 2
    children = [
        data for event, data in await frames(app, "child", "lifecycle") if (event or "").startswith("lifecycle|")
    ]
    assert [each["event"] for each in children] == ["started", "completed"]
    kinds = [each["type"] for each in of(await frames(app, "text", "debug"), "debug")]
    assert kinds[0] == "RunQueued"
    assert kinds[-1] == "RunFinished"


@behaviour("LG-002")
async def test_pieces_of_an_attempt_that_failed_are_taken_back(app: Awaken) -> None:
    found = await frames(app, "retried", "messages-tuple", "values")
    shown: dict[str, str] = {}
    for piece, _ in of(found, "messages"):
        if piece["type"] == "remove":
            shown[piece["id"]] = ""
        else:
            shown[piece["id"]] = shown.get(piece["id"], "") + piece["content"]
    assert "".join(shown.values()) == "At last it worked."
    assert of(found, "values")[-1]["messages"][-1]["content"] == "At last it worked."


@behaviour("LG-002", "SRV-020")
@pytest.mark.parametrize("agent", ["text", "parallel", "retried", "failing", "mixed"])
async def test_cut_behind_any_frame_it_goes_on_to_the_uncut_stream(agent: str) -> None:
    async with asyncio.timeout(60), protocol_site(OPERATIONS, mailbox=QUICK) as site:
        path, body = ask("t", agent)
        answer = await site.http.post(path, body)
        uncut = without_beginning(answer.body)
        where = answer.headers["location"]
        for number, (seen, id) in enumerate(cuts(answer.body)):
            if number % 3 == 0:
                site.served.service.streams.cache.clear()
            if frames_in(seen)[-1].event in ("end", "error"):
                continue
            rest = await site.http.get(where, headers={"last-event-id": id})
            assert seen + without_beginning(rest.body) == uncut, id
