"""Waiting for the end of a run that is being submitted, with one wake-up instead of two.

Above: `Mailbox.run`. Below: the combiner tells it what became of the submit, the hub resolves the ending.
Holds: the ending is called off, with None, when the submit did not start a run of its own, or when the run has not
ended `timeout_s` seconds after it was accepted.
"""

from __future__ import annotations

import asyncio

import msgspec

from awaken.domain.clock import Clock, Timer
from awaken.mailbox.reader import Ending, call_off
from awaken.store.transitions import Outcome, Submitted


class Acceptance(msgspec.Struct, eq=False, gc=False):
    """Hears what became of a submit, for a caller who waits for nothing but the end of the run.

    Of a run that was accepted nothing is kept: a thousand callers may wait.
    """

    _ending: Ending
    _clock: Clock
    _timeout_s: float | None
    _timer: Timer | None = None
    told: bool = False
    """Whether the store has answered."""
    _refusal: Outcome | None = None
    _error: BaseException | None = None
    _waiting: asyncio.Future[None] | None = None

    __repr__ = object.__repr__  # no text of a message may reach a log through this

    def set_result(self, outcome: Outcome) -> None:
        self.told = True
        if type(outcome) is not Submitted:
            self._refusal = outcome
            call_off(self._ending)
        elif self._timeout_s is not None and not self._ending.done():
            self._timer = self._clock.call_later(self._timeout_s, lambda: call_off(self._ending))
        if self._waiting is not None:
            self._waiting.set_result(None)

    def set_exception(self, error: BaseException) -> None:
        self.told = True
        self._error = error
        call_off(self._ending)
        if self._waiting is not None:
            self._waiting.set_result(None)

    def forget(self) -> None:
        if self._timer is not None:
            self._timer.cancel()

    async def heard(self) -> None:
        """Wait until the store has answered."""
        self._waiting = asyncio.get_running_loop().create_future()
        await asyncio.shield(self._waiting)

    def refusal(self) -> Outcome | None:
        """What the store answered instead of accepting a new run; None when it accepted one. Raises what it raised."""
        if self._error is not None:
            raise self._error
        return self._refusal
