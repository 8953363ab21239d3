"""A run's log as events of AG-UI 1.0.

Above: `routes`. Below: `contract.TurnEncoder`.
Holds: every stream passes the client's verifier: it begins with `RUN_STARTED`, whatever was begun in it is ended before
`RUN_FINISHED`, and no message or call is begun twice. A snapshot of messages has what is committed; where something
was shown that is void, one follows, and takes it from the client's page. Nothing that is absent is written.

A turn is a run of the client's, under the name that the client gave it. What an earlier turn has begun is not begun
again: a snapshot says it, before anything is said about it.

Source: docs/howto/use-ag-ui.md; SRV-033.
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import partial
from typing import Any, Final, Literal, cast

from awaken.domain.agent_event import (
    ActivityDelta,
    ActivitySnapshot,
    ArtifactWritten,
    ErrorRecorded,
    ReasoningDelta,
    ReasoningEncryptedValue,
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
from awaken.domain.clock import Instant, to_rfc3339
from awaken.domain.ids import MessageId, RunId
from awaken.domain.log import MessagePayload
from awaken.domain.message import ASSISTANT, TOOL, USER, Message
from awaken.domain.server_event import (
    ChildFinishedPayload,
    ChildStartedPayload,
    ChildSuspendedPayload,
    DispatchPayload,
    TicketDecidedPayload,
    TicketExpiredPayload,
    TicketOpenedPayload,
    TicketWithdrawnPayload,
)
from awaken.domain.state import Values, applied
from awaken.http.problems import Problem
from awaken.protocols.ag_ui.wire import (
    ASK,
    PROTOCOL_VERSION,
    Shown,
    call_of,
    content_of,
    ending_of,
    interrupt_of,
    is_interrupt,
    reasoning_id,
    shown,
    usage_of,
    written,
)
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

_OWN_CHANGES: Final = frozenset({"add", "replace", "remove"})
_GOOD_ENDS: Final = frozenset({"natural_end", "behavior_requested", "stopped"})


_Kind = Literal["text", "reasoning", "call"]


class _Said:
    """A text, or reasoning, or a call, of which a client was shown the beginning."""

    __slots__ = ("base", "encrypted", "id", "is_open", "kind", "message_id", "name", "pieces")

    def __init__(self, kind: _Kind, base: str, id: str, message_id: MessageId) -> None:
        self.kind: _Kind = kind
        self.base = base
        """What it is called in the log."""
        self.id = id
        self.message_id = message_id
        self.name = ""
        self.pieces: list[str] = []
        self.is_open = True
        self.encrypted: str | None = None


class AgUiEncoder(TurnEncoder):
    """`joins`: for whoever comes while the run is queued, and is shown the conversation when it starts."""

    dialect = "ag_ui"
    wants_history = True
    wants_state = True

    def __init__(self, opened: Opened, *, joins: bool = False) -> None:
        super().__init__(opened)
        self._joins = joins
        self._started = False
        self._client_run_id = ""
        self._opened_at = 0
        self._messages: list[Shown] = []
        """What is committed of the run."""
        self._live: list[_Said] = []
        """What was shown of messages that are not committed, in order."""
        self._open: _Said | None = None
        """The text or reasoning that is being written."""
        self._calls: dict[str, _Said] = {}
        """Those that are not complete."""
        self._begun: dict[str, int] = {}
        """How often a text or reasoning of a name was begun."""
        self._known: set[str] = set()
        """Calls that this turn's client has been shown."""
        self._owes_snapshot = False
        self._decided: list[tuple[str, str, str, str]] = []
        """Results that came between two turns."""
        self._results: dict[str, str | list[Shown]] = {}
        """What calls have returned that are not told to be done."""
        self._step: str | None = None
        self._children: dict[RunId, ChildStartedPayload] = {}
        self._children_shown: set[RunId] = set()
        self._activities: dict[str, list[Frame]] = {}
        """What it takes to show each as it is."""
        self._outputs: dict[str, set[str]] = {}
        self._values: Values | None = None if opened.state is None else opened.state.values
        self._version = -1 if opened.state is None else opened.state.version

    @property
    def shared_as(self) -> bool:
        return self._joins

    # --- turns --------------------------------------------------------------------------------------------------------

    def opens(self, event: LogEvent) -> Frames:
        queued = self.turns.queued
        assert queued is not None, "it has just been queued"
        is_first = self.turns.number == 1
        own = self.opened.run_id if is_first else event.dispatch_id or self.opened.run_id
        self._client_run_id, self._opened_at = queued.wire_run_id or own, event.created_at
        self._open, self._step = None, None
        self._known.clear()
        self._children_shown.clear()
        about = {"runId": self.opened.run_id, "messageIds": queued.message_ids}
        frames = [self._run_started(), _custom("queued", about)]
        if self.opened.knows_version >= 0:  # whoever resumes is told of all changes, and knows what was before them
            frames += self._state_snapshot()
        decided, self._decided = self._decided, []
        if decided:
            frames += self._snapshot()
            for result in decided:
                frames += self._result(*result)
        return frames

    def _run_started(self) -> Frame:
        opened = self.opened
        told: Shown = {"type": "RUN_STARTED", "threadId": opened.thread_id, "runId": self._client_run_id}
        told["protocolVersion"] = PROTOCOL_VERSION
        parent = opened.metadata.get("parent_run_id")
        if isinstance(parent, str) and self.turns.number == 1:
            told["parentRunId"] = parent
        told["timestamp"] = self._opened_at
        told["metadata"] = {"awaken": {"runId": opened.run_id, "agentId": opened.agent_id}}
        return frame(told)

    def ends(self, event: LogEvent, ending: Ending) -> Frames:
        frames = self._closed_all()
        if ending.outcome == "waiting" and any([is_interrupt(ticket.kind) for ticket in ending.tickets]):
            frames += [*self._state_snapshot(), *self._snapshot()]
        own = self.opened.thread_id, self._client_run_id
        return [*frames, ended(*own, ending, ending.tickets, at=event.created_at)]

    def failed(self, problem: Problem, request_id: str) -> Frames:
        return (failure(problem.detail, problem.code),)

    def prelude(self) -> Frames:
        """The conversation, and what is open, as if it had come in one piece."""
        frames: list[Frame] = [self._run_started()]
        if self._started:
            frames += self._snapshot()
        frames += self._state_snapshot()
        for run_id in self._children_shown & self._children.keys():
            frames.append(_child_started(self._children[run_id]))
        if self._step is not None:
            frames.append(_step("STARTED", self._step))
        for said in self._live:
            frames += _start_of(said)
            if said.pieces:
                frames.append(_piece_of(said, "".join(said.pieces)))
            if not said.is_open:
                frames += _end_of(said)
        for shown_so_far in self._activities.values():
            frames += shown_so_far
        return frames

    # --- what is open -------------------------------------------------------------------------------------------------

    def _closed(self) -> list[Frame]:
        """The end of the text or reasoning that is being written."""
        said, self._open = self._open, None
        if said is None:
            return []
        said.is_open = False
        return _end_of(said)

    def _closed_step(self) -> list[Frame]:
        frames, step = self._closed(), self._step
        if step is not None:
            self._step = None
            frames.append(_step("FINISHED", step))
        return frames

    def _closed_all(self) -> list[Frame]:
        frames = self._closed()
        for call in [*self._calls.values()]:
            frames += self._closed_call(call)
        frames += self._closed_step()
        for run_id in self._children_shown & self._children.keys():
            frames.append(
                frame({"type": "SUBAGENT_FINISHED", "subagentRunId": run_id, "outcome": {"type": "suspended"}})
            )
        self._children_shown.clear()
        return frames

    def _begin(self, kind: Literal["text", "reasoning"], base: str, message_id: MessageId) -> _Said:
        """A name is used once: what goes on behind something else, or begins anew, has a number behind it."""
        count = self._begun.get(base, 0)
        self._begun[base] = count + 1
        said = self._open = _Said(kind, base, base if count == 0 else f"{base}.{count}", message_id)
        self._live.append(said)
        return said

    def _write(self, kind: Literal["text", "reasoning"], base: str, message_id: MessageId, piece: str) -> Frames:
        said = self._open
        if said is not None and said.base == base:
            said.pieces.append(piece)
            return (_piece_of(said, piece),)
        frames = self._closed()
        said = self._begin(kind, base, message_id)
        frames += _start_of(said)
        if piece:
            said.pieces.append(piece)
            frames.append(_piece_of(said, piece))
        return frames

    # --- steps, text and reasoning ------------------------------------------------------------------------------------

    @on("StepStarted")
    def _step_start(self, event: LogEvent, step: StepStarted) -> Frames:
        frames, self._step = self._closed_step(), f"step-{step.index}"
        return [*frames, _step("STARTED", self._step)]

    @on("StepEnded")
    def _step_end(self, event: LogEvent, step: StepEnded) -> Frames:
        return self._closed_step()

    @on("TextDeltaObserved")
    def _text(self, event: LogEvent, delta: TextDelta) -> Frames:
        if not delta.delta:
            return NOTHING
        return self._write("text", delta.message_id, delta.message_id, delta.delta)

    @on("ReasoningDeltaObserved")
    def _reasoning(self, event: LogEvent, delta: ReasoningDelta) -> Frames:
        if not delta.delta:
            return NOTHING
        return self._write("reasoning", reasoning_id(delta.message_id, delta.part), delta.message_id, delta.delta)

    @on("ReasoningEncryptedValueObserved")
    def _encrypted(self, event: LogEvent, value: ReasoningEncryptedValue) -> Frames:
        """It belongs to its part. Of one that has no text, an empty message is shown: the value is all there is."""
        base = reasoning_id(value.message_id, value.part)
        said = next((each for each in reversed(self._live) if each.base == base), None)
        frames: list[Frame] = []
        if said is None:
            frames += self._write("reasoning", base, value.message_id, "")
            said = self._live[-1]
        if self._open is said:
            frames += self._closed()
        said.encrypted = value.encrypted_value
        return [*frames, _encrypted_of(said)]

    @on("StreamReset")
    def _reset(self, event: LogEvent, reset: StreamReset) -> Frames:
        void = [each for each in self._live if reset.message_id in (None, each.message_id)]
        frames: list[Frame] = []
        if self._open in void:
            frames += self._closed()
        for call in [each for each in self._calls.values() if each in void]:
            frames += self._closed_call(call)
        self._live = [each for each in self._live if each not in void]
        frames.append(_custom("stream_reset", {"reason": reset.reason}))
        if void and self._live:
            self._owes_snapshot = True
        elif void:
            frames += self._snapshot()
        return frames

    @on("MessageCommitted")
    def _message(self, event: LogEvent, payload: MessagePayload) -> Frames:
        message = Message(
            id=payload.message_id,
            role=payload.role,
            content=payload.content_blocks,
            tool_calls=payload.tool_calls,
            tool_call_id=payload.tool_call_id,
            tool_status=payload.tool_status,
        )
        frames: list[Frame] = []
        if payload.role is TOOL:
            if payload.tool_call_id is not None:
                self._results[payload.tool_call_id] = content_of(payload.content_blocks)
            return frames  # shown when its call is done
        self._messages += shown(message)
        if payload.role is ASSISTANT:
            frames += self._committed(payload)
        elif payload.role is USER and self._started:
            if payload.boundary is not None and payload.boundary != "resume_input":
                frames.append(_custom("steered", {"messageIds": [payload.message_id]}))
            self._owes_snapshot = True
        if self._owes_snapshot and not self._live:
            frames += self._snapshot()
        return frames

    @on(*RECEIPTS)
    def _receipt(self, event: LogEvent, payload: Receipt) -> Frames:
        return (_custom("receipt", {"messageId": payload.message_id, **fate_in(payload)}),)

    def _committed(self, message: MessagePayload) -> list[Frame]:
        frames = self._closed() if self._open is not None and self._open.message_id == message.message_id else []
        for each in message.tool_calls:
            call = self._calls.get(each.id)
            if call is not None:
                frames += self._closed_call(call, each.arguments)
            elif each.id in self._known:
                self._owes_snapshot = True  # it was begun, made void, and is there after all
        self._live = [each for each in self._live if each.message_id != message.message_id]
        return frames

    # --- tool calls ---------------------------------------------------------------------------------------------------

    @on("ToolCallStarted")
    def _call_start(self, event: LogEvent, started: ToolCallStarted) -> Frames:
        if started.id in self._known:
            return NOTHING  # begun anew: when it is committed, a snapshot has it
        return [*self._closed(), *self._begin_call(started.id, started.name, started.message_id)]

    def _begin_call(self, id: str, name: str, message_id: MessageId) -> list[Frame]:
        call = self._calls[id] = _Said("call", id, id, message_id)
        call.name = name
        self._known.add(id)
        self._live.append(call)
        return _start_of(call)

    @on("ToolCallDeltaObserved")
    def _call_input(self, event: LogEvent, delta: ToolCallDelta) -> Frames:
        call = self._calls.get(delta.id)
        if call is None or not delta.args_delta:
            return NOTHING
        call.pieces.append(delta.args_delta)
        return (_piece_of(call, delta.args_delta),)

    @on("ToolCallReady")
    def _call_ready(self, event: LogEvent, ready: ToolCallReady) -> Frames:
        if ready.id in self._known and ready.id not in self._calls:
            return NOTHING  # it ended when its message was committed
        frames: list[Frame] = []
        if ready.id not in self._calls:
            frames += [*self._closed(), *self._begin_call(ready.id, ready.name, ready.message_id)]
        call = self._calls[ready.id]
        frames += self._closed_call(call, ready.arguments if ready.raw is None else ready.raw)
        self._live.remove(call)
        return frames

    def _closed_call(self, call: _Said, arguments: Any = None) -> list[Frame]:
        """Its end, with the arguments where none of them were shown. Those that were cut are made whole, because a
        client reads them as JSON when the call ends.
        """
        frames: list[Frame] = []
        missing = ""
        if not call.pieces:
            missing = written(arguments)
        elif arguments is None:
            missing = ending_of("".join(call.pieces))
        if missing:
            call.pieces.append(missing)
            frames.append(_piece_of(call, missing))
        call.is_open = False
        del self._calls[call.base]
        return [*frames, *_end_of(call)]

    @on("ToolCallStreamDeltaObserved")
    def _progress(self, event: LogEvent, delta: ToolCallStreamDelta) -> Frames:
        """Output by name; a text is a list of its pieces, so that each is sent once."""
        id, name = f"act_{delta.id}", delta.name or "output"
        value: Any = [delta.text] if delta.text is not None else delta.value
        seen = self._outputs.get(delta.id)
        if seen is None:
            self._outputs[delta.id] = {name}
            return self._acts(
                id, _activity(id, "awaken.tool_output", {"toolCallId": delta.id, "output": {name: value}})
            )
        pointer = "/output/" + name.replace("~", "~0").replace("/", "~1")
        if delta.text is not None and name in seen:
            patch = {"op": "add", "path": f"{pointer}/-", "value": delta.text}
        else:
            patch = {"op": "add", "path": pointer, "value": value}
        seen.add(name)
        return self._acts(id, _activity_patch(id, "awaken.tool_output", [patch]), goes_on=True)

    @on("ToolCallDone")
    def _call_done(self, event: LogEvent, done: ToolCallDone) -> Frames:
        self._outputs.pop(done.id, None)
        frames: list[Frame] = []
        if done.id not in self._known:
            frames += self._snapshot()  # an earlier turn has begun it
        if done.id not in self._known:
            frames += [*self._closed(), *self._begin_call(done.id, done.name, done.message_id)]
        if done.id in self._calls:
            call = self._calls[done.id]
            frames += self._closed_call(call)
            self._live.remove(call)
        content = self._results.pop(done.id, "")
        if isinstance(content, str):
            is_good = done.status == "succeeded"
            told = done.result if is_good else done.error_text or f"the call has ended as {done.status}"
            content = written(told)
        return [*frames, *self._result(done.result_message_id, done.id, content, done.status)]

    def _result(self, message_id: str, call_id: str, content: str | list[Shown], status: str) -> Frames:
        result: Shown = {"type": "TOOL_CALL_RESULT", "messageId": message_id, "toolCallId": call_id}
        result |= {"content": content, "role": "tool"}
        message: Shown = {"id": message_id, "role": "tool", "toolCallId": call_id, "content": content}
        if status != "succeeded":
            result["metadata"] = {"awaken": {"status": status}}
            message["error"] = content if isinstance(content, str) else "it failed"
        self._messages.append(message)
        return (frame(result),)

    # --- what a run waits for -----------------------------------------------------------------------------------------

    @on("TicketOpened")
    def _asks(self, event: LogEvent, ticket: TicketOpenedPayload) -> Frames:
        """One without a call is shown as a call of its own."""
        if ticket.tool_call_id is not None or ticket.kind not in ("approval", "input", "client_tool"):
            return NOTHING
        id, name, arguments = shown_call(ticket)
        call = _Said("call", id, id, MessageId(id))
        call.name = name
        self._known.add(id)
        self._messages.append({"id": id, "role": "assistant", "toolCalls": [call_of(id, name, arguments)]})
        return [*self._closed(), *_start_of(call), _piece_of(call, written(arguments)), *_end_of(call)]

    @on("TicketDecided")
    def _decision(self, event: LogEvent, decided: TicketDecidedPayload) -> Frames:
        if decided.tool_call_id is not None:
            return NOTHING  # its call has an end of its own
        fails = decided.action in ("fail", "deny")
        told = decided.reason or "it has no answer" if fails else decided.result
        if told is None and decided.action == "approve":
            told = "approved"
        return self._answered(decided.ticket_id, decided.decision_id, told, "failed" if fails else "succeeded")

    @on("TicketExpired", "TicketWithdrawn")
    def _closes(self, event: LogEvent, closed: TicketExpiredPayload | TicketWithdrawnPayload) -> Frames:
        if closed.tool_call_id is not None:
            return NOTHING
        told = "nobody has answered in time" if isinstance(closed, TicketExpiredPayload) else closed.why
        return self._answered(closed.ticket_id, f"{closed.ticket_id}.closed", told, "failed")

    def _answered(self, ticket_id: str, message_id: str, told: Any, status: str) -> Frames:
        """What happens between two turns is the beginning of the next one."""
        if not any([each["id"] == ticket_id for each in self._messages]):
            return NOTHING
        if not self.turns.is_open:
            self._decided.append((message_id, ticket_id, written(told), status))
            return NOTHING
        frames = [] if ticket_id in self._known else self._snapshot()
        return [*frames, *self._result(message_id, ticket_id, written(told), status)]

    # --- the queue and children ---------------------------------------------------------------------------------------

    @on("RunStarted")
    def _runs(self, event: LogEvent, payload: Any) -> Frames:
        self._started = True
        return self._snapshot() if self._joins else NOTHING

    @on("RunRescheduled")
    def _waits_again(self, event: LogEvent, moved: DispatchPayload) -> Frames:
        told: Shown = {"attempt": moved.attempt_count}
        if moved.available_at is not None:
            told["availableAt"] = to_rfc3339(moved.available_at)
        return (_custom("rescheduled", told),)

    @on("ErrorRecorded")
    def _error(self, event: LogEvent, error: ErrorRecorded) -> Frames:
        return (_custom("notice", {"message": error.message}),)

    @on("ChildStarted")
    def _child_start(self, event: LogEvent, child: ChildStartedPayload) -> Frames:
        self._children[child.run_id] = child
        if not self.turns.is_open:
            return NOTHING
        self._children_shown.add(child.run_id)
        return (_child_started(child),)

    @on("ChildSuspended")
    def _child_waits(self, event: LogEvent, child: ChildSuspendedPayload) -> Frames:
        return (_custom("child_suspended", {"runId": child.run_id, "ticketIds": child.ticket_ids}),)

    @on("ChildFinished")
    def _child_end(self, event: LogEvent, child: ChildFinishedPayload) -> Frames:
        known = self._children.pop(child.run_id, None)
        if known is None:
            return NOTHING
        frames = [] if child.run_id in self._children_shown else [_child_started(known)]
        self._children_shown.discard(child.run_id)
        told: Shown = {"type": "SUBAGENT_FINISHED", "subagentRunId": child.run_id}
        ended = child.termination
        if ended.type not in _GOOD_ENDS:
            told = {"type": "SUBAGENT_ERROR", "subagentRunId": child.run_id}
            told["message"] = ended.detail or f"the run has ended as {ended.type}"
            told["code"] = ended.code or ended.type
        elif child.output is not None:
            told["result"] = child.output
        return [*frames, frame(told)]

    # --- beside the conversation --------------------------------------------------------------------------------------

    @on("StateSnapshotObserved")
    def _state(self, event: LogEvent, snapshot: StateSnapshot) -> Frames:
        state: Any = snapshot.state
        if snapshot.version > self._version and isinstance(state, dict):
            self._values, self._version = cast(Values, state), snapshot.version
        return (frame({"type": "STATE_SNAPSHOT", "snapshot": state}),)

    @on("StateDeltaObserved")
    def _state_delta(self, event: LogEvent, delta: StateDelta) -> Frames:
        if self._values is not None and delta.version > self._version:
            # What an agent publishes may be any patch; the thread's own changes are of keys, and nothing else.
            is_own = all([each.get("op") in _OWN_CHANGES and each.get("path", "")[:1] == "/" for each in delta.patch])
            self._values, self._version = applied(self._values, delta.patch) if is_own else None, delta.version
        return (frame({"type": "STATE_DELTA", "delta": delta.patch}),)

    def _state_snapshot(self) -> list[Frame]:
        """Nothing where it is not known, or was never anything."""
        if self._values is None or self._version <= 0:
            return []
        return [frame({"type": "STATE_SNAPSHOT", "snapshot": self._values})]

    def _snapshot(self) -> list[Frame]:
        """All that is committed, from here on known to the client."""
        self._owes_snapshot = False
        messages = [*conversation(self.history), *self._messages]
        self._known.update([call["id"] for each in messages for call in each.get("toolCalls", ())])
        return [frame({"type": "MESSAGES_SNAPSHOT", "messages": messages})]

    @on("ActivitySnapshotObserved")
    def _acts_anew(self, event: LogEvent, activity: ActivitySnapshot) -> Frames:
        shown_now = _activity(activity.id, activity.type, activity.content, replace=activity.replace)
        if not activity.replace and activity.id in self._activities:
            return (shown_now,)
        return self._acts(activity.id, shown_now)

    @on("ActivityDeltaObserved")
    def _acts_on(self, event: LogEvent, activity: ActivityDelta) -> Frames:
        return self._acts(activity.id, _activity_patch(activity.id, activity.type, activity.patch), goes_on=True)

    @on("ArtifactWritten")
    def _artifact(self, event: LogEvent, made: ArtifactWritten) -> Frames:
        content = content_of(made.blocks)
        parts = [{"type": "text", "text": content}] if isinstance(content, str) else content
        id, kind = made.artifact_id, "awaken.artifact"
        if made.append and id in self._activities:
            patch: list[Shown] = [{"op": "add", "path": "/parts/-", "value": each} for each in parts]
            patch.append({"op": "add", "path": "/last", "value": made.last})
            return self._acts(id, _activity_patch(id, kind, patch), goes_on=True)
        return self._acts(id, _activity(id, kind, {"name": made.name, "parts": parts, "last": made.last}))

    def _acts(self, id: str, told: Frame, *, goes_on: bool = False) -> Frames:
        if goes_on and id in self._activities:
            self._activities[id].append(told)
        else:
            self._activities[id] = [told]
        return (told,)


# --- events -----------------------------------------------------------------------------------------------------------


def conversation(messages: Any) -> list[Shown]:
    """Messages of the log as the client has them."""
    return [each for message in messages for each in shown(message)]


def ended(
    thread_id: str,
    run_id: str,
    ending: Ending | None,
    tickets: Iterable[TicketOpenedPayload],
    *,
    at: Instant | None = None,
    as_error: bool = True,
) -> Frame:
    """The end of a client's run. `ending`: None where it is still under way, for others to see. `as_error` False: it is
    no error of this stream that the run has failed.
    """
    told: Shown = {} if at is None else {"timestamp": at}
    usage = [] if ending is None else usage_of(ending.usage, ending.usage_by_model)
    if usage:
        told["usage"] = usage
    asked = [interrupt_of(each) for each in tickets if is_interrupt(each.kind)]
    termination = None if ending is None else ending.termination
    if ending is not None and ending.outcome in ("failed", "blocked") and as_error and not asked:
        code = termination and (termination.code or termination.type)
        return frame({"type": "RUN_ERROR", "message": ending.text, "code": code or "error"} | told)
    finished: Shown = {"type": "RUN_FINISHED", "threadId": thread_id, "runId": run_id}
    if ending is not None and ending.output is not None:
        finished["result"] = ending.output
    pending = [shown_call(each)[0] for each in tickets if each.kind == "client_tool"]
    if asked:
        finished["outcome"] = {"type": "interrupt", "interrupts": asked}
    elif ending is not None and ending.outcome in ("cancelled", "superseded"):
        finished["outcome"] = {"type": "cancelled"}
    else:
        finished["outcome"] = {"type": "success"} | ({"pendingToolCallIds": pending} if pending else {})
    if ending is not None:
        about: Shown = {"outcome": ending.outcome}
        if termination is not None and termination.code is not None:
            about["code"] = termination.code
        told["metadata"] = {"awaken": about}
    return frame(finished | told)


def failure(message: str, code: str) -> Frame:
    """The end of a stream that cannot go on."""
    return frame({"type": "RUN_ERROR", "message": message, "code": code})


def _start_of(said: _Said) -> list[Frame]:
    match said.kind:
        case "text":
            return [frame({"type": "TEXT_MESSAGE_START", "messageId": said.id, "role": "assistant"})]
        case "reasoning":
            begun = {"type": "REASONING_MESSAGE_START", "messageId": said.id, "role": "reasoning"}
            return [frame({"type": "REASONING_START", "messageId": said.id}), frame(begun)]
        case "call":
            told: Shown = {"type": "TOOL_CALL_START", "toolCallId": said.id, "toolCallName": said.name}
            if said.name != ASK:
                told["parentMessageId"] = said.message_id
            return [frame(told)]


_CONTENT: Final = {"text": "TEXT_MESSAGE_CONTENT", "reasoning": "REASONING_MESSAGE_CONTENT", "call": "TOOL_CALL_ARGS"}


def _piece_of(said: _Said, piece: str) -> Frame:
    return frame(
        {"type": _CONTENT[said.kind], "toolCallId" if said.kind == "call" else "messageId": said.id, "delta": piece}
    )


def _end_of(said: _Said) -> list[Frame]:
    match said.kind:
        case "text":
            return [frame({"type": "TEXT_MESSAGE_END", "messageId": said.id})]
        case "reasoning":
            ends = ("REASONING_MESSAGE_END", "REASONING_END")
            return [frame({"type": each, "messageId": said.id}) for each in ends]
        case "call":
            return [frame({"type": "TOOL_CALL_END", "toolCallId": said.id})]


def _encrypted_of(said: _Said) -> Frame:
    told = {"type": "REASONING_ENCRYPTED_VALUE", "subtype": "message", "entityId": said.id}
    return frame(told | {"encryptedValue": said.encrypted})


def _step(phase: str, name: str) -> Frame:
    return frame({"type": f"STEP_{phase}", "stepName": name})


def _custom(name: str, value: Any) -> Frame:
    return frame({"type": "CUSTOM", "name": f"awaken.{name}", "value": value})


def _activity(id: str, kind: str, content: Any, *, replace: bool = True) -> Frame:
    told: Shown = {"type": "ACTIVITY_SNAPSHOT", "messageId": id, "activityType": kind, "content": content}
    return frame(told if replace else told | {"replace": False})


def _activity_patch(id: str, kind: str, patch: Any) -> Frame:
    return frame({"type": "ACTIVITY_DELTA", "messageId": id, "activityType": kind, "patch": patch})


def _child_started(child: ChildStartedPayload) -> Frame:
    told: Shown = {"type": "SUBAGENT_STARTED", "subagentRunId": child.run_id, "name": child.agent_id}
    return frame(told if child.tool_call_id is None else told | {"parentToolCallId": child.tool_call_id})


JOINING: Final = partial(AgUiEncoder, joins=True)
