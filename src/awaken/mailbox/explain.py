"""The facts of an explanation: a few reads, each of a bounded number of rows, and what the engine knows.

Above: `Mailbox.explain`. Below: the reads of the store; `why`, which makes words of them.
Holds: what is executing or first in the queue of a thread is explained, too, for a run that is behind it, and nothing
behind that: it is at most ten reads, however long a queue is. They are not of one moment; a run that moves meanwhile
may be called `due`, and asking again tells more.

Source: docs/howto/find-out-why.md.
"""

from __future__ import annotations

from msgspec.structs import replace

from awaken.domain.dispatch import QUEUED, Dispatch
from awaken.domain.errors import DataIntegrity
from awaken.domain.ids import Scope
from awaken.domain.run import DONE, Run
from awaken.mailbox.engine import Engine
from awaken.mailbox.why import Explanation, Facts, ahead_of, explain
from awaken.store.contract import MAX_PAGE, Reads, TicketQuery


async def explain_run(reads: Reads, engine: Engine, scope: Scope, run: Run) -> Explanation:
    """Why this run is where it is."""
    dispatch = (await reads.load_dispatches(scope, [run.dispatch_id])).get(run.dispatch_id)
    facts = Facts(now=await reads.now(), run=run, dispatch=dispatch, here=engine.here(scope, run, dispatch))
    if run.status is DONE:
        return explain(facts)
    if run.is_parked:
        query = TicketQuery(run_id=run.run_id, state="open", limit=MAX_PAGE)
        return explain(replace(facts, tickets=(await reads.list_tickets(scope, query)).items))
    if dispatch is None or dispatch.status is not QUEUED:
        return explain(facts)
    try:
        return explain(await _in_queue(reads, engine, scope, facts))
    except DataIntegrity as error:
        return explain(replace(facts, unreadable=str(error)))


async def _in_queue(reads: Reads, engine: Engine, scope: Scope, facts: Facts) -> Facts:
    """With what is ahead of a queued run, and what it was to be given and is lost.

    Raises:
        DataIntegrity: What is ahead cannot be read.
    """
    facts = await _with_lost(reads, scope, facts)
    thread_id = facts.run.thread_id
    active = await reads.active_dispatch(scope, thread_id)
    queue = tuple(await reads.list_queue(scope, thread_id))
    pending = () if active is None else tuple(await reads.list_pending(scope, thread_id))
    facts = replace(facts, active=active, queue=queue, pending=pending)
    ahead = ahead_of(facts)
    return facts if ahead is None else replace(facts, ahead=await _ahead(reads, engine, scope, facts, ahead))


async def _ahead(reads: Reads, engine: Engine, scope: Scope, facts: Facts, ahead: Dispatch) -> Facts | None:
    run = await reads.load_run(scope, ahead.run_id)
    if run is None or run.run_id == facts.run.run_id:
        return None
    found = Facts(now=facts.now, run=run, dispatch=ahead, here=engine.here(scope, run, ahead))
    return await _with_lost(reads, scope, found) if ahead.status is QUEUED else found


async def _with_lost(reads: Reads, scope: Scope, facts: Facts) -> Facts:
    run, dispatch = facts.run, facts.dispatch
    assert dispatch is not None, "it is queued"
    brought = dispatch.brings(run.request.input_message_ids)
    return replace(facts, lost=tuple(await reads.lost_messages(scope, run.thread_id, brought)))
