"""One claim, from execution to settlement.

Above: the service starts an `Execution` as a supervised task for each claim it wins; the keeper and the service stop
it. Below: the agent's driver, and the `Settle` transition.
Holds: every end of an execution is a settlement, unless its lease is lost: then it writes nothing. One run's exception
never reaches another. A cancellation is ours only if `stop` was called; an agent's own is a failure like any other.

Source: spec/mailbox.md 2.3 (classes), 3.10 (path), D-8 (no exit leaves the row claimed).
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from contextlib import suppress

import msgspec
from msgspec.structs import replace

from awaken.domain import server_event as say
from awaken.domain.clock import Clock
from awaken.domain.errors import AwakenError, LeaseLost, PermanentFailure, StoreUnavailable, TransientFailure
from awaken.domain.event import logged
from awaken.domain.ids import Ids
from awaken.domain.log import LoggedEvent
from awaken.domain.message import ASSISTANT, Message, MessageState, check_messages
from awaken.domain.run import CANCELLED, NATURAL_END, Usage
from awaken.executors.classify import classify
from awaken.executors.contract import DriveOutcome, Stopped
from awaken.executors.registry import Agents
from awaken.mailbox.keeper import StopReason
from awaken.mailbox.observer import Observer, OutcomeLabel
from awaken.mailbox.port import Pending, Port, RunWriter, stored_bytes
from awaken.mailbox.settings import MailboxSettings
from awaken.store.combiner import Combiner
from awaken.store.contract import Store
from awaken.store.transitions import (
    Ack,
    Claimed,
    Conflict,
    DeadLetter,
    Ending,
    Offer,
    Outcome,
    Release,
    Retry,
    Settle,
    Settled,
    StepClosed,
)

_log = logging.getLogger("awaken.worker")
_MAX_ERROR_CHARS = 4_000
_OUTLIVED: frozenset[StopReason] = frozenset({"lost", "unconfirmed"})

_Produced = tuple[tuple[Message, ...], int]
"""Messages, and their size in bytes."""
_NOTHING: _Produced = (), 0


class Workshop(msgspec.Struct, frozen=True):
    """What every execution of a process shares."""

    combiner: Combiner
    store: Store
    agents: Agents
    clock: Clock
    ids: Ids
    settings: MailboxSettings
    observer: Observer
    ask_offer: Callable[[Execution], Offer | None]
    """Asked once, right before a settlement: the offer to make for the thread's next dispatch, if any."""
    on_over: Callable[[Execution], None]
    """Told once of every execution: when it is settled, or has ended without being."""


class _End(msgspec.Struct, gc=False):
    """How an execution ended, before it is settled."""

    ending: Ending
    label: OutcomeLabel
    messages: tuple[Message, ...] = ()
    size: int = 0
    """Of the messages, in bytes."""
    usage: Usage | None = None
    steps: int | None = None
    events: tuple[LoggedEvent, ...] = ()
    """They follow the messages."""


class Execution:
    """A claim being executed by this process."""

    __slots__ = (
        "_acknowledged", "_driving", "_give_up_s", "_label", "_port", "_reason", "_settle",
        "_settle_bytes", "_shop", "_started_s", "_writer", "asked_s", "claimed", "dispatch_id", "has_slot",
        "is_followed", "lease_until", "task", "thread", "token",
    )  # fmt: skip

    def __init__(self, claimed: Claimed, asked_s: float, workshop: Workshop) -> None:
        """`asked_s`: when the claim was asked for, on the monotonic clock."""
        self.claimed = claimed
        self.thread = (claimed.scope, claimed.run.thread_id)
        self.dispatch_id = claimed.dispatch.dispatch_id
        self.token = claimed.token
        self.asked_s = asked_s
        self.lease_until = claimed.dispatch.lease_until
        self._shop = workshop
        self._writer = RunWriter(
            claimed, workshop.combiner, workshop.clock, workshop.settings.settle_retry_s, self._told
        )
        run = claimed.run
        self._port = Port(claimed, run, self._writer, workshop.store, workshop.ids, run.steps, run.usage)
        self.is_followed = claimed.queued > 0
        """Whether something waits behind it in its thread, as far as this process knows."""
        self.has_slot = True
        self.task: asyncio.Task[None] | None = None
        """What runs it, while it is executing."""
        self._reason: StopReason | None = None
        self._driving = False
        self._acknowledged: asyncio.Future[None] | None = None
        self._label: OutcomeLabel = "lost"
        self._settle: Settle | None = None
        """The settlement, once it has been asked for."""
        self._give_up_s: float | None = None

    def stop(self, reason: StopReason) -> None:
        """Ask the execution to stop; asking again cancels again. A settlement that has begun is left to finish."""
        first = self._reason is None
        if first or self._outweighs(reason):
            self._reason = reason
        if reason in _OUTLIVED:
            self._writer.abandon(LeaseLost(self.claimed.dispatch.dispatch_id, reason))
        if not self._driving or self.task is None:
            return
        if first and reason == "cancel":
            self._acknowledge()
        self.task.cancel()

    async def run(self) -> None:
        """Execute, and ask for the settlement, as the whole of a task. Whatever the agent raises, its neighbours do not
        notice. The settlement is waited for without the task.
        """
        shop = self._shop
        self._started_s = shop.clock.monotonic()
        shop.observer.started(self.claimed)
        try:
            end = await self._execute()
            if end is not None and self._writer.flying is not None:
                await self._writer.landed()
            if self._reason in _OUTLIVED or end is None:
                _log.warning("lease lost: run %s wrote nothing more", self.claimed.run.run_id)
            else:
                self._label = end.label
                self._ask(self._settlement(end, shop.ask_offer(self)))
        except Exception:
            _log.exception("run %s: the worker failed; its lease will return it", self.claimed.run.run_id)
        finally:
            self.task = None
            if self._settle is None:
                self._close("lost")

    def _close(self, label: OutcomeLabel) -> None:
        shop = self._shop
        self._writer.forget()
        shop.observer.ended(self.claimed, label, shop.clock.monotonic() - self._started_s)
        shop.on_over(self)

    # --- executing ----------------------------------------------------------------------------------------------------

    async def _execute(self) -> _End | None:
        """Drive the agent. None: the claim is somebody else's now."""
        if self._stopping:
            return self._stopped(Stopped())
        self._driving = True
        try:
            driver = self._shop.agents.driver(self.claimed.run.agent_id)
            outcome = await driver.drive(self._port, self._port)
            return self._finished(outcome) if self._writer.failure is None else self._ended_by(self._writer.failure)
        except Stopped as stopped:
            return self._stopped(stopped) if self._stopping else self._finished_early(stopped)
        except (KeyboardInterrupt, GeneratorExit):
            raise
        except BaseException as error:  # the supervisor of one run: it records and decides
            return self._ended_by(error)
        finally:
            self._driving = False
            while self.task is not None and self.task.uncancel():
                pass

    def _ended_by(self, error: BaseException) -> _End | None:
        if self._reason in _OUTLIVED:
            return None
        if self._stopping:
            return self._stopped(Stopped())
        if isinstance(error, asyncio.CancelledError):
            error = TransientFailure("the agent was cancelled, and not by a request to stop the run")
        return self._failed(error)

    @property
    def is_lost(self) -> bool:
        """Whether the claim is over without a settlement of this execution."""
        return self._reason in _OUTLIVED

    @property
    def _stopping(self) -> bool:
        return self._reason is not None

    def _outweighs(self, reason: StopReason) -> bool:
        """A lost lease says more than a request to stop, and an interrupt more than a cancel."""
        return reason in _OUTLIVED or (reason == "interrupt" and self._reason not in _OUTLIVED)

    def _finished(self, outcome: DriveOutcome) -> _End:
        if outcome.termination.type == "suspended":
            return self._failed(PermanentFailure("the agent suspended itself, which this version cannot resume"))
        messages, size = self._produced(outcome.messages) if outcome.messages else _NOTHING
        output = outcome.final_output
        if output is None:
            output = messages[-1].text if messages else self._port.last_text
        ending = Ack(outcome.termination, output)
        if output is not None or outcome.termination is not NATURAL_END:
            msgspec.json.encode(ending)  # what cannot be stored must fail here, where it costs only this run
        events = tuple([logged(event) for event in outcome.events])
        return _End(ending, "completed", messages, size, outcome.usage, outcome.steps, events)

    def _finished_early(self, stopped: Stopped) -> _End:
        """A driver that stops without having been asked has simply ended."""
        return _End(Ack(NATURAL_END, self._port.last_text), "completed", *self._kept(stopped), stopped.usage)

    def _stopped(self, stopped: Stopped) -> _End:
        if self._reason == "handover":
            return _End(Release("handed over at shutdown"), "released")
        kept, size = self._kept(stopped)
        messages = tuple(
            replace(message, state=MessageState.INTERRUPTED) if message.role is ASSISTANT else message
            for message in kept
        )
        output = messages[-1].text if messages else None
        return _End(Ack(CANCELLED, output), "cancelled", messages, size, stopped.usage)

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
        failure, text = _diagnosis(error)
        _log.info("run %s failed: %s", self.claimed.run.run_id, text, exc_info=not isinstance(error, AwakenError))
        if isinstance(failure, PermanentFailure):
            return _End(DeadLetter(text), "permanent_error")
        retry_after_ms = round((failure.retry_after_s or 0.0) * 1000)
        return _End(Retry(text, self._shop.settings.retry, retry_after_ms), "transient_error")

    # --- settling -----------------------------------------------------------------------------------------------------

    def _settlement(self, end: _End, offer: Offer | None) -> Settle:
        rest = self._writer.take_rest()
        self._settle_bytes = rest.payload_bytes + end.size
        entries = list(rest.entries)
        if self._owes_acknowledgement(end, rest):
            entries.append(say.cancel_acknowledged(self.claimed.dispatch).logged())
        stream_open = self._writer.stream_open
        for message in end.messages:
            entries.append(message)
            stream_open = stream_open and message.role is not ASSISTANT
        entries += end.events
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
            ending=end.ending,
            entries=tuple(entries),
            journal=tuple(rest.journal),
            closes=closes,
            stream_open=stream_open,
            offer=offer,
        )

    def _ask(self, settle: Settle) -> None:
        self._settle = settle
        self._shop.combiner.put(settle, self, self._settle_bytes)

    def _owes_acknowledgement(self, end: _End, rest: Pending) -> bool:
        """Whether a stop was heeded and the log does not say so yet: it came before the start, or was an interrupt."""
        if self._reason != "interrupt" and end.label != "cancelled":
            return False
        said = self._acknowledged
        if said is not None and said.done() and said.exception() is None:
            return False
        return not any(isinstance(entry, LoggedEvent) and entry.kind == "CancelAcknowledged" for entry in rest.entries)

    # --- as the answer to its settlement ------------------------------------------------------------------------------

    def set_result(self, outcome: Outcome) -> None:
        settle = self._settle
        assert settle is not None, "it was asked for"
        if type(outcome) is Conflict and type(settle.ending) is not DeadLetter:
            error = f"the run's last messages could not be stored: message id {outcome.id!r} is taken"
            events = tuple([entry for entry in settle.entries if isinstance(entry, LoggedEvent)])
            self._ask(replace(settle, ending=DeadLetter(error), entries=events, offer=None))
            return
        if type(outcome) is not Settled:
            _log.warning("lease lost: run %s was not settled by its old owner", settle.run_id)
        self._close(self._label)

    def set_exception(self, error: BaseException) -> None:
        """Asked again and again while the store cannot write and the lease may still hold."""
        settle, clock, settings = self._settle, self._shop.clock, self._shop.settings
        assert settle is not None, "it was asked for"
        if self._give_up_s is None:
            self._give_up_s = clock.monotonic() + settings.lease_ms / 1000
        over = clock.monotonic() >= self._give_up_s or self._reason in _OUTLIVED or self._shop.combiner.closed
        if over or not isinstance(error, StoreUnavailable):
            _log.error("run %s could not be settled: %s", settle.run_id, error)
            self._close(self._label)
        else:
            again = replace(settle, offer=None)  # it may have been taken, by a write that was not answered
            clock.call_later(settings.settle_retry_s, lambda: self._ask(again))

    # --- being told ---------------------------------------------------------------------------------------------------

    def _told(self, what: StopReason) -> None:
        """The store said so with a commit. Said again, it is no new request: an agent may be tidying up by then."""
        if self._reason is None or (what != self._reason and self._outweighs(what)):
            self.stop(what)

    def _acknowledge(self) -> None:
        with suppress(AwakenError):  # then the claim is over anyway
            self._writer.add(say.cancel_acknowledged(self.claimed.dispatch).logged())
            self._acknowledged = self._writer.durable()


def _diagnosis(error: BaseException) -> tuple[TransientFailure | PermanentFailure, str]:
    """What the exception means, and its text as it may be stored, however oddly the exception behaves."""
    try:
        failure = classify(error)
        text = str(failure)
    except Exception:  # an exception whose own methods fail
        failure, text = TransientFailure(type(error).__name__), ""
    text = text or type(error).__name__
    return failure, text[:_MAX_ERROR_CHARS].encode(errors="replace").decode()
