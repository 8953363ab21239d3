"""This API's encoder: log rows as frames, and as the objects in them; the one place where an event gets its wire form.

Above: streams send its frames, pages embed the same objects. Below: `EventRow`, whose payloads are JSON already.
Holds: the bytes of an event depend on the event alone, so live, paged and resumed readers see the same ones, and rows
are shared by all readers with one selection.

Source: ADR 0016; docs/concepts/events.md; SRV-020, SRV-024, SRV-027.
"""

from __future__ import annotations

from typing import Any, Final, Literal

import msgspec

from awaken.domain.clock import to_rfc3339
from awaken.domain.cursor import cursor_prefix, event_cursor
from awaken.domain.log import EventRow
from awaken.domain.selection import Selection
from awaken.http.frames import Encoded, Encoder, EndReason, Opening, one_line
from awaken.http.problems import Problem
from awaken.http.wire import RunResource, ThreadResource

Control = Literal["stream.open", "stream.resync", "stream.error", "stream.end", "stream.hint"]
NATIVE: Final = "native"
"""The dialect of this API's own streams."""
_json: Final = msgspec.json.Encoder().encode


def event_objects(row: EventRow, selection: Selection) -> list[tuple[int, str, bytes]]:
    """Seq, kind and JSON object, in one line, of each selected event of the row, in order."""
    prefix = cursor_prefix(row.scope, row.thread_id)
    middle = b',"thread_id":%b,"run_id":%b,"dispatch_id":%b,"visibility":"all","created_at":"%b","payload":' % (
        _json(row.thread_id),
        _json(row.run_id),
        _json(row.dispatch_id),
        to_rfc3339(row.created_at).encode(),
    )
    found: list[tuple[int, str, bytes]] = []
    for seq, event in enumerate(row.events, row.first_seq):
        if selection.shows(event):
            head = f'{{"cursor":"{prefix}{seq}","kind":'.encode()
            found.append((seq, event.kind, one_line(b"".join((head, _json(event.kind), middle, event.payload, b"}")))))
    return found


class NativeEncoder(Encoder):
    """A stream of this API: each selected event as a frame with its cursor as the id.

    `resync` is the state of what the stream follows, for a client whose place is not in the log any more.
    """

    def __init__(self, selection: Selection, resync: RunResource | ThreadResource | None = None) -> None:
        self.dialect = NATIVE
        self.shared_as = self._selection = selection
        self._resync = resync

    def open(self, opening: Opening) -> bytes:
        opened: dict[str, Any] = {
            "scope": "thread" if opening.run_id is None else "run",
            "thread_id": opening.thread_id,
            "run_id": opening.run_id,
            "cursor": event_cursor(opening.scope, opening.thread_id, opening.after),
        }
        first = f"retry: {opening.retry_ms}\n: connected\n\n".encode() + control("stream.open", opened)
        state = self._resync
        if state is None:
            return first
        what = "run" if isinstance(state, RunResource) else "thread"
        # It moves the client's place, so it has an id: a browser would go on coming back from the place that is lost.
        return (
            first + f"id: {state.cursor}\n".encode() + control("stream.resync", {what: state, "cursor": state.cursor})
        )

    def feed(self, row: EventRow) -> Encoded:
        prefix = cursor_prefix(row.scope, row.thread_id)
        parts: list[bytes] = []
        objects = event_objects(row, self._selection)
        for seq, kind, object_ in objects:
            parts += (f"id: {prefix}{seq}\nevent: {kind}\ndata: ".encode(), object_, b"\n\n")
        return Encoded(b"".join(parts), len(objects))

    def close(self, reason: EndReason) -> bytes:
        match reason:
            case "done" | "waiting":
                return control("stream.end", {"reason": reason})
            case "restarting":
                return b": restarting\n\n"
            case "expired":
                return b""

    def fail(self, problem: Problem, request_id: str) -> bytes:
        return control("stream.error", problem.to_document(request_id))


def control(kind: Control, data: Any) -> bytes:
    """A frame that is not in the log."""
    return f"event: {kind}\ndata: ".encode() + one_line(_json(data)) + b"\n\n"
