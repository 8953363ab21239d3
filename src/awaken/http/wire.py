"""What the API answers with: one type per resource, built from the records and from nothing else.

Above: the handlers; `openapi` publishes these types as they stand. Below: domain records.
Holds: instants are text, ids are plain strings, and a claim token never leaves the process.

Source: docs/reference/http.md.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import lru_cache
from typing import Any, Final, Literal

import msgspec
from msgspec.structs import replace

from awaken.domain.clock import Instant, to_rfc3339
from awaken.domain.cursor import event_cursor
from awaken.domain.dispatch import Dispatch, DispatchStatus
from awaken.domain.ids import Scope
from awaken.domain.log import EventRow
from awaken.domain.message import Block, MessageState, Role, Thinking, ToolCall, ToolStatus, Visibility
from awaken.domain.phase import Phase, phase_of
from awaken.domain.run import Adapter, Origin, Run, RunMode, RunStatus, Sender, Termination, Usage
from awaken.domain.shown import MessageVisibility
from awaken.domain.span import Span, Why
from awaken.domain.telling import told
from awaken.domain.thread import Thread, ThreadStatus
from awaken.domain.ticket import Ticket
from awaken.executors.registry import AgentInfo, Agents, AgentVersion, Skill
from awaken.http.message_wire import PendingResource, shown_pending
from awaken.http.ticket_wire import TicketResource
from awaken.http.why_wire import ExplanationResource
from awaken.mailbox.seen import SeenRun
from awaken.store.contract import RunSummary, Snapshot, StoredMessage

_rfc3339: Final = lru_cache(maxsize=4096)(to_rfc3339)
"""One answer names the same few instants again and again."""


class _Resource(msgspec.Struct, frozen=True, kw_only=True):
    pass


class ThreadResource(_Resource, frozen=True, kw_only=True):
    thread_id: str
    status: ThreadStatus
    title: str | None
    metadata: dict[str, Any]
    resource_id: str | None
    parent_thread_id: str | None
    active_run_id: str | None
    open_run_id: str | None
    latest_run_id: str | None
    message_count: int
    queued_count: int
    open_ticket_count: int
    """What its runs wait for."""
    cursor: str
    """The newest event: a stream from here misses nothing that this does not show."""
    created_at: str
    updated_at: str
    unreadable: tuple[str, ...] = ()
    """Runs and dispatches of it that are damaged, by name; its status leaves them out."""

    @classmethod
    def of(cls, scope: Scope, thread: Thread) -> ThreadResource:
        info = thread.info
        return cls(
            thread_id=thread.thread_id,
            status=thread.status,
            title=info.title,
            metadata=info.metadata,
            resource_id=info.resource_id,
            parent_thread_id=info.parent_thread_id,
            active_run_id=thread.active_run_id,
            open_run_id=thread.open_run_id,
            latest_run_id=thread.latest_run_id,
            message_count=thread.message_count,
            queued_count=thread.queued_count,
            open_ticket_count=thread.open_ticket_count,
            cursor=event_cursor(scope, thread.thread_id, thread.event_count),
            created_at=_rfc3339(thread.created_at),
            updated_at=_rfc3339(thread.updated_at),
            unreadable=thread.unreadable,
        )


class StateResource(_Resource, frozen=True, kw_only=True):
    """The state of a thread and what somebody who shows the thread needs beside it, all of one moment."""

    values: dict[str, Any]
    version: int
    tickets: tuple[TicketResource, ...]
    """What its runs wait for, at most 200."""
    pending: tuple[PendingResource, ...]
    """What waits for one of its runs, in order."""
    next: tuple[str, ...]
    """The runs that are open or queued, in the order in which they go on."""
    cursor: str


def shown_state(scope: Scope, snapshot: Snapshot) -> StateResource:
    thread = snapshot.thread
    following = ([] if thread.open_run_id is None else [thread.open_run_id]) + [*snapshot.queue]
    return StateResource(
        values=snapshot.state.values,
        version=snapshot.state.version,
        tickets=tuple([TicketResource.of(ticket) for ticket in snapshot.tickets]),
        pending=shown_pending(thread.thread_id, snapshot.pending),
        next=tuple(dict.fromkeys(following)),
        cursor=event_cursor(scope, thread.thread_id, thread.event_count),
    )


class HiddenResource(_Resource, frozen=True, kw_only=True):
    """A range of messages, by their seqs, both ends included."""

    first_seq: int
    last_seq: int
    why: Why


class HidingResource(_Resource, frozen=True, kw_only=True):
    """What was hidden, in order; nothing where the message was not read already."""

    spans: tuple[HiddenResource, ...]


def shown_hiding(spans: Iterable[Span]) -> HidingResource:
    ranges = [HiddenResource(first_seq=span.first_seq, last_seq=span.last_seq, why=span.why) for span in spans]
    return HidingResource(spans=tuple(ranges))


class MessageResource(_Resource, frozen=True, kw_only=True):
    message_id: str
    thread_id: str
    seq: int
    role: Role
    content: tuple[Block, ...]
    tool_calls: tuple[ToolCall, ...]
    tool_call_id: str | None
    tool_status: ToolStatus | None
    run_id: str | None
    step_index: int | None
    visibility: Visibility
    state: MessageState
    created_at: str

    @classmethod
    def of(cls, thread_id: str, stored: StoredMessage) -> MessageResource:
        message = stored.message
        return cls(
            message_id=message.id,
            thread_id=thread_id,
            seq=stored.seq or 0,
            role=message.role,
            content=tuple([_shown(block) for block in message.content]),
            tool_calls=message.tool_calls,
            tool_call_id=message.tool_call_id,
            tool_status=message.tool_status,
            run_id=stored.run_id,
            step_index=message.metadata.step_index,
            visibility=message.visibility,
            state=message.state,
            created_at=_rfc3339(stored.created_at),
        )


VISIBILITIES: Final[dict[MessageVisibility, Visibility | None]] = {
    "external": Visibility.ALL,
    "internal": Visibility.INTERNAL,
    "all": None,
}
"""What a caller asks for, as it is stored; None is both."""


def _shown(block: Block) -> Block:
    """A reasoning signature is for the provider that made it, not for readers."""
    return Thinking(block.text) if isinstance(block, Thinking) else block


class RunInput(_Resource, frozen=True, kw_only=True):
    """The messages it was given; the seqs are known once they are part of the conversation."""

    from_seq: int | None
    to_seq: int | None
    trigger_message_ids: tuple[str, ...]
    messages: tuple[MessageResource, ...] = ()
    """Those that no run has taken yet, in full, at most a page. Only where one run is read, before it begins."""


class RunWaiting(_Resource, frozen=True, kw_only=True):
    reason: str
    message: str | None
    since: str | None = None
    ticket_ids: tuple[str, ...] = ()
    """What it waits for and is still open."""
    tickets: tuple[TicketResource, ...] = ()
    """The same in full. Only where one run is read or waited for."""


class RunError(_Resource, frozen=True, kw_only=True):
    """Why it failed, or, while it is tried again, why the last attempt did."""

    code: str
    message: str
    retryable: bool


class LastEventResource(_Resource, frozen=True, kw_only=True):
    """The newest event of a run. `summary`: what it says, on one line."""

    kind: str
    summary: str
    created_at: str
    cursor: str

    @classmethod
    def of(cls, row: EventRow) -> LastEventResource:
        """Of a row with that one event."""
        event = row.events[-1]
        return cls(
            kind=event.kind,
            summary=told(event),
            created_at=_rfc3339(row.created_at),
            cursor=event_cursor(row.scope, row.thread_id, row.last_seq),
        )


class RunResource(_Resource, frozen=True, kw_only=True):
    run_id: str
    thread_id: str
    agent_id: str
    agent_version: str | None
    """The version of the agent that it began with, and stays with; null where that has none."""
    parent_run_id: str | None
    retry_of_run_id: str | None
    status: RunStatus
    phase: Phase
    termination: Termination | None
    waiting: RunWaiting | None
    attempt: int | None
    """1 for the first; starts again after progress. Null once its dispatch has been purged."""
    max_attempts: int | None
    available_at: str | None
    queue_position: int | None = None
    """1 is next. Only where one run is read, and while it is queued."""
    input: RunInput
    output: Any
    """What it came to: a text, or what a structured agent returned."""
    final_output: str | None
    """The same as text; a structured output as JSON."""
    usage: Usage
    usage_by_model: dict[str, Usage]
    steps: int
    error: RunError | None
    metadata: dict[str, Any]
    dedupe_key: str | None
    origin: Origin
    adapter: Adapter
    mode: RunMode
    sender: Sender | None
    hops: int
    dispatch_id: str
    cancel_requested_at: str | None
    created_at: str
    started_at: str | None
    finished_at: str | None
    updated_at: str
    cursor: str
    """The event with which it took this form: a stream from here misses nothing that this does not show."""
    last_event: LastEventResource | None = None
    """Only where it is asked for, as the next two are."""
    last_sign_of_life: str | None = None
    """Of a run that is executed: when its last event came, or its lease was renewed. With `last_event`."""
    why: ExplanationResource | None = None
    unreadable: tuple[str, ...] = ()
    """What of it is damaged, by name: the messages with its output, its dispatch. The rest is shown."""

    def beside(self, seen: SeenRun) -> RunResource:
        """With what was asked for beside it."""
        alive_at = None if seen.last is None else seen.alive_at
        return replace(
            self,
            last_event=None if seen.last is None else LastEventResource.of(seen.last),
            last_sign_of_life=_instant(alive_at),
            why=None if seen.why is None else ExplanationResource.of(seen.why),
        )

    @classmethod
    def of(
        cls,
        scope: Scope,
        run: Run,
        dispatch: Dispatch | None,
        *,
        queue_position: int | None = None,
        agents: Agents | None = None,
        reads_dispatch: bool = False,
        tickets: Sequence[Ticket] = (),
        given: Sequence[StoredMessage] = (),
    ) -> RunResource:
        """`agents`: those of this process, so that a run that waits for one that is not here says so. It names
        its dispatch as lost where that was looked for (`reads_dispatch`) and is not there.
        """
        trace = run.request.trace
        no_agent = None if agents is None else _no_agent(run, dispatch, agents)
        return cls(
            run_id=run.run_id,
            thread_id=run.thread_id,
            agent_id=run.agent_id,
            agent_version=run.agent_version,
            parent_run_id=trace.parent_run_id,
            retry_of_run_id=None if run.request.reference is None else run.request.reference.retry_of_run_id,
            status=run.status,
            phase="queued" if no_agent is not None else phase_of(run, dispatch),
            termination=run.termination,
            waiting=no_agent or _waiting(run, tickets),
            attempt=None if dispatch is None else min(dispatch.attempt_count + 1, dispatch.max_attempts),
            max_attempts=None if dispatch is None else dispatch.max_attempts,
            available_at=None if dispatch is None else _rfc3339(dispatch.available_at),
            queue_position=queue_position,
            input=_input(run, given),
            output=run.output,
            final_output=run.final_output,
            usage=run.usage,
            usage_by_model=run.usage_by_model,
            steps=run.steps,
            error=_error(run, dispatch),
            metadata=run.metadata,
            dedupe_key=run.dedupe_key,
            origin=trace.origin,
            adapter=trace.adapter,
            mode=trace.mode,
            sender=trace.sender,
            hops=trace.hops,
            dispatch_id=run.dispatch_id,
            cancel_requested_at=_instant(run.cancel_requested_at),
            created_at=_rfc3339(run.created_at),
            started_at=_instant(run.started_at),
            finished_at=_instant(run.finished_at),
            updated_at=_rfc3339(run.updated_at),
            cursor=event_cursor(scope, run.thread_id, run.updated_seq),
            unreadable=run.unreadable if dispatch is not None or not reads_dispatch else (*run.unreadable, _lost(run)),
        )


def _lost(run: Run) -> str:
    return f"dispatch {run.dispatch_id!r} of run {run.run_id!r}"


def _no_agent(run: Run, dispatch: Dispatch | None, agents: Agents) -> RunWaiting | None:
    """Why a run that is queued cannot run here; None where it can."""
    if dispatch is None or dispatch.status is not DispatchStatus.QUEUED or agents.serves(run.route):
        return None
    if agents.is_paused(run.route):
        return RunWaiting(
            reason="agent_paused", message=f"agent {run.route!r} is paused here; the run goes on when it is resumed"
        )
    lacks = "is not registered here; the run starts when it is"
    if agents.why_not_loadable(run.route) is not None:
        lacks = "cannot be loaded here, for a reason that is in the log; the run starts when it can"
    return RunWaiting(reason="no_agent", message=f"agent {run.route!r} {lacks}")


def _waiting(run: Run, tickets: Sequence[Ticket]) -> RunWaiting | None:
    """What it waits for; not while it is queued to go on."""
    if not run.is_parked or run.waiting is None:
        return None
    waiting = run.waiting
    return RunWaiting(
        reason=waiting.reason,
        message=waiting.message,
        since=_rfc3339(waiting.since),
        ticket_ids=waiting.tickets,
        tickets=tuple([TicketResource.of(ticket) for ticket in tickets]),
    )


def _input(run: Run, given: Sequence[StoredMessage]) -> RunInput:
    span = run.input
    return RunInput(
        from_seq=None if span is None else span.from_seq,
        to_seq=None if span is None else span.to_seq,
        trigger_message_ids=run.request.input_message_ids,
        messages=tuple([MessageResource.of(run.thread_id, stored) for stored in given]),
    )


def _error(run: Run, dispatch: Dispatch | None) -> RunError | None:
    ended = run.termination
    if ended is not None and ended.type == "error":
        return RunError(code=ended.code or "run_failed", message=ended.detail or "the run failed", retryable=False)
    if dispatch is not None and dispatch.attempt_count and not dispatch.status.is_terminal:
        return RunError(code="attempt_failed", message=dispatch.last_error or "the attempt failed", retryable=True)
    return None


class DispatchResource(_Resource, frozen=True, kw_only=True):
    dispatch_id: str
    thread_id: str
    run_id: str
    route: str
    """Who can run it."""
    status: DispatchStatus
    why: str
    """Why it is in the queue, or was when it was claimed: start, input, retry, takeover, handover."""
    priority: int
    position: int
    epoch: int
    attempt_count: int
    max_attempts: int
    crash_count: int
    """Deaths of its process since its run last made progress."""
    suspect: bool
    """It crashed so often that it is executed apart from other suspects."""
    last_error: str | None
    claimed_by: str | None
    instance_id: str | None
    lease_until: str | None
    lease_remaining_s: float | None
    stale: bool
    """Claimed, and its lease has ended: it is about to be taken back."""
    lag_s: float | None
    """How long it has been due, while it is queued."""
    available_at: str
    created_at: str
    updated_at: str
    completed_at: str | None
    run: RunResource | None = None
    """Where one dispatch is read."""

    @classmethod
    def of(cls, dispatch: Dispatch, now: Instant, run: RunResource | None = None) -> DispatchResource:
        left_ms = None if dispatch.lease_until is None else dispatch.lease_until - now
        queued = dispatch.status is DispatchStatus.QUEUED
        return cls(
            dispatch_id=dispatch.dispatch_id,
            thread_id=dispatch.thread_id,
            run_id=dispatch.run_id,
            route=dispatch.route,
            status=dispatch.status,
            why=dispatch.why,
            priority=dispatch.priority,
            position=dispatch.position,
            epoch=dispatch.epoch,
            attempt_count=dispatch.attempt_count,
            max_attempts=dispatch.max_attempts,
            crash_count=dispatch.crash_count,
            suspect=dispatch.is_suspect,
            last_error=dispatch.last_error,
            claimed_by=dispatch.claimed_by,
            instance_id=dispatch.instance_id,
            lease_until=_instant(dispatch.lease_until),
            lease_remaining_s=None if left_ms is None else max(left_ms, 0) / 1000,
            stale=left_ms is not None and left_ms < 0,
            lag_s=max(now - dispatch.available_at, 0) / 1000 if queued else None,
            available_at=_rfc3339(dispatch.available_at),
            created_at=_rfc3339(dispatch.created_at),
            updated_at=_rfc3339(dispatch.updated_at),
            completed_at=_instant(dispatch.completed_at),
            run=run,
        )


class EventResource(_Resource, frozen=True, kw_only=True):
    """One entry of a thread's log. Its encoding is `encoder`'s; this type only describes it."""

    cursor: str
    kind: str
    thread_id: str
    run_id: str | None
    dispatch_id: str | None
    visibility: Literal["all"]
    created_at: str
    payload: dict[str, Any]


class AgentCapabilities(_Resource, frozen=True, kw_only=True):
    """What its kind can do. `steering`: take messages while it runs. `decisions`: wait for somebody. `client_tools`:
    call tools of whoever asks for the run.
    """

    streaming: bool
    steering: bool = False
    decisions: bool = False
    client_tools: bool = False
    attachments: tuple[str, ...] = ()


class AgentVersionResource(_Resource, frozen=True, kw_only=True):
    """A version of an agent. `version` null: the agent of that name that has none."""

    version: str | None
    paused: bool
    not_loadable: str | None

    @classmethod
    def of(cls, version: AgentVersion) -> AgentVersionResource:
        return cls(version=version.version, paused=version.paused, not_loadable=version.not_loadable)


class AgentResource(_Resource, frozen=True, kw_only=True):
    agent_id: str
    name: str
    description: str
    kind: str
    capabilities: AgentCapabilities
    title: str | None
    """Its name for people."""
    input_schema: dict[str, Any] | None
    """What its input has to be: a `json` block of that, or a text where that is a text. Null: any."""
    output_schema: dict[str, Any] | None
    skills: tuple[Skill, ...]
    paused: bool
    """Its runs wait in this process until somebody resumes it."""
    not_loadable: str | None
    """Why this process cannot execute it, where loading it failed; its runs wait until it is made known again."""
    version: str | None
    """Which version this describes: the newest, unless another was asked for as `name@version`. Null: it has none."""
    versions: tuple[AgentVersionResource, ...]
    """All that this process has, in the order in which they were made known; the last is the newest."""
    fallback: Literal["latest"] | None
    """Whether its newest version executes older ones too, where this process does not have them."""

    @classmethod
    def of(cls, info: AgentInfo) -> AgentResource:
        return cls(
            agent_id=info.agent_id,
            name=info.agent_id,
            description=info.description,
            kind=info.kind,
            capabilities=AgentCapabilities(
                streaming="streaming" in info.capabilities,
                steering="steering" in info.capabilities,
                decisions="decisions" in info.capabilities,
                client_tools="client_tools" in info.capabilities,
            ),
            title=info.title,
            input_schema=info.input_schema,
            output_schema=info.output_schema,
            skills=info.skills,
            paused=info.paused,
            not_loadable=info.not_loadable,
            version=info.version,
            versions=tuple([AgentVersionResource.of(each) for each in info.versions]),
            fallback=info.fallback,
        )


class ThreadList(_Resource, frozen=True, kw_only=True):
    """A filter that no index serves may make a page shorter than asked for, and not the last."""

    items: tuple[ThreadResource, ...]
    has_more: bool
    next_cursor: str | None
    unreadable: tuple[str, ...] = ()
    """Threads that are damaged, by name; they are left out."""


class RunList(_Resource, frozen=True, kw_only=True):
    """As a `ThreadList`."""

    items: tuple[RunResource, ...]
    has_more: bool
    next_cursor: str | None
    unreadable: tuple[str, ...] = ()


class MessageList(_Resource, frozen=True, kw_only=True):
    items: tuple[MessageResource, ...]
    has_more: bool
    next_cursor: str | None
    version: int
    """How many messages the conversation has."""
    unreadable: tuple[str, ...] = ()
    """As in a `ThreadList`."""


class DispatchList(_Resource, frozen=True, kw_only=True):
    items: tuple[DispatchResource, ...]
    has_more: bool
    next_cursor: str | None
    unreadable: tuple[str, ...] = ()


class EventList(_Resource, frozen=True, kw_only=True):
    """`next_cursor` is where the next page, or a stream, goes on; it is there on the last page too."""

    items: tuple[EventResource, ...]
    has_more: bool
    next_cursor: str
    unreadable: tuple[str, ...] = ()


class AgentList(_Resource, frozen=True, kw_only=True):
    items: tuple[AgentResource, ...]
    has_more: bool
    next_cursor: str | None


class RunResult(_Resource, frozen=True, kw_only=True):
    """A run that has ended, or waits for somebody. `messages` are those it produced, in order; `unreadable` names those
    that are damaged.
    """

    run: RunResource
    output: Any
    messages: tuple[MessageResource, ...]
    unreadable: tuple[str, ...] = ()


StopState = Literal["requested", "acknowledged", "stopped"]


class BatchItem(_Resource, frozen=True, kw_only=True):
    """A run that was accepted, or why it was not."""

    run: RunResource | None
    problem: dict[str, Any] | None


class BatchResource(_Resource, frozen=True, kw_only=True):
    items: tuple[BatchItem, ...]


class CancelledResource(_Resource, frozen=True, kw_only=True):
    """`state`: `requested`, `acknowledged`, `stopped`; `ended` for one that had ended otherwise, or `not_found`."""

    run_id: str
    state: str


class CancelledRuns(_Resource, frozen=True, kw_only=True):
    items: tuple[CancelledResource, ...]


class PhaseResource(_Resource, frozen=True, kw_only=True):
    agent_id: str
    phase: Phase
    count: int


class SummaryResource(_Resource, frozen=True, kw_only=True):
    """The runs that are not done; exact below 10 000 of a status."""

    counts: tuple[PhaseResource, ...]
    oldest_queued_s: float | None
    """How long the run that is due longest waits for its turn; null when none is due."""

    @classmethod
    def of(cls, summary: RunSummary, now: Instant) -> SummaryResource:
        due_at = summary.oldest_due_at
        counts = [PhaseResource(agent_id=each.agent_id, phase=each.phase, count=each.count) for each in summary.counts]
        return cls(counts=tuple(counts), oldest_queued_s=None if due_at is None else max(now - due_at, 0) / 1000)


class CancelResource(_Resource, frozen=True, kw_only=True):
    state: StopState
    run: RunResource | None


class InterruptResource(_Resource, frozen=True, kw_only=True):
    epoch: int
    active_run_id: str | None
    superseded: tuple[str, ...]
    cancel: StopState


class Live(_Resource, frozen=True, kw_only=True):
    status: Literal["ok"] = "ok"


class Component(_Resource, frozen=True, kw_only=True):
    state: str
    detail: str | None = None


class DrainingResource(_Resource, frozen=True, kw_only=True):
    """`executing`: how many runs the process executes or settles, or may be claiming at this moment."""

    drained: bool
    executing: int


class RecoveryResource(_Resource, frozen=True, kw_only=True):
    phase: Literal["opening", "waiting", "taking_over", "auditing", "done"]
    done: float


class HealthResource(_Resource, frozen=True, kw_only=True):
    status: Literal["ready", "starting", "stopping", "unavailable"]
    durability: str
    store: str
    components: dict[str, Component]
    recovery: RecoveryResource
    executing: int
    free_slots: int
    streams: int
    checked_at: str


class ProblemDocument(_Resource, frozen=True, kw_only=True, omit_defaults=True):
    """RFC 9457. Some codes carry more members; `urn:awaken:problem:<code>` names the type."""

    type: str
    title: str
    status: int
    detail: str
    code: str
    message: str
    request_id: str
    retryable: bool
    errors: tuple[FieldProblem, ...] = ()


class FieldProblem(_Resource, frozen=True, kw_only=True):
    loc: tuple[str | int, ...]
    msg: str
    type: str


def _instant(instant: Instant | None) -> str | None:
    return None if instant is None else _rfc3339(instant)
