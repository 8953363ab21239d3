"""The statements of the Postgres store, with their values numbered and typed.

Above: everything here that asks the database. Below: `queries.sql` and `writes.sql`.
Holds: a value's name says its type, so that the same name means the same thing everywhere; a name without a type stops
the import. A write takes many rows, as one array for each column.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Final

import msgspec

from awaken.store.statements import load_statements

_TYPES: Final = {
    "bigint": (
        "thread", "run", "no", "now", "after", "before", "next", "from_seq", "limit", "offset", "commit_no", "rows",
        "internal", "first", "last", "until", "seq",
        "queued", "waiting", "left_open", "pending", "spans", "message_seq", "event_seq", "position", "latest_run_no",
        "ready_priority", "ready_at", "ready_no",
        "thread_v", "run_request_v", "run_state_v", "dispatch_v", "message_v", "events_v", "ticket_v", "errand_v",
        "schedule_v",
    ),
    "text": (
        "scope", "thread_id", "run_id", "dispatch_id", "message_id", "ticket_id", "agent_id", "consumer", "parent",
        "resource_id", "dedupe_key", "without", "sender", "name", "status", "state", "kind", "tool_name", "ready_route",
        "subject", "batch_id", "transaction", "move_id", "source",
    ),
    "bigint[]": ("numbers",),
    "text[]": ("scopes", "thread_ids", "routes", "statuses", "ids"),
    "boolean": ("abandoned",),
    "bytea": ("body", "seen"),
}  # fmt: skip
_TYPE_OF: Final = {name: type for type, names in _TYPES.items() for name in names}
_VALUE: Final = re.compile(r"(?<![:\w]):([a-z_]+)\b(?!\()")
_ROWS: Final = re.compile(r":rows\(([^)]*)\)")


class Statement(msgspec.Struct, frozen=True):
    """`values`: the names of its values, in order. `each`: the same statement for many values at once, in one array for
    each name; its rows begin with the place, from 1, of the values that they are for.
    """

    text: str
    values: tuple[str, ...]
    each: str


class Write(msgspec.Struct, frozen=True):
    """A statement for many rows. `texts`: which of its columns hold texts."""

    text: str
    texts: frozenset[int]


def statement(text: str) -> Statement:
    names = tuple(dict.fromkeys(_VALUE.findall(text)))
    for name in names:
        if name not in _TYPE_OF:
            raise ValueError(f"no type is known of the value {name!r} in {text!r}")
    typed = {name: f"${place}::{_TYPE_OF[name]}" for place, name in enumerate(names, 1)}
    one = _VALUE.sub(lambda found: typed[found[1]], text)
    inner = _VALUE.sub(lambda found: f'many."{found[1]}"', text)
    arrays = ", ".join(f"${place}::{_TYPE_OF[name]}[]" for place, name in enumerate(names, 1))
    columns = ", ".join([f'"{name}"' for name in (*names, "place")])
    each = f"SELECT many.place, found.* FROM unnest({arrays}) WITH ORDINALITY AS many ({columns})"
    return Statement(one, names, f"{each} CROSS JOIN LATERAL (SELECT one.* FROM ({inner}) one OFFSET 0) found ORDER BY many.place")


def _write(text: str) -> Write:
    found = _ROWS.search(text)
    assert found is not None, f"a write takes rows: {text}"
    columns = [column.strip().split(" ") for column in found[1].split(",")]
    arrays = ", ".join(f"${place}::{type}[]" for place, (_, type) in enumerate(columns, 1))
    names = ", ".join(name for name, _ in columns)
    texts = frozenset([place for place, (_, type) in enumerate(columns) if type == "text"])
    return Write(_ROWS.sub(f"unnest({arrays}) AS u ({names})", text), texts)


SQL: Final[Mapping[str, Statement]] = {
    name: statement(text) for name, text in load_statements("awaken.store.postgres").items()
}
WRITES: Final[Mapping[str, Write]] = {
    name: _write(text) for name, text in load_statements("awaken.store.postgres", "writes.sql").items()
}
