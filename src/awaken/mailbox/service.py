"""The mailbox: accept runs, stop them, watch them, and keep everything moving while the process lives.

Above: HTTP, the in-program `Awaken`. Below: the combiner and the store for truth; dispatcher, keeper and sweeper for
progress; one supervised task per execution.
Holds: when a method that changes something has returned, the change is durable. Claims are started from the outcome of
the transition that won them, so a caller who goes away while it waits strands nothing.

Source: spec/mailbox.md 3 as amended by the design; promises 1, 3, 7, 8, 9.
"""

from __future__ import annotations

import asyncio
import hashlib
import logging
from collections.abc import Awaitable, Callable, Sequence
from contextlib import AsyncExitStack
from types import TracebackType
from typing import Any, Literal, Self

import msgspec

from awaken.domain.clock import Alarm, Clock, Instant, SystemClock, sleep
from awaken.domain.dispatch import DEFAULT_PRIORITY, Dispatch
from awaken.domain.errors import (
    AlreadyExists,
    QueueFull,
    RunNotFound,
    RunNotOpen,
    ThreadNotFound,
    Unavailable,
    ValidationError,
)
from awaken.domain.ids import DEFAULT_SCOPE, AgentId, DispatchId, Ids, RunId, Scope, ThreadId, system_chance
from awaken.domain.message import Message, check_messages
from awaken.domain.run import Intent, Origin, Run, RunMode, RunOptions, RunRequest, RunStatus, Trace
from awaken.domain.thread import Thread, ThreadInfo
from awaken.executors.registry import Agents
from awaken.mailbox.dispatcher import Dispatcher
from awaken.mailbox.keeper import Keeper
from awaken.mailbox.observer import Observer, Unobserved
from awaken.mailbox.port import finish
from awaken.mailbox.reader import Hub, Reader
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
    Conflict,
    Full,
    Interrupt,
    Interrupted,
    Missing,
    Offer,
    Outcome,
    Reclaimed,
    Replayed,
    SaveThread,
    Settle,
    Settled,
    Submit,
    Submitted,
    ThreadSaved,
    Transition,
)

_log = logging.getLogger("awaken.mailbox")
_SUPERVISOR_PAUSE_S = 1.0

State = Literal["new", "starting", "ready", "stopping", "stopped"]
StopState = Literal["requested", "acknowledged", "stopped"]


class RunSubmission(msgspec.Struct, frozen=True, kw_only=True):
    """What a caller asks for. A message with an empty id gets one; a blank thread id makes a new thread."""

    messages: tuple[Message, ...]
    thread_id: str = ""
    scope: Scope = DEFAULT_SCOPE
    agent_id: str | None = None
    run_id: str | None = None
    dedupe_key: str | None = None
    delay_s: float = 0.0
    available_at: Instant | None = None
    priority: int = DEFAULT_PRIORITY
    max_attempts: int | None = None
    metadata: dict[str, Any] = {}
    overrides: Any = None
    create_thread: bool = True
    """False: a thread that does not exist is an error."""
    trace: Trace = Trace()


class Submission(msgspec.Struct, frozen=True):
    """What was accepted. `running` when this very run was claimed at once; `replayed` when it had been accepted before."""

    run: Run
    dispatch: Dispatch | None
    status: Literal["running", "queued"]
    replayed: bool = False


class Cancellation(msgspec.Struct, frozen=True):
    """How far a stop has come; `run` None when there was nothing to stop."""

    state: StopState
    run: Run | None


class Interruption(msgspec.Struct, frozen=True):
    """The thread's new epoch, the run that is being stopped, the runs that never will run, and how far the stop is."""

    epoch: int
    active_run_id: RunId | None
    superseded: tuple[RunId, ...]
    cancel: StopState


class Health(msgspec.Struct, frozen=True):
    state: State
    durability: str
    store: str
    executing: int
    free_slots: int


class Mailbox:
    """One per process. Entered means recovered and ready; left means drained and quiet."""

    def __init__(
        self,
        store: Store,
        agents: Agents,
        *,
        settings: MailboxSettings | None = None,
        clock: Clock | None = None,
        ids: Ids | None = None,
        observer: Observer | None = None,
        executes: bool = True,
    ) -> None:
        self.settings = settings or MailboxSettings()
        self.settings.check()
        self.store = store
        self.agents = agents
        self.clock: Clock = clock or SystemClock()
        self.ids = ids or Ids(self.clock, system_chance())
        self.consumer = self.ids.consumer_id()
        self.state: State = "new"
        self._executes = executes
        self._observer: Observer = observer or Unobserved()
        self._combiner = Combiner(store, self.clock, self._applied, self._failed)
        self._hub = Hub(store, self.clock)
        self._slots = Slots(
            self.settings.max_concurrent_runs, self.clock, self.ids, self.consumer, self.settings.lease_ms
        )
        self._keeper = Keeper(self._combiner, self.clock, self.settings)
        self._sweeper = Sweeper(self._combiner, store, self.clock, self.settings, self._wake_dispatcher)
        self._dispatcher = Dispatcher(
            self._combiner, self._slots, self.clock, self.settings, self.consumer, self._sweeper.expect
        )
        self._workshop = Workshop(
            self._combiner, store, agents, self.clock, self.ids, self.settings, self._slots, self._observer
        )
        self._executions: dict[tuple[Scope, DispatchId], Execution] = {}
        self._idle = Alarm(self.clock)
        self._stack = AsyncExitStack()
        self._group: asyncio.TaskGroup | None = None
        self._loops: list[asyncio.Task[None]] = []

    # --- submitting ---------------------------------------------------------------------------------------------------

    async def submit(self, request: RunSubmission) -> Submission:
        """Accept a run: it is durable when this returns, and runs at once where a slot and the thread are free.

        Raises:
            ValidationError: The request can never be accepted (UnknownAgent among them); nothing was stored.
            ThreadNotFound: `create_thread` is False and there is no such thread.
            AlreadyExists: An id is taken by something that differs.
            QueueFull: The thread's queue is at its bound.
            Unavailable: The mailbox is not running.
        """
        self._require_ready()
        transition = await self._submit_transition(request)
        outcome = await self._combiner.ask(transition)
        match outcome:
            case Submitted(run=run, dispatch=dispatch, claimed=claimed):
                running = claimed is not None and claimed.run.run_id == run.run_id
                return Submission(run, dispatch, "running" if running else "queued")
            case Replayed(run=run, dispatch=dispatch):
                queued = run.status is RunStatus.CREATED
                return Submission(run, dispatch, "queued" if queued else "running", replayed=True)
            case Missing():
                raise ThreadNotFound(transition.thread_id)
            case Conflict(what=what, id=taken):
                raise AlreadyExists(what, taken)
            case Full(limit=limit):
                raise QueueFull(transition.thread_id, limit)
            case _:
                raise AssertionError(f"a submit cannot end in {type(outcome).__name__}")

    async def _submit_transition(self, request: RunSubmission) -> Submit:
        if not request.messages:
            raise ValidationError("at least one message is required", loc=("body", "messages"))
        thread_id = request.thread_id.strip()
        fresh = not request.run_id and all(not message.id for message in request.messages)
        messages = tuple(self._with_id(message) for message in request.messages)
        check_messages(messages)
        agent_id = await self._agent_for(request, ThreadId(thread_id))
        run_request = RunRequest(
            intent=Intent(agent_id),
            input_message_ids=tuple(message.id for message in messages),
            options=RunOptions() if request.overrides is None else RunOptions(request.overrides),
            trace=normalise_mode(request.trace),
        )
        run_request.check()
        delayed = request.delay_s > 0 or request.available_at is not None
        return Submit(
            scope=request.scope,
            thread_id=ThreadId(thread_id) if thread_id else self.ids.thread_id(),
            run_id=RunId(request.run_id) if request.run_id else self.ids.run_id(),
            dispatch_id=self.ids.dispatch_id(),
            request=run_request,
            messages=messages,
            digest=_digest(request, agent_id) if request.run_id else "",
            metadata=request.metadata,
            priority=request.priority,
            max_attempts=request.max_attempts or self.settings.max_attempts,
            dedupe_key=request.dedupe_key,
            delay_ms=round(request.delay_s * 1000),
            available_at=request.available_at,
            create_thread=request.create_thread or not thread_id,
            fresh_ids=fresh,
            max_queued=self.settings.max_queued_per_thread,
            offer=None if delayed else self._offer(),
        )

    def _with_id(self, message: Message) -> Message:
        return message if message.id else msgspec.structs.replace(message, id=self.ids.message_id())

    async def _agent_for(self, request: RunSubmission, thread_id: ThreadId) -> AgentId:
        asked = None if request.agent_id is None else AgentId(request.agent_id)
        last = None
        if asked is None and thread_id and len(self.agents.ids()) > 1:
            latest = await self.store.latest_run(request.scope, thread_id)
            last = None if latest is None else latest.agent_id
        return self.agents.resolve(asked, last)

    def _offer(self) -> Offer | None:
        """A free slot for what is being submitted, unless others must go first."""
        may = self._executes and self.state == "ready" and not self._dispatcher.has_backlog
        return self._slots.offer() if may and self._slots.free > 0 else None

    def _next_offer(self) -> Offer | None:
        """The settling run's own slot, for its thread's next dispatch."""
        may = self.state == "ready" and not self._dispatcher.has_backlog
        return self._slots.offer() if may else None

    async def save_thread(
        self,
        scope: Scope,
        thread_id: str,
        info: ThreadInfo,
        *,
        messages: Sequence[Message] = (),
        if_exists: Literal["raise", "keep", "replace"] = "raise",
    ) -> tuple[Thread, bool]:
        """Create a thread (a blank id is minted), with messages that belong to no run; and whether it is new.

        Raises:
            ValidationError: The id, info or a message is unacceptable.
            AlreadyExists: The thread, or the id of a message, is taken.
        """
        self._require_ready()
        named = ThreadId(thread_id.strip()) or self.ids.thread_id()
        info.check(named)
        stored = tuple(self._with_id(message) for message in messages)
        check_messages(stored)
        outcome = await self._combiner.ask(
            SaveThread(scope=scope, thread_id=named, info=info, messages=stored, if_exists=if_exists)
        )
        if isinstance(outcome, Conflict):
            raise AlreadyExists(outcome.what, outcome.id)
        assert isinstance(outcome, ThreadSaved), "a thread is saved or in conflict"
        return await self.get_thread(scope, named), outcome.created

    # --- stopping -----------------------------------------------------------------------------------------------------

    async def cancel(self, scope: Scope, run_id: RunId, *, wait_s: float = 0.0) -> Cancellation:
        """Stop one run. The request is durable when this returns; with `wait_s` it waits that long for the end.

        Raises:
            RunNotFound: There is no such run.
            RunNotOpen: It ended before, and not by being cancelled.
        """
        self._require_ready()
        run = await self.get_run(scope, run_id)
        outcome = await self._combiner.ask(Cancel(scope=scope, thread_id=run.thread_id, run_id=run_id))
        if not isinstance(outcome, CancelResult):
            raise RunNotFound(run_id)
        run = outcome.run
        if outcome.state == "stopped":
            if not outcome.appended and (run.termination is None or run.termination.type != "cancelled"):
                raise RunNotOpen(run_id, run.status)
            return Cancellation("stopped", run)
        if wait_s > 0:
            run = await self.wait(scope, run_id, timeout_s=wait_s)
        return Cancellation("stopped" if run.status is RunStatus.DONE else "requested", run)

    async def cancel_thread(self, scope: Scope, thread_id: ThreadId, *, wait_s: float = 0.0) -> Cancellation:
        """Stop the thread's active run and leave its queue alone. `stopped` without a run when none is active.

        Raises:
            ThreadNotFound: There is no such thread.
        """
        await self.get_thread(scope, thread_id)
        active = await self.store.active_dispatch(scope, thread_id)
        if active is None:
            return Cancellation("stopped", None)
        try:
            return await self.cancel(scope, active.run_id, wait_s=wait_s)
        except RunNotOpen:
            return Cancellation("stopped", None)

    async def interrupt(self, scope: Scope, thread_id: ThreadId, *, wait_s: float = 0.0) -> Interruption:
        """Clear the thread: supersede its queue and stop its running run. Never fails because an owner is gone.

        Raises:
            ThreadNotFound: There is no such thread.
        """
        self._require_ready()
        await self.get_thread(scope, thread_id)
        outcome = await self._combiner.apply(Interrupt(scope=scope, thread_id=thread_id), Interrupted)
        active_run_id = None if outcome.active is None else outcome.active.run_id
        state: StopState = "stopped"
        if active_run_id is not None:
            run = await self.wait(scope, active_run_id, timeout_s=wait_s)
            state = "stopped" if run.status is RunStatus.DONE else "requested"
        superseded = tuple(dispatch.run_id for dispatch in outcome.superseded)
        return Interruption(outcome.epoch, active_run_id, superseded, state)

    # --- reading ------------------------------------------------------------------------------------------------------

    async def get_thread(self, scope: Scope, thread_id: ThreadId) -> Thread:
        """Raises ThreadNotFound."""
        thread = await self.store.load_thread(scope, thread_id)
        if thread is None:
            raise ThreadNotFound(thread_id)
        return thread

    async def get_run(self, scope: Scope, run_id: RunId) -> Run:
        """Raises RunNotFound."""
        run = await self.store.load_run(scope, run_id)
        if run is None:
            raise RunNotFound(run_id)
        return run

    def read_thread(self, scope: Scope, thread_id: ThreadId, *, after: int = 0) -> Reader:
        """Everything of the thread after the event seq `after`, then live without end."""
        return self._hub.reader(scope, thread_id, after=after)

    def read_run(self, scope: Scope, run: Run, *, after: int = 0) -> Reader:
        """The run's events after the seq `after`, until its last one."""
        start = max(after, run.first_event_seq - 1)
        return self._hub.reader(scope, run.thread_id, after=start, run_id=run.run_id)

    async def wait(self, scope: Scope, run_id: RunId, *, timeout_s: float) -> Run:
        """The run when it is done or waiting, or as it is after `timeout_s` seconds. Raises RunNotFound."""
        run = await self.get_run(scope, run_id)
        deadline_s = self.clock.monotonic() + timeout_s
        async with self._hub.reader(scope, run.thread_id, after=run.updated_seq - 1, run_id=run_id) as reader:
            while not reader.ended and not reader.is_cut:
                left_s = deadline_s - self.clock.monotonic()
                if left_s <= 0 or not await reader.next_rows(left_s):
                    break
        return await self.get_run(scope, run_id)

    def health(self) -> Health:
        capabilities = self.store.capabilities
        return Health(
            self.state, capabilities.durability, capabilities.kind, self._slots.executing, self._slots.free
        )

    @property
    def reader_count(self) -> int:
        return self._hub.reader_count

    def close_streams(self) -> None:
        """Cut off every reader without telling it that anything ended, so that clients resume elsewhere or later."""
        self._hub.close()

    # --- life ---------------------------------------------------------------------------------------------------------

    async def __aenter__(self) -> Self:
        if self.state not in ("new", "stopped"):
            raise Unavailable(f"the mailbox is {self.state} already", code="starting")
        self.state = "starting"
        try:
            await self._stack.enter_async_context(self.store)
            self._group = await self._stack.enter_async_context(asyncio.TaskGroup())
            combining = self._group.create_task(self._combiner.run(), name="awaken combiner")
            self._stack.push_async_callback(self._close_combiner, combining)
            if self._executes:
                await self._recover()
        except BaseException:
            self.state = "stopped"
            await self._stack.aclose()
            raise
        self.state = "ready"
        return self

    async def _recover(self) -> None:
        """Take back what dead processes held, then start the loops that keep everything moving."""
        taken = await self._sweeper.reclaim(abandoned=self.store.capabilities.exclusive)
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
                await sleep(self.clock, _SUPERVISOR_PAUSE_S)

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.state = "stopping"
        await finish(self._drain())
        await self._stack.__aexit__(kind, error, trace)
        self._group = None
        self.state = "stopped"

    async def _drain(self) -> None:
        """Take no more work, let agents finish for a while, hand back the rest."""
        self._dispatcher.paused = True
        self.close_streams()
        deadline_s = self.clock.monotonic() + self.settings.drain_s
        while self._executions and (left_s := deadline_s - self.clock.monotonic()) > 0:
            await self._idle.wait(left_s)
        for execution in list(self._executions.values()):
            execution.stop("handover")
        while self._executions:
            await self._idle.wait()
        for loop in self._loops:
            loop.cancel()
        self._loops.clear()

    async def _close_combiner(self, combining: asyncio.Task[None]) -> None:
        self._combiner.close()
        await asyncio.wait((combining,))

    def _require_ready(self) -> None:
        if self.state == "ready":
            return
        code = "stopping" if self.state in ("stopping", "stopped") else "starting"
        raise Unavailable(f"the mailbox is {self.state}; enter it with `async with` first", code=code)

    # --- what applied transitions set in motion -----------------------------------------------------------------------

    def _applied(self, transition: Transition, outcome: Outcome) -> None:
        """After the commit, before the caller hears: publish, start what was claimed, wake what must move."""
        if outcome.appended:
            self._hub.publish(outcome.appended)
        match transition:
            case Submit() | Settle():
                self._offered(transition.offer, outcome)
            case Claim():
                self._claimed(transition, outcome)
            case Cancel() | Interrupt():
                self._stop_own(outcome)
            case _:
                if isinstance(outcome, Reclaimed) and outcome.items:
                    self._dispatcher.wake()
        self._observer.applied(transition, outcome)

    def _failed(self, transition: Transition) -> None:
        """The store could not say what became of it: whatever it promised is not ours."""
        if isinstance(transition, Submit | Settle) and transition.offer is not None:
            self._slots.give_back(transition.offer.token)
        elif isinstance(transition, Claim):
            for slot in transition.slots:
                self._slots.give_back(slot.token)
        self._observer.failed(transition)

    def _offered(self, offer: Offer | None, outcome: Outcome) -> None:
        claimed, ready_at = None, None
        if isinstance(outcome, Submitted | Settled):
            claimed, ready_at = outcome.claimed, outcome.ready_at
        if claimed is not None:
            self._start(claimed)
        elif offer is not None:
            self._slots.give_back(offer.token)
        if ready_at is not None:
            self._ready(ready_at)

    def _claimed(self, transition: Claim, outcome: Outcome) -> None:
        assert isinstance(outcome, ClaimedSome), "a claim answers with what it claimed"
        for claimed in outcome.claims:
            self._start(claimed)
        for slot in transition.slots[len(outcome.claims) :]:
            self._slots.give_back(slot.token)

    def _stop_own(self, outcome: Outcome) -> None:
        """In this process the owner learns of a stop at once."""
        if isinstance(outcome, Interrupted) and outcome.active is not None:
            dispatch, reason = outcome.active, "interrupt"
            own = [each for each in self._executions.values() if each.lease.token == dispatch.claim_token]
            for execution in own:
                execution.stop(reason)
        elif isinstance(outcome, CancelResult) and outcome.state == "requested":
            for execution in [
                each for each in self._executions.values() if each.claimed.run.run_id == outcome.run.run_id
            ]:
                execution.stop("cancel")

    def _ready(self, ready_at: Instant) -> None:
        if ready_at > self.clock.now():
            self._sweeper.expect(ready_at)
        else:
            self._dispatcher.wake()

    def _wake_dispatcher(self) -> None:
        self._dispatcher.wake()

    def _start(self, claimed: Claimed) -> None:
        asked_s = self._slots.take(claimed.token)
        execution = Execution(claimed, self._workshop)
        self._executions[claimed.scope, claimed.dispatch.dispatch_id] = execution
        self._keeper.hold(execution, asked_s)
        if self.state == "stopping":
            execution.stop("handover")
        assert self._group is not None, "claims are won only while the mailbox is entered"
        self._group.create_task(self._execute(execution))

    async def _execute(self, execution: Execution) -> None:
        """One run's task: whatever happens in it, its slot comes back and its neighbours do not notice."""
        try:
            await execution.run(self._next_offer)
        except Exception:
            _log.exception("run %s: the worker failed; its lease will return it", execution.claimed.run.run_id)
        finally:
            self._keeper.release(execution)
            key = (execution.lease.scope, execution.lease.dispatch_id)
            if self._executions.get(key) is execution:
                del self._executions[key]
            self._slots.done()
            if self._dispatcher.has_backlog:
                self._dispatcher.wake()
            if not self._executions:
                self._idle.set()


def normalise_mode(trace: Trace) -> Trace:
    """A background submit runs `scheduled`, one from inside the server `internal_wake`; a set mode stays (3.2)."""
    if trace.mode is not RunMode.FOREGROUND:
        return trace
    mode = RunMode.INTERNAL_WAKE if trace.origin is Origin.INTERNAL else RunMode.SCHEDULED
    return msgspec.structs.replace(trace, mode=mode)


def _digest(request: RunSubmission, agent_id: AgentId) -> str:
    """Of what was asked, so that the same request under the same run id is recognised and another one refused."""
    asked = msgspec.structs.replace(request, agent_id=agent_id)
    return hashlib.sha256(msgspec.json.encode(asked, order="deterministic")).hexdigest()

