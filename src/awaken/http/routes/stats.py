"""What this process has done in the last hour.

Source: docs/reference/http.md.
"""

from __future__ import annotations

from typing import Annotated, Final

from msgspec import Meta
from starlette.responses import Response

from awaken.domain.checking import HOUR_S, MINUTE_S
from awaken.http.operation import Call, Operation, json_response, not_offered
from awaken.http.query import Query
from awaken.http.stats_wire import AgentStatsResource, StatsResource


class Window(Query, frozen=True, kw_only=True):
    window_s: Annotated[float, Meta(ge=MINUTE_S, le=HOUR_S)] = HOUR_S
    """Parts of a minute count as one."""


async def stats(call: Call) -> Response:
    if call.service.stats is None:
        raise not_offered("stats")
    return json_response(StatsResource.of(call.service.stats))


async def agent_stats(call: Call) -> Response:
    if call.service.stats is None:
        raise not_offered("stats")
    known = call.mailbox.agents.name(call.ids["agent_id"])
    return json_response(AgentStatsResource.of(call.service.stats.of_agent(known, call.query(Window).window_s)))


STATS_OPERATIONS: Final = (
    Operation(
        method="GET",
        path="/v1/agents/{agent_id}/stats",
        id="agent_stats",
        summary="Count what this process has done for an agent in the last hour, or less",
        handler=agent_stats,
        query=Window,
        answers={200: AgentStatsResource},
        problems=("agent_not_found", "not_found"),
    ),
    Operation(
        method="GET",
        path="/v1/stats",
        id="stats",
        summary="Count what this process has done in the last hour, minute by minute",
        handler=stats,
        answers={200: StatsResource},
        problems=("not_found",),
    ),
)
