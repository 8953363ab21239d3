"""Runs with what is said beside them: why each is where it is, and its last event.

Above: lists of runs over HTTP, and what wants attention. Below: `explain`; the reads of the store.
Holds: it is a few reads for a whole page, and what is queued costs a few more for each run.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import msgspec

from awaken.domain.clock import Instant
from awaken.domain.dispatch import CLAIMED, Dispatch
from awaken.domain.ids import DispatchId, RunId, Scope
from awaken.domain.log import EventRow
from awaken.domain.run import Run
from awaken.mailbox.engine import Engine
from awaken.mailbox.explain import explain_runs
from awaken.mailbox.why import Explanation
from awaken.store.contract import Reads


class SeenRun(msgspec.Struct, frozen=True, kw_only=True):
    """A run with what is said beside it: why it is where it is, and its last event."""

    run: Run
    dispatch: Dispatch | None
    why: Explanation | None = None
    last: EventRow | None = None

    @property
    def alive_at(self) -> Instant | None:
        """Of a run that is executed: when something of it was last heard, an event or the renewal of its lease."""
        dispatch = self.dispatch
        if dispatch is None or dispatch.status is not CLAIMED:
            return None
        said_at = 0 if self.last is None else self.last.created_at
        return max(said_at, dispatch.tried_at or 0, 0 if dispatch.lease_until is None else dispatch.updated_at)


async def seen_runs(
    reads: Reads,
    engine: Engine,
    scope: Scope,
    runs: Sequence[Run],
    dispatches: Mapping[DispatchId, Dispatch] | None = None,
    *,
    why: bool,
    last_event: bool,
) -> list[SeenRun]:
    """Runs with what is asked for beside them, in the same order."""
    if dispatches is None:
        dispatches = await reads.load_dispatches(scope, [run.dispatch_id for run in runs])
    whys: Mapping[RunId, Explanation] = {}
    if why:
        whys = await explain_runs(reads, engine, scope, runs, dispatches)
    events = await reads.last_events(scope, runs) if last_event else {}
    return [
        SeenRun(
            run=run,
            dispatch=dispatches.get(run.dispatch_id),
            why=whys.get(run.run_id),
            last=events.get(run.run_id),
        )
        for run in runs
    ]
