"""What passes is what is read back; what does not is refused with its place and its reason."""

from __future__ import annotations

import datetime
import math
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from awaken.domain.checking import (
    MAX_DEPTH,
    check_settings,
    checked,
    encoded,
    measured,
    readable,
)
from awaken.domain.errors import ValidationError
from awaken.domain.event import TextDelta, ToolCallStreamDelta, logged
from awaken.domain.ids import MessageId
from awaken.domain.message import Json, Message, Role, Text, user_message
from awaken.domain.run import Usage

HI = user_message(MessageId("m"), "hi")


def with_value(value: Any) -> Message:
    return Message(id=MessageId("m"), role=Role.USER, content=(Json(value),))


def nested(depth: int) -> Any:
    value: Any = 1
    for _ in range(depth):
        value = [value]
    return value


@given(
    st.recursive(
        st.one_of(st.none(), st.booleans(), st.integers(), st.text(st.characters(codec="utf-8"))),
        lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(st.text(max_size=3), inner, max_size=3)),
        max_leaves=8,
    )
)
def test_json_passes_as_it_is(value: Any) -> None:
    found, size = measured(with_value(value), Message)
    assert found == with_value(value)
    assert size == len(msgspec.json.encode(with_value(value)))


def test_what_json_writes_alike_passes_in_the_form_it_is_read_back_in() -> None:
    asked: Any = Message(id=MessageId("m"), role="user", content=[Json({"a": (1, 2)})])  # pyright: ignore[reportArgumentType]
    found = checked(asked, Message)
    assert (found.role, found.content) == (Role.USER, (Json({"a": [1, 2]}),))


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        (math.nan, "content[0].value: nan is not a JSON number"),
        ({"a": [1, math.inf]}, "content[0].value.a[1]: inf is not a JSON number"),
        (b"x", "content[0].value: b'x' is not a JSON value"),
        (datetime.date(2026, 1, 2), "content[0].value: datetime.date(2026, 1, 2) is not a JSON value"),
        ({1: 2}, "content[0].value: the key 1 is not a text"),
        ({"\ud800": 2}, "content[0].value: the key '\\ud800' is not a text"),
        ("\udfff", "content[0].value: '\\udfff' holds half of a character"),
        (nested(MAX_DEPTH), f"nested deeper than {MAX_DEPTH} levels, or inside itself"),
        (nested(5_000), f"nested deeper than {MAX_DEPTH} levels, or inside itself"),
        (object, "it has no JSON form (Encoding objects of type type is unsupported)"),
    ],
)
def test_what_would_be_changed_on_its_way_is_refused_at_its_place(value: Any, reason: str) -> None:
    with pytest.raises(ValidationError) as refused:
        checked(with_value(value), Message)
    assert str(refused.value) == reason


def test_what_is_inside_itself_is_refused() -> None:
    loop: dict[str, Any] = {}
    loop["loop"] = loop
    with pytest.raises(ValidationError, match="inside itself"):
        checked(with_value(loop), Message)


@pytest.mark.parametrize(
    ("asked", "reason"),
    [
        (5, "expected an object, got 5"),
        (Message(id=MessageId("m"), role=Role.USER, content="hello"), "content: expected a list, got 'hello'"),  # pyright: ignore[reportArgumentType]
        (Message(id=5, role=Role.USER), "id: expected a text, got 5"),  # pyright: ignore[reportArgumentType]
        (
            Message(id=MessageId("m"), role=Role.USER, content=(Text(b"x"),)),  # pyright: ignore[reportArgumentType]
            "content[0].text: expected a text, got bytes",
        ),
        (
            Message(id=MessageId("m"), role="boss"),  # pyright: ignore[reportArgumentType]
            "role: expected one of system, user, assistant, tool, got 'boss'",
        ),
        (
            Message(id=MessageId("m"), role=Role.USER, content=({"type": "smell"},)),  # pyright: ignore[reportArgumentType]
            "content[0].type: expected one of text, image, audio, video, document, thinking, json, opaque, got 'smell'",
        ),
    ],
)
def test_what_has_another_type_is_refused_and_a_choice_is_listed(asked: Any, reason: str) -> None:
    for check in (checked, readable, encoded):
        with pytest.raises(ValidationError) as refused:
            check(asked, Message)
        assert str(refused.value) == reason
    assert refused.value.loc[0] == "body"


def test_what_an_agent_says_is_written_as_it_can_be_where_it_has_no_type() -> None:
    assert readable(with_value({1: (b"x", datetime.date(2026, 1, 2))}), Message) == with_value(
        {"1": ["eA==", "2026-01-02"]}
    )


def test_no_number_that_is_none_is_written_as_null() -> None:
    for value, place in ((math.nan, ""), ({"a": [1, math.inf]}, ".a[1]"), ((-math.inf,), "[0]")):
        with pytest.raises(ValidationError) as refused:
            readable(with_value(value), Message)
        assert str(refused.value).startswith(f"content[0].value{place}: ")


def test_what_could_not_be_read_back_is_refused() -> None:
    for wrong in (Usage(input_tokens="3"), Usage(input_tokens=1.5)):  # pyright: ignore[reportArgumentType]
        with pytest.raises(ValidationError, match="usage"):
            readable(wrong, Usage, what="usage")


def test_an_event_that_could_not_be_read_back_enters_no_log() -> None:
    assert logged(TextDelta(MessageId("m"), 0, "a")).kind == "TextDeltaObserved"
    assert bytes(logged(ToolCallStreamDelta("c", value=[1, (2,)])).payload) == b'{"id":"c","value":[1,[2]]}'
    wrong: tuple[Any, ...] = (
        TextDelta(MessageId("m"), 0, b"a"),  # pyright: ignore[reportArgumentType]
        TextDelta(MessageId("m"), "0", "a"),  # pyright: ignore[reportArgumentType]
        TextDelta(MessageId("m"), 0, "\ud800"),
        HI,
        None,
    )
    for event in wrong:
        with pytest.raises(ValidationError):
            logged(event)


class Settings(msgspec.Struct, frozen=True, kw_only=True):
    names: tuple[str, ...] = ()
    seconds: float = 1.0

    def __post_init__(self) -> None:
        check_settings(self, "of a test")


def test_settings_are_held_in_their_own_types() -> None:
    given_: Any = {"names": ["a"], "seconds": 2}
    assert Settings(**given_) == Settings(names=("a",), seconds=2.0)
    for wrong in ({"names": "a"}, {"seconds": math.nan}, {"seconds": math.inf}, {"seconds": True}):
        values: Any = wrong
        with pytest.raises(ValidationError, match=f"setting {next(iter(values))} = .* of a test cannot be"):
            Settings(**values)
