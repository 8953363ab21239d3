"""What a run waits for, who answers, and how it goes on."""

from __future__ import annotations

from typing import Final

from tests.behaviour.ledger import Area, Wing, built, later

AREA: Final = Area(
    "tickets, decisions and waiting runs",
    built("TK-001", sentence="A run that suspends opens its tickets, holds nothing, and says what it waits for."),
    built("TK-002", sentence="A ticket opens as early as it is asked for, and is found by whoever asks again."),
    built("TK-003", sentence="A settlement that suspends is repeated without effect."),
    built("TK-004", sentence="What was decided before the run suspends counts; it waits for one ticket, or for all."),
    built("TK-005", sentence="A run that was asked to stop cannot wait, and opens nothing more."),
    built("TK-006", sentence="A decision queues the dispatch with which the run goes on, where it stopped."),
    built("TK-007", sentence="The same decision again is a duplicate and changes nothing."),
    built("TK-008", sentence="Another decision is refused with the first one; of several, all are made or none."),
    built("TK-009", sentence="A decision names a ticket of its run, in its thread and scope."),
    built("TK-010", sentence="A decision is good whether its run is executed, parked, or its owner is dead."),
    built("TK-011", sentence="A run that was decided goes on in its place, behind what is running."),
    built("TK-012", sentence="Of many who decide at once one decides."),
    built("TK-013", sentence="A partly decided run keeps its place among those that wait."),
    built("TK-014", sentence="The end of a child wakes its parent, and is no event of a ticket."),
    built("TK-015", sentence="A ticket expires when its time is over by the store's clock, whoever serves its route."),
    built("TK-016", sentence="A decision that comes too late applies the expiry, swept or not."),
    built("TK-017", sentence="A default answer is given where nobody answers."),
    built("TK-018", sentence="An expiry may fail or cancel the run that waits; one that is executed finds it."),
    built("TK-019", sentence="The tickets of a run are withdrawn when it ends, however it does."),
    built("TK-020", sentence="Child tickets outlive a run that was not stopped, and keep it from being purged."),
    built("TK-021", sentence="Input withdraws the tickets of open calls, but not those of children and questions."),
    built("TK-022", sentence="A decision and input queue one dispatch, whoever comes first."),
    built("TK-023", sentence="Tickets are listed across threads, by state, kind, agent, thread, run, tool and expiry."),
    built("TK-024", sentence="Tickets are removed with their run."),
    built("TK-025", sentence="The answers of a waiting run may stand later in the log."),
    later("MBX-153", sentence="A decision for what nobody asked is refused.", by=Wing.PEOPLE),
    later(
        "MBX-154",
        "LV-021",
        sentence="A decision reaches the run that waits for it, wherever that was executed.",
        by=Wing.PEOPLE,
    ),
    later("MBX-155", sentence="Input continues the run that waits for background work.", by=Wing.PEOPLE),
    later("MBX-156", sentence="Input continues the run that waits for a person.", by=Wing.PEOPLE),
    later("MBX-272", "MBX-275", "MBX-276", sentence="A decision is found by its run and its call.", by=Wing.PEOPLE),
    later("MBX-273", "MBX-277", sentence="A decision for a run or thread that does not exist says so.", by=Wing.PEOPLE),
    later("MBX-274", "MBX-279", sentence="A decision that comes after the end starts nothing.", by=Wing.PEOPLE),
    later("MBX-278", sentence="A decision is never taken for another run's.", by=Wing.PEOPLE),
    later(
        "SRV-017",
        sentence="Decisions can be early, late, doubled, partial, refused by a schema, or come after a restart, and each says what became of it.",
        by=Wing.PEOPLE,
    ),
)
