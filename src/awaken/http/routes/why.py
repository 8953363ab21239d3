"""Why a run is where it is.

Source: docs/reference/http.md; docs/howto/find-out-why.md.
"""

from __future__ import annotations

from typing import Final

from starlette.responses import Response

from awaken.http.operation import Call, Operation, json_response
from awaken.http.why_wire import ExplanationResource


async def explain(call: Call) -> Response:
    return json_response(ExplanationResource.of(await call.mailbox.explain(call.scope, call.run_id)))


WHY_OPERATIONS: Final = (
    Operation(
        method="GET",
        path="/v1/runs/{run_id}/explain",
        id="explain_run",
        summary="Say why a run is where it is, and what comes next",
        handler=explain,
        answers={200: ExplanationResource},
        problems=("run_not_found", "invalid_id"),
    ),
)
