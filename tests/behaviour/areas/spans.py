"""Ranges of the log that a reader does not see, or sees replaced."""

from __future__ import annotations

from typing import Final

from tests.behaviour.ledger import Area, Wing, absent, built, later

AREA: Final = Area(
    "spans and the effective view",
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
    later("TR-066", sentence="A replacement that was appended as a message is read as one.", by=Wing.PEOPLE),
    later(
        "DS-011",
        "MBX-296",
        "MBX-297",
        sentence="What compaction hides is published as one event, with its place in the log and without the text.",
        by=Wing.PEOPLE,
    ),
    absent(
        "DS-012",
        "DS-013",
        "MBX-295",
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
        because="No model loop of this package compacts: what a framework begins, gives up or skips of it is its own"
        " affair, and only what becomes part of the log is told.",
    ),
)
