"""The boundary between the mailbox and whatever runs an agent.

Above: the mailbox computes the `Entry`, implements `RunPort`, and turns the driver's return or exception into a
settlement. Below: one driver per framework; a driver touches no store, lease, retry or run record.
Holds: stopping a run is cancelling its task. What a port method made durable is never asked for again. Every driver
publishes the same events in the same order: `StepStarted`, deltas, the message under the id of its deltas, what the
message's calls lead to, `StepEnded`.

Source: ADR 0015 (interface), `docs/concepts/executors.md` (commit points C1 to C3), `docs/reference/events.md`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Protocol

import msgspec

from awaken.domain.child import ChildTicket
from awaken.domain.event import Event
from awaken.domain.ids import AgentId, DispatchId, InstanceId, MessageId, RunId, Scope, ThreadId
from awaken.domain.message import Message
from awaken.domain.run import NATURAL_END, RunRequest, Termination, Usage, WaitMode
from awaken.domain.state import ThreadState, Values
from awaken.domain.ticket import Ticket, TicketRequest
from awaken.executors.sending import Outgoing, Sent

if TYPE_CHECKING:
    from awaken.executors.children import Starting


class RunIdentity(msgspec.Struct, frozen=True, kw_only=True):
    """What is running, and for whom. `instance_id` is new with every execution; frameworks that want that get it."""

    scope: Scope
    thread_id: ThreadId
    run_id: RunId
    agent_id: AgentId
    dispatch_id: DispatchId
    instance_id: InstanceId
    metadata: dict[str, Any] = {}
    """What was submitted with the run."""
    resource_id: str | None = None
    """Whom the thread belongs to."""
    caller: str | None = None
    """Who asked, as the server's `authorize` names them."""
    agent_version: str | None = None
    """The version that the run began with. Another one may execute it, see `fallback` of an agent."""


class Conversation(msgspec.Struct, frozen=True, kw_only=True):
    """The committed log as an execution needs it.

    `history` ends before the turn to re-enter, if there is one, and never holds an unanswered tool call.
    """

    history: tuple[Message, ...]
    reenter: Message | None = None
    """A committed assistant turn to continue instead of asking the model again."""
    answers: tuple[Message, ...] = ()
    """The tool messages already committed for that turn."""
    arrived: tuple[Message, ...] = ()
    """What came to the run behind that turn: the model reads it with the answers."""
    usage: Usage = Usage()
    """Totals, those of that turn included."""
    steps: int = 0


class Entry(Protocol):
    """Where an execution starts. Nothing is read from the store before it is asked for."""

    @property
    def resumed(self) -> bool:
        """The run had started before: an earlier execution crashed, lost its lease, failed or was handed over."""
        ...

    @property
    def brought(self) -> tuple[Message, ...]:
        """What the dispatch that is executed has brought: it came with the claim, and costs no read."""
        ...

    async def input(self) -> tuple[Message, ...]:
        """What the run was submitted with, the same in every execution. Read only where another dispatch brought it."""
        ...

    async def conversation(self) -> Conversation:
        """Read the thread's log, once; its cost is linear in the log."""
        ...

    async def state(self) -> ThreadState:
        """The thread's state as it is now."""
        ...

    async def journal(self) -> dict[str, msgspec.Raw]:
        """The finished steps of this run by key. Empty, without a read, on a first execution."""
        ...

    async def taken(self) -> tuple[tuple[int, Message], ...]:
        """What earlier executions of this run took while it was under way, in order: each message with the number of
        steps that were closed then. Empty, without a read, where they took nothing.
        """
        ...

    async def decisions(self) -> Mapping[str, Ticket]:
        """The tickets that the run has opened, by key, each with what it has come to so far. Empty, without a read, for
        a run that has opened none.
        """
        ...

    async def output_of(self, run_id: RunId) -> Any:
        """What a child has come to, read from its run."""
        ...


class Finished(msgspec.Struct, frozen=True, kw_only=True):
    """The agent is done. `messages` are committed together with the settlement, and `events` follow them in the log."""

    termination: Termination = NATURAL_END
    final_output: str | None = None
    """None: the text of the last of `messages`, or of the last assistant message committed before."""
    is_structured: bool = False
    """`final_output` is the JSON of a value, and no text, even where a message has the same text."""
    messages: tuple[Message, ...] = ()
    events: tuple[Event, ...] = ()
    usage: Usage | None = None
    """New totals; None leaves those of the last closed step."""
    steps: int | None = None
    """Steps of the run in all; None leaves those that the port has counted."""
    continues: bool = False
    """A natural end that finds messages waiting for the run is none: `drive` is called again, with those in the log."""


class Suspended(msgspec.Struct, frozen=True, kw_only=True):
    """The agent waits for somebody, and is executed again when one of the tickets is closed, or all are. Those that are
    `together`, by their keys, count when all of them are closed.

    `messages` are committed together with the settlement, and `events` follow them in the log. `usage` and `steps` as
    in `Finished`.
    """

    tickets: tuple[TicketRequest, ...]
    mode: WaitMode = "any"
    together: tuple[tuple[str, ...], ...] = ()
    messages: tuple[Message, ...] = ()
    events: tuple[Event, ...] = ()
    usage: Usage | None = None
    steps: int | None = None
    notes: tuple[str, ...] = ()
    """Recorded with it, as keys of the journal."""


DriveOutcome = Finished | Suspended


class RunPort(Protocol):
    """Everything a driver may do to the outside world.

    Every method may raise `LeaseLost`: the run belongs to somebody else now; let it pass through. A method that has
    closed a step may raise `HandedOver` or `RunEnds`; let those pass through, too.
    Every method may be cancelled; what it had begun to make durable is then finished before the cancellation passes.
    """

    @property
    def identity(self) -> RunIdentity: ...

    @property
    def request(self) -> RunRequest: ...

    @property
    def steps(self) -> int:
        """How many steps of the run are closed, which is the index of the open one."""
        ...

    @property
    def exposes_errors(self) -> bool:
        """Whether the agent's model, and its readers, get the text of whatever it and its tools raise."""
        ...

    @property
    def max_result_bytes(self) -> int:
        """How large what a step or a tool returns may be, as JSON."""
        ...

    def new_message_id(self) -> MessageId: ...

    async def emit(self, *events: Event) -> None:
        """Put events in the log. Returns when they are buffered, or once fewer than 256 events and 256 KiB are.

        Whatever way an `InferenceComplete` takes, the run has then spent its usage.
        """
        ...

    async def commit_assistant(self, message: Message, *events: Event) -> None:
        """Make a complete model response durable (C1), with events that belong right after it."""
        ...

    async def commit_tool(self, message: Message, *events: Event) -> None:
        """Make one finished tool call durable (C2), then its events visible."""
        ...

    async def commit_extra(self, *messages: Message) -> None:
        """Make messages durable that came into the conversation while the step goes on."""
        ...

    async def close_step(
        self, *, turn: MessageId | None, usage: Usage, extra: Sequence[Message] = ()
    ) -> tuple[Message, ...]:
        """All calls of the turn are answered and another inference follows (C3). `usage` is the new total.

        Returns the messages that the run took at this boundary, in order, and has to go on with.
        """
        ...

    async def inbox(self) -> tuple[Message, ...]:
        """What was sent to the run while it is under way, in order, each message once: from now on it is part of the
        conversation. Nothing is written, nor waited for, where nothing is known to wait.
        """
        ...

    async def commit_step(
        self, key: str, value: msgspec.Raw, *events: Event, closes: bool = True, is_progress: bool = True
    ) -> None:
        """Make the result of a function's step durable. `closes`: it closes a step of the run. `is_progress`: failures
        before it count no more.

        Raises:
            PermanentFailure: The result is larger than `max_result_bytes`. Nothing was recorded.
        """
        ...

    async def send(self, key: str, outgoing: Outgoing) -> Sent:
        """Send something to an agent, once for each key of the run. Returns when it is durable; it is delivered behind.

        Raises:
            ValidationError: The agent is not known (UnknownAgent), or the message does not suit it.
            PermanentFailure: It is too large, or too many runs in a row were caused by messages of runs.
        """
        ...

    async def open_tickets(self, *requests: TicketRequest) -> None:
        """Let people see what the run will wait for while it is still at work. One that it has already stays as it is.

        Raises:
            PermanentFailure: One cannot be stored, or there are too many.
        """
        ...

    async def start(self, starting: Starting) -> ChildTicket:
        """Start a run that tells this one of its end, once for each key. Returns when it is durable, with its ticket.

        Raises:
            ValidationError: The agent is not known (UnknownAgent), or the input does not suit it.
            PermanentFailure: It is too large, or too many runs are above this one.
        """
        ...

    async def awaited(self, *keys: str) -> None:
        """The run goes on with the ends of these children: nothing else needs to tell it of them."""
        ...

    def check_limits(self) -> None:
        """To be called before a step of a function begins; `close_step` looks by itself.

        Raises:
            RunEnds: The run has used up what it may: nothing is begun any more.
        """
        ...

    def change_state(self, patch: Values) -> None:
        """Change the thread's state by a merge patch: durable with the next `commit_tool` or `close_step`, or else with
        the settlement that ends the run.
        """
        ...


class AgentDriver(Protocol):
    """Runs one agent of one framework."""

    async def drive(self, entry: Entry, port: RunPort) -> DriveOutcome:
        """Execute until the agent ends, or waits for somebody.

        Cancellation of the task is the request to stop: tidy up, then either let it pass, or raise `Stopped`
        with the partial output the user has seen.

        Raises:
            TransientFailure, PermanentFailure: The execution failed; the class decides about a retry.
                Any other exception is classified by the mailbox.
        """
        ...


class Stopped(Exception):
    """A stopped execution's partial output. The mailbox commits it with the settlement, marked `interrupted`."""

    def __init__(self, messages: tuple[Message, ...] = (), usage: Usage | None = None) -> None:
        super().__init__("stopped")
        self.messages = messages
        self.usage = usage


class HandedOver(BaseException):
    """The process is about to stop, and a step is closed: somebody else goes on from here.

    Like a cancellation it is no `Exception`, so that an agent that catches whatever its steps may raise does not take
    it for a step that failed.
    """


class RunEnds(BaseException):
    """The run ends here, with this termination, and is not tried again. `messages` are committed with the settlement.

    No `Exception`, as `HandedOver` is none.
    """

    def __init__(self, termination: Termination, messages: tuple[Message, ...] = ()) -> None:
        super().__init__(termination.detail or termination.type)
        self.termination = termination
        self.messages = messages


DriverFactory = Callable[[Any], AgentDriver]
"""Makes a driver for a user's agent object; importing the framework is the factory's business."""
