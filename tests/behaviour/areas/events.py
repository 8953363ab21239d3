"""The log of a thread, and what the queue and the agents write into it."""

from __future__ import annotations

from typing import Final

from tests.behaviour.ledger import Area, built, cannot, same

AREA: Final = Area(
    "events",
    cannot(
        "EV-001",
        "EV-002",
        because="Where an event belongs is said by the transition that writes it, never by the event.",
    ),
    cannot(
        "EV-003",
        "EV-004",
        "EV-005",
        "EV-006",
        because="It has no key of its own to be repeated under and no cursor to expect: the transition it belongs to is fenced.",
    ),
    built("EV-007", sentence="Outcomes and reads hold the same rows."),
    cannot("EV-008", because="An event has one place in its thread's log; a run's events are that log filtered."),
    same("EV-009", as_="SRV-024"),
    built("EV-010", sentence="A page starts strictly after its seq."),
    built("EV-011", sentence="After the end there is nothing."),
    same("EV-012", as_="NC-001"),
    built("EV-013", sentence="A repetition is known by its number and its token, whatever else differs."),
    built("EV-014", sentence="A repetition with other content writes nothing of it."),
    cannot(
        "EV-015",
        because="An event is appended to the end of its log by who may write the thread; no place is expected.",
    ),
    same("EV-016", as_="NC-001"),
    built("EV-017", sentence="A run whose process is killed at any apply finishes without loss or repetition."),
    built("EV-018", sentence="A reader that starts from now gets only what is newer."),
    built("EV-019", sentence="A reader attached at any moment of a burst loses and doubles nothing."),
    built(
        "EV-020",
        sentence="A slow reader pages the log and comes level again.",
        note="The reader pages the log instead of reporting a gap.",
    ),
    cannot(
        "EV-022",
        because="There is one family of logs, a thread's; tenant and thread id are separate columns of its key.",
    ),
    built("EV-025", sentence="A thread counts every event of its log."),
    cannot(
        "DS-001",
        "DS-002",
        "DS-003",
        "MBX-162",
        "MBX-287",
        "MBX-293",
        "MBX-294",
        because="There is one fidelity: every event, a delta like any other, is stored and then shown, so none is forwarded without its row or left out of the log.",
    ),
    cannot(
        "DS-004",
        "MBX-160",
        "MBX-308",
        because="Events are part of the transition that they report: writing them cannot be switched off.",
    ),
    cannot(
        "DS-005",
        "MBX-309",
        because="No event is turned into another one on its way: its kind is that of its type, and what could not be stored is refused to whoever publishes it.",
    ),
    cannot(
        "DS-016",
        "MBX-164",
        because="Readers are fed from what was committed: nothing live goes before the log, or is held up by it.",
    ),
    cannot(
        "DS-015",
        "MBX-173",
        because="The end of a run and the event that tells of it are one transaction: neither is published without the other, so no publisher can fail in between.",
    ),
    cannot(
        "CC-019",
        "MBX-158",
        "MBX-159",
        because="The store that keeps runs keeps their events: nothing that would write them can be missing.",
    ),
    cannot(
        "CC-018",
        "CC-021",
        "CC-023",
        "MBX-161",
        "MBX-207",
        "MBX-208",
        "MBX-209",
        because="Between an agent and the log there is the write buffer of its run and nothing that is staged or published: what it holds leaves once, in order, in a commit that is asked again as it was, and what was not committed nobody sees.",
    ),
    built("DS-006", sentence="A run starts once; every later claim resumes it."),
    built("DS-007", sentence="What is taken over begins with its resumption."),
    cannot("DS-008", because="The end of a run is part of its last transition, so it cannot be written twice."),
    same("MBX-310", as_="DS-006"),
    same("MBX-311", as_="DS-007"),
    built(
        "DS-009",
        "MBX-290",
        "MBX-291",
        "MBX-292",
        sentence="A call says whether it succeeded, failed, was denied, timed out or was cancelled.",
        note="As the status of one kind of event; that a call waits is told by its ticket.",
    ),
    built(
        "DS-010",
        "MBX-288",
        "MBX-289",
        sentence="A call that waits for a person is followed by its ticket.",
    ),
    same("DS-014", "MBX-312", "MBX-313", as_="EV-008"),
    built("MBX-163", sentence="A run that goes on after waiting is resumed, not started."),
    built("MBX-165", sentence="A failure for good is told to the end."),
    built("MBX-166", sentence="A run is told from its queueing to its end."),
    built("MBX-170", sentence="A failure is told with when the run is due again."),
    built(
        "MBX-171",
        sentence="A takeover is told with whom the run was taken from.",
        note="It has cost no attempt: a death counts as a crash.",
    ),
    cannot("MBX-167", "SV-026", because="A submit that fails stores nothing, so no event reports it."),
    built(
        "MBX-168",
        sentence="A decision that cannot be stored is refused to its caller.",
        note="Nothing is stored then, so no event reports it.",
    ),
    built(
        "KD-001",
        sentence="Every kind of event has a story that holds its whole payload and its place.",
        note="The kinds that are told, those that anything can write, and those of the table are the same.",
    ),
    cannot(
        "KD-002",
        because="A run is stored with its dispatch or not at all: no MailboxSubmitFailed or MailboxResumeFailed reports half of it.",
    ),
    cannot(
        "KD-003",
        because="Each message is reported in its place, so that no ThreadMessagesCheckpointed sums up a batch and no MessagesSnapshot a conversation.",
    ),
    cannot(
        "KD-004",
        because="What a call waits for is told by its ticket, and how it ended by its status: ToolCallSuspended, ToolPermissionRequested, MailboxDecisionReceived, ToolPermissionResolved, ToolCallResumed, ToolCallRejected, ToolCallTimedOut and ToolCallCancelled have nothing of their own to say.",
    ),
    built(
        "KD-005",
        sentence="What a run has spent with each model is the sum of the model calls in its log.",
        note="Of the first 32 models that they name.",
    ),
    built(
        "KD-006",
        sentence="A takeover names who died and who took over by host and process id, also when both have left the register.",
        note="Logs of earlier versions have the ids alone, and read on.",
    ),
    built("KD-007", sentence="A step has the name that `ctx.step` was given, from the log on."),
    built("MBX-172", sentence="A decision is published as one event, with who made it."),
)
