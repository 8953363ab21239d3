"""What callers give as the input of a run: a text, data, or messages; the same in a program and for the client.

Above: `Awaken.submit`, the client. Below: domain messages.
Holds: both make the same messages of the same input, and refuse the same with the same words.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

import msgspec

from awaken.domain.checking import checked, shown
from awaken.domain.errors import ValidationError
from awaken.domain.ids import MessageId
from awaken.domain.message import Audio, Document, Image, Json, Message, Role, Text, Video, user_message

GivenMessage = Message | Mapping[str, Any]
"""A mapping is `{"role": "user", "content": …}`, where the content is a text or a list of blocks."""
Given = str | Json | GivenMessage | Sequence[GivenMessage]

_TEXTS: Final = (str, bytes, bytearray, memoryview)
_ENCODE: Final = msgspec.json.Encoder().encode


class _Sent(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    content: str | list[Text | Image | Audio | Video | Document | Json]
    role: Role = Role.USER
    id: str = ""
    message_id: str = ""


def messages_of(given: Given) -> tuple[Message, ...]:
    """The input as messages; one without an id has an empty one. A list of none gives none.

    Raises:
        ValidationError: It is none of what may be given.
    """
    if isinstance(given, str) and given:
        return (user_message(MessageId(""), given),)
    if isinstance(given, Json):
        return (Message(id=MessageId(""), role=Role.USER, content=(given,)),)
    if isinstance(given, (Message, Mapping)):
        return (_message(given),)
    if isinstance(given, Sequence) and not isinstance(given, _TEXTS):  # pyright: ignore[reportUnnecessaryIsInstance]
        return tuple([_message(each) for each in given])
    raise _refused(given)


def one_message_of(given: Given) -> Message:
    """The one message that is given. Raises ValidationError also where it is not one."""
    messages = messages_of(given)
    if len(messages) != 1:
        raise ValidationError(f"give one message, and not {len(messages)}", loc=("body", "message"))
    return messages[0]


def sent_form(given: Given) -> list[dict[str, Any]]:
    """The input as the JSON objects that the HTTP API takes."""
    messages = checked(messages_of(given), tuple[Message, ...], what="messages")
    sent: list[dict[str, Any]] = msgspec.json.decode(_ENCODE(messages))
    for message in sent:
        if not message.get("id"):
            message.pop("id", None)
    return sent


def _message(given: GivenMessage) -> Message:
    if isinstance(given, Message):
        return given
    if not isinstance(given, Mapping):  # pyright: ignore[reportUnnecessaryIsInstance]
        raise _refused(given)
    sent = checked(dict(given), _Sent, what="message")
    content = (Text(sent.content),) if isinstance(sent.content, str) else tuple(sent.content)
    return Message(id=MessageId(sent.message_id or sent.id), role=sent.role, content=content)


def _refused(given: object) -> ValidationError:
    return ValidationError(
        f"the input of a run is a text, one Json(value), or one Message or several, and not {shown(given)}",
        loc=("body", "messages"),
    )
