"""States that no transition leaves and a restored or edited file has, and their repair."""

from __future__ import annotations

from typing import Final

from tests.behaviour.ledger import Area, built, cannot, same

AREA: Final = Area(
    "recovery and the auditor",
    built("MBX-108", "SV-003", sentence="A run whose dispatch has ended is ended as its dispatch was."),
    built("MBX-110", sentence="A run whose dispatch was given up ends with an error."),
    built("MBX-124", sentence="A run that is done is not run again by a start."),
    same("SV-012", as_="MBX-124"),
    built("SV-030", sentence="A dispatch whose run has ended is closed and not executed."),
    built("MBX-132", "SV-013", sentence="A run that was accepted and has no dispatch gets one."),
    built("MBX-133", "SV-015", sentence="A run that is to go on and has no dispatch gets one."),
    built("MBX-134", "SV-016", sentence="However many runs lack their dispatch, each gets one."),
    built(
        "MBX-135",
        "SV-014",
        sentence="Two that repair at once make one dispatch.",
        note="Both in one process; whoever comes second finds that all is well.",
    ),
    built("MBX-174", "MBX-175", "SV-027", sentence="A message without the event that reports it gets one, once."),
    built("MBX-176", sentence="A repair that cannot be made is reported and stays to be made."),
    built("MBX-177", sentence="No event reports a message that is not there."),
    built("MBX-195", "SV-028", sentence="A pending message that no run will take is found."),
    built("MBX-196", sentence="However many threads have such messages, each is found."),
    built(
        "SRV-047",
        sentence="For whatever waits one sentence says the true reason.",
        note="Each code of `awaken why` is met where it is true, and is another one when that has changed.",
    ),
    built(
        "WHY-001",
        sentence="What is queued behind a record that is damaged, and cannot be mended, is told so, and by which.",
    ),
    cannot(
        "WHY-002",
        because="No pending message, whatever barrier it is, holds up a queued run: it waits for the run that executes, and"
        " stands before that one only as a run, when it was left. Until then it is counted as what may come first.",
    ),
    built(
        "AUD-001",
        sentence="Damage to what is queued costs neither the run ahead of it its end, nor who comes later the thread.",
        note="The thread stands still then, until it is mended: nobody passes.",
    ),
    built(
        "AUD-002",
        sentence="A queued run whose message is gone is found, said to be damaged, and given up before it is due.",
    ),
)
