"""Starting and stopping from many tasks at once, cancelled or not: one life at a time, and nothing is left open."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

import pytest

from awaken.domain.errors import Unavailable
from awaken.mailbox.lifetime import Lifetime
from awaken.testing.behaviour import behaviour
from awaken.testing.clock import settle


class House:
    """Something that is opened and closed by one task; both wait at a door that the test opens."""

    def __init__(self) -> None:
        self.log: list[str] = []
        self.open_count = 0
        self.front_door, self.back_door = asyncio.Event(), asyncio.Event()
        self.front_door.set()
        self.back_door.set()
        self.is_open = asyncio.Event()
        self.breaks: Exception | None = None

    @asynccontextmanager
    async def opened(self) -> AsyncGenerator[None]:
        self.log.append("opening")
        task = asyncio.current_task()
        await self.front_door.wait()
        if self.breaks is not None:
            raise self.breaks
        self.open_count += 1
        assert self.open_count == 1
        self.is_open.set()
        try:
            yield
        finally:
            assert asyncio.current_task() is task
            await self.back_door.wait()
            self.open_count -= 1
            self.log.append("closed")


@pytest.fixture
async def house() -> House:
    return House()


@pytest.fixture
async def lifetime(house: House) -> Lifetime:
    return Lifetime(house.opened)


@behaviour("MBX-115")
async def test_starting_and_stopping_twice_is_the_same_as_once(house: House, lifetime: Lifetime) -> None:
    assert lifetime.state == "new"
    await lifetime.stop()
    for _ in range(2):
        await lifetime.start()
        assert lifetime.state == "ready"
    for _ in range(2):
        await lifetime.stop()
        assert lifetime.state == "stopped"
    assert house.log == ["opening", "closed"]


@behaviour("MBX-113", "MBX-114", "MBX-118")
async def test_starts_that_meet_share_one_start(house: House, lifetime: Lifetime) -> None:
    house.front_door.clear()
    starting = [asyncio.create_task(lifetime.start()) for _ in range(5)]
    await settle()
    assert (lifetime.state, house.log) == ("starting", ["opening"])

    house.front_door.set()
    await asyncio.gather(*starting)
    assert (lifetime.state, house.open_count) == ("ready", 1)
    await lifetime.stop()


async def test_stops_that_meet_share_one_stop(house: House, lifetime: Lifetime) -> None:
    await lifetime.start()
    house.back_door.clear()
    stopping = [asyncio.create_task(lifetime.stop()) for _ in range(5)]
    await settle()
    assert (lifetime.state, [task.done() for task in stopping]) == ("stopping", [False] * 5)

    house.back_door.set()
    await asyncio.gather(*stopping)
    assert (lifetime.state, house.log) == ("stopped", ["opening", "closed"])


@behaviour("MBX-116")
async def test_a_start_during_a_stop_waits_for_it_and_begins_anew(house: House, lifetime: Lifetime) -> None:
    await lifetime.start()
    house.back_door.clear()
    stopping = asyncio.create_task(lifetime.stop())
    await settle()
    starting = [asyncio.create_task(lifetime.start()) for _ in range(3)]
    await settle()
    assert house.log == ["opening"]

    house.back_door.set()
    await asyncio.gather(stopping, *starting)
    assert (lifetime.state, house.log, house.open_count) == ("ready", ["opening", "closed", "opening"], 1)
    await lifetime.stop()


@pytest.mark.parametrize("turns", [1, 50])
async def test_a_stop_during_a_start_calls_it_off_for_all_who_wait(
    house: House, lifetime: Lifetime, turns: int
) -> None:
    """Also before the start has got anywhere."""
    house.front_door.clear()
    starting = [asyncio.create_task(lifetime.start()) for _ in range(3)]
    await settle(turns)

    async with asyncio.timeout(10):
        await lifetime.stop()
    results = await asyncio.gather(*starting, return_exceptions=True)
    assert [type(result) for result in results] == [Unavailable] * 3
    assert (lifetime.state, house.open_count) == ("stopped", 0)
    house.front_door.set()
    await lifetime.start()
    await lifetime.stop()


async def test_a_start_that_fails_fails_for_all_who_wait_and_may_be_tried_again(
    house: House, lifetime: Lifetime
) -> None:
    house.breaks = KeyError("the roof")
    results = await asyncio.gather(*[lifetime.start() for _ in range(3)], return_exceptions=True)
    assert results == [house.breaks] * 3
    assert lifetime.state == "stopped"
    await lifetime.stop()

    house.breaks = None
    await lifetime.start()
    assert lifetime.state == "ready"
    await lifetime.stop()


@behaviour("MBX-117")
async def test_a_start_goes_on_as_long_as_anybody_waits_for_it(house: House, lifetime: Lifetime) -> None:
    house.front_door.clear()
    first, second = [asyncio.create_task(lifetime.start()) for _ in range(2)]
    await settle()
    first.cancel()
    await asyncio.wait((first,))
    assert lifetime.state == "starting"

    house.front_door.set()
    await second
    assert lifetime.state == "ready"
    await lifetime.stop()


@pytest.mark.parametrize("is_ready", [False, True])
async def test_a_start_whose_only_caller_was_cancelled_leaves_nothing_open(
    house: House, lifetime: Lifetime, is_ready: bool
) -> None:
    """Also when the cancellation comes in the moment in which it is ready: the caller will not stop it."""
    house.front_door.clear()
    starting = asyncio.create_task(lifetime.start())
    await settle()
    if is_ready:
        house.front_door.set()
        await house.is_open.wait()
        assert (lifetime.state, starting.done()) == ("ready", False)
    starting.cancel()
    await asyncio.wait((starting,))

    assert starting.cancelled()
    assert (lifetime.state, house.open_count) == ("stopped", 0)


async def test_a_stop_that_is_cancelled_often_still_closes_everything_first(house: House, lifetime: Lifetime) -> None:
    await lifetime.start()
    house.back_door.clear()
    stopping = asyncio.create_task(lifetime.stop())
    for _ in range(3):
        await settle()
        stopping.cancel()
    await settle()
    assert not stopping.done()

    house.back_door.set()
    await asyncio.wait((stopping,))
    assert stopping.cancelled()
    assert (lifetime.state, house.open_count) == ("stopped", 0)


async def test_the_failure_of_a_life_closes_it_and_is_raised_by_whoever_stops_it() -> None:
    fails, closed = asyncio.Event(), asyncio.Event()

    @asynccontextmanager
    async def opened() -> AsyncGenerator[None]:
        async def child() -> None:
            await fails.wait()
            raise KeyError("a bug")

        async with asyncio.TaskGroup() as group:
            group.create_task(child())
            try:
                yield
            finally:
                closed.set()

    lifetime = Lifetime(opened)
    await lifetime.start()
    fails.set()
    async with asyncio.timeout(10):
        await closed.wait()
        await settle()
    assert lifetime.state == "stopped"
    with pytest.raises(ExceptionGroup):
        await lifetime.stop()
