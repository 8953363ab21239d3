"""Gathers what concurrent callers ask for into batches, and answers each of them after the commit.

Above: the mailbox asks for one transition at a time. Below: `Store.apply`, at most two batches in flight.
Holds: a batch has at most one transition per thread, then those over many threads; the transitions of one thread are
applied in the order in which they were asked. `on_applied` is called with every outcome in the order of the commits and
before its caller is resumed, also when the caller has gone away; `on_failed` with every transition whose fate is not
known; `on_batch` with each batch that came back, and how long it took. Whatever was asked is answered, also
when `run` is killed.

How it works. A commit costs the same for one transition as for two hundred: one transaction and one flush of the disk.
So while a batch is being committed, whatever is asked gathers, and leaves as the next batch when the answer is here.
There is no timer: on an idle system a transition leaves at once and alone, and the busier the system is, the larger
batches become.

*Asking.* `ask` gives the caller a future and puts the transition into the first open batch that has room and, like
every batch behind it, nothing of the same thread: batches leave in order, so a thread's transitions do, too. Batches
are thus put together as things are asked, and nothing has to be sorted or looked through when one leaves. Usually
there is one open batch; more appear when one thread is asked for several things, or when the load exceeds a batch.

*Leaving.* One task (`run`) hands batches to the store. A batch that can take more leaves only when none is in flight.
A full one may leave while one is in flight, because the writer of SQLite is a thread that shares the interpreter lock
with the event loop: were the next batch handed over only after the loop had got its turn and dealt with the answer of
the last one, the disk would wait for the loop. With a full batch already there, writer and loop work at the same time.

*Answering.* When a batch lands, its outcomes are answered in slices of `DELIVERY_SLICE` per turn of the event loop, so
that other tasks get their turns between them. For each outcome what follows from it (`on_applied`) comes first: an
event is published before its writer goes on, and a claim is being executed before its submitter is answered. Setting
the result of a future only schedules its caller, so no caller runs inside this loop. A second batch that lands
meanwhile queues behind the first.

*Waiting.* A store that several processes share may answer `Deferred`: another one is writing that thread. Such a
transition is asked again by itself, and whatever is asked of its thread meanwhile waits behind it; everything else goes
on.

*Failing.* A batch that the store refuses as a whole fails for each of its callers; a single item that failed is
answered with the error alone. When `run` ends, whatever has landed is answered, and everything else fails.

Source: ADR 0004.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Callable, Sequence
from typing import Final, TypeVar

from awaken.domain.clock import Alarm, Clock
from awaken.domain.errors import StoreUnavailable
from awaken.domain.ids import Scope, ThreadId
from awaken.store.contract import Store
from awaken.store.transitions import SET_ORDER, Deferred, Failed, Outcome, ThreadTransition, Transition

MAX_BATCH_BYTES: Final = 8 * 1024 * 1024
"""Events and messages in one batch, beyond which the rest waits for the next: none may hold the store for long."""
MAX_IN_FLIGHT: Final = 2
"""Batches handed to the store and not answered yet; the second one only when it is full."""
FIRST_PAUSE_S: Final = 0.005
LONGEST_PAUSE_S: Final = 0.25
"""Between two tries to write a thread that another process is writing: the pause doubles up to this."""
DELIVERY_SLICE: Final = 8
"""Callers answered per turn of the event loop, so that a large batch does not stall everything else (measured with a
thousand conversations: the longest delays of the loop are a third of those with 32, and as many runs a second)."""

_log = logging.getLogger("awaken.store")
OutcomeT = TypeVar("OutcomeT")


class _Batch:
    """What has been asked and leaves together."""

    def __init__(self, room: int) -> None:
        self.transitions: list[Transition] = []
        self.answers: list[asyncio.Future[Outcome]] = []
        self.threads: set[object] = set()
        self.over_many = False
        """Whether a transition over many threads is among them."""
        self.room = room
        """How many more it takes; none once it is full in either way."""
        self.bytes_left = MAX_BATCH_BYTES

    def put_in_order(self) -> None:
        """The transitions over many threads come last."""
        if self.over_many:
            ordered = sorted(self.asked(), key=lambda asked: SET_ORDER.get(type(asked[0]), 0))
            self.transitions = [transition for transition, _ in ordered]
            self.answers = [answer for _, answer in ordered]

    def asked(self) -> list[_Asked]:
        return [*zip(self.transitions, self.answers, strict=True)]

    def take_out(self, thread: object) -> _Asked:
        """What it has of a thread."""
        self.threads.discard(thread)
        of_threads = [None if type(each) in SET_ORDER else _thread_of(each) for each in self.transitions]
        place = of_threads.index(thread)  # pyright: ignore[reportArgumentType]: any object may be looked for
        return self.transitions.pop(place), self.answers.pop(place)


class _Held:
    """What was asked of a thread that another process is writing: `first` is asked again and again, the rest waits
    behind it, in the order asked.
    """

    def __init__(self, first: _Asked) -> None:
        self.first = first
        self.waiting: deque[_Asked] = deque()
        self.pause_s = FIRST_PAUSE_S


_Asked = tuple[Transition, asyncio.Future[Outcome]]
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
        """`on_applied` is given when the batch left for the store, because a lease is counted from then, and `on_batch`
        how long it took; both in seconds of the monotonic clock.
        """
        self._store = store
        self._clock = clock
        self._on_applied = on_applied
        self._on_failed = on_failed
        self._on_batch = on_batch
        self._max_batch = store.capabilities.max_batch
        self._may_defer = not store.capabilities.exclusive
        self._full: deque[_Batch] = deque()
        """Batches that can leave as they are, before those that can take more."""
        self._open: deque[_Batch] = deque()
        self._flights: deque[_Flight] = deque()
        self._held: dict[object, _Held] = {}
        """By thread."""
        self._applied: deque[tuple[Transition, asyncio.Future[Outcome], Outcome, float]] = deque()
        """What has landed and is not answered yet, with when its batch had left."""
        self._delivering = False
        """Whether the next slice is scheduled."""
        self._wake = Alarm(clock)
        self._answered = Alarm(clock)
        self.closed = False

    # --- asking -------------------------------------------------------------------------------------------------------

    def ask(self, transition: Transition, size: int = 0) -> asyncio.Future[Outcome]:
        """Queue a transition that writes about `size` bytes of events and messages.

        The future holds its outcome once that is durable; cancelling it withdraws nothing.
        """
        answer: asyncio.Future[Outcome] = asyncio.get_running_loop().create_future()
        if self.closed:
            self._fail([(transition, answer)], StoreUnavailable("the store is closed"))
            return answer
        over_many = type(transition) in SET_ORDER
        thread: object = object() if over_many else _thread_of(transition)  # equal to no other
        if self._held and thread in self._held:
            self._held[thread].waiting.append((transition, answer))
            return answer
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
        return answer

    async def apply(self, transition: Transition, expected: type[OutcomeT]) -> OutcomeT:
        """Ask and wait, for a transition with a single kind of outcome."""
        outcome = await self.ask(transition)
        assert isinstance(outcome, expected), f"{type(transition).__name__} answered {type(outcome).__name__}"
        return outcome

    # --- leaving and landing ------------------------------------------------------------------------------------------

    async def run(self) -> None:
        """Feed the store until `close`. What was asked before that is still applied."""
        is_abandoned = False
        try:
            while True:
                self._land()
                self._launch()
                if self.closed and not self._flights and not self._held:
                    return
                await self._wake.wait()
        except GeneratorExit:
            self.closed = is_abandoned = True  # its event loop is closed: nobody can be answered
            raise
        finally:
            if not is_abandoned:
                self._answer_everybody()

    def _answer_everybody(self) -> None:
        """For the last time."""
        self.closed = True
        self._land()  # a batch may have been committed in the very turn in which this task was cancelled
        batches = [batch for batch, _, _ in self._flights] + [*self._full, *self._open]
        for unanswered in (self._flights, self._full, self._open):
            unanswered.clear()
        left = [asked for batch in batches for asked in batch.asked()]
        held = [asked for each in self._held.values() for asked in (each.first, *each.waiting)]
        left += [asked for asked in held if asked not in left]  # the first may be on its way again
        self._held.clear()
        self._fail(left, StoreUnavailable("the store is closed"))

    def _launch(self) -> None:
        while self._full or (self._open and not self._flights):
            if len(self._flights) == MAX_IN_FLIGHT:
                return
            batch = self._full[0] if self._full else self._open[0]
            if self._flights and self._may_defer and not batch.threads.isdisjoint(self._flights[0][0].threads):
                return  # what is in flight may have to be asked again, before this
            (self._full if self._full else self._open).popleft()
            if not batch.transitions:  # all of it waits for another process
                self._answered.set()
                continue
            batch.put_in_order()
            asked_s = self._clock.monotonic()
            flight = (batch, asyncio.ensure_future(self._store.apply(batch.transitions)), asked_s)
            flight[1].add_done_callback(self._landed)
            self._flights.append(flight)

    def _landed(self, _: object) -> None:
        self._wake.set()

    def _land(self) -> None:
        """Take the answers of the batches that have returned, in the order in which they left: one that has overtaken
        the batch before it waits for that.
        """
        while self._flights and self._flights[0][1].done():
            batch, applying, asked_s = self._flights.popleft()
            if applying.cancelled():
                self._fail(batch.asked(), StoreUnavailable("the store was closed"))
            elif (error := applying.exception()) is not None:
                self._fail(batch.asked(), error)  # the next batch is tried anew
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
        return not (self._open or self._full or self._flights or self._applied or self._held)

    # --- answering ----------------------------------------------------------------------------------------------------

    def _deliver(self, batch: _Batch, outcomes: Sequence[Outcome], asked_s: float) -> None:
        for transition, answer, outcome in zip(batch.transitions, batch.answers, outcomes, strict=True):
            if type(outcome) is Deferred:
                self._hold((transition, answer))
                continue
            if self._held and type(transition) not in SET_ORDER:
                self._follow(_thread_of(transition))
            self._applied.append((transition, answer, outcome, asked_s))
        try:
            self._on_batch(batch.transitions, outcomes, self._clock.monotonic() - asked_s)
        except Exception:  # a supervisor, as below
            _log.exception("after a batch of %d: what should follow failed", len(outcomes))
        if not self._delivering:  # else the slice that is scheduled gets to it, behind what landed before
            self._deliver_slice()

    def _hold(self, asked: _Asked) -> None:
        """Another process writes its thread: ask again in a while, and keep behind it what else was asked of it."""
        thread = _thread_of(asked[0])
        held = self._held.get(thread)
        if held is None:
            held = self._held[thread] = _Held(asked)
            for batch in (*self._full, *self._open):
                if thread in batch.threads:
                    held.waiting.append(batch.take_out(thread))
        self._clock.call_later(held.pause_s, lambda: self._ask_held(held))
        held.pause_s = min(2 * held.pause_s, LONGEST_PAUSE_S)

    def _ask_held(self, held: _Held) -> None:
        """It goes before everything else."""
        if self._held.get(_thread_of(held.first[0])) is not held:
            return  # everybody has been answered meanwhile
        batch = _Batch(0)
        batch.threads.add(_thread_of(held.first[0]))
        batch.transitions.append(held.first[0])
        batch.answers.append(held.first[1])
        self._full.appendleft(batch)
        self._wake.set()

    def _follow(self, thread: object) -> None:
        """What was held has been applied: the next may be asked."""
        held = self._held.pop(thread, None)
        if held is not None and held.waiting:
            following = self._held[thread] = _Held(held.waiting.popleft())
            following.waiting = held.waiting
            self._ask_held(following)

    def _deliver_slice(self) -> None:
        """Answer some callers now, and the rest in the next turns of the event loop, across batches in order."""
        self._answer(DELIVERY_SLICE)
        if self._is_quiet:
            self._answered.set()
        self._delivering = bool(self._applied)
        if self._delivering:
            asyncio.get_running_loop().call_soon(self._deliver_slice)

    def _answer(self, most: int) -> None:
        """Answer the next callers, in order, at most so many.

        What follows from an outcome may ask for something, and when that is refused at once (`closed`) this is entered
        again: so each outcome is taken from the queue before anything is done with it.
        """
        while self._applied and most:
            most -= 1
            transition, answer, outcome, asked_s = self._applied.popleft()
            if type(outcome) is Failed:
                self._refuse(transition, answer, outcome.error)
                continue
            try:
                self._on_applied(transition, outcome, asked_s)
            except Exception:  # a supervisor: a fault in what follows the commit must not stop the queue
                _log.exception("after %s: what should follow failed", type(transition).__name__)
            if not answer.done():  # its caller may have gone away
                answer.set_result(outcome)

    def _fail(self, unanswered: Sequence[_Asked], error: BaseException) -> None:
        """Answer with an error, behind everything that was applied before."""
        self._answer(len(self._applied))
        for transition, answer in unanswered:
            self._refuse(transition, answer, error)
            if self._held and type(transition) not in SET_ORDER:
                self._follow(_thread_of(transition))
        if self._is_quiet:
            self._answered.set()

    def _refuse(self, transition: Transition, answer: asyncio.Future[Outcome], error: BaseException) -> None:
        self._on_failed(transition)
        if not answer.done():
            answer.set_exception(error)
            answer.exception()  # marks it as retrieved: a caller that went away leaves no complaint behind


def _thread_of(transition: Transition) -> tuple[Scope, ThreadId]:
    one: ThreadTransition = transition  # pyright: ignore[reportAssignmentType]: it is of one thread
    return one.scope, one.thread_id
