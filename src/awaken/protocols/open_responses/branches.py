"""Going on from a response that is not the newest of its conversation: on a copy that ends with it.

Above: `routes`. Below: forks of threads, and the log.
Holds: the conversation that is branched stays as it is. The copy is made before the run on it is accepted: a server
that dies in between has left a copy of which nobody was told, and the request that is sent again has another, or, under
an `Idempotency-Key`, the same one.

Source: docs/howto/use-openai-clients.md; OR-011.
"""

from __future__ import annotations

from contextlib import suppress

from awaken.domain.errors import AlreadyExists, DataIntegrity, RunNotFinished, ValidationError
from awaken.domain.event import opened
from awaken.domain.ids import RunId
from awaken.domain.log import MESSAGE_COMMITTED
from awaken.domain.message import Role, Visibility
from awaken.domain.run import INSIDE
from awaken.http.operation import Call
from awaken.protocols.turn_index import Turn
from awaken.store.contract import MAX_PAGE, MessageQuery, RunQuery


async def is_older(call: Call, turn: Turn, turns: int) -> bool:
    """Whether somebody has said something in its conversation since, or answered it. What agents say among each other,
    and what was scheduled, is no reason to leave it. `turns`: how many its run has.
    """
    if turns > turn.number:
        return True
    run = turn.run
    query = RunQuery(thread_id=run.thread_id, descending=True, limit=MAX_PAGE)
    for other in (await call.reads.list_runs(call.scope, query)).items:
        if other.no > run.no and other.request.trace.origin not in INSIDE:
            return True
    return await _was_spoken_in(call, turn)


async def _was_spoken_in(call: Call, turn: Turn) -> bool:
    """Messages of users that stand behind it, whose runs may be left out of lists."""
    end = await last_seq(call, turn)
    if end is None:
        return False
    query = MessageQuery(after=end, view="effective", visibility=Visibility.ALL, limit=MAX_PAGE)
    page = await call.reads.page_messages(call.scope, turn.run.thread_id, query)
    runs = {each.run_id for each in page.items if each.message.role is Role.USER} - {turn.run.run_id, None}
    for run_id in runs:
        run = await call.reads.load_run(call.scope, RunId(str(run_id)))
        if run is None or run.request.trace.origin not in INSIDE:
            return True
    return False


async def branched(call: Call, turn: Turn, new_thread_id: str) -> str:
    """A new thread with the conversation up to the end of this turn; empty: it gets an id.

    Raises:
        RunNotFinished: The turn is not over.
        ValidationError: It has left nothing that is read, so nothing can go on from it.
        As `Threads.fork`.
    """
    run = turn.run
    if turn.ending is None:
        raise RunNotFinished(run.run_id)
    end = await last_seq(call, turn)
    if end is None:
        raise ValidationError(
            "nothing was said in the previous response; name the one before it", loc=("body", "previous_response_id")
        )
    with suppress(AlreadyExists):  # only under a key: the request was sent before, and its run was not accepted
        forked = await call.mailbox.threads.fork(call.scope, run.thread_id, at_seq=end, new_thread_id=new_thread_id)
        return forked.thread_id
    return new_thread_id


async def last_seq(call: Call, turn: Turn) -> int | None:
    """Of the last message that the turn has brought into the conversation; None: there is none.

    Raises:
        DataIntegrity: The log cannot be read.
    """
    run, found = turn.run, None
    after: int | None = turn.after
    while after is not None:
        page = await call.reads.page_events(call.scope, run.thread_id, after=after, limit=MAX_PAGE, run_id=run.run_id)
        if page.unreadable:
            raise DataIntegrity(page.unreadable[0])
        for row in page.items:
            for seq, event in enumerate(row.events, row.first_seq):
                if turn.last_seq is not None and seq > turn.last_seq:
                    return found
                if event.kind == MESSAGE_COMMITTED:
                    found = opened(event).message_seq
        after = page.next
    return found
