"""AG-UI over the same log."""

from __future__ import annotations

from typing import Final

from tests.behaviour.ledger import Area, built

AREA: Final = Area(
    "AG-UI",
    built("SRV-033", sentence="A client of AG-UI talks to the server as it is."),
)
