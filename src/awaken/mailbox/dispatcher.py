"""Which thread to run next, and when: claims for every free slot whenever something may be due.

Above: woken by submits that were not claimed at once, by freed slots, by the sweeper. Below: the `Claim` transition.
Holds: after a claim that came back with fewer than it could have had, nothing due is left, and the sweeper knows the
next instant at which that changes (fault D-3: future work must be found without luck).
"""

from __future__ import annotations

from collections.abc import Callable

from awaken.domain.clock import Alarm, Clock, Instant, sleep
from awaken.domain.errors import StoreError
from awaken.mailbox.settings import MailboxSettings
from awaken.mailbox.slots import Slots
from awaken.store.combiner import Combiner
from awaken.store.transitions import MAX_ROWS, Claim, ClaimedSome


class Dispatcher:
    """One per process that executes runs."""

    def __init__(
        self,
        combiner: Combiner,
        slots: Slots,
        clock: Clock,
        settings: MailboxSettings,
        due_at: Callable[[Instant], None],
    ) -> None:
        self._combiner = combiner
        self._slots = slots
        self._clock = clock
        self._settings = settings
        self._due_at = due_at
        self._wake = Alarm(clock)
        self._ready = 0
        """Threads that applied transitions have said to be due, and no claim has been answered since."""
        self._must_look = False
        """Something else says so, since the last claim left: the clock, a start, a store that is back."""
        self.has_backlog = False
        """Threads may be waiting for a slot, so new work must queue behind them, and a freed slot must wake this."""
        self.paused = False

    def wake(self) -> None:
        """Something may be due."""
        self._must_look = True
        self._wake.set()

    def expect(self) -> None:
        """A transition that has been applied left a thread due, or made room for a backlog to go on."""
        self._ready += 1
        self._wake.set()

    def answered(self, outcome: ClaimedSome) -> None:
        """A claim has come back: it has seen whatever was applied before, and says how many are left."""
        self._ready = outcome.due_left
        # While slots are free nobody waits for one. Were new work to queue meanwhile, a busy process would go on
        # queueing all of it, and pay for two transitions instead of one.
        self.has_backlog = outcome.due_left > 0 and self._slots.free <= 0

    async def run_forever(self) -> None:
        while True:
            await self._wake.wait()
            while (self._ready or self._must_look) and not self.paused:
                if self._slots.free <= 0:
                    self.has_backlog = True  # nothing says what waits, so the next free slot has to look
                    break
                try:
                    await self._claim()
                except StoreError:
                    self._must_look = self.has_backlog = True
                    await sleep(self._clock, self._settings.store_retry_s)

    async def _claim(self) -> None:
        """Offer a slot to each thread that is known to be due, or one to see whether any is: a slot that is offered in
        vain is one that a submit cannot offer, and whoever finds none must queue.
        """
        self._must_look = False
        wanted = min(max(self._ready, 1), MAX_ROWS)
        offers = tuple([offer for _ in range(wanted) if (offer := self._slots.offer()) is not None])
        claimed = await self._combiner.apply(Claim(offers=offers), ClaimedSome)
        if claimed.next_due_at is not None:
            self._due_at(claimed.next_due_at)
