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
import json
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from typing import Any, Final, cast

import pydantic
import pydantic_core
from pydantic_ai import Agent, CallToolsNode, ModelRequestNode
from pydantic_ai.capabilities import AbstractCapability, CapabilityOrdering, ReinjectSystemPrompt
from pydantic_ai.exceptions import (
    ApprovalRequired,
    CallDeferred,
    ModelRetry,
    RunCancelled,
    SkipModelRequest,
    SkipToolExecution,
    SkipToolValidation,
    ToolFailed,
    ToolFailedError,
    ToolRetryError,
    UnexpectedModelBehavior,
    UsageLimitExceeded,
)
from pydantic_ai.messages import (
    CustomEvent,
    EnqueuedMessagesEvent,
    FunctionToolResultEvent,
    ModelMessage,
    ModelRequest,
    ModelRequestPart,
    ModelResponse,
    PartDeltaEvent,
    PartEndEvent,
    PartStartEvent,
    TextPart,
    TextPartDelta,
    ThinkingPart,
    ThinkingPartDelta,
    ToolCallPart,
    ToolCallPartDelta,
    ToolReturn,
    ToolReturnPart,
    UserContent,
)
from pydantic_ai.models import Model
from pydantic_ai.models.function import FunctionModel
from pydantic_ai.models.wrapper import WrapperModel
from pydantic_ai.run import AgentRun
from pydantic_ai.tools import DeferredToolRequests, RunContext, ToolDefinition
from pydantic_ai.usage import RequestUsage, RunUsage, UsageLimits

from awaken.domain.clock import Clock, SystemClock
from awaken.domain.errors import AwakenError, ExecutorError, LeaseLost, PermanentFailure
from awaken.domain.event import (
    Event,
    InferenceComplete,
    ReasoningDelta,
    ReasoningEncryptedValue,
    StepEnd,
    StepStart,
    StreamReset,
    TextDelta,
    ToolCallDelta,
    ToolCallDone,
    ToolCallReady,
    ToolCallStart,
    ToolCallStreamDelta,
)
from awaken.domain.ids import MessageId
from awaken.domain.message import Message, MessageState, Role, ToolStatus, assistant_message
from awaken.domain.run import Termination, Usage
from awaken.executors.classify import classify
from awaken.executors.contract import Conversation, DriveOutcome, Entry, Finished, RunIdentity, RunPort, Stopped
from awaken.executors.pydantic_messages import (
    from_parts,
    from_response,
    from_return,
    to_native,
    to_response,
    to_tool_return,
)
from awaken.executors.tool_call import serving

NO_SDK_RETRIES: Final = {"max_retries": 0}
"""Retries have one owner: a provider's client gives up at once, and the queue tries again."""
DepsMaker = Callable[[RunIdentity], Any]
AnyRun = AgentRun[Any, Any]
ToolHandler = Callable[[dict[str, Any]], Any]

_DEFERRED: Final = "it asked for an approval or a result from outside, which this version cannot wait for"


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
        self._calls: frozenset[str] = frozenset()
        self._answered: set[str] = set()
        """Calls of the open turn whose answers are in the log, or on their way into it."""
        self._stored: dict[str, Message] = {}
        """Answers that an earlier execution committed, by call."""
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
                usage=_run_usage(self._start.usage),
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
            if _is_stopping():
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
        self._stored = {message.tool_call_id or "": message for message in self._start.answers}
        self._answered = set(self._stored)

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
        if _streams(run.ctx.deps.model):
            shown = _Shown()
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
        if not self._partial and not _streams(run.ctx.deps.model):
            await self._show(_whole(response))
        message = from_response(response, self._turn)
        took_ms = round((self._driver.clock.monotonic() - self._asked_at_s) * 1000)
        done = InferenceComplete(response.model_name or "unknown", _request_usage(response.usage), took_ms)
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
        self._calls = frozenset(call.tool_call_id for call in response.tool_calls)
        async with node.stream(run.ctx) as events:
            async for event in events:
                await self._notice(event)
                if isinstance(event, FunctionToolResultEvent) and event.part.tool_call_id not in self._answered:
                    await self._answer(event.part)  # refused before it ran: bad arguments, no such tool

    def before_validation(self, call: ToolCallPart) -> None:
        """An answered call is not judged again, by rules that may have changed since."""
        if call.tool_call_id in self._stored and call.tool_call_id in self._calls:
            raise SkipToolValidation(call.args_as_dict())

    async def call_tool(
        self, ctx: RunContext[Any], call: ToolCallPart, tool: ToolDefinition, args: dict[str, Any], handler: ToolHandler
    ) -> Any:
        """Run one call, or answer it from the log. Its answer is durable when this returns or raises (C2)."""
        if call.tool_call_id not in self._calls or self._turn is None:
            return await handler(args)  # a tool's own inner call; only the outer one has an answer in the log
        stored = self._stored.get(call.tool_call_id)
        if stored is not None:
            return _from_log(stored, call.tool_name)
        with serving(self._port.identity.run_id, self._turn, call.tool_call_id):
            try:
                result = await handler(args)
            except (CallDeferred, ApprovalRequired) as deferred:
                raise PermanentFailure(f"the tool {call.tool_name!r} cannot finish: {_DEFERRED}") from deferred
            except SkipToolExecution as skipped:
                await self._answer_with(call, tool, skipped.result)
                raise
            except Exception as error:
                failed = self._failed_answer(ctx, call, tool, error)
                if failed is None:
                    raise
                await self._answer(failed)
                raise _told_to_the_model(error, failed) from error
        return await self._answer_with(call, tool, result)

    def _failed_answer(
        self, ctx: RunContext[Any], call: ToolCallPart, tool: ToolDefinition, error: Exception
    ) -> ToolReturnPart | None:
        """What the model is told about a call that failed; None when the failure is the run's."""
        if isinstance(error, (LeaseLost, ExecutorError)) or _is_out_of_retries(ctx, error):
            return None
        if isinstance(error, ToolRetryError) and isinstance(error.tool_retry, ToolReturnPart):
            return error.tool_retry
        if isinstance(error, ToolFailedError):
            return error.tool_failed
        if isinstance(error, (ModelRetry, pydantic.ValidationError)):
            return self._return_part(call, tool, str(error), outcome="retried")
        text = error.message if isinstance(error, ToolFailed) else f"{type(error).__name__}: {error}"
        return self._return_part(call, tool, text, outcome="failed")

    async def _answer_with(self, call: ToolCallPart, tool: ToolDefinition, result: Any) -> Any:
        """Commit what a tool returned. A result that is not JSON becomes an error the model is told."""
        is_whole = isinstance(result, ToolReturn)
        returned: ToolReturn[Any] = result if is_whole else ToolReturn[Any](result)  # pyright: ignore[reportUnknownVariableType]
        metadata = returned.metadata if _is_json(returned.metadata) else None  # the application's own, for no model
        part = self._return_part(call, tool, returned.return_value, metadata=metadata)
        try:
            await self._answer(part, returned.content, returned.tools)
        except pydantic_core.PydanticSerializationError as error:
            text = f"the tool {call.tool_name!r} returned a value that has no JSON form: {error}"
            failed = self._return_part(call, tool, text, outcome="failed")
            await self._answer(failed)
            raise ToolFailedError(failed) from error
        return result  # pyright: ignore[reportUnknownVariableType]

    async def _answer(
        self,
        part: ToolReturnPart,
        content: str | Sequence[UserContent] | None = None,
        tools: Sequence[str] | None = None,
    ) -> None:
        assert self._turn is not None
        message_id = self._port.new_message_id()
        message = from_return(part, message_id, group=self._turn, content=content, tools=tools)
        self._answered.add(part.tool_call_id)
        block = message.content[0]
        result = message.text or getattr(block, "value", "")
        outcome = "succeeded" if message.tool_status is ToolStatus.SUCCESS else "failed"
        await self._port.commit_tool(message, ToolCallDone(part.tool_call_id, message_id, result, outcome))

    def _return_part(
        self, call: ToolCallPart, tool: ToolDefinition, content: Any, *, outcome: Any = "success", metadata: Any = None
    ) -> ToolReturnPart:
        return ToolReturnPart(
            tool_name=call.tool_name,
            content=content,
            tool_call_id=call.tool_call_id,
            tool_kind=tool.tool_kind,
            metadata=metadata,
            outcome=outcome,
            timestamp=datetime.fromtimestamp(self._driver.clock.now() / 1000, UTC),
        )

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
        self._answered, self._stored, self._calls = set(), {}, frozenset()
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
            if isinstance(part, ToolReturnPart) and part.tool_call_id in self._calls:
                if part.tool_call_id not in self._answered:
                    await self._answer(part)
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
            raise PermanentFailure(f"the agent cannot finish: {_DEFERRED}")
        last = run.all_messages()[-1]
        rest = await self._settle_parts(last.parts) if isinstance(last, ModelRequest) else []
        await self._port.emit(StepEnd())
        text = output if isinstance(output, str) else pydantic_core.to_json(output, fallback=str).decode()
        return Finished(final_output=text, messages=tuple(rest), usage=self._usage(), steps=self._steps + 1)

    def _ended_early(self, code: str, detail: str) -> Finished:
        """The run ends well before the agent had an answer; what it had said stays."""
        messages = self._unfinished()
        last = self._run.all_messages()[-1] if self._run is not None and self._run.all_messages() else None
        if isinstance(last, ModelResponse) and self._turn is not None and not self._is_committed and last.parts:
            messages = (from_response(last, self._turn),)
        termination = Termination("stopped", code=code, detail=detail)
        return Finished(termination=termination, messages=messages, usage=self._usage(), steps=self._steps)

    def _unfinished(self) -> tuple[Message, ...]:
        """The text that was shown and is in no message yet, as one that says so."""
        if not self._partial:
            return ()
        turn = self._turn or self._port.new_message_id()
        return (assistant_message(turn, "".join(self._partial), state=MessageState.INTERRUPTED),)

    def _usage(self) -> Usage:
        return self._start.usage if self._run is None else _usage(self._run.usage)

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
        self._execution.before_validation(call)
        return args

    async def wrap_tool_execute(
        self, ctx: RunContext[Any], *, call: ToolCallPart, tool_def: ToolDefinition, args: Any, handler: ToolHandler
    ) -> Any:
        return await self._execution.call_tool(ctx, call, tool_def, args, handler)


class _Shown:
    """Turns the stream of one response into events."""

    def __init__(self) -> None:
        self._call_ids: dict[int, str] = {}

    def events(self, event: object) -> list[Event]:
        """What readers are told about one event of the stream; nothing for the kinds they have no use for."""
        match event:
            case PartStartEvent(index=index, part=ToolCallPart() as call):
                self._call_ids[index] = call.tool_call_id
                return [ToolCallStart(call.tool_call_id, call.tool_name), *self._arguments(index, cast(Any, call.args))]
            case PartStartEvent(part=TextPart(content)) | PartDeltaEvent(delta=TextPartDelta(content)):
                return [TextDelta(content)] if content else []
            case PartStartEvent(part=ThinkingPart(content)):
                return [ReasoningDelta(content)] if content else []
            case PartDeltaEvent(delta=ThinkingPartDelta(content_delta=content)):
                return [ReasoningDelta(content)] if content else []
            case PartDeltaEvent(index=index, delta=ToolCallPartDelta(args_delta=args)):
                return self._arguments(index, args)
            case PartEndEvent(part=ThinkingPart(signature=signature)):
                return [ReasoningEncryptedValue(signature)] if signature else []
            case _:
                return []

    def _arguments(self, index: int, args: str | dict[str, Any] | None) -> list[Event]:
        call_id = self._call_ids.get(index)
        if not args or call_id is None:
            return []
        text = args if isinstance(args, str) else json.dumps(args, separators=(",", ":"))
        return [ToolCallDelta(call_id, text)]


def _whole(response: ModelResponse) -> list[Event]:
    """A response that did not stream, as if it had come in one piece."""
    shown = _Shown()
    found: list[Event] = []
    for index, part in enumerate(response.parts):
        found += shown.events(PartStartEvent(index=index, part=part))
        found += shown.events(PartEndEvent(index=index, part=part))
    return found


def _streams(model: Model) -> bool:
    while isinstance(model, WrapperModel):
        model = model.wrapped
    if isinstance(model, FunctionModel):
        return model.stream_function is not None
    return type(model).request_stream is not Model.request_stream


def _from_log(stored: Message, tool_name: str) -> ToolReturn[Any]:
    """The recorded outcome of a call, as the tool had it: returned, or raised for the model to see."""
    part, returned = to_tool_return(stored, tool_name)
    if part.outcome == "retried":
        raise ToolRetryError(part)
    if part.outcome != "success":
        raise ToolFailedError(part)
    return returned


def _is_json(value: Any) -> bool:
    try:
        pydantic_core.to_json(value)
    except pydantic_core.PydanticSerializationError:
        return False
    return True


def _told_to_the_model(error: Exception, failed: ToolReturnPart) -> Exception:
    """How the framework hears of a failed call: retries in their own terms, so that it counts them."""
    if isinstance(error, (ToolRetryError, ToolFailedError, ModelRetry, pydantic.ValidationError)):
        return error
    return ToolFailedError(failed)


def _is_out_of_retries(ctx: RunContext[Any], error: Exception) -> bool:
    """The framework gives up on a tool that asked for one retry too many. An agent inside a tool may raise the same
    class, but that is the tool's failure, unless it happens on the last attempt too."""
    asked = isinstance(error.__cause__, (ModelRetry, pydantic.ValidationError))
    return isinstance(error, UnexpectedModelBehavior) and asked and ctx.retry >= ctx.max_retries


def _usage(usage: RunUsage) -> Usage:
    return Usage(
        usage.input_tokens,
        usage.output_tokens,
        usage.cache_read_tokens,
        usage.cache_write_tokens,
        usage.output_reasoning_tokens,
        usage.requests,
    )


def _request_usage(usage: RequestUsage) -> Usage:
    return Usage(
        usage.input_tokens,
        usage.output_tokens,
        usage.cache_read_tokens,
        usage.cache_write_tokens,
        usage.output_reasoning_tokens,
        1,
    )


def _run_usage(usage: Usage) -> RunUsage:
    return RunUsage(
        input_tokens=usage.input_tokens,
        output_tokens=usage.output_tokens,
        cache_read_tokens=usage.cache_read_tokens,
        cache_write_tokens=usage.cache_write_tokens,
        output_reasoning_tokens=usage.reasoning_tokens,
        requests=usage.model_calls,
    )


def _is_stopping() -> bool:
    """Whether it is this task that was cancelled, and not something the agent was waiting for."""
    task = asyncio.current_task()
    return task is not None and task.cancelling() > 0
