"""Ranges of the log that a reader does not see, or sees replaced."""

from __future__ import annotations

from typing import Final

from tests.behaviour.ledger import Area, absent, built, cannot

AREA: Final = Area(
    "spans and the effective view",
    built("VW-001", sentence="A run that is rolled back takes all that is its own out of the view, however it ends."),
    built("VW-002", sentence="A rollback is asked once, of a run that is open, and hides nothing of others."),
    built("VW-003", sentence="A message is hidden with what would be senseless without it, and the log keeps it."),
    built("VW-004", sentence="What a run that goes on still needs is not hidden from it."),
    built("VW-005", sentence="Pages of the view neither overlap nor leave out, filtered or not."),
    built("TR-051", sentence="A span lies inside the log, and before what replaces it."),
    built(
        "TR-059",
        sentence="A call that is still open is read with a placeholder that is never stored.",
        note="The row leaves the call out.",
    ),
    built("TR-060", sentence="What a span hides is not read, and the log keeps it."),
    built("TR-061", sentence="Without spans the effective view is the log."),
    built("TR-062", sentence="A replacement is read where its span begins."),
    built("TR-063", sentence="Spans that do not meet are read in order."),
    built("TR-064", sentence="A span may reach the end of the log."),
    built("TR-065", sentence="Of spans inside each other the outermost is read."),
    cannot(
        "TR-066",
        because="A span names its replacement: no message is taken for one because of what it carries.",
    ),
    absent(
        "DS-011",
        "DS-012",
        "DS-013",
        "MBX-295",
        "MBX-296",
        "MBX-297",
        "MBX-298",
        "MBX-299",
        "MBX-300",
        "MBX-301",
        "MBX-302",
        "MBX-303",
        "MBX-304",
        "MBX-305",
        "MBX-306",
        "MBX-307",
        because="No model loop of this package compacts, and nothing here makes a summary: what a framework begins,"
        " completes, gives up or skips of it is its own affair. What a caller hides of the log is told, by its places.",
    ),
    built("VA-001", sentence="A run may bring messages of the conversation by reference; they are appended nowhere."),
    built("VA-002", sentence="What is referred to has to be part of the conversation, or nothing is accepted."),
    built(
        "VA-003", sentence="A run with input by reference is recognised by its own id, and is always a run of its own."
    ),
    built("VA-004", sentence="A run that answers anew hides, when it starts, everything behind what it answers."),
    built("VA-005", sentence="A run is done again with its own input, once, by a run that names it."),
    built("VA-006", sentence="What no run ever took is brought as a copy; what was a child tells nobody any more."),
    built("VA-007", sentence="Only a run that has ended, and of whose input something is left, is done again."),
    built("VA-008", sentence="The last answer, or one that is named, is made anew."),
    built("VA-009", sentence="Answering anew is recognised by its run; what is no answer is refused."),
    built("VA-010", sentence="What others say while it waits is not for a run with input by reference."),
    built("VA-011", sentence="Runs are done again, and answers made anew, over HTTP, in a program and by clients."),
)
