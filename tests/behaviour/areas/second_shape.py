"""What every store does beyond the rows of the specifications: offers, waiting runs, repetitions, retention, reads."""

from __future__ import annotations

from typing import Final

from tests.behaviour.ledger import Area, built

AREA: Final = Area(
    "every store, beyond the rows",
    built("ST-001", sentence="An offer takes what its process can run, and nothing else."),
    built("ST-002", sentence="A claim takes no more of a route than it has room for."),
    built("ST-003", sentence="A claim by age looks at age alone, and inside a thread at priority."),
    built("ST-004", sentence="A suspect waits for room of its own, and is found wherever it falls due."),
    built("ST-005", sentence="No offer takes a suspect."),
    built("ST-006", sentence="What a later slice of a reclaim takes back is charged to nobody."),
    built("ST-007", sentence="Suspects that found no slot are left due."),
    built("ST-008", sentence="A suspect that suspends or ends leaves no crash to what follows it."),
    built("ST-009", sentence="Claims are listed by whoever holds them."),
    built("ST-010", sentence="A waiting run goes on with what is submitted to its idle thread."),
    built("ST-011", sentence="A run that goes on with input finds the calls it had left open closed."),
    built("ST-012", sentence="What only a run of its own can have opens one beside a run that waits."),
    built("ST-013", sentence="Input for a thread that is not idle is a run of its own."),
    built("ST-014", sentence="Of several waiting runs the one that suspended last goes on."),
    built("ST-015", sentence="A run keeps one record over all its dispatches."),
    built("ST-016", sentence="A repeated submit that continued a run is answered with that run."),
    built("ST-017", sentence="A run that waits is open, whatever else happens in its thread."),
    built("ST-018", sentence="Waiting runs count in the bound of a queue."),
    built("ST-019", sentence="The dedupe key of a waiting run is held."),
    built("ST-020", sentence="Cancelling a run whose input is queued ends both."),
    built("ST-021", sentence="An interrupt ends what waits."),
    built("ST-022", sentence="A run that was asked to stop cannot wait."),
    built("ST-023", sentence="Calls stay open while their run waits, and are closed by one claim when it has ended."),
    built("ST-024", sentence="The open turn of a run is its last message with calls."),
    built("ST-025", sentence="A takeover finds the calls of its own turn as they were."),
    built("ST-026", sentence="A claim brings the messages of its dispatch every time."),
    built("ST-027", sentence="A repetition is known before the claim is looked at."),
    built("ST-028", sentence="A commit that is refused does not count as one."),
    built("ST-029", sentence="A run counts how long its dispatches were held."),
    built("ST-030", sentence="A repetition is known also where the queue is full by now."),
    built("ST-031", sentence="A run whose calls are open stays until the next claim has closed them."),
    built("ST-032", sentence="A thread whose newest run is gone has the newest that is left."),
    built("ST-033", sentence="No arrival number is given twice, whatever is removed."),
    built("ST-034", sentence="A sweep goes on behind the event rows it had to leave, and makes no hole in a log."),
    built("ST-035", sentence="A clock that went back makes no hole in a log either."),
    built("ST-036", sentence="The event of a message is completed for whoever reads it."),
    built("ST-037", sentence="Entering a store that is open takes nothing back."),
    built("ST-038", sentence="Ids that are UUIDs come back as they were written."),
    built("ST-039", sentence="The dispatches of a page of runs are one read."),
    built("ST-040", sentence="The routes that something waits for are known."),
    built("ST-041", sentence="A run has only its own of the events that name it, also when its id was used before."),
    built("ST-042", sentence="Each call that is closed because nobody answers it any more is logged as cancelled."),
    built("ST-043", sentence="No message id that somebody brings is in the way of a call that is closed."),
)
