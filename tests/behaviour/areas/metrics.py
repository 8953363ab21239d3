"""What operators count and read."""

from __future__ import annotations

from typing import Final

from tests.behaviour.ledger import Area, Wing, built, later, same

AREA: Final = Area(
    "metrics and logs",
    built("MBX-065", sentence="One background run shows in every family."),
    built("MBX-363", sentence="Two servers in one process count apart."),
    same("MBX-364", "MBX-365", "MBX-366", "MBX-367", "MBX-371", "MBX-372", "MBX-373", "MBX-374", as_="MBX-065"),
    built("MBX-368", sentence="Failures are counted by their class."),
    built("MBX-369", "MBX-376", sentence="Requests and open streams are counted by the template of their route."),
    later("MBX-370", sentence="Calls of models are counted, with their time and their tokens.", by=Wing.OPERATIONS),
    later("SRV-043", sentence="No secret appears in logs, errors, settings or metrics.", by=Wing.OPERATIONS),
    later("SRV-044", sentence="Labels are bounded, and a scrape under load is quick.", by=Wing.OPERATIONS),
)
