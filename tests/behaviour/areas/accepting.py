"""From a request to a stored run."""

from __future__ import annotations

from typing import Final

from tests.behaviour.ledger import Area, built, cannot, same

AREA: Final = Area(
    "accepting runs",
    built("MBX-012", sentence="A submit answers with its run, its dispatch and whether it runs."),
    built("MBX-013", sentence="A submission is running or queued."),
    built("MBX-014", sentence="Running and queued are two values."),
    built(
        "MBX-017",
        sentence="A request holds what was asked and comes from inside unless it says otherwise.",
        note="The default run mode is scheduled: every submit is durable first.",
    ),
    built("MBX-018", sentence="A submit without messages is refused."),
    built("MBX-019", sentence="A submit may bring decisions and no message."),
    built("MBX-020", sentence="A blank thread id makes a new thread."),
    built("MBX-021", sentence="A thread id is kept without the spaces around it."),
    built("MBX-022", sentence="A sound thread id is kept as it is."),
    built("MBX-023", sentence="Several messages enter the conversation in order."),
    built("MBX-024", sentence="Every kind of id is minted with 36 characters and may name something."),
    cannot(
        "MBX-025",
        "MBX-026",
        because="Everything an execution needs is typed fields of one record, so nothing is parsed out of a side field.",
    ),
    built("MBX-027", sentence="Everything in a request reaches the agent and is kept with the run."),
    cannot(
        "MBX-028",
        because="Everything an execution needs is typed fields of one record, so nothing is parsed out of a side field.",
    ),
    built("MBX-029", sentence="A decision that comes with a submit answers the run of its thread that asked."),
    built("MBX-034", sentence="An accepted run names its messages and is the open run of its thread."),
    built(
        "MBX-037",
        sentence="A run without an agent goes to the last one of its thread, and finds the thread's state.",
        note="The state is the thread's; no run has one to hand on.",
    ),
    built("MBX-038", sentence="The tools of a client are kept with the run that may call them."),
    built("MBX-039", sentence="A run keeps the thread it was asked from."),
    built("MBX-040", "MBX-041", sentence="A run keeps where it came from, and the run it was asked by."),
    built("MBX-042", sentence="A run nobody said anything about comes from a user and has no parent."),
    built(
        "MBX-046",
        "MBX-049",
        sentence="Input without a target continues the run that waits, as the store has it.",
    ),
    cannot(
        "MBX-047",
        "MBX-048",
        because="What waits is read in the transaction that accepts the input; there is no copy of it that could be"
        " old, and a run that is done does not wait.",
    ),
    built(
        "MBX-050",
        "MBX-053",
        "MBX-054",
        sentence="The next turn of a thread that was read lately reads only what is new, and finds all of it.",
        note="What is kept is bounded by its size, whether a thread is idle or not.",
    ),
    built("MBX-051", sentence="A thread of an earlier life is continued."),
    built("MBX-052", sentence="A message that waits enters behind what the running run says."),
    built("MBX-055", sentence="32 submits at once on one thread lose no message."),
    built("MBX-058", sentence="The agent knows how and where it was asked."),
    built("MBX-059", sentence="A busy thread queues what comes and refuses nothing."),
    built("MBX-076", sentence="Submits at once on one thread run one after the other in order."),
    built(
        "MBX-077",
        sentence="Streaming submits at once on one thread never run two at a time.",
        note="As background submits: they queue.",
    ),
    built("MBX-078", sentence="A streamed submit to a thread that is busy is queued."),
    same("SV-021", as_="MBX-078"),
    same("MBX-232", as_="MBX-027"),
    built("MBX-210", sentence="A submit that the store refuses is an error to its caller and leaves nothing."),
    built("MBX-215", sentence="A submit that the store refuses leaves what was accepted before as it was."),
    built(
        "SRV-011",
        sentence="What a submit does follows from its strategy and from what the thread is doing.",
    ),
    built(
        "SRV-012",
        sentence="Of many submits that want to be refused on a busy thread exactly one is accepted.",
    ),
    built(
        "SRV-001",
        sentence="A streamed submit shows the run from its start to its end, on a thread that is made when none is named.",
    ),
    built("SRV-002", sentence="A submit that can never be accepted stores nothing."),
    built("SRV-003", sentence="Two streamed submits on one thread run one after the other."),
    built("SRV-004", sentence="Runs and threads are listed filtered, page by page, each row once."),
    built(
        "SRV-010",
        sentence="A run, message or dedupe id sent again is answered with what it named.",
        note="Run, message and dedupe ids.",
    ),
    built(
        "SRV-018",
        sentence="Waiting returns the result of a run that ends in time, and says so of one that does not.",
        note="Without join.",
    ),
)
