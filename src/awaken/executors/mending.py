"""Mend what a model or a tool says by chance and JSON cannot hold: half characters, and numbers that are none.

Above: the port mends what a run writes, drivers what they tell their model besides. Below: msgspec.
Holds: half of a character (of an emoji cut in two, of a file name in another encoding) becomes U+FFFD, the same for the
pieces of a text as for the whole; everything else stays as it is, and what is whole is the same object.
"""

from __future__ import annotations

import json
import math
import re
from typing import Any, Final, TypeVar, cast

import msgspec

T = TypeVar("T")

_HALF: Final = re.compile("[\ud800-\udfff]")
_encode: Final = msgspec.json.Encoder().encode


def mended(value: T) -> T:
    """The value without half characters. What cannot be JSON for another reason passes; whoever stores it refuses."""
    try:
        _encode(value)
    except UnicodeEncodeError:
        return cast(T, mend(value))
    except Exception:
        return value
    return value


def storable(value: T) -> T:
    """The value without half characters and numbers that are none, for one that was refused as it is."""
    return cast(T, named(mend(value)))


def mend(value: Any) -> Any:
    """As `mended`, for a value that need not be JSON: texts in the containers of JSON and in structs."""
    if isinstance(value, str):
        return _HALF.sub("\ufffd", value)
    if isinstance(value, list):
        return [mend(item) for item in cast("list[Any]", value)]
    if isinstance(value, tuple):
        return tuple([mend(item) for item in cast("tuple[Any, ...]", value)])
    if isinstance(value, dict):
        return {mend(key): mend(item) for key, item in cast("dict[Any, Any]", value).items()}
    if isinstance(value, msgspec.Struct):
        return msgspec.structs.replace(value, **{name: mend(getattr(value, name)) for name in value.__struct_fields__})
    return value


def plain(value: Any) -> Any:
    """Plain JSON as a store can hold it: the value itself, or one without half characters and numbers that are none."""
    try:
        json.dumps(value, allow_nan=False, ensure_ascii=False).encode()
    except ValueError:  # of an encoding, too
        return named(mend(value))
    except TypeError:  # it is none; whoever stores it refuses
        return value
    return value


def named(value: Any) -> Any:
    """The value with names, as Pydantic gives them, for the numbers in it that are none."""
    if isinstance(value, float) and not math.isfinite(value):
        return "NaN" if math.isnan(value) else "Infinity" if value > 0 else "-Infinity"
    if isinstance(value, list):
        return [named(item) for item in cast("list[Any]", value)]
    if isinstance(value, tuple):
        return tuple([named(item) for item in cast("tuple[Any, ...]", value)])
    if isinstance(value, dict):
        return {key: named(item) for key, item in cast("dict[Any, Any]", value).items()}
    if isinstance(value, msgspec.Struct):
        return msgspec.structs.replace(value, **{name: named(getattr(value, name)) for name in value.__struct_fields__})
    return value
