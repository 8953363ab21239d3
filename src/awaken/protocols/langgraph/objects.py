"""Threads, runs, states and assistants as LangGraph's clients know them: a table of translation, and reads.

Above: the handlers. Below: reads of the store, and domain values.
Holds: what is shown is derived from what is stored, each time it is asked for. A run's end is a checkpoint, whose id is
the run's: a thread has one state for each of its runs.

Source: docs/concepts/protocols.md; SRV-037.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, Final

from msgspec.structs import replace

from awaken.domain.clock import Instant, to_rfc3339
from awaken.domain.dispatch import DispatchStatus
from awaken.domain.errors import DataIntegrity
from awaken.domain.ids import AgentId, ThreadId, derived_id
from awaken.domain.message import Visibility
from awaken.domain.run import Run
from awaken.domain.run import RunStatus as Status
from awaken.domain.thread import Thread
from awaken.domain.thread import ThreadStatus as StatusOfThread
from awaken.domain.ticket import Ticket
from awaken.executors.registry import AgentInfo
from awaken.http.operation import Call
from awaken.protocols.langgraph.encoder import OUTPUT
from awaken.protocols.langgraph.messages import shown_messages
from awaken.protocols.langgraph.waits import interrupt_of
from awaken.protocols.langgraph.wire import RunStatus, ThreadStatus
from awaken.store.contract import MAX_PAGE, MessageQuery, MetadataFilter, RunQuery, StoredMessage, TicketQuery

MAX_MESSAGES: Final = 10_000
"""Messages in one state: the newest ones."""
_RUNS: Final = 20
"""Read at once, where mostly the first is wanted."""
_EPOCH: Final = to_rfc3339(0)


# --- assistants -------------------------------------------------------------------------------------------------------


def assistant_id_of(agent_id: str) -> str:
    """The same in every server."""
    return derived_id("assistant", agent_id)


def agent_named(call: Call, named: str) -> AgentInfo:
    """The agent with this name, or whose assistant has this id. Raises AgentNotFound."""
    for info in call.mailbox.agents.describe():
        if named in (info.agent_id, assistant_id_of(info.agent_id)):
            return info
    return call.mailbox.agents.described(named)


def agent_id_named(call: Call, named: str | None) -> AgentId | None:
    """As a run's body names it; a name that is not known is left for the mailbox to refuse."""
    if not named:
        return None
    for agent_id in call.mailbox.agents.ids():
        if named == assistant_id_of(agent_id):
            return agent_id
    return AgentId(named)


def assistant(info: AgentInfo) -> dict[str, Any]:
    return {
        "assistant_id": assistant_id_of(info.agent_id),
        "graph_id": info.agent_id,
        "name": info.title or info.agent_id,
        "description": info.description or None,
        "config": {},
        "context": {},
        "metadata": {"created_by": "system"},
        "version": 1,
        "created_at": _EPOCH,
        "updated_at": _EPOCH,
    }


# --- runs -------------------------------------------------------------------------------------------------------------


async def tickets_of(call: Call, run: Run) -> tuple[Ticket, ...]:
    """The open ones that a waiting run asks somebody for; none where it is at work by itself."""
    if not run.waits_for_somebody or run.waiting is None:
        return ()
    query = TicketQuery(run_id=run.run_id, state="open", limit=MAX_PAGE)
    asked = [each for each in (await call.reads.list_tickets(call.scope, query)).items if each.asked.kind != "child"]
    if all([each.asked.kind == "external" for each in asked]):
        return ()
    waits_for = [each for each in asked if each.ticket_id in run.waiting.tickets]
    return tuple(waits_for or asked)


async def is_interrupted(call: Call, run: Run) -> bool:
    """Whether it waits for somebody who may answer, or write to it."""
    if not run.waits_for_somebody or run.waiting is None:
        return False
    return run.waiting.reason in ("user_input", "manual_pause", "tool_permission") or bool(await tickets_of(call, run))


async def status_of(call: Call, run: Run, *, is_queued: bool) -> RunStatus:
    """`is_queued`: its newest dispatch is."""
    if run.status is Status.DONE:
        ended = run.termination
        match None if ended is None else ended.type:
            case "error" | "blocked":
                return "error"
            case "cancelled":
                return "interrupted"
            case "stopped" if ended is not None and ended.code == "timeout":
                return "timeout"
            case _:
                return "success"
    if await is_interrupted(call, run):
        return "interrupted"
    return "pending" if is_queued or run.status is Status.CREATED else "running"


async def runs_shown(call: Call, runs: Sequence[Run]) -> list[dict[str, Any]]:
    dispatches = await call.reads.load_dispatches(call.scope, [run.dispatch_id for run in runs])
    found: list[dict[str, Any]] = []
    for run in runs:
        dispatch = dispatches.get(run.dispatch_id)
        is_queued = dispatch is not None and dispatch.status is DispatchStatus.QUEUED
        found.append(
            {
                "run_id": run.run_id,
                "thread_id": run.thread_id,
                "assistant_id": assistant_id_of(run.agent_id),
                "agent_id": run.agent_id,
                "status": await status_of(call, run, is_queued=is_queued),
                "metadata": {**run.metadata, "graph_id": run.agent_id},
                "kwargs": await _kwargs(call, run) if run.started_at is None and run.input is None else {},
                "multitask_strategy": "enqueue",
                "created_at": to_rfc3339(run.created_at),
                "updated_at": to_rfc3339(run.updated_at),
            }
        )
    return found


async def _kwargs(call: Call, run: Run) -> dict[str, Any]:
    """What a run was given that has not begun: clients show it in their queue."""
    found: list[StoredMessage] = []
    for id in run.request.input_message_ids:
        stored = await call.reads.load_message(call.scope, run.thread_id, id)
        if stored is not None and stored.message.visibility is Visibility.ALL:
            found.append(stored)
    return {"input": {"messages": shown_messages([each.message for each in found])}}


async def run_shown(call: Call, run: Run) -> dict[str, Any]:
    [found] = await runs_shown(call, [run])
    return found


# --- threads and their state ------------------------------------------------------------------------------------------


async def messages_of(call: Call, thread_id: ThreadId, *, up_to: int | None = None) -> list[StoredMessage]:
    """What a client may see of the conversation as it is read now, up to a seq; of a very long one the end.

    Raises:
        DataIntegrity: A message cannot be read.
    """
    found: list[StoredMessage] = []
    before: int | None = None if up_to is None else up_to + 1
    while len(found) < MAX_MESSAGES:
        query = MessageQuery(
            before=before, limit=MAX_PAGE, view="effective", visibility=Visibility.ALL, descending=True
        )
        page = await call.reads.page_messages(call.scope, thread_id, query)
        if page.unreadable:
            raise DataIntegrity(page.unreadable[0])
        found += page.items
        before = page.next
        if before is None:
            break
    found.reverse()
    return found


async def values_of(call: Call, thread_id: ThreadId) -> dict[str, Any]:
    """The state of a thread as it is now: its messages, and what is kept beside them."""
    state = await call.reads.load_state(call.scope, thread_id)
    stored = await messages_of(call, thread_id)
    return {**state.values, "messages": shown_messages([each.message for each in stored])}


def returned(run: Run) -> Any:
    """What the agent has returned, where that is no text of messages."""
    return None if run.output_message_ids else run.output


async def open_run(call: Call, thread: Thread) -> Run | None:
    """The run that the thread waits with, where it waits for somebody."""
    if thread.status is not StatusOfThread.WAITING or thread.open_run_id is None:
        return None
    run = await call.reads.load_run(call.scope, thread.open_run_id)
    return run if run is not None and await is_interrupted(call, run) else None


async def thread_status(call: Call, thread: Thread) -> ThreadStatus:
    match thread.status:
        case StatusOfThread.IDLE:
            return "idle"
        case StatusOfThread.ERROR:
            return "error"
        case StatusOfThread.WAITING:
            return "busy" if await open_run(call, thread) is None else "interrupted"
        case _:
            return "busy"


async def thread_metadata(call: Call, thread: Thread) -> dict[str, Any]:
    """Its own, and the assistant that it had last."""
    latest = None if thread.latest_run_id is None else await call.reads.load_run(call.scope, thread.latest_run_id)
    if latest is None:
        return thread.info.metadata
    assistant = {"graph_id": latest.agent_id, "assistant_id": assistant_id_of(latest.agent_id)}
    return {**assistant, **thread.info.metadata}


async def thread_shown(call: Call, thread: Thread, *, select: Iterable[str] | None = None) -> dict[str, Any]:
    """A thread; `select`: only these fields."""
    wanted = None if select is None else set(select)
    shown: dict[str, Any] = {
        "thread_id": thread.thread_id,
        "created_at": to_rfc3339(thread.created_at),
        "updated_at": to_rfc3339(thread.updated_at),
        "state_updated_at": to_rfc3339(thread.updated_at),
        "config": {},
        "error": None,
    }
    if thread.status is StatusOfThread.ERROR and thread.latest_run_id is not None:
        failed = await call.reads.load_run(call.scope, thread.latest_run_id)
        error = None if failed is None else error_of(failed)
        shown["error"] = None if error is None else error["message"]
    if wanted is None or "status" in wanted:
        shown["status"] = await thread_status(call, thread)
    if wanted is None or "metadata" in wanted:
        shown["metadata"] = await thread_metadata(call, thread)
    if wanted is None or "values" in wanted:
        shown["values"] = await values_of(call, thread.thread_id)
    if wanted is None or "interrupts" in wanted:
        run = await open_run(call, thread)
        asked = () if run is None else await tickets_of(call, run)
        shown["interrupts"] = {} if run is None else {run.run_id: [interrupt_of(each) for each in asked]}
    return shown if wanted is None else {name: shown[name] for name in shown if name in wanted}


def checkpoint(thread_id: str, checkpoint_id: str | None) -> dict[str, Any]:
    return {"thread_id": thread_id, "checkpoint_ns": "", "checkpoint_id": checkpoint_id, "checkpoint_map": None}


async def state_shown(call: Call, thread: Thread) -> dict[str, Any]:
    """The state of a thread as it is now."""
    waiting = await open_run(call, thread)
    at = waiting or await newest_run(call, thread.thread_id)
    values = await values_of(call, thread.thread_id)
    parent = None if at is None else await newest_run(call, thread.thread_id, before=at)
    asked = [] if waiting is None else [interrupt_of(each) for each in await tickets_of(call, waiting)]
    is_busy = await thread_status(call, thread) == "busy"
    agent_id = "agent" if at is None else at.agent_id
    error = None if at is None else error_of(at)
    tasks = [] if waiting is None else [_task(waiting, asked)]
    if at is not None and error is not None:
        tasks = [_task(at, [], error)]
    if asked:
        values["__interrupt__"] = asked
    if at is not None and returned(at) is not None:
        values[OUTPUT] = returned(at)
    return _state(
        thread.thread_id,
        None if at is None else at.run_id,
        None if parent is None else parent.run_id,
        values,
        to_rfc3339(thread.updated_at),
        next=[agent_id] if is_busy or waiting is not None else [],
        metadata=_about(at),
        tasks=tasks,
        interrupts=asked,
    )


def error_of(run: Run) -> dict[str, str] | None:
    """What went wrong with a run, where it has failed."""
    ended = run.termination
    if ended is None or ended.type not in ("error", "blocked"):
        return None
    said = ended.detail or ended.code or f"the run ended as {ended.type}"
    return {"error": ended.code or ended.type, "message": said}


def _task(run: Run, interrupts: list[dict[str, Any]], error: dict[str, str] | None = None) -> dict[str, Any]:
    return {
        "id": run.run_id,
        "name": run.agent_id,
        "path": ["__pregel_pull", run.agent_id],
        "error": None if error is None else error["message"],
        "interrupts": interrupts,
        "checkpoint": None,
        "state": None,
        "result": None,
    }


def _about(run: Run | None) -> dict[str, Any]:
    if run is None:
        return {}
    return {**run.metadata, "run_id": run.run_id, "graph_id": run.agent_id, "source": "loop", "step": run.steps}


def _state(
    thread_id: ThreadId,
    checkpoint_id: str | None,
    parent_id: str | None,
    values: dict[str, Any],
    created_at: str,
    *,
    next: Sequence[str] = (),
    metadata: dict[str, Any],
    tasks: Sequence[dict[str, Any]] = (),
    interrupts: Sequence[dict[str, Any]] = (),
) -> dict[str, Any]:
    return {
        "values": values,
        "next": next,
        "tasks": tasks,
        "metadata": metadata,
        "created_at": created_at,
        "checkpoint": checkpoint(thread_id, checkpoint_id),
        "parent_checkpoint": None if parent_id is None else checkpoint(thread_id, parent_id),
        "interrupts": interrupts,
        "checkpoint_id": checkpoint_id,
        "parent_checkpoint_id": parent_id,
    }


async def begun_runs(
    call: Call, thread_id: ThreadId, *, limit: int, before: Run | None = None, metadata: MetadataFilter = ()
) -> list[Run]:
    """The newest runs of a thread that have begun, newest first: each of them has left a state."""
    after = None if before is None else before.no
    query = RunQuery(thread_id=thread_id, descending=True, after=after, limit=_RUNS, metadata=metadata)
    found: list[Run] = []
    while len(found) < limit:
        page = await call.reads.list_runs(call.scope, query)
        found += [run for run in page.items if run.input is not None]
        if page.next is None:
            break
        query = replace(query, after=page.next)
    return found[:limit]


async def newest_run(call: Call, thread_id: ThreadId, *, before: Run | None = None) -> Run | None:
    """The newest run of a thread that has begun."""
    found = await begun_runs(call, thread_id, limit=1, before=before)
    return found[0] if found else None


async def past_state(call: Call, thread: Thread, run: Run) -> dict[str, Any]:
    """The state that a run has left: the messages up to its last one. What is kept beside them is not known any more.

    That of the run with which the thread waits, or else of its newest, is the state as it is now.
    """
    current = await open_run(call, thread) or await newest_run(call, thread.thread_id)
    if current is not None and current.run_id == run.run_id:
        return await state_shown(call, thread)
    end = await last_seq(call, run)
    stored = [] if end is None else await messages_of(call, thread.thread_id, up_to=end)
    parent = await newest_run(call, thread.thread_id, before=run)
    values: dict[str, Any] = {"messages": shown_messages([each.message for each in stored])}
    if returned(run) is not None:
        values[OUTPUT] = returned(run)
    made_at: Instant = run.finished_at or run.updated_at
    parent_id = None if parent is None else parent.run_id
    return _state(thread.thread_id, run.run_id, parent_id, values, to_rfc3339(made_at), metadata=_about(run))


async def last_seq(call: Call, run: Run) -> int | None:
    """Of the last message that belongs to the run; None where it has none, because it never began."""
    query = MessageQuery(run_id=run.run_id, descending=True, limit=1)
    found = await call.reads.list_messages(call.scope, run.thread_id, query)
    return found[0].seq if found else None
