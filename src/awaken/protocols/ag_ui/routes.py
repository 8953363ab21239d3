"""What a client of AG-UI asks for: a run, the answers to its interrupts, to join, to stop, and what an agent can do.

Above: the application. Below: the gateway, and the operations of this API for stopping.
Holds: what is wrong with answers to interrupts is said in the stream, as the protocol wants it, and nothing is stored
then. All else that is wrong is a problem document. Whoever is told nothing new, or is refused, is shown the thread as
it stands: his page knows it otherwise.

Source: docs/howto/use-ag-ui.md; SRV-033.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from msgspec.structs import replace
from starlette.responses import Response

from awaken.domain.errors import AwakenError, ThreadNotFound, ValidationError
from awaken.domain.ids import TicketId
from awaken.domain.message import Message
from awaken.domain.run import Adapter
from awaken.domain.server_event import ticket_opened
from awaken.domain.thread import Thread
from awaken.domain.ticket import Ticket, Verdict
from awaken.http.operation import Call, Operation, json_response
from awaken.http.problems import problem_of
from awaken.http.routes.runs import Stopping
from awaken.http.routes.threads import cancel_thread, interrupt_thread
from awaken.http.wire import CancelResource, InterruptResource
from awaken.protocols.ag_ui.encoder import JOINING, AgUiEncoder, conversation, ended, failure
from awaken.protocols.ag_ui.wire import (
    PROTOCOL_VERSION,
    Resume,
    RunInput,
    Shown,
    answers_in,
    call_of,
    is_interrupt,
    messages_of,
    replacing,
    verdict_of,
)
from awaken.protocols.contract import Frame, frame, shown_call
from awaken.protocols.foreign import new_words, says_nothing
from awaken.protocols.gateway import Gateway, Incoming
from awaken.protocols.turn_index import Turn

_CODES: Final = {
    "ticket_not_found": "unknown_interrupt",
    "ticket_withdrawn": "unknown_interrupt",
    "ticket_expired": "interrupt_expired",
    "decision_rejected_by_schema": "invalid_resume_payload",
    "action_not_allowed": "invalid_resume_payload",
    "decision_conflict": "interrupt_conflict",
}
"""What the protocol calls it that a decision cannot be made."""


class _Refused(Exception):
    """The protocol's own error about answers to interrupts."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code


# --- running ----------------------------------------------------------------------------------------------------------


async def run(call: Call) -> Response:
    """What the client says, and the stream of the answer. A run of a name that the thread knows is joined."""
    asked = call.body(RunInput)
    gateway = Gateway(call, Adapter.AG_UI)
    thread = await gateway.load_thread(asked.thread_id)
    incoming = await _incoming(call, asked, thread)
    try:
        known = None if thread is None else await _known(call, gateway, thread, asked, incoming.messages)
        if known is not None:
            return await gateway.watch(known, AgUiEncoder)
        answers = await _answers(call, gateway, asked, thread)
        turn = await gateway.enter(
            replace(incoming, answers=answers, strategy="enqueue" if answers else incoming.strategy)
        )
    except _Refused as error:
        return await _refusal(call, gateway, asked, incoming.messages, failure(str(error), error.code))
    except AwakenError as error:
        problem = problem_of(error)
        if problem.code not in _CODES:
            raise
        said = failure(problem.detail, _CODES[problem.code])
        return await _refusal(call, gateway, asked, incoming.messages, said)
    if turn is not None and turn.wire_run_id == asked.run_id:
        return await gateway.watch(turn, AgUiEncoder)
    # Nothing is new. The page may have some of what is under way, and none of what has ended since: it is shown all.
    joined = None if turn is None else await gateway.join(asked.thread_id, JOINING)
    return joined or gateway.say(await _standing(call, gateway, asked.thread_id, asked.run_id))


async def _known(
    call: Call, gateway: Gateway, thread: Thread, asked: RunInput, messages: Sequence[Message]
) -> Turn | None:
    """The turn of that name, where the thread has one: a client that has lost its connection asks again.

    Raises:
        _Refused: It says something besides, which a run that is there cannot take.
    """
    known = await gateway.turn_called(thread.thread_id, asked.run_id)
    if known is None:
        return None
    new = await new_words(call.reads, call.scope, thread.thread_id, messages)
    if not all([says_nothing(each) for each in new]):
        raise _Refused("run_exists", f"there is a run {asked.run_id!a:.80} already; a new message is a run of its own")
    return known


async def _refusal(call: Call, gateway: Gateway, asked: RunInput, messages: Sequence[Message], said: Frame) -> Response:
    """The client's run fails with the error. Before it, as a run of its own, the thread is shown as it stands, because
    a page whose answer is not taken knows it otherwise; what the page has not got rid of stays with it.
    """
    thread = await gateway.load_thread(asked.thread_id)
    frames: list[Frame] = []
    if thread is not None:
        unsent = await new_words(call.reads, call.scope, thread.thread_id, messages)
        frames += await _standing(call, gateway, thread.thread_id, unsent=unsent)
    return gateway.say([*frames, _started(asked.thread_id, asked.run_id), said])


async def _incoming(call: Call, asked: RunInput, thread: Thread | None) -> Incoming:
    """All but the answers. Raises ValidationError for what cannot be taken."""
    forwarded, state = asked.forwarded, asked.values
    if state is not None and thread is not None:
        known = await call.reads.load_state(call.scope, thread.thread_id)
        state = replacing(known.values, state)
    return Incoming(
        messages=messages_of(asked.messages),
        thread_id=asked.thread_id,
        agent_id=call.ids.get("agent_id") or forwarded.agent_id,
        context=asked.context,
        state=state,
        client_tools=asked.client_tools,
        metadata=asked.metadata,
        strategy=forwarded.multitask_strategy or "interrupt",
        on_disconnect=forwarded.on_disconnect or "continue",
        wire_run_id=asked.run_id,
    )


async def _answers(call: Call, gateway: Gateway, asked: RunInput, thread: Thread | None) -> tuple[Verdict, ...]:
    """Decisions about open tickets: of interrupts by `resume`, of the client's tools by their messages.

    Raises:
        _Refused: An interrupt that is open has no answer, or an answer is to none that could have one.
        As `Gateway.confirm`.
    """
    tickets = await gateway.open_tickets(thread.thread_id) if thread is not None and thread.open_ticket_count else ()
    by_id: dict[str, Ticket] = {ticket.ticket_id: ticket for ticket in tickets}
    found: dict[str, Verdict] = {}
    for entry in asked.resume or ():
        ticket = by_id.get(entry.interrupt_id)
        if ticket is None:
            await _check_closed(call, gateway, thread, entry)
            continue
        try:
            found[ticket.ticket_id] = verdict_of(entry, ticket)
        except ValidationError as error:
            raise _Refused("invalid_resume_payload", str(error)) from error
    missing = [id for id, ticket in by_id.items() if is_interrupt(ticket.asked.kind) and id not in found]
    if missing and asked.resume:
        raise _Refused("incomplete_resume", f"resume has no answer to interrupt {missing[0]}")
    if missing:
        raise _Refused("interrupts_pending", f"the thread waits for an answer to interrupt {missing[0]}; send a resume")
    for verdict in answers_in(asked.messages, tickets):
        found.setdefault(verdict.ticket_id, verdict)
    return tuple(found.values())


async def _check_closed(call: Call, gateway: Gateway, thread: Thread | None, entry: Resume) -> None:
    """The same answer to something that was decided before, by whomever, is harmless; and so is none, where nobody can
    answer any more. Raises _Refused, and as `Gateway.confirm`.
    """
    id = entry.interrupt_id
    ticket = await call.reads.load_ticket(call.scope, TicketId(id)) if thread is not None else None
    if ticket is None or thread is None or ticket.thread_id != thread.thread_id:
        raise _Refused("unknown_interrupt", f"the thread has no interrupt {id!a:.80}")
    if entry.status == "cancelled" and ticket.state in ("expired", "withdrawn"):
        return
    try:
        verdict = verdict_of(entry, ticket)
    except ValidationError as error:
        raise _Refused("invalid_resume_payload", str(error)) from error
    await gateway.confirm(ticket, verdict)


# --- joining ----------------------------------------------------------------------------------------------------------


async def join(call: Call) -> Response:
    """The conversation so far and what is under way; with `Last-Event-ID` what comes behind the event that it names.
    Where nothing is under way, a whole stream that says how it stands.
    """
    gateway = Gateway(call, Adapter.AG_UI)
    if call.header(b"last-event-id"):
        found = await gateway.resumed(call.thread_id)
        if found is None:
            return Response(status_code=204)
        turn, place = found
        return await gateway.watch(turn, AgUiEncoder, place=place)
    joined = await gateway.join(call.thread_id, JOINING)
    return joined or gateway.say(await _standing(call, gateway, call.thread_id))


async def _standing(
    call: Call, gateway: Gateway, thread_id: str, name: str | None = None, *, unsent: Sequence[Message] | None = None
) -> list[Frame]:
    """A whole run that shows the thread as it stands, and ends as its last one has. `name`: the client's for it; None:
    that of the last one. `unsent`: what the client has besides, where an error follows, and this is none.
    """
    thread = await gateway.load_thread(thread_id)
    if thread is None:
        raise ThreadNotFound(thread_id)
    latest = await call.reads.latest_run(call.scope, thread.thread_id)
    turn = None if latest is None else await gateway.latest_turn(latest)
    name = name or (thread_id if turn is None else turn.wire_run_id or turn.dispatch_id or turn.run.run_id)
    state = await call.reads.load_state(call.scope, thread.thread_id)
    tickets = [ticket_opened(ticket).payload for ticket in await gateway.open_tickets(thread_id)]
    messages = conversation([stored.message for stored in await gateway.messages(thread_id)])
    for ticket in tickets:
        if ticket.tool_call_id is None:
            id, tool, arguments = shown_call(ticket)
            messages.append({"id": id, "role": "assistant", "toolCalls": [call_of(id, tool, arguments)]})
    frames = [_started(thread_id, name), frame({"type": "MESSAGES_SNAPSHOT", "messages": messages})]
    kept = conversation([each for each in unsent or () if each.id])
    if kept:  # the client leaves what it has at its place: it forgets them first, and has them at the end then
        frames.append(frame({"type": "MESSAGES_SNAPSHOT", "messages": [*messages, *kept]}))
    if state.version:
        frames.append(frame({"type": "STATE_SNAPSHOT", "snapshot": state.values}))
    ending = None if turn is None or turn.ending is None else replace(turn.ending, usage=None, usage_by_model={})
    return [*frames, ended(thread_id, name, ending, tickets, as_error=unsent is None)]


def _started(thread_id: str, run_id: str) -> Frame:
    return frame({"type": "RUN_STARTED", "threadId": thread_id, "runId": run_id, "protocolVersion": PROTOCOL_VERSION})


# --- capabilities -----------------------------------------------------------------------------------------------------


async def capabilities(call: Call) -> Response:
    """`AgentCapabilities`: what is true of every agent here, and what this one can."""
    info = call.mailbox.agents.described(call.ids["agent_id"])
    decides = "decisions" in info.capabilities
    identity: Shown = {"name": info.title or info.agent_id, "type": "awaken"}
    if info.description:
        identity["description"] = info.description
    found: Shown = {
        "identity": identity,
        "transport": {"streaming": True, "websocket": False, "httpBinary": False, "resumable": True},
        "tools": {"clientProvided": "client_tools" in info.capabilities},
        "state": {"snapshots": True, "deltas": True, "persistentState": True},
        "humanInTheLoop": {
            "supported": decides,
            "approvals": decides,
            "interrupts": decides,
            "approveWithEdits": decides,
        },
    }
    if info.output_schema is not None:
        found["output"] = {"structuredOutput": True}
    return json_response(found)


# --- the operations ---------------------------------------------------------------------------------------------------

_STREAM: Final = "text/event-stream"
_ROOT: Final = "/v1/ag-ui"
_RUN_PROBLEMS: Final = (
    "thread_not_found", "thread_deleted", "unknown_agent", "invalid_id", "already_exists", "already_accepted",
    "queue_full", "thread_busy", "not_supported", "delivery_blocked", "state_too_large", "too_many_streams",
)  # fmt: skip


def _running(path: str, id: str, on: str) -> Operation:
    return Operation(
        method="POST",
        path=f"{_ROOT}{path}",
        id=id,
        summary=f"Run {on}, as AG-UI's HttpAgent does",
        handler=run,
        body=RunInput,
        carries_messages=True,
        answers={200: _STREAM},
        problems=_RUN_PROBLEMS,
    )


OPERATIONS: Final = (
    _running("/run", "ag_ui_run", "an agent"),
    _running("/runs", "ag_ui_runs", "an agent"),
    _running("/agents/{agent_id}/run", "ag_ui_agent_run", "one agent"),
    _running("/agents/{agent_id}/runs", "ag_ui_agent_runs", "one agent"),
    Operation(
        method="GET",
        path=f"{_ROOT}/agents/{{agent_id}}/capabilities",
        id="ag_ui_capabilities",
        summary="Read what an agent can do, in AG-UI's words",
        handler=capabilities,
        answers={200: dict[str, Any]},
        problems=("agent_not_found",),
    ),
    Operation(
        method="GET",
        path=f"{_ROOT}/threads/{{thread_id}}/stream",
        id="ag_ui_join",
        summary="Join what is under way on a thread, or come back to it",
        handler=join,
        answers={200: _STREAM, 204: None},
        problems=("thread_not_found", "invalid_id", "cursor_mismatch", "too_many_streams"),
    ),
    Operation(
        method="POST",
        path=f"{_ROOT}/threads/{{thread_id}}/stop",
        id="ag_ui_stop",
        summary="Stop what the thread is executing",
        handler=cancel_thread,
        query=Stopping,
        answers={200: CancelResource, 202: CancelResource},
        problems=("thread_not_found", "invalid_id"),
    ),
    Operation(
        method="POST",
        path=f"{_ROOT}/threads/{{thread_id}}/interrupt",
        id="ag_ui_interrupt",
        summary="Stop what the thread is executing, and clear its queue",
        handler=interrupt_thread,
        query=Stopping,
        answers={200: InterruptResource, 202: InterruptResource},
        problems=("thread_not_found", "invalid_id"),
    ),
)
