"""One claim, from execution to settlement.

Above: `executions` runs an `Execution` as a task for each claim that is won; the keeper and the service stop it. Below:
the agent's driver, and the `Settle` transition.
Holds: every end of an execution is a settlement, unless its claim is lost: then it writes nothing. A cancellation is
ours only if a stop was asked for; an agent's own is a failure like any other, and so is its wish to end the process.
What an agent raises is logged with its traceback, and stored as what everybody may read of it.

A natural end that finds messages waiting for the run is none: the settlement answers so, and the agent is driven again.

How it works. The task drives the agent, then waits until the write buffer has no commit on its way, then asks for the
settlement, which takes along what the buffer still holds, and asks again while the store cannot write. The agent's part
may be cancelled (`Stop`); what comes after it may not, so a request to stop that arrives then changes nothing. Between
the two the slot is given back: what is left is waiting for the disk, and another agent may work meanwhile.

An agent begins only when that of an earlier claim of its thread is at rest. Usually there is none; but an agent that
ignores a stop may have lost its claim, or a whole life of its mailbox, and be at work all the same.

Source: ADR 0011, ADR 0012, ADR 0018; MBX-090 to MBX-098 (which failure is tried again).
"""

from __future__ import annotations

import asyncio
import logging
import math
from typing import Annotated, Any, Final

import msgspec
from msgspec.structs import replace

from awaken.domain import server_event
from awaken.domain.checking import readable, shown
from awaken.domain.clock import Clock, Instant, Timer, lasting, sleep
from awaken.domain.errors import (
    AgentNotFound,
    AgentNotLoadable,
    AwakenError,
    LeaseLost,
    PermanentFailure,
    StoreUnavailable,
    TransientFailure,
    ValidationError,
)
from awaken.domain.ids import ClaimToken, DispatchId, Ids, Scope
from awaken.domain.log import LoggedEvent
from awaken.domain.message import ASSISTANT, Message, MessageState, check_messages
from awaken.domain.run import CANCELLED, NATURAL_END, Termination, Usage
from awaken.domain.state import Values, state_bytes
from awaken.domain.ticket import MAX_OPEN_TICKETS
from awaken.executors.classify import asked_wait_s, classify
from awaken.executors.containment import contained, running_task
from awaken.executors.contract import DriveOutcome, Finished, RunEnds, Stopped, Suspended
from awaken.executors.mending import mended
from awaken.executors.registry import Agents
from awaken.mailbox.dispatcher import Dispatcher
from awaken.mailbox.errands import sending, starting
from awaken.mailbox.log_cache import LogCache
from awaken.mailbox.observer import Observers, OutcomeLabel
from awaken.mailbox.port import Port, Start, checked_request
from awaken.mailbox.settings import MailboxSettings
from awaken.mailbox.stopping import Stop, StopReason
from awaken.mailbox.write_buffer import RunWriter, Unwritten, stored_bytes
from awaken.store.combiner import Combiner
from awaken.store.contract import Store
from awaken.store.transitions import (
    Ack,
    Claimed,
    Conflict,
    Continued,
    DeadLetter,
    Ending,
    JournalEntry,
    Offer,
    Release,
    Retry,
    Settle,
    Settled,
    StepClosed,
    Suspend,
)

_log = logging.getLogger("awaken.worker")
_MAX_ERROR_CHARS = 4_000

_PLAIN: Final = Finished()
_TYPES_OF_FINISHED: Final[dict[str, Any]] = {
    "termination": Termination,
    "final_output": str,
    "usage": Usage,
    "steps": Annotated[int, msgspec.Meta(ge=0, le=2**53)],
}

_Produced = tuple[tuple[Message, ...], int]
"""Messages, and their size in bytes."""
_NOTHING: _Produced = (), 0
_NOTED: Final = msgspec.Raw(b"true")


class Workshop(msgspec.Struct, frozen=True):
    """What every execution of a process shares."""

    combiner: Combiner
    store: Store
    agents: Agents
    clock: Clock
    ids: Ids
    settings: MailboxSettings
    observer: Observers
    dispatcher: Dispatcher
    logs: LogCache


class _End(msgspec.Struct, frozen=True):
    """How an execution ended, before it is settled."""

    ending: Ending
    label: OutcomeLabel
    messages: tuple[Message, ...] = ()
    messages_bytes: int = 0
    usage: Usage | None = None
    steps: int | None = None
    events: tuple[LoggedEvent, ...] = ()
    """They follow the messages."""
    state: tuple[Values, ...] = ()
    """What the agent changed of the thread's state."""
    continues: bool = False
    """It is none where messages wait for the run."""
    notes: tuple[str, ...] = ()
    """Keys of the journal that are recorded with it."""


class Execution:
    """A claim being executed by this process."""

    def __init__(self, claimed: Claimed, asked_s: float, workshop: Workshop, ahead: Execution | None = None) -> None:
        """`asked_s`: when the claim was asked for, in seconds of the monotonic clock. `ahead`: one of an earlier claim
        of the thread whose agent is still at work; this one begins behind it.
        """
        self.claimed = claimed
        self.token: Final[ClaimToken] = claimed.token
        self._asked_s = asked_s
        self._ahead = ahead
        self._has_progressed = False
        self._shop = workshop
        self._stop = Stop(workshop.clock, workshop.settings.tidy_s)
        self._writer = RunWriter(
            claimed,
            workshop.combiner,
            workshop.clock,
            workshop.settings.settle_retry_s,
            self._stop,
            self._step_closed,
        )
        self._port = Port(
            claimed,
            self._writer,
            workshop.ids,
            self._stop,
            workshop.store,
            exposes_errors=workshop.agents.exposes_errors(claimed.dispatch.route),
            max_result_bytes=workshop.settings.max_result_bytes,
            max_steps=workshop.settings.max_steps,
            observers=workshop.observer,
            starting=lambda asked: starting(claimed.run, asked, workshop.agents, workshop.settings),
            sending=lambda key, outgoing: sending(claimed.run, key, outgoing, workshop.agents, workshop.settings),
        )
        self._is_followed = claimed.queued > 0
        """Whether something waits behind it in its thread, as far as this process knows."""
        self._is_at_work = False
        self.has_begun = False
        """Its agent has been at work, or is."""
        self._obedience: Timer | None = None
        """Looks whether the agent has stopped when it was asked to."""
        self._began_s: float | None = None
        """When its agent first began, in seconds of the monotonic clock."""
        self._rest: asyncio.Event | None = None
        """Set when its agent is at work no more, if somebody waits for that."""

    @property
    def scope(self) -> Scope:
        return self.claimed.scope

    @property
    def dispatch_id(self) -> DispatchId:
        return self.claimed.dispatch.dispatch_id

    @property
    def is_lost(self) -> bool:
        """Whether the claim is over without a settlement of this execution."""
        return self._stop.is_lost

    @property
    def is_stopping(self) -> bool:
        """Whether it was asked to stop."""
        return self._stop.reason is not None

    @property
    def ignores_stop(self) -> bool:
        """Whether its agent is at work all the same, after its grace."""
        return self._is_at_work and self._stop.is_ignored

    def note_follower(self) -> None:
        """Something waits behind it in its thread, so its settlement may take that up."""
        self._is_followed = True

    def note_pending(self) -> None:
        """A message was accepted for its run."""
        self._port.note_pending()

    def stir(self) -> None:
        """Something was written to its thread elsewhere."""
        self._port.stir()

    def stop(self, reason: StopReason) -> None:
        """Ask the execution to stop. A settlement that has begun is left to finish."""
        if not self._stop.ask(reason):
            return
        if self._is_at_work and reason != "handover":
            self._watch_obedience()
        if self._stop.is_lost:
            self._writer.abandon(LeaseLost(self.dispatch_id, reason))
        elif reason == "cancel" and self._stop.is_cancellable:
            self._writer.acknowledge_cancel()
        elif reason == "handover" and not self._is_at_work:
            self._stop.cut_short()  # it waits for the one ahead, and has nothing to bring to an end

    def _watch_obedience(self) -> None:
        """Say so in the log when the agent is still at work after its grace: nothing can end it but itself."""
        run, grace_s = self.claimed.run, self._shop.settings.tidy_s

        def note() -> None:
            if self._is_at_work:
                _log.warning(
                    "agent %s goes on %s after it was asked to stop: run %s, and thread %s, wait until it ends. An"
                    " agent must let `asyncio.CancelledError` pass",
                    run.route,
                    lasting(grace_s),
                    run.run_id,
                    run.thread_id,
                )

        if self._obedience is not None:
            self._obedience.cancel()
        self._obedience = self._shop.clock.call_later(grace_s, note)

    def _step_closed(self) -> None:
        if self.claimed.dispatch.is_suspect and not self._has_progressed:
            self._has_progressed = True
            self._shop.dispatcher.suspect_progressed()

    def cut_short(self) -> None:
        """Cancel the agent, which was asked to hand over and has had its time."""
        self._stop.cut_short()

    def abandon(self) -> None:
        """Wait for it no more. Whatever its agent still does, nothing of it is written."""
        self._stop.ask("abandoned", again=False)
        self._writer.abandon(LeaseLost(self.dispatch_id, "abandoned"))

    @property
    def at_work(self) -> Execution | None:
        """Whose agent is at work in the thread: this one's, or that of the one it waits for."""
        if self._is_at_work:
            return self
        return None if self._ahead is None else self._ahead.at_work

    async def rested(self) -> None:
        """Wait until its agent is at work no more."""
        if self._rest is None:
            self._rest = asyncio.Event()
        if self._is_at_work:
            await self._rest.wait()

    async def run(self) -> None:
        """Execute and settle, as the whole of a task."""
        shop = self._shop
        started_s = shop.clock.monotonic()
        label: OutcomeLabel = "lost"
        shop.observer.started(self.claimed, started_s - self._asked_s)
        try:
            while True:
                end = await self._execute()
                if end is not None:
                    await self._writer.landed()  # the settlement must be the last that the store gets of this run
                if end is None or self._stop.is_lost:
                    _log.warning("lease lost: run %s wrote nothing more", self.claimed.run.run_id)
                    return
                outcome = await self._settled(end)
                if type(outcome) is not Continued:
                    label = "lost" if outcome is None else end.label
                    return
                self._go_on(outcome)
        finally:
            self._writer.close()
            shop.observer.ended(self.claimed, label, shop.clock.monotonic() - started_s)

    def _go_on(self, continued: Continued) -> None:
        """The run has not ended: it took what waited for its end, and its agent begins again, from the log."""
        self.claimed = replace(self.claimed, run=continued.run, messages=continued.taken, resumed=True)
        self._port.go_on(self.claimed)
        self._writer.go_on(continued.pending)
        self._shop.dispatcher.take_again(self.claimed)

    # --- executing ----------------------------------------------------------------------------------------------------

    async def _execute(self) -> _End | None:
        """Drive the agent. None: the claim is somebody else's now."""
        if self._stop.reason is not None:
            return self._stopped(Stopped())
        own = running_task()
        self._stop.allow(own)
        deadline: Timer | None = None
        try:
            if self._ahead is not None:
                await self._ahead.rested()
                self._ahead = None
            deadline = self._deadline()
            self._is_at_work = self.has_begun = True
            try:
                driver = self._shop.agents.driver(self.claimed.dispatch.route)
            except AgentNotFound as error:  # of this run's own agent: one that an agent asks for is its own affair
                return self._unserved(error)
            with contained():
                outcome = await driver.drive(Start(self.claimed, self._shop.store, self._shop.logs), self._port)
            return self._finished(outcome) if self._writer.failure is None else self._ended_by(self._writer.failure)
        except Stopped as stopped:
            return self._stopped(stopped) if self._stop.is_delivered else self._finished_early(stopped)
        except BaseException as error:  # the supervisor of one run: it records and decides
            if isinstance(error, GeneratorExit) and running_task() is not own:
                raise  # its event loop is gone
            return self._ended_by(error)
        finally:
            if deadline is not None:
                deadline.cancel()
            if self._obedience is not None:
                self._obedience.cancel()
            self._stop.forbid()
            self._is_at_work = False
            if self._rest is not None and running_task() is own:  # else nobody waits any more: the loop is gone
                self._rest.set()

    def _deadline(self) -> Timer | None:
        """Stops the run when it has executed for as long as it may, counting what its earlier dispatches took."""
        run = self.claimed.run
        timeout_s = run.request.options.limits.timeout_s
        if timeout_s is None:
            return None
        now_s = self._shop.clock.monotonic()
        self._began_s = now_s if self._began_s is None else self._began_s
        left_s = max(timeout_s - run.executing_ms / 1000 - (now_s - self._began_s), 0.0)
        return self._shop.clock.call_later(left_s, lambda: self.stop("timeout"))

    def _ended_by(self, error: BaseException) -> _End | None:
        if self._stop.is_lost:
            return None
        if self._stop.is_delivered:
            return self._stopped(Stopped())
        if isinstance(error, RunEnds):
            return self._finished(Finished(termination=error.termination, messages=error.messages))
        if isinstance(error, AgentNotLoadable):
            return self._unserved(error)
        if isinstance(error, asyncio.CancelledError):
            cancelled, error = error, PermanentFailure("the agent was cancelled, and not by a request to stop the run")
            error.__cause__ = cancelled
        return self._failed(error)

    def _unserved(self, error: AwakenError) -> _End:
        """The agent cannot run here: its run goes back unharmed and waits for a process, or an agent, that can."""
        self._shop.agents.withdraw(self.claimed.dispatch.route, str(error))
        return _End(Release("not served here"), "released")  # why, is in the log: it may quote what a module raised

    def _finished(self, outcome: DriveOutcome) -> _End:
        if isinstance(outcome, Suspended):
            return self._suspended(outcome)
        outcome = _sound(outcome)
        if outcome.termination.type == "suspended":
            return self._failed(PermanentFailure("an agent that waits returns Suspended, with what it waits for"))
        messages, size = self._produced(outcome.messages) if outcome.messages else _NOTHING
        ending = mended(
            Ack(outcome.termination, outcome.final_output)
            if outcome.is_structured
            else self._answer(outcome.termination, outcome.final_output, messages)
        )
        self._port.check_size(len(ending.final_output or ""), "the output")
        self._check_output(ending, is_structured=outcome.is_structured)
        spent = self._port.usage
        events = tuple(self._port.logged(outcome.events))
        usage = self._port.usage if outcome.usage is None and self._port.usage is not spent else outcome.usage
        state = self._port.take_changes()
        return _End(ending, "completed", messages, size, usage, outcome.steps, events, state, outcome.continues)

    def _suspended(self, outcome: Suspended) -> _End:
        """The run waits. What it asks for is checked here, since nobody could answer what cannot be stored."""
        asked = tuple([checked_request(each) for each in outcome.tickets])
        if not asked or len(asked) > MAX_OPEN_TICKETS:
            raise PermanentFailure(f"a run waits for 1 to {MAX_OPEN_TICKETS} tickets, and not for {len(asked)}")
        messages, size = self._produced(tuple(outcome.messages)) if outcome.messages else _NOTHING
        events = tuple(self._port.logged(outcome.events))
        ids = {each.key: each.id_in(self.claimed.run.run_id) for each in asked}
        ending = Suspend(
            next_dispatch_id=self._shop.ids.dispatch_id(),
            opens=asked,
            waits_for=tuple(ids.values()),
            mode=outcome.mode,
            together=tuple([tuple([ids[key] for key in keys]) for keys in outcome.together]),
        )
        end = _End(ending, "suspended", messages, size, outcome.usage, outcome.steps, events)
        return msgspec.structs.replace(end, notes=outcome.notes)

    def _finished_early(self, stopped: Stopped) -> _End:
        """A driver that stops without having been asked has simply ended."""
        return _End(self._answer(NATURAL_END, None, ()), "completed", *self._kept(stopped), stopped.usage)

    def _check_output(self, ending: Ack, *, is_structured: bool) -> None:
        """What a run came to is held to its agent's schema where it ended by itself: other ends leave what there was.

        Raises:
            PermanentFailure: It does not fit.
        """
        if ending.termination.type == "natural_end":
            route = self.claimed.dispatch.route
            self._shop.agents.check_output(route, ending.final_output, is_structured=is_structured)

    def _answer(self, termination: Termination, output: str | None, messages: tuple[Message, ...]) -> Ack:
        """The run's output: what the agent returned, or else the text of the last message; of which message it is."""
        last = messages[-1] if messages else self._port.last
        if last is None or output not in (None, last.text):
            return Ack(termination, output)
        return Ack(termination, last.text, (last.id,))

    def _stopped(self, stopped: Stopped) -> _End:
        if self._stop.reason == "handover":
            return _End(Release("handed over at shutdown"), "released")
        kept, size = self._kept(stopped)
        messages = tuple(
            replace(message, state=MessageState.INTERRUPTED) if message.role is ASSISTANT else message
            for message in kept
        )
        termination = self._timed_out() if self._stop.reason == "timeout" else CANCELLED
        ending = self._answer(termination, None, messages) if messages else Ack(termination)
        label: OutcomeLabel = "completed" if termination is not CANCELLED else "cancelled"
        return _End(ending, label, messages, size, stopped.usage)

    def _timed_out(self) -> Termination:
        limit_s = self.claimed.run.request.options.limits.timeout_s or 0.0
        return Termination("stopped", code="timeout", detail=f"it executed for the {lasting(limit_s)} that it may")

    def _produced(self, messages: tuple[Message, ...]) -> _Produced:
        """As they will be stored. Raises for messages that cannot be."""
        produced = tuple([self._port.produced(message) for message in messages])
        check_messages(produced)
        return produced, sum([stored_bytes(message) for message in produced])

    def _kept(self, stopped: Stopped) -> _Produced:
        """The partial output; nothing of it when it cannot be stored, for a stop must not fail."""
        try:
            return self._produced(stopped.messages)
        except AwakenError as error:
            _log.warning("run %s: its partial output was dropped: %s", self.claimed.run.run_id, error)
            return _NOTHING

    def _failed(self, error: BaseException) -> _End:
        run = self.claimed.run
        failure, text = _diagnosis(error, exposed=self._port.exposes_errors, now=self._shop.clock.now())
        _log.warning("run %s of agent %s failed: %s", run.run_id, run.route, text, exc_info=error)
        if isinstance(failure, PermanentFailure):
            return _End(DeadLetter(text, failure.error_class), "permanent_error")
        settings = self._shop.settings
        retry_after_s = min(asked_wait_s(failure.retry_after_s) or 0.0, settings.max_retry_after_s)
        policy = self._shop.agents.retry_policy(self.claimed.dispatch.route) or settings.retry
        return _End(Retry(text, policy, round(retry_after_s * 1000), failure.error_class), "transient_error")

    # --- settling -----------------------------------------------------------------------------------------------------

    async def _settled(self, end: _End) -> Settled | Continued | None:
        """Settle, asking again while the store cannot write and the claim may still hold. None: it was not settled.

        From here to the first question nothing is awaited: what the buffer holds leaves in this settlement, and what is
        added to it afterwards is too late.
        """
        keeps_slot = end.continues and self._writer.pending > 0
        offer = None if keeps_slot else self._shop.dispatcher.hand_on(self.token, is_followed=self._is_followed)
        rest = self._writer.take_rest()
        settle = self._settlement(end, rest, offer)
        try:
            size = rest.payload_bytes + end.messages_bytes + sum([state_bytes(patch) for patch in end.state])
            return await self._asked_until_answered(settle, size)
        finally:
            if offer is not None:  # answered, or given up
                self._shop.dispatcher.lost(offer)

    async def _asked_until_answered(self, settle: Settle, size: int) -> Settled | Continued | None:
        shop = self._shop
        has_lease = self.claimed.dispatch.lease_until is not None
        give_up_s = shop.clock.monotonic() + shop.settings.lease_ms / 1000 if has_lease else math.inf
        while True:
            try:
                outcome = await shop.combiner.ask(settle, size)
            except Exception as error:
                over = shop.clock.monotonic() >= give_up_s or self._stop.is_lost or shop.combiner.closed
                if over or not isinstance(error, StoreUnavailable):
                    _log.error("run %s could not be settled: %s", settle.run_id, error)
                    return None
                await sleep(shop.clock, shop.settings.settle_retry_s)
                continue
            if type(outcome) is Conflict and type(settle.ending) is not DeadLetter:
                settle = _without_messages(settle, outcome)
                continue
            if type(outcome) is Settled or type(outcome) is Continued:
                return outcome
            _log.warning("lease lost: run %s was not settled by its old owner", settle.run_id)
            return None

    def _settlement(self, end: _End, rest: Unwritten, offer: Offer | None) -> Settle:
        entries = list(rest.entries)
        if self._owes_acknowledgement(end):
            entries.append(server_event.cancel_acknowledged(self.claimed.dispatch).logged())
        stream_open = self._writer.stream_open
        for message in end.messages:
            entries.append(message)
            stream_open = stream_open and message.role is not ASSISTANT
        entries += end.events
        ending = end.ending
        if rest.tickets and type(ending) is Suspend:
            ending = replace(ending, opens=(*rest.tickets, *ending.opens))
        closes = rest.closes
        if end.usage is not None or end.steps is not None:
            closes = StepClosed(
                self._port.steps if end.steps is None else end.steps,
                self._port.usage if end.usage is None else end.usage,
                None if rest.closes is None else rest.closes.turn,
            )
        claimed = self.claimed
        return Settle(
            scope=claimed.scope,
            thread_id=claimed.run.thread_id,
            run_id=claimed.run.run_id,
            dispatch_id=claimed.dispatch.dispatch_id,
            token=self.token,
            number=self._writer.next_number(),
            ending=ending,
            entries=tuple(entries),
            journal=(*rest.journal, *[JournalEntry(note, _NOTED) for note in end.notes]),
            closes=closes,
            usage=rest.usage if end.usage is None else None,
            stream_open=stream_open,
            posts=tuple(rest.posts),
            awaits=tuple(rest.awaits),
            state=(*rest.state, *end.state),
            offer=offer,
            unless_pending=end.continues and self._stop.reason is None,
        )

    def _owes_acknowledgement(self, end: _End) -> bool:
        """Whether a stop was heeded and neither the log nor what is left to write acknowledges it yet: it came before
        the start, or was an interrupt.
        """
        heeded = self._stop.reason == "interrupt" or end.label == "cancelled"
        return heeded and not self._writer.has_acknowledged


def _sound(outcome: object) -> Finished:
    """What an agent returned, as it can be stored. Its messages and events are looked at where they are made ready.

    Raises:
        PermanentFailure: It is not what a driver returns; here it costs only this run.
    """
    if type(outcome) is Finished and outcome == _PLAIN:
        return outcome
    if not isinstance(outcome, Finished):
        raise PermanentFailure(f"the agent's driver returned no Finished, but {shown(outcome)}")
    try:
        for name, type_ in _TYPES_OF_FINISHED.items():
            if getattr(outcome, name) is not None:
                readable(mended(getattr(outcome, name)), type_, what=name)
        return replace(outcome, messages=tuple(outcome.messages), events=tuple(outcome.events))
    except (ValidationError, TypeError) as error:
        raise PermanentFailure(f"the agent returned a Finished that cannot be stored: {error}") from error


def _without_messages(settle: Settle, conflict: Conflict) -> Settle:
    """The same end as a failure, when an id of its messages is taken by another one. What it offered was answered."""
    error = f"the run's last messages could not be stored: message id {conflict.id!r} is taken"
    events = tuple([entry for entry in settle.entries if isinstance(entry, LoggedEvent)])
    return replace(
        settle, ending=DeadLetter(error, Conflict.__name__), entries=events, offer=None, unless_pending=False
    )


def _diagnosis(error: BaseException, *, exposed: bool, now: Instant) -> tuple[TransientFailure | PermanentFailure, str]:
    """What the exception means, and what of it may be stored and read, however oddly the exception behaves."""
    try:
        failure = classify(error, exposed=exposed, now=now)
        text = str(failure)
    except Exception:  # an exception whose own methods fail
        failure, text = TransientFailure(type(error).__name__), ""
        failure.stands_for = type(error)
    text = text or type(error).__name__
    return failure, text[:_MAX_ERROR_CHARS].encode(errors="replace").decode()
