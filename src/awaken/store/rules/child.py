"""Children: what the end of a run, and its waiting, mean for those that it started, and for the one that started it.

Above: `ending`, for every run that ends; `decide`, for a child that suspends or tells of its end; `apply`. Below:
`pending`, for those that do not wait for it.
Holds: a run that was started tells its parent of its end in the transaction that ends it, and that it waits in the one
that suspends it. A parent that is stopped has its children stopped, but for detached ones; after any other end they go
on, and tell its thread.

Source: ADR 0035.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from msgspec.structs import replace

from awaken.domain import message_event, server_event
from awaken.domain.child import child_of, telling, told_message_id
from awaken.domain.clock import Instant
from awaken.domain.dispatch import Dispatch
from awaken.domain.ids import TicketId
from awaken.domain.outbox import ChildWaits, Stop, Tell
from awaken.domain.pending import Pending
from awaken.domain.run import CREATED, DONE, Run, Termination
from awaken.store.rules.facts import Changes, Facts, MessageWrite, ThreadRow
from awaken.store.rules.pending import give_up, open_runs
from awaken.store.rules.writing import Log, touch
from awaken.store.transitions import ChildNoted, Missing, NoteChild

_AWAITED: Final = "the run waits for it"


def stop_children(run: Run, termination: Termination, facts: Facts, log: Log) -> None:
    """The run was stopped, and with it what it started."""
    if termination.type != "cancelled":
        return
    for ticket in facts.open_tickets.get(run.run_id, ()):
        if ticket.asked.kind == "child":
            child = child_of(ticket)
            if not child.detached:
                log.post(child.thread_id, Stop(run_id=child.run_id))


def tell_parent(run: Run, log: Log) -> None:
    """The run has ended: the one that started it, if one did, is told."""
    told = telling(run)
    if told is not None:
        log.post(*told)


def tell_of_wait(run: Run, tickets: tuple[TicketId, ...], dispatch: Dispatch, log: Log) -> None:
    """The run waits for these from this dispatch on: the one that started it, if one did, is told."""
    trace = run.request.trace
    if trace.child is None or trace.parent_run_id is None or trace.parent_thread_id is None:
        return
    told = ChildWaits(
        run_id=trace.parent_run_id,
        ticket_id=trace.child.ticket_id,
        child_run_id=run.run_id,
        dispatch_id=dispatch.dispatch_id,
        ticket_ids=tickets,
    )
    log.post(trace.parent_thread_id, told)


def note_child(t: NoteChild, facts: Facts, changes: Changes, now: Instant) -> ChildNoted | Missing:
    """The rule of `NoteChild`. What a child tells comes in order, so what it told last shows a repetition."""
    thread, run, told = facts.thread, facts.run, t.told
    if thread is None or run is None or run.thread_id != t.thread_id:
        return Missing("run", told.run_id)
    ticket = facts.tickets.get(told.ticket_id)
    if ticket is None or ticket.run_id != run.run_id:
        return Missing("ticket", told.ticket_id)
    if not ticket.is_open or ticket.child_waits == told.dispatch_id:
        return ChildNoted()
    touch(thread, changes, now, active=False)
    changes.tickets.append((thread, replace(ticket, child_waits=told.dispatch_id)))
    log = Log(thread, run.run_id, run.dispatch_id, now)
    log.add(server_event.child_suspended(told))
    return ChildNoted(log.write(changes))


def tell_run(told: Tell, before: Run, run: Run, thread: ThreadRow, facts: Facts, changes: Changes, log: Log) -> bool:
    """The child of a run has ended. Whether a message about that waits for the run now: it does where the run is open
    and does not wait for this, also while that waits for something else, and is retracted when the run comes to wait
    for it. One that has ended is told with a run of its own, which other endings join until it is claimed.
    """
    if before.waiting is not None and told.ticket_id in before.waiting.tickets:
        return False
    thread.position += 1
    entry = Pending(
        message_id=told.message.id,
        run_id=run.run_id,
        position=thread.position,
        boundary="next_step",
        created_at=log.now,
        opens=told.opens,
    )
    if run.status is not DONE:
        _pend(entry, told, thread, changes)
        log.add(message_event.pended(entry))
        return True
    wake = _queued_wake(run, facts)
    if wake is not None:
        joins = replace(entry, run_id=wake.run_id, boundary="resume_input")
        _pend(joins, told, thread, changes)
        its_log = Log(thread, wake.run_id, wake.dispatch_id, log.now)  # the event is of the run that it waits for
        its_log.add(message_event.pended(joins))
        log.follow(lambda: its_log.write(changes))
        return False
    changes.new_messages.append(MessageWrite(thread, told.message, None, told.opens.run_id, log.now))
    opening = [replace(entry, run_id=told.opens.run_id, boundary="new_run")]
    log.follow(lambda: open_runs(opening, thread, facts, changes, log.now))
    return False


def _pend(entry: Pending, told: Tell, thread: ThreadRow, changes: Changes) -> None:
    changes.pended.append((thread, entry, told.message))
    thread.pending += 1


def _queued_wake(run: Run, facts: Facts) -> Run | None:
    """A run that another child of the same parent has opened, and that nobody has claimed yet."""
    for dispatch, queued in facts.queue:
        trace = queued.request.trace
        if queued.status is CREATED and dispatch.tried_at is None and trace.correlation_id == run.run_id:
            return queued
    return None


def take_back(
    tickets: Iterable[TicketId], run: Run, thread: ThreadRow, facts: Facts, changes: Changes, log: Log
) -> None:
    """The run waits for these after all, so what tells it of them otherwise is retracted: it is told once."""
    if not thread.pending:
        return
    messages = {told_message_id(each) for each in tickets}
    for entry in facts.pending:
        if entry.run_id == run.run_id and entry.message_id in messages:
            give_up(entry, "retracted", _AWAITED, thread, changes, log)
