"""`awaken stats`: what a server has done in the last hour, minute by minute."""

from __future__ import annotations

from typing import Annotated

from cyclopts import Parameter

from awaken.cli.failure import Exit
from awaken.cli.remote import URL, Headers, Url, connected
from awaken.cli.terminal import print_json
from awaken.domain.shown import StatsMinute

_COUNTED = ("submitted", "started", "completed", "failed", "retried")
_MEASURED = {"wait p50": "wait_p50_s", "wait p99": "wait_p99_s", "run p50": "run_p50_s", "run p99": "run_p99_s"}


def stats(
    *,
    url: Url = URL,
    header: Headers = (),
    as_json: Annotated[bool, Parameter(name="--json", negative=())] = False,
) -> int:
    """Show what the server's process has done in the last hour, and no minute in which that was nothing.

    Parameters
    ----------
    as_json
        Print one JSON document, with every minute.
    """
    with connected(url, header) as client:
        found = client.stats()
    if as_json:
        print_json(found)
        return Exit.OK
    busy = [minute for minute in found.minutes if minute.submitted or minute.started or minute.run_p50_s is not None]
    if not busy:
        print("nothing was done in the last hour")
        return Exit.OK
    print("  ".join(["minute", *_COUNTED, *[name.rjust(9) for name in _MEASURED]]))
    for minute in busy:
        print(_line(minute))
    return Exit.OK


def _line(minute: StatsMinute) -> str:
    """Of a minute, by its instant in UTC."""
    counts = [str(getattr(minute, name)).rjust(len(name)) for name in _COUNTED]
    durations = [_seconds(getattr(minute, name)).rjust(9) for name in _MEASURED.values()]
    return "  ".join([minute.at[11:16] + " ", *counts, *durations])


def _seconds(value: float | None) -> str:
    return "-" if value is None else f"{value:.3f} s"
