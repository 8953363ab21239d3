"""A protocol of a few words, as small as one can be: what adapters share is tested with it."""

from __future__ import annotations

from typing import Annotated, Any, Final, Literal

from msgspec import Meta
from starlette.responses import Response

from awaken.domain.agent_event import StateDelta
from awaken.domain.event import TextDelta, ToolCallDone, ToolCallReady
from awaken.domain.ids import MessageId
from awaken.domain.log import MessagePayload
from awaken.domain.message import Message, Role, Text
from awaken.domain.run import Adapter, ClientTool
from awaken.domain.ticket import Verdict
from awaken.http.operation import Call, Operation
from awaken.http.problems import Problem
from awaken.protocols.body import DialectBody
from awaken.protocols.contract import NOTHING, Frames, LogEvent, TurnEncoder, frame, on
from awaken.protocols.gateway import Gateway, Incoming
from awaken.protocols.projection import Place
from awaken.protocols.turns import Ending
from awaken.testing.protocols import CallSeen, Placed, patched
from awaken.testing.protocols import Final as FinalView

DONE: Final = "[DONE]"


class PlainEncoder(TurnEncoder):
    """Says `text` before the first piece of a message, so that one event is two frames."""

    dialect = "plain"
    wants_history = True
    is_opened: int = 0

    def __init__(self, opened: Any) -> None:
        super().__init__(opened)
        type(self).is_opened += 1
        self._texts: dict[MessageId, list[str]] = {}

    def opens(self, event: LogEvent) -> Frames:
        return (frame({"type": "start", "turn": self.turns.number}, "start"),)

    def ends(self, event: LogEvent, ending: Ending) -> Frames:
        told: dict[str, Any] = {"type": "end", "outcome": ending.outcome, "read": len(self.history)}
        if ending.waits is not None:
            told |= {"waits": ending.waits, "tickets": [each.ticket_id for each in ending.tickets]}
        if ending.outcome in ("failed", "blocked"):
            told["error"] = ending.text
        return (frame(told, "end"), frame(DONE))

    def failed(self, problem: Problem, request_id: str) -> Frames:
        return _failed(problem, request_id)

    def prelude(self) -> Frames:
        return [frame({"type": "so-far", "id": id, "text": "".join(text)}) for id, text in self._texts.items()]

    @on("TextDeltaObserved")
    def _text(self, event: LogEvent, delta: TextDelta) -> Frames:
        said = frame({"type": "delta", "id": delta.message_id, "text": delta.delta})
        if delta.message_id in self._texts:
            self._texts[delta.message_id].append(delta.delta)
            return (said,)
        self._texts[delta.message_id] = [delta.delta]
        return (frame({"type": "text", "id": delta.message_id}), said)

    @on("MessageCommitted")
    def _message(self, event: LogEvent, message: MessagePayload) -> Frames:
        self._texts.pop(message.message_id, None)
        return NOTHING

    @on("StreamReset")
    def _reset(self, event: LogEvent, payload: Any) -> Frames:
        self._texts.clear()
        return (frame({"type": "reset"}),)

    @on("StateDeltaObserved")
    def _state(self, event: LogEvent, delta: StateDelta) -> Frames:
        return (frame({"type": "patch", "patch": delta.patch}),)

    @on("ToolCallReady")
    def _call(self, event: LogEvent, call: ToolCallReady) -> Frames:
        return (frame({"type": "call", "id": call.id, "name": call.name, "arguments": call.arguments}),)

    @on("ToolCallDone")
    def _done(self, event: LogEvent, done: ToolCallDone) -> Frames:
        told = {"type": "result", "id": done.id, "status": done.status, "result": done.result}
        return (frame(told | ({} if done.error_text is None else {"error": done.error_text})),)


def final_of(frames: list[Placed]) -> FinalView:
    """What a client of this protocol shows in the end."""
    final = FinalView(calls={})
    texts: dict[str, str] = {}
    for each in frames:
        if each.frame.data == b'"[DONE]"':
            continue
        told = each.json()
        match told["type"]:
            case "delta":
                texts[told["id"]] = texts.get(told["id"], "") + told["text"]
            case "reset":
                texts = {}
            case "call":
                final.calls[told["id"]] = CallSeen(told["name"], told["arguments"])
            case "result":
                call = final.calls[told["id"]]
                call.status, call.result, call.error = told["status"], told["result"], told.get("error")
            case "patch":
                final.state = patched(final.state, told["patch"])
            case "end":
                final.outcome, final.waits = told["outcome"], told.get("waits")
            case _:
                pass
    final.text = "".join(texts.values())
    return final


class Said(DialectBody, frozen=True, kw_only=True, rename="camel"):
    role: str
    text: str = ""
    id: str = ""


class Chat(DialectBody, frozen=True, kw_only=True, rename="camel"):
    messages: Annotated[list[Said], Meta(max_length=1000)]
    id: str = ""
    agent_id: str | None = None
    yes: tuple[str, ...] = ()
    """Ids of tickets."""
    tools: tuple[str, ...] = ()
    context: Any = None
    run: str | None = None
    """What the client calls it."""
    leaving: Literal["continue", "cancel"] = "continue"
    instead: Literal["enqueue", "interrupt"] = "enqueue"
    metadata: dict[str, Any] | None = None
    goes: bool = False
    """Its thread, when it has ended."""


async def chat(call: Call) -> Response:
    asked = call.body(Chat)
    gateway = Gateway(call, Adapter.HTTP)
    incoming = Incoming(
        thread_id=asked.id,
        agent_id=asked.agent_id,
        messages=tuple([_message(said) for said in asked.messages]),
        answers=tuple([Verdict(action="approve", ticket_id=each) for each in asked.yes]),
        client_tools=tuple([ClientTool(name) for name in asked.tools]),
        context=asked.context,
        wire_run_id=asked.run,
        on_disconnect=asked.leaving,
        on_completion="delete" if asked.goes else "keep",
        strategy=asked.instead,
        metadata=asked.metadata or {},
    )
    turn = await gateway.enter(incoming)
    if turn is None and asked.run is not None:
        turn = await gateway.turn_called(asked.id, asked.run)
    if turn is None:
        return gateway.say((frame({"type": "start"}), frame({"type": "end", "outcome": "nothing"}), frame(DONE)))
    return await gateway.watch(turn, PlainEncoder)


def _message(said: Said) -> Message:
    return Message(id=MessageId(said.id), role=Role(said.role), content=(Text(said.text),))


async def resume(call: Call) -> Response:
    gateway = Gateway(call, Adapter.HTTP)
    found = await gateway.resumed(call.thread_id)
    if found is None:
        return Response(status_code=204)
    turn, place = found
    return await gateway.watch(turn, PlainEncoder, place=place)


async def join(call: Call) -> Response:
    joined = await Gateway(call, Adapter.HTTP).join(call.thread_id, PlainEncoder)
    return Response(status_code=204) if joined is None else joined


async def follow(call: Call) -> Response:
    gateway = Gateway(call, Adapter.HTTP)
    return await gateway.watch_thread(call.thread_id, PlainEncoder, _failed, dialect="plain", place=Place(0))


def _failed(problem: Problem, request_id: str) -> Frames:
    return (frame({"type": "error", "code": problem.code}, "error"),)


PLAIN_OPERATIONS: Final = (
    Operation(
        method="GET",
        path="/plain/{thread_id}/all",
        id="plain_follow",
        summary="Follow a thread",
        handler=follow,
        answers={200: "text/event-stream"},
    ),
    Operation(
        method="POST",
        path="/plain/chat",
        id="plain_chat",
        summary="Chat",
        handler=chat,
        body=Chat,
        carries_messages=True,
        answers={200: "text/event-stream"},
    ),
    Operation(
        method="GET",
        path="/plain/{thread_id}/stream",
        id="plain_resume",
        summary="Come back",
        handler=resume,
        answers={200: "text/event-stream", 204: None},
    ),
    Operation(
        method="GET",
        path="/plain/{thread_id}/join",
        id="plain_join",
        summary="Join",
        handler=join,
        answers={200: "text/event-stream", 204: None},
    ),
)
