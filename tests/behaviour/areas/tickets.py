"""What a run waits for, who answers, and how it goes on."""

from __future__ import annotations

from typing import Final

from tests.behaviour.ledger import Area, Wing, later

AREA: Final = Area(
    "tickets, decisions and waiting runs",
    later("MBX-153", sentence="A decision for what nobody asked is refused.", by=Wing.PEOPLE),
    later(
        "MBX-154",
        "LV-021",
        sentence="A decision reaches the run that waits for it, wherever that was executed.",
        by=Wing.PEOPLE,
    ),
    later("MBX-155", sentence="Input continues the run that waits for background work.", by=Wing.PEOPLE),
    later("MBX-156", sentence="Input continues the run that waits for a person.", by=Wing.PEOPLE),
    later("MBX-272", "MBX-275", "MBX-276", sentence="A decision is found by its run and its call.", by=Wing.PEOPLE),
    later("MBX-273", "MBX-277", sentence="A decision for a run or thread that does not exist says so.", by=Wing.PEOPLE),
    later("MBX-274", "MBX-279", sentence="A decision that comes after the end starts nothing.", by=Wing.PEOPLE),
    later("MBX-278", sentence="A decision is never taken for another run's.", by=Wing.PEOPLE),
    later(
        "SRV-017",
        sentence="Decisions can be early, late, doubled, partial, refused by a schema, or come after a restart, and each says what became of it.",
        by=Wing.PEOPLE,
    ),
)
