"""Threads: make, list, read, stop.

Source: docs/reference/http.md; SRV-004, SRV-015, SRV-016.
"""

from __future__ import annotations

from typing import Final

import msgspec
from starlette.responses import Response

from awaken.domain.ids import RunId, ThreadId
from awaken.domain.shown import ChildStrategy, MessageView, MessageVisibility
from awaken.domain.thread import ThreadStatus
from awaken.http.cursors import Stored
from awaken.http.etags import etag, if_match
from awaken.http.operation import Call, Operation, json_response
from awaken.http.problems import invalid
from awaken.http.query import MetadataFilter, Order, Paging, Query
from awaken.http.routes.lists import next_cursor, start_of_page
from awaken.http.routes.runs import Stopping, answer_stop
from awaken.http.submission import Id, ThreadCreate, ThreadEdit, ThreadFork, to_messages
from awaken.http.wire import (
    VISIBILITIES,
    CancelResource,
    InterruptResource,
    MessageList,
    MessageResource,
    ThreadList,
    ThreadResource,
)
from awaken.store.contract import MessageQuery, ThreadQuery


class ThreadFilters(Paging, frozen=True, kw_only=True):
    order: Order = "desc"
    resource_id: str | None = None
    id_prefix: str = ""
    parent_thread_id: str | None = None
    root: bool = False
    """Only those without a parent."""
    status: ThreadStatus | None = None
    q: str = ""
    """A text that the title holds, in capitals or not."""
    metadata: MetadataFilter | None = None


class Deleting(Query, frozen=True, kw_only=True):
    child_strategy: ChildStrategy = "reject"
    """What becomes of the threads whose parent it is: they refuse it, lose their parent, or go with it."""
    force: bool = False
    """Stop what is not done, as an interrupt does."""


class MessageFilters(Paging, frozen=True, kw_only=True):
    order: Order = "asc"
    after: Stored = 0
    """A seq; only later messages."""
    before: Stored | None = None
    visibility: MessageVisibility = "external"
    run_id: Id | None = None
    view: MessageView = "effective"
    """`log`: also what is hidden."""


async def create_thread(call: Call) -> Response:
    asked = call.body(ThreadCreate)
    thread_id, info = asked.named_thread_id(), asked.to_info()
    if info.parent_thread_id is not None:
        await call.mailbox.get_thread(call.scope, info.parent_thread_id)
    thread, is_new = await call.mailbox.save_thread(
        call.scope,
        thread_id,
        info,
        messages=to_messages(asked.messages or (), "messages"),
        if_exists="keep" if asked.if_exists == "do_nothing" else "raise",
    )
    place = {"Location": call.link("v1", "threads", thread.thread_id)}
    return json_response(ThreadResource.of(call.scope, thread), 201 if is_new else 200, place)


async def list_threads(call: Call) -> Response:
    asked = call.query(ThreadFilters)
    filters = [getattr(asked, name) for name in asked.__struct_fields__ if name not in ("limit", "cursor")]
    if asked.root and asked.parent_thread_id is not None:
        raise invalid("invalid_request", "give root or parent_thread_id, not both", "query", "root")
    page = await call.reads.list_threads(
        call.scope,
        ThreadQuery(
            after=start_of_page(asked.cursor, "threads", filters),
            limit=asked.limit,
            ascending=asked.order == "asc",
            resource_id=asked.resource_id,
            id_prefix=asked.id_prefix,
            parent_thread_id=None if asked.parent_thread_id is None else ThreadId(asked.parent_thread_id),
            is_root=asked.root,
            status=asked.status,
            title=asked.q,
            metadata=tuple((asked.metadata or {}).items()),
        ),
    )
    items = tuple([ThreadResource.of(call.scope, thread) for thread in page.items])
    cursor = next_cursor(page, "threads", filters)
    lost = (*page.unreadable, *[name for thread in items for name in thread.unreadable])
    answer = ThreadList(items=items, has_more=cursor is not None, next_cursor=cursor, unreadable=lost)
    return json_response(answer)


async def get_thread(call: Call) -> Response:
    thread = await call.mailbox.get_thread(call.scope, call.thread_id)
    return json_response(ThreadResource.of(call.scope, thread), 200, {"ETag": etag(thread.info_version)})


async def edit_thread(call: Call) -> Response:
    patch = call.body(ThreadEdit).to_patch()
    thread = await call.mailbox.threads.edit(call.scope, call.thread_id, patch, if_version=if_match(call))
    return json_response(ThreadResource.of(call.scope, thread), 200, {"ETag": etag(thread.info_version)})


async def delete_thread(call: Call) -> Response:
    asked = call.query(Deleting)
    await call.mailbox.threads.delete(
        call.scope, call.thread_id, child_strategy=asked.child_strategy, force=asked.force
    )
    return Response(None, 204)


async def fork_thread(call: Call) -> Response:
    asked = call.body(ThreadFork)
    thread = await call.mailbox.threads.fork(
        call.scope,
        call.thread_id,
        at_seq=asked.at_seq,
        at_message_id=asked.at_message_id,
        new_thread_id=(asked.thread_id or "").strip(),
        title=asked.title,
    )
    place = {"Location": call.link("v1", "threads", thread.thread_id)}
    return json_response(ThreadResource.of(call.scope, thread), 201, place)


async def list_messages(call: Call) -> Response:
    asked, thread_id = call.query(MessageFilters), call.thread_id
    filters = [thread_id, asked.order, asked.after, asked.before, asked.visibility, asked.run_id, asked.view]
    thread = await call.mailbox.get_thread(call.scope, thread_id)
    start = start_of_page(asked.cursor, "messages", filters)
    window = MessageQuery(
        after=asked.after,
        before=asked.before,
        limit=asked.limit,
        descending=asked.order == "desc",
        visibility=VISIBILITIES[asked.visibility],
        run_id=None if asked.run_id is None else RunId(asked.run_id),
        view=asked.view,
    )
    if start is not None:
        window = msgspec.structs.replace(window, **({"before": start} if window.descending else {"after": start}))
    page = await call.reads.page_messages(call.scope, thread_id, window)
    items = tuple([MessageResource.of(thread_id, stored) for stored in page.items])
    cursor = next_cursor(page, "messages", filters)
    answer = MessageList(
        items=items,
        has_more=cursor is not None,
        next_cursor=cursor,
        version=thread.message_count,
        unreadable=page.unreadable,
    )
    return json_response(answer)


async def cancel_thread(call: Call) -> Response:
    """Stop what the thread is executing; its queue goes on."""
    wait_s = call.query(Stopping).seconds(call.service.settings.cancel_wait_s)
    return await answer_stop(call, call.mailbox.cancel_thread(call.scope, call.thread_id, wait_s=wait_s))


async def interrupt_thread(call: Call) -> Response:
    """Stop what the thread is executing and clear its queue."""
    wait_s = call.query(Stopping).seconds(call.service.settings.cancel_wait_s)
    done = await call.while_connected(call.mailbox.interrupt(call.scope, call.thread_id, wait_s=wait_s))
    idle = done.active_run_id is None and not done.superseded
    answer = InterruptResource(
        epoch=done.epoch, active_run_id=done.active_run_id, superseded=done.superseded, cancel=done.cancel
    )
    return json_response(answer, 200 if idle else 202)


THREAD_OPERATIONS: Final = (
    Operation(
        method="POST",
        path="/v1/threads",
        id="create_thread",
        summary="Make a thread",
        handler=create_thread,
        body=ThreadCreate,
        carries_messages=True,
        answers={201: ThreadResource, 200: ThreadResource},
        problems=("already_exists", "thread_not_found", "thread_deleted", "invalid_id"),
    ),
    Operation(
        method="GET",
        path="/v1/threads",
        id="list_threads",
        summary="List threads, most recently active first",
        handler=list_threads,
        query=ThreadFilters,
        answers={200: ThreadList},
        problems=("cursor_mismatch", "invalid_id"),
    ),
    Operation(
        method="GET",
        path="/v1/threads/{thread_id}",
        id="get_thread",
        summary="Read a thread",
        handler=get_thread,
        answers={200: ThreadResource},
        problems=("thread_not_found", "invalid_id"),
    ),
    Operation(
        method="PATCH",
        path="/v1/threads/{thread_id}",
        id="edit_thread",
        summary="Change what is said about a thread",
        handler=edit_thread,
        body=ThreadEdit,
        answers={200: ThreadResource},
        problems=("thread_not_found", "thread_deleted", "invalid_id", "lineage_cycle", "precondition_failed"),
    ),
    Operation(
        method="DELETE",
        path="/v1/threads/{thread_id}",
        id="delete_thread",
        summary="Delete a thread",
        handler=delete_thread,
        query=Deleting,
        answers={204: None},
        problems=("thread_not_found", "invalid_id", "thread_busy", "has_children"),
    ),
    Operation(
        method="POST",
        path="/v1/threads/{thread_id}/fork",
        id="fork_thread",
        summary="Make a thread of what is read of this one, up to a message",
        handler=fork_thread,
        body=ThreadFork,
        answers={201: ThreadResource},
        problems=("thread_not_found", "message_not_found", "already_exists", "thread_deleted", "invalid_id"),
    ),
    Operation(
        method="GET",
        path="/v1/threads/{thread_id}/messages",
        id="list_messages",
        summary="Read the conversation, oldest message first",
        handler=list_messages,
        query=MessageFilters,
        answers={200: MessageList},
        problems=("thread_not_found", "invalid_id", "cursor_mismatch"),
    ),
    Operation(
        method="POST",
        path="/v1/threads/{thread_id}/cancel",
        id="cancel_thread",
        summary="Stop the run the thread is executing; its queue goes on",
        handler=cancel_thread,
        query=Stopping,
        answers={202: CancelResource, 200: CancelResource},
        problems=("thread_not_found", "invalid_id"),
    ),
    Operation(
        method="POST",
        path="/v1/threads/{thread_id}/interrupt",
        id="interrupt_thread",
        summary="Stop the run the thread is executing and clear its queue",
        handler=interrupt_thread,
        query=Stopping,
        answers={202: InterruptResource, 200: InterruptResource},
        problems=("thread_not_found", "thread_deleted", "invalid_id"),
    ),
)
