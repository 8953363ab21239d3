"""Timelines: spans folded from the events of a run, whatever part of its log there is."""

from __future__ import annotations

from collections.abc import Mapping

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from awaken.domain.event import DELTA_KINDS, TABLE
from awaken.domain.ids import RunId, Scope, ThreadId
from awaken.domain.log import EventRow, ReadEvent
from awaken.mailbox.timeline import Timeline, TimeSpan, fold
from awaken.testing.behaviour import behaviour
from tests.domain.payloads import event_of, events

KINDS = sorted(set(TABLE) - DELTA_KINDS)
CALLS = ("c1", "c2")


def rows(*told: tuple[int, str, Mapping[str, object]]) -> list[EventRow]:
    """One row for each: its instant, kind and payload."""
    found: list[EventRow] = []
    for seq, (at, kind, payload) in enumerate(told, 1):
        found.append(row_of(seq, at, event_of(kind, payload)))
    return found


def row_of(seq: int, at: int, event: ReadEvent) -> EventRow:
    return EventRow(Scope("s"), ThreadId("t"), RunId("r"), None, seq, at, (event,))


QUEUED: dict[str, object] = {
    "agent_id": "a", "route": "a", "why": "start", "message_ids": [], "origin": "user", "adapter": "http",
    "available_at": 1,
}  # fmt: skip


def step(index: int) -> dict[str, object]:
    return {"message_id": f"m{index}", "index": index}


def call(id: str) -> dict[str, object]:
    return {"message_id": "m0", "id": id, "name": "search", "arguments": {}}


def done(id: str, status: str = "succeeded") -> dict[str, object]:
    return {"message_id": "m0", "id": id, "name": "search", "result_message_id": "r", "status": status}


LOG = rows(
    (10, "RunQueued", QUEUED),
    (20, "RunStarted", {"agent_id": "a", "attempt": 1, "why": "start", "worker": "one",
                        "process": {"host": "web-1", "pid": 7, "role": "worker"}}),
    (30, "StepStarted", step(0)),
    (50, "InferenceComplete", {"message_id": "m0", "usage": {"input_tokens": 100, "cache_read_tokens": 25},
                               "duration_ms": 15, "model": "large"}),
    (51, "ToolCallReady", call("c1")),
    (52, "ToolCallReady", call("c2")),
    (60, "ToolCallDone", done("c1")),
    (100, "RunRescheduled", {"attempt_count": 0, "crash_count": 1, "reason": "expired_lease_reclaimed"}),
    (110, "RunResumed", {"agent_id": "a", "attempt": 1, "why": "takeover", "worker": "two", "previous_worker": "one",
                         "finished_calls": ["c1"]}),
    (120, "ToolCallDone", done("c2", "failed")),
    (121, "TicketOpened", {"ticket_id": "k", "kind": "approval", "allowed_actions": [], "agent_id": "a",
                           "resume_mode": "replay_tool_call", "tool_name": "delete", "tool_call_id": "c3"}),
    (122, "ChildStarted", {"run_id": "child", "thread_id": "t2", "agent_id": "b"}),
    (130, "RunSuspended", {"reason": "tool_permission", "ticket_ids": ["k"]}),
    (150, "TicketDecided", {"ticket_id": "k", "decision_id": "d", "action": "deny", "decided_by": "anna"}),
    (151, "RunQueued", {**QUEUED, "why": "decided"}),
    (160, "RunResumed", {"agent_id": "a", "attempt": 1, "why": "decided", "worker": "two"}),
    (170, "RunRescheduled", {"attempt_count": 1, "error": "no network", "reason": "retry_backoff", "available_at": 9}),
    (200, "RunResumed", {"agent_id": "a", "attempt": 2, "why": "retry", "worker": "two"}),
    (210, "ChildFinished", {"run_id": "child", "termination": {"type": "natural_end"}}),
    (220, "RunFinished", {"termination": {"type": "natural_end"}, "steps": 2}),
)  # fmt: skip


def drawn(spans: list[TimeSpan]) -> list[tuple[str, int, int | None, str]]:
    return [(span.kind, span.started_at, span.ended_at, span.status) for span in spans]


def test_a_run_is_drawn_as_it_went() -> None:
    spans = fold(LOG)
    assert drawn(spans) == [
        ("queued", 10, 20, "done"),
        ("attempt", 20, 60, "cut"),
        ("step", 30, 60, "cut"),
        ("model_call", 35, 50, "done"),
        ("tool", 51, 60, "done"),
        ("tool", 52, 60, "cut"),
        ("takeover", 60, 110, "done"),
        ("attempt", 110, 130, "done"),
        ("tool", 110, 120, "failed"),
        ("ticket", 121, 150, "done"),
        ("child", 122, 210, "done"),
        ("waiting", 130, 151, "done"),
        ("queued", 151, 160, "done"),
        ("attempt", 160, 170, "failed"),
        ("retry", 170, 200, "done"),
        ("attempt", 200, 220, "done"),
        ("end", 220, 220, "done"),
    ]
    by_id = {span.id: span for span in spans}
    within = {(span.kind, by_id[span.parent].kind) for span in spans if span.parent is not None}
    assert within == {("step", "attempt"), ("model_call", "step"), ("tool", "step"), ("tool", "attempt")}


@behaviour("KD-006")
def test_a_takeover_says_who_died_who_took_over_and_what_was_not_repeated() -> None:
    [takeover] = [span for span in fold(LOG) if span.kind == "takeover"]
    assert takeover.name == "Process 7 on web-1 died, two took over; 1 finished call not repeated"
    assert takeover.facts["previous_process"] == {"host": "web-1", "pid": 7, "role": "worker"}
    assert "process" not in takeover.facts  # a process of an earlier version did not say
    assert (takeover.facts["previous_worker"], takeover.facts["worker"]) == ("one", "two")
    assert tuple(takeover.facts["finished_calls"]) == ("c1",)


def test_a_step_has_the_name_of_what_closed_it() -> None:
    """Of steps side by side the first to end closes the one that is open; text may have begun it without a name."""
    named = fold(
        rows(
            (30, "StepStarted", {**step(0), "name": "charge"}),
            (31, "StepEnded", {"index": 0}),
            (32, "StepStarted", step(1)),
            (33, "StepEnded", {"index": 1, "name": "ship"}),
            (34, "StepStarted", step(2)),
        )
    )
    assert [(span.name, span.facts.get("name")) for span in named] == [
        ("Step 1: charge", "charge"),
        ("Step 2: ship", "ship"),
        ("Step 3", None),
    ]


def test_a_model_call_has_its_tokens_and_how_many_came_from_a_cache() -> None:
    [model] = [span for span in fold(LOG) if span.kind == "model_call"]
    assert (model.name, model.facts["cached_share"], model.facts["usage"]["input_tokens"]) == ("large", 0.25, 100)


def test_a_ticket_says_what_became_of_it() -> None:
    [ticket] = [span for span in fold(LOG) if span.kind == "ticket"]
    assert (ticket.facts["action"], ticket.facts["decided_by"]) == ("deny", "anna")
    assert ticket.facts["outcome"] == "A ticket was denied by anna"


def test_what_is_under_way_has_no_end_and_a_span_keeps_its_number() -> None:
    for end in range(len(LOG)):
        spans = fold(LOG[:end])
        whole = {span.id: span for span in fold(LOG)}
        for span in spans:
            assert (span.ended_at is None) == (span.status == "open")
            assert (whole[span.id].started_at, whole[span.id].seq) == (span.started_at, span.seq)
        check(spans)


def test_a_part_that_begins_in_the_middle_is_drawn_as_far_as_it_goes() -> None:
    for start in range(len(LOG)):
        check(fold(LOG[start:]))


def check(spans: list[TimeSpan]) -> None:
    """In order, and each within its parent, which stands before it."""
    seen: dict[int, TimeSpan] = {}
    for span in spans:
        assert not seen or span.started_at >= list(seen.values())[-1].started_at
        assert span.ended_at is None or span.ended_at >= span.started_at
        assert (span.ended_at is None) == (span.status == "open")
        if span.parent is not None:
            parent = seen[span.parent]
            assert parent.started_at <= span.started_at
            if parent.ended_at is not None:
                assert span.ended_at is not None and span.ended_at <= parent.ended_at
        seen[span.id] = span
    msgspec.json.encode(spans)


LIKELY = st.sampled_from([row.events[0] for row in LOG])
ANY = events(st.sampled_from(KINDS))
BROKEN = st.sampled_from(KINDS).map(lambda kind: event_of(kind, {}))


@given(st.lists(st.tuples(st.integers(0, 500), LIKELY | ANY | BROKEN), max_size=30))
def test_no_log_is_too_strange_to_be_drawn(log: list[tuple[int, ReadEvent]]) -> None:
    """Events of any kind in any order, damaged ones among them, and clocks that go back."""
    check(fold([row_of(seq, at, event) for seq, (at, event) in enumerate(log, 1)]))


def test_a_timeline_holds_no_more_than_it_may() -> None:
    timeline = Timeline()
    one = event_of("ErrorRecorded", {"message": "again"})
    row = EventRow(Scope("s"), ThreadId("t"), RunId("r"), None, 1, 1, (one,) * 10_001)
    timeline.add(row)
    assert (len(timeline.spans), timeline.is_full) == (10_000, True)
