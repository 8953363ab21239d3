"""Pages of lists."""

from __future__ import annotations

from typing import Annotated, Any

from msgspec import Meta

from awaken.http.cursors import list_cursor, list_key
from awaken.store.contract import Page

Place = Annotated[int, Meta(ge=0, le=2**62)]
"""Where a page of the store goes on, as it may come from outside."""


def start_of_page(cursor: str | None, list_name: str, filters: Any) -> int | None:
    """The `next` of the page before, out of a cursor of this very list.

    Raises:
        Problem: It is none, or of another list, filter or order.
    """
    return None if cursor is None else list_key(cursor, list_name, filters, tuple[Place])[0]


def next_cursor(page: Page[Any], list_name: str, filters: Any) -> str | None:
    """The cursor that leads to what comes after a page of the store."""
    return None if page.next is None else list_cursor(list_name, filters, (page.next,))
