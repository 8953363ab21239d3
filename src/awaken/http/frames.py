"""What a stream sends: the contract of an encoder, and encoded rows shared by all readers.

A stream decides when something is sent; an encoder decides what. There is an encoder for each protocol in which a log
can be read: `encoder` is that of this API, others come with the operations that answer in them.

Above: `sse`, which asks an encoder for bytes. Below: the rows of the log.
Holds: what an encoder makes depends on what it was given and on nothing else: it asks no store, no clock and no chance.
So the same rows have the same bytes live, read again and resumed, in every protocol.

Source: ADR 0016; SRV-020, SRV-027.
"""

from __future__ import annotations

import asyncio
from abc import ABC, abstractmethod
from collections import OrderedDict
from collections.abc import Hashable, Sequence
from typing import Any, Final, Literal, NamedTuple
from weakref import WeakValueDictionary

import msgspec

from awaken.domain.ids import RunId, Scope, ThreadId
from awaken.domain.log import EventRow
from awaken.http.problems import Problem

_LINE_ENDS: Final = ((b"\xe2\x80\xa8", rb"\u2028"), (b"\xe2\x80\xa9", rb"\u2029"), (b"\xc2\x85", rb"\u0085"))

_ENTRY_BYTES: Final = 400
"""What a row costs that is kept, besides its bytes: one of which nothing is shown, too."""

EndReason = Literal["done", "waiting", "restarting", "expired"]
"""Why a stream is over: its run has ended; its run waits for somebody; the server stops; it has lived long enough.
After the last two there is more to come, for a client that connects again.
"""


class Opening(msgspec.Struct, frozen=True, kw_only=True):
    """What a stream follows, and from where."""

    scope: Scope
    thread_id: ThreadId
    run_id: RunId | None
    """None: everything on the thread."""
    after: int
    """The seq of the last event that the client has."""
    retry_ms: int
    """How long a client should wait before it connects again."""


class Encoded(NamedTuple):
    """A row in some protocol, and how many of its events are in there."""

    frames: bytes
    events: int
    is_last: bool = False
    """Nothing comes after it in a stream that has sent it: the stream is over."""
    after: Any = None
    """What its encoder had become then, for another one that shares the row."""


class Encoder(ABC):
    """One stream's rows and incidents as bytes of one protocol.

    Used in this order: `open` once; for every row its `parts`, and for each of them `feed`, unless another encoder has
    done so, and `taken`; `keepalive` for every long silence; then at most one of `close` and `fail`. An encoder for
    which a row is a row, whatever came before, inherits all but these.
    """

    dialect: str
    """The protocol, as metrics name it."""
    shared_as: Hashable | None = None
    """Encoders with the same value make the same bytes of a row: one of them encodes it for the streams of all. None:
    what becomes of a row depends on this stream."""
    breaks_off: bool = False
    """A stream that is closed although there is more to come is broken off, and not ended: its clients take an end for
    that of everything, and come back by themselves after a cut."""

    @abstractmethod
    def open(self, opening: Opening) -> bytes:
        """What comes before everything else. Never empty: a client learns from it that the stream is open."""
        ...

    @abstractmethod
    def feed(self, row: EventRow) -> Encoded:
        """The next row. Events that the protocol does not know, or the client does not want, are left out."""
        ...

    def parts(self, row: EventRow) -> Sequence[EventRow]:
        """The row, cut where a stream may have to end within it."""
        return (row,)

    def is_level_with(self, row: EventRow) -> bool:
        """Whether `feed` can be given this row now. False: `catch_up` first."""
        return True

    async def catch_up(self, row: EventRow) -> None:
        """Come to where the row is the next one, whatever it takes of the log before."""
        raise NotImplementedError("whoever is not always level catches up")

    def taken(self, row: EventRow, made: Encoded) -> Encoded:
        """The row was encoded, here or by an encoder that shares it. What this stream sends of that."""
        return made

    def keepalive(self) -> bytes:
        """What keeps a silent connection open and moves nobody's place."""
        return b": ka\n\n"

    @abstractmethod
    def close(self, reason: EndReason) -> bytes:
        """What comes last; may be empty. After `restarting` and `expired` nothing in it means an end to a client."""
        ...

    @abstractmethod
    def fail(self, problem: Problem, request_id: str) -> bytes:
        """What comes last when the stream cannot go on because of an error."""
        ...


def one_line(json: bytes) -> bytes:
    """The same JSON without the signs that are no line ends in an event stream, and are taken for some by much of what
    reads one: U+2028, U+2029 and U+0085 are escaped. What ends a line in a stream, JSON escapes anyway.
    """
    if b"\xe2\x80" in json or b"\xc2\x85" in json:
        for sign, escaped in _LINE_ENDS:
            json = json.replace(sign, escaped)
    return json


class FrameCache:
    """Recently encoded rows, shared by all readers; the least recently used go first."""

    def __init__(self, max_bytes: int) -> None:
        self._max_bytes = max_bytes
        self._bytes = 0
        self._rows: OrderedDict[tuple[Scope, ThreadId, int, int, Hashable], Encoded] = OrderedDict()
        self._turns: WeakValueDictionary[Hashable, asyncio.Lock] = WeakValueDictionary()
        self.encoded = 0
        """Rows encoded so far to be shared, which is how many were not found here."""

    def frames(self, row: EventRow, encoder: Encoder) -> Encoded:
        """The row as the encoder makes it, or as one with the same `shared_as` has made it before."""
        return self.find(row, encoder) or self.make(row, encoder)

    def find(self, row: EventRow, encoder: Encoder) -> Encoded | None:
        """The row as an encoder with the same `shared_as` has made it before."""
        sharing = encoder.shared_as
        if sharing is None:
            return None
        key = (row.scope, row.thread_id, row.first_seq, len(row.events), sharing)
        found = self._rows.get(key)
        if found is not None:
            self._rows.move_to_end(key)
        return found

    def turn_of(self, sharing: Hashable) -> asyncio.Lock:
        """Held by the one that does what others who share it would have to do as well."""
        return self._turns.setdefault(sharing, asyncio.Lock())

    def clear(self) -> None:
        """Forget everything, as a server that starts knows nothing."""
        self._rows.clear()
        self._bytes = 0

    def make(self, row: EventRow, encoder: Encoder) -> Encoded:
        """The row as the encoder makes it, which is level with it, for all that share it."""
        made = encoder.feed(row)
        sharing = encoder.shared_as
        if sharing is None:
            return made
        self.encoded += 1
        key = (row.scope, row.thread_id, row.first_seq, len(row.events), sharing)
        before = self._rows.pop(key, None)
        if before is not None:
            self._bytes -= len(before.frames) + _ENTRY_BYTES
        self._rows[key] = made
        self._bytes += len(made.frames) + _ENTRY_BYTES
        while self._bytes > self._max_bytes:
            _, gone = self._rows.popitem(last=False)
            self._bytes -= len(gone.frames) + _ENTRY_BYTES
        return made
