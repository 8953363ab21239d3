"""Clients that outlive servers: each comes back as its protocol does, and shows in the end what it was told.

Above: `test_resuming`. Below: a client without a network.
Holds: a client knows what it was sent, and nothing else. Of a request that was not answered it does not know whether it
was taken.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any, ClassVar, NamedTuple

import msgspec

from awaken.protocols.contract import Frame as Framed
from awaken.testing.protocols import CallSeen, Final, Placed
from tests.http.asgi import Client, Frame
from tests.protocols.ag_ui import final as ag_ui
from tests.protocols.ai_sdk import final as ai_sdk
from tests.protocols.langgraph import shown as langgraph
from tests.protocols.open_responses import shown as open_responses

THREAD = "t"


class Asked(NamedTuple):
    """A request."""

    method: str
    path: str
    body: Any = None
    headers: dict[str, str] | None = None


class Returning(ABC):
    """A client of one protocol that says one thing to an agent, and yes to what it asks."""

    name: ClassVar[str]
    begins_anew: ClassVar[bool] = False
    """What it comes back to begins with all there was."""

    def __init__(self, agent_id: str) -> None:
        self.agent_id = agent_id
        self.turns: list[list[Frame]] = [[]]
        """What it was sent of each turn that it has asked for."""
        self.headers: dict[str, str] = {}
        """Of the newest answer to what it has asked for."""
        self.was_cut = False
        self.is_over = False

    # --- what a protocol says -----------------------------------------------------------------------------------------

    @abstractmethod
    def says(self) -> Asked:
        """The first request."""

    @abstractmethod
    def agrees(self) -> Asked:
        """The second one, where the first turn has asked for something."""

    @abstractmethod
    async def comes_back(self, http: Client) -> Asked | None:
        """After a cut; None: there is nothing to come back to, and the request of this turn is to be sent again."""

    async def finds_nothing(self, http: Client) -> None:
        """It has come back, and nothing is under way."""
        raise AssertionError(f"{self.name} has seen no end, and there is nothing more")

    @abstractmethod
    def ends(self, frame: Frame) -> bool:
        """It is the last one of a turn."""

    @abstractmethod
    def final(self) -> Final:
        """What it shows."""

    # --- what is the same in all --------------------------------------------------------------------------------------

    @property
    def seen(self) -> list[Frame]:
        """Of the turn at hand."""
        return self.turns[-1]

    @property
    def frames(self) -> list[Frame]:
        return [frame for turn in self.turns for frame in turn]

    @property
    def placed(self) -> list[Placed]:
        told = [(each.data.encode(), None if each.event == "message" else each.event) for each in self.frames]
        return [Placed(0, 0, 0, Framed(*each)) for each in told]

    def json(self) -> list[Any]:
        return [msgspec.json.decode(each.data) for each in self.frames if each.data != "[DONE]"]

    async def talk(self, http: Client) -> None:
        """Until it has its answer, or the server is gone."""
        while not self.is_over:
            back = await self.comes_back(http) if self.was_cut else None
            asked = back or (self.says() if len(self.turns) == 1 else self.agrees())
            self.was_cut = True
            async with http.open(asked.method, asked.path, asked.body, headers=asked.headers) as connection:
                await connection.start()
                if connection.status == 204:
                    await self.finds_nothing(http)
                    continue
                assert connection.status == 200, (asked, await connection.rest())
                if back is not None and self.begins_anew:
                    self.turns = [[] for _ in self.turns]
                self.headers |= connection.headers
                async for frame in connection.frames():
                    if frame.event != ":" and frame.data:
                        self.seen.append(frame)
            if self.seen and self.ends(self.seen[-1]):
                self.turn_ended()

    def turn_ended(self) -> None:
        self.was_cut = False
        if len(self.turns) == 1 and self.final().outcome == "waiting":
            self.turns.append([])
        else:
            self.is_over = True


class AiSdk(Returning):
    """As `useChat` does: it comes back to the whole message, and where nothing is under way it loads the chat."""

    name = "ai_sdk"
    chat = "/v1/ai-sdk/chat/t"
    said: ClassVar = {"id": "m1", "role": "user", "parts": [{"type": "text", "text": "Go on."}]}
    begins_anew = True
    loaded: Final | None = None

    def says(self) -> Asked:
        return self._asks([self.said])

    def _asks(self, messages: list[Any]) -> Asked:
        return Asked("POST", f"/v1/ai-sdk/agents/{self.agent_id}/chat", {"id": THREAD, "messages": messages})

    def agrees(self) -> Asked:
        chunks = ai_sdk.chunks_of(self.placed)
        [start] = [each for each in chunks if each["type"] == "start"][:1]
        [asked] = [each for each in chunks if each["type"] == "tool-approval-request"]
        [call] = [each for each in chunks if each["type"] == "tool-input-available"]
        part = {
            "type": f"tool-{call['toolName']}",
            "toolCallId": call["toolCallId"],
            "state": "approval-responded",
            "input": call["input"],
            "approval": {"id": asked["approvalId"], "approved": True},
        }
        return self._asks([self.said, {"id": start["messageId"], "role": "assistant", "parts": [part]}])

    async def comes_back(self, http: Client) -> Asked | None:
        return Asked("GET", f"{self.chat}/stream")

    async def finds_nothing(self, http: Client) -> None:
        history = await http.get(f"{self.chat}/messages")
        parts = [
            part
            for each in (history.json() if history.status == 200 else ())
            if each["role"] == "assistant"
            for part in each["parts"]
        ]
        if not parts:
            self.was_cut = False
            return
        final = Final(calls={}, outcome="finished")
        for part in parts:
            if part["type"] == "text":
                final.text += part["text"]
            elif part.get("state") == "output-available":
                name = part["type"].removeprefix("tool-")
                final.calls[part["toolCallId"]] = CallSeen(name, part["input"], "succeeded", part["output"])
            elif part.get("state") == "approval-requested":
                self._is_asked(part)
                return
        self.loaded, self.is_over = final, True

    def _is_asked(self, part: dict[str, Any]) -> None:
        """The run waits. A page that was not sent the question is shown it as the history has it."""
        self.was_cut = False
        if len(self.turns) == 1:
            call = {"toolCallId": part["toolCallId"], "toolName": part["type"].removeprefix("tool-")}
            chunks: list[Any] = [
                {"type": "start", "messageId": "m"},
                {"type": "tool-input-available", **call, "input": part["input"]},
                {"type": "tool-approval-request", "approvalId": part["approval"]["id"]},
            ]
            self.turns = [[Frame(None, "message", msgspec.json.encode(each).decode(), b"") for each in chunks], []]

    def ends(self, frame: Frame) -> bool:
        return frame.data == "[DONE]"

    def final(self) -> Final:
        return self.loaded or ai_sdk.final_of(self.placed)


class AgUi(Returning):
    """A client that knows its place, and sends a request again under the name that it has given to its run."""

    name = "ag_ui"

    def says(self) -> Asked:
        return self._asks("r1")

    def _asks(self, run_id: str, **more: Any) -> Asked:
        said = {"id": "m1", "role": "user", "content": "Go on."}
        body = {"threadId": THREAD, "runId": run_id, "messages": [said], **more}
        return Asked("POST", f"/v1/ag-ui/agents/{self.agent_id}/run", body)

    def agrees(self) -> Asked:
        [asked] = [each["outcome"]["interrupts"] for each in self.json() if each["type"] == "RUN_FINISHED"]
        yes = [{"interruptId": each["id"], "status": "resolved", "payload": {"approved": True}} for each in asked]
        return self._asks("r2", resume=yes)

    async def comes_back(self, http: Client) -> Asked | None:
        if not self.seen:
            return None
        return Asked("GET", "/v1/ag-ui/threads/t/stream", headers={"Last-Event-ID": self.seen[-1].id or ""})

    def ends(self, frame: Frame) -> bool:
        return msgspec.json.decode(frame.data)["type"] in ("RUN_FINISHED", "RUN_ERROR")

    def final(self) -> Final:
        return ag_ui.final_of(self.placed)


class AgUiPage(AgUi):
    """As `HttpAgent` does: it joins what is under way, or is shown how things stand."""

    name = "ag_ui_page"
    begins_anew = True

    async def comes_back(self, http: Client) -> Asked | None:
        return Asked("GET", "/v1/ag-ui/threads/t/stream") if self.seen else None

    def final(self) -> Final:
        standing = Final(calls={})
        told: list[Placed] = []
        for each in self.placed:
            event = each.json()
            if event["type"] == "RUN_STARTED":
                standing.outcome = standing.waits = None
            if event["type"] == "MESSAGES_SNAPSHOT":
                standing.calls |= _calls_in(event["messages"])
            if event["type"] == "TOOL_CALL_RESULT" and event["toolCallId"] in standing.calls:
                call = standing.calls[event["toolCallId"]]
                call.status, call.result = "succeeded", event["content"]
            if event["type"] == "RUN_FINISHED" and "metadata" not in event:
                standing.outcome = "finished" if event["outcome"]["type"] == "success" else "waiting"
                standing.waits = None if standing.outcome == "finished" else "approval"
            else:
                told.append(each)
        final = ag_ui.final_of(told)
        final.outcome, final.waits = final.outcome or standing.outcome, final.waits or standing.waits
        known = {id: call for id, call in final.calls.items() if call.status != "open"}
        final.calls = final.calls | standing.calls | known
        return final


def _calls_in(messages: list[Any]) -> dict[str, CallSeen]:
    found: dict[str, CallSeen] = {}
    for message in messages:
        for call in message.get("toolCalls", ()):
            function = call["function"]
            found[call["id"]] = CallSeen(function["name"], msgspec.json.decode(function["arguments"]))
        if message["role"] == "tool":
            call = found[message["toolCallId"]]
            call.status, call.result = "succeeded", message["content"]
    return found


class LangGraph(Returning):
    """As LangGraph's SDK does: where `Location` says, behind the last id. Without an answer it looks for its run."""

    name = "langgraph"

    def says(self) -> Asked:
        path, body = langgraph.ask(THREAD, self.agent_id)
        return Asked("POST", path, body)

    def agrees(self) -> Asked:
        path, body = langgraph.ask(THREAD, self.agent_id)
        del body["input"]
        return Asked("POST", path, {**body, "command": {"resume": True}})

    async def comes_back(self, http: Client) -> Asked | None:
        if self.seen:
            return Asked("GET", self.headers["location"], headers={"Last-Event-ID": self.seen[-1].id or ""})
        runs = await http.get("/threads/t/runs")
        if runs.status == 404 or not runs.json():
            return None
        [run] = runs.json()
        if len(self.turns) == 2 and run["status"] == "interrupted":
            return None
        return Asked("GET", f"/threads/t/runs/{run['run_id']}/stream?stream_mode={','.join(sorted(langgraph.MODES))}")

    def ends(self, frame: Frame) -> bool:
        return frame.event in ("end", "error")

    def final(self) -> Final:
        return langgraph.final_of(self.placed)


class OpenResponses(Returning):
    """As OpenAI's client does: behind the number of the last event. Without an answer it asks again under its key."""

    name = "open_responses"

    def says(self) -> Asked:
        path, body = open_responses.ask(THREAD, self.agent_id)
        return Asked("POST", path, {**body, "stream": True}, {"Idempotency-Key": "k1"})

    def agrees(self) -> Asked:
        path, body = open_responses.ask(THREAD, self.agent_id)
        del body["conversation"]
        first = self.json()[-1]["response"]
        [asked] = [each for each in first["output"] if each["type"] == "mcp_approval_request"]
        yes = {"type": "mcp_approval_response", "approval_request_id": asked["id"], "approve": True}
        more = {"input": [yes], "previous_response_id": first["id"], "stream": True}
        return Asked("POST", path, {**body, **more}, {"Idempotency-Key": "k2"})

    async def comes_back(self, http: Client) -> Asked | None:
        if not self.seen:
            return None
        events = [msgspec.json.decode(each.data) for each in self.seen]
        id, last = events[0]["response"]["id"], events[-1]["sequence_number"]
        return Asked("GET", f"/v1/responses/{id}?stream=true&starting_after={last}")

    def ends(self, frame: Frame) -> bool:
        return frame.data == "[DONE]"

    def final(self) -> Final:
        return open_responses.final_of(self.placed)


CLIENTS = (AiSdk, AgUi, AgUiPage, LangGraph, OpenResponses)
