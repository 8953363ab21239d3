"""What holds between several processes, or several handles, on one store."""

from __future__ import annotations

from typing import Final

from tests.behaviour.ledger import Area, built, cannot, same

AREA: Final = Area(
    "several processes",
    built(
        "MB-028",
        sentence="Callers that meet on one key from different tasks store it once.",
        note="Of one process; and on Postgres of several.",
    ),
    built("MB-033", sentence="What many submit at once is drained once by several workers.", note="As MB-028."),
    built("MB-059", sentence="Two consumers asking for one dispatch get it once."),
    built("MB-060", sentence="Of two dispatches of a thread only one is taken at a time."),
    built("MB-061", sentence="A deep queue is drained once by many workers."),
    built("MB-068", sentence="What the writer remembers of a queue never decides against the rows."),
    built("MB-109", sentence="A read after an interrupt sees what it did.", note="As MB-028."),
    built("MB-110", sentence="An interrupt names the claim that the rows have, whatever the writer remembers."),
    cannot(
        "MB-111",
        because="The database holds one claimed dispatch of a thread at most, so there is no stale one beside the live one.",
    ),
    built(
        "MB-125",
        sentence="A successor claims with a token and instance of its own.",
        note="The second owner is the next process on the same file.",
    ),
    built("MB-127", sentence="A sweep takes back the claim that the rows have, whatever the writer remembers."),
    built("MB-131", sentence="Retry time is the first instant at which anybody may claim.", note="As MB-028."),
    built("MB-146", sentence="Work is found by whoever looks after it was submitted.", note="As MB-028."),
    built("MB-149", sentence="A purge removes what the rows have, whatever the writer remembers."),
    built("MB-162", sentence="A read after a write shows what it wrote.", note="As MB-028."),
    cannot(
        "MB-164",
        "MB-165",
        "MB-166",
        "MB-167",
        because="A dedupe key is held by the rows of its holder alone: nothing is left by who failed, and nothing is freed by who comes late.",
    ),
    cannot(
        "MB-168",
        "MB-169",
        "MB-170",
        "MB-171",
        because="All that a store knows is in its rows: one that is given only the rows answers as the one that wrote them.",
    ),
    built("MBX-056", sentence="Two mailboxes on one store lose no message.", note="Two mailboxes on one store."),
    built("MBX-121", sentence="Two starts on one queued dispatch execute it once."),
    same("SV-023", as_="MBX-121"),
    built("TR-115", sentence="Every message of concurrent submits is kept, and every run finds its input."),
    built(
        "EV-023",
        sentence="What one process appends, a reader in another receives.",
        note="The reader is an HTTP client in another process.",
    ),
    built(
        "EV-024", sentence="Concurrent appends to one log leave no gap and nothing behind a cursor already handed out."
    ),
    built("CC-025", sentence="Of two processes that go on with one thread one is refused.", note="As MB-028."),
    built(
        "PM-040",
        sentence="What is pending is taken once, however many processes look for it.",
        note="As MB-028: by whoever owns the claim of its run.",
    ),
    built(
        "OB-014",
        "OB-015",
        sentence="What goes out is begun once, and removed once, whoever delivers it at the same moment.",
        note="On Postgres; nobody claims an errand, as its delivery is repeatable.",
    ),
    built(
        "LV-012",
        "SRV-014",
        sentence="What is asked of a run reaches the process that executes it.",
        note="Two mailboxes on one store, with its signals and without, and real processes on Postgres.",
    ),
    built(
        "SRV-021",
        sentence="A stream goes on in another process when the one that served or executed it is killed.",
        note="Real processes on Postgres. That a client goes to another address is the balancer's part: any of them answers.",
    ),
)
