"""What an outcome sets off: after each commit, and before its caller is answered.

Above: the combiner calls this for every transition that was applied, in the order of the commits, and for each whose
fate is unknown. Below: readers, slots, executions and timers, which are notified of what they need to know.
Holds: a claim is executed from the outcome of the transition that won it, so a caller who goes away while it waits
strands nothing. Every slot that was offered is taken, or free again, when its answer is here.

Source: ADR 0004, ADR 0008, ADR 0012.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

from awaken.domain.delivery import CLEARING
from awaken.domain.ids import Scope, ThreadId
from awaken.domain.run import DONE, Run
from awaken.domain.ticket import TicketRequest
from awaken.mailbox.dispatcher import Dispatcher
from awaken.mailbox.executions import Executions
from awaken.mailbox.observer import Observer
from awaken.mailbox.outbox import Outbox
from awaken.mailbox.reader import Hub
from awaken.mailbox.slots import Slots
from awaken.mailbox.sweeper import Sweeper
from awaken.store.contract import Signal
from awaken.store.given_up import report_given_up
from awaken.store.transitions import (
    Cancel,
    CancelResult,
    Claim,
    Claimed,
    ClaimedSome,
    Commit,
    Committed,
    Continued,
    Decide,
    Decided,
    DeleteThread,
    DispatchEdited,
    Edit,
    EditDispatch,
    EditSchedules,
    GaveUp,
    GiveUp,
    Interrupt,
    Interrupted,
    Mend,
    MendedSome,
    Offer,
    Outcome,
    Reclaim,
    Reclaimed,
    Reorder,
    Replayed,
    Retract,
    Retracted,
    SchedulesEdited,
    Settle,
    Settled,
    Staged,
    Submit,
    Submitted,
    Suspend,
    ThreadDeleted,
    Tick,
    Ticked,
    Transition,
    Undecided,
)


class Reactions:
    """One per process."""

    def __init__(
        self,
        *,
        hub: Hub,
        slots: Slots,
        executions: Executions,
        dispatcher: Dispatcher,
        sweeper: Sweeper,
        outbox: Outbox,
        observer: Observer,
    ) -> None:
        self._hub = hub
        self._slots = slots
        self._executions = executions
        self._dispatcher = dispatcher
        self._sweeper = sweeper
        self._outbox = outbox
        self._observer = observer
        self._by_kind: Mapping[type[Any], Callable[[Any, Outcome, float], None]] = {
            Submit: self._submitted,
            Settle: self._settled,
            Claim: self._claimed,
            GiveUp: self._gave_up,
            Decide: self._decided,
            Cancel: self._cancelled,
            EditDispatch: self._placed,
            Interrupt: self._interrupted,
            DeleteThread: self._deleted,
            Reclaim: self._reclaimed,
            EditSchedules: self._schedules_changed,
            Tick: self._ticked,
            Retract: self._retracted,
            Edit: self._changed,
            Reorder: self._changed,
            Mend: self._mended,
        }
        """The other kinds set off nothing but what they appended."""

    def applied(self, transition: Transition, outcome: Outcome, asked_s: float) -> None:
        """A transition was applied, in a batch that left for the store at `asked_s`."""
        if self._hub.readers or self._hub.watchers:
            self._hub.publish(outcome.appended)
        for row in outcome.appended:
            if row.posted:
                self._outbox.post(row.posted)
        if (
            isinstance(outcome, Committed | Continued | Settled)
            and outcome.repeated
            and isinstance(transition, Commit | Settle)
        ):
            # Its answer was lost the first time, and its events with it.
            self._hub.stir(Signal(frozenset([(transition.scope, transition.thread_id)])))
            if transition.posts:
                self._outbox.look()
        if type(transition) is Commit and transition.opens:
            self._expect_expiry(transition.opens)
        react = self._by_kind.get(type(transition))
        if react is not None:
            react(transition, outcome, asked_s)

    def failed(self, transition: Transition) -> None:
        """It is not known what became of it: whatever it offered is not taken by us, and if it was after all, the sweep
        releases that. A settlement is asked again with its offer, so whoever asks knows when that is lost.
        """
        if isinstance(transition, Submit) and transition.offer is not None:
            self._sweeper.expect_left()
            if self._slots.lost(transition.offer):
                self._dispatcher.wake()
        elif isinstance(transition, Claim):
            self._sweeper.expect_left()
            self._slots.claim_lost(transition)
        elif isinstance(transition, Submit | Decide | EditDispatch):
            self._dispatcher.wake()  # it may have left its thread due
        if isinstance(transition, Submit | Decide | Edit | Reorder):
            self._have_looked(transition.scope, transition.thread_id)
        self._dispatcher.slot_freed()
        self._outbox.look()
        self._observer.failed(transition)

    # --- what starts executions ---------------------------------------------------------------------------------------

    def _submitted(self, transition: Submit, outcome: Outcome, asked_s: float) -> None:
        accepted = outcome if type(outcome) is Submitted else None
        if accepted is not None and accepted.interrupted is not None:
            self._cleared(transition.scope, transition.thread_id, accepted.interrupted)
        self._offered(transition.offer, accepted, asked_s)
        if transition.offer is not None and (accepted is None or accepted.claimed is None):
            self._dispatcher.slot_freed()
        if accepted is not None and accepted.claimed is None:
            ahead = self._executions.in_thread(transition.scope, transition.thread_id)
            if ahead is not None:
                ahead.note_follower()
        if type(outcome) is Replayed and outcome.dispatch is not None and transition.delivery.mode in CLEARING:
            self._cleared_before(transition.scope, transition.thread_id, outcome.dispatch.epoch)
        if type(outcome) is Staged:
            key = (transition.scope, transition.thread_id)
            execution = self._executions.of_dispatch(*key, outcome.dispatch.dispatch_id)
            if execution is not None:
                execution.note_pending()
        elif type(outcome) is Replayed:  # how it was answered the first time was perhaps not heard here either
            self._have_looked(transition.scope, transition.thread_id)

    def _settled(self, transition: Settle, outcome: Outcome, asked_s: float) -> None:
        settled = outcome if type(outcome) is Settled else None
        if settled is not None:
            self._end(transition.scope, settled.run)
            if type(transition.ending) is Suspend:
                self._suspended(transition.scope, settled.run, transition.ending)
            report_given_up(settled.dispatch)
            self._executions.settled(transition.scope, transition.thread_id, transition.token)
            if self._slots.is_shared(settled.dispatch.route):
                self._dispatcher.wake()  # a claim that left before it was settled has still counted it
            if settled.dispatch.is_suspect and settled.dispatch.status.is_terminal:
                self._dispatcher.suspect_progressed()
        self._offered(transition.offer, settled, asked_s)

    def _suspended(self, scope: Scope, run: Run, ending: Suspend) -> None:
        self._expect_expiry(ending.opens)
        if run.waits_for_somebody:
            self._hub.parked(scope, run)

    def _expect_expiry(self, opened: Iterable[TicketRequest]) -> None:
        """Should nobody decide in time, nobody finds that sooner than this process."""
        for asked in opened:
            if asked.expires_in_ms is not None:
                self._sweeper.expect(asked.expires_in_ms)

    def _decided(self, transition: Decide, outcome: Outcome, asked_s: float) -> None:
        """The run goes on, or ends; a repeated answer carries no events, so whoever watches looks for himself."""
        if not isinstance(outcome, Decided | Undecided):
            return
        self._end(transition.scope, outcome.run)
        if isinstance(outcome, Decided) and any(outcome.duplicates):
            self._hub.stir(Signal(frozenset([(transition.scope, transition.thread_id)])))
        if isinstance(outcome, Decided) and (outcome.pended or any(outcome.duplicates)):
            self._have_looked(transition.scope, transition.thread_id)
        if outcome.ready_in_ms is not None:
            self._ready(outcome.ready_in_ms)

    def _changed(self, transition: Edit | Reorder, outcome: Outcome, asked_s: float) -> None:
        self._have_looked(transition.scope, transition.thread_id)

    def _have_looked(self, scope: Scope, thread_id: ThreadId) -> None:
        """What the thread's execution knows of what waits for it may not be so any more."""
        self._executions.stir([(scope, thread_id)])

    def _claimed(self, transition: Claim, outcome: Outcome, asked_s: float) -> None:
        assert isinstance(outcome, ClaimedSome), "a claim answers with what it claimed"
        self._slots.claim_answered(transition, len(outcome.claims))
        for closed in outcome.closed:
            self._end(closed.scope, closed.run)
            report_given_up(closed.dispatch)
        for claimed, offer in zip(outcome.claims, transition.offers, strict=False):
            self._start(claimed, offer, asked_s)
        self._dispatcher.answered(outcome)

    def _gave_up(self, transition: GiveUp, outcome: Outcome, asked_s: float) -> None:
        assert isinstance(outcome, GaveUp), "a round of it answers with what it closed"
        for closed in outcome.closed:
            self._end(closed.scope, closed.run)
            report_given_up(closed.dispatch)
        if outcome.closed:
            self._dispatcher.wake()  # what waited behind it may be due

    def _offered(self, offer: Offer | None, outcome: Submitted | Settled | None, asked_s: float) -> None:
        """Start what the offer won, or take it back; look after what waits in the thread."""
        won = None if outcome is None else outcome.claimed
        if offer is not None:
            if self._slots.answered(offer, won):
                self._dispatcher.wake()
            if won is not None:
                self._start(won, offer, asked_s)
        if outcome is not None and outcome.ready_in_ms is not None:
            self._ready(outcome.ready_in_ms)

    def _start(self, claimed: Claimed, offer: Offer, asked_s: float) -> None:
        self._executions.start(claimed, asked_s)
        if offer.lease_ms is not None:  # should it be lost, nobody finds it sooner than this process
            self._sweeper.expect(offer.lease_ms + 1)

    def _ready(self, ready_in_ms: int) -> None:
        if ready_in_ms > 0:
            self._sweeper.expect(ready_in_ms)
        else:
            self._dispatcher.expect()
            self._sweeper.expect_unknown()

    # --- schedules ----------------------------------------------------------------------------------------------------

    def _schedules_changed(self, transition: EditSchedules, outcome: Outcome, asked_s: float) -> None:
        assert isinstance(outcome, SchedulesEdited), "an edit answers with what it changed"
        self._sweeper.expect_tick(outcome.next_due_in_ms)

    def _ticked(self, transition: Tick, outcome: Outcome, asked_s: float) -> None:
        assert isinstance(outcome, Ticked), "a tick answers with what it wrote"
        self._outbox.post(outcome.posted)
        self._sweeper.expect_tick(0 if outcome.more else outcome.next_due_in_ms)

    # --- what stops executions, and ends waits ------------------------------------------------------------------------

    def _cancelled(self, transition: Cancel, outcome: Outcome, asked_s: float) -> None:
        """In this process the owner learns of a stop at once. What waited behind a run that is closed may be due now,
        and be of an agent that has room here, where the other had none.
        """
        if not isinstance(outcome, CancelResult):
            return
        self._end(transition.scope, outcome.run)
        execution = self._executions.of_dispatch(transition.scope, transition.thread_id, outcome.run.dispatch_id)
        if outcome.state == "requested" and execution is not None:
            execution.stop("cancel")
        elif outcome.state == "stopped" and self._executions.in_thread(transition.scope, transition.thread_id) is None:
            self._dispatcher.wake()

    def _placed(self, transition: EditDispatch, outcome: Outcome, asked_s: float) -> None:
        if isinstance(outcome, DispatchEdited) and outcome.ready_in_ms is not None:
            self._ready(outcome.ready_in_ms)

    def _interrupted(self, transition: Interrupt, outcome: Outcome, asked_s: float) -> None:
        if isinstance(outcome, Interrupted):
            self._cleared(transition.scope, transition.thread_id, outcome)

    def _cleared(self, scope: Scope, thread_id: ThreadId, interrupted: Interrupted) -> None:
        for dispatch in interrupted.superseded:
            self._hub.ended(scope, dispatch.run_id, None)
        for run in interrupted.ended:
            self._end(scope, run)
        if interrupted.active is not None:
            execution = self._executions.in_thread(scope, thread_id)
            if execution is not None and execution.token == interrupted.active.claim_token:
                execution.stop("interrupt")
        self._hub.stir(Signal(frozenset([(scope, thread_id)])))  # it may have been cleared before, unheard

    def _cleared_before(self, scope: Scope, thread_id: ThreadId, epoch: int | None) -> None:
        """A thread was cleared by what is asked again: the answer may have been lost, and with it who was to hear of
        that. `epoch` None: nothing of the thread may be executed any more.
        """
        execution = self._executions.in_thread(scope, thread_id)
        if execution is not None and (epoch is None or execution.claimed.dispatch.epoch < epoch):
            execution.stop("interrupt")
        self._hub.stir(Signal(frozenset([(scope, thread_id)])))

    def _deleted(self, transition: DeleteThread, outcome: Outcome, asked_s: float) -> None:
        if not isinstance(outcome, ThreadDeleted):
            return
        if outcome.cleared is not None:
            self._cleared(transition.scope, transition.thread_id, outcome.cleared)
        if outcome.repeated:
            self._cleared_before(transition.scope, transition.thread_id, None)

    def _retracted(self, transition: Retract, outcome: Outcome, asked_s: float) -> None:
        """With its last message a queued run is cancelled; what waited behind it may be due now."""
        if isinstance(outcome, Retracted) and outcome.appended:
            self._end(transition.scope, outcome.cancelled)
            if self._executions.in_thread(transition.scope, transition.thread_id) is None:
                self._dispatcher.wake()

    def _reclaimed(self, transition: Reclaim, outcome: Outcome, asked_s: float) -> None:
        """A claim of this process that was taken back has ended, whatever its execution still believes; and what is
        queued again may be due.
        """
        assert isinstance(outcome, Reclaimed), "a reclaim answers with what it took back"
        for item in outcome.items:
            self._end(item.scope, item.run)
            report_given_up(item.dispatch)
            execution = self._executions.of_dispatch(item.scope, item.dispatch.thread_id, item.dispatch.dispatch_id)
            if execution is not None:
                execution.stop("lost")
        if outcome.items:
            self._dispatcher.wake()

    def _mended(self, transition: Mend, outcome: Outcome, asked_s: float) -> None:
        """What was queued by it may be due; a claim that it ended has ended for its execution too."""
        assert isinstance(outcome, MendedSome), "a repair answers with what became of each breach"
        for item in outcome.closed:
            self._end(item.scope, item.run)
            report_given_up(item.dispatch)
            execution = self._executions.of_dispatch(item.scope, item.dispatch.thread_id, item.dispatch.dispatch_id)
            if execution is not None:
                execution.stop("lost")
        if any(each.result == "mended" for each in outcome.mendings):
            self._dispatcher.wake()
            self._sweeper.expect(0)

    def _end(self, scope: Scope, run: Run | None) -> None:
        """Resume whoever waits for the run, if it has ended."""
        if run is not None and run.status is DONE:
            self._hub.ended(scope, run.run_id, run)
