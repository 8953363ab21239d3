"""Conversations: what is said about them, how they are listed, and their tree."""

from __future__ import annotations

from typing import Final

from tests.behaviour.ledger import Area, absent, built, cannot

AREA: Final = Area(
    "threads",
    built("TR-001", sentence="A thread is read as it was saved."),
    built("TR-002", sentence="What was never stored reads as nothing."),
    built("TR-003", sentence="An existing thread is kept, begun, replaced or refused, as asked."),
    built("TR-004", sentence="A thread has an id and is not its own parent."),
    cannot(
        "TR-005",
        "TR-015",
        because="An id with spaces, or an empty one, is refused; a thread without a parent has none.",
    ),
    built("TR-006", sentence="A thread was made once and moves on with its use."),
    built("TR-007", sentence="The most recently active thread comes first, then the lowest id."),
    built("TR-008", sentence="Pages of threads neither overlap nor leave out."),
    built("TR-009", sentence="Threads are listed by owner and by parent, or only those without a parent."),
    built("TR-010", sentence="A prefix is taken literally."),
    built("TR-011", sentence="A page of threads with a prefix goes on after the last one seen."),
    built("TR-012", sentence="A page of no threads is empty."),
    built("TR-013", sentence="The children of a thread are its direct ones."),
    built("TR-014", sentence="A thread cannot name a parent that does not exist."),
    built("TR-016", sentence="A thread cannot become its own ancestor."),
    built("TR-017", sentence="Of two threads that name each other as parent at once one is refused."),
    built("TR-018", sentence="A thread cannot name a parent whose own ancestors are gone."),
    built("TR-019", sentence="A thread with children is not deleted by whoever does not say what becomes of them."),
    built("TR-020", sentence="Deleting a thread can leave its children without a parent."),
    built("TR-021", sentence="Deleting a thread can take its whole tree with it."),
    absent(
        "TR-022",
        because="No transition spans two threads: a deletion that fails half way leaves whole threads, and goes on from"
        " there when it is asked again.",
    ),
    built("TR-023", sentence="Deleting what does not exist says so."),
    built("TR-024", sentence="Deleting a thread a second time is no error."),
    built("TR-025", sentence="With a thread go its messages, its pending messages and its state."),
    built("TR-026", sentence="What is said about a thread is changed, where there is one."),
    built(
        "TR-027", sentence="The state of a thread changes with the transition that brings a change, and with no other."
    ),
    built("TR-028", sentence="Concurrent saves of many threads lose none."),
    built("TR-029", sentence="A run that has not started is open and not active."),
    built("TR-030", sentence="A running run is active and open."),
    built("TR-031", sentence="A waiting run is open and not active."),
    built("TR-032", sentence="A finished run is neither active nor open."),
    built("TR-033", sentence="One run finishing leaves another open."),
    built("TR-034", sentence="The latest run is the one written last, whatever the clock says."),
    built(
        "TR-035",
        sentence="A thread takes the parent that its first run names, and keeps the one it has.",
        note="The run that makes the thread; one that was there without a parent is given one by whoever edits it.",
    ),
)
