"""Which thread to run next, and when: claims for every free slot whenever something may be due.

Above: woken by submits that were not claimed at once, by freed slots, by the sweeper. Below: the `Claim` transition.
Holds: after a claim that came back with fewer than it could have had, nothing due is left, and the sweeper knows the
next instant at which that changes, so future work is found without luck. A slot is offered to a submit or a settlement
only while nobody waits for one, and never in a process that is drained: whatever would begin here goes through this.

Source: ADR 0008, ADR 0023.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from awaken.domain.clock import Alarm, Clock, sleep
from awaken.domain.errors import StoreError
from awaken.domain.ids import ClaimToken, Route
from awaken.mailbox.settings import MailboxSettings
from awaken.mailbox.slots import Slots
from awaken.store.combiner import Combiner
from awaken.store.transitions import Claim, Claimed, ClaimedSome, Offer

BY_AGE_EACH: Final = 8
"""Each so-manieth claim goes by age alone, so that urgent work does not hold back everything else for ever."""

HELD_UP_S: Final = 0.02
"""What another process claims of at this moment is looked at again so long afterwards."""


class Dispatcher:
    """One per process. Offers nothing and claims nothing until `resume`, nor while it is drained."""

    def __init__(
        self,
        combiner: Combiner,
        slots: Slots,
        clock: Clock,
        settings: MailboxSettings,
        due_in: Callable[[int], None],
    ) -> None:
        """`due_in` is called with the milliseconds until something falls due, as a claim has learned."""
        self._combiner = combiner
        self._slots = slots
        self._clock = clock
        self._settings = settings
        self._due_in = due_in
        self._wake = Alarm(clock)
        self._ready = 0
        """Threads that applied transitions have left due, and no claim has been answered since."""
        self._must_look = False
        """The clock, a start or a store that is back gave reason to look, since the last claim left."""
        self._has_backlog = False
        """Threads may be waiting for a slot, so new work must queue behind them, and a freed slot must wake this."""
        self._is_paused = True
        self.is_drained = False
        """Somebody wants nothing to begin here, in this life or the next."""
        self._claims = 0
        self._patience_s: float | None = None
        """When to look again at what another process has held up."""

    def resume(self) -> None:
        """Take work from now on."""
        self._is_paused = False
        self.wake()

    def pause(self) -> None:
        """Take no more work. What has been offered already may still be won."""
        self._is_paused = True

    @property
    def _takes(self) -> bool:
        return not (self._is_paused or self.is_drained)

    # --- offers -------------------------------------------------------------------------------------------------------

    def offer(self, route: Route) -> Offer | None:
        """A free slot for what is being submitted, unless others must go first or there is no room for its route."""
        return self._slots.offer(route) if self._takes and not self._has_backlog else None

    def hand_on(self, token: ClaimToken, *, is_followed: bool) -> Offer | None:
        """The slot of a claim whose agent has ended: for what waits in its thread, or else free for anybody."""
        if is_followed and self._takes and not self._has_backlog:
            return self._slots.hand_on(token)
        self.give_back(token)
        return None

    def lost(self, offer: Offer) -> None:
        """A settlement that carried this offer is asked for no more, and what became of it is not known."""
        self._slots.lost(offer)

    def give_back(self, token: ClaimToken) -> None:
        """The slot of this claim is free, if it was not before, and whoever waits for one is looked for."""
        place = self._slots.give_back(token)
        if place is not None:
            self.slot_freed()
            if self._slots.is_scarce(place):  # somebody may have waited for just this while other slots were free
                self.wake()

    def take_again(self, claimed: Claimed) -> None:
        """A claim whose place may have been given back goes on."""
        if not self._slots.holds(claimed.token):
            self._slots.take(claimed)

    def suspect_progressed(self) -> None:
        """A suspect has closed a step or ended: it was not what killed its process, and others may be tried."""
        self._slots.trust_more()
        self.wake()

    def slot_freed(self) -> None:
        """A slot that was taken or offered is free."""
        if self._has_backlog:
            self.expect()

    # --- what may be due ----------------------------------------------------------------------------------------------

    def wake(self) -> None:
        """Something may be due."""
        self._must_look = True
        self._wake.set()

    def look_anew(self) -> None:
        """As `wake`, where what has waited may begin from now on: it goes before what comes next."""
        self._has_backlog = True
        self.wake()

    def expect(self) -> None:
        """A transition that has been applied left a thread due, or made room for a backlog to go on."""
        self._ready += 1
        self._wake.set()

    def answered(self, outcome: ClaimedSome) -> None:
        """A claim has come back: it has seen whatever was applied before, and counts what is left."""
        self._ready = outcome.due_left
        # While slots are free nobody waits for one. Were new work to queue meanwhile, a busy process would go on
        # queueing all of it, and pay for two transitions instead of one.
        self._has_backlog = outcome.due_left > 0 and self._slots.free <= 0

    async def run_forever(self) -> None:
        while True:
            if not await self._wake.wait(self._patience_s):
                self._must_look = True
            self._patience_s = None
            while (self._ready or self._must_look) and self._takes:
                if self._slots.free <= 0:
                    self._has_backlog = True  # it is not known what waits, so the next free slot has to look
                    break
                try:
                    await self._claim()
                except StoreError:
                    self._must_look = self._has_backlog = True
                    await sleep(self._clock, self._settings.store_retry_s)

    async def _claim(self) -> None:
        """Claim with one slot for each thread that is known to be due, or with one to see whether any is.

        More would find nothing, and meanwhile a submit could not be offered them and would have to queue.
        """
        self._must_look = False
        self._claims += 1
        offers, rooms = self._slots.rooms(max(self._ready, 1))
        claim = Claim(offers=offers, rooms=rooms, by_age=self._claims % BY_AGE_EACH == 0)
        claimed = await self._combiner.apply(claim, ClaimedSome)
        if claimed.is_held_up:
            self._patience_s = HELD_UP_S
        if claimed.next_due_in_ms is not None:
            self._due_in(claimed.next_due_in_ms)
