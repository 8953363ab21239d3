"""Who hears what happens in a mailbox, and that listening does no harm."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Any

import pytest

from awaken.domain.event import ErrorRecorded, Event
from awaken.executors.function import Context
from awaken.mailbox.observer import Observer, Observers, OutcomeLabel
from awaken.store.contract import Store
from awaken.store.transitions import Claimed, Outcome, Transition
from awaken.testing.behaviour import behaviour
from awaken.testing.clock import ManualClock
from awaken.testing.mailboxes import Ledger, World


class Faulty(Observer):
    """Fails whatever it is told."""

    hears = frozenset({ErrorRecorded})

    def __init__(self) -> None:
        self.told: list[str] = []

    def _fail(self, hook: str) -> None:
        self.told.append(hook)
        raise RuntimeError(f"{hook} failed")

    def applied(self, transitions: Sequence[Transition], outcomes: Sequence[Outcome], took_s: float) -> None:
        self._fail("applied")

    def failed(self, transition: Transition) -> None:
        self._fail("failed")

    def started(self, claimed: Claimed, since_claim_s: float) -> None:
        self._fail("started")

    def said(self, claimed: Claimed, events: Sequence[Event]) -> None:
        self._fail("said")

    def ended(self, claimed: Claimed, label: OutcomeLabel, runtime_s: float) -> None:
        self._fail("ended")

    def unserved(self, routes: int) -> None:
        self._fail("unserved")


class Listener(Observer):
    """Remembers what agents say."""

    hears = frozenset({ErrorRecorded})

    def __init__(self) -> None:
        self.heard: list[Event] = []

    def said(self, claimed: Claimed, events: Sequence[Event]) -> None:
        self.heard += events


async def complaining(ctx: Context) -> str:
    await ctx.emit("first")
    await ctx.emit(ErrorRecorded("no such file", "missing"))
    return "done"


@behaviour("OBS-001")
async def test_an_observer_that_fails_hurts_neither_a_run_nor_the_next_observer(
    store: Store, clock: ManualClock, caplog: pytest.LogCaptureFixture
) -> None:
    faulty, ledger = Faulty(), Ledger()
    async with World(store, clock, agents={"complaining": complaining}, observer=faulty) as world:
        world.mailbox.observers.add(ledger)
        runs = [await world.submit(agent_id="complaining") for _ in range(3)]
        for run in runs:
            assert (await world.done(run)).output == "done"
        await world.advance(31)

    assert {"applied", "started", "said", "ended", "unserved"} <= set(faulty.told)
    assert (ledger.begun, ledger.labels) == (3, ["completed"] * 3)
    complaints = [record for record in caplog.records if "an observer failed" in record.message]
    assert len(complaints) == len(set(faulty.told)), "one line for each hook, however often it fails"
    assert all([record.levelno == logging.ERROR and record.exc_info for record in complaints])


async def test_what_agents_say_is_told_where_somebody_hears_it(store: Store, clock: ManualClock) -> None:
    listener = Listener()
    async with World(store, clock, agents={"complaining": complaining}, observer=listener) as world:
        await world.done(await world.submit(agent_id="complaining"))
    assert [type(event) for event in listener.heard] == [ErrorRecorded]


@behaviour("OBS-001")
async def test_whoever_is_added_twice_is_told_once(store: Store, clock: ManualClock) -> None:
    ledger = Ledger()
    observers = Observers(ledger)
    observers.add(ledger, ledger)
    async with World(store, clock, observer=observers) as world:
        run = await world.submit()
        (await world.agent.next_call()).release()
        await world.done(run)
        await world.quiet()
    assert ledger.labels == ["completed"]


def test_what_an_observer_does_not_ask_for_is_not_told() -> None:
    class Ends(Observer):
        def __init__(self) -> None:
            self.ends: list[Any] = []

        def ended(self, claimed: Claimed, label: OutcomeLabel, runtime_s: float) -> None:
            self.ends.append(label)

        def __getattribute__(self, name: str) -> Any:
            assert name in ("ended", "ends", "hears", "__class__"), f"{name} was asked for"
            return super().__getattribute__(name)

    ends = Ends()
    observers = Observers(ends)
    observers.unserved(3)
    observers.applied((), (), 0.1)
    observers.ended(None, "completed", 1.0)  # pyright: ignore[reportArgumentType]: nobody looks
    assert ends.ends == ["completed"]
