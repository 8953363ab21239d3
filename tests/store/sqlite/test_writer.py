"""When a batch's caller is told: at once, or while the next batch commits."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Sequence

import pytest

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
    both_asked, first_told = threading.Event(), threading.Event()
    seen: list[tuple[str, bool]] = []

    def watched(self: Transactor, batch: Sequence[Transition], before_commit: Callable[[], None]) -> list[Outcome]:
        def commits() -> None:
            seen.append((f"{len(seen) + 1} commits, the first is told", first.done()))
            before_commit()
            assert (both_asked if len(seen) == 1 else first_told).wait(_PATIENCE_S)

        return apply(self, batch, commits)

    monkeypatch.setattr(Transactor, "apply", watched)
    first = asyncio.create_task(store.apply([asked("d1")]))
    second = asyncio.create_task(store.apply([asked("d2")]))
    await asyncio.sleep(0)
    both_asked.set()
    async with asyncio.timeout(_PATIENCE_S):
        await first
        assert not second.done()
        first_told.set()
        await second
    assert seen == [("1 commits, the first is told", False), ("2 commits, the first is told", False)]


async def test_an_answer_nobody_waits_behind_is_given_at_once(store: SqliteStore) -> None:
    async with asyncio.timeout(_PATIENCE_S):
        for number in range(3):
            await store.apply([asked(f"d{number}")])
