"""Runs that were given up, and who sees to them."""

from __future__ import annotations

from typing import Final

from tests.behaviour.ledger import Area, built

AREA: Final = Area(
    "dead letters",
    built(
        "DL-001",
        sentence="What was given up is listed by thread, agent, class of error and time, and says when it failed first.",
    ),
    built("DL-002", sentence="A dead letter is discarded once, with its reason, and stays readable."),
    built(
        "DL-003", sentence="A retry takes its letter out of the list in the transaction that accepts it, or not at all."
    ),
    built("DL-004", sentence="A dead letter that was seen to goes with the retention of runs."),
    built("DL-005", sentence="What was given up in a deleted thread is no dead letter any more."),
    built("DL-006", sentence="A dead letter is done again once, however often that is asked for, and by whomever."),
    built(
        "DL-007",
        sentence="Dead letters are counted by agent and class of error.",
        note="The class of the exception that decided, stored with the run; no text is looked at.",
    ),
    built(
        "DL-008",
        sentence="Many are seen to by a filter, which may not be empty; what cannot be is skipped with the reason.",
    ),
    built("DL-009", sentence="A dry run of many counts them and changes nothing."),
    built("DL-010", sentence="Dead letters are seen to in a program, over HTTP, by clients and at a terminal."),
)
