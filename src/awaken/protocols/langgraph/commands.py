"""LangGraph's streaming protocol: commands to a thread, and the events of a thread.

Above: `routes`. Below: the gateway, and runs, threads and their state as the other routes have them.
Holds: a command that cannot be carried out is answered, and not refused: its error has a code of the protocol. A
message is put into a run that executes, where LangGraph's own server refuses that.

Source: docs/concepts/protocols.md; SRV-037.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Annotated, Any, Final, cast

import msgspec
from msgspec import Meta
from msgspec.structs import replace
from starlette.responses import Response

from awaken.domain.errors import AwakenError, MessageNotFound, RunNotFound, Unsupported, ValidationError
from awaken.domain.ids import RunId, checked_id
from awaken.domain.message import Role
from awaken.domain.run import Run
from awaken.domain.thread import Thread
from awaken.http.operation import Call, json_response
from awaken.http.problems import problem_of, shape_problem
from awaken.protocols.body import DialectBody
from awaken.protocols.gateway import Turn
from awaken.protocols.langgraph.events import CHANNELS, ROOM, events_of, failed, passed
from awaken.protocols.langgraph.messages import sent_message
from awaken.protocols.langgraph.objects import begun_runs, last_seq, past_state, state_shown, thread_status
from awaken.protocols.langgraph.runs import entered, gateway_of, resumed_by_id
from awaken.protocols.langgraph.wire import RunBody, refused
from awaken.protocols.projection import Place
from awaken.store.contract import MAX_PAGE

_CODES: Final = {
    "run_not_found": "no_such_run",
    "ticket_not_found": "no_such_interrupt",
    "unknown_tool_call": "no_such_interrupt",
    "run_not_waiting": "no_such_interrupt",
    "message_not_found": "no_such_checkpoint",
    "forbidden": "permission_denied",
    "unauthorized": "permission_denied",
    "not_supported": "not_supported",
}


class CommandBody(DialectBody, frozen=True, kw_only=True):
    """`id` comes back with the answer."""

    id: int
    method: str
    params: dict[str, Any] = {}  # noqa: RUF012


class EventsBody(DialectBody, frozen=True, kw_only=True):
    """Which events: of these channels, below these namespaces, behind this number."""

    channels: Annotated[list[str], Meta(max_length=64)]
    namespaces: list[list[str]] | None = None
    depth: int | None = None
    since: Annotated[int, Meta(ge=0)] | None = None


async def follow_events(call: Call) -> Response:
    """Everything on the thread, without end: behind a number, or else from where its newest turn began."""
    asked = call.body(EventsBody)
    thread = await call.mailbox.get_thread(call.scope, call.thread_id)
    if asked.since is None:
        after, since = await _start(call, thread), 0
    else:
        # The event of the log that the number is of may have become more than the client has had.
        after, since = max(asked.since // ROOM - 1, 0), asked.since
    channels = frozenset(each for each in asked.channels if each in CHANNELS or each.startswith("custom:"))
    if asked.channels and not channels:
        raise refused("channels", f"none of them is one; there are: {', '.join(sorted(CHANNELS))}")
    if asked.namespaces and [] not in asked.namespaces:
        channels = frozenset[str]()  # an agent has no namespaces below its own
    make = events_of(channels, since)
    return await gateway_of(call).watch_thread(
        thread.thread_id, make, failed, dialect="langgraph_events", place=Place(after)
    )


async def _start(call: Call, thread: Thread) -> int:
    """Behind which event the turn begins that is under way, or was last."""
    gateway = gateway_of(call)
    turn = await gateway.current(thread.thread_id)
    if turn is None:
        run_id = thread.open_run_id or thread.latest_run_id
        run = None if run_id is None else await call.reads.load_run(call.scope, run_id)
        turn = None if run is None else await gateway.latest_turn(run)
    return (await call.reads.event_bounds(call.scope, thread.thread_id))[1] if turn is None else turn.after


async def command(call: Call) -> Response:
    asked = call.body(CommandBody)
    carry_out = _COMMANDS.get(asked.method)
    if carry_out is None:
        known = ", ".join(_COMMANDS)
        return _refused(asked, "unknown_command", f"there is no command {asked.method!a:.80}; there are: {known}")
    try:
        result, applied = await carry_out(call, asked.params)
    except AwakenError as error:
        problem = problem_of(error)
        if problem.status >= 500 and problem.code not in _CODES:
            raise
        code = _CODES.get(problem.code, "invalid_argument")
        return _refused(asked, code, problem.detail)
    meta = {} if applied is None else {"meta": {"applied_through_seq": applied}}
    return json_response({"type": "success", "id": asked.id, "result": result, **meta})


def _refused(asked: CommandBody, code: str, message: str) -> Response:
    return json_response({"type": "error", "id": asked.id, "error": code, "message": message})


Done = tuple[dict[str, Any], int | None]
"""The result of a command, and the number of what a client that follows the thread has no need to be told again."""


async def _run_start(call: Call, params: dict[str, Any]) -> Done:
    asked = _read(params)
    turn = await entered(call, replace(asked, if_not_exists="create", on_completion="keep"), call.thread_id)
    return _begun(turn)


async def _respond(call: Call, params: dict[str, Any]) -> Done:
    """One interrupt, or several at once."""
    for name in ("update", "goto"):
        if params.get(name) is not None:
            raise Unsupported(f"input.respond with {name}", "an agent here has no nodes")
    several: Any = params.get("responses", [params])
    answers: dict[str, Any] = {}
    for each in cast(list[Any], several) if isinstance(several, list) else []:
        entry = cast(dict[str, Any], each) if isinstance(each, dict) else {}
        id: Any = entry.get("interrupt_id")
        if not isinstance(id, str) or "response" not in entry:
            raise ValidationError("a response names its interrupt_id", loc=("body", "params"))
        answers[id] = entry["response"]
    if not answers:
        raise ValidationError("there is no response", loc=("body", "params", "responses"))
    thread = await call.mailbox.get_thread(call.scope, call.thread_id)
    return _begun(await resumed_by_id(call, thread.thread_id, answers))


def _begun(turn: Turn) -> Done:
    return {"run_id": turn.run.run_id}, passed(turn.after)


async def _inject(call: Call, params: dict[str, Any]) -> Done:
    """A message for the run that executes, taken at its next step; with none, for a run of its own."""
    message = sent_message(params.get("message"), "body", "params", "message")
    if message.role is not Role.USER:
        raise Unsupported("input.inject of a system message", "inject what a user says")
    thread = await call.mailbox.get_thread(call.scope, call.thread_id)
    taken = await gateway_of(call).steer(thread.thread_id, [message])
    return {"run_id": taken.run.run_id}, None


async def _state_get(call: Call, params: dict[str, Any]) -> Done:
    thread = await call.mailbox.get_thread(call.scope, call.thread_id)
    state = await state_shown(call, thread)
    keys: Any = params.get("keys")
    values: dict[str, Any] = state["values"]
    if isinstance(keys, list):
        values = {key: value for key, value in values.items() if key in keys}
    at: str | None = state["checkpoint_id"]
    return {"values": values, **({} if at is None else {"checkpoint": {"id": at}})}, None


async def _checkpoints(call: Call, params: dict[str, Any]) -> Done:
    thread = await call.mailbox.get_thread(call.scope, call.thread_id)
    limit: Any = params.get("limit", 10)
    if type(limit) is not int or not 1 <= limit <= MAX_PAGE:
        raise ValidationError(f"limit is 1 to {MAX_PAGE}", loc=("body", "params", "limit"))
    before: Any = params.get("before")
    earliest = None if before is None else await _run_of(call, before)
    found: list[dict[str, Any]] = []
    for run in await begun_runs(call, thread.thread_id, limit=limit, before=earliest):
        state = await past_state(call, thread, run)
        about = {"id": run.run_id, "timestamp": state["created_at"], "step": run.steps, "node_name": run.agent_id}
        found.append(about | {"metadata": state["metadata"]})
    return {"checkpoints": found}, None


async def _fork(call: Call, params: dict[str, Any]) -> Done:
    """A new thread with what was said up to a checkpoint, and a run on it."""
    if params.get("input") is None:
        raise ValidationError("a fork goes on with an input", loc=("body", "params", "input"))
    run = await _run_of(call, params.get("checkpoint_id"))
    config: Any = params.get("config")
    given: dict[str, Any] = {
        "assistant_id": run.agent_id,
        "input": params["input"],
        "config": config if isinstance(config, dict) else None,
    }
    asked = _read(given)
    asked.check()
    asked.check_input()
    end = await last_seq(call, run)
    if end is None:
        raise MessageNotFound(run.run_id)
    forked = await call.mailbox.threads.fork(call.scope, call.thread_id, at_seq=end)
    turn = await entered(call, replace(asked, on_completion="keep"), forked.thread_id)
    return {"run_id": turn.run.run_id, "thread_id": forked.thread_id}, None


async def _run_of(call: Call, checkpoint_id: Any) -> Run:
    """The run of this thread whose end is the checkpoint."""
    run = await call.mailbox.get_run(call.scope, RunId(checked_id(checkpoint_id, what="checkpoint_id")))
    if run.thread_id != call.thread_id:
        raise RunNotFound(run.run_id)
    return run


async def _tree(call: Call, params: dict[str, Any]) -> Done:
    thread = await call.mailbox.get_thread(call.scope, call.thread_id)
    status = {"busy": "running", "interrupted": "interrupted", "error": "failed"}.get(await thread_status(call, thread))
    run = None if thread.latest_run_id is None else await call.reads.load_run(call.scope, thread.latest_run_id)
    name = "agent" if run is None else run.agent_id
    return {"tree": {"namespace": [], "status": status or "completed", "graph_name": name}}, None


_COMMANDS: Final[dict[str, Callable[[Call, dict[str, Any]], Awaitable[Done]]]] = {
    "run.start": _run_start,
    "input.respond": _respond,
    "input.inject": _inject,
    "state.get": _state_get,
    "state.listCheckpoints": _checkpoints,
    "state.fork": _fork,
    "agent.getTree": _tree,
}


def _read(params: dict[str, Any]) -> RunBody:
    try:
        return RunBody.read(params)
    except msgspec.ValidationError as error:
        raise shape_problem(error, "body", RunBody, params) from error
