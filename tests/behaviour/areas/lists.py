"""What can be listed, at any size."""

from __future__ import annotations

from typing import Final

from tests.behaviour.ledger import Area, built

AREA: Final = Area(
    "lists and counts",
    built(
        "PB-001",
        sentence="A filter without an index looks at a bounded number of rows and answers with what it found and where to go on.",
    ),
    built("PB-002", sentence="A count is exact up to its bound, and says so beyond it."),
    built("PB-003", sentence="A list holds up no other reader, however much is stored."),
    built("PB-004", sentence="All the dispatches of a run, and all the waiting runs of a thread, are listed."),
)
