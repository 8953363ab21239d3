"""What the server answers, beside runs and streams."""

from __future__ import annotations

from typing import Final

from tests.behaviour.ledger import Area, built

AREA: Final = Area(
    "HTTP",
    built("SRV-006", sentence="Readiness reflects the store and liveness does not."),
    built(
        "SRV-007",
        sentence="A request that breaks a rule gets the documented problem and stores nothing.",
        note="Without keys.",
    ),
    built("SRV-008", sentence="The server does what its description says."),
    built("SRV-019", sentence="Dead letters are listed, grouped, retried once and discarded, by one or by many."),
    built(
        "SRV-040",
        sentence="Only its own names and the origins that were allowed reach the server, and browsers learn which.",
        note="Named origins may send credentials; those of * may not.",
    ),
    built("WEB-003", sentence="A server behind a proxy answers to the name and the path by which clients know it."),
    built("WEB-004", sentence="The client for browsers is one typed module, served and shipped."),
    built(
        "WEB-005",
        sentence="What a browser watches comes once and in order, whatever happens to connections and servers.",
    ),
    built(
        "WEB-006",
        sentence="A page opened at any moment shows the conversation and what is being said, joined without a gap.",
    ),
)
