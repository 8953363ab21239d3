"""Ranges of the log that a reader does not see, or sees replaced."""

from __future__ import annotations

from typing import Final

from tests.behaviour.ledger import Area, Wing, later

AREA: Final = Area(
    "spans and the effective view",
    later("TR-051", sentence="A span lies inside the log, and before what replaces it.", by=Wing.PEOPLE),
    later(
        "TR-059", sentence="A call that is still open is read with a placeholder that is never stored.", by=Wing.PEOPLE
    ),
    later("TR-060", sentence="What a span hides is not read, and the log keeps it.", by=Wing.PEOPLE),
    later("TR-061", sentence="Without spans the effective view is the log.", by=Wing.PEOPLE),
    later("TR-062", sentence="A replacement is read where its span begins.", by=Wing.PEOPLE),
    later("TR-063", sentence="Spans that do not meet are read in order.", by=Wing.PEOPLE),
    later("TR-064", sentence="A span may reach the end of the log.", by=Wing.PEOPLE),
    later("TR-065", sentence="Of spans inside each other the outermost is read.", by=Wing.PEOPLE),
    later("TR-066", sentence="A replacement that was appended as a message is read as one.", by=Wing.PEOPLE),
    later(
        "DS-011",
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
        sentence="What compaction hides is published as one event, with its place in the log and without the text.",
        by=Wing.PEOPLE,
    ),
    later("DS-012", sentence="A compaction that went on under another name was not cancelled.", by=Wing.PEOPLE),
    later("DS-013", sentence="A compaction that begins again is published again.", by=Wing.PEOPLE),
)
