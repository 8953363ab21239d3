"""What this process says of itself to those that work on the same store, and what it does for one that has died.

Above: the engine runs it on a store that several processes use. Below: the store's records of them, and the signs of
life between the processes of one machine.
Holds: a process that dies is found by any neighbour on its machine within `neighbour_check_s`, and what it held is
taken back at once, whatever its leases say; elsewhere its leases decide. Several neighbours may find it: what one has
taken back, the others no longer find.

Source: ADR 0040.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from contextlib import suppress

from awaken.domain.clock import Clock, sleep
from awaken.domain.errors import StoreError
from awaken.domain.ids import ConsumerId, Route
from awaken.domain.worker import WorkerRecord
from awaken.mailbox.life_sign import LifeSigns
from awaken.mailbox.settings import MailboxSettings
from awaken.store.combiner import Combiner
from awaken.store.contract import Store
from awaken.store.transitions import Reclaim, Reclaimed

_log = logging.getLogger("awaken.mailbox")


class Neighbours:
    """One per process that executes runs, or accepts them, on a store that others use too."""

    def __init__(
        self,
        combiner: Combiner,
        store: Store,
        clock: Clock,
        settings: MailboxSettings,
        signs: LifeSigns,
        describe: Callable[[], WorkerRecord],
        limits_changed: Callable[[], None],
    ) -> None:
        """`describe`: this process, as it is now. `limits_changed` is called when `totals` is another one."""
        self._combiner = combiner
        self._store = store
        self._clock = clock
        self._settings = settings
        self._signs = signs
        self._describe = describe
        self._limits_changed = limits_changed
        self._known: tuple[WorkerRecord, ...] | None = None
        """Everybody who said that he lives; None: that was not asked yet."""
        self.totals: Mapping[Route, int] = {}
        """How many runs of an agent may execute at once in all processes together, as others say: the lowest number of
        each. Another object after each change.
        """

    @property
    def others(self) -> tuple[WorkerRecord, ...] | None:
        """Who else works on the store; None while that is not known yet."""
        own = self._describe().consumer_id
        return None if self._known is None else tuple([each for each in self._known if each.consumer_id != own])

    def _learn(self, known: tuple[WorkerRecord, ...] | None) -> None:
        self._known = known
        totals: dict[Route, int] = {}
        for each in self.others or ():
            for route, limit in each.totals.items():
                totals[route] = min(limit, totals.get(route, limit))
        if totals != self.totals:
            self.totals = totals
            self._limits_changed()

    async def beat(self) -> None:
        """Say that this process lives, and learn who else does. Raises StoreError."""
        self._learn(await self._store.beat(self._describe()))

    async def beat_forever(self) -> None:
        """As `beat`, from time to time."""
        while True:
            try:
                await self.beat()
            except StoreError as error:
                _log.log(error.log_level, "the other processes could not be told that this one lives: %s", error)
            await sleep(self._clock, self._settings.beat_interval_s)

    async def watch_forever(self) -> None:
        """Look after the neighbours on this machine, also those that came a moment ago."""
        while True:
            await sleep(self._clock, self._settings.neighbour_check_s)
            with suppress(StoreError):  # nothing is lost: they are looked for again, as their signs are still there
                known = await self._store.list_workers()
                self._learn(known)
                for worker in known:
                    sign = worker.life_sign
                    if sign is not None and self._signs.is_dead(sign):
                        await self._take_over(worker)
                        self._signs.bury(sign)

    async def _take_over(self, dead: WorkerRecord) -> None:
        count, more = 0, True
        while more:
            reclaim = Reclaim(consumer=dead.consumer_id, continued=count > 0)
            reclaimed = await self._combiner.apply(reclaim, Reclaimed)
            count, more = count + len(reclaimed.items), reclaimed.more
        await self._store.leave(dead.consumer_id)
        self._learn(tuple([each for each in self._known or () if each.consumer_id != dead.consumer_id]))
        _log.warning(
            "process %d on this machine, consumer %s, has died; %d runs that it held are taken back",
            dead.pid,
            dead.consumer_id,
            count,
        )

    async def leave(self, consumer_id: ConsumerId) -> None:
        """This process has handed everything back."""
        self._learn(None)
        try:
            await self._store.leave(consumer_id)
        except StoreError as error:
            _log.warning("the other processes could not be told that this one has ended: %s", error)
