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

from awaken.domain.clock import Alarm, Clock
from awaken.domain.errors import StoreError
from awaken.domain.ids import DispatchId
from awaken.mailbox.settings import MailboxSettings
from awaken.store.combiner import Combiner
from awaken.store.transitions import MAX_ROWS, LeaseRef, Renew, Renewed

StopReason = Literal["cancel", "interrupt", "lost", "unconfirmed", "handover"]
"""Why an execution is stopped. After `lost` or `unconfirmed` it writes nothing more."""


class Leaseholder(Protocol):
    """A running execution."""

    @property
    def lease(self) -> LeaseRef: ...

    def stop(self, reason: StopReason) -> None: ...


class _Held:
    __slots__ = ("asked_s", "holder")

    def __init__(self, holder: Leaseholder, asked_s: float) -> None:
        self.holder = holder
        self.asked_s = asked_s


class Keeper:
    """One per process."""

    def __init__(self, combiner: Combiner, clock: Clock, settings: MailboxSettings) -> None:
        self._combiner = combiner
        self._clock = clock
        self._settings = settings
        self._held: dict[DispatchId, _Held] = {}
        self._started = Alarm(clock)
        self._watch = Alarm(clock)

    def hold(self, holder: Leaseholder, asked_s: float) -> None:
        """Start keeping a lease that was asked for at `asked_s` of the monotonic clock."""
        self._held[holder.lease.dispatch_id] = _Held(holder, asked_s)
        if len(self._held) == 1:
            self._started.set()
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
            await Alarm(self._clock).wait(self._settings.renew_interval_s)
            await self.renew()

    async def renew(self) -> None:
        """Renew every lease once and pass on what the store says."""
        holders = [held.holder for held in self._held.values()]
        for start in range(0, len(holders), MAX_ROWS):
            chunk = holders[start : start + MAX_ROWS]
            asked_s = self._clock.monotonic()
            renew = Renew(leases=tuple(holder.lease for holder in chunk), lease_ms=self._settings.lease_ms)
            try:
                renewed = await self._combiner.apply(renew, Renewed)
            except StoreError:
                continue  # the watch stops them in time if no later renewal gets through
            for holder, renewal in zip(chunk, renewed.renewals, strict=True):
                self._judge(holder, asked_s, lost=renewal.lease_until is None, stop=renewal.stop)

    def _judge(self, holder: Leaseholder, asked_s: float, *, lost: bool, stop: bool) -> None:
        held = self._held.get(holder.lease.dispatch_id)
        if held is None or held.holder is not holder:
            return  # it settled while the renewal was on its way
        if lost:
            holder.stop("lost")
        elif stop:
            held.asked_s = asked_s
            holder.stop("cancel")
        else:
            held.asked_s = asked_s

    async def watch_forever(self) -> None:
        """Stop what could not be confirmed in time."""
        while True:
            if not self._held:
                await self._watch.wait()
                continue
            now_s = self._clock.monotonic()
            patience_s = self._settings.lease_ms / 1000 - self._settings.stop_margin_s
            due_s = min(held.asked_s for held in self._held.values()) + patience_s
            if due_s > now_s:
                await self._watch.wait(due_s - now_s)
                continue
            for held in [each for each in self._held.values() if each.asked_s + patience_s <= now_s]:
                held.holder.stop("unconfirmed")
                self.release(held.holder)
