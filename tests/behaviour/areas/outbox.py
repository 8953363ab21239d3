"""What goes out: to other threads, and to the outside."""

from __future__ import annotations

from typing import Final

from tests.behaviour.ledger import Area, Wing, built, later, same

AREA: Final = Area(
    "outbox",
    later("OB-001", sentence="What goes out without a lane, a target or an attempt is refused.", by=Wing.PROTOCOLS),
    later("OB-002", sentence="What is to go out waits, untried.", by=Wing.PROTOCOLS),
    later("OB-003", "MBX-320", sentence="What is taken and confirmed has gone out.", by=Wing.PROTOCOLS),
    later(
        "OB-004",
        "MBX-324",
        sentence="Each lane and target takes its own, when it is due, and no more than it wants.",
        by=Wing.PROTOCOLS,
    ),
    later("OB-005", "MBX-322", sentence="What was taken by who died goes out again.", by=Wing.PROTOCOLS),
    later("OB-006", "MBX-323", sentence="Who comes late confirms nothing.", by=Wing.PROTOCOLS),
    later(
        "OB-007", "MBX-321", sentence="What fails is tried again, and given up after its attempts.", by=Wing.PROTOCOLS
    ),
    later("OB-008", "MBX-326", sentence="What failed waits longer each time, up to a bound.", by=Wing.PROTOCOLS),
    later("OB-009", "OB-012", sentence="The same again is the same.", by=Wing.PROTOCOLS),
    later("OB-010", sentence="Something else under the same key is a conflict.", by=Wing.PROTOCOLS),
    later("OB-011", sentence="What has gone out does not go out again.", by=Wing.PROTOCOLS),
    later("OB-013", sentence="What goes out goes in the order in which it is due.", by=Wing.PROTOCOLS),
    built(
        "OB-016",
        sentence="What is to go out is stored with the step that wants it, or not at all.",
        note="To other threads, and in a transaction of a caller's; what goes outside comes with the protocols.",
    ),
    same("OB-017", as_="EV-021"),
    later("OB-018", sentence="The states of what goes out survive JSON.", by=Wing.PROTOCOLS),
    later("OB-019", sentence="What goes out is listed by its state.", by=Wing.PROTOCOLS),
    later("MBX-325", sentence="Settings that would send nothing are refused.", by=Wing.PROTOCOLS),
)
