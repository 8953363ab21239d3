"""Every test of the two suites is named, and its entries say what became of it."""

from __future__ import annotations

import re

from tests.behaviour.ledger import LEDGER, Area, Built, CannotOccur, Ledger, Wing, built, later, same
from tests.behaviour.marks import marks
from tests.behaviour.reference_suites import CASES, both, lines, newer


def test_both_suites_are_whole_and_name_each_test_once() -> None:
    names = [case.name for case in CASES]

    assert (len(names), len(set(names))) == (177, 177)
    assert sum(case.is_older for case in CASES) == 119
    assert all(re.fullmatch(r"[a-z0-9_]+", name) for name in names)


def test_the_row_that_was_written_from_a_test_stands_first_and_belongs_to_no_other() -> None:
    assert sorted(case.ids[0] for case in CASES) == [f"MBX-{number:03}" for number in range(1, 178)]


def test_every_entry_named_is_in_the_ledger_and_shown_where_it_can_be() -> None:
    """What is neither shown nor impossible has its reason there, or what brings it."""
    marked = marks()
    for case in CASES:
        assert len(case.ids) == len(set(case.ids)), case.name
        for each in case.ids:
            shown = isinstance(LEDGER.entry(each), Built | CannotOccur)
            row = LEDGER.rows[each]
            assert bool(marked.get(getattr(row, "as_", each))) is shown, f"{case.name}: {each}"


def test_what_a_test_shows_is_said_in_a_sentence() -> None:
    for case in CASES:
        assert not case.shows or case.shows.endswith("."), case.name


def test_a_case_is_printed_with_its_entries_and_their_tests() -> None:
    ledger = Ledger(
        [
            Area(
                "small",
                built("X-001", sentence="What is asked is answered.", note="At once."),
                same("X-002", as_="X-001"),
                later("X-003", sentence="What is hidden is found.", by=Wing.PEOPLE),
            )
        ]
    )

    cases = [both("answers", "X-001", "X-002", shows="Once."), newer("finds", "X-003")]

    assert list(lines(cases, ledger, {"X-001": ["t"]})) == [
        "answers (both): Once.",
        "  X-001, built: What is asked is answered. At once.",
        "    t",
        "  X-002, built: What is asked is answered. At once.",
        "    t",
        "finds",
        "  X-003, later: What is hidden is found. With people.",
    ]
