"""What goes, when, and what stays."""

from __future__ import annotations

from typing import Final

from tests.behaviour.ledger import Area, built

AREA: Final = Area(
    "retention",
    built("MB-140", sentence="Finished work goes after its retention."),
    built("MB-141", sentence="Work finished exactly at the cutoff is kept."),
    built("MB-142", sentence="Open work is never purged."),
    built("MB-143", sentence="A drained thread keeps its conversation and its epoch, and nothing of the queue."),
    built("MB-144", sentence="What the queue keeps for a drained thread does not grow."),
    built("MB-150", sentence="Without retention, finished work goes with the next purge."),
    built("MBX-125", sentence="Finished runs past their retention are removed with their dispatches."),
    built(
        "RE-001",
        sentence="The dispatches and the journal of a run go with it once it is done, its end has been delivered, and the retention of runs is over.",
    ),
    built("RE-002", sentence="Dead letters are not removed by the retention of runs."),
    built(
        "RE-003",
        sentence="Events go after the retention of events, and the thread keeps the seq of the first that is left.",
    ),
    built("RE-004", sentence="Who asks for events that are gone is answered with 410 or a resync."),
    built("RE-005", sentence="No event from the start of the thread's oldest open run on is removed."),
    built("RE-006", sentence="Messages live as long as their thread."),
    built("RE-007", sentence="A receipt keeps the id of a run that is gone."),
    built("RE-008", sentence="A request that is repeated after the retention is a new one."),
)
