"""What one stream over several threads and runs follows, and from where: as text, as a client writes it, and checked.

Above: `GET /v1/watch`, the clients and `Awaken.watch`, which all take the same. Below: ids and cursors.
Holds: a scope is the id of a thread or of a run, with or without a cursor behind an `@`. What both a thread and a run
have, as they do where a thread was made for its first run, needs `thread:` or `run:` before it. An id may have an `@`
in it itself, and even end like a cursor: one that is followed by a lone `@` is taken as it is.

Source: docs/howto/stream-and-resume.md; docs/reference/http.md.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Final, Literal, cast, get_args

from awaken.domain.checking import checked_flag, shown
from awaken.domain.cursor import CURSOR_LIKE, EVENT_CURSOR_PATTERN
from awaken.domain.errors import ValidationError
from awaken.domain.event import CHANNELS
from awaken.domain.ids import checked_id

MAX_WATCHED: Final = 20
"""Scopes of one stream: as many as somebody can look at side by side."""
HINT_KINDS: Final = frozenset(
    [kind for kind, channel in CHANNELS.items() if channel in ("lifecycle", "mailbox", "decisions")]
)
"""What changes a list of threads, runs or tickets."""
_CURSOR: Final = re.compile(EVENT_CURSOR_PATTERN)

Scopes = dict[str, str | None]
"""Names of scopes as they were asked for, each with the cursor after which it is followed, or None."""
Sort = Literal["thread", "run"]
On = Iterable[str] | Mapping[str, str | None]
"""The same as a program gives it: ids, or ids with their cursors."""


def scopes_of(on: On) -> Scopes:
    """Raises ValidationError for what names no scopes, the same one twice, or too many."""
    if isinstance(on, str):
        on = (on,)
    if not isinstance(on, Mapping | Iterable):  # pyright: ignore[reportUnnecessaryIsInstance]
        raise ValidationError(f"on= takes ids of threads and runs, and not {shown(on)}", loc=("on",))
    cursors: Mapping[str, str | None] = cast("Mapping[str, str | None]", on) if isinstance(on, Mapping) else {}
    found: Scopes = {}
    for id in on:
        _add(found, id, cursors.get(id))
    return found


def check_watched(scopes: Scopes, hints: object) -> bool:
    """Whether there are to be hints. Raises ValidationError for what is no such choice, and where nothing is left."""
    if not checked_flag(hints, what="hints") and not scopes:
        raise ValidationError("nothing is named that could be watched; name it with on=, or ask for hints", loc=("on",))
    return hints is True


def read_scopes(text: str) -> Scopes:
    """As written by `written_scopes`, or by hand. Raises as `scopes_of`."""
    found: Scopes = {}
    for each in text.split(","):
        id, at, cursor = each.rpartition("@")
        if at and (not cursor or _CURSOR.fullmatch(cursor)):
            _add(found, id, cursor or None)
        else:
            _add(found, each, None)
    return found


def split_name(name: str) -> tuple[Sort | None, str]:
    """What the name of a scope says that it is, if it does, and its id."""
    for sort in get_args(Sort):
        if name.startswith(f"{sort}:"):
            return sort, name.removeprefix(f"{sort}:")
    return None, name


def no_cursor(cursor: object) -> str:
    """What is wrong where this stands behind the id of a scope."""
    return f"{shown(cursor)} is not a cursor of this server; {CURSOR_LIKE}"


def written_scopes(scopes: Scopes) -> str:
    return ",".join([f"{id}@{cursor or ''}" for id, cursor in scopes.items()])


def _add(found: Scopes, id: str, cursor: str | None) -> None:
    if not isinstance(id, str):  # pyright: ignore[reportUnnecessaryIsInstance]
        raise ValidationError(f"on= takes ids of threads and runs, and not {shown(id)}", loc=("on",))
    checked_id(split_name(id)[1], what="thread or run", loc=("on",))
    if cursor is not None and (not isinstance(cursor, str) or _CURSOR.fullmatch(cursor) is None):  # pyright: ignore[reportUnnecessaryIsInstance]
        raise ValidationError(no_cursor(cursor), loc=("on",))
    if id in found:
        raise ValidationError(f"on names {shown(id)} twice", loc=("on",))
    if len(found) == MAX_WATCHED:
        raise ValidationError(f"on names more than {MAX_WATCHED} threads and runs; watch the others apart", loc=("on",))
    found[id] = cursor
