"""A connection, and what is asked over it.

Above: `batch` and `reading`. Below: `queries`, and asyncpg.
Holds: a statement is prepared once for each connection. What the database refuses because of the values of a row is
`Overtaken`; everything else of it passes through to whoever owns the connection.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any, Final

import msgspec

from awaken.store.batches import Overtaken
from awaken.store.postgres.faults import OF_A_ROW
from awaken.store.postgres.queries import SQL, WRITES, Statement, looked_up_together, written_together
from awaken.store.rows import Row, unpack

_encode: Final = msgspec.json.Encoder().encode

Lookup = tuple[str, tuple[Any, ...]]
"""The name of a statement, and its values in its order."""


def lookup_of(name: str, **values: Any) -> Lookup:
    return name, tuple([values[each] for each in SQL[name].values])


class Session:
    """One connection, inside or outside of a transaction."""

    def __init__(self, connection: Any) -> None:
        self._connection = connection

    async def run(self, text: str) -> None:
        """A statement without values, such as BEGIN."""
        await self._connection.execute(text)

    async def rows(
        self, name: str, values: Mapping[str, Any] = {}, statements: Mapping[str, Statement] = SQL
    ) -> list[Any]:
        found = statements[name]
        return await self._connection.fetch(found.text, *[values[each] for each in found.values])

    async def row(self, name: str, values: Mapping[str, Any] = {}, statements: Mapping[str, Statement] = SQL) -> Any:
        found = statements[name]
        return await self._connection.fetchrow(found.text, *[values[each] for each in found.values])

    async def look_up(self, wanted: Sequence[Lookup]) -> dict[Lookup, list[Row]]:
        """The rows of each lookup, of all in one statement."""
        answers: dict[Lookup, list[Row]] = {lookup: [] for lookup in wanted}
        if not answers:
            return answers
        by_name: defaultdict[str, list[Lookup]] = defaultdict(list)
        for lookup in answers:
            by_name[lookup[0]].append(lookup)
        names = sorted(by_name)
        arrays: list[Any] = []
        for name in names:
            arrays += map(list, zip(*[values for _, values in by_name[name]], strict=True))
        [found] = await self._connection.fetch(looked_up_together(tuple(names)), *arrays)
        for name, rows in zip(names, found, strict=True):
            lookups = by_name[name]
            for place, *row in rows:
                answers[lookups[place - 1]].append(tuple(row))
        return answers

    async def put(self, puts: Sequence[Put]) -> None:
        """Write all of them, in this order.

        Raises:
            Overtaken: The database refused a row, or did not change one that must be.
        """
        for some in apart(puts):
            counts = await self._put_together(some)
            for each, count in zip(some, counts, strict=True):
                if each.each_row and count != len(each.rows):
                    lacks = len(each.rows) - count
                    raise Overtaken(f"{lacks} of {len(each.rows)} rows are not as they were read: {each.name}")

    async def _put_together(self, puts: Sequence[Put]) -> Sequence[int]:
        arrays = [array for each in puts for array in each.arrays]
        try:
            [counts] = await self._connection.fetch(written_together(tuple([each.name for each in puts])), *arrays)
        except OF_A_ROW as error:
            raise Overtaken(str(error)) from error
        return counts

    async def write(self, name: str, rows: Sequence[Row]) -> None:
        """As `put`, for rows of which some may be gone."""
        await self.put([Put(name, rows, each_row=False)])


class Put:
    """A write and its rows. `each_row`: each of them must change exactly one."""

    def __init__(self, name: str, rows: Sequence[Row], *, each_row: bool = True) -> None:
        self.name = name
        self.rows = rows
        self.each_row = each_row
        write = WRITES[name]
        self.table = write.table
        columns: list[list[Any]] = [list(column) for column in zip(*rows, strict=True)]
        for place in write.texts if rows else ():
            columns[place] = [as_text(value) for value in columns[place]]
        self.keys = [*zip(*[columns[place] for place in write.key], strict=True)] if rows else []
        """Of the rows of `table` that are changed; none where the write does not say."""
        given = zip(columns, write.types, strict=bool(rows))
        self.arrays = [column if type == "bytea" else as_array(column) for column, type in given]


def apart(puts: Sequence[Put]) -> list[list[Put]]:
    """One after the other, as few as there can be: in each of them a row is changed once."""
    found: list[list[Put]] = []
    changed: set[tuple[str, Row]] = set()
    for each in puts:
        if not each.rows:
            continue
        keys = {(each.table, key) for key in each.keys}
        if not found or not changed.isdisjoint(keys):
            found.append([])
            changed.clear()
        found[-1].append(each)
        changed |= keys
    return found


def as_text(value: Any) -> Any:
    """An id that is packed is text here; and no text has a NUL, which the database cannot store."""
    if type(value) in (bytearray, bytes):
        return unpack(value)
    return value.replace("\0", "\ufffd") if value is not None and "\0" in value else value


def as_array(column: Sequence[Any]) -> str:
    """Numbers or texts as the database writes an array: it takes a tenth of the time that the driver needs for them."""
    values = _encode(column).decode()[1:-1]
    if "\\" in values:  # what JSON says by an escape, the database says otherwise
        values = ",".join(["null" if each is None else _quoted(each) for each in column])
    return f"{{{values}}}"


def _quoted(text: str) -> str:
    escaped = text.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'
