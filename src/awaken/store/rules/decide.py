"""Runs that wait: how they suspend, and what lets them go on.

Above: `apply` for a decision, `owner` for the settlement that suspends. Below: `ticket` for the rows, `ending` where
nobody decided in time and that ends the run.
Holds: whoever comes second finds what the first has done. A ticket that closes while its run is executed is found by
the settlement that would wait for it; one that closes later queues the dispatch that the settlement named. A ticket
whose time is over can only expire, whether the sweep came by or not.

Source: ADR 0034.
"""

from __future__ import annotations

from collections.abc import Iterable

from msgspec.structs import replace

from awaken.domain import server_event
from awaken.domain.child import child_of, child_run_id, end_of
from awaken.domain.clock import Instant
from awaken.domain.dispatch import CLAIMED, QUEUED, Dispatch, Why
from awaken.domain.errors import DataIntegrity
from awaken.domain.ids import TicketId
from awaken.domain.run import CANCELLED, DONE, WAITING, Run, Termination, Waiting, moved
from awaken.domain.ticket import Decision, Ticket, TicketRequest, wait_reason
from awaken.store.rules.child import take_back, tell_of_wait, tell_run
from awaken.store.rules.ending import finish
from awaken.store.rules.facts import Changes, Facts, ThreadRow
from awaken.store.rules.pending import leave
from awaken.store.rules.ticket import close, open_tickets
from awaken.store.rules.writing import Log, ready_in_ms, set_ready, touch
from awaken.store.transitions import Decide, Decided, Missing, Ruling, Suspend, Undecided

BY_TIME = "expiry"
"""Who decides where nobody did."""


def decide(t: Decide, facts: Facts, changes: Changes, now: Instant) -> Decided | Undecided | Missing:
    thread, run = facts.thread, facts.run
    if thread is None or run is None or run.thread_id != t.thread_id:
        return Missing("run", t.run_id)
    named = [facts.tickets.get(each.ticket_id) for each in t.rulings]
    for ruling, ticket in zip(t.rulings, named, strict=True):
        if ticket is None or ticket.run_id != run.run_id:
            return Missing("ticket", ruling.ticket_id)
    tickets = [ticket for ticket in named if ticket is not None]
    due = [facts.tickets[each] for each in t.expires if each in facts.tickets]
    overdue = _overdue((*tickets, *due), run, now)
    refused = _refused(t.rulings, tickets, now)
    if not overdue and (refused is not None or all([not each.is_open for each in tickets])):
        ready = ready_in_ms(thread, now)
        if refused is not None:
            return Undecided(refused, run, ready)
        return Decided(run, tuple(tickets), tuple([True for _ in tickets]), None, ready)
    touch(thread, changes, now)
    log = Log(thread, run.run_id, run.dispatch_id, now)
    path = "live" if facts.claimed is not None and facts.claimed.run_id == run.run_id else "durable"
    before = run
    closed: dict[TicketId, Ticket] = {}
    for ticket in overdue:
        closed[ticket.ticket_id], run = _expire(ticket, run, thread, changes, log)
    duplicates: list[bool] = []
    if refused is None:
        for ruling, ticket in zip(t.rulings, tickets, strict=True):
            duplicates.append(not ticket.is_open or ticket.ticket_id in closed)
            if not duplicates[-1]:
                decision = replace(ruling.decision, decided_at=now, path=path)
                done, run = close(ticket, "decided", run, thread, changes, log, decision)
                closed[ticket.ticket_id] = done
                if ticket.asked.kind != "child":
                    log.add(server_event.ticket_decided(done, decision))
                else:
                    log.add(server_event.child_finished(child_of(done), end_of(decision), done.asked.tool_call_id))
    run, dispatch = moved_on(before, run, [*closed.values()], thread, facts, changes, log, t.wire_run_id)
    pended = (
        t.told is not None and t.told.ticket_id in closed and tell_run(t.told, before, run, thread, facts, changes, log)
    )
    changes.runs.append((thread, run))
    appended = log.write(changes)
    if facts.claimed is None and facts.left:
        set_ready(thread, facts, now)
    if refused is not None:
        return Undecided(closed.get(refused.ticket_id, refused), run, ready_in_ms(thread, now), appended)
    now_are = tuple([closed.get(each.ticket_id, each) for each in tickets])
    return Decided(run, now_are, tuple(duplicates), dispatch, ready_in_ms(thread, now), pended, appended)


def _overdue(tickets: Iterable[Ticket], run: Run, now: Instant) -> list[Ticket]:
    found = {each.ticket_id: each for each in tickets if each.run_id == run.run_id and each.is_overdue(now)}
    return [*found.values()]


def _refused(rulings: Iterable[Ruling], tickets: Iterable[Ticket], now: Instant) -> Ticket | None:
    """The first ticket that cannot be decided so, as it is."""
    made: dict[TicketId, Decision] = {}
    for ruling, ticket in zip(rulings, tickets, strict=True):
        decided = made.setdefault(ticket.ticket_id, ruling.decision) if ticket.is_open else ticket.decision
        if ticket.is_overdue(now) or ticket.state in ("expired", "withdrawn"):
            return ticket
        if decided is not None and not ruling.decision.says_the_same(decided):
            return ticket if not ticket.is_open else replace(ticket, state="decided", decision=decided)
    return None


def _expire(ticket: Ticket, run: Run, thread: ThreadRow, changes: Changes, log: Log) -> tuple[Ticket, Run]:
    asked = ticket.asked
    answer = None
    if asked.on_expiry == "answer":
        answer = Decision(
            decision_id=f"{ticket.ticket_id}.default",
            action="answer",
            result=asked.default,
            decided_by=BY_TIME,
            decided_at=log.now,
        )
    closed, run = close(ticket, "expired", run, thread, changes, log, answer)
    if asked.kind != "child":
        log.add(server_event.ticket_expired(closed))
    return closed, run


def moved_on(
    before: Run,
    run: Run,
    closed: list[Ticket],
    thread: ThreadRow,
    facts: Facts,
    changes: Changes,
    log: Log,
    wire_run_id: str | None = None,
) -> tuple[Run, Dispatch | None]:
    """What the closed tickets mean for their run: it ends, it goes on, or it waits for others. `wire_run_id` as in
    `Decide`.
    """
    dispatch = facts.dispatch_of_run
    if run.status is DONE:
        return run, None
    if dispatch is None:
        raise DataIntegrity(f"run {run.run_id!r}: its dispatch {run.dispatch_id!r} does not exist")
    if run.status is not WAITING or dispatch.status in (QUEUED, CLAIMED):
        return replace(run, updated_at=log.now, updated_seq=log.last_seq), None
    ended = _end_of(closed)
    if ended is not None:
        return finish(run, ended, thread, facts, changes, log, cause="ticket_expired"), None
    assert before.waiting is not None and run.waiting is not None, "it waits"
    waited_for = [each for each in closed if each.ticket_id in before.waiting.tickets]
    if not waited_for or not run.waiting.is_over([each.ticket_id for each in waited_for]):
        return run, None  # its place among those that wait is that of its suspension
    run, queued = _wake(run, dispatch, waited_for, thread, changes, log, wire_run_id)
    if facts.claimed is None:
        set_ready(thread, facts, log.now, queued)
    return run, queued


def _end_of(closed: Iterable[Ticket]) -> Termination | None:
    """How a run ends because of a ticket that nobody decided in time, where that ends it."""
    for ticket in closed:
        if ticket.state == "expired" and ticket.asked.on_expiry == "fail":
            what = ticket.asked.message or ticket.asked.tool_name or ticket.asked.key
            return Termination("error", code="ticket_expired", detail=f"nobody decided in time: {what}")
        if ticket.state == "expired" and ticket.asked.on_expiry == "cancel":
            return CANCELLED
    return None


def suspend(
    ending: Suspend, run: Run, settled: Dispatch, thread: ThreadRow, facts: Facts, changes: Changes, log: Log
) -> Run:
    """The run waits, goes on at once because what it waits for has come already, or ends because of how it came."""
    now = log.now
    known = dict(facts.tickets)
    for ticket in _overdue(known.values(), run, now):
        known[ticket.ticket_id], run = _expire(ticket, run, thread, changes, log)
    named = ending.waits_for or tuple([each.id_in(run.run_id) for each in ending.opens])
    come = [known[each] for each in named if each in known and not known[each].is_open]
    take_back([each.ticket_id for each in come], run, thread, facts, changes, log)
    ended = _end_of(come)
    if ended is not None:
        return finish(run, ended, thread, facts, changes, log, cause="ticket_expired")
    run = open_tickets(ending.opens, run, thread, facts, changes, log)
    asked: dict[TicketId, TicketRequest] = {each.id_in(run.run_id): each for each in ending.opens}
    asked.update({each.ticket_id: each.asked for each in known.values()})
    for each in named:
        if each not in asked:
            raise DataIntegrity(f"run {run.run_id!r} waits for ticket {each!r}, which does not exist")
    left = tuple([each for each in named if each not in known or known[each].is_open])
    reason, message = wait_reason([asked[each] for each in left or named])
    waiting = Waiting(
        reason,
        message,
        left,
        ending.mode,
        ending.next_dispatch_id,
        suspended_by=settled.dispatch_id,
        since=now,
        together=ending.together,
    )
    goes_on = bool(come) and waiting.is_over([each.ticket_id for each in come])
    if not goes_on:
        leave(run, thread, facts, changes, log, suspends=True)
    children = tuple([child_run_id(asked[each]) for each in left if asked[each].kind == "child"])
    log.add(server_event.suspended(run, waiting, children, _until(left, known, asked, now)))
    thread.waiting += 1
    run = replace(
        run,
        status=moved(run, "wait"),
        waiting=waiting,
        stream_open=False,
        updated_at=now,
        updated_seq=log.last_seq,
    )
    if goes_on:
        run, _ = _wake(run, settled, come, thread, changes, log)
    else:
        tell_of_wait(run, left, settled, log)
    return run


def _until(
    left: Iterable[TicketId], known: dict[TicketId, Ticket], asked: dict[TicketId, TicketRequest], now: Instant
) -> Instant | None:
    """When the first of these expires."""
    instants: list[Instant] = []
    for each in left:
        in_ms = asked[each].expires_in_ms
        expires_at = known[each].expires_at if each in known else None if in_ms is None else now + in_ms
        if expires_at is not None:
            instants.append(expires_at)
    return min(instants, default=None)


def _wake(
    run: Run,
    last: Dispatch,
    closed: list[Ticket],
    thread: ThreadRow,
    changes: Changes,
    log: Log,
    wire_run_id: str | None = None,
) -> tuple[Run, Dispatch]:
    """Queue the dispatch with which the run goes on, at the place of its first; it was given what the last one was."""
    assert run.waiting is not None and run.waiting.next_dispatch_id is not None, "its settlement named one"
    why: Why = "children" if all([each.asked.kind == "child" for each in closed]) else "decided"
    brought = last.brings(run.request.input_message_ids)
    queued = Dispatch(
        no=changes.numbers.next(),
        dispatch_id=run.waiting.next_dispatch_id,
        thread_id=run.thread_id,
        run_id=run.run_id,
        route=last.route,
        status=QUEUED,
        why=why,
        priority=last.priority,
        position=last.position,
        epoch=thread.epoch,
        available_at=log.now,
        created_at=log.now,
        updated_at=log.now,
        max_attempts=last.max_attempts,
        message_ids=brought,
    )
    asked = replace(run.request.trace, wire_run_id=wire_run_id)
    log.go_on_with(queued.dispatch_id)
    log.add(server_event.queued(queued, run.agent_id, run.request, asked))
    thread.queued += 1
    changes.new_dispatches.append((thread, queued))
    return replace(run, dispatch_id=queued.dispatch_id, updated_at=log.now, updated_seq=log.last_seq), queued
