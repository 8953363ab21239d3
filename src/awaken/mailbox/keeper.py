"""Keep every lease of this process alive while its runs execute.

Above: a worker registers its claim here and is told when to stop: its lease is lost, cannot be confirmed, or its run is
to be stopped. Below: the `Renew` transition, the only judge of whether a lease still holds.
Holds: renewals come at a third of the lease, so one may fail and the next still arrives in time. A run whose lease was
not confirmed is stopped `stop_margin_s` before the lease can end, on a monotonic clock counted from when the last
confirmed renewal was asked.

Source: design decision "one keeper renews all leases"; faults D-7 (one error ended renewal for good).
"""

from __future__ import annotations

from typing import Generic, Literal, Protocol, TypeVar

from awaken.domain.clock import Alarm, Clock, Instant, sleep
from awaken.domain.errors import StoreError
from awaken.domain.ids import ClaimToken, DispatchId, Scope, ThreadId
from awaken.mailbox.settings import MailboxSettings
from awaken.store.combiner import Combiner
from awaken.store.transitions import MAX_ROWS, LeaseRef, Renew, Renewal, Renewed

StopReason = Literal["cancel", "interrupt", "lost", "unconfirmed", "handover"]
"""Why an execution is stopped. After `lost` or `unconfirmed` it writes nothing more."""


ThreadKey = tuple[Scope, ThreadId]


class Leaseholder(Protocol):
    """An execution, with its lease as it was last confirmed."""

    thread: ThreadKey
    dispatch_id: DispatchId
    token: ClaimToken
    asked_s: float
    """When what confirmed the lease was asked for, on the monotonic clock."""
    lease_until: Instant | None

    def stop(self, reason: StopReason) -> None: ...


HolderT = TypeVar("HolderT", bound=Leaseholder)


class Keeper(Generic[HolderT]):
    """One per process. Knows its executions whose lease may still hold: at most one in each thread."""

    def __init__(self, combiner: Combiner, clock: Clock, settings: MailboxSettings) -> None:
        self._combiner = combiner
        self._clock = clock
        self._settings = settings
        self._held: dict[ThreadKey, HolderT] = {}
        self._started = Alarm(clock)
        self._watch = Alarm(clock)
        self._watching_until_s = 0.0
        self._patience_s = settings.lease_ms / 1000 - settings.stop_margin_s
        """How long after its last confirmed renewal was asked a run may go on."""

    def hold(self, holder: HolderT) -> None:
        """Start keeping a lease. An older claim in the same thread is thereby known to be lost."""
        earlier = self._held.get(holder.thread)
        if earlier is not None:
            earlier.stop("lost")
        self._held[holder.thread] = holder
        if len(self._held) == 1:
            self._started.set()
            self._watch.set()
        elif holder.asked_s + self._patience_s < self._watching_until_s:
            self._watch.set()

    def release(self, holder: HolderT) -> None:
        """Stop keeping it; a successor's claim in the same thread is left alone."""
        if self._held.get(holder.thread) is holder:
            del self._held[holder.thread]

    def holder_in(self, scope: Scope, thread_id: ThreadId) -> HolderT | None:
        """Who executes something of the thread in this process."""
        return self._held.get((scope, thread_id))

    def holder_of(self, scope: Scope, thread_id: ThreadId, dispatch_id: DispatchId) -> HolderT | None:
        """Who executes this dispatch of the thread in this process."""
        holder = self.holder_in(scope, thread_id)
        return holder if holder is not None and holder.dispatch_id == dispatch_id else None

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
        holders = [*self._held.values()]
        for start in range(0, len(holders), MAX_ROWS):
            chunk = holders[start : start + MAX_ROWS]
            asked_s = self._clock.monotonic()
            leases = tuple([LeaseRef(holder.thread[0], holder.dispatch_id, holder.token) for holder in chunk])
            renew = Renew(leases=leases, lease_ms=self._settings.lease_ms)
            try:
                renewed = await self._combiner.apply(renew, Renewed)
            except StoreError:
                complete = False  # the watch stops them in time if no later renewal gets through
                continue
            for holder, renewal in zip(chunk, renewed.renewals, strict=True):
                self._judge(holder, asked_s, renewal)
        return complete

    def _judge(self, holder: HolderT, asked_s: float, renewal: Renewal) -> None:
        if self._held.get(holder.thread) is not holder:
            return  # it settled while the renewal was on its way
        if renewal.lease_until is None:
            holder.stop("lost")
            return
        if renewal.lease_until != holder.lease_until:  # an interrupted thread's claim is answered for, but not extended
            holder.asked_s, holder.lease_until = asked_s, renewal.lease_until
        if renewal.stop:
            holder.stop("cancel")

    async def watch_forever(self) -> None:
        """Stop what could not be confirmed in time."""
        while True:
            if not self._held:
                await self._watch.wait()
                continue
            now_s = self._clock.monotonic()
            due_s = min(holder.asked_s for holder in self._held.values()) + self._patience_s
            if due_s > now_s:
                self._watching_until_s = due_s
                await self._watch.wait(due_s - now_s)
                continue
            for holder in [each for each in self._held.values() if each.asked_s + self._patience_s <= now_s]:
                holder.stop("unconfirmed")
                self.release(holder)
