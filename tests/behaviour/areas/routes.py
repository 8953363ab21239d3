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
)
