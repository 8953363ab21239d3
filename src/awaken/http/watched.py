"""One stream over several threads and runs: its encoder, and the answer that carries it on.

Above: the handler of `/v1/watch`. Below: `sse` for connections, `encoder` for events, the mailbox's `Watch` for rows.
Holds: no frame has an `id:`, because a place in one log is no place in the others; each says with `on` whose it is, and
its cursor is that scope's. What one scope's frames are is shared by all streams that have it.

Source: docs/concepts/events.md; docs/reference/http.md.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from typing import Any, Final

import msgspec
from starlette.types import Receive, Send
from starlette.types import Scope as AsgiScope

from awaken.domain.cursor import event_cursor
from awaken.domain.ids import ThreadId
from awaken.domain.log import EventRow
from awaken.domain.run import Run
from awaken.domain.selection import Selection
from awaken.domain.thread import Thread
from awaken.http.encoder import NATIVE, control, event_objects
from awaken.http.frames import Encoded, Encoder, EndReason, Opening
from awaken.http.operation import Call
from awaken.http.problems import Problem
from awaken.http.sse import EventStream
from awaken.http.wire import RunResource, ThreadResource
from awaken.mailbox.watch import Hint, Watch

_json: Final = msgspec.json.Encoder().encode


class Watched(msgspec.Struct, frozen=True, kw_only=True):
    """A scope of such a stream, and where it begins. `resync`: its state, where what the client knew is gone."""

    of: Run | Thread
    after: int
    resync: RunResource | ThreadResource | None = None


class WatchEncoder(Encoder):
    def __init__(self, selection: Selection, scopes: Mapping[str, Watched]) -> None:
        self.dialect = NATIVE
        self._selection = selection
        self._scopes = scopes
        self._head = b""

    def turn_to(self, name: str) -> None:
        """The next rows are those of this scope."""
        self.shared_as = (self._selection, name)
        self._head = b'{"on":%b,' % _json(name)

    def open(self, opening: Opening) -> bytes:
        opened: dict[str, Any] = {"scopes": [_opened(opening, name, each) for name, each in self._scopes.items()]}
        frames = [f"retry: {opening.retry_ms}\n: connected\n\n".encode(), control("stream.open", opened)]
        for name, each in self._scopes.items():
            if each.resync is not None:
                what = "run" if isinstance(each.resync, RunResource) else "thread"
                state = {"on": name, what: each.resync, "cursor": each.resync.cursor}
                frames.append(control("stream.resync", state))
        return b"".join(frames)

    def feed(self, row: EventRow) -> Encoded:
        parts: list[bytes] = []
        objects = event_objects(row, self._selection)
        for _, kind, object_ in objects:
            parts += (f"event: {kind}\ndata: ".encode(), self._head, object_[1:], b"\n\n")
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


class WatchStream(EventStream):
    """Over when all it follows are runs that have ended. Who is connected to it watches each of its runs."""

    def __init__(self, call: Call, scopes: Mapping[str, Watched], selection: Selection, *, hints: bool) -> None:
        places = {name: (each.of, each.after) for name, each in scopes.items()}
        self._watch: Watch = call.mailbox.watch(call.scope, places, hints=hints)
        self._turning = WatchEncoder(selection, scopes)
        self._attendance = call.mailbox.attendance
        self._scope = call.scope
        self._runs: dict[str, Run] = {name: each.of for name, each in scopes.items() if isinstance(each.of, Run)}
        super().__init__(
            call.service.streams,
            self._watch,
            self._turning,
            # Of the places only the encoder knows: there may be several, or none.
            Opening(
                scope=call.scope,
                thread_id=ThreadId(""),
                run_id=None,
                after=0,
                retry_ms=call.service.settings.retry_ms,
            ),
            request_id=call.request_id,
        )
        self._scope_name = "watch"

    async def __call__(self, scope: AsgiScope, receive: Receive, send: Send) -> None:
        with ExitStack() as attending:
            watchers = {
                name: attending.enter_context(self._attendance.watching(self._scope, run))
                for name, run in self._runs.items()
                if scope["method"] != "HEAD"
            }
            await super().__call__(scope, receive, send)
            for name, watcher in watchers.items():
                watcher.has_seen_all = self._watch.has_ended(name)

    async def _send_rows(self, send: Send, rows: tuple[EventRow, ...]) -> bool:
        if rows:
            self._turning.turn_to(self._watch.turn)
        has_spoken = await super()._send_rows(send, rows)
        hints = self._watch.take_hints()
        if not hints:
            return has_spoken
        await self._send(send, _hinted(hints))
        return True


def _opened(opening: Opening, name: str, watched: Watched) -> dict[str, Any]:
    run = watched.of if isinstance(watched.of, Run) else None
    return {
        "on": name,
        "scope": "thread" if run is None else "run",
        "thread_id": watched.of.thread_id,
        "run_id": None if run is None else run.run_id,
        "cursor": event_cursor(opening.scope, watched.of.thread_id, watched.after),
    }


def _hinted(hints: Sequence[Hint]) -> bytes:
    return b"".join([control("stream.hint", hint) for hint in hints])
