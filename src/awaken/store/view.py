"""A page of a thread's effective view, put together from windows of its log.

Above: the reads of every store, for a thread of which something is hidden. Below: the view of `domain.span`.

Source: ADR 0037.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from msgspec.structs import replace

from awaken.domain.span import Span, View
from awaken.store.contract import MessageQuery, Page, StoredMessage


def page_of_view(
    spans: Sequence[Span], length: int, query: MessageQuery, read: Callable[[MessageQuery], Page[StoredMessage]]
) -> Page[StoredMessage]:
    """The page that the query asks of the view of a log with so many messages; `read` gives pages of the log itself.

    Its `next` is a place, as the query's `after` and `before` are.
    """
    last = length if query.before is None else min(query.before - 1, length)
    items: list[StoredMessage] = []
    unreadable: list[str] = []
    end: int | None = None
    for part in View(spans).parts(query.after + 1, last, descending=query.descending):
        if len(items) >= query.limit:
            return Page(tuple(items), end, tuple(unreadable))
        window = replace(
            query,
            view="log",
            after=part.seq - 1,
            before=part.seq + part.last - part.first + 1,
            limit=query.limit - len(items),
        )
        page = read(window)
        items += page.items
        unreadable += page.unreadable
        if page.next is not None:
            return Page(tuple(items), page.next, tuple(unreadable))
        end = part.first if query.descending else part.last
    return Page(tuple(items), None, tuple(unreadable))
