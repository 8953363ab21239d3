"""`awaken watch`: see what a run says, from its start to its end."""

from __future__ import annotations

from awaken.cli.failure import Exit, Failure
from awaken.cli.following import to_the_end
from awaken.cli.options import URL, EndAsJson, Headers, Url
from awaken.cli.remote import connected, found
from awaken.cli.terminal import AnswerPrinter
from awaken.client import Client, Run, Thread
from awaken.domain.selection import CHANNEL_NAMES


def watch(
    thread_or_run: str,
    /,
    *,
    url: Url = URL,
    header: Headers = (),
    as_json: EndAsJson = False,
) -> int:
    """See what a run says, from its start to its end, across restarts of the server.

    Steps that have a name are told of, and where a process dies, which, and which goes on.

    When it waits for a person, you are asked, as by `awaken run`. `awaken tail` has its events instead.

    Example: awaken watch order-7

    Parameters
    ----------
    thread_or_run
        The id of either. Of a thread, the run that goes on next in it, or else the last one.
    """
    with connected(url, header) as client:
        target = found(client, thread_or_run)
        run_id = target.run_id if isinstance(target, Run) else run_of(client, target)
        printer = AnswerPrinter(quiet=as_json)
        stream = client.run_events(run_id, channels=CHANNEL_NAMES, on_reconnect=printer.reconnecting)
        return to_the_end(client, printer, stream, as_json=as_json, channels=CHANNEL_NAMES)


def run_of(client: Client, thread: Thread) -> str:
    """What is executing in the thread, or goes on next, or else came last."""
    going_on = client.get_state(thread.thread_id).next
    run_id = going_on[0] if going_on else thread.latest_run_id
    if run_id is None:
        raise Failure(f"thread {thread.thread_id} has never had a run", Exit.NOT_FOUND)
    return run_id
