"""Run a Pydantic AI agent step by step, durably.

Above: `registry` imports this module when the first run of such an agent starts. Below: `Agent.iter` and public hooks
of the framework; `pydantic_messages` for the translation.
Holds: a model response is committed before its tools run (C1), each tool's answer before anybody sees it (C2), a step
is closed before the next inference (C3). After a crash the open turn is entered again: the model is not asked, answered
calls are not run, and nothing is published that the log already has. So it is when a call waits for somebody: the turn
stays open, and what was decided answers its calls. What is committed is what passed by, never a difference of two lists
of messages, because the framework merges and re-stamps its own. A message is committed under the id its deltas had, and
where it differs from them they are withdrawn first.

Source: ADR 0015, ADR 0011, `docs/concepts/executors.md`, `docs/reference/events.md`.
"""

from __future__ import annotations

import asyncio
import inspect
from collections import Counter
from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from contextlib import (
    AbstractAsyncContextManager,
    AbstractContextManager,
    AsyncExitStack,
    asynccontextmanager,
    contextmanager,
)
from dataclasses import replace
from typing import Any, Final, cast

import msgspec
from pydantic_ai import Agent, CallToolsNode, ModelRequestNode
from pydantic_ai.capabilities import AbstractCapability, CapabilityOrdering, ReinjectSystemPrompt
from pydantic_ai.exceptions import RunCancelled, SkipModelRequest, UsageLimitExceeded, UserError
from pydantic_ai.messages import (
    CustomEvent,
    EnqueuedMessagesEvent,
    FunctionToolResultEvent,
    ModelMessage,
    ModelRequest,
    ModelRequestPart,
    ModelResponse,
    ToolCallEvent,
    ToolCallPart,
    ToolReturnPart,
)
from pydantic_ai.run import AgentRun
from pydantic_ai.tools import DeferredToolRequests, DeferredToolResults, RunContext, ToolDefinition
from pydantic_ai.toolsets import ExternalToolset, FunctionToolset
from pydantic_ai.usage import UsageLimits

from awaken.domain.clock import Clock, SystemClock
from awaken.domain.errors import AwakenError, PermanentFailure
from awaken.domain.event import Event, StepEnded, StepStarted, StreamReset, ToolCallStreamDelta
from awaken.domain.ids import MessageId
from awaken.domain.message import Message, MessageState, Role
from awaken.domain.run import ClientTool, Termination, Usage
from awaken.executors.call_ids import CallIds
from awaken.executors.classify import classify
from awaken.executors.contract import (
    Conversation,
    DriveOutcome,
    Entry,
    Finished,
    RunIdentity,
    RunPort,
    Stopped,
    Suspended,
)
from awaken.executors.current import executing
from awaken.executors.function import Context, is_stopping
from awaken.executors.mending import mended
from awaken.executors.pydantic_answers import Answers, ToolHandler
from awaken.executors.pydantic_events import (
    Shown,
    inference,
    knows_retries,
    ready,
    streams,
    to_run_usage,
    usage_before,
    usage_of_run,
)
from awaken.executors.pydantic_messages import (
    calls_of,
    from_parts,
    from_response,
    jsonable,
    mend_part,
    mend_response,
    to_native,
    to_response,
)
from awaken.executors.pydantic_waits import CallWaits

NO_SDK_RETRIES: Final = {"max_retries": 0}
"""Retries have one owner: a provider's client gives up at once, and the queue tries again. Left out for models that do
not know the setting."""
DepsMaker = Callable[[RunIdentity], Any]
"""A function, or an async one, that returns the dependencies, or a context manager of `contextlib` that gives them; or
a generator, or an async one, that yields them once."""
AnyRun = AgentRun[Any, Any]


class PydanticAIDriver:
    """Runs one agent.

    `deps` makes the dependencies of each execution; without it they are None. What it has opened as a context manager
    is closed when the execution ends, however it ends, and what stands behind its `yield` is done then.

    `usage_limits` hold for a whole run, across crashes and retries, because totals are carried over.
    """

    def __init__(
        self,
        agent: Agent[Any, Any],
        *,
        clock: Clock | None = None,
        deps: DepsMaker | None = None,
        usage_limits: UsageLimits | None = None,
    ) -> None:
        self.agent = agent
        self.clock = clock or SystemClock()
        self.deps = deps
        self.usage_limits = usage_limits

    async def drive(self, entry: Entry, port: RunPort) -> DriveOutcome:
        """Run the agent from where the log shows it to be.

        A usage limit, or the agent cancelling itself, ends the run as `stopped`. A stopped execution raises `Stopped`
        with the text its readers have seen and no message holds yet.
        """
        tools = port.request.options.client_tools
        _check_names(self.agent, tools)
        waits = CallWaits(port, await entry.decisions(), frozenset([tool.name for tool in tools]))
        context = Context(entry, port)
        with executing(context):
            return await _Execution(self, port, await entry.conversation(), waits, context).run()


def _check_names(agent: Agent[Any, Any], tools: Sequence[ClientTool]) -> None:
    """Raises PermanentFailure when the caller brings a tool with the name of one that the agent has."""
    own = {name for toolset in agent.toolsets if isinstance(toolset, FunctionToolset) for name in toolset.tools}
    for tool in tools:
        if tool.name in own:
            raise PermanentFailure(
                f"client tool {tool.name!r} has the name of a tool of the agent; give it another one"
            )


def _toolsets(tools: Sequence[ClientTool]) -> list[ExternalToolset[Any]] | None:
    """Tools that whoever asked for the run carries out, beside those of the agent."""
    if not tools:
        return None
    definitions = [
        ToolDefinition(
            name=tool.name,
            description=tool.description or None,
            parameters_json_schema=tool.parameters or {"type": "object", "properties": {}},
        )
        for tool in tools
    ]
    return [ExternalToolset(definitions)]


class _Execution:
    """One execution of one run: the state between the framework's hooks and the port."""

    def __init__(
        self, driver: PydanticAIDriver, port: RunPort, start: Conversation, waits: CallWaits, context: Context
    ) -> None:
        self._driver = driver
        self._port = port
        self._waits = waits
        self._start = start
        self._run: AnyRun | None = None
        self._turn: MessageId | None = None
        """The message id of the open turn: minted when the model is asked, or that of the turn entered again."""
        self._is_committed = False
        """The open turn is in the log; no text of it is partial any more."""
        self.answers = Answers(port, driver.clock, waits)
        self._spent = start.usage
        """What the run had spent before what the framework counts."""
        self._context = context
        self._told = {message.id for message in start.history}
        """What the model has read of what the run was given."""
        self._reply: ModelResponse | None = None
        """The committed response to enter again, until the framework has asked for it."""
        log = start.history if start.reenter is None else (*start.history, start.reenter)
        self._call_ids = CallIds(log)
        self.tools: Mapping[str, ToolDefinition] = {}
        """What the model was given when it was last asked, by name."""
        self._shown: Shown | None = None
        """What readers have seen of the answer that is coming."""
        self._recorded: list[ModelRequestPart] = []
        """Parts already committed, so that the two ways by which they pass do not commit them twice."""
        self._asked_at_s = 0.0

    async def run(self) -> DriveOutcome:
        history = self._history()
        if self._start.reenter is not None:
            self._enter_again(self._start.reenter)
        driver, identity = self._driver, self._port.identity
        try:
            async with (
                _made(driver.deps, identity) as deps,
                driver.agent.iter(
                    None,
                    message_history=history,
                    conversation_id=identity.thread_id,
                    run_id=identity.instance_id,
                    usage=to_run_usage(self._spent),
                    usage_limits=driver.usage_limits,
                    deps=deps,
                    metadata={"awaken": _shown_to_tools(identity)},
                    toolsets=_toolsets(self._port.request.options.client_tools),
                    capabilities=[_Hooks(self), ReinjectSystemPrompt()],
                    infer_name=False,
                ) as run,
            ):
                self._run = run
                return await self._drive(run)
        except asyncio.CancelledError:
            if is_stopping():
                raise Stopped(self._unfinished(), self._usage()) from None
            raise
        except UsageLimitExceeded as limit:
            return self._ended_early("usage_limit", str(limit))
        except RunCancelled as cancelled:
            return self._ended_early("cancelled_by_agent", str(cancelled))
        except (AwakenError, Stopped):
            raise
        except UserError:
            # The framework's word for calls that nobody has answered, where the agent declares no output for them.
            if not self._waits.pending:
                raise
            return self._suspended()
        except Exception as error:  # whatever the framework, a provider or a capability raised is classified once, here
            raise classify(error, exposed=self._port.exposes_errors, now=driver.clock.now()) from error

    async def _drive(self, run: AnyRun) -> DriveOutcome:
        async for node in run:
            if isinstance(node, ModelRequestNode):
                await self._ask(run, node)
            elif isinstance(node, CallToolsNode):
                await self._act(run, node)
        return await self._finish(run)

    # --- starting -----------------------------------------------------------------------------------------------------

    def _history(self) -> list[ModelMessage]:
        """The committed conversation, ending with what the model has to answer."""
        history = list(self._start.history)
        while history and history[-1].role is Role.ASSISTANT and history[-1].state is MessageState.INTERRUPTED:
            history.pop()  # cut short before this run was due: there is nothing to add to half an answer
        if history and history[-1].role is Role.ASSISTANT:
            raise PermanentFailure("the conversation ends with the assistant's own message; there is nothing to answer")
        return to_native(history)

    def _enter_again(self, turn: Message) -> None:
        self._turn = turn.id
        self._is_committed = True
        self._reply = to_response(turn)
        self._spent = usage_before(self._start.usage, self._reply)
        self._call_ids.open_turn(turn.id)
        self.answers.enter_again(self._start.answers)
        self.answers.open(turn.id, {call.tool_call_id: name for name, call in calls_of(turn, self._reply).items()})

    # --- the model ----------------------------------------------------------------------------------------------------

    async def _ask(self, run: AnyRun, node: ModelRequestNode[Any, Any]) -> None:
        """A model request is due: close the step before it, then show the answer as it comes."""
        if self._reply is not None:
            return  # the answer is known and shown
        if self._turn is not None:
            taken = self._arrived() + await self._close_step(run, node.request.parts)
        else:
            taken = await self._port.inbox()
        if taken:
            self._tell(node, taken)
        self._port.check_limits()
        self._turn = self._port.new_message_id()
        self._call_ids.open_turn(self._turn)
        self._asked_at_s = self._driver.clock.monotonic()
        await self._port.emit(StepStarted(self._turn, self._port.steps))
        self._shown = None
        if streams(run.ctx.deps.model):
            async with node.stream(run.ctx) as stream:
                async for event in stream:
                    await self._notice(event)
                    await self._publish(self._answer_shown(self._turn).events(event))

    def _arrived(self) -> tuple[Message, ...]:
        """What tools have taken of what was sent to the run, in this execution and in the one that it goes on from."""
        given = (*self._start.arrived, *self._context.new_messages())
        found = {message.id: message for message in given if message.id not in self._told}
        self._told |= found.keys()
        return tuple(found.values())

    def _tell(self, node: ModelRequestNode[Any, Any], taken: Sequence[Message]) -> None:
        """The model reads what the run has just taken; that is in the log already."""
        parts = [part for message in to_native(taken) if isinstance(message, ModelRequest) for part in message.parts]
        self._recorded += parts
        node.request = replace(node.request, parts=[*node.request.parts, *parts])

    def _answer_shown(self, turn: MessageId) -> Shown:
        """What is shown of the turn's answer. Made when the answer begins, because only then its tools are known."""
        if self._shown is None:
            brought = [tool.name for tool in self._port.request.options.client_tools]
            self._shown = Shown(turn, self._call_ids, self.tools, brought)
        return self._shown

    async def _publish(self, events: Sequence[Event]) -> None:
        if events:
            await self._port.emit(*events)

    async def _commit_response(self, response: ModelResponse) -> None:
        """C1: from here on the model is not asked again for this turn."""
        turn = self._turn
        assert turn is not None
        shown = self._answer_shown(turn)
        self._name_calls(response)
        message = from_response(response, turn, self._call_ids.unique)
        if mended(message) is not message:
            mend_response(response)
            message = from_response(response, turn, self._call_ids.unique)
        if not shown.agrees_with(message):
            await self._withdraw("the message differs from what was streamed")
        await self._publish(shown.missing_calls(message))
        took_ms = round((self._driver.clock.monotonic() - self._asked_at_s) * 1000)
        calls = [ready(turn, call) for call in message.tool_calls]
        self._shown, self._is_committed = None, True
        await self._port.commit_assistant(message, *calls, inference(turn, response, took_ms))

    def _name_calls(self, response: ModelResponse) -> None:
        """Tell apart calls to which the model gave one id, or none: nothing could be matched with them."""
        seen: Counter[str] = Counter()
        for call in response.tool_calls:
            nth, seen[call.tool_call_id] = seen[call.tool_call_id], seen[call.tool_call_id] + 1
            call_id = self._call_ids.unique(call.tool_call_id, nth)
            if nth or not call.tool_call_id.strip():
                call.tool_call_id = call_id

    async def _withdraw(self, reason: str) -> None:
        """Void what readers have seen of the answer, if they have seen any."""
        if self._shown is not None and self._shown.has_deltas:
            self._shown.forget()
            await self._port.emit(StreamReset(reason, self._turn))

    # --- the tools ----------------------------------------------------------------------------------------------------

    async def _act(self, run: AnyRun, node: CallToolsNode[Any, Any]) -> None:
        """A response is complete: commit it, then run its tools."""
        response = node.model_response
        if self._is_committed:
            self._reply = None
        else:
            await self._commit_response(response)
            assert self._turn is not None
            ids = {call.tool_call_id: self._call_ids.unique(call.tool_call_id) for call in response.tool_calls}
            self.answers.open(self._turn, ids)
        async with node.stream(run.ctx) as events:
            async for event in events:
                await self._notice(event)
                if isinstance(event, ToolCallEvent) and event.args_valid is False:
                    self.answers.refuse(event.tool_call_id)
                elif isinstance(event, FunctionToolResultEvent):
                    await self.answers.commit_once(event.part)

    # --- between steps ------------------------------------------------------------------------------------------------

    async def _close_step(self, run: AnyRun, parts: Sequence[ModelRequestPart]) -> tuple[Message, ...]:
        """C3: every call of the turn has its answer, and the model is asked again, with `parts` and what the run takes
        here.
        """
        if not self._is_committed and not await self._commit_unseen(run):
            await self._withdraw("the model's response was rejected")
            self._turn = None
        extra = await self._settle_parts(parts)
        await self._port.emit(StepEnded(self._port.steps))
        turn, self._turn, self._is_committed = self._turn, None, False
        self.answers.close()
        return await self._port.close_step(turn=turn, usage=self._usage(), extra=extra)

    async def _commit_unseen(self, run: AnyRun) -> bool:
        """Commit a response that the framework went past without acting on it. False: it kept none."""
        last = run.all_messages()[-1] if run.all_messages() else None
        if isinstance(last, ModelResponse):
            await self._commit_response(last)
        return isinstance(last, ModelResponse)

    async def _settle_parts(self, parts: Sequence[ModelRequestPart]) -> list[Message]:
        """Commit the answers among `parts` that are not in the log; the messages for the rest of them."""
        rest: list[ModelRequestPart] = []
        for part in parts:
            if isinstance(part, ToolReturnPart) and self.answers.are_for(part):
                await self.answers.commit_once(part)
            elif not any(part is other for other in self._recorded):
                mend_part(part)
                rest.append(part)
        self._recorded += rest
        return from_parts(rest, self._port.new_message_id, group=self._turn or self._port.new_message_id())

    async def _notice(self, event: object) -> None:
        """Take what tools and capabilities give beside their results."""
        if isinstance(event, CustomEvent):
            call_id = self.answers.id_of(event.tool_call_id)
            if call_id is not None:
                await self._port.emit(_tool_output(call_id, event))
        elif isinstance(event, EnqueuedMessagesEvent):
            requests = [message for message in event.messages if isinstance(message, ModelRequest)]
            parts = event.parts or [part for request in requests for part in request.parts]
            extra = await self._settle_parts([part for part in parts if not isinstance(part, ToolReturnPart)])
            if extra:
                await self._port.commit_extra(*extra)

    # --- ending -------------------------------------------------------------------------------------------------------

    def deferred(self, requests: DeferredToolRequests) -> DeferredToolResults | None:
        """What was decided about calls that the framework does not make by itself."""
        return self._waits.results(requests, self.answers.ids, self.tools)

    def _suspended(self) -> Suspended:
        """The turn stays open: it is entered again when one of its calls can go on."""
        return Suspended(
            tickets=tuple(self._waits.pending.values()),
            together=tuple(self._waits.together),
            usage=self._usage(),
            steps=self._port.steps,
        )

    async def _finish(self, run: AnyRun) -> DriveOutcome:
        assert run.result is not None
        output: Any = run.result.output
        if isinstance(output, DeferredToolRequests):
            return self._suspended()
        last = run.all_messages()[-1]
        rest = await self._settle_parts(last.parts) if isinstance(last, ModelRequest) else []
        text = output if isinstance(output, str) else msgspec.json.encode(jsonable(output)).decode()
        steps = self._port.steps
        return Finished(
            final_output=text,
            is_structured=not isinstance(output, str),
            messages=tuple(rest),
            events=(StepEnded(steps),),
            usage=self._usage(),
            steps=steps + 1,
            continues=True,
        )

    def _ended_early(self, code: str, detail: str) -> Finished:
        """The run ends well before the agent had an answer; what readers have seen of one stays."""
        termination = Termination("stopped", code=code, detail=detail)
        return Finished(termination=termination, messages=self._unfinished(), usage=self._usage())

    def _unfinished(self) -> tuple[Message, ...]:
        """What readers have seen of an answer that is in no message yet, as a message marked so."""
        blocks = () if self._shown is None else self._shown.blocks()
        if not blocks or self._turn is None:
            return ()
        return (Message(id=self._turn, role=Role.ASSISTANT, content=blocks, state=MessageState.INTERRUPTED),)

    def _usage(self) -> Usage:
        return self._start.usage if self._run is None else usage_of_run(self._run.usage)

    def reply(self) -> ModelResponse | None:
        """The committed response that answers the request about to be made, if this is the turn entered again."""
        return self._reply


def _shown_to_tools(identity: RunIdentity) -> dict[str, Any]:
    """What tools find in `ctx.metadata["awaken"]`."""
    return {
        "run_id": identity.run_id,
        "thread_id": identity.thread_id,
        "metadata": identity.metadata,
        "resource_id": identity.resource_id,
        "caller": identity.caller,
    }


@asynccontextmanager
async def _made(deps: DepsMaker | None, identity: RunIdentity) -> AsyncGenerator[Any]:
    """The dependencies of one execution, for as long as it lasts."""
    async with AsyncExitStack() as stack:
        made: Any = None if deps is None else _opened(deps)(identity)
        if inspect.isawaitable(made):
            made = await made
        # By name, not by what it can do: a client or a lock can be entered, too, and may be everybody's.
        kinds = type(made).__mro__
        if AbstractAsyncContextManager in kinds:
            made = await stack.enter_async_context(made)
        elif AbstractContextManager in kinds:
            made = stack.enter_context(made)
        yield made


def _opened(deps: DepsMaker) -> DepsMaker:
    """A generator as the context manager that it is meant as."""
    if inspect.isasyncgenfunction(deps):
        return asynccontextmanager(deps)
    return contextmanager(deps) if inspect.isgeneratorfunction(deps) else deps


def _tool_output(call_id: str, event: CustomEvent) -> ToolCallStreamDelta:
    try:
        payload = event.to_payload()
    except Exception as error:  # the tool's own method
        payload = f"<{type(event).__qualname__} failed: {type(error).__name__}>"
    given = jsonable(payload)
    if isinstance(given, str):
        return ToolCallStreamDelta(call_id, text=given, name=event.name)
    return ToolCallStreamDelta(call_id, value={} if given is None else given, name=event.name)


class _Hooks(AbstractCapability[Any]):
    """The framework's side of an execution, outermost, so that what is committed is what the model reads."""

    def __init__(self, execution: _Execution) -> None:
        self._execution = execution

    def get_ordering(self) -> CapabilityOrdering:
        return CapabilityOrdering(position="outermost")

    async def before_model_request(self, ctx: RunContext[Any], request_context: Any) -> Any:
        asked = request_context.model_request_parameters
        self._execution.tools = {tool.name: tool for tool in (*asked.function_tools, *asked.output_tools)}
        reply = self._execution.reply()
        if reply is not None:
            raise SkipModelRequest(reply)
        if knows_retries(request_context.model):
            settings = cast("dict[str, Any]", request_context.model_settings or {})
            return replace(request_context, model_settings={**settings, **NO_SDK_RETRIES})
        return request_context

    async def handle_deferred_tool_calls(
        self, ctx: RunContext[Any], *, requests: DeferredToolRequests
    ) -> DeferredToolResults | None:
        return self._execution.deferred(requests)

    async def before_tool_validate(
        self, ctx: RunContext[Any], *, call: ToolCallPart, tool_def: ToolDefinition, args: Any
    ) -> Any:
        self._execution.answers.skip_validation(call)
        return args

    async def wrap_tool_execute(
        self, ctx: RunContext[Any], *, call: ToolCallPart, tool_def: ToolDefinition, args: Any, handler: ToolHandler
    ) -> Any:
        return await self._execution.answers.call(ctx, call, tool_def, args, handler)
