"""List cursors: where a list goes on, as text. Those of events are in `domain.cursor`.

A list cursor carries the key of the last row and the fingerprint of the list it belongs to, filters and order included.

Source: docs/reference/http.md; SRV-004.
"""

from __future__ import annotations

import hashlib
import re
from base64 import urlsafe_b64decode, urlsafe_b64encode
from typing import Annotated, Any, Final, TypeVar

import msgspec
from msgspec import Meta

from awaken.http.problems import invalid

_LIST: Final = re.compile(r"[A-Za-z0-9_-]{1,700}={0,2}", re.ASCII)
_FINGERPRINT_BYTES: Final = 4

Stored = Annotated[int, Meta(ge=0, le=2**53)]
"""A seq, an offset or an instant as it may come from outside: a forged cursor holds nothing a store cannot take."""

K = TypeVar("K")


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
