"""What does not fit is explained as people would: where, what belongs there, and what was given."""

from __future__ import annotations

from typing import Annotated, Any

import msgspec
import pytest
from msgspec import Meta

from awaken.domain.explaining import explained, missing_field, place_text, shown
from awaken.domain.message import Image, Message


class Order(msgspec.Struct, forbid_unknown_fields=True):
    count: Annotated[int, Meta(ge=1)]
    notes: list[str] = []
    price: float | None = None
    inner: Order | None = None


MISFITS: list[tuple[Any, tuple[Any, ...], str]] = [
    ({"count": "3"}, ("count",), "expected a whole number, got '3'"),
    ({"count": 0}, ("count",), "expected a whole number >= 1, got 0"),
    ({"count": None}, ("count",), "expected a whole number, got null"),
    ({"count": 1, "notes": "a"}, ("notes",), "expected a list, got 'a'"),
    ({"count": 1, "notes": ["a", {}]}, ("notes", 1), "expected a text, got an object"),
    ({"count": 1, "price": [1]}, ("price",), "expected a number or null, got a list"),
    ({"count": 1, "inner": {"count": 1.5}}, ("inner", "count"), "expected a whole number, got 1.5"),
    ([], (), "expected an object, got a list"),
    ({"count": 1, "inner": {}}, ("inner",), "the field count is missing"),
    (
        {"count": 1, "inner": {"cuont": 1}},
        ("inner",),
        "there is no field 'cuont' here; there are: count, notes, price, inner",
    ),
]


@pytest.mark.parametrize(("value", "place", "words"), MISFITS)
def test_a_misfit_is_explained_with_what_was_expected_and_what_was_given(
    value: Any, place: tuple[Any, ...], words: str
) -> None:
    with pytest.raises(msgspec.ValidationError) as failed:
        msgspec.convert(value, Order)
    assert explained(failed.value, Order, value) == (place, words)


def test_without_the_value_its_kind_is_named() -> None:
    with pytest.raises(msgspec.ValidationError) as failed:
        msgspec.convert({"count": "3"}, Order)
    assert explained(failed.value, Order) == (("count",), "expected a whole number, got a text")
    assert explained(failed.value, Order, {"Count": "3"})[1] == "expected a whole number, got a text"


def test_a_missing_field_is_named() -> None:
    with pytest.raises(msgspec.ValidationError) as failed:
        msgspec.convert({"notes": []}, Order)
    assert missing_field(failed.value) == "count"
    with pytest.raises(msgspec.ValidationError) as failed:
        msgspec.convert({"count": 1, "other": 2}, Order)
    assert missing_field(failed.value) is None


def test_the_choices_of_a_type_are_found_wherever_it_stands() -> None:
    with pytest.raises(msgspec.ValidationError) as failed:
        msgspec.convert({"a": [{"role": "boss"}]}, dict[str, list[Message]])
    assert "one of system" in explained(failed.value, dict[str, list[Message]])[1]
    with pytest.raises(msgspec.ValidationError) as failed:
        msgspec.convert({"source": {"type": "ftp"}, "type": "image"}, Image)
    assert explained(failed.value, Image) == (("source", "type"), "expected one of base64, url, got 'ftp'")


def test_a_place_is_written_as_it_is_read() -> None:
    assert place_text(("a", 1, "b")) == "a[1].b"


def test_a_value_is_shown_short_and_without_raising() -> None:
    class Odd:
        def __repr__(self) -> str:
            raise RuntimeError("no")

    assert shown(Odd()) == "<Odd>"
    assert shown("\ud800ü") == "'\\ud800\\xfc'"
    assert len(shown("x" * 10_000)) == 80
