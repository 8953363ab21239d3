"""Who can run a run, and how many at once."""

from __future__ import annotations

from typing import Final

from tests.behaviour.ledger import Area, built

AREA: Final = Area(
    "routes and rooms",
    built("RT-001", sentence="A run whose agent nobody serves waits until somebody does."),
    built(
        "RT-002", sentence="What nobody serves holds up no other thread, and is named by health, the log and a metric."
    ),
    built("RT-003", sentence="A head that is not served here holds what is behind it in its thread."),
    built("RT-004", sentence="Over all served routes threads come by priority and then by age."),
    built("RT-005", sentence="Every eighth claim of a process goes by age alone."),
    built("RT-006", sentence="No more runs of an agent execute at once than its limit allows."),
    built("RT-007", sentence="An agent that cannot be loaded is not served until it is registered again."),
    built("RT-008", sentence="Only what is served here counts as due."),
    built("RT-009", sentence="The name of an agent contains neither the sign of a version nor the sign of a suspect."),
    built(
        "RT-010",
        "MBX-035",
        "MBX-036",
        sentence="A name means the version of an agent that was registered last; name@version means that one.",
        note="A version takes the place of the seeds' resolution id, and is kept with the run's request.",
    ),
    built(
        "RT-011",
        "MBX-043",
        "MBX-044",
        "MBX-045",
        sentence="What is no version is refused, and so is one that is not registered, naming those that are.",
    ),
    built("RT-012", sentence="A run stays with the version that it began with, however often it is tried or waits."),
    built("RT-013", sentence="A run whose version is registered nowhere waits, and everybody who looks is told."),
    built(
        "RT-014",
        sentence="The newest version executes older ones where it falls back, and the start of the run tells that.",
        note="None that is plainly newer by its number.",
    ),
    built("RT-015", sentence="Limits and pauses are of a version; what one executes for others counts in its limit."),
    built("RT-016", sentence="What nobody can execute for as long as the settings allow becomes a dead letter."),
    built(
        "RT-017",
        sentence="No more runs of an agent execute at once in all processes together than the lowest limit allows.",
    ),
)
