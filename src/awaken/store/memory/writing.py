"""Writes what a rule has decided into the tables.

Above: `store` after one transition, `asks` in the middle of a rule over many threads. Below: the tables.
"""

from __future__ import annotations

from msgspec.structs import replace

from awaken.domain.dispatch import CLAIMED, QUEUED, Dispatch
from awaken.domain.ids import Scope
from awaken.domain.run import Run
from awaken.domain.thread import ThreadInfo
from awaken.store.contract import StoredMessage
from awaken.store.memory.tables import EVENTS, MESSAGES, RUNS, MessageFacts, Tables
from awaken.store.rules.facts import Changes, Removed, ThreadKey


def write(tables: Tables, changes: Changes) -> None:
    """Everything in the changes, which are empty afterwards."""
    for thread in (*changes.new_threads, *changes.threads):
        tables.threads[thread.scope, thread.thread_id] = thread
    for new in changes.new_messages:
        data = tables.data[new.thread.scope, new.thread.thread_id]
        data.messages[new.message.id] = StoredMessage(
            new.message, new.seq, new.run_id, new.created_at, step_index=new.step_index
        )
        if new.seq is not None:
            data.log.append(new.message.id)
    for thread, message_id, seq, step_index, now in changes.appended_messages:
        data = tables.data[thread.scope, thread.thread_id]
        data.messages[message_id] = replace(data.messages[message_id], seq=seq, step_index=step_index)
        data.facts.setdefault(message_id, MessageFacts()).settled_at = now
        data.log.append(message_id)
    _write_pending(tables, changes)
    for thread, run in changes.new_runs:
        tables.runs[thread.scope, run.run_id] = run
        tables.data[thread.scope, thread.thread_id].runs[run.run_id] = None
    for thread, run in changes.runs:
        tables.runs[thread.scope, run.run_id] = run
    for thread, dispatch in changes.new_dispatches:
        _write_dispatch(tables, thread.scope, dispatch)
    for thread, _, dispatch in changes.dispatches:
        _write_dispatch(tables, thread.scope, dispatch)
    for scope, _, dispatch in changes.leases:
        tables.dispatches[scope, dispatch.dispatch_id] = dispatch
    for thread, appended in changes.events:
        tables.event_row += 1
        key = (thread.scope, thread.thread_id)
        tables.data[key].events.append(appended)
        tables.event_rows[tables.event_row] = (key, appended)
    for run, entry, _ in changes.journal:
        tables.journal.setdefault(run.no, {})[entry.key] = entry
    for thread, _, ticket in changes.new_tickets:
        tables.tickets[thread.scope, ticket.ticket_id] = ticket
        tables.tickets_of[thread.scope, ticket.run_id][ticket.ticket_id] = None
    for thread, ticket in changes.tickets:
        tables.tickets[thread.scope, ticket.ticket_id] = ticket
    for row in changes.outbox:
        tables.outbox[row.no] = row
    for row in changes.delivered:
        del tables.outbox[row.no]
    for scope, schedule in (*changes.new_schedules, *changes.schedules):
        tables.schedules[scope, schedule.spec.name] = schedule
    for scope, schedule in changes.removed_schedules:
        del tables.schedules[scope, schedule.spec.name]
    for thread, state, _ in changes.states:
        tables.data[thread.scope, thread.thread_id].state = state
    for thread, span in changes.spans:
        tables.data[thread.scope, thread.thread_id].spans.append(span)
    _purge(tables, changes)
    for removed in changes.removed:
        _remove(tables, removed)
    changes.clear()


def _write_pending(tables: Tables, changes: Changes) -> None:
    for thread, entry, message in changes.pended:
        data = tables.data[thread.scope, thread.thread_id]
        data.messages[message.id] = StoredMessage(message, None, entry.run_id, entry.created_at)
        data.facts[message.id] = MessageFacts(steered=True)
        data.pending[message.id] = entry
    for thread, stored in changes.edited:
        tables.data[thread.scope, thread.thread_id].messages[stored.message.id] = stored
    for thread, entry in changes.moved:
        data = tables.data[thread.scope, thread.thread_id]
        data.pending[entry.message_id] = entry
        data.messages[entry.message_id] = replace(data.messages[entry.message_id], revision=entry.revision)
    for taken, now in changes.taken:
        data = tables.data[taken.thread.scope, taken.thread.thread_id]
        stored = data.messages[taken.message_id]
        data.messages[taken.message_id] = replace(stored, seq=taken.seq, step_index=taken.step_index)
        data.facts[taken.message_id].settled_at = now
        data.log.append(taken.message_id)
        del data.pending[taken.message_id]
        if taken.commit_no is not None:
            data.taken.setdefault(taken.commit_no, []).append(taken.message_id)
    for thread, message_id, run_id in changes.requeued:
        data = tables.data[thread.scope, thread.thread_id]
        data.messages[message_id] = replace(data.messages[message_id], run_id=run_id)
        data.pending.pop(message_id, None)
    for thread, message_id, fate, now in changes.fates:
        data = tables.data[thread.scope, thread.thread_id]
        stored = data.messages.get(message_id)
        if stored is not None and stored.seq is None and stored.fate is None:
            data.messages[message_id] = replace(stored, fate=fate)
            data.facts.setdefault(message_id, MessageFacts()).settled_at = now
            data.pending.pop(message_id, None)


def _write_dispatch(tables: Tables, scope: Scope, dispatch: Dispatch) -> None:
    data = tables.data[scope, dispatch.thread_id]
    data.queued.pop(dispatch.dispatch_id, None)
    if data.claimed == dispatch.dispatch_id:
        data.claimed = None
    if dispatch.status is QUEUED:
        data.queued[dispatch.dispatch_id] = None
    elif dispatch.status is CLAIMED:
        assert data.claimed is None, "one claimed dispatch per thread"
        data.claimed = dispatch.dispatch_id
    tables.dispatches[scope, dispatch.dispatch_id] = dispatch


def _purge(tables: Tables, changes: Changes) -> None:
    for key, _, run in changes.purged_runs:
        _forget_run(tables, key, run)
        if tables.threads[key].latest_run_no == run.no:
            tables.threads[key].latest_run_no = max([each.no for each in tables.runs_of(key)], default=None)
    for key, _, _, last_seq, row in changes.purged_events:
        _, appended = tables.event_rows.pop(row)
        tables.data[key].events.remove(appended)
        thread = tables.threads[key]
        thread.first_event_seq = max(thread.first_event_seq, last_seq + 1)


def _remove(tables: Tables, removed: Removed) -> None:
    key = removed.key
    data, scope = tables.data[key], key[0]
    runs = {run.no: run for run in tables.runs_of(key)}
    gone = {kind: {no for each, _, no in removed.rows if each == kind} for kind in (EVENTS, MESSAGES, RUNS)}
    kept = [each for place, each in enumerate(data.messages) if place not in gone[MESSAGES]]
    data.messages = {each: data.messages[each] for each in kept}
    for no in gone[EVENTS]:
        data.events.remove(tables.event_rows.pop(no)[1])
    for no in gone[RUNS]:
        _forget_run(tables, key, runs[no])
    if removed.is_last:
        del tables.data[key]
        for place, dispatch in [*tables.dispatches.items()]:
            if place[0] == scope and dispatch.thread_id == key[1]:
                del tables.dispatches[place]
        row = tables.threads[key]
        row.info, row.latest_run_no, row.ready = ThreadInfo(), None, None


def _forget_run(tables: Tables, key: ThreadKey, run: Run) -> None:
    del tables.runs[key[0], run.run_id]
    del tables.data[key].runs[run.run_id]
    tables.journal.pop(run.no, None)
    for ticket_id in tables.tickets_of.pop((key[0], run.run_id), ()):
        del tables.tickets[key[0], ticket_id]
    for place, dispatch in [*tables.dispatches.items()]:
        if place[0] == key[0] and dispatch.run_id == run.run_id:
            del tables.dispatches[place]
