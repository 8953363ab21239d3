"""Request bodies: read within a limit, then JSON that leaves no two ways to understand it.

Above: `app`, before a handler sees a typed body. Below: the ASGI channel.
Holds: no more than the limit is ever kept, whatever the headers claim. Depth is known before anything is parsed. What
passes holds only what a store can keep: no doubled key, no number that JSON writers disagree about, no half character.

Source: docs/reference/http.md; SRV-007.
"""

from __future__ import annotations

import json
import re
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any, Final, NoReturn, cast

from awaken.http.problems import Problem

Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]

MAX_STRUCTURE_CHARS: Final = 256 * 1024
"""What a body may hold outside its texts: several times what the largest acceptable request needs."""
MAX_QUOTES: Final = 500_000

_STRINGS: Final = re.compile(r'"[^"\\]*(?:\\.[^"\\]*)*"', re.DOTALL)
_FLAT: Final = re.compile(r"[^\[\]{}]+")
_HALF: Final = re.compile("[\ud800-\udfff\0]")
_MAX_INT_DIGITS: Final = 20
_INT_RANGE: Final = range(-(2**63), 2**64)


class ClientGone(Exception):
    """The client closed the connection before its request was complete, or while it was being answered."""


async def read_body(receive: Receive, limit_bytes: int, declared: str | None, advice: str = "") -> bytes:
    """The whole body. `declared` is its `Content-Length`, where there is one. `advice`: what to do if it is too large.

    Raises:
        Problem: `body_too_large`, as soon as that is known.
        ClientGone: It never arrived.
    """
    if declared is not None and declared.isdecimal() and int(declared[:20]) > limit_bytes:
        raise _too_large(limit_bytes, advice)
    parts: list[bytes] = []
    size = 0
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise ClientGone
        part = cast(bytes, message.get("body", b""))
        size += len(part)
        if size > limit_bytes:
            raise _too_large(limit_bytes, advice)
        parts.append(part)
        if not message.get("more_body", False):
            return parts[0] if len(parts) == 1 else b"".join(parts)


def parse_object(body: bytes, *, max_depth: int, list_field: str | None = None) -> dict[str, Any]:
    """The JSON object in the body, without NUL and lone surrogates: those become U+FFFD. With a `list_field` it may be
    an array, which is an object with that field alone.

    Raises:
        Problem: `malformed_json` with the offset in bytes where there is one; `invalid_request` for a number
            out of range, and for too many values.
    """
    try:
        text = body.decode()
    except UnicodeDecodeError as error:
        raise _malformed("the body is not UTF-8", error.start) from error
    _check_depth(text, max_depth)
    if len(text) > MAX_STRUCTURE_CHARS:
        _check_structure(text)
    try:
        value = _decoder.decode(text)
    except json.JSONDecodeError as error:
        raise _malformed(f"the body is not JSON: {error.msg}", len(text[: error.pos].encode())) from error
    if isinstance(value, list) and list_field is not None:
        value = {list_field: cast(list[Any], value)}
    if not isinstance(value, dict):
        raise _malformed("the body must be a JSON object", 0)
    found = cast(dict[str, Any], value)
    return _mended(found) if "\\u" in text else found


def _check_depth(text: str, max_depth: int) -> None:
    """Counting brackets is enough for most bodies; only one with many of them is looked at closely."""
    if text.count("[") + text.count("{") <= max_depth:
        return
    depth = 0
    for bracket in _FLAT.sub("", _STRINGS.sub("", text)):
        depth += 1 if bracket in "[{" else -1
        if depth > max_depth:
            raise _malformed(f"the body is nested deeper than {max_depth} levels", None)


def _check_structure(text: str) -> None:
    """Refuse a large body made of very many small values: parsing them would hold up everybody else."""
    if text.count('"') > MAX_QUOTES or len(_STRINGS.sub("", text)) > MAX_STRUCTURE_CHARS:
        raise Problem("invalid_request", "the body holds too many values; only texts may be large")


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        seen: set[str] = set()
        doubled = next(key for key, _ in pairs if key in seen or seen.add(key))
        raise _malformed(f"the key {_shown(doubled)} appears twice in one object", None)
    return found


def _integer(digits: str) -> int:
    if len(digits) <= _MAX_INT_DIGITS:
        value = int(digits)
        if value in _INT_RANGE:
            return value
    raise Problem("invalid_request", "the body holds an integer that does not fit into 64 bits")


def _fraction(digits: str) -> float:
    value = float(digits)
    if value in (float("inf"), float("-inf")):
        raise Problem("invalid_request", "the body holds a number that is too large")
    return value


def _constant(name: str) -> NoReturn:
    raise _malformed(f"the body is not JSON: {name} is not a JSON value", None)


def _mended(value: Any) -> Any:
    """The value with what no id may hold and no text needs replaced."""
    if isinstance(value, str):
        return _HALF.sub("\ufffd", value)
    if isinstance(value, list):
        return [_mended(item) for item in cast(list[Any], value)]
    if isinstance(value, dict):
        return {_mended(key): _mended(item) for key, item in cast(dict[str, Any], value).items()}
    return value


def _shown(key: str) -> str:
    return ascii(key[:80])


def _malformed(detail: str, offset: int | None) -> Problem:
    return Problem("malformed_json", detail, facts={} if offset is None else {"offset": offset})


def _too_large(limit_bytes: int, advice: str) -> Problem:
    detail = f"the body is larger than {limit_bytes} bytes" + (f": {advice}" if advice else "")
    return Problem("body_too_large", detail, facts={"limit_bytes": limit_bytes})


_decoder: Final = json.JSONDecoder(
    object_pairs_hook=_unique, parse_int=_integer, parse_float=_fraction, parse_constant=_constant
)
