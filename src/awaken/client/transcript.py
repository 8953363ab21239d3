"""The text of a stream, as a person should see it: what is said now, and what stands.

Above: whoever shows a run while it goes on. Below: stream items, from the first one of a run or thread.
Holds: text is provisional until the message that contains it is committed; a `StreamReset` voids the provisional part,
because it will be produced again, and a resync voids everything seen so far.
"""

from __future__ import annotations

from typing import Any, Literal

import msgspec

from awaken.client.wire import Event, Resync, StreamItem, text_of

Change = Literal["none", "appended", "dropped", "committed"]


class Transcript:
    """Feed it every item; `text` is then what the agent has said."""

    def __init__(self) -> None:
        self.committed: list[str] = []
        """The text of each finished assistant message that has any."""
        self.open = ""
        """Text newer than the last committed message: it may still be dropped."""

    @property
    def text(self) -> str:
        return "".join((*self.committed, self.open))

    def feed(self, item: StreamItem) -> Change:
        """`appended`: `open` has grown. `dropped`: what was in it is void. `committed`: it stands now, as a message."""
        if isinstance(item, Resync):
            self.committed.clear()
            return self._drop()
        match item.kind:
            case "TextDeltaObserved":
                self.open += _string(item, "delta")
                return "appended"
            case "MessageCommitted" if item.payload.get("role") == "assistant":
                return self._commit(item)
            case "StreamReset":
                return self._drop()
            case _:
                return "none"

    def _commit(self, item: Event) -> Change:
        """The message is the truth, whatever its deltas were."""
        blocks: Any = item.payload.get("content_blocks", [])
        try:
            text = text_of(msgspec.convert(blocks, tuple[dict[str, Any], ...]))
        except msgspec.ValidationError:
            text = self.open
        self.open = ""
        if text:
            self.committed.append(text)
        return "committed"

    def _drop(self) -> Change:
        self.open = ""
        return "dropped"


def _string(item: Event, name: str) -> str:
    value = item.payload.get(name)
    return value if isinstance(value, str) else ""
