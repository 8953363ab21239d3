"""What a client of the AI SDK asks for: chat, come back, stop, and the conversation so far.

Above: the application. Below: the gateway, and the operations of this API for stopping.

Source: docs/howto/use-the-ai-sdk.md; SRV-031, SRV-032.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any, Final, Literal, cast

from msgspec.structs import replace
from starlette.responses import Response

from awaken.domain.errors import ThreadBusy, ThreadNotFound, ValidationError
from awaken.domain.ids import MessageId, RunId, ThreadId, derived_id
from awaken.domain.message import Message, Role
from awaken.domain.run import Adapter, RunOptions, RunStatus, Trace
from awaken.domain.thread import Thread
from awaken.domain.ticket import Ticket, Verdict
from awaken.http.operation import Call, Operation, json_response
from awaken.http.query import Query
from awaken.http.routes.runs import Stopping
from awaken.http.routes.threads import cancel_thread, interrupt_thread
from awaken.http.wire import CancelResource, InterruptResource
from awaken.protocols.ai_sdk.encoder import AiSdkEncoder, Dialect, frames_of
from awaken.protocols.ai_sdk.history import Answered, Known, came_between, runs_with_open_calls, settling, shown
from awaken.protocols.ai_sdk.wire import (
    Chat,
    Part,
    UIMessage,
    answer_id,
    answers_in,
    call_id,
    is_answered,
    messages_of,
    parts_of,
)
from awaken.protocols.attachments import check_foreign
from awaken.protocols.contract import shown_call
from awaken.protocols.gateway import Gateway, Incoming, told
from awaken.protocols.turn_index import Turn
from awaken.store.contract import MAX_PAGE, DispatchQuery, TicketQuery

DIALECT_HEADER: Final = b"x-ai-sdk-dialect"
HEADERS: Final = {"x-vercel-ai-ui-message-stream": "v1"}


class Dialected(Query, frozen=True, kw_only=True):
    dialect: Literal["6", "7"] | None = None
    """The version of `ai` that reads the answer; also as the header `x-ai-sdk-dialect`."""


def _dialect(call: Call, named: str | int | None) -> Dialect:
    """Raises ValidationError for a version that is not spoken here."""
    said = named or call.header(DIALECT_HEADER) or "6"
    if str(said) not in ("6", "7"):
        raise ValidationError(
            f"the dialect is 6 or 7, the version of `ai`, and not {said!a:.20}", loc=("header", "x-ai-sdk-dialect")
        )
    return cast(Dialect, int(said))


# --- chatting ---------------------------------------------------------------------------------------------------------


async def chat(call: Call) -> Response:
    """What the client says, and the stream of the answer."""
    asked = call.body(Chat)
    version = _dialect(call, asked.dialect)
    gateway = Gateway(call, Adapter.AI_SDK)
    chat_id = call.ids.get("thread_id") or asked.chat_id
    agent_id = call.ids.get("agent_id") or asked.agent_id
    thread = await gateway.load_thread(chat_id)
    if thread is not None and asked.trigger == "regenerate-message":
        turn: Turn | None = await _regenerated(call, gateway, thread, asked, agent_id)
    else:
        turn = await _entered(call, gateway, thread, asked, chat_id, agent_id)
    return await _answer(call, gateway, asked, turn, version, chat_id)


async def _entered(
    call: Call, gateway: Gateway, thread: Thread | None, asked: Chat, chat_id: str, agent_id: str | None
) -> Turn | None:
    messages = messages_of(asked.messages)
    answers: tuple[Verdict, ...] = ()
    if thread is not None and asked.edited is not None:
        messages = (*messages[:-1], await _rewound(call, gateway, thread.thread_id, asked, messages[-1]))
    elif thread is not None:
        answers = await _answers(gateway, thread, asked)
    return await gateway.enter(
        Incoming(
            messages=messages,
            answers=answers,
            thread_id=chat_id,
            agent_id=agent_id,
            context=asked.context,
            state=asked.state,
            client_tools=tuple(asked.client_tools),
            metadata=asked.metadata or {},
            # Decisions let a run go on; whoever interrupts it has no use for them.
            strategy="enqueue" if answers else asked.multitask_strategy or "interrupt",
            on_disconnect=asked.on_disconnect or "continue",
        )
    )


async def _rewound(call: Call, gateway: Gateway, thread_id: ThreadId, asked: Chat, message: Message) -> Message:
    """A message that the user says otherwise now, under an id of its own: the log keeps what was said before. All that
    the client has not kept is hidden. Asked again, after a part of it or all, it does the rest.

    Raises:
        ThreadBusy: What runs does not let go.
    """
    stored = await call.reads.load_message(call.scope, thread_id, message.id)
    if stored is None:
        return message
    kept = {each.id for each in asked.messages[:-1]}
    page = await _page(call, gateway, thread_id, 6)
    place = max([index for index, each in enumerate(page, 1) if each.shown["id"] in kept], default=0)
    after = page[place] if place < len(page) else None
    if after is not None and after.shown["id"] != message.id and after.shown["parts"] == parts_of(message.content):
        return replace(message, id=MessageId(after.shown["id"]))  # that is this very edit
    # Whatever could be refused later is refused now, before anything is hidden.
    check_foreign([message], "messages")
    told(asked.context)
    agent_id = call.ids.get("agent_id") or asked.agent_id
    if agent_id is not None:
        call.mailbox.agents.resolve(agent_id, None)
    stopped = await gateway.interrupt(thread_id, wait_s=call.service.settings.cancel_wait_s)
    if stopped.cancel in ("requested", "acknowledged"):
        raise ThreadBusy(thread_id, stopped.active_run_id)
    if after is not None:
        visible = await gateway.messages(thread_id)
        first = next((each.seq or 0 for each in visible if each.message.id in after.message_ids), 0)
        for each in reversed(visible):
            if each.seq is not None and each.seq >= first > 0 and each.message.role is not Role.TOOL:
                await call.mailbox.threads.hide(call.scope, thread_id, each.message.id)
    named = derived_id("edited", message.id, "" if after is None else after.shown["id"], repr(message.content))
    return replace(message, id=MessageId(named))


async def _answers(gateway: Gateway, thread: Thread, asked: Chat) -> tuple[Verdict, ...]:
    answer = asked.last_answer
    if answer is None or not thread.open_ticket_count or not any([is_answered(part) for part in answer.parts]):
        return ()
    return answers_in(answer, await gateway.open_tickets(thread.thread_id))


async def _regenerated(call: Call, gateway: Gateway, thread: Thread, asked: Chat, agent_id: str | None) -> Turn:
    """A run that answers anew. What it answers is said by the message that is to go, or by the last one that stays.

    Raises:
        ValidationError: The conversation has no such message, or nothing to answer.
    """
    page = await _page(call, gateway, thread.thread_id, 6)
    options = RunOptions(
        state=asked.state,
        client_tools=tuple(asked.client_tools),
        on_disconnect=asked.on_disconnect or "continue",
    )
    accepted = await call.mailbox.again.regenerate(
        call.scope,
        thread.thread_id,
        message_id=_first_of_answer(page, asked),
        agent_id=agent_id,
        options=options,
        metadata=asked.metadata,
        trace=call.trace(Trace(adapter=Adapter.AI_SDK)),
    )
    return await gateway.latest_turn(accepted.run)


def _first_of_answer(page: Sequence[Answered], asked: Chat) -> str | None:
    """The first message of the log in the answer that is to be made anew. None: it is the end that has none yet."""
    ids = [each.shown["id"] for each in page]
    kept = next((each.id for each in reversed(asked.messages) if each.role == "user"), None)
    if asked.message_id in ids:
        place = ids.index(asked.message_id)
    elif kept in ids:
        place = ids.index(kept)
    elif asked.message_id is None and not asked.messages:
        place = max([index for index, each in enumerate(page) if each.shown["role"] == "assistant"], default=-1)
    else:
        raise ValidationError(
            f"the conversation has no message {asked.message_id or kept!r:.140}; load it again",
            loc=("body", "messageId"),
        )
    for each in page[max(place, 0) :]:
        if each.shown["role"] == "assistant" and each.message_ids:
            return each.message_ids[0]
    return None


async def _answer(
    call: Call, gateway: Gateway, asked: Chat, turn: Turn | None, version: Dialect, chat_id: str
) -> Response:
    """The stream of the turn, from where the client needs it. It goes on with its message, or begins a new one."""
    mine = asked.continued
    if turn is not None:
        turns = await gateway.turns_of(turn.run) if turn.number > 1 else [turn]
        first = _first_turn(turns, turn)
        id = answer_id(turn.run.run_id, first.number, first.message_ids)
        if mine is None:
            return await _watched(gateway, first, version, until=turn.number)
        if mine.id == id and _has_all_before(mine, turns, turn, first):
            return await _watched(gateway, turn, version)
    return await _settled(call, gateway, mine, version, chat_id)


def _first_turn(turns: Sequence[Turn], turn: Turn) -> Turn:
    """The turn with which the message began that this one goes on with: since the last input."""
    first = turn
    while first.number > 1 and first.why != "input":
        first = turns[first.number - 2]
    return first


def _has_all_before(mine: UIMessage, turns: Sequence[Turn], turn: Turn, first: Turn) -> bool:
    """Whether the client has the calls that this turn goes on with."""
    if turn.number == first.number:
        return False  # it has some of this very turn
    ending = turns[turn.number - 2].ending
    known = {call_id(part) for part in mine.parts}
    return ending is not None and all([shown_call(ticket)[0] in known for ticket in ending.tickets])


async def _watched(gateway: Gateway, turn: Turn, version: Dialect, *, until: int = 0, place: Any = None) -> Response:
    make = partial(AiSdkEncoder, version=version, until=until)
    return await gateway.watch(turn, make, place=place, headers=HEADERS)


async def _settled(call: Call, gateway: Gateway, mine: UIMessage | None, version: Dialect, chat_id: str) -> Response:
    """Nothing is new, and nothing under way that the client could go on with: a whole stream that says so. Its calls
    are brought into their true state, so that it does not send the same again by itself.
    """
    chunks: list[dict[str, Any]] = [{"type": "start"}]
    is_waiting = False
    if mine is not None:
        thread = await gateway.load_thread(chat_id)
        page = [] if thread is None else await _page(call, gateway, thread.thread_id, version)
        true: list[Part] = next((each.shown["parts"] for each in page if each.shown["id"] == mine.id), list[Part]())
        is_waiting = thread is not None and thread.open_ticket_count > 0
        chunks = [{"type": "start", "messageId": mine.id}, *settling(mine.parts, true)]
    chunks.append({"type": "finish", "finishReason": "tool-calls" if is_waiting else "other"})
    return gateway.say(frames_of(chunks), headers=HEADERS)


# --- coming back ------------------------------------------------------------------------------------------------------


async def resume(call: Call) -> Response:
    """The message that is under way, from its beginning; with `Last-Event-ID` the rest of the one that it names."""
    gateway, version = Gateway(call, Adapter.AI_SDK), _dialect(call, call.query(Dialected).dialect)
    thread_id = call.thread_id
    found = await gateway.resumed(thread_id)
    turn = found[0] if found is not None else await gateway.current(thread_id)
    if turn is None:
        return Response(status_code=204)
    turns = await gateway.turns_of(turn.run) if turn.number > 1 or turn.ending is not None else [turn]
    if found is not None and call.header(b"last-event-id"):
        return await _watched(gateway, turn, version, until=_last_turn(turns, turn), place=found[1])
    return await _watched(gateway, _first_turn(turns, turn), version, until=turn.number)


def _last_turn(turns: Sequence[Turn], turn: Turn) -> int:
    """The turn with which its message ends, so far."""
    last = turn.number
    while last < len(turns) and turns[last].why != "input":
        last += 1
    return last


# --- the conversation -------------------------------------------------------------------------------------------------


async def history(call: Call) -> Response:
    """The conversation as `UIMessage[]`."""
    gateway, version = Gateway(call, Adapter.AI_SDK), _dialect(call, call.query(Dialected).dialect)
    thread = await gateway.load_thread(call.thread_id)
    if thread is None:
        raise ThreadNotFound(call.thread_id)
    return json_response([each.shown for each in await _page(call, gateway, thread.thread_id, version)])


async def _page(call: Call, gateway: Gateway, thread_id: ThreadId, version: Dialect) -> list[Answered]:
    messages = await gateway.messages(thread_id)
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
    return shown(thread_id, messages, tickets, Known(frozenset(over), frozenset(inputs)), version)


# --- the operations ---------------------------------------------------------------------------------------------------

_STREAM: Final = "text/event-stream"
_CHAT_PROBLEMS: Final = (
    "thread_not_found", "thread_deleted", "message_not_found", "unknown_agent", "invalid_id", "already_exists",
    "already_accepted", "queue_full", "thread_busy", "not_supported", "delivery_blocked", "state_too_large",
    "ticket_not_found", "decision_conflict", "ticket_expired", "ticket_withdrawn", "decision_rejected_by_schema",
    "action_not_allowed", "too_many_streams",
)  # fmt: skip
_ROOT: Final = "/v1/ai-sdk"


def _chatting(path: str, id: str, on: str) -> Operation:
    return Operation(
        method="POST",
        path=f"{_ROOT}{path}",
        id=id,
        summary=f"Chat with {on}, as the AI SDK's transport does",
        handler=chat,
        body=Chat,
        carries_messages=True,
        answers={200: _STREAM},
        problems=_CHAT_PROBLEMS,
    )


def _beside(prefix: str, id: str, stop: str) -> tuple[Operation, ...]:
    """What is done to a chat beside chatting."""
    return (
        Operation(
            method="GET",
            path=f"{_ROOT}{prefix}/{{thread_id}}/stream",
            id=f"ai_sdk_resume{id}",
            summary="Come back to the message that is under way",
            handler=resume,
            query=Dialected,
            answers={200: _STREAM, 204: None},
            problems=("invalid_id", "cursor_mismatch", "too_many_streams"),
        ),
        Operation(
            method="POST",
            path=f"{_ROOT}{prefix}/{{thread_id}}/{stop}",
            id=f"ai_sdk_stop{id}",
            summary="Stop what the chat is executing",
            handler=cancel_thread,
            query=Stopping,
            answers={200: CancelResource, 202: CancelResource},
            problems=("thread_not_found", "invalid_id"),
        ),
        Operation(
            method="GET",
            path=f"{_ROOT}{prefix}/{{thread_id}}/messages",
            id=f"ai_sdk_messages{id}",
            summary="Read a chat as the AI SDK's messages",
            handler=history,
            query=Dialected,
            answers={200: list[dict[str, Any]]},
            problems=("thread_not_found", "invalid_id"),
        ),
    )


OPERATIONS: Final = (
    _chatting("/chat", "ai_sdk_chat", "an agent"),
    *_beside("/chat", "", "stop"),
    _chatting("/agents/{agent_id}/chat", "ai_sdk_agent_chat", "one agent"),
    *_beside("/agents/{agent_id}/chat", "_of_agent", "stop"),
    _chatting("/agents/{agent_id}/runs", "ai_sdk_agent_run", "one agent"),
    _chatting("/threads/{thread_id}/runs", "ai_sdk_thread_run", "a thread"),
    *_beside("/threads", "_of_thread", "cancel"),
    Operation(
        method="POST",
        path=f"{_ROOT}/threads/{{thread_id}}/interrupt",
        id="ai_sdk_interrupt",
        summary="Stop what the chat is executing, and clear its queue",
        handler=interrupt_thread,
        query=Stopping,
        answers={200: InterruptResource, 202: InterruptResource},
        problems=("thread_not_found", "invalid_id"),
    ),
)
