"""Responses, chat completions and models, as OpenAI's clients ask for them.

Above: `mounting`. Below: the gateway, and encoders of a run's log.
Holds: nothing is kept: a response is a turn of a run, found by the id of the dispatch that began it, on any server, as
long as its log is there.

Source: docs/howto/use-openai-clients.md; OR-001 to OR-008.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from functools import partial
from typing import Any, Final

from starlette.responses import Response

from awaken.domain.errors import AlreadyExists, RunNotOpen, ValidationError
from awaken.domain.ids import RunId, ThreadId, TicketId
from awaken.domain.message import (
    Audio,
    Base64Source,
    Block,
    Document,
    Image,
    Message,
    Role,
    Text,
    Video,
)
from awaken.domain.run import Adapter, Run
from awaken.domain.server_event import ticket_opened
from awaken.domain.ticket import Ticket, Verdict
from awaken.http.operation import Call, Handler, Method, Operation, json_response
from awaken.http.problems import Problem
from awaken.http.query import Query
from awaken.http.settings import MAX_WAIT_S
from awaken.http.submission import Body
from awaken.protocols.foreign import last_words, without_systems
from awaken.protocols.gateway import Gateway, Incoming, has_begun
from awaken.protocols.open_responses.branches import branched, is_older
from awaken.protocols.open_responses.chat import ChatEncoder, decision_path, plainly, question_of
from awaken.protocols.open_responses.encoder import Answer, OpenResponsesEncoder
from awaken.protocols.open_responses.repeats import Key, key_of, once, repeated
from awaken.protocols.open_responses.wire import (
    ASKED,
    ERRORS,
    Asking,
    ChatBody,
    DialectQuery,
    Item,
    ItemsQuery,
    ReadQuery,
    ResponseBody,
    answer_in,
    answered_at_end,
    chat_messages,
    client_tools,
    dispatch_named,
    messages_of,
    question_named,
    verdicts_of,
)
from awaken.protocols.turn_index import Turn
from awaken.store.contract import MAX_PAGE, TicketQuery


def _gateway(call: Call) -> Gateway:
    return Gateway(call, Adapter.RESPONSES)


# --- asking -----------------------------------------------------------------------------------------------------------


@once
async def create_response(call: Call) -> Response:
    """A response: streamed, waited for, or at once, where it is to be made in the background."""
    asked, gateway = call.body(ResponseBody), _gateway(call)
    turn = await _entered(call, gateway, asked)
    if asked.stream:
        return await gateway.watch(turn, OpenResponsesEncoder)
    if not asked.background:
        await _over(call, turn)
    return json_response((await _answer(gateway, turn)).shown())


async def _entered(call: Call, gateway: Gateway, asked: ResponseBody) -> Turn:
    asked.check()
    items, key, agent_id = asked.items, key_of(call, asked), _model_named(call, asked.model)
    messages, answers = messages_of(items), verdicts_of(items)
    thread_id, before, branches = asked.conversation_id, None, False
    if asked.previous_response_id is not None:
        before = await _found(call, gateway, asked.previous_response_id)
        if thread_id not in ("", before.run.thread_id):
            raise ValidationError(
                "the previous response belongs to another conversation; name one of the two",
                loc=("body", "conversation"),
            )
        if not thread_id and not answers:
            branches = await is_older(call, before, len(await gateway.turns_of(before.run)))
        thread_id = before.run.thread_id
    elif not thread_id:
        before = await _answered_turn(call, gateway, items)
        if before is not None:
            thread_id, messages = before.run.thread_id, ()
        elif messages and messages[-1].role is Role.TOOL:
            raise _no_call(messages[-1], "keep the `id` of its function_call, or name the response before it", "input")
    refusal: ValidationError | None = None
    if not branches and await gateway.load_thread(thread_id) is not None:
        try:
            messages, answers = await _answering(gateway, thread_id, messages, answers)
        except ValidationError as error:
            refusal = error
    new_id = "" if key is None else key.id
    # Only now: what a request like this one has done by now is seen by it, and what it does later is seen below.
    known = None if key is None else await repeated(call, gateway, key, thread_id)
    if known is not None:
        return known
    if refusal is not None:
        raise refusal
    if branches and before is not None:
        thread_id = await branched(call, before, new_id)
    incoming = Incoming(
        messages=messages,
        answers=answers,
        thread_id=thread_id or new_id,
        agent_id=agent_id,
        run_id=new_id or None,
        context=asked.instructions,
        client_tools=client_tools(asked.tools),
        metadata=asked.metadata or {},
        overrides=asked.echoed(),
        on_completion="delete" if asked.store is False and not thread_id else "keep",
        wire_run_id=None if key is None else key.name,
    )
    turn = await _accepted(call, gateway, key, incoming)
    if turn is None and answers:
        turn = await _answered_before(call, gateway, thread_id, None if before is None else before.run, answers)
    if turn is None:
        raise ValidationError(
            "there is no message of a user, and no answer to anything that is open", loc=("body", "input")
        )
    return turn


async def _accepted(call: Call, gateway: Gateway, key: Key | None, asked: Incoming) -> Turn | None:
    """As `Gateway.enter`; of several requests at once under one key the first counts."""
    try:
        return await gateway.enter(asked)
    except AlreadyExists:
        known = None if key is None else await repeated(call, gateway, key, asked.thread_id)
        if known is None:
            raise
        return known


def _model_named(call: Call, id: str | None) -> str | None:
    """The agent that is this model. Raises Problem: `model_not_found`."""
    if id and not call.mailbox.agents.has(id):
        raise Problem("model_not_found", f"there is no model {id!a:.140}; there are the agents of this server")
    return id


async def _answered_turn(call: Call, gateway: Gateway, items: Sequence[Item]) -> Turn | None:
    """The newest turn of the run that the items answer at their end."""
    for named in answered_at_end(items):
        ticket = await call.reads.load_ticket(call.scope, TicketId(named))
        run = await call.reads.load_run(call.scope, RunId(named) if ticket is None else ticket.run_id)
        if run is not None:
            return await gateway.latest_turn(run)
    return None


async def _answering(
    gateway: Gateway, thread_id: str, messages: tuple[Message, ...], answers: tuple[Verdict, ...]
) -> tuple[tuple[Message, ...], tuple[Verdict, ...]]:
    """Answers to questions, as the values that they stand for. A text that is all there is to a request is one, where
    the thread waits for the answer to a question.

    Raises:
        ValidationError: It waits for several, and the text does not say which one it is for.
    """
    text = None if answers else _only_text(messages)
    if not answers and text is None:
        return messages, answers
    asking = [each for each in await gateway.open_tickets(thread_id) if each.asked.kind == "input"]
    if text is None:
        return messages, tuple([_as_asked(each, asking) for each in answers])
    if len(asking) > 1:
        named = ", ".join([f"{ASKED}{each.ticket_id} ({each.asked.message or ''!a:.80})" for each in asking])
        raise ValidationError(
            f"{len(asking)} questions are open, and the text does not say which one it answers: {named}. Answer each by"
            " its id, in an item function_call_output with that call_id, or a message of a tool with that tool_call_id",
            loc=("body", "input"),
        )
    return ((), (answer_in(text, asking[0]),)) if asking else (messages, answers)


def _only_text(messages: Sequence[Message]) -> str | None:
    """What a user says in words, where that is all there is."""
    said = [each for each in messages if each.role is Role.USER]
    if len(said) != 1 or not said[0].content or not all([isinstance(block, Text) for block in said[0].content]):
        return None
    return said[0].text


def _as_asked(answer: Verdict, asking: Sequence[Ticket]) -> Verdict:
    for ticket in asking:
        if isinstance(answer.result, str) and _is_about(answer, ticket):
            return answer_in(answer.result, ticket)
    return answer


def _no_call(answer: Message, instead: str, field: str) -> ValidationError:
    return ValidationError(
        f"there is no call {answer.tool_call_id!a:.80} that waits for an answer: {instead}. A conversation from"
        " elsewhere ends with a message of its user",
        loc=("body", field),
    )


async def _answered_before(
    call: Call, gateway: Gateway, thread_id: str, run: Run | None, answers: Sequence[Verdict]
) -> Turn | None:
    """The turn that went on with these answers, where they were given before: a client that has lost its connection
    asks again. While the run waits for more answers, it is the turn that has asked. Without a `run` it is the thread's
    last one. Raises as `Gateway.confirm`.
    """
    run = run or await call.reads.latest_run(call.scope, ThreadId(thread_id))
    found: set[str] = set()
    for ticket in () if run is None else await _tickets(call, run):
        for answer in answers:
            if _is_about(answer, ticket):
                await gateway.confirm(ticket, answer)
                found.add(ticket.ticket_id)
    if run is None or not found:
        return None
    turns = await gateway.turns_of(run)
    asked = [
        turn.number
        for turn in turns
        if turn.ending is not None and any([each.ticket_id in found for each in turn.ending.tickets])
    ]
    return turns[min(max(asked, default=len(turns)), len(turns) - 1)]


def _is_about(answer: Verdict, ticket: Ticket) -> bool:
    if answer.ticket_id:
        return answer.ticket_id == ticket.ticket_id
    return bool(answer.tool_call_id) and answer.tool_call_id == ticket.asked.tool_call_id


async def _tickets(call: Call, run: Run) -> list[Ticket]:
    return [*(await call.reads.list_tickets(call.scope, TicketQuery(run_id=run.run_id, limit=MAX_PAGE))).items]


async def _over(call: Call, turn: Turn) -> None:
    """Come back when the turn has ended, or after a while."""
    if turn.ending is None:
        waiting = call.mailbox.wait(call.scope, turn.run.run_id, timeout_s=MAX_WAIT_S, until_parked=True)
        await call.while_connected(waiting)


# --- one response -----------------------------------------------------------------------------------------------------


async def _found(call: Call, gateway: Gateway, id: str) -> Turn:
    """The turn that is this response.

    Raises:
        Problem: `not_found`.
    """
    dispatch_id = dispatch_named(id)
    dispatch = None if dispatch_id is None else await call.reads.load_dispatch(call.scope, dispatch_id)
    run = None if dispatch is None else await call.reads.load_run(call.scope, dispatch.run_id)
    if run is not None and not run.hidden:
        for turn in await gateway.turns_of(run):
            if turn.dispatch_id == dispatch_id:
                return turn
    raise Problem("not_found", f"there is no response {id!a:.140}")


async def _answer(gateway: Gateway, turn: Turn) -> Answer:
    encoder = await gateway.read(turn.run, partial(OpenResponsesEncoder, keeps=turn.number))
    assert isinstance(encoder, OpenResponsesEncoder), "it was made of that class"
    assert encoder.kept is not None, "the log has the beginning of every turn"
    return encoder.kept


async def get_response(call: Call) -> Response:
    """A response as it is, or what is streamed of it behind a place."""
    gateway, query = _gateway(call), call.query(ReadQuery)
    turn = await _found(call, gateway, call.ids["response_id"])
    if query.stream:
        return await gateway.watch(turn, partial(OpenResponsesEncoder, after=query.starting_after))
    return json_response((await _answer(gateway, turn)).shown())


async def cancel_response(call: Call) -> Response:
    """Stop it, whoever asked for it and however. One that is over stays as it is."""
    gateway = _gateway(call)
    turn = await _found(call, gateway, call.ids["response_id"])
    if turn.ending is None:
        with suppress(RunNotOpen):  # it has ended meanwhile
            await call.mailbox.cancel(call.scope, turn.run.run_id, wait_s=call.service.settings.cancel_wait_s)
    return json_response((await _answer(gateway, turn)).shown())


async def delete_response(call: Call) -> Response:
    """Its run is left out from now on; the conversation stays as it is."""
    id = call.ids["response_id"]
    turn = await _found(call, _gateway(call), id)
    await call.mailbox.threads.hide_run(call.scope, turn.run)
    return json_response({"id": id, "object": "response", "deleted": True})


async def list_input_items(call: Call) -> Response:
    """What a response was asked with: messages, and answers to what the response before it had asked."""
    gateway, query = _gateway(call), call.query(ItemsQuery)
    turn = await _found(call, gateway, call.ids["response_id"])
    answer = await _answer(gateway, turn)
    items: list[Item] = [*answer.decided]
    named = turn.run.request.input_message_ids if turn.number == 1 else turn.message_ids
    for message_id in named:
        stored = await call.reads.load_message(call.scope, turn.run.thread_id, message_id)
        if stored is not None and stored.message.role is Role.USER:
            items.append(_input_item(stored.message))
    if query.order == "desc":
        items.reverse()
    ids = [each["id"] for each in items]
    start = ids.index(query.after) + 1 if query.after in ids else 0
    page = items[start : start + query.limit]
    told: dict[str, Any] = {
        "object": "list",
        "data": page,
        "first_id": page[0]["id"] if page else None,
        "last_id": page[-1]["id"] if page else None,
        "has_more": start + query.limit < len(items),
    }
    return json_response(told)


def _input_item(message: Message) -> Item:
    content = [part for part in map(_part, message.content) if part is not None]
    return {"id": message.id, "type": "message", "role": "user", "status": "completed", "content": content}


def _part(block: Block) -> Item | None:
    match block:
        case Text():
            return {"type": "input_text", "text": block.text}
        case Image():
            return {"type": "input_image", "detail": "auto", "file_id": None, "image_url": _url_of(block)}
        case Audio() | Video() | Document():
            url = _url_of(block)
            told: Item = {"type": "input_file", "file_id": None, "filename": block.title}
            return told | ({"file_data": url} if url.startswith("data:") else {"file_url": url})
        case _:
            return None


def _url_of(block: Image | Audio | Video | Document) -> str:
    source = block.source
    return f"data:{source.media_type};base64,{source.data}" if isinstance(source, Base64Source) else source.url


# --- chat completions -------------------------------------------------------------------------------------------------


@once
async def create_completion(call: Call) -> Response:
    """A chat completion, streamed or not."""
    asked, gateway = call.body(ChatBody), _gateway(call)
    if (asked.n or 1) != 1:
        raise ValidationError("an agent gives one answer; leave n out", loc=("body", "n"))
    turn = await _completed(call, gateway, asked)
    if asked.stream:
        with_usage = bool((asked.stream_options or {}).get("include_usage"))
        return await gateway.watch(turn, partial(ChatEncoder, with_usage=with_usage, is_named=bool(asked.thread_id)))
    await _over(call, turn)
    encoder = await gateway.read(turn.run, partial(ChatEncoder, keeps=turn.number, is_named=bool(asked.thread_id)))
    assert isinstance(encoder, ChatEncoder), "it was made of that class"
    if encoder.kept is None or encoder.kept_ending is None:
        raise Problem("overloaded", f"the answer is not there after {MAX_WAIT_S} seconds; stream it")
    if encoder.kept_ending.outcome in ("failed", "cancelled", "superseded"):
        raise Problem("run_failed", encoder.kept_ending.text)
    return json_response(encoder.kept)


async def _completed(call: Call, gateway: Gateway, asked: ChatBody) -> Turn:
    messages, thread_id, key = chat_messages(asked.messages), asked.thread_id, key_of(call, asked)
    agent_id = _model_named(call, asked.model)
    answered, run = await _answers_at_end(call, messages)
    answers = tuple([verdict for _, verdict in answered])
    if run is None and messages and messages[-1].role is Role.TOOL:
        raise _no_call(messages[-1], "answer it under the id with which it was shown", "messages")
    if run is not None:
        if thread_id not in ("", run.thread_id):
            raise ValidationError("the calls that are answered belong to another thread", loc=("body", "messages"))
        thread_id, messages = run.thread_id, ()
    refusal: ValidationError | None = None
    if run is None and (thread := await gateway.load_thread(thread_id)) is not None and has_begun(thread):
        shown = next((each.text for each in reversed(messages) if each.role is Role.ASSISTANT), None)
        messages = _last_said(messages)
        try:
            decided = await _said_plainly(gateway, thread_id, messages, shown)
            messages, answers = ((), decided) if decided else await _answering(gateway, thread_id, messages, ())
        except ValidationError as error:
            refusal = error
    new_id = "" if key is None else key.id
    known = None if key is None else await repeated(call, gateway, key, thread_id)
    if known is not None:
        return known
    if refusal is not None:
        raise refusal
    incoming = Incoming(
        messages=messages,
        answers=answers,
        thread_id=thread_id or new_id,
        agent_id=None if run is not None else agent_id,
        run_id=new_id or None,
        client_tools=client_tools(asked.tools),
        metadata=asked.metadata or {},
        overrides=asked.echoed(),
        wire_run_id=None if key is None else key.name,
    )
    turn = await _accepted(call, gateway, key, incoming)
    if turn is None and run is not None:
        for ticket, verdict in answered:  # before
            await gateway.confirm(ticket, verdict)
        turn = await gateway.latest_turn(run)
    elif turn is None and answers:
        turn = await _answered_before(call, gateway, thread_id, None, answers)
    if turn is None:
        raise ValidationError("the last message is of a user, or answers a call", loc=("body", "messages"))
    return turn


async def _said_plainly(
    gateway: Gateway, thread_id: str, messages: Sequence[Message], shown: str | None
) -> tuple[Verdict, ...]:
    """A decision about the one approval that the thread waits for, where all that its user says is a yes or a no. A
    client that sends what its user was `shown` last has shown that approval: a yes to something else is none to it.

    Raises:
        ValidationError: It waits for several, and the word does not say which one it is about.
    """
    action = plainly(_only_text(messages) or "")
    if action is None:
        return ()
    asked = await gateway.open_tickets(thread_id)
    if any([each.asked.kind != "approval" for each in asked]):
        return ()
    if len(asked) > 1:
        named = ", ".join([decision_path(each.ticket_id) for each in asked])
        raise ValidationError(
            f"{len(asked)} calls wait for approval, and one word does not say which one it is about: POST {named}",
            loc=("body", "messages"),
        )
    return tuple(
        [
            Verdict(action=action, ticket_id=each.ticket_id)
            for each in asked
            if shown is None or question_of(ticket_opened(each).payload, is_only=True, is_named=True) in shown
        ]
    )


def _last_said(messages: tuple[Message, ...]) -> tuple[Message, ...]:
    """What the user has said since anybody else did, and what systems say: a thread that has begun has the rest."""
    systems = tuple([each for each in messages if each.role is Role.SYSTEM])
    return systems + last_words(without_systems(messages))


async def _answers_at_end(call: Call, messages: Sequence[Message]) -> tuple[list[tuple[Ticket, Verdict]], Run | None]:
    """Answers to calls of a run, with which the messages end, and that run. A call is named by its ticket's id."""
    found: list[tuple[Ticket, Verdict]] = []
    run: Run | None = None
    for message in reversed(messages):
        if message.role is not Role.TOOL:
            break
        id = question_named(message.tool_call_id) or TicketId(message.tool_call_id or "")
        ticket = await call.reads.load_ticket(call.scope, id)
        if ticket is not None:
            answer = Verdict(action="answer", ticket_id=ticket.ticket_id, result=message.text)
            is_question = ticket.asked.kind == "input"
            found.insert(0, (ticket, answer_in(message.text, ticket) if is_question else answer))
            run = run or await call.reads.load_run(call.scope, ticket.run_id)
    return found, run


# --- models -----------------------------------------------------------------------------------------------------------


async def list_models(call: Call) -> Response:
    return json_response({"object": "list", "data": [_model(each) for each in call.mailbox.agents.ids()]})


async def get_model(call: Call) -> Response:
    id = call.ids["model"]
    _model_named(call, id)
    return json_response(_model(id))


def _model(id: str) -> dict[str, Any]:
    return {"id": id, "object": "model", "created": 0, "owned_by": "awaken"}


# --- the operations ---------------------------------------------------------------------------------------------------

_SUBMIT: Final = (
    "not_found", "model_not_found", "thread_not_found", "thread_deleted", "already_accepted", "already_exists",
    "unknown_agent", "invalid_id", "thread_busy", "queue_full", "not_supported", "delivery_blocked", "run_not_waiting",
    "ticket_not_found", "unknown_tool_call", "decision_conflict", "ticket_expired", "ticket_withdrawn",
    "decision_rejected_by_schema", "action_not_allowed", "run_not_found", "run_not_finished", "run_failed",
)  # fmt: skip
_READ: Final = ("not_found", "invalid_id", "run_not_found")


def _operation(
    method: Method,
    path: str,
    id: str,
    summary: str,
    handler: Handler,
    *,
    query: type[Query] = DialectQuery,
    body: type[Body] | None = None,
    problems: tuple[str, ...] = _READ,
    may_stream: bool = False,
) -> Operation:
    return Operation(
        method=method,
        path=f"/v1{path}",
        id=f"open_responses_{id}",
        summary=summary,
        handler=handler,
        query=query,
        body=body,
        answers={200: dict[str, Any]},
        problems=problems,
        carries_messages=body is not None,
        may_stream=may_stream,
        errors=ERRORS,
    )


_ONE: Final = "/responses/{response_id}"
OPERATIONS: Final = (
    _operation(
        "POST",
        "/responses",
        "create",
        "Ask an agent for a response",
        create_response,
        query=Asking,
        body=ResponseBody,
        problems=_SUBMIT,
        may_stream=True,
    ),
    _operation("GET", _ONE, "get", "Read a response, or stream it", get_response, query=ReadQuery, may_stream=True),
    _operation("POST", f"{_ONE}/cancel", "cancel", "Stop a response", cancel_response, query=Asking),
    _operation(
        "DELETE", _ONE, "delete", "Leave a response out", delete_response, problems=(*_READ, "run_not_finished")
    ),
    _operation("GET", f"{_ONE}/input_items", "input_items", "List what was asked", list_input_items, query=ItemsQuery),
    _operation(
        "POST",
        "/chat/completions",
        "complete",
        "Ask an agent for a chat completion",
        create_completion,
        query=Asking,
        body=ChatBody,
        problems=_SUBMIT,
        may_stream=True,
    ),
    _operation("GET", "/models", "models", "List agents as models", list_models),
    _operation(
        "GET", "/models/{model}", "model", "Read an agent as a model", get_model, problems=(*_READ, "model_not_found")
    ),
)
