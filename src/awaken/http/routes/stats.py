"""What this process has done in the last hour.

Source: docs/reference/http.md.
"""

from __future__ import annotations

from typing import Final

from starlette.responses import Response

from awaken.http.operation import Call, Operation, json_response, not_offered
from awaken.http.stats_wire import StatsResource


async def stats(call: Call) -> Response:
    if call.service.stats is None:
        raise not_offered("stats")
    return json_response(StatsResource.of(call.service.stats))


STATS_OPERATIONS: Final = (
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
