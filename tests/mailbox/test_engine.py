"""Starting and taking over: the life of one process, and what two of them do with one store."""

from __future__ import annotations

import asyncio
import sqlite3
import threading
from pathlib import Path

import pytest

from awaken.domain.dispatch import DispatchStatus
from awaken.domain.errors import StoreUnavailable
from awaken.domain.ids import DEFAULT_SCOPE, DispatchId, MessageId, RunId, ThreadId
from awaken.domain.message import user_message
from awaken.domain.run import RunStatus
from awaken.domain.thread import ThreadInfo
from awaken.executors.function import Context
from awaken.mailbox.settings import MailboxSettings
from awaken.store.combiner import MAX_BATCH_BYTES
from awaken.store.contract import DispatchQuery
from awaken.store.sqlite import SqliteStore
from awaken.store.sqlite.opening import open_reader
from awaken.store.transitions import Commit, Reclaim, SaveThread, Settle, Submit
from awaken.testing.behaviour import behaviour
from awaken.testing.clock import ManualClock
from awaken.testing.conformance.steps import settling
from awaken.testing.mailboxes import WatchedStore, World, claim_for


async def leave_a_claim_of_the_dead(
    store: WatchedStore, clock: ManualClock, *, lease_ms: int | None = None, max_attempts: int = 5
) -> RunId:
    """A run that a process claimed before it died."""
    async with World(store, clock, executes=False, seed=9) as world:
        submission = await world.submit(max_attempts=max_attempts)
        await claim_for(store, "dead", lease_ms=lease_ms)
        assert (await world.dispatch(submission)).claimed_by == "dead"
    return submission.run.run_id


# --- start ------------------------------------------------------------------------------------------------------------


@behaviour("MBX-111", "MBX-003", "MBX-112", "OS-001")
async def test_a_start_whose_recovery_fails_is_refused_and_can_be_repeated(
    store: WatchedStore, clock: ManualClock
) -> None:
    store.exclusive = False
    world = World(store, clock)
    store.fail_once(Reclaim)
    with pytest.raises(StoreUnavailable, match="no Reclaim now"):
        await world.mailbox.__aenter__()
    assert world.mailbox.state == "stopped"

    async with world:
        assert world.mailbox.state == "ready"


@behaviour("MBX-113", "MBX-114", "MBX-118")
async def test_32_starts_at_once_take_over_once_and_one_stop_is_enough(store: WatchedStore, clock: ManualClock) -> None:
    store.exclusive = False
    store.hold(Reclaim)
    world = World(store, clock)
    async with asyncio.timeout(20):
        starts = [asyncio.create_task(world.mailbox.start()) for _ in range(32)]
        await world.quiet()
        late = asyncio.create_task(world.mailbox.start())
        await world.quiet()
        assert (world.mailbox.state, store.waiting, late.done()) == ("starting", 1, False)

        store.let_go()
        await asyncio.gather(*starts, late)
        assert [type(each) for each in store.transitions].count(Reclaim) == 1
        assert world.mailbox.state == "ready"
        await world.leave()
        assert world.mailbox.state == "stopped"


@behaviour("MBX-115", "MBX-117")
async def test_what_was_started_goes_on_when_whoever_started_it_is_gone(
    store: WatchedStore, clock: ManualClock
) -> None:
    async with store:
        async with World(store, clock, executes=False) as asking:
            waiting = await asking.submit()
        world = World(store, clock, seed=2)
        async with asyncio.timeout(20):
            await asyncio.create_task(world.mailbox.start())
            (await world.agent.next_call()).release("worked")
            assert (await world.done(waiting)).final_output == "worked"

            await asyncio.create_task(world.mailbox.start())
            assert world.mailbox.state == "ready"
            await asyncio.create_task(world.leave())
            assert world.mailbox.state == "stopped"


@behaviour("MBX-119")
async def test_work_queued_before_the_start_runs(store: WatchedStore, clock: ManualClock) -> None:
    async with store:
        async with World(store, clock, executes=False) as asking:
            submission = await asking.submit()
        async with World(store, clock, seed=2) as world:
            (await world.agent.next_call()).release("at last")
            assert (await world.done(submission)).final_output == "at last"


@behaviour("MBX-120")
async def test_a_dead_predecessors_runs_are_taken_over_at_once_where_only_one_process_may_be_alive(
    store: WatchedStore, clock: ManualClock
) -> None:
    run_id = await leave_a_claim_of_the_dead(store, clock)
    async with World(store, clock) as world:
        call = await world.agent.next_call()

        assert (call.run_id, clock.monotonic()) == (run_id, 0.0)
        assert (await world.dispatch(run_id)).lease_until is None
        call.release("taken over")
        run, dispatch = await world.done(run_id), await world.dispatch(run_id)
        assert (run.final_output, dispatch.attempt_count, dispatch.crash_count) == ("taken over", 0, 1)
        assert dispatch.instance_id not in (None, "dead-instance")
        assert "RunResumed" in await world.kinds(run_id)


async def test_elsewhere_they_are_taken_over_right_after_their_lease_has_ended(
    store: WatchedStore, clock: ManualClock
) -> None:
    store.exclusive = False
    async with store:
        run_id = await leave_a_claim_of_the_dead(store, clock, lease_ms=7_000)
        async with World(store, clock) as world:
            await world.advance(7)
            assert world.agent.calls == []
            await world.advance(0.001)
            assert [call.run_id for call in world.agent.calls] == [run_id]


@behaviour("MBX-109")
async def test_a_lone_suspect_whose_process_dies_in_its_last_attempt_ends_in_error(
    store: WatchedStore, clock: ManualClock
) -> None:
    """Two deaths may have been anybody's fault; the third, with no other suspect beside it, was its own."""
    store.exclusive = False
    async with store:
        run_id = await leave_a_claim_of_the_dead(store, clock, lease_ms=1, max_attempts=1)
        for _ in range(2):
            clock.tick(1)
            await store.apply([Reclaim()])
            await claim_for(store, "dead again", lease_ms=1)
        clock.tick(1)
        async with World(store, clock) as world:
            run, dispatch = await world.run(run_id), await world.dispatch(run_id)

            assert (dispatch.status, run.status) == (DispatchStatus.DEAD_LETTER, RunStatus.DONE)
            assert (dispatch.crash_count, dispatch.attempt_count) == (3, 1)
            assert run.termination is not None and run.termination.type == "error"
            await world.advance(60)
            assert world.agent.calls == []


@behaviour("MBX-126")
async def test_a_claim_that_expires_while_the_mailbox_lives_is_swept_and_completed(
    store: WatchedStore, clock: ManualClock
) -> None:
    store.exclusive = False
    store.loses_signals = True
    async with World(store, clock) as world:
        await world.quiet()
        run_id = await leave_a_claim_of_the_dead(store, clock, lease_ms=1_000)
        await world.advance(30)

        (await world.agent.next_call()).release()
        await world.done(run_id)
        dispatch = await world.dispatch(run_id)
        assert (dispatch.status, dispatch.attempt_count, dispatch.crash_count) == (DispatchStatus.ACKED, 0, 1)


@behaviour("MBX-124")
async def test_a_run_that_is_done_is_not_run_again_by_a_start(store: WatchedStore, clock: ManualClock) -> None:
    async with store:
        async with World(store, clock) as world:
            submission = await world.submit()
            (await world.agent.next_call()).release()
            await world.done(submission)
            await world.advance(0)
        async with World(store, clock, settings=MailboxSettings(run_retention_s=0, drain_s=0), seed=2) as later:
            await later.advance(120)
            assert later.agent.calls == []
            assert sum((await store.count_dispatches()).values()) == 0


@behaviour("MBX-125")
async def test_finished_runs_past_their_retention_are_removed_with_their_dispatches(
    store: WatchedStore, clock: ManualClock
) -> None:
    settings = MailboxSettings(run_retention_s=100, purge_interval_s=60, drain_s=0)
    async with World(store, clock, settings=settings) as world:
        submission = await world.submit()
        (await world.agent.next_call()).release("kept")
        run = await world.done(submission)
        await world.advance(100)
        assert (await world.dispatch(submission)).status is DispatchStatus.ACKED
        await world.advance(90)

        assert await store.load_dispatch(DEFAULT_SCOPE, run.dispatch_id) is None
        assert await store.load_run(DEFAULT_SCOPE, run.run_id) is None
        assert await world.texts() == ["hello", "kept"]


@behaviour("EX-004")
async def test_a_mailbox_that_is_started_again_keeps_its_name_as_a_consumer(
    store: WatchedStore, clock: ManualClock
) -> None:
    async with store:
        world = World(store, clock)
        for _ in range(2):
            async with world:
                await world.submit()
                (await world.agent.next_call()).release()
                await world.quiet()
        offers = [each.offer for each in store.transitions if isinstance(each, Submit) and each.offer is not None]
        assert (len(offers), len({offer.consumer for offer in offers})) == (2, 1)
        assert len({offer.token for offer in offers}) == 2


async def test_a_mailbox_can_be_left_and_entered_again(store: WatchedStore, clock: ManualClock) -> None:
    async with store:
        world = World(store, clock)
        for text in ("one", "two"):
            async with world:
                submission = await world.submit(text)
                (await world.agent.next_call()).release(text)
                assert (await world.done(submission)).final_output == text
                async with world.mailbox.read_thread(DEFAULT_SCOPE, ThreadId("t")) as reader:
                    assert not reader.is_cut


# --- several processes ------------------------------------------------------------------------------------------------


@behaviour("MBX-121")
async def test_two_starts_on_one_queued_dispatch_execute_it_once(store: WatchedStore, clock: ManualClock) -> None:
    store.exclusive = False
    async with World(store, clock, executes=False, seed=3) as asking:
        submission = await asking.submit()
        async with World(store, clock) as one, World(store, clock, seed=2) as two:
            await one.advance(30)
            calls = [*one.agent.calls, *two.agent.calls]
            assert len(calls) == 1
            calls[0].release()
            await one.quiet()
            assert (await asking.dispatch(submission)).status is DispatchStatus.ACKED


@behaviour("MBX-142")
async def test_what_waits_behind_a_run_of_another_process_starts_when_that_has_ended(
    store: WatchedStore, clock: ManualClock
) -> None:
    """Whoever found the thread busy looks again, also where no signal came."""
    store.exclusive, store.loses_signals = False, True
    async with World(store, clock, executes=False, seed=9) as asking:
        await asking.submit("first")
        [owner] = await claim_for(store, "elsewhere", lease_ms=600_000)
        async with World(store, clock) as world:
            second = await world.submit("second")
            await world.advance(60)
            assert (second.status, world.agent.calls) == ("queued", [])

            await store.apply([settling(owner)])
            await world.advance(30)

            call = await world.agent.next_call()
            assert call.run_id == second.run.run_id
            call.release()
            await world.quiet()
            assert (await world.dispatch(second)).status is DispatchStatus.ACKED


@behaviour("MBX-076", "MBX-077", "MBX-080", "OS-003")
@pytest.mark.parametrize("count", [3, 5])
async def test_submits_at_once_on_one_thread_run_one_after_the_other_in_order(
    store: WatchedStore, clock: ManualClock, count: int
) -> None:
    async with World(store, clock) as world:
        await world.quiet()
        submissions = await asyncio.gather(*[world.submit(str(n)) for n in range(count)])
        assert [each.status for each in submissions].count("running") == 1

        for submission in submissions:
            call = await world.agent.next_call()
            assert call.run_id == submission.run.run_id
            listed = await store.list_dispatches(
                DEFAULT_SCOPE, DispatchQuery(thread_id=ThreadId("t"), statuses=(DispatchStatus.CLAIMED,))
            )
            assert [each.run_id for each in listed.items] == [submission.run.run_id]
            call.release()
        await world.quiet()
        assert world.agent.most_running == 1


async def test_whoever_writes_says_how_much_so_that_no_batch_holds_the_store_for_long(
    store: WatchedStore, clock: ManualClock
) -> None:
    text = "x" * 250_000
    may_speak, may_end = asyncio.Event(), asyncio.Event()

    async def talk(context: Context) -> str:
        await may_speak.wait()
        await context.emit(text)
        await may_end.wait()
        return text

    async with World(store, clock, agents={"talk": talk}) as world:
        names = [f"t{number}" for number in range(80)]
        brought = (user_message(MessageId(""), text),)
        saving = [world.mailbox.save_thread(DEFAULT_SCOPE, name, ThreadInfo(), messages=brought) for name in names]
        await asyncio.gather(*saving)
        submissions = await asyncio.gather(*[world.submit(text, thread_id=name, agent_id="talk") for name in names])
        for gate in (may_speak, may_end):
            await world.quiet()
            gate.set()
        await asyncio.gather(*[world.done(submission) for submission in submissions])

        for kind in (SaveThread, Submit, Commit, Settle):
            sizes = [sum(type(each) is kind for each in batch) for batch in store.batches]
            assert sum(sizes) >= len(names) and max(sizes) * len(text) < MAX_BATCH_BYTES + 2 * len(text), kind


@behaviour("MBX-210")
async def test_a_submit_the_store_refuses_leaves_neither_run_nor_dispatch(
    store: WatchedStore, clock: ManualClock
) -> None:
    """Run and dispatch are written together, or not at all."""
    async with store:
        async with World(store, clock) as world:
            store.fail_once(Submit)
            with pytest.raises(StoreUnavailable):
                await world.submit(run_id="r1")
            assert await store.load_run(DEFAULT_SCOPE, RunId("r1")) is None
            assert sum((await store.count_dispatches()).values()) == 0
            submission = await world.submit(run_id="r1", delay_s=5)
            stored = await store.load_dispatch(DEFAULT_SCOPE, submission.run.dispatch_id)
            assert stored is not None and stored.run_id == "r1"
        async with World(store, clock, seed=2) as later:
            assert sum((await store.count_dispatches()).values()) == 1
            await later.advance(5)
            assert [call.run_id for call in later.agent.calls] == ["r1"]


async def test_an_execution_that_asks_its_own_store_for_a_dispatch_finds_itself_claimed(
    store: WatchedStore, clock: ManualClock
) -> None:
    async with World(store, clock) as world:
        submission = await world.submit()
        identity = (await world.agent.next_call()).context.identity
        dispatch = await store.load_dispatch(DEFAULT_SCOPE, DispatchId(identity.dispatch_id))
        assert dispatch is not None
        assert (dispatch.run_id, dispatch.instance_id) == (submission.run.run_id, identity.instance_id)


def test_a_loop_that_is_torn_down_hard_ends_promptly_and_the_next_start_takes_over(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every task is cancelled at once, the combiner included; nothing may wait for an answer that will not come."""
    left_open: list[sqlite3.Connection] = []

    def open_and_remember(path: Path) -> sqlite3.Connection:
        left_open.append(open_reader(path))
        return left_open[-1]

    monkeypatch.setattr("awaken.store.sqlite.readers.open_reader", open_and_remember)

    async def die() -> None:
        world = World(SqliteStore(tmp_path / "awaken.db", clock=clock), clock)
        await world.mailbox.__aenter__()
        await world.submit("hello", run_id="r1")
        (await world.agent.next_call()).release("never settled")

    clock = ManualClock()
    dying = threading.Thread(target=lambda: asyncio.run(die()), daemon=True)
    dying.start()
    dying.join(timeout=10)
    assert not dying.is_alive()
    for connection in left_open:
        connection.close()  # the dead closed nothing
    left_open.clear()


@pytest.mark.parametrize("what", ["stopped", "asleep", "set forward", "set back"])
async def test_on_a_store_of_one_process_no_time_that_passes_stops_or_repeats_a_run(
    store: WatchedStore, clock: ManualClock, what: str
) -> None:
    """Its machine sleeps, its process is stopped or blocked, its clock is put elsewhere: nobody can take its claim."""
    async with World(store, clock) as world:
        submission = await world.submit(max_attempts=1)
        call = await world.agent.next_call()
        for _ in range(7):
            match what:
                case "stopped":
                    clock.tick(3_600)
                case "asleep":
                    clock.suspend(3_600)
                case "set forward":
                    clock.set(clock.now() + 3_600_000)
                case _:
                    clock.set(clock.now() - 3_600_000)
            await world.submit(thread_id="beside", delay_s=0.2)
            await world.advance(31)
        assert not call.is_over
        call.release("innocent")
        assert (await world.done(submission)).final_output == "innocent"
        assert [each.run_id for each in world.agent.calls].count(submission.run.run_id) == 1
