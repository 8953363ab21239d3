"""Assistants, and agents of the Agent Protocol: the agents of this server, each with the id that its name gives it.

Above: `routes`. Below: the registry of agents.
Holds: an assistant is an agent as it was registered. None is made, changed or removed from here.

Source: docs/concepts/protocols.md; SRV-037.
"""

from __future__ import annotations

from typing import Any

from starlette.responses import Response

from awaken.executors.registry import AgentInfo
from awaken.http.operation import Call, json_response
from awaken.protocols.langgraph.objects import agent_named, assistant, assistant_id_of
from awaken.protocols.langgraph.wire import AssistantBody, AssistantSearch

_MESSAGES = {"type": "object", "properties": {"messages": {"type": "array", "items": {"type": "object"}}}}


async def get_assistant(call: Call) -> Response:
    return json_response(assistant(agent_named(call, call.ids["assistant_id"])))


async def create_assistant(call: Call) -> Response:
    """The assistant that there is for the graph."""
    asked = call.body(AssistantBody)
    found = assistant(agent_named(call, asked.graph_id))
    asked.check([found["assistant_id"], found["graph_id"], found["name"]])
    return json_response(found)


async def search_assistants(call: Call) -> Response:
    asked = call.body(AssistantSearch)
    found = _found(call, asked)
    chosen = [assistant(info) for info in found[asked.offset : asked.offset + asked.limit]]
    if asked.select:
        chosen = [{name: value for name, value in each.items() if name in asked.select} for each in chosen]
    headers = {"X-Pagination-Total": str(len(found))}
    if asked.offset + asked.limit < len(found):
        headers["X-Pagination-Next"] = str(asked.offset + asked.limit)
    return json_response(chosen, headers=headers)


async def count_assistants(call: Call) -> Response:
    return json_response(len(_found(call, call.body(AssistantSearch))))


def _found(call: Call, asked: AssistantSearch) -> list[AgentInfo]:
    wanted = {**(asked.metadata or {})}
    if wanted.pop("created_by", "system") != "system" or wanted:
        return []
    return [
        info
        for info in call.mailbox.agents.describe()
        if asked.graph_id in (None, info.agent_id)
        and (asked.name is None or asked.name.casefold() in (info.title or info.agent_id).casefold())
    ]


async def get_schemas(call: Call) -> Response:
    info = agent_named(call, call.ids["assistant_id"])
    schemas: dict[str, Any] = {
        "graph_id": info.agent_id,
        "input_schema": info.input_schema or _MESSAGES,
        "output_schema": info.output_schema or _MESSAGES,
        "state_schema": _MESSAGES,
        "config_schema": None,
        "context_schema": None,
    }
    return json_response(schemas)


async def get_graph(call: Call) -> Response:
    """One node: what an agent does inside, only the agent knows."""
    info = agent_named(call, call.ids["assistant_id"])
    name = info.agent_id
    nodes = [{"id": "__start__", "type": "schema", "data": "__start__"}]
    nodes.append({"id": name, "type": "runnable", "data": {"id": ["awaken", info.kind], "name": name}})  # type: ignore[dict-item]
    nodes.append({"id": "__end__", "type": "schema", "data": "__end__"})
    edges = [{"source": "__start__", "target": name}, {"source": name, "target": "__end__"}]
    return json_response({"nodes": nodes, "edges": edges})


async def get_subgraphs(call: Call) -> Response:
    agent_named(call, call.ids["assistant_id"])
    return json_response({})


async def list_versions(call: Call) -> Response:
    return json_response([assistant(agent_named(call, call.ids["assistant_id"]))])


async def get_agent(call: Call) -> Response:
    return json_response(_agent(agent_named(call, call.ids["agent_id"])))


async def search_agents(call: Call) -> Response:
    asked = call.body(AssistantSearch)
    found = _found(call, asked)
    return json_response([_agent(info) for info in found[asked.offset : asked.offset + asked.limit]])


def _agent(info: AgentInfo) -> dict[str, Any]:
    return {
        "agent_id": info.agent_id,
        "name": info.title or info.agent_id,
        "description": info.description,
        "metadata": {"assistant_id": assistant_id_of(info.agent_id)},
        "capabilities": {"ap.io.messages": True, "ap.io.streaming": True},
    }


async def get_agent_schemas(call: Call) -> Response:
    info = agent_named(call, call.ids["agent_id"])
    schemas: dict[str, Any] = {
        "agent_id": info.agent_id,
        "input_schema": info.input_schema or _MESSAGES,
        "output_schema": info.output_schema or _MESSAGES,
        "state_schema": _MESSAGES,
    }
    return json_response(schemas)
