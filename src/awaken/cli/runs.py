"""`awaken runs`: what runs there are, newest first."""

from __future__ import annotations

from typing import Final

from rich.text import Text

from awaken.cli.failure import Exit, usage
from awaken.cli.options import URL, AsJson, Headers, Url
from awaken.cli.remote import connected
from awaken.cli.tables import Column, print_table
from awaken.cli.terminal import age, note, print_json, seconds_between, shortened, span
from awaken.client import Run
from awaken.domain.clock import Instant, SystemClock
from awaken.domain.explaining import shown
from awaken.domain.phase import Phase
from awaken.domain.run import RunStatus

MAX_LIMIT: Final = 100_000
"""They are read into memory before they are printed."""
_LONG_S: Final = 60
_STATUSES: Final = tuple(RunStatus)


def runs(
    *,
    thread: str | None = None,
    status: str | None = None,
    phase: Phase | None = None,
    failed: bool = False,
    agent: str | None = None,
    limit: int = 20,
    url: Url = URL,
    header: Headers = (),
    as_json: AsJson = False,
) -> int:
    """List runs, newest first.

    Example: awaken runs --agent assistant --failed

    Parameters
    ----------
    thread
        Only the runs of this thread.
    status
        created, running, waiting or done.
    phase
        Only runs in this phase, which is finer.
    failed
        Only runs that failed or were given up.
    agent
        Only the runs of this agent.
    limit
        How many, up to 100000.
    """
    if not 1 <= limit <= MAX_LIMIT:
        usage(f"--limit is 1 to {MAX_LIMIT}, not {shown(limit)}")
    if status is not None and status not in _STATUSES:
        usage(f"--status is one of {', '.join(_STATUSES)}, not {shown(status)}")
    if failed and status not in (None, "done"):
        usage("--failed looks at runs that are done; leave --status out")
    with connected(url, header) as client:
        found = list(
            client.list_runs(thread_id=thread, status=status, phase=phase, agent=agent, failed=failed, limit=limit)
        )
    if as_json:
        print_json({"items": found})
    elif found:
        print_runs(found, SystemClock().now())
    else:
        chosen = failed or any(given is not None for given in (thread, status, phase, agent))
        none = "no such runs" if chosen else "no runs yet; `awaken run AGENT TEXT` makes one"
        note(none)
    return Exit.OK


_COLUMNS: Final = (
    Column(name="RUN"),
    Column(name="THREAD", leaves=0),
    Column(name="AGENT", least=8, leaves=3),
    Column(name="PHASE", is_status=True),
    Column(name="AGE", is_number=True),
    Column(name="TOOK", is_number=True, leaves=2),
    Column(name="OUTPUT", least=16, leaves=1),
)


def print_runs(runs: list[Run], now: Instant) -> None:
    """A table of them."""
    print_table(_COLUMNS, [_cells(run, now) for run in runs])


def _cells(run: Run, now: Instant) -> list[str | Text]:
    took_s = seconds_between(run.started_at, run.finished_at)
    return [
        run.run_id,
        run.thread_id,
        run.agent_id,
        run.phase or run.status,
        age(run.created_at, now),
        "" if took_s is None else f"{took_s:.1f} s" if took_s < _LONG_S else span(took_s),
        shortened(run.error.message if run.error is not None else run.final_output or ""),
    ]
