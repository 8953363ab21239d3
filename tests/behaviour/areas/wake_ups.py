"""Signals of work, and the look that does without them."""

from __future__ import annotations

from typing import Final

from tests.behaviour.ledger import Area, Wing, built, cannot, later, same

AREA: Final = Area(
    "wake-ups",
    cannot(
        "SG-001", because="A store that is alone on its data has no signals: all there is to know is in its answers."
    ),
    built("SG-002", sentence="What one process accepts wakes another that can run it.", note="On Postgres."),
    cannot(
        "SG-003",
        "SG-004",
        "SG-005",
        "SG-006",
        "SG-007",
        "SG-008",
        "SG-009",
        "SG-013",
        "SG-014",
        "MBX-005",
        "MBX-140",
        because="A wake-up is a hint without a receipt: lost, late or doubled it costs a look at the store and nothing else.",
    ),
    same("SG-010", "SG-011", as_="MB-046"),
    built("MBX-142", sentence="What waits behind a run of another process starts when that has ended."),
    same("MBX-143", as_="MBX-076"),
    built(
        "SG-012",
        "MBX-141",
        "MBX-212",
        "MBX-216",
        sentence="A claim that the store refuses is asked for again, and the work is executed once.",
    ),
    same("SG-015", as_="MBX-119"),
    same("MB-163", as_="EV-017"),
    built("WU-002", sentence="A wait in a process that executes nothing ends with the run."),
    later("MBX-375", sentence="Signals between processes are counted.", by=Wing.POSTGRES),
)
