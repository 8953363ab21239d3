"""States that no transition leaves and a restored or edited file has, and their repair."""

from __future__ import annotations

from typing import Final

from tests.behaviour.ledger import Area, Wing, built, later, same

AREA: Final = Area(
    "recovery and the auditor",
    later(
        "MBX-108", "SV-003", sentence="A run whose dispatch has ended is ended as its dispatch was.", by=Wing.AUDITOR
    ),
    later("MBX-110", sentence="A run whose dispatch was given up ends with an error.", by=Wing.AUDITOR),
    built("MBX-124", sentence="A run that is done is not run again by a start."),
    same("SV-012", as_="MBX-124"),
    built("SV-030", sentence="A dispatch whose run has ended is closed and not executed."),
    later("MBX-132", "SV-013", sentence="A run that was accepted and has no dispatch gets one.", by=Wing.AUDITOR),
    later("MBX-133", "SV-015", sentence="A run that is to go on and has no dispatch gets one.", by=Wing.AUDITOR),
    later("MBX-134", "SV-016", sentence="However many runs lack their dispatch, each gets one.", by=Wing.AUDITOR),
    later("MBX-135", "SV-014", sentence="Two that repair at once make one dispatch.", by=Wing.POSTGRES),
    later(
        "MBX-174",
        "MBX-175",
        "SV-027",
        sentence="A message without the event that reports it gets one, once.",
        by=Wing.AUDITOR,
    ),
    later("MBX-176", sentence="A repair that cannot be made is reported and stays to be made.", by=Wing.AUDITOR),
    later("MBX-177", sentence="No event reports a message that is not there.", by=Wing.AUDITOR),
    later("MBX-195", "SV-028", sentence="A pending message that no run will take is found.", by=Wing.AUDITOR),
    later("MBX-196", sentence="However many threads have such messages, each is found.", by=Wing.AUDITOR),
    later("SRV-047", sentence="For whatever waits one sentence says the true reason.", by=Wing.AUDITOR),
)
