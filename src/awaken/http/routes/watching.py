"""Where a stream begins, and the answer that carries it on.

Above: the handlers that stream. Below: cursors, the mailbox's readers, `sse`.
Holds: everything that can be refused has been refused before the first byte. A place beyond the end of the log (the
store was restored from a backup) is refused when it was asked for, and mended by a `stream.resync` when a client
merely reconnected.

Source: docs/concepts/events.md; docs/reference/http.md; SRV-022, SRV-023.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, Literal

import msgspec
from starlette.responses import Response

from awaken.domain.cursor import event_cursor, event_seq
from awaken.domain.errors import CursorExpired
from awaken.domain.ids import RunId, ThreadId
from awaken.domain.run import Run, RunStatus
from awaken.domain.selection import CHANNEL_NAMES, Selection, select
from awaken.domain.thread import Thread
from awaken.http.encoder import NATIVE, NativeEncoder
from awaken.http.frames import Opening
from awaken.http.operation import Call
from awaken.http.query import ChannelNames, Query, parse_names
from awaken.http.sse import EventStream, Waits
from awaken.http.wire import RunResource, ThreadResource

_CHANNELS: Final = frozenset(CHANNEL_NAMES)
_LAST_EVENT_ID: Final = b"last-event-id"
_SCAN_PAGE: Final = 256


class Watching(Query, frozen=True, kw_only=True):
    """Which events, of a stream that starts with its run."""

    channels: ChannelNames | None = None
    """Separated by commas; all but `debug` when absent."""
    include_deltas: bool = True
    """False: only what is committed."""


class Resuming(Watching, frozen=True, kw_only=True):
    """Which events, and from where."""

    cursor: str | None = None
    """Where the first connection begins. The header `Last-Event-ID` of those that follow wins over it: a browser sends
    the same address again."""
    since: Literal["start", "now"] | None = None


class RunResuming(Resuming, frozen=True, kw_only=True):
    until: Literal["done", "waiting_or_done"] = "waiting_or_done"
    """Whether the stream is over when the run waits for somebody, other than its children, or only when it has ended.
    """


class ThreadResuming(Resuming, frozen=True, kw_only=True):
    until: Literal["forever"] = "forever"


class Start(msgspec.Struct, frozen=True):
    """The seq after which a stream begins; `is_lost` when what the client knew is gone and it needs the state first."""

    after: int
    is_lost: bool = False


def selection_of(asked: Watching) -> Selection:
    """Raises Problem for a channel that does not exist."""
    return select(parse_names(asked.channels, _CHANNELS, "channels"), asked.include_deltas)


async def start_of(
    call: Call, thread_id: ThreadId, asked: Resuming, *, at_start: int, default: Literal["start", "now"]
) -> Start:
    """Where a stream of the thread, or of a run of it whose events come after `at_start`, begins.

    Raises:
        Problem: The cursor is none, or of another thread.
        CursorExpired: An explicit cursor lies outside of what the log keeps.
    """
    header = call.header(_LAST_EVENT_ID)
    if header:
        after = event_seq(header, call.scope, thread_id, "header", "last-event-id")
        return Start(max(after, at_start), is_lost=not await _is_kept(call, thread_id, after, at_start=at_start))
    if asked.cursor is not None:
        after = event_seq(asked.cursor, call.scope, thread_id, "query", "cursor")
        await check_reached(call, thread_id, after)
        return Start(max(after, at_start))
    first, last = await call.reads.event_bounds(call.scope, thread_id)
    if (asked.since or default) == "start":
        return Start(max(at_start, first - 1))
    return Start(last)


async def check_reached(call: Call, thread_id: ThreadId, after: int) -> None:
    """Raises CursorExpired when the log of the thread does not reach this far, or keeps no more what comes next."""
    first, last = await call.reads.event_bounds(call.scope, thread_id)
    if not first - 1 <= after <= last:
        start = event_cursor(call.scope, thread_id, first - 1)
        raise CursorExpired(event_cursor(call.scope, thread_id, after), start)


async def _is_kept(call: Call, thread_id: ThreadId, after: int, *, at_start: int) -> bool:
    """Whether what comes after a place is in the log, as far as it belongs to what begins after `at_start`."""
    first, last = await call.reads.event_bounds(call.scope, thread_id)
    return first - 1 <= max(after, at_start) and after <= last


async def watch_run(call: Call, run: Run, asked: Watching, *, headers: Mapping[str, str] | None = None) -> Response:
    """A stream of the run's events, from its first one or where the client left off, to its last one, or until it waits
    for somebody. 204 for a client that comes back and has seen all of a run that has ended: browsers come back until
    they are answered so.
    """
    selection = selection_of(asked)
    start, state, until_done = Start(run.first_event_seq - 1), None, False
    if isinstance(asked, RunResuming):
        start = await start_of(call, run.thread_id, asked, at_start=start.after, default="start")
        until_done = asked.until == "done"
        if call.header(_LAST_EVENT_ID):
            is_over = not start.is_lost and await _is_over(call, run, start.after, selection)
            _count_return(call, start, is_over=is_over)
            if is_over:
                return Response(status_code=204)
    if start.is_lost:
        run = await call.mailbox.get_run(call.scope, run.run_id)
        dispatch = (await call.reads.load_dispatches(call.scope, [run.dispatch_id])).get(run.dispatch_id)
        start, state = Start(run.updated_seq), RunResource.of(call.scope, run, dispatch, reads_dispatch=True)
    return EventStream(
        call.service.streams,
        call.mailbox.read_run(call.scope, run, after=start.after),
        NativeEncoder(selection, state),
        _opening(call, run.thread_id, run.run_id, start),
        request_id=call.request_id,
        headers=headers,
        waits=None if until_done else waits_of(call, run.run_id),
        is_resumed=start.after >= run.first_event_seq,
        watching=call.mailbox.attendance.watching(call.scope, run),
    )


def _count_return(call: Call, start: Start, *, is_over: bool = False) -> None:
    """A client has come back to a stream."""
    found = "over" if is_over else "resync" if start.is_lost else "resumed"
    call.service.streams.observer.came_back(NATIVE, found)


async def _is_over(call: Call, run: Run, after: int, selection: Selection) -> bool:
    """Whether the run has ended and nothing of it that is wanted lies after a place."""
    if run.status is not RunStatus.DONE:
        return False
    while True:
        page = await call.reads.page_events(call.scope, run.thread_id, after=after, limit=_SCAN_PAGE, run_id=run.run_id)
        if page.unreadable or any([selection.shows(event) for row in page.items for event in row.events]):
            return False
        if page.next is None:
            return True
        after = page.next


def waits_of(call: Call, run_id: RunId) -> Waits:
    """For the stream of this run. A run whose next dispatch is queued does not wait for anybody, nor does one that
    waits for its children.
    """

    async def waits(after: int) -> bool:
        run = await call.reads.load_run(call.scope, run_id)
        return run is not None and run.waits_for_somebody and run.updated_seq <= after

    return waits


async def watch_thread(call: Call, thread: Thread, asked: ThreadResuming) -> EventStream:
    """A stream of everything that happens on the thread, without end."""
    selection = selection_of(asked)
    start, state = await start_of(call, thread.thread_id, asked, at_start=0, default="now"), None
    if call.header(_LAST_EVENT_ID):
        _count_return(call, start)
    if start.is_lost:
        thread = await call.mailbox.get_thread(call.scope, thread.thread_id)
        start, state = Start(thread.event_count), ThreadResource.of(call.scope, thread)
    return EventStream(
        call.service.streams,
        call.mailbox.read_thread(call.scope, thread.thread_id, after=start.after),
        NativeEncoder(selection, state),
        _opening(call, thread.thread_id, None, start),
        request_id=call.request_id,
    )


def _opening(call: Call, thread_id: ThreadId, run_id: RunId | None, start: Start) -> Opening:
    return Opening(
        scope=call.scope,
        thread_id=thread_id,
        run_id=run_id,
        after=start.after,
        retry_ms=call.service.settings.retry_ms,
    )
