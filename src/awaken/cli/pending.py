"""`awaken pending`: what waits for runs of a thread, in order; change it, or take it back.

Source: docs/howto/steer-a-running-agent.md.
"""

from __future__ import annotations

from typing import Final, Literal

from cyclopts import App

from awaken.cli import streams
from awaken.cli.failure import Exit
from awaken.cli.options import URL, AsJson, Headers, Url
from awaken.cli.remote import connected
from awaken.cli.tables import Column, print_table
from awaken.cli.terminal import note, print_json, shortened
from awaken.domain.shown import PendingMessage

pending = App(name="pending", help_format="markdown")


@pending.default
def list_pending(thread: str, /, *, url: Url = URL, header: Headers = (), as_json: AsJson = False) -> int:
    """List the messages that wait for runs of a thread; edit or retract one.

    Example: awaken pending order-7

    Parameters
    ----------
    thread
        Its id.
    """
    with connected(url, header) as client:
        waiting = client.pending(thread)
    if as_json:
        print_json(waiting)
    elif waiting.items:
        _print_table(waiting.items)
    else:
        note("nothing waits")
    return Exit.OK


@pending.command
def edit(
    thread: str,
    message: str,
    text: str,
    /,
    *,
    at: Literal["next_step", "on_natural_end"] | None = None,
    url: Url = URL,
    header: Headers = (),
    as_json: AsJson = False,
) -> int:
    """Change a message that nobody has taken yet.

    Example: awaken pending edit order-7 MESSAGE "It is the red one."

    Parameters
    ----------
    thread
        The id of its thread.
    message
        Its id, as `awaken pending` lists it.
    text
        What it says now; - reads the standard input.
    at
        Where it is taken: between two steps, or where the run would end.
    """
    said = streams.given_text(text)
    with connected(url, header) as client:
        changed = client.edit(thread, message, said, boundary=at)
    print_json(changed) if as_json else print(f"message {changed.message_id} is changed")
    return Exit.OK


@pending.command
def retract(thread: str, message: str, /, *, url: Url = URL, header: Headers = ()) -> int:
    """Take back a message that nobody has taken yet; with the last one of a queued run, that run is cancelled.

    Example: awaken pending retract order-7 MESSAGE

    Parameters
    ----------
    thread
        The id of its thread.
    message
        Its id, as `awaken pending` lists it.
    """
    with connected(url, header) as client:
        client.retract(thread, message)
    print(f"message {message} is taken back")
    return Exit.OK


_COLUMNS: Final = (
    Column(name="MESSAGE"),
    Column(name="FOR RUN", leaves=1),
    Column(name="AT", leaves=0),
    Column(name="TEXT", least=16),
)


def _print_table(items: tuple[PendingMessage, ...]) -> None:
    rows = [(each.message_id, each.run_id or "", each.boundary or "", shortened(each.text)) for each in items]
    print_table(_COLUMNS, rows)
