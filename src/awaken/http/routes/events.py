"""Events of a thread or a run: as a page, and as a stream.

Holds: an item of a page has the bytes that a frame of a stream has.

Source: docs/reference/http.md; SRV-020, SRV-023.
"""

from __future__ import annotations

from typing import Final

import msgspec
from starlette.responses import Response

from awaken.domain.cursor import event_cursor, event_seq
from awaken.domain.event import CHANNELS
from awaken.domain.ids import RunId, ThreadId
from awaken.domain.selection import CHANNEL_NAMES, Selection, select
from awaken.http.encoder import event_objects
from awaken.http.operation import Call, Operation
from awaken.http.query import ChannelNames, KindNames, Paging, parse_names
from awaken.http.routes.watching import RunResuming, ThreadResuming, check_reached, watch_run, watch_thread
from awaken.http.wire import EventList

_SCAN_PAGE: Final = 256
_MAX_SCANNED: Final = 4096
"""A page whose filter matches little ends after this many events; its cursor leads on."""
_CHANNELS: Final = frozenset(CHANNEL_NAMES)
_KINDS: Final = frozenset(CHANNELS)


class EventFilters(Paging, frozen=True, kw_only=True):
    channels: ChannelNames | None = None
    """Separated by commas; all but `debug` when absent."""
    kinds: KindNames | None = None
    """Separated by commas."""
    include_deltas: bool = True


class EventPage(msgspec.Struct):
    """Items already encoded, how far the log was read for them, whether it goes on, and what of it is damaged."""

    items: list[bytes]
    reached: int
    has_more: bool
    unreadable: list[str]


async def list_thread_events(call: Call) -> Response:
    thread = await call.mailbox.get_thread(call.scope, call.thread_id)
    return await _page(call, thread.thread_id, None, at_start=0)


async def list_run_events(call: Call) -> Response:
    run = await call.mailbox.get_run(call.scope, call.run_id)
    return await _page(call, run.thread_id, run.run_id, at_start=run.first_event_seq - 1)


async def _page(call: Call, thread_id: ThreadId, run_id: RunId | None, *, at_start: int) -> Response:
    asked = call.query(EventFilters)
    after = at_start
    if asked.cursor is not None:
        after = event_seq(asked.cursor, call.scope, thread_id, "query", "cursor")
        await check_reached(call, thread_id, after)
        after = max(after, at_start)
    kinds = parse_names(asked.kinds, _KINDS, "kinds")
    channels = parse_names(asked.channels, _CHANNELS, "channels")
    if channels is None and kinds is not None:
        channels = _CHANNELS  # a kind asked for by name is wanted whatever channel it is in
    found = await _read(call, thread_id, run_id, after, asked.limit, select(channels, asked.include_deltas, kinds))
    cursor = event_cursor(call.scope, thread_id, found.reached)
    more = b"true" if found.has_more else b"false"
    body = b'{"items":[%b],"has_more":%b,"next_cursor":"%b","unreadable":%b}' % (
        b",".join(found.items),
        more,
        cursor.encode(),
        msgspec.json.encode(found.unreadable),
    )
    return Response(body, media_type="application/json")


async def _read(
    call: Call, thread_id: ThreadId, run_id: RunId | None, after: int, limit: int, selection: Selection
) -> EventPage:
    page, scanned = EventPage([], after, has_more=True, unreadable=[]), 0
    while scanned < _MAX_SCANNED:
        read = await call.reads.page_events(call.scope, thread_id, after=page.reached, limit=_SCAN_PAGE, run_id=run_id)
        page.unreadable += read.unreadable
        for row in read.items:
            for seq, _, object_ in event_objects(row, selection):
                if len(page.items) == limit:
                    return page
                page.items.append(object_)
                page.reached = seq
            page.reached = row.last_seq
        if read.next is None:
            page.has_more = False
            break
        page.reached = read.next
        scanned += _SCAN_PAGE
    return page


async def stream_thread_events(call: Call) -> Response:
    thread = await call.mailbox.get_thread(call.scope, call.thread_id)
    return await watch_thread(call, thread, call.query(ThreadResuming))


async def stream_run_events(call: Call) -> Response:
    run = await call.mailbox.get_run(call.scope, call.run_id)
    return await watch_run(call, run, call.query(RunResuming))


_STREAM_PROBLEMS: Final = ("invalid_id", "cursor_mismatch", "cursor_expired", "too_many_streams")


def _stream(path: str, id: str, what: str) -> Operation:
    of_run = what == "run"
    return Operation(
        method="GET",
        path=path,
        id=id,
        summary=f"Stream the events of a {what}",
        handler=stream_run_events if of_run else stream_thread_events,
        query=RunResuming if of_run else ThreadResuming,
        answers={200: "text/event-stream", **({204: None} if of_run else {})},
        problems=(f"{what}_not_found", *_STREAM_PROBLEMS),
    )


EVENT_OPERATIONS: Final = (
    Operation(
        method="GET",
        path="/v1/threads/{thread_id}/events",
        id="list_thread_events",
        summary="Read the events of a thread, oldest first",
        handler=list_thread_events,
        query=EventFilters,
        answers={200: EventList},
        problems=("thread_not_found", "invalid_id", "cursor_mismatch", "cursor_expired"),
    ),
    Operation(
        method="GET",
        path="/v1/runs/{run_id}/events",
        id="list_run_events",
        summary="Read the events of a run, oldest first",
        handler=list_run_events,
        query=EventFilters,
        answers={200: EventList},
        problems=("run_not_found", "invalid_id", "cursor_mismatch", "cursor_expired"),
    ),
    _stream("/v1/threads/{thread_id}/events/stream", "stream_thread_events", "thread"),
    _stream("/v1/threads/{thread_id}/stream", "stream_thread", "thread"),
    _stream("/v1/runs/{run_id}/events/stream", "stream_run_events", "run"),
    _stream("/v1/runs/{run_id}/stream", "stream_run", "run"),
)
