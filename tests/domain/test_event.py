"""Events: the table of their kinds, what follows from it, and rows that start where a reader left off."""

from __future__ import annotations

from typing import Any, cast, get_args

import msgspec
import pytest

from awaken.domain import server_event
from awaken.domain.errors import DataIntegrity
from awaken.domain.event import (
    CHANNELS,
    DELTA_KINDS,
    FINISHED_KINDS,
    KINDS,
    OPENS_STREAM,
    TABLE,
    TERMINAL_KINDS,
    WAIT_KINDS,
    ActivityDelta,
    ActivitySnapshot,
    ArtifactWritten,
    Channel,
    ErrorRecorded,
    Event,
    InferenceComplete,
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
    logged,
    opened,
)
from awaken.domain.ids import DispatchId, MessageId, RunId, Scope, ThreadId
from awaken.domain.log import EventRow, LoggedEvent, completed, message_committed
from awaken.domain.message import Message, Role, Text, Visibility
from awaken.domain.run import NATURAL_END, RunStatus, Termination, TerminationType, Usage
from awaken.domain.thread import ThreadInfo
from awaken.testing.behaviour import behaviour
from awaken.testing.events import text_delta
from tests.domain.test_dispatch import queued
from tests.domain.test_run import made

M1, M2 = MessageId("m1"), MessageId("m2")

PAYLOADS: list[tuple[Event, str]] = [
    (StepStarted(M1, 0), '{"message_id":"m1","index":0}'),
    (StepEnded(0), '{"index":0}'),
    (TextDelta(M1, 0, "Hi"), '{"message_id":"m1","part":0,"delta":"Hi"}'),
    (ReasoningDelta(M1, 1, "hm"), '{"message_id":"m1","part":1,"delta":"hm"}'),
    (ReasoningEncryptedValue(M1, 1, "x"), '{"message_id":"m1","part":1,"encrypted_value":"x"}'),
    (StreamReset("lost"), '{"reason":"lost"}'),
    (StreamReset("differs", M1), '{"reason":"differs","message_id":"m1"}'),
    (ToolCallStarted(M1, "c", "find", "server"), '{"message_id":"m1","id":"c","name":"find","runs_on":"server"}'),
    (
        ToolCallStarted(M1, "c", "find", "client", "Find", "search"),
        '{"message_id":"m1","id":"c","name":"find","runs_on":"client","title":"Find","tool_kind":"search"}',
    ),
    (ToolCallDelta("c", '{"a"'), '{"id":"c","args_delta":"{\\"a\\""}'),
    (ToolCallReady(M1, "c", "find", {}), '{"message_id":"m1","id":"c","name":"find","arguments":{}}'),
    (ToolCallReady(M1, "c", "find", raw="{"), '{"message_id":"m1","id":"c","name":"find","raw":"{"}'),
    (ToolCallStreamDelta("c", text="half"), '{"id":"c","text":"half"}'),
    (ToolCallStreamDelta("c", value={"n": 0}, name="progress"), '{"id":"c","value":{"n":0},"name":"progress"}'),
    (
        ToolCallDone(M1, "c", "find", M2, "succeeded", {"n": 0}),
        '{"message_id":"m1","id":"c","name":"find","result_message_id":"m2","status":"succeeded","result":{"n":0}}',
    ),
    (
        ToolCallDone(M1, "c", "find", M2, "denied", error_text="no", ticket_id="t"),
        '{"message_id":"m1","id":"c","name":"find","result_message_id":"m2","status":"denied","error_text":"no",'
        '"ticket_id":"t"}',
    ),
    (InferenceComplete(M1, Usage(), 0), '{"message_id":"m1","usage":{},"duration_ms":0}'),
    (
        InferenceComplete(M1, Usage(1, model_calls=1), 7, "model", "provider", "stop"),
        '{"message_id":"m1","usage":{"input_tokens":1,"model_calls":1},"duration_ms":7,"model":"model",'
        '"provider":"provider","finish_reason":"stop"}',
    ),
    (StateSnapshot({"a": 1}, 3), '{"state":{"a":1},"version":3}'),
    (
        StateDelta(({"op": "remove", "path": "/a"},), 4),
        '{"patch":[{"op":"remove","path":"/a"}],"version":4}',
    ),
    (ActivitySnapshot("a", "progress", {"n": 0}), '{"id":"a","type":"progress","content":{"n":0}}'),
    (
        ActivitySnapshot("a", "progress", {}, replace=False),
        '{"id":"a","type":"progress","content":{},"replace":false}',
    ),
    (
        ActivityDelta("a", "progress", ({"op": "add", "path": "/n", "value": 1},)),
        '{"id":"a","type":"progress","patch":[{"op":"add","path":"/n","value":1}]}',
    ),
    (
        ArtifactWritten("a", "report", (Text("x"),)),
        '{"artifact_id":"a","name":"report","blocks":[{"type":"text","text":"x"}]}',
    ),
    (
        ArtifactWritten("a", "report", (), append=True, last=False),
        '{"artifact_id":"a","name":"report","blocks":[],"append":true,"last":false}',
    ),
    (ErrorRecorded("bad"), '{"message":"bad"}'),
    (ErrorRecorded("bad", "code"), '{"message":"bad","error_code":"code"}'),
]
"""Every executor event, with all that it may carry and with no more than it must."""


def row(count: int = 3, first_seq: int = 5) -> EventRow:
    some = completed([logged(text_delta(str(n))) for n in range(count)], {}, None)
    return EventRow(Scope("s"), ThreadId("t"), RunId("r"), DispatchId("d"), first_seq, 1, some)


# --- the table --------------------------------------------------------------------------------------------------------


def test_every_executor_event_has_a_kind_of_its_own() -> None:
    assert set(KINDS) == set(get_args(Event)) == {type(event) for event, _ in PAYLOADS}
    assert len(set(KINDS.values())) == len(KINDS)


def test_no_kind_stands_in_the_table_twice() -> None:
    assert [name for name, kind in TABLE.items() if kind.name != name] == []
    assert len(CHANNELS) == len(TABLE)
    assert set(CHANNELS.values()) == set(get_args(Channel))


def test_what_is_never_committed_is_a_delta_and_only_some_of_it_shows_a_message() -> None:
    assert OPENS_STREAM < DELTA_KINDS < set(TABLE)
    assert {"ToolCallStreamDeltaObserved"} == DELTA_KINDS - OPENS_STREAM


def test_every_termination_has_a_kind_that_ends_the_run() -> None:
    assert {*FINISHED_KINDS, "suspended"} == set(get_args(TerminationType))
    assert {*FINISHED_KINDS.values(), "RunSuperseded"} == TERMINAL_KINDS
    assert {"RunSuspended"} == WAIT_KINDS


# --- payloads ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("event", "payload"), PAYLOADS, ids=lambda value: type(value).__name__)
def test_an_event_enters_the_log_as_this_and_comes_back_as_it_was(event: Event, payload: str) -> None:
    entry = logged(event)

    assert bytes(entry.payload).decode() == payload
    assert opened(entry) == event


def test_output_of_a_running_tool_is_a_text_or_a_value() -> None:
    for wrong in ({}, {"text": "a", "value": 1}):
        with pytest.raises(ValueError, match="either a text or a value"):
            ToolCallStreamDelta("c", **cast("dict[str, Any]", wrong))


def test_what_a_newer_version_adds_is_left_out_and_its_kinds_are_passed_over() -> None:
    assert opened(LoggedEvent("StepEnded", msgspec.Raw(b'{"index":1,"new":true}'))) == StepEnded(1)
    assert opened(LoggedEvent("SomethingNew", msgspec.Raw(b'{"index":1}'))) is None


@pytest.mark.parametrize("payload", [b"{}", b'{"index":"one"}', b"[1]", b"{"])
def test_a_payload_that_does_not_fit_its_kind_is_an_error(payload: bytes) -> None:
    with pytest.raises(DataIntegrity, match="'StepEnded' cannot be read"):
        opened(LoggedEvent("StepEnded", msgspec.Raw(payload)))


def test_a_finish_is_named_for_how_it_ended() -> None:
    run = made(status=RunStatus.RUNNING)
    for kind, name in FINISHED_KINDS.items():
        ended = server_event.ended(run, Termination(kind))
        assert ended.kind == name
        assert opened(ended.logged()) == ended.payload


# --- rows -------------------------------------------------------------------------------------------------------------


def test_a_row_knows_its_seqs_and_its_size() -> None:
    assert (row().first_seq, row().last_seq) == (5, 7)
    assert row().payload_bytes == sum(len(bytes(each.payload)) for each in row().events)


@behaviour("EV-010")
def test_a_row_starts_after_what_a_reader_has_seen() -> None:
    whole = row()

    assert whole.starting_after(0) is whole
    assert whole.starting_after(4) is whole
    assert (whole.starting_after(5).first_seq, whole.starting_after(5).events) == (6, whole.events[1:])
    assert (whole.starting_after(6).first_seq, whole.starting_after(6).last_seq) == (7, 7)
    assert whole.starting_after(7).events == ()


def test_the_queues_own_events_fit_the_table() -> None:
    run = made(status=RunStatus.RUNNING)
    dispatch = queued()
    written = [
        server_event.queued(dispatch, run.agent_id, run.request, run.request.trace),
        server_event.claimed(dispatch),
        server_event.started(dispatch, run, resumed=False, previous=None, finished_calls=()),
        server_event.started(dispatch, run, resumed=True, previous=None, finished_calls=("c",)),
        server_event.stream_reset("x"),
        server_event.rescheduled(dispatch, "x"),
        server_event.dead_lettered(dispatch, "KeyError"),
        server_event.timed_out(dispatch, 5_000),
        server_event.superseded(run, NATURAL_END, "interrupted"),
        server_event.interrupted(dispatch),
        server_event.cancel_requested(dispatch),
        server_event.cancel_acknowledged(dispatch),
        server_event.ended(run, NATURAL_END, output_message_ids=(M1,)),
        server_event.thread_saved(ThreadInfo(), created=True),
        server_event.thread_saved(ThreadInfo(), created=False),
    ]

    for each in written:
        assert opened(each.logged()) == each.payload, each.kind


def test_a_payload_about_a_dispatch_begins_with_that_of_its_row() -> None:
    entry = server_event.claimed(queued()).logged()
    bare = LoggedEvent("CancelRequested", msgspec.Raw(b"{}"))

    found = completed([entry, bare, LoggedEvent("StepEnded", msgspec.Raw(b"{}"))], {}, DispatchId("d"))
    assert [bytes(each.payload) for each in found] == [
        b'{"dispatch_id":"d","attempt":1}',
        b'{"dispatch_id":"d"}',
        b"{}",
    ]


def test_every_role_and_visibility_has_a_kind_of_message_and_what_is_absent_is_left_out() -> None:
    stored = message_committed(7).logged()
    assert bytes(stored.payload) == b'{"message_seq":7}'
    for role in Role:
        for visibility in Visibility:
            message = Message(id=MessageId("m"), role=role, visibility=visibility)
            [event] = completed([stored], {7: message}, None)
            assert event.visibility is visibility
            assert opened(event).message_kind
            assert set(msgspec.json.decode(event.payload)) == {
                "message_id", "message_seq", "role", "message_kind", "content_blocks",
            }  # fmt: skip


def test_a_message_that_the_log_refers_to_and_that_is_gone_is_damage() -> None:
    with pytest.raises(DataIntegrity, match="message 7, which is gone"):
        completed([message_committed(7).logged()], {}, None)
