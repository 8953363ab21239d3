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
        expect: Callable[[Instant], None],
    ) -> None:
        self._combiner = combiner
        self._slots = slots
        self._clock = clock
        self._settings = settings
        self._expect = expect
        self._wake = Alarm(clock)
        self._expected = 0
        self.has_backlog = False
        """Threads may be waiting for a slot, so new work must queue behind them, and a freed slot must wake this."""
        self.paused = False

    def wake(self, threads: int = MAX_ROWS) -> None:
        """Something may be due, on at most so many threads if the caller knows, or a backlog may go on."""
        self._expected = min(self._expected + threads, MAX_ROWS)
        self._wake.set()

    async def run_forever(self) -> None:
        while True:
            await self._wake.wait()
            while not self.paused:
                if self._slots.free <= 0:
                    self.has_backlog = True  # nothing says what waits, so the next free slot has to look
                    break
                try:
                    if not await self._claim():
                        break
                except StoreError:
                    self.has_backlog = True
                    await sleep(self._clock, self._settings.store_retry_s)

    async def _claim(self) -> bool:
        # One more than expected, so that the answer says whether that was all; not more, because a slot that a claim
        # offers in vain is one that a submit cannot offer.
        wanted = min(self._expected + 1, MAX_ROWS)
        self._expected = 0
        offers = tuple([offer for _ in range(wanted) if (offer := self._slots.offer()) is not None])
        claimed = await self._combiner.apply(Claim(offers=offers), ClaimedSome)
        is_full = len(claimed.claims) == len(offers)
        # While slots are free nobody waits for one: the next claim takes what this one had no room for. Were new work
        # to queue meanwhile, a busy process would go on queueing all of it, and pay for two transitions instead of one.
        self.has_backlog = is_full and self._slots.free <= 0
        if is_full:
            self._expected = MAX_ROWS
        if not is_full and claimed.next_due_at is not None:
            self._expect(claimed.next_due_at)
        return is_full
