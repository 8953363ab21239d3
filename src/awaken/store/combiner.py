"""Gathers what concurrent callers ask for into batches, and answers each after the commit.

Above: the mailbox asks for one transition at a time. Below: `Store.apply`, at most two batches in flight.
Holds: what arrives while a batch is in flight forms the next one; there is no timer, so an idle system pays no delay.
A full batch leaves while one is in flight, so that under load the store never waits for the event loop.
A batch has at most one transition per thread, in the order asked, then the transitions over many threads. Batches are
put together as things are asked, each in the first batch behind which nothing of its thread waits.
`on_applied` hears every outcome, in order and before its caller does, also when the caller has gone away, with when the
batch left for the store: a lease is counted from then. `on_failed` hears every transition whose fate the store could
not tell, `on_batch` each batch that came back, with how long that took. Whatever was asked is answered, also when `run`
is killed.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from itertools import repeat
from typing import Final, Protocol, TypeVar

from awaken.domain.clock import Alarm, Clock
from awaken.domain.errors import StoreUnavailable
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

_SET_ORDER: Final[dict[type[object], int]] = {Renew: 1, Reclaim: 2, Claim: 3, Purge: 4}

_log = logging.getLogger("awaken.store")
OutcomeT = TypeVar("OutcomeT")


class Answer(Protocol):
    """Whoever is told of an outcome: a future, or anything that is used like one.

    Telling it raises nothing but `InvalidStateError`, when nobody wants to know any more.
    """

    def set_result(self, outcome: Outcome, /) -> None: ...

    def set_exception(self, error: BaseException, /) -> None: ...


class _Batch:
    """What has been asked and leaves together."""

    __slots__ = ("answers", "bytes_left", "over_many", "room", "threads", "transitions")

    def __init__(self, room: int) -> None:
        self.transitions: list[Transition] = []
        self.answers: list[Answer] = []
        self.threads: set[object] = set()
        self.over_many = False
        """Whether a transition over many threads is among them."""
        self.room = room
        """How many more it takes; none once it is full in either way."""
        self.bytes_left = MAX_BATCH_BYTES

    def put_in_order(self) -> None:
        """The transitions over many threads come last."""
        if self.over_many:
            ordered = sorted(self.asked(), key=lambda asked: _SET_ORDER.get(type(asked[0]), 0))
            self.transitions = [transition for transition, _ in ordered]
            self.answers = [answer for _, answer in ordered]

    def asked(self) -> list[_Asked]:
        return [*zip(self.transitions, self.answers, strict=True)]


_Asked = tuple[Transition, Answer]
_Flight = tuple[_Batch, asyncio.Future[list[Outcome]], float]
"""A batch, its outcomes to be, and when it left, in seconds of the monotonic clock."""


class Combiner:
    """One per store and event loop. `run` must be running for anything to be answered."""

    def __init__(
        self,
        store: Store,
        clock: Clock,
        on_applied: Callable[[Transition, Outcome, float], None],
        on_failed: Callable[[Transition], None],
        on_batch: Callable[[Sequence[Transition], Sequence[Outcome], float], None],
    ) -> None:
        """Times are seconds of the monotonic clock."""
        self._store = store
        self._clock = clock
        self._on_applied = on_applied
        self._on_failed = on_failed
        self._on_batch = on_batch
        self._max_batch = store.capabilities.max_batch
        self._full: deque[_Batch] = deque()
        """Batches that can leave as they are, before those that can take more."""
        self._open: deque[_Batch] = deque()
        self._flights: deque[_Flight] = deque()
        self._applied: deque[tuple[Transition, Answer, Outcome, float]] = deque()
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
        if self.closed:
            self._fail([(transition, answer)], StoreUnavailable("the store is closed"))
            return
        over_many = type(transition) in _SET_ORDER
        if over_many:
            thread: object = object()  # equal to no other
        else:
            one: ThreadTransition = transition  # pyright: ignore[reportAssignmentType]: it is of one thread
            thread = (one.scope, one.thread_id)
        batches = self._open
        for batch in batches:
            if batch.room and thread not in batch.threads:
                break
        else:
            batch = _Batch(self._max_batch)
            batches.append(batch)
        batch.threads.add(thread)
        batch.transitions.append(transition)
        batch.answers.append(answer)
        batch.over_many |= over_many
        batch.bytes_left -= size
        batch.room = batch.room - 1 if batch.bytes_left >= 0 else 0
        while batches and not batches[0].room:
            self._full.append(batches.popleft())
            self._wake.set()
        if not self._flights:
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
            batches = [batch for batch, _, _ in self._flights] + [*self._full, *self._open]
            for unanswered in (self._flights, self._full, self._open):
                unanswered.clear()
            left = [asked for batch in batches for asked in batch.asked()]
            self._fail(left, StoreUnavailable("the store is closed"))

    def _launch(self) -> None:
        while self._full or (self._open and not self._flights):
            if len(self._flights) == MAX_IN_FLIGHT:
                return
            batch = self._full.popleft() if self._full else self._open.popleft()
            batch.put_in_order()
            asked_s = self._clock.monotonic()
            flight = (batch, asyncio.ensure_future(self._store.apply(batch.transitions)), asked_s)
            flight[1].add_done_callback(self._landed)
            self._flights.append(flight)

    def _landed(self, _: object) -> None:
        self._wake.set()

    def _land(self) -> None:
        """Answer the batches that have returned, in the order they left."""
        while self._flights and self._flights[0][1].done():
            batch, applying, asked_s = self._flights.popleft()
            if applying.cancelled():
                self._fail(batch.asked(), StoreUnavailable("the store was closed"))
            elif (error := applying.exception()) is not None:
                self._fail(batch.asked(), error)  # every caller hears it, the next batch is tried anew
            else:
                self._deliver(batch, applying.result(), asked_s)

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
        return not (self._open or self._full or self._flights or self._applied)

    def _deliver(self, batch: _Batch, outcomes: Sequence[Outcome], asked_s: float) -> None:
        told = zip(batch.transitions, batch.answers, outcomes, repeat(asked_s, len(outcomes)), strict=True)
        self._applied.extend(told)
        try:
            self._on_batch(batch.transitions, outcomes, self._clock.monotonic() - asked_s)
        except Exception:  # a supervisor, as below
            _log.exception("after a batch of %d: what should follow failed", len(outcomes))
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
            transition, answer, outcome, asked_s = applied.popleft()
            if type(outcome) is Failed:
                self._tell_failure(transition, answer, outcome.error)
                continue
            try:
                on_applied(transition, outcome, asked_s)
            except Exception:  # a supervisor: a fault in what follows the commit must not stop the queue
                _log.exception("after %s: what should follow failed", type(transition).__name__)
            try:
                answer.set_result(outcome)
            except asyncio.InvalidStateError:
                continue  # the caller went away

    def _fail(self, unanswered: Iterable[_Asked], error: BaseException) -> None:
        self._tell(len(self._applied))
        for transition, answer in unanswered:
            self._tell_failure(transition, answer, error)
        if self._is_quiet:
            self._answered.set()

    def _tell_failure(self, transition: Transition, answer: Answer, error: BaseException) -> None:
        self._on_failed(transition)
        try:
            answer.set_exception(error)
        except asyncio.InvalidStateError:
            return  # the caller went away
        if isinstance(answer, asyncio.Future):
            answer.exception()  # heard here, so that a caller who went away leaves no complaint behind
