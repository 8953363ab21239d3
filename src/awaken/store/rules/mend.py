"""Mending: what becomes of rows that break an invariant.

Above: the stores, for `Mend`. Below: the parts that the transitions are made of, so that what is mended looks as if it
had gone the usual way: one `finish` ends a run here too.
Holds: each breach is looked for again first. It is mended as a whole or not at all, and then what the thread's row says
is counted anew. What a repair ends, or gives up, is in the log of its thread, with `repaired` as the reason.

Source: ADR 0019.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import msgspec
from msgspec.structs import replace

from awaken.domain import dispatch as moves
from awaken.domain import message_event, server_event
from awaken.domain.child import ChildEnd, ChildTicket, child_of, telling
from awaken.domain.clock import Instant
from awaken.domain.dispatch import ACKED, CLAIMED, DEFAULT_PRIORITY, QUEUED, Dispatch, DispatchStatus, Why
from awaken.domain.errors import DataIntegrity
from awaken.domain.ids import AgentId, DispatchId, MessageId, RunId, Scope, TicketId
from awaken.domain.log import Appended, message_committed
from awaken.domain.receipt import FinalFate
from awaken.domain.run import CANCELLED, CREATED, DONE, WAITING, Run, Termination
from awaken.domain.ticket import Decision
from awaken.store.invariants import BY_NAME, Breach
from awaken.store.rules.asks import Load, Rule, Write, ask
from awaken.store.rules.claim import close_unfit
from awaken.store.rules.decide import decide, moved_on
from awaken.store.rules.ending import after_failure, end_brought, finish
from awaken.store.rules.facts import Changes, Facts, Queued, ThreadKey, ThreadRow, best_of
from awaken.store.rules.lease import reclaim_one
from awaken.store.rules.mend_asks import CountRun, CountThread, Enter, IsReported, Recount, RemoveRow, RowsOfRun
from awaken.store.rules.needs import Needs, needs, of_reclaim
from awaken.store.rules.pending import leave_all
from awaken.store.rules.ticket import close
from awaken.store.rules.writing import Log, touch
from awaken.store.transitions import MAX_ROWS, Closed, Decide, Decided, Mend, MendedSome, Mending, Ruling

_REPAIRED: Final = "repaired"
"""The cause, or the code, of what a repair writes into a log."""


class _Refused(Exception):
    """It cannot be mended, and why."""


class _Work:
    """One breach, and what mending it has come to."""

    def __init__(self, breach: Breach, changes: Changes, now: Instant) -> None:
        self.breach = breach
        self.changes = changes
        self.now = now
        self.closed: list[Closed] = []
        self.appended: tuple[Appended, ...] = ()

    @property
    def key(self) -> ThreadKey:
        thread_id = self.breach.thread_id
        if thread_id is None:
            raise _Refused(BY_NAME["row_has_thread"].refused)
        return self.breach.scope, thread_id

    def load(self, wanted: Needs) -> Rule[Facts]:
        """The facts, with a thread that is not deleted; raises DataIntegrity for what cannot be read."""
        [facts] = yield from ask(Load((wanted,), self.now))
        if isinstance(facts, DataIntegrity):
            raise facts
        if facts.thread is None or facts.thread.deleted_at is not None:
            raise _Refused("its thread does not exist any more")
        return facts

    def log(self, thread: ThreadRow, run_id: RunId | None, dispatch_id: DispatchId | None) -> Log:
        """Of what is mended, which begins with why."""
        touch(thread, self.changes, self.now, active=False)
        log = Log(thread, run_id, dispatch_id, self.now)
        log.add(server_event.error_recorded(f"the stored rows contradicted this: {self._sentence}", _REPAIRED))
        return log

    @property
    def _sentence(self) -> str:
        return BY_NAME[self.breach.invariant].sentence

    def write(self, log: Log) -> None:
        self.appended += log.write(self.changes)


_Mender = Callable[[_Work], Rule[bool]]
"""Says whether there was something to mend."""


def mend_some(t: Mend, changes: Changes, now: Instant) -> Rule[MendedSome]:
    """The rule of `Mend`."""
    mendings: list[Mending] = []
    closed: list[Closed] = []
    appended: tuple[Appended, ...] = ()
    for breach in t.breaches[:MAX_ROWS]:
        work = _Work(breach, changes, now)
        mending = yield from _mend(work)
        mendings.append(mending)
        if mending.result == "mended":
            closed += work.closed
            appended += work.appended
    return MendedSome(tuple(mendings), tuple(closed), appended)


def _mend(work: _Work) -> Rule[Mending]:
    breach, changes = work.breach, work.changes
    invariant = BY_NAME.get(breach.invariant)
    if invariant is None or not invariant.mended:
        return Mending(breach, "refused", "there is no such invariant" if invariant is None else invariant.refused)
    try:
        mended = yield from _MENDERS[breach.invariant](work)
    except (DataIntegrity, _Refused) as error:
        changes.clear()
        if breach.thread_id is not None:
            yield from ask(CountThread((breach.scope, breach.thread_id)))  # what was remembered of it may be half done
        return Mending(breach, "refused", str(error))
    key = None if breach.thread_id is None else (breach.scope, breach.thread_id)
    refused = yield from ask(Write(changes, () if key is None else (key,)))
    if refused is not None:
        return Mending(breach, "refused", str(refused))
    if mended and key is not None:
        yield from _recount(key, work.now)
    return Mending(breach, "mended", invariant.mended) if mended else Mending(breach, "healthy")


def _recount(key: ThreadKey, now: Instant) -> Rule[bool]:
    """Have the thread's row say what there is; whether that was news."""
    rows = yield from ask(CountThread(key))
    if rows is None:
        return False
    return (yield from ask(Recount(key, rows, None if rows.is_claimed else best_of([*rows.queue], now))))


# --- runs and their dispatches ----------------------------------------------------------------------------------------


def _make_dispatch(work: _Work) -> Rule[bool]:
    """Again, under its id, as far as the run says what it was for."""
    facts = yield from _of_run(work)
    thread, run = facts.thread, facts.run
    if thread is None or run is None or run.status is DONE or facts.dispatch is not None:
        return False
    rows = yield from _count_run(work)
    if rows.open_dispatches:
        return (yield from _keep_one_dispatch(work))
    why: Why = "start" if run.status is CREATED else "takeover"
    if run.status is WAITING:
        why = "input" if rows.unplaced else "decided"
    if why == "input":
        brought: tuple[MessageId, ...] | None = rows.unplaced
    else:  # the first dispatch of a run has the run's number, and brings what the request names
        brought = run.request.input_message_ids if rows.has_first_dispatch else None
    thread.position += 1
    dispatch = Dispatch(
        no=run.no if brought is None else work.changes.numbers.next(),
        dispatch_id=run.dispatch_id,
        thread_id=run.thread_id,
        run_id=run.run_id,
        route=run.route,
        status=ACKED if run.is_parked else QUEUED,
        why=why,
        priority=DEFAULT_PRIORITY,
        position=thread.position,
        epoch=thread.epoch,
        available_at=work.now,
        created_at=run.created_at,
        updated_at=work.now,
        message_ids=brought,
        completed_at=work.now if run.is_parked else None,
    )
    log = work.log(thread, run.run_id, dispatch.dispatch_id)
    if not run.is_parked:
        log.add(server_event.queued(dispatch, run.agent_id, run.request, run.request.trace))
    work.changes.new_dispatches.append((thread, dispatch))
    work.write(log)
    return True


_ENDS: Final = (DispatchStatus.CANCELLED, DispatchStatus.SUPERSEDED, DispatchStatus.DEAD_LETTER, ACKED)


def _end_with_dispatch(work: _Work) -> Rule[bool]:
    facts = yield from _of_run(work)
    thread, run, dispatch = facts.thread, facts.run, facts.dispatch_of_run
    if thread is None or run is None or run.status is DONE or dispatch is None or dispatch.status not in _ENDS:
        return False
    if run.status is WAITING and dispatch.status is ACKED:
        return False
    rows = yield from _count_run(work)
    if rows.open_dispatches:
        return False
    log = work.log(thread, run.run_id, dispatch.dispatch_id)
    log.reset_stream(run)
    changes, gives_up = work.changes, dispatch.status is DispatchStatus.DEAD_LETTER
    stopped = dispatch.status in (DispatchStatus.CANCELLED, DispatchStatus.SUPERSEDED)
    fate: FinalFate = "dead_lettered" if not stopped else "cancelled"
    if dispatch.status is DispatchStatus.SUPERSEDED:
        fate = "superseded"
    end_brought(dispatch, run, fate, thread, changes, work.now)
    if gives_up:
        ended = after_failure(dispatch, run, "", thread, facts, changes, log)
    else:
        lost = Termination("error", detail=dispatch.last_error or "it was settled, and its result was not recorded")
        ended = finish(
            run,
            CANCELLED if stopped else lost,
            thread,
            facts,
            changes,
            log,
            cause=_REPAIRED,
            superseded=dispatch.status is DispatchStatus.SUPERSEDED,
        )
    _ended(work, thread, dispatch, ended, log)
    return True


def _go_on(work: _Work) -> Rule[bool]:
    """A run that waits for what was decided, or can be decided no more."""
    facts = yield from _of_run(work)
    run = facts.run
    if run is None or run.waiting is None or not run.is_parked:
        return False
    facts = yield from work.load(_needs_of_run(work, tickets=run.waiting.tickets))
    thread, run, dispatch = facts.thread, facts.run, facts.dispatch_of_run
    if thread is None or run is None or run.waiting is None or dispatch is None:
        return False
    gone = [each for each in run.waiting.tickets if each not in facts.tickets]
    closed = [ticket for ticket in facts.tickets.values() if not ticket.is_open]
    if not gone and not closed:
        return False
    log = work.log(thread, run.run_id, run.dispatch_id)
    if gone:
        error = Termination("error", detail=f"ticket {gone[0]!r}, which it waited for, is gone")
        _ended(work, thread, dispatch, finish(run, error, thread, facts, work.changes, log, cause=_REPAIRED), log)
        return True
    left = tuple([each for each in run.waiting.tickets if facts.tickets[each].is_open])
    after = replace(run, waiting=replace(run.waiting, tickets=left))
    after, _ = moved_on(run, after, closed, thread, facts, work.changes, log)
    _ended(work, thread, dispatch, after, log)
    return True


def _keep_one_dispatch(work: _Work) -> Rule[bool]:
    facts = yield from _of_run(work)
    thread, run = facts.thread, facts.run
    rows = yield from _count_run(work)
    if thread is None or run is None or run.status is DONE or not rows.open_dispatches:
        return False
    ranked = sorted(
        rows.open_dispatches, key=lambda each: (each.status is CLAIMED, each.dispatch_id == run.dispatch_id)
    )
    kept, others = ranked[-1], ranked[:-1]
    if not others and kept.dispatch_id == run.dispatch_id:
        return False
    log = work.log(thread, run.run_id, kept.dispatch_id)
    for each in others:
        work.changes.dispatches.append((thread, each, moves.cancel(each, work.now)))
    work.changes.runs.append((thread, replace(run, dispatch_id=kept.dispatch_id, updated_at=work.now)))
    work.write(log)
    return True


def _close_orphan(work: _Work) -> Rule[bool]:
    """A dispatch without its run."""
    facts = yield from work.load(_needs_of_dispatch(work))
    thread, dispatch = facts.thread, facts.dispatch
    if thread is None or dispatch is None:
        return False
    facts = yield from work.load(Needs(scope=work.key[0], thread_id=work.key[1], run=dispatch.run_id))
    thread = facts.thread
    if thread is None or facts.run is not None:
        return False
    if dispatch.status.is_terminal:
        return (yield from ask(RemoveRow("dispatch", work.breach.scope, work.breach.subject)))
    log = work.log(thread, dispatch.run_id, dispatch.dispatch_id)
    work.write(log)
    if dispatch.status is QUEUED:
        _close(work, Queued(dispatch, None), facts, thread)
    else:
        buried = moves.dead_letter(dispatch, work.now, f"run {dispatch.run_id!r} not found")
        work.changes.dispatches.append((thread, dispatch, buried))
        work.closed.append(Closed(thread.scope, buried, None))
    return True


def _end_claim(work: _Work) -> Rule[bool]:
    facts = yield from work.load(of_reclaim(work.key))
    thread, dispatch, run = facts.thread, facts.claimed, facts.run
    if thread is None or dispatch is None or dispatch.dispatch_id != work.breach.subject:
        return False
    if run is None or run.status is not DONE:
        return False
    closed, rows = reclaim_one(facts, work.changes, work.now, set())
    work.closed.append(closed)
    work.appended += rows
    return True


def _close_queued(work: _Work) -> Rule[bool]:
    """What its run, or an interrupt, has ended."""
    facts = yield from work.load(_needs_of_dispatch(work))
    dispatch = facts.dispatch
    if dispatch is None or dispatch.status is not QUEUED:
        return False
    wanted = Needs(
        scope=work.key[0], thread_id=work.key[1], run=dispatch.run_id, dispatch=dispatch.dispatch_id, pending=True
    )
    facts = yield from work.load(wanted)
    thread, run = facts.thread, facts.run
    if thread is None or run is None or (run.status is not DONE and dispatch.epoch >= thread.epoch):
        return False
    work.write(work.log(thread, run.run_id, dispatch.dispatch_id))
    _close(work, Queued(dispatch, run), facts, thread)
    return True


def _give_up_queued(work: _Work) -> Rule[bool]:
    """What is to be given a message that is gone."""
    facts = yield from work.load(_needs_of_dispatch(work))
    dispatch = facts.dispatch
    if dispatch is None or dispatch.status is not QUEUED:
        return False
    facts = yield from work.load(Needs(scope=work.key[0], thread_id=work.key[1], run=dispatch.run_id))
    if facts.run is None:
        return False
    brought = dispatch.brings(facts.run.request.input_message_ids)
    wanted = Needs(scope=work.key[0], thread_id=work.key[1], run=dispatch.run_id, messages=brought, pending=True)
    facts = yield from work.load(wanted)
    thread, run, stored = facts.thread, facts.run, {each.message.id for each in facts.known}
    lacks = next((each for each in brought if each not in stored), None)
    if thread is None or run is None or lacks is None:
        return False
    work.write(work.log(thread, run.run_id, dispatch.dispatch_id))
    _close(work, Queued(dispatch, run, lacks=lacks), facts, thread)
    return True


def _close(work: _Work, entry: Queued, facts: Facts, thread: ThreadRow) -> None:
    closed, rows = close_unfit(entry, facts, thread, work.changes, work.now)
    work.closed.append(closed)
    work.appended += rows


# --- what a row says of others ----------------------------------------------------------------------------------------


def _count_again(work: _Work) -> Rule[bool]:
    return (yield from _recount(work.key, work.now))


def _count_tickets(work: _Work) -> Rule[bool]:
    facts = yield from _of_run(work)
    rows = yield from _count_run(work)
    if facts.thread is None or facts.run is None or facts.run.open_tickets == len(rows.open_tickets):
        return False
    run = replace(
        facts.run, open_tickets=len(rows.open_tickets), tickets=max(facts.run.tickets, len(rows.open_tickets))
    )
    work.changes.runs.append((facts.thread, run))
    return True


def _forget_turn(work: _Work) -> Rule[bool]:
    facts = yield from work.load(_needs_of_run(work, tail=True))
    if facts.thread is None or facts.run is None or facts.run.open_turn is None or facts.tail:
        return False
    work.changes.runs.append((facts.thread, replace(facts.run, open_turn=None)))
    return True


def _enter(work: _Work) -> Rule[bool]:
    kind, _, no = work.breach.subject.partition(":")
    entered = yield from ask(Enter(work.key, int(kind), int(no)))
    if entered == "taken":
        raise _Refused("another row of the thread has its place")
    return entered == "entered"


# --- messages ---------------------------------------------------------------------------------------------------------


def _give_fate(work: _Work) -> Rule[bool]:
    message_id = MessageId(work.breach.subject)
    facts = yield from work.load(Needs(scope=work.key[0], thread_id=work.key[1], messages=(message_id,), pending=True))
    thread, run = facts.thread, facts.known_run
    if thread is None or not facts.known or (run is not None and run.status is not DONE):
        return False
    [stored] = facts.known
    if stored.seq is not None or stored.fate is not None or any(e.message_id == message_id for e in facts.pending):
        return False
    fate: FinalFate = "dead_lettered"
    if facts.known_dispatch is not None and facts.known_dispatch.status is DispatchStatus.SUPERSEDED:
        fate = "superseded"
    elif run is not None and run.termination is not None and run.termination.type == "cancelled":
        fate = "cancelled"
    log = work.log(thread, stored.run_id, None if run is None else run.dispatch_id)
    log.add(message_event.retracted(message_id, fate, _REPAIRED))
    work.changes.fates.append((thread, message_id, fate, work.now))
    work.write(log)
    return True


def _queue_pending(work: _Work) -> Rule[bool]:
    """All that waits for the same run as the message, so that neighbours share a run."""
    facts = yield from work.load(Needs(scope=work.key[0], thread_id=work.key[1], pending=True))
    entry = next((each for each in facts.pending if each.message_id == work.breach.subject), None)
    if entry is None:
        return False
    facts = yield from work.load(Needs(scope=work.key[0], thread_id=work.key[1], run=entry.run_id, pending=True))
    thread, run = facts.thread, facts.run
    if thread is None or (run is not None and run.status is not DONE):
        return False
    log = work.log(thread, entry.run_id, None if run is None else run.dispatch_id)
    mine = [each for each in facts.pending if each.run_id == entry.run_id]
    leave_all(mine, thread, facts, work.changes, log)
    work.write(log)
    return True


def _report(work: _Work) -> Rule[bool]:
    message_id = MessageId(work.breach.subject)
    facts = yield from work.load(Needs(scope=work.key[0], thread_id=work.key[1], messages=(message_id,)))
    thread = facts.thread
    if thread is None or not facts.known or facts.known[0].seq is None:
        return False
    [stored] = facts.known
    assert stored.seq is not None, "it was looked at"
    if (yield from ask(IsReported(work.key, stored.seq))):
        return False
    log = work.log(thread, stored.run_id, None if facts.known_run is None else facts.known_run.dispatch_id)
    log.add(message_committed(stored.seq, stored.step_index))
    work.write(log)
    return True


# --- tickets and children ---------------------------------------------------------------------------------------------


def _withdraw(work: _Work) -> Rule[bool]:
    ticket_id = TicketId(work.breach.subject)
    facts = yield from work.load(Needs(scope=work.key[0], thread_id=work.key[1], tickets=(ticket_id,)))
    ticket = facts.tickets.get(ticket_id)
    if ticket is None:  # without its run it cannot even be read
        return (yield from ask(RemoveRow("ticket", work.breach.scope, work.breach.subject)))
    wanted = Needs(scope=work.key[0], thread_id=work.key[1], run=ticket.run_id, tickets=(ticket_id,))
    facts = yield from work.load(wanted)
    thread, run = facts.thread, facts.run
    if thread is None or run is None or run.status is not DONE or not ticket.is_open or ticket.asked.kind == "child":
        return False
    log = work.log(thread, run.run_id, run.dispatch_id)
    closed, run = close(ticket, "withdrawn", run, thread, work.changes, log)
    log.add(server_event.ticket_withdrawn(closed, "run_ended"))
    work.changes.runs.append((thread, replace(run, open_tickets=max(run.open_tickets, 0))))
    work.write(log)
    return True


def _tell_again(work: _Work) -> Rule[bool]:
    """From the thread of the child, as its end would have."""
    ticket_id = TicketId(work.breach.subject)
    facts = yield from work.load(Needs(scope=work.key[0], thread_id=work.key[1], tickets=(ticket_id,)))
    ticket = facts.tickets.get(ticket_id)
    if ticket is None or not ticket.is_open:
        return False
    child = _child(ticket_id, facts)
    facts = yield from work.load(Needs(scope=work.key[0], thread_id=child.thread_id, run=child.run_id))
    thread, run = facts.thread, facts.run
    if thread is None or run is None or run.status is not DONE:
        return False
    told = telling(run)
    if told is None:
        raise _Refused("the child does not know which run has started it")
    log = work.log(thread, run.run_id, run.dispatch_id)
    log.post(*told)
    work.write(log)
    return True


def _fail_child(work: _Work) -> Rule[bool]:
    """Its run will never come."""
    ticket_id = TicketId(work.breach.subject)
    facts = yield from work.load(Needs(scope=work.key[0], thread_id=work.key[1], tickets=(ticket_id,)))
    ticket = facts.tickets.get(ticket_id)
    if ticket is None or not ticket.is_open:
        return False
    child = _child(ticket_id, facts)
    there = yield from ask(Load((Needs(scope=work.key[0], thread_id=child.thread_id, run=child.run_id),), work.now))
    if not isinstance(there[0], Facts) or there[0].run is not None:
        return False
    why = "the run was never begun, or is gone"
    end = ChildEnd(run_id=child.run_id, termination=Termination("error", detail=why))
    decision = Decision(
        decision_id=f"child:{child.run_id}",
        action="fail",
        result=msgspec.to_builtins(end),
        reason=why,
        decided_by=AgentId(_REPAIRED),
    )
    t = Decide(scope=work.key[0], thread_id=work.key[1], run_id=ticket.run_id, rulings=(Ruling(ticket_id, decision),))
    facts = yield from work.load(needs(t))
    outcome = decide(t, facts, work.changes, work.now)
    work.appended += outcome.appended
    return isinstance(outcome, Decided)


def _child(ticket_id: TicketId, facts: Facts) -> ChildTicket:
    try:
        return child_of(facts.tickets[ticket_id])
    except msgspec.ValidationError as error:
        raise _Refused(f"the ticket does not say which child it follows: {error}") from error


def _drop_journal(work: _Work) -> Rule[bool]:
    return (yield from ask(RemoveRow("journal", work.breach.scope, work.breach.subject)))


# --- parts ------------------------------------------------------------------------------------------------------------


def _run_of(work: _Work) -> tuple[Scope, RunId]:
    return work.breach.scope, RunId(work.breach.subject)


def _count_run(work: _Work) -> Rule[RowsOfRun]:
    rows = yield from ask(CountRun(*_run_of(work)))
    if isinstance(rows, DataIntegrity):
        raise rows
    return rows


def _needs_of_run(work: _Work, *, tickets: tuple[TicketId, ...] = (), tail: bool = False) -> Needs:
    scope, thread_id = work.key
    run_id = RunId(work.breach.subject)
    return Needs(scope=scope, thread_id=thread_id, run=run_id, newest=True, pending=True, tickets=tickets, tail=tail)


def _of_run(work: _Work) -> Rule[Facts]:
    """A run with its newest dispatch, and what its end takes."""
    return (yield from work.load(_needs_of_run(work)))


def _needs_of_dispatch(work: _Work) -> Needs:
    return Needs(scope=work.key[0], thread_id=work.key[1], dispatch=DispatchId(work.breach.subject))


def _ended(work: _Work, thread: ThreadRow, dispatch: Dispatch, run: Run, log: Log) -> None:
    work.changes.runs.append((thread, run))
    if run.status is DONE:
        work.closed.append(Closed(thread.scope, dispatch, run))
    work.write(log)


_MENDERS: Final[dict[str, _Mender]] = {
    "open_run_has_dispatch": _make_dispatch,
    "run_ends_with_dispatch": _end_with_dispatch,
    "wait_is_for_open_tickets": _go_on,
    "one_open_dispatch": _keep_one_dispatch,
    "dispatch_has_run": _close_orphan,
    "claim_is_of_open_run": _end_claim,
    "queued_is_of_open_run": _close_queued,
    "queued_is_of_this_epoch": _close_queued,
    "queued_has_messages": _give_up_queued,
    "counters_agree": _count_again,
    "newest_run_is_newest": _count_again,
    "ready_key_is_of_queue": _count_again,
    "open_tickets_agree": _count_tickets,
    "open_turn_is_own": _forget_turn,
    "entry_leads_to_row": _enter,
    "message_has_fate": _give_fate,
    "pending_is_for_open_run": _queue_pending,
    "message_is_reported": _report,
    "ticket_is_of_open_run": _withdraw,
    "child_is_told": _tell_again,
    "child_was_begun": _fail_child,
    "journal_has_run": _drop_journal,
}
"""By the name of the invariant; each that is mended has one."""
