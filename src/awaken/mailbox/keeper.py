"""Keep every lease of this process alive while its runs execute.

Above: a worker registers its claim here and is told when to stop: its lease is lost, cannot be confirmed, or its run is
to be stopped. Below: the `Renew` transition, the only judge of whether a lease still holds.
Holds: renewals come at a third of the lease, so one may fail and the next still arrives in time. A run whose lease was
not confirmed is stopped `stop_margin_s` before the lease can end, on a monotonic clock counted from when the last
confirmed renewal was asked.

Source: design decision "one keeper renews all leases"; faults D-7 (one error ended renewal for good).
"""

from __future__ import annotations

from typing import Literal, Protocol

import msgspec

from awaken.domain.clock import Alarm, Clock, Instant, sleep
from awaken.domain.errors import StoreError
from awaken.domain.ids import DispatchId
from awaken.mailbox.settings import MailboxSettings
from awaken.store.combiner import Combiner
from awaken.store.transitions import MAX_ROWS, LeaseRef, Renew, Renewal, Renewed

StopReason = Literal["cancel", "interrupt", "lost", "unconfirmed", "handover"]
"""Why an execution is stopped. After `lost` or `unconfirmed` it writes nothing more."""


class Leaseholder(Protocol):
    """A running execution."""

    @property
    def lease(self) -> LeaseRef: ...

    def stop(self, reason: StopReason) -> None: ...


class _Held(msgspec.Struct, gc=False):
    holder: Leaseholder
    asked_s: float
    lease_until: Instant | None


class Keeper:
    """One per process."""

    def __init__(self, combiner: Combiner, clock: Clock, settings: MailboxSettings) -> None:
        self._combiner = combiner
        self._clock = clock
        self._settings = settings
        self._held: dict[DispatchId, _Held] = {}
        self._started = Alarm(clock)
        self._watch = Alarm(clock)
        self._watching_until_s = 0.0
        self._patience_s = settings.lease_ms / 1000 - settings.stop_margin_s
        """How long after its last confirmed renewal was asked a run may go on."""

    def hold(self, holder: Leaseholder, asked_s: float, lease_until: Instant | None) -> None:
        """Start keeping a lease that was asked for at `asked_s` of the monotonic clock.

        An older claim on the same dispatch is thereby known to be lost.
        """
        earlier = self._held.get(holder.lease.dispatch_id)
        if earlier is not None:
            earlier.holder.stop("lost")
        self._held[holder.lease.dispatch_id] = _Held(holder, asked_s, lease_until)
        if len(self._held) == 1:
            self._started.set()
            self._watch.set()
        elif asked_s + self._patience_s < self._watching_until_s:
            self._watch.set()

    def release(self, holder: Leaseholder) -> None:
        """Stop keeping it; a successor's claim on the same dispatch is left alone."""
        held = self._held.get(holder.lease.dispatch_id)
        if held is not None and held.holder is holder:
            del self._held[holder.lease.dispatch_id]

    async def renew_forever(self) -> None:
        """Renew everything each interval; ask again soon after a store error."""
        while True:
            if not self._held:
                await self._started.wait()
                continue
            await sleep(self._clock, self._settings.renew_interval_s)
            while not await self.renew():
                await sleep(self._clock, self._settings.renew_retry_s)

    async def renew(self) -> bool:
        """Renew every lease once and pass on what the store says; False when it could not answer for all of them."""
        complete = True
        holders = [held.holder for held in self._held.values()]
        for start in range(0, len(holders), MAX_ROWS):
            chunk = holders[start : start + MAX_ROWS]
            asked_s = self._clock.monotonic()
            renew = Renew(leases=tuple(holder.lease for holder in chunk), lease_ms=self._settings.lease_ms)
            try:
                renewed = await self._combiner.apply(renew, Renewed)
            except StoreError:
                complete = False  # the watch stops them in time if no later renewal gets through
                continue
            for holder, renewal in zip(chunk, renewed.renewals, strict=True):
                self._judge(holder, asked_s, renewal)
        return complete

    def _judge(self, holder: Leaseholder, asked_s: float, renewal: Renewal) -> None:
        held = self._held.get(holder.lease.dispatch_id)
        if held is None or held.holder is not holder:
            return  # it settled while the renewal was on its way
        if renewal.lease_until is None:
            holder.stop("lost")
            return
        if renewal.lease_until != held.lease_until:  # an interrupted thread's claim is answered for, but not extended
            held.asked_s, held.lease_until = asked_s, renewal.lease_until
        if renewal.stop:
            holder.stop("cancel")

    async def watch_forever(self) -> None:
        """Stop what could not be confirmed in time."""
        while True:
            if not self._held:
                await self._watch.wait()
                continue
            now_s = self._clock.monotonic()
            due_s = min(held.asked_s for held in self._held.values()) + self._patience_s
            if due_s > now_s:
                self._watching_until_s = due_s
                await self._watch.wait(due_s - now_s)
                continue
            for held in [each for each in self._held.values() if each.asked_s + self._patience_s <= now_s]:
                held.holder.stop("unconfirmed")
                self.release(held.holder)
