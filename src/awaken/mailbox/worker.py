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

from awaken.domain import server_event as say
from awaken.domain.clock import Clock, sleep
from awaken.domain.errors import AwakenError, LeaseLost, PermanentFailure, StoreUnavailable, TransientFailure
from awaken.domain.ids import Ids
from awaken.domain.message import Message, MessageState, Role
from awaken.domain.run import CANCELLED, NATURAL_END, Usage
from awaken.executors.classify import classify
from awaken.executors.contract import DriveOutcome, Stopped
from awaken.executors.registry import Agents
from awaken.mailbox.keeper import StopReason
from awaken.mailbox.observer import Observer, OutcomeLabel
from awaken.mailbox.port import Port, RunWriter, finish
from awaken.mailbox.settings import MailboxSettings
from awaken.store.combiner import Combiner
from awaken.store.contract import Store
from awaken.store.transitions import (
    Ack,
    Claimed,
    Conflict,
    DeadLetter,
    Ending,
    LeaseRef,
    Offer,
    Release,
    Retry,
    Settle,
    Settled,
    StepClosed,
)

OfferSource = Callable[[], Offer | None]
"""Asked once, right before a settlement: the offer to make for the thread's next dispatch, if any."""

_log = logging.getLogger("awaken.worker")
_OUTLIVED: frozenset[StopReason] = frozenset({"lost", "unconfirmed"})


class Workshop(msgspec.Struct, frozen=True):
    """What every execution of a process shares."""

    combiner: Combiner
    store: Store
    agents: Agents
    clock: Clock
    ids: Ids
    settings: MailboxSettings
    observer: Observer


class _End(msgspec.Struct):
    """How an execution ended, before it is settled."""

    ending: Ending
    label: OutcomeLabel
    messages: tuple[Message, ...] = ()
    usage: Usage | None = None
    steps: int | None = None


class Execution:
    """A claim being executed by this process."""

    def __init__(self, claimed: Claimed, workshop: Workshop) -> None:
        self.claimed = claimed
        self.lease = LeaseRef(claimed.scope, claimed.dispatch.dispatch_id, claimed.token)
        self._shop = workshop
        self._writer = RunWriter(claimed, workshop.combiner, self._told)
        self._port = Port(claimed, self._writer, workshop.store, workshop.ids)
        self._task: asyncio.Task[None] | None = None
        self._reason: StopReason | None = None
        self._driving = False

    def stop(self, reason: StopReason) -> None:
        """Ask the execution to stop; idempotent. A settlement that has begun is left to finish."""
        first = self._reason is None
        if first or reason in _OUTLIVED or (reason == "interrupt" and self._reason not in _OUTLIVED):
            self._reason = reason
        if not self._driving or self._task is None:
            return
        if first and reason == "cancel":
            self._acknowledge()
        self._task.cancel()

    async def run(self, ask_offer: OfferSource) -> None:
        """Execute and settle. Raises nothing but the cancellation of the process's own task group."""
        self._task = asyncio.current_task()
        started_s = self._shop.clock.monotonic()
        self._shop.observer.started(self.claimed)
        label: OutcomeLabel = "lost"
        try:
            end = await self._execute()
            if self._reason in _OUTLIVED or end is None:
                _log.warning("lease lost: run %s wrote nothing more", self.claimed.run.run_id)
            else:
                label = end.label
                await self._settle(end, ask_offer)
        finally:
            self._shop.observer.ended(self.claimed, label, self._shop.clock.monotonic() - started_s)

    # --- executing ----------------------------------------------------------------------------------------------------

    async def _execute(self) -> _End | None:
        """Drive the agent. None: the claim is somebody else's now."""
        if self._stopping:
            return self._stopped(Stopped())
        self._driving = True
        try:
            driver = self._shop.agents.driver(self.claimed.run.agent_id)
            return self._finished(await driver.drive(self._port, self._port))
        except asyncio.CancelledError:
            if self._stopping:
                return self._stopped(Stopped())
            if self._was_cancelled():
                raise  # the whole process goes down hard; the lease, or the next start, returns the dispatch
            return self._failed(TransientFailure("the agent cancelled itself"))
        except Stopped as stopped:
            return self._stopped(stopped) if self._stopping else self._finished_early(stopped)
        except LeaseLost:
            return self._stopped(Stopped()) if self._was_interrupted else None
        except Exception as error:  # the supervisor of one run: it records and decides
            return self._stopped(Stopped()) if self._stopping else self._failed(error)
        finally:
            self._driving = False
            if self._stopping and self._task is not None:
                while self._task.uncancel():
                    pass

    @property
    def _stopping(self) -> bool:
        return self._reason is not None

    @property
    def _was_interrupted(self) -> bool:
        return self._reason == "interrupt"

    def _was_cancelled(self) -> bool:
        return self._task is not None and self._task.cancelling() > 0

    def _finished(self, outcome: DriveOutcome) -> _End:
        if outcome.termination.type == "suspended":
            return self._failed(PermanentFailure("the agent suspended itself, which this version cannot resume"))
        output = outcome.final_output
        if output is None:
            output = outcome.messages[-1].text if outcome.messages else self._port.last_text
        return _End(Ack(outcome.termination, output), "completed", outcome.messages, outcome.usage, outcome.steps)

    def _finished_early(self, stopped: Stopped) -> _End:
        """A driver that stops without having been asked has simply ended."""
        return _End(Ack(NATURAL_END, self._port.last_text), "completed", stopped.messages, stopped.usage)

    def _stopped(self, stopped: Stopped) -> _End:
        if self._reason == "handover":
            return _End(Release("handed over at shutdown"), "released")
        messages = tuple(
            msgspec.structs.replace(message, state=MessageState.INTERRUPTED)
            if message.role is Role.ASSISTANT
            else message
            for message in stopped.messages
        )
        output = messages[-1].text if messages else None
        return _End(Ack(CANCELLED, output), "cancelled", messages, stopped.usage)

    def _failed(self, error: BaseException) -> _End:
        failure = classify(error)
        text = str(failure) or type(error).__name__
        _log.info("run %s failed: %s", self.claimed.run.run_id, text, exc_info=not isinstance(error, AwakenError))
        if isinstance(failure, PermanentFailure):
            return _End(DeadLetter(text), "permanent_error")
        retry_after_ms = round((failure.retry_after_s or 0.0) * 1000)
        return _End(Retry(text, self._shop.settings.retry, retry_after_ms), "transient_error")

    # --- settling -----------------------------------------------------------------------------------------------------

    async def _settle(self, end: _End, ask_offer: OfferSource) -> None:
        rest = await self._writer.take_rest()
        entries = list(rest.entries)
        if self._reason == "interrupt":
            entries.append(say.cancel_acknowledged(self.claimed.dispatch))
        stream_open = self._writer.stream_open
        for message in end.messages:
            entries.append(self._port.produced(message))
            stream_open = stream_open and message.role is not Role.ASSISTANT
        closes = rest.closes
        if end.usage is not None or end.steps is not None:
            closes = StepClosed(
                self._port.steps if end.steps is None else end.steps,
                self._port.usage if end.usage is None else end.usage,
                None if rest.closes is None else rest.closes.turn,
            )
        claimed = self.claimed
        settle = Settle(
            scope=claimed.scope,
            thread_id=claimed.run.thread_id,
            run_id=claimed.run.run_id,
            dispatch_id=claimed.dispatch.dispatch_id,
            token=claimed.token,
            ending=end.ending,
            entries=tuple(entries),
            journal=tuple(rest.journal),
            closes=closes,
            stream_open=stream_open,
            offer=ask_offer(),
        )
        await self._apply(settle)

    async def _apply(self, settle: Settle) -> None:
        """Settle, again and again while the store cannot write and the lease may still hold."""
        clock, settings = self._shop.clock, self._shop.settings
        give_up_s = clock.monotonic() + settings.lease_ms / 1000
        while True:
            try:
                outcome = await finish(self._shop.combiner.ask(settle))
                break
            except StoreUnavailable as error:
                if clock.monotonic() >= give_up_s or self._reason in _OUTLIVED:
                    _log.error("run %s could not be settled: %s", settle.run_id, error)
                    return
                settle = msgspec.structs.replace(settle, offer=None)  # its slot was freed by the failure
                await sleep(clock, settings.settle_retry_s)
        if isinstance(outcome, Conflict):
            error = f"the run's last messages could not be stored: message id {outcome.id!r} is taken"
            await finish(
                self._shop.combiner.ask(
                    msgspec.structs.replace(settle, ending=DeadLetter(error), entries=(), journal=(), offer=None)
                )
            )
        elif not isinstance(outcome, Settled):
            _log.warning("lease lost: run %s was not settled by its old owner", settle.run_id)

    # --- being told ---------------------------------------------------------------------------------------------------

    def _told(self, what: StopReason) -> None:
        """The store said so with a commit."""
        self.stop(what)

    def _acknowledge(self) -> None:
        with suppress(LeaseLost, StoreUnavailable):  # then the claim is over anyway
            self._writer.add(say.cancel_acknowledged(self.claimed.dispatch))
