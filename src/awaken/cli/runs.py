"""`awaken runs`: what runs there are, newest first."""

from __future__ import annotations

from typing import Annotated

from cyclopts import Parameter
from rich.console import Console

from awaken.cli.failure import Exit, usage
from awaken.cli.remote import URL, Url, connected
from awaken.cli.terminal import print_json, print_runs
from awaken.domain.clock import SystemClock


def runs(
    *,
    thread: str | None = None,
    status: str | None = None,
    agent: str | None = None,
    limit: int = 20,
    url: Url = URL,
    as_json: Annotated[bool, Parameter(name="--json", negative=())] = False,
) -> int:
    """List runs, newest first.

    Parameters
    ----------
    thread
        Only the runs of this thread.
    status
        created, running, waiting or done.
    agent
        Only the runs of this agent.
    limit
        How many.
    as_json
        Print one JSON document.
    """
    if limit < 1:
        usage("--limit is at least 1")
    with connected(url) as client:
        found = list(client.list_runs(thread_id=thread, status=status, agent=agent, limit=limit))
    if as_json:
        print_json({"items": found})
    elif found:
        print_runs(found, SystemClock().now())
    else:
        Console(stderr=True).print("no runs yet; `awaken run AGENT TEXT` makes one", style="dim")
    return Exit.OK
