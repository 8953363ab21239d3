"""What the commands that talk to a server have in common: its address, and asking first whether it is there.

Holds: a server that is not there when a command starts is an error at once; one that goes away later is waited for.
"""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager
from typing import Annotated

from cyclopts import Parameter

from awaken.client import DEFAULT_URL, Client

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
