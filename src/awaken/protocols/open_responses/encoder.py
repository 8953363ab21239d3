"""A run's log as the events of Open Responses, each turn a response; and the response as an object.

Above: `routes`. Below: `contract.TurnEncoder`.
Holds: events are numbered from 0 in each response, so that whoever names the last number he has is sent the rest, and
nothing twice. What is streamed and what is read later is one object. An item has one id and one place wherever it is
named. A `function_call` is always for the client to carry out: what the server carries out is an `mcp_call`.

What was streamed and is void is closed, and left out of the response: the protocol cannot take it back.

Source: docs/howto/use-openai-clients.md; OR-001.
"""

from __future__ import annotations

from typing import Any, Final, cast

import msgspec

from awaken.domain.agent_event import (
    ReasoningDelta,
    ReasoningEncryptedValue,
    StreamReset,
    TextDelta,
    ToolCallDelta,
    ToolCallDone,
    ToolCallReady,
    ToolCallStarted,
)
from awaken.domain.clock import Instant
from awaken.domain.ids import MessageId
from awaken.domain.log import MessagePayload
from awaken.domain.run import NO_USAGE, Usage
from awaken.domain.server_event import TicketDecidedPayload, TicketOpenedPayload
from awaken.domain.ticket import YES
from awaken.http.problems import Problem
from awaken.protocols.contract import NOTHING, Frame, Frames, LogEvent, Opened, TurnEncoder, frame, on, shown_call
from awaken.protocols.open_responses.wire import ASKED, LENGTH_CODES, SERVER, call_item_id, error_of, response_id
from awaken.protocols.turns import Ending

DONE: Final = Frame(b"[DONE]")
_json: Final = msgspec.json.Encoder().encode


class _Item:
    """One item of a response: `kind` is `message`, `reasoning`, `function_call` or `mcp_call`."""

    __slots__ = (
        "approval_id", "arguments", "call_id", "encrypted", "error", "id", "index", "is_open", "is_settled", "is_void",
        "kind", "message_id", "name", "output", "part", "pieces", "status",
    )  # fmt: skip

    def __init__(self, kind: str, id: str, index: int, message_id: MessageId | None, part: int = 0) -> None:
        self.kind = kind
        self.id = id
        self.index = index
        self.message_id = message_id
        self.part = part
        self.pieces: list[str] = []
        """Of its text, or of its arguments as they are written."""
        self.is_open = True
        self.is_settled = False
        """What it shows is committed, so that no reset makes it void."""
        self.is_void = False
        self.status = "in_progress"
        self.name = ""
        self.call_id = ""
        self.arguments: str | None = None
        self.output: str | None = None
        self.error: str | None = None
        self.approval_id: str | None = None
        self.encrypted: str | None = None

    @property
    def text(self) -> str:
        return "".join(self.pieces)

    def shown(self, *, is_new: bool = False) -> dict[str, Any]:
        """As it is now; `is_new`: as it was added, without anything of its content."""
        told: dict[str, Any] = {"id": self.id, "type": self.kind, "status": self.status}
        match self.kind:
            case "message":
                content = [] if is_new else [text_part(self.text)]
                return told | {"role": "assistant", "content": content}
            case "reasoning":
                content = [] if is_new or not self.pieces else [{"type": "reasoning_text", "text": self.text}]
                return told | {"summary": [], "content": content, "encrypted_content": self.encrypted}
            case "function_call":
                return told | {"call_id": self.call_id, "name": self.name, "arguments": self._arguments(is_new)}
            case _:
                return told | {
                    "server_label": SERVER,
                    "name": self.name,
                    "arguments": self._arguments(is_new),
                    "approval_request_id": self.approval_id,
                    "output": self.output,
                    "error": None if self.error is None else _error(self.error),
                }

    def _arguments(self, is_new: bool) -> str:
        if is_new:
            return ""
        return self.text if self.arguments is None else self.arguments


class _Call:
    """A call of the run, as far as a later turn may have to show it."""

    __slots__ = ("approval_id", "arguments", "is_client", "name")

    def __init__(self, name: str, *, is_client: bool) -> None:
        self.name = name
        self.is_client = is_client
        self.arguments = "{}"
        self.approval_id: str | None = None


class Answer:
    """A response: what has become of one turn so far."""

    def __init__(self, opened: Opened, id: str, created_at: Instant, previous: str | None) -> None:
        self.id = id
        self._opened = opened
        self._created_at = created_at
        self._previous = previous
        self.status = "queued"
        self.items: list[_Item | dict[str, Any]] = []
        self.decided: list[dict[str, Any]] = []
        """The decisions that it goes on with, as items of its input."""
        self.completed_at: Instant | None = None
        self.usage: Usage | None = None
        self.error: dict[str, Any] | None = None
        self.incomplete: str | None = None

    def shown(self) -> dict[str, Any]:
        """The response object, with every key."""
        opened, options = self._opened, self._opened.request.options
        asked: object = options.overrides
        echoed = cast(dict[str, Any], asked) if isinstance(asked, dict) else {}
        output: list[Any] = []
        for item in self.items:
            if not isinstance(item, _Item):
                output.append(item)
            elif not item.is_void:
                output.append(item.shown())
        return {
            "id": self.id,
            "object": "response",
            "created_at": self._created_at // 1000,
            "completed_at": None if self.completed_at is None else self.completed_at // 1000,
            "status": self.status,
            "error": self.error,
            "incomplete_details": None if self.incomplete is None else {"reason": self.incomplete},
            "background": echoed.get("background", False),
            "conversation": {"id": opened.thread_id},
            "instructions": echoed.get("instructions"),
            "max_output_tokens": echoed.get("max_output_tokens"),
            "max_tool_calls": echoed.get("max_tool_calls"),
            "metadata": opened.metadata,
            "model": opened.agent_id,
            "output": output,
            "parallel_tool_calls": echoed.get("parallel_tool_calls", True),
            "presence_penalty": echoed.get("presence_penalty", 0),
            "frequency_penalty": echoed.get("frequency_penalty", 0),
            "previous_response_id": self._previous or echoed.get("previous_response_id"),
            "prompt_cache_key": None,
            "reasoning": echoed.get("reasoning"),
            "safety_identifier": None,
            "service_tier": "default",
            "store": options.on_completion != "delete",
            "temperature": echoed.get("temperature", 1),
            "text": echoed.get("text", {"format": {"type": "text"}}),
            "tool_choice": echoed.get("tool_choice", "auto"),
            "tools": [
                {
                    "type": "function",
                    "name": tool.name,
                    "description": tool.description,
                    "parameters": tool.parameters,
                    "strict": False,
                }
                for tool in options.client_tools
            ],
            "top_logprobs": 0,
            "top_p": echoed.get("top_p", 1),
            "truncation": "disabled",
            "usage": None if self.usage is None else usage_of(self.usage),
            "user": None,
        }


class OpenResponsesEncoder(TurnEncoder):
    """`after`: the number of the last event that the client has; those up to it are left out. `keeps`: the turn whose
    response is wanted as an object.
    """

    dialect = "open_responses"
    has_ids = False

    def __init__(self, opened: Opened, *, after: int = -1, keeps: int = 0) -> None:
        super().__init__(opened)
        self._after = after
        self._keeps = keeps
        self.answer: Answer | None = None
        """The response of the newest turn."""
        self.kept: Answer | None = None
        self._number = 0
        self._open: _Item | None = None
        """The text or reasoning that is being written."""
        self._used: dict[str, int] = {}
        self._items: dict[str, _Item] = {}
        """Of this response, those of calls."""
        self._calls: dict[str, _Call] = {}
        self._decided: list[dict[str, Any]] = []
        self._tickets: dict[str, TicketOpenedPayload] = {}
        self._spent = NO_USAGE

    @property
    def shared_as(self) -> tuple[int, int]:
        return self._after, self._keeps

    # --- saying -------------------------------------------------------------------------------------------------------

    def _say(self, frames: list[Frame], kind: str, **told: Any) -> None:
        number = self._number
        self._number += 1
        if number > self._after:
            frames.append(frame({"type": kind, "sequence_number": number, **told}, kind))

    def _state(self, frames: list[Frame], kind: str) -> None:
        if self._number > self._after:
            assert self.answer is not None, "a response is told of when its turn has begun"
            self._say(frames, f"response.{kind}", response=self.answer.shown())
        else:
            self._number += 1

    # --- turns --------------------------------------------------------------------------------------------------------

    def opens(self, event: LogEvent) -> Frames:
        previous = None if self.answer is None else self.answer.id
        self.answer = Answer(self.opened, response_id(event.dispatch_id), event.created_at, previous)
        if self.turns.number == self._keeps:
            self.kept = self.answer
        self.answer.decided, self._decided = self._decided, []
        self._number, self._open = 0, None
        self._used.clear()
        self._items.clear()
        frames: list[Frame] = []
        self._state(frames, "created")
        self._state(frames, "queued")
        return frames

    @on("RunStarted", "RunResumed")
    def _runs(self, event: LogEvent, payload: Any) -> Frames:
        frames: list[Frame] = []
        if self.answer is not None and self.answer.status == "queued":
            self.answer.status = "in_progress"
            self._state(frames, "in_progress")
        return frames

    def ends(self, event: LogEvent, ending: Ending) -> Frames:
        answer = self.answer
        assert answer is not None, "its turn has begun"
        frames: list[Frame] = []
        is_whole = ending.outcome in ("finished", "stopped", "waiting")
        self._close(frames, "completed" if is_whole else "incomplete")
        for item in self._items.values():
            self._finish(frames, item, "incomplete")
        for ticket in ending.tickets:
            self._asks(frames, ticket)
        if ending.output is not None:
            self._written(frames, f"out_{event.dispatch_id}", _text_of(ending.output))
        answer.completed_at = event.created_at
        if ending.usage is not None:
            answer.usage, self._spent = _since(ending.usage, self._spent), ending.usage
        code = None if ending.termination is None else ending.termination.code
        match ending.outcome:
            case "cancelled" | "superseded":
                answer.status = "cancelled"
            case "failed":
                answer.status, answer.error = "failed", {"code": "server_error", "message": ending.text}
            case "blocked":
                answer.status, answer.incomplete = "incomplete", "content_filter"
            case "stopped" if code in LENGTH_CODES:
                answer.status, answer.incomplete = "incomplete", "max_output_tokens"
            case _:
                answer.status = "completed"
        if answer.status != "cancelled":
            self._state(frames, answer.status)
        frames.append(DONE)
        return frames

    def failed(self, problem: Problem, request_id: str) -> Frames:
        error = error_of(problem).error
        told = {"type": "error", "sequence_number": 0, "code": error.code, "message": error.message, "param": None}
        return (frame(told | {"error": error}, "error"), DONE)

    # --- text and reasoning -------------------------------------------------------------------------------------------

    def _add(self, frames: list[Frame], item: _Item) -> None:
        assert self.answer is not None, "its turn has begun"
        self.answer.items.append(item)
        self._say(frames, "response.output_item.added", output_index=item.index, item=item.shown(is_new=True))

    def _id(self, base: str) -> str:
        """What was made void keeps its id, so that what comes instead has another one."""
        count = self._used[base] = self._used.get(base, 0) + 1
        return base if count == 1 else f"{base}_{count}"

    def _place(self) -> int:
        assert self.answer is not None, "its turn has begun"
        return len(self.answer.items)

    def _writing(self, frames: list[Frame], kind: str, message_id: MessageId, part: int) -> _Item:
        found = self._open
        if found is not None and (found.kind, found.message_id, found.part) == (kind, message_id, part):
            return found
        self._close(frames)
        prefix = "msg" if kind == "message" else "rs"
        item = self._open = _Item(kind, self._id(f"{prefix}_{message_id}"), self._place(), message_id, part)
        self._add(frames, item)
        return item

    @on("TextDeltaObserved")
    def _text(self, event: LogEvent, delta: TextDelta) -> Frames:
        frames: list[Frame] = []
        item = self._writing(frames, "message", delta.message_id, delta.part)
        self._piece(frames, item, delta.delta)
        return frames

    def _piece(self, frames: list[Frame], item: _Item, piece: str) -> None:
        told: dict[str, Any] = {"item_id": item.id, "output_index": item.index, "content_index": 0}
        is_text = item.kind == "message"
        if not item.pieces:
            part = text_part("") if is_text else {"type": "reasoning_text", "text": ""}
            self._say(frames, "response.content_part.added", **told, part=part)
        item.pieces.append(piece)
        if is_text:
            self._say(frames, "response.output_text.delta", **told, delta=piece, logprobs=())
        else:
            self._say(frames, "response.reasoning_text.delta", **told, delta=piece)

    @on("ReasoningDeltaObserved")
    def _reasoning(self, event: LogEvent, delta: ReasoningDelta) -> Frames:
        frames: list[Frame] = []
        self._piece(frames, self._writing(frames, "reasoning", delta.message_id, delta.part), delta.delta)
        return frames

    @on("ReasoningEncryptedValueObserved")
    def _encrypted(self, event: LogEvent, value: ReasoningEncryptedValue) -> Frames:
        frames: list[Frame] = []
        self._writing(frames, "reasoning", value.message_id, value.part).encrypted = value.encrypted_value
        self._close(frames)
        return frames

    def _close(self, frames: list[Frame], status: str = "completed") -> None:
        """The end of what is being written."""
        item, self._open = self._open, None
        if item is None:
            return
        item.is_open, item.status = False, status
        told: dict[str, Any] = {"item_id": item.id, "output_index": item.index, "content_index": 0}
        if item.pieces:
            if item.kind == "message":
                part = text_part(item.text)
                self._say(frames, "response.output_text.done", **told, text=item.text, logprobs=())
            else:
                part = {"type": "reasoning_text", "text": item.text}
                self._say(frames, "response.reasoning_text.done", **told, text=item.text)
            self._say(frames, "response.content_part.done", **told, part=part)
        self._say(frames, "response.output_item.done", output_index=item.index, item=item.shown())

    def _written(self, frames: list[Frame], id: str, text: str) -> None:
        """A message that was never streamed, of no message in the log."""
        item = self._open = _Item("message", id, self._place(), None)
        item.is_settled = True
        self._add(frames, item)
        self._piece(frames, item, text)
        self._close(frames)

    @on("MessageCommitted")
    def _message(self, event: LogEvent, message: MessagePayload) -> Frames:
        if self.answer is not None:
            for item in reversed(self.answer.items):
                if isinstance(item, _Item) and item.message_id == message.message_id:
                    item.is_settled = True
        return NOTHING

    @on("StreamReset")
    def _reset(self, event: LogEvent, reset: StreamReset) -> Frames:
        frames: list[Frame] = []
        self._close(frames)
        for item in () if self.answer is None else self.answer.items:
            if (
                isinstance(item, _Item)
                and not item.is_settled
                and (reset.message_id is None or item.message_id == reset.message_id)
            ):
                item.is_void = True
                item.pieces.clear()
        return frames

    # --- calls --------------------------------------------------------------------------------------------------------

    @on("ToolCallStarted")
    def _call_start(self, event: LogEvent, started: ToolCallStarted) -> Frames:
        frames: list[Frame] = []
        self._calls[started.id] = _Call(started.name, is_client=started.runs_on == "client")
        self._begun(frames, started.id, started.message_id)
        return frames

    def _begun(self, frames: list[Frame], id: str, message_id: MessageId | None) -> _Item:
        """The item of a call: a new one, or the one that was begun before a reset, at its old place."""
        call, item = self._calls[id], self._items.get(id)
        if item is not None:
            item.is_void = False
            return item
        self._close(frames)
        if call.is_client:
            item = _Item("function_call", call_item_id(self.opened.run_id, id), self._place(), message_id)
        else:
            item = _Item("mcp_call", f"mcp_{id}", self._place(), message_id)
        self._items[id] = item
        item.name, item.call_id, item.approval_id = call.name, id, call.approval_id
        self._add(frames, item)
        if not call.is_client:
            self._say(frames, "response.mcp_call.in_progress", item_id=item.id, output_index=item.index)
        return item

    @on("ToolCallDeltaObserved")
    def _call_input(self, event: LogEvent, delta: ToolCallDelta) -> Frames:
        item = self._items.get(delta.id)
        if item is None or item.arguments is not None:
            return NOTHING
        frames: list[Frame] = []
        item.pieces.append(delta.args_delta)
        self._argued(frames, item, "delta", delta=delta.args_delta)
        return frames

    def _argued(self, frames: list[Frame], item: _Item, what: str, **told: Any) -> None:
        kind = "function_call" if item.kind == "function_call" else "mcp_call"
        if kind == "function_call" and what == "done":
            told["name"] = item.name
        name = f"response.{kind}_arguments.{what}"
        self._say(frames, name, item_id=item.id, output_index=item.index, **told)

    @on("ToolCallReady")
    def _call_ready(self, event: LogEvent, ready: ToolCallReady) -> Frames:
        call = self._calls.setdefault(ready.id, _Call(ready.name, is_client=False))
        call.arguments = _text_of(ready.arguments or {}) if ready.raw is None else ready.raw
        frames: list[Frame] = []
        self._ready(frames, self._begun(frames, ready.id, ready.message_id), call)
        return frames

    def _ready(self, frames: list[Frame], item: _Item, call: _Call) -> None:
        """Its arguments are complete. Who carries out a `function_call` may begin."""
        if item.arguments is not None:
            return
        if not item.pieces:
            self._argued(frames, item, "delta", delta=call.arguments)
        item.is_settled, item.arguments = True, call.arguments
        self._argued(frames, item, "done", arguments=call.arguments)
        if call.is_client:
            self._finish(frames, item, "completed")

    def _finish(self, frames: list[Frame], item: _Item, status: str) -> None:
        if not item.is_open:
            return
        item.is_open, item.status = False, status
        if item.kind == "mcp_call" and status != "incomplete":
            self._say(frames, f"response.mcp_call.{status}", item_id=item.id, output_index=item.index)
        self._say(frames, "response.output_item.done", output_index=item.index, item=item.shown())

    @on("ToolCallDone")
    def _call_done(self, event: LogEvent, done: ToolCallDone) -> Frames:
        call = self._calls.pop(done.id, None) or _Call(done.name, is_client=False)
        if call.is_client:
            return NOTHING  # the client has said so itself
        self._calls[done.id] = call
        frames: list[Frame] = []
        item = self._begun(frames, done.id, done.message_id)
        del self._calls[done.id]
        self._ready(frames, item, call)
        if done.status == "succeeded":
            item.output = _text_of(done.result)
            self._finish(frames, item, "completed")
        else:
            item.error = done.error_text or f"the call has ended as {done.status}"
            self._finish(frames, item, "failed")
        return frames

    # --- what a run waits for -----------------------------------------------------------------------------------------

    @on("TicketOpened")
    def _opened(self, event: LogEvent, ticket: TicketOpenedPayload) -> Frames:
        self._tickets[ticket.ticket_id] = ticket
        call = self._calls.get(ticket.tool_call_id or "")
        if ticket.kind == "approval" and call is not None:
            call.approval_id = ticket.ticket_id
            item = self._items.get(ticket.tool_call_id or "")
            if item is not None:
                item.approval_id = ticket.ticket_id
        return NOTHING

    def _asks(self, frames: list[Frame], ticket: TicketOpenedPayload) -> None:
        """What the client has to answer now, in the response that ends with it."""
        id, name, arguments = shown_call(ticket)
        match ticket.kind:
            case "client_tool":
                call = self._calls.setdefault(id, _Call(name, is_client=True))
                if id not in self._items:
                    call.arguments = _text_of(arguments or {})
                    self._ready(frames, self._begun(frames, id, None), call)
            case "approval":
                asked = {
                    "id": ticket.ticket_id,
                    "type": "mcp_approval_request",
                    "server_label": SERVER,
                    "name": name,
                    "arguments": _text_of(arguments or {}),
                }
                self._item(frames, asked)
            case "input":
                text = ticket.message or f"{name} needs an answer."
                self._written(frames, f"{ASKED}{ticket.ticket_id}", text)
            case _:
                pass

    def _item(self, frames: list[Frame], item: dict[str, Any]) -> None:
        """One that is whole from the beginning."""
        assert self.answer is not None, "its turn has begun"
        place = self._place()
        self.answer.items.append(item)
        self._say(frames, "response.output_item.added", output_index=place, item=item)
        self._say(frames, "response.output_item.done", output_index=place, item=item)

    @on("TicketDecided")
    def _decision(self, event: LogEvent, decided: TicketDecidedPayload) -> Frames:
        ticket = self._tickets.pop(decided.ticket_id, None)
        call = self._calls.get(decided.tool_call_id or "")
        if call is not None and decided.action == "edit":
            call.arguments = _text_of(decided.arguments)
        if ticket is not None:
            self._decided += _decision_items(ticket, decided)
        return NOTHING

    @on("TicketExpired", "TicketWithdrawn")
    def _closes(self, event: LogEvent, closed: Any) -> Frames:
        self._tickets.pop(closed.ticket_id, None)
        return NOTHING


def _decision_items(ticket: TicketOpenedPayload, decided: TicketDecidedPayload) -> list[dict[str, Any]]:
    """A decision as it stands in the input of the response that goes on with it."""
    id = f"in_{ticket.ticket_id}"
    answer = _text_of(decided.reason if decided.action == "fail" else decided.result)
    match ticket.kind:
        case "client_tool":
            call_id = decided.tool_call_id or ticket.ticket_id
            told = {"id": id, "type": "function_call_output", "call_id": call_id}
            return [told | {"output": answer, "status": "completed"}]
        case "approval":
            told = {"id": id, "type": "mcp_approval_response", "approval_request_id": ticket.ticket_id}
            return [told | {"approve": decided.action in YES, "reason": decided.reason}]
        case "input":
            content = [{"type": "input_text", "text": answer}]
            return [{"id": id, "type": "message", "role": "user", "content": content, "status": "completed"}]
        case _:
            return []


def text_part(text: str) -> dict[str, Any]:
    return {"type": "output_text", "text": text, "annotations": (), "logprobs": ()}


def _error(text: str) -> dict[str, Any]:
    return {"type": "mcp_tool_execution_error", "content": [{"type": "text", "text": text}]}


def _text_of(value: Any) -> str:
    """A value where the protocol has text: itself, or else its JSON."""
    if value is None:
        return ""
    return value if isinstance(value, str) else _json(value).decode()


def _since(usage: Usage, before: Usage) -> Usage:
    """What was spent since then, of totals of a run."""
    return Usage(**{name: max(getattr(usage, name) - getattr(before, name), 0) for name in Usage.__struct_fields__})


def usage_of(usage: Usage) -> dict[str, Any]:
    return {
        "input_tokens": usage.input_tokens,
        "input_tokens_details": {
            "cached_tokens": usage.cache_read_tokens,
            "cache_write_tokens": usage.cache_write_tokens,
        },
        "output_tokens": usage.output_tokens,
        "output_tokens_details": {"reasoning_tokens": usage.reasoning_tokens},
        "total_tokens": usage.input_tokens + usage.output_tokens,
    }
