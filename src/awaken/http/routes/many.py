"""Many runs at once, a wait without an end, and runs that are left out of lists.

Source: docs/reference/http.md.
"""

from __future__ import annotations

import asyncio
from collections import defaultdict
from typing import Any, ClassVar, Final

import msgspec
from starlette.responses import Response
from starlette.types import Receive, Send
from starlette.types import Scope as AsgiScope

from awaken.domain.errors import AwakenError
from awaken.domain.run import DONE, Run
from awaken.http.body import ClientGone
from awaken.http.operation import Call, Operation, json_response
from awaken.http.problems import problem_of, shape_problem
from awaken.http.query import Query
from awaken.http.routes.runs import dispatch_of, produced, resource_of, submitted
from awaken.http.submission import RunBatch, RunCreate, RunsCancel
from awaken.http.wire import (
    BatchItem,
    BatchResource,
    CancelledResource,
    CancelledRuns,
    RunResource,
    RunResult,
    SummaryResource,
)
from awaken.mailbox.bulk import cancel_many

_encode: Final = msgspec.json.Encoder().encode


async def create_runs(call: Call) -> Response:
    """Each is accepted or refused by itself; those of one thread one after the other, in the order of the list."""
    asked = call.body(RunBatch).runs
    items: list[BatchItem | None] = [None] * len(asked)
    by_thread: defaultdict[object, list[int]] = defaultdict(list)
    for index, raw in enumerate(asked):
        by_thread[raw.get("thread_id") or raw.get("threadId") or index].append(index)

    async def submit(indexes: list[int]) -> None:
        for index in indexes:
            items[index] = await _batched(call, asked[index])

    async with asyncio.TaskGroup() as group:
        for indexes in by_thread.values():
            group.create_task(submit(indexes))
    return json_response(BatchResource(items=tuple([item for item in items if item is not None])))


async def _batched(call: Call, raw: dict[str, Any]) -> BatchItem:
    try:
        accepted = await submitted(call, RunCreate.read(raw))
        dispatch = accepted.dispatch or await dispatch_of(call, accepted.run)
        run = RunResource.of(call.scope, accepted.run, dispatch, agents=call.mailbox.agents)
        return BatchItem(run=run, problem=None)
    except msgspec.ValidationError as error:
        problem = shape_problem(error, "body", RunCreate, raw)
    except AwakenError as error:
        problem = problem_of(error)
    return BatchItem(run=None, problem=problem.to_document(call.request_id))


async def cancel_runs(call: Call) -> Response:
    asked = call.body(RunsCancel)
    done = await cancel_many(
        call.mailbox, call.scope, run_ids=asked.run_ids, thread_id=asked.thread_id, status=asked.status
    )
    items = tuple([CancelledResource(run_id=each.run_id, state=each.state) for each in done])
    return json_response(CancelledRuns(items=items))


async def summarize_runs(call: Call) -> Response:
    summary = await call.reads.summarize_runs(call.scope)
    return json_response(SummaryResource.of(summary, await call.reads.now()))


async def hide_run(call: Call) -> Response:
    run = await call.mailbox.get_run(call.scope, call.run_id)
    await call.mailbox.threads.hide_run(call.scope, run)
    return Response(None, 204)


class Join(Query, frozen=True, kw_only=True):
    may_wait: ClassVar[bool] = True


async def join_run(call: Call) -> Response:
    run = await call.mailbox.get_run(call.scope, call.run_id)
    joining = _Joining(call, run, call.link("v1", "runs", run.run_id, "join"))
    return joining if _goes_on(run) else await joining.at_once()


def _goes_on(run: Run) -> bool:
    return run.status is not DONE and not run.waits_for_somebody


class _Joining(Response):
    """Newlines while the run goes on, so that nothing on the way takes the connection for dead; then its result."""

    media_type = "application/json"

    def __init__(self, call: Call, run: Run, place: str) -> None:
        super().__init__(None, headers={"Location": place, "Cache-Control": "no-store"})
        self.raw_headers = [(name, value) for name, value in self.raw_headers if name != b"content-length"]
        self._call = call
        self._run = run
        self._headers = {"Location": place, "Cache-Control": "no-store"}

    async def at_once(self) -> Response:
        """The whole answer, of a run that does not go on."""
        return Response(await self._answer(self._run), 200, self._headers, media_type=self.media_type)

    async def __call__(self, scope: AsgiScope, receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": self.raw_headers})
        if scope["method"] == "HEAD":
            await send({"type": "http.response.body", "body": b""})
            return
        try:
            body = await self._result(send)
        except ClientGone:
            return
        except Exception as error:  # the answer has begun: the problem is what it says in the end
            body = _encode(problem_of(error).to_document(self._call.request_id))
        await send({"type": "http.response.body", "body": body})

    async def _result(self, send: Send) -> bytes:
        call, run = self._call, self._run
        while _goes_on(run):
            await send({"type": "http.response.body", "body": b"\n", "more_body": True})
            patience_s = call.service.settings.keepalive_s
            waiting = call.mailbox.wait(call.scope, run.run_id, timeout_s=patience_s, until_parked=True)
            run = await call.while_connected(waiting)
        return await self._answer(run)

    async def _answer(self, run: Run) -> bytes:
        call = self._call
        resource = await resource_of(call, run)
        messages, unreadable = await produced(call, run)
        return _encode(RunResult(run=resource, output=run.output, messages=messages, unreadable=unreadable))


MANY_OPERATIONS: Final = (
    Operation(
        method="POST",
        path="/v1/runs/batch",
        id="create_runs",
        summary="Submit several runs, each accepted or refused by itself",
        handler=create_runs,
        body=RunBatch,
        carries_messages=True,
        answers={200: BatchResource},
    ),
    Operation(
        method="POST",
        path="/v1/runs/cancel",
        id="cancel_runs",
        summary="Stop several runs",
        handler=cancel_runs,
        body=RunsCancel,
        answers={200: CancelledRuns},
        problems=("thread_not_found", "invalid_id"),
    ),
    Operation(
        method="GET",
        path="/v1/runs/summary",
        id="summarize_runs",
        summary="Count unfinished runs by agent and phase",
        handler=summarize_runs,
        answers={200: SummaryResource},
    ),
    Operation(
        method="GET",
        path="/v1/runs/{run_id}/join",
        id="join_run",
        summary="Wait until a run ends or waits for somebody, however long it takes",
        handler=join_run,
        query=Join,
        answers={200: RunResult},
        problems=("run_not_found", "invalid_id"),
    ),
    Operation(
        method="DELETE",
        path="/v1/runs/{run_id}",
        id="hide_run",
        summary="Leave a run that has ended out of lists",
        handler=hide_run,
        answers={204: None},
        problems=("run_not_found", "invalid_id", "run_not_finished"),
    ),
)
