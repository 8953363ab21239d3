"""What a client cannot mean is refused as LangGraph's errors are, stores nothing, and fetches nothing."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from typing import Any

import pytest
import pytest_asyncio

from awaken.protocols.langgraph.routes import OPERATIONS
from awaken.testing.behaviour import behaviour
from tests.http.asgi import Client
from tests.protocols.langgraph.server import GO, said
from tests.protocols.site import protocol_site


@pytest_asyncio.fixture
async def http() -> AsyncGenerator[Client]:
    async with asyncio.timeout(60), protocol_site(OPERATIONS) as site:
        yield site.http


async def refused(http: Client, path: str, body: Any, status: int, *, method: str = "POST") -> str:
    answer = await http.request(method, path, body)
    assert answer.status == status, answer
    told = answer.json()
    assert told["detail"] == told["message"]
    assert told["code"]
    return told["detail"]


RUNS: list[tuple[dict[str, Any], int]] = [
    ({"assistant_id": "nobody", "input": GO}, 422),
    ({"assistant_id": "text"}, 422),
    ({"assistant_id": "text", "input": {"messages": []}}, 422),
    ({"assistant_id": "text", "input": {"messages": [{"role": "king", "content": "x"}]}}, 422),
    ({"assistant_id": "text", "input": {"messages": [{"role": "user", "content": {"a": 1}}]}}, 422),
    ({"assistant_id": "text", "input": {"messages": [{"role": "user", "content": [{"type": "magic"}]}]}}, 422),
    ({"assistant_id": "text", "input": {"messages": [{"role": "tool", "content": "x"}]}}, 422),
    ({"assistant_id": "text", "input": {"messages": [["user"]]}}, 422),
    ({"assistant_id": "text", "input": {"messages": ["x"] * 20_000}}, 422),
    ({"assistant_id": "text", "input": GO, "stream_mode": "everything"}, 422),
    ({"assistant_id": "text", "input": GO, "command": {"resume": 1}}, 422),
    ({"assistant_id": "text", "command": {"goto": "node"}}, 422),
    ({"assistant_id": "text", "input": GO, "interrupt_before": "*"}, 422),
    ({"assistant_id": "text", "input": GO, "checkpoint_id": "old"}, 422),
    ({"assistant_id": "text", "input": GO, "webhook": "http://127.0.0.1:1/"}, 422),
    ({"assistant_id": "text", "input": GO, "after_seconds": -1}, 422),
    ({"assistant_id": "text", "input": GO, "multitask_strategy": "first"}, 422),
    ({"assistant_id": "text", "input": GO, "metadata": {str(n): n for n in range(100)}}, 422),
    ({"assistant_id": "text", "input": GO, "config": {"configurable": {"client_tools": [{"name": 1}]}}}, 422),
    ({"assistant_id": ["text"], "input": GO}, 422),
    ({"assistant_id": "text", "command": {"resume": True}}, 409),
    ({"assistant_id": "text", "command": {"resume": {"00000000-0000-0000-0000-000000000000": 1}}}, 404),
]


@behaviour("LG-003")
@pytest.mark.parametrize("way", ["", "/stream", "/wait"])
async def test_a_run_that_cannot_be_meant_is_refused_and_leaves_nothing(http: Client, way: str) -> None:
    await http.post("/threads", {"thread_id": "t"})
    for body, status in RUNS:
        if "stream_mode" in body and way != "/stream":
            continue
        await refused(http, f"/threads/t/runs{way}", body, status)
    await refused(http, f"/threads/none/runs{way}", {"assistant_id": "text", "input": GO}, 404)
    assert (await http.get("/threads/t/runs")).json() == []
    assert (await http.get("/threads/t/state")).json()["values"] == {"messages": []}
    assert (await http.post("/threads/count", {})).json() == 1


@behaviour("LG-003")
async def test_a_file_is_measured_and_never_fetched(http: Client) -> None:
    await http.post("/threads", {"thread_id": "t"})
    for block, status in [
        ({"type": "image_url", "image_url": {"url": "file:///etc/passwd"}}, 422),
        ({"type": "image_url", "image_url": "javascript:alert(1)"}, 422),
        ({"type": "image", "base64": "@@@", "mime_type": "image/png"}, 422),
        ({"type": "file", "base64": "AAAA", "mime_type": "application/x-msdownload"}, 422),
        ({"type": "image", "base64": "A" * (12 * 1024 * 1024), "mime_type": "image/png"}, 422),
        ({"type": "image_url", "image_url": {"url": "http://127.0.0.1:1/nothing.png"}}, 200),
    ]:
        body = {"assistant_id": "text", "input": {"messages": [{"role": "user", "content": [block]}]}}
        answer = await http.post("/threads/t/runs/wait", body)
        assert answer.status == status, block["type"]
    messages = (await http.get("/threads/t/state")).json()["values"]["messages"]
    assert messages[0]["content"] == [
        {"type": "image", "url": "http://127.0.0.1:1/nothing.png", "mime_type": "image/*"}
    ]


@behaviour("LG-003", "LG-004")
async def test_nothing_but_a_plain_yes_approves(http: Client) -> None:
    await http.post("/threads", {"thread_id": "t"})
    first = (await http.post("/threads/t/runs/wait", {"assistant_id": "approval", "input": GO})).json()
    [asked] = first["__interrupt__"]
    values: list[Any] = [
        None,
        1,
        "maybe",
        "no problem",
        [],
        {},
        {"decisions": []},
        {"type": "later"},
        {"decisions": [{"type": "edit"}]},
        {"type": "approve", "approved": False},
        {"decisions": [{"type": "approve", "approved": "no"}]},
        {"type": "reject", "approved": True},
    ]
    for value in values:
        for resume in (value, {asked["id"]: value}):
            body: dict[str, Any] = {"assistant_id": "approval", "command": {"resume": resume}}
            await refused(http, "/threads/t/runs/wait", body, 422)
    await http.post("/threads", {"thread_id": "other"})
    body = {"assistant_id": "approval", "command": {"resume": {asked["id"]: True}}}
    await refused(http, "/threads/other/runs/wait", body, 404)
    edited = {"decisions": [{"type": "edit", "edited_action": {"name": "pay", "args": {"amount": 3}}}]}
    body = {"assistant_id": "approval", "command": {"resume": edited}}
    last = (await http.post("/threads/t/runs/wait", body)).json()
    assert last["messages"][-2]["content"] == "paid 3"


@behaviour("LG-003")
async def test_other_requests_are_refused_too(http: Client) -> None:
    await http.post("/threads", {"thread_id": "t"})
    run = (await http.post("/threads/t/runs", {"assistant_id": "approval", "input": GO})).json()
    await http.get(f"/threads/t/runs/{run['run_id']}/join")
    await http.post("/threads", {"thread_id": "u"})
    refusals: list[tuple[str, str, Any, int]] = [
        ("GET", f"/threads/u/runs/{run['run_id']}", None, 404),
        ("GET", f"/threads/u/runs/{run['run_id']}/stream", None, 404),
        ("POST", f"/threads/u/runs/{run['run_id']}/cancel", None, 404),
        ("GET", f"/threads/u/state/{run['run_id']}", None, 404),
        ("GET", "/threads/none", None, 404),
        ("GET", "/threads/a%20b", None, 422),
        ("GET", "/assistants/none", None, 404),
        ("POST", "/threads", {"thread_id": "v", "supersteps": [{}]}, 422),
        ("POST", "/threads", {"thread_id": "v", "ttl": 5}, 422),
        ("POST", "/threads/search", {"values": {"x": 1}}, 422),
        ("POST", "/threads/search", {"limit": 0}, 422),
        ("POST", "/threads/search", {"offset": -1}, 422),
        ("POST", "/threads/t/state", {"values": {"messages": "Hi"}}, 409),
        ("POST", "/threads/u/state", {"values": {"x": "x" * 300_000}}, 422),
        ("POST", "/threads/u/state", {"values": {}, "checkpoint_id": "c"}, 422),
        ("POST", "/runs/batch", [], 422),
        ("POST", "/runs/batch", {"runs": [{"assistant_id": "text", "input": GO}] * 200}, 422),
        ("POST", "/runs/cancel", {}, 422),
        ("DELETE", f"/threads/t/runs/{run['run_id']}", None, 409),
        ("GET", "/threads/t/runs?status=happy", None, 422),
        ("GET", "/threads/t/stream?stream_mode=all", None, 422),
        ("GET", f"/threads/t/runs/{run['run_id']}/join?cancel_on_disconnect=true", None, 422),
        ("GET", f"/threads/t/runs/{run['run_id']}/stream?cancel_on_disconnect=1", None, 422),
        ("POST", "/threads/t/stream/events", {"channels": "all"}, 422),
        ("POST", "/threads/none/stream/events", {"channels": ["values"]}, 404),
    ]
    for method, path, body, status in refusals:
        await refused(http, path, body, status, method=method)
    assert (await http.get("/threads/u/state")).json()["values"] == {"messages": []}
    answer = await http.get(f"/threads/t/runs/{run['run_id']}/stream", headers={"last-event-id": "1.t.00000000.5"})
    assert answer.status == 422


COMMANDS: list[tuple[str, dict[str, Any], str]] = [
    ("run.fly", {}, "unknown_command"),
    ("run.start", {"assistant_id": "nobody", "input": GO}, "invalid_argument"),
    ("run.start", {"assistant_id": "text", "input": None}, "invalid_argument"),
    ("run.start", {"assistant_id": 7}, "invalid_argument"),
    ("input.respond", {}, "invalid_argument"),
    ("input.respond", {"interrupt_id": "none", "response": 1}, "no_such_interrupt"),
    ("input.respond", {"responses": []}, "invalid_argument"),
    ("input.respond", {"interrupt_id": "x", "response": 1, "goto": "node"}, "not_supported"),
    ("input.inject", {"message": {"role": "system", "content": "Obey."}}, "not_supported"),
    ("input.inject", {}, "invalid_argument"),
    ("state.listCheckpoints", {"limit": 0}, "invalid_argument"),
    ("state.listCheckpoints", {"before": "none"}, "no_such_run"),
    ("state.fork", {"checkpoint_id": "none", "input": GO}, "no_such_run"),
    ("state.fork", {"checkpoint_id": "none"}, "invalid_argument"),
    ("subscription.subscribe", {"channels": []}, "unknown_command"),
]


@behaviour("LG-003", "LG-005")
async def test_a_command_that_cannot_be_carried_out_is_answered_with_its_error(http: Client) -> None:
    await http.post("/threads", {"thread_id": "t"})
    for number, (method, params, code) in enumerate(COMMANDS):
        answer = await http.post("/threads/t/commands", {"id": number, "method": method, "params": params})
        assert answer.status == 200, answer
        told = answer.json()
        assert (told["type"], told["id"], told["error"]) == ("error", number, code), (method, told)
    assert (await http.get("/threads/t/runs")).json() == []
    await refused(http, "/threads/t/commands", {"method": "run.start"}, 422)


@behaviour("LG-003")
async def test_what_has_no_meaning_here_is_passed_over(http: Client) -> None:
    body: dict[str, Any] = {
        "assistant_id": "text",
        "input": said("Hi"),
        "durability": "sync",
        "stream_resumable": True,
        "stream_subgraphs": True,
        "strict_resume": True,
        "interrupt_before": [],
        "webhook": None,
        "something_new": 1,
    }
    answer = await http.post("/runs/wait?unknown=1&namespace=", body)
    assert answer.json()["messages"][-1]["content"] == "Hello there. All is well."
