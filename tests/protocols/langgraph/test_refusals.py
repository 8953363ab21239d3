"""What is refused because leaving it out would mislead: each by its name, with nothing stored, and documented."""

from __future__ import annotations

import asyncio
import re
from pathlib import Path
from typing import Any, Final, NamedTuple

import pytest

from awaken.protocols.langgraph.routes import OPERATIONS
from awaken.store.contract import RunQuery
from awaken.testing.behaviour import behaviour
from tests.protocols.langgraph.server import GO
from tests.protocols.site import protocol_site

PAGE: Final = Path(__file__).parents[3] / "docs/howto/use-langgraph-clients.md"
RUN: Final = {"assistant_id": "text", "input": GO}
RUNS: Final[dict[str, dict[str, Any]]] = {
    "webhook": RUN | {"webhook": "https://hooks.example/x"},
    "interrupt_before": RUN | {"interrupt_before": ["node"]},
    "interrupt_after": RUN | {"interrupt_after": "*"},
    "feedback_keys": RUN | {"feedback_keys": ["good"]},
    "checkpoint": RUN | {"checkpoint": {"checkpoint_id": "older"}},
    "checkpoint_id": RUN | {"checkpoint_id": "older"},
    "input": RUN | {"input": {"question": "Why?"}},
    "command.update": {"assistant_id": "text", "command": {"update": {"x": 1}}},
    "command.goto": {"assistant_id": "text", "command": {"goto": "node"}},
}


class Refused(NamedTuple):
    """A request, and the name that its refusal has to have."""

    name: str
    method: str
    path: str
    body: Any = None


REFUSED: Final = (
    *[
        Refused(name, "POST", f"/threads/t/runs{way}", body)
        for name, body in RUNS.items()
        for way in ("", "/stream", "/wait")
    ],
    *[Refused(name, "POST", f"/runs{way}", body) for name, body in RUNS.items() for way in ("", "/stream", "/wait")],
    *[Refused(name, "POST", "/runs/batch", [RUN, body]) for name, body in RUNS.items()],
    Refused("config", "POST", "/threads/t/runs", RUN | {"config": {"configurable": {"checkpoint_id": "older"}}}),
    Refused("ttl", "POST", "/threads", {"ttl": {"ttl": 5, "strategy": "delete"}}),
    Refused("ttl", "PATCH", "/threads/t", {"ttl": 5}),
    Refused("supersteps", "POST", "/threads", {"supersteps": [{"updates": []}]}),
    Refused("strategy", "POST", "/threads/prune", {"thread_ids": ["t"], "strategy": "keep_latest"}),
    Refused("values", "POST", "/threads/search", {"values": {"x": 1}}),
    Refused("extract", "POST", "/threads/search", {"extract": {"x": "values.x"}}),
    Refused("values", "POST", "/threads/count", {"values": {"x": 1}}),
    Refused("checkpoint", "POST", "/threads/t/state", {"values": {"x": 1}, "checkpoint": {"checkpoint_id": "older"}}),
    Refused("checkpoint_id", "POST", "/threads/t/state", {"values": {"x": 1}, "checkpoint_id": "older"}),
    Refused("cancel_on_disconnect", "GET", "/threads/t/runs/{run}/join?cancel_on_disconnect=true"),
    Refused("cancel_on_disconnect", "GET", "/threads/t/runs/{run}/stream?cancel_on_disconnect=true"),
    Refused(
        "input", "POST", "/threads/t/runs/wait", RUN | {"input": {"messages": [{"role": "system", "content": "x"}]}}
    ),
    Refused("input", "POST", "/threads/t/runs/wait", RUN | {"input": {"messages": []}}),
    Refused("input", "POST", "/threads/t/runs/stream", RUN | {"input": None}),
    Refused(
        "input",
        "POST",
        "/threads/t/runs/stream",
        RUN | {"input": {"messages": [{"role": "tool", "tool_call_id": "nobody's", "content": "x"}]}},
    ),
    Refused("channels", "POST", "/threads/t/stream/events", {"channels": ["banana"]}),
    Refused("assistant_id", "POST", "/assistants", {"graph_id": "text", "assistant_id": "mine"}),
    Refused("name", "POST", "/assistants", {"graph_id": "text", "name": "Mine"}),
    Refused("description", "POST", "/assistants", {"graph_id": "text", "description": "Mine"}),
    Refused("metadata", "POST", "/assistants", {"graph_id": "text", "metadata": {"mine": True}}),
    Refused("config", "POST", "/assistants", {"graph_id": "text", "config": {"recursion_limit": 3}}),
    Refused("context", "POST", "/assistants", {"graph_id": "text", "context": {"model": "small"}}),
)


@behaviour("LG-003")
async def test_each_is_refused_by_its_name_and_nothing_is_stored() -> None:
    async with asyncio.timeout(60), protocol_site(OPERATIONS) as site:
        await site.http.post("/threads", {"thread_id": "t"})
        run = (await site.http.post("/threads/t/runs", RUN)).json()
        await site.http.get(f"/threads/t/runs/{run['run_id']}/join")
        bounds = await site.app.store.event_bounds(site.app.scope, run["thread_id"])
        for name, method, path, body in REFUSED:
            answer = await site.http.request(method, path.replace("{run}", run["run_id"]), body)
            assert answer.status == 422, (name, path, answer)
            assert re.search(rf"\b{re.escape(name)}\b", answer.json()["detail"]), (name, path, answer.json())
            listed = (await site.app.store.list_runs(site.app.scope, RunQuery(limit=9))).items
            assert [each.run_id for each in listed] == [run["run_id"]], path
            assert (await site.http.post("/threads/count", {})).json() == 1, path
            assert await site.app.store.event_bounds(site.app.scope, run["thread_id"]) == bounds, path


@behaviour("LG-003")
@pytest.mark.parametrize("name", sorted({each.name for each in REFUSED}))
def test_each_is_named_in_the_documentation(name: str) -> None:
    section = PAGE.read_text().split("## What is refused\n", 1)[1].split("\n## ", 1)[0]
    rows = [line for line in section.splitlines() if line.startswith("| ")]
    assert [row for row in rows if f"`{name}`" in row.split("|")[2]], rows


@behaviour("LG-003")
@pytest.mark.parametrize("path", ["/store/items", "/store/items/search", "/runs/crons", "/threads/t/runs/crons"])
async def test_what_is_not_there_is_not_found(path: str) -> None:
    async with asyncio.timeout(30), protocol_site(OPERATIONS) as site:
        assert (await site.http.post(path, {})).status in (404, 405)
