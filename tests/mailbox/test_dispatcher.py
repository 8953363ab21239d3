"""Slots and wake-ups: what waits is found at once, at its exact instant, and never by luck."""

from __future__ import annotations

import asyncio
import math
import random
from collections import Counter
from collections.abc import Sequence
from contextlib import AsyncExitStack
from typing import Any

import pytest

from awaken.domain.dispatch import SUSPECT_CRASHES, DispatchStatus
from awaken.domain.errors import StoreUnavailable
from awaken.domain.ids import DEFAULT_SCOPE, Route, RunId, ThreadId
from awaken.executors.function import Context
from awaken.mailbox.settings import MailboxSettings
from awaken.mailbox.submission import Submission
from awaken.store.transitions import Claim, Reclaim, Settle, Submit, Transition
from awaken.testing.behaviour import behaviour
from awaken.testing.clock import ManualClock
from awaken.testing.mailboxes import GatedAgent, WatchedStore, World, claim_for


async def test_many_threads_and_few_slots_keep_the_order_of_every_thread(
    store: WatchedStore, clock: ManualClock
) -> None:
    order: dict[ThreadId, list[str]] = {}

    async def note(context: Context) -> None:
        order.setdefault(context.identity.thread_id, []).append(await context.input())
        running[context.identity.thread_id] = running.get(context.identity.thread_id, 0) + 1
        assert running[context.identity.thread_id] == 1
        for _ in range(len(order) % 3):
            await asyncio.sleep(0)
        running[context.identity.thread_id] -= 1

    running: dict[ThreadId, int] = {}
    settings = MailboxSettings(max_concurrent_runs=3, drain_s=0)
    async with World(store, clock, agents={"note": note}, settings=settings) as world:
        names = [f"t{number % 7}" for number in range(70)]
        submissions = await asyncio.gather(
            *[world.submit(str(number), thread_id=name, agent_id="note") for number, name in enumerate(names)]
        )
        for submission in submissions:
            run = await world.done(submission)
            assert run.termination is not None and run.termination.type == "natural_end"
        await world.quiet()

        assert world.free_slots == 3
        for name in set(names):
            assert order[ThreadId(name)] == [str(n) for n, each in enumerate(names) if each == name]


async def test_a_thread_that_waited_for_a_slot_runs_as_soon_as_one_is_free(
    store: WatchedStore, clock: ManualClock
) -> None:
    async with World(store, clock, settings=MailboxSettings(max_concurrent_runs=1, drain_s=0)) as world:
        await world.submit(thread_id="one")
        second = await world.submit(thread_id="two")
        assert (second.status, world.free_slots) == ("queued", 0)

        (await world.agent.next_call()).release()
        call = await world.agent.next_call()
        assert (call.run_id, clock.monotonic()) == (second.run.run_id, 0.0)


async def test_a_slot_promised_in_vain_goes_to_whoever_waits(store: WatchedStore, clock: ManualClock) -> None:
    """The last slot is offered to a busy thread; before that is answered, an idle thread finds none."""
    async with World(store, clock, settings=MailboxSettings(max_concurrent_runs=2, drain_s=0)) as world:
        await world.submit(thread_id="busy")
        await world.agent.next_call()
        store.hold()
        asked = [("first", 60.0), ("busy", 60.0), ("busy", 0.0), ("idle", 0.0)]
        asking: list[asyncio.Task[Submission]] = []
        for thread_id, delay_s in asked:
            asking.append(asyncio.create_task(world.submit(thread_id=thread_id, delay_s=delay_s)))
            await world.quiet()
        assert world.free_slots == 0
        store.let_go()
        await asyncio.wait(asking)

        call = await world.agent.next_call()
        assert (call.context.identity.thread_id, clock.monotonic()) == ("idle", 0.0)


async def test_the_next_instant_is_known_also_while_every_slot_is_taken(
    store: WatchedStore, clock: ManualClock
) -> None:
    store.exclusive = False
    async with store:
        async with World(store, clock, executes=False, seed=9) as outsider:
            submission = await outsider.submit(thread_id="of-the-dead")
            await claim_for(store, "dead", lease_ms=20_000)
        async with World(store, clock, settings=MailboxSettings(max_concurrent_runs=1, drain_s=0)) as world:
            await world.submit()
            await world.advance(20)
            assert (await world.dispatch(submission)).crash_count == 0
            await world.advance(0.001)
            assert (await world.dispatch(submission)).crash_count == 1


async def test_a_delayed_submit_runs_at_its_exact_instant_without_any_other_activity(
    store: WatchedStore, clock: ManualClock
) -> None:
    async with World(store, clock) as world:
        await world.submit(delay_s=100, thread_id="later")
        await world.submit(available_at=clock.now() + 50_000, thread_id="sooner")
        begun: list[tuple[str, float]] = []
        for _ in range(2):
            while len(world.agent.calls) == len(begun):
                await world.advance(0.5)
            begun.append((world.agent.calls[-1].context.identity.thread_id, clock.monotonic()))

        assert begun == [("sooner", 50.0), ("later", 100.0)]


async def test_work_delayed_by_an_earlier_life_is_found_without_luck(store: WatchedStore, clock: ManualClock) -> None:
    async with store:
        async with World(store, clock) as world:
            await world.submit(delay_s=17)
        async with World(store, clock, seed=2) as world:
            await world.advance(16.999)
            assert world.agent.calls == []
            await world.advance(0.001)
            assert len(world.agent.calls) == 1


async def test_a_lost_wake_up_costs_at_most_one_poll(store: WatchedStore, clock: ManualClock) -> None:
    async with World(store, clock) as world:
        async with World(store, clock, executes=False, seed=2) as outsider:
            await outsider.submit()
        await world.advance(30)
        assert len(world.agent.calls) == 1


@behaviour("SG-012", "MBX-141", "MBX-212", "MBX-216")
async def test_a_claim_the_store_refuses_is_asked_for_again_within_a_second(
    store: WatchedStore, clock: ManualClock
) -> None:
    async with World(store, clock) as world:
        await world.submit(delay_s=1)
        store.refuse = lambda batch: (
            StoreUnavailable("no") if any(isinstance(each, Claim | Reclaim) for each in batch) else None
        )
        await world.advance(5)
        assert world.agent.calls == []

        store.come_back()
        await world.advance(1)
        assert len(world.agent.calls) == 1
        assert world.free_slots == 99


async def test_a_first_look_that_the_store_refuses_is_repeated_within_a_second(
    store: WatchedStore, clock: ManualClock
) -> None:
    async with store:
        async with World(store, clock, executes=False) as outsider:
            await outsider.submit()
        store.fail_once(Claim)
        async with World(store, clock, seed=2) as world:
            assert world.agent.calls == []
            await world.advance(1)
            assert len(world.agent.calls) == 1


async def test_the_slot_of_a_submit_that_the_store_refused_goes_to_whoever_waits(
    store: WatchedStore, clock: ManualClock
) -> None:
    def refuse(batch: Sequence[Transition]) -> Exception | None:
        refused = any(isinstance(each, Submit) and each.thread_id == "refused" for each in batch)
        return StoreUnavailable("no") if refused else None

    async with World(store, clock, settings=MailboxSettings(max_concurrent_runs=1, drain_s=0)) as world:
        await world.submit(thread_id="running")
        store.hold()
        asking = [asyncio.create_task(world.submit(thread_id="waiting"))]
        await world.quiet()
        (await world.agent.next_call()).release()
        await world.quiet()
        asking.append(asyncio.create_task(world.submit(thread_id="refused")))
        await world.quiet()
        store.refuse = refuse
        store.let_go()
        await asyncio.wait(asking)
        assert asking[1].exception() is not None
        await world.quiet()

        waited = [call.context.identity.thread_id for call in world.agent.calls], clock.monotonic()
        await world.advance(1)  # what had been running is settled
        assert waited == (["running", "waiting"], 0.0)


async def test_slots_never_leak_whatever_becomes_of_submits_and_runs(store: WatchedStore, clock: ManualClock) -> None:
    turn = iter(range(1_000_000))

    async def mixed(context: Context) -> str:
        kind = next(turn) % 5
        if kind == 0:
            raise ValueError("broken")
        if kind == 1:
            raise RuntimeError("maybe later")
        if kind == 2:
            await context.step("one", lambda: 1)
        if kind == 3:
            await asyncio.sleep(0)
        return "ok"

    def refuse(batch: Sequence[Transition]) -> Exception | None:
        return StoreUnavailable("hiccup") if next(turn) % 3 == 0 else None

    settings = MailboxSettings(max_concurrent_runs=5, drain_s=0)
    async with World(store, clock, agents={"mixed": mixed}, settings=settings) as world:
        for round_number in range(20):
            store.refuse = refuse
            asking = [
                asyncio.create_task(world.submit(str(n), thread_id=f"t{n % 4}", agent_id="mixed")) for n in range(10)
            ]
            await asyncio.sleep(0)
            for task in asking[:3]:
                task.cancel()
            await asyncio.gather(*asking, return_exceptions=True)
            if round_number % 4 == 0:
                store.come_back()
                await world.submit(thread_id="t1", agent_id="mixed")
                await world.mailbox.interrupt(DEFAULT_SCOPE, ThreadId("t1"))
            await world.advance(1)
        store.come_back()
        await world.advance(120)

        counts = await store.count_dispatches()
        assert (counts[DispatchStatus.QUEUED], counts[DispatchStatus.CLAIMED]) == (0, 0)
        assert (world.free_slots, world.mailbox.health().executing) == (5, 0)


async def test_a_slot_is_free_as_soon_as_the_agent_has_ended(store: WatchedStore, clock: ManualClock) -> None:
    """Who submits in the background finds it, although the settlement is not durable yet."""
    async with World(store, clock, settings=MailboxSettings(max_concurrent_runs=1, drain_s=0)) as world:
        await world.submit(thread_id="one")
        store.hold(Settle)
        (await world.agent.next_call()).release()
        await world.quiet()
        assert (world.free_slots, world.mailbox.health().executing) == (1, 0)

        asking = asyncio.create_task(world.submit(thread_id="two"))
        await world.quiet()
        store.let_go()
        assert (await asking).status == "running"


async def test_what_waits_behind_a_run_is_claimed_by_its_settlement(store: WatchedStore, clock: ManualClock) -> None:
    async with World(store, clock, settings=MailboxSettings(max_concurrent_runs=1, drain_s=0)) as world:
        asked = [await world.submit(str(number), thread_id="one") for number in range(3)]
        for submission in asked:
            call = await world.agent.next_call()
            assert call.run_id == submission.run.run_id
            call.release()
        await world.quiet()

    settlements = [each for each in store.transitions if isinstance(each, Settle)]
    assert [each.offer is not None for each in settlements] == [True, True, False]
    assert {len(each.offers) for each in store.transitions if isinstance(each, Claim)} == {1}, "the first look"


async def test_a_look_that_finds_nothing_withholds_one_slot(store: WatchedStore, clock: ManualClock) -> None:
    async with World(store, clock) as world:
        await world.advance(60)

    assert {len(each.offers) for each in store.transitions if isinstance(each, Claim)} == {1}


async def test_what_waits_is_taken_in_as_many_slots_as_it_needs(store: WatchedStore, clock: ManualClock) -> None:
    async with store:
        async with World(store, clock, executes=False) as outsider:
            for number in range(20):
                await outsider.submit(thread_id=f"t{number}")
        async with World(store, clock, seed=2) as world:
            await world.quiet()

            assert len(world.agent.calls) == 20
            assert [len(each.offers) for each in store.transitions if isinstance(each, Claim)] == [1, 19]


async def test_a_process_as_busy_as_it_may_be_does_not_go_on_queueing(store: WatchedStore, clock: ManualClock) -> None:
    """As many conversations as slots. Each slot that a look for work offers in vain makes a submit queue, and that
    needs a claim; it must die out.
    """

    async def nothing(context: Context) -> None: ...

    async def converse(thread_id: str, turns: int) -> None:
        for turn in range(turns):
            if (thread_id, turn) == ("t0", 5):
                clock.tick(settings.poll_s)
            await world.done(await world.submit(thread_id=thread_id, agent_id="nothing"))

    settings = MailboxSettings(max_concurrent_runs=40, lease_ms=3_600_000, drain_s=0)
    async with World(store, clock, agents={"nothing": nothing}, settings=settings) as world:
        await asyncio.gather(*[converse(f"t{number}", 30) for number in range(40)])

    offered = sum(len(each.offers) for each in store.transitions if isinstance(each, Claim))
    assert offered <= 2 * 40, "for 1 200 runs, no more than a round or two"


@pytest.mark.parametrize(
    ("store", "seed"),
    [*[("memory", seed) for seed in range(25)], *[("sqlite", seed) for seed in range(8)]],
    indirect=["store"],
)
async def test_nothing_that_is_due_waits_while_a_slot_is_free(
    store: WatchedStore, clock: ManualClock, seed: int
) -> None:
    """Whatever happens at once, and without the poll that would hide a lost wake-up: with agents that have limits, and
    runs that may have killed their process.
    """
    chance = random.Random(seed)
    store.exclusive = chance.choice([True, False])
    settings = MailboxSettings(
        max_concurrent_runs=chance.randint(1, 5), poll_interval_s=1e6, lease_ms=10**9, stop_margin_s=1, drain_s=0
    )
    limits, limited = {"few": chance.randint(1, 2), "single": 1}, GatedAgent()
    names = ["gated", "gated", *limits]
    threads = [ThreadId(f"t{number}") for number in range(6)]
    asked: list[asyncio.Task[Any]] = []
    runs: list[RunId] = []

    async def submit(asking: World, thread_id: str, delay_s: float, priority: int) -> None:
        submission = await asking.submit(
            thread_id=thread_id, delay_s=delay_s, priority=priority, agent_id=chance.choice(names)
        )
        runs.append(submission.run.run_id)

    async def kill_processes() -> None:
        """Leave suspects behind."""
        async with World(store, clock, agents=dict.fromkeys(limits, limited), executes=False, seed=9) as asking:
            for thread_id in threads[: chance.randrange(5)]:
                await submit(asking, thread_id, 0.0, chance.choice([1, 128]))
            for _ in range(SUSPECT_CRASHES):
                await claim_for(store, "dying", routes=names, lease_ms=1, limit=len(threads))
                clock.tick(1)
                await store.apply([Reclaim()])

    async def waits_in_vain() -> list[ThreadId]:
        """Threads that are free, and in which everything that is due has room. Where something else fell due first and
        has none, the thread stands in line for that.
        """
        claimed = [await store.active_dispatch(DEFAULT_SCOPE, thread_id) for thread_id in threads]
        taken = Counter([each.route for each in claimed if each is not None])
        suspects = len([each for each in claimed if each is not None and each.is_suspect])
        assert all(taken[Route(name)] <= limit for name, limit in limits.items()), f"seed {seed}"
        found: list[ThreadId] = []
        for thread_id, running in zip(threads, claimed, strict=True):
            queue = [] if running is not None else await store.list_queue(DEFAULT_SCOPE, thread_id)
            due = [each for each in queue if each.available_at <= clock.now()]
            room = [taken[each.route] < limits.get(each.route, math.inf) for each in due]
            if due and all(room) and not (suspects and any(each.is_suspect for each in due)):
                found.append(thread_id)
        return found

    def act() -> None:
        thread_id = chance.choice(threads)
        calls = [call for call in world.agent.calls + limited.calls if not call.is_over]
        match chance.randrange(10):
            case 0 | 1 | 2 | 3:
                delay_s = chance.choice([0.0, 0.0, 0.0, 2.0])
                asked.append(asyncio.create_task(submit(world, thread_id, delay_s, chance.choice([1, 128]))))
            case 4 | 5 | 6 if calls:
                chance.choice(calls).release()
            case 7 if calls:
                chance.choice(calls).fail(chance.choice([RuntimeError("again"), ValueError("never")]))
            case 8:
                asked.append(asyncio.create_task(world.mailbox.interrupt(DEFAULT_SCOPE, ThreadId(thread_id))))
            case 9 if runs:
                asked.append(asyncio.create_task(world.mailbox.cancel(DEFAULT_SCOPE, chance.choice(runs))))
            case _:
                store.fail_once(chance.choice([Submit, Settle, Claim]))

    async with AsyncExitStack() as stack:
        await stack.enter_async_context(store)
        await kill_processes()
        world = World(store, clock, settings=settings)
        for name, limit in limits.items():
            world.agents.add(name, limited, max_concurrent=limit)
        await stack.enter_async_context(world)
        for _ in range(40):
            for _ in range(chance.randint(1, 8)):
                act()
                if chance.random() < 0.3:
                    await asyncio.sleep(0)
            store.come_back()
            await world.advance(chance.choice([1.5, 2.5, 20.0]))
            assert world.free_slots >= 0, f"seed {seed}"
            assert world.free_slots == 0 or not await waits_in_vain(), f"seed {seed}"
        for call in limited.calls:
            call.release()
        await asyncio.gather(*asked, return_exceptions=True)
        assert (world.agent.most_running, limited.most_running) == (1, 1), f"seed {seed}"
        assert max(map(len, store.batches)) > 1, "things happened at once"
