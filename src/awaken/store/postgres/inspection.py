"""How large a store on Postgres is, and whether its rows contradict each other, seen without opening it.

Above: `awaken db`, `awaken doctor`, `awaken serve --check`. Below: a connection that can only read.
Holds: nothing is written, and the schema is left as it is found.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Any

import msgspec

from awaken.domain.errors import StoreRefused
from awaken.store.inspection import Part
from awaken.store.invariants import FIRST_PLACE, AuditPlace, AuditSlice
from awaken.store.postgres.arriving import check_arrived
from awaken.store.postgres.driver import errors
from awaken.store.postgres.faults import LOST, translated
from awaken.store.postgres.opening import Place, check_schema, check_server, connect, disconnect, migrations, place_of
from awaken.store.postgres.reading import Reading
from awaken.store.postgres.session import Session


class DatabaseInspection(msgspec.Struct, frozen=True):
    """What was found. `old_runs` and `old_events` are what a retention would remove now."""

    database: str
    bytes: int
    parts: tuple[Part, ...]
    old_runs: int
    old_events: int
    dead_letters: int


async def inspect(url: str, *, run_retention_ms: int, event_retention_ms: int) -> DatabaseInspection:
    """Look at a store, served or not.

    Raises:
        ValidationError: The URL is not understood.
        StoreUnavailable: It was not reached, or is not a store of this version.
    """
    place = place_of(url)
    async with _looked_at(place) as connection:
        session = Session(connection)
        [size] = await session.row("whole_size")
        parts = [Part(*row) for row in await session.rows("sizes")]
        values = {"before": run_retention_ms, "after": event_retention_ms}
        old_runs, old_events, dead_letters = await session.row("old", values)
    return DatabaseInspection(place.shown, size, tuple(parts), old_runs, old_events, dead_letters)


async def audit(url: str) -> AsyncGenerator[AuditSlice]:
    """What breaks an invariant, slice by slice. Raises as `inspect`."""
    async with _looked_at(place_of(url)) as connection:
        state = Reading(Session(connection))
        found: AuditPlace | None = FIRST_PLACE
        while found is not None:
            async with connection.transaction(isolation="repeatable_read", readonly=True):
                part = await state.find_breaches(found, await state.now())
            yield part
            found = part.next


async def check_openable(place: Place) -> None:
    """Raises as opening it would, as far as that can be seen without changing anything."""
    async with _looked_at(place, may_be_new=True):
        pass


@asynccontextmanager
async def _looked_at(place: Place, *, may_be_new: bool = False) -> AsyncGenerator[Any]:
    connection = await connect(place, writes=False)
    try:
        if may_be_new:
            await check_server(connection, place)
        version = await check_schema(connection, place, may_be_new=may_be_new)
        if version and version == len(migrations()):
            await check_arrived(connection, place.shown)
        elif not may_be_new:
            what = (
                f"has schema {version}, and this version of awaken reads {len(migrations())}" if version else "is empty"
            )
            raise StoreRefused(f"{place.shown} {what}. Begin `awaken migrate`, or a server of this version, first")
        await connection.execute("SET statement_timeout = 0")
        yield connection
    except (errors.PostgresError, *LOST) as error:
        raise translated(error, place.shown) from error
    finally:
        await disconnect(connection)
