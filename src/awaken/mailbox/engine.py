"""The moving parts of one process: what is entered, what runs by itself, and what each applied transition sets off.

Above: the service asks for transitions and reads state. Below: the combiner and the store; dispatcher, keeper and
sweeper for progress; one supervised task per execution.
Holds: claims are started from the outcome of the transition that won them, so a caller who goes away while it waits
strands nothing; whatever happens in an execution, its slot comes back.

Source: spec/mailbox.md 3.19 to 3.21 as amended by the design; promises 7 and 8.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping
from contextlib import AsyncExitStack
from typing import Any, Literal

import msgspec

from awaken.domain.clock import Alarm, Clock, Instant, sleep
from awaken.domain.errors import Unavailable
from awaken.domain.ids import DispatchId, Ids, Scope, ThreadId
from awaken.domain.run import DONE, Run
from awaken.executors.registry import Agents
from awaken.mailbox.dispatcher import Dispatcher
from awaken.mailbox.keeper import Keeper
from awaken.mailbox.observer import Observer
from awaken.mailbox.port import finish
from awaken.mailbox.reader import Hub
from awaken.mailbox.settings import MailboxSettings
from awaken.mailbox.slots import Slots
from awaken.mailbox.sweeper import Sweeper
from awaken.mailbox.worker import Execution, Workshop
from awaken.store.combiner import Combiner
from awaken.store.contract import Store
from awaken.store.transitions import (
    Cancel,
    CancelResult,
    Claim,
    Claimed,
    ClaimedSome,
    Interrupt,
    Interrupted,
    Offer,
    Outcome,
    Reclaim,
    Reclaimed,
    Settle,
    Settled,
    Submit,
    Submitted,
    Transition,
)

_log = logging.getLogger("awaken.mailbox")
_SUPERVISOR_PAUSE_S = 1.0
_HANDOVER_REPEAT_S = 1.0
"""An agent that swallowed the request to stop is asked again, or a shutdown would never end."""

State = Literal["new", "starting", "ready", "stopping", "stopped"]


class Health(msgspec.Struct, frozen=True):
    state: State
    durability: str
    store: str
    executing: int
    free_slots: int


class Engine:
    """One per mailbox. `start` returns when recovered and ready, `stop` when drained and quiet."""

    def __init__(
        self,
        store: Store,
        agents: Agents,
        *,
        settings: MailboxSettings,
        clock: Clock,
        ids: Ids,
        observer: Observer,
        executes: bool,
    ) -> None:
        self.state: State = "new"
        self.combiner = Combiner(store, clock, self._applied, self._failed, observer.applied)
        self.hub = Hub(store, clock)
        self._store = store
        self._clock = clock
        self._settings = settings
        self._observer = observer
        self._executes = executes
        self._slots = Slots(settings.max_concurrent_runs, ids, settings.lease_ms)
        self._keeper: Keeper[Execution] = Keeper(self.combiner, clock, settings)
        self._sweeper = Sweeper(self.combiner, store, clock, settings, self._wake_dispatcher)
        self._dispatcher = Dispatcher(self.combiner, self._slots, clock, settings, self._sweeper.expect)
        self._workshop = Workshop(
            self.combiner, store, agents, clock, ids, settings, observer, self._settle_offer, self._over
        )
        self._running: set[Execution] = set()
        """Executions that are not over: neither settled, nor has their task ended otherwise."""
        self._idle = Alarm(clock)
        self._stack = AsyncExitStack()
        self._group: asyncio.TaskGroup | None = None
        self._loops: list[asyncio.Task[None]] = []
        self._reactions: Mapping[type[Any], Callable[[Any, Outcome, float], None]] = {
            Submit: self._submitted,
            Settle: self._settled,
            Claim: self._claimed,
            Cancel: self._cancelled,
            Interrupt: self._interrupted,
            Reclaim: self._reclaimed,
        }

    def health(self) -> Health:
        capabilities = self._store.capabilities
        return Health(self.state, capabilities.durability, capabilities.kind, self._slots.executing, self._slots.free)

    def require_ready(self) -> None:
        """Raises Unavailable unless started and not stopping."""
        if self.state == "ready":
            return
        code = "stopping" if self.state in ("stopping", "stopped") else "starting"
        raise Unavailable(f"the mailbox is {self.state}; enter it with `async with` first", code=code)

    def is_executing(self, scope: Scope, thread_id: ThreadId, dispatch_id: DispatchId) -> bool:
        """Whether this process runs it and has neither settled nor lost it, so that its end is still to be told."""
        execution = self._keeper.holder_of(scope, thread_id, dispatch_id)
        return execution is not None and not execution.is_lost

    def submit_offer(self) -> Offer | None:
        """A free slot for what is being submitted, unless others must go first."""
        may = self._executes and self.state == "ready" and not self._dispatcher.has_backlog
        return self._slots.offer() if may else None

    def _settle_offer(self, execution: Execution) -> Offer | None:
        """The slot of a run whose agent has ended: for what waits in its thread, or else for anybody."""
        if execution.is_followed and self.state == "ready" and not self._dispatcher.has_backlog:
            return self._slots.hand_on()
        self._free_slot(execution)
        return None

    def _free_slot(self, execution: Execution) -> None:
        if execution.has_slot:
            execution.has_slot = False
            self._slots.executing -= 1
            self._slot_freed()

    # --- life ---------------------------------------------------------------------------------------------------------

    async def start(self) -> None:
        """Open the store, take over what dead processes held, set everything in motion."""
        if self.state not in ("new", "stopped"):
            raise Unavailable(f"the mailbox is {self.state} already", code="starting")
        self.state = "starting"
        self.hub.open()
        self._dispatcher.paused = False
        try:
            await self._stack.enter_async_context(self._store)
            self._group = await self._stack.enter_async_context(asyncio.TaskGroup())
            self.combiner.open()
            combining = self._group.create_task(self.combiner.run(), name="awaken combiner")
            self._stack.push_async_callback(self._close_combiner, combining)
            if self._executes:
                await self._recover()
        except BaseException:
            self.state = "stopped"
            await self._stack.aclose()
            raise
        self.state = "ready"

    async def _recover(self) -> None:
        """Take back what dead processes held, then start the loops that keep everything moving."""
        taken = await self._sweeper.reclaim(abandoned=self._store.capabilities.exclusive)
        if taken:
            _log.info("took over %d unfinished dispatches", taken)
        for name, loop in (
            ("dispatcher", self._dispatcher.run_forever),
            ("keeper", self._keeper.renew_forever),
            ("lease watch", self._keeper.watch_forever),
            ("sweeper", self._sweeper.run_forever),
        ):
            assert self._group is not None, "entered"
            self._loops.append(self._group.create_task(self._supervise(name, loop), name=f"awaken {name}"))
        self._dispatcher.wake()

    async def _supervise(self, name: str, loop: Callable[[], Awaitable[None]]) -> None:
        while True:
            try:
                await loop()
            except Exception:
                _log.exception("the %s failed; it starts again", name)
                await sleep(self._clock, _SUPERVISOR_PAUSE_S)

    async def stop(self) -> None:
        """Drain, then close everything; finishes also when the caller is cancelled."""
        self.state = "stopping"
        try:
            await finish(self._drain())
        finally:
            for loop in self._loops:
                loop.cancel()
            self._loops.clear()
            await self._stack.aclose()
            self._group = None
            self.state = "stopped"

    async def _drain(self) -> None:
        """Take no more work, let agents finish for a while, hand back the rest."""
        self._dispatcher.paused = True
        self.hub.close()
        deadline_s = self._clock.monotonic() + self._settings.drain_s
        while self._running and (left_s := deadline_s - self._clock.monotonic()) > 0:
            await self._idle.wait(left_s)
        while True:
            for execution in list(self._running):
                execution.stop("handover")
            if self._running:
                await self._idle.wait(_HANDOVER_REPEAT_S)
                continue
            await self.combiner.quiet()  # a claim on its way is answered, and starts what must be handed back
            if not self._running:
                break

    async def _close_combiner(self, combining: asyncio.Task[None]) -> None:
        self.combiner.close()
        await asyncio.wait((combining,))

    # --- what applied transitions set in motion -----------------------------------------------------------------------

    def _applied(self, transition: Transition, outcome: Outcome, asked_s: float) -> None:
        """After the commit, before the caller hears: publish, start what was claimed, wake what must move."""
        if self.hub.readers:
            self.hub.publish(outcome.appended)
        react = self._reactions.get(type(transition))
        if react is not None:
            react(transition, outcome, asked_s)

    def _tell_ended(self, scope: Scope, run: Run | None) -> None:
        if run is not None and run.status is DONE:
            self.hub.ended(scope, run.run_id, run)

    def _failed(self, transition: Transition) -> None:
        """The store could not say what became of it: whatever it promised is not ours."""
        if isinstance(transition, Submit) and transition.offer is not None:
            self._slots.answered()
        elif isinstance(transition, Claim):
            self._slots.answered(len(transition.offers))
        self._slot_freed()
        self._observer.failed(transition)

    def _submitted(self, transition: Submit, outcome: Outcome, asked_s: float) -> None:
        accepted = outcome if type(outcome) is Submitted else None
        if transition.offer is not None:
            self._slots.answered()
        self._offered(transition.offer, accepted, asked_s)
        if transition.offer is not None and (accepted is None or accepted.claimed is None):
            self._slot_freed()
        if accepted is not None and accepted.claimed is None:
            ahead = self._keeper.holder_in(transition.scope, transition.thread_id)
            if ahead is not None:
                ahead.is_followed = True

    def _settled(self, transition: Settle, outcome: Outcome, asked_s: float) -> None:
        settled = outcome if type(outcome) is Settled else None
        if settled is not None:
            self._tell_ended(transition.scope, settled.run)
            if settled.claimed is not None:
                ended = self._keeper.holder_in(transition.scope, transition.thread_id)
                if ended is not None:
                    self._keeper.release(ended)
        self._offered(transition.offer, settled, asked_s)

    def _offered(self, offer: Offer | None, outcome: Submitted | Settled | None, asked_s: float) -> None:
        """Start what the offer won, or take it back; look after what waits in the thread."""
        if outcome is not None and outcome.claimed is not None:
            self._start(outcome.claimed, asked_s)
        elif offer is not None:
            self._slots.take_back(offer)
        if outcome is not None and outcome.ready_at is not None:
            self._ready(outcome.ready_at)

    def _claimed(self, transition: Claim, outcome: Outcome, asked_s: float) -> None:
        assert isinstance(outcome, ClaimedSome), "a claim answers with what it claimed"
        self._slots.answered(len(transition.offers))
        for closed in outcome.closed:
            self._tell_ended(closed.scope, closed.run)
        for claimed in outcome.claims:
            self._start(claimed, asked_s)
        for offer in transition.offers[len(outcome.claims) :]:
            self._slots.take_back(offer)
        self._dispatcher.answered(outcome)

    def _cancelled(self, transition: Cancel, outcome: Outcome, asked_s: float) -> None:
        """In this process the owner learns of a stop at once."""
        if not isinstance(outcome, CancelResult):
            return
        self._tell_ended(transition.scope, outcome.run)
        execution = self._keeper.holder_of(transition.scope, transition.thread_id, outcome.run.dispatch_id)
        if outcome.state == "requested" and execution is not None:
            execution.stop("cancel")

    def _interrupted(self, transition: Interrupt, outcome: Outcome, asked_s: float) -> None:
        if not isinstance(outcome, Interrupted):
            return
        scope = transition.scope
        for dispatch in outcome.superseded:
            self.hub.ended(scope, dispatch.run_id, None)
        if outcome.active is not None:
            execution = self._keeper.holder_of(scope, transition.thread_id, outcome.active.dispatch_id)
            if execution is not None and execution.token == outcome.active.claim_token:
                execution.stop("interrupt")

    def _reclaimed(self, transition: Reclaim, outcome: Outcome, asked_s: float) -> None:
        """A claim of this process that was taken back has ended, whatever its execution still believes."""
        assert isinstance(outcome, Reclaimed), "a reclaim answers with what it took back"
        for item in outcome.items:
            self._tell_ended(item.scope, item.run)
            execution = self._keeper.holder_of(item.scope, item.dispatch.thread_id, item.dispatch.dispatch_id)
            if execution is not None:
                execution.stop("lost")

    def _slot_freed(self) -> None:
        if self._dispatcher.has_backlog:
            self._dispatcher.expect()

    def _ready(self, ready_at: Instant) -> None:
        if ready_at > self._clock.now():
            self._sweeper.expect(ready_at)
        else:
            self._dispatcher.expect()

    def _wake_dispatcher(self) -> None:
        self._dispatcher.wake()

    def _start(self, claimed: Claimed, asked_s: float) -> None:
        execution = Execution(claimed, asked_s, self._workshop)
        self._slots.executing += 1
        self._keeper.hold(execution)
        if execution.lease_until is not None:
            self._sweeper.expect(execution.lease_until + 1)
        if self.state == "stopping":
            execution.stop("handover")
        self._running.add(execution)
        execution.task = asyncio.get_running_loop().create_task(execution.run())

    def _over(self, execution: Execution) -> None:
        """Whatever happened in it, its slot comes back."""
        self._running.discard(execution)
        self._keeper.release(execution)
        self._free_slot(execution)
        if not self._running:
            self._idle.set()
