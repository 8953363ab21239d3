"""Seeing to runs that were given up: once each, one or many, whatever is lost on the way."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from awaken.domain.dead_letter import DeadLetterQuery, letters_of
from awaken.domain.errors import (
    DeadLetterNotFound,
    DispatchNotFound,
    NotDeadLetter,
    PermanentFailure,
    RunNotFound,
    StoreUnavailable,
    ValidationError,
)
from awaken.domain.ids import DEFAULT_SCOPE, ThreadId
from awaken.domain.run import Run
from awaken.executors.contract import DriveOutcome, Entry, Finished, RunPort
from awaken.mailbox.dead_letters import Handled
from awaken.mailbox.settings import MailboxSettings
from awaken.mailbox.submission import Submission
from awaken.store.transitions import Submit
from awaken.testing.behaviour import behaviour
from awaken.testing.clock import ManualClock
from awaken.testing.mailboxes import WatchedStore, World

ALL = letters_of(since="1970-01-01T00:00:00Z")


class Failing:
    """Fails until it is mended."""

    def __init__(self, error: Exception) -> None:
        self.error: Exception | None = error

    async def drive(self, entry: Entry, port: RunPort) -> DriveOutcome:
        if self.error is not None:
            raise self.error
        return Finished()


async def given_up(world: World, agent: str = "bad", thread_id: str = "t") -> Run:
    run = await world.done(await world.submit(agent_id=agent, thread_id=thread_id))
    assert run.dead_lettered
    return run


async def retried(world: World, run: Run, **options: Any) -> Submission:
    return await world.mailbox.dead_letters.retry(DEFAULT_SCOPE, run.dispatch_id, **options)


async def listed(world: World) -> list[str]:
    page = await world.store.list_dead_letters(DEFAULT_SCOPE, DeadLetterQuery())
    return [letter.run.run_id for letter in page.items]


@behaviour("DL-006")
async def test_two_who_retry_the_same_letter_at_once_get_the_same_run(store: WatchedStore, clock: ManualClock) -> None:
    bad = Failing(PermanentFailure("no luck"))
    async with World(store, clock, agents={"bad": bad}) as world:
        run = await given_up(world)
        store.hold(Submit)
        both = [asyncio.create_task(retried(world, run)) for _ in range(2)]
        await world.quiet()
        assert store.waiting
        bad.error = None
        store.let_go()
        first, second = await asyncio.gather(*both)

        assert first.run.run_id == second.run.run_id
        assert sorted([first.replayed, second.replayed]) == [False, True]
        assert (await world.done(first)).termination is not None
        assert await listed(world) == []
        letter = await world.mailbox.dead_letters.get(DEFAULT_SCOPE, run.dispatch_id)
        assert letter.state == "retried"
        assert letter.run.seen_to is not None and letter.run.seen_to.retried_as == first.run.run_id


@behaviour("DL-006")
async def test_a_retry_whose_answer_was_lost_is_asked_for_again(store: WatchedStore, clock: ManualClock) -> None:
    bad = Failing(PermanentFailure("no luck"))
    async with World(store, clock, agents={"bad": bad}) as world:
        run = await given_up(world)
        bad.error = None
        store.lose_answer(Submit)
        with pytest.raises(StoreUnavailable):
            await retried(world, run)
        assert await listed(world) == [], "it was accepted"

        again = await retried(world, run, max_attempts=3)

        assert again.replayed
        seen = (await world.run(run)).seen_to
        assert seen is not None and seen.retried_as == again.run.run_id


@behaviour("DL-006", "DL-005")
async def test_what_was_seen_to_otherwise_or_is_gone_is_refused(store: WatchedStore, clock: ManualClock) -> None:
    async with World(store, clock, agents={"bad": Failing(PermanentFailure("no luck"))}) as world:
        letters = world.mailbox.dead_letters
        run, other = await given_up(world), await given_up(world, thread_id="u")
        with pytest.raises(ValidationError, match="a reason has"):
            await letters.discard(DEFAULT_SCOPE, run.dispatch_id, " ")
        await letters.discard(DEFAULT_SCOPE, run.dispatch_id, "known", "ann")
        with pytest.raises(NotDeadLetter, match="it was discarded"):
            await retried(world, run)
        assert (await letters.get(DEFAULT_SCOPE, run.dispatch_id)).state == "discarded"

        await world.mailbox.threads.delete(DEFAULT_SCOPE, ThreadId("u"))
        for ask in (letters.get, letters.retry):
            with pytest.raises(DispatchNotFound):
                await ask(DEFAULT_SCOPE, other.dispatch_id)
        with pytest.raises(DispatchNotFound):
            await letters.discard(DEFAULT_SCOPE, other.dispatch_id, "gone")
        with pytest.raises(RunNotFound):
            await world.mailbox.again.retry(DEFAULT_SCOPE, other.run_id)

        well = await world.submit()
        with pytest.raises(NotDeadLetter, match=r"the phase of its run, .*, is running"):
            await retried(world, well.run)
        with pytest.raises(DeadLetterNotFound, match="is running"):
            await letters.get(DEFAULT_SCOPE, well.run.dispatch_id)
        (await world.agent.next_call()).release("done")
        await world.done(well)
        with pytest.raises(NotDeadLetter):
            await letters.discard(DEFAULT_SCOPE, well.run.dispatch_id, "well")


@behaviour("DL-007")
async def test_letters_are_counted_by_agent_and_class_of_error(store: WatchedStore, clock: ManualClock) -> None:
    agents = {"bad": Failing(PermanentFailure("no luck")), "odd": Failing(KeyError("k"))}
    async with World(store, clock, agents=agents) as world:
        at = clock.now()
        first = await given_up(world, "bad")
        clock.tick(3)
        odd = await given_up(world, "odd")
        last = await given_up(world, "bad", "u")

        groups = await world.mailbox.dead_letters.group(DEFAULT_SCOPE, DeadLetterQuery())

        assert [(each.agent_id, each.error_class, each.count) for each in groups] == [
            ("bad", "PermanentFailure", 2),
            ("odd", "KeyError", 1),
        ]
        assert (groups[0].first_at, groups[0].last_at) == (at, clock.now()) == (first.finished_at, last.finished_at)
        assert [each.latest.run.run_id for each in groups] == [last.run_id, odd.run_id]
        [only] = await world.mailbox.dead_letters.group(DEFAULT_SCOPE, letters_of(error_class="KeyError"))
        assert only.count == 1


@behaviour("DL-008", "DL-009")
async def test_many_are_seen_to_by_a_filter_and_a_dry_run_changes_nothing(
    store: WatchedStore, clock: ManualClock
) -> None:
    bad = Failing(PermanentFailure("no luck"))
    async with World(store, clock, agents={"bad": bad}) as world:
        letters = world.mailbox.dead_letters
        runs = [await given_up(world, thread_id=name) for name in ("a", "b", "c")]
        bad.error = None
        before = len(store.transitions)

        assert await letters.retry_many(DEFAULT_SCOPE, ALL, dry_run=True) == Handled(3, 0, (), more=False)
        assert await letters.discard_many(DEFAULT_SCOPE, ALL, "x", limit=2, dry_run=True) == Handled(2, 0, (), True)
        assert len(store.transitions) == before

        assert await letters.retry_many(DEFAULT_SCOPE, ALL, limit=1) == Handled(1, 1, (), more=True)
        assert await listed(world) == [runs[1].run_id, runs[0].run_id]
        thread = letters_of(thread_id="a")
        assert await letters.discard_many(DEFAULT_SCOPE, thread, "old", by="ann") == Handled(1, 1, (), more=False)
        assert await letters.retry_many(DEFAULT_SCOPE, ALL) == Handled(1, 1, (), more=False)
        assert await letters.retry_many(DEFAULT_SCOPE, ALL) == Handled(0, 0, (), more=False)
        seen = [(await world.run(run)).seen_to for run in runs]
        assert [None if each is None else each.reason for each in seen] == ["old", None, None]


@behaviour("DL-008")
async def test_what_cannot_be_seen_to_costs_the_others_nothing(store: WatchedStore, clock: ManualClock) -> None:
    bad = Failing(PermanentFailure("no luck"))
    settings = MailboxSettings(max_queued_per_thread=2)
    async with World(store, clock, agents={"bad": bad}, settings=settings) as world:
        first, full = await given_up(world, thread_id="a"), await given_up(world, thread_id="b")
        await world.submit(thread_id="b")
        await world.agent.next_call()
        for _ in range(2):
            await world.submit(thread_id="b")
        bad.error = None

        handled = await world.mailbox.dead_letters.retry_many(DEFAULT_SCOPE, ALL)

        assert (handled.matched, handled.done) == (2, 1)
        assert [(each.dispatch_id, each.code) for each in handled.skipped] == [(full.dispatch_id, "queue_full")]
        assert await listed(world) == [full.run_id]
        assert (await world.run(first)).seen_to is not None


@behaviour("DL-008")
@pytest.mark.parametrize("limit", [0, 1001, True, 1.5])
async def test_a_filter_that_leaves_none_out_and_a_limit_that_is_none_are_refused(
    store: WatchedStore, clock: ManualClock, limit: Any
) -> None:
    async with World(store, clock) as world:
        letters = world.mailbox.dead_letters
        with pytest.raises(ValidationError, match="say which dead letters"):
            await letters.retry_many(DEFAULT_SCOPE, DeadLetterQuery())
        with pytest.raises(ValidationError, match="say which dead letters"):
            await letters.discard_many(DEFAULT_SCOPE, DeadLetterQuery(), "x")
        with pytest.raises(ValidationError, match="limit is 1 to 1000"):
            await letters.retry_many(DEFAULT_SCOPE, ALL, limit=limit)
