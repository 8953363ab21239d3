"""What is queued and executed, for those who look after it: listed, read, given another place, cancelled.

Above: `Awaken`, HTTP. Below: the `EditDispatch` transition; `Mailbox.cancel`.
Holds: what executes, or has ended, is never given another place; a dispatch that has ended cancels nothing.

Source: docs/howto/operate.md.
"""

from __future__ import annotations

from awaken.domain.clock import Instant
from awaken.domain.dispatch import Dispatch, DispatchStatus
from awaken.domain.errors import DispatchNotFound, DispatchNotQueued, ThreadGone
from awaken.domain.ids import DispatchId, Scope, checked_id
from awaken.domain.queue import Place, QueueFilter
from awaken.domain.run import Run
from awaken.mailbox.engine import Engine
from awaken.store.contract import DispatchQuery, Page, Reads
from awaken.store.transitions import DispatchEdited, DispatchMoved, EditDispatch, Gone


class Dispatches:
    """A part of the mailbox."""

    def __init__(self, engine: Engine, reads: Reads) -> None:
        self._engine = engine
        self._reads = reads

    async def page(
        self, scope: Scope, chosen: QueueFilter, *, after: int | None = None, limit: int
    ) -> tuple[Page[Dispatch], Instant]:
        """Those that the filter finds, oldest first, and the store's now. Without a thread, of every run the newest.

        Raises:
            RunNotFound: The filter names a run that is not there.
        """
        now = await self._reads.now()
        held = chosen.stale or chosen.claimed_by is not None
        statuses = (DispatchStatus.CLAIMED,) if held and chosen.status is None else ()
        query = DispatchQuery(
            thread_id=chosen.thread_id,
            run_id=chosen.run_id,
            statuses=(chosen.status,) if chosen.status is not None else statuses or None,
            agent_id=chosen.agent_id,
            claimed_by=chosen.claimed_by,
            created_before=None if chosen.older_than_s is None else now - round(chosen.older_than_s * 1000),
            lease_before=now if chosen.stale else None,
            after=after,
            limit=limit,
        )
        return await self._reads.list_dispatches(scope, query), now

    async def get(self, scope: Scope, dispatch_id: str) -> tuple[Dispatch, Run]:
        """With its run. Raises DispatchNotFound; ValidationError for what is no id."""
        self._engine.check_loop()
        dispatch = await self._reads.load_dispatch(scope, DispatchId(checked_id(dispatch_id, what="dispatch_id")))
        run = None if dispatch is None else await self._reads.load_run(scope, dispatch.run_id)
        if dispatch is None or run is None:
            raise DispatchNotFound(dispatch_id)
        return dispatch, run

    async def place(self, scope: Scope, dispatch_id: str, place: Place) -> tuple[Dispatch, Run]:
        """Give what is queued another place, at once: where that is due, it starts as soon as there is room.

        Raises:
            DispatchNotFound: There is none.
            DispatchNotQueued: It is executed, or has ended.
        """
        self._engine.require_ready()
        dispatch, run = await self.get(scope, dispatch_id)
        asked = EditDispatch(
            scope=scope,
            thread_id=run.thread_id,
            run_id=run.run_id,
            dispatch_id=dispatch.dispatch_id,
            priority=place.priority,
            delay_ms=place.delay_ms,
            available_at=place.available_at,
        )
        match await self._engine.combiner.ask(asked):
            case DispatchEdited(dispatch=dispatch, run=run):
                return dispatch, run
            case DispatchMoved():
                now, _ = await self.get(scope, dispatch_id)
                raise DispatchNotQueued(dispatch_id, now.status)
            case Gone():
                raise ThreadGone(run.thread_id)
            case _:
                raise DispatchNotFound(dispatch_id)
