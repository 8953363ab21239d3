"""Cursors: where a reader resumes, as text.

An event cursor is `1.t.<fingerprint>.<seq>`: the place in its thread's log, in a run's stream too, so that one cursor
serves both. The fingerprint distinguishes a cursor of another thread from one that is merely out of range.
A list cursor carries the key of the last row and the fingerprint of the list it belongs to, filters and order included.

Source: docs/concepts/events.md; SRV-004, SRV-023.
"""

from __future__ import annotations

import hashlib
import re
from base64 import urlsafe_b64decode, urlsafe_b64encode
from functools import lru_cache
from typing import Annotated, Any, Final, TypeVar

import msgspec
from msgspec import Meta

from awaken.domain.ids import Scope, ThreadId
from awaken.http.problems import invalid

_EVENT: Final = re.compile(r"1\.t\.([0-9a-f]{8})\.(0|[1-9][0-9]{0,15})", re.ASCII)
_LIST: Final = re.compile(r"[A-Za-z0-9_-]{1,700}={0,2}", re.ASCII)
EVENT_CURSOR_PATTERN: Final = r"^1\.t\.[0-9a-f]{8}\.(0|[1-9][0-9]{0,15})$"
_FINGERPRINT_BYTES: Final = 4

Stored = Annotated[int, Meta(ge=0, le=2**53)]
"""A seq, an offset or an instant as it may come from outside: a forged cursor holds nothing a store cannot take."""

K = TypeVar("K")


@lru_cache(maxsize=4096)
def cursor_prefix(scope: Scope, thread_id: ThreadId) -> str:
    """What every cursor of the thread begins with."""
    print_ = hashlib.sha256(f"{scope}\0{thread_id}".encode("utf-8", "surrogatepass")).hexdigest()
    return f"1.t.{print_[: 2 * _FINGERPRINT_BYTES]}."


def event_cursor(scope: Scope, thread_id: ThreadId, seq: int) -> str:
    """The cursor that resumes after the event with this seq; 0 is the start of the log."""
    return f"{cursor_prefix(scope, thread_id)}{seq}"


def event_seq(text: str, scope: Scope, thread_id: ThreadId, *loc: str) -> int:
    """The seq inside a cursor of this thread.

    Raises:
        Problem: `invalid_request` for what is no cursor, `cursor_mismatch` for one of another thread.
    """
    parts = _EVENT.fullmatch(text)
    if parts is None:
        raise invalid("invalid_request", "this is not a cursor of this server", *loc)
    if not cursor_prefix(scope, thread_id).endswith(f".{parts[1]}."):
        raise invalid("cursor_mismatch", "this cursor belongs to another thread", *loc)
    return int(parts[2])


def list_cursor(list_name: str, filters: Any, key: Any) -> str:
    """A cursor that resumes a list after the row with this key."""
    packed = _list_print(list_name, filters) + msgspec.json.encode(key)
    return urlsafe_b64encode(packed).decode().rstrip("=")


def list_key(text: str, list_name: str, filters: Any, type: type[K]) -> K:
    """The key inside a cursor of this very list.

    Raises:
        Problem: `invalid_request` for what is no cursor, `cursor_mismatch` for one of another list, filter or order.
    """
    loc = ("query", "cursor")
    try:
        if _LIST.fullmatch(text) is None:
            raise ValueError("not a cursor")
        packed = urlsafe_b64decode(text + "=" * (-len(text) % 4))
        key = msgspec.json.decode(packed[_FINGERPRINT_BYTES:], type=msgspec.Raw)
        if packed[:_FINGERPRINT_BYTES] != _list_print(list_name, filters):
            raise invalid("cursor_mismatch", "this cursor belongs to a list with other filters or another order", *loc)
        return msgspec.json.decode(key, type=type)
    except ValueError as error:
        raise invalid("invalid_request", "this is not a cursor of this server", *loc) from error


def _list_print(list_name: str, filters: Any) -> bytes:
    named = msgspec.json.encode([list_name, filters], order="deterministic")
    return hashlib.sha256(named).digest()[:_FINGERPRINT_BYTES]
