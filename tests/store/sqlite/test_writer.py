"""What the writing thread does before the store is open, and when it answers."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from awaken.domain.errors import StoreUnavailable
from awaken.store.sqlite import SqliteStore
from awaken.store.sqlite.batch import Transactor
from awaken.store.transitions import Outcome, Transition
from awaken.testing.conformance.steps import asked

_PATIENCE_S = 10


async def test_an_answer_that_is_ready_is_given_when_the_next_batch_commits(
    store: SqliteStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not earlier: the event loop would compete with the decisions. Not later: it works while the commit runs."""
    apply = Transactor.apply
    both_asked, first_answered = threading.Event(), threading.Event()
    seen: list[tuple[str, bool]] = []

    def watched(self: Transactor, batch: Sequence[Transition], before_commit: Callable[[], None]) -> list[Outcome]:
        def commits() -> None:
            seen.append((f"{len(seen) + 1} commits, the first is answered", first.done()))
            before_commit()
            assert (both_asked if len(seen) == 1 else first_answered).wait(_PATIENCE_S)

        return apply(self, batch, commits)

    monkeypatch.setattr(Transactor, "apply", watched)
    first = asyncio.create_task(store.apply([asked("d1")]))
    second = asyncio.create_task(store.apply([asked("d2")]))
    await asyncio.sleep(0)
    both_asked.set()
    async with asyncio.timeout(_PATIENCE_S):
        await first
        assert not second.done()
        first_answered.set()
        await second
    assert seen == [("1 commits, the first is answered", False), ("2 commits, the first is answered", False)]


async def test_an_answer_nobody_waits_behind_is_given_at_once(store: SqliteStore) -> None:
    async with asyncio.timeout(_PATIENCE_S):
        for number in range(3):
            await store.apply([asked(f"d{number}")])


async def test_what_the_last_owner_left_is_taken_over_in_the_writing_thread_before_the_store_is_open(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    take_over = Transactor.open
    arrived, let_go = asyncio.Event(), threading.Event()
    loop = asyncio.get_running_loop()
    threads: list[str] = []

    def held(self: Transactor) -> int:
        threads.append(threading.current_thread().name)
        loop.call_soon_threadsafe(arrived.set)
        assert let_go.wait(_PATIENCE_S)
        return take_over(self)

    monkeypatch.setattr(Transactor, "open", held)
    async with asyncio.timeout(_PATIENCE_S):
        opening = asyncio.create_task(SqliteStore(path).__aenter__())
        await arrived.wait()
        await asyncio.sleep(0)
        assert not opening.done()
        let_go.set()
        store = await opening
        await store.apply([asked("d1")])
        await store.__aexit__(None, None, None)
    assert threads == ["awaken-sqlite-writer"]


async def test_a_store_that_cannot_take_over_what_was_left_is_refused_and_gives_the_file_back(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(self: Transactor) -> int:
        raise StoreUnavailable("the disk failed")

    with monkeypatch.context() as patched:
        patched.setattr(Transactor, "open", fail)
        with pytest.raises(StoreUnavailable, match="the disk failed"):
            async with SqliteStore(path):
                pass
    async with SqliteStore(path):
        pass
