"""What the reference is known to get wrong (D) or to pay for (P), and what users of other servers report (OS).

A D or P row has the number it has in the list of the specification. Its sentence says what holds here instead.
"""

from __future__ import annotations

from typing import Final

from tests.behaviour.ledger import Area, built, cannot

AREA: Final = Area(
    "known faults of others",
    built("D-001", sentence="A run that has waited goes on as what it was, and ends like any other."),
    built(
        "D-002", sentence="A failure after progress is tried again from there, also when the run has waited between."
    ),
    built("D-003", sentence="What falls due later is found at its instant, with nothing else going on."),
    built("D-004", sentence="Every event of a run is in the log once, its end included, whatever crashes."),
    cannot("D-005", because="A message and the event that reports it are one transaction, so none has to be repaired."),
    built("D-006", sentence="A run waits for as long as it takes: nothing that retention removes wakes it."),
    built("D-007", sentence="A renewal that fails is tried again in time, and no execution outlives its claim."),
    built("D-008", sentence="Whatever keeps a claim from being executed gives it back, and whoever waits hears of it."),
    built("D-009", sentence="The run that is meant is looked up by what it does, never as the one written last."),
    built("D-010", sentence="Queued, executing and waiting runs are stopped alike, whatever is resident anywhere."),
    built("D-011", sentence="A submit that interrupts has destroyed nothing when it is refused, and waits for nobody."),
    built(
        "D-012", sentence="However many ends and starts meet, each end is told once, and as few runs as may be do so."
    ),
    built("D-013", sentence="What is sent twice is known by its id, whatever has become of it."),
    built("D-014", sentence="Each failure doubles the wait, a provider's wish lengthens it, and readers stay on."),
    built("D-015", sentence="A slow reader delays nobody, and catches up."),
    cannot(
        "D-016",
        because="A dispatch belongs to one run and is closed with it, in the same transaction; a run that waits is"
        " resident nowhere.",
    ),
    built("D-017", sentence="A run is given up, counted and told of once, with the numbers that are stored."),
    built("P-001", sentence="How much is queued is counted when somebody asks, and then once for all who ask."),
    built(
        "P-002",
        "P-003",
        "P-005",
        "P-020",
        sentence="A plain run is two transitions and no read.",
    ),
    built("P-004", sentence="Who waits for a stop hears of it when it happens, and polls nothing."),
    built("P-006", sentence="The next turn of a conversation reads what is new."),
    built("P-007", sentence="A claim brings the messages of its dispatch."),
    cannot(
        "P-008", because="No lock is held for a thread: what is asked while a batch is on its way forms the next one."
    ),
    built("P-009", sentence="All runs of a dead process are taken over at once, however many."),
    cannot("P-010", because="A dispatch and its run end in one transaction, so nobody compares the two."),
    built("P-011", sentence="A start reads no more where much has ended."),
    cannot(
        "P-012", "P-013", because="A run is made together with its dispatch, so none has to be looked for at a start."
    ),
    built("P-014", sentence="A thread in which nothing happens costs a process nothing."),
    built("P-015", sentence="A wake-up is a hint: late, lost or doubled, it costs one look."),
    built("P-016", sentence="All leases of a process are renewed in one transition."),
    cannot(
        "P-017", "P-018", because="Events are rows of the transition that they report: none is published by itself."
    ),
    built("P-019", sentence="What a process keeps in memory is bounded, or goes with its run."),
    built("OS-001", sentence="Whatever becomes of a run, its thread is free for the next one."),
    built("OS-002", sentence="A worker whose claim is gone changes nothing, and no claim that holds is taken back."),
    built("OS-003", sentence="What comes at once for one thread runs one after the other, and nothing is dropped."),
    built("OS-004", sentence="A reader that leaves stops nothing, and comes back to exactly the rest."),
    built("OS-005", sentence="A message reaches the run that is under way, in whichever process it was accepted."),
    built("OS-006", sentence="A stop is requested, acknowledged and carried out, and what was said is kept."),
    built("OS-007", sentence="What waits for people survives, is answered one by one, and repeats nothing."),
    built("OS-008", sentence="No model is ever sent an unanswered call, and a repeated call has the key it had."),
    built("OS-009", sentence="Stops and messages have places of their own: neither is lost or doubled for the other."),
    built("OS-010", sentence="A result is that of the run that was asked for."),
    built("OS-011", sentence="A client that has given up can go on in the conversation that it had begun."),
    built("OS-012", sentence="However often processes are replaced, that uses up nothing of a run."),
)
