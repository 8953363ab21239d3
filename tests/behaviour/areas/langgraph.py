"""LangGraph's API and the Agent Protocol over the same log."""

from __future__ import annotations

from typing import Final

from tests.behaviour.ledger import Area, built

AREA: Final = Area(
    "LangGraph's API",
    built("SRV-037", sentence="A LangGraph client talks to the server as it is."),
    built("LG-001", sentence="A run is streamed in every mode, and each says what the log does."),
    built("LG-002", sentence="A stream that is cut anywhere goes on where it was, and no piece is shown twice."),
    built("LG-003", sentence="What a client cannot mean is refused, and changes nothing."),
    built("LG-004", sentence="An interrupt is resumed with one value, or with one for each; the run is the same."),
    built("LG-005", sentence="The streaming protocol carries commands out, and shows a thread's events by channel."),
    built("LG-006", sentence="A client of the Agent Protocol finds agents, and asks for runs by themselves."),
    built("LG-007", sentence="No route of LangGraph's API shows or changes what belongs to others."),
)
