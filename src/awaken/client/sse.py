"""Server-sent events: bytes in, frames out, wherever the bytes were cut.

Above: `resume.py`. Below: nothing; the parser neither reads nor waits.
Holds: any division of the same bytes into chunks gives the same frames; a frame that the connection cut off is not
handed out, so that an id is never counted as seen before its data was.

Source: the HTML standard's event stream format; `docs/concepts/events.md` (streams).
"""

from __future__ import annotations

from typing import Final

import msgspec

from awaken.domain.errors import RemoteProtocolError

MAX_FRAME_BYTES: Final = 64 * 1024 * 1024
"""A server that sends more than this without ending a frame is not sending events."""
_BOM: Final = b"\xef\xbb\xbf"


class Frame(msgspec.Struct, frozen=True):
    """One event. `id` is the frame's own, None where it has none."""

    event: str
    data: bytes
    id: str | None = None


class FrameParser:
    """For one connection. `retry_ms` is the server's last wish, None until it has one."""

    def __init__(self) -> None:
        self.retry_ms: int | None = None
        self._parts: list[bytes] = []
        self._held = 0
        self._started = False
        self._after_cr = False
        self._event = ""
        self._data: list[bytes] = []
        self._id: str | None = None

    def feed(self, chunk: bytes) -> list[Frame]:
        """The frames that these bytes complete, in order.

        Raises:
            RemoteProtocolError: A frame is larger than `MAX_FRAME_BYTES`.
        """
        frames: list[Frame] = []
        for line in self._lines(chunk):
            if line:
                self._field(line)
            else:
                self._end_frame(frames)
        if self._held > MAX_FRAME_BYTES:
            raise RemoteProtocolError(f"an event is larger than {MAX_FRAME_BYTES} bytes")
        return frames

    def _lines(self, chunk: bytes) -> list[bytes]:
        """The lines completed by the chunk; a lone CR ends a line, and an LF right after it belongs to it."""
        if self._after_cr and chunk:
            chunk = chunk.removeprefix(b"\n")
            self._after_cr = False
        if not chunk:
            return []
        self._held += len(chunk)
        if b"\n" not in chunk and b"\r" not in chunk:
            self._parts.append(chunk)
            return []
        self._after_cr = chunk.endswith(b"\r")
        lines = b"".join((*self._parts, chunk)).splitlines()
        self._parts = [] if chunk.endswith((b"\n", b"\r")) else [lines.pop()]
        if not self._started:
            self._started = True
            lines[0] = lines[0].removeprefix(_BOM)
        return lines

    def _field(self, line: bytes) -> None:
        name, _, value = line.partition(b":")
        value = value.removeprefix(b" ")
        if name == b"data":
            self._data.append(value)
        elif name == b"id":
            if b"\0" not in value:
                self._id = value.decode(errors="replace")
        elif name == b"event":
            self._event = value.decode(errors="replace")
        elif name == b"retry" and value.isdigit():
            self.retry_ms = int(value)

    def _end_frame(self, frames: list[Frame]) -> None:
        if self._data:
            frames.append(Frame(self._event or "message", b"\n".join(self._data), self._id))
        self._event, self._id = "", None
        self._data.clear()
        self._held = sum(map(len, self._parts))
