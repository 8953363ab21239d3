"""Looks through the stored rows for what breaks an invariant, and has it mended.

Above: `engine` runs it for as long as the mailbox is open; an operator asks for a look of his own. Below: the reads of
the store, which find; the `Mend` transition, which mends.
Holds: readiness never waits for it. After a start the rows are looked through once, a slice at a time, with pauses that
leave most of the time to others; from then on one slice every `audit_interval_s`, round after round. What cannot be
mended is named in the log once. Who else looks meanwhile does no harm: mending looks again.

Source: ADR 0019; docs/howto/operate.md.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from typing import Any, Final

import msgspec

from awaken.domain.clock import Clock, sleep
from awaken.domain.errors import StoreError
from awaken.domain.ids import Scope, ThreadId
from awaken.mailbox.observer import Observer
from awaken.mailbox.settings import MailboxSettings
from awaken.store.combiner import Combiner
from awaken.store.contract import Reads
from awaken.store.invariants import FIRST_PLACE, AuditPlace, Breach
from awaken.store.transitions import MAX_ROWS, Mend, MendedSome, Mending

_log = logging.getLogger("awaken.mailbox")

MAX_REFUSED: Final = 10_000
"""Breaches that are remembered because they could not be mended; what is beyond is in the log for operators."""
_BUDGET_S: Final = 0.25
"""So long an operator's look goes on before it answers with where it goes on."""
_FOUND: Final = 200
PAUSES: Final = 3
"""After a slice of the first round, so many times as long is left to others."""


class AuditReport(msgspec.Struct, frozen=True, kw_only=True):
    """How far the audit is. `share`: of the rows, in the round that is under way; `refused`: what the last look at its
    rows could not mend, at most `MAX_REFUSED`.
    """

    rounds: int = 0
    """Completed, since the start."""
    share: float = 0.0
    mended: int = 0
    """Since the start."""
    refused: tuple[Mending, ...] = ()

    def refused_in(self, scope: Scope, thread_id: ThreadId) -> tuple[Mending, ...]:
        """What of a thread could not be mended."""
        return tuple(
            [each for each in self.refused if (each.breach.scope, each.breach.thread_id) == (scope, thread_id)]
        )


class Looked(msgspec.Struct, frozen=True):
    """What a look has come to: breaches as they were found, or what became of them; and where the next one begins."""

    mendings: tuple[Mending, ...]
    found: tuple[Breach, ...]
    next: AuditPlace | None


class Auditor:
    """One per mailbox."""

    def __init__(
        self,
        combiner: Combiner,
        reads: Reads,
        clock: Clock,
        settings: MailboxSettings,
        require_ready: Callable[[], None],
        observer: Observer,
    ) -> None:
        self._combiner = combiner
        self._reads = reads
        self._clock = clock
        self._settings = settings
        self._require_ready = require_ready
        self._observer = observer
        self._place: AuditPlace | None = FIRST_PLACE
        self._refused: dict[Breach, Mending] = {}
        """What the last look at its rows could not mend."""
        self._met: set[Breach] = set()
        """Of these, what the round that is under way has come across."""
        self.report: AuditReport = AuditReport()

    async def run_forever(self) -> None:
        """A round without rest, then slices from time to time."""
        self._place = FIRST_PLACE
        while True:
            pause_s = self._settings.audit_interval_s
            try:
                started_s = self._clock.monotonic()
                await self._look_on()
                if not self.report.rounds:
                    pause_s = PAUSES * (self._clock.monotonic() - started_s)
            except StoreError as error:
                _log.log(error.log_level, "the audit waits: %s", error)
            if pause_s > 0:
                await sleep(self._clock, pause_s)

    async def _look_on(self) -> None:
        """At the next slice, and mend it."""
        looked, share = await self._look(self._place or FIRST_PLACE, repairs=True)
        rounds = self.report.rounds
        if looked.next is None:
            rounds, share = rounds + 1, 0.0
            self._refused = {breach: each for breach, each in self._refused.items() if breach in self._met}
            self._met.clear()
        self._report(rounds=rounds, share=share)
        self._place = looked.next

    async def look(self, place: AuditPlace, *, repairs: bool) -> Looked:
        """At some slices from a place on: until much was found, or for a moment.

        Raises:
            Unavailable: Not started, or stopping.
        """
        self._require_ready()
        until_s = self._clock.monotonic() + _BUDGET_S
        mendings: list[Mending] = []
        found: list[Breach] = []
        following: AuditPlace | None = place
        while following is not None:
            looked, _ = await self._look(following, repairs=repairs)
            mendings += looked.mendings
            found += looked.found
            following = looked.next
            if len(found) >= _FOUND or self._clock.monotonic() >= until_s:
                break
        return Looked(tuple(mendings), tuple(found), following)

    async def _look(self, place: AuditPlace, *, repairs: bool) -> tuple[Looked, float]:
        part = await self._reads.find_breaches(place)
        mendings = await self._mend(part.breaches) if repairs and part.breaches else ()
        return Looked(mendings, part.breaches, part.next), part.share

    async def _mend(self, breaches: Sequence[Breach]) -> tuple[Mending, ...]:
        mendings: tuple[Mending, ...] = ()
        for start in range(0, len(breaches), MAX_ROWS):
            batch = Mend(breaches=tuple(breaches[start : start + MAX_ROWS]))
            mendings += (await self._combiner.apply(batch, MendedSome)).mendings
        for each in mendings:
            self._note(each)
        self._report(mended=self.report.mended + len([each for each in mendings if each.result == "mended"]))
        return mendings

    def _note(self, mending: Mending) -> None:
        """In the log, where it is news, and in the report."""
        breach = mending.breach
        if mending.result != "refused":
            self._refused.pop(breach, None)
            if mending.result == "mended":
                _log.warning("repaired: %s: %s", breach, mending.note)
            return
        if breach not in self._refused:
            _log.error("cannot be repaired: %s: %s", breach, mending.note)
        if breach in self._refused or len(self._refused) < MAX_REFUSED:
            self._refused[breach] = mending
            self._met.add(breach)

    def _report(self, **news: Any) -> None:
        self.report = msgspec.structs.replace(self.report, refused=tuple(self._refused.values()), **news)
        self._observer.audited(len(self._refused))
