"""Event streams: a reader's rows as server-sent events, on a connection that may go at any moment.

Above: the handlers, which have found the place to start from. Below: the mailbox's `Reader` for rows, an encoder for
their bytes (`frames`).
Holds: what is ready goes out in one send, encoded once for all readers that share an encoding. A client that goes ends
its reader and nothing else; one that takes nothing for `write_stall_s` is let go. Only a run's last event, or its wait
for somebody, is followed by what the encoder has for an end; every other end of a stream means: come back.

Source: ADR 0016; docs/concepts/events.md; SRV-025, SRV-026, SRV-027, SRV-029.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Iterator, Mapping
from contextlib import AbstractContextManager
from types import TracebackType
from typing import Final, Protocol

from starlette.responses import Response
from starlette.types import Message, Receive, Send
from starlette.types import Scope as AsgiScope

from awaken.domain.clock import Clock, Instant
from awaken.domain.event import WAIT_KINDS
from awaken.domain.log import EventRow
from awaken.http.frames import Encoder, EndReason, FrameCache, Opening
from awaken.http.observer import HttpObserver, StreamScope
from awaken.http.problems import problem_of
from awaken.http.settings import HttpSettings
from awaken.mailbox.attendance import Watcher

_HEADERS: Final = {
    "Content-Type": "text/event-stream; charset=utf-8",
    "Cache-Control": "no-store, no-transform",
    "X-Accel-Buffering": "no",
    "Connection": "keep-alive",
}

Waits = Callable[[int], Awaitable[bool]]
"""Whether a run waits for somebody, and nothing of that lies after this seq."""


class Source(Protocol):
    """Where rows come from: a `Reader`, or several of them read as one."""

    @property
    def position(self) -> int: ...
    @property
    def ended(self) -> bool: ...
    @property
    def is_cut(self) -> bool: ...
    @property
    def is_behind(self) -> bool: ...
    @property
    def catchups(self) -> int: ...
    def cut(self) -> None: ...
    async def next_rows(self, timeout_s: float | None = None) -> tuple[EventRow, ...]: ...
    async def __aenter__(self) -> object: ...
    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...


class Streams:
    """What all streams of one application share."""

    def __init__(self, clock: Clock, settings: HttpSettings, observer: HttpObserver) -> None:
        self.clock = clock
        self.settings = settings
        self.observer = observer
        self.cache = FrameCache(settings.frame_cache_bytes)
        self.readers: dict[Source, None] = {}
        """Of the streams that are open, in the order in which they opened."""

    def cut(self) -> None:
        """Close every open stream as a restart would: no client takes it for an end."""
        for reader in self.readers:
            reader.cut()


class EventStream(Response):
    """The answer that goes on: an opening, then everything the reader hands out.

    With `waits`, the stream of a run is over as soon as the run waits for somebody. `is_resumed`: it starts behind some
    of the run's events, which may have been those of its suspension.
    """

    def __init__(
        self,
        streams: Streams,
        reader: Source,
        encoder: Encoder,
        opening: Opening,
        *,
        request_id: str,
        headers: Mapping[str, str] | None = None,
        waits: Waits | None = None,
        is_resumed: bool = False,
        watching: AbstractContextManager[Watcher] | None = None,
    ) -> None:
        super().__init__(None, headers={**_HEADERS, **(headers or {})})
        self.raw_headers = [(name, value) for name, value in self.raw_headers if name != b"content-length"]
        self._streams = streams
        self._reader = reader
        self._encoder = encoder
        self._first_frames = encoder.open(opening)
        self._scope_name: StreamScope = "thread" if opening.run_id is None else "run"
        self._request_id = request_id
        self._waits = waits
        self._is_resumed = is_resumed
        self._watching = watching
        self._writing: asyncio.Task[None] | None = None
        self._opened_at: Instant = 0
        self._is_gone = False
        self._stalled = False
        self._is_over = False
        """The encoder has come to the end."""
        self._end: EndReason | None = None

    async def __call__(self, scope: AsgiScope, receive: Receive, send: Send) -> None:
        if self._watching is None or scope["method"] == "HEAD":
            await self._answer(scope, receive, send)
            return
        with self._watching as watcher:
            await self._answer(scope, receive, send)
            watcher.has_seen_all = not self._is_gone and self._end in ("done", "waiting")

    async def _answer(self, scope: AsgiScope, receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers})
        if scope["method"] == "HEAD":
            await send({"type": "http.response.body", "body": b""})
            return
        self._opened_at = self._streams.clock.now()
        self._streams.observer.stream_opened(self._scope_name, self._encoder.dialect)
        self._streams.readers[self._reader] = None
        try:
            async with asyncio.TaskGroup() as group:
                self._writing = group.create_task(self._write(send))
                listening = group.create_task(self._listen(receive))
                await asyncio.wait((self._writing,))
                listening.cancel()
        finally:
            del self._streams.readers[self._reader]
            self._streams.observer.stream_closed(
                self._scope_name, self._encoder.dialect, caught_up=self._reader.catchups, stalled=self._stalled
            )
        if self._breaks_off and not self._is_gone:
            raise ConnectionAbortedError("there is more to come, for whoever connects again")

    @property
    def _breaks_off(self) -> bool:
        return self._encoder.breaks_off and self._end in ("restarting", "expired")

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
                reason = self._end = await self._follow(send)
            last = self._encoder.close(reason)
        except OSError:
            self._is_gone = True
        except Exception as error:
            # The answer has begun, so the problem becomes a frame; `problem_of` logs what nobody foresaw.
            last = self._encoder.fail(problem_of(error), self._request_id)
        if not self._is_gone:
            with contextlib.suppress(OSError):  # gone just now
                await self._send(send, last, more=self._breaks_off)

    async def _follow(self, send: Send) -> EndReason:
        """Send what the reader hands out, and a keep-alive into every long silence, until the stream is over."""
        clock, settings, reader, waits = self._streams.clock, self._streams.settings, self._reader, self._waits
        may_wait = waits is not None and self._is_resumed
        now_s = clock.monotonic()
        closes_s, quiet_since_s = now_s + settings.max_stream_life_s, now_s
        while now_s < closes_s:
            keepalive_at_s = quiet_since_s + settings.keepalive_s
            rows = await reader.next_rows(0.0 if may_wait else max(min(keepalive_at_s, closes_s) - now_s, 0.0))
            if not rows and (reader.ended or reader.is_cut):
                break
            if waits is not None and not may_wait:
                may_wait = any([row.events[-1].kind in WAIT_KINDS for row in rows])
            elif waits is not None and not rows:
                # Other events may follow a suspension, in the log and while the run is looked at: it is asked for only
                # once the stream is level, and what it answers holds up to where the stream is.
                if await waits(reader.position):
                    return "waiting"
                may_wait = False
            is_silent = not await self._send_rows(send, rows)
            if self._is_over:
                return "done"
            if reader.is_behind:
                await asyncio.sleep(0)  # a long log holds nobody up, whatever the store and however fast the client
            now_s = clock.monotonic()
            if is_silent and now_s >= keepalive_at_s:
                await self._send(send, self._encoder.keepalive())
                is_silent = False
            if not is_silent:
                quiet_since_s = now_s
        return "done" if reader.ended else "restarting" if reader.is_cut else "expired"

    async def _send_rows(self, send: Send, rows: tuple[EventRow, ...]) -> bool:
        """Send what the encoder makes of the rows, joined up to the size of a chunk; False when that is nothing."""
        cache, encoder, limit = self._streams.cache, self._encoder, self._streams.settings.chunk_bytes
        parts: list[bytes] = []
        size = events = sent = 0
        stored_at: Instant | None = None
        for row in self._parts(rows):
            made = cache.find(row, encoder)
            if made is None and not encoder.is_level_with(row):
                await encoder.catch_up(row)
                made = cache.find(row, encoder)
            if made is None:
                made = cache.make(row, encoder)
            frames, count, self._is_over, _ = encoder.taken(row, made)
            if not frames:
                continue
            if size and size + len(frames) > limit:
                await self._send(send, b"".join(parts))
                parts.clear()
                size = 0
            parts.append(frames)
            size += len(frames)
            sent += len(frames)
            events += count
            if stored_at is None and row.created_at >= self._opened_at:
                stored_at = row.created_at
        if not parts:
            return False
        await self._send(send, parts[0] if len(parts) == 1 else b"".join(parts))
        lag_s = None if stored_at is None else (self._streams.clock.now() - stored_at) / 1000
        self._streams.observer.frames_sent(encoder.dialect, events, sent, lag_s)
        return True

    def _parts(self, rows: tuple[EventRow, ...]) -> Iterator[EventRow]:
        """What there is to encode, until the encoder has come to the end of the stream."""
        for row in rows:
            for part in self._encoder.parts(row):
                yield part
                if self._is_over:
                    return

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
