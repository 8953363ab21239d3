"""Makes errands of what a run asks for: with ids that are the same each time the run comes to the same place.

Above: the port of an execution. Below: the agents, which say what may be sent to them.
Holds: what is refused is refused to whoever asks, before anything is written.

Source: ADR 0035.
"""

from __future__ import annotations

from msgspec.structs import replace

from awaken.domain.checking import measured
from awaken.domain.delivery import Delivery
from awaken.domain.errors import PermanentFailure, ValidationError
from awaken.domain.ids import DispatchId, MessageId, RunId, ThreadId, checked_id, derived_id
from awaken.domain.message import Message, check_messages
from awaken.domain.outbox import MAX_HOPS, Begin, Posting
from awaken.domain.run import Intent, Origin, Run, RunMode, RunRequest, Sender, Trace
from awaken.executors.registry import Agents
from awaken.executors.sending import Outgoing
from awaken.mailbox.settings import MailboxSettings


def sending(run: Run, key: str, outgoing: Outgoing, agents: Agents, settings: MailboxSettings) -> tuple[Posting, int]:
    """A message to another agent as an errand of the run, known by the key; and its size in bytes.

    Raises:
        ValidationError: The agent is not known (UnknownAgent), or the thread's id or the message is unacceptable.
        PermanentFailure: It is larger than a result may be, or so many runs in a row were caused by messages of runs.
    """
    hops = run.request.trace.hops + 1
    if hops > MAX_HOPS:
        raise PermanentFailure(
            f"{MAX_HOPS} runs in a row were each caused by a message of the run before, and this run may send none on"
        )
    outgoing, size = measured(outgoing, Outgoing)
    if size > settings.max_result_bytes:
        raise PermanentFailure(
            f"a message to agent {outgoing.agent_id!r} has {size} bytes, and may have {settings.max_result_bytes}"
            " (max_result_bytes)"
        )
    agent_id = agents.resolve(outgoing.agent_id)
    agents.check_input(agent_id, outgoing.messages)
    if not outgoing.messages:
        raise ValidationError("at least one message is required", loc=("body", "messages"))
    messages = tuple([_named(each, run, key, index) for index, each in enumerate(outgoing.messages)])
    check_messages(messages)
    thread_id = derived_id(run.run_id, key, "thread") if outgoing.thread_id is None else outgoing.thread_id
    sender = Sender(run.agent_id, run.thread_id, run.run_id)
    begin = Begin(
        run_id=RunId(derived_id(run.run_id, key, "run")),
        dispatch_id=DispatchId(derived_id(run.run_id, key, "dispatch")),
        request=RunRequest(
            intent=Intent(agent_id),
            input_message_ids=tuple([message.id for message in messages]),
            trace=Trace(origin=Origin.INTERNAL, mode=RunMode.INTERNAL_WAKE, sender=sender, hops=hops),
        ),
        messages=messages,
        metadata=outgoing.metadata,
        delivery=Delivery(max_attempts=settings.max_attempts),
    )
    return Posting(ThreadId(checked_id(thread_id, what="thread_id")), begin), size


def _named(message: Message, run: Run, key: str, index: int) -> Message:
    """With an id, where it has none, and with the agent that sends it."""
    id = message.id or MessageId(derived_id(run.run_id, key, "message", str(index)))
    return replace(message, id=id, metadata=replace(message.metadata, sender_agent_id=run.agent_id))
