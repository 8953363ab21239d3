"""A message that was sent to a run under way: what has become of it, in the words of each protocol.

The clients of Open Responses and of chat completions have no word for it, and no place for one of ours: they read the
receipt where everybody can.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any, NamedTuple

import pytest

from awaken import Context
from awaken.protocols.ag_ui.encoder import AgUiEncoder
from awaken.protocols.ai_sdk.encoder import AiSdkEncoder
from awaken.protocols.langgraph.encoder import encoder_of
from awaken.protocols.langgraph.events import events_of
from awaken.protocols.langgraph.routes import OPERATIONS as LANGGRAPH
from awaken.protocols.open_responses.chat import ChatEncoder
from awaken.protocols.open_responses.encoder import OpenResponsesEncoder
from awaken.protocols.projection import Making
from awaken.testing.agents import memory_app
from awaken.testing.behaviour import behaviour
from awaken.testing.protocols import Placed, check_encoder, read_run
from awaken.wiring import Awaken, RunHandle
from tests.protocols.site import frames_in, protocol_site

Seen = list[tuple[str, Any]]
"""Fates and ids, in the order in which they were told; the fate `queued` of what a run begins with."""


def _ai_sdk(frames: list[Placed]) -> Seen:
    found: Seen = []
    for each in [each.json() for each in frames if each.frame.data != b"[DONE]"]:
        if each["type"] == "data-run-info":
            found.append(("queued", each["data"]["messageIds"]))
        elif each["type"] == "data-receipt":
            assert each["transient"] is True
            found.append((each["data"]["fate"], each["data"]["messageId"]))
    return found


def _ag_ui(frames: list[Placed]) -> Seen:
    found: Seen = []
    for each in [each.json() for each in frames]:
        if each.get("name") == "awaken.queued":
            found.append(("queued", each["value"]["messageIds"]))
        elif each.get("name") == "awaken.receipt":
            found.append((each["value"]["fate"], each["value"]["messageId"]))
    return found


def _langgraph(frames: list[Placed]) -> Seen:
    found: Seen = []
    for each in frames:
        told = each.json()
        if each.frame.event == "metadata":
            found.append(("queued", told["message_ids"]))
        elif each.frame.event == "custom" and told["type"] == "receipt":
            found.append((told["fate"], told["message_id"]))
    return found


def _langgraph_events(frames: list[Placed]) -> Seen:
    told = [each.json()["params"]["data"] for each in frames]
    receipts = [each["payload"] for each in told if each.get("name") == "receipt"]
    return [(each["fate"], each["message_id"] if "message_id" in each else each["message_ids"]) for each in receipts]


class Speaks(NamedTuple):
    make: Making
    seen: Callable[[list[Placed]], Seen]


PROTOCOLS = {
    "ai_sdk": Speaks(AiSdkEncoder, _ai_sdk),
    "ag_ui": Speaks(AgUiEncoder, _ag_ui),
    "langgraph": Speaks(encoder_of(frozenset({"custom"})), _langgraph),
    "langgraph_events": Speaks(events_of(frozenset({"custom:receipt", "lifecycle"}), 0), _langgraph_events),
}


class Steered:
    """An app with a run under way that looks into its inbox when it is let go, if it does, and a message for it."""

    def __init__(self, app: Awaken, *, takes: bool) -> None:
        self.app = app
        self._gate = asyncio.Event()
        self._begun = asyncio.Event()

        async def agent(context: Context) -> str:
            self._begun.set()
            await self._gate.wait()
            return " ".join([each.text for each in await context.inbox()]) if takes else "done"

        app.agent("steered", agent)

    async def sent(self, **how: Any) -> tuple[RunHandle, str]:
        run = await self.app.submit("t", "Go on.", agent="steered")
        await self._begun.wait()
        steered = await self.app.steer("t", "Wait!", **how)
        return run, steered.message_ids[0]

    def let_go(self) -> None:
        self._gate.set()


async def frames_of(app: Awaken, protocol: str, run_id: str) -> Seen:
    speaks = PROTOCOLS[protocol]
    return speaks.seen(check_encoder(speaks.make, await read_run(app, run_id)))  # type: ignore[arg-type]


@behaviour("SRV-038")
@pytest.mark.parametrize("protocol", PROTOCOLS)
async def test_what_was_taken_is_said_to_be_taken(protocol: str) -> None:
    async with asyncio.timeout(30), memory_app() as app:
        steered = Steered(app, takes=True)
        run, id = await steered.sent()
        steered.let_go()
        assert (await run.result()).output == "Wait!"
        [(_, brought), *told] = await frames_of(app, protocol, run.run_id)
        assert id not in brought
        assert told == [("pending", id), ("consumed", id)]
        assert (await app.receipt(id, thread_id="t")).fate == "consumed"


@behaviour("SRV-038")
@pytest.mark.parametrize("protocol", PROTOCOLS)
async def test_what_a_run_leaves_behind_begins_a_turn_of_its_own(protocol: str) -> None:
    async with asyncio.timeout(30), memory_app() as app:
        steered = Steered(app, takes=False)
        run, id = await steered.sent()
        steered.let_go()
        await run.result()
        receipt = await app.receipt(id, thread_id="t", wait_s=10)
        assert (receipt.fate, receipt.run_id == run.run_id) == ("consumed", False)
        [_, *told] = await frames_of(app, protocol, run.run_id)
        assert told == [("pending", id)]
        assert receipt.run_id is not None
        assert await frames_of(app, protocol, receipt.run_id) == [("queued", [id])]


@behaviour("SRV-038")
@pytest.mark.parametrize("protocol", PROTOCOLS)
async def test_what_was_taken_back_or_may_not_fall_through_is_retracted(protocol: str) -> None:
    async with asyncio.timeout(30), memory_app() as app:
        steered = Steered(app, takes=False)
        run, id = await steered.sent()
        other = (await app.steer("t", "Or not.", fallback_to_new_run=False)).message_ids[0]
        await app.retract("t", id)
        steered.let_go()
        await run.result()
        [_, *told] = await frames_of(app, protocol, run.run_id)
        assert told == [("pending", id), ("pending", other), ("retracted", id), ("retracted", other)]


@behaviour("SRV-038")
@pytest.mark.parametrize("protocol", PROTOCOLS)
async def test_what_an_interrupt_clears_away_is_superseded(protocol: str) -> None:
    async with asyncio.timeout(30), memory_app() as app:
        steered = Steered(app, takes=False)
        run, id = await steered.sent()
        await app.interrupt("t")
        await run.result()
        assert (await app.receipt(id, thread_id="t")).fate == "superseded"
        [_, *told] = await frames_of(app, protocol, run.run_id)
        assert told == [("pending", id), ("superseded", id)]


@behaviour("SRV-038", "SRV-037")
async def test_a_client_of_langgraph_injects_a_message_and_is_told_of_its_fate() -> None:
    gate = asyncio.Event()

    async def steered(context: Context) -> str:
        await gate.wait()
        return " ".join([each.text for each in await context.inbox()])

    async with asyncio.timeout(30), protocol_site(LANGGRAPH, steered=steered) as site:

        async def command(method: str, **params: Any) -> Any:
            answer = await site.http.post("/threads/t/commands", {"id": 1, "method": method, "params": params})
            assert answer.json()["type"] == "success", answer
            return answer.json()["result"]

        asked: dict[str, Any] = {"messages": [{"role": "user", "content": "Go on."}]}
        run = await command("run.start", assistant_id="steered", input=asked)
        taken = await command("input.inject", message={"role": "user", "content": "Wait!", "id": "m2"})
        assert taken == run
        follow = {"channels": ["custom:receipt", "lifecycle"]}
        async with site.http.open("POST", "/threads/t/stream/events", follow) as connection:
            gate.set()
            told: list[Any] = []
            async for frame in connection.frames():
                if frame.event == "event":
                    told.append(frame.json()["params"]["data"])
                    if told[-1].get("event") == "completed":
                        break
        receipts = [each["payload"] for each in told if each.get("name") == "receipt"][1:]
        assert receipts == [{"message_id": "m2", "fate": "pending"}, {"message_id": "m2", "fate": "consumed"}]
        streamed = await site.http.get(f"/threads/t/runs/{run['run_id']}/stream?stream_mode=custom")
        assert [each.json()["fate"] for each in frames_in(streamed.body) if each.event == "custom"] == [
            "pending",
            "consumed",
        ]


@behaviour("SRV-038", "OR-001")
@pytest.mark.parametrize("make", [OpenResponsesEncoder, ChatEncoder], ids=["responses", "completions"])
async def test_where_a_protocol_has_no_word_for_it_nothing_is_said(make: Making) -> None:
    """OpenAI's clients take events and items of the types that they know, and the steered message is no output: what
    such a client reads is the receipt itself.
    """
    async with asyncio.timeout(30), memory_app() as app:
        steered = Steered(app, takes=True)
        run, id = await steered.sent()
        steered.let_go()
        await run.result()
        frames = check_encoder(make, await read_run(app, run.run_id))  # type: ignore[arg-type]
        assert not [each for each in frames if id.encode() in each.frame.data]
        assert (await app.receipt(id, thread_id="t")).run_id == run.run_id
