"""What a run may use, and how long it waits after a failure, where its submit or its agent says so."""

from __future__ import annotations

import asyncio

import pytest

from awaken.domain.clock import sleep
from awaken.domain.errors import TransientFailure, ValidationError
from awaken.domain.retry import RetryPolicy
from awaken.domain.run import Limits
from awaken.executors.function import Context
from awaken.mailbox.settings import MailboxSettings
from awaken.testing.clock import ManualClock
from awaken.testing.mailboxes import WatchedStore, World


async def test_a_run_that_executes_for_as_long_as_it_may_is_stopped(store: WatchedStore, clock: ManualClock) -> None:
    async with World(store, clock) as world:
        submission = await world.submit("hello", limits=Limits(timeout_s=5))
        await world.agent.next_call()
        await world.advance(4.9)
        assert not (await world.run(submission)).termination

        await world.advance(0.2)

        run = await world.done(submission)
        assert run.termination is not None
        assert (run.termination.type, run.termination.code) == ("stopped", "timeout")
        assert "5 s" in (run.termination.detail or "")


async def test_what_was_streamed_before_the_deadline_is_kept(store: WatchedStore, clock: ManualClock) -> None:
    async def slow(context: Context) -> None:
        await context.emit("half an ")
        await sleep(clock, 60)

    async with World(store, clock, agents={"slow": slow}) as world:
        submission = await world.submit("hello", agent_id="slow", limits=Limits(timeout_s=5))
        await world.quiet()
        await world.advance(5)

        run = await world.done(submission)
        assert run.final_output == "half an "


async def test_the_deadline_counts_every_attempt_and_no_waiting(store: WatchedStore, clock: ManualClock) -> None:
    async def fails_late(context: Context) -> str:
        await sleep(clock, 3)
        raise TransientFailure("again", retry_after_s=100)

    async with World(store, clock, agents={"late": fails_late}) as world:
        submission = await world.submit("hello", agent_id="late", limits=Limits(timeout_s=5))
        await world.quiet()
        await world.advance(3)
        assert (await world.run(submission)).executing_ms == 3000

        await world.advance(100)  # it executes again
        await world.advance(1.9)
        assert not (await world.run(submission)).termination
        await world.advance(0.2)

        run = await world.done(submission)
        assert run.termination is not None
        assert run.termination.code == "timeout"


@pytest.mark.parametrize("timeout_s", [0, -1, float("nan"), float("inf"), True, "5"])
async def test_a_limit_that_is_none_is_refused(store: WatchedStore, clock: ManualClock, timeout_s: float) -> None:
    async with World(store, clock) as world:
        with pytest.raises(ValidationError, match=r"limits\.timeout_s"):
            await world.submit("hello", limits=Limits(timeout_s=timeout_s))


async def test_an_agent_may_have_a_retry_policy_of_its_own(store: WatchedStore, clock: ManualClock) -> None:
    executed = asyncio.Semaphore(0)

    async def fails(context: Context) -> str:
        executed.release()
        raise TransientFailure("again")

    settings = MailboxSettings(retry=RetryPolicy(250, 250))
    async with World(store, clock, agents={"usual": fails}, settings=settings) as world:
        world.mailbox.agents.add("patient", fails, retry=RetryPolicy(60_000, 60_000))
        usual = await world.submit("x", agent_id="usual", thread_id="a")
        patient = await world.submit("x", agent_id="patient", thread_id="b")
        await world.quiet()

        assert (await world.dispatch(usual)).available_at == clock.now() + 250
        assert (await world.dispatch(patient)).available_at == clock.now() + 60_000
