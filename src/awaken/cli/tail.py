"""`awaken tail`: follow the events of a thread or a run, across restarts of the server."""

from __future__ import annotations

import sys
from typing import Annotated, Literal

import msgspec
from cyclopts import Parameter

from awaken.cli import streams
from awaken.cli.failure import Exit, usage
from awaken.cli.options import URL, AsJson, Flag, Headers, Url
from awaken.cli.palette import console_on
from awaken.cli.remote import connected, found
from awaken.cli.terminal import event_line, printable
from awaken.client import Client, Event, Reconnect, Run, Stream, StreamItem
from awaken.domain.clock import lasting
from awaken.domain.event import CHANNELS
from awaken.domain.explaining import shown

Kinds = Annotated[tuple[str, ...], Parameter(name="--kind", negative=(), show_default=False)]


def tail(
    thread_or_run: str,
    /,
    *,
    start: Flag = False,
    after: str | None = None,
    kind: Kinds = (),
    deltas: Flag = False,
    url: Url = URL,
    header: Headers = (),
    as_json: Annotated[AsJson, Parameter(help="One event per line, as the server sends it.")] = False,
) -> int:
    """Follow the events of a thread or a run.

    A run is followed from its start to its end. A thread is followed from now on, until Ctrl-C.

    Example: awaken tail order-7 --start

    Parameters
    ----------
    thread_or_run
        The id of either.
    start
        Show a thread's events from its start.
    after
        Show what comes after this event, by its cursor.
    kind
        Show events of this kind only; may be given again.
    deltas
        Show the pieces of text and arguments too.
    """
    console = console_on(soft_wrap=True)
    for each in kind:
        if each not in CHANNELS:
            usage(f"there is no kind of event {shown(each)}; docs/reference/events.md lists them")
    if start and after is not None:
        usage("give --start or --after, not both")
    streams.end_with_reader()
    with connected(url, header) as client, _stream(client, thread_or_run, start, after, deltas or bool(kind)) as stream:
        for item in stream:
            if isinstance(item, Event) and kind and item.kind not in kind:
                continue
            if as_json:
                print(msgspec.json.encode(_sent(item)).decode(), flush=True)
            else:
                console.print(event_line(item, console.width if console.is_terminal else None))
    return Exit.OK


def _stream(client: Client, id: str, start: bool, after: str | None, deltas: bool) -> Stream:
    """The stream of whatever has this id. What is waited for is printed to the standard error."""
    target = found(client, id)
    if isinstance(target, Run):
        if not target.is_done:
            _note(f"run {target.run_id} is {target.phase or target.status}; following it to its end{_why(target)}")
        return client.run_events(id, after=after, include_deltas=deltas, on_reconnect=_reconnecting)
    where = "from its start" if start else "from now on" if after is None else f"after {after}"
    _note(f"following thread {id} {where}, until Ctrl-C")
    since: Literal["start", "now"] = "start" if start else "now"
    return client.events(id, after=after, include_deltas=deltas, since=since, on_reconnect=_reconnecting)


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
