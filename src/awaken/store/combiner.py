"""Gathers what concurrent callers ask for into batches, and answers each after the commit.

Above: the mailbox asks for one transition at a time. Below: `Store.apply`, at most two batches in flight.
Holds: what arrives while a batch is in flight forms the next one; there is no timer, so an idle system pays no delay.
A full batch leaves while one is in flight, so that under load the store never waits for the event loop.
A batch has at most one transition per thread, in the order asked, then the transitions over many threads.
`on_applied` hears every outcome, in order and before its caller does, also when the caller has gone away, with
the passage of its batch: a lease is counted from when that left. `on_failed` hears every transition whose fate the
store could not tell. Whatever was asked is answered, also when `run` is killed.
"""

from __future__ import annotations

import asyncio
import logging
import sys
from collections import deque
from collections.abc import Callable, Sequence
from itertools import repeat
from typing import Final, Protocol, TypeVar

import msgspec

from awaken.domain.clock import Alarm, Clock
from awaken.domain.errors import StoreUnavailable
from awaken.domain.ids import Scope, ThreadId
from awaken.store.contract import Store
from awaken.store.transitions import (
    Claim,
    Failed,
    Outcome,
    Purge,
    Reclaim,
    Renew,
    ThreadTransition,
    Transition,
)

MAX_BATCH_BYTES: Final = 8 * 1024 * 1024
"""Events and messages in one batch, beyond which the rest waits for the next: none may hold the store for long."""
MAX_IN_FLIGHT: Final = 2
"""Batches handed to the store and not answered yet; the second one only when it is full."""
DELIVERY_SLICE: Final = 32
"""Callers answered per turn of the event loop, so that a large batch does not stall everything else."""

_SET_ORDER: Final[dict[type[object], int]] = {Renew: 0, Reclaim: 1, Claim: 2, Purge: 3}

_log = logging.getLogger("awaken.store")
OutcomeT = TypeVar("OutcomeT")


class Answer(Protocol):
    """Whoever is told of an outcome: a future, or anything that is used like one. Telling it must not raise."""

    def done(self) -> bool:
        """Whether nobody wants to know any more."""
        ...

    def set_result(self, outcome: Outcome, /) -> None: ...

    def set_exception(self, error: BaseException, /) -> None: ...


class Passage(msgspec.Struct, frozen=True, gc=False):
    """A batch's way to the store and back: when it left, on the monotonic clock, and how long it took, in seconds."""

    asked_s: float
    took_s: float


class _Asked(msgspec.Struct, frozen=True, gc=False):
    transition: Transition
    answer: Answer
    size: int


_Flight = tuple[list[_Asked], asyncio.Future[list[Outcome]], float]
"""A batch, its outcomes to be, and when it left, in seconds of the monotonic clock."""


class Combiner:
    """One per store and event loop. `run` must be running for anything to be answered."""

    def __init__(
        self,
        store: Store,
        clock: Clock,
        on_applied: Callable[[Transition, Outcome, Passage], None],
        on_failed: Callable[[Transition], None],
    ) -> None:
        self._store = store
        self._clock = clock
        self._on_applied = on_applied
        self._on_failed = on_failed
        self._max_batch = store.capabilities.max_batch
        self._enough = 1
        """How many must wait for the next batch to leave."""
        self._asked: deque[_Asked] = deque()
        self._flights: deque[_Flight] = deque()
        self._applied: deque[tuple[_Asked, Outcome, Passage]] = deque()
        self._delivering = False
        self._wake = Alarm(clock)
        self._answered = Alarm(clock)
        self.closed = False

    def ask(self, transition: Transition, size: int = 0) -> asyncio.Future[Outcome]:
        """Queue a transition that writes about `size` bytes of events and messages.

        The future holds its outcome once that is durable; cancelling it withdraws nothing.
        """
        future: asyncio.Future[Outcome] = asyncio.get_running_loop().create_future()
        self.put(transition, future, size)
        return future

    def put(self, transition: Transition, answer: Answer, size: int = 0) -> None:
        """As `ask`, for somebody who need not wait in a task: told in the turn of the loop that delivers."""
        asked = _Asked(transition, answer, size)
        if self.closed:
            self._fail([asked], StoreUnavailable("the store is closed"))
            return
        self._asked.append(asked)
        if len(self._asked) >= self._enough:
            self._wake.set()

    async def apply(self, transition: Transition, expected: type[OutcomeT]) -> OutcomeT:
        """Ask and wait, for a transition with a single kind of outcome."""
        outcome = await self.ask(transition)
        assert isinstance(outcome, expected), f"{type(transition).__name__} answered {type(outcome).__name__}"
        return outcome

    async def run(self) -> None:
        """Feed the store until `close`. What was asked before that is still applied."""
        try:
            while True:
                self._land()
                self._launch()
                if self.closed and not self._flights:
                    return
                await self._wake.wait()
        finally:
            self.closed = True
            self._land()
            left = [asked for batch, _, _ in self._flights for asked in batch]
            left += self._asked
            self._flights.clear()
            self._asked.clear()
            self._fail(left, StoreUnavailable("the store is closed"))

    def _launch(self) -> None:
        while len(self._flights) < MAX_IN_FLIGHT:
            self._enough = self._max_batch if self._flights else 1
            if len(self._asked) < self._enough:
                return
            batch = self._next_batch()
            asked_s = self._clock.monotonic()
            applying = self._store.apply([asked.transition for asked in batch])
            flight = (batch, asyncio.ensure_future(applying), asked_s)
            flight[1].add_done_callback(self._landed)
            self._flights.append(flight)
        self._enough = sys.maxsize

    def _landed(self, _: object) -> None:
        self._wake.set()

    def _land(self) -> None:
        """Answer the batches that have returned, in the order they left."""
        while self._flights and self._flights[0][1].done():
            batch, applying, asked_s = self._flights.popleft()
            if applying.cancelled():
                self._fail(batch, StoreUnavailable("the store was closed"))
            elif (error := applying.exception()) is not None:
                self._fail(batch, error)  # every caller hears it, the next batch is tried anew
            else:
                self._deliver(batch, applying.result(), Passage(asked_s, self._clock.monotonic() - asked_s))

    def open(self) -> None:
        """Take transitions again, for another `run`."""
        self.closed = False

    def close(self) -> None:
        """Take nothing more; `run` returns when the rest is answered."""
        self.closed = True
        self._wake.set()

    async def quiet(self) -> None:
        """Wait until nothing that was asked is unanswered. For one waiter."""
        while not self._is_quiet:
            await self._answered.wait()

    @property
    def _is_quiet(self) -> bool:
        return not (self._asked or self._flights or self._applied)

    def _next_batch(self) -> list[_Asked]:
        threads: set[tuple[Scope, ThreadId]] = set()
        single: list[_Asked] = []
        sets: list[_Asked] = []
        left: deque[_Asked] = deque()
        room, size = self._max_batch, 0
        waiting = self._asked
        while waiting and room:
            asked = waiting.popleft()
            if type(asked.transition) in _SET_ORDER:
                sets.append(asked)
                room -= 1
                continue
            transition: ThreadTransition = asked.transition  # pyright: ignore[reportAssignmentType]: none of the sets
            key = (transition.scope, transition.thread_id)
            if key in threads or size > MAX_BATCH_BYTES:
                threads.add(key)  # what follows for this thread must wait behind it
                left.append(asked)
                continue
            threads.add(key)
            single.append(asked)
            room -= 1
            size += asked.size
        waiting.extendleft(reversed(left))
        sets.sort(key=lambda each: _SET_ORDER[type(each.transition)])
        return single + sets

    def _deliver(self, batch: Sequence[_Asked], outcomes: Sequence[Outcome], passage: Passage) -> None:
        self._applied.extend(zip(batch, outcomes, repeat(passage, len(batch)), strict=True))
        if not self._delivering:
            self._deliver_slice()

    def _deliver_slice(self) -> None:
        """Tell some callers now and the rest in the next turns of the event loop, across batches in order."""
        self._tell(DELIVERY_SLICE)
        if self._is_quiet:
            self._answered.set()
        self._delivering = bool(self._applied)
        if self._delivering:
            asyncio.get_running_loop().call_soon(self._deliver_slice)

    def _tell(self, most: int) -> None:
        """Tell the next callers, in order. One of them may ask again at once, and that tell others."""
        applied, on_applied = self._applied, self._on_applied
        while applied and most:
            most -= 1
            asked, outcome, passage = applied.popleft()
            if type(outcome) is Failed:
                self._tell_failure(asked, outcome.error)
                continue
            try:
                on_applied(asked.transition, outcome, passage)
            except Exception:  # a supervisor: a fault in what follows the commit must not stop the queue
                _log.exception("after %s: what should follow failed", type(asked.transition).__name__)
            answer = asked.answer
            if not answer.done():
                answer.set_result(outcome)

    def _fail(self, batch: Sequence[_Asked], error: BaseException) -> None:
        self._tell(len(self._applied))
        for asked in batch:
            self._tell_failure(asked, error)
        if self._is_quiet:
            self._answered.set()

    def _tell_failure(self, asked: _Asked, error: BaseException) -> None:
        self._on_failed(asked.transition)
        answer = asked.answer
        if not answer.done():
            answer.set_exception(error)
            if isinstance(answer, asyncio.Future):
                answer.exception()  # heard here, so that a caller who went away leaves no complaint behind
