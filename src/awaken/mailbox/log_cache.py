"""The beginnings of conversations that were read lately, so that the next turn of a busy thread reads only what is new.

Above: `port.Port.conversation`, once per execution. Below: `Reads.list_messages`.
Holds: a log only grows, so what was read of it stays right. It is kept by the thread's number inside the store, which
no other thread ever gets, and the last message that is kept is read again and compared, so that a file that was
restored under a running server is noticed. What is kept is bounded by its size; the threads read longest ago go first.

Source: ADR 0027.
"""

from __future__ import annotations

from typing import Final

from awaken.domain.ids import Scope, ThreadId
from awaken.domain.message import Message, Text
from awaken.store.contract import MessageQuery, Reads, StoredMessage

MAX_BYTES: Final = 32 * 1024 * 1024
"""Of text, about; other content counts as `_OTHER_BYTES` a block."""
PAGE: Final = 10_000
_MESSAGE_BYTES: Final = 500
"""What a message takes besides its text."""
_OTHER_BYTES: Final = 4_000


class LogCache:
    """One per mailbox."""

    def __init__(self, max_bytes: int = MAX_BYTES) -> None:
        self._max_bytes = max_bytes
        self._kept: dict[int, tuple[list[StoredMessage], int]] = {}
        """By thread number: the log from its first message on, and its size. The one used last stands last."""
        self._bytes = 0

    async def read(self, reads: Reads, scope: Scope, thread_id: ThreadId, thread_no: int) -> list[StoredMessage]:
        """The whole log as it is now. The list is the caller's."""
        kept = self._kept.get(thread_no, ([], 0))[0]
        log = kept
        while True:
            after = max((log[-1].seq or 0) - 1, 0) if log else 0
            page = await reads.list_messages(scope, thread_id, MessageQuery(after=after, limit=PAGE))
            if log and (not page or page[0] != log[-1]):
                log = []  # this is another log: the database was replaced
                continue
            log = [*log, *page[1:]] if log else page
            if len(page) < PAGE:
                break
        self._keep(thread_no, log)
        return [*log]

    def _keep(self, thread_no: int, log: list[StoredMessage]) -> None:
        before = self._kept.pop(thread_no, None)
        known, size = ([], 0) if before is None or before[0][:1] != log[:1] else before
        self._bytes -= 0 if before is None else before[1]
        size += sum([_size(stored.message) for stored in log[len(known) :]])
        if size > self._max_bytes:
            return
        self._kept[thread_no] = (log, size)
        self._bytes += size
        while self._bytes > self._max_bytes:
            oldest = next(iter(self._kept))
            self._bytes -= self._kept.pop(oldest)[1]


def _size(message: Message) -> int:
    blocks = message.content
    size = _MESSAGE_BYTES + sum([len(block.text) if type(block) is Text else _OTHER_BYTES for block in blocks])
    return size + (_OTHER_BYTES if message.native is not None or message.tool_calls else 0)
