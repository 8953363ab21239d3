"""Waiting for a run: told at its end, never later than asked, and never for ever."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from msgspec.structs import replace

from awaken.domain.delivery import Delivery
from awaken.domain.errors import RunNotFound, StoreUnavailable, TransientFailure, ValidationError
from awaken.domain.event import TERMINAL_KINDS
from awaken.domain.ids import DEFAULT_SCOPE, MessageId, RunId, ThreadId
from awaken.domain.message import user_message
from awaken.domain.run import Run, RunStatus
from awaken.executors.function import Context
from awaken.mailbox.submission import RunSubmission, Submission
from awaken.testing.behaviour import behaviour
from awaken.testing.clock import ManualClock
from awaken.testing.mailboxes import WatchedStore, World

FOREVER_S = 1e9


async def quick(context: Context) -> str:
    return "at once"


def asking(agent_id: str) -> RunSubmission:
    return RunSubmission(messages=(user_message(MessageId(""), "hi"),), thread_id="t", agent_id=agent_id)


def wait(world: World, submission: Submission, timeout_s: float = FOREVER_S) -> asyncio.Task[Run]:
    return asyncio.create_task(
        world.mailbox.wait(DEFAULT_SCOPE, submission.run.run_id, timeout_s=timeout_s, known=submission.run)
    )


async def test_submit_and_wait_gives_the_finished_run(store: WatchedStore, clock: ManualClock) -> None:
    async with World(store, clock, agents={"quick": quick}) as world:
        submission = await world.mailbox.submit(asking("quick"))
        run = await wait(world, submission)

        assert (run.status, run.final_output) == (RunStatus.DONE, "at once")
        assert await world.store.load_run(DEFAULT_SCOPE, run.run_id) == run


@pytest.mark.parametrize("turns", range(12))
async def test_a_wait_that_begins_while_the_run_ends_misses_nothing(
    store: WatchedStore, clock: ManualClock, turns: int
) -> None:
    async with World(store, clock) as world:
        submission = await world.submit()
        (await world.agent.next_call()).release()
        for _ in range(turns):
            await asyncio.sleep(0)
        assert (await wait(world, submission)).status is RunStatus.DONE


@pytest.mark.parametrize("how", ["ended", "cancelled"])
async def test_who_waits_from_the_start_reads_nothing_and_misses_nothing(
    store: WatchedStore, clock: ManualClock, how: str
) -> None:
    async with World(store, clock) as world:
        await world.submit()  # holds the thread, so that the other one is queued
        submission = await world.mailbox.submit(asking("gated"), waits=True)
        assert submission.status == "queued"
        if how == "cancelled":
            await world.mailbox.cancel(DEFAULT_SCOPE, submission.run.run_id)
        store.refuse_read = AssertionError("nothing has to be read")
        if how == "ended":
            (await world.agent.next_call()).release("first")
            (await world.agent.next_call()).release("second")
        run = await world.mailbox.wait(
            DEFAULT_SCOPE, submission.run.run_id, known=submission.run, end=submission.end, timeout_s=FOREVER_S
        )
        store.refuse_read = None
        assert (run.status, run.final_output) == (RunStatus.DONE, "second" if how == "ended" else None)


async def test_the_end_of_what_was_accepted_before_is_not_that_of_the_request(
    store: WatchedStore, clock: ManualClock
) -> None:
    async with World(store, clock) as world:
        asked = replace(asking("gated"), delivery=Delivery(dedupe_key="one"))
        first = await world.mailbox.submit(asked)
        again = await world.mailbox.submit(asked, waits=True)
        assert (again.replayed, again.end) == (True, None)
        waiting = wait(world, again)
        (await world.agent.next_call()).release("once")
        assert ((await waiting).run_id, (await waiting).final_output) == (first.run.run_id, "once")


async def test_a_submit_that_is_refused_leaves_nobody_listening(store: WatchedStore, clock: ManualClock) -> None:
    async with World(store, clock) as world:
        store.go_down()
        with pytest.raises(StoreUnavailable):
            await world.mailbox.submit(asking("gated"), waits=True)
        store.come_back()
        submission = await world.mailbox.submit(asking("gated"))
        waiting = wait(world, submission)
        (await world.agent.next_call()).release("in the end")
        assert (await waiting).final_output == "in the end"


async def test_a_wait_ends_on_time_with_the_run_as_it_is(store: WatchedStore, clock: ManualClock) -> None:
    async with World(store, clock) as world:
        submission = await world.submit()
        waiting = wait(world, submission, timeout_s=5)
        await world.advance(4.9)
        assert not waiting.done()
        await world.advance(0.2)
        assert (await waiting).status is RunStatus.RUNNING
        assert (await world.mailbox.wait(DEFAULT_SCOPE, submission.run.run_id, timeout_s=0)).finished_at is None


@behaviour("D-014")
async def test_a_wait_lasts_through_retries(store: WatchedStore, clock: ManualClock) -> None:
    async with World(store, clock) as world:
        submission = await world.submit()
        waiting = wait(world, submission)
        (await world.agent.next_call()).fail(TransientFailure("busy"))
        await world.advance(1)
        assert not waiting.done()
        (await world.agent.next_call()).release("in the end")
        assert (await waiting).final_output == "in the end"


@behaviour("D-014")
async def test_a_reader_of_a_run_stays_through_its_retries_and_hears_of_no_end_before_the_last(
    store: WatchedStore, clock: ManualClock
) -> None:
    async with World(store, clock) as world:
        submission = await world.submit()
        async with world.mailbox.read_run(DEFAULT_SCOPE, submission.run) as reader:
            (await world.agent.next_call()).fail(TransientFailure("busy", retry_after_s=7))
            await world.advance(6.9)
            assert len(world.agent.calls) == 1, "the provider's own wish is heeded"
            await world.advance(0.1)
            (await world.agent.next_call()).release("in the end")
            await world.quiet()
            kinds = [event.kind async for row in reader for event in row.events]

        assert [kind for kind in kinds if kind in TERMINAL_KINDS] == [kinds[-1]] == ["RunFinished"]
        assert kinds.count("RunRescheduled") == 1


@behaviour("D-008")
@pytest.mark.parametrize("how", ["cancel", "interrupt"])
async def test_a_wait_for_queued_work_ends_when_that_is_cleared(
    store: WatchedStore, clock: ManualClock, how: str
) -> None:
    async with World(store, clock) as world:
        await world.submit("first")
        submission = await world.submit("second")
        waiting = wait(world, submission)
        await world.quiet()
        if how == "cancel":
            await world.mailbox.cancel(DEFAULT_SCOPE, submission.run.run_id)
        else:
            await world.mailbox.interrupt(DEFAULT_SCOPE, ThreadId("t"))
        assert (await waiting).status is RunStatus.DONE


async def test_waiting_for_what_does_not_exist_is_refused(store: WatchedStore, clock: ManualClock) -> None:
    async with World(store, clock) as world:
        with pytest.raises(RunNotFound):
            await world.mailbox.wait(DEFAULT_SCOPE, RunId("nothing"), timeout_s=FOREVER_S)


@pytest.mark.parametrize("seconds", [float("nan"), "1", True])
async def test_a_time_that_is_no_number_is_refused_and_stops_nothing(
    store: WatchedStore, clock: ManualClock, seconds: Any
) -> None:
    async with World(store, clock) as world:
        run = (await world.submit()).run
        for asked in (
            world.mailbox.wait(DEFAULT_SCOPE, run.run_id, timeout_s=seconds),
            world.mailbox.cancel(DEFAULT_SCOPE, run.run_id, wait_s=seconds),
            world.mailbox.interrupt(DEFAULT_SCOPE, run.thread_id, wait_s=seconds),
        ):
            with pytest.raises(ValidationError, match="is a number of seconds"):
                await asked
        assert (await world.run(run)).status is RunStatus.RUNNING
