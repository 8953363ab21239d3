"""Event streams: a reader's rows as server-sent events, on a connection that may go at any moment.

Above: the handlers, which have found the place to start from. Below: the mailbox's `Reader`, `encoder`.
Holds: what is ready goes out in one send, encoded once for all readers. A client that goes ends its reader and nothing
else; one that takes nothing for `write_stall_s` is let go. Only a run's last event is followed by `stream.end`; every
other end of a stream means: come back.

Source: spec/server.md 6.1, 6.4 to 6.6.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Mapping
from typing import Any, Final

from starlette.responses import Response
from starlette.types import Message, Receive, Send
from starlette.types import Scope as AsgiScope

from awaken.domain.clock import Clock
from awaken.domain.log import EventRow
from awaken.http.encoder import KEEPALIVE, RESTARTING, FrameCache, Selection, control_frame, opening
from awaken.http.observer import HttpObserver, StreamScope
from awaken.http.problems import problem_of
from awaken.http.settings import HttpSettings
from awaken.mailbox.reader import Reader

_HEADERS: Final = {
    "Content-Type": "text/event-stream; charset=utf-8",
    "Cache-Control": "no-store, no-transform",
    "X-Accel-Buffering": "no",
    "Connection": "keep-alive",
}


class Streams:
    """What all streams of one application share."""

    def __init__(self, clock: Clock, settings: HttpSettings, observer: HttpObserver) -> None:
        self.clock = clock
        self.settings = settings
        self.observer = observer
        self.cache = FrameCache(settings.frame_cache_bytes)
        self.readers: set[Reader] = set()
        """Of the streams that are open."""

    def cut(self) -> None:
        """Close every open stream as a restart would: nothing tells its client of an end."""
        for reader in self.readers:
            reader.cut()


class EventStream(Response):
    """The answer that goes on: opening frames, then everything the reader hands out."""

    def __init__(
        self,
        streams: Streams,
        reader: Reader,
        selection: Selection,
        *,
        scope_name: StreamScope,
        first_frames: bytes,
        request_id: str,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(None, headers={**_HEADERS, **(headers or {})})
        self.raw_headers = [(name, value) for name, value in self.raw_headers if name != b"content-length"]
        self._streams = streams
        self._reader = reader
        self._selection = selection
        self._scope_name: StreamScope = scope_name
        self._first_frames = opening(streams.settings.retry_ms) + first_frames
        self._request_id = request_id
        self._writing: asyncio.Task[None] | None = None
        self._is_gone = False
        self._stalled = False

    async def __call__(self, scope: AsgiScope, receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers})
        if scope["method"] == "HEAD":
            await send({"type": "http.response.body", "body": b""})
            return
        self._streams.observer.stream_opened(self._scope_name)
        self._streams.readers.add(self._reader)
        try:
            async with asyncio.TaskGroup() as group:
                self._writing = group.create_task(self._write(send))
                listening = group.create_task(self._listen(receive))
                await asyncio.wait((self._writing,))
                listening.cancel()
        finally:
            self._streams.readers.discard(self._reader)
            self._streams.observer.stream_closed(
                self._scope_name, caught_up=self._reader.catchups, stalled=self._stalled
            )

    async def _listen(self, receive: Receive) -> None:
        while (await receive())["type"] != "http.disconnect":
            pass
        self._is_gone = True
        self._reader.cut()

    async def _write(self, send: Send) -> None:
        last = b""
        try:
            await self._send(send, self._first_frames)
            async with self._reader:
                await self._follow(send)
            if self._reader.ended:
                last = control_frame("stream.end", {"reason": "done"})
            elif self._reader.is_cut:
                last = RESTARTING
        except OSError:
            self._is_gone = True
        except Exception as error:
            # The answer has begun, so the problem becomes a frame; `problem_of` logs what nobody foresaw.
            last = control_frame("stream.error", problem_of(error).to_document(self._request_id))
        if not self._is_gone:
            with contextlib.suppress(OSError):  # gone just now
                await self._send(send, last, more=False)

    async def _follow(self, send: Send) -> None:
        """Send what the reader hands out, and a comment into every long silence, until the end or the end of life."""
        clock, settings, reader = self._streams.clock, self._streams.settings, self._reader
        now_s = clock.monotonic()
        closes_s, quiet_since_s = now_s + settings.max_stream_life_s, now_s
        while now_s < closes_s:
            speaks_s = quiet_since_s + settings.keepalive_s
            rows = await reader.next_rows(max(min(speaks_s, closes_s) - now_s, 0.0))
            if not rows and (reader.ended or reader.is_cut):
                return
            said = await self._send_rows(send, rows)
            now_s = clock.monotonic()
            if not said and now_s >= speaks_s:
                await self._send(send, KEEPALIVE)
                said = True
            if said:
                quiet_since_s = now_s

    async def _send_rows(self, send: Send, rows: tuple[EventRow, ...]) -> bool:
        """Send the selected events of the rows, joined up to the size of a chunk; False when there was none."""
        cache, selection, limit = self._streams.cache, self._selection, self._streams.settings.chunk_bytes
        parts: list[bytes] = []
        size = events = 0
        for row in rows:
            frames, count = cache.frames(row, selection)
            if not count:
                continue
            if size and size + len(frames) > limit:
                await self._send(send, b"".join(parts))
                parts.clear()
                size = 0
            parts.append(frames)
            size += len(frames)
            events += count
        if not events:
            return False
        await self._send(send, parts[0] if len(parts) == 1 else b"".join(parts))
        self._streams.observer.frames_sent(events)
        return True

    async def _send(self, send: Send, body: bytes, *, more: bool = True) -> None:
        message: Message = {"type": "http.response.body", "body": body, "more_body": more}
        timer = self._streams.clock.call_later(self._streams.settings.write_stall_s, self._stall)
        try:
            await send(message)
        finally:
            timer.cancel()

    def _stall(self) -> None:
        """The client takes nothing. Leaving the answer unfinished makes the server close the connection."""
        self._stalled = True
        if self._writing is not None:
            self._writing.cancel()


def open_frame(data: Any) -> bytes:
    """The first frame of every stream: what it follows, and from where."""
    return control_frame("stream.open", data)
