"""`awaken db`: how large a database is, what retention would remove, and a copy of it."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Final

from cyclopts import App

from awaken.cli.failure import Exit, usage
from awaken.cli.options import AsJson
from awaken.cli.progress import progress
from awaken.cli.tables import Column, print_table
from awaken.cli.terminal import print_json, printable
from awaken.mailbox.settings import MailboxSettings

_DAY_S = 86_400
_DEFAULTS = MailboxSettings()
MAX_RETENTION_DAYS = 1_000_000
_ELSEWHERE: Final = {"stats": "db FILE_OR_URL", "check": "doctor", "migrate": "migrate", "purge": "system purge"}
"""What is no file, but what somebody may look for here."""
_COLUMNS: Final = (
    Column(name="PART"),
    Column(name="ROWS", is_number=True),
    Column(name="SIZE", is_number=True),
)

db = App(name="db", help_format="markdown")


@db.default
def show_file(
    file_or_url: str = "awaken.db",
    /,
    *,
    run_retention_days: float = _DEFAULTS.run_retention_s / _DAY_S,
    event_retention_days: float = _DEFAULTS.event_retention_s / _DAY_S,
    as_json: AsJson = False,
) -> int:
    """Show how large a database is, and what retention would remove; back up a file.

    Example: awaken db awaken.db --run-retention-days 7

    Parameters
    ----------
    file_or_url
        The SQLite file, or the URL of a Postgres store, postgresql://….
    run_retention_days
        How long finished runs are to be kept.
    event_retention_days
        How long events are to be kept.
    """
    from awaken.wiring import file_at, inspect_database, inspect_file, is_postgres

    if file_or_url in _ELSEWHERE and not Path(file_or_url).exists():
        usage(f"there is no file {file_or_url!r}; what is stored is seen to by `awaken {_ELSEWHERE[file_or_url]}`")
    for days in (run_retention_days, event_retention_days):
        if not 0 <= days <= MAX_RETENTION_DAYS:
            usage(f"a retention is 0 to {MAX_RETENTION_DAYS} days, not {days:g}")
    run_ms, event_ms = (round(days * _DAY_S * 1000) for days in (run_retention_days, event_retention_days))
    if is_postgres(file_or_url):
        in_database = asyncio.run(inspect_database(file_or_url, run_retention_ms=run_ms, event_retention_ms=event_ms))
        found, whole = in_database, f"{printable(in_database.database)}: {_megabytes(in_database.bytes)}"
    else:
        in_file = inspect_file(file_at(file_or_url), run_retention_ms=run_ms, event_retention_ms=event_ms)
        free = f", {_megabytes(in_file.free_bytes)} of it free" if in_file.free_bytes else ""
        log = f"; write-ahead log {_megabytes(in_file.log_bytes)}"
        found, whole = in_file, f"file {_megabytes(in_file.file_bytes)}{free}{log}"
    if as_json:
        print_json(found)
        return Exit.OK
    sizes = [("?" if part.bytes is None else _megabytes(part.bytes)) for part in found.parts]
    print_table(_COLUMNS, [(part.name, f"{part.rows:,}", size) for part, size in zip(found.parts, sizes, strict=True)])
    print(
        f"{whole}\nretention would remove {found.old_runs:,} runs older than {run_retention_days:g} days and up to"
        f" {found.old_events:,} events older than {event_retention_days:g} days;"
        f" {found.dead_letters:,} dead letters stay"
    )
    return Exit.OK


@db.command
def backup(file: str, target: Path, /, *, as_json: AsJson = False) -> int:
    """Copy a database file, which may be served meanwhile, to a name that is free.

    The copy is the file as it was when the command began. It is read through and flushed before it gets its name.

    Example: awaken db backup awaken.db backup.db

    Parameters
    ----------
    file
        The SQLite file.
    target
        The copy.
    """
    from awaken.wiring import back_up_file, file_at, is_postgres

    if is_postgres(file):
        usage("a store on Postgres is backed up with the tools of Postgres, such as pg_dump --schema=awaken")
    with progress("copying") as bar:

        def show(done: int, pages: int) -> None:
            bar("copying" if done < pages else "checking", done, pages)

        made = back_up_file(file_at(file), target, show)
    if as_json:
        print_json(made)
    else:
        print(
            f"{printable(made.target)}: {_megabytes(made.bytes)}, {made.threads:,} threads, {made.runs:,} runs; checked"
        )
    return Exit.OK


def _megabytes(size: int) -> str:
    return f"{size / 2**20:,.1f} MiB"
