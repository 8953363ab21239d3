"""Run an agent's driver without a mailbox: a run kept in memory, a port that fails on request, a scripted model.

Above: tests of drivers and agents, and users who test their own. Below: the contract of `executors` only.
Holds: `RecordedRun` keeps what a store would keep, and gives each execution what the mailbox would give it, so that
"killed here, started again" is two calls of `drive`.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import msgspec
from msgspec.structs import replace
from pydantic_ai import Agent
from pydantic_ai.messages import (
    ModelMessage,
    ModelResponse,
    ModelResponsePart,
    TextPart,
    ThinkingPart,
    ToolCallPart,
)
from pydantic_ai.models.function import AgentInfo, DeltaThinkingPart, DeltaToolCall, FunctionModel
from pydantic_ai.usage import RequestUsage

from awaken.domain.child import ChildTicket
from awaken.domain.clock import Clock, SystemClock
from awaken.domain.errors import LeaseLost
from awaken.domain.event import KINDS, OPENS_STREAM, Event, InferenceComplete, StreamReset
from awaken.domain.ids import (
    DEFAULT_SCOPE,
    AgentId,
    DispatchId,
    Ids,
    InstanceId,
    MessageId,
    RunId,
    ThreadId,
    derived_id,
    seeded_chance,
)
from awaken.domain.message import Message, Role, check_message, user_message
from awaken.domain.run import Intent, RunOptions, RunRequest, Usage
from awaken.domain.state import ThreadState, Values, merged
from awaken.domain.ticket import Action, Decision, Ticket, TicketRequest
from awaken.executors.children import Starting, request_of
from awaken.executors.contract import (
    AgentDriver,
    Conversation,
    DriveOutcome,
    Finished,
    RunEnds,
    RunIdentity,
    Suspended,
)
from awaken.executors.entry import conversation
from awaken.executors.sending import Outgoing, Sent

Method = Literal[
    "emit",
    "commit_assistant",
    "commit_tool",
    "commit_extra",
    "close_step",
    "commit_step",
    "send",
    "start",
    "open_tickets",
]
MAX_RESULT_BYTES = 1024 * 1024
"""How large what a tool returns may be here."""
DURABLE: tuple[Method, ...] = (
    "commit_assistant", "commit_tool", "commit_extra", "close_step", "commit_step", "send", "start", "open_tickets",
)  # fmt: skip


_Nth = tuple[int, int]
"""The how-manieth use of its method a call of the port is, and of the durable methods together."""


class Killed(BaseException):
    """The process is gone: raised out of the port, and by every use of it afterwards."""


class Fault(msgspec.Struct, frozen=True):
    """What goes wrong, and where.

    `on` names one method, or None counts the durable ones together; `nth` is 1-based. `kill` ends the process, `lose`
    the lease, `cancel` cancels the driving task once, `cancel_often` at every point from there on.
    """

    kind: Literal["kill", "lose", "cancel", "cancel_often"]
    nth: int
    when: Literal["before", "after"] = "after"
    on: Method | None = None


class RecordedRun:
    """One run of one thread, as a store would keep it across executions."""

    def __init__(self, *inputs: str | Message, clock: Clock | None = None) -> None:
        self.ids = Ids(clock or SystemClock(), seeded_chance(1))
        self.thread_id = ThreadId("thread-1")
        self.run_id = RunId("run-0")
        self.log: list[tuple[Message, RunId | None]] = []
        self.events: list[Event] = []
        self.entries: list[Message | Event] = []
        """What executions added to the log, messages and events in one order."""
        self.is_stream_open = False
        """Deltas have been published of a message that is not committed."""
        self.waiting: list[Message] = []
        """What was sent to the run, and it has not taken yet."""
        self.taken: list[tuple[int, Message]] = []
        """What it has taken, with the number of steps that were closed then."""
        self.journal: dict[str, msgspec.Raw] = {}
        self.started: dict[str, Starting] = {}
        """The children, by key."""
        self.sent: dict[str, Outgoing] = {}
        """What was sent to other agents, by key."""
        self.progress: list[bool] = []
        """Of each recorded step, whether it was progress."""
        self.state = ThreadState()
        """Of the thread, with what executions have changed so far."""
        self.options = RunOptions()
        """What the runs are asked for."""
        self.metadata: dict[str, Any] = {}
        self.exposes_errors = False
        """As if the agent were registered with `expose_tool_errors`."""
        self.tickets: dict[str, Ticket] = {}
        """What the run has asked for, by key."""
        self.commits: list[Method] = []
        self.finished: Finished | None = None
        self.conversations_read = 0
        self.on_event: Callable[[Event], object] = lambda event: None
        """Called with each event as it becomes visible."""
        self.begin(*inputs)

    def begin(self, *inputs: str | Message) -> None:
        """Start the thread's next run with messages of the user."""
        self.run_id = RunId(f"run-{int(self.run_id.removeprefix('run-')) + 1}")
        self.executions = 0
        self.usage = Usage()
        self.steps = 0
        self.closed_turn: MessageId | None = None
        self.taken = []
        self.tickets = {}
        self.finished = None
        messages = [user_message(self.ids.message_id(), item) if isinstance(item, str) else item for item in inputs]
        self.input_ids = tuple(message.id for message in messages)
        self.log += [(message, self.run_id) for message in messages]

    @property
    def messages(self) -> list[Message]:
        return [message for message, _ in self.log]

    @property
    def texts(self) -> list[str]:
        """Role and text of every message, the short form tests compare."""
        return [f"{message.role}: {message.text}" for message, _ in self.log]

    async def drive(self, driver: AgentDriver, fault: Fault | None = None) -> Finished:
        """One execution. Settles the run when it finishes; lets everything else through."""
        outcome = await self._driven(driver, fault)
        assert isinstance(outcome, Finished), f"it waits: {outcome}"
        self.finished = outcome
        return outcome

    async def wait(self, driver: AgentDriver, fault: Fault | None = None) -> Suspended:
        """One execution, which has to end by waiting for somebody. Settles it, and opens its tickets."""
        outcome = await self._driven(driver, fault)
        assert isinstance(outcome, Suspended), f"it has ended: {outcome}"
        self.open(*outcome.tickets)
        return outcome

    async def _driven(self, driver: AgentDriver, fault: Fault | None) -> DriveOutcome:
        port = self.port(fault)
        outcome = await driver.drive(port, port)
        port.keep_changes()
        for message in outcome.messages:
            self.append(message)
        self.publish(outcome.events)
        self.usage = outcome.usage or self.usage
        self.steps = self.steps if outcome.steps is None else outcome.steps
        return outcome

    def open(self, *requests: TicketRequest) -> None:
        """Keep what the run asks for; what it has asked for before stays as it is."""
        for asked in requests:
            asked.check()
            ticket = Ticket(
                no=len(self.tickets) + 1,
                ticket_id=asked.id_in(self.run_id),
                thread_id=self.thread_id,
                run_id=self.run_id,
                agent_id=AgentId("agent"),
                asked=asked,
                state="open",
                created_at=0,
            )
            self.tickets.setdefault(asked.key, ticket)

    def decide(self, key: str, action: Action, result: Any = None, **details: Any) -> None:
        """Somebody decides what the run calls `key`."""
        decision = Decision(decision_id="decision", action=action, result=result, **details)
        self.tickets[key] = replace(self.tickets[key], state="decided", closed_at=0, decision=decision)

    def expire(self, key: str) -> None:
        """Nobody has decided it in time."""
        asked = self.tickets[key].asked
        default = Decision(decision_id="default", action="answer", result=asked.default)
        decision = default if asked.on_expiry == "answer" else None
        self.tickets[key] = replace(self.tickets[key], state="expired", closed_at=0, decision=decision)

    def port(self, fault: Fault | None = None) -> RecordingPort:
        """The port and entry of the next execution."""
        self.executions += 1
        if self.executions > 1 and self.is_stream_open:
            self.publish([StreamReset("the turn was not completed")])
        return RecordingPort(self, fault)

    def publish(self, events: Sequence[Event]) -> None:
        for event in events:
            if isinstance(event, InferenceComplete):
                self.usage = self.usage.plus(event.usage)
            self.events.append(event)
            self.entries.append(event)
            opens = KINDS[type(event)] in OPENS_STREAM
            self.is_stream_open = opens or (self.is_stream_open and not isinstance(event, StreamReset))
            self.on_event(event)

    def send(self, text: str) -> Message:
        """Have a message wait for the run."""
        message = user_message(self.ids.message_id(), text)
        self.waiting.append(message)
        return message

    def take(self) -> tuple[Message, ...]:
        """What waits joins the log."""
        taken, self.waiting = tuple(self.waiting), []
        for message in taken:
            self.append(message)
            self.taken.append((self.steps, message))
        return taken

    def append(self, message: Message) -> None:
        """Append to the log, as a store would: well formed, and never twice."""
        check_message(message)
        assert message.id not in {known.id for known, _ in self.log}, f"message {message.id} was committed twice"
        self.log.append((message, self.run_id))
        self.entries.append(message)
        self.is_stream_open = self.is_stream_open and message.role is not Role.ASSISTANT


class RecordingPort:
    """The `RunPort` and `Entry` of one execution over a `RecordedRun`."""

    def __init__(self, run: RecordedRun, fault: Fault | None = None) -> None:
        self._run = run
        self._fault = fault
        self._is_dead = False
        self._uses: Counter[Method] = Counter()
        self._durable_uses = 0
        self.resumed = run.executions > 1
        self.exposes_errors = run.exposes_errors
        self.max_result_bytes = MAX_RESULT_BYTES
        self.identity = RunIdentity(
            scope=DEFAULT_SCOPE,
            thread_id=run.thread_id,
            run_id=run.run_id,
            agent_id=AgentId("agent"),
            dispatch_id=DispatchId(f"dispatch-of-{run.run_id}"),
            instance_id=InstanceId(f"{run.run_id}.{run.executions}"),
            metadata=run.metadata,
        )
        self.request = RunRequest(Intent(AgentId("agent")), run.input_ids, run.options)
        self._changes: list[Values] = []

    @property
    def brought(self) -> tuple[Message, ...]:
        run = self._run
        return tuple([message for message, _ in run.log if message.id in run.input_ids])

    async def input(self) -> tuple[Message, ...]:
        return self.brought

    async def conversation(self) -> Conversation:
        run = self._run
        run.conversations_read += 1
        return conversation(run.log, run_id=run.run_id, closed_turn=run.closed_turn, usage=run.usage, steps=run.steps)

    async def state(self) -> ThreadState:
        return self._run.state

    def check_limits(self) -> None:
        reached = self.request.options.limits.reached(self._run.steps, self._run.usage)
        if reached is not None:
            raise RunEnds(reached)

    def change_state(self, patch: Values) -> None:
        self._changes.append(patch)

    def keep_changes(self) -> None:
        """What has changed of the state is durable."""
        for patch in self._changes:
            state = self._run.state
            self._run.state = ThreadState(merged(state.values, patch), state.version + 1)
        self._changes.clear()

    async def journal(self) -> dict[str, msgspec.Raw]:
        return dict(self._run.journal) if self.resumed else {}

    async def decisions(self) -> dict[str, Ticket]:
        return dict(self._run.tickets)

    async def open_tickets(self, *requests: TicketRequest) -> None:
        nth = self._begin("open_tickets")
        self._run.open(*requests)
        await self._written("open_tickets", nth, ())

    @property
    def steps(self) -> int:
        return self._run.steps

    def new_message_id(self) -> MessageId:
        return self._run.ids.message_id()

    async def emit(self, *events: Event) -> None:
        nth = self._begin("emit")
        self._run.publish(events)
        await self._end("emit", nth)

    async def commit_assistant(self, message: Message, *events: Event) -> None:
        nth = self._begin("commit_assistant")
        assert message.role is Role.ASSISTANT
        self._run.append(message)
        await self._written("commit_assistant", nth, events)

    async def commit_tool(self, message: Message, *events: Event) -> None:
        nth = self._begin("commit_tool")
        assert message.role is Role.TOOL
        self._run.append(message)
        self.keep_changes()
        await self._written("commit_tool", nth, events)

    async def commit_extra(self, *messages: Message) -> None:
        nth = self._begin("commit_extra")
        for message in messages:
            self._run.append(message)
        await self._written("commit_extra", nth, ())

    async def close_step(
        self, *, turn: MessageId | None, usage: Usage, extra: Sequence[Message] = ()
    ) -> tuple[Message, ...]:
        nth = self._begin("close_step")
        for message in extra:
            self._run.append(message)
        self._run.closed_turn = turn or self._run.closed_turn
        self._run.usage = usage
        self._run.steps += 1
        self.keep_changes()
        taken = self._run.take()
        await self._written("close_step", nth, ())
        self.check_limits()
        return taken

    async def inbox(self) -> tuple[Message, ...]:
        if self._is_dead:
            raise Killed
        return self._run.take()

    async def taken(self) -> tuple[tuple[int, Message], ...]:
        return tuple(self._run.taken)

    async def commit_step(
        self, key: str, value: msgspec.Raw, *events: Event, closes: bool = True, is_progress: bool = True
    ) -> None:
        nth = self._begin("commit_step")
        assert key not in self._run.journal, f"step {key} was recorded twice"
        self._run.journal[key] = value
        if closes:
            self._run.progress.append(is_progress)
            self._run.steps += 1
        await self._written("commit_step", nth, events)

    async def send(self, key: str, outgoing: Outgoing) -> Sent:
        nth = self._begin("send")
        assert key not in self._run.journal, f"{key} was sent twice"
        thread_id = ThreadId(outgoing.thread_id or derived_id(self._run.run_id, key, "thread"))
        sent = Sent(RunId(derived_id(self._run.run_id, key, "run")), thread_id)
        self._run.journal[key] = msgspec.Raw(msgspec.json.encode(sent))
        self._run.sent[key] = outgoing
        await self._written("send", nth, ())
        return sent

    async def start(self, starting: Starting) -> ChildTicket:
        nth = self._begin("start")
        run_id = RunId(derived_id(self._run.run_id, starting.key, "run"))
        thread_id = ThreadId(derived_id(self._run.run_id, starting.key, "thread"))
        about = ChildTicket(run_id=run_id, thread_id=thread_id, agent_id=AgentId(starting.outgoing.agent_id))
        self._run.open(request_of(starting, about))
        self._run.started[starting.key] = starting
        await self._written("start", nth, ())
        return about

    async def awaited(self, *keys: str) -> None:
        """Nothing else tells it of them here."""

    async def output_of(self, run_id: RunId) -> Any:
        return None

    async def _written(self, method: Method, nth: _Nth, events: Sequence[Event]) -> None:
        self._run.commits.append(method)
        self._run.publish(events)
        await self._end(method, nth)

    def _begin(self, method: Method) -> _Nth:
        """Count this use of the port, of its method and among the durable ones."""
        if self._is_dead:
            raise Killed
        self._uses[method] += 1
        self._durable_uses += method in DURABLE
        nth = (self._uses[method], self._durable_uses if method in DURABLE else 0)
        self._fail_where_due("before", method, nth)
        return nth

    async def _end(self, method: Method, nth: _Nth) -> None:
        """What was begun is done; only now may a cancellation pass."""
        self._fail_where_due("after", method, nth)
        await asyncio.sleep(0)
        if self._is_dead:
            raise Killed

    def _fail_where_due(self, when: Literal["before", "after"], method: Method, nth: _Nth) -> None:
        fault = self._fault
        if fault is None or fault.when != when or (fault.on is not None and fault.on != method):
            return
        count = nth[1] if fault.on is None else nth[0]
        if count == fault.nth or (fault.kind == "cancel_often" and count > fault.nth):
            self._strike(fault)

    def _strike(self, fault: Fault) -> None:
        if fault.kind == "kill":
            self._is_dead = True
            raise Killed
        if fault.kind == "lose":
            raise LeaseLost(self.identity.dispatch_id, "other_owner")
        for task in asyncio.all_tasks():
            if task.get_name() == DRIVING:
                task.cancel()


DRIVING = "driving"
"""The name of the task that a `cancel` fault cancels; `driving` starts one."""


def driving(run: RecordedRun, driver: AgentDriver, fault: Fault | None = None) -> asyncio.Task[Finished]:
    """An execution as a task of its own, which a `cancel` fault can cancel."""
    return asyncio.get_running_loop().create_task(run.drive(driver, fault), name=DRIVING)


# --- a scripted model -------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Call:
    """A tool call a scripted model makes."""

    tool: str
    args: dict[str, Any] = field(default_factory=dict[str, Any])
    id: str = "call_0"


@dataclass(frozen=True)
class Turn:
    """One answer of a scripted model: reasoning, then text word by word, then calls."""

    text: str = ""
    calls: tuple[Call, ...] = ()
    thinking: str = ""
    signature: str = ""


class Script:
    """A model that answers from a list: after n answers in the conversation, answer n. Past the end it answers "done".

    `asked` holds the index of every answer given, so that a test can see what was asked for twice; `heard` the
    messages it was given each time.
    """

    def __init__(self, *turns: Turn | str) -> None:
        self._turns = [Turn(turn) if isinstance(turn, str) else turn for turn in turns]
        self.asked: list[int] = []
        self.heard: list[list[ModelMessage]] = []

    def model(self, *, streams: bool = True) -> FunctionModel:
        if not streams:
            return FunctionModel(self._respond, model_name="scripted")
        return FunctionModel(self._respond, stream_function=self._stream, model_name="scripted")

    def agent(self, *, streams: bool = True, **options: Any) -> Agent[Any, Any]:
        return Agent(self.model(streams=streams), **options)

    def _next(self, messages: list[ModelMessage]) -> Turn:
        index = sum(isinstance(message, ModelResponse) for message in messages)
        self.asked.append(index)
        self.heard.append(list(messages))
        return self._turns[index] if index < len(self._turns) else Turn("done")

    def _respond(self, messages: list[ModelMessage], info: AgentInfo) -> ModelResponse:
        turn = self._next(messages)
        parts: list[ModelResponsePart] = []
        if turn.thinking:
            parts.append(ThinkingPart(turn.thinking, signature=turn.signature or None))
        if turn.text:
            parts.append(TextPart(turn.text))
        parts += [ToolCallPart(call.tool, call.args, call.id) for call in turn.calls]
        return ModelResponse(parts=parts, usage=RequestUsage(input_tokens=10, output_tokens=5))

    async def _stream(
        self, messages: list[ModelMessage], info: AgentInfo
    ) -> AsyncIterator[str | dict[int, DeltaToolCall] | dict[int, DeltaThinkingPart]]:
        turn = self._next(messages)
        if turn.thinking:
            yield {0: DeltaThinkingPart(content=turn.thinking)}
            if turn.signature:
                yield {0: DeltaThinkingPart(signature=turn.signature)}
        words = turn.text.split(" ") if turn.text else []
        for index, word in enumerate(words):
            yield word if index == 0 else f" {word}"
        for index, call in enumerate(turn.calls, start=1):
            args = msgspec.json.encode(call.args).decode()
            yield {index: DeltaToolCall(name=call.tool, json_args=args, tool_call_id=call.id)}
