"""What is queued and executed, for operators: listed, read, given another place, cancelled.

Source: docs/reference/http.md; docs/howto/operate.md.
"""

from __future__ import annotations

from typing import Final

from starlette.responses import Response

from awaken.domain.checking import Age
from awaken.domain.dispatch import Dispatch, DispatchStatus
from awaken.domain.queue import QueueFilter, place_of, queue_filter
from awaken.domain.run import Run
from awaken.http.operation import Call, Operation, json_response
from awaken.http.query import Paging
from awaken.http.routes.lists import next_cursor, start_of_page
from awaken.http.routes.runs import Stopping, answer_stop, resource_of
from awaken.http.submission import Body, Id, Priority, Seconds
from awaken.http.wire import CancelResource, DispatchList, DispatchResource


class ThreadDispatchFilters(Paging, frozen=True, kw_only=True):
    status: DispatchStatus | None = None
    agent_id: Id | None = None
    claimed_by: str | None = None
    older_than_s: Age | None = None
    """Only those that have been there for longer."""
    stale: bool = False
    """Only those whose lease has ended."""


class DispatchFilters(ThreadDispatchFilters, frozen=True, kw_only=True):
    thread_id: Id | None = None


class DispatchPlace(Body, frozen=True, kw_only=True):
    """One of these at least, and not both of the last two."""

    priority: Priority | None = None
    after_seconds: Seconds | None = None
    """From now on; 0: due at once."""
    available_at: str | None = None
    """RFC 3339; it does not start before."""


async def list_dispatches(call: Call) -> Response:
    asked = call.query(DispatchFilters)
    return await _listed(call, asked, asked.thread_id)


async def list_thread_dispatches(call: Call) -> Response:
    thread = await call.mailbox.get_thread(call.scope, call.thread_id)
    return await _listed(call, call.query(ThreadDispatchFilters), thread.thread_id)


async def _listed(call: Call, asked: ThreadDispatchFilters, thread_id: str | None) -> Response:
    filters = [asked.status, thread_id, asked.agent_id, asked.claimed_by, asked.older_than_s, asked.stale]
    after = start_of_page(asked.cursor, "dispatches", filters)
    page, now = await call.mailbox.dispatches.page(
        call.scope, _chosen(asked, thread_id), after=after, limit=asked.limit
    )
    cursor = next_cursor(page, "dispatches", filters)
    items = tuple([DispatchResource.of(dispatch, now) for dispatch in page.items])
    return json_response(
        DispatchList(items=items, has_more=cursor is not None, next_cursor=cursor, unreadable=page.unreadable)
    )


def _chosen(asked: ThreadDispatchFilters, thread_id: str | None) -> QueueFilter:
    return queue_filter(
        thread_id=thread_id,
        status=asked.status,
        agent=asked.agent_id,
        claimed_by=asked.claimed_by,
        older_than_s=asked.older_than_s,
        stale=asked.stale,
    )


async def get_dispatch(call: Call) -> Response:
    return await _answer(call, *await call.mailbox.dispatches.get(call.scope, call.path_id("dispatch_id")))


async def edit_dispatch(call: Call) -> Response:
    asked = call.body(DispatchPlace)
    place = place_of(priority=asked.priority, delay_s=asked.after_seconds, available_at=asked.available_at)
    return await _answer(call, *await call.mailbox.dispatches.place(call.scope, call.path_id("dispatch_id"), place))


async def _answer(call: Call, dispatch: Dispatch, run: Run) -> Response:
    now = await call.reads.now()
    return json_response(DispatchResource.of(dispatch, now, await resource_of(call, run)))


async def cancel_dispatch(call: Call) -> Response:
    wait_s = call.query(Stopping).seconds(call.service.settings.cancel_wait_s)
    return await answer_stop(call, call.mailbox.cancel_dispatch(call.scope, call.path_id("dispatch_id"), wait_s=wait_s))


def _of_thread(path: str, id: str) -> Operation:
    return Operation(
        method="GET",
        path=path,
        id=id,
        summary="List the queue entries of a thread, oldest first",
        handler=list_thread_dispatches,
        query=ThreadDispatchFilters,
        answers={200: DispatchList},
        problems=("thread_not_found", "cursor_mismatch", "invalid_id"),
    )


DISPATCH_OPERATIONS: Final = (
    Operation(
        method="GET",
        path="/v1/dispatches",
        id="list_dispatches",
        summary="List queue entries of every run or of one thread, oldest first",
        handler=list_dispatches,
        query=DispatchFilters,
        answers={200: DispatchList},
        problems=("cursor_mismatch", "invalid_id"),
    ),
    _of_thread("/v1/threads/{thread_id}/dispatches", "list_thread_dispatches"),
    _of_thread("/v1/threads/{thread_id}/mailbox", "list_thread_mailbox"),
    Operation(
        method="GET",
        path="/v1/dispatches/{dispatch_id}",
        id="get_dispatch",
        summary="Read a queue entry, with its run",
        handler=get_dispatch,
        answers={200: DispatchResource},
        problems=("dispatch_not_found", "invalid_id"),
    ),
    Operation(
        method="PATCH",
        path="/v1/dispatches/{dispatch_id}",
        id="edit_dispatch",
        summary="Give what is queued another place",
        handler=edit_dispatch,
        body=DispatchPlace,
        answers={200: DispatchResource},
        problems=("dispatch_not_found", "invalid_id", "dispatch_not_queued", "thread_deleted"),
    ),
    Operation(
        method="POST",
        path="/v1/dispatches/{dispatch_id}/cancel",
        id="cancel_dispatch",
        summary="Stop the run that is queued or executed with it",
        handler=cancel_dispatch,
        query=Stopping,
        answers={202: CancelResource, 200: CancelResource},
        problems=("dispatch_not_found", "invalid_id", "dispatch_ended", "run_not_open", "run_not_found"),
    ),
)
