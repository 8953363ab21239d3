"""Lists that may be long: iterated page by page, or awaited whole.

Above: `Awaken` and the client for programs with an event loop, whose lists are of this type.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Generator
from typing import Any, Generic, TypeVar

ItemT = TypeVar("ItemT")


class Listing(Generic[ItemT]):
    """`async for item in listing` reads a page when it is needed; `await listing` reads them all into a list.

    Each use reads anew. Nothing is read, and nothing refused, before.
    """

    def __init__(self, read: Callable[[list[str]], AsyncIterator[ItemT]], limit: int | None = None) -> None:
        """`read` adds to the list that it is given what it cannot show, by name. `limit`: at most so many items."""
        self._read = read
        self._limit = limit
        self.unreadable: list[str] = []
        """What is damaged or gone of what the latest use has read so far, by name; it is left out, or shown in part."""

    async def __aiter__(self) -> AsyncIterator[ItemT]:
        left = self._limit
        lost = self.unreadable = []
        if left is not None and left <= 0:
            return
        async for item in self._read(lost):
            yield item
            if left is not None:
                left -= 1
                if not left:
                    return

    def __await__(self) -> Generator[Any, None, list[ItemT]]:
        return self._all().__await__()

    async def _all(self) -> list[ItemT]:
        return [item async for item in self]
