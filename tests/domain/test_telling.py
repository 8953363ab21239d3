"""Events in words: every kind has a sentence, which is short and one line whatever is in it."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from awaken.domain.event import TABLE
from awaken.domain.log import ReadEvent
from awaken.domain.telling import MAX_TOLD_CHARS, SENTENCES, told
from tests.domain.payloads import event_of, events


def entry(event: str, /, **payload: object) -> ReadEvent:
    return event_of(event, payload)


def test_every_kind_has_a_sentence_and_nothing_else_has() -> None:
    assert set(SENTENCES) == set(TABLE)


@pytest.mark.parametrize(
    ("event", "sentence"),
    [
        (entry("ToolCallReady", message_id="m", id="c", name="search"), "Calls search"),
        (
            entry("ToolCallDone", message_id="m", id="c", name="search", result_message_id="r", status="failed",
                  error_text="no such\ntable"),
            "search failed: no such table",
        ),
        (entry("RunStarted", agent_id="a", attempt=1, why="start"), "Began"),
        (
            entry("RunResumed", agent_id="a", attempt=2, why="takeover", finished_calls=["c1", "c2"]),
            "Taken over, because its process died; 2 finished calls not repeated",
        ),
        (
            entry("RunResumed", agent_id="a", attempt=1, why="takeover", worker="0190f3ab-1c2d-7000-8000-0123456789ab"),
            "Taken over by process 0190f3ab-1…456789ab, because its process died",
        ),
        (
            entry("RunResumed", agent_id="a", attempt=1, why="handover", worker="w",
                  process={"host": "web-1", "pid": 7, "role": "all"}),
            "Taken over by process 7 on web-1 from a process that handed it back",
        ),
        (entry("StepStarted", message_id="m", index=0, name="charge"), "Step 1 began: charge"),
        (
            entry("TicketOpened", ticket_id="t", kind="approval", allowed_actions=[], resume_mode="replay_tool_call",
                  agent_id="a", tool_name="delete"),
            "Asks whether delete may run",
        ),
        (
            entry("TicketDecided", ticket_id="t", decision_id="d", action="deny", decided_by="anna", reason="too big"),
            "A ticket was denied by anna: too big",
        ),
        (
            entry("InferenceComplete", message_id="m", usage={"input_tokens": 5, "output_tokens": 7}, duration_ms=1234,
                  model="large"),
            "large answered, 5 + 7 tokens in 1.2 s",
        ),
        (entry("StepEnded", index=2), "Step 3 is closed"),
        (entry("RunErrored", termination={"type": "error", "detail": "no"}), "Failed: no"),
        (entry("RunDeadLettered", attempt_count=5, error="no"), "Was given up: no"),
        (entry("FutureKind", a=1), "FutureKind"),
        (entry("ToolCallReady"), "ToolCallReady, which cannot be read"),
    ],
)  # fmt: skip
def test_an_event_is_told_in_words(event: ReadEvent, sentence: str) -> None:
    assert told(event) == sentence


@given(events(st.sampled_from(sorted(TABLE))))
def test_every_event_that_can_be_read_is_told_on_one_short_line(event: ReadEvent) -> None:
    sentence = told(event)

    assert 0 < len(sentence) <= MAX_TOLD_CHARS
    assert not {"\n", "\r", "\t"} & set(sentence)
    assert "cannot be read" not in sentence
