"""The tool calls of one Pydantic AI turn: run once, answered once, each answer durable before anybody sees it.

Above: `pydantic_ai` opens and closes turns here and hands over each call the framework makes. Below: `RunPort`.
Holds: what is committed for a call is what the model reads: nothing wraps this from outside, and the framework is
handed what the log would give it after a crash. A call that has an answer in the log is neither judged nor run again.
Whatever a tool raises becomes its answer, unless it is one of this package's own failures or the request to stop; its
text goes to the log, and to the model only where it is meant for it. The framework knows a call by an id of its own; in
the log it has the thread's.

Source: `docs/concepts/executors.md` (C2, the key of a call), `docs/reference/events.md` (`ToolCallDone`).
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from itertools import islice
from typing import Any, Final, cast

import msgspec
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
from pydantic_ai.tools import ToolDefinition, ToolDenied

from awaken.domain.agent_event import CallStatus
from awaken.domain.clock import Clock
from awaken.domain.errors import ExecutorError, LeaseLost, PermanentFailure, ValidationError
from awaken.domain.event import ToolCallDone
from awaken.domain.ids import MessageId
from awaken.domain.message import Json, Message
from awaken.executors.asking import Waits, asking_in_call
from awaken.executors.containment import running_task
from awaken.executors.contract import HandedOver, RunPort
from awaken.executors.function import is_stopping
from awaken.executors.mending import mended, named, plain
from awaken.executors.pydantic_messages import from_return, named_tool, to_tool_return
from awaken.executors.pydantic_waits import CallWaits
from awaken.executors.tool_call import serving
from awaken.executors.wording import described

MAX_ITEMS: Final = 100_000
"""How many items of an iterator that a tool returns are read."""
CUT_OFF: Final = "the tool waited for something that was cancelled"
_STATUS: Final[dict[str, CallStatus]] = {
    "success": "succeeded",
    "failed": "failed",
    "denied": "denied",
    "interrupted": "cancelled",
}
"""By the framework's outcome, for all but `retried`."""
_log = logging.getLogger("awaken.executors")
_encode: Final = msgspec.json.Encoder().encode
_NO_SUCH_TOOL: Final = frozenset({"unknown_tool", "unavailable_tool"})
ToolHandler = Callable[[dict[str, Any]], Awaitable[Any]]


class Answers:
    """The calls of the open turn of one execution, and which of them are answered."""

    def __init__(self, port: RunPort, clock: Clock, waits: CallWaits) -> None:
        self._port = port
        self._waits = waits
        self._clock = clock
        self._turn: MessageId | None = None
        self._ids: Mapping[str, str] = {}
        """The thread's ids of the turn's calls, by the framework's."""
        self._misfits: set[str] = set()
        """Calls whose arguments the framework has refused, by the framework's ids."""
        self._answered: set[str] = set()
        """Calls whose answers are in the log, or on their way into it."""
        self._stored: dict[str, Message] = {}
        """Answers that an earlier execution committed, by call."""

    def enter_again(self, stored: Iterable[Message]) -> None:
        """The turn about to be opened has these answers already."""
        self._stored = {message.tool_call_id or "": message for message in stored}
        self._answered = set(self._stored)

    def open(self, turn: MessageId, ids: Mapping[str, str]) -> None:
        """The turn's message is committed. `ids`: the thread's ids of its calls, by the framework's."""
        self._turn, self._ids = turn, ids

    def close(self) -> None:
        self._turn, self._ids = None, {}
        self._misfits = set()
        self._answered, self._stored = set(), {}

    @property
    def ids(self) -> Mapping[str, str]:
        """The thread's ids of the open turn's calls, by the framework's."""
        return self._ids

    def id_of(self, call_id: str | None) -> str | None:
        """The thread's id of a call of the open turn; None for any other, such as one that a tool makes itself."""
        return self._ids.get(call_id or "")

    def are_for(self, part: object) -> bool:
        """Whether this is an answer to a call of the open turn."""
        return isinstance(part, ToolReturnPart) and self.id_of(part.tool_call_id) is not None

    def refuse(self, call_id: str) -> None:
        """The framework finds that the arguments of the call do not fit the tool; its answer follows."""
        self._misfits.add(call_id)

    async def commit_once(self, part: ToolReturnPart) -> None:
        """Commit an answer the framework gave itself: bad arguments, no such tool, an output received."""
        call_id = self.id_of(part.tool_call_id)
        if call_id is not None and call_id not in self._answered:
            await self._answer(part, self._status(part))

    def skip_validation(self, call: ToolCallPart) -> None:
        """An answered call is not judged again, by rules that may have changed since."""
        if self.id_of(call.tool_call_id) in self._stored:
            raise SkipToolValidation(call.args_as_dict())

    async def call(
        self, ctx: RunContext[Any], call: ToolCallPart, tool: ToolDefinition, args: dict[str, Any], handler: ToolHandler
    ) -> Any:
        """Run one call, or answer it from the log. Its answer is durable when this returns or raises (C2)."""
        call_id = self.id_of(call.tool_call_id)
        if call_id is None or self._turn is None:
            return await handler(args)  # a tool's own inner call; only the outer one has an answer in the log
        stored = self._stored.get(call_id)
        if stored is not None:
            return _from_log(stored, call)
        self._waits.before(ctx, call_id)
        asks = self._waits.asks_of(call_id, tool)
        own = running_task()
        with serving(self._port.identity.run_id, self._turn, call_id), asking_in_call(asks):
            try:
                result = await handler(args)
            except Waits:
                raise await self._waits.asked(call, call_id, asks) from None
            except (CallDeferred, ApprovalRequired) as deferred:
                await self._waits.deferred(ctx, call, call_id, tool, deferred)
                raise
            except SkipToolExecution as skipped:
                skipped.result = await self._answer_with(call, tool, skipped.result)
                raise
            except HandedOver:
                raise
            except BaseException as error:  # a tool may call `sys.exit`, and what it waits for may have been cancelled
                if isinstance(error, GeneratorExit) and running_task() is not own:
                    raise
                failed = self._failed_answer(ctx, call, tool, error)
                await self._answer(failed, "timed_out" if _is_timeout(error) else "failed")
                raise _as_the_framework_has_it(error, failed) from error
        return await self._answer_with(call, tool, result)

    def _failed_answer(
        self, ctx: RunContext[Any], call: ToolCallPart, tool: ToolDefinition, error: BaseException
    ) -> ToolReturnPart:
        """What the model reads about a call that failed. Raises when the failure is the run's."""
        if isinstance(error, (LeaseLost, ExecutorError)):
            raise error
        if isinstance(error, asyncio.CancelledError) and is_stopping():
            raise error
        if _is_out_of_retries(ctx, error):
            raise PermanentFailure(f"the tool {call.tool_name!r} asked for a retry once too often") from error
        if isinstance(error, ToolRetryError) and isinstance(error.tool_retry, ToolReturnPart):
            return error.tool_retry
        if isinstance(error, ToolFailedError):
            return error.tool_failed
        if isinstance(error, ModelRetry):
            return self._return_part(call, tool, str(error), outcome="retried")
        if isinstance(error, ToolFailed):
            return self._return_part(call, tool, error.message, outcome="failed")
        self._log_failure(call, error)
        text = CUT_OFF if isinstance(error, asyncio.CancelledError) else self._described(error)
        return self._return_part(call, tool, text, outcome="failed")

    async def _answer_with(self, call: ToolCallPart, tool: ToolDefinition, result: Any) -> Any:
        """Commit what a tool returned; what the model gets is read from the commit. A result that is not JSON, or too
        large, becomes an error for the model to read.
        """
        if isinstance(result, ToolDenied):
            await self._answer(self._return_part(call, tool, result.message, outcome="denied"), "denied")
            return result
        is_whole = isinstance(result, ToolReturn)
        returned: ToolReturn[Any] = result if is_whole else ToolReturn[Any](result)  # pyright: ignore[reportUnknownVariableType]
        metadata = returned.metadata if _is_json(returned.metadata) else None  # the application's own, for no model
        try:
            part = self._return_part(call, tool, _in_hand(returned.return_value), metadata=metadata)
            message = self._message(part, returned.content, returned.tools)
            size = len(_encode(mended(message)))
        except BaseException as error:  # what is serialized may call code of the tool
            if isinstance(error, (GeneratorExit, asyncio.CancelledError)):
                raise
            self._log_failure(call, error)
            text = f"the tool {call.tool_name!r} returned a value that has no JSON form ({self._described(error)})"
            raise await self._refused(call, tool, text) from error
        if size > self._port.max_result_bytes:
            bound = self._port.max_result_bytes
            raise await self._refused(
                call, tool, f"the tool {call.tool_name!r} returned {size} bytes, of at most {bound}"
            )
        await self._commit(part, message, "succeeded")
        told = to_tool_return(message, call)[1].return_value
        return replace(returned, return_value=told) if is_whole else told

    async def _refused(self, call: ToolCallPart, tool: ToolDefinition, text: str) -> ToolFailedError:
        """Commit that what the tool returned is not used; what the framework is told."""
        failed = self._return_part(call, tool, text, outcome="failed")
        await self._answer(failed, "failed")
        return ToolFailedError(failed)

    def _described(self, error: BaseException) -> str:
        return described(error, exposed=self._port.exposes_errors)

    def _log_failure(self, call: ToolCallPart, error: BaseException) -> None:
        run_id = self._port.identity.run_id
        _log.warning("the tool %r of run %s failed: %s", call.tool_name, run_id, described(error), exc_info=error)

    async def _answer(self, part: ToolReturnPart, status: CallStatus) -> None:
        """Commit an answer that is told as it is."""
        part.content = plain(part.content)
        await self._commit(part, self._message(part), status)

    def _message(
        self,
        part: ToolReturnPart,
        content: str | Sequence[UserContent] | None = None,
        tools: Sequence[str] | None = None,
    ) -> Message:
        assert self._turn is not None
        call_id = self._ids[part.tool_call_id]
        new_id = self._port.new_message_id()
        return from_return(part, new_id, group=self._turn, call_id=call_id, content=content, tools=tools)

    async def _commit(self, part: ToolReturnPart, message: Message, status: CallStatus) -> None:
        assert self._turn is not None
        call_id = self._ids[part.tool_call_id]
        self._answered.add(call_id)
        done = ToolCallDone(
            message_id=self._turn,
            id=call_id,
            name=named_tool(part.tool_name),
            result_message_id=message.id,
            status=status,
            result=_result_of(message) if status == "succeeded" else None,
            error_text=None if status == "succeeded" else part.model_response_str(wrap_if_error=False),
            ticket_id=self._waits.ticket_id_of(call_id),
        )
        await self._port.commit_tool(message, done)

    def _status(self, part: ToolReturnPart) -> CallStatus:
        """How a call ended that the framework answered without making it."""
        if part.outcome != "retried":
            return _STATUS[part.outcome]
        refused = part.tool_call_id in self._misfits and (part.retry is None or part.retry.cause not in _NO_SUCH_TOOL)
        return "invalid_arguments" if refused else "failed"

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


def _from_log(stored: Message, call: ToolCallPart) -> ToolReturn[Any]:
    """The recorded outcome of a call, as the tool had it: returned, or raised for the model to see."""
    part, returned = to_tool_return(stored, call)
    if part.outcome == "retried":
        raise ToolRetryError(part)
    if part.outcome != "success":
        raise ToolFailedError(part)
    return returned


def _result_of(message: Message) -> Any:
    """What a tool returned, from the message that answers its call."""
    [block] = message.content
    return block.value if isinstance(block, Json) else message.text


def _is_json(value: Any) -> bool:
    try:
        pydantic_core.to_json(value)
    except Exception:
        return False
    return True


def _in_hand(value: Any) -> Any:
    """The value, with what can be gone through only once gone through, and numbers that are none by their names."""
    if isinstance(value, Iterator):
        items = list(islice(cast("Iterator[Any]", value), MAX_ITEMS + 1))
        if len(items) > MAX_ITEMS:
            raise ValidationError(f"an iterator may have {MAX_ITEMS} items")
        return [_in_hand(item) for item in items]
    if type(value) is list or type(value) is tuple:
        return [_in_hand(item) for item in cast("list[Any]", value)]
    if type(value) is dict:
        return {key: _in_hand(item) for key, item in cast("dict[Any, Any]", value).items()}
    return named(value) if type(value) is float else value


def _as_the_framework_has_it(error: BaseException, failed: ToolReturnPart) -> Exception:
    """How the framework hears of a failed call: retries in their own terms, so that it counts them."""
    if isinstance(error, (ToolRetryError, ToolFailedError, ModelRetry)):
        return error
    return ToolFailedError(failed)


def _is_out_of_retries(ctx: RunContext[Any], error: BaseException) -> bool:
    """The framework gives up on a tool that asked for one retry too many. An agent inside a tool may raise the same
    class, but that is the tool's failure, unless it happens on the last attempt too."""
    asked = isinstance(error.__cause__, (ModelRetry, pydantic.ValidationError))
    return isinstance(error, UnexpectedModelBehavior) and asked and ctx.retry >= ctx.max_retries


def _is_timeout(error: BaseException) -> bool:
    """Whether the framework cut the tool off: it then raises a retry `from None` in the place of the timeout. A tool
    that asks for a retry because something timed out inside it names that as the cause, or hides nothing.
    """
    retry = error if isinstance(error, ModelRetry) else error.__cause__
    if not isinstance(retry, ModelRetry) or retry.__cause__ is not None:
        return False
    return retry.__suppress_context__ and isinstance(retry.__context__, TimeoutError)
