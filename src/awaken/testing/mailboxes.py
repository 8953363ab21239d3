"""A running mailbox for tests: on any store, on a clock that stands still, with agents that wait for the test.

    clock = ManualClock()
    async with World(MemoryStore(clock), clock) as world:
        run = await world.submit("hello")
        call = await world.agent.next_call()
        call.release("hi")
        assert (await world.done(run)).final_output == "hi"

Above: tests of the mailbox, and users who test an agent together with its delivery. Below: the public mailbox; the
store is wrapped, so that it can be made to fail, to wait, and to say when it is quiet.
Holds: nothing sleeps. `advance` moves time from timer to timer and lets everything, threads included, come to rest
in between, so what falls due at an instant happens at that instant.
"""

from __future__ import annotations

import asyncio
import itertools
from collections import Counter
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from types import TracebackType
from typing import Any, Self, TypeVar

import msgspec

from awaken.domain.delivery import Delivery, delay_ms
from awaken.domain.dispatch import Dispatch
from awaken.domain.errors import StoreUnavailable
from awaken.domain.ids import (
    DEFAULT_SCOPE,
    ClaimToken,
    ConsumerId,
    Ids,
    InstanceId,
    MessageId,
    Route,
    RunId,
    ThreadId,
    seeded_chance,
)
from awaken.domain.message import Message, user_message
from awaken.domain.run import Run, RunOptions
from awaken.domain.worker import LifeSign
from awaken.executors.function import Context
from awaken.executors.registry import Agents
from awaken.mailbox.life_sign import LifeSigns
from awaken.mailbox.maintenance import Rounds
from awaken.mailbox.observer import Observer, OutcomeLabel
from awaken.mailbox.service import Mailbox
from awaken.mailbox.settings import MailboxSettings
from awaken.mailbox.submission import RunSubmission, Submission
from awaken.store.contract import (
    Capabilities,
    Listener,
    MessageQuery,
    Store,
)
from awaken.store.invariants import FIRST_PLACE, AuditPlace, AuditSlice
from awaken.store.transitions import Claim, Claimed, ClaimedSome, Offer, Outcome, Rooms, Transition
from awaken.testing.audit import check_sound
from awaken.testing.clock import ManualClock, settle
from awaken.testing.forwarding import ForwardingStore

T = TypeVar("T")
_numbers = itertools.count()
"""Of claims that tests make for other processes: no token is used twice."""

Refusal = Callable[[Sequence[Transition]], Exception | None]
"""Asked before each apply: the error to raise instead, with nothing changed."""


class WatchedStore(ForwardingStore):
    """Any store, made to fail or to wait on request. May be entered by several mailboxes; the last one closes it."""

    def __init__(self, store: Store, *, exclusive: bool | None = None) -> None:
        super().__init__(store)
        self._entered = 0
        self._busy = 0
        self.ended_count = 0
        """How many operations have ended so far, well or not."""
        self.audit_count = 0
        """How many of them looked for breaches of invariants."""
        self.waiting = 0
        """How many batches are held."""
        self._rest: asyncio.Event = asyncio.Event()
        self._gate: asyncio.Event | None = None
        self._held_kind: type[Any] = object
        self._read_gate: asyncio.Event | None = None
        self.exclusive = exclusive
        """None: as the store says."""
        self.loses_signals = False
        """Whether mailboxes that enter from now on hear nothing of what others commit."""
        self.refuse: Refusal | None = None
        self._lost: tuple[type[Any], Exception] | None = None
        self.refuse_read: Exception | None = None
        """Raised by every read, while it is set."""
        self.batches: list[tuple[Transition, ...]] = []
        """Every batch that was applied, in order."""

    @property
    def capabilities(self) -> Capabilities:
        found = self._store.capabilities
        return found if self.exclusive is None else msgspec.structs.replace(found, exclusive=self.exclusive)

    @property
    def transitions(self) -> list[Transition]:
        """Everything that was applied, in order."""
        return [transition for batch in self.batches for transition in batch]

    def go_down(self) -> None:
        """Refuse every write until `come_back`."""
        self.refuse = lambda batch: StoreUnavailable("the disk is full")

    def come_back(self) -> None:
        self.refuse = None

    def fail_once(self, kind: type[Any]) -> None:
        """Refuse the next batch that holds a transition of that kind."""

        def refuse(batch: Sequence[Transition]) -> Exception | None:
            if not any(isinstance(transition, kind) for transition in batch):
                return None
            self.refuse = None
            return StoreUnavailable(f"no {kind.__name__} now")

        self.refuse = refuse

    def lose_answer(self, kind: type[Any], error: Exception | None = None) -> None:
        """Apply the next batch that holds a transition of that kind, and then fail as if it had not been."""
        self._lost = kind, error or StoreUnavailable("the connection broke before the answer came")

    def hold(self, kind: type[Any] = object) -> None:
        """Let every apply with a transition of that kind wait, from before it reaches the store until `let_go`."""
        self._gate = asyncio.Event()
        self._held_kind = kind

    def hold_reads(self) -> None:
        """Let every read wait, from before it reaches the store until `let_go`."""
        self._read_gate = asyncio.Event()

    def let_go(self) -> None:
        for gate in (self._gate, self._read_gate):
            if gate is not None:
                gate.set()
        self._gate = self._read_gate = None

    def listen(self, listener: Listener) -> None:
        if not self.loses_signals:
            super().listen(listener)

    @property
    def is_busy(self) -> bool:
        return self._busy > 0

    async def at_rest(self) -> None:
        """Wait until no operation is on its way, those that are held not counted."""
        while self._busy:
            self._rest.clear()
            await self._rest.wait()

    async def __aenter__(self) -> Self:
        self._entered += 1
        if self._entered == 1:
            await self._watch(self._store.__aenter__())
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._entered -= 1
        if not self._entered:
            await self._watch(self._store.__aexit__(kind, error, trace))

    async def apply(self, batch: Sequence[Transition]) -> list[Outcome]:
        if self._gate is not None and any(isinstance(each, self._held_kind) for each in batch):
            self.waiting += 1
            try:
                await self._gate.wait()
            finally:
                self.waiting -= 1
        error = None if self.refuse is None else self.refuse(batch)
        if error is not None:
            raise error
        outcomes = await self._watch(self._store.apply(batch))
        self.batches.append(tuple(batch))
        if self._lost is not None and any(isinstance(each, self._lost[0]) for each in batch):
            error, self._lost = self._lost[1], None
            raise error
        return outcomes

    async def find_breaches(self, place: AuditPlace = FIRST_PLACE) -> AuditSlice:
        found = await super().find_breaches(place)
        self.audit_count += 1
        return found

    async def _read(self, operation: Coroutine[Any, Any, T]) -> T:
        if self._read_gate is not None:
            try:
                await self._read_gate.wait()
            except asyncio.CancelledError:
                operation.close()
                raise
        if self.refuse_read is not None:
            operation.close()
            raise self.refuse_read
        return await self._watch(operation)

    async def _watch(self, operation: Awaitable[T]) -> T:
        self._busy += 1
        try:
            return await operation
        finally:
            self._busy -= 1
            self.ended_count += 1
            if not self._busy:
                self._rest.set()


async def claim_for(
    store: Store,
    name: str,
    *,
    routes: Sequence[str] = ("gated",),
    lease_ms: int | None = None,
    limit: int = 1,
) -> tuple[Claimed, ...]:
    """Claim what is due on these routes, suspects included, for a process of that name that executes nothing of it."""
    served = frozenset([Route(route) for route in routes])
    offers = [
        Offer(ConsumerId(name), ClaimToken(f"{name}-{no}"), InstanceId(f"{name}-{no}"), served, lease_ms)
        for no in itertools.islice(_numbers, limit)
    ]
    rooms = Rooms(dict.fromkeys(served, limit), limit)
    [outcome] = await store.apply([Claim(offers=tuple(offers), rooms=rooms)])
    assert isinstance(outcome, ClaimedSome), "a claim answers with what it claimed"
    return outcome.claims


class Call:
    """One execution of a `GatedAgent`, waiting for the test to say how it ends."""

    def __init__(self, context: Context) -> None:
        self.context = context
        self._answer: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        self._over = asyncio.Event()

    @property
    def run_id(self) -> RunId:
        return self.context.identity.run_id

    @property
    def is_over(self) -> bool:
        return self._over.is_set()

    def release(self, returned: Any = None) -> None:
        """Let the agent return that."""
        if not self._answer.done():
            self._answer.set_result(returned)

    def fail(self, error: BaseException) -> None:
        """Let the agent raise that."""
        if not self._answer.done():
            self._answer.set_exception(error)

    async def over(self) -> None:
        """Wait until the agent has returned, failed or been stopped."""
        await self._over.wait()

    async def answer(self) -> Any:
        try:
            return await asyncio.shield(self._answer)
        finally:
            self._over.set()


class GatedAgent:
    """An agent that starts, reports its call, and does nothing until that call is released."""

    def __init__(self) -> None:
        self.calls: list[Call] = []
        self.running: Counter[ThreadId] = Counter()
        self.most_running = 0
        """Of one thread, at one moment, ever."""
        self._arrived: asyncio.Queue[Call] = asyncio.Queue()

    async def __call__(self, context: Context) -> Any:
        call = Call(context)
        thread_id = context.identity.thread_id
        self.running[thread_id] += 1
        self.most_running = max(self.most_running, self.running[thread_id])
        self.calls.append(call)
        self._arrived.put_nowait(call)
        try:
            return await call.answer()
        finally:
            self.running[thread_id] -= 1

    async def next_call(self) -> Call:
        """The next execution that has not been handed out, as soon as it has begun."""
        return await self._arrived.get()


class PretendedSigns(LifeSigns):
    """Signs of life of processes that are none: those die whose consumer ids a test puts among the `dead`."""

    def __init__(self) -> None:
        self.dead: set[str] = set()
        self.shown: list[ConsumerId] = []
        self.buried: list[str] = []

    def show(self, consumer_id: ConsumerId) -> LifeSign | None:
        self.shown.append(consumer_id)
        return LifeSign("boot", consumer_id)

    def hide(self) -> None:
        self.shown.clear()

    def is_dead(self, sign: LifeSign) -> bool:
        return sign.path in self.dead

    def bury(self, sign: LifeSign) -> None:
        self.buried.append(sign.path)
        self.dead.discard(sign.path)


class Ledger(Observer):
    """An observer that remembers how many executions began, and the label under which each ended."""

    def __init__(self) -> None:
        self.begun = 0
        self.labels: list[OutcomeLabel] = []
        self.failures = 0

    def failed(self, transition: Transition) -> None:
        self.failures += 1

    def started(self, claimed: Claimed, since_claim_s: float) -> None:
        self.begun += 1

    def ended(self, claimed: Claimed, label: OutcomeLabel, runtime_s: float) -> None:
        self.labels.append(label)


class World:
    """A mailbox in motion, with everything a test needs to drive it. Entered means the mailbox is entered and at rest;
    left, that every invariant holds, unless the test is not to be audited because it has edited rows by hand.

    Leaving it moves time for as long as agents may take; unless the settings say otherwise that is at once. A test that
    hangs is cut off after `patience_s` seconds of real time.
    """

    def __init__(
        self,
        store: Store,
        clock: ManualClock,
        *,
        agents: dict[str, Any] | None = None,
        settings: MailboxSettings | None = None,
        observer: Observer | None = None,
        seed: int = 1,
        executes: bool = True,
        maintenance: Rounds | None = None,
        signs: LifeSigns | None = None,
        patience_s: float = 20.0,
        audits: bool = True,
    ) -> None:
        self.store = store if isinstance(store, WatchedStore) else WatchedStore(store)
        self.clock = clock
        self.agent = GatedAgent()
        self.ledger = Ledger()
        self.agents = Agents(clock)
        for agent_id, agent in {"gated": self.agent, **(agents or {})}.items():
            self.agents.add(agent_id, agent)
        self.mailbox = Mailbox(
            self.store,
            self.agents,
            settings=settings or MailboxSettings(drain_s=0, handover_s=0),
            clock=clock,
            ids=Ids(clock, seeded_chance(seed)),
            observer=observer or self.ledger,
            role="all" if executes else "api",
            maintenance=maintenance,
            signs=signs or PretendedSigns(),
        )
        self._patience_s = patience_s
        self.audits = audits

    async def __aenter__(self) -> Self:
        self._bound = asyncio.timeout(self._patience_s)
        await self._bound.__aenter__()
        try:
            await self.mailbox.__aenter__()
        except BaseException as error:
            await self._bound.__aexit__(type(error), error, error.__traceback__)
            raise
        await self.quiet()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.store.let_go()
        try:
            is_open = self.mailbox.state == "ready"
            if kind is None and is_open and self.audits and self.store.refuse_read is None:
                await check_sound(self.store)
            for call in self.agent.calls:
                call.release()
            await self.leave()
        finally:
            await self._bound.__aexit__(kind, error, trace)

    async def leave(self) -> None:
        """Stop the mailbox, and move time for as long as that takes."""
        leaving = asyncio.ensure_future(self.mailbox.stop())
        await self.quiet()
        while not leaving.done():
            await self.advance(1)
        await leaving

    # --- time ---------------------------------------------------------------------------------------------------------

    async def quiet(self) -> None:
        """Let everything that does not wait for time, for the test or for a held store happen."""
        seen = -1
        while self.store.is_busy or seen != self.store.ended_count:
            await self.store.at_rest()
            seen = self.store.ended_count  # an operation that ends from here on may set something else off
            await settle()

    async def advance(self, seconds: float) -> None:
        """Move time from timer to timer, with everything at rest in between."""
        await self.clock.advance(seconds, self.quiet)

    # --- asking -------------------------------------------------------------------------------------------------------

    async def submit(
        self,
        text: str = "hello",
        *,
        thread_id: str = "t",
        agent_id: str | None = "gated",
        delay_s: float = 0.0,
        **options: Any,
    ) -> Submission:
        """Submit one user message; `options` are those of `RunSubmission`, of its `Delivery` and its `RunOptions`."""
        message = user_message(MessageId(""), text)
        wishes = {name: options.pop(name) for name in Delivery.__struct_fields__ if name in options}
        delivery = Delivery(delay_ms=delay_ms(delay_s), **wishes)
        asked = {name: options.pop(name) for name in RunOptions.__struct_fields__ if name in options}
        request = RunSubmission(
            messages=(message,),
            thread_id=thread_id,
            agent_id=agent_id,
            delivery=delivery,
            options=RunOptions(**asked),
            **options,
        )
        return await self.mailbox.submit(request)

    async def done(self, run: Submission | Run | RunId) -> Run:
        """The run, as soon as it is done; time does not move meanwhile."""
        return await self.mailbox.wait(DEFAULT_SCOPE, _run_id(run), timeout_s=1e9)

    # --- looking ------------------------------------------------------------------------------------------------------

    async def run(self, run: Submission | Run | RunId) -> Run:
        return await self.mailbox.get_run(DEFAULT_SCOPE, _run_id(run))

    async def dispatch(self, run: Submission | Run | RunId) -> Dispatch:
        dispatch = await self.store.load_dispatch(DEFAULT_SCOPE, (await self.run(run)).dispatch_id)
        assert dispatch is not None, "the dispatch is still kept"
        return dispatch

    async def messages(self, thread_id: str = "t") -> list[Message]:
        """The conversation."""
        page = await self.store.list_messages(DEFAULT_SCOPE, ThreadId(thread_id), MessageQuery(limit=10_000))
        return [stored.message for stored in page]

    async def texts(self, thread_id: str = "t") -> list[str]:
        return [message.text for message in await self.messages(thread_id)]

    async def kinds(self, run: Submission | Run | RunId | None = None, *, thread_id: str = "t") -> list[str]:
        """The kinds in the thread's log, or of one run, in order."""
        run_id = None if run is None else _run_id(run)
        if run is not None:
            thread_id = (await self.run(run)).thread_id
        rows = await self.store.list_events(DEFAULT_SCOPE, ThreadId(thread_id), after=0, limit=1_000_000, run_id=run_id)
        return [event.kind for row in rows for event in row.events]

    @property
    def free_slots(self) -> int:
        return self.mailbox.health().free_slots


def _run_id(run: Submission | Run | RunId) -> RunId:
    if isinstance(run, Submission):
        return run.run.run_id
    return run.run_id if isinstance(run, Run) else run
