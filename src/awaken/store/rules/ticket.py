"""The tickets of a run: opened, and closed when it goes on or ends without them.

Above: `owner` opens them; `ending` and `accept` withdraw them; `decide` closes them. Below: `domain.ticket`.
Holds: the run row counts its open tickets, and only here. What closes leaves the list of what its run waits for. The
ticket of a child run is reported by what becomes of the child, and by no event of its own.

Source: ADR 0034.
"""

from __future__ import annotations

from collections.abc import Iterable

from msgspec.structs import replace

from awaken.domain import server_event
from awaken.domain.ids import TicketId
from awaken.domain.run import Run, Termination
from awaken.domain.ticket import Decision, Ticket, TicketRequest, TicketState
from awaken.store.rules.facts import Changes, Facts, ThreadRow
from awaken.store.rules.writing import Log


def open_tickets(
    asked: Iterable[TicketRequest], run: Run, thread: ThreadRow, facts: Facts, changes: Changes, log: Log
) -> Run:
    """Open those that the run does not have yet."""
    known: set[TicketId] = {*facts.tickets}
    for each in asked:
        ticket_id = each.id_in(run.run_id)
        if ticket_id not in known:
            known.add(ticket_id)
            run = _open(ticket_id, each, run, thread, changes, log)
    return run


def _open(ticket_id: TicketId, asked: TicketRequest, run: Run, thread: ThreadRow, changes: Changes, log: Log) -> Run:
    ticket = Ticket(
        no=changes.numbers.next(),
        ticket_id=ticket_id,
        thread_id=run.thread_id,
        run_id=run.run_id,
        agent_id=run.agent_id,
        asked=asked,
        state="open",
        created_at=log.now,
        expires_at=None if asked.expires_in_ms is None else log.now + asked.expires_in_ms,
    )
    if asked.kind != "child":
        log.add(server_event.ticket_opened(ticket))
    changes.new_tickets.append((thread, run, ticket))
    return replace(run, tickets=run.tickets + 1, open_tickets=run.open_tickets + 1)


def close(
    ticket: Ticket,
    state: TicketState,
    run: Run,
    thread: ThreadRow,
    changes: Changes,
    log: Log,
    decision: Decision | None = None,
) -> tuple[Ticket, Run]:
    """The ticket closed, and its run, which waits for it no more. What reports it is logged by the caller."""
    closed = replace(ticket, state=state, closed_at=log.now, decision=decision)
    changes.tickets.append((thread, closed))
    waiting = run.waiting
    if waiting is not None and ticket.ticket_id in waiting.tickets:
        left = tuple([each for each in waiting.tickets if each != ticket.ticket_id])
        waiting = replace(waiting, tickets=left)
    return closed, replace(run, open_tickets=run.open_tickets - 1, waiting=waiting)


def withdraw_at_end(
    run: Run, termination: Termination, thread: ThreadRow, facts: Facts, changes: Changes, log: Log
) -> Run:
    """Those of children stay open unless the run was stopped: what becomes of a child is told all the same."""
    stopped = termination.type == "cancelled"
    going = [each for each in _open_of(run, facts, changes) if stopped or each.asked.kind != "child"]
    return _withdraw(going, "run_ended", run, thread, changes, log)


def withdraw_calls(run: Run, thread: ThreadRow, facts: Facts, changes: Changes, log: Log) -> Run:
    """The run goes on with input: nobody answers its open calls any more, but children still end."""
    going = [
        each
        for each in _open_of(run, facts, changes)
        if each.asked.tool_call_id is not None and each.asked.kind != "child"
    ]
    return _withdraw(going, "input", run, thread, changes, log)


def _open_of(run: Run, facts: Facts, changes: Changes) -> list[Ticket]:
    """But for those that have just been closed."""
    closed = {ticket.ticket_id for _, ticket in changes.tickets if ticket.run_id == run.run_id}
    return [each for each in facts.open_tickets.get(run.run_id, ()) if each.ticket_id not in closed]


def _withdraw(tickets: Iterable[Ticket], why: str, run: Run, thread: ThreadRow, changes: Changes, log: Log) -> Run:
    for ticket in tickets:
        closed, run = close(ticket, "withdrawn", run, thread, changes, log)
        if ticket.asked.kind != "child":
            log.add(server_event.ticket_withdrawn(closed, why))
    return run
