"""A run in the frames of LangGraph's run streams, in the modes that a client asked for.

Above: `runs`, which hands it to the gateway. Below: the events of one run.
Holds: what a client is shown in the end is what the thread holds, in every mode and wherever the stream was cut: after
a `StreamReset` a client forgets the pieces that it was shown. A stream ends with `end`, or with `error` where the run
has failed.

Source: docs/concepts/protocols.md; SRV-037.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from functools import partial
from typing import Any, Final, Literal, cast, get_args

import msgspec

from awaken.domain.agent_event import (
    ActivityDelta,
    ActivitySnapshot,
    ArtifactWritten,
    InferenceComplete,
    ReasoningDelta,
    StateDelta,
    StateSnapshot,
    StepEnded,
    StepStarted,
    StreamReset,
    TextDelta,
    ToolCallDelta,
    ToolCallDone,
    ToolCallReady,
    ToolCallStarted,
    ToolCallStreamDelta,
)
from awaken.domain.clock import to_rfc3339
from awaken.domain.event import TABLE
from awaken.domain.ids import MessageId
from awaken.domain.log import EventRow, MessagePayload, ReadEvent
from awaken.domain.message import Message, Role, Text, Thinking
from awaken.domain.server_event import ChildFinishedPayload, ChildStartedPayload, ChildSuspendedPayload
from awaken.http.problems import Problem
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
)
from awaken.protocols.langgraph.messages import removal, shown_block, shown_message
from awaken.protocols.langgraph.waits import interrupt_of
from awaken.protocols.projection import Making
from awaken.protocols.turns import Ending

Mode = Literal[
    "values", "messages", "messages-tuple", "updates", "custom", "tasks", "tools", "lifecycle", "checkpoints", "events",
    "debug",
]  # fmt: skip
OUTPUT: Final = "__output__"
"""Where the state shows what an agent has returned that is no message: a key that no state has."""
MODES: Final[tuple[Mode, ...]] = get_args(Mode)
_encode: Final = msgspec.json.Encoder().encode


class Conversation:
    """What `values` shows: the messages of the thread, and beside them its state, as far as the log was fed."""

    def __init__(self, opened: Opened) -> None:
        self._messages: list[msgspec.Raw] = []
        self._names: dict[str, str] = {}
        self.is_whole = False
        """What was said before the run is in it."""
        self.state: dict[str, Any] = dict(opened.state.values) if opened.state is not None else {}
        self.output: Any = None
        """What the run has returned that is no message."""

    def begin(self, history: Iterable[Message]) -> None:
        """What was said before the run, which has started now."""
        if not self.is_whole:
            self._messages[:0] = [self._shown(message) for message in history]
            self.is_whole = True

    def add(self, message: MessagePayload) -> dict[str, Any]:
        """A message was committed; as it is shown."""
        self._names.update([(call.id, call.name) for call in message.tool_calls])
        shown = shown_message(message, self._names.get(message.tool_call_id or ""))
        self._messages.append(msgspec.Raw(_encode(shown)))
        return shown

    def _shown(self, message: Message) -> msgspec.Raw:
        self._names.update([(call.id, call.name) for call in message.tool_calls])
        return msgspec.Raw(_encode(shown_message(message, self._names.get(message.tool_call_id or ""))))

    def change(self, delta: StateDelta) -> dict[str, Any]:
        """The state has changed; the keys that did, with their new values."""
        changed: dict[str, Any] = {}
        for operation in delta.patch:
            keys = [_unescaped(key) for key in str(operation.get("path", "")).split("/")[1:]]
            if not keys:
                continue
            self.state = _changed(self.state, keys, operation)
            changed[keys[0]] = self.state.get(keys[0])
        return changed

    def values(self, interrupts: list[dict[str, Any]] | None = None) -> dict[str, Any]:
        shown: dict[str, Any] = {**self.state, "messages": self._messages}
        if self.output is not None:
            shown[OUTPUT] = self.output
        return shown if interrupts is None else {**shown, "__interrupt__": interrupts}


def _unescaped(key: str) -> str:
    return key.replace("~1", "/").replace("~0", "~")


def _changed(values: Any, keys: list[str], operation: Mapping[str, Any]) -> dict[str, Any]:
    """The object after an operation of a patch, which is about what lies at these keys."""
    found: dict[str, Any] = dict(cast(dict[str, Any], values)) if isinstance(values, dict) else {}
    if len(keys) > 1:
        found[keys[0]] = _changed(found.get(keys[0]), keys[1:], operation)
    elif operation.get("op") == "remove":
        found.pop(keys[0], None)
    else:
        found[keys[0]] = operation.get("value")
    return found


class _Pieces:
    """A message of which a client is shown pieces: its calls and their places; its text, by the place of the block."""

    __slots__ = ("argued", "calls", "is_new", "reasoning", "text")

    def __init__(self) -> None:
        self.calls: dict[str, int] = {}
        self.argued: set[str] = set()
        """Calls of whose arguments pieces were shown."""
        self.is_new = True
        """`messages` was not told of it."""
        self.text: dict[int, str] = {}
        self.reasoning: dict[int, str] = {}


class LangGraphEncoder(TurnEncoder):
    """`modes`: those that the client asked for. Make it with `functools.partial`."""

    dialect = "langgraph"
    wants_history = True
    wants_state = True

    def __init__(self, opened: Opened, *, modes: frozenset[Mode]) -> None:
        super().__init__(opened)
        self.modes = modes
        self._changes = Conversation(opened)
        self._said = self._changes if modes & {"values", "checkpoints"} else None
        self._names: dict[str, str] = {}
        self._call_of: dict[str, MessageId] = {}
        self._pieces: dict[MessageId, _Pieces] = {}
        self._tuples, self._partial = "messages-tuple" in modes, "messages" in modes
        about = {
            "run_id": opened.run_id,
            "thread_id": opened.thread_id,
            "graph_id": opened.agent_id,
            "langgraph_node": opened.agent_id,
        }
        self._about = msgspec.Raw(_encode(about))
        self._steps = 0

    @property
    def shared_as(self) -> frozenset[Mode]:
        return self.modes

    # --- turns --------------------------------------------------------------------------------------------------------

    def opens(self, event: LogEvent) -> Frames:
        queued = self.turns.queued
        assert queued is not None, "it has just been queued"
        told = {"run_id": self.opened.run_id, "attempt": 1, "message_ids": queued.message_ids}
        return (frame(told, "metadata"),)

    def ends(self, event: LogEvent, ending: Ending) -> Frames:
        if ending.outcome in ("failed", "blocked"):
            code = (ending.termination.code if ending.termination else None) or ending.outcome
            told = {"error": code, "message": ending.text}
            return (*self._lifecycle("failed", error=ending.text), frame(told, "error"))
        frames: list[Frame] = []
        if ending.output is not None:
            frames += self._if("custom", {"type": "output", "value": ending.output})
            frames += self._if("updates", {self.opened.agent_id: {OUTPUT: ending.output}})
            if self._said is not None:
                self._said.output = ending.output
                frames += self._values()
        if ending.outcome == "waiting":
            interrupts = [interrupt_of(ticket) for ticket in ending.tickets]
            if "updates" in self.modes:
                frames.append(frame({"__interrupt__": interrupts}, "updates"))
            frames += self._values(interrupts)
        is_whole = ending.outcome in ("finished", "stopped")
        return (*frames, *self._lifecycle("completed" if is_whole else "interrupted"), frame(None, "end"))

    def failed(self, problem: Problem, request_id: str) -> Frames:
        return stream_failed(problem, request_id)

    @on("RunStarted")
    def _started(self, event: LogEvent, payload: Any) -> Frames:
        if self._said is not None:
            self._said.begin(self.history)
        return self._begun(event, payload)

    @on("RunResumed")
    def _begun(self, event: LogEvent, payload: Any) -> Frames:
        return (*self._values(), *self._lifecycle("started"))

    def _lifecycle(self, what: str, **more: str) -> Frames:
        return self._if("lifecycle", {"event": what, "namespace": (), **more})

    def _values(self, interrupts: list[dict[str, Any]] | None = None) -> list[Frame]:
        if self._said is None or not self._said.is_whole:
            return []
        values = self._said.values(interrupts)
        frames = [frame(values, "values")] if "values" in self.modes else []
        if "checkpoints" in self.modes:
            checkpoint = {
                "values": values,
                "next": [self.opened.agent_id] if interrupts else [],
                "config": {"configurable": {"thread_id": self.opened.thread_id, "checkpoint_id": self.opened.run_id}},
                "metadata": {"run_id": self.opened.run_id, "step": self._steps, "source": "loop"},
                "tasks": [],
            }
            frames.append(frame(checkpoint, "checkpoints"))
        return frames

    # --- pieces -------------------------------------------------------------------------------------------------------

    @on("TextDeltaObserved")
    def _text(self, event: LogEvent, delta: TextDelta) -> Frames:
        if not (self._tuples or self._partial):
            return NOTHING
        pieces = self._of(delta.message_id)
        if self._partial:
            pieces.text[delta.part] = pieces.text.get(delta.part, "") + delta.delta
            return self._pieced(delta.message_id, pieces, delta.delta)
        return (self._chunk(delta.message_id, delta.delta),)

    @on("ReasoningDeltaObserved")
    def _reasoning(self, event: LogEvent, delta: ReasoningDelta) -> Frames:
        if not (self._tuples or self._partial):
            return NOTHING
        pieces = self._of(delta.message_id)
        content: list[dict[str, Any]] = [{"type": "reasoning", "reasoning": delta.delta, "index": delta.part}]
        if self._partial:
            pieces.reasoning[delta.part] = pieces.reasoning.get(delta.part, "") + delta.delta
            return self._pieced(delta.message_id, pieces, content)
        return (self._chunk(delta.message_id, content),)

    @on("ToolCallStarted")
    def _call(self, event: LogEvent, call: ToolCallStarted) -> Frames:
        self._names[call.id] = call.name
        if not self._tuples:
            return NOTHING
        self._call_of[call.id] = call.message_id
        calls = self._of(call.message_id).calls
        calls[call.id] = index = len(calls)
        return (self._chunk(call.message_id, "", _call_chunk(call.name, call.id, "", index)),)

    @on("ToolCallDeltaObserved")
    def _arguments(self, event: LogEvent, delta: ToolCallDelta) -> Frames:
        message_id = self._call_of.get(delta.id)
        if not self._tuples or message_id is None:
            return NOTHING
        pieces = self._of(message_id)
        pieces.argued.add(delta.id)
        index = pieces.calls.get(delta.id, 0)
        return (self._chunk(message_id, "", _call_chunk(None, None, delta.args_delta, index)),)

    @on("StreamReset")
    def _reset(self, event: LogEvent, reset: StreamReset) -> Frames:
        void = [id for id in self._pieces if reset.message_id in (None, id)]
        for id in void:
            del self._pieces[id]
        frames = [self._tuple(removal(id)) for id in void] if self._tuples else []
        return [*frames, *self._values()] if void else NOTHING

    def _of(self, id: MessageId) -> _Pieces:
        pieces = self._pieces.get(id)
        if pieces is None:
            pieces = self._pieces[id] = _Pieces()
        return pieces

    def _tuple(self, message: dict[str, Any]) -> Frame:
        return frame((message, self._about), "messages")

    def _chunk(self, id: MessageId, content: str | list[dict[str, Any]], call: dict[str, Any] | None = None) -> Frame:
        return self._tuple(_chunk_of(id, content, call))

    def _pieced(self, id: MessageId, pieces: _Pieces, content: str | list[dict[str, Any]]) -> Frames:
        """The whole of a message as far as it has come, for `messages`; and the piece, for `messages-tuple`."""
        blocks: str | list[dict[str, Any]] = "".join([text for _, text in sorted(pieces.text.items())])
        if pieces.reasoning:
            parts = {part: {"type": "text", "text": text} for part, text in pieces.text.items()}
            parts |= {part: {"type": "reasoning", "reasoning": text} for part, text in pieces.reasoning.items()}
            blocks = [parts[part] for part in sorted(parts)]
        shown: dict[str, Any] = {
            "content": blocks,
            "additional_kwargs": {},
            "response_metadata": {},
            "type": "ai",
            "name": None,
            "id": id,
            "tool_calls": [],
            "invalid_tool_calls": [],
        }
        frames = [frame({id: {"metadata": self._about}}, "messages/metadata")] if pieces.is_new else []
        pieces.is_new = False
        frames.append(frame([shown], "messages/partial"))
        return [*frames, self._chunk(id, content)] if self._tuples else frames

    # --- messages -----------------------------------------------------------------------------------------------------

    @on("MessageCommitted")
    def _message(self, event: LogEvent, message: MessagePayload) -> Frames:
        pieces = self._pieces.pop(message.message_id, None)
        self._names.update([(call.id, call.name) for call in message.tool_calls])
        frames: list[Frame] = []
        shown = None if self._said is None else self._said.add(message)
        if message.role is Role.USER or message.role is Role.SYSTEM:
            return self._values()
        if shown is None:
            shown = shown_message(message, self._names.get(message.tool_call_id or ""))
        if self._tuples:
            frames += self._rest(message, shown, pieces)
        if self._partial:
            frames.append(frame([shown], "messages/complete"))
        if "updates" in self.modes:
            frames.append(frame({self.opened.agent_id: {"messages": [shown]}}, "updates"))
        return [*frames, *self._values()]

    @on(*RECEIPTS)
    def _receipt(self, event: LogEvent, payload: Receipt) -> Frames:
        return self._if("custom", {"type": "receipt", "message_id": payload.message_id, **fate_in(payload)})

    def _rest(self, message: MessagePayload, shown: dict[str, Any], pieces: _Pieces | None) -> list[Frame]:
        """What of a committed message was not sent in pieces."""
        if message.role is not Role.ASSISTANT:
            return [self._tuple(shown)]
        begun = {} if pieces is None else pieces.calls
        argued = set[str]() if pieces is None else pieces.argued
        frames: list[Frame] = []
        for call in message.tool_calls:
            if call.id in argued:
                continue
            index, is_new = begun.get(call.id, len(begun)), call.id not in begun
            begun[call.id] = index
            arguments = _encode(call.arguments or {}).decode()
            name, id = (call.name, call.id) if is_new else (None, None)
            frames.append(self._chunk(message.message_id, "", _call_chunk(name, id, arguments, index)))
        others = [shown_block(block) for block in message.content_blocks if not isinstance(block, Text | Thinking)]
        if others:
            frames.append(self._chunk(message.message_id, others))
        return frames

    @on("InferenceComplete")
    def _usage(self, event: LogEvent, done: InferenceComplete) -> Frames:
        if not self._tuples:
            return NOTHING
        usage = done.usage
        total = usage.input_tokens + usage.output_tokens
        told = {"input_tokens": usage.input_tokens, "output_tokens": usage.output_tokens, "total_tokens": total}
        return (self._tuple(_chunk_of(done.message_id, "") | {"usage_metadata": told}),)

    # --- tools, steps, and what is beside the conversation ------------------------------------------------------------

    @on("ToolCallReady")
    def _ready(self, event: LogEvent, call: ToolCallReady) -> Frames:
        self._names[call.id] = call.name
        given = call.arguments if call.raw is None else call.raw
        told = {"event": "on_tool_start", "toolCallId": call.id, "name": call.name, "input": given}
        return self._if("tools", told)

    @on("ToolCallStreamDeltaObserved")
    def _output(self, event: LogEvent, delta: ToolCallStreamDelta) -> Frames:
        name, data = self._names.get(delta.id, ""), delta.text if delta.value is None else delta.value
        tool = {"event": "on_tool_event", "toolCallId": delta.id, "name": name, "data": data}
        progress: dict[str, Any] = {"type": "tool_output", "tool_call_id": delta.id, "data": data}
        if delta.name is not None:
            progress["name"] = delta.name
        return (*self._if("tools", tool), *self._if("custom", progress))

    @on("ToolCallDone")
    def _done(self, event: LogEvent, done: ToolCallDone) -> Frames:
        told: dict[str, Any] = {"toolCallId": done.id, "name": done.name}
        if done.status == "succeeded":
            return self._if("tools", {"event": "on_tool_end", **told, "output": done.result})
        return self._if("tools", {"event": "on_tool_error", **told, "error": done.error_text, "status": done.status})

    @on("StateDeltaObserved", "StateSnapshotObserved")
    def _state(self, event: LogEvent, change: StateDelta | StateSnapshot) -> Frames:
        if isinstance(change, StateSnapshot):
            patch: Any = [{"op": "replace", "path": "", "value": change.state}]
            changed = self._changes.state = cast(dict[str, Any], change.state)
        else:
            patch = change.patch
            changed = self._changes.change(change)
        return (
            *self._if("custom", {"type": "state", "patch": patch}),
            *self._if("updates", {self.opened.agent_id: changed}),
            *self._values(),
        )

    @on("ActivitySnapshotObserved")
    def _activity(self, event: LogEvent, activity: ActivitySnapshot) -> Frames:
        told = {"type": "activity", "id": activity.id, "activity": activity.type, "content": activity.content}
        return self._if("custom", told)

    @on("ActivityDeltaObserved")
    def _activity_change(self, event: LogEvent, delta: ActivityDelta) -> Frames:
        told = {"type": "activity_delta", "id": delta.id, "activity": delta.type, "patch": delta.patch}
        return self._if("custom", told)

    @on("ArtifactWritten")
    def _artifact(self, event: LogEvent, artifact: ArtifactWritten) -> Frames:
        told = {
            "type": "artifact",
            "id": artifact.artifact_id,
            "name": artifact.name,
            "content": [shown_block(block) for block in artifact.blocks],
            "append": artifact.append,
            "last": artifact.last,
        }
        return self._if("custom", told)

    @on("StepStarted")
    def _step(self, event: LogEvent, step: StepStarted) -> Frames:
        task = {"id": f"{self.opened.run_id}:{step.index}", "name": self.opened.agent_id, "input": None}
        return self._if("tasks", task | {"triggers": [], "interrupts": []})

    @on("StepEnded")
    def _step_end(self, event: LogEvent, step: StepEnded) -> Frames:
        self._steps = step.index + 1
        task = {"id": f"{self.opened.run_id}:{step.index}", "name": self.opened.agent_id, "error": None}
        return self._if("tasks", task | {"result": {}, "interrupts": []})

    @on("ChildStarted")
    def _child(self, event: LogEvent, child: ChildStartedPayload) -> Frames:
        return self._child_told("started", child.agent_id, child)

    @on("ChildFinished")
    def _child_end(self, event: LogEvent, child: ChildFinishedPayload) -> Frames:
        outcome = {"error": "failed", "blocked": "failed", "cancelled": "interrupted"}.get(child.termination.type)
        return self._child_told(outcome or "completed", None, child)

    @on("ChildSuspended")
    def _child_waits(self, event: LogEvent, child: ChildSuspendedPayload) -> Frames:
        told = {"type": "child_suspended", "run_id": child.run_id, "ticket_ids": child.ticket_ids}
        return (*self._if("custom", told), *self._child_told("interrupted", None, child))

    def _child_told(
        self,
        what: str,
        agent_id: str | None,
        child: ChildStartedPayload | ChildSuspendedPayload | ChildFinishedPayload,
    ) -> Frames:
        if "lifecycle" not in self.modes:
            return NOTHING
        if agent_id is not None:
            self._names[child.run_id] = agent_id
        place = f"{self._names.get(child.run_id, 'agent')}:{child.run_id}"
        told: dict[str, Any] = {"event": what, "namespace": [place]}
        if not isinstance(child, ChildSuspendedPayload) and child.tool_call_id is not None:
            told["tool_call_id"] = child.tool_call_id
        return (frame(told, f"lifecycle|{place}"),)

    def _if(self, mode: Mode, value: Any) -> Frames:
        return (frame(value, mode),) if mode in self.modes else NOTHING


class RawEncoder(LangGraphEncoder):
    """The same, and every event of the log besides, for the modes `debug` and `events`."""

    def feed(self, seq: int, event: ReadEvent, row: EventRow) -> Frames:
        was_open = self.turns.is_open
        frames = super().feed(seq, event, row)
        if event.kind not in TABLE or not (was_open or self.turns.is_open):
            return frames
        kind, at = event.kind, to_rfc3339(row.created_at)
        told = {"type": kind, "timestamp": at, "step": self._steps, "payload": event.payload}
        seen = {"event": kind, "name": self.opened.agent_id, "run_id": self.opened.run_id, "data": event.payload}
        raw = (*self._if("debug", told), *self._if("events", seen))
        return (*frames, *raw) if self.turns.is_open else (*raw, *frames)


class ThreadEncoder(LangGraphEncoder):
    """The same on the stream of a thread, which goes on behind the end of a run: `run_done` says that it has ended."""

    dialect = "langgraph_thread"

    def ends(self, event: LogEvent, ending: Ending) -> Frames:
        frames = [each for each in super().ends(event, ending) if each.event != "end"]
        status = {"waiting": "interrupted", "failed": "error", "blocked": "error", "cancelled": "interrupted"}
        done = {"run_id": self.opened.run_id, "status": status.get(ending.outcome, "success")}
        return (*frames, frame(done, "run_done"))


def stream_failed(problem: Problem, request_id: str) -> Frames:
    """What a client is told whose stream cannot go on."""
    return (frame({"error": problem.code, "message": problem.detail}, "error"),)


def encoder_of(modes: frozenset[Mode]) -> Making:
    """What makes an encoder for a stream in these modes."""
    return partial(LangGraphEncoder if modes.isdisjoint(("debug", "events")) else RawEncoder, modes=modes)


def thread_encoder_of(modes: frozenset[Mode]) -> Making:
    """The same for the stream of a thread."""
    return partial(ThreadEncoder, modes=modes)


def _chunk_of(id: MessageId, content: str | list[dict[str, Any]], call: dict[str, Any] | None = None) -> dict[str, Any]:
    return {
        "content": content,
        "additional_kwargs": {},
        "response_metadata": {},
        "type": "AIMessageChunk",
        "name": None,
        "id": id,
        "tool_calls": [],
        "invalid_tool_calls": [],
        "tool_call_chunks": [] if call is None else [call],
    }


def _call_chunk(name: str | None, id: str | None, args: str, index: int) -> dict[str, Any]:
    return {"name": name, "args": args, "id": id, "index": index, "type": "tool_call_chunk"}
