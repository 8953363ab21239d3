"""The rows of a thread's log: what a transition appends, and what a reader is handed.

A `LoggedEvent` is one entry: a kind and a JSON payload, fixed when it is appended, so that a reader never needs to know
every type to pass it on. Entries are appended as `Appended` and read as `EventRow`: most of what is written has no
reader at that moment.

Source: ADR 0016.
"""

from __future__ import annotations

from typing import Any, Final

import msgspec

from awaken.domain.clock import Instant
from awaken.domain.ids import RunId, Scope, ThreadId


class LoggedEvent(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """A kind and its payload, already JSON: what a transition carries and a log row holds."""

    kind: str
    payload: msgspec.Raw


class EventRow(msgspec.Struct, frozen=True, gc=False):
    """What one transition appended to one thread. Event number i has the seq `first_seq + i`.

    A live reader and a paging reader see the same bytes.
    """

    scope: Scope
    thread_id: ThreadId
    run_id: RunId | None
    first_seq: int
    created_at: Instant
    events: tuple[LoggedEvent, ...]

    @property
    def last_seq(self) -> int:
        return self.first_seq + len(self.events) - 1

    @property
    def payload_bytes(self) -> int:
        """The size of its payloads, without what frames them."""
        return sum([len(memoryview(event.payload)) for event in self.events])

    def starting_after(self, seq: int) -> EventRow:
        """The row without the events up to and including `seq`; itself when it holds none of them."""
        if seq < self.first_seq:
            return self
        return EventRow(
            self.scope,
            self.thread_id,
            self.run_id,
            seq + 1,
            self.created_at,
            self.events[seq + 1 - self.first_seq :],
        )


class ServerEvent(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """What the queue itself says, before it is JSON. It has the JSON of a `LoggedEvent`."""

    kind: str
    payload: Any

    def logged(self) -> LoggedEvent:
        return LoggedEvent(self.kind, msgspec.Raw(_encoder.encode(self.payload)))


class Appended(msgspec.Struct, frozen=True, gc=False):
    """An `EventRow` as it is written, its events in their stored form: most rows are never read."""

    scope: Scope
    thread_id: ThreadId
    run_id: RunId | None
    first_seq: int
    created_at: Instant
    count: int
    body: bytes

    @property
    def last_seq(self) -> int:
        return self.first_seq + self.count - 1

    def row(self) -> EventRow:
        """As a reader finds it."""
        events = _decoder.decode(self.body)
        return EventRow(self.scope, self.thread_id, self.run_id, self.first_seq, self.created_at, events)


_encoder: Final = msgspec.json.Encoder()
_decoder: Final = msgspec.json.Decoder(tuple[LoggedEvent, ...])
