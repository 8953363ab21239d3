"""What people see in a browser and in a terminal."""

from __future__ import annotations

from typing import Final

from tests.behaviour.ledger import Area, built

AREA: Final = Area(
    "console and command line",
    built(
        "SRV-045",
        sentence="The pages of the console show nothing, some rows and ten thousand, without the network and without the right to change anything.",
        note="Who may not change anything is told so where they try: the right is the server's to give, and keys have no scopes yet.",
    ),
    built("SRV-046", sentence="Every command works against a live server, for people and for programs."),
)
