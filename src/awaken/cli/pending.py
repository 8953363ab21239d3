"""`awaken pending`: what waits for runs of a thread, in order."""

from __future__ import annotations

from awaken.cli.failure import Exit
from awaken.cli.options import URL, AsJson, Headers, Url
from awaken.cli.remote import connected
from awaken.cli.terminal import print_json, shortened


def pending(
    thread: str,
    /,
    *,
    url: Url = URL,
    header: Headers = (),
    as_json: AsJson = False,
) -> int:
    """List the messages that wait for runs of a thread.

    Parameters
    ----------
    thread
        Its id.
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
