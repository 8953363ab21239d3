"""The mailbox: accept runs, stop them, watch them, and keep everything moving while the process lives.

Above: HTTP, the in-program `Awaken`. Below: the engine, which owns everything that moves; the store, for reads.
Holds: when a method that changes something has returned, the change is durable.

Source: docs/concepts/durability.md.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from types import TracebackType
from typing import Final, Literal, Self, get_args

import msgspec
from msgspec.structs import replace

from awaken.domain.checking import MAX_FEW, checked_few, checked_seconds, measured, shown
from awaken.domain.clock import Alarm, Clock, SystemClock
from awaken.domain.delivery import Delivery, check_release_wait
from awaken.domain.dispatch import Dispatch
from awaken.domain.errors import (
    AlreadyAccepted,
    AlreadyExists,
    AwakenError,
    DeliveryBlocked,
    DispatchEnded,
    MessageNotFound,
    NotFound,
    QueueFull,
    RunNeverBegun,
    RunNotFound,
    RunNotOpen,
    RunNotWaiting,
    ThreadBusy,
    ThreadGone,
    ThreadNotFound,
    TicketNotFound,
    Unavailable,
    Unsupported,
    ValidationError,
    WatchedNotFound,
)
from awaken.domain.ids import (
    AgentId,
    DispatchId,
    Ids,
    MessageId,
    RunId,
    Scope,
    ThreadId,
    checked_id,
    derived_id,
    system_chance,
)
from awaken.domain.message import Message, Role, Text, Visibility, check_messages
from awaken.domain.outbox import Begin
from awaken.domain.run import (
    CREATED,
    DONE,
    FOREGROUND,
    Adapter,
    Intent,
    Origin,
    Run,
    RunMode,
    RunRequest,
    Trace,
)
from awaken.domain.thread import Thread, ThreadInfo, ThreadStatus
from awaken.domain.traceparent import nearest_traceparent
from awaken.domain.watching import split_name
from awaken.domain.worker import ProcessRole, WorkerRecord
from awaken.executors.registry import Agents, Meant
from awaken.mailbox.again import Again
from awaken.mailbox.attendance import Attendance
from awaken.mailbox.attention import Attention, look
from awaken.mailbox.auditor import Auditor
from awaken.mailbox.dead_letters import DeadLetters
from awaken.mailbox.decisions import Decisions, refusal_of
from awaken.mailbox.dispatches import Dispatches
from awaken.mailbox.engine import Draining, Engine, Health
from awaken.mailbox.explain import explain_run
from awaken.mailbox.life_sign import FileSigns, LifeSigns
from awaken.mailbox.lifetime import State
from awaken.mailbox.maintenance import Rounds
from awaken.mailbox.messages import Messages
from awaken.mailbox.observer import Observer, observers_of
from awaken.mailbox.reader import EndOfRun, Reader, call_off
from awaken.mailbox.schedules import Schedules
from awaken.mailbox.seen import SeenRun, seen_runs
from awaken.mailbox.settings import MailboxSettings
from awaken.mailbox.submission import Promised, RunSubmission, Submission
from awaken.mailbox.sweeper import Removed, Swept
from awaken.mailbox.threads import Threads
from awaken.mailbox.timeline import DrawnRun, draw
from awaken.mailbox.watch import Watch
from awaken.mailbox.why import Explanation
from awaken.store.contract import JoinsTransactions, Store
from awaken.store.transitions import (
    Blocked,
    Busy,
    Cancel,
    CancelResult,
    Conflict,
    DispatchMoved,
    Full,
    Gone,
    Interrupt,
    Interrupted,
    Known,
    Missing,
    NotOpen,
    NotWaiting,
    Outcome,
    Replayed,
    Rulings,
    SaveThread,
    Staged,
    Submit,
    Submitted,
    ThreadSaved,
    Undecided,
)

StopState = Literal["requested", "acknowledged", "stopped"]
IfExists = Literal["raise", "keep", "fill", "replace"]
_IF_EXISTS: Final = get_args(IfExists)

_NOBODY: Final = "nobody"
"""Stands for an agent in a request that can only be answered as a repetition."""
_LAST_SEQ: Final = 2**62
FATE_CHECK_S: Final = 1.0
"""Between two looks at a transaction of a caller's in which a run was submitted that somebody waits for."""


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
        role: ProcessRole = "all",
        maintenance: Rounds | None = None,
        signs: LifeSigns | None = None,
    ) -> None:
        """`signs`: how it is seen to live by other processes of its machine, on a store that those use too."""
        self.settings = MailboxSettings() if settings is None else settings
        if not isinstance(self.settings, MailboxSettings):  # pyright: ignore[reportUnnecessaryIsInstance]
            raise ValidationError(f"settings are MailboxSettings(…), and not {shown(settings)}")
        self.settings = self.settings.on_store(exclusive=store.capabilities.exclusive)
        self.store = store
        self.agents = agents
        self.clock: Clock = clock or SystemClock()
        self.ids = ids or Ids(self.clock, system_chance())
        self.observers: Final = observers_of(observer)
        """Who is told of what happens here."""
        self._engine = Engine(
            store,
            agents,
            settings=self.settings,
            clock=self.clock,
            ids=self.ids,
            observer=self.observers,
            role=role,
            maintenance=maintenance,
            signs=signs or FileSigns(),
        )
        self.attendance: Final = Attendance(self._engine.combiner.ask, self.clock)
        """Who watches runs that are to be stopped when nobody does."""
        self.threads: Final = Threads(self._engine, store, self.ids, self.save_thread)
        """What is done to threads beside running them."""
        self.messages: Final = Messages(self._engine, store, self.clock, self.ids, self.submit)
        """Messages for runs that are there: sent, waited for, changed."""
        self.decisions = Decisions(self._engine, store, self.ids)
        """Of what runs wait for."""
        self.again: Final = Again(self._engine, store, self.submit)
        """Runs whose input is in the conversation already."""
        self.dead_letters: Final = DeadLetters(self._engine, store, self.again)
        """Runs that were given up."""
        self.dispatches: Final = Dispatches(self._engine, store)
        """What is queued and executed."""

    async def start(self) -> None:
        """Return when recovered and ready. May be called again, by many tasks at once, and after `stop`.

        Raises:
            Unavailable: It was stopped while it started.
            StoreError: The store could not be opened or recovered; nothing is left open, and it may be tried again.
        """
        await self._engine.start()

    async def stop(self) -> None:
        """Return when agents have ended, handed over or been abandoned, and everything is closed: after at most
        `settings.leave_s`, and what the store takes. May be called again, and by many tasks at once.

        A caller who is cancelled meanwhile stays until the end.
        """
        self.attendance.close()
        await self._engine.stop()

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.stop()

    @property
    def state(self) -> State:
        return self._engine.state

    @property
    def auditor(self) -> Auditor:
        return self._engine.auditor

    @property
    def schedules(self) -> Schedules:
        return self._engine.schedules

    @property
    def role(self) -> ProcessRole:
        return self._engine.role

    def act_as(self, role: ProcessRole) -> None:
        """Be that from the next start on. Raises Unavailable while it is started."""
        self._engine.act_as(role)

    def drain(self) -> Draining:
        """Begin nothing in this process until it is undrained, or ends: what is submitted is accepted, and waits; what
        executes goes on, and what is being claimed at this moment may still begin. A stop and a start change nothing of
        it, and it may be asked before the first start, again, and from any thread.
        """
        return self._engine.drain()

    def undrain(self) -> Draining:
        """Begin what is due again, at once."""
        return self._engine.undrain()

    # --- submitting ---------------------------------------------------------------------------------------------------

    async def submit(self, request: RunSubmission, *, waits: bool = False) -> Submission:
        """Accept a run: it is durable when this returns, and runs at once where a slot and the thread are free.

        With `waits` its end is listened for from before it exists, so that it need not be read in order to miss
        nothing. Whoever asks for that hands `end` to `wait`, next. (Measured with ten times as many conversations as
        slots: 2.5 times as many runs a second as with one read for each run that is queued.)

        Raises:
            ValidationError: The request can never be accepted (UnknownAgent among them); nothing was stored.
            ThreadNotFound: `create_thread` is False and there is no such thread.
            AlreadyExists: An id is taken by something that differs.
            QueueFull: The thread's queue, or what is pending in it, is at its bound.
            ThreadBusy, RunNotOpen, RunNotWaiting, DeliveryBlocked: What the mode asks for is not possible now.
            ThreadBusy: Also when the run that is stopped has not let go within `release_wait_s`: then this one ends
                cancelled, and what was cleared away stays so.
            RunNotFound: It is for a run that does not exist.
            TicketNotFound, UnknownToolCall, DecisionConflict, TicketExpired, TicketWithdrawn: Of a decision in it.
            Unavailable: The mailbox is not running.
            WrongLoop: It runs on another event loop, or in another thread; as from every other method here.
        """
        submission = await self._accepted(request, waits)
        if request.release_wait_s is not None and submission.stops is not None and submission.status == "queued":
            await self._released(request.scope, submission, submission.stops, request.release_wait_s)
        return submission

    async def post(self, request: RunSubmission, connection: object) -> Promised:
        """Accept a run in the transaction that is open on the caller's connection: its errand is written there, and
        delivered once that is committed, by whichever process comes to it. The run opens for itself, and goes on with
        no other one. Neither this mailbox nor the store need have been started.

        Raises:
            Unsupported: The store is not one whose database callers use too.
            ValidationError: The request can never be accepted, or asks for what only an answer at once could tell; or
                that is no connection that is known, or has no open transaction.
            Exception: What the connection's library raises where the database refuses.
        """
        if not isinstance(self.store, JoinsTransactions):
            kind = self.store.capabilities.kind
            raise Unsupported("connection=", f"a store on Postgres joins a transaction of yours, and this is {kind}")
        request, _ = _sound(request)
        _check_promise(request)
        may_read = request.agent_id is None and self.state == "ready"
        last = await self._last_agent(request) if may_read else None
        meant, refusal = self._agent_of(request, last)
        if refusal is not None:
            raise refusal
        submit = self._transition(request, meant, offers=False)
        trace = replace(submit.request.trace, traceparent=nearest_traceparent(submit.request.trace.traceparent))
        errand = Begin(
            run_id=submit.run_id,
            dispatch_id=submit.dispatch_id,
            request=replace(submit.request, trace=trace),
            messages=submit.messages,
            metadata=submit.metadata,
            delivery=submit.delivery,
            digest=_digest(request),
            create_thread=submit.create_thread,
        )
        posted = await self.store.post(connection, submit.scope, submit.thread_id, errand)
        return Promised(submit.scope, submit.run_id, submit.thread_id, errand.digest, posted)

    async def appeared(self, promised: Promised, *, timeout_s: float | None = None) -> Run | None:
        """The run of a `post` once it is there; None when it is not within `timeout_s` seconds.

        Raises:
            RunNeverBegun: Its transaction was rolled back, or what it asked for was refused when it was delivered.
            AlreadyExists: Its id is that of another run.
            ValidationError: `timeout_s` is not a number.
            Unavailable: The mailbox is not running, or stops.
        """
        self._engine.require_ready()
        if timeout_s is not None:
            timeout_s = checked_seconds(timeout_s, what="timeout_s")
        deadline_s = None if timeout_s is None else self.clock.monotonic() + timeout_s
        scope, thread_id = promised.scope, promised.thread_id
        _, seq = await self.store.event_bounds(scope, thread_id)
        async with self._engine.hub.reader(scope, thread_id, after=seq) as reader:
            while True:
                run = await self._look_for(promised)
                if run is not None:
                    return run
                left_s = FATE_CHECK_S if deadline_s is None else deadline_s - self.clock.monotonic()
                if left_s <= 0:
                    return None
                await reader.next_rows(min(left_s, FATE_CHECK_S))
                if reader.is_cut:
                    raise Unavailable(
                        "awaken has stopped; what was submitted is not lost, ask again later", code="stopping"
                    )

    async def _look_for(self, promised: Promised) -> Run | None:
        """The run, if it is there; None while it may still come. Raises as `appeared`."""
        store, run_id = self.store, promised.run_id
        run = await store.load_run(promised.scope, run_id)
        if run is None:
            assert isinstance(store, JoinsTransactions), "it has joined one"
            fate = await store.fate_of(promised.posted)
            if fate == "rolled_back":
                raise RunNeverBegun(run_id, "the transaction in which it was submitted was rolled back")
            if fate != "gone":
                return None
            run = await store.load_run(promised.scope, run_id)  # it may have been delivered between the two reads
        if run is None:
            raise RunNeverBegun(
                run_id,
                "its transaction went back to a savepoint before it; or it was answered with a run that was there"
                " already; or it was refused, and the log of the process that delivered it says why",
            )
        if (run.thread_id, run.request_digest) != (promised.thread_id, promised.digest):
            raise AlreadyExists("run", run_id)
        return run

    async def _released(self, scope: Scope, submission: Submission, stopped: RunId, wait_s: float) -> None:
        """Return when the run that is stopped has let go of its thread. Raises ThreadBusy when it has not in time: then
        the run that was to take its place is cancelled.
        """
        run_id = submission.run.run_id
        try:
            if (await self.wait(scope, stopped, timeout_s=wait_s)).status is DONE:
                return
            if (await self.get_run(scope, run_id)).started_at is not None:
                return
            thread_id = submission.run.thread_id
            await self._engine.combiner.ask(
                Cancel(
                    scope=scope,
                    thread_id=thread_id,
                    run_id=run_id,
                    cause="not_released_in_time",
                    gave_up_after_ms=round(wait_s * 1_000),
                )
            )
            raise ThreadBusy(thread_id, stopped)
        except BaseException:
            if submission.end is not None:
                self._engine.hub.forget(scope, run_id, submission.end)
            raise

    async def _accepted(self, request: RunSubmission, waits: bool) -> Submission:
        self._engine.require_ready()
        request, size = _sound(request)
        target: Run | None = None
        if request.delivery.target_run_id is not None:
            target = await self._target(request, request.delivery.target_run_id)
            request = replace(request, thread_id=target.thread_id, agent_id=request.agent_id or target.agent_id)
        last = None if request.agent_id is not None else await self._last_agent(request)
        meant, refusal = self._agent_of(request, last, target)
        decides: Rulings | None = None
        if request.decisions and refusal is None:
            decides, refusal = await self._decides(request)
        if refusal is not None and not _may_be_repeated(request):
            raise refusal
        self._engine.require_ready()
        transition = self._transition(request, meant, decides, only_if_repeated=refusal is not None)
        transition = self._in_trace(transition)
        if refusal is not None:
            return await self._repeated(transition, size, refusal)
        if not waits:
            return _answered(transition.thread_id, await self._engine.combiner.ask(transition, size))
        hub, scope, run_id = self._engine.hub, transition.scope, transition.run_id
        end = hub.end_of(scope, run_id, transition.thread_id)
        try:
            submission = _answered(transition.thread_id, await self._engine.combiner.ask(transition, size))
        except BaseException:
            hub.forget(scope, run_id, end)
            raise
        if submission.run.run_id == run_id:
            return replace(submission, end=end)
        hub.forget(scope, run_id, end)  # it had been accepted before, as another run
        return submission

    async def _target(self, request: RunSubmission, run_id: RunId) -> Run:
        """The run that the request is for: in its thread, and for its agent unless it names another.

        Raises:
            RunNotFound: There is no such run in the thread.
        """
        run = await self.get_run(request.scope, run_id)
        if request.thread_id.strip() not in ("", run.thread_id):
            raise RunNotFound(run_id)
        return run

    async def _decides(self, request: RunSubmission) -> tuple[Rulings | None, AwakenError | None]:
        """The decisions that come with the request, or why they cannot be made. They are not, any more, where it was
        accepted before: its own run may be what the thread is about by now. So this does not raise.
        """
        thread_id = request.thread_id.strip()
        if not thread_id:
            return None, ValidationError("decisions are about a thread; name it", loc=("body", "thread_id"))
        if request.delivery.mode != "queue":
            return None, ValidationError(
                "decisions let a run go on that waits, and go with no strategy but enqueue", loc=("body", "decisions")
            )
        try:
            return await self.decisions.beside(request.scope, ThreadId(thread_id), request.decisions), None
        except (ValidationError, NotFound) as refusal:
            return None, refusal

    async def _repeated(self, transition: Submit, size: int, refusal: AwakenError) -> Submission:
        """What was accepted when the request came before. Raises the refusal where it never did."""
        outcome = await self._engine.combiner.ask(transition, size)
        if isinstance(outcome, Missing):
            raise refusal
        return _answered(transition.thread_id, outcome)

    def _agent_of(
        self, request: RunSubmission, last: AgentId | None, target: Run | None = None
    ) -> tuple[Meant, ValidationError | None]:
        """The agent that the request means, and why it cannot have it: there is none, or the input does not suit it, or
        the version of it that has the target.

        A request that was accepted before is answered all the same, so this does not raise.
        """
        meant = Meant(AgentId(request.agent_id or _NOBODY), None, names_version=False)
        try:
            meant = self.agents.resolve(request.agent_id, last)
            if request.reference is None:
                takes = meant.route
                if target is not None and target.agent_id == meant.agent_id and not meant.names_version:
                    takes = target.route
                self.agents.check_input(takes, request.messages)
        except ValidationError as refusal:
            return meant, refusal
        return meant, None

    async def _last_agent(self, request: RunSubmission) -> AgentId | None:
        """The agent of the thread's last run, where the request leaves the choice to it."""
        thread_id = request.thread_id.strip()
        if not thread_id or len(self.agents.ids()) <= 1:
            return None
        latest = await self.store.latest_run(request.scope, ThreadId(thread_id))
        return None if latest is None else latest.agent_id

    def _transition(
        self,
        request: RunSubmission,
        meant: Meant,
        decides: Rulings | None = None,
        *,
        only_if_repeated: bool = False,
        offers: bool = True,
    ) -> Submit:
        """The request as a transition, with an id for everything that has none, and with a free slot if there is one
        and it `offers`.

        Raises as `submit`.
        """
        thread_id = request.thread_id.strip()
        run_id, dispatch_id, *message_ids = self.ids.mint_some(2 + len(request.messages))
        if request.run_id and request.delivery.mode not in ("queue", "reject"):
            # It may open no run, by whose id a repetition would be known; so its messages are known by that.
            message_ids = [derived_id(request.run_id, str(place)) for place in range(len(request.messages))]
        messages = _with_context(request, _with_ids(request.messages, message_ids))
        check_messages(messages)
        run_request = RunRequest(
            intent=Intent(meant.agent_id, version=meant.version),
            input_message_ids=_referred(request) + tuple([message.id for message in messages]),
            options=request.options,
            trace=normalise_mode(request.trace),
            reference=request.reference,
        )
        run_request.check()
        delivery = request.delivery
        if delivery.max_attempts is None:
            delivery = replace(delivery, max_attempts=self.settings.max_attempts)
        offers = offers and not delivery.is_delayed and not only_if_repeated and decides is None
        return Submit(
            scope=request.scope,
            thread_id=ThreadId(thread_id or request.run_id or self.ids.thread_id()),
            run_id=RunId(request.run_id or run_id),
            dispatch_id=DispatchId(dispatch_id),
            request=run_request,
            messages=messages,
            digest=_digest(request) if request.run_id else "",
            metadata=request.metadata,
            delivery=delivery,
            create_thread=request.create_thread or not thread_id,
            fresh_ids=not request.run_id and not any([message.id for message in request.messages]),
            max_queued=self.settings.max_queued_per_thread,
            max_pending=self.settings.max_pending_per_thread,
            offer=self._engine.submit_offer(meant.route) if offers else None,
            only_if_repeated=only_if_repeated,
            names_version=meant.names_version,
            decides=decides,
        )

    def _in_trace(self, submit: Submit) -> Submit:
        """With the span from which its run is linked: the caller's, or, where this process traces, that of the submit
        itself.
        """
        trace = submit.request.trace
        traceparent = self.observers.submitting(submit, nearest_traceparent(trace.traceparent))
        if traceparent == trace.traceparent:
            return submit
        return replace(submit, request=replace(submit.request, trace=replace(trace, traceparent=traceparent)))

    async def save_thread(
        self,
        scope: Scope,
        thread_id: str,
        info: ThreadInfo,
        *,
        messages: Sequence[Message] = (),
        if_exists: IfExists = "raise",
    ) -> tuple[Thread, bool]:
        """Create a thread (a blank id is minted), with messages that belong to no run; and whether it is new.

        Raises:
            ValidationError: The id, info or a message is unacceptable.
            AlreadyExists: The thread, or the id of a message, is taken.
            ThreadBusy: Messages were to join the conversation of a thread whose run executes.
        """
        self._engine.require_ready()
        sent, size = measured(messages, tuple[Message, ...], what="messages")
        info, info_size = measured(info, ThreadInfo)
        minted, *message_ids = self.ids.mint_some(1 + len(sent))
        named = ThreadId(minted if thread_id == "" else thread_id)
        info.check(named)
        if if_exists not in _IF_EXISTS:
            raise ValidationError(f"if_exists is one of {', '.join(_IF_EXISTS)}, and not {shown(if_exists)}")
        stored = _with_ids(sent, message_ids)
        check_messages(stored)
        transition = SaveThread(scope=scope, thread_id=named, info=info, messages=stored, if_exists=if_exists)
        outcome = await self._engine.combiner.ask(transition, size + info_size)
        if isinstance(outcome, Conflict):
            raise AlreadyExists(outcome.what, outcome.id)
        if isinstance(outcome, Busy):
            raise ThreadBusy(named, outcome.run_id)
        if isinstance(outcome, Gone):
            raise ThreadGone(named)
        assert isinstance(outcome, ThreadSaved), "a thread is saved, in conflict, or busy"
        return await self.get_thread(scope, named), outcome.created

    # --- stopping -----------------------------------------------------------------------------------------------------

    async def cancel(
        self,
        scope: Scope,
        run_id: RunId,
        *,
        rollback: bool = False,
        wait_s: float = 0.0,
        dispatch_id: DispatchId | None = None,
    ) -> Cancellation:
        """Stop one run. The request is durable when this returns; with `wait_s` it waits that long for the end.

        `rollback`: when it has ended, nothing that belongs to it is read in its conversation any more. `dispatch_id`:
        only while the run is queued or executed with that.

        Raises:
            RunNotFound: There is no such run.
            DispatchEnded: The run has ended, or goes on, without that dispatch.
            RunNotOpen: It ended before, and not by being cancelled; or it is done and cannot be rolled back any more.
            ValidationError: `wait_s` is not a number; nothing is stopped.
        """
        wait_s = checked_seconds(wait_s, what="wait_s")
        self._engine.require_ready()
        run = await self.get_run(scope, run_id)
        cancel = Cancel(scope=scope, thread_id=run.thread_id, run_id=run_id, hide=rollback, dispatch_id=dispatch_id)
        outcome = await self._engine.combiner.ask(cancel)
        if isinstance(outcome, DispatchMoved) and dispatch_id is not None:
            ended, _ = await self.dispatches.get(scope, dispatch_id)
            raise DispatchEnded(dispatch_id, ended.status)
        if not isinstance(outcome, CancelResult):
            raise RunNotFound(run_id)
        run = outcome.run
        if outcome.state == "stopped":
            if rollback and run.hide_requested_at is None:
                raise RunNotOpen(run_id, run.status)
            if (
                not outcome.appended
                and not rollback
                and (run.termination is None or run.termination.type != "cancelled")
            ):
                raise RunNotOpen(run_id, run.status)
            return Cancellation("stopped", run)
        return await self._stopping(scope, run, wait_s)

    async def cancel_dispatch(self, scope: Scope, dispatch_id: str, *, wait_s: float = 0.0) -> Cancellation:
        """Stop the run that is queued or executed with this dispatch.

        Raises:
            DispatchNotFound: There is none.
            DispatchEnded: It has ended; its run may go on with another one.
            ValidationError: `wait_s` is not a number; nothing is stopped.
        """
        wait_s = checked_seconds(wait_s, what="wait_s")
        dispatch, run = await self.dispatches.get(scope, dispatch_id)
        return await self.cancel(scope, run.run_id, wait_s=wait_s, dispatch_id=dispatch.dispatch_id)

    async def cancel_thread(self, scope: Scope, thread_id: ThreadId, *, wait_s: float = 0.0) -> Cancellation:
        """Stop the thread's active run, or else the one that waits, and leave its queue alone. `stopped` without a run
        when there is neither.

        Raises:
            ThreadNotFound: There is no such thread.
        """
        wait_s = checked_seconds(wait_s, what="wait_s")
        thread = await self.get_thread(scope, thread_id)
        waits = thread.open_run_id if thread.status is ThreadStatus.WAITING else None
        run_id = thread.active_run_id or waits
        if run_id is None:
            return Cancellation("stopped", None)
        try:
            return await self.cancel(scope, run_id, wait_s=wait_s)
        except RunNotOpen:
            return Cancellation("stopped", None)

    async def interrupt(self, scope: Scope, thread_id: ThreadId, *, wait_s: float = 0.0) -> Interruption:
        """Clear the thread: supersede its queue and stop its running run. Never fails because an owner is gone.

        Raises:
            ThreadNotFound: There is no such thread.
            ValidationError: `wait_s` is not a number; nothing is stopped.
        """
        wait_s = checked_seconds(wait_s, what="wait_s")
        self._engine.require_ready()
        await self.get_thread(scope, thread_id)
        outcome = await self._engine.combiner.ask(Interrupt(scope=scope, thread_id=thread_id, id=self.ids.mint()))
        if not isinstance(outcome, Interrupted):
            raise ThreadGone(thread_id)
        active_run_id = None if outcome.active is None else outcome.active.run_id
        state: StopState = "stopped"
        if active_run_id is not None:
            stopping = await self._stopping(scope, await self.get_run(scope, active_run_id), wait_s)
            state = stopping.state
        superseded = tuple(dispatch.run_id for dispatch in outcome.superseded)
        return Interruption(outcome.epoch, active_run_id, superseded, state)

    async def _stopping(self, scope: Scope, run: Run, wait_s: float) -> Cancellation:
        """How far the stop of a run is that was asked to stop, after at most `wait_s` seconds."""
        deadline_s = self.clock.monotonic() + wait_s
        state: StopState = "requested"
        async with self._engine.hub.reader(
            scope, run.thread_id, after=run.updated_seq - 1, run_id=run.run_id
        ) as reader:
            while not reader.ended and not reader.is_cut:
                rows = await reader.next_rows(max(deadline_s - self.clock.monotonic(), 0.0))
                if any(event.kind == "CancelAcknowledged" for row in rows for event in row.events):
                    state = "acknowledged"
                if not rows:
                    break
        run = await self.get_run(scope, run.run_id)
        return Cancellation("stopped" if run.status is DONE else state, run)

    # --- reading ------------------------------------------------------------------------------------------------------

    def check_loop(self) -> None:
        """Raises WrongLoop on another event loop than that of a running mailbox: for reads that go to the store."""
        self._engine.check_loop()

    async def get_thread(self, scope: Scope, thread_id: ThreadId) -> Thread:
        """Raises ThreadNotFound; ValidationError for what is no id."""
        self._engine.check_loop()
        checked_id(thread_id, what="thread_id")
        thread = await self.store.load_thread(scope, thread_id)
        if thread is None:
            raise ThreadNotFound(thread_id)
        return thread

    async def get_run(self, scope: Scope, run_id: RunId) -> Run:
        """Raises RunNotFound; ValidationError for what is no id."""
        self._engine.check_loop()
        checked_id(run_id, what="run_id")
        run = await self.store.load_run(scope, run_id)
        if run is None:
            raise RunNotFound(run_id)
        return run

    async def explain(self, scope: Scope, run_id: RunId) -> Explanation:
        """Why a run is where it is, and what comes next. Raises as `get_run`."""
        return await explain_run(self.store, self._engine, scope, await self.get_run(scope, run_id))

    async def timeline(self, scope: Scope, run: Run) -> DrawnRun:
        """The run as spans, from its events."""
        self._engine.check_loop()
        return await draw(self.store, scope, run)

    async def see(
        self,
        scope: Scope,
        runs: Sequence[Run],
        dispatches: Mapping[DispatchId, Dispatch] | None = None,
        *,
        why: bool = False,
        last_event: bool = False,
    ) -> list[SeenRun]:
        """The runs of a page with what is asked for beside them. `dispatches`: where they are known."""
        self._engine.check_loop()
        return await seen_runs(self.store, self._engine, scope, runs, dispatches, why=why, last_event=last_event)

    async def attention(self, scope: Scope, limit: int = MAX_FEW) -> Attention:
        """What wants somebody's attention now, at most `limit` of each kind."""
        self._engine.check_loop()
        return await look(self.store, self._engine, self.agents, self.dead_letters, scope, checked_few(limit))

    def read_thread(self, scope: Scope, thread_id: ThreadId, *, after: int = 0) -> Reader:
        """Everything of the thread after the event seq `after`, then live without end.

        Raises:
            ValidationError: That is no id, or no seq.
        """
        self._engine.check_loop()
        checked_id(thread_id, what="thread_id")
        _checked_seq(after, what="after")
        return self._engine.hub.reader(scope, thread_id, after=after)

    def read_run(self, scope: Scope, run: Run, *, after: int = 0) -> Reader:
        """The run's events after the seq `after`, until its last one. Raises ValidationError for what is no seq."""
        self._engine.check_loop()
        start = max(_checked_seq(after, what="after"), run.first_event_seq - 1)
        return self._engine.hub.reader(scope, run.thread_id, after=start, run_id=run.run_id)

    async def get_watched(self, scope: Scope, name: str) -> Run | Thread:
        """The run or the thread with this id, before which may be what it is: `run:` or `thread:`.

        Raises:
            WatchedNotFound: There is neither.
            ValidationError: There are both, or it is no id.
        """
        self._engine.check_loop()
        sort, id = split_name(name)
        checked_id(id, what="thread or run")
        run = None if sort == "thread" else await self.store.load_run(scope, RunId(id))
        thread = None if sort == "run" else await self.store.load_thread(scope, ThreadId(id))
        if run is not None and thread is not None:
            raise ValidationError(
                f"there are a thread and a run {id!r}; write 'thread:{id}' or 'run:{id}'", loc=("on",)
            )
        found = run or thread
        if found is None:
            raise WatchedNotFound(name)
        return found

    def watch(self, scope: Scope, places: Mapping[str, tuple[Run | Thread, int]], *, hints: bool) -> Watch:
        """Runs and threads, by names of the caller's, each from the event seq after its own: what happens there, read
        as one, and with `hints` also where else something happens.
        """
        self._engine.check_loop()
        hub, wake = self._engine.hub, Alarm(self.clock)
        readers: dict[str, Reader] = {}
        for name, (watched, after) in places.items():
            run_id, start = None, after
            if isinstance(watched, Run):
                run_id, start = watched.run_id, max(after, watched.first_event_seq - 1)
            readers[name] = hub.reader(scope, watched.thread_id, after=start, run_id=run_id, wake=wake)
        return Watch(hub, self.clock, scope, readers, wake, hints=hints)

    async def wait(
        self,
        scope: Scope,
        run_id: RunId,
        *,
        timeout_s: float | None = None,
        known: Run | None = None,
        end: EndOfRun | None = None,
        until_parked: bool = False,
    ) -> Run:
        """The run when it is done, or as it is after `timeout_s` seconds; with `until_parked` also when it waits for
        somebody, and not only for its children.

        Nothing is read with the `end` of the submission, nor, with `known`, an earlier record of the run, while this
        process executes it.

        Raises:
            RunNotFound: There is no such run.
            ValidationError: `timeout_s` is not a number.
            Unavailable: The mailbox stops before the run has ended.
            WrongLoop: It runs on another event loop.
        """
        hub, clock = self._engine.hub, self.clock
        try:
            self._engine.check_loop()
            if known is None:
                checked_id(run_id, what="run_id")
            if timeout_s is not None:
                timeout_s = checked_seconds(timeout_s, what="timeout_s")
            deadline_s = None if timeout_s is None else clock.monotonic() + timeout_s
            thread_id = None if known is None else known.thread_id
            is_here = known is not None and self._engine.is_executing(scope, known.thread_id, known.dispatch_id)
            while True:
                must_read = end is None and not is_here
                if end is None:
                    # Before the run is read, so that its end is not missed.
                    end = hub.end_of(scope, run_id, thread_id, until_parked=until_parked)
                left_s = None if deadline_s is None else deadline_s - clock.monotonic()
                if must_read:
                    run = await self.get_run(scope, run_id)
                    is_over = run.status is DONE or (until_parked and run.waits_for_somebody)
                    if is_over or (left_s is not None and left_s <= 0):
                        return run
                ended = await (end if left_s is None else self._within(end, left_s))
                if ended is not None:
                    return ended
                hub.forget(scope, run_id, end)
                end, is_here = None, False  # time is up, or somebody else has written: the run has to be read
        finally:
            if end is not None:
                hub.forget(scope, run_id, end)

    async def _within(self, end: EndOfRun, left_s: float) -> Run | None:
        """The run once it has ended, or None when it has to be looked at, after `left_s` seconds at the latest."""
        timer = self.clock.call_later(max(left_s, 0.0), lambda: call_off(end))
        try:
            return await end
        finally:
            timer.cancel()

    def health(self) -> Health:
        return self._engine.health()

    def worker(self) -> WorkerRecord:
        """This process."""
        return self._engine.worker()

    async def workers(self) -> tuple[WorkerRecord, ...]:
        """The processes that work on the store, this one first."""
        return await self._engine.workers()

    @property
    def uptime_s(self) -> float:
        """How long it has been ready."""
        return self._engine.uptime_s

    async def sweep(self) -> Swept:
        """Look at once for what falls due: claims that nobody carries, tickets whose time is over (at most ten thousand
        of them; the others follow by themselves), schedules.

        Raises:
            Unavailable: Not started, or stopping.
        """
        return await self._engine.sweep()

    async def purge(self) -> Removed:
        """Remove now what retention no longer keeps: at most ten thousand runs, and as many rows of events.

        Raises:
            Unavailable: Not started, or stopping.
        """
        return await self._engine.purge()

    @property
    def reader_count(self) -> int:
        return self._engine.hub.reader_count


def _answered(thread_id: ThreadId, outcome: Outcome) -> Submission:
    """What a submit came to, as its caller is answered. Raises as `Mailbox.submit`."""
    match outcome:
        case Submitted(run=run, dispatch=dispatch, interrupted=Interrupted(active=Dispatch() as active)):
            return Submission(run, dispatch, "queued", stops=active.run_id)
        case Submitted(run=run, dispatch=dispatch, claimed=claimed):
            running = claimed is not None and claimed.run.run_id == run.run_id
            return (
                Submission(run, dispatch, "running", path="started") if running else Submission(run, dispatch, "queued")
            )
        case Staged(run=run, dispatch=dispatch):
            return Submission(run, dispatch, "queued" if run.status is CREATED else "running", path="steered")
        case Replayed(run=run, dispatch=dispatch):
            queued = run.status is CREATED
            return Submission(run, dispatch, "queued" if queued else "running", replayed=True)
        case Missing(what="run", id=missing):
            raise RunNotFound(missing)
        case Missing(what="ticket", id=missing):
            raise TicketNotFound(missing)
        case Missing(what="message", id=missing):
            raise MessageNotFound(missing)
        case Undecided(ticket=ticket, run=run):
            raise refusal_of(ticket, run)
        case Missing():
            raise ThreadNotFound(thread_id)
        case Busy(run_id=run_id):
            raise ThreadBusy(thread_id, run_id)
        case NotOpen(run=run):
            raise RunNotOpen("", "") if run is None else RunNotOpen(run.run_id, _state_of(run))
        case NotWaiting(run=run):
            named = (None, None) if run is None else (run.run_id, run.status)
            raise RunNotWaiting(thread_id, *named)
        case Blocked(message_id=message_id):
            raise DeliveryBlocked(message_id)
        case Known(message_id=message_id, run_id=run_id):
            raise AlreadyAccepted(message_id, run_id)
        case Conflict(what=what, id=taken):
            raise AlreadyExists(what, taken)
        case Full(limit=limit, pending=pending):
            raise QueueFull(thread_id, limit, "messages pending" if pending else "runs waiting")
        case Gone():
            raise ThreadGone(thread_id)
        case _:
            raise AssertionError(f"a submit cannot end in {type(outcome).__name__}")


def _referred(request: RunSubmission) -> tuple[MessageId, ...]:
    return () if request.reference is None else request.reference.message_ids


def _state_of(run: Run) -> str:
    return run.status if run.cancel_requested_at is None or run.status is DONE else "stopping"


def _with_ids(messages: Sequence[Message], minted: Sequence[str]) -> tuple[Message, ...]:
    """The messages, each with the id it has or else one of those minted for them."""
    fresh = iter(minted)
    return tuple([message if message.id else replace(message, id=MessageId(next(fresh))) for message in messages])


def _with_context(request: RunSubmission, messages: tuple[Message, ...]) -> tuple[Message, ...]:
    """The messages behind what the agent is told beside them. Its id is that of its run, or of the first message, so
    that the same request has the same one.
    """
    if request.context is None:
        return messages
    given = request.context
    text = given if isinstance(given, str) else msgspec.json.encode(given).decode()
    named = derived_id("context", request.thread_id, request.run_id or messages[0].id)
    context = Message(id=MessageId(named), role=Role.SYSTEM, content=(Text(text),), visibility=Visibility.INTERNAL)
    return (context, *messages)


def normalise_mode(trace: Trace) -> Trace:
    """A background submit runs `scheduled`, one from inside the server `internal_wake`; a set mode stays (3.2)."""
    if trace.mode is not FOREGROUND:
        return trace
    mode = RunMode.INTERNAL_WAKE if trace.origin is Origin.INTERNAL else RunMode.SCHEDULED
    return replace(trace, mode=mode)


def _sound(request: RunSubmission) -> tuple[RunSubmission, int]:
    """The request as it was meant and can be stored, and its size. What cannot be is refused here, where it costs
    nobody else anything.

    Raises:
        ValidationError: Something in it is not what it should be, or out of range.
    """
    asked: object = getattr(request, "delivery", None)
    if isinstance(asked, Delivery):
        asked.check()  # in better words than those of its type
        check_release_wait(request.release_wait_s, asked.mode)
    request, size = measured(request, RunSubmission)
    if not request.messages and not _referred(request):
        raise ValidationError("at least one message is required", loc=("body", "messages"))
    thread_id = request.thread_id.strip()
    if thread_id:
        checked_id(thread_id, what="thread_id", loc=("body", "thread_id"))
    if request.run_id is not None:
        checked_id(request.run_id, what="run_id", loc=("body", "run_id"))
    for index, message in enumerate(request.messages):
        if message.id:
            checked_id(message.id, what="message id", loc=("body", "messages", index, "message_id"))
    return request, size


def _check_promise(request: RunSubmission) -> None:
    """Raises ValidationError for what takes an answer, which comes only after the caller's transaction."""
    delivery = request.delivery
    if delivery.mode not in ("queue", "interrupt", "rollback") or delivery.target_run_id is not None:
        raise ValidationError(
            "in a transaction of your own multitask_strategy is enqueue, interrupt or rollback: when the thread is"
            " looked at, nobody is there to be refused",
            loc=("body", "multitask_strategy"),
        )
    if request.decisions:
        raise ValidationError("decisions are answered at once; make them outside", loc=("body", "decisions"))
    if request.release_wait_s is not None:
        raise ValidationError("release_wait_s waits for an answer; leave it out", loc=("body", "release_wait_s"))


def _may_be_repeated(request: RunSubmission) -> bool:
    """Whether the request names anything by which an earlier one could be recognised."""
    known = request.run_id or request.delivery.dedupe_key
    return bool(known) or (bool(request.messages) and all([message.id for message in request.messages]))


def _digest(request: RunSubmission) -> str:
    """Of what was sent, so that the same request under the same run id is recognised and another one refused.

    What was concluded from it is not part of it: the thread's last agent may be another one by now. Nor is how it
    travelled, and from whom: a client that asks again does so over a new connection.
    """
    if request.recognised_as:
        return request.recognised_as
    decisions = tuple([replace(each, decided_by=None, adapter=Adapter.INTERNAL) for each in request.decisions])
    trace = replace(request.trace, wire_run_id=None, caller=None, traceparent=None)
    asked = replace(request, trace=trace, decisions=decisions)
    return hashlib.sha256(msgspec.json.encode(asked, order="deterministic")).hexdigest()


def _checked_seq(seq: object, *, what: str) -> int:
    if type(seq) is not int or not 0 <= seq <= _LAST_SEQ:
        raise ValidationError(f"{what} is the seq of an event, a whole number from 0, and not {shown(seq)}")
    return seq
