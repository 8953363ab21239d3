"""The run record: its table of moves, how it ends, what it asks for, and the shape a stored one has."""

from __future__ import annotations

from typing import Any, get_args

import msgspec
import pytest
from msgspec.structs import replace

from awaken.domain.errors import DataIntegrity, ValidationError
from awaken.domain.ids import AgentId, DispatchId, MessageId, RunId, ThreadId
from awaken.domain.run import (
    CANCELLED,
    MAX_MODELS,
    NATURAL_END,
    NO_USAGE,
    RUN_MOVES,
    Intent,
    Origin,
    Run,
    RunMove,
    RunOptions,
    RunRequest,
    RunStatus,
    SeqRange,
    Termination,
    Trace,
    Usage,
    Waiting,
    can_become,
    moved,
    with_model,
)
from awaken.testing.behaviour import behaviour


def made(**changes: Any) -> Run:
    run = Run(
        no=1,
        run_id=RunId("r1"),
        thread_id=ThreadId("t1"),
        agent_id=AgentId("a1"),
        dispatch_id=DispatchId("d1"),
        status=RunStatus.CREATED,
        request=RunRequest(Intent(AgentId("a1")), (MessageId("m1"),)),
        request_digest="",
        metadata={},
        created_at=1,
        updated_at=1,
        first_event_seq=1,
        updated_seq=1,
    )
    return replace(run, **changes)


@behaviour("TR-093")
@pytest.mark.parametrize("status", RunStatus)
@pytest.mark.parametrize("target", RunStatus)
def test_a_run_can_become_what_the_table_allows(status: RunStatus, target: RunStatus) -> None:
    allowed = {
        RunStatus.CREATED: {RunStatus.CREATED, RunStatus.RUNNING, RunStatus.DONE},
        RunStatus.RUNNING: {RunStatus.RUNNING, RunStatus.WAITING, RunStatus.DONE},
        RunStatus.WAITING: {RunStatus.WAITING, RunStatus.RUNNING, RunStatus.DONE},
        RunStatus.DONE: {RunStatus.DONE},
    }
    assert can_become(status, target) is (target in allowed[status])


@behaviour("TR-093")
@pytest.mark.parametrize("status", RunStatus)
@pytest.mark.parametrize("move", get_args(RunMove))
def test_every_run_move_is_made_or_refused_as_the_table_says(status: RunStatus, move: RunMove) -> None:
    run = made(status=status)

    if (status, move) in RUN_MOVES:
        assert moved(run, move) is RUN_MOVES[status, move]
    else:
        with pytest.raises(ValidationError, match=f"is {status} and cannot {move}"):
            moved(run, move)


def test_nothing_leaves_done() -> None:
    assert not [status for status, _ in RUN_MOVES if status is RunStatus.DONE]


@behaviour("TR-094")
@pytest.mark.parametrize(
    ("termination", "status", "reason"),
    [
        (Termination("natural_end"), RunStatus.DONE, "natural"),
        (Termination("behavior_requested"), RunStatus.DONE, "behavior_requested"),
        (Termination("stopped", code="max_turns", detail="12"), RunStatus.DONE, "stopped:max_turns"),
        (Termination("stopped"), RunStatus.DONE, "stopped:"),
        (Termination("cancelled"), RunStatus.DONE, "cancelled"),
        (Termination("blocked", detail="policy"), RunStatus.DONE, "blocked:policy"),
        (Termination("blocked"), RunStatus.DONE, "blocked:"),
        (Termination("suspended"), RunStatus.WAITING, None),
        (Termination("error", detail="no"), RunStatus.DONE, "error"),
    ],
)
def test_a_termination_leads_to_a_status_and_a_line(
    termination: Termination, status: RunStatus, reason: str | None
) -> None:
    assert termination.to_status() == (status, reason)


@behaviour("TR-094")
@pytest.mark.parametrize(
    ("text", "termination"),
    [
        ("natural", Termination("natural_end")),
        ("behavior_requested", Termination("behavior_requested")),
        ("cancelled", Termination("cancelled")),
        ("stopped:max_turns", Termination("stopped", code="max_turns")),
        ("stopped:", Termination("stopped", code="")),
        ("stopped:a:b", Termination("stopped", code="a:b")),
        ("blocked:policy", Termination("blocked", detail="policy")),
        ("blocked:", Termination("blocked", detail="")),
        ("error:no", Termination("error", detail="no")),
        ("error:", Termination("error", detail="")),
        ("error", Termination("error", detail="error")),
        ("natural:ly", Termination("error", detail="natural:ly")),
        ("stopped", Termination("error", detail="stopped")),
        ("", Termination("error", detail="")),
        ("something new", Termination("error", detail="something new")),
    ],
)
def test_a_line_is_read_back_as_a_termination(text: str, termination: Termination) -> None:
    assert Termination.from_reason(text) == termination


@behaviour("TR-088", "TR-089")
@pytest.mark.parametrize(
    ("broken", "why"),
    [
        (made(status=RunStatus.WAITING), "waiting"),
        (made(status=RunStatus.DONE), "finished_at"),
        (made(finished_at=1), "finished_at"),
        (made(status=RunStatus.RUNNING, finished_at=1), "finished_at"),
        (made(termination=NATURAL_END), "termination"),
        (made(status=RunStatus.RUNNING, termination=CANCELLED), "termination"),
        (made(waiting=Waiting("user_input")), "waiting"),
        (made(status=RunStatus.DONE, finished_at=1, waiting=Waiting("user_input")), "waiting"),
        (made(run_id=RunId(" ")), "blank"),
        (made(thread_id=ThreadId("")), "blank"),
        (made(agent_id=AgentId("\n")), "blank"),
    ],
)
def test_a_run_that_contradicts_itself_is_refused(broken: Run, why: str) -> None:
    with pytest.raises(DataIntegrity, match=why):
        broken.check()


def test_every_sound_run_passes() -> None:
    for sound in (
        made(),
        made(status=RunStatus.RUNNING, started_at=2),
        made(status=RunStatus.WAITING, waiting=Waiting("tool_permission")),
        made(status=RunStatus.DONE, finished_at=3, termination=NATURAL_END),
    ):
        sound.check()


@behaviour("TR-090")
def test_a_status_nobody_knows_is_not_a_run() -> None:
    record = msgspec.to_builtins(made()) | {"status": "dreaming"}

    with pytest.raises(msgspec.ValidationError, match="dreaming"):
        msgspec.convert(record, Run)


@behaviour("TR-092")
@pytest.mark.parametrize(("first", "last"), [(0, 1), (2, 1), (-1, -1), (0, 0)])
def test_a_range_of_messages_starts_at_one_and_is_not_empty(first: int, last: int) -> None:
    with pytest.raises(ValidationError, match="1-based"):
        SeqRange(first, last)


@behaviour("TR-095")
@pytest.mark.parametrize(
    "broken",
    [
        RunRequest(Intent(AgentId("  ")), ()),
        RunRequest(Intent(AgentId("a"), "continuation"), ()),
        RunRequest(Intent(AgentId("a"), "new_intent", RunId("r0")), ()),
        RunRequest(Intent(AgentId("a"), "continuation", RunId(" ")), ()),
        RunRequest(Intent(AgentId("a")), (MessageId("m"), MessageId(""))),
        RunRequest(Intent(AgentId("a")), (), trace=Trace(parent_run_id=RunId(" "))),
        RunRequest(Intent(AgentId("a")), (), trace=Trace(parent_thread_id=ThreadId(""))),
    ],
)
def test_a_request_names_what_it_needs(broken: RunRequest) -> None:
    with pytest.raises(ValidationError):
        broken.check()


@behaviour("TR-095")
def test_a_sound_request_passes() -> None:
    RunRequest(Intent(AgentId("a")), (MessageId("m"),)).check()
    RunRequest(Intent(AgentId("a"), "continuation", RunId("r0")), ()).check()


def test_usage_adds_up() -> None:
    assert Usage(1, 2, 3, 4, 5, 6).plus(Usage(10, 20, 30, 40, 50, 60)) == Usage(11, 22, 33, 44, 55, 66)


def test_a_run_survives_json() -> None:
    full = made(
        status=RunStatus.DONE,
        request=RunRequest(
            Intent(AgentId("a"), "continuation", RunId("r0")),
            (MessageId("m"),),
            RunOptions({"x": [1]}),
            Trace(Origin.A2A),
        ),
        metadata={"k": [None, 1.5]},
        started_at=2,
        finished_at=3,
        input=SeqRange(1, 2),
        termination=Termination("stopped", "code", "detail"),
        final_output="out",
        waiting=Waiting("rate_limit"),
        executing_ms=5,
        dedupe_key="key",
        open_turn=7,
        dead_lettered=True,
        steps=4,
        usage=Usage(1, 2, 3),
        closed_turn=MessageId("turn"),
        stream_open=True,
        cancel_requested_at=2,
    )
    assert msgspec.json.decode(msgspec.json.encode(full), type=Run) == full


def test_of_a_bounded_number_of_models_it_is_counted_what_each_has_cost() -> None:
    one = Usage(1, 2, model_calls=1)
    spent: dict[str, Usage] = {}
    for number in range(MAX_MODELS + 5):
        spent = with_model(spent, f"model-{number}", one)
    before = dict(spent)

    assert len(spent) == MAX_MODELS
    assert with_model(spent, "another", one) is spent
    assert with_model(spent, "model-0", one)["model-0"] == one.plus(one)
    assert spent == before, "what was counted before stays as it was"
    assert with_model({}, "free", NO_USAGE) == {"free": NO_USAGE}


@pytest.mark.parametrize("given", ["", "x" * 257, "a\nb"])
def test_what_a_client_calls_a_run_is_short_and_printable(given: str) -> None:
    request = RunRequest(Intent(AgentId("a")), (), trace=Trace(wire_run_id=given))
    with pytest.raises(ValidationError, match="what a client calls a run"):
        request.check()
    replace(request, trace=Trace(wire_run_id="x" * 256)).check()
