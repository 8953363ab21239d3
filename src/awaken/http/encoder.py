"""Log rows as bytes: the one place where an event gets its wire form.

Above: streams send frames, pages embed the same objects. Below: `EventRow`, whose payloads are JSON already.
Holds: the bytes of an event depend on the event alone, so live, paged and resumed readers see the same ones. A row is
encoded once per selection, however many readers take it.

Source: spec/server.md 3 (Event), 6.1, 6.2, 6.7.
"""

from __future__ import annotations

from collections import OrderedDict
from functools import lru_cache
from typing import Any, Final, Literal

import msgspec

from awaken.domain.clock import to_rfc3339
from awaken.domain.event import CHANNELS, DELTA_KINDS
from awaken.domain.ids import Scope, ThreadId
from awaken.domain.log import EventRow
from awaken.http.cursors import cursor_prefix
from awaken.http.query import CHANNEL_NAMES, OTHER_CHANNEL

Control = Literal["stream.open", "stream.resync", "stream.error", "stream.end"]
DEFAULT_CHANNELS: Final = frozenset(CHANNEL_NAMES) - {"debug"}
KEEPALIVE: Final = b": ka\n\n"
RESTARTING: Final = b": restarting\n\n"
_NO_FRAMES: Final = (b"", 0)

_json: Final = msgspec.json.Encoder().encode


class Selection:
    """Which events a reader wants. Made by `select`, so that equal ones are the same object."""

    __slots__ = ("_channels", "_kinds", "_wanted", "_with_deltas")

    def __init__(self, channels: frozenset[str], include_deltas: bool, kinds: frozenset[str] | None) -> None:
        self._channels = channels
        self._with_deltas = include_deltas
        self._kinds = kinds
        self._wanted: dict[str, bool] = {}

    def wants(self, kind: str) -> bool:
        wanted = self._wanted.get(kind)
        if wanted is None:
            in_channel = CHANNELS.get(kind, OTHER_CHANNEL) in self._channels
            named = self._kinds is None or kind in self._kinds
            wanted = in_channel and named and (self._with_deltas or kind not in DELTA_KINDS)
            if len(self._wanted) < 256:
                self._wanted[kind] = wanted
        return wanted


@lru_cache(maxsize=1024)
def select(
    channels: frozenset[str] | None = None, include_deltas: bool = True, kinds: frozenset[str] | None = None
) -> Selection:
    """The selection of some channels (None: all but `debug`), with or without deltas, or of some kinds only."""
    return Selection(DEFAULT_CHANNELS if channels is None else channels, include_deltas, kinds)


def event_objects(row: EventRow, selection: Selection) -> list[tuple[int, str, bytes]]:
    """Seq, kind and JSON object of each selected event of the row, in order."""
    prefix = cursor_prefix(row.scope, row.thread_id)
    middle = b',"thread_id":%b,"run_id":%b,"created_at":"%b","payload":' % (
        _json(row.thread_id),
        _json(row.run_id),
        to_rfc3339(row.created_at).encode(),
    )
    found: list[tuple[int, str, bytes]] = []
    for seq, event in enumerate(row.events, row.first_seq):
        if selection.wants(event.kind):
            head = f'{{"cursor":"{prefix}{seq}","kind":'.encode()
            found.append((seq, event.kind, b"".join((head, _json(event.kind), middle, event.payload, b"}"))))
    return found


def event_frames(row: EventRow, selection: Selection) -> tuple[bytes, int]:
    """The row as one piece of an event stream, and how many events are in it."""
    prefix = cursor_prefix(row.scope, row.thread_id)
    parts: list[bytes] = []
    objects = event_objects(row, selection)
    for seq, kind, object_ in objects:
        parts += (f"id: {prefix}{seq}\nevent: {kind}\ndata: ".encode(), object_, b"\n\n")
    return b"".join(parts), len(objects)


def control_frame(kind: Control, data: Any) -> bytes:
    """A frame that is not in the log: it has no id and moves nobody's place."""
    return f"event: {kind}\ndata: ".encode() + _json(data) + b"\n\n"


def opening(retry_ms: int) -> bytes:
    """What a stream says before anything else, so that proxies and browsers know it is open."""
    return f"retry: {retry_ms}\n: connected\n\n".encode()


class FrameCache:
    """Recently encoded rows, shared by all readers; the least recently used go first."""

    def __init__(self, max_bytes: int) -> None:
        self._max_bytes = max_bytes
        self._bytes = 0
        self._rows: OrderedDict[tuple[Scope, ThreadId, int, int, Selection], tuple[bytes, int]] = OrderedDict()
        self.encoded = 0
        """Rows encoded so far, which is how many were not found here."""

    def frames(self, row: EventRow, selection: Selection) -> tuple[bytes, int]:
        """As `event_frames`."""
        key = (row.scope, row.thread_id, row.first_seq, len(row.events), selection)
        found = self._rows.get(key)
        if found is not None:
            self._rows.move_to_end(key)
            return found
        self.encoded += 1
        made = event_frames(row, selection) if row.events else _NO_FRAMES
        self._rows[key] = made
        self._bytes += len(made[0])
        while self._bytes > self._max_bytes:
            _, (gone, _) = self._rows.popitem(last=False)
            self._bytes -= len(gone)
        return made
