"""The events of a thread, in LangGraph's streaming protocol: what each run of it does, by channel.

Above: `commands`, which hands it to the gateway. Below: the events of one run.
Holds: every event has a number, which grows, and is the same whatever channels a client follows, and whenever: it is
made of the place in the log. A client goes on behind a number, and knows by their ids which events it has had.

Source: docs/concepts/protocols.md; SRV-037.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable
from functools import partial
from typing import Any, Final

import msgspec

from awaken.domain.agent_event import (
    ActivityDelta,
    ActivitySnapshot,
    ArtifactWritten,
    InferenceComplete,
    ReasoningDelta,
    StateDelta,
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
from awaken.domain.ids import MessageId
from awaken.domain.log import MessagePayload
from awaken.domain.message import Role, Text, Thinking
from awaken.domain.server_event import ChildSuspendedPayload, TicketDecidedPayload
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
from awaken.protocols.langgraph.encoder import OUTPUT, Conversation
from awaken.protocols.langgraph.messages import shown_block, shown_call
from awaken.protocols.langgraph.waits import interrupt_of
from awaken.protocols.projection import Making
from awaken.protocols.turns import Ending

CHANNELS: Final = frozenset(
    {"values", "updates", "messages", "tools", "lifecycle", "input", "checkpoints", "tasks", "custom"}
)
ROOM: Final = 1024
"""How many events one event of the log may become."""
_encode: Final = msgspec.json.Encoder().encode


def number_of(seq: int, place: int = 0) -> int:
    """The number of what the event of the log at this place became; the last ones share a number."""
    return seq * ROOM + min(place, ROOM - 1)


def passed(seq: int) -> int:
    """The number of a client that has everything up to an event of the log."""
    return number_of(seq, ROOM - 1)


class _Open:
    """A message that is being streamed: its blocks by what they are, in the order in which they came."""

    __slots__ = ("argued", "blocks", "usage")

    def __init__(self) -> None:
        self.blocks: dict[tuple[str, int | str], int] = {}
        self.argued: set[str] = set()
        self.usage: dict[str, Any] | None = None


class EventEncoder(TurnEncoder):
    """`channels`: those that the client follows. `since`: the number of the last event that it has had."""

    dialect = "langgraph_events"
    breaks_off = True
    wants_history = True
    wants_state = True

    def __init__(self, opened: Opened, *, channels: frozenset[str], since: int) -> None:
        super().__init__(opened)
        self._channels = channels
        self._since = since
        self._said = Conversation(opened)
        self._open: dict[MessageId, _Open] = {}
        self._call_of: dict[str, MessageId] = {}
        self._answered: list[str] = []
        self._steps = 0
        self._seq = 0
        self._place = 0

    @property
    def shared_as(self) -> Hashable:
        return (self._channels, self._since)

    # --- events -------------------------------------------------------------------------------------------------------

    def _event(self, event: LogEvent, method: str, make: Callable[[], Any], channel: str | None = None) -> Frames:
        """The next thing that the event of the log becomes. It is made only for whom wants it, and counts for all."""
        if event.seq != self._seq:
            self._seq, self._place = event.seq, 0
        number = number_of(event.seq, self._place)
        self._place += 1
        wanted = channel or method
        is_wanted = wanted in self._channels or (wanted.startswith("custom:") and "custom" in self._channels)
        if not is_wanted or number <= self._since:
            return NOTHING
        is_lifecycle = method == "lifecycle"
        id = f"synth:{self.opened.run_id}:{number}" if is_lifecycle else f"{event.created_at}-{number}"
        params: dict[str, Any] = {
            "namespace": [],
            "timestamp": event.created_at,
            "node": self.opened.agent_id,
            "data": make(),
        }
        told: dict[str, Any] = {"type": "event", "event_id": id, "seq": number, "method": method, "params": params}
        return (frame(told, "event"),)

    def _values(self, event: LogEvent, interrupts: list[dict[str, Any]] | None = None) -> Frames:
        if not self._said.is_whole:
            return NOTHING
        return self._event(event, "values", lambda: self._said.values(interrupts))

    def _lifecycle(self, event: LogEvent, what: str, error: str | None = None) -> Frames:
        told: dict[str, Any] = {"event": what, "graph_name": self.opened.agent_id}
        return self._event(event, "lifecycle", lambda: told if error is None else {**told, "error": error})

    # --- turns --------------------------------------------------------------------------------------------------------

    def opens(self, event: LogEvent) -> Frames:
        queued = self.turns.queued
        assert queued is not None, "it has just been queued"
        answered, self._answered = self._answered, []
        frames: list[Frame] = []
        if answered:
            frames += self._event(event, "input.answered", lambda: {"interrupt_ids": answered}, "input")
        begun = {"message_ids": queued.message_ids, "fate": "queued"}
        return [*frames, *self._custom(event, "receipt", begun)]

    def ends(self, event: LogEvent, ending: Ending) -> Frames:
        frames: list[Frame] = [*self._void(event, list(self._open))]
        if ending.outcome == "waiting":
            interrupts = [interrupt_of(ticket) for ticket in ending.tickets]
            for each in interrupts:
                asked = {"interrupt_id": each["id"], "payload": each["value"], "value": each["value"]}
                frames += self._event(event, "input.requested", lambda asked=asked: asked, "input")
            return [*frames, *self._values(event, interrupts), *self._lifecycle(event, "interrupted")]
        if ending.outcome in ("failed", "blocked"):
            return [*frames, *self._lifecycle(event, "failed", ending.text)]
        if ending.output is not None:
            update = {"node": self.opened.agent_id, "values": {OUTPUT: ending.output}}
            self._said.output = ending.output
            frames += [*self._event(event, "updates", lambda: update), *self._values(event)]
        checkpoint = {"id": self.opened.run_id, "step": self._steps, "source": "loop"}
        frames += self._event(event, "checkpoints", lambda: checkpoint)
        return [*frames, *self._lifecycle(event, "completed")]

    def failed(self, problem: Problem, request_id: str) -> Frames:
        return failed(problem, request_id)

    @on("RunStarted")
    def _started(self, event: LogEvent, payload: Any) -> Frames:
        self._said.begin(self.history)
        return self._running(event, payload)

    @on("RunResumed")
    def _running(self, event: LogEvent, payload: Any) -> Frames:
        return [*self._lifecycle(event, "running"), *self._values(event)]

    @on("TicketDecided")
    def _decided(self, event: LogEvent, decided: TicketDecidedPayload) -> Frames:
        self._answered.append(decided.ticket_id)
        return NOTHING

    # --- messages -----------------------------------------------------------------------------------------------------

    def _message_event(self, event: LogEvent, what: str, **data: Any) -> Frames:
        return self._event(event, "messages", lambda: {"event": what, **data})

    def _begun(self, event: LogEvent, id: MessageId) -> tuple[_Open, list[Frame]]:
        known = self._open.get(id)
        if known is not None:
            return known, []
        self._open[id] = known = _Open()
        about = {"thread_id": self.opened.thread_id, "langgraph_node": self.opened.agent_id}
        return known, [*self._message_event(event, "message-start", role="ai", id=id, metadata=about)]

    def _block(self, event: LogEvent, held: _Open, key: tuple[str, int | str], content: dict[str, Any]) -> Frames:
        if key in held.blocks:
            return NOTHING
        held.blocks[key] = index = len(held.blocks)
        return self._message_event(event, "content-block-start", index=index, content=content)

    @on("TextDeltaObserved")
    def _text(self, event: LogEvent, delta: TextDelta) -> Frames:
        held, frames = self._begun(event, delta.message_id)
        key = ("text", delta.part)
        frames += self._block(event, held, key, {"type": "text", "text": ""})
        piece = {"type": "text-delta", "text": delta.delta}
        return [*frames, *self._message_event(event, "content-block-delta", index=held.blocks[key], delta=piece)]

    @on("ReasoningDeltaObserved")
    def _reasoning(self, event: LogEvent, delta: ReasoningDelta) -> Frames:
        held, frames = self._begun(event, delta.message_id)
        key = ("reasoning", delta.part)
        frames += self._block(event, held, key, {"type": "reasoning", "reasoning": ""})
        piece = {"type": "reasoning-delta", "reasoning": delta.delta}
        return [*frames, *self._message_event(event, "content-block-delta", index=held.blocks[key], delta=piece)]

    @on("ToolCallStarted")
    def _call(self, event: LogEvent, call: ToolCallStarted) -> Frames:
        held, frames = self._begun(event, call.message_id)
        self._call_of[call.id] = call.message_id
        content = {"type": "tool_call_chunk", "id": call.id, "name": call.name, "args": ""}
        return [*frames, *self._block(event, held, ("call", call.id), content)]

    @on("ToolCallDeltaObserved")
    def _arguments(self, event: LogEvent, delta: ToolCallDelta) -> Frames:
        held = self._open.get(self._call_of.get(delta.id, MessageId("")))
        index = None if held is None else held.blocks.get(("call", delta.id))
        if index is None:
            return NOTHING
        piece = {"type": "tool-call-delta", "args": delta.args_delta}
        return self._message_event(event, "content-block-delta", index=index, delta=piece)

    @on("InferenceComplete")
    def _usage(self, event: LogEvent, done: InferenceComplete) -> Frames:
        held = self._open.get(done.message_id)
        if held is not None:
            used = done.usage
            total = used.input_tokens + used.output_tokens
            held.usage = {
                "input_tokens": used.input_tokens,
                "output_tokens": used.output_tokens,
                "total_tokens": total,
            }
        return NOTHING

    @on("StreamReset")
    def _reset(self, event: LogEvent, reset: StreamReset) -> Frames:
        return self._void(event, [id for id in self._open if reset.message_id in (None, id)])

    def _void(self, event: LogEvent, ids: list[MessageId]) -> Frames:
        """These will not be committed as they were streamed. One that begins again has its id again."""
        frames: list[Frame] = []
        for id in ids:
            del self._open[id]
            frames += self._message_event(event, "message-finish", id=id, reason="reset")
        return frames

    @on("MessageCommitted")
    def _message(self, event: LogEvent, message: MessagePayload) -> Frames:
        frames: list[Frame] = []
        if message.role is Role.ASSISTANT:
            frames += self._finished(event, message)
        shown = self._said.add(message)
        if message.role not in (Role.USER, Role.SYSTEM):
            update = {"node": self.opened.agent_id, "values": {"messages": [shown]}}
            frames += self._event(event, "updates", lambda: update)
        return [*frames, *self._values(event)]

    def _finished(self, event: LogEvent, message: MessagePayload) -> list[Frame]:
        held, frames = self._begun(event, message.message_id)
        contents: list[tuple[tuple[str, int | str], dict[str, Any]]] = []
        for part, block in enumerate(message.content_blocks):
            kind = "text" if isinstance(block, Text) else "reasoning" if isinstance(block, Thinking) else "block"
            contents.append(((kind, part), shown_block(block)))
        for call in message.tool_calls:
            shown = shown_call(call.id, call.name, call.arguments)
            contents.append((("call", call.id), shown))
        for key, content in contents:
            frames += self._block(event, held, key, content)
            frames += self._message_event(event, "content-block-finish", index=held.blocks[key], content=content)
        usage = {} if held.usage is None else {"usage": held.usage}
        frames += self._message_event(event, "message-finish", id=message.message_id, reason="stop", **usage)
        del self._open[message.message_id]
        return frames

    # --- tools, steps, and what is beside the conversation ------------------------------------------------------------

    @on("ToolCallReady")
    def _ready(self, event: LogEvent, call: ToolCallReady) -> Frames:
        given = call.arguments if call.raw is None else call.raw
        told = {"event": "tool-started", "tool_call_id": call.id, "tool_name": call.name, "input": given}
        return self._event(event, "tools", lambda: told)

    @on("ToolCallStreamDeltaObserved")
    def _output(self, event: LogEvent, delta: ToolCallStreamDelta) -> Frames:
        if delta.text is not None:
            told = {"event": "tool-output-delta", "tool_call_id": delta.id, "delta": delta.text}
            return self._event(event, "tools", lambda: told)
        value = {"tool_call_id": delta.id, "name": delta.name, "value": delta.value}
        return self._custom(event, "tool_output", value)

    @on("ToolCallDone")
    def _done(self, event: LogEvent, done: ToolCallDone) -> Frames:
        told: dict[str, Any] = {"event": "tool-finished", "tool_call_id": done.id, "output": done.result}
        if done.status != "succeeded":
            text = done.error_text or done.status
            told = {"event": "tool-error", "tool_call_id": done.id, "message": text, "code": done.status}
        return self._event(event, "tools", lambda: told)

    @on("StateDeltaObserved")
    def _state(self, event: LogEvent, delta: StateDelta) -> Frames:
        changed = self._said.change(delta)
        update = {"node": self.opened.agent_id, "values": changed}
        return [*self._event(event, "updates", lambda: update), *self._values(event)]

    @on("StepStarted")
    def _step(self, event: LogEvent, step: StepStarted) -> Frames:
        task: dict[str, Any] = {
            "id": f"{self.opened.run_id}:{step.index}",
            "name": self.opened.agent_id,
            "input": None,
            "triggers": [],
        }
        return self._event(event, "tasks", lambda: task)

    @on("StepEnded")
    def _step_end(self, event: LogEvent, step: StepEnded) -> Frames:
        self._steps = step.index + 1
        task: dict[str, Any] = {
            "id": f"{self.opened.run_id}:{step.index}",
            "name": self.opened.agent_id,
            "result": None,
            "error": None,
        }
        return self._event(event, "tasks", lambda: task)

    def _custom(self, event: LogEvent, name: str, payload: dict[str, Any]) -> Frames:
        return self._event(event, "custom", lambda: {"name": name, "payload": payload}, f"custom:{name}")

    @on(*RECEIPTS)
    def _receipt(self, event: LogEvent, payload: Receipt) -> Frames:
        return self._custom(event, "receipt", {"message_id": payload.message_id, **fate_in(payload)})

    @on("ActivitySnapshotObserved")
    def _activity(self, event: LogEvent, activity: ActivitySnapshot) -> Frames:
        return self._custom(event, "activity", {"id": activity.id, "type": activity.type, "content": activity.content})

    @on("ActivityDeltaObserved")
    def _activity_change(self, event: LogEvent, delta: ActivityDelta) -> Frames:
        return self._custom(event, "activity", {"id": delta.id, "type": delta.type, "patch": delta.patch})

    @on("ChildSuspended")
    def _child_waits(self, event: LogEvent, child: ChildSuspendedPayload) -> Frames:
        return self._custom(event, "child_suspended", {"run_id": child.run_id, "ticket_ids": child.ticket_ids})

    @on("ArtifactWritten")
    def _artifact(self, event: LogEvent, artifact: ArtifactWritten) -> Frames:
        told = {
            "id": artifact.artifact_id,
            "name": artifact.name,
            "content": [shown_block(block) for block in artifact.blocks],
            "append": artifact.append,
            "last": artifact.last,
        }
        return self._custom(event, "artifact", told)


def failed(problem: Problem, request_id: str) -> Frames:
    """What a client is told whose stream cannot go on."""
    return (frame({"type": "error", "id": None, "error": "unknown_error", "message": problem.detail}, "error"),)


def events_of(channels: frozenset[str], since: int) -> Making:
    """What makes an encoder for a client that follows these channels, and has had everything up to a number."""
    return partial(EventEncoder, channels=channels, since=since)
