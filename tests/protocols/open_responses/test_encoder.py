"""The log as events of Open Responses: each fits the published types, and any number is a place to go on from."""

from __future__ import annotations

import asyncio
from functools import partial
from typing import Any, Final, get_args

import msgspec
from openai.types.responses import Response, ResponseStreamEvent

from awaken.domain.ids import DEFAULT_SCOPE, AgentId, DispatchId, RunId, ThreadId
from awaken.domain.log import EventRow, ReadEvent
from awaken.domain.run import Intent, RunRequest
from awaken.http.problems import Problem
from awaken.protocols.contract import Opened, events_of
from awaken.protocols.open_responses.encoder import DONE, OpenResponsesEncoder
from awaken.testing.agents import memory_app
from awaken.testing.behaviour import behaviour
from awaken.testing.protocols import approve_all, check_encoder, encode, seen_run
from awaken.testing.scripted import SHAPES, add_scripted
from tests.protocols.live import IMPATIENT

Told = tuple[str, dict[str, Any]]
EVENTS: Final[dict[str, Any]] = {
    get_args(each.model_fields["type"].annotation)[0]: each for each in get_args(get_args(ResponseStreamEvent)[0])
}
"""The published types, by what they are called."""
QUEUED: Told = (
    "RunQueued",
    {
        "agent_id": "a", "route": "a", "why": "start", "message_ids": ["u1"], "origin": "user", "adapter": "responses",
        "available_at": 0,
    },
)  # fmt: skip
STARTED: Told = ("RunStarted", {"agent_id": "a", "attempt": 1, "why": "start"})
FINISHED: Told = ("RunFinished", {"termination": {"type": "natural_end"}})


def told(*events: Told) -> list[dict[str, Any]]:
    """All that is said of these events, in a turn that has begun."""
    opened = Opened(
        scope=DEFAULT_SCOPE,
        thread_id=ThreadId("t"),
        run_id=RunId("r"),
        agent_id=AgentId("a"),
        request=RunRequest(Intent(AgentId("a")), ()),
    )
    encoder = OpenResponsesEncoder(opened)
    all_of_them = (QUEUED, STARTED, *events)
    read = tuple([ReadEvent(kind, msgspec.Raw(msgspec.json.encode(payload))) for kind, payload in all_of_them])
    row = EventRow(DEFAULT_SCOPE, ThreadId("t"), RunId("r"), DispatchId("d"), 1, 0, read)
    frames = [frame for seq, event in events_of(row) for frame in encoder.feed(seq, event, row)]
    return [msgspec.json.decode(each.data) for each in frames if each != DONE][3:]


def text(delta: str, message_id: str = "m") -> Told:
    return "TextDeltaObserved", {"message_id": message_id, "part": 0, "delta": delta}


def ended(kind: str, type: str, **more: Any) -> Told:
    return kind, {"termination": {"type": type, **more}}


@behaviour("OR-001", "OR-002")
async def test_every_event_of_every_shape_fits_the_published_types_and_any_number_is_a_place() -> None:
    async with asyncio.timeout(100), memory_app(settings=IMPATIENT) as app:
        add_scripted(app)
        for shape in SHAPES:
            seen = await seen_run(app, shape, answer=approve_all)
            frames = check_encoder(OpenResponsesEncoder, seen)
            whole = [each for each in frames if each.frame != DONE]
            for each in whole:
                event = each.json()
                assert EVENTS[event["type"]].model_validate(event).type == each.frame.event
                if "response" in event:
                    assert set(event["response"]) >= {n for n, f in Response.model_fields.items() if f.is_required()}
            for turn in {each.turn for each in whole}:
                numbers = [each.json()["sequence_number"] for each in whole if each.turn == turn]
                assert numbers == [*range(len(numbers))], shape
            for after in range(-1, min(len(whole), 30)):
                rest = encode(partial(OpenResponsesEncoder, after=after), seen)
                kept = [each.frame for each in frames if each.frame == DONE or each.json()["sequence_number"] > after]
                assert [each.frame for each in rest] == kept, (shape, after)


@behaviour("OR-001")
def test_text_is_an_item_that_is_begun_written_and_ended() -> None:
    events = told(text("He"), text("llo"), FINISHED)
    assert [each["type"].removeprefix("response.") for each in events] == [
        "output_item.added", "content_part.added", "output_text.delta", "output_text.delta", "output_text.done",
        "content_part.done", "output_item.done", "completed",
    ]  # fmt: skip
    part: Any = {"type": "output_text", "text": "Hello", "annotations": [], "logprobs": []}
    item: Any = {"id": "msg_m", "type": "message", "status": "completed", "role": "assistant", "content": [part]}
    assert events[-2]["item"] == item
    assert events[-1]["response"]["output"] == [item]


@behaviour("OR-001")
def test_what_is_void_is_closed_and_left_out_and_its_place_is_nobody_elses() -> None:
    events = told(text("no"), ("StreamReset", {"reason": "retry"}), text("yes"), FINISHED)
    added = [each for each in events if each["type"] == "response.output_item.added"]
    assert [(each["output_index"], each["item"]["id"]) for each in added] == [(0, "msg_m"), (1, "msg_m_2")]
    [item] = events[-1]["response"]["output"]
    assert (item["id"], item["content"][0]["text"]) == ("msg_m_2", "yes")


@behaviour("OR-001")
def test_a_call_that_is_begun_again_keeps_its_place() -> None:
    started: Told = "ToolCallStarted", {"message_id": "m", "id": "c", "name": "x", "runs_on": "client"}
    ready: Told = "ToolCallReady", {"message_id": "m", "id": "c", "name": "x", "arguments": {"a": 1}}
    half: Told = "ToolCallDeltaObserved", {"id": "c", "args_delta": '{"a"'}
    events = told(started, half, ("StreamReset", {"reason": "retry"}), started, ready, FINISHED)
    assert [each["type"].removeprefix("response.") for each in events] == [
        "output_item.added", "function_call_arguments.delta", "function_call_arguments.delta",
        "function_call_arguments.done", "output_item.done", "completed",
    ]  # fmt: skip
    [item] = events[-1]["response"]["output"]
    assert (item["call_id"], item["arguments"], item["status"]) == ("c", '{"a":1}', "completed")
    events = told(started, half, ("StreamReset", {"reason": "retry"}), FINISHED)
    assert [each["item"]["status"] for each in events if each["type"] == "response.output_item.done"] == ["incomplete"]
    assert events[-1]["response"]["output"] == [], "nobody is to carry it out"


@behaviour("OR-001")
def test_a_response_ends_as_its_turn_does() -> None:
    def last(*events: Told) -> tuple[str, Any, Any]:
        response = told(*events)[-1]["response"]
        return response["status"], response["incomplete_details"], response["error"]

    assert last(FINISHED) == ("completed", None, None)
    assert last(ended("RunFinished", "stopped", code="max_steps")) == ("completed", None, None)
    length = {"reason": "max_output_tokens"}
    assert last(ended("RunFinished", "stopped", code="max_tokens")) == ("incomplete", length, None)
    blocked = {"reason": "content_filter"}
    assert last(ended("RunFinished", "blocked", detail="no")) == ("incomplete", blocked, None)
    error = {"code": "server_error", "message": "broken"}
    assert last(ended("RunErrored", "error", detail="broken")) == ("failed", None, error)
    assert told(ended("RunCancelled", "cancelled")) == [], "it only stops"
    assert told(text("a"), ended("RunCancelled", "cancelled"))[-1]["item"]["status"] == "incomplete"


@behaviour("OR-008")
def test_a_stream_that_cannot_go_on_says_so_in_the_protocols_form() -> None:
    opened = Opened(
        scope=DEFAULT_SCOPE,
        thread_id=ThreadId("t"),
        run_id=RunId("r"),
        agent_id=AgentId("a"),
        request=RunRequest(Intent(AgentId("a")), ()),
    )
    error, done = OpenResponsesEncoder(opened).failed(Problem("run_not_found", "it is gone"), "q")
    event = msgspec.json.decode(error.data)
    assert EVENTS["error"].model_validate(event).type == error.event == "error"
    assert (event["code"], event["message"], done) == ("run_not_found", "it is gone", DONE)
