"""The ledger and the tests must say the same: every entry has a test, every mark an entry."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

from awaken.testing import plugin
from tests.behaviour.catalogue import CATALOGUE, Built

ROOT = Path(__file__).resolve().parents[2]
PLACES = (ROOT / "tests", ROOT / "src" / "awaken" / "testing" / "conformance")


def marks() -> Iterator[tuple[str, str]]:
    """Each id a test is marked with, and the test, read from the sources: what is selected to run does not matter."""
    for place in PLACES:
        for path in sorted(place.rglob("*.py")):
            for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
                if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and node.name.startswith("test_"):
                    for mark in node.decorator_list:
                        yield from ((case, node.name) for case in ids_of(mark))


def ids_of(mark: ast.expr) -> list[str]:
    if not isinstance(mark, ast.Call) or not isinstance(mark.func, ast.Name) or mark.func.id != "behaviour":
        return []
    assert all(isinstance(each, ast.Constant) for each in mark.args), "ids are written out, so that they can be found"
    return [str(each.value) for each in mark.args if isinstance(each, ast.Constant)]


def test_every_entry_has_a_test_and_every_mark_an_entry() -> None:
    marked = {case for case, _ in marks()}

    assert sorted(set(CATALOGUE) - marked) == [], "entries that no test shows"
    assert sorted(marked - set(CATALOGUE)) == [], "marks that have no entry"


def test_every_entry_is_named_once_and_says_something() -> None:
    text = (Path(__file__).parent / "catalogue.py").read_text(encoding="utf-8")
    named = re.findall(r'^    "([A-Z]+-\d{3})":', text, re.MULTILINE)

    assert len(named) == len(set(named)) == len(CATALOGUE)
    for entry in CATALOGUE.values():
        said = entry.sentence if isinstance(entry, Built) else entry.reason
        assert len(said.split()) >= 3
        assert said.endswith(".")


def test_every_case_of_the_contract_runs_on_every_store() -> None:
    source = (ROOT / "tests" / "store" / "test_conformance.py").read_text(encoding="utf-8")
    shown = {case for place, case in _contract_marks() if place}

    assert "memory" in source
    assert "sqlite" in source
    assert len(list(plugin.cases())) > 100
    assert len(shown & set(CATALOGUE)) > 150


def _contract_marks() -> Iterator[tuple[str, str]]:
    for name, case in plugin.cases():
        for mark in getattr(case, "pytestmark", ()):
            if mark.name == "behaviour":
                yield from ((name, each) for each in mark.args)


def test_the_ledger_only_grows() -> None:
    built = sum(isinstance(entry, Built) for entry in CATALOGUE.values())

    assert built >= 280
    assert len(CATALOGUE) >= 371
