"""The turns of runs, found in their logs, and kept for the next request about the same run.

Above: the gateway. Below: events of a run, as pages.
Holds: a log only grows, so what was found stays right, and only what is new is read again. What is kept is bounded; the
runs asked about longest ago go first.

Source: docs/concepts/protocols.md.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from typing import Final

import msgspec
from msgspec.structs import replace

from awaken.domain.errors import DataIntegrity
from awaken.domain.event import opened
from awaken.domain.ids import DispatchId, MessageId, RunId, Scope
from awaken.domain.run import Run
from awaken.protocols.turns import TURN_KINDS, Ending, Turns
from awaken.store.contract import Reads

MAX_RUNS: Final = 1_000
_PAGE_EVENTS: Final = 512


class Turn(msgspec.Struct, frozen=True, kw_only=True):
    """One turn of a run: behind which event it begins, and how it ended, if it has."""

    run: Run
    number: int
    after: int
    dispatch_id: DispatchId | None
    """With which it began."""
    wire_run_id: str | None = None
    """What the client called it whose request began it."""
    why: str = "start"
    """As its `RunQueued` says: the start, or what the run went on with."""
    message_ids: tuple[MessageId, ...] = ()
    """What was brought with it."""
    last_seq: int | None = None
    """Of the event that ended it."""
    ending: Ending | None = None
    is_new: bool = False
    """It was begun by this very request."""


def first_turn(run: Run) -> Turn:
    """The turn with which a run begins."""
    return Turn(
        run=run,
        number=1,
        after=run.first_event_seq - 1,
        dispatch_id=run.dispatch_id,
        wire_run_id=run.request.trace.wire_run_id,
    )


class _Known:
    """How far the log of a run was read, and what was found."""

    def __init__(self, after: int) -> None:
        self.after = after
        self.tracked = Turns()
        self.found: list[Turn] = []
        self.reading = asyncio.Lock()


class TurnIndex:
    """One per application."""

    def __init__(self, max_runs: int = MAX_RUNS) -> None:
        self._max_runs = max_runs
        self._known: OrderedDict[tuple[Scope, RunId, int], _Known] = OrderedDict()

    async def turns_of(self, reads: Reads, scope: Scope, run: Run) -> list[Turn]:
        """All turns of the run as its log is now, at least one.

        Raises:
            DataIntegrity: The log cannot be read.
        """
        key = (scope, run.run_id, run.first_event_seq)
        known = self._known.setdefault(key, _Known(run.first_event_seq - 1))
        self._known.move_to_end(key)
        while len(self._known) > self._max_runs:
            self._known.popitem(last=False)
        async with known.reading:
            await _read_on(reads, scope, run, known)
        return [replace(each, run=run) for each in known.found] or [first_turn(run)]


async def _read_on(reads: Reads, scope: Scope, run: Run, known: _Known) -> None:
    while True:
        page = await reads.page_events(scope, run.thread_id, after=known.after, limit=_PAGE_EVENTS, run_id=run.run_id)
        if page.unreadable:
            raise DataIntegrity(page.unreadable[0])
        for row in page.items:
            for seq, event in enumerate(row.events, row.first_seq):
                if event.kind in TURN_KINDS:
                    _note(known, run, seq, row.dispatch_id, known.tracked.feed(event.kind, opened(event)))
            known.after = row.last_seq
        if page.next is None:
            return
        known.after = max(known.after, page.next)
        await asyncio.sleep(0)  # between two pages others have their turn, whatever the store


def _note(known: _Known, run: Run, seq: int, dispatch_id: DispatchId | None, moved: str) -> None:
    tracked, found = known.tracked, known.found
    if moved == "opens" and tracked.queued is not None:
        queued = tracked.queued
        found.append(
            Turn(
                run=run,
                number=tracked.number,
                after=seq - 1,
                dispatch_id=dispatch_id,
                wire_run_id=queued.wire_run_id,
                why=queued.why,
                message_ids=queued.message_ids,
            )
        )
    elif moved == "ends":
        found[-1] = replace(found[-1], last_seq=seq, ending=tracked.ending)
