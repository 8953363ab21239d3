"""Makes errands of what a run asks for: with ids that are the same each time the run comes to the same place.

Above: the port of an execution. Below: the agents, which say what may be sent to them.
Holds: what is refused is refused to whoever asks, before anything is written.

Source: ADR 0035.
"""

from __future__ import annotations

from msgspec.structs import replace

from awaken.domain.checking import measured
from awaken.domain.child import MAX_DEPTH, ChildTicket
from awaken.domain.delivery import Delivery
from awaken.domain.errors import PermanentFailure, ValidationError
from awaken.domain.ids import DispatchId, MessageId, RunId, ThreadId, checked_id, derived_id
from awaken.domain.message import Message, check_messages
from awaken.domain.outbox import MAX_HOPS, Begin, Posting
from awaken.domain.run import ChildOf, Intent, Origin, Run, RunMode, RunRequest, Sender, Trace
from awaken.domain.thread import ThreadInfo
from awaken.domain.ticket import TicketRequest, ticket_id
from awaken.domain.traceparent import current_traceparent
from awaken.executors.children import Starting, request_of
from awaken.executors.registry import Agents
from awaken.executors.sending import Outgoing
from awaken.mailbox.settings import MailboxSettings


def sending(run: Run, key: str, outgoing: Outgoing, agents: Agents, settings: MailboxSettings) -> tuple[Posting, int]:
    """A message to another agent as an errand of the run, known by the key; and its size in bytes.

    Raises:
        ValidationError: The agent is not known (UnknownAgent), or the thread's id or the message is unacceptable.
        PermanentFailure: It is larger than a result may be, or so many runs in a row were caused by messages of runs.
    """
    hops = _hops(run) + 1
    sender = Sender(run.agent_id, run.thread_id, run.run_id)
    trace = Trace(
        origin=Origin.INTERNAL,
        mode=RunMode.INTERNAL_WAKE,
        sender=sender,
        hops=hops,
        depth=run.request.trace.depth,
        traceparent=_traceparent(run),
    )
    return _beginning(run, key, outgoing, trace, None, agents, settings)


def starting(
    run: Run, asked: Starting, agents: Agents, settings: MailboxSettings
) -> tuple[TicketRequest, Posting, int]:
    """A child of the run: its ticket, the errand that begins it, and the size of that.

    Raises:
        ValidationError: The agent is not known (UnknownAgent), or the input is unacceptable.
        PermanentFailure: It is larger than a result may be, or too many runs are above this one.
    """
    hops, depth = _hops(run) + 1, run.request.trace.depth + 1
    if depth > MAX_DEPTH:
        raise PermanentFailure(
            f"{MAX_DEPTH} runs in a row were started because of the run before, and this one may start no other"
        )
    child = ChildOf(
        ticket_id=ticket_id(run.run_id, asked.key),
        agent_id=run.agent_id,
        name=asked.name,
        tool_call_id=asked.tool_call_id,
    )
    trace = Trace(
        origin=Origin.SUBAGENT,
        mode=RunMode.SCHEDULED,
        parent_run_id=run.run_id,
        parent_thread_id=run.thread_id,
        sender=Sender(run.agent_id, run.thread_id, run.run_id),
        hops=hops,
        depth=depth,
        child=child,
        traceparent=_traceparent(run),
    )
    info = ThreadInfo(parent_thread_id=run.thread_id)
    posting, size = _beginning(run, asked.key, asked.outgoing, trace, info, agents, settings)
    assert isinstance(posting.errand, Begin), "a child begins"
    begin = posting.errand
    about = ChildTicket(
        run_id=begin.run_id,
        thread_id=posting.thread_id,
        agent_id=begin.request.intent.agent_id,
        detached=asked.detached,
    )
    return request_of(asked, about), posting, size


def _beginning(
    run: Run,
    key: str,
    outgoing: Outgoing,
    trace: Trace,
    info: ThreadInfo | None,
    agents: Agents,
    settings: MailboxSettings,
) -> tuple[Posting, int]:
    """A run of another agent, with ids that follow from the run and the key."""
    outgoing, size = measured(outgoing, Outgoing)
    if size > settings.max_result_bytes:
        raise PermanentFailure(
            f"a message to agent {outgoing.agent_id!r} has {size} bytes, and may have {settings.max_result_bytes}"
            " (max_result_bytes)"
        )
    meant = agents.resolve(outgoing.agent_id)
    agents.check_input(meant.route, outgoing.messages)
    if not outgoing.messages:
        raise ValidationError("at least one message is required", loc=("body", "messages"))
    messages = tuple([_named(each, run, key, index) for index, each in enumerate(outgoing.messages)])
    check_messages(messages)
    thread_id = derived_id(run.run_id, key, "thread") if outgoing.thread_id is None else outgoing.thread_id
    begin = Begin(
        run_id=RunId(derived_id(run.run_id, key, "run")),
        dispatch_id=DispatchId(derived_id(run.run_id, key, "dispatch")),
        request=RunRequest(
            intent=Intent(meant.agent_id, version=meant.version),
            input_message_ids=tuple([message.id for message in messages]),
            trace=trace,
        ),
        messages=messages,
        metadata=outgoing.metadata,
        delivery=Delivery(max_attempts=settings.max_attempts),
        info=info,
    )
    return Posting(ThreadId(checked_id(thread_id, what="thread_id")), begin), size


def _hops(run: Run) -> int:
    """How many there were before the run. Raises PermanentFailure where it may cause no other."""
    hops = run.request.trace.hops
    if hops >= MAX_HOPS:
        raise PermanentFailure(
            f"{MAX_HOPS} runs in a row were each caused by the run before, and this one may cause no other"
        )
    return hops


def _traceparent(run: Run) -> str | None:
    """The span in which the run asks, or else that from which it is itself linked."""
    return current_traceparent() or run.request.trace.traceparent


def _named(message: Message, run: Run, key: str, index: int) -> Message:
    """With an id, where it has none, and with the agent that sends it."""
    id = message.id or MessageId(derived_id(run.run_id, key, "message", str(index)))
    return replace(message, id=id, metadata=replace(message.metadata, sender_agent_id=run.agent_id))
