"""Runs: submit, list, read, wait, stop.

Source: docs/reference/http.md; SRV-001, SRV-003, SRV-004, SRV-010, SRV-015, SRV-018.
"""

from __future__ import annotations

from collections.abc import Coroutine, Mapping, Sequence
from typing import Annotated, Any, ClassVar, Final, Literal

from msgspec import Meta
from msgspec.structs import replace
from starlette.responses import Response

from awaken.domain.clock import Instant, from_rfc3339
from awaken.domain.dispatch import Dispatch, DispatchStatus
from awaken.domain.errors import Unavailable
from awaken.domain.ids import AgentId, DispatchId, ThreadId
from awaken.domain.message import Role, Visibility
from awaken.domain.phase import Phase
from awaken.domain.run import Adapter, Run, RunStatus, TerminationType
from awaken.domain.selection import INCLUDED
from awaken.domain.shown import StopAction
from awaken.domain.ticket import Ticket, Verdict
from awaken.http.operation import Call, Operation, json_response
from awaken.http.problems import invalid
from awaken.http.query import Included, MetadataFilter, Order, Paging, Query, parse_names
from awaken.http.routes.lists import next_cursor, start_of_page
from awaken.http.routes.watching import Watching, watch_run
from awaken.http.settings import DEFAULT_WAIT_S, MAX_STOP_WAIT_S, MAX_WAIT_S
from awaken.http.submission import Id, RunCreate, WatchedRunCreate
from awaken.http.wire import (
    CancelResource,
    DispatchList,
    DispatchResource,
    MessageResource,
    RunList,
    RunResource,
    RunResult,
)
from awaken.mailbox.seen import SeenRun
from awaken.mailbox.service import Cancellation
from awaken.mailbox.submission import Submission
from awaken.store.contract import MAX_PAGE, DispatchQuery, MessageQuery, RunQuery, StoredMessage, TicketQuery

_READ_BESIDE: Final = frozenset({"last_event", "why"})
"""Of what may be included, that which takes further reads."""


class Including(Query, frozen=True, kw_only=True):
    include: Included | None = None


class ThreadRunFilters(Paging, frozen=True, kw_only=True):
    include: Included | None = None
    order: Order = "desc"
    status: RunStatus | None = None
    agent_id: Id | None = None
    phase: Phase | None = None
    termination: TerminationType | None = None
    failed: bool = False
    """Only those that ended in an error, or were given up."""
    id_prefix: str = ""
    created_after: str | None = None
    created_before: str | None = None
    """RFC 3339, exclusive both of them."""
    metadata: MetadataFilter | None = None


class RunFilters(ThreadRunFilters, frozen=True, kw_only=True):
    thread_id: Id | None = None


class TimeLimit(Query, frozen=True, kw_only=True):
    timeout_s: Annotated[float, Meta(ge=0, le=MAX_WAIT_S)] = DEFAULT_WAIT_S
    wait_for: Literal["waiting", "done"] = "waiting"
    """`waiting`: answer also when the run waits for somebody other than its children. `done`: when it has ended."""
    may_wait: ClassVar[bool] = True

    @property
    def waits(self) -> bool:
        return self.timeout_s > 0


class Stopping(Query, frozen=True, kw_only=True):
    wait: bool = False
    """Answer when the run has stopped, within 30 seconds."""
    wait_s: Annotated[float, Meta(ge=0, le=MAX_STOP_WAIT_S)] | None = None
    """The same, within so many seconds."""
    may_wait: ClassVar[bool] = True

    @property
    def waits(self) -> bool:
        return self.wait if self.wait_s is None else self.wait_s > 0

    def seconds(self, bound_s: float) -> float:
        """How long to wait, where `wait` means `bound_s` seconds."""
        if self.wait_s is not None:
            return self.wait_s
        return bound_s if self.wait else 0.0


class RunStopping(Stopping, frozen=True, kw_only=True):
    action: StopAction = "cancel"
    """`rollback`: when it has ended, what belongs to it is read no more."""


# --- submitting -------------------------------------------------------------------------------------------------------


async def create_run(call: Call) -> Response:
    """In the background: accepted and stored when this answers."""
    return await accepted_run(call, await submitted(call, call.body(RunCreate)))


async def accepted_run(call: Call, accepted: Submission) -> Response:
    """202 with the run, or 200 where it had been accepted before."""
    dispatch = accepted.dispatch or await dispatch_of(call, accepted.run)
    answer = RunResource.of(call.scope, accepted.run, dispatch, agents=call.mailbox.agents)
    return json_response(answer, 200 if accepted.replayed else 202, _places(call, accepted.run))


async def create_run_and_stream(call: Call) -> Response:
    """A submit plus a watch: the run goes on whether or not the stream does."""
    accepted = await submitted(call, call.body(WatchedRunCreate))
    return await watch_run(call, accepted.run, call.query(Watching), headers=_places(call, accepted.run))


async def create_run_and_wait(call: Call) -> Response:
    accepted = await submitted(call, call.body(WatchedRunCreate))
    return await _waited(call, accepted.run)


async def submitted(call: Call, asked: WatchedRunCreate) -> Submission:
    path_thread_id = call.thread_id if "thread_id" in call.ids else None
    if asked.only_decides:
        thread_id = asked.decided_thread(path_thread_id)
        made = await call.mailbox.decisions.decide_thread(call.scope, thread_id, _verdicts(call, asked))
        return Submission(made.run, made.dispatch, "queued", replayed=all(made.duplicates))
    submission = asked.to_submission(call.scope, path_thread_id)
    if asked.decisions is not None:
        submission = replace(submission, decisions=tuple(_verdicts(call, asked)))
    submission = replace(submission, trace=call.trace(submission.trace))
    return await call.mailbox.submit(submission)


def _verdicts(call: Call, asked: WatchedRunCreate) -> list[Verdict]:
    said = [each.verdict() for each in asked.decisions or ()]
    return [replace(each, decided_by=call.caller.id, adapter=Adapter.HTTP) for each in said]


async def dispatch_of(call: Call, run: Run) -> Dispatch | None:
    """The run's newest dispatch; None where that cannot be read, which the run then says."""
    return (await call.reads.load_dispatches(call.scope, [run.dispatch_id])).get(run.dispatch_id)


def _places(call: Call, run: Run) -> dict[str, str]:
    place = call.link("v1", "runs", run.run_id)
    return {"Content-Location": place, "Location": f"{place}/stream"}


# --- reading ----------------------------------------------------------------------------------------------------------


async def list_runs(call: Call) -> Response:
    asked = call.query(RunFilters)
    return await _run_page(call, asked, asked.thread_id)


async def list_thread_runs(call: Call) -> Response:
    thread = await call.mailbox.get_thread(call.scope, call.thread_id)
    return await _run_page(call, call.query(ThreadRunFilters), thread.thread_id)


async def _run_page(call: Call, asked: ThreadRunFilters, thread_id: str | None) -> Response:
    filters = [getattr(asked, name) for name in asked.__struct_fields__ if name not in ("limit", "cursor", "include")]
    filters.append(thread_id)
    beside = _beside(asked.include)
    page = await call.reads.list_runs(
        call.scope,
        RunQuery(
            after=start_of_page(asked.cursor, "runs", filters),
            limit=asked.limit,
            descending=asked.order == "desc",
            thread_id=None if thread_id is None else ThreadId(thread_id),
            status=asked.status,
            agent_id=None if asked.agent_id is None else AgentId(asked.agent_id),
            phase=asked.phase,
            termination=asked.termination,
            failed=asked.failed,
            id_prefix=asked.id_prefix,
            created_after=_instant(asked.created_after, "created_after"),
            created_before=_instant(asked.created_before, "created_before"),
            metadata=tuple((asked.metadata or {}).items()),
        ),
    )
    dispatches = await call.reads.load_dispatches(call.scope, [run.dispatch_id for run in page.items])
    agents = call.mailbox.agents
    items = [
        RunResource.of(call.scope, run, dispatches.get(run.dispatch_id), agents=agents, reads_dispatch=True)
        for run in page.items
    ]
    if beside & _READ_BESIDE:
        seen = await _seen(call, page.items, dispatches, beside)
        items = [run.beside(with_it) for run, with_it in zip(items, seen, strict=True)]
    cursor = next_cursor(page, "runs", filters)
    lost = (*page.unreadable, *[name for run in items for name in run.unreadable])
    answer = RunList(items=tuple(items), has_more=cursor is not None, next_cursor=cursor, unreadable=lost)
    return json_response(answer)


def _instant(text: str | None, name: str) -> Instant | None:
    if text is None:
        return None
    try:
        return from_rfc3339(text)
    except ValueError as error:
        raise invalid("invalid_request", f"{name} is an instant as 2026-01-31T08:00:00Z", "query", name) from error


def _beside(include: str | None) -> frozenset[str]:
    """What is to be said beside runs. Raises Problem for what is not known."""
    return parse_names(include, frozenset(INCLUDED), "include") or frozenset()


async def _seen(
    call: Call, runs: Sequence[Run], dispatches: Mapping[DispatchId, Dispatch], beside: frozenset[str]
) -> list[SeenRun]:
    return await call.mailbox.see(call.scope, runs, dispatches, why="why" in beside, last_event="last_event" in beside)


async def get_run(call: Call) -> Response:
    beside = _beside(call.query(Including).include)
    run = await call.mailbox.get_run(call.scope, call.run_id)
    dispatch = await dispatch_of(call, run)
    place = await _queue_position(call, dispatch)
    agents = call.mailbox.agents
    answer = RunResource.of(
        call.scope,
        run,
        dispatch,
        queue_position=place,
        agents=agents,
        reads_dispatch=True,
        tickets=await _tickets_of(call, run),
        given=await _given_to(call, run),
    )
    if beside & _READ_BESIDE:
        known = {} if dispatch is None else {dispatch.dispatch_id: dispatch}
        [seen] = await _seen(call, [run], known, beside)
        answer = answer.beside(seen)
    return json_response(answer)


async def _given_to(call: Call, run: Run) -> list[StoredMessage]:
    """What a run that has not begun is to be given, and is part of no conversation yet."""
    if run.status is not RunStatus.CREATED:
        return []
    ids = run.request.input_message_ids[:MAX_PAGE]
    stored = [await call.reads.load_message(call.scope, run.thread_id, message_id) for message_id in ids]
    return [each for each in stored if each and each.seq is None and each.message.visibility is Visibility.ALL]


async def _tickets_of(call: Call, run: Run) -> tuple[Ticket, ...]:
    """What it waits for, in full."""
    if not run.is_parked or not run.open_tickets:
        return ()
    query = TicketQuery(run_id=run.run_id, state="open", limit=MAX_PAGE)
    return (await call.mailbox.decisions.list_tickets(call.scope, query)).items


async def _queue_position(call: Call, dispatch: Dispatch | None) -> int | None:
    """Its place in the thread's claim order, 1 for the next; None when it is not queued, or far behind."""
    if dispatch is None or dispatch.status is not DispatchStatus.QUEUED:
        return None
    queue = await call.reads.list_queue(call.scope, dispatch.thread_id)
    ahead = [each.dispatch_id for each in queue]
    return ahead.index(dispatch.dispatch_id) + 1 if dispatch.dispatch_id in ahead else None


async def resource_of(call: Call, run: Run) -> RunResource:
    dispatch, tickets = await dispatch_of(call, run), await _tickets_of(call, run)
    return RunResource.of(call.scope, run, dispatch, agents=call.mailbox.agents, reads_dispatch=True, tickets=tickets)


async def list_run_dispatches(call: Call) -> Response:
    asked = call.query(Paging)
    run = await call.mailbox.get_run(call.scope, call.run_id)
    filters = (run.run_id,)
    start = start_of_page(asked.cursor, "dispatches", filters)
    query = DispatchQuery(thread_id=run.thread_id, run_id=run.run_id, limit=asked.limit, after=start)
    page = await call.reads.list_dispatches(call.scope, query)
    now = await call.reads.now()
    items = tuple([DispatchResource.of(dispatch, now) for dispatch in page.items])
    cursor = next_cursor(page, "dispatches", filters)
    answer = DispatchList(items=items, has_more=cursor is not None, next_cursor=cursor, unreadable=page.unreadable)
    return json_response(answer)


# --- waiting ----------------------------------------------------------------------------------------------------------


async def wait_for_run(call: Call) -> Response:
    return await _waited(call, await call.mailbox.get_run(call.scope, call.run_id))


async def _waited(call: Call, run: Run) -> Response:
    """200 with the result when the run is done in time, or waits for somebody, else 202 with the run as it is.

    Also when the server stops meanwhile: the caller learns which run it is, and to ask again a little later.
    """
    asked = call.query(TimeLimit)
    until_parked = asked.wait_for == "waiting"
    retry_after_s = 0
    try:
        with call.mailbox.attendance.watching(call.scope, run) as watcher:
            run = await call.while_connected(
                call.mailbox.wait(call.scope, run.run_id, timeout_s=asked.timeout_s, until_parked=until_parked)
            )
            watcher.has_seen_all = run.status is RunStatus.DONE or run.waits_for_somebody
    except Unavailable:
        run = await call.mailbox.get_run(call.scope, run.run_id)
        retry_after_s = call.service.settings.retry_after_s
    resource = await resource_of(call, run)
    places = _places(call, run)
    if run.status is not RunStatus.DONE and not (until_parked and run.waits_for_somebody):
        return json_response(resource, 202, {**places, "Retry-After": str(retry_after_s)})
    messages, unreadable = await produced(call, run)
    answer = RunResult(run=resource, output=run.output, messages=messages, unreadable=unreadable)
    return json_response(answer, 200, places)


async def produced(call: Call, run: Run) -> tuple[tuple[MessageResource, ...], tuple[str, ...]]:
    """What the run added to the conversation, without what it was given; and what of that cannot be read."""
    found: list[MessageResource] = []
    unreadable: list[str] = []
    after: int | None = 0 if run.input is None else run.input.from_seq - 1
    while after is not None:
        query = MessageQuery(after=after, limit=MAX_PAGE, run_id=run.run_id)
        page = await call.reads.page_messages(call.scope, run.thread_id, query)
        found += [MessageResource.of(run.thread_id, each) for each in page.items if each.message.role is not Role.USER]
        unreadable += page.unreadable
        after = page.next
    return tuple(found), tuple(unreadable)


# --- stopping ---------------------------------------------------------------------------------------------------------


async def cancel_run(call: Call) -> Response:
    asked = call.query(RunStopping)
    wait_s, rollback = asked.seconds(call.service.settings.cancel_wait_s), asked.action == "rollback"
    return await answer_stop(call, call.mailbox.cancel(call.scope, call.run_id, rollback=rollback, wait_s=wait_s))


async def answer_stop(call: Call, stopping: Coroutine[Any, Any, Cancellation]) -> Response:
    """200 when nothing runs any more, 202 while the owner has yet to stop. Runs the stop given to it."""
    done = await call.while_connected(stopping)
    run = None if done.run is None else await resource_of(call, done.run)
    return json_response(CancelResource(state=done.state, run=run), 200 if done.state == "stopped" else 202)


# --- the operations ---------------------------------------------------------------------------------------------------

_SUBMIT_PROBLEMS: Final = (
    "thread_not_found", "thread_deleted", "already_accepted", "already_exists", "unknown_agent", "invalid_id",
    "queue_full", "not_supported",
    "ticket_not_found", "unknown_tool_call", "decision_conflict", "ticket_expired", "ticket_withdrawn",
    "decision_rejected_by_schema", "action_not_allowed",
)  # fmt: skip


def _submitting(prefix: str, suffix: str) -> tuple[Operation, ...]:
    """The three ways to submit, below one path."""
    on = "on a thread" if suffix else "on a new thread, or the one in the body"
    return (
        Operation(
            method="POST",
            path=f"{prefix}/runs",
            id=f"create_run{suffix}",
            summary=f"Submit a run {on}",
            handler=create_run,
            body=RunCreate,
            carries_messages=True,
            answers={202: RunResource, 200: RunResource},
            problems=_SUBMIT_PROBLEMS,
        ),
        Operation(
            method="POST",
            path=f"{prefix}/runs/stream",
            id=f"create_run_and_stream{suffix}",
            summary=f"Submit a run {on}, and stream it",
            handler=create_run_and_stream,
            query=Watching,
            body=WatchedRunCreate,
            carries_messages=True,
            answers={200: "text/event-stream"},
            problems=_SUBMIT_PROBLEMS,
        ),
        Operation(
            method="POST",
            path=f"{prefix}/runs/wait",
            id=f"create_run_and_wait{suffix}",
            summary=f"Submit a run {on}, and wait until it ends or waits for somebody",
            handler=create_run_and_wait,
            query=TimeLimit,
            body=WatchedRunCreate,
            carries_messages=True,
            answers={200: RunResult, 202: RunResource},
            problems=_SUBMIT_PROBLEMS,
        ),
    )


RUN_OPERATIONS: Final = (
    *_submitting("/v1/threads/{thread_id}", "_on_thread"),
    *_submitting("/v1", ""),
    Operation(
        method="GET",
        path="/v1/threads/{thread_id}/runs",
        id="list_thread_runs",
        summary="List the runs of a thread, newest first",
        handler=list_thread_runs,
        query=ThreadRunFilters,
        answers={200: RunList},
        problems=("thread_not_found", "invalid_id", "cursor_mismatch"),
    ),
    Operation(
        method="GET",
        path="/v1/runs",
        id="list_runs",
        summary="List runs, newest first",
        handler=list_runs,
        query=RunFilters,
        answers={200: RunList},
        problems=("cursor_mismatch", "invalid_id"),
    ),
    Operation(
        method="GET",
        path="/v1/runs/{run_id}",
        id="get_run",
        summary="Read a run",
        handler=get_run,
        query=Including,
        answers={200: RunResource},
        problems=("run_not_found", "invalid_id"),
    ),
    Operation(
        method="GET",
        path="/v1/runs/{run_id}/wait",
        id="wait_for_run",
        summary="Wait until a run ends, or waits for somebody",
        handler=wait_for_run,
        query=TimeLimit,
        answers={200: RunResult, 202: RunResource},
        problems=("run_not_found", "invalid_id"),
    ),
    Operation(
        method="POST",
        path="/v1/runs/{run_id}/cancel",
        id="cancel_run",
        summary="Stop a run",
        handler=cancel_run,
        query=RunStopping,
        answers={202: CancelResource, 200: CancelResource},
        problems=("run_not_found", "invalid_id", "run_not_open"),
    ),
    Operation(
        method="GET",
        path="/v1/runs/{run_id}/dispatches",
        id="list_run_dispatches",
        summary="List the queue entries that served a run",
        handler=list_run_dispatches,
        query=Paging,
        answers={200: DispatchList},
        problems=("run_not_found", "invalid_id", "cursor_mismatch"),
    ),
)
