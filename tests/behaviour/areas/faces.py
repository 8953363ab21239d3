"""What people see in a browser and in a terminal."""

from __future__ import annotations

from typing import Final

from tests.behaviour.ledger import Area, Wing, built, later

AREA: Final = Area(
    "console and command line",
    later(
        "SRV-045",
        sentence="The pages of the console show nothing, ten rows and ten thousand, without the network and without the right to change anything.",
        by=Wing.FACES,
    ),
    built("SRV-046", sentence="Every command works against a live server, for people and for programs."),
)
