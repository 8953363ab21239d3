"""The statements of the Postgres store, with their values numbered and typed.

Above: everything here that asks the database. Below: `queries.sql` and `writes.sql`.
Holds: a value's name says its type, so that the same name means the same thing everywhere; a name without a type stops
the import. A write takes many rows, as one array for each column.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import cache
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
ARRAYS: Final = "/* arrays */"
"""Where arrays are put into a statement for many."""
_TABLE: Final = re.compile(r"(?:INSERT INTO|UPDATE|DELETE FROM) (\w+)")
_KEYS: Final = {
    "threads": ("no",),
    "messages": ("thread", "message_id"),
    "runs": ("no",),
    "dispatches": ("no",),
    "events": ("thread", "first_seq"),
    "spans": ("thread", "event_seq"),
    "states": ("thread",),
    "tickets": ("no",),
    "outbox": ("no",),
    "schedules": ("no",),
    "journal": ("run", "key"),
}
"""What tells the rows of a table apart, among those that a batch writes."""
_ROWS: Final = re.compile(r":rows\(([^)]*)\)")


class Statement(msgspec.Struct, frozen=True):
    """`values`: the names of its values, in order."""

    text: str
    values: tuple[str, ...]
    of_many: str

    def each(self, first: int = 1) -> str:
        """The same statement for many values at once, in one array for each name, which are numbered from `first`; its
        rows begin with the place, from 1, of the values that they are for.
        """
        arrays = [f"${place}::{_TYPE_OF[name]}[]" for place, name in enumerate(self.values, first)]
        return self.of_many.replace(ARRAYS, ", ".join(arrays))


class Write(msgspec.Struct, frozen=True):
    """A statement for many rows. `texts`: which of its columns hold texts; `key`: which of them say what row of `table`
    it is for, none where it is for others.
    """

    text: str
    types: tuple[str, ...]
    table: str
    key: tuple[int, ...]

    @property
    def texts(self) -> list[int]:
        return [place for place, type in enumerate(self.types) if type == "text"]


def statement(text: str) -> Statement:
    names = tuple(dict.fromkeys(_VALUE.findall(text)))
    for name in names:
        if name not in _TYPE_OF:
            raise ValueError(f"no type is known of the value {name!r} in {text!r}")
    typed = {name: f"${place}::{_TYPE_OF[name]}" for place, name in enumerate(names, 1)}
    one = _VALUE.sub(lambda found: typed[found[1]], text)
    inner = _VALUE.sub(lambda found: f'many."{found[1]}"', text)
    columns = ", ".join([f'"{name}"' for name in (*names, "place")])
    by_itself = f"SELECT one.* FROM ({inner}) one OFFSET 0"  # planned as for one value, whatever their number
    of_many = (
        f"SELECT many.place, found.* FROM unnest({ARRAYS}) WITH ORDINALITY AS many ({columns})"
        f" CROSS JOIN LATERAL ({by_itself}) found ORDER BY many.place"
    )
    return Statement(one, names, of_many)


def _write(text: str) -> Write:
    found, table = _ROWS.search(text), _TABLE.match(text)
    assert found is not None and table is not None, f"a write takes rows: {text}"
    columns = [column.strip().split(" ") for column in found[1].split(",")]
    names = [name for name, _ in columns]
    places = [names.index(name) if name in names else None for name in _KEYS[table[1]]]
    key = tuple([place for place in places if place is not None])
    return Write(
        text.rstrip(";").replace(found[0], f"unnest({ARRAYS}) AS u ({', '.join(names)})"),
        tuple([type for _, type in columns]),
        table[1],
        key if len(key) == len(places) else (),
    )


def _array(place: int, type: str) -> str:
    """Given as the database writes an array (`session.as_array`), but for bytes."""
    return f"${place}::{type}[]" if type == "bytea" else f"${place}::text::{type}[]"


@cache
def looked_up_together(names: tuple[str, ...]) -> str:
    """One statement for several lookups: it answers an array of rows for each of them."""
    parts: list[str] = []
    first = 1
    for name in names:
        parts.append(f"ARRAY(SELECT found FROM ({SQL[name].each(first)}) found)")
        first += len(SQL[name].values)
    return f"SELECT {', '.join(parts)}"


@cache
def written_together(names: tuple[str, ...]) -> str:
    """One statement for several writes, done in this order: it answers how many rows each of them changed.

    What a statement has changed is not seen by its own parts, so no row may be changed by two of them. That a value of
    the one depends on the one before is what makes their order sure: a unique index sees them one after the other.
    """
    parts: list[str] = []
    counts: list[str] = []
    first = 1
    for part, name in enumerate(names, 1):
        write = WRITES[name]
        arrays = [_array(place, type) for place, type in enumerate(write.types, first)]
        first += len(arrays)
        if counts:
            arrays[0] = f"CASE WHEN {counts[-1]} IS NOT NULL THEN {arrays[0]} END"
        parts.append(f"w{part} AS ({write.text.replace(ARRAYS, ', '.join(arrays))} RETURNING 1)")
        counts.append(f"(SELECT count(*) FROM w{part})")
    return f"WITH {', '.join(parts)} SELECT {', '.join(counts)}"


SQL: Final[Mapping[str, Statement]] = {
    name: statement(text) for name, text in load_statements("awaken.store.postgres").items()
}
WRITES: Final[Mapping[str, Write]] = {
    name: _write(text) for name, text in load_statements("awaken.store.postgres", "writes.sql").items()
}
