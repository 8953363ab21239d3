"""Which tests are marked with which entries of the ledger."""

from __future__ import annotations

import ast
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).resolve().parents[2]
PLACES: Final = (ROOT / "tests", ROOT / "src" / "awaken" / "testing" / "conformance")


def marks() -> dict[str, list[str]]:
    """The tests by the id they are marked with, read from the sources: what is selected to run does not matter."""
    found: dict[str, list[str]] = defaultdict(list)
    for place in PLACES:
        for path in sorted(place.rglob("*.py")):
            for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
                if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and node.name.startswith("test_"):
                    for each in _ids_on(node):
                        found[each].append(f"{path.relative_to(ROOT)}::{node.name}")
    return found


def _ids_on(test: ast.FunctionDef | ast.AsyncFunctionDef) -> Iterator[str]:
    for mark in test.decorator_list:
        if isinstance(mark, ast.Call) and isinstance(mark.func, ast.Name) and mark.func.id == "behaviour":
            for each in mark.args:
                assert isinstance(each, ast.Constant), f"{test.name}: ids are written out, so that they can be found"
                yield str(each.value)
