"""`awaken migrate`: bring a database to the schema of this version before its servers are started.

Source: docs/reference/cli.md.
"""

from __future__ import annotations

import asyncio

from awaken.cli.failure import Exit


def migrate(store: str, /) -> int:
    """Bring a database to the schema of this version, as every server does when it starts.

    A file must not be served. Postgres may be served meanwhile, by versions that can read the new schema.

    Example: awaken migrate "postgresql://awaken@db/awaken"

    Parameters
    ----------
    store
        Its URL: sqlite:///file.db, or postgresql://user:password@host/database?schema=awaken.
    """
    from awaken.wiring import migrate_store

    asyncio.run(migrate_store(store))
    print("its schema is that of this version")
    return Exit.OK
