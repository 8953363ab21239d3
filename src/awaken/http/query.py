"""Query strings as types: parsed once, and a parameter nobody declared is refused.

Above: `operation` names a type per operation; handlers read it.
Holds: a misspelled filter is an error, because passing it over would return everything.

Source: docs/reference/http.md; SRV-007.
"""

from __future__ import annotations

from functools import cache
from typing import Annotated, ClassVar, Final, Literal, TypeVar
from urllib.parse import parse_qsl

import msgspec
from msgspec import Meta

from awaken.domain.errors import ValidationError
from awaken.domain.event import CHANNELS
from awaken.domain.ids import checked_id
from awaken.domain.selection import CHANNEL_NAMES, INCLUDED
from awaken.http.problems import FieldError, Problem, invalid, shape_problem
from awaken.http.settings import DEFAULT_LIMIT, MAX_LIMIT

MAX_PARAMETERS: Final = 32
METADATA_PREFIX: Final = "metadata."

Order = Literal["asc", "desc"]
Limit = Annotated[int, Meta(ge=1, le=MAX_LIMIT)]


def _listed(names: tuple[str, ...]) -> Meta:
    one = f"({'|'.join(names)})"
    return Meta(extra_json_schema={"pattern": f"^{one}(,{one})*$"})


ChannelNames = Annotated[str, _listed(CHANNEL_NAMES)]
KindNames = Annotated[str, _listed(tuple(sorted(CHANNELS)))]


Included = Annotated[str, _listed(INCLUDED)]
"""What is to be said beside runs, with commas between; their usage always is."""

MetadataFilter = Annotated[dict[str, str], Meta(max_length=MAX_PARAMETERS)]


class Query(msgspec.Struct, frozen=True, kw_only=True):
    """No parameters at all; those of an operation are a subclass.

    A field `metadata` takes every `metadata.<key>=value`.
    """

    passes_over: ClassVar[bool] = False
    """Whether parameters that it does not have, and empty ones, are passed over, and one that is repeated is read as
    all its values, with commas between them: so in other protocols."""
    may_wait: ClassVar[bool] = False
    """Whether there are requests with these parameters that wait for something to happen."""

    @property
    def waits(self) -> bool:
        """Whether this one does, so that it must not take the room of those that make it happen."""
        return self.may_wait


class Paging(Query, frozen=True, kw_only=True):
    limit: Limit = DEFAULT_LIMIT
    cursor: str | None = None
    """`next_cursor` of the page before, with the same filters and order."""


Q = TypeVar("Q", bound=Query)


def parse_query(raw: bytes, type: type[Q]) -> Q:
    """The query string as the operation's type.

    Raises:
        Problem: `unknown_parameter`, or `invalid_request` for a value that does not fit or a repeated parameter.
    """
    if not raw:
        return _defaults(type)
    if raw.count(b"&") >= MAX_PARAMETERS:
        raise Problem("invalid_request", f"the query has more than {MAX_PARAMETERS} parameters")
    try:
        text = raw.decode("ascii")
        pairs = parse_qsl(text, keep_blank_values=True, errors="strict", max_num_fields=MAX_PARAMETERS)
    except ValueError as error:
        raise Problem("invalid_request", "the query string cannot be read") from error
    known = type.__struct_fields__
    values: dict[str, str] = {}
    metadata: dict[str, str] = {}
    for name, value in pairs:
        if name.startswith(METADATA_PREFIX) and "metadata" in known:
            _take_metadata(metadata, name, value)
            continue
        if type.passes_over and (name not in known or not value):
            continue
        if name not in known or name == "metadata":
            raise _unknown(name, known)
        if name in values and type.passes_over:
            values[name] += f",{value}"
            continue
        if name in values:
            raise invalid("invalid_request", f"the parameter {name} is given twice", "query", name)
        values[name] = value
        if name.endswith("_id"):
            _check_id(name, value)
    try:
        given = {**values, "metadata": metadata} if metadata else values
        found = msgspec.convert(given, type, strict=False)
    except msgspec.ValidationError as error:
        raise shape_problem(error, "query", type, values) from error
    for name in values:
        if getattr(found, name) is None:  # the decoder takes the text `null` for an absent value
            raise invalid("invalid_request", f"{name} cannot be null; leave it out instead", "query", name)
    return found


def parse_names(text: str | None, known: frozenset[str], parameter: str) -> frozenset[str] | None:
    """A comma-separated choice; None when the parameter is absent. Raises Problem for a name that is not known."""
    if text is None:
        return None
    names = frozenset(text.split(","))
    for name in sorted(names - known):
        detail = f"{parameter} does not know {name[:80]!r}; there are: {', '.join(sorted(known))}"
        raise invalid("invalid_request", detail, "query", parameter)
    return names


def _take_metadata(found: dict[str, str], name: str, value: str) -> None:
    key = name.removeprefix(METADATA_PREFIX)
    if key in found:
        raise invalid("invalid_request", f"the parameter {name} is given twice", "query", name)
    found[key] = value


def _check_id(name: str, value: str) -> None:
    try:
        checked_id(value, what=name)
    except ValidationError as error:
        raise invalid(error.code, str(error), "query", name) from error


def _unknown(name: str, known: tuple[str, ...]) -> Problem:
    shown = name[:80]
    detail = f"there is no parameter {shown!r} here; there are: {', '.join(known) or 'none'}"
    return Problem("unknown_parameter", detail, errors=(FieldError(("query", shown), detail, "unknown_parameter"),))


@cache
def _defaults(type: type[Q]) -> Q:
    return type()
