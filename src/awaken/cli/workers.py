"""`awaken workers`: the processes that work on a server's store.

Source: docs/howto/run-on-postgres.md.
"""

from __future__ import annotations

from typing import Final

from awaken.cli.failure import Exit
from awaken.cli.options import URL, AsJson, Headers, Url
from awaken.cli.remote import connected
from awaken.cli.tables import Column, print_table
from awaken.cli.terminal import print_json
from awaken.domain.shown import Worker

_COLUMNS: Final = (
    Column(name="PROCESS", is_number=True),
    Column(name="HOST", least=8),
    Column(name="ROLE"),
    Column(name="RUNS"),
    Column(name="SEEN", leaves=2),
    Column(name="VERSION", leaves=1),
    Column(name="AGENTS", least=10),
)


def workers(*, url: Url = URL, header: Headers = (), as_json: AsJson = False) -> int:
    """List the processes that work on a server's store, the one that answers first.

    Example: awaken workers
    """
    with connected(url, header) as client:
        found = list(client.list_workers())
    if as_json:
        print_json({"items": found})
        return Exit.OK
    print_table(_COLUMNS, [_row(each) for each in found])
    return Exit.OK


def _row(worker: Worker) -> tuple[str, ...]:
    role = f"{worker.role}, drained" if worker.drained else worker.role
    runs = f"{worker.executing} of {worker.stats.slots}" if worker.stats.slots else "-"
    agents = ", ".join(worker.routes) or "-"
    return str(worker.pid), worker.host, role, runs, f"{worker.seen_ago_s:.0f}s", worker.version, agents
