"""`awaken tail`: follow the events of a thread or a run, across restarts of the server."""

from __future__ import annotations

import sys
from typing import Literal

import msgspec
from rich.console import Console

from awaken.cli.failure import Exit
from awaken.cli.options import URL, AsJson, Headers, Url
from awaken.cli.remote import connected, found
from awaken.cli.terminal import event_line, printable
from awaken.client import Client, Event, Reconnect, Run, Stream, StreamItem
from awaken.domain.clock import lasting


def tail(
    thread_or_run: str,
    /,
    *,
    start: bool = False,
    deltas: bool = False,
    url: Url = URL,
    header: Headers = (),
    as_json: AsJson = False,
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
        One event per line, as the server sends it.
    """
    console = Console(highlight=False, soft_wrap=True)
    with connected(url, header) as client, _stream(client, thread_or_run, start, deltas) as stream:
        for item in stream:
            if as_json:
                print(msgspec.json.encode(_sent(item)).decode(), flush=True)
            else:
                console.print(event_line(item))
    return Exit.OK


def _stream(client: Client, id: str, start: bool, deltas: bool) -> Stream:
    """The stream of whatever has this id. What is waited for is printed to the standard error."""
    target = found(client, id)
    if isinstance(target, Run):
        if not target.is_done:
            _note(f"run {target.run_id} is {target.phase or target.status}; following it to its end{_why(target)}")
        return client.run_events(id, include_deltas=deltas, on_reconnect=_reconnecting)
    _note(f"following thread {id} {'from its start' if start else 'from now on'}, until Ctrl-C")
    since: Literal["start", "now"] = "start" if start else "now"
    return client.events(id, include_deltas=deltas, since=since, on_reconnect=_reconnecting)


def _sent(item: StreamItem) -> object:
    """The object that the server sent; of a lost place, with what kind of frame it was."""
    return item if isinstance(item, Event) else {"kind": "stream.resync", "cursor": item.cursor, **item.state}


def _why(run: Run) -> str:
    if run.waiting is not None:
        return f" ({run.waiting.message or run.waiting.reason})"
    return f" (due at {run.available_at})" if run.phase == "queued" and run.available_at else ""


def _note(text: str) -> None:
    print(f"· {printable(text)}", file=sys.stderr)


def _reconnecting(reconnect: Reconnect) -> None:
    print(f"· connection lost; trying again in {lasting(reconnect.delay_s)} ({reconnect.cause})", file=sys.stderr)
