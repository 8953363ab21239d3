"""Metrics for Prometheus: what the mailbox and the HTTP layer report, counted and written out when asked.

Above: `Awaken` makes one observer, hands it to both layers, and serves `scrape`. Below: `tally.py` counts, `names.py`
names, `prometheus_client` writes the text.
Holds: one registry per observer, never the global one, so that two servers in one process keep their numbers apart;
what is reported on the hot path is added to a series found beforehand, and nothing is asked of the store.

Depths, and tickets that are open, are counted at the scrape, not after every operation.

Source: docs/howto/observe.md.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Final, assert_never, cast, get_args

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4, generate_latest
from prometheus_client.metrics_core import Metric as Exposed
from prometheus_client.registry import Collector, CollectorRegistry

from awaken.domain.clock import Clock, SystemClock
from awaken.domain.dispatch import ACKED, DispatchStatus
from awaken.domain.errors import AwakenError
from awaken.domain.event import ErrorRecorded, Event, InferenceComplete, ToolCallDone
from awaken.domain.ids import ClaimToken
from awaken.domain.run import RunStatus
from awaken.domain.ticket import TicketKind
from awaken.mailbox.observer import Observer, OutcomeLabel
from awaken.store.contract import Reads
from awaken.store.invariants import INVARIANTS
from awaken.store.transitions import (
    Ack,
    Blocked,
    Cancel,
    CancelResult,
    Claim,
    Claimed,
    ClaimedSome,
    Closed,
    Commit,
    Committed,
    Conflict,
    Consumed,
    DeadLetter,
    Decide,
    Decided,
    DeleteThread,
    Delivered,
    DeliveredSome,
    Discard,
    Edit,
    EditDispatch,
    EditSchedules,
    EditThread,
    Ending,
    Failed,
    GaveUp,
    GiveUp,
    Gone,
    HasChildren,
    Hide,
    HideRun,
    Interrupt,
    Interrupted,
    LeaseLost,
    Mend,
    MendedSome,
    Missing,
    NoteChild,
    NotOpen,
    NotWaiting,
    Outcome,
    Oversize,
    PatchState,
    Purge,
    Purged,
    Reclaim,
    Reclaimed,
    Release,
    Renew,
    Renewed,
    Reorder,
    Replayed,
    Retract,
    Retry,
    SaveThread,
    SchedulesEdited,
    Settle,
    Settled,
    Stale,
    Submit,
    Submitted,
    Suspend,
    ThreadSaved,
    Tick,
    Ticked,
    Transition,
    Undecided,
)
from awaken.telemetry import names
from awaken.telemetry.http import HttpMetrics
from awaken.telemetry.models import ModelMetrics
from awaken.telemetry.tally import Family, Number, Spread, numbers, spreads

CONTENT_TYPE: Final = CONTENT_TYPE_PLAIN_0_0_4
DEPTH_AGE_S: Final = 1.0
"""Scrapes this close together share one count of the dispatches."""
MAX_UNFOLDED: Final = 512
"""Starts and ends that are noted before they are sorted into histograms: a note costs the event loop an append."""
_REFUSED: Final = frozenset(
    {Missing, Conflict, Gone, HasChildren, Stale, Oversize, NotOpen, NotWaiting, Blocked, Consumed, Undecided}
)
"""Answers to what was not done."""
_FAILED_CALLS: Final = frozenset({"failed", "invalid_arguments", "timed_out", "unknown"})
_ERROR_CLASSES: Final[Mapping[OutcomeLabel, str]] = {
    "transient_error": "transient",
    "permanent_error": "permanent",
    "lost": "lost",
}


class PrometheusObserver(Observer):
    """Counts for one server; `http` is for what the HTTP layer reports."""

    hears = frozenset({InferenceComplete, ToolCallDone, ErrorRecorded})

    def __init__(self, store: Reads, clock: Clock | None = None) -> None:
        self._store = store
        self._clock: Clock = clock or SystemClock()
        self.http = HttpMetrics()
        self._operations = numbers(names.OPERATIONS)
        self._durations = spreads(names.OPERATION_DURATION)
        self._dispatches = numbers(names.DISPATCH_DEPTH)
        self._queue = numbers(names.QUEUE_DEPTH)
        self._unserved = numbers(names.UNSERVED_ROUTES)
        self._mended = numbers(names.AUDIT_MENDED)
        self._refused = numbers(names.AUDIT_REFUSED)
        self._active_runs = numbers(names.ACTIVE_RUNS)
        self._runs = numbers(names.RUNS)
        self._enqueue_to_start = spreads(names.ENQUEUE_TO_START)
        self._eligible_to_start = spreads(names.ELIGIBLE_TO_START)
        self._claim_to_start = spreads(names.CLAIM_TO_START)
        self._enqueue_to_complete = spreads(names.ENQUEUE_TO_COMPLETE)
        self._runtime = spreads(names.RUNTIME)
        self._run_duration = self._runtime.renamed(names.RUN_DURATION)
        self._errors = numbers(names.ERRORS)
        self._models = ModelMetrics()
        self._decisions = numbers(names.DECISIONS)
        self._tickets = numbers(names.TICKETS_OPEN)
        self._ticket_age = numbers(names.TICKET_AGE)
        self._counted_at_s: float | None = None

        self._active = self._active_runs.child()
        self.unserved(0)
        self.audited(0)
        for invariant in INVARIANTS:
            if invariant.mended:
                self._mended.child(invariant.name)  # so that the first of them is an increase
        self._starts = (self._enqueue_to_start.child(), self._eligible_to_start.child(), self._claim_to_start.child())
        self._started: list[tuple[float, float, float]] = []
        """Seconds from enqueue, from when it was due and from the claim to each start that the histograms do not hold
        yet."""
        self._ended: dict[OutcomeLabel, list[tuple[float, float, int]]] = {}
        """Seconds from enqueue to the end, and of running, in the same way; and whether the run's outcome is the label,
        1 or 0."""
        self._given_up: set[ClaimToken] = set()
        """Claims whose settlement was a dead letter: that is how the run is counted, and not how its execution ended,
        too."""
        for operation, result in (("enqueue", "ok"), ("ack", "ok"), ("claim", "ok"), ("claim", "empty")):
            self._note(0.0, operation, result, amount=0)
        self._tallies: Mapping[type[Any], Callable[[Any, Any, float], None]] = {
            SaveThread: self._saved,
            Submit: self._submitted,
            Commit: self._committed,
            Settle: self._settled,
            Cancel: self._cancelled,
            Interrupt: self._interrupted,
            Renew: self._renewed,
            Reclaim: self._reclaimed,
            Claim: self._claimed,
            Decide: self._decided,
            GiveUp: self._gave_up,
            Delivered: self._delivered,
            EditSchedules: self._edited,
            Tick: self._ticked,
            Purge: self._purged,
            Mend: self._looked_after,
        }
        self._registry = CollectorRegistry(auto_describe=False)
        self._registry.register(_Families(self._families))

    # --- reported by the mailbox --------------------------------------------------------------------------------------

    def applied(self, transitions: Sequence[Any], outcomes: Sequence[Outcome], took_s: float) -> None:
        enqueued = acked = claims = empty_claims = 0
        for transition, outcome in zip(transitions, outcomes, strict=True):
            if type(outcome) is Submitted:
                enqueued += 1
            elif type(outcome) is Settled:
                if type(transition.ending) is Ack and outcome.dispatch.status is ACKED:
                    acked += 1
                else:
                    self._settled(transition, outcome, took_s)
            else:
                if type(outcome) is not Failed:
                    tally = self._tallies.get(cast("type[Any]", type(transition)), self._changed)
                    tally(transition, outcome, took_s)
                continue
            if transition.offer is not None:
                if outcome.claimed is None:
                    empty_claims += 1
                else:
                    claims += 1
        self._note(took_s, "enqueue", amount=enqueued)
        self._note(took_s, "ack", amount=acked)
        self._note(took_s, "claim", amount=claims)
        self._note(took_s, "claim", "empty", amount=empty_claims)

    def failed(self, transition: Transition) -> None:
        self._errors.child("store").value += 1
        self._count(operation_of(transition), "error")

    def started(self, claimed: Claimed, since_claim_s: float) -> None:
        self._active.value += 1
        dispatch = claimed.dispatch
        claimed_at = dispatch.updated_at  # by the clock of the store, like what it is compared with
        queued_s, eligible_s = (claimed_at - dispatch.created_at) / 1000, (claimed_at - dispatch.available_at) / 1000
        self._started.append((queued_s + since_claim_s, eligible_s + since_claim_s, since_claim_s))
        if len(self._started) >= MAX_UNFOLDED:
            self._fold()

    def said(self, claimed: Claimed, events: Sequence[Event]) -> None:
        for event in events:
            match event:
                case InferenceComplete():
                    self._models.answered(event)
                case ToolCallDone(status=status) if status in _FAILED_CALLS:
                    self._errors.child("tool").value += 1
                case ErrorRecorded():
                    self._errors.child("recorded").value += 1
                case _:
                    pass

    def ended(self, claimed: Claimed, label: OutcomeLabel, runtime_s: float) -> None:
        self._active.value -= 1
        if label in _ERROR_CLASSES:
            self._errors.child(_ERROR_CLASSES[label]).value += 1
        ended = self._ended.get(label)
        if ended is None:
            ended = self._ended[label] = []
        queued_s = (claimed.dispatch.updated_at - claimed.dispatch.created_at) / 1000
        is_given_up = claimed.token in self._given_up
        self._given_up.discard(claimed.token)
        ended.append((queued_s + runtime_s, runtime_s, 0 if is_given_up else 1))

    def unserved(self, routes: int) -> None:
        self._unserved.child().value = routes

    def audited(self, refused: int) -> None:
        self._refused.child().value = refused

    def _fold(self) -> None:
        """Put what was noted into the histograms."""
        if self._started:
            for spread, waits_s in zip(self._starts, zip(*self._started, strict=True), strict=True):
                spread.observe_all(waits_s)
            self._started.clear()
        for label, ended in self._ended.items():
            if ended:
                to_complete_s, runtimes_s, counts = zip(*ended, strict=True)
                self._runs.child(label).value += sum(counts)
                self._enqueue_to_complete.child(label).observe_all(to_complete_s)
                self._runtime.child(label).observe_all(runtimes_s)
                ended.clear()

    # --- read by a scrape ---------------------------------------------------------------------------------------------

    async def scrape(self) -> bytes:
        """Everything counted so far, with depths at most `DEPTH_AGE_S` old, or as last known when the store fails."""
        await self._refresh_depths()
        return self.render()

    def render(self) -> bytes:
        """Everything counted so far, in the text format of `CONTENT_TYPE`."""
        self._fold()
        return generate_latest(self._registry)

    async def _refresh_depths(self) -> None:
        now_s = self._clock.monotonic()
        if self._counted_at_s is not None and now_s - self._counted_at_s < DEPTH_AGE_S:
            return
        try:
            depths = await self._store.count_dispatches()
            tickets = await self._store.count_open_tickets()
        except AwakenError:
            return  # the scrape of a server whose disk is full is worth more than its depths
        self._counted_at_s = now_s
        for status, depth in depths.items():
            self._dispatches.child(status.value).value = depth
        self._queue.child().value = depths[DispatchStatus.QUEUED]
        waiting = {each.kind: each for each in tickets}
        for kind in get_args(TicketKind):
            found = waiting.get(kind)
            self._tickets.child(kind).value = 0 if found is None else found.count
            self._ticket_age.child(kind).value = 0 if found is None else found.oldest_ms / 1000

    def _families(self) -> Iterable[Family[Number] | Family[Spread]]:
        yield from (self._operations, self._durations, self._queue, self._unserved, self._dispatches)
        yield from (self._mended, self._refused)
        yield from (self._active_runs, self._runs, self._errors, self._decisions, self._tickets, self._ticket_age)
        yield from self._models.families()
        yield from (self._enqueue_to_start, self._eligible_to_start, self._claim_to_start)
        yield from (self._enqueue_to_complete, self._runtime, self._run_duration)
        yield from self.http.families()

    # --- what each transition amounts to ------------------------------------------------------------------------------

    def _count(self, operation: str, result: str = "ok", amount: int = 1) -> None:
        if amount:
            self._operations.child(operation, result).value += amount

    def _note(self, took_s: float, operation: str, result: str = "ok", *, amount: int = 1) -> None:
        """Count an operation of a batch that took so long."""
        self._operations.child(operation, result).value += amount
        self._durations.child(operation, result).observe(took_s, amount)

    def _saved(self, transition: SaveThread, outcome: Outcome, took_s: float) -> None:
        self._note(took_s, "save_thread", "ok" if type(outcome) is ThreadSaved else "refused")

    def _changed(self, transition: Transition, outcome: Outcome, took_s: float) -> None:
        """Whatever is counted as done or refused, and as nothing else."""
        self._note(took_s, operation_of(transition), "refused" if type(outcome) in _REFUSED else "ok")

    def _submitted(self, transition: Submit, outcome: Outcome, took_s: float) -> None:
        """Not accepted as a new run."""
        self._note(took_s, "enqueue", "replayed" if type(outcome) is Replayed else "refused")

    def _committed(self, transition: Commit, outcome: Outcome, took_s: float) -> None:
        self._note(took_s, "commit", _fenced(outcome, Committed))

    def _settled(self, transition: Settle, outcome: Outcome, took_s: float) -> None:
        self._note(took_s, _ending_operation(transition.ending), _fenced(outcome, Settled))
        if type(outcome) is Settled and outcome.dispatch.status.is_terminal:
            self._closed(outcome.dispatch.status, counts_as_run=type(transition.ending) is not Ack)
            if outcome.dispatch.status is DispatchStatus.DEAD_LETTER:
                self._given_up.add(transition.token)

    def _cancelled(self, transition: Cancel, outcome: Outcome, took_s: float) -> None:
        self._note(took_s, "cancel", "ok" if type(outcome) is CancelResult else "refused")
        if type(outcome) is CancelResult and outcome.state == "stopped" and outcome.appended:
            self._closed(DispatchStatus.CANCELLED)

    def _interrupted(self, transition: Interrupt, outcome: Outcome, took_s: float) -> None:
        self._note(took_s, "interrupt", "ok" if type(outcome) is Interrupted else "refused")
        if type(outcome) is Interrupted:
            self._count("supersede", amount=len(outcome.superseded))
            for dispatch in outcome.superseded:
                self._closed(dispatch.status)

    def _renewed(self, transition: Renew, outcome: Outcome, took_s: float) -> None:
        if type(outcome) is Renewed:
            lost = sum(1 for renewal in outcome.renewals if renewal.lease_in_ms is None)
            self._count("lease_renewal", "ok", len(outcome.renewals) - lost)
            self._count("lease_renewal", "lost", lost)

    def _reclaimed(self, transition: Reclaim, outcome: Outcome, took_s: float) -> None:
        self._note(took_s, "reclaim")
        if type(outcome) is Reclaimed:
            self._count("reclaim_dispatch", amount=len(outcome.items))
            self._closed_some(outcome.items)

    def _claimed(self, transition: Claim, outcome: Outcome, took_s: float) -> None:
        if type(outcome) is ClaimedSome:
            for _ in outcome.claims:
                self._note(took_s, "claim")
            if not outcome.claims:
                self._note(took_s, "claim", "empty")
            self._closed_some(outcome.closed)

    def _gave_up(self, transition: GiveUp, outcome: Outcome, took_s: float) -> None:
        self._note(took_s, "give_up")
        if type(outcome) is GaveUp:
            self._closed_some(outcome.closed)

    def _decided(self, transition: Decide, outcome: Outcome, took_s: float) -> None:
        self._note(took_s, "decide", "ok" if type(outcome) is Decided else "refused")
        if type(outcome) is Decided and transition.told is None:
            for ticket, is_repeated in zip(outcome.tickets, outcome.duplicates, strict=True):
                if not is_repeated and ticket.decision is not None:
                    self._decisions.child(ticket.decision.action, ticket.decision.path).value += 1
        if isinstance(outcome, Decided | Undecided) and outcome.appended:
            expired = len(transition.expires) or (type(outcome) is Undecided and outcome.ticket.state == "expired")
            path = "live" if outcome.run.status is RunStatus.RUNNING else "durable"
            if expired:
                self._decisions.child("expire", path).value += expired

    def _purged(self, transition: Purge, outcome: Outcome, took_s: float) -> None:
        self._note(took_s, "purge_terminal")
        if type(outcome) is Purged:
            self._count("purged", amount=outcome.runs)
            self._count("purged_events", amount=outcome.events)

    def _delivered(self, transition: Delivered, outcome: Outcome, took_s: float) -> None:
        if type(outcome) is DeliveredSome:
            refused = len([row for row in transition.rows if row.refused is not None])
            self._count("deliver", "ok", outcome.count - refused)
            self._count("deliver", "refused", refused)

    def _edited(self, transition: EditSchedules, outcome: Outcome, took_s: float) -> None:
        done = type(outcome) is SchedulesEdited and outcome.refused is None
        self._note(took_s, "edit_schedules", "ok" if done else "refused")

    def _ticked(self, transition: Tick, outcome: Outcome, took_s: float) -> None:
        if type(outcome) is Ticked:
            self._count("tick", amount=len(outcome.posted))

    def _looked_after(self, transition: Mend, outcome: Outcome, took_s: float) -> None:
        self._note(took_s, "mend")
        if type(outcome) is MendedSome:
            for each in outcome.mendings:
                if each.result == "mended":
                    self._mended.child(each.breach.invariant).value += 1
            self._closed_some(outcome.closed)

    def _closed_some(self, items: Iterable[Closed]) -> None:
        for item in items:
            if item.dispatch.status.is_terminal:
                self._closed(item.dispatch.status)

    def _closed(self, status: DispatchStatus, *, counts_as_run: bool = True) -> None:
        """A dispatch ended, and its run with it, without or against what its execution said."""
        match status:
            case DispatchStatus.CANCELLED | DispatchStatus.SUPERSEDED | DispatchStatus.DEAD_LETTER:
                self._count(f"mark_run_{status.value}")
                if counts_as_run:
                    self._runs.child(status.value).value += 1
            case DispatchStatus.ACKED | DispatchStatus.QUEUED | DispatchStatus.CLAIMED:
                return
            case _:
                assert_never(status)


def operation_of(transition: Transition) -> str:
    """The name under which a transition is counted (the label `operation`)."""
    match transition:
        case SaveThread():
            return "save_thread"
        case Submit():
            return "enqueue"
        case Commit():
            return "commit"
        case Settle():
            return _ending_operation(transition.ending)
        case Cancel():
            return "cancel"
        case EditDispatch():
            return "edit_dispatch"
        case Interrupt():
            return "interrupt"
        case PatchState():
            return "patch_state"
        case Hide():
            return "hide"
        case EditThread():
            return "edit_thread"
        case DeleteThread():
            return "delete_thread"
        case HideRun():
            return "hide_run"
        case Discard():
            return "discard"
        case NoteChild():
            return "note_child"
        case Decide():
            return "decide"
        case Edit():
            return "edit"
        case Retract():
            return "retract"
        case Reorder():
            return "reorder"
        case Renew():
            return "lease_renewal"
        case Reclaim():
            return "reclaim"
        case Claim():
            return "claim"
        case GiveUp():
            return "give_up"
        case Delivered():
            return "deliver"
        case EditSchedules():
            return "edit_schedules"
        case Tick():
            return "tick"
        case Purge():
            return "purge_terminal"
        case Mend():
            return "mend"
        case _:
            assert_never(transition)


def _ending_operation(ending: Ending) -> str:
    match ending:
        case Ack():
            return "ack"
        case Retry():
            return "nack"
        case DeadLetter():
            return "dead_letter"
        case Release():
            return "release"
        case Suspend():
            return "suspend"
        case _:
            assert_never(ending)


def _fenced(outcome: Outcome, good: type[Outcome]) -> str:
    if type(outcome) is good:
        return "ok"
    return "lost" if type(outcome) is LeaseLost else "refused"


class _Families(Collector):
    """Shows our series to `prometheus_client`, which knows how to write them."""

    def __init__(self, families: Callable[[], Iterable[Family[Number] | Family[Spread]]]) -> None:
        self._families = families

    def collect(self) -> Iterable[Exposed]:
        return [_exposed(family) for family in self._families()]


def _exposed(family: Family[Number] | Family[Spread]) -> Exposed:
    metric = family.metric
    if metric.kind == "histogram":
        histogram = HistogramMetricFamily(metric.name, metric.help, labels=metric.labels)
        for labels, child in family:
            assert isinstance(child, Spread), f"{metric.name} is a histogram"
            histogram.add_metric(labels, child.cumulative(), child.total_s)
        return histogram
    make = CounterMetricFamily if metric.kind == "counter" else GaugeMetricFamily
    values = make(metric.name, metric.help, labels=metric.labels)
    for labels, child in family:
        assert isinstance(child, Number), f"{metric.name} is a number"
        values.add_metric(labels, child.value)
    return values
