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
    built(
        "OPS-010",
        sentence="What is queued and executed is listed over all threads, by status, thread, agent, claimer, age and"
        " leases that have ended: of each run the dispatch that it has now.",
    ),
    built(
        "OPS-011",
        sentence="A priority or an instant gives what is queued another place: in its thread, among threads, and for the"
        " timers, at once.",
    ),
    built("OPS-012", sentence="Only what is queued is given another place; anything else is refused, and unchanged."),
    built("OPS-013", sentence="A dispatch that is open is cancelled with its run; one that has ended cancels nothing."),
    built(
        "OPS-014",
        sentence="What is queued is listed, read, given another place and cancelled in a program, over HTTP, by clients"
        " and at a terminal.",
    ),
)
