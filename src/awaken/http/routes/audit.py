"""Looking through the stored rows for breaches of invariants.

Source: docs/reference/http.md.
"""

from __future__ import annotations

from typing import Final

from starlette.responses import Response

from awaken.http.audit_wire import FindingList, findings
from awaken.http.cursors import list_cursor, list_key
from awaken.http.operation import Call, Operation, json_response
from awaken.http.query import Query
from awaken.http.routes.lists import Place
from awaken.store.invariants import AuditPlace


class AuditQuery(Query, frozen=True, kw_only=True):
    cursor: str | None = None
    """`next_cursor` of the answer before."""


async def audit(call: Call) -> Response:
    return await _look(call, repairs=False)


async def repair(call: Call) -> Response:
    return await _look(call, repairs=True)


async def _look(call: Call, *, repairs: bool) -> Response:
    cursor = call.query(AuditQuery).cursor
    place = (0, 0) if cursor is None else list_key(cursor, "audit", (), tuple[Place, Place])
    looked = await call.mailbox.auditor.look(AuditPlace(*place), repairs=repairs)
    following = None if looked.next is None else list_cursor("audit", (), (looked.next.part, looked.next.after))
    return json_response(FindingList(items=findings(looked), has_more=following is not None, next_cursor=following))


AUDIT_OPERATIONS: Final = (
    Operation(
        method="GET",
        path="/v1/system/audit",
        id="audit",
        summary="Look through a part of the stored rows for what contradicts itself",
        handler=audit,
        query=AuditQuery,
        answers={200: FindingList},
        problems=("cursor_mismatch",),
    ),
    Operation(
        method="POST",
        path="/v1/system/audit",
        id="repair",
        summary="Look through a part of the stored rows, and mend what contradicts itself",
        handler=repair,
        query=AuditQuery,
        answers={200: FindingList},
        problems=("cursor_mismatch",),
    ),
)
