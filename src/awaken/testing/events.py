"""Events for tests that need some, whatever is in them.

Above: tests of stores, ports and readers. Below: the executor events.
"""

from __future__ import annotations

from awaken.domain.event import TextDelta
from awaken.domain.ids import MessageId


def text_delta(delta: str, *, message_id: str = "message", part: int = 0) -> TextDelta:
    """A piece of streamed text."""
    return TextDelta(MessageId(message_id), part, delta)
