"""Values from outside, checked once where they come in: what passes is what a store gives back.

Above: the mailbox checks what it is asked for, and what agents return. Below: msgspec, whose refusals `explaining` puts
into words.
Holds: a value passes when its JSON reads back as the same value of its type; the difference between a list and a tuple
is none. So nothing is stored that cannot be read, and nothing is changed in silence on its way: a NaN would become
null, and bytes a text.

Source: ADR 0028.
"""

from __future__ import annotations

import datetime
import decimal
import math
from collections.abc import Iterable
from enum import Enum
from functools import cache
from typing import Annotated, Any, Final, TypeVar, cast

import msgspec

from awaken.domain.errors import ValidationError
from awaken.domain.explaining import Place, explained, place_text
from awaken.domain.explaining import shown as shown

MAX_DEPTH: Final = 100
"""How deep a value may be nested: one that is deeper than a decoder goes could be written and never be read."""
_NOT_JSON: Final = (
    bytes, bytearray, memoryview, datetime.datetime, datetime.date, datetime.time, datetime.timedelta,
    decimal.Decimal,
)  # fmt: skip
"""What msgspec would write as text, and nobody would read back as it was."""
MAX_WAIT_S: Final = 1e9
"""Longer than anybody waits; what a timer can take."""
MINUTE_S: Final = 60
HOUR_S: Final = 3_600
DAY_S: Final = 86_400
MAX_AGE_S: Final = 36_600 * DAY_S
"""A hundred years, which is for ever."""
Patience = Annotated[float, msgspec.Meta(ge=0, le=DAY_S)]
"""Seconds that something may take, of which nobody waits for more than a day."""
Interval = Annotated[float, msgspec.Meta(ge=0.001, le=366 * DAY_S)]
"""Seconds until something is done again, or that are granted to what needs a moment: never at once."""
Age = Annotated[float, msgspec.Meta(ge=0, le=MAX_AGE_S)]
"""Seconds for which something has been there, or is kept."""
_FAILURES: Final = (TypeError, ValueError, OverflowError, RecursionError, msgspec.MsgspecError)
T = TypeVar("T")

_encode: Final = msgspec.json.Encoder().encode


def checked(value: object, type: type[T], *, what: str = "") -> T:
    """The value as it reads back from a store. `what` is its name in the message of the error.

    Raises:
        ValidationError: It is no such value, or holds something that has no JSON form.
    """
    return measured(value, type, what=what)[0]


def measured(value: object, type: type[T], *, what: str = "") -> tuple[T, int]:
    """As `checked`, with the size of the value as JSON, in bytes."""
    try:
        data = _encode(value)
        found = _decoder(type).decode(data)
    except _FAILURES as error:
        _examine(value, type, what)
        raise ValidationError(f"{what or 'the value'} has no JSON form: {error}") from error
    if found != value or data.count(b"[") + data.count(b"{") > MAX_DEPTH:
        _examine(value, type, what)
    return found, len(data)


def readable(value: object, type: type[T], *, what: str = "") -> T:
    """As `checked` for the parts of the value that have a type; what may be any JSON is taken as it can be written.

    For what agents produce, once `mending` has made of it what a store can hold.

    Raises:
        ValidationError: It could not be read back, or a number in it is none, and would become null.
    """
    return weighed(value, type, what=what)[0]


def weighed(value: object, type: type[T], *, what: str = "") -> tuple[T, int]:
    """As `readable`, with the size of the value as JSON, in bytes."""
    found, data = _read_back(value, type, what)
    return found, len(data)


def encoded(value: object, type: Any, *, what: str = "") -> bytes:
    """The JSON of a value that is `readable`. Raises ValidationError as that does."""
    return _read_back(value, type, what)[1]


def _read_back(value: object, type: type[T], what: str) -> tuple[T, bytes]:
    try:
        data = _encode(value)
        found = _decoder(type).decode(data)
    except _FAILURES as error:
        _examine(value, type, what)
        raise ValidationError(f"{what or 'the value'} has no JSON form: {error}") from error
    if found != value:
        _check_numbers(_convert(value, type, what), (), what)
    return found, data


def check_settings(settings: msgspec.Struct, whose: str) -> None:
    """Every field has its type and lies within its bounds: a whole number is whole, and no number is infinite. To be
    called when they are made: a list where a tuple belongs becomes one.

    Raises:
        ValidationError: Naming the setting.
    """
    for field in _fields(type(settings)):
        value = getattr(settings, field.name)
        try:
            if isinstance(value, float) and not math.isfinite(value):
                raise msgspec.ValidationError("Expected a finite number")
            msgspec.structs.force_setattr(settings, field.name, msgspec.convert(value, field.type))
        except msgspec.ValidationError as error:
            _, text = explained(error, field.type, value)
            raise ValidationError(f"setting {field.name} = {shown(value)} {whose} cannot be: {text}") from None
        except UnicodeEncodeError:
            text = f"setting {field.name} = {shown(value)} {whose} cannot be: it holds half of a character"
            raise ValidationError(text) from None


@cache
def _fields(of: type[msgspec.Struct]) -> tuple[msgspec.structs.FieldInfo, ...]:
    """Their types are written as text, and reading them takes longer than checking every value."""
    return msgspec.structs.fields(of)


def checked_seconds(seconds: object, *, what: str) -> float:
    """A time to wait, bounded by what a timer can take. Raises ValidationError for what is no number, or below 0.

    A timer that is set for no number at all would put every other timer out of order.
    """
    if not isinstance(seconds, bool) and isinstance(seconds, int | float) and seconds >= 0:  # a NaN is not
        return float(min(seconds, MAX_WAIT_S))
    raise ValidationError(f"{what} is a number of seconds from 0, and not {shown(seconds)}", loc=("body", what))


def checked_window(seconds: object) -> float:
    """A part of the last hour. Raises ValidationError for what is no number of seconds from a minute to an hour."""
    if not isinstance(seconds, bool) and isinstance(seconds, int | float) and MINUTE_S <= seconds <= HOUR_S:
        return float(seconds)
    raise ValidationError(
        f"window_s is {MINUTE_S} to {HOUR_S} seconds, and not {shown(seconds)}", loc=("query", "window_s")
    )


def listed(values: object, what: str) -> list[object]:
    """The items of a list. Raises ValidationError for what is none, such as a single text."""
    if isinstance(values, str | bytes) or not isinstance(values, Iterable):
        raise ValidationError(f"{what} is a list, and not {shown(values)}", loc=("body", what))
    return [*cast("Iterable[object]", values)]


def checked_flag(value: object, *, what: str) -> bool:
    """Raises ValidationError for what is neither True nor False."""
    if not isinstance(value, bool):
        raise ValidationError(f"{what} is true or false, and not {shown(value)}", loc=("body", what))
    return value


def checked_choice(value: object, choices: Iterable[str], *, what: str) -> str:
    """The value where it is one of the choices. Raises ValidationError, which lists them."""
    known = tuple(choices)
    if not isinstance(value, str) or value not in known:
        raise ValidationError(f"{what} is one of {', '.join(known)}, and not {shown(value)}", loc=(what,))
    return value


def checked_seq(value: object, *, what: str) -> int | None:
    """A place in a conversation, from 1; None for none. Raises ValidationError."""
    if value is not None and (type(value) is not int or value < 1):
        raise ValidationError(f"{what} is a whole number from 1, or None, and not {shown(value)}", loc=("body", what))
    return value


def checked_limit(limit: object) -> int | None:
    """How many items of a list are wanted; None for all. Raises ValidationError for what is no whole number."""
    if limit is not None and (type(limit) is not int or limit < 0):
        raise ValidationError(f"limit is a whole number from 0, or None, and not {shown(limit)}", loc=("limit",))
    return limit


MAX_FEW: Final = 20
"""Of each list of what wants attention."""


def checked_few(limit: object) -> int:
    """How many are wanted of each of several short lists. Raises ValidationError for another number than 1 to 20."""
    if type(limit) is not int or not 1 <= limit <= MAX_FEW:
        raise ValidationError(f"limit is 1 to {MAX_FEW}, and not {shown(limit)}", loc=("limit",))
    return limit


@cache
def _decoder(type: Any) -> msgspec.json.Decoder[Any]:
    return msgspec.json.Decoder(type)


def _examine(value: object, type: Any, what: str) -> None:
    """Raises ValidationError that names the place of what is wrong; passes what is merely written otherwise."""
    _convert(value, type, what)
    _check_json(value, (), what)


def _convert(value: object, type: Any, what: str) -> Any:
    """The value in plain parts, of which those that have a type fit it."""
    try:
        plain = msgspec.to_builtins(value, builtin_types=_NOT_JSON)
    except RecursionError:
        raise _refused((), f"nested deeper than {MAX_DEPTH} levels, or inside itself", what) from None
    except _FAILURES as error:
        raise _refused((), f"it has no JSON form ({error})", what) from error
    try:
        msgspec.convert(plain, type)
    except msgspec.ValidationError as error:
        raise _refused(*explained(error, type, plain), what) from None
    except UnicodeEncodeError as error:
        _check_json(value, (), what)  # names the place
        raise _refused((), "half of a character", what) from error
    return plain


def _check_numbers(value: Any, place: Place, what: str) -> None:
    if isinstance(value, float):
        _check_number(value, place, what)
    elif isinstance(value, dict):
        for key, item in cast("dict[Any, Any]", value).items():
            _check_numbers(item, (*place, str(key)), what)
    elif isinstance(value, list | tuple):
        for index, item in enumerate(cast("list[Any]", value)):
            _check_numbers(item, (*place, index), what)


def _check_number(value: float, place: Place, what: str) -> None:
    if not math.isfinite(value):
        raise _refused(place, f"{value} is not a JSON number", what)


def _check_json(value: Any, place: Place, what: str) -> None:
    """Of records, which a type describes, what they hold; of all else, whether it is a JSON value itself."""
    if isinstance(value, str):
        if not _is_text(value):
            raise _refused(place, f"{shown(value)} holds half of a character", what)
    elif isinstance(value, float):
        _check_number(value, place, what)
    elif len(place) > MAX_DEPTH:
        raise _refused((), f"nested deeper than {MAX_DEPTH} levels, or inside itself", what)
    elif isinstance(value, dict):
        for key, item in cast("dict[Any, Any]", value).items():
            if not isinstance(key, str) or not _is_text(key):
                raise _refused(place, f"the key {shown(key)} is not a text", what)
            _check_json(item, (*place, key), what)
    elif isinstance(value, list | tuple):
        for index, item in enumerate(cast("list[Any]", value)):
            _check_json(item, (*place, index), what)
    elif isinstance(value, msgspec.Struct):
        for name, item in [(name, getattr(value, name)) for name in value.__struct_fields__]:
            if item is not msgspec.UNSET:
                _check_json(item, (*place, name), what)
    elif value is not None and not isinstance(value, int | Enum):
        raise _refused(place, f"{shown(value)} is not a JSON value", what)


def _is_text(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _refused(place: Place, text: str, what: str) -> ValidationError:
    where = place_text(place, what)
    return ValidationError(f"{where}: {text}" if where else text, loc=("body", *place))


def shown_url(url: object) -> str:
    """A URL as it may be printed: without a user and a password, wherever in it they stand."""
    if isinstance(url, str) and "@" in url:
        url = f"{url.partition(':')[0]}:...@{url.rpartition('@')[2]}"  # in ASCII, as `shown` escapes what is not
    return shown(url)
