"""Every protocol takes `name@version` where it names an agent, and lists each agent once."""

from __future__ import annotations

from typing import Any

from awaken import Context
from awaken.testing.agents import memory_app
from awaken.testing.behaviour import behaviour
from tests.http.asgi import Client

SAID = [{"role": "user", "content": "Go on."}]


async def support(ctx: Context) -> str:
    return f"by {ctx.identity.agent_version}"


@behaviour("RT-010")
async def test_a_version_is_a_model_an_assistant_and_an_agent_of_each_protocol() -> None:
    async with memory_app() as app:
        app.agent("support", support, version="1", description="the older")
        app.agent("support", support, version="2")
        http = Client(app.asgi())

        async def sent(path: str, body: Any) -> str:
            answer = await http.post(path, body)
            assert answer.status == 200, answer
            return answer.body.decode()

        assert [each["id"] for each in (await http.get("/v1/models")).json()["data"]] == ["support"]
        assert (await http.get("/v1/models/support@1")).json()["id"] == "support@1"
        assert "by 1" in await sent("/v1/responses", {"model": "support@1", "input": "Go on."})
        assert "by 2" in await sent("/v1/chat/completions", {"model": "support", "messages": SAID})
        assert (await http.get("/v1/models/support@3")).status == 404

        [assistant] = (await http.post("/assistants/search", {})).json()
        assert (assistant["graph_id"], (await http.get("/assistants/support@1")).json()["description"]) == (
            "support",
            "the older",
        )
        asked = {"input": {"messages": SAID}}
        assert "by 1" in await sent("/runs/wait", {"assistant_id": "support@1", **asked})
        assert "by 2" in await sent("/runs/wait", {"assistant_id": assistant["assistant_id"], **asked})

        told = (await http.get("/v1/ag-ui/agents/support@1/capabilities")).json()
        assert told["identity"]["description"] == "the older"
