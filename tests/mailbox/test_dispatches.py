"""What is queued is given another place, and starts when it is its turn then; a dispatch is cancelled with its run."""

from __future__ import annotations

import asyncio

import pytest

from awaken.domain.errors import DispatchEnded, DispatchNotFound, DispatchNotQueued, StoreUnavailable, TransientFailure
from awaken.domain.ids import DEFAULT_SCOPE
from awaken.domain.queue import place_of, queue_filter
from awaken.mailbox.settings import MailboxSettings
from awaken.mailbox.submission import Submission
from awaken.store.transitions import EditDispatch, Settle
from awaken.testing.behaviour import behaviour
from awaken.testing.clock import ManualClock
from awaken.testing.mailboxes import WatchedStore, World

ONE = MailboxSettings(drain_s=0, handover_s=0, max_concurrent_runs=1)


async def place(world: World, run: Submission, **where: float) -> str:
    """The status of the dispatch of a run that was given another place."""
    assert run.dispatch is not None
    dispatch, placed = await world.mailbox.dispatches.place(
        DEFAULT_SCOPE,
        run.dispatch.dispatch_id,
        place_of(**where),  # pyright: ignore[reportArgumentType]
    )
    assert placed.run_id == run.run.run_id
    return dispatch.status


async def listed(world: World, **chosen: str) -> list[str]:
    page, _ = await world.mailbox.dispatches.page(DEFAULT_SCOPE, queue_filter(**chosen), limit=50)  # pyright: ignore[reportArgumentType]
    return [each.thread_id for each in page.items]


@behaviour("OPS-011")
async def test_what_is_placed_first_starts_first(store: WatchedStore, clock: ManualClock) -> None:
    async with World(store, clock, settings=ONE) as world:
        await world.submit(thread_id="busy")
        first = await world.agent.next_call()
        await world.submit(thread_id="a")
        urgent = await world.submit(thread_id="b")
        assert await listed(world, status="queued") == ["a", "b"]

        assert await place(world, urgent, priority=1) == "queued"
        first.release()

        assert (await world.agent.next_call()).run_id == urgent.run.run_id


@behaviour("OPS-011")
async def test_what_is_placed_at_once_starts_at_once_and_no_timer_has_to_pass(
    store: WatchedStore, clock: ManualClock
) -> None:
    async with World(store, clock) as world:
        delayed = await world.submit(thread_id="a", delay_s=3_600)
        failed = await world.submit(thread_id="b")
        (await world.agent.next_call()).fail(TransientFailure("busy"))
        await world.quiet()
        began = clock.now()

        for run in (delayed, failed):
            await place(world, run, delay_s=0)
            assert (await world.agent.next_call()).run_id == run.run.run_id
        assert clock.now() == began


@behaviour("OPS-011")
async def test_what_is_placed_sooner_starts_then_and_what_is_placed_later_not_before(
    store: WatchedStore, clock: ManualClock
) -> None:
    async with World(store, clock) as world:
        sooner = await world.submit(thread_id="a", delay_s=3_600)
        later = await world.submit(thread_id="b", delay_s=10)
        await place(world, sooner, delay_s=20)
        await place(world, later, delay_s=30)

        await world.advance(19.9)
        assert world.agent.calls == []
        await world.advance(0.1)
        assert (await world.agent.next_call()).run_id == sooner.run.run_id
        await world.advance(9.9)
        assert len(world.agent.calls) == 1
        await world.advance(0.1)
        assert (await world.agent.next_call()).run_id == later.run.run_id


@behaviour("OPS-011")
async def test_a_place_whose_answer_was_lost_counts_all_the_same(store: WatchedStore, clock: ManualClock) -> None:
    async with World(store, clock) as world:
        run = await world.submit(delay_s=3_600)
        store.lose_answer(EditDispatch)
        with pytest.raises(StoreUnavailable):
            await place(world, run, delay_s=0)
        assert (await world.agent.next_call()).run_id == run.run.run_id


@behaviour("OPS-012")
async def test_what_executes_or_has_ended_is_refused_by_what_it_is(store: WatchedStore, clock: ManualClock) -> None:
    async with World(store, clock) as world:
        run = await world.submit()
        call = await world.agent.next_call()
        with pytest.raises(DispatchNotQueued, match="is claimed; only one that is queued"):
            await place(world, run, priority=1)
        call.release()
        await world.done(run)
        with pytest.raises(DispatchNotQueued, match="is acked"):
            await place(world, run, priority=1)
        with pytest.raises(DispatchNotFound):
            await world.mailbox.dispatches.place(DEFAULT_SCOPE, "nothing", place_of(priority=1))


@behaviour("OPS-012")
async def test_a_place_that_meets_a_claim_is_taken_or_refused(store: WatchedStore, clock: ManualClock) -> None:
    """The claim is asked first, and reaches the store with the change behind it."""
    async with World(store, clock, settings=ONE) as world:
        first = await world.submit()
        call = await world.agent.next_call()
        behind = await world.submit()
        store.hold(Settle)
        call.release("done")
        await world.quiet()
        placing = asyncio.ensure_future(place(world, behind, priority=1))
        await world.quiet()
        store.let_go()
        with pytest.raises(DispatchNotQueued):
            await placing
        await world.done(first)
        assert (await world.agent.next_call()).run_id == behind.run.run_id


@behaviour("OPS-013")
async def test_a_dispatch_is_cancelled_with_its_run_queued_or_executed(store: WatchedStore, clock: ManualClock) -> None:
    async with World(store, clock) as world:
        executing, queued = await world.submit(), await world.submit()
        call = await world.agent.next_call()
        for run, state in ((queued, "stopped"), (executing, "requested")):
            assert run.dispatch is not None
            stopped = await world.mailbox.cancel_dispatch(DEFAULT_SCOPE, run.dispatch.dispatch_id)
            assert stopped.state in (state, "acknowledged", "stopped")
            assert stopped.run is not None and stopped.run.run_id == run.run.run_id
        await call.over()
        await world.done(executing)
        assert queued.dispatch is not None
        with pytest.raises(DispatchEnded, match="is cancelled, and cancels nothing"):
            await world.mailbox.cancel_dispatch(DEFAULT_SCOPE, queued.dispatch.dispatch_id)


@behaviour("OPS-013")
async def test_a_dispatch_that_ends_while_it_is_to_be_cancelled_leaves_its_run_alone(
    store: WatchedStore, clock: ManualClock
) -> None:
    async with World(store, clock) as world:
        run = await world.submit()
        call = await world.agent.next_call()
        assert run.dispatch is not None
        store.hold(Settle)
        call.release("well")
        await world.quiet()
        cancelling = asyncio.ensure_future(world.mailbox.cancel_dispatch(DEFAULT_SCOPE, run.dispatch.dispatch_id))
        await world.quiet()
        store.let_go()
        with pytest.raises(DispatchEnded):
            await cancelling
        assert (await world.done(run)).final_output == "well"
