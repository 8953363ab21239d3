"""Operations that are not this API's own, handed to the application beside them: notes, put, patched and deleted.

They keep nothing. The methods are those that the API itself does not use yet, so that what holds for every operation is
tested for every method.
"""

from __future__ import annotations

from typing import Any, Final

import msgspec
from starlette.responses import Response

from awaken.http.operation import Call, Operation, json_response
from awaken.http.submission import Body


class NoteWrite(Body, frozen=True, kw_only=True):
    input: str | None = None
    metadata: dict[str, Any] | None = None


class Note(msgspec.Struct, frozen=True):
    note_id: str
    text: str


async def read_note(call: Call) -> Response:
    return json_response(Note(call.path_id("note_id"), "as it was"))


async def write_note(call: Call) -> Response:
    return json_response(Note(call.path_id("note_id"), call.body(NoteWrite).input or ""))


async def delete_note(call: Call) -> Response:
    call.path_id("note_id")
    return Response(status_code=204)


NOTE_OPERATIONS: Final = (
    Operation(
        method="GET",
        path="/notes/{note_id}",
        id="read_note",
        summary="Read a note",
        handler=read_note,
        answers={200: Note},
        problems=("invalid_id",),
    ),
    Operation(
        method="PUT",
        path="/notes/{note_id}",
        id="put_note",
        summary="Write a note",
        handler=write_note,
        body=NoteWrite,
        answers={200: Note},
        problems=("invalid_id",),
    ),
    Operation(
        method="PATCH",
        path="/notes/{note_id}",
        id="patch_note",
        summary="Change a note",
        handler=write_note,
        body=NoteWrite,
        answers={200: Note},
        problems=("invalid_id",),
    ),
    Operation(
        method="DELETE",
        path="/notes/{note_id}",
        id="delete_note",
        summary="Delete a note, with a word on why",
        handler=delete_note,
        body=NoteWrite,
        answers={204: None},
        problems=("invalid_id",),
    ),
)
