"""`awaken send`: send a message to a thread, or to a run that is there."""

from __future__ import annotations

from awaken.cli.failure import Exit
from awaken.cli.options import URL, AsJson, Headers, Url
from awaken.cli.remote import connected, found
from awaken.cli.terminal import print_json
from awaken.client import Run
from awaken.domain.delivery import Mode


def send(
    thread_or_run: str,
    text: str,
    /,
    *,
    mode: Mode = "steer",
    agent: str | None = None,
    url: Url = URL,
    header: Headers = (),
    as_json: AsJson = False,
) -> int:
    """Send a message to the run of a thread, or to one run.

    Example: awaken send order-7 "It is the blue one." --mode follow_up

    Parameters
    ----------
    thread_or_run
        The id of either.
    text
        What is said.
    mode
        How it is taken: between two steps (steer), where the run would end (follow_up), or as the others say.
    agent
        Whom a run of its own would be for.
    """
    with connected(url, header) as client:
        target = found(client, thread_or_run)
        run_id = target.run_id if isinstance(target, Run) else None
        sent = client.steer(target.thread_id, text, run_id=run_id, mode=mode, agent=agent)
    if as_json:
        print_json(sent)
    else:
        print(f"message {sent.message_ids[0]} {sent.path}, run {sent.run_id}")
    return Exit.OK
