"""Whoever gives a run up, the log says so."""

from __future__ import annotations

import logging
from pathlib import Path

import pytest

from awaken.domain.dispatch import DispatchStatus
from awaken.store.contract import Store
from awaken.store.memory import MemoryStore
from awaken.store.sqlite import SqliteStore
from awaken.testing.clock import ManualClock
from awaken.testing.conformance.opening import reopened
from awaken.testing.conformance.steps import claim_some, dispatch_of, submitted


@pytest.mark.parametrize("kind", ["memory", "sqlite"])
async def test_a_run_that_is_given_up_while_the_store_opens_is_an_error_in_the_log(
    kind: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    clock = ManualClock()
    store: Store = MemoryStore(clock)
    if kind == "sqlite":
        store = SqliteStore(tmp_path / "a.db", clock=clock, durability="process")
    with caplog.at_level(logging.ERROR, "awaken.mailbox"):
        async with store:
            await submitted(store, "poison", max_attempts=1)
            for _ in range(3):
                await claim_some(store, lease_ms=None)
                assert caplog.messages == []
                await reopened(store)
            dispatch = await dispatch_of(store, "poison")

    assert dispatch.status is DispatchStatus.DEAD_LETTER
    [told] = caplog.messages
    assert told == f"run run-poison of agent {dispatch.route} is given up: {dispatch.last_error}"
