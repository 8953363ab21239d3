"""The dispatch record: its one table of moves, what each move leaves behind, and the shape a stored one has."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, get_args

import msgspec
import pytest
from msgspec.structs import replace

from awaken.domain import dispatch as moves
from awaken.domain.dispatch import (
    DISPATCH_MOVES,
    LEASE_EXPIRED,
    Dispatch,
    DispatchStatus,
    Move,
    progressed,
)
from awaken.domain.errors import DataIntegrity, ValidationError
from awaken.domain.ids import ClaimToken, ConsumerId, DispatchId, InstanceId, MessageId, Route, RunId, ThreadId
from awaken.domain.retry import RetryPolicy
from awaken.domain.run import Run
from awaken.testing.behaviour import behaviour

NOW = 1_000


def queued(**changes: Any) -> Dispatch:
    made = Dispatch(
        no=1,
        dispatch_id=DispatchId("d1"),
        thread_id=ThreadId("t1"),
        run_id=RunId("r1"),
        route=Route("agent"),
        status=DispatchStatus.QUEUED,
        why="start",
        priority=128,
        position=1,
        epoch=2,
        available_at=10,
        created_at=5,
        updated_at=7,
    )
    return replace(made, **changes)


def held(**changes: Any) -> Dispatch:
    return moves.claim(
        queued(**changes),
        consumer=ConsumerId("worker"),
        token=ClaimToken("token"),
        instance_id=InstanceId("instance"),
        lease_until=2_000,
        now=8,
    )


def ended(status: DispatchStatus) -> Dispatch:
    return queued(status=status, completed_at=9)


def in_status(status: DispatchStatus) -> Dispatch:
    match status:
        case DispatchStatus.QUEUED:
            return queued()
        case DispatchStatus.CLAIMED:
            return held()
        case _:
            return ended(status)


APPLY: dict[Move, Callable[[Dispatch], Dispatch]] = {
    "claim": lambda it: moves.claim(
        it,
        consumer=ConsumerId("w"),
        token=ClaimToken("t"),
        instance_id=InstanceId("i"),
        lease_until=NOW + 1,
        now=NOW,
    ),
    "ack": lambda it: moves.ack(it, NOW),
    "nack": lambda it: moves.nack(it, NOW, "failed", RetryPolicy()),
    "release": lambda it: moves.release(it, NOW),
    "dead_letter": lambda it: moves.dead_letter(it, NOW, "hopeless"),
    "expire": lambda it: moves.expire(it, NOW, charged=False),
    "cancel": lambda it: moves.cancel(it, NOW),
    "supersede": lambda it: moves.supersede(it, NOW, "interrupted"),
}


@behaviour("MB-001")
def test_a_dispatch_is_over_when_acked_cancelled_superseded_or_dead_lettered() -> None:
    assert {status for status in DispatchStatus if status.is_terminal} == {
        DispatchStatus.ACKED,
        DispatchStatus.CANCELLED,
        DispatchStatus.SUPERSEDED,
        DispatchStatus.DEAD_LETTER,
    }


@behaviour("MB-007", "MB-008", "MB-009", "MB-013", "MB-085")
@pytest.mark.parametrize("status", DispatchStatus)
@pytest.mark.parametrize("move", get_args(Move))
def test_every_move_is_made_or_refused_as_the_table_says(status: DispatchStatus, move: Move) -> None:
    """A claimed dispatch is cancelled only where its run was asked to stop: by its owner's settlement or a reclaim."""
    before = in_status(status)

    if (status, move) not in DISPATCH_MOVES:
        with pytest.raises(ValidationError, match=f"is {status} and cannot {move}"):
            APPLY[move](before)
        return

    after = APPLY[move](before)
    assert after.status is DISPATCH_MOVES[status, move]
    after.check()


def test_the_table_leaves_no_status_that_is_over() -> None:
    assert not [status for status, _ in DISPATCH_MOVES if status.is_terminal]


@behaviour("MB-002", "MB-003")
@pytest.mark.parametrize("status", DispatchStatus)
def test_a_dispatch_survives_json(status: DispatchStatus) -> None:
    for dispatch in (
        in_status(status),
        replace(in_status(status), last_error="no", attempt_count=3, crash_count=1, instance_id=InstanceId("i")),
        replace(in_status(status), why="input", message_ids=(MessageId("m1"),), tried_at=3, tried_by=ConsumerId("w")),
    ):
        text = msgspec.json.encode(dispatch)
        assert msgspec.json.decode(text, type=Dispatch) == dispatch
    assert msgspec.json.decode(msgspec.json.encode(status), type=DispatchStatus) is status


@behaviour("MB-006", "MB-012", "MB-074", "MB-075", "MB-077", "MB-083", "MB-132")
def test_a_dispatch_carries_nothing_of_its_run() -> None:
    """What a run is and how it ended stands in the run alone, so no copy can be stale, kept or cleared."""
    assert set(Dispatch.__struct_fields__) & set(Run.__struct_fields__) == {
        "no",
        "dispatch_id",
        "thread_id",
        "run_id",
        "status",
        "created_at",
        "updated_at",
    }
    assert not {"run_status", "termination", "run_response", "run_error"} & set(Dispatch.__struct_fields__)


def test_a_claim_is_not_an_attempt() -> None:
    assert held(attempt_count=2).attempt_count == 2


@behaviour("MB-017")
def test_an_ack_clears_the_claim_and_completes() -> None:
    done = moves.ack(held(), NOW)

    assert (done.claim_token, done.claimed_by, done.lease_until) == (None, None, None)
    assert (done.completed_at, done.updated_at, done.instance_id) == (NOW, NOW, "instance")


@behaviour("MB-010")
def test_a_failure_with_attempts_left_goes_back_to_the_queue() -> None:
    back = moves.nack(held(max_attempts=3), NOW, "no answer", RetryPolicy(base_delay_ms=250))

    assert (back.status, back.attempt_count, back.last_error) == (DispatchStatus.QUEUED, 1, "no answer")
    assert (back.available_at, back.completed_at, back.claim_token) == (NOW + 250, None, None)


@behaviour("MB-011")
def test_the_death_of_its_process_is_a_crash_and_makes_it_due_at_once() -> None:
    back = moves.expire(held(max_attempts=1, last_error="before"), NOW, charged=False)

    assert (back.status, back.attempt_count, back.crash_count) == (DispatchStatus.QUEUED, 0, 1)
    assert (back.last_error, back.available_at, back.completed_at, back.lease_until) == ("before", NOW, None, None)


def test_whoever_is_charged_for_a_crash_spends_an_attempt_too() -> None:
    back = moves.expire(held(max_attempts=3, crash_count=2), NOW, charged=True)

    assert (back.status, back.attempt_count, back.crash_count) == (DispatchStatus.QUEUED, 1, 3)


def test_two_crashes_make_a_suspect_and_a_closed_step_clears_it() -> None:
    crashed = queued()
    for _ in range(2):
        assert (crashed.is_suspect, crashed.ready_route) == (False, "agent")
        crashed = moves.expire(held(crash_count=crashed.crash_count), NOW, charged=False)

    assert (crashed.is_suspect, crashed.ready_route) == (True, "agent!")
    cleared = progressed(held(crash_count=2, attempt_count=1), NOW)
    assert (cleared.is_suspect, cleared.crash_count, cleared.attempt_count, cleared.updated_at) == (False, 0, 0, NOW)
    innocent = held()
    assert progressed(innocent, NOW) is innocent


def test_what_goes_back_to_the_queue_says_why_and_has_no_execution() -> None:
    before = held(max_attempts=3)
    assert (before.instance_id, before.tried_at, before.tried_by) == ("instance", 8, "worker")

    returned = (
        moves.nack(before, NOW, "no", RetryPolicy()),
        moves.expire(before, NOW, charged=False),
        moves.release(before, NOW),
    )

    assert [each.why for each in returned] == ["retry", "takeover", "handover"]
    assert {(each.instance_id, each.claim_token, each.claimed_by) for each in returned} == {(None, None, None)}
    assert {(each.tried_at, each.tried_by) for each in returned} == {(8, "worker")}


@behaviour("MB-012")
def test_the_last_attempt_ends_in_the_dead_letters_however_it_failed() -> None:
    expired = moves.expire(held(max_attempts=1), NOW, charged=True)
    failed = moves.nack(held(max_attempts=1), NOW, "no answer", RetryPolicy())

    assert [each.status for each in (expired, failed)] == [DispatchStatus.DEAD_LETTER] * 2
    assert [each.last_error for each in (expired, failed)] == [LEASE_EXPIRED, "no answer"]
    assert [(each.attempt_count, each.completed_at) for each in (expired, failed)] == [(1, NOW)] * 2


def test_attempts_never_exceed_their_bound() -> None:
    """A dispatch whose bound was lowered meanwhile still ends with a record that agrees with itself."""
    for ended_ in (
        moves.expire(held(max_attempts=2, attempt_count=2), NOW, charged=True),
        moves.nack(held(max_attempts=2, attempt_count=2), NOW, "", RetryPolicy()),
    ):
        assert ended_.attempt_count == 2
        ended_.check()


@behaviour("MB-013")
def test_a_superseded_dispatch_keeps_the_epoch_it_was_queued_under() -> None:
    for before in (queued(), held()):
        after = moves.supersede(before, NOW, "interrupted")
        assert (after.epoch, after.last_error, after.completed_at) == (2, "interrupted", NOW)
    assert moves.supersede(queued(last_error="before"), NOW).last_error == "before"


def test_a_release_costs_nothing() -> None:
    back = moves.release(held(attempt_count=1, last_error="before"), NOW)

    assert (back.attempt_count, back.last_error, back.available_at) == (1, "before", NOW)


@behaviour("MB-004", "MB-005")
@pytest.mark.parametrize(
    ("broken", "why"),
    [
        (queued(claim_token=ClaimToken("t")), "claim fields"),
        (queued(claimed_by=ConsumerId("w")), "claim fields"),
        (queued(lease_until=1), "claim fields"),
        (replace(held(), claim_token=None), "claim fields"),
        (replace(held(), claimed_by=None), "claim fields"),
        (replace(ended(DispatchStatus.ACKED), lease_until=1), "claim fields"),
        (queued(completed_at=1), "completed_at"),
        (replace(held(), completed_at=1), "completed_at"),
        (queued(status=DispatchStatus.CANCELLED), "completed_at"),
        (queued(dispatch_id=DispatchId("  ")), "blank"),
        (queued(thread_id=ThreadId("")), "blank"),
        (queued(run_id=RunId("\t")), "blank"),
        (queued(attempt_count=6), "attempts"),
        (queued(attempt_count=-1), "attempts"),
        (queued(max_attempts=0), "attempts"),
        (queued(crash_count=-1), "attempts"),
    ],
)
def test_a_record_that_contradicts_itself_is_refused(broken: Dispatch, why: str) -> None:
    with pytest.raises(DataIntegrity, match=why):
        broken.check()


def test_a_claim_that_holds_until_its_process_ends_has_no_lease() -> None:
    replace(held(), lease_until=None).check()
