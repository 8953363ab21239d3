"""The log as events of AG-UI, row by row of what there is to say, each in a stream that no judge finds fault with."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from awaken.domain.ids import DEFAULT_SCOPE, AgentId, DispatchId, RunId, ThreadId
from awaken.domain.log import EventRow, ReadEvent
from awaken.domain.run import Intent, RunRequest
from awaken.domain.state import ThreadState
from awaken.http.problems import Problem
from awaken.protocols.ag_ui.encoder import AgUiEncoder
from awaken.protocols.ag_ui.wire import ending_of
from awaken.protocols.contract import Opened, events_of
from awaken.testing.behaviour import behaviour
from tests.protocols.ag_ui.judges import check_stream

Told = tuple[str, dict[str, Any]]
Event = dict[str, Any]


def queued(why: str = "start", **more: Any) -> Told:
    told: Event = {"agent_id": "a", "route": "a", "why": why, "message_ids": [], "origin": "user", "adapter": "http"}
    return "RunQueued", told | {"available_at": 0} | more


STARTED: Told = ("RunStarted", {"agent_id": "a", "attempt": 1, "why": "start"})
RESUMED: Told = ("RunResumed", {"agent_id": "a", "attempt": 1, "why": "decided"})
STEP: Told = ("StepStarted", {"message_id": "m", "index": 0})
FINISHED: Told = ("RunFinished", {"termination": {"type": "natural_end"}})
CANCELLED: Told = ("RunCancelled", {"termination": {"type": "cancelled"}})


def encoder_of(state: ThreadState | None = None) -> AgUiEncoder:
    return AgUiEncoder(
        Opened(
            scope=DEFAULT_SCOPE,
            thread_id=ThreadId("t"),
            run_id=RunId("r"),
            agent_id=AgentId("a"),
            request=RunRequest(Intent(AgentId("a")), ()),
            state=state,
            knows_version=-1 if state is None else state.version,
        )
    )


def streams(*told: Told, state: ThreadState | None = None) -> list[list[Event]]:
    """The streams of the turns of a run, which pass the judges where they have an end."""
    encoder, found = encoder_of(state), list[list[Event]]()
    read = tuple([ReadEvent(kind, msgspec.Raw(msgspec.json.encode(payload))) for kind, payload in told])
    row = EventRow(DEFAULT_SCOPE, ThreadId("t"), RunId("r"), DispatchId("d"), 1, 0, read)
    for seq, event in events_of(row):
        frames = encoder.feed(seq, event, row)
        while len(found) < encoder.turns.number:
            found.append([])
        if frames:
            found[-1] += [msgspec.json.decode(each.data) for each in frames]
    for each in found:
        if each[-1]["type"] in ("RUN_FINISHED", "RUN_ERROR"):
            check_stream(each)
    return found


def run(*told: Told, end: Told = FINISHED, state: ThreadState | None = None) -> list[Event]:
    """What comes between the beginning of a run and its end, which passes the judges."""
    [stream] = streams(queued(), STARTED, *told, end, state=state)
    return stream[2:-1]


def types(events: list[Event]) -> list[str]:
    return [each["type"] for each in events]


def message(*blocks: Event, role: str = "assistant", id: str = "m", **more: Any) -> Told:
    kind = "assistant_output" if role == "assistant" else "user_input"
    told = {"message_id": id, "message_seq": 1, "role": role, "message_kind": kind, "content_blocks": blocks}
    return "MessageCommitted", told | more


def text(delta: str, id: str = "m", part: int = 0) -> Told:
    return "TextDeltaObserved", {"message_id": id, "part": part, "delta": delta}


def thought(delta: str, part: int = 0) -> Told:
    return "ReasoningDeltaObserved", {"message_id": "m", "part": part, "delta": delta}


def began(id: str = "c", runs_on: str = "server") -> Told:
    return "ToolCallStarted", {"message_id": "m", "id": id, "name": "look_up", "runs_on": runs_on}


def args(delta: str, id: str = "c") -> Told:
    return "ToolCallDeltaObserved", {"id": id, "args_delta": delta}


def ready(id: str = "c", **more: Any) -> Told:
    return "ToolCallReady", {"message_id": "m", "id": id, "name": "look_up"} | (more or {"arguments": {"x": 1}})


def done(id: str = "c", status: str = "succeeded", **more: Any) -> Told:
    told = {"message_id": "m", "id": id, "name": "look_up", "result_message_id": f"{id}-r", "status": status}
    return "ToolCallDone", told | more


def ticket(id: str, kind: str, call: str | None = None, **more: Any) -> Told:
    told: Event = {
        "ticket_id": id,
        "kind": kind,
        "allowed_actions": [],
        "resume_mode": "replay_tool_call",
        "agent_id": "a",
    }
    return "TicketOpened", told | ({} if call is None else {"tool_call_id": call, "tool_name": "look_up"}) | more


def suspended(*ids: str, reason: str = "user_input") -> Told:
    return "RunSuspended", {"reason": reason, "ticket_ids": ids}


RESET: Told = ("StreamReset", {"reason": "again"})


# --- text and reasoning -----------------------------------------------------------------------------------------------


@behaviour("SRV-033")
def test_text_is_one_message_and_empty_pieces_are_left_out() -> None:
    found = run(text("a"), text(""), text("b"), message({"type": "text", "text": "ab"}))
    assert types(found) == ["TEXT_MESSAGE_START", "TEXT_MESSAGE_CONTENT", "TEXT_MESSAGE_CONTENT", "TEXT_MESSAGE_END"]
    assert found[0] == {"type": "TEXT_MESSAGE_START", "messageId": "m", "role": "assistant"}


@behaviour("SRV-033")
def test_text_ends_before_a_call_and_goes_on_behind_it_under_another_name() -> None:
    found = run(text("a"), began(), args("{}"), text("b"), message(tool_calls=[call_of("c")]), ready(), done())
    assert types(found)[:3] == ["TEXT_MESSAGE_START", "TEXT_MESSAGE_CONTENT", "TEXT_MESSAGE_END"]
    assert found[3]["parentMessageId"] == "m"
    assert [each["messageId"] for each in found if each["type"] == "TEXT_MESSAGE_START"] == ["m", "m.1"]


def call_of(id: str) -> Event:
    return {"id": id, "name": "look_up", "arguments": {"x": 1}}


@behaviour("SRV-033")
def test_each_part_of_reasoning_is_a_span_with_a_message() -> None:
    encrypted = ("ReasoningEncryptedValueObserved", {"message_id": "m", "part": 0, "encrypted_value": "e"})
    found = run(thought("a"), encrypted, thought("b", 1), text("c", part=2))
    span = ["REASONING_START", "REASONING_MESSAGE_START", "REASONING_MESSAGE_CONTENT", "REASONING_MESSAGE_END"]
    span.append("REASONING_END")
    assert types(found)[:11] == [*span, "REASONING_ENCRYPTED_VALUE", *span]
    told = {"type": "REASONING_ENCRYPTED_VALUE", "subtype": "message", "entityId": "m.r0", "encryptedValue": "e"}
    assert found[5] == told
    alone = run(encrypted)
    assert types(alone) == [each for each in span if each[-7:] != "CONTENT"] + ["REASONING_ENCRYPTED_VALUE"]


@behaviour("SRV-033")
def test_what_is_void_is_taken_back_by_a_snapshot_and_said_under_another_name() -> None:
    void = ("StreamReset", {"reason": "again", "message_id": "m"})
    found = run(STEP, text("a"), began(), args('{"x'), void, text("b"), began(), args('{"x":1}'))
    assert types(found)[4:] == [
        "TOOL_CALL_START", "TOOL_CALL_ARGS", "TOOL_CALL_ARGS", "TOOL_CALL_END", "CUSTOM", "MESSAGES_SNAPSHOT",
        "TEXT_MESSAGE_START", "TEXT_MESSAGE_CONTENT", "TEXT_MESSAGE_END", "STEP_FINISHED",
    ]  # fmt: skip
    assert found[8]["name"] == "awaken.stream_reset" and found[9]["messages"] == []
    assert found[10]["messageId"] == "m.1"


@behaviour("SRV-033")
def test_a_call_that_is_begun_anew_is_there_in_a_snapshot_when_it_is_committed() -> None:
    committed = message(tool_calls=[call_of("c")])
    found = run(began(), args("{"), RESET, began(), args('{"x":1}'), committed, ready(), done(result=2))
    assert types(found)[-2:] == ["MESSAGES_SNAPSHOT", "TOOL_CALL_RESULT"]
    assert found[-2]["messages"][0]["toolCalls"][0]["function"] == {"name": "look_up", "arguments": '{"x":1}'}
    assert types(found).count("TOOL_CALL_START") == 1


# --- calls ------------------------------------------------------------------------------------------------------------


@behaviour("SRV-033")
@pytest.mark.parametrize(
    ("end", "content"),
    [
        (done(result={"a": [1]}), '{"a":[1]}'),
        (done(result="text"), "text"),
        (done(), ""),
        (done(status="failed", error_text="it is broken"), "it is broken"),
        (done(status="denied"), "the call has ended as denied"),
    ],
)
def test_a_call_has_its_result_as_text(end: Told, content: str) -> None:
    found = run(began(), args('{"x":'), args("1}"), message(tool_calls=[call_of("c")]), ready(), end)
    assert types(found) == ["TOOL_CALL_START", "TOOL_CALL_ARGS", "TOOL_CALL_ARGS", "TOOL_CALL_END", "TOOL_CALL_RESULT"]
    assert found[-1]["content"] == content
    status = end[1]["status"]
    assert found[-1].get("metadata") == (None if status == "succeeded" else {"awaken": {"status": status}})


@behaviour("SRV-033")
def test_a_result_with_files_is_shown_in_parts() -> None:
    image = {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "AAAA"}}
    answer = message({"type": "text", "text": "see"}, image, role="tool", id="c-r", tool_call_id="c")
    found = run(began(), message(tool_calls=[call_of("c")]), ready(), answer, done(result=1))
    source = {"type": "data", "value": "AAAA", "mimeType": "image/png"}
    assert found[-1]["content"] == [{"type": "text", "text": "see"}, {"type": "image", "source": source}]


@behaviour("SRV-033")
def test_what_a_running_tool_puts_out_is_an_activity_that_grows() -> None:
    out = [("ToolCallStreamDeltaObserved", {"id": "c", **each}) for each in (
        {"text": "a"}, {"text": "b"}, {"value": 1, "name": "x/y"}, {"value": 2, "name": "x/y"},
    )]  # fmt: skip
    found = run(began(), message(tool_calls=[call_of("c")]), ready(), *out, done())
    acts = [each for each in found if each["type"].startswith("ACTIVITY")]
    assert {each["messageId"] for each in acts} == {"act_c"}
    assert acts[0]["content"] == {"toolCallId": "c", "output": {"output": ["a"]}}
    assert [each["patch"] for each in acts[1:]] == [
        [{"op": "add", "path": "/output/output/-", "value": "b"}],
        [{"op": "add", "path": "/output/x~1y", "value": 1}],
        [{"op": "add", "path": "/output/x~1y", "value": 2}],
    ]


@behaviour("SRV-033", "AGUI-005")
@pytest.mark.parametrize("cut", range(len('{"a":[1.5,-2e3,true,null,{"b":"\\u00e9\\""}],"c":""}') + 1))
def test_a_call_that_is_cut_ends_with_arguments_that_are_json(cut: int) -> None:
    whole = '{"a":[1.5,-2e3,true,null,{"b":"\\u00e9\\""}],"c":""}'
    found = run(began(), args(whole[:cut]), end=CANCELLED)
    written = "".join([each["delta"] for each in found if each["type"] == "TOOL_CALL_ARGS"])
    assert written[:cut] == whole[:cut]
    assert not written or msgspec.json.decode(written) is not msgspec.UNSET


@given(st.recursive(st.none() | st.booleans() | st.integers() | st.text(), lambda each: st.lists(each)), st.data())
def test_any_json_that_is_cut_can_be_made_whole(value: Any, data: st.DataObject) -> None:
    whole = msgspec.json.encode({"v": value}).decode()
    cut = whole[: data.draw(st.integers(1, len(whole)))]
    msgspec.json.decode(cut + ending_of(cut))
    assert ending_of(whole) == ""
    assert ending_of("no json") == ""


# --- waiting ----------------------------------------------------------------------------------------------------------


@behaviour("SRV-033")
def test_all_that_persons_are_asked_is_an_interrupt_and_the_pages_tools_are_not() -> None:
    asks = [
        ticket("k1", "approval", "c", message="May it?", arguments={"x": 1}, expires_at=1_000),
        ticket("k2", "approval", message="Sure?"),
        ticket("k3", "input", response_schema={"type": "string"}),
        ticket("k4", "client_tool", "d"),
    ]
    calls = [began("c"), began("d", "client"), message(tool_calls=[call_of("c"), call_of("d")]), ready("c"), ready("d")]
    [stream] = streams(queued(), STARTED, STEP, *calls, *asks, suspended("k1", "k2", "k3", "k4"))
    assert types(stream)[-3:] == ["STEP_FINISHED", "MESSAGES_SNAPSHOT", "RUN_FINISHED"]
    first, second, third = stream[-1]["outcome"]["interrupts"]
    assert (first["id"], first["reason"], first["toolCallId"], first["message"]) == ("k1", "tool_call", "c", "May it?")
    assert first["expiresAt"].startswith("1970-01-01T00:00:01")
    assert (second["reason"], second["toolCallId"]) == ("confirmation", "k2")
    assert (third["reason"], third["responseSchema"]) == ("input_required", {"type": "string"})
    asked = [each for each in stream if each["type"] == "TOOL_CALL_START" and each["toolCallName"] == "ask"]
    assert [each["toolCallId"] for each in asked] == ["k2", "k3"]
    assert [each["id"] for each in stream[-2]["messages"]] == ["m", "k2", "k3"]


@behaviour("SRV-033")
def test_who_waits_for_the_page_alone_has_succeeded_so_far() -> None:
    calls = [began("c", "client"), message(tool_calls=[call_of("c")]), ready("c")]
    [stream] = streams(queued(), STARTED, *calls, ticket("k", "client_tool", "c"), suspended("k"))
    assert stream[-1]["outcome"] == {"type": "success", "pendingToolCallIds": ["c"]}


@behaviour("SRV-033")
def test_what_an_earlier_turn_has_begun_is_known_by_a_snapshot_and_not_begun_again() -> None:
    decided = ("TicketDecided", {"ticket_id": "k2", "decision_id": "d2", "action": "answer", "result": {"a": 1}})
    first, second = streams(
        queued(wire_run_id="one"), STARTED, began(), message(tool_calls=[call_of("c")]), ready(),
        ticket("k1", "approval", "c"), ticket("k2", "input"), suspended("k1", "k2"),
        decided, queued("decided", wire_run_id="two"), RESUMED, done(result=1), FINISHED,
    )  # fmt: skip
    assert (first[0]["runId"], second[0]["runId"], second[-1]["runId"]) == ("one", "two", "two")
    assert types(second)[2:] == ["MESSAGES_SNAPSHOT", "TOOL_CALL_RESULT", "TOOL_CALL_RESULT", "RUN_FINISHED"]
    assert second[3] == {
        "type": "TOOL_CALL_RESULT", "messageId": "d2", "toolCallId": "k2", "content": '{"a":1}', "role": "tool",
    }  # fmt: skip


@behaviour("SRV-033")
def test_a_turn_that_the_client_has_not_named_has_a_name_of_its_own() -> None:
    wait = (ticket("k", "input"), suspended("k"))
    first, second = streams(queued(), STARTED, *wait, queued("input"), RESUMED, FINISHED)
    assert (first[0]["runId"], second[0]["runId"]) == ("r", "d")


# --- children, state, activities --------------------------------------------------------------------------------------


@behaviour("SRV-033")
@pytest.mark.parametrize(
    ("ending", "told"),
    [
        ({"termination": {"type": "natural_end"}, "output": "x"}, {"type": "SUBAGENT_FINISHED", "result": "x"}),
        (
            {"termination": {"type": "error", "detail": "no"}},
            {"type": "SUBAGENT_ERROR", "message": "no", "code": "error"},
        ),
        (None, {"type": "SUBAGENT_FINISHED", "outcome": {"type": "suspended"}}),
    ],
)
def test_another_agents_run_is_a_subagent(ending: Event | None, told: Event) -> None:
    started = ("ChildStarted", {"run_id": "k", "thread_id": "x", "agent_id": "b", "tool_call_id": "c"})
    waits = ("ChildSuspended", {"run_id": "k", "ticket_ids": ["q"]})
    found = run(started, waits, *([] if ending is None else [("ChildFinished", {"run_id": "k", **ending})]))
    assert found[0] == {
        "type": "SUBAGENT_STARTED", "subagentRunId": "k", "name": "b", "parentToolCallId": "c",
    }  # fmt: skip
    assert found[1]["name"] == "awaken.child_suspended"
    assert found[2] == told | {"subagentRunId": "k"}


@behaviour("SRV-033")
def test_the_state_is_said_first_and_then_its_changes() -> None:
    known = ThreadState({"a": 1}, 3)
    old = ("StateDeltaObserved", {"patch": [{"op": "add", "path": "/a", "value": 1}], "version": 3})
    new = ("StateDeltaObserved", {"patch": [{"op": "add", "path": "/b", "value": 2}], "version": 4})
    found = run(old, new, state=known)
    assert found == [
        {"type": "STATE_SNAPSHOT", "snapshot": {"a": 1}},
        {"type": "STATE_DELTA", "delta": [{"op": "add", "path": "/b", "value": 2}]},
    ]
    [stream] = streams(queued(), STARTED, new, ticket("k", "input"), suspended("k"), state=known)
    assert {"type": "STATE_SNAPSHOT", "snapshot": {"a": 1, "b": 2}} in stream


@behaviour("SRV-033")
@pytest.mark.parametrize(
    "operation", [{"op": "replace", "path": "", "value": {}}, {"op": "copy", "from": "/a", "path": "/b"}]
)
def test_a_patch_that_an_agent_publishes_is_passed_on_and_the_state_is_not_known_any_more(operation: Event) -> None:
    any_patch = ("StateDeltaObserved", {"patch": [operation], "version": 4})
    told = (queued(), STARTED, any_patch, ticket("k", "input"), suspended("k"))
    [stream] = streams(*told, state=ThreadState({"a": 1}, 3))
    assert {"type": "STATE_DELTA", "delta": [operation]} in stream
    assert types(stream).count("STATE_SNAPSHOT") == 1


@behaviour("SRV-033")
def test_activities_and_artifacts_are_activities() -> None:
    plan = {"id": "p", "type": "plan", "content": {"n": 0}}
    part = {"artifact_id": "f", "name": "f.txt", "blocks": [{"type": "text", "text": "a"}], "last": False}
    found = run(
        ("ActivitySnapshotObserved", plan),
        ("ActivityDeltaObserved", {"id": "p", "type": "plan", "patch": [{"op": "replace", "path": "/n", "value": 1}]}),
        ("ActivitySnapshotObserved", plan | {"replace": False}),
        ("ArtifactWritten", part),
        ("ArtifactWritten", part | {"append": True, "last": True}),
    )
    assert types(found) == [
        "ACTIVITY_SNAPSHOT",
        "ACTIVITY_DELTA",
        "ACTIVITY_SNAPSHOT",
        "ACTIVITY_SNAPSHOT",
        "ACTIVITY_DELTA",
    ]
    assert found[2]["replace"] is False and "replace" not in found[0]
    assert found[3]["content"] == {"name": "f.txt", "parts": [{"type": "text", "text": "a"}], "last": False}


@behaviour("SRV-033")
def test_what_came_in_between_and_what_is_tried_again_are_told() -> None:
    taken = message({"type": "text", "text": "wait"}, role="user", id="u2", boundary="next_step")
    moved = ("RunRescheduled", {"attempt_count": 1, "available_at": 1_000, "reason": "retry_backoff"})
    found = run(taken, moved, ("ErrorRecorded", {"message": "hm"}))
    assert [each.get("name", each["type"]) for each in found] == [
        "awaken.steered", "MESSAGES_SNAPSHOT", "awaken.rescheduled", "awaken.notice",
    ]  # fmt: skip
    assert found[0]["value"] == {"messageIds": ["u2"]}
    assert found[1]["messages"] == [{"id": "u2", "role": "user", "content": "wait"}]


# --- ends -------------------------------------------------------------------------------------------------------------


@behaviour("SRV-033")
@pytest.mark.parametrize(
    ("end", "told"),
    [
        (("RunFinished", {"termination": {"type": "natural_end"}, "output": [1]}), {"result": [1]}),
        (
            ("RunTerminated", {"termination": {"type": "stopped", "code": "max_steps"}}),
            {"outcome": {"type": "success"}},
        ),
        (CANCELLED, {"outcome": {"type": "cancelled"}}),
        (("RunSuperseded", {"termination": {"type": "cancelled"}}), {"outcome": {"type": "cancelled"}}),
        (
            ("RunErrored", {"termination": {"type": "error", "detail": "no", "code": "x"}}),
            {"message": "no", "code": "x"},
        ),
        (("RunTerminated", {"termination": {"type": "blocked"}}), {"code": "blocked"}),
    ],
)
def test_each_end_is_one_of_the_protocols_own(end: Told, told: Event) -> None:
    spent = {"usage_by_model": {"m1": {"input_tokens": 3, "output_tokens": 2, "model_calls": 1}}}
    [stream] = streams(queued(), STARTED, STEP, text("a"), began(), (end[0], end[1] | spent))
    assert stream[-1].items() >= told.items()
    assert stream[-1]["usage"] == [{"model": "m1", "inputTokens": 3, "outputTokens": 2, "totalTokens": 5}]
    assert types(stream)[-3:-1] == ["TOOL_CALL_END", "STEP_FINISHED"]


@behaviour("SRV-033")
def test_a_stream_that_cannot_go_on_ends_with_an_error() -> None:
    [failed] = encoder_of().failed(Problem("internal", "something went wrong"), "q")
    told = {"type": "RUN_ERROR", "message": "something went wrong", "code": "internal"}
    assert msgspec.json.decode(failed.data) == told
