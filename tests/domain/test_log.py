"""Rows of the log: what is stored of them, and how a reader gets them whole."""

from __future__ import annotations

import msgspec
import pytest

from awaken.domain.errors import DataIntegrity
from awaken.domain.ids import DispatchId, MessageId, RunId, Scope, ThreadId
from awaken.domain.log import Appended, LoggedEvent, completed, message_committed, referred
from awaken.domain.message import Message, Role, Text, Visibility, user_message
from awaken.domain.record import encode_events

HIDDEN = Message(id=MessageId("h"), role=Role.SYSTEM, content=(Text("quiet"),), visibility=Visibility.INTERNAL)
SEEN = user_message(MessageId("m"), "hello")


def stored(payload: bytes) -> LoggedEvent:
    return LoggedEvent("MessageCommitted", msgspec.Raw(payload))


def test_what_is_appended_refers_to_its_messages_and_is_read_with_them() -> None:
    odd = LoggedEvent("FutureKind", msgspec.Raw(b'{"n": 1e3}'))
    body = encode_events([message_committed(7), odd, message_committed(8)])
    appended = Appended(Scope("s"), ThreadId("t"), RunId("r"), DispatchId("d"), 5, 9, 3, body, ((7, SEEN), (8, HIDDEN)))

    row = appended.row()

    assert b"hello" not in body and b"quiet" not in body
    assert (row.first_seq, row.last_seq, appended.last_seq) == (5, 7, 7)
    assert [event.visibility for event in row.events] == [Visibility.ALL, Visibility.ALL, Visibility.INTERNAL]
    payloads = [msgspec.json.decode(event.payload) for event in row.events]
    assert (payloads[0]["message_id"], payloads[0]["message_seq"], payloads[0]["message_kind"]) == (
        "m",
        7,
        "user_input",
    )
    assert (payloads[2]["message_id"], payloads[2]["message_kind"]) == ("h", "internal_system")
    assert bytes(row.events[1].payload) == b'{"n": 1e3}'


def test_the_messages_that_events_refer_to_are_known_in_order() -> None:
    events = [stored(b'{"message_seq":3}'), LoggedEvent("Other", msgspec.Raw(b"{}")), stored(b'{"message_seq":1}')]

    assert referred(events) == [3, 1]


@pytest.mark.parametrize("payload", [b"{}", b'{"message_seq":"one"}', b"[1]", b"{"])
def test_an_event_that_does_not_say_which_message_is_damaged(payload: bytes) -> None:
    with pytest.raises(DataIntegrity, match="refers to no message"):
        referred([stored(payload)])
    with pytest.raises(DataIntegrity, match="refers to no message"):
        completed([stored(payload)], {}, None)
