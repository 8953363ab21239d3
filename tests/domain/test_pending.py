"""What a boundary takes of the messages that wait for a run."""

from __future__ import annotations

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from awaken.domain.ids import AgentId, DispatchId, MessageId, RunId
from awaken.domain.pending import Boundary, Opens, Pending, queue_revision, selected
from awaken.domain.run import Intent, RunRequest
from awaken.testing.behaviour import behaviour

RUN = RunId("run")
OTHER = RunId("other")
BOUNDARIES: tuple[Boundary, ...] = ("interrupt", "next_step", "on_natural_end", "new_run")


def waits(boundary: Boundary, **details: Any) -> Pending:
    request = RunRequest(Intent(AgentId("agent")), (MessageId("m"),))
    opens = Opens(run_id=RunId("r"), dispatch_id=DispatchId("d"), request=request, priority=128, max_attempts=5)
    known: dict[str, Any] = {
        "message_id": MessageId("m"),
        "run_id": RUN,
        "position": 1,
        "created_at": 0,
        "opens": opens,
        "boundary": boundary,
    }
    return Pending(**(known | details))


@behaviour("PM-024")
def test_without_a_wish_a_message_waits_for_the_next_step_and_may_open_a_run() -> None:
    entry = Pending(message_id=MessageId("m"), run_id=RUN, position=1, created_at=0, opens=waits("next_step").opens)

    assert (entry.boundary, entry.granularity, entry.barrier) == ("next_step", "batch", False)
    assert (entry.fallback_to_new_run, entry.target_run_id, entry.revision) == (True, None, 1)


@behaviour("PM-025")
def test_a_message_may_be_taken_at_its_own_boundary_and_at_later_ones() -> None:
    for rank, boundary in enumerate(BOUNDARIES):
        for place, at in enumerate(BOUNDARIES):
            assert selected([waits(boundary)], at, RUN) == ([0] if rank <= place else []), (boundary, at)
    for at in BOUNDARIES:
        assert selected([waits("resume_input")], at, RUN) == []
        assert selected([waits(at)], "resume_input", RUN) == []
    assert selected([waits("resume_input")], "resume_input", RUN) == [0]


def test_a_message_that_wants_to_come_alone_comes_alone() -> None:
    entries = [waits("next_step", granularity="one"), waits("next_step")]

    assert selected(entries, "next_step", RUN) == [0]
    assert selected([waits("next_step"), *entries], "next_step", RUN) == [0]


@behaviour("PM-027")
def test_what_wants_the_same_boundary_is_taken_together() -> None:
    entries = [waits("next_step"), waits("on_natural_end"), waits("new_run")]

    assert selected(entries, "on_natural_end", RUN) == [0, 1]


@behaviour("PM-028")
def test_a_barrier_is_not_taken_past_what_it_stands_behind() -> None:
    assert selected([waits("new_run"), waits("next_step", barrier=True), waits("next_step")], "next_step", RUN) == []


@behaviour("PM-029")
def test_nothing_passes_a_barrier_that_cannot_be_taken_yet() -> None:
    assert selected([waits("new_run", barrier=True), waits("next_step")], "next_step", RUN) == []


@behaviour("PM-030")
def test_what_is_for_a_run_passes_what_is_for_one_of_its_own() -> None:
    assert selected([waits("new_run"), waits("next_step")], "next_step", RUN) == [1]
    assert selected([waits("new_run"), waits("interrupt")], "interrupt", RUN) == [1]


@behaviour("PM-031")
def test_inside_a_lane_nothing_overtakes() -> None:
    assert selected([waits("on_natural_end"), waits("next_step")], "next_step", RUN) == []


def test_what_is_only_for_one_run_is_passed_by_what_is_for_a_new_one() -> None:
    only = waits("next_step", target_run_id=RUN, fallback_to_new_run=False)

    assert selected([only, waits("new_run")], "new_run", None) == [1]


@behaviour("PM-033")
def test_what_is_for_one_run_is_taken_by_no_other() -> None:
    aimed = [waits("next_step", target_run_id=RUN)]

    assert [selected(aimed, "next_step", run) for run in (None, OTHER, RUN)] == [[], [], [0]]


def test_input_for_a_waiting_run_holds_up_nothing_else() -> None:
    entries = [
        waits("new_run"),
        waits("resume_input", target_run_id=RUN, fallback_to_new_run=False),
    ]

    assert selected(entries, "resume_input", RUN) == [1]
    assert selected(entries, "new_run", RUN) == [0]


def test_what_is_taken_together_ends_at_a_barrier() -> None:
    entries = [waits("next_step"), waits("next_step", barrier=True), waits("next_step")]

    assert selected(entries, "next_step", RUN) == [0, 1]


def test_what_may_fall_back_opens_a_run_whichever_run_it_was_for() -> None:
    assert selected([waits("next_step", target_run_id=RUN)], "new_run", OTHER) == [0]


ENTRIES = st.lists(
    st.builds(
        waits,
        st.sampled_from([*BOUNDARIES, "resume_input"]),
        granularity=st.sampled_from(["batch", "one"]),
        barrier=st.booleans(),
        target_run_id=st.sampled_from([None, RUN, OTHER]),
        fallback_to_new_run=st.booleans(),
    ),
    max_size=8,
)


@given(ENTRIES, st.sampled_from([*BOUNDARIES, "resume_input"]))
def test_whatever_waits_is_taken_in_order_and_stays_in_order(entries: list[Pending], boundary: Boundary) -> None:
    chosen = selected(entries, boundary, RUN)

    assert chosen == sorted(set(chosen))
    for index in chosen:
        assert selected([entries[index]], boundary, RUN) == [0], "each could be taken by itself"
    for index in chosen[:-1]:
        assert entries[index].granularity == "batch" and not entries[index].barrier
    for index in range(chosen[-1] if chosen else 0):
        if index not in chosen:
            assert not entries[index].barrier, "nothing passes a barrier"
            assert not selected([entries[index]], boundary, RUN), "what could be taken is not passed"


@given(ENTRIES, st.sampled_from([*BOUNDARIES, "resume_input"]))
def test_what_is_behind_never_changes_what_is_taken_before_it(entries: list[Pending], boundary: Boundary) -> None:
    chosen = selected(entries, boundary, RUN)
    for count in range(len(entries)):
        assert selected(entries[:count], boundary, RUN) == [index for index in chosen if index < count]


@given(ENTRIES)
def test_what_may_open_runs_is_all_taken_in_the_end(entries: list[Pending]) -> None:
    left = [waits("new_run", granularity=each.granularity, barrier=each.barrier) for each in entries]
    while left:
        chosen = selected(left, "new_run", None)
        assert chosen == list(range(len(chosen))) and chosen
        left = left[len(chosen) :]


@given(ENTRIES)
def test_the_revision_of_a_queue_follows_its_order_and_its_entries(entries: list[Pending]) -> None:
    named = [waits("next_step", message_id=MessageId(f"m{index}")) for index in range(len(entries))]
    assert queue_revision(named) == queue_revision(named)
    if len(named) > 1:
        assert queue_revision(named) != queue_revision([named[-1], *named[:-1]])
        assert queue_revision(named) != queue_revision(named[1:])


def test_an_empty_queue_has_a_revision() -> None:
    assert queue_revision([]) == "cbf29ce484222325"
