"""One execution of an agent, from its request to its outcome."""

from __future__ import annotations

from typing import Final

from tests.behaviour.ledger import Area, absent, built, same

AREA: Final = Area(
    "runs",
    built("TR-080", sentence="A run is read as it was written."),
    built("TR-081", sentence="A run id with another digest or in another thread is refused."),
    built("TR-082", sentence="A run nobody knows is nothing, and so is the latest run of an empty thread."),
    built("TR-083", sentence="The latest run is the last one written."),
    built("TR-084", sentence="Of runs written in the same millisecond the later write is the latest."),
    built("TR-085", sentence="Runs are listed by creation and by what is asked."),
    built("TR-086", sentence="Pages of runs neither overlap nor leave out."),
    built("TR-087", sentence="A prefix selects runs by their thread's id, literally."),
    built("TR-088", sentence="A run that contradicts itself is refused."),
    built("TR-089", sentence="A stored run that contradicts itself is an error that names it."),
    built("TR-090", sentence="A status nobody knows is not a run."),
    built("TR-091", sentence="A run that is done does not say any more what it had waited for."),
    built("TR-092", sentence="A range of messages starts at one and is not empty."),
    built("TR-093", sentence="A run can become what the table allows."),
    built("TR-094", sentence="A termination leads to a status and a line."),
    built("TR-095", sentence="A request names what it needs."),
    absent("TR-096", because="There are no records with older names of origins; a2a and subagent are two values."),
    built(
        "TR-097",
        sentence="Runs created at once are all kept, and an id taken twice is refused or answered with the run that has it.",
    ),
    built("TR-116", sentence="What a run was made with never changes."),
    built(
        "SV-019",
        sentence="Input without a target continues the run that waits, not the run that was written last.",
    ),
    same("MBX-227", "MBX-229", "MBX-231", as_="TR-095"),
    absent("MBX-226", because="A property of the language that the specification was written for."),
    built("MBX-228", sentence="Input by reference names messages of its own thread."),
    built(
        "MBX-230",
        sentence="A run that goes on with a decision names the run it continues.",
        note="It is the same run, in a dispatch of its own that says why.",
    ),
)
