"""State, view and deletion while things go wrong: answers are lost, processes die, runs are in the way."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import pytest

from awaken.domain.errors import HasChildThreads, StoreUnavailable, ThreadBusy, ThreadGone, ThreadNotFound
from awaken.domain.ids import DEFAULT_SCOPE, MessageId, RunId, ThreadId
from awaken.domain.run import RunStatus
from awaken.domain.shown import ChildStrategy
from awaken.domain.thread import ThreadInfo
from awaken.executors.function import Context
from awaken.store.contract import RunQuery, ThreadQuery
from awaken.store.transitions import DeleteThread, Settle, Submit, Transition
from awaken.testing.behaviour import behaviour
from awaken.testing.clock import ManualClock
from awaken.testing.mailboxes import WatchedStore, World

T = ThreadId("t")


async def counting(ctx: Context) -> str:
    """Counts its runs in the state of its thread."""
    await ctx.state.set("runs", await ctx.state.get("runs", 0) + 1)
    await ctx.step("one", lambda: 1)
    return "counted"


async def _state(world: World) -> object:
    return (await world.store.load_state(DEFAULT_SCOPE, T)).values


async def test_a_settlement_whose_answer_is_lost_changes_the_state_once(
    store: WatchedStore, clock: ManualClock
) -> None:
    async with World(store, clock, agents={"counting": counting}) as world:
        store.lose_answer(Settle)
        submission = await world.submit(agent_id="counting")
        await world.advance(5)
        await world.done(submission)

        assert (await world.store.load_state(DEFAULT_SCOPE, T)).version == 1
        assert await _state(world) == {"runs": 1}


async def test_what_a_failed_execution_changed_is_changed_by_the_next_one_alone(
    store: WatchedStore, clock: ManualClock
) -> None:
    tries: list[int] = []

    async def flaky(ctx: Context) -> str:
        await ctx.state.patch({"seen": await ctx.state.get("seen", 0) + 1})
        tries.append(1)
        if len(tries) < 3:
            raise ConnectionError("not now")
        return "at last"

    async with World(store, clock, agents={"flaky": flaky}) as world:
        submission = await world.submit(agent_id="flaky")
        await world.advance(60)
        await world.done(submission)

        assert await _state(world) == {"seen": 1}


async def test_a_cancelled_run_changes_no_state(store: WatchedStore, clock: ManualClock) -> None:
    async def patient(ctx: Context) -> None:
        await ctx.state.set("began", True)
        await ctx.emit("hello")
        await asyncio.Event().wait()

    async with World(store, clock, agents={"patient": patient}) as world:
        submission = await world.submit(agent_id="patient")
        await world.quiet()
        await world.mailbox.cancel(DEFAULT_SCOPE, submission.run.run_id)
        run = await world.done(submission)

        assert (run.termination and run.termination.type, await _state(world)) == ("cancelled", {})


async def test_a_rolled_back_run_is_not_read_by_the_next_one(store: WatchedStore, clock: ManualClock) -> None:
    async with World(store, clock) as world:
        first = await world.submit("one")
        await world.agent.next_call()
        second = await world.submit("two")
        await world.mailbox.cancel(DEFAULT_SCOPE, first.run.run_id, rollback=True)
        call = await world.agent.next_call()
        heard = [message.text for message in await call.context.messages()]
        call.release("fine")
        await world.done(second)

        assert heard == ["two"]
        assert await world.texts() == ["one", "two", "fine"]


async def test_deleting_by_force_ends_everybodys_waiting(store: WatchedStore, clock: ManualClock) -> None:
    async with World(store, clock) as world:
        running = await world.submit("one")
        call = await world.agent.next_call()
        queued = await world.submit("two")
        waits = [asyncio.create_task(world.done(each)) for each in (running, queued)]
        await world.quiet()
        threads = world.mailbox.threads

        with pytest.raises(ThreadBusy):
            await threads.delete(DEFAULT_SCOPE, T)
        await threads.delete(DEFAULT_SCOPE, T, force=True)
        async with asyncio.timeout(20):
            await call.over()
            await asyncio.wait(waits)

        assert {task.exception().__class__.__name__ for task in waits if task.exception()} <= {"RunNotFound"}
        with pytest.raises(ThreadGone):
            await world.submit("three")
        with pytest.raises(ThreadNotFound):
            await world.mailbox.get_thread(DEFAULT_SCOPE, T)


async def test_a_deletion_whose_answer_is_lost_is_asked_again(store: WatchedStore, clock: ManualClock) -> None:
    async with World(store, clock) as world:
        await world.submit("one")
        (await world.agent.next_call()).release("fine")
        await world.quiet()
        store.lose_answer(DeleteThread)
        with pytest.raises(Exception, match="broke before the answer"):
            await world.mailbox.threads.delete(DEFAULT_SCOPE, T)

        await world.mailbox.threads.delete(DEFAULT_SCOPE, T)

        await world.advance(121)
        assert await world.store.load_message(DEFAULT_SCOPE, T, MessageId("any")) is None


async def test_a_thread_deleted_while_its_process_dies_is_purged_by_the_next_one(
    store: WatchedStore, clock: ManualClock
) -> None:
    async with World(store, clock, executes=False) as world:
        submission = await world.submit("one")
        await world.mailbox.threads.delete(DEFAULT_SCOPE, T, force=True)
        run_id: RunId = submission.run.run_id
        assert await world.store.load_run(DEFAULT_SCOPE, run_id) is None
    async with World(store, clock) as world:
        await world.advance(121)

        other = await world.submit("two", thread_id="other")
        (await world.agent.next_call()).release("fine")
        assert (await world.done(other)).status is RunStatus.DONE


@pytest.mark.parametrize("strategy", ["detach", "cascade"])
@pytest.mark.parametrize("busy", ["a", "b2"])
async def test_a_deletion_that_is_refused_leaves_the_tree_as_it_was(
    store: WatchedStore, clock: ManualClock, strategy: ChildStrategy, busy: str
) -> None:
    async with World(store, clock) as world:
        for name, parent in (("a", None), ("b1", "a"), ("b2", "a")):
            info = ThreadInfo(parent_thread_id=None if parent is None else ThreadId(parent))
            await world.mailbox.save_thread(DEFAULT_SCOPE, name, info)
        await world.submit("one", thread_id=busy)
        call = await world.agent.next_call()
        before = (await store.list_threads(DEFAULT_SCOPE, ThreadQuery())).items
        delete = world.mailbox.threads.delete

        if busy == "b2" and strategy == "detach":
            await delete(DEFAULT_SCOPE, ThreadId("a"), child_strategy=strategy)  # the child's own affair
        else:
            with pytest.raises(ThreadBusy, match=busy):
                await delete(DEFAULT_SCOPE, ThreadId("a"), child_strategy=strategy)
            assert (await store.list_threads(DEFAULT_SCOPE, ThreadQuery())).items == before

        call.release("done")
        await world.quiet()
        await delete(DEFAULT_SCOPE, ThreadId("a"), child_strategy=strategy)
        left = [each.thread_id for each in (await store.list_threads(DEFAULT_SCOPE, ThreadQuery())).items]
        assert sorted(left) == ([] if strategy == "cascade" else ["b1", "b2"])


@behaviour("TR-021")
@pytest.mark.parametrize("strategy", ["reject", "detach", "cascade"])
async def test_a_child_that_is_on_its_way_is_seen_to_like_one_that_is_there(
    store: WatchedStore, clock: ManualClock, strategy: ChildStrategy
) -> None:
    """Even where its own run has started one that is on its way, too."""

    async def starter(ctx: Context) -> str:
        further = {"two": "starter", "one": "gated"}.get(await ctx.input())  # and nothing when it is told of an end
        if further is not None:
            await ctx.start(further, "one")
        return "started"

    async with World(store, clock, agents={"starter": starter}) as world:
        store.refuse = lambda batch: (
            StoreUnavailable("not now") if any(isinstance(each, Submit) and each.info for each in batch) else None
        )
        submission = await world.submit("two", agent_id="starter")
        await world.done(submission)
        store.come_back()
        delete = world.mailbox.threads.delete

        if strategy == "reject":
            with pytest.raises(HasChildThreads):
                await delete(DEFAULT_SCOPE, T, child_strategy=strategy, force=True)
        else:
            await delete(DEFAULT_SCOPE, T, child_strategy=strategy, force=True)
        await world.advance(121)

        left = (await store.list_threads(DEFAULT_SCOPE, ThreadQuery(ascending=True))).items
        assert len(left) == {"reject": 3, "detach": 2, "cascade": 0}[strategy]
        assert [each for each in left if each.info.parent_thread_id == T] == [] or strategy == "reject"
        assert (await store.list_runs(DEFAULT_SCOPE, RunQuery())).items == () or strategy != "cascade"


async def test_a_child_that_cannot_come_leaves_its_parent_where_it_is(store: WatchedStore, clock: ManualClock) -> None:
    async def starter(ctx: Context) -> str:
        await ctx.start("gated", "one")
        return "started"

    async with World(store, clock, agents={"starter": starter}) as world:
        store.refuse = lambda batch: (
            StoreUnavailable("not now") if any(isinstance(each, Submit) and each.info for each in batch) else None
        )
        await world.done(await world.submit(agent_id="starter"))

        with pytest.raises(ThreadBusy):
            await world.mailbox.threads.delete(DEFAULT_SCOPE, T, child_strategy="cascade", force=True)

        store.come_back()
        await world.mailbox.threads.delete(DEFAULT_SCOPE, T, child_strategy="cascade", force=True)
        assert (await store.list_threads(DEFAULT_SCOPE, ThreadQuery())).items == ()


@behaviour("TR-118")
async def test_a_tree_whose_deletion_stopped_half_way_is_deleted_by_asking_again(
    store: WatchedStore, clock: ManualClock
) -> None:
    names = [ThreadId(name) for name in ("a", "b", "c")]
    async with World(store, clock) as world:
        for parent, name in zip((None, *names), names, strict=False):
            await world.mailbox.save_thread(DEFAULT_SCOPE, name, ThreadInfo(parent_thread_id=parent))
        deletions = 0

        def fail(batch: Sequence[Transition]) -> Exception | None:
            nonlocal deletions
            deletions += any(isinstance(transition, DeleteThread) for transition in batch)
            return StoreUnavailable("the process is about to die") if deletions > 1 else None

        store.refuse = fail
        with pytest.raises(StoreUnavailable):
            await world.mailbox.threads.delete(DEFAULT_SCOPE, names[0], child_strategy="cascade")
    store.come_back()
    async with World(store, clock) as world:
        left = [each.thread_id for each in (await store.list_threads(DEFAULT_SCOPE, ThreadQuery(ascending=True))).items]
        assert left == ["a", "b"]

        await world.mailbox.threads.delete(DEFAULT_SCOPE, names[0], child_strategy="cascade")

        assert (await store.list_threads(DEFAULT_SCOPE, ThreadQuery())).items == ()
