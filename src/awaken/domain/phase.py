"""Where a run is, in one word for people.

Above: what is shown of runs, and lists of them by phase. Below: runs and dispatches.
Holds: a phase is derived from the record of the run and that of its newest dispatch, and from nothing else.
"""

from __future__ import annotations

from typing import Final, Literal

from awaken.domain.dispatch import Dispatch, DispatchStatus
from awaken.domain.run import Run, RunStatus, TerminationType, WaitReason

Phase = Literal[
    "queued", "starting", "running", "retrying", "needs_decision", "needs_input", "waiting", "completed", "stopped",
    "blocked", "cancelled", "superseded", "failed", "dead_letter",
]  # fmt: skip

_ENDED: Final[dict[TerminationType, Phase]] = {
    "natural_end": "completed",
    "behavior_requested": "completed",
    "stopped": "stopped",
    "blocked": "blocked",
    "cancelled": "cancelled",
    "suspended": "waiting",
    "error": "failed",
}
_WAITS: Final[dict[WaitReason, Phase]] = {"tool_permission": "needs_decision", "user_input": "needs_input"}
"""Why a run waits for a person."""


def phase_of(run: Run, dispatch: Dispatch | None) -> Phase:
    """From the run's record and that of its newest dispatch, which is absent once it is purged."""
    status = None if dispatch is None else dispatch.status
    if run.status is RunStatus.DONE:
        if status is DispatchStatus.SUPERSEDED:
            return "superseded"
        if status is DispatchStatus.DEAD_LETTER:
            return "dead_letter"
        return "completed" if run.termination is None else _ENDED[run.termination.type]
    if run.is_parked:
        assert run.waiting is not None, "a parked run says for what"
        return _WAITS.get(run.waiting.reason, "waiting")
    if run.status is RunStatus.WAITING:  # decided: it goes on
        return "queued" if status is DispatchStatus.QUEUED else "starting"
    return open_phase(run.status, has_started=run.started_at is not None, is_queued=status is DispatchStatus.QUEUED)


def open_phase(status: RunStatus, *, has_started: bool, is_queued: bool) -> Phase:
    """Of a run that is not done, as they are counted: whoever it waits for, it is `waiting`."""
    if status is RunStatus.WAITING:
        return "queued" if is_queued else "waiting"
    if is_queued:
        return "retrying" if has_started else "queued"
    return "running" if status is RunStatus.RUNNING else "starting"
