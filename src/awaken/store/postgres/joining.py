"""Writes an errand over a connection of a caller's, in the transaction that is open on it.

Above: `PostgresStore.post`. Below: `joining.sql`, and whichever library the connection is of: asyncpg, psycopg 3, or
SQLAlchemy over either.
Holds: no library is imported here: a connection cannot be of one that nobody has imported. One statement writes, with
its values beside it, and only in a transaction that is open; whether that is committed is up to the caller. What the
database refuses is raised as the library does, because the caller's transaction is what has failed.

Source: ADR 0042.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Awaitable, Callable, Mapping
from types import ModuleType
from typing import Any, Final

from awaken.domain.errors import ValidationError
from awaken.domain.ids import Scope, ThreadId
from awaken.domain.outbox import OF_TRANSACTIONS, Begin
from awaken.domain.record import CURRENT, encode_errand
from awaken.store.contract import Posted
from awaken.store.postgres.opening import Place
from awaken.store.postgres.signals import ERRAND
from awaken.store.statements import load_statements

_POST: Final = load_statements("awaken.store.postgres", "joining.sql")["post_errand"]
_VALUE: Final = re.compile(r"(?<![:\w]):([a-z_]+)\b")

_Values = Mapping[str, Any]
_Way = Callable[[Any, ModuleType, str, _Values], Awaitable[Any]]
"""How the row that a statement returns is fetched over a connection of a library, with values by name."""


async def post(connection: object, place: Place, scope: Scope, thread_id: ThreadId, errand: Begin) -> Posted:
    """As `JoinsTransactions.post`."""
    way, library = _way(connection)
    values = {
        "scope": scope,
        "sender": OF_TRANSACTIONS,
        "thread_id": thread_id,
        "errand_v": CURRENT["errand"],
        "body": encode_errand(errand),
        "channel": place.channel,
        "note": ERRAND,
    }
    no, transaction, _ = await way(connection, library, _POST.replace("SCHEMA", place.schema), values)
    return Posted(no, transaction)


def _way(connection: object) -> tuple[_Way, ModuleType]:
    """Raises ValidationError for what is no connection that is known."""
    for module, names, way in _WAYS:
        library = sys.modules.get(module)
        if library is not None and isinstance(connection, tuple([getattr(library, name) for name in names])):
            return way, library
    kind = type(connection)
    raise ValidationError(
        "connection= takes a connection of asyncpg, an AsyncConnection of psycopg, or an AsyncConnection or"
        f" AsyncSession of SQLAlchemy, and not a {kind.__module__}.{kind.__qualname__}"
    )


async def _by_asyncpg(connection: Any, library: ModuleType, text: str, values: _Values) -> Any:
    if not connection.is_in_transaction():
        raise _without_transaction("begin one: async with connection.transaction():")
    places = {name: place for place, name in enumerate(values, 1)}
    numbered = _VALUE.sub(lambda found: f"${places[found[1]]}", text)
    return await connection.fetchrow(numbered, *values.values())


async def _by_psycopg(connection: Any, library: Any, text: str, values: _Values) -> Any:
    if connection.autocommit and connection.info.transaction_status == library.pq.TransactionStatus.IDLE:
        raise _without_transaction("begin one: async with connection.transaction():")
    cursor = library.AsyncCursor(connection, row_factory=library.rows.tuple_row)  # whatever those of the caller are
    async with cursor:
        await cursor.execute(_VALUE.sub(lambda found: f"%({found[1]})s", text), values)
        return await cursor.fetchone()


async def _by_sqlalchemy(connection: Any, library: Any, text: str, values: _Values) -> Any:
    dialect = connection.dialect.name
    if dialect != "postgresql":
        raise ValidationError(f"connection= is one to Postgres, and not to {dialect}")
    written: Any = sys.modules["sqlalchemy"].text
    begun = await connection.scalar(written("SELECT now()"))
    if not await connection.scalar(written("SELECT now() = :begun"), {"begun": begun}):
        # Each statement is a transaction by itself: AUTOCOMMIT, which only the driver beneath knows of.
        raise _without_transaction("leave out the isolation level AUTOCOMMIT")
    return (await connection.execute(written(text), values)).one()


async def _by_session(session: Any, library: Any, text: str, values: _Values) -> Any:
    return await _by_sqlalchemy(await session.connection(), library, text, values)


def _without_transaction(remedy: str) -> ValidationError:
    return ValidationError(f"no transaction is open on the connection; {remedy}")


_WAYS: Final[tuple[tuple[str, tuple[str, ...], _Way], ...]] = (
    ("asyncpg", ("Connection",), _by_asyncpg),
    ("asyncpg.pool", ("PoolConnectionProxy",), _by_asyncpg),
    ("psycopg", ("AsyncConnection",), _by_psycopg),
    ("sqlalchemy.ext.asyncio", ("AsyncConnection",), _by_sqlalchemy),
    ("sqlalchemy.ext.asyncio", ("AsyncSession", "async_scoped_session"), _by_session),
)
