"""Event cursors: where a reader resumes, as text.

Above: HTTP, the client and `Awaken`, which all name a place in a log by it. Below: a thread and a seq.
Holds: a cursor is `1.t.<fingerprint>.<seq>`: the place in its thread's log, in a run's stream too, so that one cursor
serves both. The fingerprint tells a cursor of another thread from one that is merely out of range. Where a protocol
makes several frames of one event, those before the last add a number (`<seq>.<sub>`): so many frames of that event were
seen, and not yet the event.

Source: docs/concepts/events.md; SRV-023.
"""

from __future__ import annotations

import hashlib
import re
from functools import lru_cache
from typing import Final

from awaken.domain.errors import ValidationError
from awaken.domain.ids import Scope, ThreadId

EVENT_CURSOR_PATTERN: Final = r"^1\.t\.[0-9a-f]{8}\.(0|[1-9][0-9]{0,15})(\.[1-9][0-9]{0,5})?$"
CURSOR_LIKE: Final = "a cursor looks like 1.t.0123abcd.42, and stands as `cursor` in every event"
"""How an error that is about one ends."""
_EVENT: Final = re.compile(r"1\.t\.([0-9a-f]{8})\.(0|[1-9][0-9]{0,15})(?:\.([1-9][0-9]{0,5}))?", re.ASCII)
_FINGERPRINT_DIGITS: Final = 8


@lru_cache(maxsize=4096)
def cursor_prefix(scope: Scope, thread_id: ThreadId) -> str:
    """What every cursor of the thread begins with."""
    print_ = hashlib.sha256(f"{scope}\0{thread_id}".encode("utf-8", "surrogatepass")).hexdigest()
    return f"1.t.{print_[:_FINGERPRINT_DIGITS]}."


def event_cursor(scope: Scope, thread_id: ThreadId, seq: int) -> str:
    """The cursor that resumes after the event with this seq; 0 is the start of the log."""
    return f"{cursor_prefix(scope, thread_id)}{seq}"


def event_seq(text: str, scope: Scope, thread_id: ThreadId, *loc: str) -> int:
    """The seq inside a cursor of this thread: of the last event that was seen whole.

    Raises:
        ValidationError: `invalid_request` for what is no cursor, `cursor_mismatch` for one of another thread.
    """
    return event_place(text, scope, thread_id, *loc)[0]


def event_place(text: str, scope: Scope, thread_id: ThreadId, *loc: str) -> tuple[int, int]:
    """The same, and how many frames of the event behind it were seen. Raises as `event_seq`."""
    parts = _EVENT.fullmatch(text) if isinstance(text, str) else None  # pyright: ignore[reportUnnecessaryIsInstance]
    if parts is None:
        raise ValidationError(f"this is not a cursor of this server; {CURSOR_LIKE}", loc=loc)
    if not cursor_prefix(scope, thread_id).endswith(f".{parts[1]}."):
        raise ValidationError("this cursor belongs to another thread", code="cursor_mismatch", loc=loc)
    seq = int(parts[2])
    return (seq, 0) if parts[3] is None else (max(seq - 1, 0), int(parts[3]))
