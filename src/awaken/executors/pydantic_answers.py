"""The tool calls of one Pydantic AI turn: run once, answered once, each answer durable before anybody sees it.

Above: `pydantic_ai` opens and closes turns here and hands over each call the framework makes. Below: `RunPort`.
Holds: what is committed for a call is what the model is told, because nothing wraps this from outside. A call that
has an answer in the log is neither judged nor run again. What a tool raises is told to the model, unless it is one of
this package's own failures.

Source: research/agent-runtimes.md 2 (gotchas 7, 12, 17, 21, 22), 5 (C2).
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Sequence
from datetime import UTC, datetime
from typing import Any, Final

import pydantic
import pydantic_core
from pydantic_ai import RunContext, ToolReturn
from pydantic_ai.exceptions import (
    ApprovalRequired,
    CallDeferred,
    ModelRetry,
    SkipToolExecution,
    SkipToolValidation,
    ToolFailed,
    ToolFailedError,
    ToolRetryError,
    UnexpectedModelBehavior,
)
from pydantic_ai.messages import ToolCallPart, ToolReturnPart, UserContent
from pydantic_ai.tools import ToolDefinition

from awaken.domain.clock import Clock
from awaken.domain.errors import ExecutorError, LeaseLost, PermanentFailure
from awaken.domain.event import ToolCallDone
from awaken.domain.ids import MessageId
from awaken.domain.message import Message, ToolStatus
from awaken.executors.contract import RunPort
from awaken.executors.pydantic_messages import from_return, to_tool_return
from awaken.executors.tool_call import serving

DEFERRED: Final = "it asked for an approval or a result from outside, which this version cannot wait for"
ToolHandler = Callable[[dict[str, Any]], Awaitable[Any]]


class Answers:
    """The calls of the open turn of one execution, and which of them are answered."""

    def __init__(self, port: RunPort, clock: Clock) -> None:
        self._port = port
        self._clock = clock
        self._turn: MessageId | None = None
        self._calls: frozenset[str] = frozenset()
        self._answered: set[str] = set()
        """Calls whose answers are in the log, or on their way into it."""
        self._stored: dict[str, Message] = {}
        """Answers that an earlier execution committed, by call."""

    def enter_again(self, stored: Iterable[Message]) -> None:
        """The turn about to be opened has these answers already."""
        self._stored = {message.tool_call_id or "": message for message in stored}
        self._answered = set(self._stored)

    def open(self, turn: MessageId, calls: Iterable[ToolCallPart]) -> None:
        self._turn = turn
        self._calls = frozenset(call.tool_call_id for call in calls)

    def close(self) -> None:
        self._turn, self._calls = None, frozenset()
        self._answered, self._stored = set(), {}

    def are_for(self, part: object) -> bool:
        """Whether this is an answer to a call of the open turn."""
        return isinstance(part, ToolReturnPart) and part.tool_call_id in self._calls

    async def commit_once(self, part: ToolReturnPart) -> None:
        """Commit an answer the framework gave itself: bad arguments, no such tool, an output received."""
        if part.tool_call_id not in self._answered:
            await self._answer(part)

    def skip_validation(self, call: ToolCallPart) -> None:
        """An answered call is not judged again, by rules that may have changed since."""
        if call.tool_call_id in self._stored and call.tool_call_id in self._calls:
            raise SkipToolValidation(call.args_as_dict())

    async def call(
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
                raise PermanentFailure(f"the tool {call.tool_name!r} cannot finish: {DEFERRED}") from deferred
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
            timestamp=datetime.fromtimestamp(self._clock.now() / 1000, UTC),
        )


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
