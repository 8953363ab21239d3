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

from awaken.domain.errors import AwakenError, ThreadNotFound, ValidationError
from awaken.domain.message import Message
from awaken.domain.run import Adapter
from awaken.domain.thread import Thread
from awaken.domain.ticket import Verdict
from awaken.http.operation import Call, Operation, json_response
from awaken.http.problems import problem_of
from awaken.http.query import Query
from awaken.http.routes.runs import Stopping
from awaken.http.routes.threads import cancel_thread, interrupt_thread
from awaken.http.wire import CancelResource, InterruptResource
from awaken.protocols.ai_sdk.again import regenerated, rewound
from awaken.protocols.ai_sdk.encoder import AiSdkEncoder, Dialect, frames_of
from awaken.protocols.ai_sdk.history import following, settling
from awaken.protocols.ai_sdk.reading import read_page, visible_messages
from awaken.protocols.ai_sdk.wire import (
    SHOWN_KINDS,
    Chat,
    Part,
    UIMessage,
    agrees,
    answer_id,
    answered_parts,
    call_id,
    messages_of,
    ticket_of,
    verdict_of,
)
from awaken.protocols.contract import shown_call
from awaken.protocols.foreign import new_words, says_nothing
from awaken.protocols.gateway import Gateway, Incoming
from awaken.protocols.turn_index import Turn
from awaken.store.contract import MAX_PAGE, TicketQuery

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
        turn: Turn | None = await regenerated(call, gateway, thread.thread_id, asked)
        return await _answer(call, gateway, asked, turn, version, chat_id)
    try:
        turn = await _entered(call, gateway, thread, asked, chat_id, agent_id)
    except AwakenError as error:
        problem = problem_of(error)
        if asked.continued is None or problem.code not in _NO_ANSWER:
            raise
        # A page that is told no more than that goes on with what it has made of its calls itself.
        return await _settled(call, gateway, asked.continued, version, chat_id, problem.detail)
    return await _answer(call, gateway, asked, turn, version, chat_id)


_NO_ANSWER: Final = frozenset(
    {"decision_conflict", "ticket_expired", "ticket_withdrawn", "decision_rejected_by_schema", "action_not_allowed"}
)
"""Why an answer of a page cannot be taken: it was given otherwise, comes too late, or is none."""


async def _entered(
    call: Call, gateway: Gateway, thread: Thread | None, asked: Chat, chat_id: str, agent_id: str | None
) -> Turn | None:
    messages = await _sent(call, thread, asked)
    says_more, answers = True, list[Verdict]()
    if thread is not None and asked.edited is not None:
        messages = (*messages[:-1], await rewound(call, gateway, thread.thread_id, asked, messages[-1]))
    elif thread is not None:
        new = await new_words(call.reads, call.scope, thread.thread_id, messages)
        says_more = not all([says_nothing(each) for each in new])
        answers = await _answers(call, gateway, thread, asked, beside=says_more)
    incoming = Incoming(
        messages=messages,
        answers=tuple(answers),
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
    try:
        return await gateway.enter(incoming)
    except AwakenError as error:
        if not answers or not says_more or problem_of(error).code not in _NO_ANSWER:
            raise
    # The page sends what stands in its parts with every message. What cannot be taken must not be in the way of these.
    strategy = asked.multitask_strategy or "interrupt"
    return await gateway.enter(replace(incoming, answers=(), strategy=strategy))


async def _sent(call: Call, thread: Thread | None, asked: Chat) -> tuple[Message, ...]:
    """What the client sends. A message that the thread has is taken as known, whatever the client makes of it: it may
    have come another way, with a file that cannot come this way.
    """
    try:
        return messages_of(asked.messages)
    except ValidationError:
        if thread is None:
            raise
        stored = await visible_messages(call, thread.thread_id)
        known = {each.message.id for each in stored} - {"" if asked.edited is None else asked.edited.id}
        return messages_of(asked.messages, known=known)


async def _answers(call: Call, gateway: Gateway, thread: Thread, asked: Chat, *, beside: bool) -> list[Verdict]:
    """Decisions about open tickets, as the page has put them into its last answer. `beside`: new messages, which count
    whatever stands in the parts; without any the answers are what the page wants.

    Raises:
        ValidationError: It is no answer.
        As `Gateway.confirm`, for a ticket that is closed.
    """
    parts = [] if asked.last_answer is None else answered_parts(asked.last_answer)
    if not parts:
        return []
    open_ones = await gateway.open_tickets(thread.thread_id) if thread.open_ticket_count else ()
    found: dict[str, Verdict] = {}
    for part in parts:
        ticket = ticket_of(part, open_ones)
        if ticket is not None:
            try:
                verdict = verdict_of(part, ticket)
            except ValidationError:
                if not beside:
                    raise
                continue
            if verdict is not None:
                found[ticket.ticket_id] = verdict
        elif not beside and asked.continued is not None:
            await _confirm(call, gateway, thread, part)
    return [*found.values()]


async def _confirm(call: Call, gateway: Gateway, thread: Thread, part: Part) -> None:
    """See to it that a ticket which is closed was decided as the page has it. Raises as `Gateway.confirm`."""
    query = TicketQuery(thread_id=thread.thread_id, descending=True, limit=MAX_PAGE)
    ticket = ticket_of(part, reversed((await call.reads.list_tickets(call.scope, query)).items))
    verdict = None if ticket is None or ticket.is_open else verdict_of(part, ticket)
    if ticket is not None and verdict is not None and not agrees(verdict, ticket):
        await gateway.confirm(ticket, verdict)


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
    asked = [] if ending is None else [each for each in ending.tickets if each.kind in SHOWN_KINDS]
    return ending is not None and all([shown_call(ticket)[0] in known for ticket in asked])


async def _watched(gateway: Gateway, turn: Turn, version: Dialect, *, until: int = 0, place: Any = None) -> Response:
    make = partial(AiSdkEncoder, version=version, until=until)
    return await gateway.watch(turn, make, place=place, headers=HEADERS)


async def _settled(
    call: Call, gateway: Gateway, mine: UIMessage | None, version: Dialect, chat_id: str, why: str | None = None
) -> Response:
    """Nothing is new, and nothing under way that the client could go on with: a whole stream that says so. Its calls
    are brought into their true state, so that it does not send the same again by itself. `why`: what it sent was
    refused.
    """
    chunks: list[dict[str, Any]] = [{"type": "start"}]
    is_waiting = False
    if mine is not None:
        thread = await gateway.load_thread(chat_id)
        page = [] if thread is None else await read_page(call, thread.thread_id, version)
        true: list[Part] = next((each.shown["parts"] for each in page if each.shown["id"] == mine.id), list[Part]())
        is_waiting = thread is not None and thread.open_ticket_count > 0
        chunks = [{"type": "start", "messageId": mine.id}, *settling(mine.parts, true, version)]
        chunks += following(mine.parts, true)
    if why is not None:
        chunks += [{"type": "error", "errorText": why}, {"type": "finish", "finishReason": "error"}]
    else:
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
    return json_response([each.shown for each in await read_page(call, thread.thread_id, version)])


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
