"""What the reference is known to get wrong (D), and what users of other servers report (OS); none of it is to be so here.

A D row has the number it has in the list of the specification. Its sentence says what holds instead.
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
    built("D-006", sentence="A run waits for as long as it takes: nothing that retention removes wakes it."),
    built("D-009", sentence="The run that is meant is looked up by what it does, never as the one written last."),
    built("D-010", sentence="Queued, executing and waiting runs are stopped alike, whatever is resident anywhere."),
    built("D-011", sentence="A submit that interrupts has destroyed nothing when it is refused, and waits for nobody."),
    built(
        "D-012", sentence="However many ends and starts meet, each end is told once, and as few runs as may be do so."
    ),
    built("D-013", sentence="What is sent twice is known by its id, whatever has become of it."),
    cannot(
        "D-016",
        because="A dispatch belongs to one run and is closed with it, in the same transaction; a run that waits is"
        " resident nowhere.",
    ),
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
