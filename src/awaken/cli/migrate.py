"""`awaken migrate`: bring a database to the schema of this version before its servers are started.

Source: docs/reference/cli.md.
"""

from __future__ import annotations

import asyncio
from typing import Annotated

from cyclopts import Parameter

from awaken.cli.failure import Exit
from awaken.cli.terminal import printable


def migrate(store: str, /, *, contract: Annotated[bool, Parameter(negative=())] = False) -> int:
    """Bring a database to the schema of this version, as every server does when it starts.

    A file must not be served. Postgres may be served meanwhile, by versions that can read the new schema.

    Example: awaken migrate "postgresql://awaken@db/awaken"

    Parameters
    ----------
    store
        Its URL: sqlite:///file.db, or postgresql://user:password@host/database?schema=awaken.
    contract
        On Postgres, besides: take away what only processes of older versions read. None of them may run any more; from
        then on they are refused.
    """
    from awaken.wiring import migrate_store

    done = asyncio.run(migrate_store(store, contract=contract))
    what = "a new store was made, with the schema" if done.was_made else "its schema is that"
    print(f"{printable(done.name)}: {what} of this version")
    if done.oldest is not None:
        print(f"versions of awaken that know schema {done.oldest} can use it, and older ones are refused")
    return Exit.OK
