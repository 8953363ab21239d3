"""Patches of a thread's state: what they do, and that what is reported about them is so."""

from __future__ import annotations

from typing import Any, cast

import pytest
from hypothesis import given
from hypothesis import strategies as st

from awaken.domain.state import (
    MAX_STATE_BYTES,
    StateTooLarge,
    applied,
    checked_patch,
    joined,
    merged,
    operations,
    state_bytes,
)

_KEYS = st.sampled_from(["a", "b", "c", "a/b", "~", ""])
_SCALARS = st.none() | st.booleans() | st.integers(-2, 2) | st.sampled_from(["x", "y"]) | st.just(1.0)
_JSON = st.recursive(_SCALARS, lambda inner: st.lists(inner, max_size=2) | st.dictionaries(_KEYS, inner, max_size=3))
_OBJECTS = st.dictionaries(_KEYS, _JSON, max_size=4)


def _without_nulls(value: Any) -> Any:
    """A state can hold a null inside a list only: as the value of a key a patch means its removal."""
    if isinstance(value, dict):
        fields = cast(dict[str, Any], value)
        return {key: _without_nulls(item) for key, item in fields.items() if item is not None}
    return value


_STATES = _OBJECTS.map(_without_nulls)


@pytest.mark.parametrize(
    ("target", "patch", "result"),
    [
        # The examples of RFC 7396 whose target and patch are objects.
        ({"a": "b"}, {"a": "c"}, {"a": "c"}),
        ({"a": "b"}, {"b": "c"}, {"a": "b", "b": "c"}),
        ({"a": "b"}, {"a": None}, {}),
        ({"a": "b", "b": "c"}, {"a": None}, {"b": "c"}),
        ({"a": ["b"]}, {"a": "c"}, {"a": "c"}),
        ({"a": "c"}, {"a": ["b"]}, {"a": ["b"]}),
        ({"a": {"b": "c"}}, {"a": {"b": "d", "c": None}}, {"a": {"b": "d"}}),
        ({"a": [{"b": "c"}]}, {"a": [1]}, {"a": [1]}),
        ({"e": None}, {"a": 1}, {"e": None, "a": 1}),
        ({}, {"a": {"bb": {"ccc": None}}}, {"a": {"bb": {}}}),
    ],
)
def test_a_merge_patch_does_what_its_specification_says(
    target: dict[str, Any], patch: dict[str, Any], result: dict[str, Any]
) -> None:
    before = repr(target)

    assert merged(target, patch) == result
    assert repr(target) == before


@given(_STATES, _OBJECTS)
def test_a_merge_patch_applied_twice_does_what_it_does_once(values: dict[str, Any], patch: dict[str, Any]) -> None:
    once = merged(values, patch)

    assert repr(merged(once, patch)) == repr(once) or merged(once, patch) == once


@given(_STATES, _OBJECTS, _OBJECTS)
def test_joined_patches_do_what_they_do_one_after_the_other(
    values: dict[str, Any], first: dict[str, Any], second: dict[str, Any]
) -> None:
    both = joined(first, second)

    if both is not None:
        assert merged(values, both) == merged(merged(values, first), second)


def test_an_object_after_a_removal_is_not_joined_with_it() -> None:
    assert joined({"a": None}, {"a": {"b": 1}}) is None
    assert joined({"a": {"b": 1}}, {"a": None}) == {"a": None}
    assert joined({"a": {"b": {"c": 1}}}, {"a": {"b": {"d": 2}}}) == {"a": {"b": {"c": 1, "d": 2}}}


@given(_STATES, _OBJECTS)
def test_the_operations_of_a_change_lead_to_what_it_led_to(values: dict[str, Any], patch: dict[str, Any]) -> None:
    after = merged(values, patch)

    assert _applied(values, operations(values, after)) == after
    assert applied(values, operations(values, after)) == after
    assert not operations(after, after)


def test_operations_name_places_as_json_pointers() -> None:
    before, after = {"a/b": 1, "~": {"x": 1}, "gone": 0}, {"a/b": 2, "~": {"x": 1, "y": [1]}}

    assert operations(before, after) == (
        {"op": "remove", "path": "/gone"},
        {"op": "replace", "path": "/a~1b", "value": 2},
        {"op": "add", "path": "/~0/y", "value": [1]},
    )


def test_true_is_not_one() -> None:
    assert operations({"a": True, "b": [True]}, {"a": 1, "b": [1]}) == (
        {"op": "replace", "path": "/a", "value": 1},
        {"op": "replace", "path": "/b", "value": [1]},
    )


def test_a_patch_larger_than_a_state_is_refused() -> None:
    with pytest.raises(StateTooLarge, match="262144"):
        checked_patch({"a": "x" * MAX_STATE_BYTES})

    assert state_bytes(checked_patch({"a": "x" * (MAX_STATE_BYTES - 10)})) <= MAX_STATE_BYTES


def _applied(values: dict[str, Any], patch: tuple[dict[str, Any], ...]) -> dict[str, Any]:
    """RFC 6902, as far as it is used here."""
    found = _copied(values)
    for operation in patch:
        *parents, last = [part.replace("~1", "/").replace("~0", "~") for part in operation["path"][1:].split("/")]
        place: Any = found
        for part in parents:
            place = place[part]
        if operation["op"] == "remove":
            del place[last]
        else:
            assert (operation["op"] == "replace") == (last in place)
            place[last] = operation["value"]
    return found


def _copied(value: Any) -> Any:
    return (
        {key: _copied(item) for key, item in cast(dict[str, Any], value).items()} if isinstance(value, dict) else value
    )
