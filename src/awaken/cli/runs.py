"""`awaken runs`: what runs there are, newest first."""

from __future__ import annotations

from typing import Annotated, Final

from cyclopts import Parameter
from rich.console import Console

from awaken.cli.failure import Exit, usage
from awaken.cli.remote import URL, Headers, Url, connected
from awaken.cli.terminal import print_json, print_runs
from awaken.domain.clock import SystemClock
from awaken.domain.explaining import shown
from awaken.domain.run import RunStatus

MAX_LIMIT: Final = 100_000
"""They are read into memory before they are printed."""
_STATUSES: Final = tuple(RunStatus)


def runs(
    *,
    thread: str | None = None,
    status: str | None = None,
    failed: bool = False,
    agent: str | None = None,
    limit: int = 20,
    url: Url = URL,
    header: Headers = (),
    as_json: Annotated[bool, Parameter(name="--json", negative=())] = False,
) -> int:
    """List runs, newest first.

    Parameters
    ----------
    thread
        Only the runs of this thread.
    status
        created, running, waiting or done.
    failed
        Only runs that failed or were given up.
    agent
        Only the runs of this agent.
    limit
        How many, up to 100000.
    as_json
        Print one JSON document.
    """
    if not 1 <= limit <= MAX_LIMIT:
        usage(f"--limit is 1 to {MAX_LIMIT}, not {shown(limit)}")
    if status is not None and status not in _STATUSES:
        usage(f"--status is one of {', '.join(_STATUSES)}, not {shown(status)}")
    if failed and status not in (None, "done"):
        usage("--failed looks at runs that are done; leave --status out")
    with connected(url, header) as client:
        found = list(client.list_runs(thread_id=thread, status=status, agent=agent, failed=failed, limit=limit))
    if as_json:
        print_json({"items": found})
    elif found:
        print_runs(found, SystemClock().now())
    else:
        chosen = failed or any(given is not None for given in (thread, status, agent))
        none = "no such runs" if chosen else "no runs yet; `awaken run AGENT TEXT` makes one"
        Console(stderr=True).print(none, style="dim")
    return Exit.OK
