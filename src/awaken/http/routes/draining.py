"""A process that begins nothing more, and one that does again.

Source: docs/reference/http.md; docs/howto/operate.md.
"""

from __future__ import annotations

from typing import Final

from starlette.responses import Response

from awaken.http.operation import Call, Operation, json_response
from awaken.http.wire import DrainingResource
from awaken.mailbox.engine import Draining


async def drain(call: Call) -> Response:
    return json_response(_resource(call.mailbox.drain()))


async def undrain(call: Call) -> Response:
    return json_response(_resource(call.mailbox.undrain()))


def _resource(draining: Draining) -> DrainingResource:
    return DrainingResource(drained=draining.drained, executing=draining.executing)


DRAINING_OPERATIONS: Final = (
    Operation(
        method="POST",
        path="/v1/system/drain",
        id="drain",
        summary="Begin no run in this process until it is undrained",
        handler=drain,
        answers={200: DrainingResource},
    ),
    Operation(
        method="POST",
        path="/v1/system/undrain",
        id="undrain",
        summary="Begin runs in this process again",
        handler=undrain,
        answers={200: DrainingResource},
    ),
)
