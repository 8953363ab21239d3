"""Several threads and runs on one stream.

Source: docs/reference/http.md; docs/howto/stream-and-resume.md.
"""

from __future__ import annotations

from contextlib import suppress
from typing import Annotated, Final

from msgspec import Meta
from starlette.responses import Response

from awaken.domain.cursor import event_seq
from awaken.domain.errors import ValidationError, WatchedNotFound
from awaken.domain.run import Run
from awaken.domain.watching import Scopes, no_cursor, read_scopes
from awaken.http.operation import Call, Operation
from awaken.http.problems import invalid
from awaken.http.routes.watching import Watching, selection_of
from awaken.http.watched import Watched, WatchStream
from awaken.http.wire import RunResource, ThreadResource


class WatchQuery(Watching, frozen=True, kw_only=True):
    on: Annotated[str, Meta(min_length=1)] | None = None
    """Ids of threads and runs, at most 20, separated by commas, each with the cursor after which it is followed behind
    an `@`. Without a cursor a run is followed from its start, a thread from now on. `thread:` or `run:` before an id
    says what it is, where there are both."""
    hints: bool | None = None
    """Also what happens anywhere else, in short. True when nothing is named, false otherwise."""


async def watch(call: Call) -> Response:
    asked = call.query(WatchQuery)
    scopes: Scopes = {} if asked.on is None else read_scopes(asked.on)
    hints = not scopes if asked.hints is None else asked.hints
    if not scopes and not hints:
        raise invalid("invalid_request", "nothing is named that could be watched; name it with on", "query", "on")
    selection = selection_of(asked)
    try:
        watched = {name: await _watched(call, name, cursor) for name, cursor in scopes.items()}
    except WatchedNotFound as error:
        await _check_cursor(call, asked.on or "", error)
        raise
    return WatchStream(call, watched, selection, hints=hints)


async def _watched(call: Call, name: str, cursor: str | None) -> Watched:
    """Raises WatchedNotFound; ValidationError for a cursor of another thread."""
    of = await call.mailbox.get_watched(call.scope, name)
    start = of.first_event_seq - 1 if isinstance(of, Run) else 0
    first, last = await call.reads.event_bounds(call.scope, of.thread_id)
    if cursor is None:
        return Watched(of=of, after=max(start, first - 1) if isinstance(of, Run) else last)
    after = max(event_seq(cursor, call.scope, of.thread_id, "query", "on"), start)
    if first - 1 <= after <= last:
        return Watched(of=of, after=after)
    if isinstance(of, Run):
        of = await call.mailbox.get_run(call.scope, of.run_id)  # as it is now, which is behind the bounds
        dispatch = (await call.reads.load_dispatches(call.scope, [of.dispatch_id])).get(of.dispatch_id)
        state = RunResource.of(call.scope, of, dispatch, reads_dispatch=True)
        return Watched(of=of, after=of.updated_seq, resync=state)
    of = await call.mailbox.get_thread(call.scope, of.thread_id)
    return Watched(of=of, after=of.event_count, resync=ThreadResource.of(call.scope, of))


async def _check_cursor(call: Call, on: str, error: WatchedNotFound) -> None:
    """Raises ValidationError where what was not found is an id that there is, with a cursor that is none."""
    id, at, cursor = error.id.rpartition("@")
    if at and error.id in on.split(","):  # with a lone `@` behind it, it was meant to be an id
        with suppress(WatchedNotFound, ValidationError):
            await call.mailbox.get_watched(call.scope, id)
            raise invalid("invalid_request", no_cursor(cursor), "query", "on")


WATCH_OPERATIONS: Final = (
    Operation(
        method="GET",
        path="/v1/watch",
        id="watch",
        summary="Stream the events of several threads and runs, and hints of what else happens",
        handler=watch,
        query=WatchQuery,
        answers={200: "text/event-stream"},
        problems=("watched_not_found", "invalid_id", "cursor_mismatch"),
    ),
)
