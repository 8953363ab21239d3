"""Between records and rows: the values of each insert and update, and records from the rows of each select.

Above: `facts`, `writing` and `reading`. Below: `domain.record` for the JSON parts.
Holds: a row that breaks a promise of its record is a `DataIntegrity` naming it; nothing is repaired here. The order of
values and columns is that of `queries.sql`.
"""

from __future__ import annotations

from typing import Any, Final

from awaken.domain.clock import Instant
from awaken.domain.dispatch import Dispatch, DispatchStatus
from awaken.domain.errors import DataIntegrity
from awaken.domain.ids import RunId, Scope, ThreadId
from awaken.domain.log import Appended, EventRow
from awaken.domain.message import Visibility
from awaken.domain.record import (
    CURRENT,
    check_version,
    decode_events,
    decode_journal_value,
    decode_message,
    decode_run_request,
    decode_run_state,
    decode_thread_info,
    encode_message,
    encode_run_request,
    encode_run_state,
    encode_thread_info,
)
from awaken.domain.run import Run, RunStatus
from awaken.domain.thread import ThreadInfo
from awaken.store.contract import StoredMessage
from awaken.store.rules import MessageWrite, ThreadRow
from awaken.store.transitions import JournalEntry

Row = tuple[Any, ...]

# An enum's `.value` is a descriptor call; these run for every row written.
DISPATCH_TEXT: Final = {status: str(status.value) for status in DispatchStatus}
RUN_TEXT: Final = {status: str(status.value) for status in RunStatus}
VISIBILITY_TEXT: Final = {visibility: str(visibility.value) for visibility in Visibility}
_DISPATCH_STATUS: Final = {text: status for status, text in DISPATCH_TEXT.items()}
_RUN_STATUS: Final = {text: status for status, text in RUN_TEXT.items()}

_THREAD_V: Final = CURRENT["thread"]
_MESSAGE_V: Final = CURRENT["message"]
_REQUEST_V: Final = CURRENT["run_request"]
_STATE_V: Final = CURRENT["run_state"]
_DISPATCH_V: Final = CURRENT["dispatch"]
_EVENTS_V: Final = CURRENT["events"]
_JOURNAL_V: Final = CURRENT["journal"]
_NO_INFO: Final = ThreadInfo()


# --- writing ----------------------------------------------------------------------------------------------------------


def new_thread_values(thread: ThreadRow) -> Row:
    return (
        thread.scope,
        thread.thread_id,
        thread.epoch,
        thread.message_seq,
        thread.event_seq,
        thread.position,
        thread.queued,
        thread.ready_priority,
        thread.ready_at,
        thread.open_turn,
        thread.latest_run_id,
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
        thread.ready_priority,
        thread.ready_at,
        thread.open_turn,
        thread.latest_run_id,
        thread.updated_at,
        thread.scope,
        thread.thread_id,
    )


def thread_info_values(thread: ThreadRow) -> Row:
    return _info_text(thread.info), _THREAD_V, thread.scope, thread.thread_id


def _info_text(info: ThreadInfo) -> str | None:
    return None if info == _NO_INFO else encode_thread_info(info).decode()


def new_message_values(write: MessageWrite) -> Row:
    message = write.message
    return (
        write.scope,
        write.thread_id,
        message.id,
        write.seq,
        write.run_id,
        VISIBILITY_TEXT[message.visibility],
        write.created_at,
        _MESSAGE_V,
        encode_message(message),
    )


def new_run_values(scope: Scope, run: Run) -> Row:
    return (
        scope,
        run.run_id,
        run.thread_id,
        run.agent_id,
        run.dispatch_id,
        RUN_TEXT[run.status],
        run.created_at,
        run.updated_at,
        run.first_event_seq,
        run.updated_seq,
        run.cancel_requested_at,
        _REQUEST_V,
        encode_run_request(run),
        _STATE_V,
        encode_run_state(run),
    )


def run_values(scope: Scope, run: Run) -> Row:
    return (
        RUN_TEXT[run.status],
        run.updated_at,
        run.updated_seq,
        run.cancel_requested_at,
        _STATE_V,
        encode_run_state(run),
        scope,
        run.run_id,
    )


def new_dispatch_values(scope: Scope, dispatch: Dispatch) -> Row:
    return (
        scope,
        dispatch.dispatch_id,
        dispatch.thread_id,
        dispatch.run_id,
        DISPATCH_TEXT[dispatch.status],
        dispatch.priority,
        dispatch.position,
        dispatch.epoch,
        dispatch.available_at,
        dispatch.created_at,
        dispatch.updated_at,
        dispatch.max_attempts,
        dispatch.attempt_count,
        dispatch.dedupe_key,
        dispatch.last_error,
        dispatch.claim_token,
        dispatch.claimed_by,
        dispatch.lease_until,
        dispatch.instance_id,
        dispatch.completed_at,
        _DISPATCH_V,
    )


def dispatch_values(scope: Scope, before: Dispatch, after: Dispatch) -> Row:
    """The new state, then the guard: the state it was decided from."""
    return (
        DISPATCH_TEXT[after.status],
        after.available_at,
        after.updated_at,
        after.attempt_count,
        after.last_error,
        after.claim_token,
        after.claimed_by,
        after.lease_until,
        after.instance_id,
        after.completed_at,
        scope,
        after.dispatch_id,
        DISPATCH_TEXT[before.status],
        before.claim_token,
    )


def new_events_values(row: Appended) -> Row:
    return row.scope, row.thread_id, row.first_seq, row.count, row.run_id, row.created_at, _EVENTS_V, row.body


def journal_values(scope: Scope, run_id: RunId, entry: JournalEntry, now: Instant) -> Row:
    return scope, run_id, entry.key, now, _JOURNAL_V, bytes(entry.value)


# --- reading ----------------------------------------------------------------------------------------------------------


def thread_from(row: Row) -> ThreadRow:
    scope, thread_id, epoch, message_seq, event_seq, position, queued, ready_priority, ready_at = row[:9]
    open_turn, latest_run_id, created_at, updated_at, version, info = row[9:]
    name = f"thread {thread_id!r}"
    check_version("thread", version, name)
    if min(epoch, message_seq, event_seq, position, queued) < 0 or (ready_priority is None) != (ready_at is None):
        raise DataIntegrity(f"{name}: its counters contradict each other")
    return ThreadRow(
        scope=scope,
        thread_id=thread_id,
        info=_NO_INFO if info is None else decode_thread_info(info.encode(), version, name),
        created_at=created_at,
        updated_at=updated_at,
        epoch=epoch,
        message_seq=message_seq,
        event_seq=event_seq,
        position=position,
        queued=queued,
        ready_priority=ready_priority,
        ready_at=ready_at,
        open_turn=open_turn,
        latest_run_id=latest_run_id,
    )


def message_from(row: Row) -> StoredMessage:
    message_id, seq, run_id, created_at, version, body = row
    name = f"message {message_id!r}"
    message = decode_message(body, version, name)
    if message.id != message_id or not message_id.strip() or (seq is not None and seq < 1):
        raise DataIntegrity(f"{name}: its id or its place in the log is not what it should be")
    return StoredMessage(message, seq, run_id, created_at)


def run_from(row: Row) -> Run:
    run_id, thread_id, agent_id, dispatch_id, status_text, created_at, updated_at, first_event_seq = row[:8]
    updated_seq, cancel_requested_at, request_version, request, state_version, state_data = row[8:]
    name = f"run {run_id!r}"
    status = _RUN_STATUS.get(status_text)
    if status is None:
        raise DataIntegrity(f"{name}: unknown status {status_text!r}")
    asked = decode_run_request(request, request_version, name)
    state = decode_run_state(state_data, state_version, name)
    run = Run(
        run_id=run_id,
        thread_id=thread_id,
        agent_id=agent_id,
        dispatch_id=dispatch_id,
        status=status,
        request=asked.request,
        request_digest=asked.digest,
        metadata=asked.metadata,
        created_at=created_at,
        updated_at=updated_at,
        first_event_seq=first_event_seq,
        updated_seq=updated_seq,
        started_at=state.started_at,
        finished_at=state.finished_at,
        input=state.input,
        termination=state.termination,
        final_output=state.final_output,
        waiting=state.waiting,
        steps=state.steps,
        usage=state.usage,
        closed_turn=state.closed_turn,
        stream_open=state.stream_open,
        cancel_requested_at=cancel_requested_at,
    )
    run.check()
    return run


def dispatch_from(row: Row) -> Dispatch:
    dispatch_id, thread_id, run_id, status_text, priority, position, epoch, available_at, created_at = row[:9]
    updated_at, max_attempts, attempt_count, dedupe_key, last_error, claim_token, claimed_by = row[9:16]
    lease_until, instance_id, completed_at, version = row[16:20]
    name = f"dispatch {dispatch_id!r}"
    check_version("dispatch", version, name)
    status = _DISPATCH_STATUS.get(status_text)
    if status is None:
        raise DataIntegrity(f"{name}: unknown status {status_text!r}")
    dispatch = Dispatch(
        dispatch_id=dispatch_id,
        thread_id=thread_id,
        run_id=run_id,
        status=status,
        priority=priority,
        position=position,
        epoch=epoch,
        available_at=available_at,
        created_at=created_at,
        updated_at=updated_at,
        max_attempts=max_attempts,
        attempt_count=attempt_count,
        dedupe_key=dedupe_key,
        last_error=last_error,
        claim_token=claim_token,
        claimed_by=claimed_by,
        lease_until=lease_until,
        instance_id=instance_id,
        completed_at=completed_at,
    )
    dispatch.check()
    return dispatch


def status_from(text: str) -> DispatchStatus:
    status = _DISPATCH_STATUS.get(text)
    if status is None:
        raise DataIntegrity(f"a dispatch has the unknown status {text!r}")
    return status


def events_from(scope: Scope, thread_id: ThreadId, row: Row) -> EventRow:
    first_seq, count, run_id, created_at, version, body = row
    name = f"events from {first_seq} of thread {thread_id!r}"
    events = decode_events(body, version, name)
    if len(events) != count or not events or first_seq < 1:
        raise DataIntegrity(f"{name}: {len(events)} events where {count} were written")
    return EventRow(scope, thread_id, run_id, first_seq, created_at, events)


def journal_from(row: Row) -> JournalEntry:
    key, version, value = row
    return JournalEntry(key, decode_journal_value(value, version, f"journal entry {key!r}"))
