"""Other dialects over the same log, and calls to the outside."""

from __future__ import annotations

from typing import Final

from tests.behaviour.ledger import Area, Wing, built, later

AREA: Final = Area(
    "protocols",
    later("SRV-034", sentence="An A2A agent talks to the server as it is.", by=Wing.PROTOCOLS),
    later("SRV-035", sentence="An MCP client talks to the server as it is.", by=Wing.PROTOCOLS),
    later("SRV-036", sentence="An ACP editor talks to the server as it is.", by=Wing.PROTOCOLS),
    built("SRV-038", sentence="One run looks the same through every dialect."),
    later("SRV-041", sentence="A callback reaches no private address, however it is written.", by=Wing.PROTOCOLS),
    later(
        "SRV-042",
        sentence="A webhook is signed, repeated, in order, and turned off when it keeps failing.",
        by=Wing.PROTOCOLS,
    ),
    built(
        "MBX-354",
        "MBX-355",
        "MBX-360",
        sentence="Each dialect makes well-formed frames of the events, and of its own beginning and end.",
    ),
)
