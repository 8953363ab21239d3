"""`awaken system`: what a server is and how it is set; have it do its maintenance now.

Source: docs/howto/operate.md.
"""

from __future__ import annotations

from typing import Any, cast

import msgspec
from cyclopts import App

from awaken.cli.failure import Exit
from awaken.cli.options import URL, AsJson, Headers, Url
from awaken.cli.progress import progress
from awaken.cli.remote import connected
from awaken.cli.terminal import print_facts, print_json
from awaken.domain.shown import Purged

system = App(name="system", help_format="markdown")


@system.default
def show(*, url: Url = URL, header: Headers = (), as_json: AsJson = False) -> int:
    """Show what a server is, and its limits and settings; sweep and purge now.

    Example: awaken system
    """
    with connected(url, header) as client:
        found = client.system()
    if as_json:
        print_json(found)
    else:
        facts = msgspec.to_builtins(found)
        shown = {name: None if value is None else _shown(value) for name, value in facts.items()}
        print_facts({**shown, "adapters": ", ".join(found.adapters) or None, "limits": None, **found.limits})
    return Exit.OK


@system.command
def settings(*, url: Url = URL, header: Headers = (), as_json: AsJson = False) -> int:
    """List every setting in force. What is no default is marked with who chose it.

    Example: awaken system settings
    """
    with connected(url, header) as client:
        found = list(client.list_settings())
    if as_json:
        print_json({"items": found})
        return Exit.OK
    chosen = {each.name: "" if each.source == "default" else f"  ({each.source})" for each in found}
    print_facts({each.name: f"{_shown(each.value)}{chosen[each.name]}" for each in found})
    return Exit.OK


@system.command
def sweep(*, url: Url = URL, header: Headers = (), as_json: AsJson = False) -> int:
    """Have a server look at once for what falls due, as it does from time to time.

    Example: awaken system sweep
    """
    with connected(url, header) as client:
        done = client.sweep()
    if as_json:
        print_json(done)
    else:
        print(f"{done.taken_back} claims taken back, {done.expired} tickets expired, {done.begun} runs begun")
    return Exit.OK


@system.command
def purge(*, url: Url = URL, header: Headers = (), as_json: AsJson = False) -> int:
    """Have a server remove at once everything that retention no longer keeps, as it does from time to time.

    Example: awaken system purge
    """
    runs = events = rows = 0
    with connected(url, header) as client, progress("removing") as bar:
        while True:
            done = client.purge()
            runs, events, rows = runs + done.runs, events + done.events, rows + done.rows
            bar(f"removed {runs:,} runs, {events:,} events")
            if not done.more:
                break
    if as_json:
        print_json(Purged(runs=runs, events=events, rows=rows))
    else:
        print(f"{runs} runs, {events} events and {rows} rows of deleted threads removed")
    return Exit.OK


def _shown(value: Any) -> str:
    """A value in words."""
    match value:
        case None | [] | ():
            return "-"
        case bool():
            return "yes" if value else "no"
        case list() | tuple():
            return ", ".join([str(each) for each in cast("list[Any]", value)])
        case _:
            return str(value)
