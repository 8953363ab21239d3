"""The ledger and the tests must agree: what is built, or cannot occur, is shown; what is neither is not marked."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Final

import pytest

from awaken.testing import plugin
from tests.behaviour.ledger import (
    FOLDER,
    LEDGER,
    Area,
    Built,
    CannotOccur,
    Group,
    Later,
    Ledger,
    NotInPackage,
    Same,
    Wing,
    absent,
    built,
    cannot,
    later,
    same,
)
from tests.behaviour.marks import ROOT, marks

SMALL = Area(
    "small",
    built("X-001", sentence="What is asked is answered."),
    cannot("X-002", because="There is nothing in which it could."),
    later("X-003", sentence="What is hidden is found.", by=Wing.PEOPLE),
    absent("X-004", because="Nobody wants it here."),
    same("X-005", as_="X-001"),
)


def test_the_ledger_and_the_marks_agree() -> None:
    assert LEDGER.wrong(marks()) == []


@pytest.mark.parametrize(
    ("marked", "complaint"),
    [
        ({"X-002": ["t"]}, "X-001 is built, but no test shows it"),
        ({"X-001": ["t"]}, "X-002 is cannot occur, but no test shows it"),
        ({"X-001": ["t"], "X-002": ["t"], "X-003": ["t"]}, "X-003 comes later, with people, but marks t"),
        ({"X-001": ["t"], "X-002": ["t"], "X-004": ["t"]}, "X-004 is not in the package, but marks t"),
        ({"X-001": ["t"], "X-002": ["t"], "X-005": ["t"]}, "X-005 is the same as X-001: mark t with that"),
        ({"X-001": ["t"], "X-002": ["t"], "X-006": ["t"]}, "X-006 has no entry, but marks t"),
        ({"X-001": ["t"], "X-002": ["t", "u"]}, None),
    ],
)  # fmt: skip
def test_each_way_to_disagree_is_found(marked: dict[str, list[str]], complaint: str | None) -> None:
    assert Ledger([SMALL]).wrong(marked) == ([] if complaint is None else [complaint])


@pytest.mark.parametrize(
    ("group", "complaint"),
    [
        (built("X-004", sentence="It is here after all."), "X-004 stands in 'small' and in 'other'"),
        (same("Y-001", as_="X-009"), "Y-001 is to be the same as X-009, which says nothing itself"),
        (same("Y-001", as_="X-005"), "Y-001 is to be the same as X-005, which says nothing itself"),
    ],
)
def test_an_id_stands_in_one_place_and_is_the_same_as_one_that_speaks(group: Group, complaint: str) -> None:
    with pytest.raises(ValueError, match=re.escape(complaint)):
        Ledger([SMALL, Area("other", group)])


def test_every_file_of_the_folder_is_an_area_of_its_own() -> None:
    names = [area.name for area in LEDGER.areas]

    assert len(names) == len(set(names)) == len(list(FOLDER.glob("*.py")))
    assert all(area.rows for area in LEDGER.areas)


def test_every_entry_says_something_in_a_sentence() -> None:
    for each, row in LEDGER.rows.items():
        assert re.fullmatch(r"[A-Z]+-\d{3}", each)
        match row:
            case Built(sentence=text) | Later(sentence=text) | CannotOccur(reason=text) | NotInPackage(reason=text):
                assert len(text.split()) >= 3, each
                assert text.endswith("."), each
            case Same():
                pass


def test_the_entries_are_counted_by_area_and_kind() -> None:
    """One that is the same as another counts as what that one is."""
    header, small, together = Ledger([SMALL]).counts().splitlines()

    assert header.split("  ")[-1] == "not in the package"
    assert small.split() == ["small", "2", "1", "1", "1"]
    assert together.split() == ["all", "2", "1", "1", "1"]


def test_every_case_of_the_contract_runs_on_every_store() -> None:
    source = (ROOT / "tests" / "store" / "test_conformance.py").read_text(encoding="utf-8")
    shown = {case for place, case in _contract_marks() if place}

    assert "memory" in source
    assert "sqlite" in source
    assert len(list(plugin.cases())) > 100
    assert len(shown & set(LEDGER.rows)) > 150


def _contract_marks() -> Iterator[tuple[str, str]]:
    for name, case in plugin.cases():
        for mark in getattr(case, "pytestmark", ()):
            if mark.name == "behaviour":
                yield from ((name, each) for each in mark.args)


SPECIFIED: Final = {
    "MB": "1-17 20-38 40-95 100-113 120-133 140-150 160-173", "LV": "1-22", "SG": "1-15",
    "TR": "1-36 40-70 80-97 100-121", "PM": "1-40", "CC": "1-25", "EV": "1-25", "DS": "1-16", "OB": "1-19",
    "VR": "1-32", "PR": "1-14", "SP": "1-3", "CF": "1-10", "SC": "1-4", "SV": "1-40", "NBF": "1-15",
    "MBX": "1-376", "D": "1-17", "P": "1-20", "SRV": "1-47",
}  # fmt: skip
"""The rows of the specifications that this package is built from: every number in these ranges, and no other."""


def _numbers(ranges: str) -> Iterator[int]:
    for each in ranges.split():
        first, _, last = each.partition("-")
        yield from range(int(first), int(last or first) + 1)


@pytest.mark.parametrize("prefix", SPECIFIED)
def test_every_row_of_the_specifications_has_an_entry_and_none_is_made_up(prefix: str) -> None:
    """This package's own entries have prefixes of their own."""
    specified = [f"{prefix}-{number:03}" for number in _numbers(SPECIFIED[prefix])]

    assert sorted(each for each in LEDGER.rows if each.startswith(f"{prefix}-")) == specified


def test_no_entry_is_ever_taken_away() -> None:
    assert sum(len([*_numbers(ranges)]) for ranges in SPECIFIED.values()) == 992
    assert len(LEDGER.rows) >= 1_270


def test_what_is_built_stays_built() -> None:
    """An entry may change its kind, with its reason in the commit, and with this number."""
    kinds = [type(LEDGER.entry(each)) for each in LEDGER.rows]

    assert kinds.count(Built) >= 900
