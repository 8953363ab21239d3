"""What always holds of the stored rows, each once: its name, its sentence, and what becomes of a row that breaks it.

Every transition keeps all of these, so a breach comes from elsewhere: a file of an older version, a restored backup, a
row edited by hand, a disk that lied. Each store finds breaches with one query per invariant, over a slice of its rows;
`rules.mend` mends them, through the same parts that the transitions are made of.

Above: the mailbox's auditor, `awaken doctor`, and every test that audits what it has done. Below: nothing.
Holds: what is healthy is never touched. What somebody said is not lost in silence: where a repair ends something, the
thread's log says so. What cannot be known any more is not guessed but refused, with the reason.

Source: ADR 0019; docs/concepts/recovery.md.
"""

from __future__ import annotations

from typing import Final

import msgspec

from awaken.domain.ids import Scope, ThreadId


class Invariant(msgspec.Struct, frozen=True, kw_only=True):
    """`mended`: what is done about a breach; empty where nothing is, and then `refused` says why."""

    name: str
    sentence: str
    mended: str = ""
    refused: str = ""


class Breach(msgspec.Struct, frozen=True, kw_only=True):
    """A row that breaks an invariant. `subject`: the id of a run, dispatch, message or ticket, or a place in a log."""

    invariant: str
    scope: Scope
    thread_id: ThreadId | None
    """None: the thread is gone, or the row belongs to none."""
    subject: str = ""

    def __str__(self) -> str:
        where = f"thread {self.thread_id!r}" if self.thread_id is not None else "no thread"
        what = f", {self.subject!r}" if self.subject else ""
        return f"{self.invariant}: {where}{what}: not so: {BY_NAME[self.invariant].sentence}"


class AuditPlace(msgspec.Struct, frozen=True):
    """Where the next slice begins; what the numbers mean is the store's own affair."""

    part: int = 0
    after: int = 0


FIRST_PLACE: Final = AuditPlace()


class AuditSlice(msgspec.Struct, frozen=True):
    """A slice of the rows, looked at. `next` None: it was the last one."""

    breaches: tuple[Breach, ...]
    next: AuditPlace | None
    share: float
    """How much of everything lies before `next`, from 0 to 1."""


AUDIT_ROWS: Final = 500
"""Rows that a slice looks at: a query over so many takes some milliseconds, however large the file is."""

_GONE: Final = "what is lost cannot be made again; restore a backup, or delete the thread"

INVARIANTS: Final = (
    # --- runs and their dispatches
    Invariant(
        name="open_run_has_dispatch",
        sentence="An unfinished run has its newest dispatch.",
        mended="the dispatch is made again under its id: queued, or, for a run that waits for a ticket, closed",
    ),
    Invariant(
        name="run_ends_with_dispatch",
        sentence="A run is unfinished only while its newest dispatch is queued or claimed, or it waits.",
        mended="the run is ended as its dispatch was",
    ),
    Invariant(
        name="wait_is_for_open_tickets",
        sentence="A run that waits for tickets waits for open ones.",
        mended="it goes on with what was decided; where a ticket is gone it ends with an error",
    ),
    Invariant(
        name="one_open_dispatch",
        sentence="A run has one open dispatch at the most, and that is its newest.",
        mended="the claimed one stays, or else the newest; the others are cancelled",
    ),
    Invariant(
        name="dispatch_has_run",
        sentence="A dispatch has its run, but for one that was given up because it has none.",
        mended="an open one is given up, with the reason in the log; one that is closed is removed",
    ),
    Invariant(
        name="claim_is_of_open_run",
        sentence="What is claimed belongs to an unfinished run.",
        mended="the claim ends, as if its run had been acknowledged",
    ),
    Invariant(
        name="queued_is_of_open_run",
        sentence="What is queued belongs to an unfinished run.",
        mended="the dispatch is superseded",
    ),
    Invariant(
        name="queued_is_of_this_epoch",
        sentence="What is queued was queued after the last interrupt of its thread.",
        mended="dispatch and run are superseded, as by that interrupt",
    ),
    Invariant(
        name="queued_has_messages",
        sentence="What is queued has the messages that it is to be given.",
        mended="it is given up, as it would be once it were due; the dead letter names the first that is gone",
    ),
    Invariant(
        name="one_claim",
        sentence="A thread has one claimed dispatch at the most.",
        refused="the index that forbids it is missing, and a file without it is not opened",
    ),
    Invariant(
        name="one_dedupe_key",
        sentence="A dedupe key is held by one unfinished run of a thread.",
        refused="the index that forbids it is missing, and a file without it is not opened",
    ),
    # --- what a row says of others
    Invariant(
        name="counters_agree",
        sentence="A thread's row counts what the thread has: queued, waiting, pending, left open, hidden, logged.",
        mended="they are counted anew",
    ),
    Invariant(
        name="newest_run_is_newest",
        sentence="A thread's row names its newest run.",
        mended="it is looked up anew; a thread that named a run that is gone was missing from lists",
    ),
    Invariant(
        name="ready_key_is_of_queue",
        sentence="A thread's scheduling key is that of something it has queued, and it has none while it is claimed.",
        mended="it is made anew from the queue",
    ),
    Invariant(
        name="open_tickets_agree",
        sentence="A run's row counts its open tickets.",
        mended="they are counted anew",
    ),
    Invariant(
        name="open_turn_is_own",
        sentence="The open turn of a run is a message of that run in the log.",
        mended="the run has no open turn then",
    ),
    Invariant(
        name="entry_leads_to_row",
        sentence="Every message, run and event of a thread is found through the thread, and no run that is gone.",
        mended="the entry is written anew, or removed",
    ),
    # --- messages
    Invariant(
        name="message_has_fate",
        sentence="A message whose run has ended was taken, or has a fate.",
        mended="it gets the fate that the end of its run means, and the log says so",
    ),
    Invariant(
        name="pending_is_for_open_run",
        sentence="What waits for a run waits for an unfinished one.",
        mended="it is queued as a run of its own, or retracted where it may not be",
    ),
    Invariant(
        name="message_is_reported",
        sentence="A message of the log has its event, as long as events are kept.",
        mended="the event is appended",
    ),
    Invariant(name="report_has_message", sentence="No event reports a message that is not in the log.", refused=_GONE),
    # --- tickets and children
    Invariant(
        name="ticket_is_of_open_run",
        sentence="An open ticket, but for that of a child, belongs to an unfinished run.",
        mended="it is withdrawn; one without a run is removed",
    ),
    Invariant(
        name="child_is_told",
        sentence="When a child has ended, the run that started it was told, or is about to be.",
        mended="it is told again, which decides the ticket once",
    ),
    Invariant(
        name="child_was_begun",
        sentence="The child of an open ticket exists, or is about to be begun.",
        mended="the ticket is decided: the child failed",
    ),
    # --- what is left over, and what is lost
    Invariant(
        name="journal_has_run", sentence="A journal entry has its run.", mended="it is removed: nobody can ask for it"
    ),
    Invariant(
        name="events_have_no_hole",
        sentence="The events of a thread follow each other without a hole.",
        refused=f"readers are told to start over behind it; {_GONE}",
    ),
    Invariant(
        name="messages_have_no_hole",
        sentence="The messages of a thread follow each other without a hole.",
        refused=_GONE,
    ),
    Invariant(
        name="row_has_thread",
        sentence="Every row belongs to a thread.",
        refused="without the thread's row nothing can be done with it; restore a backup",
    ),
    Invariant(
        name="record_is_readable",
        sentence="Every record can be read, and does not contradict itself.",
        refused="nothing is guessed; restore a backup, or put the row right by hand",
    ),
)
"""In the order in which they are shown."""

BY_NAME: Final = {each.name: each for each in INVARIANTS}
