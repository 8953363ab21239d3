"""`awaken move`: what a stopped server has stored, from its file to Postgres.

Source: docs/howto/move-to-postgres.md.
"""

from __future__ import annotations

import asyncio
from typing import Annotated

from cyclopts import Parameter

from awaken.cli.failure import Exit
from awaken.cli.options import AsJson
from awaken.cli.progress import progress
from awaken.cli.terminal import print_facts, print_json, printable


def move(
    source: str,
    target: str,
    /,
    *,
    dry_run: Annotated[bool, Parameter(name="--dry-run", negative=())] = False,
    as_json: AsJson = False,
) -> int:
    """Move everything that a file holds to Postgres. Stop its server first; with --dry-run it may go on.

    Runs go on there where they were. Killed, or broken off, the same command goes on where it was. At the end both are
    compared, and the file is closed for good: whoever opens it is told where its data is.

    Example: awaken move sqlite:///awaken.db postgresql://awaken@db/awaken --dry-run

    Parameters
    ----------
    source
        The file, as sqlite:///file.db.
    target
        An empty schema, as postgresql://user:password@host/database?schema=awaken.
    dry_run
        Only say what would be moved, and whether it could be.
    """
    from awaken.wiring import move_data

    with progress("opening") as show:
        moved = asyncio.run(move_data(source, target, show, dry_run=dry_run))
    if as_json:
        print_json(moved)
        return Exit.OK
    if moved.rows:
        print_facts({name: f"{rows:,}" for name, rows in sorted(moved.rows.items())})
    what = {(True, False): "would move", (True, True): "would go on with the move that was begun"}.get(
        (dry_run, moved.resumed), "moved"
    )
    print(f"{what} to {printable(moved.target)}{'' if dry_run else '; compared, and the file is closed'}")
    return Exit.OK
