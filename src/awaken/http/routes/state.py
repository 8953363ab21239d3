"""The state of a thread, and what is hidden of its conversation.

Source: docs/concepts/state-and-view.md; docs/reference/http.md.
"""

from __future__ import annotations

from typing import Any, Final

from starlette.responses import Response

from awaken.domain.ids import MessageId
from awaken.http.etags import etag, if_match
from awaken.http.operation import Call, Operation, json_response
from awaken.http.submission import Body
from awaken.http.wire import HidingResource, StateResource, shown_hiding, shown_state


class StatePatch(Body, frozen=True, kw_only=True):
    """A merge patch (RFC 7396): null removes a key, an object is merged, anything else replaces."""

    values: dict[str, Any]


async def get_state(call: Call) -> Response:
    """One consistent snapshot: whoever shows it and then follows the log from its cursor misses nothing."""
    snapshot = await call.mailbox.threads.snapshot(call.scope, call.thread_id)
    state = shown_state(call.scope, snapshot)
    return json_response(state, 200, {"ETag": etag(state.version)})


async def patch_state(call: Call) -> Response:
    asked = call.body(StatePatch)
    await call.mailbox.threads.patch_state(call.scope, call.thread_id, asked.values, if_version=if_match(call))
    return await get_state(call)


async def hide_message(call: Call) -> Response:
    message_id = MessageId(call.path_id("message_id"))
    spans = await call.mailbox.threads.hide(call.scope, call.thread_id, message_id)
    return json_response(shown_hiding(spans))


STATE_OPERATIONS: Final = (
    Operation(
        method="GET",
        path="/v1/threads/{thread_id}/state",
        id="get_state",
        summary="Read the state of a thread",
        handler=get_state,
        answers={200: StateResource},
        problems=("thread_not_found", "invalid_id"),
    ),
    Operation(
        method="PATCH",
        path="/v1/threads/{thread_id}/state",
        id="patch_state",
        summary="Change the state of a thread",
        handler=patch_state,
        body=StatePatch,
        carries_messages=True,
        answers={200: StateResource},
        problems=("thread_not_found", "thread_deleted", "invalid_id", "precondition_failed", "state_too_large"),
    ),
    Operation(
        method="POST",
        path="/v1/threads/{thread_id}/messages/{message_id}/hide",
        id="hide_message",
        summary="Have a message of the conversation read no more",
        handler=hide_message,
        answers={200: HidingResource},
        problems=("thread_not_found", "thread_deleted", "message_not_found", "invalid_id", "thread_busy"),
    ),
)
