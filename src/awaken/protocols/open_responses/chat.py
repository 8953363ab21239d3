"""Chat completions: the smallest form in which an agent is a model, for whatever takes a base URL.

Above: `routes`. Below: `contract.TurnEncoder`, the gateway.
Holds: only text, and calls that the client carries out, are shown; what else a run asks for is said as text. The id of
such a call is that of its ticket, so that its answer finds its run by itself, whatever thread that is on.

Source: docs/howto/use-openai-clients.md; OR-006.
"""

from __future__ import annotations

from typing import Any, Final, Literal

import msgspec

from awaken.domain.agent_event import StreamReset, TextDelta
from awaken.domain.ids import MessageId
from awaken.domain.log import MessagePayload
from awaken.domain.run import Usage
from awaken.domain.server_event import TicketOpenedPayload
from awaken.domain.ticket import Action
from awaken.http.problems import Problem
from awaken.protocols.contract import NOTHING, Frame, Frames, LogEvent, Opened, TurnEncoder, frame, on, shown_call
from awaken.protocols.open_responses.wire import ASKED, LENGTH_CODES, error_of
from awaken.protocols.turns import Ending

DONE: Final = Frame(b"[DONE]")
FinishReason = Literal["stop", "length", "tool_calls", "content_filter"]
_json: Final = msgspec.json.Encoder().encode


class ChatEncoder(TurnEncoder):
    """`with_usage`: a last chunk says what was spent. `keeps`: the turn whose message is wanted as a whole. `is_named`:
    the client names the thread, so that what it says next is said there.
    """

    dialect = "chat_completions"
    has_ids = False

    def __init__(self, opened: Opened, *, with_usage: bool = False, keeps: int = 0, is_named: bool = False) -> None:
        super().__init__(opened)
        self._with_usage = with_usage
        self._keeps = keeps
        self._is_named = is_named
        self._id = ""
        self._created_at = 0
        self._said: list[str] = []
        """What is committed of the answer."""
        self._texts: dict[MessageId, list[str]] = {}
        """What is not."""
        self._calls: list[dict[str, Any]] = []
        self.kept: dict[str, Any] | None = None
        """The completion of the turn that was to be kept, when it has ended."""
        self.kept_ending: Ending | None = None

    @property
    def shared_as(self) -> tuple[bool, int, bool]:
        return self._with_usage, self._keeps, self._is_named

    def _chunk(self, delta: dict[str, Any] | None, finish: FinishReason | None = None, usage: Any = None) -> Frame:
        choices = [] if delta is None else [{"index": 0, "delta": delta, "logprobs": None, "finish_reason": finish}]
        told = self._head("chat.completion.chunk") | {"choices": choices}
        return frame(told | ({"usage": usage} if self._with_usage else {}))

    def _head(self, object: str) -> dict[str, Any]:
        return {
            "id": self._id,
            "object": object,
            "created": self._created_at // 1000,
            "model": self.opened.agent_id,
        }

    # --- turns --------------------------------------------------------------------------------------------------------

    def opens(self, event: LogEvent) -> Frames:
        self._id, self._created_at = f"chatcmpl-{event.dispatch_id}", event.created_at
        self._texts.clear()
        self._said, self._calls = [], []
        return (self._chunk({"role": "assistant", "content": ""}),)

    def ends(self, event: LogEvent, ending: Ending) -> Frames:
        frames: list[Frame] = []
        for ticket in ending.tickets:
            if ticket.kind == "client_tool":
                _, name, arguments = shown_call(ticket)
                told = {"name": name, "arguments": _json(arguments or {}).decode()}
                call = {"id": ticket.ticket_id, "type": "function", "function": told}
                frames.append(self._chunk({"tool_calls": [{"index": len(self._calls), **call}]}))
                self._calls.append(call)
        is_only = len(ending.tickets) == 1
        asked = [each for each in ending.tickets if each.kind in ("approval", "input")]
        said = [question_of(each, is_only=is_only, is_named=self._is_named) for each in asked]
        if ending.output is not None:
            said.append(ending.output if isinstance(ending.output, str) else _json(ending.output).decode())
        for pieces in self._texts.values():
            self._said += pieces
        for place, text in enumerate(said):
            text = text if place == 0 else f"\n{text}"
            self._said.append(text)
            frames.append(self._chunk({"content": text}))
        reason = _reason(ending, bool(self._calls))
        if self.turns.number == self._keeps:
            self.kept, self.kept_ending = self._completion(reason, ending.usage), ending
        if ending.outcome == "failed":
            error = {"message": ending.text, "type": "server_error", "param": None, "code": "run_failed"}
            return [*frames, frame({"error": error}), DONE]
        frames.append(self._chunk({}, reason))
        if self._with_usage:
            frames.append(self._chunk(None, usage=usage_of(ending.usage)))
        return [*frames, DONE]

    def _completion(self, reason: FinishReason, usage: Usage | None) -> dict[str, Any]:
        text = "".join(self._said)
        message: dict[str, Any] = {"role": "assistant", "content": text or None, "refusal": None}
        if self._calls:
            message["tool_calls"] = self._calls
        choice = {"index": 0, "message": message, "logprobs": None, "finish_reason": reason}
        return self._head("chat.completion") | {"choices": [choice], "usage": usage_of(usage)}

    def failed(self, problem: Problem, request_id: str) -> Frames:
        return (frame(error_of(problem)), DONE)

    # --- text ---------------------------------------------------------------------------------------------------------

    @on("TextDeltaObserved")
    def _text(self, event: LogEvent, delta: TextDelta) -> Frames:
        self._texts.setdefault(delta.message_id, []).append(delta.delta)
        return (self._chunk({"content": delta.delta}),)

    @on("MessageCommitted")
    def _message(self, event: LogEvent, message: MessagePayload) -> Frames:
        self._said += self._texts.pop(message.message_id, ())
        return NOTHING

    @on("StreamReset")
    def _reset(self, event: LogEvent, reset: StreamReset) -> Frames:
        if reset.message_id is None:
            self._texts.clear()
        else:
            self._texts.pop(reset.message_id, None)
        return NOTHING


def question_of(ticket: TicketOpenedPayload, *, is_only: bool, is_named: bool) -> str:
    """What a run waits for that this protocol has no place for, and how it is answered. `is_only`: it waits for nothing
    else. `is_named`: what is said next is said to it.
    """
    _, name, arguments = shown_call(ticket)
    if ticket.kind == "input":
        asked = ticket.message or f"{name} needs an answer."
        return asked if is_only else f"{asked} ({ASKED}{ticket.ticket_id})"
    asked = ticket.message or "May this be done?"
    if ticket.tool_call_id is not None:
        asked += f" {name}({_json(arguments or {}).decode()})"
    elif ticket.arguments is not None:
        asked += f" {_json(ticket.arguments).decode()}"
    if is_only and is_named:
        return f'{asked} Say "yes" or "no".'
    return f"{asked} It waits for POST {decision_path(ticket.ticket_id)}."


def decision_path(ticket_id: str) -> str:
    """Where a ticket is decided in this API."""
    return f"/v1/tickets/{ticket_id}/decision"


def plainly(text: str) -> Action | None:
    """What one says who says no more than yes or no."""
    return _WORDS.get(text.strip().rstrip(".!").casefold())


_WORDS: Final[dict[str, Action]] = {
    **dict.fromkeys(("yes", "approve"), "approve"),
    **dict.fromkeys(("no", "deny", "reject"), "deny"),
}


def _reason(ending: Ending, has_calls: bool) -> FinishReason:
    code = None if ending.termination is None else ending.termination.code
    match ending.outcome:
        case "waiting" if has_calls:
            return "tool_calls"
        case "blocked":
            return "content_filter"
        case "stopped" if code in LENGTH_CODES:
            return "length"
        case _:
            return "stop"


def usage_of(usage: Usage | None) -> dict[str, Any]:
    spent = usage or Usage()
    return {
        "prompt_tokens": spent.input_tokens,
        "completion_tokens": spent.output_tokens,
        "total_tokens": spent.input_tokens + spent.output_tokens,
        "prompt_tokens_details": {"cached_tokens": spent.cache_read_tokens},
        "completion_tokens_details": {"reasoning_tokens": spent.reasoning_tokens},
    }
