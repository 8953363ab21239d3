"""A connection, and what is asked over it.

Above: `batch` and `reading`. Below: `queries`, and asyncpg.
Holds: a statement is prepared once for each connection. What the database refuses because of the values of a row is
`Overtaken`; everything else of it passes through to whoever owns the connection.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any

from awaken.store.batches import Overtaken
from awaken.store.postgres.faults import OF_A_ROW
from awaken.store.postgres.queries import SQL, WRITES, Statement
from awaken.store.rows import Row, unpack

Lookup = tuple[str, tuple[Any, ...]]
"""The name of a statement, and its values in its order."""


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
        """The rows of each lookup: one statement for all of the same name."""
        by_name: defaultdict[str, list[Lookup]] = defaultdict(list)
        for lookup in dict.fromkeys(wanted):
            by_name[lookup[0]].append(lookup)
        answers: dict[Lookup, list[Row]] = {}
        for name, lookups in by_name.items():
            statement = SQL[name]
            if len(lookups) == 1:
                answers[lookups[0]] = await self._connection.fetch(statement.text, *lookups[0][1])
                continue
            for lookup in lookups:
                answers[lookup] = []
            arrays = [list(column) for column in zip(*[values for _, values in lookups], strict=True)]
            for place, *row in await self._connection.fetch(statement.each, *arrays):
                answers[lookups[place - 1]].append(tuple(row))
        return answers

    async def write(self, name: str, rows: Sequence[Row]) -> int:
        """Run a write for all of these rows: how many were changed.

        Raises:
            Overtaken: The database refused a row.
        """
        if not rows:
            return 0
        write = WRITES[name]
        columns: list[list[Any]] = [list(column) for column in zip(*rows, strict=True)]
        for place in write.texts:
            columns[place] = [as_text(value) for value in columns[place]]
        try:
            tag: str = await self._connection.execute(write.text, *columns)
        except OF_A_ROW as error:
            raise Overtaken(str(error)) from error
        return int(tag.rpartition(" ")[2])

    async def put(self, name: str, rows: Sequence[Row]) -> None:
        """As `write`; each row must change exactly one."""
        written = await self.write(name, rows)
        if written != len(rows):
            raise Overtaken(f"{len(rows) - written} of {len(rows)} rows are not as they were read: {name}")


def as_text(value: Any) -> Any:
    """An id that is packed is text here; and no text has a NUL, which the database cannot store."""
    if type(value) in (bytearray, bytes):
        return unpack(value)
    return value.replace("\0", "\ufffd") if value is not None and "\0" in value else value
