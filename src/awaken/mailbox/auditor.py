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
from typing import Final

import msgspec

from awaken.domain.clock import Clock, sleep
from awaken.domain.errors import StoreError
from awaken.mailbox.settings import MailboxSettings
from awaken.store.combiner import Combiner
from awaken.store.contract import Reads
from awaken.store.invariants import FIRST_PLACE, AuditPlace, Breach
from awaken.store.transitions import MAX_ROWS, Mend, MendedSome, Mending

_log = logging.getLogger("awaken.mailbox")

_REPORTED: Final = 10_000
"""Breaches that are remembered as having been named in the log."""
_BUDGET_S: Final = 0.25
"""So long an operator's look goes on before it answers with where it goes on."""
_FOUND: Final = 200
PAUSES: Final = 3
"""After a slice of the first round, so many times as long is left to others."""


class AuditReport(msgspec.Struct, frozen=True, kw_only=True):
    """How far the audit is. `share`: of the rows, in the round that is under way; `refused`: breaches that the last
    look at their rows could not mend.
    """

    rounds: int = 0
    """Completed, since the start."""
    share: float = 0.0
    mended: int = 0
    """Since the start."""
    refused: tuple[str, ...] = ()


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
    ) -> None:
        self._combiner = combiner
        self._reads = reads
        self._clock = clock
        self._settings = settings
        self._require_ready = require_ready
        self._place: AuditPlace | None = FIRST_PLACE
        self._reported: dict[Breach, None] = {}
        self._refused: dict[Breach, None] = {}
        """Of the round that is under way."""
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
                _log.warning("the audit waits: %s", error)
            if pause_s > 0:
                await sleep(self._clock, pause_s)

    async def _look_on(self) -> None:
        """At the next slice, and mend it."""
        looked, share = await self._look(self._place or FIRST_PLACE, repairs=True)
        report = self.report
        self._refused.update(dict.fromkeys([each.breach for each in looked.mendings if each.result == "refused"]))
        mended = report.mended + len([each for each in looked.mendings if each.result == "mended"])
        if looked.next is None:
            refused = tuple([str(each) for each in self._refused])
            self.report = AuditReport(rounds=report.rounds + 1, mended=mended, refused=refused)
            self._refused = {}
        else:
            known = [*report.refused, *[str(each) for each in self._refused]]
            self.report = msgspec.structs.replace(
                report, share=share, mended=mended, refused=tuple(dict.fromkeys(known))
            )
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
            self._log(each)
        return mendings

    def _log(self, mending: Mending) -> None:
        if mending.result == "mended":
            _log.warning("repaired: %s: %s", mending.breach, mending.note)
        elif mending.result == "refused" and mending.breach not in self._reported:
            if len(self._reported) < _REPORTED:
                self._reported[mending.breach] = None
            _log.error("cannot be repaired: %s: %s", mending.breach, mending.note)
