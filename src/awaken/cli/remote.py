"""What the commands that talk to a server have in common: its address, the headers that whatever stands in front of it
asks for, and asking first whether it is there.

Holds: the value of a header, maybe a secret, is printed nowhere. A server that is not there when a command starts is an
error at once; one that goes away later is waited for.
"""

from __future__ import annotations

import os
from collections.abc import Generator, Sequence
from contextlib import contextmanager, suppress
from typing import Final

from awaken.cli.failure import Exit, Failure, usage
from awaken.client import Client, Run, Thread
from awaken.domain.errors import NotFound
from awaken.domain.ids import checked_id

HEADERS_VARIABLE: Final = "AWAKEN_HEADERS"


@contextmanager
def connected(url: str, headers: Sequence[str] = ()) -> Generator[Client]:
    """A client of a server that answers. A header given here goes before one of the environment with its name.

    Raises:
        Failure: Something given as a header is none.
        Unreachable: Nothing answers there.
    """
    with Client(url, headers=sent_headers(url, headers)) as client:
        client.health()
        yield client


def sent_headers(url: str, headers: Sequence[str]) -> dict[str, str]:
    """Those that every request to a server has. Raises Failure where something given is no header, or no server's."""
    if url.lower().startswith(("postgres:", "postgresql:")):
        usage("--url is the address of a server, such as http://127.0.0.1:8000, and not of its database")
    of_environment = [line for line in os.environ.get(HEADERS_VARIABLE, "").splitlines() if line.strip()]
    return {**_parsed(of_environment, HEADERS_VARIABLE), **_parsed(headers, "--header")}


def _parsed(lines: Sequence[str], source: str) -> dict[str, str]:
    """By lower-case name. The value is kept out of what is printed when there is no colon: it may be all there is."""
    found: dict[str, str] = {}
    for line in lines:
        name, colon, value = line.partition(":")
        if not colon:
            usage(f'{source} has a header without a colon; write "Authorization: Bearer …"')
        found[name.strip().lower()] = value.strip()
    return found


def dispatch_of(client: Client, id: str) -> str:
    """The id of a dispatch, given that, or the id of a run: of its newest one.

    Raises:
        ValidationError: It is no id.
        Failure: There is neither.
    """
    checked_id(id, what="dispatch or run")
    with suppress(NotFound):
        return client.get_dispatch(id).dispatch_id
    with suppress(NotFound):
        served = [each.dispatch_id for each in client.list_dispatches(id)]
        if not served:
            raise Failure(f"run {id} has no dispatch any more; `awaken show {id}` shows it", Exit.NOT_FOUND)
        return served[-1]
    raise Failure(
        f"no dispatch and no run has the id {id!r}; `awaken queue`, `awaken dead` and `awaken runs` list them",
        Exit.NOT_FOUND,
    )


def found(client: Client, id: str) -> Run | Thread:
    """The run or the thread with this id.

    Raises:
        ValidationError: It is no id.
        Failure: There is neither.
    """
    checked_id(id, what="thread or run")
    for get in (client.get_run, client.get_thread):
        try:
            return get(id)
        except NotFound:
            continue
    raise Failure(
        f"no thread and no run has the id {id!r}; `awaken runs` lists runs, and their threads", Exit.NOT_FOUND
    )
