"""Batches: what is gathered, in which order, who is answered when, and what becomes of callers and failures."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager

import pytest
from msgspec.structs import replace

from awaken.domain.errors import StoreUnavailable
from awaken.domain.event import logged
from awaken.domain.ids import (
    DEFAULT_SCOPE,
    AgentId,
    ClaimToken,
    DispatchId,
    MessageId,
    RunId,
    Scope,
    ThreadId,
)
from awaken.domain.message import user_message
from awaken.domain.run import Intent, RunRequest
from awaken.store.combiner import MAX_BATCH_BYTES, Combiner
from awaken.store.memory import MemoryStore
from awaken.store.transitions import (
    Claim,
    Commit,
    Interrupt,
    LeaseLost,
    Outcome,
    Purge,
    Purged,
    Reclaim,
    Renew,
    Renewed,
    Rooms,
    Submit,
    Submitted,
    Transition,
)
from awaken.testing.behaviour import behaviour
from awaken.testing.clock import ManualClock, settle
from awaken.testing.events import text_delta
from awaken.testing.mailboxes import WatchedStore


class Harness:
    """A combiner at work, with what it called."""

    def __init__(self) -> None:
        self.clock = ManualClock()
        self.store = WatchedStore(MemoryStore(self.clock))
        self.applied: list[Transition] = []
        self.asked_s: list[float] = []
        self.took_s: list[float] = []
        self.failed: list[Transition] = []
        self.called_first: list[bool] = []
        self.asks_again: Transition | None = None
        """Asked for when the first outcome is here."""
        self.futures: dict[int, asyncio.Future[Outcome]] = {}
        self.combiner = Combiner(self.store, self.clock, self._on_applied, self.failed.append, self._on_batch)

    def ask(self, transition: Transition, size: int = 0) -> asyncio.Future[Outcome]:
        future = self.combiner.ask(transition, size)
        self.futures[id(transition)] = future
        return future

    def _on_batch(self, transitions: Sequence[Transition], outcomes: Sequence[Outcome], took_s: float) -> None:
        assert len(transitions) == len(outcomes)
        self.took_s.append(took_s)

    def _on_applied(self, transition: Transition, outcome: Outcome, asked_s: float) -> None:
        self.applied.append(transition)
        self.asked_s.append(asked_s)
        if self.asks_again is not None:
            again, self.asks_again = self.asks_again, None
            self.combiner.ask(again)
        future = self.futures.get(id(transition))
        self.called_first.append(future is None or future.cancelled() or not future.done())


@asynccontextmanager
async def combining() -> AsyncGenerator[Harness]:
    harness = Harness()
    async with asyncio.timeout(10), asyncio.TaskGroup() as group:
        running = group.create_task(harness.combiner.run())
        yield harness
        harness.store.let_go()
        harness.combiner.close()
        await asyncio.wait((running,))


def submit(name: str, thread: str = "t", text: str = "hello") -> Submit:
    message = user_message(MessageId(f"m-{name}"), text)
    return Submit(
        scope=DEFAULT_SCOPE,
        thread_id=ThreadId(thread),
        run_id=RunId(f"r-{name}"),
        dispatch_id=DispatchId(f"d-{name}"),
        request=RunRequest(Intent(AgentId("a")), (message.id,)),
        messages=(message,),
    )


def commit(thread: str, entries: int) -> Commit:
    return Commit(
        scope=DEFAULT_SCOPE,
        thread_id=ThreadId(thread),
        run_id=RunId("r"),
        dispatch_id=DispatchId("d"),
        token=ClaimToken("x"),
        number=1,
        entries=(logged(text_delta("x")),) * entries,
    )


def names(batches: Sequence[Sequence[Transition]]) -> list[list[str]]:
    return [[each.run_id if isinstance(each, Submit) else type(each).__name__ for each in batch] for batch in batches]


@behaviour("P-008")
async def test_an_idle_combiner_applies_at_once_and_what_comes_meanwhile_forms_the_next_batch() -> None:
    async with combining() as harness:
        harness.store.hold()
        futures = [harness.ask(submit("0", "t0"))]
        await settle()
        futures += [harness.ask(submit(str(number), f"t{number}")) for number in range(1, 5)]
        await settle()
        assert not any(future.done() for future in futures)

        harness.store.let_go()
        await asyncio.wait(futures)
        assert names(harness.store.batches) == [["r-0"], ["r-1", "r-2", "r-3", "r-4"]]


async def test_a_lease_is_counted_from_when_its_batch_left_for_the_store() -> None:
    async with combining() as harness:
        started_s = harness.clock.monotonic()
        harness.store.hold()
        first = harness.ask(submit("0", "t0"))
        await settle()
        harness.clock.tick(1)
        second = harness.ask(submit("1", "t1"))
        await settle()
        harness.clock.tick(1)
        harness.store.let_go()
        await asyncio.wait((first, second))

        assert [asked_s - started_s for asked_s in harness.asked_s] == [0, 2]
        assert harness.took_s == [2, 0]


async def test_what_follows_an_outcome_may_ask_again_after_the_end_and_the_others_are_answered_once() -> None:
    """The combiner ends with answers undelivered, and the first of them sets something off that is refused at once."""
    async with combining() as harness:
        harness.asks_again = submit("late", "late")
        harness.store.hold()
        futures = [harness.ask(submit(str(number), f"t{number}")) for number in range(5)]
        await settle()
        harness.combiner.close()
        harness.store.let_go()
        await asyncio.wait(futures)

        assert [type(future.result()) for future in futures] == [Submitted] * 5
        assert [each.run_id for each in harness.applied if isinstance(each, Submit)] == [f"r-{n}" for n in range(5)]
        assert harness.failed == [submit("late", "late")]


async def test_the_combiner_ends_when_everybody_has_been_answered() -> None:
    harness = Harness()
    running = asyncio.create_task(harness.combiner.run())
    futures = [harness.ask(submit(str(number), f"t{number}")) for number in range(100)]
    harness.combiner.close()
    async with asyncio.timeout(10):
        await running

    assert all(future.done() for future in futures)
    await harness.combiner.quiet()


async def test_a_full_batch_leaves_while_one_is_in_flight_and_a_third_waits() -> None:
    async with combining() as harness:
        harness.store.hold()
        most = harness.store.capabilities.max_batch
        asked = [submit(str(number), f"t{number}") for number in range(3 * most)]
        futures = [harness.ask(asked[0])]
        await settle()
        for each in asked[1:most]:
            futures.append(harness.ask(each))
        await settle()
        assert harness.store.waiting == 1, "what is not full gathers"
        for each in asked[most:]:
            futures.append(harness.ask(each))
        await settle()
        assert harness.store.waiting == 2

        harness.store.let_go()
        await asyncio.wait(futures)
        assert [len(batch) for batch in harness.store.batches] == [1, most, most, most - 1]
        assert harness.applied == asked


async def test_a_batch_holds_one_transition_per_thread_and_each_thread_keeps_its_order() -> None:
    async with combining() as harness:
        futures = [harness.ask(submit(f"{number}", f"t{number % 3}")) for number in range(7)]
        await asyncio.wait(futures)

        assert names(harness.store.batches) == [["r-0", "r-1", "r-2"], ["r-3", "r-4", "r-5"], ["r-6"]]
        assert [outcome.dispatch.position for outcome in map(_submitted, futures)] == [1, 1, 1, 2, 2, 2, 3]


def _submitted(future: asyncio.Future[Outcome]) -> Submitted:
    outcome = future.result()
    assert isinstance(outcome, Submitted)
    return outcome


async def test_the_same_thread_id_in_two_scopes_is_two_threads() -> None:
    async with combining() as harness:
        other = replace(submit("0"), scope=Scope("other"))
        await asyncio.wait([harness.ask(submit("0")), harness.ask(other)])
        assert len(harness.store.batches) == 1


async def test_transitions_over_many_threads_come_last_and_in_their_own_order() -> None:
    async with combining() as harness:
        sets = [
            Purge(run_retention_ms=0, event_retention_ms=0),
            Claim(offers=(), rooms=Rooms({})),
            Reclaim(),
            Renew(leases=(), lease_ms=1),
        ]
        asked = [*sets, submit("0"), Interrupt(scope=DEFAULT_SCOPE, thread_id=ThreadId("u"), id="i1")]
        await asyncio.wait([harness.ask(each) for each in asked])

        assert names(harness.store.batches) == [["r-0", "Interrupt", "Renew", "Reclaim", "Claim", "Purge"]]


async def test_what_follows_an_outcome_comes_in_order_after_the_commit_and_before_its_caller() -> None:
    async with combining() as harness:
        asked = [submit(str(number), f"t{number}") for number in range(300)]
        futures = [harness.ask(each) for each in asked]
        assert harness.applied == []
        await asyncio.wait(futures)

        assert harness.applied == asked
        assert all(harness.called_first)
        assert [len(batch) for batch in harness.store.batches] == [200, 100]


async def test_a_large_batch_is_answered_in_slices_and_a_later_batch_never_overtakes_it() -> None:
    async with combining() as harness:
        asked: list[Transition] = []
        for number in range(150):
            asked += [submit(f"{number}", f"t{number}")]
        asked += [Interrupt(scope=DEFAULT_SCOPE, thread_id=ThreadId("t149"), id="i2")]
        futures = [harness.ask(each) for each in asked]
        await asyncio.wait(futures)

        assert len(harness.store.batches) == 2
        assert harness.applied == asked


async def test_a_caller_who_went_away_withdraws_nothing_and_what_follows_still_does() -> None:
    async with combining() as harness:
        first, second = submit("0"), submit("1")
        future = harness.ask(first)
        future.cancel()
        await harness.ask(second)

        assert harness.applied == [first, second]
        assert await harness.store.load_run(DEFAULT_SCOPE, first.run_id) is not None


async def test_a_batch_that_fails_fails_for_every_caller_and_the_next_one_is_tried() -> None:
    async with combining() as harness:
        harness.store.go_down()
        asked = [submit("0", "t0"), submit("1", "t1")]
        futures = [harness.ask(each) for each in asked]
        gone = harness.ask(submit("2", "t2"))
        gone.cancel()
        await asyncio.wait(futures)

        assert [type(future.exception()) for future in futures] == [StoreUnavailable] * 2
        assert (len(harness.failed), harness.applied) == (3, [])
        harness.store.come_back()
        assert isinstance(await harness.ask(submit("3")), Submitted)


async def test_a_fault_in_what_follows_a_commit_stops_nothing() -> None:
    clock = ManualClock()

    def faulty(transition: Transition, outcome: Outcome, asked_s: float) -> None:
        raise RuntimeError("a bug")

    def faulty_too(transitions: Sequence[Transition], outcomes: Sequence[Outcome], took_s: float) -> None:
        raise RuntimeError("another bug")

    combiner = Combiner(MemoryStore(clock), clock, faulty, lambda transition: None, faulty_too)
    async with asyncio.timeout(10), asyncio.TaskGroup() as group:
        group.create_task(combiner.run())
        assert isinstance(await combiner.ask(submit("0")), Submitted)
        assert isinstance(await combiner.ask(submit("1")), Submitted)
        combiner.close()


async def test_a_batch_is_bounded_and_even_the_largest_transition_goes_through() -> None:
    async with combining() as harness:
        futures = [harness.ask(commit(f"t{number}", 1), MAX_BATCH_BYTES // 2) for number in range(10)]
        futures[5] = harness.ask(commit("huge", 1), 2 * MAX_BATCH_BYTES)
        small = harness.ask(commit("t0", 0))
        await asyncio.wait([*futures, small])

        assert all(isinstance(future.result(), LeaseLost) for future in futures)
        assert max(len(batch) for batch in harness.store.batches) <= 4
        assert harness.applied[-1] == commit("t0", 0), "what follows for a thread waits behind what went before"


async def test_what_was_asked_before_closing_is_applied_and_nothing_after() -> None:
    async with combining() as harness:
        futures = [harness.ask(submit(str(number))) for number in range(5)]
        harness.combiner.close()
        late = harness.ask(submit("late"))
        await asyncio.wait([*futures, late])

        assert [type(future.exception()) for future in (*futures, late)] == [type(None)] * 5 + [StoreUnavailable]
        assert len(harness.failed) == 1


async def test_whatever_was_asked_is_answered_also_when_the_combiner_is_killed() -> None:
    harness = Harness()
    running = asyncio.create_task(harness.combiner.run())
    harness.store.hold()
    futures = [harness.ask(submit("0"))]
    await settle()
    futures.append(harness.ask(submit("1")))
    running.cancel()

    async with asyncio.timeout(10):
        await asyncio.wait([running, *futures])
    assert [type(future.exception()) for future in futures] == [StoreUnavailable] * 2
    assert (harness.combiner.closed, len(harness.failed)) == (True, 2)


async def test_what_had_been_applied_when_the_combiner_is_killed_is_answered(monkeypatch: pytest.MonkeyPatch) -> None:
    harness = Harness()
    running = asyncio.create_task(harness.combiner.run())
    apply = harness.store.apply

    async def applied(batch: Sequence[Transition]) -> list[Outcome]:
        outcomes = await apply(batch)
        running.cancel()
        return outcomes

    monkeypatch.setattr(harness.store, "apply", applied)
    future = harness.ask(submit("0"))

    async with asyncio.timeout(10):
        await asyncio.wait([running, future])
    assert isinstance(future.result(), Submitted)
    assert (len(harness.applied), harness.failed) == (1, [])


async def test_quiet_means_that_everything_asked_is_answered() -> None:
    async with combining() as harness:
        await harness.combiner.quiet()
        harness.store.hold()
        future = harness.ask(submit("0"))
        waiting = asyncio.create_task(harness.combiner.quiet())
        await settle()
        assert not waiting.done()

        harness.store.let_go()
        await waiting
        assert future.done()


async def test_apply_answers_with_the_one_kind_of_outcome_there_is() -> None:
    async with combining() as harness:
        assert (await harness.combiner.apply(Purge(run_retention_ms=0, event_retention_ms=0), Purged)).runs == 0
        assert (await harness.combiner.apply(Renew(leases=(), lease_ms=1), Renewed)).renewals == ()
