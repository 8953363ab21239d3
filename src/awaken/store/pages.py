"""Pages of lists and of logs, put together from rows: what each SQL store has read, whichever way it reads.

Above: `reading` of each SQL store. Below: `rows`.
Holds: a page of a log has every seq that the thread has counted, in order, and names what it lacks; a filter that no
index serves looks at `MAX_SCANNED` rows per page.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, TypeVar

from awaken.domain.errors import DataIntegrity
from awaken.domain.log import completed, referred
from awaken.domain.message import Message
from awaken.store.contract import MAX_SCANNED, EventRow, MessageQuery, Page, StoredMessage
from awaken.store.rows import StoredEvents
from awaken.store.rules.facts import ThreadRow

LAST: Final = (1 << 63) - 1
"""Behind every number."""
RecordT = TypeVar("RecordT")


def start_of(after: int | None, *, descending: bool) -> int:
    return (LAST if descending else 0) if after is None else after


def scanned_window(thread: ThreadRow, query: MessageQuery) -> tuple[int, int, int | None]:
    """The first and the last seq that a filtered page looks at, and where the next one goes on."""
    first = query.after + 1
    last = thread.message_seq if query.before is None else min(query.before - 1, thread.message_seq)
    if last - first < MAX_SCANNED:
        return first, last, None
    if query.descending:
        return last - MAX_SCANNED + 1, last, last - MAX_SCANNED + 1
    return first, first + MAX_SCANNED - 1, first + MAX_SCANNED - 1


def window_page(
    thread: ThreadRow, query: MessageQuery, found: dict[int, StoredMessage], damaged: dict[int, str]
) -> Page[StoredMessage]:
    """An unfiltered window has every seq that the thread has counted, in order; what it lacks is named."""
    first = query.after + 1
    last = thread.message_seq if query.before is None else min(query.before - 1, thread.message_seq)
    window = range(last, first - 1, -1) if query.descending else range(first, last + 1)
    page = window[: query.limit]
    unreadable = [
        damaged.get(seq, f"thread {thread.thread_id!r}: message {seq} of its log is missing")
        for seq in page
        if seq not in found
    ]
    strays = [seq for seq in found if seq not in window]
    if strays:
        unreadable.append(f"thread {thread.thread_id!r}: the log has a message {strays[0]} where it does not belong")
    items = [found[seq] for seq in page if seq in found]
    return Page(tuple(items), page[-1] if len(window) > len(page) > 0 else None, tuple(unreadable))


def whole(page: Page[RecordT]) -> list[RecordT]:
    """What a page holds. Raises DataIntegrity where it lacks something."""
    if page.unreadable:
        raise DataIntegrity(page.unreadable[0])
    return list(page.items)


def completed_row(
    thread: ThreadRow, stored: StoredEvents, message_of: Callable[[int], Message | DataIntegrity | None]
) -> EventRow:
    """The row with the bodies of the messages that it refers to, each found by its seq.

    Raises:
        DataIntegrity: It, or a message that it refers to, cannot be read.
    """
    messages: dict[int, Message] = {}
    try:
        for seq in referred(stored.events):
            message = message_of(seq)
            if isinstance(message, DataIntegrity):
                raise message
            if message is not None:
                messages[seq] = message
        events = completed(stored.events, messages, stored.dispatch_id)
    except DataIntegrity as error:
        raise DataIntegrity(f"events from {stored.first_seq} of thread {thread.thread_id!r}: {error}") from error
    return EventRow(
        thread.scope, thread.thread_id, stored.run_id, stored.dispatch_id, stored.first_seq, stored.created_at, events
    )
