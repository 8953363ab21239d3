"""Keep every lease of this process alive while its runs execute.

Above: what is executed is held here from its claim to its settlement, and is stopped when its lease is lost, cannot be
confirmed, or its run is to be stopped. Below: the `Renew` transition, the only judge of whether a lease still holds.
Holds: renewals come at a third of the lease, so one may fail and the next still arrives in time. A run whose lease was
not confirmed is stopped `stop_margin_s` before the lease can end, on a monotonic clock counted from when the last
confirmed renewal was asked. An error of the store ends no renewal: it is asked for again. What was given up is not
renewed: a claim would go on that nobody carries. Where a signal tells that somebody else has written to a thread whose
run executes here, its lease is renewed at once: the answer says whether the run is to stop.

Source: ADR 0013, docs/concepts/leases.md.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from awaken.domain.clock import Alarm, Clock, sleep
from awaken.domain.errors import StoreError
from awaken.domain.ids import ClaimToken, DispatchId, Scope
from awaken.mailbox.settings import MailboxSettings
from awaken.mailbox.stopping import StopReason
from awaken.store.combiner import Combiner
from awaken.store.transitions import MAX_ROWS, LeaseRef, Renew, Renewal, Renewed


class Leaseholder(Protocol):
    """What holds a lease and can be stopped."""

    @property
    def scope(self) -> Scope: ...

    @property
    def dispatch_id(self) -> DispatchId: ...

    @property
    def token(self) -> ClaimToken: ...

    def stop(self, reason: StopReason) -> None: ...


class _Lease:
    """A lease as it was last confirmed."""

    def __init__(self, holder: Leaseholder, asked_s: float) -> None:
        self.holder = holder
        self.asked_s = asked_s
        """When what confirmed it was asked for, on the monotonic clock."""

    def to_ref(self) -> LeaseRef:
        return LeaseRef(self.holder.scope, self.holder.dispatch_id, self.holder.token)


class Keeper:
    """One per process. Knows the leases that may still hold."""

    def __init__(self, combiner: Combiner, clock: Clock, settings: MailboxSettings) -> None:
        self._combiner = combiner
        self._clock = clock
        self._settings = settings
        self._leases: dict[ClaimToken, _Lease] = {}
        self._started = Alarm(clock)
        self._sooner = Alarm(clock)
        self._doubtful: set[ClaimToken] = set()
        """Leases that are to be confirmed at once."""
        self._doubt = Alarm(clock)
        self._watch = Alarm(clock)
        self._watching_until_s = 0.0
        self._patience_s = settings.lease_ms / 1000 - settings.stop_margin_s
        """How long after its last confirmed renewal was asked a run may go on."""

    def hold(self, holder: Leaseholder, *, asked_s: float) -> None:
        """Start keeping a lease that was asked for at `asked_s`, in seconds of the monotonic clock."""
        self._leases[holder.token] = _Lease(holder, asked_s)
        if len(self._leases) == 1:
            self._started.set()
            self._watch.set()
        elif asked_s + self._patience_s < self._watching_until_s:
            self._watch.set()

    def release(self, token: ClaimToken) -> None:
        """Stop keeping it. Harmless for one that is not kept."""
        self._leases.pop(token, None)

    async def renew_forever(self) -> None:
        """Renew everything each interval; ask again soon after a store error."""
        while True:
            if not self._leases:
                await self._started.wait()
                continue
            await self._sooner.wait(self._settings.renew_interval_s)
            while not await self.renew():
                await sleep(self._clock, self._settings.renew_retry_s)

    def confirm(self, token: ClaimToken) -> None:
        """Somebody else has written to the thread of this lease: maybe its run is to stop, or the claim is over."""
        if token in self._leases:
            self._doubtful.add(token)
            self._doubt.set()

    async def confirm_forever(self) -> None:
        """Renew what is doubtful without waiting for its turn, in which what fails now is renewed."""
        while True:
            await self._doubt.wait()
            doubtful, self._doubtful = self._doubtful, set()
            await self._renew([lease for token, lease in self._leases.items() if token in doubtful])

    def look(self) -> None:
        """Time has passed that no timer knows of: the machine slept. Give up what is too old, and renew the rest."""
        self._watch.set()
        self._sooner.set()

    async def renew(self) -> bool:
        """Renew every lease once and pass on what the store answers; False when it could not answer for all of them."""
        self._give_up_late()
        return await self._renew([*self._leases.values()])

    async def _renew(self, leases: Sequence[_Lease]) -> bool:
        complete = True
        for start in range(0, len(leases), MAX_ROWS):
            chunk = leases[start : start + MAX_ROWS]
            asked_s = self._clock.monotonic()
            renew = Renew(leases=tuple([lease.to_ref() for lease in chunk]), lease_ms=self._settings.lease_ms)
            try:
                renewed = await self._combiner.apply(renew, Renewed)
            except StoreError:
                complete = False  # the watch stops them in time if no later renewal gets through
                continue
            for lease, renewal in zip(chunk, renewed.renewals, strict=True):
                self._judge(lease, asked_s, renewal)
        return complete

    def _judge(self, lease: _Lease, asked_s: float, renewal: Renewal) -> None:
        holder = lease.holder
        if self._leases.get(holder.token) is not lease:
            return  # it settled while the renewal was on its way
        if renewal.lease_in_ms is None:
            holder.stop("lost")
            return
        if renewal.extended:  # an interrupted thread's claim is answered for, but not extended
            lease.asked_s = asked_s
        if renewal.stop:
            holder.stop("cancel")

    async def watch_forever(self) -> None:
        """Stop what could not be confirmed in time."""
        while True:
            if not self._leases:
                await self._watch.wait()
                continue
            now_s = self._clock.monotonic()
            due_s = min(lease.asked_s for lease in self._leases.values()) + self._patience_s
            if due_s > now_s:
                self._watching_until_s = due_s
                await self._watch.wait(due_s - now_s)
                continue
            self._give_up_late()

    def _give_up_late(self) -> None:
        now_s = self._clock.monotonic()
        for lease in [each for each in self._leases.values() if each.asked_s + self._patience_s <= now_s]:
            lease.holder.stop("unconfirmed")
            self.release(lease.holder.token)
