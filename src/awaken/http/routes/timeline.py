"""How a run went: attempts, steps, calls, waits.

Source: docs/reference/http.md.
"""

from __future__ import annotations

from typing import Final

from starlette.responses import Response

from awaken.http.etags import etag, matches
from awaken.http.operation import Call, Operation, json_response
from awaken.http.timeline_wire import TimelineResource
from awaken.mailbox.timeline import newest_seq


async def timeline(call: Call) -> Response:
    """304 while nothing has happened in its thread since the version that the client has."""
    run = await call.mailbox.get_run(call.scope, call.run_id)
    # Before the events are read, which may be newer: then the client asks once more, and misses nothing.
    seq = await newest_seq(call.reads, call.scope, run)
    tag = {"ETag": etag(seq)}
    if matches(call, seq):
        return Response(status_code=304, headers=tag)
    drawn = await call.mailbox.timeline(call.scope, run)
    return json_response(TimelineResource.of(call.scope, run, seq, drawn), headers=tag)


TIMELINE_OPERATIONS: Final = (
    Operation(
        method="GET",
        path="/v1/runs/{run_id}/timeline",
        id="run_timeline",
        summary="Read how a run went, as spans",
        handler=timeline,
        answers={200: TimelineResource, 304: None},
        problems=("run_not_found", "invalid_id"),
    ),
)
