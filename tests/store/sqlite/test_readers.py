"""Readers: what reads few rows waits for nothing that reads many."""

from __future__ import annotations

import asyncio
import os
import sys
import threading
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from awaken.domain.ids import DispatchId
from awaken.domain.message import Visibility
from awaken.store.contract import DispatchQuery, MessageQuery, RunQuery, ThreadQuery
from awaken.store.sqlite import SqliteStore
from awaken.store.sqlite.readers import LISTERS, READERS, Readers
from awaken.store.sqlite.reading import Reading
from awaken.testing.behaviour import behaviour
from awaken.testing.conformance.steps import SCOPE, THREAD, message_id, run_id, submitted

LISTS: dict[str, Callable[[SqliteStore], Awaitable[Any]]] = {
    "list_threads": lambda store: store.list_threads(SCOPE, ThreadQuery()),
    "list_runs": lambda store: store.list_runs(SCOPE, RunQuery()),
    "list_dispatches": lambda store: store.list_dispatches(SCOPE, DispatchQuery(thread_id=THREAD)),
    "list_messages": lambda store: store.list_messages(SCOPE, THREAD, MessageQuery(visibility=Visibility.INTERNAL)),
    "count_open_runs": lambda store: store.count_open_runs(SCOPE),
    "count_dispatches": lambda store: store.count_dispatches(),
    "count_open_tickets": lambda store: store.count_open_tickets(),
}


@behaviour("PB-003")
@pytest.mark.parametrize("name", [*LISTS])
async def test_however_many_lists_are_slow_no_read_of_few_rows_waits_for_them(
    store: SqliteStore, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    """Every list is held where it has a state of the database open; what a wait and a stream read is answered."""
    go_on = threading.Event()
    held = getattr(Reading, name)

    def slow(reading: Reading, *args: Any) -> Any:
        assert go_on.wait(10), "a read waited for a list"
        return held(reading, *args)

    await submitted(store, "d1")
    monkeypatch.setattr(Reading, name, slow)
    lists = [asyncio.ensure_future(LISTS[name](store)) for _ in range(READERS + LISTERS + 1)]
    try:
        async with asyncio.timeout(5):
            for _ in range(READERS + 1):
                assert await store.load_run(SCOPE, run_id("d1")) is not None
            assert await store.load_dispatch(SCOPE, DispatchId("d1")) is not None
            assert await store.load_message(SCOPE, THREAD, message_id("msg-d1")) is not None
            assert len(await store.list_events(SCOPE, THREAD, after=0, limit=10)) == 1
            assert await store.event_bounds(SCOPE, THREAD) == (1, 1)
        assert not any(each.done() for each in lists)
    finally:
        go_on.set()
    async with asyncio.timeout(5):
        await asyncio.gather(*lists)


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere the threads of a process have one priority")
async def test_the_audit_keeps_nobody_from_a_processor(tmp_path: Path) -> None:
    def priority(_: Reading) -> int:
        return os.getpriority(os.PRIO_PROCESS, threading.get_native_id())

    async with SqliteStore(tmp_path / "awaken.db"):
        pass
    readers = Readers(tmp_path / "awaken.db")
    readers.open()
    try:
        assert await readers.audit(priority) == 19
        assert await readers.read(priority) == await readers.read(priority, many=True) == os.getpriority(0, 0)
    finally:
        readers.close()
