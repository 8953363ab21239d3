"""What holds of every encoder, whatever its protocol: turns, whole messages, what it was opened with, and strangers."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from awaken.domain.errors import DataIntegrity
from awaken.domain.event import TABLE
from awaken.domain.ids import DEFAULT_SCOPE, AgentId, DispatchId, RunId, ThreadId
from awaken.domain.log import EventRow, ReadEvent
from awaken.domain.message import Visibility
from awaken.domain.run import Intent, RunRequest
from awaken.domain.server_event import TicketOpenedPayload
from awaken.domain.state import ThreadState
from awaken.protocols.contract import NOTHING, Frames, LogEvent, Opened, TurnEncoder, events_of, frame, on, shown_call
from awaken.protocols.turns import TURN_KINDS, Ending

QUEUED: dict[str, Any] = {
    "agent_id": "a", "route": "a", "why": "start", "message_ids": [], "origin": "user", "adapter": "http",
    "available_at": 0,
}  # fmt: skip
FINISHED: dict[str, Any] = {"termination": {"type": "natural_end"}}


class Names(TurnEncoder):
    """Says the kind of everything that reaches it, with what a test wants to see of it."""

    dialect = "names"

    def opens(self, event: LogEvent) -> Frames:
        return (frame(["opens", self.turns.number]),)

    def ends(self, event: LogEvent, ending: Ending) -> Frames:
        return (frame(["ends", ending.outcome, ending.waits, ending.text]),)

    def failed(self, problem: Any, request_id: str) -> Frames:
        return NOTHING

    @on("TextDeltaObserved", "ReasoningDeltaObserved")
    def _delta(self, event: LogEvent, delta: Any) -> Frames:
        return (frame([event.kind, delta.part, delta.delta]),)

    @on("ReasoningEncryptedValueObserved")
    def _encrypted(self, event: LogEvent, value: Any) -> Frames:
        return (frame([event.kind, value.part, value.encrypted_value]),)

    @on("MessageCommitted", "RunSuspended", "RunQueued", "StateDeltaObserved")
    def _other(self, event: LogEvent, payload: Any) -> Frames:
        return (frame([event.kind]),)


def made(*events: tuple[str, Any], state: ThreadState | None = None) -> list[Any]:
    """What the encoder makes of a run's events, as JSON."""
    opened = Opened(
        scope=DEFAULT_SCOPE,
        thread_id=ThreadId("t"),
        run_id=RunId("r"),
        agent_id=AgentId("a"),
        request=RunRequest(Intent(AgentId("a")), ()),
        state=state,
        knows_version=-1 if state is None else state.version,
    )
    encoder = Names(opened)
    read = tuple([ReadEvent(kind, msgspec.Raw(msgspec.json.encode(payload))) for kind, payload in events])
    row = EventRow(DEFAULT_SCOPE, ThreadId("t"), RunId("r"), DispatchId("d"), 1, 0, read)
    return [msgspec.json.decode(each.data) for seq, event in events_of(row) for each in encoder.feed(seq, event, row)]


def message(*blocks: Any, role: str = "assistant", id: str = "m") -> tuple[str, Any]:
    kind = "assistant_output" if role == "assistant" else "user_input"
    return "MessageCommitted", {
        "message_id": id, "message_seq": 1, "role": role, "message_kind": kind, "content_blocks": blocks,
    }  # fmt: skip


def delta(text: str, id: str = "m") -> tuple[str, Any]:
    return "TextDeltaObserved", {"message_id": id, "part": 0, "delta": text}


def text(text: str) -> dict[str, str]:
    return {"type": "text", "text": text}


def ticket(id: str, kind: str, **more: Any) -> tuple[str, Any]:
    return "TicketOpened", {
        "ticket_id": id, "kind": kind, "allowed_actions": [], "resume_mode": "replay_tool_call", "agent_id": "a",
        **more,
    }  # fmt: skip


def suspended(*tickets: str, reason: str = "user_input", **more: Any) -> tuple[str, Any]:
    return "RunSuspended", {"reason": reason, "ticket_ids": tickets, **more}


def test_nothing_is_said_outside_of_a_turn_and_each_is_opened_and_ended_once() -> None:
    found = made(
        delta("before"),
        ("RunQueued", QUEUED),
        ("RunQueued", QUEUED),
        delta("in"),
        ("RunFinished", FINISHED),
        delta("after"),
        ("RunFinished", FINISHED),
    )
    assert found == [
        ["opens", 1],
        ["RunQueued"],
        ["TextDeltaObserved", 0, "in"],
        ["ends", "finished", None, "the run was finished"],
    ]


@pytest.mark.parametrize(
    ("events", "ends"),
    [
        ([ticket("x", "approval"), suspended("x")], "approval"),
        ([ticket("x", "approval"), ticket("y", "input"), suspended("x", "y")], "input"),
        ([ticket("x", "client_tool"), suspended("x")], "input"),
        ([ticket("x", "external"), suspended("x", reason="external_event")], None),
        ([suspended("child", reason="background_tasks", child_run_ids=["c"])], None),
        ([suspended()], "input"),
        ([suspended(reason="rate_limit")], None),
        ([ticket("x", "input"), ticket("y", "approval"), suspended("y")], "approval"),
        (
            [ticket("x", "approval"), ("TicketDecided", {"ticket_id": "x", "decision_id": "d", "action": "approve"}),
             suspended("x")],
            None,
        ),
    ],
)  # fmt: skip
def test_a_turn_ends_when_its_run_waits_for_somebody(events: list[Any], ends: str | None) -> None:
    found = made(("RunQueued", QUEUED), *events, ("RunQueued", QUEUED))
    if ends is None:
        assert found == [["opens", 1], ["RunSuspended"], ["RunQueued"]], "it is at work"
    else:
        assert found == [["opens", 1], ["ends", "waiting", ends, "the run was waiting"], ["opens", 2]]


@pytest.mark.parametrize(
    ("kind", "termination", "outcome", "words"),
    [
        ("RunFinished", {"type": "behavior_requested"}, "finished", "the run was finished"),
        ("RunTerminated", {"type": "stopped", "code": "max_steps"}, "stopped", "max_steps"),
        ("RunTerminated", {"type": "blocked", "detail": "not nice"}, "blocked", "not nice"),
        ("RunCancelled", {"type": "cancelled"}, "cancelled", "the run was cancelled"),
        ("RunErrored", {"type": "error", "detail": "it broke"}, "failed", "it broke"),
        ("RunErrored", {"type": "error"}, "failed", "the run has failed"),
        ("RunSuperseded", {"type": "cancelled"}, "superseded", "the run was superseded"),
    ],
)
def test_how_a_turn_ended_has_one_word(kind: str, termination: Any, outcome: str, words: str) -> None:
    assert made(("RunQueued", QUEUED), (kind, {"termination": termination})) == [
        ["opens", 1],
        ["ends", outcome, None, words],
    ]


def test_what_was_not_streamed_is_said_before_its_message_and_what_was_is_not_said_again() -> None:
    thinking = {"type": "thinking", "text": "hm", "signature": "signed"}
    found = made(
        ("RunQueued", QUEUED),
        delta("streamed", "m1"),
        message(text("streamed"), id="m1"),
        message(thinking, text("whole"), id="m2"),
        delta("void", "m3"),
        ("StreamReset", {"reason": "again", "message_id": "m3"}),
        message(text("another"), id="m3"),
        message(text("a question"), role="user", id="m4"),
    )
    committed = ["MessageCommitted"]
    assert found[1:] == [
        ["TextDeltaObserved", 0, "streamed"],
        committed,
        ["ReasoningDeltaObserved", 0, "hm"],
        ["ReasoningEncryptedValueObserved", 0, "signed"],
        ["TextDeltaObserved", 1, "whole"],
        committed,
        ["TextDeltaObserved", 0, "void"],
        ["TextDeltaObserved", 0, "another"],
        committed,
        committed,
    ]


def test_changes_that_the_state_has_which_it_was_opened_with_are_not_said() -> None:
    changes: list[tuple[str, Any]] = [
        ("StateDeltaObserved", {"patch": [], "version": version}) for version in (1, 2, 3)
    ]
    assert made(("RunQueued", QUEUED), *changes) == [["opens", 1], *[["StateDeltaObserved"]] * 3]
    assert made(("RunQueued", QUEUED), *changes, state=ThreadState({}, 2)) == [["opens", 1], ["StateDeltaObserved"]]


def test_what_is_unknown_or_internal_or_of_no_concern_is_passed_over() -> None:
    assert made(("RunQueued", QUEUED), ("Unheard", {"of": 1}), ("StepStarted", {"message_id": "m", "index": 0})) == [
        ["opens", 1]
    ]
    hidden = EventRow(
        DEFAULT_SCOPE,
        ThreadId("t"),
        None,
        None,
        1,
        0,
        (ReadEvent("RunQueued", msgspec.Raw(b"{}"), Visibility.INTERNAL),),
    )
    assert events_of(hidden) == []


def test_what_is_no_payload_of_its_kind_is_damage() -> None:
    with pytest.raises(DataIntegrity, match="RunQueued"):
        made(("RunQueued", {"why": 5}))


def test_every_kind_on_which_turns_depend_is_in_the_table() -> None:
    assert TABLE.keys() >= TURN_KINDS


def test_a_question_without_a_call_is_shown_as_a_call() -> None:
    _, asked = ticket("x", "input", message="Why?", response_schema={"type": "string"})
    assert shown_call(msgspec.convert(asked, TicketOpenedPayload)) == (
        "x", "ask", {"message": "Why?", "schema": {"type": "string"}},
    )  # fmt: skip
    _, called = ticket("x", "approval", tool_call_id="c", tool_name="pay", arguments={"amount": 5})
    assert shown_call(msgspec.convert(called, TicketOpenedPayload)) == ("c", "pay", {"amount": 5})


def test_a_frame_is_one_line_whatever_it_says() -> None:
    data = frame({"text": "a\nb\u2028c\u0085d"}).data
    assert data.splitlines() == [data]
    assert msgspec.json.decode(data)["text"] == "a\nb\u2028c\u0085d"
