"""What is wrong with a value, in words: where it does not fit its type, what belongs there, and what was given.

Above: `checking`, and HTTP for bodies and queries. Below: msgspec, whose messages are read here and nowhere else.
Holds: explaining never raises, and shows a value only in short.

Source: ADR 0028.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any, Final, cast

import msgspec

Place = tuple[str | int, ...]
"""Where in a value something is: names of fields and keys, and positions in lists."""

_PART: Final = re.compile(r"\.([^.\[\]`]+)|\[(\d+|\.\.\.)\]")
_EXPECTED: Final = re.compile(r"Expected `([^`]+)`(.*?)(?:, got `([^`]+)`)?", re.DOTALL)
_FIELD: Final = re.compile(r"Object (missing required|contains unknown) field `(.+)`", re.DOTALL)
_MAX_SHOWN: Final = 80
_NOT_GIVEN: Final = object()
_WORDS: Final = {
    "int": "a whole number", "float": "a number", "str": "a text", "bool": "true or false", "array": "a list",
    "object": "an object", "null": "null", "datetime": "an instant", "bytes": "bytes",
    "Callable": "a function",
}  # fmt: skip


def shown(value: object) -> str:
    """The value as an error message may show it: short, and without raising."""
    try:
        text = ascii(value)
    except Exception:  # whatever an object of somebody else does when it is asked what it is
        text = f"<{type(value).__name__}>"
    return text if len(text) <= _MAX_SHOWN else text[: _MAX_SHOWN - 1] + "…"


def explained(error: msgspec.ValidationError, type: Any, value: object = _NOT_GIVEN) -> tuple[Place, str]:
    """Where a value does not fit its type, and why: what is expected there, and what `value`, the whole, has there."""
    text, _, place = str(error).partition(" - at ")
    parts = tuple([_part(name, index) for name, index in _PART.findall(place)])
    field, expected = _FIELD.fullmatch(text), _EXPECTED.fullmatch(text)
    if field is not None:
        return parts, _about_field(field[1], field[2], type, parts)
    if expected is not None:
        wanted = " or ".join([_WORDS.get(each, each) for each in expected[1].split(" | ")])
        given = _given(value, parts, expected[3])
        return parts, f"expected {wanted}{expected[2]}{f', got {given}' if given else ''}"
    choices = _unique(_values(_at(msgspec.inspect.type_info(type), parts))) if text.startswith("Invalid ") else ""
    if not choices:
        return parts, text
    given = _given(value, parts, None) or text.partition(" value ")[2]
    return parts, f"expected one of {choices}{f', got {given}' if given else ''}"


def missing_field(error: msgspec.ValidationError) -> str | None:
    """The name of a field that the value should have and has not, when that is what is wrong."""
    field = _FIELD.match(str(error).partition(" - at ")[0])
    return field[2] if field is not None and field[1] == "missing required" else None


def place_text(place: Place, what: str = "") -> str:
    """A place as it is written: `messages[0].role`."""
    text = what
    for part in place:
        text += f"[{part}]" if isinstance(part, int) else f".{part}" if text else part
    return text


def _part(name: str, index: str) -> str | int:
    if name:
        return name
    return int(index) if index.isdecimal() else index


def _about_field(fault: str, name: str, type: Any, place: Place) -> str:
    if fault == "missing required":
        return f"the field {name} is missing"
    known = _unique(_names(_at(msgspec.inspect.type_info(type), place)))
    return f"there is no field {shown(name)} here{f'; there are: {known}' if known else ''}"


def _given(value: object, place: Place, kind: str | None) -> str:
    """What stands at the place; its kind where that says more, or the place cannot be found."""
    try:
        for part in place:
            inner = cast(Any, value)
            value = inner[part] if isinstance(value, dict | list | tuple) else getattr(inner, str(part))
    except (LookupError, TypeError, AttributeError):
        value = _NOT_GIVEN
    if value is None or isinstance(value, str | int | float):
        return "null" if value is None else shown(value)
    return _WORDS.get(kind or "", kind or "")


# --- what a type says about a place -----------------------------------------------------------------------------------


def _at(node: Any, place: Place) -> Iterator[tuple[Any, str | int]]:
    """The types that may stand at a place in another one, each with the name of the place in what holds it."""
    name: str | int = ""
    nodes = _options(node)
    for index, name in enumerate(place):
        if index == len(place) - 1:
            yield from [(each, name) for each in nodes if name == getattr(each, "tag_field", None)]
        nodes = [option for each in nodes for inner in _inside(each, name) for option in _options(inner)]
    yield from [(each, "") for each in nodes]


def _values(nodes: Iterator[tuple[Any, str | int]]) -> Iterator[str]:
    """What can be chosen from where one of these is expected."""
    for node, tag_field in nodes:
        if tag_field:
            yield str(node.tag)
        elif isinstance(node, msgspec.inspect.EnumType):
            yield from [str(member.value) for member in node.cls]
        elif isinstance(node, msgspec.inspect.LiteralType):
            yield from [str(value) for value in node.values]


def _names(nodes: Iterator[tuple[Any, str | int]]) -> Iterator[str]:
    for node, _ in nodes:
        if isinstance(node, msgspec.inspect.StructType):
            yield from [field.encode_name for field in node.fields]


def _unique(names: Iterator[str]) -> str:
    return ", ".join(dict.fromkeys(names))


def _options(node: Any) -> list[Any]:
    if isinstance(node, msgspec.inspect.Metadata):
        return _options(node.type)
    return [*node.types] if isinstance(node, msgspec.inspect.UnionType) else [node]


def _inside(node: Any, name: str | int) -> list[Any]:
    if isinstance(node, msgspec.inspect.StructType):
        return [field.type for field in node.fields if field.encode_name == name]
    if isinstance(node, msgspec.inspect.TupleType):
        return [*node.item_types]
    item = getattr(node, "value_type", None) or getattr(node, "item_type", None)
    return [] if item is None else [item]
