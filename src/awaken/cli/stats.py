"""`awaken stats`: what a server has done in the last hour, minute by minute."""

from __future__ import annotations

from typing import Annotated, Final

from cyclopts import Parameter

from awaken.cli.failure import Exit, usage
from awaken.cli.options import URL, AsJson, Headers, Url
from awaken.cli.remote import connected
from awaken.cli.tables import Column, print_table
from awaken.cli.terminal import print_facts, print_json
from awaken.client import AgentStats
from awaken.domain.checking import HOUR_S
from awaken.domain.shown import StatsMinute

_COUNTED = ("submitted", "started", "completed", "failed", "retried")
_MEASURED = {"wait p50": "wait_p50_s", "wait p99": "wait_p99_s", "run p50": "run_p50_s", "run p99": "run_p99_s"}
_LEAVING: Final = ("submitted", "completed", "retried", "wait p99", "run p50", "wait p50", "run p99", "failed")
_COLUMNS: Final = (
    Column(name="MINUTE"),
    *[
        Column(name=name.upper(), is_number=True, leaves=_LEAVING.index(name) if name in _LEAVING else None)
        for name in (*_COUNTED, *_MEASURED)
    ],
)


def stats(
    *,
    url: Url = URL,
    header: Headers = (),
    agent: str | None = None,
    window: int = HOUR_S,
    as_json: Annotated[AsJson, Parameter(help="Print one JSON document, with every minute.")] = False,
) -> int:
    """Show what the server's process has done in the last hour, by the minute.

    A minute in which that was nothing is left out. Of one agent, everything together.

    Example: awaken stats --agent assistant --window 600

    Parameters
    ----------
    agent
        For this agent.
    window
        With an agent: in the last so many seconds, 60 to 3600.
    """
    if window != HOUR_S and agent is None:
        usage("--window goes with --agent")
    with connected(url, header) as client:
        if agent is not None:
            return _of_agent(client.agent_stats(agent, window_s=window), as_json)
        found = client.stats()
    if as_json:
        print_json(found)
        return Exit.OK
    busy = [minute for minute in found.minutes if minute.submitted or minute.started or minute.run_p50_s is not None]
    if not busy:
        print("nothing was done in the last hour")
        return Exit.OK
    print_table(_COLUMNS, [_row(minute) for minute in busy])
    return Exit.OK


def _of_agent(found: AgentStats, as_json: bool) -> int:
    if as_json:
        print_json(found)
        return Exit.OK
    counts: dict[str, object] = {name: getattr(found, name) for name in (*_COUNTED, "cancelled", "suspended")}
    durations = {name: _seconds(getattr(found, field)) for name, field in _MEASURED.items()}
    tokens = {"model calls": found.model_calls, "tokens": f"{found.input_tokens} in, {found.output_tokens} out"}
    print_facts({"agent": found.agent_id, "since": found.since, **counts, **durations, **tokens})
    return Exit.OK


def _row(minute: StatsMinute) -> list[str]:
    """Of a minute, by its instant in UTC."""
    counts = [str(getattr(minute, name)) for name in _COUNTED]
    return [minute.at[11:16], *counts, *[_seconds(getattr(minute, name)) for name in _MEASURED.values()]]


def _seconds(value: float | None) -> str:
    return "-" if value is None else f"{value:.3f} s"
