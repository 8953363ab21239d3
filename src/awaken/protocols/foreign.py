"""What is new in a conversation that a client sends whole.

Clients of chat protocols send all they show with every request. The log here is the truth: what it has is not
appended again, and what it says differently is not changed.

Above: the gateway. Below: reads of messages by id.
Holds: of a thread that is there, only messages of the user are taken that it has not, and none of an assistant, a tool
or a system. What stands before a message that is known is known, so that a request costs as many reads as it brings new
messages, and one more.

Source: docs/concepts/protocols.md; SRV-032.
"""

from __future__ import annotations

from collections.abc import Sequence

from msgspec.structs import replace

from awaken.domain.ids import Scope, ThreadId
from awaken.domain.message import Message, Role
from awaken.store.contract import Reads


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
            is_last = is_last and message.role is Role.SYSTEM
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
    """A conversation from elsewhere, as a new thread may begin with it: without what a system said, and without calls
    that nobody answered, or answers that nobody asked for.
    """
    answered = {each.tool_call_id for each in messages if each.role is Role.TOOL}
    kept: list[Message] = []
    asked: set[str] = set()
    for message in messages:
        match message.role:
            case Role.SYSTEM:
                continue
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
            case _:
                pass
        kept.append(message)
    return tuple(kept)
