"""`awaken doctor`: whether what is stored contradicts itself, and what can be done about it.

Holds: a file is looked at without owning it, so it may be served meanwhile; only to be repaired it must not be. A store
on Postgres may be served for either.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Sequence

from awaken.cli.failure import Exit, usage
from awaken.cli.options import URL_VARIABLE, AsJson, Flag, Headers, UrlInstead
from awaken.cli.progress import progress
from awaken.cli.remote import connected
from awaken.cli.terminal import note, print_json, printable
from awaken.domain.guard import UNGUARDED
from awaken.domain.shown import Finding

DEFAULT_FILE = "awaken.db"
_SHOWN = 100
_ROUNDS = 5


def doctor(
    file_or_url: str | None = None,
    /,
    *,
    repair: Flag = False,
    url: UrlInstead = None,
    header: Headers = (),
    as_json: AsJson = False,
) -> int:
    """Look through a database, or what a server has stored, for rows that contradict each other.

    A server does this by itself, and repairs what it finds; the command says what there is now. The exit code is 1 when
    something is left that contradicts itself. Of a server that anybody may use it says that, too.

    Example: awaken doctor awaken.db --repair

    Parameters
    ----------
    file_or_url
        The SQLite file, served or not; the URL of a Postgres store, postgresql://…, served or not; or the address of a
        server, which begins with http:// or https://. When absent: the server of --url or AWAKEN_URL, or else
        awaken.db.
    repair
        Mend what can be mended. A file must not be served then; give the address of its server instead.
    """
    if file_or_url is not None and url not in (None, os.environ.get(URL_VARIABLE)):
        usage("give a file or a URL, or the address of a server with --url; not both")
    place = next(given for given in (file_or_url, url, DEFAULT_FILE) if given is not None)
    if place.startswith(("http://", "https://")) or (file_or_url is None and url is not None):
        with connected(place, header) as client, progress("looking"):
            found = _repaired(lambda: list(client.repair())) if repair else list(client.audit())
            if client.system().guard == "nobody":
                note(f"warning: {UNGUARDED}")
    else:
        from awaken.wiring import audit_database, audit_file, is_postgres, repair_stored

        with progress("looking") as bar:

            def show(share: float) -> None:
                bar("looking", share, 1.0)

            if repair:
                found = _repaired(lambda: asyncio.run(repair_stored(place, show)))
            elif is_postgres(place):
                found = asyncio.run(audit_database(place, show))
            else:
                found = audit_file(place, show)
    left = [each for each in found if each.result in ("found", "refused")]
    if as_json:
        print_json({"items": found})
    else:
        _print(found, len(left), repaired=repair)
    return Exit.FAILED if left else Exit.OK


def _repaired(once: Callable[[], list[Finding]]) -> list[Finding]:
    """What was mended, and what is left. One repair may bring to light what it hid, so all rows are looked through
    again, until there is nothing to mend; what that many rounds do not end, the last one says."""
    mended: list[Finding] = []
    for _ in range(_ROUNDS - 1):
        found = once()
        now = [each for each in found if each.result == "mended"]
        if not now:
            return mended + found
        mended += now
    return mended + once()


def _print(found: Sequence[Finding], left: int, *, repaired: bool) -> None:
    for each in found[:_SHOWN]:
        where = each.subject if each.thread_id is None else f"thread {each.thread_id} {each.subject}"
        print(f"{each.result}: {each.invariant}: {printable(where.strip())}")
        print(f"    {each.sentence} Not so here; {'' if each.result != 'found' else 'repair: '}{printable(each.note)}.")
    if len(found) > _SHOWN:
        print(f"… and {len(found) - _SHOWN:,} more; --json prints all")
    if not found:
        print("nothing contradicts itself")
    elif repaired:
        print(f"{len(found) - left:,} repaired, {left:,} left")
    else:
        print(f"{left:,} found; --repair mends what can be mended")
