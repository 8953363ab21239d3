"""What is looked after from time to time: what falls due, claims that nobody carries, and what is old.

Above: whoever learns that something falls due later calls `expect`. Below: the `Reclaim`, `Settle`, `Decide`, `Tick`
and `Purge` transitions.
Holds: one timer for the next thing that falls due, as far as this process knows, and a slow look behind it. Instants
never leave the store: it answers in how long, and the waiting is done on the monotonic clock.

A claim of this process that no execution carries and no transition on its way may have won is left over from a store
that committed and could not answer. It is released, at no cost to its run. On a store that other processes use too,
claims whose lease has ended are taken back.

Source: ADR 0008, ADR 0023, ADR 0025, ADR 0043.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Container, Sequence

import msgspec

from awaken.domain.clock import Alarm, Clock
from awaken.domain.errors import DataIntegrity, StoreError
from awaken.domain.ids import ClaimToken, Route
from awaken.domain.worker import WorkerRecord
from awaken.executors.registry import Agents
from awaken.mailbox.observer import Observer
from awaken.mailbox.settings import MailboxSettings
from awaken.mailbox.slots import Slots
from awaken.store.combiner import Combiner
from awaken.store.contract import MAX_PAGE, Held, Store
from awaken.store.transitions import (
    Decide,
    Decided,
    GaveUp,
    GiveUp,
    Purge,
    Purged,
    Reclaim,
    Reclaimed,
    Release,
    Settle,
    Settled,
    Tick,
    Ticked,
)

_log = logging.getLogger("awaken.mailbox")
PURGES_PER_SWEEP = 50
"""Slices in a row, so that a sweep of much that is old leaves room for everything else. The next sweep goes on."""
UNSERVED_GRACE_S = 60.0
"""So long, at least, nothing is given up of what was just seen to be unserved, however long it has been due."""
MEET_MS = 200
"""How long after something became due it is looked whether that is of a version that was never met. Many share a look.
"""
EXPIRIES_PER_SWEEP = 50
"""Pages of tickets, likewise. The next sweep follows at once."""


class Swept(msgspec.Struct, frozen=True):
    """What a sweep did: claims that nobody carried and that are queued again, tickets closed because their time was
    over, and runs begun by schedules.
    """

    taken_back: int
    expired: int
    begun: int


class Removed(msgspec.Struct, frozen=True):
    """What retention did not keep, and rows of deleted threads; `more` is left for the next time."""

    runs: int
    events: int
    rows: int
    more: bool


class Sweeper:
    """One per process that executes runs."""

    def __init__(
        self,
        combiner: Combiner,
        store: Store,
        clock: Clock,
        settings: MailboxSettings,
        slots: Slots,
        carries: Callable[[ClaimToken], bool],
        agents: Agents,
        others: Callable[[], Sequence[WorkerRecord] | None],
        wake_dispatcher: Callable[[], None],
        observer: Observer,
    ) -> None:
        """`carries`: whether an execution of this process has a claim with that token. `others`: who else works on the
        store; None while that is not known.
        """
        self._combiner = combiner
        self._store = store
        self._clock = clock
        self._settings = settings
        self._slots = slots
        self._carries = carries
        self._agents = agents
        self._others = others
        self._wake_dispatcher = wake_dispatcher
        self._observer = observer
        self._due_s: float | None = None
        """When the next thing falls due, on the monotonic clock."""
        self._sooner = Alarm(clock)
        self._purged_row = 0
        self._has_schedules = True
        """One of them may fall due."""
        self.is_leaving = False
        """Nothing is executed here any more: the schedules that fall due now are for whoever serves next."""
        self._unserved_since_s: dict[Route, float] = {}
        """Routes for which something is queued and which nobody here can run, as of the last sweep; each with when that
        was seen first, on the monotonic clock.
        """
        self._giving_up_s: float | None = None
        """When something may be overdue that nobody can run, on the monotonic clock; None: that is not known yet."""

    @property
    def unserved(self) -> tuple[Route, ...]:
        """Routes for which something is queued and which nobody here can run, as of the last sweep."""
        return tuple(self._unserved_since_s)

    @property
    def gives_up_after_ms(self) -> int | None:
        """How long what is due may wait for somebody who can run it; None: for ever."""
        after_s = self._settings.unserved_after_s
        return None if after_s is None else round(after_s * 1000)

    def expect(self, in_ms: int) -> None:
        """Something falls due in so many milliseconds. Only the earliest is kept; each sweep learns the next one."""
        now_s = self._clock.monotonic()
        due_s = now_s + in_ms / 1000
        # What is overdue has a timer that slept with the machine.
        if self._due_s is None or due_s < self._due_s or self._due_s <= now_s:
            self._due_s = due_s if self._due_s is None else min(due_s, self._due_s)
            self._sooner.set()

    def expect_left(self) -> None:
        """A question was not answered, and may have won a claim that nobody has heard of: look soon, and not at once,
        for the store has just failed.
        """
        self.expect(round(self._settings.store_retry_s * 1000))

    def expect_tick(self, in_ms: int | None) -> None:
        """A schedule falls due in so many milliseconds; None: none does."""
        self._has_schedules = in_ms is not None
        if in_ms is not None:
            self.expect(in_ms)

    def expect_unknown(self) -> None:
        """What is due may be of a version that is not registered, and that somebody here executes in its stead."""
        if self._agents.falls_back:
            self.expect(MEET_MS)

    async def run_forever(self) -> None:
        purge_due_s = self._clock.monotonic() + self._settings.purge_interval_s
        await self._expire_first()
        while True:
            if await self._sooner.wait(self._patience_s()):
                continue  # something earlier became known
            self._due_s = None
            try:
                await self.sweep()
                if self._clock.monotonic() >= purge_due_s:
                    purge_due_s = self._clock.monotonic() + self._settings.purge_interval_s
                    await self.purge()
            except StoreError:
                self.expect_left()
            self._wake_dispatcher()

    async def sweep(self) -> Swept:
        """Look after everything that falls due, once. It may be asked at any time, also while another one goes on."""
        taken_back = await self.take_back()
        expired = await self.expire()
        begun = await self.tick() if self._has_schedules and not self.is_leaving else 0
        await self._learn()
        return Swept(taken_back, expired, begun)

    async def take_back(self) -> int:
        """Take back every claim that nobody holds any more; how many they were."""
        reclaimed = 0 if self._store.capabilities.exclusive else await self.reclaim()
        return reclaimed + await self.release_strays()

    async def reclaim(self) -> int:
        """Take back every claim whose lease has ended; how many they were."""
        count = 0
        while True:
            reclaimed = await self._combiner.apply(Reclaim(continued=count > 0), Reclaimed)
            count += len(reclaimed.items)
            if not reclaimed.more:
                return count

    async def release_strays(self) -> int:
        """Release the claims of this process that nobody carries; how many they were."""
        count, after, more = 0, 0, True
        while more:
            claims = await self._store.list_claims(self._slots.consumer, after=after)
            for held in claims:
                after = held.dispatch.no
                token = held.dispatch.claim_token
                if token is not None and not self._is_held(token):
                    count += await self._release(held)
            more = len(claims) == MAX_PAGE
        return count

    def _is_held(self, token: ClaimToken) -> bool:
        """To be asked when the claim has been read: what was won before that is known here since then, or still on its
        way; and what has been settled before that is not read as claimed, or its release changes nothing.
        """
        return self._carries(token) or self._slots.may_have_won(token)

    async def _release(self, held: Held) -> bool:
        """A settlement like any other: where the claim has ended since it was read, it changes nothing."""
        dispatch = held.dispatch
        assert dispatch.claim_token is not None, "it is claimed"
        settle = Settle(
            scope=held.scope,
            thread_id=dispatch.thread_id,
            run_id=dispatch.run_id,
            dispatch_id=dispatch.dispatch_id,
            token=dispatch.claim_token,
            number=0,
            ending=Release("nobody carried its claim"),
        )
        has_released = isinstance(await self._combiner.ask(settle), Settled)
        if has_released:
            _log.warning("run %s: nobody carried its claim, which was released", dispatch.run_id)
        return has_released

    async def tick(self) -> int:
        """Have the schedules that are due begin their runs; how many they were."""
        count, more = 0, True
        while more:
            ticked = await self._combiner.apply(Tick(max_attempts=self._settings.max_attempts), Ticked)
            count += len(ticked.posted)
            more = ticked.more
        return count

    async def _expire_first(self) -> None:
        """What fell due while nobody looked; everything later is expected."""
        try:
            await self.expire()
        except StoreError:
            self.expect(round(self._settings.store_retry_s * 1000))

    async def expire(self) -> int:
        """Close the tickets whose time is over, as far as a sweep goes; how many they were. One that cannot be closed
        costs no other.
        """
        count = 0
        for _ in range(EXPIRIES_PER_SWEEP):
            overdue = await self._store.list_overdue_tickets()
            asked = [
                self._combiner.ask(
                    Decide(scope=each.scope, thread_id=each.thread_id, run_id=each.run_id, expires=(each.ticket_id,))
                )
                for each in overdue
            ]
            closed = 0
            for each, answer in zip(overdue, asked, strict=True):
                try:
                    closed += isinstance(await answer, Decided)
                except DataIntegrity as error:
                    _log.error("ticket %s of run %s cannot expire: %s", each.ticket_id, each.run_id, error)
            count += closed
            if len(overdue) < MAX_PAGE or not closed:
                return count
        self.expect(0)
        return count

    async def purge(self) -> Removed:
        """Remove what retention no longer keeps, as far as a sweep goes."""
        runs, events, rows, more = 0, 0, 0, True
        for _ in range(PURGES_PER_SWEEP):
            purge = Purge(
                run_retention_ms=round(self._settings.run_retention_s * 1000),
                event_retention_ms=round(self._settings.event_retention_s * 1000),
                after_row=self._purged_row,
            )
            purged = await self._combiner.apply(purge, Purged)
            runs, events, rows, more = runs + purged.runs, events + purged.events, rows + purged.rows, purged.more
            self._purged_row = purged.last_row if more else 0
            if not more:
                break
        return Removed(runs, events, rows, more)

    async def _learn(self) -> None:
        """When the next thing falls due, also while every slot is taken; and what nobody here can run."""
        served = frozenset(self._agents.routes)
        next_due_in_ms = await self._store.next_due_in_ms(served)
        if next_due_in_ms is not None and next_due_in_ms > 0:
            self.expect(next_due_in_ms)
        ready = await self._store.list_ready_routes()
        others = self._others()
        if others is not None and self._agents.meet(self._without_own(ready, others)):
            served = frozenset(self._agents.routes)
        now_s = self._clock.monotonic()
        unserved: dict[Route, float] = {}
        for route in ready:
            if not (route in served or self._agents.is_paused(route) or self._agents.is_left(route)):
                unserved[route] = self._unserved_since_s.get(route, now_s)
                if route not in self._unserved_since_s:
                    self._giving_up_s = None
                    _log.warning("runs of agent %r wait: no agent of that name can run here", route)
        self._unserved_since_s = unserved
        self._observer.unserved(len(unserved))
        if others is not None:
            await self._give_up({route for each in others for route in (*each.routes, *each.paused)})

    def _without_own(self, routes: Sequence[Route], others: Sequence[WorkerRecord]) -> list[Route]:
        """Without those of versions that another process has itself, and that it need not stand in for."""
        own = {route for each in others for route in (*each.routes, *each.paused) if route not in each.stand_ins}
        return [route for route in routes if route not in own]

    async def _give_up(self, elsewhere: Container[Route]) -> None:
        """Give up what has been due for too long and nobody can run, as far as a sweep goes. Somebody has time to
        register an agent that is missing by mistake: what is seen to be unserved is left alone for a while.
        `elsewhere`: what other processes run, or have and were told to pause.
        """
        after_ms = self.gives_up_after_ms
        if after_ms is None or not self._unserved_since_s:
            return
        now_s, grace_s = self._clock.monotonic(), min(UNSERVED_GRACE_S, after_ms / 1000)
        left_s = {route: since_s + grace_s - now_s for route, since_s in self._unserved_since_s.items()}
        routes = tuple([route for route, seconds in left_s.items() if seconds <= 0 and route not in elsewhere])
        if routes and (self._giving_up_s is None or now_s >= self._giving_up_s):
            gave_up = await self._combiner.apply(GiveUp(routes=routes, after_ms=after_ms), GaveUp)
            in_ms = 0 if gave_up.more else after_ms if gave_up.next_in_ms is None else gave_up.next_in_ms
            self._giving_up_s = now_s + in_ms / 1000
            self.expect(in_ms)
        waits_s = min([seconds for seconds in left_s.values() if seconds > 0], default=None)
        if waits_s is not None:
            self._giving_up_s = None
            self.expect(math.ceil(waits_s * 1000))

    def _patience_s(self) -> float:
        if self._due_s is None:
            return self._settings.poll_s
        return min(max(self._due_s - self._clock.monotonic(), 0.0), self._settings.poll_s)
