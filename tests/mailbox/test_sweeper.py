"""What is looked after from time to time: claims that nobody carries, what nobody can run, and what is old."""

from __future__ import annotations

import asyncio
import logging
from typing import Any

import pytest

from awaken.domain.dispatch import Dispatch, DispatchStatus
from awaken.domain.errors import DataIntegrity, StoreUnavailable, TransientFailure
from awaken.domain.ids import DEFAULT_SCOPE, RunId, ThreadId
from awaken.executors.function import Context
from awaken.mailbox.settings import MailboxSettings
from awaken.mailbox.sweeper import PURGES_PER_SWEEP
from awaken.store.contract import OverdueTicket
from awaken.store.transitions import MAX_ROWS, Claim, Commit, Purge, Settle, Submit
from awaken.testing.behaviour import behaviour
from awaken.testing.clock import ManualClock
from awaken.testing.events import text_delta
from awaken.testing.forwarding import ForwardingStore
from awaken.testing.mailboxes import WatchedStore, World


def costs(dispatch: Dispatch) -> tuple[int, int]:
    return dispatch.attempt_count, dispatch.crash_count


# --- claims that nobody carries ---------------------------------------------------------------------------------------


@behaviour("EX-002")
async def test_a_claim_that_a_submit_won_without_hearing_of_it_is_released_at_no_cost(
    store: WatchedStore, clock: ManualClock
) -> None:
    async with World(store, clock) as world:
        store.lose_answer(Submit)
        with pytest.raises(StoreUnavailable):
            await world.submit(run_id="r")
        assert (await world.dispatch(RunId("r"))).status is DispatchStatus.CLAIMED
        assert (world.agent.calls, world.free_slots) == ([], 100)

        await world.advance(MailboxSettings().store_retry_s)
        [call] = world.agent.calls
        dispatch = await world.dispatch(RunId("r"))
        assert (call.run_id, costs(dispatch), world.free_slots) == ("r", (0, 0), 99)
        call.release("once")
        assert (await world.done(RunId("r"))).final_output == "once"
        assert await world.texts() == ["hello", "once"]


@behaviour("D-008")
async def test_claims_that_a_claim_won_without_hearing_of_them_are_released_at_no_cost(
    store: WatchedStore, clock: ManualClock
) -> None:
    async with store:
        async with World(store, clock, executes=False, seed=2) as asking:
            runs = [await asking.submit(thread_id=f"t{number}") for number in range(3)]
        store.lose_answer(Claim)
        async with World(store, clock) as world:
            assert world.agent.calls == [], "the one of the first look is claimed for nobody"
            await world.advance(MailboxSettings().store_retry_s)

            assert {call.run_id for call in world.agent.calls} == {run.run.run_id for run in runs}
            assert {costs(await world.dispatch(run)) for run in runs} == {(0, 0)}
            assert world.free_slots == 97


async def test_a_claim_that_a_settlement_won_and_that_is_given_up_is_released_at_no_cost(
    store: WatchedStore, clock: ManualClock
) -> None:
    async with World(store, clock) as world:
        first = await world.submit("first")
        second = await world.submit("second")
        store.lose_answer(Settle, DataIntegrity("the answer cannot be read"))
        (await world.agent.next_call()).release("done")
        await world.quiet()
        assert (await world.run(first)).final_output == "done"
        assert (await world.dispatch(second)).status is DispatchStatus.CLAIMED
        assert world.free_slots == 100

        await world.advance(30)
        assert (await world.agent.next_call()).run_id == second.run.run_id
        assert costs(await world.dispatch(second)) == (0, 0)


async def test_what_is_on_its_way_is_never_taken_for_a_claim_that_nobody_carries(
    store: WatchedStore, clock: ManualClock
) -> None:
    """A settlement that is asked again keeps its offer, however often the sweep looks meanwhile."""
    async with World(store, clock) as world:
        await world.submit("first")
        second = await world.submit("second")
        store.lose_answer(Settle)
        (await world.agent.next_call()).release()
        await world.quiet()
        store.go_down()
        await world.advance(200)
        store.come_back()
        await world.advance(1)

        assert (await world.agent.next_call()).run_id == second.run.run_id
        assert len([each for each in store.transitions if isinstance(each, Settle)]) == 2, "no release among them"
        assert (costs(await world.dispatch(second)), world.free_slots) == ((0, 0), 99)


@behaviour("EX-002")
async def test_a_run_whose_end_is_being_settled_is_not_taken_for_one_that_nobody_carries(
    store: WatchedStore, clock: ManualClock
) -> None:
    """Its slot is free by then, and the store has not heard of its end: a sweep may look before that is asked again."""
    starts: list[str] = []

    async def once(context: Context) -> str:
        starts.append("started")
        return "done"

    async with World(store, clock, agents={"once": once}) as world:
        store.fail_once(Settle)
        run = await world.submit(agent_id="once")
        await world.quiet()
        assert (await world.dispatch(run)).status is DispatchStatus.CLAIMED
        world.agents.add("later", once)  # which has the sweep look at once
        await world.quiet()
        assert (await world.dispatch(run)).status is DispatchStatus.CLAIMED
        await world.advance(1)

        assert (starts, (await world.run(run)).final_output) == (["started"], "done")
        assert costs(await world.dispatch(run)) == (0, 0)


# --- answers that were lost -------------------------------------------------------------------------------------------


@behaviour("MBX-208", "MBX-209")
async def test_a_commit_whose_answer_was_lost_is_asked_again_and_writes_nothing_twice(
    store: WatchedStore, clock: ManualClock
) -> None:
    made: list[str] = []

    def make(name: str) -> str:
        made.append(name)
        return name

    async def steps(context: Context) -> str:
        await context.emit(text_delta("so "))
        first = await context.step("first", lambda: make("1"))
        return first + await context.step("second", lambda: make("2"))

    async with World(store, clock, agents={"steps": steps}) as world:
        store.lose_answer(Commit)
        submission = await world.submit(agent_id="steps")
        await world.advance(1)

        assert ((await world.run(submission)).final_output, made) == ("12", ["1", "2"])
        kinds = await world.kinds(submission)
        assert (kinds.count("TextDeltaObserved"), kinds.count("StepEnded")) == (1, 3)
        assert [entry.key for entry in await store.list_journal(DEFAULT_SCOPE, submission.run.run_id)] == [
            "first#1",
            "second#1",
        ]
        commits = [each for each in store.transitions if isinstance(each, Commit)]
        assert commits[0] == commits[1] and [each.number for each in commits[1:]] == [1, 2]


async def test_a_settlement_whose_answer_was_lost_is_asked_again_and_the_claim_its_offer_won_is_executed(
    store: WatchedStore, clock: ManualClock
) -> None:
    async with World(store, clock) as world:
        first = await world.submit("first")
        second = await world.submit("second")
        call = await world.agent.next_call()
        store.lose_answer(Settle)
        call.release("answer")
        await world.quiet()
        assert len(world.agent.calls) == 1
        await world.advance(1)

        assert (await world.agent.next_call()).run_id == second.run.run_id
        assert (await world.done(first)).final_output == "answer"
        assert await world.texts() == ["first", "answer", "second"]
        assert (await world.kinds(first)).count("RunFinished") == 1
        assert (await world.kinds(second)).count("RunStarted") == 1
        settlements = [each for each in store.transitions if isinstance(each, Settle)]
        assert settlements[0] == settlements[1]
        assert (costs(await world.dispatch(second)), world.free_slots) == ((0, 0), 99)


@behaviour("D-017")
async def test_a_failure_whose_settlement_was_asked_again_spends_one_attempt(
    store: WatchedStore, clock: ManualClock
) -> None:
    async with World(store, clock) as world:
        submission = await world.submit()
        store.lose_answer(Settle)
        (await world.agent.next_call()).fail(TransientFailure("busy", retry_after_s=100))
        await world.advance(1)
        dispatch = await world.dispatch(submission)
        assert (dispatch.status, costs(dispatch)) == (DispatchStatus.QUEUED, (1, 0))


# --- what nobody can run ----------------------------------------------------------------------------------------------


async def test_what_nobody_here_can_run_is_logged_once_for_each_agent(
    store: WatchedStore, clock: ManualClock, caplog: pytest.LogCaptureFixture
) -> None:
    async def nothing(context: Context) -> None: ...

    async with store:
        both = {"one": nothing, "two": nothing}
        async with World(store, clock, agents=both, executes=False, seed=2) as asking:
            for agent_id in both:
                for number in range(2):
                    await asking.submit(thread_id=f"{agent_id}-{number}", agent_id=agent_id)
            await asking.submit(thread_id="served")
            with caplog.at_level(logging.WARNING):
                async with World(store, clock) as world:
                    await world.advance(200)
                    world.agents.add("one", nothing)
                    await world.advance(200)

    logged = [record.getMessage() for record in caplog.records]
    assert [text for text in logged if text.startswith("runs of agent")] == [
        f"runs of agent {name!r} wait: no agent of that name can run here" for name in ("one", "two")
    ]


# --- what is old ------------------------------------------------------------------------------------------------------


async def _quick(context: Context) -> None: ...


async def test_runs_go_by_one_setting_and_events_by_another(store: WatchedStore, clock: ManualClock) -> None:
    settings = MailboxSettings(run_retention_s=1_000, event_retention_s=300, drain_s=0)
    async with World(store, clock, agents={"quick": _quick}, settings=settings) as world:
        run = await world.done(await world.submit(agent_id="quick"))
        _, last = await store.event_bounds(DEFAULT_SCOPE, ThreadId("t"))
        await world.advance(299)
        assert (await store.event_bounds(DEFAULT_SCOPE, ThreadId("t")))[0] == 1
        await world.advance(100)
        assert await store.event_bounds(DEFAULT_SCOPE, ThreadId("t")) == (last + 1, last)
        assert (await world.run(run)).dispatch_id == run.dispatch_id

        await world.advance(700)
        assert await store.load_run(DEFAULT_SCOPE, run.run_id) is None
        assert await world.texts() == ["hello"]


async def test_much_that_is_old_goes_in_bounded_slices_and_the_next_sweep_goes_on_where_the_last_one_stopped(
    store: WatchedStore, clock: ManualClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("awaken.mailbox.sweeper.PURGES_PER_SWEEP", 2)
    count = 5 * MAX_ROWS
    assert PURGES_PER_SWEEP * MAX_ROWS >= 10_000, "a sweep goes far"
    settings = MailboxSettings(run_retention_s=10, event_retention_s=1e6, drain_s=0)
    async with World(store, clock, agents={"quick": _quick}, settings=settings, patience_s=60) as world:
        submissions = await asyncio.gather(
            *[world.submit(thread_id=f"t{number % 50}", agent_id="quick") for number in range(count)]
        )
        for submission in submissions:
            await world.done(submission)
        await world.quiet()
        left: list[int] = []
        for _ in range(4):
            await world.advance(60)
            left.append(sum((await store.count_dispatches()).values()))

        assert left == [600, 200, 0, 0]
        assert {each.limit for each in store.transitions if isinstance(each, Purge)} == {MAX_ROWS}


async def test_event_rows_that_must_stay_do_not_keep_a_sweep_from_those_behind_them(
    store: WatchedStore, clock: ManualClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("awaken.mailbox.sweeper.PURGES_PER_SWEEP", 1)

    async def chatty(context: Context) -> Any:
        for number in range(MAX_ROWS + 50):
            await context.step(str(number), lambda: None)
        return await world.agent(context)

    settings = MailboxSettings(run_retention_s=1e6, event_retention_s=10, drain_s=0, poll_interval_s=60)
    async with World(store, clock, agents={"chatty": chatty, "quick": _quick}, settings=settings) as world:
        await world.submit(thread_id="open", agent_id="chatty")
        call = await world.agent.next_call()
        await world.done(await world.submit(thread_id="done", agent_id="quick"))
        _, last = await store.event_bounds(DEFAULT_SCOPE, ThreadId("done"))
        await world.advance(60)
        assert await store.event_bounds(DEFAULT_SCOPE, ThreadId("done")) == (1, last)
        await world.advance(60)

        assert await store.event_bounds(DEFAULT_SCOPE, ThreadId("done")) == (last + 1, last)
        assert (await store.event_bounds(DEFAULT_SCOPE, ThreadId("open")))[0] == 1
        call.release()
        await world.advance(0)
        await world.advance(200)
        first, newest = await store.event_bounds(DEFAULT_SCOPE, ThreadId("open"))
        assert first == newest + 1, "a sweep that came to the end begins again"


async def test_a_sweep_of_very_many_tickets_is_bounded_and_the_next_one_follows_at_once(
    store: WatchedStore, clock: ManualClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    class OneByOne(ForwardingStore):
        async def list_overdue_tickets(self, *, limit: int = 1) -> list[OverdueTicket]:
            return await super().list_overdue_tickets(limit=1)

    async def asking(context: Context) -> str:
        return await context.ask("Which colour?", default="red", expires_in_s=5)

    for name in ("EXPIRIES_PER_SWEEP", "MAX_PAGE"):
        monkeypatch.setattr(f"awaken.mailbox.sweeper.{name}", 1)
    async with World(OneByOne(store), clock, agents={"asking": asking}) as world:
        runs = [await world.submit(agent_id="asking", thread_id=f"t{number}") for number in range(3)]
        await world.quiet()
        await world.advance(5)
        assert [(await world.done(run)).final_output for run in runs] == ["red"] * 3
