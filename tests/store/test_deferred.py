"""What the combiner does with a thread that another process is writing."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from awaken.domain.errors import StoreUnavailable
from awaken.domain.ids import ThreadId
from awaken.store.combiner import Combiner
from awaken.store.memory import MemoryStore
from awaken.store.transitions import SET_ORDER, Deferred, Outcome, Submit, Submitted, Transition
from awaken.testing.clock import ManualClock, settle
from awaken.testing.conformance.steps import asked
from awaken.testing.mailboxes import WatchedStore


class SharedStore(WatchedStore):
    """Some threads are being written by another process."""

    def __init__(self, clock: ManualClock) -> None:
        super().__init__(MemoryStore(clock), exclusive=False)
        self.busy: set[ThreadId] = set()

    async def apply(self, batch: Sequence[Transition]) -> list[Outcome]:
        free = [each for each in batch if type(each) in SET_ORDER or getattr(each, "thread_id", None) not in self.busy]
        outcomes = iter(await super().apply(free))
        return [next(outcomes) if each in free else Deferred() for each in batch]


class Scene:
    """A combiner over such a store, and the order in which what was asked was applied."""

    def __init__(self) -> None:
        self.clock = ManualClock()
        self.store = SharedStore(self.clock)
        self.applied: list[str] = []
        self.failed: list[Transition] = []
        self.combiner = Combiner(self.store, self.clock, self._note, self.failed.append, self._landed)

    def _landed(self, transitions: Sequence[Transition], outcomes: Sequence[Outcome], took_s: float) -> None:
        assert len(transitions) == len(outcomes)

    def _note(self, transition: Transition, outcome: Outcome, asked_s: float) -> None:
        assert isinstance(transition, Submit)
        self.applied.append(transition.dispatch_id)

    def ask(self, name: str, thread: str) -> asyncio.Future[Outcome]:
        return self.combiner.ask(asked(name, thread=ThreadId(thread)))


async def test_it_is_asked_again_until_it_is_applied_and_everything_else_goes_on() -> None:
    scene = Scene()
    async with asyncio.timeout(10), asyncio.TaskGroup() as group:
        group.create_task(scene.combiner.run())
        scene.store.busy = {ThreadId("a")}
        held, other = scene.ask("a1", "a"), scene.ask("b1", "b")
        assert isinstance(await other, Submitted)
        for _ in range(10):
            scene.clock.tick(0.25)
            await settle()
        assert not held.done()
        asked_so_far = len(scene.store.batches)
        assert asked_so_far >= 8

        scene.store.busy = set()
        scene.clock.tick(0.25)
        assert isinstance(await held, Submitted)
        await scene.combiner.quiet()
        scene.combiner.close()


async def test_what_is_asked_of_the_thread_meanwhile_follows_in_order() -> None:
    scene = Scene()
    async with asyncio.timeout(10), asyncio.TaskGroup() as group:
        group.create_task(scene.combiner.run())
        scene.store.busy = {ThreadId("a")}
        before = [scene.ask("a1", "a"), scene.ask("a2", "a")]
        await settle()
        answers = [*before, scene.ask("a3", "a"), scene.ask("b1", "b")]
        await settle()
        assert scene.applied == ["b1"]

        scene.store.busy = set()
        scene.clock.tick(0.25)
        await asyncio.wait(answers)
        assert scene.applied == ["b1", "a1", "a2", "a3"]
        await scene.combiner.quiet()
        scene.combiner.close()


async def test_a_failure_of_the_first_lets_the_next_one_go() -> None:
    scene = Scene()
    async with asyncio.timeout(10), asyncio.TaskGroup() as group:
        group.create_task(scene.combiner.run())
        scene.store.busy = {ThreadId("a")}
        first, second = scene.ask("a1", "a"), scene.ask("a2", "a")
        await settle()
        scene.store.busy = set()
        scene.store.fail_once(Submit)
        scene.clock.tick(0.25)
        await asyncio.wait([first, second])

        assert isinstance(first.exception(), StoreUnavailable)
        assert isinstance(second.result(), Submitted)
        scene.combiner.close()


async def test_what_waits_is_answered_when_the_combiner_is_killed() -> None:
    scene = Scene()
    running = asyncio.create_task(scene.combiner.run())
    scene.store.busy = {ThreadId("a")}
    answers = [scene.ask("a1", "a"), scene.ask("a2", "a")]
    await settle()
    running.cancel()

    async with asyncio.timeout(10):
        await asyncio.wait([running, *answers])
    assert [type(each.exception()) for each in answers] == [StoreUnavailable] * 2
    assert len(scene.failed) == 2


async def test_closing_waits_for_what_another_process_holds_up() -> None:
    scene = Scene()
    async with asyncio.timeout(10):
        running = asyncio.create_task(scene.combiner.run())
        scene.store.busy = {ThreadId("a")}
        held = scene.ask("a1", "a")
        await settle()
        scene.combiner.close()
        await settle()
        assert not running.done()

        scene.store.busy = set()
        scene.clock.tick(0.25)
        await running
        assert isinstance(held.result(), Submitted)
