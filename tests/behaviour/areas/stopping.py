"""Cancel asks, interrupt asks and clears."""

from __future__ import annotations

from typing import Final

from tests.behaviour.ledger import Area, built, cannot, same

AREA: Final = Area(
    "stopping",
    built("UC-015", sentence="An agent that tidies up within its grace is not cancelled again, whoever asks."),
    built("MB-086", sentence="Cancelling queued work closes dispatch and run at once."),
    built("MB-087", sentence="Cancelling claimed work asks its owner and leaves it claimed."),
    built("MB-088", sentence="Cancelling what ended or never was changes nothing."),
    built(
        "MB-093",
        sentence="An owner that settles after an interrupt closes its dispatch as superseded, with the reason.",
    ),
    built("MB-094", sentence="A wrong token supersedes nothing."),
    built("MB-095", sentence="Only a claim can be given up: what is queued, finished or unknown has no owner."),
    built("MB-100", sentence="An interrupt supersedes everything queued."),
    built("MB-101", sentence="An interrupt reports the claimed dispatch and leaves it claimed."),
    built("MB-102", sentence="A thread nobody knew starts at epoch one when interrupted."),
    built(
        "MB-103",
        sentence="An interrupted claim is not extended and holds until its lease ends.",
        note="The dispatch stays claimed until its owner settles it or the lease ends; a renewal says stop and extends nothing.",
    ),
    built(
        "MB-104",
        sentence="An interrupted owner commits nothing more.",
        note="Starting is part of the claim; the first commit after an interrupt is refused.",
    ),
    built(
        "MB-105",
        sentence="After an interrupt every settlement supersedes and every commit is refused.",
        note="Commits are refused; the settlement closes dispatch and run whatever it says.",
    ),
    built(
        "MB-106",
        sentence="A reclaim supersedes an interrupted claim.",
        note="The superseded dispatch is reported by the reclaim.",
    ),
    built(
        "MB-107",
        sentence="Work submitted after an interrupt is claimable once the old claim is over.",
        note="The old claim ends with its settlement or its lease.",
    ),
    built("MB-108", sentence="While the interrupted owner holds its claim the thread gives nothing to anybody."),
    built("MB-112", sentence="Epochs only rise, also across a purge."),
    built("MB-113", sentence="A run interrupted before its agent began writes nothing."),
    built(
        "MBX-100",
        sentence="Cancelling a queued run closes dispatch and run together.",
        note="The event names its dispatch beside the payload.",
    ),
    built("MBX-101", sentence="An interrupt raises the epoch.", note="The thread exists."),
    built("MBX-102", sentence="An interrupt supersedes the queue with its runs."),
    cannot("MBX-081", because="Claim and start are one transaction: an interrupt comes before both or after both."),
    built("MBX-103", sentence="A submit that interrupts clears what is queued and takes its place."),
    built(
        "MBX-104",
        "LV-019",
        sentence="A submit that interrupts has the run of another process stopped, and starts when that has let go.",
        note="Two mailboxes on one store, with its signals and without.",
    ),
    built(
        "MBX-105",
        "LV-020",
        sentence="A caller that gives a bound gives up when another process does not let go in time, and leaves nothing that would run.",
        note="Two mailboxes on one store, with its signals and without.",
    ),
    built(
        "MBX-106",
        sentence="A caller that gives a bound gives up when the run of this process does not let go in time, and the log says so.",
    ),
    built(
        "MBX-107",
        sentence="A run that has ended still holds its thread until its settlement is stored.",
        note="The caller who gave a bound is answered with the conflict; its run ends cancelled.",
    ),
    built(
        "MBX-079",
        "SV-020",
        sentence="A caller that gives a bound and wins no claim in time is answered with the conflict, and its run ends cancelled.",
    ),
    built("MBX-169", sentence="An interrupt is told of what runs and of what is cleared."),
    same("SV-004", as_="MBX-102"),
    built(
        "SRV-015",
        sentence="A cancel stops queued work at once and asks running work, once however often it is sent.",
        note="By run, by thread and by dispatch; a run that waits is stopped at once.",
    ),
    built("SRV-016", sentence="An interrupt supersedes the queue and reports it."),
    same("MBX-262", "MBX-264", "MBX-265", "MBX-267", as_="SRV-015"),
    same("MBX-263", "MBX-283", as_="MB-088"),
    built(
        "MBX-266", "MBX-284", sentence="Cancelling a thread that executes nothing says that there was nothing to stop."
    ),
    cannot(
        "MBX-268",
        "MBX-269",
        "MBX-270",
        "MBX-271",
        because="Runs and threads are stopped by operations of their own, so no id is looked up as both.",
    ),
    built("MBX-285", sentence="A cancel that waits says how far the stop has come when its time is over."),
    built("MBX-286", sentence="A cancel that waits returns as soon as the run has stopped."),
)
