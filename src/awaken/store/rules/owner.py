"""What only the owner of a claim may write: commits, and the settlement that ends it.

Above: `apply`. Below: `claim`, where a settlement's offer takes the thread's next dispatch.
Holds: the claim token is the fence; an interrupt since the claim refuses commits and closes what is settled. The number
of a thread's last commit stands on its row with the token that wrote it: the same number from the same token is that
commit again, asked because its answer was lost, and writes nothing. It is looked at before the claim, since the
settlement that is asked again has ended the claim itself.

Source: ADR 0010, 0011, 0026, 0033.
"""

from __future__ import annotations

from msgspec.structs import replace

from awaken.domain import dispatch as moves
from awaken.domain import server_event
from awaken.domain.clock import Instant
from awaken.domain.dispatch import CLAIMED, QUEUED, Dispatch
from awaken.domain.event import INFERENCE, with_inference
from awaken.domain.ids import MessageId
from awaken.domain.log import Appended
from awaken.domain.message import ASSISTANT, Message
from awaken.domain.run import CANCELLED, DONE, Run
from awaken.store.rules.child import take_back
from awaken.store.rules.claim import claim_queued
from awaken.store.rules.decide import suspend
from awaken.store.rules.ending import after_failure, executed, finish
from awaken.store.rules.facts import Changes, Facts, LeftOpen, ThreadRow, Waiter
from awaken.store.rules.pending import take, takeable
from awaken.store.rules.state import apply_patches
from awaken.store.rules.ticket import open_tickets
from awaken.store.rules.writing import Log, append, ready_in_ms, set_ready, touch
from awaken.store.transitions import (
    Ack,
    Claimed,
    Commit,
    Committed,
    Conflict,
    Continued,
    DeadLetter,
    LeaseLost,
    Release,
    Retry,
    Settle,
    Settled,
    Suspend,
)


def commit(t: Commit, facts: Facts, changes: Changes, now: Instant) -> Committed | LeaseLost | Conflict:
    thread, dispatch, run = facts.thread, facts.dispatch, facts.run
    if thread is not None and run is not None and _is_repeated(t, thread):
        stops, pending = run.cancel_requested_at is not None, takeable(run, facts, thread)
        return Committed(stops, thread.message_seq, taken=facts.taken, repeated=True, pending=pending)
    lost = _lost(t, facts)
    if lost is not None:
        return lost
    assert thread is not None and dispatch is not None and run is not None
    if dispatch.epoch < thread.epoch:
        return LeaseLost("interrupted")
    if facts.known:
        return Conflict("message", facts.known[0].message.id)
    touch(thread, changes, now, active=False)
    log = Log(thread, run.run_id, dispatch.dispatch_id, now)
    run = _write_progress(t, run, thread, facts, changes, log)
    if t.opens:
        run = open_tickets(t.opens, run, thread, facts, changes, log)
    apply_patches(t.state, thread, facts, changes, log)
    taken: tuple[Message, ...] = ()
    if t.takes is not None and thread.pending and run.cancel_requested_at is None:
        taken = take(t.takes, run, thread, facts, changes, log, commit_no=t.number)
    return Committed(
        run.cancel_requested_at is not None,
        thread.message_seq,
        taken=taken,
        pending=takeable(run, facts, thread, but=len(taken)),
        appended=_write_run(t, run, dispatch, len(taken), thread, facts, changes, log),
    )


def _write_run(
    t: Commit | Settle,
    run: Run,
    dispatch: Dispatch,
    taken: int,
    thread: ThreadRow,
    facts: Facts,
    changes: Changes,
    log: Log,
) -> tuple[Appended, ...]:
    """Have a run written that goes on."""
    after = _progressed(t, dispatch, log.now)
    if after is not dispatch:
        changes.dispatches.append((thread, dispatch, after))
    if taken:
        run = replace(run, taken=run.taken + taken)
    if run is not facts.run:
        changes.runs.append((thread, replace(run, updated_at=log.now, updated_seq=log.last_seq)))
    return log.write(changes)


def settle(t: Settle, facts: Facts, changes: Changes, now: Instant) -> Settled | Continued | LeaseLost | Conflict:
    thread, dispatch, run = facts.thread, facts.dispatch, facts.run
    if thread is not None and dispatch is not None and run is not None and _is_repeated(t, thread):
        if dispatch.status is CLAIMED and dispatch.claim_token == t.token:
            return Continued(run, facts.taken, takeable(run, facts, thread), repeated=True)
        return Settled(run, dispatch, _won_before(facts), ready_in_ms(thread, now), repeated=True)
    lost = _lost(t, facts)
    if lost is not None:
        return lost
    assert thread is not None and dispatch is not None and run is not None
    if facts.known:
        return Conflict("message", facts.known[0].message.id)
    touch(thread, changes, now)
    log = Log(thread, run.run_id, dispatch.dispatch_id, now)
    run = _write_progress(t, run, thread, facts, changes, log)
    if t.unless_pending and thread.pending and _would_end(t, run, dispatch, thread):
        taken = take("on_natural_end", run, thread, facts, changes, log, commit_no=t.number)
        if taken:
            apply_patches(t.state, thread, facts, changes, log)
            rows = _write_run(t, run, dispatch, len(taken), thread, facts, changes, log)
            run = changes.runs[-1][1]
            return Continued(run, taken, takeable(run, facts, thread, but=len(taken)), appended=rows)
    run = executed(run, dispatch, log)
    settled, run = _ended(t, _progressed(t, dispatch, now), run, thread, facts, changes, log)
    changes.runs.append((thread, run))
    changes.dispatches.append((thread, dispatch, settled))
    appended = log.write(changes)
    if settled.status is QUEUED:
        thread.queued += 1
        set_ready(thread, facts, now, settled)
    elif type(t.ending) is Suspend and run.dispatch_id == t.ending.next_dispatch_id:  # it goes on at once
        set_ready(thread, facts, now, changes.new_dispatches[-1][1])
    else:
        set_ready(thread, facts, now)
        if t.offer is not None and facts.next is not None and not _is_behind(facts, now):
            taken = claim_queued(facts.next, t.offer, thread, _with_own_turn(facts, run, t), changes, now)
            if taken is not None:
                claimed, rows = taken
                return Settled(run, settled, claimed, None, appended=appended + rows)
    return Settled(run, settled, None, ready_in_ms(thread, now), appended=appended)


def _would_end(t: Settle, run: Run, dispatch: Dispatch, thread: ThreadRow) -> bool:
    """The run has come to its natural end, and nobody has stopped it."""
    ends = isinstance(t.ending, Ack) and t.ending.termination.type == "natural_end"
    return ends and run.cancel_requested_at is None and dispatch.epoch >= thread.epoch


def _is_behind(facts: Facts, now: Instant) -> bool:
    """Something that the run has left goes before what waits in the queue."""
    if not facts.left or facts.next is None:
        return False
    first = Waiter.of(facts.next.dispatch).order(now)
    return any(Waiter.of(dispatch).order(now) < first for dispatch in facts.left)


def _is_repeated(t: Commit | Settle, thread: ThreadRow) -> bool:
    return t.number == thread.commit_no and t.token == thread.commit_token


def _won_before(facts: Facts) -> Claimed | None:
    """The claim that the offer of a repeated settlement has won, while it holds."""
    thread, won = facts.thread, facts.won
    if thread is None or won is None or won.run is None:
        return None
    resumed = won.run.started_at is not None and won.dispatch.why != "start"
    return Claimed(
        thread.scope,
        won.dispatch,
        won.run,
        won.bodies,
        resumed,
        thread.queued,
        thread.commit_no,
        thread.no,
        thread.info.resource_id,
        thread.spans,
        takeable(won.run, facts, thread),
    )


def _lost(t: Commit | Settle, facts: Facts) -> LeaseLost | None:
    dispatch = facts.dispatch
    if dispatch is None or facts.thread is None or facts.run is None or dispatch.thread_id != t.thread_id:
        return LeaseLost("missing")
    if dispatch.status is not CLAIMED:
        return LeaseLost("not_claimed")
    if dispatch.claim_token != t.token or dispatch.run_id != t.run_id:
        return LeaseLost("other_owner")
    return None


def _ended(
    t: Settle, dispatch: Dispatch, run: Run, thread: ThreadRow, facts: Facts, changes: Changes, log: Log
) -> tuple[Dispatch, Run]:
    """The dispatch and run after the ending, with the events that report it."""
    ending, now = t.ending, log.now
    log.reset_stream(run)
    if dispatch.epoch < thread.epoch:
        output, ids = (ending.final_output, _output_ids(ending, t, facts)) if isinstance(ending, Ack) else (None, ())
        superseded = moves.supersede(dispatch, now, "interrupted")
        return superseded, finish(
            run,
            CANCELLED,
            thread,
            facts,
            changes,
            log,
            output=output,
            output_message_ids=ids,
            cause="interrupted",
        )
    if run.cancel_requested_at is not None and not isinstance(ending, Ack):
        return moves.cancel(dispatch, now), finish(
            run, CANCELLED, thread, facts, changes, log, cause="cancel_requested"
        )
    match ending:
        case Ack(termination=termination, final_output=output):
            ids = _output_ids(ending, t, facts)
            apply_patches(t.state, thread, facts, changes, log)
            ended = finish(run, termination, thread, facts, changes, log, output=output, output_message_ids=ids)
            return moves.ack(dispatch, now), ended
        case Retry(error=error, policy=policy, retry_after_ms=retry_after_ms):
            settled = moves.nack(dispatch, now, error, policy, retry_after_ms)
            run = after_failure(settled, run, "retry_backoff", thread, facts, changes, log, ending.error_class)
            return settled, run
        case DeadLetter(error=error):
            settled = moves.dead_letter(dispatch, now, error)
            return settled, after_failure(settled, run, "", thread, facts, changes, log, ending.error_class)
        case Release(reason=reason):
            settled = moves.release(dispatch, now)
            return settled, after_failure(settled, run, reason, thread, facts, changes, log)
        case Suspend():
            settled = moves.ack(dispatch, now)
            return settled, suspend(ending, run, settled, thread, facts, changes, log)


def _output_ids(ack: Ack, t: Settle, facts: Facts) -> tuple[MessageId, ...]:
    """The messages named as the output, if their text is what was given as such: only then it may be stored with them
    alone.
    """
    if not ack.output_message_ids:
        return ()
    texts = {stored.message.id: stored.message.text for stored in facts.referred if stored.seq is not None}
    texts.update([(message.id, message.text) for message in t.messages])
    named = [texts.get(each) for each in ack.output_message_ids]
    same = None not in named and "".join([text or "" for text in named]) == ack.final_output
    return ack.output_message_ids if same else ()


def _progressed(t: Commit | Settle, dispatch: Dispatch, now: Instant) -> Dispatch:
    return moves.progressed(dispatch, now) if t.closes is not None and t.closes.is_progress else dispatch


def _write_progress(t: Commit | Settle, run: Run, thread: ThreadRow, facts: Facts, changes: Changes, log: Log) -> Run:
    """Append messages, events and journal, and count the commit; the run with its new totals, or the same object."""
    thread.commit_no = t.number
    thread.commit_token = t.token
    open_turn, last_turn, spent = run.open_turn, None, run.usage_by_model
    for entry in t.entries:
        if type(entry) is Message:
            seq = append(entry, thread, t.run_id, changes, log)
            if entry.role is ASSISTANT:
                open_turn, last_turn = seq if entry.tool_calls else None, entry.id
        else:
            log.add(entry)
            if entry.kind == INFERENCE:
                spent = with_inference(spent, entry)
    for each in t.posts:
        log.add(server_event.posted(each.thread_id, each.errand))
        log.post(each.thread_id, each.errand)
    if t.awaits:
        take_back(t.awaits, run, thread, facts, changes, log)
    for step in t.journal:
        changes.journal.append((run, step, log.now))
    stream_open = run.stream_open if t.stream_open is None else t.stream_open
    if t.closes is not None:
        closed_turn = t.closes.turn or run.closed_turn
        if t.closes.turn is not None and last_turn in (None, t.closes.turn):
            open_turn = None  # the next turn may have begun in the same commit
        run = replace(run, steps=t.closes.steps, usage=t.closes.usage, closed_turn=closed_turn)
    if t.usage is not None:
        run = replace(run, usage=t.usage)
    if spent is not run.usage_by_model:
        run = replace(run, usage_by_model=spent)
    if stream_open != run.stream_open or open_turn != run.open_turn:
        run = replace(run, stream_open=stream_open, open_turn=open_turn)
    return run


def _with_own_turn(facts: Facts, run: Run, t: Settle) -> Facts:
    """The facts for the thread's next run, with the turn that this one has just left open."""
    if run.open_turn is None or run.status is not DONE:
        return facts
    return replace(facts, left_open=(*facts.left_open, LeftOpen(run, facts.tail + t.messages)))
