"""What a conversation is shown from: messages, tickets, and what has become of their runs.

Above: `routes`, `again`. Below: reads of the store; `history`, which is pure.

Source: docs/howto/use-the-ai-sdk.md.
"""

from __future__ import annotations

from typing import Final

from msgspec.structs import replace

from awaken.domain.errors import DataIntegrity
from awaken.domain.ids import MessageId, RunId, ThreadId
from awaken.domain.message import Visibility
from awaken.domain.run import Run, RunStatus
from awaken.domain.ticket import Ticket
from awaken.http.operation import Call
from awaken.protocols.ai_sdk.encoder import Dialect
from awaken.protocols.ai_sdk.history import Answered, Known, came_between, runs_with_open_calls, shown
from awaken.store.contract import MAX_PAGE, DispatchQuery, MessageQuery, RunQuery, StoredMessage, TicketQuery

MAX_SHOWN: Final = 10_000
"""Messages of the log, the newest."""


async def visible_messages(call: Call, thread_id: ThreadId) -> list[StoredMessage]:
    """The newest messages that a client may see of the conversation as it is read now, in order.

    Raises:
        DataIntegrity: A message cannot be read.
    """
    found: list[StoredMessage] = []
    query = MessageQuery(limit=MAX_PAGE, view="effective", visibility=Visibility.ALL, descending=True)
    while len(found) < MAX_SHOWN:
        page = await call.reads.page_messages(call.scope, thread_id, query)
        if page.unreadable:
            raise DataIntegrity(page.unreadable[0])
        found += page.items
        if page.next is None:
            break
        query = replace(query, before=page.next)
    return found[::-1]


async def read_page(call: Call, thread_id: ThreadId, version: Dialect = 6) -> list[Answered]:
    """The newest of the conversation, as a client shows it."""
    messages = await visible_messages(call, thread_id)
    tickets: list[Ticket] = []
    after: int | None = None
    while True:
        query = TicketQuery(thread_id=thread_id, after=after, limit=MAX_PAGE)
        page = await call.reads.list_tickets(call.scope, query)
        tickets += page.items
        after = page.next
        if after is None:
            break
    over: set[RunId] = set()
    for run_id in runs_with_open_calls(messages):
        run = await call.reads.load_run(call.scope, run_id)
        if run is None or run.status is RunStatus.DONE:
            over.add(run_id)
    inputs: set[MessageId] = set()
    for run_id in {each.run_id for each in messages if each.run_id is not None and came_between(each)}:
        query = DispatchQuery(thread_id=thread_id, run_id=run_id, limit=MAX_PAGE)
        for dispatch in (await call.reads.list_dispatches(call.scope, query)).items:
            inputs.update(dispatch.message_ids or () if dispatch.why == "input" else ())
    runs = await _runs_of(call, thread_id, {each.run_id for each in messages if each.run_id is not None})
    return shown(thread_id, messages, tickets, Known(frozenset(over), frozenset(inputs), runs), version)


async def _runs_of(call: Call, thread_id: ThreadId, wanted: set[RunId]) -> tuple[Run, ...]:
    """Those runs of the thread, in order."""
    found: list[Run] = []
    query = RunQuery(thread_id=thread_id, descending=True, limit=MAX_PAGE)
    while len(found) < len(wanted):
        page = await call.reads.list_runs(call.scope, query)
        found += [run for run in page.items if run.run_id in wanted]
        if page.next is None:
            break
        query = replace(query, after=page.next)
    return tuple(reversed(found))
