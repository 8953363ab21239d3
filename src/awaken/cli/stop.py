"""`awaken stop`: stop a run, what a thread is executing, or everything a thread has."""

from __future__ import annotations

from typing import Annotated

from cyclopts import Parameter

from awaken.cli.failure import Exit, usage
from awaken.cli.remote import URL, Headers, Url, connected, found
from awaken.cli.terminal import print_json
from awaken.client import Run
from awaken.client.calls import MAX_STOP_WAIT_S


def stop(
    thread_or_run: str,
    /,
    *,
    clear: bool = False,
    wait: float = 10.0,
    url: Url = URL,
    header: Headers = (),
    as_json: Annotated[bool, Parameter(name="--json", negative=())] = False,
) -> int:
    """Stop a run, or what a thread is executing.

    Parameters
    ----------
    thread_or_run
        The id of either.
    clear
        Of a thread: what is queued, too.
    wait
        Wait at most so many seconds, up to 60, until it has stopped.
    as_json
        Print one JSON document.
    """
    if not 0 <= wait <= MAX_STOP_WAIT_S:
        usage(f"--wait is 0 to {MAX_STOP_WAIT_S:g} seconds, not {wait:g}")
    with connected(url, header) as client:
        target = found(client, thread_or_run)
        if clear:
            if isinstance(target, Run):
                usage(f"--clear goes with a thread; that of this run is {target.thread_id}")
            cleared = client.interrupt(target.thread_id, wait_s=wait)
            said = f"{_how_far(cleared.cancel)}, {len(cleared.superseded)} queued runs cleared"
            answer: object = cleared
        else:
            id, cancel = (
                (target.run_id, client.cancel) if isinstance(target, Run) else (target.thread_id, client.cancel_thread)
            )
            stopped = cancel(id, wait_s=wait)
            run = stopped.run
            said = "nothing is executing" if run is None else f"run {run.run_id} {_how_far(stopped.state)}"
            answer = stopped
    print_json(answer) if as_json else print(said)
    return Exit.OK


def _how_far(state: str) -> str:
    return "stopped" if state == "stopped" else f"has not stopped yet ({state}); it does when its agent lets go"
