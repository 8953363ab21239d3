"""`awaken queue`: what is queued and executed; give what is queued another place, or cancel it.

Source: docs/howto/operate.md.
"""

from __future__ import annotations

from typing import Final

from cyclopts import App

from awaken.cli.failure import Exit, check_seconds, usage
from awaken.cli.options import URL, AsJson, Flag, Headers, Url
from awaken.cli.remote import connected, dispatch_of
from awaken.cli.tables import Column, print_table
from awaken.cli.terminal import note, print_facts, print_json
from awaken.client import Dispatch
from awaken.client.calls import MAX_STOP_WAIT_S

queue = App(name="queue", help_format="markdown")


@queue.default
def list_queue(
    *,
    status: str = "queued",
    thread: str | None = None,
    agent: str | None = None,
    claimed_by: str | None = None,
    older_than: float | None = None,
    stale: Flag = False,
    limit: int = 20,
    url: Url = URL,
    header: Headers = (),
    as_json: AsJson = False,
) -> int:
    """List what is queued, over all threads, oldest first; give it another place, or cancel it.

    Example: awaken queue --agent assistant --older-than 60

    Parameters
    ----------
    status
        Instead: claimed, acked, cancelled, superseded, dead_letter; or all.
    thread
        Those of this thread.
    agent
        Those of this agent.
    claimed_by
        Those that this consumer executes.
    older_than
        Those that have been there for more than so many seconds.
    stale
        Those that are claimed, and whose lease has ended.
    limit
        At most so many.
    """
    is_held = stale or claimed_by is not None
    with connected(url, header) as client:
        found = list(
            client.list_dispatches(
                status=None if status == "all" or (is_held and status == "queued") else status,
                thread_id=thread,
                agent=agent,
                claimed_by=claimed_by,
                older_than_s=older_than,
                stale=stale,
                limit=limit,
            )
        )
    if as_json:
        print_json({"items": found})
    elif found:
        _print_table(found)
    else:
        note("nothing is there")
    return Exit.OK


@queue.command
def show(dispatch_or_run: str, /, *, url: Url = URL, header: Headers = (), as_json: AsJson = False) -> int:
    """Show one, with what its run is doing.

    Example: awaken queue show RUN

    Parameters
    ----------
    dispatch_or_run
        Its id, as `awaken queue` lists it, or that of its run.
    """
    with connected(url, header) as client:
        return _shown(client.get_dispatch(dispatch_of(client, dispatch_or_run)), as_json)


@queue.command
def place(
    dispatch_or_run: str,
    /,
    *,
    priority: int | None = None,
    after: float | None = None,
    at: str | None = None,
    url: Url = URL,
    header: Headers = (),
    as_json: AsJson = False,
) -> int:
    """Give what is queued another place.

    Example: awaken queue place DISPATCH --priority 0 --after 0

    Parameters
    ----------
    dispatch_or_run
        Its id, or that of its run.
    priority
        0 (first) to 255 (last).
    after
        It does not start before so many seconds have passed; 0: it is due at once.
    at
        It does not start before this instant, as 2026-01-31T08:00:00Z.
    """
    if priority is None and after is None and at is None:
        usage("say what is to change, with --priority, --after or --at")
    with connected(url, header) as client:
        dispatch = dispatch_of(client, dispatch_or_run)
        return _shown(client.edit_dispatch(dispatch, priority=priority, delay_s=after, available_at=at), as_json)


@queue.command
def cancel(
    dispatch_or_run: str, /, *, wait: float = 10.0, url: Url = URL, header: Headers = (), as_json: AsJson = False
) -> int:
    """Stop the run that is queued or executed with it.

    Example: awaken queue cancel DISPATCH

    Parameters
    ----------
    dispatch_or_run
        Its id, or that of its run.
    wait
        Wait at most so many seconds, up to 60, until it has stopped.
    """
    check_seconds("--wait", wait, most_s=MAX_STOP_WAIT_S)
    with connected(url, header) as client:
        stopped = client.cancel_dispatch(dispatch_of(client, dispatch_or_run), wait_s=wait)
    run_id = "" if stopped.run is None else f" {stopped.run.run_id}"
    said = "stopped" if stopped.state == "stopped" else f"has not stopped yet ({stopped.state})"
    print_json(stopped) if as_json else print(f"run{run_id} {said}")
    return Exit.OK


def _shown(dispatch: Dispatch, as_json: bool) -> int:
    if as_json:
        print_json(dispatch)
        return Exit.OK
    run = dispatch.run
    print_facts(
        {
            "dispatch": dispatch.dispatch_id,
            "run": dispatch.run_id,
            "thread": dispatch.thread_id,
            "route": dispatch.route,
            "status": dispatch.status,
            "phase": None if run is None else run.phase,
            "why": dispatch.why,
            "priority": str(dispatch.priority),
            "due": dispatch.available_at,
            "attempts": f"{dispatch.attempt_count} of {dispatch.max_attempts}",
            "crashes": str(dispatch.crash_count) if dispatch.crash_count else None,
            "error": dispatch.last_error,
            "claimed by": dispatch.claimed_by,
            "lease until": dispatch.lease_until,
            "ended": dispatch.completed_at,
        }
    )
    return Exit.OK


_COLUMNS: Final = (
    Column(name="DISPATCH"),
    Column(name="THREAD", leaves=0),
    Column(name="ROUTE", least=8, leaves=3),
    Column(name="STATUS", is_status=True, leaves=4),
    Column(name="PRIORITY", is_number=True, leaves=1),
    Column(name="DUE", leaves=2),
    Column(name="WHY", least=16),
)


def _print_table(found: list[Dispatch]) -> None:
    rows = [
        (each.dispatch_id, each.thread_id, each.route, each.status, str(each.priority), each.available_at, each.why)
        for each in found
    ]
    print_table(_COLUMNS, rows)
