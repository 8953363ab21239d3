"""Pages of lists: one more row is read than asked for, and shows whether the list goes on."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, TypeVar

from awaken.http.cursors import list_cursor

R = TypeVar("R")


def cut_page(
    rows: Sequence[R], limit: int, list_name: str, filters: Any, key: Callable[[R], Any]
) -> tuple[Sequence[R], bool, str | None]:
    """The rows of this page out of up to `limit + 1`, whether there are more, and the cursor that leads to them."""
    page = rows[:limit]
    if len(rows) <= limit:
        return page, False, None
    return page, True, list_cursor(list_name, filters, key(page[-1]))
