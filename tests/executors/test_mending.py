"""Half characters and numbers that are none, made so that a store can hold them."""

from __future__ import annotations

import math
from typing import Any

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from awaken.domain.event import ActivitySnapshot
from awaken.domain.ids import MessageId
from awaken.domain.message import Json, assistant_message
from awaken.executors.mending import mended, plain, storable

TEXTS = st.text(st.characters(exclude_categories=()))
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | TEXTS,
    lambda inner: st.lists(inner) | st.dictionaries(TEXTS, inner),
)


def test_half_a_character_becomes_a_replacement_wherever_it_stands() -> None:
    message = assistant_message(MessageId("m"), "smile \ud83d")
    event = ActivitySnapshot("a", "t", {"caf\udce9": ["\udce9", ("\ud83d", 1)]})

    assert mended(message).text == "smile \ufffd"
    assert mended(event).content == {"caf\ufffd": ["\ufffd", ("\ufffd", 1)]}


def test_what_is_whole_is_the_same_object_and_what_is_no_json_passes() -> None:
    whole, odd = assistant_message(MessageId("m"), "smile 😀"), Json(object())
    assert mended(whole) is whole
    assert mended(odd) is odd


@given(TEXTS, TEXTS)
def test_the_pieces_of_a_text_are_mended_as_the_whole(one: str, two: str) -> None:
    assert mended(one) + mended(two) == mended(one + two)


@given(VALUES)
def test_plain_json_reads_back_as_it_was_written(value: Any) -> None:
    found = plain(value)
    data = msgspec.json.encode(found, enc_hook=str)
    assert msgspec.json.encode(msgspec.json.decode(data)) == data


def test_a_number_that_is_none_has_its_name() -> None:
    event = ActivitySnapshot("a", "t", {"loss": (math.nan, "\ud83d")})
    assert storable(event).content == {"loss": ("NaN", "\ufffd")}
    assert plain({"a": [math.nan, math.inf, -math.inf, 1.5]}) == {"a": ["NaN", "Infinity", "-Infinity", 1.5]}
    whole: dict[str, Any] = {"a": [1.5, None]}
    assert plain(whole) is whole
