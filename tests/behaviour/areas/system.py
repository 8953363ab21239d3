"""A server about itself: its start, what it is made of, and its maintenance."""

from __future__ import annotations

from typing import Final

from tests.behaviour.ledger import Area, built

AREA: Final = Area(
    "a server about itself",
    built(
        "SYS-001",
        sentence="A server listens before it starts: it is alive and not ready, says how far it is, and answers nothing else.",
    ),
    built("SYS-002", sentence="A start that fails, or is called off by a signal, ends the server."),
    built(
        "SYS-003",
        sentence="A server says what it is, what keeps strangers from it, within which limits, and which processes work on its store.",
    ),
    built("SYS-004", sentence="Settings are listed with who chose them, and no secret is among them."),
    built("SYS-005", sentence="What falls due is looked for, and what is not kept removed, when an operator asks."),
)
