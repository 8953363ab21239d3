"""A thread as a client of the AI SDK shows it: `UIMessage`s that pass its `validateUIMessages`.

Above: `routes`. Below: messages, tickets and runs as they are read now.
Holds: a message has the id that its stream gave it, and its calls are in the state that they truly are in.

Source: docs/howto/use-the-ai-sdk.md; SRV-031.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, cast

import msgspec

from awaken.domain.clock import to_rfc3339
from awaken.domain.ids import MessageId, RunId, ThreadId
from awaken.domain.message import Audio, Document, Image, Json, Message, Role, Text, Thinking, ToolStatus, Video
from awaken.domain.run import Run
from awaken.domain.ticket import Ticket
from awaken.protocols.ai_sdk.encoder import Dialect, asked_by, failure_of
from awaken.protocols.ai_sdk.wire import SHOWN_KINDS, Part, call_id, file_of, later_answer_id, parts_of, tool_name
from awaken.protocols.turns import Ending
from awaken.store.contract import StoredMessage

Shown = dict[str, Any]
"""A `UIMessage`."""


class Answered(msgspec.Struct):
    """A message as it is shown, and what it is made of."""

    shown: Shown
    message_ids: list[MessageId]
    """Of the log, in order."""
    run_id: RunId | None = None


class Known(msgspec.Struct, frozen=True):
    """What messages do not say. `over`: runs that have ended; `inputs`: messages with which waiting runs went on;
    `runs`: those of the conversation as it is read now, in order.
    """

    over: frozenset[RunId] = frozenset()
    inputs: frozenset[MessageId] = frozenset()
    runs: tuple[Run, ...] = ()


class _Page:
    """The messages made so far."""

    def __init__(self, thread_id: ThreadId, tickets: Sequence[Ticket], known: Known, version: Dialect) -> None:
        self.found: list[Answered] = []
        self._thread_id = thread_id
        self._version = version
        self._known = known
        self._runs: set[RunId] = set()
        self._calls: dict[tuple[RunId | None, str], Part] = {}
        self._said: MessageId | None = None
        """By a user, last."""
        self._first_inputs = {
            run.request.input_message_ids[-1]: run for run in known.runs if run.request.input_message_ids
        }
        self._waits_behind: dict[RunId, Answered] = {}
        """Runs that have no message yet, with the one behind which it will stand."""
        self._asked: dict[tuple[RunId, str], Ticket] = {}
        self._questions: dict[RunId, list[Ticket]] = {}
        for ticket in tickets:
            if ticket.asked.kind not in SHOWN_KINDS:
                continue
            if ticket.asked.tool_call_id is None:
                self._questions.setdefault(ticket.run_id, []).append(ticket)
            else:
                self._asked[ticket.run_id, ticket.asked.tool_call_id] = ticket

    def add(self, stored: StoredMessage) -> None:
        message = stored.message
        if stored.run_id is not None:
            self._ask(stored.run_id, before=stored.created_at)
        match message.role:
            case Role.USER if self._is_steering(stored):
                self._steered(stored)
            case Role.USER | Role.SYSTEM:
                parts = parts_of(message.content)
                if parts:
                    shown = {"id": message.id, "role": message.role.value, "parts": parts}
                    self.found.append(Answered(shown, [message.id]))
                    run = self._first_inputs.get(message.id)
                    if run is not None:
                        self._waits_behind[run.run_id] = self.found[-1]
                self._said = message.id
            case Role.ASSISTANT:
                answer = self._answer(stored)
                answer.message_ids.append(message.id)
                answer.shown["parts"] += self._step(message, stored.run_id)
            case Role.TOOL:
                part = self._calls.get((stored.run_id, message.tool_call_id or ""))
                part = part or self._calls.get((None, message.tool_call_id or ""))
                if part is not None:
                    self._result(part, message, stored.run_id)

    def end(self) -> list[Answered]:
        """What nobody answers any more is over; a run that has said nothing has returned something, or failed."""
        for run_id in [*self._questions]:
            self._ask(run_id)
        for run in self._known.runs:
            part = _end_of(run)
            answer = None if part is None else self._last_of(run.run_id, run.created_at)
            if answer is not None and part not in answer.shown["parts"]:
                answer.shown["parts"].append(part)
        for (run_id, _), part in self._calls.items():
            if run_id in self._known.over and part["state"] in (
                "input-available",
                "approval-requested",
                "approval-responded",
            ):
                _fails(part, "the run has ended")
        return self.found

    def _ask(self, run_id: RunId, before: int | None = None) -> None:
        """Show what the run has asked without a call: all of it, or what was asked before something else was said."""
        tickets = self._questions.get(run_id, [])
        while tickets and (before is None or tickets[0].created_at < before):
            ticket = tickets.pop(0)
            answer = self._last_of(run_id, ticket.created_at, is_open=ticket.is_open)
            if answer is not None:
                answer.shown["parts"].append(_question(ticket))

    def _last_of(self, run_id: RunId, at: int, *, is_open: bool = False) -> Answered | None:
        """The last message of the run; where it has none, one behind its input. None: that is hidden."""
        answer = next((each for each in reversed(self.found) if each.run_id == run_id), None)
        if answer is None and (is_open or run_id in self._waits_behind):
            answer = self._made(run_id, run_id, at)
            behind = self._waits_behind.get(run_id)
            if behind is not None:
                self.found.insert(self.found.index(behind) + 1, self.found.pop())
        return answer

    def _is_steering(self, stored: StoredMessage) -> bool:
        """It came to a run while that was under way, and is part of its answer."""
        return came_between(stored) and stored.message.id not in self._known.inputs

    def _steered(self, stored: StoredMessage) -> None:
        message, parts = stored.message, parts_of(stored.message.content)
        told: Part = {"type": "data-steering", "id": message.id, "data": {"id": message.id, "parts": parts}}
        if self._version == 7:
            told = {"type": "steering-message", "id": message.id, "parts": parts}
        self._answer(stored).shown["parts"].append(told)

    def _answer(self, stored: StoredMessage) -> Answered:
        """The message that goes on with this one."""
        run_id = stored.run_id
        last = self.found[-1] if self.found else None
        if last is not None and last.shown["role"] == "assistant" and last.run_id == run_id:
            return last
        id: str = run_id or stored.message.id
        if run_id is not None and run_id in self._runs and self._said is not None:
            id = later_answer_id(run_id, self._said)
        return self._made(id, run_id, stored.created_at)

    def _made(self, id: str, run_id: RunId | None, created_at: int) -> Answered:
        told: dict[str, Any] = {"threadId": self._thread_id, "createdAt": to_rfc3339(created_at)}
        if run_id is not None:
            self._runs.add(run_id)
            told["runId"] = run_id
        made = Answered({"id": id, "role": "assistant", "metadata": told, "parts": []}, [], run_id)
        self.found.append(made)
        return made

    def _step(self, message: Message, run_id: RunId | None) -> list[Part]:
        parts: list[Part] = [{"type": "step-start"}]
        for block in message.content:
            match block:
                case Text() if block.text:
                    parts.append({"type": "text", "text": block.text, "state": "done"})
                case Thinking():
                    part: Part = {"type": "reasoning", "text": block.text, "state": "done"}
                    if block.signature is not None:
                        part["providerMetadata"] = {"awaken": {"encrypted": block.signature}}
                    parts.append(part)
                case Image() | Audio() | Video() | Document():
                    parts.append(file_of(block))
                case Json():
                    parts.append({"type": "data-output", "data": block.value})
                case _:
                    pass
        for call in message.tool_calls:
            part = self._call(call.id, call.name, call.arguments, run_id)
            self._calls[run_id, call.id] = part
            parts.append(part)
        return parts

    def _call(self, id: str, name: str, arguments: Any, run_id: RunId | None) -> Part:
        part: Part = {"type": f"tool-{name}", "toolCallId": id, "state": "input-available", "input": arguments}
        ticket = None if run_id is None else self._asked.get((run_id, id))
        if ticket is None or ticket.asked.kind == "approval" or not ticket.is_open:
            part["providerExecuted"] = True
        if ticket is not None and ticket.is_open:
            _asks(part, ticket)
        elif ticket is not None and ticket.asked.kind == "approval" and ticket.state != "withdrawn":
            part |= {"state": "approval-responded", "approval": _approval(ticket)}
        return part

    def _result(self, part: Part, message: Message, run_id: RunId | None) -> None:
        ticket = None if run_id is None else self._asked.get((run_id, part["toolCallId"]))
        approval = None if ticket is None or ticket.asked.kind != "approval" else _approval(ticket)
        part.pop("approval", None)
        part["providerExecuted"] = True
        if message.tool_status is ToolStatus.SUCCESS or message.tool_status is None:
            part |= {"state": "output-available", "output": _value(message)}
        elif approval is not None and approval["approved"] is False and message.tool_status is ToolStatus.ERROR:
            part |= {"state": "output-denied", "approval": approval}
            return
        else:
            _fails(part, message.text or "it failed")
        if approval is not None and approval["approved"] is True:
            part["approval"] = approval


def shown(
    thread_id: ThreadId,
    messages: Sequence[StoredMessage],
    tickets: Sequence[Ticket],
    known: Known,
    version: Dialect = 6,
) -> list[Answered]:
    """The conversation, message by message of the client."""
    page = _Page(thread_id, tickets, known, version)
    for stored in messages:
        page.add(stored)
    return page.end()


def came_between(stored: StoredMessage) -> bool:
    """Somebody said it while its run was under way or waited."""
    return stored.message.role is Role.USER and stored.step_index is not None and stored.run_id is not None


def runs_with_open_calls(messages: Sequence[StoredMessage]) -> set[RunId]:
    """Those whose calls are not all answered."""
    made: Mapping[tuple[RunId | None, str], None] = {
        (each.run_id, call.id): None for each in messages for call in each.message.tool_calls
    }
    answered = {(each.run_id, each.message.tool_call_id) for each in messages if each.message.role is Role.TOOL}
    return {run_id for run_id, id in made if run_id is not None and (run_id, id) not in answered}


def settling(sent: Sequence[Part], true: Sequence[Part], version: Dialect = 6) -> list[Part]:
    """Chunks that bring the calls of a client's message into the state that they truly are in. `sent`: its parts;
    `true`: those of the same message here, none where there is no such message.
    """
    by_id = {part["toolCallId"]: part for part in true if "toolCallId" in part}
    last_step = max([place for place, part in enumerate(sent) if part.get("type") == "step-start"], default=-1)
    chunks: list[Part] = []
    for place, part in enumerate(sent):
        id = call_id(part)
        if id is None or part.get("state") == "input-streaming":
            continue
        told = _settling(part, by_id.get(id), version, in_last_step=place > last_step)
        chunks += [each | {"toolCallId": id} for each in told]
    return chunks


def following(sent: Sequence[Part], true: Sequence[Part]) -> list[Part]:
    """Chunks with what stands behind a client's message here, where what it has is the beginning of that."""
    mine = [told for part in sent if (told := _told(part)) is not None]
    known = [(place, told) for place, part in enumerate(true) if (told := _told(part)) is not None]
    if not mine or [told for _, told in known[: len(mine)]] != mine:
        return []
    rest = true[known[len(mine) - 1][0] + 1 :]
    return [chunk for number, part in enumerate(rest) for chunk in _whole(part, f"late_{number}")]


def _told(part: Part) -> Any:
    """By what a part is known in a stream and in the conversation; None: it may be in one of them only."""
    kind = part.get("type")
    if tool_name(part) is not None:
        return part.get("toolCallId")
    return (kind, part.get("text")) if kind in ("text", "reasoning", "step-start") else None


def _whole(part: Part, id: str) -> list[Part]:
    kind, name = part["type"], tool_name(part)
    if kind == "step-start":
        return [{"type": "start-step"}]
    if kind in ("text", "reasoning"):
        about: Part = {"id": id} | (
            {"providerMetadata": part["providerMetadata"]} if "providerMetadata" in part else {}
        )
        delta: Part = {"type": f"{kind}-delta", "id": id, "delta": part["text"]}
        return [{"type": f"{kind}-start"} | about, delta, {"type": f"{kind}-end", "id": id}]
    if name is None:
        return [{key: value for key, value in part.items() if key != "state"}]
    begun = _begun_anew(part, part) | {"toolCallId": part["toolCallId"]}
    asked = [_requested(part)] if part["state"] == "approval-requested" else []
    ends = asked or _settling({"state": "input-available"}, part, 6, in_last_step=False)
    return [begun, *[each | {"toolCallId": part["toolCallId"]} for each in ends]]


def _settling(part: Part, known: Part | None, version: Dialect, *, in_last_step: bool) -> list[Part]:
    """The same for one call. Its input is begun anew in the last step only: the client would not find it elsewhere."""
    if known is None:
        if part.get("state") not in ("approval-requested", "approval-responded", "input-available"):
            return []
        return [{"type": "tool-output-error", "errorText": "nobody waits for this any more", "providerExecuted": True}]
    approved = _answered_otherwise(part, known, version)
    match known["state"]:
        case "output-available":
            told: Part = {"type": "tool-output-available", "output": known["output"], "providerExecuted": True}
            return [*approved, told]
        case "output-error":
            told = {"type": "tool-output-error", "errorText": known["errorText"], "providerExecuted": True}
            return [*approved, told]
        case "output-denied":
            return [*approved, {"type": "tool-output-denied"}]
        case "approval-requested" if part.get("state") != "approval-requested":
            return [_requested(known)]
        case "approval-responded" if approved and version == 6 and in_last_step:
            return [*approved, _begun_anew(part, known)]
        case "input-available" if part.get("state") != "input-available" and in_last_step:
            return [_begun_anew(part, known)]
        case _:
            return approved


def _answered_otherwise(part: Part, known: Part, version: Dialect) -> list[Part]:
    """What takes the client's own answer from a part, where that is not what was decided. `ai` 6 has no word for what
    was, so that no answer stands there.
    """
    true, mine = known.get("approval"), part.get("approval")
    if not isinstance(true, dict) or not isinstance(mine, dict):
        return []
    true, mine = cast(Part, true), cast(Part, mine)
    if "approved" not in mine or mine["approved"] == true.get("approved") or not isinstance(true.get("approved"), bool):
        return []
    if version == 6:
        return [_requested(known)]
    told: Part = {"type": "tool-approval-response", "approvalId": true["id"], "approved": true["approved"]}
    told |= {"reason": true["reason"]} if "reason" in true else {}
    return [told | {"providerExecuted": True}]


def _requested(known: Part) -> Part:
    approval: Part = known["approval"]
    told: Part = {"type": "tool-approval-request", "approvalId": approval["id"]}
    return told | ({"approvalDescriptor": approval["descriptor"]} if "descriptor" in approval else {})


def _begun_anew(part: Part, known: Part) -> Part:
    """The call as it was before anybody answered it."""
    told: Part = {"type": "tool-input-available", "toolName": tool_name(part), "input": known.get("input")}
    told["providerExecuted"] = known.get("providerExecuted") is True
    if "toolMetadata" in known:
        told["toolMetadata"] = known["toolMetadata"]
    return told | ({"dynamic": True} if part.get("type") == "dynamic-tool" else {})


def _end_of(run: Run) -> Part | None:
    """What a run leaves that is no message: a value that it returned, or its failure."""
    if run.termination is not None and run.termination.type == "error":
        ending = Ending(outcome="failed", termination=run.termination)
        return {"type": "data-failure", "id": "failure", "data": failure_of(ending)}
    if run.final_output is not None and not run.output_message_ids:
        return {"type": "data-output", "id": "output", "data": run.output}
    return None


def _asks(part: Part, ticket: Ticket) -> None:
    asked = asked_by(ticket.asked)
    if ticket.asked.kind == "approval":
        part |= {"state": "approval-requested", "approval": {"id": ticket.ticket_id} | _described(asked)}
    elif asked:
        part["toolMetadata"] = {"asked": asked}


def _described(asked: dict[str, Any]) -> dict[str, Any]:
    return {"descriptor": asked} if asked else {}


def _approval(ticket: Ticket) -> dict[str, Any]:
    """How it was decided; of one that expired, no."""
    decision = ticket.decision
    if decision is None:
        late = {"reason": "nobody has decided in time"} if ticket.state == "expired" else {}
        return (
            {"id": ticket.ticket_id, "approved": False} | late if late else {"id": ticket.ticket_id, "approved": None}
        )
    told = {"id": ticket.ticket_id, "approved": decision.is_yes}
    return told if decision.reason is None else told | {"reason": decision.reason}


def _question(ticket: Ticket) -> Part:
    """What is asked without a call, as a call."""
    asked = ticket.asked
    arguments: dict[str, Any] = {"message": asked.message or ""}
    if asked.response_schema is not None:
        arguments["schema"] = asked.response_schema
    given = asked.arguments
    if ticket.decision is not None and ticket.decision.action == "edit":
        given = ticket.decision.arguments
    if given is not None:
        arguments["arguments"] = given
    part: Part = {"type": "tool-ask", "toolCallId": ticket.ticket_id, "state": "input-available", "input": arguments}
    decision = ticket.decision
    if ticket.is_open:
        if asked.kind == "approval":
            _asks(part, ticket)
            part["providerExecuted"] = True
        else:
            _asks(part, ticket)
        return part
    part["providerExecuted"] = True
    if asked.kind == "approval" and decision is not None:
        approval = _approval(ticket)
        if approval["approved"]:
            return part | {"state": "output-available", "output": None, "approval": approval}
        return part | {"state": "output-denied", "approval": approval}
    if decision is not None and decision.action not in ("fail", "deny"):
        return part | {"state": "output-available", "output": decision.result}
    why = None if decision is None else decision.reason
    _fails(part, why or ("nobody has answered in time" if ticket.state == "expired" else "it has no answer"))
    return part


def _fails(part: Part, text: str) -> None:
    part |= {"state": "output-error", "errorText": text}
    if part.get("approval", {}).get("approved") is not True:
        part.pop("approval", None)


def _value(message: Message) -> Any:
    """What a tool returned: its one value, or else its text."""
    values = [block.value for block in message.content if isinstance(block, Json)]
    return values[0] if len(values) == 1 and len(message.content) == 1 else message.text
