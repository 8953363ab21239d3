"""What the owner of a claim makes of it: consumed, handed back, given up."""

from __future__ import annotations

from typing import Final

from tests.behaviour.ledger import Area, built, cannot, same

AREA: Final = Area(
    "settlement",
    built("MB-070", sentence="An ack closes the dispatch and finishes the run."),
    built("MB-071", sentence="A wrong token changes nothing."),
    built("MB-072", sentence="An unknown dispatch cannot be written by anybody."),
    built("MB-073", sentence="A settled dispatch cannot be settled again."),
    cannot(
        "MB-074",
        "MB-075",
        because="What a run is and how it ended stands in the run alone, so no copy can be stale, kept or cleared.",
    ),
    cannot("MB-076", because="A result is recorded by the settlement that ends the claim, and by nothing before it."),
    cannot("MB-077", because="Result and ack are one transaction, so no ack comes after a result and has to keep it."),
    cannot(
        "MB-078",
        because="A result is part of a settlement, which names its own run; a settlement for another run loses its lease.",
    ),
    cannot(
        "MB-079", because="Start and result are parts of claim and settlement; a wrong token changes nothing there."
    ),
    cannot("MB-080", because="Start and result are parts of claim and settlement, which need a claimed dispatch."),
    built("MB-081", sentence="A failure spends an attempt and waits."),
    built("MB-082", sentence="The last attempt ends in the dead letters."),
    cannot("MB-083", because="A dead letter has no copy of a result to keep; the run's record says how it ended."),
    built("MB-084", sentence="A hopeless failure goes to the dead letters at once."),
    built("MB-085", sentence="A dead letter is never executed or claimed again."),
    built("MBX-062", sentence="A run that succeeds is consumed with its answer."),
    built(
        "MBX-063", sentence="A settlement that the store refused is asked for again, and the run is not executed again."
    ),
    same("SV-005", as_="MBX-063"),
    built(
        "MBX-213",
        "MBX-214",
        sentence="A settlement that is never stored leaves the claim as it was, and the run is taken over.",
    ),
)
