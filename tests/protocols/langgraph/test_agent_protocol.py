"""The Agent Protocol: agents, and runs that are asked for by themselves."""

from __future__ import annotations

import asyncio

from awaken.protocols.langgraph.routes import OPERATIONS
from awaken.testing.behaviour import behaviour
from tests.protocols.langgraph.server import said
from tests.protocols.site import frames_in, protocol_site


@behaviour("LG-006")
async def test_agents_are_found_and_runs_asked_for_by_themselves() -> None:
    async with asyncio.timeout(60), protocol_site(OPERATIONS) as site:
        http = site.http
        assert (await http.get("/ok")).json() == {"ok": True}
        assert (await http.get("/info")).json()["flags"]["strict_resume"] is True
        [agent] = (await http.post("/agents/search", {"name": "tool-error", "limit": 1})).json()
        assert (await http.get(f"/agents/{agent['agent_id']}")).json() == agent
        assert "input_schema" in (await http.get(f"/agents/{agent['agent_id']}/schemas")).json()
        asked = {"agent_id": "text", "messages": said("Hi")["messages"], "on_completion": "keep", "metadata": {"n": 1}}
        run = (await http.post("/runs", asked)).json()
        values = (await http.get(f"/runs/{run['run_id']}/wait")).json()
        assert values["messages"][-1]["content"] == "Hello there. All is well."
        assert (await http.get(f"/runs/{run['run_id']}")).json()["status"] == "success"
        streamed = await http.get(f"/runs/{run['run_id']}/stream?stream_mode=values")
        assert frames_in(streamed.body)[-2].json() == values
        found = (await http.post("/runs/search", {"metadata": {"n": 1}, "status": "success"})).json()
        assert [each["run_id"] for each in found] == [run["run_id"]]
        assert (await http.post("/runs/search", {"agent_id": "tool"})).json() == []
        assert (await http.post(f"/runs/{run['run_id']}/cancel")).status == 204
        assert (await http.delete(f"/runs/{run['run_id']}")).status == 204
        assert (await http.post("/runs/search", {"metadata": {"n": 1}})).json() == []


@behaviour("LG-006")
async def test_every_route_is_in_the_document_of_the_api() -> None:
    async with asyncio.timeout(60), protocol_site(OPERATIONS) as site:
        paths = (await site.http.get("/openapi.json")).json()["paths"]
    for operation in OPERATIONS:
        assert operation.method.lower() in paths[operation.path], operation.id
