"""Takes away what only older versions of this package read: the second half of a change of the schema.

A start expands the schema (`opening.migrate`): what it adds, versions before it pass over, so processes of both work
side by side. What the older ones alone still read is taken away when somebody says that none of them runs any more,
`awaken migrate --contract`, by the scripts in `migrations/contract/NNNN_what.sql`. NNNN is the schema whose versions
need it no more; from then on older ones are refused when they start.

Holds: one process at a time does it, all of it or nothing; doing it again does nothing. A schema is never contracted
beyond what was expanded.

Source: docs/howto/run-on-postgres.md; ADR 0041.
"""

from __future__ import annotations

from collections.abc import Sequence
from importlib.resources import files
from typing import Any

from awaken.store.postgres.driver import errors
from awaken.store.postgres.faults import LOST, translated
from awaken.store.postgres.opening import Place, connect, disconnect


def contractions() -> list[tuple[int, str]]:
    """Each schema that needs something no more, with the script that takes it away, in order."""
    folder = files("awaken.store.postgres").joinpath("migrations").joinpath("contract")
    if not folder.is_dir():
        return []
    found = sorted((entry.name, entry) for entry in folder.iterdir() if entry.name.endswith(".sql"))
    return [(int(name[:4]), entry.read_text(encoding="utf-8")) for name, entry in found]


async def contract_place(place: Place) -> int:
    """As `contract`, over a connection of its own. Raises StoreUnavailable."""
    connection = await connect(place)
    try:
        return await contract(connection, place)
    except (errors.PostgresError, *LOST) as error:
        raise translated(error, place.shown) from error
    finally:
        await disconnect(connection)


async def contract(connection: Any, place: Place, scripts: Sequence[tuple[int, str]] | None = None) -> int:
    """Take away what no version needs that knows the schema that is there. Returns the oldest schema whose versions can
    still use the database.
    """
    scripts = contractions() if scripts is None else scripts
    async with connection.transaction():
        await connection.execute("SET LOCAL statement_timeout = 0; SET LOCAL lock_timeout = 0")
        await connection.execute(f"SET LOCAL search_path TO {place.schema}")
        await connection.execute("SELECT pg_advisory_xact_lock(hashtextextended($1, 0))", place.channel)
        version, oldest_reader = await connection.fetchrow("SELECT version, oldest_reader FROM schema_version")
        for number, script in scripts:
            if oldest_reader < number <= version:
                await connection.execute(script)
                await connection.execute("UPDATE schema_version SET oldest_reader = $1", number)
                oldest_reader = number
    return oldest_reader
