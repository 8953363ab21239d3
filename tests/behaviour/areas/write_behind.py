"""A cache in front of the database."""

from __future__ import annotations

from typing import Final

from tests.behaviour.ledger import Area, absent

AREA: Final = Area(
    "write-behind store",
    absent(
        "NBF-001",
        "NBF-002",
        "NBF-003",
        "NBF-004",
        "NBF-005",
        "NBF-006",
        "NBF-007",
        "NBF-008",
        "NBF-009",
        "NBF-010",
        "NBF-011",
        "NBF-012",
        "NBF-013",
        "NBF-014",
        "NBF-015",
        because="Nothing is answered before it is in the database, so no cache is written behind it.",
    ),
)
