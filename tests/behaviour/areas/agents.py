"""What operators do to agents."""

from __future__ import annotations

from typing import Final

from tests.behaviour.ledger import Area, built

AREA: Final = Area(
    "agents",
    built(
        "AP-001",
        sentence="Runs of an agent that is paused are accepted and wait; what executes goes on, and so do others.",
    ),
    built("AP-002", sentence="Health, the list of agents and a run that waits say that its agent is paused."),
    built("AP-003", sentence="An agent is paused and resumed in a program, over HTTP, by clients and at a terminal."),
)
