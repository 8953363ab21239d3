"""A run's log as chunks of a UI message stream, `v1`, as `ai` 6 reads them, or with the additions of `ai` 7.

Above: `routes`. Below: `contract.TurnEncoder`.
Holds: every chunk passes the client's schema; nothing names a part or a call that the same message has not begun. What
the server carries out is marked as executed by the provider, so that a client never carries it out, nor sends it back.

One message of the client is what a run says to one input. It goes on over the turns that decisions begin; a turn that
begins with new input is a message of its own, because the client shows that input in between.

Source: docs/howto/use-the-ai-sdk.md; SRV-031.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Final, Literal

from awaken.domain.agent_event import (
    ActivityDelta,
    ActivitySnapshot,
    ArtifactWritten,
    ErrorRecorded,
    InferenceComplete,
    ReasoningDelta,
    ReasoningEncryptedValue,
    StateDelta,
    StateSnapshot,
    StreamReset,
    TextDelta,
    ToolCallDelta,
    ToolCallDone,
    ToolCallReady,
    ToolCallStarted,
    ToolCallStreamDelta,
)
from awaken.domain.clock import to_rfc3339
from awaken.domain.ids import MessageId
from awaken.domain.log import MessagePayload
from awaken.domain.message import ASSISTANT, USER, Audio, Block, Document, Image, Video
from awaken.domain.run import Usage
from awaken.domain.server_event import (
    ChildSuspendedPayload,
    DispatchPayload,
    TicketDecidedPayload,
    TicketExpiredPayload,
    TicketOpenedPayload,
    TicketWithdrawnPayload,
)
from awaken.domain.ticket import YES
from awaken.http.problems import Problem
from awaken.protocols.ai_sdk.wire import SHOWN_KINDS, answer_id, file_of, parts_of
from awaken.protocols.contract import (
    NOTHING,
    RECEIPTS,
    Frame,
    Frames,
    LogEvent,
    Opened,
    Receipt,
    TurnEncoder,
    fate_in,
    frame,
    on,
    shown_call,
)
from awaken.protocols.turns import Ending

Dialect = Literal[6, 7]
MAX_PROGRESS_CHARS: Final = 64 * 1024
"""Of what a running tool has put out, the end is sent anew with each piece."""
DONE: Final = Frame(b"[DONE]")
_START_STEP: Final = frame({"type": "start-step"})
_FINISH_STEP: Final = frame({"type": "finish-step"})
_RESET_STEP: Final = frame({"type": "reset-step"})
_LENGTH_CODES: Final = frozenset({"max_tokens", "budget", "usage_limit", "context_length"})
"""Codes of a run that stopped because there was no room for more."""


class _Call:
    """A tool call of the message, as the client has it."""

    __slots__ = ("arguments", "is_done", "is_ready", "is_server", "name", "ticket_id")

    def __init__(self, name: str, *, is_server: bool) -> None:
        self.name = name
        self.is_server = is_server
        self.arguments: Any = None
        self.is_ready = False
        self.is_done = False
        self.ticket_id: str | None = None
        """Of the approval that was asked for."""


class AiSdkEncoder(TurnEncoder):
    """`version` 7 says some things with chunks that a client of 6 refuses.

    `until`: the last of several turns that are one stream, because they are one message, and whoever comes back builds
    that anew from its beginning. It has the frames that each turn has by itself, but for the ends of all but the last.
    """

    dialect = "ai_sdk"

    def __init__(self, opened: Opened, *, version: Dialect = 6, until: int = 0) -> None:
        super().__init__(opened)
        self._version = version
        self._until = until
        self.message_id = ""
        self._texts = 0
        self._reasonings = 0
        self._open: tuple[str, str, MessageId, int] | None = None
        """The part that is being written: `text` or `reasoning`, its id, and the block of the log that it shows."""
        self._in_step = False
        self._is_step_final = False
        """Something of the step is committed, so that the step cannot be taken back."""
        self._calls: dict[str, _Call] = {}
        self._outputs: dict[str, dict[str | None, Any]] = {}
        self._artifacts: dict[str, tuple[Block, ...]] = {}
        self._decided: list[Frame] = []
        """What was decided between two turns."""

    @property
    def shared_as(self) -> tuple[int, int]:
        return self._version, self._until

    @property
    def is_over(self) -> bool:
        return super().is_over and self.turns.number >= self._until

    # --- turns --------------------------------------------------------------------------------------------------------

    def opens(self, event: LogEvent) -> Frames:
        queued = self.turns.queued
        assert queued is not None, "it has just been queued"
        if self.turns.number == 1 or queued.why == "input":
            self.message_id = answer_id(self.opened.run_id, self.turns.number, queued.message_ids)
            self._calls.clear()
            self._decided.clear()  # about a message that is written no more
        decided, self._decided = self._decided, []
        self._in_step = self._is_step_final = False
        opened = self.opened
        about: dict[str, Any] = {"runId": opened.run_id, "threadId": opened.thread_id}
        told = about | {"agentId": opened.agent_id, "createdAt": to_rfc3339(opened.created_at)}
        return [
            frame({"type": "start", "messageId": self.message_id, "messageMetadata": told}),
            _data("run-info", about | {"messageIds": queued.message_ids}, transient=True),
            _data("queue", {"phase": "queued"}, transient=True),
            *decided,
        ]

    def ends(self, event: LogEvent, ending: Ending) -> Frames:
        frames = self._finished_step()
        if self.turns.number < self._until:
            return frames
        if ending.outcome != "waiting":
            frames += self._abandoned(ending)
        if ending.output is not None:
            frames.append(_data("output", ending.output, id="output"))
        frames += self._terminal(ending)
        frames.append(DONE)
        return frames

    def _terminal(self, ending: Ending) -> list[Frame]:
        told: dict[str, Any] = {}
        if ending.usage is not None:
            told["usage"] = usage_of(ending.usage)
        if ending.termination is not None:
            ended = ending.termination
            told["termination"] = {
                name: value
                for name, value in (("type", ended.type), ("code", ended.code), ("detail", ended.detail))
                if value is not None
            }
        match ending.outcome:
            case "waiting":
                return [_finish("tool-calls", told)]
            case "finished":
                return [_finish("stop", told)]
            case "stopped":
                code = "" if ending.termination is None else ending.termination.code
                return [_finish("length" if code in _LENGTH_CODES else "stop", told)]
            case "blocked":
                return [_finish("content-filter", told)]
            case "failed":
                # A client has no place in a message for its error, and would not know of it after a reload.
                kept = _data("failure", failure_of(ending), id="failure")
                return [kept, frame({"type": "error", "errorText": ending.text}), _finish("error", told)]
            case "cancelled" | "superseded":
                aborted = frame({"type": "abort", "reason": ending.text})
                return [aborted] if self._version == 6 else [aborted, _finish("interrupted", told)]

    def _abandoned(self, ending: Ending) -> list[Frame]:
        """Nobody will answer the calls that are open, and no client must take them for something to do."""
        frames: list[Frame] = []
        for id, call in self._calls.items():
            if not call.is_done:
                call.is_done = True
                frames.append(_failed(id, ending.text))
        return frames

    def failed(self, problem: Problem, request_id: str) -> Frames:
        return (frame({"type": "error", "errorText": problem.detail}), _finish("error", {}), DONE)

    # --- the queue ----------------------------------------------------------------------------------------------------

    @on("RunStarted", "RunResumed")
    def _runs(self, event: LogEvent, started: Any) -> Frames:
        return (_data("queue", {"phase": "running", "attempt": started.attempt}, transient=True),)

    @on("RunRescheduled")
    def _waits_again(self, event: LogEvent, moved: DispatchPayload) -> Frames:
        told: dict[str, Any] = {"phase": "retrying", "attempt": moved.attempt_count}
        if moved.available_at is not None:
            told["availableAt"] = to_rfc3339(moved.available_at)
        return (_data("queue", told, transient=True),)

    @on("ErrorRecorded")
    def _error(self, event: LogEvent, error: ErrorRecorded) -> Frames:
        return (_data("notice", {"message": error.message}, transient=True),)

    # --- steps, text and reasoning ------------------------------------------------------------------------------------

    @on("StepStarted")
    def _step(self, event: LogEvent, payload: Any) -> Frames:
        frames = self._finished_step()
        self._in_step, self._is_step_final = True, False
        frames.append(_START_STEP)
        return frames

    @on("StepEnded")
    def _step_end(self, event: LogEvent, payload: Any) -> Frames:
        return self._finished_step()

    def _finished_step(self) -> list[Frame]:
        frames = self._closed()
        if self._in_step:
            self._in_step = False
            frames.append(_FINISH_STEP)
        return frames

    def _closed(self, metadata: dict[str, Any] | None = None) -> list[Frame]:
        """The end of the part that is being written."""
        if self._open is None:
            return []
        told: dict[str, Any] = {"type": f"{self._open[0]}-end", "id": self._open[1]}
        if metadata is not None:
            told["providerMetadata"] = {"awaken": metadata}
        self._open = None
        return [frame(told)]

    @on("TextDeltaObserved")
    def _text(self, event: LogEvent, delta: TextDelta) -> Frames:
        opened = self._open
        if opened is not None and opened[0] == "text" and opened[2:] == (delta.message_id, delta.part):
            return (frame({"type": "text-delta", "id": opened[1], "delta": delta.delta}),)
        frames, id = self._closed(), f"txt_{self._texts}"
        self._texts += 1
        self._open = ("text", id, delta.message_id, delta.part)
        frames.append(frame({"type": "text-start", "id": id}))
        frames.append(frame({"type": "text-delta", "id": id, "delta": delta.delta}))
        return frames

    @on("ReasoningDeltaObserved")
    def _reasoning(self, event: LogEvent, delta: ReasoningDelta) -> Frames:
        opened = self._open
        if opened is not None and opened[0] == "reasoning" and opened[2:] == (delta.message_id, delta.part):
            return (frame({"type": "reasoning-delta", "id": opened[1], "delta": delta.delta}),)
        frames, id = self._closed(), f"rsn_{self._reasonings}"
        self._reasonings += 1
        self._open = ("reasoning", id, delta.message_id, delta.part)
        frames.append(frame({"type": "reasoning-start", "id": id}))
        frames.append(frame({"type": "reasoning-delta", "id": id, "delta": delta.delta}))
        return frames

    @on("ReasoningEncryptedValueObserved")
    def _encrypted(self, event: LogEvent, value: ReasoningEncryptedValue) -> Frames:
        """It ends its block. Of one that has no text, a part is shown that is empty: the value is all there is."""
        frames: list[Frame] = []
        opened = self._open
        if opened is None or opened[0] != "reasoning" or opened[2:] != (value.message_id, value.part):
            frames, id = self._closed(), f"rsn_{self._reasonings}"
            self._reasonings += 1
            self._open = ("reasoning", id, value.message_id, value.part)
            frames.append(frame({"type": "reasoning-start", "id": id}))
        return [*frames, *self._closed({"encrypted": value.encrypted_value})]

    @on("StreamReset")
    def _reset(self, event: LogEvent, payload: StreamReset) -> Frames:
        """What is void was shown since the step began. `ai` 7 can take a step back. For 6 the page is told: text that
        is void ends with `void`, calls that had begun end as errors.
        """
        if self._version == 7 and self._in_step and not self._is_step_final:
            self._open = None
            self._calls = {id: call for id, call in self._calls.items() if call.is_ready}
            return (_RESET_STEP,)
        frames = self._closed({"void": True})
        for id, call in [*self._calls.items()]:
            if not call.is_ready:
                frames.append(_failed(id, "it was begun anew", call))
                del self._calls[id]
        frames.append(_data("stream-reset", {"reason": payload.reason}, id=f"reset-{event.seq}"))
        return frames

    @on("MessageCommitted")
    def _message(self, event: LogEvent, message: MessagePayload) -> Frames:
        if message.role is ASSISTANT:
            self._is_step_final = True
            files = [b for b in message.content_blocks if isinstance(b, (Image, Audio, Video, Document))]
            return [*self._closed(), *[frame(file_of(each)) for each in files]] if files else NOTHING
        if message.role is USER and message.boundary is not None and message.boundary != "resume_input":
            return [*self._closed(), self._steered(message)]
        return NOTHING

    def _steered(self, message: MessagePayload) -> Frame:
        parts = parts_of(message.content_blocks)
        if self._version == 7:
            return frame({"type": "steering-message", "id": message.message_id, "parts": parts})
        return _data("steering", {"id": message.message_id, "parts": parts}, id=message.message_id)

    @on(*RECEIPTS)
    def _receipt(self, event: LogEvent, payload: Receipt) -> Frames:
        return (_data("receipt", {"messageId": payload.message_id, **fate_in(payload)}, transient=True),)

    # --- tool calls ---------------------------------------------------------------------------------------------------

    @on("ToolCallStarted")
    def _call_start(self, event: LogEvent, started: ToolCallStarted) -> Frames:
        call = self._calls[started.id] = _Call(started.name, is_server=started.runs_on != "client")
        told: dict[str, Any] = {"type": "tool-input-start", "toolCallId": started.id, "toolName": started.name}
        if call.is_server:
            told["providerExecuted"] = True
        if started.title is not None:
            told["title"] = started.title
        if started.tool_kind is not None:
            told["toolMetadata"] = {"kind": started.tool_kind}
        return [*self._closed(), frame(told)]

    @on("ToolCallDeltaObserved")
    def _call_input(self, event: LogEvent, delta: ToolCallDelta) -> Frames:
        call = self._calls.get(delta.id)
        if call is None or call.is_ready:
            return NOTHING
        return (frame({"type": "tool-input-delta", "toolCallId": delta.id, "inputTextDelta": delta.args_delta}),)

    @on("ToolCallReady")
    def _call_ready(self, event: LogEvent, ready: ToolCallReady) -> Frames:
        self._is_step_final = True
        frames = self._begun(ready.id, ready.name)
        call = self._calls[ready.id]
        call.is_ready, call.arguments = True, ready.arguments if ready.raw is None else ready.raw
        frames.append(_input(ready.id, call))
        return frames

    def _begun(self, id: str, name: str, *, is_server: bool = True) -> list[Frame]:
        """The start of a call of which the client has seen nothing."""
        if id in self._calls:
            return []
        self._calls[id] = _Call(name, is_server=is_server)
        told: dict[str, Any] = {"type": "tool-input-start", "toolCallId": id, "toolName": name}
        if is_server:
            told["providerExecuted"] = True
        return [*self._closed(), frame(told)]

    @on("ToolCallStreamDeltaObserved")
    def _progress(self, event: LogEvent, delta: ToolCallStreamDelta) -> Frames:
        call = self._calls.get(delta.id)
        if call is None or call.is_done:
            return NOTHING
        outputs = self._outputs.setdefault(delta.id, {})
        before = outputs.get(delta.name)
        if delta.text is None:
            outputs[delta.name] = delta.value
        else:
            text = f"{before}{delta.text}" if isinstance(before, str) else delta.text
            outputs[delta.name] = text[-MAX_PROGRESS_CHARS:]
        shown = outputs[None] if [*outputs] == [None] else {name or "": value for name, value in outputs.items()}
        return (_output(delta.id, shown, preliminary=True),)

    @on("ToolCallDone")
    def _call_done(self, event: LogEvent, done: ToolCallDone) -> Frames:
        self._outputs.pop(done.id, None)
        call = self._calls.get(done.id)
        if call is None or call.is_done:
            return NOTHING  # it belongs to an earlier message, which the client does not write any more
        call.is_done = True
        text = done.error_text or f"the call has ended as {done.status}"
        if done.status == "succeeded":
            return (_output(done.id, done.result),)
        if done.status == "denied" and call.ticket_id is not None:
            return (frame({"type": "tool-output-denied", "toolCallId": done.id}),)
        return (_failed(done.id, text, call if done.status == "invalid_arguments" else None),)

    # --- what a run waits for -----------------------------------------------------------------------------------------

    @on("TicketOpened")
    def _asks(self, event: LogEvent, ticket: TicketOpenedPayload) -> Frames:
        if ticket.kind not in SHOWN_KINDS:
            return NOTHING
        id, name, arguments = shown_call(ticket)
        frames = self._begun(id, name, is_server=ticket.kind == "approval")
        call = self._calls[id]
        if not call.is_ready:
            call.is_ready, call.arguments = True, arguments
            frames.append(_input(id, call, asked_by(ticket)))
        elif ticket.kind != "approval" and (call.is_server or ticket.kind == "input"):
            call.is_server = False  # from here on it is the client's
            frames.append(_input(id, call, asked_by(ticket)))
        if ticket.kind == "approval":
            call.ticket_id = ticket.ticket_id
            frames.append(self._approval(id, ticket))
        return frames

    def _approval(self, id: str, ticket: TicketOpenedPayload) -> Frame:
        told: dict[str, Any] = {"type": "tool-approval-request", "approvalId": ticket.ticket_id, "toolCallId": id}
        described = asked_by(ticket)
        if described:
            told["approvalDescriptor"] = described
        if self._version == 7 and ticket.message is not None:
            told["reason"] = ticket.message
        return frame(told)

    @on("TicketDecided")
    def _decision(self, event: LogEvent, decided: TicketDecidedPayload) -> Frames:
        id = decided.tool_call_id or decided.ticket_id
        call = self._calls.get(id)
        if call is None or call.is_done:
            return NOTHING
        frames: list[Frame] = []
        if call.ticket_id == decided.ticket_id:
            if decided.action == "edit":
                is_own = decided.tool_call_id is None  # what was asked for stands in its input, beside the question
                call.arguments = call.arguments | {"arguments": decided.arguments} if is_own else decided.arguments
                frames.append(_input(id, call))
            if self._version == 7:
                told: dict[str, Any] = {
                    "type": "tool-approval-response",
                    "approvalId": decided.ticket_id,
                    "approved": decided.action in YES,
                    "providerExecuted": True,
                }
                if decided.reason is not None:
                    told["reason"] = decided.reason
                frames.append(frame(told))
            if decided.tool_call_id is None:  # nothing else ends it
                call.is_done = True
                denied = frame({"type": "tool-output-denied", "toolCallId": id})
                frames.append(_output(id, None) if decided.action in YES else denied)
        elif decided.tool_call_id is None:  # a question without a call: this is its end
            call.is_done = True
            frames.append(
                _failed(id, decided.reason or "it has no answer")
                if decided.action in ("fail", "deny")
                else _output(id, decided.result)
            )
        return self._told(frames)

    @on("TicketExpired", "TicketWithdrawn")
    def _closes(self, event: LogEvent, closed: TicketExpiredPayload | TicketWithdrawnPayload) -> Frames:
        call = self._calls.get(closed.ticket_id)
        if call is None or call.is_done:
            return NOTHING  # where it belongs to a call, that ends by itself
        call.is_done = True
        is_late = isinstance(closed, TicketExpiredPayload)
        return self._told([_failed(closed.ticket_id, "nobody has answered in time" if is_late else "it has no answer")])

    def _told(self, frames: list[Frame]) -> Frames:
        """What happens between two turns is the beginning of the next one."""
        if not self.turns.is_open:
            self._decided += frames
        return frames

    @on("ChildSuspended")
    def _child_waits(self, event: LogEvent, child: ChildSuspendedPayload) -> Frames:
        return (_data("child-suspended", {"runId": child.run_id, "ticketIds": child.ticket_ids}, transient=True),)

    # --- beside the conversation --------------------------------------------------------------------------------------

    @on("StateSnapshotObserved")
    def _state(self, event: LogEvent, snapshot: StateSnapshot) -> Frames:
        return (_data("state-snapshot", {"state": snapshot.state, "version": snapshot.version}, id="state"),)

    @on("StateDeltaObserved")
    def _state_delta(self, event: LogEvent, delta: StateDelta) -> Frames:
        return (_data("state-delta", {"patch": delta.patch, "version": delta.version}, transient=True),)

    @on("ActivitySnapshotObserved")
    def _activity(self, event: LogEvent, activity: ActivitySnapshot) -> Frames:
        shown = _data("activity-snapshot", {"type": activity.type, "content": activity.content}, id=activity.id)
        chunk = _source_of(activity)
        return (shown,) if chunk is None else (shown, frame(chunk))

    @on("ActivityDeltaObserved")
    def _activity_delta(self, event: LogEvent, activity: ActivityDelta) -> Frames:
        told = {"id": activity.id, "type": activity.type, "patch": activity.patch}
        return (_data("activity-delta", told, transient=True),)

    @on("ArtifactWritten")
    def _artifact(self, event: LogEvent, written: ArtifactWritten) -> Frames:
        blocks = (*self._artifacts.get(written.artifact_id, ()), *written.blocks) if written.append else written.blocks
        if written.last:
            self._artifacts.pop(written.artifact_id, None)
        else:
            self._artifacts[written.artifact_id] = blocks
        told = {"name": written.name, "parts": parts_of(blocks), "last": written.last}
        return (_data("artifact", told, id=written.artifact_id),)

    @on("InferenceComplete")
    def _inference(self, event: LogEvent, call: InferenceComplete) -> Frames:
        told: dict[str, Any] = {"usage": usage_of(call.usage), "durationMs": call.duration_ms}
        for name, value in (("model", call.model), ("provider", call.provider), ("finishReason", call.finish_reason)):
            if value is not None:
                told[name] = value
        return (_data("inference-complete", told, transient=True),)


# --- chunks -----------------------------------------------------------------------------------------------------------


def _data(name: str, data: Any, *, id: str | None = None, transient: bool = False) -> Frame:
    told: dict[str, Any] = {"type": f"data-{name}", "data": data}
    if id is not None:
        told["id"] = id
    if transient:
        told["transient"] = True
    return frame(told)


def _finish(reason: str, metadata: dict[str, Any]) -> Frame:
    told: dict[str, Any] = {"type": "finish", "finishReason": reason}
    return frame(told | {"messageMetadata": metadata} if metadata else told)


def _input(id: str, call: _Call, asked: dict[str, Any] | None = None) -> Frame:
    told: dict[str, Any] = {
        "type": "tool-input-available",
        "toolCallId": id,
        "toolName": call.name,
        "input": call.arguments,
    }
    if call.is_server:
        told["providerExecuted"] = True
    elif asked is not None:
        told |= {"providerExecuted": False, "toolMetadata": {"asked": asked}}
    return frame(told)


def _output(id: str, output: Any, *, preliminary: bool = False) -> Frame:
    told: dict[str, Any] = {
        "type": "tool-output-available",
        "toolCallId": id,
        "output": output,
        "providerExecuted": True,
    }
    return frame(told | {"preliminary": True} if preliminary else told)


def _failed(id: str, text: str, invalid: _Call | None = None) -> Frame:
    """A call that has no output. `invalid`: it was never made."""
    if invalid is None:
        return frame({"type": "tool-output-error", "toolCallId": id, "errorText": text, "providerExecuted": True})
    told = {"type": "tool-input-error", "toolCallId": id, "toolName": invalid.name, "input": invalid.arguments}
    return frame(told | {"errorText": text, "providerExecuted": True})


def failure_of(ending: Ending) -> dict[str, Any]:
    """What a message keeps of a run that has failed."""
    code = None if ending.termination is None else ending.termination.code
    return {"message": ending.text} | ({} if code is None else {"code": code})


def asked_by(ticket: Any) -> dict[str, Any]:
    """What somebody who answers a ticket has to know: of its event, or of what was asked for."""
    told = {"message": ticket.message, "schema": ticket.response_schema}
    return {name: value for name, value in told.items() if value is not None}


def usage_of(usage: Usage) -> dict[str, int]:
    """Tokens by the names that the AI SDK has for them."""
    told = {
        "inputTokens": usage.input_tokens,
        "outputTokens": usage.output_tokens,
        "totalTokens": usage.input_tokens + usage.output_tokens,
        "cachedInputTokens": usage.cache_read_tokens,
        "reasoningTokens": usage.reasoning_tokens,
        "modelCalls": usage.model_calls,
    }
    return {name: value for name, value in told.items() if value}


def _source_of(activity: ActivitySnapshot) -> dict[str, Any] | None:
    """The chunk of an activity that tells of a source, or of a file."""
    content = activity.content
    url, media_type = content.get("url"), content.get("mediaType")
    title, name = content.get("title"), content.get("filename")
    match activity.type:
        case "source-url" if isinstance(url, str):
            return _texts(type="source-url", sourceId=activity.id, url=url, title=title)
        case "source-document" if isinstance(media_type, str):
            shown = next(each for each in (title, name, activity.id) if isinstance(each, str))
            return _texts(
                type="source-document", sourceId=activity.id, mediaType=media_type, title=shown, filename=name
            )
        case "file" if isinstance(url, str) and isinstance(media_type, str):
            return _texts(type="file", url=url, mediaType=media_type)
        case _:
            return None


def _texts(**told: Any) -> dict[str, Any]:
    return {name: value for name, value in told.items() if isinstance(value, str)}


def frames_of(chunks: Iterable[dict[str, Any]]) -> list[Frame]:
    """A stream of its own: these chunks, and the end."""
    return [*[frame(each) for each in chunks], DONE]
