"""What the judgement on a series of killed processes notices in their notes."""

from __future__ import annotations

from tests.crash.long_steps import Note
from tests.crash.siege import overlapped, repeated


def test_a_run_that_goes_on_in_the_next_process_with_the_step_it_was_in_is_as_it_should_be() -> None:
    notes = [
        Note(1, "run-1-1", "taken"),
        Note(1, "run-1-1", "called", "find"),
        Note(1, "run-1-1", "finished", "find"),
        Note(1, "run-1-1", "called", "think"),
        Note(2, "run-1-1", "taken"),
        Note(2, "run-1-1", "finished", "find"),
        Note(2, "run-1-1", "called", "think"),
        Note(2, "run-1-1", "finished", "think"),
        Note(2, "run-1-1", "left"),
        Note(2, "run-1-2", "taken"),
    ]

    assert repeated(notes) == overlapped(notes) == set()


def test_a_finished_step_that_is_called_again_is_noticed() -> None:
    notes = [Note(1, "run-1-1", "finished", "find"), Note(2, "run-1-1", "called", "find")]

    assert repeated(notes) == {"run-1-1"}


def test_a_step_that_one_process_calls_twice_is_noticed() -> None:
    notes = [Note(2, "run-1-1", "called", "think"), Note(2, "run-1-1", "called", "think")]

    assert repeated(notes) == {"run-1-1"}


def test_a_run_that_is_taken_while_its_thread_is_busy_is_noticed() -> None:
    notes = [Note(1, "run-1-1", "taken"), Note(1, "run-2-1", "taken"), Note(1, "run-1-2", "taken")]

    assert overlapped(notes) == {"run-1-2"}
