"""What the mailbox reports to whoever counts or traces: batches as they are applied, executions from start to end.

Above: telemetry overrides the hooks it has a use for. Below: `Observers` hands each report to everybody.
Holds: called on the event loop, on the hot path; a hook must not wait. One that raises costs no run anything, and no
other observer either. A hook that an observer does not override costs nothing.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from typing import ClassVar, Literal, Protocol

from awaken.domain.event import Event
from awaken.store.transitions import Claimed, Outcome, Submit, Transition

OutcomeLabel = Literal["completed", "transient_error", "permanent_error", "cancelled", "suspended", "released", "lost"]
"""How an execution ended, as metrics name it (MBX-016). The first three are the classes of an executor's failures."""

_Hook = Callable[..., object]

_log = logging.getLogger("awaken.mailbox")


class Observer:
    """Is told everything and does nothing with it."""

    hears: ClassVar[frozenset[type[Event]]] = frozenset()
    """Kinds of events for which it is told what an agent says; text is the most of it, and few count that."""

    def applied(self, transitions: Sequence[Transition], outcomes: Sequence[Outcome], took_s: float) -> None:
        """A batch came back from the store, which took `took_s` seconds for it, the commit included.

        An outcome that is `Failed` is also reported with `failed`.
        """

    def failed(self, transition: Transition) -> None:
        """It is not known what became of it."""

    def started(self, claimed: Claimed, since_claim_s: float) -> None:
        """An execution begins, so many seconds after its claim was asked for. Called in the execution's own task."""

    def said(self, claimed: Claimed, events: Sequence[Event]) -> None:
        """The agent of an execution has published these, one of which somebody `hears`; they are not durable yet."""

    def ended(self, claimed: Claimed, label: OutcomeLabel, runtime_s: float) -> None:
        """An execution has ended. `claimed` is what it began with, or went on with."""

    def unserved(self, routes: int) -> None:
        """For so many routes something is queued that nobody here can run, as a sweep has found."""

    def audited(self, refused: int) -> None:
        """So many breaches of invariants could not be mended when their rows were last looked at."""


class Tracer(Protocol):
    """Where this process traces, knows the span of a submit before there is a run."""

    def submitting(self, submit: Submit, parent: str | None) -> str:
        """The submit is asked for next, by whoever is in the span with this `traceparent`; its own is returned."""
        ...


def observers_of(observer: Observer | None) -> Observers:
    """That one, and whoever is added to it."""
    if isinstance(observer, Observers):
        return observer
    return Observers() if observer is None else Observers(observer)


class Observers(Observer):
    """Several of them as one, in the order in which they came."""

    def __init__(self, *observers: Observer) -> None:
        self._everybody: tuple[Observer, ...] = ()
        self.tracer: Tracer | None = None
        self.heard: set[type[Event]] = set()
        """What `said` is called for."""
        self._failing: set[_Hook] = set()
        """Hooks whose failure is in the log: one that fails for every run would fill it."""
        self.add(*observers)

    def add(self, *observers: Observer) -> None:
        """Report to these, too, from now on. One that was added before is not added again."""
        self._everybody = tuple(dict.fromkeys((*self._everybody, *observers)))
        self._applied = self._heard_by("applied")
        self._failed = self._heard_by("failed")
        self._started = self._heard_by("started")
        self._said = self._heard_by("said")
        self._ended = self._heard_by("ended")
        self._unserved = self._heard_by("unserved")
        self._audited = self._heard_by("audited")
        self.heard.update(*[each.hears for each in observers])

    def _heard_by(self, hook: str) -> tuple[_Hook, ...]:
        """The hook of everybody who has overridden it."""
        silent = getattr(Observer, hook)
        return tuple([getattr(each, hook) for each in self._everybody if getattr(type(each), hook) is not silent])

    def submitting(self, submit: Submit, parent: str | None) -> str | None:
        """The `traceparent` to store with the run that is asked for: where nobody traces, the caller's."""
        if self.tracer is None:
            return parent
        try:
            return self.tracer.submitting(submit, parent)
        except Exception:
            self._complain(self.tracer.submitting)
            return parent

    # Each run passes these several times, so each is a loop of its own: a common one would be a call more.

    def applied(self, transitions: Sequence[Transition], outcomes: Sequence[Outcome], took_s: float) -> None:
        for hook in self._applied:
            try:
                hook(transitions, outcomes, took_s)
            except Exception:
                self._complain(hook)

    def failed(self, transition: Transition) -> None:
        for hook in self._failed:
            try:
                hook(transition)
            except Exception:
                self._complain(hook)

    def started(self, claimed: Claimed, since_claim_s: float) -> None:
        for hook in self._started:
            try:
                hook(claimed, since_claim_s)
            except Exception:
                self._complain(hook)

    def said(self, claimed: Claimed, events: Sequence[Event]) -> None:
        for hook in self._said:
            try:
                hook(claimed, events)
            except Exception:
                self._complain(hook)

    def ended(self, claimed: Claimed, label: OutcomeLabel, runtime_s: float) -> None:
        for hook in self._ended:
            try:
                hook(claimed, label, runtime_s)
            except Exception:
                self._complain(hook)

    def unserved(self, routes: int) -> None:
        for hook in self._unserved:
            try:
                hook(routes)
            except Exception:
                self._complain(hook)

    def audited(self, refused: int) -> None:
        for hook in self._audited:
            try:
                hook(refused)
            except Exception:
                self._complain(hook)

    def _complain(self, hook: _Hook) -> None:
        if hook not in self._failing:
            self._failing.add(hook)
            owner = type(getattr(hook, "__self__", hook)).__name__
            _log.exception("an observer failed; what %s reports is incomplete from now on", owner)
