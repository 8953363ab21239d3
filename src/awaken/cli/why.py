"""`awaken why`: in words, why a run is where it is, or what holds up a thread.

Source: docs/howto/find-out-why.md.
"""

from __future__ import annotations

import textwrap
from shutil import get_terminal_size

import msgspec

from awaken.cli.failure import Exit
from awaken.cli.options import URL, AsJson, Headers, Url
from awaken.cli.remote import connected, found
from awaken.cli.terminal import print_json, printable
from awaken.cli.watch import run_of
from awaken.client import Explanation, Run
from awaken.domain.shown import Repair

_MAX_WIDTH = 100


def why(
    thread_or_run: str,
    /,
    *,
    url: Url = URL,
    header: Headers = (),
    as_json: AsJson = False,
) -> int:
    """Say why a run is where it is, since when, behind whom, and what comes next.

    Example: awaken why order-7

    Parameters
    ----------
    thread_or_run
        The id of either. Of a thread, the run that goes on next in it, or else the last one.
    """
    with connected(url, header) as client:
        target = found(client, thread_or_run)
        run_id = target.run_id if isinstance(target, Run) else run_of(client, target)
        explanation = client.explain(run_id)
    print_json(explanation) if as_json else _print(run_id, explanation)
    return Exit.OK


def _print(run_id: str, explanation: Explanation) -> None:
    rows = [
        ("run", run_id),
        ("code", explanation.code),
        ("why", explanation.summary),
        ("next", explanation.next_action),
        ("at", explanation.next_at or ""),
        ("helps", "" if explanation.repair is None else _written(explanation.repair)),
        ("behind", ", ".join([f"{each.kind} {each.id}" for each in explanation.blocked_by])),
    ]
    width = min(get_terminal_size().columns, _MAX_WIDTH)
    for name, text in rows:
        if text:
            lines = textwrap.wrap(printable(text), width - 8, break_long_words=False, break_on_hyphens=False)
            print(f"{name:<8}" + ("\n" + " " * 8).join(lines))


def _written(repair: Repair) -> str:
    """What it does, and the request that does it."""
    body = "" if repair.body is None else f" {msgspec.json.encode(repair.body).decode()}"
    return f"{repair.label}: {repair.method} {repair.path}{body}"
