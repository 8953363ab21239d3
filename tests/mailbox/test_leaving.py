"""Leaving a mailbox: agents may finish, then hand over, then are cancelled, then abandoned; and it always ends."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncGenerator
from contextlib import AsyncExitStack
from pathlib import Path
from random import Random
from typing import Any

import pytest

from awaken.domain.clock import sleep
from awaken.domain.dispatch import DispatchStatus
from awaken.domain.errors import StoreUnavailable, Unavailable
from awaken.domain.ids import DEFAULT_SCOPE, RunId, ThreadId
from awaken.domain.run import RunStatus, Termination
from awaken.executors.contract import HandedOver
from awaken.executors.function import Context
from awaken.mailbox.settings import EXCLUSIVE_POLL_S, MailboxSettings
from awaken.store.memory import MemoryStore
from awaken.store.sqlite import SqliteStore
from awaken.store.transitions import Claim, Release, Settle
from awaken.testing.behaviour import behaviour
from awaken.testing.clock import ManualClock, settle
from awaken.testing.mailboxes import WatchedStore, World

PATIENT = MailboxSettings(drain_s=10, handover_s=5, tidy_s=3)
HANDING_OVER = MailboxSettings(drain_s=0, handover_s=5, tidy_s=3)


def leaving(world: World) -> asyncio.Task[None]:
    return asyncio.create_task(world.mailbox.stop())


def releases(store: WatchedStore) -> list[RunId]:
    return [each.run_id for each in store.transitions if isinstance(each, Settle) and isinstance(each.ending, Release)]


class Deaf:
    """An agent that takes no notice of being cancelled until the test lets it end."""

    def __init__(self) -> None:
        self.may_end, self.has_begun = asyncio.Event(), asyncio.Event()
        self.began: list[RunId] = []
        self.cancelled_count = 0
        self.at_work = 0
        self.most_at_work = 0

    async def __call__(self, context: Context) -> str:
        self.began.append(context.identity.run_id)
        self.has_begun.set()
        self.at_work += 1
        self.most_at_work = max(self.most_at_work, self.at_work)
        try:
            while not self.may_end.is_set():
                try:
                    await self.may_end.wait()
                except asyncio.CancelledError:
                    self.cancelled_count += 1
            return "ended at last"
        finally:
            self.at_work -= 1


@pytest.fixture
async def deaf() -> AsyncGenerator[Deaf]:
    """It ends with the test, however that goes."""
    agent = Deaf()
    yield agent
    agent.may_end.set()
    await settle()


# --- agents that listen -----------------------------------------------------------------------------------------------


@behaviour("OS-012")
async def test_agents_may_finish_for_a_while_and_the_rest_is_handed_back_without_spending_an_attempt(
    store: WatchedStore, clock: ManualClock
) -> None:
    async with store, World(store, clock, settings=MailboxSettings(drain_s=10, handover_s=0)) as world:
        slow, quick = await world.submit(thread_id="slow"), await world.submit(thread_id="quick")
        queued = await world.submit("queued", thread_id="quick")
        calls = {call.run_id: call for call in [await world.agent.next_call(), await world.agent.next_call()]}
        stopping = leaving(world)
        await world.advance(9)
        assert not stopping.done()
        calls[quick.run.run_id].release("in time")
        await world.quiet()
        assert not stopping.done()
        await world.advance(1)
        await stopping
        assert world.ledger.labels == ["completed", "released"]

        dispatch = await world.dispatch(slow)
        assert (dispatch.status, dispatch.attempt_count, dispatch.last_error) == (DispatchStatus.QUEUED, 0, None)
        assert (await world.dispatch(queued)).status is DispatchStatus.QUEUED
        assert (await world.run(quick)).final_output == "in time"
        assert world.free_slots == 100
        await world.mailbox.start()
        assert {(await world.agent.next_call()).run_id for _ in range(2)} == {slow.run.run_id, queued.run.run_id}


async def test_an_agent_hands_over_with_the_next_step_it_closes_and_repeats_nothing(
    store: WatchedStore, clock: ManualClock
) -> None:
    made: list[str] = []
    in_step, may_end = asyncio.Event(), asyncio.Event()

    async def make(name: str) -> str:
        made.append(name)
        if name == "first":
            in_step.set()
            await may_end.wait()
        return name

    async def steps(context: Context) -> str:
        return "".join([await context.step(name, lambda name=name: make(name)) for name in ("first", "second")])

    async with store, World(store, clock, agents={"steps": steps}, settings=HANDING_OVER) as world:
        submission = await world.submit(agent_id="steps")
        await in_step.wait()
        stopping = leaving(world)
        await world.advance(4)
        assert (stopping.done(), made) == (False, ["first"])
        may_end.set()
        await world.quiet()
        await stopping

        assert releases(store) == [submission.run.run_id]
        assert (await world.dispatch(submission)).attempt_count == 0
        await world.mailbox.start()
        assert (await world.done(submission)).final_output == "firstsecond"
        assert made == ["first", "second"]


async def test_steps_side_by_side_hand_over_together_and_the_run_is_not_taken_for_finished(
    store: WatchedStore, clock: ManualClock
) -> None:
    """A group of tasks ignores members that were cancelled; what a closed step raises must end it all the same."""
    may_end = asyncio.Event()
    done: list[str] = []

    async def branch(context: Context, name: str) -> None:
        await context.step(name, may_end.wait)
        await context.step(f"{name} again", lambda: done.append(name))

    async def parallel(context: Context) -> str:
        async with asyncio.TaskGroup() as group:
            for name in ("left", "right"):
                group.create_task(branch(context, name))
        return "both"

    async with store, World(store, clock, agents={"parallel": parallel}, settings=HANDING_OVER) as world:
        submission = await world.submit(agent_id="parallel")
        await world.quiet()
        stopping = leaving(world)
        await world.quiet()
        may_end.set()
        await world.quiet()
        await stopping
        assert (await world.dispatch(submission)).status is DispatchStatus.QUEUED

        await world.mailbox.start()
        assert (await world.done(submission)).final_output == "both"
        assert sorted(done) == ["left", "right"]


async def test_an_agent_that_catches_every_exception_of_its_steps_does_not_catch_the_handover(
    store: WatchedStore, clock: ManualClock
) -> None:
    may_end = asyncio.Event()
    excuses: list[Exception] = []

    async def careful(context: Context) -> str:
        try:
            await context.step("risky", may_end.wait)
        except Exception as error:
            excuses.append(error)
        return "went on"

    async with store, World(store, clock, agents={"careful": careful}, settings=HANDING_OVER) as world:
        submission = await world.submit(agent_id="careful")
        await world.quiet()
        stopping = leaving(world)
        await world.quiet()
        may_end.set()
        await world.quiet()
        await stopping

        assert (excuses, releases(store)) == ([], [submission.run.run_id])


async def test_an_agent_that_closes_no_step_in_time_is_cancelled_and_may_tidy_up(
    store: WatchedStore, clock: ManualClock
) -> None:
    tidied: list[float] = []

    async def long(context: Context) -> None:
        try:
            await asyncio.Event().wait()
        finally:
            await sleep(clock, 2)
            tidied.append(clock.monotonic())

    async with store, World(store, clock, agents={"long": long}, settings=PATIENT) as world:
        submission = await world.submit(agent_id="long")
        await world.quiet()
        stopping = leaving(world)
        await world.advance(16.9)
        assert not stopping.done()
        await world.advance(0.1)
        await stopping

        assert (tidied, releases(store)) == ([17.0], [submission.run.run_id])


async def test_an_agent_that_fails_by_itself_while_it_should_hand_over_has_failed(
    store: WatchedStore, clock: ManualClock
) -> None:
    async with store, World(store, clock, settings=HANDING_OVER) as world:
        submission = await world.submit()
        call = await world.agent.next_call()
        stopping = leaving(world)
        await world.quiet()
        call.fail(RuntimeError("broken"))
        await world.quiet()
        await stopping

        dispatch = await world.dispatch(submission)
        assert (dispatch.attempt_count, dispatch.last_error) == (1, "RuntimeError")


async def test_a_run_that_is_cancelled_while_it_should_hand_over_is_stopped_at_once(
    store: WatchedStore, clock: ManualClock
) -> None:
    store.exclusive = False
    other, world = World(store, clock, executes=False, seed=2), World(store, clock, settings=HANDING_OVER)
    async with other, world:
        submission = await world.submit()
        await world.agent.next_call()
        stopping = leaving(world)
        await other.mailbox.cancel(DEFAULT_SCOPE, submission.run.run_id)
        await world.advance(4)  # its lease is renewed, and the answer repeats the request
        await stopping

        assert clock.monotonic() == 4
        assert (await other.run(submission)).termination == Termination("cancelled")
        kinds = await other.kinds(submission)
        assert [kind for kind in kinds if "Cancel" in kind][-2:] == ["CancelAcknowledged", "RunCancelled"]


async def test_a_claim_on_its_way_while_the_mailbox_is_left_is_handed_back(
    store: WatchedStore, clock: ManualClock
) -> None:
    async with store:
        async with World(store, clock, executes=False) as asking:
            submission = await asking.submit(delay_s=5)
        world = World(store, clock, seed=2)
        async with world:
            store.hold(Claim)
            await world.advance(5)
            stopping = leaving(world)
            await world.quiet()
            store.let_go()
            await stopping
            await world.mailbox.start()
            assert [type(t) for t in store.transitions if isinstance(t, Claim | Settle)][1:3] == [Claim, Settle]
            assert (await world.dispatch(submission)).attempt_count == 0


# --- agents that do not listen ----------------------------------------------------------------------------------------


@behaviour("LF-001")
async def test_an_agent_that_ignores_being_cancelled_is_abandoned_by_name(
    store: WatchedStore, clock: ManualClock, deaf: Deaf, caplog: pytest.LogCaptureFixture
) -> None:
    async with store, World(store, clock, agents={"deaf": deaf}, settings=PATIENT) as world:
        submission = await world.submit(agent_id="deaf")
        await world.quiet()
        stopping = leaving(world)
        with caplog.at_level(logging.ERROR):
            await world.advance(17.9)
            assert (stopping.done(), deaf.cancelled_count) == (False, 1)
            await world.advance(0.1)
            await stopping

        [message] = [record.getMessage() for record in caplog.records if "abandoned" in record.getMessage()]
        assert "agent deaf" in message and submission.run.run_id in message
        assert releases(store) == [], "its work is not handed on while it still does it"
        deaf.may_end.set()
        await world.quiet()
        assert (await store.load_run(DEFAULT_SCOPE, submission.run.run_id)) is not None
        assert (await world.run(submission)).status is RunStatus.RUNNING, "what it does now is not written"


async def test_an_agent_that_goes_on_after_it_was_cancelled_is_named_once_in_the_log(
    store: WatchedStore, clock: ManualClock, deaf: Deaf, caplog: pytest.LogCaptureFixture
) -> None:
    """One that stops in time is not: it tidies up, as it may."""

    def told() -> list[str]:
        return [record.getMessage() for record in caplog.records if "after it was asked to stop" in record.getMessage()]

    async with store, World(store, clock, agents={"deaf": deaf}, settings=PATIENT) as world:
        obedient = await world.submit(thread_id="other")
        submission = await world.submit(agent_id="deaf")
        await world.quiet()
        for run in (obedient, submission):
            await world.mailbox.cancel(DEFAULT_SCOPE, run.run.run_id)
        await world.advance(PATIENT.tidy_s - 0.1)
        assert told() == []
        await world.advance(0.2)
        [message] = told()
        assert "agent deaf" in message and submission.run.run_id in message
        await world.mailbox.cancel(DEFAULT_SCOPE, submission.run.run_id)
        await world.advance(2 * PATIENT.tidy_s)
        assert told() == [message]
        deaf.may_end.set()
        await world.quiet()


async def test_a_bound_around_a_mailbox_with_an_agent_that_ignores_everything_gets_through(
    store: WatchedStore, clock: ManualClock, deaf: Deaf
) -> None:
    async def live() -> None:
        async with World(store, clock, agents={"deaf": deaf}, settings=PATIENT) as world:
            await world.submit(agent_id="deaf")
            await asyncio.Event().wait()

    living = asyncio.create_task(live())
    await deaf.has_begun.wait()
    living.cancel()
    async with asyncio.timeout(10):
        await asyncio.wait((living,))
    assert living.cancelled()
    deaf.may_end.set()


@behaviour("LF-002")
@pytest.mark.parametrize("keeps_open", [True, False])
async def test_after_a_restart_the_thread_of_an_abandoned_run_waits_until_that_ends_and_others_do_not(
    store: WatchedStore, clock: ManualClock, deaf: Deaf, keeps_open: bool
) -> None:
    """Where the store stays open, so does the claim. One that is opened anew has taken it back; what claims the thread
    then waits.
    """
    async with AsyncExitStack() as stack:
        if keeps_open:
            await stack.enter_async_context(store)
        world = await stack.enter_async_context(World(store, clock, agents={"deaf": deaf}))
        submission = await world.submit(agent_id="deaf")
        behind = await world.submit()
        await world.quiet()
        claimed_first = (await world.dispatch(submission)).claim_token
        for life in range(3):
            await world.leave()
            await world.mailbox.start()
            await world.advance(EXCLUSIVE_POLL_S)
            assert (len(deaf.began), world.agent.calls) == (1, []), f"life {life}"
            dispatch = await world.dispatch(submission)
            assert (dispatch.claim_token == claimed_first) is keeps_open
            found = await world.mailbox.explain(DEFAULT_SCOPE, behind.run.run_id)
            why = "ignores_stop" if keeps_open else "behind_agent_at_work"
            assert (found.code, found.facts["ahead_code"]) == ("behind_run", why)
        other = await world.submit(thread_id="other")
        (await world.agent.next_call()).release("not held up")
        assert (await world.done(other)).final_output == "not held up"

        deaf.may_end.set()
        await world.advance(0)
        assert (await world.done(submission)).final_output == "ended at last"
        dispatch = await world.dispatch(submission)
        assert (dispatch.attempt_count, dispatch.crash_count) == (0, 0 if keeps_open else 1)
        assert (deaf.began, deaf.most_at_work) == ([submission.run.run_id] * 2, 1)
        (await world.agent.next_call()).release()
        await world.done(behind)
        await world.quiet()
        assert (world.free_slots, world.mailbox.health().executing) == (100, 0)


@behaviour("EX-003")
async def test_a_thread_whose_claim_was_lost_begins_its_next_run_when_the_old_agent_is_at_rest(
    store: WatchedStore, clock: ManualClock, deaf: Deaf
) -> None:
    store.exclusive = False
    async with World(store, clock, agents={"deaf": deaf}) as world:
        await world.submit(agent_id="deaf")
        await world.quiet()
        await world.mailbox.interrupt(DEFAULT_SCOPE, ThreadId("t"))
        later = await world.submit("later", agent_id="deaf")
        await world.advance(13)
        assert (await world.dispatch(later)).status is DispatchStatus.CLAIMED, "the lease of the deaf one has ended"
        assert len(deaf.began) == 1

        deaf.may_end.set()
        assert (await world.done(later)).final_output == "ended at last"
        assert deaf.most_at_work == 1


@pytest.mark.parametrize("order", range(12))
@pytest.mark.parametrize("when", ["at work", "starting", "leaving"])
def test_a_loop_that_is_closed_under_agents_at_work_throws_them_away_without_a_word(
    when: str, order: int, caplog: pytest.LogCaptureFixture
) -> None:
    """Whichever of its tasks goes first: Python closes them in any order, and prints what they raise then."""
    clock = ManualClock()

    async def waits(context: Context) -> None:
        await context.step("wait", lambda: sleep(clock, 3_600))

    async def live() -> tuple[World, list[asyncio.Task[None]]]:
        store, deaf = WatchedStore(MemoryStore(clock), exclusive=False), Deaf()
        world = World(store, clock, settings=PATIENT, agents={"waits": waits, "deaf": deaf})
        if when == "starting":
            starting = [asyncio.create_task(world.mailbox.start()) for _ in range(2)]
            await settle(2)
            return world, starting
        await world.mailbox.start()
        await world.submit(agent_id="waits", thread_id="beside")
        await world.submit(agent_id="deaf")
        await world.quiet()
        await world.mailbox.interrupt(DEFAULT_SCOPE, ThreadId("t"))
        await world.submit(agent_id="deaf")
        await world.advance(13)  # the lease of the deaf one has ended, and what comes next waits for it to rest
        asked = [asyncio.create_task(world.mailbox.stop())] if when == "leaving" else []
        await settle()
        return world, asked

    loop = asyncio.new_event_loop()
    kept = loop.run_until_complete(live())
    tasks = sorted(asyncio.all_tasks(loop), key=lambda task: task.get_name())
    Random(order).shuffle(tasks)
    loop.set_exception_handler(lambda loop, context: None)  # that its tasks are destroyed is true
    loop.close()
    for task in tasks:
        coroutine = task.get_coro()
        assert coroutine is not None
        coroutine.close()
    assert len(tasks) >= 2 and kept
    assert [record.message for record in caplog.records if record.exc_info] == []


@pytest.mark.parametrize("how", ["cancel", "handover", "lost"])
async def test_a_run_that_waits_for_an_agent_to_rest_can_be_stopped_and_the_next_one_waits_all_the_same(
    store: WatchedStore, clock: ManualClock, deaf: Deaf, how: str
) -> None:
    store.exclusive = False
    settings = MailboxSettings(drain_s=0, handover_s=5, tidy_s=3)
    async with store, World(store, clock, agents={"deaf": deaf}, settings=settings) as world:
        await world.submit(agent_id="deaf")
        await world.quiet()
        await world.mailbox.interrupt(DEFAULT_SCOPE, ThreadId("t"))
        waits = await world.submit("waits", agent_id="deaf")
        await world.advance(13)
        last = await world.submit("last", agent_id="deaf")
        match how:
            case "cancel":
                assert (await world.mailbox.cancel(DEFAULT_SCOPE, waits.run.run_id, wait_s=5)).state == "stopped"
            case "handover":
                stopping = leaving(world)
                await world.quiet()
                assert releases(store) == [waits.run.run_id], "at once: it has nothing to bring to an end"
                await world.advance(8)
                await stopping
                await world.mailbox.start()
            case _:
                clock.set(clock.now() + 3_600_000)
                await world.submit(thread_id="elsewhere", delay_s=1)
                await world.advance(1)
        await world.advance(1)
        assert len(deaf.began) == 1

        deaf.may_end.set()
        assert (await world.done(last)).final_output == "ended at last"
        assert deaf.most_at_work == 1


# --- stores and callers that get in the way ---------------------------------------------------------------------------


@behaviour("MBX-213", "MBX-214")
async def test_leaving_with_a_store_that_stays_down_ends_and_the_next_start_takes_the_run_back(
    store: WatchedStore, clock: ManualClock
) -> None:
    async with store, World(store, clock) as world:
        submission = await world.submit()
        (await world.agent.next_call()).release("cannot be stored")
        store.go_down()
        stopping = leaving(world)
        await world.advance(3)
        await stopping
        store.come_back()
        await world.mailbox.start()
        assert (await world.agent.next_call()).run_id == submission.run.run_id
        dispatch = await world.dispatch(submission)
        assert (dispatch.attempt_count, dispatch.crash_count) == (0, 0)


async def test_a_caller_cancelled_while_leaving_still_leaves_everything_quiet(
    store: WatchedStore, clock: ManualClock
) -> None:
    async with store, World(store, clock, settings=MailboxSettings(drain_s=10, handover_s=0)) as world:
        submission = await world.submit()
        await world.agent.next_call()
        stopping = leaving(world)
        await world.quiet()
        for _ in range(3):
            stopping.cancel()
            await world.quiet()
        await world.advance(10)
        with pytest.raises(asyncio.CancelledError):
            await stopping
        assert world.mailbox.state == "stopped"
        assert (await world.dispatch(submission)).status is DispatchStatus.QUEUED
        await world.mailbox.start()


@behaviour("LF-004")
async def test_leaving_that_is_cancelled_twice_frees_the_file(tmp_path: Path, clock: ManualClock) -> None:
    path = tmp_path / "awaken.db"
    world = World(SqliteStore(path, clock=clock), clock)
    async with asyncio.timeout(10):
        await world.mailbox.start()
        await world.submit("hello", run_id="r1")
        await world.agent.next_call()
        stopping = leaving(world)
        for _ in range(2):
            await asyncio.sleep(0)
            stopping.cancel()
        await asyncio.wait((stopping,))
    assert stopping.cancelled()
    async with World(SqliteStore(path, clock=clock), clock, seed=2) as fresh:
        assert (await fresh.agent.next_call()).run_id == "r1"


async def test_the_error_of_the_body_comes_out_as_it_was(store: WatchedStore, clock: ManualClock) -> None:
    async def body() -> None:
        async with World(store, clock) as world:
            await world.submit()
            raise KeyError("mine")

    with pytest.raises(KeyError, match="mine"):
        await body()


async def test_an_agent_may_stop_the_mailbox_that_executes_it(store: WatchedStore, clock: ManualClock) -> None:
    async def last_one(context: Context) -> None:
        await world.mailbox.stop()

    async with store, World(store, clock, agents={"last": last_one}, settings=PATIENT) as world:
        await world.submit(agent_id="last")
        await world.quiet()
        await world.advance(18)
        assert world.mailbox.state == "stopped"


# --- starting and stopping at once ------------------------------------------------------------------------------------


async def test_many_callers_may_start_and_stop_one_mailbox_at_once(store: WatchedStore, clock: ManualClock) -> None:
    async with store, World(store, clock) as world:
        await asyncio.gather(*[world.mailbox.start() for _ in range(3)])
        submission = await world.submit()
        (await world.agent.next_call()).release("done")
        await world.done(submission)
        await asyncio.gather(*[world.mailbox.stop() for _ in range(3)])
        assert world.mailbox.state == "stopped"

        stopped_and_started: list[Any] = [world.mailbox.start(), world.mailbox.stop(), world.mailbox.start()]
        results = await asyncio.gather(*stopped_and_started, return_exceptions=True)
        assert {type(result) for result in results} <= {type(None), Unavailable}
        assert world.mailbox.state == "ready"


async def test_a_start_that_the_store_refuses_is_refused_to_all_who_share_it(
    store: WatchedStore, clock: ManualClock
) -> None:
    store.exclusive = False  # so that there is something to write at the start
    world = World(store, clock)
    store.go_down()
    results = await asyncio.gather(*[world.mailbox.start() for _ in range(3)], return_exceptions=True)
    assert [type(result) for result in results] == [StoreUnavailable] * 3
    assert world.mailbox.state == "stopped"

    store.come_back()
    async with world:
        assert world.mailbox.state == "ready"


def test_a_handover_is_no_exception_that_an_agent_would_catch() -> None:
    assert not issubclass(HandedOver, Exception)
