"""Whether an execution is to stop, why, and how its agent learns of it.

Above: the keeper, cancels and interrupts ask through the execution; the write buffer asks when the store answers that a
run must stop. Below: the task in which the agent is at work.
Holds: one request is one cancellation of that task, however many ways lead to it: a cancel comes by its own answer, by
the next commit and by every renewal, and an agent that tidies up is not disturbed by the second and the third. A
request that says more than the one before, such as an interrupt or a shutdown, cancels again only when the agent has
had its grace (`tidy_s`), or has taken the first one back. A handover cancels nothing at first: the agent learns of it
from the port, when a step is closed and nothing is lost.

Source: ADR 0018.
"""

from __future__ import annotations

import asyncio
from typing import Any, Final, Literal

from awaken.domain.clock import Clock
from awaken.executors.contract import HandedOver

StopReason = Literal["handover", "timeout", "cancel", "interrupt", "lost", "unconfirmed", "abandoned"]
"""Why an execution is stopped. After `lost`, `unconfirmed` or `abandoned` it writes nothing more."""

_WEIGHT: Final[dict[StopReason, int]] = {
    "handover": 1,
    "timeout": 2,
    "cancel": 3,
    "interrupt": 4,
    "lost": 5,
    "unconfirmed": 5,
    "abandoned": 5,
}
"""A request replaces those of less weight."""
_OUTLIVED: Final[frozenset[StopReason]] = frozenset({"lost", "unconfirmed", "abandoned"})


class Stop:
    """One per execution. The execution says when it may be cancelled; anybody may ask."""

    def __init__(self, clock: Clock, grace_s: float) -> None:
        """`grace_s`: so long an agent that was cancelled may tidy up undisturbed."""
        self._clock = clock
        self._grace_s = grace_s
        self._until_s: float | None = None
        """When the grace of the last cancellation ends, on the monotonic clock."""
        self.reason: StopReason | None = None
        self.is_delivered = False
        """The agent has been asked: what its task raises from now on is the answer to that, and no failure."""
        self._task: asyncio.Task[Any] | None = None

    @property
    def is_lost(self) -> bool:
        """Whether the claim is over without a settlement of this execution."""
        return self.reason in _OUTLIVED

    @property
    def is_cancellable(self) -> bool:
        """Whether there is something to cancel."""
        return self._task is not None

    @property
    def is_ignored(self) -> bool:
        """Whether an agent that was cancelled has had its grace."""
        return self._until_s is not None and self._clock.monotonic() >= self._until_s

    def ask(self, reason: StopReason, *, again: bool = True) -> bool:
        """Whether this says more than was known. `again` False: an agent that was cancelled before is left alone."""
        if self.reason is not None and _WEIGHT[reason] <= _WEIGHT[self.reason]:
            return False
        self.reason = reason
        if reason != "handover" and (again or not self.is_delivered):
            self.cut_short()
        return True

    def hand_over(self) -> None:
        """A step is closed.

        Raises:
            HandedOver: This is what a handover was waiting for.
        """
        if self.reason == "handover":
            self.is_delivered = True
            raise HandedOver

    def cut_short(self) -> None:
        """Cancel the agent's task, if there is something to cancel and it is not tidying up within its grace."""
        if self._task is None:
            return
        self.is_delivered = True
        now_s = self._clock.monotonic()
        if self._until_s is None or now_s >= self._until_s or not self._task.cancelling():
            self._until_s = now_s + self._grace_s
            self._task.cancel()

    def allow(self, task: asyncio.Task[Any] | None) -> None:
        """What runs in this task from now on may be cancelled."""
        self._task = task

    def forbid(self) -> None:
        """Nothing is cancelled from now on; what was cancelled is over."""
        task, self._task = self._task, None
        while task is not None and task.uncancel():
            pass
