"""What operators do to a process and to what is queued."""

from __future__ import annotations

from typing import Final

from tests.behaviour.ledger import Area, built

AREA: Final = Area(
    "operating",
    built(
        "OPS-001",
        sentence="A drained process accepts what is submitted and begins nothing, whatever falls due or wakes it; what"
        " executes goes on to its end, and everything begins at once when it is undrained.",
    ),
    built(
        "OPS-002",
        sentence="A drain may be asked before the start and again, holds over a stop and a start, and is forgotten with"
        " the process.",
    ),
    built("OPS-003", sentence="Health, and a run that waits, say that the process is drained; it stays ready."),
    built(
        "OPS-004", sentence="A process is drained and undrained in a program, over HTTP, by clients and at a terminal."
    ),
)
