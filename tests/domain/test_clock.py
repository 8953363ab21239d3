"""Clocks, alarms and instants as text."""

from __future__ import annotations

import asyncio

import pytest

from awaken.domain.clock import (
    FIRST_INSTANT,
    LAST_INSTANT,
    Alarm,
    SystemClock,
    from_rfc3339,
    lasting,
    sleep,
    to_rfc3339,
)
from awaken.testing.clock import START, ManualClock, settle


async def test_an_alarm_set_before_the_wait_is_not_lost() -> None:
    alarm = Alarm(ManualClock())
    alarm.set()

    assert await alarm.wait() is True
    assert await alarm.wait(0) is False


async def test_an_alarm_wakes_its_waiter() -> None:
    alarm = Alarm(ManualClock())

    async with asyncio.timeout(5), asyncio.TaskGroup() as group:
        waiting = group.create_task(alarm.wait(60))
        await settle()
        assert not waiting.done()
        alarm.set()

    assert waiting.result() is True


async def test_an_alarm_that_nobody_sets_ends_at_its_time_and_not_before() -> None:
    clock = ManualClock()
    alarm = Alarm(clock)

    async with asyncio.timeout(5), asyncio.TaskGroup() as group:
        waiting = group.create_task(alarm.wait(2))
        await clock.advance(1.999)
        assert not waiting.done()
        await clock.advance(0.001)

    assert waiting.result() is False


async def test_a_cancelled_wait_leaves_the_alarm_usable() -> None:
    clock = ManualClock()
    alarm = Alarm(clock)
    waiting = asyncio.ensure_future(alarm.wait(1))
    await settle()

    waiting.cancel()
    await asyncio.gather(waiting, return_exceptions=True)
    await clock.advance(5)

    alarm.set()
    assert await alarm.wait(1) is True


@pytest.mark.parametrize(
    ("instant", "text"),
    [
        (0, "1970-01-01T00:00:00.000Z"),
        (-1, "1969-12-31T23:59:59.999Z"),
        (1_790_000_000_001, "2026-09-21T14:13:20.001Z"),
        (FIRST_INSTANT, "0001-01-01T00:00:00.000Z"),
        (FIRST_INSTANT - 1, "0001-01-01T00:00:00.000Z"),
        (LAST_INSTANT, "9999-12-31T23:59:59.999Z"),
        (LAST_INSTANT + 1, "9999-12-31T23:59:59.999Z"),
        (10**30, "9999-12-31T23:59:59.999Z"),
    ],
)
def test_every_instant_has_a_text(instant: int, text: str) -> None:
    """Beyond the years that the form can write, the nearest that it can."""
    assert to_rfc3339(instant) == text


async def test_sleeping_takes_the_clocks_time() -> None:
    clock = ManualClock()

    async with asyncio.timeout(5), asyncio.TaskGroup() as group:
        sleeping = group.create_task(sleep(clock, 3))
        await clock.advance(2)
        assert not sleeping.done()
        await clock.advance(1)

    assert clock.now() == START + 3_000


async def test_a_manual_clock_fires_its_timers_in_order_at_their_own_instants() -> None:
    clock = ManualClock()
    fired: list[tuple[str, int]] = []

    def note(name: str) -> None:
        fired.append((name, clock.now() - START))

    clock.call_later(2, lambda: note("second"))
    clock.call_later(1, lambda: note("first"))
    clock.call_later(1, lambda: note("first too"))
    clock.call_later(9, lambda: note("never"))
    clock.call_later(1.5, lambda: note("cancelled")).cancel()

    await clock.advance(3)

    assert fired == [("first", 1_000), ("first too", 1_000), ("second", 2_000)]
    assert (clock.now(), clock.monotonic()) == (START + 3_000, 3.0)


def test_a_wall_clock_may_go_back_while_time_goes_on() -> None:
    clock = ManualClock()

    clock.set(clock.now() - 5_000)
    clock.tick(1)

    assert (clock.now(), clock.monotonic()) == (START - 4_000, 1.0)


async def test_the_machines_clock_fires_and_moves_forward() -> None:
    clock = SystemClock()
    before, now = clock.monotonic(), clock.now()

    assert await Alarm(clock).wait(0.001) is False

    assert clock.monotonic() >= before + 0.001
    assert clock.now() >= now > 1_700_000_000_000


@pytest.mark.parametrize(
    ("instant", "text"),
    [
        (0, "1970-01-01T00:00:00.000Z"),
        (1_800_000_000_001, "2027-01-15T08:00:00.001Z"),
        (1_799_999_999_999, "2027-01-15T07:59:59.999Z"),
    ],
)
def test_an_instant_is_written_in_utc_to_the_millisecond_and_read_back(instant: int, text: str) -> None:
    assert to_rfc3339(instant) == text
    assert from_rfc3339(text) == instant


def test_an_instant_may_be_written_with_any_offset_but_not_without() -> None:
    assert from_rfc3339("2027-01-15T09:00:00+01:00") == 1_800_000_000_000
    for text in ("2027-01-15T09:00:00", "2027-01-15", "soon", ""):
        with pytest.raises(ValueError, match=r".+"):
            from_rfc3339(text)


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (-1, "0 s"),
        (0, "0 s"),
        (1e-9, "0 s"),
        (0.0123, "0.012 s"),
        (2.5, "2.5 s"),
        (59.94, "59.9 s"),
        (59.9989, "1 min"),
        (60, "1 min"),
        (90, "1 min 30 s"),
        (3_599.5, "1 h"),
        (3_660.4, "1 h 1 min"),
        (3_659, "1 h"),
        (86_399, "23 h 59 min"),
        (2.5 * 86_400, "2 d 12 h"),
        (1e12, "11574074 d 1 h"),
    ],
)
def test_a_length_of_time_is_told_as_people_do(seconds: float, text: str) -> None:
    assert lasting(seconds) == text
