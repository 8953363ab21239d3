"""Messages that are accepted and not yet taken, and what becomes of them."""

from __future__ import annotations

from typing import Final

from tests.behaviour.ledger import Area, Wing, later, same

AREA: Final = Area(
    "steering and pending messages",
    later("PM-001", sentence="What is pending can be edited, put in another order and retracted.", by=Wing.PEOPLE),
    later(
        "PM-002", sentence="A pending message has the id of its message, minted where there was none.", by=Wing.PEOPLE
    ),
    later("PM-003", sentence="An id that is pending, or comes twice, is refused.", by=Wing.PEOPLE),
    later("PM-004", sentence="An id that is in the log already is refused as consumed.", by=Wing.PEOPLE),
    later("PM-005", sentence="What is not a sound message can neither wait nor replace one that does.", by=Wing.PEOPLE),
    later("PM-006", sentence="An edit and a retraction name the revision they are about.", by=Wing.PEOPLE),
    later("PM-007", sentence="A new order names the revision of the queue it is about.", by=Wing.PEOPLE),
    later("PM-008", sentence="A new order names everything that is pending.", by=Wing.PEOPLE),
    later("PM-009", sentence="A new order that names something else changes nothing.", by=Wing.PEOPLE),
    later("PM-010", sentence="An edit keeps the id.", by=Wing.PEOPLE),
    later(
        "PM-011", "SV-039", "MBX-197", sentence="What is consumed cannot be edited, retracted or moved.", by=Wing.PEOPLE
    ),
    later("PM-012", sentence="Threads with pending messages are found in order, page by page.", by=Wing.PEOPLE),
    later("PM-013", sentence="A new order is a new revision of everything it moved.", by=Wing.PEOPLE),
    later("PM-014", sentence="What is taken enters the log in its order, and the rest stays.", by=Wing.PEOPLE),
    later("PM-015", sentence="Who may not write the thread takes nothing.", by=Wing.PEOPLE),
    later("PM-016", sentence="What a run takes is stored with the run in one step.", by=Wing.PEOPLE),
    later("PM-017", sentence="A step that is refused takes nothing.", by=Wing.PEOPLE),
    later("PM-018", sentence="What is taken is decided in the transaction that takes it.", by=Wing.PEOPLE),
    later("PM-019", sentence="A message that is accepted and taken at once is one step.", by=Wing.PEOPLE),
    later("PM-020", sentence="An acceptance that is refused leaves nothing pending.", by=Wing.PEOPLE),
    later("PM-021", sentence="A boundary at which nothing waits is a step like any other.", by=Wing.PEOPLE),
    later("PM-022", sentence="A message that entered the log meanwhile is not taken again.", by=Wing.PEOPLE),
    later("PM-023", sentence="What is pending is there after reopening, in its order.", by=Wing.PEOPLE),
    later("PM-024", sentence="Without a wish a message opens a run of its own.", by=Wing.PEOPLE),
    later(
        "PM-025",
        sentence="A message may be taken at its own boundary and at later ones, never at an earlier one.",
        by=Wing.PEOPLE,
    ),
    later("PM-026", sentence="A message that wants to come alone comes alone.", by=Wing.PEOPLE),
    later("PM-027", sentence="What wants the same boundary is taken together.", by=Wing.PEOPLE),
    later("PM-028", sentence="A barrier is not taken before what it stands behind.", by=Wing.PEOPLE),
    later("PM-029", sentence="Nothing passes a barrier that cannot be taken yet.", by=Wing.PEOPLE),
    later("PM-030", sentence="What is for the running run passes what is for a run of its own.", by=Wing.PEOPLE),
    later("PM-031", sentence="Inside a lane nothing overtakes.", by=Wing.PEOPLE),
    later("PM-032", sentence="What is only for one run is passed by what is for a new one.", by=Wing.PEOPLE),
    later("PM-033", sentence="What is for one run is taken by no other.", by=Wing.PEOPLE),
    later(
        "PM-034", sentence="Input for a waiting run is taken by that run only, and holds up nothing.", by=Wing.PEOPLE
    ),
    later("PM-035", sentence="What is taken together ends at a barrier.", by=Wing.PEOPLE),
    later("PM-036", sentence="What is taken together ends before a message that wants to come alone.", by=Wing.PEOPLE),
    later(
        "PM-037", sentence="A message that may fall back is taken by any run once its own has ended.", by=Wing.PEOPLE
    ),
    same("PM-038", as_="TR-025"),
    later("PM-039", sentence="What is hidden from the log does not touch what is pending.", by=Wing.PEOPLE),
    same("MBX-233", "MBX-234", as_="PM-024"),
    same("MBX-235", as_="PM-025"),
    same("MBX-236", "MBX-237", as_="PM-002"),
    same("MBX-238", as_="PM-026"),
    same("MBX-239", as_="PM-027"),
    same("MBX-240", as_="PM-028"),
    same("MBX-241", as_="PM-029"),
    same("MBX-242", "MBX-243", as_="PM-030"),
    same("MBX-244", as_="PM-031"),
    same("MBX-245", as_="PM-032"),
    same("MBX-246", as_="PM-033"),
    same("MBX-247", as_="PM-034"),
    same("MBX-248", as_="PM-035"),
    same("MBX-249", as_="PM-036"),
    later("MBX-183", sentence="A message that is to wait is stored and can be read.", by=Wing.PEOPLE),
    same("MBX-184", as_="PM-014"),
    same("MBX-194", as_="PM-001"),
    same("MBX-191", as_="PM-030"),
    same("MBX-192", as_="PM-032"),
    same("MBX-193", as_="PM-034"),
    later(
        "MBX-185",
        "SV-037",
        sentence="What was staged for a run that never took it leaves nothing behind.",
        by=Wing.PEOPLE,
    ),
    later(
        "MBX-186",
        "MBX-187",
        sentence="A run takes what waits for its boundary, and remembers what it took.",
        by=Wing.PEOPLE,
    ),
    later("MBX-188", "MBX-199", sentence="What is taken at once is never seen pending.", by=Wing.PEOPLE),
    later(
        "MBX-189",
        "SV-038",
        sentence="What waited for a run of its own is taken together with what comes next.",
        by=Wing.PEOPLE,
    ),
    later(
        "MBX-190",
        sentence="A submit that interrupts takes its own messages, and leaves what waits for a run of its own.",
        by=Wing.PEOPLE,
    ),
    later("MBX-200", sentence="Input and decisions can come together.", by=Wing.PEOPLE),
    later("MBX-201", "SV-036", sentence="A wake from inside is no message of a user.", by=Wing.PEOPLE),
    later("MBX-202", "SV-031", sentence="What a run takes at several boundaries adds up.", by=Wing.PEOPLE),
    later("MBX-203", "SV-032", sentence="What was retracted meanwhile is not among what a run took.", by=Wing.PEOPLE),
    later("MBX-204", "SV-033", sentence="What a run took and the event that reports it are one step.", by=Wing.PEOPLE),
    later(
        "MBX-205",
        "SV-034",
        sentence="A submit that a barrier holds up says which one, and has changed nothing.",
        by=Wing.PEOPLE,
    ),
    later("MBX-206", "SV-035", sentence="A submit is held up by nothing else.", by=Wing.PEOPLE),
    later(
        "MBX-144",
        "SRV-013",
        sentence="A message steers the running run at its next step, once, and opens no run.",
        by=Wing.PEOPLE,
    ),
    later("MBX-145", sentence="A message for a run that cannot take it opens a run.", by=Wing.PEOPLE),
    later("MBX-146", sentence="A message for the running run is staged and wakes it.", by=Wing.PEOPLE),
    later(
        "MBX-147",
        "LV-016",
        sentence="A message for a run that executes elsewhere reaches it, and opens no run.",
        by=Wing.PEOPLE,
    ),
    later(
        "MBX-148",
        "MBX-198",
        "SV-040",
        sentence="A message for a run that executes elsewhere is staged for that run alone.",
        by=Wing.PEOPLE,
    ),
    later(
        "MBX-149", "MBX-152", "LV-017", sentence="A message that nobody takes opens exactly one run.", by=Wing.PEOPLE
    ),
    later(
        "MBX-150",
        "LV-018",
        sentence="A message whose taking was not heard of is taken once all the same.",
        by=Wing.PEOPLE,
    ),
    later(
        "MBX-151", "LV-022", sentence="A message for another run does not reach the one that executes.", by=Wing.PEOPLE
    ),
    later("MBX-258", sentence="A message reaches the running agent as it was sent.", by=Wing.PEOPLE),
    later("MBX-260", sentence="A wake is not a message.", by=Wing.PEOPLE),
    later("MBX-280", sentence="A running agent finds what was sent to it.", by=Wing.PEOPLE),
    later("MBX-281", "MBX-282", sentence="What a run cannot take any more is queued.", by=Wing.PEOPLE),
)
