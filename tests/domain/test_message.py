"""Messages: which shapes are accepted, what survives decoding, and which calls are left unanswered."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from msgspec.structs import replace

from awaken.domain.errors import ValidationError
from awaken.domain.ids import MessageId, RunId
from awaken.domain.message import (
    Base64Source,
    Document,
    Image,
    Json,
    Message,
    MessageMetadata,
    MessageState,
    Opaque,
    Role,
    Text,
    Thinking,
    ToolCall,
    ToolStatus,
    UrlSource,
    Visibility,
    cancelled_tool_message,
    check_message,
    check_messages,
    known_blocks,
    unanswered_calls,
    user_message,
)
from awaken.testing.behaviour import behaviour


def of(role: Role, **fields: Any) -> Message:
    return replace(Message(id=MessageId("m1"), role=role), **fields)


CALL = ToolCall("c1", "look_up")


@behaviour("TR-048")
@pytest.mark.parametrize("message_id", ["", "  "])
def test_a_message_needs_an_id(message_id: str) -> None:
    with pytest.raises(ValidationError, match="needs an id"):
        check_message(of(Role.USER, id=MessageId(message_id)))


@behaviour("TR-047")
def test_no_id_comes_twice_in_one_request() -> None:
    with pytest.raises(ValidationError, match="one message id"):
        check_messages((of(Role.USER), of(Role.ASSISTANT)))


@behaviour("TR-049")
@pytest.mark.parametrize(
    "broken",
    [
        of(Role.TOOL),
        of(Role.TOOL, tool_call_id=" "),
        of(Role.USER, tool_call_id="c1"),
        of(Role.ASSISTANT, tool_call_id="c1"),
        of(Role.SYSTEM, tool_call_id="c1"),
    ],
)
def test_a_tool_message_and_no_other_names_the_call_it_answers(broken: Message) -> None:
    with pytest.raises(ValidationError, match="tool_call_id"):
        check_message(broken)


@behaviour("TR-050")
@pytest.mark.parametrize(
    ("broken", "why"),
    [
        (of(Role.ASSISTANT, tool_calls=(ToolCall("", "look_up"),)), "an id and a name"),
        (of(Role.ASSISTANT, tool_calls=(ToolCall("c1", " "),)), "an id and a name"),
        (of(Role.ASSISTANT, tool_calls=(CALL, ToolCall("c1", "count"))), "appears twice"),
        (of(Role.USER, tool_calls=(CALL,)), "only an assistant"),
        (of(Role.SYSTEM, tool_calls=(CALL,)), "only an assistant"),
        (of(Role.TOOL, tool_call_id="c1", tool_calls=(CALL,)), "only an assistant"),
    ],
)
def test_only_an_assistant_calls_and_every_call_has_its_own_id_and_a_name(broken: Message, why: str) -> None:
    with pytest.raises(ValidationError, match=why):
        check_message(broken)


@behaviour("TR-052")
def test_sound_messages_pass() -> None:
    check_messages(
        (
            user_message(MessageId("m1"), "hello"),
            of(Role.ASSISTANT, id=MessageId("m2"), tool_calls=(CALL, ToolCall("c2", "count"))),
            of(Role.TOOL, id=MessageId("m3"), tool_call_id="c1"),
            of(Role.SYSTEM, id=MessageId("m4")),
        )
    )
    check_messages(())


@behaviour("TR-057")
def test_a_message_without_an_id_is_not_a_message() -> None:
    """The id is part of the stored message, so there is no record from which it would have to be filled in."""
    with pytest.raises(msgspec.ValidationError, match="id"):
        msgspec.json.decode(b'{"role": "user"}', type=Message)


@behaviour("TR-070")
def test_a_message_with_its_least_fields_gets_the_defaults() -> None:
    message = msgspec.json.decode(b'{"id": "m1", "role": "user"}', type=Message)

    assert (message.visibility, message.state, message.metadata) == (
        Visibility.ALL,
        MessageState.COMMITTED,
        MessageMetadata(),
    )
    assert (message.content, message.tool_calls, message.tool_call_id, message.native) == ((), (), None, None)


def test_what_is_left_at_its_default_is_not_written() -> None:
    assert msgspec.json.decode(msgspec.json.encode(of(Role.USER))) == {"id": "m1", "role": "user"}


@behaviour("TR-069")
def test_a_producer_is_filled_in_only_where_it_is_missing() -> None:
    known = MessageMetadata(run_id=RunId("r0"), step_index=0, sender_agent_id="a0")

    assert of(Role.ASSISTANT, metadata=known).produced_by(RunId("r1"), 5).metadata == known
    assert of(Role.ASSISTANT).produced_by(RunId("r1"), 5).metadata == MessageMetadata(RunId("r1"), 5)
    half = MessageMetadata(sender_agent_id="a0")
    assert of(Role.ASSISTANT, metadata=half).produced_by(RunId("r1"), 5).metadata == MessageMetadata(
        RunId("r1"), 5, "a0"
    )


def test_a_block_of_an_unknown_type_is_kept_whole() -> None:
    raw = {"id": "m1", "role": "user", "content": [{"type": "text", "text": "x"}, {"type": "smell", "notes": ["rose"]}]}

    message = msgspec.convert(known_blocks(raw), Message)

    assert message.content == (Text("x"), Opaque("smell", {"type": "smell", "notes": ["rose"]}))
    again = msgspec.json.decode(msgspec.json.encode(message), type=Message)
    assert again == message


@pytest.mark.parametrize("raw", [None, "text", {"content": "text"}, {"content": [1, None, {"type": 3}, {}]}])
def test_what_is_no_message_passes_through_to_the_decoder_that_refuses_it(raw: Any) -> None:
    assert known_blocks(raw) == raw


def test_every_known_block_survives_json() -> None:
    message = of(
        Role.USER,
        content=(
            Text("x"),
            Image(Base64Source("image/png", "eA==")),
            Document(UrlSource("https://example.org", "text/plain"), title="t"),
            Thinking("hm", "sig", "provider"),
            Json({"a": [None]}),
            Opaque("smell", {"type": "smell"}),
        ),
    )
    assert msgspec.json.decode(msgspec.json.encode(message), type=Message) == message


def test_the_text_of_a_message_is_its_text_blocks_joined() -> None:
    assert of(Role.USER, content=(Text("a"), Thinking("no"), Text("b"))).text == "ab"
    assert of(Role.USER).text == ""


def test_unanswered_are_the_calls_of_the_last_turn_that_no_later_message_answers() -> None:
    calls = (ToolCall("c1", "f"), ToolCall("c2", "f"), ToolCall("c3", "f"))
    turn = of(Role.ASSISTANT, id=MessageId("turn"), tool_calls=calls)
    answer = of(Role.TOOL, id=MessageId("answer"), tool_call_id="c2")

    assert unanswered_calls(()) == ()
    assert unanswered_calls((turn,)) == calls
    assert unanswered_calls((turn, answer)) == (calls[0], calls[2])
    assert unanswered_calls((turn, answer, of(Role.ASSISTANT, id=MessageId("later")))) == ()
    assert unanswered_calls((answer, turn)) == calls


def test_a_closed_call_says_so_in_the_log() -> None:
    message = cancelled_tool_message(MessageId("m9"), CALL, "too late")

    check_message(message)
    assert (message.role, message.tool_call_id, message.tool_status) == (Role.TOOL, "c1", ToolStatus.CANCELLED)
    assert message.text == "too late"
