"""Stored records: what was written is read, older versions are lifted, newer ones refused by name."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from awaken.domain.errors import DataIntegrity
from awaken.domain.ids import AgentId, DispatchId, MessageId, RunId, ThreadId
from awaken.domain.log import LoggedEvent
from awaken.domain.message import MessageMetadata, Opaque, Text, ToolCall, user_message
from awaken.domain.record import (
    CURRENT,
    UPCASTERS,
    RecordKind,
    check_version,
    decode_events,
    decode_journal_value,
    decode_message,
    decode_run_request,
    decode_run_state,
    decode_thread_info,
    encode_events,
    encode_message,
    encode_run_request,
    encode_run_state,
    encode_thread_info,
)
from awaken.domain.run import Intent, Run, RunRequest, RunStatus, SeqRange, Termination, Usage
from awaken.domain.thread import ThreadInfo

RUN = Run(
    no=1,
    run_id=RunId("r1"),
    thread_id=ThreadId("t1"),
    agent_id=AgentId("a1"),
    dispatch_id=DispatchId("d1"),
    status=RunStatus.DONE,
    request=RunRequest(Intent(AgentId("a1")), (MessageId("m1"),)),
    request_digest="abc",
    metadata={"k": [1, None, "ü"]},
    created_at=1,
    updated_at=2,
    first_event_seq=1,
    updated_seq=9,
    started_at=1,
    finished_at=2,
    input=SeqRange(1, 1),
    termination=Termination("error", detail="no"),
    final_output="",
    steps=3,
    usage=Usage(input_tokens=7),
    closed_turn=MessageId("m2"),
    stream_open=True,
)


def test_what_was_written_is_read() -> None:
    asked = decode_run_request(encode_run_request(RUN), 1, "run")
    assert (asked.request, asked.digest, asked.metadata) == (RUN.request, RUN.request_digest, RUN.metadata)
    state = decode_run_state(encode_run_state(RUN), 1, "run")
    assert {name: getattr(state, name) for name in state.__struct_fields__} == {
        name: getattr(RUN, name) for name in state.__struct_fields__
    }
    info = ThreadInfo(title="a", metadata={"b": 1}, resource_id="c", parent_thread_id=ThreadId("d"))
    assert decode_thread_info(encode_thread_info(info), 1, "thread") == info


M1, R1 = MessageId("m1"), RunId("r1")


@pytest.mark.parametrize("run_id", [None, R1, RunId("another")])
@pytest.mark.parametrize("produced", [None, R1])
@pytest.mark.parametrize("step", [None, 3])
def test_a_message_is_read_as_it_was_written_whatever_it_holds(
    run_id: RunId | None, produced: RunId | None, step: int | None
) -> None:
    message = msgspec.structs.replace(
        user_message(M1, "hi"),
        tool_calls=(ToolCall("c", "f", {"x": [1.5, None]}),),
        metadata=MessageMetadata(produced, step, "sender" if step else None),
    )
    assert decode_message(encode_message(message, run_id), 1, "message", M1, run_id) == message


def test_a_message_is_stored_without_what_its_row_says() -> None:
    message = user_message(M1, "hi").produced_by(R1, 3)
    assert b"m1" not in encode_message(message, R1)
    assert b"r1" not in encode_message(message, R1)
    assert b"r1" in encode_message(message, RunId("another"))


def test_a_block_of_unknown_type_is_kept_whole() -> None:
    data = b'{"role":"user","content":[{"type":"text","text":"a"},{"type":"scent","notes":["oak"]}]}'
    message = decode_message(data, 1, "message", M1, None)
    assert message.content == (Text("a"), Opaque("scent", {"type": "scent", "notes": ["oak"]}))
    assert decode_message(encode_message(message, None), 1, "message", M1, None) == message


def test_event_payloads_keep_their_bytes() -> None:
    events = (LoggedEvent("A", msgspec.Raw(b'{"x":1.50}')), LoggedEvent("B", msgspec.Raw(b'"\\u00e9"')))
    again = decode_events(encode_events(events), 1, "events")
    assert again == events
    assert [bytes(event.payload) for event in again] == [b'{"x":1.50}', b'"\\u00e9"']


@pytest.mark.parametrize("data", [b"", b"{", b"[]", b'{"steps":"x"}', b'{"input":{"from_seq":2,"to_seq":1}}'])
def test_damage_is_named(data: bytes) -> None:
    with pytest.raises(DataIntegrity, match="run 'r1' is damaged"):
        decode_run_state(data, 1, "run 'r1'")
    with pytest.raises(DataIntegrity, match="message 'm1' is damaged"):
        decode_message(data, 1, "message 'm1'", M1, None)


def test_the_table_starts_empty_and_every_kind_has_a_version() -> None:
    assert UPCASTERS == {}
    assert set(CURRENT.values()) == {1}


def test_an_older_record_is_lifted_version_by_version(monkeypatch: pytest.MonkeyPatch) -> None:
    def renamed(raw: Any) -> Any:
        return {"title": raw["name"]}

    def shouted(raw: Any) -> Any:
        return {"title": raw["title"].upper()}

    monkeypatch.setitem(CURRENT, "thread", 3)
    monkeypatch.setitem(UPCASTERS, ("thread", 1), renamed)
    monkeypatch.setitem(UPCASTERS, ("thread", 2), shouted)
    assert decode_thread_info(b'{"name":"a"}', 1, "thread").title == "A"
    assert decode_thread_info(b'{"title":"a"}', 2, "thread").title == "A"
    assert decode_thread_info(b'{"title":"a"}', 3, "thread").title == "a"


def test_an_older_message_is_lifted_too(monkeypatch: pytest.MonkeyPatch) -> None:
    def reworded(raw: Any) -> Any:
        return {**raw, "content": [{"type": "text", "text": raw["text"]}]}

    monkeypatch.setitem(CURRENT, "message", 2)
    monkeypatch.setitem(UPCASTERS, ("message", 1), reworded)
    assert decode_message(b'{"role":"user","text":"old"}', 1, "message", M1, None).content == (Text("old"),)


def test_a_version_nobody_lifts_any_more_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(CURRENT, "journal", 2)
    with pytest.raises(DataIntegrity, match="version 1 of a journal record"):
        decode_journal_value(b"1", 1, "journal entry 'k'")


@pytest.mark.parametrize("kind", CURRENT)
def test_a_newer_record_is_refused_by_name(kind: RecordKind) -> None:
    check_version(kind, CURRENT[kind], "it")
    with pytest.raises(DataIntegrity, match="it was written by a newer version of awaken"):
        check_version(kind, CURRENT[kind] + 1, "it")
    with pytest.raises(DataIntegrity, match="upgrade awaken"):
        decode_message(b"{}", 2, "it", M1, None)
