"""`awaken pending`: what waits for runs of a thread, in order."""

from __future__ import annotations

from typing import Annotated

from cyclopts import Parameter

from awaken.cli.failure import Exit
from awaken.cli.remote import URL, Headers, Url, connected
from awaken.cli.terminal import print_json, shortened


def pending(
    thread: str,
    /,
    *,
    url: Url = URL,
    header: Headers = (),
    as_json: Annotated[bool, Parameter(name="--json", negative=())] = False,
) -> int:
    """List the messages that wait for runs of a thread.

    Parameters
    ----------
    thread
        Its id.
    as_json
        Print one JSON document.
    """
    with connected(url, header) as client:
        waiting = client.pending(thread)
    if as_json:
        print_json(waiting)
        return Exit.OK
    for item in waiting.items:
        print(f"{item.position}  {item.message_id}  for run {item.run_id} at {item.boundary}  {shortened(item.text)}")
    if not waiting.items:
        print("nothing waits")
    return Exit.OK
