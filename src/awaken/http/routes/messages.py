"""Messages for runs that are there: send, follow what becomes of them, change them until they are taken.

Source: docs/reference/http.md; docs/howto/steer-a-running-agent.md; SRV-011, SRV-012, SRV-013.
"""

from __future__ import annotations

import re
from typing import Annotated, ClassVar, Final, Literal, get_args

from msgspec import Meta
from msgspec.structs import replace
from starlette.responses import Response

from awaken.domain.delivery import Delivery, Mode
from awaken.domain.dispatch import DEFAULT_PRIORITY
from awaken.domain.errors import ValidationError
from awaken.domain.ids import MessageId, RunId, Scope
from awaken.domain.message import Message, Role, Text
from awaken.domain.pending import Granularity, WaitsAt
from awaken.domain.run import Adapter, Trace
from awaken.http.etags import etag, if_match
from awaken.http.message_wire import PendingMessages, PendingResource, ReceiptResource, SentResource
from awaken.http.operation import Call, Operation, json_response
from awaken.http.problems import Problem, invalid
from awaken.http.query import Query
from awaken.http.settings import MAX_WAIT_S
from awaken.http.submission import (
    Attempts,
    Body,
    DedupeKey,
    Id,
    InputMessages,
    InputText,
    MessageInput,
    Metadata,
    Priority,
    check_metadata,
    to_messages,
)
from awaken.mailbox.submission import RunSubmission

_OTHER_MODES: dict[str, Mode] = {
    "live_then_queue": "steer",
    "interrupt_then_queue": "interrupt",
    "resume_open_run": "resume",
    "enqueue": "queue",
}
"""Other names of the same mode."""
SentMode = Literal[
    "queue", "reject", "interrupt", "rollback", "steer", "follow_up", "resume", "live_then_queue",
    "interrupt_then_queue", "resume_open_run", "enqueue",
]  # fmt: skip


class MessageCreate(Body, frozen=True, kw_only=True):
    """Messages for a thread, or for a run that is there. One of `messages` and `input` is required."""

    messages: InputMessages | None = None
    input: InputText | None = None
    mode: SentMode | None = None
    """Absent: `queue` for a thread, `steer` for a run."""
    agent_id: str | None = None
    """Whom a run of their own would be for; else the agent of the run that they are for, or the thread's last one."""
    target_run_id: Id | None = None
    granularity: Granularity = "batch"
    barrier: bool = False
    fallback_to_new_run: bool = True
    interrupt_id: Id | None = None
    """With `interrupt`: several requests that share it clear the thread once."""
    dedupe_key: DedupeKey | None = None
    priority: Priority | None = None
    max_attempts: Attempts | None = None
    metadata: Metadata | None = None
    """Of a run of their own."""

    def to_submission(self, scope: Scope, thread_id: str, run_id: RunId | None) -> RunSubmission:
        """What the mailbox is asked for. Raises ValidationError."""
        target = self.target_run_id if run_id is None else run_id
        if run_id is not None and self.target_run_id not in (None, run_id):
            raise ValidationError("the run in the body is not the run in the path", loc=("body", "target_run_id"))
        if self.metadata:
            check_metadata(self.metadata)
        asked = self.mode or ("queue" if run_id is None else "steer")
        mode: Mode = _OTHER_MODES.get(asked, asked)  # pyright: ignore[reportAssignmentType]
        return RunSubmission(
            scope=scope,
            thread_id=thread_id,
            messages=self._messages(),
            agent_id=self.agent_id,
            delivery=Delivery(
                priority=DEFAULT_PRIORITY if self.priority is None else self.priority,
                max_attempts=self.max_attempts,
                dedupe_key=self.dedupe_key,
                mode=mode,
                target_run_id=None if target is None else RunId(target),
                granularity=self.granularity,
                barrier=self.barrier,
                fallback_to_new_run=self.fallback_to_new_run,
                interrupt_id=self.interrupt_id,
            ),
            metadata=self.metadata or {},
            create_thread=False,
            trace=Trace(adapter=Adapter.HTTP),
        )

    def _messages(self) -> tuple[Message, ...]:
        if (self.messages is None) == (self.input is None):
            raise ValidationError("give either messages or input", loc=("body", "messages"))
        if self.messages is not None:
            return to_messages(self.messages, "messages")
        return (Message(id=MessageId(""), role=Role.USER, content=(Text(self.input or ""),)),)


class PendingChange(Body, frozen=True, kw_only=True):
    """What is given is changed. Of a message of a queued run that is the content alone."""

    message: MessageInput | None = None
    boundary: WaitsAt | None = None
    barrier: bool | None = None

    def to_message(self) -> Message | None:
        """Raises ValidationError."""
        return None if self.message is None else to_messages([self.message], "message")[0]


class PendingOrder(Body, frozen=True, kw_only=True):
    """Everything that is pending, in the order wanted."""

    message_ids: list[Id]


class ReceiptWait(Query, frozen=True, kw_only=True):
    wait_s: Annotated[float, Meta(ge=0, le=MAX_WAIT_S)] = 0.0
    may_wait: ClassVar[bool] = True

    @property
    def waits(self) -> bool:
        return self.wait_s > 0

    """Answer when the fate is final, within so many seconds."""


_REVISION: Final = re.compile(r'(?:W/)?"?([0-9a-f]{16})"?', re.ASCII)


# --- sending ----------------------------------------------------------------------------------------------------------


async def send_messages(call: Call) -> Response:
    return await _send(call, call.thread_id, None)


async def send_messages_to_run(call: Call) -> Response:
    return await _send(call, "", call.run_id)


async def _send(call: Call, thread_id: str, run_id: RunId | None) -> Response:
    submission = call.body(MessageCreate).to_submission(call.scope, thread_id, run_id)
    submission = replace(submission, trace=call.trace(submission.trace))
    sent = SentResource.of(await call.mailbox.messages.send(submission))
    place = call.link("v1", "runs", sent.run_id)
    headers = {"Content-Location": place, "Location": f"{place}/stream"}
    return json_response(sent, 200 if sent.replayed else 202, headers)


# --- receipts ---------------------------------------------------------------------------------------------------------


async def get_receipt(call: Call) -> Response:
    return await _receipt(call, None)


async def get_thread_receipt(call: Call) -> Response:
    return await _receipt(call, call.thread_id)


async def _receipt(call: Call, thread_id: str | None) -> Response:
    wait_s = call.query(ReceiptWait).wait_s
    waiting = call.mailbox.messages.receipt(call.scope, call.path_id("message_id"), thread_id=thread_id, wait_s=wait_s)
    return json_response(ReceiptResource.of(await call.while_connected(waiting)))


# --- what waits -------------------------------------------------------------------------------------------------------


async def list_pending(call: Call) -> Response:
    thread_id = call.thread_id
    pending = PendingMessages.of(thread_id, await call.mailbox.messages.pending(call.scope, thread_id))
    return json_response(pending, 200, {"ETag": f'"{pending.revision}"'})


async def edit_pending(call: Call) -> Response:
    asked, revision = call.body(PendingChange), _required(call)
    changed = await call.mailbox.messages.edit(
        call.scope,
        call.thread_id,
        call.path_id("message_id"),
        if_version=revision,
        message=asked.to_message(),
        boundary=asked.boundary,
        barrier=asked.barrier,
    )
    return json_response(PendingResource.of_changed(changed), 200, {"ETag": etag(changed.edited.revision)})


async def retract_pending(call: Call) -> Response:
    revision = _required(call)
    await call.mailbox.messages.retract(call.scope, call.thread_id, call.path_id("message_id"), if_version=revision)
    return Response(status_code=204)


async def reorder_pending(call: Call) -> Response:
    asked, thread_id = call.body(PendingOrder), call.thread_id
    await call.mailbox.messages.reorder(call.scope, thread_id, asked.message_ids, if_version=_of_the_list(call))
    return await list_pending(call)


def _required(call: Call) -> int | None:
    """The revision of a message that the request names; None for `*`. Raises Problem where it names none."""
    _require(call)
    return if_match(call)


def _of_the_list(call: Call) -> str | None:
    """As `_required`, of the list."""
    asked = _require(call)
    if asked == "*":
        return None
    found = _REVISION.fullmatch(asked)
    if found is None:
        raise invalid(
            "invalid_request", "If-Match names the revision of the list, as its ETag does", "header", "if-match"
        )
    return found[1]


def _require(call: Call) -> str:
    asked = call.header(b"if-match")
    if asked is None:
        raise Problem(
            "precondition_required",
            "say with If-Match which revision you have seen: the ETag of what you read, or * for whichever it is",
        )
    return asked.strip()


# --- the operations ---------------------------------------------------------------------------------------------------

_SENDING: Final = (
    "already_accepted", "already_exists", "delivery_blocked", "invalid_id", "queue_full", "run_not_found",
    "run_not_open", "run_not_waiting", "thread_busy", "thread_deleted", "unknown_agent",
)  # fmt: skip
_CHANGING: Final = (
    "message_not_found", "thread_deleted", "invalid_id", "already_consumed", "precondition_failed",
    "precondition_required",
)  # fmt: skip


def _to_run(suffix: str, id: str) -> Operation:
    return Operation(
        method="POST",
        path=f"/v1/runs/{{run_id}}/{suffix}",
        id=id,
        summary="Send messages to a run that is under way, or waits",
        handler=send_messages_to_run,
        body=MessageCreate,
        carries_messages=True,
        answers={202: SentResource, 200: SentResource},
        problems=_SENDING,
    )


MESSAGE_OPERATIONS: Final = (
    Operation(
        method="POST",
        path="/v1/threads/{thread_id}/messages",
        id="send_messages",
        summary="Send messages to a thread, and say how they are to be taken",
        handler=send_messages,
        body=MessageCreate,
        carries_messages=True,
        answers={202: SentResource, 200: SentResource},
        problems=("thread_not_found", *_SENDING),
    ),
    _to_run("messages", "send_messages_to_run"),
    _to_run("inputs", "send_input_to_run"),
    Operation(
        method="GET",
        path="/v1/threads/{thread_id}/messages/{message_id}/receipt",
        id="get_thread_receipt",
        summary="Read what has become of a message of a thread",
        handler=get_thread_receipt,
        query=ReceiptWait,
        answers={200: ReceiptResource},
        problems=("thread_not_found", "message_not_found", "invalid_id"),
    ),
    Operation(
        method="GET",
        path="/v1/messages/{message_id}/receipt",
        id="get_receipt",
        summary="Read what has become of a message, where one thread has it",
        handler=get_receipt,
        query=ReceiptWait,
        answers={200: ReceiptResource},
        problems=("message_not_found", "invalid_id", "conflict"),
    ),
    Operation(
        method="GET",
        path="/v1/threads/{thread_id}/pending",
        id="list_pending",
        summary="List the messages that wait for runs of a thread, in order",
        handler=list_pending,
        answers={200: PendingMessages},
        problems=("thread_not_found", "invalid_id"),
    ),
    Operation(
        method="PATCH",
        path="/v1/threads/{thread_id}/pending/{message_id}",
        id="edit_pending",
        summary="Change a message that nobody has taken yet",
        handler=edit_pending,
        body=PendingChange,
        carries_messages=True,
        answers={200: PendingResource},
        problems=_CHANGING,
    ),
    Operation(
        method="DELETE",
        path="/v1/threads/{thread_id}/pending/{message_id}",
        id="retract_pending",
        summary="Take back a message that nobody has taken yet",
        handler=retract_pending,
        answers={204: None},
        problems=_CHANGING,
    ),
    Operation(
        method="PUT",
        path="/v1/threads/{thread_id}/pending/order",
        id="reorder_pending",
        summary="Put what waits into another order",
        handler=reorder_pending,
        body=PendingOrder,
        answers={200: PendingMessages},
        problems=("thread_not_found", *_CHANGING),
    ),
)

assert {*get_args(SentMode)} == {*get_args(Mode), *_OTHER_MODES}, "every mode can be asked for"
