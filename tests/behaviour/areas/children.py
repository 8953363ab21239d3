"""What a run starts, what comes back to it, and what agents say to each other."""

from __future__ import annotations

from typing import Final

from tests.behaviour.ledger import Area, Wing, later

AREA: Final = Area(
    "child runs and messages between agents",
    later(
        "MBX-130",
        "SV-017",
        sentence="A run that waits for background work goes on after a restart; one that waits for a person goes on waiting.",
        by=Wing.PEOPLE,
    ),
    later("MBX-131", "SV-018", sentence="However many wait for background work, each goes on.", by=Wing.PEOPLE),
    later("MBX-157", sentence="The end of background work wakes its run with an internal message.", by=Wing.PEOPLE),
    later("MBX-211", sentence="A wake that cannot be stored is tried again.", by=Wing.PEOPLE),
    later("MBX-222", sentence="A message to another agent opens a run of its own.", by=Wing.PEOPLE),
    later("MBX-223", sentence="A message from an agent says who sent it.", by=Wing.PEOPLE),
    later("MBX-224", sentence="A message to another agent that is sent again is the same message.", by=Wing.PEOPLE),
    later(
        "MBX-225",
        sentence="A message to another agent that cannot be accepted is an error to its sender.",
        by=Wing.PEOPLE,
    ),
    later(
        "MBX-257",
        "MBX-261",
        sentence="What background work reports comes as an internal message that names it.",
        by=Wing.PEOPLE,
    ),
    later("MBX-259", sentence="A report that cannot be read is refused with its place.", by=Wing.PEOPLE),
)
