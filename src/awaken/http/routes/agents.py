"""Agents: what can be asked for.

Source: docs/reference/http.md.
"""

from __future__ import annotations

from typing import Final

from starlette.responses import Response

from awaken.http.operation import Call, Operation, json_response
from awaken.http.wire import AgentList, AgentResource


async def list_agents(call: Call) -> Response:
    items = tuple([AgentResource.of(info) for info in call.mailbox.agents.describe()])
    return json_response(AgentList(items=items, has_more=False, next_cursor=None))


async def pause_agent(call: Call) -> Response:
    call.mailbox.agents.pause(call.ids["agent_id"])
    return await get_agent(call)


async def resume_agent(call: Call) -> Response:
    call.mailbox.agents.resume(call.ids["agent_id"])
    return await get_agent(call)


async def get_agent(call: Call) -> Response:
    return json_response(AgentResource.of(call.mailbox.agents.described(call.ids["agent_id"])))


AGENT_OPERATIONS: Final = (
    Operation(
        method="GET",
        path="/v1/agents",
        id="list_agents",
        summary="List the registered agents",
        handler=list_agents,
        answers={200: AgentList},
    ),
    Operation(
        method="GET",
        path="/v1/agents/{agent_id}",
        id="get_agent",
        summary="Read an agent",
        handler=get_agent,
        answers={200: AgentResource},
        problems=("agent_not_found",),
    ),
    Operation(
        method="POST",
        path="/v1/agents/{agent_id}/pause",
        id="pause_agent",
        summary="Begin no run of an agent in this process until it is resumed",
        handler=pause_agent,
        answers={200: AgentResource},
        problems=("agent_not_found",),
    ),
    Operation(
        method="POST",
        path="/v1/agents/{agent_id}/resume",
        id="resume_agent",
        summary="Begin runs of a paused agent again",
        handler=resume_agent,
        answers={200: AgentResource},
        problems=("agent_not_found",),
    ),
)
