"""Run a Pydantic AI agent step by step, durably.

Above: `registry` imports this module when the first run of such an agent starts. Below: `Agent.iter` and public hooks
of the framework; `pydantic_messages` for the translation.
Holds: a model response is committed before its tools run (C1), each tool's answer before anybody sees it (C2), a step
is closed before the next inference (C3). After a crash the open turn is entered again: the model is not asked, answered
calls are not run, and nothing is emitted that the log already has. What is committed is what passed by, never a
difference of two lists of messages, because the framework merges and re-stamps its own.

Source: research/agent-runtimes.md 2 (gotchas), 5 (commit points), 6 (entry), 8 (events), 9 (errors).
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import Any, Final, cast

import pydantic_core
from pydantic_ai import Agent, CallToolsNode, ModelRequestNode
from pydantic_ai.capabilities import AbstractCapability, CapabilityOrdering, ReinjectSystemPrompt
from pydantic_ai.exceptions import RunCancelled, SkipModelRequest, UsageLimitExceeded
from pydantic_ai.messages import (
    CustomEvent,
    EnqueuedMessagesEvent,
    FunctionToolResultEvent,
    ModelMessage,
    ModelRequest,
    ModelRequestPart,
    ModelResponse,
    ToolCallPart,
    ToolReturnPart,
)
from pydantic_ai.run import AgentRun
from pydantic_ai.tools import DeferredToolRequests, RunContext, ToolDefinition
from pydantic_ai.usage import UsageLimits

from awaken.domain.clock import Clock, SystemClock
from awaken.domain.errors import AwakenError, PermanentFailure
from awaken.domain.event import (
    Event,
    InferenceComplete,
    StepEnd,
    StepStart,
    StreamReset,
    TextDelta,
    ToolCallReady,
    ToolCallStreamDelta,
)
from awaken.domain.ids import MessageId
from awaken.domain.message import Message, MessageState, Role, assistant_message
from awaken.domain.run import Termination, Usage
from awaken.executors.classify import classify
from awaken.executors.contract import Conversation, DriveOutcome, Entry, Finished, RunIdentity, RunPort, Stopped
from awaken.executors.function import is_stopping
from awaken.executors.pydantic_answers import DEFERRED, Answers, ToolHandler
from awaken.executors.pydantic_events import Shown, streams, to_run_usage, usage_of_request, usage_of_run, whole
from awaken.executors.pydantic_messages import from_parts, from_response, to_native, to_response

NO_SDK_RETRIES: Final = {"max_retries": 0}
"""Retries have one owner: a provider's client gives up at once, and the queue tries again."""
DepsMaker = Callable[[RunIdentity], Any]
AnyRun = AgentRun[Any, Any]


class PydanticAIDriver:
    """Runs one agent. `deps` makes the dependencies of each execution; without it they are None.

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
        """Run the agent from where the log says it is.

        A usage limit, or the agent cancelling itself, ends the run as `stopped`. A stopped execution raises `Stopped`
        with the text its readers have seen and no message holds yet.
        """
        return await _Execution(self, port, await entry.conversation()).run()


class _Execution:
    """One execution of one run: the state between the framework's hooks and the port."""

    def __init__(self, driver: PydanticAIDriver, port: RunPort, start: Conversation) -> None:
        self._driver = driver
        self._port = port
        self._start = start
        self._steps = start.steps
        self._run: AnyRun | None = None
        self._turn: MessageId | None = None
        """The message id of the open turn: minted when the model is asked, or that of the turn entered again."""
        self._is_committed = False
        """The open turn is in the log; no text of it is partial any more."""
        self.answers = Answers(port, driver.clock)
        self._reply: ModelResponse | None = None
        """The committed response to enter again, until the framework has asked for it."""
        self._partial: list[str] = []
        """Text emitted since the last committed message."""
        self._recorded: list[ModelRequestPart] = []
        """Parts already committed, so that the two ways by which they pass do not commit them twice."""
        self._asked_at_s = 0.0

    async def run(self) -> Finished:
        history = self._history()
        if self._start.reenter is not None:
            self._enter_again(self._start.reenter)
        driver, identity = self._driver, self._port.identity
        try:
            async with driver.agent.iter(
                None,
                message_history=history,
                conversation_id=identity.thread_id,
                run_id=identity.instance_id,
                usage=to_run_usage(self._start.usage),
                usage_limits=driver.usage_limits,
                deps=driver.deps(identity) if driver.deps is not None else None,
                model_settings=cast(Any, NO_SDK_RETRIES),
                metadata={"awaken": {"run_id": identity.run_id, "thread_id": identity.thread_id}},
                capabilities=[_Hooks(self), ReinjectSystemPrompt()],
                infer_name=False,
            ) as run:
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
        except Exception as error:  # whatever the framework, a provider or a capability raised is classified once, here
            raise classify(error) from error

    async def _drive(self, run: AnyRun) -> Finished:
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
        self.answers.enter_again(self._start.answers)

    # --- the model ----------------------------------------------------------------------------------------------------

    async def _ask(self, run: AnyRun, node: ModelRequestNode[Any, Any]) -> None:
        """A model request is due: close the step before it, then show the answer as it comes."""
        if self._reply is not None:
            return  # the answer is known and shown
        if self._turn is not None:
            await self._close_step(run, node.request.parts)
        self._turn = self._port.new_message_id()
        self._asked_at_s = self._driver.clock.monotonic()
        await self._port.emit(StepStart(self._turn))
        if streams(run.ctx.deps.model):
            shown = Shown()
            async with node.stream(run.ctx) as stream:
                async for event in stream:
                    await self._notice(event)
                    await self._show(shown.events(event))

    async def _show(self, events: Sequence[Event]) -> None:
        self._partial += [event.delta for event in events if isinstance(event, TextDelta)]
        if events:
            await self._port.emit(*events)

    async def _commit_response(self, run: AnyRun, response: ModelResponse) -> None:
        """C1: from here on the model is not asked again for this turn."""
        assert self._turn is not None
        if not self._partial and not streams(run.ctx.deps.model):
            await self._show(whole(response))
        message = from_response(response, self._turn)
        took_ms = round((self._driver.clock.monotonic() - self._asked_at_s) * 1000)
        done = InferenceComplete(response.model_name or "unknown", usage_of_request(response.usage), took_ms)
        ready = [ToolCallReady(call.id, call.name, call.arguments) for call in message.tool_calls]
        self._partial, self._is_committed = [], True
        await self._port.commit_assistant(message, *ready, done)

    # --- the tools ----------------------------------------------------------------------------------------------------

    async def _act(self, run: AnyRun, node: CallToolsNode[Any, Any]) -> None:
        """A response is complete: commit it, then run its tools."""
        response = node.model_response
        if self._is_committed:
            self._reply = None
        else:
            await self._commit_response(run, response)
        assert self._turn is not None
        self.answers.open(self._turn, response.tool_calls)
        async with node.stream(run.ctx) as events:
            async for event in events:
                await self._notice(event)
                if isinstance(event, FunctionToolResultEvent):
                    await self.answers.commit_once(event.part)

    # --- between steps ------------------------------------------------------------------------------------------------

    async def _close_step(self, run: AnyRun, parts: Sequence[ModelRequestPart]) -> None:
        """C3: every call of the turn has its answer, and the model is asked again, with `parts`."""
        if not self._is_committed and not await self._commit_unseen(run):
            await self._port.emit(StreamReset("the model's response was rejected"))
            self._partial, self._turn = [], None
        extra = await self._settle_parts(parts)
        self._steps += 1
        await self._port.emit(StepEnd())
        turn, self._turn, self._is_committed = self._turn, None, False
        self.answers.close()
        await self._port.close_step(turn=turn, usage=self._usage(), extra=extra)

    async def _commit_unseen(self, run: AnyRun) -> bool:
        """Commit a response that the framework went past without acting on it. False: it kept none."""
        last = run.all_messages()[-1] if run.all_messages() else None
        if isinstance(last, ModelResponse):
            await self._commit_response(run, last)
        return isinstance(last, ModelResponse)

    async def _settle_parts(self, parts: Sequence[ModelRequestPart]) -> list[Message]:
        """Commit the answers among `parts` that are not in the log; the messages for the rest of them."""
        rest: list[ModelRequestPart] = []
        for part in parts:
            if isinstance(part, ToolReturnPart) and self.answers.are_for(part):
                await self.answers.commit_once(part)
            elif not any(part is other for other in self._recorded):
                rest.append(part)
        self._recorded += rest
        return from_parts(rest, self._port.new_message_id, group=self._turn or self._port.new_message_id())

    async def _notice(self, event: object) -> None:
        """Take what tools and capabilities say beside their results."""
        if isinstance(event, CustomEvent) and event.tool_call_id is not None:
            said = pydantic_core.to_jsonable_python(event.to_payload(), fallback=str)
            await self._port.emit(ToolCallStreamDelta(event.tool_call_id, event.name, said))
        elif isinstance(event, EnqueuedMessagesEvent):
            requests = [message for message in event.messages if isinstance(message, ModelRequest)]
            parts = event.parts or [part for request in requests for part in request.parts]
            extra = await self._settle_parts([part for part in parts if not isinstance(part, ToolReturnPart)])
            if extra:
                await self._port.close_step(turn=None, usage=self._usage(), extra=extra)

    # --- ending -------------------------------------------------------------------------------------------------------

    async def _finish(self, run: AnyRun) -> Finished:
        assert run.result is not None
        output: Any = run.result.output
        if isinstance(output, DeferredToolRequests):
            raise PermanentFailure(f"the agent cannot finish: {DEFERRED}")
        last = run.all_messages()[-1]
        rest = await self._settle_parts(last.parts) if isinstance(last, ModelRequest) else []
        await self._port.emit(StepEnd())
        text = output if isinstance(output, str) else pydantic_core.to_json(output, fallback=str).decode()
        return Finished(final_output=text, messages=tuple(rest), usage=self._usage(), steps=self._steps + 1)

    def _ended_early(self, code: str, detail: str) -> Finished:
        """The run ends well before the agent had an answer; what it had said stays."""
        termination = Termination("stopped", code=code, detail=detail)
        return Finished(termination=termination, messages=self._unfinished(), usage=self._usage(), steps=self._steps)

    def _unfinished(self) -> tuple[Message, ...]:
        """The text that was shown and is in no message yet, as one that says so."""
        if not self._partial:
            return ()
        turn = self._turn or self._port.new_message_id()
        return (assistant_message(turn, "".join(self._partial), state=MessageState.INTERRUPTED),)

    def _usage(self) -> Usage:
        return self._start.usage if self._run is None else usage_of_run(self._run.usage)

    def reply(self) -> ModelResponse | None:
        """The committed response that answers the request about to be made, if this is the turn entered again."""
        return self._reply


class _Hooks(AbstractCapability[Any]):
    """The framework's side of an execution, outermost, so that what is committed is what the model is told."""

    def __init__(self, execution: _Execution) -> None:
        self._execution = execution

    def get_ordering(self) -> CapabilityOrdering:
        return CapabilityOrdering(position="outermost")

    async def before_model_request(self, ctx: RunContext[Any], request_context: Any) -> Any:
        reply = self._execution.reply()
        if reply is not None:
            raise SkipModelRequest(reply)
        return request_context

    async def before_tool_validate(
        self, ctx: RunContext[Any], *, call: ToolCallPart, tool_def: ToolDefinition, args: Any
    ) -> Any:
        self._execution.answers.skip_validation(call)
        return args

    async def wrap_tool_execute(
        self, ctx: RunContext[Any], *, call: ToolCallPart, tool_def: ToolDefinition, args: Any, handler: ToolHandler
    ) -> Any:
        return await self._execution.answers.call(ctx, call, tool_def, args, handler)
