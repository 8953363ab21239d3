"""Answering anew, and saying otherwise what was said: what the client has not kept is read no more.

Above: `routes`. Below: the mailbox, which regenerates, interrupts and hides.
Holds: the log keeps everything. What can be refused is refused before anything is hidden.

Source: docs/howto/use-the-ai-sdk.md; ADR 0037; SRV-031.
"""

from __future__ import annotations

from collections.abc import Sequence

from msgspec.structs import replace

from awaken.domain.errors import ThreadBusy, ValidationError
from awaken.domain.ids import MessageId, ThreadId, derived_id
from awaken.domain.message import Message, Role
from awaken.domain.run import Adapter, RunOptions, Trace
from awaken.http.operation import Call
from awaken.protocols.ai_sdk.history import Answered
from awaken.protocols.ai_sdk.reading import read_page, visible_messages
from awaken.protocols.ai_sdk.wire import Chat, UIMessage, parts_of
from awaken.protocols.attachments import check_foreign
from awaken.protocols.gateway import Gateway, told
from awaken.protocols.turn_index import Turn


async def regenerated(call: Call, gateway: Gateway, thread_id: ThreadId, asked: Chat) -> Turn:
    """A run that answers anew. What it answers is said by the message that is to go, or by the last one that stays.

    Raises:
        ValidationError: The conversation has no such message, or nothing to answer.
    """
    page = await read_page(call, thread_id)
    options = RunOptions(
        state=asked.state,
        client_tools=tuple(asked.client_tools),
        on_disconnect=asked.on_disconnect or "continue",
    )
    accepted = await call.mailbox.again.regenerate(
        call.scope,
        thread_id,
        message_id=_first_of_answer(page, asked),
        agent_id=call.ids.get("agent_id") or asked.agent_id,
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


async def rewound(call: Call, gateway: Gateway, thread_id: ThreadId, asked: Chat, message: Message) -> Message:
    """A message that the user says otherwise now, under an id of its own: the log keeps what was said before. All that
    the client has not kept is hidden. Asked again, after a part of it or all, it does the rest.

    Raises:
        ThreadBusy: What runs does not let go.
    """
    stored = await call.reads.load_message(call.scope, thread_id, message.id)
    if stored is None:
        return message
    page, kept = await read_page(call, thread_id), asked.messages[:-1]
    place = _end_of_kept(page, kept) if kept else await _place_of(call, thread_id, page, stored.seq or 0)
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
        visible = await visible_messages(call, thread_id)
        first = next((each.seq or 0 for each in visible if each.message.id in after.message_ids), 0)
        for each in reversed(visible):
            if each.seq is not None and each.seq >= first > 0 and each.message.role is not Role.TOOL:
                await call.mailbox.threads.hide(call.scope, thread_id, each.message.id)
    named = derived_id("edited", message.id, "" if after is None else after.shown["id"], repr(message.content))
    return replace(message, id=MessageId(named))


async def _place_of(call: Call, thread_id: ThreadId, page: Sequence[Answered], seq: int) -> int:
    """Where the message stood that the client sends alone: it may have sent no more than what is new."""
    later = {each.message.id for each in await visible_messages(call, thread_id) if (each.seq or 0) >= seq}
    return next((place for place, each in enumerate(page) if not later.isdisjoint(each.message_ids)), len(page))


def _end_of_kept(page: Sequence[Answered], kept: Sequence[UIMessage]) -> int:
    """Behind which place of the conversation the client has kept nothing. An answer may have another id there than
    here, where it was brought from elsewhere.

    Raises:
        ValidationError: The client's conversation is another one.
    """
    places = {each.shown["id"]: place for place, each in enumerate(page, 1)}
    for left, message in enumerate(reversed(kept)):
        place = places.get(message.id)
        if place is not None:
            while left and place < len(page) and page[place].shown["role"] == "assistant":
                left, place = left - 1, place + 1
            return place
    raise ValidationError("the conversation has none of these messages; load it again", loc=("body", "messages"))
