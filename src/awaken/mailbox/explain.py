"""The facts of an explanation: a few reads, each of a bounded number of rows, and what the engine knows.

Above: `Mailbox.explain`. Below: the reads of the store; `why`, which makes words of them.
Holds: what is executing or first in the queue of a thread is explained, too, for a run that is behind it, and nothing
behind that: it is at most ten reads, however long a queue is. They are not of one moment; a run that moves meanwhile
may be called `due`, and asking again tells more.

Source: docs/howto/find-out-why.md.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import msgspec
from msgspec.structs import replace

from awaken.domain.clock import Instant
from awaken.domain.dispatch import QUEUED, Dispatch
from awaken.domain.errors import DataIntegrity
from awaken.domain.ids import DispatchId, RunId, Scope, ThreadId
from awaken.domain.run import DONE, Run
from awaken.mailbox.engine import Engine
from awaken.mailbox.why import Explanation, Facts, ahead_of, explain
from awaken.store.contract import MAX_PAGE, PendingMessage, Reads, TicketQuery


class _Line(msgspec.Struct, frozen=True):
    """What a thread executes, and what stands in its queue."""

    active: Dispatch | None
    queue: tuple[Dispatch, ...]
    pending: tuple[PendingMessage, ...]


async def explain_run(reads: Reads, engine: Engine, scope: Scope, run: Run) -> Explanation:
    """Why this run is where it is."""
    dispatches = await reads.load_dispatches(scope, [run.dispatch_id])
    return (await explain_runs(reads, engine, scope, [run], dispatches))[run.run_id]


async def explain_runs(
    reads: Reads, engine: Engine, scope: Scope, runs: Iterable[Run], dispatches: Mapping[DispatchId, Dispatch]
) -> dict[RunId, Explanation]:
    """The same of each of these, whose dispatches are known. What stands in a thread is read once for all of them."""
    explaining = _Explaining(reads, engine, scope, await reads.now())
    return {run.run_id: await explaining.explain(run, dispatches.get(run.dispatch_id)) for run in runs}


class _Explaining:
    """One question, about one run or several."""

    def __init__(self, reads: Reads, engine: Engine, scope: Scope, now: Instant) -> None:
        self._reads = reads
        self._engine = engine
        self._scope = scope
        self._now = now
        self._lines: dict[ThreadId, _Line] = {}

    async def explain(self, run: Run, dispatch: Dispatch | None) -> Explanation:
        facts = self._facts(run, dispatch)
        if run.status is DONE:
            return explain(facts)
        if run.is_parked:
            query = TicketQuery(run_id=run.run_id, state="open", limit=MAX_PAGE)
            return explain(replace(facts, tickets=(await self._reads.list_tickets(self._scope, query)).items))
        if dispatch is None or dispatch.status is not QUEUED:
            return explain(facts)
        try:
            return explain(await self._in_queue(facts))
        except DataIntegrity as error:
            return explain(replace(facts, unreadable=str(error)))

    def _facts(self, run: Run, dispatch: Dispatch | None) -> Facts:
        here = self._engine.here(self._scope, run, dispatch)
        return Facts(now=self._now, run=run, dispatch=dispatch, here=here)

    async def _in_queue(self, facts: Facts) -> Facts:
        """With what is ahead of a queued run, and what it was to be given and is lost.

        Raises:
            DataIntegrity: What is ahead cannot be read.
        """
        facts = await self._with_lost(facts)
        line = await self._line(facts.run.thread_id)
        facts = replace(facts, active=line.active, queue=line.queue, pending=line.pending)
        ahead = ahead_of(facts)
        return facts if ahead is None else replace(facts, ahead=await self._ahead(facts, ahead))

    async def _line(self, thread_id: ThreadId) -> _Line:
        if thread_id not in self._lines:
            active = await self._reads.active_dispatch(self._scope, thread_id)
            queue = tuple(await self._reads.list_queue(self._scope, thread_id))
            pending = () if active is None else tuple(await self._reads.list_pending(self._scope, thread_id))
            self._lines[thread_id] = _Line(active, queue, pending)
        return self._lines[thread_id]

    async def _ahead(self, facts: Facts, ahead: Dispatch) -> Facts | None:
        run = await self._reads.load_run(self._scope, ahead.run_id)
        if run is None or run.run_id == facts.run.run_id:
            return None
        found = self._facts(run, ahead)
        return await self._with_lost(found) if ahead.status is QUEUED else found

    async def _with_lost(self, facts: Facts) -> Facts:
        run, dispatch = facts.run, facts.dispatch
        assert dispatch is not None, "it is queued"
        brought = dispatch.brings(run.request.input_message_ids)
        return replace(facts, lost=tuple(await self._reads.lost_messages(self._scope, run.thread_id, brought)))
