"""Children: the runs that a run has started, and the threads that name a thread as their parent.

Source: docs/reference/http.md; docs/howto/work-in-the-background.md.
"""

from __future__ import annotations

from typing import Final

from starlette.responses import Response

from awaken.http.operation import Call, Operation, json_response
from awaken.http.query import Paging
from awaken.http.routes.lists import next_cursor, start_of_page
from awaken.http.wire import RunList, RunResource, ThreadList, ThreadResource
from awaken.mailbox.children import children_of
from awaken.store.contract import ThreadQuery


async def list_children(call: Call) -> Response:
    asked = call.query(Paging)
    run = await call.mailbox.get_run(call.scope, call.run_id)
    filters = (run.run_id,)
    start = start_of_page(asked.cursor, "children", filters)
    page = await children_of(call.reads, call.scope, run, after=start, limit=asked.limit)
    dispatches = await call.reads.load_dispatches(call.scope, [child.dispatch_id for child in page.items])
    agents = call.mailbox.agents
    items = tuple(
        [
            RunResource.of(call.scope, child, dispatches.get(child.dispatch_id), agents=agents, reads_dispatch=True)
            for child in page.items
        ]
    )
    cursor = next_cursor(page, "children", filters)
    answer = RunList(items=items, has_more=cursor is not None, next_cursor=cursor, unreadable=page.unreadable)
    return json_response(answer)


async def list_child_threads(call: Call) -> Response:
    asked = call.query(Paging)
    thread = await call.mailbox.get_thread(call.scope, call.thread_id)
    filters = (thread.thread_id,)
    start = start_of_page(asked.cursor, "child threads", filters)
    query = ThreadQuery(after=start, limit=asked.limit, parent_thread_id=thread.thread_id)
    page = await call.reads.list_threads(call.scope, query)
    items = tuple([ThreadResource.of(call.scope, child) for child in page.items])
    cursor = next_cursor(page, "child threads", filters)
    lost = (*page.unreadable, *[name for child in items for name in child.unreadable])
    answer = ThreadList(items=items, has_more=cursor is not None, next_cursor=cursor, unreadable=lost)
    return json_response(answer)


CHILD_OPERATIONS: Final = (
    Operation(
        method="GET",
        path="/v1/runs/{run_id}/children",
        id="list_children",
        summary="List the runs that a run has started",
        handler=list_children,
        query=Paging,
        answers={200: RunList},
        problems=("run_not_found", "invalid_id", "cursor_mismatch"),
    ),
    Operation(
        method="GET",
        path="/v1/threads/{thread_id}/children",
        id="list_child_threads",
        summary="List the threads that name a thread as their parent",
        handler=list_child_threads,
        query=Paging,
        answers={200: ThreadList},
        problems=("thread_not_found", "invalid_id", "cursor_mismatch"),
    ),
)
