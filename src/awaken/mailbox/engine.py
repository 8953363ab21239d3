"""The life of one process: what is opened, what runs by itself, and how both end.

Above: the service asks for transitions and reads state. Below: the combiner and the store; dispatcher, keeper and
sweeper for progress; `reactions` for what an outcome sets off, `executions` for the runs.

Source: ADR 0018.
"""

from __future__ import annotations

import asyncio
import logging
import os
import socket
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Literal

import msgspec

from awaken.domain.clock import Clock, Instant, SystemClock, lasting, sleep
from awaken.domain.dispatch import Dispatch
from awaken.domain.errors import StoreRefused, StoreUnavailable, Unavailable
from awaken.domain.ids import ConsumerId, DispatchId, Ids, Route, Scope, ThreadId
from awaken.domain.run import Run
from awaken.domain.version import version
from awaken.domain.worker import LifeSign, ProcessName, ProcessRole, WorkerRecord, WorkerStats
from awaken.executors.registry import Agents
from awaken.mailbox.auditor import Auditor, AuditReport
from awaken.mailbox.dispatcher import Dispatcher
from awaken.mailbox.executions import Executions
from awaken.mailbox.keeper import Keeper
from awaken.mailbox.life_sign import LifeSigns
from awaken.mailbox.lifetime import Lifetime, State
from awaken.mailbox.log_cache import LogCache
from awaken.mailbox.loop_watch import LoopWatch
from awaken.mailbox.maintenance import Maintenance, Rounds
from awaken.mailbox.neighbours import Neighbours
from awaken.mailbox.observer import Observers
from awaken.mailbox.outbox import Outbox
from awaken.mailbox.reactions import Reactions
from awaken.mailbox.reader import Hub
from awaken.mailbox.schedules import Schedules
from awaken.mailbox.settings import MailboxSettings
from awaken.mailbox.slots import Slots
from awaken.mailbox.sweeper import Removed, Sweeper, Swept
from awaken.mailbox.why import Elsewhere, Executing, Held, Here
from awaken.mailbox.worker import Workshop
from awaken.store.combiner import Combiner
from awaken.store.contract import Signal, Store
from awaken.store.transitions import Offer, Outcome, Transition

_log = logging.getLogger("awaken.mailbox")
_SUPERVISOR_PAUSE_S = 1.0


RecoveryPhase = Literal["opening", "waiting", "taking_over", "auditing", "done"]


class Recovery(msgspec.Struct, frozen=True):
    """How far a start is: the store is opened and brought up to date, or waited for; what dead processes left is taken
    over; and, behind readiness, the rows are looked through once. `done`: how much of the phase, from 0 to 1.
    """

    phase: RecoveryPhase
    done: float = 0.0
    detail: str | None = None
    """Why the store is waited for."""


class Health(msgspec.Struct, frozen=True, kw_only=True):
    state: State
    recovery: Recovery
    durability: str
    store: str
    executing: int
    free_slots: int
    not_loadable: tuple[Route, ...]
    """Agents, and versions, that could not be loaded; their runs wait until they are registered again."""
    is_drained: bool
    """Nothing begins here until it is undrained."""
    paused: tuple[str, ...]
    """Agents, and versions as `name@version`, that somebody has paused here; their runs wait until they are resumed."""
    audit: AuditReport
    """How far the rows have been looked through for breaches of invariants."""
    unserved: tuple[Route, ...]
    """What else something is queued for and nobody here can run, as of the last sweep."""


class Draining(msgspec.Struct, frozen=True):
    """Whether a process is drained, and how many runs it executes or settles, or may be claiming at this moment. One
    that is drained, with none of those, can be ended without any run noticing.
    """

    drained: bool
    executing: int


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
        observer: Observers,
        role: ProcessRole,
        maintenance: Rounds | None,
        signs: LifeSigns,
    ) -> None:
        self.combiner = Combiner(store, clock, self._applied, self._failed, observer.applied)
        self.hub = Hub(store, clock)
        self.schedules = Schedules(self.combiner, store, agents, self.require_ready)
        self._store = store
        self._clock = clock
        self._settings = settings
        self.role: ProcessRole = role
        self._agents = agents
        self.auditor = Auditor(self.combiner, store, clock, settings, self.require_ready, observer)
        self._maintenance = None if maintenance is None else Maintenance(maintenance, clock, settings)
        lease_ms = None if store.capabilities.exclusive else settings.lease_ms
        self._slots = Slots(
            settings.max_concurrent_runs,
            ids,
            lambda: agents.routes,
            lambda: agents.stand_ins,
            lambda: (agents.totals, self._neighbours.totals),
            lease_ms=lease_ms,
            process=lambda: self.process,
        )
        self._keeper = Keeper(self.combiner, clock, settings)
        self._sweeper = Sweeper(
            self.combiner,
            store,
            clock,
            settings,
            self._slots,
            lambda token: self._executions.carries(token),
            agents,
            lambda: () if store.capabilities.exclusive else self._neighbours.others,
            self._wake_dispatcher,
            observer,
        )
        self._dispatcher = Dispatcher(self.combiner, self._slots, clock, settings, self._sweeper.expect)
        self.outbox = Outbox(self.combiner, store, clock, settings, self.submit_offer, agents.newest)
        workshop = Workshop(self.combiner, store, agents, clock, ids, settings, observer, self._dispatcher, LogCache())
        self._executions = Executions(
            workshop, self._slots, self._keeper, clock, settings, lambda: self._sweeper.expect(0)
        )
        self._reactions = Reactions(
            hub=self.hub,
            slots=self._slots,
            executions=self._executions,
            dispatcher=self._dispatcher,
            sweeper=self._sweeper,
            outbox=self.outbox,
            observer=observer,
        )
        self._signs = signs
        self._life_sign: LifeSign | None = None
        self._neighbours = Neighbours(self.combiner, store, clock, settings, signs, self.worker, self._wake_dispatcher)
        self._rounds: asyncio.Task[None] | None = None
        """What calls a user's own rounds, in this life."""
        self._lifetime = Lifetime(self._opened)
        self._start = Recovery("opening")
        """Until it is ready."""
        self._ready: tuple[Instant, float] | None = None
        """When it became so, by the wall and on the monotonic clock."""
        agents.on_change(self._agents_changed)

    @property
    def state(self) -> State:
        return self._lifetime.state

    @property
    def _executes(self) -> bool:
        return self.role != "api"

    def act_as(self, role: ProcessRole) -> None:
        """Be that from the next start on. Raises Unavailable while it is started."""
        if self.state not in ("new", "stopped"):
            raise Unavailable(f"awaken is {self.state} here; what a process does is said before it starts", code="busy")
        self.role = role

    @property
    def process(self) -> ProcessName:
        """This one: not the one that has made this object, where it has forked since."""
        return ProcessName(socket.gethostname(), os.getpid(), self.role)

    def health(self) -> Health:
        capabilities = self._store.capabilities
        unserved = {route: self._agents.executor_of(route) for route in self._sweeper.unserved}
        waited_for = frozenset(unserved.values())
        return Health(
            state=self.state,
            recovery=self._recovery(),
            durability=capabilities.durability,
            store=capabilities.kind,
            executing=self._slots.executing,
            free_slots=self._slots.free if self._executes else 0,
            audit=self.auditor.report,
            is_drained=self._dispatcher.is_drained,
            not_loadable=tuple([route for route in self._agents.withdrawn if route in waited_for]),
            paused=tuple(sorted(self._agents.paused)),
            unserved=tuple([route for route, executor in unserved.items() if executor is None]),
        )

    def worker(self) -> WorkerRecord:
        """This process, as it is now."""
        return WorkerRecord(
            consumer_id=self._slots.consumer,
            host=self.process.host,
            pid=self.process.pid,
            version=version(),
            role=self.role,
            routes=tuple(sorted(self._agents.routes)) if self._executes else (),
            stand_ins=tuple(sorted(self._agents.stand_ins)) if self._executes else (),
            totals=dict(self._agents.totals) if self._executes else {},
            is_drained=self._dispatcher.is_drained,
            executing=self._slots.executing,
            paused=tuple(sorted(self._agents.paused_routes)) if self._executes else (),
            stats=WorkerStats(
                self._slots.limit if self._executes else 0, self._executions.begun, self._executions.lost
            ),
            started_at=None if self._ready is None else self._ready[0],
            life_sign=self._life_sign,
            seen_at=self._clock.now(),
        )

    async def workers(self) -> tuple[WorkerRecord, ...]:
        """The processes that work on the store, this one first."""
        own = self.worker()
        known = () if self._store.capabilities.exclusive else await self._store.list_workers()
        return (own, *[each for each in known if each.consumer_id != own.consumer_id])

    @property
    def uptime_s(self) -> float:
        """Since it was ready; 0 before that."""
        return 0.0 if self._ready is None else self._clock.monotonic() - self._ready[1]

    async def sweep(self) -> Swept:
        """Look at once for what falls due. Raises as `require_ready`."""
        self.require_ready()
        swept = await self._sweeper.sweep()
        self._wake_dispatcher()
        return swept

    async def purge(self) -> Removed:
        """Remove now what retention no longer keeps. Raises as `require_ready`."""
        self.require_ready()
        return await self._sweeper.purge()

    def _recovery(self) -> Recovery:
        if self.state in ("new", "starting"):
            return self._start
        report = self.auditor.report
        if self._executes and not report.rounds:
            return Recovery("auditing", report.share)
        return Recovery("done", 1.0)

    def here(self, scope: Scope, run: Run, dispatch: Dispatch | None) -> Here:
        """What this process knows about where a run is, and no row says."""
        route = run.route
        claims = self._executions.executing()
        execution = self._executions.in_thread(scope, run.thread_id)
        at_work = None if execution is None else execution.at_work
        return Here(
            state=self.state,
            executes=self._executes,
            is_drained=self._dispatcher.is_drained,
            consumer=self._slots.consumer,
            is_served=route in self._agents.routes,
            is_paused=self._agents.is_paused(route),
            withdrawn=self._agents.why_not_loadable(route),
            executor=self._executor_of(route),
            agent_limit=self._agents.routes.get(route),
            elsewhere=self._elsewhere(route),
            gives_up_after_ms=self._sweeper.gives_up_after_ms,
            slots=self._slots.limit,
            suspect_room=self._slots.suspect_room,
            executing=tuple(
                [
                    Executing(each.run.run_id, self._executor_of(each.dispatch.route), each.dispatch.is_suspect)
                    for each in claims
                ]
            ),
            held="nowhere" if dispatch is None else self._held(scope, dispatch),
            holder=None if dispatch is None or dispatch.claimed_by is None else self._name_of(dispatch.claimed_by),
            at_work=None if at_work is None else at_work.claimed.run.run_id,
            refused=self.auditor.report.refused_in(scope, run.thread_id),
        )

    def _elsewhere(self, route: Route) -> Elsewhere | None:
        others = None if self._store.capabilities.exclusive else self._neighbours.others
        if others is None:
            return None
        return Elsewhere(
            serving=len([each for each in others if route in each.routes]),
            paused=len([each for each in others if route in each.paused]),
        )

    def _name_of(self, consumer: ConsumerId) -> ProcessName | None:
        """None where no such process is known to live."""
        others = () if self._store.capabilities.exclusive else self._neighbours.others or ()
        return next((each.name for each in others if each.consumer_id == consumer), None)

    def _executor_of(self, route: Route) -> Route:
        return self._agents.executor_of(route) or route

    def _held(self, scope: Scope, dispatch: Dispatch) -> Held:
        """What is done here with the claim of a dispatch."""
        token = dispatch.claim_token
        execution = self._executions.of_dispatch(scope, dispatch.thread_id, dispatch.dispatch_id)
        if token is None:
            return "nowhere"
        if execution is None or execution.token != token:
            if self._executions.carries(token):
                return "settling"
            return "starting" if self._slots.may_have_won(token) else "nowhere"
        if execution.at_work is None:
            return "settling" if execution.has_begun else "starting"
        if execution.at_work is not execution:
            return "behind_agent_at_work"
        if execution.ignores_stop:
            return "ignores_stop"
        return "stopping" if execution.is_stopping else "executing"

    def drain(self) -> Draining:
        """Begin nothing here until `undrain`, in this life and the next: what is submitted is accepted, and waits; what
        executes goes on to its end. Before the start as well. From any thread.
        """
        if not self._dispatcher.is_drained:
            self._dispatcher.is_drained = True
            _log.warning("this process is drained; what it executes goes on, and it begins nothing until undrained")
        return self.draining()

    def undrain(self) -> Draining:
        """Begin what is due, at once. From any thread."""
        if self._dispatcher.is_drained:
            self._dispatcher.is_drained = False
            self._lifetime.call(self._dispatcher.look_anew)
            _log.info("this process is undrained")
        return self.draining()

    def draining(self) -> Draining:
        """Whether it is drained, and what is left to wait for."""
        return Draining(self._dispatcher.is_drained, self._executions.count + self._slots.offered)

    def require_ready(self) -> None:
        """Raises Unavailable unless started and not stopping, and as `check_loop`."""
        if self._lifetime.is_ready_here:
            return
        self.check_loop()
        code = "stopping" if self.state in ("stopping", "stopped") else "starting"
        raise Unavailable(
            f"awaken is {self.state} here; use it inside `async with app:`, or after `await app.start()`", code=code
        )

    def check_loop(self) -> None:
        """Raises WrongLoop when it runs on another event loop: futures of that one would never be answered here."""
        self._lifetime.check_loop()

    def is_executing(self, scope: Scope, thread_id: ThreadId, dispatch_id: DispatchId) -> bool:
        """Whether this process runs it and has neither settled nor lost it, so that its end is still to come."""
        execution = self._executions.of_dispatch(scope, thread_id, dispatch_id)
        return execution is not None and not execution.is_lost

    def submit_offer(self, route: Route) -> Offer | None:
        """A free slot for what is being submitted, unless others must go first."""
        return self._dispatcher.offer(route)

    def _applied(self, transition: Transition, outcome: Outcome, asked_s: float) -> None:
        self._reactions.applied(transition, outcome, asked_s)

    def _failed(self, transition: Transition) -> None:
        self._reactions.failed(transition)

    def _signalled(self, signal: Signal) -> None:
        """Somebody has written, perhaps this process itself: readers look, and there may be work, except in threads
        whose claim is executed here.
        """
        self.hub.stir(signal)
        self._executions.stir(signal.threads)
        if signal.errands or signal.threads is None:
            self.outbox.look()
        if signal.threads is None or any(self._executions.in_thread(*key) is None for key in signal.threads):
            self._dispatcher.wake()

    def _agents_changed(self) -> None:
        """There may be work for whoever came, and some of it waits for whoever went. From any thread."""
        self._lifetime.call(self._look_anew)

    def _look_anew(self) -> None:
        if self.state == "ready":
            self._dispatcher.look_anew()
        else:  # nothing was offered yet, so whatever comes first may begin at once
            self._dispatcher.wake()
        self._sweeper.expect(0)

    def _wake_dispatcher(self) -> None:
        self._dispatcher.wake()

    # --- life ---------------------------------------------------------------------------------------------------------

    async def start(self) -> None:
        """Return when the store is open, what dead processes held is taken over, and everything is in motion.

        It may be called again, by many tasks at once, and after `stop`. Raises as `Lifetime.start`.
        """
        await self._lifetime.start()

    async def stop(self) -> None:
        """Return when everything is closed. How long that takes is bounded by the settings, and by the store.

        It may be called again, and by many tasks at once. A caller who is cancelled meanwhile stays until the end.
        """
        await self._lifetime.stop()

    @asynccontextmanager
    async def _opened(self) -> AsyncGenerator[None]:
        """Entered and left by the task of one life."""
        stack = AsyncExitStack()
        self._start = Recovery("opening")
        give_up_s = self._clock.monotonic() + self._settings.startup_retry_s
        try:
            await self._insist(lambda: stack.enter_async_context(self._store), give_up_s)
            self._store.listen(self._signalled)
            stack.callback(self._store.unlisten, self._signalled)
            group = await stack.enter_async_context(asyncio.TaskGroup())
            self.hub.open()
            self._executions.open()
            self.combiner.open()
            combining = group.create_task(self.combiner.run(), name="awaken combiner")
            stack.push_async_callback(self._close_combiner, combining)
            if not self._store.capabilities.exclusive:
                self._life_sign = self._signs.show(self._slots.consumer)
                stack.callback(self._signs.hide)
                stack.push_async_callback(self._neighbours.leave, self._slots.consumer)
                await self._insist(self._neighbours.beat, give_up_s)  # what others limit holds for the first run here
            if self._executes:
                self._start = Recovery("taking_over")
                await self._insist(self._take_over, give_up_s)
            stack.callback(_cancel_all, self._set_in_motion(group))
            if isinstance(self._clock, SystemClock):  # the time of another clock passes when somebody says so
                stack.enter_context(LoopWatch(self._woke))
            if self._executes:
                self._dispatcher.resume()
            self._ready = (self._clock.now(), self._clock.monotonic())
            yield
            await self._leave()
        except GeneratorExit:  # its event loop is closed, and this is being thrown away: nothing can be awaited
            stack.pop_all()
            raise
        finally:
            await stack.aclose()  # without the error that may be on its way: a group would wrap it

    async def _insist(self, step: Callable[[], Awaitable[object]], give_up_s: float) -> None:
        """Do what can be repeated, again and again until that instant while the store is not available."""
        is_logged, phase = False, self._start
        while True:
            try:
                await step()
                return
            except StoreUnavailable as error:
                left_s = give_up_s - self._clock.monotonic()
                if left_s <= 0 or isinstance(error, StoreRefused):
                    raise
                if not is_logged:
                    _log.warning("the start waits, for up to %s: %s", lasting(left_s), error)
                    is_logged = True
                self._start = Recovery("waiting", detail=str(error))
            await sleep(self._clock, min(self._settings.store_retry_s, left_s))
            self._start = phase

    def _woke(self) -> None:
        """The machine slept, or this process was stopped: no timer has noticed."""
        self._keeper.look()
        self._sweeper.expect(0)

    async def _take_over(self) -> None:
        """Take back claims whose lease has ended, and what an earlier life of this mailbox could not settle. A store
        that only this process uses has taken back everything else when it was opened, and nothing of it is renewed.
        Then the schedules that the program declares are stored, and those that are due tick. May be repeated.
        """
        if taken := await self._sweeper.take_back():
            _log.info("took over %d unfinished dispatches", taken)
        self._sweeper.is_leaving = False
        await self.schedules.declare()
        await self._sweeper.tick()

    def _set_in_motion(self, group: asyncio.TaskGroup) -> list[asyncio.Task[None]]:
        self.outbox.look()
        loops: dict[str, Callable[[], Awaitable[None]]] = {"outbox": self.outbox.run_forever}
        if self._executes:
            loops |= {"dispatcher": self._dispatcher.run_forever, "sweeper": self._sweeper.run_forever}
            loops["auditor"] = self.auditor.run_forever
            if self._maintenance is not None:
                loops["maintenance"] = self._maintenance.run_forever
        if not self._store.capabilities.exclusive:
            loops["reader poll"] = lambda: self.hub.poll_forever(self._settings.poll_s)
            loops["beat"] = self._neighbours.beat_forever
            if self._executes:
                loops["neighbours"] = self._neighbours.watch_forever
            if self._executes:
                loops |= {"keeper": self._keeper.renew_forever, "lease watch": self._keeper.watch_forever}
                loops["lease doubts"] = self._keeper.confirm_forever
        tasks = {
            name: group.create_task(self._supervise(name, loop), name=f"awaken {name}") for name, loop in loops.items()
        }
        self._rounds = tasks.get("maintenance")
        return [*tasks.values()]

    async def _supervise(self, name: str, loop: Callable[[], Awaitable[None]]) -> None:
        while True:
            try:
                await loop()
            except Exception:
                _log.exception("the %s failed; it starts again", name)
                await sleep(self._clock, _SUPERVISOR_PAUSE_S)

    async def _leave(self) -> None:
        """Take no more work, let agents finish for a while, then have the rest handed back."""
        self._dispatcher.pause()
        self._sweeper.is_leaving = True
        self.hub.close()
        await self._executions.finished(self._settings.drain_s)
        if self._rounds is not None:
            self._rounds.cancel()  # beside the agents, and not behind them: what a user's round takes adds nothing
        while True:
            await self._executions.hand_back()
            await self.combiner.quiet()  # a claim on its way is answered, and starts what must be handed back
            if self._executions.are_over:
                break
        if self._rounds is not None:
            await asyncio.wait((self._rounds,))

    async def _close_combiner(self, combining: asyncio.Task[None]) -> None:
        self.combiner.close()
        await asyncio.wait((combining,))


def _cancel_all(loops: list[asyncio.Task[None]]) -> None:
    for loop in loops:
        loop.cancel()
