"""`awaken tail`: follow the events of a thread or a run, across restarts of the server."""

from __future__ import annotations

import sys
from typing import Annotated, Literal

import msgspec
from cyclopts import Parameter
from rich.console import Console

from awaken.cli.failure import Exit, Failure
from awaken.cli.remote import URL, Url, connected
from awaken.cli.terminal import event_line
from awaken.client import Client, Reconnect, Stream
from awaken.domain.errors import NotFound


def tail(
    thread_or_run: str,
    /,
    *,
    start: bool = False,
    deltas: bool = False,
    url: Url = URL,
    as_json: Annotated[bool, Parameter(name="--json", negative=())] = False,
) -> int:
    """Follow the events of a thread or a run.

    A run is followed from its start to its end. A thread is followed from now on, until Ctrl-C.

    Parameters
    ----------
    thread_or_run
        The id of either.
    start
        Show a thread's events from its start.
    deltas
        Show the pieces of text and arguments too.
    as_json
        One event per line, as the server sends them.
    """
    console = Console(highlight=False, soft_wrap=True)
    with connected(url) as client, _stream(client, thread_or_run, start, deltas) as stream:
        for item in stream:
            if as_json:
                print(msgspec.json.encode(item).decode(), flush=True)
            else:
                console.print(event_line(item))
    return Exit.OK


def _stream(client: Client, id: str, start: bool, deltas: bool) -> Stream:
    """The stream of whatever has this id."""
    try:
        client.get_run(id)
    except NotFound:
        pass
    else:
        return client.run_events(id, include_deltas=deltas, on_reconnect=_reconnecting)
    try:
        client.get_thread(id)
    except NotFound:
        raise Failure(f"no thread and no run has the id {id!r}; `awaken runs` lists both", Exit.NOT_FOUND) from None
    since: Literal["start", "now"] = "start" if start else "now"
    return client.events(id, include_deltas=deltas, since=since, on_reconnect=_reconnecting)


def _reconnecting(reconnect: Reconnect) -> None:
    print(f"· connection lost; trying again in {reconnect.delay_s:.0f} s ({reconnect.cause})", file=sys.stderr)
