"""Results of functions and their steps as JSON, and back into the types a function asks for.

Above: `function` records what a step returns, and decodes what was recorded. Below: msgspec, the standard library.
Holds: what is recorded is what was returned. What JSON does not have (NaN, two keys of one name, numbers that no reader
gets back) is refused and never changed in silence; only half characters are mended. Whether a type can be decoded into
is known before a step has its effect.

Source: `docs/howto/write-a-function-agent.md`; ADR 0029.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from functools import lru_cache
from typing import Any, Final, cast

import msgspec
from msgspec import inspect as types

from awaken.domain.errors import PermanentFailure
from awaken.executors.mending import mend, mended, named

_encode: Final = msgspec.json.Encoder().encode
_ANYTHING: Final = msgspec.json.Decoder(Any)
_INTEGERS: Final = range(-(2**63), 2**64)
"""What every reader of JSON that is used here gets back as it was."""


def encoded(value: Any, what: str, *, is_output: bool = False) -> bytes:
    """The JSON of what `what` returned. In the output of a run, which nobody computes with again, a number that is none
    has its name: "NaN", "Infinity".

    Raises:
        PermanentFailure: It has none.
    """
    try:
        if _is_plain(value):  # usually; what follows takes ten times as long
            return _encode(mended(value))
        plain = msgspec.to_builtins(value, enc_hook=_dumped)
        if is_output:
            plain = named(plain)
        text = json.dumps(plain, allow_nan=False, ensure_ascii=False, separators=(",", ":"))
        json.loads(text, object_pairs_hook=_unique, parse_int=_integer)
        return mend(text).encode()
    except Exception as error:  # the value's own methods may raise whatever they like
        raise PermanentFailure(f"{what} returned a value that has no JSON form: {_reason(error)}") from error


def step_decoder(type: Any, key: str) -> msgspec.json.Decoder[Any]:
    """What decodes the results of the step into its type.

    Raises:
        PermanentFailure: The type names something that is not there, or nothing can be decoded into it.
    """
    if type is Any:
        return _ANYTHING
    try:
        return _made(type) if _is_unhashable(type) else _decoder(type)
    except Exception as error:
        raise PermanentFailure(f"the type of step {key!r} cannot be used: {error}") from error


def json_schema_of(type: Any) -> dict[str, Any] | None:
    """The JSON schema of what is decoded into the type; None where anything is, or nobody can say."""
    if type is Any:
        return None
    make = getattr(type, "model_json_schema", None)
    try:
        schema: dict[str, Any] = make() if make is not None else msgspec.json.schema(type)
    except Exception:  # of a type with parts that only their own methods know
        return None
    return schema


def _made(type: Any) -> msgspec.json.Decoder[Any]:
    decoder = msgspec.json.Decoder(type, dec_hook=_validated)
    for custom in _custom_types(types.type_info(type), set()):
        _check_custom(custom)
    return decoder


_decoder: Final = lru_cache(maxsize=256)(_made)


def decoded(raw: msgspec.Raw, decoder: msgspec.json.Decoder[Any], key: str) -> Any:
    """A recorded result.

    Raises:
        PermanentFailure: It does not fit the type.
    """
    try:
        return decoder.decode(raw)
    except Exception as error:
        raise PermanentFailure(f"the recorded value of step {key!r} does not fit its type: {_reason(error)}") from error


def _is_unhashable(type: Any) -> bool:
    try:
        hash(type)
    except TypeError:
        return True
    return False


def _is_plain(value: Any) -> bool:
    """Whether it is the JSON it becomes."""
    kind = cast("type[Any]", type(value))
    if kind is str or kind is bool or value is None:
        return True
    if kind is int:
        return value in _INTEGERS
    if kind is float:
        return math.isfinite(value)
    if kind is list:
        return all([_is_plain(item) for item in value])
    return kind is dict and all([type(key) is str and _is_plain(item) for key, item in value.items()])


def _dumped(value: Any) -> Any:
    """The JSON form of a Pydantic model, found by its method so that Pydantic need not be imported."""
    dump = getattr(value, "model_dump", None)
    if dump is None:
        raise TypeError(f"objects of type {type(value).__qualname__} are not JSON")
    try:
        return dump(mode="json", by_alias=True)  # under the names by which it is read back
    except Exception as error:
        raise TypeError from error


def _validated(type: Any, value: Any) -> Any:
    return type.model_validate(value)


def _unique(pairs: list[tuple[str, Any]]) -> None:
    names = [name for name, _ in pairs]
    if len(set(names)) != len(names):
        doubled = next(name for name in names if names.count(name) > 1)
        raise ValueError(f"the key {doubled!a:.80} appears twice in one object")


def _integer(digits: str) -> None:
    if len(digits) > 20 or int(digits) not in _INTEGERS:
        raise ValueError("an integer has to fit into 64 bits")


def _custom_types(info: Any, seen: set[int]) -> Iterator[Any]:
    """The classes in a type that msgspec leaves to others."""
    if id(info) in seen:
        return
    seen.add(id(info))
    if isinstance(info, types.CustomType):
        yield info.cls
    elif isinstance(info, (list, tuple)):
        for item in info:  # pyright: ignore[reportUnknownVariableType]
            yield from _custom_types(item, seen)
    elif isinstance(info, (types.Type, types.Field)):
        for name in info.__struct_fields__:
            yield from _custom_types(getattr(info, name), seen)


def _check_custom(custom: Any) -> None:
    """Raises for a class that no JSON can be decoded into."""
    if getattr(custom, "model_validate", None) is None:
        raise TypeError(f"JSON cannot be decoded into {custom!r}")
    if not getattr(custom, "__pydantic_complete__", True):
        try:
            custom.model_rebuild()
        except Exception as error:
            raise TypeError(f"{custom!r} names something that is not defined") from error


def _reason(error: BaseException) -> str:
    """Why, in the machinery's own words; the class alone of what a value's or a type's own methods raise."""
    own = error.__cause__
    return str(error) if own is None else type(own).__name__
