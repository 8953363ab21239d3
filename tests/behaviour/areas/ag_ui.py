"""AG-UI over the same log."""

from __future__ import annotations

from typing import Final

from tests.behaviour.ledger import Area, built

AREA: Final = Area(
    "AG-UI",
    built("SRV-033", sentence="A client of AG-UI talks to the server as it is."),
    built("AGUI-001", sentence="Whoever joins at any event of a run is shown the same in the end."),
    built("AGUI-002", sentence="A stream that is cut anywhere goes on where it was, byte for byte."),
    built(
        "AGUI-003", sentence="Answers to interrupts that are not as the protocol wants them are refused in the stream."
    ),
    built("AGUI-004", sentence="What is wrong with a request is refused, and stores nothing."),
    built("AGUI-006", sentence="Whoever comes later, asks again, or is refused, is shown the thread as it stands."),
    built("AGUI-005", sentence="A call that was cut ends with arguments that are JSON."),
)
