"""What wants somebody's attention now, in one answer.

Source: docs/reference/http.md; docs/howto/operate.md.
"""

from __future__ import annotations

from typing import Annotated, Final

from msgspec import Meta
from starlette.responses import Response

from awaken.domain.checking import MAX_FEW
from awaken.http.attention_wire import AttentionResource
from awaken.http.operation import Call, Operation, json_response
from awaken.http.query import Query


class Attending(Query, frozen=True, kw_only=True):
    limit: Annotated[int, Meta(ge=1, le=MAX_FEW)] = MAX_FEW
    """Of each list."""


async def attention(call: Call) -> Response:
    mailbox = call.mailbox
    found = await mailbox.attention(call.scope, call.query(Attending).limit)
    return json_response(AttentionResource.of(call.scope, found, call.reads.capabilities, mailbox.role, mailbox.agents))


ATTENTION_OPERATIONS: Final = (
    Operation(
        method="GET",
        path="/v1/attention",
        id="attention",
        summary="What wants somebody's attention now",
        handler=attention,
        query=Attending,
        answers={200: AttentionResource},
    ),
)
