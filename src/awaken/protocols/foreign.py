"""What is new in a conversation that a client sends whole.

Clients of chat protocols send all they show with every request. The log here is the truth: what it has is not
appended again, and what it says differently is not changed.

Above: the gateway. Below: reads of messages by id.
Holds: of a thread that has begun, only messages of the user are taken that it has not, and none of an assistant or a
tool. What stands before a message that is known is known, so that a request costs as many reads as it brings new
messages, and one more. What systems say is no part of a conversation: it is told to the agent beside it. A message of
the user that says nothing is passed over, unless it is what the request is for: a client that sends the whole
conversation sends what was refused once with every request.

Source: docs/concepts/protocols.md; SRV-032.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec
from msgspec.structs import replace

from awaken.domain.errors import ValidationError
from awaken.domain.ids import Scope, ThreadId
from awaken.domain.message import Message, Role, Text
from awaken.store.contract import Reads


def told_by_systems(messages: Sequence[Message], context: Any) -> Any:
    """What systems and developers say in the messages, and the context that comes beside them: one context.

    Raises:
        ValidationError: A system says something else than text.
    """
    said: list[str] = []
    for message in messages:
        if message.role is Role.SYSTEM:
            if not all([isinstance(block, Text) for block in message.content]):
                raise ValidationError("a message of a system, or a developer, is text", loc=("body", "messages"))
            said.append(message.text)
    texts = [text for text in said if text]
    if not texts or context in (None, "", [], {}):
        return "\n\n".join(texts) or context
    return "\n\n".join([*texts, context if isinstance(context, str) else msgspec.json.encode(context).decode()])


def without_systems(messages: Sequence[Message]) -> tuple[Message, ...]:
    return tuple([each for each in messages if each.role is not Role.SYSTEM])


def says_nothing(message: Message) -> bool:
    """It is a user's, and has neither a text nor anything else."""
    return message.role is Role.USER and not any([not isinstance(each, Text) or each.text for each in message.content])


def spoken(messages: Sequence[Message], last: Message | None) -> tuple[Message, ...]:
    """Those that say something, and the last one of the request in any case, which is refused for it."""
    return tuple([each for each in messages if each is last or not says_nothing(each)])


def last_words(messages: Sequence[Message]) -> tuple[Message, ...]:
    """The messages of the user that stand at the end, behind everything that anybody else said."""
    start = len(messages)
    while start and messages[start - 1].role is Role.USER:
        start -= 1
    return tuple(messages[start:])


async def new_words(
    reads: Reads, scope: Scope, thread_id: ThreadId, messages: Sequence[Message]
) -> tuple[Message, ...]:
    """The messages of the user that the thread has not, in order. One without an id is new where it stands at the
    end, because nothing tells it from one that was said before.
    """
    found: list[Message] = []
    is_last = True
    for message in reversed(messages):
        if message.role is not Role.USER:
            is_last = False
            continue
        if not message.id:
            if is_last:
                found.append(message)
            continue
        if await reads.load_message(scope, thread_id, message.id) is not None:
            break
        found.append(message)
    return tuple(reversed(found))


def seeded(messages: Sequence[Message]) -> tuple[Message, ...]:
    """A conversation from elsewhere, as a new thread may begin with it: without calls that nobody answered, answers
    that nobody asked for, and messages that say nothing.
    """
    answered = {each.tool_call_id for each in messages if each.role is Role.TOOL}
    kept: list[Message] = []
    asked: set[str] = set()
    for message in messages:
        match message.role:
            case Role.TOOL if message.tool_call_id not in asked:
                continue
            case Role.TOOL:
                asked.discard(message.tool_call_id or "")
            case Role.ASSISTANT:
                calls = tuple([call for call in message.tool_calls if call.id in answered])
                asked = {call.id for call in calls}
                message = replace(message, tool_calls=calls)
                if not (calls or message.content):
                    continue
            case _ if says_nothing(message):
                continue
            case _:
                pass
        kept.append(message)
    return tuple(kept)
