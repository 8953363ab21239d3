"""A start that meets a store which is not there yet, and rounds of a user's own."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Any

import pytest

from awaken.domain.errors import DataIntegrity, StoreUnavailable
from awaken.domain.ids import Ids, seeded_chance
from awaken.executors.function import Context
from awaken.executors.registry import Agents
from awaken.mailbox.engine import Recovery
from awaken.mailbox.service import Mailbox
from awaken.mailbox.settings import MailboxSettings
from awaken.store.contract import Store
from awaken.testing.behaviour import behaviour
from awaken.testing.clock import ManualClock, settle
from awaken.testing.forwarding import ForwardingStore
from awaken.testing.mailboxes import WatchedStore, World

PATIENT = MailboxSettings(drain_s=0, handover_s=0, startup_retry_s=10)


class LateStore(ForwardingStore):
    """Cannot be opened until it is there."""

    def __init__(self, store: Store, error: Exception) -> None:
        super().__init__(store)
        self.is_there = False
        self.tries = 0
        self._error = error

    async def __aenter__(self) -> LateStore:
        self.tries += 1
        if not self.is_there:
            raise self._error
        await super().__aenter__()
        return self


def mailbox_on(store: Store, clock: ManualClock, settings: MailboxSettings) -> Mailbox:
    return Mailbox(store, Agents(clock), settings=settings, clock=clock, ids=Ids(clock, seeded_chance(1)))


@behaviour("MBX-112")
async def test_a_start_waits_for_a_store_that_comes_up_after_it(
    store: WatchedStore, clock: ManualClock, caplog: pytest.LogCaptureFixture
) -> None:
    late = LateStore(store, StoreUnavailable("the file is owned by another process"))
    mailbox = mailbox_on(late, clock, PATIENT)
    starting = asyncio.create_task(mailbox.start())
    await settle()
    for _ in range(3):
        await clock.advance(1)
    assert (late.tries, mailbox.state, starting.done()) == (4, "starting", False)
    assert mailbox.health().recovery == Recovery("waiting", detail="the file is owned by another process")

    late.is_there = True
    await clock.advance(1)
    async with asyncio.timeout(20):
        await starting
        assert mailbox.state == "ready"
        await mailbox.stop()

    [line] = [record.getMessage() for record in caplog.records if record.levelno == logging.WARNING]
    assert line == "the start waits, for up to 10 s: the file is owned by another process"


async def test_a_start_that_has_waited_long_enough_says_why_and_may_be_tried_again(
    store: WatchedStore, clock: ManualClock
) -> None:
    late = LateStore(store, StoreUnavailable("not there"))
    mailbox = mailbox_on(late, clock, PATIENT)
    starting = asyncio.create_task(mailbox.start())
    await settle()
    for _ in range(10):
        await clock.advance(1)

    with pytest.raises(StoreUnavailable, match="not there"):
        await starting
    assert (mailbox.state, late.tries) == ("stopped", 11)

    late.is_there = True
    async with asyncio.timeout(20), mailbox:
        assert mailbox.state == "ready"


@behaviour("MBX-003")
async def test_a_start_fails_at_once_unless_it_is_told_to_wait(store: WatchedStore, clock: ManualClock) -> None:
    late = LateStore(store, StoreUnavailable("not there"))

    with pytest.raises(StoreUnavailable):
        await mailbox_on(late, clock, MailboxSettings()).start()

    assert late.tries == 1


async def test_what_no_waiting_mends_fails_at_once(store: WatchedStore, clock: ManualClock) -> None:
    late = LateStore(store, DataIntegrity("it belongs to another program"))

    with pytest.raises(DataIntegrity):
        await mailbox_on(late, clock, PATIENT).start()

    assert late.tries == 1


@behaviour("MBX-112")
async def test_a_recovery_that_the_store_interrupts_is_tried_again(store: WatchedStore, clock: ManualClock) -> None:
    reads = 0
    was_read = asyncio.Event()

    class Flickering(ForwardingStore):
        async def list_claims(self, *arguments: Any, **named: Any) -> Any:
            nonlocal reads
            reads += 1
            was_read.set()
            if reads == 1:
                raise StoreUnavailable("for a moment")
            return await super().list_claims(*arguments, **named)

    mailbox = mailbox_on(Flickering(store), clock, PATIENT)
    assert mailbox.health().recovery == Recovery("opening")
    starting = asyncio.create_task(mailbox.start())
    await settle()
    async with asyncio.timeout(20):
        await was_read.wait()
        await settle()
        assert mailbox.health().recovery == Recovery("waiting", detail="for a moment")
        await clock.advance(1)
        await starting
        assert reads >= 2
        assert mailbox.health().recovery.phase in ("auditing", "done")
        await mailbox.stop()


async def test_a_stop_ends_the_waiting(store: WatchedStore, clock: ManualClock) -> None:
    mailbox = mailbox_on(LateStore(store, StoreUnavailable("not there")), clock, PATIENT)
    starting = asyncio.create_task(mailbox.start())
    await settle()

    async with asyncio.timeout(20):
        await mailbox.stop()

    assert isinstance((await asyncio.gather(starting, return_exceptions=True))[0], Exception)
    assert mailbox.state == "stopped"


# --- rounds of a user's own -------------------------------------------------------------------------------------------


async def answer(context: Context) -> str:
    return "done"


def world_with(store: WatchedStore, clock: ManualClock, rounds: Callable[[], Awaitable[Any]]) -> World:
    settings = MailboxSettings(drain_s=0, handover_s=0, purge_interval_s=10, tidy_s=3)
    return World(store, clock, agents={"answer": answer}, settings=settings, maintenance=rounds)


@behaviour("MBX-122", "MBX-123")
async def test_rounds_are_made_while_it_is_open_and_none_afterwards(store: WatchedStore, clock: ManualClock) -> None:
    made: list[float] = []

    async def rounds() -> None:
        made.append(clock.monotonic())

    async with world_with(store, clock, rounds):
        begun = clock.monotonic()
        for _ in range(35):
            await clock.advance(1)
        assert [round(at - begun) for at in made] == [10, 20, 30]
    await clock.advance(60)
    assert len(made) == 3


async def test_a_round_that_fails_or_wants_the_process_to_end_harms_nobody(
    store: WatchedStore, clock: ManualClock, caplog: pytest.LogCaptureFixture
) -> None:
    made = 0

    async def rounds() -> None:
        nonlocal made
        made += 1
        raise [ValueError("no luck"), SystemExit(3), KeyboardInterrupt(), GeneratorExit()][made - 1]

    async with world_with(store, clock, rounds) as world:
        for _ in range(40):
            await clock.advance(1)
        assert made == 4
        assert (await world.done(await world.submit(agent_id="answer"))).final_output == "done"
    assert caplog.text.count("maintenance failed; its next round is 10 s later") == 4


@behaviour("MBX-123")
async def test_a_round_that_is_under_way_is_cancelled_and_one_that_ignores_it_is_abandoned(
    store: WatchedStore, clock: ManualClock, caplog: pytest.LogCaptureFixture
) -> None:
    said: list[str] = []
    let_go = asyncio.Event()

    async def rounds() -> None:
        try:
            await let_go.wait()
        except asyncio.CancelledError:
            said.append("cancelled")
            await let_go.wait()
        said.append("ended")

    async with world_with(store, clock, rounds):
        for _ in range(30):
            await clock.advance(1)
        assert said == [], "one at a time: the second waits for the first"
        begun_s = clock.monotonic()
    assert (said, clock.monotonic() - begun_s) == (["cancelled"], 3)
    assert "maintenance ignored the request to stop, and is abandoned" in caplog.text
    let_go.set()
    await settle()
    assert said == ["cancelled", "ended"]


@behaviour("MBX-123")
async def test_a_round_and_an_agent_that_ignore_a_stop_keep_a_mailbox_no_longer_than_either_does(
    store: WatchedStore, clock: ManualClock
) -> None:
    let_go = asyncio.Event()

    async def deaf(context: Context | None = None) -> None:
        while not let_go.is_set():
            with suppress(asyncio.CancelledError):
                await let_go.wait()

    settings = MailboxSettings(drain_s=4, handover_s=2, purge_interval_s=10, tidy_s=3)
    async with World(store, clock, agents={"deaf": deaf}, settings=settings, maintenance=deaf) as world:
        await world.submit(agent_id="deaf")
        await world.advance(11)
        begun_s = clock.monotonic()
        await world.leave()
        took_s = clock.monotonic() - begun_s
        let_go.set()
        await settle()
    assert took_s == settings.leave_s
