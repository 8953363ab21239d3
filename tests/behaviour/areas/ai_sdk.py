"""Clients of the AI SDK, as they come."""

from __future__ import annotations

from typing import Final

from tests.behaviour.ledger import Area, built

AREA: Final = Area(
    "the AI SDK",
    built(
        "SRV-031",
        sentence="A client of the AI SDK, as it comes, chats, approves, answers, regenerates, stops and comes back.",
    ),
    built(
        "SRV-032",
        sentence="Of what a client of the AI SDK sends, the log takes what is new; what it has not, or says otherwise, is left.",
    ),
    built("MBX-353", sentence="Each event that a client of the AI SDK is told of is at least one frame of data."),
    built("MBX-361", sentence="The first and the last frames of the AI SDK begin with `data: `."),
)
