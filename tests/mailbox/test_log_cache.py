"""What is kept of conversations, and when it is not."""

from __future__ import annotations

from typing import Any

import pytest

from awaken.domain.ids import MessageId, Scope, ThreadId
from awaken.domain.message import user_message
from awaken.mailbox import log_cache
from awaken.mailbox.log_cache import LogCache
from awaken.store.contract import MessageQuery, StoredMessage
from awaken.store.memory import MemoryStore
from awaken.testing.behaviour import behaviour
from awaken.testing.clock import ManualClock
from awaken.testing.forwarding import ForwardingStore

SCOPE, THREAD = Scope("s"), ThreadId("t")


class Logs(ForwardingStore):
    """A store whose logs are lists, and which counts the messages that are read."""

    def __init__(self) -> None:
        super().__init__(MemoryStore(ManualClock()))
        self.log: list[StoredMessage] = []
        self.read = 0

    def grow(self, *texts: str) -> None:
        for text in texts:
            seq = len(self.log) + 1
            self.log.append(StoredMessage(user_message(MessageId(f"m{seq}"), text), seq, None, 0))

    async def list_messages(self, scope: Scope, thread_id: ThreadId, query: MessageQuery) -> list[StoredMessage]:
        page = self.log[query.after : query.after + query.limit]
        self.read += len(page)
        return page


async def texts(cache: LogCache, logs: Logs, thread_no: int = 1) -> list[str]:
    return [stored.message.text for stored in await cache.read(logs, SCOPE, THREAD, thread_no)]


@behaviour("MBX-050", "P-006")
async def test_the_next_turn_reads_only_what_is_new() -> None:
    cache, logs = LogCache(), Logs()
    logs.grow(*"abcde")
    assert await texts(cache, logs) == [*"abcde"]

    logs.read = 0
    logs.grow("f")
    assert await texts(cache, logs) == [*"abcdef"]
    assert logs.read == 2  # the last one that is kept, for comparison, and the new one


@behaviour("MBX-054")
async def test_a_log_longer_than_a_page_is_read_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(log_cache, "PAGE", 3)
    cache, logs = LogCache(), Logs()
    logs.grow(*"abcdefgh")
    assert await texts(cache, logs) == [*"abcdefgh"]
    logs.grow(*"ijkl")
    assert await texts(cache, logs) == [*"abcdefghijkl"]


@pytest.mark.parametrize("restored", ["", "x", "abX", "abcX"])
async def test_a_log_that_was_replaced_is_read_anew(restored: str) -> None:
    """As when a backup takes the place of the file under a running server."""
    cache, logs = LogCache(), Logs()
    logs.grow(*"abc")
    await texts(cache, logs)

    logs.log.clear()
    logs.grow(*restored)
    assert await texts(cache, logs) == [*restored]


@behaviour("MBX-053", "P-019")
async def test_what_is_kept_is_bounded_and_the_oldest_goes_first(monkeypatch: pytest.MonkeyPatch) -> None:
    def size(message: Any) -> int:
        return len(message.text)

    monkeypatch.setattr(log_cache, "_size", size)
    cache, logs = LogCache(max_bytes=10), Logs()
    logs.grow("1234", "1234")  # 8 bytes a thread
    await texts(cache, logs, 1)
    await texts(cache, logs, 2)

    logs.read = 0
    await texts(cache, logs, 2)
    assert logs.read == 1
    await texts(cache, logs, 1)
    assert logs.read == 1 + 2


async def test_a_log_too_large_to_keep_is_read_each_time(monkeypatch: pytest.MonkeyPatch) -> None:
    cache, logs = LogCache(max_bytes=10), Logs()
    logs.grow("a", "b")
    assert await texts(cache, logs) == await texts(cache, logs) == ["a", "b"]
    assert logs.read == 4
