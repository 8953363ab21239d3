"""Between records and rows: the values of each insert and update, and records from the rows of each select.

Above: `facts`, `asks`, `writing` and `reading` of each SQL store. Below: `domain.record` for the JSON parts.
Holds: a row that breaks a promise of its record is a `DataIntegrity` naming it; nothing is repaired here. The order of
values and columns is that of `queries.sql`, the same in each store. An id that is a UUID in its usual form is written
as its 16 bytes; a store that keeps ids as text turns those back.
"""

from __future__ import annotations

import re
from functools import lru_cache
from typing import Any, Final, get_args, overload

import msgspec

from awaken.domain.clock import Instant
from awaken.domain.dispatch import Dispatch, DispatchStatus, ready_route
from awaken.domain.errors import DataIntegrity
from awaken.domain.ids import DispatchId, MessageId, RunId, Scope, ThreadId, TicketId
from awaken.domain.log import Appended, LoggedEvent
from awaken.domain.message import Message, Visibility
from awaken.domain.outbox import OutboxRow
from awaken.domain.pending import Opens, Pending
from awaken.domain.record import (
    CURRENT,
    check_version,
    decode_decision,
    decode_errand,
    decode_events,
    decode_journal_value,
    decode_message,
    decode_run_request,
    decode_run_state,
    decode_schedule,
    decode_state,
    decode_thread_info,
    decode_ticket,
    encode_decision,
    encode_errand,
    encode_message,
    encode_run_request,
    encode_run_state,
    encode_schedule,
    encode_state,
    encode_thread_info,
    encode_ticket,
)
from awaken.domain.run import NO_USAGE, Run, RunStatus
from awaken.domain.schedule import Schedule
from awaken.domain.span import Span, Why
from awaken.domain.state import ThreadState
from awaken.domain.thread import ThreadInfo
from awaken.domain.ticket import Ticket, TicketState
from awaken.store.contract import StoredMessage
from awaken.store.rules.facts import MessageWrite, ReadyKey, Taken, ThreadRow, Waiter
from awaken.store.transitions import JournalEntry

Row = tuple[Any, ...]
Packed = bytearray | str
"""An id as it is stored. A `bytearray`, because `sqlite3` binds one as it is, where it would first look for an adapter
of `bytes`; nobody changes it."""

# Kinds of `thread_entries`.
EVENTS: Final = 1
MESSAGES: Final = 2
RUNS: Final = 3
NO_PLACE: Final = 0
"""Of a message that is in no log: the place that no entry has."""

_UUID: Final = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}")
_UUID_CHARS: Final = 36

# An enum's `.value` is a descriptor call; these run for every row written.
DISPATCH_TEXT: Final = {status: str(status.value) for status in DispatchStatus}
RUN_TEXT: Final = {status: str(status.value) for status in RunStatus}
_DISPATCH_STATUS: Final = {text: status for status, text in DISPATCH_TEXT.items()}
_RUN_STATUS: Final = {text: status for status, text in RUN_TEXT.items()}

_THREAD_V: Final = CURRENT["thread"]
_MESSAGE_V: Final = CURRENT["message"]
_REQUEST_V: Final = CURRENT["run_request"]
_STATE_V: Final = CURRENT["run_state"]
_DISPATCH_V: Final = CURRENT["dispatch"]
_EVENTS_V: Final = CURRENT["events"]
_JOURNAL_V: Final = CURRENT["journal"]
_TICKET_V: Final = CURRENT["ticket"]
_TICKET_STATES: Final = get_args(TicketState)
_ERRAND_V: Final = CURRENT["errand"]
_SCHEDULE_V: Final = CURRENT["schedule"]
_THREAD_STATE_V: Final = CURRENT["state"]
_WHYS: Final = frozenset(get_args(Why))
_NO_INFO: Final = ThreadInfo()
_encode: Final = msgspec.json.Encoder().encode
_message_ids: Final = msgspec.json.Decoder(tuple[MessageId, ...])
_opens: Final = msgspec.json.Decoder(Opens)


@overload
def pack(id: str) -> Packed: ...
@overload
def pack(id: None) -> None: ...
@lru_cache(maxsize=8_192)
def pack(id: str | None) -> Packed | None:
    """An id as it is stored. None, as every id that was seen lately, costs no call of Python's."""
    if id is None:
        return None
    if len(id) == _UUID_CHARS and _UUID.fullmatch(id) is not None:
        return bytearray.fromhex(id.replace("-", ""))
    return id


def unpack(stored: bytes | Packed) -> str:
    """An id as it is known everywhere else."""
    if isinstance(stored, str):
        return stored
    digits = stored.hex()
    return f"{digits[:8]}-{digits[8:12]}-{digits[12:16]}-{digits[16:20]}-{digits[20:]}"


def _unpack_any(stored: bytes | Packed | None) -> Any:
    return None if stored is None else unpack(stored)


# --- writing ----------------------------------------------------------------------------------------------------------


def new_thread_values(thread: ThreadRow) -> Row:
    return (
        thread.no,
        thread.scope,
        pack(thread.thread_id),
        thread.epoch,
        thread.message_seq,
        thread.event_seq,
        thread.first_event_seq,
        thread.position,
        thread.queued,
        thread.waiting,
        thread.left_open,
        thread.spans,
        thread.pending,
        thread.interrupt_id,
        thread.commit_no,
        pack(thread.commit_token),
        *_ready_values(thread),
        thread.latest_run_no,
        thread.created_at,
        thread.updated_at,
        _THREAD_V,
        _info_text(thread.info),
    )


def thread_values(thread: ThreadRow) -> Row:
    return (
        thread.epoch,
        thread.message_seq,
        thread.event_seq,
        thread.position,
        thread.queued,
        thread.waiting,
        thread.left_open,
        thread.spans,
        thread.pending,
        thread.interrupt_id,
        thread.commit_no,
        pack(thread.commit_token),
        *_ready_values(thread),
        thread.latest_run_no,
        thread.updated_at,
        thread.no,
    )


def _ready_values(thread: ThreadRow) -> Row:
    ready = thread.ready
    return (None, None, None, None) if ready is None else (ready.route, ready.priority, ready.at, ready.no)


def thread_info_values(thread: ThreadRow) -> Row:
    return _info_text(thread.info), _THREAD_V, thread.info_version, thread.no


def thread_mark_values(thread: ThreadRow) -> Row:
    return thread.deleted_at, thread.delete_at, None if thread.deleted_at is None else 1, thread.no


def _info_text(info: ThreadInfo) -> str | None:
    return None if info == _NO_INFO else encode_thread_info(info).decode()


def new_message_values(no: int, write: MessageWrite) -> Row:
    message = write.message
    return (
        no,
        write.thread.no,
        pack(message.id),
        write.seq,
        pack(write.run_id),
        int(message.visibility is Visibility.INTERNAL),
        write.created_at,
        write.step_index,
        _MESSAGE_V,
        encode_message(message, write.run_id),
    )


def new_pending_values(no: int, thread: ThreadRow, entry: Pending, message: Message) -> Row:
    return (
        no,
        thread.no,
        pack(message.id),
        pack(entry.run_id),
        int(message.visibility is Visibility.INTERNAL),
        entry.created_at,
        _MESSAGE_V,
        encode_message(message, None),
        entry.position,
        entry.boundary,
        entry.granularity,
        int(entry.barrier),
        int(entry.fallback_to_new_run),
        pack(entry.target_run_id),
        _encode(entry.opens),
    )


def taken_values(taken: Taken, now: Instant) -> Row:
    return taken.seq, now, taken.step_index, taken.commit_no, pack(taken.message_id), taken.thread.no


def moved_values(thread: ThreadRow, entry: Pending) -> Row:
    return entry.position, entry.boundary, int(entry.barrier), entry.revision, pack(entry.message_id), thread.no


def edited_values(thread: ThreadRow, stored: StoredMessage) -> Row:
    message = stored.message
    internal = int(message.visibility is Visibility.INTERNAL)
    body = encode_message(message, None)
    return internal, _MESSAGE_V, body, stored.revision, stored.digest, pack(message.id), thread.no


def new_run_values(thread: ThreadRow, run: Run) -> Row:
    return (
        run.no,
        thread.scope,
        pack(run.run_id),
        thread.no,
        run.agent_id,
        pack(run.dispatch_id),
        RUN_TEXT[run.status],
        run.created_at,
        run.updated_at,
        run.started_at,
        run.finished_at,
        run.first_event_seq,
        run.updated_seq,
        run.open_turn,
        run.executing_ms,
        run.dedupe_key,
        run.cancel_requested_at,
        int(run.dead_lettered),
        run.open_tickets,
        _REQUEST_V,
        encode_run_request(run),
        _STATE_V,
        encode_run_state(run),
    )


def run_values(run: Run) -> Row:
    return (
        pack(run.dispatch_id),
        RUN_TEXT[run.status],
        run.updated_at,
        run.started_at,
        run.finished_at,
        run.updated_seq,
        run.open_turn,
        run.executing_ms,
        run.cancel_requested_at,
        int(run.dead_lettered),
        run.open_tickets,
        _STATE_V,
        encode_run_state(run),
        run.no,
    )


def new_dispatch_values(thread: ThreadRow, dispatch: Dispatch) -> Row:
    return (
        dispatch.no,
        thread.scope,
        pack(dispatch.dispatch_id),
        thread.no,
        pack(dispatch.run_id),
        dispatch.route,
        DISPATCH_TEXT[dispatch.status],
        dispatch.why,
        dispatch.priority,
        dispatch.position,
        dispatch.epoch,
        dispatch.available_at,
        dispatch.created_at,
        dispatch.updated_at,
        dispatch.max_attempts,
        dispatch.attempt_count,
        dispatch.crash_count,
        None if dispatch.message_ids is None else _encode(dispatch.message_ids),
        dispatch.last_error,
        pack(dispatch.claim_token),
        pack(dispatch.claimed_by),
        dispatch.lease_until,
        pack(dispatch.instance_id),
        dispatch.tried_at,
        pack(dispatch.tried_by),
        dispatch.completed_at,
        _DISPATCH_V,
    )


def dispatch_values(before: Dispatch, after: Dispatch) -> Row:
    """The new state, then the guard: the state it was decided from."""
    return (
        DISPATCH_TEXT[after.status],
        after.why,
        after.priority,
        after.available_at,
        after.updated_at,
        after.attempt_count,
        after.crash_count,
        after.last_error,
        pack(after.claim_token),
        pack(after.claimed_by),
        after.lease_until,
        pack(after.instance_id),
        after.tried_at,
        pack(after.tried_by),
        after.completed_at,
        after.no,
        DISPATCH_TEXT[before.status],
        pack(before.claim_token),
    )


def new_events_values(no: int, thread: ThreadRow, row: Appended) -> Row:
    return (
        no,
        thread.no,
        row.first_seq,
        row.count,
        pack(row.run_id),
        pack(row.dispatch_id),
        row.created_at,
        _EVENTS_V,
        row.body,
    )


def new_ticket_values(thread: ThreadRow, run: Run, ticket: Ticket) -> Row:
    asked = ticket.asked
    return (
        ticket.no,
        thread.scope,
        pack(ticket.ticket_id),
        thread.no,
        run.no,
        ticket.agent_id,
        asked.kind,
        asked.tool_name,
        ticket.state,
        ticket.created_at,
        ticket.expires_at,
        ticket.closed_at,
        _TICKET_V,
        encode_ticket(asked),
    )


def ticket_values(ticket: Ticket) -> Row:
    decision = None if ticket.decision is None else encode_decision(ticket.decision)
    return ticket.state, ticket.closed_at, decision, pack(ticket.child_waits), ticket.no


def journal_values(run: Run, entry: JournalEntry, now: Instant) -> Row:
    return run.no, entry.key, now, _JOURNAL_V, bytes(entry.value)


def new_errand_values(row: OutboxRow) -> Row:
    return (
        row.no,
        row.scope,
        pack(row.sender),
        pack(row.run_id),
        pack(row.thread_id),
        row.created_at,
        _ERRAND_V,
        encode_errand(row.errand),
    )


def new_schedule_values(scope: Scope, schedule: Schedule) -> Row:
    return schedule.no, scope, schedule.spec.name, schedule.next_at, _SCHEDULE_V, encode_schedule(schedule)


def schedule_values(schedule: Schedule) -> Row:
    return schedule.next_at, _SCHEDULE_V, encode_schedule(schedule), schedule.no


def state_values(thread: ThreadRow, state: ThreadState, now: Instant) -> Row:
    return thread.no, state.version, now, _THREAD_STATE_V, encode_state(state.values)


def span_values(thread: ThreadRow, span: Span) -> Row:
    return (
        thread.no,
        span.event_seq,
        span.first_seq,
        span.last_seq,
        span.why,
        span.replacement_seq,
        pack(span.replacement_id),
    )


# --- reading ----------------------------------------------------------------------------------------------------------


def thread_from(row: Row) -> ThreadRow:
    (
        no, scope, thread_id, epoch, message_seq, event_seq, first_event_seq, position, queued, waiting, left_open,
        spans, pending, interrupt_id, commit_no, commit_token, ready_route, ready_priority, ready_at, ready_no,
        latest_run_no, created_at, updated_at, version, info, info_version, deleted_at, delete_at,
    ) = row  # fmt: skip
    thread_id = ThreadId(unpack(thread_id))
    name = f"thread {thread_id!r}"
    check_version("thread", version, name)
    ready_parts = [part is None for part in (ready_route, ready_priority, ready_at, ready_no)]
    counters = (epoch, message_seq, event_seq, position, queued, waiting, left_open, spans, pending)
    if min(counters) < 0 or len({*ready_parts}) != 1:
        raise DataIntegrity(f"{name}: its counters contradict each other")
    return ThreadRow(
        no=no,
        scope=scope,
        thread_id=thread_id,
        info=_NO_INFO if info is None else decode_thread_info(info.encode(), version, name),
        created_at=created_at,
        updated_at=updated_at,
        epoch=epoch,
        message_seq=message_seq,
        event_seq=event_seq,
        first_event_seq=first_event_seq,
        position=position,
        queued=queued,
        waiting=waiting,
        left_open=left_open,
        spans=spans,
        pending=pending,
        interrupt_id=interrupt_id,
        info_version=info_version,
        deleted_at=deleted_at,
        delete_at=delete_at,
        commit_no=commit_no,
        commit_token=_unpack_any(commit_token),
        latest_run_no=latest_run_no,
        ready=None if ready_route is None else ReadyKey(ready_route, ready_priority, ready_at, ready_no),
    )


def message_from(row: Row) -> StoredMessage:
    packed_id, seq, run_id, created_at, version, body, fate, step_index, revision, digest = row
    message_id = MessageId(unpack(packed_id))
    name = f"message {message_id!r}"
    run_id = _unpack_any(run_id)
    if not message_id.strip() or (seq is not None and seq < 1):
        raise DataIntegrity(f"{name}: its id or its place in the log is not what it should be")
    if seq is not None and fate is not None:
        raise DataIntegrity(f"{name}: it is in the log, and {fate}")
    message = decode_message(body, version, name, message_id, run_id)
    return StoredMessage(message, seq, run_id, created_at, fate, step_index, revision or 1, digest)


def pending_from(row: Row) -> Pending:
    (
        message_id, run_id, position, boundary, granularity, barrier, fallback, target_run_id, revision, created_at,
        opens,
    ) = row  # fmt: skip
    message_id = MessageId(unpack(message_id))
    if run_id is None or opens is None or boundary is None:
        raise DataIntegrity(f"message {message_id!r} waits for a run, and it is not known for which, or how")
    try:
        opened = _opens.decode(opens)
    except msgspec.MsgspecError as error:
        raise DataIntegrity(f"message {message_id!r} is damaged: {error}") from error
    return Pending(
        message_id=message_id,
        run_id=RunId(unpack(run_id)),
        position=position,
        boundary=boundary,
        granularity=granularity,
        barrier=bool(barrier),
        fallback_to_new_run=bool(fallback),
        target_run_id=_unpack_any(target_run_id),
        revision=revision or 1,
        created_at=created_at,
        opens=opened,
    )


def run_from(row: Row) -> Run:
    """The run; its `final_output` is still to be looked up where it has `output_message_ids`."""
    (
        no, run_id, thread_id, agent_id, dispatch_id, status_text, created_at, updated_at, started_at, finished_at,
        first_event_seq, updated_seq, open_turn, executing_ms, dedupe_key, cancel_requested_at, dead_lettered,
        open_tickets, request_version, request, state_version, state_data,
    ) = row  # fmt: skip
    run_id = RunId(unpack(run_id))
    name = f"run {run_id!r}"
    status = _RUN_STATUS.get(status_text)
    if status is None:
        raise DataIntegrity(f"{name}: unknown status {status_text!r}")
    asked = decode_run_request(request, request_version, name)
    state = decode_run_state(state_data, state_version, name)
    run = Run(
        no=no,
        run_id=run_id,
        thread_id=ThreadId(unpack(thread_id)),
        agent_id=agent_id,
        dispatch_id=DispatchId(unpack(dispatch_id)),
        status=status,
        request=asked.request,
        request_digest=asked.digest,
        metadata=asked.metadata,
        created_at=created_at,
        updated_at=updated_at,
        first_event_seq=first_event_seq,
        updated_seq=updated_seq,
        started_at=started_at,
        finished_at=finished_at,
        input=state.input,
        termination=state.termination,
        final_output=state.final_output,
        output_message_ids=state.output_message_ids,
        waiting=state.waiting,
        steps=state.steps,
        taken=state.taken,
        usage=NO_USAGE if state.usage is None else state.usage,
        usage_by_model=state.usage_by_model,
        closed_turn=state.closed_turn,
        stream_open=state.stream_open,
        open_turn=open_turn,
        executing_ms=executing_ms,
        dedupe_key=dedupe_key,
        cancel_requested_at=cancel_requested_at,
        dead_lettered=bool(dead_lettered),
        tickets=state.tickets,
        open_tickets=open_tickets,
        hide_requested_at=state.hide_requested_at,
        hidden=state.hidden,
        seen_to=state.seen_to,
        failed_at=state.failed_at,
        error_class=state.error_class,
    )
    run.check()
    return run


def dispatch_from(row: Row) -> Dispatch:
    (
        no, dispatch_id, thread_id, run_id, route, status_text, why, priority, position, epoch, available_at,
        created_at, updated_at, max_attempts, attempt_count, crash_count, message_ids, last_error, claim_token,
        claimed_by, lease_until, instance_id, tried_at, tried_by, completed_at, version,
    ) = row  # fmt: skip
    dispatch_id = DispatchId(unpack(dispatch_id))
    name = f"dispatch {dispatch_id!r}"
    check_version("dispatch", version, name)
    dispatch = Dispatch(
        no=no,
        dispatch_id=dispatch_id,
        thread_id=ThreadId(unpack(thread_id)),
        run_id=RunId(unpack(run_id)),
        route=route,
        status=status_from(status_text, name),
        why=why,
        priority=priority,
        position=position,
        epoch=epoch,
        available_at=available_at,
        created_at=created_at,
        updated_at=updated_at,
        max_attempts=max_attempts,
        attempt_count=attempt_count,
        crash_count=crash_count,
        message_ids=None if message_ids is None else decoded_ids(message_ids, name),
        last_error=last_error,
        claim_token=_unpack_any(claim_token),
        claimed_by=_unpack_any(claimed_by),
        lease_until=lease_until,
        instance_id=_unpack_any(instance_id),
        tried_at=tried_at,
        tried_by=_unpack_any(tried_by),
        completed_at=completed_at,
    )
    dispatch.check()
    return dispatch


def decoded_ids(data: bytes, name: str) -> tuple[MessageId, ...]:
    """The messages that a dispatch brings. Raises DataIntegrity, which names it."""
    try:
        return _message_ids.decode(data)
    except msgspec.MsgspecError as error:
        raise DataIntegrity(f"{name} is damaged: {error}") from error


def waiter_from(row: Row) -> Waiter:
    """What a queued dispatch counts for in the order of its queue."""
    route, crash_count, priority, position, available_at, no = row
    return Waiter(ready_route(route, crash_count), priority, position, available_at, no)


def status_from(text: str, name: str) -> DispatchStatus:
    status = _DISPATCH_STATUS.get(text)
    if status is None:
        raise DataIntegrity(f"{name}: unknown status {text!r}")
    return status


class StoredEvents(msgspec.Struct, frozen=True):
    """A row of events as it is stored: the messages it refers to are still to be looked up."""

    run_id: RunId | None
    dispatch_id: DispatchId | None
    first_seq: int
    created_at: Instant
    events: tuple[LoggedEvent, ...]

    @property
    def last_seq(self) -> int:
        return self.first_seq + len(self.events) - 1

    def last(self) -> StoredEvents:
        """Its last event alone."""
        return msgspec.structs.replace(self, first_seq=self.last_seq, events=self.events[-1:])


def events_from(thread_id: ThreadId, row: Row) -> StoredEvents:
    first_seq, count, run_id, dispatch_id, created_at, version, body = row
    name = f"events from {first_seq} of thread {thread_id!r}"
    events = decode_events(body, version, name)
    if len(events) != count or not events or first_seq < 1:
        raise DataIntegrity(f"{name}: {len(events)} events where {count} were written")
    return StoredEvents(_unpack_any(run_id), _unpack_any(dispatch_id), first_seq, created_at, events)


def ticket_from(row: Row) -> Ticket:
    (
        no, ticket_id, thread_id, run_id, agent_id, state, created_at, expires_at, closed_at, version, asked, decision,
        child_waits,
    ) = row  # fmt: skip
    ticket_id = TicketId(unpack(ticket_id))
    name = f"ticket {ticket_id!r}"
    if state not in _TICKET_STATES or (state == "open") != (closed_at is None):
        raise DataIntegrity(f"{name}: {state!r} and when it was closed disagree")
    return Ticket(
        no=no,
        ticket_id=ticket_id,
        thread_id=ThreadId(unpack(thread_id)),
        run_id=RunId(unpack(run_id)),
        agent_id=agent_id,
        asked=decode_ticket(asked, version, name),
        state=state,
        created_at=created_at,
        expires_at=expires_at,
        closed_at=closed_at,
        decision=None if decision is None else decode_decision(decision, version, name),
        child_waits=_unpack_any(child_waits),
    )


def journal_from(row: Row) -> JournalEntry:
    key, version, value = row
    return JournalEntry(key, decode_journal_value(value, version, f"journal entry {key!r}"))


def errand_from(row: Row) -> OutboxRow:
    no, scope, sender, run_id, thread_id, created_at, version, body = row
    return OutboxRow(
        no=no,
        scope=scope,
        sender=unpack(sender),
        run_id=_unpack_any(run_id),
        thread_id=ThreadId(unpack(thread_id)),
        errand=decode_errand(body, version, f"errand {no}"),
        created_at=created_at,
    )


def schedule_from(row: Row) -> tuple[Scope, Schedule]:
    no, scope, name, next_at, version, body = row
    schedule = decode_schedule(body, version, f"schedule {name!r}")
    if (schedule.no, schedule.spec.name, schedule.next_at) != (no, name, next_at):
        raise DataIntegrity(f"schedule {name!r}: its row says something else than its record")
    return scope, schedule


def state_from(thread_id: ThreadId, row: Row) -> ThreadState:
    version, record_version, body = row
    name = f"the state of thread {thread_id!r}"
    if version < 1:
        raise DataIntegrity(f"{name}: it was changed and has version {version}")
    return ThreadState(decode_state(body, record_version, name), version)


def span_from(row: Row) -> Span:
    first_seq, last_seq, why, event_seq, replacement_seq, replacement_id = row
    if why not in _WHYS:
        raise DataIntegrity(f"span {first_seq} to {last_seq} of a log: unknown reason {why!r}")
    span = Span(first_seq, last_seq, why, event_seq, replacement_seq, _unpack_any(replacement_id))
    span.check()
    return span
