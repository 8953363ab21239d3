"""Every kind of event, whole and in its place: stories, each with all that the log of its thread says afterwards.

A payload here is what a reader gets, so that nothing is there which is not expected, and nothing is null. What a kind
means is said in `docs/reference/events.md`; that every kind has a story, and that no other is written, is held below.
"""

from __future__ import annotations

import ast
import asyncio
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, Final

import pytest
from pydantic_ai import Tool
from pydantic_ai.exceptions import ToolFailed

from awaken.domain import log, message_event, server_event
from awaken.domain.delivery import Delivery
from awaken.domain.errors import PermanentFailure, StoreUnavailable, ThreadBusy, TransientFailure
from awaken.domain.event import (
    FINISHED_KINDS,
    KINDS,
    TABLE,
    TERMINAL_KINDS,
    WAIT_KINDS,
    ActivityDelta,
    ActivitySnapshot,
    ErrorRecorded,
    InferenceComplete,
    ReasoningDelta,
    ReasoningEncryptedValue,
    StateSnapshot,
    ToolCallDelta,
    ToolCallDone,
    ToolCallReady,
    ToolCallStarted,
    ToolCallStreamDelta,
)
from awaken.domain.ids import DEFAULT_SCOPE, MessageId, ThreadId, derived_id
from awaken.domain.log import EventRow
from awaken.domain.message import user_message
from awaken.domain.run import Adapter, ClientTool, Limits, RunMode, Trace, Usage
from awaken.domain.thread import ThreadInfo, ThreadPatch
from awaken.domain.ticket import TicketRequest, Verdict
from awaken.executors.contract import Entry, RunPort, Suspended
from awaken.executors.function import Context
from awaken.mailbox.reader import Reader
from awaken.mailbox.submission import RunSubmission, Submission
from awaken.store.contract import TicketQuery
from awaken.store.transitions import Settle, Transition
from awaken.testing.behaviour import behaviour
from awaken.testing.clock import ManualClock
from awaken.testing.executors import Call, Script, Turn
from awaken.testing.mailboxes import WatchedStore, World
from tests.mailbox.naming import Told, told

SCOPE: Final = DEFAULT_SCOPE
T: Final = ThreadId("t")
Story = Callable[[World], Awaitable[None]]
STORIES: Final[dict[str, tuple[Story, list[Told]]]] = {}
NEEDS_LEASES: Final[set[str]] = set()
"""Stories of stores that several processes share."""


def tells(*expected: Told | list[Told], with_leases: bool = False) -> Callable[[Story], Story]:
    """This story leaves that log in the thread `t`."""

    def remember(story: Story) -> Story:
        if with_leases:
            NEEDS_LEASES.add(story.__name__)
        STORIES[story.__name__] = story, [x for each in expected for x in (each if isinstance(each, list) else [each])]
        return story

    return remember


# --- what many stories say --------------------------------------------------------------------------------------------


def queued(agent: str = "gated", n: int = 1, run: str = "run-1", message: str = "message-1", **more: Any) -> Told:
    """Of a run that starts; `n` counts dispatches."""
    return (
        f"{run}/dispatch-{n}",
        "RunQueued",
        {
            "dispatch_id": f"dispatch-{n}",
            "agent_id": agent,
            "route": agent,
            "why": "start",
            "message_ids": [message],
            "origin": "user",
            "adapter": "internal",
            "available_at": 0,
            **more,
        },
    )


def goes_on(why: str, agent: str = "gated", n: int = 2, **more: Any) -> Told:
    """Of a run that waited: what it goes on with brings no message, unless that is said."""
    details: dict[str, Any] = {"message_ids": [], **more}
    return queued(agent, n, why=why, **details)


def came(
    seq: int = 1, message: str = "message-1", text: str = "hello", at: str = "run-1/dispatch-1", **more: Any
) -> Told:
    """A message of a user joins the conversation."""
    payload = {
        "message_id": message,
        "message_seq": seq,
        "role": "user",
        "message_kind": "user_input",
        "content_blocks": [{"type": "text", "text": text}],
    }
    return at, "MessageCommitted", payload | more


def begun(agent: str = "gated", n: int = 1, run: str = "run-1", kind: str = "RunStarted", **more: Any) -> list[Told]:
    """A worker takes it, and it is executed."""
    at, dispatch = f"{run}/dispatch-{n}", f"dispatch-{n}"
    attempt = more.get("attempt", 1)
    return [
        (at, "RunSubmitted", {"dispatch_id": dispatch, "attempt": attempt}),
        (
            at,
            kind,
            {
                "dispatch_id": dispatch,
                "agent_id": agent,
                "attempt": 1,
                "why": "start",
                "worker": "worker-1",
                "process": ["host", "pid", "role"],
                **more,
            },
        ),
    ]


def started(agent: str = "gated", **more: Any) -> list[Told]:
    """A run is asked for with "hello", and executed at once."""
    return [queued(agent, **more), came(), *begun(agent)]


def said(seq: int, message: str, text: str, step: int, at: str = "run-1/dispatch-1", **more: Any) -> Told:
    """The assistant's message."""
    payload = {
        "message_id": message,
        "message_seq": seq,
        "role": "assistant",
        "message_kind": "assistant_output",
        "content_blocks": [{"type": "text", "text": text}],
        "run_id": at.partition("/")[0],
        "step_index": step,
    }
    return at, "MessageCommitted", payload | more


def step(kind: str, index: int, message: str | None = None, at: str = "run-1/dispatch-1", **more: Any) -> Told:
    return at, kind, {"index": index, **more} if message is None else {"message_id": message, "index": index, **more}


def delta(message: str, part: int, text: str, kind: str = "Text", at: str = "run-1/dispatch-1") -> Told:
    return at, f"{kind}DeltaObserved", {"message_id": message, "part": part, "delta": text}


def answered(seq: int, message: str, text: str, index: int = 0, at: str = "run-1/dispatch-1") -> list[Told]:
    """A function returns a text, which is its last step."""
    return [
        step("StepStarted", index, message, at),
        said(seq, message, text, index, at),
        step("StepEnded", index, at=at),
    ]


def ended(at: str = "run-1/dispatch-1", kind: str = "RunFinished", how: Any = None, **more: Any) -> Told:
    return at, kind, {"termination": how or {"type": "natural_end"}, **more}


CANCELLED: Final = {"type": "cancelled"}
RESET: Final = {"reason": "the turn was not completed; text after the last committed message is void"}
ABOUT: Final = {"dispatch_id": "dispatch-1", "attempt_count": 0}


async def parked(world: World, run: Submission) -> Submission:
    """As soon as the run waits."""
    await world.mailbox.wait(SCOPE, run.run.run_id, timeout_s=1e9, until_parked=True)
    return run


# --- what an agent publishes ------------------------------------------------------------------------------------------

ASKED: Final = Trace(adapter=Adapter.AG_UI, wire_run_id="wire-1", mode=RunMode.FOREGROUND)
CALL: Final = {"message_id": "message-2", "id": "call", "name": "find"}
SPENT: Final = {"input_tokens": 10, "output_tokens": 5, "model_calls": 1}


@tells(
    started("f", adapter="ag_ui", client_tools=["beep"], wire_run_id="wire-1"),
    step("StepStarted", 0, "message-2"),
    delta("message-2", 0, "hm", "Reasoning"),
    (
        "run-1/dispatch-1",
        "ReasoningEncryptedValueObserved",
        {"message_id": "message-2", "part": 0, "encrypted_value": "sealed"},
    ),
    ("run-1/dispatch-1", "ToolCallStarted", {**CALL, "runs_on": "server", "title": "Find", "tool_kind": "search"}),
    ("run-1/dispatch-1", "ToolCallDeltaObserved", {"id": "call", "args_delta": '{"n":1}'}),
    ("run-1/dispatch-1", "ToolCallReady", {**CALL, "arguments": {"n": 1}}),
    ("run-1/dispatch-1", "ToolCallStreamDeltaObserved", {"id": "call", "text": "half", "name": "progress"}),
    ("run-1/dispatch-1", "ToolCallStreamDeltaObserved", {"id": "call", "value": {"n": 2}}),
    (
        "run-1/dispatch-1",
        "ToolCallDone",
        {**CALL, "result_message_id": "answer", "status": "succeeded", "result": {"n": 3}},
    ),
    (
        "run-1/dispatch-1",
        "InferenceComplete",
        {
            "message_id": "message-2",
            "usage": SPENT,
            "duration_ms": 7,
            "model": "small",
            "provider": "maker",
            "finish_reason": "stop",
        },
    ),
    step("StepEnded", 0, name="look"),
    step("StepStarted", 1, "message-2"),
    (
        "run-1/dispatch-1",
        "ActivitySnapshotObserved",
        {"id": "plan", "type": "list", "content": {"items": []}, "replace": False},
    ),
    (
        "run-1/dispatch-1",
        "ActivityDeltaObserved",
        {"id": "plan", "type": "list", "patch": [{"op": "add", "path": "/items/0", "value": "one"}]},
    ),
    (
        "run-1/dispatch-1",
        "ArtifactWritten",
        {
            "artifact_id": "artifact-1",
            "name": "report",
            "blocks": [{"type": "text", "text": "the first page"}],
            "last": False,
        },
    ),
    (
        "run-1/dispatch-1",
        "ArtifactWritten",
        {
            "artifact_id": "artifact-1",
            "name": "report",
            "blocks": [{"type": "text", "text": "the last page"}],
            "append": True,
        },
    ),
    ("run-1/dispatch-1", "StateSnapshotObserved", {"state": {"n": 0}, "version": 0}),
    ("run-1/dispatch-1", "ErrorRecorded", {"message": "it was slow", "error_code": "slow"}),
    delta("message-2", 0, "draft"),
    said(2, "message-2", "draft", 1),
    step("StepEnded", 1),
    ("run-1/dispatch-1", "StateDeltaObserved", {"patch": [{"op": "add", "path": "/n", "value": 1}], "version": 1}),
    ended(output={"n": 4}, usage=SPENT, usage_by_model={"small": SPENT}, steps=1),
)
async def a_function_publishes_all_there_is(world: World) -> None:
    async def agent(ctx: Context) -> Any:
        m = ctx.message_id
        await ctx.emit(ReasoningDelta(m, 0, "hm"))
        await ctx.emit(ReasoningEncryptedValue(m, 0, "sealed"))
        await ctx.emit(ToolCallStarted(m, "call", "find", "server", "Find", "search"))
        await ctx.emit(ToolCallDelta("call", '{"n":1}'))
        await ctx.emit(ToolCallReady(m, "call", "find", {"n": 1}))
        await ctx.emit(ToolCallStreamDelta("call", text="half", name="progress"))
        await ctx.emit(ToolCallStreamDelta("call", value={"n": 2}))
        await ctx.emit(ToolCallDone(m, "call", "find", MessageId("answer"), "succeeded", {"n": 3}))
        await ctx.emit(InferenceComplete(m, Usage(10, 5, model_calls=1), 7, "small", "maker", "stop"))
        await ctx.step("look", lambda: 1)
        await ctx.emit(ActivitySnapshot("plan", "list", {"items": []}, replace=False))
        await ctx.emit(ActivityDelta("plan", "list", ({"op": "add", "path": "/items/0", "value": "one"},)))
        artifact_id = await ctx.artifact("report", "the first page", last=False)
        await ctx.artifact("report", "the last page", artifact_id=artifact_id, append=True)
        await ctx.emit(StateSnapshot({"n": 0}, 0))
        await ctx.state.patch({"n": 1})
        await ctx.emit(ErrorRecorded("it was slow", "slow"))
        await ctx.emit("draft")
        return {"n": 4}

    world.agents.add("f", agent)
    await world.done(await world.submit(agent_id="f", client_tools=(ClientTool("beep"),), trace=ASKED))


ADD: Final = {"message_id": "message-2", "id": "call_0", "name": "add"}


def inference(message: str, tokens: int, at: str = "run-1/dispatch-1") -> Told:
    spent = {"input_tokens": 50, "output_tokens": tokens, "model_calls": 1}
    return at, "InferenceComplete", {"message_id": message, "usage": spent, "duration_ms": 0, "model": "scripted"}


def spent(tokens: int, calls: int = 2) -> dict[str, Any]:
    """The totals at the end of a run of a scripted model."""
    usage = {"input_tokens": 50 * calls, "output_tokens": tokens, "model_calls": calls}
    return {"usage": usage, "usage_by_model": {"scripted": usage}}


@tells(
    started("model"),
    step("StepStarted", 0, "message-2"),
    delta("message-2", 0, "hm", "Reasoning"),
    (
        "run-1/dispatch-1",
        "ReasoningEncryptedValueObserved",
        {"message_id": "message-2", "part": 0, "encrypted_value": "sig"},
    ),
    delta("message-2", 1, "let"),
    delta("message-2", 1, " me"),
    ("run-1/dispatch-1", "ToolCallStarted", {**ADD, "runs_on": "server", "title": "Add", "tool_kind": "think"}),
    ("run-1/dispatch-1", "ToolCallDeltaObserved", {"id": "call_0", "args_delta": '{"a":1,"b":2}'}),
    said(
        2,
        "message-2",
        "let me",
        0,
        content_blocks=[
            {"type": "thinking", "text": "hm", "signature": "sig", "provider": "function"},
            {"type": "text", "text": "let me"},
        ],
        tool_calls=[{"id": "call_0", "name": "add", "arguments": {"a": 1, "b": 2}}],
    ),
    ("run-1/dispatch-1", "ToolCallReady", {**ADD, "arguments": {"a": 1, "b": 2}}),
    inference("message-2", 8),
    (
        "run-1/dispatch-1",
        "MessageCommitted",
        {
            "message_id": "message-3",
            "message_seq": 3,
            "role": "tool",
            "message_kind": "tool_result",
            "content_blocks": [{"type": "json", "value": 3}],
            "tool_call_id": "call_0",
            "tool_status": "success",
            "run_id": "run-1",
            "step_index": 0,
        },
    ),
    ("run-1/dispatch-1", "ToolCallDone", {**ADD, "result_message_id": "message-3", "status": "succeeded", "result": 3}),
    step("StepEnded", 0),
    step("StepStarted", 1, "message-4"),
    delta("message-4", 0, "3"),
    said(4, "message-4", "3", 1),
    inference("message-4", 1),
    step("StepEnded", 1),
    ended(output_message_ids=["message-4"], **spent(9), steps=2),
)
async def a_model_calls_a_tool(world: World) -> None:
    async def add(a: int, b: int) -> int:
        return a + b

    script = Script(Turn("let me", (Call("add", {"a": 1, "b": 2}),), "hm", "sig"), "3")
    tools = [Tool(add, metadata={"title": "Add", "kind": "think"})]
    world.agents.add("model", script.agent(tools=tools))
    await world.done(await world.submit(agent_id="model"))


@tells(
    started("f"),
    step("StepStarted", 0, "message-2"),
    delta("message-2", 0, "I gu"),
    (
        "run-1/dispatch-1",
        "StreamReset",
        {"reason": "the agent returned another answer than it streamed", "message_id": "message-2"},
    ),
    said(2, "message-2", "I know", 0),
    step("StepEnded", 0),
    ended(output_message_ids=["message-2"]),
)
async def an_answer_turns_out_otherwise(world: World) -> None:
    async def agent(ctx: Context) -> str:
        await ctx.emit("I gu")
        return "I know"

    world.agents.add("f", agent)
    await world.done(await world.submit(agent_id="f"))


# --- what becomes of a run --------------------------------------------------------------------------------------------


@tells(
    started("f"),
    step("StepStarted", 0, "message-2"),
    delta("message-2", 0, "some"),
    ("run-1/dispatch-1", "StreamReset", RESET),
    (
        "run-1/dispatch-1",
        "RunRescheduled",
        {
            "dispatch_id": "dispatch-1",
            "attempt_count": 1,
            "available_at": 250,
            "reason": "retry_backoff",
            "error": "busy",
        },
    ),
    begun("f", kind="RunResumed", attempt=2, why="retry", previous_worker="worker-1"),
    step("StepStarted", 0, "message-3"),
    delta("message-3", 0, "some"),
    ("run-1/dispatch-1", "StreamReset", RESET),
    (
        "run-1/dispatch-1",
        "RunDeadLettered",
        {"dispatch_id": "dispatch-1", "attempt_count": 1, "error": "no", "error_class": "PermanentFailure"},
    ),
    ended(kind="RunErrored", how={"type": "error", "detail": "no"}, cause="dead_letter"),
)
async def a_run_fails_and_is_given_up(world: World) -> None:
    errors = iter([TransientFailure("busy"), PermanentFailure("no")])

    async def agent(ctx: Context) -> str:
        await ctx.emit("some")
        raise next(errors)

    world.agents.add("f", agent)
    run = await world.submit(agent_id="f")
    await world.quiet()
    await world.advance(1)
    await world.done(run)


@tells(
    started(),
    (
        "run-1/dispatch-1",
        "RunRescheduled",
        {"dispatch_id": "dispatch-1", "attempt_count": 0, "available_at": 0, "reason": "handed over at shutdown"},
    ),
    begun(kind="RunResumed", why="handover", previous_worker="worker-1"),
    answered(2, "message-2", "done"),
    ended(output_message_ids=["message-2"]),
)
async def a_process_stops_and_starts_again(world: World) -> None:
    run = await world.submit()
    await world.agent.next_call()
    await world.leave()
    await world.mailbox.start()
    (await world.agent.next_call()).release("done")
    await world.done(run)


@tells(
    started("f"),
    step("StepStarted", 0, "message-2"),
    delta("message-2", 0, "some"),
    ("run-1/dispatch-1", "StreamReset", RESET),
    (
        "run-1/dispatch-1",
        "RunRescheduled",
        {
            "dispatch_id": "dispatch-1",
            "attempt_count": 0,
            "crash_count": 1,
            "available_at": 3_601_000,
            "reason": "expired_lease_reclaimed",
        },
    ),
    begun("f", kind="RunResumed", why="takeover", previous_worker="worker-1"),
    step("StepStarted", 0, "message-3"),
    delta("message-3", 0, "some"),
    said(2, "message-3", "some", 0),
    step("StepEnded", 0),
    ended(output_message_ids=["message-3"]),
    with_leases=True,
)
async def a_run_is_taken_over(world: World) -> None:
    may_end = asyncio.Event()

    async def agent(ctx: Context) -> None:
        await ctx.emit("some")
        await may_end.wait()

    world.agents.add("f", agent)
    run = await world.submit(agent_id="f")
    await world.submit(thread_id="elsewhere", delay_s=1)
    await world.quiet()
    world.clock.set(world.clock.now() + 3_600_000)  # so that the lease has ended by the clock of the store
    await world.advance(1)
    may_end.set()
    await world.done(run)


@tells(
    started("f"),
    step("StepStarted", 0, "message-2", name="again"),
    step("StepEnded", 0),
    ended(
        kind="RunTerminated",
        how={"type": "stopped", "code": "max_steps", "detail": "it closed the 1 steps that it may (max_steps)"},
        steps=1,
    ),
)
async def a_run_reaches_a_limit(world: World) -> None:
    async def agent(ctx: Context) -> None:
        for _ in range(2):
            await ctx.step("again", lambda: 1)

    world.agents.add("f", agent)
    await world.done(await world.submit(agent_id="f", limits=Limits(max_steps=1)))


async def speaking(ctx: Context) -> None:
    await ctx.emit("some")
    await asyncio.Event().wait()


SPEAKS: Final = [*started("f"), step("StepStarted", 0, "message-2"), delta("message-2", 0, "some")]
CUT_SHORT: Final = said(2, "message-2", "some", 0, state="interrupted")


@tells(
    SPEAKS,
    ("run-1/dispatch-1", "CancelRequested", ABOUT),
    ("run-1/dispatch-1", "CancelAcknowledged", ABOUT),
    CUT_SHORT,
    ended(kind="RunCancelled", how=CANCELLED, output_message_ids=["message-2"]),
)
async def somebody_cancels_a_run(world: World) -> None:
    world.agents.add("f", speaking)
    run = await world.submit(agent_id="f")
    await world.quiet()
    await world.mailbox.cancel(SCOPE, run.run.run_id, wait_s=5)


@tells(
    SPEAKS,
    queued(n=2, run="run-2", message="message-3"),
    ("run-2/dispatch-2", "RunSuperseded", {"termination": CANCELLED, "cause": "interrupted"}),
    ("run-1/dispatch-1", "RunInterrupted", ABOUT),
    ("run-1/dispatch-1", "CancelRequested", ABOUT),
    queued(n=3, run="run-3", message="message-4"),
    ("run-1/dispatch-1", "CancelAcknowledged", ABOUT),
    CUT_SHORT,
    ("run-1/dispatch-1", "MessagesHidden", {"first_seq": 1, "last_seq": 2, "why": "rolled_back"}),
    ended(kind="RunCancelled", how=CANCELLED, output_message_ids=["message-2"], cause="interrupted"),
    came(3, "message-4", "instead", "run-3/dispatch-3"),
    begun(n=3, run="run-3"),
    answered(4, "message-5", "done", at="run-3/dispatch-3"),
    ended("run-3/dispatch-3", output_message_ids=["message-5"]),
)
async def somebody_starts_over(world: World) -> None:
    world.agents.add("f", speaking)
    await world.submit(agent_id="f")
    await world.quiet()
    await world.submit("queued")
    instead = await world.submit("instead", mode="rollback")
    (await world.agent.next_call()).release("done")
    await world.done(instead)


def _no_settlement(batch: Sequence[Transition]) -> Exception | None:
    return StoreUnavailable("the disk is full") if any(isinstance(each, Settle) for each in batch) else None


@tells(
    started(),
    ("run-1/dispatch-1", "RunInterrupted", ABOUT),
    ("run-1/dispatch-1", "CancelRequested", ABOUT),
    queued(n=2, run="run-2", message="message-2"),
    ("run-2/dispatch-2", "MailboxTimeout", {"timeout_ms": 2_000, "active_run_id": "run-1"}),
    ended("run-2/dispatch-2", "RunCancelled", CANCELLED, cause="not_released_in_time"),
    answered(2, "message-3", "done"),
    ended(kind="RunCancelled", how=CANCELLED, output_message_ids=["message-3"], cause="interrupted"),
)
async def a_caller_gives_up(world: World) -> None:
    first = await world.submit()
    call = await world.agent.next_call()
    world.store.refuse = _no_settlement
    call.release("done")
    await call.over()
    await world.quiet()
    instead = asyncio.ensure_future(world.submit("instead", mode="interrupt", release_wait_s=2))
    await world.advance(3)
    with suppress(ThreadBusy):
        await instead
    world.store.come_back()
    await world.advance(5)
    await world.done(first)


# --- runs that wait ---------------------------------------------------------------------------------------------------

WIPE: Final = {"message_id": "message-2", "id": "call_0", "name": "wipe"}
IN_TURN: Final = {"tool_call_id": "call_0", "tool_name": "wipe", "arguments": {"n": 1}}


def calls(name: str, arguments: Any, text: str, runs_on: str = "server", tokens: int = 3) -> list[Told]:
    """The first turn of a model that says nothing and calls a tool."""
    call = {"message_id": "message-2", "id": "call_0", "name": name}
    made = [{"id": "call_0", "name": name, "arguments": arguments}]
    return [
        step("StepStarted", 0, "message-2"),
        ("run-1/dispatch-1", "ToolCallStarted", {**call, "runs_on": runs_on}),
        ("run-1/dispatch-1", "ToolCallDeltaObserved", {"id": "call_0", "args_delta": text}),
        said(2, "message-2", "", 0, content_blocks=[], tool_calls=made),
        ("run-1/dispatch-1", "ToolCallReady", {**call, "arguments": arguments}),
        inference("message-2", tokens),
    ]


@tells(
    started("model"),
    calls("wipe", {"n": 1}, '{"n":1}'),
    (
        "run-1/dispatch-1",
        "TicketOpened",
        {
            "ticket_id": "ticket-1",
            "kind": "approval",
            "allowed_actions": ["approve", "deny", "edit"],
            "resume_mode": "replay_tool_call",
            "agent_id": "model",
            **IN_TURN,
            "message": "really?",
        },
    ),
    (
        "run-1/dispatch-1",
        "RunSuspended",
        {
            "reason": "tool_permission",
            "ticket_ids": ["ticket-1"],
            "usage": {"input_tokens": 50, "output_tokens": 3, "model_calls": 1},
        },
    ),
    (
        "run-1/dispatch-1",
        "TicketDecided",
        {
            "ticket_id": "ticket-1",
            "decision_id": "yes",
            "action": "edit",
            "tool_call_id": "call_0",
            "arguments": {"n": 2},
            "reason": "two will do",
            "decided_by": "ann",
        },
    ),
    goes_on("decided", "model", wire_run_id="wire-2"),
    begun("model", 2, kind="RunResumed", why="decided"),
    (
        "run-1/dispatch-2",
        "MessageCommitted",
        {
            "message_id": "message-3",
            "message_seq": 3,
            "role": "tool",
            "message_kind": "tool_result",
            "content_blocks": [{"type": "json", "value": 2}],
            "tool_call_id": "call_0",
            "tool_status": "success",
            "run_id": "run-1",
            "step_index": 0,
        },
    ),
    (
        "run-1/dispatch-2",
        "ToolCallDone",
        {**WIPE, "result_message_id": "message-3", "status": "succeeded", "result": 2, "ticket_id": "ticket-1"},
    ),
    step("StepEnded", 0, at="run-1/dispatch-2"),
    step("StepStarted", 1, "message-4", "run-1/dispatch-2"),
    delta("message-4", 0, "wiped", at="run-1/dispatch-2"),
    said(4, "message-4", "wiped", 1, "run-1/dispatch-2"),
    inference("message-4", 1, "run-1/dispatch-2"),
    step("StepEnded", 1, at="run-1/dispatch-2"),
    ended("run-1/dispatch-2", output_message_ids=["message-4"], **spent(4), steps=2),
)
async def somebody_allows_a_call(world: World) -> None:
    async def wipe(n: int) -> int:
        return n

    tool = Tool(wipe, requires_approval=True, metadata={"message": "really?"})
    world.agents.add("model", Script(Turn("", (Call("wipe", {"n": 1}),)), "wiped").agent(tools=[tool]))
    run = await parked(world, await world.submit(agent_id="model"))
    verdict = Verdict(
        action="edit",
        arguments={"n": 2},
        tool_call_id="call_0",
        decided_by="ann",
        reason="two will do",
        decision_id="yes",
    )
    await world.mailbox.decisions.decide(SCOPE, run.run.run_id, [verdict], wire_run_id="wire-2")
    await world.done(run)


@tells(
    started("f"),
    (
        "run-1/dispatch-1",
        "TicketOpened",
        {
            "ticket_id": "ticket-1",
            "kind": "input",
            "allowed_actions": ["answer"],
            "resume_mode": "pass_decision_to_tool",
            "agent_id": "f",
            "tool_name": "ask",
            "message": "how many?",
            "response_schema": {"type": "integer"},
            "expires_at": 60_000,
            "on_expiry": "answer",
        },
    ),
    (
        "run-1/dispatch-1",
        "RunSuspended",
        {"reason": "user_input", "ticket_ids": ["ticket-1"], "mode": "all", "until": 60_000},
    ),
    ("run-1/dispatch-1", "TicketExpired", {"ticket_id": "ticket-1", "on_expiry": "answer"}),
    goes_on("decided", "f", available_at=60_000),
    begun("f", 2, kind="RunResumed", why="decided"),
    ended("run-1/dispatch-2", output=4),
)
async def nobody_answers_in_time(world: World) -> None:
    async def agent(ctx: Context) -> int:
        return await ctx.ask("how many?", type=int, expires_in_s=60, default=4)

    world.agents.add("f", agent)
    run = await parked(world, await world.submit(agent_id="f"))
    await world.advance(60)
    await world.done(run)


UNANSWERED: Final = "cancelled: nobody answers this call any more"


@tells(
    started("model", client_tools=["look"]),
    calls("look", {}, "{}", runs_on="client", tokens=1),
    (
        "run-1/dispatch-1",
        "TicketOpened",
        {
            "ticket_id": "ticket-1",
            "kind": "client_tool",
            "allowed_actions": ["answer", "fail"],
            "resume_mode": "use_decision_as_tool_result",
            "agent_id": "model",
            "tool_call_id": "call_0",
            "tool_name": "look",
            "arguments": {},
        },
    ),
    (
        "run-1/dispatch-1",
        "RunSuspended",
        {
            "reason": "external_event",
            "ticket_ids": ["ticket-1"],
            "usage": {"input_tokens": 50, "output_tokens": 1, "model_calls": 1},
        },
    ),
    ("run-1/dispatch-2", "TicketWithdrawn", {"ticket_id": "ticket-1", "why": "input", "tool_call_id": "call_0"}),
    goes_on(
        "input",
        "model",
        message_ids=["message-3"],
        adapter="ai_sdk",
        client_tools=["look"],
        wire_run_id="wire-2",
    ),
    (
        "run-1/dispatch-2",
        "MessageCommitted",
        {
            "message_id": "message-4",
            "message_seq": 3,
            "role": "tool",
            "message_kind": "tool_result",
            "content_blocks": [{"type": "text", "text": UNANSWERED}],
            "tool_call_id": "call_0",
            "tool_status": "cancelled",
        },
    ),
    (
        "run-1/dispatch-2",
        "ToolCallDone",
        {
            "message_id": "message-2",
            "id": "call_0",
            "name": "look",
            "result_message_id": "message-4",
            "status": "cancelled",
            "error_text": UNANSWERED,
        },
    ),
    came(4, "message-3", "never mind", "run-1/dispatch-2", step_index=0),
    begun("model", 2, kind="RunResumed", why="input"),
    step("StepStarted", 0, "message-5", "run-1/dispatch-2"),
    delta("message-5", 0, "well", at="run-1/dispatch-2"),
    said(5, "message-5", "well", 0, "run-1/dispatch-2"),
    inference("message-5", 1, "run-1/dispatch-2"),
    step("StepEnded", 0, at="run-1/dispatch-2"),
    ended("run-1/dispatch-2", output_message_ids=["message-5"], **spent(2), steps=1),
)
async def somebody_says_something_else(world: World) -> None:
    world.agents.add("model", Script(Turn("", (Call("look"),)), "well").agent())
    run = await parked(world, await world.submit(agent_id="model", client_tools=(ClientTool("look"),)))
    trace = Trace(adapter=Adapter.AI_SDK, wire_run_id="wire-2", mode=RunMode.FOREGROUND)
    await world.submit("never mind", agent_id=None, trace=trace)
    await world.done(run)


@tells(
    started("f"),
    step("StepStarted", 0, "message-2"),
    delta("message-2", 0, "so far"),
    said(2, "message-2", "so far", 0),
    step("StepEnded", 0),
    (
        "run-1/dispatch-1",
        "TicketOpened",
        {
            "ticket_id": "ticket-1",
            "kind": "input",
            "allowed_actions": ["answer"],
            "resume_mode": "pass_decision_to_tool",
            "agent_id": "f",
            "tool_name": "ask",
            "message": "how many?",
            "response_schema": {"type": "string"},
        },
    ),
    ("run-1/dispatch-1", "RunSuspended", {"reason": "user_input", "ticket_ids": ["ticket-1"], "mode": "all"}),
    ("run-1/dispatch-1", "TicketWithdrawn", {"ticket_id": "ticket-1", "why": "run_ended"}),
    ended(kind="RunCancelled", how=CANCELLED),
)
async def somebody_cancels_a_run_that_waits(world: World) -> None:
    async def agent(ctx: Context) -> str:
        await ctx.emit("so far")
        return await ctx.ask("how many?")

    world.agents.add("f", agent)
    run = await parked(world, await world.submit(agent_id="f"))
    await world.mailbox.cancel(SCOPE, run.run.run_id)


class Strict:
    """Waits for leave, and does not go on without."""

    async def drive(self, entry: Entry, port: RunPort) -> Suspended:
        asked = TicketRequest(
            key="c1", kind="approval", tool_call_id="c1", tool_name="wipe", expires_in_ms=60_000, on_expiry="fail"
        )
        return Suspended(tickets=(asked,))


@tells(
    started("strict"),
    (
        "run-1/dispatch-1",
        "TicketOpened",
        {
            "ticket_id": "ticket-1",
            "kind": "approval",
            "allowed_actions": ["approve", "deny", "edit"],
            "resume_mode": "replay_tool_call",
            "agent_id": "strict",
            "tool_call_id": "c1",
            "tool_name": "wipe",
            "expires_at": 60_000,
            "on_expiry": "fail",
        },
    ),
    ("run-1/dispatch-1", "RunSuspended", {"reason": "tool_permission", "ticket_ids": ["ticket-1"], "until": 60_000}),
    ("run-1/dispatch-1", "TicketExpired", {"ticket_id": "ticket-1", "on_expiry": "fail", "tool_call_id": "c1"}),
    ended(
        kind="RunErrored",
        how={"type": "error", "code": "ticket_expired", "detail": "nobody decided in time: wipe"},
        cause="ticket_expired",
    ),
)
async def nobody_decides_and_that_ends_the_run(world: World) -> None:
    world.agents.add("strict", Strict())
    run = await parked(world, await world.submit(agent_id="strict"))
    await world.advance(60)
    await world.done(run)


# --- other runs, and other threads ------------------------------------------------------------------------------------


@tells(
    started("boss"),
    ("run-1/dispatch-1", "ChildStarted", {"run_id": "run-2", "thread_id": "thread-1", "agent_id": "asker"}),
    (
        "run-1/dispatch-1",
        "RunSuspended",
        {
            "reason": "background_tasks",
            "ticket_ids": ["ticket-1"],
            "child_run_ids": ["run-2"],
            "mode": "all",
        },
    ),
    ("run-1/dispatch-1", "ChildSuspended", {"run_id": "run-2", "ticket_ids": ["ticket-2"]}),
    (
        "run-1/dispatch-1",
        "ChildFinished",
        {"run_id": "run-2", "termination": {"type": "natural_end"}, "output": "Ann"},
    ),
    goes_on("children", "boss"),
    begun("boss", 2, kind="RunResumed", why="children"),
    ended("run-1/dispatch-2", output={"who": "Ann"}),
)
async def a_run_waits_for_a_child(world: World) -> None:
    async def asker(ctx: Context) -> str:
        return await ctx.ask("who?")

    async def boss(ctx: Context) -> Any:
        return {"who": await ctx.call("asker", "find out")}

    world.agents.add("asker", asker)
    world.agents.add("boss", boss)
    run = await world.submit(agent_id="boss")
    await world.quiet()
    open_ones = (await world.store.list_tickets(SCOPE, TicketQuery(state="open"))).items
    [ticket] = [each for each in open_ones if each.asked.kind == "input"]
    await world.mailbox.decisions.decide_ticket(SCOPE, ticket.ticket_id, Verdict(action="answer", result="Ann"))
    await world.done(run)


@tells(
    started("boss"),
    ("run-1/dispatch-1", "ChildStarted", {"run_id": "run-2", "thread_id": "thread-1", "agent_id": "worker"}),
    answered(2, "message-2", "begun"),
    ended(output_message_ids=["message-2"]),
    (
        "run-1/dispatch-1",
        "ChildFinished",
        {"run_id": "run-2", "termination": {"type": "natural_end"}, "output": "it"},
    ),
    queued("boss", 2, "run-3", "message-3", origin="internal"),
    came(
        3,
        "message-3",
        "The background run 'worker' is done: it",
        "run-3/dispatch-2",
        message_kind="internal_user_input",
        sender="worker",
    ),
    begun("boss", 2, "run-3"),
    answered(4, "message-4", "well", at="run-3/dispatch-2"),
    ended("run-3/dispatch-2", output_message_ids=["message-4"]),
)
async def a_child_outlives_its_parent(world: World) -> None:
    async def worker(ctx: Context) -> str:
        return "it"

    async def boss(ctx: Context) -> str:
        if ctx.sender is not None:
            return "well"
        await ctx.start("worker", "do it")
        return "begun"

    world.agents.add("worker", worker)
    world.agents.add("boss", boss)
    await world.submit(agent_id="boss")
    await world.quiet()


@tells(
    queued("sender", run="r"),
    came(at="r/dispatch-1"),
    begun("sender", run="r"),
    (
        "r/dispatch-1",
        "MessageSent",
        {"to_thread_id": "desk", "to_run_id": "run-1", "to_agent_id": "gated", "message_ids": ["message-2"]},
    ),
    ended("r/dispatch-1"),
    (
        "r",
        "MessageUndeliverable",
        {
            "to_thread_id": "desk",
            "to_run_id": "run-1",
            "to_agent_id": "gated",
            "message_ids": ["message-2"],
            "error": f"run id {derived_id('r', 'send:send#1', 'run')!r} is taken by something else",
        },
    ),
)
async def a_message_can_never_arrive(world: World) -> None:
    async def sender(ctx: Context) -> None:
        await ctx.send("gated", "hi", thread_id="desk")

    world.agents.add("sender", sender)
    await world.submit(run_id=derived_id("r", "send:send#1", "run"), thread_id="elsewhere")
    await world.done(await world.submit(agent_id="sender", run_id="r"))
    await world.quiet()


# --- messages for a run that is there ---------------------------------------------------------------------------------


def steering(text: str, message_id: str, **wishes: Any) -> RunSubmission:
    message = user_message(MessageId(message_id), text)
    return RunSubmission(messages=(message,), thread_id="t", delivery=Delivery(mode="steer", **wishes))


@tells(
    started(),
    ("run-1/dispatch-1", "MessagePended", {"message_id": "one", "boundary": "next_step"}),
    (
        "run-1/dispatch-1",
        "MessagePended",
        {
            "message_id": "two",
            "boundary": "next_step",
            "granularity": "one",
            "barrier": True,
            "fallback_to_new_run": False,
        },
    ),
    ("run-1", "PendingEdited", {"message_id": "one", "revision": 2}),
    ("run-1", "PendingEdited", {"message_id": "two", "revision": 2}),
    ("run-1", "PendingEdited", {"message_id": "one", "revision": 3}),
    step("StepStarted", 0, "message-2", name="first"),
    step("StepEnded", 0),
    came(2, "two", "two", step_index=1, boundary="next_step"),
    (
        "run-1/dispatch-1",
        "MessageConsumed",
        {"message_id": "two", "message_seq": 2, "step_index": 1, "boundary": "next_step"},
    ),
    ("run-1", "PendingRetracted", {"message_id": "one", "fate": "retracted"}),
    (
        "run-1/dispatch-1",
        "MessagePended",
        {"message_id": "three", "boundary": "next_step", "fallback_to_new_run": False},
    ),
    ("run-1/dispatch-1", "MessagePended", {"message_id": "four", "boundary": "next_step"}),
    step("StepStarted", 1, "message-2"),
    said(3, "message-2", "done", 1),
    step("StepEnded", 1),
    (
        "run-1/dispatch-1",
        "PendingRetracted",
        {"message_id": "three", "fate": "retracted", "cause": "its run has ended"},
    ),
    ended(output_message_ids=["message-2"], steps=1),
    queued(n=2, run="run-2", message="four"),
    came(4, "four", "four", "run-2/dispatch-2"),
    begun(n=2, run="run-2"),
    answered(5, "message-3", "done too", at="run-2/dispatch-2"),
    ended("run-2/dispatch-2", output_message_ids=["message-3"]),
)
async def somebody_talks_to_a_run(world: World) -> None:
    run, messages = await world.submit(), world.mailbox.messages
    call = await world.agent.next_call()
    await messages.send(steering("one", "one"))
    await messages.send(steering("two", "two", barrier=True, granularity="one", fallback_to_new_run=False))
    await messages.edit(SCOPE, T, "one", message=user_message(MessageId(""), "uno"))
    await messages.reorder(SCOPE, T, ["two", "one"])
    await call.context.step("first", lambda: 1)
    assert [message.text for message in await call.context.inbox()] == ["two"]
    await messages.retract(SCOPE, T, "one")
    await messages.send(steering("three", "three", fallback_to_new_run=False))
    await messages.send(steering("four", "four"))
    call.release("done")
    await world.done(run)
    (await world.agent.next_call()).release("done too")
    await world.quiet()


@tells(
    started("model"),
    calls("look", {}, "{}", tokens=1),
    ("run-1/dispatch-1", "MessagePended", {"message_id": "next", "boundary": "on_natural_end"}),
    (
        "run-1/dispatch-1",
        "MessageCommitted",
        {
            "message_id": "message-3",
            "message_seq": 3,
            "role": "tool",
            "message_kind": "tool_result",
            "content_blocks": [{"type": "text", "text": "nothing there"}],
            "tool_call_id": "call_0",
            "tool_status": "error",
            "run_id": "run-1",
            "step_index": 0,
        },
    ),
    (
        "run-1/dispatch-1",
        "ToolCallDone",
        {
            "message_id": "message-2",
            "id": "call_0",
            "name": "look",
            "result_message_id": "message-3",
            "status": "failed",
            "error_text": "nothing there",
        },
    ),
    step("StepEnded", 0),
    step("StepStarted", 1, "message-4"),
    delta("message-4", 0, "one"),
    said(4, "message-4", "one", 1),
    inference("message-4", 1),
    step("StepEnded", 1),
    came(5, "next", "and then", step_index=2, boundary="on_natural_end"),
    (
        "run-1/dispatch-1",
        "MessageConsumed",
        {"message_id": "next", "message_seq": 5, "step_index": 2, "boundary": "on_natural_end"},
    ),
    step("StepStarted", 2, "message-5"),
    delta("message-5", 0, "two"),
    said(6, "message-5", "two", 2),
    inference("message-5", 1),
    step("StepEnded", 2),
    ended(output_message_ids=["message-5"], **spent(3, calls=3), steps=3),
)
async def a_run_goes_on_with_what_was_sent_behind_its_answer(world: World) -> None:
    looking, may_end = asyncio.Event(), asyncio.Event()

    async def look() -> str:
        looking.set()
        await may_end.wait()
        raise ToolFailed("nothing there")

    world.agents.add("model", Script(Turn("", (Call("look"),)), "one", "two").agent(tools=[look]))
    run = await world.submit(agent_id="model")
    await looking.wait()
    message = user_message(MessageId("next"), "and then")
    await world.mailbox.messages.send(
        RunSubmission(messages=(message,), thread_id="t", delivery=Delivery(mode="follow_up"))
    )
    may_end.set()
    await world.done(run)


@tells(
    started(),
    answered(2, "message-2", "one"),
    ended(output_message_ids=["message-2"]),
    queued(n=2, run="run-2"),
    ("run-2/dispatch-2", "MessagesHidden", {"first_seq": 2, "last_seq": 2, "why": "regenerated"}),
    begun(n=2, run="run-2"),
    answered(3, "message-3", "two", at="run-2/dispatch-2"),
    ended("run-2/dispatch-2", output_message_ids=["message-3"]),
)
async def an_answer_is_made_anew(world: World) -> None:
    run = await world.submit()
    (await world.agent.next_call()).release("one")
    await world.done(run)
    again = await world.mailbox.again.regenerate(SCOPE, T)
    (await world.agent.next_call()).release("two")
    await world.done(again)


# --- a thread by itself -----------------------------------------------------------------------------------------------


@tells(
    ("", "ThreadCreated", {"info": {"title": "First"}}),
    came(1, "one", "one", at=""),
    ("", "ThreadUpdated", {"info": {"title": "Second"}}),
    ("", "StateDeltaObserved", {"patch": [{"op": "add", "path": "/n", "value": 1}], "version": 1}),
    ("", "MessagesHidden", {"first_seq": 1, "last_seq": 1, "why": "hidden"}),
    ("", "ThreadDeleted", {}),
)
async def a_thread_is_kept_and_deleted(world: World) -> None:
    await world.mailbox.save_thread(
        SCOPE, "t", ThreadInfo(title="First"), messages=(user_message(MessageId("one"), "one"),)
    )
    threads = world.mailbox.threads
    await threads.edit(SCOPE, T, ThreadPatch(title="Second"))
    await threads.patch_state(SCOPE, T, {"n": 1})
    await threads.hide(SCOPE, T, MessageId("one"))
    await threads.delete(SCOPE, T)


# --- the stories, and the kinds ---------------------------------------------------------------------------------------


async def _watch(reader: Reader, seen: list[EventRow]) -> None:
    async for row in reader:
        seen.append(row)


@behaviour("KD-001", "EV-007", "MBX-172", "D-004")
@pytest.mark.parametrize("name", STORIES)
async def test_a_thread_is_told_whole(store: WatchedStore, clock: ManualClock, name: str) -> None:
    """To whoever watches, unless the process stops meanwhile, and to whoever comes later, unless the thread is gone."""
    story, expected = STORIES[name]
    store.exclusive = False if name in NEEDS_LEASES else None
    seen: list[EventRow] = []
    async with (
        World(store, clock) as world,
        world.mailbox.read_thread(SCOPE, T) as reader,
        asyncio.TaskGroup() as tasks,
    ):
        watching = tasks.create_task(_watch(reader, seen))
        await story(world)
        await world.quiet()
        watching.cancel()

        assert reader.is_cut is (story is a_process_stops_and_starts_again)
        assert reader.is_cut or told(seen) == expected
        is_gone = expected[-1][1] == "ThreadDeleted"
        assert is_gone or told(await store.list_events(SCOPE, T, after=0, limit=1_000)) == expected


def _written() -> set[str]:
    """The kinds that anything here can write: those of agents, and those that the queue's own modules name."""
    sources = [Path(module.__file__ or "").read_text(encoding="utf-8") for module in (server_event, message_event, log)]
    named = {
        node.value
        for source in sources
        for call in ast.walk(ast.parse(source))
        if isinstance(call, ast.Call)
        for node in ast.walk(call)
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and node.value in TABLE
    }
    return named | {*KINDS.values()} | {*FINISHED_KINDS.values()} | {log.MESSAGE_COMMITTED}


@behaviour("KD-001", "KD-002", "KD-003", "KD-004")
def test_every_kind_that_is_written_has_a_story_and_no_other_is_known() -> None:
    in_stories = {kind for _, expected in STORIES.values() for _, kind, _ in expected}

    assert in_stories == _written() == {*TABLE}


def test_nothing_is_null_or_zero_in_the_place_of_nothing() -> None:
    for _, expected in STORIES.values():
        for about, kind, payload in expected:
            assert None not in payload.values(), (about, kind)


def test_a_run_begins_and_ends_once_and_is_resumed_only_between() -> None:
    """Of what stands behind its end only that is about it which others have told it."""
    for name, (_, expected) in STORIES.items():
        for run in {about.partition("/")[0] for about, _, _ in expected} - {""}:
            kinds = [kind for about, kind, _ in expected if about.partition("/")[0] == run]
            assert kinds[0] == "RunQueued", name
            ends = [place for place, kind in enumerate(kinds) if kind in TERMINAL_KINDS]
            assert len(ends) == 1, name
            assert {*kinds[ends[0] + 1 :]} <= {"ChildSuspended", "ChildFinished", "MessageUndeliverable"}, name
            assert kinds.count("RunStarted") <= 1, name
            for place, kind in enumerate(kinds):
                if kind in ("RunStarted", "RunResumed"):
                    assert kinds[place - 1] == "RunSubmitted", name
                if kind in WAIT_KINDS:
                    assert place < ends[0], name
