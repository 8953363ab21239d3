"""Doing a run again, and answering anew.

Source: docs/howto/run-an-agent-again.md; docs/reference/http.md.
"""

from __future__ import annotations

from typing import Final

from starlette.responses import Response

from awaken.domain.delivery import delay_ms
from awaken.domain.run import Adapter, Trace
from awaken.http.operation import Call, Operation
from awaken.http.routes.runs import accepted_run
from awaken.http.submission import Attempts, Body, Id, Seconds
from awaken.http.wire import RunResource


class RunRetry(Body, frozen=True, kw_only=True):
    agent_id: str | None = None
    """In the place of the run's own."""
    max_attempts: Attempts | None = None
    after_seconds: Seconds | None = None


class Regenerate(Body, frozen=True, kw_only=True):
    message_id: Id | None = None
    """The answer; else the last one that is read."""
    run_id: Id | None = None
    """Of the new run, by which a repetition is recognised."""
    agent_id: str | None = None


async def retry_run(call: Call) -> Response:
    asked = call.body(RunRetry)
    accepted = await call.mailbox.again.retry(
        call.scope,
        call.run_id,
        agent_id=asked.agent_id,
        max_attempts=asked.max_attempts,
        delay_ms=delay_ms(asked.after_seconds or 0.0),
        trace=call.trace(Trace(adapter=Adapter.HTTP)),
    )
    return await accepted_run(call, accepted)


async def regenerate(call: Call) -> Response:
    asked = call.body(Regenerate)
    accepted = await call.mailbox.again.regenerate(
        call.scope,
        call.thread_id,
        message_id=asked.message_id,
        run_id=asked.run_id,
        agent_id=asked.agent_id,
        trace=call.trace(Trace(adapter=Adapter.HTTP)),
    )
    return await accepted_run(call, accepted)


AGAIN_OPERATIONS: Final = (
    Operation(
        method="POST",
        path="/v1/runs/{run_id}/retry",
        id="retry_run",
        summary="Do again what a run that has ended was asked for",
        handler=retry_run,
        body=RunRetry,
        answers={202: RunResource, 200: RunResource},
        problems=(
            "run_not_found", "run_not_finished", "message_not_found", "thread_not_found", "thread_deleted",
            "unknown_agent", "invalid_id", "already_exists", "queue_full",
        ),
    ),
    Operation(
        method="POST",
        path="/v1/threads/{thread_id}/regenerate",
        id="regenerate",
        summary="Answer anew, and hide the answer there was",
        handler=regenerate,
        body=Regenerate,
        answers={202: RunResource, 200: RunResource},
        problems=(
            "thread_not_found", "thread_deleted", "message_not_found", "unknown_agent", "invalid_id", "already_exists",
            "delivery_blocked",
        ),
    ),
)  # fmt: skip
