"""Schedules: make, list, change, pause, delete.

Source: docs/reference/http.md; docs/howto/schedule-a-run.md.
"""

from __future__ import annotations

from typing import Annotated, Any, Final

from msgspec import Meta
from starlette.responses import Response

from awaken.domain.errors import ValidationError
from awaken.domain.ids import AgentId, MessageId, ThreadId
from awaken.domain.message import Message, Role, Text
from awaken.domain.schedule import (
    MAX_CRON_CHARS,
    MAX_EVERY_S,
    MAX_NAME_CHARS,
    MIN_EVERY_S,
    Missed,
    Overlap,
    ScheduleSpec,
    check_schedule_name,
)
from awaken.http.operation import Call, Operation, json_response
from awaken.http.query import Paging
from awaken.http.routes.lists import next_cursor, start_of_page
from awaken.http.schedule_wire import ScheduleList, ScheduleResource
from awaken.http.submission import Body, Id, InputMessages, InputText, Metadata, check_metadata, to_messages

Name = Annotated[str, Meta(extra_json_schema={"pattern": f"^[A-Za-z0-9._-]{{1,{MAX_NAME_CHARS}}}$"})]
Cron = Annotated[str, Meta(extra_json_schema={"maxLength": MAX_CRON_CHARS})]
Every = Annotated[int, Meta(extra_json_schema={"minimum": MIN_EVERY_S, "maximum": MAX_EVERY_S})]


class ScheduleChange(Body, frozen=True, kw_only=True):
    """What is given is changed; `cron` takes the place of `every_s`, and the reverse."""

    agent_id: str | None = None
    input: InputText | None = None
    messages: InputMessages | None = None
    """In the place of `input`."""
    cron: Cron | None = None
    every_s: Every | None = None
    zone: str | None = None
    overlap: Overlap | None = None
    missed: Missed | None = None
    thread_id: Id | None = None
    metadata: Metadata | None = None

    def changes(self) -> dict[str, Any]:
        """The fields of the spec that are given. Raises ValidationError."""
        names = ("cron", "every_s", "zone", "overlap", "missed")
        found: dict[str, Any] = {name: getattr(self, name) for name in names if getattr(self, name) is not None}
        if len(found.keys() & {"cron", "every_s"}) == 1:
            found = {"cron": None, "every_s": None} | found
        if self.agent_id is not None:
            found["agent_id"] = AgentId(self.agent_id)
        if self.thread_id is not None:
            found["thread_id"] = ThreadId(self.thread_id)
        if self.metadata is not None:
            check_metadata(self.metadata)
            found["metadata"] = self.metadata
        if self.input is not None or self.messages is not None:
            found["messages"] = self._messages()
        return found

    def _messages(self) -> tuple[Message, ...]:
        if self.input is not None and self.messages is not None:
            raise ValidationError("give either messages or input", loc=("body", "messages"))
        if self.messages is not None:
            return to_messages(self.messages, "messages")
        return (Message(id=MessageId(""), role=Role.USER, content=(Text(self.input or ""),)),)


class ScheduleCreate(ScheduleChange, frozen=True, kw_only=True):
    """A schedule. One of `messages` and `input`, and one of `cron` and `every_s`, is required."""

    name: Name

    def to_spec(self) -> ScheduleSpec:
        """Raises ValidationError."""
        fields: dict[str, Any] = {"agent_id": AgentId(""), "messages": (), **self.changes()}
        return ScheduleSpec(name=self.name, **fields)


def _name(call: Call) -> str:
    try:
        return check_schedule_name(call.ids["name"])
    except ValidationError as error:
        raise ValidationError(str(error), code=error.code, loc=("path", "name")) from None


async def create_schedule(call: Call) -> Response:
    schedule, is_new = await call.mailbox.schedules.make(call.scope, call.body(ScheduleCreate).to_spec())
    place = {"Location": call.link("v1", "schedules", schedule.spec.name)}
    return json_response(ScheduleResource.of(schedule), 201 if is_new else 200, place)


async def list_schedules(call: Call) -> Response:
    asked = call.query(Paging)
    page = await call.mailbox.schedules.page(
        call.scope, after=start_of_page(asked.cursor, "schedules", ()), limit=asked.limit
    )
    items = tuple([ScheduleResource.of(schedule) for schedule in page.items])
    cursor = next_cursor(page, "schedules", ())
    answer = ScheduleList(items=items, has_more=cursor is not None, next_cursor=cursor, unreadable=page.unreadable)
    return json_response(answer)


async def get_schedule(call: Call) -> Response:
    return json_response(ScheduleResource.of(await call.mailbox.schedules.get(call.scope, _name(call))))


async def change_schedule(call: Call) -> Response:
    changes = call.body(ScheduleChange).changes()
    return json_response(ScheduleResource.of(await call.mailbox.schedules.change(call.scope, _name(call), changes)))


async def pause_schedule(call: Call) -> Response:
    return json_response(ScheduleResource.of(await call.mailbox.schedules.pause(call.scope, _name(call))))


async def resume_schedule(call: Call) -> Response:
    return json_response(ScheduleResource.of(await call.mailbox.schedules.resume(call.scope, _name(call))))


async def delete_schedule(call: Call) -> Response:
    await call.mailbox.schedules.remove(call.scope, _name(call))
    return Response(status_code=204)


_ONE: Final = ("schedule_not_found", "invalid_id")

SCHEDULE_OPERATIONS: Final = (
    Operation(
        method="POST",
        path="/v1/schedules",
        id="create_schedule",
        summary="Make a schedule",
        handler=create_schedule,
        body=ScheduleCreate,
        carries_messages=True,
        answers={201: ScheduleResource, 200: ScheduleResource},
        problems=("already_exists", "invalid_id", "unknown_agent", "too_many_schedules"),
    ),
    Operation(
        method="GET",
        path="/v1/schedules",
        id="list_schedules",
        summary="List schedules in the order in which they were made",
        handler=list_schedules,
        query=Paging,
        answers={200: ScheduleList},
        problems=("cursor_mismatch",),
    ),
    Operation(
        method="GET",
        path="/v1/schedules/{name}",
        id="get_schedule",
        summary="Read a schedule",
        handler=get_schedule,
        answers={200: ScheduleResource},
        problems=_ONE,
    ),
    Operation(
        method="PATCH",
        path="/v1/schedules/{name}",
        id="change_schedule",
        summary="Change a schedule",
        handler=change_schedule,
        body=ScheduleChange,
        carries_messages=True,
        answers={200: ScheduleResource},
        problems=(*_ONE, "schedule_declared", "unknown_agent"),
    ),
    Operation(
        method="DELETE",
        path="/v1/schedules/{name}",
        id="delete_schedule",
        summary="Delete a schedule; the runs that it has begun go on",
        handler=delete_schedule,
        answers={204: None},
        problems=(*_ONE, "schedule_declared"),
    ),
    Operation(
        method="POST",
        path="/v1/schedules/{name}/pause",
        id="pause_schedule",
        summary="Have a schedule begin nothing until it is resumed",
        handler=pause_schedule,
        answers={200: ScheduleResource},
        problems=_ONE,
    ),
    Operation(
        method="POST",
        path="/v1/schedules/{name}/resume",
        id="resume_schedule",
        summary="Have a paused schedule go on with its next instant",
        handler=resume_schedule,
        answers={200: ScheduleResource},
        problems=_ONE,
    ),
)
