"""Who pays when a process dies."""

from __future__ import annotations

from typing import Final

from tests.behaviour.ledger import Area, built

AREA: Final = Area(
    "blame",
    built(
        "BL-001",
        sentence="A run that was executing in two deaths of its process since its last closed step is a suspect.",
    ),
    built(
        "BL-002",
        sentence="Only a suspect that was the only suspect executing is charged with the death of its process.",
    ),
    built(
        "BL-003",
        sentence="The room for suspects begins with one, doubles with each that closes a step or ends, and never exceeds the slots.",
    ),
    built("BL-004", sentence="Suspects are tried by fewest attempts, then most crashes, then the longest not tried."),
    built("BL-005", sentence="The thread of a suspect waits with it."),
    built("BL-006", sentence="However often a process dies, no innocent run is given up."),
    built("BL-007", sentence="A run that kills its process is given up alone."),
    built("BL-008", sentence="Closing a step clears a run of suspicion."),
)
