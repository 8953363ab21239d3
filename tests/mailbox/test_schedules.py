"""Schedules run agents at their instants: once each, through restarts, as the program and people say."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

import pytest
from msgspec.structs import replace

from awaken.domain.clock import to_rfc3339
from awaken.domain.errors import (
    AlreadyExists,
    ScheduleDeclared,
    ScheduleNotFound,
    StoreUnavailable,
    UnknownAgent,
    ValidationError,
)
from awaken.domain.ids import DEFAULT_SCOPE, AgentId, MessageId, ThreadId
from awaken.domain.message import user_message
from awaken.domain.outbox import OutboxRow
from awaken.domain.run import Run, RunStatus
from awaken.domain.schedule import ScheduleSpec
from awaken.executors.function import Context
from awaken.mailbox.settings import MailboxSettings
from awaken.store.contract import RunQuery
from awaken.store.transitions import Delivered, Outcome, Submit, Tick, Transition
from awaken.testing.behaviour import behaviour
from awaken.testing.clock import ManualClock
from awaken.testing.mailboxes import WatchedStore, World

THREAD = "schedule:tidy"


async def tidy(ctx: Context) -> str:
    return f"tidied up at {ctx.metadata['scheduled_at']}"


def spec(**details: Any) -> ScheduleSpec:
    fields: dict[str, Any] = {
        "name": "tidy",
        "agent_id": AgentId("tidy"),
        "messages": (user_message(MessageId(""), "tidy up"),),
        "every_s": 60,
        **details,
    }
    return ScheduleSpec(**fields)


def world_of(store: WatchedStore, clock: ManualClock, *declared: ScheduleSpec, **details: Any) -> World:
    world = World(store, clock, agents={"tidy": tidy}, **details)
    world.mailbox.schedules.declared[DEFAULT_SCOPE] = declared
    return world


async def runs_of(world: World, thread_id: str = THREAD) -> list[Run]:
    query = RunQuery(thread_id=ThreadId(thread_id), limit=200)
    return [*(await world.store.list_runs(DEFAULT_SCOPE, query)).items]


async def test_an_agent_runs_at_every_instant(store: WatchedStore, clock: ManualClock) -> None:
    begun = clock.now()
    async with world_of(store, clock, spec()) as world:
        await world.advance(59)
        assert await runs_of(world) == []
        await world.advance(1)
        [first] = await runs_of(world)
        assert first.final_output == f"tidied up at {to_rfc3339(begun + 60_000)[:-5]}Z"
        await world.advance(180)
        assert len(await runs_of(world)) == 4
        schedule = await world.mailbox.schedules.get(DEFAULT_SCOPE, "tidy")
        assert (schedule.last_run_id, schedule.skipped) == ((await runs_of(world))[-1].run_id, 0)
        assert schedule.next_at == begun + 300_000


async def test_an_instant_costs_a_tick_a_submit_a_settlement_and_a_delivery(
    store: WatchedStore, clock: ManualClock
) -> None:
    async with world_of(store, clock, spec()) as world:
        await world.advance(60)
        before = len(store.transitions)
        await world.advance(59.9)
        assert [type(each).__name__ for each in store.transitions[before:]].count("Tick") <= 4
        before = len(store.transitions)
        await world.advance(0.2)
        asked = [type(each).__name__ for each in store.transitions[before:]]
        assert sorted([name for name in asked if name not in ("Claim", "Purge", "Tick")]) == [
            "Delivered", "Settle", "Submit",
        ]  # fmt: skip
        assert 1 <= asked.count("Tick") <= 2


@behaviour("SH-009")
async def test_a_process_without_schedules_asks_for_no_tick(store: WatchedStore, clock: ManualClock) -> None:
    async with World(store, clock) as world:
        await world.advance(300)
        assert len([each for each in store.transitions if isinstance(each, Tick)]) == 1, "the one of its start"


async def test_an_instant_passes_while_an_earlier_run_is_not_done(store: WatchedStore, clock: ManualClock) -> None:
    async with world_of(store, clock, spec(agent_id=AgentId("gated"))) as world:
        await world.advance(180)
        [only] = await runs_of(world)
        schedule = await world.mailbox.schedules.get(DEFAULT_SCOPE, "tidy")
        assert (schedule.skipped, schedule.last_run_id) == (2, only.run_id)
        (await world.agent.next_call()).release("done")
        await world.advance(60)
        assert len(await runs_of(world)) == 2


async def test_runs_queue_up_where_that_is_asked(store: WatchedStore, clock: ManualClock) -> None:
    async with world_of(store, clock, spec(agent_id=AgentId("gated"), overlap="queue")) as world:
        await world.advance(180)
        assert len(await runs_of(world)) == 3


async def test_what_was_missed_while_nobody_served_is_made_up_for_at_the_start(
    store: WatchedStore, clock: ManualClock
) -> None:
    async with world_of(store, clock, spec(missed="one"), spec(name="none", missed="none", every_s=3600)):
        pass
    clock.tick(7 * 3600 + 120)
    async with world_of(store, clock, spec(missed="one"), spec(name="none", missed="none", every_s=3600)) as world:
        assert len(await runs_of(world)) == 1
        assert await runs_of(world, "schedule:none") == []


async def test_what_falls_due_while_a_process_lets_runs_end_is_begun_by_the_next_one(
    store: WatchedStore, clock: ManualClock
) -> None:
    """Begun by the first it would only queue, and what comes behind would be skipped because of it."""
    declared = spec(missed="one", overlap="skip")
    async with world_of(store, clock, declared, settings=MailboxSettings(drain_s=1_000)) as world:
        await world.submit("one")
        call = await world.agent.next_call()
        leaving = asyncio.create_task(world.mailbox.stop())
        await world.advance(200)
        assert (await runs_of(world), leaving.done()) == ([], False)
        call.release("done")
        await leaving

    async with world_of(store, clock, declared) as world:
        await world.quiet()
        [run] = await runs_of(world)
        assert (run.status, (await world.mailbox.schedules.get(DEFAULT_SCOPE, "tidy")).skipped) == (RunStatus.DONE, 0)


class LooksLate(WatchedStore):
    """The outbox is read only after the first schedule has been moved on."""

    def __init__(self, store: WatchedStore) -> None:
        super().__init__(store)
        self._moved_on = asyncio.Event()

    async def apply(self, batch: Sequence[Transition]) -> list[Outcome]:
        outcomes = await super().apply(batch)
        if any(isinstance(each, Tick) for each in batch):
            self._moved_on.set()
        return outcomes

    async def list_outbox(self, **asked: Any) -> list[OutboxRow]:
        await self._moved_on.wait()
        return await super().list_outbox(**asked)


async def test_an_instant_whose_errand_was_left_behind_is_served_before_one_that_falls_due_at_the_start(
    store: WatchedStore, clock: ManualClock
) -> None:
    """Whichever of them the new process hears of first."""
    begun = clock.now()
    async with world_of(store, clock, spec(overlap="queue", missed="all")) as world:
        store.refuse = lambda batch: (
            StoreUnavailable("no Submit") if any(isinstance(each, Submit) for each in batch) else None
        )
        await world.advance(60)
        assert len(await store.list_outbox()) == 1
    store.come_back()
    clock.tick(60)

    late = LooksLate(store)
    async with world_of(late, clock, spec(overlap="queue", missed="all"), seed=2) as world:
        await world.advance(1)
        expected = [f"tidied up at {to_rfc3339(begun + at)[:-5]}Z" for at in (60_000, 120_000)]
        assert [run.final_output for run in await runs_of(world)] == expected
        assert await store.list_outbox() == []


@behaviour("SH-001")
@pytest.mark.parametrize("kind", [Tick, Submit, Delivered])
async def test_an_instant_has_one_run_whatever_answer_is_lost(
    store: WatchedStore, clock: ManualClock, kind: type[Any]
) -> None:
    async with world_of(store, clock, spec()) as world:
        store.lose_answer(kind)
        await world.advance(110)
        [run] = await runs_of(world)
        assert run.final_output is not None
        assert await store.list_outbox() == []


async def test_the_definition_of_the_program_holds_before_anything_falls_due(
    store: WatchedStore, clock: ManualClock
) -> None:
    """A schedule that was due, and is declared otherwise or not at all by the next program, runs as that says."""
    async with world_of(store, clock, spec(), spec(name="gone")):
        pass
    clock.tick(90)
    async with world_of(store, clock, spec(every_s=120)) as world:
        assert await runs_of(world) == await runs_of(world, "schedule:gone") == []
        gone = await world.mailbox.schedules.get(DEFAULT_SCOPE, "gone")
        assert (gone.paused_by, gone.next_at) == ("undeclared", None)
        await world.advance(120)
        assert len(await runs_of(world)) == 1


async def test_a_schedule_is_made_changed_paused_resumed_and_removed(store: WatchedStore, clock: ManualClock) -> None:
    async with world_of(store, clock) as world:
        schedules = world.mailbox.schedules
        assert (await schedules.make(DEFAULT_SCOPE, spec()))[1]
        assert not (await schedules.make(DEFAULT_SCOPE, spec()))[1]
        with pytest.raises(AlreadyExists):
            await schedules.make(DEFAULT_SCOPE, spec(every_s=5))
        await world.advance(60)
        assert len(await runs_of(world)) == 1

        changed = await schedules.change(DEFAULT_SCOPE, "tidy", {"every_s": 10})
        assert changed.spec.every_s == 10
        await world.advance(10)
        assert len(await runs_of(world)) == 2

        assert (await schedules.pause(DEFAULT_SCOPE, "tidy")).next_at is None
        await world.advance(100)
        assert len(await runs_of(world)) == 2
        await schedules.resume(DEFAULT_SCOPE, "tidy")
        await world.advance(10)
        assert len(await runs_of(world)) == 3

        await schedules.remove(DEFAULT_SCOPE, "tidy")
        await world.advance(100)
        assert len(await runs_of(world)) == 3
        for attempt in (schedules.get, schedules.pause, schedules.resume, schedules.remove):
            with pytest.raises(ScheduleNotFound):
                await attempt(DEFAULT_SCOPE, "tidy")


async def test_changes_side_by_side_all_happen(store: WatchedStore, clock: ManualClock) -> None:
    async with world_of(store, clock) as world:
        schedules = world.mailbox.schedules
        await schedules.make(DEFAULT_SCOPE, spec())
        async with asyncio.TaskGroup() as group:
            for changes in ({"every_s": 7}, {"overlap": "queue"}, {"missed": "all"}, {"zone": "Europe/Paris"}):
                group.create_task(schedules.change(DEFAULT_SCOPE, "tidy", changes))
        after = (await schedules.get(DEFAULT_SCOPE, "tidy")).spec
        assert after == spec(every_s=7, overlap="queue", missed="all", zone="Europe/Paris")


@behaviour("SH-006")
async def test_what_the_program_declares_is_only_paused_and_resumed(store: WatchedStore, clock: ManualClock) -> None:
    async with world_of(store, clock, spec()) as world:
        schedules = world.mailbox.schedules
        with pytest.raises(ScheduleDeclared):
            await schedules.change(DEFAULT_SCOPE, "tidy", {"every_s": 7})
        with pytest.raises(ScheduleDeclared):
            await schedules.remove(DEFAULT_SCOPE, "tidy")
        await schedules.pause(DEFAULT_SCOPE, "tidy")
    async with world_of(store, clock, spec()) as world:
        await world.advance(100)
        assert await runs_of(world) == []
        await world.mailbox.schedules.resume(DEFAULT_SCOPE, "tidy")
        await world.advance(60)
        assert len(await runs_of(world)) == 1


@pytest.mark.parametrize(
    ("wrong", "error"),
    [
        (spec(agent_id=AgentId("nobody")), UnknownAgent),
        (spec(every_s=0), ValidationError),
        (spec(metadata={"a": float("inf")}), ValidationError),
        (spec(messages=(user_message(MessageId(""), "x" * 300_000),)), ValidationError),
        (replace(spec(), cron="* * * * *"), ValidationError),
    ],
)
async def test_what_is_no_schedule_here_is_refused_and_hurts_no_other(
    store: WatchedStore, clock: ManualClock, wrong: ScheduleSpec, error: type[Exception]
) -> None:
    async with world_of(store, clock, spec()) as world:
        with pytest.raises(error):
            await world.mailbox.schedules.make(DEFAULT_SCOPE, replace(wrong, name="wrong"))
        await world.advance(60)
        assert len(await runs_of(world)) == 1
    declaring = world_of(store, clock, wrong)
    with pytest.raises(ValidationError, match="schedule 'tidy' cannot be declared: "):
        await declaring.mailbox.start()
    assert declaring.mailbox.state in ("new", "stopped")
