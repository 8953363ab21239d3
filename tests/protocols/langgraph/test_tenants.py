"""What belongs to others is not there, whatever is asked for."""

from __future__ import annotations

import asyncio
import json
from typing import Any, Final

from awaken.http.settings import HttpSettings
from awaken.protocols.langgraph.routes import OPERATIONS
from awaken.testing.behaviour import behaviour
from tests.protocols.langgraph.server import said
from tests.protocols.site import protocol_site

SECRET: Final = "the secret of another"
BODIES: Final[dict[str, Any]] = {
    "langgraph_create_assistant": {"graph_id": "text"},
    "langgraph_create_runs": [{"assistant_id": "text", "input": said("Hi")}],
    "langgraph_create_thread": {"thread_id": "theirs"},
    "langgraph_command": {"id": 1, "method": "state.get", "params": {}},
    "langgraph_follow_events": {"channels": ["values"]},
    "langgraph_get_state_at": {"checkpoint": {"checkpoint_id": "{run}"}},
    "langgraph_prune_threads": {"thread_ids": ["mine"]},
    "langgraph_cancel_runs": {"run_ids": ["{run}"]},
    "langgraph_update_state": {"values": {"messages": "Hi"}},
}
RUN: Final = {"assistant_id": "text", "input": said("Hi")}


@behaviour("LG-007")
async def test_no_route_shows_or_changes_what_belongs_to_others() -> None:
    settings = HttpSettings(authorize=lambda request: request.headers["x-who"])
    me, them = {"x-who": "me"}, {"x-who": "them"}
    async with asyncio.timeout(60), protocol_site(OPERATIONS, settings=settings) as site:
        http = site.http
        assert (await http.post("/threads", {"thread_id": "mine"}, headers=me)).status == 200
        asked = {"assistant_id": "approval", "input": said(SECRET)}
        run = (await http.post("/threads/mine/runs", asked, headers=me)).json()
        [interrupt] = (await http.get(f"/threads/mine/runs/{run['run_id']}/join", headers=me)).json()["__interrupt__"]
        before = (await http.get("/threads/mine/state", headers=me)).json()

        for operation in OPERATIONS:
            if "{assistant_id}" in operation.path or "{agent_id}" in operation.path:
                continue
            path = operation.path.replace("{thread_id}", "mine").replace("{run_id}", run["run_id"])
            path = path.replace("{checkpoint_id}", run["run_id"])
            body = None if operation.body is None else BODIES.get(operation.id, RUN)
            body = json.loads(json.dumps(body).replace("{run}", run["run_id"]))
            answer = await http.request(operation.method, path, body, headers=them)
            assert SECRET.encode() not in answer.body, operation.id
            assert interrupt["id"].encode() not in answer.body, operation.id
            if "{" in operation.path and operation.id != "langgraph_command":  # which says so in its answer
                assert answer.status == 404, (operation.id, answer)

        resumed = {"assistant_id": "approval", "command": {"resume": {interrupt["id"]: True}}}
        assert (await http.post("/threads/mine/runs/wait", resumed, headers=them)).status == 404
        assert (await http.get("/threads/mine/state", headers=me)).json() == before
