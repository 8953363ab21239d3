"""The children of a run, for whoever lists them.

Above: `Awaken`, HTTP. Below: the tickets of the run, each of which names its child.

Source: ADR 0035.
"""

from __future__ import annotations

from awaken.domain.child import child_of
from awaken.domain.errors import DataIntegrity
from awaken.domain.ids import Scope
from awaken.domain.run import Run
from awaken.store.contract import Page, Reads, TicketQuery


async def children_of(reads: Reads, scope: Scope, run: Run, *, after: int | None, limit: int) -> Page[Run]:
    """The runs that a run has started, in that order. One that retention has removed, or that is still to be begun, is
    left out.
    """
    page = await reads.list_tickets(scope, TicketQuery(run_id=run.run_id, kind="child", after=after, limit=limit))
    found: list[Run] = []
    unreadable = list(page.unreadable)
    for ticket in page.items:
        try:
            child = await reads.load_run(scope, child_of(ticket).run_id)
        except DataIntegrity as error:
            unreadable.append(str(error))
            continue
        if child is not None:
            found.append(child)
    return Page(tuple(found), page.next, tuple(unreadable))
