"""Editable configuration, its versions and its publication."""

from __future__ import annotations

from typing import Final

from tests.behaviour.ledger import Area, absent

AREA: Final = Area(
    "versioned registry and configuration",
    absent(
        "VR-001",
        "VR-002",
        "VR-003",
        "VR-004",
        "VR-005",
        "VR-006",
        "VR-007",
        "VR-008",
        "VR-009",
        "VR-010",
        "VR-011",
        "VR-012",
        "VR-013",
        "VR-014",
        "VR-015",
        "VR-016",
        "VR-017",
        "VR-018",
        "VR-019",
        "VR-020",
        "VR-021",
        "VR-022",
        "VR-023",
        "VR-024",
        "VR-025",
        "VR-026",
        "VR-027",
        "VR-028",
        "VR-029",
        "VR-030",
        "VR-031",
        "VR-032",
        because="Configuration is code here: nothing is edited, versioned, published or rolled back in the store.",
    ),
    absent(
        "CF-001",
        "CF-002",
        "CF-003",
        "CF-004",
        "CF-005",
        "CF-006",
        "CF-007",
        "CF-008",
        "CF-009",
        "CF-010",
        because="Configuration is code here: no entries are kept, compared or watched in the store.",
    ),
)
