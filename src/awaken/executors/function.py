"""Run a plain async function, or an async generator, as an agent.

Above: `registry` makes a `FunctionDriver` when a function is added. Below: `RunPort`, the only way out.
Holds: a step that `ctx.step` has returned is never executed again; after a takeover the function runs from the top and
gets the recorded values. What can be known to fail is found before the step has had its effect; a result that cannot be
recorded is a permanent failure, after one effect. A step is progress only when every step that was recorded before was
asked for in this execution, so that names which differ each time keep no run alive. Its text is streamed as it comes
and becomes a message when it ends, under the id its deltas had; a whole message is shown when it is committed. The
events of a step are those between two commits: each `ctx.step` that is recorded ends one, and so does the end. A
function that does nothing costs nothing: no read, no task, no event.

Source: `docs/howto/write-a-function-agent.md`, `docs/reference/events.md`.
"""

from __future__ import annotations

import asyncio
import builtins
import inspect
from collections import Counter, deque
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Coroutine, Mapping, Sequence
from contextlib import aclosing
from typing import Any, Final, TypeVar, cast, overload

import msgspec
from msgspec.structs import replace

from awaken.domain.checking import readable
from awaken.domain.errors import PermanentFailure, ValidationError
from awaken.domain.event import ArtifactWritten, Event, StepEnded, StepStarted, StreamReset, TextDelta
from awaken.domain.given import Given, messages_of
from awaken.domain.ids import MessageId, derived_id
from awaken.domain.loop import check_loop
from awaken.domain.message import Block, Message, MessageState, Role, Text, assistant_message, data_of
from awaken.domain.run import RunRequest, Sender
from awaken.executors.asking import UNSET, Approval, Asks, approve, ask, in_call, in_step
from awaken.executors.children import WAIT_PREFIX, Child, gather, start
from awaken.executors.contract import (
    DriveOutcome,
    Entry,
    Finished,
    RunEnds,
    RunIdentity,
    RunPort,
    Stopped,
    Suspended,
)
from awaken.executors.current import executing
from awaken.executors.results import decoded, encoded, step_decoder
from awaken.executors.sending import SEND_PREFIX, Outgoing, Sent
from awaken.executors.state import State
from awaken.executors.tool_call import call_in_turn

T = TypeVar("T")

Yielded = str | Event | Message
"""What a generator may yield: a piece of its answer's text, an event, or a whole message."""
PlainFunction = Callable[["Context"], Awaitable[Any]]
GeneratorFunction = Callable[["Context"], AsyncIterator[Any]]
AgentFunction = PlainFunction | GeneratorFunction

_NOTHING: Final = Finished()
MAX_NAME_CHARS: Final = 1_000
"""Of the name of a step, which is a part of the key of its record."""
MAX_STEPS: Final = 10_000
"""How many steps a run may record."""
_sent: Final = msgspec.json.Decoder(Sent)
_TEXT_PART: Final = 0
"""The streamed text is the one block of its message."""


class FunctionDriver:
    """Runs one function. It is checked here, when it is registered, and not on its first run.

    Raises:
        ValidationError: It is not an async function or async generator taking one argument.
    """

    def __init__(self, agent: AgentFunction) -> None:
        self._plain: PlainFunction | None = None
        self._generator: GeneratorFunction | None = None
        if _is_kind(agent, inspect.isasyncgenfunction):
            self._generator = cast(GeneratorFunction, agent)
        elif _is_kind(agent, inspect.iscoroutinefunction):
            self._plain = cast(PlainFunction, agent)
        else:
            raise ValidationError(
                f"{_name(agent)} is not an agent: it must be `async def`. "
                "Wrap blocking work inside it in `asyncio.to_thread`"
            )
        _check_signature(agent)

    async def drive(self, entry: Entry, port: RunPort) -> DriveOutcome:
        """Run the function once, from the top.

        A stopped run raises `Stopped` with the output it had so far; one that had none lets the cancellation pass.
        """
        context = Context(entry, port, await _asks_of(entry))
        try:
            with executing(context):
                if self._plain is not None:
                    return await context.finish(await self._plain(context))
                assert self._generator is not None
                return await self._consume(self._generator, context)
        except asyncio.CancelledError:
            if context.asks.suspended():
                return await context.suspend()
            unfinished = context.unfinished()
            if unfinished and is_stopping():
                raise Stopped(unfinished) from None
            raise
        except RunEnds as ends:
            raise RunEnds(ends.termination, (*context.unfinished(), *ends.messages)) from None

    async def _consume(self, generator: GeneratorFunction, context: Context) -> DriveOutcome:
        async with aclosing(cast("AsyncGenerator[Any]", generator(context))) as items:
            async for item in items:
                await context.take(item)
        return await context.finish(None)


class Context:
    """What an agent function is given: its run, the conversation, durable steps and a way to stream."""

    __slots__ = (
        "_ahead", "_arrived", "_entry", "_finished_steps", "_in_step", "_journal", "_loop", "_message_id", "_messages",
        "_port", "_produced", "_recorded_steps", "_state", "_step_name", "_taken_before", "_text", "_uses", "asks",
    )  # fmt: skip

    def __init__(self, entry: Entry, port: RunPort, asks: Asks | None = None) -> None:
        self._entry = entry
        self._port = port
        self.asks = Asks({}, suspends=False) if asks is None else asks
        self._loop = asyncio.get_running_loop()
        self._journal: dict[str, msgspec.Raw] | None = None
        """The steps that are recorded, also those of this execution."""
        self._ahead: set[str] = set()
        """Those that were recorded before and have not been asked for yet."""
        self._messages: tuple[Message, ...] | None = None
        self._state: State | None = None
        self._uses: Counter[str] | None = None
        self._produced: list[Message] | None = None
        """Whole messages, in the order they are committed at the end."""
        self._text: list[str] | None = None
        """What was streamed since then."""
        self._message_id: MessageId | None = None
        self._in_step = False
        """A `StepStarted` has been published that has no `StepEnded` yet."""
        self._step_name: str | None = None
        """What it said."""
        self._finished_steps = 0
        """How many steps have returned in this execution."""
        self._recorded_steps = port.steps
        """How many were closed before it."""
        self._taken_before: deque[tuple[int, Message]] | None = None
        """What earlier executions took, with the number of steps that were closed then, and was not asked for yet."""
        self._arrived: list[Message] = []

    @property
    def identity(self) -> RunIdentity:
        return self._port.identity

    @property
    def request(self) -> RunRequest:
        return self._port.request

    @property
    def metadata(self) -> dict[str, Any]:
        """What was submitted with the run."""
        return self._port.identity.metadata

    @property
    def resource_id(self) -> str | None:
        """Whom the thread belongs to."""
        return self._port.identity.resource_id

    @property
    def caller(self) -> str | None:
        """Who asked, as the server's `authorize` names them; None in a program, and where nobody authorises."""
        return self._port.identity.caller

    @property
    def state(self) -> State:
        """The thread's state. What a function changes is stored when its run ends; a tool's, with its answer."""
        if self._state is None:
            self._state = State(self._entry, self._port)
        return self._state

    async def messages(self) -> tuple[Message, ...]:
        """The conversation, this run's own input last. Read from the store once, when first asked for."""
        if self._messages is None:
            found = await self._entry.conversation()
            turn = () if found.reenter is None else (found.reenter, *found.answers, *found.arrived)
            self._messages = found.history + turn
        return self._messages

    async def input(self) -> str:
        """The text of the messages this run was submitted with, a line each; empty when they hold none. The same in
        every execution: what was sent to the run since then, `inbox` hands out.
        """
        given = [message for message in await self._entry.input() if message.role is not Role.SYSTEM]
        return "\n".join([message.text for message in given if message.text])

    async def data(self) -> Any:
        """The value of the `Json` block this run was submitted with, as `input`; None for none, or several."""
        return data_of(await self._entry.input())

    async def inbox(self) -> tuple[Message, ...]:
        """What was sent to the run since it was last asked, in order; empty when there is nothing.

        Each message is handed out once, and from then on is part of the conversation. Executed again after a takeover
        it hands out the same at the same place: everything that was taken after as many steps. Asking costs nothing
        while nothing is there. What the run never asks for opens a run of its own when it ends.

        Raises:
            WrongLoop: It was called from another event loop than the run's.
        """
        check_loop(self._loop, "this run")
        if self._taken_before is None:
            self._taken_before = deque(await self._entry.taken())
        found: list[Message] = []
        while self._taken_before and self._taken_before[0][0] <= self._finished_steps:
            found.append(self._taken_before.popleft()[1])
        if not found and self._finished_steps >= self._recorded_steps:
            found += await self._port.inbox()
        self._arrived += found
        return tuple(found)

    def new_messages(self) -> tuple[Message, ...]:
        """What this execution was given: the messages of its dispatch, and what `inbox` has handed out so far. Reads
        nothing.
        """
        brought = self._entry.brought
        known = {message.id for message in brought}
        return (*brought, *[message for message in self._arrived if message.id not in known])

    def new_message_id(self) -> MessageId:
        """An id for a `Message` the agent builds itself."""
        return self._port.new_message_id()

    @property
    def message_id(self) -> MessageId:
        """The id of the message that the text streamed next belongs to, for events that name it."""
        if self._message_id is None:
            self._message_id = self._port.new_message_id()
        return self._message_id

    @overload
    def step(self, name: str, fn: Callable[[], Any], type: None = None) -> Coroutine[Any, Any, Any]: ...
    @overload
    def step(self, name: str, fn: Callable[[], Any], type: type[T]) -> Coroutine[Any, Any, T]: ...
    def step(self, name: str, fn: Callable[[], Any], type: Any = None) -> Coroutine[Any, Any, Any]:
        """Call `fn` once in the life of the run, however often the run is executed, and return its result.

        `fn` takes nothing and returns a JSON value or an awaitable of one. The result goes through JSON the first
        time too, so that every execution sees the same; `type` is what it is decoded into. A step is known by its
        name and by how many steps of that name were asked for before it in this execution, so the order of equal
        names must not depend on chance. A step in flight at a crash runs again: its effects should bear repeating.

        Raises:
            PermanentFailure: `type` cannot be resolved, the name is not a text, or the run has recorded 10 000 steps:
                `fn` was not called. Or its result has no JSON form, does not fit `type`, or is larger than the setting
                `max_result_bytes`: nothing was recorded.
            WrongLoop: It was called from another event loop than the run's; `fn` was not.
        """
        _check_name(name)
        return self._step(name, self._key(name), fn, Any if type is None else type)

    def _key(self, name: str) -> str:
        """What the next thing of this name is known by in the run."""
        if self._uses is None:
            self._uses = Counter()
        name = f"{call_in_turn()}{name}"
        self._uses[name] += 1
        return f"{name}#{self._uses[name]}"

    async def send(
        self,
        agent: str,
        message: Given,
        *,
        thread_id: str | None = None,
        name: str = "send",
        metadata: Mapping[str, Any] | None = None,
    ) -> Sent:
        """Send a message to an agent, once in the life of the run: it opens a run of its own on the thread, or on a new
        one. It is on its way when this returns, whatever becomes of this run.

        What is sent is known by `name` and by how many of that name were sent before in this execution, as a step is.

        Raises:
            ValidationError: The agent is not known (UnknownAgent), or an id or the message is unacceptable.
            PermanentFailure: It is too large, the run has recorded 10 000 steps, or 32 runs in a row were caused by
                messages of runs.
        """
        _check_name(name)
        key = self._key(SEND_PREFIX + name)
        known = await self._recorded(key)
        if known is not None:
            return _sent.decode(known)
        outgoing = Outgoing(
            agent_id=agent, messages=messages_of(message), thread_id=thread_id, metadata=dict(metadata or {})
        )
        sent = await self._port.send(key, outgoing)
        self._record(key, msgspec.Raw(encoded(sent, key)))
        return sent

    @property
    def sender(self) -> Sender | None:
        """The agent that sent this run its message, with its run and its thread; None where no agent did."""
        return self._port.request.trace.sender

    @overload
    def ask(
        self, question: str, *, name: str = "ask", expires_in_s: float | None = None, default: Any = UNSET
    ) -> Coroutine[Any, Any, str]: ...
    @overload
    def ask(
        self,
        question: str,
        *,
        name: str = "ask",
        type: builtins.type[T],
        expires_in_s: float | None = None,
        default: Any = UNSET,
    ) -> Coroutine[Any, Any, T]: ...
    def ask(
        self,
        question: str,
        *,
        name: str = "ask",
        type: Any = str,
        expires_in_s: float | None = None,
        default: Any = UNSET,
    ) -> Coroutine[Any, Any, Any]:
        """Ask somebody, and return the answer, however long that takes.

        Nothing waits meanwhile: the function is cancelled here, so that its `finally` runs, and its run is a row in the
        store. With the answer it runs from the top, and this returns the answer; steps are not repeated, and what it
        says before it comes here again is dropped. What is asked side by side is all asked at once, and waited for
        together. Inside a tool the tool is run again from its top, and nothing else of the turn.

        A question is known by its name and by how many of that name were asked before it in this execution. Without a
        name of its own it has to be the same text each time. `type` is what the answer is decoded into; whoever answers
        otherwise is refused. `default` is the answer when nobody has answered within `expires_in_s` seconds.

        Raises:
            TicketExpired: Nobody answered in time, and there is no default.
            PermanentFailure: It cannot be asked so, is asked inside of a step, or is another question than before.
        """
        return ask(self.asks, question, name, type, expires_in_s, default)

    def approve(
        self, question: str, *, name: str = "approve", arguments: Any = None, expires_in_s: float | None = None
    ) -> Coroutine[Any, Any, Approval]:
        """Ask somebody for permission, as `ask` does.

        `arguments` is shown to whoever decides, and may come back changed by them. Those asked for have to be the same
        each time. Nobody in `expires_in_s` seconds is a no.

        Raises:
            PermanentFailure: It cannot be asked so, is asked inside of a step, or asks for something else than before.
        """
        return approve(self.asks, question, name, arguments, expires_in_s)

    async def start(
        self,
        agent: str,
        input: Given,
        *,
        name: str | None = None,
        metadata: Mapping[str, Any] | None = None,
        detached: bool = False,
    ) -> Child:
        """Start a run of an agent in the background, on a thread of its own, once in the life of this run. It is stored
        when this returns.

        `gather` waits for it. If nothing does, its end is told all the same: with a message at the next step of this
        run, or with a run of the thread when this one has ended. It is stopped when this run is cancelled or
        interrupted, unless it is `detached`.

        A child is known by its name, that of the agent unless you give one, and by how many of that name were started
        before it in this execution.

        Raises:
            ValidationError: The agent is not known (UnknownAgent), or the input does not suit it.
            PermanentFailure: It is too large, 100 children of this run have not ended, or 8 runs are above this one.
        """
        check_loop(self._loop, "this run")
        return await start(in_call(self.asks), self._port, agent, input, name or agent, dict(metadata or {}), detached)

    async def gather(self, *children: Child, return_exceptions: bool = False) -> list[Any]:
        """Wait for children to end, however long that takes, and return what they came to, in the order given.

        Nothing waits meanwhile, as in `ask`: the function is executed again, from the top, when all have ended.

        Raises:
            ChildFailed: One has failed or was stopped; with `return_exceptions` it stands in the place of its output.
            PermanentFailure: One of them was not started by this run, or it is asked inside of a step.
        """
        return await gather(in_call(self.asks), self._entry, self._port, children, return_exceptions)

    async def call(
        self, agent: str, input: Given, *, name: str | None = None, metadata: Mapping[str, Any] | None = None
    ) -> Any:
        """Have another agent do something, and return what it came to: `start`, and `gather` of that one. Raises as
        these do.
        """
        [output] = await self.gather(await self.start(agent, input, name=name, metadata=metadata))
        return output

    async def emit(self, item: Event | str) -> None:
        """Put an event, or a piece of the answer's text, in the log. Readers see it at once.

        Raises:
            PermanentFailure: It is a `StepStarted` or `StepEnded`, which are published for the agent.
        """
        if isinstance(item, str):
            await self._stream(item)
        elif isinstance(item, (StepStarted, StepEnded)):
            raise PermanentFailure("an agent does not publish the events of its steps; they are published for it")
        else:
            await self._publish(item)

    async def artifact(
        self,
        name: str,
        content: str | Block | Sequence[Block],
        *,
        artifact_id: str | None = None,
        append: bool = False,
        last: bool = True,
    ) -> str:
        """Publish a document that the agent has made, or a piece of one; its id.

        `content`: a text, or blocks. Without an id it is another artifact each time, the same when the run is executed
        again. `append`: it follows what was published under this id, instead of replacing it; `last=False`: more is
        coming. Readers see it at once; nothing of it is part of the conversation.

        Raises:
            PermanentFailure: The name or an id is no text, or the content has no JSON form.
        """
        _check_name(name)
        if artifact_id is None:
            if self._uses is None:
                self._uses = Counter()
            use = f"{call_in_turn()}artifact:{name}"
            self._uses[use] += 1
            artifact_id = derived_id("artifact", self._port.identity.run_id, f"{use}#{self._uses[use]}")
        _check_name(artifact_id)
        given = (Text(content),) if isinstance(content, str) else content
        blocks = tuple(given) if isinstance(given, Sequence) else (given,)
        try:
            event = readable(
                ArtifactWritten(artifact_id, name, blocks, append, last), ArtifactWritten, what="an artifact"
            )
        except ValidationError as error:
            raise PermanentFailure(f"the artifact {name!r} cannot be published: {error}") from error
        await self._publish(event)
        return artifact_id

    async def take(self, item: Yielded) -> None:
        """Take what a generator yielded.

        Raises:
            PermanentFailure: It is none of the three things a generator may yield.
        """
        if isinstance(item, str):
            await self._stream(item)
        elif isinstance(item, Message):
            if self.asks.is_replaying:
                return
            if item.id == self._message_id:  # the message that the text was streamed for
                await self._withdraw_unless_in((item,))
                self._text = self._message_id = None
            self._end_text(MessageState.COMMITTED)
            self._keep(item)
        elif isinstance(item, Event):  # pyright: ignore[reportUnnecessaryIsInstance]
            await self.emit(item)
        else:
            raise PermanentFailure(f"an agent may yield text, an event or a Message, not a {_name(item.__class__)}")

    async def finish(self, returned: Any) -> DriveOutcome:
        """What the run amounts to, given what the function returned.

        None: the streamed text is the answer. A text, a `Message` or a sequence of them: that is, and streamed text
        was a preview of it, withdrawn unless it is the same. Any other JSON value: the run's output, beside the
        streamed text. `Finished`: as it is.
        """
        self.asks.check_end()
        outcome = self._outcome(returned)
        await self._withdraw_unless_in(outcome.messages)
        if outcome.messages and not self._in_step:
            self._message_id = next((m.id for m in outcome.messages if m.role is Role.ASSISTANT), None)
            await self._publish()
        if not self._in_step:
            return outcome
        return replace(outcome, events=(*outcome.events, StepEnded(self._port.steps)))

    async def suspend(self) -> Suspended:
        """What the run waits for; what was said so far becomes part of the conversation."""
        messages = self._answer()
        if messages and not self._in_step:
            self._message_id = next((m.id for m in messages if m.role is Role.ASSISTANT), None)
            await self._publish()
        events = (StepEnded(self._port.steps),) if self._in_step else ()
        return Suspended(
            tickets=tuple(self.asks.requests.values()),
            mode="all",
            messages=messages,
            events=events,
            notes=tuple(self.asks.notes),
        )

    def _outcome(self, returned: Any) -> Finished:
        if returned is None:
            return _NOTHING if self._text is None and self._produced is None else Finished(messages=self._answer())
        if isinstance(returned, str):
            return Finished(messages=(assistant_message(self.message_id, returned),) if returned else ())
        if isinstance(returned, Finished):
            return returned
        if isinstance(returned, Message):
            return Finished(messages=(returned,))
        if isinstance(returned, (list, tuple)):
            items = cast("list[Any] | tuple[Any, ...]", returned)
            if items and all(isinstance(item, Message) for item in items):
                return Finished(messages=tuple(items))
        output = encoded(returned, "the agent", is_output=True).decode()
        return Finished(messages=self._answer(), final_output=output, is_structured=True)

    def unfinished(self) -> tuple[Message, ...]:
        """The output of a stopped run: whole messages, then the text it was in the middle of, marked so."""
        self._end_text(MessageState.INTERRUPTED)
        return tuple(self._produced or ())

    async def _step(self, name: str, key: str, fn: Callable[[], Any], type: Any) -> Any:
        decoder = step_decoder(type, key)
        recorded = await self._recorded(key)
        if recorded is not None:
            value = decoded(recorded, decoder, key)
            self._finished_steps += not call_in_turn()
            return value
        closes = not call_in_turn()  # inside a tool it is a part of the step that its turn is
        if closes:
            self._port.check_limits()
            await self._begin(name)
        value = fn()
        if inspect.isawaitable(value):
            with in_step():
                value = await value
        raw = msgspec.Raw(encoded(value, f"step {key!r}"))
        result = decoded(raw, decoder, key)
        self._record(key, raw)
        if closes:
            await self._port.commit_step(key, raw, *self._end_of_step(name), is_progress=not self._ahead)
            self._finished_steps += 1
        else:
            await self._port.commit_step(key, raw, closes=False)
        return result

    async def _recorded(self, key: str) -> msgspec.Raw | None:
        """What an earlier execution recorded under the key; None where that is still to be done, and may be."""
        check_loop(self._loop, "this run")  # before the effect
        if self._journal is None:
            self._journal = await self._entry.journal()
            self._ahead = set(self._journal)
        self._ahead.discard(key)
        recorded = self._journal.get(key)
        if recorded is None and len(self._journal) >= MAX_STEPS:
            raise PermanentFailure(f"the run has recorded {MAX_STEPS} steps, and cannot record step {key!r}")
        return recorded

    def _record(self, key: str, value: msgspec.Raw) -> None:
        assert self._journal is not None, "it was looked at first"
        self._journal[key] = value

    async def _begin(self, name: str) -> None:
        if not self._in_step:
            await self._publish(name=name)

    def _end_of_step(self, name: str) -> list[Event]:
        """The last events of the open step, which this one closes. Of steps side by side the first to end closes it,
        and each of the others is one of its own: steps do not overlap.
        """
        index = self._port.steps
        if not self._in_step:
            return [StepStarted(self.message_id, index, name), StepEnded(index)]
        self._in_step = False
        return [StepEnded(index, None if name == self._step_name else name)]

    async def _publish(self, *events: Event, name: str | None = None) -> None:
        """Put events in the log, within a step, which has this name if it begins with them; not again those of an
        earlier execution.
        """
        if self.asks.is_replaying:
            return
        if not self._in_step:
            self._in_step = True
            self._step_name = name
            events = (StepStarted(self.message_id, self._port.steps, name), *events)
        await self._port.emit(*events)

    async def _stream(self, text: str) -> None:
        if text and not self.asks.is_replaying:
            if self._text is None:
                self._text = []
            self._text.append(text)
            await self._publish(TextDelta(self.message_id, _TEXT_PART, text))

    def _answer(self) -> tuple[Message, ...]:
        self._end_text(MessageState.COMMITTED)
        return tuple(self._produced or ())

    def _end_text(self, state: MessageState) -> None:
        if self._text:
            self._keep(assistant_message(self.message_id, "".join(self._text), state=state))
            self._text = self._message_id = None

    def _keep(self, message: Message) -> None:
        if self._produced is None:
            self._produced = []
        self._produced.append(message)

    async def _withdraw_unless_in(self, messages: tuple[Message, ...]) -> None:
        """Void the streamed text if none of the messages is what it was a preview of."""
        if self._text:
            text = "".join(self._text)
            if not any(message.id == self.message_id and message.text == text for message in messages):
                await self._port.emit(
                    StreamReset("the agent returned another answer than it streamed", self.message_id)
                )


async def _asks_of(entry: Entry) -> Asks:
    """What the run has asked and started so far, and where it has waited for what it started."""
    known = await entry.decisions()
    asks = Asks(known)
    if any(ticket.asked.kind == "child" for ticket in known.values()):
        asks.expect([key for key in await entry.journal() if key.startswith(WAIT_PREFIX)])
    return asks


def _is_kind(agent: object, judge: Callable[[Any], bool]) -> bool:
    return judge(agent) or (not inspect.isroutine(agent) and judge(getattr(agent, "__call__", None)))  # noqa: B004


def _check_signature(agent: Callable[..., Any]) -> None:
    try:
        inspect.signature(agent).bind(None)
    except TypeError as error:
        raise ValidationError(f"{_name(agent)} must take exactly one argument, the context: {error}") from None


def is_stopping() -> bool:
    """Whether it is this task that was cancelled, and not something the agent was waiting for."""
    task = asyncio.current_task()
    return task is not None and task.cancelling() > 0


def _check_name(name: object) -> None:
    """Raises PermanentFailure for a name under which nothing could be recorded."""
    if not isinstance(name, str) or not name.isprintable() or not 0 < len(name) <= MAX_NAME_CHARS:
        raise PermanentFailure(
            f"the name of a step is a text of 1 to {MAX_NAME_CHARS} printable characters, not {name!a:.100}"
        )


def _name(thing: Any) -> str:
    return getattr(thing, "__qualname__", None) or repr(thing)
