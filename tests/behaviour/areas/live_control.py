"""How what is asked of a run reaches the process that executes it."""

from __future__ import annotations

from typing import Final

from tests.behaviour.ledger import Area, cannot

AREA: Final = Area(
    "commands to a running run",
    cannot(
        "LV-001",
        "LV-002",
        "LV-003",
        "LV-004",
        "LV-005",
        "LV-006",
        "LV-007",
        "LV-008",
        "LV-009",
        "LV-010",
        "LV-011",
        "LV-013",
        "LV-014",
        "LV-015",
        "MBX-250",
        "MBX-251",
        "MBX-252",
        "MBX-253",
        "MBX-254",
        "MBX-255",
        "MBX-256",
        because="What is asked of a running run is stored before its owner hears of it: no delivery has to be acknowledged, ordered or aimed, and none can be lost.",
    ),
)
