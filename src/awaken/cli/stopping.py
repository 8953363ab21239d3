"""`awaken cancel`: stop a run, or what a thread is executing. `awaken interrupt`: clear its queue as well.

Source: docs/howto/stop-a-run.md.
"""

from __future__ import annotations

from awaken.cli.failure import Exit, check_seconds, usage
from awaken.cli.options import URL, AsJson, Flag, Headers, Url
from awaken.cli.remote import connected, found
from awaken.cli.terminal import print_json
from awaken.client import Cancellation, Run
from awaken.client.calls import MAX_STOP_WAIT_S
from awaken.domain.telling import counted


def cancel(
    thread_or_run: str,
    /,
    *,
    rollback: Flag = False,
    wait: float = 10.0,
    url: Url = URL,
    header: Headers = (),
    as_json: AsJson = False,
) -> int:
    """Stop a run, or what a thread is executing; what is queued goes on.

    Example: awaken cancel order-7 --wait 30

    Parameters
    ----------
    thread_or_run
        The id of either.
    rollback
        Of a run: when it has ended, nothing that it was given or has said is read any more.
    wait
        Wait at most so many seconds, up to 60, until it has stopped.
    """
    check_seconds("--wait", wait, most_s=MAX_STOP_WAIT_S)
    with connected(url, header) as client:
        target = found(client, thread_or_run)
        if isinstance(target, Run):
            stopped: Cancellation = client.cancel(
                target.run_id, action="rollback" if rollback else "cancel", wait_s=wait
            )
        elif rollback:
            usage("--rollback goes with a run; `awaken runs --thread THREAD` lists those of a thread")
        else:
            stopped = client.cancel_thread(target.thread_id, wait_s=wait)
    run = stopped.run
    said = "nothing is executing" if run is None else f"run {run.run_id} {_how_far(stopped.state)}"
    print_json(stopped) if as_json else print(said)
    return Exit.OK


def interrupt(
    thread: str,
    /,
    *,
    wait: float = 10.0,
    url: Url = URL,
    header: Headers = (),
    as_json: AsJson = False,
) -> int:
    """Stop what a thread is executing, and clear what is queued and what waits in it.

    Example: awaken interrupt order-7

    Parameters
    ----------
    thread
        Its id.
    wait
        Wait at most so many seconds, up to 60, until its run has stopped.
    """
    check_seconds("--wait", wait, most_s=MAX_STOP_WAIT_S)
    with connected(url, header) as client:
        cleared = client.interrupt(thread, wait_s=wait)
    active = cleared.active_run_id
    said = "nothing was executing" if active is None else f"run {active} {_how_far(cleared.cancel)}"
    said += f", {counted(len(cleared.superseded), 'queued run')} cleared"
    print_json(cleared) if as_json else print(said)
    return Exit.OK


def _how_far(state: str) -> str:
    return "stopped" if state == "stopped" else f"has not stopped yet ({state}); it does when its agent lets go"
