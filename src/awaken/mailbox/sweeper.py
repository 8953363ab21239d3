"""Reclaims expired leases, wakes the dispatcher when work falls due, and purges what is old.

Above: everyone who learns of a future instant tells it here. Below: the `Reclaim` and `Purge` transitions.
Holds: one exact timer for the next due time or lease end this process knows of, and a slow poll behind it.

Source: design "Mailbox"; spec/mailbox.md 3.21; faults D-3, P-9 (reclaim until nothing is left).
"""

from __future__ import annotations

from collections.abc import Callable

from awaken.domain.clock import Alarm, Clock, Instant
from awaken.domain.errors import StoreError
from awaken.mailbox.settings import MailboxSettings
from awaken.store.combiner import Combiner
from awaken.store.contract import Store
from awaken.store.transitions import MAX_ROWS, Purge, Purged, Reclaim, Reclaimed


class Sweeper:
    """One per process that executes runs."""

    def __init__(
        self,
        combiner: Combiner,
        store: Store,
        clock: Clock,
        settings: MailboxSettings,
        wake_dispatcher: Callable[[], None],
    ) -> None:
        self._combiner = combiner
        self._store = store
        self._clock = clock
        self._settings = settings
        self._wake_dispatcher = wake_dispatcher
        self._due_at: Instant | None = None
        self._sooner = Alarm(clock)

    def expect(self, due_at: Instant) -> None:
        """Something falls due then. Only the earliest instant is kept; each sweep learns the next one."""
        if self._due_at is None or due_at < self._due_at:
            self._due_at = due_at
            self._sooner.set()

    async def run_forever(self) -> None:
        purge_due_s = self._clock.monotonic() + self._settings.purge_interval_s
        while True:
            if await self._sooner.wait(self._patience_s()):
                continue  # an earlier instant became known
            self._due_at = None
            try:
                await self.reclaim()
                await self._learn()
                if self._clock.monotonic() >= purge_due_s:
                    purge_due_s = self._clock.monotonic() + self._settings.purge_interval_s
                    await self.purge()
            except StoreError:
                self.expect(self._clock.now() + round(self._settings.store_retry_s * 1000))
            self._wake_dispatcher()

    async def reclaim(self, *, abandoned: bool = False) -> int:
        """Take back every expired lease, or every claim there is; how many they were."""
        count = 0
        while True:
            reclaimed = await self._combiner.apply(Reclaim(abandoned=abandoned), Reclaimed)
            count += len(reclaimed.items)
            if not reclaimed.more:
                return count

    async def purge(self) -> int:
        """Remove finished dispatches past their retention; how many they were."""
        count = 0
        while True:
            purge = Purge(retention_ms=round(self._settings.retention_s * 1000))
            purged = await self._combiner.apply(purge, Purged)
            count += purged.count
            if purged.count < MAX_ROWS:
                return count

    async def _learn(self) -> None:
        """The next instant, also when every slot is taken and the dispatcher asks for nothing."""
        next_due_at = await self._store.next_due_at()
        if next_due_at is not None and next_due_at > self._clock.now():
            self.expect(next_due_at)

    def _patience_s(self) -> float:
        if self._due_at is None:
            return self._settings.poll_interval_s
        until_due_s = (self._due_at - self._clock.now()) / 1000
        return min(max(until_due_s, 0.0), self._settings.poll_interval_s)
