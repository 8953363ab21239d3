"""The text of a stream, as a person should see it: what is coming now, and what stands.

Above: whoever shows a run while it goes on. Below: stream items, from the first one of a run or thread.
Holds: text is provisional until the message that contains it is committed, under the id that its deltas named. A
`StreamReset` voids the provisional text of one message, or of all of them, because it comes again, and a resync voids
everything so far. A message is the truth, whatever its deltas were; one that was not streamed comes whole.
"""

from __future__ import annotations

from typing import Any, Literal

import msgspec

from awaken.client.wire import Event, Resync, StreamItem
from awaken.domain.shown import text_of


class Change(msgspec.Struct, frozen=True):
    """What an item did to the text.

    `appended`: `text` is what came. `dropped`: `text` is void. `committed`: `text` stands, as a message; `was_open`
    when it had been coming piece by piece.
    """

    what: Literal["none", "appended", "dropped", "committed"]
    text: str = ""
    was_open: bool = False


_NONE = Change("none")


class Transcript:
    """Feed it every item; `text` is then the text of the agent so far."""

    def __init__(self) -> None:
        self.committed: list[str] = []
        """The text of each finished assistant message that has any."""
        self._open: dict[str, list[str]] = {}
        """By message, in the order in which they began."""

    @property
    def open(self) -> str:
        """Text of messages that are not committed: it may still be dropped."""
        return "".join([piece for pieces in self._open.values() for piece in pieces])

    @property
    def text(self) -> str:
        return "".join((*self.committed, self.open))

    def feed(self, item: StreamItem) -> Change:
        if isinstance(item, Resync):
            self.committed.clear()
            return self._drop("")
        match item.kind:
            case "TextDeltaObserved":
                return self._append(_string(item, "message_id"), _string(item, "delta"))
            case "MessageCommitted" if item.payload.get("role") == "assistant":
                return self._commit(item)
            case "StreamReset":
                return self._drop(_string(item, "message_id"))
            case _:
                return _NONE

    def _append(self, message_id: str, text: str) -> Change:
        self._open.setdefault(message_id, []).append(text)
        return Change("appended", text)

    def _commit(self, item: Event) -> Change:
        shown = "".join(self._open.pop(_string(item, "message_id"), ()))
        blocks: Any = item.payload.get("content_blocks", [])
        try:
            text = text_of(msgspec.convert(blocks, tuple[dict[str, Any], ...]))
        except msgspec.ValidationError:
            text = shown
        if text:
            self.committed.append(text)
        return Change("committed", text, was_open=bool(shown))

    def _drop(self, message_id: str) -> Change:
        """Without a message id: the text of all open messages."""
        if message_id:
            return Change("dropped", "".join(self._open.pop(message_id, ())))
        void = self.open
        self._open.clear()
        return Change("dropped", void)


def _string(item: Event, name: str) -> str:
    value = item.payload.get(name)
    return value if isinstance(value, str) else ""
