"""What the commands that talk to a server have in common: its address, and asking first whether it is there.

Holds: a server that is not there when a command starts is an error at once; one that goes away later is waited for.
"""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager
from typing import Annotated

from cyclopts import Parameter

from awaken.cli.failure import Exit, Failure
from awaken.client import DEFAULT_URL, Client, Run, Thread
from awaken.domain.errors import NotFound

Url = Annotated[str, Parameter(env_var="AWAKEN_URL", help="The server's address; AWAKEN_URL when absent.")]
URL: Url = DEFAULT_URL


@contextmanager
def connected(url: str) -> Generator[Client]:
    """A client of a server that answers.

    Raises:
        Unreachable: Nothing answers there.
    """
    with Client(url) as client:
        client.health()
        yield client


def found(client: Client, id: str) -> Run | Thread:
    """The run or the thread with this id.

    Raises:
        Failure: There is neither.
    """
    for get in (client.get_run, client.get_thread):
        try:
            return get(id)
        except NotFound:
            continue
    raise Failure(
        f"no thread and no run has the id {id!r}; `awaken runs` lists runs, and their threads", Exit.NOT_FOUND
    )
