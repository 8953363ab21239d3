"""A submit whose caller waits for the end alone: what it hears, and when it is called off."""

from __future__ import annotations

import asyncio

import pytest

from awaken.domain.errors import StoreUnavailable
from awaken.mailbox.acceptance import Acceptance
from awaken.mailbox.reader import Ending
from awaken.store.memory import MemoryStore
from awaken.store.transitions import Full, Submitted
from awaken.testing.clock import ManualClock, settle
from awaken.testing.conformance.steps import submitted

TIMEOUT_S = 30.0


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
async def accepted(clock: ManualClock) -> Submitted:
    return await submitted(MemoryStore(clock), "d1")


@pytest.fixture
async def ending() -> Ending:
    return asyncio.get_running_loop().create_future()


async def test_an_accepted_submit_leaves_the_ending_alone(
    ending: Ending, clock: ManualClock, accepted: Submitted
) -> None:
    acceptance = Acceptance(ending, clock, None)
    acceptance.set_result(accepted)
    assert not ending.done()
    assert acceptance.refusal() is None


async def test_a_refused_submit_calls_the_ending_off(ending: Ending, clock: ManualClock) -> None:
    acceptance = Acceptance(ending, clock, TIMEOUT_S)
    acceptance.set_result(Full(1))
    assert ending.result() is None
    assert acceptance.refusal() == Full(1)


async def test_a_store_that_failed_is_heard(ending: Ending, clock: ManualClock) -> None:
    acceptance = Acceptance(ending, clock, None)
    acceptance.set_exception(StoreUnavailable("the disk is full"))
    assert ending.result() is None
    with pytest.raises(StoreUnavailable):
        acceptance.refusal()


async def test_the_time_to_wait_begins_with_the_acceptance(
    ending: Ending, clock: ManualClock, accepted: Submitted
) -> None:
    acceptance = Acceptance(ending, clock, TIMEOUT_S)
    clock.tick(TIMEOUT_S)
    acceptance.set_result(accepted)
    clock.tick(TIMEOUT_S - 1)
    assert not ending.done()
    clock.tick(1)
    assert ending.result() is None


async def test_a_caller_who_has_what_it_waited_for_leaves_no_timer(
    ending: Ending, clock: ManualClock, accepted: Submitted
) -> None:
    acceptance = Acceptance(ending, clock, TIMEOUT_S)
    acceptance.set_result(accepted)
    acceptance.forget()
    clock.tick(TIMEOUT_S)
    assert not ending.done()


async def test_an_ending_called_off_from_elsewhere_waits_for_what_became_of_the_submit(
    ending: Ending, clock: ManualClock, accepted: Submitted
) -> None:
    acceptance = Acceptance(ending, clock, TIMEOUT_S)
    ending.set_result(None)
    waiting = asyncio.create_task(acceptance.heard())
    await settle()
    assert not waiting.done()
    acceptance.set_result(accepted)
    await waiting
    assert acceptance.refusal() is None


async def test_for_a_caller_who_went_away_no_timer_is_set(
    ending: Ending, clock: ManualClock, accepted: Submitted, monkeypatch: pytest.MonkeyPatch
) -> None:
    acceptance = Acceptance(ending, clock, TIMEOUT_S)
    ending.cancel()
    monkeypatch.delattr(ManualClock, "call_later")
    acceptance.set_result(accepted)
    assert acceptance.told
