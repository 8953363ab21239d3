"""What a run starts, what comes back to it, and what agents say to each other."""

from __future__ import annotations

from typing import Final

from tests.behaviour.ledger import Area, built, cannot

AREA: Final = Area(
    "child runs and messages between agents",
    built("CH-001", sentence="A child is started with its ticket in one piece, and once."),
    built("CH-002", sentence="A run waits for all of its children that it gathers, and holds nothing meanwhile."),
    built("CH-003", sentence="A child's end is told once: to the run that waits, at its next step, or by a wake."),
    built("CH-004", sentence="What stops a parent stops its children, but not the detached ones."),
    built("CH-005", sentence="A child that failed is an error to whoever gathers it."),
    built("CH-006", sentence="Children have children down to a depth, and a run has a bound of them."),
    built("CH-007", sentence="The log of the parent says what was started and what became of it."),
    built("CH-008", sentence="A tool starts children and waits for them as a function does."),
    built("CH-009", sentence="An errand is stored with what causes it, delivered once in its order, and then removed."),
    built("CH-010", sentence="An errand that can never be delivered is told where it came from."),
    built("CH-011", sentence="Agents that answer each other, or start something at each news, come to an end."),
    built(
        "MBX-130",
        "SV-017",
        sentence="A run that waits for background work goes on after a restart; one that waits for a person goes on waiting.",
        note="A child is a run of its own, so nothing has to be started again but what was executing.",
    ),
    built("MBX-131", "SV-018", sentence="However many wait for background work, each goes on."),
    built("MBX-157", sentence="The end of background work wakes its run with an internal message."),
    built("MBX-211", sentence="A wake that cannot be stored is tried again."),
    built("MBX-222", sentence="A message to another agent opens a run of its own."),
    built("MBX-223", sentence="A message from an agent says who sent it."),
    built("MBX-224", sentence="A message to another agent that is sent again is the same message."),
    built(
        "MBX-225",
        sentence="A message to another agent that cannot be accepted is an error to its sender.",
        note="One that turns out later to be undeliverable is reported in the log of the sender's thread.",
    ),
    built(
        "MBX-257",
        "MBX-261",
        sentence="What background work reports comes as an internal message that names it.",
    ),
    cannot(
        "MBX-259",
        because="A report is one message that the end of the child writes; nothing in its output is read as messages.",
    ),
)
