"""Runs, as LangGraph's clients ask for them: in the background, streamed, waited for, many at once; and their ends.

Above: `routes`. Below: the gateway, and what is shown of a run.
Holds: a run's stream and its wait name the place where a client goes on by itself after a cut. What resumes a run goes
on with the same run.

Source: docs/concepts/protocols.md; SRV-037.
"""

from __future__ import annotations

import asyncio
import re
from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any, Final, cast

import msgspec
from starlette.responses import Response
from starlette.types import Receive, Send
from starlette.types import Scope as AsgiScope

from awaken.domain.errors import (
    RunNotFound,
    RunNotOpen,
    RunNotWaiting,
    ThreadNotFound,
    TicketNotFound,
    Unavailable,
    ValidationError,
)
from awaken.domain.ids import RunId, ThreadId, checked_id
from awaken.domain.message import Message, Role, ToolStatus
from awaken.domain.run import Adapter, OnCompletion, Run
from awaken.domain.run import RunStatus as Status
from awaken.domain.thread import Thread
from awaken.domain.ticket import Ticket, Verdict
from awaken.http.body import ClientGone
from awaken.http.operation import Call, json_response
from awaken.http.problems import problem_of
from awaken.mailbox.bulk import cancel_many
from awaken.protocols.contract import Frame, frame
from awaken.protocols.gateway import Gateway, Incoming, Turn
from awaken.protocols.langgraph.encoder import OUTPUT, Mode, encoder_of
from awaken.protocols.langgraph.messages import shown_content
from awaken.protocols.langgraph.objects import (
    agent_id_named,
    agent_named,
    error_of,
    is_interrupted,
    returned,
    run_shown,
    runs_shown,
    tickets_of,
    values_of,
)
from awaken.protocols.langgraph.waits import interrupt_of, verdict_of
from awaken.protocols.langgraph.wire import (
    JOINED,
    Batch,
    CancelBody,
    CancelQuery,
    RunBody,
    RunSearch,
    RunsQuery,
    RunStatus,
    StreamQuery,
    WaitQuery,
    modes_of,
    refused,
)
from awaken.protocols.projection import Place
from awaken.store.contract import MAX_PAGE, MetadataFilter, RunQuery

MAX_SCANNED: Final = 10_000
"""Rows that a search with a filter that no index serves looks at."""
_ID: Final = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")
"""What an interrupt's id looks like, so that nothing else is taken for one."""
_encode: Final = msgspec.json.Encoder().encode


def gateway_of(call: Call) -> Gateway:
    return Gateway(call, Adapter.LANGGRAPH)


# --- asking -----------------------------------------------------------------------------------------------------------


async def entered(call: Call, asked: RunBody, thread_id: str | None) -> Turn:
    """Accept a run, or what resumes one; the turn that answers. Without an input it is the one that is under way.

    `thread_id`: None for a run without one, whose thread goes when it has ended.

    Raises:
        As `Gateway.enter`; ThreadNotFound where the thread is not there and was not to be made; ValidationError where
            there is nothing new, and nothing under way.
    """
    asked.check()
    asked.check_input()
    gateway = gateway_of(call)
    named = thread_id or asked.thread_id or ""
    thread = await gateway.load_thread(named)
    if named and thread is None and asked.if_not_exists != "create":
        raise ThreadNotFound(named)
    if asked.resumes:
        if thread is None:
            raise ThreadNotFound(named)
        return await resumed(call, thread.thread_id, cast(Any, asked.command).resume)
    _check_checkpoint(asked, thread)
    turn = await gateway.enter(_incoming(call, asked, named))
    if turn is None:
        raise refused("input", "it brings no message of a user that the thread has not, and nothing is under way")
    return turn


def _check_checkpoint(asked: RunBody, thread: Thread | None) -> None:
    """Raises ValidationError for one from which a run of this thread cannot go on."""
    at = asked.checkpoint_named
    if at is not None and (thread is None or at[1] not in (thread.latest_run_id, thread.open_run_id)):
        why = "a run goes on from the newest checkpoint of its thread; copy the thread to go on from an earlier one"
        raise refused(at[0], why)


def _incoming(call: Call, asked: RunBody, thread_id: str) -> Incoming:
    messages, state = asked.given()
    on_completion: OnCompletion = asked.on_completion or "delete"
    return Incoming(
        thread_id=thread_id,
        agent_id=agent_id_named(call, asked.named_agent),
        messages=messages,
        answers=tuple([_answer(message) for message in messages if message.tool_call_id]),
        state=state,
        client_tools=asked.client_tools(),
        metadata=asked.metadata or {},
        overrides=asked.overrides(),
        limits=asked.limits(),
        strategy=asked.multitask_strategy or "enqueue",
        delay_s=asked.after_seconds or 0.0,
        on_disconnect=asked.on_disconnect or "continue",
        on_completion="keep" if thread_id else on_completion,
    )


def _answer(message: Message) -> Verdict:
    """What a message of a tool says to a ticket that is open about its call, where there is one."""
    if message.tool_status is ToolStatus.ERROR:
        return Verdict(action="fail", tool_call_id=message.tool_call_id or "", reason=message.text)
    result = shown_content(message.content, Role.TOOL)
    return Verdict(action="answer", tool_call_id=message.tool_call_id or "", result=result)


async def resumed(call: Call, thread_id: ThreadId, value: Any) -> Turn:
    """Decide what a thread waits for: a value for the one interrupt that there is, or one for each by its id.

    Raises:
        RunNotWaiting: There is no interrupt.
        TicketNotFound: There is none with such an id.
        ValidationError: There are several, and the value does not say for which it is.
        As `Decisions.decide_thread`.
    """
    given: dict[str, Any] = cast(dict[str, Any], value) if isinstance(value, dict) else {}
    if given and all([_ID.fullmatch(id) for id in given]):
        return await resumed_by_id(call, thread_id, given)
    asked = await _asked(call, thread_id)
    by_call = {each.asked.tool_call_id: each for each in asked if each.asked.tool_call_id is not None}
    if given and set(given) <= set(by_call):
        return await _decided(call, [(by_call[id], answer) for id, answer in given.items()])
    if not asked:
        raise RunNotWaiting(thread_id, None, None)
    if len(asked) > 1:
        ids = ", ".join([each.ticket_id for each in asked])
        raise ValidationError(
            f"there are {len(asked)} interrupts; resume them as {{id: value}}, with the ids {ids}",
            loc=("body", "command", "resume"),
        )
    return await _decided(call, [(asked[0], cast(Any, value))])


async def resumed_by_id(call: Call, thread_id: ThreadId, answers: Mapping[str, Any]) -> Turn:
    """Decide interrupts of a thread, each by its id. Raises as `resumed`."""
    found: list[tuple[Ticket, Any]] = []
    for id, answer in answers.items():
        ticket = await call.mailbox.decisions.get_ticket(call.scope, id)
        if ticket.thread_id != thread_id:
            raise TicketNotFound(id)
        found.append((ticket, answer))
    return await _decided(call, found)


async def _decided(call: Call, answers: Sequence[tuple[Ticket, Any]]) -> Turn:
    """The turn that the run goes on with, which is new; or that it is in, because it still waits, or was decided."""
    verdicts = [verdict_of(ticket, answer) for ticket, answer in answers]
    gateway, about = gateway_of(call), answers[0][0]
    before = await gateway.latest_turn(await call.mailbox.get_run(call.scope, about.run_id))
    turn = await gateway.decide(about.thread_id, verdicts)
    return msgspec.structs.replace(turn, is_new=turn.number > before.number)


async def _asked(call: Call, thread_id: ThreadId) -> list[Ticket]:
    return [each for each in await gateway_of(call).open_tickets(thread_id) if each.asked.kind != "child"]


# --- answering --------------------------------------------------------------------------------------------------------


def places(run: Run, then: str) -> dict[str, str]:
    """Where a client finds the run, and where it goes on. Relative to where this is mounted: so its clients join it."""
    place = f"/threads/{run.thread_id}/runs/{run.run_id}"
    return {"Content-Location": place, "Location": f"{place}/{then}"}


def stream_places(run: Run, modes: frozenset[Mode]) -> dict[str, str]:
    return places(run, f"stream?stream_mode={','.join(sorted(modes))}")


async def create_run(call: Call) -> Response:
    asked = call.body(RunBody)
    turn = await entered(call, asked, call.ids.get("thread_id"))
    run = await call.mailbox.get_run(call.scope, turn.run.run_id)
    return json_response(await run_shown(call, run), 200, places(run, "join"))


async def create_run_and_stream(call: Call) -> Response:
    asked = call.body(RunBody)
    modes = asked.modes()
    turn = await entered(call, asked, call.ids.get("thread_id"))
    if asked.resumes and not turn.is_new and turn.ending is not None and turn.ending.outcome == "waiting":
        return await _as_it_is(call, turn, modes)
    return await watched(call, turn, None, modes)


async def watched(call: Call, turn: Turn, place: Place | None, modes: frozenset[Mode]) -> Response:
    """A stream of the turn, from its start or behind a place."""
    return await gateway_of(call).watch(turn, encoder_of(modes), place=place, headers=stream_places(turn.run, modes))


async def _as_it_is(call: Call, turn: Turn, modes: frozenset[Mode]) -> Response:
    """The run still waits: the state as it is, what is still asked, and the end."""
    asked = await tickets_of(call, turn.run)
    interrupts = {"__interrupt__": [interrupt_of(each) for each in asked]} if asked else {}
    frames: list[Frame] = [frame({"run_id": turn.run.run_id, "attempt": 1}, "metadata")]
    if "values" in modes:
        frames.append(frame({**await values_of(call, turn.run.thread_id), **interrupts}, "values"))
    return gateway_of(call).say((*frames, frame(None, "end")), headers=stream_places(turn.run, modes))


async def create_run_and_wait(call: Call) -> Response:
    asked = call.body(RunBody)
    turn = await entered(call, asked, call.ids.get("thread_id"))
    return _Joined(call, turn.run)


async def create_runs(call: Call) -> Response:
    """All of them, or none where one cannot be accepted as it is sent; each on its thread, in the order of the list."""
    asked = call.body(Batch).runs
    for each in asked:
        each.check()
        each.check_input()
        _check_checkpoint(each, await gateway_of(call).load_thread(each.thread_id or ""))
        if each.named_agent is not None:
            agent_named(call, each.named_agent)
    found: list[dict[str, Any] | None] = [None] * len(asked)
    by_thread: defaultdict[object, list[int]] = defaultdict(list)
    for index, each in enumerate(asked):
        by_thread[each.thread_id or index].append(index)

    async def submit(indexes: list[int]) -> None:
        for index in indexes:
            turn = await entered(call, asked[index], None)
            found[index] = await run_shown(call, await call.mailbox.get_run(call.scope, turn.run.run_id))

    try:
        async with asyncio.TaskGroup() as group:
            for indexes in by_thread.values():
                group.create_task(submit(indexes))
    except ExceptionGroup as several:
        raise several.exceptions[0] from None
    return json_response([each for each in found if each is not None])


# --- reading ----------------------------------------------------------------------------------------------------------


async def run_in_path(call: Call) -> Run:
    """Raises RunNotFound, also where the run is one of another thread than that of the path."""
    run = await call.mailbox.get_run(call.scope, call.run_id)
    if "thread_id" in call.ids and run.thread_id != call.thread_id:
        raise RunNotFound(run.run_id)
    return run


async def get_run(call: Call) -> Response:
    return json_response(await run_shown(call, await run_in_path(call)))


async def list_runs(call: Call) -> Response:
    asked = call.query(RunsQuery)
    thread = await call.mailbox.get_thread(call.scope, call.thread_id)
    query = RunQuery(thread_id=thread.thread_id, descending=True)
    found = await _runs(call, query, asked.status, asked.offset, asked.limit)
    return _page(_selected(found, None if asked.select is None else asked.select.split(",")), asked.offset, asked.limit)


async def search_runs(call: Call) -> Response:
    asked = call.body(RunSearch)
    query = RunQuery(
        thread_id=None if asked.thread_id is None else ThreadId(checked_id(asked.thread_id, what="thread_id")),
        agent_id=agent_id_named(call, asked.agent_id),
        metadata=metadata_filter(asked.metadata),
        descending=True,
    )
    found = await _runs(call, query, asked.status, asked.offset, asked.limit)
    return _page(_selected(found, asked.select), asked.offset, asked.limit)


def _page(found: list[dict[str, Any]], offset: int, limit: int) -> Response:
    headers = {"X-Pagination-Next": str(offset + limit)} if len(found) == limit else {}
    return json_response(found, headers=headers)


async def _runs(call: Call, query: RunQuery, status: RunStatus | None, offset: int, limit: int) -> list[dict[str, Any]]:
    """Newest first, and with a status the oldest first where it is `pending`: so they will run."""
    if status == "pending":
        query = msgspec.structs.replace(query, descending=False)
    stored = _STORED.get(status or "")
    query = msgspec.structs.replace(query, limit=MAX_PAGE, status=stored)
    found: list[dict[str, Any]] = []
    scanned = 0
    while len(found) < offset + limit and scanned < MAX_SCANNED + offset:
        page = await call.reads.list_runs(call.scope, query)
        scanned += len(page.items)
        if status is None:
            found += cast(Any, page.items)
        else:
            found += [each for each in await runs_shown(call, page.items) if each["status"] == status]
        if page.next is None:
            break
        query = msgspec.structs.replace(query, after=page.next)
    chosen = found[offset : offset + limit]
    return await runs_shown(call, cast(Any, chosen)) if status is None else chosen


_STORED: Final = {
    "success": Status.DONE,
    "error": Status.DONE,
    "timeout": Status.DONE,
}
"""What is stored of all runs with a status."""


def _selected(found: list[dict[str, Any]], select: Sequence[str] | None) -> list[dict[str, Any]]:
    if not select:
        return found
    return [{name: value for name, value in each.items() if name in select} for each in found]


def metadata_filter(wanted: dict[str, Any] | None) -> MetadataFilter:
    """As the store compares: a text as it is, anything else as JSON."""
    return tuple(
        [(key, value if isinstance(value, str) else _encode(value).decode()) for key, value in (wanted or {}).items()]
    )


async def stream_run(call: Call) -> Response:
    """The current turn of a run, or its last: from its start, or behind the last frame that the client has."""
    asked = call.query(StreamQuery)
    asked.check()
    modes = modes_of(asked.stream_mode, JOINED)
    run = await run_in_path(call)
    if call.header(b"last-event-id"):
        found = await gateway_of(call).resumed(run.thread_id)
        if found is not None and found[0].run.run_id == run.run_id:
            return await watched(call, *found, modes)
        newest = await gateway_of(call).latest_turn(run)
        if newest.ending is not None:
            return gateway_of(call).say((frame(None, "end"),), headers=stream_places(run, modes))
        return await watched(call, newest, None, modes)  # the client has the end of one before
    return await watched(call, await gateway_of(call).latest_turn(run), None, modes)


async def join_run(call: Call) -> Response:
    call.query(WaitQuery).check()
    return _Joined(call, await run_in_path(call))


class _Joined(Response):
    """Newlines while the run goes on, so that nothing on the way takes the connection for dead; then the state of its
    thread. A server that stops breaks it off: its client comes again, to where the run can be joined.
    """

    media_type = "application/json"

    def __init__(self, call: Call, run: Run) -> None:
        super().__init__(None, headers={**places(run, "join"), "Cache-Control": "no-store"})
        self.raw_headers = [(name, value) for name, value in self.raw_headers if name != b"content-length"]
        self._call = call
        self._run = run

    async def __call__(self, scope: AsgiScope, receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": self.raw_headers})
        if scope["method"] == "HEAD":
            await send({"type": "http.response.body", "body": b""})
            return
        call = self._call
        try:
            with call.mailbox.attendance.watching(call.scope, self._run) as watcher:
                body = await call.while_connected(self._result(send))
                watcher.has_seen_all = True
        except ClientGone:
            return
        except Unavailable as error:
            raise ConnectionAbortedError("the server stops before the run has ended") from error
        except Exception as error:  # the answer has begun: the problem is what it says in the end
            problem = problem_of(error)
            body = _encode({"__error__": {"error": problem.code, "message": problem.detail}})
        await send({"type": "http.response.body", "body": body})

    async def _result(self, send: Send) -> bytes:
        call, run_id = self._call, self._run.run_id
        patience_s = call.service.settings.keepalive_s
        until_parked = True
        while True:
            run = await call.mailbox.wait(call.scope, run_id, timeout_s=patience_s, until_parked=until_parked)
            if run.status is Status.DONE:
                return _encode(await outcome_of(call, run))
            if run.waits_for_somebody:
                if await is_interrupted(call, run):
                    return _encode(await outcome_of(call, run))
                until_parked = False  # for something outside: it is looked at again now and then
            await send({"type": "http.response.body", "body": b"\n", "more_body": True})


async def outcome_of(call: Call, run: Run) -> dict[str, Any]:
    """What a client that waits is answered: the values of the thread, what it is asked, or the error."""
    values = await values_of(call, run.thread_id)
    output = returned(run)
    if output is not None:
        values[OUTPUT] = output
    error = error_of(run)
    if error is not None:
        return {**values, "__error__": error}
    asked = await tickets_of(call, run)
    return {**values, "__interrupt__": [interrupt_of(each) for each in asked]} if asked else values


# --- stopping ---------------------------------------------------------------------------------------------------------


async def cancel_run(call: Call) -> Response:
    """204 when it has stopped; 202 while its owner has yet to. One that has ended already is as it is wanted."""
    asked = call.query(CancelQuery)
    run = await run_in_path(call)
    wait_s = call.service.settings.cancel_wait_s if asked.wait else 0.0
    try:
        stopping = call.mailbox.cancel(call.scope, run.run_id, rollback=asked.action == "rollback", wait_s=wait_s)
        done = await call.while_connected(stopping)
    except RunNotOpen:
        if asked.action == "rollback":
            raise
        return Response(None, 204)
    return Response(None, 204 if done.state == "stopped" else 202)


async def cancel_runs(call: Call) -> Response:
    asked = call.body(CancelBody)
    query = call.query(CancelQuery)
    status = {"pending": "queued", "running": "running", "all": "all"}.get(asked.status or "")
    if asked.run_ids is not None and asked.thread_id is not None:
        for run_id in asked.run_ids:
            run = await call.mailbox.get_run(call.scope, RunId(checked_id(run_id, what="run_id")))
            if run.thread_id != asked.thread_id:
                raise RunNotFound(run_id)
    if query.action == "rollback":
        raise ValidationError(
            "several runs are not rolled back at once; cancel them one by one", loc=("query", "action")
        )
    await cancel_many(
        call.mailbox,
        call.scope,
        run_ids=asked.run_ids,
        thread_id=None if asked.run_ids is not None else asked.thread_id,
        status=None if asked.run_ids is not None else cast(Any, status),
    )
    return Response(None, 204)


async def delete_run(call: Call) -> Response:
    """It is left out of lists; the conversation is as it was."""
    await call.mailbox.threads.hide_run(call.scope, await run_in_path(call))
    return Response(None, 204)
